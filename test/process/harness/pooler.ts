// What the poolers of the tests have in common.

import { spawnSync } from "node:child_process";
import { Client } from "pg";
import { expect } from "vitest";

/** The user that a pooler runs as, since none runs as root: nobody where we are root, else who we are. */
export function findUnprivileged(): { uid: number; gid: number } | { uid?: never; gid?: never } {
  const id = (flag: string) =>
    Number(spawnSync("id", [flag, "nobody"], { encoding: "utf8" }).stdout);
  return process.getuid?.() === 0 ? { uid: id("-u"), gid: id("-g") } : {};
}

/** Resolves when a connection by the URL succeeds. */
export async function untilConnected(url: string): Promise<void> {
  const connects = async () => {
    const client = new Client({ connectionString: url });
    client.on("error", () => undefined);
    await client.connect();
    await client.end();
    return true;
  };
  await expect.poll(() => connects().catch(() => false)).toBe(true);
}
