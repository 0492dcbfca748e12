"""New, empty databases on the session's PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa


def new_database(server: str, folder: Path) -> str:
    name = f"t{abs(hash(str(folder))):x}"
    url = sa.make_url(server).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)
