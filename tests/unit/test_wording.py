"""The words: always within the channel's limit, always with their colour and mark, and fit for a voice where one reads them."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast import intake
from broadcast.alert import Alert, ChannelText, Identifier, Info, Level, MsgType, RegionCode, Scope, Severity, Signal, Status
from broadcast.channels.base import Capabilities, Purpose
from broadcast.errors import InvalidFiles
from broadcast.resources import EXAMPLES, TEMPLATES
from broadcast.tiers.area import Coverage
from broadcast.tiers.plan import Audience
from broadcast.tiers.regions import Regions, read
from broadcast.wording import LINK_MARK, Words, check, compose, document, speakable, utf16_units
from broadcast.wording.places import place_names

BEIJING = timezone(timedelta(hours=8))
SIGNATURE = "德清应急"
FOUR_TOWNS = ("330521115", "330521001", "330521002", "330521003")
COLOUR = {Level.BLUE: "蓝色", Level.YELLOW: "黄色", Level.ORANGE: "橙色", Level.RED: "红色"}
SEVERITY = {
    Level.BLUE: Severity.MINOR,
    Level.YELLOW: Severity.MODERATE,
    Level.ORANGE: Severity.SEVERE,
    Level.RED: Severity.EXTREME,
}
CAPABILITIES = {
    "sms": Capabilities(per_call=1000, text_limit=62),
    "voice": Capabilities(per_call=1, text_limit=249, unit="characters"),
    "speaker": Capabilities(per_call=1, text_limit=0),
    "zwdd": Capabilities(per_call=1000, text_limit=1900, unit="utf8"),
    "grid": Capabilities(per_call=1, text_limit=0),
}
CHARACTERS = {"voice": 249, "speaker": 240, "zwdd": 500, "grid": 500}
SPOKEN = ("speaker", "voice")
UNSPEAKABLE = re.compile(r"[^\w，。、；：！？ ]|_")
HAZARDS = sorted(path.stem for path in (EXAMPLES / "deqing" / "plans").glob("*.toml") if path.stem != "release")
EVENTS = {
    "rainstorm": "暴雨",
    "wind": "雷雨大风",
    "typhoon": "台风",
    "flash-flood": "山洪灾害事件",
    "geological": "地质灾害气象风险",
    "forest-fire": "森林（草原）火险",
    "enterprise": "烟花爆竹和民用爆炸物事故",
    "chemical": "危险化学品中毒和窒息事故",
    "default": "污染导致城市水源供水中断事故",
}
TOLD = [  # (channel, audience, purpose): everything that is ever said
    *itertools.product(["sms", "voice", "zwdd", "grid"], ["post"], [Purpose.ALARM, Purpose.STAND_DOWN]),
    *itertools.product(["sms"], ["resident"], [Purpose.ALARM, Purpose.STAND_DOWN]),
    *itertools.product(["speaker"], ["place"], [Purpose.ALARM, Purpose.STAND_DOWN, Purpose.STOP]),
    *itertools.product(["sms", "voice", "zwdd"], ["post"], [Purpose.RELEASE]),
]


@pytest.fixture(scope="module")
def regions() -> Regions:
    return Regions.load(read(EXAMPLES / "deqing" / "regions"))


def covering(regions: Regions, roots: tuple[str, ...] = FOUR_TOWNS) -> Coverage:
    return Coverage(tuple(RegionCode(code) for code in roots), regions.closure(roots), ())


def warning(level: Level | None = Level.ORANGE, event: str = "暴雨", **changes: object) -> Alert:
    info = Info(
        event=event,
        event_code="11B03",
        severity=SEVERITY[level] if level else Severity.UNKNOWN,
        issuer="德清县气象台",
        headline="德清县气象局发布预警[II级/严重]",
        description="预计今天莫干山、武康等镇(街道)有暴雨，1小时雨量≥50mm。",
    )
    info = replace(info, **{key: changes.pop(key) for key in list(changes) if hasattr(info, key)})
    alert = Alert(
        identifier=Identifier("33052141600000_20230705063100"),
        sender="德清县气象局",
        sent=datetime(2023, 7, 5, 6, 31, tzinfo=BEIJING),
        status=Status.ACTUAL,
        msg_type=MsgType.ALERT,
        scope=Scope.PUBLIC,
        infos=(info,),
    )
    return replace(alert, **changes)


def say(
    regions: Regions,
    alert: Alert,
    channel: str = "sms",
    audience: str = "post",
    purpose: Purpose = Purpose.ALARM,
    **changes: object,
) -> Words:
    said = {
        "capabilities": CAPABILITIES[channel],
        "signature": SIGNATURE,
        "event": alert.info.event if alert.info else "暴雨",
        "level": alert.info.level if alert.info else Level.ORANGE,
        "hazard": "rainstorm",
        "templates": TEMPLATES,
    }
    roots = changes.pop("roots", FOUR_TOWNS)
    said |= changes
    return compose(alert, covering(regions, roots), regions, channel=channel, audience=audience, purpose=purpose, **said)


def assert_fits(words: Words, signature: str = SIGNATURE) -> None:
    can = CAPABILITIES[words.channel]
    units = {"utf16": utf16_units(words.text), "utf8": len(words.text.encode()), "characters": len(words.text)}[can.unit]
    assert not can.text_limit or units <= can.text_limit
    assert len(words.text) <= CHARACTERS.get(words.channel, 100_000)
    if words.channel == "sms":
        assert utf16_units(f"【{signature}】{words.text}") <= 70
        assert words.units == utf16_units(f"【{signature}】{words.text}")
    if words.channel in SPOKEN:
        assert not UNSPEAKABLE.search(re.sub(r"^【(演练|测试)】", "", words.text)), words.text


# ── everything that is ever said ──


@pytest.mark.parametrize("hazard", HAZARDS)
@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize(("channel", "audience", "purpose"), TOLD)
@pytest.mark.parametrize("status", [Status.ACTUAL, Status.EXERCISE, Status.TEST])
def test_every_hazard_and_level_is_said_within_the_limit(regions, hazard, level, channel, audience, purpose, status):
    types = {Purpose.STAND_DOWN: MsgType.CANCEL, Purpose.STOP: MsgType.CANCEL}
    alert = warning(level, EVENTS[hazard], status=status, msg_type=types.get(purpose, MsgType.ALERT))
    words = say(regions, alert, channel, audience, purpose, hazard=hazard, refers="12")
    assert_fits(words)
    assert words.text.startswith({Status.ACTUAL: "", Status.EXERCISE: "【演练】", Status.TEST: "【测试】"}[status])
    if status is Status.ACTUAL:
        assert "演练" not in words.text
    assert COLOUR[level] in words.text
    assert EVENTS[hazard][:2] in words.text


@pytest.mark.parametrize("hazard", HAZARDS)
def test_each_plan_of_the_example_has_words_of_its_own(regions, hazard):
    residents = {name: say(regions, warning(Level.RED), audience="resident", hazard=name).text for name in HAZARDS}
    assert list(residents.values()).count(residents[hazard]) == 1


def test_the_hazards_words_say_what_saves_lives(regions):
    def told(hazard: str) -> str:
        return say(regions, warning(Level.RED), "speaker", "place", hazard=hazard).text

    assert "高处" in told("flash-flood")
    assert "严禁" in told("forest-fire")
    assert "上风" in told("chemical")
    assert "门窗" in say(regions, warning(Level.ORANGE), "speaker", "place", hazard="chemical").text


# ── an SMS ──


def test_the_orange_rainstorm_of_the_four_towns_says_where_what_to_do_and_who_says_so(regions):
    words = say(regions, warning())
    for part in ("暴雨橙色预警", "莫干山", "武康", "舞阳", "阜溪", "请立即到岗", "回复1", "德清县气象台"):
        assert part in words.text
    assert SIGNATURE not in words.text  # the provider adds it


def test_posts_are_told_their_duty_and_residents_what_to_do(regions):
    post, resident = (say(regions, warning(Level.RED), audience=audience).text for audience in ("post", "resident"))
    assert "到岗" in post
    assert "回复1" in post
    assert "到岗" not in resident
    assert "回复" not in resident


def test_the_audience_may_be_the_plans_own_word(regions):
    assert say(regions, warning(), audience=Audience.RESIDENT).text == say(regions, warning(), audience="resident").text


def test_a_blue_warning_asks_for_no_reply(regions):
    assert "回复" not in say(regions, warning(Level.BLUE)).text


def test_places_shrink_from_full_names_to_short_names_to_a_number(regions):
    towns = sorted(child.code for child in regions.children(regions.county.code))
    one, four, nine = (say(regions, warning(), roots=tuple(towns[:count])) for count in (1, 4, 9))
    assert regions[towns[0]].name in one.text
    assert "武康、舞阳、阜溪" in four.text
    assert "9个镇(街道)" in nine.text
    assert any("9个镇(街道)" in note for note in nine.notes)


def test_villages_of_one_town_name_the_town_once(regions):
    first, second = (child.code for child in regions.children("330521115")[1:3])
    text = say(regions, warning(), audience="resident", roots=(first, second)).text
    assert text.count("莫干山") == 1
    assert all(regions[code].name in text for code in (first, second))


def test_many_villages_never_sound_like_whole_towns(regions):
    villages = tuple(child.code for town in FOUR_TOWNS[:2] for child in regions.children(town)[:9])
    for form in place_names(villages, regions)[2:]:
        assert "部分村" in form or "18个村(社区)" in form


def test_the_whole_county_is_called_by_its_name(regions):
    assert "德清县" in say(regions, warning(), roots=("330521",)).text


def test_where_it_is_not_known_where_nobody_is_told_everywhere(regions):
    text = say(regions, warning(), purpose=Purpose.RELEASE, roots=(), refers="7").text
    assert "有关区域" in text
    assert "broadcast approve 7" in text


def test_a_long_issuer_goes_before_what_to_do(regions):
    words = say(regions, warning(issuer="浙江省湖州市德清县突发事件预警信息发布中心与德清县水利局联合"))
    assert "浙江省" not in words.text
    assert "请立即到岗" in words.text
    assert "the issuer was left out" in words.notes


def test_an_sms_is_never_cut_out_of_the_description(regions):
    words = say(regions, warning(description="甲" * 30))
    assert "甲" not in words.text


def test_a_long_signature_leaves_less_room(regions):
    signature = "德清县突发事件预警信息发布中心"
    assert_fits(say(regions, warning(), signature=signature), signature)
    assert_fits(say(regions, warning(), signature=f"【{signature}】"), signature)


def test_no_officers_name_is_ever_said(regions):
    """12379's senderName is not among an alert's fields; CAP's sender is said only where it is a Chinese unit's name."""
    alert = warning(issuer="", sender="zhang.san@example.org")
    for channel, audience, purpose in TOLD:
        assert "zhang" not in say(regions, alert, channel, audience, purpose).text


NAMES = st.text(st.characters(codec="utf-8"), max_size=120) | st.text("𠮷暴雨【】\"\\'\n%≥/~℃ ", max_size=60)


@given(
    event=NAMES,
    issuer=NAMES,
    description=NAMES,
    headline=NAMES,
    signature=st.text("德清应急𠮷", min_size=2, max_size=14),
    level=st.sampled_from([*Level, None]),
    picks=st.lists(st.integers(0, 189), max_size=60),
    told=st.sampled_from(TOLD),
    status=st.sampled_from([Status.ACTUAL, Status.EXERCISE, Status.TEST]),
    msg_type=st.sampled_from([MsgType.ALERT, MsgType.UPDATE, MsgType.CANCEL]),
    signal=st.sampled_from(list(Signal)),
    refers=st.sampled_from(["", "暴雨黄色预警", "red", "乱写", "1234567890"]),
    hazard=st.sampled_from(HAZARDS),
)
def test_whatever_the_fields_hold_the_words_fit(
    regions, event, issuer, description, headline, signature, level, picks, told, status, msg_type, signal, refers, hazard
):
    codes = [region.code for region in regions]
    roots = regions.roots({codes[pick % len(codes)] for pick in picks})
    alert = warning(level, event, issuer=issuer, description=description, headline=headline, status=status, signal=signal)
    alert = replace(alert, msg_type=msg_type)
    words = say(regions, alert, *told, roots=roots, signature=signature, refers=refers, hazard=hazard)
    assert_fits(words, signature)
    mark = {Status.ACTUAL: "", Status.EXERCISE: "【演练】", Status.TEST: "【测试】"}[status]
    assert words.text.startswith(mark)
    assert words.text.count("【") == words.text.count("】") == bool(mark)  # a field cannot forge a mark or a signature
    if level and "调整" not in words.text:
        assert COLOUR[level] in words.text


def test_the_longest_names_leave_room_for_what_to_approve(regions):
    alert = warning(Level.BLUE, "𠮷" * 30, signal=Signal.PREPARE, status=Status.EXERCISE)
    words = say(regions, alert, purpose=Purpose.RELEASE, refers="1234567890", signature="德" * 14)
    assert_fits(words, "德" * 14)
    assert "broadcast approve 1234567890" in words.text


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_units_are_utf16_code_units(text):
    assert utf16_units(text) == sum(2 if ord(char) > 0xFFFF else 1 for char in text)


# ── the sender's own words ──


def test_the_senders_own_sms_wins_and_a_post_is_still_asked_to_answer(regions):
    own = (ChannelText("SMS", "德清县气象台发布暴雨橙色预警，请注意防范。"),)
    post, resident = (say(regions, warning(requested=own), audience=audience) for audience in ("post", "resident"))
    assert post.text == "德清县气象台发布暴雨橙色预警，请注意防范。收到请回复1"
    assert resident.text == own[0].text
    assert post.template == resident.template == "sender"


def test_a_senders_text_that_fits_only_alone_goes_out_as_it_is(regions):
    own = "雨" * 60
    assert say(regions, warning(requested=(ChannelText("SMS", own),))).text == own


def test_a_senders_text_that_does_not_fit_is_kept_beside_ours(regions):
    own = "德清县气象台2023年07月05日06时31分将暴雨黄色预警信号升为暴雨橙色预警信号:" + "雨" * 60
    words = say(regions, warning(requested=(ChannelText("SMS", own),)))
    assert "请立即到岗" in words.text
    assert words.template == "sms/zh/post.j2"
    assert any(own in note for note in words.notes)


def test_an_empty_text_for_a_channel_means_the_description(regions):
    alert = warning(requested=(ChannelText("SMS", ""),), description="今天有暴雨。")
    assert say(regions, alert, audience="resident").text == "今天有暴雨。"


def test_the_senders_drill_is_marked_like_ours(regions):
    alert = warning(requested=(ChannelText("SMS", "暴雨橙色预警。"), ChannelText("SPEAKER", "暴雨橙色预警。")))
    alert = replace(alert, status=Status.EXERCISE)
    assert say(regions, alert, audience="resident").text == "【演练】暴雨橙色预警。"
    assert say(regions, alert, "speaker", "place").text == "【演练】暴雨橙色预警。"


def test_the_senders_words_for_the_loudspeaker_are_made_speakable(regions):
    alert = warning(requested=(ChannelText("SPEAKER", '06:31起雨量≥50mm/h,请"转移"'),))
    assert say(regions, alert, "speaker", "place").text == "6时31分起雨量不低于50毫米每小时，请转移"


def test_the_words_of_an_alarm_are_never_said_to_those_for_whom_it_is_over(regions):
    alert = warning(requested=(ChannelText("SMS", "暴雨橙色预警，请转移。"),), msg_type=MsgType.UPDATE)
    text = say(regions, alert, purpose=Purpose.STAND_DOWN).text
    assert "转移" not in text
    assert "本地已解除" in text


def test_the_senders_cancel_is_said_in_the_senders_words(regions):
    own = "德清县气象台2023年07月05日11时00分解除暴雨橙色预警信号。"
    alert = warning(requested=(ChannelText("SMS", own),), msg_type=MsgType.CANCEL)
    assert say(regions, alert, purpose=Purpose.STAND_DOWN).text == own


# ── updates, stand-downs, signals ──


@pytest.mark.parametrize(
    ("refers", "level", "said"),
    [
        ("暴雨黄色预警", Level.ORANGE, "由黄色升级为橙色"),
        ("red", Level.ORANGE, "由红色降为橙色"),
        ("橙色", Level.ORANGE, "橙色预警继续生效"),
        ("", Level.ORANGE, "变更为橙色"),
    ],
)
@pytest.mark.parametrize(("channel", "audience"), [("sms", "post"), ("sms", "resident"), ("speaker", "place"), ("zwdd", "post")])
def test_an_update_says_that_it_is_one(regions, refers, level, said, channel, audience):
    alert = warning(level, msg_type=MsgType.UPDATE)
    assert said in say(regions, alert, channel, audience, refers=refers).text
    assert said not in say(regions, warning(level), channel, audience, refers=refers).text


@pytest.mark.parametrize(("channel", "audience"), [("sms", "post"), ("speaker", "place"), ("grid", "post"), ("zwdd", "post")])
def test_a_bare_cancel_stands_down_what_the_earlier_alert_was_about(regions, channel, audience):
    alert = warning(msg_type=MsgType.CANCEL, infos=())
    text = say(regions, alert, channel, audience, Purpose.STAND_DOWN, event="暴雨", level=Level.RED).text
    assert "暴雨红色预警已解除" in text


def test_what_a_receiver_may_speak_on_a_stop_is_never_the_warning(regions):
    text = say(regions, warning(Level.RED), "speaker", "place", Purpose.STOP).text
    assert text == "暴雨红色预警播发已经停止。"


def test_a_signal_is_said_with_its_colour(regions):
    alert = warning(Level.YELLOW, "山洪灾害", signal=Signal.IMMEDIATE)
    text = say(regions, alert, audience="resident", hazard="flash-flood").text
    assert "山洪灾害立即转移预警(黄色)" in text
    assert "向两侧高处转移" in text


def test_the_colour_and_the_word_warning_are_not_said_twice(regions):
    assert say(regions, warning(event="暴雨橙色预警信号")).text.count("橙色") == 1


def test_an_update_by_work_notice_is_never_the_same_content_twice(regions):
    """The same content goes to a person once a day only (channels.md C)."""
    first, second = (
        say(regions, warning(identifier=Identifier(name)), "zwdd").text
        for name in ("33052141600000_20230705050000", "33052141600000_20230705063100")
    )
    assert first != second


def test_the_feed_carries_the_warning_itself_and_never_words_about_it():
    alert = warning(Level.RED, identifier=Identifier("33052141600000_1"))
    plain, wished = (document(alert, "place", Purpose.ALARM, area_sms=wish) for wish in (False, True))
    back = intake.read(plain.text.encode())
    assert (back.identifier, back.sender, back.info.severity) == (alert.identifier, alert.sender, alert.info.severity)
    assert "AreaSMS" in wished.text and "AreaSMS" not in plain.text
    assert plain.units == len(plain.text.encode())


def test_a_link_is_measured_before_any_delivery_has_one(regions):
    words = say(regions, warning(), "zwdd", link=60)
    assert words.text.count(LINK_MARK) == 60
    assert LINK_MARK not in say(regions, warning(), "zwdd").text
    assert LINK_MARK not in say(regions, warning(), "zwdd", "post", Purpose.STAND_DOWN, link=60).text


# ── aloud ──


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("06:31", "6时31分"),
        ("11:00", "11时"),
        ("2023年07月05日06时31分", "2023年7月5日6时31分"),
        ("2023-07-05T06:31:00", "2023年7月5日6时31分"),
        ("≥50mm/h", "不低于50毫米每小时"),
        ("100毫米", "100毫米"),
        ("30~50mm", "30至50毫米"),
        ("30-50毫米", "30至50毫米"),
        ("风速 20 m/s", "风速20米每秒"),
        ("-5℃", "零下5摄氏度"),
        ("-5~3℃", "零下5至3摄氏度"),
        ("38.5℃", "38点5摄氏度"),
        ("80%", "百分之80"),
        ("60%~80%", "百分之60至80"),
        ("流量1200m³/s", "流量1200立方米每秒"),
        ("分别为50,100毫米", "分别为50，100毫米"),
        ("Ⅳ级", "四级"),
        ("[II级/严重]", "二级，严重"),
        ("镇(街道)，村", "镇，街道，村"),
        ("电话0572-8062110", "电话05728062110"),
        ("详见https://example.org/a?b=c。", "详见。"),
        ("风力8-10级", "风力8至10级"),
        ("说\"一\"、'二'\\三", "说一、二三"),
        ("第一行\r\n第二行", "第一行，第二行"),
        ("", ""),
    ],
)
def test_a_voice_reads_words_and_not_signs(written, spoken):
    assert speakable(written) == spoken


@given(st.text(max_size=200) | st.text("0123456789:.-~%/≥℃mh年月日(),，。 \n\"'\\", max_size=80))
def test_whatever_is_written_nothing_unspeakable_is_left(written):
    spoken = speakable(written)
    assert not UNSPEAKABLE.search(spoken)
    assert not set(spoken) & set("\"'\\\n\r%≥℃~/<>&")


@given(st.text("暴雨红色预警转移到高处莫干山，。", max_size=80))
def test_plain_words_are_left_as_they_are(written):
    assert speakable(written).replace("，", "").replace("。", "") == written.replace("，", "").replace("。", "")


# ── templates ──


def test_our_own_templates_compile():
    assert check(TEMPLATES) == []


def test_a_countys_own_template_is_used_before_ours(regions, tmp_path):
    put(tmp_path, "sms/zh/rainstorm/resident.j2", "{{ event }}{{ colour }}：{{ area }}，去祠堂")
    both = (tmp_path, TEMPLATES)
    assert "去祠堂" in say(regions, warning(), audience="resident", templates=both).text
    assert "去祠堂" not in say(regions, warning(), audience="resident", hazard="wind", templates=both).text
    assert "去祠堂" not in say(regions, warning(), audience="post", templates=both).text


def test_no_template_can_leave_out_the_drills_mark(regions, tmp_path):
    put(tmp_path, "sms/zh/any.j2", "快跑")
    alert = warning(status=Status.EXERCISE)
    assert say(regions, alert, audience="resident", templates=(tmp_path, TEMPLATES)).text == "【演练】快跑"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("一\n二{% if %}", 2, "not a template"),
        ("一\n{{ evnet }}", 2, "'evnet' is undefined"),
        ("一\n\n{{ 1 // 0 }}", 3, "cannot be written out"),
        ("{{ ().__class__.__bases__ }}", 1, "unsafe"),
        ("{% for i in range(10000000) %}{% endfor %}", 1, "cannot be written out"),
    ],
)
def test_a_broken_template_is_named_with_its_line(regions, tmp_path, text, line, message):
    path = put(tmp_path, "sms/zh/resident.j2", text)
    with pytest.raises(InvalidFiles) as refused:
        say(regions, warning(), audience="resident", templates=(tmp_path, TEMPLATES))
    (problem,) = refused.value.problems
    assert (problem.file, problem.line) == (str(path), line)
    assert message in problem.message


def test_check_finds_what_cannot_be_compiled(tmp_path):
    path = put(tmp_path, "sms/zh/resident.j2", "一\n{% endif %}")
    assert [(problem.file, problem.line) for problem in check((tmp_path, TEMPLATES))] == [(str(path), 2)]


def test_a_template_that_never_fits_is_refused_and_not_cut(regions, tmp_path):
    put(tmp_path, "sms/zh/resident.j2", "长" * 80)
    with pytest.raises(InvalidFiles, match="its shortest form has 86 units"):
        say(regions, warning(), audience="resident", templates=(tmp_path, TEMPLATES))


def test_a_channel_without_words_for_a_purpose_says_which_template_is_missing(regions):
    with pytest.raises(InvalidFiles, match=r"templates/grid/zh/any\.release\.j2"):
        say(regions, warning(), "grid", purpose=Purpose.RELEASE)


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
