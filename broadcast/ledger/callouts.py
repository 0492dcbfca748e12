"""叫应 in the ledger: how far each callout has come, who is asked on its rung, and the calls that are made for it.

Every step is one transaction over rows that are checked again in it: a callout that was answered meanwhile takes no step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from ..delivery import State
from . import chain, proof
from .engine import Row
from .fanout import Slice
from .tables import alert, asked, batch, called, callout, delivery, post, reply, roster, rule, target, wording

T = TypeVar("T")

DUTIES = ("release", "acknowledge", "measures")
CALLS_AT_ONCE = 10  # of one batch: a call each, and the lease is renewed for each
STUCK_AFTER = 30_000  # milliseconds that a step may be late before it is an alarm


def _in_force() -> sa.ColumnElement[bool]:
    """Of a callout and its alert: an answer is still wanted. An approval is before the alert goes out, too."""
    waits = sa.and_(callout.c.duty == "release", alert.c.state.in_(("waiting", "undecided")))
    return sa.or_(alert.c.state == "active", waits)


def due(tx: sa.Connection, now: int, limit: int = 5000) -> list[Row]:
    """Open callouts of alerts in force whose next step has come, with the role and person of their post."""
    return list(
        tx.execute(
            sa.select(callout, post.c.role, post.c.person_id)
            .join(post, post.c.id == callout.c.post_id)
            .join(alert, alert.c.id == callout.c.alert_id)
            .where(
                callout.c.state == "open",
                callout.c.duty.in_(DUTIES),
                callout.c.next_step <= now,
                _in_force(),
            )
            .order_by(callout.c.next_step, callout.c.id)
            .limit(limit)
        )
    )


def has_due(tx: sa.Connection, now: int) -> bool:
    """True when `due` or `without_measures` has something."""
    steps = sa.select(callout.c.id).where(callout.c.state == "open", callout.c.duty.in_(DUTIES), callout.c.next_step <= now)
    measures = sa.select(callout.c.id).where(callout.c.measures_due <= now)
    return any(tx.execute(statement.limit(1)).first() is not None for statement in (steps, measures))


def plans_of(tx: sa.Connection, alerts: Collection[int]) -> dict[int, str]:
    """What was frozen with these alerts, as JSON."""
    rows = tx.execute(sa.select(alert.c.id, alert.c.understood).where(alert.c.id.in_(alerts)))
    return {row.id: row.understood for row in rows}


def wait(tx: sa.Connection, steps: Mapping[int, int | None]) -> None:
    """Nothing to do for these callouts before their time; None: nothing more by itself."""
    by_time: dict[int | None, list[int]] = {}
    for number, until in steps.items():
        by_time.setdefault(until, []).append(number)
    for until, numbers in by_time.items():
        for some in _chunks(numbers):
            tx.execute(callout.update().where(callout.c.id.in_(some), callout.c.state == "open").values(next_step=until))


@dataclass(frozen=True, slots=True)
class Climbing:
    """One callout on its way to the next rung, with the posts that are asked there."""

    row: Row
    rung: str
    posts: tuple[int, ...]
    skipped: bool
    reason: str


def climb(tx: sa.Connection, steps: Sequence[Climbing], now: int) -> None:
    """Writes who is asked now; a rung with nobody on it is said aloud. One statement for all who climb alike."""
    can_be_called = reachable(tx, {number for one in steps for number in one.posts})
    alike: dict[tuple[str, str, int], list[int]] = {}
    for one in steps:
        alike.setdefault((one.row.step, one.rung, len(can_be_called & set(one.posts))), []).append(one.row.id)
    moved: set[int] = set()
    for (step, rung, number), ids in alike.items():
        moved |= _move(tx, ids, (callout.c.step == step,), {"step": rung, "asked": number, "calls": 0, "next_step": now})
    climbed = [one for one in steps if one.row.id in moved]
    who: dict[int, list[dict[str, Any]]] = {}
    for one in climbed:
        those = dict.fromkeys(one.posts)
        rows = [{"callout_id": one.row.id, "post_id": number, "rung": one.rung, "at": now} for number in those]
        who.setdefault(one.row.alert_id, []).extend(rows)
    for alert_id, rows in who.items():
        proof.add(tx, asked, rows, chain.of_alert(alert_id))
        chain.append_all(tx, chain.of_alert(alert_id), "callout.climbed", now, list(_told(alert_id, climbed)))


def _told(alert_id: int, climbed: Sequence[Climbing]) -> Iterable[dict[str, Any]]:
    """What the entries say: one for all who climb to the same rung for the same reason."""
    alike: dict[tuple[str, bool, str], list[dict[str, Any]]] = {}
    for one in climbed:
        if one.row.alert_id == alert_id:
            its = {"callout": one.row.id, "region": one.row.region, "role": one.row.role, "asked": len(one.posts)}
            alike.setdefault((one.rung, one.skipped, one.reason), []).append(its)
    for (rung, skipped, reason), those in alike.items():
        for some in _chunks(those):
            yield {"rung": rung, "skipped": skipped, "reason": reason, "callouts": some}


def _move(
    tx: sa.Connection, numbers: Sequence[int], still: Sequence[sa.ColumnElement[bool]], values: Mapping[str, Any]
) -> set[int]:
    """Those of these callouts that are open, and still as they were when their step was decided; they are changed."""
    moved: set[int] = set()
    for some in _chunks(numbers):
        those = callout.update().where(callout.c.id.in_(some), callout.c.state == "open", *still)
        moved |= set(tx.execute(those.values(**values).returning(callout.c.id)).scalars())
    return moved


def reachable(tx: sa.Connection, posts: Collection[int]) -> set[int]:
    """Those of these posts whose person has a number to be called at."""
    found: set[int] = set()
    for some in _chunks(list(posts)):
        rows = tx.execute(
            sa.select(post.c.id)
            .join(target, target.c.person_id == post.c.person_id)
            .where(post.c.id.in_(some), target.c.channel == "voice", target.c.roster_id == _roster_in_force())
            .distinct()
        )
        found |= set(rows.scalars())
    return found


def holders(
    tx: sa.Connection, roles: Collection[str], ranks: Sequence[str] = ("A", "B")
) -> dict[tuple[str, str, str], list[int]]:
    """(role, region, rank) → the posts of these roles."""
    rows = tx.execute(
        sa.select(post.c.id, post.c.role, post.c.region, post.c.rank)
        .where(post.c.role.in_(roles), post.c.rank.in_(ranks), post.c.ended.is_(None))
        .order_by(post.c.id)
    )
    found: dict[tuple[str, str, str], list[int]] = {}
    for row in rows:
        found.setdefault((row.role, row.region, row.rank), []).append(row.id)
    return found


def roles_asked(tx: sa.Connection, numbers: Collection[int], rung: str) -> dict[int, set[str]]:
    """For each callout the roles of the posts that were asked on a rung so far."""
    found: dict[int, set[str]] = {}
    for some in _chunks(list(numbers)):
        rows = tx.execute(
            sa.select(asked.c.callout_id, post.c.role)
            .join(post, post.c.id == asked.c.post_id)
            .where(asked.c.callout_id.in_(some), asked.c.rung == rung)
        )
        for row in rows:
            found.setdefault(row.callout_id, set()).add(row.role)
    return found


@dataclass(frozen=True, slots=True)
class Calling:
    """One callout for which whoever stands on its rung is called now, for the nth time."""

    row: Row
    rung: str
    nth: int


def call(tx: sa.Connection, alert_id: int, steps: Sequence[Calling], every: int, now: int) -> list[Slice]:
    """Makes the calls of these steps of one alert: batches of the alarm lane. The caller commits, then rings.

    Whoever is asked by several callouts is called once for all of them.
    """
    taken = _take(tx, steps, now, every)
    if not taken:
        return []
    by_purpose: dict[str, dict[int, set[int]]] = {}  # purpose → post asked → callouts
    for one, number in _asked_by(tx, taken):
        kind = _kind(one)
        by_purpose.setdefault(f"{kind}.{one.rung}.{one.nth}", {}).setdefault(number, set()).add(one.row.id)
    made: list[Slice] = []
    rule_id = next((one.row.rule_id for one in taken if one.row.rule_id is not None), None)
    for purpose, posts in by_purpose.items():
        made += _batches(tx, alert_id, rule_id, purpose, posts, every, now)
    return made


def _kind(one: Calling) -> str:
    """What the call is for: the first word of its purpose."""
    if one.row.duty == "release":
        return "release"
    return "callout" if one.rung in ("principal", "deputy") else "escalation"


def _take(tx: sa.Connection, steps: Sequence[Calling], now: int, every: int) -> list[Calling]:
    """Those of these steps that nobody has taken, and no answer has made needless, meanwhile."""
    alike: dict[tuple[str, int, int], list[int]] = {}
    for one in steps:
        alike.setdefault((one.row.step, one.row.calls, one.nth), []).append(one.row.id)
    taken: set[int] = set()
    for (step, calls, nth), ids in alike.items():
        still = (callout.c.step == step, callout.c.calls == calls)
        taken |= _move(tx, ids, still, {"calls": nth, "last_call": now, "next_step": now + every * 1000})
    return [one for one in steps if one.row.id in taken]


def _asked_by(tx: sa.Connection, taken: Sequence[Calling]) -> Iterable[tuple[Calling, int]]:
    """Each step with every post that is asked for it."""
    by_id = {one.row.id: one for one in taken}
    for one in taken:
        if one.rung == "principal":
            yield one, one.row.post_id
    others = [one.row.id for one in taken if one.rung != "principal"]
    for some in _chunks(others):
        rows = tx.execute(sa.select(asked.c.callout_id, asked.c.post_id, asked.c.rung).where(asked.c.callout_id.in_(some)))
        for row in rows:
            if by_id[row.callout_id].rung == row.rung:
                yield by_id[row.callout_id], row.post_id


def _batches(
    tx: sa.Connection, alert_id: int, rule_id: int | None, purpose: str, posts: Mapping[int, set[int]], every: int, now: int
) -> list[Slice]:
    kind = purpose.partition(".")[0]
    wording_id = _wording(tx, alert_id, "alarm" if kind == "callout" else kind)
    if wording_id is None or rule_id is None:
        return []
    targets = _targets(tx, list(posts))
    by_address: dict[int, list[Row]] = {}
    for row in targets:
        by_address.setdefault(row.address_id, []).append(row)
    numbered = _numbered(tx, alert_id, purpose, list(by_address), every, now)
    joined = {address_id: where for address_id, (_, where) in numbered.items() if where is not None}
    links = [
        {
            "callout_id": number,
            "batch_id": where[0],
            "seq": where[1],
            "post_id": row.post_id,
            "rung": purpose.split(".")[1],
            "at": now,
        }
        for address_id, where in joined.items()
        for row in by_address[address_id]
        for number in posts[row.post_id]
    ]
    made: list[Slice] = []
    fresh: dict[str, list[int]] = {}
    for address_id, (name, where) in numbered.items():
        if where is None:
            fresh.setdefault(name, []).append(address_id)
    lane = tx.execute(sa.select(rule.c.lane).where(rule.c.id == rule_id)).scalar_one()
    for name, addresses in fresh.items():
        for some in _chunks(addresses, CALLS_AT_ONCE):
            step, linked = _batch(tx, alert_id, rule_id, lane, name, wording_id, [by_address[one] for one in some], posts, now)
            made.append(step)
            links += linked
    _link(tx, alert_id, links, now)
    return made


def _batch(
    tx: sa.Connection,
    alert_id: int,
    rule_id: int,
    lane: str,
    purpose: str,
    wording_id: int,
    targets: Sequence[Sequence[Row]],
    posts: Mapping[int, set[int]],
    now: int,
) -> tuple[Slice, list[dict[str, Any]]]:
    batch_id = tx.execute(
        batch.insert()
        .values(
            alert_id=alert_id,
            rule_id=rule_id,
            channel="voice",
            lane=lane,
            purpose=purpose,
            wording_id=wording_id,
            size=len(targets),
            state=State.PLANNED,
            due=now,
            rung=now,
        )
        .returning(batch.c.id)
    ).scalar_one()
    rows, links = [], []
    for seq, same in enumerate(targets, 1):
        first = same[0]
        rows.append(
            {
                "batch_id": batch_id,
                "seq": seq,
                "alert_id": alert_id,
                "channel": "voice",
                "purpose": purpose,
                "region": first.region,
                "post_id": first.post_id,
                "address_id": first.address_id,
                "synthetic": first.synthetic,
            }
        )
        links += [
            {
                "callout_id": number,
                "batch_id": batch_id,
                "seq": seq,
                "post_id": row.post_id,
                "rung": purpose.split(".")[1],
                "at": now,
            }
            for row in same
            for number in posts[row.post_id]
        ]
    tx.execute(delivery.insert(), rows)
    said = {"batch": batch_id, "rule": rule_id, "size": len(rows)}
    chain.append(tx, chain.of_alert(alert_id), "batch.planned", now, said)
    return Slice(batch_id, lane, len(rows), False), links


def _link(tx: sa.Connection, alert_id: int, links: Sequence[dict[str, Any]], now: int) -> None:
    unique = {(link["callout_id"], link["batch_id"], link["seq"]): link for link in links}
    if unique:
        proof.add(tx, called, list(unique.values()), chain.of_alert(alert_id))
        calls = {(batch_id, seq) for _callout, batch_id, seq in unique}
        body = {"calls": len(calls), "callouts": len({number for number, _batch, _seq in unique})}
        chain.append(tx, chain.of_alert(alert_id), "calls.planned", now, body)


def _numbered(
    tx: sa.Connection, alert_id: int, purpose: str, addresses: Sequence[int], every: int, now: int
) -> dict[int, tuple[str, tuple[int, int] | None]]:
    """For each address the purpose of its call, and where that call stands already (batch, seq) if it was made just now.

    A superior of three silent villages is called once when they fall silent together; again, when another does later.
    """
    kind = purpose.rsplit(".", 1)[0] + "."
    rows: list[Row] = []
    for some in _chunks(list(addresses)):
        rows += tx.execute(
            sa.select(
                delivery.c.address_id,
                delivery.c.purpose,
                delivery.c.batch_id,
                delivery.c.seq,
                called.c.at,
                reply.c.id.label("said"),
            )
            .join(called, sa.and_(called.c.batch_id == delivery.c.batch_id, called.c.seq == delivery.c.seq))
            .outerjoin(reply, sa.and_(reply.c.batch_id == delivery.c.batch_id, reply.c.seq == delivery.c.seq))
            .where(
                delivery.c.alert_id == alert_id,
                delivery.c.channel == "voice",
                delivery.c.purpose.startswith(kind, autoescape=True),
                delivery.c.address_id.in_(some),
            )
            .order_by(called.c.at)
        ).all()
    found: dict[int, tuple[str, tuple[int, int] | None]] = {}
    last: dict[int, Row] = {row.address_id: row for row in rows}
    for address_id in addresses:
        row = last.get(address_id)
        if row is None:
            found[address_id] = (f"{kind}1", None)
        elif row.at > now - every * 1000 and row.said is None:
            found[address_id] = (row.purpose, (row.batch_id, row.seq))
        else:
            found[address_id] = (f"{kind}{int(row.purpose.rsplit('.', 1)[1]) + 1}", None)
    return found


def _targets(tx: sa.Connection, posts: Sequence[int]) -> list[Row]:
    rows: list[Row] = []
    for some in _chunks(list(posts)):
        rows += tx.execute(
            sa.select(post.c.id.label("post_id"), post.c.region, target.c.address_id, target.c.synthetic)
            .join(target, target.c.person_id == post.c.person_id)
            .where(post.c.id.in_(some), target.c.channel == "voice", target.c.roster_id == _roster_in_force())
            .order_by(post.c.region, post.c.id)
        ).all()
    return rows


def _wording(tx: sa.Connection, alert_id: int, purpose: str) -> int | None:
    return tx.execute(
        sa.select(wording.c.id).where(
            wording.c.alert_id == alert_id,
            wording.c.channel == "voice",
            wording.c.audience == "post",
            wording.c.purpose == purpose,
        )
    ).scalar()


def _roster_in_force() -> sa.ScalarSelect[int]:
    return sa.select(roster.c.id).where(roster.c.in_force).scalar_subquery()


def _chunks(those: Sequence[T], size: int = 500) -> Iterable[Sequence[T]]:
    for start in range(0, len(those), size):
        yield those[start : start + size]


# ── the second closure ──


def without_measures(tx: sa.Connection, now: int, limit: int = 1000) -> list[Row]:
    """Answered callouts whose time to report measures is over, of alerts in force."""
    return list(
        tx.execute(
            sa.select(callout, post.c.role, post.c.person_id)
            .join(post, post.c.id == callout.c.post_id)
            .join(alert, alert.c.id == callout.c.alert_id)
            .where(callout.c.measures_due <= now, callout.c.state == "answered", alert.c.state == "active")
            .limit(limit)
        )
    )


def owe_measures(tx: sa.Connection, rows: Sequence[Row], now: int) -> None:
    """Acknowledged, and then nothing: called again, as a new duty."""
    for row in rows:
        taken = tx.execute(
            callout.update().where(callout.c.id == row.id, callout.c.measures_due == row.measures_due).values(measures_due=None)
        ).rowcount
        known = sa.select(callout.c.id).where(
            callout.c.alert_id == row.alert_id, callout.c.duty == "measures", callout.c.post_id == row.post_id
        )
        if not taken or tx.execute(known).first() is not None:
            continue
        values = {
            "alert_id": row.alert_id,
            "duty": "measures",
            "region": row.region,
            "post_id": row.post_id,
            "state": "open",
            "step": "principal",
            "rule_id": row.rule_id,
            "asked": len(reachable(tx, [row.post_id])),
            "calls": 0,
            "opened": now,
            "due": now,
            "next_step": now,
        }
        tx.execute(callout.insert().values(**values))
        body = {"duty": "measures", "region": row.region, "role": row.role, "reason": "acknowledged, and no measures reported"}
        chain.append(tx, chain.of_alert(row.alert_id), "duty.opened", now, body)


# ── the watchdog ──


def stuck(tx: sa.Connection, now: int) -> list[Row]:
    """Open callouts of alerts in force that have no next step though somebody is still to be called, or one long past."""
    return list(
        tx.execute(
            sa.select(callout)
            .join(alert, alert.c.id == callout.c.alert_id)
            .where(
                callout.c.state == "open",
                callout.c.duty.in_(DUTIES),
                _in_force(),
                sa.or_(
                    sa.and_(callout.c.next_step.is_(None), callout.c.step != "door"),
                    callout.c.next_step < now - STUCK_AFTER,
                ),
            )
        )
    )


def repair(tx: sa.Connection, rows: Sequence[Row], now: int) -> None:
    """Gives those without a next step one; what is merely late is taken by the next sweep."""
    lost = [row for row in rows if row.next_step is None]
    for row in lost:
        tx.execute(callout.update().where(callout.c.id == row.id, callout.c.next_step.is_(None)).values(next_step=now))
        chain.append(tx, chain.of_alert(row.alert_id), "callout.repaired", now, {"callout": row.id, "step": row.step})


# ── questions ──


def listed(tx: sa.Connection, alert_id: int | None, *, silent: bool) -> list[Row]:
    """Callouts with their post, the sealed name of its person, and the alert's headline, by region."""
    person = callout.metadata.tables["person"]
    statement = (
        sa.select(callout, post.c.role, post.c.rank, person.c.name, alert.c.headline, alert.c.state.label("alert_state"))
        .join(post, post.c.id == callout.c.post_id)
        .join(person, person.c.id == post.c.person_id)
        .join(alert, alert.c.id == callout.c.alert_id)
        .where(callout.c.duty.in_(DUTIES))
        .order_by(callout.c.alert_id, callout.c.region, callout.c.id)
    )
    statement = statement.where(_in_force() if alert_id is None else callout.c.alert_id == alert_id)
    if silent:
        statement = statement.where(callout.c.state == "open")
    return list(tx.execute(statement))


def find(tx: sa.Connection, number: int) -> Row | None:
    """One callout with its post's person."""
    return tx.execute(
        sa.select(callout, post.c.role, post.c.person_id).join(post, post.c.id == callout.c.post_id).where(callout.c.id == number)
    ).first()


def first_delivery(tx: sa.Connection, alert_id: int, person_id: int) -> tuple[int, int] | None:
    """A delivery of the alert to this person, for an entry that speaks of their duty."""
    mine = sa.select(post.c.id).where(post.c.person_id == person_id)
    row = tx.execute(
        sa.select(delivery.c.batch_id, delivery.c.seq)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(batch.c.alert_id == alert_id, batch.c.lane != "bulk", delivery.c.post_id.in_(mine))
        .limit(1)
    ).first()
    return (row.batch_id, row.seq) if row else None
