"""What has to be fetched from a far end: polls, heartbeats, a listening session, answers to our questions about doubts."""

from __future__ import annotations

from dataclasses import replace

from ..channels.base import Callback
from ..errors import ChannelError, Unsupported
from ..ledger import asking, sending
from ..ledger.asking import Doubt
from . import proving, receiving
from .calling import Calls
from .delivering import as_number
from .house import House, log
from .ways import FarEnd

ANCHORS = "(anchors)"  # no peer, but an errand all the same: a mail server may keep us waiting
ASK_PAUSE = 1.0  # seconds between two looks for doubts
LISTEN_SECONDS = 1.0  # how long one `collect` may take: the lease of the errands is renewed in between


def wanted(house: House) -> list[str]:
    """The peers that have errands, and the anchors where they have somewhere to go."""
    names = [
        name for name, far_end in house.peers.items() if far_end.capabilities.collect_seconds or far_end.capabilities.can_be_asked
    ]
    return [*names, ANCHORS] if house.ways_out else names


def run(house: House, peer: str) -> float:
    """One round of a peer's errands; returns after how many seconds the next is wanted. One process at a time does them."""
    if not house.holds(f"errands of {peer}"):
        return ASK_PAUSE
    if peer == ANCHORS:
        return proving.leave(house) if house.is_time("anchors leave", proving.LEAVE_PAUSE) else ASK_PAUSE
    far_end = house.peers[peer]
    if far_end.capabilities.can_be_asked:
        ask(house, far_end)
    pause = far_end.capabilities.collect_seconds
    if pause and house.is_time(f"collect from {peer}", pause):
        collect(house, far_end)
    return min(ASK_PAUSE, pause) if pause else ASK_PAUSE


def collect(house: House, far_end: FarEnd) -> None:
    """Fetches what waits there; each is committed before the far end is told that we have it."""

    def keep(callback: Callback) -> None:
        receiving.keep(house, [(far_end.peer.name, callback.path, callback.headers, callback.body)])

    def refs() -> list[str]:
        with house.ledger.read() as tx:
            return sending.open_refs(tx, far_end.peer.name)

    try:
        far_end.channel.collect(keep, LISTEN_SECONDS, refs)
    except ChannelError as error:
        log.warning("peer %s: nothing could be fetched: %s", far_end.peer.name, error)


def ask(house: House, far_end: FarEnd) -> int:
    """Asks the far end what became of calls in doubt; returns how many were asked about."""
    with house.ledger.read() as tx:
        found = asking.doubts(tx, far_end.peer.name, house.now())
    for doubt in found:
        _ask(house, far_end, doubt)
    return len(found)


def _ask(house: House, far_end: FarEnd, doubt: Doubt) -> None:
    call = Calls(house, far_end, doubt.held).call(doubt.held.pieces)
    if doubt.number is not None:
        call = replace(call, number=as_number(doubt.number))
    try:
        receipts = far_end.channel.ask(call)
    except Unsupported:
        receipts = []
    except ChannelError as error:
        log.warning("peer %s could not be asked about batch %s: %s", far_end.peer.name, doubt.held.batch_id, error)
        receipts = []
    with house.ledger.write() as tx:
        if len(receipts) == len(doubt.held.pieces):
            asking.asked(tx, doubt, receipts, house.now())
        else:
            asking.put_off(tx, doubt, house.now())
