"""Which towns a polygon or circle touches: exactly where a town has its outline, else by distance to its seat."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shapely import make_valid, transform
from shapely.geometry import MultiPoint, Point
from shapely.geometry import Polygon as Outline

from ..alert import Area, Circle, Polygon, RegionCode
from .regions import Region, Regions, Tier

_KM_PER_DEGREE = 111.195  # of latitude, on a sphere of 6,371 km
_AREA_WHEN_UNKNOWN_KM2 = 100.0  # a radius of 5.6 km; only where not even the county's area is known


@dataclass(frozen=True, slots=True)
class Hit:
    """The towns touched, those of them that were decided by distance, and how many figures could not be read."""

    towns: frozenset[RegionCode]
    approximate: frozenset[RegionCode]
    unreadable: int


def towns_hit(area: Area, regions: Regions) -> Hit:
    """A town without an outline is hit within its equivalent radius (a circle of its area) plus the error of its point.

    A town with neither outline nor point cannot be excluded, so any readable figure that touches another town hits it too.
    """
    polygons = [polygon for polygon in area.polygons if polygon and all(_on_earth(*pair) for pair in polygon)]
    circles = [c for c in area.circles if _on_earth(c.latitude, c.longitude) and 0 <= c.radius_km < math.inf]
    towns = [region for region in regions if region.tier is Tier.TOWN]
    shapes = [_outline(polygon) for polygon in polygons]
    reach = {town.code: _equivalent_radius(town, regions) + town.point_error_km for town in towns}
    hit = {town.code for town in towns if _touched(town, shapes, circles, reach[town.code])}
    nowhere = {town.code for town in towns if town.outline is None and town.point is None}
    hit |= nowhere if hit else set()
    approximate = {town.code for town in towns if town.code in hit and town.outline is None}
    unreadable = len(area.polygons) + len(area.circles) - len(polygons) - len(circles)
    return Hit(frozenset(hit), frozenset(approximate), unreadable)


def _touched(town: Region, shapes: Iterable[Any], circles: Iterable[Circle], reach_km: float) -> bool:
    if town.outline is not None:
        return any(shape.intersects(town.outline) for shape in shapes) or any(_in_outline(town.outline, c) for c in circles)
    if town.point is None:
        return False
    return any(_distance_to_shape(town.point, shape) <= reach_km for shape in shapes) or any(
        _distance(town.point, (c.latitude, c.longitude)) <= c.radius_km + reach_km for c in circles
    )


def _outline(polygon: Polygon) -> Any:
    """In (longitude, latitude). A figure that is no area (too few points, all on a line) is taken with all between them."""
    points = [(longitude, latitude) for latitude, longitude in polygon]
    if len(set(points)) < 3:
        return MultiPoint(points).convex_hull
    return make_valid(Outline(points))


def _in_outline(outline: Any, circle: Circle) -> bool:
    flat = _flat(outline, circle.latitude, circle.longitude)
    return bool(flat.distance(Point(0, 0)) <= circle.radius_km)


def _distance_to_shape(point: tuple[float, float], shape: Any) -> float:
    return float(_flat(shape, *point).distance(Point(0, 0)))


def _flat(shape: Any, latitude: float, longitude: float) -> Any:
    """Kilometres east and north of a place. Good to a percent within a few hundred kilometres, which is all that matters here."""
    from_degree = math.cos(math.radians(latitude)) * _KM_PER_DEGREE
    return transform(shape, lambda pairs: (pairs - [longitude, latitude]) * [from_degree, _KM_PER_DEGREE])


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Great-circle kilometres (haversine)."""
    lat1, lon1, lat2, lon2 = map(math.radians, (*one, *other))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * _KM_PER_DEGREE * math.degrees(math.asin(min(1.0, math.sqrt(h))))


def _equivalent_radius(town: Region, regions: Regions) -> float:
    area = town.area_km2 or _mean_area(regions)
    return math.sqrt(area / math.pi)


def _mean_area(regions: Regions) -> float:
    county = regions.county
    return county.area_km2 / len(regions.children(county.code)) if county.area_km2 else _AREA_WHEN_UNKNOWN_KM2


def _on_earth(latitude: float, longitude: float) -> bool:
    return -90 <= latitude <= 90 and -180 <= longitude <= 180  # False for NaN too
