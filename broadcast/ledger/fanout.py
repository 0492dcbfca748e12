"""Fan-out as a set operation: a rule becomes deliveries by INSERT … SELECT, one slice (= one batch) at a time.

Nobody loops over recipients here; the loop is over slices. A slice ends at a key of the rule's selection, so that a
killed planner goes on where the cursor of the last committed slice stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import sqlalchemy as sa

from ..delivery import MAY_HAVE_REACHED, State
from .engine import Row
from .tables import alert, alert_region, batch, delivery, person, post, rule, target

Select: TypeAlias = "sa.Select[*tuple[Any, ...]]"


class Selection(StrEnum):
    """Whom a rule addresses."""

    POSTS = "posts"  # the persons who hold its roles in the alert's regions
    RESIDENTS = "residents"  # the residents of the alert's regions
    PLACES = "places"  # targets without a person: loudspeaker systems, neighbours' platforms
    TEST = "test"  # registered test targets only
    GONE = "gone"  # reached by the event before, and now outside the area
    STILL = "still"  # reached by the event before, still inside, and not addressed by another rule
    REACHED = "reached"  # everybody whom the event reached or may have reached
    APPROVERS = "approvers"  # the persons who may approve


OF_THE_EVENT = frozenset({Selection.GONE, Selection.STILL, Selection.REACHED})


@dataclass(frozen=True, slots=True)
class Slice:
    """What one step of planning made. `batch_id` is None when nobody was left in it; `more` when the rule goes on."""

    batch_id: int | None
    lane: str
    size: int
    more: bool


def plan_slice(tx: sa.Connection, row: Row, now: int) -> Slice:
    """Plans the next slice of one owed rule and moves its cursor. The caller commits, then rings."""
    if row.selection in OF_THE_EVENT:
        return _event_slice(tx, row, now)
    chosen = _chosen(row, _in_alert(row.alert_id, row.first))
    rest = chosen.after(row.cursor_region, row.cursor_id)
    end = _end_of_slice(tx, chosen.keys().where(rest).limit(row.batch_size))
    if end is None:
        _finish(tx, row, now)
        return Slice(None, row.lane, 0, False)
    source = chosen.rows().where(rest, chosen.until(*end))
    batch_id, size = _insert(tx, row, source, now)
    tx.execute(
        rule.update()
        .where(rule.c.id == row.id)
        .values(cursor_region=end[0], cursor_id=end[1], deliveries=rule.c.deliveries + size)
    )
    return Slice(batch_id, row.lane, size, True)


def plan_whole(tx: sa.Connection, rule_id: int, now: int) -> list[Slice]:
    """Plans all slices of a rule in this transaction: for the alarm lane, whose rules are small."""
    made: list[Slice] = []
    while True:
        row = tx.execute(sa.select(rule).where(rule.c.id == rule_id)).one()
        if row.state != "owed":
            return made
        step = plan_slice(tx, row, now)
        if step.batch_id is not None:
            made.append(step)
        if not step.more:
            return made


def count(tx: sa.Connection, row: RuleLike, regions: Sequence[str]) -> int:
    """How many deliveries a rule would make, before the alert is in the ledger (for a preview). Writes nothing."""
    source = _chosen(row, lambda column: column.in_(regions)).rows().subquery()
    return int(tx.execute(sa.select(sa.func.count(sa.distinct(source.c.address)))).scalar_one())


def holders(tx: sa.Connection, row: RuleLike, regions: Sequence[str]) -> list[Row]:
    """The posts that a rule would address (for a preview): id, role, region, rank, sealed name."""
    statement = (
        sa.select(post.c.id, post.c.role, post.c.region, post.c.rank, person.c.name, person.c.synthetic)
        .join(person, person.c.id == post.c.person_id)
        .join(target, sa.and_(target.c.person_id == person.c.id, target.c.channel == row.channel))
        .where(post.c.role.in_(json.loads(row.roles)), post.c.rank.in_(json.loads(row.ranks)), post.c.region.in_(regions))
        .order_by(post.c.region, post.c.role, post.c.rank, post.c.id)
        .distinct()
    )
    return list(tx.execute(statement))


@dataclass(frozen=True, slots=True)
class RuleLike:
    """The columns of a rule that choose its targets; what `count` and `holders` need before a rule is a row."""

    selection: str
    channel: str
    audience: str
    roles: str  # JSON list
    ranks: str  # JSON list


Inside = Callable[[sa.ColumnElement[str]], sa.ColumnElement[bool]]  # "this region is among those that the rule is about"


def _in_alert(alert_id: int, first: bool | None) -> Inside:
    chosen = sa.select(alert_region.c.region).where(alert_region.c.alert_id == alert_id)
    if first is not None:
        chosen = chosen.where(alert_region.c.first == first)
    return lambda column: column.in_(chosen)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Who a rule addresses, and the key (region, key) that slices are cut by."""

    region: sa.ColumnElement[str]
    key: sa.ColumnElement[int]
    post_id: sa.ColumnElement[int]
    base: Select

    def after(self, region: str, key: int) -> sa.ColumnElement[bool]:
        return sa.tuple_(self.region, self.key) > sa.tuple_(sa.literal(region), sa.literal(key, sa.BigInteger))

    def until(self, region: str, key: int) -> sa.ColumnElement[bool]:
        return sa.tuple_(self.region, self.key) <= sa.tuple_(sa.literal(region), sa.literal(key, sa.BigInteger))

    def rows(self) -> Select:
        """One row for each target."""
        return self.base.with_only_columns(
            self.region.label("region"),
            self.key.label("key"),
            target.c.id.label("target_id"),
            self.post_id.label("post_id"),
            target.c.address.label("address"),
            target.c.synthetic.label("synthetic"),
        )

    def keys(self) -> Select:
        """Only the keys, in order."""
        return self.base.with_only_columns(self.region.label("region"), self.key.label("key")).order_by(self.region, self.key)


