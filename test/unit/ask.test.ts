// Reading what `alembic history --verbose` prints; that real Alembic prints just that is tested in
// test/process/status.test.ts.

import { expect, test } from "vitest";
import { readHistoryOutput } from "../../src/migrations/alembic/ask.ts";

test("every mark and field is understood, and env.py's own lines are none", () => {
  const text = `connecting ...
Rev: e5 (head) (mergepoint)
Merges: b2, c3
Also depends on: x1, x2
Branch names: blog
Path: /v/e5.py

    the message

    Rev: not this
    Parent: nor this

Rev: a1 (branchpoint)
Parent: <base>
Branches into: b2, c3
Path: /v/a1.py


`;
  expect(readHistoryOutput(text)).toEqual([
    {
      id: "e5",
      downRevisions: ["b2", "c3"],
      dependsOn: ["x1", "x2"],
      branchLabels: [],
      labelsUnknown: true,
      doc: "the message\n\nRev: not this\nParent: nor this",
      path: "/v/e5.py",
    },
    { id: "a1", downRevisions: [], dependsOn: [], branchLabels: [], doc: "", path: "/v/a1.py" },
  ]);
  expect(readHistoryOutput("")).toEqual([]);
});
