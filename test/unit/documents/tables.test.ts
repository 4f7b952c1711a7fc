// The documents' tables say what the source says: settings, exit codes, states, events, signals, the files of the seven steps,
// and the script's messages. The commands are run by test/process/documents/commands.test.ts.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test, vi } from "vitest";
import { parseAllDocuments, parse as parseYaml } from "yaml";

import { formatSchema, written } from "../../../scripts/documents.ts";
import { fillMarks, formatTable } from "../../../scripts/markdown.ts";
import { exitCodes } from "../../../src/failure.ts";
import { forwardedSignals, unforwardedSignals } from "../../../src/process/signal-table.ts";
import { leaderSignals } from "../../../src/process/supervise/supervision.ts";
import { parseArguments } from "../../../src/settings/cli.ts";
import { readSettings } from "../../../src/settings/reading.ts";
import { settingTable, type SettingRow } from "../../../src/settings/table.ts";
import { readBlocks, readDocument, readTable } from "../../harness/documents.ts";

vi.stubGlobal("ENTRYPOINT_VERSION", "0.0.0");

const root = join(import.meta.dirname, "../../..");
const readme = readDocument("README.md");
const settingsDocument = readDocument("src/settings/README.md");
const operators = "src/commands/README.md";
const defaultApp = readSettings({ command: "run", flags: {}, app: [] }, {}, "/").app.words.join(
  " ",
);

test.for(written)("$document is as `npm run documents` makes it", ({ document, name, format }) => {
  const text = readDocument(document);
  expect(text).toBe(fillMarks(text, name, format()));
});

test("the JSON schema of entrypoint.toml is the one that `npm run documents` makes", () => {
  const path = join(root, "src/settings/entrypoint.schema.json");
  expect(readFileSync(path, "utf8")).toBe(formatSchema());
});

test("a | in a cell ends no cell", () => {
  expect(formatTable(["a", "b"], [["x|y", ""]])).toBe("| a | b |\n| --- | --- |\n| x\\|y | |");
});

test("README's settings have the flag, the variable and the default of the source", () => {
  const [app, ...settings] = readTable(readme, "Flag").map((cells) => cells.slice(0, 3));
  expect(app).toEqual(["APP...", "ENTRYPOINT_APP", defaultApp]);
  const rows: SettingRow[] = Object.values(settingTable);
  const known = rows.map(({ flags, variable, initial }) =>
    [flags.split(" ")[0], variable ?? "none", initial ?? "none"].join(),
  );
  expect(settings.map((cells) => cells.join()).filter((row) => !known.includes(row))).toEqual([]);
  for (const text of [readme, settingsDocument]) expect(text).toContain(`\`${defaultApp}\``);
});

test("README has every command, and no other", () => {
  const help = parseArguments(["--help"]);
  const text = help.kind === "print" ? help.text : "";
  const known = [...text.matchAll(/^ {2}entrypoint (\w+) /gm)].map(([, name = ""]) => name);
  expect(known).toContain("migrate");
  const named = readTable(readme, "Command").flatMap(([cell = ""]) => cell.match(/\w+/g) ?? []);
  expect(named.toSorted()).toEqual(known.toSorted());
});

test.for([
  ["README", readme],
  ["the runbook", readDocument(operators, "Runbook")],
] as const)(
  "the table of exit codes in %s has every class of failure, and no other",
  ([, text]) => {
    const rows = readTable(text, "Code");
    const failures = Object.entries(exitCodes).map(([name, code]) => [String(code), name]);
    expect(rows.map((cells) => cells.slice(0, 2))).toEqual([["0", ""], ...failures, ["128+n", ""]]);
  },
);

test("the runbook has the symptom, the cause and the cure of every failure", () => {
  for (const [code = "", ...cells] of readTable(readDocument(operators, "Runbook"), "Code")) {
    if (code !== "0") expect(cells.slice(1), code).not.toContain("");
  }
});

