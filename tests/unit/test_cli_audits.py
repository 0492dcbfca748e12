"""The questions of auditors at a terminal: pages, files, masks, and what is written down before anything is shown."""

# ruff: noqa: F811 - fixtures of the command line's own tests

from __future__ import annotations

import csv
import hashlib
import io
import re
import stat
from datetime import UTC, datetime

import openpyxl
import pytest

import broadcast
from broadcast.cli.auditors import moment
from broadcast.cli.opening import UsageMistake

from .test_cli import ORANGE, Desk, desk, pattern  # noqa: F401

REASON = ("--reason", "纪委核查 2023-17")


@pytest.fixture
def sent(desk) -> Desk:
    """A desk in front of one alert that nobody has carried yet, and one answer that was heard by telephone."""
    desk.send(ORANGE)
    desk.sits("测试值班员")
    number = desk("callout", "list", "--json").json[0]["number"]
    assert desk("callout", "ack", str(number), "--how", "电话，沈测本人").code == 0
    return desk


def entries(desk: Desk, kind: str) -> list[dict]:
    return desk("ledger", "entries", "--kind", kind, "--json").json


def test_pages_are_joined_by_the_mark_that_the_one_before_printed(sent):
    whole = [row["delivery"] for row in sent("ledger", "deliveries", "--limit", "0", "--json").json]
    joined: list[str] = []
    after: list[str] = []
    while True:
        answer = sent("ledger", "deliveries", "--limit", "100", *after)
        page = [line.split()[0] for line in answer.out.splitlines()[2:] if line.strip()]
        joined += [one for one in page if re.fullmatch(r"\d+\.\d+", one)]
        mark = re.search(r"--after (\S+)", answer.err)
        if mark is None:
            break
        after = ["--after", mark[1]]
    assert len(whole) > 250 and joined == whole


@pytest.mark.parametrize("asked", ["deliveries", "receipts", "acknowledgements", "callouts", "replies", "entries"])
def test_every_question_is_answered_as_a_table_as_json_and_as_files(sent, tmp_path, asked):
    rows = sent("ledger", asked, "--alert", "1", "--limit", "0", "--json").json
    table = sent("ledger", asked, "--alert", "1")
    assert table.code == 0 and f"{min(len(rows), 200):,} {asked}" in table.err
    assert rows or asked == "receipts"

    assert sent("ledger", asked, "--alert", "1", "--csv", str(tmp_path / "a.csv")).code == 0
    assert sent("ledger", asked, "--alert", "1", "--xlsx", str(tmp_path / "a.xlsx")).code == 0

    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        of_csv = list(csv.DictReader(file))
    (heads, *cells) = openpyxl.load_workbook(tmp_path / "a.xlsx").active.iter_rows(values_only=True)
    extra = len(entries(sent, "exported")) if asked == "entries" else 0
    assert len(of_csv) == len(cells) == len(rows) or extra
    assert not rows or (set(of_csv[0]) == set(rows[0]) == set(heads))
    first = next(iter(rows[0])) if rows else ""
    assert [str(row[first]) for row in rows] == [row[first] for row in of_csv][: len(rows)]


def test_unreached_answers_no_with_whom_and_why(sent):
    answer = sent("ledger", "unreached", "--alert", "1", "--region", "330521115", "--limit", "0", "--json")
    assert answer.code == 1
    row = next(row for row in answer.json if row["ways"])
    assert (row["known"], row["ways"][0]["state"]) == ("not reached", "planned")
    assert "sms planned" in sent("ledger", "unreached", "--alert", "1").out.replace("\n", " ")
    assert sent("ledger", "unreached", "--alert", "1", "--until", "2001-01-01").code == 0
    assert sent("ledger", "unreached").code == 3


