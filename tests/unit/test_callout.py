"""叫应: the next step of a callout, by tables, and on a clock of its own until nothing is left to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.callout import (
    Call,
    Climb,
    Ladder,
    Rest,
    Rung,
    Standing,
    Step,
    Tally,
    Wait,
    next_callout_step,
    place_answered,
    roll_up,
)

BEIJING = timezone(timedelta(hours=8))
OPENED = datetime(2023, 7, 5, 3, 0, tzinfo=BEIJING)
DUE = OPENED + timedelta(minutes=5)
RED = Ladder(3, 60, 90, (Rung.DEPUTY, Rung.SUPERIOR, Rung.SIDEWAYS, Rung.DOOR), "at_once", 3600)
YELLOW = replace(RED, rungs=(Rung.DEPUTY, Rung.DOOR), voice="when_silent", measures_within=None)


def at(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


def standing(rung: Rung = Rung.PRINCIPAL, *, asked: int = 1, calls: int = 0, last: float | None = None) -> Standing:
    return Standing(rung, asked, calls, None if last is None else at(last), OPENED, DUE)


# ── tables ──


@pytest.mark.parametrize(
    ("now", "found", "step"),
    [
        # the principal
        (0, standing(), Call(Rung.PRINCIPAL, 1)),
        (-5, standing(), Wait(OPENED)),
        (30, standing(calls=1, last=20), Wait(at(80))),  # the plan's own voice rule made the first
        (80, standing(calls=1, last=20), Call(Rung.PRINCIPAL, 2)),
        (139.999, standing(calls=2, last=80), Wait(at(140))),
        (140, standing(calls=2, last=80), Call(Rung.PRINCIPAL, 3)),
        (59, standing(calls=1), Wait(at(60))),  # ordered, and nobody has made it yet
        (60, standing(calls=1), Call(Rung.PRINCIPAL, 2)),
        # patience, then the deputy
        (229, standing(calls=3, last=140), Wait(at(230))),
        (230, standing(calls=3, last=140), Climb(Rung.DEPUTY, False, "no answer after 3 calls")),
        (230, standing(calls=5, last=140), Climb(Rung.DEPUTY, False, "no answer after 5 calls")),
        # further up
        (230, standing(Rung.DEPUTY), Call(Rung.DEPUTY, 1)),
        (230, standing(Rung.DEPUTY, last=200), Wait(at(260))),  # the same person was called on another rung
        (500, standing(Rung.DEPUTY, calls=3, last=400), Climb(Rung.SUPERIOR, False, "no answer after 3 calls")),
        (500, standing(Rung.SUPERIOR, calls=3, last=400), Climb(Rung.SIDEWAYS, False, "no answer after 3 calls")),
        (500, standing(Rung.SIDEWAYS, calls=3, last=400), Climb(Rung.DOOR, False, "no answer after 3 calls")),
        # nobody there
        (0, standing(asked=0), Climb(Rung.DEPUTY, True, "nobody on rung principal can be called")),
        (230, standing(Rung.SUPERIOR, asked=0), Climb(Rung.SIDEWAYS, True, "nobody on rung superior can be called")),
        (
            230,
            standing(Rung.DEPUTY, asked=0, calls=1, last=229),
            Climb(Rung.SUPERIOR, True, "nobody on rung deputy can be called"),
        ),
        # the door
        (900, standing(Rung.DOOR), Rest()),
        (900, standing(Rung.DOOR, asked=0), Rest()),
        (-5, standing(Rung.DOOR), Rest()),
    ],
)
def test_the_next_step_of_a_red_callout(now, found, step):
    assert next_callout_step(RED, found, at(now)) == step


@pytest.mark.parametrize(
    ("now", "found", "step"),
    [
        (0, standing(), Wait(DUE)),
        (0, standing(asked=0), Wait(DUE)),  # without a phone, and may yet answer by another way
        (299, standing(calls=1, last=10), Wait(DUE)),
        (300, standing(), Call(Rung.PRINCIPAL, 1)),
        (300, standing(calls=1, last=270), Wait(at(330))),
        (300, standing(asked=0), Climb(Rung.DEPUTY, True, "nobody on rung principal can be called")),
        (600, standing(Rung.DEPUTY, calls=3, last=500), Climb(Rung.DOOR, False, "no answer after 3 calls")),
    ],
)
def test_the_next_step_of_a_yellow_callout_comes_after_the_time_to_answer(now, found, step):
    assert next_callout_step(YELLOW, found, at(now)) == step


def test_a_rung_that_the_ladder_does_not_know_leads_to_the_door():
    assert next_callout_step(YELLOW, standing(Rung.SUPERIOR, calls=3, last=0), at(600)) == Climb(
        Rung.DOOR, False, "no answer after 3 calls"
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"rungs": ()}, "door"),
        ({"rungs": (Rung.DEPUTY,)}, "door"),
        ({"rungs": (Rung.DOOR, Rung.DEPUTY)}, "door"),
        ({"rungs": (Rung.DEPUTY, Rung.DEPUTY, Rung.DOOR)}, "twice"),
        ({"rungs": (Rung.PRINCIPAL, Rung.DOOR)}, "principal"),
        ({"calls": 0}, "1 or more"),
        ({"every": 0}, "1 or more"),
        ({"patience": -1}, "1 or more"),
    ],
)
def test_a_ladder_without_an_end_or_a_call_cannot_be_made(changes, word):
    with pytest.raises(ValueError, match=word):
        replace(RED, **changes)


# ── driven on a clock until it rests ──

LADDERS = st.builds(
    Ladder,
    calls=st.integers(1, 4),
    every=st.integers(1, 400),
    patience=st.integers(1, 400),
    rungs=st.permutations([Rung.DEPUTY, Rung.SUPERIOR, Rung.SIDEWAYS]).flatmap(
        lambda rungs: st.integers(0, 3).map(lambda n: (*rungs[:n], Rung.DOOR))
    ),
    voice=st.sampled_from(["at_once", "when_silent"]),
    measures_within=st.none() | st.integers(1, 7200),
)
ASKED = st.fixed_dictionaries({rung: st.integers(0, 2) for rung in Rung})


@dataclass
class Climber:
    """Rows and a sweep: takes each step that is due and writes down what was done, as the ledger does."""

    ladder: Ladder
    asked: Mapping[Rung, int]
    now: datetime = OPENED
    rows: Standing = field(init=False)
    calls: list[tuple[Rung, datetime]] = field(default_factory=list)
    climbs: list[Climb] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = Standing(Rung.PRINCIPAL, self.asked[Rung.PRINCIPAL], 0, None, OPENED, DUE)

    def sweep(self) -> Step:
        """Everything that is due now; returns what the ladder says then."""
        while True:
            step = next_callout_step(self.ladder, self.rows, self.now)
            match step:
                case Call(rung, nth):
                    assert (rung, nth) == (self.rows.rung, self.rows.calls + 1)
                    self.calls.append((rung, self.now))
                    self.rows = replace(self.rows, calls=nth, last_call=self.now)
                case Climb(rung, _, _):
                    self.climbs.append(step)
                    self.rows = replace(self.rows, rung=rung, asked=self.asked[rung], calls=0, last_call=None)
                case _:
                    return step

    def until_rest(self, late: Callable[[], float] = lambda: 0.0) -> None:
        """To the end, the sweep coming late by so many seconds."""
        for _ in range(200):
            step = self.sweep()
            if not isinstance(step, Wait):
                return
            assert step.until > self.now, "a wait for what is past: a sweep would spin"
            self.now = step.until + timedelta(seconds=late())
        raise AssertionError("a ladder without an end")


@given(LADDERS, ASKED, st.data())
def test_every_silent_post_ends_on_the_door_knock_list(ladder, asked, data):
    climber = Climber(ladder, asked)
    climber.until_rest(lambda: data.draw(st.sampled_from([0.0, 0.5, 7.0, 3600.0])))

    assert climber.rows.rung is Rung.DOOR
    order = [Rung.PRINCIPAL, *ladder.rungs]
    assert [climb.rung for climb in climber.climbs] == order[1:]  # only up, each rung once
    assert [climb.skipped for climb in climber.climbs] == [asked[rung] == 0 for rung in order[:-1]]
    assert all(climb.reason for climb in climber.climbs)
    called = [rung for rung, _ in climber.calls]
    assert called == [rung for rung in order[:-1] if asked[rung] for _ in range(ladder.calls)]


@given(LADDERS, ASKED, st.lists(st.integers(-900, 900), max_size=40))
def test_no_two_calls_are_closer_than_the_plan_says_and_no_rung_is_called_too_often_whatever_the_clock_does(ladder, asked, jumps):
    climber = Climber(ladder, asked)
    begins = DUE if ladder.voice == "when_silent" else OPENED
    for jump in jumps:
        climber.sweep()
        climber.now += timedelta(seconds=jump)
    for (rung, earlier), (next_rung, later) in zip(climber.calls, climber.calls[1:], strict=False):
        assert rung is not next_rung or later - earlier >= timedelta(seconds=ladder.every)
    assert all(moment >= begins for _, moment in climber.calls)
    assert all([rung for rung, _ in climber.calls].count(rung) <= ladder.calls for rung in Rung)
    assert Rung.DOOR not in {rung for rung, _ in climber.calls}


# ── named after what such systems did ──


@given(LADDERS, st.integers(0, 5), st.integers(0, 5), st.integers(0, 10**8))
def test_an_acknowledged_alert_does_not_escalate_weeks_later(ladder, asked, calls, seconds):
    at_the_door = Standing(Rung.DOOR, asked, calls, OPENED, OPENED, DUE)
    assert next_callout_step(ladder, at_the_door, at(seconds)) == Rest()


def test_a_level_without_contacts_does_not_wake_the_directors_all_at_once():
    climber = Climber(RED, {Rung.PRINCIPAL: 1, Rung.DEPUTY: 0, Rung.SUPERIOR: 2, Rung.SIDEWAYS: 3, Rung.DOOR: 0})
    climber.until_rest()

    skipped = [climb for climb in climber.climbs if climb.skipped]
    assert skipped == [Climb(Rung.SUPERIOR, True, "nobody on rung deputy can be called")]  # aloud, and one rung only
    first = {rung: next(moment for called, moment in climber.calls if called is rung) for rung in (Rung.SUPERIOR, Rung.SIDEWAYS)}
    assert first[Rung.SUPERIOR] == at(2 * 60 + 90)  # not before the principal had the time that the plan gives
    assert first[Rung.SIDEWAYS] == first[Rung.SUPERIOR] + timedelta(seconds=2 * 60 + 90)


def test_where_nobody_at_all_can_be_called_the_duty_desk_knows_at_once_and_of_every_rung():
    climber = Climber(RED, dict.fromkeys(Rung, 0))
    assert climber.sweep() == Rest()
    assert (climber.now, climber.calls) == (OPENED, [])
    assert [climb.rung for climb in climber.climbs if climb.skipped] == list(RED.rungs)


@given(LADDERS, ASKED, st.integers(0, 30), st.integers(0, 10**6))
def test_an_escalation_does_not_die_with_its_worker(ladder, asked, steps, asleep):
    """Killed anywhere, found again later by another process: from the rows alone, and with the frozen plan read anew."""
    first = Climber(ladder, asked)
    for _ in range(steps):
        step = first.sweep()
        first.now = step.until if isinstance(step, Wait) else first.now
    second = Climber(Ladder.from_json(json.loads(json.dumps(ladder.as_json()))), asked, first.now + timedelta(seconds=asleep))
    second.rows = first.rows

    assert next_callout_step(ladder, first.rows, first.now) == next_callout_step(second.ladder, second.rows, first.now)
    second.until_rest()
    assert second.rows.rung is Rung.DOOR


# ── places ──


@pytest.mark.parametrize(
    ("required", "answered", "has"),
    [
        (("VILLAGE_HEAD", "WARN_LEAD"), {"VILLAGE_HEAD", "WARN_LEAD", "EVAC_LEAD"}, True),
        (("VILLAGE_HEAD", "WARN_LEAD"), {"VILLAGE_HEAD", "EVAC_LEAD"}, False),
        (("VILLAGE_HEAD",), set(), False),
        ((), {"VILLAGE_HEAD"}, False),  # nothing required is no answer
    ],
)
def test_a_place_has_answered_when_all_required_posts_have(required, answered, has):
    assert place_answered(required, answered) is has


def test_towns_and_the_county_count_the_places_below_them():
    parents = {
        "330521": None,
        "330521001": "330521",
        "330521115": "330521",
        "330521115201": "330521115",
        "330521115202": "330521115",
    }
    villages = {"330521115201": True, "330521115202": False}
    towns = {"330521001": True, "330521115": False}
    assert roll_up(parents, villages) == {"330521115": Tally(1, 2), "330521": Tally(1, 2)}
    assert roll_up(parents, towns) == {"330521": Tally(1, 2)}
    assert roll_up(parents, {**towns, **villages}) == {"330521115": Tally(1, 2), "330521": Tally(2, 4)}
    assert roll_up(parents, {"330521999001": True}) == {}  # of a tree that is not in force any more: counted nowhere


@given(st.dictionaries(st.integers(1, 60), st.booleans(), max_size=40))
def test_no_place_is_lost_or_counted_twice_on_the_way_up(answered):
    parents = {str(n): str(n // 4) if n else None for n in range(61)}
    totals = roll_up(parents, {str(n): has for n, has in answered.items()})
    for region, tally in totals.items():
        inside = [has for n, has in answered.items() if region in lineage(parents, str(n))]
        assert (tally.answered, tally.places) == (sum(inside), len(inside))
    if answered:
        assert totals["0"].places == len(answered)


def lineage(parents: Mapping[str, str | None], region: str) -> list[str]:
    """The regions above, nearest first."""
    above = parents[region]
    return [] if above is None else [above, *lineage(parents, above)]
