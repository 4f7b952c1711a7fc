// ELF programs, as far as the build changes them (elf(5)): 64-bit, little-endian. The kernel and the dynamic linker read program
// headers alone; tools that analyse a program read section headers. Each function throws where a program is not as it expects.

const headerSize = 0x38;
const symbolSize = 24;
const sectionSize = 0x40;

const types = { load: 1, dynamic: 2, headers: 6 };
const tags = {
  needed: 1,
  pltSize: 2,
  strings: 5,
  symbols: 6,
  relocations: 7,
  relocationsSize: 8,
  pltRelocations: 23,
  versions: 0x6ffffff0,
  needs: 0x6ffffffe,
  needsCount: 0x6fffffff,
};

/** A program header. */
export interface Segment {
  /** Where the header is in the file. */
  readonly at: number;
  readonly type: number;
  readonly executable: boolean;
  readonly writable: boolean;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly align: number;
}

export interface Span {
  readonly start: number;
  readonly end: number;
}

/** The version of one symbol or more of a library. */
export interface VersionNeed {
  readonly library: string;
  readonly version: string;
}

export function readSegments(program: Buffer): Segment[] {
  if (program.toString("latin1", 0, 7) !== "\x7fELF\x02\x01\x01") {
    throw new Error("Node is not a 64-bit little-endian ELF program");
  }
  const table = readAddress(program, 0x20); // e_phoff
  const count = program.readUInt16LE(0x38); // e_phnum
  if (table + count * headerSize > program.length) {
    throw new Error("Node ends before its program headers do");
  }
  return Array.from({ length: count }, (_, index) => {
    const at = table + index * headerSize;
    const flags = program.readUInt32LE(at + 4);
    return {
      at,
      type: program.readUInt32LE(at),
      executable: (flags & 1) !== 0,
      writable: (flags & 2) !== 0,
      offset: readAddress(program, at + 0x08),
      address: readAddress(program, at + 0x10),
      fileSize: readAddress(program, at + 0x20),
      memorySize: readAddress(program, at + 0x28),
      align: readAddress(program, at + 0x30),
    };
  });
}

/** A program without what no segment holds: symbols, debugging data, section headers. */
export function stripSymbols(program: Buffer): Buffer {
  const segments = readSegments(program);
  const headersEnd = Math.max(...segments.map(({ at }) => at + headerSize));
  const end = Math.max(headersEnd, ...segments.map((one) => one.offset + one.fileSize));
  if (end > program.length) throw new Error("Node ends before its last segment does");
  const stripped = Buffer.from(program.subarray(0, end));
  setSectionTable(stripped, 0, 0, 0);
  return stripped;
}

/** The libraries that the dynamic linker loads for a program. */
export function listLibraries(program: Buffer): string[] {
  const { entries, readString } = readDynamic(program);
  return entries.filter(({ tag }) => tag === tags.needed).map(({ value }) => readString(value));
}

/** The versions of symbols that a program needs. */
export function listVersionNeeds(program: Buffer): VersionNeed[] {
  const { needs } = readDynamic(program);
  return needs.flatMap(({ library, versions }) =>
    versions.map(({ version }) => ({ library, version })),
  );
}

/**
 * A program that has the one function that it needs of libatomic in itself, and loads that library no longer: it is the only one
 * that slim images lack.
 */
