"""The ledger: what is owed and what became of it. The only room that knows SQLAlchemy."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ..tiers.roster import mask
from . import (
    alerts,
    anchors,
    asking,
    books,
    callouts,
    chain,
    conditions,
    covering,
    duties,
    erasing,
    fanout,
    inbox,
    leases,
    limits,
    operators,
    people,
    proof,
    questions,
    replies,
    retention,
    sending,
    settling,
    verifying,
)
from .engine import Database, Row, Transaction, millis_now
from .seal import ERASED, Seal, WrongKey

__all__ = [
    "Database",
    "Ledger",
    "Row",
    "Seal",
    "Transaction",
    "alerts",
    "anchors",
    "asking",
    "books",
    "callouts",
    "chain",
    "conditions",
    "covering",
    "duties",
    "erasing",
    "fanout",
    "inbox",
    "leases",
    "limits",
    "millis_now",
    "operators",
    "people",
    "proof",
    "questions",
    "replies",
    "retention",
    "sending",
    "settling",
    "verifying",
]


def _new_mark() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(3))


class Ledger:
    """A database and the key that opens its sealed columns."""

    def __init__(self, url: str, seal: Seal) -> None:
        self.database = Database(url, seal.key_for("entries"))
        self.seal = seal
        self.read = self.database.read
        self.write = self.database.write

    def migrate(self) -> None:
        """Brings the tables to this version's. Raises LedgerUnavailable."""
        from alembic import command  # a tenth of a second of every process's start, needed by this one
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.database.write() as tx:
            config.attributes["connection"] = tx
            command.upgrade(config, "head")
            if books.in_force(tx, "seal") is None:
                books.put(tx, "seal", {"fingerprint": self.seal.fingerprint}, millis_now(), "migrate")
            if books.in_force(tx, "mark") is None:
                books.put(tx, "mark", {"mark": _new_mark()}, millis_now(), "migrate")

    @cached_property
    def mark(self) -> str:
        """Three characters that tell this ledger from others before and after it, for names that far ends remember."""
        with self.read() as tx:
            known = books.in_force(tx, "mark")
        return known.files["mark"] if known else "000"

    def check_seal(self, tx: Transaction) -> None:
        """Raises WrongKey when this ledger was sealed with another key: with a wrong one it would take every number for new."""
        known = books.in_force(tx, "seal")
        if known is not None and known.files["fingerprint"] != self.seal.fingerprint:
            raise WrongKey("this seal key is not the one that the ledger was written with: restore that one")

    def deliveries(
        self,
        *,
        alert_id: int | None = None,
        region: str | None = None,
        channel: str | None = None,
        state: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Deliveries that match all that is given, as dictionaries with masked addresses; pages are fetched as you go."""
        after, left = (0, 0), limit
        while left is None or left > 0:
            page = 500 if left is None else min(500, left)
            wanted = questions.DeliveryQuery(alert_id, region, channel, state, since, page, after)
            with self.read() as tx:
                rows = questions.deliveries(tx, wanted)
            for row in rows:
                yield self._shown(row)
            if len(rows) < page:
                return
            after = (rows[-1]["batch_id"], rows[-1]["seq"])
            left = None if left is None else left - len(rows)

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        shown = {k: v for k, v in row.items() if k not in ("address", "batch_id", "seq")}
        shown["delivery"] = f"{row['batch_id']}.{row['seq']}"
        shown["address"] = ERASED if row["address"] is None else mask(self.seal.open(row["address"]))
        for name in ("started", "ended"):
            when = questions.moment(row[name])
            shown[name] = when.isoformat(timespec="milliseconds") if when else None
        return shown

    def close(self) -> None:
        """Gives the database's connections back."""
        self.database.close()
