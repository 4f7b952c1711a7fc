// The rules' examples, and the one at the top of the lint's README: each is found by its rule, under the lock that is named.

import { expect, test } from "vitest";
import { lockModes } from "../../../src/lint/locks.ts";
import { rules } from "../../../src/lint/rules/table.ts";
import { readBlocks, readDocument, readTable } from "../../harness/documents.ts";
import { catalogOf, findingsOf } from "./harness.ts";

const readme = readDocument("src/lint/README.md");

const columns = ["id int4 not null", "title varchar(80)", "word_count int4"];
const catalog = catalogOf(
  {
    posts: {
      columns,
      constraints: [{ name: "posts_pkey", kind: "p", columns: ["id"] }],
      indexes: { posts_at: ["title"], posts_word_count: ["word_count"] },
      invalidIndexes: ["posts_word_count"],
    },
    users: { columns: ["id int4 not null"] },
    scores: { columns: ["n positive"] },
  },
  { serverVersion: 140_001 },
);

test("the table of other linters has every rule, and no other", () => {
  const named = readTable(readme, "Rule here").map(([rule]) => rule);
  expect(named).toEqual(rules.map(({ id }) => id));
});

test.each(rules)("$id finds $example under $lock", ({ id, example, lock }) => {
  const found = findingsOf(example, catalog).filter((finding) => finding.rule === id);
  expect(found).toHaveLength(1);
  const modes = found[0]?.locks.map(({ mode }) => mode) ?? [];
  if (lock in lockModes) expect(modes).toContain(lock);
  else expect(modes).toEqual([]);
});

test("the example is the output of the linter", () => {
  const shown = readBlocks(readme, "text").flat().join("\n");
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
