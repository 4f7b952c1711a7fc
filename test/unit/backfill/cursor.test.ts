// The statements that take a backfill further: whatever the names and the texts hold, each is one statement of the kind
// that it should be, and the ranges follow one another without a gap.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { writeWithCheckpoint } from "../../../src/backfill/checkpoint.ts";
import {
  countRange,
  describeRange,
  nextPages,
  selectBound,
  updateRange,
  type Assignment,
  type Leaf,
} from "../../../src/backfill/cursor.ts";
import { describeJob } from "../../../src/backfill/job.ts";
import { describeThirdStep } from "../../../src/backfill/third-step.ts";
import { loadSqlParser } from "../../../src/postgres/parser.ts";
import { render } from "../../../src/tools/alembic/operations.ts";

const parser = await loadSqlParser();

const id = [{ name: "id", type: "bigint" }];
const leaf: Leaf = { oid: 16_390, name: "public.posts", key: id, pages: 100, rowsPerPage: 50 };
const assignment: Assignment = { alias: "posts", set: "n = 1", where: "n is null" };
const expressions = {
  table: { schema: null, name: "posts" },
  columns: ["n"],
  missing: ["n"],
  valued: [],
};
const table = { oid: 16_390, schema: "public", relation: "posts", name: "public.posts" };
const job = describeJob({ ...expressions, set: "n = 1", where: "n is null" }, table, null);

const kindsOf = (sql: string) => parser.parse(sql).map(({ node }) => Object.keys(node)[0]);

test("a range of the key begins behind the last row and ends with one that exists", () => {
  expect(selectBound(leaf, id, ["17"], 1_000)).toBe(
    `select array[to_jsonb(id) #>> '{}'] as bound from only public.posts where (id) > ('17'::bigint) order by id offset 999 limit 1`,
  );
  const sql = updateRange(leaf, assignment, { after: ["17"], upTo: ["1017"] });
  expect(sql.replaceAll("\n", " ")).toBe(
    `update only public.posts as posts set n = 1 where posts.tableoid = 16390 and (posts.id) > ('17'::bigint) and (posts.id) <= ('1017'::bigint) and ( n is null ) returning ( n is null ) as again`,
  );
});

test("a composite key is compared as a row", () => {
  const key = [...id, { name: "B c", type: "text" }];
  const sql = updateRange({ ...leaf, key }, assignment, { after: ["1", "it's"], upTo: null });
  expect(sql).toContain(`(posts.id, posts."B c") > ('1'::bigint, 'it''s'::text)`);
  expect(selectBound(leaf, key, null, 10)).toContain('order by id, "B c" offset 9 limit 1');
});

test("a range of pages is compared by ctid", () => {
  const sql = updateRange({ ...leaf, key: null }, assignment, { after: ["4"], upTo: ["8"] });
  expect(sql).toContain(`posts.ctid >= '(4,0)' and posts.ctid < '(8,0)'`);
});

test("pages follow one another without a gap, each a little at least, up to the last one", () => {
  const sizes = fc.integer({ min: 1, max: 50_000 });
  const tables = fc.record({
    pages: fc.integer({ min: 1, max: 300 }),
    rowsPerPage: fc.double({ min: 1, max: 500, noNaN: true }),
  });
  fc.assert(
    fc.property(tables, sizes, (pages, size) => {
      const walked = { ...leaf, key: null, ...pages };
      let after: readonly string[] | null = null;
      let page = 0;
      for (let batch = 0; page < walked.pages; batch++) {
        const range = nextPages(walked, after, size);
        expect(range.after).toEqual([String(page)]);
        const next = Number(range.upTo?.[0]);
        expect(next).toBeGreaterThan(page);
        expect(next).toBeLessThanOrEqual(walked.pages);
        expect(next - page).toBeLessThanOrEqual(Math.max(size / walked.rowsPerPage + 1, 1));
        page = next;
        after = range.upTo;
      }
    }),
  );
});

