// What is known of the tables at each statement of a script: the catalog, and what the statements before it changed.
// A table that the script creates is empty, and nobody uses it yet; a check that it validates is valid.

import type { ColumnDef, Constraint, Node, ObjectType, RangeVar } from "libpg-query";
import type { SqlParser } from "../postgres/parser.ts";
import type { Catalog, Referrer, RelationFacts, StorageFacts } from "./catalog.ts";
import { nameObject, type RelationName, type SqlType } from "../postgres/names.ts";
import { relationOf, relationOfWords, typeOf, wordsOf } from "../postgres/tree.ts";
import type { Statement } from "./statements.ts";

interface Column {
  readonly name: string;
  /** Null where it is not known. */
  readonly type: SqlType | null;
  readonly notNull: boolean;
  /** By the script: no version of the application uses it yet. */
  readonly added: boolean;
}

export interface TableConstraint {
  readonly name: string | null;
  readonly kind: "check" | "foreign" | "unique" | "primary" | "not-null" | "other";
  readonly valid: boolean;
  readonly columns: readonly string[];
  /** The other table of a foreign key. */
  readonly references: RelationName | null;
  /** A check's condition. */
  readonly expression: Node | null;
}

export interface Table {
  readonly key: string;
  /** As the catalog has it, or as the script names it. */
  readonly name: RelationName;
  readonly kind: RelationFacts["kind"] | "unknown";
  /** The statement that creates it, where the script does. */
  readonly createdBy: Statement | null;
  readonly size: Size;
  /** Null where it is not known. */
  readonly storage: StorageFacts | null;
  /** Whether `columns` and `constraints` are all that there are. */
  readonly complete: boolean;
  readonly columns: ReadonlyMap<string, Column>;
  readonly constraints: readonly TableConstraint[];
  readonly indexes: ReadonlyMap<string, readonly string[]>;
  /** The indexes with an expression or a condition, and all the columns that each reads. */
  readonly computedIndexes: ReadonlyMap<string, readonly string[]>;
  /** Those that a failed build has left. */
  readonly invalidIndexes: ReadonlySet<string>;
  readonly uniqueIndexes: ReadonlySet<string>;
  /** The index by which logical replication finds a row; null where there is none, or it is not known. */
  readonly identityIndex: string | null;
  /** The foreign keys that need one of its indexes; of those that the script adds none is known. */
  readonly referrers: readonly Referrer[];
  /** Whether a row security policy is on it; null where that is not known. */
  readonly policies: boolean | null;
  /** Of a partitioned table: the partition of all other rows. */
  readonly defaultPartition: RelationName | null;
}

/** Rows and bytes, roughly. */
interface Size {
  readonly rows: number | null;
  /** `rows` is what the pages could hold at most: the table was never analysed. */
  readonly atMost: boolean;
  readonly bytes: number | null;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };
type TableState = Omit<
  Writable<Table>,
  "columns" | "constraints" | "indexes" | "computedIndexes" | "invalidIndexes" | "uniqueIndexes"
> & {
  invalidIndexes: Set<string>;
  uniqueIndexes: Set<string>;
  columns: Map<string, Column>;
  constraints: TableConstraint[];
  indexes: Map<string, readonly string[]>;
  computedIndexes: Map<string, readonly string[]>;
};

const unknownSize: Size = { rows: null, atMost: false, bytes: null };
const emptySize: Size = { rows: 0, atMost: false, bytes: 0 };

export class World {
  readonly catalog: Catalog | null;
  readonly #parser: SqlParser;
  #searchPath: readonly string[];
  #timeZone: string | null;
  /** What SET LOCAL hides until the transaction ends. */
  #beforeLocal: { searchPath: readonly string[]; timeZone: string | null } | null = null;
  readonly #tables = new Map<string, TableState>();
  /** An index's key, and its table's. */
  readonly #indexTables = new Map<string, string>();
  readonly #dropped = new Set<string>();
  /** Functions that the script creates. */
  readonly #volatilities = new Map<string, "i" | "s" | "v">();
  readonly #constrainedDomains = new Map<string, boolean>();
  /** Types and schemas that the script creates. */
  readonly #created = new Set<string>();

