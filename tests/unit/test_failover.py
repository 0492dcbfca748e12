"""Several providers of one channel, and the plan's next channel: an outage delays nobody who can be reached another way."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from broadcast.channels import Peer, open_peer
from broadcast.errors import InvalidFiles
from broadcast.gateway import open_ways
from broadcast.simulator import Account, Config, Faults, Simulator

from .stories import warning

DEAD = "http://127.0.0.1:9"  # nobody listens there: certainly nothing leaves


def provider(name: str, url: str, channel: str = "sms") -> Peer:
    options = {"url": url, "ec_name": "测试单位", "ap_id": name, "secret_key": "sk", "sign": "SIGN1", "read_seconds": 1.0}
    return open_peer(name=name, channel=channel, protocol="mas", simulated=True, options=options)


@pytest.fixture
def providers():
    """Two 云MAS contracts, each at a stand-in of its own."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Simulator(Config(account=Account(ap_id=name, secret_key="sk", repeat_seconds=0))))
            for name in ("first", "second")
        }


def use(story, *peers: Peer, order=None) -> None:
    channel = peers[0].channel
    story.gateway.house.ways = {**story.gateway.house.ways, channel: open_ways(peers, order)[channel]}


def numbers(simulator: Simulator) -> list[str]:
    return [mobile for one in simulator.received for mobile in one.mobiles]


def send(story, **options):
    sent = story.gateway.submit(story.gateway.read(warning(story, **options)))
    story.work()
    return sent


def owed_by(story, sent, channel: str) -> list[dict]:
    return [row for row in story.gateway.ledger.deliveries(alert_id=sent.alert_id) if row["channel"] == channel]


def test_the_first_provider_carries_everything_while_it_answers(story, providers):
    use(story, provider("first", providers["first"].url), provider("second", providers["second"].url))
    sent = send(story)
    assert len(numbers(providers["first"])) == len(owed_by(story, sent, "sms")) > 100
    assert not numbers(providers["second"])


def test_when_the_first_cannot_be_reached_the_second_tells_everybody_once(story, providers):
    use(story, provider("first", DEAD), provider("second", providers["second"].url))
    sent = send(story)
    story.clock.forward(seconds=90)
    story.work()
    told = numbers(providers["second"])
    assert len(told) == len(set(told)) == len(owed_by(story, sent, "sms"))
    assert {(row["state"], row["peer"]) for row in owed_by(story, sent, "sms")} == {("accepted", "second")}


def test_what_the_first_may_have_taken_is_not_handed_to_the_second(sqlite_story, providers):
    story = sqlite_story
    providers["first"].faults = Faults(close_without_answer="after")
    use(story, provider("first", providers["first"].url), provider("second", providers["second"].url))
    sent = [send(story, severity="Moderate") for _ in range(3)]  # yellow: silence is the smaller harm
    story.clock.forward(seconds=300)
    story.work()
    rows = [row for one in sent for row in owed_by(story, one, "sms")]
    by_state = {state: sum(row["state"] == state for row in rows) for state in {row["state"] for row in rows}}
    # Five failures in a row, and then the second carries the rest; what was in doubt stays so, and goes to nobody else.
    assert by_state == {"in_doubt": len(numbers(providers["first"])), "accepted": len(numbers(providers["second"]))}


def test_a_level_has_an_order_of_its_own(sqlite_story, providers):
    story = sqlite_story
    peers = provider("first", providers["first"].url), provider("second", providers["second"].url)
    use(story, *peers, order={"red": {"sms": ["second", "first"]}})
    send(story, severity="Extreme")
    assert numbers(providers["second"]) and not numbers(providers["first"])
    send(story, severity="Moderate")
    assert numbers(providers["first"])


def test_an_order_must_name_each_peer_once_and_a_channel_is_live_or_simulated():
    first, second = provider("first", DEAD), provider("second", DEAD)
    for order in ({"": {"sms": ["first"]}}, {"red": {"sms": ["first", "second", "third"]}}, {"": {"voice": ["first"]}}):
        with pytest.raises(InvalidFiles, match="must name each peer"):
            open_ways([first, second], order)
    live = open_peer(
        name="live", channel="sms", protocol="mas", simulated=False,
        options={"url": DEAD, "ec_name": "测", "ap_id": "a", "secret_key": "s", "sign": "s"},
    )  # fmt: skip
    with pytest.raises(InvalidFiles, match="one kind"):
        open_ways([first, live])


def test_posts_whose_channel_is_down_are_told_by_the_plans_next_channel_when_its_time_is_over(story):
    use(story, provider("first", DEAD))
    sent = send(story)  # orange: posts by voice, sms and zwdd, grid workers by grid and sms, residents by sms alone
    before = {row["state"] for row in owed_by(story, sent, "sms")}
    assert before == {"deferred"}
    story.clock.forward(minutes=31)  # the longest `within` of the plan
    story.work()
    posts = [row for row in owed_by(story, sent, "sms") if row["tier"] not in ("household",)]
    moved = [row for row in posts if row["state"] == "cancelled"]
    assert moved and all("instead" in row["reason"] for row in moved)
    assert {row["state"] for row in posts if row not in moved} <= {"deferred"}
    residents = [row for row in owed_by(story, sent, "sms") if row["tier"] == "household"]
    assert {row["state"] for row in residents} == {"deferred"}  # they have no other channel: never given up
    assert "batch.by_next_channel" in story.entries(sent)


def test_whoever_is_told_by_the_next_channel_is_told_once(sqlite_story):
    story = sqlite_story
    use(story, provider("first", DEAD))
    sent = send(story)
    story.clock.forward(minutes=31)
    story.work()
    for channel in ("voice", "grid", "zwdd"):
        told = [(row["delivery"], row["purpose"]) for row in owed_by(story, sent, channel)]
        lines = [(line["address"], line["key"], line["seq"]) for line in story.sent(channel)]
        assert len(set(lines)) == len(lines) == len(told)
