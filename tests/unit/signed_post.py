"""A far end that takes signed POSTs: the package `standardwebhooks` judges each, a script says what is answered."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
OTHER_SECRET = "whsec_" + "c2VjcmV0LW51bWJlci10d28tb2YtdGhlLXRlc3Q="

Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]] | None  # None: hangs up


@dataclass(frozen=True)
class Posted:
    """One request that was signed as it should be."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FarEnd:
    """Answers the next of `script`, after it 200. What is not signed with `secret` just now gets 401 and is not kept."""

    def __init__(self, *script: Answer, secret: str = SECRET) -> None:
        self.script, self.posted, self.judge = list(script), [], Webhook(secret)
        self.arrived = threading.Condition()
        end = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = end.take(Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if answer is None:
                    self.close_connection = True
                    return
                status, content, headers = (*answer, {})[:3]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/door"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, posted: Posted) -> Answer:
        try:
            self.judge.verify(posted.body, posted.headers, json_parse=False)
        except Exception:
            return 401, b""
        with self.arrived:
            self.posted.append(posted)
            self.arrived.notify_all()
        return self.script.pop(0) if self.script else (200, b"")

    def wait_for(self, count: int, seconds: float = 20) -> list[Posted]:
        """What was posted, when it is so much."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.posted) >= count, seconds), f"{len(self.posted)} of {count} came"
        return list(self.posted)

    def __enter__(self) -> FarEnd:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
