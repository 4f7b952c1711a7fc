// What the single executable need not carry of Node: every byte is in each image, and part of them in each process.

/**
 * A program without its symbol table, which is a fifth of Node: all that follows the last loaded segment goes, the
 * section headers with it. The kernel and the dynamic linker look at segments alone (elf(5)).
 * @param program a 64-bit little-endian ELF file.
 */
export function stripSymbols(program: Buffer): Buffer {
  if (program.toString("latin1", 0, 6) !== "\x7fELF\x02\x01") {
    throw new Error(`${process.execPath} is not a 64-bit little-endian ELF program`);
  }
  const headers = Number(program.readBigUInt64LE(0x20)); // e_phoff
  const size = program.readUInt16LE(0x36); // e_phentsize
  const count = program.readUInt16LE(0x38); // e_phnum
  let end = headers + size * count;
  for (let header = headers; header < headers + size * count; header += size) {
    const offset = program.readBigUInt64LE(header + 0x08); // p_offset
    const length = program.readBigUInt64LE(header + 0x20); // p_filesz
    end = Math.max(end, Number(offset + length));
  }
  const stripped = Buffer.from(program.subarray(0, end));
  stripped.writeBigUInt64LE(0n, 0x28); // e_shoff
  stripped.writeUInt16LE(0, 0x3c); // e_shnum
  stripped.writeUInt16LE(0, 0x3e); // e_shstrndx
  return stripped;
}

/**
 * A single executable without the compiled code of those of Node's modules that it does not load: with a snapshot of its own
 * Node copies all of it at each start, 4.4 MB in 441 pieces, and keeps it. A module whose code is missing is compiled when it is
 * loaded. It is the last part of the snapshot: the number of modules, and for each one its id and its code, both with their
 * lengths before them, all numbers in 64 bits (SnapshotSerializer in Node's src/node_snapshotable.cc).
 * @param program what `--build-sea` has made.
 * @param from where in it to look: Node has such a list of its own.
 * @param kept the ids of the modules whose code stays.
 * @throws where there is not exactly one such list.
 */
export function dropCodeCache(program: Buffer, from: number, kept: RegExp): Buffer {
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
  const shorter = Buffer.concat([
    count,
    ...entries.map(({ start, end }) => program.subarray(start, end)),
  ]);
  const smaller = Buffer.from(program);
  smaller.fill(0, list.start, list.end);
  shorter.copy(smaller, list.start);
  return smaller;
}

interface Span {
  readonly start: number;
  readonly end: number;
}

interface CodeCache extends Span {
  readonly entries: readonly (Span & { readonly id: string })[];
}

/** Fewer modules than this are no list of Node's. */
const fewestModules = 100;

/** The list of modules that begins at `start`, or null where none does. */
function readCodeCache(program: Buffer, start: number): CodeCache | null {
  const count = readLength(program, start, 2_000);
  if (count === null || count < fewestModules) return null;
  const entries: { id: string; start: number; end: number }[] = [];
  let at = start + 8;
  for (let index = 0; index < count; index++) {
    const idLength = readLength(program, at, 200);
    if (idLength === null) return null;
    const id = program.toString("latin1", at + 8, at + 8 + idLength);
    const length = readLength(program, at + 8 + idLength, 10_000_000);
    if (length === null || !/^[\w./-]+$/.test(id)) return null;
    const end = at + 8 + idLength + 8 + length;
    if (end > program.length) return null;
    entries.push({ id, start: at, end });
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
