// What a supervising PID 1 decides, without a process and without a clock: the hands write down what they are told, and
// time passes when a test says so.

import { describe, expect, test } from "vitest";

import { forwardedSignals, type SignalName } from "../../src/process/signal-table.ts";
import {
  afterKillMs,
  leaderSignals,
  lookAgainMs,
  superviseBy,
  type SuperviseOptions,
} from "../../src/process/supervision.ts";

const defaults: SuperviseOptions = {
  drainDelayMs: 0,
  stopTimeoutMs: 30_000,
  signalScope: "group",
  mapSignals: new Map(),
  mapExits: new Map(),
  waitAll: false,
  parentDeathSignal: null,
};

function supervise(options: Partial<SuperviseOptions> = {}) {
  const done: string[] = [];
  const told: [level: string, event: string, message: string][] = [];
  const timers = new Set<{ ms: number; act: () => void }>();
  const left = { group: true, descendants: true };
  const supervision = superviseBy(
    { ...defaults, ...options },
    {
      send: (signal, to) => done.push(`${signal} to ${to}`),
      left: (of) => left[of],
      after(ms, act) {
        const timer = { ms, act };
        timers.add(timer);
        return () => timers.delete(timer);
      },
      tell: (level, event, message) => told.push([level, event, message]),
      end: (code) => done.push(`end ${code}`),
    },
  );
  return {
    ...supervision,
    left,
    told,
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
    /** The last of them has ended. */
    emptied(code?: number) {
      left.group = false;
      left.descendants = false;
      if (code !== undefined) supervision.leaderEnded(code);
      supervision.someEnded();
    },
  };
}

describe("a signal", () => {
  test.each(forwardedSignals)("%s is passed on", (signal) => {
    const app = supervise();
    app.receive(signal);
    const target = leaderSignals.includes(signal) ? "child" : "group";
    expect(app.done()).toEqual([`${signal} to ${target}`]);
  });

  test.each(forwardedSignals)("%s goes to the leader alone with the scope child", (signal) => {
    const app = supervise({ signalScope: "child" });
    app.receive(signal);
    expect(app.done()).toEqual([`${signal} to child`]);
  });

  test("becomes another one, or none", () => {
    const mapSignals = new Map<SignalName, SignalName | null>([
      ["SIGINT", "SIGUSR1"],
      ["SIGUSR2", "SIGHUP"],
      ["SIGHUP", "SIGUSR2"],
      ["SIGRTMIN+3", "SIGTERM"],
      ["SIGQUIT", null],
    ]);
    const app = supervise({ mapSignals });
    for (const signal of ["SIGINT", "SIGQUIT", "SIGUSR2", "SIGHUP"] as const) app.receive(signal);
    // Not mapped twice; and who gets it is decided by what is sent.
    expect(app.done()).toEqual(["SIGUSR1 to group", "SIGHUP to child", "SIGUSR2 to group"]);
    expect(app.due()).toEqual([]);
  });

  test("that comes when the leader has ended goes to those who are left", () => {
    const app = supervise();
    app.leaderEnded(0);
    app.done();
    app.receive("SIGHUP");
    expect(app.done()).toEqual(["SIGHUP to group"]);

    const waiting = supervise({ waitAll: true, signalScope: "child" });
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
    expect(app.told).toEqual([]);
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
    expect(app.told).toEqual([
      ["info", "leader-ended", "The application has ended: waiting for what it left"],
    ]);
    // It is nobody's signal that could be mapped.
    expect(app.done()).toEqual(["SIGTERM to group"]);
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGKILL to group"]);
    app.emptied();
    expect(app.done()).toEqual(["end 1"]);
    expect(app.due()).toEqual([]);
  });

  test("is noticed as that of the group's last, even where nobody tells of it", () => {
    const app = supervise();
    app.leaderEnded(1);
    app.someEnded();
    app.pass(lookAgainMs);
    app.left.group = false;
    app.pass(lookAgainMs);
    expect(app.done()).toEqual(["SIGTERM to group", "end 1"]);
    expect(app.due()).toEqual([]);
  });

  test("with no limit to the grace period waits for the group", () => {
    const app = supervise({ stopTimeoutMs: 0 });
    app.leaderEnded(1);
    app.someEnded();
    expect(app.due()).toEqual([lookAgainMs]);
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to group", "SIGKILL to group"]);
  });

  test("that others have ended is not ours", () => {
    const app = supervise();
    app.someEnded();
    app.left.group = false;
    app.someEnded();
    expect(app.done()).toEqual([]);
  });
});

