"""Sending: a worker claims a batch, hands it over call by call, and what is known is written after each call."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from ..delivery import MAY_HAVE_REACHED, Receipt, State
from . import chain, proof
from .alerts import AlertState
from .engine import Database, Row
from .limits import Numbered, as_numbered
from .tables import OWED, address, alert, batch, breaker, call_number, called, callout, delivery, receipt, rule, wording

LEASE = 5.0  # seconds; renewed every LEASE / 3 while a call runs


@dataclass(frozen=True, slots=True)
class Piece:
    """One delivery that still has to leave."""

    seq: int
    address: bytes
    synthetic: bool
    address_id: int = 0
    region: str = ""
    post_id: int | None = None
    rule_id: int | None = None
    commitment: bytes | None = None  # to the address


@dataclass(frozen=True, slots=True)
class Held:
    """A claimed batch: what the holder of `fence` may send."""

    batch_id: int
    alert_id: int
    channel: str
    lane: str
    purpose: str
    text: str
    peer: str
    fence: int
    attempt: int
    size: int
    pieces: tuple[Piece, ...]
    partial: bool = False  # some of the batch stays behind, and is due again after this
    deadline: int | None = None  # until when the plan wants it handed over


def is_owed(tx: sa.Connection, batch_id: int, now: int) -> Row | None:
    """The batch with its alert's level, when a worker may claim it now."""
    return tx.execute(
        sa.select(batch, alert.c.level, alert.c.understood)
        .join(alert, alert.c.id == batch.c.alert_id)
        .where(batch.c.id == batch_id, batch.c.state.in_((State.PLANNED, State.DEFERRED)), batch.c.due <= now)
    ).first()


def otherwise_of(tx: sa.Connection, row: Row) -> list[str]:
    """The plan's next channels for a batch, in order."""
    channels: list[str] = json.loads(tx.execute(sa.select(rule.c.otherwise).where(rule.c.id == row.rule_id)).scalar() or "[]")
    after = channels.index(row.channel) + 1 if row.channel in channels else 0
    return [channel for channel in channels[after:] if channel != row.channel]


def owed(tx: sa.Connection, batch_id: int, now: int, *, lock: bool = False) -> tuple[Row, tuple[Piece, ...]] | None:
    """The batch and its unsent deliveries, when a worker may claim it now. `lock`: nobody may before this transaction ends."""
    chosen = (
        sa.select(batch, wording.c.text, alert.c.level, alert.c.understood, alert.c.state.label("alert_state"))
        .join(wording, wording.c.id == batch.c.wording_id)
        .join(alert, alert.c.id == batch.c.alert_id)
        .where(batch.c.id == batch_id, batch.c.state.in_((State.PLANNED, State.DEFERRED)), batch.c.due <= now)
    )
    row = tx.execute(chosen.with_for_update(of=batch) if lock else chosen).first()
    if row is None:
        return None
    return row, unsent(tx, batch_id)


def unsent(tx: sa.Connection, batch_id: int) -> tuple[Piece, ...]:
    """The deliveries of a batch about which nothing has been decided."""
    rows = tx.execute(
        sa.select(*PIECE)
        .join(address, address.c.id == delivery.c.address_id)
        .where(delivery.c.batch_id == batch_id, delivery.c.state.is_(None))
        .order_by(delivery.c.seq)
    )
    return tuple(as_piece(row) for row in rows)


PIECE = (
    delivery.c.seq,
    address.c.sealed,
    delivery.c.synthetic,
    delivery.c.address_id,
    delivery.c.region,
    delivery.c.post_id,
    delivery.c.rule_id,
    address.c.commitment,
)


def as_piece(row: Row) -> Piece:
    """A row of PIECE. Nobody is erased to whom something is owed: an address that is gone is of an alert that is over."""
    return Piece(row[0], bytes(row[1] or b""), bool(row[2]), *row[3:])


