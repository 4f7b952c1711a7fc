// Before the single executable's snapshot is taken, the usual start and `status` are played through once, on a small project
// and with a made-up server: of a function that has run V8 keeps the bytecode in the snapshot, and any other is compiled at
// each start. Nothing that happens here may be left behind: not in a variable, not in a buffer, not as a timer.

import { createHmac, pbkdf2Sync } from "node:crypto";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setImmediate, setTimeout } from "node:timers/promises";
import { queryObjects } from "node:v8";
import { boot } from "./boot.ts";
import { parseArguments } from "./cli.ts";
import { openPinoLog } from "./pino-log.ts";
import { findProgram } from "./process/find-program.ts";
import { readLogSettings, readSettings } from "./settings.ts";
import { printStatus } from "./status.ts";

const password = "secret";
/** Above every limit of time that is set here. */
const longestTimerMs = 3_100;

/** `cwd` is a project at whose head the made-up database is. */
export async function rehearse(cwd: string, head: string): Promise<void> {
  const server = await listen(head);
  const { port } = server.address() as AddressInfo;
  const env = { DATABASE_URL: `postgresql+psycopg://blog:${password}@127.0.0.1:${port}/blog` };
  const read = (...words: readonly string[]) => {
    const parsed = parseArguments(words);
    if (parsed.kind === "print") throw new Error(parsed.text);
    readLogSettings(parsed.invocation.flags, {});
    return readSettings(parsed.invocation, env, cwd);
  };
  const said: string[] = [];
  // The name would be left in pg's buffers.
  const os = process.getBuiltinModule("node:os");
  const { hostname } = os;
  os.hostname = () => "rehearsal";
  const silent = await openPinoLog("json", "silent");
  const hear = (_details: object, line: string) => void said.push(line);
  const log = { ...silent, info: hear, warn: hear, error: hear };
  const stop = new AbortController().signal;
  const signals = { stop, subscribe: () => () => undefined, release: () => undefined };
  const settings = read("--wait-timeout", "3s", "uvicorn", "app.main:app");
  await boot({ settings, log, signals });
  findProgram("sh", { path: "/bin", cwd });
  // Nobody reads the output of the process that takes the snapshot.
  const code = await printStatus({ settings: read("status"), log, signals });
  await printStatus({ settings: read("status", "--json"), log, signals });
  os.hostname = hostname;
  server.close();
  await once(server, "close");
  const expected = `Nothing to migrate: the database is at head ${head}`;
  if (said[0] !== expected || code !== 0)
    throw new Error(`the rehearsal said ${code}: ${said.join("; ")}`);
}

/**
 * Waits until nothing of a rehearsal is left: its timers have run out, since one in the snapshot would never do so and hold
 * up all that come after it; and the collector has taken the rest, so often that all has been told of it who want to be, since
 * V8 takes no snapshot while an AbortSignal of Node's waits for that.
 */
export async function forget(): Promise<void> {
  await setTimeout(longestTimerMs);
  for (let turn = 0; turn < 3; turn++) {
    queryObjects(AbortController); // Collects first; `gc` is not to be had here.
    await setImmediate();
  }
}

/** A server without TLS that asks for the password as PostgreSQL does, and answers what an inspection asks. */
async function listen(head: string): Promise<Server> {
  const server = createServer((socket) => void greet(socket, head));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

async function greet(socket: Socket, head: string): Promise<void> {
  const hear = async () => ((await once(socket, "data")) as [Buffer])[0];
  await hear(); // SSLRequest
  socket.write("N");
  await hear(); // StartupMessage
  socket.write(message("R", Buffer.concat([int32(10), Buffer.from("SCRAM-SHA-256\0\0")])));
  const first = /n=.*$/s.exec((await hear()).toString("latin1"))?.[0] ?? "";
  const nonce = `${/r=(.*)$/.exec(first)?.[1]}server`;
  const salt = Buffer.alloc(16, "salt");
  const challenge = `r=${nonce},s=${salt.toString("base64")},i=4096`;
  socket.write(message("R", Buffer.concat([int32(11), Buffer.from(challenge)])));
  await hear();
  const salted = pbkdf2Sync(password, salt, 4096, 32, "sha256");
  const serverKey = createHmac("sha256", salted).update("Server Key").digest();
  const heard = `${first},${challenge},c=biws,r=${nonce}`;
  const signature = createHmac("sha256", serverKey).update(heard).digest("base64");
  socket.write(
    Buffer.concat([
      message("R", Buffer.concat([int32(12), Buffer.from(`v=${signature}`)])),
      message("R", int32(0)),
      message("S", Buffer.from("server_version\u000018.0\0")),
      message("K", Buffer.concat([int32(1), int32(2)])),
      readyForQuery,
    ]),
  );
  for (let asked = await hear(); asked[0] === "Q".charCodeAt(0); asked = await hear()) {
    socket.write(Buffer.concat([answer(asked.toString("latin1"), head), readyForQuery]));
  }
  socket.end(); // It was Terminate.
}

/** Of the server to what an inspection asks, and `status`. */
function answer(query: string, head: string): Buffer {
  if (query.includes("select version_num")) return oneRow(["version_num", head, 1043]);
  if (query.includes("pg_table_is_visible")) {
    return oneRow(["schema", "public", 19], ["visible", "t", 16]);
  }
  const begun = ["BEGIN", "SET", "SET"].map((tag) => message("C", Buffer.from(`${tag}\0`)));
  const glance = oneRow(
    ["database", "blog", 25],
    ["pid", "1", 23],
    ["backfills", "f", 16],
    ["more", "f", 16],
  );
  return Buffer.concat([...begun, glance]);
}

// PostgreSQL's messages: a letter, the length, and the content.
const readyForQuery = message("Z", Buffer.from("I"));

/** Its name, its value as text, and the oid of its type. */
type Column = readonly [name: string, value: string, oid: number];

function oneRow(...columns: readonly Column[]): Buffer {
  const count = int16(columns.length);
  const fields = columns.map(([name, , oid]) => {
    const type = [int32(oid), int16(-1), int32(-1), int16(0)];
    return Buffer.concat([Buffer.from(`${name}\0`), int32(0), int16(0), ...type]);
  });
  const values = columns.map(([, value]) =>
    Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)]),
  );
  return Buffer.concat([
    message("T", Buffer.concat([count, ...fields])),
    message("D", Buffer.concat([count, ...values])),
    message("C", Buffer.from("SELECT 1\0")),
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
