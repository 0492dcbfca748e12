"""The ASGI application: one callback route, guarded as unsigned callbacks must be, and a look at health."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from collections.abc import Mapping, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..channels.base import Callback
from ..errors import BroadcastError
from ..gateway import FarEnd, Gateway
from ..settings import Settings, open_gateway
from .letterbox import Letterbox

log = logging.getLogger("broadcast")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

BODY_CAP = 1024 * 1024  # bytes; a provider's report has a few hundred
KEPT_HEADERS = frozenset({"content-type", "webhook-id", "webhook-timestamp", "webhook-signature"})


def make_app(gateway: Gateway, callbacks: Mapping[str, str], allow: Sequence[Network] = ()) -> Starlette:
    """The application. `callbacks`: peer → secret segment of its path; `allow`: networks that may call back (() = any)."""
    far_ends = {far_end.peer.name: far_end for far_end in gateway.house.far_ends.values()}
    letterbox = Letterbox(gateway.keep)

    async def callback(request: Request) -> Response:
        peer, secret = request.path_params["peer"], request.path_params["secret"]
        expected = callbacks.get(peer, "")
        known = hmac.compare_digest(secret.encode(), expected.encode()) and bool(expected)
        if not known or not _allowed(request, allow):
            return Response(status_code=404)  # nothing tells a stranger which part was wrong
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if body is None:
            return Response("too large", status_code=413)
        return await _kept(letterbox, far_ends.get(peer), peer, request, body)

    def health(_request: Request) -> Response:  # not async: it waits for Redis and the ledger, callbacks must not wait with it
        found = gateway.health()
        checks = {c.name: c.colour for c in found.checks}  # no texts: they name hosts; `broadcast health` shows them
        return JSONResponse({"ok": found.ok, "checks": checks}, status_code=200 if found.ok else 503)

    return Starlette(routes=[Route("/callbacks/{peer}/{secret}", callback, methods=["POST"]), Route("/health", health)])


def _allowed(request: Request, networks: Sequence[Network]) -> bool:
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    # A socket that serves both families names IPv4 callers ::ffff:10.0.0.1.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in networks)


async def _body(request: Request) -> bytes | None:
    """The body, or None when it is over the cap: it is not read to its end."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_CAP:
            return None
        parts.append(part)
    return b"".join(parts)


async def _kept(letterbox: Letterbox, far_end: FarEnd | None, peer: str, request: Request, body: bytes) -> Response:
    """Commits, then answers as the provider wants to hear it; 503 makes it come again."""
    headers = {k: v for k, v in request.headers.items() if k in KEPT_HEADERS}
    path = f"/callbacks/{peer}"  # the secret part is not kept
    try:
        await letterbox.post((peer, path, headers, body))
    except BroadcastError as error:
        log.error("a callback of %s could not be kept: %s", peer, error)
        return Response("come again", status_code=503)
    if far_end is None:
        return Response(status_code=200)
    status, content_type, answer = far_end.channel.answer(Callback(path, headers, body))
    return Response(answer, status_code=status, media_type=content_type)


def serve(settings: Settings) -> int:
    """Serves until SIGTERM. No access log: paths hold secrets, bodies hold numbers."""
    gateway = open_gateway(settings)
    app = make_app(gateway, settings.server.callbacks, settings.server.allow)
    uvicorn.run(app, host=settings.server.host, port=settings.server.port, access_log=False, log_level="warning")
    gateway.close()
    return 0
