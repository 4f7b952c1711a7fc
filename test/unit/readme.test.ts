// README's tables say what the source says: settings, exit codes, the files of the seven steps and the
// script's messages. Its commands are run by test/process/readme.test.ts.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

import { exitCodes } from "../../src/exit-codes.ts";
import { forwardedSignals, unforwardedSignals } from "../../src/process/signal-table.ts";
import { leaderSignals } from "../../src/process/supervision.ts";
import { settingTable, type SettingRow } from "../../src/settings.ts";

const root = join(import.meta.dirname, "../..");
const readme = readFileSync(join(root, "README.md"), "utf8");

test("README's settings table has the flag, variable and default of every setting, and no other", () => {
  const [app, ...settings] = readTable("Flag").map((cells) => cells.slice(0, 3));
  expect(app).toEqual([
    "APP...",
    "ENTRYPOINT_APP",
    "uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2",
  ]);
  const rows: SettingRow[] = Object.values(settingTable);
  expect(settings).toEqual(
    rows.map(({ flags, variable, initial }) => [flags, variable ?? "none", initial ?? "none"]),
  );
});

test("README's table of exit codes has every class of failure, and no other", () => {
  const rows = readTable("Code").map((cells) => cells.slice(0, 2));
  const failures = Object.entries(exitCodes).map(([name, code]) => [String(code), name]);
  expect(rows).toEqual([["0", ""], ...failures, ["128+n", ""]]);
});

test("README's table of states has the exit code of each", () => {
  const rows = readTable("State").map(([state, code]) => [state, Number(code)]);
  const { pending, ahead, unstamped, overlapping } = exitCodes;
  expect(rows).toEqual([
    ["current", 0],
    ["behind", pending],
    ["ahead", ahead],
    ["unstamped", unstamped],
    ["overlapping", overlapping],
    ["multiple-heads", exitCodes["multiple-heads"]],
    ["cannot-tell", exitCodes["cannot-tell"]],
  ]);
});

test("README says the symptom, the cause and the cure of every failure", () => {
  for (const [code, name, symptom, cause, cure] of readTable("Code")) {
    for (const cell of [symptom, cause, ...(name === "" ? [] : [cure])]) {
      expect(cell, code).not.toMatch(/^$/);
    }
  }
});

test("README's runbook has every event of the log", () => {
  const runbook = /^## Runbook$(.*?)^## /ms.exec(readme)?.[1] ?? "";
  for (const [event, file] of listEvents()) expect(runbook, file).toContain(`\`${event}\``);
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

test("README's seven steps are in files that exist", () => {
  const rows = readTable("Step");
  expect(rows.map(([step]) => step?.[0])).toEqual(["1", "2", "3", "4", "5", "6", "7"]);
  for (const [step, , file = ""] of rows) expect(existsSync(join(root, file)), step).toBe(true);
});

test("README says of every signal what becomes of it", () => {
  const realTime = "SIGRTMIN to SIGRTMAX";
  const rows = readTable("Signals").map(([names = "", fate = ""]) => ({
    names: names.split(", "),
    fate,
  }));
  const because = "not passed on: ";
  const unforwarded = rows.filter(({ fate }) => fate.startsWith(because));
  const reasons = unforwarded.flatMap(({ names, fate }) =>
    names.map((name) => [name, fate.slice(because.length)] as const),
  );
  expect(Object.fromEntries(reasons)).toEqual(unforwardedSignals);
  const others = rows.filter((row) => !unforwarded.includes(row));
  expect(others.flatMap(({ names }) => names).toSorted()).toEqual(
    [...forwardedSignals, realTime].toSorted(),
  );
  const forTheLeader = others.filter(({ fate }) => fate.startsWith("to the application alone"));
  expect(forTheLeader.map(({ names }) => names)).toEqual([leaderSignals]);
});

test("README quotes the script's three messages as the source prints them", () => {
  const source = ["src/boot.ts", "src/migrations/migrate.ts"]
    .map((file) => readFileSync(join(root, file), "utf8"))
    .join("");
  const script = /```bash\n([^]*?)```/.exec(readme)?.[1] ?? "";
  const messages = [...script.matchAll(/echo "(.*)"/g)].map(([, message = ""]) => message);
  expect(messages).toHaveLength(3);
  const prose = readme.replace(script, "");
  for (const message of messages) {
    expect(prose).toContain(`"${message}"`);
    // The source puts the second one together, since `migrate` prints its first half alone.
    for (const sentence of message.split(/(?<=complete\.) /)) expect(source).toContain(sentence);
  }
});

/** The body of the table whose first heading is `heading`; code marks and escapes are taken away. */
function readTable(heading: string): string[][] {
  const lines = readme.split("\n");
  const start = lines.findIndex((line) => line.startsWith("|") && splitRow(line)[0] === heading);
  expect(start, `a table with the heading ${heading}`).not.toBe(-1);
  const rest = lines.slice(start + 2);
  const end = rest.findIndex((line) => !line.startsWith("|"));
  return rest.slice(0, end === -1 ? undefined : end).map(splitRow);
}

function splitRow(line: string): string[] {
  return line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) =>
      cell
        .trim()
        .replace(/^`([^`]*)`$/, "$1")
        .replaceAll("\\|", "|"),
    );
}
