"""Coverage as a pure function: what counts for reached, what hangs on one thing, and how it is drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from broadcast import maps
from broadcast.coverage import (
    TELLING,
    Facts,
    Loudspeaker,
    Means,
    Reach,
    SinglePoint,
    Way,
    loudspeaker,
    reach,
    single_points,
    weak_points,
)


def by(**ways: Way) -> Facts:
    return Facts(ways=ways)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(), Reach.NOBODY),
        (by(sms=Way(waiting=3)), Reach.NOBODY),
        (by(sms=Way(refused=3), speaker=Way(withdrawn=1)), Reach.NOBODY),
        (by(sms=Way(refused=2, handed_over=1)), Reach.HANDED_OVER),
        (by(speaker=Way(handed_over=1)), Reach.HANDED_OVER),
        (by(speaker=Way(delivered=1)), Reach.MACHINE),
        (by(sms=Way(delivered=1, refused=400)), Reach.MACHINE),
        (by(voice=Way(delivered=1)), Reach.MACHINE),  # picked up: heard to the end is no answer
        (by(zwdd=Way(delivered=1)), Reach.MACHINE),
        (by(grid=Way(delivered=1)), Reach.MACHINE),
        (by(feed=Way(delivered=5, handed_over=5)), Reach.NOBODY),  # other platforms are told, no village is
        (Facts(signed=1), Reach.MACHINE),  # somebody there took note who owes no answer
        (Facts(households=1), Reach.DOOR),
        (Facts(households=0, posts=3), Reach.NOBODY),
        (Facts(posts=3, acknowledged=1), Reach.PERSON),
        (Facts(posts=3, acknowledged=1, households=200), Reach.PERSON),
        (Facts(posts=3, acknowledged=3, measures=1), Reach.MEASURES),
    ],
)
def test_the_best_that_is_known_stands_for_the_village(facts, expected):
    assert reach(facts) is expected


def test_handed_over_is_not_reached_and_everything_better_is():
    assert [each for each in Reach if not each.reached] == [Reach.NOBODY, Reach.HANDED_OVER]
    assert [each.rank for each in Reach] == list(range(6))


NUMBERS = st.integers(0, 3)
WAYS = st.builds(Way, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
FACTS = st.builds(
    Facts, ways=st.dictionaries(st.sampled_from((*TELLING, "feed")), WAYS), signed=NUMBERS, households=NUMBERS,
    posts=st.just(9), acknowledged=NUMBERS, measures=NUMBERS,
)  # fmt: skip


def better(facts: Facts, fact: str) -> Facts:
    """The same village after one more good thing was heard."""
    if fact not in (*TELLING, "feed"):
        return replace(facts, **{fact: getattr(facts, fact) + 1})
    way = facts.ways.get(fact, Way())
    came = replace(way, delivered=way.delivered + 1, handed_over=max(0, way.handed_over - 1))  # what was handed over has come
    return replace(facts, ways={**facts.ways, fact: came})


@given(FACTS, st.sampled_from((*TELLING, "feed", "signed", "households", "acknowledged", "measures")))
def test_a_village_never_gets_worse_when_one_more_good_fact_arrives(facts, fact):
    after = reach(better(facts, fact))
    assert after.rank >= reach(facts).rank
    assert fact == "feed" or after.reached


@given(FACTS)
def test_what_went_to_other_platforms_changes_nothing_for_a_village(facts):
    assert reach(replace(facts, ways={**facts.ways, "feed": Way(delivered=3)})) is reach(facts)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (None, Loudspeaker.NONE),
        (Way(delivered=1, refused=1), Loudspeaker.YES),
        (Way(handed_over=1, refused=1), Loudspeaker.UNKNOWN),
        (Way(waiting=1), Loudspeaker.UNKNOWN),
        (Way(refused=1), Loudspeaker.NO),
        (Way(withdrawn=1), Loudspeaker.NO),
    ],
)
def test_a_loudspeaker_said_it_or_did_not_or_nobody_knows(way, expected):
    assert loudspeaker(by(speaker=way) if way else Facts()) is expected


# --- what hangs on one thing

SPEAKS = {"speaker": Way(delivered=1), "sms": Way(delivered=9)}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(ways=SPEAKS, posts=3, persons=3, callable=3), ()),
        (Facts(ways=SPEAKS, posts=3, persons=1, callable=1), (SinglePoint.ONE_PERSON,)),
        (Facts(ways=SPEAKS, posts=3, persons=3, callable=1), (SinglePoint.ONE_NUMBER,)),
        (Facts(ways=SPEAKS, posts=3, persons=3, callable=0), (SinglePoint.ONE_NUMBER,)),
        (Facts(ways=SPEAKS), ()),  # nobody owes an answer there
        (by(speaker=Way(delivered=1), sms=Way(refused=9)), (SinglePoint.ONE_CHANNEL,)),
        (by(sms=Way(delivered=9), voice=Way(delivered=1)), (SinglePoint.NO_LOUDSPEAKER,)),
        (by(speaker=Way(refused=1)), ()),  # there is one; that it was not heard is another matter
    ],
)
def test_what_a_village_hung_on(facts, expected):
    assert single_points(facts) == expected


def test_where_the_plan_tells_no_loudspeaker_none_is_missing():
    assert single_points(by(sms=Way(delivered=1), zwdd=Way(delivered=1)), speakers=False) == ()


WELL = Means(Loudspeaker.YES, {"sms": 40, "voice": 2}, at_the_door=1, posts=3, persons=2, callable=2)


@pytest.mark.parametrize(
    ("means", "best", "points"),
    [
        (WELL, Reach.PERSON, ()),
        (Means(), Reach.NOBODY, (SinglePoint.NO_LOUDSPEAKER,)),
        (replace(WELL, callable=0, at_the_door=1), Reach.DOOR, (SinglePoint.ONE_NUMBER,)),
        (replace(WELL, callable=1), Reach.PERSON, (SinglePoint.ONE_NUMBER,)),
        (replace(WELL, persons=1, callable=1), Reach.PERSON, (SinglePoint.ONE_PERSON,)),
        (Means(Loudspeaker.UNKNOWN), Reach.MACHINE, (SinglePoint.ONE_CHANNEL,)),
        (Means(Loudspeaker.NO), Reach.NOBODY, ()),  # it is broken: readiness says so of the loudspeaker
        (Means(Loudspeaker.NONE, {"sms": 40}), Reach.MACHINE, (SinglePoint.ONE_CHANNEL, SinglePoint.NO_LOUDSPEAKER)),
    ],
)
def test_what_a_village_could_be_reached_by_and_would_hang_on(means, best, points):
    assert (means.reach, weak_points(means)) == (best, points)


# --- drawn


def test_every_town_is_drawn_with_the_shares_of_its_villages_and_those_with_unreached_ones_are_framed():
    towns = [
        maps.TownPoint("测东镇", 30.5, 120.0, 0.0, {Reach.NOBODY: 1, Reach.PERSON: 3}),
        maps.TownPoint("测西镇", 30.6, 120.2, 4.0, {Reach.MACHINE: 2}),
    ]
    axes = Figure().add_subplot()
    maps.draw(axes, towns, "测")

    shapes = [type(one).__name__ for one in axes.patches]
    assert (shapes.count("Wedge"), shapes.count("Circle"), shapes.count("Rectangle")) == (3, 2, 1)
    assert {"测东镇 1/4", "测西镇"} <= {one.get_text() for one in axes.texts}
    legend = axes.get_legend()
    assert [one.get_text().split()[-2] for one in legend.get_texts()] == ["1", "0", "2", "0", "3", "0"]
    looks = {(one.get_facecolor(), one.get_hatch()) for one in legend.get_patches()}
    assert len(looks) == len(Reach)


def test_no_two_kinds_look_alike_on_a_copier():
    def grey(colour: str) -> float:
        red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    looks = [(grey(colour), hatch) for colour, hatch, _ in maps._LOOKS.values()]
    for n, (shade, hatch) in enumerate(looks):
        assert all(hatch != other or abs(shade - tone) > 80 for tone, other in looks[:n])


def test_a_county_without_a_known_point_is_an_empty_map():
    axes = Figure().add_subplot()
    maps.draw(axes, [])
    assert len(axes.patches) == 0
