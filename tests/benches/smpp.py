"""SMPP against a server that nobody here wrote (PyPI smpp34), and against a scripted one for what that cannot play."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import smpp34

from broadcast.channels.base import Channel
from tests.benches.base import Bench

# SMPP 3.4 §5.1.2.1, the commands that a centre meets.
BIND_RECEIVER, BIND_TRANSMITTER, SUBMIT, DELIVER, UNBIND, ENQUIRE = 1, 2, 4, 5, 6, 0x15
BINDS = (1, 2, 9)  # receiver, transmitter, transceiver
RESP = 0x80000000
NACK = 0x80000000


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message as the centre took it."""

    id: str
    source: str
    destination: str
    destination_type: tuple[int, int]  # ton, npi
    data_coding: int
    registered_delivery: int
    short_message: bytes
    payload: bytes


class Centre:
    """smpp34's server in a thread of its own. It takes every account."""

    def __init__(self, refuse_ending: str = "") -> None:
        self.arrived: list[Arrived] = []
        self.binds = 0
        self._refuse_ending, self._ids = refuse_ending, itertools.count(1)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._receivers: list[smpp34.Esme] = []
        self._bound = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smpp34", daemon=True)

    def __enter__(self) -> Centre:
        self._thread.start()
        self._server = smpp34.Server(host="127.0.0.1", port=self.port, system_id="centre")
        self._do(self._server.start)
        self._serving = asyncio.run_coroutine_threadsafe(self._serve(), self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.cancel()
        self._do(self._server.stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def deliver(self, **fields: object) -> int:
        """Sends one deliver_sm to whoever listens, waiting for a listener; returns the status that it answered."""
        assert self._bound.wait(10), "nobody bound as a receiver"
        return int(self._do(lambda: self._receivers[-1].deliver_sm(**fields)).command_status)

    def _do(self, begin: Callable[[], Any]) -> Any:
        async def inside() -> Any:  # smpp34's awaitables are made where the loop runs
            return await begin()

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(10)

    async def _serve(self) -> None:
        while True:
            event = await self._server.next()
            if isinstance(event, smpp34.Esme):
                self.binds += 1
                if event.can_receive:
                    self._receivers.append(event)
                    self._bound.set()
            elif isinstance(event, smpp34.SubmitSmEvent):
                self._take(event)

    def _take(self, event: smpp34.SubmitSmEvent) -> None:
        if self._refuse_ending and event.destination_addr.endswith(self._refuse_ending):
            event.reject(smpp34.ESME_RINVDSTADR)
            return
        payload = next((tlv.value for tlv in event.tlvs if tlv.tag == smpp34.TLV_MESSAGE_PAYLOAD), b"")
        number = f"{next(self._ids):010d}"
        self.arrived.append(
            Arrived(
                number,
                event.source_addr,
                event.destination_addr,
                (event.dest_addr_ton, event.dest_addr_npi),
                event.data_coding,
                event.registered_delivery,
                bytes(event.short_message),
                bytes(payload),
            )
        )
        event.accept(message_id=number)


@dataclass(frozen=True, slots=True)
class Seen:
    """One PDU as the scripted centre read it."""

    command: int
    status: int
    sequence: int
    body: bytes = field(repr=False)

    def answer(self, status: int = 0, body: bytes = b"", *, command: int | None = None) -> bytes:
        return pdu(self.command | RESP if command is None else command, self.sequence, body, status)


def pdu(command: int, sequence: int, body: bytes = b"", status: int = 0) -> bytes:
    return struct.pack(">4L", 16 + len(body), command, status, sequence) + body


HANG_UP = object()  # a step of a script: close the connection
Step = Callable[[Seen], object] | bytes | int | str | object | None


class Script:
    """Answers each submit_sm with the next step: a status, the id of a taken message, bytes, None (no answer), HANG_UP,
    or what a function of the PDU returns. The last step is repeated. `bind` and `enquire` are steps too.
    """

    def __init__(
        self, *steps: Step, bind: Step = 0, enquire: Step = 0, at_bind: bytes = b"", tls: ssl.SSLContext | None = None
    ) -> None:
        self._tls = tls
        self.steps, self.bind, self.enquire, self.at_bind = list(steps), bind, enquire, at_bind
        self.seen: list[Seen] = []
        self.taken = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lines: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for line in self._lines:
            line.close()

    def of(self, command: int) -> list[Seen]:
        return [one for one in self.seen if one.command == command]

    def say(self, data: bytes) -> None:
        """Writes to the customer who connected last."""
        self._lines[-1].sendall(data)

    def hang_up(self) -> None:
        """On the customer who connected last."""
        self._lines[-1].shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                self._lines.append(line)
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError, EOFError):
            if self._tls:
                line = self._tls.wrap_socket(line, server_side=True)
            while True:
                one = _read(line)
                self.seen.append(one)
                self._play(line, one, self._step(one))

    def _step(self, one: Seen) -> Step:
        match one.command:
            case 1 | 2 | 9:
                return self.bind
            case 0x15:
                return self.enquire
            case 4:
                return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
            case _:
                return None

    def _play(self, line: socket.socket, one: Seen, step: Step) -> None:
        if callable(step):
            step = step(one)
        if step is HANG_UP:
            line.shutdown(socket.SHUT_RDWR)
            raise EOFError
        if isinstance(step, str):
            self.taken += 1
            step = one.answer(0, step.encode("latin-1") + b"\0")
        elif isinstance(step, int):
            step = one.answer(step, b"centre\0" if one.command in BINDS and not step else b"")
        if isinstance(step, bytes):
            line.sendall(step)
        if one.command in BINDS and self.at_bind:
            line.sendall(self.at_bind)


def _read(line: socket.socket) -> Seen:
    head = _exactly(line, 16)
    length, command, status, sequence = struct.unpack(">4L", head)
    return Seen(command, status, sequence, _exactly(line, length - 16))


def _exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = line.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


class SmppBench(Bench):
    protocol = "smpp"
    refuses_one = "+8615499999977"
    secret = "s3cret-8"  # SMPP's passwords have at most eight characters

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        self.centre = stack.enter_context(Centre(refuse_ending="99999977"))
        self.scripts: list[Script] = []

    def options(self) -> dict[str, object]:
        return {
            "host": "127.0.0.1",
            "port": self.centre.port,
            "system_id": "deqing",
            "password": self.secret,
            "source_addr": "10690000",
            "signature": "德清应急",
            "read_seconds": 5,
        }

    def received(self) -> int:
        return len(self.centre.arrived) + sum(script.taken for script in self.scripts)

    def script(self, *steps: Step, **rest: object) -> Script:
        script = self.stack.enter_context(Script(*steps, **rest))
        self.scripts.append(script)
        return script

    def scripted(self, *steps: Step, **rest: object) -> Channel:
        return self.channel(port=self.script(*steps, **rest).port, read_seconds=0.3)

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(port=1)
        yield self.channel(host="smpp.invalid")
        yield self.scripted(0, bind=None)  # accepts, and never answers the bind
        yield self.scripted(0, bind=HANG_UP)
        for status in (0x05, 0x08, 0x14, 0x58):  # already bound, system error, queue full, throttled
            yield self.scripted(0, bind=status)

    def something_may_have_left(self) -> Iterator[Channel]:
        yield self.scripted(None)
        yield self.scripted(HANG_UP)
        yield self.scripted(b"SMTP ready\r\n" * 3)
        yield self.scripted(lambda one: pdu(SUBMIT | RESP, one.sequence + 1000, b"7\0"))  # answers something else

    def refuses_us(self) -> Iterator[Channel]:
        for status in (0x0D, 0x0E, 0x0F, 0x53, 0xFF):  # bind failed, password, system id, system type, unknown
            yield self.scripted(0, bind=status)
        yield self.scripted(0, bind=lambda one: one.answer(0x03, command=NACK))
        for status in (0x0A, 0x15, 0x50, 0xC1):  # our number, service type, ton, an optional parameter
            yield self.scripted(status)


def report(text: str, *, source: str = "8615400000001", esm_class: int = 4, optional: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """The deliver_sm of a report, by hand."""
    return deliver(text.encode("ascii"), source=source, esm_class=esm_class, optional=optional)


def deliver(
    content: bytes,
    *,
    source: str = "8615400000001",
    destination: str = "10690000",
    esm_class: int = 0,
    data_coding: int = 0,
    sequence: int = 1,
    optional: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """A deliver_sm by hand (SMPP 3.4 §4.6.1)."""
    body = b"\0\1\1" + source.encode() + b"\0\0\1" + destination.encode() + b"\0"
    body += bytes([esm_class]) + b"\0\0" + b"\0" + b"\0" + b"\0\0" + bytes([data_coding]) + b"\0"
    body += bytes([len(content)]) + content
    body += b"".join(struct.pack(">2H", tag, len(value)) + value for tag, value in optional)
    return pdu(DELIVER, sequence, body)
