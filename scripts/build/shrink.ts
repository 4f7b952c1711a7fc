// The parts of Node that the single executable does not need: each byte is in every image, and some are in every process. Each
// function throws where Node is not built as it expects; executable.ts then keeps the part.

import type { Span } from "./elf.ts";

/** A program in which a part has been emptied, and where that part is. */
export interface Emptied {
  readonly program: Buffer;
  readonly spans: readonly Span[];
}

/**
 * Node with a twentieth of ICU's data, which are a third of Node: without the names, formats and rules of other languages than
 * English, and without the encodings that ICU converts. They are one archive of files with a table of contents.
 * @throws where there is not exactly one such archive.
 */
export function dropLanguages(program: Buffer): Emptied {
  const archives = findAll(program, Buffer.from("CmnD")).filter((at) =>
    // UDataInfo stands before it: two magic bytes, its own size, little-endian, ASCII.
    program.subarray(at - 10, at).equals(Buffer.from([0xda, 0x27, 0x14, 0, 0, 0, 0, 0, 2, 0])),
  );
  const [found] = archives;
  if (found === undefined || archives.length > 1) {
    throw new Error(`Node has ${archives.length} archives of ICU's data where one is expected`);
  }
  const header = found - 12;
  const table = header + program.readUInt16LE(header);
  const count = program.readUInt32LE(table);
  const files = Array.from({ length: count }, (_, index) => {
    const name = table + program.readUInt32LE(table + 4 + 8 * index);
    return {
      name: program.toString("latin1", name, program.indexOf(0, name)),
      start: table + program.readUInt32LE(table + 8 + 8 * index),
    };
  });
  const isInOrder = files.every(
    ({ name, start }, index) =>
      /^icudt\d+l\/[\w/.-]+\.\w+$/.test(name) && start > (files[index - 1]?.start ?? table),
  );
  const last = files.at(-1);
  if (!isInOrder || last === undefined || last.start > program.length) {
    throw new Error("ICU's data have another table of contents than is expected");
  }
  // Where the last one ends is not to be seen: it stays as it is.
  const kept = files
    .slice(0, -1)
    .map(({ name, start }, index) => ({ name, start, end: files[index + 1]?.start ?? start }))
    .filter(({ name }) => keptIcuFiles.test(name));

  const names = kept.map(({ name }) => Buffer.from(`${name}\0`));
  const contents = Buffer.alloc(4 + 8 * kept.length);
  contents.writeUInt32LE(kept.length);
  const pieces: Buffer[] = [contents, ...names];
  let length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  let nameAt = contents.length;
  for (const [index, { start, end }] of kept.entries()) {
    const padding = Buffer.alloc(-length & 15);
    pieces.push(padding, program.subarray(start, end));
    contents.writeUInt32LE(nameAt, 4 + 8 * index);
    contents.writeUInt32LE(length + padding.length, 8 + 8 * index);
    nameAt += names[index]?.length ?? 0;
    length += padding.length + end - start;
  }
  return replace(program, { start: table, end: last.start }, Buffer.concat(pieces));
}

/** English, what belongs to no language, and the rules for sorting, time zones and normalisation. */
const keptIcuFiles =
  /^icudt\d+l\/(?:(?:(?:brkitr|coll|curr|lang|region|unit|zone)\/)?(?:root|en|en_001|en_US|pool|res_index|[A-Za-z]{4,}\d*)\.res|brkitr\/[a-z]{4,5}\.brk|coll\/ucadata\.icu|(?:cnvalias|uemoji|ulayout)\.icu|\w+\.nrm)$/;

/**
 * A single executable without the compiled code of Node's modules that Node itself carries: the snapshot has its own list of
 * them. V8 refuses what is left, and compiles a module when it is loaded.
 * @param magic how V8 begins compiled code: a number and a hash of its version.
 * @param end where Node ends in it.
 */
export function dropOwnCode(program: Buffer, magic: Buffer, end: number): Emptied {
  const spans = findAll(program.subarray(0, end), magic).map((start) => ({
    start,
    // SerializedCodeData::kPayloadLengthOffset, kHeaderSize
    end: start + 32 + program.readUInt32LE(start + 20),
  }));
  const isList = spans.every(
    ({ start }, index) => index === 0 || Math.abs(start - (spans[index - 1]?.end ?? 0)) < 64,
  );
  const [first] = spans;
  const last = spans.at(-1);
  if (first === undefined || last === undefined || spans.length < fewestModules || !isList) {
    throw new Error(
      `Node ${process.versions.node} has ${spans.length} pieces of compiled code in another order than is expected`,
    );
  }
  return replace(program, { start: first.start, end: last.end }, Buffer.alloc(0));
}

/**
 * A single executable without the snapshots that V8 and Node carry for a start without one of the program's own.
 * @param v8 the version of V8, with which a snapshot begins.
 * @param end where Node ends in it.
 */
export function dropOwnSnapshots(program: Buffer, v8: string, end: number): Emptied {
  // SnapshotImpl's kVersionStringOffset, kVersionStringLength; then the offsets of its parts, each behind the one before.
  const version = Buffer.alloc(64);
  version.write(v8, "latin1");
  const spans = findAll(program.subarray(0, end), version).map((at) => {
    let length = 0;
    for (let field = at + version.length; ; field += 4) {
      const offset = program.readUInt32LE(field);
      if (offset <= length || offset > largestSnapshot) break;
      length = offset;
    }
    return { start: at - 16, end: at - 16 + length };
  });
  if (spans.length !== 2 || spans.some(({ start, end: last }) => last - start < 10_000)) {
    throw new Error(`Node has ${spans.length} snapshots of V8 ${v8} where two are expected`);
  }
  const changed = Buffer.from(program);
  for (const { start, end: last } of spans) changed.fill(0, start, last);
  return { program: changed, spans };
}

