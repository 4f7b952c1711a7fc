// What env.py would connect to, reported from inside Alembic's own process: env.py runs as for an upgrade, up to its first
// connection, of which SQLAlchemy has put all the parameters together by then. Guarantees: that connection is not made, so
// nothing of a database is read or changed.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure, NoAnswer } from "../../../failure.ts";
import type { AskedDatabase, Place } from "../../tool.ts";
import type { AlembicCommand } from "../command.ts";
import { runAlembic } from "./run.ts";

/** Python has to be started, and the application is imported. */
const timeoutMs = 60_000;

const cure = "set ENTRYPOINT_DATABASE_URL, in which ${NAME} stands for a variable";

export async function askDatabase(command: AlembicCommand, place: Place): Promise<AskedDatabase> {
  try {
    return readAnswer(await requestAnswer(command, place));
  } catch (error) {
    if (place.stop.aborted) throw place.stop.reason;
    if (!(error instanceof NoAnswer || error instanceof Failure)) throw error;
    return { kind: "no-answer", reason: error.message, cure };
  }
}

type Answer =
  | { readonly refused: string }
  | {
      readonly dialect: string;
      readonly driver: string;
      readonly parameters: Readonly<Record<string, string | number | boolean>>;
    };

async function requestAnswer(command: AlembicCommand, place: Place): Promise<Answer> {
  return runAlembic(
    command,
    "history",
    { ...place, timeoutMs },
    customisation,
    (_stdout, folder) => {
      try {
        return JSON.parse(readFileSync(join(folder, "database.json"), "utf8")) as Answer;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        throw new NoAnswer("the command ended before Alembic could be queried");
      }
    },
  );
}

/** libpq's name of a driver's parameter. */
const names: Readonly<Record<string, string>> = { database: "dbname", ssl: "ssl" };
/** What entrypoint's own connection needs; the rest is about sessions, such as a time limit for statements. */
const wanted = new Set(
  "host hostaddr port user password dbname passfile service options ssl target_session_attrs unix_sock".split(
    " ",
  ),
);
const maintenance = ["postgres", "template1"];

function readAnswer(answer: Answer): AskedDatabase {
  if ("refused" in answer) throw new NoAnswer(answer.refused);
  const { dialect, driver, parameters } = answer;
  if (dialect !== "postgresql") return { kind: "foreign", dialect };
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    const known = names[name] ?? name;
    if (wanted.has(known) || known.startsWith("ssl")) query.set(known, String(value));
  }
  if (maintenance.includes(query.get("dbname") ?? "")) {
    throw new NoAnswer(
      `the first database that env.py connects to is ${query.get("dbname")}, which is mostly not the one that it migrates`,
    );
  }
  return { kind: "url", url: `postgresql+${driver}:///?${query.toString()}` };
}

const customisation = `
def end(answer):
    with open(os.path.join(HERE, "database.json"), "w", encoding="utf-8") as file:
        json.dump(answer, file)
    # Nothing that stands behind the connection runs: no handler of errors, no second try.
    os._exit(0)


def refuse(reason):
    end({"refused": reason})


def is_imported():
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.endswith("/env.py"):
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def connect(dialect, *arguments, **parameters):
    if dialect.name != "postgresql":
        end({"dialect": dialect.name, "driver": "", "parameters": {}})
    if is_imported():
        refuse("the application connects to a database as it is imported")
    if any(each != "" for each in arguments):
        refuse("env.py connects in a way of its own")
    known = {}
    for name, value in parameters.items():
        if value is None:
            continue
        if isinstance(value, (str, int, float, bool)):
            known[name] = value
        elif isinstance(value, (list, tuple)) and all(isinstance(each, (str, int)) for each in value):
            known[name] = ",".join(str(each) for each in value)
        elif name in ("ssl", "ssl_context"):
            if getattr(value, "verify_mode", None) != 0:
                refuse("the TLS of the connection is set up in code")
            known["sslmode"] = "require"
        elif name in ("host", "port", "user", "password", "database", "dbname"):
            refuse("the %s of the connection is made in code" % name)
    end({"dialect": dialect.name, "driver": dialect.driver, "parameters": known})


def guard(module):
    if hasattr(module, "connect"):
        module.connect = lambda *arguments, **parameters: refuse("env.py connects without SQLAlchemy")


def replace(command):
    # Alembic makes its command line from the names and the defaults of the arguments.
    def history(config, rev_range=None, verbose=False, indicate_current=False):
        try:
            from alembic.runtime.environment import EnvironmentContext
            from alembic.script import ScriptDirectory
            from sqlalchemy.engine import default

            default.DefaultDialect.connect = connect
            for name in DRIVERS:
                if name in sys.modules:
                    guard(sys.modules[name])
                else:
                    after(name, guard)
            script = ScriptDirectory.from_config(config)
            with EnvironmentContext(config, script, fn=lambda revision, context: [], destination_rev="heads"):
                script.run_env()
        except BaseException as error:
            refuse("env.py cannot be run up to its connection: %s: %s" % (type(error).__name__, error))
        refuse("env.py ends without a connection")

    history.__module__ = command.history.__module__
    history.__doc__ = command.history.__doc__
    command.history = history


DRIVERS = ("psycopg", "psycopg2", "asyncpg", "pg8000")
after("alembic.command", replace)
`;
