// The packages of a release for those who install programs: Python's, npm's and containers'. Each installs the command `entrypoint`.

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { listLibraries, listVersionNeeds } from "../build/elf.ts";
import { file, packTar, packTarGz, packZip, type Entry } from "./archives.ts";
import type { Project } from "./contents.ts";

export interface Package {
  readonly name: string;
  readonly content: Buffer;
}

/** The libraries that a manylinux system has (PEP 600), of those that Node may need. */
const systemLibraries =
  /^(?:lib(?:c|m|dl|rt|pthread)\.so\.\d|libstdc\+\+\.so\.6|libgcc_s\.so\.1|ld-linux[\w-]*\.so\.\d)$/;
/** The newest versions that are in manylinux_2_28: that of Debian 10 and newer, and of RHEL 8. */
const newest: Readonly<Record<string, string>> = {
  GLIBC: "2.28",
  GLIBCXX: "3.4.24",
  CXXABI: "1.3.11",
  GCC: "7.0.0",
};

/** The tag of the systems on which a program runs. @throws where it runs only on newer ones, or needs a library that they lack. */
export function tagOf(program: Buffer): string {
  const foreign = listLibraries(program).filter((library) => !systemLibraries.test(library));
  if (foreign.length > 0) {
    throw new Error(
      `a wheel may not need ${foreign.join(", ")}: pip would install what does not run`,
    );
  }
  for (const { version } of listVersionNeeds(program)) {
    const [, family = "", number = ""] = /^([A-Z]+)_([\d.]+)$/.exec(version) ?? [];
    const limit = newest[family];
    if (limit === undefined || compare(number, limit) > 0) {
      throw new Error(
        `the program needs ${version}, and manylinux_2_28 has up to ${limit ?? "none"}`,
      );
    }
  }
  return `manylinux_2_28_${machine().elf}`;
}

