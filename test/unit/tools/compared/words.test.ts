// Which commands are a tool's, through all launchers, and which are left to run as they are.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, onTestFinished, test } from "vitest";

import { recognise } from "../../../../src/tools/recognise.ts";
import type { Words } from "../../../../src/context.ts";

const words = (command: string) => command.split(" ") as unknown as Words;

test.for<[string, string]>([
  ["drizzle-kit migrate", "drizzle"],
  ["npx drizzle-kit migrate --config=drizzle.prod.ts", "drizzle"],
  ["npx --yes drizzle-kit@0.31.11 migrate", "drizzle"],
  ["npm exec -- drizzle-kit migrate", "drizzle"],
  ["pnpm exec drizzle-kit migrate", "drizzle"],
  ["pnpm dlx drizzle-kit migrate", "drizzle"],
  ["yarn drizzle-kit migrate", "drizzle"],
  ["yarn run -s drizzle-kit migrate", "drizzle"],
  ["bunx --bun drizzle-kit migrate", "drizzle"],
  ["bun x drizzle-kit migrate", "drizzle"],
  ["./node_modules/.bin/drizzle-kit migrate", "drizzle"],
  ["timeout 60 npx drizzle-kit migrate", "drizzle"],
  ["knex migrate:latest --env production", "knex"],
  ["node node_modules/knex/bin/cli.js migrate:latest", "knex"],
  ["node --enable-source-maps /app/node_modules/.bin/knex migrate:latest", "knex"],
  ["tsx node_modules/knex/bin/cli.js migrate:latest --knexfile knexfile.ts", "knex"],
  ["migrate -path db -database postgres://db/blog up", "golang-migrate"],
  ["migrate --path=db --database=postgres://db/blog up", "golang-migrate"],
  ["npx prisma migrate deploy --schema db/schema.prisma", "prisma"],
  ["node node_modules/prisma/build/index.js migrate deploy", "prisma"],
  ["npx sequelize-cli db:migrate --env production", "sequelize"],
  ["node_modules/.bin/sequelize db:migrate", "sequelize"],
  ["node-pg-migrate up -m db -t history", "node-pg-migrate"],
  ["goose -dir db postgres postgres://db/blog up", "goose"],
  ["goose --dir=db up", "goose"],
  ["dbmate --wait -d db/sql up", "dbmate"],
  ["dbmate migrate", "dbmate"],
  ["sqlx migrate run --source db", "sqlx"],
  ["diesel --database-url postgres://db/blog migration run", "diesel"],
  ["mix ecto.migrate --quiet", "ecto"],
  ["bundle exec rails db:migrate", "rails"],
  ["./bin/rails db:prepare", "rails"],
  ["bundle exec rake db:migrate", "rails"],
  ["python -m yoyo apply --batch -d postgresql://db/blog sql", "yoyo"],
  ["uv run yoyo apply -b -d postgresql://db/blog sql", "yoyo"],
  ["poetry run aerich upgrade", "aerich"],
  ["npx typeorm migration:run -d dist/data-source.js", "typeorm"],
  ["npx typeorm-ts-node-commonjs migration:run --dataSource=src/data-source.ts -t each", "typeorm"],
  ["ts-node ./node_modules/typeorm/cli.js migration:run -d src/data-source.ts", "typeorm"],
  ["npx kysely migrate:latest --no-outdated-check", "kysely"],
  ["npx kysely migrate latest -c db/kysely.config.ts", "kysely"],
  ["npx mikro-orm migration:up", "mikro-orm"],
  ["npx @mikro-orm/cli migration:up -q", "mikro-orm"],
  ["node_modules/.bin/mikro-orm-esm migration:up", "mikro-orm"],
  ["yarn graphile-migrate migrate -c .gmrc.prod", "graphile-migrate"],
  ["poetry run piccolo migrations forwards all", "piccolo"],
  ["python -m piccolo.main migrations forwards all", "piccolo"],
  ["liquibase update --changelog-file=db/main.xml --contexts prod", "liquibase"],
  ["/liquibase/liquibase --searchPath=db --changeLogFile=main.xml update", "liquibase"],
  ["gosu liquibase liquibase update -Da=1 -Db=2 --labels=x", "liquibase"],
  ["flyway -url=jdbc:postgresql://db/blog -locations=filesystem:sql migrate", "flyway"],
  ["python manage.py migrate", "django"],
  ["./manage.py migrate --noinput", "django"],
  ["python3 -u src/manage.py migrate --no-input -v2 --settings=site.prod", "django"],
  ["python -m django migrate --settings site.prod --pythonpath src", "django"],
  ["django-admin migrate --database default --verbosity 0 --skip-checks", "django"],
  ["uv run manage.py migrate", "django"],
  ["uv run python manage.py migrate --traceback", "django"],
  ["poetry run python manage.py migrate --no-color", "django"],
  ["pipenv run ./manage.py migrate", "django"],
])("%s is a command of %s", async ([command, tool]) => {
  const { toolId, opaque } = await recognise(words(command));
  expect({ toolId, opaque }).toEqual({ toolId: tool, opaque: null });
});

