// What a supervising PID 1 decides, without a process and without a clock: the hands record what they are to do, and time
// passes when a test says so.

import { describe, expect, test } from "vitest";

import { afterKillMs } from "../../../../src/process/groups.ts";
import { forwardedSignals, type SignalName } from "../../../../src/process/signal-table.ts";
import {
  leaderSignals,
  pollMs,
  sameRequestMs,
  createSupervision,
  type SuperviseOptions,
} from "../../../../src/process/supervise/supervision.ts";

const defaults: SuperviseOptions = {
  drainDelayMs: 0,
  stopTimeoutMs: 30_000,
  signalScope: "child",
  secondTerm: "kill",
  mapSignals: new Map(),
  mapExits: new Map(),
  waitAll: false,
  leaveGroup: false,
  parentDeathSignal: null,
};

function supervise(options: Partial<SuperviseOptions> = {}) {
  const done: string[] = [];
  const reports: [level: string, event: string, message: string][] = [];
  const timers = new Set<{ ms: number; act: () => void }>();
  const alive = { group: true, descendants: true };
  let nowMs = 0;
  let inForeground = false;
  const supervision = createSupervision(
    { ...defaults, ...options },
    {
      send: (signal, to) => done.push(`${signal} to ${to}`),
      isAlive: (whom) => alive[whom],
      isInForeground: () => inForeground,
      now: () => nowMs,
      after(ms, act) {
        const timer = { ms, act };
        timers.add(timer);
        return () => timers.delete(timer);
      },
      report: (level, event, message) => reports.push([level, event, message]),
      end: (code) => done.push(`end ${code}`),
    },
  );
  return {
    ...supervision,
    alive,
    reports,
    /** What has been done since the last look. */
    done: () => done.splice(0),
    /** What is set to happen, in milliseconds. */
    due: () => [...timers].map(({ ms }) => ms).toSorted((a, b) => a - b),
    /** Lets the time of the one timer that is set for so long come. */
    pass(ms: number) {
      const timer = [...timers].find((one) => one.ms === ms);
      if (timer === undefined) throw new Error(`nothing is due in ${ms} ms`);
      timers.delete(timer);
      timer.act();
    },
    /** Lets so much time go by that the next SIGTERM is a request of its own. */
    afterwards: () => void (nowMs += sameRequestMs),
    comesToForeground: () => void (inForeground = true),
    /** The last of them has ended. */
    emptied(code?: number) {
      alive.group = false;
      alive.descendants = false;
      if (code !== undefined) supervision.leaderEnded(code);
      supervision.someEnded();
    },
  };
}

describe("a signal", () => {
  test.each(forwardedSignals)("%s is forwarded to the leader alone", (signal) => {
    const app = supervise();
    app.receive(signal);
    expect(app.done()).toEqual([`${signal} to child`]);
  });

  test.each(forwardedSignals)("%s goes to the group in that scope, if it is no order", (signal) => {
    const app = supervise({ signalScope: "group" });
    app.receive(signal);
    const target = leaderSignals.includes(signal) ? "child" : "group";
    expect(app.done()).toEqual([`${signal} to ${target}`]);
  });

  test.each(forwardedSignals)("%s goes to whom the terminal would send it", (signal) => {
    const app = supervise();
    app.comesToForeground();
    app.receive(signal);
    const target = ["SIGINT", "SIGQUIT", "SIGTSTP"].includes(signal) ? "group" : "child";
    expect(app.done()).toEqual([`${signal} to ${target}`]);
  });

  test("becomes another one, or none", () => {
    const mapSignals = new Map<SignalName, SignalName | null>([
      ["SIGINT", "SIGWINCH"],
      ["SIGUSR2", "SIGALRM"],
      ["SIGALRM", "SIGUSR2"],
      ["SIGRTMIN+3", "SIGTERM"],
      ["SIGQUIT", null],
    ]);
    const app = supervise({ mapSignals, signalScope: "group" });
    for (const signal of ["SIGINT", "SIGQUIT", "SIGUSR2", "SIGALRM"] as const) app.receive(signal);
    // Not mapped twice; and what is sent decides who receives it.
    expect(app.done()).toEqual(["SIGWINCH to group", "SIGALRM to group", "SIGUSR2 to child"]);
    expect(app.due()).toEqual([]);
  });

  test("that comes after the leader's end goes to the rest", () => {
    const app = supervise();
    app.leaderEnded(0);
    app.done();
    app.receive("SIGHUP");
    expect(app.done()).toEqual(["SIGHUP to group"]);

    const waiting = supervise({ waitAll: true });
    waiting.leaderEnded(0);
    waiting.receive("SIGUSR1");
    expect(waiting.done()).toEqual(["SIGUSR1 to descendants"]);
  });
});

