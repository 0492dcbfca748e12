"""HTTP to a provider: every way an exchange can fail becomes Unavailable, InDoubt or Misconfigured.

The line that matters is drawn at the first byte of the request. Before it certainly nothing left (and a few quick tries
are safe); from it on the message may be out, and nobody here repeats it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import NoReturn, TypeVar

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from ..errors import ChannelError, InDoubt, Misconfigured, Unavailable

T = TypeVar("T")

MAX_RESPONSE_BYTES = 1 << 20  # providers answer in a few hundred bytes
MAX_RETRY_AFTER = 3600.0  # seconds; a provider that asks for more is asked again after an hour


class NotConnected(Unavailable):
    """No connection came about: name, connect or TLS. The only kind that is tried again inside one attempt."""


def open_client(
    *, ca_file: Path | None = None, connect_seconds: float = 5.0, read_seconds: float = 20.0, connections: int = 64
) -> httpx.Client:
    """A client for one provider, shared by threads. TLS is always verified: against `ca_file` alone when one is given.

    Raises Misconfigured when `ca_file` cannot be used.
    """
    return httpx.Client(
        verify=_trust(ca_file),
        follow_redirects=False,  # a redirect would carry numbers and the account's password to somebody else
        trust_env=False,  # the settings are the only reader of the environment
        timeout=httpx.Timeout(read_seconds, connect=connect_seconds, pool=connect_seconds),
        # Shorter than servers keep idle connections: one that they close as we write looks like a doubt and is none.
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=2.0),
        headers={"Accept-Encoding": "identity"},  # a few bytes need no compression, and cannot unpack to a gigabyte
    )


def post(
    client: httpx.Client,
    url: str,
    *,
    content: bytes,
    headers: Mapping[str, str],
    read: Callable[[bytes], T],
    seconds: float = 30.0,
    tries: int = 3,
) -> T:
    """Posts once and returns what `read` makes of the answer's body; `read` raises ValueError for a body it cannot use.

    `seconds` bounds the wait for the body once the headers came, however slowly it trickles. Connecting is tried up to
    `tries` times. A refusal in the provider's own words reaches `read` whatever the HTTP status, except where
    the status alone decides: 3xx, 401, 403, 407, 429, and 503 with Retry-After.
    """
    return post_with_status(
        client, url, content=content, headers=headers, read=lambda _status, body: read(body), seconds=seconds, tries=tries
    )


def post_with_status(
    client: httpx.Client,
    url: str,
    *,
    content: bytes,
    headers: Mapping[str, str],
    read: Callable[[int, bytes], T],
    seconds: float = 30.0,
    tries: int = 3,
) -> T:
    """As `post`, for providers whose HTTP status is the answer: `read` gets it too, whatever it is except where it decides."""
    return _answer(client, _Request("POST", url, headers, content), read, seconds, tries)


def get(
    client: httpx.Client,
    url: str,
    *,
    query: str,
    headers: Mapping[str, str],
    read: Callable[[bytes], T],
    seconds: float = 30.0,
    tries: int = 3,
) -> T:
    """As `post`, with GET. `query` (encoded, without "?") goes on the wire only, for a provider that wants a secret there:
    httpx logs the URL of every request, and must not know it.
    """
    return _answer(client, _Request("GET", url, headers, query=query), lambda _status, body: read(body), seconds, tries)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    query: str = field(default="", repr=False)

    def extensions(self) -> dict[str, bytes]:
        """httpx writes a "target" into the request line as it is, and shows it nowhere."""
        return {"target": httpx.URL(self.url).raw_path + b"?" + self.query.encode("ascii")} if self.query else {}


def _answer(client: httpx.Client, request: _Request, read: Callable[[int, bytes], T], seconds: float, tries: int) -> T:
    connecting = Retrying(
        retry=retry_if_exception_type(NotConnected),
        stop=stop_after_attempt(tries),
        wait=wait_exponential(multiplier=0.05, max=0.5),
        reraise=True,
    )
    status, body = connecting(_exchange, client, request, seconds)
    try:
        return read(status, body)
    except ValueError:
        raise _unusable(status) from None


@dataclass(frozen=True, slots=True)
class _Kind:
    error: type[ChannelError]
    words: str


# httpx's words on the left, ours on the right, first match wins; anything else that httpx raises is a doubt.
# Each family stands before its parents.
_FAILURES: tuple[tuple[type[Exception], _Kind], ...] = (
    (httpx.ConnectTimeout, _Kind(NotConnected, "no connection within the time allowed")),
    (httpx.ConnectError, _Kind(NotConnected, "no connection (name, port or TLS)")),
    (httpx.PoolTimeout, _Kind(Unavailable, "all connections to this peer are busy")),
    (httpx.UnsupportedProtocol, _Kind(Misconfigured, "the peer's url is not one that can be posted to")),
    (httpx.InvalidURL, _Kind(Misconfigured, "the peer's url is not one that can be posted to")),
    (UnicodeError, _Kind(Misconfigured, "the peer's host name is not one")),
    (httpx.ReadTimeout, _Kind(InDoubt, "no answer within the time allowed")),
    (httpx.RemoteProtocolError, _Kind(InDoubt, "the connection ended without an answer")),
    (httpx.HTTPError, _Kind(InDoubt, "the exchange broke off")),
)


def _exchange(client: httpx.Client, request: _Request, seconds: float) -> tuple[int, bytes]:
    try:
        with client.stream(
            request.method,
            request.url,
            content=request.content,
            headers=dict(request.headers),
            extensions=request.extensions(),
        ) as response:
            _refuse_by_status(response)
            return response.status_code, _body(response, seconds)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        _raise_ours(error)


def _raise_ours(error: Exception) -> NoReturn:
    """`from None`: httpx's errors carry the request, and with it the numbers and the password."""
    kind = next(kind for theirs, kind in _FAILURES if isinstance(error, theirs))
    raise kind.error(f"{kind.words} ({type(error).__name__})") from None


