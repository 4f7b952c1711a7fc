// What every Python that entrypoint asks begins with. Guarantees: the project is only read, also where the application writes as
// it is loaded: no transaction writes, no file of a database comes into being.

import { writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Environment } from "../runtime/environment.ts";
import { withTemporaryFolder } from "./temporary-folder.ts";

/** Where Python finds the code, and may leave its answer. */
interface Prepared {
  readonly folder: string;
  readonly env: Environment;
}

const readOnly = "-c default_transaction_read_only=on";

/** What came of it, and why it failed, if it has. */
interface Tried {
  readonly failure: string | null;
}

/**
 * Calls `ask` with an environment in which Python runs `code` as it starts, behind what keeps it from writing. Again where a
 * pooler refuses the start-up parameter that makes sessions read-only: then their transactions are.
 * Throws Failure "cannot-tell" where no folder can be made for the code.
 */
export async function withPython<T extends Tried>(
  env: Environment,
  code: string,
  ask: (prepared: Prepared) => Promise<T>,
): Promise<T> {
  const tried = await preparePython(env, code, ask);
  if (!/unsupported startup parameter/i.test(tried.failure ?? "")) return tried;
  return preparePython(env, code, ask, false);
}

/**
 * One try.
 * @param atStart whether sessions are read-only by a start-up parameter, unless a pooler refuses that, or by SQLAlchemy alone.
 */
export async function preparePython<T>(
  env: Environment,
  code: string,
  ask: (prepared: Prepared) => Promise<T>,
  atStart = true,
): Promise<T> {
  return withTemporaryFolder("python", async (folder) => {
    const constants = `HERE = ${JSON.stringify(folder)}\nAT_START = ${atStart ? "True" : "False"}`;
    writeFileSync(join(folder, "sitecustomize.py"), `${constants}\n${beginning}${code}`);
    const { PYTHONPATH: path, PGOPTIONS: options } = env;
    return ask({
      folder,
      env: {
        ...env,
        PYTHONPATH: path ? `${folder}${delimiter}${path}` : folder,
        // libpq's drivers read it, whatever opens their connections.
        ...(atStart ? { PGOPTIONS: options ? `${options} ${readOnly}` : readOnly } : {}),
      },
    });
  });
}

