"""What an alert covers: codes, names and geometry → regions, and what a person must be told about the reading.

Where two readings disagree both places are warned and a person is told. Nothing that cannot be resolved ever means "everyone".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ..alert import Alert, Area, RegionCode
from . import geometry
from .names import names_in
from .regions import DIGITS, CodeSystem, Regions, Tier, canonical
from .regions import shorten as shorten_code


class FindingKind(StrEnum):
    """What was noticed while an area was read."""

    CONFLICT = "conflict"  # codes, names or code systems disagree: all places were taken
    NAMED_ONLY = "named_only"  # a place in the description that no code covers: taken
    AMBIGUOUS = "ambiguous"  # a name or retired code that means several places: all were taken
    UNKNOWN_VILLAGE = "unknown_village"  # no such village in a known town: the whole town was taken
    UNKNOWN_CODE = "unknown_code"  # a code like this county's, or in no known form, that means nothing here: not taken
    UNREAD = "unread"  # words, a code or a figure that could not be read, and nothing else says where
    UNVERIFIED = "unverified"  # an overlay whose member list nobody has confirmed
    NARROWED = "narrowed"  # a code of the whole city or province beside codes of ours: only ours were taken
    OVER_WARNED = "over_warned"  # a polygon or circle against towns known only by a point: may be too many
    OUTSIDE_NAMED = "outside_named"  # all codes are another county's, but a name also exists here: not taken
    UNRESOLVED = "unresolved"  # nothing says where in this county: nobody is warned until a person decides
    RETIRED = "retired"  # a code that is no more: taken for where its region is now
    OUTSIDE = "outside"  # a code or figure of elsewhere: passed over
    HIGHER = "higher"  # the city's or province's own code: the whole county was taken
    OTHER_SYSTEM = "other_system"  # a code that only the other code system knows
    VAGUE = "vague"  # words that could not be read, beside codes that say where


_TOLD_ONLY_IN_PASSING = frozenset(
    {FindingKind.RETIRED, FindingKind.OUTSIDE, FindingKind.HIGHER, FindingKind.OTHER_SYSTEM, FindingKind.VAGUE}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing noticed. `text` is for a person; it quotes the alert, cut short."""

    kind: FindingKind
    text: str

    @property
    def needs_a_person(self) -> bool:
        """True when somebody must be told, not only the record."""
        return self.kind not in _TOLD_ONLY_IN_PASSING


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where an alert applies. `regions` holds the roots, all below them and all above them; empty when unresolved."""

    roots: tuple[RegionCode, ...]
    regions: frozenset[RegionCode]
    findings: tuple[Finding, ...]

    @property
    def resolved(self) -> bool:
        """True when at least one region of the county is covered."""
        return bool(self.roots)

    @property
    def needs_a_person(self) -> bool:
        """True for a conflict or anything else that a person must be told."""
        return any(finding.needs_a_person for finding in self.findings)


def cover(alert: Alert, regions: Regions, code_system: CodeSystem | None) -> Coverage:
    """Reads all areas of the info to work from. `code_system` is the source's own; None when it is not known."""
    areas = alert.info.areas if alert.info else ()
    covered: set[RegionCode] = set()
    findings: list[Finding] = []
    for area in areas:
        covered |= _Reader(area, regions, code_system, findings).read()
    roots = regions.roots(covered)
    if not roots:
        why = "no area could be resolved" if areas else "the alert names no area"
        findings.append(Finding(FindingKind.UNRESOLVED, f"{why}: nobody is warned until a person decides where it applies"))
    return Coverage(roots, regions.closure(roots), _limited(findings))


