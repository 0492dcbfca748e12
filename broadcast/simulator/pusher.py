"""One provider's connections to its customer: pushes when they are due, again as long as they are not taken, and counts them."""

from __future__ import annotations

import http.client
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import SplitResult, urlsplit

from .clock import Clock
from .faults import Faults
from .schedule import Schedule

Body = Callable[[], bytes] | bytes
Taken = Callable[[int, bytes], bool]

ANSWER_SECONDS = 10.0  # real ones: how long the customer may take to answer
BEFORE_ANSWER_SECONDS = 5.0  # real ones: how long an answer waits for what is pushed before it

QUIET = Faults()


def with_200(status: int, _answer: bytes) -> bool:
    """Taken, as most providers understand it."""
    return status == 200


@dataclass(frozen=True, slots=True)
class _Push:
    to: SplitResult
    body: Body = field(repr=False)
    headers: Mapping[str, str]
    again: tuple[float, ...]
    taken: Taken
    tried: threading.Event | None = None  # somebody waits for the first try


class Pusher:
    """A `Push`. Bodies are made only when they are due; at most `connections` are open at once, and kept alive."""

    def __init__(self, name: str, clock: Clock, connections: int = 4) -> None:
        self._name, self._clock, self._most = name, clock, connections
        self._schedule = Schedule(clock, f"{name}-due")
        self._due: queue.SimpleQueue[_Push | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._taken = self._owed = 0
        self._stopping = False
        self._playing = _Playing()

    def __call__(
        self,
        url: str,
        body: Body,
        headers: Mapping[str, str],
        *,
        after: float,
        again: Sequence[float] = (),
        taken: Taken = with_200,
    ) -> None:
        """As `Push` promises. ValueError for what is no http or https URL."""
        push = _Push(address(url), body, headers, tuple(again), taken)
        met = self._playing.faults
        if met.delivers_nothing:
            return
        if met.reports_before_answer:
            self._push_now(push)
        else:
            self._owe(after, push)

    @contextmanager
    def playing(self, faults: Faults) -> Iterator[None]:
        """What this thread pushes inside meets these faults: it is dropped, or tried once before `push` returns."""
        self._playing.faults = faults
        try:
            yield
        finally:
            self._playing.faults = QUIET

    @property
    def silent(self) -> bool:
        """True when this thread plays that nothing is delivered."""
        return self._playing.faults.delivers_nothing

    def counts(self) -> dict[str, int]:
        """How many pushes were taken, and how many wait for their time or for another try."""
        with self._lock:
            return {"pushes_taken": self._taken, "pushes_owed": self._owed}

    def stop(self) -> None:
        """Ends the threads; what is still owed is not pushed any more."""
        with self._lock:
            self._stopping = True
            threads = list(self._threads)
        self._schedule.stop()
        for _ in threads:
            self._due.put(None)
        for thread in threads:
            thread.join(timeout=5)

    def _owe(self, after: float, push: _Push) -> None:
        with self._lock:
            self._owed += 1
        self._put_off(after, push)

    def _put_off(self, after: float, push: _Push) -> None:
        if after > 0:
            self._schedule.after(after, lambda: self._hand_out(push))
        else:
            self._hand_out(push)

    def _hand_out(self, push: _Push) -> None:
        with self._lock:
            if self._stopping:
                return
            if len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name=f"{self._name}-push-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._due.put(push)

    def _push_now(self, push: _Push) -> None:
        tried = threading.Event()
        self._owe(0, replace(push, tried=tried))
        tried.wait(BEFORE_ANSWER_SECONDS)

    def _work(self) -> None:
        lines: dict[tuple[str, str], _Line] = {}
        while (push := self._due.get()) is not None and not self._stopping:
            where = (push.to.scheme, push.to.netloc)
            self._try(push, lines.setdefault(where, _Line(push.to)))
        for line in lines.values():
            line.close()

    def _try(self, push: _Push, line: _Line) -> None:
        body = push.body() if callable(push.body) else push.body
        done = push.taken(*line.post(push.to, body, push.headers))
        if push.tried:
            push.tried.set()
        if done or not push.again:
            with self._lock:
                self._owed -= 1
                self._taken += done
        else:
            self._put_off(push.again[0], replace(push, body=body, again=push.again[1:], tried=None))


class _Playing(threading.local):
    """What goes wrong at present in one thread's pushes."""

    faults = QUIET


class _Line:
    """One kept-alive connection to the customer."""

    def __init__(self, to: SplitResult) -> None:
        kind = http.client.HTTPSConnection if to.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(to.hostname or "", to.port, timeout=ANSWER_SECONDS)

    def post(self, to: SplitResult, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer, (0, b"") when none came. A kept-alive connection closed meanwhile is opened anew."""
        path = (to.path or "/") + (f"?{to.query}" if to.query else "")
        for _ in range(2):
            fresh = self._connection.sock is None
            try:
                self._connection.request("POST", path, body, dict(headers))
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if fresh:
                    break
        return 0, b""

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()


def address(url: str) -> SplitResult:
    """The parts of a URL to push to. ValueError for what is no http or https URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("callback is an http or https URL")
    return parts