def claim(
    database: Database,
    tx: sa.Connection,
    row: Row,
    pieces: tuple[Piece, ...],
    *,
    peer: str,
    holder: str,
    per_call: int,
    now: int,
    partial: bool = False,
) -> Held | None:
    """Takes the batch: one conditional UPDATE. None when somebody else was faster, or the peer is left alone for now.

    `partial`: `pieces` are not all that is left of it; the rest is due again when these are done.

    The claim says at once that the first call has been started: a worker that dies after it leaves a doubt behind,
    never a second call.
    """
    broken = sa.select(breaker.c.peer).where(breaker.c.peer == peer, breaker.c.open_until > now)
    active = sa.select(alert.c.id).where(alert.c.id == row.alert_id, alert.c.state.in_(may_send(row.purpose)))
    taken = tx.execute(
        batch.update()
        .where(
            batch.c.id == row.id,
            batch.c.fence == row.fence,
            batch.c.state.in_((State.PLANNED, State.DEFERRED)),
            batch.c.due <= now,
            ~broken.exists(),
            active.exists(),
        )
        .values(
            state=State.SENDING,
            fence=batch.c.fence + 1,
            attempt=batch.c.attempt + 1,
            holder=holder,
            peer=peer,
            reason="",
            lease=database.clock() + int(LEASE * 1000),
            call_from=pieces[0].seq,
            progress=pieces[min(per_call, len(pieces)) - 1].seq,
            started=now,
        )
    ).rowcount
    if not taken:
        return None
    what = (row.id, row.alert_id, row.channel, row.lane, row.purpose, row.text)
    return Held(*what, peer, row.fence + 1, row.attempt + 1, row.size, pieces, partial, row.deadline)


def postpone(tx: sa.Connection, row: Row, reason: str, due: int) -> None:
    """An owed batch that cannot be tried now."""
    tx.execute(
        batch.update()
        .where(batch.c.id == row.id, batch.c.fence == row.fence, batch.c.state.in_((State.PLANNED, State.DEFERRED)))
        .values(state=State.DEFERRED, reason=reason, due=due, rung=None)
    )


def is_over(row: Row) -> bool:
    """True when a batch that is owed must not leave any more, because its alert is over."""
    return row.alert_state not in may_send(row.purpose)


def call_off(tx: sa.Connection, row: Row, now: int) -> None:
    """An owed batch of an alert that is over: it ends here, whatever made it due again."""
    tx.execute(
        batch.update()
        .where(batch.c.id == row.id, batch.c.fence == row.fence, batch.c.state.in_((State.PLANNED, State.DEFERRED)))
        .values(state=State.CANCELLED, reason=f"the alert is {row.alert_state}", due=None, ended=now)
    )


def drop_answered(tx: sa.Connection, row: Row) -> int:
    """What an owed batch need not say any more, as its persons answered while it was under way; returns how much."""
    if row.lane == "bulk":
        return 0
    state = State.IN_DOUBT if row.only_peer else State.CANCELLED  # what a far end may know already may have been heard
    mine = (delivery.c.batch_id == row.id, delivery.c.state.is_(None), needless(row.purpose, row.alert_id))
    return tx.execute(delivery.update().where(*mine).values(state=state, reason="answered meanwhile")).rowcount


def needless(purpose: str, alert_id: int) -> sa.ColumnElement[bool]:
    """Of a delivery: an answer, by whatever way, has made it needless.

    An alarm when its post has answered; a call of the ladder when nothing that it was made for is open any more: a superior
    who has answered for themselves is still called for a silent village. Who must approve is not called when somebody has.
    """
    if purpose == "alarm":
        its = (callout.c.alert_id == alert_id, callout.c.post_id == delivery.c.post_id)
        return sa.select(callout.c.id).where(*its, callout.c.duty == "acknowledge", callout.c.state == "answered").exists()
    if purpose.startswith(("callout.", "escalation.")):
        for_ = (called.c.batch_id == delivery.c.batch_id, called.c.seq == delivery.c.seq, callout.c.state == "open")
        return ~sa.select(callout.c.id).join(called, called.c.callout_id == callout.c.id).where(*for_).exists()
    if purpose.startswith("release"):
        waits = (callout.c.alert_id == alert_id, callout.c.duty == "release", callout.c.state == "open")
        return ~sa.select(callout.c.id).where(*waits).exists()
    return sa.false()


def nothing_left(tx: sa.Connection, row: Row, now: int) -> None:
    """Every delivery of an owed batch has a state of its own: the batch has nothing more to do."""
    tx.execute(
        batch.update()
        .where(batch.c.id == row.id, batch.c.fence == row.fence)
        .values(state=State.ACCEPTED, reason="", due=None, ended=now)
    )


def _alert(tx: sa.Connection, alert_id: int) -> Row:
    """The alert's state, which nobody changes before this transaction ends: else a batch could become due of an alert
    that has just been taken over, after its pending batches were withdrawn."""
    chosen = sa.select(alert.c.state, alert.c.expires).where(alert.c.id == alert_id)
    return tx.execute(chosen.with_for_update(read=True)).one()


