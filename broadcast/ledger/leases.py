"""Who does the work that only one may do at a time, and which far ends are left alone for a while."""

from __future__ import annotations

import sqlalchemy as sa

from .engine import Database, Row
from .tables import breaker, lease


def hold(database: Database, name: str, holder: str, seconds: float) -> bool:
    """Takes or renews the lease `name`; False when somebody else holds it. By the database's clock."""
    with database.write() as tx:
        until = database.now(tx) + int(seconds * 1000)
        taken = tx.execute(
            lease.update()
            .where(lease.c.name == name, sa.or_(lease.c.holder == holder, lease.c.until < database.clock()))
            .values(holder=holder, until=until, fence=lease.c.fence + 1)
        ).rowcount
        if taken:
            return True
        return bool(
            tx.execute(
                sa.text(
                    "INSERT INTO lease (name, holder, until, fence) VALUES (:name, :holder, :until, 1)"
                    " ON CONFLICT (name) DO NOTHING"
                ),
                {"name": name, "holder": holder, "until": until},
                execution_options={"preserve_rowcount": True},
            ).rowcount
        )


def let_go(database: Database, name: str, holder: str) -> None:
    """Gives a lease back early, so that another may go on at once."""
    with database.write() as tx:
        tx.execute(lease.update().where(lease.c.name == name, lease.c.holder == holder).values(until=0))


def held(tx: sa.Connection, database: Database) -> dict[str, bool]:
    """Which leases are held now."""
    rows = tx.execute(sa.select(lease.c.name, lease.c.until > database.clock()))
    return {name: bool(alive) for name, alive in rows}


OPEN_AFTER = 5  # failures in a row
OPEN_SECONDS = 15


def failed(tx: sa.Connection, peer: str, reason: str, now: int) -> None:
    """Counts a failure of a far end; after OPEN_AFTER in a row it is left alone."""
    row = tx.execute(sa.select(breaker).where(breaker.c.peer == peer).with_for_update()).first()
    failures = (row.failures if row else 0) + 1
    pause = OPEN_SECONDS if failures >= OPEN_AFTER else 0
    values = {"failures": failures, "open_until": now + int(pause * 1000), "reason": reason[:300]}
    if row is None:
        tx.execute(
            sa.text(
                "INSERT INTO breaker (peer, failures, open_until, reason, since)"
                " VALUES (:peer, :failures, :open_until, :reason, :since) ON CONFLICT (peer) DO NOTHING"
            ),
            {**values, "peer": peer, "since": now},
        )
        return
    since = row.since if row.failures else now
    tx.execute(breaker.update().where(breaker.c.peer == peer).values(**values, since=since))


def worked(tx: sa.Connection, peer: str, now: int) -> None:
    """A far end answered: what was counted against it is forgotten. Writes only when something was."""
    tx.execute(
        breaker.update()
        .where(breaker.c.peer == peer, breaker.c.failures > 0)
        .values(failures=0, open_until=0, reason="", since=now)
    )


def failing(tx: sa.Connection) -> list[Row]:
    """The far ends whose last call failed, with how often in a row; `open_until` in the future: left alone now."""
    return list(tx.execute(sa.select(breaker).where(breaker.c.failures > 0)))
