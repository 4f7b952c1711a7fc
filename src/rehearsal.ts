// Before the single executable's snapshot is taken, the usual start is played through once, on a small project and with a
// made-up server: of a function that has run V8 keeps the bytecode in the snapshot, and any other is compiled at each
// start. Nothing that happens here may be left behind in a variable.

import { EventEmitter } from "node:events";
import pg from "pg";
import { parseArguments } from "./cli.ts";
import { createPinoLog } from "./pino-log.ts";
import { readVersionRows } from "./database/version-rows.ts";
import { resolveState } from "./migrations/alembic/graph.ts";
import { readHistory } from "./migrations/alembic/inspect.ts";
import { recogniseCommand } from "./migrations/command.ts";
import { decide } from "./migrations/decide.ts";
import { readLogSettings, readSettings } from "./settings.ts";

const url = "postgresql+psycopg://blog:secret@127.0.0.1/blog";

/** `cwd` is a project at whose head the made-up database is. */
export async function rehearse(cwd: string, head: string): Promise<void> {
  const parsed = parseArguments(["--wait-timeout", "60s", "uvicorn", "app.main:app"]);
  if (parsed.kind === "print") throw new Error(parsed.text);
  const { flags } = parsed.invocation;
  readLogSettings(flags, {});
  const log = await createPinoLog("json", "silent");
  const settings = readSettings(parsed.invocation, { DATABASE_URL: url }, cwd);
  const history = await readHistory(recogniseCommand(settings.migrate ?? []), {
    cwd,
    env: {},
    versionTable: null,
    versions: [],
    frozen: { kind: "none" },
  });
  const { graph } = history;
  if (graph.kind === "cannot-tell") throw new Error(graph.reason);

  const client = new pg.Client({ stream: () => createServer(head), user: "blog", ssl: false });
  await client.connect();
  const answer = await readVersionRows(client, history.versionTable);
  await client.end();
  const rows = answer.kind === "known" ? answer.rows : [];
  const state = resolveState(graph.graph, { kind: "head" }, rows, true);
  const plan = decide(settings, state, history.versionTable);
  if (state.state !== "current" || plan.kind !== "go") throw new Error(`it is ${state.state}`);
  log.info({ event: "starting", app: settings.app }, "Migrations complete.");
}

const catalog = `{"schema":"public","visible":true}`;

/** The stream to a server that trusts everybody, and answers what an inspection asks. */
function createServer(head: string) {
  let answers: readonly Buffer[] = [
    oneRow(["database", "blog", 25], ["userTables", "t", 16], ["places", `[${catalog}]`, 114]),
    oneRow(["version_num", head, 1043]),
  ];
  const nothing = () => undefined;
  const stream = Object.assign(new EventEmitter(), {
    writable: true,
    setNoDelay: nothing,
    setKeepAlive: nothing,
    ref: nothing,
    unref: nothing,
    cork: nothing,
    uncork: nothing,
    destroy: nothing,
    connect: () => reply("connect"),
    end: () => reply("close"),
    write(bytes: Buffer) {
      const asked = bytes.toString("latin1", 0, 1);
      const [next, ...rest] = answers;
      if (asked === "X") reply("close");
      else if (asked !== "Q") reply("data", greeting);
      else if (next !== undefined) {
        answers = rest;
        reply("data", next);
      }
      return true;
    },
  });
  const reply = (event: string, ...data: readonly Buffer[]) => {
    process.nextTick(() => stream.emit(event, ...data));
    return stream;
  };
  return stream as never;
}

// PostgreSQL's messages: a letter, the length, and the content.
const readyForQuery = message("Z", Buffer.from("I"));
const greeting = Buffer.concat([
  message("R", int32(0)),
  message("S", Buffer.from("server_version\u000018.0\0")),
  message("K", Buffer.concat([int32(1), int32(2)])),
  readyForQuery,
]);

/** One row of columns: their name, their value and the oid of their type. */
function oneRow(
  ...columns: readonly (readonly [name: string, value: string, oid: number])[]
): Buffer {
  const count = int16(columns.length);
  const fields = columns.map(([name, , oid]) =>
    Buffer.concat([
      Buffer.from(`${name}\0`),
      int32(0),
      int16(0),
      int32(oid),
      int16(-1),
      int32(-1),
      int16(0),
    ]),
  );
  const values = columns.map(([, value]) =>
    Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)]),
  );
  return Buffer.concat([
    message("T", Buffer.concat([count, ...fields])),
    message("D", Buffer.concat([count, ...values])),
    message("C", Buffer.from("SELECT 1\0")),
    readyForQuery,
  ]);
}

function message(kind: string, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from(kind), int32(content.length + 4), content]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}