def hold_alert(tx: sa.Connection, alert_id: int) -> None:
    """Lets nobody else change the alert or its rules before this transaction ends. Before any of its batches is locked."""
    tx.execute(sa.select(alert.c.id).where(alert.c.id == alert_id).with_for_update(key_share=True)).one()


def row_of(tx: sa.Connection, batch_id: int) -> Row:
    """The batch as it stands, with the state of its alert."""
    chosen = sa.select(batch, alert.c.state.label("alert_state")).join(alert, alert.c.id == batch.c.alert_id)
    return tx.execute(chosen.where(batch.c.id == batch_id)).one()


def of_alert(tx: sa.Connection, held: Held) -> Row:
    """How strong the alert of a held batch counts: its level, and what was understood of it."""
    return tx.execute(sa.select(alert.c.level, alert.c.understood).where(alert.c.id == held.alert_id)).one()


def holds(tx: sa.Connection, held: Held) -> bool:
    """True while the holder has its batch, which it keeps until this transaction ends."""
    its = (batch.c.id == held.batch_id, batch.c.fence == held.fence, batch.c.state == State.SENDING)
    return tx.execute(sa.select(batch.c.id).where(*its).with_for_update()).first() is not None


def state_of(tx: sa.Connection, alert_id: int) -> str:
    """The state of an alert, which nobody changes before this transaction ends."""
    return str(_alert(tx, alert_id).state)


def may_send(purpose: str) -> tuple[str, ...]:
    """The states of an alert in which something may leave for this purpose."""
    waiting = (AlertState.WAITING, AlertState.UNDECIDED) if purpose.startswith("release") else ()
    return (AlertState.ACTIVE, *waiting)


def renew(database: Database, batch_id: int, fence: int) -> bool:
    """Keeps the lease while a call runs; False when it was taken away."""
    with database.write() as tx:
        kept = tx.execute(
            batch.update()
            .where(batch.c.id == batch_id, batch.c.fence == fence, batch.c.state == State.SENDING)
            .values(lease=database.clock() + int(LEASE * 1000))
        )
        return bool(kept.rowcount)


@dataclass(frozen=True, slots=True)
class Run:
    """Receipts of one call: `seqs` and `receipts` go pairwise."""

    seqs: tuple[int, ...]
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class Later:
    """When what an answer left open comes up again: what is deferred, and what is in doubt."""

    rest: int
    decide: int


def answer(
    tx: sa.Connection,
    database: Database,
    held: Held,
    run: Run,
    *,
    progress: int | None,
    later: Later,
    now: int,
    begin: int | None = None,
    deduplicates: bool = False,
) -> bool:
    """Writes what a call was answered. The next call goes from `begin` up to `progress`; None when this was the last.

    A channel that had to split a call may answer DEFERRED or IN_DOUBT for some of it. Where the peer `deduplicates`, what is
    in doubt is due again there. False when the holder must stop: the lease was lost (the answer is kept as an entry, it
    changes no state), or the alert is over.
    """
    usual = _usual(run)
    # One call for all of the batch, all settled: then the batch's row says it for those that have nothing else to say.
    whole = progress is None and len(run.seqs) == len(held.pieces) and usual is not None and not held.partial
    # Before the batch: who takes over an alert locks it first, and its batches then.
    over = not whole and _alert(tx, held.alert_id).state not in may_send(held.purpose)
    doubts = any(got.state is State.IN_DOUBT for got in run.receipts)
    again = doubts and deduplicates and not over
    values = _under_way(database, begin, progress)
    if progress is None:
        state = usual if whole and usual is not None else State.ACCEPTED
        reason = next((_reason(r) for r in run.receipts if whole and r.state is state and _reason(r)), "")
        values = {"state": state, "reason": reason, "holder": "", "lease": None, "due": None, "ended": now}
    mine = tx.execute(
        batch.update()
        .where(batch.c.id == held.batch_id, batch.c.fence == held.fence, batch.c.state == State.SENDING)
        .values(**values)
    ).rowcount
    if not mine:
        _too_late(tx, held, run, now)
        return False
    write_receipts(
        tx,
        held.alert_id,
        held.batch_id,
        run,
        origin="answer",
        peer=held.peer,
        fence=held.fence,
        attempt=held.attempt,
        now=now,
    )
    proof.cover_deliveries(tx, held.alert_id, held.batch_id, _as_rows(held, run.seqs))
    _set_states(tx, held.batch_id, run, as_batch={State.DEFERRED, usual if whole else None, State.IN_DOUBT if again else None})
    if doubts and not over:
        left = {"only_peer": held.peer} if again else {"doubt_due": later.decide}
        tx.execute(batch.update().where(batch.c.id == held.batch_id).values(**left))
    if progress is None:
        put_off = next((_reason(r) for r in run.receipts if r.state is State.DEFERRED and _reason(r)), "")
        return whole or _rest_is_due(tx, held, later, put_off)
    return _still_wanted(tx, held, now)


