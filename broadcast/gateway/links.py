"""Links to the confirmation page: one for each delivery, unguessable, good for that delivery's duty and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from ..wording import LINK_MARK
from .house import House
from .keys import base36

_SIGNATURE_BYTES = 12  # 96 bits: nobody guesses one, and a link stays short enough for a phone
_TOKEN = re.compile(r"([0-9a-z]{1,8})-([0-9a-z]{1,5})-([A-Za-z0-9_-]{16})")
TOKEN_LENGTH = 8 + 1 + 5 + 1 + 16  # at most; words are measured with it before any delivery has a number


def of(house: House, batch_id: int, seq: int) -> str:
    """The link of one delivery; "" when the county named no public address for the page."""
    base = house.county.public_url.rstrip("/")
    return f"{base}/c/{token(house, batch_id, seq)}" if base else ""


def length(house: House) -> int:
    """How long a link may be at most; 0 = there are none."""
    base = house.county.public_url.rstrip("/")
    return len(base) + len("/c/") + TOKEN_LENGTH if base else 0


def token(house: House, batch_id: int, seq: int) -> str:
    """What names a delivery to a stranger and to nobody else."""
    name = f"{base36(batch_id)}-{base36(seq)}"
    # With the ledger's mark: a new ledger under the same key counts from one again, and old links are still on phones.
    signed = f"{house.ledger.mark} {name}".encode()
    digest = hmac.new(house.ledger.seal.key_for("confirm links"), signed, hashlib.sha256).digest()
    return f"{name}-{base64.urlsafe_b64encode(digest[:_SIGNATURE_BYTES]).decode()}"


def read(house: House, wanted: str) -> tuple[int, int] | None:
    """The delivery (batch, seq) that a token names; None for any other text."""
    match = _TOKEN.fullmatch(wanted)
    if match is None:
        return None
    batch_id, seq = int(match[1], 36), int(match[2], 36)
    return (batch_id, seq) if hmac.compare_digest(wanted.encode(), token(house, batch_id, seq).encode()) else None


def put_in(text: str, link: str) -> str:
    """The frozen words with this link in the place kept for it; without a link, without the clause that would name it."""
    if LINK_MARK not in text:
        return text
    if link:
        return re.sub(f"{LINK_MARK}+", lambda _: link, text)
    lines = text.split("\n")
    if len(lines) > 1:
        return "\n".join(line for line in lines if LINK_MARK not in line)
    return re.sub(f"[，。；：:][^，。；：:]*{LINK_MARK}+|{LINK_MARK}+", "", text)
