// The Kubernetes manifests against the API's own schema, which kubernetes-models is made from, and the few things in them
// that no schema asks for: no probe ends a migration, nothing runs as root, each part names what the others name.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Deployment } from "kubernetes-models/apps/v1/Deployment";
import { Job } from "kubernetes-models/batch/v1/Job";
import type { IContainer } from "kubernetes-models/v1/Container";
import type { IPodTemplateSpec } from "kubernetes-models/v1/PodTemplateSpec";
import { Secret } from "kubernetes-models/v1/Secret";
import { Service } from "kubernetes-models/v1/Service";
import ms from "ms";
import { describe, expect, test, vi } from "vitest";
import { parseAllDocuments } from "yaml";

import { parseArguments } from "../../../src/settings/cli.ts";
import { exitCodes } from "../../../src/failure.ts";
import { settingTable } from "../../../src/settings/table.ts";

vi.stubGlobal("ENTRYPOINT_VERSION", "0.0.0");

const root = join(import.meta.dirname, "../../..");
// What entrypoint becomes where nothing is set.
const defaultApp = "uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2";
const models = [Deployment, Job, Secret, Service];

interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string };
}

const withJob = readManifests("kubernetes.yaml");
const withoutJob = readManifests("kubernetes.boot.yaml");
const all = [...withJob, ...withoutJob];
const job = withJob.find((manifest) => Job.is(manifest));

test.for(all.map((manifest) => [describeManifest(manifest), manifest] as const))(
  "%s is what the API's schema says",
  ([, manifest]) => {
    expect(findErrors(manifest)).toEqual([]);
  },
);

// A check that lets everything pass would be worth nothing.
test("a misspelt field or a value of the wrong type is found anywhere", () => {
  const missed = all.flatMap((manifest) =>
    listFields(manifest).flatMap((path) => {
      const misspelt = changed(manifest, path, (parent, key) => {
        parent[`${key}X`] = parent[key];
        delete parent[key];
      });
      const mistyped = changed(manifest, path, (parent, key) => {
        parent[key] = typeof parent[key] === "object" ? "text" : [{}];
      });
      return [misspelt, mistyped]
        .filter((broken) => findErrors(broken).length === 0)
        .map(() => path.join("."));
    }),
  );
  expect(missed).toEqual([]);
});