test("whatever is in the texts, a batch is one UPDATE", () => {
  const texts = fc.string({ unit: fc.constantFrom("'", '"', "\\", ";", "-", "$", "a", "\n", "é") });
  fc.assert(
    fc.property(texts, texts, texts, (alias, name, value) => {
      fc.pre(alias !== "" && name !== "");
      const key = [{ name, type: "text" }];
      const odd = { ...leaf, key };
      const named = { alias, set: "n = 1 -- why", where: "n is null -- and so on" };
      const range = { after: [value], upTo: [value] };
      const position = { round: 0, leaf: 1, after: [value] };
      for (const skipLocked of [false, true]) {
        const update = updateRange(odd, named, range, skipLocked);
        expect(kindsOf(update)).toEqual(["UpdateStmt"]);
        const matching = skipLocked ? countRange(odd, named, range) : null;
        const batch = writeWithCheckpoint({ ...job, name: value }, update, position, matching);
        expect(kindsOf(batch)).toEqual(["UpdateStmt"]);
      }
      expect(kindsOf(selectBound(odd, key, [value], 10))).toEqual(["SelectStmt"]);
    }),
  );
});

test("a range for people", () => {
  expect(describeRange(leaf, { after: ["17"], upTo: ["99"] })).toBe("with id after 17 up to 99");
  expect(describeRange(leaf, { after: null, upTo: null })).toBe("");
  const pages = { ...leaf, key: null };
  expect(describeRange(pages, { after: ["4"], upTo: ["8"] })).toBe("in the pages from 4 before 8");
});

test("a job is its name, and what it does to which table", () => {
  const all = { ...expressions, set: "n = 1", where: "n is null" };
  expect(job).toMatchObject({ name: "posts.n" });
  expect(describeJob(all, { ...table, schema: "blog" }, null).name).toBe("blog.posts.n");
  expect(describeJob(all, { ...table, relation: "articles" }, "posts.n")).toEqual(job);
  expect(describeJob({ ...all, set: "n = 2" }, table, null)).toMatchObject({
    name: job.name,
    lockKey: job.lockKey,
  });
  for (const other of [
    describeJob({ ...all, set: "n = 2" }, table, null),
    describeJob({ ...all, where: "n = 0" }, table, null),
    describeJob(all, { ...table, oid: 2 }, null),
  ]) {
    expect(other.digest).not.toBe(job.digest);
  }
  expect(BigInt(job.lockKey)).toBe(BigInt.asIntN(64, BigInt(job.lockKey)));
});

describe("the third step", () => {
  const all = { ...expressions, set: "n = 1", where: "n is null" };
  const on = (major: number) => ({ major, render, head: "0002_add" });

  test.each([
    [11, 3],
    [17, 5],
    [18, 3],
  ])("on PostgreSQL %i it has %i statements", (major, count) => {
    const step = describeThirdStep(table, all, on(major)) ?? "";
    const [sql = "", revision = ""] = step.split(/^(?=""")/m);
    expect(kindsOf(sql)).toEqual([
      "VariableSetStmt",
      ...Array<string>(count).fill("AlterTableStmt"),
    ]);
    expect(revision).toContain('revision = "require_posts_n"\ndown_revision = "0002_add"\n');
    expect(revision.match(/op\.execute/g)).toHaveLength(count + 1);
  });

  test("it is for a column that the condition requires to be NULL", () => {
    expect(describeThirdStep(table, { ...all, missing: [] }, on(17))).toBe(null);
  });

  test("it is SQL alone where the tool writes no files, and follows no head that is not known", () => {
    const sql = describeThirdStep(table, all, { ...on(17), render: null }) ?? "";
    expect(kindsOf(sql)).toHaveLength(6);
    const revision = describeThirdStep(table, all, { ...on(17), head: null });
    expect(revision).toContain("down_revision = None  # ");
  });

  test("names that are too long stay apart, and within 63 bytes", () => {
    const long = { ...table, relation: "r".repeat(63) };
    const columns = ["a", "b"].map((end) => `${"c".repeat(50)}${end}`);
    const step = describeThirdStep(long, { ...all, columns, missing: columns }, on(18));
    const names = new Set(
      [...(step ?? "").matchAll(/ADD CONSTRAINT (\S+)/g)].map(([, name]) => name),
    );
    expect(names.size).toBe(2);
    for (const name of names) expect(name?.length).toBeLessThanOrEqual(63);
  });
});
