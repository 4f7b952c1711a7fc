// What a migration command starts in the end: launchers such as `uv run` and `python -m` are seen through.
// Guarantees: an option that is not known to leave the program, its directory and its environment alone is a reason to
// understand nothing.

/** What the launchers start. */
export interface Program {
  /** `module`: of `python -m NAME`; `script`: a file that Python runs. */
  readonly kind: "program" | "module" | "script";
  /** Without its directory; a module with its dots. */
  readonly name: string;
  /** The words after it. */
  readonly args: readonly string[];
}

/** The program, or why it is not known. */
export type Launched =
  | Program
  | {
      readonly kind: "opaque";
      readonly reason: string;
      /** The last one that is known, such as the shell that runs the rest. */
      readonly program?: Program;
    };

/** `value`: the option takes one, in the next word or behind `=`; `values`: it may be given several times. */
export type Options = Readonly<Record<string, "flag" | "value" | "values" | "refused">>;

export function flags(names: string): Options {
  return Object.fromEntries(names.split(" ").map((name) => [name, "flag" as const]));
}

export function values(names: string): Options {
  return Object.fromEntries(names.split(" ").map((name) => [name, "value" as const]));
}

/** The words from the first one that is neither an option nor the value of one. */
export function skipOptions(words: readonly string[], options: Options): readonly string[] {
  const end = words.findIndex((word, index) => {
    const before = words[index - 1] ?? "";
    return !word.startsWith("-") && options[before] !== "value";
  });
  return end === -1 ? [] : words.slice(end);
}

// What `uv run` takes without a change of directory or environment that would have to be followed.
const uvOptions: Options = {
  ...flags(
    "--frozen --locked --no-sync --no-dev --dev --all-extras --no-extra-warning --isolated --active --offline",
  ),
  ...flags(
    "--quiet -q --verbose -v --no-cache --exact --no-project --no-env-file --all-groups --no-default-groups",
  ),
  ...flags(
    "--no-editable --no-progress --no-config --managed-python --no-managed-python --native-tls --all-packages",
  ),
  ...flags(
    "--refresh --reinstall --upgrade -U --no-build --no-binary --no-python-downloads --only-dev -qq -vv",
  ),
  ...values(
    "--extra --no-extra --group --no-group --only-group --with --with-editable --with-requirements",
  ),
  ...values(
    "--python -p --package --index --default-index --index-url -i --project --color --cache-dir",
  ),
};
const poetryOptions: Options = flags(
  "--quiet -q --verbose -v -vv -vvv --no-interaction -n --no-ansi --ansi --no-plugins",
);
const pdmOptions: Options = flags("-s --site-packages -q --quiet -v --verbose");
const hatchOptions: Options = { ...flags("-q --quiet -v --verbose"), ...values("-e --env") };
const pythonFlags = /^-[bBdEIOPRsSuvq]+$/;

const condaOptions: Options = {
  ...flags("--no-capture-output --live-stream -v --verbose -q --quiet"),
  ...values("-n --name -p --prefix"),
};
const pixiOptions: Options = {
  ...flags("-q --quiet -v --verbose --frozen --locked --no-install --as-is"),
  ...values("-e --environment"),
};
const openTelemetryOptions: Options = values(
  "--traces_exporter --metrics_exporter --logs_exporter --service_name --resource_attributes --exporter_otlp_endpoint --exporter_otlp_traces_endpoint --exporter_otlp_metrics_endpoint --exporter_otlp_headers --exporter_otlp_insecure --propagators --id_generator",
);

/** What a program takes before the command that it starts. */
interface Wrapper {
  readonly options: Options;
  /** How many words stand between the options and the command. */
  readonly words: number;
}

