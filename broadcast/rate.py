"""How fast a peer may be called: one token bucket for all workers in Redis, one per process while Redis is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError

# Redis' own clock, so that hosts whose clocks differ share one bucket. Nothing is taken when there is no whole token:
# a worker that dies while it waits leaves no debt behind.
_TAKE = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(tonumber(bucket[1]) or burst, burst)
local passed = math.max(0, now - (tonumber(bucket[2]) or now))
tokens = math.min(burst, tokens + passed * rate)
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) / rate end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
return string.format('%.6f', wait)
"""

ASK_AGAIN_SECONDS = 1.0  # after Redis was away: a Redis that hangs must not be waited for at every call


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimiter:
    """Shared between threads. `degraded` says why the limit is only this process's own; "" while Redis answers."""

    def __init__(self, client: Redis, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.degraded = ""
        self._prefix, self._clock = prefix, clock
        self._script = client.register_script(_TAKE)
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}
        self._away_until = float("-inf")

    def take(self, peer: str, rate: float, burst: float = 1.0) -> float:
        """Takes one call for `peer`: 0.0 when it may go now, else the seconds to wait before asking again.

        `rate` is calls per second (0 = no limit), `burst` how many may go at once after a pause (at least 1).
        """
        if rate <= 0:
            return 0.0
        burst = max(1.0, burst)
        if self._clock() >= self._away_until:
            try:
                wait = float(self._script(keys=[f"{self._prefix}:rate:{peer}"], args=[rate, burst]))
            except RedisError as error:
                self.degraded = f"Redis is away ({type(error).__name__}): each process keeps the rate on its own"
                self._away_until = self._clock() + ASK_AGAIN_SECONDS
            else:
                self.degraded = ""
                return wait
        return self._take_here(peer, rate, burst)

    def _take_here(self, peer: str, rate: float, burst: float) -> float:
        now = self._clock()
        with self._lock:
            bucket = self._buckets.setdefault(peer, _Bucket(burst, now))
            bucket.tokens = min(burst, bucket.tokens + max(0.0, now - bucket.at) * rate)
            bucket.at = now
            if bucket.tokens < 1:
                return (1 - bucket.tokens) / rate
            bucket.tokens -= 1
            return 0.0
