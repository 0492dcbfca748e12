"""The SMSC's side of SMPP connections: bind states, who may say what when, and what waits for a bound receiver."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from . import smpp_pdu as pdu
from .schedule import Schedule

WINDOW = 10  # deliver_sm of one session that wait for their response. ASSUMPTION
RESPONSE_SECONDS = 60.0  # of the provider's: a deliver_sm without a response is sent again. ASSUMPTION
AGAIN_SECONDS = 5.0  # of the provider's: after a response that is not ESME_ROK. ASSUMPTION
SEND_SECONDS = 5  # real ones: a customer who reads nothing for so long is hung up on

_BINDS = {pdu.BIND_RECEIVER: (False, True), pdu.BIND_TRANSMITTER: (True, False), pdu.BIND_TRANSCEIVER: (True, True)}


class Centre(Protocol):
    """What a session needs of its SMSC."""

    system_id: str

    def bind(self, session: Session, asked: pdu.Bind) -> None:
        """Raises Wrong for a stranger, or for one session too many."""
        ...

    def submit(self, session: Session, sequence: int, body: bytes) -> None:
        """Answers a submit_sm, now or later or never."""
        ...

    def answered(self, session: Session, sequence: int, status: int) -> None:
        """The customer's word on a deliver_sm."""
        ...

    def gone(self, session: Session) -> None:
        """This session is over."""
        ...


class Session:
    """One connection. Its thread reads; anybody may write."""

    def __init__(self, centre: Centre, line: socket.socket) -> None:
        self._centre, self._line = centre, line
        self._writing = threading.Lock()
        self._numbers = itertools.count(1)
        self.admitted = False  # counts among the binds of its account, also while its response is still on the way
        self.transmits = self.receives = False
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))

    @property
    def bound(self) -> bool:
        """True after a bind."""
        return self.transmits or self.receives

    def run(self) -> None:
        """Until one of the two hangs up."""
        try:
            with contextlib.suppress(OSError):  # the customer hung up: no news
                while self._meet_next():
                    pass
        finally:
            self.close()
            self._centre.gone(self)

    def close(self) -> None:
        """Hangs up."""
        with contextlib.suppress(OSError):  # it was hung up already
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()

    def reply(self, command: int, sequence: int, body: bytes = b"", status: int = 0) -> None:
        """The response to one of the customer's PDUs. It has no body when it says that something is wrong (§4)."""
        self._write(pdu.compose(command | pdu.RESPONSE, sequence, b"" if status else body, status))

    def deliver(self, body: bytes) -> int:
        """Sends a deliver_sm; returns its sequence number. Raises OSError when the line is gone."""
        sequence = next(self._numbers)
        self._send(pdu.compose(pdu.DELIVER_SM, sequence, body))
        return sequence

    def _meet_next(self) -> bool:
        """False at the end."""
        octets = self._read(pdu.HEADER)
        if octets is None:
            return False
        header = pdu.read_header(octets)
        if not pdu.HEADER <= header.length <= pdu.MAX_LENGTH:
            # Where the next PDU begins is unknown from here on.
            self._nack(header.sequence, "ESME_RINVCMDLEN")
            return False
        body = self._read(header.length - pdu.HEADER)
        return body is not None and self._meet(header, body)

    def _meet(self, header: pdu.Header, body: bytes) -> bool:
        match header.command:
            case pdu.BIND_RECEIVER | pdu.BIND_TRANSMITTER | pdu.BIND_TRANSCEIVER:
                self._bind(header, body)
            case pdu.SUBMIT_SM if self.transmits:
                self._centre.submit(self, header.sequence, body)
            case pdu.ENQUIRE_LINK | pdu.UNBIND if self.bound:
                self.reply(header.command, header.sequence)
                return header.command != pdu.UNBIND
            case pdu.SUBMIT_SM | pdu.ENQUIRE_LINK | pdu.UNBIND:
                self.reply(header.command, header.sequence, status=pdu.STATUSES["ESME_RINVBNDSTS"])
            case command if command == pdu.DELIVER_SM | pdu.RESPONSE or (command == pdu.GENERIC_NACK):
                self._centre.answered(self, header.sequence, header.status)
            case command if not command & pdu.RESPONSE:
                self._nack(header.sequence, "ESME_RINVCMDID")
        return True

    def _bind(self, header: pdu.Header, body: bytes) -> None:
        try:
            if self.bound:
                raise pdu.Wrong("ESME_RALYBND")
            asked = pdu.read_bind(body)
            self._centre.bind(self, asked)
        except pdu.Wrong as wrong:
            self.reply(header.command, header.sequence, status=wrong.status)
            return
        version = pdu.write_optional(pdu.SC_INTERFACE_VERSION, b"\x34")
        self.reply(header.command, header.sequence, self._centre.system_id.encode() + b"\0" + version)
        self.transmits, self.receives = _BINDS[header.command]
        self._centre.answered(self, 0, 0)  # what waits for a receiver may go now

    def _nack(self, sequence: int, status: str) -> None:
        self._write(pdu.compose(pdu.GENERIC_NACK, sequence, status=pdu.STATUSES[status]))

    def _write(self, octets: bytes) -> None:
        try:
            self._send(octets)
        except OSError:
            self.close()  # the reading thread ends the session

    def _send(self, octets: bytes) -> None:
        with self._writing:
            self._line.sendall(octets)

    def _read(self, count: int) -> bytes | None:
        """Exactly so many; None when the customer hung up before."""
        parts = b""
        while len(parts) < count:
            part = self._line.recv(count - len(parts))
            if not part:
                return None
            parts += part
        return parts


