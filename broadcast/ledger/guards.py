"""Triggers that refuse to change evidence. Every migration makes them anew; a test lists them."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa


def make(connection: sa.Connection, tables: Iterable[str]) -> None:
    """UPDATE and DELETE (and, on PostgreSQL, TRUNCATE) of these tables fail from now on."""
    statements = _sqlite if connection.dialect.name == "sqlite" else _postgresql
    for table in tables:
        for statement in statements(table):
            connection.exec_driver_sql(statement)


def _sqlite(table: str) -> list[str]:
    made = []
    for action in ("UPDATE", "DELETE"):
        name = f"guard_{table}_{action.lower()}"
        made.append(f"DROP TRIGGER IF EXISTS {name}")
        made.append(
            f"CREATE TRIGGER {name} BEFORE {action} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is evidence: rows are only added'); END"
        )
    return made


def _postgresql(table: str) -> list[str]:
    return [
        "CREATE OR REPLACE FUNCTION guard_evidence() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is evidence: rows are only added'; END $$",
        f"DROP TRIGGER IF EXISTS guard_{table}_row ON {table}",
        f"CREATE TRIGGER guard_{table}_row BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION guard_evidence()",
        f"DROP TRIGGER IF EXISTS guard_{table}_whole ON {table}",
        f"CREATE TRIGGER guard_{table}_whole BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION guard_evidence()",
    ]