test("the table of states has the exit code of each", () => {
  const rows = readTable(readDocument(operators), "State").map(([state, code]) => [
    state,
    Number(code),
  ]);
  const { pending, ahead, unstamped, overlapping } = exitCodes;
  expect(rows).toEqual([
    ["current", 0],
    ["behind", pending],
    ["ahead", ahead],
    ["diverged", ahead],
    ["unstamped", unstamped],
    ["overlapping", overlapping],
    ["multiple-heads", exitCodes["multiple-heads"]],
    ["broken", exitCodes.broken],
    ["cannot-tell", exitCodes["cannot-tell"]],
  ]);
});

test("the chapter on events has every event of the log", () => {
  const chapters = readDocument(operators, "Runbook") + readDocument(operators, "Events");
  for (const [event, file] of listEvents()) expect(chapters, file).toContain(`\`${event}\``);
});

/** The names of the log's events, each with a file that writes it. */
function listEvents(): Map<string, string> {
  const events = new Map<string, string>();
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" });
  for (const file of files.filter((name) => name.endsWith(".ts"))) {
    const source = readFileSync(join(root, "src", file), "utf8");
    for (const [, event = ""] of source.matchAll(/\bevent: (?:\w+ \? )?"([a-z-]+)"/g)) {
      events.set(event, file);
    }
  }
  return events;
}

test("the seven steps are in files that exist", () => {
  const rows = readTable(readDocument("src/migrate/README.md"), "Step");
  expect(rows.map(([step]) => step?.[0])).toEqual(["1", "2", "3", "4", "5", "6", "7"]);
  for (const [step, , file = ""] of rows) expect(existsSync(join(root, file)), step).toBe(true);
});

test("the table of signals has the fate of every signal", () => {
  const realTime = "SIGRTMIN to SIGRTMAX";
  const rows = readTable(readDocument("src/process/README.md"), "Signals").map(
    ([names = "", fate = ""]) => ({ names: names.split(", "), fate }),
  );
  const because = "not forwarded: ";
  const unforwarded = rows.filter(({ fate }) => fate.startsWith(because));
  const reasons = unforwarded.flatMap(({ names, fate }) =>
    names.map((name) => [name, fate.slice(because.length)] as const),
  );
  expect(Object.fromEntries(reasons)).toEqual(unforwardedSignals);
  const others = rows.filter((row) => !unforwarded.includes(row));
  expect(others.flatMap(({ names }) => names).toSorted()).toEqual(
    [...forwardedSignals, realTime].toSorted(),
  );
  const forTheLeader = others.filter(({ fate }) =>
    fate.startsWith("always to the application alone"),
  );
  expect(forTheLeader.map(({ names }) => names)).toEqual([leaderSignals]);
});

test("README quotes the script's three messages as the source prints them", () => {
  const source = ["src/commands/run.ts", "src/migrate/migrate.ts"]
    .map((file) => readFileSync(join(root, file), "utf8"))
    .join("");
  const script = readBlocks(readme, "bash").flat().join("\n");
  const messages = [...script.matchAll(/echo "(.*)"/g)].map(([, message = ""]) => message);
  expect(messages).toHaveLength(3);
  const prose = readme.replace(script, "");
  for (const message of messages) {
    expect(prose).toContain(`"${message}"`);
    // The source puts the second one together, since `migrate` prints its first half alone.
    for (const sentence of message.split(/(?<=complete\.) /)) expect(source).toContain(sentence);
  }
});

test("README's snippet for Compose is a part of docker/compose.yaml", () => {
  const snippet: unknown = parseYaml(readSnippet("Compose"));
  const file = readFileSync(join(root, "docker/compose.yaml"), "utf8");
  expect(parseYaml(file, { merge: true })).toMatchObject(snippet as object);
});

test("README's snippet for Kubernetes is a part of docker/kubernetes.yaml", () => {
  const pods = parseAllDocuments(readFileSync(join(root, "docker/kubernetes.yaml"), "utf8"))
    .map((document) => document.toJS() as { kind: string; spec?: { template?: { spec: object } } })
    .filter(({ kind }) => kind === "Job" || kind === "Deployment")
    .map(({ spec }) => spec?.template?.spec);
  const snippets = parseAllDocuments(readSnippet("Kubernetes"));
  expect(pods).toMatchObject(snippets.map((document) => document.toJS() as object));
});

function readSnippet(chapter: string): string {
  return readBlocks(readDocument("README.md", chapter), "yaml").flat().join("\n");
}
