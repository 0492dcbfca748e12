"""`python -m broadcast.simulator`: the providers on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from .config import ACCOUNTS, Config, everybody, read_file
from .faults import Faults, read_faults
from .server import Simulator

EPILOG = """
the providers, and what each takes
  mas    China Mobile 云MAS: POST /sms/norsubmit (over HTTPS /sms/submit), and the polls /sms/report, /sms/deliver
  smpp   a carrier's SMSC over SMPP 3.4, on a TCP port of its own
  vms    Aliyun voice: IvrCall at /
  zwdd   浙政钉: work notices, DING, token, accounts
  grid   the grid workers' system: signed JSON
  feed   another platform: CAP 1.2 by signed POST
  ebd    the emergency-broadcast platform: EBD packets in a TAR at /EB/ebdsvc.html
Without --config all of them are there, with made-up accounts, and push nothing. With it, those that have a table:

  port = 18080
  speed = 60                        # also pushers, certificate (a PEM with key: HTTPS), show

  [mas]
  ec_name = "测试单位"
  secret_key_file = "mas.secret"    # NAME_file: the value of NAME stands in that file, beside this one
  callback = "http://127.0.0.1:8080/callbacks/mas-1/SECRET"
  report_delay_ms = 2000
  reply_share = 0.6                 # so many answer a text with 回复1 in it

  [smpp]
  port = 2775
  system_id = "deqing"

what you can ask it
  GET  /_received /_received/mas    everything that was taken, of all of them or of one
  GET  /_counts   /_counts/mas      calls and targets taken, reports pushed and owed
  POST /_faults   /_faults/mas      {"latency_ms": 3000, "times": 5}: what goes wrong from now on; {} ends it

faults, for --fault, --script and /_faults
  latency_ms=MS                 waits before every answer; real time, whatever the speed
  refuse=WORD                   answers this in the provider's words, e.g. SystemBusy, ESME_RSYSERR
  http_status=N                 answers HTTP N with a page of HTML (retry_after=S along with it)
  close_without_answer=WHEN     hangs up, "before" or "after" taking what was sent
  accept_and_never_answer=yes   takes it, reports it, never answers
  no_reports=yes, duplicate_reports=yes, shuffle_reports=yes, reports_before_answer=yes
  delivers_nothing=yes          says OK; nothing arrives, nothing is reported
  fail_share=0.1                a tenth of the reports say that it did not arrive
  times=N                       for the next N requests only

a script is a file of JSON lines: {"at": seconds of the providers' clock, "provider": "mas", …faults}; without a provider
they are everybody's

Phones, wherever they are taken, begin with 154 or 194: those belong to nobody.
"""

Step = tuple[float, str, Faults]  # when, whose ("" = everybody's), what


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGINT or SIGTERM. Exit codes: 0 stopped, 2 usage."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        config = _config(given)
        simulator = Simulator(config)
        script = _script(given.script.read_text("utf-8").splitlines(), simulator.names) if given.script else []
        for name, faults in _faults_at_start(given.fault, simulator.names).items():
            simulator.set_faults(name, faults)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with simulator:
        sys.stdout.write(_greeting(simulator))
        sys.stdout.flush()
        _play(simulator, script, ended)
        ended.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m broadcast.simulator",
        description="Strict stand-ins of the providers on 127.0.0.1. Nothing leaves this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="TOML: which providers, with which accounts (see below)")
    add("--port", type=int, metavar="N", help="where the HTTP doors are on 127.0.0.1 (default: a free one, printed at the start)")
    add("--speed", type=float, metavar="X", help="run the providers' waits and limits X times faster than life")
    add("--show", action="store_true", help="print what a villager or an official would see or hear, a line each")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="[PROVIDER.]NAME=VALUE",
        help="something that goes wrong from the start, e.g. vms.latency_ms=3000; repeatable",
    )
    add("--script", type=Path, metavar="FILE", help="faults by the clock")
    return parser


def _config(given: argparse.Namespace) -> Config:
    config = read_file(given.config) if given.config else everybody()
    return replace(
        config,
        port=config.port if given.port is None else given.port,
        speed=config.speed if given.speed is None else given.speed,
        show=config.show or given.show,
    )


def _faults_at_start(words: Sequence[str], names: Sequence[str]) -> dict[str, Faults]:
    """Those of one provider are laid over everybody's. ValueError says which word is wrong."""
    found: dict[str, dict[str, str]] = {name: {} for name in ("", *names)}
    for word in words:
        left, equals, value = word.partition("=")
        provider, _, name = left.rpartition(".")
        if not equals:
            raise ValueError(f"--fault {word}: write it as NAME=VALUE or PROVIDER.NAME=VALUE")
        if provider not in found:
            raise ValueError(f"--fault {word}: {_unknown(provider, names)}")
        found[provider][name.replace("-", "_")] = value
    return {name: read_faults(found[""] | found[name]) for name in names}


def _script(lines: Iterable[str], names: Sequence[str]) -> list[Step]:
    """ValueError names the line."""
    return sorted((_step(number, line, names) for number, line in enumerate(lines, 1) if line.strip()), key=lambda step: step[0])


def _step(number: int, line: str, names: Sequence[str]) -> Step:
    try:
        step = json.loads(line)
        at, provider = float(step.pop("at")), str(step.pop("provider", ""))
        if provider and provider not in names:
            raise ValueError(_unknown(provider, names))
        return at, provider, read_faults(step)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = '{"at": SECONDS, "provider": "mas", "latency_ms": 3000}'
        raise ValueError(f"script line {number}: write {wanted} ({error})") from None


def _unknown(provider: str, names: Sequence[str]) -> str:
    there = f"there are {', '.join(names)}"
    return f"{provider} has no table in the config; {there}" if provider in ACCOUNTS else f"no provider {provider}; {there}"


def _greeting(simulator: Simulator) -> str:
    doors = [name for name in simulator.names if name != "smpp"]
    lines = []
    if doors:
        lines.append(f"the stand-ins of {', '.join(doors)} listen at {simulator.url}")
    if "smpp" in simulator.names:
        lines.append(f"the stand-in of smpp listens at 127.0.0.1:{simulator.smpp_port}")
    return "".join(f"{line}\n" for line in lines)


def _play(simulator: Simulator, script: Iterable[Step], ended: threading.Event) -> None:
    for at, provider, faults in script:
        if ended.wait(max(0.0, simulator.clock.real(at - simulator.clock.seconds()))):
            return
        for name in (provider,) if provider else simulator.names:
            simulator.set_faults(name, faults)


if __name__ == "__main__":
    sys.exit(main())
