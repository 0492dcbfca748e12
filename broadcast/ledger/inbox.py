"""The inbox: what a provider sends us is kept before it is answered, and understood after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from ..delivery import Receipt, State
from . import settling
from .seal import Seal
from .settling import Said, Settlement, match
from .tables import address, delivery, inbox, receipt, report

KEEP_UNMATCHED = 72 * 3600 * 1000  # a report can come before our own commit, and long after


@dataclass(frozen=True, slots=True)
class Kept:
    """One callback as kept."""

    id: int
    peer: str
    path: str
    headers: Mapping[str, str]
    body: bytes


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


def keep_unmatched(tx: sa.Connection, said: Sequence[Said], now: int) -> None:
    """Keeps reports that match nothing for 72 h."""
    rows = [
        {
            "inbox_id": one.inbox_id,
            "peer": one.peer,
            "ref": one.receipt.ref,
            "address": one.address,
            "region": one.region,
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


def unmatched_that_match_now(tx: sa.Connection, limit: int = 500) -> tuple[list[Settlement], list[int]]:
    """Reports that came before our own commit, or whose batch is in doubt only now: what they settle, and their ids."""
    # All of the match stands in the query: reports that match nothing must not take the places of those that do.
    known = (
        sa.select(receipt.c.id)
        .join(delivery, delivery.c.batch_id == receipt.c.batch_id)
        .join(address, address.c.id == delivery.c.address_id)
        .where(
            receipt.c.peer == report.c.peer,
            receipt.c.ref == report.c.ref,
            receipt.c.origin == "answer",
            receipt.c.ref != "",
            delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq),
            sa.or_(address.c.sealed == report.c.address, report.c.address == b""),
            sa.func.substr(delivery.c.region, 1, sa.func.length(report.c.region)) == report.c.region,  # "": any
        )
        .correlate(report)
    )
    from_doubt = settling.doubts(report.c.address, report.c.peer, report.c.ref, report.c.submitted).correlate(report)
    rows = tx.execute(
        sa.select(report).where(sa.or_(known.exists(), from_doubt.exists())).order_by(report.c.id).limit(limit)
    ).all()
    said = {
        row.id: Said(
            row.inbox_id,
            row.peer,
            bytes(row.address),
            Receipt(State(row.state), row.code, row.detail, row.ref, _when(row.at)),
            row.submitted,
            row.region,
        )
        for row in rows
    }
    found, left = match(tx, list(said.values()))
    return found, [number for number, one in said.items() if one not in left]


def matched(tx: sa.Connection, ids: Sequence[int]) -> None:
    """These reports have been applied."""
    tx.execute(report.delete().where(report.c.id.in_(ids)))


def forget_unmatched(tx: sa.Connection, now: int) -> int:
    """Drops reports that matched nothing for 72 h (their callback stays in the inbox)."""
    return tx.execute(report.delete().where(report.c.keep_until < now)).rowcount


def _when(millis: int | None) -> datetime | None:
    return None if millis is None else datetime.fromtimestamp(millis / 1000, UTC)


def has_unmatched(tx: sa.Connection) -> bool:
    """True when reports wait for what they speak of."""
    return tx.execute(sa.select(report.c.id).limit(1)).first() is not None
