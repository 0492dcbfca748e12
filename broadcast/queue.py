"""The doorbell. The only file that knows Dramatiq.

A message says "these batches may be due"; it may be lost, doubled or late without harm, because the ledger knows what is
owed and the sweep rings again. So everything of Dramatiq's that keeps or repeats messages (Retries, AgeLimit, delays, dead
letters) is left out: each of them was seen to lose messages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from .errors import BroadcastError, InvalidFiles, Problem

log = logging.getLogger("broadcast")

LANES = ("alarm", "bulk", "drill")
RING_SECONDS = 1.0  # for each word with Redis: the doorbell must never hold up a submit
RING_ALL_SECONDS = 2.0  # for all batches of one ring, where Redis answers but creeps; 2,000 of them take half a second
NAMESPACE = "broadcast"
LOUD_ENOUGH = 10_000  # messages of a lane; half a million recipients are 600
QUIET = 5.0  # seconds between two complaints about the same Redis

# With the defaults a killed worker's message came back after minutes, with these within 6 s, at no cost.
_MAINTENANCE = {"maintenance_chance": 1_000_000, "heartbeat_timeout": 5_000}


def connect(url: str, seconds: float = RING_SECONDS) -> redis.Redis:
    """A client that fails at once instead of trying again: what could not be rung is rung by the sweep."""
    try:
        return redis.Redis.from_url(
            url, socket_connect_timeout=seconds, socket_timeout=seconds, retry=Retry(NoBackoff(), 0), health_check_interval=0
        )
    except ValueError:
        text = "BROADCAST_REDIS_URL is not a Redis URL: use redis://HOST:6379/0, rediss://… or unix:///SOCKET"
        raise InvalidFiles([Problem("environment", 0, "error", text)]) from None


def make_broker(client: redis.Redis) -> RedisBroker:
    """A broker with the three lanes and no middleware."""
    broker: RedisBroker = RedisBroker(  # type: ignore[no-untyped-call]  # dramatiq leaves it untyped
        client=client, middleware=[], namespace=NAMESPACE, **_MAINTENANCE
    )
    for lane in LANES:
        broker.declare_queue(lane)
    return broker


class Doorbell:
    """Rings workers by batch id."""

    def __init__(self, broker: dramatiq.Broker, client: redis.Redis | None = None) -> None:
        self._broker, self._client = broker, client
        self._complained = 0.0

    def ring(self, lanes: Mapping[str, Sequence[int]]) -> bool:
        """One message for each batch, so that free threads share them. False when nobody could be rung; never raises."""
        until = time.monotonic() + RING_ALL_SECONDS
        try:
            for lane in LANES:  # alarm first
                if lanes.get(lane) and self._is_ringing(lane):
                    continue
                for batch_id in lanes.get(lane, ()):
                    if time.monotonic() > until:
                        raise redis.TimeoutError
                    self._broker.enqueue(_message(lane, batch_id))
        except (redis.RedisError, dramatiq.errors.BrokerConnectionError) as error:
            self._complain(type(error).__name__)
            return False
        return True

    def _is_ringing(self, lane: str) -> bool:
        """So much waits unheard (no worker runs) that more would only fill Redis; the sweep comes again."""
        return self._client is not None and int(self._client.llen(f"{NAMESPACE}:{lane}")) >= LOUD_ENOUGH

    def answers(self) -> bool:
        """Whether somebody would hear the bell."""
        try:
            return self._client is None or bool(self._client.ping())
        except redis.RedisError:
            return False

    def _complain(self, what: str) -> None:
        if time.monotonic() - self._complained > QUIET:
            self._complained = time.monotonic()
            log.warning("the bell cannot be rung (%s): nothing is lost, the sweep rings again", what)


def _message(lane: str, batch_id: int) -> dramatiq.Message[None]:
    return dramatiq.Message(queue_name=lane, actor_name=_actor(lane), args=(batch_id,), kwargs={}, options={})


def _actor(lane: str) -> str:
    return f"deliver_{lane}"


def declare(broker: dramatiq.Broker, deliver: Callable[[int], None]) -> None:
    """Declares the actor of each lane and makes this the process's broker: Dramatiq's command line asks for that one."""
    dramatiq.set_broker(broker)
    for lane in LANES:
        dramatiq.actor(actor_name=_actor(lane), queue_name=lane, broker=broker)(_answering(deliver))


def _answering(deliver: Callable[[int], None]) -> Callable[[int], None]:
    def answer(batch_id: int) -> None:
        try:
            deliver(batch_id)
        except BroadcastError as error:
            # The batch is still owed, or its lease will run out: the ledger needs no message to remember it.
            log.error("batch %s: %s", batch_id, error)

    return answer
