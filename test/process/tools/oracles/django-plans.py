"""What Django's own executor makes of random histories with squashes, and of random rows: one line of JSON for each.

django-plans.py SEED COUNT NESTED QUESTION: the last is a file with the code that lists migrations in entrypoint freeze.
"""

import json
import random
import sys

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, USE_TZ=True
)
django.setup()

from django.db import connection
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

seed, count, nested, question = sys.argv[1:]
choose = random.Random(int(seed))
recorder = MigrationRecorder(connection)
recorder.ensure_schema()
HERE, DATABASE = "/nowhere", "default"
exec("import json, os, sys\n" + open(question).read())

history = {}


def load_disk(self):
    self.disk_migrations = {
        key: type("Migration", (Migration,), dict(entry, operations=[]))(key[1], key[0])
        for key, entry in history.items()
    }
    self.unmigrated_apps, self.migrated_apps = set(), {"a", "b"}


MigrationLoader.load_disk = load_disk


def make_history():
    made, chains = {}, {}
    for app in "ab":
        names = ["%04d" % number for number in range(1, choose.randint(1, 6) + 1)]
        chains[app] = names
        for before, name in zip([None] + names, names):
            made[app, name] = dict(dependencies=[(app, before)] if before else [], run_before=[], replaces=[])
    if choose.random() < 0.6:
        made["b", choose.choice(chains["b"])]["dependencies"].append(("a", choose.choice(chains["a"])))
    elif choose.random() < 0.5:
        made["a", chains["a"][-1]]["run_before"].append(("b", choose.choice(chains["b"])))
    for app, names in chains.items():
        if choose.random() < 0.3:
            continue
        first = choose.randrange(len(names))
        last = choose.randrange(first, len(names))
        replaced = [(app, name) for name in names[first : last + 1]]
        before = [(app, names[first - 1])] if first else []
        squash = (app, "%s_squashed_%s" % (names[first], names[last]))
        made[squash] = dict(dependencies=before, run_before=[], replaces=replaced)
        if choose.random() < 0.4:
            # The replaced files are gone, and whatever depended on them depends on the squash.
            for key in replaced:
                del made[key]
            for key, entry in made.items():
                for relation in ("dependencies", "run_before"):
                    entry[relation] = [squash if one in replaced and key != squash else one for one in entry[relation]]
        if nested == "nested" and choose.random() < 0.6:
            rest = [(app, name) for name in names[last + 1 :] if (app, name) in made][: choose.randint(0, 2)]
            made[app, squash[1] + "_again"] = dict(dependencies=before, run_before=[], replaces=[squash] + rest)
    return made


def set_rows(rows):
    recorder.migration_qs.all().delete()
    for app, name in sorted(rows):
        recorder.record_applied(app, name)


def plan_now(run, part=None):
    executor = MigrationExecutor(connection)
    executor.loader.check_consistent_history(connection)
    if executor.loader.detect_conflicts():
        raise ValueError("conflicts")
    leaves = executor.loader.graph.leaf_nodes()
    plan = executor.migration_plan(leaves)
    if run:
        shortened = plan if part is None else plan[: int(len(plan) * part)]
        if shortened or part is None:
            executor.migrate(leaves, plan=shortened, fake=True)
    return plan


def show(keys):
    return ["%s.%s" % key for key in keys]


def rows_now():
    return sorted(show((one.app, one.name) for one in recorder.migration_qs.all()))


def random_rows(keys):
    kind = choose.random()
    if kind < 0.4:
        return set(keys) - set(choose.sample(keys, min(len(keys), choose.choice([0, 0, 1, 2]))))
    if kind < 0.7:
        return {key for key in keys if choose.random() < 0.7}
    return {key for key in keys if "squashed" not in key[1]} | ({("gone", "0001")} if kind < 0.8 else set())


for number in range(int(count)):
    made = make_history()
    keys = sorted(set(made) | {one for entry in made.values() for one in entry["replaces"]})
    reachable = number % 2 == 0
    history = made
    if reachable:
        # An older state of the project was migrated, as far as it came.
        if choose.random() < 0.6:
            history = {key: entry for key, entry in made.items() if not entry["replaces"] or not all(one in made for one in entry["replaces"])}
        set_rows(())
        try:
            plan_now(True, choose.choice([None, None, 0.3, 0.5, 0.8]))
        except Exception:
            continue
        history = made
    else:
        set_rows(random_rows(keys))
    line = dict(reachable=reachable, rows=rows_now(), plan=None, error=None, after=None)
    try:
        line["entries"] = list_migrations(MigrationLoader(None))
    except Exception:
        # Such files are not frozen.
        continue
    try:
        line["plan"] = show((migration.app_label, migration.name) for migration, _ in plan_now(True))
        line["after"] = rows_now()
    except Exception as error:
        line["error"] = "%s: %s" % (type(error).__name__, error)
    print(json.dumps(line))
