"""How far ends and their systems stand: heartbeats, terminal states, what plays where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .engine import Row
from .tables import address, alert, batch, condition, delivery, roster, target


@dataclass(frozen=True, slots=True)
class Seen:
    """One word about a system; address "" = the far end itself."""

    peer: str
    address: str
    region: str
    standing: str
    detail: str
    at: int | None


def note(tx: sa.Connection, seen: Sequence[Seen], now: int) -> None:
    """The newest word of each stands; how it was before is in the inbox."""
    newest = {(one.peer, one.address): one for one in seen}
    for (peer, name), one in newest.items():
        values: dict[str, Any] = {
            "region": one.region,
            "standing": one.standing,
            "detail": one.detail[:200],
            "at": one.at,
            "heard": now,
        }
        which = (condition.c.peer == peer, condition.c.address == name)
        if not tx.execute(condition.update().where(*which).values(**values)).rowcount:
            tx.execute(condition.insert().values(peer=peer, address=name, **values))


def of_peers(tx: sa.Connection) -> list[Row]:
    """How each far end itself stands, of those that ever said something."""
    return list(tx.execute(sa.select(condition).where(condition.c.address == "").order_by(condition.c.peer)))


def of_systems(tx: sa.Connection, region: str) -> list[Row]:
    """How each system under `region` stands that a far end ever spoke of: a village may have many terminals."""
    under = condition.c.region.startswith(region, autoescape=True)
    return list(tx.execute(sa.select(condition).where(condition.c.address != "", under).order_by(condition.c.region)))


def speakers(tx: sa.Connection, region: str) -> list[Row]:
    """Every loudspeaker system of the roster under `region`, with what became of the last alarm sent to it."""
    # By batch: deliveries have no index by address alone, and loudspeaker batches are few.
    last = (
        sa.select(delivery.c.address_id, sa.func.max(delivery.c.batch_id).label("batch_id"))
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(batch.c.channel == "speaker", batch.c.purpose == "alarm")
        .group_by(delivery.c.address_id)
        .subquery("last")
    )
    state = sa.func.coalesce(delivery.c.state, batch.c.state)
    statement = (
        sa.select(
            target.c.region,
            address.c.sealed,
            delivery.c.alert_id,
            alert.c.headline,
            state.label("state"),
            sa.func.coalesce(delivery.c.reason, batch.c.reason).label("reason"),
        )
        .select_from(
            target.join(roster, sa.and_(roster.c.id == target.c.roster_id, roster.c.in_force))
            .join(address, address.c.id == target.c.address_id)
            .outerjoin(last, last.c.address_id == target.c.address_id)
            .outerjoin(delivery, sa.and_(delivery.c.batch_id == last.c.batch_id, delivery.c.address_id == target.c.address_id))
            .outerjoin(batch, batch.c.id == delivery.c.batch_id)
            .outerjoin(alert, alert.c.id == delivery.c.alert_id)
        )
        .where(
            target.c.audience == "place",
            target.c.channel == "speaker",
            ~target.c.test,
            target.c.region.startswith(region, autoescape=True),
        )
        .order_by(target.c.region)
    )
    return list(tx.execute(statement))
