// `npm run documents`: writes the table of settings in src/settings/README.md, the JSON schema of entrypoint.toml, and the
// table of the lint's rules in src/lint/README.md, from what the program itself reads.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { otherRules, rules } from "../src/lint/rules/table.ts";
import type { Command } from "../src/settings/settings.ts";
import { bootsOfRole, keyOf } from "../src/settings/file.ts";
import { settingTable, type SettingRow } from "../src/settings/table.ts";
import { fillMarks, formatTable } from "./markdown.ts";

const schema = join(import.meta.dirname, "../src/settings/entrypoint.schema.json");

/** The parts of documents that are written from the source. */
export const written = [
  { document: "src/settings/README.md", name: "settings", format: formatSettings },
  { document: "src/lint/README.md", name: "rules", format: formatRules },
];

if (import.meta.main) {
  for (const { document, name, format } of written) {
    const path = join(import.meta.dirname, "..", document);
    writeFileSync(path, fillMarks(readFileSync(path, "utf8"), name, format()));
  }
  writeFileSync(schema, formatSchema());
}

/** The table of all settings, in the order in which they are declared. */
function formatSettings(): string {
  const rows: SettingRow[] = Object.values(settingTable);
  // `config` shows the settings of others.
  const commands = [...new Set(rows.flatMap((row) => row.commands ?? []))].filter(
    (name) => name !== "config",
  );
  const list = (names: readonly Command[]) => names.map(code).join(", ");
  const describeCommands = ({ commands: some }: SettingRow): string => {
    if (some === undefined) return "all";
    const others = commands.filter((name) => !some.includes(name));
    return others.length < some.length ? `all but ${list(others)}` : list(some);
  };
  return formatTable(
    ["Flag", "Variable", "Default", "Commands", "Meaning"],
    rows.map((row) => [
      code(row.flags),
      row.variable === null ? "none" : code(row.variable),
      row.initial === null ? "none" : code(row.initial),
      describeCommands(row),
      row.repeatable === true ? `${row.help}; repeatable` : row.help,
    ]),
  );
}

/** For editors and for CI: what entrypoint.toml, or [tool.entrypoint] of pyproject.toml, may hold. */
export function formatSchema(): string {
  const rows: SettingRow[] = Object.values(settingTable);
  const settings = Object.fromEntries(rows.map((row) => [keyOf(row), describeType(row)]));
  const command = {
    description: "the application: a text, or a list of its words",
    anyOf: [{ type: "string" }, { type: "array", items: { type: "string" }, minItems: 1 }],
  };
  const role = {
    type: "object",
    additionalProperties: false,
    properties: {
      command,
      boot: {
        description:
          "migrate: boots before it starts the command; wait: waits until the database is at head; none: starts it at once",
        enum: bootsOfRole,
        default: bootsOfRole[0],
      },
      ...settings,
    },
  };
  const whole = {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "entrypoint.toml",
    type: "object",
    additionalProperties: false,
    properties: {
      app: command,
      roles: { type: "object", additionalProperties: role },
      ...settings,
    },
  };
  return `${JSON.stringify(whole, null, 2)}\n`;
}

function describeType(row: SettingRow): object {
  const [, placeholder] = /<(.*)>$/.exec(row.flags) ?? [];
  const one = describeValue(placeholder);
  const isList = row.repeatable === true || placeholder === "command";
  const list = { type: "array", items: row.repeatable === true ? one : { type: "string" } };
  return {
    description: row.help,
    ...(row.initial === null ? {} : { default: placeholder === undefined ? false : row.initial }),
    ...(isList ? { anyOf: [one, list] } : one),
  };
}

function describeValue(placeholder: string | undefined): object {
  if (placeholder === undefined) return { type: "boolean" };
  if (/^[a-z]+(\|[a-z]+)+$/.test(placeholder)) return { enum: placeholder.split("|") };
  const numeric = ["duration", "rows"].includes(placeholder);
  return { type: numeric ? ["string", "number"] : "string" };
}

/** The table of all rules, in the order of their findings. */
function formatRules(): string {
  return formatTable(
    ["Rule", "What it finds", "Example", "Lock of the example"],
    [
      ...rules.map(({ id, about, example, lock }) => [code(id), about, code(example), lock]),
      ...otherRules.map(({ id, about, example }) => [
        code(id),
        about,
        example === "" ? "" : code(example),
        "",
      ]),
    ],
  );
}

function code(text: string): string {
  return `\`${text}\``;
}
