"""The ledger as proof: MACs, marks and commitments, an entry for every row of evidence, anchors; deliveries that stay."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from broadcast.ledger import adopting, guards

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EVIDENCE = ("entry", "receipt", "reply", "asked", "called", "wording", "alert_raw", "refused", "address")


def upgrade() -> None:
    for table in EVIDENCE:  # made anew below
        guards.drop(op.get_bind(), table)
    _rebuild_asked()
    _rebuild_called()
    for table in ("entry", "receipt", "wording", "alert_raw", "refused"):
        op.add_column(table, sa.Column("marks", sa.LargeBinary(), nullable=True))
    for table in ("entry", "chain"):
        op.add_column(table, sa.Column("mac", sa.Text(), server_default="", nullable=False))
    _erasable("address", "sealed")
    _erasable("reply", "said", "address")
    with op.batch_alter_table("person") as person:
        person.alter_column("name", existing_type=sa.LargeBinary(), nullable=True)
    for table in ("alert", "batch"):
        op.add_column(table, sa.Column("covered", sa.BigInteger(), nullable=True))
    unknown = sa.text("covered IS NULL")
    op.create_index("ix_alert_uncovered", "alert", ["id"], sqlite_where=unknown, postgresql_where=unknown)
    op.create_table(
        "anchor",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("left_by", sa.Text(), nullable=False),
        sa.Column("left_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_anchor")),
    )
    adopting.adopt(op.get_bind(), EVIDENCE[1:])  # entries are covered by their chain
    guards.make(op.get_bind(), EVIDENCE)
    guards.make_for_deliveries(op.get_bind())


def _erasable(table: str, *columns: str) -> None:
    # SQLite rebuilds the table for it.
    with op.batch_alter_table(table) as made:
        for column in columns:
            made.alter_column(column, existing_type=sa.LargeBinary(), nullable=True)
        made.add_column(sa.Column("salt", sa.LargeBinary(), nullable=True))
        made.add_column(sa.Column("commitment", sa.LargeBinary(), nullable=True))
        made.add_column(sa.Column("marks", sa.LargeBinary(), nullable=True))


def _rebuild_asked() -> None:
    columns = "callout_id, post_id, rung, at"
    _set_aside("asked", columns)
    op.create_table(
        "asked",
        sa.Column("id", ID, nullable=False),
        sa.Column("callout_id", ID, nullable=False),
        sa.Column("post_id", ID, nullable=False),
        sa.Column("rung", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("marks", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_asked")),
        sa.UniqueConstraint("callout_id", "post_id", "rung", name=op.f("uq_asked_callout_id_post_id_rung")),
    )
    op.create_index("ix_asked_post_id", "asked", ["post_id"], unique=False)
    _fetch_back("asked", columns, "at, callout_id, post_id, rung")


def _rebuild_called() -> None:
    columns = "callout_id, batch_id, seq, post_id, rung, at"
    _set_aside("called", columns)
    op.create_table(
        "called",
        sa.Column("id", ID, nullable=False),
        sa.Column("callout_id", ID, nullable=False),
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("post_id", ID, nullable=False),
        sa.Column("rung", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("marks", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_called")),
        sa.UniqueConstraint("callout_id", "batch_id", "seq", name=op.f("uq_called_callout_id_batch_id_seq")),
    )
    op.create_index("ix_called_batch_id", "called", ["batch_id", "seq"], unique=False)
    _fetch_back("called", columns, "at, callout_id, batch_id, seq")


def _set_aside(table: str, columns: str) -> None:
    op.execute(f"CREATE TABLE {table}_before AS SELECT {columns} FROM {table}")  # noqa: S608  names of our own
    op.drop_table(table)


def _fetch_back(table: str, columns: str, order: str) -> None:
    op.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_before ORDER BY {order}")  # noqa: S608
    op.drop_table(f"{table}_before")