  constructor(catalog: Catalog | null, parser: SqlParser) {
    this.catalog = catalog;
    this.#parser = parser;
    this.#searchPath = catalog?.searchPath ?? ["public"];
    this.#timeZone = catalog?.timeZone ?? null;
    for (const facts of catalog?.relations ?? []) {
      const key = keyOf(facts);
      if (facts.table !== null) this.#indexTables.set(key, keyOf(facts.table));
      else this.#tables.set(key, this.#fromFacts(facts));
    }
  }

  /** The major version; null without a database. */
  get serverMajor(): number | null {
    return this.catalog === null ? null : Math.floor(this.catalog.serverVersion / 10_000);
  }

  /** The session's time zone; null where it is not known. */
  get timeZone(): string | null {
    return this.#timeZone;
  }

  /** The table that a statement names. An unknown one exists too, with nothing known of it. */
  table(range: RangeVar | RelationName): Table {
    return this.#resolve(nameOf(range));
  }

  /** The table of an index, or null where the index is unknown. */
  tableOfIndex(name: RelationName): Table | null {
    for (const schema of this.#schemasFor(name)) {
      const key = keyOf({ schema, name: name.name });
      const table = this.#indexTables.get(key);
      if (table !== undefined && !this.#dropped.has(key)) return this.#tables.get(table) ?? null;
    }
    return null;
  }

  /** The foreign keys that need this index of the table, and that the script has not dropped. */
  referrersOf(table: Table, index: string): Referrer[] {
    return table.referrers.filter((one) => {
      const key = keyOf(one.table);
      const other = this.#tables.get(key);
      if (one.index !== index || this.#dropped.has(key)) return false;
      return (
        other === undefined ||
        !other.complete ||
        other.constraints.some(({ name }) => name === one.name)
      );
    });
  }

  /** Null where it is not known. */
  volatilityOf(functionName: string): "i" | "s" | "v" | null {
    return this.#volatilities.get(functionName) ?? this.catalog?.volatilities[functionName] ?? null;
  }

  /** Whether the type is a domain with a constraint; null where it is not known. */
  isConstrainedDomain({ name, schema }: SqlType): boolean | null {
    const known = this.#constrainedDomains.get(name);
    if (known !== undefined) return known;
    const facts = this.catalog?.types.filter((type) => type.name === name && type.kind === "d");
    if (facts !== undefined) return facts.some(({ constrained }) => constrained);
    return schema === null && builtInTypes.has(name) ? false : null;
  }

  /** The tables that store values of the domain, or of a domain above it, as far as they are known. */
  tablesOfDomain(name: string): Table[] {
    const names = new Set([name]);
    // A set that grows while it is walked is walked to its end.
    for (const below of names)
      for (const type of this.catalog?.types ?? [])
        if (type.kind === "d" && type.base === below) names.add(type.name);
    return [...this.#tables.values()].filter(
      ({ kind, columns }) =>
        // Of a partitioned table the partitions are locked.
        kind !== "p" &&
        [...columns.values()].some(
          ({ type }) => type !== null && !type.array && names.has(type.name),
        ),
    );
  }

  /** Whether the script has created the type, or the schema: no version of the application uses it yet. */
  isNew(kind: "type" | "schema", name: string): boolean {
    return this.#created.has(`${kind} ${name}`);
  }

  /** What the values of a domain are: those of its base type. */
  baseOf(type: SqlType): SqlType {
    const [facts, ...others] =
      this.catalog?.types.filter(({ name, kind }) => name === type.name && kind === "d") ?? [];
    if (facts === undefined || others.length > 0 || facts.base === null) return type;
    return { ...type, name: facts.base, schema: null };
  }

  /** Whether a value of one type is one of the other as it is, without a length. */
  isCoercible(from: string, to: string): boolean {
    return (this.catalog?.coercions ?? builtInCoercions).includes(`${from} ${to}`);
  }

  /** SET LOCAL ends. */
  endTransaction(): void {
    if (this.#beforeLocal === null) return;
    ({ searchPath: this.#searchPath, timeZone: this.#timeZone } = this.#beforeLocal);
    this.#beforeLocal = null;
  }

  /** The tables that the script created may be in use by now, and their sizes are unknown. */
  forgetCreation(): void {
    for (const table of this.#tables.values()) {
      if (table.createdBy === null) continue;
      table.createdBy = null;
      table.size = unknownSize;
      for (const [name, column] of table.columns)
        table.columns.set(name, { ...column, added: false });
    }
    this.#created.clear();
  }

  /** Nothing is known any more: something that nobody has read may have changed it. */
  forget(): void {
    for (const known of [this.#tables, this.#indexTables, this.#dropped, this.#volatilities])
      known.clear();
    this.#constrainedDomains.clear();
    this.#created.clear();
  }

  /** Takes in what the statement changes. */
  apply(statement: Statement): void {
    if (statement.opaque) return;
    const { node } = statement;
    if ("CreateStmt" in node) {
      const { relation, tableElts = [], if_not_exists: ifNotExists } = node.CreateStmt;
      this.#create(statement, relation, ifNotExists === true, (table) => {
        table.complete = node.CreateStmt.inhRelations === undefined;
        for (const element of tableElts) {
          if ("ColumnDef" in element) addColumn(table, element.ColumnDef);
          else if ("Constraint" in element) addConstraint(table, element.Constraint);
          else table.complete = false;
        }
      });
    } else if ("CreateTableAsStmt" in node) {
      const { into, if_not_exists: ifNotExists } = node.CreateTableAsStmt;
      this.#create(statement, into?.rel, ifNotExists === true, (table) => {
        table.size = unknownSize;
        table.complete = false;
      });
    } else if ("ViewStmt" in node) {
      const { view, replace } = node.ViewStmt;
      this.#create(statement, view, replace === true, (table) => {
        table.kind = "v";
        table.complete = false;
      });
    } else if ("CreatePolicyStmt" in node) {
      if (node.CreatePolicyStmt.table !== undefined)
        this.#resolve(nameOf(node.CreatePolicyStmt.table)).policies = true;
    } else if ("CreateSchemaStmt" in node) {
      this.#created.add(`schema ${node.CreateSchemaStmt.schemaname ?? ""}`);
    } else if ("CreateEnumStmt" in node) {
      this.#addType(wordsOf(node.CreateEnumStmt.typeName).at(-1));
    } else if ("CompositeTypeStmt" in node) {
      this.#addType(node.CompositeTypeStmt.typevar?.relname);
    } else if ("CreateRangeStmt" in node) {
      this.#addType(wordsOf(node.CreateRangeStmt.typeName).at(-1));
    } else if ("IndexStmt" in node) {
      const { idxname, relation, indexParams = [], whereClause } = node.IndexStmt;
      if (relation === undefined || idxname === undefined) return;
      const table = this.#resolve(nameOf(relation));
      const columns = indexParams.flatMap((one) =>
        "IndexElem" in one && one.IndexElem.name !== undefined ? [one.IndexElem.name] : [],
      );
      table.indexes.set(idxname, columns);
      if (node.IndexStmt.unique === true) table.uniqueIndexes.add(idxname);
      if (whereClause !== undefined || columns.length < indexParams.length)
        table.computedIndexes.set(idxname, findColumns([indexParams, whereClause]));
      const key = keyOf({ schema: table.name.schema, name: idxname });
      this.#indexTables.set(key, table.key);
      this.#dropped.delete(key);
    } else if ("AlterTableStmt" in node) {
      this.#alter(node.AlterTableStmt.relation, node.AlterTableStmt.cmds ?? []);
    } else if ("RenameStmt" in node) {
      const { renameType, relation, subname, newname } = node.RenameStmt;
      if (relation === undefined || newname === undefined) return;
      if (renameType === "OBJECT_INDEX") {
        const of = this.tableOfIndex(nameOf(relation));
        if (of !== null) this.#renameIndex(this.#resolve(of.name), relation.relname ?? "", newname);
        return;
      }
      const table = this.#resolve(nameOf(relation));
      if (isRelation(renameType)) this.#move(table, { ...table.name, name: newname });
      if (renameType === "OBJECT_COLUMN" && subname !== undefined) {
        const column = table.columns.get(subname);
        table.columns.delete(subname);
        if (column !== undefined) table.columns.set(newname, { ...column, name: newname });
        const renamed = (names: readonly string[]) =>
          names.map((name) => (name === subname ? newname : name));
        for (const indexes of [table.indexes, table.computedIndexes])
          for (const [name, columns] of indexes) indexes.set(name, renamed(columns));
        table.constraints = table.constraints.map((one) => ({
          ...one,
          columns: renamed(one.columns),
          expression: one.expression === null ? null : renameIn(one.expression, subname, newname),
        }));
      }
      if (renameType === "OBJECT_TABCONSTRAINT") {
        table.constraints = table.constraints.map((one) =>
          one.name === subname ? { ...one, name: newname } : one,
        );
        this.#renameIndex(table, subname ?? "", newname);
      }
    } else if ("AlterObjectSchemaStmt" in node) {
      const { objectType, relation, newschema } = node.AlterObjectSchemaStmt;
      if (!isRelation(objectType) || relation === undefined || newschema === undefined) return;
      const table = this.#resolve(nameOf(relation));
      this.#move(table, { ...table.name, schema: newschema });
    } else if ("DropStmt" in node) {
      const { removeType, objects = [] } = node.DropStmt;
      for (const object of objects) {
        if (!("List" in object)) continue;
        const name = relationOfWords(wordsOf(object.List.items));
        if (name === null) continue;
        if (removeType === "OBJECT_INDEX") {
          const table = this.tableOfIndex(name);
          if (table !== null) removeIndex(this.#resolve(table.name), name.name);
          for (const schema of this.#schemasFor(name))
            this.#dropped.add(keyOf({ schema, name: name.name }));
        } else if (removeType === "OBJECT_POLICY") {
          const table = relationOfWords(wordsOf(object.List.items).slice(0, -1));
          if (table !== null) this.#resolve(table).policies = null;
        } else if (isRelation(removeType)) {
          const { key } = this.#resolve(name);
          this.#tables.delete(key);
          this.#dropped.add(key);
        }
      }
    } else if ("InsertStmt" in node) {
      const { relation, selectStmt } = node.InsertStmt;
      if (relation === undefined) return;
      const values =
        selectStmt !== undefined && "SelectStmt" in selectStmt
          ? (selectStmt.SelectStmt.valuesLists?.length ?? null)
          : 1;
      this.#grow(nameOf(relation), values);
    } else if ("CopyStmt" in node) {
      if (node.CopyStmt.is_from === true && node.CopyStmt.relation !== undefined)
        this.#grow(nameOf(node.CopyStmt.relation), null);
    } else if ("TruncateStmt" in node) {
      for (const one of node.TruncateStmt.relations ?? []) {
        if ("RangeVar" in one) this.#resolve(nameOf(one.RangeVar)).size = emptySize;
      }
    } else if ("VariableSetStmt" in node) {
      const { kind, name, args = [] } = node.VariableSetStmt;
      const words = args.flatMap((one) =>
        "A_Const" in one && one.A_Const.sval !== undefined ? [one.A_Const.sval.sval ?? ""] : [],
      );
      const reset = kind !== "VAR_SET_VALUE";
      if (node.VariableSetStmt.is_local === true) {
        this.#beforeLocal ??= { searchPath: this.#searchPath, timeZone: this.#timeZone };
      }
      if (name === "search_path") {
        this.#searchPath = reset ? (this.catalog?.searchPath ?? ["public"]) : words;
      }
      if (name === "timezone")
        this.#timeZone = reset ? (this.catalog?.timeZone ?? null) : (words[0] ?? null);
    } else if ("CreateFunctionStmt" in node) {
      const name = wordsOf(node.CreateFunctionStmt.funcname).at(-1);
      const option = (node.CreateFunctionStmt.options ?? [])
        .map((one) => ("DefElem" in one ? one.DefElem : null))
        .find((one) => one?.defname === "volatility")?.arg;
      const word =
        option !== undefined && "String" in option ? (option.String.sval ?? "") : "volatile";
      const letters = { immutable: "i", stable: "s", volatile: "v" } as const;
      if (name !== undefined)
        this.#volatilities.set(name, letters[word as keyof typeof letters] ?? "v");
    } else if ("CreateDomainStmt" in node) {
      const name = wordsOf(node.CreateDomainStmt.domainname).at(-1);
      const constrained = (node.CreateDomainStmt.constraints ?? []).some(
        (one) =>
          "Constraint" in one &&
          (one.Constraint.contype === "CONSTR_CHECK" ||
            one.Constraint.contype === "CONSTR_NOTNULL"),
      );
      if (name !== undefined) this.#constrainedDomains.set(name, constrained);
      this.#addType(name);
    }
  }

  #addType(name: string | undefined): void {
    if (name !== undefined) this.#created.add(`type ${name}`);
  }

  #schemasFor({ schema }: RelationName): readonly string[] {
    return schema === null ? this.#searchPath : [schema];
  }

  #resolve(name: RelationName): TableState {
    const schemas = this.#schemasFor(name);
    for (const schema of schemas) {
      const table = this.#tables.get(keyOf({ schema, name: name.name }));
      if (table !== undefined) return table;
    }
    // The application may set a search path of its own: where one table has the name, that is it.
    const [elsewhere, ...others] = [...this.#tables.values()].filter(
      (table) => name.schema === null && table.kind !== "unknown" && table.name.name === name.name,
    );
    if (elsewhere !== undefined && others.length === 0) return elsewhere;
    const key = keyOf({ schema: schemas[0] ?? "public", name: name.name });
    const table: TableState = {
      key,
      name: name.schema === "public" ? { ...name, schema: null } : name,
      kind: "unknown",
      createdBy: null,
      size: unknownSize,
      storage: null,
      complete: false,
      columns: new Map(),
      constraints: [],
      indexes: new Map(),
      computedIndexes: new Map(),
      invalidIndexes: new Set(),
      uniqueIndexes: new Set(),
      identityIndex: null,
      referrers: [],
      policies: null,
      defaultPartition: null,
    };
    this.#tables.set(key, table);
    return table;
  }

