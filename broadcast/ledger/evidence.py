"""What the ledger holds about each callout of an alert: the calls that were made for it, who answered, and where that stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..delivery import State
from . import chain
from .callouts import DUTIES
from .engine import Row
from .tables import OWED, alert, asked, batch, called, callout, delivery, entry, post, receipt, reply, roster, target

ITSELF, TAKEN_OVER, DOOR = "itself", "taken over", "door"  # beside the rungs of whoever else answered


@dataclass(frozen=True, slots=True)
class Made:
    """One call that left: its delivery, when, and what is known of it. The number is its address's, never the phone's."""

    delivery: str  # batch.seq
    purpose: str
    rung: str  # for whom it was asked: of a callout, the rung; of the alert's own call, the principal's
    number: int  # of the address: the same for the same phone
    at: int
    receipt: int
    state: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One callout with all that proves how it ended."""

    callout: int
    role: str
    region: str
    state: str
    rung: str
    next_step: int | None
    opened: int
    due: int
    answered: int | None
    how: str
    by: str  # itself, deputy, superior, sideways; taken over; door; "" while it is open
    ended: int | None  # answered, or on the door list since
    calls: tuple[Made, ...]
    entries: tuple[int, ...]  # of the alert's chain that speak of it
    reply: int | None  # the answer that settled it


def of_alert(tx: sa.Connection, alert_id: int) -> list[Evidence]:
    """Every duty to acknowledge of an alert, in the order in which they were opened."""
    rows = _owed(tx, alert_id)
    persons = _asked(tx, alert_id)
    answers = _answers(tx, alert_id)
    calls = _calls(tx, alert_id)
    climbs, said = _entries(tx, alert_id)
    return [_one(row, persons.get(row.id, {}), answers, calls.get(row.id, ()), climbs.get(row.id, ()), said) for row in rows]


def _one(
    row: Row,
    persons: Mapping[int, str],
    answers: Mapping[int, Sequence[Row]],
    calls: Sequence[Made],
    climbs: Sequence[Row],
    said: Mapping[str, int],
) -> Evidence:
    by, answer = "", None
    if row.state == "answered":
        by, answer = _who(row, persons, answers.get(row.answered, ()), {one.delivery for one in calls})
    elif row.state == "closed":
        by = TAKEN_OVER
    elif row.step == DOOR:
        by = DOOR
    numbers = [one.n for one in climbs]
    if answer is not None and (n := said.get(_key(answer))) is not None:
        numbers.append(n)
    at_the_door = climbs[-1].at if by == DOOR and climbs else None
    return Evidence(
        callout=row.id,
        role=row.role,
        region=row.region,
        state=row.state,
        rung=row.step,
        next_step=row.next_step,
        opened=row.opened,
        due=row.due,
        answered=row.answered,
        how=row.how,
        by=by,
        ended=row.answered if row.state == "answered" else at_the_door,
        calls=tuple(calls),
        entries=tuple(numbers),
        reply=answer.id if answer is not None else None,
    )


def _who(row: Row, persons: Mapping[int, str], answers: Sequence[Row], calls: set[str]) -> tuple[str, Row | None]:
    """Whose answer of that moment it was: the post's own person before anybody else who was asked; by its own call first."""
    for one in answers:
        if one.person_id == row.person_id:
            return ITSELF, one
    mine = [one for one in answers if one.person_id in persons]
    mine.sort(key=lambda one: f"{one.batch_id}.{one.seq}" not in calls)
    return (persons[mine[0].person_id], mine[0]) if mine else ("", None)


def _owed(tx: sa.Connection, alert_id: int) -> Sequence[Row]:
    return tx.execute(
        sa.select(callout, post.c.role, post.c.person_id)
        .join(post, post.c.id == callout.c.post_id)
        .where(callout.c.alert_id == alert_id, callout.c.duty == "acknowledge")
        .order_by(callout.c.id)
    ).all()