const largestSnapshot = 20_000_000;

/**
 * Node with As in the place of the WebAssembly that its modules carry as base64: for TypeScript, `fetch`, and imports of
 * CommonJS by ES modules. The modules stay, and fail where they need it.
 * @param before where Node ends in it.
 */
export function dropWasm(program: Buffer, before: number): Buffer {
  const changed = Buffer.from(program);
  let found = 0;
  for (const start of findAll(program.subarray(0, before), Buffer.from("AGFzbQ"))) {
    let end = start;
    while (isBase64[program[end] ?? 0] === true) end++;
    if (end - start < 1_000) continue;
    changed.fill("A", start, end);
    found++;
  }
  if (found === 0) throw new Error("Node carries no WebAssembly as base64");
  return changed;
}

const isBase64 = Array.from({ length: 256 }, (_, code) =>
  /[A-Za-z0-9+/]/.test(String.fromCharCode(code)),
);

/** A program with other contents of a part, and zeros behind them. */
function replace(program: Buffer, { start, end }: Span, contents: Buffer): Emptied {
  if (contents.length > end - start) throw new Error("the new contents are larger than the old");
  const changed = Buffer.from(program);
  changed.fill(0, start, end);
  contents.copy(changed, start);
  return { program: changed, spans: [{ start: start + contents.length, end }] };
}

function findAll(program: Buffer, bytes: Buffer): number[] {
  const found: number[] = [];
  for (let at = program.indexOf(bytes); at !== -1; at = program.indexOf(bytes, at + 1)) {
    found.push(at);
  }
  return found;
}

/**
 * A single executable without the compiled code of those of Node's modules that it does not load: from a snapshot Node copies
 * all of it at each start, 4.4 MB in 441 pieces, and keeps it. Node compiles a module whose code is missing when it is loaded.
 * The code is the last part of the snapshot: the number of modules, and for each one its id and its code, both with their
 * lengths before them, all numbers in 64 bits (SnapshotSerializer in Node's src/node_snapshotable.cc).
 * @param program the output of `--build-sea`.
 * @param from where to look: the Node before that has such a list of its own.
 * @param kept the ids of the modules whose code stays.
 * @param flags V8's hash of the flags of the process that compiled the code, and of those that the program runs with. V8 refuses
 * code of other flags; these change none.
 * @throws where there is not exactly one such list.
 */
export function dropCodeCache(
  program: Buffer,
  from: number,
  kept: RegExp,
  flags: { readonly compiled: Buffer; readonly run: Buffer },
): Emptied {
  const lists: CodeCache[] = [];
  for (let at = from; at < program.length; at++) {
    const list = readCodeCache(program, at);
    if (list === null) continue;
    lists.push(list);
    at = list.end;
  }
  const [list] = lists;
  if (list === undefined || lists.length > 1) {
    throw new Error(
      `the snapshot of Node ${process.versions.node} has ${lists.length} lists of compiled modules where one is expected`,
    );
  }
  const entries = list.entries.filter(({ id }) => kept.test(id));
  const count = Buffer.alloc(8);
  count.writeBigUInt64LE(BigInt(entries.length));
  const shorter = entries.map(({ start, code, end }) => {
    const entry = Buffer.from(program.subarray(start, end));
    // SerializedCodeData::kFlagHashOffset
    const hash = entry.subarray(code - start).subarray(12, 16);
    if (hash.equals(flags.compiled)) flags.run.copy(hash);
    return entry;
  });
  return replace(program, list, Buffer.concat([count, ...shorter]));
}

interface CodeCache extends Span {
  readonly entries: readonly (Span & { readonly id: string; readonly code: number })[];
}

/** Fewer modules than this are no list of Node's. */
const fewestModules = 100;

/** The list of modules that begins at `start`, or null where none does. */
function readCodeCache(program: Buffer, start: number): CodeCache | null {
  const count = readLength(program, start, 2_000);
  if (count === null || count < fewestModules) return null;
  const entries: { id: string; start: number; code: number; end: number }[] = [];
  let at = start + 8;
  for (let index = 0; index < count; index++) {
    const idLength = readLength(program, at, 200);
    if (idLength === null) return null;
    const id = program.toString("latin1", at + 8, at + 8 + idLength);
    const length = readLength(program, at + 8 + idLength, 10_000_000);
    if (length === null || !/^[\w./-]+$/.test(id)) return null;
    const code = at + 8 + idLength + 8;
    const end = code + length;
    if (end > program.length) return null;
    entries.push({ id, start: at, code, end });
    at = end;
  }
  return { start, end: at, entries };
}

/** A number of 64 bits from 1 to `most`, or null. */
function readLength(program: Buffer, at: number, most: number): number | null {
  if (at + 8 > program.length || program.readUInt32LE(at + 4) !== 0) return null;
  const value = program.readUInt32LE(at);
  return value >= 1 && value <= most ? value : null;
}
