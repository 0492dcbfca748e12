"""The ways out: channels without a peer, contracts too small for the red plan, loudspeakers that went silent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta, timezone

from .. import speaking
from ..house import House
from .county import Colour, County, Finding, Spot, many
from .quotas import Shortfall

_BEIJING = timezone(timedelta(hours=8))


def no_way(county: County) -> Iterator[Finding]:
    for channel in sorted(county.asked.all_channels - county.house.ways.keys()):
        yield Finding(
            "no_way", "red", 1, f"the plans tell people by {channel}, and no peer is configured for it",
            f"add a [[peer]] of channel {channel} to broadcast.toml", (county.spot(county.regions.county.code, ()),),
        )  # fmt: skip


def too_slow(county: County, short: Sequence[Shortfall]) -> Iterator[Finding]:
    where = (county.spot(county.regions.county.code, ()),)
    for one in short:
        by, has = f"by plan {one.plan} at {one.level}", _span(one.has)
        if one.kind == "quota":
            what = f"{one.peer}: {one.calls:,} calls {by} to the whole county take about {_span(one.needs)}, it gives {has}"
            do = f"raise rate and concurrency of {one.peer} (and the contract's), add a second peer, or give the plan more time"
        elif one.kind == "ladder":
            what = (
                f"{one.peer}: when nobody answers {by}, calling all {one.calls:,} once takes about {_span(one.needs)}: "
                f"calls to one person come so far apart, not {has}"
            )
            do = f"get more lines or a higher rate for {one.peer}"
        else:
            what = (
                f"{one.peer}: {one.calls} calls to one number {by} take {_span(one.needs)} within what it allows each number, "
                f"the plan gives {has}"
            )
            do = f"agree on more calls to one number with {one.peer} (callee_limits), or let the plan's ladder make fewer"
        red = one.kind == "quota" or (one.kind == "budget" and one.level == "red")
        yield Finding(one.kind, "red" if red else "yellow", 1, what, do, where)


def silent_speakers(house: House, region: str) -> Iterator[Finding]:
    """A platform that was heard and went silent carries nobody any more; one that was never heard may not report at all."""
    silent = [one for one in speaking.speakers(house, region) if one.silent]
    platforms = [one for one in silent if not one.region]
    systems = [one for one in silent if one.region]
    county = house.books.regions.county
    for one in platforms:
        colour: Colour = "red" if one.heard else "yellow"
        since = f"since {one.heard.astimezone(_BEIJING):%m-%d %H:%M}" if one.heard else "ever"
        yield Finding(
            "silent_speakers", colour, 1, f"the loudspeaker platform {one.system} was not heard from {since}",
            "call its duty desk; `broadcast speakers` shows how it stands", (Spot(county.code, county.name, (), ""),),
        )  # fmt: skip
    if systems:
        never = sum(one.heard is None for one in systems)
        yield Finding(
            "silent_speakers", "yellow", len(systems),
            f"{many(len(systems), 'loudspeaker system')} not heard from for more than a day ({never} of them never)",
            "have them looked at; `broadcast speakers --silent` lists them",
            tuple(Spot(one.region, one.region_name, (), "") for one in systems),
        )  # fmt: skip


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "for ever"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
