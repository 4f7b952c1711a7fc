// What every archive of a release carries beside the program: the licences of all that is in it, and a bill of materials.

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";

/** The project, as package.json describes it. */
export interface Project {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  /** Where its source is; a publisher sets it. */
  readonly repository: string | null;
  readonly node: string;
}

export function readProject(root: string): Project {
  const text = readFileSync(join(root, "package.json"), "utf8");
  const { name, version, description, license, repository, engines } = JSON.parse(text) as Omit<
    Project,
    "repository" | "node"
  > & { readonly repository?: string; readonly engines: { readonly node: string } };
  return {
    name,
    version,
    description,
    license,
    repository: repository ?? null,
    node: engines.node,
  };
}

/** The licences of these packages of node_modules, and of the Node that runs this. @throws where one is not to be found. */
export function collectLicences(root: string, packages: readonly string[]): string {
  const texts = packages.map((name) => {
    const folder = join(root, "node_modules", name);
    const names = readdirSync(folder).filter((file) =>
      /^(?:licen[cs]e|copying|notice)\b/i.test(file),
    );
    const { version, license } = readPackage(root, name);
    if (names.length === 0 && license === undefined) throw new Error(`${name} has no licence`);
    const files = names.map((file) => readFileSync(join(folder, file), "utf8").trim());
    return section(`${name} ${version}`, [`Licence: ${license ?? "as below"}`, ...files]);
  });
  const node = section(`Node.js ${process.versions.node}, with all that it carries`, [
    readNodeLicence().trim(),
  ]);
  const introduction =
    "The program and the bundle contain the work of others. Node.js is in the program alone.\n";
  return [introduction, ...texts, node].join("\n");
}

function readPackage(root: string, name: string) {
  const text = readFileSync(join(root, "node_modules", name, "package.json"), "utf8");
  return JSON.parse(text) as { readonly version: string; readonly license?: string };
}

function section(title: string, texts: readonly string[]): string {
  return `${"=".repeat(80)}\n${title}\n${"=".repeat(80)}\n\n${texts.join("\n\n")}\n`;
}

/** Beside Node's program, in the places where its packages have it. */
function readNodeLicence(): string {
  const folder = dirname(dirname(realpathSync(process.execPath)));
  const machine = `node_modules/node-${process.platform}-${process.arch}`;
  const found = [folder, join(folder, machine)]
    .map((place) => join(place, "LICENSE"))
    .find((path) => existsSync(path));
  if (found === undefined) {
    throw new Error(`there is no LICENSE of Node's beside ${process.execPath}`);
  }
  return readFileSync(found, "utf8");
}

interface Component {
  readonly "bom-ref": string;
}

interface Bill {
  serialNumber: string;
  metadata: { timestamp: string; component: Record<string, unknown> };
  components: Component[];
  dependencies: { readonly ref: string; readonly dependsOn?: readonly string[] }[];
}

/** A bill of materials in CycloneDX's form, as npm makes it: of what is bundled alone, and with Node and what is in it. */
export function makeBill(
  root: string,
  project: Project,
  packages: readonly string[],
  seconds: number,
): string {
  const words = ["sbom", "--sbom-format=cyclonedx", "--package-lock-only"];
  const bill = JSON.parse(execFileSync("npm", words, { cwd: root, encoding: "utf8" })) as Bill;
  const own = `${project.name}@${project.version}`;
  const refs = packages.map((name) => `${name}@${readPackage(root, name).version}`);
  const bundled = bill.components.filter((one) => refs.includes(one["bom-ref"]));
  const missing = refs.filter((ref) => !bundled.some((one) => one["bom-ref"] === ref));
  if (missing.length > 0) throw new Error(`npm's bill of materials lacks ${missing.join(", ")}`);
  const node = `node@${process.versions.node}`;
  // What Node reports of itself, without the numbers of its interfaces.
  const parts = Object.entries(process.versions)
    .filter(([name]) => !["node", "modules", "napi"].includes(name))
    .map(([name, version = ""]) => ({
      "bom-ref": `${node}/${name}`,
      type: "library",
      name,
      version,
      ...(name === "openssl" ? { cpe: `cpe:2.3:a:openssl:openssl:${version}:*:*:*:*:*:*:*` } : {}),
    }));
  const runtime = {
    "bom-ref": node,
    type: "application",
    name: "node",
    version: process.versions.node,
    cpe: `cpe:2.3:a:nodejs:node.js:${process.versions.node}:*:*:*:*:*:*:*`,
    purl: `pkg:generic/node@${process.versions.node}`,
    licenses: [{ license: { id: "MIT" } }],
    components: parts,
  };
  const kept = new Set([own, ...bundled.map((one) => one["bom-ref"])]);
  const dependencies = bill.dependencies
    .filter(({ ref }) => kept.has(ref))
    .map(({ ref, dependsOn = [] }) => ({
      ref,
      dependsOn: [...dependsOn.filter((one) => kept.has(one)), ...(ref === own ? [node] : [])],
    }));
  const { component } = bill.metadata;
  const whole = {
    ...bill,
    metadata: {
      ...bill.metadata,
      timestamp: new Date(seconds * 1000).toISOString(),
      // npm names it after the folder.
      component: { ...component, name: project.name, type: "application", properties: [] },
    },
    components: [...bundled, runtime],
    dependencies: [...dependencies, { ref: node, dependsOn: [] }],
    serialNumber: "",
  };
  const hash = createHash("sha256").update(JSON.stringify(whole)).digest("hex");
  const uuid = [8, 4, 4, 4, 12].reduce<string[]>((groups, length) => {
    const start = groups.join("").length;
    return [...groups, hash.slice(start, start + length)];
  }, []);
  // Of version 8, "custom", and the usual variant.
  uuid[2] = `8${(uuid[2] ?? "").slice(1)}`;
  uuid[3] = `8${(uuid[3] ?? "").slice(1)}`;
  return `${JSON.stringify({ ...whole, serialNumber: `urn:uuid:${uuid.join("-")}` }, null, 2)}\n`;
}
