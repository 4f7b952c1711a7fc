// A folder for what a question to a tool needs. Guarantees: it is gone when the question has been answered.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure } from "../failure.ts";

/** Throws Failure "cannot-tell" where none can be made. @param purpose a part of its name. */
export async function withTemporaryFolder<T>(
  purpose: string,
  act: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = makeFolder(purpose);
  try {
    return await act(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** In a container whose root is read-only, shared memory is often all that can be written to. */
function makeFolder(purpose: string): string {
  const places = [tmpdir(), "/dev/shm"];
  for (const place of places) {
    try {
      return mkdtempSync(join(place, `entrypoint-${purpose}-`));
    } catch {
      // The next one, or none.
    }
  }
  throw new Failure("cannot-tell", `cannot make a folder in ${places.join(" or ")}`, {
    hint: "mount a tmpfs at /tmp, or name a folder that can be written to with TMPDIR",
  });
}
