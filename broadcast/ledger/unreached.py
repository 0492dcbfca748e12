"""Who was owed a warning and was not reached, now or as it was known at a given time, and why on each channel.

A post was reached when any delivery to its person was accepted or delivered, or when the person or the post's duty was answered
(an answer of the deputy answers the duty). Any other target was reached when a delivery to its address was. Whoever may have
been reached (in doubt, or in a worker's hands) is told apart from whoever certainly was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ..delivery import REACHED, State, follow
from . import replies, searching
from .engine import Row
from .searching import Wanted
from .tables import address, alert, batch, callout, delivery, person, post, receipt, reply, roster, target

OWED = ("alarm", "stand_down", "stop")  # what tells of the warning or of its end; not requests to approve, not calls about others
NOT_REACHED, IN_DOUBT = "not reached", "in doubt"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Way:
    """One delivery that was to reach somebody, and how it stood."""

    delivery: str  # batch.seq
    channel: str
    purpose: str
    state: State
    reason: str


@dataclass(slots=True)
class Then:
    """What was known of deliveries before a moment (milliseconds): their receipts until then, put together again."""

    tx: sa.Connection
    moment: int | None  # None: now
    _of_batch: dict[int, dict[int, tuple[State, str]]] = field(default_factory=dict)

    def way(self, row: Row) -> Way:
        """How this delivery stood. The row: batch_id, seq, channel, purpose, own, of_batch, reason, started, ended."""
        state, reason = State(row.own or row.of_batch), row.reason or ""
        if self.moment is not None:
            state, reason = self._folded(row, state, reason)
        return Way(f"{row.batch_id}.{row.seq}", row.channel, row.purpose, state, reason)

    def _folded(self, row: Row, state: State, reason: str) -> tuple[State, str]:
        assert self.moment is not None
        if row.batch_id not in self._of_batch:
            self._of_batch[row.batch_id] = self._fold(row.batch_id)
        known = self._of_batch[row.batch_id].get(row.seq)
        if known is not None:
            return known
        if row.own is None and row.ended is not None and row.ended < self.moment:
            return state, reason  # it ended without a word from a far end: called off
        if row.started is not None and row.started < self.moment:
            return State.SENDING, "no answer had come by then"
        return State.PLANNED, "it had not been tried by then"

    def _fold(self, batch_id: int) -> dict[int, tuple[State, str]]:
        found: dict[int, tuple[State, str]] = {}
        said = (receipt.c.first_seq, receipt.c.last_seq, receipt.c.state, receipt.c.code, receipt.c.detail)
        its = (receipt.c.batch_id == batch_id, receipt.c.recorded < self.moment)
        for row in self.tx.execute(sa.select(*said).where(*its).order_by(receipt.c.id)):
            for seq in range(row.first_seq, row.last_seq + 1):
                before = found.get(seq, (State.PLANNED, ""))
                after = follow(before[0], State(row.state))
                found[seq] = (after, row.code or row.detail) if after is not before[0] else before
        return found


def alerts(tx: sa.Connection, wanted: Wanted) -> list[int]:
    """The alerts that are asked about, as far as they had come in: nobody is owed a warning that nobody has yet."""
    found = sa.select(alert.c.id).order_by(alert.c.id)
    if wanted.alert_id is not None:
        found = found.where(alert.c.id == wanted.alert_id)
    if wanted.since is not None:
        found = found.where(alert.c.received >= wanted.since)
    if wanted.until is not None:
        found = found.where(alert.c.received < wanted.until)
    return list(tx.execute(found).scalars())


# ── posts ──


def posts(tx: sa.Connection, alert_id: int, wanted: Wanted, after: int) -> tuple[list[dict[str, Any]], int | None]:
    """The next posts of an alert that were not reached, and after which post to go on; None when there are no more."""
    rows = tx.execute(_posts(wanted, after)).all()
    owed = _owed(tx, alert_id, [row.post for row in rows])
    those = [row for row in rows if row.post in owed]
    ways = _ways_of_persons(tx, alert_id, {row.person_number for row in those}, Then(tx, wanted.until))
    answered = _answered(tx, alert_id, those, wanted.until)
    found = []
    for row in those:
        mine = ways.get(row.person_number, ())
        if row.post not in answered and not any(way.state in REACHED for way in mine):
            unit = f"{alert_id}.p.{row.post}"
            found.append(_unreached(unit, alert_id, "post", dict(row._mapping), mine))
    return found, rows[-1].post if len(rows) == _PAGE else None


def _posts(wanted: Wanted, after: int) -> searching.Select:
    found = (
        sa.select(
            post.c.id.label("post"),
            post.c.role,
            post.c.rank,
            post.c.region,
            post.c.person_id.label("person_number"),
            person.c.key.label("person_id"),
            person.c.name.label("person"),
        )
        .join(person, person.c.id == post.c.person_id)
        .where(post.c.id > after, *searching.of_post(wanted))
    )
    if wanted.region is not None:
        found = found.where(searching.in_region(post.c.region, wanted.region))
    return found.order_by(post.c.id).limit(_PAGE)


def _owed(tx: sa.Connection, alert_id: int, numbers: Sequence[int]) -> set[int]:
    """Of these posts those that owe an answer, also when no channel reaches them, and those for which something was planned."""
    duties = sa.select(callout.c.post_id).where(
        callout.c.alert_id == alert_id, callout.c.duty == "acknowledge", callout.c.post_id.in_(numbers)
    )
    planned = sa.select(delivery.c.post_id).where(
        delivery.c.post_id.in_(numbers), delivery.c.alert_id == alert_id, delivery.c.purpose.in_(OWED)
    )
    return set(tx.execute(duties).scalars()) | set(tx.execute(planned).scalars())


_WAY = (
    delivery.c.batch_id,
    delivery.c.seq,
    delivery.c.channel,
    delivery.c.purpose,
    delivery.c.state.label("own"),
    batch.c.state.label("of_batch"),
    sa.func.coalesce(delivery.c.reason, batch.c.reason).label("reason"),
    batch.c.started,
    batch.c.ended,
)
_TELLS = sa.or_(delivery.c.purpose.in_(OWED), delivery.c.purpose.startswith("callout."))


def _ways_of_persons(tx: sa.Connection, alert_id: int, persons: set[int], then: Then) -> dict[int, list[Way]]:
    """person → the deliveries to any of their posts; and to an address of theirs that was told under somebody else's post."""
    theirs = tx.execute(sa.select(post.c.id, post.c.person_id).where(post.c.person_id.in_(persons)))
    holder: dict[int, int] = {row.id: row.person_id for row in theirs}
    own = (
        sa.select(delivery.c.post_id, *_WAY)
        .select_from(delivery.join(batch, batch.c.id == delivery.c.batch_id))
        .where(delivery.c.post_id.in_(list(holder)), delivery.c.alert_id == alert_id, _TELLS)
        .order_by(delivery.c.batch_id, delivery.c.seq)
    )
    found: dict[int, dict[str, Way]] = {}
    for row in tx.execute(own):
        way = then.way(row)
        # A call because of silence that had not been made by then was not owed yet.
        if way.purpose in OWED or way.state is not State.PLANNED or then.moment is None:
            found.setdefault(holder[row.post_id], {})[way.delivery] = way
    missed = {one for one in persons if not any(way.state in REACHED for way in found.get(one, {}).values())}
    owners: dict[int, list[int]] = {}
    for address_id, owner in tx.execute(_addresses(missed)):
        owners.setdefault(address_id, []).append(owner)
    for row in _to_addresses(tx, alert_id, list(owners)):
        for owner in owners[row.address_id]:
            way = then.way(row)
            found.setdefault(owner, {})[way.delivery] = way
    return {owner: list(ways.values()) for owner, ways in found.items()}


