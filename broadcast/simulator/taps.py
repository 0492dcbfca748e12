"""People and their telephones at the links in a message: the telephone looks at the page, some people press its button."""

from __future__ import annotations

import http.client
import queue
import re
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

from .clock import Clock
from .schedule import Schedule

TIMEOUT = 10.0  # real seconds
MAX_PAGE = 1 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")  # a text may name any site of the world: it is never visited
_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&*+=%]+")


def links(text: str) -> list[str]:
    """The links of a text that lie on this machine. What closes a sentence is no part of them."""
    found = (url.rstrip(".:!?") for url in _URL.findall(text))
    return [url for url in dict.fromkeys(found) if _host(url) in LOOPBACK]


class Taps:
    """Visits that are owed, and one thread that makes them. Shared by threads."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._schedule, self._name = Schedule(clock, f"{name}-due"), name
        self._due: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._owed = self._opened = self._confirmed = self._failed = 0

    def preview(self, url: str, after: float) -> None:
        """Looks at the page, as the messenger does to show a preview: it confirms nothing."""
        self._owe(after, lambda: self._open(url))

    def confirm(self, url: str, after: float) -> None:
        """Opens the page and sends off its form."""
        self._owe(after, lambda: self._send(url))

    def wait(self, seconds: float) -> bool:
        """True when nothing is owed any more, within so many real seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._owed, seconds)

    def counts(self) -> dict[str, int]:
        """Pages opened, forms that were taken, visits that failed or are still owed."""
        with self._changed:
            return {
                "links_opened": self._opened,
                "links_confirmed": self._confirmed,
                "links_failed": self._failed,
                "links_owed": self._owed,
            }

    def stop(self) -> None:
        """Nobody visits anything any more."""
        self._schedule.stop()
        self._due.put(None)
        if self._thread:
            self._thread.join(timeout=5)

    def _owe(self, after: float, visit: Callable[[], object]) -> None:
        with self._changed:
            self._owed += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._visit_all, name=self._name, daemon=True)
                self._thread.start()
        if after > 0:
            self._schedule.after(after, lambda: self._due.put(visit))
        else:
            self._due.put(visit)

    def _visit_all(self) -> None:
        while (visit := self._due.get()) is not None:
            try:
                visit()
            except (OSError, http.client.HTTPException, ValueError):
                self._count(failed=1)
            self._count(owed=-1)

    def _open(self, url: str) -> bytes:
        status, page = _request("GET", url)
        self._count(opened=int(status == 200), failed=int(status != 200))
        return page if status == 200 else b""

    def _send(self, url: str) -> None:
        """A person sees the page again, and presses its button; the form goes to the page's own address."""
        if page := self._open(url):
            form = _Form()
            form.feed(page.decode("utf-8", "replace"))
            status, _ = _request("POST", url, urlencode(form.fields))
            good = 200 <= status < 400
            self._count(confirmed=int(good), failed=int(not good))

    def _count(self, *, owed: int = 0, opened: int = 0, confirmed: int = 0, failed: int = 0) -> None:
        with self._changed:
            self._owed += owed
            self._opened += opened
            self._confirmed += confirmed
            self._failed += failed
            self._changed.notify_all()


class _Form(HTMLParser):
    """The fields of a page's form that a person sends off by pressing its (first) button."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._pressed = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Hidden fields and the first button with their values; what is to be typed gets a name."""
        given = {name: value or "" for name, value in attrs}
        kind = given.get("type", "submit" if tag == "button" else "text")
        if tag not in ("input", "button") or (kind == "submit" and self._pressed):
            return
        self._pressed = self._pressed or kind == "submit"
        if name := given.get("name"):
            self.fields[name] = given.get("value") or ("测试员" if kind == "text" else "")


def _request(method: str, url: str, body: str = "") -> tuple[int, bytes]:
    """Status and page; redirects are not followed."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {}
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_PAGE)
    finally:
        connection.close()


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
