"""A county's roster at true size that belongs to nobody: same seed, same bytes. For demonstrations, tests and drills only.

Every name contains 测, every row says synthetic = 1, every number begins with 154 or 194. Nothing here uses `random`: each
draw is a hash of the seed and of what is drawn, so that one more person changes nobody else.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal, TextIO

from ..alert import RegionCode
from . import rows
from .regions import Region, Regions, Tier
from .roster import COLUMNS
from .rows import Notes

Size = Literal["S", "M", "L", "XL"]  # S: one town; M: all posts without grids; L: with grids; XL: and every resident's phone

FLASH_FLOOD, LANDSLIDE = "山洪", "地质灾害"  # risk tags
_NUMBERS = 200_000_000  # 154 00000000 to 154 99999999, then 194
_FIRST_TEST_NUMBER, _FIRST_RESIDENT_NUMBER = 500_000, 1_000_000  # persons count from 0
_GRIDS_PER_HOUSEHOLD = 716 / 198_143  # about 277 households a grid; both counts from the county's own figures
_MICRO_GRIDS_PER_HOUSEHOLD = 3_770 / 198_143  # about 52.5 households
_SURNAMES = "沈姚徐陈王张朱俞蔡施钱潘吴章费陆杨蒋金许"
_GIVEN = "一安贤明华强敏丽芳军平建国伟勇静娟波涛杰峰玲燕飞亮云雨林江海山春夏秋东南西北立仁义文武"


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written."""

    persons: int
    posts: int
    places: int
    residents: int


def write(folder: Path, regions: Regions, population: str, size: Size, seed: int) -> Summary:
    """Writes people.csv, posts.csv, places.csv and, at XL, residents.csv. `population` is the text of population.csv.

    Raises InvalidFiles when the population lacks a town.
    """
    crowd = _Crowd(regions, size, seed, _population(population, regions))
    folder.mkdir(parents=True, exist_ok=True)
    crowd.fill()
    places = list(crowd.places())
    _write(folder / "people.csv", COLUMNS["people.csv"], crowd.persons)
    _write(folder / "posts.csv", COLUMNS["posts.csv"], crowd.posts)
    _write(folder / "places.csv", COLUMNS["places.csv"], places)
    (folder / "residents.csv").unlink(missing_ok=True)  # of an earlier, larger size
    residents = _write(folder / "residents.csv", COLUMNS["residents.csv"], crowd.residents()) if size == "XL" else 0
    return Summary(len(crowd.persons), len(crowd.posts), len(places), residents)


@dataclass(frozen=True, slots=True)
class _Homes:
    """What hangs below one village."""

    grids: int
    micro_grids: int
    residents: int


