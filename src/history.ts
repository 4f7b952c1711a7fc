// `alembic current`, `alembic heads` and `alembic history`, from the files: what these print, without Python. Where the
// files leave doubt the real command is run, and what it prints passes through.

import { describeAddress } from "./database/url.ts";
import { readVersionRows } from "./database/version-rows.ts";
import { connectAtOnce } from "./database/connect.ts";
import { Failure } from "./exit-codes.ts";
import { printResult } from "./log.ts";
import { findCurrent, type Graph } from "./migrations/alembic/graph.ts";
import type { History } from "./migrations/alembic/inspect.ts";
import { createListing } from "./migrations/alembic/listing.ts";
import { askAlembic } from "./migrations/command.ts";
import type { Context } from "./migrations/migrate.ts";
import { runCommand } from "./process/run-migration.ts";
import { askOnce, findDatabase, readMigrations } from "./survey.ts";

const connectTimeoutMs = 2_000;

type Listed =
  | { readonly kind: "known"; readonly text: string }
  | { readonly kind: "cannot-tell"; readonly reason: string };

export async function printHistory(context: Context): Promise<number> {
  return print(context, "history", async (graph) => {
    const listing = createListing(graph);
    const show = { parents: true, labels: true, branches: true, message: true };
    const { verbose } = context.settings;
    return known(listing.order.map((id) => (verbose ? listing.entry(id) : listing.line(id, show))));
  });
}

export async function printHeads(context: Context): Promise<number> {
  return print(context, "heads", async (graph) => {
    const listing = createListing(graph);
    const show = { parents: false, labels: true, branches: false, message: false };
    const { verbose } = context.settings;
    return known(graph.heads.map((id) => (verbose ? listing.entry(id) : listing.line(id, show))));
  });
}

export async function printCurrent(context: Context): Promise<number> {
  return print(context, "current", async (graph, history) => {
    const { verbose } = context.settings;
    const address = findDatabase(context, history);
    if (address === null) return { kind: "cannot-tell", reason: "no database URL is known" };
    const { stop } = context.signals;
    const connection = await connectAtOnce(address, { timeoutMs: connectTimeoutMs, stop });
    const rows = await askOnce(context, connection, ({ client }) =>
      readVersionRows(client, history.versionTable),
    );
    if (rows.kind === "cannot-tell") return rows;
    const found = findCurrent(graph, rows.rows);
    if (found.kind === "cannot-tell") return found;
    if (found.kind === "unknown") {
      throw new Failure(
        "ahead",
        `the database is at ${found.rows.join(", ")}, which no revision file has`,
        { hint: "look at it with the image that has it" },
      );
    }
    const listing = createListing(graph);
    const show = { parents: false, labels: false, branches: true, message: false };
    const lines = found.ids.map((id) => (verbose ? listing.entry(id) : listing.line(id, show)));
    const header = `Current revision(s) for ${describeAddress(address)}:`;
    return known(verbose ? [header, ...lines] : lines);
  });
}

function known(lines: readonly string[]): Listed {
  return { kind: "known", text: lines.map((line) => `${line}\n`).join("") };
}

async function print(
  context: Context,
  verb: "current" | "heads" | "history",
  list: (graph: Graph, history: History) => Promise<Listed>,
): Promise<number> {
  const { settings } = context;
  const history = await readMigrations(context, settings.migrate ?? []);
  const { graph } = history;
  // Labels and docstrings do not matter to what is pending, but here they are shown.
  const shown = graph.kind === "known" ? [...graph.graph.revisions.values()] : [];
  const doubtful =
    shown.find(({ labelsUnknown }) => labelsUnknown === true && verb !== "current") ??
    shown.find(({ docUnknown }) => docUnknown === true && (settings.verbose || verb === "history"));
  const answer: Listed =
    graph.kind === "cannot-tell"
      ? graph
      : doubtful !== undefined
        ? { kind: "cannot-tell", reason: `only Python can tell what ${doubtful.path} says` }
        : await list(graph.graph, history);
  if (answer.kind === "cannot-tell") await passThrough(context, verb, answer.reason);
  else if (answer.text !== "") printResult(answer.text);
  return 0;
}

/** Runs Alembic's own command of that name. */
async function passThrough(
  { settings, log, signals }: Context,
  verb: "current" | "heads" | "history",
  reason: string,
): Promise<void> {
  const { env, cwd, verbose } = settings;
  const words = askAlembic(settings.migrate ?? [], verb, verbose ? ["--verbose"] : []);
  const cannot = (message: string) => new Failure("cannot-tell", message, { details: { reason } });
  if (words === null) throw cannot(`cannot tell what to print, nor whom to ask: ${reason}`);
  const command = words.join(" ");
  log.info({ event: "asking", command: words, reason }, `Running ${command}, since ${reason}`);
  const options = { env, cwd, timeoutMs: 0, signals, lockLost: null, log };
  const end = await runCommand(words, options);
  if (end.kind === "stopped") throw signals.stop.reason;
  if (end.kind !== "exited" || end.code !== 0) {
    throw cannot(`${command} ${end.kind === "exited" ? `exited with code ${end.code}` : end.kind}`);
  }
}
