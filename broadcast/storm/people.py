"""The people of a drill: who picks up, who sleeps, whose line is dead. Seeded: the same people do the same again.

Every share and every span of time here is an ASSUMPTION: nobody publishes how the called behave. 勉县 2024 says only that a
call is made up to three times before somebody is 未叫醒.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

RING_SECONDS = 30.0  # until a call that nobody takes is given up
DEAD_SECONDS = 3.0  # until a network says that a line is dead
ANSWERS_WITHIN = (5.0, 40.0)  # from the call to the pressed key
TEXTS_WITHIN = (20.0, 120.0)  # from the SMS to the "1" that comes back
ASLEEP, DEAD, BY_SMS = 0.25, 0.05, 0.10
WAKES_AT = ((2, 0.4), (3, 0.3))  # of those who sleep: the call that wakes them, and how many of them; the rest stays asleep


@dataclass(frozen=True, slots=True)
class Shares:
    """What part of all people sleeps, has a dead line, answers by SMS; all others take the first call."""

    asleep: float = ASLEEP
    dead: float = DEAD
    by_sms: float = BY_SMS

    def __post_init__(self) -> None:
        if min(self.asleep, self.dead, self.by_sms) < 0 or self.asleep + self.dead + self.by_sms > 1:
            raise ValueError("shares of people are 0 or more, and together 1 at most")


@dataclass(frozen=True, slots=True)
class Reaction:
    """What becomes of one call, and after how many seconds. `code`: what the network says of it."""

    after: float
    code: str
    picks_up: bool


class Crowd:
    """Everybody who has a phone, by the number of their address."""

    def __init__(self, shares: Shares, seed: int) -> None:
        self._shares, self._seed = shares, seed
        self._heard: Counter[int] = Counter()  # calls that rang
        self._awake: set[int] = set()

    def called(self, number: int) -> Reaction:
        """A phone rings."""
        self._heard[number] += 1
        kind = self._kind(number)
        if kind == "dead":
            return Reaction(DEAD_SECONDS, "line-dead", False)
        if number not in self._awake and self._heard[number] < self._wakes_at(number, kind):
            return Reaction(RING_SECONDS, "no-answer", False)
        self._awake.add(number)
        return Reaction(self._between(ANSWERS_WITHIN, number, f"call {self._heard[number]}"), "picked-up", True)

    def texted(self, number: int) -> float | None:
        """An SMS arrives; after how many seconds "1" comes back, None: never. Whoever has answered before says nothing."""
        if self._kind(number) != "by_sms" or number in self._awake:
            return None
        self._awake.add(number)
        return self._between(TEXTS_WITHIN, number, "text")

    def _kind(self, number: int) -> str:
        drawn = self._draw(number, "kind")
        for kind, share in (("asleep", self._shares.asleep), ("dead", self._shares.dead), ("by_sms", self._shares.by_sms)):
            if drawn < share:
                return kind
            drawn -= share
        return "awake"

    def _wakes_at(self, number: int, kind: str) -> float:
        """The first call that this person takes."""
        if kind == "by_sms":
            return 2  # the first one they let ring: they are writing
        if kind != "asleep":
            return 1
        drawn = self._draw(number, "wakes")
        for nth, share in WAKES_AT:
            if drawn < share:
                return nth
            drawn -= share
        return float("inf")

    def _between(self, span: tuple[float, float], number: int, what: str) -> float:
        return span[0] + (span[1] - span[0]) * self._draw(number, what)

    def _draw(self, number: int, what: str) -> float:
        """0 up to 1: a hash, so that one more person changes nobody else."""
        digest = hashlib.blake2b(f"{self._seed}/{what}/{number}".encode(), digest_size=7).digest()
        return int.from_bytes(digest, "big") / (1 << 56)
