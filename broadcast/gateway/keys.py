"""The names that far ends know our deliveries by: short, the same on every attempt, and of this ledger alone.

A far end that deduplicates remembers names for longer than a ledger may live: a new ledger, which counts from one again, must
not find its first warnings taken for repeats. So each begins with the ledger's own mark.
"""

from __future__ import annotations

import re

from .house import House

_KEY = re.compile(r"([0-9a-z]{3})-([0-9a-z]{1,7})-([0-9a-z]{1,4})")


def key_of(house: House, batch_id: int, seq: int) -> str:
    """At most 15 characters up to the two thousand millionth batch: what an OutId of a voice call may have (channels.md B)."""
    return f"{house.ledger.mark}-{base36(batch_id)}-{base36(seq)}"


def read(house: House, key: str) -> tuple[int, int] | None:
    """The delivery (batch, seq) that a key of this ledger names; None for any other text."""
    match = _KEY.fullmatch(key)
    if match is None or match[1] != house.ledger.mark:
        return None
    return int(match[2], 36), int(match[3], 36)


def base36(number: int) -> str:
    """Digits and small letters."""
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
        if not number:
            return digits
