"""The batches of an alert: as many deliveries as were planned, each as its entries have it, each in the state it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ...delivery import FINAL, State, may_follow
from .. import chain, proof
from ..engine import Row
from ..tables import address, batch, delivery, receipt
from .entries import Bound, Told
from .findings import Finding, Look

SETTLED = FINAL | {State.ACCEPTED}
TOLD_BY_FAR_ENDS = (State.ACCEPTED, State.DELIVERED, State.REJECTED)
PAGE = 200


def check(look: Look, name: str, alert_id: int, told: Told) -> None:
    """Every batch of one alert."""
    seen = set()
    for row in _batches(look.tx, alert_id):
        seen.add(row.id)
        for column, seq, what, bound in _of_batch(look, row, told):
            n, kind = (bound.n, bound.kind) if bound is not None else (None, "")
            table = "batch" if seq is None else "delivery"
            which = str(row.id) if seq is None else f"{row.id}.{seq}"
            look.found(Finding(name, what, n, kind, table, which, column))
    for number in sorted({*told.sizes, *told.bound} - seen):
        look.found(Finding(name, "the batch is missing", table="batch", row=str(number), column="id"))


Wrong = tuple[str, int | str | None, str, Bound | None]  # column, delivery, what, the entry


def _of_batch(look: Look, row: Row, told: Told) -> Iterator[Wrong]:
    size = told.sizes.get(row.id)
    if size is None:
        yield "id", None, "no entry has planned this batch", None
    elif size != row.size:
        yield "size", None, f"{size} deliveries were planned", None
    statement = (
        sa.select(delivery, address.c.commitment, address.c.sealed, address.c.salt)
        .outerjoin(address, address.c.id == delivery.c.address_id)
        .where(delivery.c.batch_id == row.id)
        .order_by(delivery.c.seq)
    )
    rows = {one.seq: one._mapping for one in look.tx.execute(statement)}
    look.deliveries += len(rows)
    yield from _numbered(rows, size if size is not None else row.size)
    yield from _of_its_batch(row, rows)
    digests = dict(zip(rows, proof.row_digests("delivery", list(rows.values())), strict=True))
    for bound in told.bound.get(row.id, ()):
        yield from _as_bound(bound, rows, digests)
    if row.covered is not None and row.id not in told.whole:
        yield "covered", None, "no entry covers all of it", None
    yield from _addresses(look, rows)
    yield from _states(look.tx, row, rows)


def _numbered(rows: Mapping[int, proof.Values], size: int) -> Iterator[Wrong]:
    for seq in range(1, size + 1):
        if seq not in rows:
            yield "seq", seq, "the delivery is missing", None
    for seq in sorted(rows):
        if not 1 <= seq <= size:
            yield "seq", seq, "the delivery was added", None


def _of_its_batch(row: Row, rows: Mapping[int, proof.Values]) -> Iterator[Wrong]:
    for seq, one in rows.items():
        for column in ("alert_id", "channel", "purpose"):
            if one[column] != row._mapping[column]:
                yield column, seq, "is not that of its batch", None


def _as_bound(bound: Bound, rows: Mapping[int, proof.Values], digests: Mapping[int, bytes]) -> Iterator[Wrong]:
    gone = [seq for seq in bound.seqs if seq not in rows]
    if gone:
        yield "seq", gone[0], "the delivery is missing", bound
    elif chain.over(digests[seq] for seq in bound.seqs) != bound.sha256:
        first, last = bound.seqs[0], bound.seqs[-1]
        columns = [
            name for name, mark in bound.crc32.items() if proof.column_mark(name, [rows[seq] for seq in bound.seqs]) != mark
        ]
        yield ", ".join(columns), first if first == last else f"{first} to {last}", "was changed", bound


def _addresses(look: Look, rows: Mapping[int, proof.Values]) -> Iterator[Wrong]:
    """The number that each went to is the one that its address is committed to."""
    for seq, one in rows.items():
        erased = one["sealed"] is None and one["salt"] is None
        if erased and one["address_id"] in look.erased["address"]:
            continue
        if erased or proof.commit_to(bytes(one["salt"] or b""), bytes(one["sealed"] or b"")) != bytes(one["commitment"] or b""):
            yield "address_id", seq, "its address is not what it was committed to", None


def _states(tx: sa.Connection, row: Row, rows: Mapping[int, proof.Values]) -> Iterator[Wrong]:
    """Each delivery's state, worked out again from its receipts (docs/ledger.md says how)."""
    known: dict[int, State] = {}
    for got in tx.execute(sa.select(receipt).where(receipt.c.batch_id == row.id).order_by(receipt.c.id)):
        for seq in rows.keys() & _within(got.first_seq, got.last_seq, rows):
            known[seq] = _next(known.get(seq, State.PLANNED), got.state)
    for seq, one in rows.items():
        said, is_ = known.get(seq, State.PLANNED), one["state"] or row.state
        if said in SETTLED and is_ != said:
            yield "state", seq, f"is {is_}, and its receipts come to {said}", None
        elif said not in SETTLED and is_ in TOLD_BY_FAR_ENDS:
            yield "state", seq, f"is {is_}, and no receipt says so", None


def _within(first: int, last: int, rows: Mapping[int, Any]) -> set[int]:
    return set(range(max(first, min(rows, default=1)), min(last, max(rows, default=0)) + 1))


def _next(current: State, said: str) -> State:
    try:
        new = State(said)
    except ValueError:
        return current  # a changed receipt: its digest says so
    return new if may_follow(current, new) else current


def _batches(tx: sa.Connection, alert_id: int) -> Iterator[Row]:
    after = -1 << 62
    while page := _page(tx, alert_id, after):
        yield from page
        after = page[-1].id


def _page(tx: sa.Connection, alert_id: int, after: int) -> Sequence[Row]:
    mine = sa.select(batch).where(batch.c.alert_id == alert_id, batch.c.id > after)
    return tx.execute(mine.order_by(batch.c.id).limit(PAGE)).all()
