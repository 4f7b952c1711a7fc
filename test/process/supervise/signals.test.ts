// Which signals reach a supervised application: every one that can be caught, once, from the first moment to the last.
// @runs-on bundle, executable

import { constants } from "node:os";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { forwardedSignals } from "../../../src/process/signal-table.ts";
import { leaderSignals } from "../../../src/process/supervise/supervision.ts";
import {
  places,
  startCommand,
  startSupervised,
  reportSignals,
  testUnless,
} from "./harness/supervised.ts";

const realTimeSignals = Array.from({ length: 31 }, (_, index) => 34 + index);
const forwarded = [...forwardedSignals.map((name) => constants.signals[name]), ...realTimeSignals];
const forLeader = leaderSignals.map((name) => constants.signals[name as NodeJS.Signals]);
const { SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGQUIT } = constants.signals;

describe.each(places)("as $name", (place) => {
  const testHere = testUnless(place.missing);
  testHere.for([
    ["group", true],
    ["group", false],
    ["child", true],
  ] as const)(
    "forwards each signal once, scope %s, with another process in the group: %s",
    async ([scope, member]) => {
      const app = reportSignals(forwarded, { member });
      const started = startSupervised(["--signal-scope", scope], app, { place });
      const both = ["leader", "member"];
      for (const who of member ? both : ["leader"]) await started.printed(`${who} ready\n`);
      const expected: string[] = [];
      for (const number of forwarded) {
        started.kill(number);
        const alone = !member || scope === "child" || forLeader.includes(number);
        for (const who of alone ? ["leader"] : both) {
          await started.printed(`${who} ${number}\n`);
          expected.push(`${who} ${number}`);
        }
      }
      started.process.stdin?.end();
      expect(await started.ended).toBe(7);
      const received = started
        .stdout()
        .split("\n")
        .filter((line) => /\d/.test(line));
      expect(received.toSorted()).toEqual(expected.toSorted());
      expect(started.stderr()).toBe("");
    },
  );

  testHere("passes signals on as others, or not at all", async () => {
    const pairs = "INT:USR1,USR2:0,RTMIN+3:QUIT,QUIT:64";
    const app = reportSignals([SIGINT, SIGUSR1, SIGUSR2, SIGQUIT, 37, 64]);
    const mapped = startSupervised([], app, { place, env: { ENTRYPOINT_MAP_SIGNAL: pairs } });
    await mapped.printed("leader ready\n");
    // Each comes after what the one before it has become.
    for (const [sent, becomes] of [
      [SIGINT, SIGUSR1],
      [37, SIGQUIT],
      [SIGUSR2, null],
      [SIGQUIT, 64],
    ] as const) {
      mapped.kill(sent);
      if (becomes !== null) await mapped.printed(`leader ${becomes}\n`);
    }
    mapped.process.stdin?.end();
    expect(await mapped.ended).toBe(7);
    expect(mapped.stdout()).toBe(
      ["ready", SIGUSR1, SIGQUIT, 64].map((what) => `leader ${what}\n`).join(""),
    );
  });

  testHere("delivers a signal that comes with the application's first step", async () => {
    // TERM's default is death, so that its loss would be an exit code 9.
    const app = ["perl", "-e", "kill TERM => getppid; sleep 20; exit 9"];
    for (let round = 0; round < 10; round++) {
      expect(await startSupervised([], app, { place }).ended).toBe(143);
    }
  });

  testHere("forwards to the group what comes after the leader's end", async () => {
    const script = `$| = 1; if (fork) { sysread STDIN, $_, 1; exit 3 }
      $SIG{TERM} = "IGNORE"; $SIG{USR1} = sub { print "received\\n"; exit }; print "ready\\n"; sleep 1 while 1`;
    const started = startSupervised([], ["perl", "-e", script], { place });
    await started.printed("ready\n");
    started.process.stdin?.end();
    await started.printed("leader-ended");
    started.kill("SIGUSR1");
    expect(await started.ended).toBe(3);
    expect(started.stdout()).toBe("ready\nreceived\n");
  });

  testHere.for(["json", "pretty"])(
    "a log in %s that nobody reads does no harm, and its SIGPIPE stays with us",
    async (format) => {
      const { SIGPIPE, SIGURG } = constants.signals;
      const app = reportSignals([SIGTERM, SIGINT, SIGURG, SIGUSR1, SIGPIPE]);
      const options = ["--drain-delay", "100ms", "--log-format", format];
      const started = startSupervised(options, app, { place });
      await started.printed("leader ready\n");
      started.process.stderr?.destroy();
      // Two lines of the log before the first TERM arrives.
      started.kill("SIGTERM");
      await started.printed(`leader ${SIGTERM}\n`);
      // Each takes a turn of the event loop; from then on a SIGPIPE is somebody's, and meant for the application.
      const others = [SIGINT, SIGURG, SIGUSR1, SIGPIPE];
      for (const number of others) {
        started.kill(number);
        await started.printed(`leader ${number}\n`);
      }
      started.process.stdin?.end();
      expect(await started.ended).toBe(7);
      const received = ["ready", SIGTERM, ...others].map((what) => `leader ${what}\n`);
      expect(started.stdout()).toBe(received.join(""));
    },
  );
});

test("delivers a signal that came before the child was there", async () => {
  const fixture = join(import.meta.dirname, "fixtures/signal-at-spawn.ts");
  const started = startCommand([process.execPath, fixture]);
  expect(await started.ended).toBe(143);
});
