// How the text of a setting becomes a value. A text that is not allowed is NotAllowed, whose message says what is.

import ms from "ms";
import { split } from "shlex";
import type { Words } from "../context.ts";
import { canBeForwarded, parseSignal, type SignalName } from "../process/signal-table.ts";
import type { Environment } from "../runtime/environment.ts";
import type { DowngradeTarget, VersionTable } from "../state.ts";
import { markReferences, startsShell } from "./expansion.ts";
import type { LintSettings, OneOffRule } from "./settings.ts";
import { BadTemplate } from "./template.ts";

/** The message says what is allowed. */
export class NotAllowed extends Error {}

const durationUnits = "a duration such as 500ms, 60s, 10m or 2h; a bare number is seconds";

/** `500ms`, `60s`, `1.5m`, `2h`; a bare number is seconds. In milliseconds. */
export function parseDuration(text: string): number {
  const trimmed = text.trim();
  if (!/^\d+(\.\d+)?(ms|s|m|h|d)?$/.test(trimmed)) throw new NotAllowed(durationUnits);
  const duration = ms((/\d$/.test(trimmed) ? `${trimmed}s` : trimmed) as ms.StringValue);
  // A Node timer holds no more than 2^31 - 1 ms, about 24 days, and fires at once beyond that.
  // ms knows no number of more than a hundred characters.
  if (!(duration <= 2 ** 31 - 1)) throw new NotAllowed(`${durationUnits}, at most 24d`);
  // 0 has a meaning of its own, which is not "very short".
  return duration === 0 ? 0 : Math.max(Math.round(duration), 1);
}

/** PostgreSQL cancels an autovacuum that blocks a session only after deadlock_timeout: 1 s. */
const shortestDdlLockTimeoutMs = 2_000;

/** Null is off. */
export function parseDdlLockTimeout(text: string): number | null {
  if (["off", "0"].includes(text.trim().toLowerCase())) return null;
  const allowed = "off, or a duration of 2s or more, since an autovacuum gives way only after 1s";
  let durationMs = 0;
  try {
    durationMs = parseDuration(text);
  } catch (error) {
    if (!(error instanceof NotAllowed)) throw error;
  }
  if (durationMs < shortestDdlLockTimeoutMs) throw new NotAllowed(allowed);
  return durationMs;
}

export function parseBatchTime(text: string): number {
  const duration = parseDuration(text);
  if (duration < 10 || duration > 60_000) throw new NotAllowed("a duration from 10ms to 60s");
  return duration;
}

/** The words of a command. @param env of `${NAME}` and its like in it; null where there are none. */
export function parseWords(text: string, env: Environment | null = null): Words {
  let marked = { text, expand: (words: readonly string[]) => [...words] };
  let words: string[];
  try {
    if (env !== null && text.includes("${")) marked = markReferences(text, env);
    words = split(marked.text);
  } catch (error) {
    if (error instanceof BadTemplate) throw new NotAllowed(`all its variables: ${error.message}`);
    throw new NotAllowed(`balanced quotes (${(error as Error).message})`);
  }
  const [program, ...rest] = marked.expand(words);
  if (program === undefined || program === "") throw new NotAllowed("a command");
  if (/^\w+=/.test(program)) throw new NotAllowed(`a program first: write env ${program} …`);
  const special = findShellSyntax(marked.text, words);
  if (special !== null) {
    throw new NotAllowed(`no ${special}, since no shell runs it: write sh -c '…', or quote it`);
  }
  return [program, ...rest];
}

/** `celery inspect`, `!psql`, `off` */
export function parseOneOffRule(text: string): OneOffRule {
  const trimmed = text.trim();
  if (trimmed === "off") return { kind: "none" };
  const boots = trimmed.startsWith("!");
  const words = parseWords(boots ? trimmed.slice(1) : trimmed);
  return { kind: boots ? "boots" : "one-off", words };
}

