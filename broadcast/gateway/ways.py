"""The ways out as a house has them: for each channel its far ends, their order for each level, and which is free now."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..channels import Peer, connect
from ..channels.base import Capabilities, Channel
from ..errors import InvalidFiles, Problem

Order = Mapping[str, Mapping[str, Sequence[str]]]  # level, or "" for all others → channel → peers, first choice first


class TurnedAway:
    """Batches that found their peer busy, each once however often it was rung, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: dict[int, None] = {}

    def add(self, batch_id: int) -> None:
        """Behind those that wait already."""
        with self._lock:
            self._batches.setdefault(batch_id)

    def take(self) -> int | None:
        """The first, or None."""
        with self._lock:
            first = next(iter(self._batches), None)
            if first is not None:
                del self._batches[first]
            return first

    def __bool__(self) -> bool:
        return bool(self._batches)


@dataclass(slots=True)
class FarEnd:
    """A peer with its channel, its cap, and the batches that found it busy."""

    peer: Peer
    channel: Channel
    slots: threading.Semaphore
    turned_away: TurnedAway = field(default_factory=TurnedAway)

    @property
    def capabilities(self) -> Capabilities:
        """Of this peer's contract."""
        return self.peer.capabilities


@dataclass(frozen=True, slots=True)
class Way:
    """One channel: its far ends, and in which order they are tried."""

    channel: str
    far_ends: tuple[FarEnd, ...]  # in the order for any level that has none of its own
    by_level: Mapping[str, tuple[FarEnd, ...]] = field(default_factory=dict)

    def in_order(self, level: str) -> tuple[FarEnd, ...]:
        """First choice first."""
        return self.by_level.get(level, self.far_ends)

    @property
    def simulated(self) -> bool:
        """Far ends of one channel are of one kind."""
        return self.far_ends[0].peer.simulated

    @property
    def capabilities(self) -> Capabilities:
        """What may be counted on before it is known which far end takes a batch: of each thing the least."""
        each = [far_end.capabilities for far_end in self.far_ends]
        first = each[0]
        limits = [one.text_limit for one in each if one.text_limit]
        return Capabilities(
            per_call=min(one.per_call for one in each),
            text_limit=min(limits, default=0),
            unit=min(each, key=lambda one: one.text_limit or 1 << 30).unit,
            one_text=all(one.one_text for one in each),
            can_stop=any(one.can_stop for one in each),
            gap_seconds=max(one.gap_seconds for one in each),
            doubt_seconds=first.doubt_seconds,
        )


def open_ways(peers: Sequence[Peer], order: Order | None = None, threads: int = 0) -> dict[str, Way]:
    """Connects peers and sorts them into ways. With `threads`, no peer may hold more than half of them.

    Raises InvalidFiles when a channel mixes live and simulated peers, or an order names a peer that is not there.
    """
    if found := list(_misfits(peers, order or {})):
        raise InvalidFiles([Problem("broadcast.toml", 0, "error", message) for message in found])
    ways: dict[str, Way] = {}
    for channel in dict.fromkeys(peer.channel for peer in peers):
        made = {peer.name: _far_end(peer, threads) for peer in peers if peer.channel == channel}
        orders = {level: tuple(made[name] for name in by[channel]) for level, by in (order or {}).items() if channel in by}
        usual = orders.pop("", tuple(made.values()))
        ways[channel] = Way(channel, usual, orders)
    return ways


def _far_end(peer: Peer, threads: int) -> FarEnd:
    cap = min(peer.concurrency, max(1, threads // 2)) if threads else peer.concurrency
    return FarEnd(peer, connect(peer), threading.Semaphore(cap))


def _misfits(peers: Sequence[Peer], order: Order) -> Iterator[str]:
    names = [peer.name for peer in peers]
    for name in {name for name in names if names.count(name) > 1}:
        yield f"there are two peers named {name}"
    kinds: dict[str, set[bool]] = {}
    for peer in peers:
        kinds.setdefault(peer.channel, set()).add(peer.simulated)
    for channel, found in kinds.items():
        if len(found) > 1:  # a failover from a live peer to a simulated one would lose the warning
            yield f"channel {channel} has live and simulated peers: all of one channel must be of one kind"
    for level, by in order.items():
        for channel, wanted in by.items():
            there = [peer.name for peer in peers if peer.channel == channel]
            if sorted(wanted) != sorted(there):
                where = f"order.{level}.{channel}" if level else f"order.{channel}"
                yield f"{where} must name each peer of channel {channel} once: {', '.join(there) or 'there is none'}"
