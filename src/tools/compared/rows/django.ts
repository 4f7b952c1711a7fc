// Django. Its migrations are those of every installed application, which only Django can list: it is asked as the image is built.
// Nothing is pending once each migration on disk, and each that another one replaces, has its row: then its executor's plan is
// empty, and no squash is left to be recorded.

import { flags, values } from "../../launchers.ts";
import { doubt, found, type Row } from "../row.ts";

const unfrozen =
  "only Django can list the migrations of its applications: run entrypoint freeze as the image is built";

export const django: Row = {
  id: "django",
  name: "Django",
  commands: [
    {
      programs: ["manage.py", "django-admin", "django-admin.py"],
      modules: ["django"],
      verb: [["migrate"]],
      options: {
        ...flags("--noinput --no-input --traceback --no-color --force-color --skip-checks"),
        ...values("--verbosity --database --settings --pythonpath"),
        "--fake": "refused",
        "--fake-initial": "refused",
        "--plan": "refused",
        "--check": "refused",
        "--run-syncdb": "refused",
        "--prune": "refused",
      },
      aliases: { "-v": "--verbosity" },
    },
  ],
  locate: () => ({
    folders: doubt(unfrozen),
    table: found({ schema: null, name: "django_migrations" }),
  }),
  list: () => doubt(unfrozen),
  question: {
    telling: /^(?:DJANGO_SETTINGS_MODULE|DJANGO_CONFIGURATION|PYTHONPATH)$/,
    // Loaded where it is wanted: no start needs it.
    ask: async (words, project, run) =>
      (await import("./django/ask.ts")).ask(words, project.flags, run),
    askDatabase: async (words, project, run) =>
      (await import("./django/ask.ts")).askDatabase(words, project.flags, run),
    loadSql: async (words, { flags: given }) =>
      (await import("./django/sql.ts")).createSql(words, given),
  },
  ledger: { id: "app || '.' || name" },
  order: "text",
  pending: "missing",
  unknownRow: "ignored",
  older: "runs",
  resumes: true,
  readsOptions: true,
  cures: {
    stamp: "python manage.py migrate --fake",
    undo: "python manage.py migrate APP MIGRATION",
    notAtHead:
      "look at the output of Django: it may have migrated another database than DATABASE_URL's (DATABASES, --database), or other applications than were frozen",
    cannotTell:
      "run entrypoint freeze as the image is built, with the same migration command; or use entrypoint run, which runs the command to be certain",
  },
};
