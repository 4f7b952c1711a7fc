// The migration command in the ways that people write it: what Alembic would do, or the reason why it cannot be told.

import { expect, test } from "vitest";
import type { Words } from "../../../../src/context.ts";
import { wordsFor } from "../../../../src/tools/alembic/command.ts";
import { recognise } from "../../../../src/tools/recognise.ts";
import { readAlembicCommand } from "./read-command.ts";

const words = (text: string) => text.split(" ") as [string, ...string[]] satisfies Words;

test.each([
  "alembic upgrade head",
  "/opt/venv/bin/alembic upgrade head",
  "python -m alembic upgrade head",
  "/usr/bin/python3.12 -u -m alembic upgrade head",
  "uv run alembic upgrade head",
  "poetry run alembic upgrade head",
])("%s is Alembic, to the one head, with the configuration in the working directory", (command) => {
  expect(readAlembicCommand(command)).toMatchObject({
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
  expect(readAlembicCommand(command)).toMatchObject(expected);
});

test.each([
  ["flask db upgrade", { directory: null, target: { kind: "head" } }],
  ["flask db upgrade heads", { target: { kind: "heads" } }],
  ["flask --app blog db upgrade", { target: { kind: "head" } }],
  ["flask db upgrade -d db/migrations", { directory: "db/migrations" }],
  ["python -m flask db upgrade", { target: { kind: "head" } }],
])("%s is Flask-Migrate's", (command, expected) => {
  expect(readAlembicCommand(command)).toMatchObject({
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
])("%s is left to the command itself, with a reason", async (command) => {
  expect((await recognise(words(command))).opaque).toMatch(/\w/);
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
  ["ddtrace-run --debug -- alembic upgrade head", { layout: "alembic" }],
  ["timeout 60 alembic upgrade head", { layout: "alembic" }],
  ["timeout -k 5 --signal=INT --foreground 10m alembic upgrade head", { layout: "alembic" }],
  ["timeout -k5 -sINT 60 uv run alembic upgrade heads", { target: { kind: "heads" } }],
  ["nice -n 10 alembic upgrade head", { layout: "alembic" }],
  ["nice alembic -n x upgrade head", { section: "x" }],
  ["gosu blog:blog alembic upgrade head", { layout: "alembic" }],
  ["setpriv --reuid=blog --regid 1000 --clear-groups alembic upgrade head", {}],
  ["runuser -u blog -- alembic upgrade head", {}],
  ["setsid --wait s6-setuidgid blog alembic upgrade head", {}],
  ["chpst -u blog:blog prlimit --nofile=1024 taskset -c 0-3 time alembic upgrade head", {}],
  ["conda run -n blog --no-capture-output alembic upgrade head", {}],
  ["pixi run -e prod flask db upgrade", { layout: "flask" }],
  ["newrelic-admin run-python -m alembic upgrade head", {}],
  ["splunk-py-trace elasticapm-run alembic upgrade head", {}],
  ["./wait-for-it.sh db:5432 -t 60 -- alembic upgrade head", {}],
  ["dockerize -wait tcp://db:5432 -timeout 60s alembic upgrade head", {}],
  ["su-exec 1000 flask db upgrade", { layout: "flask" }],
  ["newrelic-admin run-program alembic upgrade head", { layout: "alembic" }],
  [
    "opentelemetry-instrument --traces_exporter otlp --service_name=x alembic upgrade head",
    { layout: "alembic" },
  ],
  ["dotenv -f .env run --no-override -- alembic upgrade head", { layout: "alembic" }],
  ["env A=b C= alembic upgrade head", { layout: "alembic" }],
  ["env alembic upgrade head", { layout: "alembic" }],
  ["hatch -e prod run alembic upgrade head", { layout: "alembic" }],
  ["hatch run prod:alembic -n x upgrade head", { section: "x" }],
  ["pipenv run alembic upgrade head", { layout: "alembic" }],
  ["/usr/bin/env A=b nice timeout 9 gosu blog uv run python -m alembic upgrade head", {}],
  [
    "flask -A app --debug db -x a upgrade -ddb -x b heads",
    { directory: "db", xArguments: ["a", "b"] },
  ],
  [
    "flask db upgrade abc --directory=db",
    { directory: "db", target: { kind: "revision", id: "abc" } },
  ],
])("%s is understood word by word", (command, expected) => {
  expect(readAlembicCommand(command)).toMatchObject(expected);
});

test.each([
  ["alembic upgrade head -c b.ini", "does not know the option"],
  ["alembic -c a.ini -c b.ini upgrade head", "several --config"],
  ["alembic -c -n upgrade head", "has no value"],
  ["alembic --version", "migrates nothing"],
  ["alembic --ver upgrade head", "migrates nothing"],
  ["alembic upgrade head --tag x", "--tag"],
  ["alembic upgrade a b", "one revision"],
  ["alembic upgrade -1", "relative"],
  ["alembic upgrade base", "does nothing"],
  ["alembic -qc b.ini upgrade head", "unknown or ambiguous"],
  ["alembic --raiseerr=1 upgrade head", "unknown or ambiguous"],
  ["uv run --directory x alembic upgrade head", "--directory"],
  ["uv run --env-file x alembic upgrade head", "--env-file"],
  ["poetry -C x run alembic upgrade head", "-C"],
  ["hatch run -x alembic upgrade head", "hatch -x"],
  ["hatch -p x run alembic upgrade head", "-p"],
  ["env DATABASE_URL=x alembic upgrade head", "env sets DATABASE_URL"],
  ["env BLOG_DB_HOST=x alembic upgrade head", "env sets BLOG_DB_HOST"],
  ["env -i A=b alembic upgrade head", "env -i"],
  ["env A=b", "env runs nothing"],
  ["timeout 60", "timeout runs nothing"],
  ["timeout -x 60 alembic upgrade head", "timeout -x"],
  ["timeout 60 sh -c alembic", "a shell runs it"],
  ["nice -5 alembic upgrade head", "nice -5"],
  ["gosu", "gosu runs nothing"],
  ["setsid --fork alembic upgrade head", "setsid --fork: the option may change what is run"],
  ["setpriv --reset-env alembic upgrade head", "setpriv --reset-env: the option may"],
  ["conda run --cwd /srv alembic upgrade head", "conda --cwd: the option may change what is run"],
  ["./wait-for-it.sh db:5432", "wait-for-it.sh runs nothing"],
  ["newrelic-admin run-python alembic upgrade head", "is not a migration tool"],
  ["ddtrace-run --help alembic upgrade head", "--help"],
  ["opentelemetry-instrument --other x alembic upgrade head", "--other"],
  ["dotenv run alembic upgrade head", "--no-override"],
  ["dotenv -q never run --no-override alembic upgrade head", "options of dotenv"],
  ["DATABASE_URL=x alembic upgrade head", "is not a migration tool"],
  ["python -c x", "the option -c of Python"],
  ["python -m app.migrate", "app.migrate"],
  ["flask db upgrade --sql", "--sql"],
  ["flask db upgrade --dir x", "--dir"],
  ["flask db migrate", "flask db migrate"],
  ["flask run", "flask run"],
])("%s is left alone: %s", async (command, reason) => {
  expect((await recognise(words(command))).opaque).toContain(reason);
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
  ["timeout 60 gosu blog alembic upgrade head", "timeout 60 gosu blog alembic history --verbose"],
  ["flask db -x a=b upgrade", "flask db -x a=b history --verbose"],
])("%s is asked by %s", (command, question) => {
  expect(wordsFor(readAlembicCommand(command), "history", ["--verbose"])).toEqual(words(question));
});
