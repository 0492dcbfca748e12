"""The county's tree: what the files say, and which region a code or a name means."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest

from broadcast.errors import InvalidFiles, NotFound
from broadcast.resources import EXAMPLES
from broadcast.tiers.regions import CodeSystem, Regions, Tier, read

FILES = read(EXAMPLES / "deqing" / "regions")
DEQING = Regions.load(FILES)
SHARED = Path(os.environ.get("BROADCAST_SHARED", Path(__file__).parents[3] / "shared"))


def test_the_county_has_13_towns_and_177_villages():
    tiers = [region.tier for region in DEQING]
    assert (tiers.count(Tier.COUNTY), tiers.count(Tier.TOWN), tiers.count(Tier.VILLAGE)) == (1, 13, 177)
    assert len(DEQING) == 191
    assert [region.code for region in DEQING] == sorted(region.code for region in DEQING)


def test_the_tree_is_walked_up_and_down():
    assert DEQING.above("330521115201") == ("330521", "330521115")
    assert DEQING.above("330521") == ()
    assert len(DEQING.below("330521115")) == 21
    assert DEQING.town_of("330521115201").name == "莫干山镇"
    assert DEQING.town_of("330521115").name == "莫干山镇"
    assert DEQING.town_of("330521") is None
    assert next(region.code for region in DEQING.children("330521")) == "330521001"


def test_a_closure_holds_all_above_and_all_below():
    assert DEQING.closure(["330521115201"]) == {"330521", "330521115", "330521115201"}
    assert len(DEQING.closure(["330521115"])) == 22
    assert DEQING.closure([]) == frozenset()


def test_roots_drop_what_another_covers_and_join_a_whole_set_of_children():
    villages = [region.code for region in DEQING.children("330521005")]
    assert DEQING.roots(villages) == ("330521005",)
    assert DEQING.roots(villages[1:]) == tuple(villages[1:])
    assert DEQING.roots(["330521115", "330521115201"]) == ("330521115",)


def test_an_unknown_code_is_not_found_and_the_error_names_the_county():
    with pytest.raises(NotFound, match="德清县"):
        DEQING["330521999"]
    assert "330521999" not in DEQING


@pytest.mark.parametrize("value", ["330521115", "330521115000", " 330521115000 ", "３３０５２１１１５"])
def test_a_town_code_may_end_in_zeros(value):
    assert DEQING.by_code(value, CodeSystem.NBS) == "330521115"


@pytest.mark.parametrize("value", ["", "33052", "3305211150", "330522", "330521115999", "330521115000 1", "x30521115000"])
def test_what_is_no_code_of_the_county_means_nothing(value):
    assert DEQING.by_code(value, CodeSystem.NBS) is None
    assert DEQING.by_code(value, CodeSystem.MCA) is None


def test_the_same_code_is_another_town_in_the_other_system():
    assert DEQING["330521113"].name == "禹越镇"
    assert DEQING[DEQING.by_code("330521113000", CodeSystem.MCA)].name == "钟管镇"
    assert DEQING.by_code("330521000000", CodeSystem.MCA) == DEQING.by_code("330521", CodeSystem.NBS) == "330521"


def test_only_four_towns_share_their_code_and_seven_mca_codes_are_another_town():
    towns = [region.code for region in DEQING if region.tier is Tier.TOWN]
    mca_of = {
        DEQING.by_code(row["mca"], CodeSystem.MCA): row["mca"] for row in csv.DictReader(io.StringIO(FILES["town_codes.csv"]))
    }
    assert sorted(mca_of) == towns
    assert sum(mca_of[code] == code for code in towns) == 4
    others = [mca for code, mca in mca_of.items() if mca != code and mca in DEQING]
    assert len(others) == 7


@pytest.mark.parametrize("name", ["东安村", "子思桥村", "王公郎村", "石泉村", "舍渭村", "东安", "舍渭"])
def test_the_five_villages_of_no_list_still_mean_their_town(name):
    assert [DEQING[code].name for code in DEQING.by_name(name)] == ["新市镇"]


def test_a_village_name_that_exists_twice_means_both():
    assert DEQING.by_name("城西村") == ("330521001201", "330521102208")
    assert DEQING.by_name("新市镇城西村") == ("330521102208",)
    assert DEQING.by_name("浙江省湖州市德清县武康街道城西村") == ("330521001201",)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("武康", "330521001"),
        ("德清县武康", "330521001"),
        ("莫干山", "330521115"),  # also a community in the town: the outer one
        ("德清县莫干山", "330521115"),
        ("高桥村", "330521113217"),  # not 下高桥村
        ("高桥镇", "330521113"),
        ("下渚湖镇", "330521004"),
        ("德清", "330521"),
        ("全县", "330521"),
        (" 钟管　镇 ", "330521104"),
        ("燎原村村民委员会", "330521115201"),
        ("燎原村委会", "330521115201"),
        ("何村村委会", "330521115203"),
        ("居仁社区居民委员会", "330521001001"),
    ],
)
def test_exact_names_short_names_and_aliases_are_read(name, code):
    assert DEQING.by_name(name) == (code,)


@pytest.mark.parametrize("name", ["", "村", "高", "桥村", "莫干山镇燎", "莫干", "西部山区", "武康街道莫干山镇", "武" * 10_000])
def test_no_part_of_a_name_is_ever_matched(name):
    assert DEQING.by_name(name) == ()


def test_a_former_town_means_all_that_became_of_it():
    assert [DEQING[code].name for code in DEQING.by_name("武康镇")] == ["武康街道", "舞阳街道", "阜溪街道"]


def test_an_overlay_means_its_members():
    members = DEQING.by_name("高新区")
    assert members == DEQING.by_name("湖州莫干山高新技术产业开发区")
    assert {DEQING.town_of(code).name for code in members} == {"康乾街道", "阜溪街道"}
    assert DEQING.overlay("莫干山高新区") == "高新区"
    assert DEQING.is_unverified("高新区")
    assert DEQING.overlay("武康街道") is None


@pytest.mark.parametrize(
    ("retired", "now"),
    [
        ("330521003208", "五四村"),
        ("330521003204", "秋山村"),
        ("330521115209", "北湖村"),
        ("330521110211", "水产社区"),
        ("330521105000", "莫干山镇"),
    ],
)
def test_a_retired_code_leads_to_where_its_region_is_now(retired, now):
    assert [DEQING[code].name for code in DEQING.moved(retired)] == [now]
    assert DEQING.by_code(retired, CodeSystem.NBS) is None


def test_every_retired_code_of_the_history_leads_somewhere():
    codes = {row["code"] for row in csv.DictReader(io.StringIO(FILES["history.csv"]))}
    assert [code for code in codes if code not in DEQING and not DEQING.moved(code)] == []
    assert DEQING.moved("330521999999") == ()


def test_a_village_inherits_its_towns_risk():
    assert DEQING["330521115201"].risk >= {"山洪", "地质灾害"}
    assert "山洪" in DEQING["330521003203"].risk
    assert "山洪" not in DEQING["330521003"].risk
    assert DEQING["330521102208"].risk == {"台风洪涝易发"}


def test_points_are_latitude_then_longitude_and_estimates_carry_their_error():
    latitude, longitude = DEQING["330521115"].point
    assert 30 < latitude < 31 < 119 < longitude < 121
    assert DEQING["330521115"].point_error_km == 0
    assert DEQING["330521005"].point_error_km == 4
    assert DEQING["330521005"].area_km2 is None


# --- files that are wrong


def problems(**files: str) -> list[str]:
    tree = "code,parent,name,tier\n330521,,德清县,county\n330521001,330521,武康街道,subdistrict\n"
    with pytest.raises(InvalidFiles) as refused:
        Regions.load({"regions.csv": tree} | {name.replace("__", "."): text for name, text in files.items()})
    return [str(problem) for problem in refused.value.problems]


def test_every_mistake_in_the_tree_is_named_by_file_and_line():
    text = (
        "code,parent,name,tier\n"
        "330521,,德清县,county\n"
        "330521001,330521,武康街道,street\n"
        "33052100,330521,武康街道,town\n"
        "330521002,330521,,town\n"
        "330521003,330521,阜溪街道,town\n"
        "330521003,330521,阜溪街道,town\n"
        "330521004001,330521004,封愚居委会,community\n"
    )
    found = problems(regions__csv=text)
    assert [line.split(":")[1] for line in found] == ["3", "4", "5", "7", "8"]
    assert all(line.startswith("regions.csv:") for line in found)


def test_files_that_speak_of_unknown_regions_are_refused_together():
    found = problems(
        aliases__csv="code,alias,kind\n330521002,武康,short\n",
        risk__csv="region,tag\n330521001,山洪\n3.30521E+11,山洪\n",
        overlays__csv="name,member,verified\n高新区,330521009,1\n",
        population__csv="code,area_km2,residents,households\n330521001,wide,1,1\n",
        town_codes__csv="nbs,mca\n330521001,33052100\n",
        towns__geojson='{"type":"FeatureCollection","features":[{"properties":{"code":"330521001"},"geometry":{"type":"Point","coordinates":[30.5,119.9]}}]}',
    )
    assert [line.split(": ")[0] for line in found] == [
        "aliases.csv:2",
        "overlays.csv:2",
        "population.csv:2",
        "risk.csv:3",
        "town_codes.csv:2",
        "towns.geojson:0",
    ]
    assert "spreadsheet" in found[3]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"features": 7}', '{"features": [null, {}, {"properties": {"code": "330521001"}}]}']
)
def test_a_broken_geojson_is_refused(text):
    assert all(line.startswith("towns.geojson:") for line in problems(towns__geojson=text))


def test_a_folder_without_regions_or_with_an_unknown_table_is_refused():
    with pytest.raises(InvalidFiles, match=r"regions.csv:0: error: the file is missing"):
        Regions.load({"README.md": "# hello"})
    assert problems(region__csv="code\n")[0].startswith("region.csv:0: error: not a file of regions")
    assert problems(regions__csv="")[0].startswith("regions.csv")
    assert problems(regions__csv="code,name\n330521,德清县\n")[0].startswith(
        "regions.csv:1: error: column parent, tier is missing"
    )


def test_a_table_saved_as_gbk_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "regions.csv").write_bytes("code,parent,name,tier\n330521,,德清县,county\n".encode("gbk"))
    with pytest.raises(InvalidFiles, match=r"regions.csv:2: error: .*CSV UTF-8"):
        read(tmp_path)


@pytest.mark.skipif(not (SHARED / "data" / "deqing.csv").is_file(), reason="the shared data are not here")
def test_the_example_is_the_shared_list_of_regions():
    rows = list(csv.DictReader((SHARED / "data" / "deqing.csv").open(encoding="utf-8")))
    assert {(row["code"], row["name"]) for row in rows} == {(region.code, region.name) for region in DEQING}
    crosswalk = csv.DictReader((SHARED / "data" / "town_code_crosswalk.csv").open(encoding="utf-8"))
    assert all(DEQING.by_code(row["mca9_20251231"], CodeSystem.MCA) == row["nbs9_2023"] for row in crosswalk)
