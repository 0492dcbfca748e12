"""Questions of auditors: between which regions a batch lies, and by which post, person and time rows are found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("batch", sa.Column("first_region", sa.Text(), nullable=True))
    op.add_column("batch", sa.Column("last_region", sa.Text(), nullable=True))
    op.execute(
        "UPDATE batch SET first_region = (SELECT min(region) FROM delivery WHERE delivery.batch_id = batch.id), "
        "last_region = (SELECT max(region) FROM delivery WHERE delivery.batch_id = batch.id)"
    )
    of_posts = sa.text("post_id IS NOT NULL")
    op.create_index("ix_delivery_post_id", "delivery", ["post_id", "alert_id"], sqlite_where=of_posts, postgresql_where=of_posts)
    op.create_index("ix_receipt_recorded", "receipt", ["recorded", "batch_id"])
    op.create_index("ix_entry_at", "entry", ["at", "chain", "n"])
    op.create_index("ix_reply_person_id", "reply", ["person_id"])
    op.create_index("ix_reply_recorded", "reply", ["recorded"])
    op.create_index("ix_callout_post_id", "callout", ["post_id"])
