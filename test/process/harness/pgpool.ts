// Debian's Pgpool in front of a real server, which keeps the server's sessions for the next client.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { findFreePort } from "../../../scripts/postgres.ts";
import { findUnprivileged, untilConnected } from "./pooler.ts";

const program = "/usr/sbin/pgpool";

/** Null where it is there. */
export const missingPgpool = existsSync(program) ? null : "pgpool is not installed";

/** The URL of the same database through a Pgpool, which ends with the test. */
export async function startPgpool(serverUrl: string): Promise<string> {
  const behind = new URL(serverUrl);
  const url = new URL(serverUrl);
  url.port = String(await findFreePort());
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-pgpool-"));
  const config = join(directory, "pgpool.conf");
  writeFileSync(
    config,
    `backend_clustering_mode = 'raw'
listen_addresses = '127.0.0.1'
port = ${url.port}
socket_dir = '${directory}'
unix_socket_directories = '${directory}'
pcp_listen_addresses = ''
pcp_port = ${await findFreePort()}
pcp_socket_dir = '${directory}'
pid_file_name = '${directory}/pgpool.pid'
logdir = '${directory}'
backend_hostname0 = '${behind.hostname}'
backend_port0 = ${behind.port}
allow_clear_text_frontend_auth = on
pool_passwd = ''
num_init_children = 16
max_pool = 4
memqcache_total_size = 1048576
memqcache_max_num_cache = 100
`,
  );
  const account = findUnprivileged();
  chmodSync(directory, 0o755);
  if (account.uid !== undefined) chownSync(directory, account.uid, account.gid);
  const pool = spawn(program, ["-n", "-f", config, "-F", join(directory, "pcp.conf")], {
    ...account,
    stdio: "ignore",
  });
  onTestFinished(async () => {
    if (pool.exitCode === null) {
      const ended = once(pool, "exit");
      // An immediate shutdown, which its children do not outlive.
      pool.kill("SIGQUIT");
      await ended;
    }
    rmSync(directory, { recursive: true });
  });
  await untilConnected(url.href);
  return url.href;
}
