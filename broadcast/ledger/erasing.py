"""Erasing a person: numbers, name and what they said are taken out; the commitments stay, and the chain still verifies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ..errors import NotAllowed, NotFound
from . import chain
from .alerts import OPEN_STATES
from .tables import address, alert, batch, callout, delivery, drawn, person, post, reply, spotcheck_answer, target


@dataclass(frozen=True, slots=True)
class Erased:
    """What was taken out."""

    person: str
    addresses: int
    kept: int  # addresses that somebody else has too
    replies: int
    answers: int  # to spot checks


def erase(tx: sa.Connection, key: str, reason: str, who: str, now: int) -> Erased:
    """Takes out what is known of a person who has left. Raises NotFound, or NotAllowed with what stands against it."""
    row = tx.execute(sa.select(person.c.id, person.c.ended).where(person.c.key == key).with_for_update()).first()
    if row is None:
        raise NotFound(f"no person {key!r} in the ledger: give the person_id of the roster they stood in")
    posts = list(tx.execute(sa.select(post.c.id).where(post.c.person_id == row.id)).scalars())
    theirs = _addresses(tx, row.id, posts)
    _check(tx, key, row.ended, posts, theirs)
    shared = _of_others(tx, theirs, posts)
    gone = [number for number in theirs if number not in shared]
    said = _replies(tx, row.id, gone)
    if gone:
        tx.execute(address.update().where(address.c.id.in_(gone), address.c.salt.is_not(None)).values(sealed=None, salt=None))
    if said:
        nothing = {"said": None, "address": None, "salt": None}
        tx.execute(reply.update().where(reply.c.id.in_(said), reply.c.salt.is_not(None)).values(**nothing))
    answers = _answers(tx, row.id)
    if answers:
        its = spotcheck_answer.c.id.in_(answers), spotcheck_answer.c.salt.is_not(None)
        tx.execute(spotcheck_answer.update().where(*its).values(said=None, salt=None))
    tx.execute(person.update().where(person.c.id == row.id).values(name=None))
    body = {"person": row.id, "addresses": gone, "replies": said, "answers": answers, "kept": len(shared), "reason": reason}
    chain.append(tx, chain.HOUSE, "person.erased", now, body, who)
    return Erased(key, len(gone), len(shared), len(said), len(answers))


def _addresses(tx: sa.Connection, person_id: int, posts: Sequence[int]) -> list[int]:
    """Every number that this person has, or was told at. Those of the past stand in deliveries only."""
    now = sa.select(target.c.address_id).where(target.c.person_id == person_id)
    told = (
        sa.select(delivery.c.address_id)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(batch.c.lane != "bulk", delivery.c.post_id.in_(posts))  # bulk is told to residents, who hold no post
    )
    return sorted(set(tx.execute(now).scalars()) | set(tx.execute(told.distinct()).scalars()))


def _check(tx: sa.Connection, key: str, ended: int | None, posts: Sequence[int], theirs: Sequence[int]) -> None:
    if ended is None:
        raise NotAllowed(f"{key} stands in the roster in force: import one without them first")
    duties = sa.select(callout.c.id).where(callout.c.post_id.in_(posts), callout.c.state == "open")
    number = tx.execute(duties.limit(1)).scalar()
    if number is not None:
        raise NotAllowed(f"{key} still owes an answer (callout {number}): wait until its alert is over")
    # Of an alert in force: something may still have to be sent, stopped or asked about.
    in_force = (
        sa.select(delivery.c.alert_id)
        .join(alert, alert.c.id == delivery.c.alert_id)
        .where(alert.c.state.in_([str(state) for state in OPEN_STATES]), delivery.c.address_id.in_(theirs))
    )
    found = tx.execute(in_force.limit(1)).scalar()
    if found is not None:
        raise NotAllowed(f"{key} is told of alert {found}, which is in force: wait until it is over")


def _of_others(tx: sa.Connection, theirs: Sequence[int], posts: Sequence[int]) -> set[int]:
    """Those of these addresses that somebody else has, or was told at."""
    other = sa.or_(delivery.c.post_id.is_(None), delivery.c.post_id.not_in(posts))
    told = sa.select(delivery.c.address_id).where(delivery.c.address_id.in_(theirs), other).distinct()
    now = sa.select(target.c.address_id).where(target.c.address_id.in_(theirs))
    return set(tx.execute(told).scalars()) | set(tx.execute(now).scalars())


def _replies(tx: sa.Connection, person_id: int, gone: Sequence[int]) -> list[int]:
    """What they said, also what came from their number and was of nobody that we could tell."""
    numbers = [bytes(one) for one in tx.execute(sa.select(address.c.sealed).where(address.c.id.in_(gone))).scalars() if one]
    theirs = sa.or_(reply.c.person_id == person_id, sa.and_(reply.c.person_id.is_(None), reply.c.address.in_(numbers)))
    return list(tx.execute(sa.select(reply.c.id).where(theirs, reply.c.salt.is_not(None)).order_by(reply.c.id)).scalars())


def _answers(tx: sa.Connection, person_id: int) -> list[int]:
    """What they said when they were asked in spot checks."""
    mine = sa.select(drawn.c.id).where(drawn.c.person_id == person_id)
    theirs = (spotcheck_answer.c.drawn_id.in_(mine), spotcheck_answer.c.salt.is_not(None))
    return list(tx.execute(sa.select(spotcheck_answer.c.id).where(*theirs).order_by(spotcheck_answer.c.id)).scalars())
