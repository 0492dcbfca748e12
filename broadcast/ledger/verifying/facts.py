"""An alert and its callouts against what the entries of its chain say of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import sqlalchemy as sa

from ..engine import Row
from ..tables import alert, alert_raw, callout
from .entries import Told
from .findings import Finding, Look

NEVER_OVER = {"closed": None, "superseded_by": None, "released_by": ""}  # until an entry says something else


def check(look: Look, name: str, alert_id: int, told: Told) -> None:
    """The alert's columns, the bytes it came in, and the answers to its callouts."""
    row = look.tx.execute(sa.select(alert).where(alert.c.id == alert_id)).first()
    if row is None:
        look.found(Finding(name, "the alert is missing", table="alert", row=str(alert_id), column="id"))
        return
    if not told.last:
        look.found(Finding(name, "no entry speaks of this alert", table="alert", row=str(alert_id), column="id"))
    for column, expected in ({**NEVER_OVER, **told.facts} if told.facts else {}).items():
        if column in row._mapping and row._mapping[column] != expected:
            n, kind = told.entry_of.get(column, (None, ""))
            look.found(Finding(name, "is not what the entry says", n, kind, "alert", str(alert_id), column))
    raw = look.tx.execute(sa.select(alert_raw.c.raw).where(alert_raw.c.alert_id == alert_id)).scalar()
    if raw is not None and told.facts and hashlib.sha256(raw).hexdigest() != told.facts.get("sha256"):
        look.found(Finding(name, "is not what was received", table="alert_raw", row=str(alert_id), column="raw"))
    for number, column, what, n in _callouts(look, alert_id, told):
        look.found(Finding(name, what, n, table="callout", row=str(number), column=column))


def _callouts(look: Look, alert_id: int, told: Told) -> Iterator[tuple[int, str, str, int | None]]:
    rows = look.tx.execute(sa.select(callout).where(callout.c.alert_id == alert_id).order_by(callout.c.id)).all()
    for number in sorted(told.answered.keys() - {row.id for row in rows}):
        yield number, "id", "the callout is missing", told.answered[number][2]
    for row in rows:
        wrong = _release(row, told) if row.duty == "release" else _answer(row, told)
        if wrong is not None:
            yield row.id, *wrong


def _answer(row: Row, told: Told) -> tuple[str, str, int | None] | None:
    said = told.answered.get(row.id)
    if said is None:
        return ("state", "is answered, and no entry says by what", None) if row.state == "answered" else None
    at, how, n = said
    found = {"state": (row.state, "answered"), "answered": (row.answered, at), "how": (row.how, how)}
    return next(((column, "is not what the entry says", n) for column, (is_, must) in found.items() if is_ != must), None)


def _release(row: Row, told: Told) -> tuple[str, str, int | None] | None:
    if row.state != "answered":
        return None
    who, n = told.approved.get(row.answered, ("", None))
    if n is None:
        return "answered", "is approved, and no entry says by whom", None
    return None if row.answered_by == who else ("answered_by", "is not what the entry says", n)
