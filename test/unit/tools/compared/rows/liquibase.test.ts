// What is read beside Liquibase's own answer: its list, its settings, and the texts of the change log.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import {
  formatChangeSets,
  nameOf,
  parseChangeSets,
  findRefused,
  withWrongChecksum,
} from "../../../../../src/tools/compared/rows/liquibase/change-sets.ts";
import { readSettings } from "../../../../../src/tools/compared/rows/liquibase/settings.ts";
import {
  findAlways,
  findDoubt,
  findValidChecksums,
  findVariables,
} from "../../../../../src/tools/compared/rows/liquibase/texts.ts";

const header = '"ID","AUTHOR","FILENAME","ORDEREXECUTED","EXECTYPE","MD5SUM","COMMENTS"\n';

test("a list is read in its order, and written as it was", () => {
  const lines = [
    '"a, b","o""ann","classpath:db\\x.xml","10","EXECUTED","9:0a","one\ntwo, ""three"""\n',
    '"1","ann","./db/x.xml","2","EXECUTED","9:0b",""\n',
  ];
  const sets = parseChangeSets(`${header}${lines.join("")}`);
  expect(sets.map(nameOf)).toEqual(["db/x.xml::1::ann", 'db/x.xml::a, b::o"ann']);
  expect(formatChangeSets(sets)).toBe(`${header}${lines.toReversed().join("")}`);
  expect(sets.map(withWrongChecksum).map((set) => set["md5sum"])).toEqual(["9:00", "9:00"]);
});

test("a list of another form is an error that says so", () => {
  expect(() => parseChangeSets('"ID","AUTHOR"\n"1","ann"\n')).toThrow("has no column filename");
  expect(() => parseChangeSets("")).toThrow("has no column id");
});

test("what Liquibase would refuse", () => {
  const ids = ["1", "was: 2", "new\nline", "not said"];
  const rows = parseChangeSets(
    `${header}${ids.map((id) => `"${id}","ann","./db/a.xml","2","EXECUTED","9:00",""\n`).join("")}`,
  );
  const said = ids.slice(0, 3).map((id) => `    db/a.xml::${id}::ann was: 9:00 but is now: 9:0a\n`);
  expect([...findRefused(rows, `ERROR: Validation Failed:\n${said.join("")}\nFor more`)]).toEqual(
    ids.slice(0, 3).map((id) => `db/a.xml::${id}::ann`),
  );
});

test("the values of validCheckSum", () => {
  const [one, two] = [`8:${"0".repeat(32)}`, `9:${"a".repeat(32)}`];
  const text = `<validCheckSum>${one}</validCheckSum> <validCheckSum>ANY</validCheckSum>\n- validCheckSum: "${two}"\n"validCheckSum": ["${one}"]\n--validCheckSum: ${two}\n`;
  expect(findValidChecksums(text)).toEqual([one, two, one, two]);
});

test.each([
  ['<preConditions onFail="CONTINUE">', "onFail=CONTINUE"],
  ["- onError: continue", "onError:continue"],
  ['"onFail": "CONTINUE"', "onFail:CONTINUE"],
  ["--preconditions onFail:CONTINUE onError:HALT", "onFail:CONTINUE"],
  ['<changeSet id="1" failOnError="false">', "failOnError=false"],
  ['<preConditions onFail="${what}">', "onFail=${"],
  ["create table ${database.defaultSchemaName}.t ()", "${database.defaultSchemaName}"],
])("%s may leave no row, or another checksum", (text, said) => {
  expect(findDoubt("x", text)).toContain(`(${said})`);
});

test.each(['onFail="MARK_RAN"', "onFail: HALT", 'failOnError="true"', "onFailMessage: CONTINUE"])(
  "%s leaves one",
  (text) => expect(findDoubt("x", text)).toBe(null),
);

const inSet = '<changeSet id="1"><preConditions/></changeSet>';

