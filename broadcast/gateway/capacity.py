"""How fast a far end takes calls, and what that means before the rain: the first wave, and one round of the ladder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..ledger import Transaction, questions
from ..tiers.plan import Ladder
from .ways import FarEnd

ASSUMED_CALL_SECONDS = 0.2  # ASSUMPTION for a peer that has not been called yet


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one far end takes calls."""

    each: float  # seconds that one call takes
    concurrency: int
    rate: float  # calls a second; 0 = no limit
    gap: int  # least seconds between two calls

    def seconds(self, calls: int) -> float:
        """Until the last has been handed over: their time over the concurrency, or the provider's limits', if longer."""
        longest = [calls * self.each / self.concurrency]
        if self.rate:  # the first second's worth leaves at once
            longest.append(max(0.0, calls - max(1.0, self.rate)) / self.rate + self.each)
        if self.gap:
            longest.append((calls - 1) * self.gap + self.each)
        return max(longest) if calls else 0.0


def pace_of(tx: Transaction, far_end: FarEnd) -> Pace:
    """By its contract, and by what its last calls took."""
    can, peer = far_end.capabilities, far_end.peer
    each = questions.usual_call_seconds(tx, peer.name, can.per_call) or ASSUMED_CALL_SECONDS
    return Pace(each, peer.concurrency, peer.rate, can.gap_seconds)


@dataclass(frozen=True, slots=True)
class Wave:
    """The numbers that one part of the plan calls; `first`: places at risk, the others, or (None) no matter."""

    tier: str
    first: bool | None
    numbers: frozenset[int]


@dataclass(frozen=True, slots=True)
class Turn:
    """One part of the first wave, in the order in which it is called."""

    tier: str
    first: bool | None  # True: places with a matching risk tag; False: the others; None: not divided
    calls: int
    minutes: float  # from the beginning of the wave until the last of this part has been called


@dataclass(frozen=True, slots=True)
class Capacity:
    """What calling whoever owes an answer takes. One number with several duties is called once."""

    peer: str  # first choice of channel voice
    voice: str  # at_once, or when_silent: then only those are called who have not answered, all of them at worst
    calls: int  # of the first wave
    lines: int  # calls at once
    rate: float  # calls a second; 0 = no limit
    within: int | None  # seconds that the plan gives the first wave; None where it begins in writing
    first_wave_minutes: float
    calls_each: int  # to one person who stays silent
    others_minutes: float  # from the first call until the ladder asks others, by its own clock
    # Until the last call of a round has been made when nobody answers, by these lines and within what the provider allows
    # one number; None: it allows none. Longer than `others_minutes`: others are asked before all calls were made.
    round_minutes: float | None
    order: tuple[Turn, ...]


def capacity(
    far_end: FarEnd, pace: Pace, ladder: Ladder, waves: Iterable[Wave], *, within: int | None, urgent: bool
) -> Capacity | None:
    """None when nobody is to be called. `waves` in the order of calling; `urgent`: the alert counts as red."""

    def seconds_for(numbers: int) -> float:
        return pace.seconds(-(-numbers // far_end.capabilities.per_call))

    order: list[Turn] = []
    called: set[int] = set()
    for wave in waves:
        fresh = wave.numbers - called
        called |= fresh
        if fresh:
            order.append(Turn(wave.tier, wave.first, len(fresh), round(seconds_for(len(called)) / 60, 2)))
    if not called:
        return None
    seconds = seconds_for(len(called))
    every = max(float(ladder.every), seconds)  # a line that is busy with the others is not free for the second call
    last = last_call_after(ladder.calls, every, callee_limits(far_end, urgent=urgent))
    return Capacity(
        peer=far_end.peer.name,
        voice=ladder.voice if within is None else "at_once",  # at night also where the ladder would wait by day
        calls=len(called),
        lines=far_end.peer.concurrency,
        rate=far_end.peer.rate,
        within=within,
        first_wave_minutes=round(seconds / 60, 2),
        calls_each=ladder.calls,
        others_minutes=round(((ladder.calls - 1) * ladder.every + ladder.patience) / 60, 2),
        round_minutes=None if last is None else round((last + seconds) / 60, 2),
        order=tuple(order),
    )


def callee_limits(far_end: FarEnd, *, urgent: bool) -> list[tuple[int, int]]:
    """(calls, seconds): how often this far end calls one number for such an alert."""
    return [(limit.calls if urgent else limit.below_red, limit.seconds) for limit in far_end.capabilities.callee_limits]


def last_call_after(calls: int, every: float, limits: Sequence[tuple[int, int]]) -> float | None:
    """Seconds from the first of `calls` calls to one number until the last, at least `every` apart and within `limits`.

    None when a limit allows no call at all.
    """
    if any(allowed < 1 for allowed, _ in limits):
        return None
    times = [0.0]
    for n in range(1, calls):
        waits = [times[n - allowed] + seconds for allowed, seconds in limits if n >= allowed]
        times.append(max(times[-1] + every, *waits) if waits else times[-1] + every)
    return times[-1]
