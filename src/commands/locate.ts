// Where no setting and no file names the database for certain: the migration tool itself is queried for what it would connect
// to, once. Guarantees: a migration is skipped only on a database that the project itself has named.

import type { Context } from "../context.ts";
import { Failure } from "../failure.ts";
import { describeAddress, type DatabaseAddress } from "../postgres/url.ts";
import type { CommonSettings, DatabaseSettings } from "../settings/settings.ts";
import type { History } from "../tools/tool.ts";
import { locateDatabase, locateUrl, reportForeign, withPassword, type Located } from "./survey.ts";

/** What is known afterwards; `doubt` where the address is only likely, so that no migration may be skipped on it. */
export interface Queried {
  readonly located: Located;
  readonly doubt: string | null;
}

export async function queryDatabase(
  context: Context<CommonSettings & DatabaseSettings>,
  history: History,
): Promise<Queried> {
  const { settings, log, signals } = context;
  const { cwd, env, guess, conflicting } = settings;
  const { command } = history;
  let reason = command.opaque ?? `${command.toolName} cannot be queried for its database`;
  if (history.askDatabase !== undefined) {
    log.info(
      { event: "asking", reason: "no setting names the database" },
      `Asking ${command.toolName} which database it connects to, since no setting names it`,
    );
    const asked = await history.askDatabase({ cwd, env, stop: signals.stop });
    if (asked.kind === "foreign") {
      return { located: reportForeign(context, command.toolName, asked.dialect), doubt: null };
    }
    if (asked.kind === "url") {
      const located = locateUrl(context, asked.url, `what ${command.toolName} connects to`);
      if (located.kind === "address") {
        log.info(
          { event: "database-found" },
          `Using the database ${describeAddress(located.address)}, to which ${command.toolName} connects`,
        );
      }
      return { located, doubt: null };
    }
    reason = asked.reason;
  }
  if (guess !== null) {
    const names = guess.names.join(", ");
    log.info(
      { event: "database-found", variables: guess.names, reason },
      `Using the database ${describeAddress(guess.address)} of ${names} to wait and to lock`,
    );
    const address = withPassword(context, guess.address);
    const doubt = `only ${names} say that it is this database: ${reason}`;
    return { located: { kind: "address", address }, doubt };
  }
  const several =
    conflicting.length === 0 ? "" : `; these name several databases: ${conflicting.join(", ")}`;
  return { located: { kind: "unknown" }, doubt: `${reason}${several}` };
}

/** A boot that would migrate without a lock. */
export function noLock(reason: string): Failure {
  return new Failure(
    "bad-settings",
    `cannot lock the migration, since no PostgreSQL database is known: ${reason}`,
    {
      hint: "set DATABASE_URL, or ENTRYPOINT_DATABASE_URL, in which ${NAME} stands for a variable; --no-lock migrates without a lock",
    },
  );
}

/** The database that a command cannot do without; the migration tool is queried where nothing else names it. Throws Failure "bad-settings". @param purpose for the cure. */
export async function requireDatabase(
  context: Context<CommonSettings & DatabaseSettings & { readonly command: string }>,
  histories: readonly History[],
  purpose: string,
): Promise<DatabaseAddress> {
  const located = locateDatabase(context, histories);
  if (located.kind === "address") return located.address;
  let reason = "no PostgreSQL URL is known";
  const [first] = histories;
  if (located.kind === "unknown" && first !== undefined) {
    const queried = await queryDatabase(context, first);
    if (queried.located.kind === "address" && queried.doubt === null)
      return queried.located.address;
    if (queried.doubt !== null) reason = `${reason}: ${queried.doubt}`;
  }
  throw new Failure("bad-settings", `entrypoint ${context.settings.command}: ${reason}`, {
    hint: `set DATABASE_URL, or ENTRYPOINT_DATABASE_URL, to the database ${purpose}`,
  });
}
