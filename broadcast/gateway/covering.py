"""Which villages an alert has reached, and how; said while it is running where the plan's time is over and nobody is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..alert import RegionCode
from ..coverage import (
    SPEAKER,
    Facts,
    Loudspeaker,
    Reach,
    SinglePoint,
    Way,
    loudspeaker,
    reach,
    single_points,
)
from ..errors import NotFound
from ..ledger import Row, Transaction, alerts, questions
from ..ledger import coverage as ledger
from ..maps import TownPoint
from ..tiers.regions import DIGITS, Region, Regions, Tier
from .house import House, log

WATCH_EVERY = timedelta(seconds=30)
_NOTHING = Facts()


@dataclass(frozen=True, slots=True)
class Village:
    """One village as it stands. What is owed to persons with posts in two villages counts in both."""

    region: str
    name: str
    town: str
    town_name: str
    at_risk: bool  # has a risk tag that the hazard concerns
    reach: Reach
    loudspeaker: Loudspeaker
    handed_over: int  # messages that a provider took, without a word whether they came
    sms_delivered: int
    sms_owed: int
    voice_answered: int  # calls picked up
    voice_owed: int  # calls, those because of silence too
    posts_acknowledged: int
    posts_owed: int
    measures: int
    households: int  # told at the door
    households_of: int | None  # that there are; None: the county's files do not say
    first_reached: float | None  # minutes after the alert was received
    single_points: tuple[SinglePoint, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """The villages of a town, or of all that was asked for, together."""

    region: str
    name: str
    point: tuple[float, float] | None  # of the town's seat: latitude, longitude
    point_error_km: float
    villages: Mapping[Reach, int]
    unreached: int  # nobody, or handed over without a report
    at_risk: int
    at_risk_unreached: int
    loudspeakers: int  # on the air
    sms_delivered: int
    sms_owed: int
    posts_acknowledged: int
    posts_owed: int
    households: int
    households_of: int | None


@dataclass(frozen=True, slots=True)
class AlertCoverage:
    """Places at risk first, in each the worst first."""

    alert_id: int
    headline: str
    status: str
    state: str
    received: datetime
    due: datetime | None  # by when the plan wants every village told; None: nothing is owed to one (yet)
    villages: tuple[Village, ...]
    towns: tuple[Total, ...]  # the worst first
    total: Total

    def points(self) -> list[TownPoint]:
        """Towns whose place is known, for `maps.draw`."""
        return [TownPoint(one.name, *one.point, one.point_error_km, one.villages) for one in self.towns if one.point is not None]


def coverage(house: House, alert: int | str, region: str) -> AlertCoverage:
    """By village, of the whole alert or below one region. Raises NotFound; also for an alert that says that it is over."""
    with house.ledger.read() as tx:
        return coverage_at(tx, house.books.regions, alerts.find(tx, alert), region)


def coverage_at(tx: Transaction, regions: Regions, row: Row, region: str = "") -> AlertCoverage:
    """The same within a snapshot of the caller's; `row` is the alert's."""
    inside = frozenset(regions.below(region or regions.county.code))
    if row.stand_down:
        raise NotFound(f"alert {row.id} says that it is over; ask for the coverage of the alert before it: broadcast status")
    channels = ledger.channels(tx, row.id)
    facts = ledger.facts(tx, row.id) if channels else {}
    risk, due = ledger.regions(tx, row.id), ledger.due(tx, row.id)
    villages = [
        _village(regions, code, facts.get(code, _NOTHING), risk[code], row.received, speakers=channels.get(SPEAKER, False))
        for code in risk
        if channels and _is_village(code) and (code in inside or not region)
    ]
    villages.sort(key=lambda one: (not one.at_risk, one.reach.rank, one.region))
    by_town: dict[str, list[Village]] = {}
    for one in villages:
        by_town.setdefault(one.town, []).append(one)
    towns = sorted(
        (_total(regions, code, those) for code, those in by_town.items()), key=lambda one: (-one.unreached, one.region)
    )
    return AlertCoverage(
        alert_id=row.id,
        headline=row.headline or row.event,
        status=row.status,
        state=row.state,
        received=questions.at(row.received),
        due=questions.moment(due),
        villages=tuple(villages),
        towns=tuple(towns),
        total=_total(regions, region or regions.county.code, villages),
    )


def _is_village(code: str) -> bool:
    """By its digits, which every tree's check demands: also one that was merged away since. The sweep needs no tree for it."""
    return len(code) == DIGITS[Tier.VILLAGE]


