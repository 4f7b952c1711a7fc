// A server that says anything but what the protocol wants: each query ends in time with an answer or an Error, nothing is thrown
// where nobody listens, and no answer is taken for a database at head.

import fc from "fast-check";
import { expect, test } from "vitest";
import { inspect } from "../../../src/migrate/inspect.ts";
import { connect } from "../../../src/postgres/connect.ts";
import { buildGraph, resolveState } from "../../../src/tools/alembic/graph.ts";
import { readVersionRows } from "../../../src/tools/alembic/ledger.ts";
import type { History } from "../../../src/tools/tool.ts";
import { mutated } from "../harness/mutations.ts";
import {
  addressOf,
  authentication,
  message,
  quiet,
  readyForQuery,
  row,
  startServer,
} from "./harness.ts";

/** In no answer. */
const head = "the-only-revision";
const built = buildGraph([
  { id: head, downRevisions: [], dependsOn: [], branchLabels: [], path: "/x.py" },
]);
const text = (bytes: Buffer) => bytes.toString("latin1");
const greeting = text(
  Buffer.concat([
    authentication(0),
    message("S", Buffer.from("server_version\x0018.0\0")),
    message("K", Buffer.from([0, 0, 0, 7, 0, 0, 0, 9])),
    readyForQuery,
  ]),
);
const answers = [
  text(Buffer.concat([row({ schema: true, visible: true }), readyForQuery])),
  text(Buffer.concat([row({ version_num: true }), readyForQuery])),
  text(Buffer.concat([row({}), readyForQuery])),
  text(Buffer.concat([message("E", Buffer.from("SERROR\0C42P01\0Mno\0\0")), readyForQuery])),
  text(message("E", Buffer.from("SFATAL\0C57P01\0Mterminating\0\0"))),
];
const words = [
  "R\0\0\0\x08\0\0\0\x03",
  "R\0\0\0\x08\0\0\0\x07",
  "R\0\0\0\x0c\0\0\0\x05salt",
  "R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0",
  "R\0\0\0\x08\0\0\0\x63",
  "R\0\0\0\x08\0\0\0\x0b",
  "R\0\0\0\x08\0\0\0\x0c",
  "Z\0\0\0\x05I",
  "D\0\0\0\x06\0\x01",
  "D\0\0\0\x06\xff\xff",
  "T\0\0\0\x06\0\0",
  "T\0\0\0\x06\xff\xff",
  "C\0\0\0\x05\0",
  "E\0\0\0\x05\0",
  "N\0\0\0\x05\0",
  "A\0\0\0\x04",
  "I\0\0\0\x04",
  "G\0\0\0\x07\0\0\0",
  "\xff\xff\xff\xff",
  "\0\0\0\0",
  "\x80\0\0\0",
  "v\0\0\0\x04",
  "1\0\0\0\x04",
  "2\0\0\0\x04",
  "n\0\0\0\x04",
  "s\0\0\0\x04",
  "\x7f",
];

interface Conversation {
  readonly greeting: string;
  readonly answers: readonly string[];
}

async function look({ greeting: first, answers: later }: Conversation) {
  const { port } = await startServer((socket) => {
    let turn = 0;
    socket.on("data", () => {
      const said = turn === 0 ? first : (later[(turn - 1) % Math.max(later.length, 1)] ?? "");
      turn++;
      socket.write(Buffer.from(said, "latin1"));
    });
  });
  const limitMs = 300;
  const address = addressOf(`postgresql://blog:secret@127.0.0.1:${port}/blog?sslmode=disable`);
  try {
    const connection = await connect(address, { ...quiet, timeoutMs: limitMs });
    const table = { schema: null, name: "alembic_version" };
    const history = {
      doubt: null,
      readLedger: (by) => readVersionRows(by, table, null),
      resolve({ rows, userTables }) {
        if (built.kind !== "known") throw new Error(built.reason);
        return resolveState(built.graph, { kind: "head" }, rows, userTables);
      },
    } satisfies Partial<History> as unknown as History;
    try {
      return (await inspect(history, connection.within({ limitMs: () => limitMs }))).state;
    } finally {
      await connection.close();
    }
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    return "an error";
  }
}

test("hostile servers", async () => {
  const conversation = fc.record<Conversation>({
    greeting: fc.oneof(
      { weight: 2, arbitrary: fc.constant(greeting) },
      { weight: 2, arbitrary: mutated([greeting], words) },
      {
        weight: 1,
        arbitrary: fc
          .array(fc.nat(255), { maxLength: 60 })
          .map((codes) => String.fromCharCode(...codes)),
      },
    ),
    answers: fc.array(mutated(answers, words), { maxLength: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(conversation, { minLength: 50, maxLength: 50 }), async (all) => {
      const startMs = performance.now();
      const states = await Promise.all(all.map(look));
      expect(states).not.toContain("current");
      // At most the connection, three queries and the end of it, each within its limit; on a busy machine.
      expect(performance.now() - startMs).toBeLessThan(15_000);
    }),
    { numRuns: 6, seed: 1, endOnFailure: true },
  );
});
