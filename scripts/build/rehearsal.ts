// Runs the usual start and `status` once before the snapshot is taken, on a small project and with a server of its own: V8 keeps
// the bytecode of functions that have run in the snapshot, and compiles any other at each start.
// Guarantees: nothing of it stays, no variable and no timer, but what lies unused in Buffer's pool, the same in each build; and it
// has failed unless each command has gone its whole way.

import { createHmac, pbkdf2Sync } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, Socket, type AddressInfo, type Server } from "node:net";
import { join } from "node:path";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { queryObjects } from "node:v8";

import type { execute } from "../../src/commands/commands.ts";
import { forgetSecrets } from "../../src/log/mask.ts";
import { findProgram } from "../../src/process/become/find-program.ts";
import { parseArguments } from "../../src/settings/cli.ts";
import { readSettings } from "../../src/settings/reading.ts";
import { replace } from "./replace.ts";

const password = "secret";
/** The revision of the database. */
const head = "b2";

/** Null: the boot would start the application now. 0: the database is at head. */
const rehearsed: readonly [words: readonly string[], code: number | null][] = [
  [["--log-format", "text", "--wait-timeout", "3s", "uvicorn", "app.main:app"], null],
  [["status"], 0],
  [["status", "--json"], 0],
];

/** @throws where a command ends otherwise than it should. */
export async function rehearse(run: typeof execute): Promise<void> {
  // The same address, and below the same folder, in each build: a string that has been in V8's table of strings, as the keys
  // of a Set are, may have changed the order of others.
  const cwd = "/proc/self/cwd/project";
  writeProject(cwd);
  const server = await listen();
  const { port } = server.address() as AddressInfo;
  const env = { DATABASE_URL: `postgresql+psycopg://blog:${password}@127.0.0.1:5432/blog` };
  const stop = new AbortController().signal;
  const signals = { stop, subscribe: () => () => undefined, release: () => undefined };
  const connect = Reflect.get(Socket.prototype, "connect") as (
    port: number,
    host: string,
  ) => Socket;
  const replaced = [
    // Else it stays in pg's buffers.
    replace(process.getBuiltinModule("node:os"), { hostname: () => "rehearsal" }),
    // The same exchange in each build: its parts stay in the pool that small buffers are cut from.
    replace(process.getBuiltinModule("node:crypto"), {
      randomBytes: (size: number) => Buffer.alloc(size),
    }),
    replace(Socket.prototype, {
      connect(this: Socket) {
        return connect.call(this, port, "127.0.0.1");
      },
    }),
    // Else it finds the folder's own name.
    replace(process.getBuiltinModule("node:fs").realpathSync, { native: (path: string) => path }),
    suspendTimeLimits(),
  ];
  for (const [words, expected] of rehearsed) {
    const parsed = parseArguments(words);
    if (parsed.kind === "print") throw new Error(parsed.text);
    const settings = readSettings(parsed.invocation, env, cwd);
    if (settings.command === "supervise" || settings.command === "exec")
      throw new Error("it has no command to rehearse");
    const code = await run(settings, signals);
    if (code !== expected) throw new Error(`${words.join(" ")} ends with ${code}`);
  }
  findProgram("sh", { path: "/bin", cwd });
  forgetSecrets();
  server.close();
  await once(server, "close");
  for (const putBack of replaced) putBack();
  await forget();
}

/**
 * Lets no time limit run out, on a machine that is slow or stopped: how far the rehearsal had come would be in the snapshot. A
 * timer waits for as long as one can, since Node keeps when the first of all runs out, that of a cleared one too. A signal gets
 * no timer: nothing would clear it, and one in the snapshot never would run out, and would block all later ones.
 * @returns what restores both, and aborts the signals.
 */
