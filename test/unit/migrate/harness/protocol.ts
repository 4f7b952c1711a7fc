// The protocol of a boot as a state machine: what replicas, their migrations and the server may do next, one action at a time. A
// replica's own steps, the end of what a crash leaves behind, and the server's discoveries are separate actions, so that each
// order of them is explored. A model, since no test of processes gets through all orders.

/** The last of the pending revisions has been applied. */
const head = 2;

type StepName =
  | "inspect"
  | "try the lock"
  | "look for orphans"
  | "inspect again"
  | "start the command"
  | "migrate"
  | "verify"
  | "release"
  | "application"
  | "ended";

interface Replica {
  readonly step: StepName;
  readonly alive: boolean;
  /** Its session that holds the lock, as the server sees it. */
  readonly lock: boolean;
  /** That session is gone or silent, which the replica has not noticed yet. */
  readonly lost: boolean;
  /** Its migration command. */
  readonly command: "none" | "importing" | "connected";
  /** Its migration's session, as the server sees it: it may outlive the command. */
  readonly session: boolean;
  /** That has connected when its replica was gone, or had lost the lock: another one may have looked for it in vain. */
  readonly late: boolean;
  /** Something has failed for it: it may end. */
  readonly hurt: boolean;
}

export interface State {
  readonly applied: number;
  readonly faults: number;
  readonly replicas: readonly Replica[];
}

/** What the protocol does, and what it relies on; each can be taken away. */
export interface Rules {
  /** A replica migrates only under the lock. */
  readonly locks: boolean;
  /** Whoever holds the lock waits for the sessions of earlier migrations. */
  readonly looksForOrphans: boolean;
  /** The database is inspected again under the lock. */
  readonly inspectsAgain: boolean;
  /** The loss of the lock ends the migration command. */
  readonly stopsWhenLost: boolean;
  /** The end of entrypoint ends the migration command. */
  readonly endsWithParent: boolean;
  /** Exit code 0 is not believed. */
  readonly verifies: boolean;
  /** A boot that has begun nothing starts over when its connection breaks. */
  readonly startsOver: boolean;
  /**
   * A command that nobody has looked for yet, as it had not connected when its replica lost the lock or ended, is ended before
   * another one, which is started after that, has connected; its session too.
   */
  readonly prompt: boolean;
  /** A migration's session is recognised. */
  readonly recognised: boolean;
  /** The server notices that a client is gone. */
  readonly serverNotices: boolean;
  /** What is committed stays. */
  readonly durable: boolean;
}

export const protocol: Rules = {
  locks: true,
  looksForOrphans: true,
  inspectsAgain: true,
  stopsWhenLost: true,
  endsWithParent: true,
  verifies: true,
  startsOver: true,
  prompt: true,
  recognised: true,
  serverNotices: true,
  durable: true,
};

interface Next {
  readonly action: string;
  readonly state: State;
  readonly fault: boolean;
}

export function begin(replicas: number, faults: number): State {
  const replica: Replica = {
    step: "inspect",
    alive: true,
    lock: false,
    lost: false,
    command: "none",
    session: false,
    late: false,
    hurt: false,
  };
  return { applied: 0, faults, replicas: Array.from({ length: replicas }, () => replica) };
}

