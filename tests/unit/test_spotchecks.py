"""六问 in the house: drawn and committed before anybody sees it, asked, set against the ledger, reported; at the library and the terminal."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from openpyxl import load_workbook
from pypdf import PdfReader

from broadcast.cli import main
from broadcast.errors import InvalidFiles, NotAllowed, NotFound, Refused
from broadcast.gateway.spotchecking import BUILT_IN, Wanted, Written, facts
from broadcast.ledger import replies
from broadcast.ledger import tables as t
from broadcast.ledger.replies import Told

from ..conftest import PINS, Story
from .stories import warning

ROOT = Path(__file__).parents[2]
BEIJING = timezone(timedelta(hours=8))
VILLAGE = "330521115201"
GOOD = {
    "received": "收到并应答",
    "on_duty": "是",
    "duties": "说得清",
    "risk_points": "31",
    "shelter": "村文化礼堂",
    "supplies": "是",
}


def red(story: Story):
    raw = warning(story, severity="Extreme", area="测试村", codes=(VILLAGE,))
    sent = story.gateway.submit(story.gateway.read(raw))
    story.work()
    return sent


def presses_the_key(story: Story, sent, role: str) -> None:
    """Whoever holds this post answers the alert's own call."""
    with story.gateway.ledger.write() as tx:
        row = tx.execute(
            sa.select(t.delivery.c.batch_id, t.delivery.c.seq)
            .join(t.post, t.post.c.id == t.delivery.c.post_id)
            .where(t.delivery.c.alert_id == sent.alert_id, t.delivery.c.channel == "voice", t.post.c.role == role)
            .where(t.post.c.region == VILLAGE, t.delivery.c.purpose == "alarm")
        ).first()
        replies.take(
            tx, Told("acknowledged", "voice", "", b"", None, delivery=(row.batch_id, row.seq)), story.gateway.house.now()
        )


def drawn(story: Story, *, size: int = 20, seed: int = 7, **wanted):
    options = {"roles": ("VILLAGE_HEAD",)} if "alert_id" not in wanted else {}
    return story.gateway.spotchecks.draw(Wanted(size, seed, **(options | wanted)), story.operator("DUTY_OFFICER"))


def written(story: Story, n: int, *, line: int = 0, note: str = "", **changed: str) -> Written:
    fields = {name: changed.pop(name) for name in ("outcome", "way", "at", "checker") if name in changed}
    at = f"{story.clock().astimezone(BEIJING):%Y-%m-%d %H:%M}"
    return Written(str(n), {**GOOD, **changed}, **({"way": "电话", "at": at} | fields), note=note, line=line)


def answer(story: Story, number: int, *those: Written, **how):
    return story.gateway.spotchecks.answer(number, those, story.operator("DUTY_OFFICER"), **how)


def entries(story: Story, kind: str) -> list[dict]:
    with story.gateway.ledger.read() as tx:
        rows = tx.execute(sa.select(t.entry.c.body).where(t.entry.c.kind == kind).order_by(t.entry.c.at, t.entry.c.n))
        return [json.loads(body) for body in rows.scalars()]


def count(story: Story, table) -> int:
    with story.gateway.ledger.read() as tx:
        return tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def change(story: Story, statement) -> None:
    with story.gateway.ledger.write() as tx:
        tx.execute(statement)


def holder(story: Story, role: str, region: str = VILLAGE):
    with story.gateway.ledger.read() as tx:
        return tx.execute(
            sa.select(t.post.c.person_id, t.person.c.key, t.person.c.name)
            .join(t.person, t.person.c.id == t.post.c.person_id)
            .where(t.post.c.role == role, t.post.c.region == region, t.post.c.rank == "A", t.post.c.ended.is_(None))
        ).first()


def names_of(story: Story, number: int) -> list[str]:
    """Of everybody who was drawn, in the order of the sheet."""
    with story.gateway.ledger.read() as tx:
        rows = tx.execute(
            sa.select(t.person.c.name)
            .join(t.drawn, t.drawn.c.person_id == t.person.c.id)
            .where(t.drawn.c.spotcheck_id == number, t.drawn.c.n > 0)
            .order_by(t.drawn.c.n)
        )
        return [story.gateway.ledger.seal.open(name) for name in rows.scalars()]


