"""The warning itself: Alert, Info and Area, in CAP 1.2's words, whatever it arrived as."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, NewType

Identifier = NewType("Identifier", str)
EventKey = NewType("EventKey", str)
RegionCode = NewType("RegionCode", str)  # NBS: county 6 digits, town 9, village 12


class Status(StrEnum):
    """CAP 1.2 §3.2.1 status. Only ACTUAL ever walks the whole plan."""

    ACTUAL = "Actual"
    EXERCISE = "Exercise"  # may reach posts, marked 【演练】
    TEST = "Test"  # registered test targets only, marked 【测试】
    SYSTEM = "System"  # recorded, never disseminated
    DRAFT = "Draft"  # recorded, never disseminated


class MsgType(StrEnum):
    """CAP 1.2 §3.2.1 msgType."""

    ALERT = "Alert"
    UPDATE = "Update"
    CANCEL = "Cancel"
    ACK = "Ack"
    ERROR = "Error"


class Scope(StrEnum):
    """CAP 1.2 §3.2.1 scope. RESTRICTED and PRIVATE never reach the public."""

    PUBLIC = "Public"
    RESTRICTED = "Restricted"
    PRIVATE = "Private"


class Severity(StrEnum):
    """CAP 1.2 §3.2.2 severity."""

    EXTREME = "Extreme"
    SEVERE = "Severe"
    MODERATE = "Moderate"
    MINOR = "Minor"
    UNKNOWN = "Unknown"


class Level(StrEnum):
    """The signal colour of China's warnings, weakest first. Not the 应急响应 Ⅳ–Ⅰ scale, which stays a field of its own."""

    BLUE = "blue"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"

    @property
    def rank(self) -> int:
        """1 for blue to 4 for red."""
        return list(Level).index(self) + 1


LEVEL_OF_SEVERITY = {
    Severity.EXTREME: Level.RED,
    Severity.SEVERE: Level.ORANGE,
    Severity.MODERATE: Level.YELLOW,
    Severity.MINOR: Level.BLUE,
}


class Signal(StrEnum):
    """山洪 real-time steps beside the colour (浙江 山洪灾害预警). IMMEDIATE is the top of our scale whatever its colour."""

    NONE = ""
    PREPARE = "准备转移"
    IMMEDIATE = "立即转移"


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing a sender wrote sloppily and what was made of it: element, value as received, what it was taken for."""

    element: str
    value: str
    taken_as: str


@dataclass(frozen=True, slots=True)
class Reference:
    """An earlier message of the same event. 12379 gives only the identifier."""

    identifier: str
    sender: str = ""
    sent: datetime | None = None


@dataclass(frozen=True, slots=True)
class Geocode:
    """One code and the name of its scheme as the sender gave it ("" for 12379's bare list)."""

    value: str
    scheme: str = ""


@dataclass(frozen=True, slots=True)
class Circle:
    """Centre in degrees WGS84 and radius in kilometres (0 = a point)."""

    latitude: float
    longitude: float
    radius_km: float


Polygon = tuple[tuple[float, float], ...]  # (latitude, longitude) pairs, closed, CAP's order


@dataclass(frozen=True, slots=True)
class Area:
    """CAP 1.2 §3.2.4."""

    description: str = ""
    polygons: tuple[Polygon, ...] = ()
    circles: tuple[Circle, ...] = ()
    geocodes: tuple[Geocode, ...] = ()
    altitude: float | None = None  # feet, as CAP has it
    ceiling: float | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """CAP 1.2 §3.2.3, kept as received; never fetched."""

    description: str
    mime_type: str = ""
    size: str = ""
    uri: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Info:
    """CAP 1.2 §3.2.2: one language's account of the event."""

    event: str  # e.g. 暴雨
    event_code: str  # national code, e.g. 11B03; "" when the sender gave none
    severity: Severity
    language: str = "zh-CN"
    categories: tuple[str, ...] = ()
    urgency: str = "Unknown"
    certainty: str = "Unknown"
    response_types: tuple[str, ...] = ()
    audience: str = ""
    other_codes: tuple[tuple[str, str], ...] = ()  # eventCode pairs that are not the national one
    effective: datetime | None = None
    onset: datetime | None = None
    expires: datetime | None = None
    issuer: str = ""  # the issuing unit to be named in public
    headline: str = ""
    description: str = ""
    instruction: str = ""
    web: str = ""
    contact: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    resources: tuple[Resource, ...] = ()
    areas: tuple[Area, ...] = ()
    signal: Signal = Signal.NONE

    @property
    def level(self) -> Level | None:
        """The colour, or None when severity is Unknown."""
        return LEVEL_OF_SEVERITY.get(self.severity)


@dataclass(frozen=True, slots=True)
class ChannelText:
    """A sender's own words for one way out (12379 code/method): SMS, SPEAKER, … "" means: use the description."""

    method: str
    text: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One message about one event, as received and understood. Immutable."""

    identifier: Identifier
    sender: str
    sent: datetime
    status: Status
    msg_type: MsgType
    scope: Scope
    infos: tuple[Info, ...] = ()
    form: Literal["cap", "cn12379", "json"] = "cap"
    source: str = ""  # CAP's source element
    sender_code: str = ""  # 12379's 14 digits
    inner: bool = False  # secClassification Inner: never to the public
    restriction: str = ""
    addresses: str = ""
    note: str = ""
    references: tuple[Reference, ...] = ()
    incidents: str = ""
    codes: tuple[str, ...] = ()
    requested: tuple[ChannelText, ...] = ()
    repairs: tuple[Repair, ...] = ()
    raw: bytes = field(default=b"", repr=False, compare=False)  # as received, never re-serialised
    sha256: str = ""  # of raw, hex

    @property
    def event_key(self) -> EventKey:
        """What joins the messages of one event: the root reference, else the own identifier.

        12379 always references the first message (warnings.md); CAP references a list, whose oldest is taken.
        """
        others = [r for r in self.references if r.identifier != self.identifier]
        if not others:
            return EventKey(self.identifier)
        dated = [r for r in others if r.sent]
        return EventKey((min(dated, key=lambda r: (r.sent, r.identifier)) if len(dated) == len(others) else others[0]).identifier)

    @property
    def info(self) -> Info | None:
        """The info to work from: the Chinese one, else the first; None when there is none (a bare Cancel)."""
        chinese = [i for i in self.infos if i.language.lower().startswith("zh")]
        return next(iter(chinese or self.infos), None)

    @property
    def is_stand_down(self) -> bool:
        """A Cancel, or an Update whose response is AllClear."""
        if self.msg_type is MsgType.CANCEL:
            return True
        return self.msg_type is MsgType.UPDATE and bool(self.infos) and all("AllClear" in i.response_types for i in self.infos)
