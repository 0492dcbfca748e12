"""What comes in as CAP, as 12379 or as JSON becomes the same kind of Alert, and what was sloppy is on record."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from broadcast.alert import Alert, Area, ChannelText, Circle, Geocode, Info, Level, MsgType, Reference, Scope, Signal, Status
from broadcast.errors import InvalidAlert
from broadcast.intake import read

TESTS = Path(__file__).parents[1]
FIXTURES = TESTS / "fixtures"
WARNINGS = TESTS.parent / "examples" / "deqing" / "warnings"
SHARED = Path(os.environ.get("BROADCAST_SHARED") or Path(__file__).parents[3] / "shared")
CHINA = timezone(timedelta(hours=8))


def fixture(name: str) -> Alert:
    return read((FIXTURES / name).read_bytes())


def demo(name: str) -> Alert:
    return read((WARNINGS / name).read_bytes())


def only(alert: Alert) -> Info:
    (info,) = alert.infos
    return info


def repaired(alert: Alert) -> set[str]:
    return {repair.element for repair in alert.repairs}


# --- the national form ---


def test_the_yellow_rainstorm_of_the_demo_says_who_what_when_and_where():
    alert = demo("1-rainstorm-yellow.xml")

    assert (alert.identifier, alert.form) == ("33052141600000_20230705050000", "cn12379")
    assert (alert.sender, alert.sender_code) == ("德清县气象局", "33052141600000")
    assert alert.sent == datetime(2023, 7, 5, 5, 0, tzinfo=CHINA)
    assert (alert.status, alert.msg_type, alert.scope) == (Status.ACTUAL, MsgType.ALERT, Scope.PUBLIC)
    assert (only(alert).event, only(alert).event_code, only(alert).level) == ("暴雨", "11B03", Level.YELLOW)
    assert only(alert).categories == ("Met",)
    assert only(alert).areas == (Area("德清县", geocodes=(Geocode("330521000000"),)),)
    assert only(alert).expires is None
    assert not alert.repairs


def test_an_update_and_the_cancel_belong_to_the_event_of_the_first_message():
    yellow, orange = demo("1-rainstorm-yellow.xml"), demo("2-rainstorm-orange.xml")
    cancel = demo("3-rainstorm-cancel.xml")

    assert yellow.event_key == orange.event_key == cancel.event_key == yellow.identifier
    assert orange.msg_type is MsgType.UPDATE
    assert only(orange).level is Level.ORANGE
    assert cancel.is_stand_down
    codes = [code.value for code in only(orange).areas[0].geocodes]
    assert codes == ["330521115000", "330521001000", "330521002000", "330521003000"]


def test_the_twin_with_other_town_codes_keeps_them_as_they_came():
    codes = [code.value for code in only(fixture("cn12379/rainstorm_orange_mca_codes.xml")).areas[0].geocodes]

    assert codes == ["330521117000", "330521002000", "330521003000", "330521004000"]


def test_a_test_message_is_known_as_one():
    assert fixture("cn12379/test_status.xml").status is Status.TEST


def test_the_officer_who_signed_is_nowhere_in_the_alert_but_in_the_raw_bytes():
    for alert in (demo("1-rainstorm-yellow.xml"), fixture("cn12379/sloppy_typhoon.xml")):
        assert only(alert).issuer == alert.sender
        assert "签发" not in repr(alert)
        assert "签发".encode() in alert.raw


def test_the_senders_own_words_by_channel_are_kept():
    alert = fixture("cn12379/sloppy_typhoon.xml")

    assert alert.requested == (ChannelText("SMS", "台风橙色预警,请做好防台准备。"), ChannelText("SPEAKER", ""))


def test_every_habit_of_the_national_form_is_understood():
    alert = fixture("cn12379/sloppy_typhoon.xml")
    area = only(alert).areas[0]

    assert alert.inner
    assert only(alert).certainty == "Likely"
    assert only(alert).level is Level.ORANGE
    assert only(alert).expires is None, "an expiry equal to the time of signing says nothing"
    assert area.circles == (Circle(30.54, 119.97, 2.5),), "12379's radius is in metres"
    assert [code.value for code in area.geocodes] == ["330521001000", "330521002000", "330521001201"]
    assert area.polygons[0] == ((30.5, 119.9), (30.5, 120.0), (30.6, 120.0), (30.5, 119.9))
    assert only(alert).resources[0].size == "84k"
    assert {"Message", "certainty", "expires", "references", "polygon"} <= repaired(alert)


def test_an_alert_that_refers_to_itself_is_its_own_event():
    alert = fixture("cn12379/sloppy_typhoon.xml")

    assert alert.references == (Reference(alert.identifier),)
    assert alert.event_key == alert.identifier


@pytest.mark.parametrize("written", ["GBK", "GB2312", "GB18030", "UTF-8", "UTF-16"])
def test_the_declared_encoding_is_respected(written):
    text = (WARNINGS / "1-rainstorm-yellow.xml").read_text("utf-8").replace('encoding="UTF-8"', f'encoding="{written}"')

    assert only(read(text.encode("gbk" if written == "GB2312" else written))).areas[0].description == "德清县"


def test_a_utf8_byte_order_mark_is_no_hindrance():
    raw = b"\xef\xbb\xbf" + (WARNINGS / "1-rainstorm-yellow.xml").read_bytes()

    assert read(raw).sender == "德清县气象局"


def test_raw_bytes_and_their_digest_are_kept_as_received():
    raw = (WARNINGS / "1-rainstorm-yellow.xml").read_bytes()

    assert (read(raw).raw, read(raw).sha256) == (raw, hashlib.sha256(raw).hexdigest())


def national(**changes: str) -> bytes:
    """The yellow rainstorm with other values in the elements named."""
    text = (WARNINGS / "1-rainstorm-yellow.xml").read_text("utf-8")
    for element, value in changes.items():
        start, end = text.index(f"<{element}"), text.index("\n", text.index(f"<{element}"))
        text = f"{text[:start]}<{element}>{value}</{element}>{text[end:]}"
    return text.encode()


def test_a_time_without_zone_is_taken_as_chinas_and_recorded():
    alert = read(national(sendTime="2023-07-05 05:00:00"))

    assert alert.sent == datetime(2023, 7, 5, 5, 0, tzinfo=CHINA)
    assert "sendTime" in repaired(alert)


def test_an_unlisted_event_code_is_kept_and_named_by_its_headline():
    info = only(read(national(eventType="11B98", headline="德清县气象局发布暴雨红色预警")))

    assert (info.event, info.event_code, info.categories) == ("暴雨", "11B98", ("Met",))


def test_an_event_written_by_its_name_gets_its_code():
    assert only(read(national(eventType="暴雨"))).event_code == "11B03"


def test_an_unknown_security_word_closes_the_alert_rather_than_opening_it():
    assert read(national(secClassification="Secret")).inner
    assert not read(national(secClassification="")).inner


def test_a_missing_colour_is_taken_from_the_headline_and_a_digit_never_is_a_colour():
    assert only(read(national(severity=""))).level is Level.YELLOW
    assert only(read(national(severity="1", headline="德清县气象局发布暴雨预警"))).level is None


@pytest.mark.parametrize("triple", ["德清县气象局,33052141600000_20230705050000,2023-07-05T05:00:00+08:00"])
def test_a_national_reference_is_one_identifier_even_where_caps_triple_is_written(triple):
    alert = read(national(msgType="Update", references=triple, identifier="33052141600000_20230705063100"))

    assert alert.event_key == "33052141600000_20230705050000"


# --- CAP ---


def test_a_plain_cap_message_needs_no_repair():
    alert = fixture("cap/rainstorm.xml")
    info, area = only(alert), only(alert).areas[0]

    assert not alert.repairs
    assert (alert.form, alert.codes, info.event_code, info.other_codes) == ("cap", ("profile:test",), "11B03", (("SAME", "FFW"),))
    assert (info.level, info.issuer, info.parameters) == (Level.ORANGE, "德清县气象台", (("rain", "50 mm"),))
    assert info.expires == datetime(2024, 6, 12, 12, 5, tzinfo=UTC)
    assert area.circles == (Circle(30.54, 119.97, 2.5),)
    assert area.geocodes == (Geocode("330521001000", "CPEAS Geographic Code"),)
    assert (area.altitude, area.ceiling) == (100.0, 500.5)


def test_a_sloppy_cap_update_is_read_and_every_repair_is_recorded():
    alert = fixture("cap/sloppy_update.xml")
    info = only(alert)

    assert alert.status is Status.ACTUAL
    assert [reference.identifier for reference in alert.references] == ["test.sloppy.0", "test.sloppy.1"]
    assert alert.event_key == "test.sloppy.0"
    assert (info.event, info.language, info.certainty, info.level) == ("Rain storm", "en-US", "Unknown", Level.YELLOW)
    assert info.description == "first  second", "a comment must not cut a text in two"
    assert info.expires is None
    assert info.areas[0].polygons[0][0] == info.areas[0].polygons[0][-1] == (30.5, 119.9)
    expected = {"alert", "status", "restriction", "sent", "references", "urgency", "certainty", "expires", "areaDesc", "polygon"}
    assert expected <= repaired(alert)


def test_a_cancel_without_info_is_read():
    alert = fixture("cap/cancel_without_info.xml")

    assert alert.is_stand_down
    assert alert.infos == ()
    assert alert.event_key == "test.deqing.20240612.1"


def test_words_inside_stray_markup_are_not_lost():
    text = (FIXTURES / "cap/rainstorm.xml").read_text("utf-8").replace("请远离河道", "请<b>远离<i>河道</i></b>")

    assert only(read(text.encode())).instruction == "请远离河道和低洼地带。"


def test_a_comment_inside_a_value_is_no_part_of_it():
    text = (FIXTURES / "cap/rainstorm.xml").read_text("utf-8").replace("<code>", "<code><!-- x -->")

    assert read(text.encode()).codes == ("profile:test",)


def test_elements_of_another_namespace_do_not_count():
    text = (FIXTURES / "cap/rainstorm.xml").read_text("utf-8")
    foreign = '<x:status xmlns:x="urn:x">Test</x:status><scope>'

    assert read(text.replace("<scope>", foreign).encode()).status is Status.ACTUAL


def test_cap_1_0_pairs_written_as_text_are_understood():
    text = (FIXTURES / "cap/rainstorm.xml").read_text("utf-8")
    text = text.replace("urn:oasis:names:tc:emergency:cap:1.2", "http://www.incident.com/cap/1.0")
    text = text.replace("<valueName>eventType</valueName><value>11B03</value>", "eventType=11B03")
    text = text.replace("<valueName>CPEAS Geographic Code</valueName><value>330521001000</value>", "code=330521001000")

    info = only(read(text.encode()))

    assert (info.event_code, info.areas[0].geocodes) == ("11B03", (Geocode("330521001000", "code"),))


# --- JSON ---


def department(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "identifier": "lyj-2024-0007",
        "sender": "德清县林业局",
        "sent": "2024-04-03T09:00:00+08:00",
        "status": "Actual",
        "msgType": "Alert",
        "scope": "Public",
        "info": [
            {
                "event": "森林火险",
                "severity": "橙色",
                "headline": "德清县林业局发布森林火险橙色预警",
                "description": "未来三天禁止野外用火。",
                "area": [{"areaDesc": "莫干山镇", "geocode": "330521115000，330521115000"}],
            }
        ],
    }
    return base | changes


def as_json(**changes: object) -> bytes:
    return json.dumps(department(**changes), ensure_ascii=False).encode()


def test_a_departments_json_is_read_under_caps_names():
    alert = read(as_json())
    info = only(alert)

    assert (alert.form, alert.sender) == ("json", "德清县林业局")
    assert (info.event, info.event_code, info.level, info.language) == ("森林火险", "11B25", Level.ORANGE, "zh-CN")
    assert info.areas == (Area("莫干山镇", geocodes=(Geocode("330521115000"),)),)


@pytest.mark.parametrize("name", ["infos", "info"])
@pytest.mark.parametrize(
    "polygon",
    [
        "30.5,119.9 30.5,120.0 30.6,120.0 30.5,119.9",
        ["30.5,119.9 30.5,120.0 30.6,120.0 30.5,119.9"],
        [[30.5, 119.9], [30.5, 120.0], [30.6, 120.0], [30.5, 119.9]],
        [[[30.5, 119.9], [30.5, 120.0], [30.6, 120.0]]],
    ],
)
def test_polygons_may_be_texts_or_arrays_and_lists_may_be_named_in_the_plural(name, polygon):
    content = department()
    del content["info"]
    content[name] = {
        "event": "滑坡",
        "severity": "Red",
        "areas": [{"areaDesc": "x", "polygons": polygon, "circle": [30.5, 120, 1.5]}],
    }

    area = only(read(json.dumps(content).encode())).areas[0]

    assert area.polygons == (((30.5, 119.9), (30.5, 120.0), (30.6, 120.0), (30.5, 119.9)),)
    assert area.circles == (Circle(30.5, 120.0, 1.5),)


def test_unknown_json_fields_are_recorded_without_their_values_and_not_refused():
    alert = read(as_json(duty_phone="15400000001", extra={"deep": [1, {"a": None}]}))

    assert {"duty_phone", "extra"} <= repaired(alert)
    assert "15400000001" not in repr(alert)


def test_a_json_update_may_refer_by_text_by_list_or_by_object():
    wanted = Reference("lyj-1", "德清县林业局", datetime(2024, 4, 2, 9, tzinfo=CHINA))
    triple = "德清县林业局,lyj-1,2024-04-02T09:00:00+08:00"
    parts = {"identifier": "lyj-1", "sender": "德清县林业局", "sent": "2024-04-02T09:00:00+08:00"}

    for written in (triple, [triple], parts, [parts]):
        assert read(as_json(msgType="Update", references=written)).references == (wanted,)
    assert read(as_json(msgType="Update", references=["lyj-1"])).references == (Reference("lyj-1"),)


def test_a_json_alert_for_inner_use_is_not_opened_to_the_public():
    assert read(as_json(secClassification="Inner")).inner


def test_a_flash_flood_without_code_gets_the_code_of_its_plan():
    info = only(read(as_json(info={"event": "山洪灾害", "severity": "Red", "area": {"areaDesc": "莫干山镇"}})))

    assert info.event_code == "11A51"


# --- the shared samples, where they are ---

REFUSED = {"xxe_dtd_xinclude.cap": "DOCTYPE", "ca_empty_references.cap": "references", "missing_scope.cap": "scope"}
SAMPLES = sorted(path for path in SHARED.glob("samples/c*/*") if path.suffix in (".cap", ".xml"))


@pytest.mark.skipif(not SAMPLES, reason="the shared samples are not here")
def test_real_and_hostile_samples_are_read_or_refused_as_they_deserve():
    for path in SAMPLES:
        if path.name in REFUSED:
            with pytest.raises(InvalidAlert) as refused:
                read(path.read_bytes())
            assert refused.value.element == REFUSED[path.name]
        else:
            assert read(path.read_bytes()).identifier


# --- the steps of flash floods ---


def flash_flood(**words: object) -> Signal:
    msg_type = words.pop("msg_type", "Alert")
    info = {"event": "山洪灾害", "severity": "Yellow", "headline": "德清县水利局发布山洪灾害黄色预警"} | words
    references = "德清县水利局,sl-1,2023-07-05T05:00:00+08:00"
    return only(read(as_json(msgType=msg_type, references=references, info=info))).signal


def test_a_real_time_step_is_found_in_the_fixture_whatever_the_colour():
    assert only(fixture("cn12379/flash_flood_immediate.xml")).signal is Signal.IMMEDIATE
    assert only(fixture("cn12379/flash_flood_yellow.xml")).signal is Signal.NONE


@pytest.mark.parametrize(
    "headline",
    [
        "德清县水利局发布山洪灾害立即转移预警",
        "将山洪灾害准备转移预警升级为立即转移预警",
        "山洪灾害预警（“立即转移”）",
        "不要犹豫，立即转移",
        "不要在河边逗留立即转移",
    ],
)
def test_a_headline_that_orders_to_leave_at_once_is_the_highest_step(headline):
    assert flash_flood(headline=headline) is Signal.IMMEDIATE


@pytest.mark.parametrize(
    "headline", ["德清县水利局发布山洪灾害准备转移预警", "由立即转移降为准备转移", "请做好立即转移准备", "请随时准备转移"]
)
def test_a_headline_that_asks_to_get_ready_is_the_first_step(headline):
    assert flash_flood(headline=headline) is Signal.PREPARE


@pytest.mark.parametrize(
    "headline", ["暂不需要立即转移", "解除山洪灾害立即转移预警", "雨量未达到立即转移标准", "立即转移预警已解除"]
)
def test_a_step_that_is_denied_or_lifted_is_no_step(headline):
    assert flash_flood(headline=headline) is Signal.NONE


def test_an_explicit_parameter_comes_before_the_headline_and_the_headline_before_the_text():
    step = {"parameter": {"预警等级": "立即转移"}, "headline": "山洪灾害准备转移预警"}

    assert flash_flood(**step) is Signal.IMMEDIATE
    assert flash_flood(headline="山洪灾害准备转移预警", description="请群众立即转移。") is Signal.PREPARE
    assert flash_flood(parameter={"是否立即转移": "是"}) is Signal.IMMEDIATE
    assert flash_flood(parameter={"是否立即转移": "否"}) is Signal.NONE


@pytest.mark.parametrize(
    "text",
    [
        "莫干山镇请立\n即转移危险区群众。",
        "雨量已达到立即转移指标。",
        "太阳村发现险情，请立即转移。",
        "如有疑问请拨值班电话。请立即转移。",
    ],
)
def test_an_order_in_the_text_alone_is_not_missed(text):
    assert flash_flood(description=text) is Signal.IMMEDIATE


@pytest.mark.parametrize(
    "text", ["必要时立即转移。", "一旦发现险情，立即转移。", "接到立即转移指令后听从安排。", "无需立即转移。"]
)
def test_an_order_under_a_condition_does_not_wake_the_county(text):
    assert flash_flood(description=text, instruction=text) is Signal.NONE


def test_only_flash_floods_have_steps_and_a_stand_down_has_none():
    assert flash_flood(event="暴雨", headline="立即转移") is Signal.NONE
    assert flash_flood(headline="山洪灾害立即转移预警", msg_type="Cancel") is Signal.NONE
    assert flash_flood(headline="山洪灾害立即转移预警", msg_type="Update", responseType="AllClear") is Signal.NONE
