"""What was in the ledger before every row had an entry: taken as it is found, once, by a migration that says so.

From then on it can be proved that it was not changed any more; of the time before that there is only the old chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from . import chain, proof
from .engine import Row, millis_now
from .tables import alert, batch, callout, entry, metadata
from .tables import chain as heads

SLICE = 1000


def adopt(tx: sa.Connection, tables: Sequence[str]) -> None:
    """Gives every entry its MAC, every row of these tables its marks and commitment, and covers them by entries."""
    key = chain.key_of(tx)
    for row in _pages(tx, entry, (entry.c.chain, entry.c.n)):
        values = {"mac": chain.mac(key, row.hash), "marks": chain.marks(row._mapping[name] for name in chain.MARKED)}
        tx.execute(entry.update().where(entry.c.chain == row.chain, entry.c.n == row.n).values(**values))
    for head in tx.execute(sa.select(heads)).all():
        made = chain.head_mac(key, head.name, head.n, head.hash)
        tx.execute(heads.update().where(heads.c.name == head.name).values(mac=made))
    for table in tables:
        _adopt_table(tx, metadata.tables[table])
    for row in tx.execute(sa.select(alert.c.id).order_by(alert.c.id)).all():
        sizes = tx.execute(sa.select(batch.c.id, batch.c.size).where(batch.c.alert_id == row.id).order_by(batch.c.id))
        body = {"table": "batch", "sizes": {str(one.id): one.size for one in sizes}}
        chain.append(tx, chain.of_alert(row.id), "evidence.adopted", millis_now(), body)
    chain.flush(tx)


def _adopt_table(tx: sa.Connection, table: sa.Table) -> None:
    key = table.c[proof.KEY[table.name]]
    chains = _chains(tx, table.name)
    found: dict[str, dict[int, bytes]] = {}
    for row in _pages(tx, table, (key,)):
        number = row._mapping[key.name]
        made = {**row._mapping, **proof.prepared(table.name, [row._mapping])[0]}
        changed = {name: made[name] for name in ("salt", "commitment", "marks") if name in made}
        tx.execute(table.update().where(key == number).values(**changed))
        name = chains(row)
        found.setdefault(name, {})[number] = proof.row_digest(table.name, made)
        if len(found[name]) == SLICE:
            _enter(tx, name, table.name, found.pop(name))
    for name, digests in found.items():
        _enter(tx, name, table.name, digests)


def _enter(tx: sa.Connection, name: str, table: str, digests: Mapping[int, bytes]) -> None:
    chain.cover(tx, name, table, digests)
    chain.append(tx, name, "evidence.adopted", millis_now(), {"table": table})
    chain.flush(tx)


def _chains(tx: sa.Connection, table: str) -> Any:
    """Which chain a row of this table belongs to."""
    if table in ("address", "refused"):
        return lambda _row: chain.HOUSE
    if table == "receipt":
        owner: Mapping[int, int] = dict(tx.execute(sa.select(batch.c.id, batch.c.alert_id)).all())
        return lambda row: _of(owner.get(row.batch_id))
    if table in ("asked", "called"):
        owner = dict(tx.execute(sa.select(callout.c.id, callout.c.alert_id)).all())
        return lambda row: _of(owner.get(row.callout_id))
    return lambda row: _of(row.alert_id)


def _of(alert_id: int | None) -> str:
    return chain.HOUSE if alert_id is None else chain.of_alert(alert_id)


def _pages(tx: sa.Connection, table: sa.Table, key: tuple[sa.Column[Any], ...]) -> Iterator[Row]:
    after: tuple[Any, ...] | None = None
    while True:
        statement = sa.select(table).order_by(*key).limit(SLICE)
        if after is not None:
            last = (sa.literal(value, column.type) for value, column in zip(after, key, strict=True))
            statement = statement.where(sa.tuple_(*key) > sa.tuple_(*last))
        rows = tx.execute(statement).all()
        yield from rows
        if len(rows) < SLICE:
            return
        after = tuple(rows[-1]._mapping[k.name] for k in key)