def _as_rows(held: Held, seqs: Sequence[int]) -> list[dict[str, object]]:
    """Held deliveries as their rows are: nobody changes these columns, so they need not be read again."""
    common = {"batch_id": held.batch_id, "alert_id": held.alert_id, "channel": held.channel, "purpose": held.purpose}
    pieces = {piece.seq: piece for piece in held.pieces}
    return [
        {
            **common,
            "seq": seq,
            "region": (piece := pieces[seq]).region,
            "post_id": piece.post_id,
            "address_id": piece.address_id,
            "rule_id": piece.rule_id,
            "synthetic": piece.synthetic,
            "commitment": piece.commitment,
        }
        for seq in seqs
    ]


def _under_way(database: Database, begin: int | None, progress: int | None) -> dict[str, object]:
    """The columns that say which call is made next."""
    values: dict[str, object] = {"progress": progress, "lease": database.clock() + int(LEASE * 1000)}
    return values if begin is None else values | {"call_from": begin}


def skip(
    tx: sa.Connection, database: Database, held: Held, *, progress: int | None, later: Later, now: int, begin: int | None = None
) -> bool:
    """A call that is not needed any more: on to the next one, or to the end. False when the holder must stop."""
    _alert(tx, held.alert_id)  # before the batch, as everybody does
    values = _under_way(database, begin, progress)
    if progress is None:
        values = {"state": State.ACCEPTED, "holder": "", "lease": None, "due": None, "ended": now}
    mine = tx.execute(
        batch.update()
        .where(batch.c.id == held.batch_id, batch.c.fence == held.fence, batch.c.state == State.SENDING)
        .values(**values)
    ).rowcount
    if not mine:
        return False
    return _rest_is_due(tx, held, later) if progress is None else _still_wanted(tx, held, now)


def _usual(run: Run) -> State | None:
    """What most of a call's deliveries became; None when some of it may be sent again.

    Then every delivery gets a state of its own: whoever only inherited the batch's would be sent again with it.
    """
    if any(r.state in (State.DEFERRED, State.IN_DOUBT) for r in run.receipts):
        return None
    return Counter(r.state for r in run.receipts).most_common(1)[0][0]


def _rest_is_due(tx: sa.Connection, held: Held, later: Later, put_off: str = "") -> bool:
    """After the last call: what has no state of its own was deferred by the channel, or stayed behind, and is due again."""
    left = sa.select(delivery.c.seq).where(delivery.c.batch_id == held.batch_id, delivery.c.state.is_(None)).limit(1)
    if tx.execute(left).first() is not None:
        row = _alert(tx, held.alert_id)
        over = row.state not in may_send(held.purpose)
        values: dict[str, object] = {"state": State.CANCELLED}
        if not over:
            reason = put_off or "some of it was put off"
            values = {"state": State.DEFERRED, "reason": reason, "due": later.rest, "rung": None, "ended": None}
        tx.execute(batch.update().where(batch.c.id == held.batch_id).values(**values))
    return True


def _still_wanted(tx: sa.Connection, held: Held, now: int) -> bool:
    """Between two calls: when the alert is over, the rest of the batch must not leave."""
    state = _alert(tx, held.alert_id).state
    if state in may_send(held.purpose):
        return True
    tx.execute(
        batch.update()
        .where(batch.c.id == held.batch_id)
        .values(state=State.CANCELLED, reason=f"the alert is {state}", holder="", lease=None, due=None, ended=now)
    )
    return False


def _too_late(tx: sa.Connection, held: Held, run: Run, now: int) -> None:
    states = dict(Counter(str(r.state) for r in run.receipts))
    refs = sorted({r.ref for r in run.receipts if r.ref})
    body = {
        "batch": held.batch_id,
        "fence": held.fence,
        "first": run.seqs[0],
        "last": run.seqs[-1],
        "states": states,
        "refs": refs,
    }
    chain.append(tx, chain.of_alert(held.alert_id), "answer.too_late", now, body)


