"""What every stand-in is to the server that hosts it: doors, requests in, responses out, what arrived."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .clock import Clock
from .faults import Faults


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it came."""

    method: str
    path: str
    query: str  # undecoded, without "?"
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What the provider answers."""

    status: int = 200
    content_type: str = "application/json;charset=UTF-8"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Push(Protocol):
    """Sends something to the customer later, in a connection of its own."""

    def __call__(
        self,
        url: str,
        body: Callable[[], bytes] | bytes,
        headers: Mapping[str, str],
        *,
        after: float,
        again: Sequence[float] = (),
        taken: Callable[[int, bytes], bool] = lambda status, _body: status == 200,
    ) -> None:
        """POSTs `body` after `after` provider seconds; again after each of `again` until `taken(status, answer)` is true.

        `taken` is asked after every try; status 0 and no bytes mean that no answer came.
        """
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """What the server lends to a stand-in."""

    clock: Clock
    push: Push
    show: Callable[[str], None]  # one line that a villager or an official would see or hear


NextFaults = Callable[[], Faults]  # what the next request meets, for a stand-in that is not asked over HTTP


class Provider(Protocol):
    """A stand-in. Written from the provider's rules; shared by threads.

    The server itself plays the faults that concern the transport (latency_ms, http_status, close_without_answer,
    accept_and_never_answer); and of what `handle` pushes and shows in its own thread, delivers_nothing (dropped) and
    reports_before_answer (tried once, whatever its `after`, before `push` returns). `handle` plays the others (refuse,
    no_reports, duplicate_reports, shuffle_reports, fail_share).
    """

    name: str  # of the stand-in: mas, ebd, voice, zwdd, grid, feed, smpp

    def opens(self, path: str) -> bool:
        """True when this door is one of its own."""
        ...

    def handle(self, request: Request, faults: Faults) -> Response:
        """Takes or refuses, as the provider would. Called once for each request that met no transport fault before."""
        ...

    def received(self) -> list[dict[str, object]]:
        """Everything that was taken, in order, as JSON: what, to whom, when."""
        ...

    def counts(self) -> dict[str, int]:
        """Calls and targets taken, reports pushed and owed."""
        ...

    def stop(self) -> None:
        """Ends what runs in the background."""
        ...
