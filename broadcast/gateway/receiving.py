"""What providers tell us later: understood from the inbox, after it has been kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..channels.base import Callback, Report
from ..errors import Unsupported
from ..ledger import inbox, settling
from ..ledger.inbox import Kept
from ..ledger.settling import Said
from .house import FarEnd, House, log, where

Letter = tuple[str, str, Mapping[str, str], bytes]  # peer, path, headers, body


def keep(house: House, letters: Sequence[Letter]) -> None:
    """Commits callbacks. Only then may they be answered. Raises LedgerUnavailable."""
    with house.ledger.write() as tx:
        inbox.keep(tx, house.ledger.seal, letters, house.now())


def work_inbox(house: House, limit: int = 500) -> int:
    """Understands the oldest callbacks; returns how many. A callback that means nothing stays, marked bad."""
    with house.ledger.read() as tx:
        kept = inbox.unread(tx, house.ledger.seal, limit)
    if not kept or not house.holds("inbox"):
        return 0
    understood, nonsense = _understand(house, kept)
    now = house.now()
    with house.ledger.read() as tx:
        found, unmatched = settling.match(tx, understood)
    with house.ledger.write(patient=True) as tx:
        settling.settle(tx, found, now)
        inbox.keep_unmatched(tx, unmatched, now)
        for letter, reason in nonsense:
            inbox.bad(tx, letter.id, reason, now)
        inbox.done(tx, [one.id for one in kept if one.id not in {letter.id for letter, _ in nonsense}], now)
    return len(kept)


def _understand(house: House, kept: Sequence[Kept]) -> tuple[list[Said], list[tuple[Kept, str]]]:
    by_name = {far_end.peer.name: far_end for far_end in house.far_ends.values()}
    understood: list[Said] = []
    nonsense: list[tuple[Kept, str]] = []
    for letter in kept:
        try:
            understood += _said(house, letter, _reports(by_name, letter))
        except (ValueError, Unsupported) as error:
            nonsense.append((letter, str(error)))
            log.warning("callback %s of peer %s means nothing: it is kept", letter.id, letter.peer)
        except Exception as error:  # noqa: BLE001  a channel with a bug: one callback must not keep all others from being read
            nonsense.append((letter, f"the channel broke: {type(error).__name__}"))
            log.error("callback %s of peer %s: the channel broke: %s", letter.id, letter.peer, where(error))
    return understood, nonsense


def _reports(by_name: Mapping[str, FarEnd], letter: Kept) -> Sequence[Report]:
    far_end = by_name.get(letter.peer)
    if far_end is None:
        raise ValueError(f"no peer {letter.peer!r} is configured any more")
    return far_end.channel.receipts(Callback(letter.path, letter.headers, letter.body))


def _said(house: House, letter: Kept, reports: Sequence[Report]) -> Iterator[Said]:
    for report in reports:
        submitted = int(report.submitted.timestamp() * 1000) if report.submitted else None
        yield Said(letter.id, letter.peer, house.ledger.seal.seal(report.address), report.receipt, submitted)
