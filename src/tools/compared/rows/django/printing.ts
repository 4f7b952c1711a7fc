// The code that Python runs to print the SQL of migrations, behind question.ts: what sqlmigrate does, for all of them in one process,
// with the lines of the files that print it. Guarantees: no Python of a migration runs; what reads from the database does so in
// transactions that cannot write, and only where that database is the one that will be migrated.

import { pythonTree } from "../../../python-tree.ts";

export const printing = `${pythonTree}
import itertools


class NeedsDatabase(Exception):
    def __str__(self):
        return "it reads from the database"


def note_operations(module):
    make = module.Operation.__new__

    def note_frames(cls, *arguments, **options):
        operation = make(cls, *arguments, **options)
        operation.entrypoint_frames = list(list_frames(sys._getframe(1)))
        return operation

    module.Operation.__new__ = staticmethod(note_frames)


def list_frames(frame):
    """Who makes an operation, from the inside out, up to the import of its file."""
    while frame is not None and "importlib" not in frame.f_code.co_filename:
        yield frame.f_code.co_filename, read_positions(frame)
        frame = frame.f_back


after("django.db.migrations.operations.base", note_operations)


def is_within(node, line, end_line):
    return node.lineno <= line and end_line <= node.end_lineno


def find_place(operation, path):
    """Where an operation is written: its call, and the lines of the element of a list that it is, else of the statement."""
    found = [positions for name, positions in getattr(operation, "entrypoint_frames", ()) if name == path]
    if len(found) == 0:
        return None
    line, end_line, column, end_column = found[0]
    if end_line is None:
        named = type(operation).__name__
        calls = [
            one
            for one in read_tree(path)
            if isinstance(one, ast.Call) and one.lineno == line and getattr(one.func, "attr", getattr(one.func, "id", None)) == named
        ]
        end_line = max([one.end_lineno for one in calls], default=line)
        if len(calls) == 1:
            column, end_column = calls[0].col_offset, calls[0].end_col_offset
    parts = [one for node in read_tree(path) if isinstance(node, (ast.List, ast.Tuple)) for one in node.elts]
    parts += [one for one in read_tree(path) if isinstance(one, ast.stmt) and not hasattr(one, "body")]
    around = [(one.end_lineno - one.lineno, one.lineno, one.end_lineno) for one in parts if is_within(one, line, end_line)]
    _, first, last = min(around, default=(0, line, end_line))
    return {"first": first, "last": last, "line": line, "endLine": end_line, "column": column, "endColumn": end_column}


def find_path(migration):
    return sys.modules[type(migration).__module__].__file__


def print_sql():
    from django.core.management import CommandError
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor
    from django.db.migrations.loader import MigrationLoader
    from django.db.migrations.recorder import MigrationRecorder
    from django.db.migrations.state import ProjectState

    connection = connections[DATABASE]
    if connection.vendor != "postgresql":
        raise CommandError("the database is none of PostgreSQL: %s" % connection.vendor)
    if not LIVE:
        disconnect(connection)
    if FROM is not None:
        applied = find_applied(MigrationLoader(None))
        if isinstance(applied, str):
            return {"missing": applied}
        MigrationRecorder.applied_migrations = lambda self: dict.fromkeys(applied)
    executor = MigrationExecutor(connection)
    loader = executor.loader
    rows = set(MigrationRecorder(connection).applied_migrations())
    loader.check_consistent_history(connection)
    for app, names in loader.detect_conflicts().items():
        raise CommandError("Django refuses conflicting migrations: %s of %s" % (" and ".join(sorted(names)), app))
    leaves = loader.graph.leaf_nodes()
    plan = [migration for migration, _ in executor.migration_plan(leaves, clean_start=True)]
    wanted = set(loader.graph.nodes)
    if TO is not None:
        goal = find_key(loader, TO)
        replacing = {tuple(one): key for key in loader.disk_migrations for one in loader.disk_migrations[key].replaces}
        while goal is not None and goal not in loader.graph.nodes:
            goal = replacing.get(goal)
        if goal is None:
            return {"missing": TO}
        wanted = set(loader.graph.forwards_plan(goal))
    before = [migration for migration in plan if key_of(migration) in loader.applied_migrations]
    after = [migration for migration in plan if key_of(migration) not in loader.applied_migrations and key_of(migration) in wanted]
    state = ProjectState(real_apps=loader.unmigrated_apps)
    printed = []
    if LIVE:
        connection.set_autocommit(False)
    for migration in before + after:
        if not HISTORY and key_of(migration) in loader.applied_migrations:
            migration.mutate_state(state, preserve=False)
            continue
        one, state = print_migration(migration, state, connection)
        printed.append(one)
        if state is None:
            break
    ran = {key_of(migration) for migration in after}
    return {
        "migrations": printed,
        "range": [name_of(key_of(migration)) for migration in after],
        # A squash, or what it replaces, that is recorded without being run.
        "idle": [name_of(key) for key in loader.disk_migrations if key not in ran and key not in rows],
    }


def key_of(migration):
    return migration.app_label, migration.name


def name_of(key):
    return "%s.%s" % key


def find_key(loader, text):
    """A migration by its name, or by the beginning of that."""
    keys = set(loader.disk_migrations)
    keys |= {tuple(one) for migration in loader.disk_migrations.values() for one in migration.replaces}
    found = [key for key in keys if name_of(key) == text] or [key for key in keys if name_of(key).startswith(text)]
    return found[0] if len(found) == 1 else None


def find_applied(loader):
    """FROM, and all that it depends on; the name of what is none of the project's."""
    disk = loader.disk_migrations
    replacing = {tuple(one): key for key in disk for one in disk[key].replaces}
    queue, applied = [], set()
    for text in FROM:
        key = find_key(loader, text)
        if key is None:
            return text
        queue.append(key)
    while queue:
        key = queue.pop()
        if key in applied:
            continue
        applied.add(key)
        if key in disk:
            migration = disk[key]
            queue += map(tuple, migration.replaces)
        else:
            # Its file is gone: what replaces it has its dependencies.
            migration = disk[replacing[key]]
            queue += itertools.takewhile(lambda one: one != key, map(tuple, migration.replaces))
        dependencies = [loader.check_key(one, key[0]) for one in migration.dependencies]
        queue += [one for one in dependencies if one is not None]
        queue += [other for other in disk if key in map(tuple, disk[other].run_before)]
    changed = True
    while changed:
        complete = {key for key in disk if disk[key].replaces and all(tuple(one) in applied for one in disk[key].replaces)}
        changed = not complete <= applied
        applied |= complete
    return applied


def disconnect(connection):
    """SQL is made without a database, as for a server that has all features."""

    def refuse():
        raise NeedsDatabase()

    connection.ensure_connection = refuse
    connection.__dict__["pg_version"] = 180000
    if hasattr(connection.ops, "compose_sql"):
        from django.db.backends.postgresql.psycopg_any import sql as composing

        connection.ops.compose_sql = lambda sql, params: sql % tuple(composing.quote(one, None) for one in params)


def begin(connection):
    if LIVE:
        connection.rollback()
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")


def print_migration(migration, state, connection):
    """What Migration.apply collects, and the state behind it; no state where that is not known."""
    path = find_path(migration)
    app = migration.app_label
    # Without its transaction, which would connect.
    editor = connection.schema_editor(collect_sql=True, atomic=False)
    editor.__enter__()
    editor.atomic_migration = migration.atomic
    parts, gaps, forms, places, deferred, kept = [], [], [], [], {}, []
    begin(connection)

    def add(start, operation, own=False):
        sql = editor.collected_sql[start:]
        place = find_place(operation, path)
        if place is not None:
            places.append(place)
        if len(sql) > 0:
            parts.append({"sql": sql, "place": place, "atomic": own})
        return place

    def run(operation, before, after, own):
        if type(operation).database_forwards is separate:
            for inner in operation.database_operations:
                after = before.clone()
                inner.state_forwards(app, after)
                run(inner, before, after, own)
                before = after
            return
        start, cause, reads = len(editor.collected_sql), None, False
        try:
            if operation.reduces_to_sql:
                operation.database_forwards(app, editor, before, after)
                forms.extend(find_forms(operation))
            elif does_something(operation, app, connection):
                cause = "%s cannot be written as SQL" % call_of(operation)
        except Exception as error:
            reads = isinstance(error, NeedsDatabase)
            kind = "" if reads else "%s: " % type(error).__name__
            cause = "%s: %s%s" % (call_of(operation), kind, str(error).strip().partition("\\n")[0])
            begin(connection)
        for sql in editor.deferred_sql:
            if id(sql) not in deferred:
                deferred[id(sql)] = operation
                kept.append(sql)
        place = add(start, operation, own)
        if cause is not None:
            add_gap(cause, place, reads)

    def add_gap(cause, place, reads):
        gaps.append({"cause": cause, "line": None if place is None else place["line"], "reads": reads})

    from django.db.migrations.operations import SeparateDatabaseAndState

    separate = SeparateDatabaseAndState.database_forwards
    for operation in migration.operations:
        before = state.clone()
        try:
            operation.state_forwards(app, state)
        except Exception as error:
            add_gap("%s: %s" % (call_of(operation), explain(error)), find_place(operation, path), False)
            state = None
            break
        run(operation, before, state, operation.atomic and not migration.atomic)
    for sql in list(editor.deferred_sql):
        start = len(editor.collected_sql)
        editor.execute(sql, None)
        add(start, deferred[id(sql)])
    for part in parts:
        place = part["place"]
        if place is not None:
            # Of two on a line, a comment may be about either.
            place["certain"] = all(is_same(place, one) or not is_beside(place, one) for one in places)
    name = name_of(key_of(migration))
    path = os.path.realpath(path)
    return {"id": name, "path": path, "atomic": migration.atomic, "parts": parts, "gaps": gaps, "forms": forms}, state


def is_same(one, other):
    return one["column"] is not None and all(one[key] == other[key] for key in ("line", "column", "endLine", "endColumn"))


def is_beside(one, other):
    return one["first"] <= other["last"] and other["first"] <= one["last"]


def does_something(operation, app, connection):
    from django.db import router
    from django.db.migrations.operations import RunPython

    if not isinstance(operation, RunPython):
        return True
    return operation.code is not RunPython.noop and router.allow_migrate(connection.alias, app, **operation.hints)


def call_of(operation):
    code = getattr(operation, "code", None)
    name = getattr(code, "__name__", None)
    return type(operation).__name__ if name is None else "%s(%s)" % (type(operation).__name__, name)


def find_forms(operation):
    """Operations of Django's own that do the same while others write, and change the models as it does."""
    from django.contrib.postgres import operations as safe
    from django.db.migrations.operations import AddConstraint, AddIndex, RemoveIndex
    from django.db.migrations.writer import MigrationWriter
    from django.db.models import CheckConstraint

    def form(does, of, instead, **options):
        if not hasattr(safe, instead):
            return []
        try:
            given = ["%s=%s" % (key, MigrationWriter.serialize(value)[0]) for key, value in options.items()]
        except ValueError:
            # The project's own code, which has no text.
            return []
        return [{"does": does, "name": of, "code": "%s(%s)" % (instead, ", ".join(given))}]

    kind = type(operation)
    if kind is AddIndex:
        index = operation.index
        return form("create-index", index.name, "AddIndexConcurrently", model_name=operation.model_name, index=index)
    if kind is RemoveIndex:
        options = {"model_name": operation.model_name, "name": operation.name}
        return form("drop-index", operation.name, "RemoveIndexConcurrently", **options)
    if kind is AddConstraint and isinstance(operation.constraint, CheckConstraint):
        model, constraint = operation.model_name, operation.constraint
        added = form("add-check", constraint.name, "AddConstraintNotValid", model_name=model, constraint=constraint)
        return added + form("validate", constraint.name, "ValidateConstraint", model_name=model, name=constraint.name)
    return []


ANSWERS["print"] = print_sql
`;
