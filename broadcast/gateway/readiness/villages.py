"""Villages: by what each could be reached before anything happens, and which hang on one thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...channels.base import Standing
from ...coverage import SPEAKER, Loudspeaker, Means, Reach, SinglePoint, weak_points
from ...ledger import Row
from ...tiers.regions import Region, Tier
from .. import speaking
from .county import County, Finding, Spot, many


@dataclass(frozen=True, slots=True)
class ExpectedVillage:
    """One village before an event: from the roster, the targets and how the loudspeakers stand."""

    region: str
    name: str
    town: str
    town_name: str
    at_risk: bool  # has a risk tag
    reach: Reach  # the best that can be expected
    by_machine: bool
    by_door: bool
    by_person: bool
    loudspeaker: Loudspeaker  # unknown: never heard from; no: in fault or offline
    residents: int  # numbers
    grid_workers: int  # who can be given tasks
    persons: int  # who may be asked for an answer
    callable: int  # of them: can be called
    single_points: tuple[SinglePoint, ...]


def expected(county: County, residents: Mapping[str, int]) -> list[ExpectedVillage]:
    """Places at risk first, in each the worst first. `residents`: region → numbers."""
    speakers = _speakers(county)
    by_region: dict[str, list[Row]] = {}
    for row in county.posts:
        by_region.setdefault(row.region, []).append(row)
    made = [
        _village(county, one, _means(county, by_region.get(one.code, ()), speakers.get(one.code), residents.get(one.code, 0)),
                 residents.get(one.code, 0))
        for one in county.regions
        if one.tier is Tier.VILLAGE and one.code in county.inside
    ]  # fmt: skip
    return sorted(made, key=lambda one: (not one.at_risk, one.reach.rank, -len(one.single_points), one.region))


def _speakers(county: County) -> dict[str, Loudspeaker]:
    """By village: its system is broken, stands well, or was never heard from. One that stands well makes up for a broken one."""
    if SPEAKER not in county.house.ways:
        return {}
    found: dict[str, Loudspeaker] = {}
    for one in speaking.speakers(county.house, ""):
        stands = {"": Loudspeaker.UNKNOWN, Standing.FAULT: Loudspeaker.NO, Standing.OFFLINE: Loudspeaker.NO}.get(
            one.standing, Loudspeaker.YES
        )
        if one.region and stands is not Loudspeaker.NO:
            found[one.region] = stands if found.get(one.region) is not Loudspeaker.YES else Loudspeaker.YES
        elif one.region:
            found.setdefault(one.region, stands)
    return found


def _means(county: County, posts: Sequence[Row], speaker: Loudspeaker | None, residents: int) -> Means:
    channels: dict[str, int] = {"sms": residents} if residents and "sms" in county.house.ways else {}
    for person in {row.person_id for row in posts}:
        told = {channel for row in posts if row.person_id == person for channel in county.asked.channels.get(row.role, ())}
        for channel in county.numbers.get(person, {}):
            if channel in told:
                channels[channel] = channels.get(channel, 0) + 1
    asked = [row for row in posts if county.asked.is_asked(row)]
    persons = {row.person_id for row in asked}
    grid = {row.person_id for row in posts if "grid" in county.asked.channels.get(row.role, ())}
    return Means(
        loudspeaker=speaker or Loudspeaker.NONE,
        channels=channels,
        at_the_door=sum("grid" in county.numbers.get(person, {}) for person in grid),
        posts=len(asked),
        persons=len(persons),
        callable=sum("voice" in county.numbers.get(person, {}) for person in persons),
    )


def _village(county: County, one: Region, means: Means, residents: int) -> ExpectedVillage:
    town = county.regions.town_of(one.code)
    return ExpectedVillage(
        region=one.code,
        name=one.name,
        town=town.code if town else "",
        town_name=town.name if town else "",
        at_risk=bool(one.risk),
        reach=means.reach,
        by_machine=means.by_machine,
        by_door=means.by_door,
        by_person=means.by_person,
        loudspeaker=means.loudspeaker,
        residents=residents,
        grid_workers=means.at_the_door,
        persons=means.persons,
        callable=means.callable,
        single_points=weak_points(means),
    )


_SAID = {
    SinglePoint.ONE_PERSON: ("one_person", "one person holds every post that must answer", "name a second person in posts.csv"),
    SinglePoint.ONE_NUMBER: (
        "one_number", "at most one of those who must answer can be called", "enter their phones in people.csv",
    ),
    SinglePoint.ONE_CHANNEL: ("one_channel", "only one channel could reach anybody", "add a loudspeaker, phones or accounts"),
    SinglePoint.NO_LOUDSPEAKER: ("no_loudspeaker", "no loudspeaker", "enter its system in places.csv, or plan a messenger"),
}  # fmt: skip


def findings(county: County, villages: Sequence[ExpectedVillage]) -> Iterator[Finding]:
    """Villages that could be reached by nobody at all, and those in which everything hangs on one thing."""
    alone = [one for one in villages if one.reach is Reach.NOBODY]
    if alone:
        yield Finding(
            "by_nobody", "red", len(alone), f"could be reached by nothing and nobody: {many(len(alone), 'village')}",
            "enter posts, phones and loudspeakers, then `broadcast roster import`", _where(county, alone),
        )  # fmt: skip
    for point, (kind, what, do) in _SAID.items():
        found = [one for one in villages if point in one.single_points]
        if found:
            yield Finding(
                kind, "yellow", len(found), f"{what}: {many(len(found), 'village')}", f"{do}, then `broadcast roster import`",
                _where(county, found),
            )  # fmt: skip


def _where(county: County, villages: Sequence[ExpectedVillage]) -> tuple[Spot, ...]:
    return tuple(county.spot(one.region, ()) for one in villages)
