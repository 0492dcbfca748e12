"""What persons said back: kept as evidence, and held against the duties that they owe an answer to.

An acknowledgement answers every open duty of that person for that alert, and withdraws what has not been sent to them yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from ..delivery import MAY_HAVE_REACHED, State
from . import chain, proof, settling
from .engine import Row
from .tables import address, alert, asked, batch, called, callout, delivery, post, receipt, reply, roster, target

Select: TypeAlias = "sa.Select[*tuple[Any, ...]]"

MEASURES = ("measures", "done")
ANSWERS = ("acknowledged", *MEASURES)  # whoever reports measures has the warning
KEEP_EARLY = 72 * 3600 * 1000  # as for reports: a reply can come before our own commit of what it answers
NOT_ASKING = ("release", "stand_down", "stop")  # purposes of deliveries that ask nobody whether they have the alarm
NO_ALARM = "what it answers is no alarm"


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
    early: bool = False  # its reference may be known later


def take(tx: sa.Connection, told: Told, now: int, again_of: int | None = None) -> int:
    """Keeps a reply; returns how many open duties it answered. `again_of`: the row of it from when it was nobody's yet."""
    return _keep(tx, told, _whose(tx, told), now, again_of)


def _keep(tx: sa.Connection, told: Told, found: _Found, now: int, again_of: int | None) -> int:
    settled, flag = _Settled(), found.flag
    if found.alert_id is not None and found.persons and told.verb == "declined":
        _leave_to_others(tx, found)
    if found.alert_id is not None and found.persons and told.verb in ANSWERS:
        settled = _answer(tx, found, told, now)
        flag = "" if settled.count else "nothing of theirs was open"
    values = {
        "alert_id": found.alert_id,
        "batch_id": found.batch_id,
        "seq": found.seq,
        "person_id": found.persons[0] if len(found.persons) == 1 else None,
        "verb": told.verb,
        "how": told.how,
        "peer": told.peer,
        "said": told.said,
        "counts": json.dumps(dict(told.counts or {}), sort_keys=True),
        "who": told.who,
        "settled": settled.count,
        "flag": flag,
        "ref": told.ref,
        "address": told.address,
        "waits_until": now + KEEP_EARLY if found.early else None,
        "again_of": again_of,
        "at": told.at,
        "recorded": now,
    }
    name = chain.HOUSE if found.alert_id is None else chain.of_alert(found.alert_id)
    proof.add(tx, reply, [values], name)
    body = {"verb": told.verb, "how": told.how, "settled": settled.count, "flag": flag, "answered": sorted(settled.callouts)}
    if found.batch_id is not None:
        body["delivery"] = f"{found.batch_id}.{found.seq}"
    chain.append(tx, name, "reply", now, body, told.who)
    return settled.count


@dataclass(frozen=True, slots=True)
class _Settled:
    """What a reply answered: the callouts that are closed by it, and how many more were owed measures."""

    callouts: tuple[int, ...] = ()
    more: int = 0

    @property
    def count(self) -> int:
        return len(self.callouts) + self.more


def has_early(tx: sa.Connection, now: int) -> bool:
    """True when a reply that came before our own commit finds now what it answers."""
    return tx.execute(_early(now).limit(1)).first() is not None


def take_early(tx: sa.Connection, now: int, limit: int = 200) -> int:
    """Takes those replies; returns how many. What was kept of each stays as it was, beside the new row."""
    rows = tx.execute(_early(now).order_by(reply.c.id).limit(limit)).all()
    for row in rows:
        counts = json.loads(row.counts)
        told = Told(
            row.verb, row.how, row.peer, bytes(row.said or b""), row.at, None, row.ref, bytes(row.address or b""), counts=counts
        )
        take(tx, told, now, again_of=row.id)
    return len(rows)


def _early(now: int) -> Select:
    taken = reply.alias("taken")
    known = sa.select(receipt.c.id).where(
        receipt.c.peer == reply.c.peer, receipt.c.ref == reply.c.ref, receipt.c.origin == "answer", receipt.c.ref != ""
    )
    again = sa.select(taken.c.id).where(taken.c.again_of == reply.c.id)
    return sa.select(reply).where(reply.c.waits_until > now, known.exists(), ~again.exists())


