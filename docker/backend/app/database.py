# Where the database is, and how the application and its migrations reach it. The blog runs on current
# releases (SQLAlchemy 2.1, psycopg 3) and on those of Debian 12 (SQLAlchemy 1.4, psycopg2), so it keeps to
# what both have.

import os
from importlib.util import find_spec

import sqlalchemy
from sqlalchemy.engine import make_url
from sqlalchemy.orm import declarative_base

Base = declarative_base()


def database_url() -> str:
    """DATABASE_URL for SQLAlchemy, with the driver that is installed, whichever the variable names."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise RuntimeError("DATABASE_URL is not set")
    return make_url(url).set(drivername=f"postgresql+{driver()}").render_as_string(hide_password=False)


def driver() -> str:
    # SQLAlchemy knows psycopg 3 since its own version 2.
    if int(sqlalchemy.__version__.split(".")[0]) >= 2 and find_spec("psycopg"):
        return "psycopg"
    return "psycopg2"
