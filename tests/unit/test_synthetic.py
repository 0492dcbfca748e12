"""The synthetic county: its true size, its determinism, and that nobody in it is real."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from broadcast.errors import InvalidFiles
from broadcast.resources import EXAMPLES
from broadcast.tiers import regions as county
from broadcast.tiers import roster, synthetic
from broadcast.tiers.regions import Regions, Tier

FILES = county.read(EXAMPLES / "deqing" / "regions")
DEQING = Regions.load(FILES)
POPULATION = FILES["population.csv"]
ROLES = roster.load_roles((EXAMPLES / "deqing" / "roles.csv").read_text(encoding="utf-8"))


def written(folder: Path, size: synthetic.Size, seed: int = 1) -> dict[str, bytes]:
    synthetic.write(folder, DEQING, POPULATION, size, seed)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> roster.Roster:
    folder = tmp_path_factory.mktemp("L")
    synthetic.write(folder, DEQING, POPULATION, "L", 1)
    return roster.read(folder, DEQING, ROLES)


@pytest.mark.parametrize("size", ["S", "M"])
def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path, size):
    first = written(tmp_path / "one", size)
    assert first == written(tmp_path / "two", size)
    other = written(tmp_path / "three", size, seed=2)
    assert first["people.csv"] != other["people.csv"]


def test_the_large_county_has_the_counts_of_the_real_one(large):
    holders = Counter(post.role for post in large.posts if post.rank == "A")
    assert 8_000 <= len(large.persons) <= 8_400
    assert (holders["TOWN_LEAD"], holders["VILLAGE_HEAD"]) == (177, 177)
    assert (holders["GRID_HEAD"], holders["GRID_WORKER"], holders["MICROGRID_HEAD"]) == (716, 716, 3770)
    above = {post.person_id for post in large.posts if len(post.region) < 12}
    assert 100 <= len(above) <= 130
    assert sum(place.channel == "speaker" and not place.test for place in large.places) == 177


def test_every_village_has_13_to_22_responsible_persons(large):
    grids = {"GRID_HEAD", "GRID_WORKER", "MICROGRID_HEAD", "TOWN_LEAD"}
    counts = Counter(
        post.region for post in large.posts if len(post.region) == 12 and post.rank == "A" and post.role not in grids
    )
    assert len(counts) == 177
    assert 13 <= min(counts.values()) <= max(counts.values()) <= 22
    assert 2_750 <= sum(counts.values()) <= 3_050


def test_nobody_in_it_is_real(large):
    phones = [person.phone for person in large.persons if person.phone] + [
        p.address for p in large.places if p.channel in ("sms", "voice")
    ]
    assert all(person.synthetic and "测" in person.name for person in large.persons)
    assert all(place.synthetic for place in large.places)
    assert all(phone.startswith(("+86154", "+86194")) for phone in phones)
    assert len(set(phones)) == len(phones)
    assert {phone[3:6] for phone in phones} == {"154", "194"}


def test_it_is_complete_save_for_the_few_without_a_phone(large):
    told = [problem.message for problem in large.problems]
    assert not any("vacant" in message or "more than" in message for message in told)
    without = sum(not person.phone for person in large.persons)
    assert 0.002 < without / len(large.persons) < 0.01


def test_some_persons_hold_several_posts_and_principals_have_a_deputy(large):
    posts = Counter(post.person_id for post in large.posts)
    assert max(posts.values()) >= 3
    for role in ("VILLAGE_HEAD", "EVAC_LEAD"):
        deputies = {post.region for post in large.posts if post.role == role and post.rank == "B"}
        assert len(deputies) == 177
    assert {post.rank for post in large.posts if post.role == "DEPT_WATER"} == {"A", "B"}


def test_there_are_registered_test_targets_in_every_town(large):
    tests = {(place.region, place.channel) for place in large.places if place.test}
    towns = [region.code for region in DEQING if region.tier is Tier.TOWN]
    assert tests == {(town, channel) for town in towns for channel in ("speaker", "sms", "voice")}


def test_flash_flood_warners_stand_where_the_risk_is(large):
    villages = {post.region for post in large.posts if post.role == "FLASHFLOOD_WARNER"}
    assert villages == {region.code for region in DEQING if region.tier is Tier.VILLAGE and "山洪" in region.risk}


def test_the_small_sizes_are_one_town_and_the_posts_without_grids(tmp_path):
    synthetic.write(tmp_path / "S", DEQING, POPULATION, "S", 1)
    small = roster.read(tmp_path / "S", DEQING, ROLES)
    assert {post.region[:9] for post in small.posts} == {"330521", "330521115"}
    assert any(post.role == "MICROGRID_HEAD" for post in small.posts)
    synthetic.write(tmp_path / "M", DEQING, POPULATION, "M", 1)
    medium = roster.read(tmp_path / "M", DEQING, ROLES)
    assert not any(post.role in ("GRID_HEAD", "GRID_WORKER", "MICROGRID_HEAD") for post in medium.posts)
    assert len({post.region for post in medium.posts}) == 191


def test_the_largest_size_has_one_number_for_every_resident_and_is_never_held(tmp_path):
    tracemalloc.start()
    try:
        summary = synthetic.write(tmp_path, DEQING, POPULATION, "XL", 1)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    assert summary.residents == 557_000
    people = (tmp_path / "people.csv").read_text(encoding="utf-8").splitlines()[1:]
    residents = (tmp_path / "residents.csv").read_text(encoding="utf-8").splitlines()[1:]
    numbers = {line.split(",")[2] for line in (*people, *residents)} - {""}
    assert len(numbers) == 557_000 + sum(bool(line.split(",")[2]) for line in people)
    assert {line.split(",")[0] for line in residents} == {region.code for region in DEQING if region.tier is Tier.VILLAGE}
    synthetic.write(tmp_path, DEQING, POPULATION, "S", 1)
    assert not (tmp_path / "residents.csv").exists()  # a smaller size leaves nothing of a larger one behind


def test_a_population_without_a_town_is_refused(tmp_path):
    short = "\n".join(line for line in POPULATION.splitlines() if "禹越镇" not in line)
    with pytest.raises(InvalidFiles, match=r"population.csv:0: error: no residents and households for 禹越镇"):
        synthetic.write(tmp_path, DEQING, short, "S", 1)
