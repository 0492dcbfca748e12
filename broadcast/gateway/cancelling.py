"""A Cancel in the county's own name, for a warning that must be taken back."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

from ..alert import Alert, Area, Geocode, Identifier, Info, MsgType, Reference, RegionCode, Scope, Severity, Status
from ..intake import cap
from ..ledger import alerts, questions, sending
from .house import House


def cancel_of(house: House, wanted: int | str, reason: str) -> Alert:
    """The Cancel of an alert's event, as CAP 1.2 bytes would say it. Raises NotFound."""
    with house.ledger.read() as tx:
        row = alerts.find(tx, wanted)
    moment = house.clock()
    info = Info(
        event=row.event,
        event_code=row.event_code,
        severity=_severity(row.level),
        issuer=house.county.name,
        headline=f"{house.county.name}解除{row.event}预警",
        description=reason,
        effective=moment,
        expires=moment + timedelta(hours=6),
        areas=(_area(house, sending.roots(row)),),
    )
    alert = Alert(
        identifier=Identifier(f"cancel-{row.id}-{moment:%Y%m%d%H%M%S%f}"),
        sender=house.county.name,
        sent=moment,
        status=Status(row.status),
        msg_type=MsgType.CANCEL,
        scope=Scope(row.scope),
        infos=(info,),
        note=reason,
        references=(Reference(row.identifier, row.sender, questions.moment(row.sent)),),
    )
    return _with_raw(alert)


def _area(house: House, roots: tuple[str, ...]) -> Area:
    tree = house.books.regions
    names = "、".join(tree[RegionCode(code)].name for code in roots)
    return Area(description=names, geocodes=tuple(Geocode(code, "NBS") for code in roots))


def _severity(level: str) -> Severity:
    return {"red": Severity.EXTREME, "orange": Severity.SEVERE, "yellow": Severity.MODERATE, "blue": Severity.MINOR}.get(
        level, Severity.UNKNOWN
    )


def _with_raw(alert: Alert) -> Alert:
    """Our own Cancel is kept like a received one: as bytes, with their hash."""
    raw = cap.write(alert)
    return replace(alert, raw=raw, sha256=hashlib.sha256(raw).hexdigest())
