// Names that the version of the application that still runs may use: of views, types and schemas; and those that
// PostgreSQL cuts off.

import type { Node, ObjectType, RangeVar } from "libpg-query";
import { quoteLiteral, quoteName, quoteRelation } from "../../postgres/names.ts";
import { relationOf, relationOfWords, wordsOf } from "../../postgres/tree.ts";
import type { World } from "../world.ts";
import { isInUse, type Problem, type Rule, type RuleContext } from "./rule.ts";

const breaks = "breaks the version that still runs";
const oneAfterTheOther =
  "use two deploys: first a version that does not use it, then the one that drops it";

/** What a DROP, a rename or a constraint's end leaves to this: nothing is known of it but its name. */
function warn(
  severity: Problem["severity"],
  object: string,
  message: string,
  advice: string,
): Problem {
  return { severity, object, message, advice, work: null, safe: [], unknown: [] };
}

/** `VIEW` of `OBJECT_VIEW`, as a statement has it. */
function wordOf(type: ObjectType): string {
  const words: Readonly<Partial<Record<ObjectType, string>>> = {
    OBJECT_MATVIEW: "MATERIALIZED VIEW",
  };
  return words[type] ?? type.replace("OBJECT_", "").replaceAll("_", " ");
}

/** Whether a later statement of the transaction creates what has the name now. */
function isReplaced({ later }: RuleContext, creates: (node: Node) => string | null, name: string) {
  return later.some(({ node }) => creates(node) === name);
}

function createdView(node: Node): string | null {
  const range =
    "ViewStmt" in node
      ? node.ViewStmt.view
      : "CreateTableAsStmt" in node
        ? node.CreateTableAsStmt.into?.rel
        : "CreateStmt" in node
          ? node.CreateStmt.relation
          : undefined;
  const name = relationOf(range);
  return name === null ? null : quoteRelation(name);
}

function createdType(node: Node): string | null {
  const words =
    "CreateEnumStmt" in node
      ? wordsOf(node.CreateEnumStmt.typeName)
      : "CreateDomainStmt" in node
        ? wordsOf(node.CreateDomainStmt.domainname)
        : "CreateRangeStmt" in node
          ? wordsOf(node.CreateRangeStmt.typeName)
          : "CompositeTypeStmt" in node
            ? [node.CompositeTypeStmt.typevar?.relname ?? ""]
            : [];
  return words.at(-1) ?? null;
}

const views: readonly ObjectType[] = ["OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE"];

const dropView: Rule = {
  id: "drop-view",
  about: "DROP of a view or foreign table breaks the version that still runs, if that uses it",
  example: "DROP VIEW recent",
  lock: "ACCESS EXCLUSIVE",
  on: ["DropStmt"],
  check(context) {
    const { node } = context.statement;
    if (!("DropStmt" in node)) return [];
    const { removeType, objects = [], behavior } = node.DropStmt;
    if (removeType === undefined || !views.includes(removeType)) return [];
    return objects.flatMap((object): Problem[] => {
      const name = "List" in object ? relationOfWords(wordsOf(object.List.items)) : null;
      if (name === null || !isInUse(context.world.table(name))) return [];
      const sql = quoteRelation(name);
      if (isReplaced(context, createdView, sql)) return [];
      const more = behavior === "DROP_CASCADE" ? ", and drops what depends on it" : "";
      const message = `DROP ${wordOf(removeType)} ${sql} ${breaks}, if that uses it${more}`;
      return [warn("warning", sql, message, oneAfterTheOther)];
    });
  },
};

/** The name of what is moved: a relation, or a type; null where the statement has it elsewhere. */
function wordsOfMoved(relation: RangeVar | undefined, object: Node | undefined): string[] | null {
  if (relation !== undefined) {
    return [relation.schemaname ?? "", relation.relname ?? ""].filter((word) => word !== "");
  }
  return object !== undefined && "List" in object ? wordsOf(object.List.items) : null;
}

/** What is moved to another name or schema; null for another statement. */
function movedBy(node: Node): { type: ObjectType; words: string[]; move: string } | null {
  if ("RenameStmt" in node) {
    const { renameType, relation, object, subname, newname = "" } = node.RenameStmt;
    if (renameType === undefined) return null;
    const words = wordsOfMoved(relation, object) ?? [subname ?? ""];
    const attribute =
      renameType === "OBJECT_ATTRIBUTE" ? `ATTRIBUTE ${quoteName(subname ?? "")} ` : "";
    return { type: renameType, words, move: `RENAME ${attribute}TO ${quoteName(newname)}` };
  }
  if (!("AlterObjectSchemaStmt" in node)) return null;
  const { objectType, relation, object, newschema = "" } = node.AlterObjectSchemaStmt;
  if (objectType === undefined) return null;
  const words = wordsOfMoved(relation, object) ?? [];
  return { type: objectType, words, move: `SET SCHEMA ${quoteName(newschema)}` };
}

