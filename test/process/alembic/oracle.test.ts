// The reader against the installed Alembic itself: random histories, configurations and spellings are
// written to disk, and both are asked. A case that Alembic refuses may be refused, never decided otherwise.
// ENTRYPOINT_TEST_SEED repeats a run; fast-check prints the seed of one that fails.
// @runs-on executable

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { readConfig } from "../../../src/tools/alembic/files/config.ts";
import { type Graph, readGraph, resolveState } from "../../../src/tools/alembic/graph.ts";
import { getOption, parseIni } from "../../../src/tools/alembic/files/ini.ts";
import { readVariables, variableNames } from "../../../src/tools/alembic/files/literals.ts";
import { type Target } from "../../../src/tools/alembic/command.ts";
import type { State } from "../../../src/state.ts";
import { readAlembicCommand } from "../../unit/tools/alembic/read-command.ts";
import { python } from "../harness/entrypoint.ts";
import { type Oracle, type Refusal, startOracle } from "./fixtures/oracle.ts";

const seed = Number(process.env["ENTRYPOINT_TEST_SEED"] ?? Date.now() % 1_000_000_007);
const runs = Number(process.env["ENTRYPOINT_TEST_RUNS"] ?? 500);

let oracle: Oracle;
const alembicVersion = execFileSync(python, ["-c", "import alembic; print(alembic.__version__)"], {
  encoding: "utf8",
});
let folder: string;
let counter = 0;

