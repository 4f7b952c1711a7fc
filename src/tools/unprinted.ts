// What a tool was to print, and has not: whatever the reason, nobody has seen it. Guarantees: each is a gap.

import type { PrintedSql, SqlGap, SqlRange } from "./tool.ts";

/** @param known the migrations of which it is certain what they run. */
export function findUnprinted(
  toolName: string,
  { pending }: SqlRange,
  { known, gaps }: { readonly known: ReadonlySet<string>; readonly gaps: PrintedSql["gaps"] },
  cure: string,
): SqlGap[] {
  // One gap says it of all of them.
  if (gaps.some(({ id }) => id === null)) return [];
  return (pending ?? []).flatMap((id) =>
    known.has(id) ? [] : [{ id, cause: `${toolName} has not printed it`, cure, line: null }],
  );
}
