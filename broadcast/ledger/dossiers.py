"""What a dossier takes from the ledger: everything of one alert, all of one moment. Addresses and names come back sealed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from . import chain, proof
from .engine import Database, Row
from .tables import address, alert_region, batch, delivery, entry, person, post, receipt, reply, rule, wording

EXPORTED, UNMASKED = "exported", "unmasked"  # kinds of entries
_PAGE = 5000  # rows of one page


@contextmanager
def snapshot(database: Database) -> Iterator[sa.Connection]:
    """Whatever is read in it is of one moment, also while the alert is running. Raises LedgerUnavailable."""
    with database.read() as tx:
        if not database.is_sqlite:  # there a read transaction is one already
            tx.execution_options(isolation_level="REPEATABLE READ")
        yield tx


def entries(tx: sa.Connection, alert_id: int) -> list[Row]:
    """The alert's chain up to the last entry that is no export: an export must not change what the next one says."""
    columns = ("chain", "n", "at", "kind", "who", "body", "previous", "hash")
    its = sa.select(*(entry.c[name] for name in columns)).where(entry.c.chain == chain.of_alert(alert_id)).order_by(entry.c.n)
    rows = list(tx.execute(its))
    while rows and rows[-1].kind == EXPORTED:
        rows.pop()
    return rows


def rules(tx: sa.Connection, alert_id: int) -> list[Row]:
    """What the alert owes, in the order of planning."""
    return list(tx.execute(sa.select(rule).where(rule.c.alert_id == alert_id).order_by(rule.c.n)))


def words(tx: sa.Connection, alert_id: int) -> list[Row]:
    """All frozen words, also those that no rule used."""
    return list(tx.execute(sa.select(wording).where(wording.c.alert_id == alert_id).order_by(wording.c.id)))


def regions(tx: sa.Connection, alert_id: int) -> list[Row]:
    """Whom the alert covers: (region, first)."""
    columns = (alert_region.c.region, alert_region.c.first)
    return list(tx.execute(sa.select(*columns).where(alert_region.c.alert_id == alert_id).order_by(alert_region.c.region)))


def batches(tx: sa.Connection, alert_id: int) -> dict[int, Row]:
    """id → channel, purpose and size of each batch."""
    columns = (batch.c.id, batch.c.channel, batch.c.purpose, batch.c.size)
    return {row.id: row for row in tx.execute(sa.select(*columns).where(batch.c.alert_id == alert_id).order_by(batch.c.id))}


def deliveries(tx: sa.Connection, alert_id: int) -> Iterator[Row]:
    """All deliveries in the order in which they were planned, with the post that they are for."""
    after = (0, 0)
    while True:
        rows = tx.execute(_deliveries(alert_id, after)).all()
        yield from rows
        if len(rows) < _PAGE:
            return
        after = (rows[-1].batch_id, rows[-1].seq)


def _deliveries(alert_id: int, after: tuple[int, int]) -> sa.Select[Any]:
    return (
        sa.select(
            delivery.c.batch_id,
            delivery.c.seq,
            rule.c.tier,
            delivery.c.channel,
            delivery.c.purpose,
            delivery.c.region,
            delivery.c.post_id,
            post.c.role,
            post.c.rank,
            sa.func.coalesce(delivery.c.state, batch.c.state).label("state"),
            sa.func.coalesce(delivery.c.reason, batch.c.reason).label("reason"),
            batch.c.peer,
            batch.c.attempt,
            batch.c.started,
            batch.c.ended,
            address.c.sealed,
        )
        .join(batch, batch.c.id == delivery.c.batch_id)
        .join(rule, rule.c.id == sa.func.coalesce(delivery.c.rule_id, batch.c.rule_id))
        .join(address, address.c.id == delivery.c.address_id)
        .outerjoin(post, post.c.id == delivery.c.post_id)
        .where(
            batch.c.alert_id == alert_id,
            sa.tuple_(delivery.c.batch_id, delivery.c.seq) > sa.tuple_(*(sa.literal(key, sa.BigInteger) for key in after)),
        )
        .order_by(delivery.c.batch_id, delivery.c.seq)
        .limit(_PAGE)
    )


def receipts(tx: sa.Connection, alert_id: int) -> Iterator[Row]:
    """What far ends said, in the order in which it was recorded."""
    of_alert = sa.select(batch.c.id).where(batch.c.alert_id == alert_id)
    columns = ("id", "batch_id", "first_seq", "last_seq", "attempt", "origin", "state", "code", "detail", "peer", "ref", "at")
    statement = sa.select(*(receipt.c[name] for name in columns), receipt.c.recorded)
    after = 0
    while True:
        page = statement.where(receipt.c.batch_id.in_(of_alert), receipt.c.id > after).order_by(receipt.c.id).limit(_PAGE)
        rows = tx.execute(page).all()
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


def replies(tx: sa.Connection, alert_id: int) -> list[Row]:
    """What persons said back, with the sealed words and the sealed name of whoever said them."""
    columns = (
        "id",
        "batch_id",
        "seq",
        "person_id",
        "verb",
        "how",
        "peer",
        "said",
        "counts",
        "who",
        "settled",
        "flag",
        "at",
        "recorded",
    )
    return list(
        tx.execute(
            sa.select(*(reply.c[name] for name in columns), person.c.name)
            .outerjoin(person, person.c.id == reply.c.person_id)
            .where(reply.c.alert_id == alert_id)
            .order_by(reply.c.id)
        )
    )


def evidence_rows(tx: sa.Connection, alert_id: int) -> Iterator[Mapping[str, Any]]:
    """{"table": …, "row": {column: value}}: what the alert's entries cover, fit to redo their digests."""
    return proof.exported(tx, alert_id)


def exported(tx: sa.Connection, alert_id: int, body: Mapping[str, Any], who: str, now: int) -> None:
    """Says in the alert's chain that a dossier was made, and for whom.

    What was shown with names is said in the house's chain too, where every unmasking is.
    """
    chain.append(tx, chain.of_alert(alert_id), EXPORTED, now, body, who)
    if not body["masked"]:
        said = {"what": "dossier", "alert": alert_id, "reason": body["reason"], "names": body["names"]}
        chain.append(tx, chain.HOUSE, UNMASKED, now, said, who)
