"""What a person sees who opens the link of a delivery, and what their tap does. Opening it confirms nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..alert import RegionCode
from ..errors import NotFound
from ..ledger import questions, replies, sending
from ..ledger.replies import Duty, Told
from . import links
from .house import House

GONE = "this link is not good (any more)"  # the same words for forged, expired and over: nothing is told to a stranger


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One post's duty to confirm one alert, as its page shows it. No address; the name is masked."""

    alert_id: int
    headline: str
    event: str
    level: str
    status: str
    issuer: str
    area: str
    sent: datetime
    role: str
    region: str
    person: str  # 测**
    open: bool
    confirmed: datetime | None
    text: str  # the words that were sent


def look(house: House, token: str) -> Confirmation:
    """What the link asks to confirm. Raises NotFound for any link that is not good (any more)."""
    _batch_id, _seq, duty = _duty(house, token)
    return _shown(house, duty)


def confirm(house: House, token: str) -> Confirmation:
    """The person says: we have it. Twice is once. Raises NotFound."""
    batch_id, seq, duty = _duty(house, token)
    if duty.open:
        told = Told(verb="acknowledged", how="link", peer="", said=b"", at=None, delivery=(batch_id, seq))
        with house.ledger.write() as tx:
            replies.take(tx, told, house.now())
        batch_id, seq, duty = _duty(house, token)
    return _shown(house, duty)


def _duty(house: House, token: str) -> tuple[int, int, Duty]:
    named = links.read(house, token)
    if named is None:
        raise NotFound(GONE)
    with house.ledger.read() as tx:
        duty = replies.duty_of(tx, *named)
    if duty is None or house.now() >= duty.alert.expires:
        raise NotFound(GONE)
    return *named, duty


def _shown(house: House, duty: Duty) -> Confirmation:
    regions, role = house.books.regions, house.books.roles.get(duty.role)
    name = house.ledger.seal.show(duty.name)
    row = duty.alert

    def called(code: str) -> str:
        return regions[RegionCode(code)].name if code in regions else code

    return Confirmation(
        alert_id=row.id,
        headline=row.headline,
        event=row.event,
        level=row.level,
        status=row.status,
        issuer=row.issuer,
        area="、".join(called(code) for code in sending.roots(row)),
        sent=questions.at(row.sent),
        role=role.zh if role else duty.role,
        region=called(duty.region),
        person=name if duty.name is None else name[:1] + "*" * max(1, len(name) - 1),
        open=duty.open,
        confirmed=questions.moment(duty.answered),
        text=links.put_in(duty.text, ""),
    )