const renameView: Rule = {
  id: "rename-view",
  about: "Another name or schema of a view or foreign table breaks the version that still runs",
  example: "ALTER VIEW recent RENAME TO newest",
  lock: "ACCESS EXCLUSIVE",
  on: ["RenameStmt", "AlterObjectSchemaStmt"],
  check(context) {
    const moved = movedBy(context.statement.node);
    const name = moved === null ? null : relationOfWords(moved.words);
    if (moved === null || name === null || !views.includes(moved.type)) return [];
    if (!isInUse(context.world.table(name))) return [];
    const sql = quoteRelation(name);
    if (isReplaced(context, createdView, sql)) return [];
    const message = `${moved.move} ${breaks}, which uses ${sql}`;
    const advice = "create a second view of the new name, and drop the old one in the next deploy";
    return [warn("error", sql, message, advice)];
  },
};

const types: readonly ObjectType[] = ["OBJECT_TYPE", "OBJECT_DOMAIN", "OBJECT_ATTRIBUTE"];

const renameType: Rule = {
  id: "rename-type",
  about: "Another name of a type, or of an enum's value, breaks the version that still runs",
  example: "ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'",
  lock: "none",
  on: ["RenameStmt", "AlterObjectSchemaStmt", "AlterEnumStmt"],
  check(context) {
    const { world, statement } = context;
    const { node } = statement;
    if ("AlterEnumStmt" in node) {
      const { oldVal, newVal = "", typeName } = node.AlterEnumStmt;
      const words = wordsOf(typeName);
      if (oldVal === undefined || isNewType(world, words)) return [];
      const message = `RENAME VALUE ${quoteLiteral(oldVal)} TO ${quoteLiteral(newVal)} ${breaks}: it knows only the old value`;
      const advice =
        "add the new value (ADD VALUE) and let the new version write it; backfill the rows between two deploys";
      return [warn("error", words.map(quoteName).join("."), message, advice)];
    }
    const moved = movedBy(node);
    if (moved === null || !types.includes(moved.type) || isNewType(world, moved.words)) return [];
    // The old name is another type's then: as an enum is replaced.
    if (isReplaced(context, createdType, moved.words.at(-1) ?? "")) return [];
    const sql = moved.words.map(quoteName).join(".");
    const message = `${moved.move} ${breaks}, if its queries name ${sql}, as casts do`;
    return [warn("warning", sql, message, "keep the name, and map the application's type to it")];
  },
};

function isNewType(world: World, words: readonly string[]): boolean {
  return world.isNew("type", words.at(-1) ?? "");
}

const renameSchema: Rule = {
  id: "rename-schema",
  about: "ALTER SCHEMA … RENAME breaks the version that still runs: it knows only the old name",
  example: "ALTER SCHEMA blog RENAME TO weblog",
  lock: "none",
  on: ["RenameStmt"],
  check({ statement, world }) {
    const moved = movedBy(statement.node);
    const [name = ""] = moved?.words ?? [];
    if (moved?.type !== "OBJECT_SCHEMA" || world.isNew("schema", name)) return [];
    const sql = quoteName(name);
    const message = `${moved.move} ${breaks}, which looks for its tables in ${sql}`;
    return [warn("error", sql, message, "keep the schema's name")];
  },
};

/** Of these CASCADE drops columns and tables, which the statement does not name. */
const containers: readonly ObjectType[] = [
  "OBJECT_SCHEMA",
  "OBJECT_TYPE",
  "OBJECT_DOMAIN",
  "OBJECT_EXTENSION",
];

