"""Walking a chain: every entry recomputed, the rows that it covers looked at, and what it says kept for the comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from .. import chain, proof
from ..engine import Row
from ..tables import chain as heads
from ..tables import entry
from . import rows
from .findings import Finding, Look, numbers

PAGE = 500


@dataclass(frozen=True, slots=True)
class Bound:
    """What an entry says of some deliveries of a batch."""

    n: int
    kind: str
    seqs: Sequence[int]
    sha256: str
    crc32: Mapping[str, str]


@dataclass(slots=True)
class Told:
    """What the entries of an alert's chain say, as far as other tables say it too."""

    last: int = 0
    facts: dict[str, Any] = field(default_factory=dict)  # column of `alert` → what it must be
    entry_of: dict[str, tuple[int, str]] = field(default_factory=dict)  # the same → the entry that says so
    sizes: dict[int, int] = field(default_factory=dict)  # batch → deliveries
    bound: dict[int, list[Bound]] = field(default_factory=dict)  # batch
    whole: set[int] = field(default_factory=set)  # batches that are covered from the first delivery to the last
    answered: dict[int, tuple[int, str, int]] = field(default_factory=dict)  # callout → when, how, by which entry
    approved: dict[int, tuple[str, int]] = field(default_factory=dict)  # when → by whom, by which entry


def walk(look: Look, name: str) -> Told:
    """One chain from its first entry to its head."""
    told, n, previous = Told(), 0, chain.START
    for row in _entries(look.tx, name):
        look.entries += 1
        if row.n != n + 1:
            gap = f"entry {n + 1} is missing" if row.n == n + 2 else f"entries {n + 1} to {row.n - 1} are missing"
            look.found(Finding(name, gap, n + 1, table="entry", row=f"{name} {n + 1}", column="n"))
        elif row.previous != previous and not _wrong(look, row):
            look.found(_of(row, "previous", "it does not carry the hash of the entry before"))
        wrong = _wrong(look, row)
        if wrong:
            look.found(_of(row, *wrong))
        else:
            _take(look, told, row)
        n, previous = row.n, row.hash
    told.last = n
    _check_head(look, name, n, previous)
    return told


def trusted(look: Look, kind: str) -> Iterator[dict[str, Any]]:
    """What entries of the house's chain of this kind say, as far as a holder of the key wrote them."""
    its = sa.select(entry).where(entry.c.chain == chain.HOUSE, entry.c.kind == kind).order_by(entry.c.n)
    for row in look.tx.execute(its):
        if _wrong(look, row) is None:
            yield json.loads(row.body)


def _entries(tx: sa.Connection, name: str) -> Iterator[Row]:
    after = -1 << 62
    while page := tx.execute(
        sa.select(entry).where(entry.c.chain == name, entry.c.n > after).order_by(entry.c.n).limit(PAGE)
    ).all():
        yield from page
        after = page[-1].n


def _of(row: Row, column: str, what: str) -> Finding:
    return Finding(row.chain, what, row.n, row.kind, "entry", f"{row.chain} {row.n}", column)


def _wrong(look: Look, row: Row) -> tuple[str, str] | None:
    """The column of an entry that is not as it was written, and what is wrong with it."""
    right = chain.entry_hash(row.chain, row.n, row.at, row.kind, row.who, row.body, row.previous)
    own, kept = chain.marks(row._mapping[name] for name in chain.MARKED), bytes(row.marks or b"")
    unlike = [name for k, name in enumerate(chain.MARKED) if own[4 * k : 4 * k + 4] != kept[4 * k : 4 * k + 4]]
    if right != row.hash:
        if chain.mac(look.key, right) == row.mac:
            return "hash", "the hash is not that of the entry"
        return (unlike[0] if unlike else ""), "the entry is not the one that was hashed"
    if chain.mac(look.key, row.hash) != row.mac:
        return "mac", "no holder of the seal key wrote this entry"
    return ("marks", "the marks are not those of the entry") if own != kept else None


