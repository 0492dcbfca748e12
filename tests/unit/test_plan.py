"""Who is owed what: the county's plans, the refusals of a broken one, and what a plan makes of one alert."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.alert import Alert, Identifier, Info, Level, MsgType, RegionCode, Scope, Severity, Signal, Status
from broadcast.errors import InvalidFiles
from broadcast.resources import EXAMPLES
from broadcast.tiers.area import Coverage
from broadcast.tiers.plan import Audience, Disposition, Doubt, Ladder, Lane, Night, Owed, Plans, Rule, Rung, night
from broadcast.tiers.regions import Regions, read

DEQING = EXAMPLES / "deqing"
CHANNELS = {"speaker", "sms", "voice", "zwdd", "grid", "feed"}
BEIJING = timezone(timedelta(hours=8))
SENT = datetime(2023, 7, 5, 6, 31, tzinfo=BEIJING)
NOW = SENT + timedelta(minutes=2)
FOUR_TOWNS = ("330521001", "330521002", "330521003", "330521115")
SEVERITY = {"blue": "Minor", "yellow": "Moderate", "orange": "Severe", "red": "Extreme"}


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in (DEQING / "plans").glob("*.toml")}


@pytest.fixture(scope="module")
def roles() -> set[str]:
    with (DEQING / "roles.csv").open(encoding="utf-8-sig", newline="") as lines:
        return {row["code"] for row in csv.DictReader(lines)}


@pytest.fixture(scope="module")
def regions() -> Regions:
    return Regions.load(read(DEQING / "regions"))


@pytest.fixture(scope="module")
def plans(files, roles) -> Plans:
    return Plans.load(files, roles, CHANNELS)


@pytest.fixture
def coverage(regions) -> Coverage:
    return covering(regions, *FOUR_TOWNS)


def covering(regions: Regions, *roots: str) -> Coverage:
    return Coverage(tuple(RegionCode(code) for code in roots), regions.closure(roots), ())


def warning(level: str | None = "orange", code: str = "11B03", **changes: object) -> Alert:
    severity = Severity(SEVERITY[level]) if level else Severity.UNKNOWN
    info = Info(event="暴雨", event_code=code, severity=severity)
    info = replace(info, **{key: changes.pop(key) for key in ("expires", "signal", "event") if key in changes})
    alert = Alert(
        identifier=Identifier("33052141600000_20230705063100"),
        sender="德清县气象局",
        sent=SENT,
        status=Status.ACTUAL,
        msg_type=MsgType.ALERT,
        scope=Scope.PUBLIC,
        infos=(info,),
    )
    return replace(alert, **changes)


def owed(plans: Plans, alert: Alert, coverage: Coverage, regions: Regions, **changes: object) -> Owed:
    return plans.owed(alert, coverage, regions, **{"source": "deqing-met", "now": NOW, **changes})


def channels_of(owed: Owed, tier: str, audience: Audience = Audience.POST) -> set[str]:
    return {rule.channel for rule in owed.rules if rule.tier == tier and rule.audience is audience}


def roles_told(owed: Owed) -> set[str]:
    return {role for rule in owed.rules for role in rule.roles}


# ── the ladder of the Deqing example ──

LADDER: Mapping[str, Mapping[str, set[str]]] = {
    "red": {"county": {"voice", "sms", "zwdd"}, "town": {"voice", "sms", "zwdd"}, "village": {"voice", "sms", "zwdd"}},
    "orange": {"county": {"sms", "zwdd"}, "town": {"voice", "sms", "zwdd"}, "village": {"voice", "sms", "zwdd"}},
    "yellow": {"county": {"sms", "zwdd"}, "town": {"sms", "zwdd"}, "village": {"sms", "zwdd"}},
    "blue": {"county": {"sms", "zwdd"}, "town": {"sms", "zwdd"}, "village": {"sms", "zwdd"}},
}
CODES = ("11B03", "11B20", "11B01", "11A51", "11B37", "11D02", "11B25", "11G01", "12D02", "12F00", "13A00")


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("level", LADDER)
def test_voice_climbs_with_the_colour(plans, coverage, regions, level, code):
    found = owed(plans, warning(level, code), coverage, regions)
    assert {tier: channels_of(found, tier) for tier in ("county", "town", "village")} == LADDER[level]


@pytest.mark.parametrize("code", CODES)
def test_loudspeakers_begin_at_yellow_and_residents_phones_at_orange(plans, coverage, regions, code):
    speakers, residents = (
        {
            level
            for level in LADDER
            if channels_of(owed(plans, warning(level, code), coverage, regions), tier, audience) - {"feed"}
        }
        for tier, audience in (("village", Audience.PLACE), ("household", Audience.RESIDENT))
    )
    assert speakers == {"yellow", "orange", "red"}
    assert residents == {"orange", "red"}


@pytest.mark.parametrize("level", ["red", "orange"])
def test_whoever_is_called_by_voice_is_called_within_three_minutes_and_answers_within_five(plans, coverage, regions, level):
    calls = [rule for rule in owed(plans, warning(level), coverage, regions).rules if rule.channel == "voice"]
    assert calls
    assert {(rule.within, rule.answer_within, rule.ranks) for rule in calls} == {(180, 300, ("A",))}


def test_a_blue_warning_asks_nobody_for_an_answer(plans, coverage, regions):
    assert {rule.answer_within for rule in owed(plans, warning("blue"), coverage, regions).rules} == {None}


@pytest.mark.parametrize(
    ("code", "department"),
    [
        ("11B03", "DEPT_WEATHER"),
        ("11B03", "DEPT_WATER"),
        ("11B20", "DEPT_WEATHER"),
        ("11B01", "DEPT_WEATHER"),
        ("11A51", "DEPT_WATER"),
        ("11D01", "DEPT_RESOURCES"),
        ("11B41", "DEPT_RESOURCES"),
        ("12D01", "DEPT_EMERGENCY"),
        ("12G00", "DEPT_EMERGENCY"),
        ("13A00", "DEPT_EMERGENCY"),
    ],
)
def test_each_hazard_tells_its_departments_and_law_enforcement_and_social_governance(plans, coverage, regions, code, department):
    told = roles_told(owed(plans, warning("yellow", code), coverage, regions))
    assert {department, "DEPT_LAW_ENFORCEMENT", "DEPT_SOCIAL_GOVERNANCE"} <= told


def test_the_geological_monitor_hears_of_a_landslide_and_not_of_a_gale(plans, coverage, regions):
    assert "GEO_MONITOR" in roles_told(owed(plans, warning("yellow", "11D01"), coverage, regions))
    assert "GEO_MONITOR" not in roles_told(owed(plans, warning("yellow", "11B20"), coverage, regions))


# ── which plan ──


@pytest.mark.parametrize(
    ("code", "plan"),
    [
        ("11B38", "rainstorm"),
        ("11B64", "rainstorm"),
        ("11B49", "typhoon"),
        ("11B58", "wind"),
        ("11D99", "geological"),
        ("11G05", "forest-fire"),
        ("12D04", "chemical"),
        ("12E00", "enterprise"),
        ("13A00", "default"),
        ("11B51", "default"),  # 沙尘, although it stands beside the typhoons' codes
        ("99Z99", "default"),
        ("", "default"),
    ],
)
def test_an_event_falls_under_its_code_then_its_prefix_then_the_default(plans, code, plan):
    assert plans.plan_for(warning(code=code)).name == plan


def test_an_exact_code_beats_a_prefix_and_a_longer_prefix_a_shorter_one(files, roles):
    more = {
        "leak.toml": 'title = "泄漏"\nextends = "default"\nevents = ["12D02"]\n',
        "all.toml": 'title = "事故"\nextends = "default"\nevents = ["12*"]\n',
    }
    plans = Plans.load({**files, **more}, roles, CHANNELS)
    assert [plans.plan_for(warning(code=code)).name for code in ("12D02", "12D01", "12T00")] == ["leak", "chemical", "all"]


def test_a_department_without_national_codes_is_understood_by_the_events_name(plans):
    assert plans.plan_for(warning(code="", event="山洪灾害气象风险")).name == "flash-flood"
    assert plans.plan_for(warning(code="11B03", event="山洪灾害气象风险")).name == "rainstorm"


# ── 山洪's two steps ──


@pytest.mark.parametrize("level", ["blue", "yellow", "orange", "red", None])
def test_immediate_transfer_is_the_top_of_the_scale_whatever_its_colour(plans, coverage, regions, level):
    found = owed(plans, warning(level, "11A51", signal=Signal.IMMEDIATE), coverage, regions)
    assert found.disposition is Disposition.DISSEMINATE
    assert channels_of(found, "county") == channels_of(found, "town") == {"voice", "sms", "zwdd"}
    assert channels_of(found, "household", Audience.RESIDENT) == {"sms"}
    assert any(rule.channel == "voice" and "RESCUE_LEAD" in rule.roles for rule in found.rules)
    assert found.drafted_alone
    assert found.frozen["scale"] == "red"
    assert found.level == (Level(level) if level else None)  # nobody repaints what the bureau said


def test_prepare_transfer_calls_the_flash_flood_warners_and_the_county(plans, coverage, regions):
    found = owed(plans, warning("blue", "11A51", signal=Signal.PREPARE), coverage, regions)
    called = {role for rule in found.rules if rule.channel == "voice" for role in rule.roles}
    assert {"FLASHFLOOD_WARNER", "COUNTY_ADMIN", "VILLAGE_HEAD"} <= called


def test_a_signal_under_a_plan_without_signals_counts_at_least_as_its_level(plans, coverage, regions):
    found = owed(plans, warning("blue", "11B03", signal=Signal.IMMEDIATE), coverage, regions)
    assert {rule.channel for rule in found.rules} == {
        rule.channel for rule in owed(plans, warning("red", "11B03"), coverage, regions).rules
    }


# ── order, lanes, risk ──


def test_residents_are_bulk_at_any_colour_and_come_last(plans, coverage, regions):
    rules = owed(plans, warning("red"), coverage, regions).rules
    lanes = [rule.lane for rule in rules]
    assert lanes == sorted(lanes, key=[Lane.ALARM, Lane.BULK].index)
    assert {rule.audience for rule in rules if rule.lane is Lane.BULK} == {Audience.RESIDENT}


def test_places_at_risk_come_before_the_others_in_each_lane(plans, coverage, regions):
    found = owed(plans, warning("red"), coverage, regions)
    assert found.first_regions
    tagged = {code for code in coverage.regions if regions[code].risk & set(found.frozen["risk"])}
    assert tagged <= found.first_regions
    assert all({code, *regions.above(code)} & tagged for code in found.first_regions)
    assert found.first_regions < coverage.regions
    for lane in (Lane.ALARM, Lane.BULK):
        later = [rule.risk_first is False for rule in found.rules if rule.lane is lane]
        assert later == sorted(later)
        assert True in later
    speakers = [rule.risk_first for rule in found.rules if rule.channel == "speaker"]
    assert speakers == [True, False]


def test_without_a_matching_risk_nothing_is_split(plans, coverage, regions):
    found = owed(plans, warning("red", "12F00"), coverage, regions)
    assert found.first_regions == frozenset()
    assert {rule.risk_first for rule in found.rules} == {None}


def test_only_covered_regions_are_first(plans, regions):
    dry = covering(regions, "330521102")  # 新市镇, in the plain
    assert owed(plans, warning("red"), dry, regions).first_regions <= dry.regions


def test_speakers_and_voice_are_planned_before_messages(plans, coverage, regions):
    first = [rule for rule in owed(plans, warning("red"), coverage, regions).rules if rule.risk_first is not False]
    channels = list(dict.fromkeys(rule.channel for rule in first if rule.lane is Lane.ALARM))
    assert channels[:2] == ["speaker", "voice"]
    assert [rule.tier for rule in first if rule.channel == "voice" and rule.risk_first is None] == ["county", "town"]


def test_in_doubt_is_answered_by_level(plans, coverage, regions):
    doubts = {level: owed(plans, warning(level), coverage, regions).doubt for level in LADDER}
    assert doubts == {"red": Doubt.RESEND, "orange": Doubt.RESEND, "yellow": Doubt.HOLD, "blue": Doubt.HOLD}


# ── who may hear ──


@pytest.mark.parametrize("level", list(LADDER))
def test_an_exercise_reaches_posts_only_in_the_drill_lane(plans, coverage, regions, level):
    found = owed(plans, warning(level, status=Status.EXERCISE), coverage, regions)
    assert found.rules
    assert {rule.audience for rule in found.rules} == {Audience.POST}
    assert {rule.lane for rule in found.rules} == {Lane.DRILL}
    assert not {rule.channel for rule in found.rules} & {"speaker", "feed"}


def test_an_exercise_reaches_the_public_only_where_a_setting_says_so(plans, coverage, regions):
    found = owed(plans, warning("red", status=Status.EXERCISE), coverage, regions, public_drills=True)
    assert {rule.audience for rule in found.rules} == set(Audience)
    assert {rule.lane for rule in found.rules} == {Lane.DRILL}


@pytest.mark.parametrize("public_drills", [False, True])
def test_a_test_has_no_rules_of_the_plan(plans, coverage, regions, public_drills):
    found = owed(plans, warning("red", status=Status.TEST), coverage, regions, public_drills=public_drills, source="nobody")
    assert (found.disposition, found.rules, found.approvers) == (Disposition.DISSEMINATE, (), ())
    assert "test targets" in found.reason


@pytest.mark.parametrize("changes", [{"scope": Scope.RESTRICTED}, {"scope": Scope.PRIVATE}, {"inner": True}])
@pytest.mark.parametrize("status", [Status.ACTUAL, Status.EXERCISE])
def test_what_is_not_public_reaches_posts_only(plans, coverage, regions, changes, status):
    found = owed(plans, warning("red", status=status, **changes), coverage, regions, public_drills=True)
    assert {rule.audience for rule in found.rules} == {Audience.POST}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"status": Status.DRAFT}, "Draft"),
        ({"status": Status.SYSTEM}, "System"),
        ({"msg_type": MsgType.ACK}, "Ack"),
        ({"msg_type": MsgType.ERROR}, "Error"),
        ({"expires": NOW}, "expired"),
        ({"expires": NOW - timedelta(days=1)}, "expired"),
        ({"sent": NOW - timedelta(hours=12)}, "expired"),  # by the rainstorm plan's own limit
    ],
)
def test_what_is_only_recorded_says_why(plans, coverage, regions, changes, word):
    found = owed(plans, warning("red", **changes), coverage, regions)
    assert (found.disposition, found.rules, found.approvers) == (Disposition.RECORD, (), ())
    assert word in found.reason


def test_the_senders_expiry_wins_over_the_plans(plans, coverage, regions):
    later = NOW + timedelta(days=3)
    assert owed(plans, warning(expires=later), coverage, regions).expires == later
    assert owed(plans, warning(), coverage, regions).expires == SENT + timedelta(hours=12)


def test_a_stand_down_names_no_rules_and_is_not_stopped_by_the_hour_it_carries(plans, coverage, regions):
    cancel = warning(msg_type=MsgType.CANCEL, expires=SENT)
    found = owed(plans, cancel, coverage, regions)
    assert (found.disposition, found.rules) == (Disposition.DISSEMINATE, ())


def test_a_bare_cancel_needs_neither_area_nor_level(plans, regions):
    found = owed(plans, warning(msg_type=MsgType.CANCEL, infos=()), Coverage((), frozenset(), ()), regions)
    assert found.disposition is Disposition.DISSEMINATE
    assert found.level is None


def test_an_old_cancel_is_recorded(plans, coverage, regions):
    found = owed(plans, warning(msg_type=MsgType.CANCEL, sent=NOW - timedelta(days=30)), coverage, regions)
    assert found.disposition is Disposition.RECORD


def test_a_person_decides_where_nothing_says_where(plans, regions):
    found = owed(plans, warning("red"), Coverage((), frozenset(), ()), regions)
    assert (found.disposition, found.rules) == (Disposition.DECIDE, ())
    assert found.approvers == ("SHIFT_LEAD", "DUTY_LEADER")


def test_a_person_decides_where_nobody_says_how_strong(plans, coverage, regions, files, roles):
    assert owed(plans, warning(None), coverage, regions).disposition is Disposition.DECIDE
    assert not owed(plans, warning(None), coverage, regions).drafted_alone
    default = files["default.toml"].replace('events = ["*"]', 'events = ["*"]\nlevel_if_unknown = "yellow"')
    bold = Plans.load({**files, "default.toml": default}, roles, CHANNELS)
    found = owed(bold, warning(None), coverage, regions)
    assert (found.disposition, found.level) == (Disposition.DISSEMINATE, Level.YELLOW)


# ── release ──


@pytest.mark.parametrize("source", ["deqing-met", "deqing-water"])
@pytest.mark.parametrize("level", ["yellow", "orange", "red"])
def test_the_bureaus_warnings_go_out_without_review_from_yellow_on(plans, coverage, regions, source, level):
    found = owed(plans, warning(level), coverage, regions, source=source)
    assert {rule.approvers for rule in found.rules} == {()}
    assert found.approvers == ()


@pytest.mark.parametrize("level", list(LADDER))
def test_an_unknown_source_always_waits_for_review(plans, coverage, regions, level):
    found = owed(plans, warning(level), coverage, regions, source="someone")
    assert {rule.approvers for rule in found.rules} == {("SHIFT_LEAD", "DUTY_LEADER")}
    assert found.approvers == ("SHIFT_LEAD", "DUTY_LEADER")
    assert found.approve_within == 600


def test_a_blue_loudspeaker_needs_the_news_centre_while_the_posts_are_told(files, roles, coverage, regions):
    speaker = '\n[[level.blue.tell]]\ntier = "village"\nwho = "places"\nby = ["speaker"]\nwithin = "15min"\n'
    plans = Plans.load({**files, "default.toml": files["default.toml"] + speaker}, roles, CHANNELS)
    found = owed(plans, warning("blue"), coverage, regions)
    assert {(rule.channel == "speaker", rule.approvers) for rule in found.rules} == {(True, ("NEWS_CENTRE",)), (False, ())}
    assert found.approvers == ("NEWS_CENTRE",)


def test_only_red_may_be_released_by_one_person_alone(plans, coverage, regions):
    alone = [level for level in LADDER if owed(plans, warning(level), coverage, regions).drafted_alone]
    assert alone == ["red"]


def test_a_false_all_clear_of_an_unknown_source_waits_too(plans, coverage, regions):
    cancel = warning(msg_type=MsgType.CANCEL)
    assert owed(plans, cancel, coverage, regions).approvers == ()
    assert owed(plans, cancel, coverage, regions, source="someone").approvers == ("SHIFT_LEAD", "DUTY_LEADER")


# ── 叫应 ──


@pytest.mark.parametrize(("level", "calls"), [("red", 3), ("orange", 2)])  # below red a number is called twice an hour
def test_red_and_orange_call_again_a_minute_apart_and_end_at_the_door(plans, coverage, regions, level, calls):
    ladder = owed(plans, warning(level), coverage, regions).ladder
    assert ladder == Ladder(calls, 60, 60, (Rung.DEPUTY, Rung.SUPERIOR, Rung.SIDEWAYS, Rung.DOOR), "at_once", 3600)


def test_yellow_calls_only_the_silent_and_owes_no_measures_and_blue_calls_nobody(plans, coverage, regions):
    yellow, blue = (owed(plans, warning(level), coverage, regions).ladder for level in ("yellow", "blue"))
    assert yellow == Ladder(2, 60, 60, (Rung.DEPUTY, Rung.SUPERIOR, Rung.DOOR), "when_silent", None)
    assert blue is None


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("level", LADDER)
def test_whoever_owes_an_answer_has_a_ladder(plans, coverage, regions, level, signal, code):
    found = owed(plans, warning(level, code, signal=signal), coverage, regions)
    owes = any(rule.answer_within is not None for rule in found.rules)
    assert owes == (found.ladder is not None)
    assert {rule.ranks for rule in found.rules if rule.answer_within is not None} <= {("A",)}  # a deputy answers for the post


@pytest.mark.parametrize("code", CODES)
def test_every_post_that_owes_an_answer_below_the_county_has_a_superior(plans, coverage, regions, code):
    for signal in Signal:
        found = owed(plans, warning("red", code, signal=signal), coverage, regions)
        owing = {role for rule in found.rules if rule.answer_within and rule.tier != "county" for role in rule.roles}
        assert owing <= set(found.frozen["superiors"])


def test_a_village_has_answered_when_its_head_and_its_warner_have(plans, coverage, regions):
    assert owed(plans, warning("orange"), coverage, regions).quorum["village"] == ("VILLAGE_HEAD", "WARN_LEAD")
    assert owed(plans, warning("blue"), coverage, regions).quorum == {}


def test_immediate_transfer_is_called_as_red_and_a_blue_prepare_as_orange(plans, coverage, regions):
    immediate = owed(plans, warning("blue", "11A51", signal=Signal.IMMEDIATE), coverage, regions)
    assert immediate.ladder == owed(plans, warning("red", "11A51"), coverage, regions).ladder
    assert immediate.quorum["county"] == ("COUNTY_HQ_DUTY",)


def test_the_ladder_and_who_stands_on_it_are_frozen_with_the_alert(plans, coverage, regions):
    found = owed(plans, warning("red"), coverage, regions)
    frozen = json.loads(json.dumps(found.frozen))
    assert Ladder.from_json(frozen["ladder"]) == found.ladder
    assert frozen["quorum"] == {tier: list(roles) for tier, roles in found.quorum.items()}
    assert frozen["superiors"]["VILLAGE_HEAD"] == ["TOWN_LEAD", "TOWN_DEPUTY"]
    assert frozen["sideways"]["VILLAGE_HEAD"] == ["VILLAGE_RESIDENT_CADRE", "VILLAGE_HEAD"]
    assert owed(plans, warning("blue"), coverage, regions).frozen["ladder"] is None


OWN_RED = """
title = "雾"
extends = "default"
events = ["11B17"]
[level.red]
in_doubt = "hold"
[[level.red.tell]]
tier = "village"
who = ["WARN_LEAD"]
by = ["sms"]
within = "3min"
answer = "5min"
[[level.red.tell]]
tier = "town"
who = ["TOWN_FIRST"]
by = ["sms"]
within = "3min"
[[level.red.tell]]
tier = "county"
who = ["COUNTY_HQ_DUTY"]
by = ["sms"]
within = "3min"
"""


def test_a_hazard_that_says_anew_whom_it_tells_keeps_how_the_silent_are_called(files, roles, coverage, regions):
    plans = Plans.load({**files, "fog.toml": OWN_RED}, roles, CHANNELS)
    found = owed(plans, warning("red", "11B17"), coverage, regions)
    assert found.ladder == owed(plans, warning("red"), coverage, regions).ladder
    assert found.quorum == {}  # of those who are not asked any more no answer is required


def test_a_hazard_may_say_its_own_ladder_quorum_superiors_and_night(files, roles, coverage, regions):
    own = """
