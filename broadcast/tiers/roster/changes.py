"""What an import of a roster would change, fit to be shown: no names, and numbers masked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from ..phones import mask
from .people import PHONE_CHANNELS, Person, Place, Post, Roster


@dataclass(frozen=True, slots=True)
class Change:
    """One difference, fit to be shown: no name, and numbers masked."""

    kind: Literal["added", "removed", "changed"]
    what: Literal["person", "post", "place"]
    text: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What an import would change, in order. Residents are replaced as a whole and not compared."""

    changes: tuple[Change, ...]
    residents: int  # how many the new roster has

    def count(self, kind: str, what: str) -> int:
        """How many of a kind ("added") and sort ("post")."""
        return sum(change.kind == kind and change.what == what for change in self.changes)


Holding = tuple[tuple[Person, ...], tuple[Post, ...], tuple[Place, ...]]  # the roster in force, as the ledger has it


def diff(old: Holding | None, new: Roster) -> Changes:
    """What changes when `new` replaces `old` (None: nothing is in force yet)."""
    persons, posts, places = old or ((), (), ())
    found = [
        *_compare("person", persons, new.persons, lambda one: one.person_id, _show_person),
        *_compare("post", posts, new.posts, lambda one: (one.person_id, one.role, one.region), _show_post),
        *_compare("place", places, new.places, lambda one: (one.region, one.channel, one.address), _show_place),
    ]
    return Changes(tuple(found), new.resident_count)


_T = TypeVar("_T")


def _compare(
    what: Literal["person", "post", "place"],
    old: Iterable[_T],
    new: Iterable[_T],
    key: Callable[[_T], Hashable],
    show: Callable[[_T, _T | None], str],
) -> Iterator[Change]:
    before = {key(one): one for one in old}
    after = {key(one): one for one in new}
    yield from (Change("removed", what, show(one, None)) for at, one in before.items() if at not in after)
    yield from (Change("added", what, show(one, None)) for at, one in after.items() if at not in before)
    for at, one in after.items():
        if at in before and before[at] != one:
            yield Change("changed", what, show(one, before[at]))


def _show_person(one: Person, before: Person | None) -> str:
    if before is None:
        return f"{one.person_id} {mask(one.phone)}".strip()
    parts = [
        column for column in ("name", "zwdd", "grid", "synthetic", "test") if getattr(one, column) != getattr(before, column)
    ]
    if one.phone != before.phone:
        parts.append(f"phone {mask(before.phone) or 'none'} → {mask(one.phone) or 'none'}")
    return f"{one.person_id}: {', '.join(parts)}"


def _show_post(one: Post, before: Post | None) -> str:
    rank = one.rank if before is None else f"{before.rank} → {one.rank}"
    return f"{one.role} {one.region} {one.person_id} {rank}"


def _show_place(one: Place, before: Place | None) -> str:
    address = mask(one.address) if one.channel in PHONE_CHANNELS else one.address
    return f"{one.channel} {one.region} {address}" + (": synthetic or test" if before else "")
