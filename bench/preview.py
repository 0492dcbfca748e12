"""Does the preview know when the last one will have been told? It says so before; a running gateway is measured after.

    python bench/preview.py --runs 5
    python bench/preview.py --channel sms --rate 2 --per-call 5

A provider's limit makes the warning take half a minute or more. Prints, for each run, the calls and the seconds that the
preview expects, the seconds from the submission to the last answer of the provider, and measured / predicted; then the
median. Everything runs on this machine: a home as `broadcast init` makes it, `up`, the stand-ins. Nobody answers there: an
answer makes further calls needless, and the preview cannot know of it.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import sqlalchemy as sa

from broadcast import settings
from broadcast.gateway import Gateway
from broadcast.ledger import tables as t
from broadcast.simulator import Simulator
from broadcast.simulator.config import Config, read_file
from tests.integration.house import start_up, stop_up, warning
from tests.integration.test_ways_running import command, three_free_ports

TOWN = "330521115"
PEERS = {"voice": "vms-1", "sms": "mas-1"}
SPEED = 200.0  # of the stand-ins: the limits that are measured are the gateway's own


@dataclass(frozen=True)
class Run:
    """One warning."""

    calls: int
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """Above 1: it took longer than was said."""
        return self.measured / self.predicted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--channel", choices=list(PEERS), default="voice")
    parser.add_argument("--rate", type=float, default=1.5, help="calls a second that the contract allows")
    parser.add_argument("--per-call", type=int, default=5, help="numbers in one call, for sms")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        runs = run(Path(folder) / "deqing", options)
    if options.json:
        print(json.dumps([{"calls": one.calls, "predicted": one.predicted, "measured": one.measured} for one in runs]))
    else:
        print(f"median of measured / predicted: {statistics.median(one.ratio for one in runs):.3f}")


def run(home: Path, options: argparse.Namespace) -> list[Run]:
    made = command(home.parent, "init", str(home), "--example", "deqing", "--size", "S", "--port", str(three_free_ports()))
    if made.returncode:
        raise SystemExit(made.stderr)
    limit(home, options)
    with Simulator(silent(replace(read_file(home / "simulator.toml"), speed=SPEED))):
        gateway = settings.open_gateway(settings.load(home))
        process = start_up(home)
        try:
            while not gateway.health().ok:
                time.sleep(0.1)
            return [one_warning(gateway, options, number) for number in range(options.runs)]
        finally:
            stop_up(process)
            gateway.close()


def limit(home: Path, options: argparse.Namespace) -> None:
    """The contract of the provider that is slow; and numbers may be called as often as there are runs."""
    page = home / "broadcast.toml"
    head = rf'(name = "{PEERS[options.channel]}"\n(?:.*\n)*?simulated = true\n)'
    lines = [line for line in page.read_text("utf-8").splitlines(keepends=True) if not line.startswith("rate = ")]
    written = re.sub(head, rf"\1rate = {options.rate}\n", "".join(lines), count=1)
    often = "callee_limits = [{ calls = 99, seconds = 60, below_red = 99 }]\n"
    written = written.replace('start_code = "TTS_1"', f'{often}start_code = "TTS_1"')
    if options.channel == "sms":
        written = written.replace('sign = "SIGN1"', f'per_call = {options.per_call}\nsign = "SIGN1"')
    page.write_text(written, "utf-8")


def silent(config: Config) -> Config:
    """Stand-ins of people who never answer."""
    assert config.account and config.vms and config.zwdd and config.grid
    return replace(
        config,
        account=replace(config.account, reply_share=0.0, repeat_seconds=0.0),
        vms=replace(config.vms, press_share=0.0, hear_share=0.0),
        zwdd=replace(config.zwdd, confirm_share=0.0, ding_confirm_share=0.0),
        grid=replace(config.grid, signed_share=0.0),
    )


def one_warning(gateway: Gateway, options: argparse.Namespace, number: int) -> Run:
    raw = warning(number, regions=(TOWN,)).replace(b'"areaDesc": ""', '"areaDesc": "莫干山镇"'.encode())
    alert = gateway.read(raw)
    preview = gateway.preview(alert)
    calls = sum(rule.calls for rule in preview.rules if rule.channel == options.channel)
    began = time.time()
    sent = gateway.submit(alert)
    ended = last_answer(gateway, sent.alert_id, began + 10 * preview.seconds + 60)
    run = Run(calls, preview.seconds, ended - began)
    if not options.json:
        seconds = f"predicted {run.predicted:6.1f} s   measured {run.measured:6.1f} s"
        print(f"{run.calls} calls of {options.channel}   {seconds}   ratio {run.ratio:.3f}", flush=True)
    call_off(gateway, raw)
    time.sleep(max(2.0, 1 / options.rate))  # the rate's burst is there again
    return run


def call_off(gateway: Gateway, raw: bytes) -> None:
    """It is over: else those who stayed silent are called again while the next warning is measured."""
    over = json.loads(raw)
    over["references"] = f"{over['sender']},{over['identifier']},{over['sent']}"
    over["identifier"] += "_over"
    over["msgType"], over["sent"] = "Cancel", datetime.now(UTC).isoformat()
    sent = gateway.submit(gateway.read(json.dumps(over, ensure_ascii=False).encode()))
    gateway.wait(sent.alert_id, 60)


def last_answer(gateway: Gateway, alert_id: int, until: float) -> float:
    """When the last call was answered of those that were planned with the warning, in seconds since 1970.

    Who stays silent is called again later; that is not part of the warning's first wave, nor of its preview.
    """
    planned = sa.select(t.batch.c.id, t.batch.c.state, t.batch.c.ended).where(t.batch.c.alert_id == alert_id)
    with gateway.ledger.read() as tx:
        first = [row.id for row in tx.execute(planned.where(t.batch.c.purpose == "alarm"))]
    while time.time() < until:
        with gateway.ledger.read() as tx:
            rows = tx.execute(planned.where(t.batch.c.id.in_(first))).all()
        if not any(row.state in ("planned", "deferred", "sending") for row in rows):
            return max(row.ended for row in rows if row.ended is not None) / 1000
        time.sleep(0.1)
    raise SystemExit(f"it did not end: {gateway.progress(alert_id)}")


if __name__ == "__main__":
    main()
