"""Books: the county's plans, regions and roles as they were last imported. The newest that passed its checks is in force."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from . import chain
from .tables import book


@dataclass(frozen=True, slots=True)
class Book:
    """File names and their texts."""

    id: int
    kind: str
    files: Mapping[str, str]
    sha256: str
    imported: int


def digest(files: Mapping[str, str]) -> str:
    """One hash over names and texts, whatever their order."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def put(tx: sa.Connection, kind: str, files: Mapping[str, str], now: int, who: str) -> bool:
    """Puts files in force; False when they are in force already. The caller has checked them."""
    sha256 = digest(files)
    current = in_force(tx, kind)
    if current is not None and current.sha256 == sha256:
        return False
    tx.execute(
        book.insert().values(
            kind=kind, files=json.dumps(dict(files), ensure_ascii=False), sha256=sha256, imported=now, imported_by=who
        )
    )
    chain.append(tx, chain.HOUSE, f"{kind}.imported", now, {"sha256": sha256, "files": sorted(files)}, who)
    return True


def in_force(tx: sa.Connection, kind: str) -> Book | None:
    """The newest book of a kind."""
    row = tx.execute(sa.select(book).where(book.c.kind == kind).order_by(book.c.id.desc()).limit(1)).first()
    return None if row is None else Book(row.id, row.kind, json.loads(row.files), row.sha256, row.imported)


def newest(tx: sa.Connection) -> dict[str, int]:
    """The newest book's id of each kind: cheap to ask, to see whether something changed."""
    rows = tx.execute(sa.select(book.c.kind, sa.func.max(book.c.id)).group_by(book.c.kind))
    return {row[0]: row[1] for row in rows}