export function linkAtomics(program: Buffer): Buffer {
  const library = "libatomic.so.1";
  if (!listLibraries(program).includes(library)) return program;
  if (program.readUInt16LE(0x12) !== 62) throw new Error("Node is no program for x86-64");
  const linked = Buffer.from(program);
  const { segments, entries, needs, offsetOf, readString, value } = readDynamic(linked);

  const need = needs.find((one) => one.library === library);
  const numbers = new Set(need?.versions.map(({ number }) => number));
  const symbols = offsetOf(value(tags.symbols));
  const versions = offsetOf(value(tags.versions));
  const ofLibrary = (symbol: number) => numbers.has(linked.readUInt16LE(versions + 2 * symbol));
  const nameOf = (symbol: number) => readString(linked.readUInt32LE(symbols + symbol * symbolSize));
  const relocations = [
    [tags.relocations, tags.relocationsSize],
    [tags.pltRelocations, tags.pltSize],
  ].flatMap(([table = 0, size = 0]) => {
    const start = offsetOf(value(table));
    return Array.from({ length: value(size) / symbolSize }, (_, index) => {
      const at = start + index * symbolSize;
      return { at, type: linked.readUInt32LE(at + 8), symbol: linked.readUInt32LE(at + 12) };
    });
  });
  const met = relocations.filter(({ symbol }) => ofLibrary(symbol));
  for (const { symbol, type } of met) {
    // R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT
    if (nameOf(symbol) !== "__atomic_compare_exchange" || (type !== 6 && type !== 7)) {
      throw new Error(`Node needs ${nameOf(symbol)} of ${library}`);
    }
  }

  // The rest of the last page of its code is mapped with it.
  const text = segments.find(({ type, executable }) => type === types.load && executable);
  if (text === undefined) throw new Error("Node has no code");
  const end = text.offset + text.fileSize;
  const at = Math.ceil(end / 16) * 16;
  const room = Math.ceil(end / text.align) * text.align;
  const after = at + compareExchange.length;
  if (after > room || linked.subarray(end, room).some((byte) => byte !== 0)) {
    throw new Error("Node's code has no room behind it");
  }
  compareExchange.copy(linked, at);
  for (const field of [0x20, 0x28]) writeAddress(linked, text.at + field, after - text.offset);
  for (const { at: relocation, symbol } of met) {
    linked.writeUInt32LE(8, relocation + 8); // R_X86_64_RELATIVE
    linked.writeUInt32LE(0, relocation + 12);
    writeAddress(linked, relocation + 16, text.address + at - text.offset);
    linked.writeUInt16LE(1, versions + 2 * symbol); // of no library
  }

  // Out of the list of libraries, and out of the list of their versions.
  const kept = entries.filter(
    ({ tag, value: name }) => tag !== tags.needed || readString(name) !== library,
  );
  const [first] = entries;
  for (const [index, entry] of entries.entries()) {
    const { tag, value: old } = kept[index] ?? { tag: 0, value: 0 };
    const fewer = tag === tags.needsCount && need !== undefined ? old - 1 : old;
    const next = tag === tags.needs && need === needs[0] ? old + (need?.next ?? 0) : fewer;
    writeAddress(linked, (first?.at ?? entry.at) + 16 * index, tag);
    writeAddress(linked, (first?.at ?? entry.at) + 16 * index + 8, next);
  }
  const previous = need === undefined ? undefined : needs[needs.indexOf(need) - 1];
  if (need !== undefined && previous !== undefined) {
    const next = need.next === 0 ? 0 : previous.next + need.next;
    linked.writeUInt32LE(next, previous.at + 12); // vn_next
  }
  return linked;
}

/**
 * `bool __atomic_compare_exchange(size, pointer, expected, desired, …)` of libatomic, for all sizes that a processor has. It is
 * sequentially consistent, which any of the orders allows.
 */
export const compareExchange = assemble(`
  f3 0f 1e fa       endbr64
  48 83 ff 08       cmp rdi, 8
  74 40             je eight
  48 83 ff 04       cmp rdi, 4
  74 2e             je four
  48 83 ff 10       cmp rdi, 16
  74 44             je sixteen
  48 83 ff 02       cmp rdi, 2
  74 12             je two
  48 83 ff 01       cmp rdi, 1
  75 5b             jne none
  8a 02             mov al, [rdx]
  8a 09             mov cl, [rcx]
  f0 0f b0 0e       lock cmpxchg [rsi], cl
  88 02             mov [rdx], al
  eb 4b             jmp end
  66 8b 02          two: mov ax, [rdx]
  66 8b 09          mov cx, [rcx]
  66 f0 0f b1 0e    lock cmpxchg [rsi], cx
  66 89 02          mov [rdx], ax
  eb 3b             jmp end
  8b 02             four: mov eax, [rdx]
  8b 09             mov ecx, [rcx]
  f0 0f b1 0e       lock cmpxchg [rsi], ecx
  89 02             mov [rdx], eax
  eb 2f             jmp end
  48 8b 02          eight: mov rax, [rdx]
  48 8b 09          mov rcx, [rcx]
  f0 48 0f b1 0e    lock cmpxchg [rsi], rcx
  48 89 02          mov [rdx], rax
  eb 1f             jmp end
  53                sixteen: push rbx
  49 89 d0          mov r8, rdx
  48 8b 19          mov rbx, [rcx]
  48 8b 49 08       mov rcx, [rcx + 8]
  49 8b 00          mov rax, [r8]
  49 8b 50 08       mov rdx, [r8 + 8]
  f0 48 0f c7 0e    lock cmpxchg16b [rsi]
  49 89 00          mov [r8], rax
  49 89 50 08       mov [r8 + 8], rdx
  5b                pop rbx
  0f 94 c0          end: sete al
  c3                ret
  0f 0b             none: ud2
`);

function assemble(listing: string): Buffer {
  const lines = listing.trim().split("\n");
  const bytes = lines.map((line) => line.trim().split("  ")[0]?.replaceAll(" ", ""));
  return Buffer.from(bytes.join(""), "hex");
}

/**
 * A program whose file lacks the whole pages of these parts of it, and whose memory has gaps there. Nothing but read-only data is
 * cut.
 * @param parts places in the file.
 */