def write_receipts(
    tx: sa.Connection,
    alert_id: int,
    batch_id: int,
    run: Run,
    *,
    origin: str,
    peer: str,
    fence: int,
    attempt: int,
    now: int,
) -> None:
    """One row for each run of equal receipts over neighbouring deliveries, and an entry that covers them."""
    common = {"batch_id": batch_id, "fence": fence, "attempt": attempt, "origin": origin, "peer": peer, "recorded": now}
    proof.add(tx, receipt, [{**common, **said} for said in receipt_runs(run)], chain.of_alert(alert_id))
    body = {"batch": batch_id, "origin": origin, "peer": peer, "fence": fence, "attempt": attempt}
    states = dict(Counter(str(got.state) for got in run.receipts))
    chain.append(tx, chain.of_alert(alert_id), "receipts", now, {**body, "states": states})


def storable(got: Receipt) -> Receipt:
    """The same without NUL and half characters: JSON can spell them, no database keeps them, and an answer must be kept."""
    if all(text.isprintable() for text in (got.code, got.detail, got.ref)):
        return got
    return replace(got, code=_kept(got.code), detail=_kept(got.detail), ref=_kept(got.ref))


def _kept(text: str) -> str:
    return text.encode("utf8", "replace").decode().replace("\0", "?")


def receipt_runs(run: Run) -> list[dict[str, object]]:
    """The columns of `receipt` that a run of receipts says, neighbours that say the same together. `run` is in order of seq."""
    rows: list[dict[str, object]] = []
    for seq, got in zip(run.seqs, run.receipts, strict=True):
        at = int(got.at.timestamp() * 1000) if got.at else None
        said = {"state": str(got.state), "code": got.code, "detail": got.detail[:500], "ref": got.ref, "at": at}
        if rows and rows[-1]["last_seq"] == seq - 1 and all(rows[-1][k] == v for k, v in said.items()):
            rows[-1]["last_seq"] = seq
            continue
        rows.append({"first_seq": seq, "last_seq": seq, **said})
    return rows


def _set_states(tx: sa.Connection, batch_id: int, run: Run, as_batch: Collection[State | None] = (State.DEFERRED,)) -> None:
    """Gives deliveries states of their own, except those that are as their batch: settled with it, or due again."""
    by_state: dict[tuple[State, str], list[int]] = {}
    for seq, got in zip(run.seqs, run.receipts, strict=True):
        if got.state not in as_batch:
            by_state.setdefault((got.state, _reason(got)), []).append(seq)
    for (state, reason), seqs in by_state.items():
        for first, last in ranges(seqs):
            tx.execute(
                delivery.update()
                .where(delivery.c.batch_id == batch_id, delivery.c.seq.between(first, last), delivery.c.state.is_(None))
                .values(state=str(state), reason=reason or None)
            )


def _reason(got: Receipt) -> str:
    """Why it did not arrive, in the provider's words; nothing to say of what did."""
    return "" if got.state in (State.ACCEPTED, State.DELIVERED) else (got.code or got.detail)[:200]


