// No password in anything that entrypoint writes: what is read registers its secrets here, and log.ts masks what it writes.
// The output of the commands that entrypoint runs is theirs, and passes as it is.

const masked = "***";

/** In every message, and no one's secret. */
const commonWords = new Set(["postgres", "password"]);
/** Anything shorter would be found everywhere. */
const shortest = 4;
/** Anything shorter is looked for as a word of its own: `test` is no secret in `latest`. */
const shortestInWords = 8;

const secrets = new Set<string>();
/** Finds all of them; null where there are none. */
let anySecret: RegExp | null = null;

/** `scheme://user:password@`: the user may hold an @, and the password a slash. */
const inUrl = /([a-z][\w+.-]*:\/\/[^\s:/]*:)([^\s]+)(?=@)/gi;
/** `password=x`, `"password": "x"`, `PASSWORD 'x'` of SQL, whose end may be cut off. */
const named =
  /((?:password|passwd|passphrase)(?:=|["']?\s*:\s*(?=["'])|\s+(?=')))('(?:\\.|''|[^'\\])+'?|"(?:\\.|[^"\\])+"?|[^\s&'"]+)/gi;
/** `--db-password x` */
const flagged = /(--?[\w-]*(?:password|passwd|passphrase)\s+)(?!-)(\S+)/gi;

/** Those that may match: a usual start compiles few of them. */
function findPatterns(text: string): readonly RegExp[] {
  const inWords = /passw|passphrase/i.test(text);
  return [...(text.includes("://") ? [inUrl] : []), ...(inWords ? [named, flagged] : [])];
}

/** Registers a secret. @param known words that messages need, and of which it may be one. */
export function hide(secret: string, known: readonly (string | undefined)[] = []): void {
  const before = secrets.size;
  // A key of several lines may be quoted in parts.
  for (const line of secret.split(/\r?\n/)) {
    const hidden = line.length >= shortest && !commonWords.has(line) && !known.includes(line);
    if (hidden) secrets.add(line);
  }
  if (secrets.size === before) return;
  const longestFirst = [...secrets].toSorted((one, other) => other.length - one.length);
  anySecret = new RegExp(longestFirst.map(toPattern).join("|"), "g");
}

/** What the snapshot of the executable has rehearsed is nobody's secret. */
export function forgetSecrets(): void {
  secrets.clear();
  anySecret = null;
}

function toPattern(secret: string): string {
  const text = secret.replaceAll(/[^\w\s]/g, String.raw`\$&`);
  return secret.length < shortestInWords ? String.raw`(?<!\w)${text}(?!\w)` : text;
}

/** Registers the passwords in a URL, or in the words of a command. Returns whether there are any. */
export function hidePasswords(words: readonly string[]): boolean {
  const whole = words.join(" ");
  const patterns = findPatterns(whole);
  if (patterns.length === 0) return false;
  // A word that was quoted may have spaces, which end a URL elsewhere.
  const spaced = words
    .map((word) => /^([a-z][\w+.-]*:\/\/[^:/]*:)([^@]+)(?=@)/is.exec(word))
    .filter((match) => match !== null);
  const found = patterns.flatMap((pattern) => Array.from(whole.matchAll(pattern)));
  const users = Array.from(whole.matchAll(/\b(?:user|dbname)=([^\s&]+)/g), ([, name]) => name);
  const matches = [...spaced, ...found];
  for (const { 1: before = "", 2: password = "", 0: all, index, input } of matches) {
    const after = /^\S*/.exec(input.slice(index + all.length))?.[0] ?? "";
    const known = [...users, ...`${before}${after}`.split(/[:/@?,]+/)];
    hide(password.replaceAll(/^(['"])(.*)\1$/gs, "$2"), known);
  }
  return matches.length > 0;
}

/** The text without passwords. */
export function mask(text: string): string {
  return maskPasswords(anySecret === null ? text : text.replace(anySecret, masked));
}

/** The text without what is a password by its place, whether it is registered or not. */
export function maskPasswords(text: string): string {
  return findPatterns(text).reduce((left, pattern) => left.replace(pattern, `$1${masked}`), text);
}

/** Of entrypoint's own lines, what is never a secret: their names stay what others search for. */
const ownFields = new Set(["level", "time", "event"]);

/** The same for JSON, whose strings are masked, and whose form is kept. */
export function maskJson(json: string): string {
  const escaped = [...secrets].some((secret) => json.includes(JSON.stringify(secret).slice(1, -1)));
  if (!escaped && findPatterns(json).length === 0) return json;
  const end = json.endsWith("\n") ? "\n" : "";
  return `${JSON.stringify(JSON.parse(json), (name, value: unknown) =>
    typeof value === "string" && !ownFields.has(name) ? mask(value) : value,
  )}${end}`;
}