[level.red.callout]
calls = 2
every = "90s"
patience = "2min"
then = ["door"]
voice = "when_silent"
[level.red.quorum]
village = ["WARN_LEAD"]
[superiors]
WARN_LEAD = ["TOWN_LIAISON"]
[night]
from = "00:00"
to = "07:00"
levels = ["red"]
"""
    plans = Plans.load({**files, "fog.toml": OWN_RED + own}, roles, CHANNELS)
    found = owed(plans, warning("red", "11B17"), coverage, regions)
    assert found.ladder == Ladder(2, 90, 120, (Rung.DOOR,), "when_silent", None)
    assert found.quorum == {"village": ("WARN_LEAD",)}
    assert found.frozen["superiors"]["WARN_LEAD"] == ["TOWN_LIAISON"]
    assert found.frozen["superiors"]["VILLAGE_HEAD"] == ["TOWN_LEAD", "TOWN_DEPUTY"]  # the rest as the plan that it extends
    assert found.frozen["wakes"]  # 06:33


def test_a_hazard_that_takes_those_who_must_answer_out_of_a_group_is_told_of_the_quorum(files, roles):
    thin = 'title = "雾"\nextends = "default"\nevents = ["11B17"]\n[groups]\nvillage_callees = ["VILLAGE_HEAD"]\n'
    with pytest.raises(InvalidFiles, match=r"fog\.toml:\d+: error: WARN_LEAD owes no answer at tier village in \[level\.red\]"):
        Plans.load({**files, "fog.toml": thin}, roles, CHANNELS)


def test_a_ladder_says_itself_to_people():
    ladder = Ladder(3, 60, 60, (Rung.DEPUTY, Rung.DOOR), "at_once", 3600)
    assert str(ladder) == "3 calls 60 s apart, 60 s later deputy → door; voice at once; measures within 60 min"


# ── 叫醒 ──


def at(hour: int, minute: int = 0) -> datetime:
    """That hour in Beijing after the warning was sent, on a clock that shows UTC."""
    return datetime(2023, 7, 5, hour, minute, tzinfo=BEIJING).astimezone(UTC)


SENT_AT_NIGHT = datetime(2023, 7, 4, 21, 50, tzinfo=BEIJING)
ALL_BY_SMS = """
title = "雾"
extends = "default"
events = ["11B17"]
""" + "".join(
    f"""
