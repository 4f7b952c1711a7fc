// The file of a migration, as the lint reads it: where a statement stands in it, and the comments beside that.

import { readFileSync } from "node:fs";
import { requireRegularFile } from "../runtime/regular-file.ts";

/** Where a statement or a comment is written. */
export interface SourceLocation {
  /** Absolute, or as the user named it; null for SQL that is in no file. */
  readonly file: string | null;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  /** Behind the last column that is marked. */
  readonly endColumn: number;
  /** Whether the statement stands there; else it is somewhere in `region`. */
  readonly certain: boolean;
  /** The line itself. */
  readonly excerpt: string;
  /** The lines of the statement, and of the comments above it that are about it. */
  readonly region: LineRange;
}

/** Both from 1, and both included. */
interface LineRange {
  readonly first: number;
  readonly last: number;
}

export interface SourceComment {
  readonly line: number;
  /** Without the mark that begins it. */
  readonly text: string;
}

/** A stretch of the SQL, and the statement of its migration file that prints it. Lines are from 1. */
export interface SqlOrigin {
  readonly start: number;
  readonly end: number;
  readonly first: number;
  readonly last: number;
  /** The call in it: columns in bytes of UTF-8, from 0, or null where only the line is known. */
  readonly line: number;
  readonly endLine: number;
  readonly column: number | null;
  readonly endColumn: number | null;
  /** Whether no other statement shares a line with it. */
  readonly certain: boolean;
}

export interface SourceFile {
  /** The file is the SQL itself, whose comments are in what is linted. */
  readonly isSql?: true;
  /** The comments of the whole file. */
  readonly comments: readonly SourceComment[];
  /** The part that is run. */
  readonly whole: SourceLocation;
  /** @param origin what prints the statement; null where nobody knows that. */
  locate(
    statement: { readonly text: string; readonly start: number },
    origin: SqlOrigin | null,
  ): SourceLocation;
  /** A line by itself. */
  locateLine(line: number): SourceLocation;
}

/** A text and its lines, from 1. */
export class TextLines {
  readonly text: string;
  readonly #starts: readonly number[];

  constructor(text: string) {
    this.text = text;
    this.#starts = [0, ...Array.from(text.matchAll(/\n/g), ({ index }) => index + 1)];
  }

  line(number: number): string {
    const start = this.#starts[number - 1] ?? this.text.length;
    return this.text.slice(start, this.#starts[number] ?? this.text.length).replace(/\r?\n$/, "");
  }

  /** The number of the line that holds the character at `index`. */
  lineAt(index: number): number {
    let [low, high] = [0, this.#starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] ?? 0) <= index) low = middle;
      else high = middle - 1;
    }
    return low + 1;
  }

  startOf(line: number): number {
    return this.#starts[line - 1] ?? this.text.length;
  }

  /** A whole line, but for its indentation. */
  locate(file: string | null, line: number): SourceLocation {
    const excerpt = this.line(line);
    const indent = /^\s*/.exec(excerpt)?.[0].length ?? 0;
    return {
      file,
      line,
      column: indent + 1,
      endColumn: excerpt.trimEnd().length + 1,
      certain: true,
      excerpt,
      region: { first: line, last: line },
    };
  }
}

/** The lines of a file; null where it is not there or cannot be read: a frozen history may name one that is not in the image. */
export function readLines(path: string): TextLines | null {
  try {
    requireRegularFile(path);
    return new TextLines(readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof Error && "syscall" in error) return null;
    throw error;
  }
}
