"""The inbox: what a provider sends us is kept before it is answered, and understood after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from ..delivery import Receipt, State
from . import sending
from .seal import Seal
from .tables import batch, delivery, inbox, receipt, report

KEEP_UNMATCHED = 72 * 3600 * 1000  # a report can come before our own commit, and long after
CLOCK_SKEW = 120_000  # how far a provider's clock may be behind ours


@dataclass(frozen=True, slots=True)
class Kept:
    """One callback as kept."""

    id: int
    peer: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Said:
    """One report, with its address sealed."""

    inbox_id: int
    peer: str
    address: bytes
    receipt: Receipt
    submitted: int | None


def keep(tx: sa.Connection, seal: Seal, letters: Sequence[tuple[str, str, Mapping[str, str], bytes]], now: int) -> None:
    """Commits a group of callbacks: (peer, path, headers, body) each."""
    rows = [
        {
            "peer": peer,
            "received": now,
            "path": path,
            "headers": json.dumps(dict(headers)),
            "body": seal.seal_body(body),
            "state": "kept",
        }
        for peer, path, headers, body in letters
    ]
    tx.execute(inbox.insert(), rows)


def unread(tx: sa.Connection, seal: Seal, limit: int) -> list[Kept]:
    """The oldest callbacks that nobody has worked on."""
    rows = tx.execute(sa.select(inbox).where(inbox.c.state == "kept").order_by(inbox.c.id).limit(limit))
    return [Kept(r.id, r.peer, r.path, json.loads(r.headers), seal.open_body(r.body)) for r in rows]


def done(tx: sa.Connection, ids: Sequence[int], now: int) -> None:
    """These callbacks have been understood and applied."""
    tx.execute(inbox.update().where(inbox.c.id.in_(ids)).values(state="worked", worked=now))


def bad(tx: sa.Connection, inbox_id: int, reason: str, now: int) -> None:
    """This callback means nothing to us; it stays, with the reason."""
    tx.execute(inbox.update().where(inbox.c.id == inbox_id).values(state="bad", reason=reason[:500], worked=now))


def apply(tx: sa.Connection, said: Sequence[Said], now: int) -> list[Said]:
    """Settles deliveries by these reports; returns those that match nothing (yet)."""
    unmatched: list[Said] = []
    by_call: dict[tuple[str, str], list[Said]] = {}
    for one in said:
        by_call.setdefault((one.peer, one.receipt.ref), []).append(one)
    for (peer, ref), group in by_call.items():
        known = sending.by_ref(tx, peer, ref, [one.address for one in group]) if ref else {}
        for one in group:
            found = known.get(one.address) or _adopted(tx, one)
            if found is None:
                unmatched.append(one)
            elif sending.settle(tx, found, one.receipt, peer=peer, now=now):
                # Another report of this group may speak of the same delivery: it must see the new state.
                known[one.address] = sending.Known(found.batch_id, found.seq, one.receipt.state, found.fence, found.attempt)
    return unmatched


def _adopted(tx: sa.Connection, one: Said) -> sending.Known | None:
    """A call that was never answered is recognised by its reports: an unknown reference, a number in doubt, a time that fits."""
    if not one.receipt.ref or _is_known(tx, one.peer, one.receipt.ref):
        return None
    return sending.in_doubt(tx, one.peer, one.address, one.submitted, CLOCK_SKEW)


def _is_known(tx: sa.Connection, peer: str, ref: str) -> bool:
    statement = sa.select(receipt.c.id).where(receipt.c.peer == peer, receipt.c.ref == ref, receipt.c.origin == "answer").limit(1)
    return tx.execute(statement).first() is not None


def keep_unmatched(tx: sa.Connection, said: Sequence[Said], now: int) -> None:
    """Keeps reports that match nothing for 72 h."""
    rows = [
        {
            "inbox_id": one.inbox_id,
            "peer": one.peer,
            "ref": one.receipt.ref,
            "address": one.address,
            "state": str(one.receipt.state),
            "code": one.receipt.code,
            "detail": one.receipt.detail,
            "submitted": one.submitted,
            "keep_until": now + KEEP_UNMATCHED,
            "at": int(one.receipt.at.timestamp() * 1000) if one.receipt.at else None,
        }
        for one in said
    ]
    if rows:
        tx.execute(report.insert(), rows)


def try_unmatched_again(tx: sa.Connection, now: int, limit: int = 500) -> int:
    """Reports that came before our own commit, or for a batch that is in doubt only now; returns how many were settled."""
    known = sa.select(receipt.c.id).where(
        receipt.c.peer == report.c.peer,
        receipt.c.ref == report.c.ref,
        receipt.c.origin == "answer",
        receipt.c.ref != "",
    )
    from_doubt = sa.select(sa.literal(1)).where(
        delivery.c.address == report.c.address,
        delivery.c.state == State.IN_DOUBT,
        batch.c.id == delivery.c.batch_id,
        batch.c.peer == report.c.peer,
    )
    rows = tx.execute(
        sa.select(report).where(sa.or_(known.exists(), from_doubt.exists())).order_by(report.c.id).limit(limit)
    ).all()
    said = [
        Said(
            r.inbox_id,
            r.peer,
            bytes(r.address),
            Receipt(State(r.state), r.code, r.detail, r.ref, _when(r.at)),
            r.submitted,
        )
        for r in rows
    ]
    left = apply(tx, said, now)
    settled = [r.id for r, one in zip(rows, said, strict=True) if one not in left]
    if settled:
        tx.execute(report.delete().where(report.c.id.in_(settled)))
    return len(settled)


def forget_unmatched(tx: sa.Connection, now: int) -> int:
    """Drops reports that matched nothing for 72 h (their callback stays in the inbox)."""
    return tx.execute(report.delete().where(report.c.keep_until < now)).rowcount


def _when(millis: int | None) -> datetime | None:
    return None if millis is None else datetime.fromtimestamp(millis / 1000, UTC)


def has_unmatched(tx: sa.Connection) -> bool:
    """True when reports wait for what they speak of."""
    return tx.execute(sa.select(report.c.id).limit(1)).first() is not None
