"""What a provider does later, on its own clock: a heap by due time and one thread."""

from __future__ import annotations

import heapq
import itertools
import sys
import threading
import time
import traceback
from collections.abc import Callable

from .clock import Clock


class Schedule:
    """Shared by threads. The thread starts with the first thing to do."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock, self._name = clock, name
        self._order = itertools.count()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Does `do` once `seconds` of the provider's have passed, in the schedule's thread: it must not wait for anything."""
        with self._changed:
            if self._stopping:
                return
            heapq.heappush(self._later, (time.monotonic() + self._clock.real(seconds), next(self._order), do))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def stop(self) -> None:
        """What is not done yet is not done any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while (do := self._wait_for_due()) is not None:
            try:
                do()
            except Exception:  # noqa: BLE001 - a mistake of ours: said aloud, and the others' turn comes all the same
                traceback.print_exc(file=sys.stderr)

    def _wait_for_due(self) -> Callable[[], None] | None:
        """The next thing whose time has come; None at the end."""
        with self._changed:
            while not self._stopping:
                wait = self._later[0][0] - time.monotonic() if self._later else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._later)[2]
                self._changed.wait(wait)
        return None
