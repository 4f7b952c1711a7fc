import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { Failure } from "../../../../src/failure.ts";
import { findProgram } from "../../../../src/process/become/find-program.ts";

let cwd: string;

beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), "entrypoint-find-"));
  for (const directory of ["one", "two", "three"]) mkdirSync(join(cwd, directory));
});

afterEach(() => rmSync(cwd, { recursive: true }));

function write(file: string, content: string | Uint8Array = "#!/bin/sh\n", mode = 0o755): string {
  writeFileSync(join(cwd, file), content, { mode });
  return join(cwd, file);
}

const find = (name: string, path: string | undefined = "one:two:three") =>
  findProgram(name, { path, cwd });

function failure(name: string, path?: string): { code: string; message: string; hint: unknown } {
  try {
    find(name, path);
  } catch (error) {
    if (error instanceof Failure) {
      return { code: error.code, message: error.message, hint: error.hint };
    }
    throw error;
  }
  throw new Error(`${name} was found`);
}

describe("on PATH", () => {
  test("the first directory that holds it wins", () => {
    write("two/app");
    write("three/app");
    expect(find("app")).toMatchObject({ name: "app", file: "two/app", shell: [] });
  });

  test("an empty entry is the working directory", () => {
    write("app");
    expect(find("app", "one::two").file).toBe("./app");
    expect(find("app", "").file).toBe("./app");
  });

  test("a PATH that is not set has the usual directories", () => {
    expect(findProgram("sh", { path: undefined, cwd }).file).toMatch(/^(\/usr)?\/bin\/sh$/);
  });

  test("what cannot be executed is passed over", () => {
    write("one/app", "", 0o644);
    mkdirSync(join(cwd, "two/app"));
    write("three/app");
    expect(find("app").file).toBe("three/app");
  });

  test("what cannot be executed is remembered when nothing else is found", () => {
    write("two/app", "", 0o644);
    expect(failure("app")).toMatchObject({
      code: "not-executable",
      message: "cannot start app: two/app is not executable",
    });
  });

  test("a directory is not a program", () => {
    mkdirSync(join(cwd, "one/app"));
    expect(failure("app")).toMatchObject({
      code: "not-found",
      message: "cannot start app: not found on PATH (one:two:three)",
    });
  });

  test("a broken script ends the search", () => {
    write("one/app", "#!/opt/x/python\n");
    write("two/app");
    expect(failure("app").message).toBe(
      "cannot start app: its interpreter /opt/x/python does not exist",
    );
  });

  test("a whole command as one word gets the hint that it is one", () => {
    expect(failure("uvicorn app.main:app").hint).toContain("separate words");
  });
});

describe("by path", () => {
  test("a name with a slash is not looked up on PATH", () => {
    write("one/app");
    expect(failure("./app")).toMatchObject({
      code: "not-found",
      message: "cannot start ./app: ./app does not exist",
    });
    expect(find("one/app").file).toBe("one/app");
  });

  test.each([
    ["", "not-found", "cannot start the application: its name is empty"],
    ["./one", "not-executable", "cannot start ./one: ./one is a directory"],
    ["/dev/null", "not-executable", "cannot start /dev/null: /dev/null is not a regular file"],
    ["one/x/y", "not-found", "cannot start one/x/y: one/x/y does not exist"],
  ])("%j", (name, code, message) => {
    expect(failure(name)).toMatchObject({ code, message });
  });

  test("a link that leads nowhere does not exist", () => {
    symlinkSync("nowhere", join(cwd, "link"));
    expect(failure("./link").code).toBe("not-found");
  });
});

