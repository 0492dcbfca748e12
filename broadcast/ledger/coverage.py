"""What the ledger knows of each region after an alert: one statement for each fact, grouped by region. Reads only, but for `say`.

A message to somebody who holds posts in two villages counts in both: it was sent once, and both have it. So the sum over villages
can be more than the deliveries. A call because of silence (`callout.…`) counts where its post is; what tells a superior about
others (`escalation.…`) tells no village of its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from ..coverage import PHONES, TELLING, Facts, Way
from ..delivery import State
from . import chain
from .questions import moment
from .replies import ANSWERS, MEASURES
from .tables import alert, alert_region, batch, callout, delivery, entry, post, receipt, reply, roster, rule, target

Select: TypeAlias = "sa.Select[*tuple[Any, ...]]"

VILLAGE_TIERS = ("village", "grid", "household")
UNREACHED, REACHED, LOOKED = "village.unreached", "village.reached", "coverage.looked"
_PART = {  # of Way
    State.PLANNED: "waiting",
    State.DEFERRED: "waiting",
    State.SENDING: "waiting",
    State.ACCEPTED: "handed_over",
    State.IN_DOUBT: "handed_over",
    State.DELIVERED: "delivered",
    State.REJECTED: "refused",
    State.FAILED: "refused",
    State.CANCELLED: "withdrawn",
}


def facts(tx: sa.Connection, alert_id: int) -> dict[str, Facts]:
    """By region, of all regions that the alert covers."""
    ways = _ways(tx, alert_id)
    duties = {row.region: row for row in tx.execute(_duties(alert_id))}
    reported, numbers, signed = (_counted(tx, query(alert_id)) for query in (_measures, _callable, _signed))
    doors, first = _households(tx, alert_id), _first(tx, alert_id)
    made = {}
    for region in regions(tx, alert_id):
        duty = duties.get(region)
        made[region] = Facts(
            ways=ways.get(region, {}),
            signed=signed.get(region, 0),
            households=doors.get(region, 0),
            posts=duty.posts if duty else 0,
            acknowledged=duty.acknowledged if duty else 0,
            measures=reported.get(region, 0),
            persons=duty.persons if duty else 0,
            callable=numbers.get(region, 0),
            first_reached=moment(first.get(region)),
        )
    return made


def regions(tx: sa.Connection, alert_id: int) -> dict[str, bool]:
    """Every region that the alert covers → whether it has a risk tag that the hazard concerns."""
    rows = tx.execute(sa.select(alert_region.c.region, alert_region.c.first).where(alert_region.c.alert_id == alert_id))
    return {row.region: bool(row.first) for row in rows}


def channels(tx: sa.Connection, alert_id: int) -> dict[str, bool]:
    """By which channels the plan tells villages → whether that is planned, not held for approval or still owed."""
    planned = sa.func.max(sa.case((rule.c.state == "planned", 1), else_=0))
    to_villages = (rule.c.alert_id == alert_id, rule.c.tier.in_(VILLAGE_TIERS), rule.c.purpose == "alarm")
    rows = tx.execute(sa.select(rule.c.channel, planned).where(*to_villages).group_by(rule.c.channel))
    return {row[0]: bool(row[1]) for row in rows}


def due(tx: sa.Connection, alert_id: int) -> int | None:
    """By when the plan wants something handed over in every village; None: by the plan nothing is owed to any (yet).

    `within` of the rules as they were frozen, from the moment when they were planned (after an approval, then): the latest of the
    alarm lane's rules for villages; where the plan has none, of those for grids; where it has none, of bulk's.
    """
    rows = tx.execute(
        sa.select(rule.c.tier, rule.c.lane, sa.func.max(rule.c.planned + rule.c.within * 1000).label("due"))
        .where(
            rule.c.alert_id == alert_id,
            rule.c.purpose == "alarm",
            rule.c.state == "planned",
            rule.c.planned.is_not(None),
            rule.c.tier.in_(VILLAGE_TIERS),
        )
        .group_by(rule.c.tier, rule.c.lane)
    ).all()
    for tier in ("village", "grid"):
        times = [row.due for row in rows if row.tier == tier and row.lane != "bulk"]
        if times:
            return int(max(times))
    return max((int(row.due) for row in rows), default=None)


# ── the facts, one statement each ──


def _counted(tx: sa.Connection, statement: Select) -> dict[str, int]:
    return {row[0]: int(row[1]) for row in tx.execute(statement)}


def _state() -> sa.ColumnElement[str]:
    return sa.func.coalesce(delivery.c.state, batch.c.state)


def _asking() -> sa.ColumnElement[bool]:
    return sa.and_(batch.c.channel.in_(TELLING), sa.or_(batch.c.purpose == "alarm", batch.c.purpose.startswith("callout.")))


def _of_places(alert_id: int) -> Select:
    """Messages to residents and loudspeakers, where they are."""
    return (
        sa.select(delivery.c.region, batch.c.channel, _state().label("state"), sa.func.count().label("n"))
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(batch.c.alert_id == alert_id, _asking(), delivery.c.post_id.is_(None))
        .group_by(delivery.c.region, batch.c.channel, _state())
    )


def _to_persons(alert_id: int, *more: sa.ColumnElement[bool]) -> sa.Subquery:
    """Messages to persons who hold posts: one row for each region in which they hold one."""
    of_delivery, every = post.alias("of_delivery"), post.alias("every")
    return (
        sa.select(delivery.c.batch_id, delivery.c.seq, every.c.region, batch.c.channel, _state().label("state"))
        .select_from(
            batch.join(delivery, delivery.c.batch_id == batch.c.id)
            .join(of_delivery, of_delivery.c.id == delivery.c.post_id)
            .join(every, every.c.person_id == of_delivery.c.person_id)
        )
        .where(
            batch.c.alert_id == alert_id,
            batch.c.lane != "bulk",
            _asking(),
            sa.or_(every.c.ended.is_(None), every.c.id == of_delivery.c.id),
            *more,
        )
        .distinct()
        .subquery("told")
    )


def _of_persons(alert_id: int) -> Select:
    told = _to_persons(alert_id)
    return sa.select(told.c.region, told.c.channel, told.c.state, sa.func.count().label("n")).group_by(
        told.c.region, told.c.channel, told.c.state
    )


def _ways(tx: sa.Connection, alert_id: int) -> dict[str, dict[str, Way]]:
    counted: dict[str, dict[str, dict[str, int]]] = {}
    for statement in (_of_places(alert_id), _of_persons(alert_id)):
        for row in tx.execute(statement):
            parts = counted.setdefault(row.region, {}).setdefault(row.channel, {})
            part = _PART[State(row.state)]
            parts[part] = parts.get(part, 0) + row.n
    return {region: {channel: Way(**parts) for channel, parts in by.items()} for region, by in counted.items()}


def _duties(alert_id: int) -> Select:
    return (
        sa.select(
            callout.c.region,
            sa.func.count().label("posts"),
            sa.func.count(callout.c.answered).label("acknowledged"),
            sa.func.count(sa.distinct(post.c.person_id)).label("persons"),
            sa.func.min(callout.c.answered).label("first"),
        )
        .join(post, post.c.id == callout.c.post_id)
        .where(callout.c.alert_id == alert_id, callout.c.duty == "acknowledge")
        .group_by(callout.c.region)
    )


def _measures(alert_id: int) -> Select:
    """Posts that owed an answer and whose person reported, by themselves or when they were asked again."""
    said = (
        sa.select(callout.c.region, callout.c.post_id)
        .select_from(
            reply.join(post, post.c.person_id == reply.c.person_id).join(
                callout, sa.and_(callout.c.post_id == post.c.id, callout.c.alert_id == reply.c.alert_id)
            )
        )
        .where(reply.c.alert_id == alert_id, reply.c.verb.in_(MEASURES), callout.c.duty == "acknowledge")
    )
    asked = sa.select(callout.c.region, callout.c.post_id).where(
        callout.c.alert_id == alert_id, callout.c.duty == "measures", callout.c.answered.is_not(None)
    )
    both = sa.union(said, asked).subquery("reported")
    return sa.select(both.c.region, sa.func.count()).group_by(both.c.region)


def _callable(alert_id: int) -> Select:
    """Persons who owe an answer and were addressed by SMS or voice, whatever became of it."""
    of_delivery = post.alias("of_delivery")
    phoned = (
        sa.select(of_delivery.c.person_id)
        .select_from(
            batch.join(delivery, delivery.c.batch_id == batch.c.id).join(of_delivery, of_delivery.c.id == delivery.c.post_id)
        )
        .where(batch.c.alert_id == alert_id, batch.c.lane != "bulk", batch.c.channel.in_(PHONES), batch.c.purpose == "alarm")
    )
    return (
        sa.select(callout.c.region, sa.func.count(sa.distinct(post.c.person_id)))
        .join(post, post.c.id == callout.c.post_id)
        .where(callout.c.alert_id == alert_id, callout.c.duty == "acknowledge", post.c.person_id.in_(phoned))
        .group_by(callout.c.region)
    )


def _answers(alert_id: int) -> Select:
    """Deliveries that somebody said "we have it" to, also where no answer was owed: region, when."""
    return (
        sa.select(delivery.c.region, sa.func.min(reply.c.recorded).label("first"), sa.func.count().label("n"))
        .join(delivery, sa.and_(delivery.c.batch_id == reply.c.batch_id, delivery.c.seq == reply.c.seq))
        .where(
            reply.c.alert_id == alert_id,
            reply.c.verb.in_(ANSWERS),
            delivery.c.post_id.is_not(None),
        )
        .group_by(delivery.c.region)
    )


def _signed(alert_id: int) -> Select:
    answers = _answers(alert_id).subquery("answers")
    return sa.select(answers.c.region, answers.c.n)


def _households(tx: sa.Connection, alert_id: int) -> dict[str, int]:
    """Told at the door, of each task the newest word."""
    newest = (
        sa.select(sa.func.max(reply.c.id))
        .where(reply.c.alert_id == alert_id, reply.c.verb.in_(MEASURES), reply.c.counts != "{}")
        .group_by(reply.c.batch_id, reply.c.seq)
    )
    rows = tx.execute(
        sa.select(delivery.c.region, reply.c.counts)
        .join(delivery, sa.and_(delivery.c.batch_id == reply.c.batch_id, delivery.c.seq == reply.c.seq))
        .where(reply.c.id.in_(newest))
    )
    total: dict[str, int] = {}
    for row in rows:
        total[row.region] = total.get(row.region, 0) + int(json.loads(row.counts).get("households", 0))
    return total


def _first(tx: sa.Connection, alert_id: int) -> dict[str, int]:
    """When each region was first reached: by the far end's word of when, else by when we heard it."""
    times: dict[str, int] = {}
    for statement in (_first_place(alert_id), _first_person(alert_id), _first_answer(alert_id), _first_signed(alert_id)):
        for region, at in tx.execute(statement):
            if at is not None:
                times[region] = min(at, times.get(region, at))
    return times


