// What an image runs where nothing is set: the commands of the images that this program was made for.

export const defaultApp = "uvicorn app.main:app --host 0.0.0.0 --port 8000 --workers 2";
export const defaultMigration = "alembic upgrade head";
