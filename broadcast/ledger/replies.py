"""What persons said back: kept as evidence, and held against the duties that they owe an answer to.

An acknowledgement answers every open duty of that person for that alert, and withdraws what has not been sent to them yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from ..delivery import State
from . import chain
from .engine import Row
from .tables import address, alert, batch, callout, delivery, post, receipt, reply, roster, target

ANSWERS = ("acknowledged", "measures", "done")  # whoever reports measures has the warning


@dataclass(frozen=True, slots=True)
class Told:
    """One reply, sealed. `delivery`: (batch, seq) where it names one; else by the provider's `ref`, else by `address`."""

    verb: str
    how: str  # the channel, "link" or "entry"
    peer: str
    said: bytes
    at: int | None
    delivery: tuple[int, int] | None = None
    ref: str = ""
    address: bytes = b""
    alert_ending: str = ""
    counts: Mapping[str, int] | None = None
    who: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """Whom a reply is of: the alert, the persons, the delivery where it is known. `flag`: why nobody."""

    alert_id: int | None = None
    persons: tuple[int, ...] = ()
    batch_id: int | None = None
    seq: int | None = None
    flag: str = ""


def take(tx: sa.Connection, told: Told, now: int) -> int:
    """Keeps a reply; returns how many open duties it answered."""
    found = _whose(tx, told)
    settled, flag = 0, found.flag
    if found.alert_id is not None and found.persons and told.verb in ANSWERS:
        settled = _answer(tx, found, told, now)
        flag = "" if settled else "nothing of theirs was open"
    tx.execute(
        reply.insert().values(
            alert_id=found.alert_id,
            batch_id=found.batch_id,
            seq=found.seq,
            person_id=found.persons[0] if len(found.persons) == 1 else None,
            verb=told.verb,
            how=told.how,
            peer=told.peer,
            said=told.said,
            counts=json.dumps(dict(told.counts or {}), sort_keys=True),
            who=told.who,
            settled=settled,
            flag=flag,
            at=told.at,
            recorded=now,
        )
    )
    if found.alert_id is not None:
        body = {"verb": told.verb, "how": told.how, "settled": settled, "flag": flag}
        if found.batch_id is not None:
            body["delivery"] = f"{found.batch_id}.{found.seq}"
        chain.append(tx, chain.of_alert(found.alert_id), "reply", now, body, told.who)
    return settled


def _whose(tx: sa.Connection, told: Told) -> _Found:
    if told.delivery is not None:
        return _of_delivery(tx, told)
    if told.ref:
        return _of_ref(tx, told)
    return _of_address(tx, told)


def _of_delivery(tx: sa.Connection, told: Told) -> _Found:
    assert told.delivery is not None
    batch_id, seq = told.delivery
    row = tx.execute(
        sa.select(delivery.c.alert_id, post.c.person_id, batch.c.peer)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .outerjoin(post, post.c.id == delivery.c.post_id)
        .where(delivery.c.batch_id == batch_id, delivery.c.seq == seq)
    ).first()
    if row is None or (told.peer and row.peer != told.peer):
        return _Found(flag="no such delivery by that peer")
    return _found(row.alert_id, row.person_id, batch_id, seq)


def _of_ref(tx: sa.Connection, told: Told) -> _Found:
    rows = tx.execute(
        sa.select(delivery.c.alert_id, delivery.c.batch_id, delivery.c.seq, post.c.person_id)
        .join(receipt, receipt.c.batch_id == delivery.c.batch_id)
        .join(address, address.c.id == delivery.c.address_id)
        .outerjoin(post, post.c.id == delivery.c.post_id)
        .where(
            receipt.c.peer == told.peer,
            receipt.c.ref == told.ref,
            receipt.c.origin == "answer",
            delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq),
            *([address.c.sealed == told.address] if told.address else []),
        )
        .distinct()
        .limit(2)
    ).all()
    if len(rows) != 1:
        return _Found(flag="its reference is of several deliveries" if rows else "its reference is of no delivery")
    return _found(rows[0].alert_id, rows[0].person_id, rows[0].batch_id, rows[0].seq)


def _found(alert_id: int, person_id: int | None, batch_id: int, seq: int) -> _Found:
    if person_id is None:
        return _Found(alert_id, (), batch_id, seq, "it is of no post")
    return _Found(alert_id, (person_id,), batch_id, seq)


def _of_address(tx: sa.Connection, told: Told) -> _Found:
    """By number: only where exactly one alert has something open for it, or the reply itself says of which one it is."""
    in_force = sa.select(roster.c.id).where(roster.c.in_force).scalar_subquery()
    rows = tx.execute(
        sa.select(callout.c.alert_id, post.c.person_id)
        .join(post, post.c.id == callout.c.post_id)
        .join(target, sa.and_(target.c.person_id == post.c.person_id, target.c.roster_id == in_force))
        .join(address, address.c.id == target.c.address_id)
        .where(callout.c.state == "open", callout.c.duty == "acknowledge", address.c.sealed == told.address)
        .distinct()
    ).all()
    alerts = {row.alert_id for row in rows}
    if told.alert_ending:
        alerts = {number for number in alerts if f"{number:09d}".endswith(told.alert_ending)}
    if len(alerts) != 1:
        return _Found(flag="several alerts are open for that number" if alerts else "nothing is open for that number")
    alert_id = alerts.pop()
    return _Found(alert_id, tuple(sorted({row.person_id for row in rows if row.alert_id == alert_id})))


