"""The stand-in's HTTP side: the provider's doors, and beside them the doors for whoever runs the test."""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .faults import Faults, read_faults
from .reports import Reporter
from .rules import Account, Desk, Received, Refusal

MAX_BODY = 1 << 20  # 5,000 numbers in base64 are 80 kB


@dataclass(frozen=True, slots=True)
class Config:
    """How one stand-in runs. It listens on loopback only: nobody else has business here."""

    port: int = 0  # 0 = a free one
    callback: str = ""  # where reports are pushed; "" = they wait for /sms/report
    account: Account = field(default_factory=Account)
    faults: Faults = field(default_factory=Faults)
    report_delay_ms: int = 200
    pushers: int = 4  # connections that push reports
    speed: float = 1.0  # how much faster than life the provider's waiting times run (repeats, pushing again)
    certificate: Path | None = None  # PEM with key: HTTPS
    show: bool = False  # prints each SMS as its readers see it

    def __post_init__(self) -> None:
        if self.speed <= 0 or self.pushers < 1 or self.report_delay_ms < 0:
            raise ValueError("speed is above 0, pushers 1 or more, report_delay_ms 0 or more")


class Simulator:
    """A provider on this machine, in threads of its own. Use it with `with`, or start() and stop()."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.desk = Desk(self.config.account, self.config.speed)
        self.reporter = Reporter(self.config.callback, self.config.report_delay_ms / 1000, self.config.pushers, self.config.speed)
        self.stopping = threading.Event()
        self._faults, self._lock = self.config.faults, threading.Lock()
        self._server = _Server(("127.0.0.1", self.config.port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="simulator", daemon=True)

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"{'https' if self.config.certificate else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def received(self) -> tuple[Received, ...]:
        """Everything that was taken, in order."""
        return tuple(self.desk.received)

    @property
    def faults(self) -> Faults:
        """What goes wrong at present."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        with self._lock:
            self._faults = faults

    def start(self) -> None:
        """Answers from now on."""
        self.reporter.start()
        self._thread.start()

    def stop(self) -> None:
        """Closes the port, lets go of hanging requests, pushes nothing any more."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self.reporter.stop()

    def next_faults(self) -> Faults:
        """The faults that one request meets; counts down `times`."""
        with self._lock:
            met = self._faults
            self._faults = met.one_fewer()
            return met

    def take(self, body: bytes, faults: Faults) -> str:
        """Takes one request and owes its reports; returns the msgGroup. Raises Refusal."""
        received = self.desk.take(body)
        self.reporter.owe(received, faults)
        if self.config.show:
            words = f"【{self.config.account.signature}】{received.content}"
            sys.stdout.write(f"{words}  → {len(received.mobiles):,} phones\n")
            sys.stdout.flush()
        return received.msg_group

    def counts(self) -> dict[str, int]:
        """Requests and numbers taken, reports pushed and owed."""
        taken = self.received
        return {"calls": len(taken), "numbers": sum(len(one.mobiles) for one in taken), **self.reporter.counts()}


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    block_on_close = False  # a request that is told to hang must not hold up the end

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        self.simulator = simulator
        super().__init__(address, _Handler)
        if certificate := simulator.config.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake belongs to the connection's own thread, not to the one that accepts.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A customer that hangs up or fails the handshake is no news; anything else is a mistake of ours."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body leave separately: with Nagle each answer would take 40 ms
    server: _Server
    timeout = 60  # seconds an idle connection is kept

    def log_message(self, *_: object) -> None:
        """Nothing: bodies hold numbers, and a thousand lines a second help nobody."""

    def do_GET(self) -> None:
        simulator = self.server.simulator
        match self.path:
            case "/_received":
                self._answer(200, [_shown(one) for one in simulator.received])
            case "/_counts":
                self._answer(200, simulator.counts())
            case "/_faults":
                self._answer(200, asdict(simulator.faults))
            case _:
                self._answer(404, {"error": "there are /_received, /_counts and /_faults"})

    def do_POST(self) -> None:
        body = self._read_body()
        if body is None:
            return
        # Free text goes to norsubmit at the HTTP gateway and to submit at the HTTPS gateway.
        door = "/sms/submit" if self.server.simulator.config.certificate else "/sms/norsubmit"
        match urlsplit(self.path).path:
            case "/_faults":
                self._set_faults(body)
            case "/sms/report":
                self._poll(body)
            case path if path == door:
                self._submit(body)
            case _:
                self._answer(404, {"error": f"no such door; free text goes to {door}"})

    def _read_body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._refuse_transport(411)
        elif int(length) > MAX_BODY:
            self._refuse_transport(413)
        else:
            return self.rfile.read(int(length))
        return None

    def _refuse_transport(self, status: int) -> None:
        self.close_connection = True
        self._answer(status, {"error": "Content-Length is needed, and at most 1 MiB"})

    def _submit(self, body: bytes) -> None:
        faults = self.server.simulator.next_faults()
        time.sleep(faults.latency_ms / 1000)
        if faults.close_without_answer == "before":
            self._hang_up()
        elif faults.http_status:
            self._answer_page(faults)
        elif faults.refuse:
            self._answer(200, _refusal(faults.refuse))
        elif self.headers.get_content_type() not in ("text/plain", "application/json"):
            self._answer(415, _refusal("IllegalMsgfmt"))
        else:
            self._take(body, faults)

    def _take(self, body: bytes, faults: Faults) -> None:
        try:
            group = self.server.simulator.take(body, faults)
        except Refusal as refusal:
            self._answer(200, _refusal(refusal.rspcod))
            return
        if faults.close_without_answer == "after":
            self._hang_up()
        elif faults.accept_and_never_answer:
            self._hang()
        else:
            self._answer(200, {"msgGroup": group, "rspcod": "success", "success": True})

    def _poll(self, body: bytes) -> None:
        simulator = self.server.simulator
        try:
            simulator.desk.sign_on(body)
        except Refusal as refusal:
            self._answer(200, _refusal(refusal.rspcod))
        else:
            self._answer(200, simulator.reporter.poll())

    def _set_faults(self, body: bytes) -> None:
        try:
            self.server.simulator.faults = read_faults(dict(json.loads(body or b"{}")))
        except (ValueError, TypeError, RecursionError) as error:
            self._answer(400, {"error": str(error)})
        else:
            self._answer(200, asdict(self.server.simulator.faults))

    def _answer_page(self, faults: Faults) -> None:
        page = b"<html><body>" + str(faults.http_status).encode() + b"</body></html>"
        extra = {"Retry-After": str(faults.retry_after)} if faults.retry_after else {}
        self._write(faults.http_status, "text/html", page, extra)

    def _answer(self, status: int, answer: object) -> None:
        body = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
        self._write(status, "application/json; charset=utf-8", body, {})

    def _write(self, status: int, kind: str, body: bytes, extra: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _hang(self) -> None:
        """Until the customer hangs up or the stand-in stops."""
        self.close_connection = True
        while not self.server.simulator.stopping.is_set():
            if select.select([self.connection], [], [], 0.1)[0]:
                return


def _refusal(rspcod: str) -> dict[str, object]:
    return {"msgGroup": "", "rspcod": rspcod, "success": False}


def _shown(one: Received) -> dict[str, object]:
    return {
        "msgGroup": one.msg_group,
        "mobiles": list(one.mobiles),  # in the clear: only numbers that belong to nobody are ever taken
        "content": one.content,
        "addSerial": one.add_serial,
        "at": one.at.isoformat(),
    }