def _addresses(persons: set[int]) -> searching.Select:
    in_force = sa.select(roster.c.id).where(roster.c.in_force).scalar_subquery()
    return (
        sa.select(target.c.address_id, target.c.person_id)
        .where(target.c.person_id.in_(persons), target.c.roster_id == in_force)
        .distinct()
    )


def _to_addresses(tx: sa.Connection, alert_id: int, addresses: Sequence[int]) -> Iterator[Row]:
    """What an alert sent to these addresses: the columns before them in an index are few, so each is tried."""
    way = sa.select(batch.c.channel, batch.c.purpose).where(batch.c.alert_id == alert_id).distinct().subquery("way")
    same = sa.and_(delivery.c.channel == way.c.channel, delivery.c.purpose == way.c.purpose)
    source = way.join(delivery, sa.and_(delivery.c.alert_id == alert_id, same)).join(batch, batch.c.id == delivery.c.batch_id)
    for n in range(0, len(addresses), _PAGE):
        some = addresses[n : n + _PAGE]
        found = sa.select(delivery.c.address_id, *_WAY).select_from(source).where(delivery.c.address_id.in_(some), _TELLS)
        yield from tx.execute(found)


def _answered(tx: sa.Connection, alert_id: int, owed: Sequence[Row], moment: int | None) -> set[int]:
    """Those of these posts whose duty or whose person has answered, before the moment."""
    numbers, persons = [row.post for row in owed], {row.person_number for row in owed}
    duties = sa.select(callout.c.post_id).where(
        callout.c.alert_id == alert_id,
        callout.c.duty == "acknowledge",
        callout.c.post_id.in_(numbers),
        callout.c.state == "answered",
    )
    answers = sa.select(reply.c.person_id).where(
        reply.c.alert_id == alert_id, reply.c.person_id.in_(persons), reply.c.verb.in_(replies.ANSWERS)
    )
    if moment is not None:
        duties = duties.where(callout.c.answered < moment)
        answers = answers.where(reply.c.recorded < moment)
    said = set(tx.execute(answers).scalars())
    return set(tx.execute(duties).scalars()) | {row.post for row in owed if row.person_number in said}


