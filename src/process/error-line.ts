// The line of a failed command's output that says why: a traceback's exception, else the last line that calls itself an error,
// else the last line. Guarantees: the output itself passes through as it is; only its end is held.

import { stripVTControlCharacters } from "node:util";

/** Room for a traceback with its SQL. */
const bytesKept = 65_536;

/** Collects the end of a stream. */
export function collectTail(): {
  readonly add: (bytes: Buffer) => void;
  readonly text: () => string;
} {
  const chunks: Buffer[] = [];
  let length = 0;
  return {
    add(bytes) {
      chunks.push(bytes);
      length += bytes.length;
      // What remains is enough without the first one.
      while (length - (chunks[0]?.length ?? 0) >= bytesKept) length -= chunks.shift()?.length ?? 0;
    },
    text: () => Buffer.concat(chunks).subarray(-bytesKept).toString(),
  };
}

/** A log line of less than an error; a line that only points to a manual, repeats the SQL, or follows psql's error. */
const unimportant =
  /^(?:\s*(?:TRACE|DEBUG|INFO|NOTICE)\b|\(Background on this error at|\[SQL:|\[parameters:|(?:LINE \d+|DETAIL|HINT|CONTEXT|QUERY): )/;
/** Not what goes on from the line before it: a frame of a stack, the fields of an error, psql's hint. */
const saysError = /^(?!\s|WARN).*\b(?:\w*(?:error|exception)|fatal|panic|failed)\b/i;
/** A launcher that only reports that what it has started failed. */
const ofLauncher =
  /^npm (?:ERR!|error)|^error Command failed with exit code|^exit status \d|^Tasks: TOP =>/;
const longest = 500;

/** What stands below a line that ends with a colon: the next lines, up to an empty one. */
function goOn(lines: readonly string[], line: string | undefined): string {
  const below = lines.slice(lines.lastIndexOf(line ?? "") + 1).map((one) => one.trim());
  const next = below.slice(below.findIndex((one) => one !== ""));
  const end = next.indexOf("");
  return next.slice(0, end === -1 ? 3 : Math.min(end, 3)).join(" ");
}

/** Null where there is no such line. */
export function findErrorLine(errors: string): string | null {
  const lines = stripVTControlCharacters(errors).split(/\r?\n/);
  const start = lines.findLastIndex((line) =>
    /^\s*Traceback \(most recent call last\):/.test(line),
  );
  const candidates = start === -1 ? [] : lines.slice(start + 1);
  const said = lines.filter((one) => one.trim() !== "" && !unimportant.test(one));
  const own = said.filter((one) => !ofLauncher.test(one));
  const line =
    candidates.find((one) => /^\S/.test(one)) ??
    own.findLast((one) => saysError.test(one)) ??
    own.at(-1) ??
    said[0];
  const begun = line?.trim() ?? "";
  if (begun === "") return null;
  const found = begun.endsWith(":") ? `${begun} ${goOn(lines, line)}`.trim() : begun;
  return found.length > longest ? `${found.slice(0, longest)}…` : found;
}
