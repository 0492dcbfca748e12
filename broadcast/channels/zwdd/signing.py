"""The platform's signature: HMAC-SHA256 over the method, time, nonce, path and the decoded parameters."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

Parameters = Mapping[str, str | Sequence[str]]  # a repeated key has a sequence of values

BEIJING = timezone(timedelta(hours=8))


def pairs(parameters: Parameters) -> Iterator[tuple[str, str]]:
    """Every key with each of its values, as the platform orders them: keys whatever their case, a key's values sorted.

    Empty values are left out, here and therefore in the request too.
    """
    for key in sorted(parameters, key=str.lower):
        value = parameters[key]
        for one in [value] if isinstance(value, str) else sorted(value):
            if one:
                yield key, one


def signature(secret: str, method: str, timestamp: str, nonce: str, path: str, parameters: Parameters) -> str:
    """The X-Hmac-Auth-Signature.

    The parameters are joined *decoded*: the SDKs of other languages that sign the encoded ones are refused for any text
    with a space or a Chinese character. Without parameters there is no last line.
    """
    lines = [method, timestamp, nonce, path]
    if joined := "&".join(f"{key}={value}" for key, value in pairs(parameters)):
        lines.append(joined)
    digest = hmac.new(secret.encode(), "\n".join(lines).encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def signed_headers(
    app_key: str, secret: str, method: str, path: str, parameters: Parameters, *, ip: str, mac: str
) -> dict[str, str]:
    """All headers of one request, made now. A nonce is never used twice."""
    timestamp = datetime.now(BEIJING).isoformat(timespec="milliseconds")
    nonce = str(10**16 + secrets.randbelow(9 * 10**16))  # 17 digits, as the platform's own signer writes them
    return {
        "X-Hmac-Auth-Timestamp": timestamp,
        "X-Hmac-Auth-Version": "1.0",
        "X-Hmac-Auth-Nonce": nonce,
        "apiKey": app_key,
        "X-Hmac-Auth-Signature": signature(secret, method, timestamp, nonce, path, parameters),
        "X-Hmac-Auth-IP": ip,
        "X-Hmac-Auth-MAC": mac,
    }
