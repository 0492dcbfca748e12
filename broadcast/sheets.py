"""Tables as files that a spreadsheet opens: CSV and XLSX out, filled ones back in with the line of each row.

Cells that a spreadsheet would run as a formula are defused: https://owasp.org/www-community/attacks/CSV_Injection.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from .errors import InvalidFiles, Problem

# openpyxl takes a tenth of a second to load: only whoever reads or writes XLSX waits for it.

Cell: TypeAlias = "str | int | float | bool | datetime | None"

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MAX_SHEET_ROWS = 1_048_575  # of XLSX, without the heads
_MAX_READ_BYTES = 20 << 20
_OFFERED_ROWS = 2000  # of a form: how far down choices are offered


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: its heads, and rows as wide as they are."""

    heads: Sequence[str]
    rows: Iterable[Sequence[Cell]]
    widths: Sequence[float] = ()  # of the columns of an XLSX page, in characters; long texts are wrapped then
    choices: Mapping[int, Sequence[str]] = field(default_factory=dict)  # column from 0 → what a spreadsheet offers to pick


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a file that was read: its cells by head, as text, and where it stands."""

    number: int  # as an editor counts: the heads are line 1
    cells: Mapping[str, str]


def write_csv(out: TextIO, sheet: Sheet) -> int:
    """Writes heads and rows; returns how many rows. Open the file with newline="" and encoding "utf-8-sig", for Excel."""
    writer = csv.writer(out)
    writer.writerow(sheet.heads)
    count = 0
    for count, row in enumerate(sheet.rows, 1):  # noqa: B007 - counted
        writer.writerow([_text(cell) for cell in row])
    return count


def write_xlsx(path: Path, sheets: Mapping[str, Sheet]) -> int:
    """Writes one page for each sheet, row by row; returns how many rows. Raises InvalidFiles when a page has no room for them."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    total = 0
    for name, sheet in sheets.items():
        page = book.create_sheet(name[:31])  # the longest name that Excel takes
        page.freeze_panes = "A2"
        _lay_out(page, sheet)
        page.append([_bold(page, head, wrap=bool(sheet.widths)) for head in sheet.heads])
        count = 0
        for count, row in enumerate(sheet.rows, 1):
            if count > _MAX_SHEET_ROWS:
                raise _wrong(path, 0, f"more than {_MAX_SHEET_ROWS:,} rows; ask for less, or use CSV")
            page.append([_cell(page, cell, wrap=bool(sheet.widths)) for cell in row])
        total += count
    book.save(path)
    return total


def read(path: Path) -> Iterator[Line]:
    """The rows of a filled CSV or XLSX (its first page), empty ones left out. Raises InvalidFiles: what is wrong, and where."""
    if not path.is_file():
        raise _wrong(path, 0, "no such file")
    if path.stat().st_size > _MAX_READ_BYTES:
        raise _wrong(path, 0, f"larger than {_MAX_READ_BYTES >> 20} MB")
    rows = _rows_of_xlsx(path) if path.suffix.lower() == ".xlsx" else _rows_of_csv(path)
    heads: list[str] = []
    for number, row in rows:
        texts = [undefused(text.strip()) for text in row]
        if not heads:
            heads = texts
            continue
        if len(texts) > len(heads) and any(texts[len(heads) :]):
            raise _wrong(path, number, f"{len(texts)} cells, but {len(heads)} heads")
        if any(texts):
            yield Line(number, dict(zip(heads, texts + [""] * len(heads), strict=False)))


def _wrong(path: Path, line: int, message: str) -> InvalidFiles:
    return InvalidFiles([Problem(path.name, line, "error", message)])


def defused(text: str) -> str:
    """The text, with an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(_STARTS_A_FORMULA) else text


def undefused(text: str) -> str:
    """The inverse of `defused`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_STARTS_A_FORMULA) else text


def _text(cell: Cell) -> str:
    if isinstance(cell, str):
        return defused(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(timespec="seconds")
    return "" if cell is None else str(cell)


def _lay_out(page: Any, sheet: Sheet) -> None:
    from openpyxl.utils import get_column_letter
    from openpyxl.worksheet.datavalidation import DataValidation

    for number, width in enumerate(sheet.widths, 1):
        page.column_dimensions[get_column_letter(number)].width = width
    for column, words in sheet.choices.items():
        letter = get_column_letter(column + 1)
        # Offered, not forced: what was picked is checked when the file is read.
        offer = DataValidation(type="list", formula1=f'"{",".join(words)}"', allow_blank=True, showErrorMessage=False)
        offer.add(f"{letter}2:{letter}{_OFFERED_ROWS}")
        page.data_validations.append(offer)


def _cell(page: object, cell: Cell, *, wrap: bool) -> object:
    if isinstance(cell, (str, datetime)):
        made = _written(page, _printable(_text(cell)), wrap=wrap)
        made.data_type = "s"  # whatever it begins with: a text
        return made
    return cell


def _bold(page: object, head: str, *, wrap: bool) -> object:
    from openpyxl.styles import Font

    made = _written(page, head, wrap=wrap)
    made.font = Font(bold=True)
    return made


def _written(page: object, text: str, *, wrap: bool) -> Any:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Alignment

    made = WriteOnlyCell(page, text)
    if wrap:
        made.alignment = Alignment(wrap_text=True, vertical="top")
    return made


def _printable(text: str) -> str:
    """XLSX is XML: it has no control characters."""
    return "".join(letter if letter >= " " or letter in "\t\n\r" else "?" for letter in text)


def _rows_of_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    raw = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):  # Excel in China saves "CSV" in the latter
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise _wrong(path, 0, "neither UTF-8 nor GB 18030; save it as CSV UTF-8")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise _wrong(path, reader.line_num, str(error)) from None


def _rows_of_xlsx(path: Path) -> Iterator[tuple[int, list[str]]]:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise _wrong(path, 0, f"not an XLSX file ({type(error).__name__}); save it as XLSX or CSV") from None
    try:
        for number, row in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
            yield number, ["" if cell is None else _text_of(cell) for cell in row]
    finally:
        book.close()


def _text_of(cell: object) -> str:
    """What a person sees in the cell: 3 and not 3.0."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return cell.isoformat(timespec="seconds") if isinstance(cell, datetime) else str(cell)
