"""Any Alert can be written as CAP 1.2 that the OASIS schema accepts, and what CAP carries comes back the same."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
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


# --- for other platforms ---

JSON_UPDATE = {
    "identifier": "sl-2024-7",
    "sender": "sl@deqing.example",
    "sent": "2024-06-20T16:10:00+08:00",
    "status": "Actual",
    "msgType": "Update",
    "scope": "Public",
    "references": "sl@deqing.example,sl-2024-6,2024-06-20T15:00:00+08:00",
    "info": [
        {"language": "en-US", "event": "flash flood", "severity": "Moderate", "areas": [{"areaDesc": "Moganshan"}]},
        {"language": "zh-CN", "event": "山洪", "severity": "Moderate", "areas": [{"areaDesc": "莫干山镇"}]},
    ],
}


def wishes(written: bytes) -> list[tuple[str, str]]:
    """The language of each info that asks for area SMS, and what it says."""
    infos = etree.fromstring(written).iter("{*}info")
    pairs = [(info, pair) for info in infos for pair in info.iter("{*}parameter")]
    return [(info.findtext("{*}language"), pair.findtext("{*}value")) for info, pair in pairs if pair[0].text == "AreaSMS"]


def test_the_wish_for_area_sms_stands_on_the_chinese_info_alone_and_only_when_it_is_wished():
    alert = read(json.dumps(JSON_UPDATE).encode())

    assert wishes(cap.write(alert)) == []
    assert wishes(cap.write(alert, area_sms=True)) == [("zh-CN", "requested")]


def test_a_wish_that_came_in_is_passed_on_once():
    alert = read(cap.write(read(json.dumps(JSON_UPDATE).encode()), area_sms=True))

    assert wishes(cap.write(alert)) == wishes(cap.write(alert, area_sms=True)) == [("zh-CN", "requested")]


def test_a_cancel_without_info_has_no_place_for_a_wish():
    alert = read((TESTS / "fixtures/cap/cancel_without_info.xml").read_bytes())

    assert cap.write(alert, area_sms=True) == cap.write(alert)


@pytest.mark.parametrize("raw", [*(path.read_bytes() for path in FILES), json.dumps(JSON_UPDATE).encode()])
def test_an_upper_platform_recognises_the_event_whatever_form_it_came_in(raw):
    alert = read(raw)

    written = cap.write(alert, area_sms=True)

    assert_valid(written)
    above = read(written)
    sender = alert.sender.replace(" ", "_")  # the one thing that CAP does not let stand in a name
    assert (above.identifier, above.sender, above.sent) == (alert.identifier, sender, alert.sent)
    assert (above.msg_type, above.is_stand_down, above.event_key) == (alert.msg_type, alert.is_stand_down, alert.event_key)
    assert [one.identifier for one in above.references] == [one.identifier for one in alert.references]
    assert [one.sender for one in above.references] == [one.sender or sender for one in alert.references]


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


@given(ANY_ALERT, st.booleans())
def test_any_alert_is_written_as_valid_cap(alert, area_sms):
    assert_valid(cap.write(alert, area_sms=area_sms))


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
    WORD,  # one without a name gets words, see below
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


@given(ALERT)
def test_what_is_written_is_read_back_the_same(alert):
    written = cap.write(alert)
    assert_valid(written)

    again = read(written)

    assert replace(again, repairs=(), sha256="") == alert
    assert cap.write(again) == written


def test_an_area_without_a_name_is_named_by_its_codes_because_cap_wants_words():
    areas = (Area("", (), (), (Geocode("330521115", "NBS"),), None, None), Area("", (), (), (), None, None))
    alert = Alert(
        identifier=Identifier("33052141600000_1"), sender="33052141600000", sent=datetime(2023, 7, 5, tzinfo=UTC), status=Status.ACTUAL,
        msg_type=MsgType.ALERT, scope=Scope.PUBLIC, infos=(Info(event="暴雨", event_code="11B03", severity=Severity.SEVERE, areas=areas),),
    )  # fmt: skip
    root = etree.fromstring(cap.write(alert))
    assert [one.text for one in root.iter("{*}areaDesc")] == ["330521115", "未注明区域"]
