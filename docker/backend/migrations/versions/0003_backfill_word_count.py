"""Count the words of the posts that were there before

Revision ID: 0003_backfill_word_count
Revises: 0002_add_word_count
"""

from alembic import op

revision = "0003_backfill_word_count"
down_revision = "0002_add_word_count"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # One statement is enough for a blog; app/models.py counts new posts by the same expression.
    op.execute(
        r"""
        UPDATE posts
        SET word_count = array_length(regexp_split_to_array(trim(body), E'\\s+'), 1)
        WHERE word_count IS NULL
        """
    )


def downgrade() -> None:
    # The counts may stay: the column allows them either way.
    pass