def _whose(tx: sa.Connection, told: Told) -> _Found:
    if told.delivery is not None:
        return _of_delivery(tx, told)
    if told.ref:
        return _of_ref(tx, told)
    return _of_address(tx, told)


def _of_delivery(tx: sa.Connection, told: Told) -> _Found:
    assert told.delivery is not None
    batch_id, seq = told.delivery
    by_that_peer = settling.is_of_peer(sa.literal(told.peer)) if told.peer else sa.true()
    row = tx.execute(
        sa.select(delivery.c.alert_id, delivery.c.batch_id, delivery.c.seq, delivery.c.purpose, post.c.person_id)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .outerjoin(post, post.c.id == delivery.c.post_id)
        .where(delivery.c.batch_id == batch_id, delivery.c.seq == seq, by_that_peer)
    ).first()
    return _found(row) if row is not None else _Found(flag="no such delivery by that peer")


def _of_ref(tx: sa.Connection, told: Told) -> _Found:
    rows = tx.execute(
        sa.select(delivery.c.alert_id, delivery.c.batch_id, delivery.c.seq, delivery.c.purpose, post.c.person_id)
        .join(receipt, receipt.c.batch_id == delivery.c.batch_id)
        .join(address, address.c.id == delivery.c.address_id)
        .outerjoin(post, post.c.id == delivery.c.post_id)
        .where(
            receipt.c.peer == told.peer,
            receipt.c.ref == told.ref,
            receipt.c.origin == "answer",
            receipt.c.ref != "",  # as the index has it: SQLite does not see that a reference that is given is not empty
            delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq),
            *([address.c.sealed == told.address] if told.address else []),
        )
        .distinct()
        .limit(2)
    ).all()
    if not rows:
        return _Found(flag="its reference is of no delivery (yet)", early=True)
    return _found(rows[0]) if len(rows) == 1 else _Found(flag="its reference is of several deliveries")


def _found(row: Row) -> _Found:
    if row.person_id is None:
        return _Found(row.alert_id, (), row.batch_id, row.seq, "it is of no post")
    if (
        row.purpose.partition(".")[0] in NOT_ASKING
    ):  # who is asked to approve, or told that it is over, has not said that they have the alarm
        return _Found(row.alert_id, (), row.batch_id, row.seq, NO_ALARM)
    return _Found(row.alert_id, (row.person_id,), row.batch_id, row.seq)


def _of_address(tx: sa.Connection, told: Told) -> _Found:
    """By number: only where exactly one alert that reached it has something open, or the reply itself says of which it is."""
    alerts = _asking(tx, told)
    if told.alert_ending:
        alerts = {number: persons for number, persons in alerts.items() if f"{number:09d}".endswith(told.alert_ending)}
    if len(alerts) != 1:
        return _Found(flag="several alerts are open for that number" if alerts else "nothing is open for that number")
    [(alert_id, persons)] = alerts.items()
    return _Found(alert_id, persons, flag="" if persons else NO_ALARM)


def _asking(tx: sa.Connection, told: Told) -> dict[int, tuple[int, ...]]:
    """The alerts by which that number was asked something that is still open, with the persons who must acknowledge.

    Only what was handed over by the same channel: whoever replies to an earlier alert has not heard of the next one. Who was
    asked to approve is nobody who must acknowledge, but makes it uncertain what a "1" is about.
    """
    owing = _owing(tx, told.address)
    waiting = sa.select(callout.c.alert_id).where(callout.c.state == "open", callout.c.duty == "release")
    to_approve = set(tx.execute(waiting).scalars())
    reached = tx.execute(
        sa.select(delivery.c.alert_id, delivery.c.purpose)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .join(address, address.c.id == delivery.c.address_id)
        .where(
            address.c.sealed == told.address,
            delivery.c.alert_id.in_({*owing, *to_approve}),
            delivery.c.channel == told.how,
            sa.or_(delivery.c.purpose == "alarm", delivery.c.purpose.startswith("release"), *_of_callouts(delivery.c.purpose)),
            sa.func.coalesce(delivery.c.state, batch.c.state).in_([str(state) for state in MAY_HAVE_REACHED]),
        )
    ).all()
    approving: dict[int, tuple[int, ...]] = {row.alert_id: () for row in reached if row.purpose.startswith("release")}
    return approving | {
        row.alert_id: owing[row.alert_id] for row in reached if not row.purpose.startswith("release") and row.alert_id in owing
    }


