"""Evidence goes in here: each row with its marks, its commitment, and a digest that an entry of the same transaction carries."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa

from . import chain
from .engine import Row
from .tables import EVIDENCE, address, batch, callout, delivery, entry, metadata, spotcheck

Values: TypeAlias = Mapping[Any, Any]  # column → value

# What may be taken out of a row when a person is erased. Digests take the row's commitment in its place.
PERSONAL: Mapping[str, tuple[str, ...]] = {
    "address": ("sealed",),
    "reply": ("said", "address"),
    "spotcheck_answer": ("said",),
}
COVERED = tuple(name for name in EVIDENCE if name != "entry")  # by entries; entries are covered by their chain
KEY = {name: "alert_id" if name == "alert_raw" else "id" for name in COVERED}
FROZEN = tuple(column.name for column in delivery.columns if column.name not in ("state", "reason"))  # of a delivery

_LEFT_OUT = {name: {"marks", *(("salt", *PERSONAL[name]) if name in PERSONAL else ())} for name in COVERED}
_DIGESTED = {name: sorted({c.name for c in metadata.tables[name].columns} - _LEFT_OUT[name]) for name in COVERED}
_DIGESTED["delivery"] = sorted((*FROZEN, "commitment"))
# In the table's order, so that a column added later leaves the marks of older rows as they are.
_MARKED = {
    name: [c.name for c in metadata.tables[name].columns if c.name not in (KEY[name], "marks", *PERSONAL.get(name, ()))]
    for name in COVERED
}


def row_digest(table: str, row: Values) -> bytes:
    """SHA-256 over the table's name and every column that is not NULL, name and value, by name."""
    return row_digests(table, [row])[0]


def row_digests(table: str, rows: Sequence[Values]) -> list[bytes]:
    """The same of many rows: column by column, as most of a column's values are alike."""
    head = chain.netstring(table)
    columns = [_texts(name, rows) for name in _DIGESTED[table]]
    return [hashlib.sha256((head + "".join(texts)).encode()).digest() for texts in zip(*columns, strict=True)]


def _texts(name: str, rows: Sequence[Values]) -> list[str]:
    """What of one column goes into the digest of each row: nothing, where it is NULL."""
    named = chain.netstring(name)
    known: dict[Any, str] = {None: ""}
    texts = []
    for row in rows:
        value = row[name]
        text = known.get(value)
        if text is None:
            text = known[value] = named + chain.netstring(chain.text_of(value) or "")
        texts.append(text)
    return texts


def commit_to(salt: bytes, *secrets: bytes) -> bytes:
    """What stands for personal data in digests: without the salt nobody can try out what it was."""
    return hashlib.sha256(salt + b"".join(b"%d:%b," % (len(one), one) for one in secrets)).digest()


def row_marks(table: str, rows: Sequence[Values]) -> list[bytes]:
    """Of each row four bytes for each column but the key and what is personal."""
    columns = []
    for name in _MARKED[table]:
        known: dict[Any, bytes] = {}
        values = [row.get(name) for row in rows]
        columns.append([known.get(value) or known.setdefault(value, chain.marks([value])) for value in values])
    return [b"".join(marks) for marks in zip(*columns, strict=True)]


def marks_length(table: str) -> int:
    """How many bytes the marks of a row have; of a row older than a column, fewer."""
    return 4 * len(_MARKED[table])


def unlike(table: str, row: Values) -> list[str]:
    """The columns that are not as the row's marks have them."""
    own, kept = row_marks(table, [row])[0], bytes(row["marks"] or b"")
    known = [(name, slice(4 * n, 4 * n + 4)) for n, name in enumerate(_MARKED[table]) if 4 * n < len(kept)]
    erased = ("salt",) if table in PERSONAL and row["salt"] is None else ()
    return [name for name, its in known if own[its] != kept[its] and name not in erased]


def prepared(table: str, rows: Sequence[Values]) -> list[dict[str, Any]]:
    """Rows as they are inserted: with salt and commitment where they hold personal data, and with their marks."""
    made = [dict(row) for row in rows]
    if table in PERSONAL:
        random = os.urandom(16 * len(made))
        for n, row in enumerate(made):
            row["salt"] = random[16 * n : 16 * n + 16]
            row["commitment"] = commit_to(row["salt"], *(row[name] for name in PERSONAL[table]))
    for row, marks in zip(made, row_marks(table, made), strict=True):
        row["marks"] = marks
    return made


def add(tx: sa.Connection, table: sa.Table, rows: Sequence[Values], name: str) -> list[int]:
    """Inserts rows of evidence, all with the same columns, and returns their ids. Chain `name` covers them at the end.

    The caller appends the entry that says what they are; it may do so before or after.
    """
    if not rows:
        return []
    made = prepared(table.name, rows)
    key = table.c[KEY[table.name]]
    if key.name in made[0]:
        tx.execute(table.insert(), made)
        ids = [int(row[key.name]) for row in made]
    else:
        ids = list(tx.execute(table.insert().returning(key, sort_by_parameter_order=True), made).scalars())
    blank = dict.fromkeys(table.columns.keys())
    whole = [{**blank, **row, key.name: number} for number, row in zip(ids, made, strict=True)]
    chain.cover(tx, name, table.name, dict(zip(ids, row_digests(table.name, whole), strict=True)))
    return ids


_ADD_ADDRESS = sa.text(
    "INSERT INTO address (sealed, salt, commitment, marks) VALUES (:sealed, :salt, :commitment, :marks)"
    " ON CONFLICT (sealed) DO NOTHING"
)