test.for<[string, string]>([
  ["drizzle-kit push", "push"],
  ["python manage.py migrate posts", "posts"],
  ["python manage.py migrate posts 0002", "posts"],
  ["python manage.py migrate --fake", "--fake"],
  ["python manage.py migrate --run-syncdb", "--run-syncdb"],
  ["python manage.py migrate --plan", "--plan"],
  ["python manage.py migrate --no-in", "--no-in"],
  ["python manage.py makemigrations", "makemigrations"],
  ["drizzle-kit migrate extra", "extra"],
  ["drizzle-kit migrate --no-such-option", "--no-such-option"],
  ["drizzle-kit migrate --config", "--config"],
  ["knex migrate:up", "migrate:up"],
  ["knex migrate:latest --knexpath /x", "--knexpath"],
  ["migrate -path db -database postgres://db/blog up 1", "1"],
  ["migrate -path db -database postgres://db/blog down", "down"],
  ["npm run migrate", "--tool"],
  ["pnpm migrate", "--tool"],
  ["node dist/migrate.js", "--tool"],
  ["npx --node-options=x drizzle-kit migrate", "--node-options"],
  ["rake db:migrate:all", "rake"],
  ["prisma migrate dev", "dev"],
  ["prisma db push", "push"],
  ["node-pg-migrate up 1", "1"],
  ["node-pg-migrate up --fake", "--fake"],
  ["sqlx migrate run --target-version 3", "--target-version"],
  ["rails db:seed", "db:seed"],
  ["rails db:migrate VERSION=3", "VERSION=3"],
  ["mix ecto.migrate --to 3", "--to"],
  ["yoyo apply --one sql", "--one"],
  ["aerich upgrade --fake", "--fake"],
  ["typeorm migration:run -d x.js --fake", "--fake"],
  ["kysely migrate up", "up"],
  ["kysely migrate:latest -e production", "-e"],
  ["mikro-orm migration:up --to x", "--to"],
  ["mikro-orm schema:update --run", "--run"],
  ["graphile-migrate migrate --force-actions", "--force-actions"],
  ["graphile-migrate watch", "watch"],
  ["piccolo migrations forwards blog", "blog"],
  ["flyway -target=3 migrate", "-target"],
  ["flyway repair", "repair"],
  ["liquibase update-count 3", "update-count"],
  ["liquibase update --should-run=false", "--should-run"],
  ["liquibase update --contexts=a --contexts=b", "several --contexts"],
  ["liquibase update next", "next"],
])("%s is left alone: %s", async ([command, reason]) => {
  expect((await recognise(words(command))).opaque).toContain(reason);
});

const manifest = {
  scripts: {
    migrate: "knex migrate:latest",
    "db:deploy": "npx prisma migrate deploy",
    both: "prisma generate && prisma migrate deploy",
    variables: "NODE_ENV=production knex migrate:latest",
    quoted: "knex migrate:latest --env '$ENV'",
    again: "npm run migrate",
    hooked: "knex migrate:latest",
    prehooked: "echo first",
    serve: "node server.js",
  },
};

test.for<[string, string | null, string]>([
  ["npm run migrate", "knex", ""],
  ["npm run -s migrate -- --env production", "knex", ""],
  ["npm run-script db:deploy", "prisma", ""],
  ["pnpm migrate --env production", "knex", ""],
  ["pnpm run db:deploy", "prisma", ""],
  ["yarn migrate", "knex", ""],
  ["yarn knex migrate:latest", "knex", ""],
  ["bun run migrate", "knex", ""],
  ["npm run migrate --env production", null, "follow --"],
  ["npm run both", null, "no plain command"],
  ["npm run variables", null, "no plain command"],
  ["npm run quoted", "knex", ""],
  ["npm run again", null, "--tool"],
  ["npm run hooked", null, "before or after"],
  ["npm run serve", null, "server.js"],
  ["npm run missing", null, "--tool"],
  ["npm run migrate -- up", null, "up"],
  ["npm --prefix x run migrate", null, "--prefix"],
])("%s, as package.json says: %s", async ([command, tool, reason]) => {
  const cwd = mkdtempSync(join(tmpdir(), "entrypoint-words-"));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  writeFileSync(join(cwd, "package.json"), JSON.stringify(manifest));
  const { toolId, opaque } = await recognise(words(command), null, cwd);
  if (tool === null) expect(opaque).toContain(reason);
  else expect({ toolId, opaque }).toEqual({ toolId: tool, opaque: null });
});

test("the user's word is stronger than the command's", async () => {
  const { toolId, opaque, unrepeatable } = await recognise(words("npm run migrate"), "drizzle");
  expect({ toolId, opaque }).toEqual({ toolId: "drizzle", opaque: null });
  expect(unrepeatable).not.toBe(null);
});

test.for(["none", "folder", "folder:name:(", "Drizzle"])("--tool %s is refused", async (tool) => {
  await expect(recognise(words("npm run migrate"), tool)).rejects.toMatchObject({
    code: "bad-settings",
    message: expect.stringContaining("--tool") as string,
  });
});
