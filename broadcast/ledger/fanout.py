"""Fan-out as a set operation: a rule becomes deliveries by INSERT … SELECT, one slice (= one batch) at a time.

Nobody loops over recipients here; the loop is over slices. A slice ends at a key of the rule's selection, so that a
killed planner goes on where the cursor of the last committed slice stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeAlias

import sqlalchemy as sa

from ..delivery import MAY_HAVE_REACHED, State
from . import chain
from .engine import Row
from .tables import alert, alert_region, batch, callout, delivery, post, roster, rule, target, wording

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
    INSTEAD = "instead"  # whom another rule's channel could not reach in time; planned when that is known


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
    statements = _statements(row.selection, row.first is not None)
    values = _values(row)
    end = tx.execute(statements.end, values).first()
    if end is None:
        _finish(tx, row, now)
        return Slice(None, row.lane, 0, False)
    values |= {"until_region": end.region, "until_key": end.key}
    batch_id, size = _fill(tx, row, statements.insert, values, now)
    tx.execute(
        rule.update()
        .where(rule.c.id == row.id)
        .values(cursor_region=end.region, cursor_id=end.key, deliveries=rule.c.deliveries + size)
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
    source = _chosen(row.selection, lambda column: column.in_(regions)).rows().subquery()
    return int(tx.execute(sa.select(sa.func.count(sa.distinct(source.c.address_id))), _like(row)).scalar_one())


def addresses(tx: sa.Connection, row: RuleLike, regions: Sequence[str]) -> set[int]:
    """The numbers of the addresses that a rule of posts would reach (for a preview): one that two rules reach is told once."""
    source = _chosen(row.selection, lambda column: column.in_(regions)).rows().subquery()
    return set(tx.execute(sa.select(source.c.address_id), _like(row)).scalars())


def holders(tx: sa.Connection, row: RuleLike, regions: Sequence[str]) -> list[Row]:
    """The posts that a rule would address (for a preview): id, role, region, rank."""
    chosen = _chosen(Selection.POSTS, lambda column: column.in_(regions))
    statement = chosen.base.with_only_columns(post.c.id, post.c.role, post.c.region, post.c.rank).distinct()
    return list(tx.execute(statement, _like(row)))


def _like(row: RuleLike) -> dict[str, Any]:
    return {"channel": row.channel, "roles": json.loads(row.roles), "ranks": json.loads(row.ranks)}


@dataclass(frozen=True, slots=True)
class RuleLike:
    """The columns of a rule that choose its targets; what `count` and `holders` need before a rule is a row."""

    selection: str
    channel: str
    audience: str
    roles: str  # JSON list
    ranks: str  # JSON list


@dataclass(frozen=True, slots=True)
class _Statements:
    """Planning one slice, for one kind of selection. Built once: building them costs as much as running them."""

    end: Select  # the key at which the slice ends
    insert: sa.Insert


@cache
def _statements(selection: str, split: bool) -> _Statements:
    covered = sa.select(alert_region.c.region).where(alert_region.c.alert_id == _param("alert_id", sa.BigInteger))
    if split:
        covered = covered.where(alert_region.c.first == _param("first", sa.Boolean))
    chosen = _chosen(selection, lambda column: column.in_(covered))
    key = sa.tuple_(chosen.region, chosen.key)
    rest = key > sa.tuple_(_param("after_region", sa.Text), _param("after_key", sa.BigInteger))
    slice_ = key <= sa.tuple_(_param("until_region", sa.Text), _param("until_key", sa.BigInteger))
    keys = chosen.base.with_only_columns(chosen.region.label("region"), chosen.key.label("key")).where(rest)
    first = keys.order_by(chosen.region, chosen.key).limit(_param("limit", sa.Integer)).subquery()
    end = sa.select(first.c.region, first.c.key).order_by(first.c.region.desc(), first.c.key.desc()).limit(1)
    return _Statements(end, _insert_from(chosen.rows().where(rest, slice_)))


def _param(name: str, kind: Any) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=kind)


def _values(row: Row) -> dict[str, Any]:
    return {
        "alert_id": row.alert_id,
        "first": row.first,
        "roles": json.loads(row.roles),
        "ranks": json.loads(row.ranks),
        "channel": row.channel,
        "purpose": row.purpose,
        "after_region": row.cursor_region,
        "after_key": row.cursor_id,
        "limit": row.batch_size,
    }


Inside = Callable[[sa.ColumnElement[str]], sa.ColumnElement[bool]]  # "this region is among those that the rule is about"


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Who a rule addresses, and the key (region, key) that slices are cut by."""

    region: sa.ColumnElement[str]
    key: sa.ColumnElement[int]
    post_id: sa.ColumnElement[int]
    base: Select

    def rows(self) -> Select:
        """One row for each target."""
        return self.base.with_only_columns(
            self.region.label("region"),
            self.key.label("key"),
            self.post_id.label("post_id"),
            target.c.address_id.label("address_id"),
            target.c.synthetic.label("synthetic"),
        )


