// The migration command in the ways that people write it: what Alembic would do, or the reason why it cannot be told.

import { expect, test } from "vitest";
import { askAlembic, recogniseCommand } from "../../src/migrations/command.ts";

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

test.each([
  ["alembic --conf b.ini --na=x upgrade head", { config: "b.ini", section: "x" }],
  [
    "alembic -c=b.ini -n=x -x=a=b upgrade head",
    { config: "b.ini", section: "x", xArguments: ["a=b"] },
  ],
  ["alembic -xa=b -q --rais upgrade head", { xArguments: ["a=b"] }],
  ["python -uB -X dev -Werror -malembic -c b.ini upgrade heads", { config: "b.ini" }],
  ["python -m alembic.config upgrade head", { layout: "alembic" }],
  ["python3 /opt/venv/bin/alembic upgrade head", { layout: "alembic" }],
  ["uv --quiet run --frozen --extra db --no-dev -- alembic -n x upgrade head", { section: "x" }],
  ["uv run -m alembic upgrade head", { layout: "alembic" }],
  ["pipenv run python -m alembic upgrade head", { layout: "alembic" }],
  ["pdm run -s alembic upgrade head", { layout: "alembic" }],
  ["ddtrace-run alembic upgrade head", { layout: "alembic" }],
  [
    "flask -A app --debug db -x a upgrade -ddb -x b heads",
    { directory: "db", xArguments: ["a", "b"] },
  ],
  [
    "flask db upgrade abc --directory=db",
    { directory: "db", target: { kind: "revision", id: "abc" } },
  ],
])("%s is understood word by word", (command, expected) => {
  expect(recogniseCommand(words(command))).toMatchObject({ kind: "alembic", ...expected });
});

test.each([
  ["alembic upgrade head -c b.ini", "does not know the option"],
  ["alembic -c a.ini -c b.ini upgrade head", "several --config"],
  ["alembic -c -n upgrade head", "misses the value"],
  ["alembic --version", "migrates nothing"],
  ["alembic --ver upgrade head", "migrates nothing"],
  ["alembic upgrade head --tag x", "--tag"],
  ["alembic upgrade a b", "one revision"],
  ["alembic upgrade -1", "relative"],
  ["alembic upgrade base", "does nothing"],
  ["alembic -qc b.ini upgrade head", "does not know"],
  ["alembic --raiseerr=1 upgrade head", "does not know"],
  ["uv run --directory x alembic upgrade head", "--directory"],
  ["uv run --env-file x alembic upgrade head", "--env-file"],
  ["poetry -C x run alembic upgrade head", "-C"],
  ["hatch run alembic upgrade head", "hatch"],
  ["env A=b alembic upgrade head", "env"],
  ["DATABASE_URL=x alembic upgrade head", "is not Alembic"],
  ["python -c x", "Python runs -c"],
  ["python -m app.migrate", "app.migrate"],
  ["flask db upgrade --sql", "--sql"],
  ["flask db upgrade --dir x", "--dir"],
  ["flask db migrate", "flask db migrate"],
  ["flask run", "flask run"],
])("%s is left alone: %s", (command, reason) => {
  expect(recogniseCommand(words(command))).toEqual({
    kind: "opaque",
    reason: expect.stringContaining(reason) as string,
  });
});

test.each([
  ["alembic upgrade head", "alembic history --verbose"],
  [
    "uv run alembic -n upgrade -x a=b upgrade heads",
    "uv run alembic -n upgrade -x a=b history --verbose",
  ],
  ["python -m alembic -c a.ini upgrade a1b2", "python -m alembic -c a.ini history --verbose"],
  ["flask --app blog db upgrade", "flask --app blog db history --verbose"],
  ["flask db upgrade -d db -x a=b head", "flask db -x a=b history --directory db --verbose"],
  ["flask db -x a=b upgrade", "flask db -x a=b history --verbose"],
])("%s is asked by %s", (command, question) => {
  expect(askAlembic(words(command), "history", ["--verbose"])).toEqual(words(question));
});

test.each(["sh -c alembic", "make migrate", "alembic upgrade +1"])(
  "nobody is asked for %s",
  (command) => {
    expect(askAlembic(words(command), "heads", [])).toBeNull();
  },
);
