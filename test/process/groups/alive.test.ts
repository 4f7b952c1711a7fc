// Whether a process group is alive, while its members come and go.

import { expect, test } from "vitest";
import { isGroupAlive } from "../../../src/process/groups.ts";
import { startCommand } from "../supervise/harness/supervised.ts";

/** Each member starts the next one and ends, until the input ends. */
const relay = `$| = 1; print "ready\\n"; my $input = "\\1";
  while (!select(my $ready = $input, undef, undef, 0.01)) { exit if fork }`;

test("a group is alive while each member starts another one before its end", async () => {
  const leader = startCommand(["perl", "-e", relay]);
  await leader.printed("ready\n");
  const looks = Array.from({ length: 20 }, () => isGroupAlive(leader.pid()));
  expect(looks).not.toContain(false);
  leader.process.stdin?.end();
  await expect.poll(() => isGroupAlive(leader.pid())).toBe(false);
});