describe("the end of the leader", () => {
  test("is ours, with its code", () => {
    const app = supervise();
    app.emptied(7);
    expect(app.done()).toEqual(["SIGTERM to group", "end 7"]);
    expect(app.due()).toEqual([]);
    expect(app.reports).toEqual([]);
  });

  test.each([
    [143, 0],
    [0, 3],
    [1, 1],
  ])("with code %i is ours with %i, as --map-exit says", (code, mapped) => {
    const mapExits = new Map([
      [143, 0],
      [0, 3],
    ]);
    const app = supervise({ mapExits });
    app.emptied(code);
    expect(app.done().at(-1)).toBe(`end ${mapped}`);
  });

  test("takes the group along: TERM, the grace period, KILL", () => {
    const app = supervise({ mapSignals: new Map([["SIGTERM", "SIGQUIT"]]) });
    app.leaderEnded(1);
    app.someEnded();
    expect(app.reports).toEqual([
      [
        "info",
        "leader-ended",
        "The application has ended, waiting for the rest of its process group",
      ],
    ]);
    // Nobody has sent it, so it is not mapped.
    expect(app.done()).toEqual(["SIGTERM to group"]);
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGKILL to group"]);
    app.emptied();
    expect(app.done()).toEqual(["end 1"]);
    expect(app.due()).toEqual([]);
  });

  test("is detected as that of the group's last member, where nothing reports it", () => {
    const app = supervise();
    app.leaderEnded(1);
    app.someEnded();
    app.pass(pollMs);
    app.alive.group = false;
    app.pass(pollMs);
    expect(app.done()).toEqual(["SIGTERM to group", "end 1"]);
    expect(app.due()).toEqual([]);
  });

  test("with no limit to the grace period waits for the group", () => {
    const app = supervise({ stopTimeoutMs: 0 });
    app.leaderEnded(1);
    app.someEnded();
    expect(app.due()).toEqual([pollMs]);
    // The first one that somebody sends: the group has received its TERM already.
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to group"]);
    app.afterwards();
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGKILL to group"]);
  });

  test("leaves the group alone with --leave-group", () => {
    const app = supervise({ leaveGroup: true, signalScope: "group" });
    app.receive("SIGUSR1");
    app.leaderEnded(3);
    app.someEnded();
    expect(app.done()).toEqual(["SIGUSR1 to child", "end 3"]);
    expect(app.due()).toEqual([]);
    expect(app.reports).toEqual([]);
  });

  test.each([0, 5_000])("that was requested leaves it alone too (drain %i ms)", (drainDelayMs) => {
    const app = supervise({ leaveGroup: true, drainDelayMs });
    app.receive("SIGTERM");
    app.leaderEnded(0);
    app.someEnded();
    expect(app.done()).toEqual([...(drainDelayMs === 0 ? ["SIGTERM to child"] : []), "end 0"]);
    expect(app.due()).toEqual([]);
  });

  test("that takes too long kills the leader alone with --leave-group", () => {
    const app = supervise({ leaveGroup: true });
    app.receive("SIGTERM");
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGTERM to child", "SIGKILL to child"]);
  });

  test("that others have ended is not ours", () => {
    const app = supervise();
    app.someEnded();
    app.alive.group = false;
    app.someEnded();
    expect(app.done()).toEqual([]);
  });
});

