"""Where the rows that an auditor asks for lie: first the batches that may hold them, then each batch by its key.

No question reads the table of deliveries as a whole. The batches (one for about a thousand deliveries) are chosen by alert,
channel, time, region bounds, post or address; what does not belong is left out inside the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from . import replies
from .chain import of_alert
from .tables import address, alert, alert_region, batch, callout, delivery, entry, person, post, receipt, reply, rule

Select: TypeAlias = "sa.Select[*tuple[Any, ...]]"
Condition: TypeAlias = "sa.ColumnElement[bool]"

_AT_ONCE = 500  # numbers in one statement


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for; None: any. Whatever is given must all hold. Times in milliseconds: since <= t < until."""

    alert_id: int | None = None
    region: str | None = None  # and everything under it
    post: int | None = None
    role: str | None = None
    person: str | None = None  # person_id of the roster
    address_id: int | None = None
    channel: str | None = None
    state: str | None = None
    kind: str | None = None  # of an entry
    since: int | None = None
    until: int | None = None

    @property
    def names_posts(self) -> bool:
        """True when only what is of certain posts is wanted."""
        return (self.post, self.role, self.person) != (None, None, None)


def batches(tx: sa.Connection, wanted: Wanted, begin: int, *, of_receipts: bool) -> list[int]:
    """The batches from number `begin` on that may hold what is wanted, in order."""
    statement = _batches(wanted, of_receipts=of_receipts).where(batch.c.id >= begin)
    found = list(tx.execute(statement.order_by(batch.c.id)).scalars())
    if not wanted.names_posts:
        return found
    theirs = batches_of(tx, list(tx.execute(posts(wanted)).scalars()))
    return [number for number in found if number in theirs]


def batches_of(tx: sa.Connection, numbers: Sequence[int]) -> set[int]:
    """The batches with a delivery to one of these posts. By number: no database is left to guess how many they are."""
    found: set[int] = set()
    for n in range(0, len(numbers), _AT_ONCE):
        its = delivery.c.post_id.in_(numbers[n : n + _AT_ONCE])
        found |= set(tx.execute(sa.select(delivery.c.batch_id).where(its)).scalars())
    return found


def _batches(wanted: Wanted, *, of_receipts: bool) -> Select:
    """The numbers of those batches. `of_receipts`: the time is when a receipt was recorded, else when a batch was tried last."""
    statement = sa.select(batch.c.id)
    if wanted.alert_id is not None:
        statement = statement.where(batch.c.alert_id == wanted.alert_id)
    if wanted.channel is not None:
        statement = statement.where(batch.c.channel == wanted.channel)
    if wanted.region is not None:
        statement = statement.where(_may_hold(wanted.region))
    if wanted.address_id is not None:
        statement = statement.where(batch.c.id.in_(_batches_to(wanted)))
    if of_receipts and (wanted.since, wanted.until) != (None, None):
        statement = statement.where(batch.c.id.in_(sa.select(receipt.c.batch_id).where(*_within(receipt.c.recorded, wanted))))
    elif not of_receipts:
        statement = statement.where(*_within(batch.c.started, wanted))
    return statement


def _may_hold(region: str) -> Condition:
    """Of a batch: something of it may lie in the region."""
    between = sa.and_(batch.c.first_region < after_region(region), batch.c.last_region >= region)
    return sa.or_(batch.c.first_region.is_(None), between)


def after_region(region: str) -> str:
    """The first code after those that begin with this one's digits."""
    return str(int(region) + 1).zfill(len(region))


def _batches_to(wanted: Wanted) -> Select:
    """The batches with a delivery to one address: the columns before it in an index are few, so each is tried."""
    ways = sa.select(batch.c.alert_id, batch.c.channel, batch.c.purpose).distinct()
    if wanted.alert_id is not None:
        ways = ways.where(batch.c.alert_id == wanted.alert_id)
    way = ways.subquery("way")
    same = sa.and_(*(delivery.c[name] == way.c[name] for name in ("alert_id", "channel", "purpose")))
    return sa.select(delivery.c.batch_id).select_from(way.join(delivery, same)).where(delivery.c.address_id == wanted.address_id)


