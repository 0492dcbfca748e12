"""Real processes, a real Valkey, HTTP to a strict stand-in: a warning walks its whole way, and survives what may happen."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

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


@pytest.mark.parametrize("seed", range(6))
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


@pytest.mark.parametrize("seed", range(4))
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
