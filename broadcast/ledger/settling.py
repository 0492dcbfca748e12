"""Settling: what a provider reports later finds its delivery, and the delivery's state moves forward.

Found in a snapshot, written in a short transaction of a few statements: on SQLite an alarm waits for whoever writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from ..delivery import Receipt, State, may_follow
from ..errors import LedgerUnavailable
from .sending import Run, ranges, receipt_runs
from .tables import address, batch, delivery, receipt

CLOCK_SKEW = 120_000  # milliseconds that a provider's clock may be behind ours


@dataclass(frozen=True, slots=True)
class Said:
    """One report, with its address sealed."""

    inbox_id: int
    peer: str
    address: bytes
    receipt: Receipt
    submitted: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """One delivery as it stands, for a report that speaks of it."""

    batch_id: int
    seq: int
    own: str | None  # its own state; None: as its batch
    state: State
    fence: int
    attempt: int


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
    for (peer, ref), group in by_call.items():
        runs = _calls(tx, peer, ref) if ref else []
        known = _deliveries(tx, runs, [one.address for one in group])
        for one in group:
            # An unknown reference may be a call that was never answered to us: recognised by number and time.
            now = known.get(one.address) or (None if runs or not ref else _in_doubt(tx, one))
            if now is None:
                unmatched.append(one)
            elif may_follow(now.state, one.receipt.state):
                found.append(Settlement(now, one.receipt, peer))
                known[one.address] = replace(now, own=str(one.receipt.state), state=one.receipt.state)
    return found, unmatched


def _calls(tx: sa.Connection, peer: str, ref: str) -> list[sa.Row[int, int, int, int, int]]:
    """The runs of deliveries that a provider's reference was the answer for."""
    columns = (receipt.c.batch_id, receipt.c.first_seq, receipt.c.last_seq, receipt.c.fence, receipt.c.attempt)
    rows = tx.execute(sa.select(*columns).where(receipt.c.peer == peer, receipt.c.ref == ref, receipt.c.origin == "answer"))
    return list(rows)


def _deliveries(
    tx: sa.Connection, runs: Sequence[sa.Row[int, int, int, int, int]], addresses: Sequence[bytes]
) -> dict[bytes, Known]:
    found: dict[bytes, Known] = {}
    for run in runs:
        rows = tx.execute(
            sa.select(delivery.c.seq, address.c.sealed, delivery.c.state, batch.c.state.label("of_batch"))
            .join(batch, batch.c.id == delivery.c.batch_id)
            .join(address, address.c.id == delivery.c.address_id)
            .where(
                delivery.c.batch_id == run.batch_id,
                delivery.c.seq.between(run.first_seq, run.last_seq),
                address.c.sealed.in_(addresses),
            )
        )
        for row in rows:
            state = State(row.state or row.of_batch)
            found[bytes(row.sealed)] = Known(run.batch_id, row.seq, row.state, state, run.fence, run.attempt)
    return found


def _in_doubt(tx: sa.Connection, one: Said) -> Known | None:
    """The oldest delivery to this address that is in doubt at this peer and can be what was submitted then."""
    statement = (
        sa.select(batch.c.id, delivery.c.seq, batch.c.fence, batch.c.attempt)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .join(address, address.c.id == delivery.c.address_id)
        .where(address.c.sealed == one.address, delivery.c.state == State.IN_DOUBT, batch.c.peer == one.peer)
        .order_by(batch.c.id)
        .limit(1)
    )
    if one.submitted is not None:
        statement = statement.where(batch.c.started <= one.submitted + CLOCK_SKEW)
    row = tx.execute(statement).first()
    return None if row is None else Known(row.id, row.seq, str(State.IN_DOUBT), State.IN_DOUBT, row.fence, row.attempt)


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
            "origin": "report",
            "peer": first.peer,
            "recorded": now,
        }
        rows += [{**common, **said} for said in receipt_runs(run)]
        _move(tx, first, seqs)
    if rows:
        tx.execute(receipt.insert(), rows)


def _alike(found: Sequence[Settlement]) -> list[list[Settlement]]:
    """Settlements of one batch from and to the same state, by seq. A second report of a delivery starts a later group."""
    groups: dict[tuple[object, ...], list[Settlement]] = {}
    for one in found:
        key = (one.known.batch_id, one.known.own, one.receipt.state, _reason(one.receipt), one.known.attempt, one.peer)
        groups.setdefault(key, []).append(one)
    return [sorted(group, key=lambda one: one.known.seq) for group in groups.values()]


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