class _Reader:
    """Reads one area. Names first, because they decide between two readings of a code."""

    def __init__(self, area: Area, regions: Regions, system: CodeSystem | None, findings: list[Finding]) -> None:
        self.area, self.regions, self.system, self.findings = area, regions, system, findings
        self.named: set[RegionCode] = set()
        self.several: dict[str, tuple[RegionCode, ...]] = {}  # ambiguous names
        self.unread: list[str] = []
        self.around: frozenset[RegionCode] = frozenset()  # what is named, and all inside and around it
        self.coded: set[RegionCode] = set()
        self.doubted: set[RegionCode] = set()  # already told as part of a conflict
        self.titles: dict[frozenset[RegionCode], str] = {}

    def read(self) -> set[RegionCode]:
        """The regions of this area; what was noticed goes to `findings`."""
        self._read_names()
        places = self._sort_codes()
        for code in places.ours:
            self._read_code(code)
        if places.higher:
            self._read_higher(places)
        if places.elsewhere:
            self._note(FindingKind.OUTSIDE, f"codes of other counties, passed over: {_listed(places.elsewhere)}")
        if places.elsewhere and not places.ours and not places.higher:
            self._drop_foreign_names()
        self._settle_ambiguous()
        self._compare()
        self._tell_unread(places)
        return self.coded | self.named | self._read_geometry()

    # --- names

    def _read_names(self) -> None:
        for name in names_in(self.area.description, self.regions):
            found = self.regions.by_name(name)
            overlay = self.regions.overlay(name)
            if not found:
                self.unread.append(name)
            elif overlay or len(found) == 1:
                self.named.update(found)
            else:
                self.several[name] = found
            if overlay and self.regions.is_unverified(overlay):
                self._note(FindingKind.UNVERIFIED, f"the member list of {overlay} is not verified; it was taken as listed")
        self.around = self.regions.closure(self.named.union(*self.several.values()))

    def _settle_ambiguous(self) -> None:
        """A name that several places have means the one whose own code stands beside it; without such a code it means all.

        Only where no code is in doubt: a code read in the wrong system must not decide which of two villages is left out.
        """
        for name, found in self.several.items():
            confirmed = [] if self.doubted else [code for code in found if code in self.coded]
            self.named.update(confirmed or found)
            if not confirmed:
                self._note(FindingKind.AMBIGUOUS, f"{_cut(name)} may be {self._titles(found)}: all are warned")

    def _drop_foreign_names(self) -> None:
        """A neighbour's warning may name a place that has a namesake here (城西村, 新市镇): only our county's own name counts."""
        if canonical(self.regions.county.name) in canonical(self.area.description):
            return
        both = self.named.union(*self.several.values())
        if both:
            names = self._titles(both)
            text = f"all codes are other counties', yet the description names {names}, which also exists here: not warned"
            self._note(FindingKind.OUTSIDE_NAMED, text)
        self.named.clear()
        self.several.clear()

    # --- codes

    def _sort_codes(self) -> _Places:
        places = _Places([], [], [])
        county = self.regions.county.code
        malformed = []
        for value in dict.fromkeys(part for code in self.area.geocodes for part in _split_codes(code.value)):
            code = shorten_code(value)
            if not code:
                malformed.append(value)
            elif code.startswith(county):
                places.ours.append(code)
            elif _contains(code, county):
                places.higher.append(code)
            else:
                places.elsewhere.append(value)
        if malformed:
            self._note(FindingKind.UNKNOWN_CODE, f"no code of 6, 9 or 12 digits, not read: {_listed(malformed)}")
        return places

    def _read_code(self, code: str) -> None:
        nbs, mca = self._meaning(code, CodeSystem.NBS), self._meaning(code, CodeSystem.MCA)
        if not nbs.places and not mca.places:
            self._note(
                FindingKind.UNKNOWN_CODE, f"code {code} begins like this county's, but no town or village has it: not warned"
            )
        elif self.system is None:
            self._take_of_both(code, nbs, mca)
        elif self.system is CodeSystem.NBS:
            self._take_of_own(code, nbs, mca)
        else:
            self._take_of_own(code, mca, nbs)

    def _take_of_own(self, code: str, own: _Meaning, other: _Meaning) -> None:
        if own.places:
            self._take(own)
            return
        self._take(other)
        self.doubted |= other.places
        where = self._titles(other.places)
        text = f"code {code} is unknown in the {self.system} system, which is set for this source; the other has {where}: warned"
        self._note(FindingKind.CONFLICT, text)

    def _take_of_both(self, code: str, nbs: _Meaning, mca: _Meaning) -> None:
        """No system is set: the NBS reading where names confirm it or MCA has none; else both, and a person is told."""
        if not nbs.places:
            self._take(mca)
            text = f"code {code} exists only in the MCA system: read as {self._titles(mca.places)}"
            self._note(FindingKind.OTHER_SYSTEM, text)
            return
        self._take(nbs)
        if not mca.places or nbs.places == mca.places or nbs.places <= self.around:
            return
        self.coded |= mca.places
        self.doubted |= nbs.places | mca.places
        self._note(
            FindingKind.CONFLICT,
            f"code {code} is {self._titles(nbs.places)} in the NBS system and {self._titles(mca.places)} in the MCA system, and "
            "the description does not confirm the first: both are warned; set the code system of this source",
        )

    def _take(self, meaning: _Meaning) -> None:
        self.coded |= meaning.places
        if meaning.finding:
            self.findings.append(meaning.finding)

    def _meaning(self, code: str, system: CodeSystem) -> _Meaning:
        """What a code means in one system: its region, where that is now, or the town of a village that is not known."""
        exact = self.regions.by_code(code, system)
        if exact:
            return _Meaning(frozenset({exact}))
        moved = frozenset(self.regions.moved(code)) if system is CodeSystem.NBS else frozenset()
        if moved:
            kind = FindingKind.RETIRED if len(moved) == 1 else FindingKind.AMBIGUOUS
            return _Meaning(moved, Finding(kind, f"code {code} is retired and stands now for {self._titles(moved)}: warned"))
        if len(code) == _VILLAGE_DIGITS:
            towns = self._meaning(code[:_TOWN_DIGITS], system).places
            text = f"code {code} is no known village: all of {self._titles(towns)} is warned"
            return _Meaning(towns, Finding(FindingKind.UNKNOWN_VILLAGE, text))
        return _Meaning(frozenset())

    def _read_higher(self, places: _Places) -> None:
        county, codes = self.regions.county, _listed(places.higher)
        if self.coded:
            text = (
                f"beside codes of this county stands {codes}, which contains all of {county.name}: only the narrower are warned"
            )
            self._note(FindingKind.NARROWED, text)
            return
        self.coded.add(county.code)
        self._note(FindingKind.HIGHER, f"{codes} contains {county.name}: the whole county is warned")

    # --- codes against names

    def _compare(self) -> None:
        if not self.coded:
            return
        extra = {code for code in self.named if not self._lies_in(code, self.coded)}
        if extra:
            text = f"the description names {self._titles(extra)}, which no code covers: warned too"
            self._note(FindingKind.NAMED_ONLY, text)
        silent = self.coded - self.doubted - self.around
        if silent and self.named and not self.unread:
            text = f"the codes cover {self._titles(silent)}, which the description does not name: warned too"
            self._note(FindingKind.CONFLICT, text)

    def _lies_in(self, code: RegionCode, places: set[RegionCode]) -> bool:
        return not places.isdisjoint((code, *self.regions.above(code)))

    def _tell_unread(self, places: _Places) -> None:
        if self.unread:
            # Beside a code words may stay vague (西部山区): the code says where. Alone, they may have meant somebody.
            kind = FindingKind.VAGUE if self.coded or places.elsewhere else FindingKind.UNREAD
            self._note(kind, f"not read in the description: {_listed(self.unread)}")

    # --- geometry

    def _read_geometry(self) -> set[RegionCode]:
        if not self.area.polygons and not self.area.circles:
            return set()
        hit = geometry.towns_hit(self.area, self.regions)
        if hit.unreadable:
            self._note(FindingKind.UNREAD, f"{hit.unreadable} polygons or circles have no usable coordinates: not read")
        if not hit.towns and not hit.unreadable:
            self._note(FindingKind.OUTSIDE, "the polygons and circles touch no town of this county")
        added = {town for town in hit.towns if not self._lies_in(town, self.coded | self.named)}
        if added & hit.approximate:
            towns = self._titles(added & hit.approximate)
            text = f"{towns}: judged by distance, for want of an outline; perhaps too many are warned"
            self._note(FindingKind.OVER_WARNED, text)
        if added and (self.coded or self.named):
            text = f"the polygons and circles also touch {self._titles(added)}, which no code or name covers: warned too"
            self._note(FindingKind.CONFLICT, text)
        return set(hit.towns)

    # --- words

    def _note(self, kind: FindingKind, text: str) -> None:
        self.findings.append(Finding(kind, text))

    def _titles(self, codes: Iterable[RegionCode]) -> str:
        """Names for a person; a village with its town, because village names repeat."""
        asked = frozenset(codes)
        if asked not in self.titles:  # a hostile file repeats the same few towns half a million times
            self.titles[asked] = _listed([self._title(code) for code in self.regions.roots(asked)])
        return self.titles[asked]

    def _title(self, code: RegionCode) -> str:
        town = self.regions.town_of(code)
        return self.regions[code].name if town is None or town.code == code else town.name + self.regions[code].name