# --- the draw


def test_a_draw_is_in_the_ledger_with_its_frame_and_the_same_seed_draws_the_same_on_another_machine(story):
    """Pinned: both databases, and any machine with this roster, draw these."""
    found = drawn(story, size=12, seed=41526)
    text = story.gateway.spotchecks.frame(found.number)
    (body,) = entries(story, "spotcheck.drawn")
    assert hashlib.sha256(text.encode()).hexdigest() == found.sha256 == body["sha256"]
    assert (body["size"], body["seed"], body["drawn"], body["frame_size"]) == (12, 41526, 12, found.frame_size)
    keys = sorted(_keys(story, found.number))
    assert (found.sha256, hashlib.sha256("\n".join(keys).encode()).hexdigest()) == (
        "fb0f52538fa422eaf4baad0b42d8a6118c97ace9ad57fd4a891c63b04e212e6e",
        "de13e152643cd3771bb343457f15ab7d7b9e83ee4449dce54dae5968ea473534",
    )
    again = drawn(story, size=12, seed=41526)
    assert [(one.person, one.region) for one in again.subjects] == [(one.person, one.region) for one in found.subjects]
    other = drawn(story, size=12, seed=41527)
    assert [one.region for one in other.subjects] != [one.region for one in found.subjects]


def _keys(story: Story, number: int) -> list[str]:
    with story.gateway.ledger.read() as tx:
        rows = tx.execute(
            sa.select(t.person.c.key)
            .join(t.drawn, t.drawn.c.person_id == t.person.c.id)
            .where(t.drawn.c.spotcheck_id == number, t.drawn.c.n > 0)
        )
        return list(rows.scalars())


def test_a_sample_by_town_has_somebody_of_every_town_and_persons_with_two_posts_count_once(sqlite_story):
    story = sqlite_story
    heads = drawn(story, size=30)
    assert {one.town for one in heads.subjects} == {row.code for row in story.gateway.house.books.regions if row.tier == "town"}
    both = drawn(story, size=10_000, roles=("TOWN_LEAD", "VILLAGE_HEAD", "EVAC_LEAD"))
    keys = _keys(story, both.number)
    assert len(keys) == len(set(keys)) == both.frame_size < count(story, t.post)


def test_whoever_cannot_be_asked_is_listed_with_the_reason_and_nobody_is_left_out_silently(story):
    without = holder(story, "VILLAGE_HEAD", "330521115202")
    change(story, t.target.delete().where(t.target.c.person_id == without.person_id))
    change(story, t.post.update().where(t.post.c.role == "VILLAGE_HEAD", t.post.c.region == VILLAGE).values(ended=1))
    found = drawn(story, size=500, region="330521115")
    told = {(one.reason, one.region) for one in found.not_drawn}
    assert told == {("no_number", "330521115202"), ("vacant", VILLAGE)}
    villages = {one.code for one in story.gateway.house.books.regions.children("330521115")}
    assert {one.region for one in found.subjects} | {one.region for one in found.not_drawn} == villages
    assert entries(story, "spotcheck.drawn")[0]["not_drawn"] == {"no_number": 1, "vacant": 1}


def test_whoever_was_told_and_has_left_since_is_listed_as_gone(sqlite_story):
    story = sqlite_story
    sent = red(story)
    gone = holder(story, "VILLAGE_HEAD")
    change(story, t.post.update().where(t.post.c.person_id == gone.person_id).values(ended=1))
    change(story, t.person.update().where(t.person.c.id == gone.person_id).values(ended=1))
    found = drawn(story, size=500, alert_id=sent.alert_id, roles=("VILLAGE_HEAD",))
    assert ("left", VILLAGE) in {(one.reason, one.region) for one in found.not_drawn}
    assert gone.key not in _keys(story, found.number) and gone.key not in story.gateway.spotchecks.frame(found.number)


