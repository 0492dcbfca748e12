"""After an alert is over: one entry for each of its batches that covers all of its deliveries, also what never left."""

from __future__ import annotations

import sqlalchemy as sa

from ..delivery import State
from . import chain, proof
from .tables import alert, batch

OVER = ("superseded", "cancelled", "closed")


def next_alert(tx: sa.Connection) -> int | None:
    """An alert that is over, of which nobody holds anything, and whose deliveries are not all covered yet."""
    held = sa.select(batch.c.id).where(batch.c.alert_id == alert.c.id, batch.c.state == State.SENDING)
    wanted = sa.select(alert.c.id).where(alert.c.covered.is_(None), alert.c.state.in_(OVER), ~held.exists())
    return tx.execute(wanted.order_by(alert.c.id).limit(1)).scalar()


def cover_next(tx: sa.Connection, alert_id: int, now: int) -> bool:
    """Covers one batch of that alert; False when all were, and the alert's own entry says so."""
    mine = sa.select(batch.c.id).where(batch.c.alert_id == alert_id, batch.c.covered.is_(None))
    batch_id = tx.execute(mine.order_by(batch.c.id).limit(1).with_for_update()).scalar()
    if batch_id is None:
        tx.execute(alert.update().where(alert.c.id == alert_id).values(covered=now))
        total = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(batch.c.size), 0)).where(batch.c.alert_id == alert_id)
        batches, deliveries = tx.execute(total).one()
        body = {"batches": batches, "deliveries": int(deliveries)}
        chain.append(tx, chain.of_alert(alert_id), "alert.covered", now, body)
        return False
    proof.cover_deliveries(tx, alert_id, batch_id, [row._mapping for row in proof.read_deliveries(tx, batch_id)])
    tx.execute(batch.update().where(batch.c.id == batch_id).values(covered=now))
    chain.append(tx, chain.of_alert(alert_id), "deliveries.covered", now, {"batch": batch_id})
    return True
