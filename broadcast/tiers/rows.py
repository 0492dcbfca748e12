"""A CSV file that a person wrote, row by row with its line numbers; what is wrong with it becomes a Problem."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import InvalidFiles, Problem
from .phones import mask_within

# What a spreadsheet makes of a long number: 1.54E+10, or 15400000001.0. The digits are lost or about to be.
_DAMAGED = re.compile(r"\d+([.,]\d+)?E\+?\d+|\d{6,}[.,]0+", re.IGNORECASE)

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Row:
    """One record: where it begins and what it says. Cells are stripped; the repr shows no cell."""

    file: str
    line: int
    cells: Mapping[str, str] = field(repr=False)

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


_LISTED_PER_FILE = 1000  # a file of half a million lines may be wrong in each


class Notes:
    """The problems found so far in a set of files; `check` raises when one of them is an error."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._found: Counter[str] = Counter()  # by file
        self._failed = False

    @property
    def problems(self) -> tuple[Problem, ...]:
        """By file and line; of a file with very many the first thousand, and how many more."""
        listed = sorted(self._problems, key=lambda problem: (problem.file, problem.line))
        more = [(file, n - _LISTED_PER_FILE) for file, n in sorted(self._found.items()) if n > _LISTED_PER_FILE]
        severity: Severity = "error" if self._failed else "warning"
        return (*listed, *(Problem(file, 0, severity, f"and {n} more problems in this file") for file, n in more))

    def error(self, where: Row | str, message: str, line: int = 0) -> None:
        """Notes what makes the files unusable."""
        self._add("error", where, message, line)

    def warn(self, where: Row | str, message: str, line: int = 0) -> None:
        """Notes what a person should look at."""
        self._add("warning", where, message, line)

    def check(self) -> None:
        """Raises InvalidFiles with every problem when there is an error among them."""
        if self._failed:
            raise InvalidFiles(self.problems)

    def _add(self, severity: Severity, where: Row | str, message: str, line: int) -> None:
        file, line = (where.file, where.line) if isinstance(where, Row) else (where, line)
        self._failed = self._failed or severity == "error"
        self._found[file] += 1
        if self._found[file] <= _LISTED_PER_FILE:
            self._problems.append(Problem(file, line, severity, mask_within(message)))


def decode(file: str, data: bytes) -> str:
    """The text of a file. Raises InvalidFiles when it is not UTF-8 (spreadsheets in China save GBK)."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidFiles([Problem(file, line, "error", NOT_UTF8)]) from error


NOT_UTF8 = "the file is not UTF-8 (it may be GBK): save it again as “CSV UTF-8”"


def read(file: str, lines: Iterable[str], columns: Iterable[str], notes: Notes) -> Iterator[Row]:
    """The records of a CSV, one at a time. Missing columns, broken quotes and a wrong number of cells are noted as errors."""
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    before = 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            notes.error(file, f"not readable as CSV: {error}", max(reader.line_num, 1))
            return
        line, before = before + 1, reader.line_num
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip().lstrip("\ufeff") for cell in cells]
            if not _complete(file, line, header, columns, notes):
                return
        elif len(cells) != len(header):
            notes.error(file, f"{len(cells)} cells where the header names {len(header)}: a comma in a cell needs quotes", line)
        else:
            yield Row(file, line, {name: cell.strip() for name, cell in zip(header, cells, strict=True)})
    if header is None:
        notes.error(file, f"the file is empty; its first line must name {', '.join(columns)}")


def is_damaged(value: str) -> bool:
    """True for a long number that a spreadsheet has rewritten, such as 1.54E+10."""
    return bool(_DAMAGED.fullmatch(value))


def flag(row: Row, column: str, notes: Notes) -> bool:
    """A cell that must be 0 or 1; empty is 0."""
    if row[column] not in ("", "0", "1"):
        notes.error(row, f"{column} = {row[column][:20]!r}: write 0 or 1")
    return row[column] == "1"


def _complete(file: str, line: int, header: list[str], columns: Iterable[str], notes: Notes) -> bool:
    missing = [name for name in columns if name not in header]
    if missing:
        notes.error(file, f"column {', '.join(missing)} is missing; the header must name {', '.join(columns)}", line)
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        notes.error(file, f"column {', '.join(twice)} is named twice", line)
    return not missing and not twice


def line_of_bad_text(path: Path) -> int:
    """The first line of a file that is not UTF-8; 0 when all are."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0