describe("TERM", () => {
  test("gives the grace period, and the end comes as soon as all have gone", () => {
    const app = supervise();
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to group"]);
    expect(app.due()).toEqual([30_000]);
    app.leaderEnded(143);
    // A second TERM means "at once" to many, and the time goes on counting.
    expect(app.done()).toEqual([]);
    expect(app.due()).toEqual([30_000]);
    app.emptied();
    expect(app.done()).toEqual(["end 143"]);
    expect(app.due()).toEqual([]);
  });

  test("kills when the grace period is over, and does not wait for ever then", () => {
    const app = supervise({ mapExits: new Map([[137, 5]]) });
    app.receive("SIGTERM");
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGTERM to group", "SIGKILL to group"]);
    expect(app.told).toEqual([["warn", "kill", "Not ended within 30 s: sending SIGKILL"]]);
    expect(app.due()).toEqual([afterKillMs]);
    app.receive("SIGTERM");
    expect(app.done()).toEqual([]);
    app.pass(afterKillMs);
    expect(app.done()).toEqual(["end 5"]);
  });

  test("a second time kills", () => {
    const app = supervise();
    app.receive("SIGTERM");
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to group", "SIGKILL to group"]);
    app.leaderEnded(137);
    app.someEnded();
    // That others are left is no news now.
    expect(app.told).toEqual([["warn", "kill", "SIGTERM once more: sending SIGKILL"]]);
    app.emptied();
    expect(app.done()).toEqual(["end 137"]);
    expect(app.due()).toEqual([]);
  });

  test("with no limit is followed by KILL only if it comes again", () => {
    const app = supervise({ stopTimeoutMs: 0 });
    app.receive("SIGTERM");
    expect(app.due()).toEqual([]);
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to group", "SIGKILL to group"]);
  });

  test("as another signal has the grace period too", () => {
    const app = supervise({ mapSignals: new Map([["SIGTERM", "SIGQUIT"]]) });
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGQUIT to group"]);
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGKILL to group"]);
  });

  test("that another signal stands for ends as TERM does", () => {
    const app = supervise({ drainDelayMs: 5_000, mapSignals: new Map([["SIGINT", "SIGTERM"]]) });
    app.receive("SIGINT");
    expect(app.done()).toEqual([]);
    app.pass(5_000);
    expect(app.done()).toEqual(["SIGTERM to group"]);
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGKILL to group"]);
  });

  test("that is dropped ends nothing", () => {
    const app = supervise({ drainDelayMs: 5_000, mapSignals: new Map([["SIGTERM", null]]) });
    app.receive("SIGTERM");
    app.receive("SIGTERM");
    expect(app.done()).toEqual([]);
    expect(app.due()).toEqual([]);
    expect(app.told).toEqual([]);
  });

  test("to the leader alone leaves its group's to its end", () => {
    const app = supervise({ signalScope: "child" });
    app.receive("SIGTERM");
    app.leaderEnded(0);
    expect(app.done()).toEqual(["SIGTERM to child", "SIGTERM to group"]);
    expect(app.due()).toEqual([30_000]);
    app.pass(30_000);
    expect(app.done()).toEqual(["SIGKILL to group"]);
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
    expect(app.done()).toEqual(["SIGUSR1 to group"]);
    app.pass(drainDelayMs);
    expect(app.done()).toEqual(["SIGTERM to group"]);
    // Counted from here on.
    expect(app.due()).toEqual([30_000]);
    expect(app.told).toEqual([
      ["info", "drain", "SIGTERM: to be passed on in 5 s, serving until then"],
      ["info", "drained", "Passing SIGTERM on"],
    ]);
  });

  test("is skipped by a second TERM, and a third one kills", () => {
    const app = supervise({ drainDelayMs });
    app.receive("SIGTERM");
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to group"]);
    expect(app.due()).toEqual([30_000]);
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGKILL to group"]);
    expect(app.told.map(([, event]) => event)).toEqual(["drain", "drained", "kill"]);
  });

  test("passes on what TERM is mapped to", () => {
    const app = supervise({ drainDelayMs, mapSignals: new Map([["SIGTERM", "SIGQUIT"]]) });
    app.receive("SIGTERM");
    app.pass(drainDelayMs);
    expect(app.done()).toEqual(["SIGQUIT to group"]);
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
  test("ends nobody, waits without a limit, and does not ask again and again", () => {
    const app = supervise({ waitAll: true });
    app.left.group = false;
    app.leaderEnded(4);
    app.someEnded();
    expect(app.done()).toEqual([]);
    expect(app.due()).toEqual([]);
    app.emptied();
    expect(app.done()).toEqual(["end 4"]);
  });

  test("ends them all when told to: TERM, the grace period, KILL", () => {
    const app = supervise({ waitAll: true });
    app.leaderEnded(4);
    app.receive("SIGTERM");
    expect(app.done()).toEqual(["SIGTERM to descendants"]);
    app.pass(30_000);
    // Who is left may have started others meanwhile.
    expect(app.done()).toEqual(["SIGKILL to descendants", "SIGKILL to descendants"]);
    app.someEnded();
    expect(app.done()).toEqual(["SIGKILL to descendants"]);
    app.emptied();
    expect(app.done()).toEqual(["end 4"]);
  });

  test.each([
    ["group", "SIGTERM to strays"],
    ["child", "SIGTERM to descendants"],
  ] as const)("tells those whom a TERM to the %s has not reached", (signalScope, second) => {
    const app = supervise({ waitAll: true, signalScope });
    app.receive("SIGTERM");
    app.leaderEnded(143);
    expect(app.done()).toEqual([`SIGTERM to ${signalScope}`, second]);
    expect(app.due()).toEqual([30_000]);
  });
});
