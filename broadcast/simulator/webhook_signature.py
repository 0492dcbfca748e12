"""Signatures of Standard Webhooks 1.0.0, computed here from the specification's words."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime

TOLERANCE_SECONDS = 300  # the specification leaves it open; five minutes in all reference implementations
PREFIX = "whsec_"


class NotSigned(Exception):
    """Why a message is not believed."""


def key_of(secret: str) -> bytes:
    """The bytes of a secret. ValueError unless it is whsec_ and base64 of 24 to 64 bytes, as the specification wants."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("a webhook secret is whsec_ and the base64 of 24 to 64 bytes")
    return key


def sign(key: bytes, number: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers of one attempt: the number is the message's on every attempt, the time is the attempt's."""
    seconds = str(int(at.timestamp()))
    return {"webhook-id": number, "webhook-timestamp": seconds, "webhook-signature": f"v1,{_digest(key, number, seconds, body)}"}


def verify(key: bytes, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """The message's number. Raises NotSigned."""
    number, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not number or "." in number:  # dots part what is signed
        raise NotSigned("webhook-id is missing or has a dot in it")
    if not re.fullmatch(r"[0-9]{1,12}", seconds):
        raise NotSigned("webhook-timestamp is no unix time in seconds")
    if abs(now.timestamp() - int(seconds)) > TOLERANCE_SECONDS:
        raise NotSigned("webhook-timestamp is more than five minutes away")
    right = f"v1,{_digest(key, number, seconds, body)}".encode()
    # Several signatures while secrets are exchanged: one of them has to be ours. Versions other than v1 are passed over.
    given = headers.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(one.encode("utf-8", "replace"), right) for one in given):
        raise NotSigned("no signature of this message by the agreed secret")
    return number


def _digest(key: bytes, number: str, seconds: str, body: bytes) -> str:
    signed = f"{number}.{seconds}.".encode("utf-8", "replace") + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")
