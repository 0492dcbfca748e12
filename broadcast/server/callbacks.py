"""What providers tell us: guarded as unsigned callbacks must be, kept before it is answered, answered in time."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import re
from collections.abc import Mapping, Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ..channels.base import Answer, Callback
from ..errors import BroadcastError
from ..gateway import FarEnd, Gateway
from ..gateway.house import where
from .bodies import read_body
from .letterbox import Letterbox
from .threads import Threads

log = logging.getLogger("broadcast")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

BODY_CAP = 4 * 1024 * 1024  # bytes; a loudspeaker platform's report of its terminals was seen with 669,059
KEPT_HEADERS = frozenset({"content-type", "webhook-id", "webhook-timestamp", "webhook-signature"})
# Together below the 10 s in which a loudspeaker platform wants its answer (GD/J 083-2018; speakers-ebd.md).
KEEP_SECONDS = 7.0
ANSWER_SECONDS = 2.0

_PRINTABLE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # what may stand in a header's value, RFC 9110 §5.5
_WITHOUT_BODY = (204, 304)


def routes(gateway: Gateway, secrets: Mapping[str, str], allow: Sequence[Network]) -> list[Route]:
    """POST /callbacks/PEER/SECRET. `secrets`: peer → last segment; `allow`: who may call back (() = any)."""
    letterbox = Letterbox(gateway.keep)
    answers = Threads("answers", 4)  # a signed answer to a megabyte takes its time

    async def callback(request: Request) -> Response:
        peer, secret = request.path_params["peer"], request.path_params["secret"]
        expected = secrets.get(peer, "")
        known = hmac.compare_digest(secret.encode(), expected.encode()) and bool(expected)
        if not known or not _allowed(request, allow):
            return Response(status_code=404)  # nothing tells a stranger which part was wrong
        try:
            body = await read_body(request, BODY_CAP)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if body is None:
            return Response("too large", status_code=413)
        headers = {k: v for k, v in request.headers.items() if k in KEPT_HEADERS}
        kept = Callback(f"/callbacks/{peer}", headers, body)  # the secret part is not kept
        return await _answered(letterbox, answers, gateway.house.peers.get(peer), peer, kept)

    return [Route("/callbacks/{peer}/{secret}", callback, methods=["POST"])]


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


async def _answered(letterbox: Letterbox, answers: Threads, far_end: FarEnd | None, peer: str, callback: Callback) -> Response:
    """Commits, then answers as the provider wants to hear it; 503 makes it come again."""
    try:
        letter = (peer, callback.path, callback.headers, callback.body)
        await asyncio.wait_for(letterbox.post(letter), KEEP_SECONDS)
    except (BroadcastError, TimeoutError) as error:
        log.error(
            "a callback of %s could not be kept: %s", peer, str(error) or f"the ledger took longer than {KEEP_SECONDS:.0f} s"
        )
        return _come_again()
    if far_end is None:
        return Response(status_code=200)
    try:
        answer = await asyncio.wait_for(answers.run(far_end.channel.answer, callback), ANSWER_SECONDS)
        return _response(answer)
    except TimeoutError:
        log.error("a callback of %s is kept, but its answer took too long", peer)
        return _come_again()
    except Exception as error:  # noqa: BLE001  a channel with a bug: its callback is kept, coming again would change nothing
        log.error("a callback of %s is kept, but its channel broke: %s", peer, where(error))
        return Response(status_code=200)


def _come_again() -> Response:
    return Response("come again", status_code=503)


def _response(answer: Answer) -> Response:
    """The channel's answer to the letter: some receivers read header names as they are spelled. Raises ValueError."""
    headers = {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body)), **answer.headers}
    if answer.status in _WITHOUT_BODY:
        headers = dict(answer.headers)
    if not all(_PRINTABLE.fullmatch(value) for value in headers.values()):
        raise ValueError("a header that cannot be sent")
    response = Response(answer.body, status_code=answer.status)
    response.raw_headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    return response
