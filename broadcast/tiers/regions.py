"""The county's tree: which region lies below which, and which region a code or a name means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType

from ..alert import RegionCode
from ..errors import NotFound
from .region_files import DIGITS, Parts, Region, Tier, canonical, parse, read

__all__ = ["DIGITS", "CodeSystem", "Region", "Regions", "Tier", "canonical", "read", "shorten"]


class CodeSystem(StrEnum):
    """Whose town codes a source writes. The two share only a few, and a code of one can mean another town in the other."""

    NBS = "nbs"  # 国家统计局 statistics: ours inside
    MCA = "mca"  # 民政部 civil affairs: town codes only


_LONGEST = 60  # characters of a name with its province, city, county and town before it; whatever is longer is no name

# The ending that everyday texts leave out: 武康 for 武康街道, 城西 for 城西村.
_ENDING = re.compile(r"(街道|镇|乡|县|社区|居委会|村)$")


class Regions:
    """One county's regions. Immutable once loaded; iterates in code order."""

    __slots__ = ("_above", "_below", "_children", "_exact", "_loose", "_mca", "_parts", "_prefixes", "_regions", "county")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._regions: Mapping[RegionCode, Region] = MappingProxyType(dict(parts.regions))
        self.county: Region = next(region for region in self if region.tier is Tier.COUNTY)
        self._children = {code: tuple(r for r in self if r.parent == code) for code in self._regions}
        self._above = {code: self._ascend(code) for code in self._regions}
        self._below = {code: self._descend(code) for code in self._regions}
        self._mca = {mca: nbs for nbs, mca in parts.mca.items()}
        self._exact = self._exact_names()
        self._loose = self._loose_names()
        self._prefixes = self._outer_names()

    @classmethod
    def load(cls, files: Mapping[str, str]) -> Regions:
        """From texts by file name (`read` gets them from a folder). Raises InvalidFiles with every problem found."""
        return cls(parse(files))

    def __getitem__(self, code: str) -> Region:
        try:
            return self._regions[RegionCode(code)]
        except KeyError:
            raise NotFound(f"no region {str(code)[:20]!r} in {self.county.name}") from None

    def __contains__(self, code: object) -> bool:
        return code in self._regions

    def __iter__(self) -> Iterator[Region]:
        return iter(self._regions.values())

    def __len__(self) -> int:
        return len(self._regions)

    def children(self, code: str) -> tuple[Region, ...]:
        """The regions directly below."""
        return self._children[self[code].code]

    def below(self, code: str) -> tuple[RegionCode, ...]:
        """The region itself and everything below it."""
        return self._below[self[code].code]

    def above(self, code: str) -> tuple[RegionCode, ...]:
        """The regions it lies in, the county first; without itself."""
        return self._above[self[code].code]

    def town_of(self, code: str) -> Region | None:
        """The town that a region is or lies in; None for the county."""
        return next((self[c] for c in (*self.above(code), code) if self[c].tier is Tier.TOWN), None)

    def closure(self, codes: Iterable[str]) -> frozenset[RegionCode]:
        """The regions, all below them, and all above them: everybody who must know."""
        return frozenset(c for code in codes for c in (*self.above(code), *self.below(code)))

    def roots(self, codes: Iterable[str]) -> tuple[RegionCode, ...]:
        """The fewest regions that cover the same ground: nothing below another, and a whole set of children is its parent."""
        return tuple(sorted(self._cover(self.county.code, frozenset(codes))))

    def by_code(self, value: str, system: CodeSystem) -> RegionCode | None:
        """The region of a code with 6, 9 or 12 digits (towns and the county may end in zeros); None when it means none.

        MCA publishes no codes below the town, so a village code has no MCA reading.
        """
        short = shorten(value)
        if system is CodeSystem.MCA and len(short) > DIGITS[Tier.COUNTY]:
            return self._mca.get(short)
        return RegionCode(short) if short in self._regions else None

    def by_name(self, name: str) -> tuple[RegionCode, ...]:
        """The regions of a name, whole: exact, short, or an alias, alone or after its county's or town's name.

        Several when the name is ambiguous, or is an overlay's (高新区). Where one lies in another (莫干山 is a town and a
        community in it), the outer one. No part of a name is ever matched.
        """
        found = self._find(canonical(name)) if len(name) <= _LONGEST else frozenset()
        return tuple(sorted(code for code in found if not found.intersection(self.above(code))))

    def overlay(self, name: str) -> str | None:
        """The overlay that a name means (高新区 for its long name), or None."""
        spelled = canonical(name)
        named = {spelled, *self._parts.aliases.get(spelled, ())}
        return next((overlay for overlay in sorted(named) if overlay in self._parts.overlays), None)

    def is_unverified(self, overlay: str) -> bool:
        """True when nobody has confirmed an overlay's member list."""
        return overlay in self._parts.unverified

    def moved(self, value: str) -> tuple[RegionCode, ...]:
        """Where the region of a retired code is now, found by its name; empty when the code was never one of ours."""
        names = self._parts.retired.get(shorten(value), ())
        return next((found for found in map(self.by_name, names) if found), ())

    def _descend(self, code: RegionCode) -> tuple[RegionCode, ...]:
        return (code, *(c for child in self._children[code] for c in self._descend(child.code)))

    def _ascend(self, code: RegionCode) -> tuple[RegionCode, ...]:
        parent = self._regions[code].parent
        return () if parent is None else (*self._ascend(parent), parent)

    def _cover(self, code: RegionCode, codes: frozenset[str]) -> list[RegionCode]:
        if code in codes:
            return [code]
        parts = [self._cover(child.code, codes) for child in self._children[code]]
        if parts and all(part == [child.code] for part, child in zip(parts, self._children[code], strict=True)):
            return [code]
        return [c for part in parts for c in part]

    def _find(self, spelled: str) -> frozenset[RegionCode]:
        alone = self._exact.get(spelled) or self._loose.get(spelled)
        if alone or len(spelled) < 3:
            return alone or frozenset()
        for prefix, place in self._prefixes:
            if spelled.startswith(prefix):
                found = self._find(spelled[len(prefix) :]).intersection(self.below(place))
                if found:
                    return found
        return frozenset()

    def _exact_names(self) -> dict[str, frozenset[RegionCode]]:
        found: dict[str, set[RegionCode]] = {}
        for region in self:
            found.setdefault(canonical(region.name), set()).add(region.code)
        return {name: frozenset(codes) for name, codes in found.items()}

    def _outer_names(self) -> tuple[tuple[str, RegionCode], ...]:
        """What may stand before a name: the county's names (德清县, 浙江省湖州市德清县) and the towns'; longest first."""
        county = self.county.code
        outer = [(name, county) for name in self._parts.full_names]
        for region in self:
            if region.tier is not Tier.VILLAGE:
                name = canonical(region.name)
                outer += [(name, region.code), (_ENDING.sub("", name), region.code)]
        return tuple(sorted(((n, c) for n, c in outer if len(n) > 1), key=lambda pair: (-len(pair[0]), pair)))

    def _loose_names(self) -> dict[str, frozenset[RegionCode]]:
        found: dict[str, set[RegionCode]] = {name: set(members) for name, members in self._parts.overlays.items()}
        for alias, codes in self._parts.aliases.items():
            for code in codes:
                found.setdefault(alias, set()).update(self._parts.overlays.get(code, (RegionCode(code),)))
        for region in self:
            short = _ENDING.sub("", canonical(region.name))
            if len(short) > 1:
                found.setdefault(short, set()).add(region.code)
        return {name: frozenset(codes) for name, codes in found.items()}


def shorten(value: str) -> str:
    """A code without the zeros that fill a county or a town up to twelve digits; "" when it is no such code."""
    digits = value.strip() if value.isascii() else canonical(value)
    if not re.fullmatch(r"[0-9]{6}|[0-9]{9}|[0-9]{12}", digits):
        return ""
    if not digits[6:].strip("0"):
        return digits[:6]
    return digits[:9] if not digits[9:].strip("0") else digits
