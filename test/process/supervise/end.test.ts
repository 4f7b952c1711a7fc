// How a supervision ends: with which exit code, after whom, and how soon. What tini and dumb-init do as well is in
// peers.test.ts.
// @runs-on bundle, executable

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { describe, expect, onTestFinished, test } from "vitest";

import { isGroupAlive } from "../../../src/process/groups.ts";
import {
  places,
  runScript,
  startCommand,
  startSupervised,
  supervise,
  readsToEnd,
  reportSignals,
  testUnless,
  firstProcess,
  listChildren,
  type Started,
} from "./harness/supervised.ts";

/** So long that a test which waits for it fails. */
const never = "1h";
const TERM = 15;

/** A leader that has started `member`, and ends with `code` once its input does. */
function leaveBehind(code: number, member: string): string[] {
  const script = `$| = 1; if (fork) { 1 while sysread STDIN, $_, 1; exit ${code} } ${member}`;
  return ["perl", "-e", script];
}
const ignoresTerm = '$SIG{TERM} = "IGNORE"; print "ready\\n"; sleep 60';

describe.each(places)("as $name", (place) => {
  const testHere = testUnless(place.missing);
  const start = (options: readonly string[], app: readonly string[]) =>
    startSupervised(options, app, { place });

  testHere("says 128+n for a death by any signal", async () => {
    // What ignores or stops is no death. FPE is ignored by perl itself.
    const deadly = Array.from({ length: 64 }, (_, index) => index + 1).filter(
      (number) => ![17, 18, 19, 20, 21, 22, 23, 28].includes(number),
    );
    const script = `ulimit -c 0
      for n in ${deadly.join(" ")}; do printf '%s\\0' "$n"; done |
        xargs -0 -P 3 -I N sh -c '"$@" perl -e "\\$SIG{FPE} = q(DEFAULT); kill N, \\$\\$; sleep 20"; echo "N $?"' sh "$@"`;
    const lines = (await runScript(script, supervise([], place))).trim().split("\n");
    const codes = lines.map((line) => line.split(" ").map(Number));
    expect(codes.toSorted(([a = 0], [b = 0]) => a - b)).toEqual(
      deadly.map((number) => [number, 128 + number]),
    );
  });

  testHere("says another code where --map-exit has one", async () => {
    const options = ["--map-exit", "143=0", "--map-exit", "5=0"];
    expect(await start(options, ["sh", "-c", "kill -TERM $$"]).ended).toBe(0);
    expect(await start(options, ["sh", "-c", "exit 5"]).ended).toBe(0);
    expect(await start(options, ["sh", "-c", "exit 6"]).ended).toBe(6);
  });

  testHere("says 127 and 126 for what cannot be started", async () => {
    const directory = mkdtempSync(join(tmpdir(), "entrypoint-supervise-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const file = join(directory, "file");
    writeFileSync(file, "#!/nonexistent/interpreter\n");
    expect(await start([], ["nothing-of-that-name"]).ended).toBe(127);
    expect(await start([], [file]).ended).toBe(126);
    chmodSync(file, 0o755);
    const missing = start([], [file]);
    expect(await missing.ended).toBe(127);
    expect(missing.events()).toEqual(["not-found"]);
  });

  testHere("an exit code is not lost among 500 that end with it", async () => {
    const script = `pipe my $in, my $out; $SIG{TERM} = "IGNORE";
      for (1 .. 500) { next if fork; close $out; sysread $in, $_, 1; exit 1 }
      exit 42`;
    for (let round = 0; round < 3; round++) {
      expect(await start([], ["perl", "-e", script]).ended).toBe(42);
    }
  });

  testHere("the leader's end takes its group along", async () => {
    const member =
      '$SIG{TERM} = sub { print "received\\n"; exit }; print "ready\\n"; sleep 1 while 1';
    const started = start(["--stop-timeout", never], leaveBehind(5, member));
    await started.printed("ready\n");
    started.process.stdin?.end();
    expect(await started.ended).toBe(5);
    expect(started.stdout()).toBe("ready\nreceived\n");
    expect(started.events()).not.toContain("kill");
  });

  testHere("kills what of the group does not end in time", async () => {
    const started = start(["--stop-timeout", "200ms"], leaveBehind(5, ignoresTerm));
    await started.printed("ready\n");
    started.process.stdin?.end();
    // Its end is that of the output too: nobody holds that any more.
    expect(await started.ended).toBe(5);
    expect(started.events()).toEqual(["leader-ended", "kill"]);
  });

  testHere("does not wait for zombies that nobody reaps", async () => {
    // The last of the group is a grandchild, whose parent has left the group and never waits.
    const member = `setpgrp 0, 0; if (!fork) { setpgrp 0, $leader; print "ready\\n"; sleep 60 }
      close STDOUT; close STDERR; sleep 20`;
    const app = leaveBehind(5, member).with(2, `my $leader = $$; ${leaveBehind(5, member)[2]}`);
    const started = start(["--stop-timeout", never], app);
    await started.printed("ready\n");
    started.process.stdin?.end();
    expect(await started.ended).toBe(5);
  });

  testHere("--wait-all waits for every descendant", async () => {
    const member = `use POSIX; setsid; if (fork) { exit }
      print "ready\\n"; sysread STDIN, $_, 1; print "last\\n"`;
    const script = `$| = 1; if (fork) { wait; print "first\\n"; exit 3 } ${member}`;
    const started = start(["--wait-all"], ["perl", "-e", script]);
    await started.printed("ready\n");
    await started.printed("leader-ended");
    started.process.stdin?.end();
    expect(await started.ended).toBe(3);
    expect(started.stdout()).toMatch(/first\n(.*\n)*last\n$/);
  });

  testHere("--wait-all ends and kills those outside of the group too", async () => {
    const strays = `use POSIX; setsid;
      if (fork) { $SIG{TERM} = sub { print "received\\n"; exit } } else { $SIG{TERM} = "IGNORE" }
      print "ready\\n"; sleep 60 while 1`;
    const options = ["--wait-all", "--stop-timeout", "300ms"];
    const started = start(options, leaveBehind(3, strays));
    await started.printed("ready\n", 2);
    started.process.stdin?.end();
    await started.printed("leader-ended");
    started.kill("SIGTERM");
    await started.printed("received\n");
    expect(await started.ended).toBe(3);
    expect(started.events()).toEqual(["leader-ended", "kill"]);
  });

  testHere("--drain-delay keeps TERM back, and says so", async () => {
    const started = start(["--drain-delay", "300ms"], ["perl", "-e", reportsTerm]);
    await started.printed("ready\n");
    const startMs = performance.now();
    started.kill("SIGTERM");
    expect(await started.ended).toBe(4);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(290);
    expect(started.events()).toEqual(["drain", "drained"]);
    expect(started.stderr()).toContain("Received SIGTERM: draining for 0.3 s before forwarding it");
  });

  testHere("serves while draining; a second TERM skips that, a third kills", async () => {
    const app = reportSignals([10, TERM]);
    const started = start(["--drain-delay", never, "--stop-timeout", never], app);
    await started.printed("leader ready\n");
    started.kill("SIGTERM");
    await started.printed('"event":"drain"');
    started.kill("SIGUSR1");
    await started.printed("leader 10\n");
    await requestAgain(started, "drained");
    await started.printed(`leader ${TERM}\n`);
    await requestAgain(started, "kill");
    expect(await started.ended).toBe(137);
    expect(started.events()).toEqual(["drain", "drained", "kill"]);
  });

  testHere("a drain ends with the application", async () => {
    const started = start(["--drain-delay", never], reportSignals([TERM]));
    await started.printed("leader ready\n");
    started.kill("SIGTERM");
    await started.printed('"event":"drain"');
    started.process.stdin?.end();
    expect(await started.ended).toBe(7);
  });

  testHere("kills the whole group when --stop-timeout is over", async () => {
    const script = `$| = 1; fork; ${ignoresTerm}`;
    const started = start(["--stop-timeout", "200ms"], ["perl", "-e", script]);
    await started.printed("ready\n", 2);
    started.kill("SIGTERM");
    expect(await started.ended).toBe(137);
    expect(started.events()).toEqual(["kill"]);
  });

  testHere("with --stop-timeout 0 a second TERM alone kills", async () => {
    const started = start(
      ["--stop-timeout", "0", "--map-signal", "TERM:USR1"],
      reportSignals([10]),
    );
    await started.printed("leader ready\n");
    started.kill("SIGTERM");
    await started.printed("leader 10\n");
    await requestAgain(started, "kill");
    expect(await started.ended).toBe(137);
  });

  testHere("a TERM of the same second is passed on", async () => {
    // Each one is answered by the next one: the test itself may be slower than that.
    const script = `$| = 1; $SIG{TERM} = sub { print "received\\n"; kill TERM => getppid if ++$times < 4 };
      print "ready\\n"; ${readsToEnd} exit 7`;
    const started = start([], ["perl", "-e", script]);
    await started.printed("ready\n");
    started.kill("SIGTERM");
    await started.printed("received\n", 4);
    started.process.stdin?.end();
    expect(await started.ended).toBe(7);
    expect(started.events()).toEqual([]);
  });

  testHere("--second-term forward passes on a later one too", async () => {
    const started = start(["--second-term", "forward"], ["perl", "-e", countsTerm]);
    await started.printed("ready\n");
    // Ends at the second TERM that comes two seconds after the first.
    const again = (): boolean => {
      if (started.stdout().includes("enough")) return true;
      started.kill("SIGTERM");
      return false;
    };
    await expect.poll(again, { interval: 100 }).toBe(true);
    started.process.stdin?.end();
    expect(await started.ended).toBe(5);
    expect(started.events()).toEqual([]);
  });

  testHere("--leave-group leaves the group alone", async () => {
    const member =
      '$SIG{TERM} = sub { print "received\n"; exit }; print "ready\n"; close STDOUT; close STDERR; sleep 1 while 1';
    const started = start(["--leave-group"], leaveBehind(5, member));
    await started.printed("ready\n");
    const [leader = 0] = listChildren(started.pid());
    started.process.stdin?.end();
    expect(await started.ended).toBe(5);
    expect(started.stdout()).toBe("ready\n");
    expect(started.events()).toEqual([]);
    // PID 1 takes all with it. Elsewhere the test ends it.
    expect(isGroupAlive(leader)).toBe(place !== firstProcess);
    if (place !== firstProcess) process.kill(-leader, "SIGKILL");
  });

  testHere("--parent-death-signal comes when the parent dies", async () => {
    const own = supervise(["--parent-death-signal", "TERM"]);
    const parent = place === firstProcess ? place.words : ["sh", "-c", '"$@"; :', "sh"];
    const started = startCommand([...parent, ...own, "perl", "-e", reportsTerm]);
    await started.printed("ready\n");
    started.process.kill("SIGKILL");
    expect(await started.ended).toBe("SIGKILL");
    expect(started.stdout()).toBe("ready\nreceived\n");
  });
});

test("survives the two TERMs that coreutils' timeout sends at one", async () => {
  const script = `$| = 1; $SIG{TERM} = sub { $ends = 1; print "received\\n" }; print "ready\\n";
    1 while !($ends && defined sysread STDIN, $_, 1); exit 4`;
  const words = ["timeout", "1h", ...supervise(["--stop-timeout", never]), "perl", "-e", script];
  const started = startCommand(words);
  await started.printed("ready\n");
  started.process.kill("SIGTERM");
  await started.printed("received\n");
  started.process.stdin?.end();
  expect(await started.ended).toBe(4);
  expect(started.events()).toEqual([]);
});

describe.each([
  ["without /proc", "--mount", "mount -t tmpfs none /proc"],
  ["as PID 1 with the /proc of another namespace", "--pid --fork --kill-child", ":"],
])("%s", (_name, unshared, prepare) => {
  const unshare = ["unshare", ...unshared.split(" ")];
  if (process.getuid?.() !== 0) unshare.push("--map-root-user");
  const words = [...unshare, "sh", "-c", `${prepare} && exec "$@"`, "sh"];
  const place = { name: "there", words, missing: firstProcess.missing };
  const testThere = testUnless(place.missing);
  const member =
    '$SIG{TERM} = sub { print "received\\n"; exit }; print "ready\\n"; sleep 1 while 1';

  testThere("the leader's end takes its group along, and its exit code is ours", async () => {
    const started = startSupervised([], leaveBehind(5, member), { place });
    await started.printed("ready\n");
    started.process.stdin?.end();
    expect(await started.ended).toBe(5);
    expect(started.stdout()).toBe("ready\nreceived\n");
  });

  testThere("what of the group does not end in time is killed", async () => {
    const options = ["--stop-timeout", "200ms"];
    const started = startSupervised(options, leaveBehind(5, ignoresTerm), { place });
    await started.printed("ready\n");
    started.process.stdin?.end();
    expect(await started.ended).toBe(5);
    expect(started.events()).toEqual(["leader-ended", "kill"]);
  });

  testThere("--wait-all passes SIGTERM to the group", async () => {
    // The one whom it reaches ends the other two.
    const app = `$| = 1; pipe my $in, my $out; if (fork) { close $out; sysread $in, $_, 1; kill TERM => getppid; sleep 60 }
      close $in; ${member.replace("sleep 1", "close $out; sleep 1")}`;
    const started = startSupervised(["--wait-all", "--stop-timeout", never], ["perl", "-e", app], {
      place,
    });
    expect(await started.ended).toBe(143);
    expect(started.stdout()).toBe("ready\nreceived\n");
  });
});

/** Sends SIGTERM until that event: one within a second is part of the same request. */
async function requestAgain(started: Started, event: string): Promise<void> {
  const again = (): boolean => {
    if (started.events().includes(event)) return true;
    started.kill("SIGTERM");
    return false;
  };
  await expect.poll(again, { interval: 100 }).toBe(true);
}

/** Says `enough` at a TERM that comes two seconds after the first one. */
const countsTerm = `$| = 1; use Time::HiRes "time"; my $first;
  $SIG{TERM} = sub { $first ||= time; print "enough\\n" if time - $first > 2 }; print "ready\\n";
  ${readsToEnd} exit 5`;

const reportsTerm = `$| = 1; $SIG{TERM} = sub { print "received\\n"; exit 4 }; print "ready\\n"; sleep 1 while 1`;
