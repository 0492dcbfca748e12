"""What providers tell us later: understood from the inbox, after it has been kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ..channels.base import Callback, Condition, Heard, Reply, Report
from ..errors import BroadcastError, NotFound, Unsupported
from ..ledger import conditions, inbox, replies, sending, settling
from ..ledger.conditions import Seen
from ..ledger.inbox import Kept
from ..ledger.replies import Told
from ..ledger.settling import Said
from . import keys
from .house import House, log, where

Letter = tuple[str, str, Mapping[str, str], bytes]  # peer, path, headers, body
EARLY_SECONDS = 1.0  # how often replies are looked for that came before our own commit


def keep(house: House, letters: Sequence[Letter]) -> None:
    """Commits callbacks. Only then may they be answered. Raises LedgerUnavailable."""
    with house.ledger.write() as tx:
        inbox.keep(tx, house.ledger.seal, letters, house.now())


def work_inbox(house: House, limit: int = 500) -> int:
    """Understands the oldest callbacks; returns how many. A callback that means nothing stays, marked bad."""
    looks = house.is_time("early replies", EARLY_SECONDS)
    with house.ledger.read() as tx:
        kept = inbox.unread(tx, house.ledger.seal, limit)
        early = looks and replies.has_early(tx, house.now())
    if not (kept or early) or not house.holds("inbox"):
        return 0
    taken = 0
    if early:
        with house.ledger.write() as tx:
            taken = replies.take_early(tx, house.now())
    if kept:
        _work(house, kept)
    return len(kept) + taken


def _work(house: House, kept: Sequence[Kept]) -> None:
    """All in one commit; when that cannot be, each alone: a callback is unsigned, and must not shut the inbox for all others."""
    try:
        _apply(house, kept)
    except BroadcastError:
        raise
    except Exception as error:  # noqa: BLE001  the database refuses what one of them says
        if len(kept) > 1:
            for letter in kept:
                _work(house, [letter])
            return
        [letter] = kept
        log.error("callback %s of peer %s cannot be applied: %s", letter.id, letter.peer, where(error))
        with house.ledger.write() as tx:
            inbox.bad(tx, letter.id, f"it cannot be applied: {type(error).__name__}", house.now())


def hear(house: House, peer: str, heard: Sequence[Heard]) -> None:
    """What a far end says that has no callbacks to keep: a loopback in a drill. It goes the way of a callback's meaning."""
    if peer not in house.peers:
        raise NotFound(f"no peer {peer!r} is configured")
    letter = Kept(0, peer, "", {}, b"")
    _write(house, [(letter, one) for one in heard], [], [])


def _apply(house: House, kept: Sequence[Kept]) -> None:
    understood, nonsense = _understand(house, kept)
    _write(house, understood, nonsense, [one.id for one in kept if one.id not in {letter.id for letter, _ in nonsense}])


def _write(
    house: House, understood: Sequence[tuple[Kept, Heard]], nonsense: Sequence[tuple[Kept, str]], done: Sequence[int]
) -> None:
    now = house.now()
    said = [_said(house, letter, one) for letter, one in understood if isinstance(one, Report)]
    told = [_told(house, letter, one) for letter, one in understood if isinstance(one, Reply)]
    seen = [_seen(letter, one) for letter, one in understood if isinstance(one, Condition)]
    with house.ledger.read() as tx:
        found, unmatched = settling.match(tx, said)
    with house.ledger.write(patient=not told) as tx:  # an answer stops further calls: it does not wait for planning
        for one in told:  # before the reports: it locks batches, and a worker locks them before their deliveries too
            replies.take(tx, one, now)
        if told:  # what an answer has just withdrawn is not what it was when we looked
            found, unmatched = settling.match(tx, said)
        settling.settle(tx, found, now)
        inbox.keep_unmatched(tx, unmatched, now)
        conditions.note(tx, seen, now)
        for letter, reason in nonsense:
            inbox.bad(tx, letter.id, reason, now)
        inbox.done(tx, done, now)


def _understand(house: House, kept: Sequence[Kept]) -> tuple[list[tuple[Kept, Heard]], list[tuple[Kept, str]]]:
    understood: list[tuple[Kept, Heard]] = []
    nonsense: list[tuple[Kept, str]] = []
    for letter in kept:
        try:
            understood += [(letter, one) for one in _heard(house, letter)]
        except (ValueError, Unsupported) as error:
            nonsense.append((letter, str(error)))
            log.warning("callback %s of peer %s means nothing: it is kept", letter.id, letter.peer)
        except Exception as error:  # noqa: BLE001  a channel with a bug: one callback must not keep all others from being read
            nonsense.append((letter, f"the channel broke: {type(error).__name__}"))
            log.error("callback %s of peer %s: the channel broke: %s", letter.id, letter.peer, where(error))
    return understood, nonsense


def _heard(house: House, letter: Kept) -> Iterable[Heard]:
    far_end = house.peers.get(letter.peer)
    if far_end is None:
        raise ValueError(f"no peer {letter.peer!r} is configured any more")
    return far_end.channel.read(Callback(letter.path, letter.headers, letter.body))


def _said(house: House, letter: Kept, one: Report) -> Said:
    address = house.ledger.seal.seal(one.address) if one.address else b""
    receipt = sending.storable(one.receipt)
    return Said(letter.id, letter.peer, address, receipt, _millis(one.submitted), one.region, keys.read(house, one.key))


def _told(house: House, letter: Kept, one: Reply) -> Told:
    seal = house.ledger.seal
    return Told(
        verb=str(one.verb),
        how=house.peers[letter.peer].peer.channel,
        peer=letter.peer,
        said=seal.seal(one.said) if one.said else b"",
        at=_millis(one.at),
        delivery=keys.read(house, one.key),
        ref=one.ref,
        address=seal.seal(one.address) if one.address else b"",
        alert_ending=one.alert_ending,
        counts=one.counts,
    )


def _seen(letter: Kept, one: Condition) -> Seen:
    return Seen(letter.peer, one.address, one.region, str(one.standing), one.detail, _millis(one.at))


def _millis(moment: datetime | None) -> int | None:
    return int(moment.timestamp() * 1000) if moment else None
