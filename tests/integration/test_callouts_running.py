"""叫应 with real processes and the real clock: whoever carries a ladder is killed, and the ladder goes on."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from broadcast import settings
from broadcast.channels import CHANNELS
from broadcast.ledger import Seal, callouts
from broadcast.ledger import tables as t
from broadcast.simulator import Config, Simulator
from broadcast.tiers import roster as rosters

from ..conftest import DEQING, read_folder
from .house import Running, free_port, start_up, stop_up, warning

pytestmark = pytest.mark.integration

VILLAGE = "330521115201"
EVERY = 4  # seconds between two calls, and of patience after the last: a ladder that a story can wait for
LATE = 10.0  # seconds that a step may be late when its worker was killed

HOME = """
[county]
name = "德清县"
signature = "德清应急"

[[source]]
name = "deqing-met"
sender_codes = ["33052141600000"]

[server]
port = {port}
"""

PEER = """
[[peer]]
name = "{channel}-loopback"
channel = "{channel}"
protocol = "loopback"
simulated = true
[peer.options]
file = "home:{channel}.jsonl"
{more}
"""


@pytest.fixture
def village(tmp_path: Path, small_roster: Path) -> Iterator[Running]:
    """`up` in a home whose red ladder has seconds where the plan has minutes, and whose voice calls take a tenth of a second each."""
    port = free_port()
    slow = "per_call = 1\nlatency_ms = 100"
    peers = "".join(PEER.format(channel=each, more=slow if each == "voice" else "") for each in CHANNELS)
    (tmp_path / "broadcast.toml").write_text(HOME.format(port=port) + peers, encoding="utf8")
    Seal.make(tmp_path / "seal.key")
    gateway = settings.open_gateway(settings.load(tmp_path))
    gateway.ledger.migrate()
    gateway.import_regions(
        read_folder(DEQING / "regions", "*.csv", "*.geojson"), (DEQING / "roles.csv").read_text("utf8"), "测试"
    )
    gateway.import_plans(hurried(read_folder(DEQING / "plans", "*.toml")), "测试")
    gateway.import_roster(rosters.read(small_roster, gateway.house.books.regions, gateway.house.books.roles), "测试")
    process = start_up(tmp_path)
    made = Running(tmp_path, gateway, Simulator(Config(callback="")), process, port, "")
    try:
        made.wait_for(lambda: gateway.health().ok and made.workers("alarm"), 30)
        yield made
    finally:
        stop_up(process)
        gateway.close()


def hurried(plans: dict[str, str]) -> dict[str, str]:
    page = plans["default.toml"]
    written = page.replace('every = "60s"', f'every = "{EVERY}s"').replace('patience = "60s"', f'patience = "{EVERY}s"')
    assert written != page
    return {**plans, "default.toml": written}


def test_a_killed_sweep_and_a_killed_worker_delay_no_step_by_more_than_ten_seconds_and_double_none(village):
    raw = warning(1, level="Extreme", regions=(VILLAGE,))
    alert = village.gateway.submit(village.gateway.read(raw)).alert_id
    village.wait_for(lambda: held(village, alert), 20)
    assert sweepers(village)
    for process in [*sweepers(village), *village.workers("alarm")]:
        process.kill()
    before = open_callouts(village, alert)
    assert len(before) > 5

    late = lateness(village, alert, before)
    assert late.keys() == before.keys()
    assert max(late.values()) <= LATE, sorted(late.values())[-3:]

    # And further: the calls of the steps since then are made, whoever held them before.
    village.wait_for(lambda: any(one.step != "principal" for one in open_callouts(village, alert).values()), 20)
    assert_nobody_is_called_twice_for_one_step(village, alert)
    with village.gateway.ledger.read() as tx:
        assert not callouts.stuck(tx, village.gateway.house.now())


def held(running: Running, alert_id: int) -> bool:
    """A worker holds a call that was made because somebody was silent."""
    its = (t.batch.c.alert_id == alert_id, t.batch.c.state == "sending", t.batch.c.purpose.startswith("callout."))
    with running.gateway.ledger.read() as tx:
        return tx.execute(sa.select(t.batch.c.id).where(*its)).first() is not None


def sweepers(running: Running) -> list[psutil.Process]:
    children = psutil.Process(running.process.pid).children(recursive=True)
    return [child for child in children if child.cmdline()[-2:] == ["broadcast.supervisor", "sweep"]]


def open_callouts(running: Running, alert_id: int) -> dict[int, sa.Row]:
    """Those that have a next step."""
    its = (t.callout.c.alert_id == alert_id, t.callout.c.state == "open", t.callout.c.next_step.is_not(None))
    with running.gateway.ledger.read() as tx:
        return {row.id: row for row in tx.execute(sa.select(t.callout).where(*its))}


def lateness(running: Running, alert_id: int, before: dict[int, sa.Row]) -> dict[int, float]:
    """How many seconds after its due time each of these was seen to have taken its next step."""
    found: dict[int, float] = {}
    until = time.monotonic() + EVERY + LATE + 5
    while len(found) < len(before) and time.monotonic() < until:
        now, rows = time.time(), {}
        with running.gateway.ledger.read() as tx:
            rows = {row.id: row for row in tx.execute(sa.select(t.callout).where(t.callout.c.alert_id == alert_id))}
        for number, was in before.items():
            if number not in found and (rows[number].step, rows[number].calls) != (was.step, was.calls):
                found[number] = now - was.next_step / 1000
        time.sleep(0.05)
    return found


def assert_nobody_is_called_twice_for_one_step(running: Running, alert_id: int) -> None:
    """By the far end's own record, and by the ledger."""
    lines = [json.loads(line) for line in (running.home / "voice.jsonl").read_text("utf8").splitlines()]
    assert max(Counter(line["key"] for line in lines).values()) == 1
    with running.gateway.ledger.read() as tx:
        rows = tx.execute(
            sa.select(t.called, t.delivery.c.address_id, t.delivery.c.purpose)
            .join(t.delivery, sa.and_(t.delivery.c.batch_id == t.called.c.batch_id, t.delivery.c.seq == t.called.c.seq))
            .where(t.delivery.c.alert_id == alert_id)
            .order_by(t.called.c.at)
        ).all()
    steps = Counter((row.callout_id, row.address_id, row.purpose) for row in rows)
    assert steps and max(steps.values()) == 1
    times: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        times.setdefault((row.callout_id, row.address_id), []).append(row.at)
    for ordered in times.values():
        assert all(later - earlier >= EVERY * 1000 for earlier, later in pairwise(ordered))
