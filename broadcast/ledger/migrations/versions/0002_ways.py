"""Several far ends a channel, replies and duties to answer, calls that are numbered, spaced, and counted for each callee."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from broadcast.ledger import guards

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EVIDENCE = ("entry", "receipt", "reply", "wording", "alert_raw", "refused", "address")


def upgrade() -> None:
    _new_columns()
    _new_tables()
    guards.make(op.get_bind(), EVIDENCE)


def _new_columns() -> None:
    op.add_column("rule", sa.Column("otherwise", sa.Text(), server_default="[]", nullable=False))
    op.add_column("rule", sa.Column("gathers", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("batch", sa.Column("deadline", sa.BigInteger(), nullable=True))
    op.add_column("batch", sa.Column("only_peer", sa.Text(), server_default="", nullable=False))
    op.add_column("batch", sa.Column("asked", sa.BigInteger(), nullable=True))
    op.add_column("batch", sa.Column("call_from", sa.Integer(), server_default="0", nullable=False))
    op.add_column("batch", sa.Column("gathered", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("delivery", sa.Column("rule_id", ID, nullable=True))
    op.add_column("report", sa.Column("region", sa.Text(), server_default="", nullable=False))
    op.drop_index("ix_callout_alert_id", table_name="callout")
    # By an index, as SQLite cannot add a constraint to a table that exists.
    op.create_index("uq_callout_alert_id_duty_post_id", "callout", ["alert_id", "duty", "post_id"], unique=True)


def _partial_index(name: str, table: str, column: str) -> None:
    known = sa.text(f"{column} IS NOT NULL")
    op.create_index(name, table, [column], unique=False, sqlite_where=known, postgresql_where=known)


def _new_tables() -> None:
    op.create_table(
        "reply",
        sa.Column("id", ID, nullable=False),
        sa.Column("alert_id", ID, nullable=True),
        sa.Column("batch_id", ID, nullable=True),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("said", sa.LargeBinary(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("settled", sa.Integer(), nullable=False),
        sa.Column("flag", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("waits_until", sa.BigInteger(), nullable=True),
        sa.Column("again_of", ID, nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply")),
    )
    op.create_index("ix_reply_alert_id", "reply", ["alert_id"], unique=False)
    _partial_index("ix_reply_early", "reply", "waits_until")
    _partial_index("ix_reply_again_of", "reply", "again_of")
    op.create_table(
        "condition",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.Column("heard", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "address", name=op.f("pk_condition")),
    )
    op.create_table(
        "gap",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("free_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("peer", name=op.f("pk_gap")),
    )
    op.create_table(
        "dialled",
        sa.Column("id", ID, nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("address_id", ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dialled")),
    )
    op.create_index("ix_dialled_address_id", "dialled", ["address_id", "at"], unique=False)
    op.create_table(
        "call_number",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("first_seq", sa.Integer(), nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "day", "n", name=op.f("pk_call_number")),
        sa.UniqueConstraint("batch_id", "first_seq", "peer", name=op.f("uq_call_number_batch_id_first_seq_peer")),
    )
