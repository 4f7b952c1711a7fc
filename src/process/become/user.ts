// `exec gosu app uvicorn …`: --user drops root before any command runs, the migration included. Guarantees: the process
// cannot become root again.

import { readFileSync } from "node:fs";

import type { Environment } from "../../runtime/environment.ts";
import { Failure } from "../../failure.ts";

/** The identity of a process. */
export type User = {
  readonly uid: number;
  readonly gid: number;
  /** The supplementary groups, as setgroups takes them; `gid` is one of them. */
  readonly groups: readonly number[];
  readonly home: string;
};

/**
 * Resolves `NAME[:GROUP]` to numbers, as Docker's USER and gosu do. A number is always an id, and need not be in the files:
 * its group is then 0, its home `/`. A given group is the only one; without it, those that list the user in /etc/group
 * are added.
 * @param passwdText, groupText the texts of /etc/passwd and /etc/group (passwd(5), group(5)).
 * @throws {Failure} "bad-settings" if a name is in neither file.
 */
export function resolveUser(spec: string, passwdText: string, groupText: string): User {
  const [name = "", groupName, ...rest] = spec.split(":");
  if (name === "" || groupName === "" || rest.length > 0) {
    throw new Failure("bad-settings", `cannot switch to user "${spec}": not NAME or NAME:GROUP`);
  }

  const entry = findEntry(passwdText, name);
  const uid = entry === undefined ? parseId(name) : parseId(entry[2]);
  if (uid === undefined) {
    throw new Failure("bad-settings", `cannot switch to user ${name}: not in /etc/passwd`, {
      hint: `Create it in the image (useradd ${name}), or give its number.`,
    });
  }
  const home = entry?.[5] || "/";

  if (groupName !== undefined) {
    const gid = parseId(findEntry(groupText, groupName)?.[2] ?? groupName);
    if (gid === undefined) {
      throw new Failure("bad-settings", `cannot switch to group ${groupName}: not in /etc/group`, {
        hint: `Create it in the image (groupadd ${groupName}), or give its number.`,
      });
    }
    return { uid, gid, groups: [gid], home };
  }

  const gid = parseId(entry?.[3]) ?? 0;
  const memberships = entriesOf(groupText)
    .filter((group) => entry?.[0] !== undefined && group[3]?.split(",").includes(entry[0]))
    .flatMap((group) => parseId(group[2]) ?? []);
  return { uid, gid, groups: [...new Set([gid, ...memberships])], home };
}

/**
 * Switches this process to the user of `spec` for good.
 * @returns `env` with the user's HOME; `env` itself if nothing had to be changed.
 * @throws {Failure} "bad-settings" if the user is unknown, or if this process is another user's and not root, or lacks the
 * capabilities.
 */
export function dropPrivileges(spec: string, env: Environment): Environment {
  const user = findUser(spec);
  const { getuid, geteuid, getgid, getegid, setuid, setgid, setgroups } = process;
  if (!getuid || !geteuid || !getgid || !getegid || !setuid || !setgid || !setgroups) {
    throw new Failure("bad-settings", "cannot switch users: not on this operating system");
  }

  if (geteuid() === user.uid && getegid() === user.gid) return env;
  if (geteuid() !== 0) {
    throw new Failure(
      "bad-settings",
      `cannot switch to user ${spec} (${user.uid}:${user.gid}): not root, but ${geteuid()}:${getegid()}`,
      { hint: "Start the container as root, or leave --user (ENTRYPOINT_USER) out." },
    );
  }

  try {
    // In this order: without uid 0 neither the groups nor the group could be changed.
    setgroups([...user.groups]);
    setgid(user.gid);
    setuid(user.uid);
  } catch (cause) {
    throw new Failure("bad-settings", `cannot switch to user ${spec}: not permitted`, {
      cause,
      hint: "Give the container the capabilities SETUID and SETGID.",
    });
  }

  const ids = [getuid(), geteuid(), getgid(), getegid()].join(" ");
  const wanted = [user.uid, user.uid, user.gid, user.gid].join(" ");
  if (ids !== wanted || (user.uid !== 0 && canRegainRoot(setuid))) {
    throw new Error(`switched to user ${spec}, and could switch back (ids ${ids}, not ${wanted})`);
  }
  return { ...env, HOME: user.home };
}

/** The HOME that dropPrivileges will give; that of `env` if it changes nothing, or fails. */
export function foreseeHome(spec: string, env: Environment): string | undefined {
  try {
    const { uid, gid, home } = findUser(spec);
    return process.geteuid?.() === uid && process.getegid?.() === gid ? env["HOME"] : home;
  } catch {
    return env["HOME"];
  }
}

/** Throws Failure "bad-settings". */
export function findUser(spec: string): User {
  return resolveUser(spec, readText("/etc/passwd"), readText("/etc/group"));
}

function canRegainRoot(setuid: (id: number) => void): boolean {
  try {
    setuid(0);
    return true;
  } catch {
    return false;
  }
}

/** The entry of a name or a number; the first one wins, as in libc. */
function findEntry(text: string, wanted: string): string[] | undefined {
  const id = parseId(wanted);
  return entriesOf(text).find((fields) =>
    id === undefined ? fields[0] === wanted : parseId(fields[2]) === id,
  );
}

function entriesOf(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => /^[^#:]+:/.test(line))
    .map((line) => line.split(":"));
}

/** A uid or gid; 4294967295 is -1, which to the kernel means "do not change". */
function parseId(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id < 4_294_967_295 ? id : undefined;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // An image without the file: numbers work.
  }
}