_BY_POST = frozenset({Selection.POSTS, Selection.APPROVERS})


def _chosen(row: Row | RuleLike, inside: Inside) -> _Chosen:
    return _posts(row, inside) if row.selection in _BY_POST else _targets(row, inside)


def _posts(row: Row | RuleLike, inside: Inside) -> _Chosen:
    base = (
        sa.select(post.c.id)
        .select_from(post.join(target, target.c.person_id == post.c.person_id))
        .where(
            post.c.role.in_(json.loads(row.roles)),
            post.c.rank.in_(json.loads(row.ranks)),
            target.c.channel == row.channel,
            target.c.audience == "post",
        )
    )
    if row.selection == Selection.POSTS:
        base = base.where(inside(post.c.region))
    return _Chosen(post.c.region, post.c.id, post.c.id, base)


def _targets(row: Row | RuleLike, inside: Inside) -> _Chosen:
    base = sa.select(target.c.id).where(target.c.channel == row.channel, inside(target.c.region))
    if row.selection == Selection.TEST:
        base = base.where(target.c.test)
    else:
        wanted = "resident" if row.selection == Selection.RESIDENTS else "place"
        base = base.where(target.c.audience == wanted, ~target.c.test)
    return _Chosen(target.c.region, target.c.id, sa.cast(sa.null(), sa.BigInteger), base)


def _end_of_slice(tx: sa.Connection, keys: Select) -> tuple[str, int] | None:
    piece = keys.subquery()
    last = tx.execute(sa.select(piece.c.region, piece.c.key).order_by(piece.c.region.desc(), piece.c.key.desc()).limit(1)).first()
    return None if last is None else (last.region, last.key)


def _insert(tx: sa.Connection, row: Row, source: Select, now: int) -> tuple[int | None, int]:
    """One batch and its deliveries: each address once, and none that the alert already addresses on this channel."""
    batch_id = tx.execute(
        batch.insert()
        .values(
            alert_id=row.alert_id,
            rule_id=row.id,
            channel=row.channel,
            lane=row.lane,
            purpose=row.purpose,
            wording_id=row.wording_id,
            size=0,
            state=State.PLANNED,
            due=now,
            rung=now,
        )
        .returning(batch.c.id)
    ).scalar_one()
    candidates = source.subquery("c")
    known = sa.select(sa.literal(1)).where(
        delivery.c.alert_id == row.alert_id,
        delivery.c.channel == row.channel,
        delivery.c.purpose == row.purpose,
        delivery.c.address == candidates.c.address,
    )
    once = (
        sa.select(
            candidates,
            sa.func.row_number()
            .over(partition_by=candidates.c.address, order_by=(candidates.c.region, candidates.c.key))
            .label("nth"),
        )
        .where(~known.exists())
        .subquery("once")
    )
    seq = sa.func.row_number().over(order_by=(once.c.region, once.c.key, once.c.target_id))
    chosen = sa.select(
        sa.literal(batch_id, sa.BigInteger),
        seq,
        sa.literal(row.alert_id, sa.BigInteger),
        sa.literal(row.channel),
        sa.literal(row.purpose),
        once.c.region,
        once.c.target_id,
        once.c.post_id,
        once.c.address,
        once.c.synthetic,
    ).where(once.c.nth == 1)
    names = [
        "batch_id",
        "seq",
        "alert_id",
        "channel",
        "purpose",
        "region",
        "target_id",
        "post_id",
        "address",
        "synthetic",
    ]
    size = tx.execute(delivery.insert().from_select(names, chosen), execution_options=_COUNTED).rowcount
    if size == 0:
        tx.execute(batch.delete().where(batch.c.id == batch_id))
        return None, 0
    tx.execute(batch.update().where(batch.c.id == batch_id).values(size=size))
    return batch_id, size


