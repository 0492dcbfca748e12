"""What every part of the gateway works with: the ledger, the county's books, the peers, the bell, the clock."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..alert import Alert
from ..channels import CHANNELS
from ..errors import NotFound
from ..ledger import Ledger, books, leases, retention
from ..tiers.plan import Plans
from ..tiers.regions import CodeSystem, Regions
from ..tiers.roster import Role, load_roles
from .ways import FarEnd, Way

if TYPE_CHECKING:
    from .proving import WayOut

log = logging.getLogger("broadcast")

HOLD_SECONDS = 5.0  # of the sweep, the planner and the reader of the inbox

Ring = Callable[[Mapping[str, Sequence[int]]], bool]  # lane → batch ids; False when nobody could be rung


@dataclass(frozen=True, slots=True)
class Source:
    """Who warnings come from, and how that sender writes codes."""

    name: str
    sender_codes: frozenset[str] = frozenset()  # 12379's 14 digits
    senders: frozenset[str] = frozenset()  # CAP's sender
    code_system: CodeSystem | None = None  # None: not established, both are read
    token: str = field(default="", repr=False)  # what a service proves itself with; "": it cannot submit by name
    scopes: frozenset[str] = frozenset({"submit", "read"})  # what that token may do over HTTP


@dataclass(frozen=True, slots=True)
class CountySettings:
    """What the county says of itself."""

    name: str
    signature: str  # 【签名】 of its SMS, without the brackets
    public_drills: bool = False  # the county asked in writing that drills reach residents and live loudspeakers
    public_url: str = ""  # where persons reach our confirmation page; "": no text carries a link


class Rate(Protocol):
    """Sub-second rates, shared by all workers of a peer."""

    def take(self, peer: str, rate: float, burst: float) -> float:
        """Seconds to wait before one more call may start."""
        ...


class Books:
    """Regions, roles and plans in force, parsed once and again when the ledger has newer ones."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._seen: dict[str, int] = {}
        self._regions: Regions | None = None
        self._roles: Mapping[str, Role] = {}
        self._plans: Plans | None = None

    @property
    def regions(self) -> Regions:
        """The tree in force. Raises NotFound before `broadcast init`."""
        self._refresh()
        if self._regions is None:
            raise NotFound("the ledger knows no regions yet: run `broadcast init`")
        return self._regions

    @property
    def roles(self) -> Mapping[str, Role]:
        """The roles in force, by code."""
        self._refresh()
        return self._roles

    @property
    def plans(self) -> Plans:
        """The plans in force: the last that passed their checks. Raises NotFound before `broadcast init`."""
        self._refresh()
        if self._plans is None:
            raise NotFound("the ledger knows no plans yet: run `broadcast init` or `broadcast plan import`")
        return self._plans

    def _refresh(self) -> None:
        with self._lock, self._ledger.read() as tx:
            newest = books.newest(tx)
            if newest == self._seen:
                return
            self._ledger.check_seal(tx)
            found = {kind: books.in_force(tx, kind) for kind in newest}
            if (regions := found.get("regions")) is not None:
                self._regions = Regions.load(regions.files)
            if (roles := found.get("roles")) is not None:
                self._roles = load_roles("".join(roles.files.values()))
            if (plans := found.get("plans")) is not None:
                self._plans = Plans.load(plans.files, set(self._roles), set(CHANNELS))
            self._seen = newest


@dataclass(slots=True)
class House:
    """All of it, made once by `settings` (or by a test)."""

    ledger: Ledger
    county: CountySettings
    sources: Sequence[Source]
    ways: Mapping[str, Way]  # by channel
    templates: Sequence[Path]
    ring: Ring
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    rate: Rate | None = None
    ways_out: Sequence[WayOut] = ()  # where anchors are kept outside this host
    retention_days: int = retention.DAYS
    holder: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    books: Books = field(init=False)
    _renewed: dict[str, float] = field(default_factory=dict, init=False)
    _done: dict[str, float] = field(default_factory=dict, init=False)
    _seen: dict[str, datetime] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.books = Books(self.ledger)

    def holds(self, name: str) -> bool:
        """Takes or keeps the lease of a job that one process does at a time; writes only when a third of it is gone."""
        if time.monotonic() - self._renewed.get(name, -HOLD_SECONDS) < HOLD_SECONDS / 3:
            return True
        if leases.hold(self.ledger.database, name, self.holder, HOLD_SECONDS):
            self._renewed[name] = time.monotonic()
            return True
        self._renewed.pop(name, None)
        return False

    def is_time(self, name: str, seconds: float) -> bool:
        """True once in `seconds`, by this process's own clock: for work that only has to come round."""
        last = self._done.get(name, -seconds)
        if time.monotonic() - last < seconds:
            return False
        self._done[name] = time.monotonic()
        return True

    def has_come(self, name: str, every: timedelta) -> bool:
        """True once in `every`, by the gateway's clock, which tests move; also when that clock was set back."""
        now = self.clock()
        last = self._seen.get(name)
        if last is not None and timedelta(0) <= now - last < every:
            return False
        self._seen[name] = now
        return True

    @property
    def peers(self) -> Mapping[str, FarEnd]:
        """Every far end, by its peer's name."""
        return {far_end.peer.name: far_end for way in self.ways.values() for far_end in way.far_ends}

    def now(self) -> int:
        """This gateway's clock in milliseconds; tests move it."""
        return int(self.clock().timestamp() * 1000)

    def source_of(self, alert: Alert, named: str | None = None) -> Source:
        """The configured source of an alert: the one named, else by its sender. A stranger's warning is free to do nothing.

        Codes are read as the sender writes them, whoever brings the warning.
        """
        by_name = {source.name: source for source in self.sources}
        if named in by_name:
            return by_name[named]
        known = [one for one in self.sources if alert.sender_code in one.sender_codes or alert.sender in one.senders]
        if named is None:
            return known[0] if known else Source("unknown")
        return Source(named, code_system=known[0].code_system if known else None)


def where(error: BaseException) -> str:
    """What broke and the way it came, for the log. Without the error's own text: of a foreign error that may hold an address."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    return f"{type(error).__name__} at " + " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
