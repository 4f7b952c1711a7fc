// The answer of `entrypoint freeze`, kept in a file of the image: the graph as the real Alembic has told it, and the
// fingerprint of all that it has told it from.
// Guarantees: what is damaged, or was told of other files, words or versions, is never believed.

import { createHash } from "node:crypto";
import { chmodSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { askAlembic } from "../command.ts";
import type { Revision } from "../state.ts";
import type { Environment } from "../../environment.ts";
import type { Located } from "./config.ts";
import { takeFingerprint, type Covered } from "./fingerprint.ts";
import { buildGraph, type Graph } from "./graph.ts";

declare const ENTRYPOINT_VERSION: string;

/** In the working directory: that is known where nothing else is. */
const fileName = "entrypoint.freeze.json";

/** Raised with every change of what the file holds or of what a fingerprint is taken from. */
const format = 1;

export interface Frozen {
  readonly located: Located;
  readonly revisions: readonly Revision[];
}

/** For whom it has been frozen. */
interface Conditions {
  readonly format: number;
  readonly entrypoint: string;
  /** The words with which Alembic is asked, which are those of the migration command but for the target. */
  readonly words: readonly string[];
  readonly cwd: string;
  readonly variables: readonly (readonly [name: string, value: string])[];
}

interface Body extends Conditions {
  readonly covered: readonly (readonly [covered: Covered, fingerprint: string])[];
  readonly frozen: Frozen;
}

export type FrozenAnswer =
  | { readonly kind: "none" }
  | { readonly kind: "ignored"; readonly path: string; readonly reason: string }
  | { readonly kind: "holds"; readonly frozen: Frozen; readonly graph: Graph };

interface Place {
  readonly words: readonly string[];
  readonly cwd: string;
  readonly env: Environment;
}

export function frozenPath(cwd: string): string {
  return `${cwd}/${fileName}`;
}

/** What is frozen for this migration command, if it still holds. */
export function readFrozen(place: Place): FrozenAnswer {
  const path = frozenPath(place.cwd);
  const ignored = (reason: string): FrozenAnswer => ({ kind: "ignored", path, reason });
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { kind: "none" };
    return ignored((error as Error).message);
  }
  const body = parse(text);
  if (typeof body === "string") return ignored(body);
  const reason = findChange(body, place, path);
  if (reason !== null) return ignored(reason);
  const graph = buildGraph(body.frozen.revisions);
  if (graph.kind === "cannot-tell") return ignored(graph.reason);
  return { kind: "holds", frozen: body.frozen, graph: graph.graph };
}

/** The text of the file, with the fingerprint as it is now. Throws what the file system says. */
export function seal(place: Place, frozen: Frozen, covered: readonly Covered[]): string {
  const path = frozenPath(place.cwd);
  const body: Body = {
    ...conditionsOf(place),
    covered: covered.map((one) => [one, takeFingerprint(one, path)]),
    frozen,
  };
  return `${JSON.stringify({ checksum: checksumOf(body), body })}\n`;
}

/** For everybody to read. Throws what the file system says. */
export function writeFrozen(path: string, text: string): void {
  const staging = `${path}.${process.pid}`;
  try {
    writeFileSync(staging, text);
    // The application's user is another one than the build's.
    chmodSync(staging, 0o644);
    renameSync(staging, path);
  } finally {
    rmSync(staging, { force: true });
  }
}

function parse(text: string): Body | string {
  const damaged = "it is damaged";
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return damaged;
  }
  const { checksum, body } = (parsed ?? {}) as { checksum?: unknown; body?: unknown };
  if (typeof body !== "object" || body === null || checksum !== checksumOf(body)) return damaged;
  // The checksum says that it is ours, and whole; of what version is another matter.
  return body as Body;
}

function checksumOf(body: object): string {
  return createHash("sha256").update(JSON.stringify(body)).digest("base64");
}

/** What is no longer as it was, or null. */
function findChange(body: Body, place: Place, path: string): string | null {
  const now = conditionsOf(place);
  if (body.format !== now.format) return "it was frozen by another version of entrypoint";
  if (body.entrypoint !== now.entrypoint) {
    return `it was frozen by entrypoint ${body.entrypoint}, and this is ${now.entrypoint}`;
  }
  if (!isSame(body.words, now.words)) {
    return `it was frozen for another command, which asks by: ${body.words.join(" ")}`;
  }
  if (body.cwd !== now.cwd) return `it was frozen in ${body.cwd}`;
  if (!isSame(body.variables, now.variables)) {
    const names = [...body.variables, ...now.variables].map(([name]) => name);
    const of = (list: Body["variables"], name: string) => list.find(([one]) => one === name)?.[1];
    const name = names.find((each) => of(body.variables, each) !== of(now.variables, each));
    return `${name} is another one now`;
  }
  for (const [covered, fingerprint] of body.covered) {
    let taken: string;
    try {
      taken = takeFingerprint(covered, path);
    } catch (error) {
      return (error as Error).message;
    }
    if (taken !== fingerprint) return describeChange(covered, fingerprint, taken);
  }
  return null;
}

function describeChange({ kind, path }: Covered, before: string, now: string): string {
  if (now === "absent") return `${path} is gone`;
  if (before === "absent") return `${path} has been added`;
  switch (kind) {
    case "file":
      return `${path} has changed`;
    case "revisions":
      return `a revision file in ${path} has been added, changed or removed`;
    case "names":
      return `something has been added to ${path}, or removed`;
    case "packages":
      return `the packages in ${path} are others`;
  }
}

/** Variables that say where Alembic looks and what Python imports; never a secret. */
const telling = /^(?:ALEMBIC_CONFIG|PYTHONPATH|FLASK_APP|FLASK_DB_\w+)$/;

function conditionsOf({ words, cwd, env }: Place): Conditions {
  return {
    format,
    entrypoint: ENTRYPOINT_VERSION,
    words: askAlembic(words, "history", []) ?? [],
    cwd: realpathSync.native(cwd),
    variables: Object.entries(env)
      .flatMap(([name, value]) =>
        value !== undefined && telling.test(name) ? [[name, value] as const] : [],
      )
      .toSorted(([one], [other]) => (one < other ? -1 : 1)),
  };
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
