"""The files that describe a county's regions → checked parts. `Regions` puts them together; nothing else reads them."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from shapely.errors import ShapelyError
from shapely.geometry import shape

from ..alert import RegionCode
from ..errors import InvalidFiles
from . import rows
from .rows import Notes, Row


class Tier(StrEnum):
    """An administrative level. Grid and household hang below a village and have no region of their own."""

    COUNTY = "county"
    TOWN = "town"
    VILLAGE = "village"


DIGITS = {Tier.COUNTY: 6, Tier.TOWN: 9, Tier.VILLAGE: 12}
TIER_OF_KIND = {
    "county": Tier.COUNTY,
    "subdistrict": Tier.TOWN,  # 街道
    "town": Tier.TOWN,  # 镇, 乡
    "village": Tier.VILLAGE,
    "community": Tier.VILLAGE,  # 社区, 居委会
}


@dataclass(frozen=True, slots=True)
class Region:
    """One node of the tree. Codes are NBS codes; a village carries its town's risk tags beside its own."""

    code: RegionCode
    name: str
    tier: Tier
    parent: RegionCode | None = None
    risk: frozenset[str] = frozenset()
    point: tuple[float, float] | None = None  # the seat, (latitude, longitude) WGS84
    point_error_km: float = 0.0  # how far off the point may be
    area_km2: float | None = None
    households: int | None = None
    kind: str = ""  # county, subdistrict, town, village, community: as in the file
    outline: Any = field(default=None, repr=False, compare=False)  # shapely geometry in (longitude, latitude), when known


@dataclass(frozen=True, slots=True)
class Parts:
    """What the files say, checked against each other."""

    regions: Mapping[RegionCode, Region]  # in code order
    aliases: Mapping[str, frozenset[str]]  # name as `canonical` has it → region codes or overlay names
    full_names: tuple[str, ...]  # of the county, such as 浙江省湖州市德清县
    mca: Mapping[RegionCode, str]  # a town's NBS code → its MCA code
    retired: Mapping[str, tuple[str, ...]]  # a code that is no more → the names it stood for, latest first
    overlays: Mapping[str, tuple[RegionCode, ...]]
    unverified: frozenset[str]  # overlays whose member list nobody has confirmed


REGIONS, ALIASES, HISTORY, TOWN_CODES = "regions.csv", "aliases.csv", "history.csv", "town_codes.csv"
POPULATION, OVERLAYS, RISK = "population.csv", "overlays.csv", "risk.csv"
COLUMNS = {
    REGIONS: ("code", "parent", "name", "tier"),
    ALIASES: ("code", "alias", "kind"),
    HISTORY: ("from_year", "to_year", "code", "old_name", "new_name"),
    TOWN_CODES: ("nbs", "mca"),
    POPULATION: ("code", "area_km2", "residents", "households"),
    OVERLAYS: ("name", "member", "verified"),
    RISK: ("region", "tag"),
}
GEOJSON = ".geojson"
FULL_NAME = "full_name"  # the alias kind that may stand before a town's name


def read(folder: Path) -> dict[str, str]:
    """The texts of a county's region files by file name, as `Regions.load` takes them. Raises InvalidFiles."""
    paths = [path for path in sorted(folder.glob("*")) if path.suffix in (".csv", GEOJSON)]
    return {path.name: rows.decode(path.name, path.read_bytes()) for path in paths}


def parse(files: Mapping[str, str]) -> Parts:
    """Checks all files and raises InvalidFiles with everything that is wrong. Other file types (a README) are passed over."""
    notes = Notes()
    _check_names(files, notes)
    tables = {name: list(_table(files, name, notes)) for name in COLUMNS}
    regions = _tree(tables[REGIONS], notes)
    if not regions:
        raise InvalidFiles(notes.problems)
    overlays, unverified = _overlays(tables[OVERLAYS], regions, notes)
    aliases, full_names = _aliases(tables[ALIASES], regions, overlays, notes)
    mca = _mca(tables[TOWN_CODES], regions, notes)
    regions = _with_area(tables[POPULATION], regions, notes)
    for name in sorted(files):
        if name.endswith(GEOJSON):
            regions = _with_geometry(name, files[name], regions, notes)
    regions = _with_risk(tables[RISK], regions, notes)
    notes.check()
    return Parts(regions, aliases, full_names, mca, _retired(tables[HISTORY], regions), overlays, unverified)