def _when() -> sa.ColumnElement[int]:
    return sa.func.min(sa.func.coalesce(receipt.c.at, receipt.c.recorded))


def _first_place(alert_id: int) -> Select:
    return (
        sa.select(delivery.c.region, _when())
        .select_from(
            batch.join(receipt, receipt.c.batch_id == batch.c.id).join(
                delivery,
                sa.and_(delivery.c.batch_id == batch.c.id, delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq)),
            )
        )
        .where(batch.c.alert_id == alert_id, _asking(), receipt.c.state == State.DELIVERED, delivery.c.post_id.is_(None))
        .group_by(delivery.c.region)
    )


def _first_person(alert_id: int) -> Select:
    told = _to_persons(alert_id)
    return (
        sa.select(told.c.region, _when())
        .join(
            receipt,
            sa.and_(receipt.c.batch_id == told.c.batch_id, told.c.seq.between(receipt.c.first_seq, receipt.c.last_seq)),
        )
        .where(receipt.c.state == State.DELIVERED)
        .group_by(told.c.region)
    )


def _first_answer(alert_id: int) -> Select:
    duties = _duties(alert_id).subquery("duties")
    return sa.select(duties.c.region, duties.c.first)


def _first_signed(alert_id: int) -> Select:
    answers = _answers(alert_id).subquery("answers")
    return sa.select(answers.c.region, answers.c.first)


