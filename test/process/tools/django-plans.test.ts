// The comparison of what is frozen with the rows, beside the plan of Django's own executor: random histories with squashes, random
// rows, and rows that a migration of an older state of the project has left.
// @runs-on executable

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";

import { compare } from "../../../src/tools/compared/compare.ts";
import { django as row } from "../../../src/tools/compared/rows/django.ts";
import { entriesOf, type Reported } from "../../../src/tools/compared/rows/django/ask.ts";
import { question } from "../../../src/tools/compared/rows/django/question.ts";
import { plainEnvironment, python } from "../harness/entrypoint.ts";
import { djangos, isMissing, newest } from "./harness/django.ts";

interface Case {
  /** Whether the rows are those that a migration of an older state has left. */
  readonly reachable: boolean;
  readonly entries: readonly Reported[];
  readonly rows: readonly string[];
  /** What Django would run; null where it refuses to. */
  readonly plan: readonly string[] | null;
  readonly error: string | null;
  /** The rows once it has. */
  readonly after: readonly string[] | null;
}

function compareWith({ entries }: Case, rows: readonly string[]) {
  const policies = { ...row, unknownRow: "ignored" } as const;
  const records = rows.map((id) => ({ id, state: "applied", also: null, checksum: null }) as const);
  return compare(policies, entriesOf(entries), { records, userTables: false, lock: null });
}

for (const django of djangos) {
  test.skipIf(isMissing(django))(
    `Django ${django.version} would run nothing where entrypoint says current, and what is pending elsewhere`,
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "entrypoint-django-plans-"));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const code = join(folder, "question.py");
      writeFileSync(code, question);
      const script = join(import.meta.dirname, "oracles/django-plans.py");
      const nested = django.version === newest.version ? "nested" : "plain";
      const { stdout } = await execa(python, [script, "11", "400", nested, code], {
        env: plainEnvironment({ PYTHONPATH: django.path }),
        extendEnv: false,
      });
      const cases = stdout.split("\n").map((line) => JSON.parse(line) as Case);
      const seen = { current: 0, pending: 0, refused: 0, reachable: 0 };
      for (const one of cases) {
        const what = JSON.stringify(one);
        const state = compareWith(one, one.rows);
        if (one.plan === null) {
          seen.refused += 1;
          expect(state.state, what).not.toBe("current");
          continue;
        }
        if (state.state === "current") {
          seen.current += 1;
          expect(one.plan, what).toEqual([]);
        }
        if (!one.reachable) continue;
        seen.reachable += 1;
        // A Django that knows no squash of squashes records one without its parts.
        const after = compareWith(one, one.after ?? []);
        expect(after.state === "current" || "covered" in after, what).toBe(true);
        const again = one.entries.some(({ name }) => name.endsWith("_again"));
        if (!("pending" in state) || again) continue;
        seen.pending += 1;
        // Besides what is run, only squashes are recorded.
        const squashes = one.entries.filter(({ replaces }) => replaces.length > 0);
        const recorded = new Set(squashes.map(({ app, name }) => `${app}.${name}`));
        expect(
          state.pending
            .filter((id) => one.plan?.includes(id) === true || !recorded.has(id))
            .toSorted(),
          what,
        ).toEqual(one.plan.toSorted());
      }
      // None of them is tried in vain.
      for (const [kind, count] of Object.entries(seen)) expect(count, kind).toBeGreaterThan(10);
    },
  );
}