describe("a script", () => {
  test.each([
    ["#!/bin/sh"],
    ["#! \t/bin/sh -e -u\n"],
    ["#!/usr/bin/env no-such-program\n"],
    [`#!/bin/sh ${"x".repeat(300)}\n`],
  ])("%j is the kernel's to run", (content) => {
    write("app", content);
    expect(find("./app")).toMatchObject({ shell: [], doubt: undefined });
  });

  test.each([
    ["echo hi\n"],
    [""],
    ["#!\n"],
    ["#!  \necho\n"],
    [`#!/${"x".repeat(300)}\n`],
    ["é\n\0"],
  ])("%j is the shell's to run", (content) => {
    write("app", content);
    expect(find("./app").shell).toEqual(["/bin/sh"]);
  });

  test("whose interpreter is a script is followed to its end", () => {
    write("inner", `#!${write("innermost", "#!/nowhere/sh\n")}\n`);
    write("app", `#!${join(cwd, "inner")}\n`);
    expect(failure("./app")).toMatchObject({
      code: "not-found",
      message: "cannot start ./app: its interpreter /nowhere/sh does not exist",
    });
  });

  test("may have five interpreters, as the kernel counts, not six", () => {
    write("0", "#!/bin/sh\n");
    for (let depth = 1; depth <= 5; depth += 1)
      write(`${depth}`, `#!${join(cwd, `${depth - 1}`)}\n`);
    expect(find("./4").doubt).toBeUndefined();
    expect(failure("./5").code).toBe("not-executable");
  });

  test("whose interpreter may not be executed is refused", () => {
    write("app", `#!${write("interpreter", "", 0o644)}\n`);
    expect(failure("./app")).toMatchObject({ code: "not-executable" });
  });

  test("with Windows line endings is reported with its cause", () => {
    write("app", "#!/bin/sh\r\n");
    const { message, hint } = failure("./app");
    expect(message).toBe("cannot start ./app: its interpreter /bin/sh\\r does not exist");
    expect(hint).toContain("Windows");
  });
});

describe("a program of the machine", () => {
  test("this Node is one", () => {
    expect(find(process.execPath)).toMatchObject({ shell: [], doubt: undefined });
  });

  test("whose loader is missing is refused", () => {
    write("app", elf({ loader: "/lib/ld-none.so.1" }));
    expect(failure("./app")).toMatchObject({
      code: "not-found",
      message: "cannot start ./app: its loader /lib/ld-none.so.1 does not exist",
    });
  });

  test("of 32 bits is looked at with its own layout", () => {
    write("app", elf({ loader: "/lib/ld-none.so.1", bits: 32 }));
    expect(failure("./app").message).toContain("its loader /lib/ld-none.so.1 does not exist");
  });

  test("without a loader needs none", () => {
    write("app", elf({}));
    expect(find("./app").doubt).toBeUndefined();
  });

  test("for another machine is doubted, as binfmt_misc may know it", () => {
    write("app", elf({ machine: 8 }));
    expect(find("./app").doubt).toContain("built for another machine");
  });

  test.each([4, 20, 52, 63, 64, 100])("cut off after %i bytes is doubted", (length) => {
    write("app", elf({ loader: "/bin/sh" }).subarray(0, length));
    expect(find("./app").doubt).toContain("truncated");
  });

  test("with a table at an impossible place is doubted", () => {
    const bytes = elf({});
    new DataView(bytes.buffer).setBigUint64(32, 2n ** 63n, true);
    write("app", bytes);
    expect(find("./app").doubt).toContain("truncated");
  });

  test("of an unknown format is doubted", () => {
    write("app", "MZ\0\0");
    expect(find("./app").doubt).toBe("./app is neither a binary of this system nor a script");
  });
});

/** A little-endian ELF file of one segment, made by elf(5); for this machine by default. */
function elf(wish: { loader?: string; machine?: number; bits?: 32 | 64 }): Uint8Array {
  const is64 = (wish.bits ?? 64) === 64;
  const machines: Record<string, [number, number]> = { x64: [62, 3], arm64: [183, 40] };
  const own = machines[process.arch]?.[is64 ? 0 : 1] ?? 0;
  const [header, entry] = is64 ? [64, 56] : [52, 32];
  const path = Buffer.from(`${wish.loader ?? ""}\0`);
  const bytes = new Uint8Array(header + entry + path.length);
  const view = new DataView(bytes.buffer);
  bytes.set(Buffer.from("\x7fELF"));
  bytes.set([is64 ? 2 : 1, 1, 1], 4);
  view.setUint16(16, 2, true);
  view.setUint16(18, wish.machine ?? own, true);
  view.setUint32(is64 ? 32 : 28, header, true);
  view.setUint16(is64 ? 54 : 42, entry, true);
  view.setUint16(is64 ? 56 : 44, 1, true);
  view.setUint32(header, wish.loader === undefined ? 1 : 3, true);
  view.setUint32(header + (is64 ? 8 : 4), header + entry, true);
  view.setUint32(header + (is64 ? 32 : 16), path.length, true);
  bytes.set(path, header + entry);
  return bytes;
}
