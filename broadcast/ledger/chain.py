"""The chain: every fact is an entry that carries the hash of the one before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .tables import chain, entry

HOUSE = "house"  # the chain of what belongs to no alert: roster, plans, operators, refusals
_START = "0" * 64


def of_alert(alert_id: int) -> str:
    """Each alert has its own chain, so that alerts do not wait for each other."""
    return f"alert:{alert_id}"


def append(tx: sa.Connection, name: str, kind: str, at: int, body: Mapping[str, Any], who: str = "") -> str:
    """Adds one entry and returns its hash. The head row is locked until the transaction ends."""
    return append_all(tx, name, kind, at, [body], who)


def append_all(tx: sa.Connection, name: str, kind: str, at: int, bodies: Sequence[Mapping[str, Any]], who: str = "") -> str:
    """Adds an entry for each body, in order, and returns the last one's hash; at least one. As many statements as for one."""
    n, previous = _head(tx, name)
    rows: list[dict[str, Any]] = []
    for number, body in enumerate(bodies, n):
        text = canonical(body)
        digest = entry_hash(name, number, at, kind, who, text, previous)
        rows.append(
            {"chain": name, "n": number, "at": at, "kind": kind, "who": who, "body": text, "previous": previous, "hash": digest}
        )
        previous = digest
    tx.execute(entry.insert(), rows)
    tx.execute(chain.update().where(chain.c.name == name).values(n=rows[-1]["n"], hash=previous))
    return previous


def _head(tx: sa.Connection, name: str) -> tuple[int, str]:
    row = tx.execute(sa.select(chain.c.n, chain.c.hash).where(chain.c.name == name).with_for_update()).first()
    if row is None:
        _insert_head(tx, name)
        row = tx.execute(sa.select(chain.c.n, chain.c.hash).where(chain.c.name == name).with_for_update()).one()
    return row.n + 1, row.hash


def _insert_head(tx: sa.Connection, name: str) -> None:
    # Two hosts may begin the same chain at once; the second waits for the first and then finds its row.
    tx.execute(
        sa.text("INSERT INTO chain (name, n, hash) VALUES (:name, 0, :start) ON CONFLICT (name) DO NOTHING"),
        {"name": name, "start": _START},
    )


def canonical(body: Mapping[str, Any]) -> str:
    """JSON with sorted keys, no blanks, no escapes: one body, one text."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def entry_hash(name: str, n: int, at: int, kind: str, who: str, body: str, previous: str) -> str:
    """SHA-256 over the entry's columns, each with its length in front so that no two splits look alike."""
    parts = (name, str(n), str(at), kind, who, body, previous)
    text = "".join(f"{len(part.encode())}:{part}," for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a chain does not hold."""

    chain: str
    n: int
    what: str


def verify(tx: sa.Connection, name: str) -> Break | None:
    """Recomputes a chain from its rows; None when it holds."""
    previous, n = _START, 0
    for row in tx.execute(sa.select(entry).where(entry.c.chain == name).order_by(entry.c.n)):
        n += 1
        if row.n != n:
            return Break(name, n, f"entry {n} is missing")
        if row.previous != previous:
            return Break(name, n, "previous")
        if row.hash != entry_hash(name, row.n, row.at, row.kind, row.who, row.body, row.previous):
            return Break(name, n, "hash")
        previous = row.hash
    head = tx.execute(sa.select(chain).where(chain.c.name == name)).first()
    if head is not None and (head.n, head.hash) != (n, previous):
        return Break(name, n + 1, "the head does not match: entries were cut off or added")
    return None
