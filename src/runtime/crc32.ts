// The checksum of zlib. Guarantees: zlib is loaded by the first one who wants it; its streams take longer than all else that the
// tools need.

/** Of the bytes, or of a text's UTF-8; unsigned. @param before that of what comes before. */
export function crc32(data: string | Buffer, before = 0): number {
  return process.getBuiltinModule("node:zlib").crc32(data, before);
}
