// The code that Python runs to report Django's migrations: it defines what `shell -c` calls, behind what python.ts and watch.ts
// begin with. Which applications are installed may depend on variables: those are found by the lines that read them.

import { watching } from "../../../watch.ts";

export const question = `${watching}
import ast
import builtins
import re
import types

reads, absent = [], set()
WATCHED = ("INSTALLED_APPS", "MIGRATION_MODULES")
CHOOSING = ("DJANGO_SETTINGS_MODULE", "DJANGO_CONFIGURATION")
# Another value at the build is what everybody has; applications do not depend on it.
PRIVATE = re.compile("SECRET|PASSW|TOKEN|CREDENTIAL|_KEY$|DATABASE|POSTGRES|^PG|^DB_")


def is_project(path):
    return not path.startswith("<") and is_own(path)


class Absent:
    """Comes last: what nobody has found. A module that comes later would be imported."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        leaf = name.rpartition(".")[2]
        if path is None:
            frame = sys._getframe(1)
            while frame is not None and "importlib" in frame.f_code.co_filename:
                frame = frame.f_back
            asked = frame is not None and is_project(frame.f_code.co_filename)
            path = sys.path if asked else []
        for folder in list(path):
            place = os.path.join(os.path.abspath(folder), leaf)
            if is_own(place):
                absent.update((place + ".py", os.path.join(place, "__init__.py")))
        return None


sys.meta_path.append(Absent)


def find_reader(frame):
    """The line of the project's own that reads a variable, also by means of a package."""
    through = False
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    while frame is not None:
        path = frame.f_code.co_filename
        if "importlib" in path:
            return None
        if is_package(path):
            through = True
        elif is_project(path):
            # All of Django runs in manage.py.
            if through and main is not None and os.path.realpath(main) == os.path.realpath(path):
                return None
            return os.path.realpath(path), frame.f_lineno
        frame = frame.f_back
    return None


def note_read(environment, name):
    try:
        reader = find_reader(sys._getframe(1)) if isinstance(name, str) else None
        if reader is not None:
            reads.append((name,) + reader)
    except Exception:
        pass
    return get_variable(environment, name)


type(os.environ).__getitem__ = note_read


def is_plain(node, names):
    """Whether it is the same wherever it is evaluated. names: those that are, as far as is known."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return all(is_plain(one, names) for one in node.elts)
    if isinstance(node, ast.Dict):
        return all(one is not None and is_plain(one, names) for one in node.keys + node.values)
    if isinstance(node, ast.Starred):
        return is_plain(node.value, names)
    if isinstance(node, ast.BinOp):
        return is_plain(node.left, names) and is_plain(node.right, names)
    return isinstance(node, ast.Name) and node.id in names


def is_plain_statement(node, names):
    if isinstance(node, ast.Assign):
        return all(isinstance(one, ast.Name) for one in node.targets) and is_plain(node.value, names)
    if isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        return isinstance(node.target, ast.Name) and (node.value is None or is_plain(node.value, names))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        call = node.value
        return isinstance(call.func.value, ast.Name) and not call.keywords and all(is_plain(one, names) for one in call.args)
    return False


def names_of(node):
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def stores(node):
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
            found.add(one.id)
        elif isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(one.name)
        elif isinstance(one, (ast.Import, ast.ImportFrom)):
            found.update((name.asname or name.name).partition(".")[0] for name in one.names)
        elif isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and isinstance(one.func.value, ast.Name):
            # NAME.append(...)
            if one.func.attr in ("append", "extend", "insert", "remove", "update", "setdefault", "pop", "clear"):
                found.add(one.func.value.id)
        elif isinstance(one, ast.Subscript) and not isinstance(one.ctx, ast.Load) and isinstance(one.value, ast.Name):
            found.add(one.value.id)
    return found


def touches(node):
    """Whether a statement may change what is installed, or where the settings are."""
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and one.attr in WATCHED and not isinstance(one.ctx, ast.Load):
            return True
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute):
            inner = one.func.value
            if isinstance(inner, ast.Attribute) and inner.attr in WATCHED:
                return True
        if isinstance(one, ast.If) and any(isinstance(part, ast.Constant) and part.value in CHOOSING for part in ast.walk(one)):
            return True
        # globals()["INSTALLED_APPS"], setattr(settings, "INSTALLED_APPS", ...)
        if isinstance(one, ast.Constant) and one.value in WATCHED:
            return True
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id in ("globals", "locals", "vars", "exec", "eval"):
            return True
        if isinstance(one, (ast.Call, ast.Assign)):
            parts = list(ast.walk(one))
            if any(isinstance(part, ast.Constant) and part.value in CHOOSING for part in parts):
                values = one.args if isinstance(one, ast.Call) else [one.value]
                reading = isinstance(one, ast.Call) and len(values) == 1
                if not reading and not all(isinstance(value, ast.Constant) for value in values):
                    return True
    return any(name in stores(node) for name in WATCHED)


def body_of(tree):
    """The statements of a module; those of a try are as if there were none."""
    for node in tree.body:
        if isinstance(node, ast.Try) and all(isinstance(one, (ast.Import, ast.ImportFrom, ast.Pass)) for one in node.body):
            yield from node.body
            for handler in node.handlers:
                yield from handler.body
        else:
            yield node


def is_own_import(node, path):
    if node.level > 0:
        return True
    module = sys.modules.get(node.module or "")
    file = getattr(module, "__file__", None)
    return file is None or is_own(file)


def find_held(paths):
    """The variables by which the applications may be others: all that the project reads, where that cannot be followed."""
    everything = sorted({name for name, _, _ in reads if not PRIVATE.search(name)})
    held = set()
    for path in paths:
        try:
            with open(path, "rb") as file:
                source = file.read()
            if not any(word.encode() in source for word in WATCHED + CHOOSING) and not is_settings(path):
                continue
            statements = list(body_of(ast.parse(source)))
        except (OSError, SyntaxError, ValueError):
            continue
        plain_names = set(WATCHED)
        # Names that only plain statements set; those of another module are followed there.
        while True:
            before = len(plain_names)
            for name in {name for node in statements for name in stores(node)} - plain_names:
                setting = [node for node in statements if name in stores(node)]
                if all(is_plain_statement(node, plain_names | {name}) for node in setting):
                    plain_names.add(name)
            if len(plain_names) == before:
                break
        relevant = [node for node in statements if touches(node) and not is_plain_statement(node, plain_names)]
        relevant += [
            node
            for node in statements
            if not isinstance(node, ast.ImportFrom)
            and any(isinstance(one, ast.ImportFrom) and any(name.name == "*" for name in one.names) for one in ast.walk(node))
        ]
        queue = [name for node in relevant for name in names_of(node)]
        seen = set(WATCHED) | plain_names
        stars = [node for node in statements if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]
        while queue:
            name = queue.pop()
            if name in seen:
                continue
            seen.add(name)
            setting = [node for node in statements if name in stores(node)]
            if not setting and any(is_own_import(node, path) for node in stars) and not hasattr(builtins, name):
                return everything
            for node in setting:
                if isinstance(node, ast.ImportFrom):
                    if is_own_import(node, path):
                        return everything
                elif not isinstance(node, ast.Import):
                    relevant.append(node)
                    queue.extend(names_of(node))
        real = os.path.realpath(path)
        for name, reader, line in reads:
            if reader == real and any(node.lineno <= line <= node.end_lineno for node in relevant):
                held.add(name)
    return sorted(held)


def is_settings(path):
    module = sys.modules.get(os.environ.get("DJANGO_SETTINGS_MODULE", ""))
    return os.path.realpath(path) == os.path.realpath(getattr(module, "__file__", None) or "/")


def answer(name):
    try:
        reported = {"answer": ANSWERS[name]()}
    except Exception as error:
        reported = {"refused": explain(error)}
    with open(os.path.join(HERE, "answer.json"), "wb") as file:
        file.write(json.dumps(reported, ensure_ascii=False).encode("utf-8"))


def explain(error):
    import traceback

    frames = [one for one in traceback.extract_tb(error.__traceback__) if is_project(one.filename)]
    where = "" if len(frames) == 0 else "%s, line %s: " % (frames[-1].filename, frames[-1].lineno)
    return "%s%s: %s" % (where, type(error).__name__, error)


def name_receiver(entry):
    receiver = entry[1]
    if hasattr(receiver, "__self__") or type(receiver).__name__ in ("ReferenceType", "weakref", "WeakMethod"):
        receiver = receiver()
    if receiver is None:
        return None
    return "%s.%s" % (getattr(receiver, "__module__", "?"), getattr(receiver, "__qualname__", repr(receiver)))


def list_migrations(loader):
    disk = loader.disk_migrations
    order = {}

    def add(key):
        migration = disk.get(key)
        for replaced in () if migration is None else migration.replaces:
            if tuple(replaced) not in order:
                add(tuple(replaced))
        order[key] = None

    for leaf in loader.graph.leaf_nodes():
        for key in loader.graph.forwards_plan(leaf):
            add(key)
    for key in sorted(disk):
        if key not in order:
            add(key)
    replacing = {tuple(replaced): key for key in disk for replaced in disk[key].replaces}

    def place(key):
        while key not in disk:
            key = replacing[key]
        return os.path.realpath(sys.modules[type(disk[key]).__module__].__file__)

    return [
        {
            "app": app,
            "name": name,
            "path": place((app, name)),
            "replaces": ["%s.%s" % tuple(one) for one in disk[app, name].replaces] if (app, name) in disk else [],
        }
        for app, name in order
    ]


def find_folders(apps, loader_class):
    folders = set()
    for config in apps.get_app_configs():
        name = loader_class.migrations_module(config.label)[0]
        if name is None:
            continue
        module = sys.modules.get(name)
        path = os.path.dirname(module.__file__) if getattr(module, "__file__", None) else os.path.join(config.path, "migrations")
        if is_own(os.path.join(path, "x")):
            folders.add(os.path.abspath(path))
    return sorted(folders)


def testify():
    import django
    from importlib import import_module

    from django.apps import apps
    from django.conf import settings
    from django.core.management import get_commands
    from django.db.migrations.loader import MigrationLoader
    from django.db.models import signals
    from django.utils.module_loading import module_has_submodule

    # As migrate does: handlers hide there.
    for config in apps.get_app_configs():
        if module_has_submodule(config.module, "management"):
            import_module(".management", config.name)
    loader = MigrationLoader(None)
    entries = signals.pre_migrate.receivers + signals.post_migrate.receivers
    receivers = [name_receiver(entry) for entry in entries]
    makes_rows = apps.is_installed("django.contrib.contenttypes") or apps.is_installed("django.contrib.auth")
    unmigrated = [
        label
        for label in sorted(loader.unmigrated_apps)
        if makes_rows and any(model._meta.managed and not model._meta.proxy for model in apps.get_app_config(label).get_models())
    ]
    command = get_commands().get("migrate")
    options = settings.DATABASES.get(DATABASE, {}).get("OPTIONS", {}).get("options", "")
    result = watched(django)
    paths = [path for path in result["files"] if path.endswith(".py") and is_own(path)]
    return dict(
        result,
        django=django.get_version(),
        migrations=list_migrations(loader),
        folders=find_folders(apps, MigrationLoader),
        absent=sorted(absent | {os.path.join(CWD, ".env")}),
        conflicts={app: sorted(names) for app, names in loader.detect_conflicts().items()},
        command=command if isinstance(command, str) else type(command).__module__,
        receivers=sorted(name for name in receivers if name is not None and not name.startswith("django.")),
        unmigrated=unmigrated,
        options=options if isinstance(options, str) else "",
        held=find_held(paths),
    )


def find_database():
    from django.db import connections

    connection = connections[DATABASE]
    if connection.vendor != "postgresql":
        return {"vendor": connection.vendor, "parameters": {}}
    found = {}
    for name, value in connection.get_connection_params().items():
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            found[name] = str(value)
        elif name in ("host", "port", "user", "password", "dbname"):
            raise ValueError("the %s of the database is made in code" % name)
    return {"vendor": "postgresql", "parameters": found}


ANSWERS = {"report": testify, "database": find_database}
module = types.ModuleType("entrypoint_question")
module.answer = answer
sys.modules["entrypoint_question"] = module
`;
