// The histories of a boot: mostly one, else one for each migration command or tenant, all in one database. Guarantees: none is
// taken for current by what another one says.

import type { Words } from "../context.ts";
import type { Failure } from "../failure.ts";
import type { Connection } from "../postgres/connection.ts";
import { hasTables } from "../postgres/tables.ts";
import { stateDetails, type State } from "../state.ts";
import type { History } from "../tools/tool.ts";
import { decide, type Plan, type Policy } from "./decide.ts";
import { inspect } from "./inspect.ts";

/** A history, and the command that migrates it. */
export interface Migration {
  /** What messages call it; null where it is the only one. */
  readonly name: string | null;
  /** As it is run; what is read may be another command. */
  readonly words: Words;
  /** What is run in its place on an empty database; null for the command itself. */
  readonly whenEmpty: Words | null;
  readonly history: History;
  /** The schema whose history it is, and whose tables alone count; null where it is the whole database's. */
  readonly tenant: string | null;
}

export interface Inspected extends Migration {
  readonly state: State;
  /** Nothing is in the database, or in the tenant's schema. Looked up in doubt only where that matters. */
  readonly empty: boolean;
}

/** Step 2 for each history. @param connection null where no database is known. */
export async function inspectEach(
  migrations: readonly Migration[],
  connection: Connection | null,
): Promise<readonly Inspected[]> {
  const found: Inspected[] = [];
  for (const migration of migrations) {
    const state = await inspect(migration.history, connection);
    found.push({ ...migration, state, empty: await isEmpty(migration, state, connection) });
  }
  return shareTables(found);
}

/** Step 2 once more for one of several, after another one has been migrated, which may have made the tables. */
export async function inspectAgain(
  one: Inspected,
  connection: Connection | null,
): Promise<Inspected> {
  const state = await inspect(one.history, connection);
  const found = { ...one, state, empty: one.empty && !isApplied(state) };
  return one.state.state === "behind" ? { ...found, state: withoutTables(state) } : found;
}

/** Tables without a revision may be another history's, where that one has a revision. */
function shareTables(found: readonly Inspected[]): readonly Inspected[] {
  if (found.length < 2 || !found.some(({ state }) => isApplied(state))) return found;
  return found.map((one) =>
    one.tenant === null ? { ...one, state: withoutTables(one.state) } : one,
  );
}

/** The state of a history to which the tables of the database do not belong. */
export function withoutTables(state: State): State {
  return state.state === "unstamped" ? { ...state, state: "behind" } : state;
}

async function isEmpty(
  { whenEmpty, tenant }: Migration,
  state: State,
  connection: Connection | null,
): Promise<boolean> {
  if (state.state === "behind") return state.current.length === 0;
  if (state.state !== "cannot-tell" || whenEmpty === null || connection === null) return false;
  return !(await hasTables(connection, { schema: tenant }));
}

/** What is run to migrate it. */
export function commandFor({ words, whenEmpty, empty }: Inspected): Words {
  return empty && whenEmpty !== null ? whenEmpty : words;
}

function isApplied(state: State): boolean {
  return "current" in state && state.current.length > 0;
}

/** What the state means for this boot, in words that name the history. */
export function planFor(policy: Policy, { name, state, history }: Inspected): Plan {
  const plan = decide(policy, state, history);
  if (plan.kind === "fail") return { kind: "fail", failure: nameFailure(name, plan.failure) };
  return plan.warning === null ? plan : { ...plan, warning: titled(name, plan.warning) };
}

export function nameFailure(name: string | null, failure: Failure): Failure {
  if (name === null) return failure;
  return failure.with({ message: titled(name, failure.message), details: { history: name } });
}

/** A message about one of several histories begins with its name. */
export function titled(name: string | null, message: string): string {
  return name === null ? message : `${name}: ${message}`;
}

export function areCurrent(inspected: readonly Inspected[]): boolean {
  return inspected.every(({ state }) => state.state === "current");
}

/** The facts for a log line: those of the one history, or of each by its name. */
export function detailsOf(inspected: readonly Inspected[]): Record<string, unknown> {
  const [first] = inspected;
  if (inspected.length === 1 && first !== undefined) return stateDetails(first.state);
  return { histories: inspected.map(({ name, state }) => ({ name, ...stateDetails(state) })) };
}

/** `head c3`; of several histories `head: a at a2, b at b7` */
export function describeHeads(inspected: readonly Inspected[]): string {
  const heads = ({ state }: Inspected) => ("heads" in state ? state.heads.join(", ") : "");
  const [first] = inspected;
  if (inspected.length === 1 && first !== undefined) return `head ${heads(first)}`;
  const all = new Set(inspected.map(heads));
  const shown = inspected.slice(0, mostNamed).map((one) => `${one.name} at ${heads(one)}`);
  if (inspected.length > mostNamed && all.size === 1) {
    return `head ${[...all].join("")} in all of ${inspected.length} histories`;
  }
  const left = inspected.length - shown.length;
  return `head: ${shown.join(", ")}${left > 0 ? ` and ${left} more` : ""}`;
}

/** How many histories a line of the log names. */
export const mostNamed = 5;

/** Their names, without a schema: by them migrations are detected in the server. */
export function versionTablesOf(migrations: readonly Pick<Migration, "history">[]): string[] {
  return [...new Set(migrations.map(({ history }) => history.versionTable.name))];
}
