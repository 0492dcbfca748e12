"""Who is drawn: no machine's dice, but ranks by SHA-256 over the seed and the roster's keys, so that it can be redone by hand.

1. Each person of the frame stands in the stratum of a town (the county's own people in the county's).
2. Seats: one for each stratum; the rest in proportion to the persons left, whole parts first, then the largest remainders
   (ties: the smaller code). Fewer seats than strata: those strata get one whose own rank is smallest.
3. The rank of a person, or of a stratum, is SHA-256 of the seed in digits, a line feed, and its key, in UTF-8. In each
   stratum the persons with the smallest ranks (as hexadecimal text) are drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

BY_TOWN, BY_NONE = "town", "none"


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One person of the frame: the town whose stratum they stand in, and their key in the roster. No row numbers."""

    town: str
    key: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """Somebody who was drawn, with the rank that drew them."""

    member: Member
    rank: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The drawn in the order in which they are asked (by town, then by rank), and how many of each stratum."""

    drawn: tuple[Drawn, ...]
    seats: Mapping[str, int]
    digest: str  # of the frame with what was asked for


def draw(frame: Iterable[Member], size: int, seed: int, by: str = BY_TOWN) -> Sample:
    """`size` persons of the frame, or all of it. The same frame, size and seed draw the same, however the frame is ordered."""
    members = sorted(set(frame))
    strata: dict[str, list[Member]] = {}
    for one in members:
        strata.setdefault(one.town if by == BY_TOWN else "", []).append(one)
    given = seats({town: len(those) for town, those in strata.items()}, size, seed)
    drawn = [
        Drawn(one, rank(seed, one.key))
        for town in sorted(strata)
        for one in sorted(strata[town], key=lambda one: (rank(seed, one.key), one.key))[: given[town]]
    ]
    return Sample(tuple(drawn), given, frame_digest(members, size, seed, by))


def seats(sizes: Mapping[str, int], size: int, seed: int) -> dict[str, int]:
    """How many of each stratum. In whole numbers only, so that no machine rounds otherwise."""
    strata = sorted(town for town, persons in sizes.items() if persons)
    total = sum(sizes.values())
    if size >= total:
        return dict(sizes)
    if size < len(strata):
        chosen = set(sorted(strata, key=lambda town: (rank(seed, town), town))[:size])
        return {town: int(town in chosen) for town in sizes}
    rest, left = size - len(strata), total - len(strata)
    parts = {town: divmod(rest * (sizes[town] - 1), left) for town in strata}
    by_remainder = sorted(strata, key=lambda town: (-parts[town][1], town))
    over = rest - sum(whole for whole, _ in parts.values())
    extra = set(by_remainder[:over])
    return {town: 1 + parts[town][0] + int(town in extra) if town in parts else 0 for town in sizes}


def rank(seed: int, key: str) -> str:
    """SHA-256 of seed, line feed, key: 64 hexadecimal digits."""
    return hashlib.sha256(f"{seed}\n{key}".encode()).hexdigest()


def frame_text(members: Sequence[Member], size: int, seed: int, by: str = BY_TOWN) -> str:
    """What the digest is over: what was asked for, then a line for each person, by town and key, all in UTF-8 with line feeds."""
    lines = [f"{one.town}\t{one.key}\n" for one in sorted(set(members))]
    return f"spot check 1\nseed {seed}\nsize {size}\nby {by}\n{''.join(lines)}"


def frame_digest(members: Sequence[Member], size: int, seed: int, by: str = BY_TOWN) -> str:
    """SHA-256 of `frame_text`: bound in the ledger before anybody sees who was drawn."""
    return hashlib.sha256(frame_text(members, size, seed, by).encode()).hexdigest()
