// Liquibase, which lists its change sets as the image is built: what is frozen, against the table that the real one writes.
// @runs-on executable
// @takes long

import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { connectClient, createTestDatabase } from "../harness/postgres.ts";
import { changeLog, changeSet, createProject, liquibaseIsMissing } from "./harness/liquibase.ts";

const command = "liquibase update --changelog-file=db/main.xml --contexts=prod";
const oldSum = `9:${"a".repeat(32)}`;
const posts = changeSet("posts", "create table posts (id int)");
const files = {
  "db/main.xml": changeLog(
    posts,
    changeSet("test", "create table test ()", 'context="test"'),
    changeSet("mysql", "create table mysql ()", 'dbms="mysql"'),
    changeSet("off", "create table off ()", 'ignore="true"'),
    `<include file="db/more.sql"/>`,
    changeSet("view", "create or replace view v as select 1 as one", 'runOnChange="true"'),
    changeSet("any", "<validCheckSum>ANY</validCheckSum><sql>select 1</sql>"),
    changeSet("old", `<validCheckSum>${oldSum}</validCheckSum><sql>select 3</sql>`),
    changeSet("kept", `<comment>a, "quoted"\ncomment</comment><sql>select 2</sql>`),
  ),
  "db/more.sql":
    "--liquibase formatted sql\n--changeset bob:1::2\ncreate table comments (id int);\n",
};
const [postsName, moreName, viewName, anyName, oldName, keptName] = [
  "db/main.xml::posts::ann",
  "db/more.sql::1::2::bob",
  "db/main.xml::view::ann",
  "db/main.xml::any::ann",
  "db/main.xml::old::ann",
  "db/main.xml::kept::ann",
];
const all = [postsName, moreName, viewName, anyName, oldName, keptName];