# SQLAlchemy only remembers how many rows an INSERT made when it is told to.
_COUNTED = {"preserve_rowcount": True}


def _event_slice(tx: sa.Connection, row: Row, now: int) -> Slice:
    """The next batch of the event's earlier alarms, as far as it was or may have been heard."""
    past = tx.execute(
        sa.select(batch.c.id)
        .join(rule, rule.c.id == batch.c.rule_id)
        .where(
            batch.c.alert_id.in_(_earlier(row.alert_id)),
            batch.c.channel == row.from_channel,
            batch.c.lane == row.lane,
            batch.c.purpose == "alarm",
            rule.c.tier == row.tier,
            rule.c.audience == row.audience,
            batch.c.id > row.cursor_id,
        )
        .order_by(batch.c.id)
        .limit(1)
    ).scalar()
    if past is None:
        _finish(tx, row, now)
        return Slice(None, row.lane, 0, False)
    batch_id, size = _insert(tx, row, _heard(row, past), now)
    tx.execute(rule.update().where(rule.c.id == row.id).values(cursor_id=past, deliveries=rule.c.deliveries + size))
    return Slice(batch_id, row.lane, size, True)


def _earlier(alert_id: int) -> sa.Select[int]:
    mine = sa.select(alert.c.event_key).where(alert.c.id == alert_id).scalar_subquery()
    return sa.select(alert.c.id).where(alert.c.event_key == mine, alert.c.id < alert_id)


def _heard(row: Row, past: int) -> Select:
    covered = sa.select(alert_region.c.region).where(alert_region.c.alert_id == row.alert_id)
    statement = (
        sa.select(
            delivery.c.region,
            delivery.c.seq.label("key"),
            delivery.c.target_id,
            delivery.c.post_id,
            delivery.c.address,
            delivery.c.synthetic,
        )
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(
            delivery.c.batch_id == past,
            sa.func.coalesce(delivery.c.state, batch.c.state).in_([str(s) for s in MAY_HAVE_REACHED]),
            ~_stood_down_since(row).exists(),
        )
    )
    if row.selection == Selection.GONE:
        return statement.where(delivery.c.region.not_in(covered), ~_addressed_now(row).exists())
    if row.selection == Selection.STILL:
        return statement.where(delivery.c.region.in_(covered))
    return statement


def _stood_down_since(row: Row) -> sa.Select[int]:
    """Whoever has been told that it is over, and was not alarmed again since, is not told twice."""
    told = delivery.alias("told")
    return sa.select(sa.literal(1)).where(
        told.c.alert_id.in_(_earlier(row.alert_id)),
        told.c.alert_id > delivery.c.alert_id,
        told.c.channel == row.channel,
        told.c.purpose.in_(("stand_down", "stop")),
        told.c.address == delivery.c.address,
    )


def _addressed_now(row: Row) -> sa.Select[int]:
    now = delivery.alias("now")
    return sa.select(sa.literal(1)).where(
        now.c.alert_id == row.alert_id,
        now.c.channel == row.channel,
        now.c.purpose == "alarm",
        now.c.address == delivery.c.address,
    )


def still_sending(tx: sa.Connection, alert_id: int) -> bool:
    """True while a worker holds something of the event's earlier alerts: who was reached is not known yet."""
    held = sa.select(batch.c.id).where(batch.c.alert_id.in_(_earlier(alert_id)), batch.c.state == State.SENDING).limit(1)
    return tx.execute(held).first() is not None


def _finish(tx: sa.Connection, row: Row, now: int) -> None:
    tx.execute(rule.update().where(rule.c.id == row.id).values(state="planned", planned=now))


def next_rule(tx: sa.Connection) -> Row | None:
    """The rule to plan next outside a submission: the strongest alert first, an event's stand-downs after its alarms.

    Who was reached by an event is known only when no worker holds any of it and every other rule of the alert is planned.
    """
    level = sa.case({"red": 4, "orange": 3, "yellow": 2, "blue": 1}, value=alert.c.level, else_=5)
    rows = tx.execute(
        sa.select(rule)
        .join(alert, alert.c.id == rule.c.alert_id)
        .where(rule.c.state == "owed", alert.c.state == "active")
        .order_by(level.desc(), rule.c.lane == "bulk", rule.c.id)
    ).all()
    waiting: dict[int, bool] = {}
    for row in rows:
        if row.selection not in OF_THE_EVENT:
            return row
        others = any(r.alert_id == row.alert_id and r.selection not in OF_THE_EVENT for r in rows)
        if row.alert_id not in waiting:
            waiting[row.alert_id] = others or still_sending(tx, row.alert_id)
        if not waiting[row.alert_id]:
            return row
    return None