def _owing(tx: sa.Connection, sealed: bytes) -> dict[int, tuple[int, ...]]:
    """For each alert the persons with that number who owe it an acknowledgement."""
    in_force = sa.select(roster.c.id).where(roster.c.in_force).scalar_subquery()
    rows = tx.execute(
        sa.select(callout.c.alert_id, post.c.person_id)
        .outerjoin(asked, sa.and_(asked.c.callout_id == callout.c.id, asked.c.rung == "deputy"))
        .join(post, sa.or_(post.c.id == callout.c.post_id, post.c.id == asked.c.post_id))
        .join(target, sa.and_(target.c.person_id == post.c.person_id, target.c.roster_id == in_force))
        .join(address, address.c.id == target.c.address_id)
        .where(callout.c.state == "open", callout.c.duty == "acknowledge", address.c.sealed == sealed)
        .distinct()
        .order_by(post.c.person_id)
    ).all()
    return {number: tuple(row.person_id for row in rows if row.alert_id == number) for number in {row.alert_id for row in rows}}


def _answer(tx: sa.Connection, found: _Found, told: Told, now: int) -> _Settled:
    assert found.alert_id is not None
    batches = _hold_still(tx, found.alert_id)
    posts = sa.select(post.c.id).where(post.c.person_id.in_(found.persons))
    mine = callout.c.post_id.in_(posts)
    open_ = (callout.c.alert_id == found.alert_id, callout.c.state == "open")
    values: dict[str, Any] = {"state": "answered", "answered": now, "answered_by": told.who, "how": told.how, "next_step": None}
    reports = told.verb in MEASURES
    owed = None if reports else _measures_within(tx, found.alert_id)
    measures_due = None if owed is None else now + owed * 1000
    settled = list(
        tx.execute(
            callout.update()
            .where(*open_, callout.c.duty == "acknowledge", sa.or_(mine, callout.c.id.in_(_asked_for(found, posts))))
            .values(**values, measures_due=measures_due)
            .returning(callout.c.id)
        ).scalars()
    )
    more = 0
    if reports:
        second = callout.update().where(*open_, callout.c.duty == "measures", mine).values(**values).returning(callout.c.id)
        settled += tx.execute(second).scalars()
        of_alert = (callout.c.alert_id == found.alert_id, callout.c.measures_due.is_not(None), mine)
        more = tx.execute(callout.update().where(*of_alert).values(measures_due=None)).rowcount
    if settled or more:
        _withdraw(tx, found, posts, batches, f"answered by {told.how}")
        _call_off(tx, settled, batches, f"answered by {told.how}")
    return _Settled(tuple(settled), int(more))


def _call_off(tx: sa.Connection, settled: Sequence[int], batches: Sequence[Row], reason: str) -> None:
    """Calls to others because of these duties, deputies and superiors, need not be made, unless another open duty wants them."""
    wanted, still = called.alias("wanted"), callout.alias("still")
    other = (
        sa.select(sa.literal(1))
        .select_from(wanted.join(still, still.c.id == wanted.c.callout_id))
        .where(wanted.c.batch_id == called.c.batch_id, wanted.c.seq == called.c.seq, still.c.state == "open")
        .correlate(called)
    )
    about = sa.select(called.c.batch_id, called.c.seq).where(called.c.callout_id.in_(settled), ~other.exists()).distinct()
    by_id = {row.id: row for row in batches}
    for batch_id, seq in tx.execute(about).all():
        row = by_id.get(batch_id)
        if row is None or (row.state == State.SENDING and row.call_from <= seq <= row.progress):
            continue  # it has left, or is leaving
        which = (delivery.c.batch_id == batch_id, delivery.c.seq == seq, delivery.c.state.is_(None))
        tx.execute(delivery.update().where(*which).values(state=State.CANCELLED, reason=reason))