def posts(wanted: Wanted) -> Select:
    """The numbers of the posts that are wanted, also of those that have ended."""
    return sa.select(post.c.id).where(*of_post(wanted))


def of_post(wanted: Wanted) -> list[Condition]:
    """What a post must be."""
    return [column == value for column, value in _of_holder(wanted)]


def _of_holder(wanted: Wanted) -> Iterator[tuple[sa.ColumnElement[Any], Any]]:
    if wanted.post is not None:
        yield post.c.id, wanted.post
    if wanted.role is not None:
        yield post.c.role, wanted.role
    if wanted.person is not None:
        yield post.c.person_id, _person(wanted.person)


def _person(key: str) -> sa.ScalarSelect[int]:
    return sa.select(person.c.id).where(person.c.key == key).scalar_subquery()


def _within(column: sa.ColumnElement[int], wanted: Wanted) -> list[Condition]:
    found = []
    if wanted.since is not None:
        found.append(column >= wanted.since)
    if wanted.until is not None:
        found.append(column < wanted.until)
    return found


def in_region(column: sa.ColumnElement[str], region: str) -> Condition:
    """A region code is that region's or of one under it."""
    return column.startswith(region, autoescape=True)


def _of_delivery(wanted: Wanted) -> list[Condition]:
    """What a delivery, with its post, must be beyond the batch that it is in.

    Coalesced, so that PostgreSQL goes from the batch to the posts: it might read all deliveries of posts, for one batch of them.
    """
    found: list[Condition] = []
    if wanted.region is not None:
        found.append(in_region(delivery.c.region, wanted.region))
    if wanted.names_posts:
        found += [sa.func.coalesce(column, "" if isinstance(value, str) else 0) == value for column, value in _of_holder(wanted)]
    if wanted.address_id is not None:
        found.append(delivery.c.address_id == wanted.address_id)
    return found


def _param(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger)


HOLDER = (post.c.role, person.c.key.label("person_id"), person.c.name.label("person"))


def deliveries(wanted: Wanted) -> Select:
    """Of one batch (:batch_id): the deliveries after :after, :limit of them."""
    state = sa.func.coalesce(delivery.c.state, batch.c.state)
    found = (
        sa.select(
            delivery.c.batch_id,
            delivery.c.seq,
            delivery.c.alert_id,
            rule.c.tier,
            delivery.c.channel,
            delivery.c.purpose,
            delivery.c.region,
            delivery.c.post_id.label("post"),
            *HOLDER,
            address.c.sealed.label("address"),
            state.label("state"),
            sa.func.coalesce(delivery.c.reason, batch.c.reason).label("reason"),
            batch.c.attempt,
            batch.c.peer,
            batch.c.started,
            batch.c.ended,
            batch.c.doubled,
            delivery.c.synthetic,
        )
        .select_from(_with_holder(delivery.join(batch, batch.c.id == delivery.c.batch_id)))
        .where(delivery.c.batch_id == _param("batch_id"), delivery.c.seq > _param("after"), *_of_delivery(wanted))
    )
    if wanted.state is not None:
        found = found.where(state == wanted.state)
    return found.order_by(delivery.c.seq).limit(_param("limit"))


def _with_holder(source: sa.Join) -> sa.Join:
    of_rule = rule.c.id == sa.func.coalesce(delivery.c.rule_id, batch.c.rule_id)
    source = source.join(rule, of_rule, isouter=True).join(address, address.c.id == delivery.c.address_id, isouter=True)
    return source.join(post, post.c.id == delivery.c.post_id, isouter=True).join(
        person, person.c.id == post.c.person_id, isouter=True
    )