def ranges(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring numbers: 1 2 3 7 8 → (1, 3), (7, 8)."""
    ranges: list[tuple[int, int]] = []
    for seq in sorted(seqs):
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return ranges


def defer(tx: sa.Connection, held: Held, reason: str, due: int, now: int) -> None:
    """Certainly nothing of the rest left: it is due again, unless the alert is over by then."""
    row = _alert(tx, held.alert_id)
    if row.state not in may_send(held.purpose):
        values = {"state": State.CANCELLED, "reason": f"the alert is {row.state}", "due": None, "ended": now}
    elif due >= row.expires:
        values = {"state": State.FAILED, "reason": f"not before it expires: {reason}", "due": None, "ended": now}
    else:
        values = {"state": State.DEFERRED, "reason": reason, "due": due, "rung": None}
    tx.execute(
        batch.update()
        .where(batch.c.id == held.batch_id, batch.c.fence == held.fence, batch.c.state == State.SENDING)
        .values(**values, holder="", lease=None)
    )


def doubt(
    tx: sa.Connection, batch_id: int, fence: int, seqs: Sequence[int], reason: str, *, deduplicates: bool, later: Later, now: int
) -> bool:
    """Something may have left. Where the peer deduplicates it is due again, under the same keys; else it is in doubt.

    In doubt until a report comes or `later.decide`. An alert that is over sends nothing again: its doubts stay doubts.
    False when the batch is not held under that fence any more.
    """
    alert_id = tx.execute(sa.select(batch.c.alert_id).where(batch.c.id == batch_id)).scalar_one()
    of_alert = _alert(tx, alert_id)  # before the batch, as everybody does
    held = (batch.c.id == batch_id, batch.c.fence == fence, batch.c.state == State.SENDING)
    row = tx.execute(sa.select(batch).where(*held).with_for_update()).first()
    if row is None:
        return False
    over = of_alert.state not in may_send(row.purpose) or later.rest >= of_alert.expires
    if over or not deduplicates:
        _put_in_doubt(tx, row, seqs, reason, now)
    rest = sa.select(delivery.c.seq).where(delivery.c.batch_id == row.id, delivery.c.state.is_(None)).limit(1)
    state = State.IN_DOUBT if tx.execute(rest).first() is None else State.CANCELLED if over else State.DEFERRED
    values = {
        "state": state,
        "reason": reason,
        "due": later.rest if state is State.DEFERRED else None,
        # Where it is only due again, the doubts of earlier calls keep their time.
        "doubt_due": None if over else row.doubt_due if deduplicates else later.decide,
        "only_peer": row.only_peer if over else row.peer if deduplicates else "",  # elsewhere it would be told twice
        "fence": row.fence + 1,
    }
    tx.execute(batch.update().where(batch.c.id == row.id).values(**values, rung=None, holder="", lease=None))
    return True


def _put_in_doubt(tx: sa.Connection, row: Row, seqs: Sequence[int], reason: str, now: int) -> None:
    if not seqs:
        return
    run = Run(tuple(seqs), tuple(Receipt(State.IN_DOUBT, detail=reason) for _ in seqs))
    write_receipts(tx, row.alert_id, row.id, run, origin="gateway", peer=row.peer, fence=row.fence, attempt=row.attempt, now=now)
    proof.cover_seqs(tx, row.alert_id, row.id, seqs)
    _set_states(tx, row.id, run)


def expired_leases(tx: sa.Connection, database: Database, limit: int = 100) -> list[Row]:
    """Batches whose holder has not renewed its lease: it died, or it stands still."""
    return list(tx.execute(sa.select(batch).where(batch.c.state == State.SENDING, batch.c.lease < database.clock()).limit(limit)))


def started(tx: sa.Connection, row: Row) -> list[int]:
    """The deliveries of a held batch whose call may have been made and was not answered."""
    return list(
        tx.execute(
            sa.select(delivery.c.seq)
            .where(delivery.c.batch_id == row.id, delivery.c.seq.between(row.call_from, row.progress), delivery.c.state.is_(None))
            .order_by(delivery.c.seq)
        ).scalars()
    )


def decided_doubts(tx: sa.Connection, now: int) -> int:
    """Doubts whose time is over: sent once more where the plan prefers a doubled warning, else left in doubt."""
    rows = tx.execute(
        sa.select(
            batch.c.id,
            batch.c.alert_id,
            batch.c.doubled,
            batch.c.purpose,
            alert.c.doubt,
            alert.c.state.label("alert_state"),
        )
        .join(alert, alert.c.id == batch.c.alert_id)
        .where(batch.c.doubt_due <= now, batch.c.state != State.SENDING)  # what a worker holds of it is decided after
        .order_by(batch.c.doubt_due)
        .limit(200)
    ).all()
    for row in sorted(rows, key=lambda row: row.id):  # in the order in which everybody locks batches
        again = row.doubt == "resend" and not row.doubled and row.alert_state in may_send(row.purpose)
        count = _resend(tx, row, now) if again else _leave(tx, row)
        if count:
            body = {"batch": row.id, "deliveries": count, "decision": "sent again" if again else "left in doubt"}
            chain.append(tx, chain.of_alert(row.alert_id), "doubt.decided", now, body)
    return len(rows)


def _resend(tx: sa.Connection, row: Row, now: int) -> int:
    # The fence goes up with it: a worker that looked at the batch before must not claim it for less than it is now.
    state = tx.execute(
        batch.update()
        .where(batch.c.id == row.id, batch.c.state != State.SENDING, batch.c.doubt_due <= now)  # else its alert was taken over
        .values(doubt_due=None, fence=batch.c.fence + 1)
        .returning(batch.c.state)
    ).scalar()
    if state is None:
        return 0
    of_batch = delivery.c.batch_id == row.id
    if state not in (State.PLANNED, State.DEFERRED):  # whoever only inherited the batch's state keeps it, now as their own
        tx.execute(delivery.update().where(of_batch, delivery.c.state.is_(None)).values(state=state))
    # Whoever has answered meanwhile has it: their doubt stays one, and nobody is told again for it.
    doubt, answered = delivery.c.state == State.IN_DOUBT, needless(row.purpose, row.alert_id)
    tx.execute(delivery.update().where(of_batch, doubt, answered).values(reason="answered meanwhile: not sent again"))
    in_doubt = sa.and_(doubt, ~answered)
    freed = tx.execute(delivery.update().where(of_batch, in_doubt).values(state=None, reason=None)).rowcount
    if freed:
        values = {"state": State.DEFERRED, "due": now, "rung": None, "doubled": True, "reason": "sent again out of doubt"}
        tx.execute(batch.update().where(batch.c.id == row.id).values(**values))
    return freed


def _leave(tx: sa.Connection, row: Row) -> int:
    tx.execute(batch.update().where(batch.c.id == row.id).values(doubt_due=None))
    return int(
        tx.execute(
            sa.select(sa.func.count()).where(delivery.c.batch_id == row.id, delivery.c.state == State.IN_DOUBT)
        ).scalar_one()
    )


def to_ring(tx: sa.Connection, now: int, every: int, limit: int = 2000) -> dict[str, list[int]]:
    """Batches that are due and were not rung for `every` milliseconds, by lane; they are marked as rung."""
    ids = (
        sa.select(batch.c.id)
        .where(
            batch.c.state.in_(OWED),
            batch.c.due <= now,
            sa.or_(batch.c.rung.is_(None), batch.c.rung <= now - every),
        )
        .order_by(batch.c.lane, batch.c.due)  # as the index has them: alarms first
        .limit(limit)
        .with_for_update(skip_locked=True)  # what somebody works on need not be rung, and must not be waited for
    )
    rows = tx.execute(batch.update().where(batch.c.id.in_(ids)).values(rung=now).returning(batch.c.lane, batch.c.id))
    lanes: dict[str, list[int]] = {}
    for row in rows:
        lanes.setdefault(row.lane, []).append(row.id)
    return {lane: sorted(found) for lane, found in lanes.items()}


def snapshot(tx: sa.Connection, alert_id: int) -> Row:
    """The facts of an alert that channels must state beside the words."""
    return tx.execute(sa.select(alert).where(alert.c.id == alert_id)).one()


@dataclass(frozen=True, slots=True)
class PastCall:
    """A call of the event's earlier alarms that the far end took: its reference, the sealed addresses in order, its number."""

    ref: str
    addresses: tuple[bytes, ...]
    number: Numbered | None
    expires: int


def past_calls(tx: sa.Connection, held: Held, seqs: Sequence[int]) -> list[PastCall]:
    """The earlier calls that went to any of these deliveries' addresses, the oldest first."""
    mine = sa.select(alert.c.event_key).where(alert.c.id == held.alert_id).scalar_subquery()
    earlier = sa.select(alert.c.id).where(alert.c.event_key == mine, alert.c.id < held.alert_id)
    told, its = delivery.alias("told"), batch.alias("its")
    addresses = sa.select(delivery.c.address_id).where(
        delivery.c.batch_id == held.batch_id, delivery.c.seq.between(seqs[0], seqs[-1])
    )
    rows = tx.execute(
        sa.select(receipt.c.batch_id, receipt.c.ref, receipt.c.peer, alert.c.expires)
        .join(told, sa.and_(told.c.batch_id == receipt.c.batch_id, told.c.seq.between(receipt.c.first_seq, receipt.c.last_seq)))
        .join(its, its.c.id == told.c.batch_id)
        .join(alert, alert.c.id == told.c.alert_id)
        .where(
            told.c.alert_id.in_(earlier),
            told.c.channel == held.channel,
            told.c.purpose == "alarm",
            told.c.address_id.in_(addresses),
            receipt.c.peer == held.peer,  # of what another far end took, this one has never heard
            sa.func.coalesce(told.c.state, its.c.state).in_([str(s) for s in MAY_HAVE_REACHED]),
            receipt.c.origin == "answer",
            receipt.c.ref != "",
        )
        .distinct()
        .order_by(receipt.c.batch_id, receipt.c.ref)
    ).all()
    sent = _sent_under(tx, [(row.batch_id, row.ref) for row in rows])
    numbers = _numbers_of(tx, held.peer, {row.batch_id for row in rows})
    made = []
    for row in rows:
        seqs_and_addresses = sent.get((row.batch_id, row.ref), [])
        if not seqs_and_addresses:
            continue  # everybody in it was erased
        first = seqs_and_addresses[0][0]
        number = next((n for n in numbers if n.batch_id == row.batch_id and n.first_seq <= first <= n.last_seq), None)
        given = as_numbered(number.day, number.n, number.at) if number is not None else None
        made.append(PastCall(row.ref, tuple(sealed for _, sealed in seqs_and_addresses), given, row.expires))
    return made


def _sent_under(tx: sa.Connection, wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], list[tuple[int, bytes]]]:
    """What went out under each of these (batch, reference): seq and sealed address, in order."""
    rows = tx.execute(
        sa.select(receipt.c.batch_id, receipt.c.ref, delivery.c.seq, address.c.sealed)
        .join(
            delivery,
            sa.and_(delivery.c.batch_id == receipt.c.batch_id, delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq)),
        )
        .join(address, address.c.id == delivery.c.address_id)
        .where(
            address.c.sealed.is_not(None),
            receipt.c.batch_id.in_({batch_id for batch_id, _ in wanted}),
            receipt.c.ref.in_({ref for _, ref in wanted}),
            receipt.c.origin == "answer",
        )
        .distinct()
        .order_by(receipt.c.batch_id, receipt.c.ref, delivery.c.seq)
    )
    found: dict[tuple[int, str], list[tuple[int, bytes]]] = {}
    for row in rows:
        found.setdefault((row.batch_id, row.ref), []).append((row.seq, bytes(row.sealed)))
    return found


