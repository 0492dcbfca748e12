"""All six channels with real processes: a home as `broadcast init` makes it, `up`, and its stand-ins; and a worker that is killed."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from broadcast import settings
from broadcast.ledger import tables as t
from broadcast.simulator import Faults, Simulator
from broadcast.simulator.config import read_file

from .house import Running, start_up, stop_up, warning

pytestmark = pytest.mark.integration

CHANNELS = ("speaker", "sms", "voice", "zwdd", "grid", "feed")
VILLAGES = ("330521115201", "330521115202")
SPEED = 60.0  # a provider's minute is a second
DOUBT_SECONDS = 4  # a doubt is decided while the story waits
QUIET = {"delivered", "accepted", "failed", "rejected", "cancelled", "in_doubt"}
REPORTED = ("speaker", "sms", "voice")  # whose far ends say of every delivery what became of it

# Whom the stand-ins told: channel → of which of them, and who in one thing that they took.
RECORDS: dict[str, tuple[tuple[str, Callable[[dict], list[str]]], ...]] = {
    "speaker": (("ebd", lambda one: list(one["areas"]) * (1 + one["played_again"]) if one["kind"] == "play" else []),),
    "sms": (("mas", lambda one: list(one["mobiles"])), ("smpp", lambda one: [one["mobile"]])),
    "voice": (("vms", lambda one: [one["number"]]),),
    "zwdd": (("zwdd", lambda one: list(one["receivers"])),),
    "grid": (("grid", lambda one: [one["account"]]),),
    "feed": (("feed", lambda one: [one["platform"]]),),
}
NAMES: dict[str, Callable[[str], str]] = {
    "speaker": lambda address: address[1:13], "sms": lambda address: address[-11:], "voice": lambda address: address[-11:],
    "zwdd": str, "grid": str, "feed": lambda address: address.rpartition(":")[2],
}  # fmt: skip


def three_free_ports() -> int:
    """The first of three in a row."""
    while True:
        with socket.socket() as one, socket.socket() as two, socket.socket() as three:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                two.bind(("127.0.0.1", port + 1))
                three.bind(("127.0.0.1", port + 2))
            except (OSError, OverflowError):
                continue
            return port


def command(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What a person types."""
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("BROADCAST_")}, "BROADCAST_HOME": str(home)}
    called = [sys.executable, "-m", "broadcast.cli", *words]
    return subprocess.run(called, env=environment, capture_output=True, text=True, timeout=60, check=False)


def hurry(home: Path) -> None:
    """Doubts are decided soon and numbers may be called often; everything else stays as `init` wrote it."""
    page = home / "broadcast.toml"
    written = page.read_text("utf-8")
    for protocol in ("ebd", "mas", "smpp", "vms", "zwdd-ding", "grid"):
        head = rf'(protocol = "{protocol}"\n(?:.*\n)*?\[peer\.options\]\n)'
        written, times = re.subn(head, rf"\1doubt_seconds = {DOUBT_SECONDS}\nread_seconds = 2.0\n", written, count=1)
        assert times == 1
    # The stories follow each other faster than one number may be called in life; the stand-in's own limits are 60 times as fast.
    written = written.replace(
        'start_code = "TTS_1"', 'callee_limits = [{ calls = 9, seconds = 60, below_red = 9 }]\nstart_code = "TTS_1"'
    )
    page.write_text(written, "utf-8")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`init`, `simulate` (in this process, so that its records can be read) and `up`."""
    home, port = tmp_path_factory.mktemp("home") / "deqing", three_free_ports()
    made = command(home.parent, "init", str(home), "--example", "deqing", "--size", "S", "--port", str(port))
    assert made.returncode == 0, made.stderr
    hurry(home)
    with Simulator(replace(read_file(home / "simulator.toml"), speed=SPEED)) as simulator:
        gateway = settings.open_gateway(settings.load(home))
        process = start_up(home)
        running = Running(home, gateway, simulator, process, port, "")
        try:
            running.wait_for(lambda: gateway.health().ok and running.workers("alarm") and running.workers("bulk"), 30)
            yield running
        finally:
            stop_up(process)
            gateway.close()


def a_warning(number: int) -> bytes:
    """Of two villages. With a name of their area: CAP, which other platforms get, has no area without one."""
    return warning(number, regions=VILLAGES).replace(b'"areaDesc": ""', '"areaDesc": "测试村"'.encode())


class Record:
    """What the stand-ins take from now on."""

    def __init__(self, running: Running) -> None:
        self._simulator = running.simulator
        self._before = {name: len(running.simulator.provider(name).received()) for name in running.simulator.names}

    def told(self, channel: str) -> Counter[str]:
        """How often each target of a channel was told."""
        return Counter(
            who
            for name, targets in RECORDS[channel]
            for one in self._simulator.provider(name).received()[self._before[name] :]
            for who in targets(one)
        )


def deliveries(running: Running, alert_id: int) -> list[dict]:
    """With addresses as the stand-ins write them."""
    # The gateway's own question masks them.
    rows = running.gateway.ledger.sealed("deliveries", {"alert_id": alert_id})
    opened = running.gateway.ledger.seal.open
    return [{**row, "target": NAMES[row["channel"]](opened(bytes(row["address"])))} for row in rows]


def states(running: Running, alert_id: int) -> Counter[tuple[str, ...]]:
    """channel, state, reason → deliveries: for whoever reads that a story failed."""
    return Counter((row["channel"], row["state"], row["reason"] or "") for row in deliveries(running, alert_id))


def until_quiet(running: Running, alert_id: int, seconds: float) -> None:
    """Waits for `is_quiet`; says what is still open when that takes too long."""
    try:
        running.wait_for(lambda: is_quiet(running, alert_id), seconds)
    except AssertionError:
        raise AssertionError(f"not quiet within {seconds} s: {states(running, alert_id)}") from None


def is_quiet(running: Running, alert_id: int) -> bool:
    """Nothing waits to be sent or is being sent, no doubt is still to be decided, and where reports come, they have come.

    A doubt may stay one: of a call that was sent twice already, or whose person answered by another way meanwhile.
    """
    rows = deliveries(running, alert_id)
    waiting = [row for row in rows if row["channel"] in REPORTED and row["state"] == "accepted"]
    with running.gateway.ledger.read() as tx:
        undecided = sa.select(t.batch.c.id).where(t.batch.c.alert_id == alert_id, t.batch.c.doubt_due.is_not(None))
        waiting += tx.execute(undecided).all()
    return bool(rows) and not waiting and all(row["state"] in QUIET for row in rows)


def assert_nobody_is_lost_or_doubled(running: Running, alert_id: int, record: Record) -> None:
    """The ledger against the stand-ins' own records."""
    rows = deliveries(running, alert_id)
    for channel in CHANNELS:
        mine, told = [row for row in rows if row["channel"] == channel], record.told(channel)
        assert mine, channel
        may = Counter()
        for row in mine:
            may[row["target"]] += 1 + bool(row["doubled"])
            assert row["state"] != "in_doubt" or row["doubled"] or "answered meanwhile" in row["reason"], channel
            assert row["state"] not in ("delivered", "accepted", "failed") or told[row["target"]], f"{channel}: lost"
            assert row["state"] != "cancelled" or "answered by" in row["reason"] or "instead" in row["reason"], channel
        assert not told - may, f"{channel}: told more often than anybody decided"


