"""The place names of what an alert covers, from the fullest account to a mere count."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..alert import RegionCode
from ..tiers.regions import Region, Regions, Tier

_SOMEWHERE = "有关区域"


def place_names(roots: Sequence[RegionCode], regions: Regions) -> tuple[str, ...]:
    """Ever shorter: full names, short town names, towns only, numbers only. Never empty; the last has a bounded length."""
    found = [regions[code] for code in dict.fromkeys(roots)]
    county = next((region for region in found if region.tier is Tier.COUNTY), None)
    towns = [region for region in found if region.tier is Tier.TOWN]
    villages = [region for region in found if region.tier is Tier.VILLAGE and not _covered(region, towns)]
    if not found:
        return (_SOMEWHERE,)
    if county is not None:
        return (regions.county.name, "全县")
    forms = (
        _named(towns, villages, regions, str),
        _named(towns, villages, regions, short_name),
        _towns_only(towns, villages, regions),
        _counted(towns, villages),
    )
    return tuple(dict.fromkeys(form for form in forms if form))


def short_name(name: str) -> str:
    """莫干山镇 → 莫干山; what would leave a single character stays whole."""
    return re.sub(r"(?<=..)(街道|镇|乡)$", "", name)


def _covered(village: Region, towns: Sequence[Region]) -> bool:
    return any(village.parent == town.code for town in towns)


def _named(towns: Sequence[Region], villages: Sequence[Region], regions: Regions, town_name: Callable[[str], str]) -> str:
    """莫干山镇、武康街道、新市镇城西村、东升社区: a village after its town, which is said once."""
    parts = [town_name(town.name) for town in towns]
    last = None
    for village in sorted(villages, key=lambda region: region.code):
        parts.append(village.name if village.parent == last else town_name(_town(village, regions)) + village.name)
        last = village.parent
    return "、".join(parts)


def _towns_only(towns: Sequence[Region], villages: Sequence[Region], regions: Regions) -> str:
    """莫干山、武康、新市部分村: it must not say more than is covered."""
    partly = dict.fromkeys(short_name(_town(village, regions)) for village in villages)
    return "、".join([*(short_name(town.name) for town in towns), *(f"{name}部分村" for name in partly)])


def _counted(towns: Sequence[Region], villages: Sequence[Region]) -> str:
    parts = [f"{len(towns)}个镇(街道)"] if towns else []
    return "、".join([*parts, f"{len(villages)}个村(社区)"] if villages else parts)


def _town(village: Region, regions: Regions) -> str:
    town = regions.town_of(village.code)
    return town.name if town else ""
