"""Capacity before the rain: how many calls a warning takes, by how many lines, how long, and who is called first."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from broadcast.channels import open_peer
from broadcast.cli.saying import to_json
from broadcast.gateway import open_ways
from broadcast.gateway.capacity import Pace, last_call_after
from broadcast.ledger import tables as t

from .stories import warning

VILLAGE, TOWN, COUNTY = "330521115201", "330521115", "330521"
ALIYUN = ((5, 3600), (20, 86_400), (1, 60))  # what the provider allows one number


def preview(story, **options):
    raw = warning(story, **({"severity": "Extreme"} | options))
    return story.gateway.preview(story.gateway.read(raw), "deqing-met")


def by_voice(story, *, concurrency: int = 4, rate: float = 0.0, **options: object) -> None:
    """Another voice peer, one phone a call as all of them."""
    peer = open_peer(
        name="voice-1", channel="voice", protocol="loopback", simulated=True, concurrency=concurrency, rate=rate,
        options={"file": str(story.folder / "voice.jsonl"), "per_call": 1, **options},
    )  # fmt: skip
    story.gateway.house.ways = {**story.gateway.house.ways, **open_ways([peer])}


def by_aliyun(story) -> None:
    peer = open_peer(
        name="vms-1", channel="voice", protocol="vms", simulated=True,
        options={
            "url": "http://127.0.0.1:9", "access_key_id": "simulated-key", "access_key_secret": "simulated-secret",
            "caller": "15400000000", "start_code": "TTS_1", "confirmed_code": "TTS_2",
        },
    )  # fmt: skip
    story.gateway.house.ways = {**story.gateway.house.ways, **open_ways([peer])}


# --- what a preview says


def calls_made(story, **options) -> int:
    raw = warning(story, **({"severity": "Extreme"} | options))
    sent = story.gateway.submit(story.gateway.read(raw), source="deqing-met")
    with story.gateway.ledger.read() as tx:
        return tx.execute(
            sa.select(sa.func.count())
            .select_from(t.delivery)
            .where(t.delivery.c.alert_id == sent.alert_id, t.delivery.c.channel == "voice", t.delivery.c.purpose == "alarm")
        ).scalar_one()


@pytest.mark.parametrize("event", [("暴雨", "11B03"), ("山洪灾害立即转移", "11A51")], ids=["rainstorm", "leave at once"])
def test_the_first_wave_is_as_many_calls_as_the_alert_then_makes(story, event):
    expected = preview(story, event=event).capacity
    assert expected.voice == "at_once" and expected.within == 180
    assert expected.calls == calls_made(story, event=event) == sum(turn.calls for turn in expected.order) > 0


def test_one_number_with_two_duties_is_called_once(sqlite_story):
    story, area = sqlite_story, {"area": "测试村", "codes": (VILLAGE,)}
    before = preview(story, **area).capacity
    with story.gateway.ledger.write() as tx:
        head = tx.execute(
            sa.select(t.post.c.person_id).where(t.post.c.role == "VILLAGE_HEAD", t.post.c.region == VILLAGE, t.post.c.rank == "A")
        )
        tx.execute(t.post.insert().values(person_id=head.scalar_one(), role="WATER_PATROL", region=VILLAGE, rank="A"))
    after = preview(story, **area).capacity
    assert after.calls == before.calls == sum(turn.calls for turn in after.order) == calls_made(story, **area)


def test_places_at_risk_are_called_before_the_others_and_above_them_the_county_and_the_town(sqlite_story):
    story = sqlite_story
    area = {"area": "德清县", "codes": (COUNTY,)}
    order = [(turn.tier, turn.first) for turn in preview(story, **area).capacity.order]
    assert order == [
        ("county", None), ("town", None), ("village", True), ("grid", True), ("village", False), ("grid", False)
    ]  # fmt: skip
    sent = story.gateway.submit(story.gateway.read(warning(story, severity="Extreme", **area)), source="deqing-met")
    with story.gateway.ledger.read() as tx:
        rows = tx.execute(
            sa.select(t.rule.c.tier, t.rule.c.first)
            .join(t.batch, t.batch.c.rule_id == t.rule.c.id)
            .where(t.batch.c.alert_id == sent.alert_id, t.batch.c.channel == "voice")
            .order_by(t.batch.c.id)
        )
        made = list(dict.fromkeys((row.tier, None if row.first is None else bool(row.first)) for row in rows))
    assert made == order


def test_one_line_that_may_ring_once_in_two_seconds_needs_two_seconds_for_each_call(sqlite_story):
    story = sqlite_story
    by_voice(story, concurrency=1, rate=0.5)
    found = preview(story).capacity
    assert (found.peer, found.lines, found.rate) == ("voice-1", 1, 0.5)
    assert found.first_wave_minutes == pytest.approx((found.calls - 1) * 2 / 60, abs=0.02)
    assert found.first_wave_minutes == found.order[-1].minutes
    minutes = [turn.minutes for turn in found.order]
    assert minutes == sorted(minutes) and minutes[0] < minutes[-1]


def test_more_lines_are_through_sooner(sqlite_story):
    story = sqlite_story
    by_voice(story, concurrency=1)
    one = preview(story).capacity
    by_voice(story, concurrency=8)
    eight = preview(story).capacity
    assert one.calls == eight.calls
    assert one.first_wave_minutes == pytest.approx(8 * eight.first_wave_minutes, rel=0.2)


def test_a_round_is_three_calls_a_minute_apart_and_then_others_are_asked(sqlite_story):
    story = sqlite_story
    by_voice(story, concurrency=1000)
    found = preview(story, area="测试村", codes=(VILLAGE,)).capacity
    assert found.calls_each == 3
    assert found.others_minutes == 3
    assert found.round_minutes == pytest.approx(2 + found.first_wave_minutes, abs=0.02)


def test_with_too_few_lines_the_second_call_waits_for_the_end_of_the_first_wave(sqlite_story):
    story = sqlite_story
    by_voice(story, concurrency=1, rate=0.25)
    found = preview(story).capacity
    assert found.first_wave_minutes > 1
    assert found.round_minutes == pytest.approx(3 * found.first_wave_minutes, abs=0.05)
    assert found.others_minutes == 3  # the ladder goes by the clock


def test_below_red_the_provider_keeps_calls_back_and_the_round_takes_an_hour(sqlite_story):
    story = sqlite_story
    by_aliyun(story)
    files = {name: text.replace("calls = 2 ", "calls = 3 ") for name, text in story.plan_files().items()}
    story.gateway.import_plans(files, "测试")  # one more than the shipped plans make
    red, orange = preview(story).capacity, preview(story, severity="Severe").capacity
    assert 2 < red.round_minutes < 5
    assert 60 < orange.round_minutes < 65  # of five calls an hour two are for less than red


def test_yellow_begins_in_writing_and_says_how_many_would_be_called_at_worst(sqlite_story):
    story = sqlite_story
    story.clock.forward(hours=6)  # by day
    found = preview(story, severity="Moderate", area="测试村", codes=(VILLAGE,)).capacity
    assert (found.voice, found.within) == ("when_silent", None)
    sent = story.gateway.submit(
        story.gateway.read(warning(story, severity="Moderate", area="测试村", codes=(VILLAGE,))), source="deqing-met"
    )
    with story.gateway.ledger.read() as tx:
        owing = tx.execute(
            sa.select(sa.func.count(sa.distinct(t.target.c.address_id)))
            .join(t.post, t.post.c.person_id == t.target.c.person_id)
            .join(t.callout, t.callout.c.post_id == t.post.c.id)
            .where(t.callout.c.alert_id == sent.alert_id, t.target.c.channel == "voice")
        ).scalar_one()
    assert found.calls == owing > 0


def test_blue_and_the_end_of_a_warning_call_nobody(sqlite_story):
    story = sqlite_story
    assert preview(story, severity="Minor").capacity is None
    assert preview(story, msg_type="Cancel", references="33052141600000_c1").capacity is None


def test_a_plan_that_calls_whoever_is_silent_says_that_there_is_no_voice(sqlite_story):
    story = sqlite_story
    story.gateway.house.ways = {name: way for name, way in story.gateway.house.ways.items() if name != "voice"}
    for severity in ("Extreme", "Moderate"):
        found = preview(story, severity=severity)
        assert found.capacity is None
        assert sum("channel voice" in finding for finding in found.findings) == 1


def test_the_preview_as_json_holds_the_capacity(sqlite_story):
    found = json.loads(to_json(preview(sqlite_story)))["capacity"]
    assert found["peer"] == "voice-loopback" and found["order"][0]["tier"] == "county"


# --- the arithmetic


@pytest.mark.parametrize(
    ("calls", "every", "limits", "last"),
    [
        (1, 60, ALIYUN, 0),
        (3, 60, ALIYUN, 120),
        (3, 10, ALIYUN, 120),  # a minute apart, whatever the plan says
        (6, 60, ALIYUN, 3600),  # the sixth waits for the hour
        (3, 60, ((2, 3600),), 3600),
        (3, 60, (), 120),
        (1, 60, ((0, 60),), None),
    ],
)
def test_the_last_call_to_one_number(calls, every, limits, last):
    assert last_call_after(calls, every, limits) == last


@given(
    calls=st.integers(1, 30),
    every=st.integers(1, 600),
    limits=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4000)), max_size=3),
)
def test_the_last_call_is_never_sooner_than_every_limit_alone_allows(calls, every, limits):
    last = last_call_after(calls, every, limits)
    assert last >= (calls - 1) * every
    for allowed, seconds in limits:
        assert last >= (calls - 1) // allowed * seconds
        assert last >= last_call_after(calls, every, [(allowed, seconds)])


@given(
    calls=st.integers(0, 5000),
    concurrency=st.integers(1, 64),
    rate=st.floats(0, 100),
    gap=st.integers(0, 600),
    each=st.floats(0.01, 30),
)
def test_a_wave_is_never_through_sooner_than_its_lines_its_rate_or_its_pauses_allow(calls, concurrency, rate, gap, each):
    seconds = Pace(each, concurrency, rate, gap).seconds(calls)
    assert seconds >= calls * each / concurrency - 1e-6
    assert seconds >= (calls - 1) * gap
    assert Pace(each, concurrency, rate, gap).seconds(calls + 1) >= seconds
    if rate:
        assert seconds * rate + max(1.0, rate) >= calls - 1e-3 - max(1.0, rate) * (rate < 1e-3)