def _chosen(selection: str, inside: Inside) -> _Chosen:
    common = (target.c.roster_id == _in_force(), target.c.channel == _param("channel", sa.Text))
    if selection in (Selection.POSTS, Selection.APPROVERS):
        return _posts(common, inside if selection == Selection.POSTS else None)
    kind = {Selection.RESIDENTS: ("resident",), Selection.PLACES: ("place",), Selection.TEST: ("place", "tester")}[
        Selection(selection)
    ]
    base = sa.select(target.c.id).where(*common, inside(target.c.region), target.c.audience.in_(kind))
    base = base.where(target.c.test if selection == Selection.TEST else ~target.c.test)
    return _Chosen(target.c.region, target.c.id, sa.cast(sa.null(), sa.BigInteger), base)


def _posts(common: Sequence[sa.ColumnElement[bool]], inside: Inside | None) -> _Chosen:
    base = (
        sa.select(post.c.id)
        .select_from(post.join(target, target.c.person_id == post.c.person_id))
        .where(
            *common,  # no audience: only persons' targets have a person, and SQLite would choose the index by audience
            post.c.ended.is_(None),
            post.c.role.in_(sa.bindparam("roles", expanding=True)),
            post.c.rank.in_(sa.bindparam("ranks", expanding=True)),
        )
    )
    return _Chosen(post.c.region, post.c.id, post.c.id, base if inside is None else base.where(inside(post.c.region)))


def _insert_from(source: Select) -> sa.Insert:
    """Deliveries of one batch: each address once, and none that the alert already addresses on this channel."""
    candidates = source.subquery("c")
    known = sa.select(sa.literal(1)).where(
        delivery.c.alert_id == _param("alert_id", sa.BigInteger),
        delivery.c.channel == _param("channel", sa.Text),
        delivery.c.purpose == _param("purpose", sa.Text),
        delivery.c.address_id == candidates.c.address_id,
    )
    by_key = (candidates.c.region, candidates.c.key)
    nth = sa.func.row_number().over(partition_by=candidates.c.address_id, order_by=by_key).label("nth")
    once = sa.select(candidates, nth).where(~known.exists()).subquery("once")
    made: dict[str, sa.ColumnElement[Any]] = {
        "batch_id": _param("batch_id", sa.BigInteger),
        "seq": _param("before", sa.Integer) + sa.func.row_number().over(order_by=(once.c.region, once.c.key)),
        "alert_id": _param("alert_id", sa.BigInteger),
        "channel": _param("channel", sa.Text),
        "purpose": _param("purpose", sa.Text),
        "region": once.c.region,
        "post_id": once.c.post_id,
        "address_id": once.c.address_id,
        "synthetic": once.c.synthetic,
        "rule_id": _param("of_rule", sa.BigInteger),
    }
    return delivery.insert().from_select(list(made), sa.select(*made.values()).where(once.c.nth == 1))


def _fill(tx: sa.Connection, row: Row | _Like, insert: sa.Insert, values: dict[str, Any], now: int) -> tuple[int | None, int]:
    """One batch and its deliveries; no batch when nobody is left for it. A rule that gathers adds to one that has not left."""
    unsent = _unsent(tx, row) if row.gathers else None
    batch_id = unsent.id if unsent else _new_batch(tx, row, now)
    before = unsent.size if unsent else 0
    values = {**values, "batch_id": batch_id, "before": before, "of_rule": row.id if unsent else None}
    size = tx.execute(insert, values, execution_options=_COUNTED).rowcount
    if size == 0:
        if unsent is None:
            tx.execute(batch.delete().where(batch.c.id == batch_id))
        return None, 0
    changed: dict[str, Any] = {"size": before + size, **_bounds(batch_id)}
    if unsent:  # a worker that looked at the batch before must not claim it for less than it is now
        changed |= {"fence": batch.c.fence + 1, "gathered": True}
    tx.execute(batch.update().where(batch.c.id == batch_id).values(**changed))
    said = {"batch": batch_id, "rule": row.id, "size": before + size}
    chain.append(tx, chain.of_alert(row.alert_id), "batch.planned", now, said)
    return batch_id, size


