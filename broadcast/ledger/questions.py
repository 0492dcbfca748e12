"""The questions that operators ask: how far an alert has come, what waits, what is behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from ..delivery import State
from .engine import Row
from .tables import OWED, alert, batch, callout, delivery, inbox, report, rule


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one way of one tier has come: (tier, channel, purpose) and how many deliveries are in each state."""

    tier: str
    channel: str
    purpose: str
    states: dict[str, int]

    @property
    def owed(self) -> int:
        """All deliveries of it."""
        return sum(self.states.values())


def progress(tx: sa.Connection, alert_id: int) -> list[Progress]:
    """By tier and channel: how many deliveries are in which state."""
    # Deliveries that share their batch's state are counted by the batch, so that half a million cost a few hundred rows.
    # Only a gathered batch, whose deliveries belong to several rules, is counted one by one.
    own = (
        sa.select(delivery.c.batch_id, delivery.c.rule_id, delivery.c.state, sa.func.count().label("n"))
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(batch.c.alert_id == alert_id, sa.or_(delivery.c.state.is_not(None), batch.c.gathered))
        .group_by(delivery.c.batch_id, delivery.c.rule_id, delivery.c.state)
    )
    tiers = dict(tx.execute(sa.select(rule.c.id, rule.c.tier).where(rule.c.alert_id == alert_id)).all())
    batches = {
        row.id: row
        for row in tx.execute(
            sa.select(batch.c.id, batch.c.size, batch.c.state, batch.c.purpose, batch.c.channel, rule.c.tier)
            .join(rule, rule.c.id == batch.c.rule_id)
            .where(batch.c.alert_id == alert_id)
        )
    }
    counted: dict[tuple[str, str, str], dict[str, int]] = {}
    inherits = {number: row.size for number, row in batches.items()}
    for row in tx.execute(own):
        of_batch = batches[row.batch_id]
        inherits[row.batch_id] -= row.n
        _add(counted, tiers.get(row.rule_id, of_batch.tier), of_batch, row.state or of_batch.state, row.n)
    for number, left in inherits.items():
        if left:
            _add(counted, batches[number].tier, batches[number], batches[number].state, left)
    return [Progress(*key, states) for key, states in sorted(counted.items())]


def _add(counted: dict[tuple[str, str, str], dict[str, int]], tier: str, row: Row, state: str, n: int) -> None:
    states = counted.setdefault((tier, row.channel, row.purpose), {})
    states[state] = states.get(state, 0) + n


def by_region(tx: sa.Connection, alert_id: int) -> dict[str, dict[str, int]]:
    """region → state → deliveries, for the table by town and village."""
    state = sa.func.coalesce(delivery.c.state, batch.c.state)
    rows = tx.execute(
        sa.select(delivery.c.region, state.label("state"), sa.func.count().label("n"))
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(delivery.c.alert_id == alert_id, batch.c.alert_id == alert_id, ~delivery.c.purpose.startswith("release"))
        .group_by(delivery.c.region, state)
    )
    table: dict[str, dict[str, int]] = {}
    for row in rows:
        table.setdefault(row.region, {})[row.state] = row.n
    return table


def unplanned(tx: sa.Connection, alert_id: int) -> dict[str, int]:
    """How many rules are still held (for approval) or owed (to be planned)."""
    rows = tx.execute(
        sa.select(rule.c.state, sa.func.count())
        .where(rule.c.alert_id == alert_id, rule.c.state.in_(("held", "owed")))
        .group_by(rule.c.state)
    )
    return {row[0]: row[1] for row in rows}


def is_settled(tx: sa.Connection, alert_id: int) -> bool:
    """True when nothing of the alert is owed, held by a worker, or waiting for a doubt to be decided."""
    if unplanned(tx, alert_id).get("owed"):
        return False
    busy = sa.select(batch.c.id).where(
        batch.c.alert_id == alert_id,
        sa.or_(batch.c.state.in_((State.PLANNED, State.DEFERRED, State.SENDING)), batch.c.doubt_due.is_not(None)),
    )
    return tx.execute(busy.limit(1)).first() is None


def alerts(tx: sa.Connection, limit: int = 50) -> list[Row]:
    """The newest alerts."""
    return list(tx.execute(sa.select(alert).order_by(alert.c.id.desc()).limit(limit)))


