// alembic.ini as Python's ConfigParser reads it: sections, DEFAULT, continuation lines, %(name)s.
// Guarantees: the same value for the same option, and a refusal where ConfigParser raises.

export interface Ini {
  /** Raw values by section and lower-case option; "DEFAULT" is not among them. */
  readonly sections: ReadonlyMap<string, ReadonlyMap<string, string>>;
  readonly defaults: ReadonlyMap<string, string>;
}

export type IniAnswer =
  | { readonly kind: "read"; readonly ini: Ini }
  | { readonly kind: "unreadable"; readonly reason: string };

export type OptionAnswer =
  | { readonly kind: "value"; readonly value: string }
  | { readonly kind: "absent" }
  /** There, but its interpolation fails. */
  | { readonly kind: "unreadable"; readonly reason: string };

// What Python's str.strip() and \s take for white space; JavaScript's differ in five characters.
const space =
  "\\t\\n\\v\\f\\r\\x1c-\\x1f \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const leading = new RegExp(`^[${space}]+`);
const oneSpace = new RegExp(`[${space}]`);
const sectionHeader = /^\[(.+)\]/;

/** str.strip() */
export function strip(text: string): string {
  return stripEnd(text).replace(leading, "");
}

/** str.rstrip(). A pattern would look at each space of a long line as often as there are more behind it. */
function stripEnd(text: string): string {
  let end = text.length;
  while (end > 0 && oneSpace.test(text.charAt(end - 1))) end--;
  return text.slice(0, end);
}

/** Parses the text of an ini file; `defaults` are those given to ConfigParser's constructor. */
export function parseIni(text: string, defaults: Readonly<Record<string, string>>): IniAnswer {
  const collected = new Map<string, Map<string, string[]>>();
  const top = new Map(Object.entries(defaults).map(([name, value]) => [name, [value]]));
  collected.set("DEFAULT", top);
  const given = new Set<string>();
  let section: string | null = null;
  let option: string[] | null = null;
  let optionIndent = 0;
  const lines = text.replaceAll(/\r\n?/g, "\n").split("\n");
  if (lines.at(-1) === "") lines.pop();
  for (const [index, line] of lines.entries()) {
    const content = strip(line);
    if (content.startsWith("#") || content.startsWith(";")) continue;
    if (content === "") {
      option?.push("");
      continue;
    }
    const indent = leading.exec(line)?.[0].length ?? 0;
    if (section !== null && option !== null && indent > optionIndent) {
      option.push(content);
      continue;
    }
    optionIndent = indent;
    const where = `line ${index + 1}`;
    const header = sectionHeader.exec(content)?.[1];
    if (header !== undefined) {
      if (header.includes("]")) return unreadable(`${where}: a section's name holds a bracket`);
      if (header !== "DEFAULT") {
        if (collected.has(header))
          return unreadable(`${where}: section [${header}] is there twice`);
        collected.set(header, new Map());
      }
      section = header;
      option = null;
      continue;
    }
    if (section === null) return unreadable(`${where}: an option before any section`);
    const delimiter = content.search(/[=:]/);
    const name = strip(content.slice(0, Math.max(delimiter, 0))).toLowerCase();
    if (name === "") return unreadable(`${where}: neither a section nor an option`);
    if (given.has(`${section}\n${name}`))
      return unreadable(`${where}: option ${name} is there twice in [${section}]`);
    given.add(`${section}\n${name}`);
    option = [strip(content.slice(delimiter + 1))];
    collected.get(section)?.set(name, option);
  }
  const sections = new Map<string, Map<string, string>>();
  for (const [name, options] of collected) {
    sections.set(
      name,
      new Map([...options].map(([key, parts]) => [key, stripEnd(parts.join("\n"))])),
    );
  }
  const defaultValues = sections.get("DEFAULT") ?? new Map<string, string>();
  sections.delete("DEFAULT");
  return { kind: "read", ini: { sections, defaults: defaultValues } };
}

/** One option of a section, DEFAULT behind it, interpolated; of a section that does not exist: absent. */
export function getOption(ini: Ini, section: string, name: string): OptionAnswer {
  const own = ini.sections.get(section);
  if (own === undefined) return { kind: "absent" };
  const raw = own.get(name) ?? ini.defaults.get(name);
  if (raw === undefined) return { kind: "absent" };
  const lookUp = (key: string): string | undefined => own.get(key) ?? ini.defaults.get(key);
  const value = interpolate(raw, lookUp, 1);
  return value === null
    ? { kind: "unreadable", reason: `[${section}] ${name} has a % that cannot be interpolated` }
    : { kind: "value", value };
}

function interpolate(
  raw: string,
  lookUp: (key: string) => string | undefined,
  depth: number,
): string | null {
  if (depth > 10) return null;
  let value = "";
  let rest = raw;
  for (;;) {
    const percent = rest.indexOf("%");
    if (percent === -1) return value + rest;
    value += rest.slice(0, percent);
    rest = rest.slice(percent);
    if (rest[1] === "%") {
      value += "%";
      rest = rest.slice(2);
      continue;
    }
    const name = /^%\(([^)]+)\)s/.exec(rest);
    if (name === null) return null;
    rest = rest.slice(name[0].length);
    const found = lookUp((name[1] as string).toLowerCase());
    if (found === undefined) return null;
    const inner = found.includes("%") ? interpolate(found, lookUp, depth + 1) : found;
    if (inner === null) return null;
    value += inner;
  }
}

function unreadable(reason: string): IniAnswer {
  return { kind: "unreadable", reason };
}