@pytest.mark.parametrize(
    ("wanted", "error", "says"),
    [
        ({"size": 0}, Refused, "one person"),
        ({"seed": -1}, Refused, "seed"),
        ({"roles": ("VILLAGE_HAED",)}, NotFound, "VILLAGE_HEAD"),
        ({"region": "999999999"}, NotFound, "no region"),
        ({"roles": ("HOUSEHOLD",)}, Refused, "nobody to draw"),
        ({"roles": ()}, Refused, "of which alert"),
    ],
)
def test_a_draw_that_makes_no_sense_is_refused_and_leaves_nothing(sqlite_story, wanted, error, says):
    with pytest.raises(error, match=says):
        drawn(sqlite_story, **wanted)
    assert count(sqlite_story, t.spotcheck) == count(sqlite_story, t.drawn) == 0


# --- what the ledger knows beside it


def test_the_sheet_shows_beside_each_person_what_the_ledger_knows(story):
    sent = red(story)
    story.clock.forward(minutes=3)
    presses_the_key(story, sent, "VILLAGE_HEAD")
    found = drawn(story, size=500, alert_id=sent.alert_id, region=VILLAGE)
    head = next(one for one in found.subjects if one.role == "VILLAGE_HEAD")
    other = next(one for one in found.subjects if one.role == "EVAC_LEAD")
    assert head.evidence.acknowledged and head.evidence.owed and not other.evidence.acknowledged
    assert re.search(r"sms sent 05:0\d, delivered 05:0\d", facts.facts(head.evidence))
    assert "acknowledged 05:04 by key" in facts.facts(head.evidence) and "05:04应答（按键）" in facts.facts(
        head.evidence, chinese=True
    )
    assert "not acknowledged" in facts.facts(other.evidence)
    assert all(re.fullmatch(r".\*+", one.person) and "****" in one.phone for one in found.subjects)


def test_of_a_phone_that_two_persons_share_the_answer_counts_for_both_as_nobody_can_say_whose_it_was(story):
    one, other = holder(story, "VILLAGE_HEAD"), holder(story, "EVAC_LEAD")
    assert one.person_id != other.person_id
    with story.gateway.ledger.write() as tx:
        shared = tx.execute(
            sa.select(t.target.c.address_id).where(t.target.c.person_id == one.person_id, t.target.c.channel == "sms")
        ).scalar()
        tx.execute(
            t.target.update()
            .where(t.target.c.person_id == other.person_id, t.target.c.channel.in_(("sms", "voice")))
            .values(address_id=shared)
        )
        sealed = tx.execute(sa.select(t.address.c.sealed).where(t.address.c.id == shared)).scalar()
    sent = red(story)
    with story.gateway.ledger.write() as tx:
        now = story.gateway.house.now()
        assert replies.take(tx, Told("acknowledged", "sms", "", b"", None, address=bytes(sealed)), now) == 2
        # In the same moment somebody else answers for all others: that is not their own answer.
        others = t.callout.update().where(t.callout.c.alert_id == sent.alert_id, t.callout.c.state == "open")
        assert tx.execute(others.values(state="answered", answered=now, how="voice")).rowcount
    found = drawn(story, size=500, alert_id=sent.alert_id, region=VILLAGE)
    those = [one for one in found.subjects if one.role in ("VILLAGE_HEAD", "EVAC_LEAD")]
    assert len(those) == 2
    assert all(one.evidence.acknowledged and one.evidence.delivered for one in those)
    assert not any(one.evidence.acknowledged for one in found.subjects if one not in those)


def test_an_answer_of_somebody_else_for_the_post_is_not_the_persons_own(sqlite_story):
    story = sqlite_story
    sent = red(story)
    change(
        story,
        t.callout.update()
        .where(
            t.callout.c.post_id.in_(sa.select(t.post.c.id).where(t.post.c.role == "VILLAGE_HEAD")),
            t.callout.c.alert_id == sent.alert_id,
        )
        .values(state="answered", answered=1, how="voice"),
    )
    found = drawn(story, size=500, alert_id=sent.alert_id, region=VILLAGE)
    head = next(one for one in found.subjects if one.role == "VILLAGE_HEAD")
    assert not head.evidence.acknowledged and "answered for by others" in facts.facts(head.evidence)


