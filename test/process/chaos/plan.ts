// What happens in a round of chaos, from a seed: how eight replicas start, what their migration does, and who is hurt when.

const replicas = 8;

const faultKinds = [
  /** SIGKILL of entrypoint. */
  "kill",
  /** SIGKILL of the migration command. */
  "kill-command",
  /** SIGTERM to entrypoint. */
  "terminate",
  /** SIGSTOP to all processes of a replica, and later SIGCONT. */
  "pause",
  /** All connections of a replica are closed. */
  "cut",
  /** A replica's data wait. */
  "freeze",
  /** pg_terminate_backend of one of a replica's sessions. */
  "terminate-backend",
  /** An immediate shutdown of the server, and a start. */
  "restart",
] as const;

export type FaultKind = (typeof faultKinds)[number];

export interface Fault {
  readonly kind: FaultKind;
  /** Since the round's start. */
  readonly atMs: number;
  /** Of a pause, and of a freeze. */
  readonly forMs: number;
  /** Whoever migrates then, where anybody does. */
  readonly atHolder: boolean;
  /** Else this one. */
  readonly replica: number;
  /** Of several sessions, which. */
  readonly session: number;
}

export const migrations = {
  "in the server": {
    perRevision: true,
    upgrade: `op.execute("create table t (id int)".replace(" t ", f" t_{revision} ")); op.execute("select pg_sleep(0.4)")`,
  },
  "in one transaction": {
    perRevision: false,
    upgrade: `op.execute(f"create table t_{revision} (id int)"); op.execute("select pg_sleep(0.4)")`,
  },
  "in Python": {
    perRevision: true,
    upgrade: `op.execute(f"create table t_{revision} (id int)"); time.sleep(0.4)`,
  },
  "an index, concurrently": {
    perRevision: true,
    upgrade: [
      `with op.get_context().autocommit_block():`,
      `    op.execute(f"create table if not exists t_{revision} (id int)")`,
      `    op.execute(f"drop index concurrently if exists i_{revision}")`,
      `    op.execute(f"create index concurrently i_{revision} on t_{revision} (id)")`,
      `    op.execute("select pg_sleep(0.2)")`,
    ].join("\n"),
  },
} as const;

type MigrationKind = keyof typeof migrations;

export interface Plan {
  readonly name: string;
  /** Each replica is PID 1 of a namespace of its own. */
  readonly firstProcess: boolean;
  readonly migration: MigrationKind;
  /** When each replica starts. */
  readonly startsMs: readonly number[];
  readonly faults: readonly Fault[];
}

/** The same for the same numbers, for ever. */
export function planRound(seed: number, round: number): Plan {
  const random = createRandom(seed * 1_000_003 + round);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;
  const firstProcess = round % 2 === 1;
  const migration = pick(Object.keys(migrations) as MigrationKind[]);
  const startsMs = Array.from({ length: replicas }, () => below(1_200));
  const faults = Array.from({ length: 3 + below(4) }, () => ({
    kind: pick(faultKinds),
    atMs: 300 + below(3_500),
    forMs: 200 + below(2_800),
    atHolder: random() < 0.6,
    replica: below(replicas),
    session: below(6),
  })).toSorted((one, other) => one.atMs - other.atMs);
  const where = firstProcess ? "PID 1" : "plain";
  const name = `round ${round} of seed ${seed}: ${where}, ${migration}, ${faults.map(({ kind }) => kind).join(", ")}`;
  return { name, firstProcess, migration, startsMs, faults };
}

/** Mulberry32: numbers from 0 to 1. */
function createRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
