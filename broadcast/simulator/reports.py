"""Status reports: one push for each number, again when the customer does not answer 200, in the end kept for a poll."""

from __future__ import annotations

import heapq
import http.client
import itertools
import json
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import SplitResult, urlsplit

from .faults import Faults
from .rules import BEIJING, Received

REPUSH_SECONDS = (60.0, 300.0, 600.0)  # ASSUMPTION: as Aliyun documents it (1, 5, 10 minutes); 云MAS states nothing
POLLED_AT_ONCE = 500  # ASSUMPTION


@dataclass(frozen=True, slots=True)
class _Push:
    body: bytes
    tries: int = 0


class Reporter:
    """Owns the threads that push. `callback` is the customer's URL; "" means that the customer polls."""

    def __init__(self, callback: str, delay_seconds: float, pushers: int, speed: float, seed: int = 0) -> None:
        self._callback = urlsplit(callback) if callback else None
        if self._callback and not (self._callback.scheme in ("http", "https") and self._callback.hostname):
            raise ValueError("callback is an http or https URL")
        self._delay, self._speed = delay_seconds, speed
        self._chance = random.Random(seed)  # noqa: S311 - which phone is off is no secret
        self._order = itertools.count()
        # A heap by due time: how many, and which. They are written only when due: the answer must not wait for that.
        self._later: list[tuple[float, int, int, Iterator[_Push]]] = []
        self._changed = threading.Condition()
        self._due: queue.SimpleQueue[_Push | None] = queue.SimpleQueue()
        self._mailbox: deque[bytes] = deque()
        self._stopping = False
        self._pushed = 0
        self._threads = [threading.Thread(target=self._hand_out, name="simulator-clock", daemon=True)]
        if self._callback:
            self._threads += [
                threading.Thread(target=self._push_all, args=(self._callback,), name=f"simulator-push-{n}", daemon=True)
                for n in range(pushers)
            ]

    def start(self) -> None:
        """Starts pushing."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads; what is still owed is not pushed any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for _ in self._threads[1:]:
            self._due.put(None)
        for thread in self._threads:
            thread.join(timeout=5)

    def owe(self, received: Received, faults: Faults) -> None:
        """From now on a report is owed for each number of a request that was taken."""
        if not faults.no_reports:
            count = len(received.mobiles) * (2 if faults.duplicate_reports else 1)
            self._put_off(count, self._reports(received, faults), self._delay)

    def poll(self) -> list[object]:
        """What waits for the customer, oldest first; it is gone from here then."""
        with self._changed:
            taken = [self._mailbox.popleft() for _ in range(min(POLLED_AT_ONCE, len(self._mailbox)))]
        return [json.loads(body) for body in taken]

    def counts(self) -> dict[str, int]:
        """How many reports were pushed and answered with 200, wait for their time, and wait for a poll."""
        with self._changed:
            later = sum(count for _, _, count, _ in self._later)
            return {
                "reports_pushed": self._pushed,
                "reports_owed": later + self._due.qsize(),
                "reports_kept": len(self._mailbox),
            }

    def _reports(self, received: Received, faults: Faults) -> Iterator[_Push]:
        done = datetime.fromtimestamp(received.at.timestamp() + self._delay, BEIJING)
        same = {
            "submitDate": f"{received.at:%Y%m%d%H%M%S}",
            "receiveDate": f"{done:%Y%m%d%H%M%S}",
            "msgGroup": received.msg_group,
        }
        for mobile in received.mobiles:
            failed = faults.fail_share > 0 and self._chance.random() < faults.fail_share
            told = ("UNDELIV", "DB:0140") if failed else ("DELIVRD", "DELIVRD")
            push = _Push(json.dumps({"mobile": mobile, "reportStatus": told[0], "errorCode": told[1], **same}).encode())
            yield push
            if faults.duplicate_reports:
                yield push

    def _put_off(self, count: int, pushes: Iterator[_Push], seconds: float) -> None:
        with self._changed:
            heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), count, pushes))
            self._changed.notify_all()

    def _hand_out(self) -> None:
        while (pushes := self._wait_for_due()) is not None:
            for push in pushes:
                if self._callback:
                    self._due.put(push)
                else:
                    self._mailbox.append(push.body)

    def _wait_for_due(self) -> Iterator[_Push] | None:
        """The next pushes whose time has come; None at the end."""
        with self._changed:
            while not self._stopping:
                wait = self._later[0][0] - time.monotonic() if self._later else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._later)[3]
                self._changed.wait(wait)
        return None

    def _push_all(self, callback: SplitResult) -> None:
        line = _Line(callback)
        while (push := self._due.get()) is not None and not self._stopping:
            if line.post(push.body):
                with self._changed:
                    self._pushed += 1
            elif push.tries < len(REPUSH_SECONDS):
                self._put_off(1, iter([_Push(push.body, push.tries + 1)]), REPUSH_SECONDS[push.tries] / self._speed)
            else:
                self._mailbox.append(push.body)
        line.close()


class _Line:
    """One kept-alive connection to the customer."""

    def __init__(self, callback: SplitResult) -> None:
        kind = http.client.HTTPSConnection if callback.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(callback.hostname or "", callback.port, timeout=10)
        self._path = callback.path + (f"?{callback.query}" if callback.query else "") or "/"

    def post(self, body: bytes) -> bool:
        """True when the customer answered 200. A kept-alive connection that was closed meanwhile is opened anew."""
        for _ in range(2):
            fresh = self._connection.sock is None
            try:
                self._connection.request("POST", self._path, body, {"Content-Type": "application/json; charset=utf-8"})
                answer = self._connection.getresponse()
                answer.read()
                return answer.status == 200
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if fresh:
                    return False
        return False

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()
