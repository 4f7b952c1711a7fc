// One image, several roles: entrypoint.toml as a user writes it, from the first word to the application, and what `config` says of it.
// @runs-on executable

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readBlocks, readDocument } from "../../harness/documents.ts";
import { runEntrypoint } from "../harness/entrypoint.ts";
import { createTestDatabase, stampRows } from "../harness/postgres.ts";
import { createProject } from "../harness/project.ts";

const toml = `
log-format = "text"
secret = ["DATABASE_URL", "API_KEY"]

[roles.web]
command = "sh -c 'echo web $0 $1 $API_KEY' x"
setup = "echo set up"

[roles.worker]
command = ["sh", "-c", "echo worker; exit 3"]
boot = "wait"
map-exit = "3=0"

[roles.shell]
command = "echo shell"
boot = "none"
`;

/** A project whose database is at no revision. */
async function place(text = toml, file = "entrypoint.toml") {
  const cwd = createProject([{ id: "a1" }]);
  writeFileSync(join(cwd, file), text);
  return {
    cwd,
    env: { DATABASE_URL: await createTestDatabase(), ENTRYPOINT_LOG_FORMAT: undefined },
  };
}

test("a role by its name boots, waits, or neither", async () => {
  const options = await place();
  const shell = await runEntrypoint(["shell", "more"], options);
  expect(shell).toMatchObject({ code: 0, stdout: "shell more\n", stderr: "" });
  const early = await runEntrypoint(["--wait-timeout", "2s", "worker"], options);
  expect(early.code).toBe(3);
  const web = await runEntrypoint(["web", "y"], options);
  expect(web).toMatchObject({ code: 0 });
  expect(web.stdout).toMatch(/^set up\nweb x y\s*$/m);
  expect(web.stderr).toContain("INFO starting: Migrations complete. Starting application...");
  const env = { ...options.env, ENTRYPOINT_ROLE: "worker" };
  const worker = await runEntrypoint([], { ...options, env });
  expect(worker).toMatchObject({ code: 0, stdout: "worker\n" });
});

test("pyproject.toml has the same, and is left alone without it", async () => {
  const table = toml.replaceAll("[roles.", "[tool.entrypoint.roles.");
  const options = await place(`[project]\nname = "x"\n[tool.entrypoint]${table}`, "pyproject.toml");
  expect(await runEntrypoint(["shell"], options)).toMatchObject({ code: 0, stdout: "shell\n" });
  writeFileSync(join(options.cwd, "pyproject.toml"), '[project]\nname = "entrypoint"\n');
  await stampRows(options.env.DATABASE_URL, "a1");
  expect(await runEntrypoint(["true"], options)).toMatchObject({ code: 0 });
});

test("64: what is wrong in the file is reported at once, with what is wrong elsewhere", async () => {
  const options = await place("wait-timout = 1\nlog-format = 'json'\n");
  const run = await runEntrypoint(["--lock-timeout", "x", "true"], options);
  expect(run.code).toBe(64);
  expect(run.lines.at(-1)).toMatchObject({
    problems: [
      "entrypoint.toml: wait-timout: no such setting; did you mean wait-timeout?",
      expect.stringContaining("--lock-timeout: given"),
    ],
  });
  writeFileSync(join(options.cwd, "entrypoint.toml"), "a = \n");
  const broken = await runEntrypoint(["true"], options);
  expect(broken.code).toBe(64);
  expect(broken.stderr).toContain("ERROR bad-settings: entrypoint.toml: line 1: ");
});

test("config prints what a role would be started with, without a secret", async () => {
  const options = await place();
  const secret = "S3CRET-of-the-shop";
  const env = {
    ...options.env,
    DATABASE_URL: `postgresql://blog:${secret}@127.0.0.1:1/blog`,
    API_KEY: "K3Y-of-the-shop",
    ENTRYPOINT_MIGRATE: `flask db upgrade --key K3Y-of-the-shop --url postgresql://a:${secret}@b/c`,
  };
  const text = await runEntrypoint(["config", "web"], { ...options, env });
  expect(text.code, text.stderr).toBe(0);
  expect(text.stdout).toMatch(/^role +web +the command line$/m);
  expect(text.stdout).toMatch(
    /^database-url +postgresql:\/\/blog@127\.0\.0\.1:1\/blog +DATABASE_URL$/m,
  );
  expect(text.stdout).toMatch(/^setup +echo set up +entrypoint\.toml: roles\.web\.setup$/m);
  expect(text.stdout).toMatch(/^wait-timeout +60s +default$/m);
  const json = await runEntrypoint(["config", "--json", "worker"], { ...options, env });
  expect(JSON.parse(json.stdout)).toMatchObject({
    role: "worker",
    settings: {
      command: { value: "wait" },
      "map-exit": { value: "3=0", source: "entrypoint.toml: roles.worker.map-exit" },
      migrate: { source: "ENTRYPOINT_MIGRATE" },
      secret: { value: ["DATABASE_URL", "API_KEY"] },
    },
  });
  for (const { stdout, stderr } of [text, json]) {
    expect(stdout + stderr).not.toContain(secret);
    expect(stdout + stderr).not.toContain("K3Y-of-the-shop");
  }
});

test("the file in the documents is one that is read", async () => {
  const [[...lines] = []] = readBlocks(readDocument("src/settings/README.md"), "toml");
  const options = await place(lines.join("\n"));
  for (const role of ["web", "worker", "cron"]) {
    const { code, stdout, stderr } = await runEntrypoint(["config", role], options);
    expect(code, stderr).toBe(0);
    expect(stdout).toContain(`entrypoint.toml: roles.${role}.command`);
  }
});
