// `cd DIR` of the shell script.

import { Failure } from "../../failure.ts";
import type { Environment } from "../../runtime/environment.ts";

/** Changes to the directory; null stays. Returns the environment with the PWD that a shell would set. Throws Failure "bad-settings". */
export function changeDirectory(directory: string | null, env: Environment): Environment {
  if (directory === null) return env;
  try {
    process.chdir(directory);
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException;
    throw new Failure("bad-settings", `cannot change to the directory ${directory}: ${code}`, {
      hint: "create it in the image, or correct --chdir (ENTRYPOINT_CHDIR)",
    });
  }
  return env["PWD"] === undefined ? env : { ...env, PWD: process.cwd() };
}