def test_an_export_is_an_entry_with_the_digest_of_the_file(sent, tmp_path):
    path = tmp_path / "heads.csv"
    answer = sent("ledger", "callouts", "--role", "VILLAGE_HEAD", "--csv", str(path))
    (entry,) = entries(sent, "exported")
    body = entry["body"]
    assert entry["who"] == "测试值班员" and body["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (body["form"], body["masked"], body["query"]) == ("csv", True, {"asked": "callouts", "role": "VILLAGE_HEAD"})
    assert f"{body['count']:,} callouts in {path}" in answer.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_export_without_an_operator_is_an_entry_of_nobody(desk, tmp_path):
    assert desk("ledger", "entries", "--csv", str(tmp_path / "a.csv")).code == 0
    (entry,) = entries(desk, "exported")
    assert entry["who"] == ""


def test_a_csv_on_stdout_is_the_same_and_is_written_down_too(sent):
    answer = sent("ledger", "replies", "--csv", "-")
    (row,) = csv.DictReader(io.StringIO(answer.out))
    assert (row["verb"], row["said"]) == ("acknowledged", "(7 characters)")
    assert len(entries(sent, "exported")) == 1


def test_unmasking_needs_an_operator_and_a_reason_and_says_so(sent, tmp_path):
    assert sent("ledger", "replies", "--unmask").code == 2
    sent.monkeypatch.delenv("BROADCAST_OPERATOR")
    assert sent("ledger", "replies", "--unmask", *REASON).code == 2
    sent.sits("测试新闻中心")
    refused = sent("ledger", "replies", "--unmask", *REASON)
    assert refused.code == 3 and "沈测" not in refused.out
    assert entries(sent, "unmasked") == []


def test_unmasked_rows_show_names_numbers_and_words_after_their_entry(sent, tmp_path):
    (masked,) = sent("ledger", "replies", "--json").json
    (row,) = sent("ledger", "replies", "--unmask", *REASON, "--json").json
    assert row["said"] == "电话，沈测本人" and masked["said"] == "(7 characters)"
    assert "*" in masked["person"] and "测" in row["person"]
    path = tmp_path / "seen.xlsx"
    assert sent("ledger", "deliveries", "--person", row["person_id"], "--unmask", *REASON, "--xlsx", str(path)).code == 0
    heads, first, *_ = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
    assert re.match(r"'?\+86|sim:", dict(zip(heads, first, strict=True))["address"])
    assert [one["who"] for one in entries(sent, "unmasked")] == ["测试值班员"] * 2
    (entry,) = entries(sent, "exported")
    assert (entry["body"]["masked"], entry["body"]["form"]) == (False, "xlsx")


def test_when_the_ledger_takes_no_entry_there_is_no_file_and_nothing_is_shown(sent, tmp_path):
    gateway = broadcast.open(sent.home)
    with gateway.ledger.write() as tx:
        tx.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    gateway.close()
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "a.csv"
    for words in (("--csv", str(path)), ("--csv", "-"), ("--unmask", *REASON)):
        answer = sent("ledger", "deliveries", *words)
        assert (answer.code, answer.out) == (4, "")
    assert list(folder.iterdir()) == []


def test_a_number_is_asked_for_and_never_an_argument(sent):
    sent.monkeypatch.setattr("sys.stdin", io.StringIO("15400000001\n"))
    assert sent("ledger", "receipts", "--number", "--json").json == []
    sent.monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert "--number" in sent("ledger", "deliveries", "--number").err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("deliveries", "--csv", "a.csv", "--json"), 2, "one form at a time"),
        (("deliveries", "--xlsx", "-"), 2, "no stream"),
        (("deliveries", "--csv", "nowhere/a.csv"), 1, "no folder"),
        (("deliveries", "--channel", "smoke"), 2, "one of speaker"),
        (("callouts", "--state", "lost"), 2, "open, answered or closed"),
        (("deliveries", "--region", "330599"), 1, "never had region"),
        (("deliveries", "--state", "failed"), 3, "name an alert"),
        (("receipts", "--until", "soon"), 2, "is no time"),
        (("entries", "--after", "x"), 1, "no entry"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_line(sent, words, code, told):
    answer = sent("ledger", *words)
    assert answer.code == code and told in answer.err and answer.out == ""
    assert len([line for line in answer.err.splitlines() if line.startswith("error")]) == 1


def test_times_are_beijing_a_day_ends_at_its_end_and_a_time_alone_is_today():
    now = datetime(2023, 7, 4, 22, 0, tzinfo=UTC)  # the fifth in Beijing
    assert moment("--since", "06:30", now) == datetime(2023, 7, 4, 22, 30, tzinfo=UTC)
    assert moment("--since", "2023-07-05", now) == datetime(2023, 7, 4, 16, 0, tzinfo=UTC)
    assert moment("--until", "2023-07-05", now, ends=True) == datetime(2023, 7, 5, 16, 0, tzinfo=UTC)
    assert moment("--until", "2023-07-05 05:00", now, ends=True) == datetime(2023, 7, 4, 21, 0, tzinfo=UTC)
    assert moment("--since", "2023-07-05T05:00:00+00:00", now) == datetime(2023, 7, 5, 5, 0, tzinfo=UTC)
    with pytest.raises(UsageMistake):
        moment("--since", "25:99", now)
