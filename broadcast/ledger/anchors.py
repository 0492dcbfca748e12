"""Anchors: the heads of the chains written down, to be kept outside this host. They show what was changed before them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..errors import LedgerUnavailable, Refused
from . import chain
from .engine import Row
from .tables import anchor
from .tables import chain as heads

Heads = dict[str, tuple[int, str]]  # chain → number and hash of its last entry
FIELDS = {"all": str, "at": int, "heads": dict, "ledger": str, "mac": str, "number": int, "previous": str, "why": str}


class InvalidAnchor(Refused, ValueError):
    """A file that is not an anchor, or not one of this ledger."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """One of them, read."""

    number: int
    at: int
    ledger: str
    why: str
    heads: Mapping[str, tuple[int, str]]  # of the chains that had grown
    all: str  # digest over every head
    previous: str
    mac: str
    sha256: str  # the anchor's hash

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"anchor-{self.ledger}-{self.number:06d}.json"


def make(tx: sa.Connection, ledger: str, key: bytes, why: str, now: int) -> Anchor:
    """Writes down the heads as they are, and enters it. Raises LedgerUnavailable when another one is just being made."""
    before: Heads = {}
    last: Anchor | None = None
    for last in every(tx):
        before |= last.heads
    current: Heads = {row.name: (row.n, row.hash) for row in tx.execute(sa.select(heads)) if row.n}
    document = {
        "all": over_all(current),
        "at": now,
        "heads": {name: list(head) for name, head in current.items() if before.get(name) != head},
        "ledger": ledger,
        "number": last.number + 1 if last else 1,
        "previous": last.sha256 if last else chain.START,
        "why": why,
    }
    digest = _digest(document)
    text = chain.canonical({**document, "mac": chain.mac(key, digest)})
    values = {"id": document["number"], "at": now, "body": text, "left_by": "[]"}
    added = tx.execute(
        sa.text("INSERT INTO anchor (id, at, body, left_by) VALUES (:id, :at, :body, :left_by) ON CONFLICT (id) DO NOTHING"),
        values,
        execution_options={"preserve_rowcount": True},
    ).rowcount
    if not added:
        raise LedgerUnavailable("another anchor is being made at this moment: try again")
    chain.append(tx, chain.HOUSE, "anchor.made", now, {"number": document["number"], "sha256": digest, "why": why})
    return read(text)


def over_all(found: Mapping[str, tuple[int, str]]) -> str:
    """One digest over the heads of all chains, by name."""
    text = "".join(chain.netstring(part) for name in sorted(found) for part in (name, str(found[name][0]), found[name][1]))
    return hashlib.sha256(text.encode()).hexdigest()


def read(text: str) -> Anchor:
    """Raises InvalidAnchor with what is wrong."""
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        raise InvalidAnchor("this is not an anchor: it is not JSON") from None
    if not isinstance(found, dict) or set(found) != set(FIELDS):
        raise InvalidAnchor(f"this is not an anchor: it must have {', '.join(FIELDS)} and nothing else")
    for name, kind in FIELDS.items():
        if type(found[name]) is not kind:
            raise InvalidAnchor(f"this is not an anchor: {name} is {found[name]!r}")
    for name, head in found["heads"].items():
        if not (isinstance(head, list) and [type(each) for each in head] == [int, str]):
            raise InvalidAnchor(f"this is not an anchor: the head of {name} is {head!r}")
    digest = _digest({name: value for name, value in found.items() if name != "mac"})
    return Anchor(**{**found, "heads": {name: (n, hash_) for name, (n, hash_) in found["heads"].items()}}, sha256=digest)


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(chain.canonical(document).encode()).hexdigest()


def every(tx: sa.Connection) -> Iterator[Anchor]:
    """All that were made here, the oldest first. Raises InvalidAnchor for a row that is none any more."""
    for row in tx.execute(sa.select(anchor.c.body).order_by(anchor.c.id)):
        yield read(row.body)


def newest(tx: sa.Connection) -> Row | None:
    """The row of the last one."""
    return tx.execute(sa.select(anchor).order_by(anchor.c.id.desc()).limit(1)).first()


def not_left(tx: sa.Connection, limit: int = 100) -> list[Row]:
    """Those that still have to leave this host, the oldest first."""
    return list(tx.execute(sa.select(anchor).where(anchor.c.left_at.is_(None)).order_by(anchor.c.id).limit(limit)))


def left(tx: sa.Connection, number: int, by: Iterable[str], now: int | None) -> None:
    """By which ways it has left so far; `now`: since it has by all of them."""
    values = {"left_by": json.dumps(sorted(by)), "left_at": now}
    tx.execute(anchor.update().where(anchor.c.id == number).values(**values))
