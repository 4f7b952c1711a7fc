// The checksum of zlib. Guarantees: zlib is loaded by the first one who wants it; its streams take longer than all else that the
// tools need.

/** Of a text's UTF-8; unsigned. */
export function crc32(text: string): number {
  return process.getBuiltinModule("node:zlib").crc32(text);
}
