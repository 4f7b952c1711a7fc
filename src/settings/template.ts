// `${NAME}`, `${NAME:-default}`, `${NAME:+word}` and `${NAME:?message}` in a setting, expanded as a shell would, but without a
// shell. In a database URL each value is encoded as its place needs it. Guarantees: a value never changes what stands around it.

import { isIPv6 } from "node:net";
import type { Environment } from "../runtime/environment.ts";

/** The message says what is wrong, and holds no value. */
export class BadTemplate extends Error {}

const beginning = String.raw`\$\{[A-Za-z_]\w*`;
const first = String.raw`${beginning}(?::[-+?][^{}]*)?\}`;
const second = String.raw`${beginning}(?::[-+?](?:[^{}]|${first})*)?\}`;
const third = String.raw`${beginning}(?::[-+?](?:[^{}]|${second})*)?\}`;

/** Of a regular expression: one of the forms, in whose word there may be others. */
export const reference = String.raw`${beginning}(?::[-+?](?:[^{}]|${third})*)?\}`;

const atStart = new RegExp(`^${reference}`);

/** A colon, but not one in `${NAME:-default}`. */
export const betweenPaths = /(?<!\$\{\w*)[:\n](?!(?:[^{}]|\$\{[^{}]*\})*\})/;

/** How a value is written behind `before` and in front of `after`. */
type Encode = (value: string, before: string, after: string) => string;

/** Throws BadTemplate where a variable without a default is not set or empty, and at any other form of the shell's. */
export function expandTemplate(
  text: string,
  env: Environment,
  encode: Encode = (value) => value,
): string {
  let before = "";
  let rest = text;
  for (;;) {
    const start = rest.indexOf("${");
    if (start === -1) return before + rest;
    before += rest.slice(0, start);
    rest = rest.slice(start);
    const [all = ""] = atStart.exec(rest) ?? [];
    if (all === "") {
      throw new BadTemplate(
        "it has a ${ of another form than ${NAME}, ${NAME:-default}, ${NAME:+word}, ${NAME:?message}",
      );
    }
    rest = rest.slice(all.length);
    const { name, operator, word } = readReference(all);
    const value = env[name] ?? "";
    const [left, right] = [before, rest];
    if ((value === "" && operator === "-") || (value !== "" && operator === "+")) {
      before += expandTemplate(word, env, (inner, more, after) =>
        encode(inner, left + more, after + right),
      );
    } else if (value !== "") {
      before += encode(value, before, rest);
    } else if (operator !== "+") {
      const cure = `write \${${name}:-} where that is meant`;
      throw new BadTemplate(`${name} is not set or empty: ${word === "" ? cure : word}`);
    }
  }
}

/** The parts of one of the forms; the operator is empty where there is none. */
export function readReference(text: string): { name: string; operator: string; word: string } {
  const [, name = "", operator = "", word = ""] =
    /^\$\{(\w+)(?::([-+?])([^]*))?\}$/.exec(text) ?? [];
  return { name, operator, word };
}

/** A URL, or libpq's `host=… dbname=…`, with its variables expanded. Throws BadTemplate. */
export function expandDatabaseUrl(text: string, env: Environment): string {
  if (!text.includes("${")) return text;
  const keywords = /^\s*\w+\s*=/.test(text);
  return expandTemplate(text, env, (value, before, after) => {
    if (keywords) return value.replaceAll(/[\s'\\]/g, String.raw`\$&`);
    const scheme = before.indexOf("://");
    // The beginning, or all, of a URL that has another name.
    if (scheme === -1) return value;
    const path = before.slice(scheme + 3);
    // SQLAlchemy's versions decode the name of a database differently, and parameters are written as they are.
    if (/[?&]$/.test(path) || (/^[^/?]*\//.test(path) && !path.includes("?"))) return value;
    const isHost = !path.includes("?") && (path.includes("@") || !/^[^/?]*@/.test(after));
    const plain = /^[\w.,:[\]-]+$/.test(value) && !(value.includes(":") && isIPv6(value));
    return isHost && plain ? value : encodeURIComponent(value);
  });
}
