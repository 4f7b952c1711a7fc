// What a configuration says in literals, and what only running it could tell.

import { expect, test } from "vitest";

import {
  findLiteral,
  readArgument,
  readExport,
  readList,
  readVariable,
} from "../../../../src/tools/compared/literals.ts";

const text = (value: string) => ({ kind: "text", text: value });
const beside = (value: string) => ({ kind: "text", text: value, beside: true });

test.for<[string, object | null]>([
  [`export default { out: "./sql" };`, text("./sql")],
  [`export default { "out": './sql', };`, text("./sql")],
  [
    `import { defineConfig } from "x";\nexport default defineConfig({ out: \`sql\` as const });`,
    text("sql"),
  ],
  [`module.exports = { a: { out: "no" }, /* out: "no" */ out: "sql" }`, text("sql")],
  [`const config: { [key: string]: C } = { out: "sql" };\nmodule.exports = config;`, text("sql")],
  [`const config = { out: "sql" } satisfies C;\nexport default config`, text("sql")],
  [`{ "out": "sql" }`, text("sql")],
  [`module.exports = { out: path.join(__dirname, "db", 'sql') }`, beside("db/sql")],
  [`module.exports = { out: __dirname + "/db/sql" }`, beside("db/sql")],
  ["export default { out: `${import.meta.dirname}/db/sql` }", beside("db/sql")],
  [`module.exports = { out: path.resolve("db", "sql") }`, text("db/sql")],
  // Certainly nothing stands there.
  [`export default { url: "https://out: no" };`, null],
  [`export default { in: f({ out: "no" }), more() { return { out: "no" } } };`, null],
])("%s", ([source, expected]) => {
  expect(findLiteral(readExport(source), "out")).toEqual(expected);
});

test.for([
  `export default { out: "./" + name };`,
  `export default { out: process.env.OUT ?? "sql" };`,
  `export default { out: \`\${base}/sql\` };`,
  `export default { ...base };`,
  `export default { [key]: "sql" };`,
  `export default { out };`,
  `export default withPlugins({ out: "sql" });`,
  `export default async () => ({ out: "sql" });`,
  `const config = { out: "sql" };\nconfig.out = "other";\nexport default config;`,
  `module.exports = { out: "sql" };\nmodule.exports.out = "other";`,
  `const config = {};`,
  ``,
])("only running it tells what this says: %s", (source) => {
  expect(findLiteral(readExport(source), "out")).toMatchObject({ kind: "other" });
});

test.for([
  ["process.env.DATABASE_URL", "DATABASE_URL"],
  ["process.env.DATABASE_URL!", "DATABASE_URL"],
  [`process.env["DB"] as string`, "DB"],
  [`process.env.DB || ""`, "DB"],
  [`env("DIRECT_URL")`, "DIRECT_URL"],
  ["process.env.A ?? process.env.B", null],
  ["config.url", null],
] as const)("%s is the value of the variable %s", ([source, name]) => {
  expect(readVariable({ kind: "other", source })).toBe(name);
});

const call = /\bnew\s+(?:[\w$]+\.)?Source\s*\(\s*/g;

test.for<[string, object[] | null]>([
  [`export const s = new Source({ list: ["a/*.js", 'b'] });`, [text("a/*.js"), text("b")]],
  [`const o: Options = { list: [__dirname + "/a"] };\nnew t.Source(o);`, [beside("a")]],
  [`new Source({ list: [] });`, []],
  [`new Source({ list: [a, "b"] });`, [{ kind: "other", source: "a" }, text("b")]],
  // What only running it could tell.
  [`new Source({ list: all });`, null],
  [`new Source({ list: [], ...more });`, []],
  [`new Source({ ...more });`, null],
  [`new Source(options);`, null],
  [`new Source({ list: ["a"] }); new Source({ list: ["b"] });`, null],
])("what a constructor is given: %s", ([source, expected]) => {
  expect(readList(findLiteral(readArgument(source, call), "list"))).toEqual(expected);
});
