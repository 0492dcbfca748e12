"""The stand-in of a carrier's SMSC over SMPP 3.4, by its specification: what is taken, and with which status the rest is refused.

Where the specification leaves it to the carrier, the choice is marked ASSUMPTION.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from . import smpp_pdu as pdu
from .faults import Faults
from .phones import Habits, masked
from .provider import Host, NextFaults, Request, Response
from .schedule import Schedule
from .smpp_line import Outbox, Owed, Session

DELIVERED, UNDELIVERABLE = 2, 5  # message_state, §5.2.28
RECEIPT = 0x04  # esm_class of a deliver_sm that is a receipt, §5.2.12
HAS_HEADER = 0x40  # esm_class: the text begins with a user data header
UCS2 = 8
CODINGS = {0: "latin-1", 1: "ascii", 3: "latin-1", UCS2: "utf-16-be"}  # §5.2.19. ASSUMPTION: no other is taken
MAX_OCTETS = {0: 160, 1: 160, 3: 140, UCS2: 140}  # of one SMS; 160 septets arrive as 160 octets


@dataclass(frozen=True, slots=True)
class SmppAccount:
    """One contract with a carrier. The defaults are made up. It pushes nothing: its customer binds as a receiver."""

    system_id: str = "simulated"
    password: str = field(default="simulate", repr=False)  # at most 8 characters, as the specification has it
    port: int = 0  # of its own, TCP; 0 = a free one
    service_number: str = "10690000"  # what sources begin with
    per_second: int = 100  # submit_sm, of all sessions
    max_binds: int = 4
    max_characters: int = 500  # of a message_payload
    report_delay_ms: int = 200  # of the provider's time, from taking to the receipt
    prefixes: tuple[str, ...] = ("154", "194")  # numbers no carrier has given out to a person: all others are refused
    refuse_ending: str = ""  # numbers with this ending are refused too
    reply_share: float = 0.0  # of the phones with a text that asks for 回复1: so many answer, 0 to 1
    reply_seconds: float = 30.0  # on average, from the text to the answer
    seed: int = 0  # of who answers

    def __post_init__(self) -> None:
        if not 0 < len(self.system_id) <= 15 or not len(self.password) <= 8:
            raise ValueError("system_id has 1 to 15 characters, password at most 8")
        if self.per_second < 1 or self.max_binds < 1 or self.report_delay_ms < 0:
            raise ValueError("per_second and max_binds are 1 or more, report_delay_ms 0 or more")


@dataclass(frozen=True, slots=True)
class Sms:
    """One text, all parts of which were taken."""

    mobile: str
    text: str
    source: str
    message_ids: tuple[str, ...]  # of its parts, in their order
    at: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """One submit_sm that was taken."""

    message: pdu.Message
    mobile: str
    message_id: str
    text: str
    reference: int  # 0 = it is not one of several
    total: int
    number: int
    at: datetime


class Smsc:
    """A `Provider` without HTTP doors: it listens on a TCP port of its own once it is started."""

    name = "smpp"

    def __init__(self, account: SmppAccount, host: Host, next_faults: NextFaults) -> None:
        self.account, self.system_id = account, "SIMULATOR"
        self._host, self._next_faults = host, next_faults
        self._habits = Habits(account.reply_share, account.reply_seconds, account.seed)
        self._chance = random.Random(account.seed)  # noqa: S311 - an order, no secret
        self._later = Schedule(host.clock, "smpp-phones")
        self._outbox = Outbox(self._later)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._lately: deque[float] = deque()  # when submit_sm were taken, of the last second
        self._sessions: set[Session] = set()
        self._parts: dict[tuple[str, str, int, int], dict[int, Part]] = {}
        self._arrived: list[Sms] = []
        self._counts = {"calls": 0, "reports_pushed": 0, "reports_owed": 0, "replies_pushed": 0, "replies_owed": 0}
        self._listener = socket.create_server(("127.0.0.1", account.port), backlog=64)
        self._thread = threading.Thread(target=self._accept, name="smpp", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Answers from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Hangs up on everybody."""
        self._later.stop()
        with contextlib.suppress(OSError):  # it never accepted
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()

    def opens(self, path: str) -> bool:  # noqa: ARG002 - the interface's signature
        """No HTTP door is its own."""
        return False

    def handle(self, request: Request, faults: Faults) -> Response:  # noqa: ARG002 - the interface's signature
        """Never called: it has no door."""
        return Response(404)

    def received(self) -> list[dict[str, object]]:
        """The texts that were taken whole. Numbers in the clear: only those that belong to nobody are ever taken."""
        with self._lock:
            arrived = list(self._arrived)
        return [
            {
                "mobile": one.mobile,
                "content": one.text,
                "source": one.source,
                "messageIds": list(one.message_ids),
                "at": one.at.isoformat(),
            }
            for one in arrived
        ]

    def counts(self) -> dict[str, int]:
        """submit_sm and whole texts taken; receipts and replies that a receiver took, and that are owed."""
        with self._lock:
            return {**self._counts, "numbers": len(self._arrived)}

    # --- what a session asks

    def bind(self, session: Session, asked: pdu.Bind) -> None:
        """Raises Wrong."""
        if asked.system_id != self.account.system_id:
            raise pdu.Wrong("ESME_RINVSYSID")
        if asked.password != self.account.password:
            raise pdu.Wrong("ESME_RINVPASWD")
        if asked.interface_version != 0x34:
            raise pdu.Wrong("ESME_RBINDFAIL")  # ASSUMPTION: older and newer ones are not served
        with self._lock:
            if sum(other.admitted for other in self._sessions if other is not session) >= self.account.max_binds:
                raise pdu.Wrong("ESME_RALYBND")  # ASSUMPTION: which status says so
            session.admitted = True

    def submit(self, session: Session, sequence: int, body: bytes) -> None:
        """A slow answer does not hold up the next PDU."""
        faults = self._next_faults()
        if faults.close_without_answer == "before":
            session.close()
            return
        decide = partial(self._decide, session, sequence, body, faults)
        if faults.latency_ms:
            self._later.after(faults.latency_ms / 1000 * self._host.clock.speed, decide)  # the line's: real time
        else:
            decide()

    def answered(self, session: Session, sequence: int, status: int) -> None:
        """As the session heard it."""
        self._outbox.answered(session, sequence, status)

    def gone(self, session: Session) -> None:
        """Forgets it."""
        with self._lock:
            self._sessions.discard(session)
        self._outbox.gone(session)

    # --- the rules

    def _decide(self, session: Session, sequence: int, body: bytes, faults: Faults) -> None:
        try:
            if faults.refuse:
                raise pdu.Wrong(faults.refuse if faults.refuse in pdu.STATUSES else "ESME_RUNKNOWNERR")
            part = self._take(pdu.read_message(body))
        except pdu.Wrong as wrong:
            session.reply(pdu.SUBMIT_SM, sequence, status=wrong.status)
            return
        arrive = partial(self._arrive, part, self._whole(part), faults)
        if faults.reports_before_answer:
            arrive()
        if faults.close_without_answer == "after":
            session.close()
        elif not faults.accept_and_never_answer:
            session.reply(pdu.SUBMIT_SM, sequence, part.message_id.encode() + b"\0")
        if not faults.reports_before_answer:
            arrive()

    def _take(self, message: pdu.Message) -> Part:
        mobile = self._check(message)
        text, reference, total, number = read_text(message)
        if len(text) > self.account.max_characters:
            raise pdu.Wrong("ESME_RINVMSGLEN")
        with self._lock:
            now = self._host.clock.seconds()
            while self._lately and self._lately[0] <= now - 1:
                self._lately.popleft()
            if len(self._lately) >= self.account.per_second:
                raise pdu.Wrong("ESME_RTHROTTLED")
            self._lately.append(now)
            self._counts["calls"] += 1
            message_id = f"{next(self._numbers):010d}"
        return Part(message, mobile, message_id, text, reference, total, number, self._host.clock.wall())

    def _check(self, message: pdu.Message) -> str:
        """The eleven digits that it is for. Raises Wrong."""
        if message.esm_class & 0x3C or message.esm_class & 0x03 not in (0, 3):
            raise pdu.Wrong("ESME_RINVESMCLASS")  # default or store and forward; a plain message
        if message.priority > 3:
            raise pdu.Wrong("ESME_RINVPRTFLG")
        if message.registered_delivery & 0x03 == 3:
            raise pdu.Wrong("ESME_RINVREGDLVFLG")
        if message.scheduled:
            raise pdu.Wrong("ESME_RINVSCHED")  # ASSUMPTION: nothing is kept for later
        source = message.source or self.account.service_number
        # The service number and its extension have at most 20 digits together.
        if not (re.fullmatch(r"[0-9]{1,20}", source) and source.startswith(self.account.service_number)):
            raise pdu.Wrong("ESME_RINVSRCADR")
        match = re.fullmatch(r"(?:\+?86)?(1[0-9]{10})", message.destination)
        ending = self.account.refuse_ending
        if not match or not match[1].startswith(self.account.prefixes) or (ending and match[1].endswith(ending)):
            raise pdu.Wrong("ESME_RINVDSTADR")
        return match[1]

    # --- the phones

    def _arrive(self, part: Part, whole: Sms | None, faults: Faults) -> None:
        if faults.delivers_nothing:
            return
        chance = random.Random(f"{self.account.seed}:{part.mobile}:{part.reference or part.message_id}")  # noqa: S311 - no secret
        off = chance.random() < faults.fail_share
        if whole and not off:
            self._host.show(f"{whole.text}  → {masked(whole.mobile)}")
            self._owe_reply(whole)
        wanted = part.message.registered_delivery & 0x03
        if not faults.no_reports and (wanted == 1 or (wanted == 2 and off)):
            self._owe_receipt(part, off, faults)

    def _whole(self, part: Part) -> Sms | None:
        """The text, when this was its last part."""
        key = (part.message.source, part.mobile, part.reference, part.total)
        with self._lock:
            parts = self._parts.setdefault(key, {}) if part.reference else {}
            parts[part.number] = part
            if len(parts) < part.total:
                return None
            self._parts.pop(key, None)
            ordered = [parts[number] for number in sorted(parts)]
            text, ids = "".join(one.text for one in ordered), tuple(one.message_id for one in ordered)
            sms = Sms(part.mobile, text, part.message.source, ids, part.at)
            self._arrived.append(sms)
            return sms

    def _owe_receipt(self, part: Part, off: bool, faults: Faults) -> None:
        late = 0.0 if faults.reports_before_answer else self.account.report_delay_ms / 1000
        if faults.shuffle_reports:
            late *= self._chance.uniform(0, 4)
        owed = Owed(pdu.write_message(receipt(part, off, self._host.clock.wall())), partial(self._done, "reports"))
        for _ in range(2 if faults.duplicate_reports else 1):
            self._owe("reports", owed, late)

    def _owe_reply(self, sms: Sms) -> None:
        answer = self._habits.answer(sms.mobile, sms.text)
        if answer:
            words, seconds = answer
            to = sms.source or self.account.service_number
            reply = pdu.Message(f"86{sms.mobile}", to, words.encode("utf-16-be"), data_coding=UCS2)
            self._owe("replies", Owed(pdu.write_message(reply), partial(self._done, "replies")), seconds)

    def _owe(self, what: str, owed: Owed, seconds: float) -> None:
        with self._lock:
            self._counts[f"{what}_owed"] += 1
        if seconds > 0:
            self._later.after(seconds, partial(self._outbox.put, owed))
        else:
            self._outbox.put(owed)

    def _done(self, what: str) -> None:
        with self._lock:
            self._counts[f"{what}_owed"] -= 1
            self._counts[f"{what}_pushed"] += 1

    def _accept(self) -> None:
        for number in itertools.count():
            try:
                line, _ = self._listener.accept()
            except OSError:
                return  # told to stop
            session = Session(self, line)
            with self._lock:
                self._sessions.add(session)
            threading.Thread(target=session.run, name=f"smpp-{number}", daemon=True).start()


