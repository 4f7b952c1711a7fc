// The formats in which a release is packed. Each archive has the same bytes whoever writes it: its entries are in the order given,
// belong to root, and are of one time.

import { crc32, deflateRawSync, gzipSync } from "node:zlib";

export interface Entry {
  /** Without a slash at its beginning. */
  readonly path: string;
  readonly content: Buffer;
  readonly mode: number;
  /** Where it is a symbolic link: its target. */
  readonly link?: string;
}

/** A regular file. */
export function file(path: string, content: Buffer | string, mode = 0o644): Entry {
  return { path, content: Buffer.from(content), mode };
}

/** An archive as POSIX describes it (ustar), with the folders that its entries are in. */
export function packTar(entries: readonly Entry[], seconds: number): Buffer {
  const folders = new Set<string>();
  const blocks: Buffer[] = [];
  for (const { path, content, mode, link } of entries) {
    for (const { index } of path.matchAll(/\//g)) {
      const folder = path.slice(0, index + 1);
      if (folders.has(folder)) continue;
      folders.add(folder);
      blocks.push(header(folder, 0, 0o755, "5", "", seconds));
    }
    if (link === undefined) {
      blocks.push(header(path, content.length, mode, "0", "", seconds), content);
      blocks.push(Buffer.alloc(-content.length & 511));
    } else {
      blocks.push(header(path, 0, 0o777, "2", link, seconds));
    }
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

export function packTarGz(entries: readonly Entry[], seconds: number): Buffer {
  return gzipSync(packTar(entries, seconds));
}

function header(
  path: string,
  length: number,
  mode: number,
  type: string,
  link: string,
  seconds: number,
): Buffer {
  if (Buffer.byteLength(path) > 100) throw new Error(`${path} is too long for an archive`);
  const block = Buffer.alloc(512);
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, "0")}\0`;
  block.write(path, 0);
  block.write(octal(mode, 8), 100);
  block.write(octal(0, 8) + octal(0, 8), 108); // the owner and the group
  block.write(octal(length, 12) + octal(seconds, 12), 124);
  block.write(" ".repeat(8), 148);
  block.write(type, 156);
  block.write(link, 157);
  block.write("ustar\u000000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

/** A zip file, as Python's wheels are. Its entries are regular files. */
export function packZip(entries: readonly Entry[], seconds: number): Buffer {
  const date = new Date(Math.max(seconds, earliestZip) * 1000);
  const time =
    (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | (date.getUTCSeconds() >> 1);
  const day =
    ((date.getUTCFullYear() - 1980) << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate();
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { path, content, mode } of entries) {
    const name = Buffer.from(path);
    const deflated = deflateRawSync(content);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0); // the version of the format
    common.writeUInt16LE(0x0800, 2); // names in UTF-8
    common.writeUInt16LE(8, 4); // deflated
    common.writeUInt16LE(time, 6);
    common.writeUInt16LE(day, 8);
    common.writeUInt32LE(crc32(content), 10);
    common.writeUInt32LE(deflated.length, 14);
    common.writeUInt32LE(content.length, 18);
    common.writeUInt16LE(name.length, 22);
    const own = Buffer.concat([Buffer.from("PK\x03\x04"), common, name, deflated]);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(((0o100000 | mode) << 16) >>> 0, 6); // what Unix keeps of a file
    rest.writeUInt32LE(offset, 10);
    directory.push(
      Buffer.concat([Buffer.from("PK\x01\x02"), Buffer.from([20, 3]), common, rest, name]),
    );
    files.push(own);
    offset += own.length;
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(size, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...files, ...directory, end]);
}

/** The first day that a zip file can tell. */
const earliestZip = Date.UTC(1980, 0, 1) / 1000;
