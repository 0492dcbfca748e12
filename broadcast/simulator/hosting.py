"""A provider as the server keeps it: with its faults and its pusher; and the plain table of which account opens which."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from .clock import Clock
from .config import Config
from .ebd import EbdPlatform
from .faults import Faults
from .feed import FeedPlatform
from .grid import GridPlatform
from .mas import Mas
from .provider import Host, NextFaults, Provider, Request, Response
from .pusher import Pusher, address
from .smpp import Smsc
from .vms import Vms
from .zwdd import Zwdd

A = TypeVar("A")
Maker = Callable[[Host, NextFaults], Provider]


class Hosted:
    """One provider, what goes wrong there, and what it pushes."""

    def __init__(self, name: str, make: Maker, config: Config, clock: Clock, show: Callable[[str], None]) -> None:
        self._faults, self._lock = config.faults, threading.Lock()
        self._show = show if config.show else _show_nobody
        self.pusher = Pusher(name, clock, config.pushers)
        self.provider = make(Host(clock, self.pusher, self._tell), self.next_faults)

    @property
    def faults(self) -> Faults:
        """What goes wrong at present."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        with self._lock:
            self._faults = faults

    def next_faults(self) -> Faults:
        """The faults that one request meets; counts down `times`."""
        with self._lock:
            met = self._faults
            self._faults = met.one_fewer()
            return met

    def handle(self, request: Request, faults: Faults) -> Response:
        """The provider's answer."""
        with self.pusher.playing(faults):
            return self.provider.handle(request, faults)

    def counts(self) -> dict[str, int]:
        """What it took, reported and owes, and how many of its pushes were taken or are owed."""
        return {**self.provider.counts(), **self.pusher.counts()}

    def start(self) -> None:
        """For those that listen themselves."""
        if isinstance(self.provider, Smsc):
            self.provider.start()

    def stop(self) -> None:
        """Nothing runs in the background afterwards."""
        self.provider.stop()
        self.pusher.stop()

    def _tell(self, line: str) -> None:
        if not self.pusher.silent:
            self._show(line)


def open_providers(config: Config, clock: Clock, show: Callable[[str], None]) -> dict[str, Hosted]:
    """Those that have an account, by name. ValueError when nobody has, and for a callback that nobody can push to."""
    hosted = {name: Hosted(name, make, config, clock, show) for name, make in _makers(config)}
    if not hosted:
        raise ValueError("no provider has an account: nobody is to be stood in for")
    return hosted


def _makers(config: Config) -> Iterator[tuple[str, Maker]]:
    if config.account:
        yield "mas", partial(_open_mas, config)
    if config.smpp:
        yield "smpp", partial(Smsc, config.smpp)
    if config.vms:
        yield "vms", _plain(Vms, config.vms)
    if config.zwdd:
        yield "zwdd", _plain(Zwdd, config.zwdd)
    if config.grid:
        yield "grid", _plain(GridPlatform, config.grid)
    if config.feed:
        yield "feed", _plain(FeedPlatform, config.feed)
    if config.ebd:
        yield "ebd", _plain(EbdPlatform, config.ebd)


def _plain(kind: Callable[[A, Host], Provider], account: A) -> Maker:
    _checked(getattr(account, "callback", ""))
    return lambda host, _next: kind(account, host)


def _open_mas(config: Config, host: Host, _next: NextFaults) -> Mas:
    if config.account is None:
        raise ValueError("云MAS needs an account")
    return Mas(
        config.account,
        host,
        callback=_checked(config.callback),
        report_seconds=config.report_delay_ms / 1000,
        https=config.certificate is not None,
    )


def _checked(callback: str) -> str:
    if callback:
        address(callback)
    return callback


def _show_nobody(_line: str) -> None:
    """Nobody watches."""
