"""New databases on the session's PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa


def new_database(server: str, folder: Path, template: str = "") -> str:
    """An empty one, or a copy of `template` (a URL that nobody is connected to). Returns its URL."""
    name = f"t{abs(hash(str(folder))):x}"
    url = sa.make_url(server).set(drivername="postgresql+psycopg")
    like = f' TEMPLATE "{sa.make_url(template).database}"' if template else ""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"{like}')
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)