def _bounds(batch_id: int) -> dict[str, sa.ScalarSelect[str]]:
    """Between which regions a batch's deliveries lie: by it auditors find a region without an index on every delivery."""
    mine = delivery.c.batch_id == batch_id
    return {
        "first_region": sa.select(sa.func.min(delivery.c.region)).where(mine).scalar_subquery(),
        "last_region": sa.select(sa.func.max(delivery.c.region)).where(mine).scalar_subquery(),
    }


def _unsent(tx: sa.Connection, row: Row | _Like) -> Row | None:
    """The batch of the same words that nobody has tried yet: a far end that wants a pause between calls gets one call."""
    return tx.execute(
        sa.select(batch.c.id, batch.c.size)
        .where(
            batch.c.alert_id == row.alert_id,
            batch.c.channel == row.channel,
            batch.c.lane == row.lane,
            batch.c.purpose == row.purpose,
            batch.c.wording_id == row.wording_id,
            batch.c.state == State.PLANNED,
            batch.c.attempt == 0,
            batch.c.size < row.batch_size,
        )
        .order_by(batch.c.id)
        .limit(1)
        .with_for_update()
    ).first()


def _new_batch(tx: sa.Connection, row: Row | _Like, now: int) -> int:
    return int(
        tx.execute(
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
                deadline=now + row.within * 1000,
            )
            .returning(batch.c.id)
        ).scalar_one()
    )


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
            sa.or_(batch.c.purpose == "alarm", *(batch.c.purpose.startswith(kind) for kind in ("callout.", "escalation."))),
            sa.or_(rule.c.tier == row.tier, batch.c.gathered),  # a gathered batch holds several tiers: `_heard` picks this one's
            rule.c.audience == row.audience,
            batch.c.id > row.cursor_id,
        )
        .order_by(batch.c.id)
        .limit(1)
    ).scalar()
    if past is None:
        _finish(tx, row, now)
        return Slice(None, row.lane, 0, False)
    batch_id, size = _fill(tx, row, _insert_from(_heard(row, past)), _values(row), now)
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
            delivery.c.post_id,
            delivery.c.address_id,
            delivery.c.synthetic,
        )
        .join(batch, batch.c.id == delivery.c.batch_id)
        .join(rule, rule.c.id == sa.func.coalesce(delivery.c.rule_id, batch.c.rule_id))
        .where(
            rule.c.tier == row.tier,
            delivery.c.batch_id == past,
            sa.or_(
                sa.func.coalesce(delivery.c.state, batch.c.state).in_([str(s) for s in MAY_HAVE_REACHED]),
                # Its far end may know it already, and it was withdrawn before that was sent once more.
                sa.and_(delivery.c.state.is_(None), batch.c.only_peer != ""),
            ),
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
        told.c.address_id == delivery.c.address_id,
    )


def _addressed_now(row: Row) -> sa.Select[int]:
    now = delivery.alias("now")
    return sa.select(sa.literal(1)).where(
        now.c.alert_id == row.alert_id,
        now.c.channel == row.channel,
        now.c.purpose == "alarm",
        now.c.address_id == delivery.c.address_id,
    )


def _still_stopping(tx: sa.Connection, row: Row) -> bool:
    """A loudspeaker is taken off the air before it says that it is over, never after."""
    open_states = (State.PLANNED, State.DEFERRED, State.SENDING)
    stops = sa.select(batch.c.id).where(
        batch.c.alert_id == row.alert_id,
        batch.c.channel == row.channel,
        batch.c.purpose == "stop",
        batch.c.state.in_(open_states),
    )
    unplanned = sa.select(rule.c.id).where(
        rule.c.alert_id == row.alert_id, rule.c.channel == row.channel, rule.c.purpose == "stop", rule.c.state == "owed"
    )
    return any(tx.execute(statement.limit(1)).first() is not None for statement in (stops, unplanned))


