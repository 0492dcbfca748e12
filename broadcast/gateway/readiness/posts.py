"""Posts and persons: who is missing, who cannot be reached, who cannot be everywhere, whose number failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...ledger import Row
from ...ledger import readiness as ledger
from ...tiers.regions import Tier
from .county import Colour, County, Finding, many


def vacant(county: County) -> Iterator[Finding]:
    """Of a required role nobody of rank A where somebody should be, as the roster's own check has it."""
    held = {(row.role, row.region) for row in county.posts if row.rank == "A"}
    for role in county.roles.values():
        if not role.required:
            continue
        empty = [
            county.spot(one.code, ())
            for one in county.regions
            if one.tier == role.per and one.code in county.inside and (role.code, one.code) not in held
        ]
        if empty:
            yield Finding(
                "vacant", "red", len(empty), f"{role.zh} ({role.code}) is vacant in {many(len(empty), 'region')}",
                "name somebody of rank A in posts.csv, then `broadcast roster import`", tuple(empty),
            )  # fmt: skip


def without_deputy(county: County) -> Iterator[Finding]:
    held: dict[str, dict[str, set[str]]] = {}  # role → region → ranks
    for row in county.posts:
        if row.role in county.asked.deputised and row.region in county.inside:
            held.setdefault(row.role, {}).setdefault(row.region, set()).add(row.rank)
    for role, by_region in sorted(held.items()):
        alone = [county.spot(region, ()) for region, ranks in by_region.items() if "B" not in ranks]
        if alone:
            yield Finding(
                "no_deputy", "yellow", len(alone),
                f"{county.role(role)} ({role}) has no deputy in {many(len(alone), 'region')}: that rung is empty",
                "name a deputy (rank B) in posts.csv, then `broadcast roster import`", tuple(alone),
            )  # fmt: skip


# ── persons ──


def unreachable(county: County) -> Iterator[Finding]:
    """By no channel that tells their role, or calls it."""

    def wanting(person: int, asked: Sequence[Row]) -> bool:
        by = {channel for row in asked for channel in county.asked.channels.get(row.role, ())} | {"voice"}
        return not by & county.numbers.get(person, {}).keys()

    yield from _of_asked(county, "unreachable", ("red", "yellow"), wanting, "reached by no channel at all")


def not_by_voice(county: County) -> Iterator[Finding]:
    if "voice" not in county.house.ways:
        return

    def wanting(person: int, asked: Sequence[Row]) -> bool:
        by = {channel for row in asked for channel in county.asked.channels.get(row.role, ())}
        own = county.numbers.get(person, {}).keys()
        return "voice" not in own and bool(by & own)

    yield from _of_asked(county, "not_by_voice", ("yellow", "yellow"), wanting, "not reached by voice: nobody can wake them")


def _of_asked(
    county: County, kind: str, colours: tuple[Colour, Colour], wanting: Callable[[int, Sequence[Row]], bool], what: str
) -> Iterator[Finding]:
    """Persons of whom something is wanting: those who owe an answer, and those who are only asked for others."""
    owing: list[list[Row]] = []
    deputies: list[list[Row]] = []
    for person, rows in county.by_person.items():
        asked = [row for row in rows if county.asked.is_asked(row) and row.region in county.inside]
        if asked and wanting(person, asked):
            (owing if any((row.role, row.rank) in county.asked.owing for row in asked) else deputies).append(asked)
    for colour, persons, who in zip(colours, (owing, deputies), ("to answer", "to stand in for others"), strict=True):
        if persons:
            yield Finding(
                kind, colour, len(persons), f"{what}: {many(len(persons), 'person')} {who}",
                "enter a phone in people.csv, or name somebody else in posts.csv, then `broadcast roster import`",
                tuple(spot for rows in persons for spot in county.spots(rows)),
            )  # fmt: skip


def in_two_villages(county: County) -> Iterator[Finding]:
    """Whoever acts in a village cannot be in two. Cadres of the town who look after several are a kind of their own."""
    roles, regions = county.roles, county.regions
    acting: list[list[Row]] = []
    visiting: list[list[Row]] = []
    for rows in county.by_person.values():
        there = [row for row in rows if row.region in regions and regions[row.region].tier is Tier.VILLAGE]
        own = [row for row in there if row.role not in roles or roles[row.role].tier not in ("county", "town")]
        if len({row.region for row in own}) > 1:
            acting.append(own)
        elif len({row.region for row in there}) > 1:
            visiting.append(there)
    for kind, persons, who in zip(
        ("two_villages", "cadre_of_two_villages"), (acting, visiting), ("person", "cadre"), strict=True
    ):
        if persons:
            yield Finding(
                kind, "yellow", len(persons), f"posts in two villages, and nobody can be at both: {many(len(persons), who)}",
                "name one person for each village in posts.csv; until then agree on who goes where",
                tuple(spot for rows in persons for spot in county.spots(rows)),
            )  # fmt: skip


def failing_numbers(county: County) -> Iterator[Finding]:
    owing: list[list[Row]] = []
    rest: list[list[Row]] = []
    for person, rows in county.by_person.items():
        by_channel = county.numbers.get(person, {})
        if any(by_channel.get(channel, frozenset()) & county.failing for channel in ledger.PHONE_CHANNELS):
            own = [row for row in rows if row.region in county.inside]
            (owing if any((row.role, row.rank) in county.asked.owing for row in own) else rest).append(own)
    colours: tuple[Colour, Colour] = ("red", "yellow")
    for colour, persons, who in zip(colours, (owing, rest), ("to answer", "of whom no answer is asked"), strict=True):
        if persons:
            yield Finding(
                "number_failed", colour, len(persons),
                f"phone failed in each of the last {ledger.IN_A_ROW} alerts or drills: {many(len(persons), 'person')} {who}",
                "call them, correct people.csv, then `broadcast roster import`",
                tuple(spot for own in persons for spot in county.spots(own)),
            )  # fmt: skip
