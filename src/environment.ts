// The environment as our parent gave it, for our settings and for every child; and what Node and the libraries see of
// it: all but NODE_*. Those are the application's. With them Node would write coverage files, print debug lines, open a
// channel to a parent of its own kind and take the variable away from the application. Imported before anything else,
// since some are looked at while a module loads.
//
// In the single executable this stands in its snapshot, so that Node's own start sees it too. What Node reads before
// any JavaScript runs is out of reach: NODE_OPTIONS, which the executable is built not to read, and those that README
// lists.

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
