"""The chains against anchors: those that the ledger keeps itself, and one that somebody kept elsewhere."""

from __future__ import annotations

import sqlalchemy as sa

from .. import anchors, chain
from ..anchors import Anchor, Heads, InvalidAnchor
from ..tables import anchor, entry
from . import entries
from .findings import Finding, Look


def check_own(look: Look, key: bytes, only: str | None) -> None:
    """Every anchor that was made here, against the entries that name them and the chains that they name."""
    entered = {body["number"]: body["sha256"] for body in entries.trusted(look, "anchor.made")}
    known: Heads = {}
    for number in sorted(set(look.tx.execute(sa.select(anchor.c.id)).scalars()) | entered.keys()):
        found = _read(look, number)
        if found is None:
            continue
        known |= found.heads
        what = _wrong(found, key, known)
        if what is None and entered.get(number) != found.sha256:
            what = "it is not the one that the house's chain names"
        if what is not None:
            look.found(Finding("", what, table="anchor", row=str(number), column="body"))
        _check_heads(look, found, only)


def _read(look: Look, number: int) -> Anchor | None:
    text = look.tx.execute(sa.select(anchor.c.body).where(anchor.c.id == number)).scalar()
    try:
        if text is None:
            raise InvalidAnchor("the anchor is missing")
        return anchors.read(text)
    except InvalidAnchor as error:
        look.found(Finding("", str(error), table="anchor", row=str(number), column="id" if text is None else "body"))
        return None


def _wrong(found: Anchor, key: bytes, known: Heads) -> str | None:
    if chain.mac(key, found.sha256) != found.mac:
        return "no holder of the seal key made this anchor"
    return "its digest over all heads is not that of the anchors before it" if anchors.over_all(known) != found.all else None


def check_given(look: Look, given: Anchor, key: bytes, mark: str, only: str | None) -> None:
    """An anchor from outside. Raises InvalidAnchor when it is another ledger's, or was changed."""
    if given.ledger != mark:
        raise InvalidAnchor(f"this anchor is of ledger {given.ledger}, and this is ledger {mark}")
    if chain.mac(key, given.sha256) != given.mac:
        raise InvalidAnchor("this anchor was changed, or made with another seal key: it proves nothing")
    _check_heads(look, given, only)
    own = {one.number: one for one in _readable(look.tx)}
    if given.number not in own or own[given.number].sha256 != given.sha256:
        what = f"anchor {given.number} left this ledger, and it is not here any more"
        look.found(Finding("", what, table="anchor", row=str(given.number), column="body"))
        return
    known: Heads = {}
    for number in sorted(own):
        known |= own[number].heads if number <= given.number else {}
    if anchors.over_all(known) != given.all:
        what = "the heads of older anchors here are not those that it was made over"
        look.found(Finding("", what, table="anchor", row=str(given.number), column="body"))


def _readable(tx: sa.Connection) -> list[Anchor]:
    found = []
    for text in tx.execute(sa.select(anchor.c.body)).scalars():
        try:
            found.append(anchors.read(text))
        except InvalidAnchor:  # `check_own` has said so
            continue
    return found


def _check_heads(look: Look, found: Anchor, only: str | None) -> None:
    """Each entry that the anchor names is there, with that hash."""
    for name, (n, hash_) in found.heads.items():
        if only is not None and name != only:
            continue
        its = (entry.c.chain == name, entry.c.n == n)
        own = look.tx.execute(sa.select(entry.c.hash, entry.c.kind).where(*its)).first()
        if own is None:
            last = look.tx.execute(sa.select(sa.func.max(entry.c.n)).where(entry.c.chain == name)).scalar() or 0
            gone = f"entry {n} is missing" if last + 1 >= n else f"entries {last + 1} to {n} are missing"
            first = min(last + 1, n)
            what = f"{gone}: anchor {found.number} names entry {n}"
            look.found(Finding(name, what, first, table="entry", row=f"{name} {first}", column="n"))
        elif own.hash != hash_:
            what = f"was written anew: anchor {found.number} has another hash"
            look.found(Finding(name, what, n, own.kind, "entry", f"{name} {n}", "hash"))
