// Whether a connection is encrypted, and whom it trusts, as libpq means its ssl* parameters.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ConnectionOptions, SecureVersion } from "node:tls";
import { requireRegularFile } from "../runtime/regular-file.ts";
import { homeDirectory } from "./home.ts";
import { BadUrl, type Lookup } from "./parameters.ts";

const tlsModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
type TlsMode = (typeof tlsModes)[number];

export interface Tls {
  readonly mode: TlsMode;
  /** The TLS handshake comes first, and is not requested: `sslnegotiation=direct`. */
  readonly direct: boolean;
  /** Paths. Undefined: the file in ~/.postgresql, where it is there. */
  readonly ca: string | undefined;
  readonly crl: string | undefined;
  readonly crlDirectory: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly passphrase: string | undefined;
  /** Trust the roots that Node brings along, and not the file in ~/.postgresql. */
  readonly systemRoots: boolean;
  readonly sendsCertificate: boolean;
  /** SNI. */
  readonly sendsServerName: boolean;
  readonly minVersion: SecureVersion | undefined;
  readonly maxVersion: SecureVersion | undefined;
}

/** Throws BadUrl. @param required PGREQUIRESSL. */
export function readTls(get: Lookup, required: string | undefined): Tls {
  const ca = get("sslrootcert");
  const systemRoots = ca === "system";
  const mode = parseMode(
    get("sslmode") ?? (required?.startsWith("1") ? "require" : undefined),
    systemRoots,
  );
  const negotiation = get("sslnegotiation") ?? "postgres";
  if (negotiation !== "postgres" && negotiation !== "direct") {
    throw new BadUrl(`sslnegotiation is ${negotiation}; allowed: postgres, direct`);
  }
  const direct = negotiation === "direct";
  if (direct && ["disable", "allow", "prefer"].includes(mode)) {
    throw new BadUrl(
      `sslnegotiation=direct requires sslmode=require or stronger, and it is ${mode}`,
    );
  }
  return {
    mode,
    direct,
    ca: systemRoots ? undefined : ca,
    crl: get("sslcrl"),
    crlDirectory: get("sslcrldir"),
    cert: get("sslcert"),
    key: get("sslkey"),
    passphrase: get("sslpassword"),
    systemRoots,
    sendsCertificate: get("sslcertmode") !== "disable",
    sendsServerName: get("sslsni") !== "0",
    minVersion: parseVersion("ssl_min_protocol_version", get("ssl_min_protocol_version")),
    maxVersion: parseVersion("ssl_max_protocol_version", get("ssl_max_protocol_version")),
  };
}

function parseMode(text: string | undefined, systemRoots: boolean): TlsMode {
  const word = text ?? (systemRoots ? "verify-full" : "prefer");
  const mode = tlsModes.find((known) => known === word);
  if (mode === undefined) throw new BadUrl(`sslmode is ${word}; allowed: ${tlsModes.join(", ")}`);
  if (systemRoots && mode !== "verify-full") {
    throw new BadUrl(`sslrootcert=system requires sslmode=verify-full, and it is ${mode}`);
  }
  return mode;
}

const versions = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] as const;

function parseVersion(name: string, text: string | undefined): SecureVersion | undefined {
  if (text === undefined) return undefined;
  const version = versions.find((known) => known.toLowerCase() === text.toLowerCase());
  if (version === undefined)
    throw new BadUrl(`${name} is ${text}; allowed: ${versions.join(", ")}`);
  return version;
}

/** Reads the files. Throws BadUrl where one that is named cannot be read. @param home the environment's HOME. */
export function tlsOptions(tls: Tls, home: string | undefined): ConnectionOptions {
  const ca = readNamed(tls.ca) ?? (tls.systemRoots ? undefined : readOwn(home, "root.crt"));
  const crl = [
    readNamed(tls.crl) ?? (ca === undefined ? undefined : readOwn(home, "root.crl")),
    ...readDirectory(tls.crlDirectory),
  ].filter((list) => list !== undefined);
  const cert = tls.sendsCertificate
    ? tls.cert === undefined
      ? readOwn(home, "postgresql.crt")
      : readIfThere(tls.cert)
    : undefined;
  const key = cert && (readNamed(tls.key) ?? readOwn(home, "postgresql.key"));
  const given = {
    ca,
    crl: crl.length === 0 ? undefined : crl,
    cert,
    key,
    passphrase: tls.passphrase,
    minVersion: tls.minVersion,
    maxVersion: tls.maxVersion,
  };
  return {
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    // "require" checks neither names nor issuers, unless a root is there.
    rejectUnauthorized: tls.mode.startsWith("verify") || ca !== undefined,
    ...(tls.mode === "verify-full" ? {} : { checkServerIdentity: () => undefined }),
  };
}

function readNamed(path: string | undefined): Buffer | undefined {
  return path === undefined ? undefined : orBadUrl(path, () => readBytes(path));
}

function readDirectory(path: string | undefined): readonly Buffer[] {
  if (path === undefined) return [];
  return orBadUrl(path, () => readdirSync(path).map((name) => readBytes(join(path, name))));
}

function readBytes(path: string): Buffer {
  requireRegularFile(path);
  return readFileSync(path);
}

function orBadUrl<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new BadUrl(`the TLS file ${path} cannot be read`, { cause });
  }
}

/** A client's certificate that is named and does not exist means none: this keeps libpq from the one in ~/.postgresql. */
function readIfThere(path: string): Buffer | undefined {
  return existsSync(path) ? readNamed(path) : undefined;
}

/** A file in ~/.postgresql, where it can be read. */
function readOwn(home: string | undefined, name: string): Buffer | undefined {
  const directory = homeDirectory(home);
  if (directory === undefined) return undefined;
  try {
    return readBytes(join(directory, ".postgresql", name));
  } catch {
    return undefined;
  }
}
