// entrypoint that stays, as PID 1 in a real engine: what an init has to do there, and what inits do not.

import { describe, expect, test } from "vitest";

import { engine, fetchWhenServed, startContainer, startDatabase } from "./engine.ts";

const published = ["--publish", "127.0.0.1::8000"];

/** Makes orphans, and ends with 7 when none of them is a zombie any more. */
const orphans = `
import glob, os
for _ in range(1000):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
def is_zombie(stat):
    try:
        return open(stat).read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
while any(is_zombie(stat) for stat in glob.glob("/proc/[0-9]*/stat")):
    pass
os._exit(7)
`;

describe.skipIf(engine === null)("supervise, in a container", () => {
  test("boots the blog, stays before it as PID 1, and ends with its code and all its workers", async () => {
    const database = await startDatabase();
    const app = await startContainer({
      env: { DATABASE_URL: database.url, ENTRYPOINT_MODE: "supervise" },
      flags: [...database.flags, ...published, "--read-only", "--cap-drop=ALL"],
    });
    expect(await fetchWhenServed(app, "/posts")).toBe("[]");
    const { stdout } = await app.exec("cat", "/proc/1/cmdline");
    expect(stdout).toBe("/entrypoint\0");
    expect(await app.stop()).toBeLessThan(9_000);
    expect(await app.ended()).toBe(0);
    expect(app.output().match(/Finished server process/g)).toHaveLength(2);
  });

  test("reaps a thousand orphans, and hands the application's code on", async () => {
    const app = await startContainer({
      words: ["/entrypoint", "supervise", "--", "python", "-c", orphans],
    });
    expect(await app.ended()).toBe(7);
  });

  test("goes on serving for the drain delay of a docker stop", async () => {
    const database = await startDatabase();
    const app = await startContainer({
      env: { DATABASE_URL: database.url, ENTRYPOINT_DRAIN_DELAY: "3s" },
      flags: [...database.flags, ...published],
    });
    await fetchWhenServed(app, "/healthz");
    const stopped = app.stop();
    await app.event("drain");
    expect(await fetchWhenServed(app, "/healthz")).toBe('{"status":"ok"}');
    expect(app.lines().map(({ event }) => event)).not.toContain("drained");
    expect(await stopped).toBeGreaterThan(3_000);
    await app.event("drained");
    expect(await app.ended()).toBe(0);
  });
});
