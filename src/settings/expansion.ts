// `${NAME}` and its like in the words of a command, as in the shell script, but without a shell. Guarantees: what is in single
// quotes stays as it is; a value is never read as syntax; a value whose variable is called a secret is in no line of the log.

import { split } from "shlex";
import { hide, hidePasswords } from "../log/mask.ts";
import type { Environment } from "../runtime/environment.ts";
import { BadTemplate, expandTemplate, readReference, reference } from "./template.ts";

const parts = new RegExp(String.raw`\\.|'[^']*'|"(?:\\.|[^"\\])*"|${reference}`, "gs");
const quotedParts = new RegExp(String.raw`\\.|${reference}`, "gs");

const shells = ["sh", "bash", "dash", "ash", "zsh", "ksh"];
const secretName =
  /(?:^|_)(?:PASSWORD|PASSWD|PASS|PASSPHRASE|SECRET|TOKEN|KEY|APIKEY|CREDENTIALS?)(?:_|\d|$)/i;

/** A value in the place of its reference, until the words are split. */
interface Value {
  readonly text: string;
  readonly quoted: boolean;
}

/** Characters that no command has, around the number of a value. */
const [before, after] = ["\u{e000}", "\u{e001}"];
const mark = new RegExp(`${before}(\\d+)${after}`);

/** Whether one of the words is a shell, which expands by itself what it is given. */
export function startsShell(words: readonly string[]): boolean {
  return words.some((word) => shells.includes(word.split("/").at(-1) ?? ""));
}

/** The text of a command, with a mark in the place of each reference, and how to expand the words that are split from it. */
export function markReferences(
  text: string,
  env: Environment,
): { text: string; expand: (words: readonly string[]) => string[] } {
  const values: Value[] = [];
  const store = (found: string, quoted: boolean) => {
    refuseShellWord(found, quoted);
    values.push({ text: expandReference(found, env), quoted });
    return `${before}${values.length - 1}${after}`;
  };
  const unquoted = text.replaceAll(parts, (part) =>
    part.startsWith("$") ? store(part, false) : part,
  );
  // What is in double quotes may be meant for the shell that the command itself starts.
  const marked = startsShell(split(unquoted))
    ? unquoted
    : unquoted.replaceAll(parts, (part) =>
        part.startsWith('"')
          ? part.replaceAll(quotedParts, (one) => (one.startsWith("$") ? store(one, true) : one))
          : part,
      );
  return { text: marked, expand: (words) => words.flatMap((word) => expandWord(word, values)) };
}

/** A word of the command line, which nobody has quoted: it stays one, or none where nothing is left of it. */
export function expandArgument(word: string, env: Environment): string[] {
  const expanded = word.replaceAll(new RegExp(reference, "g"), (one) => expandReference(one, env));
  return expanded === "" && word !== "" ? [] : [expanded];
}

function expandReference(found: string, env: Environment): string {
  const value = expandTemplate(found, env);
  for (const [, name = ""] of found.matchAll(/\$\{(\w+)/g)) {
    if (secretName.test(name)) hide(env[name] ?? "");
  }
  hidePasswords([value]);
  return value;
}

/** What a shell would make something of in `${NAME:+word}`, and nobody does here. */
function refuseShellWord(found: string, quoted: boolean): void {
  const { word, operator } = readReference(found);
  const [special] =
    (quoted ? /\$(?!\{)(?:\w+|\()|`/ : /\$(?!\{)(?:\w+|\()|["'`\\]/).exec(word) ?? [];
  if (special !== undefined && operator !== "?") {
    throw new BadTemplate(`no ${special} in ${found}, since no shell runs it`);
  }
}

/** As a shell does: a value outside of quotes may be several words, or none. */
function expandWord(word: string, values: readonly Value[]): string[] {
  if (!mark.test(word)) return [word];
  const fields = [""];
  let kept = false;
  const append = (text: string) => fields.push(`${fields.pop() ?? ""}${text}`);
  for (const [index, part] of word.split(mark).entries()) {
    const value = index % 2 === 1 ? values[Number(part)] : undefined;
    kept ||= value?.quoted === true;
    if (value === undefined || value.quoted) {
      append(value?.text ?? part);
      continue;
    }
    const [first = "", ...rest] = value.text.split(/[ \t\n]+/);
    append(first);
    fields.push(...rest);
  }
  const filled = fields.filter((field) => field !== "");
  return filled.length === 0 && kept ? [""] : filled;
}