def receipts(wanted: Wanted) -> Select:
    """Of one batch (:batch_id): the receipts after number :after, :limit of them. One may speak for a run of deliveries."""
    one = sa.and_(
        receipt.c.first_seq == receipt.c.last_seq,
        delivery.c.batch_id == receipt.c.batch_id,
        delivery.c.seq == receipt.c.first_seq,
    )
    source = receipt.join(batch, batch.c.id == receipt.c.batch_id)
    source = source.join(delivery, one, isouter=True).join(address, address.c.id == delivery.c.address_id, isouter=True)
    found = (
        sa.select(
            receipt.c.id.label("receipt"),
            batch.c.alert_id,
            receipt.c.batch_id,
            receipt.c.first_seq,
            receipt.c.last_seq,
            batch.c.channel,
            batch.c.purpose,
            delivery.c.region,
            address.c.sealed.label("address"),
            receipt.c.peer,
            receipt.c.origin,
            receipt.c.attempt,
            receipt.c.state,
            receipt.c.code,
            receipt.c.detail,
            receipt.c.ref,
            receipt.c.at,
            receipt.c.recorded,
        )
        .select_from(source)
        .where(receipt.c.batch_id == _param("batch_id"), receipt.c.id > _param("after"), *_within(receipt.c.recorded, wanted))
    )
    if wanted.state is not None:
        found = found.where(receipt.c.state == wanted.state)
    if conditions := _of_delivery(wanted):
        found = found.where(_speaks_of(conditions))
    return found.order_by(receipt.c.id).limit(_param("limit"))


def _speaks_of(conditions: list[Condition]) -> Condition:
    """Of a receipt: among the deliveries that it speaks for is one like this."""
    inner = (
        sa.select(delivery.c.seq)
        .select_from(delivery.join(post, post.c.id == delivery.c.post_id, isouter=True))
        .where(
            delivery.c.batch_id == _param("batch_id"),
            delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq),
            *conditions,
        )
    )
    return inner.correlate(receipt).exists()


def said(wanted: Wanted, *, only_answers: bool) -> Select:
    """Replies after number :after, :limit of them; `only_answers`: those that say "we have it". Channel: how they came."""
    found = (
        sa.select(
            reply.c.id.label("reply"),
            reply.c.alert_id,
            reply.c.batch_id,
            reply.c.seq,
            _answered("region").label("region"),
            _answered("channel").label("channel"),
            person.c.key.label("person_id"),
            person.c.name.label("person"),
            reply.c.how,
            reply.c.verb,
            reply.c.settled,
            reply.c.flag,
            reply.c.said,
            reply.c.address,
            reply.c.counts,
            reply.c.who,
            reply.c.peer,
            reply.c.at,
            reply.c.recorded,
        )
        .select_from(reply.join(person, person.c.id == reply.c.person_id, isouter=True))
        .where(reply.c.id > _param("after"), *_within(reply.c.recorded, wanted))
    )
    if only_answers:
        found = found.where(reply.c.verb.in_(replies.ANSWERS))
    if wanted.alert_id is not None:
        found = found.where(reply.c.alert_id == wanted.alert_id)
    if wanted.channel is not None:
        found = found.where(reply.c.how == wanted.channel)
    if wanted.names_posts:
        found = found.where(reply.c.person_id.in_(sa.select(post.c.person_id).where(post.c.id.in_(posts(wanted)))))
    if wanted.region is not None:
        here = sa.select(post.c.person_id).where(in_region(post.c.region, wanted.region))
        theirs = sa.and_(reply.c.batch_id.is_(None), reply.c.person_id.in_(here))  # of no delivery: by where they hold a post
        found = found.where(sa.or_(in_region(_answered("region"), wanted.region), theirs))
    return found.order_by(reply.c.id).limit(_param("limit"))


def _answered(column: str) -> sa.ScalarSelect[str]:
    """Of the delivery that a reply answers. Looked up for each reply: a join might read all deliveries for a few."""
    its = (delivery.c.batch_id == reply.c.batch_id, delivery.c.seq == reply.c.seq)
    return sa.select(delivery.c[column]).where(*its).scalar_subquery()