@dataclass(frozen=True, slots=True, eq=False)
class Owed:
    """A deliver_sm that the customer has not taken yet."""

    body: bytes = field(repr=False)
    done: Callable[[], None]


class Outbox:
    """Keeps each deliver_sm until a receiver is bound, and sends it until it is answered with ESME_ROK."""

    def __init__(self, later: Schedule) -> None:
        self._later = later
        self._lock = threading.Lock()
        self._waiting: deque[Owed] = deque()
        self._sent: dict[Session, dict[int, Owed]] = {}  # the bound receivers, and what each of them has not answered yet

    def put(self, owed: Owed) -> None:
        """From now on it is owed."""
        with self._lock:
            self._waiting.append(owed)
            self._flush()

    def answered(self, session: Session, sequence: int, status: int) -> None:
        """A deliver_sm_resp, or (sequence 0) the news that this session can take something."""
        with self._lock:
            if session.receives:
                self._sent.setdefault(session, {})
            owed = self._sent.get(session, {}).pop(sequence, None)
            if owed and status:
                self._later.after(AGAIN_SECONDS, partial(self.put, owed))
            self._flush()
        if owed and not status:
            owed.done()

    def gone(self, session: Session) -> None:
        """What it did not answer goes to the next that binds."""
        with self._lock:
            self._waiting.extendleft(reversed(self._sent.pop(session, {}).values()))
            self._flush()

    def _flush(self) -> None:
        while self._waiting and self._sent:
            session, sent = min(self._sent.items(), key=lambda one: len(one[1]))
            if len(sent) >= WINDOW:
                return
            try:
                sequence = session.deliver(self._waiting[0].body)
            except OSError:
                # Its thread finds the same and calls `gone`; until then nothing more goes that way.
                self._waiting.extend(self._sent.pop(session).values())
                session.close()
                continue
            sent[sequence] = self._waiting.popleft()
            self._later.after(RESPONSE_SECONDS, partial(self._overdue, session, sequence))

    def _overdue(self, session: Session, sequence: int) -> None:
        with self._lock:
            owed = self._sent.get(session, {}).pop(sequence, None)
            if owed:
                self._waiting.append(owed)
                self._flush()
