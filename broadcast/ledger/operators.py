"""Operators: named people who may draft, approve and import; each proves who they are with a PIN or token."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import dataclass

import sqlalchemy as sa

from ..errors import NotAllowed
from . import chain
from .engine import Row
from .tables import operator

_COST = {"n": 2**14, "r": 8, "p": 1}  # scrypt, about 50 ms: a stolen table does not give short PINs away cheaply
LOCK_AFTER = 5  # wrong PINs in a row
LOCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who has proved who they are."""

    name: str
    roles: frozenset[str]


def add(tx: sa.Connection, name: str, roles: list[str], pin: str, now: int, who: str) -> None:
    """Adds an operator, or gives an existing one new roles and a new PIN. Raises NotAllowed for a PIN that is too short."""
    if len(pin) < 6:
        raise NotAllowed("a PIN has at least 6 characters")
    if not name.strip():
        raise NotAllowed("an operator has a name")
    values = {
        "roles": json.dumps(sorted(roles)),
        "pin": _hash(pin, os.urandom(16)),
        "disabled": None,
        "failures": 0,
        "locked_until": None,
    }
    changed = tx.execute(operator.update().where(operator.c.name == name).values(**values)).rowcount
    if not changed:
        tx.execute(operator.insert().values(name=name, added=now, **values))
    chain.append(
        tx,
        chain.HOUSE,
        "operator.changed" if changed else "operator.added",
        now,
        {"name": name, "roles": sorted(roles)},
        who,
    )


def disable(tx: sa.Connection, name: str, now: int, who: str) -> bool:
    """This operator may do nothing any more; False when there is none by that name."""
    changed = tx.execute(
        operator.update().where(operator.c.name == name, operator.c.disabled.is_(None)).values(disabled=now)
    ).rowcount
    if changed:
        chain.append(tx, chain.HOUSE, "operator.disabled", now, {"name": name}, who)
    return bool(changed)


def check(tx: sa.Connection, name: str, pin: str, now: int) -> Operator | None:
    """Who this is; None (and one more failure counted) when the PIN is wrong. Raises NotAllowed while locked out.

    The caller commits in either case: the count of failures must survive the refusal.
    """
    row = tx.execute(sa.select(operator).where(operator.c.name == name).with_for_update()).first()
    if row is None or row.disabled is not None:
        _hash(pin, b"0" * 16)  # the same time for a name that does not exist
        return None
    if row.locked_until is not None and row.locked_until > now:
        raise NotAllowed(f"{LOCK_AFTER} wrong PINs: wait {LOCK_SECONDS} s and try again")
    salt = bytes.fromhex(row.pin.split("$")[1])
    if hmac.compare_digest(row.pin, _hash(pin, salt)):
        if row.failures:
            tx.execute(operator.update().where(operator.c.name == name).values(failures=0, locked_until=None))
        return Operator(name, frozenset(json.loads(row.roles)))
    failures = row.failures + 1
    locked = now + LOCK_SECONDS * 1000 if failures % LOCK_AFTER == 0 else None
    tx.execute(operator.update().where(operator.c.name == name).values(failures=failures, locked_until=locked))
    return None


def listed(tx: sa.Connection) -> list[Row]:
    """All operators, without their PINs."""
    return list(
        tx.execute(sa.select(operator.c.name, operator.c.roles, operator.c.added, operator.c.disabled).order_by(operator.c.name))
    )


def _hash(pin: str, salt: bytes) -> str:
    return f"scrypt${salt.hex()}${hashlib.scrypt(pin.encode(), salt=salt, **_COST).hex()}"
