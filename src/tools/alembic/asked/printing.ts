// The SQL of `alembic upgrade --sql`, taken from inside Alembic as it prints: with the lines of the revision that print it.
// Guarantees: a revision that fails is a gap, and those after it are printed by the same Python.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pythonTree } from "../../python-tree.ts";
import type { SqlOrigin } from "../../source-file.ts";
import type { PrintedSql, SqlGap } from "../../tool.ts";

/** What Alembic has printed, and whether it has come to its end. Null where nobody could ask it. */
export function readPrinted(folder: string, cureFor: (cause: string) => string): PrintedSql | null {
  let text: string;
  try {
    text = readFileSync(join(folder, "printed.jsonl"), "utf8");
  } catch {
    return null;
  }
  let sql = "";
  const starts: PrintedSql["starts"][number][] = [];
  const origins: SqlOrigin[] = [];
  const gaps: SqlGap[] = [];
  let range: readonly string[] | null = null;
  for (const line of text.split("\n")) {
    // The last one may have been cut off by the time limit.
    if (!line.endsWith("}")) continue;
    const entry = JSON.parse(line) as Entry;
    if ("range" in entry) range = entry.range;
    else if ("revision" in entry) {
      starts.push({ id: entry.revision, start: sql.length, path: entry.path });
    } else if ("failure" in entry) {
      const { failure: cause, line: at } = entry;
      gaps.push({ id: starts.at(-1)?.id ?? null, cause, cure: cureFor(cause), line: at });
    } else {
      const start = sql.length;
      sql += `${entry.sql}\n\n`;
      if (entry.place !== null) origins.push({ start, end: sql.length, ...entry.place });
    }
  }
  return { sql, starts, origins, range, gaps };
}

type Entry =
  | { readonly range: readonly string[] }
  | { readonly revision: string; readonly path: string }
  | { readonly failure: string; readonly line: number | null }
  | { readonly sql: string; readonly place: Omit<SqlOrigin, "start" | "end"> | null };

/** Behind what python.ts begins with. @param range of which the ids are wanted. */
export function printingCode(range: { readonly from: string; readonly to: string } | null): string {
  return `RANGE = ${range === null ? "None" : JSON.stringify([range.from, range.to])}\n${code}`;
}

const code = `${pythonTree}
printed = open(os.path.join(HERE, "printed.jsonl"), "a", encoding="utf-8", buffering=1)
# The file of the revision that is run; where an operation was written that is printed later.
running, recorded = None, None


def write(**entry):
    printed.write(json.dumps(entry) + "\\n")


def find_frame(frame):
    """The innermost one of the revision's own file."""
    while frame is not None and frame.f_code.co_filename != running:
        frame = frame.f_back
    return frame


def find_place():
    if recorded is not None:
        return recorded
    frame = None if running is None else find_frame(sys._getframe(1))
    if frame is None:
        return None
    at = frame.f_lineno
    statements = [
        (one.lineno, one.end_lineno)
        for one in read_tree(running)
        if isinstance(one, ast.stmt) and not hasattr(one, "body") and not hasattr(one, "cases") and one.lineno <= at <= one.end_lineno
    ]
    headers = [
        (one.lineno, max(one.lineno, one.body[0].lineno - 1))
        for one in read_tree(running)
        if isinstance(one, (ast.With, ast.For, ast.If, ast.While)) and one.lineno <= at < one.body[0].lineno
    ]
    found = statements or headers
    if len(found) == 0:
        return None
    first, last = min(one[0] for one in found), max(one[1] for one in found)
    line, end_line, column, end_column = read_positions(frame)
    return {
        "first": first,
        "last": last,
        "line": line,
        "endLine": line if end_line is None else end_line,
        # In bytes of UTF-8; from 0.
        "column": column,
        "endColumn": end_column,
        # Two statements on a line: a comment there may be about either.
        "certain": len(found) == 1,
    }


def record_output(module):
    def static_output(self, text):
        write(sql=text, place=find_place())

    module.DefaultImpl.static_output = static_output


def record_revisions(module):
    step = module.RevisionStep
    begin = step.__init__

    def initialise(self, *arguments, **options):
        begin(self, *arguments, **options)
        run, script = self.migration_fn, self.revision

        def migrate(*arguments, **options):
            global running
            # It may be what has been compiled earlier, from another folder.
            running = getattr(getattr(run, "__code__", None), "co_filename", None) or script.path
            write(revision=script.revision, path=os.path.realpath(script.path))
            try:
                run(*arguments, **options)
            except Exception as error:
                write(failure=describe_failure(error), line=find_line(error))
            finally:
                running = None

        self.migration_fn = migrate

    step.__init__ = initialise
    run_migrations = module.MigrationContext.run_migrations

    def with_range(self, **options):
        if RANGE is not None and self.as_sql:
            write(range=[one.revision.revision for one in self.script._upgrade_revs(RANGE[1], RANGE[0])])
        return run_migrations(self, **options)

    module.MigrationContext.run_migrations = with_range


def describe_failure(error):
    # Below its first line SQLAlchemy has the statement and a link.
    lines = str(error).strip().split("\\n")
    return "%s: %s" % (type(error).__name__, lines[0])


def find_line(error):
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == running:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return lines[-1] if lines else None


class Placed(list):
    """The operations of a batch, which are printed at its end."""

    def __init__(self):
        self.places = []

    def append(self, operation):
        self.places.append(find_place())
        super().append(operation)

    def __iter__(self):
        global recorded
        for operation, place in zip(super().__iter__(), self.places):
            recorded = place
            try:
                yield operation
            finally:
                recorded = None


def record_batches(module):
    batch = module.BatchOperationsImpl
    begin = batch.__init__

    def initialise(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.batch = Placed()

    batch.__init__ = initialise


def as_online(module):
    configure = module.EnvironmentContext.configure

    def with_transactions(self, *arguments, **options):
        # The offline function seldom says what the online one does.
        if self.is_offline_mode() and "transaction_per_migration" not in options and commits_each(str(self.script.env_py_location)):
            options["transaction_per_migration"] = True
        return configure(self, *arguments, **options)

    module.EnvironmentContext.configure = with_transactions


def commits_each(path):
    given = [
        word.value
        for one in read_tree(path)
        if isinstance(one, ast.Call)
        for word in one.keywords
        if word.arg == "transaction_per_migration"
    ]
    return len(given) > 0 and all(isinstance(one, ast.Constant) and one.value is True for one in given)


after("alembic.ddl.impl", record_output)
after("alembic.runtime.migration", record_revisions)
after("alembic.operations.batch", record_batches)
after("alembic.runtime.environment", as_online)
`;