// Python runs a sitecustomize.py that it finds on its path as it starts, whichever program, tool or virtual environment
// starts it. Another one that this one hides is run all the same.
const beginning = `
import importlib.machinery, json, os, sys

sys.path[:] = [path for path in sys.path if path != HERE]
own = sys.modules.pop(__name__, None)
try:
    import sitecustomize
except ImportError:
    if own is not None:
        sys.modules[__name__] = own

waiting = {}


def after(name, act):
    """Calls act with the module when it has been imported."""
    waiting.setdefault(name, []).append(act)


class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in waiting:
            return None
        acts = waiting.pop(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            for act in acts:
                act(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder)


READ_ONLY = "-c default_transaction_read_only=on"


def add_option(options):
    """Options of a connection's own take the place of PGOPTIONS."""
    return "%s %s" % (options, READ_ONLY) if options else READ_ONLY


def start_read_only(start):
    """Calls start with what makes a session read-only; without it from then on, where a pooler refuses it."""
    global AT_START
    if AT_START:
        try:
            return start(True)
        except Exception as error:
            if "unsupported startup parameter" not in str(error).lower():
                raise
            withdraw()
    return start(False)


async def start_read_only_later(start):
    if AT_START:
        try:
            return await start(True)
        except Exception as error:
            if "unsupported startup parameter" not in str(error).lower():
                raise
            withdraw()
    return await start(False)


def withdraw():
    global AT_START
    AT_START = False
    if os.environ.get("PGOPTIONS", "").endswith(READ_ONLY):
        os.environ["PGOPTIONS"] = os.environ["PGOPTIONS"][: -len(READ_ONLY)].strip()


def read_only_psycopg(module):
    from psycopg.conninfo import conninfo_to_dict

    def merge(conninfo, options):
        given = options.get("options") or conninfo_to_dict(conninfo).get("options")
        return dict(options, options=add_option(given)) if given else options

    def guard(of, start):
        connect = of.connect.__func__

        def read_only(cls, conninfo="", **options):
            return start(lambda guarded: connect(cls, conninfo, **(merge(conninfo, options) if guarded else options)))

        of.connect = classmethod(read_only)

    if module.__name__ == "psycopg.connection":
        guard(module.Connection, start_read_only)
    else:
        guard(module.AsyncConnection, start_read_only_later)


def read_only_psycopg2(module):
    from psycopg2.extensions import parse_dsn

    connect = module.connect

    def read_only(dsn=None, connection_factory=None, cursor_factory=None, **options):
        def start(guarded):
            given = options.get("options") or (parse_dsn(dsn) if dsn else {}).get("options")
            # Without options of its own it reads PGOPTIONS.
            more = dict(options, options=add_option(given)) if guarded and given else options
            return connect(dsn, connection_factory, cursor_factory, **more)

        return start_read_only(start)

    module.connect = read_only


def read_only_pg8000(module):
    begin = module.CoreConnection.__init__

    def initialise(self, *arguments, **options):
        def start(guarded):
            if not guarded or "startup_params" not in begin.__code__.co_varnames:
                return begin(self, *arguments, **options)
            params = dict(options.get("startup_params") or {}, default_transaction_read_only="on")
            return begin(self, *arguments, **dict(options, startup_params=params))

        return start_read_only(start)

    module.CoreConnection.__init__ = initialise


def read_only_engines(module):
    # A session's own setting would stay with a connection of a pooler's, and be the application's afterwards.
    def begin(connection):
        if connection.dialect.name == "postgresql":
            getattr(connection, "exec_driver_sql", connection.execute)("SET TRANSACTION READ ONLY")

    module.event.listen(module.engine.Engine, "begin", begin)


def read_only_asyncpg(module):
    connect = module.connect

    def read_only(*arguments, server_settings=None, **options):
        def start(guarded):
            settings = dict(server_settings or {}, default_transaction_read_only="on") if guarded else server_settings
            return connect(*arguments, server_settings=settings, **options)

        return start_read_only_later(start)

    module.connect = read_only


def read_only_files(module):
    from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

    connect = module.connect
    kept = []

    def connect_uri(path, query, arguments, options):
        uri = "file:%s?%s" % (quote(path), urlencode(query))
        return connect(uri, *arguments[:6], **dict(options, uri=True))

    def read_only(database, *arguments, **options):
        name = os.fsdecode(database)
        path, query = name, {}
        if name.startswith("file:") and (options.get("uri") or len(arguments) > 6 and arguments[6]):
            parts = urlsplit(name)
            path, query = unquote(parts.path), dict(parse_qsl(parts.query))
        if path in ("", ":memory:") or query.get("mode") == "memory":
            connection = connect(database, *arguments, **options)
        elif os.path.exists(path):
            return connect_uri(os.path.abspath(path), dict(query, mode="ro"), arguments, options)
        else:
            # All its connections share what is in memory for as long as one of them is open.
            path, query = os.path.abspath(path).replace("/", "-"), {"mode": "memory", "cache": "shared"}
            kept.append(connect_uri(path, query, (), {}))
            connection = connect_uri(path, query, arguments, options)
        # Whoever writes to what is in memory could write to a file beside it.
        connection.set_authorizer(refuse_files)
        return connection

    def refuse_files(action, name, *others):
        return module.SQLITE_DENY if action == module.SQLITE_ATTACH and name not in ("", ":memory:") else module.SQLITE_OK

    module.connect = read_only


after("sqlalchemy", read_only_engines)
for name in ("psycopg.connection", "psycopg.connection_async"):
    after(name, read_only_psycopg)
after("psycopg2", read_only_psycopg2)
after("asyncpg.connection", read_only_asyncpg)
after("pg8000.core", read_only_pg8000)
after("sqlite3.dbapi2", read_only_files)
`;
