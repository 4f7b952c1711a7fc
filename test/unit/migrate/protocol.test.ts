// The protocol of a boot, in each order in which two or three replicas, their migrations, the server and two faults can act. That
// each step and each assumption is needed shows what the explorer finds without it. src/migrate/README.md has the assumptions.

import { expect, test } from "vitest";
import { begin, explore, protocol, type Rules } from "./harness/protocol.ts";

test.each([
  { replicas: 2, faults: 3 },
  { replicas: 3, faults: 2 },
])("$replicas replicas, $faults faults: no breach", ({ replicas, faults }) => {
  const { states, breach } = explore(begin(replicas, faults), protocol);
  expect(breach).toBeNull();
  expect(states).toBeGreaterThan(5_000);
});

/** The second inspection spares a start of the migration tool; it is not what keeps migrations apart. */
const needed: Readonly<Record<keyof Rules, string>> = {
  locks: "two migrations at once",
  looksForOrphans: "two migrations at once",
  inspectsAgain: "no breach",
  stopsWhenLost: "two migrations at once",
  endsWithParent: "two migrations at once",
  verifies: "an application below head",
  startsOver: "the end of a replica that nobody hurt",
  prompt: "two migrations at once",
  recognised: "two migrations at once",
  serverNotices: "no progress",
  durable: "an application below head",
};

test.each(Object.entries(needed))("without $0: $1", (rule, what) => {
  const { breach } = explore(begin(2, 2), { ...protocol, [rule]: false });
  expect(breach?.what ?? "no breach", breach?.trace.join("\n")).toBe(what);
});
