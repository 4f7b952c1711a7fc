// Which ways of authentication are allowed: require_auth and channel_binding, in libpq's words. Guarantees: a password is
// never sent in another way.

import type { Duplex } from "node:stream";
import type { EventEmitter } from "node:events";
import type pg from "pg";
import { BadUrl, type Lookup } from "./parameters.ts";

const bindingMechanism = "SCRAM-SHA-256-PLUS";
const methods = ["none", "password", "md5", "scram-sha-256", "gss", "sspi", "oauth"] as const;
type Method = (typeof methods)[number];

export interface AuthenticationRules {
  /** Null: any. */
  readonly allowed: readonly Method[] | null;
  /** The proof must be bound to the TLS connection: SCRAM-SHA-256-PLUS. */
  readonly bound: boolean;
}

/** Throws BadUrl. */
export function readAuthenticationRules(get: Lookup): AuthenticationRules {
  const binding = get("channel_binding") ?? "prefer";
  if (!["disable", "prefer", "require"].includes(binding)) {
    throw new BadUrl(`channel_binding is ${binding}; allowed: disable, prefer, require`);
  }
  const words = get("require_auth")
    ?.split(",")
    .map((word) => word.trim());
  return { allowed: words === undefined ? null : readMethods(words), bound: binding === "require" };
}

/** All that are named, or all but those that are named with an exclamation mark. */
function readMethods(words: readonly string[]): readonly Method[] {
  const negated = words.filter((word) => word.startsWith("!"));
  const named = words.map((word) => word.replace(/^!/, ""));
  const known = named.every((word) => methods.some((method) => method === word));
  if (!known || (negated.length > 0 && negated.length < words.length)) {
    throw new BadUrl(
      `require_auth is ${words.join(",")}; allowed: a list of ${methods.join(", ")}, all with ! or none`,
    );
  }
  return methods.filter((method) => named.includes(method) === (negated.length === 0));
}

/** Of pg's client, what is not in its types. */
interface Internals {
  readonly connection: EventEmitter & { readonly stream: Duplex };
  /** Between the server's request and its proof. */
  readonly saslSession?: { readonly mechanism: string } | null;
}

/**
 * Breaks off a connection that is about to be made against the rules. To be called before client.connect().
 * @returns what to call after it: throws where the server was faster with all of its greeting.
 */
export function enforceRules(
  client: pg.Client,
  { allowed, bound }: AuthenticationRules,
): () => void {
  let broken: Error | null = null;
  const throwIfBroken = () => {
    if (broken !== null) throw broken;
  };
  if (allowed === null && !bound) return throwIfBroken;
  const internals = client as unknown as Internals;
  const { connection } = internals;
  let requested: Method = "none";
  let proven = false;
  const refuse = (reason: string) => {
    broken = new Error(reason);
    // Nothing is sent over a stream that is destroyed.
    connection.stream.destroy(broken);
  };
  const check = (method: Method, binds: boolean) => {
    requested = method;
    const request = `the server requests ${method === "none" ? "no" : method} authentication`;
    if (allowed?.includes(method) === false) {
      refuse(`${request}, which require_auth does not allow`);
    } else if (bound && !binds) {
      refuse(`${request}, and channel_binding=require allows only SCRAM over TLS`);
    }
  };
  connection.on("authenticationCleartextPassword", () => check("password", false));
  connection.on("authenticationMD5Password", () => check("md5", false));
  connection.on("authenticationSASL", ({ mechanisms }: { mechanisms: readonly string[] }) =>
    check("scram-sha-256", mechanisms.includes(bindingMechanism)),
  );
  // What pg has chosen of them: a rule is not kept by what is offered.
  connection.on("authenticationSASLContinue", () =>
    check("scram-sha-256", internals.saslSession?.mechanism === bindingMechanism),
  );
  connection.on("authenticationSASLFinal", () => (proven = true));
  connection.on("authenticationOk", () => {
    if (requested === "none") check("none", false);
    else if (requested === "scram-sha-256" && !proven) {
      refuse("the server has not proven that it knows the password");
    }
  });
  return throwIfBroken;
}