/** The commands of a variable that has one a line; a line break in quotes, or behind a backslash, is a part of one. */
export function splitCommands(text: string): string[] {
  const lines = text.match(/(?:\\[^]|'[^']*'|"(?:\\[^]|[^"\\])*"|[^\n])+/g) ?? [];
  return lines.filter((line) => line.trim() !== "");
}

/** What a shell alone would make something of: an operator or a variable outside of quotes, or one in double quotes. */
function findShellSyntax(text: string, words: readonly string[]): string | null {
  const forShell = startsShell(words);
  const variable = /\$\{?[\w@]+|\$\(|`/;
  const parts = new RegExp(
    String.raw`\\.|'[^']*'|"(?:\\.|[^"\\])*"|[;&|<>]+|${variable.source}`,
    "gs",
  );
  for (const [part] of text.matchAll(parts)) {
    if (part.startsWith("\\") || part.startsWith("'")) continue;
    // In double quotes it may be meant for the shell that the command itself starts.
    if (part.startsWith('"') && forShell) continue;
    const found = part.startsWith('"') ? variable.exec(part.replaceAll(/\\./gs, ""))?.[0] : part;
    if (found !== undefined) return found.replace("${", "$");
  }
  return null;
}

export function notEmpty(allowed: string): (text: string) => string {
  return (text) => {
    if (text.trim() === "") throw new NotAllowed(allowed);
    return text.trim();
  };
}

export function parseSwitch(text: string): boolean {
  const word = text.trim().toLowerCase();
  if (["1", "true", "yes", "on"].includes(word)) return true;
  if (["0", "false", "no", "off"].includes(word)) return false;
  throw new NotAllowed("1, true, yes, on, 0, false, no, off");
}

export function oneOf<T extends string>(words: readonly T[]): (text: string) => T {
  return (text) => {
    const found = words.find((word) => word === text.trim());
    if (found === undefined) throw new NotAllowed(words.join(", "));
    return found;
  };
}

export function parseCount(text: string): number {
  const trimmed = text.trim();
  if (!/^\d{1,15}$/.test(trimmed)) throw new NotAllowed("a whole number");
  return Number(trimmed);
}

/** `base:head`, `a1:c3` */
export function parseRange(text: string): LintSettings["range"] {
  const [, from = "", to = ""] = /^([^:\s]+):([^:\s]+)$/.exec(text.trim()) ?? [];
  if (from === "") throw new NotAllowed("FROM:TO, revisions such as base:head");
  return { from: from === "base" ? [] : [from], to };
}

export function parseVersionTable(text: string): VersionTable {
  const parts = text.trim().split(".");
  const [first, second] = parts;
  if (parts.length > 2 || parts.some((part) => part === "")) {
    throw new NotAllowed("NAME or SCHEMA.NAME");
  }
  return second === undefined
    ? { schema: null, name: first ?? "" }
    : { schema: first ?? "", name: second };
}

/** A schema. Its name becomes a part of commands. */
export function parseTenant(text: string): string {
  if (!/^[\p{L}_][\p{L}\p{N}_-]*$/u.test(text)) {
    throw new NotAllowed("names of schemas, of letters, digits, _ and -");
  }
  return text;
}

/** `-1`, `base`, an id or its beginning. Other forms would be relative to what is not under the lock yet. */
export function parseDowngradeTarget(text: string): DowngradeTarget | null {
  if (text === "base") return { kind: "base" };
  const steps = /^-(\d{1,6})$/.exec(text)?.[1];
  if (steps !== undefined)
    return Number(steps) > 0 ? { kind: "relative", steps: Number(steps) } : null;
  return text === "" || /^[-+]|@/.test(text) ? null : { kind: "revision", name: text };
}

export function parseSignalName(text: string): SignalName {
  const name = parseSignal(text);
  if (name === null) throw new NotAllowed("a signal: TERM, SIGTERM, 15, RTMIN+3");
  return name;
}

/** `TERM:QUIT`; `TERM:0` drops it. */
export function parseSignalPair(text: string): [SignalName, SignalName | null] {
  const [from = "", to = "", ...rest] = text.split(":");
  const [source, target] = [parseSignal(from), to === "0" ? null : parseSignal(to)];
  const caught = source !== null && canBeForwarded(source);
  if (!caught || (target === null && to !== "0") || rest.length > 0) {
    throw new NotAllowed(
      "FROM:TO, signals such as TERM:QUIT, FROM one that can be caught, or FROM:0",
    );
  }
  return [source, target];
}

/** `143=0` */
export function parseExitPair(text: string): [number, number] {
  const [, from = "", to = ""] = /^(\d{1,3})=(\d{1,3})$/.exec(text.trim()) ?? [];
  const codes: [number, number] = [Number(from), Number(to)];
  if (from === "" || codes.some((code) => code > 255)) {
    throw new NotAllowed("FROM=TO, exit codes from 0 to 255 such as 143=0");
  }
  return codes;
}

export function parseVariableName(text: string): string {
  if (!/^[A-Za-z_]\w*$/.test(text)) throw new NotAllowed("names of environment variables");
  return text;
}

/** `027` */
export function parseUmask(text: string): number {
  const trimmed = text.trim();
  if (!/^[0-7]{1,4}$/.test(trimmed) || Number.parseInt(trimmed, 8) > 0o777) {
    throw new NotAllowed("an octal mask such as 027");
  }
  return Number.parseInt(trimmed, 8);
}
