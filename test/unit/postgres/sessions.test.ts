// How a session is named in a message, whatever of it the role may see.

import { expect, test } from "vitest";
import { describeSession, describeStatement } from "../../../src/postgres/sessions.ts";

const session = {
  pid: 7,
  application: "web-3",
  user: "blog",
  address: null,
  forSeconds: 12,
  state: "active",
  query: "select 1",
};

test("a session is named with what a person needs to find it", () => {
  expect(describeStatement(session)).toBe(
    "pid 7 (web-3, user blog, from a local socket, for 12 s): select 1",
  );
});

test("one that the role may not see says what to grant", () => {
  const hidden = {
    ...session,
    application: "",
    forSeconds: null,
    query: "<insufficient privilege>",
  };
  for (const describe of [describeSession, describeStatement]) {
    expect(describe(hidden)).toBe(
      "pid 7 (user blog, the rest is not visible to this role: grant pg_monitor to it)",
    );
  }
});