def _asked(tx: sa.Connection, alert_id: int) -> dict[int, dict[int, str]]:
    """callout → person → the first rung on which they were asked about it."""
    rows = tx.execute(
        sa.select(asked.c.callout_id, asked.c.rung, post.c.person_id)
        .join(callout, callout.c.id == asked.c.callout_id)
        .join(post, post.c.id == asked.c.post_id)
        .where(callout.c.alert_id == alert_id)
        .order_by(asked.c.at, asked.c.post_id)
    )
    found: dict[int, dict[int, str]] = {}
    for row in rows:
        found.setdefault(row.callout_id, {}).setdefault(row.person_id, row.rung)
    return found


def _answers(tx: sa.Connection, alert_id: int) -> dict[int, list[Row]]:
    """The answers that settled something, by the moment at which they did."""
    rows = tx.execute(sa.select(reply).where(reply.c.alert_id == alert_id, reply.c.settled > 0).order_by(reply.c.id))
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.recorded, []).append(row)
    return found


def _calls(tx: sa.Connection, alert_id: int) -> dict[int, list[Made]]:
    """callout → the calls that left for it, the alert's own call to its post first."""
    left = (
        sa.select(
            delivery.c.batch_id,
            delivery.c.seq,
            delivery.c.purpose,
            delivery.c.address_id,
            receipt.c.id,
            receipt.c.recorded,
            sa.func.coalesce(delivery.c.state, batch.c.state).label("state"),
        )
        .join(batch, batch.c.id == delivery.c.batch_id)
        .join(receipt, _of_delivery())
        .where(batch.c.alert_id == alert_id, batch.c.channel == "voice", _left())
        .order_by(receipt.c.id)
    )
    made = [(row, f"{row.batch_id}.{row.seq}") for row in tx.execute(left)]
    links: dict[str, list[Row]] = {}
    for row in tx.execute(sa.select(called).join(callout, callout.c.id == called.c.callout_id).where(_mine(alert_id))):
        links.setdefault(f"{row.batch_id}.{row.seq}", []).append(row)
    own = _own(tx, alert_id)
    found: dict[int, list[Made]] = {}
    for row, key in made:
        wanted = [(link.callout_id, link.rung) for link in links.get(key, ())]
        if row.purpose == "alarm":
            wanted = [(number, "principal") for number in own.get(row.address_id, ())]
        for number, rung in wanted:
            one = Made(key, row.purpose, rung, row.address_id, row.recorded, row.id, str(row.state))
            found.setdefault(number, []).append(one)
    return found


def _own(tx: sa.Connection, alert_id: int) -> dict[int, list[int]]:
    """address → the callouts of the posts whose person is called at it."""
    in_force = sa.select(roster.c.id).where(roster.c.in_force).scalar_subquery()
    rows = tx.execute(
        sa.select(callout.c.id, target.c.address_id)
        .join(post, post.c.id == callout.c.post_id)
        .join(target, target.c.person_id == post.c.person_id)
        .where(_mine(alert_id), target.c.channel == "voice", target.c.roster_id == in_force)
    )
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row.address_id, []).append(row.id)
    return found


def _entries(tx: sa.Connection, alert_id: int) -> tuple[dict[int, list[Row]], dict[str, int]]:
    """callout → the entries of its steps; and delivery → the entry of the answer that came by it."""
    rows = tx.execute(
        sa.select(entry.c.n, entry.c.at, entry.c.kind, entry.c.body)
        .where(entry.c.chain == chain.of_alert(alert_id), entry.c.kind.in_(("callout.climbed", "callout.repaired", "reply")))
        .order_by(entry.c.n)
    )
    climbs: dict[int, list[Row]] = {}
    said: dict[str, int] = {}
    for row in rows:
        body: dict[str, Any] = json.loads(row.body)
        if row.kind == "reply":
            if body["settled"]:
                said[f"{body.get('delivery', '')}@{row.at}"] = row.n
        else:
            for one in body.get("callouts", [body]):  # whoever climbed alike shares an entry
                climbs.setdefault(one["callout"], []).append(row)
    return climbs, said