def _village(regions: Regions, code: str, facts: Facts, risk: bool, received: int, *, speakers: bool) -> Village:
    known = regions[RegionCode(code)] if code in regions else None
    town = regions.town_of(code) if known else None
    sms, voice = facts.ways.get("sms", Way()), facts.ways.get("voice", Way())
    return Village(
        region=code,
        name=known.name if known else code,
        town=town.code if town else code[:9],
        town_name=town.name if town else code[:9],
        at_risk=risk,
        reach=reach(facts),
        loudspeaker=loudspeaker(facts),
        handed_over=sum(way.handed_over for way in facts.ways.values()),
        sms_delivered=sms.delivered,
        sms_owed=sms.owed,
        voice_answered=voice.delivered,
        voice_owed=voice.owed,
        posts_acknowledged=facts.acknowledged,
        posts_owed=facts.posts,
        measures=facts.measures,
        households=facts.households,
        households_of=known.households if known else None,
        first_reached=_minutes(facts.first_reached, received),
        single_points=single_points(facts, speakers=speakers),
    )


def _minutes(first: datetime | None, received: int) -> float | None:
    """A far end whose clock is slow says that it came before we had it: then it came at once."""
    return None if first is None else round(max(0.0, (first - questions.at(received)).total_seconds()) / 60, 1)


def _total(regions: Regions, code: str, villages: Sequence[Village]) -> Total:
    known = regions[RegionCode(code)] if code in regions else None
    return Total(
        region=code,
        name=known.name if known else code,
        point=_point(known) if known else None,
        point_error_km=known.point_error_km if known else 0.0,
        villages={each: sum(one.reach is each for one in villages) for each in Reach},
        unreached=sum(not one.reach.reached for one in villages),
        at_risk=sum(one.at_risk for one in villages),
        at_risk_unreached=sum(one.at_risk and not one.reach.reached for one in villages),
        loudspeakers=sum(one.loudspeaker is Loudspeaker.YES for one in villages),
        sms_delivered=sum(one.sms_delivered for one in villages),
        sms_owed=sum(one.sms_owed for one in villages),
        posts_acknowledged=sum(one.posts_acknowledged for one in villages),
        posts_owed=sum(one.posts_owed for one in villages),
        households=sum(one.households for one in villages),
        households_of=_households_of(regions, known, villages),
    )


def _point(region: Region) -> tuple[float, float] | None:
    """Its seat; where only its outline is known, a place inside it."""
    if region.point is None and region.outline is not None:
        inside = region.outline.representative_point()
        return inside.y, inside.x
    return region.point


def _households_of(regions: Regions, known: Region | None, villages: Sequence[Village]) -> int | None:
    """Of the villages where the files know them; else of the town or county, but only where all of it is asked about."""
    counts = [one.households_of for one in villages]
    if counts and None not in counts:
        return sum(count or 0 for count in counts)
    covered = {one.region for one in villages}
    whole = known is not None and all(_is_in(regions, code, covered) for code in regions.below(known.code))
    return known.households if known is not None and whole else None


def _is_in(regions: Regions, code: RegionCode, covered: set[str]) -> bool:
    return regions[code].tier is not Tier.VILLAGE or code in covered


# ── while it is running ──


def watch(house: House) -> int:
    """Every half minute, for each alert in force whose time by the plan is over: which village is reached by nobody.

    Each is said once, as an entry of the alert and a line in the log, and once more when it is reached after all. Returns how
    many are newly said to be reached by nobody.
    """
    if not house.has_come("watch over villages", WATCH_EVERY):
        return 0
    now = house.now()
    with house.ledger.read() as tx:
        looks = [look for number in ledger.watched(tx) if (look := _look(tx, number, now)) is not None]
    return sum(_say(house, look, now) for look in looks)


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of one alert: the villages that were looked at, and those of them that are reached."""

    alert_id: int
    villages: Sequence[str]
    reached: set[str]


def _look(tx: Transaction, number: int, now: int) -> _Look | None:
    """All villages once when the time is over, then only those that nobody had reached. None: nothing new is to be said."""
    due = ledger.due(tx, number)
    if due is None or now <= due:
        return None
    known = ledger.said(tx, number)
    every = () if known.looked else ledger.regions(tx, number)
    villages = tuple(known.unreached) if known.looked else tuple(code for code in every if _is_village(code))
    there = ledger.reached(tx, number, villages)
    return None if known.looked and not there else _Look(number, villages, there)


def _say(house: House, look: _Look, now: int) -> int:
    with house.ledger.write() as tx:
        silent, late = ledger.say(tx, look.alert_id, look.villages, look.reached, now)
    if silent:
        whole = len(look.villages)
        log.error("alert %s: %s of %s villages are reached by nobody within the plan's time", look.alert_id, len(silent), whole)
    if late:
        log.warning("alert %s: %s villages that nobody had reached in time are reached now", look.alert_id, len(late))
    return len(silent)


def unreached(house: House, alert: int | str) -> tuple[str, ...]:
    """The names of the villages that were said to be reached by nobody within the plan's time, and are not reached since."""
    with house.ledger.read() as tx:
        found = ledger.said(tx, alerts.find(tx, alert).id).unreached
    regions = house.books.regions
    return tuple(regions[code].name if code in regions else code for code in sorted(found))