  #create(
    statement: Statement,
    range: RangeVar | undefined,
    ifNotExists: boolean,
    fill: (table: TableState) => void,
  ): void {
    const name = relationOf(range);
    if (name === null) return;
    const temporary = range?.relpersistence === "t";
    const schema = name.schema ?? (temporary ? "pg_temp" : (this.#searchPath[0] ?? "public"));
    const key = keyOf({ schema, name: name.name });
    // It may have been there before; without a catalog there is no telling.
    const there = this.#tables.get(key);
    if (ifNotExists && (there !== undefined || this.catalog === null)) return;
    const table: TableState = {
      key,
      name: { schema: name.schema, name: name.name },
      kind: "r",
      createdBy: statement,
      size: emptySize,
      storage: null,
      complete: true,
      columns: new Map(),
      constraints: [],
      indexes: new Map(),
      computedIndexes: new Map(),
      invalidIndexes: new Set(),
      uniqueIndexes: new Set(),
      identityIndex: null,
      referrers: [],
      policies: false,
      defaultPartition: null,
    };
    fill(table);
    this.#tables.set(key, table);
    if (temporary) this.#searchPath = ["pg_temp", ...this.#searchPath];
  }

  #move(table: TableState, name: RelationName): void {
    this.#tables.delete(table.key);
    const schema = name.schema ?? table.key.split("\0")[0] ?? "public";
    table.key = keyOf({ schema, name: name.name });
    table.name = name;
    this.#tables.set(table.key, table);
  }

  #renameIndex(table: TableState, from: string, to: string): void {
    for (const indexes of [table.indexes, table.computedIndexes]) {
      const columns = indexes.get(from);
      if (indexes.delete(from) && columns !== undefined) indexes.set(to, columns);
    }
    for (const names of [table.uniqueIndexes, table.invalidIndexes])
      if (names.delete(from)) names.add(to);
    if (table.identityIndex === from) table.identityIndex = to;
    table.referrers = table.referrers.map((one) =>
      one.index === from ? { ...one, index: to } : one,
    );
    const [old, key] = [from, to].map((name) => keyOf({ schema: table.name.schema, name }));
    if (old === undefined || key === undefined || !this.#indexTables.delete(old)) return;
    this.#indexTables.set(key, table.key);
    this.#dropped.delete(key);
  }

  #grow(name: RelationName, rows: number | null): void {
    const table = this.#resolve(name);
    // Against a live table's size what a migration adds does not count.
    if (table.createdBy === null) return;
    const sum = rows === null || table.size.rows === null ? null : table.size.rows + rows;
    table.size = { rows: sum, atMost: false, bytes: null };
  }

  #alter(range: RangeVar | undefined, commands: readonly Node[]): void {
    const name = relationOf(range);
    if (name === null) return;
    const table = this.#resolve(name);
    for (const node of commands) {
      if (!("AlterTableCmd" in node)) continue;
      const { name: what, def } = node.AlterTableCmd;
      // Most of the sixty change nothing that matters here.
      const subtype: string | undefined = node.AlterTableCmd.subtype;
      const column = what === undefined ? undefined : table.columns.get(what);
      switch (subtype ?? "") {
        case "AT_AddColumn":
          if (def !== undefined && "ColumnDef" in def) addColumn(table, def.ColumnDef);
          break;
        case "AT_DropColumn":
          table.columns.delete(what ?? "");
          table.constraints = table.constraints.filter((one) => !one.columns.includes(what ?? ""));
          break;
        case "AT_AlterColumnType":
          if (what !== undefined && def !== undefined && "ColumnDef" in def) {
            table.columns.set(what, {
              name: what,
              type: typeOf(def.ColumnDef.typeName),
              notNull: column?.notNull ?? false,
              added: column?.added ?? false,
            });
          }
          break;
        case "AT_SetNotNull":
        case "AT_DropNotNull":
          if (what !== undefined) {
            const notNull = subtype === "AT_SetNotNull";
            const { type = null, added = false } = column ?? {};
            table.columns.set(what, { name: what, type, notNull, added });
          }
          break;
        case "AT_AddConstraint":
          if (def !== undefined && "Constraint" in def) {
            const { conname, indexname } = def.Constraint;
            addConstraint(table, def.Constraint);
            if (conname !== undefined && indexname !== undefined)
              this.#renameIndex(table, indexname, conname);
          }
          break;
        case "AT_ValidateConstraint": {
          const validated = table.constraints.find((one) => one.name === what);
          table.constraints = table.constraints.map((one) =>
            one.name === what ? { ...one, valid: true } : one,
          );
          if (validated?.kind === "not-null") setNotNull(table, validated.columns);
          break;
        }
        case "AT_SetLogged":
        case "AT_SetUnLogged":
        case "AT_SetAccessMethod":
        case "AT_SetTableSpace":
          table.storage = null;
          break;
        case "AT_DropConstraint":
          table.constraints = table.constraints.filter((one) => one.name !== what);
          removeIndex(table, what ?? "");
          break;
        case "AT_ReplicaIdentity":
          if (def !== undefined && "ReplicaIdentityStmt" in def)
            table.identityIndex = def.ReplicaIdentityStmt.name ?? null;
          break;
        default:
      }
    }
  }

  #fromFacts(facts: RelationFacts): TableState {
    const table: TableState = {
      key: keyOf(facts),
      // Nobody writes `public.`
      name: { schema: facts.schema === "public" ? null : facts.schema, name: facts.name },
      kind: facts.kind,
      createdBy: null,
      size: sumLeaves(facts, (this.catalog?.serverVersion ?? 0) < 140_000),
      storage: facts.storage,
      complete: true,
      columns: new Map(
        facts.columns.map(({ name, type, typeSchema, modifiers, notNull }) => {
          const array = type.startsWith("_");
          const schema = typeSchema === "pg_catalog" ? null : typeSchema;
          const plain = { name: array ? type.slice(1) : type, schema, modifiers, array };
          return [name, { name, type: plain, notNull, added: false }];
        }),
      ),
      constraints: [],
      indexes: new Map(facts.indexes.map(({ name, columns }) => [name, columns])),
      computedIndexes: new Map(
        facts.indexes.flatMap(({ name, reads }) => (reads === null ? [] : [[name, reads]])),
      ),
      invalidIndexes: new Set(facts.indexes.flatMap(({ name, valid }) => (valid ? [] : [name]))),
      uniqueIndexes: new Set(facts.indexes.flatMap(({ name, unique }) => (unique ? [name] : []))),
      identityIndex: facts.indexes.find(({ identity }) => identity)?.name ?? null,
      referrers: facts.referrers,
      policies: facts.policies,
      defaultPartition: facts.defaultPartition,
    };
    for (const { name, kind, valid, columns, references, definition } of facts.constraints) {
      if (definition === null && kind === "c") table.complete = false;
      table.constraints.push({
        name,
        kind: constraintKinds[kind] ?? "other",
        valid,
        columns,
        references,
        expression: definition === null ? null : this.#parseCheck(definition),
      });
    }
    return table;
  }

  #parseCheck(definition: string): Node | null {
    const [parsed] = this.#parser.parse(`alter table t add ${definition}`);
    const commands =
      parsed !== undefined && "AlterTableStmt" in parsed.node
        ? (parsed.node.AlterTableStmt.cmds ?? [])
        : [];
    const [command] = commands;
    const def =
      command !== undefined && "AlterTableCmd" in command ? command.AlterTableCmd.def : undefined;
    return def !== undefined && "Constraint" in def ? (def.Constraint.raw_expr ?? null) : null;
  }
}

