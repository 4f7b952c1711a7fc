// Stops the clocks where it is imported, first in snapshot.ts: a package that reads one while it is loaded, and a timer that is
// computed from one while a start is rehearsed, would make each snapshot another. Timers themselves run.

const stopped: readonly [clock: object, name: string, reading: unknown][] = [
  [Date, "now", 0],
  [process.hrtime, "bigint", 0n],
  [performance, "now", 0],
];

const own = stopped.map(([clock, name, reading]) => {
  const before = Object.getOwnPropertyDescriptor(clock, name);
  Object.defineProperty(clock, name, { value: () => reading, configurable: true, writable: true });
  return before;
});

/** Before the snapshot is taken. */
export function startClocks(): void {
  for (const [index, [clock, name]] of stopped.entries()) {
    const before = own[index];
    // What it has of its class is behind its own property.
    if (before === undefined) Reflect.deleteProperty(clock, name);
    else Object.defineProperty(clock, name, before);
  }
}
