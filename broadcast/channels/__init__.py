"""The ways out: which protocols there are, which channels they serve, and how a configured peer becomes a channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import cast

from pydantic import BaseModel, ValidationError

from ..errors import InvalidFiles, Problem
from .base import Capabilities, Channel
from .ebd import Ebd
from .feed import Feed
from .grid import Grid
from .loopback import Loopback
from .mas import Mas
from .smpp import Smpp
from .vms import Vms
from .zwdd import ZwddDing, ZwddNotice

CHANNELS = ("speaker", "sms", "voice", "zwdd", "grid", "feed")  # 村村响, 短信, 语音, 浙政钉, 141, and other platforms

PROTOCOLS: dict[str, type[Channel]] = {
    "loopback": Loopback,
    "mas": Mas,
    "smpp": Smpp,
    "ebd": Ebd,
    "vms": Vms,
    "zwdd-notice": ZwddNotice,
    "zwdd-ding": ZwddDing,
    "grid": Grid,
    "feed": Feed,
}

# Keeping a warning in a file must never count as having told a living person.
SIMULATED_ONLY = frozenset({"loopback"})


@dataclass(frozen=True, slots=True)
class Peer:
    """The far end of a channel as configured. A *live* peer refuses synthetic targets, a *simulated* one all others.

    Raises InvalidFiles when its parts do not fit each other.
    """

    name: str
    channel: str
    protocol: str
    simulated: bool
    concurrency: int  # calls at once
    rate: float  # calls per second; 0 = no limit
    options: BaseModel

    def __post_init__(self) -> None:
        if found := list(_misfits(self)):
            raise InvalidFiles([Problem(f"peer {self.name}", 0, "error", message) for message in found])

    @property
    def capabilities(self) -> Capabilities:
        """The protocol's, narrowed by this peer's contract: an option that bears a capability's name replaces it."""
        general = PROTOCOLS[self.protocol].capabilities
        named = {field.name for field in fields(Capabilities)} & set(type(self.options).model_fields)
        return replace(general, **{name: getattr(self.options, name) for name in named})


def open_peer(
    *,
    name: str,
    channel: str,
    protocol: str,
    simulated: bool,
    concurrency: int = 4,
    rate: float = 0.0,
    options: Mapping[str, object],
    file: str = "",
    line: int = 0,
) -> Peer:
    """A peer from what a person wrote. Raises InvalidFiles with every problem; no value is repeated in it."""
    where = file or f"peer {name}"
    found = PROTOCOLS.get(protocol)
    if found is None:
        message = f"protocol is {protocol!r}; use one of {', '.join(PROTOCOLS)}"
        raise InvalidFiles([Problem(where, line, "error", message)])
    try:
        return Peer(name, channel, protocol, simulated, concurrency, rate, found.Options.model_validate(dict(options)))
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        messages = [f"options.{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in details]
        raise InvalidFiles([Problem(where, line, "error", message) for message in messages]) from None
    except InvalidFiles as error:
        raise InvalidFiles([replace(problem, file=where, line=line) for problem in error.problems]) from None


def connect(peer: Peer) -> Channel:
    """The channel at the end of which this peer is. Nothing is sent, no connection is opened yet."""
    # A Protocol says nothing about constructors; every class in the table takes its own Options and nothing else.
    construct = cast("Callable[[BaseModel], Channel]", PROTOCOLS[peer.protocol])
    return construct(peer.options)


def feature_matrix() -> str:
    """What each protocol can do, as a Markdown table: one row per protocol, printed from `capabilities`."""
    heads = (
        "protocol",
        "serves",
        "per call",
        "text limit",
        "texts",
        "reports",
        "answers",
        "deduplicates",
        "asked",
        "stops",
        "names",
        "gap",
        "per number",
        "collects",
        "doubt",
    )
    rows = [heads, tuple("---" for _ in heads), *(_row(name, protocol) for name, protocol in PROTOCOLS.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _row(name: str, protocol: type[Channel]) -> tuple[str, ...]:
    can = protocol.capabilities
    flags = (can.receipts, can.acknowledges, can.deduplicates, can.can_be_asked, can.can_stop, can.named)
    return (
        f"`{name}`",
        ", ".join(channel for channel in CHANNELS if channel in protocol.serves),
        str(can.per_call),
        f"{can.text_limit} {can.unit}" if can.text_limit else "none",
        "one per call" if can.one_text else "each its own",
        *("yes" if flag else "no" for flag in flags),
        f"{can.gap_seconds} s" if can.gap_seconds else "none",
        ", ".join(f"{limit.calls} in {limit.seconds} s" for limit in can.callee_limits) or "no limit",
        f"every {can.collect_seconds} s" if can.collect_seconds else "no",
        f"{can.doubt_seconds} s",
    )


def _misfits(peer: Peer) -> Iterator[str]:
    protocol = PROTOCOLS.get(peer.protocol)
    if protocol is None:
        yield f"protocol is {peer.protocol!r}; use one of {', '.join(PROTOCOLS)}"
        return
    if not peer.name:
        yield "a peer needs a name"
    if peer.channel not in CHANNELS:
        yield f"channel is {peer.channel!r}; use one of {', '.join(CHANNELS)}"
    elif peer.channel not in protocol.serves:
        yield f"protocol {peer.protocol} cannot serve channel {peer.channel}, only {', '.join(sorted(protocol.serves))}"
    if peer.protocol in SIMULATED_ONLY and not peer.simulated:
        yield f"protocol {peer.protocol} reaches nobody: set simulated = true, or use a real protocol"
    if peer.concurrency < 1:
        yield "concurrency must be 1 or more"
    if not (math.isfinite(peer.rate) and peer.rate >= 0):
        yield "rate must be calls per second, 0 for no limit"
    if not isinstance(peer.options, protocol.Options):
        yield f"options are not those of protocol {peer.protocol}"
