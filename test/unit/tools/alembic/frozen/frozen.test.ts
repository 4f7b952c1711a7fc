// What is frozen holds for the version of entrypoint that has frozen it, and for nobody else.

import { mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { frozenPlace, readFrozen } from "../../../../../src/tools/alembic/frozen/frozen.ts";
import { frozenPath, seal, writeFrozen } from "../../../../../src/tools/frozen.ts";
import { readAlembicCommand } from "../read-command.ts";

let cwd = "";

beforeEach(() => {
  // The build replaces it in the bundle.
  vi.stubGlobal("ENTRYPOINT_VERSION", "1.2.3");
  cwd = realpathSync(mkdtempSync(join(tmpdir(), "entrypoint-frozen-")));
  const located = {
    scriptLocation: cwd,
    versionLocations: [join(cwd, "versions")],
    recursive: false,
    sourceless: false,
  };
  const revision = { id: "a1", downRevisions: [], dependsOn: [], branchLabels: [], path: "/a1.py" };
  const text = seal(frozenPlace(place()), { located, revisions: [revision] }, [
    { kind: "file", path: join(cwd, "alembic.ini") },
  ]);
  writeFrozen(frozenPath(cwd), text);
});

afterEach(() => {
  rmSync(cwd, { recursive: true });
  vi.unstubAllGlobals();
});

function place(env: Record<string, string> = { DATABASE_URL: "postgresql://blog:secret@db/blog" }) {
  return { command: readAlembicCommand("alembic upgrade head"), cwd, env };
}

function reasonOf(answer: ReturnType<typeof readFrozen>): string {
  if (answer.kind !== "ignored") throw new Error(`it is not ignored: ${answer.kind}`);
  return answer.reason;
}

test("it holds, whatever the database is, and no secret is in it", () => {
  expect(readFrozen(place({ DATABASE_URL: "postgresql://elsewhere/blog" }))).toMatchObject({
    kind: "holds",
    graph: { heads: ["a1"] },
  });
  expect(readFileSync(frozenPath(cwd), "utf8")).not.toContain("secret");
});

test("everybody may read it", () => {
  expect(statSync(frozenPath(cwd)).mode & 0o777).toBe(0o644);
});

test("where there is none, nothing is ignored", () => {
  rmSync(frozenPath(cwd));
  expect(readFrozen(place())).toEqual({ kind: "none" });
});

test("another version of entrypoint ignores it", () => {
  vi.stubGlobal("ENTRYPOINT_VERSION", "1.2.4");
  expect(reasonOf(readFrozen(place()))).toBe(
    "it was frozen by entrypoint 1.2.3, and this is 1.2.4",
  );
});

test.each(["ALEMBIC_CONFIG", "PYTHONPATH", "FLASK_APP", "FLASK_DB_UPGRADE_DIRECTORY"])(
  "%s is another one",
  (name) => {
    expect(reasonOf(readFrozen(place({ [name]: "x" })))).toBe(`${name} has changed`);
  },
);

test("a file that was not there counts when it comes", () => {
  writeFileSync(join(cwd, "alembic.ini"), "");
  expect(reasonOf(readFrozen(place()))).toBe(`${cwd}/alembic.ini has been added`);
});

test("every byte counts", () => {
  const whole = readFileSync(frozenPath(cwd), "utf8").trimEnd();
  for (let index = 0; index < whole.length; index += 1) {
    const other = whole[index] === "x" ? "y" : "x";
    writeFileSync(frozenPath(cwd), `${whole.slice(0, index)}${other}${whole.slice(index + 1)}`);
    expect(readFrozen(place()).kind, `byte ${index}`).toBe("ignored");
  }
});