def _asked_for(found: _Found, posts: Select) -> Select:
    """The callouts of others that this person was asked about and now answers for.

    A deputy who has the warning answers for the post, by whatever way. A superior has their own warning to answer: for a
    silent post they answer only by the very call that asks about it.
    """
    by_rung = sa.select(asked.c.callout_id).where(asked.c.post_id.in_(posts), asked.c.rung == "deputy")
    if found.batch_id is None:
        return by_rung
    by_call = sa.select(called.c.callout_id).where(called.c.batch_id == found.batch_id, called.c.seq == found.seq)
    return sa.select(sa.union(by_rung, by_call).subquery().c.callout_id)


def _measures_within(tx: sa.Connection, alert_id: int) -> int | None:
    """Within how many seconds the plan wants measures after an answer; None where it wants none."""
    understood = tx.execute(sa.select(alert.c.understood).where(alert.c.id == alert_id)).scalar_one()
    ladder = json.loads(understood).get("plan", {}).get("ladder") or {}
    return ladder.get("measures_within")


def enter(tx: sa.Connection, duty: Row, told: Told, now: int) -> int:
    """What a duty officer heard of one callout's person; returns how many duties it answered."""
    found = _Found(duty.alert_id, (duty.person_id,))
    return _keep(tx, told, found, now, None)


def _of_callouts(purpose: sa.ColumnElement[str]) -> tuple[sa.ColumnElement[bool], ...]:
    """Calls that were made because somebody was silent."""
    return tuple(purpose.startswith(kind) for kind in ("callout.", "escalation."))


def _leave_to_others(tx: sa.Connection, found: _Found) -> None:
    """退回: this person says that it is not theirs. They are not called again; the next rung is asked at once."""
    posts = sa.select(post.c.id).where(post.c.person_id.in_(found.persons))
    tx.execute(
        callout.update()
        .where(
            callout.c.alert_id == found.alert_id,
            callout.c.duty == "acknowledge",
            callout.c.state == "open",
            callout.c.step == "principal",
            callout.c.post_id.in_(posts),
        )
        .values(asked=0, next_step=0)
    )


def _hold_still(tx: sa.Connection, alert_id: int) -> Sequence[Row]:
    """The alert's batches that have something to send, locked: a worker must not begin a call that is withdrawn just now.

    Never bulk: deliveries have no index by post, and an alert may have half a million. In the order in which everybody locks
    them: the alert, its batches, its duties, its deliveries, its chain.
    """
    tx.execute(sa.select(alert.c.id).where(alert.c.id == alert_id).with_for_update(read=True)).all()
    asking = sa.or_(batch.c.purpose == "alarm", *_of_callouts(batch.c.purpose))
    of_alert = sa.and_(batch.c.alert_id == alert_id, batch.c.lane != "bulk", asking)
    has_some = batch.c.state.in_((State.PLANNED, State.DEFERRED, State.SENDING))
    columns = (batch.c.id, batch.c.state, batch.c.call_from, batch.c.progress)
    return tx.execute(sa.select(*columns).where(of_alert, has_some).order_by(batch.c.id).with_for_update()).all()


def _withdraw(tx: sa.Connection, found: _Found, posts: Select, batches: Sequence[Row], reason: str) -> None:
    """What this alert has not sent to them yet need not be sent any more, wherever it waits; the call under way goes on."""
    mine = sa.and_(delivery.c.state.is_(None), delivery.c.post_id.in_(posts), delivery.c.alert_id == found.alert_id)
    waiting = [row.id for row in batches if row.state != State.SENDING]
    wheres: list[sa.ColumnElement[bool]] = [delivery.c.batch_id.in_(waiting)] if waiting else []
    for row in batches:
        if row.state == State.SENDING:
            under_way = delivery.c.seq.between(row.call_from, row.progress)
            wheres.append(sa.and_(delivery.c.batch_id == row.id, ~under_way))
    for which in wheres:
        tx.execute(delivery.update().where(mine, which).values(state=State.CANCELLED, reason=reason))


@dataclass(frozen=True, slots=True)
class Duty:
    """One delivery's duty as the person who opens its link must see it."""

    alert: Row
    role: str
    region: str
    name: bytes | None  # sealed; None: erased
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
        name=tx.execute(sa.select(person.c.name).where(person.c.id == row.person_id)).scalar_one(),
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
