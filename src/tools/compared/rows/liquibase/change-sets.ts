// The change sets as Liquibase lists them where its database is a file of comma-separated values.

/** A row of the file: each column's value by its name, in small letters. */
export type ChangeSet = Readonly<Record<string, string>>;

/** As the change log has them. Throws a TypeError where a column is missing. */
export function parseChangeSets(text: string): readonly ChangeSet[] {
  const [header = [], ...rows] = parseValues(text);
  const names = header.map((name) => name.toLowerCase());
  for (const name of ["id", "author", "filename", "orderexecuted", "md5sum", "exectype"]) {
    if (!names.includes(name)) throw new TypeError(`Liquibase's list has no column ${name}`);
  }
  return rows
    .map((row) => Object.fromEntries(names.map((name, index) => [name, row[index] ?? ""])))
    .toSorted((one, other) => Number(one["orderexecuted"]) - Number(other["orderexecuted"]));
}

export function formatChangeSets(sets: readonly ChangeSet[]): string {
  const names = Object.keys(sets[0] ?? {});
  const lines = [
    names.map((name) => name.toUpperCase()),
    ...sets.map((set) => names.map((name) => set[name] ?? "")),
  ];
  return lines
    .map((line) => `${line.map((value) => `"${value.replaceAll(/"/g, "$&$&")}"`).join(",")}\n`)
    .join("");
}

/** `db/changelog.xml::3::ann`, as Liquibase calls it. */
export function nameOf({ filename = "", id = "", author = "" }: ChangeSet): string {
  return `${normalizePath(filename)}::${id}::${author}`;
}

/** Liquibase has written paths in several ways over time, and compares them so. */
function normalizePath(path: string): string {
  return path.replaceAll("\\", "/").replace(/^(?:classpath:)?\/?(?:\.\/)*/, "");
}

/** The same one with a checksum that no change set has. */
export function withWrongChecksum(set: ChangeSet): ChangeSet {
  return { ...set, md5sum: (set["md5sum"] ?? "").replaceAll(/(?<=:.*)[0-9a-f]/g, "0") };
}

/** Those of the rows that Liquibase refuses for their checksums, by their names. @param errors what it has printed. */
export function findRefused(rows: readonly ChangeSet[], errors: string): ReadonlySet<string> {
  return new Set(
    rows
      .filter((row) => errors.includes(`${nameOf(row)} was: ${row["md5sum"]} but is now: `))
      .map(nameOf),
  );
}

function parseValues(text: string): string[][] {
  const lines: string[][] = [];
  let line: string[] = [];
  for (const [, quoted, plain = "", end = ""] of text.matchAll(
    /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g,
  )) {
    line.push(quoted?.replaceAll('""', '"') ?? plain);
    if (end === ",") continue;
    if (line.some((value) => value !== "")) lines.push(line);
    line = [];
  }
  return lines;
}