export function cutParts(program: Buffer, parts: readonly Span[]): Buffer {
  const segments = readSegments(program);
  const cuts = parts
    .map((part) => {
      const segment = segments.find(
        ({ type, offset, fileSize }) =>
          type === types.load && offset <= part.start && part.end <= offset + fileSize,
      );
      if (segment === undefined || segment.executable || segment.writable) {
        throw new Error("what is to be cut is no read-only data");
      }
      const { align } = segment;
      const start = Math.ceil(part.start / align) * align;
      const end = Math.floor(part.end / align) * align;
      return { start, end, segment };
    })
    .filter(({ start, end }) => start < end)
    .toSorted((a, b) => a.start - b.start);

  // Behind the headers' own segment there has to be room for more.
  const table = readAddress(program, 0x20);
  const tableEnd = table + segments.length * headerSize;
  const holder = segments.find(
    ({ type, offset, fileSize }) =>
      type === types.load && offset <= table && tableEnd <= offset + fileSize,
  );
  const newEnd = tableEnd + cuts.length * headerSize;
  const holderEnd = holder === undefined ? 0 : holder.offset + holder.fileSize;
  if (newEnd > holderEnd || program.subarray(tableEnd, newEnd).some((byte) => byte !== 0)) {
    throw new Error("there is no room for more program headers");
  }

  const moved = (offset: number): number =>
    offset -
    cuts.reduce((sum, { start, end }) => sum + Math.max(0, Math.min(offset, end) - start), 0);
  const headers = segments.flatMap((segment) => {
    const header = program.subarray(segment.at, segment.at + headerSize);
    const own = segment.type === types.load ? cuts.filter((cut) => cut.segment === segment) : [];
    const edges = [
      segment.offset,
      ...own.flatMap(({ start, end }) => [start, end]),
      segment.offset + segment.fileSize,
    ];
    return Array.from({ length: own.length + 1 }, (_, index) => {
      const [start = 0, end = 0] = edges.slice(2 * index, 2 * index + 2);
      const piece = Buffer.from(header);
      const shift = start - segment.offset;
      writeAddress(piece, 0x08, moved(start));
      for (const field of [0x10, 0x18]) writeAddress(piece, field, segment.address + shift);
      if (own.length > 0) {
        for (const field of [0x20, 0x28]) writeAddress(piece, field, end - start);
      } else {
        // What another header says of the same part.
        writeAddress(piece, 0x20, moved(segment.offset + segment.fileSize) - moved(start));
      }
      if (segment.type === types.headers) {
        for (const field of [0x20, 0x28]) writeAddress(piece, field, newEnd - table);
      }
      return { piece, empty: own.length > 0 && end === start };
    });
  });
  const pieces = headers.filter(({ empty }) => !empty).map(({ piece }) => piece);

  const whole = Buffer.from(program);
  whole.fill(0, table, newEnd);
  Buffer.concat(pieces).copy(whole, table);
  writeAddress(whole, 0x20, moved(table));
  whole.writeUInt16LE(pieces.length, 0x38);
  const edges = [0, ...cuts.flatMap(({ start, end }) => [start, end]), whole.length];
  return Buffer.concat(
    Array.from({ length: cuts.length + 1 }, (_, index) =>
      whole.subarray(edges[2 * index], edges[2 * index + 1]),
    ),
  );
}

/**
 * A program with section headers behind it, for tools that analyse one: those of the program that it was made of, as far as
 * they describe what is loaded.
 */