describe("TERM", () => {
  test("gives the grace period, and the end comes as soon as all have gone", () => {
    const app = supervise();
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to child"]);
    expect(app.due()).toEqual([30_000]);
    app.leaderEnded(143);
    expect(app.done()).toEqual(["SIGTERM to group"]);
    expect(app.due()).toEqual([30_000]);
    app.emptied();
    expect(app.done()).toEqual(["end 143"]);
    expect(app.due()).toEqual([]);
  });

  test("to the group is not sent again when the leader ends", () => {
    const app = supervise({ signalScope: "group" });
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to group"]);
    app.leaderEnded(143);
    // A second TERM means "at once" to many, and the time goes on counting.
    expect(app.done()).toEqual([]);
    expect(app.due()).toEqual([30_000]);
  });

  test("kills when the grace period is over, and does not wait for ever then", () => {
    const app = supervise({ mapExits: new Map([[137, 5]]) });
    app.receive("SIGTERM");
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGTERM to child", "SIGKILL to group"]);
    expect(app.reports).toEqual([
      ["warn", "kill", "The application has not ended within 30 s: sending SIGKILL"],
    ]);
    expect(app.due()).toEqual([afterKillMs]);
    app.receive("SIGTERM");
    expect(app.done()).toEqual([]);
    app.pass(afterKillMs);
    expect(app.done()).toEqual(["end 5"]);
  });

  test("that comes again within a second is passed on, however often, and kills afterwards", () => {
    const app = supervise();
    for (let times = 0; times < 3; times++) app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to child", "SIGTERM to child", "SIGTERM to child"]);
    expect(app.due()).toEqual([30_000]);
    app.afterwards();
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGKILL to group"]);
    app.leaderEnded(137);
    app.someEnded();
    // That others are alive is not reported now.
    expect(app.reports).toEqual([["warn", "kill", "Received SIGTERM again: sending SIGKILL"]]);
    app.emptied();
    expect(app.done()).toEqual(["end 137"]);
    expect(app.due()).toEqual([]);
  });

  test("with --second-term forward is passed on each time, and the grace period is that of the first", () => {
    const app = supervise({ secondTerm: "forward" });
    app.receive("SIGTERM");
    app.afterwards();
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to child", "SIGTERM to child"]);
    expect(app.due()).toEqual([30_000]);
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGKILL to group"]);
  });

  test("with no limit is followed by KILL only if it comes again", () => {
    const app = supervise({ stopTimeoutMs: 0 });
    app.receive("SIGTERM");
    expect(app.due()).toEqual([]);
    app.afterwards();
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to child", "SIGKILL to group"]);
  });

  test("as another signal has the grace period too", () => {
    const app = supervise({ mapSignals: new Map([["SIGTERM", "SIGQUIT"]]) });
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGQUIT to child"]);
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGKILL to group"]);
  });

  test("that another signal stands for ends as TERM does", () => {
    const app = supervise({ drainDelayMs: 5_000, mapSignals: new Map([["SIGINT", "SIGTERM"]]) });
    app.receive("SIGINT");
    expect(app.done()).toEqual([]);
    app.pass(5_000);
    expect(app.done()).toEqual(["SIGTERM to child"]);
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGKILL to group"]);
  });

  test("that is dropped ends nothing", () => {
    const app = supervise({ drainDelayMs: 5_000, mapSignals: new Map([["SIGTERM", null]]) });
    app.receive("SIGTERM");
    app.afterwards();
    app.receive("SIGTERM");
    expect(app.done()).toEqual([]);
    expect(app.due()).toEqual([]);
    expect(app.reports).toEqual([]);
  });
});

