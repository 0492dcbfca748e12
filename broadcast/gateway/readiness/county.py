"""The county as all questions of readiness see it: its posts, its persons, whom its plans ask; and what a finding is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ...alert import RegionCode
from ...ledger import Row
from ...tiers.plan import Plan, Rung
from ...tiers.regions import Regions
from ...tiers.roster import Role
from ..house import House

Colour = Literal["red", "yellow"]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where something is wanting: a region, its posts, and who holds them."""

    region: str
    region_name: str
    roles: tuple[str, ...]  # in Chinese
    person: str  # the masked name; "" where it is nobody


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that should be seen to before the next warning."""

    kind: str
    colour: Colour
    count: int  # posts, persons or systems
    what: str
    do: str
    where: tuple[Spot, ...]


class Asked:
    """Who owes an answer by the plans in force, whose deputies are asked, and by what each role is told."""

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        self.owing: set[tuple[str, str]] = set()  # role, rank
        self.deputised: set[str] = set()
        self.channels: dict[str, set[str]] = {}  # role → channels, those of its calls too
        self.all_channels: set[str] = set()
        for plan in plans.values():
            for section in (*plan.levels.values(), *plan.signals.values()):
                for tell in section.tells:
                    self.all_channels |= set(tell.channels)
                    for role in tell.roles:
                        self.channels.setdefault(role, set()).update(tell.channels)
                    if tell.answer_within is None or section.ladder is None:
                        continue
                    self.all_channels.add("voice")
                    self.owing |= {(role, rank) for role in tell.roles for rank in tell.ranks}
                    if Rung.DEPUTY in section.ladder.rungs:
                        self.deputised |= set(tell.roles)

    def is_asked(self, row: Row) -> bool:
        """Called at once, or when the principal stays silent."""
        return (row.role, row.rank) in self.owing or (row.rank == "B" and row.role in self.deputised)


@dataclass(frozen=True)
class County:
    """What all questions share; `posts` of the whole county. The books are opened once: each look into them asks the ledger."""

    house: House
    regions: Regions
    roles: Mapping[str, Role]
    inside: frozenset[RegionCode]
    posts: Sequence[Row]
    addresses: Sequence[Row]
    failing: set[int]

    @cached_property
    def asked(self) -> Asked:
        """By the plans in force."""
        return Asked(self.house.books.plans.plans)

    @cached_property
    def by_person(self) -> dict[int, list[Row]]:
        """Persons who hold a post inside, with all their posts."""
        found: dict[int, list[Row]] = {}
        for row in self.posts:
            found.setdefault(row.person_id, []).append(row)
        return {person: rows for person, rows in found.items() if any(row.region in self.inside for row in rows)}

    @cached_property
    def holders(self) -> dict[tuple[str, str], frozenset[int]]:
        """role, rank → persons."""
        found: dict[tuple[str, str], set[int]] = {}
        for row in self.posts:
            found.setdefault((row.role, row.rank), set()).add(row.person_id)
        return {key: frozenset(persons) for key, persons in found.items()}

    @cached_property
    def numbers(self) -> dict[int, dict[str, frozenset[int]]]:
        """person → channel → addresses. A live peer refuses synthetic targets and a simulated one all others: none of those."""
        simulated = {channel: way.simulated for channel, way in self.house.ways.items()}
        found: dict[int, dict[str, frozenset[int]]] = {}
        for row in self.addresses:
            if simulated.get(row.channel) == bool(row.synthetic):
                by_channel = found.setdefault(row.person_id, {})
                by_channel[row.channel] = by_channel.get(row.channel, frozenset()) | {row.address_id}
        return found

    def role(self, code: str) -> str:
        """In Chinese."""
        return self.roles[code].zh if code in self.roles else code

    def spot(self, region: str, rows: Sequence[Row], *, named: bool = True) -> Spot:
        """A region with posts in it that one person holds."""
        name = self.house.ledger.seal.open(bytes(rows[0].name)) if named and rows else ""
        return Spot(
            region,
            self.regions[region].name if region in self.regions else region,
            tuple(dict.fromkeys(self.role(row.role) for row in rows)),
            name and name[:1] + "*" * max(1, len(name) - 1),
        )

    def spots(self, rows: Sequence[Row]) -> Iterator[Spot]:
        """One for each region of one person's posts."""
        for region in dict.fromkeys(row.region for row in rows):
            yield self.spot(region, [row for row in rows if row.region == region])


def many(count: int, what: str) -> str:
    """3 regions, 1 region."""
    return f"{count:,} {what}{'s' if count != 1 else ''}"
