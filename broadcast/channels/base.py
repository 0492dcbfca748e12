"""The contract of a channel: what every way out can be asked, and what it must say when it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel

from ..delivery import Receipt


class Purpose(StrEnum):
    """Why a call is made; loudspeakers and grid tasks act differently on each."""

    ALARM = "alarm"
    STAND_DOWN = "stand_down"  # tell that it is over
    STOP = "stop"  # take off the air what is still being repeated
    RELEASE = "release"  # ask an operator to approve
    CALLOUT = "callout"  # call again whoever did not answer, or their deputy
    ESCALATION = "escalation"  # call somebody about others who did not answer

    @classmethod
    def of(cls, column: str) -> Purpose:
        """What the ledger says, which counts calls: callout.principal.2 is a CALLOUT."""
        return cls(column.partition(".")[0])


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `calls` to one number within `seconds`, of them `below_red` for less than red; the rest is kept for red."""

    calls: int
    seconds: int
    below_red: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do. The feature matrix in the docs is printed from these."""

    per_call: int  # deliveries that may share one `send`
    text_limit: int  # in `unit`; 0 = none
    unit: Literal["utf16", "utf8", "characters"] = "utf16"
    one_text: bool = True  # all messages of one `send` must carry the same words
    receipts: bool = False  # the far end reports later, by callback or when asked
    acknowledges: bool = False  # what a person answers comes back by it (a key, a reply, a tap, 签收)
    deduplicates: bool = False  # the same Call.key twice goes out once
    can_be_asked: bool = False  # `ask` tells what became of a call in doubt
    can_stop: bool = False  # STOP takes it off the air
    numbered: bool = False  # every call needs a number of its own: Call.number
    named: bool = False  # wants to know who is told: Message.region_name, role and person
    recalls: bool = False  # must name what it was told of the event before: Facts.past
    gap_seconds: int = 0  # least time between two calls to this peer, whoever makes them
    callee_limits: tuple[Limit, ...] = ()  # how often one number may be called
    collect_seconds: int = 0  # how often `collect` is wanted; 0 = never
    doubt_seconds: int = 300  # how long to wait for a report before a doubt is decided


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery as its channel sees it. Neither the address nor a name appears in a repr."""

    seq: int
    address: str = field(repr=False)  # E.164 for phones, else the channel's own form
    text: str = field(repr=False)
    key: str = ""  # the same on every attempt, of no other delivery of any ledger; at most 15 of a-z, 0-9 and -
    region: str = ""  # code of the region that the target belongs to
    region_name: str = ""
    role: str = ""  # in Chinese; only where capabilities.named
    person: str = field(default="", repr=False)  # likewise


@dataclass(frozen=True, slots=True)
class Number:
    """A call's own number: the n-th of its peer on that day, with the moment when it was given. Kept over all attempts."""

    day: date  # in Beijing
    n: int  # 1 to 9999
    at: datetime


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier alarm of the same event that this channel took: what a stop, a stand-down or an update is about."""

    ref: str  # the provider's, as its receipt said
    addresses: tuple[str, ...] = field(repr=False)  # all of that call, in the order in which they were sent
    number: Number | None  # of that call, where the channel is numbered
    expires: datetime  # of the alert that it was


@dataclass(frozen=True, slots=True)
class Facts:
    """The alert's facts for channels that must state them beside the words (EBD, grid, feed)."""

    alert_id: int
    identifier: str
    event_code: str
    event: str
    level: str  # red, orange, yellow, blue, ""
    status: str
    issuer: str
    headline: str
    sent: datetime
    expires: datetime
    sender_code: str = ""
    msg_type: str = "Alert"
    answer_by: datetime | None = None  # until when the plan wants an answer; None where it owes none
    regions: tuple[str, ...] = ()
    past: tuple[Past, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """What one `send` hands over. `key` is the same on every attempt: the provider may deduplicate by it."""

    key: str
    purpose: Purpose
    messages: tuple[Message, ...]
    facts: Facts
    attempt: int = 1
    number: Number | None = None  # where capabilities.numbered


@dataclass(frozen=True, slots=True)
class Callback:
    """A provider's HTTP request to us, or what `collect` brought, as kept in the inbox."""

    path: str
    headers: Mapping[str, str]  # lower-case names
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider hears at once for a callback that was kept."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """One thing a provider says later of a delivery.

    Matched by `key` where the provider echoes ours, else by the receipt's `ref`; where one ref covers many, by address or by
    region, and with neither for all of them.
    """

    receipt: Receipt
    address: str = field(default="", repr=False)
    region: str = ""  # the code of the region that the target belongs to
    key: str = ""  # Message.key
    submitted: datetime | None = None  # when the provider says it took the call: to adopt what was in doubt


class Verb(StrEnum):
    """What a person's answer means."""

    ACKNOWLEDGED = "acknowledged"  # we have it
    MEASURES = "measures"  # what was done; the second closure
    DONE = "done"  # 办结: measures, and nothing more is coming
    DECLINED = "declined"  # 退回: not mine
    OTHER = "other"  # said something; kept, settles nothing


@dataclass(frozen=True, slots=True)
class Reply:
    """What a person said back. Of delivery `key` or `ref`, or of whatever is open for `address`. Never a mere "read"."""

    verb: Verb
    key: str = ""
    ref: str = ""
    address: str = field(default="", repr=False)
    alert_ending: str = ""  # the last digits of the alert's number, where the reply's own number carries them
    said: str = field(default="", repr=False)  # their words, a pressed key
    at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)  # households, without_phone, vulnerable: told at the door


