#!/bin/sh
# entrypoint.sh with the lock that people add next: an advisory one, by a few lines of Python around the migration.
set -e
echo "Running database migrations..."
python - <<'PYTHON'
import os
import subprocess
from importlib.util import find_spec

driver = __import__("psycopg" if find_spec("psycopg") else "psycopg2")
with driver.connect(os.environ["DATABASE_URL"]) as connection:
    connection.cursor().execute("select pg_advisory_lock(1)")
    subprocess.run(["alembic", "upgrade", "head"], check=True)
PYTHON
echo "Migrations complete. Starting application..."
exec uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2