const dropCascade: Rule = {
  id: "drop-cascade",
  about:
    "CASCADE drops what nobody has written down: columns of a type, tables of a schema, constraints",
  example: "DROP TYPE mood CASCADE",
  lock: "not known",
  on: ["DropStmt", "AlterTableStmt", "DropOwnedStmt"],
  check({ statement, world }) {
    const { node } = statement;
    if ("AlterTableStmt" in node) {
      return (node.AlterTableStmt.cmds ?? []).flatMap((one): Problem[] => {
        if (!("AlterTableCmd" in one)) return [];
        const { subtype, behavior, name = "" } = one.AlterTableCmd;
        if (subtype !== "AT_DropConstraint" || behavior !== "DROP_CASCADE") return [];
        const message = `DROP CONSTRAINT ${quoteName(name)} CASCADE drops the foreign keys that refer to it, and locks their tables`;
        return [warn("warning", quoteName(name), message, "drop those by their names first")];
      });
    }
    if (!("DropStmt" in node) || node.DropStmt.behavior !== "DROP_CASCADE") return [];
    const { removeType, objects = [] } = node.DropStmt;
    // drop-table and drop-view are about these.
    if (removeType === undefined || removeType === "OBJECT_TABLE" || views.includes(removeType))
      return [];
    const names = objects.flatMap((object) => {
      const words = wordsOfObject(object);
      const last = words.at(-1) ?? "";
      const isNew =
        removeType === "OBJECT_SCHEMA" ? world.isNew("schema", last) : world.isNew("type", last);
      return isNew ? [] : [words.map(quoteName).join(".")];
    });
    if (names.length === 0) return [];
    const severity = containers.includes(removeType) ? "error" : "warning";
    const what = {
      OBJECT_SCHEMA: "every table and view in it",
      OBJECT_TYPE: "every column of that type, with its values",
      OBJECT_DOMAIN: "every column of that domain, with its values",
      OBJECT_EXTENSION: "every column, index and function that depends on it",
    }[removeType as string];
    const message = `DROP ${wordOf(removeType)} ${names.join(", ")} CASCADE drops ${what ?? "all that depends on it"}`;
    const advice = "drop what depends on it by its name first, then this without CASCADE";
    return [warn(severity, names.join(", "), message, advice)];
  },
};

function wordsOfObject(object: Node): string[] {
  if ("List" in object) return wordsOf(object.List.items);
  if ("TypeName" in object) return wordsOf(object.TypeName.names);
  if ("ObjectWithArgs" in object) return wordsOf(object.ObjectWithArgs.objname);
  return wordsOf([object]);
}

/** NAMEDATALEN, less the end of the string. */
const mostBytes = 63;
/** A name of so many letters may have too many bytes. */
const suspicious = 22;

/** Whether a word, or a name in quotes, is so long. It looks at every 22nd letter first: every statement is asked. */
function mayHaveLongName(text: string): boolean {
  for (let end = suspicious - 1; end < text.length;) {
    let at = end;
    while (at > end - suspicious && isOfWord(text.charCodeAt(at))) at--;
    if (at === end - suspicious) return true;
    end = at + suspicious;
  }
  return text.includes('"') && /"[^"]{22}/.test(text);
}

/** A letter, a digit, `_` or `$`. */
function isOfWord(code: number): boolean {
  return (
    code > 127 ||
    (code > 96 && code < 123) ||
    (code > 64 && code < 91) ||
    (code > 47 && code < 58) ||
    code === 95 ||
    code === 36
  );
}

const longName: Rule = {
  id: "long-name",
  about:
    "PostgreSQL cuts a name off after 63 bytes: two may become one, and the application knows another",
  example: `CREATE INDEX the_index_that_lets_readers_find_posts_by_their_title_in_every_language ON posts (title)`,
  lock: "SHARE",
  on: null,
  check({ statement }) {
    const { text } = statement;
    if (!mayHaveLongName(text)) return [];
    const long = statement.tokens().flatMap((token) => {
      const name = /^(?:"[^]*"|[A-Za-z_\u0080-\uFFFF][\w$\u0080-\uFFFF]*)$/.test(token.text)
        ? token.text.replaceAll(/^"|"$/g, "").replaceAll('""', '"')
        : "";
      return Buffer.byteLength(name) > mostBytes ? [name] : [];
    });
    return [...new Set(long)].map((name) => {
      const kept = Buffer.from(name)
        .subarray(0, mostBytes)
        .toString()
        .replace(/\uFFFD+$/, "");
      const message = `PostgreSQL cuts ${name} off after ${mostBytes} bytes: it is ${quoteName(kept)}`;
      return warn("warning", quoteName(name), message, "give it a shorter name");
    });
  },
};

export const nameRules: readonly Rule[] = [
  dropView,
  renameView,
  renameType,
  renameSchema,
  dropCascade,
  longName,
];
