import { describe, expect, test } from "vitest";
import { parseDatabaseUrl } from "../../../src/postgres/url.ts";
import { expandDatabaseUrl, expandTemplate } from "../../../src/settings/template.ts";

describe("expandTemplate", () => {
  test.each([
    ["a${X}b", { X: "1" }, "a1b"],
    ["${X:-2}", {}, "2"],
    ["${X:-2}", { X: "" }, "2"],
    ["${X:-2}", { X: "1" }, "1"],
    ["${X:-}", {}, ""],
    ["${X:+a}b", {}, "b"],
    ["${X:+a${Y:-c}}b", { X: "1" }, "acb"],
    ["$X $$ {X}", { X: "1" }, "$X $$ {X}"],
    ["${X}", { X: "${Y}", Y: "1" }, "${Y}"],
  ])("%s with %o is %s", (text, env, expected) => {
    expect(expandTemplate(text, env)).toBe(expected);
  });

  test.each([
    ["${X}", "X is not set or empty: write ${X:-} where that is meant"],
    ["${X-1}", "it has a ${ of another form than ${NAME}, ${NAME:-default}"],
    ["${X:?say}", "X is not set or empty: say"],
  ])("%s: %s", (text, message) => {
    expect(() => expandTemplate(text, { X: "", Y: "1" })).toThrow(message);
  });
});

describe("expandDatabaseUrl", () => {
  const hostile = "p@s:s/w%40r?d#&='\\ x";

  test.each([
    "postgresql+asyncpg://${U}:${W}@${H}:${P}/${D}?sslmode=${S}",
    "host=${H} port=${P} user='${U}' password='${W}' dbname=${D} sslmode=${S}",
    "host=${H} port=${P} user=${U} password=${W} dbname=${D} sslmode=${S}",
    "postgresql:///?host=${H}&port=${P}&user=${U}&password=${W}&dbname=${D}&sslmode=${S}",
    "postgresql://${U}:${W}@${H}:${P}/${D}?${Q}",
    "postgresql://${U:+${U}:${W}@}${NONE:-${H}}${P:+:${P}}/${D}?${Q}",
  ])("%s: each value arrives as it is", (text) => {
    const env = { U: hostile, W: hostile, H: "db", P: "5433", D: "blog-1" };
    const expanded = expandDatabaseUrl(text, { ...env, S: "disable", Q: "sslmode=disable" });
    expect(parseDatabaseUrl(expanded)).toMatchObject({
      address: {
        user: hostile,
        password: hostile,
        hosts: [{ host: "db", port: 5433 }],
        database: "blog-1",
        tls: { mode: "disable" },
      },
    });
  });

  test.each([
    ["db:5433", [{ host: "db", port: 5433 }]],
    [
      "a,b:5433",
      [
        { host: "a", port: 5432 },
        { host: "b", port: 5433 },
      ],
    ],
    ["::1", [{ host: "::1", port: 5432 }]],
    ["[::1]:5433", [{ host: "::1", port: 5433 }]],
    ["/cloudsql/a:b:c", [{ host: "/cloudsql/a:b:c", port: 5432 }]],
  ])("the host %s", (host, hosts) => {
    for (const text of ["postgresql://${H}/blog", "postgresql://me:x@${H}/blog"]) {
      const answer = parseDatabaseUrl(expandDatabaseUrl(text, { H: host }));
      expect(answer).toMatchObject({ address: { hosts } });
    }
  });

  test("a whole URL, or its beginning, is taken as it is", () => {
    const url = "postgresql://a:b%40@db/blog";
    expect(expandDatabaseUrl("${URL}", { URL: url })).toBe(url);
    expect(expandDatabaseUrl("${URL}?sslmode=require", { URL: url })).toBe(
      `${url}?sslmode=require`,
    );
    expect(expandDatabaseUrl("postgresql+${DRIVER}://db/blog", { DRIVER: "asyncpg" })).toBe(
      "postgresql+asyncpg://db/blog",
    );
  });
});
