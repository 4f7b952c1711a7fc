"""Require a word count of every post

Revision ID: 0005_require_word_count
Revises: 0004_check_word_count
"""

from alembic import op

revision = "0005_require_word_count"
down_revision = "0004_check_word_count"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Reads every row, while others read and write; in a transaction of its own, since the one before had
    # to lock them out.
    op.execute("ALTER TABLE posts VALIDATE CONSTRAINT posts_word_count_known")
    # Believes the valid constraint and reads no row. After that the constraint has done its work.
    op.execute("ALTER TABLE posts ALTER COLUMN word_count SET NOT NULL")
    op.execute("ALTER TABLE posts DROP CONSTRAINT posts_word_count_known")


def downgrade() -> None:
    op.execute(
        "ALTER TABLE posts ADD CONSTRAINT posts_word_count_known CHECK (word_count IS NOT NULL) NOT VALID"
    )
    op.execute("ALTER TABLE posts ALTER COLUMN word_count DROP NOT NULL")
