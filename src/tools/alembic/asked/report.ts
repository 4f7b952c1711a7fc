// What the real Alembic has loaded, and from where, reported from inside its own process. The migration command is run with
// `history` in place of `upgrade`; where Alembic would print the history, it writes the report. Nothing is migrated; only
// env.py may query a database, where it is run so far.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { NoAnswer } from "../../../failure.ts";
import type { AlembicCommand } from "../command.ts";
import type { Revision } from "../revision.ts";
import { watching, type Watched } from "../../watch.ts";
import type { Run } from "../../question.ts";
import { runAlembic } from "./run.ts";

/** Paths are absolute, as Python has them. */
export interface Report extends Watched {
  /** Its version. */
  readonly alembic: string;
  readonly scriptLocation: string;
  readonly environmentFile: string;
  readonly configFiles: readonly string[];
  readonly versionLocations: readonly string[];
  readonly recursive: boolean;
  readonly sourceless: boolean;
  /** In the order in which Alembic 1.20 loads them; older ones go by the file system's. */
  readonly revisions: readonly Revision[];
  readonly heads: readonly string[];
  readonly realHeads: readonly string[];
  /** The lines of env.py that have been run: none, unless that was asked for. */
  readonly environmentLines: readonly number[];
}

export type ReportAnswer =
  | { readonly kind: "reported"; readonly report: Report }
  /** Alembic refuses the config or the revisions, in its own words; no environmentFile where it is the config. */
  | {
      readonly kind: "refused";
      readonly reason: string;
      readonly environmentFile: string | null;
    };

/**
 * How far Alembic goes before it reports: not to env.py; in env.py up to the first call that needs the kind of connection;
 * or up to the call that would migrate, with a database.
 */
export type Stage = "config" | "connection" | "migration";

/** What env.py does not get past, with the one that every env.py calls last. */
const ends: Readonly<Record<Stage, readonly string[]>> = {
  config: [],
  connection: ["is_offline_mode", "configure"],
  migration: ["run_migrations"],
};

/** Throws NoAnswer where no Alembic ran so far, and Failure "not-found" or "not-executable". */
export async function requestReport(
  command: AlembicCommand,
  stage: Stage,
  run: Run,
): Promise<ReportAnswer> {
  const code = `ENDS = ${JSON.stringify(ends[stage])}\n${customisation}`;
  return runAlembic(
    command,
    "history",
    run,
    code,
    (_stdout, folder) => readReport(join(folder, "report.json")),
    (answer) => (answer.kind === "refused" ? answer.reason : null),
  );
}

function readReport(path: string): ReportAnswer {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    throw new NoAnswer(
      "the command ended before Alembic could be queried (is Python run with -I or -E, or by a tool that has a sitecustomize of its own?)",
      "run Python without them, -P and -s in their place; or name what env.py chooses in code with --versions and --version-table",
    );
  }
  const answer = JSON.parse(text) as
    | Report
    | { readonly refused: string; readonly environmentFile: string | null };
  return "refused" in answer
    ? { kind: "refused", reason: answer.refused, environmentFile: answer.environmentFile }
    : { kind: "reported", report: answer };
}

const customisation = `${watching}
import warnings

def replace(command):
    # Alembic makes its command line from the names and the defaults of the arguments.
    def history(config, rev_range=None, verbose=False, indicate_current=False):
        from alembic.script import ScriptDirectory

        environment = None
        try:
            script = ScriptDirectory.from_config(config)
            environment = os.path.abspath(str(script.env_py_location))
            # A path that is not UTF-8 would be another one elsewhere.
            answer = json.dumps(testify(config, script, environment), ensure_ascii=False).encode("utf-8")
        except Exception as error:
            answer = json.dumps({"refused": explain(error), "environmentFile": environment}).encode("utf-8")
        with open(os.path.join(HERE, "report.json"), "wb") as file:
            file.write(answer)

    history.__module__ = command.history.__module__
    history.__doc__ = command.history.__doc__
    command.history = history


after("alembic.command", replace)


def explain(error):
    from alembic.script.revision import RevisionError
    from alembic.util import CommandError

    if isinstance(error, (CommandError, RevisionError, Refused)):
        return str(error)
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    frames = [one for one in frames if not is_installed(one.filename) and not one.filename.startswith(HERE)]
    where = "" if len(frames) == 0 else "%s, line %s: " % (frames[-1].filename, frames[-1].lineno)
    return "%s%s: %s" % (where, type(error).__name__, error)


class Refused(Exception):
    pass


class Reached(BaseException):
    """env.py has come to one of the ENDS."""


def testify(config, script, environment):
    import alembic

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            lines = run_environment(config, script) if len(ENDS) > 0 else []
            heads = list(script.get_heads())
            revisions = script.revision_map
            found = [one for one in revisions._revision_map.values() if one is not None]
            for _ in script.walk_revisions():
                pass
        finally:
            # It says with a warning what it then goes on with, or stops at without a word of its own.
            for warning in caught:
                if issubclass(warning.category, UserWarning) and warning.filename.endswith("/alembic/script/revision.py"):
                    raise Refused(str(warning.message))
    folders = [os.path.realpath(str(path)) for path in script._version_locations]

    def place(revision):
        folder, name = os.path.split(os.path.realpath(revision.path))
        index = next((index for index, path in enumerate(folders) if (folder + "/").startswith(path + "/")), 0)
        return index, folder.split("/"), name

    files = [config.config_file_name, getattr(config, "toml_file_name", None)]
    return {
        "alembic": alembic.__version__,
        "scriptLocation": os.path.abspath(script.dir),
        "environmentFile": environment,
        "configFiles": [os.path.abspath(path) for path in files if path],
        "versionLocations": [os.path.abspath(str(path)) for path in script._version_locations],
        "recursive": bool(getattr(script, "recursive_version_locations", False)),
        "sourceless": bool(script.sourceless),
        "revisions": [describe(one) for one in sorted(dict.fromkeys(found), key=place)],
        "heads": heads,
        "realHeads": list(revisions._real_heads),
        **watched(alembic),
        "environmentLines": lines,
    }


def describe(revision):
    def list_names(value):
        names = [] if value is None else [value] if isinstance(value, str) else list(value)
        if not all(isinstance(name, str) for name in names):
            raise Refused("%s: %r is not a string" % (revision.path, value))
        return names

    return {
        "id": list_names(revision.revision)[0],
        "downRevisions": list_names(revision.down_revision),
        "dependsOn": list_names(revision.dependencies),
        "branchLabels": sorted(list_names(revision._orig_branch_labels)),
        "doc": revision.longdoc,
        "path": os.path.realpath(revision.path),
    }


def run_environment(config, script):
    from alembic.runtime.environment import EnvironmentContext

    path = os.path.realpath(str(script.env_py_location))
    lines = set()

    def trace(frame, event, argument):
        if os.path.realpath(frame.f_code.co_filename) != path:
            return None
        lines.add(frame.f_lineno)
        return trace

    def reached(*arguments, **options):
        raise Reached()

    for name in ENDS:
        setattr(EnvironmentContext, name, reached)
    with EnvironmentContext(config, script, fn=lambda revision, context: [], destination_rev="heads"):
        sys.settrace(trace)
        try:
            script.run_env()
        except Reached:
            return sorted(lines)
        except BaseException as error:
            raise Refused("env.py may set the folders, so it has to be run, and it fails: %s" % explain(error))
        finally:
            sys.settrace(None)
    raise Refused("env.py may set the folders, but it does not end at context.%s()" % ENDS[-1])
`;
