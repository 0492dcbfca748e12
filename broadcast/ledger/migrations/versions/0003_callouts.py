"""叫应: how far each callout has come, who was asked on which rung, which calls were made for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from broadcast.ledger import guards

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EVIDENCE = ("entry", "receipt", "reply", "asked", "called", "wording", "alert_raw", "refused", "address")


def upgrade() -> None:
    op.add_column("callout", sa.Column("rule_id", ID, nullable=True))
    op.add_column("callout", sa.Column("asked", sa.Integer(), server_default="0", nullable=False))
    op.add_column("callout", sa.Column("calls", sa.Integer(), server_default="0", nullable=False))
    op.add_column("callout", sa.Column("last_call", sa.BigInteger(), nullable=True))
    op.add_column("callout", sa.Column("measures_due", sa.BigInteger(), nullable=True))
    op.create_table(
        "asked",
        sa.Column("callout_id", ID, autoincrement=False, nullable=False),
        sa.Column("post_id", ID, autoincrement=False, nullable=False),
        sa.Column("rung", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("callout_id", "post_id", "rung", name=op.f("pk_asked")),
    )
    op.create_index("ix_asked_post_id", "asked", ["post_id"], unique=False)
    op.create_table(
        "called",
        sa.Column("callout_id", ID, autoincrement=False, nullable=False),
        sa.Column("batch_id", ID, autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("post_id", ID, nullable=False),
        sa.Column("rung", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("callout_id", "batch_id", "seq", name=op.f("pk_called")),
    )
    op.create_index("ix_called_batch_id", "called", ["batch_id", "seq"], unique=False)
    guards.make(op.get_bind(), EVIDENCE)
