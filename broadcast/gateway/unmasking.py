"""Who may see personal data in an auditor's answer, and what is written down before it is shown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import NotAllowed, Refused
from ..ledger import audits, chain
from ..ledger.audits import Asked, Filters
from ..ledger.operators import Operator
from ..tiers.phones import mask_within, parse_phone
from ..tiers.roster import mask
from .house import House

AUDITOR = "AUDITOR"  # an operator's role only: looks, and lets nothing go; nobody holds it as a post
MAY_UNMASK = frozenset({AUDITOR, "DUTY_OFFICER", "DUTY_LEADER"})
MOST = 10_000  # rows at once: no more personal data than the purpose needs (个人信息保护法 第六条)


def check(operator: Operator, reason: str) -> None:
    """Raises NotAllowed, with what is missing, unless this person may see personal data for this reason."""
    if not operator.roles & MAY_UNMASK:
        held = ", ".join(sorted(operator.roles)) or "none"
        raise NotAllowed(f"seeing personal data needs {' or '.join(sorted(MAY_UNMASK))}; {operator.name} holds {held}")
    if len(reason.strip()) < 2:
        raise NotAllowed("to see personal data takes a reason: it is kept with your name")


def unmask(house: House, asked: Asked, filters: Filters, operator: Operator, reason: str) -> list[dict[str, Any]]:
    """The rows of an answer with names, addresses and words as they are, after the entry that says who looked and why.

    Raises NotAllowed for a role that may not, or without a reason; Refused for more than MOST rows; LedgerUnavailable when
    the entry cannot be written: then nothing is shown.
    """
    check(operator, reason)
    limit = filters.get("limit")
    few: Filters = {**filters, "limit": MOST + 1 if limit is None else min(limit, MOST + 1)}
    rows = list(house.ledger.sealed(asked, few))
    if len(rows) > MOST:
        raise Refused(f"more than {MOST:,} rows: ask for less at once, with --limit and --after, or with a narrower question")
    keys = hashlib.sha256("\n".join(audits.key_of(row) for row in rows).encode()).hexdigest()
    body = {"query": query(asked, filters), "reason": mask_within(reason.strip())[:500], "count": len(rows), "keys_sha256": keys}
    with house.ledger.write() as tx:
        chain.append(tx, chain.HOUSE, "unmasked", house.now(), body, operator.name)
    return [audits.shown(house.ledger.seal, row, unmask=True) for row in rows]


@dataclass(frozen=True, slots=True)
class Export:
    """A file that an answer was written into, before it is handed over."""

    asked: Asked
    filters: Filters
    form: str  # csv, xlsx
    masked: bool
    rows: int
    sha256: str  # of the whole file


def record_export(house: House, export: Export, who: str) -> None:
    """The entry that must stand before the file is handed over. Raises LedgerUnavailable."""
    body = {
        "query": query(export.asked, export.filters),
        "form": export.form,
        "masked": export.masked,
        "count": export.rows,
        "sha256": export.sha256,
    }
    with house.ledger.write() as tx:
        chain.append(tx, chain.HOUSE, "exported", house.now(), body, who)


def query(asked: Asked, filters: Mapping[str, Any]) -> dict[str, Any]:
    """A question as an entry keeps it: a number that was asked for is masked there too."""
    given = {name: value for name, value in filters.items() if value is not None}
    kept = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}
    if "number" in kept:
        phone = parse_phone(kept["number"])
        kept["number"] = mask(phone.e164 if phone else kept["number"])
    return {"asked": asked, **kept}
