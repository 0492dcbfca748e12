"""The signature of 专有钉钉 (GovDingTalk, 浙政钉), X-Hmac-Auth-*, checked by its rules."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from .provider import Request

CLOCKS_MAY_DIFFER = timedelta(minutes=15)
VERSION = "1.0"


class Unsigned(Exception):
    """The gateway lets this request not in; the word says why."""


def parameters(request: Request) -> list[tuple[str, str]]:
    """Decoded, as they came: of the query, and of a form in the body."""
    pairs = parse_qsl(request.query, keep_blank_values=True)
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        pairs += parse_qsl(request.body.decode("ascii", "replace"), keep_blank_values=True)
    return pairs


def sign(secret: str, method: str, timestamp: str, nonce: str, path: str, pairs: Sequence[tuple[str, str]]) -> str:
    """The signature: over the decoded parameters, names sorted whatever their case, values of one name sorted, no empty ones."""
    given = sorted(((name, value) for name, value in pairs if value), key=lambda pair: (pair[0].lower(), pair[0], pair[1]))
    lines = [method, timestamp, nonce, path]
    if given:
        lines.append("&".join(f"{name}={value}" for name, value in given))
    digest = hmac.new(secret.encode(), "\n".join(lines).encode("utf-8", "replace"), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def check(request: Request, app_key: str, secret: str, now: datetime) -> str:
    """The nonce of a request that is rightly signed and in time. Raises Unsigned."""
    headers = request.headers
    timestamp, nonce = headers.get("x-hmac-auth-timestamp", ""), headers.get("x-hmac-auth-nonce", "")
    if headers.get("apikey") != app_key:
        raise Unsigned("apiKey")
    if not nonce or headers.get("x-hmac-auth-version") != VERSION:
        raise Unsigned("header")
    # Required by the rules; what stands in them is not compared with where the request came from.
    if not (headers.get("x-hmac-auth-ip") and headers.get("x-hmac-auth-mac")):
        raise Unsigned("header")
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        raise Unsigned("timestamp") from None
    if at.tzinfo is None or abs(now - at) > CLOCKS_MAY_DIFFER:
        raise Unsigned("timestamp")
    expected = sign(secret, request.method, timestamp, nonce, request.path, parameters(request))
    if not hmac.compare_digest(expected.encode(), headers.get("x-hmac-auth-signature", "").encode()):
        raise Unsigned("signature")
    return nonce