/** Whether an object of this type is found by a relation's name. */
export function isRelation(type: ObjectType | undefined): boolean {
  return (
    type === "OBJECT_TABLE" ||
    type === "OBJECT_VIEW" ||
    type === "OBJECT_MATVIEW" ||
    type === "OBJECT_FOREIGN_TABLE"
  );
}

const constraintKinds: Readonly<Record<string, TableConstraint["kind"]>> = {
  c: "check",
  f: "foreign",
  u: "unique",
  p: "primary",
  n: "not-null",
};

/** Those that a statement can name without a schema, and that are no domains. */
const builtInTypes = new Set(
  "int2 int4 int8 float4 float8 numeric bool text varchar bpchar char bytea date time timetz timestamp timestamptz interval uuid json jsonb xml inet cidr macaddr bit varbit money name oid point line box circle path polygon tsvector tsquery serial bigserial smallserial serial4 serial8 serial2 int4range int8range numrange tsrange tstzrange daterange".split(
    " ",
  ),
);

/** Those that columns have, where there is no catalog. */
const builtInCoercions = [
  "varchar text",
  "text varchar",
  "cidr inet",
  "xml text",
  "xml varchar",
  "int4 oid",
  "oid int4",
  "bit varbit",
  "varbit bit",
  "citext text",
  "text citext",
  "citext varchar",
  "varchar citext",
];

