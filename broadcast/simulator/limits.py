"""Limits as providers count them: so many in so many seconds, and no nonce twice."""

from __future__ import annotations

from collections import defaultdict, deque


class Window:
    """At most `calls` in any `seconds`, for each key, for each of several such limits. Not locked: its owner is.

    Providers seldom say whether a day is a calendar day, or whether an hour begins with the first call. A sliding window is
    the strictest reading: what passes here passes there.
    """

    def __init__(self, *limits: tuple[int, float]) -> None:
        self._limits = limits
        self._longest = max(seconds for _, seconds in limits)
        self._taken: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)

    def allows(self, key: str, now: float, count: int = 1) -> bool:
        """True when `count` more fit, `now` in seconds."""
        taken = self._taken.get(key, ())
        return all(
            sum(n for at, n in taken if at > now - seconds) + count <= calls  # as many as ever were taken in the longest
            for calls, seconds in self._limits
        )

    def add(self, key: str, now: float, count: int = 1) -> None:
        """Remembers that `count` were taken, and forgets what counts no more."""
        taken = self._taken[key]
        taken.append((now, count))
        while taken[0][0] <= now - self._longest:
            taken.popleft()


class Nonces:
    """Which nonces were seen in the last `seconds`; older requests are refused by their time stamp. Not locked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[str, float] = {}

    def is_new(self, nonce: str, now: float) -> bool:
        """True the first time; `now` in seconds."""
        while self._seen and self._seen[oldest := next(iter(self._seen))] < now - self._seconds:
            del self._seen[oldest]
        if nonce in self._seen:
            return False
        self._seen[nonce] = now
        return True
