"""Add the posts' word count, which may be missing

Revision ID: 0002_add_word_count
Revises: 0001_create_posts
"""

import sqlalchemy as sa
from alembic import op

revision = "0002_add_word_count"
down_revision = "0001_create_posts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable and without a default: the version of the blog that still runs writes no word count.
    op.add_column("posts", sa.Column("word_count", sa.Integer, nullable=True))


def downgrade() -> None:
    op.drop_column("posts", "word_count")
