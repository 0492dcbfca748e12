"""Verify: everything that can be recomputed is recomputed from the rows, and the first place that does not hold is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from .. import chain, proof
from ..anchors import Anchor
from ..seal import Seal
from ..tables import alert, entry
from ..tables import chain as chains
from . import batches, entries, facts, heads, rows
from .findings import Finding, Look, Spans

__all__ = ["Finding", "Place", "Verdict", "verify"]


@dataclass(frozen=True, slots=True)
class Place:
    """The first place in a chain (or a table) that does not hold."""

    first: Finding
    more: int  # how many more there are in it


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verify came to, and how much it looked at."""

    places: tuple[Place, ...]
    chains: int
    entries: int
    rows: int
    deliveries: int

    @property
    def holds(self) -> bool:
        """True when every place does."""
        return not self.places


def verify(
    tx: sa.Connection,
    seal: Seal,
    mark: str,
    *,
    alert_id: int | None = None,
    anchor: Anchor | None = None,
    progress: Callable[[str], None] = lambda _chain: None,
) -> Verdict:
    """Looks at all of it, or at one alert's chain. `tx`: a snapshot. Raises InvalidAnchor for one of another ledger."""
    erased: dict[str, set[int]] = {table: set() for table in proof.PERSONAL}
    look = Look(tx, seal, seal.key_for("entries"), erased, {table: Spans() for table in proof.COVERED})
    for body in entries.trusted(look, "person.erased"):
        erased["address"] |= set(body["addresses"])
        erased["reply"] |= set(body["replies"])
        erased["spotcheck_answer"] |= set(body.get("answers", ()))  # of before there were spot checks: none
    only = None if alert_id is None else chain.of_alert(alert_id)
    key = seal.key_for("anchors")
    names = [only] if only is not None else list(_names(tx))
    for name in names:
        progress(name)
        told = entries.walk(look, name)
        number = _alert_of(name)
        if number is not None:
            facts.check(look, name, number, told)
            batches.check(look, name, number, told)
    rows.uncovered(look, alert_id)
    heads.check_own(look, key, only)
    if anchor is not None:
        heads.check_given(look, anchor, key, mark, only)
    places = tuple(Place(first, look.more.get(name, 0)) for name, first in look.first.items())
    return Verdict(places, len(names), look.entries, look.rows, look.deliveries)


def _names(tx: sa.Connection) -> Iterator[str]:
    """Every chain that there is, or should be: the house's first, then by alert."""
    found = set(tx.execute(sa.select(chains.c.name)).scalars()) | set(tx.execute(sa.select(entry.c.chain).distinct()).scalars())
    found |= {chain.of_alert(number) for number in tx.execute(sa.select(alert.c.id)).scalars()}
    yield from sorted(found, key=lambda name: (_alert_of(name) or 0, name))


def _alert_of(name: str) -> int | None:
    kind, _, number = name.partition(":")
    return int(number) if kind == "alert" and number.isdecimal() else None