/** They start their command with the environment and in the directory that they were given. */
const wrappers: Readonly<Record<string, Wrapper>> = {
  timeout: {
    options: {
      ...flags("--foreground -f --preserve-status -p -v --verbose"),
      ...values("-k --kill-after -s --signal"),
    },
    words: 1,
  },
  nice: { options: values("-n --adjustment"), words: 0 },
  ionice: {
    options: { ...values("-c --class -n --classdata"), ...flags("-t --ignore") },
    words: 0,
  },
  stdbuf: { options: values("-i --input -o --output -e --error"), words: 0 },
  nohup: { options: {}, words: 0 },
  gosu: { options: {}, words: 1 },
  "su-exec": { options: {}, words: 1 },
  tini: { options: { ...flags("-g -s -v -vv -vvv -w"), ...values("-p -e") }, words: 0 },
  "dumb-init": { options: flags("-c --single-child -v --verbose"), words: 0 },
  "ddtrace-run": {
    options: flags("-d --debug -p --profiling"),
    words: 0,
  },
  "opentelemetry-instrument": { options: openTelemetryOptions, words: 0 },
  "splunk-py-trace": { options: openTelemetryOptions, words: 0 },
  "elasticapm-run": { options: {}, words: 0 },
  // Not --fork, with which it ends before its command does.
  setsid: { options: flags("-c --ctty -w --wait"), words: 0 },
  setpriv: {
    options: {
      ...flags("--clear-groups --keep-groups --init-groups --no-new-privs --nnp"),
      ...values("--reuid --regid --ruid --euid --rgid --egid --groups --inh-caps --ambient-caps"),
      ...values("--bounding-set --securebits --pdeathsig"),
    },
    words: 0,
  },
  runuser: { options: values("-u --user -g --group -G --supp-group"), words: 0 },
  chpst: { options: values("-u -U -n -m -o -p -f -c"), words: 0 },
  "s6-setuidgid": { options: {}, words: 1 },
  taskset: { options: flags("-c --cpu-list"), words: 1 },
  prlimit: {
    // Their values stand behind `=`.
    options: flags("--as --core --cpu --data --fsize --memlock --nofile --nproc --rss --stack"),
    words: 0,
  },
  time: { options: flags("-p -v --portability --verbose"), words: 0 },
  catatonit: { options: flags("-g"), words: 0 },
  dockerize: { options: values("-wait -timeout -wait-retry-interval"), words: 0 },
};

/** Variables that may change what is read, or the database: nobody would look at them here. */
const readVariable =
  /^(?:PG|PYTHON|FLASK_|VIRTUAL_ENV|PATH$|HOME$)|URL|URI|DSN|DB|DATABASE|POSTGRES|SQL|HOST|CONFIG/i;

/** Sees through the launchers of a command. */
export function unwrap(words: readonly string[]): Launched {
  const [first, ...rest] = words;
  if (first === undefined) return opaque("there is no command");
  const name = baseName(first);
  const program: Program = { kind: "program", name, args: rest };
  if (isPython(name)) return orAtLeast(program, unwrapPython(rest));
  const wrapper = Object.hasOwn(wrappers, name) ? wrappers[name] : undefined;
  if (wrapper !== undefined) return unwrapWrapper(name, rest, wrapper);
  switch (name) {
    case "uv":
      return orAtLeast(program, unwrapRunner(name, rest, uvOptions));
    case "poetry":
      return orAtLeast(program, unwrapRunner(name, rest, poetryOptions));
    case "pdm":
      return unwrapRunner(name, rest, pdmOptions);
    case "hatch":
      return unwrapRunner(name, rest, hatchOptions);
    case "conda":
    case "mamba":
    case "micromamba":
      return unwrapRunner(name, rest, condaOptions);
    case "pixi":
      return unwrapRunner(name, rest, pixiOptions);
    case "wait-for-it":
    case "wait-for-it.sh":
    case "wait4x":
      return rest.includes("--")
        ? unwrap(rest.slice(rest.indexOf("--") + 1))
        : opaque(`${name} runs nothing`);
    case "pipenv":
    case "rye":
      return unwrapRunner(name, rest, {});
    case "dotenv":
      return unwrapDotenv(rest);
    case "newrelic-admin":
      if (rest[0] === "run-python") return unwrapPython(rest.slice(1));
      return rest[0] === "run-program"
        ? unwrap(rest.slice(1))
        : opaque(`newrelic-admin ${rest[0] ?? ""} runs no program`);
    case "sh":
    case "bash":
    case "dash":
    case "ash":
      return orAtLeast(program, opaque("a shell runs it"));
    case "env":
      return orAtLeast(program, unwrapEnv(rest));
    default:
      return program;
  }
}