def of_event(tx: sa.Connection, event_key: str) -> list[int]:
    """The alerts of an event, oldest first."""
    return list(tx.execute(sa.select(alert.c.id).where(alert.c.event_key == event_key).order_by(alert.c.id)).scalars())


def waiting(tx: sa.Connection) -> list[Row]:
    """Open duties to approve, the oldest first; of several approvers of one alert the first."""
    firsts = sa.select(sa.func.min(callout.c.id)).where(callout.c.state == "open", callout.c.duty == "release")
    return list(
        tx.execute(
            sa.select(callout, alert.c.headline, alert.c.level, alert.c.identifier)
            .join(alert, alert.c.id == callout.c.alert_id)
            .where(callout.c.id.in_(firsts.group_by(callout.c.alert_id)))
            .order_by(callout.c.due)
        )
    )


def words(tx: sa.Connection, alert_id: int) -> list[Row]:
    """The frozen words of an alert."""
    from_rules = sa.select(rule.c.wording_id).where(rule.c.alert_id == alert_id)
    table = rule.metadata.tables["wording"]
    return list(tx.execute(sa.select(table).where(table.c.alert_id == alert_id, table.c.id.in_(from_rules)).order_by(table.c.id)))


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is owed and how old it is; the raw material of `health`. Ages in milliseconds."""

    oldest_due: dict[str, int]  # lane → age of the oldest batch that is due and not held
    oldest_kept: int  # age of the oldest callback that nobody has worked on
    in_doubt: int
    unmatched: int
    to_review: int
    overdue_approvals: int


def backlog(tx: sa.Connection, now: int) -> Backlog:
    """How far behind the gateway is."""
    due = tx.execute(
        sa.select(batch.c.lane, sa.func.min(batch.c.due))
        .where(batch.c.state.in_(OWED), batch.c.due <= now)
        .group_by(batch.c.lane)
    )
    kept = tx.execute(sa.select(sa.func.min(inbox.c.received)).where(inbox.c.state == "kept")).scalar()
    doubts = tx.execute(sa.select(sa.func.count()).select_from(delivery).where(delivery.c.state == "in_doubt")).scalar_one()
    overdue = (
        sa.select(sa.func.count(sa.distinct(callout.c.alert_id)))
        .select_from(callout)
        .where(callout.c.state == "open", callout.c.duty == "release", callout.c.due <= now)
    )
    return Backlog(
        oldest_due={lane: now - oldest for lane, oldest in due},
        oldest_kept=now - kept if kept is not None else 0,
        in_doubt=int(doubts),
        unmatched=int(tx.execute(sa.select(sa.func.count()).select_from(report)).scalar_one()),
        to_review=int(tx.execute(sa.select(sa.func.count()).select_from(alert).where(alert.c.to_review)).scalar_one()),
        overdue_approvals=int(tx.execute(overdue).scalar_one()),
    )


def accepted_and_silent(tx: sa.Connection, channel: str, before: int) -> int:
    """Alarms of alerts still in force that a far end took before `before` and has not reported on the device or the air."""
    state = sa.func.coalesce(delivery.c.state, batch.c.state)
    counted = (
        sa.select(sa.func.count())
        .select_from(delivery.join(batch, batch.c.id == delivery.c.batch_id).join(alert, alert.c.id == batch.c.alert_id))
        .where(
            alert.c.state == "active",
            batch.c.channel == channel,
            batch.c.purpose == "alarm",
            batch.c.started < before,
            state == State.ACCEPTED,
        )
    )
    return int(tx.execute(counted).scalar_one())


def moment(millis: int | None) -> datetime | None:
    """Milliseconds of the ledger as an aware time."""
    return None if millis is None else datetime.fromtimestamp(millis / 1000, UTC)


def at(millis: int) -> datetime:
    """The same, for a column that is never empty."""
    return datetime.fromtimestamp(millis / 1000, UTC)


def usual_call_seconds(tx: sa.Connection, peer: str, per_call: int) -> float | None:
    """The median time of a call in the last hundred batches answered by this peer; None when there was none."""
    rows = tx.execute(
        sa.select(batch.c.ended - batch.c.started, batch.c.size)
        .where(batch.c.peer == peer, batch.c.ended.is_not(None), batch.c.started.is_not(None), batch.c.size > 0)
        .order_by(batch.c.id.desc())
        .limit(100)
    )
    times = sorted(spent / -(-size // per_call) for spent, size in rows)
    return times[len(times) // 2] / 1000 if times else None
