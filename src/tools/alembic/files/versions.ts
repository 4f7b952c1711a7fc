// Which files `alembic upgrade` would load as revisions, and what each one says of itself.
// Guarantees: a file that Alembic loads is never left out, one that it ignores is never taken in;
// where that depends on Alembic's version or on compiled code, the answer is "cannot tell".

import {
  type Dirent,
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
} from "node:fs";
import { basename } from "node:path";

import type { Revision } from "../revision.ts";
import type { AlembicConfig } from "./config.ts";
import { type Literal, readVariables } from "./literals.ts";
import { readSource } from "./tokens.ts";

export type RevisionsAnswer =
  | { readonly kind: "known"; readonly revisions: readonly Revision[] }
  | { readonly kind: "cannot-tell"; readonly reason: string };

// Alembic's own rule: `.hidden.py` and `helper.py` are loaded, `__init__*` and Emacs' `.#lock` are not.
const revisionFile = /^(?!\.#|__init__)(.*\.py)$/;
const compiledFile = /^(?!\.#|__init__)(.*\.py)[co]$/;
// A file without `revision` is named after it, as in Alembic 0.1.
const namedAfterId = /^([a-f0-9]+)\.py$/;
// Directories never looked into for revisions that nobody configured.
const foreign = new Set(["__pycache__", "node_modules", ".git", ".venv", "venv", "site-packages"]);

class CannotTell extends Error {}

/** Reads every revision file of the configured directories, in the order in which Alembic 1.20 does. */
export function readRevisions(config: AlembicConfig): RevisionsAnswer {
  try {
    const seen = new Set<string>();
    const revisions: Revision[] = [];
    for (const directory of config.versionLocations) {
      for (const { path, real } of listRevisionFiles(directory, config)) {
        // The same file twice, through a link or a directory that is named twice, is loaded once.
        if (seen.has(real)) continue;
        seen.add(real);
        revisions.push(readRevision(path, real));
      }
    }
    if (!config.recursive) {
      for (const directory of config.versionLocations) refuseHiddenRevisions(directory, seen);
    }
    return { kind: "known", revisions };
  } catch (error) {
    if (error instanceof CannotTell) return { kind: "cannot-tell", reason: error.message };
    if (error instanceof Error && "syscall" in error)
      return { kind: "cannot-tell", reason: error.message };
    throw error;
  }
}

interface RevisionFile {
  readonly path: string;
  /** Without symbolic links. */
  readonly real: string;
}

function listRevisionFiles(directory: string, config: AlembicConfig): RevisionFile[] {
  if (!existsSync(directory)) {
    throw new CannotTell(`the versions directory ${directory} does not exist: is it in the image?`);
  }
  if (!statSync(directory).isDirectory()) throw new CannotTell(`${directory} is not a directory`);
  const files: RevisionFile[] = [];
  const visit = (folder: string): void => {
    const entries = readdirSync(folder, { withFileTypes: true }).toSorted((a, b) =>
      a.name < b.name ? -1 : 1,
    );
    const compiledHere = basename(folder).endsWith("__pycache__");
    if (!compiledHere) {
      const realFolder = realPath(folder);
      for (const entry of entries) {
        if (!isRevisionFile(folder, entry)) continue;
        const path = `${folder}/${entry.name}`;
        const real = entry.isSymbolicLink() ? realPath(path) : `${realFolder}/${entry.name}`;
        files.push({ path, real });
      }
      if (config.sourceless) refuseCompiled(folder, entries);
    }
    if (!config.recursive) return;
    for (const entry of entries) if (entry.isDirectory()) visit(`${folder}/${entry.name}`);
  };
  visit(directory);
  return files;
}

function isRevisionFile(folder: string, entry: Dirent): boolean {
  if (!revisionFile.test(entry.name)) {
    if (entry.name.includes("\n") || entry.name.includes("\uFFFD")) {
      throw new CannotTell(`${folder} holds a file whose name cannot be read for certain`);
    }
    if (!entry.isSymbolicLink()) return false;
    // Newer versions go by the name of what the link points to.
    const target = existsSync(`${folder}/${entry.name}`)
      ? basename(realPath(`${folder}/${entry.name}`))
      : "";
    if (!revisionFile.test(target) || statSync(`${folder}/${entry.name}`).isDirectory())
      return false;
    throw new CannotTell(`${folder}/${entry.name} is a link to a file of another name`);
  }
  const path = `${folder}/${entry.name}`;
  if (entry.isSymbolicLink()) {
    if (!existsSync(path)) throw new CannotTell(`${path} is a broken link`);
    if (basename(realPath(path)) !== entry.name)
      throw new CannotTell(`${path} is a link to a file of another name`);
    const status = statSync(path);
    if (status.isDirectory()) throw new CannotTell(`${path} is a directory`);
    if (!status.isFile()) throw new CannotTell(`${path} is not a file`);
    return true;
  }
  if (!entry.isFile()) throw new CannotTell(`${path} is not a file`);
  return true;
}

/** `sourceless`: bytecode whose source is gone counts as a revision, and only Python can read it. */
function refuseCompiled(folder: string, entries: readonly Dirent[]): void {
  const names = new Set(entries.map((entry) => entry.name));
  const orphan = entries.find((entry) => {
    const source = compiledFile.exec(entry.name)?.[1];
    return source !== undefined && !names.has(source);
  });
  if (orphan !== undefined)
    throw new CannotTell(`${folder}/${orphan.name} is compiled, and its source is not there`);
  const cache = `${folder}/__pycache__`;
  if (!existsSync(cache)) return;
  const stems = new Set(entries.map((entry) => entry.name.split(".")[0]));
  const left = readdirSync(cache).find(
    (name) => compiledFile.test(name) && !stems.has(name.split(".")[0]),
  );
  if (left !== undefined)
    throw new CannotTell(`${cache}/${left} is compiled, and its source is not there`);
}

/** Revisions in a subfolder mean that somebody configures the folders in code. */
function refuseHiddenRevisions(directory: string, seen: ReadonlySet<string>): void {
  const visit = (folder: string, depth: number): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (
        entry.isDirectory() ||
        (entry.isSymbolicLink() && existsSync(path) && statSync(path).isDirectory())
      ) {
        if (!foreign.has(entry.name) && depth < 8) visit(path, depth + 1);
      } else if (
        depth > 0 &&
        revisionFile.test(entry.name) &&
        existsSync(path) &&
        !seen.has(realPath(path))
      ) {
        if (readFileSync(path).includes("down_revision")) {
          throw new CannotTell(
            `${path} is a revision in a subfolder, and the configuration does not say that subfolders count`,
          );
        }
      }
    }
  };
  visit(directory, 0);
}

