"""The county's people in the ledger: persons, posts and targets, imported as a whole and replaced in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import sqlalchemy as sa

from ..alert import RegionCode
from ..tiers.roster import Person, Place, Post, Resident
from .seal import Seal
from .tables import person, post, target

_T = TypeVar("_T")

PHONE_CHANNELS = ("sms", "voice")  # a person's phone is a target on both


def replace(
    tx: sa.Connection,
    seal: Seal,
    persons: Iterable[Person],
    posts: Iterable[Post],
    places: Iterable[Place],
    residents: Iterable[Resident],
    progress: Callable[[int], None] = lambda _done: None,
) -> None:
    """Replaces the roster. Deliveries keep the address that they were planned with, so nothing of the past changes."""
    for table in (target, post, person):
        tx.execute(table.delete())
    rows = list(persons)
    ids = {one.person_id: n for n, one in enumerate(rows, 1)}
    _insert(
        tx,
        person,
        (
            {
                "id": ids[one.person_id],
                "key": one.person_id,
                "name": seal.seal(one.name),
                "synthetic": one.synthetic,
                "test": one.test,
            }
            for one in rows
        ),
    )
    _insert(
        tx,
        post,
        ({"person_id": ids[one.person_id], "role": one.role, "region": one.region, "rank": one.rank} for one in posts),
    )
    _insert(tx, target, (made for one in rows for made in _targets_of(one, ids[one.person_id], seal)))
    _insert(tx, target, (_place(one, seal) for one in places))
    done = 0
    for chunk in _chunks(residents, 5000):
        tx.execute(target.insert(), [_resident(one, seal) for one in chunk])
        done += len(chunk)
        progress(done)


def _targets_of(one: Person, person_id: int, seal: Seal) -> Iterator[dict[str, object]]:
    addresses = [(channel, one.phone) for channel in PHONE_CHANNELS] + [("zwdd", one.zwdd), ("grid", one.grid)]
    for channel, address in addresses:
        if address:
            yield {
                "audience": "post",
                "channel": channel,
                "region": "",
                "person_id": person_id,
                "address": seal.seal(address),
                "synthetic": one.synthetic,
                "test": one.test,
            }


def _place(one: Place, seal: Seal) -> dict[str, object]:
    return {
        "audience": "place",
        "channel": one.channel,
        "region": one.region,
        "person_id": None,
        "address": seal.seal(one.address),
        "synthetic": one.synthetic,
        "test": one.test,
    }


def _resident(one: Resident, seal: Seal) -> dict[str, object]:
    return {
        "audience": "resident",
        "channel": "sms",
        "region": one.region,
        "person_id": None,
        "address": seal.seal(one.phone),
        "synthetic": one.synthetic,
        "test": False,
    }


def _insert(tx: sa.Connection, table: sa.Table, rows: Iterable[dict[str, object]]) -> None:
    for chunk in _chunks(rows, 5000):
        tx.execute(table.insert(), chunk)


def _chunks(rows: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


def read(tx: sa.Connection, seal: Seal) -> tuple[tuple[Person, ...], tuple[Post, ...], tuple[Place, ...]]:
    """The roster in force (without residents), to show what an import would change."""
    addresses: dict[int, dict[str, str]] = {}
    places = []
    for row in tx.execute(sa.select(target).where(target.c.audience != "resident").order_by(target.c.id)):
        opened = seal.open(row.address)
        if row.person_id is None:
            places.append(Place(RegionCode(row.region), row.channel, opened, bool(row.synthetic), bool(row.test)))
        else:
            addresses.setdefault(row.person_id, {})[row.channel] = opened
    keys, persons = {}, []
    for row in tx.execute(sa.select(person).order_by(person.c.id)):
        keys[row.id] = row.key
        known = addresses.get(row.id, {})
        persons.append(
            Person(
                person_id=row.key,
                name=seal.open(row.name),
                synthetic=bool(row.synthetic),
                phone=known.get("sms", ""),
                zwdd=known.get("zwdd", ""),
                grid=known.get("grid", ""),
                test=bool(row.test),
            )
        )
    posts = [
        Post(keys[row.person_id], row.role, RegionCode(row.region), row.rank)
        for row in tx.execute(sa.select(post).order_by(post.c.id))
    ]
    return tuple(persons), tuple(posts), tuple(places)
