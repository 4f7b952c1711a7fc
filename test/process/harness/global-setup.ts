// One PostgreSQL for the whole run of the process tests. Its address reaches the test files through
// vitest's provide and inject; each test makes a database of its own on it (postgres.ts).

import type { TestProject } from "vitest/node";

import { startPostgres } from "../../../scripts/postgres.ts";

declare module "vitest" {
  export interface ProvidedContext {
    postgresUrl: string;
  }
}

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const postgres = await startPostgres({
    settings: {
      max_connections: "300",
      // The data end with the run, so nothing has to survive a power cut.
      fsync: "off",
      full_page_writes: "off",
      synchronous_commit: "off",
    },
  });
  project.provide("postgresUrl", postgres.url("postgres"));
  return () => postgres.stop();
}
