"""What runs: up, worker, sweep, serve; and the provider's stand-in, simulate."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

import typer

from .. import queue, server, supervisor
from ..channels import Peer
from ..channels.mas import MasOptions
from ..errors import NotFound, Unavailable
from ..settings import Settings
from ..simulator import Account, Config, Simulator
from ..simulator.faults import Faults, read_faults
from . import saying
from .opening import UsageMistake, settings_of


class Lane(StrEnum):
    """The lanes, as a choice."""

    ALARM = "alarm"
    BULK = "bulk"
    DRILL = "drill"


def up(ctx: typer.Context) -> None:
    """Runs all of it on this machine until Ctrl-C.

    Workers, sweep, server and, unless BROADCAST_REDIS_URL names a Redis, a Valkey of its own. What ends is started again.

    \b
    broadcast --home /srv/deqing up
    """
    settings = settings_of(ctx)
    _log_to_stderr()
    redis = "its own Valkey" if settings.embedded else "the Redis of BROADCAST_REDIS_URL"
    saying.note(f"up: {settings.home} with {redis}; callbacks at {settings.server.host}:{settings.server.port}. Ctrl-C ends it.")
    raise typer.Exit(supervisor.up(settings))


def worker(
    ctx: typer.Context,
    lane: Annotated[
        list[Lane] | None, typer.Option("--lane", help="Only this lane, repeatable, e.g. --lane alarm. Default: all.")
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=0, max=256, help="Threads of each lane's process; 0 = as many as suit the lane.")
    ] = 0,
) -> None:
    """Runs workers and a sweep until Ctrl-C, for further hosts.

    Needs a Redis that they share; answers 4 when there is none.

    \b
    BROADCAST_REDIS_URL=redis://10.0.0.5:6379/0 broadcast worker --lane alarm --threads 16
    """
    settings = settings_of(ctx)
    _need_redis(settings)
    _log_to_stderr()
    raise typer.Exit(supervisor.worker(settings, [str(each) for each in lane or Lane], threads))


def sweep(ctx: typer.Context) -> None:
    """Runs the sweep alone until Ctrl-C.

    It rings what is due, plans bulk and reads callbacks. `up` and `worker` do it already; any number may run.

    \b
    broadcast sweep
    """
    settings = settings_of(ctx)
    _log_to_stderr()
    raise typer.Exit(supervisor.sweep(settings))


def serve(ctx: typer.Context) -> None:
    """Runs the server alone until Ctrl-C.

    The providers' callbacks come in here. `up` does it already.

    \b
    broadcast serve
    """
    settings = settings_of(ctx)
    _log_to_stderr()
    raise typer.Exit(server.serve(settings))


def simulate(
    ctx: typer.Context,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 = where the peer in broadcast.toml looks.")
    ] = 0,
    show: Annotated[bool, typer.Option("--show", help="Print each SMS as its readers see it.")] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="NAME=VALUE", help="What goes wrong, repeatable, e.g. --fault latency_ms=3000."),
    ] = None,
    report_delay: Annotated[
        int, typer.Option("--report-delay-ms", min=0, metavar="MS", help="From taking an SMS to its report, e.g. 2000.")
    ] = 200,
) -> None:
    """Stands in for the SMS provider until Ctrl-C.

    Strict as the real one, and no SMS leaves the machine. It takes the account of the simulated peer with protocol "mas" in
    broadcast.toml, and reports to this home's server. Faults are those of `python -m broadcast.simulator --help`.

    \b
    broadcast simulate --show
    broadcast simulate --fault fail_share=0.1 --fault latency_ms=500
    """
    settings = settings_of(ctx)
    peer = _simulated_mas(settings)
    config = _config(settings, peer, port, show, _faults(fault or []), report_delay)
    ended = _told_to_end()  # before we say that we listen: whoever reads that may end us at once
    with Simulator(config) as simulator:
        saying.note(f"the stand-in of peer {peer.name} listens at {simulator.url}. Ctrl-C ends it.")
        ended.wait()


# --- the stand-in


def _simulated_mas(settings: Settings) -> Peer:
    for peer in settings.peers:
        if peer.protocol == "mas" and peer.simulated:
            return peer
    raise NotFound(f'no peer with protocol = "mas" and simulated = true in {settings.home / "broadcast.toml"}')


def _config(settings: Settings, peer: Peer, port: int, show: bool, faults: Faults, report_delay: int) -> Config:
    options = peer.options
    if not isinstance(options, MasOptions):  # `_simulated_mas` looked at the protocol
        raise TypeError(f"peer {peer.name} has options of another protocol")
    secret = settings.server.callbacks.get(peer.name, "")
    server_url = f"http://{settings.server.host}:{settings.server.port}"
    account = Account(
        ec_name=options.ec_name, ap_id=options.ap_id, secret_key=options.secret_key.get_secret_value(), sign=options.sign,
        signature=settings.county.signature,
    )  # fmt: skip
    return Config(
        port=port or urlsplit(str(options.url)).port or 0, account=account, faults=faults, report_delay_ms=report_delay,
        show=show,
        callback=f"{server_url}/callbacks/{peer.name}/{secret}" if secret else "",
    )  # fmt: skip


def _faults(pairs: list[str]) -> Faults:
    try:
        return read_faults({name.replace("-", "_"): value for name, _, value in (pair.partition("=") for pair in pairs)})
    except ValueError as error:
        raise UsageMistake(f"--fault: {error}") from None


def _told_to_end() -> threading.Event:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended


# --- what all of them need


def _need_redis(settings: Settings) -> None:
    client = queue.connect(settings.redis_url)
    if not queue.Doorbell(queue.make_broker(client), client).answers():
        what = "nobody runs `broadcast up` here" if settings.embedded else "the one of BROADCAST_REDIS_URL does not answer"
        raise Unavailable(f"no Redis ({what}): workers cannot be rung")


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
