"""Other platforms (the upper level, the neighbours): the alert as CAP 1.2, by signed POST (Standard Webhooks).

A message's text is the CAP document, the same for all; its address is the name of a platform in this peer's options.
The alert's number is in the document, so what is in doubt may be sent again: the platform knows it by its webhook-id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, FilePath, HttpUrl

from ..delivery import Receipt, State
from ..errors import Unsupported
from . import http
from .base import Answer, Call, Callback, Capabilities, Heard, Message, Purpose
from .webhooks import Secret, Signer, one_by_one

TAKEN_BEFORE = 409  # this alert is there already; every other status that is not 2xx is left to `http`

NO_SUCH_PLATFORM = Receipt(State.REJECTED, "", "no such platform in this peer's options: add it to broadcast.toml")

_CAP = re.compile(r"\ufeff?(?:<\?xml\b[^>]*\?>)?\s*<(?:[A-Za-z_][\w.-]*:)?alert[\s>]", re.ASCII)


class Platform(BaseModel):
    """One platform that takes CAP."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: HttpUrl
    secret: Secret  # whsec_…
    other_secret: Secret | None = None  # the old or the next one, while they are exchanged


class FeedOptions(BaseModel):
    """What a `[[peer]]` with protocol "feed" may say."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    platforms: dict[str, Platform] = Field(min_length=1, repr=False)  # by the address of its target
    ca_file: FilePath | None = None  # PEM; for platforms whose certificates a private CA signed
    per_call: int = Field(5, ge=1, le=100)
    doubt_seconds: int = Field(300, ge=1, le=86_400)
    connect_seconds: float = Field(5.0, gt=0, le=60)
    read_seconds: float = Field(20.0, gt=0, le=120)


class Feed:
    """The platforms that are told by CAP."""

    capabilities: ClassVar[Capabilities] = Capabilities(per_call=5, text_limit=0, one_text=True, deduplicates=True)
    Options: ClassVar[type[BaseModel]] = FeedOptions
    serves: ClassVar[frozenset[str]] = frozenset({"feed"})

    def __init__(self, options: FeedOptions) -> None:
        self._options = options
        self._signers = {name: Signer(one.secret, one.other_secret) for name, one in options.platforms.items()}
        self._client = http.open_client(
            ca_file=options.ca_file, connect_seconds=options.connect_seconds, read_seconds=options.read_seconds
        )

    def send(self, call: Call) -> Sequence[Receipt]:
        """One request for each platform. One that is down keeps no other from being told."""
        self._refuse_what_cannot_be(call)
        known = [message for message in call.messages if message.address in self._options.platforms]
        answers = iter(one_by_one(known, self._hand_over, one_far_end=False))
        return [next(answers) if message.address in self._options.platforms else NO_SUCH_PLATFORM for message in call.messages]

    def ask(self, call: Call) -> Sequence[Receipt]:  # noqa: ARG002 - the contract's signature
        """Always Unsupported: the same document may be sent again, the platform takes it once."""
        raise Unsupported("feed cannot be asked: send the call again, the same document is taken once")

    def read(self, callback: Callback) -> Sequence[Heard]:  # noqa: ARG002 - the contract's signature
        """Always ValueError: nobody calls back."""
        raise ValueError("feed has no callbacks")

    def answer(self, callback: Callback) -> Answer:  # noqa: ARG002 - the contract's signature
        """404: nobody calls back."""
        return Answer(404, "text/plain", b"feed has no callbacks")

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:  # noqa: ARG002
        """Always Unsupported."""
        raise Unsupported("feed has nothing to fetch")

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def _refuse_what_cannot_be(self, call: Call) -> None:
        if call.purpose not in (Purpose.ALARM, Purpose.STAND_DOWN):
            raise Unsupported(f"feed cannot {call.purpose.value}: it tells that there is an alert, or that it is over")
        if not call.messages:
            raise Unsupported("a call without messages")
        if len(call.messages) > self._options.per_call:
            raise Unsupported(f"{len(call.messages)} messages in one call; this peer's per_call is {self._options.per_call}")
        if not all(message.key for message in call.messages):
            raise Unsupported("a message without a key: a document must be known again on the next attempt")
        if len({message.text for message in call.messages}) > 1:
            raise Unsupported("feed sends one document per call; these messages differ")
        if not _CAP.match(call.messages[0].text):
            raise Unsupported("a text that is no CAP document: feed takes the alert itself, not a template's words")
        try:
            call.messages[0].text.encode()
        except UnicodeEncodeError:
            raise Unsupported("a text with half a character (a lone surrogate) in it") from None

    def _hand_over(self, message: Message) -> Receipt:
        signed = self._signers[message.address].headers(message.key, message.text, datetime.now(UTC))
        return http.post_with_status(
            self._client,
            str(self._options.platforms[message.address].url),
            content=message.text.encode(),
            headers={"Content-Type": "application/cap+xml; charset=utf-8"} | signed,
            read=lambda status, _body: _read_answer(status, message.key),
            seconds=self._options.read_seconds,
        )


def _read_answer(status: int, key: str) -> Receipt:
    """A system that took it, no more. ValueError for everything that `http` knows better."""
    if 200 <= status < 300 or status == TAKEN_BEFORE:
        return Receipt(State.ACCEPTED, str(status), ref=key)
    raise ValueError("not taken")