describe.skipIf(liquibaseIsMissing)("Liquibase", () => {
  test("from an empty database to an edited change set", async () => {
    const url = await createTestDatabase();
    const client = await connectClient(url);
    const project = createProject(files, url);
    const status = async () => {
      const { stdout, stderr } = await project.run(command, "status", "--json");
      expect(stdout, stderr).not.toBe("");
      return JSON.parse(stdout) as {
        state: string;
        pending: string[] | null;
        reason: string | null;
      };
    };

    const frozen = await project.run(command, "freeze");
    expect(frozen.stdout, frozen.stderr).toMatch(/: 6 change sets, by Liquibase 4\.28/);
    expect(frozen.stderr).not.toContain("Every start will still run");
    expect(await status()).toMatchObject({ state: "behind", pending: all });
    const first = await project.run(command, "migrate");
    expect(first.code, first.stderr).toBe(0);
    expect(first.lines.map(({ event }) => event)).toContain("migrated");
    const again = await project.run(command, "migrate");
    expect(again.lines.map(({ event }) => event)).toEqual(["current", "starting"]);
    expect(project.bare(command).output, "Liquibase itself").toContain("up to date");
    expect((await project.run(command, "history")).stdout).toBe(
      all.map((name) => `applied  ${name}\n`).join(""),
    );

    // What its table may hold; the row is put back each time.
    const edited = { state: "cannot-tell", reason: expect.stringContaining(postsName) as string };
    const setTo = (change: string, id: string) =>
      `update databasechangelog set ${change} where id = '${id}'`;
    const wrong = `md5sum = '9:${"0".repeat(32)}'`;
    const cases: [change: string, expected: object][] = [
      [setTo(wrong, "view"), { state: "behind", pending: [viewName] }],
      [setTo(wrong, "any"), { state: "current" }],
      [setTo(wrong, "posts"), edited],
      [setTo(`md5sum = '${oldSum}'`, "old"), { state: "current" }],
      [setTo(`md5sum = '${oldSum}'`, "posts"), edited],
      // Of a change set that ran again, the last row counts.
      [
        `${setTo(wrong, "view")}; create temp table later as select * from kept where id = 'view'; update later set orderexecuted = 99, exectype = 'MARK_RAN'; insert into databasechangelog table later`,
        { state: "current" },
      ],
      // clear-checksums: the next update writes them again.
      [setTo("md5sum = null", "posts"), edited],
      [setTo("filename = 'classpath:' || filename", "posts"), { state: "current" }],
      [setTo("filename = './' || filename", "posts"), { state: "current" }],
      [setTo("exectype = 'MARK_RAN'", "posts"), { state: "current" }],
      [setTo("id = 'newer'", "kept"), { state: "behind", pending: [keptName] }],
      [
        "delete from databasechangelog where id = 'posts'",
        { state: "behind", pending: [postsName] },
      ],
    ];
    await client.query("create table kept as table databasechangelog");
    for (const [change, expected] of cases) {
      await client.query(change);
      expect(await status(), change).toMatchObject(expected);
      await client.query("delete from databasechangelog; insert into databasechangelog table kept");
    }

    // A killed one has left its lock: that matters only while something is pending.
    const lock = (age: string) =>
      client.query(
        `update databasechangeloglock set locked = true, lockgranted = localtimestamp - interval '${age}'`,
      );
    await lock("6 minutes");
    expect(await status()).toMatchObject({ state: "current" });
    await client.query(setTo(wrong, "view"));
    expect(await status()).toMatchObject({ state: "broken" });
    const broken = await project.run(command, "migrate");
    expect(broken.code, broken.stderr).toBe(87);
    expect(broken.stderr).toContain("liquibase release-locks");
    // The time may be that of another zone.
    const holder = await connectClient(`${url}?application_name=PostgreSQL%20JDBC%20Driver`);
    expect(await status()).toMatchObject({ state: "behind" });
    await holder.end();
    // Liquibase itself waits for a younger one.
    await lock("4 minutes");
    expect(await status()).toMatchObject({ state: "behind" });
    await client.query("update databasechangeloglock set locked = false");
    const rerun = await project.run(command, "migrate");
    expect(rerun.code, rerun.stderr).toBe(0);
    expect(await status()).toMatchObject({ state: "current" });

    // Liquibase refuses an edited change set, and so does a boot, with Liquibase's words.
    await client.query(setTo(wrong, "posts"));
    const refused = await project.run(command, "migrate");
    expect(refused.code, refused.stderr).toBe(1);
    expect(refused.stderr).toMatch(
      /exited with code 1; its last error: .*Validation Failed: 1 changesets check sum db\/main\.xml::posts::ann was: /,
    );
    await client.query("delete from databasechangelog; insert into databasechangelog table kept");

    // Without what was frozen, status asks Liquibase now.
    project.write("db/more.sql", `${files["db/more.sql"]}--changeset bob:3\nselect 1;\n`);
    const stale = await project.run(command, "status", "--json");
    expect(stale.stderr).toMatch(/something in \S+\/db has been added, changed or removed/);
    expect(JSON.parse(stale.stdout)).toMatchObject({
      state: "behind",
      pending: ["db/more.sql::3::bob"],
      source: "liquibase",
    });
  });

  test("a change set that always runs, words in front, a folder around: the command runs at every boot", async () => {
    const url = await createTestDatabase();
    const project = createProject(
      {
        "app/db/log/main.yaml":
          "databaseChangeLog:\n  - include:\n      file: db/sql/always.sql\n  - include:\n      file: db/sql/posts.sql\n",
        "app/db/sql/always.sql":
          "--liquibase formatted sql\n--changeset ann:always runAlways:true\nselect ${one};\n",
        "app/db/sql/posts.sql":
          "--liquibase formatted sql\n--changeset ann:posts\ncreate table ${two} (id int);\n",
        "liquibase.properties": "changeLogFile: db/log/main.yaml\nsearchPath = app\n",
      },
      url,
    );
    symlinkSync("nowhere", join(project.cwd, "app/db/sql/.#posts.sql"));
    const own = "nice -n 1 liquibase --logLevel=warning update -Done=1 -Dtwo=posts";
    const frozen = await project.run(own, "freeze");
    expect(frozen.code, frozen.stderr).toBe(0);
    expect(frozen.stderr).toContain(
      "Every start will still run the migration command: db/sql/always.sql::always::ann runs at every update (runAlways)",
    );
    const kept = readFileSync(join(project.cwd, "entrypoint.freeze.json"), "utf8");
    // What the change log includes is beside its own folder.
    expect(kept).toContain(`{"kind":"tree","path":"${project.cwd}/app/db"}`);
    expect(kept).toContain('["one",null],["ONE",null],["two",null],["TWO",null]');
    for (const _ of [1, 2]) {
      const boot = await project.run(own, "migrate");
      expect(boot.code, boot.stderr).toBe(0);
      expect(boot.lines.map(({ event }) => event)).toContain("migrating");
    }
  });

  test.for<[what: string, files: Record<string, string>, reason: RegExp, option?: string]>([
    ["a change log that is not there", {}, /db\/main\.xml (?:does not exist|was not found)/],
    [
      "a change log that includes what lies beside its folder, in the working directory",
      {
        "db/main.xml": changeLog(`<include file="other/x.sql"/>`),
        "other/x.sql": "--liquibase formatted sql\n--changeset a:1\nselect 1;\n",
      },
      /--search-path.*the change log includes what lies outside of \S+\/db \(Unexpected error .*other\/x\.sql was not found/,
    ],
    [
      "a change log that would include what freeze writes",
      {
        "liquibase.properties": "searchPath: .\n",
        "db/main.xml": changeLog(`<includeAll path="." endsWithFilter=".json" maxDepth="1"/>`),
        "a.json": JSON.stringify({
          databaseChangeLog: [
            { changeSet: { id: "1", author: "ann", changes: [{ sql: { sql: "select 1" } }] } },
          ],
        }),
      },
      /the change log includes what lies outside of .*entrypoint\.freeze\.json/,
    ],
    ["a change log without a change set", { "db/main.xml": changeLog() }, /finds no change set/],
    [
      "the same change set twice",
      { "db/main.xml": changeLog(posts, posts) },
      /Validation Failed: 1 changesets? had duplicate identifiers/,
    ],
  ])("freeze refuses %s", async ([, own, reason]) => {
    const project = createProject(own, null);
    const { code, stderr } = await project.run(
      "liquibase update --changelog-file=db/main.xml",
      "freeze",
    );
    expect(code, stderr).toBe(86);
    expect(stderr).toMatch(reason);
  });
});
