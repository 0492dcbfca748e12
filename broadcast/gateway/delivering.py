"""A worker's work: choose a far end, claim a batch, hand it over call by call, write what is known after each call."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from ..channels.base import Call, Number
from ..delivery import Receipt, State
from ..errors import BroadcastError, InDoubt, LedgerUnavailable, Misconfigured, Unavailable, Unsupported
from ..ledger import Row, Transaction, leases, limits, sending
from ..ledger.fanout import Slice
from ..ledger.limits import Allowance, Numbered
from ..ledger.sending import Held, Later, Piece, Run
from . import choosing, submitting
from .calling import Calls
from .house import House, log, where
from .ways import FarEnd

MISCONFIGURED_SECONDS = 60  # a wrong password is not mended by asking every second
LONGEST_PAUSE = 60
WRITE_AGAIN = (0.05, 0.5, 2.0)  # seconds: a deadlock is over at once, a database that starts again in a few seconds


def deliver(house: House, batch_id: int) -> None:
    """Sends one batch, if it is owed now and a far end of its channel is free; then those that found that far end busy.

    Raises LedgerUnavailable. Nothing is lost by it: what was not written is owed, or in doubt when its lease runs out.
    """
    far_end = choosing.choose(house, batch_id)
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


def _deliver(house: House, far_end: FarEnd, batch_id: int) -> None:
    now = house.now()
    waits: dict[int, int] = {}
    held: Held | None = None
    with house.ledger.write() as tx:
        found = sending.owed(tx, batch_id, now)
        if found is None:
            return
        row, owed = found
        if sending.is_over(row):
            sending.call_off(tx, row, now)
            return
        if sending.drop_answered(tx, row):
            owed = sending.unsent(tx, row.id)
        if not owed:
            sending.nothing_left(tx, row, now)
            return
        if row.only_peer in house.peers and row.only_peer != far_end.peer.name:
            return  # it found this one busy and went elsewhere meanwhile: it is rung again
        pieces, waits = _within_limits(tx, far_end, row, owed, now)
        if pieces and _may_call(tx, far_end, now):
            held = _claim(house, tx, far_end, row, pieces, len(pieces) < len(owed), now)
    if held is not None:
        with _Renewal(house, held):
            _hand_over(house, far_end, held)
    elif waits and not pieces:
        choosing.not_now(house, row, min(waits.values()), "everybody in it was called as often as the provider allows for now")


def _within_limits(
    tx: Transaction, far_end: FarEnd, row: Row, owed: tuple[Piece, ...], now: int
) -> tuple[tuple[Piece, ...], dict[int, int]]:
    """What may be sent now of what is owed, and from when the others may, by their address."""
    can = far_end.capabilities
    if can.gap_seconds:
        owed = owed[: can.per_call]  # one call is all that there is
    waits = limits.free_from(tx, far_end.peer.name, [piece.address_id for piece in owed], _allowances(far_end, row), now)
    return tuple(piece for piece in owed if piece.address_id not in waits), waits


def _allowances(far_end: FarEnd, row: Row) -> list[Allowance]:
    urgent = choosing.scale_of(row) == "red"
    limits_ = far_end.capabilities.callee_limits
    return [Allowance(one.calls if urgent else one.below_red, one.seconds * 1000) for one in limits_]


def _may_call(tx: Transaction, far_end: FarEnd, now: int) -> bool:
    gap = far_end.capabilities.gap_seconds
    return not gap or limits.take_turn(tx, far_end.peer.name, gap, now)


def _claim(
    house: House, tx: Transaction, far_end: FarEnd, row: Row, pieces: tuple[Piece, ...], partial: bool, now: int
) -> Held | None:
    held = sending.claim(
        house.ledger.database,
        tx,
        row,
        pieces,
        peer=far_end.peer.name,
        holder=house.holder,
        per_call=far_end.capabilities.per_call,
        now=now,
        partial=partial,
    )
    if held is None and far_end.capabilities.gap_seconds:
        limits.give_turn_back(tx, far_end.peer.name)
    return held


def _hand_over(house: House, far_end: FarEnd, held: Held) -> None:
    wanted, refused = _by_kind(far_end, held.pieces)
    per_call = far_end.capabilities.per_call
    calls = [wanted[i : i + per_call] for i in range(0, len(wanted), per_call)]
    if refused and not _write(house, far_end, held, _refusals(far_end, refused), following=calls[0] if calls else None):
        return
    making = Calls(house, far_end, held)
    for n, pieces in enumerate(calls):
        following = calls[n + 1] if n + 1 < len(calls) else None
        # Of residents nothing is withdrawn one by one.
        rest, spent = _spend(house, far_end, held, _still_owed(house, held, pieces) if n or held.lane != "bulk" else pieces)
        if not rest:
            goes_on = _skip(house, far_end, held, following)
        else:
            receipts = _call(house, far_end, held, making, rest, spent)
            if receipts is None:
                return
            goes_on = _write(house, far_end, held, Run(tuple(p.seq for p in rest), tuple(receipts)), following=following)
        if not goes_on:
            return


def _still_owed(house: House, held: Held, pieces: Sequence[Piece]) -> list[Piece]:
    """An answer that came while we were calling others has made some calls needless."""
    with house.ledger.read() as tx:
        owed = set(sending.still_owed(tx, held, [piece.seq for piece in pieces]))
    return [piece for piece in pieces if piece.seq in owed]


def _spend(house: House, far_end: FarEnd, held: Held, pieces: Sequence[Piece]) -> tuple[Sequence[Piece], int]:
    """Those whose budget allows a call now, and when it was spent: as each call is made, so that no call costs without being one.

    Another alert may have called them since the batch was claimed.
    """
    now = house.now()
    if not far_end.capabilities.callee_limits or not pieces:
        return pieces, now
    peer, addresses = far_end.peer.name, [piece.address_id for piece in pieces]
    with house.ledger.write() as tx:
        row = sending.of_alert(tx, held)
        waits = limits.free_from(tx, peer, addresses, _allowances(far_end, row), now)
        free = [piece for piece in pieces if piece.address_id not in waits]
        limits.spend(tx, peer, [piece.address_id for piece in free], now)
    return free, now


def _skip(house: House, far_end: FarEnd, held: Held, following: Sequence[Piece] | None) -> bool:
    now = house.now()
    begin, progress = _span(following)
    later = _later(far_end, held.attempt, now)
    with house.ledger.write() as tx:
        return sending.skip(tx, house.ledger.database, held, begin=begin, progress=progress, later=later, now=now)


def _span(following: Sequence[Piece] | None) -> tuple[int | None, int | None]:
    """The first and the last delivery of the call that comes next."""
    return (following[0].seq, following[-1].seq) if following else (None, None)


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


def _call(
    house: House, far_end: FarEnd, held: Held, making: Calls, pieces: Sequence[Piece], spent: int
) -> Sequence[Receipt] | None:
    """One call to the provider. None when there is no answer: then what it means has been written."""
    seqs = [piece.seq for piece in pieces]
    try:
        call = _numbered(house, far_end, held, making.call(pieces))
        _wait_for_rate(house, far_end)
        receipts = far_end.channel.send(call)
        if len(receipts) != len(pieces):
            raise InDoubt(f"the channel gave {len(receipts)} receipts for {len(pieces)} deliveries")
        return [sending.storable(got) for got in receipts]
    except Unsupported as error:
        _give_back(house, far_end, pieces, spent, turn=True)
        return [Receipt(State.FAILED, code="unsupported", detail=str(error)) for _ in pieces]
    except Unavailable as error:
        pause, turn_back = pause_after(held.attempt), error.retry_after is None
        if error.retry_after is not None and held.attempt >= choosing.far_ends(house, held.channel):
            pause = error.retry_after  # before that, another far end is tried: it need not wait for this one
        _give_back(house, far_end, pieces, spent, turn=turn_back)
        _nothing_left(house, held, str(error), pause)
    except Misconfigured as error:
        log.error("peer %s refuses us, not the target: %s", far_end.peer.name, error)
        _give_back(house, far_end, pieces, spent, turn=True)
        _nothing_left(house, held, f"misconfigured: {error}", MISCONFIGURED_SECONDS)
    except InDoubt as error:
        _something_may_have_left(house, far_end, held, seqs, str(error))
    except BroadcastError:
        raise
    except Exception as error:  # noqa: BLE001  a channel with a bug: what it did is not known, and one batch must not end the lane
        log.error("channel %s broke: %s", far_end.peer.protocol, where(error))
        _something_may_have_left(house, far_end, held, seqs, f"the channel broke: {type(error).__name__}")
    return None


def _numbered(house: House, far_end: FarEnd, held: Held, call: Call) -> Call:
    """The call with its number, committed before it leaves: a repeat must bear the same one."""
    if not far_end.capabilities.numbered:
        return call
    seqs = [message.seq for message in call.messages]
    try:
        with house.ledger.write() as tx:
            given = limits.number(tx, far_end.peer.name, held.batch_id, seqs, house.now())
    except OverflowError as error:
        raise Misconfigured(str(error)) from None
    return replace(call, number=as_number(given))


def as_number(given: Numbered) -> Number:
    """The ledger's number as the channel's."""
    return Number(given.day, given.n, given.at)


def pause_after(attempt: int) -> float:
    """Seconds until the next attempt: 1, 2, 4 … up to a minute."""
    return float(min(LONGEST_PAUSE, 2 ** (attempt - 1)))


def _give_back(house: House, far_end: FarEnd, pieces: Sequence[Piece], spent: int, *, turn: bool) -> None:
    """The call certainly did not leave: nobody was called, and the next one need not wait for it."""
    can, peer = far_end.capabilities, far_end.peer.name
    if not (can.callee_limits or (turn and can.gap_seconds)):
        return
    with house.ledger.write() as tx:
        if turn and can.gap_seconds:
            limits.give_turn_back(tx, peer)
        if can.callee_limits:
            limits.give_back(tx, peer, [piece.address_id for piece in pieces], spent)


def _nothing_left(house: House, held: Held, reason: str, pause: float) -> None:
    now = house.now()
    due = now + int(pause * 1000)
    made: Slice | None = None
    with house.ledger.write() as tx:
        if choosing.is_too_late(house, held, due):
            sending.hold_alert(tx, held.alert_id)
            if sending.holds(tx, held):
                made = choosing.move_on(house, tx, held, reason, now)
        sending.defer(tx, held, reason, due, now)
        leases.failed(tx, held.peer, reason, now)
    if made is not None:
        submitting.ring(house, [made])


def _something_may_have_left(house: House, far_end: FarEnd, held: Held, seqs: Sequence[int], reason: str) -> None:
    now = house.now()
    later = _later(far_end, held.attempt, now)
    deduplicates = far_end.capabilities.deduplicates
    made: Slice | None = None
    with house.ledger.write() as tx:
        late = choosing.is_too_late(house, held, later.rest)
        if late:
            sending.hold_alert(tx, held.alert_id)
        mine = sending.doubt(tx, held.batch_id, held.fence, seqs, reason, deduplicates=deduplicates, later=later, now=now)
        if late and mine:
            made = choosing.move_on(house, tx, held, reason, now)
        leases.failed(tx, held.peer, reason, now)
    if made is not None:
        submitting.ring(house, [made])


def _later(far_end: FarEnd, attempt: int, now: int) -> Later:
    return Later(rest=now + int(pause_after(attempt) * 1000), decide=now + far_end.capabilities.doubt_seconds * 1000)


def _write(house: House, far_end: FarEnd, held: Held, run: Run, following: Sequence[Piece] | None) -> bool:
    """What was answered, tried again while the ledger does not take it: an answer that is lost is a doubt."""
    for pause in WRITE_AGAIN:
        try:
            return _write_once(house, far_end, held, run, following)
        except LedgerUnavailable as error:
            log.warning("batch %s: its answer is not written yet: %s", held.batch_id, error)
            time.sleep(pause)
    return _write_once(house, far_end, held, run, following)


def _write_once(house: House, far_end: FarEnd, held: Held, run: Run, following: Sequence[Piece] | None) -> bool:
    now = house.now()
    begin, progress = _span(following)
    with house.ledger.write() as tx:
        goes_on = sending.answer(
            tx,
            house.ledger.database,
            held,
            run,
            begin=begin,
            progress=progress,
            later=_later(far_end, held.attempt, now),
            now=now,
            deduplicates=far_end.capabilities.deduplicates,
        )
        leases.worked(tx, held.peer, now)
    return goes_on


def _wait_for_rate(house: House, far_end: FarEnd) -> None:
    if house.rate is None or not far_end.peer.rate:
        return
    while (pause := house.rate.take(far_end.peer.name, far_end.peer.rate, max(1.0, far_end.peer.rate))) > 0:
        time.sleep(min(pause, 1.0))


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
