// Which applications certainly have no handler for TERM. As PID 1 such a program never gets it: the kernel drops a signal that
// has none there, and `docker stop` waits out its grace period for the KILL.
// Guarantees: what is not seen as a whole is no finding. A library of Python may install a handler, a shell's command may exec.

import { readFileSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Environment } from "../../runtime/environment.ts";

interface Place {
  readonly cwd: string;
  readonly env: Environment;
}

/** They stand for their whole kind: they run for as long as they are told to, and catch nothing. */
const plainPrograms = new Set(["sleep", "tail", "cat"]);
const shells = /^(?:sh|bash|dash|ash)$/;
/** They become the command that they are given, behind as many words of their own. */
const launchers: Readonly<Record<string, number>> = { gosu: 1, "su-exec": 1, env: 0 };

/** @param file where the program was found; @returns what was looked at, `sleep` or `worker.py`, or null where it is not certain. */
export function findWithoutTermHandler(
  words: readonly string[],
  file: string,
  place: Place,
): string | null {
  const [first = "", ...rest] = words;
  const name = basename(first);
  if (plainPrograms.has(name)) return name;
  if (/^python[\d.]*$/.test(name)) return inspectPython(rest, place);
  if (shells.test(name)) return inspectShell(rest, place);
  const own = launchers[name];
  if (own !== undefined) {
    const start = rest.findIndex((word, at) => at >= own && !/^[A-Za-z_]\w*=/.test(word));
    const command = start === -1 ? [] : rest.slice(start);
    return findWithoutTermHandler(command, command[0] ?? "", place);
  }
  return inspectScript(first, file, place);
}

/** A text that names its interpreter in its first line. */
function inspectScript(name: string, file: string, place: Place): string | null {
  if (!file.includes("/")) return null;
  const path = resolve(place.cwd, file);
  const [, interpreter, argument] =
    /^#![ \t]*(\S+)(?:[ \t]+(\S+))?[ \t]*$/m.exec(readStart(path)) ?? [];
  if (interpreter === undefined || name === "") return null;
  const words = [interpreter, ...(argument === undefined ? [] : [argument]), path];
  // The interpreter of a script is a script itself so seldom that it is not looked at.
  return findWithoutTermHandler(words, "", place);
}

function readStart(path: string): string {
  const text = readText(path) ?? "";
  return text.slice(0, Math.max(text.indexOf("\n"), 0));
}

/** Anything larger is no script. */
const mostBytes = 1_000_000;

function readText(path: string): string | null {
  try {
    const stats = statSync(path);
    return stats.isFile() && stats.size <= mostBytes ? readFileSync(path, "utf8") : null;
  } catch {
    return null;
  }
}

/** What takes a signal, or becomes another program. */
const handling = /\b(?:trap|exec|eval|source)\b|^\s*\.\s|[;&|]\s*\.\s/m;

/** A shell without a trap runs its commands one after the other; the last one of `-c` it may become. */
function inspectShell(words: readonly string[], { cwd }: Place): string | null {
  const index = words.findIndex((word) => !/^-[eux]+$/.test(word));
  const [word = "", text = ""] = words.slice(Math.max(index, 0));
  if (word === "-c") {
    const stays = /\bdone\s*;?\s*$/.test(text) && !handling.test(text);
    return stays ? "the shell's commands" : null;
  }
  const script = /^[-+]/.test(word) || word === "" ? null : readText(resolve(cwd, word));
  return script === null || handling.test(script) ? null : basename(word);
}

function inspectPython(words: readonly string[], place: Place): string | null {
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] as string;
    if (/^-[bBdOqRsSuv]+$/.test(word) || /^-[WX]./.test(word)) continue;
    const next = words[index + 1] ?? "";
    if (word === "-W" || word === "-X") index += 1;
    else if (word === "-c") return inspectSource("the code of -c", next, place.cwd, place);
    else if (word === "-m") return inspectModule(next, place);
    else if (word.startsWith("-")) return null;
    else {
      const path = resolve(place.cwd, word);
      return inspectSource(basename(word), readText(path), dirname(path), place);
    }
  }
  return null;
}

function inspectModule(name: string, place: Place): string | null {
  const base = join(place.cwd, ...name.split("."));
  for (const path of [join(base, "__main__.py"), `${base}.py`]) {
    const text = readText(path);
    // Its packages run before it.
    const packages = name.split(".").slice(0, -1);
    const from = packages.length === 0 ? "" : `import ${packages.join(".")}\n`;
    if (text !== null)
      return inspectSource(basename(path), `${from}${text}`, place.cwd, place, path);
  }
  return null;
}

