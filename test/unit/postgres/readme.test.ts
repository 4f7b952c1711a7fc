// The chapter on addresses says of every parameter what the source does with it.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  driverParameters,
  otherVariables,
  parameters,
  unreadByDriver,
  type Fate,
} from "../../../src/postgres/parameters.ts";

const readme = readFileSync(join(import.meta.dirname, "../../../src/postgres/README.md"), "utf8");

/** In the words of the list; `kind` tells those that are read apart. */
function describeFate(fate: Fate, kind: string): string {
  if (fate === "read") return `read${kind}`;
  if ("ignored" in fate) return `ignored; ${fate.ignored}`;
  const but = fate.but === undefined ? "" : `, but for ${fate.but.join(", ")}`;
  return `refused${but}; ${fate.refused}`;
}

test("the list has the fate of every parameter, and no other line", () => {
  const groups: readonly (readonly [string, readonly (readonly [string, Fate])[]])[] = [
    ["", Object.entries(parameters).map(([name, [, fate]]) => [name, fate])],
    [", variables alone", Object.entries(otherVariables)],
    [", a driver's own", Object.entries(driverParameters)],
  ];
  const lines = new Map<string, string>();
  for (const [kind, fates] of groups) {
    for (const [name, fate] of fates) {
      const words = describeFate(fate, kind);
      lines.set(words, `${lines.get(words) ?? `- ${words}:`} \`${name}\``);
    }
  }
  const listed = readme.split("\n").filter((line) => line.startsWith("- "));
  expect(listed.toSorted()).toEqual([...lines.values()].toSorted());
});

test("the variables that asyncpg does not read are named", () => {
  const variables = unreadByDriver["asyncpg"]?.map((name) => `\`${parameters[name][0]}\``) ?? [];
  const [sentence = ""] = /asyncpg does not read .*?, so/.exec(readme) ?? [];
  expect(sentence.match(/`\w+`/g)?.toSorted()).toEqual(variables.toSorted());
});

test("it is short", () => {
  const lines = readme.split("\n").filter((line) => !line.startsWith("|"));
  expect(lines.length).toBeLessThanOrEqual(80);
});
