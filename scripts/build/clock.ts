// Stops the clocks where it is imported, first in snapshot.ts: a package that reads one while it is loaded, and a timer that is
// computed from one while a start is rehearsed, would make each snapshot another. Timers themselves run.

import { replace } from "./replace.ts";

const stopped = [
  replace(Date, { now: () => 0 }),
  replace(process.hrtime, { bigint: () => 0n }),
  replace(performance, { now: () => 0 }),
];

/** Before the snapshot is taken. */
export function startClocks(): void {
  for (const start of stopped) start();
}
