// `set -a; . .env` of the shell script: variables from files, for entrypoint and for every command that it starts. What is set
// already is kept. Guarantees: nothing is executed, and a file that is missing is an error.

import { parse } from "dotenv";
import { Failure } from "../failure.ts";
import { readWithinLimit } from "../runtime/regular-file.ts";
import type { Environment } from "../runtime/environment.ts";
import { settingTable } from "./table.ts";

/** The environment with the variables of the files; of two files the later one counts. Throws Failure "bad-settings". */
export function addFiles(paths: readonly string[], inherited: Environment): Environment {
  const env: Record<string, string | undefined> = {};
  for (const path of paths) {
    const text = readOrRefuse(path);
    for (const [name, value] of Object.entries(parse(text))) {
      env[name] = expandValue(value, { ...env, ...inherited });
    }
  }
  return { ...env, ...inherited };
}

function readOrRefuse(path: string): string {
  try {
    return readWithinLimit(path);
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException;
    throw badFile(path, `it cannot be read (${code})`);
  }
}

/** As python-dotenv does: a variable that is not set is empty, and $NAME is no variable. */
function expandValue(value: string, env: Environment): string {
  return value.replaceAll(
    /\$\{([A-Za-z_]\w*)(?::-([^{}]*))?\}/g,
    (_, name: string, fallback = "") => env[name] || fallback,
  );
}

function badFile(path: string, reason: string): Failure {
  return new Failure("bad-settings", `--env-file ${path}: ${reason}`, {
    hint: `correct the file, or its name in --env-file or ${settingTable.envFile.variable}`,
  });
}
