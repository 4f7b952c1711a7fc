// `mkdir -p DIR && chown -R app DIR` of the shell script, before root is given up: for volumes, which are root's at first.
// Guarantees: no link is followed below DIR, also when somebody puts one there meanwhile; what has the right owner is not touched.

import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fstatSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  opendirSync,
  realpathSync,
  statSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { Context, Log } from "../../context.ts";
import { Failure } from "../../failure.ts";
import { reportEveryMs } from "../../patience.ts";
import { findUser } from "./user.ts";

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

interface Walk {
  readonly owner: Owner;
  readonly log: Log;
  readonly stop: AbortSignal;
  readonly directory: string;
  looked: number;
  changed: number;
  /** What could not be changed, since its file system is read-only. */
  readOnly: number;
  reportedMs: number;
}

/** Other tasks get a turn after so many files. */
const filesPerTurn = 1_000;

/** Makes the directories, and gives all that is in them to the user that entrypoint is about to become. Throws Failure "bad-settings". */
export async function ownDirectories({
  settings: { own, user },
  log,
  signals: { stop },
}: Context<{ readonly own: readonly string[]; readonly user: string | null }>): Promise<void> {
  for (const directory of own) {
    try {
      makeDirectory(resolve(directory));
      // Who is not root can give nothing away.
      if (user === null || process.geteuid?.() !== 0) continue;
      const { uid, gid } = findUser(user);
      const walk: Walk = {
        owner: { uid, gid },
        log,
        stop,
        directory,
        looked: 0,
        changed: 0,
        readOnly: 0,
        reportedMs: performance.now(),
      };
      await ownTree(realpathSync(directory), walk);
      reportWalk(walk, user);
    } catch (error) {
      if (error instanceof Failure || stop.aborted) throw error;
      const { code = String(error), path = directory } = error as NodeJS.ErrnoException;
      throw new Failure("bad-settings", `cannot make and own ${directory}: ${code} (${path})`, {
        hint: "correct --own (ENTRYPOINT_OWN), or give the container the capabilities CHOWN and DAC_OVERRIDE",
        cause: error,
      });
    }
  }
}

/** What it makes on the way stays root's, and leads there whatever the umask. */
function makeDirectory(directory: string): void {
  const first = mkdirSync(directory, { recursive: true });
  if (first === undefined) return;
  for (let path = dirname(directory); path.length >= first.length; path = dirname(path)) {
    chmodSync(path, statSync(path).mode | 0o011);
  }
}

/** The directory at the path, whose last part is no link, and what is in it. The directory itself comes last. */
async function ownTree(path: string, walk: Walk): Promise<void> {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  const descriptor = openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    // By its descriptor it stays the same directory, whatever becomes of its path.
    const held = `/proc/self/fd/${descriptor}`;
    const place = existsSync(held) ? held : path;
    const entries = opendirSync(place);
    try {
      for (let entry = entries.readSync(); entry !== null; entry = entries.readSync()) {
        const child = `${place}/${entry.name}`;
        const stats = lstatSync(child, { throwIfNoEntry: false });
        // Somebody has deleted it meanwhile.
        if (stats === undefined) continue;
        walk.looked += 1;
        if (walk.looked % filesPerTurn === 0) await rest(walk);
        if (stats.isDirectory()) await ownTree(child, walk);
        else change(stats, walk, ({ uid, gid }) => lchownSync(child, uid, gid));
      }
    } finally {
      entries.closeSync();
    }
    change(fstatSync(descriptor), walk, ({ uid, gid }) => fchownSync(descriptor, uid, gid));
  } finally {
    closeSync(descriptor);
  }
}

function change({ uid, gid }: Owner, walk: Walk, give: (owner: Owner) => void): void {
  if (uid === walk.owner.uid && gid === walk.owner.gid) return;
  try {
    give(walk.owner);
    walk.changed += 1;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EROFS") walk.readOnly += 1;
    else if (code !== "ENOENT") throw error;
  }
}

async function rest(walk: Walk): Promise<void> {
  await setImmediate();
  walk.stop.throwIfAborted();
  if (performance.now() - walk.reportedMs < reportEveryMs) return;
  walk.reportedMs = performance.now();
  const { directory, looked, changed } = walk;
  walk.log.info(
    { event: "owning", directory, looked, changed },
    `Still changing the owner in ${directory}: ${changed} of ${looked} files so far`,
  );
}

function reportWalk({ log, directory, owner, changed, readOnly }: Walk, user: string): void {
  if (changed > 0) {
    log.info(
      { event: "owned", directory, ...owner, changed },
      `${user} (${owner.uid}:${owner.gid}) owns ${directory} now: ${changed} files and directories were another's`,
    );
  }
  if (readOnly === 0) return;
  log.warn(
    { event: "owned", directory, readOnly },
    `${readOnly} files in ${directory} keep their owner: their file system is read-only`,
  );
}
