"""What both 浙政钉 channels have in common: one client, and that nothing comes back by the platform itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from ...delivery import Receipt, State
from ...errors import Unsupported
from ..base import Answer, Call, Callback, Heard, Purpose
from .client import ADDRESS, Client, ZwddOptions

NOT_AN_ACCOUNT = Receipt(State.REJECTED, "", "not an accountId of the platform")

# JSON writes these as six bytes; nobody can see them.
_UNSEEN = {**{n: " " for n in range(32) if n != ord("\n")}, 0x7F: " "}


class OneWay:
    """Hands over, and can ask nobody. Opening a message is no answer; the confirm link in its words leads to our own page."""

    def __init__(self, options: ZwddOptions) -> None:
        self._client = Client(options)

    def look_up(self, mobiles: Sequence[str]) -> dict[str, str]:
        """E.164 → accountId, for those that have one; for the roster, ahead of time."""
        return self._client.look_up(mobiles)

    def ask(self, call: Call) -> Sequence[Receipt]:  # noqa: ARG002 - the contract's signature
        """Always Unsupported: no public call tells what became of a message that was never answered."""
        raise Unsupported("zwdd cannot be asked what became of a call")

    def read(self, callback: Callback) -> Sequence[Heard]:  # noqa: ARG002 - the contract's signature
        """Always ValueError: nobody calls back."""
        raise ValueError("zwdd has no callbacks")

    def answer(self, callback: Callback) -> Answer:  # noqa: ARG002 - the contract's signature
        """404: nobody calls back."""
        return Answer(404, "text/plain", b"zwdd has no callbacks")

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:  # noqa: ARG002
        """Always Unsupported."""
        raise Unsupported("zwdd has nothing to fetch")

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()


def refuse_what_cannot_be(call: Call, per_call: int) -> None:
    """Raises Unsupported for a call that this platform has no way to make."""
    if call.purpose is Purpose.STOP:
        raise Unsupported("zwdd cannot take a message off the screens that show it")
    if not call.messages:
        raise Unsupported("a call without messages")
    if len(call.messages) > per_call:
        raise Unsupported(f"{len(call.messages)} messages in one call; this peer's per_call is {per_call}")


def is_account(address: str) -> bool:
    """True for an accountId. A phone number in E.164 is none, so that it never goes out as one."""
    return bool(ADDRESS.fullmatch(address))


def as_json(content: object) -> str:
    """JSON as short as it can be, Chinese as it is: the limits count UTF-8 bytes. Unsupported for half a character."""
    written = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    try:
        written.encode()
    except UnicodeEncodeError:
        raise Unsupported("a text with half a character (a lone surrogate) in it") from None
    return written


def seen(text: str) -> str:
    """The text without what nobody sees. Unsupported when nothing is left."""
    text = text.translate(_UNSEEN).strip()
    if not text:
        raise Unsupported("a text without words")
    return text
