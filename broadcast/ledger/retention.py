"""What may go after its time: only machinery that holds numbers. Entries and evidence have no way out of the ledger."""

from __future__ import annotations

import sqlalchemy as sa

from . import chain
from .tables import dialled, inbox

LEAST_DAYS = 180  # 网络安全法: network logs are kept for six months at least
DAYS = 1095
SLICE = 500


def clear(tx: sa.Connection, before: int, now: int) -> int:
    """Clears one slice of what came in, or was dialled, before `before`, and says so in an entry; returns how much."""
    old = sa.select(inbox.c.id).where(inbox.c.received < before, inbox.c.state != "kept", inbox.c.body != b"")
    letters = inbox.update().where(inbox.c.id.in_(old.order_by(inbox.c.id).limit(SLICE))).values(body=b"", headers="{}")
    calls = dialled.delete().where(dialled.c.id.in_(sa.select(dialled.c.id).where(dialled.c.at < before).limit(SLICE)))
    cleared = {"callbacks": tx.execute(letters).rowcount, "dialled": tx.execute(calls).rowcount}
    if any(cleared.values()):
        chain.append(tx, chain.HOUSE, "retention.cleared", now, {**cleared, "before": before})
    return sum(cleared.values())
