// The documents as a whole: each can be reached from README, no link leads nowhere, no table is padded, and README is short
// enough to be read.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

import { expect, test } from "vitest";

import { listDocuments, readDocument, withoutBlocks } from "../../harness/documents.ts";

const root = join(import.meta.dirname, "../../..");
const documents = listDocuments();

test("README is below 16 KB and 270 lines", () => {
  const readme = readDocument("README.md");
  expect(Buffer.byteLength(readme)).toBeLessThan(16_384);
  expect(readme.trimEnd().split("\n").length).toBeLessThan(270);
});

test("README's index leads to every document", () => {
  const index = readDocument("README.md", "Documents");
  const indexed = new Set(listLinks("README.md", index).map(({ path }) => path));
  expect(documents.filter((name) => name !== "README.md" && !indexed.has(name))).toEqual([]);
});

test.for(documents)("every link of %s leads somewhere", (document) => {
  for (const { path, anchor, link } of listLinks(document)) {
    expect(existsSync(join(root, path)), link).toBe(true);
    if (anchor !== undefined) expect(listAnchors(readDocument(path)), link).toContain(anchor);
  }
});

test.for(documents)("every file that %s names is there", (document) => {
  const paths = withoutBlocks(readDocument(document)).match(
    /(?<=`)(?:src|scripts|test|docker|\.ci)\/[\w./@-]+(?=`)/g,
  );
  expect((paths ?? []).filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

test.for(documents)("no cell of a table in %s is padded", (document) => {
  const rows = withoutBlocks(readDocument(document)).match(/^\|.*$/gm) ?? [];
  for (const row of rows) {
    expect(row).toMatch(/^\| .* \|$/);
    expect(row).not.toMatch(/ {2}|-{4}/);
  }
});

interface Link {
  /** From the root. */
  readonly path: string;
  readonly anchor: string | undefined;
  readonly link: string;
}

/** The links of `text`, or of the whole document, but for those to the web. */
function listLinks(document: string, text = readDocument(document)): Link[] {
  const links = withoutBlocks(text).matchAll(/\[[^\]]*\]\(([^)\s]+)\)/g);
  return [...links].flatMap(([link, target = ""]) => {
    if (/^https?:/.test(target)) return [];
    const [file = "", anchor] = target.split("#");
    return [{ path: file === "" ? document : join(dirname(document), file), anchor, link }];
  });
}

/** A document's headings as GitHub makes anchors of them. */
function listAnchors(text: string): string[] {
  const seen = new Map<string, number>();
  return [...withoutBlocks(text).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => {
    const anchor = heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(/\s/g, "-");
    const count = seen.get(anchor) ?? 0;
    seen.set(anchor, count + 1);
    return count === 0 ? anchor : `${anchor}-${count}`;
  });
}