def still_sending(tx: sa.Connection, alert_id: int) -> bool:
    """True while a worker holds something of the event's earlier alerts: who was reached is not known yet."""
    held = sa.select(batch.c.id).where(batch.c.alert_id.in_(_earlier(alert_id)), batch.c.state == State.SENDING).limit(1)
    return tx.execute(held).first() is not None


def _finish(tx: sa.Connection, row: Row, now: int) -> None:
    tx.execute(rule.update().where(rule.c.id == row.id).values(state="planned", planned=now))
    if row.selection == Selection.POSTS and row.answer_within is not None:
        _open_callouts(tx, row, now)


def _open_callouts(tx: sa.Connection, row: Row, now: int) -> None:
    """Every post that the rule names owes an answer, also one that no channel reaches: its silence must be seen."""
    covered = sa.select(alert_region.c.region).where(alert_region.c.alert_id == row.alert_id)
    if row.first is not None:
        covered = covered.where(alert_region.c.first == row.first)
    known = sa.select(sa.literal(1)).where(
        callout.c.alert_id == row.alert_id, callout.c.duty == "acknowledge", callout.c.post_id == post.c.id
    )
    at_once = row.channel == "voice"  # the plan's own call is the first of the ladder
    can_be_called = (
        sa.select(sa.literal(1))
        .where(target.c.person_id == post.c.person_id, target.c.channel == "voice", target.c.roster_id == _in_force())
        .correlate(post)
        .exists()
    )
    made: dict[str, sa.ColumnElement[Any]] = {
        "alert_id": sa.literal(row.alert_id, sa.BigInteger),
        "duty": sa.literal("acknowledge"),
        "region": post.c.region,
        "post_id": post.c.id,
        "state": sa.literal("open"),
        "step": sa.literal("principal"),
        "opened": sa.literal(now, sa.BigInteger),
        "due": sa.literal(now + row.answer_within * 1000, sa.BigInteger),
        "next_step": sa.literal(now, sa.BigInteger),
        "rule_id": sa.literal(row.id, sa.BigInteger),
        "asked": sa.case((can_be_called, 1), else_=0),
        "calls": sa.case((sa.and_(can_be_called, sa.literal(at_once)), 1), else_=0),
        "last_call": sa.literal(now if at_once else None, sa.BigInteger),
    }
    owing = sa.select(*made.values()).where(
        post.c.ended.is_(None),
        post.c.role.in_(json.loads(row.roles)),
        post.c.rank.in_(json.loads(row.ranks)),
        post.c.region.in_(covered),
        ~known.exists(),
    )
    tx.execute(callout.insert().from_select(list(made), owing))


def otherwise(tx: sa.Connection, row: Row, channel: str, reason: str, now: int) -> Slice | None:
    """The unsent deliveries of a batch go by the plan's next channel instead; None when it reaches none of them.

    Whoever the alert addresses by that channel already is not told by it twice. Who has no address there stays with the
    batch. The caller commits, then rings.
    """
    words = sa.select(wording.c.id).where(
        wording.c.alert_id == row.alert_id,
        wording.c.channel == channel,
        wording.c.audience == "post",
        wording.c.purpose == row.purpose,
    )
    wording_id = tx.execute(words.limit(1)).scalar()
    if wording_id is None:
        return None
    of_rule = tx.execute(sa.select(rule).where(rule.c.id == row.rule_id)).one()
    like = _Like(row.alert_id, of_rule.id, channel, row.lane, row.purpose, wording_id, of_rule.within)
    values = {"alert_id": row.alert_id, "channel": channel, "purpose": row.purpose}
    batch_id, size = _fill(tx, like, _insert_from(_of_persons(row.id, channel)), values, now)
    if batch_id is not None:
        tx.execute(batch.update().where(batch.c.id == batch_id).values(rule_id=_rule_instead(tx, of_rule, like, size)))
    gone = list(tx.execute(_told_by(row, channel)).scalars())
    if not gone:
        return None
    # What its far end may know already may have been heard: whoever it reached is told when it is over, too.
    state, how = State.CANCELLED, f"by {channel} instead"
    if row.only_peer:
        state, how = State.IN_DOUBT, f"may have left; by {channel} too"
    tx.execute(
        delivery.update()
        .where(delivery.c.batch_id == row.id, delivery.c.state.is_(None), delivery.c.seq.in_(gone))
        .values(state=state, reason=f"{how}: {reason}"[:200])
    )
    return Slice(batch_id, row.lane, size, False)