def canonical(name: str) -> str:
    """One spelling of a name: full-width forms folded, spaces dropped, the long words for a village's committee shortened."""
    folded = "".join(unicodedata.normalize("NFKC", name).split())
    folded = re.sub(r"村?(村民委员会|村委会)$", "村", folded)
    return re.sub(r"社区(居民委员会|居委会)$", "社区", folded)


def _check_names(files: Mapping[str, str], notes: Notes) -> None:
    for name in files:
        if name.endswith(".csv") and name not in COLUMNS:
            notes.error(name, f"not a file of regions; known are {', '.join(COLUMNS)} and *{GEOJSON}")
    if REGIONS not in files:
        notes.error(REGIONS, "the file is missing: it names every region, one a line")


def _table(files: Mapping[str, str], name: str, notes: Notes) -> list[Row]:
    if name not in files:
        return []
    text = io.StringIO(files[name].removeprefix("\ufeff"))
    return list(rows.read(name, text, COLUMNS[name], notes))


def _tree(table: list[Row], notes: Notes) -> dict[RegionCode, Region]:
    found: dict[RegionCode, Region] = {}
    for row in table:
        code, tier = row["code"], TIER_OF_KIND.get(row["tier"])
        if tier is None:
            notes.error(row, f"tier = {row['tier']!r}: must be one of {', '.join(TIER_OF_KIND)}")
        elif not re.fullmatch(rf"[0-9]{{{DIGITS[tier]}}}", code):
            notes.error(row, f"code = {code!r}: a {tier} has {DIGITS[tier]} digits, written as text")
        elif code in found:
            notes.error(row, f"code {code} stands here twice")
        elif not row["name"]:
            notes.error(row, f"{code} has no name")
        else:
            parent = None if tier is Tier.COUNTY else RegionCode(row["parent"])
            found[RegionCode(code)] = Region(RegionCode(code), row["name"], tier, parent, kind=row["tier"])
    _check_parents(table, found, notes)
    return dict(sorted(found.items()))


def _check_parents(table: list[Row], found: Mapping[RegionCode, Region], notes: Notes) -> None:
    above = {Tier.TOWN: Tier.COUNTY, Tier.VILLAGE: Tier.TOWN}
    for row in table:
        region = found.get(RegionCode(row["code"]))
        if region is None or region.parent is None:
            continue
        parent = found.get(region.parent)
        if parent is None or parent.tier is not above[region.tier] or not region.code.startswith(parent.code):
            notes.error(row, f"parent = {region.parent!r}: must be the {above[region.tier]} that begins the code {region.code}")
    counties = [region.code for region in found.values() if region.tier is Tier.COUNTY]
    if len(counties) > 1 or not (counties or notes.problems):
        notes.error(REGIONS, f"{len(counties)} counties; there must be exactly one")


def _overlays(
    table: list[Row], regions: Mapping[RegionCode, Region], notes: Notes
) -> tuple[dict[str, tuple[RegionCode, ...]], frozenset[str]]:
    members: dict[str, set[RegionCode]] = {}
    unverified = set()
    for row in table:
        code = _known(row, "member", regions, notes)
        name = canonical(row["name"])
        if not name:
            notes.error(row, "name is empty")
        elif code:
            members.setdefault(name, set()).add(code)
        if not rows.flag(row, "verified", notes):
            unverified.add(name)
    return {name: tuple(sorted(codes)) for name, codes in members.items()}, frozenset(unverified)


