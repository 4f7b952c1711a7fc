// The real Alembic as a witness: what it has loaded, and from where, told from inside its own process. The migration
// command's own words are run with `history` in place of `upgrade`, and where Alembic would print the history it writes
// down what it knows. Nothing is migrated; a database is asked by env.py alone, where that is run so far.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Settings } from "../../settings.ts";
import type { Revision } from "../state.ts";
import { NoAnswer, runAlembic } from "./run.ts";

/** What Alembic says; paths are absolute, as Python has them. */
export interface Testimony {
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
  /** What Python has run, or has read or looked for, besides; Python's own installation left out. */
  readonly files: readonly string[];
  /** The folders that it has listed below the working directory. */
  readonly listed: readonly string[];
  /** `site-packages` and its like. */
  readonly installations: readonly string[];
  /** The variables that the project's own code has asked for. */
  readonly variables: readonly string[];
  /** The lines of env.py that have been run: none, unless that was asked for. */
  readonly environmentLines: readonly number[];
}

export type TestimonyAnswer =
  | { readonly kind: "told"; readonly testimony: Testimony }
  /** Alembic refuses the config or the revisions, in its own words; no environmentFile where it is the config. */
  | {
      readonly kind: "refused";
      readonly reason: string;
      readonly environmentFile: string | null;
    };

/**
 * How far it goes before it tells: not to env.py; in env.py up to where that would first ask for the database's kind of
 * connection; or up to where that would migrate, with a database.
 */
export type Stage = "config" | "connection" | "migration";

/** What env.py does not get past, with the one that every env.py calls last. */
const ends: Readonly<Record<Stage, readonly string[]>> = {
  config: [],
  connection: ["is_offline_mode", "configure"],
  migration: ["run_migrations"],
};

/** Throws NoAnswer where no Alembic came to speak, and Failure "not-found" or "not-executable". */
export async function hearAlembic(
  settings: Settings,
  { stage, ...limits }: { stage: Stage; stop: AbortSignal; timeoutMs: number },
): Promise<TestimonyAnswer> {
  const folder = makeFolder();
  try {
    const result = join(folder, "testimony.json");
    const source = writeCustomisation({ folder, result, ends: ends[stage] });
    writeFileSync(join(folder, "sitecustomize.py"), source);
    const path = settings.env["PYTHONPATH"];
    const env = {
      ...settings.env,
      PYTHONPATH: path === undefined || path === "" ? folder : `${folder}${delimiter}${path}`,
    };
    await runAlembic({ ...settings, env }, "history", limits);
    return readTestimony(result);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** In a container whose root is read-only, shared memory is often all that can be written to. */
function makeFolder(): string {
  const places = [tmpdir(), "/dev/shm"];
  for (const place of places) {
    try {
      return mkdtempSync(join(place, "entrypoint-witness-"));
    } catch {
      // The next one, or none.
    }
  }
  throw new NoAnswer(
    `cannot make a folder in ${places.join(" or ")}`,
    "mount a tmpfs at /tmp, or name a folder that can be written to with TMPDIR",
  );
}

function readTestimony(path: string): TestimonyAnswer {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    throw new NoAnswer(
      "the command ended without Alembic having been asked (is Python run with -I or -E, or by a tool that has a sitecustomize of its own?)",
      "run Python without them, -P and -s in their place; or name what env.py chooses in code with --versions and --version-table",
    );
  }
  const answer = JSON.parse(text) as
    | Testimony
    | { readonly refused: string; readonly environmentFile: string | null };
  return "refused" in answer
    ? { kind: "refused", reason: answer.refused, environmentFile: answer.environmentFile }
    : { kind: "told", testimony: answer };
}

// Python runs a sitecustomize.py that it finds on its path as it starts, whichever program, tool or virtual environment
// starts it. Another one that this one hides is run all the same.
function writeCustomisation(given: {
  folder: string;
  result: string;
  ends: readonly string[];
}): string {
  return `HERE = ${JSON.stringify(given.folder)}
RESULT = ${JSON.stringify(given.result)}
ENDS = ${JSON.stringify(given.ends)}
${customisation}`;
}

const customisation = `
import importlib.machinery, json, os, sys, warnings

sys.path[:] = [path for path in sys.path if path != HERE]
own = sys.modules.pop(__name__, None)
try:
    import sitecustomize
except ImportError:
    if own is not None:
        sys.modules[__name__] = own

CWD = os.path.realpath(os.getcwd())
INSTALLED = {
    os.path.join(os.path.realpath(prefix), name, "")
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    for name in ("bin", "include", "lib", "lib64", "share")
}
opened, listed, variables = set(), set(), set()
get_variable = type(os.environ).__getitem__


def note(event, arguments):
    try:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and not flags & (os.O_WRONLY | os.O_RDWR):
                opened.add(os.path.abspath(os.fsdecode(path)))
        elif event in ("os.listdir", "os.scandir") and is_asked_by_project(sys._getframe(1)):
            path = "." if arguments[0] is None else arguments[0]
            if not isinstance(path, int):
                listed.add(os.path.abspath(os.fsdecode(path)))
    except Exception:
        pass


def is_asked_by_project(frame):
    # An import and a search for plug-ins list every folder on the path; os.walk and glob do so for somebody.
    while frame is not None:
        path = frame.f_code.co_filename
        if "importlib" in path or is_package(path):
            return False
        if not is_installed(path):
            return True
        frame = frame.f_back
    return False


def note_variable(environment, name):
    if isinstance(name, str) and is_asked_by_project(sys._getframe(1)):
        variables.add(name)
    return get_variable(environment, name)


sys.addaudithook(note)
type(os.environ).__getitem__ = note_variable


class Finder:
    """Is there when alembic.command is imported, and replaces its history."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "alembic.command":
            return None
        sys.meta_path.remove(cls)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            replace(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder)


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
        with open(RESULT, "wb") as file:
            file.write(answer)

    history.__module__ = command.history.__module__
    history.__doc__ = command.history.__doc__
    command.history = history


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


def is_package(path):
    return "/site-packages/" in path or "/dist-packages/" in path


def is_installed(path):
    if path.startswith("<"):
        return True
    path = os.path.realpath(path)
    return is_package(path) or any(path.startswith(prefix) for prefix in INSTALLED)


def is_own(path):
    path = os.path.realpath(path)
    return path.startswith(os.path.join(CWD, "")) and not is_installed(path)


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
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    modules = [path for path in modules if isinstance(path, str) and not is_installed(path) and os.path.dirname(path) != HERE]
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
        "files": sorted(
            {os.path.abspath(alembic.__file__)}
            | {os.path.abspath(path) for path in modules}
            | {path for path in opened if is_own(path) and not os.path.isdir(path) and "/__pycache__/" not in path}
        ),
        "listed": sorted(path for path in listed if is_own(os.path.join(path, "x"))),
        "installations": sorted(
            {os.path.abspath(path) for path in sys.path if path.endswith(("site-packages", "dist-packages")) and os.path.isdir(path)}
        ),
        "variables": sorted(variables),
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