# --- answers


def test_answers_are_set_against_the_ledger_and_contradictions_are_flagged_both_ways(story_on_both):
    story = story_on_both
    sent = red(story)
    presses_the_key(story, sent, "VILLAGE_HEAD")
    found = drawn(story, size=500, alert_id=sent.alert_id, region=VILLAGE)
    number = {one.role: one.n for one in found.subjects}
    answer(
        story, found.number,
        written(story, number["VILLAGE_HEAD"], shelter="不知道"),
        written(story, number["EVAC_LEAD"], received="没有收到"),
        written(story, number["RESCUE_LEAD"], received="收到未应答"),
    )  # fmt: skip
    report = story.gateway.spotchecks.report([found.number])
    flags = {(one.n, one.found.kind) for one in report.contradictions}
    assert flags == {
        (number["VILLAGE_HEAD"], "acknowledged_without_knowing"),
        (number["EVAC_LEAD"], "denies_being_told"),
    }
    assert {one.key: (one.rate.passed, one.rate.asked) for one in report.by_question}["shelter"] == (2, 3)
    again = {one.n: one.why for one in report.again}
    assert again == {number["VILLAGE_HEAD"]: ("shelter",), number["EVAC_LEAD"]: ("received",)}
    assert not any(one.overdue for one in report.again)
    story.clock.forward(days=8)
    assert all(one.overdue for one in story.gateway.spotchecks.report([found.number]).again)


def test_nobody_is_held_to_what_came_after_they_were_asked(sqlite_story):
    story = sqlite_story
    sent = red(story)
    story.clock.forward(minutes=2)
    found = drawn(story, size=500, alert_id=sent.alert_id, region=VILLAGE)
    n = next(one.n for one in found.subjects if one.role == "VILLAGE_HEAD")
    answer(story, found.number, written(story, n, received="收到未应答"))
    story.clock.forward(minutes=10)
    presses_the_key(story, sent, "VILLAGE_HEAD")
    (head,) = [one for one in story.gateway.spotchecks.sheet(found.number).subjects if one.n == n]
    assert head.evidence.acknowledged and not head.last.evidence.acknowledged
    assert head.last.contradictions == () == story.gateway.spotchecks.report([found.number]).contradictions


