// The migration command in the ways that people write it: what Alembic would do, or the reason why it cannot be told.

import { expect, test } from "vitest";
import { recogniseCommand } from "../../src/migrations/command.ts";

const words = (text: string) => text.split(" ");

test.each([
  "alembic upgrade head",
  "/opt/venv/bin/alembic upgrade head",
  "python -m alembic upgrade head",
  "/usr/bin/python3.12 -u -m alembic upgrade head",
  "uv run alembic upgrade head",
  "poetry run alembic upgrade head",
])("%s is Alembic, to the one head, with the configuration in the working directory", (command) => {
  expect(recogniseCommand(words(command))).toMatchObject({
    kind: "alembic",
    layout: "alembic",
    config: null,
    section: "alembic",
    xArguments: [],
    target: { kind: "head" },
  });
});

test.each([
  ["alembic upgrade heads", { target: { kind: "heads" } }],
  ["alembic upgrade ae1027a6acf", { target: { kind: "revision", id: "ae1027a6acf" } }],
  ["alembic -c db/alembic.ini upgrade head", { config: "db/alembic.ini" }],
  ["alembic -cdb/alembic.ini upgrade head", { config: "db/alembic.ini" }],
  ["alembic --config=db/alembic.ini upgrade head", { config: "db/alembic.ini" }],
  ["alembic -n blog upgrade head", { section: "blog" }],
  ["alembic -x tenant=a -x b upgrade head", { xArguments: ["tenant=a", "b"] }],
  ["alembic --raiseerr upgrade head", { target: { kind: "head" } }],
])("%s is read to the last word", (command, expected) => {
  expect(recogniseCommand(words(command))).toMatchObject({ kind: "alembic", ...expected });
});

test.each([
  ["flask db upgrade", { directory: null, target: { kind: "head" } }],
  ["flask db upgrade heads", { target: { kind: "heads" } }],
  ["flask --app blog db upgrade", { target: { kind: "head" } }],
  ["flask db upgrade -d db/migrations", { directory: "db/migrations" }],
  ["python -m flask db upgrade", { target: { kind: "head" } }],
])("%s is Flask-Migrate's", (command, expected) => {
  expect(recogniseCommand(words(command))).toMatchObject({
    kind: "alembic",
    layout: "flask",
    ...expected,
  });
});

test.each([
  "alembic upgrade +1",
  "alembic upgrade ae10+2",
  "alembic upgrade shop@head",
  "alembic upgrade a1:b2",
  "alembic upgrade head --sql",
  "alembic downgrade -1",
  "alembic upgrade",
  "alembic stamp head",
  "alembic --no-such-option upgrade head",
  "python migrate.py",
  "sh -c alembic",
  "make migrate",
])("%s is left to the command itself, with a reason", (command) => {
  expect(recogniseCommand(words(command))).toEqual({
    kind: "opaque",
    reason: expect.stringMatching(/\w/) as string,
  });
});
