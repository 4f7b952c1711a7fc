// A primary and a real streaming replica of it, two servers of a test's own.

import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startPostgres, type Postgres } from "../../scripts/postgres.ts";

export interface Pair {
  readonly primary: Postgres;
  readonly replica: Postgres;
  stop(): Promise<void>;
}

/** @param name the replica's, as the primary shows it. @param settings of both, in postgresql.conf's words. */
export async function startReplication(
  name: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<Pair> {
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-replication-"));
  // The server's user has to get in.
  chmodSync(directory, 0o755);
  const [original, copy] = ["primary", "replica"].map((role) => join(directory, role));
  if (original === undefined || copy === undefined) throw new Error("two directories are made");
  const quick = { fsync: "off", shared_buffers: "32MB", ...settings };
  await (await startPostgres({ dataDir: original, settings: quick })).stop();
  // The major version is a part of the name.
  const [made = ""] = readdirSync(directory);
  const copied = join(directory, made.replace("primary", "replica"));
  const { status, stderr } = spawnSync("cp", ["-a", join(directory, made), copied]);
  if (status !== 0) throw new Error(`cannot copy the cluster: ${stderr.toString()}`);
  writeFileSync(join(copied, "standby.signal"), "");

  const primary = await startPostgres({ dataDir: original, settings: quick });
  const { username, password, port } = new URL(primary.url("postgres"));
  const source = `host=127.0.0.1 port=${port} user=${username} password=${password} application_name=${name}`;
  const replica = await startPostgres({
    dataDir: copy,
    settings: { ...quick, primary_conninfo: source },
  });
  return {
    primary,
    replica,
    async stop() {
      await replica.stop();
      await primary.stop();
      rmSync(directory, { recursive: true });
    },
  };
}
