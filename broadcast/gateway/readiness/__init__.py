"""Is the county ready for the next rain: posts, persons, numbers, contracts and loudspeakers, before they are needed."""

from __future__ import annotations

from dataclasses import dataclass

from ...ledger import coverage
from ...ledger import readiness as ledger
from ..house import House
from . import posts, villages, ways
from .county import County, Finding, Spot
from .quotas import Reach, shortfalls
from .villages import ExpectedVillage

__all__ = ["ExpectedCoverage", "ExpectedVillage", "Finding", "Readiness", "Spot", "expected_coverage", "readiness"]


@dataclass(frozen=True, slots=True)
class Readiness:
    """All findings, the red ones first."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """False when something is red: somebody would not be reached, or not in the plan's time."""
        return all(one.colour != "red" for one in self.findings)


@dataclass(frozen=True, slots=True)
class ExpectedCoverage:
    """How each village could be reached now, the worst first; and what readiness finds about villages."""

    villages: tuple[ExpectedVillage, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """False when a village could be reached by nobody who must answer for it."""
        return all(one.by_person for one in self.villages)


def expected_coverage(house: House, region: str) -> ExpectedCoverage:
    """Of the county, or of one region and what lies below it. Raises NotFound for a region that there is not."""
    regions = house.books.regions
    inside = frozenset(regions.below(region or regions.county.code))
    with house.ledger.read() as tx:
        county = County(house, regions, house.books.roles, inside, ledger.posts(tx), ledger.addresses(tx), set())
        residents = coverage.residents(tx, "sms")
    found = villages.expected(county, residents)
    return ExpectedCoverage(tuple(found), tuple(villages.findings(county, found)))


def readiness(house: House, region: str) -> Readiness:
    """Of the county, or of one region and what lies below it. What is the whole county's (quotas) only of the county.

    Raises NotFound for a region that there is not.
    """
    regions = house.books.regions
    inside = frozenset(regions.below(region or regions.county.code))
    with house.ledger.read() as tx:
        county = County(house, regions, house.books.roles, inside, ledger.posts(tx), ledger.addresses(tx), ledger.failing(tx))
        short = [] if region else shortfalls(house, tx, Reach(county.holders, county.numbers, ledger.others(tx)))
        residents = coverage.residents(tx, "sms")
    found = [
        *ways.no_way(county),
        *posts.vacant(county),
        *posts.without_deputy(county),
        *posts.unreachable(county),
        *posts.not_by_voice(county),
        *posts.in_two_villages(county),
        *posts.failing_numbers(county),
        *ways.too_slow(county, short),
        *ways.silent_speakers(house, region),
        *villages.findings(county, villages.expected(county, residents)),
    ]
    return Readiness(tuple(sorted(found, key=lambda one: one.colour != "red")))