def _numbers_of(tx: sa.Connection, peer: str, batches: set[int]) -> Sequence[Row]:
    return tx.execute(sa.select(call_number).where(call_number.c.batch_id.in_(batches), call_number.c.peer == peer)).all()


def open_refs(tx: sa.Connection, peer: str, limit: int = 500) -> list[str]:
    """The references of a far end about whose deliveries something is still open, of alerts in force, the newest first."""
    state = sa.func.coalesce(delivery.c.state, batch.c.state)
    owing = sa.select(sa.literal(1)).where(
        callout.c.alert_id == delivery.c.alert_id, callout.c.post_id == delivery.c.post_id, callout.c.state == "open"
    )
    rows = tx.execute(
        sa.select(receipt.c.ref, sa.func.max(receipt.c.id))
        .join(batch, batch.c.id == receipt.c.batch_id)
        .join(alert, alert.c.id == batch.c.alert_id)
        .join(
            delivery,
            sa.and_(delivery.c.batch_id == receipt.c.batch_id, delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq)),
        )
        .where(
            receipt.c.peer == peer,
            receipt.c.origin == "answer",
            receipt.c.ref != "",
            alert.c.state == "active",
            sa.or_(state == State.ACCEPTED, sa.and_(state == State.DELIVERED, owing.exists())),
        )
        .group_by(receipt.c.ref)
        .order_by(sa.func.max(receipt.c.id).desc())
        .limit(limit)
    )
    return [row.ref for row in rows]


