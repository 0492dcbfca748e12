"""The host of the stand-ins: one port on loopback with all their doors, and beside them the doors for whoever runs the test."""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import urlsplit

from .clock import Clock
from .config import Config
from .faults import Faults, read_faults
from .hosting import Hosted, open_providers
from .mas import Mas
from .mas_rules import Desk, Received
from .provider import Provider, Request
from .smpp import Smsc

MAX_BODY = 8 << 20  # 5,000 numbers in base64 are 80 kB; a packet with a recorded voice may be some MB


class Simulator:
    """The providers that the config has an account of, on this machine, in threads. Use it with `with`, or start() and stop()."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.clock = Clock(self.config.speed)
        self.stopping = threading.Event()
        self._printing = threading.Lock()
        self._hosted = open_providers(self.config, self.clock, self._print)
        self._server = _Server(("127.0.0.1", self.config.port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="simulator", daemon=True)

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the HTTP doors are, without a path."""
        return f"{'https' if self.config.certificate else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the providers that are here."""
        return tuple(self._hosted)

    def provider(self, name: str) -> Provider:
        """One of them. KeyError when it is not here."""
        return self._hosted[name].provider

    @property
    def desk(self) -> Desk:
        """What 云MAS took."""
        return cast("Mas", self.provider("mas")).desk

    @property
    def smpp_port(self) -> int:
        """Where the SMSC listens on 127.0.0.1."""
        return cast("Smsc", self.provider("smpp")).port

    @property
    def received(self) -> tuple[Received, ...]:
        """Everything that 云MAS took, in order."""
        return tuple(self.desk.received)

    @property
    def faults(self) -> Faults:
        """What goes wrong at present at the provider that is here first: 云MAS, or the only one."""
        return self.faults_of(self.names[0])

    @faults.setter
    def faults(self, faults: Faults) -> None:
        """Of all of them."""
        for name in self.names:
            self.set_faults(name, faults)

    def faults_of(self, name: str) -> Faults:
        """What goes wrong at present at this one."""
        return self._hosted[name].faults

    def set_faults(self, name: str, faults: Faults) -> None:
        """From now on, at this one."""
        self._hosted[name].faults = faults

    def counts(self, name: str = "mas") -> dict[str, int]:
        """What this one took, reported, and owes; and how many of its pushes were taken or are owed."""
        return self._hosted[name].counts()

    def start(self) -> None:
        """Answers from now on."""
        for hosted in self._hosted.values():
            hosted.start()
        self._thread.start()

    def stop(self) -> None:
        """Closes the ports, lets go of hanging requests, pushes nothing any more."""
        self.stopping.set()
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        for hosted in self._hosted.values():
            hosted.stop()

    def find(self, path: str) -> Hosted | None:
        """Whose door this is."""
        return next((hosted for hosted in self._hosted.values() if hosted.provider.opens(path)), None)

    def _print(self, line: str) -> None:
        with self._printing:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


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
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self._read_body()
        if body is None:
            return
        at = urlsplit(self.path)
        if at.path.startswith("/_"):
            self._serve_tester(at.path, body)
        elif hosted := self.server.simulator.find(at.path):
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._serve_customer(hosted, Request(self.command, at.path, at.query, headers, body))
        else:
            self._answer(404, {"error": "no such door; the testers' are /_received, /_counts and /_faults"})

    def _read_body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "0" if self.command == "GET" else "")
        if not (length.isascii() and length.isdigit()):
            self._refuse_transport(411)
        elif int(length) > MAX_BODY:
            self._refuse_transport(413)
        else:
            return self.rfile.read(int(length))
        return None

    def _refuse_transport(self, status: int) -> None:
        self.close_connection = True
        self._answer(status, {"error": f"Content-Length is needed, and at most {MAX_BODY >> 20} MiB"})

    def _serve_customer(self, hosted: Hosted, request: Request) -> None:
        """The line's faults are played here; `latency_ms` is the line's too, and real time."""
        faults = hosted.next_faults()
        time.sleep(faults.latency_ms / 1000)
        if faults.close_without_answer == "before":
            self._hang_up()
            return
        if faults.http_status:
            self._answer_page(faults)
            return
        response = hosted.handle(request, faults)
        if faults.close_without_answer == "after":
            self._hang_up()
        elif faults.accept_and_never_answer:
            self._hang()
        else:
            self._write(response.status, response.content_type, response.body, response.headers)

    def _serve_tester(self, path: str, body: bytes) -> None:
        simulator = self.server.simulator
        door, _, name = path.removeprefix("/_").partition("/")
        names = (name,) if name else simulator.names
        if door not in ("received", "counts", "faults") or not set(names) <= set(simulator.names):
            self._answer(404, {"error": f"there are /_received, /_counts and /_faults of {', '.join(simulator.names)}"})
        elif self.command == "POST" and door == "faults":
            self._set_faults(names, body)
        elif self.command == "GET":
            found = {each: _told(simulator, door, each) for each in names}
            self._answer(200, found[name] if name else found)
        else:
            self._answer(405, {"error": "GET, and POST for /_faults"})

    def _set_faults(self, names: tuple[str, ...], body: bytes) -> None:
        try:
            faults = read_faults(dict(json.loads(body or b"{}")))
        except (ValueError, TypeError, RecursionError) as error:
            self._answer(400, {"error": str(error)})
            return
        for name in names:
            self.server.simulator.set_faults(name, faults)
        self._answer(200, asdict(faults))

    def _answer_page(self, faults: Faults) -> None:
        page = b"<html><body>" + str(faults.http_status).encode() + b"</body></html>"
        extra = {"Retry-After": str(faults.retry_after)} if faults.retry_after else {}
        self._write(faults.http_status, "text/html", page, extra)

    def _answer(self, status: int, answer: object) -> None:
        body = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
        self._write(status, "application/json; charset=utf-8", body, {})

    def _write(self, status: int, kind: str, body: bytes, extra: Mapping[str, str]) -> None:
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


def _told(simulator: Simulator, door: str, name: str) -> object:
    match door:
        case "received":
            return simulator.provider(name).received()
        case "counts":
            return simulator.counts(name)
        case _:
            return asdict(simulator.faults_of(name))
