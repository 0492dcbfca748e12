"""What an alert covers: codes, names and geometry, and what a person is told."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.alert import Alert, Area, Circle, Geocode, Identifier, Info, MsgType, Scope, Severity, Status
from broadcast.resources import EXAMPLES
from broadcast.tiers.area import Coverage, FindingKind, cover
from broadcast.tiers.regions import CodeSystem, Regions, Tier, read

FILES = read(EXAMPLES / "deqing" / "regions")
DEQING = Regions.load(FILES)
FOUR = "莫干山镇,武康街道,舞阳街道,阜溪街道"
FOUR_NAMES = {"莫干山镇", "武康街道", "舞阳街道", "阜溪街道"}
NBS_CODES = "330521115000,330521001000,330521002000,330521003000"
MCA_CODES = "330521117000,330521002000,330521003000,330521004000"


def alert(*areas: Area) -> Alert:
    info = Info("暴雨", "11B03", Severity.SEVERE, areas=areas)
    sent = datetime(2023, 7, 5, 6, 31, tzinfo=UTC)
    return Alert(Identifier("33052141600000_20230705063101"), "x", sent, Status.ACTUAL, MsgType.ALERT, Scope.PUBLIC, (info,))


def area(description: str = "", codes: str = "", circles: tuple = (), polygons: tuple = ()) -> Area:
    geocodes = tuple(Geocode(code) for code in codes.split(",") if code)
    return Area(description, geocodes=geocodes, circles=circles, polygons=polygons)


def covered(description: str = "", codes: str = "", system: CodeSystem | None = None, **geometry: tuple) -> Coverage:
    return cover(alert(area(description, codes, **geometry)), DEQING, system)


def names(coverage: Coverage) -> set[str]:
    return {DEQING[code].name for code in coverage.roots}


def kinds(coverage: Coverage) -> set[FindingKind]:
    return {finding.kind for finding in coverage.findings}


# --- the two code systems


def test_mca_codes_of_a_source_whose_system_is_not_known_warn_both_readings_and_tell_a_person():
    coverage = covered(FOUR, MCA_CODES)
    assert names(coverage) == FOUR_NAMES | {"下渚湖街道"}
    assert [finding.kind for finding in coverage.findings].count(FindingKind.CONFLICT) == 1  # told once
    assert coverage.needs_a_person
    assert any("330521004" in finding.text and "下渚湖街道" in finding.text for finding in coverage.findings)


def test_mca_codes_of_a_source_set_to_mca_warn_exactly_the_four():
    coverage = covered(FOUR, MCA_CODES, CodeSystem.MCA)
    assert names(coverage) == FOUR_NAMES
    assert coverage.findings == ()


@pytest.mark.parametrize("system", [None, CodeSystem.NBS])
def test_nbs_codes_warn_exactly_the_four_and_nobody_else(system):
    coverage = covered(FOUR, NBS_CODES, system)
    assert names(coverage) == FOUR_NAMES
    assert coverage.findings == ()
    assert coverage.regions == DEQING.closure(["330521115", "330521001", "330521002", "330521003"])
    assert "330521" in coverage.regions


@pytest.mark.parametrize(("codes", "system"), [(MCA_CODES, CodeSystem.NBS), (NBS_CODES, CodeSystem.MCA)])
def test_a_system_that_is_set_wrongly_still_warns_the_named_towns_and_tells_a_person(codes, system):
    coverage = covered(FOUR, codes, system)
    assert names(coverage) > FOUR_NAMES
    assert coverage.needs_a_person


def test_a_code_that_nothing_confirms_warns_both_of_its_towns():
    coverage = covered("", "330521113000")
    assert names(coverage) == {"禹越镇", "钟管镇"}
    assert kinds(coverage) == {FindingKind.CONFLICT}


def test_one_town_of_three_confirmed_does_not_confirm_the_others():
    coverage = covered("禹越镇", "330521113000,330521114000")
    assert names(coverage) == {"禹越镇", "新安镇", "新市镇"}
    assert coverage.needs_a_person


def test_a_code_that_is_the_same_in_both_systems_needs_nobody():
    coverage = covered("", "330521101000,330521110000")
    assert names(coverage) == {"乾元镇", "雷甸镇"}
    assert not coverage.needs_a_person


@pytest.mark.parametrize("system", [None, *CodeSystem])
@pytest.mark.parametrize("codes", [NBS_CODES, MCA_CODES])
def test_whatever_the_system_the_named_towns_are_never_left_out(codes, system):
    for name in FOUR_NAMES:
        assert name in names(covered(name, codes, system))


def test_a_named_town_that_no_code_covers_is_added_and_told():
    coverage = covered("莫干山镇,武康街道", "330521115000", CodeSystem.NBS)
    assert names(coverage) == {"莫干山镇", "武康街道"}
    assert kinds(coverage) == {FindingKind.NAMED_ONLY}
    assert coverage.needs_a_person


# --- codes


def test_a_village_code_warns_the_village_its_town_and_the_county():
    coverage = covered("燎原村", "330521115201")
    assert coverage.roots == ("330521115201",)
    assert coverage.regions == {"330521", "330521115", "330521115201"}
    assert not coverage.needs_a_person


def test_a_retired_village_code_warns_the_village_where_it_is_now():
    coverage = covered("五四村", "330521003208")
    assert coverage.roots == ("330521115220",)
    assert kinds(coverage) == {FindingKind.RETIRED}


def test_an_unknown_village_of_a_known_town_warns_the_town():
    coverage = covered("禹越镇", "330521113999")
    assert names(coverage) == {"禹越镇"}
    assert kinds(coverage) == {FindingKind.UNKNOWN_VILLAGE}
    assert coverage.needs_a_person


def test_an_unknown_town_is_not_resolved_and_never_the_whole_county():
    coverage = covered("", "330521999000")
    assert not coverage.resolved
    assert coverage.regions == frozenset()
    assert kinds(coverage) == {FindingKind.UNKNOWN_CODE, FindingKind.UNRESOLVED}


def test_an_unknown_code_beside_a_good_one_is_told_and_the_good_one_warned():
    coverage = covered("乾元镇", "330521999000,330521101000")
    assert names(coverage) == {"乾元镇"}
    assert kinds(coverage) == {FindingKind.UNKNOWN_CODE}


def test_codes_of_another_county_are_passed_over():
    coverage = covered("乾元镇", "330522000000,330521101000")
    assert names(coverage) == {"乾元镇"}
    assert kinds(coverage) == {FindingKind.OUTSIDE}
    assert not coverage.needs_a_person


def test_an_alert_for_another_county_leaves_it_to_a_person_even_when_a_name_exists_here_too():
    coverage = covered("新市镇", "440114000000")
    assert not coverage.resolved
    assert kinds(coverage) == {FindingKind.OUTSIDE, FindingKind.OUTSIDE_NAMED, FindingKind.UNRESOLVED}
    assert names(covered("德清县新市镇", "330522000000")) == {"新市镇"}


@pytest.mark.parametrize("code", ["330500000000", "330000000000", "330500", "330000"])
def test_the_citys_or_provinces_code_alone_covers_the_whole_county(code):
    coverage = covered("浙江省北部", code)
    assert coverage.roots == ("330521",)
    assert len(coverage.regions) == 191
    assert not coverage.needs_a_person


def test_the_citys_code_beside_our_own_does_not_widen_them_but_is_told():
    coverage = covered("乾元镇", "330500000000,330521101000")
    assert names(coverage) == {"乾元镇"}
    assert kinds(coverage) == {FindingKind.NARROWED}


@pytest.mark.parametrize("code", ["340000000000", "330600000000", "330520", "000000000000", "006109"])
def test_no_other_code_stands_for_the_county(code):
    assert not covered("", code).resolved


def test_vague_words_beside_the_countys_code_mean_the_county():
    coverage = covered("西部山区", "330521000000")
    assert coverage.roots == ("330521",)
    assert kinds(coverage) == {FindingKind.VAGUE}
    assert not coverage.needs_a_person


# --- names


@pytest.mark.parametrize(
    "description",
    [
        "莫干山、武康、舞阳、阜溪等镇(街道)",
        "德清县莫干山、武康、舞阳、阜溪等镇（街道）",
        "莫干山镇，武康街道；舞阳街道 阜溪街道",
        "莫干山镇,莫干山镇,武康街道及舞阳、阜溪街道等地",
        "莫干山镇、武康街道、舞阳街道和阜溪街道部分地区",
        "莫干山、武康、舞阳、阜溪等4个镇(街道)",
    ],
)
def test_the_ways_in_which_a_list_of_towns_is_written(description):
    coverage = covered(description)
    assert names(coverage) == FOUR_NAMES
    assert coverage.findings == ()


def test_a_name_that_holds_a_word_for_and_is_read_whole():
    coverage = covered("和睦村和和平村及金鹅山村")
    assert names(coverage) == {"和睦村", "和平村", "金鹅山村"}


def test_an_ambiguous_name_warns_all_and_is_told():
    coverage = covered("城西村")
    assert coverage.roots == ("330521001201", "330521102208")
    assert kinds(coverage) == {FindingKind.AMBIGUOUS}


def test_a_code_settles_an_ambiguous_name():
    coverage = covered("城西村", "330521102208")
    assert coverage.roots == ("330521102208",)
    assert coverage.findings == ()


def test_a_code_in_doubt_does_not_settle_an_ambiguous_name():
    coverage = covered("城西村", "330521102000,330521001201", CodeSystem.MCA)
    assert coverage.regions >= {"330521001201", "330521102208"}
    assert covered("城西村", "330521102208", CodeSystem.MCA).roots == ("330521001201", "330521102208")


def test_no_part_of_a_word_is_read_as_a_place():
    assert not covered("下高桥村北侧武康大道").resolved
    assert covered("高桥村").roots == ("330521113217",)


def test_words_that_name_no_place_warn_nobody_until_a_person_decides():
    coverage = covered("西部山区")
    assert not coverage.resolved
    assert coverage.needs_a_person
    assert kinds(coverage) == {FindingKind.UNREAD, FindingKind.UNRESOLVED}


def test_a_name_that_was_not_read_beside_one_that_was_is_told():
    coverage = covered("武康街道、东部平原")
    assert names(coverage) == {"武康街道"}
    assert coverage.needs_a_person


@pytest.mark.parametrize("description", ["德清县", "全县", "浙江省湖州市德清县", "湖州市"])
def test_the_countys_name_means_the_whole_county(description):
    assert covered(description).roots == ("330521",)


def test_an_overlay_whose_members_nobody_verified_is_told():
    coverage = covered("高新区")
    assert coverage.resolved
    assert kinds(coverage) == {FindingKind.UNVERIFIED}


def test_the_areas_of_an_alert_add_up():
    coverage = cover(alert(area("武康街道"), area("", "330521101000")), DEQING, None)
    assert names(coverage) == {"武康街道", "乾元镇"}


def test_an_alert_without_info_or_area_is_left_to_a_person():
    bare = cover(alert(), DEQING, None)
    assert bare == Coverage((), frozenset(), bare.findings)
    assert bare.needs_a_person


# --- geometry


def square(south: float, west: float, size: float = 0.01) -> tuple:
    return ((south, west), (south, west + size), (south + size, west + size), (south + size, west), (south, west))


def test_a_circle_hits_a_town_within_its_equivalent_radius_and_the_error_of_its_point():
    seat = DEQING["330521005"].point  # no area known: the mean of the county's towns, 72 km², 4.79 km; point ± 4 km
    reach = math.sqrt(936 / 13 / math.pi) + 4
    north = lambda km: Circle(seat[0] + km / 111.195, seat[1], 1.0)  # noqa: E731
    assert "康乾街道" in names(covered(circles=(north(reach + 0.99),)))
    assert "康乾街道" not in names(covered(circles=(north(reach + 1.01),)))


def test_a_polygon_warns_the_towns_it_comes_near_and_says_that_it_may_be_too_many():
    coverage = covered(polygons=(square(30.60, 119.89),))
    assert "莫干山镇" in names(coverage)
    assert "新市镇" not in names(coverage)
    assert FindingKind.OVER_WARNED in kinds(coverage)


def test_a_polygon_around_the_county_is_the_county_and_one_far_away_is_nobody():
    assert covered(polygons=(square(30.0, 119.0, 2.0),)).roots == ("330521",)
    assert not covered(circles=(Circle(12.747, -88.783, 0.0),)).resolved


def test_geometry_never_takes_away_what_codes_and_names_say():
    far = (square(10.0, 10.0),)
    assert names(covered(FOUR, NBS_CODES, polygons=far)) == FOUR_NAMES
    wide = covered("莫干山镇", "330521115000", polygons=(square(30.53, 119.95, 0.02),))
    assert names(wide) > {"莫干山镇", "武康街道"}
    assert wide.needs_a_person


def test_a_town_with_an_outline_is_hit_exactly():
    ring = [[119.95, 30.50], [120.00, 30.50], [120.00, 30.55], [119.95, 30.55], [119.95, 30.50]]
    outline = {"properties": {"code": "330521001"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    regions = Regions.load(FILES | {"town_outlines.geojson": json.dumps({"type": "FeatureCollection", "features": [outline]})})
    inside = cover(alert(area(polygons=(square(30.54, 119.99),))), regions, None)
    outside = cover(alert(area(polygons=(square(30.5501, 119.99),), circles=(Circle(30.56, 119.97, 1.0),))), regions, None)
    touching = cover(alert(area(circles=(Circle(30.56, 119.97, 1.2),))), regions, None)
    assert ["330521001" in c.roots for c in (inside, outside, touching)] == [True, False, True]


@pytest.mark.parametrize("figure", [((math.nan, 1.0),) * 4, ((91.0, 1.0),) * 4, ()])
def test_a_polygon_without_usable_coordinates_is_told_and_warns_nobody(figure):
    coverage = covered(polygons=(figure,))
    assert not coverage.resolved
    assert FindingKind.UNREAD in kinds(coverage)


# --- whatever comes in

WORDS = st.sampled_from(
    [*(region.name for region in DEQING), "武康", "等镇(街道)", "、", ",", "和", "及", "高新区", "德清县", "西部山区", "城西村"]
)
DESCRIPTIONS = st.one_of(st.text(), st.lists(WORDS, max_size=8).map("".join))
CODES = st.one_of(
    st.text(max_size=14),
    st.sampled_from([region.code.ljust(12, "0") for region in DEQING]),
    st.from_regex(r"\A33(0521)?[0-9]{6,10}\Z"),
)
PAIR = st.tuples(st.floats(29, 32) | st.floats(), st.floats(118, 122) | st.floats())
AREAS = st.builds(
    Area,
    description=DESCRIPTIONS,
    polygons=st.lists(st.lists(PAIR, max_size=6).map(tuple), max_size=2).map(tuple),
    circles=st.lists(
        st.builds(Circle, st.floats(29, 32) | st.floats(), st.floats(118, 122), st.floats(0, 50) | st.floats()), max_size=2
    ).map(tuple),
    geocodes=st.lists(st.builds(Geocode, CODES), max_size=5).map(tuple),
)
SYSTEMS = st.sampled_from([None, *CodeSystem])


@settings(deadline=None)
@given(st.lists(AREAS, max_size=3), SYSTEMS)
def test_any_area_is_read_without_an_error_into_a_minimal_cover(areas, system):
    coverage = cover(alert(*areas), DEQING, system)
    assert coverage.regions == DEQING.closure(coverage.roots)
    assert ("330521" in coverage.regions) == coverage.resolved == bool(coverage.regions)
    assert list(coverage.roots) == sorted(coverage.roots)
    assert coverage.roots == DEQING.roots(coverage.roots)
    for root in coverage.roots:
        assert not set(DEQING.above(root)) & set(coverage.roots)
    assert coverage.resolved or coverage.needs_a_person


UNPLACED = st.text(alphabet=st.characters(exclude_characters="县市省全德清湖州浙江", codec="utf-8"))


@settings(deadline=None)
@given(UNPLACED, st.lists(st.from_regex(r"\A(330521[6-9][0-9]{5}|3306[0-9]{8}|[0-9]{1,5})\Z"), max_size=4), SYSTEMS)
def test_what_cannot_be_resolved_never_covers_the_county(description, codes, system):
    assert "330521" not in covered(description, ",".join(codes), system).roots


@settings(deadline=None)
@given(st.sets(st.sampled_from([region.code for region in DEQING if region.tier is not Tier.COUNTY]), min_size=1), SYSTEMS)
def test_a_place_whose_code_and_name_are_given_is_always_warned(codes, system):
    description = "、".join(DEQING[code].name for code in sorted(codes))
    coverage = covered(description, ",".join(code.ljust(12, "0") for code in sorted(codes)), system)
    assert coverage.regions >= codes
    if system is CodeSystem.NBS:
        assert coverage.regions == DEQING.closure(codes)


def test_a_hostile_list_of_codes_and_words_is_read_in_time_and_told_in_few_words():
    codes = ",".join(f"330521{n:06d}" for n in range(0, 200_000, 7))
    words = "等乡镇" * 20_000 + "x" + "和" * 50_000 + "武康" * 20_000
    before = time.monotonic()
    coverage = covered(words, codes)
    assert time.monotonic() - before < 10
    assert len(coverage.findings) < 100
    assert all(len(finding.text) < 800 for finding in coverage.findings)
