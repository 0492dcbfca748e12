"""六问: drawing a spot check, its sheet, the answers, and what they come to. Each part tells its story in its own file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ... import spotcheck
from ...errors import InvalidFiles, NotFound, Problem
from ...ledger import Row, Transaction, books, spotchecks
from ...ledger.operators import Operator
from ...spotcheck import Questionnaire
from .. import unmasking
from ..house import House
from . import answering, drawing, forms, papers, reporting, sheets
from .answering import Taken, Written
from .drawing import Wanted
from .questionnaire import BUILT_IN, questions_in_force
from .reporting import Report
from .sheets import CheckSheet

__all__ = ["BUILT_IN", "CheckSheet", "Report", "SpotChecks", "Taken", "Wanted", "Written"]


class SpotChecks:
    """The spot checks of one gateway."""

    def __init__(self, house: House) -> None:
        self._house = house

    # ── questions ──

    def questionnaire(self) -> Questionnaire:
        """The questions in force: the county's, or the built-in placeholder."""
        with self._house.ledger.read() as tx:
            return spotcheck.read(*questions_in_force(tx))

    def check_questions(self, file: str, text: str) -> Questionnaire:
        """Reads a questionnaire as an import would. Raises InvalidFiles with every problem by line."""
        found = spotcheck.read(file, text)
        with self._house.ledger.read() as tx:
            _refuse_other_text(tx, found.version, file, text)
        return found

    def import_questions(self, file: str, text: str, by: Operator) -> bool:
        """Puts a questionnaire in force; False when it was. Raises InvalidFiles, also for another text of a used version."""
        found = spotcheck.read(file, text)
        with self._house.ledger.write() as tx:
            _refuse_other_text(tx, found.version, file, text)
            return books.put(tx, spotchecks.KIND, {file: text}, self._house.now(), by.name)

    # ── draws ──

    def draw(self, wanted: Wanted, by: Operator) -> CheckSheet:
        """Draws, and commits frame, seed, size and who was drawn before anybody sees it.

        Raises NotFound (alert, region, role), Refused (nobody to draw, a number that makes no sense).
        """
        return self.sheet(drawing.draw(self._house, wanted, by))

    def listed(self) -> list[reporting.Summary]:
        """Every draw, oldest first: of what, by whom, how many answered."""
        return reporting.summaries(self._house)

    def of_alert(self, alert_id: int) -> list[int]:
        """The numbers of the spot checks about one alert."""
        with self._house.ledger.read() as tx:
            return spotchecks.of_alert(tx, alert_id)

    def of_season(self, year: int) -> list[int]:
        """The numbers of the spot checks drawn in one year, by Beijing's calendar: the flood season lies in it whole."""
        since, until = reporting.year(year)
        with self._house.ledger.read() as tx:
            return [row.id for row in spotchecks.listed(tx, since, until)]

    def frame(self, number: int) -> str:
        """The text whose SHA-256 the ledger holds, so that an auditor can draw again by hand. Raises NotFound."""
        with self._house.ledger.read() as tx:
            return str(find(tx, number).frame)

    # ── sheets ──

    def sheet(self, number: int) -> CheckSheet:
        """Whom, what, and beside it what the ledger knows; names and numbers masked. Raises NotFound."""
        with self._house.ledger.read() as tx:
            return sheets.sheet(self._house, tx, find(tx, number), masked=True)

    def reveal(self, number: int, by: Operator, reason: str) -> CheckSheet:
        """The same with names, numbers and words, after an entry that says who saw them and why. Raises NotAllowed, NotFound."""
        unmasking.check(by, reason)
        with self._house.ledger.write() as tx:
            find(tx, number)
            keys = [row.key for row in spotchecks.people(tx, [number]) if row.person_id is not None]
            digest = hashlib.sha256("\n".join(sorted(set(keys))).encode()).hexdigest()
            body = {"query": "spotcheck sheet", "reason": sheets.without_numbers(reason), "count": len(keys), "sha256": digest}
            spotchecks.shown(tx, [number], "unmasked", body, self._house.now(), by.name)
        with self._house.ledger.read() as tx:
            return sheets.sheet(self._house, tx, find(tx, number), masked=False)

    def write_form(self, sheet: CheckSheet, path: Path, by: str = "") -> int:
        """The form to be filled in, as XLSX; returns its rows. That it was taken along is an entry."""
        return self._export([sheet.number], path, "form", by, lambda at: forms.write(sheet, at))

    def write_sheet(self, sheet: CheckSheet, path: Path, by: str = "") -> int:
        """The sheet on paper, as PDF; returns how many persons stand on it. That it was taken along is an entry."""
        return self._export([sheet.number], path, "sheet", by, lambda at: papers.sheet(sheet, at))

    # ── answers ──

    def read_form(self, number: int, path: Path) -> list[Written]:
        """The filled rows of a form (CSV or XLSX). Raises InvalidFiles when it is no form of this spot check."""
        return forms.read(path, self.sheet(number))

    def answer(
        self, number: int, written: Sequence[Written], by: Operator, *, file: str = "", correct: bool = False, again: bool = False
    ) -> Taken:
        """Takes answers: all of them, or none when something is wrong. Raises InvalidFiles with every problem by line, NotFound.

        `correct`: what differs from an answer that stands replaces it, as a new row. `again`: they were asked once more.
        """
        return answering.take(self._house, number, written, by, file=file, correct=correct, again=again)

    # ── reports ──

    def report(self, numbers: Sequence[int]) -> Report:
        """What these spot checks found. Raises NotFound."""
        return reporting.report(self._house, numbers)

    def write_report_tables(self, report: Report, path: Path, by: str = "") -> int:
        """The report as XLSX; returns its rows. An entry says so."""
        return self._export(report.numbers, path, "report", by, lambda at: forms.write_report(report, at))

    def write_report(self, report: Report, path: Path, by: str = "") -> int:
        """The report on paper, as PDF; returns how many spot checks it is about. An entry says so."""
        return self._export(report.numbers, path, "report", by, lambda at: papers.report(report, at))

    def _export(self, numbers: Sequence[int], path: Path, what: str, by: str, write: forms.Writer) -> int:
        """Written beside its place, entered, then moved there: no file without its entry."""
        beside = path.with_name(f".{path.name}.unfinished")
        beside.touch(mode=0o600)  # it may hold names and numbers
        try:
            rows = write(beside)
            body = {"query": f"spotcheck {what}", "count": rows, "sha256": hashlib.sha256(beside.read_bytes()).hexdigest()}
            with self._house.ledger.write() as tx:
                spotchecks.shown(tx, numbers, "exported", body, self._house.now(), by)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        return rows


def find(tx: Transaction, number: int) -> Row:
    """One draw. Raises NotFound."""
    row = spotchecks.find(tx, number)
    if row is None:
        raise NotFound(f"no spot check {number}; `broadcast spotcheck list` shows them")
    return row


def _refuse_other_text(tx: Transaction, version: str, file: str, text: str) -> None:
    used = spotchecks.used_text(tx, version)
    if used is not None and used != text:
        message = f"version {version!r} was used in a spot check and never changes: give the new text a version of its own"
        raise InvalidFiles([Problem(file, _line_of_version(text), "error", message)])


def _line_of_version(text: str) -> int:
    return next((n for n, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith("version")), 0)
