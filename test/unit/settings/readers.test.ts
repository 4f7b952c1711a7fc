import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findReader } from "../../../src/settings/readers.ts";

function search(
  files: Record<string, string>,
  open: { readonly port?: string; readonly likely?: boolean } = {},
): string | null {
  const folder = mkdtempSync(join(tmpdir(), "entrypoint-readers-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  const { port = null, likely = false } = open;
  const wanted = { names: ["DB_HOST", "DB_USER"], port, likely };
  return findReader(folder, wanted)?.slice(folder.length + 1) ?? null;
}

test.each([
  ["fields", "class Settings:\n    DB_HOST: str\n    DB_USER: str\n"],
  ["fields in small letters", "class Settings:\n    db_host: str\n    db_user: str\n"],
  ["strings", 'a = os.environ["DB_HOST"]; b = os.getenv("DB_USER")\n'],
])("%s", (_, text) => {
  expect(search({ "app/config.py": text })).toBe("app/config.py");
});

const both = "DB_HOST: str\nDB_USER: str\n";

test.each<[string, Record<string, string>]>([
  ["comments", { "a.py": "# DB_HOST, DB_USER\n" }],
  ["one of them", { "a.py": "DB_HOST: str\n" }],
  ["longer names", { "a.py": "DB_HOST: str\nDB_USER_NAME: str\n" }],
  ["two files", { "a.py": "DB_HOST: str\n", "b.py": "DB_USER: str\n" }],
  [
    "tests and packages",
    { "tests/a.py": both, ".venv/a.py": both, "venv/site-packages/a.py": both },
  ],
  [".env beats the environment", { "a.py": `${both}load_dotenv(override=True)\n` }],
  [
    "an order of the project's own",
    { "a.py": both, "b.py": "def settings_customise_sources(): pass\n" },
  ],
])("not seen: %s", (_, files) => {
  expect(search(files)).toBeNull();
});

const url = 'url = f"postgresql://{DB_USER}:x@{DB_HOST}"\n';

test.each([
  ["no port at all", url, true],
  ["its default", `${url}DB_PORT: int = 5432\n`, true],
  ["a default in a string", `${url}port = os.getenv("DB_PORT", "5432")\n`, true],
  ["another default", `${url}DB_PORT: int = 6432\n`, false],
  ["one of two defaults", `${url}DB_PORT = 5432 if x else 6432\n`, false],
  ["no default", `${url}port = os.environ["DB_PORT"]\n`, false],
  ["in the URL", 'url = f"postgresql://{DB_USER}:x@{DB_HOST}:6432/x"\n', false],
  ["of something else", `${url}CACHE = "redis://cache:6379"\n`, false],
])("a port that is not set, and the code has %s: confirmed: %s", (_, code, confirmed) => {
  expect(search({ "a.py": code }, { port: "DB_PORT" }) !== null).toBe(confirmed);
});

test.each([
  ["names PostgreSQL", url, true],
  ["names a driver of it", `${both}import psycopg2\n`, true],
  ["names none", both, false],
  ["names another one too", `${url}local = "sqlite:///x.db"\n`, false],
])("a set of any system, and the code %s: confirmed: %s", (_, code, confirmed) => {
  expect(search({ "a.py": code }, { likely: true }) !== null).toBe(confirmed);
});
