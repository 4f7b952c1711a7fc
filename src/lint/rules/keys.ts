// What keeps rows apart, taken away: a primary key, a unique constraint or index, the identity of a row for replication.
// The version that still runs may rely on it, and so may foreign keys.

import type { AlterTableCmd, Constraint, Node } from "libpg-query";
import { quoteName, quoteNames, quoteRelation } from "../../postgres/names.ts";
import { relationOf, relationOfWords, wordsOf } from "../../postgres/tree.ts";
import { commandsOf } from "../locks.ts";
import type { Table, World } from "../world.ts";
import { isInUse, nameTable, type Problem, type Rule, type RuleContext } from "./rule.ts";

/** What is taken away. */
interface Key {
  readonly name: string;
  readonly kind: "primary" | "unique";
  /** Null where only its name is known. */
  readonly columns: readonly string[] | null;
  /** `DROP CONSTRAINT posts_pkey` */
  readonly what: string;
  readonly cascades: boolean;
}

const dropKey: Rule = {
  id: "drop-key",
  about:
    "DROP of a primary key, or of what else is UNIQUE: ON CONFLICT fails, and so may foreign keys and replication",
  example: "ALTER TABLE posts DROP CONSTRAINT posts_pkey",
  lock: "ACCESS EXCLUSIVE",
  on: ["AlterTableStmt", "DropStmt"],
  check(context) {
    const { node } = context.statement;
    if ("AlterTableStmt" in node) return checkCommands(context, node);
    if (!("DropStmt" in node) || node.DropStmt.removeType !== "OBJECT_INDEX") return [];
    const { objects = [], behavior, concurrent } = node.DropStmt;
    return objects.flatMap((object) => {
      const name = "List" in object ? relationOfWords(wordsOf(object.List.items)) : null;
      const table = name === null ? null : context.world.tableOfIndex(name);
      if (name === null || table === null || context.dropped.has(table.key)) return [];
      const what = `DROP INDEX ${concurrent === true ? "CONCURRENTLY " : ""}${quoteRelation(name)}`;
      const owner = table.constraints.find(
        (one) => one.name === name.name && ["primary", "unique", "other"].includes(one.kind),
      );
      if (owner !== undefined && isInUse(table)) {
        const message = `${what} fails: the constraint of that name needs it`;
        return [
          problem("error", table, message, "drop the constraint, and its index goes with it"),
        ];
      }
      if (!table.uniqueIndexes.has(name.name) || table.invalidIndexes.has(name.name)) return [];
      const columns = table.computedIndexes.get(name.name) ?? table.indexes.get(name.name) ?? [];
      const cascades = behavior === "DROP_CASCADE";
      return judge(
        context,
        table,
        { name: name.name, kind: "unique", columns, what, cascades },
        [],
      );
    });
  },
};

function checkCommands(context: RuleContext, node: Node): Problem[] {
  if (!("AlterTableStmt" in node) || node.AlterTableStmt.objtype !== "OBJECT_TABLE") return [];
  const commands = commandsOf(node);
  const target = nameTable(context.world, node.AlterTableStmt.relation);
  if (target === null || context.dropped.has(target.table.key)) return [];
  return commands.flatMap((command): Problem[] => {
    if (command.subtype === "AT_DropConstraint") {
      const key = findKey(target.table, command);
      return key === null ? [] : judge(context, target.table, key, commands);
    }
    const { def } = command;
    const identity =
      def !== undefined && "ReplicaIdentityStmt" in def ? def.ReplicaIdentityStmt : null;
    if (identity?.identity_type !== "n" || !isInUse(target.table)) return [];
    return [
      problem(
        "warning",
        target.table,
        `REPLICA IDENTITY NOTHING lets every UPDATE and DELETE of ${target.sql} fail while it is in a publication`,
        "take the table out of every publication first",
      ),
    ];
  });
}

/** The constraint that a command drops; null where it is no key, or not there. */
function findKey(table: Table, { name = "", behavior }: AlterTableCmd): Key | null {
  const facts = {
    name,
    what: `DROP CONSTRAINT ${quoteName(name)}`,
    cascades: behavior === "DROP_CASCADE",
  };
  const known = table.constraints.find((one) => one.name === name);
  if (known !== undefined) {
    const { kind, columns } = known;
    return kind === "primary" || kind === "unique" ? { ...facts, kind, columns } : null;
  }
  if (table.complete) return null;
  // The names that the server gives, and those that SQLAlchemy's documents recommend.
  if (/^pk_|_pk(?:ey)?$/i.test(name)) return { ...facts, kind: "primary", columns: null };
  if (/^u[qk]_|^uniq(?:ue)?_|_(?:key|u[qk]|uniq(?:ue)?)\d*$/i.test(name))
    return { ...facts, kind: "unique", columns: null };
  return null;
}

