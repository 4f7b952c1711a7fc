// Debian's PgBouncer in front of a real server.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { findFreePort } from "../../../scripts/postgres.ts";
import { findUnprivileged, untilConnected } from "./pooler.ts";

const program = "/usr/sbin/pgbouncer";

/** Null where it is there. */
export const missingPgBouncer = existsSync(program) ? null : "pgbouncer is not installed";

/** The URL of the same database through a PgBouncer, which ends with the test. */
export async function startPgBouncer(
  serverUrl: string,
  { mode, size }: { mode: "session" | "transaction" | "statement"; size: number },
): Promise<string> {
  const behind = new URL(serverUrl);
  const url = new URL(serverUrl);
  url.port = String(await findFreePort());
  const directory = mkdtempSync(join(tmpdir(), "entrypoint-pgbouncer-"));
  const config = join(directory, "pgbouncer.ini");
  const users = join(directory, "users.txt");
  writeFileSync(users, `"${url.username}" "${url.password}"\n`);
  writeFileSync(
    config,
    `[databases]
* = host=${behind.hostname} port=${behind.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${url.port}
unix_socket_dir =
auth_type = plain
auth_file = ${users}
pool_mode = ${mode}
default_pool_size = ${size}
query_wait_timeout = 120
`,
  );
  chmodSync(directory, 0o755);
  // It refuses to run as root.
  const account = findUnprivileged();
  const bouncer = spawn(program, ["-q", config], { ...account, stdio: "ignore" });
  onTestFinished(async () => {
    if (bouncer.exitCode === null) {
      bouncer.kill("SIGKILL");
      await once(bouncer, "exit");
    }
    rmSync(directory, { recursive: true });
  });
  await untilConnected(url.href);
  return url.href;
}
