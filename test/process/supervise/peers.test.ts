// entrypoint beside tini and dumb-init, the inits that people install today: the same exit codes, the same signals and
// the orphans. What the table in src/process/README.md says of them is what happens here.
// @runs-on bundle, executable

import { constants } from "node:os";
import { join } from "node:path";

import { afterAll, describe, expect } from "vitest";

import { forwardedSignals, nameSignal } from "../../../src/process/signal-table.ts";
import {
  findMissing,
  places,
  runScript,
  startCommand,
  subreaper,
  supervise,
  reportSignals,
  testUnless,
} from "./harness/supervised.ts";

interface Peer {
  readonly name: string;
  readonly words: readonly string[];
  /** Of those that entrypoint passes on. */
  readonly unforwarded: readonly NodeJS.Signals[];
  readonly isSubreaper: boolean;
}

const entrypoint = { name: "entrypoint", words: supervise(), unforwarded: [], isSubreaper: true };
const peers: readonly Peer[] = [
  entrypoint,
  {
    name: "tini",
    words: ["tini", "-s", "--"],
    unforwarded: ["SIGTTIN", "SIGTTOU"],
    isSubreaper: true,
  },
  {
    // It stops itself and the application at each of these.
    name: "dumb-init",
    words: ["dumb-init", "--"],
    unforwarded: ["SIGTSTP", "SIGTTIN", "SIGTTOU"],
    isSubreaper: false,
  },
];
const pairs = peers.flatMap((peer) => places.map((place) => ({ peer, place })));

const orphans = join(import.meta.dirname, "fixtures/orphans.pl");
const seconds: string[] = [];
afterAll(() => console.log(`10,000 orphans reaped: ${seconds.join(", ")}`));

describe.for(pairs.map((pair) => [pair.peer.name, pair.place.name, pair] as const))(
  "%s as %s",
  ([, , { peer, place }]) => {
    const testHere = testUnless(place.missing, findMissing(peer.words[0] ?? ""));
    const words = [...place.words, ...peer.words];

    testHere("hands on each of the 256 exit codes", async () => {
      const script = `for code in $(seq 0 255); do printf '%s\\0' "$code"; done |
        xargs -0 -P 3 -I CODE sh -c '"$@" sh -c "exit CODE"; echo "CODE $?"' sh "$@"`;
      const lines = (await runScript(script, words)).trim().split("\n");
      const codes = lines.map((line) => line.split(" ").map(Number));
      expect(codes.toSorted(([a = 0], [b = 0]) => a - b)).toEqual(
        Array.from({ length: 256 }, (_, code) => [code, code]),
      );
    });

    testHere("forwards its signals, real-time ones too", async () => {
      const named = forwardedSignals.filter((name) => !peer.unforwarded.includes(name));
      const numbers = [
        ...named.map((name) => constants.signals[name]),
        ...Array.from({ length: 31 }, (_, index) => 34 + index),
      ];
      const started = startCommand([...words, ...reportSignals(numbers)], { place });
      await started.printed("leader ready\n");
      for (const number of numbers) {
        started.kill(number);
        await started.printed(`leader ${number}\n`);
      }
      started.process.stdin?.end();
      expect(await started.ended).toBe(7);
    });

    testHere.for(peer.unforwarded.filter((name) => name !== "SIGTSTP"))(
      "has the application miss %s",
      async (name) => {
        const { [name]: number, SIGHUP } = constants.signals;
        const started = startCommand([...words, ...reportSignals([number, SIGHUP])], { place });
        await started.printed("leader ready\n");
        started.kill(number);
        // Whatever is on its way arrives before the second of these. Of several signals that wait the lowest comes first,
        // so that what stops the application may come after a SIGCONT that was sent later.
        for (let times = 1; times <= 2; times++) {
          started.kill("SIGHUP");
          const resumeAndCount = (): number => {
            started.kill("SIGCONT");
            return started.stdout().split(`leader ${SIGHUP}\n`).length - 1;
          };
          await expect.poll(resumeAndCount).toBe(times);
        }
        expect(started.stdout()).not.toContain(`leader ${number}\n`);
        started.process.stdin?.end();
        expect(await started.ended, nameSignal(number) ?? "").toBe(7);
      },
    );

    if (place === subreaper && !peer.isSubreaper) return;
    testHere("reaps 10,000 orphans, and the application's exit code is its own", async () => {
      const startMs = performance.now();
      expect(await startCommand([...words, "perl", orphans], { place }).ended).toBe(42);
      const took = ((performance.now() - startMs) / 1000).toFixed(1);
      seconds.push(`${took} s by ${peer.name} as ${place.name}`);
    });
  },
);