def _refuse_by_status(response: httpx.Response) -> None:
    status = response.status_code
    # These are about us: wrong credentials must not mark a million good numbers as rejected.
    if status in (401, 403, 407) or 300 <= status < 400:
        raise Misconfigured(f"HTTP {status}: check the peer's url, account and caller's address with the provider")
    wait = _retry_after(response.headers.get("retry-after", ""))
    if status == 429 or (status == 503 and wait is not None):
        raise Unavailable(f"HTTP {status}: the provider asks to come later", retry_after=wait)


def _retry_after(value: str) -> float | None:
    """RFC 9110 §10.2.3: seconds or a date. None when it is neither."""
    if value.isascii() and value.isdigit():
        return float(min(int(value[:10]), MAX_RETRY_AFTER))
    try:
        wait = (parsedate_to_datetime(value).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, 0.0), MAX_RETRY_AFTER)


def _body(response: httpx.Response, seconds: float) -> bytes:
    body, deadline = bytearray(), time.monotonic() + seconds
    for piece in response.iter_raw():
        body += piece
        if len(body) > MAX_RESPONSE_BYTES:
            raise InDoubt(f"the answer is longer than {MAX_RESPONSE_BYTES} bytes")
        if time.monotonic() > deadline:
            raise InDoubt("the answer did not end within the time allowed")
    return bytes(body)


def _unusable(status: int) -> ChannelError:
    """What a body without meaning says: a 4xx is about our request, a 5xx (or a 2xx) may have taken it."""
    if 400 <= status < 500 and status != 408:
        return Misconfigured(f"HTTP {status} without a usable body: check the peer's url and path")
    return InDoubt(f"HTTP {status} without a usable body")


@cache
def _usual_trust() -> ssl.SSLContext:
    """One for all clients: reading the authorities takes longer than all else of opening one."""
    return httpx.create_ssl_context(trust_env=False)


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return _usual_trust()
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError):
        raise Misconfigured("ca_file cannot be read as PEM certificates") from None