function compare(one: string, other: string): number {
  const [left, right] = [one, other].map((text) => text.split(".").map(Number));
  const length = Math.max(left?.length ?? 0, right?.length ?? 0);
  for (let index = 0; index < length; index++) {
    const difference = (left?.[index] ?? 0) - (right?.[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** This machine, by the names that the kinds of packages have for it. */
export function machine(): { readonly elf: string; readonly oci: string } {
  const names: Readonly<Record<string, { readonly elf: string; readonly oci: string }>> = {
    x64: { elf: "x86_64", oci: "amd64" },
    arm64: { elf: "aarch64", oci: "arm64" },
  };
  const found = names[process.arch];
  if (found === undefined) throw new Error(`there are no releases for ${process.arch}`);
  return found;
}

/** A wheel that holds the program as a script, and no Python. `documents` go beside its metadata. */
export function makeWheel(
  project: Project,
  program: Buffer,
  description: string,
  documents: { readonly licences: readonly Entry[]; readonly bill: Entry },
  seconds: number,
): Package {
  const name = `${project.name.replaceAll("-", "_")}-${project.version}`;
  const tag = `py3-none-${tagOf(program)}`;
  const info = `${name}.dist-info`;
  const metadata = [
    "Metadata-Version: 2.4",
    `Name: ${project.name}`,
    `Version: ${project.version}`,
    `Summary: ${project.description}`,
    `License-Expression: ${project.license}`,
    ...documents.licences.map(({ path }) => `License-File: ${path}`),
    "Requires-Python: >=3.8",
    ...(project.repository === null ? [] : [`Project-URL: Source, ${project.repository}`]),
    "Description-Content-Type: text/markdown",
    "",
    description,
  ].join("\n");
  const wheel = [
    "Wheel-Version: 1.0",
    `Generator: ${project.name} ${project.version}`,
    "Root-Is-Purelib: false",
    `Tag: ${tag}`,
    "",
  ].join("\n");
  const entries = [
    file(`${name}.data/scripts/entrypoint`, program, 0o755),
    file(`${info}/METADATA`, metadata),
    file(`${info}/WHEEL`, wheel),
    ...documents.licences.map((one) => ({ ...one, path: `${info}/licenses/${one.path}` })),
    { ...documents.bill, path: `${info}/sboms/${documents.bill.path}` },
  ];
  const record = entries.map(
    ({ path, content }) =>
      `${path},sha256=${createHash("sha256").update(content).digest("base64url")},${content.length}`,
  );
  const list = file(`${info}/RECORD`, [...record, `${info}/RECORD,,`, ""].join("\n"));
  return { name: `${name}-${tag}.whl`, content: packZip([...entries, list], seconds) };
}

/** The bundle, as `npm pack` packs it: for each Node that it runs on, without packages to install. */
export function makeNpmPackage(
  project: Project,
  entries: readonly Entry[],
  description: string,
): Package {
  const folder = mkdtempSync(join(tmpdir(), "entrypoint-npm-"));
  try {
    const manifest = {
      name: project.name,
      version: project.version,
      description: project.description,
      license: project.license,
      ...(project.repository === null ? {} : { repository: project.repository }),
      // The bundle is none of ES modules.
      type: "commonjs",
      bin: { entrypoint: "entrypoint.js" },
      files: entries.map(({ path }) => path),
      engines: { node: project.node },
    };
    const files = [
      ...entries,
      file("package.json", `${JSON.stringify(manifest, null, 2)}\n`),
      file("README.md", description),
    ];
    mkdirSync(join(folder, "package"));
    for (const { path, content, mode } of files) {
      writeFileSync(join(folder, "package", path), content);
      // npm keeps it, and a umask would change it.
      chmodSync(join(folder, "package", path), mode);
    }
    const words = ["pack", "./package", "--json", "--ignore-scripts"];
    const output = execFileSync("npm", words, { cwd: folder, encoding: "utf8" });
    const name = `${project.name}-${project.version}.tgz`;
    if (!output.includes(name)) throw new Error(`npm has not packed ${name}`);
    return { name, content: readFileSync(join(folder, name)) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** An image that holds the program, to copy from: an OCI image layout that `docker load` takes too. */
export function makeImage(
  project: Project,
  program: Buffer,
  documents: readonly Entry[],
  commit: string | null,
  seconds: number,
): Package {
  const created = new Date(seconds * 1000).toISOString();
  const title = "org.opencontainers.image";
  const labels = {
    [`${title}.title`]: project.name,
    [`${title}.description`]: project.description,
    [`${title}.version`]: project.version,
    [`${title}.licenses`]: project.license,
    [`${title}.created`]: created,
    ...(project.repository === null ? {} : { [`${title}.source`]: project.repository }),
    ...(commit === null ? {} : { [`${title}.revision`]: commit }),
  };
  const layer = packTar(
    [
      file("entrypoint", program, 0o755),
      { ...file("usr/local/bin/entrypoint", ""), link: "/entrypoint" },
      ...documents.map((one) => ({ ...one, path: `usr/share/doc/${project.name}/${one.path}` })),
    ],
    seconds,
  );
  const compressed = gzipSync(layer);
  const config = JSON.stringify({
    created,
    architecture: machine().oci,
    os: "linux",
    config: { Labels: labels },
    rootfs: { type: "layers", diff_ids: [digest(layer)] },
    history: [{ created, created_by: `${project.name} ${project.version}` }],
  });
  const type = "application/vnd.oci.image";
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: `${type}.manifest.v1+json`,
    config: describe(`${type}.config.v1+json`, config),
    layers: [describe(`${type}.layer.v1.tar+gzip`, compressed)],
    annotations: labels,
  });
  const reference = `${project.name}:${project.version}`;
  const index = {
    schemaVersion: 2,
    mediaType: `${type}.index.v1+json`,
    manifests: [
      {
        ...describe(`${type}.manifest.v1+json`, manifest),
        platform: { architecture: machine().oci, os: "linux" },
        annotations: {
          "io.containerd.image.name": `docker.io/library/${reference}`,
          [`${title}.ref.name`]: project.version,
        },
      },
    ],
  };
  const blob = (content: Buffer | string) =>
    file(`blobs/sha256/${digest(content).slice(7)}`, content);
  const [layerBlob, configBlob, manifestBlob] = [blob(compressed), blob(config), blob(manifest)];
  // For engines before Docker 25.
  const docker = [
    {
      Config: configBlob.path,
      RepoTags: [reference, `${project.name}:latest`],
      Layers: [layerBlob.path],
    },
  ];
  const entries = [
    file("oci-layout", JSON.stringify({ imageLayoutVersion: "1.0.0" })),
    file("index.json", JSON.stringify(index)),
    file("manifest.json", JSON.stringify(docker)),
    configBlob,
    manifestBlob,
    layerBlob,
  ];
  const imageName = `${project.name}-${project.version}-image-${machine().oci}.tar`;
  return { name: imageName, content: packTar(entries, seconds) };
}

function digest(content: Buffer | string): string {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

function describe(mediaType: string, content: Buffer | string) {
  return { mediaType, digest: digest(content), size: Buffer.byteLength(content) };
}

/** An archive of one folder, whose name is that of the archive. */
export function makeArchive(name: string, entries: readonly Entry[], seconds: number): Package {
  const inFolder = entries.map((one) => ({ ...one, path: `${name}/${one.path}` }));
  return { name: `${name}.tar.gz`, content: packTarGz(inFolder, seconds) };
}
