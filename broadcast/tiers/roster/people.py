"""The roster as values: roles, persons and their posts, places and residents. No repr shows a name or an address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ...alert import RegionCode
from ...errors import Problem

CHANNELS = ("speaker", "sms", "voice", "zwdd", "grid", "feed")
PHONE_CHANNELS = frozenset({"sms", "voice"})  # their addresses are phone numbers


@dataclass(frozen=True, slots=True)
class Role:
    """What a post is for. `tier` is the level it acts at; `per` is the kind of region (or grid) that each holder has."""

    code: str
    zh: str
    tier: Literal["county", "town", "village", "grid", "household"]
    en: str = ""
    per: Literal["county", "town", "village", "grid", "microgrid", "household"] = "village"
    count: int = 0  # holders of rank A for each `per`; 0 where it varies
    required: bool = False  # a region without a holder is a vacancy


@dataclass(frozen=True, slots=True)
class Person:
    """One person and their addresses. The repr shows neither name nor address."""

    person_id: str
    name: str = field(repr=False)
    synthetic: bool
    phone: str = field(default="", repr=False)  # E.164
    zwdd: str = field(default="", repr=False)  # 浙政钉 account
    grid: str = field(default="", repr=False)  # account on the grid platform (141)
    test: bool = False  # a registered test target


@dataclass(frozen=True, slots=True)
class Post:
    """A role that a person holds for a region. A is the holder, B the deputy (A/B 岗)."""

    person_id: str
    role: str
    region: RegionCode
    rank: Literal["A", "B"] = "A"


@dataclass(frozen=True, slots=True)
class Place:
    """A target without a person: a loudspeaker system, a neighbour's platform, a test phone."""

    region: RegionCode
    channel: str
    address: str = field(repr=False)  # E.164 on sms and voice, else the channel's own form
    synthetic: bool
    test: bool = False


@dataclass(frozen=True, slots=True)
class Resident:
    """One resident's phone. `grid` names the grid within the village; it is no address."""

    region: RegionCode
    grid: str
    phone: str = field(repr=False)  # E.164
    synthetic: bool


@dataclass(frozen=True, slots=True)
class Roster:
    """All of it, checked. `residents` opens the file anew each time: it may be half a million lines, and is never held."""

    persons: tuple[Person, ...]
    posts: tuple[Post, ...]
    places: tuple[Place, ...]
    residents: Callable[[], Iterator[Resident]]
    problems: tuple[Problem, ...] = ()  # warnings only: an error is raised
    resident_count: int = 0
