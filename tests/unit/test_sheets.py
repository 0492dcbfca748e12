"""Tables as files for a spreadsheet: what goes out comes back, nothing in them runs, and what is broken is named by its line."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast import sheets
from broadcast.errors import InvalidFiles
from broadcast.sheets import Sheet, defused, undefused

DANGEROUS = ["=cmd|' /C calc'!A0", "+8615400000001", "-1+1", "@SUM(1;2)", "\t=1", "\r=1", '=HYPERLINK("x")']
CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12) | st.sampled_from(DANGEROUS[:4])


def write(path: Path, sheet: Sheet) -> int:
    if path.suffix == ".xlsx":
        return sheets.write_xlsx(path, {"page": sheet})
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        return sheets.write_csv(out, sheet)


def problem(path: Path) -> tuple[int, str]:
    with pytest.raises(InvalidFiles) as refused:
        list(sheets.read(path))
    (found,) = refused.value.problems
    assert found.file == path.name
    return found.line, found.message


@pytest.mark.parametrize("form", ["csv", "xlsx"])
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5))
def test_what_is_written_is_read_back_as_text_with_its_line(tmp_path_factory, form, rows):
    path = tmp_path_factory.mktemp("sheets") / f"a.{form}"

    assert write(path, Sheet(["a", "b", "c"], rows)) == len(rows)

    told = [[undefused(cell.strip()) for cell in row] for row in rows]
    expected = {n: row for n, row in enumerate(told, 2) if any(row)}
    read = {line.number: list(line.cells.values()) for line in sheets.read(path)}
    assert {n: [cell.strip() for cell in row] for n, row in read.items()} == expected


@pytest.mark.parametrize("text", DANGEROUS)
def test_nothing_that_a_person_wrote_runs_as_a_formula(tmp_path, text):
    for form in ("csv", "xlsx"):
        write(tmp_path / f"a.{form}", Sheet(["a"], [[text]]))

    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        (_, (seen,)) = csv.reader(file)
    cell = openpyxl.load_workbook(tmp_path / "a.xlsx").active["A2"]
    assert seen == f"'{text}" and cell.data_type == "s" and str(cell.value).startswith("'")
    assert defused("孙测") == "孙测" and undefused("'it") == "'it"


@given(text=st.text())
def test_defusing_is_undone_by_undefusing_and_leaves_no_formula(text):
    assert not defused(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert undefused(defused(text)) == text or undefused(text) != text


def test_numbers_stay_numbers_times_are_iso_and_nothing_is_empty(tmp_path):
    at = datetime(2023, 7, 5, 6, 30, tzinfo=UTC)
    sheet = Sheet(["n", "x", "t", "none", "yes"], [[3, 2.5, at, None, True]])
    write(tmp_path / "a.xlsx", sheet)
    write(tmp_path / "a.csv", sheet)

    row = [cell.value for cell in openpyxl.load_workbook(tmp_path / "a.xlsx").active[2]]
    assert row == [3, 2.5, "2023-07-05T06:30:00+00:00", None, True]
    (line,) = sheets.read(tmp_path / "a.csv")
    assert list(line.cells.values()) == ["3", "2.5", "2023-07-05T06:30:00+00:00", "", "True"]


def test_control_characters_do_not_break_an_xlsx(tmp_path):
    write(tmp_path / "a.xlsx", Sheet(["a", "b"], [["x\x00y\x1bz", "\x07"]]))
    (line,) = sheets.read(tmp_path / "a.xlsx")
    assert list(line.cells.values()) == ["x?y?z", "?"]


def test_a_whole_number_of_a_spreadsheet_is_read_without_its_point(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["n", "when"])
    book.active.append([17.0, datetime(2023, 7, 5, 6, 30)])
    book.save(tmp_path / "a.xlsx")
    (line,) = sheets.read(tmp_path / "a.xlsx")
    assert line.cells == {"n": "17", "when": "2023-07-05T06:30:00"}


def test_a_csv_that_a_chinese_excel_saved_is_read(tmp_path):
    (tmp_path / "a.csv").write_bytes("姓名,答\r\n沈测,知道\r\n".encode("gb18030"))
    (line,) = sheets.read(tmp_path / "a.csv")
    assert (line.number, line.cells) == (2, {"姓名": "沈测", "答": "知道"})


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n\n"one\ntwo",2\n,\n3,4\n', encoding="utf-8")
    assert [(line.number, line.cells["a"]) for line in sheets.read(tmp_path / "a.csv")] == [(3, "one\ntwo"), (6, "3")]


def test_a_row_that_is_wider_than_its_heads_is_named_and_a_shorter_one_is_filled(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1\n1,2,3\n", encoding="utf-8")
    assert problem(tmp_path / "a.csv") == (3, "3 cells, but 2 heads")
    (tmp_path / "b.csv").write_text("a,b\n1\n1,2,,\n", encoding="utf-8")
    assert [line.cells for line in sheets.read(tmp_path / "b.csv")] == [{"a": "1", "b": ""}, {"a": "1", "b": "2"}]


def test_what_is_no_table_is_refused_in_words(tmp_path):
    (tmp_path / "bad.csv").write_bytes(b"a,b\n\xff\xff\xff\n")
    (tmp_path / "open.csv").write_text('a\n"never closed\n', encoding="utf-8")
    (tmp_path / "text.xlsx").write_text("not a zip", encoding="utf-8")
    write(tmp_path / "whole.xlsx", Sheet(["a"], [[str(n)] for n in range(500)]))
    (tmp_path / "cut.xlsx").write_bytes((tmp_path / "whole.xlsx").read_bytes()[:2000])

    assert problem(tmp_path / "none.csv") == (0, "no such file")
    assert "GB 18030" in problem(tmp_path / "bad.csv")[1]
    assert problem(tmp_path / "open.csv")[0] > 0
    for name in ("text.xlsx", "cut.xlsx"):
        assert "not an XLSX file" in problem(tmp_path / name)[1]


def test_too_large_a_file_and_too_many_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "_MAX_READ_BYTES", 1 << 20)
    (tmp_path / "a.csv").write_text("a\n" + "x" * (1 << 20), encoding="utf-8")
    assert "larger than 1 MB" in problem(tmp_path / "a.csv")[1]
    monkeypatch.setattr(sheets, "_MAX_SHEET_ROWS", 2)
    with pytest.raises(InvalidFiles, match="more than 2 rows"):
        write(tmp_path / "a.xlsx", Sheet(["a"], [["1"], ["2"], ["3"]]))


def test_rows_are_taken_one_by_one_and_several_pages_fit_in_a_book(tmp_path):
    asked: list[int] = []

    def rows():
        for n in range(3):
            asked.append(n)
            yield [n]

    assert sheets.write_csv(io.StringIO(), Sheet(["n"], rows())) == 3 and asked == [0, 1, 2]
    assert sheets.write_xlsx(tmp_path / "a.xlsx", {"一": Sheet(["n"], rows()), "x" * 40: Sheet(["n"], [])}) == 3
    assert openpyxl.load_workbook(tmp_path / "a.xlsx").sheetnames == ["一", "x" * 31]
