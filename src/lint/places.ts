// Where a statement is written: the line of upgrade() in the revision's file, or of the SQL file.
// Guarantees: a line that is only likely is not given out for certain; without one it is that of `def upgrade`.

import { readFileSync } from "node:fs";
import type { Node } from "libpg-query";
import { relationOfWords, wordsOf } from "./sql.ts";
import type { Statement } from "./statements.ts";

export interface Place {
  /** Absolute, or as the user has named it; null for SQL that is in no file. */
  readonly file: string | null;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  /** Behind the last column that is marked. */
  readonly endColumn: number;
  /** Whether the statement stands there; else it is somewhere in the function. */
  readonly certain: boolean;
  /** The line itself. */
  readonly excerpt: string;
  /** The lines of the operation with the comments above it: a suppression in them is meant for it. */
  readonly region: { readonly first: number; readonly last: number };
}

/** A text and its lines, from 1. */
export class TextFile {
  readonly path: string | null;
  readonly text: string;
  readonly #starts: readonly number[];

  constructor(path: string | null, text: string) {
    this.path = path;
    this.text = text;
    this.#starts = [0, ...Array.from(text.matchAll(/\n/g), ({ index }) => index + 1)];
  }

  get lineCount(): number {
    return this.#starts.length;
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
}

/** The place in the file of SQL itself. */
export function placeInSql(file: TextFile, { start, end }: { start: number; end: number }): Place {
  const line = file.lineAt(start);
  const column = start - file.startOf(line) + 1;
  const excerpt = file.line(line);
  const length = Math.max(1, Math.min(end - start, excerpt.length - column + 1));
  return {
    file: file.path,
    line,
    column,
    endColumn: column + length,
    certain: true,
    excerpt,
    region: { first: line, last: file.lineAt(Math.max(start, end - 1)) },
  };
}

/** A revision's file, in which statement after statement is looked for. */
export class RevisionSource {
  readonly file: TextFile;
  /** The lines of upgrade(), from its `def` on. */
  readonly first: number;
  readonly last: number;
  readonly #body: string;
  readonly #offset: number;
  readonly #calls: readonly Call[];
  #cursor = 0;

  constructor(path: string) {
    this.file = new TextFile(path, readFileSync(path, "utf8"));
    const { text } = this.file;
    const start = /^(?:async )?def upgrade\b/m.exec(text)?.index ?? 0;
    // Strings may have lines without indentation: only what begins something else ends the function.
    const body = text.indexOf("\n", start);
    const next = body === -1 ? null : /^(?:async def |def |class |if |@)/m.exec(text.slice(body));
    const end = next === null ? text.length : body + next.index;
    this.#offset = start;
    this.#body = text.slice(start, end);
    this.#calls = findCalls(this.#body);
    this.first = this.file.lineAt(start);
    this.last = this.file.lineAt(Math.max(start, end - 1));
  }

  /** To be asked in the order of the statements. */
  locate(statement: Statement): Place {
    const found = this.#findText(statement) ?? this.#findOperation(statement);
    if (found === null) return this.#at(0, 0, null, false);
    this.#cursor = found.index + 1;
    return this.#at(found.index, found.end, this.#callAround(found.index), found.certain);
  }

  /** The place of the function. */
  whole(): Place {
    return this.#at(0, 0, null, false);
  }

