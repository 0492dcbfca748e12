"""The loudspeakers of the county as they stand: heard from when, playing what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..alert import RegionCode
from ..channels.base import Standing
from ..ledger import Row, conditions, questions
from ..tiers.regions import Regions
from .house import House

SILENT_AFTER = 24 * 3600 * 1000  # milliseconds; systems report their state daily at least (speakers-ebd.md 2.7)
_WORST_FIRST = (Standing.FAULT, Standing.OFFLINE, Standing.PLAYING, Standing.ONLINE)


@dataclass(frozen=True, slots=True)
class Speaker:
    """One village's loudspeaker system with all its terminals, or a platform that carries them (region "")."""

    region: str
    region_name: str
    system: str  # its address in the roster, or the peer's name
    standing: str  # the worst of its terminals: fault, offline, playing, online; "" = never heard from
    detail: str
    heard: datetime | None
    terminals: int  # that the platform spoke of
    alert_id: int | None  # the last alarm that was sent to it
    headline: str
    state: str  # of that delivery
    reason: str
    silent: bool  # not heard from for a day, or never


def speakers(house: House, region: str) -> list[Speaker]:
    """The platforms first, then the systems by region."""
    now = house.now()
    with house.ledger.read() as tx:
        platforms = {row.peer: row for row in conditions.of_peers(tx)}
        systems = conditions.of_systems(tx, region)
        rows = conditions.speakers(tx, region)
    by_region: dict[str, list[Row]] = {}
    for one in systems:
        by_region.setdefault(one.region, []).append(one)
    names = [name for name, far_end in house.peers.items() if far_end.peer.channel == "speaker"] if not region else []
    tree = house.books.regions if rows else None
    return [
        *(_platform(name, platforms.get(name), now) for name in names),
        *(_system(house, tree, row, by_region.get(row.region, ()), now) for row in rows),
    ]


def _platform(name: str, row: Row | None, now: int) -> Speaker:
    heard = row.heard if row is not None else None
    standing, detail = (row.standing, row.detail) if row is not None else ("", "")
    return Speaker("", "", name, standing, detail, questions.moment(heard), 0, None, "", "", "", _silent(heard, now))


def _system(house: House, regions: Regions | None, row: Row, terminals: Sequence[Row], now: int) -> Speaker:
    worst = min(terminals, key=lambda one: _WORST_FIRST.index(Standing(one.standing)), default=None)
    heard = max((one.heard for one in terminals), default=None)
    return Speaker(
        region=row.region,
        region_name=regions[RegionCode(row.region)].name if regions and row.region in regions else row.region,
        system=house.ledger.seal.open(row.sealed),
        standing=worst.standing if worst is not None else "",
        detail=worst.detail if worst is not None else "",
        heard=questions.moment(heard),
        terminals=len(terminals),
        alert_id=row.alert_id,
        headline=row.headline or "",
        state=row.state or "",
        reason=row.reason or "",
        silent=_silent(heard, now),
    )


def _silent(heard: int | None, now: int) -> bool:
    return heard is None or heard < now - SILENT_AFTER
