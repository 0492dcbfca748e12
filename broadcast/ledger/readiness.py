"""What readiness is judged by: who holds which post, how each can be reached, and whose number failed of late. Reads only.

Nothing here goes over residents or over all deliveries: a county has half a million of the one and millions of the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import sqlalchemy as sa

from ..delivery import State
from .engine import Row
from .tables import alert, batch, delivery, person, post, receipt, roster, target

LOOK_BACK = 30  # alerts. ASSUMPTION: in so many everybody has been told something three times
IN_A_ROW = 3  # alerts or drills in which a number failed before somebody should look at it
PHONE_CHANNELS = ("sms", "voice")
_OVER = ("stand_down", "stop", "release")  # what is told when it is over or to operators: no alert or drill of its own
_OURS = ("wrong-kind-of-peer", "unsupported")  # codes of refusals that are ours, and say nothing of the number
_NO = (State.REJECTED, State.FAILED)
_YES = (State.ACCEPTED, State.DELIVERED)


def posts(tx: sa.Connection) -> list[Row]:
    """Every post that is held: person_id, role, region, rank, and the sealed name of its holder."""
    return list(
        tx.execute(
            sa.select(post.c.person_id, post.c.role, post.c.region, post.c.rank, person.c.name)
            .join(person, person.c.id == post.c.person_id)
            .where(post.c.ended.is_(None))
            .order_by(post.c.region, post.c.id)
        )
    )


def addresses(tx: sa.Connection) -> list[Row]:
    """Every address of those who hold a post: person_id, channel, address_id, synthetic."""
    return list(
        tx.execute(
            sa.select(target.c.person_id, target.c.channel, target.c.address_id, target.c.synthetic)
            .select_from(post.join(target, target.c.person_id == post.c.person_id))
            .where(post.c.ended.is_(None), target.c.roster_id == _in_force())
            .distinct()
        )
    )


def others(tx: sa.Connection) -> dict[tuple[str, str], int]:
    """(audience, channel) → how many targets: residents and places, counted by the index that fan-out walks."""
    of_audience = sa.select(target.c.audience, target.c.channel, sa.func.count().label("n")).where(
        target.c.roster_id == _in_force()
    )
    kinds = (of_audience.where(target.c.audience == "resident"), of_audience.where(target.c.audience == "place", ~target.c.test))
    return {
        (row.audience, row.channel): row.n
        for kind in kinds
        for row in tx.execute(kind.group_by(target.c.audience, target.c.channel))
    }


def failing(tx: sa.Connection) -> set[int]:
    """Addresses that failed in each of the last three alerts or drills in which they were tried by SMS or voice.

    Failed: the far end said so, and by neither channel did that alert come onto the device. What we gave up ourselves says
    nothing of a number.
    """
    recent = list(
        tx.execute(
            sa.select(alert.c.id)
            .where(alert.c.status.in_(("Actual", "Exercise")), alert.c.state != "recorded")
            .order_by(alert.c.id.desc())
            .limit(LOOK_BACK)
        ).scalars()
    )
    failed: dict[int, set[int]] = {}
    for row in tx.execute(_failures(recent)):
        failed.setdefault(row.address_id, set()).add(row.alert_id)
    often = {address_id: alerts for address_id, alerts in failed.items() if len(alerts) >= IN_A_ROW}
    tried = {address_id: set(alerts) for address_id, alerts in often.items()}
    for row in _successes(tx, recent, often):
        tried[row.address_id].add(row.alert_id)
        if row.state == State.DELIVERED:
            often[row.address_id].discard(row.alert_id)
    return {
        address_id
        for address_id, alerts in often.items()
        if len(tried[address_id]) >= IN_A_ROW and set(sorted(tried[address_id])[-IN_A_ROW:]) <= alerts
    }


def _failures(recent: Sequence[int]) -> sa.Select[int, int]:
    """By batch, and by what far ends said of it: a few rows, however many were told."""
    state = sa.func.coalesce(delivery.c.state, batch.c.state)
    return (
        sa.select(delivery.c.address_id, batch.c.alert_id)
        .select_from(
            batch.join(receipt, receipt.c.batch_id == batch.c.id).join(
                delivery,
                sa.and_(delivery.c.batch_id == batch.c.id, delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq)),
            )
        )
        .where(
            *_to_posts(recent),
            receipt.c.origin.in_(("answer", "report")),
            receipt.c.state.in_(_NO),
            receipt.c.code.not_in(_OURS),
            state.in_(_NO),
        )
        .distinct()
    )


def _successes(tx: sa.Connection, recent: Sequence[int], wanted: Collection[int]) -> Iterator[Row]:
    """address_id, alert_id and state of what was taken for, or came to, these addresses."""
    state = sa.func.coalesce(delivery.c.state, batch.c.state)
    numbers = sorted(wanted)
    for start in range(0, len(numbers), 500):
        yield from tx.execute(
            sa.select(delivery.c.address_id, batch.c.alert_id, state.label("state"))
            .join(batch, batch.c.id == delivery.c.batch_id)
            .where(*_to_posts(recent), delivery.c.address_id.in_(numbers[start : start + 500]), state.in_(_YES))
            .distinct()
        )


def _to_posts(recent: Sequence[int]) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        batch.c.alert_id.in_(recent),
        batch.c.channel.in_(PHONE_CHANNELS),
        batch.c.lane != "bulk",
        batch.c.purpose.not_in(_OVER),
    )


def _in_force() -> sa.ScalarSelect[int]:
    return sa.select(roster.c.id).where(roster.c.in_force).scalar_subquery()