function keyOf({ schema, name }: { schema: string | null; name: string }): string {
  return `${schema ?? "public"}\0${name}`;
}

function nameOf(range: RangeVar | RelationName): RelationName {
  if ("name" in range && "schema" in range) return range;
  return relationOf(range) ?? { schema: null, name: "" };
}

function removeIndex(table: TableState, name: string): void {
  for (const names of [
    table.indexes,
    table.computedIndexes,
    table.uniqueIndexes,
    table.invalidIndexes,
  ])
    names.delete(name);
  if (table.identityIndex === name) table.identityIndex = null;
}

function setNotNull(table: TableState, columns: readonly string[]): void {
  for (const name of columns) {
    const { type = null, added = false } = table.columns.get(name) ?? {};
    table.columns.set(name, { name, type, notNull: true, added });
  }
}

function addColumn(table: TableState, definition: ColumnDef): void {
  const { colname: name, typeName, constraints = [] } = definition;
  if (name === undefined) return;
  table.columns.set(name, { name, type: typeOf(typeName), notNull: false, added: true });
  for (const one of constraints) {
    if ("Constraint" in one) addConstraint(table, one.Constraint, name);
  }
}

function addConstraint(table: TableState, constraint: Constraint, ofColumn?: string): void {
  const {
    contype,
    conname,
    indexname,
    skip_validation: notValid,
    raw_expr: expression,
  } = constraint;
  const words = wordsOf(contype === "CONSTR_FOREIGN" ? constraint.fk_attrs : constraint.keys);
  const byIndex = indexname === undefined ? undefined : table.indexes.get(indexname);
  const columns = ofColumn === undefined ? (byIndex ?? words) : [ofColumn];
  const kinds: Readonly<Record<string, TableConstraint["kind"]>> = {
    CONSTR_CHECK: "check",
    CONSTR_FOREIGN: "foreign",
    CONSTR_UNIQUE: "unique",
    CONSTR_PRIMARY: "primary",
    CONSTR_NOTNULL: "not-null",
    CONSTR_EXCLUSION: "other",
  };
  const kind = kinds[contype ?? ""];
  // A default, an identity: no constraint but by its grammar. An identity is never null.
  if (kind === undefined) {
    if (contype === "CONSTR_IDENTITY") setNotNull(table, columns);
    return;
  }
  const valid = notValid !== true;
  if (valid && (kind === "not-null" || kind === "primary")) setNotNull(table, columns);
  table.constraints.push({
    name: conname ?? indexname ?? nameConstraint(table, kind, columns, expression),
    kind,
    valid,
    columns,
    references: kind === "foreign" ? relationOf(constraint.pktable) : null,
    expression: kind === "check" ? (expression ?? null) : null,
  });
}