export function describeSections(program: Buffer, original: Buffer): Buffer {
  const table = readAddress(original, 0x28); // e_shoff
  const count = original.readUInt16LE(0x3c);
  const namesAt = readAddress(original, table + original.readUInt16LE(0x3e) * sectionSize + 0x18);
  const { segments, needs, value } = readDynamic(program);
  const loads = segments.filter(({ type }) => type === types.load);
  const names: string[] = [];
  const nameOffset = (name: string): number => {
    const offset = names.reduce((sum, { length }) => sum + length + 1, 0);
    names.push(name);
    return offset;
  };
  nameOffset("");
  const first: Buffer[] = [Buffer.alloc(sectionSize)];
  const later: Buffer[] = [];
  for (let index = 1; index < count; index++) {
    const header = Buffer.from(
      original.subarray(table + index * sectionSize).subarray(0, sectionSize),
    );
    const flags = header.readUInt32LE(0x08);
    if ((flags & 2) === 0) break; // SHF_ALLOC; the others are behind them.
    const nameAt = namesAt + header.readUInt32LE(0);
    const name = original.toString("latin1", nameAt, original.indexOf(0, nameAt));
    const sectionEnd = readAddress(header, 0x10) + readAddress(header, 0x20);
    // linkAtomics may have taken the first of these.
    const isNeeds = name === ".gnu.version_r";
    const address = isNeeds ? value(tags.needs) : readAddress(header, 0x10);
    if (isNeeds) header.writeUInt32LE(needs.length, 0x2c); // sh_info
    // The parts of it that are still there.
    const parts = loads
      .map((segment) => {
        const start = Math.max(address, segment.address);
        const end = Math.min(sectionEnd, segment.address + segment.memorySize);
        return { start, end, offset: segment.offset + start - segment.address };
      })
      .filter(({ start, end }) => start < end);
    if (parts.length === 0) throw new Error(`${name} is in no segment`);
    for (const [part, { start, end, offset }] of parts.entries()) {
      const own = Buffer.from(header);
      own.writeUInt32LE(nameOffset(part === 0 ? name : `${name}.${part}`), 0);
      writeAddress(own, 0x10, start);
      writeAddress(own, 0x18, offset);
      writeAddress(own, 0x20, end - start);
      (part === 0 ? first : later).push(own);
    }
  }
  const stringsName = nameOffset(".shstrtab");
  const strings = Buffer.from(names.map((name) => `${name}\0`).join(""), "latin1");
  const own = Buffer.alloc(sectionSize);
  own.writeUInt32LE(stringsName, 0);
  own.writeUInt32LE(3, 0x04); // SHT_STRTAB
  writeAddress(own, 0x18, program.length);
  writeAddress(own, 0x20, strings.length);
  writeAddress(own, 0x30, 1);
  const headers = [...first, ...later, own];
  const padding = Buffer.alloc(-(program.length + strings.length) & 7);
  const described = Buffer.concat([program, strings, padding, ...headers]);
  setSectionTable(
    described,
    program.length + strings.length + padding.length,
    headers.length,
    headers.length - 1,
  );
  return described;
}

interface Entry {
  readonly at: number;
  readonly tag: number;
  readonly value: number;
}

interface Need {
  readonly at: number;
  readonly next: number;
  readonly library: string;
  readonly versions: readonly { readonly version: string; readonly number: number }[];
}

/** What the dynamic linker reads. */
function readDynamic(program: Buffer) {
  const segments = readSegments(program);
  const dynamic = segments.find(({ type }) => type === types.dynamic);
  if (dynamic === undefined) throw new Error("Node is linked statically");
  const offsetOf = (address: number): number => {
    const segment = segments.find(
      ({ type, address: start, fileSize }) =>
        type === types.load && start <= address && address < start + fileSize,
    );
    if (segment === undefined) throw new Error("Node has an address that is in no segment");
    return segment.offset + address - segment.address;
  };
  const entries: Entry[] = [];
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.fileSize; at += 16) {
    const tag = readAddress(program, at);
    if (tag === 0) break;
    entries.push({ at, tag, value: readAddress(program, at + 8) });
  }
  const find = (tag: number) => entries.find((entry) => entry.tag === tag)?.value;
  const value = (tag: number): number => {
    const found = find(tag);
    if (found === undefined) throw new Error(`Node has no dynamic entry ${tag}`);
    return found;
  };
  const strings = offsetOf(value(tags.strings));
  const readString = (offset: number): string =>
    program.toString("latin1", strings + offset, program.indexOf(0, strings + offset));
  const needs: Need[] = [];
  const needsAt = find(tags.needs);
  let at = needsAt === undefined ? 0 : offsetOf(needsAt);
  for (let left = find(tags.needsCount) ?? 0; left > 0; left--) {
    const next = program.readUInt32LE(at + 12);
    const versions: { version: string; number: number }[] = [];
    let aux = at + program.readUInt32LE(at + 8);
    for (let more = program.readUInt16LE(at + 2); more > 0; more--) {
      const version = readString(program.readUInt32LE(aux + 8));
      versions.push({ version, number: program.readUInt16LE(aux + 6) });
      aux += program.readUInt32LE(aux + 12);
    }
    needs.push({ at, next, library: readString(program.readUInt32LE(at + 4)), versions });
    at += next;
  }
  return { segments, entries, needs, offsetOf, readString, value };
}

function setSectionTable(program: Buffer, at: number, count: number, names: number): void {
  writeAddress(program, 0x28, at); // e_shoff
  program.writeUInt16LE(sectionSize, 0x3a); // e_shentsize
  program.writeUInt16LE(count, 0x3c); // e_shnum
  program.writeUInt16LE(names, 0x3e); // e_shstrndx
}

function readAddress(program: Buffer, at: number): number {
  return Number(program.readBigUInt64LE(at));
}

function writeAddress(program: Buffer, at: number, value: number): void {
  program.writeBigUInt64LE(BigInt(value), at);
}
