"""六问: what was drawn, who, and what they said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from broadcast.ledger import guards

revision = "0005"
down_revision = "0004"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EVIDENCE = (
    *("entry", "receipt", "reply", "asked", "called", "wording", "alert_raw", "refused", "address"),
    *("spotcheck", "drawn", "spotcheck_answer"),
)


def upgrade() -> None:
    op.create_table(
        "spotcheck",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("alert_id", ID, nullable=True),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("strata", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("frame", sa.Text(), nullable=False),
        sa.Column("frame_size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("questions", sa.Text(), nullable=False),
        sa.Column("marks", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spotcheck")),
    )
    op.create_index("ix_spotcheck_alert_id", "spotcheck", ["alert_id"], unique=False)
    op.create_table(
        "drawn",
        sa.Column("id", ID, nullable=False),
        sa.Column("spotcheck_id", ID, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("person_id", ID, nullable=True),
        sa.Column("post_id", ID, nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("town", sa.Text(), nullable=False),
        sa.Column("marks", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drawn")),
    )
    op.create_index("ix_drawn_spotcheck_id", "drawn", ["spotcheck_id", "n"], unique=False)
    op.create_table(
        "spotcheck_answer",
        sa.Column("id", ID, nullable=False),
        sa.Column("spotcheck_id", ID, nullable=False),
        sa.Column("drawn_id", ID, nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("answers", sa.Text(), nullable=False),
        sa.Column("said", sa.LargeBinary(), nullable=True),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("supersedes", ID, nullable=True),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("commitment", sa.LargeBinary(), nullable=True),
        sa.Column("marks", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spotcheck_answer")),
    )
    op.create_index("ix_spotcheck_answer_spotcheck_id", "spotcheck_answer", ["spotcheck_id"], unique=False)
    guards.make(op.get_bind(), EVIDENCE)