class Standing(StrEnum):
    """How a target stands that can be asked about itself: a loudspeaker system."""

    ONLINE = "online"
    PLAYING = "playing"
    FAULT = "fault"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Condition:
    """What the far end says of one of its systems, or of itself (address "")."""

    address: str  # the far end's own name of that system; a place, never a person
    standing: Standing
    region: str = ""  # the code of the region where it stands
    detail: str = ""
    at: datetime | None = None


Heard = Report | Reply | Condition


@runtime_checkable
class LooksUp(Protocol):
    """A channel whose accounts can be found by phone number: for the roster, ahead of time, never while an alert waits."""

    def look_up(self, mobiles: Sequence[str]) -> dict[str, str]:
        """E.164 → account, for those that have one. Raises as `Channel.send`."""
        ...


class Channel(Protocol):
    """One far end. Instances are shared between threads: keep no state of a call on `self`.

    Constructed with its own `Options` and nothing else (`channels.connect`).
    """

    capabilities: ClassVar[Capabilities]
    Options: ClassVar[type[BaseModel]]  # what `[[peer]]` may say for this protocol, secrets as SecretStr
    serves: ClassVar[frozenset[str]]  # the channels this protocol can be the far end of

    def send(self, call: Call) -> Sequence[Receipt]:
        """Hands over and returns one receipt for each message, in order; a refusal is a receipt too.

        A channel that had to split a call may answer DEFERRED (certainly not sent: due again) or IN_DOUBT for some of it.

        Raises Unavailable when certainly nothing left, InDoubt when something may have, Misconfigured when the refusal
        is about us, Unsupported when this channel has no such purpose.
        """
        ...

    def ask(self, call: Call) -> Sequence[Receipt]:
        """What became of a call in doubt, one receipt each: DEFERRED = the far end does not know it, certainly not sent;
        IN_DOUBT = still open, a report may follow; anything else settles it. Raises Unsupported where nobody can be asked,
        else as `send`.
        """
        ...

    def read(self, callback: Callback) -> Sequence[Heard]:
        """The meaning of a callback. Raises ValueError for bytes that are not the provider's."""
        ...

    def answer(self, callback: Callback) -> Answer:
        """What the provider wants to hear for a callback that was kept. Never raises for foreign bytes."""
        ...

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:
        """Fetches what waits at the far end (polls, a listening session, a heartbeat), for about `seconds` at most.

        `refs` tells the references it gave and about which something is still open, where it must be asked about each.
        `keep` commits; only then may the far end be told that it was taken. Raises as `send`; Unsupported where there is
        nothing to fetch.
        """
        ...

    def close(self) -> None:
        """Gives connections back."""
        ...