def receipt(part: Part, off: bool, now: datetime) -> pdu.Message:
    """A delivery receipt as Appendix B writes it, with the optional parameters that say the same."""
    said = ("000", "UNDELIV", "001") if off else ("001", "DELIVRD", "000")
    text = (
        f"id:{part.message_id} sub:001 dlvrd:{said[0]} submit date:{part.at:%y%m%d%H%M} done date:{now:%y%m%d%H%M} "
        f"stat:{said[1]} err:{said[2]} text:"
    )
    optional = {
        pdu.RECEIPTED_MESSAGE_ID: part.message_id.encode() + b"\0",
        pdu.MESSAGE_STATE: bytes([UNDELIVERABLE if off else DELIVERED]),
    }
    if reference := part.message.optional.get(pdu.USER_MESSAGE_REFERENCE):
        optional[pdu.USER_MESSAGE_REFERENCE] = reference
    return pdu.Message(part.message.destination, part.message.source, text.encode(), esm_class=RECEIPT, optional=optional)


def read_text(message: pdu.Message) -> tuple[str, int, int, int]:
    """The words, and reference, total and number of a part; (…, 0, 1, 1) for a text in one. Raises Wrong."""
    coding, octets = message.data_coding, message.payload
    if coding not in CODINGS:
        raise pdu.Wrong("ESME_RSUBMITFAIL")  # ASSUMPTION: 3.4 has no status of its own for it
    if len(message.short_message) > MAX_OCTETS[coding]:
        raise pdu.Wrong("ESME_RINVMSGLEN")
    place = _sar(message)
    if message.esm_class & HAS_HEADER:
        if not octets or octets[0] >= len(octets):
            raise pdu.Wrong("ESME_RINVMSGLEN")
        place = _concatenation(octets[1 : octets[0] + 1]) or place
        octets = octets[octets[0] + 1 :]
    if not octets or (coding == UCS2 and len(octets) % 2):
        raise pdu.Wrong("ESME_RINVMSGLEN")
    if not 1 <= place[2] <= place[1]:
        raise pdu.Wrong("ESME_RSUBMITFAIL")  # ASSUMPTION: which status says so
    # Each part is read by itself, as phones do: a character that was cut in two is lost.
    return octets.decode(CODINGS[coding], "replace"), *place


def _concatenation(header: bytes) -> tuple[int, int, int] | None:
    """Of a user data header (3GPP TS 23.040 §9.2.3.24.1 and .8): the reference plus one, so that 0 means none."""
    while len(header) >= 2:
        element, value = header[0], header[2 : 2 + header[1]]
        if element == 0x00 and len(value) == 3:
            return value[0] + 1, value[1], value[2]
        if element == 0x08 and len(value) == 4:
            return (value[0] << 8 | value[1]) + 1, value[2], value[3]
        header = header[2 + header[1] :]
    return None


def _sar(message: pdu.Message) -> tuple[int, int, int]:
    """Of the optional parameters (§5.3.2.22 to .24); they count only together."""
    found = [message.optional.get(tag) for tag in (pdu.SAR_REFERENCE, pdu.SAR_TOTAL, pdu.SAR_NUMBER)]
    if found[0] is None or found[1] is None or found[2] is None:
        return 0, 1, 1
    if [len(value) for value in found if value is not None] != [2, 1, 1]:
        raise pdu.Wrong("ESME_RINVPARLEN")
    return int.from_bytes(found[0]) + 1, found[1][0], found[2][0]
