"""Real processes, a real Valkey, HTTP to a strict stand-in: a warning walks its whole way, and survives what may happen."""

from __future__ import annotations

import random
from collections import Counter

import pytest

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
