"""CAP to other platforms: the document as it is, signed, to each that is named, and one that is down delays no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from broadcast.channels.base import Call, Callback, Message, Purpose
from broadcast.channels.feed import NO_SUCH_PLATFORM, Feed, FeedOptions
from broadcast.delivery import State
from broadcast.errors import InDoubt, Misconfigured, Unavailable, Unsupported
from broadcast.intake import cap, read
from tests.unit.signed_post import OTHER_SECRET, SECRET, FarEnd
from tests.unit.test_grid import FACTS

WARNINGS = Path(__file__).parents[2] / "examples/deqing/warnings"
ORANGE = cap.write(read((WARNINGS / "2-rainstorm-orange.xml").read_bytes()), area_sms=True).decode()


def call(addresses: list[str], text: str = ORANGE, purpose: Purpose = Purpose.ALARM) -> Call:
    messages = tuple(Message(n, address, text, key=f"7-{n}") for n, address in enumerate(addresses, 1))
    return Call("7-1", purpose, messages, FACTS)


@contextmanager
def feed(**platforms: FarEnd | str) -> Iterator[Feed]:
    """A feed to these platforms: far ends, or urls."""
    with ExitStack() as stack:
        urls = {name: stack.enter_context(one).url if isinstance(one, FarEnd) else one for name, one in platforms.items()}
        known = {name: {"url": url, "secret": SECRET} for name, url in urls.items()}
        channel = Feed(FeedOptions.model_validate({"platforms": known, "read_seconds": 2}))
        stack.callback(channel.close)
        yield channel


def states(receipts: object) -> list[State]:
    return [receipt.state for receipt in receipts]


def test_each_platform_gets_the_document_byte_for_byte_with_its_own_signature():
    city, other = FarEnd((202, b"taken")), FarEnd()
    with feed(city=city, other=other) as channel:
        receipts = channel.send(call(["city", "other"]))
    assert [(one.state, one.code, one.ref) for one in receipts] == [
        (State.ACCEPTED, "202", "7-1"),
        (State.ACCEPTED, "200", "7-2"),
    ]
    for end, key in ((city, "7-1"), (other, "7-2")):
        [posted] = end.posted
        assert posted.body == ORANGE.encode()
        assert (posted.headers["content-type"], posted.headers["webhook-id"]) == ("application/cap+xml; charset=utf-8", key)


def test_the_platform_reads_the_alert_that_was_meant_and_the_wish_for_area_sms():
    city = FarEnd()
    with feed(city=city) as channel:
        channel.send(call(["city"]))
    above, here = read(city.posted[0].body), read((WARNINGS / "2-rainstorm-orange.xml").read_bytes())
    assert (above.identifier, above.sender, above.event_key) == (here.identifier, here.sender, here.event_key)
    assert ("AreaSMS", "requested") in above.infos[0].parameters
    assert etree.fromstring(city.posted[0].body).tag == "{urn:oasis:names:tc:emergency:cap:1.2}alert"


def test_an_address_is_the_whole_name_of_a_platform():
    known = {"sim:feed:city": {"url": "http://127.0.0.1:1/", "secret": SECRET}}
    channel = Feed(FeedOptions.model_validate({"platforms": known}))
    with pytest.raises(Unavailable):
        channel.send(call(["sim:feed:city"]))
    assert channel.send(call(["city", "feed:city"])) == [NO_SUCH_PLATFORM] * 2
    channel.close()


def test_an_unknown_platform_is_rejected_in_its_place():
    city = FarEnd()
    with feed(city=city) as channel:
        receipts = channel.send(call(["city", "nobody", "city"]))
    assert states(receipts) == [State.ACCEPTED, State.REJECTED, State.ACCEPTED]
    assert "broadcast.toml" in receipts[1].detail
    assert [posted.headers["webhook-id"] for posted in city.posted] == ["7-1", "7-3"]


def test_platforms_that_fail_in_a_row_keep_no_other_from_being_told():
    ends = {"a": FarEnd((500, b"")), "b": "http://127.0.0.1:1/", "c": FarEnd((403, b"")), "d": FarEnd()}
    with feed(**ends) as channel:
        receipts = channel.send(call(["a", "b", "c", "d"]))
    assert states(receipts) == [State.IN_DOUBT, State.DEFERRED, State.DEFERRED, State.ACCEPTED]


def test_a_stand_down_is_posted_like_an_alarm():
    city = FarEnd()
    with feed(city=city) as channel:
        channel.send(call(["city"], purpose=Purpose.STAND_DOWN))
    assert len(city.posted) == 1


def test_a_document_that_is_there_already_was_taken_once():
    city = FarEnd((500, b""), (409, b""))
    with feed(city=city) as channel:
        with pytest.raises(InDoubt):
            channel.send(call(["city"]))
        [receipt] = channel.send(replace(call(["city"]), attempt=2))
    assert (receipt.state, receipt.code) == (State.ACCEPTED, "409")
    assert len({posted.headers["webhook-id"] for posted in city.posted}) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((401, b""), Misconfigured),
        ((404, b"{}"), Misconfigured),
        ((410, b""), Misconfigured),
        ((400, b"not a CAP"), Misconfigured),
        ((429, b"", {"Retry-After": "3"}), Unavailable),
        ((503, b"", {"Retry-After": "3"}), Unavailable),
        ((500, b""), InDoubt),
        ((408, b""), InDoubt),
        (None, InDoubt),
    ],
)
def test_where_nobody_took_it_the_error_says_what_to_do(answer, error):
    city = FarEnd(answer)
    with feed(city=city) as channel, pytest.raises(error):
        channel.send(call(["city"]))


def test_a_platform_with_another_secret_refuses_us():
    city = FarEnd(secret=OTHER_SECRET)
    with feed(city=city) as channel, pytest.raises(Misconfigured):
        channel.send(call(["city"]))


@pytest.mark.parametrize(
    "text", [ORANGE, "\ufeff" + ORANGE, '<alert xmlns="x"></alert>', "<cap:alert>x</cap:alert>", "\n<alert\n>"]
)
def test_what_begins_as_an_alert_is_posted(text):
    city = FarEnd()
    with feed(city=city) as channel:
        channel.send(call(["city"], text))
    assert city.posted[0].body == text.encode()


@pytest.mark.parametrize(
    "impossible",
    [
        call(["city"], "暴雨橙色预警,请转移"),
        call(["city"], ""),
        call(["city"], "<alerts>"),
        call(["city"], "<html><alert>"),
        call(["city"], "<alert>\ud83d</alert>"),
        call(["city"], purpose=Purpose.STOP),
        call(["city"], purpose=Purpose.RELEASE),
        call([]),
        call(["city"] * 6),
        replace(call(["city"]), messages=(Message(1, "city", ORANGE),)),
        replace(call([]), messages=(Message(1, "city", ORANGE, key="7-1"), Message(2, "city", ORANGE + " ", key="7-2"))),
    ],
    ids=range(11),
)
def test_a_call_that_cannot_be_is_refused_before_anything_leaves(impossible):
    city = FarEnd()
    with feed(city=city) as channel:
        with pytest.raises(Unsupported):
            channel.send(impossible)
        assert city.posted == []


def test_nobody_calls_back_and_nobody_is_asked():
    with feed(city="http://127.0.0.1:1/") as channel:
        assert channel.answer(Callback("/callbacks/feed", {}, b"\xff")).status == 404
        with pytest.raises(ValueError):
            channel.read(Callback("/callbacks/feed", {}, b"{}"))
        with pytest.raises(Unsupported):
            channel.ask(call(["city"]))
        with pytest.raises(Unsupported):
            channel.collect(lambda _callback: None, 1.0)


@pytest.mark.parametrize(
    "platforms",
    [
        {},
        {"city": {"url": "http://x.example"}},
        {"city": {"url": "ftp://x.example", "secret": SECRET}},
        {"city": {"url": "http://x.example", "secret": "env:NOT_READ"}},
    ],
)
def test_platforms_that_cannot_be_are_refused(platforms):
    with pytest.raises(ValueError):
        FeedOptions.model_validate({"platforms": platforms})
