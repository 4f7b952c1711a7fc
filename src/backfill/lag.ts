// What falls behind: replicas, and slots and the archive, for which the server has to retain WAL. The server's own
// replay_lag does not grow while a replica stands still, so the lag is measured here, by the positions of the primary's WAL.

import type { Connection } from "../postgres/connection.ts";
import type { Burden } from "./pace.ts";

/** One sample; positions in the WAL are bytes from its beginning. */
export interface Replication {
  /** The end of the primary's WAL. */
  readonly position: number;
  readonly replicas: readonly {
    readonly name: string;
    /** Null where the role is not allowed to see it. */
    readonly replayed: number | null;
    /** The server's own measure. */
    readonly replayLagMs: number | null;
  }[];
  /** What slots and the archive retain. */
  readonly retained: readonly { readonly name: string; readonly bytes: number }[];
  /** max_wal_size: the WAL that the server retains in any case. */
  readonly retainedLimit: number;
}

export interface LagClock {
  /** What may delay the next batch now. */
  weigh(now: Replication, nowMs: number): Burden[];
}

/** The shortest time between two samples, and the precision of the lag. */
const sampleEveryMs = 100;

/** @param maxLagMs 0: neither replicas nor retained WAL count. */
export function createLagClock(maxLagMs: number): LagClock {
  /** The oldest first; all but the first one are ahead of the slowest replica. */
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
        // The server's own value is outdated for a replica that has caught up since.
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

export async function readReplication(connection: Connection): Promise<Replication> {
  const { rows } = await connection.query<Replication>(`
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
