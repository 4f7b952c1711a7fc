// What the live database knows of the tables, types and functions that a script names: sizes, columns, constraints,
// indexes. One read-only query of the system catalog, which waits a second for a lock that another session holds.

import type { Node } from "libpg-query";
import type { Connection } from "../postgres/connection.ts";
import { isOutOfTime } from "../postgres/errors.ts";
import type { Statement } from "./statements.ts";
import { wordsOf } from "../postgres/tree.ts";

export interface Catalog {
  /** `server_version_num`, 160004 of 16.4 */
  readonly serverVersion: number;
  /** The schemas in which a name without one is looked for. */
  readonly searchPath: readonly string[];
  readonly timeZone: string;
  readonly relations: readonly RelationFacts[];
  readonly types: readonly TypeFacts[];
  /** `text citext`: the casts that leave the values as they are. */
  readonly coercions: readonly string[];
  /** By name: of several functions of a name, the most volatile counts. */
  readonly volatilities: Readonly<Record<string, "i" | "s" | "v">>;
}

export interface RelationFacts {
  readonly schema: string;
  readonly name: string;
  /** `pg_class.relkind` */
  readonly kind: "r" | "p" | "m" | "v" | "f" | "i" | "I" | "S";
  /** An index's table. */
  readonly table: { readonly schema: string; readonly name: string } | null;
  /** A table's own storage, or that of its partitions. */
  readonly leaves: readonly LeafFacts[];
  readonly columns: readonly ColumnFacts[];
  readonly constraints: readonly ConstraintFacts[];
  readonly indexes: readonly IndexFacts[];
  /** The foreign keys of tables, this one too, that need one of its indexes. */
  readonly referrers: readonly Referrer[];
  readonly storage: StorageFacts;
  /** Whether a row security policy is on it. */
  readonly policies: boolean;
  /** Of a partitioned table: the partition of all other rows. */
  readonly defaultPartition: { readonly schema: string; readonly name: string } | null;
}

/** A foreign key, its table, and the index of the other table that it needs. */
export interface Referrer {
  readonly name: string;
  readonly table: { readonly schema: string; readonly name: string };
  readonly index: string;
}

/** Where a table's rows are. */
export interface StorageFacts {
  readonly logged: boolean;
  /** Null for a table that has no rows of its own. */
  readonly accessMethod: string | null;
  readonly tablespace: string;
}

interface LeafFacts {
  /** −1: never analysed. */
  readonly tuples: number;
  readonly pages: number;
  /** Now, not when it was last analysed; null where another session has locked it. */
  readonly bytes: number | null;
}

interface ColumnFacts {
  readonly name: string;
  /** `pg_type.typname` and its modifiers: see SqlType. */
  readonly type: string;
  readonly typeSchema: string;
  readonly modifiers: readonly number[];
  readonly notNull: boolean;
}

interface ConstraintFacts {
  readonly name: string;
  readonly kind: "c" | "f" | "n" | "p" | "u" | "x" | "t";
  readonly valid: boolean;
  readonly columns: readonly string[];
  /** The other table of a foreign key. */
  readonly references: { readonly schema: string; readonly name: string } | null;
  /** `CHECK (…)` for a check, where it could be read. */
  readonly definition: string | null;
}

interface IndexFacts {
  readonly name: string;
  /** False: a build that failed has left it, and no query uses it. */
  readonly valid: boolean;
  readonly unique: boolean;
  /** Whether logical replication finds by it the row that an UPDATE or a DELETE is about. */
  readonly identity: boolean;
  readonly columns: readonly string[];
  /** All the columns that it reads, where it has an expression or a condition; else null. */
  readonly reads: readonly string[] | null;
}

interface TypeFacts {
  readonly name: string;
  readonly kind: "d" | "e";
  /** A domain's base type, where that has no modifiers. */
  readonly base: string | null;
  /** A domain with a constraint, its own or one of the domain below it. */
  readonly constrained: boolean;
}

/** The names that statements use, without their schemas: all tables of a name are read. */
export interface Names {
  readonly relations: readonly string[];
  readonly types: readonly string[];
  readonly functions: readonly string[];
}