function realPath(path: string): string {
  return realpathSync.native(path);
}

function readRevision(path: string, real: string): Revision {
  const answer = readVariables(readSource(path));
  if (answer.kind === "cannot-tell") throw new CannotTell(`${path}: ${answer.reason}`);
  const { revision, down_revision, branch_labels, depends_on } = answer.variables;
  const refuse = (reason: string): never => {
    throw new CannotTell(`${path}: ${reason}`);
  };
  let id: string;
  if (revision.kind === "string") id = revision.value;
  else if (revision.kind === "unknown") return refuse(revision.reason);
  else if (revision.kind === "absent") {
    id =
      namedAfterId.exec(basename(real))?.[1] ??
      refuse("it has no `revision`, and Alembic refuses such a file");
  } else return refuse("revision is not a string");
  const illegal = /[-@+:]/.exec(id);
  if (illegal !== null)
    return refuse(`Alembic does not allow ${illegal[0]} in the id ${JSON.stringify(id)}`);
  if (id === "" || id === "head" || id === "heads" || id === "base") {
    return refuse(`${JSON.stringify(id)} cannot be a revision's id`);
  }
  if (down_revision.kind === "absent")
    return refuse("it has no `down_revision`, and Alembic refuses such a file");
  if (down_revision.kind === "unknown") return refuse(down_revision.reason);
  // Some versions take a set of one, or an empty string, for a base; others stop.
  if (
    down_revision.kind === "sequence" &&
    down_revision.type === "set" &&
    down_revision.items.length === 1
  ) {
    return refuse("down_revision is a set of one, which not every Alembic reads");
  }
  const downRevisions = listItems(down_revision);
  if (downRevisions.includes("")) return refuse("down_revision holds an empty string");
  if (depends_on.kind === "unknown") return refuse(depends_on.reason);
  const dependsOn = depends_on.kind === "absent" ? [] : listItems(depends_on);
  const labels =
    branch_labels.kind === "absent" || branch_labels.kind === "unknown"
      ? []
      : listItems(branch_labels);
  return {
    id,
    downRevisions,
    dependsOn,
    branchLabels: labels,
    ...(branch_labels.kind === "unknown" ? { labelsUnknown: true } : {}),
    doc: answer.doc.text,
    ...(answer.doc.certain ? {} : { docUnknown: true }),
    path: real,
  };
}

function listItems(literal: Literal): readonly string[] {
  if (literal.kind === "none") return [];
  return literal.kind === "string" ? [literal.value] : literal.items;
}