function suspendTimeLimits(): () => void {
  const { setTimeout, setInterval } = globalThis;
  const longestMs = 2 ** 31 - 1;
  const controllers: AbortController[] = [];
  const replaced = [
    replace(globalThis, {
      setTimeout: (act: () => void) => setTimeout(act, longestMs),
      setInterval: (act: () => void) => setInterval(act, longestMs),
    }),
    replace(AbortSignal, {
      timeout: () => {
        const controller = new AbortController();
        controllers.push(controller);
        return controller.signal;
      },
    }),
  ];
  return () => {
    for (const putBack of replaced) putBack();
    for (const controller of controllers.splice(0)) controller.abort();
  };
}

/**
 * Waits until nothing of the rehearsal is left. The collector has to free it and report that: V8 takes no snapshot while an
 * AbortSignal of Node's waits for that report.
 */
async function forget(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    queryObjects(AbortController); // Collects first; there is no `gc` here.
    await setImmediate();
  }
  // Node keeps when the next timer runs out until one does.
  await sleep(1);
}

/** A server without TLS that requests a password as PostgreSQL does, and answers the queries of `run` and `status`. */
async function listen(): Promise<Server> {
  const server = createServer((socket) => void greet(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

async function greet(socket: Socket): Promise<void> {
  const receive = async () => ((await once(socket, "data")) as [Buffer])[0];
  await receive(); // SSLRequest
  socket.write("N");
  await receive(); // StartupMessage
  socket.write(message("R", Buffer.concat([int32(10), Buffer.from("SCRAM-SHA-256\0\0")])));
  const first = /n=.*$/s.exec((await receive()).toString("latin1"))?.[0] ?? "";
  const nonce = `${/r=(.*)$/.exec(first)?.[1]}server`;
  const salt = Buffer.alloc(16, "salt");
  const challenge = `r=${nonce},s=${salt.toString("base64")},i=4096`;
  socket.write(message("R", Buffer.concat([int32(11), Buffer.from(challenge)])));
  await receive();
  const salted = pbkdf2Sync(password, salt, 4096, 32, "sha256");
  const serverKey = createHmac("sha256", salted).update("Server Key").digest();
  const exchanged = `${first},${challenge},c=biws,r=${nonce}`;
  const signature = createHmac("sha256", serverKey).update(exchanged).digest("base64");
  socket.write(
    Buffer.concat([
      message("R", Buffer.concat([int32(12), Buffer.from(`v=${signature}`)])),
      message("R", int32(0)),
      message("S", Buffer.from("server_version\u000018.0\0")),
      message("K", Buffer.concat([int32(1), int32(2)])),
      readyForQuery,
    ]),
  );
  for (let query = await receive(); query[0] === "Q".charCodeAt(0); query = await receive()) {
    socket.write(Buffer.concat([answer(query.toString("latin1")), readyForQuery]));
  }
  socket.end(); // It was Terminate.
}

/** The result of one of their queries. */
function answer(query: string): Buffer {
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

/** A project whose head is the database's revision; its env.py is that of Alembic's template, as in most projects. */
function writeProject(directory: string): void {
  const versions = join(directory, "migrations", "versions");
  mkdirSync(versions, { recursive: true });
  writeFileSync(
    join(directory, "alembic.ini"),
    "[alembic]\nscript_location = migrations\n# empty\nsqlalchemy.url = postgresql://localhost/blog\n",
  );
  writeFileSync(
    join(directory, "migrations", "env.py"),
    `"""Of no database."""
import os
from logging.config import fileConfig
from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name)
config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"].replace("%", "%%"))
target_metadata = None


def run_migrations_offline() -> None:
    context.configure(url=config.get_main_option("sqlalchemy.url"), target_metadata=target_metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    connectable = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool)
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
`,
  );
  for (const [id, down] of [
    ["a1", "None"],
    [head, '"a1"'],
  ] as const) {
    writeFileSync(
      join(versions, `${id}.py`),
      `"""create

Revision ID: ${id}
"""
from typing import Sequence, Union
from alembic import op
import sqlalchemy as sa

# revision identifiers, used by Alembic.
revision: str = "${id}"
down_revision: Union[str, Sequence[str], None] = ${down}
branch_labels: Union[str, Sequence[str], None] = None
depends_on = None


def upgrade() -> None:
    op.create_table("posts", sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table("posts")
`,
    );
  }
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
