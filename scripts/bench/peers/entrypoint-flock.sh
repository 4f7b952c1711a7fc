#!/bin/sh
# entrypoint.sh with the lock that people add first: it holds between the processes of one machine, or of one volume.
set -e
echo "Running database migrations..."
flock "${BENCH_LOCK:?}" alembic upgrade head
echo "Migrations complete. Starting application..."
exec uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2
