// The script's migration and the application read their URLs each in its own way. Guarantees: where the migration tool is seen to
// use its own configuration alone, no other database is taken for the one that it migrates.

import type { Log } from "../context.ts";
import { Failure } from "../failure.ts";
import { BadUrl } from "../postgres/parameters.ts";
import { socketDirectories } from "../postgres/password-file.ts";
import {
  describeAddress,
  parseDatabaseUrl,
  type DatabaseAddress,
  type Host,
} from "../postgres/url.ts";
import type { Environment } from "../runtime/environment.ts";
import type { DatabaseSetting } from "../settings/settings.ts";
import type { ConfiguredUrl } from "../tools/tool.ts";

/** Throws Failure "bad-settings" where they differ; a flag is the user's word, and a difference from that is a warning. */
export function requireOneDatabase(
  { log, env }: { readonly log: Log; readonly env: Environment },
  setting: DatabaseSetting,
  configured: ConfiguredUrl | null,
): void {
  const other = configured === null ? null : readSetting(configured, env);
  if (other === null || isSame(setting, other)) return;
  const [given, own] = [setting, other].map(describe);
  const problem = `the migration command uses only ${other.from}, which names ${own}, and ${setting.from} names ${given}`;
  if (setting.from === "--database-url") {
    log.warn(
      { event: "other-database", database: given, configured: own },
      `Looking at another database: ${problem}`,
    );
    return;
  }
  throw new Failure("bad-settings", problem, {
    hint: `name the one that is migrated with --database-url, or let the migration command read ${setting.from} too`,
    details: { database: given, configured: own },
  });
}

/** Null where it cannot be read: then the tool itself reports that. */
function readSetting({ url, from }: ConfiguredUrl, env: Environment): DatabaseSetting | null {
  try {
    const answer = parseDatabaseUrl(url, env);
    if (answer.kind === "foreign") return { ...answer, from };
    return { kind: "address", address: answer.address, from };
  } catch (error) {
    if (error instanceof BadUrl) return null;
    throw error;
  }
}

function describe(setting: DatabaseSetting): string {
  return setting.kind === "foreign"
    ? `a ${setting.dialect} database`
    : describeAddress(setting.address);
}

/** Whether they may be one database: the roles may differ, and a host may have a longer name. */
function isSame(one: DatabaseSetting, other: DatabaseSetting): boolean {
  if (one.kind === "foreign" || other.kind === "foreign") return one.kind === other.kind;
  const [a, b] = [one.address, other.address];
  return (
    nameOf(a) === nameOf(b) &&
    a.hosts.some((host) => b.hosts.some((each) => isSameHost(host, each)))
  );
}

function nameOf({ database, user }: DatabaseAddress): string | undefined {
  return database ?? user;
}

function isSameHost(one: Host, other: Host): boolean {
  if (one.port !== other.port) return false;
  const [a, b] = [one, other].map(hostName) as [string, string];
  return a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`);
}

/** All ways to the server of this machine are one. */
function hostName({ host, address, byDefault }: Host): string {
  const name = (address ?? host).toLowerCase();
  const local = ["127.0.0.1", "::1", ...socketDirectories].includes(name) || byDefault === true;
  return local ? "localhost" : name;
}