@dataclass(frozen=True, slots=True)
class _Places:
    """The codes of one area: this county's, the units' that contain it, and all others."""

    ours: list[str]
    higher: list[str]
    elsewhere: list[str]


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a code means in one system; `finding` is told only when the meaning is taken."""

    places: frozenset[RegionCode]
    finding: Finding | None = None


_TOWN_DIGITS, _VILLAGE_DIGITS = DIGITS[Tier.TOWN], DIGITS[Tier.VILLAGE]
_OF_A_KIND = 20  # findings of one kind; the rest is counted
_LISTED = 10  # in a finding; the rest is counted
_CUT = 30  # characters of the alert that a finding quotes


def _limited(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Each once, and of each kind only so many as a person can read."""
    kept: list[Finding] = []
    seen: Counter[FindingKind] = Counter()
    for finding in dict.fromkeys(findings):
        seen[finding.kind] += 1
        if seen[finding.kind] <= _OF_A_KIND:
            kept.append(finding)
    more = [Finding(kind, f"and {n - _OF_A_KIND} more of this kind") for kind, n in seen.items() if n > _OF_A_KIND]
    return (*kept, *more)


def _contains(code: str, county: str) -> bool:
    """True for the city or the province that a county's code begins with."""
    return code == county[:4] + "00" or code == county[:2] + "0000"


def _listed(words: list[str]) -> str:
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return ", ".join(_cut(word) for word in words[:_LISTED]) + more


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else text[:_CUT] + "…"


def _split_codes(value: str) -> list[str]:
    return [code for code in re.split(r"[,，、;；\s]+", value) if code]
