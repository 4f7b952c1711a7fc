// Which file of a Python project reads certain variables, so that an address made of them is the project's own.
// Guarantees: a file that may let another source win over the environment stands for no confirmation.

import { readdirSync, readFileSync } from "node:fs";

const maximumFiles = 4000;
const foreign = new Set(
  "node_modules site-packages __pycache__ venv env test tests docs examples scripts".split(" "),
);
/** A .env file that beats the environment, and an order of sources of the project's own. */
const otherSources = /load_dotenv\([^)]*override|settings_customise_sources|customise_sources/;

/** What a file must not leave open. */
interface Wanted {
  /** It must all be words of its code. */
  readonly names: readonly string[];
  /** Of the variable of the port, which is not set: the code must have no other port than PostgreSQL's own. */
  readonly port: string | null;
  /** The code must speak of PostgreSQL, and of no other system. */
  readonly likely: boolean;
}

const postgres = /postgres|psycopg|asyncpg|pg8000/i;
const otherSystems = /mysql|mariadb|sqlite|oracle|mssql|sqlserver|mongo/i;

/** The first Python file below `cwd` that reads these variables, and leaves nothing open; null where none does. */
export function findReader(cwd: string, { names, port, likely }: Wanted): string | null {
  const patterns = names.map((name) => new RegExp(`(?<!\\w)${name}(?!\\w)`, "i"));
  const settles = (code: string) =>
    patterns.every((pattern) => pattern.test(code)) &&
    (!likely || (postgres.test(code) && !otherSystems.test(code))) &&
    (port === null || hasUsualPort(code, port));
  let files = 0;
  let found: string | null = null;
  const visit = (folder: string): boolean => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!entry.name.startsWith(".") && !foreign.has(entry.name) && !visit(path)) return false;
        continue;
      }
      if (!entry.isFile() || !entry.name.endsWith(".py")) continue;
      files += 1;
      if (files > maximumFiles) return false;
      const text = readFileSync(path, "utf8");
      if (otherSources.test(text)) return false;
      // A # in a string cuts off too much, and that only costs the confirmation.
      if (settles(text.replaceAll(/#.*/g, ""))) found ??= path;
    }
    return true;
  };
  try {
    return visit(cwd) ? found : null;
  } catch (error) {
    if (error instanceof Error && "syscall" in error) return null;
    throw error;
  }
}

/** Where the variable of the port is read, its default is 5432; where it is not, no other port is written. */
function hasUsualPort(code: string, name: string): boolean {
  const lines = code.split("\n").filter((line) => new RegExp(`(?<!\\w)${name}`, "i").test(line));
  const numbers = (text: string) => text.match(/(?<![\w.])\d{2,5}(?!\w)/g) ?? [];
  if (lines.length === 0)
    return (code.match(/:\d{2,5}(?!\d)/g) ?? []).every((one) => one === ":5432");
  const defaults = lines.flatMap(numbers);
  return defaults.length > 0 && defaults.every((one) => one === "5432");
}
