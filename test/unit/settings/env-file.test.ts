import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readEnvironment } from "../../../src/settings/sources.ts";

function createFile(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "entrypoint-env-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, ".env"), text);
  return join(folder, ".env");
}

test("the environment beats the files, and a later file an earlier one", async () => {
  const first = createFile("A=1\nB=1\nC=1\n");
  const second = createFile("B=2\nC=2\n");
  const inherited = { C: "0" };
  const expected = { A: "1", B: "2", C: "0" };
  expect(await readEnvironment({ flags: { envFile: [first, second] } }, inherited)).toEqual(
    expected,
  );
  const variable = { ...inherited, ENTRYPOINT_ENV_FILE: `${first}:${second}` };
  expect(await readEnvironment({ flags: {} }, variable)).toMatchObject(expected);
});

test("quotes, comments, export and ${NAME} as python-dotenv reads them; $NAME stays", async () => {
  const path = createFile(
    'export A="x y" # z\nB=${A}/${NONE}/${NONE:-n}\nC=pa$word\nD="${HERE}"\nE=\'#\'\n',
  );
  const env = await readEnvironment({ flags: { envFile: [path] } }, { HERE: "h" });
  expect(env).toEqual({ HERE: "h", A: "x y", B: "x y//n", C: "pa$word", D: "h", E: "#" });
});

test("a file that is missing is refused", async () => {
  await expect(readEnvironment({ flags: { envFile: ["/nowhere/.env"] } }, {})).rejects.toThrow(
    "--env-file /nowhere/.env: it cannot be read (ENOENT)",
  );
});
