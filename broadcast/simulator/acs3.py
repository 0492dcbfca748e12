"""The V3 signature of Aliyun's gateway (ACS3-HMAC-SHA256), checked as its document states it.

help.aliyun.com, "V3版本请求体&签名机制"; the codes are those of its list of the gateway's common errors.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

from .provider import Request

ALGORITHM = "ACS3-HMAC-SHA256"
CLOCKS_MAY_DIFFER = timedelta(minutes=15)
REQUIRED = ("host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version")
_AUTHORIZATION = re.compile(ALGORITHM + r" Credential=([^,\s]+), ?SignedHeaders=([^,\s]+), ?Signature=([0-9a-f]{64})")


class Refused(Exception):
    """The request is answered with this code and HTTP status, and nothing of it is taken."""

    def __init__(self, code: str, status: int = 200) -> None:
        self.code, self.status = code, status
        super().__init__(code)


def check(request: Request, key_id: str, secret: str, now: datetime) -> str:
    """The nonce of a request that is rightly signed and in time. Raises Refused."""
    match = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise Refused("IncompleteSignature", 400)
    given_key, signed, signature = match.groups()
    if given_key != key_id:
        raise Refused("InvalidAccessKeyId.NotFound", 404)
    _check_date(request.headers.get("x-acs-date", ""), now)
    names = signed.split(";")
    if not _are_all(names, request):
        raise Refused("IncompleteSignature", 400)
    if not hmac.compare_digest(_signature(request, names, secret), signature):
        raise Refused("SignatureDoesNotMatch", 400)
    return request.headers["x-acs-signature-nonce"]


def _check_date(text: str, now: datetime) -> None:
    try:
        date = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused("InvalidTimeStamp.Format", 400) from None
    if abs(now - date) > CLOCKS_MAY_DIFFER:
        raise Refused("InvalidTimeStamp.Expired", 400)


def _are_all(names: list[str], request: Request) -> bool:
    """Sorted, there, the required ones among them, and no public header of the request left out."""
    public = {name for name in request.headers if name.startswith("x-acs-") or name in ("host", "content-type")}
    return names == sorted(set(names)) and public | set(REQUIRED) <= set(names) <= request.headers.keys()


def _signature(request: Request, names: list[str], secret: str) -> str:
    digest = hashlib.sha256(request.body).hexdigest()
    if request.headers["x-acs-content-sha256"] != digest:  # ASSUMPTION: a wrong hash is told as a wrong signature
        raise Refused("SignatureDoesNotMatch", 400)
    query = sorted(parse_qsl(request.query, keep_blank_values=True))
    canonical = "\n".join(
        (
            request.method,
            request.path or "/",
            "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query),
            *(f"{name}:{request.headers[name].strip()}" for name in names),
            "",
            ";".join(names),
            digest,
        )
    )
    text = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
