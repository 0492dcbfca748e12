"""The values of a plan: what a county wrote down, and what that makes owed for one alert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ...alert import Level, RegionCode, Signal
from .ladder import Ladder
from .night import Night

TIERS = ("county", "town", "village", "grid", "household")


class Lane(StrEnum):
    """Which workers carry it. Residents are bulk at any colour, drills never stand in anybody's way."""

    ALARM = "alarm"
    BULK = "bulk"
    DRILL = "drill"


class Audience(StrEnum):
    """Who hears it."""

    POST = "post"
    RESIDENT = "resident"
    PLACE = "place"  # a target without a person: a loudspeaker system, a neighbour's platform


class Disposition(StrEnum):
    """What is to be done with an alert."""

    DISSEMINATE = "disseminate"
    RECORD = "record"  # kept, told to nobody
    DECIDE = "decide"  # a person must say where or how strong, before anything can be planned


class Doubt(StrEnum):
    """Which harm the county holds for smaller, when no answer came and nobody can be asked."""

    RESEND = "resend"  # a doubled warning
    HOLD = "hold"  # silence


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of what is owed: these roles, by this channel, at this tier. The ledger turns each into one statement."""

    tier: str  # one of TIERS, for progress by tier
    roles: tuple[str, ...]  # () for RESIDENT and PLACE
    ranks: tuple[str, ...]  # ("A",) or ("A", "B")
    channel: str
    lane: Lane
    audience: Audience
    risk_first: bool | None  # True: regions with a matching risk tag; False: the others; None: no split
    within: int  # seconds until the last one of it should be handed over
    answer_within: int | None  # seconds; an acknowledgement is owed
    approvers: tuple[str, ...]  # () = free to go; else one person holding one of these roles approves before it is planned
    otherwise: tuple[str, ...] = ()  # the plan's next channels, when no far end of this one may be called in time


@dataclass(frozen=True, slots=True)
class Owed:
    """The decision for one alert. `rules` are in the order in which they are to be planned."""

    plan: str  # the plan's file without .toml; also the folder of its words
    level: Level | None  # the colour to be said; a 山洪 signal does not repaint it, see frozen["scale"]
    disposition: Disposition
    reason: str
    expires: datetime
    rules: tuple[Rule, ...]
    first_regions: frozenset[RegionCode]  # with matching risk
    doubt: Doubt
    approve_within: int  # seconds
    approvers: tuple[str, ...]  # everybody who may release some of it; each rule names its own
    drafted_alone: bool  # one person may release it alone, with a reason
    ladder: Ladder | None  # how whoever owes an answer is called; None where nobody owes one
    quorum: Mapping[str, tuple[str, ...]]  # tier → roles, see Section
    frozen: Mapping[str, Any]  # JSON-able: the part of the plan that was used, to be stored


@dataclass(frozen=True, slots=True)
class Tell:
    """One `tell` block of a plan, its groups written out."""

    tier: str
    audience: Audience
    roles: tuple[str, ...]
    ranks: tuple[str, ...]
    channels: tuple[str, ...]
    within: int
    answer_within: int | None
    risk_first: bool


@dataclass(frozen=True, slots=True)
class Section:
    """What a plan says for one level or one signal."""

    doubt: Doubt
    tells: tuple[Tell, ...]
    ladder: Ladder | None  # there whenever one of `tells` owes an answer
    # tier → the roles of one region that must have answered before it has; a tier that is not here: all that owe an answer
    quorum: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Plan:
    """One hazard's plan, with what it takes over from the plan it extends."""

    name: str
    title: str
    events: tuple[str, ...]  # national codes, or prefixes ending in *
    event_names: tuple[str, ...]  # for senders without national codes
    risk: frozenset[str]
    expires_after: timedelta
    level_if_unknown: Level | None
    levels: Mapping[Level, Section]
    signals: Mapping[Signal, Section]
    superiors: Mapping[str, tuple[str, ...]]  # role → roles of the tier above, the first to be asked first
    sideways: Mapping[str, tuple[str, ...]]  # role → roles of the same or a neighbouring region; its own: the neighbour's
    night: Night


@dataclass(frozen=True, slots=True)
class Passage:
    """One `free` or `review` block of the release table."""

    sources: tuple[str, ...]  # "*" = any
    levels: frozenset[Level]
    channels: tuple[str, ...]
    audiences: frozenset[Audience]
    stand_down: bool  # also its "it is over"
    approvers: tuple[str, ...]

    def covers(self, source: str, level: Level, channel: str, audience: Audience) -> bool:
        """True when this block speaks of that way out."""
        return self.names(source) and level in self.levels and channel in self.channels and audience in self.audiences

    def names(self, source: str) -> bool:
        """True when this block speaks of that source."""
        return source in self.sources or "*" in self.sources


@dataclass(frozen=True, slots=True)
class Release:
    """Who may go out without review. What no `free` block covers waits for one of `approvers`."""

    approve_within: int
    approvers: tuple[str, ...]
    alone: frozenset[Level]
    free: tuple[Passage, ...]
    review: tuple[Passage, ...]
    ladder: Ladder | None  # how approvers are called until one of them decides; None: they are told, and nobody is called again

    def approvers_of(self, source: str, level: Level, channel: str, audience: Audience) -> tuple[str, ...]:
        """() when it may go; a `review` block beats a `free` one."""
        for passage in self.review:
            if passage.covers(source, level, channel, audience):
                return passage.approvers
        free = any(passage.covers(source, level, channel, audience) for passage in self.free)
        return () if free else self.approvers

    def approvers_of_stand_down(self, source: str) -> tuple[str, ...]:
        """A false "it is over" is as dangerous as a false alarm, so a source is trusted with it in so many words."""
        free = any(passage.stand_down and passage.names(source) for passage in self.free)
        return () if free else self.approvers
