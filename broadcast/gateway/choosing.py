"""Which far end a batch goes to; and when none may be called in time, by which channel instead."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..ledger import Row, Transaction, chain, fanout, limits, sending
from ..ledger.fanout import Slice
from ..ledger.sending import Held
from . import submitting
from .house import House, log
from .ways import FarEnd, Way

NO_PEER_SECONDS = 60


def choose(house: House, batch_id: int) -> FarEnd | None:
    """The far end for a batch that is owed now; None when it is not, or when all of its channel are left alone for now."""
    now = house.now()
    with house.ledger.read() as tx:
        row = sending.is_owed(tx, batch_id, now)
        way = house.ways.get(row.channel) if row is not None else None
        wanted = _candidates(way, row) if row is not None and way is not None else ()
        paused = limits.pauses(tx, [far_end.peer.name for far_end in wanted], now) if wanted else {}
    if row is None:
        return None
    if way is None:
        not_now(house, row, now + NO_PEER_SECONDS * 1000, f"no peer is configured for channel {row.channel}")
        return None
    for far_end in wanted:
        if far_end.peer.name not in paused:
            return far_end
    first = min(paused.values(), key=lambda pause: pause.until)
    not_now(house, row, first.until, first.reason)
    return None


def scale_of(row: Row) -> str:
    """How strong an alert counts, its signal included (立即转移 is red whatever its colour); of a batch that is owed."""
    return str(json.loads(row.understood).get("plan", {}).get("scale") or row.level)


def _candidates(way: Way, row: Row) -> Sequence[FarEnd]:
    """First choice first; the one that did not take it last time comes last."""
    in_order = way.in_order(scale_of(row))
    if row.only_peer:
        bound = [far_end for far_end in in_order if far_end.peer.name == row.only_peer]
        if bound:
            return bound
        log.warning("batch %s may be known to peer %s, which is not configured any more", row.id, row.only_peer)
    if not row.attempt:
        return in_order
    return sorted(in_order, key=lambda far_end: far_end.peer.name == row.peer)


def not_now(house: House, row: Row, until: int, reason: str) -> None:
    """No far end may be called before `until`: the batch waits, or goes by the plan's next channel where that is too late."""
    now = house.now()
    made: Slice | None = None
    with house.ledger.write() as tx:
        sending.hold_alert(tx, row.alert_id)
        found = sending.owed(tx, row.id, now, lock=True)  # a worker may have been faster: what it sends is not moved
        if found is None:
            return
        row, pieces = found
        if sending.is_over(row):
            sending.call_off(tx, row, now)
            return
        if sending.drop_answered(tx, row):
            pieces = sending.unsent(tx, row.id)
        if pieces and row.deadline is not None and max(until, now) > row.deadline:
            made = _by_next_channel(house, tx, row, reason, now)
            pieces = sending.unsent(tx, row.id)
        if pieces:
            sending.postpone(tx, row, reason, until)
        else:
            sending.nothing_left(tx, row, now)
    if made is not None:
        submitting.ring(house, [made])


def is_too_late(house: House, held: Held, due: int) -> bool:
    """Every far end of the channel had its chance, and the next one comes after the plan's time."""
    return held.deadline is not None and due > held.deadline and held.attempt >= far_ends(house, held.channel)


def far_ends(house: House, channel: str) -> int:
    """How many far ends a channel has."""
    return len(house.ways[channel].far_ends) if channel in house.ways else 0


def move_on(house: House, tx: Transaction, held: Held, reason: str, now: int) -> Slice | None:
    """What is left of a batch that its holder could not hand over goes by the plan's next channel, as far as that reaches.

    The caller holds the alert and the batch.
    """
    row = sending.row_of(tx, held.batch_id)
    sending.drop_answered(tx, row)
    return None if sending.is_over(row) else _by_next_channel(house, tx, row, reason, now)


def _by_next_channel(house: House, tx: Transaction, row: Row, reason: str, now: int) -> Slice | None:
    for channel in sending.otherwise_of(tx, row):
        way = house.ways.get(channel)
        if way is None:
            continue
        names = [far_end.peer.name for far_end in way.far_ends]
        if len(limits.pauses(tx, names, now)) == len(names):
            continue
        made = fanout.otherwise(tx, row, channel, reason, now)
        if made is not None:
            body = {"batch": row.id, "channel": row.channel, "to": channel, "reason": reason, "new_deliveries": made.size}
            chain.append(tx, chain.of_alert(row.alert_id), "batch.by_next_channel", now, body)
            return made
    return None
