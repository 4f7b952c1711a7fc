// What is certainly no server: table by table, and what only looks so.

import { expect, test } from "vitest";

import type { Words } from "../../../src/context.ts";
import type { OneOffRule } from "../../../src/settings/settings.ts";
import { parseOneOffRule, parseWords } from "../../../src/settings/values.ts";
import { recogniseOneOff } from "../../../src/tools/one-off.ts";

function recognise(command: string, ...rules: string[]) {
  const parsed: OneOffRule[] = rules.map((rule) => parseOneOffRule(rule));
  return recogniseOneOff(parseWords(command), parsed);
}

test.each([
  // shells
  "sh",
  "/bin/bash",
  "bash -l",
  "bash --rcfile /etc/rc -i",
  "zsh -o vi",
  "sh -c 'pytest -q'",
  "bash -lc 'exec alembic current'",
  "tini -- bash",
  "ipython",
  // the migration tool's own
  "alembic",
  "alembic -c other.ini upgrade head",
  "alembic upgrade head",
  "python -m alembic history",
  "python .venv/bin/alembic heads",
  "uv run alembic check",
  "flask db upgrade",
  "flask --app blog db migrate -m x",
  "env FLASK_APP=blog flask db current",
  // those of other tools
  "npx prisma studio",
  "npx prisma migrate deploy",
  "knex migrate:make posts",
  "npm exec -- knex migrate:make posts",
  "dbmate new posts",
  "node node_modules/drizzle-kit/bin.cjs studio",
  "pnpm exec sequelize-cli db:seed:all",
  "yarn typeorm migration:generate -d x.js posts",
  "migrate -path db version",
  "goose -dir db status",
  "bin/rails console",
  "bundle exec rake db:migrate",
  "mix ecto.migrations",
  "python -m piccolo.main migrations check",
  "aerich history",
  "sh -c 'npx kysely migrate:list'",
  // database clients
  "psql -c 'select 1'",
  "pg_dump blog",
  // tests
  "pytest",
  "python -m pytest tests",
  "env DATABASE_URL=x pytest",
  "timeout 60 poetry run pytest",
  "python -m unittest",
  // Python
  "python",
  "python3.13 -i",
  "python -W error -X dev",
  "python --version",
  "uv run python",
  "python -m pip list",
  // management
  "python manage.py shell",
  "./manage.py migrate --noinput",
  "django-admin --settings blog.settings check",
  "python -m django shell",
  "flask shell",
  "celery -A blog inspect ping",
  "uv pip list",
  "env A=b",
])("%s is no server", (command) => {
  expect(recognise(command)?.reason).toBeTypeOf("string");
});

test.each([
  "uvicorn app:app",
  "uvicorn --version",
  "gunicorn app:app",
  "true",
  "echo x",
  "id -un",
  "sleep infinity",
  "node server.js",
  "npm start",
  "npm run migrate",
  "npx next start",
  "yarn start",
  "tsx src/main.ts",
  "bin/rails server",
  "rails runner Server.start",
  "mix phx.server",
  "piccolo serve",
  "migrate",
  // whatever a script does
  "sh start.sh",
  "bash -x start.sh",
  "sh -c 'uvicorn app:app'",
  "sh -c 'alembic upgrade head && uvicorn app:app'",
  "sh -c 'exec uvicorn app:app --port $PORT'",
  "sh -c 'pytest \"$@\"' sh -q",
  "python app.py",
  "python -i app.py",
  "python -c 'import app'",
  "python -m http.server",
  "python -m app",
  "uv run uvicorn app:app",
  "uv run --unknown-option pytest",
  "uv tool run app",
  "flask run",
  "flask",
  "flask --app db run",
  "python manage.py runserver",
  "python manage.py own_command",
  "celery -A blog worker",
  "celery -A inspect worker",
  "env -i pytest",
  "constructor",
])("%s may be one", (command) => {
  expect(recognise(command)).toBeNull();
});

test.each([
  ["alembic upgrade head", true],
  ["alembic downgrade -1", true],
  ["alembic -c upgrade current", false],
  ["alembic current", false],
  ["flask --app blog db -x a=b upgrade", true],
  ["flask db current", false],
  ["python manage.py migrate", true],
  ["psql", false],
  ["npx prisma migrate deploy", true],
  ["npx prisma studio", false],
  ["knex migrate:latest", true],
  ["knex migrate:list", false],
  ["goose up-to 3", true],
  ["dbmate status", false],
  ["rails db:migrate:status", false],
  ["rails db:prepare", true],
] as const)("%s migrates: %s", (command, migrates) => {
  expect(recognise(command)?.migrates).toBe(migrates);
});

test.each([
  ["celery -A blog worker", ["celery -A blog"], true],
  ["/venv/bin/celery -A blog worker", ["celery"], true],
  ["uv run make-report --all", ["make-report"], true],
  ["make-reports", ["make-report"], false],
  ["celery", ["celery -A"], false],
  ["psql", ["!psql"], false],
  ["psql -c x", ["off"], false],
  ["psql", ["off", "psql"], true],
  ["psql", ["psql", "off"], false],
  ["psql -l", ["psql", "!psql -l"], false],
  ["sh -c 'make-report'", ["make-report"], true],
] as const)("%s with the rules %j: %s", (command, rules, expected) => {
  expect(recognise(command, ...rules) !== null).toBe(expected);
});

test("words that no parser has seen are read as they are", () => {
  const words: Words = ["sh", "-c", "pytest 'unbalanced"];
  expect(recogniseOneOff(words, [])).toBeNull();
  expect(recogniseOneOff(["bash", ""], [])).toBeNull();
});
