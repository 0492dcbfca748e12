"""The roster's files: what is refused, what is only warned of, and what an import would change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broadcast.errors import InvalidFiles
from broadcast.resources import EXAMPLES
from broadcast.tiers import regions as county
from broadcast.tiers import roster
from broadcast.tiers.phones import mask_within, parse_phone
from broadcast.tiers.regions import Regions
from broadcast.tiers.roster import Person, Place, Post, Resident, Roster, diff, load_roles, mask

DEQING = Regions.load(county.read(EXAMPLES / "deqing" / "regions"))
ROLES = load_roles((EXAMPLES / "deqing" / "roles.csv").read_text(encoding="utf-8"))
# Only what a test is about should be said in it: without required roles a roster of one person has no vacancies.
NO_VACANCIES = {code: replace(role, required=False) for code, role in ROLES.items()}
HEADERS = {name: ",".join(columns) + "\n" for name, columns in roster.COLUMNS.items()}
PERSON = "P1,沈测一,15400000001,sim:zwdd:P1,,1,0\n"
POST = "P1,VILLAGE_HEAD,330521115201,A\n"


def load(folder: Path, roles=NO_VACANCIES, **files: str) -> Roster:
    contents = {"people": PERSON, "posts": POST} | files
    for name, text in contents.items():
        (folder / f"{name}.csv").write_text(HEADERS[f"{name}.csv"] + text, encoding="utf-8")
    return roster.read(folder, DEQING, roles)


def errors(folder: Path, **files: str) -> list[str]:
    with pytest.raises(InvalidFiles) as refused:
        load(folder, **files)
    return [str(problem) for problem in refused.value.problems if problem.severity == "error"]


def warnings(loaded: Roster) -> list[str]:
    assert all(problem.severity == "warning" for problem in loaded.problems)
    return [
        f"{problem.file}:{problem.line}: {problem.message}"
        for problem in loaded.problems
        if "as they should be" not in problem.message
    ]


# --- what is read


def test_a_small_roster_is_read_with_numbers_in_e164(tmp_path):
    loaded = load(
        tmp_path,
        people=PERSON + "P2,王测二,+86 138-1234-0002,,sim:grid:P2,1,1\n",
        posts=POST + "P2,VILLAGE_HEAD,330521115201,B\nP2,TOWN_FIRST,330521115000,\n",
        places="330521115201,speaker,sim:speaker:330521115201,1,0\n330521115,sms,19400000001,1,1\n",
        residents="330521115201,330521115201-01,15400000009,1\n",
    )
    assert loaded.persons[0] == Person("P1", "沈测一", True, "+8615400000001", "sim:zwdd:P1", "", False)
    assert (loaded.persons[1].phone, loaded.persons[1].test) == ("+8613812340002", True)
    assert loaded.posts[1:] == (Post("P2", "VILLAGE_HEAD", "330521115201", "B"), Post("P2", "TOWN_FIRST", "330521115", "A"))
    assert loaded.places[1] == Place("330521115", "sms", "+8619400000001", True, True)
    assert (
        list(loaded.residents())
        == list(loaded.residents())
        == [Resident("330521115201", "330521115201-01", "+8615400000009", True)]
    )
    assert loaded.resident_count == 1
    assert warnings(loaded) == []


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path):
    (tmp_path / "people.csv").write_text("\ufeff" + HEADERS["people.csv"] + "\n,,,,,,\n" + PERSON, encoding="utf-8")
    (tmp_path / "posts.csv").write_text(HEADERS["posts.csv"] + POST, encoding="utf-8")
    assert len(roster.read(tmp_path, DEQING, NO_VACANCIES).persons) == 1


def test_no_repr_shows_a_name_or_an_address(tmp_path):
    loaded = load(tmp_path, places="330521115,sms,19400000001,1,1\n", residents="330521115201,g,15400000009,1\n")
    shown = repr(loaded.persons) + repr(loaded.places) + repr(list(loaded.residents())) + repr(parse_phone("15400000009"))
    assert not any(secret in shown for secret in ("沈测一", "0000001", "0000009", "sim:zwdd"))


# --- what is refused

WRONG = {
    "people": (
        PERSON
        + "P1,王测二,15400000002,,,1,0\n"  # 3: the same id again
        + "P3,王测三,1540000,,,1,0\n"  # 4: too short
        + "P4,王测四,1.54E+10,,,1,0\n"  # 5: what a spreadsheet makes of it
        + "P5,王测五,15400000005,,,yes,0\n"  # 6: not 0 or 1
        + ",王测六,15400000006,,,1,0\n"  # 7: no id
        + "P7,,15400000007,,,1,0\n"  # 8: no name
        + "P8,王测八,15400000008,1,0\n"  # 9: cells missing
        + "15412340002,王测九,15400000009,,,1,0\n"  # 10: a phone number as id
    ),
    "posts": (
        POST
        + POST  # 3: the same post again
        + "P9,VILLAGE_HEAD,330521115202,A\n"  # 4: no such person
        + "P1,MAYOR,330521115202,A\n"  # 5: no such role
        + "P1,VILLAGE_HEAD,330521003208,A\n"  # 6: retired, 五四村 is now 330521115220
        + "P1,VILLAGE_HEAD,330521115999,A\n"  # 7: no such region
        + "P1,VILLAGE_HEAD,330521115202,C\n"  # 8: no such rank
        + "P1,VILLAGE_HEAD,330521115,A\n"  # 9: a town
        + "P1,VILLAGE_HEAD,3.30521E+11,A\n"  # 10: spreadsheet
    ),
    "places": (
        "330521115201,telegraph,x,1,0\n"  # 2: no such channel
        "330521115201,speaker,,1,0\n"  # 3: no address
        "330521115201,sms,12,1,0\n"  # 4: no phone
        "330521115201,speaker,s1,1,0\n"
        "330521115201,speaker,s1,1,0\n"  # 6: twice
    ),
    "residents": (
        "330521115,g,15400000009,1\n"  # 2: a town
        "330521115201,g,123,1\n"  # 3: no phone
        "330521115999,g,15400000009,1\n"  # 4: no such region
    ),
}


def test_every_error_of_every_file_is_told_at_once_by_file_and_line(tmp_path):
    places = [problem.split(": ")[0] for problem in errors(tmp_path, **WRONG)]
    assert places == [
        *(f"people.csv:{line}" for line in range(3, 11)),
        *(f"places.csv:{line}" for line in (2, 3, 4, 6)),
        *(f"posts.csv:{line}" for line in range(3, 11)),
        *(f"residents.csv:{line}" for line in (2, 3, 4)),
    ]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("people.csv:3", "P1 stands here twice"),
        ("people.csv:4", "phone ****"),
        ("people.csv:5", "spreadsheet"),
        ("people.csv:9", "5 cells where the header names 7"),
        ("people.csv:10", "use another id"),
        ("posts.csv:6", "retired code: write 330521115220 (五四村)"),
        ("posts.csv:8", "A (holder) or B (deputy)"),
        ("posts.csv:9", "a town; VILLAGE_HEAD is held for a village"),
        ("posts.csv:10", "spreadsheet"),
        ("places.csv:2", "speaker, sms, voice, zwdd, grid, feed"),
        ("residents.csv:2", "belongs to a village"),
    ],
)
def test_an_error_says_what_is_wrong_and_what_to_do(tmp_path, place, says):
    assert says in next(problem for problem in errors(tmp_path, **WRONG) if problem.startswith(place + ":"))


def test_no_problem_ever_shows_a_phone_number(tmp_path):
    shifted = "15412340002,VILLAGE_HEAD,330521115201,A\nP1,15412340002,330521115201,A\nP1,VILLAGE_HEAD,15412340002,A\n"
    told = errors(
        tmp_path, people=PERSON + "P2,王测二,154123400021,,,1,0\n", posts=shifted, places="330521115,15412340002,x,1,0\n"
    )
    assert len(told) == 5
    assert not any("1541234" in problem or "15400000001" in problem for problem in told)


def test_missing_files_and_columns_are_named(tmp_path):
    with pytest.raises(InvalidFiles, match=r"people.csv:0: error: the file is missing"):
        roster.read(tmp_path, DEQING, ROLES)
    (tmp_path / "people.csv").write_text("person_id,phone\nP1,15400000001\n", encoding="utf-8")
    (tmp_path / "posts.csv").write_text("", encoding="utf-8")
    with pytest.raises(InvalidFiles) as refused:
        roster.read(tmp_path, DEQING, ROLES)
    assert "people.csv:1: error: column name, zwdd, grid, synthetic, test is missing" in str(refused.value)
    assert "posts.csv:0: error: the file is empty" in str(refused.value)


def test_a_gbk_file_is_refused_with_the_line_and_what_to_do(tmp_path):
    load(tmp_path)
    (tmp_path / "people.csv").write_bytes((HEADERS["people.csv"] + PERSON).encode("gbk"))
    with pytest.raises(InvalidFiles, match=r"people.csv:2: error: .*not UTF-8.*CSV UTF-8"):
        roster.read(tmp_path, DEQING, NO_VACANCIES)


def test_a_file_that_is_wrong_in_every_line_is_told_in_a_thousand_and_a_number(tmp_path):
    told = errors(tmp_path, residents="330521115201,g,123,1\n" * 3000)
    assert len(told) == 1001
    assert told[-1].endswith("and 2000 more problems in this file")


def test_residents_that_were_changed_after_the_check_are_refused_and_not_passed_over(tmp_path):
    loaded = load(tmp_path, residents="330521115201,g,15400000009,1\n")
    (tmp_path / "residents.csv").write_text(HEADERS["residents.csv"] + "330521115201,g,1,1\n", encoding="utf-8")
    with pytest.raises(InvalidFiles):
        list(loaded.residents())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path, noise):
    load(tmp_path)
    (tmp_path / "people.csv").write_bytes(HEADERS["people.csv"].encode() + noise)
    try:
        found = roster.read(tmp_path, DEQING, NO_VACANCIES).problems
    except InvalidFiles as refused:
        found = refused.problems
    assert all(problem.file.endswith(".csv") for problem in found)


# --- what is only warned of


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("P2,王二,15400000002,,,1,0\n", "should contain 测"),
        ("P2,王二,15400000002,,,0,0\n", "154****0002 is of those that begin with 154 or 194"),
        ("P2,王二,160" + "00000002,,,0,0\n", "160****0002 is of those that are possible but not valid"),
        ("P2,王二,0572-8062345,,,0,0\n", "landlines"),
        ("P2,王测二,,,,1,0\n", "nothing can reach them"),
    ],
)
def test_a_doubtful_person_is_warned_of_and_kept(tmp_path, line, says):
    loaded = load(tmp_path, people=PERSON + line)
    assert len(loaded.persons) == 2
    assert any(warning.startswith("people.csv:3: ") and says in warning for warning in warnings(loaded))


def test_a_vacant_post_and_two_holders_of_one_post_are_warned_of(tmp_path):
    loaded = load(
        tmp_path,
        roles=ROLES,
        people=PERSON + PERSON.replace("P1", "P2").replace("0001", "0002"),
        posts=POST + POST.replace("P1", "P2"),
    )
    told = warnings(loaded)
    assert any("VILLAGE_HEAD has more than 1 of rank A" in warning and "燎原村 (330521115201)" in warning for warning in told)
    assert any("VILLAGE_HEAD is vacant" in warning and "in 176 regions" in warning for warning in told)
    assert not any("TOWN_STAFF" in warning for warning in told)


def test_a_deputy_does_not_crowd_a_post_and_does_not_fill_it(tmp_path):
    two = PERSON + PERSON.replace("P1", "P2").replace("0001", "0002")
    assert warnings(load(tmp_path, people=two, posts=POST + "P2,VILLAGE_HEAD,330521115201,B\n")) == []
    vacant = load(tmp_path, roles={"VILLAGE_HEAD": ROLES["VILLAGE_HEAD"]}, posts="P1,VILLAGE_HEAD,330521115201,B\n")
    assert any("in 177 regions" in warning for warning in warnings(vacant))


# --- phones


@pytest.mark.parametrize(
    ("phone", "shown"),
    [
        ("+8613812340002", "138****0002"),
        ("15412340002", "154****0002"),
        ("+1" + "4155550123", "+14****0123"),
        ("110", "****"),
        ("", ""),
    ],
)
def test_a_number_is_masked(phone, shown):
    assert mask(phone) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P00001",
        "110",
        "8012345",
        "1540000000",
        "154000000011",
        "1540000000x",
        "+",
        "１５４０００００００１",
        "138 1234 0002 or 139",
    ],
)
def test_what_is_no_number_is_none(text):
    assert parse_phone(text) is None


@given(st.from_regex(r"\A1[0-9]{10}\Z"))
@example("11000002100")  # read as a way to dial abroad, and then as no country
def test_the_quick_way_judges_a_mobile_number_as_the_library_does(text):
    read = parse_phone(text)
    try:
        number = phonenumbers.parse(text, "CN")
    except phonenumbers.NumberParseException:
        assert read is None
        return
    possible = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    itself = number.national_number == int(text)  # 1125… is read as a carrier's code and a shorter number
    assert (read is not None) == (possible and (itself or phonenumbers.is_valid_number(number)))
    if read:
        assert read.e164 == phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        assert read.valid == phonenumbers.is_valid_number(number)


def test_a_number_inside_a_text_is_masked_and_a_region_code_is_not():
    assert mask_within("x 15412340002, +86 154-1234-0002; 330521115201") == "x 154****0002, 154****0002; 330521115201"


# --- roles


def test_the_roles_of_the_county_are_read():
    assert len(ROLES) == 38
    assert (ROLES["VILLAGE_HEAD"].tier, ROLES["VILLAGE_HEAD"].per, ROLES["VILLAGE_HEAD"].count) == ("village", "village", 1)
    assert (ROLES["TOWN_LEAD"].tier, ROLES["TOWN_LEAD"].per) == ("town", "village")
    assert ROLES["GRID_HEAD"].zh == "网格长"
    assert ROLES["DUTY_OFFICER"].required


def test_roles_that_are_wrong_are_refused_by_line():
    with pytest.raises(InvalidFiles) as refused:
        load_roles("code,tier,zh,count\nA,street,甲,1\nB,town,乙,some\nB,town,乙,1\n,town,丙,1\n")
    assert sorted({problem.line for problem in refused.value.problems}) == [2, 3, 4, 5]


# --- what an import would change


def test_a_first_import_adds_everything(tmp_path):
    changes = diff(None, load(tmp_path, places="330521115,sms,19400000001,1,1\n", residents="330521115201,g,15400000009,1\n"))
    assert [(change.kind, change.what) for change in changes.changes] == [
        ("added", "person"),
        ("added", "post"),
        ("added", "place"),
    ]
    assert changes.residents == 1


def test_a_second_import_shows_what_changes_without_a_name_or_a_number(tmp_path):
    before = load(tmp_path, people=PERSON + "P2,王测二,15400000002,,,1,0\n", places="330521115,sms,19400000001,1,1\n")
    after = load(
        tmp_path,
        people=PERSON.replace("15400000001", "15400000003") + "P3,王测三,15400000004,,,1,0\n",
        posts="P1,VILLAGE_HEAD,330521115201,B\n",
        places="330521115,sms,19400000001,1,0\n",
    )
    changes = diff((before.persons, before.posts, before.places), after)
    shown = {(change.kind, change.what): change.text for change in changes.changes}
    assert shown == {
        ("removed", "person"): "P2 154****0002",
        ("added", "person"): "P3 154****0004",
        ("changed", "person"): "P1: phone 154****0001 → 154****0003",
        ("changed", "post"): "VILLAGE_HEAD 330521115201 P1 A → B",
        ("changed", "place"): "sms 330521115 194****0001: synthetic or test",
    }
    assert changes.count("added", "person") == 1
    assert changes.count("added", "post") == 0


def test_the_same_roster_again_changes_nothing(tmp_path):
    loaded = load(tmp_path)
    assert diff((loaded.persons, loaded.posts, loaded.places), loaded).changes == ()
