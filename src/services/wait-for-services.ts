// `wait-for-it redis:6379 && …` of the shell script: waits until all services answer that --wait-for names, each in its own
// protocol. Guarantees: with a limit, with a line every 15 s, and until a signal ends it.

import type { Context } from "../context.ts";
import { Failure } from "../failure.ts";
import { poll } from "../patience.ts";
import type { Environment } from "../runtime/environment.ts";
import type { Service } from "./address.ts";
import { NotReady, probe } from "./probe.ts";

export interface WaitForSettings {
  readonly waitFor: readonly Service[];
  readonly waitTimeoutMs: number;
  readonly env: Environment;
}

const firstDelayMs = 50;
const longestDelayMs = 2_000;
/** One look: a host that swallows packets must not eat up the whole wait. */
const lookTimeoutMs = 5_000;
/** How long a refusal that a person has to mend must be seen before it is believed. */
const refusalPatienceMs = 5_000;

/** Resolves once each has answered, which is asked for no more then. Throws Failure "service-unavailable". */
export async function waitForServices({
  settings,
  log,
  signals: { stop },
}: Context<WaitForSettings>): Promise<void> {
  const { waitFor, waitTimeoutMs: timeoutMs, env } = settings;
  const missing = new Map(waitFor.map((service) => [service, null as NotReady | null]));
  let refusedSinceMs: number | null = null;
  let looks = 0;
  let elapsedMs = 0;
  const describe = () =>
    [...missing].map(([{ name }, why]) => `${name} (${why?.message ?? ""})`).join(", ");
  const fail = (when: string) =>
    new Failure("service-unavailable", `cannot reach what --wait-for names${when}: ${describe()}`, {
      hint: "check that it is started, and its address, or raise --wait-timeout",
      details: { services: [...missing.keys()].map(({ name }) => name) },
    });
  await poll<true>({
    stop,
    timeoutMs,
    delayMs: (attempt) => Math.min(firstDelayMs * 2 ** attempt, longestDelayMs),
    async look(waitedMs) {
      looks += 1;
      const leftMs = timeoutMs === 0 ? lookTimeoutMs : Math.max(timeoutMs - waitedMs, 1);
      const look = { timeoutMs: Math.min(lookTimeoutMs, Math.ceil(leftMs)), stop, env };
      await Promise.all([...missing.keys()].map((service) => lookAt(service, look)));
      elapsedMs = waitedMs;
      if (missing.size === 0) return true;
      const refused = [...missing.values()].some((why) => why?.kind === "refused");
      refusedSinceMs = refused ? (refusedSinceMs ?? waitedMs) : null;
      if (refusedSinceMs !== null && waitedMs - refusedSinceMs >= refusalPatienceMs) throw fail("");
      return null;
    },
    async report(waitedMs) {
      const services = [...missing.keys()].map(({ name }) => name);
      log.info(
        { event: "waiting", services, waitedMs: Math.round(waitedMs), timeoutMs },
        `Waiting for ${describe()}: ${Math.round(waitedMs / 1000)} s of ${timeoutMs / 1000} s`,
      );
      return true;
    },
    expired: async () => fail(` within ${timeoutMs / 1000} s`),
  });
  if (looks === 1) return;
  const services = waitFor.map(({ name }) => name);
  log.info(
    { event: "services-ready", services, waitedMs: Math.round(elapsedMs) },
    `What --wait-for names answers: ${services.join(", ")}`,
  );

  async function lookAt(service: Service, look: Parameters<typeof probe>[1]): Promise<void> {
    try {
      await probe(service, look);
      missing.delete(service);
    } catch (error) {
      if (!(error instanceof NotReady)) throw error;
      // A look that the limit has cut short says less than the one before.
      const cut = look.timeoutMs < lookTimeoutMs && error.kind === "cut";
      if (!cut || missing.get(service) === null) missing.set(service, error);
    }
  }
}