# ── while the alert is running ──


def reached(tx: sa.Connection, alert_id: int, among: Iterable[str]) -> set[str]:
    """Those of these regions of which `coverage.reach` says that they are reached; the cheap questions first.

    Residents' deliveries, of which there may be half a million, are looked through only for what nothing else has reached.
    """
    wanted = set(among)
    left = wanted - {region for region, told in _households(tx, alert_id).items() if told}
    for question in (_answered_in, _measures, _signed, _persons_in, _places_in):
        if left:
            left -= set(tx.execute(question(alert_id)).scalars())
    if left:
        left -= set(tx.execute(_places_in(alert_id, bulk=True).where(delivery.c.region.in_(sorted(left)))).scalars())
    return wanted - left


def _answered_in(alert_id: int) -> Select:
    return sa.select(callout.c.region).where(
        callout.c.alert_id == alert_id, callout.c.duty == "acknowledge", callout.c.answered.is_not(None)
    )


def _persons_in(alert_id: int) -> Select:
    return sa.select(_to_persons(alert_id, _state() == State.DELIVERED).c.region)


def _places_in(alert_id: int, *, bulk: bool = False) -> Select:
    return (
        sa.select(delivery.c.region)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(
            batch.c.alert_id == alert_id,
            _asking(),
            batch.c.lane == "bulk" if bulk else batch.c.lane != "bulk",
            delivery.c.post_id.is_(None),
            _state() == State.DELIVERED,
        )
        .distinct()
    )