def callouts(wanted: Wanted) -> Select:
    """Duties after number :after, :limit of them. Their time is when they were opened."""
    source = callout.join(post, post.c.id == callout.c.post_id, isouter=True)
    found = (
        sa.select(
            callout.c.id.label("callout"),
            callout.c.alert_id,
            callout.c.duty,
            callout.c.region,
            callout.c.post_id.label("post"),
            post.c.rank,
            *HOLDER,
            callout.c.state,
            callout.c.step.label("rung"),
            callout.c.calls,
            callout.c.opened,
            callout.c.due,
            callout.c.next_step,
            callout.c.answered,
            callout.c.how,
            callout.c.answered_by,
            callout.c.measures_due,
        )
        .select_from(source.join(person, person.c.id == post.c.person_id, isouter=True))
        .where(callout.c.id > _param("after"), *_within(callout.c.opened, wanted))
    )
    if wanted.alert_id is not None:
        found = found.where(callout.c.alert_id == wanted.alert_id)
    if wanted.region is not None:
        found = found.where(in_region(callout.c.region, wanted.region))
    if wanted.names_posts:
        found = found.where(callout.c.post_id.in_(posts(wanted)))
    if wanted.state is not None:
        found = found.where(callout.c.state == wanted.state)
    return found.order_by(callout.c.id).limit(_param("limit"))


def entries(wanted: Wanted) -> Select:
    """Entries after (:at, :chain, :n), :limit of them, in the order of time."""
    mark = sa.tuple_(_param("at"), sa.bindparam("chain", type_=sa.Text), _param("n"))
    found = sa.select(entry.c.chain, entry.c.n, entry.c.at, entry.c.kind, entry.c.who, entry.c.body).where(
        sa.tuple_(entry.c.at, entry.c.chain, entry.c.n) > mark, *_within(entry.c.at, wanted)
    )
    if wanted.alert_id is not None:
        found = found.where(entry.c.chain == of_alert(wanted.alert_id))
    if wanted.kind is not None:
        found = found.where(entry.c.kind == wanted.kind)
    return found.order_by(entry.c.at, entry.c.chain, entry.c.n).limit(_param("limit"))


# ── what is named exists ──


def missing(tx: sa.Connection, given: Mapping[str, Any]) -> str:
    """Which of the things named was never here, in words; "" when all are known. An empty answer would look like a good one."""
    region = given.get("region")
    questions: dict[str, list[Select]] = {
        "alert_id": [sa.select(alert.c.id).where(alert.c.id == given.get("alert_id"))],
        "post": [sa.select(post.c.id).where(post.c.id == given.get("post"))],
        "role": [sa.select(post.c.id).where(post.c.role == given.get("role"))],
        "person": [sa.select(person.c.id).where(person.c.key == given.get("person"))],
    }
    if region:
        places = (alert_region.c.region, post.c.region)
        questions["region"] = [sa.select(column).where(in_region(column, region)) for column in places]
    for name, statements in questions.items():
        if given.get(name) is not None and all(tx.execute(one.limit(1)).first() is None for one in statements):
            return f"{name.removesuffix('_id')} {str(given[name])[:30]!r}"
    return ""


def address_of(tx: sa.Connection, sealed: bytes) -> int:
    """The number of an address; 0 when nothing was ever planned for it."""
    return int(tx.execute(sa.select(address.c.id).where(address.c.sealed == sealed)).scalar() or 0)


def batch_of(tx: sa.Connection, receipt_id: int) -> int | None:
    """The batch that a receipt is of."""
    return tx.execute(sa.select(receipt.c.batch_id).where(receipt.c.id == receipt_id)).scalar()


def moment_of(tx: sa.Connection, name: str, n: int) -> int | None:
    """When an entry was made."""
    return tx.execute(sa.select(entry.c.at).where(entry.c.chain == name, entry.c.n == n)).scalar()