test.each<[text: string, always: boolean]>([
  [`<databaseChangeLog>${inSet}<changeSet/></databaseChangeLog>`, false],
  [`<databaseChangeLog><preConditions/>${inSet}</databaseChangeLog>`, true],
  ["databaseChangeLog:\n  - preConditions:\n      - dbms: x\n", true],
  ["databaseChangeLog:\n  - changeSet:\n      id: 1\n      preConditions:\n", false],
  ['{"databaseChangeLog": [{"preConditions": []}]}', true],
  ['{"databaseChangeLog": [{"changeSet": {"id": 1, "preConditions": []}}]}', false],
  ["--changeset a:1\n--preconditions onFail:HALT\n", false],
  ["<l:databaseChangeLog><l:preConditions/></l:databaseChangeLog>", true],
  ["<l:changeSet><l:preConditions/></l:changeSet>", false],
  ["databaseChangeLog: [{preConditions: [{dbms: x}]}]", true],
  ['<includeAll path="x" errorIfMissingOrEmpty="false"/>', true],
  ["- include:\n    errorIfMissing: false\n", true],
  ['<include errorIfMissing="true"/>', false],
])("%j", (text, always) => {
  expect(findAlways("x", text) !== null).toBe(always);
});

test("the variables of a text, in the cases that are usual", () => {
  expect(findVariables("create table ${Schema}.${a.b} -- ${x:y} $${}")).toEqual([
    "Schema",
    "SCHEMA",
    "schema",
    "a.b",
    "A.B",
    "a.b",
  ]);
});

test("the command beats a variable, that the properties, and the local ones the others", () => {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-liquibase-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  writeFileSync(
    join(cwd, "liquibase.properties"),
    "# a comment\nchangeLogFile: main.xml\nurl=jdbc\\:postgresql://db/blog\nliquibase.command.username = ann\nliquibase.searchPath a\nliquibaseSchemaName: app\n",
  );
  writeFileSync(join(cwd, "liquibase.local.properties"), "changelog-file = local.xml\n");
  const env = { LIQUIBASE_COMMAND_PASSWORD: "x", LIQUIBASE_DATABASE_CHANGELOG_TABLE_NAME: "LOG" };
  const project = { cwd, env, flags: new Map([["--search-path", "b"]]), rest: [] };
  const { read, table, lockTable, jdbc } = readSettings(project);
  expect(read("changelog-file")).toBe("local.xml");
  expect(read("search-path")).toBe("b");
  expect(table).toEqual({ schema: "app", name: "log" });
  expect(lockTable).toBe("databasechangeloglock");
  expect(jdbc?.configured.url).toBe("postgresql://ann:x@db/blog");
  const own = { ...project, env: { ...env, LIQUIBASE_COMMAND_UPDATE_CHANGELOG_FILE: "own.xml" } };
  expect(readSettings(own).read("changelog-file")).toBe("own.xml");
  const both = { LIQUIBASE_COMMAND_UPDATE_CONTEXTS: "a", LIQUIBASE_COMMAND_CONTEXTS: "b" };
  expect(readSettings({ ...project, env: both }).read("contexts")).toBe("a");
  const capitals = { ...env, LIQUIBASE_LIQUIBASE_SCHEMA_NAME: "APP" };
  expect(readSettings({ ...project, env: capitals }).table.schema).toBe("app");
  const java = { ...env, JAVA_OPTS: "-Xmx1g -Dliquibase.command.contexts=prod" };
  expect(readSettings({ ...project, env: java }).javaOptions).toContain("JAVA_OPTS");
});

test.each([
  [
    "jdbc:postgresql://db/blog?user=a&password=b%20c&sslmode=require&x=y",
    "postgresql://a:b%20c@db/blog?sslmode=require",
    null,
  ],
  ["jdbc:postgresql://db:5433/blog?currentSchema=app,public", "postgresql://db:5433/blog", "app"],
  [
    "jdbc:postgresql://db/blog?options=-c%20search_path=app%20-c%20x=y",
    "postgresql://db/blog",
    "app",
  ],
  ["jdbc:mysql://db/blog", null, null],
  ["jdbc:postgresql:blog", null, null],
  ["offline:postgresql", null, null],
])("%s", (url, configured, schema) => {
  const { jdbc, table } = readSettings({
    cwd: tmpdir(),
    env: { LIQUIBASE_COMMAND_URL: url },
    flags: new Map(),
    rest: [],
  });
  expect(jdbc?.configured.url ?? null).toBe(configured);
  expect(table.schema).toBe(schema);
});
