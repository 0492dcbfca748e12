"""One bucket for all workers in Redis; one per process, and said so, while Redis is away."""

from __future__ import annotations

import threading
import time

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import RedisError

from broadcast.rate import ASK_AGAIN_SECONDS, RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


def client_of(server: fakeredis.FakeServer) -> Redis:
    return fakeredis.FakeRedis(server=server)


def test_a_burst_goes_at_once_and_the_next_call_is_told_how_long_to_wait(server):
    limiter = RateLimiter(client_of(server), "t")
    assert [limiter.take("mas", rate=2, burst=3) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert 0.3 < limiter.take("mas", rate=2, burst=3) <= 0.5
    assert limiter.degraded == ""


def test_after_the_wait_it_was_told_the_call_may_go(server):
    limiter = RateLimiter(client_of(server), "t")
    assert limiter.take("mas", rate=20) == 0.0
    wait = limiter.take("mas", rate=20)
    time.sleep(wait + 0.01)
    assert limiter.take("mas", rate=20) == 0.0


def test_a_refused_take_costs_nothing(server):
    limiter = RateLimiter(client_of(server), "t")
    limiter.take("mas", rate=1)
    waits = [limiter.take("mas", rate=1) for _ in range(20)]
    assert all(0.5 < wait <= 1.0 for wait in waits)


def test_workers_with_clients_of_their_own_share_one_bucket(server):
    limiters = [RateLimiter(client_of(server), "t") for _ in range(4)]
    went = []

    def work(limiter: RateLimiter) -> None:
        went.extend(limiter.take("mas", rate=0.1, burst=5) == 0.0 for _ in range(10))

    threads = [threading.Thread(target=work, args=(limiter,)) for limiter in limiters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(went) == 40
    assert went.count(True) == 5


def test_peers_and_prefixes_have_buckets_of_their_own(server):
    client = client_of(server)
    assert RateLimiter(client, "a").take("mas", rate=0.1) == 0.0
    assert RateLimiter(client, "a").take("zwdd", rate=0.1) == 0.0
    assert RateLimiter(client, "b").take("mas", rate=0.1) == 0.0
    assert RateLimiter(client, "a").take("mas", rate=0.1) > 0


def test_a_bucket_is_forgotten_when_it_would_be_full_again(server):
    client = client_of(server)
    RateLimiter(client, "t").take("mas", rate=2, burst=4)
    assert 2000 < client.pttl("t:rate:mas") <= 3000


def test_no_limit_asks_nobody(server):
    server.connected = False
    limiter = RateLimiter(client_of(server), "t")
    assert [limiter.take("mas", rate=0) for _ in range(100)] == [0.0] * 100
    assert limiter.degraded == ""


def test_a_flushed_redis_is_no_trouble(server):
    client = client_of(server)
    limiter = RateLimiter(client, "t")
    limiter.take("mas", rate=0.1)
    client.flushall()
    client.script_flush()
    assert limiter.take("mas", rate=0.1) == 0.0
    assert limiter.degraded == ""


def test_while_redis_is_away_the_process_keeps_the_rate_itself_and_says_why(server):
    server.connected = False
    clock = Clock()
    limiter = RateLimiter(client_of(server), "t", clock)
    assert [limiter.take("mas", rate=2, burst=2) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert "Redis is away (ConnectionError)" in limiter.degraded
    clock.now += 0.5
    assert limiter.take("mas", rate=2, burst=2) == 0.0


def test_redis_is_asked_again_after_a_second_not_at_every_call(server):
    server.connected = False
    clock = Clock()
    limiter = RateLimiter(client_of(server), "t", clock)
    limiter.take("mas", rate=1)
    server.connected = True
    assert limiter.take("mas", rate=1) > 0  # still by itself
    assert limiter.degraded
    clock.now += ASK_AGAIN_SECONDS
    assert limiter.take("mas", rate=1) == 0.0  # Redis' bucket is full
    assert limiter.degraded == ""


def test_a_redis_that_nobody_runs_is_a_reason_not_an_error():
    client = Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2, retry=None)
    limiter = RateLimiter(client, "t")
    assert limiter.take("mas", rate=1) == 0.0
    assert limiter.degraded
    with pytest.raises(RedisError):
        client.ping()


@given(
    rate=st.floats(0.1, 100),
    burst=st.floats(1, 50),
    steps=st.lists(st.floats(0, 3), max_size=60),
)
def test_never_more_than_burst_and_rate_allow_whatever_the_rhythm(rate, burst, steps):
    server = fakeredis.FakeServer()
    server.connected = False
    clock = Clock()
    limiter = RateLimiter(client_of(server), "t", clock)
    start, went = clock.now, 0
    for step in steps:
        clock.now += step
        wait = limiter.take("p", rate, burst)
        went += wait == 0.0
        assert 0 <= wait <= 1 / rate + 1e-9
        assert went <= burst + (clock.now - start) * rate + 1e-6
