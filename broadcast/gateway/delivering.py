"""A worker's work: claim a batch, hand it over call by call, write what is known after each call."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ..channels.base import Call, Facts, Message, Purpose
from ..delivery import Receipt, State
from ..errors import BroadcastError, InDoubt, Misconfigured, Unavailable, Unsupported
from ..ledger import Row, leases, questions, sending
from ..ledger.sending import Held, Later, Piece, Run
from .house import FarEnd, House, log, where

NO_PEER_SECONDS = 60
MISCONFIGURED_SECONDS = 60  # a wrong password is not mended by asking every second
LONGEST_PAUSE = 60


def deliver(house: House, batch_id: int) -> None:
    """Sends one batch, if it is owed now and its peer has a free slot; then those that found the peer busy meanwhile.

    Raises LedgerUnavailable. Nothing is lost by it: what was not written is owed, or in doubt when its lease runs out.
    """
    far_end = _far_end_of(house, batch_id)
    if far_end is None:
        return
    far_end.turned_away.add(batch_id)
    # Added first and taken second: whoever holds the last slot sees it, or we find the slot free.
    while far_end.turned_away and far_end.slots.acquire(blocking=False):
        try:
            if (waiting := far_end.turned_away.take()) is not None:
                _deliver(house, far_end, waiting)
        finally:
            far_end.slots.release()


def _far_end_of(house: House, batch_id: int) -> FarEnd | None:
    with house.ledger.read() as tx:
        row = sending.is_owed(tx, batch_id, house.now())
    if row is None:
        return None
    far_end = house.far_ends.get(row.channel)
    if far_end is None:
        with house.ledger.write() as tx:
            sending.postpone(tx, row, f"no peer is configured for channel {row.channel}", house.now() + NO_PEER_SECONDS * 1000)
    return far_end


def _deliver(house: House, far_end: FarEnd, batch_id: int) -> None:
    per_call = far_end.capabilities.per_call
    with house.ledger.write() as tx:
        found = sending.owed(tx, batch_id, house.now())
        if found is None:
            return
        row, pieces = found
        if not pieces:
            sending.nothing_left(tx, row, house.now())
            return
        held = sending.claim(
            house.ledger.database,
            tx,
            row,
            pieces,
            peer=far_end.peer.name,
            holder=house.holder,
            per_call=per_call,
            now=house.now(),
        )
    if held is not None:
        with _Renewal(house, held):
            _hand_over(house, far_end, held)


def _hand_over(house: House, far_end: FarEnd, held: Held) -> None:
    wanted, refused = _by_kind(far_end, held.pieces)
    calls = [wanted[i : i + far_end.capabilities.per_call] for i in range(0, len(wanted), far_end.capabilities.per_call)]
    if refused:
        first_call = calls[0][-1].seq if calls else None
        if not _write(house, far_end, held, _refusals(far_end, refused), progress=first_call):
            return
    facts = _facts(house, held)
    for n, pieces in enumerate(calls):
        receipts = _call(house, far_end, held, facts, pieces)
        if receipts is None:
            return
        progress = calls[n + 1][-1].seq if n + 1 < len(calls) else None
        if not _write(house, far_end, held, Run(tuple(p.seq for p in pieces), tuple(receipts)), progress=progress):
            return


def _by_kind(far_end: FarEnd, pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """A live peer refuses synthetic targets, a simulated one all others: no drill number is dialled, no person simulated."""
    wanted = [piece for piece in pieces if piece.synthetic == far_end.peer.simulated]
    return wanted, [piece for piece in pieces if piece.synthetic != far_end.peer.simulated]


def _refusals(far_end: FarEnd, pieces: Sequence[Piece]) -> Run:
    why = (
        "a real target is not told by a simulated peer"
        if far_end.peer.simulated
        else "a synthetic target is not told by a live peer"
    )
    return Run(
        tuple(p.seq for p in pieces), tuple(Receipt(State.REJECTED, code="wrong-kind-of-peer", detail=why) for _ in pieces)
    )


def _call(house: House, far_end: FarEnd, held: Held, facts: Facts, pieces: Sequence[Piece]) -> Sequence[Receipt] | None:
    """One call to the provider. None when there is no answer: then what it means has been written."""
    seqs = [piece.seq for piece in pieces]
    try:
        _wait_for_rate(house, far_end)
        receipts = far_end.channel.send(_as_call(house, held, facts, pieces))
        if len(receipts) != len(pieces):
            raise InDoubt(f"the channel gave {len(receipts)} receipts for {len(pieces)} deliveries")
        return receipts
    except Unsupported as error:
        return [Receipt(State.FAILED, code="unsupported", detail=str(error)) for _ in pieces]
    except Unavailable as error:
        pause = error.retry_after if error.retry_after is not None else pause_after(held.attempt)
        _nothing_left(house, held, str(error), pause)
    except Misconfigured as error:
        log.error("peer %s refuses us, not the target: %s", far_end.peer.name, error)
        _nothing_left(house, held, f"misconfigured: {error}", MISCONFIGURED_SECONDS)
    except InDoubt as error:
        _something_may_have_left(house, far_end, held, seqs, str(error))
    except BroadcastError:
        raise
    except Exception as error:  # noqa: BLE001  a channel with a bug: what it did is not known, and one batch must not end the lane
        log.error("channel %s broke: %s", far_end.peer.protocol, where(error))
        _something_may_have_left(house, far_end, held, seqs, f"the channel broke: {type(error).__name__}")
    return None


def pause_after(attempt: int) -> float:
    """Seconds until the next attempt: 1, 2, 4 … up to a minute."""
    return float(min(LONGEST_PAUSE, 2 ** (attempt - 1)))


def _nothing_left(house: House, held: Held, reason: str, pause: float) -> None:
    now = house.now()
    with house.ledger.write() as tx:
        sending.defer(tx, held, reason, now + int(pause * 1000), now)
        leases.failed(tx, held.peer, reason, now)


def _something_may_have_left(house: House, far_end: FarEnd, held: Held, seqs: Sequence[int], reason: str) -> None:
    now = house.now()
    with house.ledger.write() as tx:
        sending.doubt(
            tx,
            held.batch_id,
            held.fence,
            seqs,
            reason,
            deduplicates=far_end.capabilities.deduplicates,
            later=_later(far_end, held.attempt, now),
            now=now,
        )
        leases.failed(tx, held.peer, reason, now)


def _later(far_end: FarEnd, attempt: int, now: int) -> Later:
    return Later(rest=now + int(pause_after(attempt) * 1000), decide=now + far_end.capabilities.doubt_seconds * 1000)


def _write(house: House, far_end: FarEnd, held: Held, run: Run, progress: int | None) -> bool:
    now = house.now()
    with house.ledger.write() as tx:
        later = _later(far_end, held.attempt, now)
        goes_on = sending.answer(tx, house.ledger.database, held, run, progress=progress, later=later, now=now)
        leases.worked(tx, held.peer, now)
    return goes_on


def _wait_for_rate(house: House, far_end: FarEnd) -> None:
    if house.rate is None or not far_end.peer.rate:
        return
    while (pause := house.rate.take(far_end.peer.name, far_end.peer.rate, max(1.0, far_end.peer.rate))) > 0:
        time.sleep(min(pause, 1.0))


def _as_call(house: House, held: Held, facts: Facts, pieces: Sequence[Piece]) -> Call:
    return Call(
        key=f"{held.batch_id}-{pieces[0].seq}",
        purpose=Purpose(held.purpose),
        messages=tuple(Message(piece.seq, house.ledger.seal.open(piece.address), held.text) for piece in pieces),
        facts=facts,
        attempt=held.attempt,
    )


def _facts(house: House, held: Held) -> Facts:
    with house.ledger.read() as tx:
        row = sending.snapshot(tx, held.alert_id)
        about = sending.past_refs(tx, held.alert_id, held.channel) if held.purpose in (Purpose.STOP, Purpose.STAND_DOWN) else []
    return _as_facts(row, tuple(about))


def _as_facts(row: Row, refers_to: tuple[str, ...]) -> Facts:
    sent, expires = questions.moment(row.sent), questions.moment(row.expires)
    assert sent is not None and expires is not None  # both columns are NOT NULL
    return Facts(
        alert_id=row.id,
        identifier=row.identifier,
        event_code=row.event_code,
        event=row.event,
        level=row.level,
        status=row.status,
        issuer=row.issuer,
        headline=row.headline,
        sent=sent,
        expires=expires,
        regions=sending.roots(row),
        refers_to=refers_to,
    )


class _Renewal:
    """Keeps a lease while calls run. Ends with its block; a holder that stands still loses its batch in time."""

    def __init__(self, house: House, held: Held) -> None:
        self._house, self._held = house, held
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease-{held.batch_id}", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_failure: object) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(sending.LEASE / 3):
            try:
                if not sending.renew(self._house.ledger.database, self._held.batch_id, self._held.fence):
                    return
            except BroadcastError as error:
                log.warning("batch %s: its lease could not be renewed: %s", self._held.batch_id, error)