def test_nothing_is_taken_while_a_line_is_wrong_and_every_problem_is_told_at_once(story):
    found = drawn(story, size=5)
    story.clock.forward(minutes=5)
    with pytest.raises(InvalidFiles) as refused:
        answer(
            story, found.number,
            written(story, 1, line=2),
            written(story, 2, line=3, on_duty="也许", shelter=""),
            written(story, 99, line=4),
            written(story, 1, line=5),
            written(story, 3, line=6, way="微信"),
            written(story, 3, line=7, at="昨天"),
            written(story, 4, line=8, at="2023-07-04 09:00"),
            written(story, 4, line=9, at="2033-07-04 09:00"),
            written(story, 5, line=10, outcome="联系不上"),
            Written("5", {}, way="电话", line=11),
            written(story, 5, line=12, on_duty="15400000001"),
            file="六问.xlsx",
        )  # fmt: skip
    told = [(problem.line, problem.message) for problem in refused.value.problems]
    assert {line for line, _ in told} == {3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
    assert sum(line == 3 for line, _ in told) == 2
    assert "15400000001" not in str(refused.value) and all(problem.file == "六问.xlsx" for problem in refused.value.problems)
    assert count(story, t.spotcheck_answer) == 0 and entries(story, "spotcheck.answered") == []


def test_a_correction_is_a_new_row_and_the_report_goes_by_it(story):
    found = drawn(story, size=3)
    assert answer(story, found.number, written(story, 1, on_duty="否"), Written("2", {})).new == 1
    assert answer(story, found.number, written(story, 1, on_duty="否")).same == 1  # the same form twice
    with pytest.raises(InvalidFiles, match="--correct"):
        answer(story, found.number, written(story, 1))
    assert answer(story, found.number, written(story, 1), correct=True).corrected == 1
    report = story.gateway.spotchecks.report([found.number])
    assert (report.whole.passed, report.whole.asked) == (1, 1) and report.again == ()
    assert count(story, t.spotcheck_answer) == 2
    assert [body["answers"][0].get("corrects") for body in entries(story, "spotcheck.answered")] == [None, 1]


def test_asked_again_is_a_further_round_and_the_first_answer_stays_in_the_rates(story):
    found = drawn(story, size=3)
    answer(story, found.number, written(story, 1, on_duty="否"), written(story, 2, outcome="拒答", **dict.fromkeys(GOOD, "")))
    with pytest.raises(InvalidFiles, match="not asked yet"):
        answer(story, found.number, written(story, 3), again=True)
    with pytest.raises(InvalidFiles, match="later"):
        answer(story, found.number, written(story, 1), again=True)
    story.clock.forward(days=3)
    assert answer(story, found.number, written(story, 1), again=True).again == 1
    report = story.gateway.spotchecks.report([found.number])
    assert (report.whole.passed, report.whole.asked) == (0, 1)
    assert (report.asked_again.passed, report.asked_again.asked) == (1, 1)
    assert [(one.n, one.why) for one in report.again] == [(2, ("refused",))]


# --- personal data


def test_names_numbers_notes_and_words_are_masked_until_they_are_revealed_for_a_reason(story):
    found = drawn(story, size=3)
    answer(story, found.number, written(story, 1, note="张测三代接", checker="李测四", shelter="张测三家"))
    checks, by = story.gateway.spotchecks, story.operator("DUTY_OFFICER")
    masked = repr(checks.sheet(found.number)) + repr(checks.report([found.number]))
    names = names_of(story, found.number)
    for secret in ("张测三", "李测四", *names):
        assert secret not in masked
    with pytest.raises(NotAllowed, match="holds NEWS_CENTRE"):
        checks.reveal(found.number, story.operator("NEWS_CENTRE"), "测试")
    with pytest.raises(NotAllowed, match="reason"):
        checks.reveal(found.number, by, " ")
    assert entries(story, "unmasked") == []
    shown = checks.reveal(found.number, by, "六问抽查，致电 15400000001")
    assert [one.person for one in shown.subjects] == names
    assert all(re.fullmatch(r"1(54|94)\d{8}", one.phone) for one in shown.subjects)
    last = shown.subjects[0].last
    assert (last.note, last.checker, last.answers["shelter"]) == ("张测三代接", "李测四", "张测三家")
    (body,) = entries(story, "unmasked")
    assert (body["count"], body["spotchecks"], body["reason"]) == (
        3 + len(found.not_drawn),
        [found.number],
        "六问抽查，致电 154****0001",
    )


def test_no_name_number_or_word_of_a_person_is_in_an_entry_or_in_the_open_columns(story_on_both):
    story = story_on_both
    found = drawn(story, size=3)
    answer(story, found.number, written(story, 1, note="张测三代接", checker="李测四", shelter="张测三家"))
    name = names_of(story, found.number)[0]
    with story.gateway.ledger.read() as tx:
        rows = [row for table in (t.entry, t.spotcheck, t.drawn, t.spotcheck_answer) for row in tx.execute(sa.select(table))]
        assert story.gateway.verify().holds
    for row in rows:
        for secret in ("张测三", "李测四", name):
            assert secret not in str(row) and secret.encode() not in str(row).encode()


# --- the questionnaire


def test_a_version_once_used_is_frozen_and_another_version_is_asked_from_the_next_draw_on(story):
    checks, by = story.gateway.spotchecks, story.operator("DUTY_OFFICER")
    text = BUILT_IN.read_text("utf-8")
    first = drawn(story, size=2)
    assert first.questionnaire.placeholder
    with pytest.raises(InvalidFiles, match="never changes") as refused:
        checks.import_questions("六问.toml", text.replace("现在在岗吗", "您在岗吗"), by)
    assert refused.value.problems[0].line == text[: text.index("\nversion =") + 1].count("\n") + 1
    ours = text.replace("placeholder-1", "德清-1").replace("placeholder = true\n", "").replace("现在在岗吗", "您在岗吗")
    assert checks.import_questions("六问.toml", ours, by) and not checks.import_questions("六问.toml", ours, by)
    second = drawn(story, size=2)
    assert (second.questionnaire.version, second.questionnaire.placeholder) == ("德清-1", False)
    assert checks.sheet(first.number).questionnaire.version == "placeholder-1"
    assert checks.import_questions("六问.toml", text, by)  # an earlier version, word for word


# --- a season


def test_over_a_season_it_is_seen_who_always_fails_the_same_and_who_was_drawn_often_or_never(story):
    first, second = drawn(story, size=4, seed=1), drawn(story, size=4, seed=1)
    for check, third in ((first, "是"), (second, "否")):
        answer(story, check.number, written(story, 1, shelter="不知道"), written(story, 2, on_duty=third))
        story.clock.forward(days=20)
    report = story.gateway.spotchecks.report(story.gateway.spotchecks.of_season(2023))
    assert report.numbers == (first.number, second.number)
    (always,) = report.persistent
    assert (always.times, "安置点" in always.question) == (2, True)
    on_duty = next(one for one in report.drift if one.key == "on_duty")
    assert [(rate.passed, rate.asked) for _, _, rate in on_duty.rates] == [(2, 2), (1, 2)]
    assert [one.times for one in report.often] == [2, 2, 2, 2]
    assert sum(one.drawn for one in report.reach) == 4
    assert sum(one.drawn + one.never for one in report.reach) == first.frame_size
    assert story.gateway.spotchecks.of_season(2024) == []


# --- at the command line


@dataclass
class Desk:
    """Somebody at a terminal whose home is over the story's ledger."""

    home: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str, code: int = 0) -> str:
        self.capsys.readouterr()
        assert main(["--home", str(self.home), "spotcheck", *words]) == code, self.capsys.readouterr().err
        caught = self.capsys.readouterr()
        self.said = caught.err
        return caught.out