export function collectNames(statements: readonly Statement[]): Names {
  const relations = new Set<string>();
  const types = new Set<string>();
  const functions = new Set<string>();
  const walk = (value: unknown): void => {
    if (Array.isArray(value)) {
      for (const each of value) walk(each);
      return;
    }
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      // A bulk insert's rows name nothing that matters here.
      if (key === "valuesLists") continue;
      if (key === "relname" || key === "indexname") relations.add(String(inner));
      else if (key === "typeName") addLast(types, (inner as { names?: Node[] }).names);
      else if (key === "funcname") addLast(functions, inner as Node[]);
      else if (key === "AlterDomainStmt") addLast(types, (inner as { typeName?: Node[] }).typeName);
      else if (key === "DropStmt") {
        const { objects = [] } = inner as { objects?: Node[] };
        for (const object of objects) {
          if ("List" in object) addLast(relations, object.List.items);
          if ("TypeName" in object) addLast(types, object.TypeName.names);
        }
      }
      walk(inner);
    }
  };
  for (const { node } of statements) walk(node);
  return { relations: [...relations], types: [...types], functions: [...functions] };
}

function addLast(names: Set<string>, nodes: readonly Node[] | undefined): void {
  const last = wordsOf(nodes).at(-1);
  if (last !== undefined) names.add(last);
}

/** How long it waits for a lock on a table, and for the answer. */
const lockTimeout = "1s";
const statementTimeout = "2s";

/**
 * Reads what the catalog knows of `names`. Where a table is locked, its size is what was last recorded, and its checks
 * are not known. Throws the server's error.
 */
export async function readCatalog(
  connection: Pick<Connection, "query">,
  names: Names,
): Promise<Catalog> {
  const read = async (locking: boolean) => {
    await connection.query("begin read only");
    try {
      await connection.query(
        `set local lock_timeout = '${lockTimeout}'; set local statement_timeout = '${statementTimeout}'`,
      );
      const { rows } = await connection.query<{ catalog: Catalog }>(catalogQuery(locking), [
        names.relations,
        names.types,
        names.functions,
      ]);
      const catalog = rows[0]?.catalog;
      if (catalog === undefined) throw new Error("the server gave no row");
      return catalog;
    } finally {
      await connection.query("rollback");
    }
  };
  try {
    return await read(true);
  } catch (error) {
    if (!isOutOfTime(error)) throw error;
    return read(false);
  }
}

