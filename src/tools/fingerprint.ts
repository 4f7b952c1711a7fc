// Whether files are still what they were: the contents, since neither times nor sizes nor inode numbers can be trusted
// across image layers. A layer keeps, sets or levels the times, and an id is edited without a change of size; to read
// a small file costs little more than to ask for its times.
// Guarantees: two states of the files that a tool could read differently have different fingerprints.

import { createHash, type Hash } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
  statSync,
} from "node:fs";

/** A file, a folder with all that is in it, one of revisions, or one of which only the names matter. */
export type Covered =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "tree"; readonly path: string }
  | {
      readonly kind: "revisions";
      readonly path: string;
      /** Subfolders count as well. */
      readonly recursive: boolean;
      /** Bytecode without a source counts as well. */
      readonly sourceless: boolean;
    }
  | { readonly kind: "names"; readonly path: string }
  /** The packages that are installed in a folder such as `site-packages`, and their versions. */
  | { readonly kind: "packages"; readonly path: string };

/**
 * SHA-256 in base64; "absent" where there is nothing at that path. `leftOut` is a file that does not count.
 * Throws what the file system says otherwise.
 */
export function takeFingerprint(covered: Covered, leftOut: string): string {
  const { kind, path } = covered;
  if (!existsSync(path)) return "absent";
  const digest: Digest = { hash: createHash("sha256"), buffer: Buffer.allocUnsafe(64 * 1024) };
  switch (kind) {
    case "file":
      addFile(digest, path);
      break;
    case "tree":
      addTree(digest, path, leftOut);
      break;
    case "revisions":
      addRevisions(digest, path, covered);
      break;
    case "names":
      addNames(digest, path, (name) => name !== "__pycache__" && leftOut !== `${path}/${name}`);
      break;
    case "packages":
      addNames(digest, path, (name) => /\.(?:dist|egg)-info$/.test(name));
      break;
  }
  return digest.hash.digest("base64");
}

interface Digest {
  readonly hash: Hash;
  /** For what is read from a file. */
  readonly buffer: Buffer;
}

const compiled = /\.py[co]$/;

function addRevisions(
  digest: Digest,
  folder: string,
  counts: { recursive: boolean; sourceless: boolean },
): void {
  const entries = readdirSync(folder, { withFileTypes: true }).toSorted((a, b) =>
    a.name < b.name ? -1 : 1,
  );
  for (const entry of entries) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      if (entry.name === "__pycache__") {
        if (counts.sourceless) addOrphans(digest, path, entries);
      } else if (counts.recursive || entry.name.endsWith(".py")) {
        addText(digest, `folder ${entry.name}`);
        addRevisions(digest, path, counts);
        addText(digest, "end");
      }
    } else if (entry.name.endsWith(".py") || (counts.sourceless && compiled.test(entry.name))) {
      addText(digest, `file ${entry.name}`);
      if (entry.isSymbolicLink()) {
        addText(digest, readlinkSync(path));
        // A tool may go by the name of the file itself.
        addText(digest, realpathSync.native(path));
      }
      addFile(digest, path);
    } else if (entry.isSymbolicLink()) addText(digest, `link ${entry.name} ${readlinkSync(path)}`);
  }
}

/** Links are followed: what stands there is what is read. Throws ELOOP for one that leads back. */
function addTree(digest: Digest, folder: string, leftOut: string): void {
  for (const name of readdirSync(folder).toSorted()) {
    const path = `${folder}/${name}`;
    if (path === leftOut) continue;
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory() === true) {
      addText(digest, `folder ${name}`);
      addTree(digest, path, leftOut);
      addText(digest, "end");
    } else {
      addText(digest, `file ${name}`);
      if (found !== undefined) addFile(digest, path);
    }
  }
}

/** Python writes bytecode as it runs; only what has no source beside it is a revision. */
function addOrphans(
  digest: Digest,
  cache: string,
  beside: readonly { readonly name: string }[],
): void {
  const sources = new Set(beside.map(({ name }) => name.split(".")[0]));
  for (const name of readdirSync(cache).toSorted()) {
    if (!compiled.test(name) || sources.has(name.split(".")[0])) continue;
    addText(digest, `compiled ${name}`);
    addFile(digest, `${cache}/${name}`);
  }
}

function addNames(digest: Digest, folder: string, counts: (name: string) => boolean): void {
  for (const name of readdirSync(folder).filter(counts).toSorted()) addText(digest, name);
}

/** With its length ahead, so that no two lists of texts look alike. */
function addText(digest: Digest, text: string): void {
  addBytes(digest, Buffer.from(text));
}

function addBytes({ hash }: Digest, bytes: Uint8Array): void {
  hash.update(`${bytes.length}:`).update(bytes);
}

function addFile(digest: Digest, path: string): void {
  // A pipe of that name is not waited for.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const { buffer } = digest;
    let count = readSync(descriptor, buffer, 0, buffer.length, null);
    // Only the end of a file leaves room.
    if (count < buffer.length) {
      addBytes(digest, buffer.subarray(0, count));
      return;
    }
    const content = createHash("sha256");
    while (count > 0) {
      content.update(buffer.subarray(0, count));
      count = readSync(descriptor, buffer, 0, buffer.length, null);
    }
    // No file's name and no mark of a folder looks like this, so no small file has what a large one has.
    addText(digest, "large");
    addText(digest, content.digest("base64"));
  } finally {
    closeSync(descriptor);
  }
}