def _aliases(
    table: list[Row], regions: Mapping[RegionCode, Region], overlays: Mapping[str, tuple[RegionCode, ...]], notes: Notes
) -> tuple[dict[str, frozenset[str]], tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    full_names = []
    for row in table:
        alias, code = canonical(row["alias"]), row["code"]
        if code not in regions and code not in overlays:
            notes.error(row, f"code = {code!r}: no such region or overlay")
        elif not alias:
            notes.error(row, "alias is empty")
        else:
            found.setdefault(alias, set()).add(code)
        if row["kind"] == FULL_NAME:
            full_names.append(alias)
    return {alias: frozenset(codes) for alias, codes in found.items()}, tuple(full_names)


def _mca(table: list[Row], regions: Mapping[RegionCode, Region], notes: Notes) -> dict[RegionCode, str]:
    found: dict[RegionCode, str] = {}
    for row in table:
        code, mca = _known(row, "nbs", regions, notes), row["mca"]
        if not re.fullmatch(r"[0-9]{9}", mca):
            notes.error(row, f"mca = {mca!r}: a town has 9 digits, written as text")
        elif mca in found.values() or code in found:
            notes.error(row, f"{row['nbs']} = {mca}: one of the two stands here twice")
        elif code:
            found[code] = mca
    return found


def _retired(table: list[Row], regions: Mapping[RegionCode, Region]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for row in sorted(table, key=lambda row: (row["to_year"], row.line), reverse=True):
        if row["code"] not in regions:
            found.setdefault(row["code"], []).extend(canonical(name) for name in (row["new_name"], row["old_name"]) if name)
    return {code: tuple(names) for code, names in found.items()}


def _with_area(table: list[Row], regions: dict[RegionCode, Region], notes: Notes) -> dict[RegionCode, Region]:
    found = dict(regions)
    for row in table:
        code, area = _known(row, "code", regions, notes), row["area_km2"]
        if area and not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", area):
            notes.error(row, f"area_km2 = {area!r}: must be square kilometres, or empty when not known")
        elif area and code:
            found[code] = replace(found[code], area_km2=float(area))
        if code and re.fullmatch(r"[0-9]{1,9}", row["households"]):  # what is no number is no count: it only says "of how many"
            found[code] = replace(found[code], households=int(row["households"]))
    return found


def _with_geometry(name: str, text: str, regions: dict[RegionCode, Region], notes: Notes) -> dict[RegionCode, Region]:
    found = dict(regions)
    try:
        features = list(json.loads(text.removeprefix("\ufeff"))["features"])
    except ValueError as error:
        notes.error(name, f"not readable as JSON: {error}", getattr(error, "lineno", 0))
        return found
    except (KeyError, TypeError):
        notes.error(name, "not a GeoJSON FeatureCollection: there is no list named features")
        return found
    for number, feature in enumerate(features, start=1):
        try:
            code = RegionCode(str(feature["properties"]["code"]))
            found[code] = _placed(found[code], feature)
        except KeyError as missing:
            notes.error(name, f"feature {number}: {missing} is missing, or is no region of {REGIONS}")
        except (TypeError, ValueError, IndexError, AttributeError, ShapelyError) as error:
            notes.error(name, f"feature {number}: not a Point, Polygon or MultiPolygon in degrees WGS84 ({error})")
    return found


def _placed(region: Region, feature: Mapping[str, Any]) -> Region:
    geometry = shape(feature["geometry"])
    west, south, east, north = geometry.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise ValueError("outside longitude ±180, latitude ±90")
    if geometry.geom_type == "Point":
        return replace(region, point=(geometry.y, geometry.x), point_error_km=float(feature["properties"].get("error_km") or 0))
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return replace(region, outline=geometry if geometry.is_valid else geometry.buffer(0))
    raise ValueError(f"a {geometry.geom_type}")


def _with_risk(table: list[Row], regions: dict[RegionCode, Region], notes: Notes) -> dict[RegionCode, Region]:
    own: dict[RegionCode, set[str]] = {}
    for row in table:
        code = _known(row, "region", regions, notes)
        if not row["tag"]:
            notes.error(row, "tag is empty")
        elif code:
            own.setdefault(code, set()).add(row["tag"])
    inherited = {region.code: own.get(region.parent, set()) for region in regions.values() if region.parent}
    return {
        code: replace(region, risk=frozenset(own.get(code, set()) | inherited.get(code, set())))
        for code, region in regions.items()
    }


def _known(row: Row, column: str, regions: Mapping[RegionCode, Region], notes: Notes) -> RegionCode | None:
    code = RegionCode(row[column])
    if code in regions:
        return code
    damaged = "a spreadsheet has rewritten it as a number" if rows.is_damaged(code) else f"no such region in {REGIONS}"
    notes.error(row, f"{column} = {code!r}: {damaged}")
    return None