/** All that can happen next. */
function listNext(state: State, rules: Rules): Next[] {
  const next: Next[] = [];
  const { applied, faults, replicas } = state;
  const locked = replicas.some(({ lock }) => lock);
  const gone = (one: Replica) => one.lost || !one.alive;
  /** It may connect, or has, when others have looked for it already; but something is about to end it. */
  const unseen = (one: Replica) => {
    const ends = one.alive ? rules.stopsWhenLost : rules.endsWithParent;
    const begun = one.command === "importing" || (one.lost && one.step === "start the command");
    return ends && (one.late || (gone(one) && begun));
  };

  replicas.forEach((me, index) => {
    const add = (action: string, change: Partial<Replica>, after = applied, fault = false) =>
      next.push({
        action: `${index}: ${action}`,
        fault,
        state: {
          applied: after,
          faults: fault ? faults - 1 : faults,
          replicas: replicas.map((one, at) => (at === index ? { ...one, ...change } : one)),
        },
      });
    const { step } = me;
    const underLock =
      step === "look for orphans" || step === "inspect again" || step === "start the command";

    if (me.alive) {
      const arrive = { step: "application", lock: false } as const;
      if (step === "inspect") {
        if (applied === head) add("is at head", arrive);
        else add("something is pending", { step: "try the lock" });
      }
      if (step === "try the lock") {
        if (!locked || !rules.locks) add("lock", { step: "look for orphans", lock: true });
        else if (applied === head) add("another has migrated", arrive);
      }
      // These two ask over the lock's connection.
      if (step === "look for orphans" && !me.lost) {
        const seen = rules.recognised && replicas.some(({ session }) => session);
        if (!seen || !rules.looksForOrphans) add("no orphan", { step: "inspect again" });
      }
      if (step === "inspect again" && !me.lost) {
        if (applied === head && rules.inspectsAgain) add("is at head now", arrive);
        else add("still pending", { step: "start the command" });
      }
      if (step === "start the command")
        add("start the command", { step: "migrate", command: "importing" });
      if (step === "migrate" && me.command !== "none") {
        const over = { command: "none", session: false, late: false, step: "verify" } as const;
        if (me.command === "connected" && applied === head) add("the command exits with 0", over);
        if (faults > 0) {
          add("the command exits with 0 and lies", { ...over, hurt: true }, applied, true);
          add(
            "the command fails",
            { ...over, step: "ended", lock: false, hurt: true },
            applied,
            true,
          );
        }
      }
      if (step === "verify") {
        if (applied === head || !rules.verifies) add("is verified", { step: "release" });
        else add("is not at head", { step: "ended", lock: false });
      }
      if (step === "release") add("release", arrive);
      if (me.lost) {
        if (underLock) {
          const again = { lost: false, step: "inspect" } as const;
          add("start over", rules.startsOver ? again : { ...again, step: "ended" });
        } else if (step === "migrate" && rules.stopsWhenLost) {
          add("end the command", { lost: false, command: "none", step: "ended", hurt: true });
        } else if (step !== "migrate") add("notice the loss", { lost: false });
      }
      if (faults > 0 && step !== "application" && step !== "ended") {
        if (me.lock && !me.lost) {
          add("the lock's session ends", { lock: false, lost: true }, applied, true);
          add("the lock's session falls silent", { lost: true }, applied, true);
        }
        add("crash", { alive: false, lost: false, step: "ended", hurt: true }, applied, true);
      }
    } else if (me.command !== "none" && rules.endsWithParent) add("the guard", { command: "none" });

    // The migration itself, whether its entrypoint lives or not.
    if (me.command === "importing") {
      const wait = rules.prompt && replicas.some((one) => one !== me && unseen(one));
      if (!wait) add("connect", { command: "connected", session: true, late: gone(me) });
    }
    if (me.command === "connected" && applied < head) add("apply a revision", {}, applied + 1);
    if (me.command === "connected" && applied === head && !me.alive)
      add("the orphan exits", { command: "none", session: false, late: false });
    // The server.
    if (me.session && me.command === "none") {
      if (rules.serverNotices) add("the server ends the session", { session: false, late: false });
      if (applied < head) add("a late commit", { session: false, late: false }, applied + 1);
    }
    const holds =
      me.alive && !me.lost && (underLock || ["migrate", "verify", "release"].includes(step));
    if (me.lock && !holds && rules.serverNotices) add("the server ends the lock", { lock: false });
  });
  if (faults > 0 && !rules.durable && applied > 0) {
    const after = { ...state, applied: applied - 1, faults: faults - 1 };
    next.push({ action: "a failover loses a commit", state: after, fault: true });
  }
  return next;
}

/** What must hold in each state; null where it does. */
function findBreach({ applied, replicas }: State): string | null {
  if (replicas.filter(({ session }) => session).length > 1) return "two migrations at once";
  if (applied < head && replicas.some(({ step }) => step === "application"))
    return "an application below head";
  if (replicas.some(({ step, hurt }) => step === "ended" && !hurt))
    return "the end of a replica that nobody hurt";
  return null;
}

/** Nobody has anything left to do. */
function isDone({ replicas }: State): boolean {
  return replicas.every(
    ({ step, command, lock, session }) =>
      (step === "application" || step === "ended") && command === "none" && !lock && !session,
  );
}

interface Finding {
  readonly states: number;
  /** The first that was found, with the shortest way to it; null: none. */
  readonly breach: { readonly what: string; readonly trace: readonly string[] } | null;
}

/** Looks at all states that can be reached, in the order of their distance. */
export function explore(start: State, rules: Rules): Finding {
  const keyOf = (state: State) => JSON.stringify(state);
  const known = new Map<string, { from: string | null; action: string }>();
  const sources = new Map<string, string[]>();
  const done: string[] = [];
  const traceTo = (key: string) => {
    const trace: string[] = [];
    for (let at = known.get(key); at?.from != null; at = known.get(at.from)) {
      trace.unshift(at.action);
    }
    return trace;
  };
  known.set(keyOf(start), { from: null, action: "" });
  let edge = [start];
  while (edge.length > 0) {
    const beyond: State[] = [];
    for (const state of edge) {
      const key = keyOf(state);
      const what = findBreach(state);
      if (what !== null) return { states: known.size, breach: { what, trace: traceTo(key) } };
      if (isDone(state)) done.push(key);
      for (const { action, state: after, fault } of listNext(state, rules)) {
        const to = keyOf(after);
        // Progress must not depend on another fault.
        if (!fault) sources.set(to, [...(sources.get(to) ?? []), key]);
        if (known.has(to)) continue;
        known.set(to, { from: key, action });
        beyond.push(after);
      }
    }
    edge = beyond;
  }
  // From each state there is a way to the end.
  const hopeful = new Set(done);
  for (const key of hopeful) for (const source of sources.get(key) ?? []) hopeful.add(source);
  const stuck = [...known.keys()].find((key) => !hopeful.has(key));
  if (stuck === undefined) return { states: known.size, breach: null };
  return { states: known.size, breach: { what: "no progress", trace: traceTo(stuck) } };
}
