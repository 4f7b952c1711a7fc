// What an answer of Python's depends on: the files that it has run, read or listed, and the variables that the project has asked
// for. It is written down by a Python that begins as python.ts says.

export interface Watched {
  /** Absolute, as Python has them: what it has run, or has read or looked for, besides; Python's own installation left out. */
  readonly files: readonly string[];
  /** The folders that it has listed below the working directory. */
  readonly listed: readonly string[];
  /** `site-packages` and its like. */
  readonly installations: readonly string[];
  /** The variables that the project's own code has asked for. */
  readonly variables: readonly string[];
  /** The files below the working directory that it has created. */
  readonly created: readonly string[];
}

/** `watched(package)` is what Watched has, of a Python in which that package answers. */
export const watching = `
CWD = os.path.realpath(os.getcwd())
INSTALLED = {
    os.path.join(os.path.realpath(prefix), name, "")
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    for name in ("bin", "include", "lib", "lib64", "share")
}
opened, created, listed, variables = set(), set(), set(), set()
get_variable = type(os.environ).__getitem__


def note(event, arguments):
    try:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and not flags & (os.O_WRONLY | os.O_RDWR):
                opened.add(os.path.abspath(os.fsdecode(path)))
            elif isinstance(path, (str, bytes)) and not os.path.exists(path):
                created.add(os.path.abspath(os.fsdecode(path)))
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


def watched(package):
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    modules = [path for path in modules if isinstance(path, str) and not is_installed(path) and os.path.dirname(path) != HERE]
    return {
        "files": sorted(
            {os.path.abspath(package.__file__)}
            | {os.path.abspath(path) for path in modules}
            | {path for path in opened if is_own(path) and not os.path.isdir(path) and "/__pycache__/" not in path}
        ),
        "listed": sorted(path for path in listed if is_own(os.path.join(path, "x"))),
        "installations": sorted(
            {os.path.abspath(path) for path in sys.path if path.endswith(("site-packages", "dist-packages")) and os.path.isdir(path)}
        ),
        "variables": sorted(variables),
        "created": sorted(path for path in created if is_own(path) and os.path.exists(path) and "/__pycache__/" not in path),
    }
`;