# ── targets without a post: residents, loudspeakers, other platforms ──


def targets(
    tx: sa.Connection, alert_id: int, batch_id: int, wanted: Wanted, after: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Of one batch, the next targets that were not reached, and after which seq to go on; None when there are no more."""
    then = Then(tx, wanted.until)
    rows = tx.execute(_deliveries_to_targets(batch_id, wanted, after)).all()
    missed = [row for row in rows if then.way(row).state not in REACHED]
    ways: dict[int, list[Way]] = {}
    for row in _to_addresses(tx, alert_id, list({row.address_id for row in missed})):
        ways.setdefault(row.address_id, []).append(then.way(row))
    found = []
    for row in missed:
        mine = sorted(ways[row.address_id], key=lambda way: [int(part) for part in way.delivery.split(".")])
        told_first = next(way for way in mine if way.purpose in OWED)  # of a stop and a stand-down: one line
        if told_first.delivery == f"{row.batch_id}.{row.seq}" and not any(way.state in REACHED for way in mine):
            facts = {"region": row.region, "address": row.sealed}
            found.append(_unreached(f"{alert_id}.t.{row.batch_id}.{row.seq}", alert_id, "target", facts, mine))
    return found, rows[-1].seq if len(rows) == _PAGE else None


def _deliveries_to_targets(batch_id: int, wanted: Wanted, after: int) -> searching.Select:
    found = (
        sa.select(delivery.c.address_id, delivery.c.region, address.c.sealed, *_WAY)
        .select_from(delivery.join(batch, batch.c.id == delivery.c.batch_id))
        .join(address, address.c.id == delivery.c.address_id)
        .where(
            delivery.c.batch_id == batch_id, delivery.c.seq > after, delivery.c.post_id.is_(None), delivery.c.purpose.in_(OWED)
        )
    )
    if wanted.region is not None:
        found = found.where(searching.in_region(delivery.c.region, wanted.region))
    if wanted.until is None:
        state = sa.func.coalesce(delivery.c.state, batch.c.state)
        found = found.where(state.not_in([str(one) for one in REACHED]))
    return found.order_by(delivery.c.seq).limit(_PAGE)


def _unreached(unit: str, alert_id: int, kind: str, facts: Mapping[str, Any], ways: Sequence[Way]) -> dict[str, Any]:
    doubt = any(way.state in (State.IN_DOUBT, State.SENDING) for way in ways)
    columns = ("region", "post", "role", "rank", "person_id", "person", "address")
    return {
        "unreached": unit,
        "alert_id": alert_id,
        "kind": kind,
        "known": IN_DOUBT if doubt else NOT_REACHED,
        **{name: facts.get(name) for name in columns},
        "ways": list(ways),
    }
