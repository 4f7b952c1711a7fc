// Rules of the linter for this project alone: which folder of src/ may import which, that the server is queried in one way, and
// that only a tool's own folder knows the tool's words. A new folder of src/ gets its place in `layers`.

import { dirname, join, relative } from "node:path";

/** From the bottom up: a folder imports itself and what stands in a line before its own. */
const layers: readonly (readonly string[])[] = [
  ["failure.ts", "state.ts", "context.ts", "patience.ts", "runtime"],
  ["log"],
  ["process", "postgres", "services"],
  ["settings"],
  ["tools"],
  ["migrate"],
  ["backfill"],
  ["lint"],
  ["commands"],
];

/** Files that may import each other, although they stand in one line: the vocabulary, which has no order of its own. */
const [vocabulary = []] = layers;

/** The words of each tool, which are for its own folder or file in tools/. */
const toolWords: Readonly<Record<string, RegExp>> = {
  "alembic/": /alembic|env\.py|\bversion_num\b/gi,
  "compared/rows/aerich.ts": /aerich/gi,
  "compared/rows/dbmate.ts": /dbmate/gi,
  "compared/rows/diesel.ts": /diesel/gi,
  "compared/rows/django": /django_migrations|post_migrate|DJANGO_|INSTALLED_APPS/g,
  "compared/rows/drizzle.ts": /drizzle/gi,
  "compared/rows/ecto.ts": /\becto\.(?:migrate|rollback)/gi,
  "compared/rows/flyway.ts": /flyway/gi,
  "compared/rows/golang-migrate.ts": /golang-?migrate/gi,
  "compared/rows/goose.ts": /\bgoose/gi,
  "compared/rows/graphile-migrate.ts": /graphile/gi,
  "compared/rows/knex.ts": /knex/gi,
  "compared/rows/kysely.ts": /kysely/gi,
  "compared/rows/liquibase": /liquibase/gi,
  "compared/rows/mikro-orm.ts": /mikro-?orm/gi,
  "compared/rows/node-pg-migrate.ts": /node-?pg-?migrate/gi,
  "compared/rows/piccolo.ts": /piccolo/gi,
  "compared/rows/postgres-migrations.ts": /postgres-?migrations/gi,
  "compared/rows/prisma.ts": /prisma/gi,
  "compared/rows/rails.ts": /\brails\b|schema_migrations_table_name/gi,
  "compared/rows/sequelize.ts": /sequelize/gi,
  "compared/rows/sqlx.ts": /sqlx/gi,
  "compared/rows/typeorm.ts": /typeorm/gi,
  "compared/rows/yoyo.ts": /yoyo/gi,
};

/** Where a tool is named on purpose: the lists of tools, and the default command. */
const namingFiles = [
  "src/tools/recognise.ts",
  "src/tools/programs.ts",
  "src/tools/compared/rows.ts",
  "src/settings/defaults.ts",
];

/** The files that have PostgreSQL's client: all others query by the Connection that they are given. */
const clientFiles = ["connect.ts", "connection.ts", "authentication.ts", "errors.ts"];

interface Node {
  readonly source?: { readonly value?: unknown } | null;
}

interface Context {
  readonly filename: string;
  readonly cwd: string;
  readonly sourceCode: {
    readonly text: string;
    getLocFromIndex(index: number): { line: number; column: number };
  };
  report(problem: { message: string; node?: Node; loc?: unknown }): void;
}

/** `process/become/exec.ts` of a file in src/, or null. */
function pathInSource({ filename, cwd }: Context): string | null {
  const path = relative(join(cwd, "src"), filename);
  return path.startsWith("..") ? null : path;
}

function layerOf(path: string): number {
  const [first = ""] = path.split("/");
  return layers.findIndex((layer) => layer.includes(first));
}

/** Why `from` may not import `to`, both relative to src/; null where it may. */
export function describeBreach(from: string, to: string): string | null {
  const [own = "", tool = ""] = from.split("/");
  const [other = "", otherTool = ""] = to.split("/");
  const [layer, imported] = [layerOf(from), layerOf(to)];
  if (layer < 0) return `src/${own} has no place in scripts/check/architecture.ts`;
  if (to.startsWith("..")) return "src/ imports nothing from outside of it";
  if (own === other) {
    const foreign = own === "tools" && tool !== otherTool;
    return foreign && isFolder(from) && isFolder(to)
      ? "a migration tool does not import another one"
      : null;
  }
  if (imported < layer || (imported === layer && vocabulary.includes(own))) return null;
  return `src/${own} stands below or beside src/${other} and may not import it`;
}

/** Whether a path in tools/ is in the folder of one tool. */
function isFolder(path: string): boolean {
  return path.split("/").length > 2;
}

const direction = {
  create(context: Context) {
    const from = pathInSource(context);
    const check = (node: Node): void => {
      const specifier = node.source?.value;
      if (from === null || typeof specifier !== "string" || !specifier.startsWith(".")) return;
      const message = describeBreach(from, join(dirname(from), specifier));
      if (message !== null) context.report({ message, node });
    };
    return {
      ImportDeclaration: check,
      ExportNamedDeclaration: check,
      ExportAllDeclaration: check,
      ImportExpression: check,
    };
  },
};

const queries = {
  create(context: Context) {
    const path = pathInSource(context);
    const allowed = path === null || clientFiles.some((file) => path === `postgres/${file}`);
    const check = (node: Node): void => {
      if (allowed || node.source?.value !== "pg") return;
      const message = "only src/postgres/connection.ts queries: no other query has a limit";
      context.report({ message, node });
    };
    return { ImportDeclaration: check, ImportExpression: check };
  },
};

const words = {
  create(context: Context) {
    return {
      Program() {
        const path = pathInSource(context);
        if (path === null || namingFiles.includes(`src/${path}`)) return;
        for (const [tool, pattern] of Object.entries(toolWords)) {
          if (path.startsWith(`tools/${tool}`)) continue;
          for (const { 0: word, index } of context.sourceCode.text.matchAll(pattern)) {
            const start = context.sourceCode.getLocFromIndex(index);
            const end = context.sourceCode.getLocFromIndex(index + word.length);
            context.report({
              message: `only src/tools/${tool} may say ${word}`,
              loc: { start, end },
            });
          }
        }
      },
    };
  },
};

export default {
  meta: { name: "architecture" },
  rules: { direction, queries, words },
};