beforeAll(async () => {
  oracle = await startOracle();
  folder = mkdtempSync(join(tmpdir(), "alembic-oracle-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
  mkdirSync(folder);
});

afterAll(async () => {
  await oracle.stop();
  rmSync(folder, { recursive: true });
});

interface Described {
  readonly heads: readonly string[];
  readonly realHeads: readonly string[];
  readonly results: readonly ({ readonly pending: readonly string[] } | Refusal)[];
}

interface Question {
  readonly target: string;
  readonly rows: readonly string[];
}

const environment = `from sqlalchemy import engine_from_config
from alembic import context
config = context.config
def run_migrations_online():
    connectable = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.")
    with connectable.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
run_migrations_online()
`;

function makeProject(files: Readonly<Record<string, string>>): string {
  counter += 1;
  const project = join(folder, `p${counter}`);
  for (const [name, content] of Object.entries({ "migrations/env.py": environment, ...files })) {
    mkdirSync(join(project, name, ".."), { recursive: true });
    writeFileSync(join(project, name), content);
  }
  return project;
}

type Read =
  | { readonly kind: "known"; readonly graph: Graph }
  | { readonly kind: "cannot-tell"; readonly reason: string };

async function readProject(
  project: string,
  words: readonly string[] = ["alembic", "upgrade", "head"],
): Promise<Read> {
  const config = await readConfig(readAlembicCommand(words.join(" ")), {
    cwd: project,
    env: {},
    versionTable: null,
    versions: [],
    tenant: null,
  });
  return config.kind === "known" ? readGraph(config.config) : config;
}

function toTarget(name: string): Target {
  return name === "head" || name === "heads" ? { kind: name } : { kind: "revision", id: name };
}

function sorted(ids: readonly string[]): string[] {
  return ids.toSorted();
}

function isRefusal(answer: object): answer is Refusal {
  return "error" in answer;
}

/** What Alembic's answer is in the words of the states. */
function expectAgreement(
  graph: Graph,
  question: Question,
  answer: { pending: readonly string[] } | Refusal,
): State {
  const state = resolveState(graph, toTarget(question.target), question.rows, false);
  const said = JSON.stringify({ question, state, answer });
  if (isRefusal(answer)) {
    const names: string[] = [];
    if (answer.error === "MultipleHeads") names.push("multiple-heads");
    if (answer.message.includes("overlaps with")) names.push("overlapping");
    if (answer.error === "ResolutionError") names.push("ahead", "diverged");
    expect([...names, "cannot-tell"], said).toContain(state.state);
    return state;
  }
  expect(["current", "behind"], said).toContain(state.state);
  const pending = state.state === "behind" ? state.pending : [];
  expect(sorted(pending), said).toEqual(sorted(answer.pending));
  expectOrder(graph, pending);
  return state;
}

/** Each comes after all that it waits for. */
function expectOrder(graph: Graph, pending: readonly string[]): void {
  const places = new Map(pending.map((id, place) => [id, place]));
  for (const [id, place] of places) {
    for (const parent of graph.parents.get(id) ?? [])
      expect(places.get(parent) ?? -1).toBeLessThan(place);
  }
}

// ---- histories

interface Made {
  readonly id: string;
  readonly down: readonly string[];
  readonly depends: readonly string[];
  readonly labels: readonly string[];
  readonly spelling: number;
  readonly place: number;
}

const ids = fc.uniqueArray(
  fc.oneof(
    fc.stringMatching(/^[0-9a-f]{12}$/),
    // Few letters, so that some ids are the beginnings of others.
    fc.stringMatching(/^[ab]{1,6}$/),
    fc.stringMatching(/^[0-9]{4}_[a-z]{2,5}$/),
  ),
  { minLength: 1, maxLength: 12 },
);

/** A history in which everything names what came before it, and sometimes, if `wild`, what does not. */
const histories = ids.chain((names) =>
  fc
    .array(
      fc.record({
        downs: fc.array(fc.nat(), { maxLength: 3 }),
        linear: fc.integer({ min: 0, max: 2 }),
        depends: fc.oneof(
          { weight: 3, arbitrary: fc.constant<number[]>([]) },
          fc.array(fc.nat(), { maxLength: 2 }),
        ),
        byLabel: fc.boolean(),
        label: fc.integer({ min: 0, max: 5 }),
        wild: fc.integer({ min: 0, max: 199 }),
        spelling: fc.nat(),
        place: fc.integer({ min: 0, max: 2 }),
      }),
      { minLength: names.length, maxLength: names.length },
    )
    .map((shapes): Made[] => {
      const made: Made[] = [];
      for (const [index, shape] of shapes.entries()) {
        const id = names[index] as string;
        const pick = (number: number): Made => made[number % made.length] as Made;
        let down: string[] = [];
        let depends: string[] = [];
        if (made.length > 0) {
          down =
            shape.linear > 0
              ? [pick(made.length - 1).id]
              : [...new Set(shape.downs.map((each) => pick(each).id))];
          depends = shape.depends.map((each) => {
            const other = pick(each);
            return shape.byLabel && other.labels[0] !== undefined ? other.labels[0] : other.id;
          });
        }
        if (shape.wild === 0) down = ["missing"];
        if (shape.wild === 1) depends = ["missing"];
        if (shape.wild === 2) down = [names.at(-1) as string];
        if (shape.wild === 3) depends = [names.at(-1) as string];
        const labels =
          shape.label === 0
            ? [`label${index}`]
            : shape.label === 1 && shape.wild < 9
              ? ["clash"]
              : [];
        made.push({
          id,
          down,
          depends: [...new Set(depends)],
          labels,
          spelling: shape.spelling,
          place: shape.place,
        });
      }
      return made;
    }),
);

/** Does a revision name one that is made after it? */
function hasCycle(history: readonly Made[]): boolean {
  return history.some((made, index) =>
    [...made.down, ...made.depends].some((id) =>
      history.slice(index).some((later) => later.id === id),
    ),
  );
}

function spellString(text: string, spelling: number): string {
  const half = Math.floor(text.length / 2);
  const ways = [
    `"${text}"`,
    `'${text}'`,
    `u'${text}'`,
    `"""${text}"""`,
    `("${text}")`,
    `"${text.slice(0, half)}" '${text.slice(half)}'`,
    `(\n    "${text.slice(0, half)}"  # the first half\n    "${text.slice(half)}"\n)`,
    `"\\x${text.charCodeAt(0).toString(16).padStart(2, "0")}${text.slice(1)}"`,
    `R"${text}"`,
  ];
  return ways[spelling % ways.length] as string;
}

function spellList(items: readonly string[], spelling: number): string {
  if (items.length === 0) return ["None", "()", "[]", "None  # none"][spelling % 4] as string;
  const strings = items.map((item, index) => spellString(item, spelling + index));
  if (items.length === 1 && spelling % 3 !== 0) return strings[0] as string;
  const ways = [
    `(${strings.join(", ")},)`,
    `[${strings.join(", ")}]`,
    `(\n    # why\n    ${strings.join(",\n    ")},  # so\n)`,
    `${strings.join(", ")},`,
    items.length > 1 ? `{${strings.join(", ")}}` : `[${strings.join(",")}]`,
  ];
  return ways[spelling % ways.length] as string;
}

function spellRevision(made: Made): string {
  const { spelling } = made;
  const down = spellList(made.down, spelling);
  const depends = spellList(made.depends, spelling >> 2);
  const labels = spellList(made.labels, spelling >> 3);
  const id = spellString(made.id, spelling >> 1);
  const doc = `"""What it does\n\nRevision ID: ffffffffffff\nRevises: ${made.id}\n\nrevision = "no"\n"""\n`;
  const use = "\n\ndef upgrade():\n    revision = 'inside'\n    pass\n\n\ndef downgrade(): pass\n";
  const tail = `branch_labels = ${labels}\ndepends_on = ${depends}\n`;
  const ways = [
    `${doc}revision = ${id}\ndown_revision = ${down}\n${tail}`,
    `${doc}from typing import Sequence, Union\nrevision: str = ${id}\ndown_revision: Union[str, None] = ${down}\n${tail}`,
    `revision, down_revision = ${id}, (${down})\n${tail}`,
    `revision = ${id}; down_revision = ${down}\n${tail}`,
    `revision = "earlier"\ndown_revision = None\nrevision = ${id}\ndown_revision = ${down}\n${tail}`,
    `\uFEFF# a mark\nrevision = ${id}\ndown_revision = ${down}\n${tail}`.replaceAll("\n", "\r\n"),
    `x = f"{'revision'} = {1:>{5}}"\n(revision) = ${id}\n[down_revision] = (${down}),\n${tail}`,
    `class Old:\n    revision = 1\n    class Older:\n        down_revision = 2\nrevision = ${id}\ndown_revision = \\\n${down}\n${tail}`,
  ];
  const none = made.labels.length === 0 && made.depends.length === 0;
  if (none && spelling % 11 === 0) {
    return `revision = ${id}\ndown_revision = ${down}\nbranch_labels = depends_on = None\n${use}`;
  }
  return `${ways[spelling % ways.length]}${use}`;
}

const locations = ["migrations/versions", "more/versions", "plugin"];
const spread = `[alembic]
script_location = %(here)s/migrations
version_path_separator = space
version_locations = ${locations.map((each) => `%(here)s/${each}`).join(" ")}
`;
const plain = "[alembic]\nscript_location = migrations\n";

function writeHistory(history: readonly Made[], several: boolean): string {
  const files: Record<string, string> = { "alembic.ini": several ? spread : plain };
  for (const location of several ? locations : [locations[0]])
    files[`${location}/__init__.py`] = "";
  for (const [index, made] of history.entries()) {
    const location = several ? locations[made.place] : locations[0];
    files[`${location}/${made.spelling % 2 === 0 ? made.id : `f${index}`}_what.py`] =
      spellRevision(made);
  }
  return makeProject(files);
}

/** Rows of all kinds: none, what some `upgrade` would have left, anything at all, beginnings, strangers. */
function makeQuestions(history: readonly Made[], picks: readonly number[]): Question[] {
  const names = history.map((made) => made.id);
  const pick = (index: number): string =>
    names[(picks[index % picks.length] as number) % names.length] as string;
  const labels = history.flatMap((made) => made.labels);
  return [
    { target: "head", rows: [] },
    { target: "heads", rows: [] },
    { target: "head", rows: [pick(0)] },
    { target: "heads", rows: [pick(1)] },
    { target: "heads", rows: [pick(2), pick(3)] },
    { target: "heads", rows: [pick(3), pick(4), pick(5)] },
    { target: "heads", rows: [pick(6).slice(0, 1 + ((picks[7] as number) % 6))] },
    { target: "heads", rows: [pick(2).slice(0, 4), pick(2)] },
    { target: "heads", rows: [pick(1), "stranger"] },
    { target: "heads", rows: labels.slice(0, 1) },
    { target: "heads", rows: labels.slice(0, 1).map((label) => label.slice(0, 5)) },
    { target: pick(5), rows: [] },
    { target: pick(6), rows: [pick(0)] },
    { target: pick(7).slice(0, 1 + ((picks[0] as number) % 5)), rows: [pick(1)] },
    { target: labels[0] ?? "nobody", rows: [] },
  ];
}

describe("histories", () => {
  test(`heads, pending and state are Alembic's (${runs} histories, 15 questions each)`, async () => {
    const counts: Record<string, number> = {};
    const property = fc.asyncProperty(
      histories,
      fc.array(fc.nat(), { minLength: 8, maxLength: 8 }),
      fc.boolean(),
      async (history, picks, several) => {
        const project = writeHistory(history, several);
        // Alembic overlooks some cycles, and then walks around in them for ever.
        const cases = hasCycle(history) ? [] : makeQuestions(history, picks);
        const answer = await oracle.ask<Described>({ op: "graph", cwd: project, cases });
        const read = await readProject(project);
        rmSync(project, { recursive: true });
        const refused =
          isRefusal(answer) ||
          answer.results.some((each) => isRefusal(each) && each.error === "CycleDetected");
        if (refused || isRefusal(answer)) {
          expect(read, JSON.stringify(answer)).toMatchObject({ kind: "cannot-tell" });
          counts["refused by both"] = (counts["refused by both"] ?? 0) + 1;
          return;
        }
        if (read.kind === "cannot-tell" && hasCycle(history)) return;
        if (read.kind === "cannot-tell") throw new Error(`needlessly refused: ${read.reason}`);
        expect(sorted(read.graph.heads)).toEqual(sorted(answer.heads));
        expect(sorted(read.graph.realHeads)).toEqual(sorted(answer.realHeads));
        for (const [index, question] of cases.entries()) {
          const result = answer.results[index] as (typeof answer.results)[number];
          const { state } = expectAgreement(read.graph, question, result);
          counts[state] = (counts[state] ?? 0) + 1;
        }
      },
    );
    await fc.assert(property, { seed, numRuns: runs });
    // Without these the comparison would be of nothing.
    for (const state of [
      "current",
      "behind",
      "ahead",
      "diverged",
      "overlapping",
      "multiple-heads",
      "cannot-tell",
      "refused by both",
    ]) {
      expect(counts[state] ?? 0, `${state} in ${JSON.stringify(counts)}`).toBeGreaterThan(0);
    }
    console.log(`Alembic ${oracle.version}, seed ${seed}: ${JSON.stringify(counts)}`);
  });
});

const body = "def upgrade(): pass\ndef downgrade(): pass\n";

function spellPlainly(id: string): string {
  return `revision = "${id}"\ndown_revision = None\n${body}`;
}

interface HardCase {
  /** Id, and the other variables as written. */
  readonly files: readonly (readonly [string, string])[];
  readonly questions: readonly (readonly [
    target: string,
    rows: readonly string[],
    state: State["state"],
  ])[];
}

describe("hard cases", () => {
  const cases: Readonly<Record<string, HardCase>> = {
    "a2 depends on b1: the table holds a2 alone": {
      files: [
        ["a1", "down_revision = None"],
        ["b1", "down_revision = None"],
        ["a2", "down_revision = 'a1'\ndepends_on = 'b1'"],
      ],
      questions: [
        ["heads", ["a2"], "current"],
        ["head", ["a2"], "multiple-heads"],
        ["heads", ["a1"], "behind"],
        ["heads", ["a2", "b1"], "overlapping"],
        ["heads", ["b1", "a2"], "overlapping"],
      ],
    },
    "a row is an ancestor of another, in either order": {
      files: [
        ["a1", "down_revision = None"],
        ["a2", "down_revision = 'a1'"],
        ["b2", "down_revision = 'a1'"],
        ["c3", "down_revision = ('a2', 'b2')"],
      ],
      questions: [
        ["head", ["c3", "a1"], "overlapping"],
        ["head", ["a1", "c3"], "overlapping"],
        ["head", ["a1", "b2", "a2"], "overlapping"],
        ["head", ["a2", "b2"], "behind"],
        ["head", ["a2", "a2"], "behind"],
        ["a2", ["b2"], "behind"],
        ["a1", ["b2"], "current"],
      ],
    },
    "rows are the beginnings of ids": {
      files: [
        ["abcdef", "down_revision = None"],
        ["abcxyz", "down_revision = 'abcdef'"],
        ["abc", "down_revision = 'abcxyz'"],
        ["1234", "down_revision = 'abc'"],
      ],
      questions: [
        ["head", ["abcd"], "behind"],
        ["head", ["abc"], "behind"],
        ["head", ["ab"], "cannot-tell"],
        ["head", ["1"], "current"],
        ["head", ["12345"], "ahead"],
        ["ab", [], "cannot-tell"],
        ["nobody", [], "cannot-tell"],
      ],
    },
    "a label stands for its revision, as a dependency, a row and a target": {
      files: [
        ["a1", "down_revision = None\nbranch_labels = ('libs',)"],
        ["b1", "down_revision = None\ndepends_on = 'libs'"],
      ],
      questions: [
        ["heads", ["libs"], "behind"],
        ["libs", [], "behind"],
        ["heads", ["lib"], "behind"],
        ["heads", ["b1"], "current"],
      ],
    },
  };
  for (const [name, { files, questions }] of Object.entries(cases)) {
    test(name, async () => {
      const made = files.map(([id, rest]) => [
        `migrations/versions/${id}.py`,
        `revision = '${id}'\n${rest}\n${body}`,
      ]);
      const project = makeProject({ "alembic.ini": plain, ...Object.fromEntries(made) });
      const asked = questions.map(([target, rows]) => ({ target, rows }));
      const answer = await oracle.ask<Described>({ op: "graph", cwd: project, cases: asked });
      const read = await readProject(project);
      if (isRefusal(answer) || read.kind === "cannot-tell")
        throw new Error(JSON.stringify({ answer, read }));
      const found = asked.map((question, index) =>
        expectAgreement(
          read.graph,
          question,
          answer.results[index] as (typeof answer.results)[number],
        ),
      );
      expect(found.map(({ state }) => state)).toEqual(questions.map(([, , state]) => state));
    });
  }

  test("a linear history is listed in Alembic's own order", async () => {
    const files: Record<string, string> = { "alembic.ini": plain };
    for (let index = 0; index < 40; index += 1) {
      const parent = index === 0 ? "None" : `'r${index - 1}'`;
      files[`migrations/versions/${(index * 17) % 40}.py`] =
        `revision = 'r${index}'\ndown_revision = ${parent}\n${body}`;
    }
    const project = makeProject(files);
    const question = { target: "head", rows: ["r7"] };
    const answer = await oracle.ask<Described>({ op: "graph", cwd: project, cases: [question] });
    const read = await readProject(project);
    if (isRefusal(answer) || read.kind === "cannot-tell")
      throw new Error(JSON.stringify({ answer, read }));
    const { pending } = answer.results[0] as { pending: string[] };
    expect(pending).toHaveLength(32);
    expect(resolveState(read.graph, { kind: "head" }, question.rows, false)).toMatchObject({
      pending,
    });
  });
});

// ---- folders and configuration

interface Files {
  readonly ids: readonly string[];
}

/** Both read the same ids, and some. */
async function expectSameIds(
  files: Readonly<Record<string, string>>,
  words: readonly string[] = [],
): Promise<void> {
  const project = makeProject(files);
  const line = [...words, "upgrade", "head"];
  const answer = await oracle.ask<Files>({ op: "files", cwd: project, arguments: line });
  const read = await readProject(project, ["alembic", ...line]);
  if (isRefusal(answer) || read.kind === "cannot-tell")
    throw new Error(JSON.stringify({ answer, read }));
  expect(sorted([...read.graph.revisions.keys()])).toEqual(answer.ids);
  expect(answer.ids.length).toBeGreaterThan(0);
}

function inVersions(files: Readonly<Record<string, string>>): Record<string, string> {
  const placed = Object.entries(files).map(([name, content]) => [
    `migrations/versions/${name}`,
    content,
  ]);
  return { "alembic.ini": plain, ...Object.fromEntries(placed) };
}

describe("files", () => {
  const unnamed = `down_revision = None\n${body}`;

  test("hidden files and helpers count, locks and __init__ do not", async () => {
    await expectSameIds(
      inVersions({
        ".hidden.py": spellPlainly("a1"),
        "._x.py": spellPlainly("a2"),
        "__main__.py": spellPlainly("a3"),
        "__init__extra.py": spellPlainly("no1"),
        ".#lock.py": spellPlainly("no2"),
        "x.PY": spellPlainly("no3"),
        "x.pyi": spellPlainly("no4"),
        "readme.txt": "no",
        "__pycache__/old.cpython-311.pyc": "no",
      }),
    );
  });

  test("a hexadecimal name is the id of a file without one", async () => {
    await expectSameIds(inVersions({ "1a2b.py": unnamed }));
  });

  const refused: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    "a helper without a revision": { "helper.py": "x = 1\n" },
    "a file without a down_revision": { "a1.py": "revision = 'a1'\n" },
    "a hexadecimal name that is not all of the name": { "1a2b_x.py": unnamed },
    "an id with a dash": { "a.py": spellPlainly("2020-01") },
    "a module that raises": { "a.py": `${spellPlainly("a1")}raise RuntimeError\n` },
    "an empty string among the down revisions": {
      "a.py": "revision = 'a'\ndown_revision = ('',)\n",
    },
    "a base that depends on an empty string": {
      "a.py": "revision = 'a'\ndown_revision = None\ndepends_on = ''\n",
    },
    "two branch labels that are the same": {
      "a.py": `${spellPlainly("a1")}branch_labels = 'x'\n`,
      "b.py": `${spellPlainly("b1")}branch_labels = 'x'\n`,
    },
    "a branch label that is an id": {
      "a.py": `${spellPlainly("a1")}branch_labels = 'b1'\n`,
      "b.py": spellPlainly("b1"),
    },
    "a down_revision that is a label": {
      "a.py": `${spellPlainly("a1")}branch_labels = 'x'\n`,
      "b.py": spellPlainly("b1").replace("None", "'x'"),
    },
  };
  for (const [name, files] of Object.entries(refused)) {
    test(`refused by both: ${name}`, async () => {
      const project = makeProject(inVersions(files));
      const cases = [{ target: "heads", rows: [] }];
      expect(await oracle.ask({ op: "graph", cwd: project, cases })).toHaveProperty("error");
      expect(await readProject(project)).toMatchObject({ kind: "cannot-tell" });
    });
  }

  test("a file that is there twice, through a linked directory, is loaded once", async () => {
    const project = makeProject({
      "alembic.ini": `${plain}version_path_separator = space\nversion_locations = real linked real\n`,
      "real/a.py": spellPlainly("a1"),
    });
    symlinkSync("real", join(project, "linked"));
    expect(await oracle.ask<Files>({ op: "files", cwd: project })).toMatchObject({ ids: ["a1"] });
    const read = await readProject(project);
    expect(read.kind === "known" ? [...read.graph.revisions.keys()] : read).toEqual(["a1"]);
  });
});

interface Layout {
  readonly files: Readonly<Record<string, string>>;
  readonly words?: readonly string[];
  /** The first version that knows it. */
  readonly since?: string;
}

describe("configuration", () => {
  const elsewhere = { "one/one.py": spellPlainly("one"), "two/two.py": spellPlainly("two") };
  const section = { "b.ini": "[x]\nscript_location=migrations\n" };
  const layouts: Readonly<Record<string, Layout>> = {
    "relative to the working directory": { files: { "alembic.ini": plain } },
    "%(here)s": {
      files: { "conf/a.ini": "[alembic]\nscript_location = %(here)s/../migrations\n" },
      words: ["-c", "conf/a.ini"],
    },
    "another section, and DEFAULT": {
      files: { "alembic.ini": "[DEFAULT]\nroot=migra\n[x]\nSCRIPT_LOCATION : %(root)stions\n" },
      words: ["-n", "x"],
    },
    "joined options": { files: section, words: ["-cb.ini", "-nx", "--raiseerr"] },
    "options with =": { files: section, words: ["--config=b.ini", "-n=x", "-x=a=b"] },
    "abbreviated options": { files: section, words: ["--conf", "b.ini", "--na=x"] },
    "legacy separators": {
      files: {
        ...elsewhere,
        "alembic.ini": `${plain}version_locations = one, %(here)s/two migrations/versions\n`,
      },
    },
    version_path_separator: {
      files: {
        ...elsewhere,
        "alembic.ini": `${plain}version_path_separator = os\nversion_locations = one:%(here)s/two\n`,
      },
    },
    "path_separator = newline": {
      since: "1.16",
      files: {
        ...elsewhere,
        "alembic.ini": `${plain}path_separator = newline\nversion_locations =\n  one\n\n  # no\n  %(here)s/two\n`,
      },
    },
    subfolders: {
      since: "1.10",
      files: {
        "alembic.ini": `${plain}recursive_version_locations = true\n`,
        "migrations/versions/sub/deep/b1.py": spellPlainly("b1"),
        "migrations/versions/sub/__pycache__/c1.py": spellPlainly("no"),
      },
    },
    "pyproject.toml alone": {
      since: "1.16",
      files: {
        "pyproject.toml":
          '[tool.alembic]\nscript_location = "%(here)s/migrations"\nsourceless = false\n',
      },
    },
    "pyproject.toml by name": {
      since: "1.16",
      words: ["-c", "x/pyproject.toml"],
      files: {
        ...elsewhere,
        "x/pyproject.toml":
          '[tool.alembic]\nscript_location = "%(here)s/../migrations"\nversion_locations = ["one", "%(here)s/../two"]\n',
      },
    },
    "pyproject.toml behind an ini file": {
      files: {
        "alembic.ini": plain,
        "pyproject.toml":
          '[project]\ndependencies=["alembic"]\n[tool.alembic]\nscript_location = "elsewhere"\n',
      },
    },
  };
  for (const [name, { files, words, since }] of Object.entries(layouts)) {
    // An older Alembic knows nothing of it, and there is nothing to compare.
    if (since !== undefined && isOlder(alembicVersion, since)) continue;
    test(name, async () => {
      await expectSameIds({ "migrations/versions/a1.py": spellPlainly("a1"), ...files }, words);
    });
  }
});

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [thanMajor = 0, thanMinor = 0] = than.split(".").map(Number);
  return major < thanMajor || (major === thanMajor && minor < thanMinor);
}

