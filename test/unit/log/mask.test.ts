// What is masked, in what is registered and in what is a password by its place; and what stays legible.

import { expect, test, vi } from "vitest";

/** A fresh register. */
async function load() {
  vi.resetModules();
  return import("../../../src/log/mask.ts");
}

test.each([
  ["postgresql://u:S3CRET@h/db", "postgresql://u:***@h/db"],
  [
    "mlflow db upgrade postgresql+psycopg2://u:S/3#CR?ET@h/db now",
    "mlflow db upgrade postgresql+psycopg2://u:***@h/db now",
  ],
  ["mysql://u%40h:S3CRET@h/db", "mysql://u%40h:***@h/db"],
  ["postgresql://u@server:S3CRET@h/db", "postgresql://u@server:***@h/db"],
  ["redis://:S3CRET@h:6379/0", "redis://:***@h:6379/0"],
  ["postgresql://u:S3@CRET@h/db", "postgresql://u:***@h/db"],
  [
    "postgresql://h/db?user=u&password=S3CRET&sslmode=require",
    "postgresql://h/db?user=u&password=***&sslmode=require",
  ],
  ["host=h password=S3CRET dbname=db", "host=h password=*** dbname=db"],
  ["host=h password='S3 CRET' dbname=db", "host=h password=*** dbname=db"],
  ["PGPASSWORD=S3CRET psql", "PGPASSWORD=*** psql"],
  ["app --db-password S3CRET --port 8000", "app --db-password *** --port 8000"],
  ["app --db-password=S3CRET --port 8000", "app --db-password=*** --port 8000"],
  ["alter role blog password 'S3CRET' login", "alter role blog password *** login"],
  ["alter role blog password 'S3CR", "alter role blog password ***"],
  [`{'user': 'u', 'password': 'S3CRET'}`, `{'user': 'u', 'password': ***}`],
])("%s is masked", async (text, masked) => {
  const { mask } = await load();
  expect(mask(text)).toBe(masked);
});

test.each([
  "postgresql://blog@db:5432/blog",
  "postgresql://blog@[::1]:5432/blog",
  "http://127.0.0.1:8000/posts",
  'password authentication failed for user "blog" (SQLSTATE 28P01)',
  "the server requires a password, and none is given: set it in PGPASSWORD",
  "app --password-file /run/secrets/password",
  "update users set password = '' where password is null",
])("%s stays as it is", async (text) => {
  const { mask, hidePasswords } = await load();
  hidePasswords([text]);
  expect(mask(text)).toBe(text);
});

test("a registered secret is masked wherever it stands, and the longest of several first", async () => {
  const { hide, mask } = await load();
  hide("S3CRET+");
  hide("S3CRET+and more");
  expect(mask("xS3CRET+and morex and S3CRET+")).toBe("x***x and ***");
});

test("a short one is masked as a word, one of less than four characters nowhere, and every line of a long one", async () => {
  const { hide, mask } = await load();
  for (const secret of ["test", "abc", "-----BEGIN KEY-----\nMIIEow\n"]) hide(secret);
  expect(mask("the latest test: abc")).toBe("the latest ***: abc");
  expect(mask("line MIIEow")).toBe("line ***");
});

test("what messages need stays, though it is the password too", async () => {
  const { hidePasswords, hide, mask } = await load();
  hidePasswords(["mlflow", "db", "upgrade", "postgresql://mlflow:mlflow@h/mlflow"]);
  hidePasswords(["host=h user=blog password=blog"]);
  hidePasswords(["postgresql://admin:shop@shop-db:5432/shop"]);
  hide("postgres");
  expect(mask("the shop")).toBe("the shop");
  const text = "mlflow exited with code 1 at postgresql://mlflow:mlflow@h/blog of postgres";
  expect(mask(text)).toBe(
    "mlflow exited with code 1 at postgresql://mlflow:***@h/blog of postgres",
  );
});

test("the passwords in the words of a command are registered, with spaces too", async () => {
  const { hidePasswords, mask } = await load();
  hidePasswords(["x", "postgresql://u:one two three@h/db", "--password", "S3CRET"]);
  expect(mask("x one two three S3CRET")).toBe("x *** ***");
});

test("JSON keeps its form: strings are masked, escapes and all, and entrypoint's own fields are not", async () => {
  const { hide, maskJson } = await load();
  hide('S3"C\\RET\tx');
  hide("info");
  hide("true");
  const line = {
    level: "info",
    event: "info",
    msg: 'the S3"C\\RET\tx',
    words: ["true"],
    yes: true,
  };
  expect(JSON.parse(maskJson(`${JSON.stringify(line)}\n`))).toEqual({
    ...line,
    msg: "the ***",
    words: ["***"],
  });
  expect(maskJson('{"level":"warn"}\n')).toBe('{"level":"warn"}\n');
});
