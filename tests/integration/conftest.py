"""The running gateway of the integration stories."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broadcast.simulator import Account, Config, Simulator
from tests.databases import new_database

from .house import Running, free_port, make_home, start_up, stop_up


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, small_roster: Path) -> Iterator[Running]:
    """`up` in a home of its own. Module-wide: starting six processes for each story would be most of the time."""
    with _running(tmp_path_factory.mktemp("home"), small_roster) as made:
        yield made


@pytest.fixture(scope="module")
def running_on_postgresql(tmp_path_factory: pytest.TempPathFactory, small_roster: Path, postgres: str) -> Iterator[Running]:
    """The same on PostgreSQL."""
    home = tmp_path_factory.mktemp("home")
    with _running(home, small_roster, new_database(postgres, home)) as made:
        yield made


@contextmanager
def _running(home: Path, roster: Path, database_url: str = "") -> Iterator[Running]:
    port, secret = free_port(), f"{random.SystemRandom().getrandbits(64):x}"
    callback = f"http://127.0.0.1:{port}/callbacks/mas-1/{secret}"
    simulator = Simulator(Config(callback=callback, account=Account(repeat_seconds=0.0), report_delay_ms=3000, speed=60.0))
    with simulator:
        gateway = make_home(home, simulator, port, secret, roster, database_url=database_url)
        process = start_up(home, database_url)
        made = Running(home, gateway, simulator, process, port, secret)
        try:
            made.wait_for(lambda: gateway.health().ok and made.workers("bulk"), 30)
            yield made
        finally:
            stop_up(process)
            gateway.close()