function judge(
  context: RuleContext,
  table: Table,
  key: Key,
  commands: readonly AlterTableCmd[],
): Problem[] {
  if (!isInUse(table)) return [];
  const { what, columns } = key;
  const sql = quoteRelation(table.name);
  const [referrer, ...others] = context.world.referrersOf(table, key.name);
  if (referrer !== undefined && !key.cascades) {
    const of = quoteRelation({ ...referrer.table, schema: schemaOf(referrer.table.schema) });
    const more = others.length === 0 ? "" : `, and ${others.length} more`;
    return [
      problem(
        "error",
        table,
        `${what} fails: the foreign key ${quoteName(referrer.name)} of ${of} needs it${more}`,
        "drop the foreign keys by their names first",
      ),
    ];
  }
  const heirs = findHeirs(context, table, key, commands);
  // By default a primary key is the identity of its table's rows.
  const identity =
    table.identityIndex === key.name ||
    (table.identityIndex === null && !table.complete && key.kind === "primary");
  const lost =
    identity && !heirs.some(({ primary }) => primary) && !setsIdentity(context, table, commands);
  const effects = [
    ...(heirs.length > 0
      ? []
      : [
          "nothing keeps duplicates out any more",
          `the version that still runs fails where it says ON CONFLICT${columns === null ? "" : ` (${quoteNames(columns)})`}`,
        ]),
    ...(lost ? [`every UPDATE and DELETE of ${sql} fails while it is in a publication`] : []),
  ];
  if (effects.length === 0) return [];
  const guess =
    columns === null
      ? `, by its name a ${key.kind === "primary" ? "primary key" : "unique constraint"},`
      : "";
  const last = effects.pop() ?? "";
  const advice = [
    ...(heirs.length > 0
      ? []
      : [
          "use two deploys: first a version that does not rely on it, then the one that drops it; to put another in its place, build the new index CONCURRENTLY, and say DROP CONSTRAINT … and ADD … USING INDEX … in one ALTER TABLE",
        ]),
    ...(lost ? ["if the table is in a publication, give it another REPLICA IDENTITY first"] : []),
  ].join("; ");
  const message = `after ${what}${guess} ${effects.length === 0 ? "" : `${effects.join(", ")}, and `}${last}`;
  return [problem("warning", table, message, advice)];
}

/** What keeps the same rows apart afterwards: it stands already, or the same transaction adds it. */
function findHeirs(
  { world, later }: RuleContext,
  table: Table,
  key: Key,
  commands: readonly AlterTableCmd[],
): { readonly primary: boolean }[] {
  const same = (columns: readonly string[]) => key.columns === null || isSame(columns, key.columns);
  const computed = (name: string) => table.computedIndexes.get(name);
  const standing = [
    ...table.constraints
      .filter(({ name, kind }) => name !== key.name && (kind === "primary" || kind === "unique"))
      .map(({ kind, columns }) => ({ primary: kind === "primary", columns })),
    ...[...table.uniqueIndexes]
      .filter((name) => name !== key.name && !table.invalidIndexes.has(name))
      // One with a condition keeps fewer rows apart.
      .filter((name) => (computed(name) === undefined) === (computed(key.name) === undefined))
      .map((name) => ({
        primary: false,
        columns: computed(name) ?? table.indexes.get(name) ?? [],
      })),
  ].filter(({ columns }) => key.columns !== null && same(columns));
  const ofTable = later.filter(
    ({ node }) =>
      ("AlterTableStmt" in node && isTable(world, table, node.AlterTableStmt.relation)) ||
      ("IndexStmt" in node && isTable(world, table, node.IndexStmt.relation)),
  );
  const added = [...commands, ...ofTable.flatMap(({ node }) => commandsOf(node))].flatMap(
    ({ def }) => (def !== undefined && "Constraint" in def ? [def.Constraint] : []),
  );
  return [
    ...standing,
    ...added
      .filter(({ contype }) => contype === "CONSTR_PRIMARY" || contype === "CONSTR_UNIQUE")
      .filter((one) => same(columnsOf(table, one)))
      .map(({ contype }) => ({ primary: contype === "CONSTR_PRIMARY" })),
    ...ofTable
      .filter(
        ({ node }) =>
          "IndexStmt" in node &&
          node.IndexStmt.unique === true &&
          same(
            (node.IndexStmt.indexParams ?? []).flatMap((one) =>
              "IndexElem" in one && one.IndexElem.name !== undefined ? [one.IndexElem.name] : [],
            ),
          ),
      )
      .map(() => ({ primary: false })),
  ];
}

function columnsOf(table: Table, { indexname, keys }: Constraint): readonly string[] {
  return indexname === undefined ? wordsOf(keys) : (table.indexes.get(indexname) ?? []);
}

/** Whether the same transaction sets another identity for replication afterwards. */
function setsIdentity(
  { later, world }: RuleContext,
  table: Table,
  commands: readonly AlterTableCmd[],
): boolean {
  const after = later.flatMap(({ node }) =>
    "AlterTableStmt" in node && isTable(world, table, node.AlterTableStmt.relation)
      ? commandsOf(node)
      : [],
  );
  return [...commands, ...after].some(({ subtype }) => subtype === "AT_ReplicaIdentity");
}

function isTable(world: World, table: Table, range: Parameters<typeof relationOf>[0]): boolean {
  const name = relationOf(range);
  return name !== null && world.table(name).key === table.key;
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  return some.toSorted().join("\0") === others.toSorted().join("\0");
}

/** Nobody writes `public.` */
function schemaOf(schema: string): string | null {
  return schema === "public" ? null : schema;
}

function problem(
  severity: Problem["severity"],
  table: Table,
  message: string,
  advice: string,
): Problem {
  return {
    severity,
    object: quoteRelation(table.name),
    message,
    work: null,
    advice,
    safe: [],
    unknown: [],
  };
}

export const keyRules: readonly Rule[] = [dropKey];
