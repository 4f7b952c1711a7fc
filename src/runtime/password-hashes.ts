// The hashes by which a client proves its password. In the bundle this replaces pg's own lib/crypto/utils.js, which computes
// each one by Web Crypto: in threads that start for it, where the hash itself takes microseconds. The names are pg's, and the
// build compares the exports (scripts/build/stand-ins.ts).

import { createHash, createHmac, pbkdf2, pbkdf2Sync, randomBytes } from "node:crypto";

export { randomBytes };

/** More rounds than this would block signals for too long (PostgreSQL's scram_iterations is 4096). */
const mostAtOnce = 20_000;

export function md5(text: string | Buffer): string {
  return createHash("md5").update(text).digest("hex");
}

/** `salt` is four bytes of the server's. */
export function postgresMd5PasswordHash(user: string, password: string, salt: Buffer): string {
  return `md5${md5(Buffer.concat([Buffer.from(md5(password + user)), salt]))}`;
}

export function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

/** `name` as a certificate's signature has it: SHA-256, SHA-384. */
export function hashByName(name: string, bytes: Uint8Array): Buffer {
  return createHash(name).update(bytes).digest();
}

export function hmacSha256(key: Uint8Array, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

/** SCRAM-SHA-256's salted password (RFC 5802: Hi), 32 bytes. */
export async function deriveKey(
  password: string,
  salt: Uint8Array,
  rounds: number,
): Promise<Buffer> {
  if (rounds <= mostAtOnce) return pbkdf2Sync(password, salt, rounds, 32, "sha256");
  return new Promise((resolve, reject) => {
    pbkdf2(password, salt, rounds, 32, "sha256", (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
}
