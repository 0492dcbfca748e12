"""The database under the ledger: how it is opened, how a transaction begins, what its failures mean."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import exc

from ..errors import InvalidFiles, LedgerUnavailable, Problem
from . import chain

Transaction = sa.Connection  # what `read` and `write` give: rooms above name the type, never SQLAlchemy
Row: TypeAlias = "sa.Row[*tuple[Any, ...]]"

BUSY_WAIT = 30.0  # seconds a writer waits for SQLite's one write lock before it says so


def millis_now() -> int:
    """This host's clock, in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class Database:
    """One engine and the ways to use it: `read()`, `write()` and, for a long look, `snapshot()`.

    `key`: of the MACs of entries, which every write transaction carries.
    """

    def __init__(self, url: str, key: bytes) -> None:
        self.url = _read_url(url)
        self._key = key
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A snapshot to read from. Raises LedgerUnavailable."""
        with _told(self.url), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """The same, and every statement sees the same moment, also on PostgreSQL."""
        with _told(self.url), self.engine.connect() as connection:
            yield connection if self.is_sqlite else connection.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[sa.Connection]:
        """One short transaction, committed at the end with the entries it has to make. Never hold it over a network call.

        SQLite has one writer and no queue: whoever asks more often gets the lock sooner. `patient` writers (bulk) ask
        ten times less often, so that an alarm's commit overtakes them. Raises LedgerUnavailable.
        """
        with _told(self.url), self.engine.connect() as connection:
            if self.is_sqlite:
                _begin_immediate(connection, 0.005 if patient else 0.0005)
            with connection.begin():
                chain.begin(connection, chain.Unit(self._key, millis_now()))
                try:
                    yield connection
                    chain.flush(connection)
                finally:
                    chain.end(connection)

    def now(self, connection: sa.Connection) -> int:
        """The database's clock in milliseconds: leases are counted by it, so hosts need not agree."""
        return int(connection.execute(sa.select(self.clock())).scalar_one())

    def clock(self) -> sa.ColumnElement[int]:
        """The database's clock as an expression."""
        return sa.literal_column(_CLOCK["sqlite" if self.is_sqlite else "postgresql"], sa.BigInteger)

    def close(self) -> None:
        """Gives all connections back."""
        self.engine.dispose()


_CLOCK = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def _read_url(url: str) -> sa.URL:
    """Raises InvalidFiles, without repeating a URL that may hold a password."""
    try:
        found = sa.make_url(url)
    except exc.ArgumentError:
        found = None
    if found is None or found.get_backend_name() not in ("sqlite", "postgresql"):
        text = "BROADCAST_DATABASE_URL is not a ledger's: use postgresql://USER@HOST/NAME or sqlite:///FILE"
        raise InvalidFiles([Problem("environment", 0, "error", text)])
    return found


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        hide_parameters=True,  # an error of the database must not show what was written
        poolclass=sa.pool.QueuePool,
        pool_size=8,
        max_overflow=64,
        connect_args={"timeout": 0, "check_same_thread": False, "isolation_level": None, "cached_statements": 512},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in _PRAGMAS:
            _patiently(lambda pragma=pragma: connection.execute(pragma))  # type: ignore[misc]

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A write transaction has already begun (see `write`); a read one is begun here, deferred.
        driver: Any = connection.connection.dbapi_connection
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN")

    return engine


# FULL: a commit is on the disk before we ring or answer. recursive_triggers: REPLACE must not get round the triggers.
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA cache_size = -65536",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 4000",
)


def _patiently(action: Callable[[], Any], pause: float = 0.002) -> None:
    """Repeats while another process holds the lock, up to BUSY_WAIT."""
    deadline = time.monotonic() + BUSY_WAIT
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) and "busy" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise
        time.sleep(pause)


def _begin_immediate(connection: sa.Connection, pause: float) -> None:
    driver: Any = connection.connection.dbapi_connection
    try:
        _patiently(lambda: driver.execute("BEGIN IMMEDIATE"), pause)
    except sqlite3.OperationalError as error:
        raise exc.OperationalError("BEGIN IMMEDIATE", None, error) from error


def _postgresql(url: sa.URL) -> sa.Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return sa.create_engine(
        url, hide_parameters=True, pool_size=8, max_overflow=64, pool_pre_ping=True, connect_args={"connect_timeout": 5}
    )


@contextmanager
def _told(url: sa.URL) -> Iterator[None]:
    """Says what a database failure means and what to do, without the password of the URL."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError, sqlite3.OperationalError) as error:
        text = str(getattr(error, "orig", None) or error)
        if isinstance(error, exc.DBAPIError) and not isinstance(error, _ABOUT_THE_SERVER) and not _known(text):
            raise  # a mistake of ours in a statement
        raise LedgerUnavailable(f"{_known(text) or _unknown(text)} ({url.render_as_string(hide_password=True)})") from error


_ABOUT_THE_SERVER = (exc.OperationalError, exc.InterfaceError)


_MEANINGS = {
    "database or disk is full": "the disk of the ledger is full: make room, nothing of this step was recorded",
    "locked": f"another process holds the ledger's write lock for more than {BUSY_WAIT:.0f} s: find it and end it",
    "unable to open": "the ledger's file cannot be opened: check the folder and its permissions",
    "readonly": "the ledger's file may only be read: check its permissions",
    "read-only transaction": "this PostgreSQL only reads (a replica?): name the one that writes in BROADCAST_DATABASE_URL",
    "not a database": "the ledger's file is not a database, or another key's: stop, copy it away, restore the backup",
    "no such table": "the ledger has no tables yet, or older ones: run `broadcast init`, or `broadcast ledger migrate`",
    "does not exist": "the ledger's database or tables do not exist: create it, then run `broadcast init`",
    "malformed": "the ledger's file is damaged: stop, copy it away, restore the backup",
    "disk I/O": "the disk of the ledger does not answer: check it",
}


def _known(text: str) -> str:
    return next((meaning for sign, meaning in _MEANINGS.items() if sign in text), "")


def _unknown(text: str) -> str:
    return f"the ledger's database is not reachable: {text.splitlines()[0][:200]}"
