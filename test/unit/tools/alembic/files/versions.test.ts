// Which files of the folders count. What Alembic itself loads is compared in test/process/alembic/oracle.test.ts.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import type { AlembicConfig } from "../../../../../src/tools/alembic/files/config.ts";
import { readGraph } from "../../../../../src/tools/alembic/graph.ts";
import { readRevisions } from "../../../../../src/tools/alembic/files/versions.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "versions-"));
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

function write(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

function revision(id: string, down = "None", rest = ""): string {
  return `revision = ${JSON.stringify(id)}\ndown_revision = ${down}\n${rest}`;
}

function configure(more: Partial<AlembicConfig> = {}): AlembicConfig {
  return {
    scriptLocation: root,
    versionLocations: [join(root, "versions")],
    recursive: false,
    sourceless: false,
    versionTable: { schema: null, name: "alembic_version" },
    url: null,
    ...more,
  };
}

function read(more: Partial<AlembicConfig> = {}): string[] | string {
  const answer = readRevisions(configure(more));
  return answer.kind === "known" ? answer.revisions.map(({ id }) => id).toSorted() : answer.reason;
}

test("reads every variable of a revision", () => {
  write(
    "versions/a.py",
    revision("a1", "('b1', 'c1')", "branch_labels = ['l']\ndepends_on = 'd1'\n"),
  );
  const answer = readRevisions(configure());
  expect(answer).toMatchObject({
    revisions: [{ id: "a1", downRevisions: ["b1", "c1"], branchLabels: ["l"], dependsOn: ["d1"] }],
  });
});

test("labels that are not literals are known not to be known", () => {
  write("versions/a.py", revision("a1", "None", "branch_labels = (cli.EXPAND_BRANCH,)\n"));
  expect(readRevisions(configure())).toMatchObject({
    revisions: [{ branchLabels: [], labelsUnknown: true }],
  });
});

test("a folder that does not exist is a fault of the image, not an empty history", () => {
  expect(read()).toContain("does not exist");
  write("versions/__init__.py", "");
  expect(readGraph(configure())).toMatchObject({
    kind: "cannot-tell",
    reason: expect.stringContaining("there is no revision file"),
  });
});

test("one folder of several that does not exist is not passed over", () => {
  write("versions/a.py", revision("a1"));
  expect(read({ versionLocations: [join(root, "versions"), join(root, "more")] })).toContain(
    "does not exist",
  );
});

test("revisions in a subfolder that nobody configured stop the reading", () => {
  write("versions/a.py", revision("a1"));
  write("versions/helpers/tool.py", "x = 1\n");
  expect(read()).toEqual(["a1"]);
  write("versions/2024/deep/b.py", revision("b1", "'a1'"));
  expect(read()).toContain("is a revision in a subfolder");
  expect(
    read({ versionLocations: [join(root, "versions"), join(root, "versions/2024/deep")] }),
  ).toEqual(["a1", "b1"]);
});

test("subfolders count where they are configured, but for caches and linked folders", () => {
  write("versions/sub/deep/b.py", revision("b1"));
  write("versions/sub/__pycache__/c.py", revision("c1"));
  write("elsewhere/d.py", revision("d1"));
  symlinkSync(join(root, "elsewhere"), join(root, "versions/linked"));
  expect(read({ recursive: true })).toEqual(["b1"]);
});

test("a linked folder with revisions is a subfolder as well", () => {
  write("versions/a.py", revision("a1"));
  write("elsewhere/d.py", revision("d1"));
  symlinkSync(join(root, "elsewhere"), join(root, "versions/linked"));
  expect(read()).toContain("is a revision in a subfolder");
});

test("bytecode without its source counts only where `sourceless` says so, and cannot be read then", () => {
  write("versions/a.py", revision("a1"));
  write("versions/__pycache__/a.cpython-311.pyc", "");
  write("versions/__pycache__/__init__.cpython-311.pyc", "");
  expect(read({ sourceless: true })).toEqual(["a1"]);
  write("versions/__pycache__/b.cpython-311.pyc", "");
  expect(read()).toEqual(["a1"]);
  expect(read({ sourceless: true })).toContain("b.cpython-311.pyc is compiled");
  rmSync(join(root, "versions/__pycache__"), { recursive: true });
  write("versions/c.pyc", "");
  expect(read({ sourceless: true })).toContain("c.pyc is compiled");
});

test("linked files: the same name is loaded, another name or none is not certain", () => {
  write("data/a.py", revision("a1"));
  write("versions/__init__.py", "");
  symlinkSync(join(root, "data/a.py"), join(root, "versions/a.py"));
  expect(read()).toEqual(["a1"]);
  symlinkSync(join(root, "data/a.py"), join(root, "versions/b.py"));
  expect(read()).toContain("b.py is a link to a file of another name");
  rmSync(join(root, "versions/b.py"));
  symlinkSync(join(root, "nowhere"), join(root, "versions/c.py"));
  expect(read()).toContain("c.py is a broken link");
});

test("a directory that is named like a revision is not certain", () => {
  write("versions/a.py/x", "");
  expect(read()).toContain("a.py is not a file");
});

test.for<[string, string, string]>([
  ["no revision", "x = 1\n", "it has no `revision`"],
  ["no down_revision", "revision = 'a'\n", "it has no `down_revision`"],
  [
    "an id that is no string",
    "revision = None\ndown_revision = None\n",
    "revision is not a string",
  ],
  ["an id that is a tuple", "revision = 'a',\ndown_revision = None\n", "revision is not a string"],
  ["an id with a dash", revision("a-b"), "does not allow -"],
  ["an id with a colon", revision("a:b"), "does not allow :"],
  ["an id that is a symbol", revision("heads"), '"heads" cannot be a revision\'s id'],
  ["an empty id", revision(""), "cannot be a revision's id"],
  ["an empty parent", revision("a", "''"), "an empty string"],
  ["a set of one parent", revision("a", "{'b'}"), "a set of one"],
  ["a parent that is computed", revision("a", "make()"), "line 2 assigns what is not a literal"],
  [
    "a dependency that is computed",
    revision("a", "None", "depends_on = make()\n"),
    "line 3 assigns",
  ],
  ["a module that raises", revision("a", "None", "raise E\n"), "line 3 has raise"],
])("a file with %s is named in the refusal", ([, source, reason]) => {
  write("versions/x.py", source);
  expect(read()).toContain(reason);
  expect(read()).toContain(join(root, "versions/x.py"));
});

test("thousands of files are read in good time", () => {
  for (let index = 0; index < 2000; index += 1) {
    const down = index === 0 ? "None" : `'r${index - 1}'`;
    write(
      `versions/r${index}.py`,
      revision(`r${index}`, down, "def upgrade():\n    op.execute('x')\n".repeat(40)),
    );
  }
  const answer = readGraph(configure());
  expect(answer).toMatchObject({ graph: { heads: ["r1999"] } });
});