/** The server's name for a constraint that has none; null where it has another rule for it. */
function nameConstraint(
  table: TableState,
  kind: TableConstraint["kind"],
  columns: readonly string[],
  expression: Node | undefined,
): string | null {
  // A check's is of its column, where it reads but one.
  const read = kind === "check" ? [...new Set(findColumns(expression))] : columns;
  const label = { check: "check", foreign: "fkey", unique: "key", primary: "pkey" }[kind as string];
  if (label === undefined) return null;
  const own = kind === "primary" || (kind === "check" && read.length !== 1) ? [] : read;
  const taken = new Set(table.constraints.map(({ name }) => name));
  for (let number = 0; ; number++) {
    const name = nameObject(table.name.name, own, `${label}${number === 0 ? "" : number}`);
    if (!taken.has(name)) return name;
  }
}

/** The columns that an index reads: its keys, and what its expressions and its condition name. */
function findColumns(tree: unknown): string[] {
  if (typeof tree !== "object" || tree === null) return [];
  return Object.entries(tree).flatMap(([key, inner]): string[] => {
    if (key === "ColumnRef") return wordsOf((inner as { fields?: Node[] }).fields).slice(-1);
    const { name } = key === "IndexElem" ? (inner as { name?: string }) : {};
    return [...(name === undefined ? [] : [name]), ...findColumns(inner)];
  });
}

