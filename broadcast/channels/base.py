"""The contract of a channel: what every way out can be asked, and what it must say when it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal, Protocol

from pydantic import BaseModel

from ..delivery import Receipt


class Purpose(StrEnum):
    """Why a call is made; loudspeakers and grid tasks act differently on each."""

    ALARM = "alarm"
    STAND_DOWN = "stand_down"  # tell that it is over
    STOP = "stop"  # take off the air what is still being repeated
    RELEASE = "release"  # ask an operator to approve


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do. The feature matrix in the docs is printed from these."""

    per_call: int  # deliveries that may share one `send`
    text_limit: int  # in `unit`; 0 = none
    unit: Literal["utf16", "utf8", "characters"] = "utf16"
    one_text: bool = True  # all messages of one `send` must carry the same words
    receipts: bool = False  # the far end reports later, by callback or when asked
    deduplicates: bool = False  # the same Call.key twice goes out once
    can_be_asked: bool = False  # `ask` tells what became of a call in doubt
    can_stop: bool = False  # STOP takes it off the air
    doubt_seconds: int = 300  # how long to wait for a report before a doubt is decided


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery as its channel sees it. The address never appears in a repr."""

    seq: int
    address: str = field(repr=False)  # E.164 for phones, else the channel's own form
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """The alert's facts for channels that must state them beside the words (EBD, grid, feed)."""

    alert_id: int
    identifier: str
    event_code: str
    event: str
    level: str
    status: str
    issuer: str
    headline: str
    sent: datetime
    expires: datetime
    regions: tuple[str, ...] = ()
    refers_to: tuple[str, ...] = ()  # the provider refs of what a stand-down or stop is about


@dataclass(frozen=True, slots=True)
class Call:
    """What one `send` hands over. `key` is the same on every attempt: the provider may deduplicate by it."""

    key: str
    purpose: Purpose
    messages: tuple[Message, ...]
    facts: Facts
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Callback:
    """A provider's HTTP request to us, as kept in the inbox."""

    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """One thing a provider says later. Matched by `ref` and, where one ref covers many, by address."""

    receipt: Receipt
    address: str = field(default="", repr=False)
    submitted: datetime | None = None  # when the provider says it took the call: to adopt what was in doubt


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

    def ask(self, call: Call, refs: Sequence[str]) -> Sequence[Receipt]:
        """What became of a call in doubt; raises Unsupported where the provider cannot be asked."""
        ...

    def receipts(self, callback: Callback) -> Sequence[Report]:
        """The meaning of a callback. Raises ValueError for bytes that are not the provider's."""
        ...

    def answer(self, callback: Callback) -> tuple[int, str, bytes]:
        """What the provider wants to hear for a callback that was kept: HTTP status, content type, body."""
        ...
