"""Doubts about which the far end itself can be asked: which are open, and what its answer makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ..delivery import Receipt, State
from . import chain, sending
from .alerts import AlertState
from .engine import Row
from .limits import Numbered, as_numbered
from .sending import Held, Piece, Run, ranges
from .tables import address, alert, batch, call_number, delivery, receipt, wording

ASK_EVERY = 10_000  # milliseconds
ASK_STILL_EVERY = 600_000  # about what was left in doubt: the far end may have come back to its senses


@dataclass(frozen=True, slots=True)
class Doubt:
    """One call whose outcome is not known."""

    held: Held
    number: Numbered | None


def doubts(tx: sa.Connection, peer: str, now: int) -> list[Doubt]:
    """The calls to this far end that are in doubt and were not asked about lately; seldom, what was left in doubt in the end."""
    in_doubt = sa.select(delivery.c.batch_id).where(
        delivery.c.state == State.IN_DOUBT, _doubted_at() == peer
    )  # few: they have an index
    undecided = sa.and_(batch.c.doubt_due.is_not(None), sa.or_(batch.c.asked.is_(None), batch.c.asked <= now - ASK_EVERY))
    left = sa.and_(alert.c.state == AlertState.ACTIVE, batch.c.asked <= now - ASK_STILL_EVERY)
    rows = tx.execute(
        sa.select(batch, wording.c.text)
        .join(wording, wording.c.id == batch.c.wording_id)
        .join(alert, alert.c.id == batch.c.alert_id)
        .where(
            batch.c.id.in_(in_doubt),
            batch.c.state != State.SENDING,
            sa.or_(undecided, left),
        )
        .order_by(batch.c.id)
        .limit(20)
    ).all()
    return [doubt for row in rows for doubt in _of_batch(tx, row, peer)]


def _doubted_at() -> sa.ColumnElement[str]:
    """The far end that was called last about a delivery in doubt: the rest of its batch may have gone on to another."""
    return (
        sa.select(receipt.c.peer)
        .where(
            receipt.c.batch_id == delivery.c.batch_id,
            receipt.c.state == State.IN_DOUBT,
            delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq),
        )
        .order_by(receipt.c.id.desc())
        .limit(1)
        .correlate(delivery)
        .scalar_subquery()
    )


def _of_batch(tx: sa.Connection, row: Row, peer: str) -> list[Doubt]:
    found = tx.execute(
        sa.select(*sending.PIECE)
        .join(address, address.c.id == delivery.c.address_id)
        .where(delivery.c.batch_id == row.id, delivery.c.state == State.IN_DOUBT, _doubted_at() == peer)
        .order_by(delivery.c.seq)
    ).all()
    pieces = [sending.as_piece(one) for one in found]
    numbers = tx.execute(sa.select(call_number).where(call_number.c.batch_id == row.id, call_number.c.peer == peer)).all()
    if not numbers:
        return [Doubt(_held(row, pieces, peer), None)] if pieces else []
    by_number: dict[Row, list[Piece]] = {}
    for piece in pieces:
        its = [number for number in numbers if number.first_seq <= piece.seq <= number.last_seq]
        if its:  # of two calls about it the shorter: what a longer one reaches over was not in it
            by_number.setdefault(min(its, key=lambda number: number.last_seq - number.first_seq), []).append(piece)
    return [Doubt(_held(row, mine, peer), as_numbered(number.day, number.n, number.at)) for number, mine in by_number.items()]


def _held(row: Row, pieces: Sequence[Piece], peer: str) -> Held:
    return Held(
        row.id,
        row.alert_id,
        row.channel,
        row.lane,
        row.purpose,
        row.text,
        peer,
        row.fence,
        row.attempt,
        row.size,
        tuple(pieces),
    )


def asked(tx: sa.Connection, doubt: Doubt, receipts: Sequence[Receipt], now: int) -> None:
    """What the far end said: not known there = it did not leave, and is due again; anything else is kept and settles."""
    held = doubt.held
    over = sending.state_of(tx, held.alert_id) not in sending.may_send(held.purpose)  # before the batch, as everybody locks them
    tx.execute(batch.update().where(batch.c.id == held.batch_id).values(asked=now))
    pairs = list(zip((piece.seq for piece in held.pieces), receipts, strict=True))
    unknown = [seq for seq, got in pairs if got.state is State.DEFERRED]
    its = (receipt.c.batch_id == held.batch_id, receipt.c.peer == held.peer, receipt.c.origin == "answer")
    known = set(tx.execute(sa.select(receipt.c.ref).where(*its)).scalars())
    # Still open, under a reference that is known: nothing new.
    old = [(seq, got) for seq, got in pairs if got.state is State.IN_DOUBT and got.ref in known]
    told = [pair for pair in pairs if pair[1].state is not State.DEFERRED and pair not in old]
    if told:
        _keep(tx, held, Run(tuple(seq for seq, _ in told), tuple(got for _, got in told)), now)
    if unknown:
        _send_again(tx, held, unknown, over, now)
    left = sa.select(delivery.c.seq).where(delivery.c.batch_id == held.batch_id, delivery.c.state == State.IN_DOUBT).limit(1)
    if tx.execute(left).first() is None:
        tx.execute(batch.update().where(batch.c.id == held.batch_id).values(doubt_due=None))


def put_off(tx: sa.Connection, doubt: Doubt, now: int) -> None:
    """The far end gave no answer: it is asked again later."""
    tx.execute(batch.update().where(batch.c.id == doubt.held.batch_id).values(asked=now))


def _keep(tx: sa.Connection, held: Held, run: Run, now: int) -> None:
    # "answer": it stands for the answer that never came, and reports find the delivery by its reference.
    which = {"origin": "answer", "peer": held.peer}
    sending.write_receipts(tx, held.alert_id, held.batch_id, run, **which, fence=held.fence, attempt=held.attempt, now=now)
    by_state: dict[State, list[int]] = {}
    for seq, got in zip(run.seqs, run.receipts, strict=True):
        if got.state is not State.IN_DOUBT:
            by_state.setdefault(got.state, []).append(seq)
    for state, seqs in by_state.items():
        _set(tx, held.batch_id, seqs, str(state))


def _send_again(tx: sa.Connection, held: Held, seqs: Sequence[int], over: bool, now: int) -> None:
    # Only while nothing happened to the batch since: it may have been sent again meanwhile, and the answer is of before that.
    # The fence goes up with it: a worker that looked at the batch before must not claim it for less than it is now.
    state = tx.execute(
        batch.update()
        .where(batch.c.id == held.batch_id, batch.c.fence == held.fence, batch.c.state != State.SENDING)
        .values(fence=batch.c.fence + 1)
        .returning(batch.c.state)
    ).scalar()
    if state is None:
        return
    if over:
        _set(tx, held.batch_id, seqs, State.CANCELLED)  # certainly nobody heard it: nobody need be told that it is over
        return
    if state not in (State.PLANNED, State.DEFERRED):  # whoever only inherited the batch's state keeps it, now as their own
        inherited = (delivery.c.batch_id == held.batch_id, delivery.c.state.is_(None))
        tx.execute(delivery.update().where(*inherited).values(state=state))
    if needless := _of_answered(tx, held, seqs):
        _set(tx, held.batch_id, needless, State.CANCELLED)
        seqs = [seq for seq in seqs if seq not in needless]
    _set(tx, held.batch_id, seqs, None)
    values = {"state": State.DEFERRED, "due": now, "rung": None, "reason": "asked: the far end does not know it", "ended": None}
    tx.execute(batch.update().where(batch.c.id == held.batch_id).values(**values))
    body = {"batch": held.batch_id, "deliveries": len(seqs), "decision": "asked, not known there: sent again"}
    chain.append(tx, chain.of_alert(held.alert_id), "doubt.decided", now, body)


def _of_answered(tx: sa.Connection, held: Held, seqs: Sequence[int]) -> list[int]:
    """Those of them that an answer by another way has made needless meanwhile."""
    needless = sending.needless(held.purpose, held.alert_id)
    its = (delivery.c.batch_id == held.batch_id, delivery.c.seq.in_(seqs), needless)
    return list(tx.execute(sa.select(delivery.c.seq).where(*its).order_by(delivery.c.seq)).scalars())


def _set(tx: sa.Connection, batch_id: int, seqs: Sequence[int], state: str | None) -> None:
    for first, last in ranges(seqs):
        tx.execute(
            delivery.update()
            .where(
                delivery.c.batch_id == batch_id,
                delivery.c.seq.between(first, last),
                delivery.c.state == State.IN_DOUBT,
            )
            .values(state=state, reason=None)
        )