/** `timeout -k 5 60 …`: options up to the first other word or `--`, then the program's own words, then the command. */
function unwrapWrapper(name: string, words: readonly string[], wrapper: Wrapper): Launched {
  const { options } = wrapper;
  let index = 0;
  for (; index < words.length; index += 1) {
    const word = words[index] as string;
    if (word === "--") {
      index += 1;
      break;
    }
    if (!word.startsWith("-")) break;
    const equals = word.startsWith("--") ? word.indexOf("=") : -1;
    const own = equals === -1 ? word : word.slice(0, equals);
    if (options[own] === "value") index += equals === -1 ? 1 : 0;
    // `-k5`
    else if (
      options[own] !== "flag" &&
      (own.startsWith("--") || options[own.slice(0, 2)] !== "value")
    )
      return opaque(`${name} ${word}: the option may change what is run`);
  }
  const command = words.slice(index + wrapper.words);
  return command.length === 0 ? opaque(`${name} runs nothing`) : unwrap(command);
}

/** `env A=b …` */
function unwrapEnv(words: readonly string[]): Launched {
  for (const [index, word] of words.entries()) {
    const name = /^([A-Za-z_]\w*)=/.exec(word)?.[1];
    if (name === undefined) {
      return word.startsWith("-")
        ? opaque(`env ${word} changes what it runs in`)
        : unwrap(words.slice(index));
    }
    if (readVariable.test(name)) return opaque(`env sets ${name}, which may change what is read`);
  }
  return opaque("env runs nothing");
}

/** python-dotenv's `dotenv -f FILE run --no-override …`: else the file beats the environment. */
function unwrapDotenv(words: readonly string[]): Launched {
  const run = words.indexOf("run");
  const before = words.slice(0, Math.max(run, 0)).join(" ");
  if (run === -1 || !/^(?:(?:-f|--file) ?=?\S+ ?)?$/.test(before)) {
    return opaque("the options of dotenv are not known");
  }
  const [option, ...rest] = words.slice(run + 1);
  if (option !== "--no-override") {
    return opaque(
      "the file of dotenv run beats the environment: write dotenv run --no-override, or use --env-file of entrypoint",
    );
  }
  return unwrap(rest[0] === "--" ? rest.slice(1) : rest);
}

export function isPython(name: string): boolean {
  return /^(?:python[0-9.]*|pypy[0-9.]*)$/.test(name);
}

function unwrapPython(words: readonly string[]): Launched {
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] as string;
    if (pythonFlags.test(word)) continue;
    if (word === "-W" || word === "-X") index += 1;
    else if (/^-[WX]./.test(word)) continue;
    else if (word === "-m" || /^-m./.test(word)) {
      const name = word === "-m" ? (words[index + 1] ?? "") : word.slice(2);
      return { kind: "module", name, args: words.slice(word === "-m" ? index + 2 : index + 1) };
    } else if (word.startsWith("-")) return opaque(`the option ${word} of Python is not known`);
    else return { kind: "script", name: word, args: words.slice(index + 1) };
  }
  return opaque("Python runs nothing");
}

/** `uv run …` and similar: options, `run`, options, then the command itself. */
function unwrapRunner(launcher: string, words: readonly string[], options: Options): Launched {
  let run = false;
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] as string;
    if (!word.startsWith("-")) {
      // `hatch run prod:migrate`: the environment that it runs in.
      const named = launcher === "hatch" ? word.replace(/^[\w.-]+:/, "") : word;
      if (run) return unwrap([named, ...words.slice(index + 1)]);
      if (word !== "run") return opaque(`${launcher} ${word} runs no command`);
      run = true;
      continue;
    }
    if (word === "--" && run) return unwrap(words.slice(index + 1));
    if (launcher === "uv" && run && (word === "-m" || word === "--module")) {
      return { kind: "module", name: words[index + 1] ?? "", args: words.slice(index + 2) };
    }
    const equals = word.startsWith("--") ? word.indexOf("=") : -1;
    const kind = options[equals === -1 ? word : word.slice(0, equals)];
    if (kind === "value") {
      if (equals === -1) index += 1;
    } else if (kind !== "flag" || equals !== -1)
      return opaque(`${launcher} ${word}: the option may change what is run`);
  }
  return opaque(`${launcher} runs nothing`);
}

/** `manage.py`, `the module app.migrate`: what a message calls a program. */
export function describeProgram({ kind, name }: Program): string {
  return kind === "module" ? `the module ${name}` : name;
}

export function baseName(word: string): string {
  return word.slice(word.lastIndexOf("/") + 1);
}

/** What is launched; where that is not known, at least its launcher. */
function orAtLeast(launcher: Program, launched: Launched): Launched {
  const known = launched.kind !== "opaque" || launched.program !== undefined;
  return known ? launched : { ...launched, program: launcher };
}

function opaque(reason: string): Launched {
  return { kind: "opaque", reason };
}
