// The tools that keep a folder of migrations and a table of the applied ones: a new one is a line here and a file in rows/.

import type { Row } from "./row.ts";
import { aerich } from "./rows/aerich.ts";
import { dbmate } from "./rows/dbmate.ts";
import { diesel } from "./rows/diesel.ts";
import { django } from "./rows/django.ts";
import { drizzle } from "./rows/drizzle.ts";
import { ecto } from "./rows/ecto.ts";
import { flyway } from "./rows/flyway.ts";
import { golangMigrate } from "./rows/golang-migrate.ts";
import { goose } from "./rows/goose.ts";
import { graphileMigrate } from "./rows/graphile-migrate.ts";
import { knex } from "./rows/knex.ts";
import { kysely } from "./rows/kysely.ts";
import { liquibase } from "./rows/liquibase.ts";
import { mikroOrm } from "./rows/mikro-orm.ts";
import { nodePgMigrate } from "./rows/node-pg-migrate.ts";
import { piccolo } from "./rows/piccolo.ts";
import { postgresMigrations } from "./rows/postgres-migrations.ts";
import { prisma } from "./rows/prisma.ts";
import { rails } from "./rows/rails.ts";
import { sequelize } from "./rows/sequelize.ts";
import { sqlx } from "./rows/sqlx.ts";
import { typeorm } from "./rows/typeorm.ts";
import { yoyo } from "./rows/yoyo.ts";

export const rows: readonly Row[] = [
  prisma,
  drizzle,
  knex,
  sequelize,
  nodePgMigrate,
  golangMigrate,
  goose,
  dbmate,
  sqlx,
  diesel,
  ecto,
  rails,
  yoyo,
  aerich,
  typeorm,
  kysely,
  flyway,
  mikroOrm,
  graphileMigrate,
  piccolo,
  postgresMigrations,
  django,
  liquibase,
];
