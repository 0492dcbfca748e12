"""Any Alert can be written as CAP 1.2 that the OASIS schema accepts, and what CAP carries comes back the same."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from broadcast.alert import (
    Alert,
    Area,
    ChannelText,
    Circle,
    Geocode,
    Identifier,
    Info,
    MsgType,
    Reference,
    Resource,
    Scope,
    Severity,
    Signal,
    Status,
)
from broadcast.intake import cap, read

TESTS = Path(__file__).parents[1]
SHARED = Path(os.environ.get("BROADCAST_SHARED") or Path(__file__).parents[3] / "shared")
SCHEMA_FILE = SHARED / "standards" / "cap12.xsd"
SCHEMA = etree.XMLSchema(etree.parse(SCHEMA_FILE)) if SCHEMA_FILE.exists() else None
FILES = sorted([*(TESTS / "fixtures").glob("c*/*.xml"), *(TESTS.parent / "examples/deqing/warnings").glob("*.xml")])


def assert_valid(written: bytes) -> None:
    """Held against the OASIS schema where it is at hand, and well-formed in its namespace everywhere."""
    root = etree.fromstring(written)
    assert root.tag == "{urn:oasis:names:tc:emergency:cap:1.2}alert"
    if SCHEMA is not None:
        SCHEMA.assertValid(root)


def inside(written: bytes, name: str) -> list[str]:
    return [element.text or "" for element in etree.fromstring(written).iter(f"{{*}}{name}")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_form_is_written_as_valid_cap_and_read_back(path):
    alert = read(path.read_bytes())

    written = cap.write(alert)

    assert_valid(written)
    again = read(written)
    assert again.form == "cap"
    assert (again.identifier, again.sent, again.msg_type) == (alert.identifier, alert.sent, alert.msg_type)
    assert [info.level for info in again.infos] == [info.level for info in alert.infos]
    assert [info.signal for info in again.infos] == [info.signal for info in alert.infos]
    assert again.event_key == alert.event_key


def test_national_codes_are_written_with_the_names_that_cap_asks_for():
    written = cap.write(read((TESTS.parent / "examples/deqing/warnings/2-rainstorm-orange.xml").read_bytes()))

    assert inside(written, "valueName") == ["eventType"] + ["CPEAS Geographic Code"] * 4
    assert inside(written, "value") == ["11B03", "330521115000", "330521001000", "330521002000", "330521003000"]
    assert inside(written, "severity") == ["Severe"]
    assert inside(written, "references") == ["德清县气象局,33052141600000_20230705050000,"]


def test_an_inner_alert_never_leaves_as_public():
    alert = read((TESTS / "fixtures/cn12379/sloppy_typhoon.xml").read_bytes())

    assert inside(cap.write(alert), "scope") == ["Restricted"]
    assert inside(cap.write(replace(alert, scope=Scope.PRIVATE)), "scope") == ["Private"]


def test_a_step_that_no_word_carries_is_written_as_a_parameter():
    info = Info(event="山洪灾害事件", event_code="11A51", severity=Severity.MODERATE, signal=Signal.IMMEDIATE)
    alert = Alert(Identifier("a"), "b", datetime(2024, 1, 1, tzinfo=UTC), Status.ACTUAL, MsgType.ALERT, Scope.PUBLIC, (info,))

    assert read(cap.write(alert)).infos[0].signal is Signal.IMMEDIATE


# --- any Alert at all: valid ---

TEXT = st.text(max_size=30)
OFFSETS = st.integers(-15 * 3600, 15 * 3600).map(lambda seconds: timezone(timedelta(seconds=seconds)))
ANY_TIME = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=OFFSETS)
ANY_FLOAT = st.floats()
ANY_AREA = st.builds(
    Area,
    TEXT,
    st.lists(st.lists(st.tuples(ANY_FLOAT, ANY_FLOAT), max_size=5).map(tuple), max_size=2).map(tuple),
    st.lists(st.builds(Circle, ANY_FLOAT, ANY_FLOAT, ANY_FLOAT), max_size=2).map(tuple),
    st.lists(st.builds(Geocode, TEXT, TEXT), max_size=3).map(tuple),
    st.none() | ANY_FLOAT,
    st.none() | ANY_FLOAT,
)
URIS = st.one_of(
    TEXT, st.sampled_from(["http://[::1", "a:b:c", "http://x:y/", "%zz", "#a#b", "//", "http://例.cn/图?a=b c", "://", "1:2"])
)
URIS = URIS | st.text("ab:/?#[]@%&=.é~-_1", max_size=15)
ANY_INFO = st.builds(
    Info,
    event=TEXT,
    event_code=st.sampled_from(["", "11B03", "11A51", "x"]),
    severity=st.sampled_from(Severity),
    language=TEXT | st.sampled_from(["zh-CN", "x-", "en_US"]),
    categories=st.lists(TEXT | st.just("Met"), max_size=3).map(tuple),
    urgency=TEXT,
    certainty=TEXT | st.just("VeryLikely"),
    response_types=st.lists(TEXT | st.just("AllClear"), max_size=2).map(tuple),
    other_codes=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    effective=st.none() | ANY_TIME,
    onset=st.none() | ANY_TIME,
    expires=st.none() | ANY_TIME,
    headline=TEXT,
    web=URIS,
    parameters=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    resources=st.lists(st.builds(Resource, TEXT, TEXT, TEXT | st.sampled_from(["84k", "12", "-1"]), URIS, TEXT), max_size=2).map(
        tuple
    ),
    areas=st.lists(ANY_AREA, max_size=2).map(tuple),
    signal=st.sampled_from(Signal),
)
ANY_ALERT = st.builds(
    Alert,
    identifier=TEXT,
    sender=TEXT,
    sent=ANY_TIME,
    status=st.sampled_from(Status),
    msg_type=st.sampled_from(MsgType),
    scope=st.sampled_from(Scope),
    infos=st.lists(ANY_INFO, max_size=2).map(tuple),
    form=st.sampled_from(["cap", "cn12379", "json"]),
    inner=st.booleans(),
    note=TEXT,
    references=st.lists(st.builds(Reference, TEXT, TEXT, st.none() | ANY_TIME), max_size=3).map(tuple),
    codes=st.lists(TEXT, max_size=2).map(tuple),
    requested=st.just((ChannelText("SMS", "x"),)),
)


@settings(max_examples=300)
@given(ANY_ALERT)
def test_any_alert_is_written_as_valid_cap(alert):
    assert_valid(cap.write(alert))


# --- what a reader lets in: comes back the same ---

WORD = st.text("abcXYZ019._-:暴雨预警", min_size=1, max_size=12)
WORDS = st.lists(WORD, max_size=3).map(" ".join)
TIME = st.datetimes(
    min_value=datetime(1971, 1, 1),
    max_value=datetime(2199, 1, 1),
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
).map(lambda moment: moment.replace(microsecond=0))
LATITUDE, LONGITUDE = st.floats(-80, 80), st.floats(-170, 170)
SIDE = st.floats(0.01, 5)
SQUARE = st.builds(
    lambda south, west, side: ((south, west), (south, west + side), (south + side, west + side), (south, west)),
    LATITUDE,
    LONGITUDE,
    SIDE,
)
AREA = st.builds(
    Area,
    WORDS,
    st.lists(SQUARE, max_size=2).map(tuple),
    st.lists(st.builds(Circle, LATITUDE, LONGITUDE, st.floats(0, 20_000)), max_size=2).map(tuple),
    st.lists(st.builds(Geocode, WORD, WORD), max_size=4, unique=True).map(tuple),
    st.none() | st.floats(-1e8, 1e8),
    st.none() | st.floats(-1e8, 1e8),
)
INFO = st.builds(
    Info,
    event=WORD,
    event_code=st.sampled_from(["11B03", "11D02", "12D02"]),
    severity=st.sampled_from(Severity),
    language=st.sampled_from(["zh-CN", "en-US", "fr"]),
    categories=st.lists(st.sampled_from(["Met", "Geo", "CBRNE"]), min_size=1, max_size=3, unique=True).map(tuple),
    urgency=st.sampled_from(["Immediate", "Future", "Unknown"]),
    certainty=st.sampled_from(["Observed", "Likely", "Unknown"]),
    response_types=st.lists(st.sampled_from(["Evacuate", "Monitor", "AllClear"]), max_size=2, unique=True).map(tuple),
    audience=WORDS,
    other_codes=st.lists(st.tuples(WORD, WORD.map("x-".__add__)), max_size=2).map(tuple),
    effective=st.none() | TIME,
    onset=st.none() | TIME,
    expires=st.none() | TIME,
    issuer=WORDS,
    headline=st.just(""),
    description=st.lists(WORDS, max_size=3).map(lambda lines: "\n".join(lines).strip()),
    instruction=WORDS,
    web=st.sampled_from(["", "http://example.org/a?b=c#d", "https://example.org:8443/%E5%9B%BE"]),
    contact=WORDS,
    parameters=st.lists(st.tuples(WORD, WORD), max_size=3).map(tuple),
    resources=st.lists(st.builds(Resource, WORD, st.just("image/png"), st.sampled_from(["", "84"])), max_size=2).map(tuple),
    areas=st.lists(AREA, max_size=2).map(tuple),
)
NAME = st.text("abcXYZ019._-:@/德清县气象局", min_size=1, max_size=30)
ALERT = st.builds(
    Alert,
    identifier=NAME.map(Identifier),
    sender=NAME,
    sent=TIME,
    status=st.sampled_from(Status),
    msg_type=st.sampled_from(MsgType),
    scope=st.sampled_from(Scope),
    infos=st.lists(INFO, min_size=1, max_size=2).map(tuple),
    source=WORDS,
    restriction=WORDS,
    addresses=WORDS,
    note=WORDS,
    references=st.lists(st.builds(Reference, NAME, NAME, TIME), min_size=1, max_size=3, unique=True).map(tuple),
    incidents=WORDS,
    codes=st.lists(WORD, max_size=2).map(tuple),
)


@settings(max_examples=200)
@given(ALERT)
def test_what_is_written_is_read_back_the_same(alert):
    written = cap.write(alert)
    assert_valid(written)

    again = read(written)

    assert replace(again, repairs=(), sha256="") == alert
    assert cap.write(again) == written
