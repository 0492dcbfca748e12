"""What is dangerous is refused, in words that name element, value, rule and line; and nothing crashes or hangs."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.alert import Alert
from broadcast.errors import InvalidAlert
from broadcast.intake import MAX_BYTES, read

TESTS = Path(__file__).parents[1]
FILES = sorted([*(TESTS / "fixtures").glob("c*/*.xml"), *(TESTS.parent / "examples/deqing/warnings").glob("*.xml")])
CAP = (TESTS / "fixtures/cap/rainstorm.xml").read_text("utf-8")
UPDATE = CAP.replace("<msgType>Alert", "<msgType>Update")
NATIONAL = (TESTS.parent / "examples/deqing/warnings/1-rainstorm-yellow.xml").read_text("utf-8")
SECONDS = 8.0  # for the worst 5 MB on a slow, shared machine; alone it takes less than two


def refusal(content: str | bytes) -> InvalidAlert:
    with pytest.raises(InvalidAlert) as refused:
        read(content if isinstance(content, bytes) else content.encode())
    return refused.value


def changed(element: str, value: str, text: str = CAP) -> str:
    found = re.sub(rf"<{element}>[^<]*</{element}>", lambda _: f"<{element}>{value}</{element}>", text, count=1)
    assert found != text
    return found


def without(element: str, text: str = CAP) -> str:
    return re.sub(rf"\s*<{element}>.*?</{element}>", "", text, count=1, flags=re.DOTALL)


@pytest.mark.parametrize("element", ["identifier", "sender", "sent", "status", "msgType", "scope"])
@pytest.mark.parametrize("text", [CAP, NATIONAL], ids=["cap", "12379"])
def test_what_says_who_speaks_and_to_whom_must_be_there(element, text):
    element = "sendTime" if element == "sent" and text is NATIONAL else element

    assert refusal(without(element, text)).element == element
    assert "missing" in refusal(changed(element, "", text)).rule


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("status", "Real"),
        ("msgType", "Alarm"),
        ("scope", "Everybody"),
        ("identifier", "a b"),
        ("identifier", "a,b"),
        ("identifier", "x" * 256),
        ("sender", "a&amp;b"),
        ("sender", "a&lt;b"),
        ("sent", "yesterday"),
        ("sent", "2024-02-30T00:00:00+08:00"),
        ("sent", "1969-12-31T23:59:59+00:00"),
        ("sent", "2201-01-01T00:00:00+00:00"),
        ("sent", "2024-01-01T00:00:00+15:00"),
        ("sent", "２０２４-01-01T00:00:00+08:00"),
    ],
)
def test_a_value_that_could_mean_anything_is_refused_with_its_line(element, value):
    refused = refusal(changed(element, value))

    assert refused.element == element
    assert refused.line
    assert str(refused.line) in str(refused)
    assert refused.rule


@pytest.mark.parametrize("kind", ["Update", "Cancel"])
@pytest.mark.parametrize("text", [CAP, NATIONAL], ids=["cap", "12379"])
def test_an_update_or_cancel_must_say_what_it_is_about(kind, text):
    assert refusal(changed("msgType", kind, text)).element == "references"


@pytest.mark.parametrize("references", ["a,b,c,d,", "a,,2024-01-01T00:00:00+08:00", ",", "a,b,c d,e,f,g,h"])
def test_broken_references_are_refused(references):
    text = UPDATE.replace("</code>", f"</code><references>{references}</references>")

    assert refusal(text).element == "references"


@pytest.mark.parametrize(
    "polygon",
    [
        "30.5,119.9 30.6,119.9",
        "30.5,119.9 30.6,119.9 30.5,119.9",
        "30.5,119.9 30.6,120.0 30.5,120.0 30.6,119.9 30.5,119.9",
        "30.5,119.9 30.6,120.0 30.5,120.0 30.9,119.9 30.5,119.9",
        "30.5,119.9 30.6,120.0 30.7,120.1 30.5,119.9",
        "91,119.9 30.5,120.0 30.6,120.0 91,119.9",
        "30.5,181 30.5,120.0 30.6,120.0 30.5,181",
        "nan,119.9 30.5,120.0 30.6,120.0 nan,119.9",
        "inf,119.9 30.5,120.0 30.6,120.0 inf,119.9",
        "3_0,119.9 30.5,120.0 30.6,120.0 3_0,119.9",
        "30.5,119.9,30.5,120.0,30.6,120.0",
        "here there everywhere",
    ],
)
def test_a_polygon_that_is_no_area_is_refused(polygon):
    assert refusal(changed("polygon", polygon)).element == "polygon"


@pytest.mark.parametrize(
    "circle", ["30.5,120", "30.5,120 -1", "30.5,120 nan", "91,120 1", "30.5,120 1e9", "30.5,120 30000", "x,y z"]
)
def test_a_circle_that_is_no_circle_is_refused(circle):
    assert refusal(changed("circle", circle)).element == "circle"


def test_a_value_given_twice_with_two_meanings_is_refused():
    assert refusal(CAP.replace("<status>Actual</status>", "<status>Test</status><status>Actual</status>")).element == "status"


def test_an_alert_that_says_nothing_is_refused():
    assert refusal(without("info")).element == "info"
    assert refusal(without("eventCode", changed("headline", "x", changed("event", "")))).element == "event"


DOCTYPES = [
    '<!DOCTYPE alert SYSTEM "http://127.0.0.1:9/x.dtd">',
    '<!DOCTYPE alert [<!ENTITY a "b">]>',
    '<!-- harmless --><?pi?><!DOCTYPE alert [<!ENTITY % a SYSTEM "file:///etc/passwd">%a;]>',
    "<!doctype alert>",
]


@pytest.mark.parametrize("doctype", DOCTYPES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk"])
def test_a_doctype_is_refused_in_every_encoding(doctype, encoding):
    declared = {"utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}.get(encoding, encoding)
    text = CAP.replace('encoding="UTF-8"?>', f'encoding="{declared}"?>{doctype}')

    assert refusal(text.encode(encoding)).element == "DOCTYPE"


@pytest.mark.parametrize("encoding", ["utf-7", "utf-32", "unicode_escape", "rot13", "ebcdic-cp-us", "no-such"])
def test_an_encoding_that_could_hide_something_is_refused(encoding):
    assert refusal(CAP.replace("UTF-8", encoding)).element == "encoding"


def test_bytes_that_are_not_of_the_declared_encoding_are_refused():
    assert refusal(CAP.encode("gbk")).element == "encoding"


def test_an_entity_without_a_doctype_is_refused():
    refused = refusal(changed("headline", "&boom;"))

    assert (refused.element, refused.line) == ("XML", CAP[: CAP.index("<headline")].count("\n") + 1)


def test_the_size_is_looked_at_before_anything_else():
    assert "bytes" in refusal(b"<" * (MAX_BYTES + 1)).rule
    assert read(CAP.encode() + b" " * (MAX_BYTES - len(CAP.encode())))


@pytest.mark.parametrize(
    "content", [b"", b"   ", b"\x00", b"\xff\xfe", b"hello", b"%PDF-1.4", b"[]", b"<a/>", b"<html><body/></html>"]
)
def test_what_is_no_warning_is_refused_in_plain_words(content):
    assert str(refusal(content))


def test_a_long_value_is_cut_short_in_the_error():
    assert len(str(refusal(changed("status", "x" * 100_000)))) < 600


def valid_json() -> dict[str, object]:
    info = {"event": "暴雨", "severity": "Red", "area": {"areaDesc": "x"}}
    named = {"identifier": "a", "sender": "b", "sent": "2024-01-01T00:00:00+08:00"}
    return {**named, "status": "Actual", "msgType": "Alert", "scope": "Public", "info": info}


def test_a_json_key_given_twice_is_refused_by_name():
    text = json.dumps(valid_json())

    assert read(text.encode())
    assert refusal(text.replace('"status": "Actual"', '"status": "Test", "status": "Actual"')).element == "status"


@pytest.mark.parametrize("polygon", ["[[NaN, 1], [2, 2], [3, 1]]", "[[Infinity, 1], [2, 2], [3, 1]]", "[[1, 1], [2, 2]]", "7"])
def test_a_json_polygon_is_held_to_the_same_rules(polygon):
    text = json.dumps(valid_json()).replace('"areaDesc": "x"', f'"areaDesc": "x", "polygon": {polygon}')

    assert refusal(text).element in ("polygon", "JSON")


def test_json_in_another_encoding_than_unicode_is_refused():
    assert refusal(json.dumps(valid_json(), ensure_ascii=False).encode("gbk")).element == "encoding"


def test_lone_surrogates_and_control_characters_do_not_get_in():
    headline = {**valid_json()["info"], "headline": "a\ud800b\x00c"}  # type: ignore[dict-item]
    alert = read(json.dumps(valid_json() | {"info": headline}).encode())

    assert alert.infos[0].headline == "a b c"
    assert "headline" in {repair.element for repair in alert.repairs}


HEAD = CAP[CAP.index("<alert") : CAP.index("<info>")]
HUGE = {
    "elements": b"<a>" + b"<b/>" * 590_000 + b"</a>",
    "unknown elements": HEAD.encode() + b"".join(b"<b%d/>" % n for n in range(200_000)) + b"</alert>",
    "depth": b"<a>" * 1_000_000,
    "infos in infos": HEAD.encode() + b"<info>" * 200 + b"</info>" * 200 + b"</alert>",
    "codes": changed("value", ",".join(map(str, range(600_000)))).encode(),
    "references": UPDATE.replace("</code>", "</code><references>" + "a " * 2_000_000 + "</references>").encode(),
    "points": changed("polygon", "1,1 " * 1_000_000).encode(),
    "parallel lines": changed(
        "polygon", " ".join(f"{n / 1000},{n % 2 * 50 + n / 1000}" for n in range(9_000)) + " -80,-170"
    ).encode(),
    "white space": CAP.replace("<info>", " " * 4_000_000 + "<info>").encode(),
    "instructions": b"<?a?>" * 900_000 + b"<a/>",
    "json arrays": b'{"a":' + b"[" * 4_000_000,
    "json objects": b'{"info":' * 600_000,
    "json depth that parses": b'{"info":' * 900 + b"{}" + b"}" * 900,
    "json number": b'{"identifier":' + b"1" * 4_000_000 + b"}",
    "json names": json.dumps({str(n): 0 for n in range(380_000)}).encode(),
    "json categories": json.dumps(valid_json() | {"info": {"category": [str(n) for n in range(400_000)]}}).encode(),
    "signal": json.dumps(valid_json() | {"info": {"event": "山洪", "description": "立即转移，必要时" * 100_000}}).encode(),
}


@pytest.mark.parametrize("name", HUGE)
def test_nothing_huge_or_deep_takes_long(name):
    began = time.monotonic()

    outcome(HUGE[name])

    assert time.monotonic() - began < SECONDS


def outcome(raw: bytes) -> Alert | InvalidAlert:
    """Either of the two things that may happen; any other exception fails the test."""
    try:
        alert = read(raw)
    except InvalidAlert as error:
        refused = error
    else:
        hash(alert)
        repr(alert).encode()
        return alert
    assert refused.element
    assert refused.rule
    assert "\n" not in str(refused)
    return refused


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_and_never_crash(raw):
    outcome(raw)
    outcome(b"<" + raw)
    outcome(b"{" + raw)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.sampled_from(FILES)).read_bytes())
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(raw) - 1))
        length = draw(st.integers(0, 12))
        raw[at : at + length] = draw(
            st.one_of(st.binary(max_size=12), st.sampled_from([b"<", b"&", b"]]>", b"<info>", b",", b""]))
        )
    return bytes(raw)


@given(mutated())
def test_mutated_warnings_are_read_or_refused(raw):
    outcome(raw)


_NAMES = """alert identifier sender senderCode sent sendTime status msgType scope code method methodName message references
    info language category event eventType eventCode valueName value severity urgency certainty effective expires onset
    responseType headline description parameter resource size area areaDesc polygon circle geocode altitude
    secClassification other"""
_VALUES = """Actual Alert Update Public Red 11A51 11B03 a,b,2024-01-01T00:00:00Z 2024-01-01T24:00:00+08:00 2024-01-01 1,1
    1,1,2 山洪立即转移 AllClear 0,0 0,1 1,1,0,0 1e9 -1 , ，"""
NAMES = st.sampled_from(_NAMES.split())
VALUES = st.one_of(st.sampled_from(_VALUES.split()), st.text(max_size=20))


@st.composite
def trees(draw: st.DrawFn, depth: int = 4) -> str:
    name = draw(NAMES)
    if depth == 0 or draw(st.booleans()):
        text = re.sub(r"[^\t\n\x20-\ud7ff]", "", draw(VALUES)).replace("&", "&amp;").replace("<", "&lt;")
        return f"<{name}>{text}</{name}>"
    return f"<{name}>{''.join(draw(st.lists(trees(depth - 1), max_size=4)))}</{name}>"


@given(st.lists(trees(), max_size=6), st.booleans(), st.booleans())
def test_random_elements_under_real_names_are_read_or_refused(parts, complete, national):
    source = NATIONAL if national else CAP
    head = source[source.index("<alert") : source.index("<info>")] if complete else "<alert>"

    outcome((head + "".join(parts) + "</alert>").encode())


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), VALUES),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=25,
)


@given(st.dictionaries(NAMES, JSON_VALUES, max_size=8), st.booleans())
def test_random_json_under_real_names_is_read_or_refused(content, complete):
    outcome(json.dumps(valid_json() | content if complete else content).encode())
