"""A running gateway: real worker processes, a real Valkey, the sweep and the server, against a strict 云MAS stand-in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from broadcast import queue, settings
from broadcast.gateway import Gateway
from broadcast.ledger import Seal
from broadcast.resources import EXAMPLES
from broadcast.simulator import Simulator
from broadcast.tiers import roster as rosters

DEQING = EXAMPLES / "deqing"
REGIONS = ("330521115201", "330521115202")

TOML = """
[county]
name = "德清县"
signature = "德清应急"

[[source]]
name = "deqing-met"
sender_codes = ["33052141600000"]

[[peer]]
name = "mas-1"
channel = "sms"
protocol = "mas"
simulated = true
concurrency = 4
[peer.options]
url = "{mas}"
ec_name = "测试单位"
ap_id = "simulated"
secret_key = "simulated-secret"
sign = "SIGN1"
per_call = {per_call}
doubt_seconds = 3
read_seconds = 2.0

{others}

[server]
port = {port}
[server.callbacks]
mas-1 = "{secret}"
"""

OTHER = """
[[peer]]
name = "{channel}-loopback"
channel = "{channel}"
protocol = "loopback"
simulated = true
[peer.options]
file = "{file}"
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Running:
    """A gateway that runs, and the hands of a person who tries to break it."""

    home: Path
    gateway: Gateway
    simulator: Simulator
    process: subprocess.Popen[bytes]
    port: int
    secret: str

    def workers(self, lane: str) -> list[psutil.Process]:
        """The worker processes of a lane (not their master)."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                command, parent = child.cmdline(), child.parent()
                if "dramatiq" in command and lane in command and parent is not None and "dramatiq" in parent.cmdline():
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def states(self, alert: int) -> dict[str, int]:
        """state → deliveries, all tiers and channels together."""
        total: Counter[str] = Counter()
        for row in self.gateway.progress(alert):
            total.update(row.states)
        return dict(total)

    def kill_worker(self, lane: str) -> int:
        workers = self.workers(lane)
        for worker in workers:
            worker.kill()
        return len(workers)

    def embedded_valkey(self) -> list[psutil.Process]:
        """The processes of the embedded Valkey."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "valkey-server" in child.name()]

    def flush_redis(self) -> None:
        queue.connect(settings.load(self.home).redis_url).flushall()

    def wait_for(self, done: Callable[[], object], seconds: float = 40.0) -> None:
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until:
                raise AssertionError(f"not within {seconds} s")
            time.sleep(0.05)


def warning(number: int, *, level: str = "Severe", regions: tuple[str, ...] = REGIONS, event: str = "暴雨") -> bytes:
    """An orange rainstorm in two villages, sent now."""
    now = datetime.now(UTC)
    return json.dumps(
        {
            "identifier": f"33052141600000_{number}", "sender": "德清县气象局", "senderCode": "33052141600000", "sent": now.isoformat(),
            "status": "Actual", "msgType": "Alert", "scope": "Public",
            "info": [
                {
                    "language": "zh-CN", "event": event, "eventCode": [{"valueName": "national", "value": "11B03"}], "severity": level,
                    "urgency": "Immediate", "certainty": "Likely", "headline": f"暴雨预警{number}", "expires": (now + timedelta(hours=3)).isoformat(),
                    "area": [{"areaDesc": "", "geocode": [{"valueName": "NBS", "value": code} for code in regions]}],
                }
            ],
        },
        ensure_ascii=False,
    ).encode()  # fmt: skip


def make_home(
    home: Path, simulator: Simulator, port: int, secret: str, roster: Path, *, per_call: int = 20, database_url: str = ""
) -> Gateway:
    home.mkdir(exist_ok=True)
    others = "".join(OTHER.format(channel=c, file=home / f"{c}.jsonl") for c in ("speaker", "voice", "zwdd", "grid", "feed"))
    (home / "broadcast.toml").write_text(
        TOML.format(mas=simulator.url, others=others, port=port, secret=secret, per_call=per_call), encoding="utf8"
    )
    Seal.make(home / "seal.key")
    loaded = settings.load(home)
    gateway = settings.open_gateway(replace(loaded, database_url=database_url) if database_url else loaded)
    gateway.ledger.migrate()
    regions = {p.name: p.read_text(encoding="utf8") for p in (DEQING / "regions").iterdir() if p.suffix in (".csv", ".geojson")}
    gateway.import_regions(regions, (DEQING / "roles.csv").read_text(encoding="utf8"), "测试")
    gateway.import_plans({p.name: p.read_text(encoding="utf8") for p in (DEQING / "plans").glob("*.toml")}, "测试")
    gateway.import_roster(rosters.read(roster, gateway.house.books.regions, gateway.house.books.roles), "测试")
    return gateway


def start_up(home: Path, database_url: str = "") -> subprocess.Popen[bytes]:
    code = "import sys; from broadcast import settings, supervisor; sys.exit(supervisor.up(settings.load()))"
    environment = {**os.environ, "BROADCAST_HOME": str(home)}
    if database_url:
        environment["BROADCAST_DATABASE_URL"] = database_url
    with (home / "up.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=log, stderr=log, start_new_session=True)


def stop_up(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
