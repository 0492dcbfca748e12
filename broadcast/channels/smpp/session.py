"""One bound SMPP connection. It knows when bytes were lost, and nothing of messages.

The socket is ours, not smpplib's `Client`: that one drops the first half of a PDU whose second half is late, writes every
PDU, the password's too, to its log in hexadecimal, and checks no server's name over TLS.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smpplib import consts

from ...errors import Misconfigured, Unavailable
from .protocol import HEADER, MAX_PDU, TRY_AGAIN, Pdu, compose, parse

Kind = Literal["bind_transmitter", "bind_receiver", "bind_transceiver"]


class Lost(Exception):
    """The connection is of no use any more: what was written and not answered will not be answered."""


@dataclass(frozen=True, slots=True)
class Line:
    """Where a session is opened, and as whom."""

    host: str
    port: int
    tls: bool
    ca_file: Path | None
    system_id: str = field(repr=False)
    password: str = field(repr=False)
    system_type: str
    connect_seconds: float
    answer_seconds: float


# Refusals of a bind that pass by themselves; every other one is about the account. Nothing was sent in either case.
COME_LATER = frozenset(
    {
        consts.SMPP_ESME_RALYBND,  # the account's sessions are all in use
        consts.SMPP_ESME_RSYSERR,
        consts.SMPP_ESME_RMSGQFUL,
        consts.SMPP_ESME_RTHROTTLED,
    }
)


class Session:
    """A bound connection, used by one thread at a time."""

    def __init__(self, line: Line, kind: Kind) -> None:
        """Connects and binds. Unavailable when there is nobody or no answer, Misconfigured when the account is refused."""
        self._line, self._takes_messages = line, kind != "bind_transmitter"
        self._buffer, self._last = bytearray(), 0
        self.over = False
        self._heard = time.monotonic()
        self._enquired: float | None = None  # when we asked, and nothing was heard since
        self._socket = _connect(line)
        try:
            self._bind(kind)
        except BaseException:
            self._socket.close()
            raise

    def sequence(self) -> int:
        """The next number of a request (SMPP 3.4 §3.2: 1 to 0x7FFFFFFF)."""
        self._last = self._last % 0x7FFFFFFF + 1
        return self._last

    def write(self, pdu: bytes) -> None:
        """Raises Lost: then some of it may have left."""
        try:
            self._socket.settimeout(self._line.answer_seconds)
            self._socket.sendall(pdu)
        except (OSError, ValueError):
            raise Lost("the connection broke off while writing") from None

    def read(self, deadline: float) -> Pdu | None:
        """The next PDU that is about messages, or None when `deadline` (monotonic) has come. Raises Lost.

        What keeps the session alive is answered here and not shown.
        """
        while (pdu := self._one(deadline)) is not None:
            if pdu.command in ("submit_sm_resp", "generic_nack") or (pdu.command == "deliver_sm" and self._takes_messages):
                return pdu
        return None

    def keep_alive(self, idle_seconds: float) -> None:
        """Asks whether anybody is there once it was silent for `idle_seconds`; Lost when that was not answered in time."""
        now = time.monotonic()
        if self._enquired is not None:
            if now - self._enquired > self._line.answer_seconds:
                raise Lost("the far end does not answer enquire_link")
        elif now - self._heard > idle_seconds:
            self.write(compose("enquire_link", self.sequence()))
            self._enquired = now

    def prove_alive(self, idle_seconds: float) -> None:
        """Before something is written that must not be lost: what came meanwhile is read, a long silence is broken."""
        self._read_what_came()
        self.keep_alive(idle_seconds)
        if self._enquired is None:
            return
        pdu = self._one(time.monotonic() + self._line.answer_seconds)  # whatever it is, somebody is there
        if pdu is None:
            raise Lost("the far end does not answer enquire_link")
        self._read_what_came()

    def close(self) -> None:
        """Says goodbye and does not wait for an answer."""
        with suppress(Lost):  # it had ended already: closing is all that was wanted
            self.write(compose("unbind", self.sequence()))
        self.drop()

    def drop(self) -> None:
        """Closes a connection that is of no use any more."""
        self.over = True
        self._socket.close()

    def _bind(self, kind: Kind) -> None:
        line = self._line
        account = {"system_id": line.system_id, "password": line.password, "system_type": line.system_type}
        request = compose(kind, self.sequence(), account)
        try:
            self.write(request)
            deadline = time.monotonic() + line.answer_seconds
            answer = self._one(deadline)
            while answer is not None and answer.command not in (f"{kind}_resp", "generic_nack"):
                answer = self._one(deadline)
        except Lost:
            raise Unavailable("the connection ended before the bind was answered") from None
        if answer is None:
            raise Unavailable("no answer to the bind within the time allowed")
        if answer.status in COME_LATER:
            raise Unavailable(f"the bind was refused for now: {_words(answer.status)}")
        if answer.status or answer.command == "generic_nack":
            raise Misconfigured(f"the bind was refused: {_words(answer.status)}; check system_id, password and our address")

    def _read_what_came(self) -> None:
        """Nothing that is still wanted: a session with unanswered messages is never used again."""
        while self.read(time.monotonic()) is not None:
            pass

    def _one(self, deadline: float) -> Pdu | None:
        """The next PDU of any kind. What the far end asks of the session is answered."""
        pdu = self._next(deadline)
        if pdu is None:
            return None
        self._heard, self._enquired = time.monotonic(), None
        if pdu.command == "enquire_link":
            self.write(compose("enquire_link_resp", pdu.sequence))
        elif pdu.command == "unbind":
            self.write(compose("unbind_resp", pdu.sequence))
            raise Lost("the far end ended the session")
        elif pdu.command == "deliver_sm" and not self._takes_messages:
            self.write(compose("deliver_sm_resp", pdu.sequence, status=TRY_AGAIN))  # to the session that takes them
        return pdu

    def _next(self, deadline: float) -> Pdu | None:
        """A whole PDU. Half of one waits in the buffer for the next call."""
        while True:
            if len(self._buffer) >= HEADER:
                length: int = struct.unpack_from(">L", self._buffer)[0]
                if not HEADER <= length <= MAX_PDU:
                    raise Lost("what came is not SMPP")
                if len(self._buffer) >= length:
                    raw = bytes(self._buffer[:length])
                    del self._buffer[:length]
                    return parse(raw)
            if not self._receive(deadline):
                return None

    def _receive(self, deadline: float) -> bool:
        """Adds what comes until `deadline`; what is there already is taken even when that has gone by."""
        try:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.0))
            piece = self._socket.recv(65536)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return False
        except (OSError, ValueError):
            raise Lost("the connection broke off") from None
        if not piece:
            raise Lost("the far end closed the connection")
        self._buffer += piece
        return True


def _connect(line: Line) -> socket.socket:
    trust = _trust(line) if line.tls else None
    try:
        plain = socket.create_connection((line.host, line.port), timeout=line.connect_seconds)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"no connection ({type(error).__name__})") from None
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if trust is None:
        return plain
    try:
        return trust.wrap_socket(plain, server_hostname=line.host)
    except OSError as error:  # SSLError too
        plain.close()
        raise Unavailable(f"no TLS connection ({type(error).__name__})") from None


def _trust(line: Line) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(line.ca_file) if line.ca_file else None)
    except (OSError, ssl.SSLError):
        raise Misconfigured("ca_file cannot be read as PEM certificates") from None


def _words(status: int) -> str:
    return f"0x{status:02X} {consts.DESCRIPTIONS.get(status, 'a status of their own')}"
