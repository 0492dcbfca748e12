"""Settling: what a provider reports later finds its delivery, and the delivery's state moves forward.

Found in a snapshot, written in a short transaction of a few statements: on SQLite an alarm waits for whoever writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from ..delivery import Receipt, State, may_follow
from ..errors import LedgerUnavailable
from . import chain, proof
from .sending import Run, ranges, receipt_runs
from .tables import address, alert, batch, delivery, receipt

CLOCK_SKEW = 120_000  # milliseconds that a provider's clock may be behind ours


@dataclass(frozen=True, slots=True)
class Said:
    """One report, with its address sealed.

    Of `delivery` (batch, seq) where it names one; else of the receipt's ref, and there of one address, one region, or all.
    """

    inbox_id: int
    peer: str
    address: bytes
    receipt: Receipt
    submitted: int | None
    region: str = ""
    delivery: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """One delivery as it stands, for a report that speaks of it."""

    batch_id: int
    seq: int
    own: str | None  # its own state; None: as its batch
    state: State
    fence: int
    attempt: int
    purpose: str = "alarm"
    step: int = 0  # how many reports of the same look have moved it before


@dataclass(frozen=True, slots=True)
class Settlement:
    """A delivery, what it was, and the receipt that moves it on."""

    known: Known
    receipt: Receipt
    peer: str


class Moved(LedgerUnavailable):
    """A delivery changed between the look and the write: look again."""


def match(tx: sa.Connection, said: Sequence[Said]) -> tuple[list[Settlement], list[Said]]:
    """What these reports change, in order, and those that match nothing (yet). Old news is neither."""
    found: list[Settlement] = []
    unmatched: list[Said] = []
    by_call: dict[tuple[str, str], list[Said]] = {}
    for one in said:
        by_call.setdefault((one.peer, one.receipt.ref), []).append(one)
    moved: dict[tuple[int, int], Known] = {}  # what reports of this look have made of a delivery
    for (peer, ref), group in by_call.items():
        runs = _calls(tx, peer, ref) if ref else []
        known = _deliveries(tx, runs, [one.address for one in group if one.address])
        for one in group:
            those = (
                _named(tx, one) if one.delivery else known.get(one.address, []) if one.address else _under(tx, runs, one.region)
            )
            if not those and one.address and ref:
                # An unknown reference may be a call that was never answered to us: recognised by number and time.
                those = _in_doubt(tx, one, moved, {other.batch_id for others in known.values() for other in others})
                known.update({one.address: those} if those else {})
            if not those:
                unmatched.append(one)
            for stands in those:
                _move_on(found, moved, stands, one, peer)
    return found, unmatched


def _move_on(found: list[Settlement], moved: dict[tuple[int, int], Known], stands: Known, one: Said, peer: str) -> None:
    which = (stands.batch_id, stands.seq)
    stands = moved.get(which, stands)
    receipt_ = _of_stop(one.receipt) if stands.purpose == "stop" else one.receipt
    if receipt_ is not None and may_follow(stands.state, receipt_.state):
        found.append(Settlement(stands, receipt_, peer))
        moved[which] = replace(stands, own=str(receipt_.state), state=receipt_.state, step=stands.step + 1)


def _of_stop(got: Receipt) -> Receipt | None:
    """A stop has arrived when the alarm is off the air; that the alarm still plays says nothing of it."""
    if got.state is State.CANCELLED:
        return replace(got, state=State.DELIVERED)
    return None if got.state is State.DELIVERED else got


def is_of_peer(peer: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Of a delivery and its batch: that far end holds or held it last, answered for it, or left it in doubt.

    What is left of a batch may have gone on to another far end: the batch's own `peer` is only the last.
    """
    said = sa.select(receipt.c.id).where(
        receipt.c.batch_id == delivery.c.batch_id,
        receipt.c.peer == peer,
        delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq),
    )
    return sa.or_(batch.c.peer == peer, said.correlate_except(receipt).exists())


