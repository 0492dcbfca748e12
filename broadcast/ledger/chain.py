"""The chain: every fact is an entry that carries the hash of the one before it, and of the evidence written with it.

Entries are collected while a transaction runs and written at its end (engine.py), chain by chain in the order of their names:
so the heads are the last rows that anybody locks, and two transactions never wait for each other in a circle.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from .tables import chain, entry

HOUSE = "house"  # the chain of what belongs to no alert: roster, plans, operators, refusals, anchors
START = "0" * 64
MARKED = ("at", "kind", "who", "body", "previous")  # the columns of an entry that its `marks` help to tell apart
_UNIT = "unit"  # in a connection's info: what its transaction has to enter


def of_alert(alert_id: int) -> str:
    """Each alert has its own chain, so that alerts do not wait for each other."""
    return f"alert:{alert_id}"


@dataclass(frozen=True, slots=True)
class _Fact:
    kind: str
    at: int
    body: Mapping[str, Any]
    who: str


@dataclass(slots=True)
class Unit:
    """What one transaction has to enter at its end: facts by chain, and the evidence that they cover."""

    key: bytes  # of the MACs
    now: int  # for evidence that nobody speaks of
    facts: dict[str, list[_Fact]] = field(default_factory=dict)
    rows: dict[str, dict[str, dict[int, bytes]]] = field(default_factory=dict)  # chain → table → id → digest
    deliveries: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)


def begin(tx: sa.Connection, unit: Unit) -> None:
    """From now on facts of this transaction are collected."""
    tx.info[_UNIT] = unit


def end(tx: sa.Connection) -> None:
    """The transaction is over, well or not: a connection is used again."""
    tx.info.pop(_UNIT, None)


def _unit(tx: sa.Connection) -> Unit:
    unit: Unit | None = tx.info.get(_UNIT)
    if unit is None:
        raise RuntimeError("entries are made in a write transaction of the ledger only")
    return unit


def key_of(tx: sa.Connection) -> bytes:
    """The key of the MACs, as this transaction carries it."""
    return _unit(tx).key


def append(tx: sa.Connection, name: str, kind: str, at: int, body: Mapping[str, Any], who: str = "") -> None:
    """One more entry of this transaction."""
    append_all(tx, name, kind, at, [body], who)


def append_all(tx: sa.Connection, name: str, kind: str, at: int, bodies: Sequence[Mapping[str, Any]], who: str = "") -> None:
    """An entry for each body, in order."""
    if any("rows" in body for body in bodies):
        raise ValueError(f'{kind}: under "rows" an entry says which rows it covers; name it otherwise')
    _unit(tx).facts.setdefault(name, []).extend(_Fact(kind, at, body, who) for body in bodies)


def cover(tx: sa.Connection, name: str, table: str, digests: Mapping[int, bytes]) -> None:
    """These rows of evidence were written in this transaction: its last entry of that chain says so."""
    _unit(tx).rows.setdefault(name, {}).setdefault(table, {}).update(digests)


def cover_deliveries(tx: sa.Connection, name: str, covered: Mapping[str, Any]) -> None:
    """The same of deliveries, which were there before."""
    _unit(tx).deliveries.setdefault(name, []).append(covered)


def flush(tx: sa.Connection) -> None:
    """Writes the entries that were collected. The heads are locked from here until the transaction ends."""
    unit = _unit(tx)
    for name in sorted({*unit.facts, *unit.rows, *unit.deliveries}):
        covered = _covered(unit.rows.pop(name, {}), unit.deliveries.pop(name, []))
        # Nobody spoke of it: it is entered all the same, as an alarm must not fail for want of a name.
        facts = unit.facts.pop(name, None) or [_Fact("evidence.added", unit.now, {}, "")]
        if covered:
            last = facts[-1]
            facts = [*facts[:-1], _Fact(last.kind, last.at, {**last.body, "rows": covered}, last.who)]
        _write(tx, unit.key, name, facts)


def _covered(rows: Mapping[str, Mapping[int, bytes]], deliveries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What an entry's body says of the evidence that it covers."""
    covered: dict[str, Any] = {
        table: {"ids": ranges(digests), "sha256": over([digests[number] for number in sorted(digests)])}
        for table, digests in rows.items()
        if digests
    }
    return {**covered, "delivery": list(deliveries)} if deliveries else covered


def _write(tx: sa.Connection, key: bytes, name: str, facts: Sequence[_Fact]) -> None:
    n, previous = _head(tx, name)
    rows: list[dict[str, Any]] = []
    for number, fact in enumerate(facts, n):
        row: dict[str, Any] = {"chain": name, "n": number, "at": fact.at, "kind": fact.kind, "who": fact.who}
        row |= {"body": canonical(fact.body), "previous": previous}
        previous = entry_hash(name, number, fact.at, fact.kind, fact.who, row["body"], previous)
        rows.append({**row, "hash": previous, "mac": mac(key, previous), "marks": marks([row[column] for column in MARKED])})
    tx.execute(entry.insert(), rows)
    last = rows[-1]["n"]
    head = {"n": last, "hash": previous, "mac": head_mac(key, name, last, previous)}
    tx.execute(chain.update().where(chain.c.name == name).values(**head))


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
        {"name": name, "start": START},
    )


# ── the texts that are hashed: docs/ledger.md gives them byte by byte, for whoever redoes them without us ──


def canonical(body: Mapping[str, Any]) -> str:
    """JSON with sorted keys, no blanks, no escapes: one body, one text."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def netstring(text: str) -> str:
    """With its length in front, so that no two splits look alike."""
    return f"{len(text) if text.isascii() else len(text.encode())}:{text},"


def entry_hash(name: str, n: int, at: int, kind: str, who: str, body: str, previous: str) -> str:
    """SHA-256 over the entry's columns."""
    text = "".join(map(netstring, (name, str(n), str(at), kind, who, body, previous)))
    return hashlib.sha256(text.encode()).hexdigest()


def mac(key: bytes, hash_: str) -> str:
    """Who has no key makes no entry: HMAC-SHA-256 over its hash."""
    return hmac.digest(key, hash_.encode(), "sha256").hex()


def head_mac(key: bytes, name: str, n: int, hash_: str) -> str:
    """Who has no key cannot say that a chain ends earlier."""
    return mac(key, "".join(map(netstring, ("head", name, str(n), hash_))))


def over(digests: Iterable[bytes]) -> str:
    """SHA-256 over digests, one after the other."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def text_of(value: object) -> str | None:
    """One column's value as text; None for NULL."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value) if isinstance(value, int) else bytes(value).hex()  # type: ignore[call-overload]


def marks(values: Iterable[object]) -> bytes:
    """Four bytes for each column: they help to find the one that was changed, and prove nothing."""
    texts = (text_of(value) for value in values)
    return b"".join(b"\xff\xff\xff\xff" if text is None else zlib.crc32(text.encode()).to_bytes(4, "big") for text in texts)


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Runs of neighbouring numbers: 1 2 3 7 8 → [1, 3], [7, 8]."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
