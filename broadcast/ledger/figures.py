"""How much is under way, owed and waiting: read-only counts for monitoring, cheap beside half a million deliveries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from ..delivery import OWED
from . import coverage
from .tables import alert, batch, breaker, callout, delivery, inbox, report


@dataclass(frozen=True, slots=True)
class Figures:
    """What is counted. Ages in seconds. What is not there is 0."""

    deliveries: Mapping[tuple[str, str, str], int]  # (channel, purpose, state), of alerts received since a moment
    alerts: Mapping[str, int]  # by state
    due: Mapping[str, int]  # lane → batches that a worker may claim
    oldest_due: Mapping[str, float]  # lane → how long the oldest of them has waited
    in_doubt: int  # deliveries, of any age
    callbacks: int  # kept so far
    unread: int  # callbacks that nobody has worked on
    oldest_unread: float
    unmatched: int  # reports that match nothing yet
    open_duties: Mapping[str, int]  # by duty
    overdue_duties: Mapping[str, int]
    breakers: Mapping[str, int]  # peer → 1 while it is left alone
    failures: Mapping[str, int]  # peer → failures in a row
    villages_unreached: Mapping[str, int]  # status of alerts in force → villages that nobody has reached in the plan's time


def figures(tx: sa.Connection, *, since: int, now: int) -> Figures:
    """All of it, in one read transaction. `since`: of which alerts deliveries are counted."""
    due, oldest_due = _due(tx, now)
    unread, oldest_unread = _unread(tx, now)
    open_duties, overdue = _duties(tx, now)
    breakers, failures = _peers(tx, now)
    return Figures(
        deliveries=_deliveries(tx, since),
        alerts=_alerts(tx),
        due=due,
        oldest_due=oldest_due,
        in_doubt=_count(tx, delivery, delivery.c.state == "in_doubt"),
        # Rows are never deleted. Counting them would read every sealed body; the newest one's number says as much.
        callbacks=tx.execute(sa.select(sa.func.coalesce(sa.func.max(inbox.c.id), 0))).scalar_one(),
        unread=unread,
        oldest_unread=oldest_unread,
        unmatched=_count(tx, report, sa.true()),
        open_duties=open_duties,
        overdue_duties=overdue,
        breakers=breakers,
        failures=failures,
        villages_unreached=_villages(tx),
    )


def _alerts(tx: sa.Connection) -> dict[str, int]:
    rows = tx.execute(sa.select(alert.c.state, sa.func.count()).group_by(alert.c.state))
    return {row[0]: row[1] for row in rows}


def _deliveries(tx: sa.Connection, since: int) -> dict[tuple[str, str, str], int]:
    """By (channel, purpose, state). As `questions.progress`: those that share their batch's state are counted by the batch."""
    recent = batch.c.alert_id.in_(sa.select(alert.c.id).where(alert.c.received >= since))
    batches = {
        row.id: row
        for row in tx.execute(sa.select(batch.c.id, batch.c.channel, batch.c.purpose, batch.c.state, batch.c.size).where(recent))
    }
    own = (
        sa.select(delivery.c.batch_id, delivery.c.state, sa.func.count())
        .where(delivery.c.batch_id.in_(sa.select(batch.c.id).where(recent)), delivery.c.state.is_not(None))
        .group_by(delivery.c.batch_id, delivery.c.state)
    )
    inherit = {number: row.size for number, row in batches.items()}
    counted: Counter[tuple[str, str, str]] = Counter()
    for number, state, n in tx.execute(own):
        inherit[number] -= n
        counted[batches[number].channel, batches[number].purpose, state] += n
    for number, n in inherit.items():
        if n:
            counted[batches[number].channel, batches[number].purpose, batches[number].state] += n
    return dict(counted)


def _due(tx: sa.Connection, now: int) -> tuple[dict[str, int], dict[str, float]]:
    rows = tx.execute(
        sa.select(batch.c.lane, sa.func.count(), sa.func.min(batch.c.due))
        .where(batch.c.state.in_(OWED), batch.c.due <= now)
        .group_by(batch.c.lane)
    ).all()
    return {lane: n for lane, n, _ in rows}, {lane: (now - oldest) / 1000 for lane, _, oldest in rows}


def _unread(tx: sa.Connection, now: int) -> tuple[int, float]:
    n, oldest = tx.execute(sa.select(sa.func.count(), sa.func.min(inbox.c.received)).where(inbox.c.state == "kept")).one()
    return n, max(now - oldest, 0) / 1000 if n else 0.0


def _duties(tx: sa.Connection, now: int) -> tuple[dict[str, int], dict[str, int]]:
    overdue = sa.func.sum(sa.case((callout.c.due <= now, 1), else_=0))
    rows = tx.execute(
        sa.select(callout.c.duty, sa.func.count(), overdue).where(callout.c.state == "open").group_by(callout.c.duty)
    )
    found = rows.all()
    return {duty: n for duty, n, _ in found}, {duty: int(late) for duty, _, late in found}


def _peers(tx: sa.Connection, now: int) -> tuple[dict[str, int], dict[str, int]]:
    rows = tx.execute(sa.select(breaker.c.peer, breaker.c.failures, breaker.c.open_until)).all()
    return {r.peer: int(r.open_until > now) for r in rows}, {r.peer: r.failures for r in rows}


def _villages(tx: sa.Connection) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for status, n in coverage.unreached(tx).values():
        counted[status] += n
    return dict(counted)


def _count(tx: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    return int(tx.execute(sa.select(sa.func.count()).select_from(table).where(condition)).scalar_one())
