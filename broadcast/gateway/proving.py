"""The ledger as proof, as it is carried: deliveries covered when an alert is over, anchors made and taken away, verify."""

from __future__ import annotations

import json
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

from ..errors import NotAllowed
from ..ledger import anchors, covering, erasing, questions, retention, verifying
from ..ledger.anchors import Anchor
from ..ledger.erasing import Erased
from ..ledger.limits import BEIJING
from ..ledger.operators import Operator
from ..ledger.verifying import Verdict
from .house import House, log

DAY = 24 * 3600 * 1000  # milliseconds
COVER_SECONDS = 0.2  # of one sweep: alarms are rung by it too
LEAVE_PAUSE = 60.0  # seconds until what could not leave is tried again
ERASES = "DUTY_LEADER"  # the operator role that may erase a person


class WayOut(Protocol):
    """A place outside this host that keeps anchors."""

    @property
    def name(self) -> str:
        """Which one, without secrets."""
        ...

    def take(self, name: str, text: str) -> None:
        """Keeps it. Twice is once. Raises OSError or smtplib.SMTPException."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A share that is mounted here and kept elsewhere."""

    path: Path

    @property
    def name(self) -> str:
        """The folder."""
        return f"folder {self.path}"

    def take(self, name: str, text: str) -> None:
        """Written beside and moved into place. A folder that is not there is a share that is not mounted: not made here."""
        part = self.path / f".{name}.part"
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(self.path / name)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to somebody who keeps it."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The server."""
        return f"mail by {self.host}"

    def take(self, name: str, text: str) -> None:
        """Over TLS only: from the first byte at port 465, else by STARTTLS."""
        mail = EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = name, self.sender, ", ".join(self.to)
        mail.set_content("The heads of the ledger's chains. Keep it: it shows what was changed before it was made.\n")
        mail.add_attachment(text.encode(), maintype="application", subtype="json", filename=name)
        with self._connect() as server:
            if self.user:
                server.login(self.user, self.password)
            server.send_message(mail)

    def _connect(self) -> smtplib.SMTP:
        if self.port == smtplib.SMTP_SSL_PORT:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=30, context=self.context)
        server = smtplib.SMTP(self.host, self.port, timeout=30)
        server.starttls(context=self.context)
        return server


def tend(house: House) -> None:
    """What the sweep does for it: never more than a moment."""
    over = _cover(house)
    if over:
        make(house, "closed")
    if house.has_come("anchor of the day", timedelta(minutes=1)):
        with house.ledger.read() as tx:
            last = anchors.newest(tx)
        if last is None or _date(last.at) != _date(house.now()):
            make(house, "day")
    if house.has_come("retention", timedelta(hours=1)):
        _forget(house)


def _date(millis: int) -> str:
    return questions.at(millis).astimezone(BEIJING).date().isoformat()


def _cover(house: House) -> int:
    """Covers batches of alerts that are over, one after the other; returns how many alerts were finished."""
    finished, until = 0, time.monotonic() + COVER_SECONDS
    while time.monotonic() < until:
        with house.ledger.read() as tx:
            alert_id = covering.next_alert(tx)
        if alert_id is None:
            break
        with house.ledger.write(patient=True) as tx:
            finished += not covering.cover_next(tx, alert_id, house.now())
        time.sleep(0.001)  # SQLite's lock is not fair
    return finished


def _forget(house: House) -> None:
    now, until = house.now(), time.monotonic() + COVER_SECONDS
    cleared = 1
    while cleared and time.monotonic() < until:
        with house.ledger.write(patient=True) as tx:
            cleared = retention.clear(tx, now - house.retention_days * DAY, now)


def make(house: House, why: str) -> Anchor:
    """Writes down the heads of the chains. Raises LedgerUnavailable."""
    ledger = house.ledger
    with ledger.write() as tx:
        return anchors.make(tx, ledger.mark, ledger.seal.key_for("anchors"), why, house.now())


def by_hand(house: House) -> str:
    """Makes one and returns the document. It leaves as all others do."""
    made = make(house, "by hand")
    with house.ledger.read() as tx:
        row = anchors.newest(tx)
    assert row is not None and row.id >= made.number
    return str(row.body)


def leave(house: House) -> float:
    """Takes what has not left yet off this host, by every way; returns after how many seconds the errand comes round again.

    A way that fails is tried again; a network call, so no transaction is open.
    """
    with house.ledger.read() as tx:
        waiting = anchors.not_left(tx)
    for row in waiting:
        done = set(json.loads(row.left_by))
        name = anchors.read(row.body).name
        for way in house.ways_out:
            if way.name in done:
                continue
            try:
                way.take(name, row.body)
            except (OSError, smtplib.SMTPException) as error:
                log.warning("%s could not leave by %s: %s", name, way.name, type(error).__name__)
                continue
            done.add(way.name)
        everywhere = {way.name for way in house.ways_out} <= done
        with house.ledger.write(patient=True) as tx:
            anchors.left(tx, row.id, done, house.now() if everywhere else None)
    return 1.0


def verify(
    house: House, alert_id: int | None, anchor: str | None, progress: Callable[[str], None] = lambda _chain: None
) -> Verdict:
    """Recomputes everything, or one alert's chain. `anchor`: the text of one that was kept elsewhere. Raises InvalidAnchor."""
    given = None if anchor is None else anchors.read(anchor)
    mark = house.ledger.mark
    with house.ledger.database.snapshot() as tx:
        house.ledger.check_seal(tx)
        return verifying.verify(tx, house.ledger.seal, mark, alert_id=alert_id, anchor=given, progress=progress)


def erase(house: House, key: str, reason: str, operator: Operator) -> Erased:
    """Takes out the numbers, name and words of a person who has left. Raises NotAllowed, NotFound."""
    if ERASES not in operator.roles:
        raise NotAllowed(f"this needs {ERASES}; {operator.name} holds {', '.join(sorted(operator.roles)) or 'none'}")
    if not reason.strip():
        raise NotAllowed("erasing a person needs a reason: --reason")
    with house.ledger.write() as tx:
        return erasing.erase(tx, key, reason, operator.name, house.now())