describe.for(all.flatMap(listContainers).map((one) => [describeContainer(one), one] as const))(
  "%s",
  ([, { container, pod }]) => {
    test("is not root, changes no file of its image and has no capability", () => {
      expect(pod.spec?.securityContext).toEqual({
        runAsNonRoot: true,
        runAsUser: 10001,
        runAsGroup: 10001,
        seccompProfile: { type: "RuntimeDefault" },
      });
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
    });

    test("says how much it needs, and where it leaves its last words", () => {
      expect(container.resources?.requests).toMatchObject({
        cpu: expect.any(String),
        memory: expect.any(String),
      });
      expect(container.resources?.limits).toMatchObject({ memory: expect.any(String) });
      expect(container.terminationMessagePath).toBe("/dev/termination-log");
      expect(container.terminationMessagePolicy).toBe("FallbackToLogsOnError");
    });

    test("runs a command that the image has", () => {
      const [file, ...words] = container.command ?? [];
      if (file !== "/entrypoint") {
        expect(container.command?.join(" ")).toBe(defaultApp);
        return;
      }
      expect(readCommand(words)).toBe(words[0] ?? "run");
    });

    test("sets nothing that entrypoint does not know, and reads a secret that is there", () => {
      const variables: (string | null)[] = Object.values(settingTable).map(
        ({ variable }) => variable,
      );
      for (const { name, valueFrom } of container.env ?? []) {
        expect(variables).toContain(name);
        if (valueFrom !== undefined) {
          expect(valueFrom.secretKeyRef).toEqual({ name: "blog-database", key: "DATABASE_URL" });
        }
      }
    });

    test("is not ended by a probe while it migrates", () => {
      if (!migrates(container)) return;
      expect(container.livenessProbe).toBeUndefined();
      expect(pod.spec?.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(300);
      if (container.startupProbe === undefined) return;
      const { periodSeconds = 0, failureThreshold = 0 } = container.startupProbe;
      expect(periodSeconds * failureThreshold).toBeGreaterThanOrEqual(3600);
      // One that waits for another's migration gives up by itself, and says so, before the probe does.
      const lockTimeout = container.env?.find(({ name }) => name === "ENTRYPOINT_LOCK_TIMEOUT");
      expect(ms(lockTimeout?.value as ms.StringValue)).toBeLessThan(
        periodSeconds * failureThreshold * 1000,
      );
    });
  },
);

test("the manifests run the image's user", () => {
  expect(readFileSync(join(root, "Dockerfile.backend"), "utf8")).toMatch(/^USER 10001:10001$/m);
});

test("the secrets have what the containers read", () => {
  for (const secret of all.filter((manifest) => Secret.is(manifest))) {
    expect(secret).toMatchObject({
      metadata: { name: "blog-database" },
      stringData: { DATABASE_URL: expect.stringMatching(/^postgresql:/) },
    });
  }
});

test.for([withJob, withoutJob])(
  "a Service reaches the pods that serve, and those alone",
  (manifests) => {
    const deployment = manifests.find((manifest) => Deployment.is(manifest));
    const service = manifests.find((manifest) => Service.is(manifest));
    const labels = deployment?.spec?.template.metadata?.labels;
    expect(deployment?.spec?.selector.matchLabels).toEqual(labels);
    expect(service?.spec?.selector).toEqual(labels);
    expect(job?.spec?.template.metadata?.labels).not.toEqual(labels);
    const ports = deployment?.spec?.template.spec?.containers[0]?.ports;
    expect(ports?.map(({ name }) => name)).toContain(service?.spec?.ports?.[0]?.targetPort);
  },
);

test("one release is one image, and its Job is named after it", () => {
  const images = new Set(all.flatMap(listContainers).map(({ container }) => container.image));
  expect([...images]).toEqual(["blog-backend:v1"]);
  expect(job?.metadata?.name).toBe("blog-migrate-v1");
});

test("the Job is not restarted for what fails in the same way again", () => {
  const passing = ["service-unavailable", "database-unavailable", "lock-timeout", "lock-lost"];
  const ofOtherCommands = [
    "backfill-failed",
    "pending",
    "unstamped",
    "cannot-write",
    "cannot-tell",
  ];
  const lasting = Object.entries(exitCodes).filter(
    ([name]) => !passing.includes(name) && !ofOtherCommands.includes(name),
  );
  const rule = job?.spec?.podFailurePolicy?.rules.find(({ action }) => action === "FailJob");
  expect(rule?.onExitCodes?.values).toEqual(lasting.map(([, code]) => code));
  expect(job?.spec?.template.spec?.restartPolicy).toBe("Never");
  expect(job?.spec?.activeDeadlineSeconds).toBeUndefined();
});

function readManifests(name: string): Manifest[] {
  // As kubectl reads it: `yes` and `off` are booleans.
  const documents = parseAllDocuments(readFileSync(join(root, "docker", name), "utf8"), {
    version: "1.1",
  });
  return [...documents].map((document) => {
    if (document.errors.length > 0) throw new Error(`${name}: ${String(document.errors[0])}`);
    return document.toJS() as Manifest;
  });
}

/**
 * What is wrong with a manifest, a line each. The library's check passes over fields that it does not know; but it looks at
 * every one that it knows, so those at which it has not looked are the unknown ones.
 */
function findErrors(manifest: Manifest): string[] {
  const model = models.find(
    ({ apiVersion, kind }) => apiVersion === manifest.apiVersion && kind === manifest.kind,
  );
  if (model === undefined) return [`there is no ${manifest.kind} in ${manifest.apiVersion}`];
  const seen = new Set<string>();
  try {
    model.prototype.validate.call(watch(manifest, [], seen));
  } catch (error) {
    return [String(error)];
  }
  return listPaths(manifest)
    .map((path) => path.join("."))
    .filter((path) => !seen.has(path))
    .map((path) => `unknown field ${path}`);
}

/** The same object, which writes down which of its fields are read. */
function watch(value: object, path: readonly string[], seen: Set<string>): never {
  return new Proxy(value, {
    get(target, key) {
      const field: unknown = Reflect.get(target, key);
      if (typeof key === "symbol") return field;
      const fieldPath = [...path, key];
      seen.add(fieldPath.join("."));
      return typeof field === "object" && field !== null ? watch(field, fieldPath, seen) : field;
    },
  }) as never;
}

function listPaths(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, field]) => [
    [...path, key],
    ...listPaths(field, [...path, key]),
  ]);
}

/** The paths that end in the name of a field: neither an item of a list nor a key that is the user's to choose. */
function listFields(manifest: Manifest): string[][] {
  const maps = ["labels", "matchLabels", "selector", "stringData", "requests", "limits"];
  return listPaths(manifest).filter((path) => {
    const [parent = "", key = ""] = path.slice(-2);
    return (
      !/^\d+$/.test(key) && (path.length < 2 || !maps.includes(parent) || key === "matchLabels")
    );
  });
}

function changed(
  manifest: Manifest,
  path: readonly string[],
  change: (parent: Record<string, unknown>, key: string) => void,
): Manifest {
  const copy = structuredClone(manifest);
  let parent = copy as unknown as Record<string, unknown>;
  for (const key of path.slice(0, -1)) parent = parent[key] as Record<string, unknown>;
  change(parent, path.at(-1) ?? "");
  return copy;
}

interface Placed {
  manifest: Manifest;
  pod: IPodTemplateSpec;
  container: IContainer;
}

function listContainers(manifest: Manifest): Placed[] {
  if (!Deployment.is(manifest) && !Job.is(manifest)) return [];
  const pod = manifest.spec?.template;
  if (pod === undefined) return [];
  const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
  return containers.map((container) => ({ manifest: manifest as Manifest, pod, container }));
}

function migrates({ command = [] }: IContainer): boolean {
  return command[0] === "/entrypoint" && command[1] !== "wait";
}

function readCommand(words: readonly string[]): string {
  const parsed = parseArguments(words);
  return parsed.kind === "boot" ? parsed.invocation.command : parsed.kind;
}

function fileOf(manifest: Manifest): string {
  return withJob.includes(manifest) ? "kubernetes.yaml" : "kubernetes.boot.yaml";
}

function describeManifest(manifest: Manifest): string {
  return `${fileOf(manifest)}: ${manifest.kind} ${manifest.metadata.name}`;
}

function describeContainer({ manifest, container }: Placed): string {
  return `${describeManifest(manifest)}, container ${container.name}`;
}
