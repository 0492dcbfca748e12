"""Does bulk hold up an alarm? While routine texts are planned and sent, small alarms are submitted one after the other.

    python bench/lanes.py --recipients 200000 --alarms 200

Prints, idle and under load: how long an alarm's submit took (p50, p99), how long its commit waited for the ledger's write
lock, and how long until its first call reached the far end. Everything runs on this machine: worker processes, Valkey, the
provider's stand-in.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from broadcast.ledger.engine import Database
from broadcast.simulator import Account, Config, Faults, Simulator
from tests.integration.house import free_port, make_home, start_up, stop_up, warning

WAITS: list[float] = []


def timed_begin() -> None:
    """Measures how long each write transaction of this process waits for the lock and how long its commit takes."""
    original = Database.write

    def write(self: Database, *, patient: bool = False):  # type: ignore[no-untyped-def]
        return _Timed(original(self, patient=patient))

    Database.write = write  # type: ignore[method-assign,assignment]


class _Timed:
    def __init__(self, inner) -> None:  # type: ignore[no-untyped-def]
        self._inner = inner

    def __enter__(self):  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        connection = self._inner.__enter__()
        self._waited = time.perf_counter() - began
        return connection

    def __exit__(self, *failure):  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        try:
            return self._inner.__exit__(*failure)
        finally:
            WAITS.append(self._waited + time.perf_counter() - began)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def alarms(gateway, count: int, first: int, pause: float) -> dict[str, list[float]]:  # type: ignore[no-untyped-def]
    """Submits small alarms; returns submit times, lock waits and times to the first call, in seconds."""
    took, waited, first_call = [], [], []
    for n in range(count):
        raw = warning(first + n, level="Moderate", regions=("330521115201",), event="雷雨大风")
        alert = gateway.read(raw)
        WAITS.clear()
        began = time.time()
        sent = gateway.submit(alert)
        took.append(time.time() - began)
        waited.append(max(WAITS))
        first_call.append(_first_call(gateway, sent.alert_id, began))
        time.sleep(pause)
    return {"submit": took, "commit": waited, "first call": first_call}


def _first_call(gateway, alert_id: int, began: float) -> float:  # type: ignore[no-untyped-def]
    import sqlalchemy as sa

    from broadcast.ledger import tables as t

    until = time.time() + 20
    while time.time() < until:
        with gateway.ledger.read() as tx:
            started = tx.execute(sa.select(sa.func.min(t.batch.c.started)).where(t.batch.c.alert_id == alert_id)).scalar()
        if started is not None:
            return started / 1000 - began
        time.sleep(0.005)
    return 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=200_000)
    parser.add_argument("--alarms", type=int, default=200)
    parser.add_argument("--latency-ms", type=int, default=50, help="of each provider call")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    timed_begin()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        print(json.dumps(run(Path(folder), options)) if options.json else _table(run(Path(folder), options), options))


def run(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    from tests.conftest import DEQING, Regions, read_folder, synthetic

    regions = Regions.load(read_folder(DEQING / "regions", "*.csv", "*.geojson"))
    roster = folder / "roster"
    synthetic.write(roster, regions, (DEQING / "regions" / "population.csv").read_text(encoding="utf8"), "M", 1)
    villages = [region.code for region in regions if len(region.code) == 12]
    with (roster / "residents.csv").open("w", encoding="utf8") as file:
        file.write("region,grid,phone,synthetic\n")
        file.writelines(f"{villages[n % len(villages)]},1,194{n:08d},1\n" for n in range(options.recipients))
    port = free_port()
    callback, faults = f"http://127.0.0.1:{port}/callbacks/mas-1/s", Faults(latency_ms=options.latency_ms)
    config = Config(callback=callback, account=Account(repeat_seconds=0.0), faults=faults)
    with Simulator(config) as simulator:
        gateway = make_home(folder / "home", simulator, port, "s", roster, per_call=1000)
        process = start_up(folder / "home")
        try:
            while not gateway.health().ok:
                time.sleep(0.1)
            found = {"idle": alarms(gateway, options.alarms, 1_000_000, 0.02)}
            bulk = gateway.submit(gateway.read(warning(1, regions=("330521",)))).alert_id
            loaded: dict[str, list[float]] = {}
            number = 2_000_000
            while not gateway.wait(bulk, 0.01) and len(loaded.get("submit", [])) < options.alarms:
                for name, values in alarms(gateway, 5, number, 0.02).items():
                    loaded.setdefault(name, []).extend(values)
                number += 5
            found["under load"] = loaded
            began = time.time()
            gateway.wait(bulk, 300)
            found["rest"] = {"seconds": [time.time() - began]}
        finally:
            stop_up(process)
            gateway.close()
    return found


def _table(found: dict[str, dict[str, list[float]]], options: argparse.Namespace) -> str:
    lines = [f"{os.cpu_count()} cores, {options.recipients} recipients, {options.latency_ms} ms a call", ""]
    for name in ("submit", "commit", "first call"):
        for phase in ("idle", "under load"):
            values = found[phase].get(name, [0.0])
            figures = (("p50", statistics.median(values)), ("p99", percentile(values, 0.99)), ("max", max(values)))
            shown = "   ".join(f"{label} {value * 1000:7.1f} ms" for label, value in figures)
            lines.append(f"{name:<10} {phase:<10} n={len(values):<4} {shown}")
    lines.append(f"rest of bulk took {found['rest']['seconds'][0]:.1f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    random.seed(1)
    threading.stack_size(512 * 1024)
    main()
