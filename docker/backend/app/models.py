# What the migrations lead to. They are written by hand; this is what `alembic check` holds them against.

from sqlalchemy import Column, Integer, Text, func

from app.database import Base


class Post(Base):
    __tablename__ = "posts"

    id = Column(Integer, primary_key=True)
    title = Column(Text, nullable=False)
    body = Column(Text, nullable=False)
    word_count = Column(Integer, nullable=False)


def count_words(body):
    """The backfill's expression (revision 0003), so that old and new posts are counted alike.

    PostgreSQL counts on purpose: its idea of white space is not Python's. An empty body is one word for it,
    never NULL.
    """
    return func.array_length(func.regexp_split_to_array(func.trim(body), r"\s+"), 1)
