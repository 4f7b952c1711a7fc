// The project of fixtures/django, on one of the Djangos of ../oracles.

import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";

import { plainEnvironment, runEntrypoint, startEntrypoint } from "../../harness/entrypoint.ts";

const cache = join(import.meta.dirname, "../../../../.cache");
const fixture = join(import.meta.dirname, "../fixtures/django");

/** The folders of their packages. */
export const djangos = [
  {
    version: "5.2",
    path: process.env["ENTRYPOINT_TEST_PYTHON_TOOLS"] ?? join(cache, "tools"),
  },
  {
    version: "4.2",
    path: process.env["ENTRYPOINT_TEST_DJANGO_4_2"] ?? join(cache, "django-4.2"),
  },
] as const;

export const [newest] = djangos;
type Django = (typeof djangos)[number];

export function isMissing({ path }: Django): boolean {
  return !existsSync(join(path, "django"));
}

export interface Project {
  readonly cwd: string;
  /** Replaces the text of a file, or makes the file. */
  write(path: string, text: string): void;
  append(path: string, text: string): void;
  environment(extra?: Record<string, string>): Record<string, string | undefined>;
  /** Runs entrypoint, with the project's migration command. */
  run(args: readonly string[], env?: Record<string, string>): ReturnType<typeof runEntrypoint>;
  start(args: readonly string[], env?: Record<string, string>): ReturnType<typeof startEntrypoint>;
  /** Runs Django itself. */
  manage(
    args: readonly string[],
    env?: Record<string, string>,
  ): { code: number | null; output: string };
}

export function createProject({ path: packages }: Django): Project {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-django-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  cpSync(fixture, cwd, { recursive: true });
  const environment = (extra: Record<string, string> = {}) => ({
    PYTHONPATH: packages,
    ENTRYPOINT_MIGRATE: "python manage.py migrate --noinput",
    ...extra,
  });
  return {
    cwd,
    environment,
    write(name, text) {
      mkdirSync(dirname(join(cwd, name)), { recursive: true });
      writeFileSync(join(cwd, name), text);
    },
    append: (name, text) => appendFileSync(join(cwd, name), text),
    run: (args, env) => runEntrypoint(args, { cwd, env: environment(env) }),
    start: (args, env) => startEntrypoint(args, { cwd, env: environment(env) }),
    manage(args, env) {
      const { status, stdout, stderr } = spawnSync("python", ["manage.py", ...args], {
        cwd,
        env: plainEnvironment(environment(env)),
        encoding: "utf8",
      });
      return { code: status, output: stdout + stderr };
    },
  };
}

/** A migration of the application `posts`. */
export function migration(after: string, operations: string): string {
  return `from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("posts", "${after}")]
    operations = [${operations}]
`;
}