def _key(answer: Row) -> str:
    """How `_entries` knows an answer: by its delivery, where it has one, and its moment."""
    where = f"{answer.batch_id}.{answer.seq}" if answer.batch_id is not None else ""
    return f"{where}@{answer.recorded}"


def _mine(alert_id: int) -> sa.ColumnElement[bool]:
    return sa.and_(callout.c.alert_id == alert_id, callout.c.duty == "acknowledge")


def _of_delivery() -> sa.ColumnElement[bool]:
    return sa.and_(receipt.c.batch_id == delivery.c.batch_id, delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq))


def _left() -> sa.ColumnElement[bool]:
    """Of a receipt: the far end's own answer to a call, not that it was put off."""
    return sa.and_(receipt.c.origin == "answer", receipt.c.state != State.DEFERRED)


@dataclass(frozen=True, slots=True)
class Handed:
    """One delivery that a far end has just taken."""

    receipt: int
    batch_id: int
    seq: int
    channel: str
    peer: str
    purpose: str
    number: int  # of its address


def handed_over(tx: sa.Connection, after: int) -> list[Handed]:
    """What far ends took since the receipt `after`, in order."""
    rows = tx.execute(
        sa.select(
            receipt.c.id,
            delivery.c.batch_id,
            delivery.c.seq,
            delivery.c.channel,
            receipt.c.peer,
            delivery.c.purpose,
            delivery.c.address_id,
        )
        .join(delivery, _of_delivery())
        .where(receipt.c.id > after, _left())
        .order_by(receipt.c.id, delivery.c.seq)
    )
    return [Handed(*row) for row in rows]


def next_due(tx: sa.Connection) -> int | None:
    """When the next step of any open callout, or the next owed batch, is due; None when nothing is."""
    steps = (
        sa.select(sa.func.min(callout.c.next_step))
        .join(alert, alert.c.id == callout.c.alert_id)
        .where(callout.c.state == "open", callout.c.duty.in_(DUTIES), alert.c.state == "active")
    )
    batches = sa.select(sa.func.min(batch.c.due)).where(batch.c.state.in_(OWED))
    found = [tx.execute(statement).scalar() for statement in (steps, batches)]
    return min((one for one in found if one is not None), default=None)


def still_open(tx: sa.Connection, alert_id: int) -> dict[str, int]:
    """Of an alert's duties to acknowledge: how many are answered, closed, at the door, and still on their ladder (open)."""
    at_the_door = sa.and_(callout.c.state == "open", callout.c.step == DOOR, callout.c.next_step.is_(None))
    state = sa.case((at_the_door, DOOR), else_=callout.c.state)
    rows = tx.execute(sa.select(state, sa.func.count()).where(_mine(alert_id)).group_by(state))
    return {row[0]: row[1] for row in rows}


def queued(tx: sa.Connection, alert_id: int) -> list[Row]:
    """Calls for callouts that have not left yet: delivery, and how many of its callouts are still open."""
    waits = sa.func.sum(sa.case((callout.c.state == "open", 1), else_=0))
    return list(
        tx.execute(
            sa.select(delivery.c.batch_id, delivery.c.seq, batch.c.due, waits.label("waits"))
            .join(batch, batch.c.id == delivery.c.batch_id)
            .join(called, sa.and_(called.c.batch_id == delivery.c.batch_id, called.c.seq == delivery.c.seq))
            .join(callout, callout.c.id == called.c.callout_id)
            .where(batch.c.alert_id == alert_id, batch.c.state.in_(OWED), delivery.c.state.is_(None))
            .group_by(delivery.c.batch_id, delivery.c.seq, batch.c.due)
        )
    )