class _Crowd:
    """Persons and posts in the making."""

    def __init__(self, regions: Regions, size: Size, seed: int, population: dict[RegionCode, tuple[int, int]]) -> None:
        self.regions, self.size, self.seed = regions, size, seed
        self.persons: list[tuple[str, ...]] = []
        self.posts: list[tuple[str, ...]] = []
        self.numbers = _Numbers(seed)
        self.towns = regions.children(regions.county.code)
        self.homes = self._settle(population)
        if size == "S":
            self.towns = (next((town for town in self.towns if FLASH_FLOOD in town.risk), self.towns[0]),)

    def fill(self) -> None:
        """Appoints everybody, from the county down."""
        self._county(self.regions.county.code)
        for town in self.towns:
            self._town(town.code)
            for village in self.regions.children(town.code):
                self._village(village)

    # --- posts

    def _county(self, code: RegionCode) -> None:
        self._appoint("CITY_LEAD", code)
        self._appoint("COUNTY_ADMIN", code)
        duty = [self._appoint("COUNTY_HQ_DUTY", code) for _ in range(3)]
        for person in duty:
            self._also(person, "DUTY_OFFICER", code, "A")
        self._appoint("SHIFT_LEAD", code)
        self._also(duty[0], "SHIFT_LEAD", code, "B")
        leader = self._appoint("DUTY_LEADER", code)
        self._also(leader, "COUNTY_ADMIN", code, "B")
        for role in _DEPARTMENTS:
            self._appoint(role, code)
            self._appoint(role, code, "B")

    def _town(self, code: RegionCode) -> None:
        self._appoint("COUNTY_LEAD", code)
        self._appoint("TOWN_FIRST", code)
        self._appoint("TOWN_FIRST", code)
        deputy = self._appoint("TOWN_DEPUTY", code)
        self._also(deputy, "TOWN_FIRST", code, "B")
        self._appoint("TOWN_LIAISON", code)
        staff = [self._appoint("TOWN_STAFF", code) for _ in range(3)]
        self._also(staff[0], "TOWN_LIAISON", code, "B")

    def _village(self, village: Region) -> None:
        code = village.code
        self._appoint("TOWN_LEAD", code)
        for role in ("VILLAGE_HEAD", "VILLAGE_RESIDENT_CADRE", "WARN_LEAD", "EVAC_LEAD", "RESCUE_LEAD", "LOGI_LEAD"):
            self._appoint(role, code)
        cadres = [self._appoint("VILLAGE_CADRE", code) for _ in range(5)]
        for person, role in zip(cadres, ("VILLAGE_HEAD", "WARN_LEAD", "EVAC_LEAD"), strict=False):
            self._also(person, role, code, "B")
        for role in ("SHELTER_MANAGER", "OLDHOUSE_LIAISON", *self._sites(village)):
            self._appoint(role, code)
        if self.size != "M":
            self._grids(code, cadres)

    def _sites(self, village: Region) -> list[str]:
        """What not every village has: water works, slopes, farm stays, garages, enterprises. 13 to 22 persons in all."""
        found = ["SITE_ENTERPRISE"] * (1 + self._draw(village.code, "enterprise") % 2)
        if self._draw(village.code, "water") % 10 < 7:
            found += ["WATER_PATROL"] * 2
        if FLASH_FLOOD in village.risk:
            found += ["FLASHFLOOD_WARNER"] + ["SITE_HOTEL"] * (self._draw(village.code, "hotel") % 4)
        if LANDSLIDE in village.risk:
            found.append("GEO_MONITOR")
        if village.kind == "community":
            found += ["SITE_UNDERGROUND"] * (self._draw(village.code, "garage") % 2)
        return found

    def _grids(self, code: RegionCode, cadres: Sequence[str]) -> None:
        homes = self.homes[code]
        for number in range(homes.grids):
            # A village cadre often heads a grid too: one person, two posts. One each, because a post names no grid.
            if self._draw(code, f"cadre of grid {number}") % 4 == 0 and number < len(cadres):
                self._also(cadres[number], "GRID_HEAD", code, "A")
            else:
                self._appoint("GRID_HEAD", code)
            self._appoint("GRID_WORKER", code)
        for _ in range(homes.micro_grids):
            self._appoint("MICROGRID_HEAD", code)

    def _appoint(self, role: str, code: RegionCode, rank: Literal["A", "B"] = "A") -> str:
        number = len(self.persons)
        person = f"P{number + 1:05d}"
        key = f"{role} {code} {number}"
        name = self._pick(_SURNAMES, key, "surname") + "测" + self._pick(_GIVEN, key, "given")
        phone = "" if self._draw(key, "no phone") % 200 == 0 else self.numbers[number]
        on_zwdd = not role.startswith(("MICROGRID", "SITE", "GRID"))
        on_grid = role.startswith(("GRID", "MICROGRID", "VILLAGE"))
        # 浙政钉's accountIds are numbers.
        zwdd, grid = f"9000{number + 1:06d}" if on_zwdd else "", f"sim:grid:{person}" if on_grid else ""
        self.persons.append((person, name, phone, zwdd, grid, "1", "0"))
        self._also(person, role, code, rank)
        return person

    def _also(self, person: str, role: str, code: RegionCode, rank: Literal["A", "B"]) -> None:
        self.posts.append((person, role, code, rank))

    # --- places and residents

    def places(self) -> Iterator[tuple[str, ...]]:
        """The upper level and two neighbours, one loudspeaker system a village, and registered test targets in each town."""
        county, number = self.regions.county.code, count(_FIRST_TEST_NUMBER)
        for platform in ("city", "anji", "changxing"):
            yield county, "feed", f"sim:feed:{platform}", "1", "0"
        for town in self.towns:
            yield town.code, "speaker", _ebrid(5, f"{town.code}000"), "1", "1"
            yield town.code, "sms", self.numbers[next(number)], "1", "1"
            yield town.code, "voice", self.numbers[next(number)], "1", "1"
            for village in self.regions.children(town.code):
                yield village.code, "speaker", _ebrid(6, village.code), "1", "0"

    def residents(self) -> Iterator[tuple[str, ...]]:
        """One number a resident, village by village, spread over its grids."""
        number = count(_FIRST_RESIDENT_NUMBER)
        for town in self.towns:
            for village in self.regions.children(town.code):
                homes = self.homes[village.code]
                for n in range(homes.residents):
                    yield (
                        village.code,
                        f"{village.code}-{1 + n * homes.grids // homes.residents:02d}",
                        self.numbers[next(number)],
                        "1",
                    )

    def _settle(self, population: dict[RegionCode, tuple[int, int]]) -> dict[RegionCode, _Homes]:
        """Spreads each town's households over its villages. Running totals are rounded, so that the county's sums are exact."""
        households = residents = 0.0
        found = {}
        for town in self.towns:
            villages = self.regions.children(town.code)
            weights = [self._weight(village) for village in villages]
            for village, weight in zip(villages, weights, strict=True):
                share = weight / sum(weights)
                before, people = households, residents
                residents += population[town.code][0] * share
                households += population[town.code][1] * share
                found[village.code] = _Homes(
                    max(1, _between(before, households, _GRIDS_PER_HOUSEHOLD)),
                    max(1, _between(before, households, _MICRO_GRIDS_PER_HOUSEHOLD)),
                    _between(people, residents, 1),
                )
        return found

    def _weight(self, village: Region) -> int:
        return 60 + self._draw(village.code, "weight") % 81 + (60 if village.kind == "community" else 0)

    # --- draws

    def _draw(self, key: str, what: str) -> int:
        return _hash(f"{self.seed}/{what}/{key}")

    def _pick(self, among: str, key: str, what: str) -> str:
        return among[self._draw(key, what) % len(among)]


