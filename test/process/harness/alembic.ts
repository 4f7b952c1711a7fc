// Real Alembic, for the tests that hold entrypoint against it.

import { execa } from "execa";
import { plainEnvironment, python } from "./entrypoint.ts";

/** Where a test runs its commands: a project, and the environment with its database's URL. */
export interface Place {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Runs it to its end; its standard output. */
export async function alembic(place: Place, ...words: string[]): Promise<string> {
  const env = plainEnvironment(place.env);
  const options = { cwd: place.cwd, env, extendEnv: false };
  return (await execa(python, ["-m", "alembic", ...words], options)).stdout;
}
