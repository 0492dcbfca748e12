"""An old warning told as if it came now, for demonstrations and drills: every time moves by the same span."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from ..alert import Alert, Info, Reference


def restamped(alert: Alert, now: datetime) -> Alert:
    """The same warning with `sent` = now. Identifiers, words and the raw bytes stay; repairs and hash stay with the bytes."""
    span = now - alert.sent
    return replace(
        alert,
        sent=now,
        infos=tuple(_info(info, span) for info in alert.infos),
        references=tuple(_reference(one, span) for one in alert.references),
    )


def _info(info: Info, span: timedelta) -> Info:
    return replace(
        info, effective=_moved(info.effective, span), onset=_moved(info.onset, span), expires=_moved(info.expires, span)
    )


def _reference(one: Reference, span: timedelta) -> Reference:
    return replace(one, sent=_moved(one.sent, span))


def _moved(moment: datetime | None, span: timedelta) -> datetime | None:
    return None if moment is None else moment + span