def test_one_warning_goes_out_over_all_six_channels_and_is_answered(town):
    record = Record(town)
    sent = town.gateway.submit(town.gateway.read(a_warning(1)))
    assert sent.state == "active" and sent.rung
    until_quiet(town, sent.alert_id, 30)

    rows = deliveries(town, sent.alert_id)
    assert {row["channel"] for row in rows} == set(CHANNELS)
    assert {row["state"] for row in rows if row["channel"] == "speaker"} == {"delivered"}
    assert not [row for row in rows if row["state"] == "in_doubt"]
    assert_nobody_is_lost_or_doubled(town, sent.alert_id, record)

    # Keys, taps, replies and 签收: all four kinds of answers come back.
    town.wait_for(lambda: {"voice", "link", "grid", "sms"} <= answered_by(town, sent.alert_id), 20)
    assert town.gateway.answers(sent.alert_id).duties["answered"] > 5
    town.wait_for(lambda: town.gateway.answers(sent.alert_id).at_the_door.get("households", 0) > 0, 10)


def answered_by(running: Running, alert_id: int) -> set[str]:
    """The ways by which persons said that they have it."""
    with running.gateway.ledger.read() as tx:
        said = t.reply.c.alert_id == alert_id, t.reply.c.verb == "acknowledged"
        return set(tx.execute(sa.select(t.reply.c.how).where(*said)).scalars())


@pytest.mark.parametrize("seed", range(1))
def test_a_killed_alarm_worker_loses_nobody_and_doubles_nobody(town, seed):
    """SIGKILL in the middle of sends over all channels, while every provider is slow."""
    chance = random.Random(seed)
    for name in town.simulator.names:
        town.simulator.set_faults(name, Faults(latency_ms=120))
    record = Record(town)
    sent = town.gateway.submit(town.gateway.read(a_warning(10 + seed)))
    killed = 0
    for _ in range(2):
        time.sleep(chance.uniform(0.1, 0.7))
        killed += town.kill_worker("alarm")
    assert killed
    until_quiet(town, sent.alert_id, 40)
    for name in town.simulator.names:
        town.simulator.set_faults(name, Faults())
    assert_nobody_is_lost_or_doubled(town, sent.alert_id, record)


def test_the_loudspeaker_systems_are_shown_as_they_stand(town):
    town.wait_for(lambda: any(not one.silent and one.region for one in town.gateway.speakers(VILLAGES[0])), 10)
    shown = command(town.home, "speakers", "--region", "330521115", "--json")
    assert shown.returncode == 0, shown.stderr
    systems = {one["region"]: one for one in json.loads(shown.stdout)}
    assert systems[VILLAGES[0]]["standing"] in ("online", "playing") and not systems[VILLAGES[0]]["silent"]
    assert "in fault or offline" in command(town.home, "speakers").stdout
