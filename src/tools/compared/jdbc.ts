// Where a URL of Java's connects to, for the tools that are programs of Java.

import type { ConfiguredUrl } from "../tool.ts";

interface Jdbc {
  readonly configured: ConfiguredUrl;
  /** The first one of the search path, where the URL names it. */
  readonly schema: string | null;
}

/**
 * Null for none, and for that of another system.
 * @param from what a message calls the place that names it.
 */
export function readJdbc(
  {
    url,
    user = "",
    password = "",
  }: { url?: string | undefined; user?: string | undefined; password?: string | undefined },
  from: string,
): Jdbc | null {
  if (url?.startsWith("jdbc:postgresql://") !== true || !URL.canParse(url.slice(5))) return null;
  const parsed = new URL(url.slice(5));
  const take = (name: string): string | null => {
    const value = parsed.searchParams.get(name);
    parsed.searchParams.delete(name);
    return value;
  };
  parsed.username = encodeURIComponent(take("user") ?? user);
  parsed.password = encodeURIComponent(take("password") ?? password);
  const options = take("options") ?? "";
  const path = take("currentSchema") ?? /\bsearch_path=([^\s\\]+)/.exec(options)?.[1];
  const schema = path?.split(",")[0]?.trim() ?? null;
  // The others are the driver's own.
  const others = [...parsed.searchParams.keys()].filter(
    (name) => !/^ssl(?:mode|rootcert)?$/.test(name),
  );
  for (const name of others) parsed.searchParams.delete(name);
  return { configured: { url: parsed.href, from }, schema };
}
