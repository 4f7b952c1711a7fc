"""Create the posts

Revision ID: 0001_create_posts
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001_create_posts"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "posts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("posts")