def _check_head(look: Look, name: str, n: int, last: str) -> None:
    row = look.tx.execute(sa.select(heads).where(heads.c.name == name)).first()
    if row is None:
        if n:
            look.found(Finding(name, "the chain has no head: it was taken away", table="chain", row=name, column="name"))
    elif row.n > n:
        gone = f"entry {row.n} is missing" if row.n == n + 1 else f"entries {n + 1} to {row.n} are missing"
        look.found(Finding(name, f"{gone}: the head says {row.n}", n + 1, table="entry", row=f"{name} {n + 1}", column="n"))
    elif (row.n, row.hash) != (n, last):
        column = "n" if row.n != n else "hash"
        look.found(Finding(name, f"the head is not that of entry {n}", table="chain", row=name, column=column))
    elif n and row.mac != chain.head_mac(look.key, name, n, last):
        look.found(
            Finding(
                name, "no holder of the seal key wrote this head: is the tail cut off?", table="chain", row=name, column="mac"
            )
        )


def _take(look: Look, told: Told, row: Row) -> None:
    """What an entry says. Only a holder of the key can have written one that cannot be read: it is named like any other."""
    try:
        covered = _read(told, row)
    except (AttributeError, KeyError, TypeError, ValueError):
        look.found(_of(row, "body", "what it says cannot be read: this software did not write it"))
        return
    for table, ids, sha256 in covered:
        rows.check(look, row, table, ids, sha256)


def _read(told: Told, row: Row) -> list[tuple[str, Sequence[Sequence[int]], str]]:
    """The rows that it covers: table, ids, their digest. Facts and deliveries are kept in `told`."""
    body: dict[str, Any] = json.loads(row.body)
    covered = dict(body.get("rows", {}))
    for one in covered.pop("delivery", ()):
        bound = Bound(row.n, row.kind, numbers(one["seqs"]), one["sha256"], one.get("crc32", {}))
        told.bound.setdefault(one["batch"], []).append(bound)
    if (take := _FACTS.get(row.kind)) is not None:
        take(told, row, body)
    return [
        (table, [[int(first), int(last)] for first, last in its["ids"]], its["sha256"])
        for table, its in covered.items()
        if proof.KEY[table]
    ]


# ── what entries say that other tables say too ──


def _received(told: Told, row: Row, body: Mapping[str, Any]) -> None:
    _say(told, row, {name: value for name, value in body.items() if name not in ("reason", "rows")})


def _say(told: Told, row: Row, facts: Mapping[str, Any]) -> None:
    told.facts |= facts
    told.entry_of |= dict.fromkeys(facts, (row.n, row.kind))


def _frozen(told: Told, row: Row, body: Mapping[str, Any]) -> None:
    _say(told, row, {"understood": chain.canonical(body["understood"])})


def _decided(told: Told, row: Row, body: Mapping[str, Any]) -> None:
    told.facts.pop("understood", None)  # a person decided more than this entry says
    _say(told, row, {"level": body["level"]})


def _over(told: Told, row: Row, body: Mapping[str, Any]) -> None:
    _say(told, row, {"state": row.kind.removeprefix("alert."), "closed": row.at, "superseded_by": body.get("by")})


def _approved(told: Told, row: Row, _body: Mapping[str, Any]) -> None:
    _say(told, row, {"released_by": row.who})
    told.approved[row.at] = (row.who, row.n)


def _planned(told: Told, _row: Row, body: Mapping[str, Any]) -> None:
    told.sizes[body["batch"]] = body["size"]


def _adopted(told: Told, _row: Row, body: Mapping[str, Any]) -> None:
    told.sizes |= {int(number): size for number, size in body.get("sizes", {}).items()}


def _whole(told: Told, _row: Row, body: Mapping[str, Any]) -> None:
    told.whole.add(body["batch"])


def _answered(told: Told, row: Row, body: Mapping[str, Any]) -> None:
    told.answered |= dict.fromkeys(body.get("answered", ()), (row.at, body["how"], row.n))


_FACTS = {
    "alert.received": _received,
    "alert.released": lambda told, row, _body: _say(told, row, {"state": "active"}),
    "alert.superseded": _over,
    "alert.cancelled": _over,
    "alert.closed": _over,
    "alert.approved": _approved,
    "alert.approved_alone": _approved,
    "alert.decided": _decided,
    "plan.frozen": _frozen,
    "batch.planned": _planned,
    "deliveries.covered": _whole,
    "evidence.adopted": _adopted,
    "reply": _answered,
}
