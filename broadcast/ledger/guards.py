"""Triggers that refuse to change evidence. Every migration makes them anew; a test lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

# The one change that evidence allows: a person is erased (erasing.py). All of a row's personal columns become NULL, at once.
ERASABLE: Mapping[str, tuple[str, ...]] = {
    "address": ("sealed", "salt"),
    "reply": ("said", "address", "salt"),
    "spotcheck_answer": ("said", "salt"),
}
FROZEN_DELIVERY = (
    "batch_id",
    "seq",
    "alert_id",
    "channel",
    "purpose",
    "region",
    "post_id",
    "address_id",
    "rule_id",
    "synthetic",
)  # its state and reason are a projection


def make(connection: sa.Connection, tables: Iterable[str]) -> None:
    """UPDATE and DELETE (and, on PostgreSQL, TRUNCATE) of these tables fail from now on."""
    for table in tables:
        _guard(connection, table, "UPDATE", _but_erasing(connection, table) if table in ERASABLE else "")
        _guard(connection, table, "DELETE", "")


def drop(connection: sa.Connection, table: str) -> None:
    """For a migration that has to change the table itself; it makes them anew."""
    on = "" if connection.dialect.name == "sqlite" else f" ON {table}"
    for action in ("row", "whole", "update", "delete"):
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS guard_{table}_{action}{on}")


def make_for_deliveries(connection: sa.Connection) -> None:
    """Of a delivery only `state` and `reason` may change."""
    _guard(connection, "delivery", f"UPDATE OF {', '.join(FROZEN_DELIVERY)}", "")
    _guard(connection, "delivery", "DELETE", "")


def _but_erasing(connection: sa.Connection, table: str) -> str:
    """True of a row that is changed in any other way than by erasing."""
    columns = [column["name"] for column in sa.inspect(connection).get_columns(table)]
    erased = ERASABLE[table]
    same = "IS" if connection.dialect.name == "sqlite" else "IS NOT DISTINCT FROM"
    if not set(erased) <= set(columns):
        return ""  # an older migration: it has no such columns yet
    parts = [f'NEW."{name}" IS NULL' for name in erased]
    parts += [f'NEW."{name}" {same} OLD."{name}"' for name in columns if name not in erased]
    return f"NOT ({' AND '.join(parts)} AND OLD.salt IS NOT NULL)"


def _guard(connection: sa.Connection, table: str, action: str, when: str) -> None:
    make_one = _sqlite if connection.dialect.name == "sqlite" else _postgresql
    for statement in make_one(table, action, f"WHEN ({when}) " if when else ""):
        connection.exec_driver_sql(statement)


def _text(table: str) -> str:
    return "of a delivery only its state changes" if table == "delivery" else f"{table} is evidence: rows are only added"


def _sqlite(table: str, action: str, when: str) -> list[str]:
    name = f"guard_{table}_{action.partition(' ')[0].lower()}"
    return [
        f"DROP TRIGGER IF EXISTS {name}",
        f"CREATE TRIGGER {name} BEFORE {action} ON {table} {when}BEGIN SELECT RAISE(ABORT, '{_text(table)}'); END",
    ]


def _postgresql(table: str, action: str, when: str) -> list[str]:
    name = f"guard_{table}_{action.partition(' ')[0].lower()}"
    call = f"EXECUTE FUNCTION guard_evidence('{_text(table)}')"
    return [
        "CREATE OR REPLACE FUNCTION guard_evidence() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_ARGV[0]; END $$",
        f"DROP TRIGGER IF EXISTS guard_{table}_row ON {table}",  # of earlier versions
        f"DROP TRIGGER IF EXISTS {name} ON {table}",
        f"CREATE TRIGGER {name} BEFORE {action} ON {table} FOR EACH ROW {when}{call}",
        f"DROP TRIGGER IF EXISTS guard_{table}_whole ON {table}",
        f"CREATE TRIGGER guard_{table}_whole BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {call}",
    ]