def _was_in_doubt_at(peer: sa.ColumnElement[str], submitted: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Of a delivery: no answer came from that far end, and what it took then it took before we had given up waiting.

    Else the report of a later alert, whose doubt has just been sent again, would settle an old one's to the same number.
    """
    unanswered = sa.select(receipt.c.id).where(
        receipt.c.batch_id == delivery.c.batch_id,
        receipt.c.peer == peer,
        receipt.c.state == State.IN_DOUBT,
        delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq),
        sa.or_(submitted.is_(None), receipt.c.recorded >= submitted - CLOCK_SKEW),
    )
    return unanswered.correlate_except(receipt).exists()


def _named(tx: sa.Connection, one: Said) -> list[Known]:
    """The delivery that a report names by our own key; a peer speaks of what it was given only."""
    assert one.delivery is not None
    row = tx.execute(
        sa.select(delivery.c.state, batch.c.state.label("of_batch"), batch.c.fence, batch.c.attempt, batch.c.purpose)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(delivery.c.batch_id == one.delivery[0], delivery.c.seq == one.delivery[1], is_of_peer(sa.literal(one.peer)))
    ).first()
    if row is None:
        return []
    return [Known(*one.delivery, row.state, State(row.state or row.of_batch), row.fence, row.attempt, row.purpose)]


def _under(tx: sa.Connection, runs: Sequence[sa.Row[int, int, int, int, int]], region: str) -> list[Known]:
    """Every delivery under a reference, or those of one region."""
    found: dict[tuple[int, int], Known] = {}
    for run in runs:
        statement = (
            sa.select(delivery.c.seq, delivery.c.state, batch.c.state.label("of_batch"), batch.c.purpose)
            .join(batch, batch.c.id == delivery.c.batch_id)
            .where(delivery.c.batch_id == run.batch_id, delivery.c.seq.between(run.first_seq, run.last_seq))
        )
        if region:
            statement = statement.where(delivery.c.region.startswith(region, autoescape=True))  # a town's word is its villages'
        for row in tx.execute(statement.order_by(delivery.c.seq)):
            state = State(row.state or row.of_batch)
            known = Known(run.batch_id, row.seq, row.state, state, run.fence, run.attempt, row.purpose)
            found.setdefault((known.batch_id, known.seq), known)
    return list(found.values())


def _calls(tx: sa.Connection, peer: str, ref: str) -> list[sa.Row[int, int, int, int, int]]:
    """The runs of deliveries that a provider's reference was the answer for."""
    columns = (receipt.c.batch_id, receipt.c.first_seq, receipt.c.last_seq, receipt.c.fence, receipt.c.attempt)
    its = (receipt.c.peer == peer, receipt.c.ref == ref, receipt.c.origin == "answer", receipt.c.ref != "")  # as the index has it
    return list(tx.execute(sa.select(*columns).where(*its)))


def _deliveries(
    tx: sa.Connection, runs: Sequence[sa.Row[int, int, int, int, int]], addresses: Sequence[bytes]
) -> dict[bytes, list[Known]]:
    found: dict[bytes, list[Known]] = {}
    for batch_id in {run.batch_id for run in runs} if addresses else ():
        rows = tx.execute(
            sa.select(delivery.c.seq, address.c.sealed, delivery.c.state, batch.c.state.label("of_batch"), batch.c.purpose)
            .join(batch, batch.c.id == delivery.c.batch_id)
            .join(address, address.c.id == delivery.c.address_id)
            .where(delivery.c.batch_id == batch_id, address.c.sealed.in_(addresses))
        )
        for row in rows:
            for run in runs:
                if run.batch_id == batch_id and run.first_seq <= row.seq <= run.last_seq:
                    state = State(row.state or row.of_batch)
                    found[bytes(row.sealed)] = [Known(batch_id, row.seq, row.state, state, run.fence, run.attempt, row.purpose)]
    return found


def _in_doubt(tx: sa.Connection, one: Said, moved: Mapping[tuple[int, int], Known], batches: set[int]) -> list[Known]:
    """The delivery in doubt that a report speaks of, if any: the newest that it fits and no other report of this look took.

    `batches`: what the same reference was found in already; it is one call, so it is in no other.
    """
    statement = doubts(
        sa.literal(one.address, sa.LargeBinary),
        sa.literal(one.peer),
        sa.literal(one.receipt.ref),
        sa.literal(one.submitted, sa.BigInteger),
    )
    for row in tx.execute(statement.order_by(batch.c.id.desc())):
        if (row.id, row.seq) not in moved and row.id in (batches or {row.id}):
            return [Known(row.id, row.seq, str(State.IN_DOUBT), State.IN_DOUBT, row.fence, row.attempt)]
    return []


def doubts(
    sealed: sa.ColumnElement[bytes], peer: sa.ColumnElement[str], ref: sa.ColumnElement[str], submitted: sa.ColumnElement[int]
) -> sa.Select[int, int, int, int]:
    """The deliveries in doubt that a report can speak of though no answer to us bore its reference: by number, peer and time.

    None while a call to that number is under way: reports can overtake our commit, and this one may be of that call.
    """
    elsewhere = (
        sa.select(receipt.c.id)
        .where(receipt.c.peer == peer, receipt.c.ref == ref, receipt.c.ref != "", receipt.c.origin == "answer")
        .where(receipt.c.batch_id != batch.c.id)
        .correlate_except(receipt)
    )
    # `started` is of the last attempt, the doubt may be of an earlier one: but not from before there was an alert.
    began = sa.case((batch.c.attempt > 1, alert.c.received), else_=batch.c.started)
    other, its = delivery.alias("other"), batch.alias("its")
    under_way = (
        sa.select(other.c.seq)
        .join(its, its.c.id == other.c.batch_id)
        .where(
            its.c.state == State.SENDING,
            its.c.peer == peer,
            *(other.c[same] == its.c[same] for same in ("alert_id", "channel", "purpose")),  # the columns of an index
            other.c.address_id == delivery.c.address_id,
            other.c.state.is_(None),
            other.c.seq.between(its.c.call_from, its.c.progress),
        )
        .correlate_except(other, its)
    )
    return (
        sa.select(batch.c.id, delivery.c.seq, batch.c.fence, batch.c.attempt)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .join(alert, alert.c.id == batch.c.alert_id)
        .join(address, address.c.id == delivery.c.address_id)
        .where(
            ref != "",
            address.c.sealed == sealed,
            delivery.c.state == State.IN_DOUBT,
            _was_in_doubt_at(peer, submitted),
            sa.or_(submitted.is_(None), began <= submitted + CLOCK_SKEW),
            ~elsewhere.exists(),
            ~under_way.exists(),
        )
    )


def settle(tx: sa.Connection, found: Sequence[Settlement], now: int) -> None:
    """Keeps the receipts and moves the states, run by run. Raises Moved (nothing is written) when a delivery has changed."""
    rows: list[dict[str, object]] = []
    for group in _alike(found):
        first = group[0]
        seqs = [one.known.seq for one in group]
        run = Run(tuple(seqs), tuple(one.receipt for one in group))
        common = {
            "batch_id": first.known.batch_id,
            "fence": first.known.fence,
            "attempt": first.known.attempt,
            # The first that we hear of a call stands for the answer that never came: the next finds it by its reference.
            "origin": "answer" if first.known.state is State.IN_DOUBT else "report",
            "peer": first.peer,
            "recorded": now,
        }
        rows += [{**common, **said} for said in receipt_runs(run)]
        _move(tx, first, seqs)
    _enter(tx, rows, now)


def _enter(tx: sa.Connection, rows: Sequence[Mapping[str, object]], now: int) -> None:
    """The receipts of each alert, and an entry that covers them."""
    of_alert = _alerts_of(tx, {row["batch_id"] for row in rows}) if rows else {}
    by_alert: dict[int, list[Mapping[str, object]]] = {}
    for row in rows:
        by_alert.setdefault(of_alert[row["batch_id"]], []).append(row)
    for alert_id, mine in by_alert.items():
        proof.add(tx, receipt, mine, chain.of_alert(alert_id))
        states = dict(Counter(str(row["state"]) for row in mine))
        chain.append(tx, chain.of_alert(alert_id), "receipts", now, {"origin": "report", "states": states})


def _alerts_of(tx: sa.Connection, batches: set[object]) -> dict[object, int]:
    return dict(tx.execute(sa.select(batch.c.id, batch.c.alert_id).where(batch.c.id.in_(batches))).all())


def _alike(found: Sequence[Settlement]) -> list[list[Settlement]]:
    """Settlements of one batch from and to the same state, by seq; a delivery's second step comes after every first one."""
    groups: dict[tuple[object, ...], list[Settlement]] = {}
    for one in found:
        was = one.known
        key = (was.step, was.batch_id, was.own, one.receipt.state, _reason(one.receipt), was.attempt, one.peer)
        groups.setdefault(key, []).append(one)
    in_order = sorted(groups.values(), key=lambda group: group[0].known.step)
    return [sorted(group, key=lambda one: one.known.seq) for group in in_order]


def _move(tx: sa.Connection, first: Settlement, seqs: Sequence[int]) -> None:
    own = delivery.c.state.is_(None) if first.known.own is None else delivery.c.state == first.known.own
    moved = 0
    for low, high in ranges(seqs):
        moved += tx.execute(
            delivery.update()
            .where(delivery.c.batch_id == first.known.batch_id, delivery.c.seq.between(low, high), own)
            .values(state=str(first.receipt.state), reason=_reason(first.receipt))
        ).rowcount
    if moved != len(seqs):
        raise Moved(f"batch {first.known.batch_id}: a delivery changed meanwhile")


def _reason(got: Receipt) -> str | None:
    return None if got.state is State.DELIVERED else (got.code or got.detail)[:200]
