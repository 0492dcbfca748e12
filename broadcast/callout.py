"""叫应: what a callout does next, a pure function of how far it has come and the time; and which places have answered.

Nothing is remembered here: whoever asks again with the same rows is told the same, so a ladder survives whoever carried it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from .tiers.plan import Ladder, Rung

__all__ = [
    "Call",
    "Climb",
    "Ladder",
    "Rest",
    "Rung",
    "Standing",
    "Step",
    "Tally",
    "Wait",
    "next_callout_step",
    "place_answered",
    "roll_up",
]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one callout has come."""

    rung: Rung
    asked: int  # persons on this rung who can be called; 0: nobody
    calls: int  # calls made or ordered on this rung
    last_call: datetime | None  # to whoever is asked on this rung, on an earlier rung too
    opened: datetime
    due: datetime  # the plan's deadline for the answer


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Call:
    """Call whoever stands on this rung, now, for the nth time."""

    rung: Rung
    nth: int


@dataclass(frozen=True, slots=True)
class Climb:
    """Go on to `rung`, now. `skipped`: nobody on the rung that is left could be called, which must be seen."""

    rung: Rung
    skipped: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing more happens by itself: it is on the list 未叫醒 until a person, or an answer, ends it."""


Step = Wait | Call | Climb | Rest


def next_callout_step(ladder: Ladder, standing: Standing, now: datetime) -> Step:
    """The next step of an open callout. Whoever takes it writes down what was done before asking again.

    An empty rung is left one at a time and aloud, never by waking everybody above it at once. Where voice waits for
    silence nobody is silent before `due`, so nothing happens before it: also not for a person without a phone, who may
    answer by another way. A clock that was set back makes it wait, never call twice within `every`.
    """
    if standing.rung is Rung.DOOR:
        return Rest()
    begins = standing.due if ladder.voice == "when_silent" else standing.opened
    if now < begins:
        return Wait(begins)
    if standing.asked == 0:
        return Climb(_above(ladder, standing.rung), True, f"nobody on rung {standing.rung} can be called")
    # A call that was ordered, and of which nothing is known yet, counts from the opening: it may never be made.
    last = standing.last_call or (standing.opened if standing.calls else None)
    if standing.calls < ladder.calls:
        due = last + timedelta(seconds=ladder.every) if last else begins
        return Wait(due) if now < due else Call(standing.rung, standing.calls + 1)
    due = (last or begins) + timedelta(seconds=ladder.patience)
    return Wait(due) if now < due else Climb(_above(ladder, standing.rung), False, f"no answer after {standing.calls} calls")


def _above(ladder: Ladder, rung: Rung) -> Rung:
    """A rung that this ladder does not know leads to the door: never back down, never nowhere."""
    order = (Rung.PRINCIPAL, *ladder.rungs)
    return order[order.index(rung) + 1] if rung in order else Rung.DOOR


# ── places ──


def place_answered(required: Collection[str], answered: Collection[str]) -> bool:
    """Whether a region has answered: all roles that the plan requires there have, themselves or by deputy or superior.

    Where nothing is required nobody has answered anything: False, and such a place is no place to be counted.
    """
    return bool(required) and set(required) <= set(answered)


@dataclass(frozen=True, slots=True)
class Tally:
    """Of the places below a region, itself not counted: how many have answered."""

    answered: int
    places: int


def roll_up(parents: Mapping[str, str | None], answered: Mapping[str, bool]) -> dict[str, Tally]:
    """For every region above a place in `answered`, how many of those places have answered.

    `parents`: region → the region that it lies in, None at the top. Give the villages alone, or the towns alone, for
    totals by tier.
    """
    totals: dict[str, Tally] = {}
    for place, has in answered.items():
        above = parents.get(place)
        while above is not None:
            known = totals.get(above, Tally(0, 0))
            totals[above] = Tally(known.answered + has, known.places + 1)
            above = parents.get(above)
    return totals
