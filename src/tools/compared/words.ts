// What the words of a tool's command mean, by the forms of its row. Guarantees: a command is the tool's only if every word of it is
// understood.

import { baseName, type Program } from "../launchers.ts";
import type { CommandForm, Row } from "./row.ts";

export interface Reading {
  readonly flags: ReadonlyMap<string, string>;
  readonly rest: readonly string[];
}

/** Null where the program is not the tool's; a reason where it is, and its words are not understood. */
export function readWords(
  { commands }: Pick<Row, "commands">,
  program: Program,
): Reading | string | null {
  let reason: string | null = null;
  for (const form of commands) {
    if (!isProgramOf(form, program)) continue;
    const reading = readForm(form, program);
    if (typeof reading !== "string") return reading;
    reason ??= reading;
  }
  return reason;
}

function isProgramOf(form: CommandForm, { kind, name }: Program): boolean {
  if (kind === "module") return form.modules?.includes(name) === true;
  return form.programs.includes(kind === "script" ? baseName(name) : name);
}

function readForm(form: CommandForm, { name, args }: Program): Reading | string {
  const flags = new Map<string, string>();
  const words: string[] = [];
  for (let index = 0; index < args.length; index += 1) {
    const word = args[index] as string;
    if (word === "--" && index === args.length - 1) continue;
    if (!word.startsWith("-") || word === "-") {
      words.push(word);
      continue;
    }
    const option = readOption(form, word);
    if (option === null) return `${name} ${word}: the option is not known`;
    const { name: own, value, kind } = option;
    if (kind === "refused") return `${name} ${word}: the option changes what is run`;
    if (kind === "flag") {
      if (value !== null && value !== "true") return `${name} ${word}: the option takes no value`;
      flags.set(own, "");
      continue;
    }
    if (value === null) index += 1;
    const given = value ?? args[index];
    if (given === undefined) return `${name} misses the value of ${word}`;
    const before = flags.get(own);
    if (before !== undefined && kind !== "values") return `${name} has several ${own}`;
    flags.set(own, before === undefined ? given : `${before}\n${given}`);
  }
  const verb = form.verb.find((each) => each.every((word, at) => words[at] === word));
  if (verb === undefined) {
    const wanted = form.verb.map((each) => each.join(" ")).join(" or ");
    return `${name} ${words.join(" ")} is not ${name} ${wanted}`;
  }
  const rest = words.slice(verb.length);
  const [extra] = rest.slice(form.words ?? 0);
  if (extra !== undefined) return `${name} ${words.join(" ")}: ${extra} is not understood`;
  return { flags, rest };
}

function readOption({ options, aliases, anyHyphens }: CommandForm, word: string) {
  const equals = word.indexOf("=");
  const long = word.startsWith("--") || anyHyphens === true;
  const plain = equals === -1 || !long ? word : word.slice(0, equals);
  const name = anyHyphens === true ? plain.replace(/^--/, "-") : plain;
  const own = aliases?.[name] ?? name;
  const kind = options[own];
  if (kind !== undefined) {
    return { name: own, kind, value: plain === word ? null : word.slice(equals + 1) };
  }
  // `-dDIR`
  const short = aliases?.[word.slice(0, 2)];
  const shortKind = options[short ?? ""];
  if (long || short === undefined || !(shortKind === "value" || shortKind === "values"))
    return null;
  return { name: short, kind: shortKind, value: word.slice(2).replace(/^=/, "") };
}