@dataclass(frozen=True, slots=True)
class Said:
    """What the chain of an alert says of its villages."""

    looked: bool  # the villages were looked at when the plan's time was over
    unreached: Mapping[str, int]  # then reached by nobody, and not since: region → when that was said


def watched(tx: sa.Connection) -> list[int]:
    """The alerts in force, drills too, that tell people of a danger: not tests, and not that it is over."""
    return list(
        tx.execute(
            sa.select(alert.c.id)
            .where(alert.c.state == "active", alert.c.status.in_(("Actual", "Exercise")), ~alert.c.stand_down)
            .order_by(alert.c.id)
        ).scalars()
    )


def said(tx: sa.Connection, alert_id: int) -> Said:
    """Read from the entries: whoever takes over the sweep knows what was said before."""
    rows = tx.execute(
        sa.select(entry.c.kind, entry.c.at, entry.c.body)
        .where(entry.c.chain == chain.of_alert(alert_id), entry.c.kind.in_((LOOKED, UNREACHED, REACHED)))
        .order_by(entry.c.n)
    ).all()
    open_: dict[str, int] = {}
    for row in rows:
        region = json.loads(row.body).get("region", "")
        if row.kind == UNREACHED:
            open_[region] = row.at
        elif row.kind == REACHED:
            open_.pop(region, None)
    return Said(any(row.kind == LOOKED for row in rows), open_)


def say(
    tx: sa.Connection, alert_id: int, looked_at: Collection[str], there: Collection[str], now: int
) -> tuple[set[str], set[str]]:
    """Writes what is new: (reached by nobody, reached after all). `there`: those of the villages looked at that are reached.

    The alert's row is locked: two sweeps for a moment must not say it twice, and of an alert that was closed meanwhile nothing is
    said any more. Who was found is looked up before, so that nobody waits for it: what is reached stays reached.
    """
    state = tx.execute(sa.select(alert.c.state).where(alert.c.id == alert_id).with_for_update()).scalar()
    if state != "active":
        return set(), set()
    known = said(tx, alert_id)
    silent = set() if known.looked else set(looked_at) - set(there)
    late = known.unreached.keys() & set(there)
    name = chain.of_alert(alert_id)
    if not known.looked:
        chain.append(tx, name, LOOKED, now, {"villages": len(looked_at), "reached": len(there)})
    for kind, found in ((UNREACHED, silent), (REACHED, late)):
        if found:
            chain.append_all(tx, name, kind, now, [{"region": region} for region in sorted(found)])
    return silent, late


def unreached(tx: sa.Connection) -> dict[int, tuple[str, int]]:
    """Alerts in force with villages that were said to be reached by nobody, and are not since: → status, how many."""
    statuses = dict(tx.execute(sa.select(alert.c.id, alert.c.status).where(alert.c.state == "active")).all())
    counts = {alert_id: len(said(tx, alert_id).unreached) for alert_id in watched(tx)}
    return {alert_id: (statuses[alert_id], n) for alert_id, n in counts.items() if n}


def residents(tx: sa.Connection, channel: str) -> dict[str, int]:
    """Region → residents' numbers on this channel in the roster in force, by the index that fan-out walks."""
    rows = tx.execute(
        sa.select(target.c.region, sa.func.count())
        .where(
            target.c.audience == "resident",
            target.c.channel == channel,
            target.c.roster_id == sa.select(roster.c.id).where(roster.c.in_force).scalar_subquery(),
        )
        .group_by(target.c.region)
    )
    return {row[0]: row[1] for row in rows}
