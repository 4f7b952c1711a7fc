// What would be started, with every setting in force and where it comes from: nothing is connected to, and nothing is run.

import { printResult } from "../log/log.ts";
import type { ConfigSettings, Entry } from "../settings/settings.ts";

/** Secrets are masked, as in everything that is printed. */
export function printConfig({ role, entries, json }: ConfigSettings): number {
  printResult(json ? formatJson(role, entries) : formatEntries(entries));
  return 0;
}

function formatJson(role: string | null, entries: readonly Entry[]): string {
  const settings = entries.map(({ name, value, source }) => [name, { value, source }]);
  return JSON.stringify({ role, settings: Object.fromEntries(settings) as unknown });
}

/** Three columns: the name, the value, and where it comes from. */
function formatEntries(entries: readonly Entry[]): string {
  const rows = entries.map(({ name, value, source }) => ({ name, text: describe(value), source }));
  const nameWidth = Math.max(...rows.map(({ name }) => name.length));
  const textWidth = Math.min(Math.max(...rows.map(({ text }) => text.length)), widest);
  return rows
    .map(
      ({ name, text, source }) => `${name.padEnd(nameWidth)}  ${text.padEnd(textWidth)}  ${source}`,
    )
    .join("\n");
}

/** A longer value moves its source alone. */
const widest = 40;

function describe(value: Entry["value"]): string {
  return value === null ? "none" : typeof value === "string" ? value : value.join(", ");
}
