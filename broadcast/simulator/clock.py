"""One clock for all limits of all stand-ins: faster than life where a demonstration must not wait ten minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))


class Clock:
    """Seconds as the provider counts them: `speed` of them pass in one of ours."""

    def __init__(self, speed: float = 1.0, source: Callable[[], float] = time.monotonic) -> None:
        if speed <= 0:
            raise ValueError("speed is above 0")
        self.speed = speed
        self._source, self._start = source, source()

    def seconds(self) -> float:
        """Seconds since the start, for limits and waits."""
        return (self._source() - self._start) * self.speed

    def real(self, seconds: float) -> float:
        """How long `seconds` of the provider's take here."""
        return seconds / self.speed

    def wall(self) -> datetime:
        """The time of day to be written into reports: real, in Beijing. Stamps must agree with the customer's clock."""
        return datetime.now(BEIJING)
