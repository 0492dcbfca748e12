"""The ledger: what is owed and what became of it. The only room that knows SQLAlchemy."""

from __future__ import annotations

import secrets
import string
from functools import cached_property
from pathlib import Path

from . import (
    alerts,
    anchors,
    asking,
    audits,
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
from .audits import Audits
from .engine import Database, Row, Transaction, millis_now
from .seal import Seal, WrongKey

__all__ = [
    "Database",
    "Ledger",
    "Row",
    "Seal",
    "Transaction",
    "alerts",
    "anchors",
    "asking",
    "audits",
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


class Ledger(Audits):
    """A database and the key that opens its sealed columns; what auditors ask of it: audits.py."""

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

    def close(self) -> None:
        """Gives the database's connections back."""
        self.database.close()
