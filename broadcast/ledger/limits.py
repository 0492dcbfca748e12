"""What limits a far end, as rows that all workers see: pauses between calls, a budget for each callee, numbers for calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

import sqlalchemy as sa

from .tables import breaker, call_number, dialled, gap

BEIJING = timezone(timedelta(hours=8))
LAST_NUMBER = 9999  # an EBMID has four digits for it (GD/J 082-2018 table 2); 0000 means "may be ignored"


@dataclass(frozen=True, slots=True)
class Pause:
    """A far end that is left alone for now."""

    until: int  # milliseconds
    reason: str


def pauses(tx: sa.Connection, peers: Sequence[str], now: int) -> Mapping[str, Pause]:
    """Which of these far ends may not be called now: their breaker is open, or their last call was too short a time ago."""
    found: dict[str, Pause] = {}
    for row in tx.execute(sa.select(gap).where(gap.c.peer.in_(peers), gap.c.free_at > now)):
        found[row.peer] = Pause(row.free_at, f"{row.peer} wants a pause between calls")
    for row in tx.execute(sa.select(breaker).where(breaker.c.peer.in_(peers), breaker.c.open_until > now)):
        if row.peer not in found or found[row.peer].until < row.open_until:
            found[row.peer] = Pause(row.open_until, f"{row.peer} is left alone after {row.failures} failures: {row.reason}")
    return found


def take_turn(tx: sa.Connection, peer: str, seconds: int, now: int) -> bool:
    """Takes the one call that a far end allows in `seconds`; False when another took it."""
    free_at = now + seconds * 1000
    taken = tx.execute(gap.update().where(gap.c.peer == peer, gap.c.free_at <= now).values(free_at=free_at)).rowcount
    if taken:
        return True
    return bool(
        tx.execute(
            sa.text("INSERT INTO gap (peer, free_at) VALUES (:peer, :free_at) ON CONFLICT (peer) DO NOTHING"),
            {"peer": peer, "free_at": free_at},
            execution_options={"preserve_rowcount": True},
        ).rowcount
    )


def give_turn_back(tx: sa.Connection, peer: str) -> None:
    """The call certainly did not leave: the pause is not owed."""
    tx.execute(gap.update().where(gap.c.peer == peer).values(free_at=0))


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `calls` to one callee within `milliseconds`."""

    calls: int
    milliseconds: int


def free_from(
    tx: sa.Connection, peer: str, addresses: Sequence[int], allowances: Sequence[Allowance], now: int
) -> dict[int, int]:
    """For each of these addresses that may not be called now: from when it may."""
    if not allowances or not addresses:
        return {}
    longest = max(one.milliseconds for one in allowances)
    rows = tx.execute(
        sa.select(dialled.c.address_id, dialled.c.at)
        .where(dialled.c.address_id.in_(addresses), dialled.c.peer == peer, dialled.c.at > now - longest)
        .order_by(dialled.c.at.desc())
    )
    calls: dict[int, list[int]] = {}
    for row in rows:
        calls.setdefault(row.address_id, []).append(row.at)
    waits = {address: max(_free_from(times, one, now) for one in allowances) for address, times in calls.items()}
    return {address: until for address, until in waits.items() if until > now}


def _free_from(times: Sequence[int], allowance: Allowance, now: int) -> int:
    """`times`: of earlier calls, the newest first."""
    within = [at for at in times if at > now - allowance.milliseconds]
    if len(within) < allowance.calls:
        return now
    if allowance.calls == 0:
        return now + allowance.milliseconds
    return within[allowance.calls - 1] + allowance.milliseconds


def spend(tx: sa.Connection, peer: str, addresses: Sequence[int], now: int) -> None:
    """These callees are called now. Failed calls count too (channels.md B)."""
    if addresses:
        tx.execute(dialled.insert(), [{"peer": peer, "address_id": address, "at": now} for address in addresses])


def give_back(tx: sa.Connection, peer: str, addresses: Sequence[int], at: int) -> None:
    """The calls of `at` certainly did not leave: nobody was called."""
    tx.execute(dialled.delete().where(dialled.c.address_id.in_(addresses), dialled.c.peer == peer, dialled.c.at == at))


@dataclass(frozen=True, slots=True)
class Numbered:
    """The number of one call."""

    day: date
    n: int
    at: datetime


def number(tx: sa.Connection, peer: str, batch_id: int, seqs: Sequence[int], now: int) -> Numbered:
    """The number of the call that begins with `seqs[0]`: given once, then the same on every attempt.

    Raises OverflowError when the day's 9,999 are used up.
    """
    own = sa.select(call_number).where(
        call_number.c.batch_id == batch_id, call_number.c.first_seq == seqs[0], call_number.c.peer == peer
    )
    while (row := tx.execute(own).first()) is None:
        day = datetime.fromtimestamp(now / 1000, BEIJING).date().isoformat()
        last = sa.select(sa.func.max(call_number.c.n)).where(call_number.c.peer == peer, call_number.c.day == day)
        n = (tx.execute(last).scalar() or 0) + 1
        if n > LAST_NUMBER:
            raise OverflowError(f"peer {peer}: all {LAST_NUMBER} numbers of {day} are used up")
        # Another worker may draw the same number at the same moment: then nothing is written, and the next one is tried.
        tx.execute(
            sa.text(
                "INSERT INTO call_number (peer, day, n, batch_id, first_seq, last_seq, at)"
                " VALUES (:peer, :day, :n, :batch_id, :first, :last, :at) ON CONFLICT DO NOTHING"
            ),
            {"peer": peer, "day": day, "n": n, "batch_id": batch_id, "first": seqs[0], "last": seqs[-1], "at": now},
        )
    return as_numbered(row.day, row.n, row.at)


def as_numbered(day: str, n: int, at: int) -> Numbered:
    """A row's number as a value."""
    return Numbered(date.fromisoformat(day), n, datetime.fromtimestamp(at / 1000, UTC))