/** The condition with another name for a column. */
function renameIn(expression: Node, from: string, to: string): Node {
  return JSON.parse(
    JSON.stringify(expression).replaceAll(
      `{"String":{"sval":${JSON.stringify(from)}}}`,
      `{"String":{"sval":${JSON.stringify(to)}}}`,
    ),
  ) as Node;
}

const pageBytes = 8192;
/** MaxHeapTuplesPerPage: so many rows of no width fit on a page. */
const mostRowsOnPage = 291;

/** As the planner estimates: the density that was last recorded, times today's pages. */
function sumLeaves({ leaves }: RelationFacts, zeroIsUnknown: boolean): Size {
  let [rows, bytes, atMost] = [0 as number | null, 0 as number | null, false];
  for (const leaf of leaves) {
    const pages = leaf.bytes === null ? leaf.pages : Math.ceil(leaf.bytes / pageBytes);
    const unknown = leaf.tuples < 0 || (leaf.pages === 0 && (zeroIsUnknown || pages > 0));
    if (!unknown) {
      const estimate = leaf.pages === 0 ? leaf.tuples : (leaf.tuples / leaf.pages) * pages;
      rows = rows === null ? null : rows + Math.round(estimate);
    } else if (leaf.bytes === null) [rows, bytes] = [null, null];
    else {
      rows = rows === null ? null : rows + pages * mostRowsOnPage;
      atMost ||= pages > 0;
    }
    if (bytes !== null) bytes += pages * pageBytes;
  }
  return { rows, atMost: rows !== null && atMost, bytes };
}
