// The environment as the parent gave it, for settings and for every child. Node and the libraries see all of it but NODE_*, which
// is the application's: Node would write coverage files, print debug lines, or open a channel to a parent of its own kind and
// remove the variable. Imported first, since some modules read variables while they load. The single executable has this in
// its snapshot, so Node's own start sees it too. Out of reach is what Node reads before any JavaScript runs: NODE_OPTIONS,
// which the executable is built not to read, and the variables that README lists.

export type Environment = Readonly<Record<string, string | undefined>>;

const inherited = process.env;

/** Every variable, NODE_* included. */
export function inheritedEnvironment(): Environment {
  return inherited;
}

const isForNode = (name: string | symbol): boolean =>
  typeof name === "string" && name.startsWith("NODE_");

Object.defineProperty(process, "env", {
  configurable: true,
  enumerable: true,
  writable: true,
  value: new Proxy(inherited, {
    get: (target, name) => (isForNode(name) ? undefined : Reflect.get(target, name)),
    has: (target, name) => !isForNode(name) && Reflect.has(target, name),
    ownKeys: (target) => Reflect.ownKeys(target).filter((name) => !isForNode(name)),
    getOwnPropertyDescriptor: (target, name) =>
      isForNode(name) ? undefined : Reflect.getOwnPropertyDescriptor(target, name),
  }),
});
