// Who falls behind because of us: replicas, and those for whom the server has to keep WAL (slots, the archive). The
// server's own replay_lag stands still where a replica does, so the time is taken here, from where the primary's WAL was
// when.

import type pg from "pg";
import type { Burden } from "./pace.ts";

/** What the server says at one moment; places in the WAL are bytes from its beginning. */
export interface Replication {
  /** Where the primary's WAL is. */
  readonly position: number;
  readonly replicas: readonly {
    readonly name: string;
    /** Null where the role may not see it. */
    readonly replayed: number | null;
    /** The server's own measure. */
    readonly replayLagMs: number | null;
  }[];
  /** What slots and the archive hold back. */
  readonly retained: readonly { readonly name: string; readonly bytes: number }[];
  /** What max_wal_size is: the WAL that the server keeps in any case. */
  readonly retainedLimit: number;
}

export interface LagClock {
  /** What weighs on the server at this moment. */
  weigh(now: Replication, nowMs: number): Burden[];
}

/** A sample is taken no more often than that; the lag is exact to it. */
const sampleEveryMs = 100;

/** @param maxLagMs 0: neither replicas nor retained WAL count. */
export function createLagClock(maxLagMs: number): LagClock {
  /** Where the WAL was when, the oldest first; all of it ahead of the slowest replica but the first one. */
  const samples: { position: number; atMs: number }[] = [];
  return {
    weigh({ position, replicas, retained, retainedLimit }, nowMs) {
      if (maxLagMs === 0) return [];
      const last = samples.at(-1);
      if (last === undefined || nowMs - last.atMs >= sampleEveryMs) {
        samples.push({ position, atMs: nowMs });
      }
      const slowest = Math.min(...replicas.map(({ replayed }) => replayed ?? position), position);
      while (samples.length > 1 && (samples[1]?.position ?? 0) <= slowest) samples.shift();
      const lags = replicas.map(({ name, replayed, replayLagMs }): Burden => {
        const missed = samples.find((sample) => sample.position > (replayed ?? position));
        const seenMs = missed === undefined ? 0 : nowMs - missed.atMs;
        // What the server says is old news for a replica that has caught up since.
        const toldMs = replayed !== null && replayed < position ? (replayLagMs ?? 0) : 0;
        return {
          name: `replica ${name}`,
          value: Math.max(seenMs, toldMs),
          limit: maxLagMs,
          unit: "ms",
        };
      });
      const held = retained.map(({ name, bytes }): Burden => ({
        name,
        value: bytes,
        limit: retainedLimit,
        unit: "bytes",
      }));
      return [...lags, ...held];
    },
  };
}

/** The part of an LSN that a WAL file's name holds: its last sixteen digits. */
const archivedUpTo = `
  (('x' || substr(last_archived_wal, 9, 8))::bit(32)::bigint * 4294967296
    + (('x' || substr(last_archived_wal, 17, 8))::bit(32)::bigint + 1)
      * pg_size_bytes(current_setting('wal_segment_size')))::float8`;

export async function readReplication(client: pg.Client): Promise<Replication> {
  const { rows } = await client.query<Replication>(`
    with here as (select pg_current_wal_lsn() as lsn)
    select pg_wal_lsn_diff(lsn, '0/0')::float8 as position,
      pg_size_bytes(current_setting('max_wal_size'))::float8 as "retainedLimit",
      coalesce((
        select json_agg(json_build_object(
          'name', coalesce(nullif(r.application_name, ''), 'pid ' || r.pid),
          'replayed', pg_wal_lsn_diff(r.replay_lsn, '0/0')::float8,
          'replayLagMs', extract(epoch from r.replay_lag) * 1000
        ) order by r.pid)
        from pg_stat_replication r where coalesce(r.state, '') <> 'backup'
      ), '[]') as replicas,
      coalesce((
        select json_agg(json_build_object(
          'name', 'slot ' || s.slot_name, 'bytes', pg_wal_lsn_diff(lsn, s.restart_lsn)::float8
        ) order by s.slot_name)
        from pg_replication_slots s where s.restart_lsn is not null
      ), '[]'::json) as slots,
      (
        select greatest(pg_wal_lsn_diff(lsn, '0/0')::float8 - ${archivedUpTo}, 0)
        from pg_stat_archiver
        where current_setting('archive_mode') <> 'off' and last_archived_wal ~ '^[0-9A-F]{24}$'
      ) as archive
    from here`);
  const row = rows[0] as
    | (Omit<Replication, "retained"> & {
        slots: readonly { name: string; bytes: number }[];
        archive: number | null;
      })
    | undefined;
  if (row === undefined) throw new Error("the server gave no row");
  const { slots, archive, ...rest } = row;
  const archives = archive === null ? [] : [{ name: "the archive", bytes: archive }];
  return { ...rest, retained: [...slots, ...archives] };
}