/** `locking`: with those functions that open the table, as any reader of it would. */
function catalogQuery(locking: boolean): string {
  return `
with recursive named as (
  select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relname = any ($1::text[]) and c.relkind in ('r', 'p', 'm', 'v', 'f', 'i', 'I', 'S')
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
), domains as (
  select oid from pg_type where typtype = 'd' and typname = any ($2::text[])
  union select t.oid from domains d join pg_type t on t.typtype = 'd' and t.typbasetype = d.oid
), wanted as (
  select a.attrelid as oid from domains d join pg_attribute a on a.atttypid = d.oid and not a.attisdropped
  join pg_class c on c.oid = a.attrelid where c.relkind in ('r', 'm', 'p')
  union select oid from named
  union select p.partdefid from pg_partitioned_table p join named on named.oid = p.partrelid where p.partdefid <> 0
  union select x.indrelid from pg_index x join named on named.oid = x.indexrelid
), leaves as (
  select oid as root, oid as leaf from wanted
  union select l.root, i.inhrelid from leaves l join pg_inherits i on i.inhparent = l.leaf
)
select json_build_object(
  'serverVersion', current_setting('server_version_num')::int,
  'searchPath', array_to_json(current_schemas(false)),
  'timeZone', current_setting('TimeZone'),
  'relations', coalesce((
    select json_agg(json_build_object(
      'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
      'table', (
        select json_build_object('schema', tn.nspname, 'name', t.relname)
        from pg_index x join pg_class t on t.oid = x.indrelid join pg_namespace tn on tn.oid = t.relnamespace
        where x.indexrelid = c.oid),
      'leaves', coalesce((
        select json_agg(json_build_object(
          'tuples', p.reltuples, 'pages', p.relpages,
          'bytes', ${locking ? "pg_relation_size(p.oid)" : "null"}))
        from leaves l join pg_class p on p.oid = l.leaf
        where l.root = c.oid and p.relkind in ('r', 'm')), '[]'),
      'storage', json_build_object(
        'logged', c.relpersistence = 'p',
        'accessMethod', (select am.amname from pg_am am where am.oid = c.relam),
        'tablespace', (
          select s.spcname from pg_tablespace s where s.oid = coalesce(nullif(c.reltablespace, 0), (
            select d.dattablespace from pg_database d where d.datname = current_database())))),
      'policies', exists (select from pg_policy where polrelid = c.oid),
      'defaultPartition', (
        select json_build_object('schema', dn.nspname, 'name', d.relname)
        from pg_partitioned_table p join pg_class d on d.oid = p.partdefid join pg_namespace dn on dn.oid = d.relnamespace
        where p.partrelid = c.oid),
      'columns', coalesce((
        select json_agg(json_build_object(
          'name', a.attname, 'type', t.typname, 'typeSchema', tn.nspname,
          'modifiers', case
            when a.atttypmod < 0 then '[]'
            when t.typname in ('interval', '_interval')
            then json_build_array(a.atttypmod >> 16 & 32767, a.atttypmod & 65535)
            else coalesce((
              select array_to_json(string_to_array(m[1], ',')::int[])
              from regexp_matches(format_type(a.atttypid, a.atttypmod), '\\((\\d+(?:,\\d+)?)\\)') m),
              json_build_array(a.atttypmod)) end,
          'notNull', a.attnotnull and not exists (
            select from pg_constraint k
            where k.conrelid = c.oid and k.contype = 'n' and k.conkey[1] = a.attnum and not k.convalidated))
          order by a.attnum)
        from pg_attribute a join pg_type t on t.oid = a.atttypid join pg_namespace tn on tn.oid = t.typnamespace
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]'),
      'constraints', coalesce((
        select json_agg(json_build_object(
          'name', k.conname, 'kind', k.contype, 'valid', k.convalidated,
          'columns', (
            select coalesce(json_agg(a.attname), '[]') from pg_attribute a
            where a.attrelid = k.conrelid and a.attnum = any (k.conkey)),
          'references', (
            select json_build_object('schema', fn.nspname, 'name', f.relname)
            from pg_class f join pg_namespace fn on fn.oid = f.relnamespace where f.oid = nullif(k.confrelid, 0)),
          'definition', ${locking ? "case k.contype when 'c' then pg_get_constraintdef(k.oid) end" : "null"}))
        from pg_constraint k where k.conrelid = c.oid), '[]'),
      'indexes', coalesce((
        select json_agg(json_build_object(
          'name', i.relname, 'valid', x.indisvalid, 'unique', x.indisunique,
          'identity', x.indisreplident or x.indisprimary and c.relreplident = 'd',
          'columns', (
            select coalesce(json_agg(a.attname), '[]') from pg_attribute a
            where a.attrelid = x.indrelid and a.attnum = any (x.indkey)),
          'reads', case when x.indexprs is not null or x.indpred is not null then (
            select coalesce(json_agg(distinct a.attname), '[]')
            from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
            where d.classid = 'pg_class'::regclass and d.objid = x.indexrelid
              and d.refclassid = 'pg_class'::regclass and d.refobjid = x.indrelid) end))
        from pg_index x join pg_class i on i.oid = x.indexrelid where x.indrelid = c.oid), '[]'),
      'referrers', coalesce((
        select json_agg(json_build_object(
          'name', k.conname, 'table', json_build_object('schema', fn.nspname, 'name', f.relname),
          'index', (select i.relname from pg_class i where i.oid = k.conindid)))
        from pg_constraint k join pg_class f on f.oid = k.conrelid join pg_namespace fn on fn.oid = f.relnamespace
        where k.confrelid = c.oid and k.contype = 'f' and k.conparentid = 0), '[]')))
    from wanted w join pg_class c on c.oid = w.oid join pg_namespace n on n.oid = c.relnamespace), '[]'),
  'types', coalesce((
    select json_agg(json_build_object('name', t.typname, 'kind', t.typtype,
      'base', (select b.typname from pg_type b where b.oid = t.typbasetype and t.typtypmod < 0),
      'constrained', exists (
      with recursive bases as (
        select t.oid as base union select b.typbasetype from bases join pg_type b on b.oid = base where b.typbasetype <> 0
      )
      select from bases join pg_type b on b.oid = base
      where b.typtype = 'd' and (b.typnotnull or exists (select from pg_constraint k where k.contypid = b.oid)))))
    from pg_type t
    where t.typtype in ('d', 'e') and (t.typname = any ($2::text[])
      or t.oid in (select a.atttypid from wanted w join pg_attribute a on a.attrelid = w.oid))), '[]'),
  'coercions', (
    select json_agg(f.typname || ' ' || t.typname)
    from pg_cast k join pg_type f on f.oid = k.castsource join pg_type t on t.oid = k.casttarget
    where k.castmethod = 'b'),
  'volatilities', coalesce((
    select json_object_agg(name, volatility) from (
      select p.proname as name, max(p.provolatile::text) as volatility
      from pg_proc p
      -- timezone() of a time with time zone is volatile before 15, and not the one that defaults call.
      where p.proname = any ($3::text[]) and not 'timetz'::regtype = any (p.proargtypes)
      group by p.proname) v), '{}')
) as catalog`;
}