def answer_within_of(tx: sa.Connection, batch_id: int) -> tuple[int, int] | None:
    """When the rule of a batch was planned, and within how many seconds it wants an answer; None where it wants none."""
    row = tx.execute(
        sa.select(rule.c.planned, rule.c.answer_within).join(batch, batch.c.rule_id == rule.c.id).where(batch.c.id == batch_id)
    ).first()
    return (row.planned, row.answer_within) if row and row.planned is not None and row.answer_within is not None else None


def still_owed(tx: sa.Connection, held: Held, seqs: Sequence[int]) -> list[int]:
    """Those of a held batch's deliveries that nothing has been decided about: an answer may have made a call needless."""
    return list(
        tx.execute(
            sa.select(delivery.c.seq)
            .where(delivery.c.batch_id == held.batch_id, delivery.c.seq.between(seqs[0], seqs[-1]), delivery.c.state.is_(None))
            .order_by(delivery.c.seq)
        ).scalars()
    )


def roots(row: Row) -> tuple[str, ...]:
    """The regions that an alert names, from its frozen understanding."""
    return tuple(json.loads(row.understood).get("roots", ()))


def has_upkeep(tx: sa.Connection, now: int, every: int) -> bool:
    """True when something is to be rung or a doubt to be decided: a look costs no lock, a write does."""
    due = sa.select(batch.c.id).where(
        batch.c.state.in_(OWED),
        batch.c.due <= now,
        sa.or_(batch.c.rung.is_(None), batch.c.rung <= now - every),
    )
    doubts = sa.select(batch.c.id).where(batch.c.doubt_due <= now, batch.c.state != State.SENDING)
    return any(tx.execute(statement.limit(1)).first() is not None for statement in (due, doubts))
