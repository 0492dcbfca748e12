"""How an auditor's answer is handed over: a table, JSON, or a file that is written down in the ledger before it is there."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from rich.progress import Progress, SpinnerColumn, TextColumn

from ..errors import NotFound
from ..gateway import Export, Gateway, Operator
from ..ledger.audits import Asked, Filters, ways_in_words
from ..sheets import Cell, Sheet, write_csv, write_xlsx
from . import saying

_BEIJING = timezone(timedelta(hours=8))
_NOTE_EVERY = 1000  # rows

# The columns of a table on a terminal; a file has all.
_TABLE: dict[str, tuple[str, ...]] = {
    asked: tuple(columns.split())
    for asked, columns in {
        "deliveries": "delivery alert_id tier channel purpose region role person address state reason attempt started",
        "receipts": "receipt alert_id deliveries channel purpose address peer origin state code detail at recorded",
        "acknowledgements": "reply alert_id delivery region person_id person verb channel how settled flag recorded",
        "replies": "reply alert_id delivery region person_id person verb how said settled flag recorded",
        "callouts": "callout alert_id duty region role person_id person state rung calls opened due answered how",
        "entries": "entry at kind who body",
        "unreached": "unreached alert_id known kind region post role rank person_id person address ways",
    }.items()
}
_TIMES = frozenset({"started", "ended", "at", "recorded", "opened", "due", "next_step", "answered", "measures_due"})


@dataclass(frozen=True, slots=True)
class Handing:
    """One question and where its answer goes. `reason`: why it is to be unmasked; "" = masked."""

    asked: Asked
    filters: Filters
    by: Operator | None
    reason: str
    json: bool
    csv: Path | None
    xlsx: Path | None


def hand_over(gateway: Gateway, wanted: Handing) -> int:
    """Answers; returns how many rows. Raises NotFound, Refused, NotAllowed, LedgerUnavailable before anything is shown."""
    rows = _rows(gateway, wanted)
    if wanted.csv is not None or wanted.xlsx is not None:
        return _into_file(gateway, wanted, rows)
    if wanted.json:
        return _write_array(rows)
    columns = _TABLE[wanted.asked]
    shown = list(rows)
    saying.show(saying.table(columns, [[_in_words(row, name) for name in columns] for row in shown]))
    saying.note(f"{len(shown):,} {wanted.asked}{_more(wanted, shown)}")
    return len(shown)


def _rows(gateway: Gateway, wanted: Handing) -> Iterator[dict[str, Any]]:
    if wanted.reason and wanted.by is not None:
        return iter(gateway.unmask(wanted.asked, wanted.filters, wanted.by, wanted.reason))
    ledger = gateway.ledger
    answers = {
        "deliveries": ledger.deliveries, "receipts": ledger.receipts, "acknowledgements": ledger.acknowledgements,
        "replies": ledger.replies, "callouts": ledger.callouts, "entries": ledger.entries, "unreached": ledger.unreached,
    }  # fmt: skip
    return answers[wanted.asked](**wanted.filters)


def _more(wanted: Handing, rows: list[dict[str, Any]]) -> str:
    if not rows or len(rows) != wanted.filters.get("limit"):
        return ""
    return f"; there may be more: --after {rows[-1][_TABLE[wanted.asked][0]]}"


def _write_array(rows: Iterator[Mapping[str, Any]]) -> int:
    """One JSON array, a line for each row, written as it is read: it may be half a million."""
    before, n = "[", 0
    for n, row in enumerate(rows, 1):  # noqa: B007 - counted
        print(before, saying.to_json(row), sep="", end="")
        before = ",\n "
    print("[]" if before == "[" else "]")
    return n


def _in_words(row: Mapping[str, Any], name: str) -> str:
    cell = _cell(row, name)
    return "" if cell is None else str(cell)


def _cell(row: Mapping[str, Any], name: str) -> Cell:
    """What stands in a table or a spreadsheet: Beijing time, and lists in words."""
    value = row[name]
    if name in _TIMES and value:
        return f"{datetime.fromisoformat(value).astimezone(_BEIJING):%Y-%m-%d %H:%M:%S}"
    if name == "ways":
        return ways_in_words(value)
    return saying.to_json(value) if isinstance(value, dict) else value


# ── files ──


def _into_file(gateway: Gateway, wanted: Handing, rows: Iterator[dict[str, Any]]) -> int:
    """Written where only we can read it, put into the ledger, and only then given its name: whole and known, or not at all."""
    path = wanted.xlsx or wanted.csv
    assert path is not None
    to_stdout = str(path) == "-"
    folder = None if to_stdout else path.absolute().parent
    if folder is not None and not folder.is_dir():
        raise NotFound(f"no folder {folder.name!r} to write {path.name} into")
    with tempfile.TemporaryDirectory(prefix=".broadcast-", dir=folder) as hidden:
        made = Path(hidden) / ("answer.csv" if to_stdout else path.name)
        count = _write(made, wanted, rows)
        made.chmod(0o600)
        gateway.record_export(_export(made, wanted, count), wanted.by.name if wanted.by else "")
        if to_stdout:
            _copy_to_stdout(made)
        else:
            made.replace(path)
    saying.note(f"{count:,} {wanted.asked}" + ("" if to_stdout else f" in {path}") + "; the export is an entry of the ledger")
    return count


def _write(path: Path, wanted: Handing, rows: Iterator[dict[str, Any]]) -> int:
    first = next(rows, None)
    heads = list(first) if first is not None else list(_TABLE[wanted.asked])
    all_rows = _watched(wanted.asked, _joined(first, rows))
    sheet = Sheet(heads, ([_cell(row, name) for name in heads] for row in all_rows))
    if wanted.xlsx is not None:
        return write_xlsx(path, {wanted.asked: sheet})
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        return write_csv(out, sheet)


def _joined(first: dict[str, Any] | None, rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    if first is not None:
        yield first
        yield from rest


def _watched(what: str, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, counted on stderr while somebody watches."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} " + what))
    with Progress(*columns, console=saying.console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(what, total=None)
        for n, row in enumerate(rows, 1):
            if n % _NOTE_EVERY == 0:
                progress.update(task, completed=n)
            yield row


def _export(path: Path, wanted: Handing, count: int) -> Export:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    form = "xlsx" if wanted.xlsx is not None else "csv"
    return Export(wanted.asked, wanted.filters, form, not wanted.reason, count, digest)


def _copy_to_stdout(path: Path) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line in file:
            sys.stdout.write(line)