describe("the drain delay", () => {
  const drainDelayMs = 5_000;

  test("keeps TERM back, and other signals not", () => {
    const app = supervise({ drainDelayMs });
    app.receive("SIGTERM");
    expect(app.done()).toEqual([]);
    expect(app.due()).toEqual([drainDelayMs]);
    app.receive("SIGUSR1");
    expect(app.done()).toEqual(["SIGUSR1 to child"]);
    app.pass(drainDelayMs);
    expect(app.done()).toEqual(["SIGTERM to child"]);
    // Counted from here on.
    expect(app.due()).toEqual([30_000]);
    expect(app.reports).toEqual([
      ["info", "drain", "Received SIGTERM: draining for 5 s before forwarding it"],
      ["info", "drained", "Forwarding SIGTERM"],
    ]);
  });

  test("is skipped by a second TERM, and a third one kills", () => {
    const app = supervise({ drainDelayMs });
    app.receive("SIGTERM");
    app.afterwards();
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to child"]);
    expect(app.due()).toEqual([30_000]);
    app.afterwards();
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGKILL to group"]);
    expect(app.reports.map(([, event]) => event)).toEqual(["drain", "drained", "kill"]);
  });

  test("is not skipped by a TERM of the same request, nor is one that ends the drain counted twice", () => {
    const app = supervise({ drainDelayMs });
    app.receive("SIGTERM");
    app.receive("SIGTERM");
    expect(app.done()).toEqual([]);
    expect(app.due()).toEqual([drainDelayMs]);
    app.afterwards();
    app.receive("SIGTERM");
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to child", "SIGTERM to child"]);
  });

  test("forwards what TERM is mapped to", () => {
    const app = supervise({ drainDelayMs, mapSignals: new Map([["SIGTERM", "SIGQUIT"]]) });
    app.receive("SIGTERM");
    app.pass(drainDelayMs);
    expect(app.done()).toEqual(["SIGQUIT to child"]);
  });

  test.each([false, true])("ends with the leader (--wait-all %s)", (waitAll) => {
    const app = supervise({ drainDelayMs, waitAll });
    app.receive("SIGTERM");
    app.leaderEnded(0);
    expect(app.done()).toEqual([`SIGTERM to ${waitAll ? "descendants" : "group"}`]);
    expect(app.due()).toEqual([30_000]);
    app.emptied();
    expect(app.done()).toEqual(["end 0"]);
    expect(app.due()).toEqual([]);
  });

  test("has no point once the leader has gone", () => {
    const app = supervise({ drainDelayMs, waitAll: true });
    app.leaderEnded(0);
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to descendants"]);
  });
});

describe("--wait-all", () => {
  test("ends nobody, waits without a limit, and does not poll", () => {
    const app = supervise({ waitAll: true });
    app.alive.group = false;
    app.leaderEnded(4);
    app.someEnded();
    expect(app.done()).toEqual([]);
    expect(app.due()).toEqual([]);
    app.emptied();
    expect(app.done()).toEqual(["end 4"]);
  });

  test("ends them all at a TERM: the grace period, KILL", () => {
    const app = supervise({ waitAll: true });
    app.leaderEnded(4);
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to descendants"]);
    app.pass(30_000);
    // Those that are alive may have started others meanwhile.
    expect(app.done()).toEqual(["SIGKILL to descendants", "SIGKILL to descendants"]);
    app.someEnded();
    expect(app.done()).toEqual(["SIGKILL to descendants"]);
    app.emptied();
    expect(app.done()).toEqual(["end 4"]);
  });

  test.each([
    ["group", "SIGTERM to strays"],
    ["child", "SIGTERM to descendants"],
  ] as const)("sends TERM to those whom one to the %s has not reached", (signalScope, second) => {
    const app = supervise({ waitAll: true, signalScope });
    app.receive("SIGTERM");
    app.leaderEnded(143);
    expect(app.done()).toEqual([`SIGTERM to ${signalScope}`, second]);
    expect(app.due()).toEqual([30_000]);
  });
});
