// The result of `entrypoint freeze`, kept in a file of the image: what the real tool has reported, and the fingerprints of all
// files that it was read from.
// Guarantees: a file that is damaged, or made from other files, words or versions, is ignored.

import { createHash } from "node:crypto";
import { chmodSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { Words } from "../context.ts";
import type { Environment } from "../runtime/environment.ts";
import { requireRegularFile } from "../runtime/regular-file.ts";
import { takeFingerprint, type Covered } from "./fingerprint.ts";
import { describeWords } from "../log/words.ts";

declare const ENTRYPOINT_VERSION: string;

/** One line for each command. In the working directory: that is known where nothing else is. */
const fileName = "entrypoint.freeze.json";

/** Raised with every change of what the file holds or of what a fingerprint is taken from. */
const format = 2;

/** For whom it has been frozen. */
interface Conditions {
  readonly format: number;
  readonly entrypoint: string;
  /** The words of the command that lists the history: those of the migration command but for its goal. */
  readonly words: readonly string[];
  readonly cwd: string;
  readonly variables: readonly (readonly [name: string, value: string])[];
}

/** A variable that the answer depends on, and the mark of its value; null where it is not set. */
type HeldVariable = readonly [name: string, mark: string | null];

interface Body extends Conditions {
  readonly covered: readonly (readonly [covered: Covered, fingerprint: string])[];
  readonly held?: readonly HeldVariable[];
  readonly frozen: unknown;
}

export type FrozenAnswer<T> =
  | { readonly kind: "none" }
  | { readonly kind: "ignored"; readonly path: string; readonly reason: string }
  | { readonly kind: "holds"; readonly frozen: T };

/** For which command it is frozen, and where. */
export interface FrozenPlace {
  /** The words of the command that lists the history. */
  readonly words: Words;
  readonly cwd: string;
  readonly env: Environment;
  /** Variables that say where the tool looks; never a secret. */
  readonly telling: RegExp;
}

export function frozenPath(cwd: string): string {
  return `${cwd}/${fileName}`;
}

/** What is frozen for this migration command, if it still holds. @param T what `seal` was given for such a command. */
export function readFrozen<T>(place: FrozenPlace): FrozenAnswer<T> {
  const path = frozenPath(place.cwd);
  const ignored = (reason: string): FrozenAnswer<T> => ({ kind: "ignored", path, reason });
  let text: string;
  try {
    requireRegularFile(path);
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { kind: "none" };
    return ignored((error as Error).message);
  }
  // A line for each migration command of the image.
  const bodies = text.trimEnd().split("\n").map(parse);
  const { words } = conditionsOf(place);
  const own = bodies.find((one) => typeof one !== "string" && isSame(one.words, words));
  const body = own ?? bodies[0] ?? "";
  if (typeof body === "string") return ignored(body);
  const reason = findChange(body, place, path);
  if (reason !== null) return ignored(reason);
  return { kind: "holds", frozen: body.frozen as T };
}

/**
 * A line of the file, with the fingerprint as it is now. Throws what the file system says.
 * @param held variables whose values must stay.
 */
export function seal(
  place: FrozenPlace,
  frozen: unknown,
  covered: readonly Covered[],
  held: readonly string[] = [],
): string {
  const path = frozenPath(place.cwd);
  const body: Body = {
    ...conditionsOf(place),
    covered: covered.map((one) => [one, takeFingerprint(one, path)]),
    ...(held.length === 0 ? {} : { held: held.map((name) => [name, markOf(place.env[name])]) }),
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
function findChange(body: Body, place: FrozenPlace, path: string): string | null {
  const now = conditionsOf(place);
  if (body.format !== now.format) return "it was frozen by another version of entrypoint";
  if (body.entrypoint !== now.entrypoint) {
    return `it was frozen by entrypoint ${body.entrypoint}, and this is ${now.entrypoint}`;
  }
  if (!isSame(body.words, now.words)) {
    return `it was frozen for another command, which lists its history with: ${describeWords(body.words)}`;
  }
  if (body.cwd !== now.cwd) return `it was frozen in ${body.cwd}`;
  if (!isSame(body.variables, now.variables)) {
    const names = [...body.variables, ...now.variables].map(([name]) => name);
    const of = (list: Body["variables"], name: string) => list.find(([one]) => one === name)?.[1];
    const name = names.find((each) => of(body.variables, each) !== of(now.variables, each));
    return `${name} has changed`;
  }
  for (const [name, mark] of body.held ?? []) {
    if (markOf(place.env[name]) !== mark) return `${name} is not what it was at the build`;
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
    case "tree":
      return `something in ${path} has been added, changed or removed`;
    case "revisions":
      return `a revision file in ${path} has been added, changed or removed`;
    case "names":
      return `something has been added to ${path}, or removed`;
    case "packages":
      return `the packages in ${path} have changed`;
  }
}

/** A value is not in the image: its mark is short, so that nobody can find the value by it. */
function markOf(value: string | undefined): string | null {
  if (value === undefined) return null;
  return createHash("sha256").update(value).digest("base64").slice(0, 4);
}

function conditionsOf({ words, cwd, env, telling }: FrozenPlace): Conditions {
  return {
    format,
    entrypoint: ENTRYPOINT_VERSION,
    words,
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