[level.{level}]
in_doubt = "hold"
[[level.{level}.tell]]
tier = "village"
who = ["WARN_LEAD"]
by = ["sms", "voice", "zwdd"]
within = "3min"
answer = "5min"
[[level.{level}.tell]]
tier = "town"
who = ["TOWN_FIRST"]
by = ["sms"]
within = "3min"
answer = "5min"
[[level.{level}.tell]]
tier = "county"
who = ["COUNTY_HQ_DUTY"]
by = ["sms"]
within = "3min"
"""
    for level in ("red", "orange", "yellow")
)


def ways_at(
    plans: Plans, level: str, now: datetime, coverage: Coverage, regions: Regions
) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    alert = warning(level, "11B17", sent=SENT_AT_NIGHT)
    found = owed(plans, alert, coverage, regions, now=now)
    return {tier: [(r.channel, r.otherwise) for r in found.rules if r.tier == tier] for tier in ("village", "town", "county")}


@pytest.mark.parametrize("level", ["red", "orange"])
def test_at_night_whoever_owes_an_answer_is_called_first_and_the_others_sleep_on(files, roles, coverage, regions, level):
    plans = Plans.load({**files, "fog.toml": ALL_BY_SMS}, roles, CHANNELS)
    assert ways_at(plans, level, at(3), coverage, regions) == {
        "village": [("voice", ("sms", "zwdd")), ("sms", ("zwdd", "voice")), ("zwdd", ("voice", "sms"))],
        "town": [("voice", ("sms",)), ("sms", ("voice",))],
        "county": [("sms", ())],
    }


@pytest.mark.parametrize(("level", "now"), [("yellow", at(3)), ("red", at(6)), ("orange", at(6))])
def test_by_day_or_below_orange_the_plan_is_followed_as_it_stands(files, roles, coverage, regions, level, now):
    plans = Plans.load({**files, "fog.toml": ALL_BY_SMS}, roles, CHANNELS)
    ways = ways_at(plans, level, now, coverage, regions)
    assert ways["town"] == [("sms", ())]
    assert [channel for channel, _ in ways["village"]] == ["voice", "sms", "zwdd"]


@pytest.mark.parametrize(
    ("now", "sleeps"),
    [(at(21, 59), False), (at(22), True), (at(23, 59), True), (at(0), True), (at(5, 59), True), (at(6), False), (at(12), False)],
)
def test_the_night_is_beijings_whatever_the_clock_shows(plans, now, sleeps):
    assert night(now, plans.plans["default"].night) is sleeps


def test_a_night_that_begins_after_midnight_ends_the_same_morning():
    hours = Night(time(0, 30), time(5), frozenset({Level.RED}))
    assert [night(at(hour), hours) for hour in (0, 1, 4, 5, 22)] == [False, True, True, False, False]


def test_a_plan_without_a_night_has_one_all_the_same(roles):
    daring = SMALL[: SMALL.index("[night]")]
    plan = Plans.load({"default.toml": daring, "release.toml": RELEASE}, roles, CHANNELS).plans["default"]
    assert night(at(3), plan.night)
    assert plan.night.levels == {Level.RED, Level.ORANGE}


@pytest.mark.parametrize(
    ("levels", "woken"), [("", {"red", "orange"}), ("levels = []", set()), ('levels = ["yellow"]', {"yellow"})]
)
def test_a_county_says_which_levels_wake_people_or_that_none_does(roles, levels, woken):
    text = SMALL.replace('to = "06:00"\nlevels = ["red"]', f'to = "06:00"\n{levels}')
    assert Plans.load({"default.toml": text, "release.toml": RELEASE}, roles, CHANNELS).plans["default"].night.levels == woken


# ── frozen ──


@given(
    st.sampled_from([*SEVERITY, None]),
    st.sampled_from(CODES),
    st.sampled_from(list(Status)),
    st.sampled_from(list(MsgType)),
    st.sampled_from(list(Signal)),
    st.sampled_from(["deqing-met", "someone"]),
)
def test_what_is_frozen_comes_back_from_json_as_it_went_in(plans, regions, level, code, status, msg_type, signal, source):
    alert = warning(level, code, status=status, msg_type=msg_type, signal=signal)
    found = owed(plans, alert, covering(regions, "330521115"), regions, source=source)
    assert json.loads(json.dumps(found.frozen)) == found.frozen
    assert len(found.frozen["rules"]) == len(found.rules)


def test_what_is_frozen_says_what_the_rules_say(plans, coverage, regions):
    found = owed(plans, warning("red"), coverage, regions)
    back = [
        Rule(
            **{
                **row,
                "roles": tuple(row["roles"]),
                "ranks": tuple(row["ranks"]),
                "approvers": tuple(row["approvers"]),
                "otherwise": tuple(row["otherwise"]),
                "lane": Lane(row["lane"]),
                "audience": Audience(row["audience"]),
            }
        )
        for row in found.frozen["rules"]
    ]
    assert tuple(back) == found.rules


# ── refusals ──

SMALL = """\
title = "其他"
events = ["*"]
expires_after = "24h"

