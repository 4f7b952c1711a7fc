// Texts and bytes that are nearly right: what a fuzzer makes of a right one.

import fc from "fast-check";

interface Edit {
  /** From 0 to 1, of the length. */
  readonly at: number;
  readonly length: number;
  readonly kind: "remove" | "repeat" | "insert" | "cut off";
  readonly insertion: string;
}

/** One of the texts after some edits, which insert a `word`, or anything. */
export function mutated(texts: readonly string[], words: readonly string[]): fc.Arbitrary<string> {
  const edit = fc.record<Edit>({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.nat(12),
    kind: fc.constantFrom("remove", "repeat", "insert", "insert", "insert", "cut off"),
    insertion: fc.oneof(
      fc.constantFrom(...words),
      fc.array(fc.nat(255), { maxLength: 4 }).map((codes) => String.fromCharCode(...codes)),
    ),
  });
  return fc
    .tuple(fc.constantFrom(...texts), fc.array(edit, { maxLength: 5 }))
    .map(([text, edits]) => edits.reduce(apply, text));
}

function apply(text: string, { at, length, kind, insertion }: Edit): string {
  const start = Math.floor(at * text.length);
  const [before, part, after] = [
    text.slice(0, start),
    text.slice(start, start + length),
    text.slice(start + length),
  ];
  switch (kind) {
    case "remove":
      return before + after;
    case "repeat":
      return before + part + part + after;
    case "insert":
      return before + insertion + part + after;
    case "cut off":
      return before;
  }
}
