// README's table of rules: it has every rule, and each example is found by its rule, under the lock that is named.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { rules } from "../../src/lint/rules/table.ts";
import { catalogOf, findingsOf } from "./lint.ts";

const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
const table = readme.slice(
  readme.indexOf("### The rules"),
  readme.indexOf("### Saying that it may run"),
);
const rows = table
  .split("\n")
  .filter((line) => line.startsWith("| `"))
  .map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replace(/^`(.*)`$/, "$1")),
  );

const columns = ["id int4 not null", "title varchar(80)", "word_count int4"];
const catalog = catalogOf(
  {
    posts: { columns, indexes: { posts_at: ["title"] } },
    users: { columns: ["id int4 not null"] },
  },
  { serverVersion: 140_001 },
);

test("the table has every rule, and no other", () => {
  expect(rows.map(([rule]) => rule)).toEqual([
    ...rules.map(({ id }) => id),
    "incomplete",
    "bad-suppression",
  ]);
});

test.each(rows.slice(0, -2))("%s finds %s under %s", (rule, example = "", lock = "") => {
  const found = findingsOf(example, catalog).filter((finding) => finding.rule === rule);
  expect(found).toHaveLength(1);
  const modes = found[0]?.locks.map(({ mode }) => mode) ?? [];
  if (/^[A-Z ]+$/.test(lock)) expect(modes).toContain(lock);
  else expect(modes).toEqual([]);
});

test("the example is the output of the linter", () => {
  const shown = /\$ entrypoint lint\n([^]*?)\n```/.exec(readme)?.[1] ?? "";
  for (const line of [
    "SET NOT NULL reads every row",
    "blocks reads and writes, for roughly",
    "-- 3a. ",
  ])
    expect(shown).toContain(line);
  const [finding] = findingsOf(
    "ALTER TABLE posts ALTER COLUMN word_count SET NOT NULL",
    catalogOf({ posts: { columns } }, { serverVersion: 180_001 }),
  );
  for (const { title, sql, alembic } of finding?.safe ?? []) {
    expect(shown).toContain(`-- ${title}`);
    for (const line of `${sql}\n${alembic}`.split("\n")) expect(shown).toContain(line);
  }
});