_DEPARTMENTS = (
    "DEPT_EMERGENCY",
    "DEPT_WATER",
    "DEPT_RESOURCES",
    "DEPT_WEATHER",
    "DEPT_LAW_ENFORCEMENT",
    "DEPT_SOCIAL_GOVERNANCE",
    "NEWS_CENTRE",
)


class _Numbers:
    """Phone numbers by index, each once: an affine walk through all of 154 and 194, started by the seed."""

    def __init__(self, seed: int) -> None:
        # Coprime to 2·10^8 = 2^9·5^8 when it ends in 1, 3, 7 or 9: then no number comes twice.
        self.step = _hash(f"{seed}/step") % (_NUMBERS // 10) * 10 + 7
        self.start = _hash(f"{seed}/start") % _NUMBERS

    def __getitem__(self, index: int) -> str:
        number = (self.start + index * self.step) % _NUMBERS
        return f"154{number:08d}" if number < 100_000_000 else f"194{number - 100_000_000:08d}"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _between(before: float, after: float, rate: float) -> int:
    return round(after * rate) - round(before * rate)


def _population(text: str, regions: Regions) -> dict[RegionCode, tuple[int, int]]:
    """Residents and households of each town."""
    file, notes = "population.csv", Notes()
    found: dict[RegionCode, tuple[int, int]] = {}
    for row in rows.read(file, io.StringIO(text.removeprefix("\ufeff")), ("code", "residents", "households"), notes):
        figures = row["residents"], row["households"]
        if all(figure.isascii() and figure.isdigit() for figure in figures):
            found[RegionCode(row["code"])] = int(figures[0]), int(figures[1])
        else:
            notes.error(row, "residents and households must be numbers")
    missing = [region.name for region in regions if region.tier is Tier.TOWN and region.code not in found]
    if missing:
        notes.error(file, f"no residents and households for {', '.join(missing)}")
    notes.check()
    return found


def _write(path: Path, header: Sequence[str], lines: Iterable[Sequence[str]]) -> int:
    with path.open("w", encoding="utf-8", newline="") as file:
        return _write_lines(file, header, lines)


def _write_lines(file: TextIO, header: Sequence[str], lines: Iterable[Sequence[str]]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    written = 0
    for line in lines:
        writer.writerow(line)
        written += 1
    return written


def _ebrid(level: int, area: str) -> str:
    """The resource code of an area's loudspeaker system: level, 12-digit area code, type 0314, itself (GD/J 080-2018)."""
    return f"{level}{area}0314010101"
