"""Approvals that waited when the steps of their own became a ladder: they stay with the desk, which decides them."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # They name no post, so nobody could be called for them; without this they would look like callouts that lost their step.
    op.execute("UPDATE callout SET step = 'door', next_step = NULL WHERE duty = 'release' AND state = 'open' AND post_id IS NULL")