  #at(
    index: number,
    end: number,
    call: { start: number; end: number } | null,
    certain: boolean,
  ): Place {
    const line = this.file.lineAt(this.#offset + index);
    const excerpt = this.file.line(line);
    const indent = /^\s*/.exec(excerpt)?.[0].length ?? 0;
    const column = Math.max(this.#offset + index - this.file.startOf(line), indent) + 1;
    const sameLine = end > index && this.file.lineAt(this.#offset + end - 1) === line;
    const endColumn = sameLine
      ? this.#offset + end - this.file.startOf(line) + 1
      : excerpt.trimEnd().length + 1;
    const region =
      call === null
        ? { first: this.first, last: this.last }
        : {
            first: this.#commentsAbove(this.file.lineAt(this.#offset + call.start)),
            last: this.file.lineAt(this.#offset + Math.max(call.start, call.end - 1)),
          };
    const file = this.file.path;
    return {
      file,
      line,
      column,
      endColumn: Math.max(endColumn, column + 1),
      certain,
      excerpt,
      region,
    };
  }

  #commentsAbove(line: number): number {
    let first = line;
    while (first > 1 && /^\s*#/.test(this.file.line(first - 1))) first--;
    return first;
  }

  /** The statement's own first line, as it stands in op.execute(). */
  #findText({ text }: Statement): { index: number; end: number; certain: boolean } | null {
    const line = (text.split("\n")[0] ?? "").trim();
    if (line.length < 8) return null;
    for (const needle of [line, line.slice(0, 40), line.slice(0, 24)]) {
      const indices: number[] = [];
      for (
        let index = this.#body.indexOf(needle);
        index !== -1;
        index = this.#body.indexOf(needle, index + 1)
      )
        indices.push(index);
      const chosen = indices.find((index) => index >= this.#cursor) ?? indices[0];
      if (chosen === undefined) continue;
      // In a comment or docstring, say; the operation itself may be elsewhere.
      if (this.#callAround(chosen) === null) continue;
      return { index: chosen, end: chosen + needle.length, certain: indices.length === 1 };
    }
    return null;
  }

  /** The call of the operation that writes such a statement. */
  #findOperation(statement: Statement): { index: number; end: number; certain: boolean } | null {
    const operation = describeOperation(statement);
    if (operation === null) return null;
    const calls = this.#calls.filter(({ verb }) => verb === operation.verb);
    const naming = (names: readonly string[]) =>
      calls.filter(({ words }) =>
        names.every((name) => words.includes(`"${name}"`) || words.includes(`'${name}'`)),
      );
    const all = naming(operation.names);
    // In a batch the table is named by another call.
    const found = all.length > 0 ? all : naming(operation.names.slice(-1));
    const chosen = found.find(({ start }) => start >= this.#cursor) ?? found[0];
    if (chosen === undefined || operation.names.length === 0) return null;
    return { index: chosen.start, end: chosen.end, certain: found.length === 1 };
  }

  /** The outermost call that holds the character at `index`. */
  #callAround(index: number): Call | null {
    return this.#calls.find(({ start, end }) => start <= index && index < end) ?? null;
  }
}

/** `op.add_column(…)`, as indices into upgrade(). */
interface Call {
  readonly verb: string;
  readonly start: number;
  readonly end: number;
  readonly words: string;
}

/** The calls of methods, in the order of the text. */
function findCalls(text: string): Call[] {
  return Array.from(text.matchAll(/(?:\w+\.)*\w*\.(\w+)\s*\(/g)).flatMap((match) => {
    const [head, verb = ""] = match;
    const end = closingParenthesis(text, match.index + head.length - 1);
    return end === null
      ? []
      : [{ verb, start: match.index, end, words: text.slice(match.index, end) }];
  });
}

/** Behind the parenthesis that closes the one at `open`, by Python's quotes; null where none does. */
function closingParenthesis(text: string, open: number): number | null {
  let depth = 0;
  const token = /"""[^]*?"""|'''[^]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|#[^\n]*|[()]/g;
  token.lastIndex = open;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    if (match[0] === "(") depth++;
    else if (match[0] === ")" && --depth === 0) return match.index + 1;
  }
  return null;
}

/** The Alembic operation that would write the statement: its name, and the names in its call. */
function describeOperation({ node, opaque }: Statement): { verb: string; names: string[] } | null {
  if (opaque) return null;
  const named = (verb: string, ...names: (string | undefined)[]) => ({
    verb,
    names: names.filter((name) => name !== undefined),
  });
  if ("AlterTableStmt" in node) {
    const table = node.AlterTableStmt.relation?.relname;
    const [first] = node.AlterTableStmt.cmds ?? [];
    if (first === undefined || !("AlterTableCmd" in first)) return null;
    const { name, def } = first.AlterTableCmd;
    const subtype: string | undefined = first.AlterTableCmd.subtype;
    switch (subtype ?? "") {
      case "AT_AddColumn":
        return named(
          "add_column",
          table,
          def !== undefined && "ColumnDef" in def ? def.ColumnDef.colname : undefined,
        );
      case "AT_DropColumn":
        return named("drop_column", table, name);
      case "AT_AlterColumnType":
      case "AT_SetNotNull":
      case "AT_DropNotNull":
      case "AT_ColumnDefault":
        return named("alter_column", table, name);
      case "AT_DropConstraint":
        return named("drop_constraint", table, name);
      case "AT_AddConstraint": {
        if (def === undefined || !("Constraint" in def)) return null;
        const verb = constraintVerbs[def.Constraint.contype ?? ""];
        return verb === undefined ? null : named(verb, table, def.Constraint.conname);
      }
      default:
        return null;
    }
  }
  if ("IndexStmt" in node)
    return named("create_index", node.IndexStmt.relation?.relname, node.IndexStmt.idxname);
  if ("CreateStmt" in node) return named("create_table", node.CreateStmt.relation?.relname);
  if ("RenameStmt" in node) {
    const { renameType, relation, subname, newname } = node.RenameStmt;
    return renameType === "OBJECT_COLUMN"
      ? named("alter_column", relation?.relname, subname)
      : named("rename_table", relation?.relname, newname);
  }
  if ("DropStmt" in node) {
    const [object] = node.DropStmt.objects ?? [];
    const name = object === undefined ? null : nameOfObject(object);
    if (name === null) return null;
    if (node.DropStmt.removeType === "OBJECT_INDEX") return named("drop_index", name);
    return node.DropStmt.removeType === "OBJECT_TABLE" ? named("drop_table", name) : null;
  }
  if ("InsertStmt" in node) return named("bulk_insert", node.InsertStmt.relation?.relname);
  return null;
}

const constraintVerbs: Readonly<Record<string, string>> = {
  CONSTR_FOREIGN: "create_foreign_key",
  CONSTR_CHECK: "create_check_constraint",
  CONSTR_UNIQUE: "create_unique_constraint",
  CONSTR_PRIMARY: "create_primary_key",
  CONSTR_EXCLUSION: "create_exclude_constraint",
};

function nameOfObject(object: Node): string | null {
  return "List" in object ? (relationOfWords(wordsOf(object.List.items))?.name ?? null) : null;
}
