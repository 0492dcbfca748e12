"""Real processes, a real Valkey, HTTP to a strict stand-in: a warning walks its whole way, and survives what may happen."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from broadcast import queue, settings
from broadcast.simulator import Faults

from .house import Running, warning

pytestmark = pytest.mark.integration


def sms_of(running: Running, since: int) -> Counter[str]:
    """How often each number was sent something since then."""
    return Counter(mobile for one in running.simulator.received[since:] for mobile in one.mobiles)


def test_a_warning_walks_its_whole_way(running):
    since = len(running.simulator.received)
    sent = running.gateway.submit(running.gateway.read(warning(1)))

    assert sent.state == "active" and sent.rung
    assert running.gateway.wait(sent.alert_id, 30)
    running.wait_for(lambda: not running.states(sent.alert_id).get("accepted"))

    assert set(running.states(sent.alert_id)) == {"delivered"}
    assert set(sms_of(running, since).values()) == {1}


SETTLED = {"delivered", "failed", "rejected", "in_doubt"}


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_worker_loses_nothing_and_doubles_nothing_that_was_answered(running, seed):
    """SIGKILL of alarm and bulk workers at random instants in the middle of sends."""
    chance = random.Random(seed)
    running.simulator.faults = Faults(latency_ms=chance.choice([20, 60, 150]))
    since = len(running.simulator.received)
    sent = running.gateway.submit(running.gateway.read(warning(100 + seed)))
    killed = 0
    for _ in range(3):
        time.sleep(chance.uniform(0.02, 0.6))
        killed += running.kill_worker(chance.choice(["alarm", "bulk"]))

    assert killed
    _holds(running, sent.alert_id, since)


@pytest.mark.parametrize("seed", range(1))
def test_a_flushed_redis_loses_nothing(running, seed):
    chance = random.Random(1000 + seed)
    running.simulator.faults = Faults(latency_ms=80)
    since = len(running.simulator.received)
    sent = running.gateway.submit(running.gateway.read(warning(200 + seed)))
    for _ in range(3):
        time.sleep(chance.uniform(0.0, 0.3))
        running.flush_redis()

    _holds(running, sent.alert_id, since)
    assert set(running.states(sent.alert_id)) == {"delivered"}
    assert set(sms_of(running, since).values()) == {1}


def _holds(running: Running, alert_id: int, since: int) -> None:
    """Every delivery ends in a final state or in doubt with its reason; nobody whom the provider answered for is told twice."""
    assert running.gateway.wait(alert_id, 60), running.states(alert_id)
    running.simulator.faults = Faults()
    running.wait_for(lambda: set(running.states(alert_id)) <= SETTLED)
    rows = [row for row in running.gateway.ledger.deliveries(alert_id=alert_id) if row["channel"] == "sms"]
    assert all(row["reason"] for row in rows if row["state"] == "in_doubt")
    told = sms_of(running, since)
    assert len(told) == len(rows)  # everybody was told
    assert not [number for number, times in told.items() if times > 1]  # and the reports settled every doubt before it was resent


def test_no_number_and_no_secret_is_in_a_log_a_queue_message_or_readable_in_the_ledger(running):
    """Everything that the gateway leaves behind is searched for the numbers that it told."""
    since = len(running.simulator.received)
    running.simulator.faults = Faults(http_status=500, times=2)
    sent = running.gateway.submit(running.gateway.read(warning(300)))
    seen_in_redis = _redis_values(running)
    assert running.gateway.wait(sent.alert_id, 60)
    numbers = {mobile.encode() for mobile in sms_of(running, since)}
    assert len(numbers) > 300

    left = {"redis": seen_in_redis + _redis_values(running)}
    left |= {
        path.name: path.read_bytes()
        for path in running.home.rglob("*")
        if path.is_file() and path.suffix in (".log", ".db", ".db-wal")
    }
    for name, body in left.items():
        found = [number for number in numbers if number in body]
        assert not found, f"{len(found)} numbers in {name}"
        if name != "broadcast.toml":
            assert b"simulated-secret" not in body and running.secret.encode() not in body, name


def _redis_values(running: Running) -> bytes:
    client = queue.connect(settings.load(running.home).redis_url)
    found = [client.dump(key) or b"" for key in client.scan_iter("*")]
    return b"".join([*client.scan_iter("*"), *found])


def test_a_warning_walks_its_whole_way_on_postgresql_and_survives_a_killed_worker(running_on_postgresql):
    running = running_on_postgresql
    test_a_warning_walks_its_whole_way(running)
    for seed in (11, 12):
        test_a_killed_worker_loses_nothing_and_doubles_nothing_that_was_answered(running, seed)


def test_without_redis_a_warning_is_committed_and_goes_out_when_it_is_back(running_on_postgresql):
    running = running_on_postgresql
    since = len(running.simulator.received)
    guard = running.embedded_valkey()
    for process in guard:
        process.suspend()
    try:
        began = time.monotonic()
        sent = running.gateway.submit(running.gateway.read(warning(401)))
        assert not sent.rung and time.monotonic() - began < 5
        assert running.gateway.status(sent.alert_id).state == "active"
    finally:
        for process in guard:
            process.resume()
    _holds(running, sent.alert_id, since)


def test_an_embedded_valkey_that_is_killed_is_started_again(running_on_postgresql):
    running = running_on_postgresql
    since = len(running.simulator.received)
    before = {process.pid for process in running.embedded_valkey()}
    for process in running.embedded_valkey():
        process.kill()
    sent = running.gateway.submit(running.gateway.read(warning(402)))

    running.wait_for(lambda: {process.pid for process in running.embedded_valkey()} - before)
    _holds(running, sent.alert_id, since)
    running.wait_for(lambda: running.gateway.health().ok)
