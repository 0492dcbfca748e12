"""What runs: up, worker, sweep, serve; and the providers' stand-ins, simulate."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .. import queue, server, supervisor
from ..errors import NotFound, Unavailable
from ..settings import Settings
from ..simulator.__main__ import main as stand_ins
from . import saying
from .opening import settings_of


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
    saying.note(f"up: {settings.home} with {redis}; server at {settings.server.host}:{settings.server.port}. Ctrl-C ends it.")
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

    Warnings of other services, the providers' callbacks and people's confirmations come in here. `up` does it already.

    \b
    broadcast serve
    """
    settings = settings_of(ctx)
    _log_to_stderr()
    raise typer.Exit(server.serve(settings))


def simulate(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Which providers, with which accounts; default: simulator.toml."),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0, help="Run the providers' waits and limits so many times faster, e.g. --speed 20.")
    ] = 0,
    show: Annotated[bool, typer.Option("--show", help="Print what a villager or an official would see or hear.")] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault", metavar="[PROVIDER.]NAME=VALUE", help="What goes wrong, repeatable, e.g. --fault vms.latency_ms=3000."
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option("--script", metavar="FILE", help="Faults by the clock; see python -m broadcast.simulator --help."),
    ] = None,
) -> None:
    """Stands in for all providers until Ctrl-C: loudspeaker platform, SMS, voice, 浙政钉, 141, other platforms.

    Strict as the real ones, and nothing leaves the machine. It reads simulator.toml of this home, which `init --example` wrote
    to fit broadcast.toml. Faults are those of `python -m broadcast.simulator --help`.

    \b
    broadcast simulate --show
    broadcast simulate --fault mas.fail_share=0.1 --fault latency_ms=500
    """
    path = config or settings_of(ctx).home / "simulator.toml"
    if not path.is_file():
        raise NotFound(f"no {path}: `broadcast init --example deqing` writes one, or name yours with --config")
    words = ["--config", str(path), *(["--show"] if show else []), *(["--speed", str(speed)] if speed else [])]
    words += [word for each in fault or [] for word in ("--fault", each)]
    words += ["--script", str(script)] if script else []
    raise typer.Exit(stand_ins(words))


# --- what all of them need


def _need_redis(settings: Settings) -> None:
    client = queue.connect(settings.redis_url)
    if not queue.Doorbell(queue.make_broker(client), client).answers():
        what = "nobody runs `broadcast up` here" if settings.embedded else "the one of BROADCAST_REDIS_URL does not answer"
        raise Unavailable(f"no Redis ({what}): workers cannot be rung")


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