def add_addresses(tx: sa.Connection, sealed: Iterable[bytes], now: int) -> dict[bytes, int]:
    """sealed → id of each of these addresses; those that are new are entered. At most some thousand at once."""
    wanted = list(dict.fromkeys(sealed))
    known = _known(tx, wanted)
    fresh = prepared("address", [{"sealed": one} for one in wanted if one not in known])
    if not fresh:
        return {one: row.id for one, row in known.items()}
    tx.execute(_ADD_ADDRESS, fresh)
    added = _known(tx, [row["sealed"] for row in fresh])
    # Two imports may bring the same address at once: the row is of the one whose salt it bears.
    mine = [row | {"id": its.id} for row in fresh if bytes((its := added[row["sealed"]]).salt) == row["salt"]]
    if mine:
        digests = zip((row["id"] for row in mine), row_digests("address", mine), strict=True)
        chain.cover(tx, chain.HOUSE, "address", dict(digests))
        chain.append(tx, chain.HOUSE, "addresses.added", now, {"addresses": len(mine)})
    return {one: row.id for one, row in (known | added).items()}


def _known(tx: sa.Connection, sealed: Sequence[bytes]) -> dict[bytes, Row]:
    found: dict[bytes, Row] = {}
    for start in range(0, len(sealed), 500):
        some = sealed[start : start + 500]
        rows = tx.execute(sa.select(address.c.id, address.c.sealed, address.c.salt).where(address.c.sealed.in_(some)))
        found |= {bytes(row.sealed): row for row in rows}
    return found


# ── deliveries: there before anybody is called, and covered when they were ──


def deliveries(batch_id: int, rows: Sequence[Values]) -> dict[str, Any]:
    """What an entry says of some deliveries of a batch, given with their address's commitment, in the order of seq."""
    return {
        "batch": batch_id,
        "seqs": chain.ranges(row["seq"] for row in rows),
        "sha256": chain.over(row_digests("delivery", rows)),
        "crc32": {name: column_mark(name, rows) for name in _DIGESTED["delivery"]},
    }


def column_mark(name: str, rows: Sequence[Values]) -> str:
    """Of one column of some deliveries: to find the one that was changed."""
    return f"{zlib.crc32(''.join(_texts(name, rows)).encode()):08x}"


def read_deliveries(tx: sa.Connection, batch_id: int, first: int = 0, last: int | None = None) -> list[Row]:
    """Deliveries of a batch with their address's commitment, by seq."""
    statement = (
        sa.select(delivery, address.c.commitment)
        .outerjoin(address, address.c.id == delivery.c.address_id)
        .where(delivery.c.batch_id == batch_id, delivery.c.seq >= first)
        .order_by(delivery.c.seq)
    )
    return list(tx.execute(statement if last is None else statement.where(delivery.c.seq <= last)))


def cover_deliveries(tx: sa.Connection, alert_id: int, batch_id: int, rows: Sequence[Values]) -> None:
    """The alert's next entry covers these deliveries."""
    if rows:
        chain.cover_deliveries(tx, chain.of_alert(alert_id), deliveries(batch_id, rows))


def cover_seqs(tx: sa.Connection, alert_id: int, batch_id: int, seqs: Sequence[int]) -> None:
    """The same, of deliveries that have to be read first."""
    if seqs:
        wanted = set(seqs)
        rows = [row._mapping for row in read_deliveries(tx, batch_id, min(seqs), max(seqs)) if row.seq in wanted]
        cover_deliveries(tx, alert_id, batch_id, rows)


# ── for whoever redoes it without us ──


def exported(tx: sa.Connection, alert_id: int) -> Iterator[dict[str, Any]]:
    """An alert's entries, rows of evidence and deliveries, as JSON has them: {"table": …, "row": {column: value}}.

    Bytes are hex digits. Of personal data stands the commitment only, and `marks` are left out: with what is here the digests
    can be redone as docs/ledger.md says, and nobody learns a number. Page by page: an alert may have half a million deliveries.
    """
    its = sa.select(entry).where(entry.c.chain == chain.of_alert(alert_id)).order_by(entry.c.n)
    for row in tx.execute(its.execution_options(yield_per=500)):
        yield {"table": "entry", "row": {name: value for name, value in row._mapping.items() if name != "marks"}}
    for name in COVERED:
        table = metadata.tables[name]
        if (mine := of_alert(table, alert_id)) is not None:
            found = sa.select(table).where(mine).order_by(table.c[KEY[name]])
            for row in tx.execute(found.execution_options(yield_per=500)):
                yield {"table": name, "row": _as_json(name, row._mapping)}
    for batch_id in tx.execute(sa.select(batch.c.id).where(batch.c.alert_id == alert_id).order_by(batch.c.id)).scalars().all():
        for row in read_deliveries(tx, batch_id):
            yield {"table": "delivery", "row": _as_json("delivery", row._mapping)}


def _as_json(table: str, row: Values) -> dict[str, Any]:
    return {name: bytes(row[name]).hex() if isinstance(row[name], bytes | memoryview) else row[name] for name in _DIGESTED[table]}


def of_alert(table: sa.Table, alert_id: int) -> sa.ColumnElement[bool] | None:
    """Of a row of evidence: it is of this alert. None: the table has nothing to do with alerts."""
    if "alert_id" in table.c:
        return table.c.alert_id == alert_id
    if "batch_id" in table.c:
        return table.c.batch_id.in_(sa.select(batch.c.id).where(batch.c.alert_id == alert_id))
    if "callout_id" in table.c:
        return table.c.callout_id.in_(sa.select(callout.c.id).where(callout.c.alert_id == alert_id))
    if "spotcheck_id" in table.c:
        return table.c.spotcheck_id.in_(sa.select(spotcheck.c.id).where(spotcheck.c.alert_id == alert_id))
    return None