def _rule_instead(tx: sa.Connection, of_rule: Row, like: _Like, size: int) -> int:
    """A rule of its own for what goes by the next channel: with it the event knows by which ways it was heard.

    Its own next channels are those after this one. Whoever calls this holds the alert: rules are numbered.
    """
    channels: list[str] = json.loads(of_rule.otherwise)
    rest = json.dumps(channels[channels.index(like.channel) + 1 :] if like.channel in channels else [])
    same = {"alert_id": like.alert_id, "tier": of_rule.tier, "lane": like.lane, "audience": of_rule.audience}
    same |= {"purpose": like.purpose, "channel": like.channel, "selection": str(Selection.INSTEAD), "otherwise": rest}
    found = tx.execute(sa.select(rule.c.id).where(*(rule.c[name] == value for name, value in same.items())).limit(1)).scalar()
    if found is None:
        n = tx.execute(sa.select(sa.func.max(rule.c.n)).where(rule.c.alert_id == like.alert_id)).scalar_one()
        values = {key: value for key, value in of_rule._mapping.items() if key not in ("id", "cursor_region", "cursor_id")}
        values |= {**same, "n": n + 1, "wording_id": like.wording_id, "gathers": False, "state": "planned", "deliveries": 0}
        found = tx.execute(rule.insert().values(**values).returning(rule.c.id)).scalar_one()
    tx.execute(rule.update().where(rule.c.id == found).values(deliveries=rule.c.deliveries + size))
    return int(found)


def _told_by(row: Row, channel: str) -> sa.Select[int]:
    """The unsent deliveries of a batch whose person the alert now addresses by another channel."""
    addresses = (
        sa.select(target.c.address_id)
        .join(post, post.c.person_id == target.c.person_id)
        .where(target.c.channel == channel, target.c.roster_id == _in_force(), post.c.id == delivery.c.post_id)
        .correlate(delivery)
    )
    other, its = delivery.alias("other"), batch.alias("its")
    told = (
        sa.select(sa.literal(1))
        .select_from(other.join(its, its.c.id == other.c.batch_id))
        .where(
            other.c.alert_id == row.alert_id,
            other.c.channel == channel,
            other.c.purpose == row.purpose,
            other.c.address_id.in_(addresses),
            # Whoever was given up there, or moved on from there, is not told by it.
            sa.func.coalesce(other.c.state, its.c.state).not_in((State.CANCELLED, State.REJECTED, State.FAILED)),
        )
    )
    unsent = (delivery.c.batch_id == row.id, delivery.c.state.is_(None))
    return sa.select(delivery.c.seq).where(*unsent, told.exists())


@dataclass(frozen=True, slots=True)
class _Like:
    """The columns of a rule that make a batch."""

    alert_id: int
    id: int
    channel: str
    lane: str
    purpose: str
    wording_id: int
    within: int
    gathers: bool = False
    batch_size: int = 0


def _in_force() -> sa.ScalarSelect[int]:
    return sa.select(roster.c.id).where(roster.c.in_force).scalar_subquery()


def _of_persons(batch_id: int, channel: str) -> Select:
    """The targets on another channel of the persons to whom a batch still owes something."""
    return (
        sa.select(
            delivery.c.region,
            delivery.c.seq.label("key"),
            delivery.c.post_id,
            target.c.address_id,
            target.c.synthetic,
        )
        .join(post, post.c.id == delivery.c.post_id)
        .join(target, target.c.person_id == post.c.person_id)
        .where(
            delivery.c.batch_id == batch_id,
            delivery.c.state.is_(None),
            target.c.channel == channel,
            target.c.roster_id == _in_force(),
        )
    )


def take_next_rule(tx: sa.Connection) -> Row | None:
    """The same, locked until the transaction ends: what takes over its event waits, and then sees what was planned."""
    row = next_rule(tx)
    if row is None:
        return None
    return tx.execute(sa.select(rule).where(rule.c.id == row.id, rule.c.state == "owed").with_for_update()).first()


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
        if row.purpose == "stand_down" and _still_stopping(tx, row):
            continue
        if row.alert_id not in waiting:
            waiting[row.alert_id] = others or still_sending(tx, row.alert_id)
        if not waiting[row.alert_id]:
            return row
    return None
