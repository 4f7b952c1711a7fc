// The real Liquibase, which its npm package brings with it; it needs a Java on PATH.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";

import { plainEnvironment, runEntrypoint } from "../../harness/entrypoint.ts";
import { modules } from "./real-tools.ts";

const home = join(modules, "liquibase/dist/liquibase");

export const liquibaseIsMissing =
  !existsSync(join(home, "liquibase")) || spawnSync("java", ["-version"]).status !== 0;

/** A change log of these change sets, in XML. */
export function changeLog(...parts: readonly string[]): string {
  return `<databaseChangeLog xmlns="http://www.liquibase.org/xml/ns/dbchangelog" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.liquibase.org/xml/ns/dbchangelog http://www.liquibase.org/xml/ns/dbchangelog/dbchangelog-latest.xsd">
${parts.join("\n")}
</databaseChangeLog>
`;
}

/** @param attributes of the change set. */
export function changeSet(id: string, sql: string, attributes = ""): string {
  return `<changeSet id="${id}" author="ann" ${attributes}>${sql.startsWith("<") ? sql : `<sql>${sql}</sql>`}</changeSet>`;
}

/** A project with these files. @param url of its database; null for none. */
export function createProject(files: Readonly<Record<string, string>>, url: string | null) {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-liquibase-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  const write = (name: string, text: string) => {
    mkdirSync(dirname(join(cwd, name)), { recursive: true });
    writeFileSync(join(cwd, name), text);
  };
  for (const [name, text] of Object.entries(files)) write(name, text);
  const environment = {
    ...(url === null ? {} : { LIQUIBASE_COMMAND_URL: jdbcOf(url) }),
    LIQUIBASE_SHOW_BANNER: "false",
    // A third of the time of a start.
    JAVA_OPTS: "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    PATH: `${home}:${plainEnvironment({})["PATH"]}`,
  };
  return {
    cwd,
    write,
    run: async (command: string, ...args: string[]) =>
      runEntrypoint(args, { cwd, env: { ...environment, ENTRYPOINT_MIGRATE: command } }),
    /** Runs Liquibase itself. */
    bare(command: string) {
      const [program = "", ...args] = command.split(" ");
      const env = plainEnvironment(environment);
      const { status, stdout, stderr } = spawnSync(program, args, { cwd, env, encoding: "utf8" });
      return { code: status, output: stdout + stderr };
    },
  };
}

function jdbcOf(url: string): string {
  const { username, password, host, pathname } = new URL(url);
  return `jdbc:postgresql://${host}${pathname}?user=${username}&password=${password}&ApplicationName=blog`;
}
