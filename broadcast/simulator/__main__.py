"""`python -m broadcast.simulator`: a provider on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from .faults import Faults, read_faults
from .rules import Account
from .server import Config, Simulator

EPILOG = """
what it takes
  POST /sms/norsubmit   free text, as China Mobile 云MAS takes it: base64(JSON) with mac (over HTTPS: /sms/submit)
  POST /sms/report      the reports that were not pushed

what you can ask it
  GET  /_received       everything that was taken: [{msgGroup, mobiles, content, at}]
  GET  /_counts         calls and numbers taken, reports pushed and owed
  POST /_faults         {"latency_ms": 3000, "times": 5}: what goes wrong from now on; {} ends it

faults, for --fault NAME=VALUE, --script and /_faults
  latency_ms=MS               waits before every answer
  refuse=WORD                 answers this rspcod, e.g. SystemBusy, IllegalMac
  http_status=N               answers HTTP N with a page of HTML (retry_after=S along with it)
  close_without_answer=WHEN   hangs up, "before" or "after" taking what was sent
  accept_and_never_answer=yes takes it, reports it, never answers
  no_reports=yes, duplicate_reports=yes
  fail_share=0.1              a tenth of the reports say that it did not arrive
  times=N                     for the next N requests only

a script is a file of JSON lines, {"at": seconds after the start, …faults}

It takes only numbers that begin with 154 or 194, which belong to nobody.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGINT or SIGTERM. Exit codes: 0 stopped, 2 usage."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        simulator = Simulator(_config(given))
        script = _script(given.script.read_text("utf-8").splitlines()) if given.script else []
    except (ValueError, OSError) as error:
        parser.error(str(error))
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with simulator:
        sys.stdout.write(f"the stand-in of 云MAS listens at {simulator.url}\n")
        sys.stdout.flush()
        _play(simulator, script, ended)
        ended.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m broadcast.simulator",
        description="A strict stand-in of China Mobile 云MAS on 127.0.0.1. No SMS leaves this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plain = Account()
    add = parser.add_argument
    add("--port", type=int, default=0, help="where to listen on 127.0.0.1 (default: a free port, printed at the start)")
    add(
        "--callback",
        default="",
        metavar="URL",
        help="where reports are pushed, one number each (default: kept for polls)",
    )
    add("--show", action="store_true", help="print each SMS as its readers see it")
    add("--ec-name", default=plain.ec_name, help="the customer's registered name (default: %(default)s)")
    add("--ap-id", default=plain.ap_id, help="the customer's account (default: %(default)s)")
    add("--secret-file", type=Path, metavar="FILE", help="holds the account's password (default: a made-up one)")
    add("--sign", default=plain.sign, help="the signature's code (default: %(default)s)")
    add("--signature", default=plain.signature, help="the signature's text, without brackets (default: %(default)s)")
    add("--certificate", type=Path, metavar="PEM", help="certificate and key in one file: speak HTTPS")
    add(
        "--report-delay-ms",
        type=int,
        default=200,
        metavar="MS",
        help="from taking to the report (default: %(default)s)",
    )
    add("--pushers", type=int, default=4, metavar="N", help="connections that push reports (default: %(default)s)")
    add(
        "--speed",
        type=float,
        default=1.0,
        metavar="X",
        help="run the provider's waiting times X times faster than life",
    )
    add("--refuse-ending", default="", metavar="DIGITS", help="refuse numbers that end so, as InvalidMobile")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="something that goes wrong from the start; repeatable",
    )
    add("--script", type=Path, metavar="FILE", help="faults by the clock")
    return parser


def _config(given: argparse.Namespace) -> Config:
    plain = Account()
    account = Account(
        ec_name=given.ec_name,
        ap_id=given.ap_id,
        secret_key=given.secret_file.read_text("utf-8").strip() if given.secret_file else plain.secret_key,
        sign=given.sign,
        signature=given.signature,
        refuse_ending=given.refuse_ending,
    )
    return Config(
        port=given.port,
        callback=given.callback,
        account=account,
        faults=read_faults(dict(_pair(words) for words in given.fault)),
        report_delay_ms=given.report_delay_ms,
        pushers=given.pushers,
        speed=given.speed,
        certificate=given.certificate,
        show=given.show,
    )


def _pair(words: str) -> tuple[str, str]:
    name, equals, value = words.partition("=")
    if not equals:
        raise ValueError(f"--fault {words}: write it as NAME=VALUE")
    return name.replace("-", "_"), value


def _script(lines: Iterable[str]) -> list[tuple[float, Faults]]:
    """ValueError names the line."""
    script = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            step = json.loads(line)
            script.append((float(step.pop("at")), read_faults(step)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'script line {number}: write {{"at": SECONDS, "latency_ms": 3000}} ({error})') from None
    return sorted(script, key=lambda step: step[0])


def _play(simulator: Simulator, script: Sequence[tuple[float, Faults]], ended: threading.Event) -> None:
    start = time.monotonic()
    for at, faults in script:
        if ended.wait(max(0.0, start + at - time.monotonic())):
            return
        simulator.faults = faults


if __name__ == "__main__":
    sys.exit(main())
