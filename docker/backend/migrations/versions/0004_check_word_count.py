"""Refuse new posts without a word count

Revision ID: 0004_check_word_count
Revises: 0003_backfill_word_count
"""

from alembic import op

revision = "0004_check_word_count"
down_revision = "0003_backfill_word_count"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # NOT VALID holds for new rows only, and so reads no row while it has the table to itself.
    op.execute(
        "ALTER TABLE posts ADD CONSTRAINT posts_word_count_known CHECK (word_count IS NOT NULL) NOT VALID"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE posts DROP CONSTRAINT posts_word_count_known")
