"""The county's people in the ledger: persons, posts and targets.

An import may hold half a million rows, and on SQLite a long transaction would hold up an alarm. So targets are written in
slices beside those in force, the change-over is one short transaction, and the old ones are cleared in slices again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain as joined
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa

from ..alert import RegionCode
from ..tiers.roster import Person, Place, Post, Resident
from . import chain, proof
from .engine import Database
from .seal import Seal
from .tables import address, person, post, roster, target

_T = TypeVar("_T")

PHONE_CHANNELS = ("sms", "voice")  # a person's phone is a target on both
SLICE = 1000  # rows of one transaction; about 20 ms
PAUSE = 0.005


def replace(
    database: Database,
    seal: Seal,
    persons: Iterable[Person],
    posts: Iterable[Post],
    places: Iterable[Place],
    residents: Iterable[Resident],
    *,
    who: str,
    now: int,
    progress: Callable[[int], None] = lambda _done: None,
) -> None:
    """Replaces the roster. Until the change-over the old one is in force; deliveries keep what they were planned with."""
    people, held = list(persons), list(posts)
    with database.write() as tx:
        began = tx.execute(roster.insert().values(began=now, in_force=False, imported_by=who).returning(roster.c.id)).scalar_one()
    rows = joined((_place(one, seal) for one in places), (_resident(one, seal) for one in residents))
    done = 0
    for chunk in _chunks(rows, SLICE):
        with database.write(patient=True) as tx:
            _add_targets(tx, began, chunk, now)
        done += len(chunk)
        progress(done)
        time.sleep(PAUSE)
    with database.write() as tx:
        ids = _upsert_persons(tx, seal, people, now)
        _upsert_posts(tx, held, ids, now)
        _add_targets(tx, began, [made for one in people for made in _targets_of(one, ids[one.person_id], seal)], now)
        _add_targets(tx, began, list(_test_targets(people, held, seal)), now)
        tx.execute(roster.update().where(roster.c.in_force).values(in_force=False))
        tx.execute(roster.update().where(roster.c.id == began).values(in_force=True, imported=now))
        body = {"roster": began, "persons": len(people), "posts": len(held), "other_targets": done}
        chain.append(tx, chain.HOUSE, "roster.imported", now, body, who)
    _clear(database)


def _add_targets(tx: sa.Connection, roster_id: int, rows: list[dict[str, Any]], now: int) -> None:
    """Each address is one row of `address`, whoever has it."""
    if not rows:
        return
    known = proof.add_addresses(tx, (row["sealed"] for row in rows), now)
    made = [
        {**{k: v for k, v in row.items() if k != "sealed"}, "address_id": known[row["sealed"]], "roster_id": roster_id}
        for row in rows
    ]
    tx.execute(target.insert(), made)


def _upsert_persons(tx: sa.Connection, seal: Seal, persons: list[Person], now: int) -> dict[str, int]:
    """Writes only what changed; who is gone keeps the row, marked as ended. Returns person_id → id."""
    before = {row.key: row for row in tx.execute(sa.select(person))}
    fresh = []
    for one in persons:
        values = {"name": seal.seal(one.name), "synthetic": one.synthetic, "test": one.test, "ended": None}
        row = before.get(one.person_id)
        if row is None:
            fresh.append({"key": one.person_id, **values})
        elif (row.name and bytes(row.name), row.synthetic, row.test, row.ended) != tuple(values.values()):
            tx.execute(person.update().where(person.c.id == row.id).values(**values))
    if fresh:
        tx.execute(person.insert(), fresh)
    gone = set(before) - {one.person_id for one in persons}
    for part in _chunks(iter(sorted(gone)), 500):
        tx.execute(person.update().where(person.c.key.in_(part), person.c.ended.is_(None)).values(ended=now))
    return {row.key: row.id for row in tx.execute(sa.select(person.c.key, person.c.id))}


def _upsert_posts(tx: sa.Connection, posts: list[Post], ids: dict[str, int], now: int) -> None:
    before = {(row.person_id, row.role, row.region): row for row in tx.execute(sa.select(post))}
    wanted = {(ids[one.person_id], one.role, str(one.region)): one.rank for one in posts}
    fresh = []
    for key, rank in wanted.items():
        row = before.get(key)
        if row is None:
            fresh.append({"person_id": key[0], "role": key[1], "region": key[2], "rank": rank})
        elif row.rank != rank or row.ended is not None:
            tx.execute(post.update().where(post.c.id == row.id).values(rank=rank, ended=None))
    if fresh:
        tx.execute(post.insert(), fresh)
    gone = [row.id for key, row in before.items() if key not in wanted and row.ended is None]
    for part in _chunks(iter(gone), 500):
        tx.execute(post.update().where(post.c.id.in_(part)).values(ended=now))


def _clear(database: Database) -> None:
    """Clears the targets of rosters that are not in force, also of an import that was broken off."""
    old = sa.select(roster.c.id).where(~roster.c.in_force)
    some = sa.select(target.c.id).where(target.c.roster_id.in_(old)).limit(SLICE)
    while True:
        with database.write(patient=True) as tx:
            if not tx.execute(target.delete().where(target.c.id.in_(some))).rowcount:
                return
        time.sleep(PAUSE)


def _targets_of(one: Person, person_id: int, seal: Seal) -> Iterator[dict[str, Any]]:
    addresses = [(channel, one.phone) for channel in PHONE_CHANNELS] + [("zwdd", one.zwdd), ("grid", one.grid)]
    for channel, given in addresses:
        if given:
            yield _target("post", channel, "", seal.seal(given), one.synthetic, one.test) | {"person_id": person_id}


def _test_targets(people: Iterable[Person], posts: Iterable[Post], seal: Seal) -> Iterator[dict[str, Any]]:
    """Who is registered for tests hears the tests of each region that they hold a post for."""
    testers = {one.person_id: one for one in people if one.test}
    for person_id, region in dict.fromkeys((held.person_id, held.region) for held in posts if held.person_id in testers):
        for made in _targets_of(testers[person_id], 0, seal):
            yield made | {"audience": "tester", "region": region, "person_id": None}


def _place(one: Place, seal: Seal) -> dict[str, Any]:
    return _target("place", one.channel, one.region, seal.seal(one.address), one.synthetic, one.test)


def _resident(one: Resident, seal: Seal) -> dict[str, Any]:
    return _target("resident", "sms", one.region, seal.seal(one.phone), one.synthetic, False)


def _target(audience: str, channel: str, region: str, sealed: bytes, synthetic: bool, test: bool) -> dict[str, Any]:
    return {
        "audience": audience,
        "channel": channel,
        "region": region,
        "person_id": None,
        "sealed": sealed,
        "synthetic": synthetic,
        "test": test,
    }


def _chunks(rows: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


def read(tx: sa.Connection, seal: Seal) -> tuple[tuple[Person, ...], tuple[Post, ...], tuple[Place, ...]]:
    """The roster in force (without residents), to show what an import would change."""
    addresses: dict[int, dict[str, str]] = {}
    places = []
    rows = (
        sa.select(target, address.c.sealed)
        .join(roster, sa.and_(roster.c.id == target.c.roster_id, roster.c.in_force))
        .join(address, address.c.id == target.c.address_id)
        .where(target.c.audience.in_(("post", "place")))
        .order_by(target.c.id)
    )
    for row in tx.execute(rows):
        opened = seal.open(row.sealed)
        if row.person_id is None:
            places.append(Place(RegionCode(row.region), row.channel, opened, bool(row.synthetic), bool(row.test)))
        else:
            addresses.setdefault(row.person_id, {})[row.channel] = opened
    keys, persons = {}, []
    for row in tx.execute(sa.select(person).where(person.c.ended.is_(None)).order_by(person.c.id)):
        keys[row.id] = row.key
        known = addresses.get(row.id, {})
        persons.append(
            Person(
                person_id=row.key,
                name=seal.show(row.name),
                synthetic=bool(row.synthetic),
                phone=known.get("sms", ""),
                zwdd=known.get("zwdd", ""),
                grid=known.get("grid", ""),
                test=bool(row.test),
            )
        )
    posts = [
        Post(keys[row.person_id], row.role, RegionCode(row.region), row.rank)
        for row in tx.execute(sa.select(post).where(post.c.ended.is_(None)).order_by(post.c.id))
    ]
    return tuple(persons), tuple(posts), tuple(places)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a post: the role's code, and the name, sealed."""

    role: str
    name: bytes | None  # None: erased


def holders_of(tx: sa.Connection, posts: Sequence[int]) -> dict[int, Holder]:
    """The holders of these posts, also of posts that have ended."""
    rows = tx.execute(
        sa.select(post.c.id, post.c.role, person.c.name).join(person, person.c.id == post.c.person_id).where(post.c.id.in_(posts))
    )
    return {row.id: Holder(row.role, row.name) for row in rows}