/** Python's own modules that install no handler for TERM, neither as they are imported nor by what they do. */
export const silentModules: ReadonlySet<string> = new Set(
  "__future__ abc argparse array ast asyncio base64 bisect calendar codecs collections concurrent configparser contextlib contextvars copy csv dataclasses datetime decimal email enum errno fnmatch fractions functools gc getpass glob gzip hashlib heapq hmac html http io ipaddress itertools json keyword locale logging lzma math mimetypes multiprocessing numbers operator os pathlib pickle platform pprint queue random re sched secrets select selectors shlex shutil smtplib socket socketserver sqlite3 ssl stat statistics string struct subprocess sys tempfile textwrap threading time timeit traceback types typing unicodedata urllib uuid warnings weakref xml zipfile zlib zoneinfo".split(
    " ",
  ),
);

/** Anything that may install a handler, load what is not seen, or become another program. */
const doubtful = /[Ss]ignal|SIG[A-Z]|\bexec|\beval\b|__import__|fork|\bpty\b/;
const mostFiles = 40;

/** The code, and all modules of the project that it imports. */
function inspectSource(
  name: string,
  text: string | null,
  base: string,
  { cwd, env }: Place,
  path = join(base, name),
): string | null {
  const others = (env["PYTHONPATH"] ?? "").split(":").filter((folder) => folder !== "");
  const bases = [base, ...others.map((folder) => resolve(cwd, folder))];
  // Python runs these by itself.
  const customised = bases.flatMap((folder) =>
    ["sitecustomize", "usercustomize"].flatMap((module) => findModule(folder, [module]) ?? []),
  );
  if (text === null || customised.length > 0) return null;
  const seen = new Set([path]);
  const queue: { path: string; text: string | null }[] = [{ path, text }];
  for (const file of queue) {
    const source = file.text ?? readText(file.path);
    if (source === null || doubtful.test(source) || seen.size > mostFiles) return null;
    const imported = findImports(source, file.path, bases);
    if (imported === null) return null;
    for (const one of imported.filter((each) => !seen.has(each))) {
      seen.add(one);
      queue.push({ path: one, text: null });
    }
  }
  return seen.size === 1 ? name : `${name} and what it imports`;
}

/** The project's files that the code imports; null where anything else than those and `silentModules` may be. */
function findImports(source: string, path: string, bases: readonly string[]): string[] | null {
  const code = source.replaceAll(/^\s*#.*/gm, "").replaceAll(/\\\r?\n/g, " ");
  const statements = code.matchAll(
    /\b(?:from[ \t]+(\.*)[ \t]*([\w.]*)[ \t]+)?import\b(?:[ \t]*\(([^)]*)\)|([^\n;]*))/g,
  );
  const found: string[] = [];
  for (const [, dots = "", from = "", listed, line = ""] of statements) {
    const names = (listed ?? line)
      .replaceAll(/#.*/g, "")
      .split(",")
      .map((one) => one.trim().split(/\s+/)[0] ?? "")
      .filter((one) => one !== "");
    if (names.length === 0) return null;
    const relative =
      dots === "" ? null : resolve(dirname(path), ...Array(dots.length - 1).fill(".."));
    const roots = relative === null ? bases : [relative];
    const isFrom = dots !== "" || from !== "";
    for (const name of names) {
      const parts = (isFrom ? from : name).split(".").filter((part) => part !== "");
      const whole = isFrom ? [...parts, name] : parts;
      const files = roots
        .map((root) => findModule(root, whole) ?? (isFrom ? findModule(root, parts) : null))
        .flatMap((each) => (each === null ? [] : [each]))[0];
      if (files !== undefined) found.push(...files);
      else if (relative !== null || !silentModules.has(whole[0] ?? "")) return null;
    }
  }
  return found;
}

/** The files that Python runs for `import a.b`; null where it is not found below the folder. */
function findModule(folder: string, parts: readonly string[]): string[] | null {
  if (parts.length === 0) return null;
  const packages = parts.map((_, index) =>
    join(folder, ...parts.slice(0, index + 1), "__init__.py"),
  );
  const whole = join(folder, ...parts);
  const last = [`${whole}.py`, join(whole, "__init__.py")].find(exists);
  if (last === undefined) return null;
  return [...packages.slice(0, -1).filter(exists), last];
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
