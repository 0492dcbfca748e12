"""六问, the pure part: who is drawn, what an answer is, where it contradicts the ledger, what many come to."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broadcast.delivery import State
from broadcast.errors import InvalidFiles
from broadcast.resources import EXAMPLES
from broadcast.spotcheck import (
    NOT_ASKED,
    NOT_KNOWN,
    Acknowledged,
    AnswerType,
    Evidence,
    Member,
    Question,
    Rate,
    Sheet,
    Told,
    as_of,
    compare,
    draw,
    frame_digest,
    frame_text,
    kept,
    passed,
    rank,
    read,
    score,
    understood,
    wilson,
)

SHIPPED = EXAMPLES / "deqing" / "spotcheck.toml"
AT = datetime(2023, 7, 4, 22, 35, tzinfo=UTC)

towns = st.sampled_from(["330521", "330521001", "330521102", "330521115"])
frames = st.lists(
    st.builds(Member, towns, st.text("PG0123456789", min_size=1, max_size=6)), min_size=1, max_size=60, unique_by=lambda m: m.key
)


# --- the draw


@given(frames, st.integers(1, 80), st.integers(0, 2**63 - 1), st.sampled_from(["town", "none"]))
def test_a_sample_is_of_the_frame_each_person_once_and_as_many_as_were_asked_for(frame, size, seed, by):
    sample = draw(frame, size, seed, by)
    drawn = [one.member for one in sample.drawn]
    assert len(drawn) == min(size, len(frame)) == sum(sample.seats.values())
    assert len(set(drawn)) == len(drawn) and set(drawn) <= set(frame)


@given(frames, st.integers(1, 80), st.integers(0, 99), st.randoms())
def test_the_order_of_the_frame_does_not_matter(frame, size, seed, random):
    shuffled = list(frame)
    random.shuffle(shuffled)
    assert draw(frame, size, seed) == draw(shuffled, size, seed)


@given(frames, st.integers(1, 80), st.integers(0, 99))
def test_every_town_that_has_somebody_gets_one_while_there_are_seats_and_the_rest_goes_in_proportion(frame, size, seed):
    of_town: dict[str, int] = {}
    for one in frame:
        of_town[one.town] = of_town.get(one.town, 0) + 1
    seats = draw(frame, size, seed).seats
    assert all(0 <= seats[town] <= persons for town, persons in of_town.items())
    if size < len(of_town):
        assert sorted(seats.values()) == [0] * (len(of_town) - size) + [1] * size
    elif size < len(frame):
        rest, left = size - len(of_town), len(frame) - len(of_town)
        for town, persons in of_town.items():
            fair = 1 + rest * (persons - 1) / left
            assert fair - 1 < seats[town] < fair + 1 and seats[town] >= 1


@given(frames, st.integers(1, 30), st.integers(0, 99))
def test_a_sample_can_be_redone_by_hand_with_nothing_but_sha256(frame, size, seed):
    sample = draw(frame, size, seed, "none")
    by_hand = sorted((hashlib.sha256(f"{seed}\n{one.key}".encode()).hexdigest(), one.key) for one in frame)[:size]
    assert [(one.rank, one.member.key) for one in sample.drawn] == by_hand


def test_the_draw_of_a_small_frame_is_known_so_that_any_machine_can_be_held_against_it():
    """Pinned: a change of the procedure would make every earlier draw unrepeatable."""
    frame = [Member(town, f"P{n:05d}") for n, town in enumerate(["330521001"] * 7 + ["330521102"] * 3 + ["330521115"])]
    sample = draw(frame, 5, 41526)
    assert sample.seats == {"330521001": 3, "330521102": 1, "330521115": 1}
    assert [one.member.key for one in sample.drawn] == ["P00002", "P00003", "P00005", "P00008", "P00010"]
    assert sample.digest == "e3c84a94a4c29f7b6c178f0f83b5db9fc4c523a374f9800431fdd8bedabe7da2"
    assert rank(41526, "P00003") == hashlib.sha256(b"41526\nP00003").hexdigest()


@given(frames, st.integers(1, 20), st.integers(0, 99))
def test_the_digest_is_over_what_is_printed_and_changes_with_everything_that_was_asked_for(frame, size, seed):
    text = frame_text(frame, size, seed)
    assert hashlib.sha256(text.encode()).hexdigest() == frame_digest(frame, size, seed) == draw(frame, size, seed).digest
    others = {frame_digest(frame, size + 1, seed), frame_digest(frame, size, seed + 1), frame_digest(frame, size, seed, "none")}
    assert frame_digest(frame, size, seed) not in others | {frame_digest([*frame, Member("330521", "X")], size, seed)}


# --- the questionnaire


def test_the_shipped_questionnaire_has_six_questions_and_says_aloud_that_it_is_a_placeholder():
    text = SHIPPED.read_text("utf-8")
    found = read("spotcheck.toml", text)
    assert len(found.questions) == 6 and found.placeholder and "占位" in found.title
    assert "PLACEHOLDER" in text and "NOT FOUND" in text and "ASSUMPTION" in text
    assert {one.key for one in found.questions} == {"received", "on_duty", "duties", "risk_points", "shelter", "supplies"}


def questions(*blocks: str, head: str = 'version = "1"\ntitle = "测"\nrecheck_within_days = 7\n') -> str:
    return f"{head}questions = {len(blocks)}\n" + "".join(f"[[question]]\n{block}\n" for block in blocks)


GOOD = 'key = "a"\nwording = "在岗吗"\nanswer = "yes_no"\npass = ["是"]'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (questions(GOOD.replace("yes_no", "yes")), 8, "answer is 'yes'; it must be one of yes_no"),
        (questions(GOOD.replace('["是"]', '["也许"]')), 9, "也许"),
        (questions(GOOD.replace("wording", "wordng")), 7, "did you mean 'wording'"),
        (questions(GOOD, GOOD), 11, "used twice"),
        (questions(GOOD.replace('"a"', '"Ä b"')), 6, "short name"),
        (questions('key = "a"\nwording = "几人"\nanswer = "number"\npass = ["3"]'), 9, "only yes_no and choice"),
        (questions('key = "a"\nwording = "哪里"\nanswer = "choice"\noptions = ["一"]\npass = ["一"]'), 9, "two or more"),
        (questions('key = "a"\nwording = "哪里"\nanswer = "choice"\noptions = ["1", "2"]\npass = ["1"]'), 9, "cannot be told"),
        (questions(GOOD + "\ncontains = ['x']"), 10, "only text"),
        (questions(GOOD.replace("pass", "says_told")), 5, "pass is missing"),
        ('version = "1"\ntitle = "测"\nrecheck_within_days = 7\n[[question]]\n' + GOOD, 0, "1 questions, and 6 are meant"),
        (questions(GOOD, head='title = "测"\nrecheck_within_days = 7\n'), 0, "version is missing"),
        ("version = ", 1, "not TOML"),
    ],
)
def test_a_broken_questionnaire_is_refused_with_the_line_of_each_problem(text, line, message):
    with pytest.raises(InvalidFiles) as refused:
        read("六问.toml", text)
    assert any(problem.line == line and message in problem.message for problem in refused.value.problems), refused.value.problems


# --- answers


YES_NO = Question("a", "在岗吗", AnswerType.YES_NO, ("是", "否"), ("是",))
CHOICE = Question("b", "清楚吗", AnswerType.CHOICE, ("说得清", "说不清"), ("说得清",))
NUMBER = Question("c", "几人", AnswerType.NUMBER, at_least=1, at_most=100)
TEXT = Question("d", "安置点", AnswerType.TEXT, contains=("礼堂", "学校"))
TIME = Question("e", "几点", AnswerType.TIME)


@pytest.mark.parametrize(
    ("question", "said", "means", "passes"),
    [
        (YES_NO, "是", "是", True), (YES_NO, " Yes ", "是", True), (YES_NO, "n", "否", False),
        (CHOICE, "说得清", "说得清", True), (CHOICE, "2", "说不清", False), (CHOICE, "１", "说得清", True),
        (NUMBER, "31", "31", True), (NUMBER, "０７", "7", True), (NUMBER, "0", "0", False), (NUMBER, "101", "101", False),
        (TEXT, "村文化礼堂", "（文字，合格）", True), (TEXT, "不远", "（文字，不合格）", False),
        (TIME, "6:32", "06:32", True), (TIME, "06：32", "06:32", True), (TIME, "06:32:00", "06:32", True),
        (YES_NO, NOT_KNOWN, NOT_KNOWN, False), (TEXT, NOT_KNOWN, NOT_KNOWN, False), (NUMBER, NOT_ASKED, NOT_ASKED, None),
    ],
)  # fmt: skip
def test_an_answer_is_read_as_a_checker_writes_it(question, said, means, passes):
    answer = kept(question, understood(question, said))
    assert (answer, passed(question, answer)) == (means, passes)


@pytest.mark.parametrize(
    ("question", "said"),
    [(YES_NO, "也许"), (YES_NO, ""), (CHOICE, "3"), (CHOICE, "说得"), (NUMBER, "-1"), (NUMBER, "三十"), (NUMBER, "3.5"), (TIME, "25:00"), (TIME, "早上"), (TEXT, " ")],
)  # fmt: skip
def test_what_is_no_answer_is_refused_and_says_what_is(question, said):
    with pytest.raises(ValueError, match=r"write .*不知道"):
        understood(question, said)


@given(st.sampled_from([YES_NO, CHOICE, NUMBER, TEXT, TIME]), st.text(max_size=12))
def test_reading_an_answer_twice_is_reading_it_once(question, said):
    try:
        once = understood(question, said)
    except ValueError:
        return
    assert understood(question, once) == once
    assert passed(question, kept(question, once)) in (True, False, None)


# --- against the ledger


RECEIVED = Question(
    "received", "收到吗", AnswerType.CHOICE, ("收到并应答", "收到未应答", "没有收到"), ("收到并应答",),
    says_told=("收到并应答", "收到未应答"), says_not_told=("没有收到",), says_acknowledged=("收到并应答",),
    says_not_acknowledged=("收到未应答",),
)  # fmt: skip
SHELTER = Question("shelter", "安置点", AnswerType.YES_NO, ("是", "否"), ("是",), should_know=True)


def sms(state: State) -> Told:
    return Told("sms", state, AT, AT if state is State.DELIVERED else None)


PRESSED = (Acknowledged("voice", AT),)


@pytest.mark.parametrize(
    ("said", "evidence", "kinds"),
    [
        ({"received": "没有收到"}, Evidence((sms(State.DELIVERED),)), ["denies_being_told"]),
        ({"received": "没有收到"}, Evidence((), PRESSED), ["denies_being_told"]),
        ({"received": "没有收到"}, Evidence((sms(State.ACCEPTED),)), []),  # taken by the provider is not on the phone
        ({"received": "没有收到"}, Evidence((sms(State.FAILED),)), []),
        ({"received": "收到并应答"}, Evidence((sms(State.DELIVERED),)), ["claims_acknowledging"]),
        ({"received": "收到并应答"}, Evidence((sms(State.FAILED),)), ["claims_being_told"]),
        ({"received": "收到未应答"}, Evidence((sms(State.IN_DOUBT),)), []),  # it may have gone out
        ({"received": "收到未应答"}, Evidence((sms(State.DELIVERED),), PRESSED), ["denies_acknowledging"]),
        ({"received": "收到并应答"}, Evidence((), PRESSED), []),
        ({"received": "收到并应答", "shelter": "否"}, Evidence((), PRESSED), ["acknowledged_without_knowing"]),
        ({"received": "收到并应答", "shelter": NOT_KNOWN}, Evidence((), PRESSED), ["acknowledged_without_knowing"]),
        ({"shelter": "否"}, Evidence((sms(State.DELIVERED),)), []),
        ({"shelter": NOT_ASKED}, Evidence((), PRESSED), []),
        ({"received": NOT_KNOWN}, Evidence((), PRESSED), []),
        ({"received": "没有收到", "shelter": "否"}, None, []),  # of no alert: there is nothing to hold it against
    ],
)
def test_a_contradiction_is_flagged_and_read_both_ways(said, evidence, kinds):
    found = compare([RECEIVED, SHELTER], said, evidence)
    assert [one.kind for one in found] == kinds
    assert all(one.person and one.channel and one.person != one.channel for one in found)


evidences = st.builds(
    Evidence,
    st.lists(st.sampled_from([sms(state) for state in State]), max_size=3).map(tuple),
    st.sampled_from([(), PRESSED]),
    st.booleans(),
)


@given(evidences)
def test_whoever_agrees_with_the_ledger_is_never_flagged(evidence):
    honest = "收到并应答" if evidence.acknowledged else "收到未应答" if evidence.may_be_told else "没有收到"
    assert compare([RECEIVED, SHELTER], {"received": honest, "shelter": "是"}, evidence) == ()


@given(evidences, st.sampled_from([-1, 0, 1]))
def test_what_came_after_the_question_does_not_count(evidence, hours):
    then = as_of(evidence, AT + timedelta(hours=hours))
    if hours >= 0:
        assert then == evidence
    else:
        assert not then.acknowledged and not then.delivered


@given(evidences, st.sampled_from([*RECEIVED.options, NOT_KNOWN, NOT_ASKED, ""]))
def test_one_answer_is_one_contradiction_at_most(evidence, said):
    assert len(compare([RECEIVED], {"received": said}, evidence)) <= 1


# --- the figures


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (3, 4, 0.3006, 0.9544), (10, 10, 0.7225, 1.0), (0, 0, 0, 1)]
)
def test_the_interval_is_wilsons(hits, of, low, high):
    """Against published values: 0 of 10 → 27.8 %, 3 of 4 → 30.1 to 95.4 %."""
    assert wilson(hits, of) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(0, 500), st.integers(1, 500))
def test_a_rate_always_shows_the_number_asked_and_lies_in_its_interval(hits, of):
    assume(hits <= of)
    rate = Rate.of(hits, of)
    assert rate.low - 1e-9 <= hits / of <= rate.high + 1e-9
    assert str(rate).startswith(f"{hits} of {of}")
    assert ("%" in str(rate)) == (of > 1)


def test_scores_count_persons_and_leave_out_who_did_not_answer_and_what_was_not_asked():
    sheets = [
        Sheet("A", "HEAD", {"x": True, "y": True}),
        Sheet("A", "HEAD", {"x": True, "y": False}),
        Sheet("B", "HEAD", {"x": False, "y": None}),
        Sheet("B", "CADRE", {}),
    ]
    found = score(["x", "y"], sheets)
    assert {key: (rate.passed, rate.asked) for key, rate in found.by_question.items()} == {"x": (2, 3), "y": (1, 2)}
    assert {town: (rate.passed, rate.asked) for town, rate in found.by_town.items()} == {"A": (1, 2), "B": (0, 1)}
    assert set(found.by_role) == {"HEAD"} and (found.whole.passed, found.whole.asked) == (1, 3)