[groups]
duty = ["COUNTY_HQ_DUTY"]

[level.red]
in_doubt = "resend"

[[level.red.tell]]
tier = "county"
who = ["@duty"]
by = ["voice"]
within = "3min"
answer = "5min"

[[level.red.tell]]
tier = "town"
who = ["TOWN_FIRST"]
by = ["voice"]
within = "3min"

[[level.red.tell]]
tier = "village"
who = ["VILLAGE_HEAD"]
by = ["voice", "sms"]
within = "3min"

[level.orange]
as = "red"

[level.yellow]
as = "red"

[level.blue]
as = "red"

[level.red.callout]
calls = 3
every = "60s"
patience = "60s"
then = ["deputy", "superior", "door"]
voice = "at_once"
measures = "60min"

[level.red.quorum]
county = ["COUNTY_HQ_DUTY"]

[superiors]
VILLAGE_HEAD = ["TOWN_LEAD"]
TOWN_LEAD = ["COUNTY_HQ_DUTY"]

[sideways]
VILLAGE_HEAD = ["VILLAGE_HEAD"]

[night]
from = "22:00"
to = "06:00"
levels = ["red"]
"""
RELEASE = """\
approve_within = "10min"
approvers = ["SHIFT_LEAD"]
alone = ["red"]

[[free]]
sources = ["deqing-met"]
levels = ["red"]
channels = ["sms"]
"""


def test_the_small_plan_is_a_good_one(roles):
    assert set(Plans.load({"default.toml": SMALL, "release.toml": RELEASE}, roles, CHANNELS).plans) == {"default"}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('who = ["TOWN_FIRST"]', 'who = ["TOWN_FRIST"]', 20, "unknown role 'TOWN_FRIST'; did you mean 'TOWN_FIRST'?"),
        ('duty = ["COUNTY_HQ_DUTY"]', 'duty = ["DUTY_DESK"]', 6, "unknown role 'DUTY_DESK'"),
        ('who = ["@duty"]', 'who = ["@dutty"]', 13, "no group '@dutty'"),
        ('by = ["voice", "sms"]', 'by = ["voice", "smss"]', 27, "unknown channel 'smss'; did you mean 'sms'?"),
        ("[level.blue]", "[level.purple]", 36, "unknown level 'purple'"),
        ("[level.blue]", '[signal."快跑"]', 36, "unknown signal '快跑'"),
        ('[level.blue]\nas = "red"\n', "", 0, "level blue is missing"),
        ('answer = "5min"', 'anwser = "5min"', 16, "unknown key 'anwser'; did you mean 'answer'?"),
        ('expires_after = "24h"', 'expire_after = "24h"', 3, "unknown key 'expire_after'; did you mean 'expires_after'?"),
        ('expires_after = "24h"', "", 0, "expires_after is missing"),
        ('in_doubt = "resend"', 'in_doubt = "guess"', 9, "in_doubt is 'guess'"),
        ('in_doubt = "resend"', "", 8, "in_doubt is missing"),
        ('answer = "5min"', 'answer = "-5min"', 16, "a time must be more than nothing"),
        ('answer = "5min"', 'answer = "0s"', 16, "a time must be more than nothing"),
        ('answer = "5min"', "answer = -300", 16, "must be a time"),
        ('answer = "5min"', 'answer = "soon"', 16, "must be a time"),
        ('tier = "town"', 'tier = "city"', 19, "tier is 'city'"),
        ('who = ["VILLAGE_HEAD"]', 'who = "everybody"', 26, "who is 'everybody'"),
        ('who = ["VILLAGE_HEAD"]', 'who = ["HOUSEHOLD"]', 26, 'who = "residents"'),
        ('who = ["VILLAGE_HEAD"]', 'who = "residents"', 8, "nobody is owed at tier village"),
        ('tier = "county"\nwho = ["@duty"]', 'tier = "county"\nwho = "residents"', 16, "answer and ranks are for posts"),
        ('tier = "county"', 'tier = "town"', 8, "nobody is owed at tier county"),
        ('duty = ["COUNTY_HQ_DUTY"]', "duty = []", 8, "nobody is owed at tier county"),
        ('events = ["*"]', 'events = ["11B03"]', 0, "no default plan"),
        ('events = ["*"]', 'events = ["*", "11b03"]', 2, "'11b03' is no event code"),
        ('events = ["*"]', 'events = ["*", "rain"]', 2, "'rain' is no event code"),
        ('events = ["*"]', 'events = ["*", "11B03", "11B03"]', 2, "'11B03' is already in default.toml"),
        ('events = ["*"]', 'events = "*"', 2, "must be a list of texts"),
        ('title = "其他"', 'title = "其他"\nextends = "nowhere"', 2, "no usable nowhere.toml"),
        ('title = "其他"', 'title = "其他"\nextends = "default"', 2, "extends this plan again"),
        ('as = "red"\n\n[level.yellow]\nas = "red"', 'as = "yellow"\n\n[level.yellow]\nas = "orange"', 31, "leads back"),
        ('title = "其他"', 'title = "其他"\nlevel_if_unknown = "grey"', 2, "level_if_unknown is 'grey'"),
        ("calls = 3", "calls = 0", 40, "calls must be a whole number, 1 or more"),
        ("calls = 3", "calls = true", 40, "calls must be a whole number"),
        ("calls = 3", 'calls = "3"', 40, "calls must be a whole number"),
        ("calls = 3\n", "", 39, "calls is missing in [level.red.callout]"),
        ('every = "60s"', 'evry = "60s"', 41, "unknown key 'evry'; did you mean 'every'?"),
        ('every = "60s"', 'every = "0s"', 41, "a time must be more than nothing"),
        ('patience = "60s"', "patience = 60", 42, "patience must be a time"),
        ('"superior", "door"]', '"superior"]', 43, 'then: the rungs must end with "door"'),
        ('"deputy", "superior"', '"door", "superior"', 43, '"door" stands there twice'),
        ('"superior"', '"superiour"', 43, "unknown rung 'superiour'; did you mean 'superior'?"),
        ('"deputy", "superior"', '"principal"', 43, "unknown rung 'principal'"),
        ('then = ["deputy", "superior", "door"]', "then = []", 43, "then is empty"),
        ('then = ["deputy", "superior", "door"]\n', "", 39, "then is missing in [level.red.callout]"),
        ('voice = "at_once"', 'voice = "soon"', 44, "voice is 'soon'; it must be one of at_once, when_silent"),
        ('measures = "60min"', 'measures = "later"', 45, "measures must be a time"),
        ("[level.red.callout]", "[level.red.calout]", 39, "unknown key 'calout'; did you mean 'callout'?"),
        ("[level.red.callout]", "[level.red.calout]", 8, "nothing says how the silent ones are called: add [level.red.callout]"),
        ('county = ["COUNTY_HQ_DUTY"]', 'couty = ["COUNTY_HQ_DUTY"]', 48, "unknown key 'couty'; did you mean 'county'?"),
        ('county = ["COUNTY_HQ_DUTY"]', 'county = ["COUNTY_DUTY"]', 48, "unknown role 'COUNTY_DUTY'; did you mean"),
        ('county = ["COUNTY_HQ_DUTY"]', "county = []", 48, "county is empty"),
        ('county = ["COUNTY_HQ_DUTY"]', 'town = ["TOWN_FIRST"]', 48, "so no town could ever have answered"),
        ('county = ["COUNTY_HQ_DUTY"]', 'village = ["COUNTY_HQ_DUTY"]', 48, "owes no answer at tier village"),
        (
            'VILLAGE_HEAD = ["TOWN_LEAD"]',
            'VILAGE_HEAD = ["TOWN_LEAD"]',
            51,
            "unknown role 'VILAGE_HEAD'; did you mean 'VILLAGE_HEAD'?",
        ),
        ('TOWN_LEAD = ["COUNTY_HQ_DUTY"]', 'TOWN_LEAD = ["HQ"]', 52, "unknown role 'HQ'"),
        ('TOWN_LEAD = ["COUNTY_HQ_DUTY"]', 'TOWN_LEAD = ["VILLAGE_HEAD"]', 51, "VILLAGE_HEAD is in the end its own superior"),
        ('TOWN_LEAD = ["COUNTY_HQ_DUTY"]', 'TOWN_LEAD = "COUNTY_HQ_DUTY"', 52, "must be a list of texts"),
        ('VILLAGE_HEAD = ["VILLAGE_HEAD"]', 'VILLAGE_HEAD = ["NEIGHBOUR"]', 55, "unknown role 'NEIGHBOUR'"),
        ('from = "22:00"', 'from = "22"', 58, "from must be an hour of the day in quotes"),
        ('from = "22:00"', 'from = "24:00"', 58, "from must be an hour of the day in quotes"),
        ('to = "06:00"', 'to = "22:00"', 59, "from and to are the same hour"),
        ('to = "06:00"\n', "", 57, "to is missing in [night]"),
        ('levels = ["red"]', 'levels = ["rde"]', 60, "unknown level 'rde'; did you mean 'red'?"),
        ('title = "其他"', "title = 其他", 1, "not TOML"),
    ],
)
def test_a_broken_plan_is_refused_with_its_line(roles, old, new, line, message):
    assert old in SMALL
    files = {"default.toml": SMALL.replace(old, new, 1), "release.toml": RELEASE}
    with pytest.raises(InvalidFiles) as refused:
        Plans.load(files, roles, CHANNELS)
    found = [(problem.line, problem.message) for problem in refused.value.problems if problem.file == "default.toml"]
    assert any(at == line and message in said for at, said in found), found


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('approvers = ["SHIFT_LEAD"]', 'approvers = ["SHIFT_LED"]', 2, "unknown role 'SHIFT_LED'; did you mean 'SHIFT_LEAD'?"),
        ('approvers = ["SHIFT_LEAD"]', "approvers = []", 2, "approvers is empty"),
        ('approve_within = "10min"', 'approve_within = "-10min"', 1, "a time must be more than nothing"),
        ('approve_within = "10min"', "", 0, "approve_within is missing"),
        ('alone = ["red"]', 'alone = ["crimson"]', 3, "unknown level 'crimson'"),
        ('levels = ["red"]', 'levels = ["rot"]', 7, "unknown level 'rot'"),
        ('channels = ["sms"]', 'channels = ["fax"]', 8, "unknown channel 'fax'"),
        ('channels = ["sms"]', 'channels = ["sms"]\nto = ["cats"]', 9, "unknown audience 'cats'"),
        ('channels = ["sms"]', 'chanels = ["sms"]', 8, "did you mean 'channels'?"),
        ("[[free]]", "[[review]]", 5, "approvers is missing"),
        ('alone = ["red"]', "alone = [red]", 3, "not TOML"),
    ],
)
def test_a_broken_release_table_is_refused_with_its_line(roles, old, new, line, message):
    assert old in RELEASE
    with pytest.raises(InvalidFiles) as refused:
        Plans.load({"default.toml": SMALL, "release.toml": RELEASE.replace(old, new, 1)}, roles, CHANNELS)
    found = [(problem.line, problem.message) for problem in refused.value.problems if problem.file == "release.toml"]
    assert any(at == line and message in said for at, said in found), found


def test_an_event_belongs_to_one_plan_only(files, roles):
    twin = 'title = "又一个"\nextends = "default"\nevents = [\n  "11B99",\n  "11B03",  # 暴雨\n]\n'
    with pytest.raises(InvalidFiles, match=r"twin\.toml:5: error: '11B03' is already in rainstorm\.toml"):
        Plans.load({**files, "twin.toml": twin}, roles, CHANNELS)


def test_a_file_with_several_mistakes_names_them_all(files, roles):
    broken = files["default.toml"].replace("COUNTY_HQ_DUTY", "NOBODY").replace('"3min"', '"-3min"', 1)
    with pytest.raises(InvalidFiles) as refused:
        Plans.load({**files, "default.toml": broken}, roles, CHANNELS)
    said = {problem.message.split(";")[0] for problem in refused.value.problems}
    assert {"unknown role 'NOBODY'", "within is '-3min': a time must be more than nothing"} <= said
    assert all(problem.line > 0 for problem in refused.value.problems)


def test_a_channel_that_the_county_does_not_have_is_named_with_every_line_that_uses_it(files, roles):
    with pytest.raises(InvalidFiles) as refused:
        Plans.load(files, roles, CHANNELS - {"zwdd"})
    lines = {problem.line for problem in refused.value.problems if problem.file == "default.toml"}
    text = files["default.toml"].splitlines()
    assert lines == {number for number, line in enumerate(text, 1) if "zwdd" in line and line.startswith("by")}


@pytest.mark.parametrize("missing", ["release.toml", "default.toml"])
def test_a_set_without_release_or_default_is_refused(files, roles, missing):
    with pytest.raises(InvalidFiles):
        Plans.load({name: text for name, text in files.items() if name != missing}, roles, CHANNELS)


def test_no_files_at_all_are_refused(roles):
    with pytest.raises(InvalidFiles, match="no plan files"):
        Plans.load({}, roles, CHANNELS)


@given(st.text(max_size=200))
def test_whatever_stands_in_a_file_it_is_refused_with_a_problem_and_no_crash(text):
    with pytest.raises(InvalidFiles) as refused:
        Plans.load({"default.toml": text, "release.toml": text}, {"SHIFT_LEAD"}, CHANNELS)
    assert {problem.file for problem in refused.value.problems} >= {"default.toml"}


JUNK = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.sampled_from(["red", "3min", "@x", "residents", ""])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["tell", "red", "who", "by", "as", "tier", "callout", "quorum", "then", "from"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)
KEYS = [
    "title",
    "extends",
    "events",
    "groups",
    "level",
    "signal",
    "risk",
    "expires_after",
    "free",
    "approvers",
    "alone",
    "superiors",
    "night",
]


@given(st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=6))
def test_a_value_of_the_wrong_kind_is_a_problem_and_no_crash(values):
    text = "\n".join(f"{key} = {inline(value)}" for key, value in values.items())
    with pytest.raises(InvalidFiles):
        Plans.load({"default.toml": text, "release.toml": text}, {"SHIFT_LEAD"}, CHANNELS)


def inline(value: object) -> str:
    """A value as TOML writes it in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(inner) for inner in value) + "]"
    return json.dumps(value)


def test_a_countys_own_plan_may_add_to_a_level_of_the_plan_it_extends(files, roles, coverage, regions):
    more = """
title = "加强"
extends = "default"
events = ["11B17"]
[level.red]
as = "red"
[[level.red.tell]]
tier = "county"
who = ["CITY_LEAD"]
by = ["sms"]
within = "3min"
"""
    plans = Plans.load({**files, "fog.toml": more}, roles, CHANNELS)
    found = owed(plans, warning("red", "11B17"), coverage, regions)
    assert {"CITY_LEAD", "VILLAGE_HEAD"} <= roles_told(found)