// ---- ini files

describe("ini files", () => {
  const line = fc.oneof(
    fc.constantFrom(
      "[alembic]",
      "[a b]",
      "[DEFAULT]",
      "[x] ; no",
      " [y]",
      "",
      "   ",
      "# no",
      "  ; no",
      "none",
      "= x",
    ),
    fc.constantFrom(
      "key = value",
      "key: value",
      "Key=a # kept",
      "url = a:b=c",
      "x=%(here)s/y",
      "y = %(x)s%%",
    ),
    fc.constantFrom(
      "z=100%",
      "w=%(w)s",
      "  continued",
      "\tmore = this",
      "   # no",
      "\u00a0odd = 1",
      "q=",
      "k : = v",
    ),
    fc.constantFrom(
      "a = \u001f b \u0085",
      "%(z = 1",
      "n =  a\fb ",
      "v = %(KEY)s",
      "u = %%(x)s",
      "\u000bt = 1",
    ),
    fc
      .tuple(
        fc.constantFrom("a", "b", "c", "B", "here"),
        fc.constantFrom("=", ":", " = "),
        fc.stringMatching(/^[ab%()s=:;#[\] ]{0,9}$/),
      )
      .map((parts) => parts.join("")),
  );
  type Sections = Record<string, Record<string, string | null>>;

  test(`every option has ConfigParser's value (${runs * 4} files)`, async () => {
    let compared = 0;
    const property = fc.asyncProperty(
      fc.array(line, { maxLength: 14 }),
      fc.constantFrom("\n", "\r\n", "\r"),
      async (lines, end) => {
        const text = ["[alembic]", ...lines].join(end);
        const answer = await oracle.ask<{ sections: Sections }>({
          op: "ini",
          text,
          defaults: { here: "/app" },
        });
        const mine = parseIni(text, { here: "/app" });
        if (isRefusal(answer)) {
          expect(mine.kind, answer.message).toBe("unreadable");
          return;
        }
        // Python releases differ over a bracket in a section's name.
        if (mine.kind === "unreadable" && mine.reason.includes("bracket")) return;
        if (mine.kind === "unreadable") throw new Error(`needlessly refused: ${mine.reason}`);
        compared += 1;
        expect([...mine.ini.sections.keys()]).toEqual(Object.keys(answer.sections));
        for (const [section, options] of Object.entries(answer.sections)) {
          for (const [name, value] of Object.entries(options)) {
            const found = getOption(mine.ini, section, name);
            expect(found, `[${section}] ${name}`).toMatchObject(
              value === null ? { kind: "unreadable" } : { kind: "value", value },
            );
          }
        }
      },
    );
    await fc.assert(property, { seed, numRuns: runs * 4 });
    expect(compared).toBeGreaterThan(runs / 4);
  });
});

// ---- spellings

describe("spellings", () => {
  const text = fc.oneof(
    fc.stringMatching(/^[a-c0-9]{1,4}$/),
    fc.constantFrom("", "a'b", 'a"b', "a\\b", "é", "#", "x\ny", "{z}", "\t"),
  );
  const string = fc.tuple(text, fc.nat()).map(([value, way]) => {
    const quoted = JSON.stringify(value);
    const single = `'${quoted.slice(1, -1).replaceAll("'", "\\'").replaceAll('\\"', '"')}'`;
    const triple = `"""${quoted.slice(1, -1)}"""`;
    const ways = [
      quoted,
      single,
      `u${quoted}`,
      `("" ${quoted})`,
      `${quoted} ''`,
      `""${single}`,
      triple,
      `b"x"`,
      `f"{1}"`,
    ];
    return ways[way % ways.length] as string;
  });
  const atom = fc.oneof(
    { weight: 5, arbitrary: string },
    fc.constantFrom("None", "1", "()", "[]", "{}", "len", "('a')"),
  );
  const value = fc.oneof(
    { weight: 3, arbitrary: atom },
    fc.tuple(fc.array(atom, { minLength: 1, maxLength: 3 }), fc.nat()).map(([items, way]) => {
      const list = items.join(", ");
      const ways = [
        `(${list})`,
        `(${list},)`,
        `[${list}]`,
        `[\n  ${list},  # ' "\n]`,
        `${list},`,
        "{'s', 't'}",
        `(\\\n${list}\n)`,
        "[*'ab']",
      ];
      return ways[way % ways.length] as string;
    }),
    fc.constantFrom(
      "'a' + 'b'",
      "'a' if 1 else 'b'",
      "'a'.upper()",
      "('a')[0]",
      "['a'][0]",
      "str('a')",
    ),
    fc.constantFrom(
      "[x for x in 'ab']",
      "(lambda: 'a')()",
      "'%s' % 'a'",
      "'a' 'b' or 'c'",
      "not 'a'",
    ),
  );
  const name = fc.constantFrom(...variableNames, "other");
  const named = (way: (name: string) => string): fc.Arbitrary<string> => name.map(way);
  const given = (way: (name: string, value: string) => string): fc.Arbitrary<string> =>
    fc.tuple(name, string).map(([left, right]) => way(left, right));
  const statement = fc.oneof(
    { weight: 6, arbitrary: fc.tuple(name, value).map(([left, right]) => `${left} = ${right}`) },
    fc.tuple(name, value).map(([left, right]) => `${left}: "str | None" = ${right}`),
    fc.tuple(name, name, value).map(([a, b, right]) => `${a} = ${b} = ${right}`),
    fc.tuple(name, name, atom, atom).map(([a, b, c, d]) => `${a}, ${b} = ${c}, ${d}`),
    fc.tuple(name, name, atom, atom).map(([a, b, c, d]) => `[${a}, (${b},)] = ${c}, [${d}]`),
    fc.tuple(name, name).map(([a, b]) => `${a} = 1; ${b} = 'last'`),
    fc.tuple(name, name).map(([a, b]) => `${a}, *${b} = 'x', 'y', 'z'`),
    given((a, b) => `(${a}) = (${b})`),
    given((a, b) => `try:\n    ${a} = ${b}\nfinally:\n    pass`),
    given((a, b) => `if False: ${a} = ${b}`),
    given((a, b) => `if False:\n    def f():\n        ${a} = 1\n    ${a} = ${b}`),
    given(
      (a, b) =>
        `def f(x=1):\n    ${a} = ${b}\n    def g():\n\n# ${a}\n        ${a} = 2\n    return ${a}`,
    ),
    given((a, b) => `class C:\n\t${a} = ${b}\n\tdef m(self): ${a} = 1`),
    named((a) => `${a}: str`),
    named((a) => `for ${a} in ('x', 'y'): pass`),
    named((a) => `with open('/dev/null') as ${a}: pass`),
    named((a) => `import os as ${a}`),
    named((a) => `from os import (path as ${a})`),
    named((a) => `def ${a}(): pass`),
    named((a) => `async def ${a}(): pass`),
    named((a) => `class ${a}: pass`),
    named((a) => `print((${a} := 'w'))`),
    named((a) => `def f(x=(${a} := 'w')): pass`),
    named((a) => `[${a} for ${a} in 'ab']`),
    named((a) => `dict(${a}='no')`),
    named((a) => `"""\n${a} = 'no'\n"""`),
    named((a) => `'${a} = 1'; x = """'''""" # ${a} = 'no'`),
    named((a) => `x = f"{'${a}'} = {1:>{5}}" rf'{"a":>{4}}\\d'`),
    named((a) => `def f():\n    global ${a}\n    ${a} = 'g'\nf()`),
    named((a) => `class C:\n    global ${a}\n    ${a} = 'g'`),
    named((a) => `globals()['${a}'] = 'g'`),
    named((a) => `def f(): globals()['${a}'] = 'g'\nf()`),
    named((a) => `exec("${a} = 'e'")`),
    named((a) => `vars().update(${a}='v')`),
    named((a) => `${a} = 'x'\n${a} += 'y'`),
    named((a) => `${a} = 'x'\ndel ${a}`),
    named((a) => `match 1:\n  case ${a}: pass`),
    fc.constantFrom(
      "from os.path import *",
      "x = {'a': 1}\nx['revision'] = 2",
      "class D: pass\nD.revision = 3",
    ),
    fc.constantFrom(
      "x = [1,\n2\n]",
      "\f",
      "if 1:\n  \tx = 1",
      "\\\nx = 1",
      "lambda revision: 1",
      "x = lambda: 1",
    ),
  );
  type Bound = Record<string, unknown>;

  /** A set is compared in the order in which it stands here. */
  function inOrder(found: unknown): unknown {
    const variable = found as { type?: string; items?: string[] };
    return variable.type === "set" ? { ...variable, items: variable.items?.toSorted() } : found;
  }

  test(`what is read is what Python binds (${runs * 4} modules)`, async () => {
    let compared = 0;
    const property = fc.asyncProperty(
      fc.array(statement, { minLength: 1, maxLength: 6 }),
      fc.constantFrom(
        "",
        "\uFEFF",
        "# -*- coding: utf-8 -*-\n",
        "#!/bin/python\n# vim: set fileencoding=latin-1 :\n",
      ),
      fc.constantFrom("\n", "\r\n"),
      async (statements, head, end) => {
        const source = Buffer.from(`${head}${statements.join("\n")}\n`.replaceAll("\n", end));
        const answer = await oracle.ask<Bound>({
          op: "literals",
          source: source.toString("base64"),
        });
        // What Python cannot run, Alembic cannot either.
        if (typeof answer["error" as keyof typeof answer] === "string") return;
        const mine = readVariables(source);
        if (mine.kind === "cannot-tell") return;
        for (const each of variableNames) {
          const found = mine.variables[each];
          if (found.kind === "unknown") continue;
          compared += 1;
          expect(inOrder(found), `${each} in ${source.toString()}`).toEqual(
            (answer as Bound)[each],
          );
        }
      },
    );
    await fc.assert(property, { seed, numRuns: runs * 4 });
    expect(compared).toBeGreaterThan(runs);
  });

  test.for([
    "revision = 'x'",
    "revision: str = 'x'",
    "revision, down_revision = 'x', 'y'",
    "depends_on = ''",
    "revision = down_revision = 'x'",
    "down_revision = (\n    'a',  # one\n)",
    "depends_on = [ # none\n    'a' ]",
    "branch_labels = 'None'",
    "revision = u'3537d5420e0e'",
    "revision: str = 'x'\nrevision = 'y'",
    "revision = r'\\x'",
    "revision = ('a'\n  'b')",
    "down_revision = {'a', 'b'}",
    "x = 1; revision = 'x'",
    "revision = '''a\\\nb'''",
    "def upgrade():\n    revision = object.items()\nrevision = 'x'",
    "class A:\n    revision = 1\nrevision = 'x'",
    "revision = '\\x61\\u0062\\103\\\n\\q'",
    "if True:\n    x = 'revision'\nrevision = 'x'",
    "revision = 'é'",
    "try:\n    import json\nexcept ImportError:\n    json = None\nrevision = 'x'",
    "import os\nrevision = 'x'",
    "def f(revision): pass\nrevision = 'x'",
    "revision = 'x'\nx = [revision for revision in 'ab']",
    "revision = 'x'\nassert_ = dict(revision='y')",
    "revision = 'x'\nrevision: str",
    "revision = ((('x')))",
  ])("is decided: %s", async (source) => {
    const bytes = Buffer.from(source);
    const answer = await oracle.ask<Bound>({ op: "literals", source: bytes.toString("base64") });
    const mine = readVariables(bytes);
    if (mine.kind === "cannot-tell") throw new Error(mine.reason);
    for (const each of variableNames) {
      expect(inOrder(mine.variables[each]), each).toEqual((answer as Bound)[each]);
    }
  });
});
