"""The sweep: rings what is due, takes back what died, decides doubts, closes what is over; and the planner of bulk.

Each is held by one process at a time (a lease in the ledger); any number may stand by.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..ledger import alerts, fanout, inbox, sending, settling
from ..ledger.sending import Later, expired_leases
from . import callouts, covering, proving, submitting
from .house import House, log

RING_EVERY = 5_000  # milliseconds until an owed batch that nobody claimed is rung again
UNKNOWN_DOUBT_SECONDS = 300  # for a channel that is not configured any more
WORKER_DIED = "its worker died in the middle of the call"


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did."""

    rung: int
    taken_back: int
    decided: int
    matched: int
    closed: int
    duties: int


def sweep(house: House) -> Swept | None:
    """One round; None when another process holds the sweep. Raises LedgerUnavailable."""
    if not house.holds("sweep"):
        return None
    taken_back = _take_back(house)
    duties = callouts.step(house)
    callouts.watch(house)
    covering.watch(house)
    now = house.now()
    with house.ledger.read() as tx:
        work = sending.has_upkeep(tx, now, RING_EVERY) or alerts.has_expired(tx, now)
        waiting = inbox.has_unmatched(tx)
    closed: list[int] = []
    decided = matched = 0
    lanes: dict[str, list[int]] = {}
    if waiting:
        matched = _match_again(house, now)
    if work:
        with house.ledger.write() as tx:
            closed = alerts.close_expired(tx, now)
            decided = sending.decided_doubts(tx, now)
            lanes = sending.to_ring(tx, now, RING_EVERY)
        house.ring(lanes)
    proving.tend(house)
    return Swept(sum(map(len, lanes.values())), taken_back, decided, matched, len(closed), duties)


def _match_again(house: House, now: int) -> int:
    with house.ledger.read() as tx:
        found, ids = inbox.unmatched_that_match_now(tx)
    with house.ledger.write(patient=True) as tx:
        settling.settle(tx, found, now)
        inbox.matched(tx, ids)
        inbox.forget_unmatched(tx, now)
    return len(ids)


def _take_back(house: House) -> int:
    """Batches whose worker died: what it had started is in doubt, the rest is due again."""
    with house.ledger.read() as tx:
        expired = expired_leases(tx, house.ledger.database)
    for row in expired:
        now, far_end = house.now(), house.peers.get(row.peer)
        wait = far_end.capabilities.doubt_seconds if far_end else UNKNOWN_DOUBT_SECONDS
        deduplicates = far_end is not None and far_end.capabilities.deduplicates
        later = Later(rest=now, decide=now + wait * 1000)
        with house.ledger.write() as tx:
            seqs = sending.started(tx, row)
            sending.doubt(tx, row.id, row.fence, seqs, WORKER_DIED, deduplicates=deduplicates, later=later, now=now)
        log.warning("batch %s: %s (%s deliveries)", row.id, WORKER_DIED, len(seqs))
    return len(expired)


def plan_next(house: House) -> fanout.Slice | None:
    """Plans one slice of what is owed in bulk (or of an event's stand-down), commits, rings. None: nothing to plan."""
    now = house.now()
    with house.ledger.read() as tx:
        if fanout.next_rule(tx) is None:
            return None
    with house.ledger.write(patient=True) as tx:
        row = fanout.take_next_rule(tx)
        if row is None:
            return None
        made = fanout.plan_slice(tx, row, now)
    submitting.ring(house, [made])
    return made


def plan_for(house: House, seconds: float) -> int:
    """Plans slice after slice for about `seconds`, with a pause as long as each slice: SQLite's lock is not fair.

    Returns how many slices were planned; 0 also when another process is the planner.
    """
    planned, until = 0, time.monotonic() + seconds
    while time.monotonic() < until and house.holds("planner"):
        began = time.monotonic()
        if plan_next(house) is None:
            break
        planned += 1
        time.sleep(min(0.05, time.monotonic() - began))
    return planned