def sit_down(story: Story, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home over the story's ledger, and the duty officer before it. The command line's clock is the real one."""
    for name in [name for name in os.environ if name.startswith("BROADCAST_")]:
        monkeypatch.delenv(name)
    home = folder / "home"
    home.mkdir()
    (home / "broadcast.toml").write_text('[county]\nname = "德清县"\nsignature = "德清应急"\n', "utf-8")
    monkeypatch.setenv("BROADCAST_DATABASE_URL", story.gateway.ledger.database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("BROADCAST_SEAL_KEY_FILE", str(story.folder / "seal.key"))
    monkeypatch.setenv("BROADCAST_OPERATOR", PINS["DUTY_OFFICER"][0])
    monkeypatch.setenv("BROADCAST_PIN", PINS["DUTY_OFFICER"][1])
    return home


@pytest.fixture
def desk(story, tmp_path, monkeypatch, capsys) -> Desk:
    return Desk(sit_down(story, tmp_path, monkeypatch), capsys)


@pytest.fixture
def sqlite_desk(sqlite_story, tmp_path, monkeypatch, capsys) -> Desk:
    return Desk(sit_down(sqlite_story, tmp_path, monkeypatch), capsys)


def fill(form: Path, out: Path, at: str, change: Callable[[dict[str, object]], None] = lambda _row: None) -> None:
    """What a checker does with the form: everybody answers well, but for what `change` does to a row (by head)."""
    book = load_workbook(form)
    page = book.worksheets[0]
    heads = [cell.value for cell in page[1]]
    for cells in page.iter_rows(min_row=2):
        row = dict.fromkeys(heads)
        for head, said in zip(heads[7:13], GOOD.values(), strict=True):
            row[head] = said
        row |= {"方式": "电话", "时间": at, "序号": cells[1].value, "姓名": cells[2].value, "岗位": cells[3].value}
        change(row)
        for cell, head in zip(cells, heads, strict=True):
            cell.value = row[head] if row[head] is not None else cell.value
    book.save(out)


def test_a_spot_check_is_drawn_filled_in_and_reported_at_the_command_line(story, desk, tmp_path):
    sent = red(story)
    shown = json.loads(desk("draw", "--alert", str(sent.alert_id), "--region", VILLAGE, "--size", "4", "--seed", "42", "--json"))
    number = str(shown["number"])
    assert len(shown["subjects"]) == 4 and shown["seed"] == 42
    assert hashlib.sha256(desk("frame", number).encode()).hexdigest() == shown["sha256"]
    desk("sheet", number, "--xlsx", str(tmp_path / "form.xlsx"), "--pdf", str(tmp_path / "sheet.pdf"))
    assert {body["query"] for body in entries(story, "exported")} == {"spotcheck form", "spotcheck sheet"}
    digests = {body["sha256"] for body in entries(story, "exported")}
    assert digests == {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("form.xlsx", "sheet.pdf")}

    def one_fails(row: dict[str, object]) -> None:
        if row["序号"] == 1:
            row["1. 这次预警（叫应）收到了吗？应答了吗？（何时、何渠道，记入备注）"] = "3"
            row["备注"] = "=张测三代接"

    fill(tmp_path / "form.xlsx", tmp_path / "filled.xlsx", shown["at"], one_fails)
    assert "4 new; 0 persons to ask" in desk("answer", number, "--file", str(tmp_path / "filled.xlsx"))
    assert "4 stood already" in desk("answer", number, "--file", str(tmp_path / "filled.xlsx"))
    pdf, xlsx = str(tmp_path / "report.pdf"), str(tmp_path / "report.xlsx")
    told = json.loads(desk("report", number, "--json", "--pdf", pdf, "--xlsx", xlsx, code=1))
    assert (told["whole"]["passed"], told["whole"]["asked"]) == (3, 4)
    # Three say that they acknowledged, and nobody pressed a key; the first says that it never came, and it was delivered.
    assert sorted(one["found"]["kind"] for one in told["contradictions"]) == ["claims_acknowledging"] * 3 + ["denies_being_told"]
    assert len(told["again"]) == 4
    plain = desk("report", number, code=1)
    assert "3 of 4 (75 %, 30–95 %)" in plain and "PLACEHOLDER" in plain and "either the person" in plain
    text = "".join(page.extract_text() for page in PdfReader(pdf).pages)
    assert "占位稿" in text and "3/4人（75%，30–95%）" in text and "若是渠道的问题" in text
    pages = load_workbook(xlsx)
    assert pages.sheetnames[:3] == ["抽查", "分题", "分镇街"] and pages["再问"].max_row == 5
    assert "张测三" not in plain + text + json.dumps(told, ensure_ascii=False)
    assert number in desk("list") and len(json.loads(desk("list", "--json"))) == 1


def test_the_sheet_on_paper_names_the_placeholder_and_every_person_with_room_to_write(sqlite_story, sqlite_desk, tmp_path):
    found = drawn(sqlite_story, size=3)
    path = tmp_path / "sheet.pdf"
    sqlite_desk("sheet", str(found.number), "--pdf", str(path), "--reveal", "--reason", "六问抽查电话询问")
    text = "".join(page.extract_text() for page in PdfReader(path).pages)
    names = names_of(sqlite_story, found.number)
    assert "占位稿" in text and all(name in text for name in names) and text.count("备注：") == 3
    assert path.stat().st_mode & 0o077 == 0  # names and numbers are for whoever asked for them
    masked = sqlite_desk("sheet", str(found.number))
    assert not any(name in masked for name in names) and "****" in masked
    assert "give --reason" in run_badly(sqlite_desk, "sheet", str(found.number), "--reveal", code=2)


def run_badly(desk: Desk, *words: str, code: int) -> str:
    desk(*words, code=code)
    return desk.said


def test_a_csv_is_refused_line_by_line_and_a_form_that_was_sorted_apart_or_is_of_another_check_too(
    sqlite_story, sqlite_desk, tmp_path
):
    story, path = sqlite_story, tmp_path / "filled.csv"
    first, second = drawn(story, size=2, seed=1), drawn(story, size=2, seed=2)
    heads = ["抽查", "序号", "责任区", *GOOD, "方式", "时间"]

    def write(*rows: list[str]) -> None:
        with path.open("w", encoding="gb18030", newline="") as file:
            csv.writer(file).writerows([heads, *rows])

    at = f"{story.clock().astimezone(BEIJING):%Y-%m-%d %H:%M}"
    regions = [one.region_name for one in first.subjects]
    good = [[str(first.number), str(n), region, *GOOD.values(), "现场", at] for n, region in enumerate(regions, 1)]
    write(good[0], [*good[1][:3], "4", *good[1][4:]])
    said = run_badly(sqlite_desk, "answer", str(first.number), "--file", str(path), code=3)
    assert "filled.csv:3" in said and "question 1" in said
    write([*good[0][:2], regions[1], *good[0][3:]], [*good[1][:2], regions[0], *good[1][3:]])
    said = run_badly(sqlite_desk, "answer", str(first.number), "--file", str(path), code=3)
    assert "filled.csv:2" in said and "filled.csv:3" in said and "sorted apart" in said
    write(*good)
    assert "of spot check" in run_badly(sqlite_desk, "answer", str(second.number), "--file", str(path), code=3)
    assert count(story, t.spotcheck_answer) == 0
    sqlite_desk("answer", str(first.number), "--file", str(path))
    assert count(story, t.spotcheck_answer) == 2
    path.write_text("a,b\n1,2\n", "utf-8")
    assert "no form of this spot check" in run_badly(sqlite_desk, "answer", str(first.number), "--file", str(path), code=3)


def test_what_is_asked_wrongly_is_said(sqlite_story, sqlite_desk, tmp_path):
    assert "--alert ALERT" in run_badly(sqlite_desk, "draw", "--size", "3", "--seed", "1", code=2)
    assert "no spot check 9" in run_badly(sqlite_desk, "sheet", "9", code=1)
    assert "--season YEAR" in run_badly(sqlite_desk, "report", code=2)
    assert "give --file" in run_badly(sqlite_desk, "answer", "1", code=2)
    assert "one of the two" in run_badly(sqlite_desk, "answer", "1", "--again", "--correct", code=2)
    assert "no such" in run_badly(sqlite_desk, "report", "9", code=1).lower()
    (tmp_path / "q.toml").write_text('version = "x"\n', "utf-8")
    said = run_badly(sqlite_desk, "questions", "check", str(tmp_path / "q.toml"), code=3)
    assert "q.toml" in said and "title is missing" in said
    (tmp_path / "ours.toml").write_text(BUILT_IN.read_text("utf-8").replace("placeholder-1", "德清-1"), "utf-8")
    assert "in force" in sqlite_desk("questions", "import", str(tmp_path / "ours.toml"))
    assert json.loads(sqlite_desk("questions", "check", "--json"))["version"] == "placeholder-1"


def test_on_a_terminal_one_is_asked_after_the_other_and_whoever_stops_goes_on_later(sqlite_story, sqlite_desk):
    found = drawn(sqlite_story, size=3)
    number = str(found.number)
    one = ["1", "1", "1", "是", "也许", "1", "31", "村文化礼堂", "是", ""]  # 也许 is asked again
    said = on_a_terminal(sqlite_desk.home, number, [*one[:4], "也许", *one[5:], "s", "q"])
    assert "1. " in said and "stopped" in said and "1 entered, 2 of these left" in said
    assert "write 1 说得清" in said
    said = on_a_terminal(sqlite_desk.home, number, ["2", "2", "", "q"])
    assert "2 persons" in said and "1 entered, 1 of these left" in said
    rounds = [one.last for one in sqlite_story.gateway.spotchecks.sheet(found.number).subjects]
    assert [one and (one.outcome, one.way) for one in rounds] == [("answered", "phone"), ("not_reached", "visit"), None]


def on_a_terminal(home: Path, number: str, lines: list[str]) -> str:
    """A real process on a pseudo-terminal, which is typed into."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "broadcast.cli", "--home", str(home), "spotcheck", "answer", number]
    child = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT)
    os.write(ours, "".join(f"{line}\n" for line in lines).encode())
    out, _ = child.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert child.returncode == 0, out.decode()
    return out.decode()
