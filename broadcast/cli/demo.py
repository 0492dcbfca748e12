"""`broadcast demo`: a script of the other commands, run as child processes in a home of its own. No code path of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from .. import process
from . import saying
from .making import Size

_WARNINGS = ("1-rainstorm-yellow.xml", "2-rainstorm-orange.xml", "3-rainstorm-cancel.xml")
_WAIT = "60"  # seconds for one warning to settle
_STOP_SECONDS = 30.0  # `up` gives its own children 15
_LOG_LINES = 15
# One SMS in a hundred is reported as not arrived: without a gap, the table at the end would show nothing.
_GAPS = "mas.fail_share=0.01"


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the home behind, to look around in it.")] = False,
    size: Annotated[Size, typer.Option("--size", help="Of the roster; L is true to the county, --size S is quick.")] = Size.L,
) -> None:
    """Plays the rainstorm of 2023-07-05 in Deqing over all six channels, in about a minute.

    Yellow, then orange in four towns, then it is over. Everything is simulated, in a temporary folder; nothing leaves the
    machine and nothing is left running.

    \b
    broadcast demo
    broadcast demo --size S --keep
    """
    home = Path(tempfile.mkdtemp(prefix="broadcast-demo-"))
    saying.note(f"everything happens in {home}")
    try:
        _play(_Stage(home), size)
    finally:
        if keep:
            saying.note(f"the home stays: broadcast --home {home} status")
        else:
            shutil.rmtree(home, ignore_errors=True)


@dataclass(slots=True)
class _Stage:
    """A home and the processes that run for it."""

    home: Path
    running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    def run(self, *words: str) -> None:
        """One command, to its end; a failure ends the demo with its exit code."""
        saying.note(f"\n$ broadcast {' '.join(words)}")
        code = subprocess.run(self._command(words), env=_environment(self.home), check=False).returncode  # noqa: S603 - ours
        if code:
            self.say_logs()
            saying.note(f"error: the demo stopped: `broadcast {words[0]}` answered {code}")
            raise typer.Exit(code if code > 0 else 1)

    def start(self, *words: str) -> None:
        """One command that goes on until the end, in a process group of its own, so that Ctrl-C reaches us alone."""
        saying.note(f"\n$ broadcast {' '.join(words)} &")
        with (self.home / f"{words[0]}.log").open("wb") as log:
            child = subprocess.Popen(  # noqa: S603 - our own command
                self._command(words), env=_environment(self.home), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=process.die_with_parent,  # noqa: PLW1509 - one thread
            )  # fmt: skip
        self.running.append((words[0], child))

    def say_logs(self) -> None:
        """What the processes in the background had to say."""
        for name, _ in self.running:
            for line in (self.home / f"{name}.log").read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]:
                saying.note(f"{name}: {line}")

    def stop(self) -> None:
        """Ends what runs, the newest first; its whole group where it does not listen."""
        for _, child in reversed(self.running):
            child.terminate()
        for _, child in reversed(self.running):
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "broadcast.cli", *words]


def _play(stage: _Stage, size: Size) -> None:
    with _ended_by_signals(stage):
        stage.run("init", "--example", "deqing", "--size", size.value, "--port", str(_free_ports()))
        stage.start("simulate", "--speed", "20", "--fault", _GAPS)
        stage.start("up")
        stage.run("health", "--wait", "30")
        token = str(stage.home / "deqing-met.token")
        for name in _WARNINGS:
            path = str(stage.home / "warnings" / name)
            stage.run("send", path, "--source", "deqing-met", "--token-file", token, "--restamp", "--wait", _WAIT)
        stage.run("status", "1", "--event", "--regions")


@contextmanager
def _ended_by_signals(stage: _Stage) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal all end what was started; while it ends, nobody is in a hurry."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stage.stop()


def _environment(home: Path) -> dict[str, str]:
    """Ours without what points at a real home, database or Redis: a demonstration must not reach them."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("BROADCAST_")}, "BROADCAST_HOME": str(home)}


def _free_ports() -> int:
    """A port whose next two are free too: the server's and the stand-ins'."""
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
