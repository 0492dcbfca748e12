"""Rows of evidence against the entries that cover them: which are gone, which column was changed, which nobody entered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from .. import chain, proof
from ..engine import Row
from ..seal import WrongKey
from ..tables import metadata
from .findings import Finding, Look, numbers

AT_ONCE = 40  # ranges in one statement
PAGE = 5000


def check(look: Look, entry: Row, table: str, ranges: Sequence[Sequence[int]], sha256: str) -> None:
    """The rows that one entry covers."""
    for first, last in ranges:
        look.covered[table].add(first, last)
    found = {row._mapping[proof.KEY[table]]: row._mapping for row in _fetch(look.tx, table, ranges)}
    look.rows += len(found)
    wrong = _first_wrong(look, table, ranges, sha256, found)
    if wrong is not None:
        look.found(Finding(entry.chain, wrong[2], entry.n, entry.kind, table, wrong[0], wrong[1]))


Place = tuple[str, str, str]  # row, column, what


def _first_wrong(
    look: Look, table: str, ranges: Sequence[Sequence[int]], sha256: str, found: Mapping[int, proof.Values]
) -> Place | None:
    gone = [number for number in numbers(ranges) if number not in found]
    if gone:
        return str(gone[0]), proof.KEY[table], "the row is missing" + (f", and {len(gone) - 1} more" if len(gone) > 1 else "")
    in_order = [found[number] for number in sorted(found)]
    holds = chain.over(proof.row_digests(table, in_order)) == sha256
    for row in in_order:
        number, unlike = str(row[proof.KEY[table]]), proof.unlike(table, row)
        if unlike:
            marks = holds and unlike != ["salt"]  # the salt is in no digest
            return number, *(("marks", "the marks are not those of the row") if marks else (unlike[0], "was changed"))
        if holds and len(row["marks"] or b"") < proof.marks_length(table):
            return number, "marks", "the marks are not those of the row"
        if table in proof.PERSONAL and (place := _of_person(look, table, row)):
            return number, *place
    if holds:
        return None
    which = f"{ranges[0][0]} to {ranges[-1][1]}"
    return which, "", "the digest is not that of these rows: they were exchanged, or changed with their marks"


def _of_person(look: Look, table: str, row: proof.Values) -> tuple[str, str] | None:
    """The column of personal data that is not what the row is committed to."""
    columns = proof.PERSONAL[table]
    gone = [name for name in (*columns, "salt") if row[name] is None]
    if gone:
        if row[proof.KEY[table]] in look.erased[table] and len(gone) == len(columns) + 1:
            return None
        return gone[0], "was taken out, and no entry says that a person was erased"
    values = [bytes(row[name]) for name in columns]
    if proof.commit_to(bytes(row["salt"]), *values) != bytes(row["commitment"] or b""):
        closed = [name for name, value in zip(columns, values, strict=True) if not _opens(look, value)]
        return (closed or [" or ".join(columns)])[0], "is not what the row is committed to"
    closed = [name for name, value in zip(columns, values, strict=True) if not _opens(look, value)]
    return (closed[0], "does not open with the seal key") if closed else None


def _opens(look: Look, sealed: bytes) -> bool:
    try:
        return not sealed or bool(look.seal.open(sealed) is not None)
    except WrongKey:
        return False


def _fetch(tx: sa.Connection, table: str, ranges: Sequence[Sequence[int]]) -> Iterator[Row]:
    its = metadata.tables[table]
    key = its.c[proof.KEY[table]]
    for start in range(0, len(ranges), AT_ONCE):
        some = ranges[start : start + AT_ONCE]
        yield from tx.execute(sa.select(its).where(sa.or_(*(key.between(first, last) for first, last in some))))


def uncovered(look: Look, alert_id: int | None) -> None:
    """Rows that no entry covers: of one alert, or of all."""
    for table in proof.COVERED:
        for number in _ids(look.tx, table, alert_id):
            if number not in look.covered[table]:
                what = "no entry covers this row: it was added by hand"
                look.found(Finding("", what, table=table, row=str(number), column=proof.KEY[table]))


def _ids(tx: sa.Connection, table: str, alert_id: int | None) -> Iterator[int]:
    its = metadata.tables[table]
    key = its.c[proof.KEY[table]]
    statement = sa.select(key).order_by(key).limit(PAGE)
    if alert_id is not None:
        if (mine := proof.of_alert(its, alert_id)) is None:
            return
        statement = statement.where(mine)
    after = -1 << 62
    while page := tx.execute(statement.where(key > after)).scalars().all():
        yield from page
        after = page[-1]
