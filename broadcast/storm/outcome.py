"""What a storm came to: who answered for whom, how long it took, and whether the ladder kept its word. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..callout import Ladder
from ..ledger.evidence import DOOR, ITSELF, TAKEN_OVER, Evidence, Made
from ..tiers.regions import Regions

WAYS = (ITSELF, "deputy", "superior", "sideways", TAKEN_OVER, DOOR)  # by which a callout ends
SHARES = (0.5, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class TierOutcome:
    """The callouts of one tier by how they ended; `open` must be 0."""

    tier: str
    owed: int
    ended: Mapping[str, int]  # of WAYS
    open: int


@dataclass(frozen=True, slots=True)
class Check:
    """A promise of the ladder, and the first places where it was not kept."""

    promise: str
    broken: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """True when nothing speaks against it."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class Outcome:
    """One storm, counted."""

    tiers: tuple[TierOutcome, ...]
    seconds: Mapping[str, float | None]  # "50", "90", "100" % answered or at the door; None: not so many have ended
    first_wave_seconds: float
    calls: int
    waiting: int  # calls that were ordered and had not left when all had ended: the number's budget was spent
    checks: tuple[Check, ...]


def outcome(
    found: Sequence[Evidence], ladder: Ladder, regions: Regions, *, waiting: int = 0, checks: Sequence[Check] = ()
) -> Outcome:
    """Counts what the ledger holds, and holds it against the plan's ladder. `checks`: what was looked at elsewhere."""
    made = _deliveries(found)
    begins = min((one.opened for one in found), default=0)
    first = [one.at for one, _ in made.values() if one.purpose == "alarm"]
    return Outcome(
        tiers=tuple(_tiers(found, regions)),
        seconds={f"{share:.0%}".rstrip("%"): _time_to(found, share) for share in SHARES},
        first_wave_seconds=(max(first, default=begins) - begins) / 1000,
        calls=len(made),
        waiting=waiting,
        checks=(*_checks(found, made, ladder), *checks),
    )


def _deliveries(found: Sequence[Evidence]) -> dict[str, tuple[Made, list[Evidence]]]:
    """Each call once, with the callouts that it was made for."""
    made: dict[str, tuple[Made, list[Evidence]]] = {}
    for one in found:
        for call in one.calls:
            made.setdefault(f"{call.delivery}/{call.receipt}", (call, []))[1].append(one)
    return made


def _tiers(found: Sequence[Evidence], regions: Regions) -> Iterator[TierOutcome]:
    by_tier: dict[str, list[Evidence]] = {}
    for one in found:
        by_tier.setdefault(str(regions[one.region].tier) if one.region in regions else "?", []).append(one)
    for tier in sorted(by_tier, key=lambda tier: ("county", "town", "village", tier).index(tier)):
        those = by_tier[tier]
        ended = Counter(one.by for one in those)
        yield TierOutcome(tier, len(those), {way: ended[way] for way in WAYS}, ended[""])


def _time_to(found: Sequence[Evidence], share: float) -> float | None:
    """Seconds from the opening until so many had answered or were on the door list."""
    took = sorted((one.ended - one.opened) / 1000 for one in found if one.ended is not None)
    wanted = max(1, round(share * len(found)))
    return took[wanted - 1] if found and len(took) >= wanted else None


def _checks(found: Sequence[Evidence], made: Mapping[str, tuple[Made, list[Evidence]]], ladder: Ladder) -> Iterator[Check]:
    yield Check("nobody is called for a duty after its answer", tuple(_after_the_answer(made)))
    yield Check(f"two calls to one number are {ladder.every} s apart", tuple(_too_close(made, ladder.every)))
    yield Check(f"on one rung one number is called {ladder.calls} times at most", tuple(_too_often(found, ladder.calls)))
    yield Check("every silent post ended answered, taken over or on the door list", tuple(_without_end(found)))
    yield Check("every ending is proved in the ledger", tuple(_unproved(found)))


def _after_the_answer(made: Mapping[str, tuple[Made, list[Evidence]]]) -> Iterator[str]:
    """A call for several is needed as long as one of them is open."""
    for call, those in made.values():
        if all(one.answered is not None and one.answered < call.at for one in those):
            late = call.at - max(one.answered or 0 for one in those)
            yield f"call {call.delivery} ({call.purpose}) left {late / 1000:.1f} s after the answer of callout {those[0].callout}"


def _too_close(made: Mapping[str, tuple[Made, list[Evidence]]], every: int) -> Iterator[str]:
    by_number: dict[int, list[Made]] = {}
    for call, _ in made.values():
        by_number.setdefault(call.number, []).append(call)
    for calls in by_number.values():
        for one, other in pairwise(sorted(calls, key=lambda call: call.at)):
            apart = (other.at - one.at) / 1000
            if apart < every:
                yield f"{one.delivery} ({one.purpose}) and {other.delivery} ({other.purpose}) are {apart:.1f} s apart"


def _too_often(found: Sequence[Evidence], calls: int) -> Iterator[str]:
    for one in found:
        for (rung, _number), times in Counter((call.rung, call.number) for call in one.calls).items():
            if times > calls:
                yield f"callout {one.callout}: {times} calls to one number on rung {rung}"


def _without_end(found: Sequence[Evidence]) -> Iterator[str]:
    for one in found:
        if one.state == "open" and (one.rung != DOOR or one.next_step is not None):
            yield f"callout {one.callout} is open on rung {one.rung}"


def _unproved(found: Sequence[Evidence]) -> Iterator[str]:
    for one in found:
        if one.state == "answered" and (one.reply is None or not one.by):
            yield f"callout {one.callout}: nobody knows whose answer it was"
        elif one.state != "closed" and one.by and not one.entries:
            yield f"callout {one.callout}: no entry tells how it ended"