def _answer(tx: sa.Connection, found: _Found, told: Told, now: int) -> int:
    posts = sa.select(post.c.id).where(post.c.person_id.in_(found.persons))
    answered = tx.execute(
        callout.update()
        .where(
            callout.c.alert_id == found.alert_id,
            callout.c.duty == "acknowledge",
            callout.c.state == "open",
            callout.c.post_id.in_(posts),
        )
        .values(state="answered", answered=now, answered_by=told.who, how=told.how, next_step=None)
    ).rowcount
    if answered:
        _withdraw(tx, found, posts, f"answered by {told.how}")
    return int(answered)


def _withdraw(tx: sa.Connection, found: _Found, posts: sa.Select[int], reason: str) -> None:
    """What this alert has not sent to them yet need not be sent any more, wherever it waits."""
    mine = sa.and_(
        delivery.c.state.is_(None),
        delivery.c.purpose == "alarm",
        delivery.c.post_id.in_(posts),
        delivery.c.alert_id == found.alert_id,
    )
    # By batch, and never bulk: deliveries have no index by post, and an alert may have half a million.
    of_alert = sa.and_(batch.c.alert_id == found.alert_id, batch.c.lane != "bulk", batch.c.purpose == "alarm")
    waiting = sa.select(batch.c.id).where(of_alert, batch.c.state.in_((State.PLANNED, State.DEFERRED)))
    held = sa.select(batch.c.id).where(of_alert, batch.c.state == State.SENDING)
    not_started = delivery.c.seq > sa.select(batch.c.progress).where(batch.c.id == delivery.c.batch_id).scalar_subquery()
    for which in (delivery.c.batch_id.in_(waiting), sa.and_(delivery.c.batch_id.in_(held), not_started)):
        tx.execute(delivery.update().where(mine, which).values(state=State.CANCELLED, reason=reason))


@dataclass(frozen=True, slots=True)
class Duty:
    """One delivery's duty as the person who opens its link must see it."""

    alert: Row
    role: str
    region: str
    name: bytes  # sealed
    text: str
    open: bool
    answered: int | None


def duty_of(tx: sa.Connection, batch_id: int, seq: int) -> Duty | None:
    """What a delivery asks its person to confirm; None when it asks nobody, or its alert is over.

    Also of a person from whom no answer is owed, a deputy's for one: what they confirm is kept all the same.
    """
    from_delivery = (
        sa.select(delivery.c.alert_id, post.c.person_id, post.c.role, post.c.region, batch.c.wording_id)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .join(post, post.c.id == delivery.c.post_id)
        .where(delivery.c.batch_id == batch_id, delivery.c.seq == seq, delivery.c.purpose == "alarm")
    )
    row = tx.execute(from_delivery).first()
    if row is None:
        return None
    return _duty(tx, row)


def _duty(tx: sa.Connection, row: Row) -> Duty | None:
    of_alert = tx.execute(sa.select(alert).where(alert.c.id == row.alert_id)).one()
    person, wording = alert.metadata.tables["person"], alert.metadata.tables["wording"]
    duties = tx.execute(
        sa.select(callout.c.state, callout.c.answered)
        .join(post, post.c.id == callout.c.post_id)
        .where(callout.c.alert_id == row.alert_id, callout.c.duty == "acknowledge", post.c.person_id == row.person_id)
    ).all()
    said = sa.select(sa.func.max(reply.c.recorded)).where(
        reply.c.alert_id == row.alert_id, reply.c.person_id == row.person_id, reply.c.verb.in_(ANSWERS)
    )
    times = [one.answered for one in duties if one.answered is not None]
    answered = max(times, default=None) or tx.execute(said).scalar()
    is_open = any(one.state == "open" for one in duties) or (of_alert.state == "active" and answered is None)
    if not is_open and answered is None:
        return None
    return Duty(
        alert=of_alert,
        role=row.role,
        region=row.region,
        name=bytes(tx.execute(sa.select(person.c.name).where(person.c.id == row.person_id)).scalar_one()),
        text=str(tx.execute(sa.select(wording.c.text).where(wording.c.id == row.wording_id)).scalar_one()),
        open=is_open,
        answered=answered,
    )


def counted(tx: sa.Connection, alert_id: int) -> dict[str, int]:
    """The duties to acknowledge of an alert, by state: open, answered, closed."""
    rows = tx.execute(
        sa.select(callout.c.state, sa.func.count())
        .where(callout.c.alert_id == alert_id, callout.c.duty == "acknowledge")
        .group_by(callout.c.state)
    )
    return {row[0]: row[1] for row in rows}


def at_the_door(tx: sa.Connection, alert_id: int) -> dict[str, int]:
    """Households told at the door, those without a phone and 特殊人群 among them; of each task the newest word."""
    newest = (
        sa.select(sa.func.max(reply.c.id))
        .where(reply.c.alert_id == alert_id, reply.c.verb.in_(("measures", "done")), reply.c.counts != "{}")
        .group_by(reply.c.batch_id, reply.c.seq)
    )
    total: dict[str, int] = {}
    for (counts,) in tx.execute(sa.select(reply.c.counts).where(reply.c.id.in_(newest))):
        for name, number in json.loads(counts).items():
            total[name] = total.get(name, 0) + int(number)
    return total
