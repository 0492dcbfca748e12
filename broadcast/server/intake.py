"""Warnings over HTTP: a source proves itself with its token, hands in a warning, and asks what became of it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import BroadcastError, InvalidAlert, InvalidFiles, LedgerUnavailable, NotAllowed, NotFound
from ..gateway import Gateway, Sent, Status
from .bodies import read_body
from .threads import Threads

log = logging.getLogger("broadcast")

BODY_CAP = 5 * 1024 * 1024  # bytes
COME_AGAIN_SECONDS = 5
_NAMES = ("drafted_by", "released_by")  # of operators: a source has no need of them


def routes(gateway: Gateway) -> list[Route]:
    """POST /alerts (scope submit) and GET /alerts/ID (scope read), both with `Authorization: Bearer TOKEN`."""
    threads = Threads("intake", 8)

    async def submit(request: Request) -> Response:
        source = _source(gateway, request, "submit")
        if isinstance(source, Response):
            return source  # before the body is read: a stranger's is not
        try:
            body = await read_body(request, BODY_CAP)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if body is None:
            return _no(413, f"more than {BODY_CAP:,} bytes")
        if not body.strip():
            return _no(400, "the body is empty: it must be the warning, in CAP or 12379 XML or in JSON")
        return await threads.run(_submitted, gateway, body, source)

    async def ask(request: Request) -> Response:
        source = _source(gateway, request, "read")
        if isinstance(source, Response):
            return source
        return await threads.run(_standing, gateway, request.path_params["alert"])

    return [Route("/alerts", submit, methods=["POST"]), Route("/alerts/{alert}", ask, methods=["GET"])]


def _source(gateway: Gateway, request: Request, scope: str) -> str | Response:
    """The source whose token this is, or why it may not do this."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        if kind.lower() != "bearer" or not token.strip():
            raise NotAllowed("no token")
        name = gateway.source_of_token(token.strip())
    except NotAllowed:
        answer = _no(401, "send the header Authorization: Bearer TOKEN with the token of a source")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    if scope not in gateway.scopes_of(name):
        return _no(403, f"source {name} does not have the scope {scope!r}")
    return name


def _submitted(gateway: Gateway, body: bytes, source: str) -> Response:
    try:
        sent = gateway.submit(gateway.read(body, source), source=source)
    except InvalidAlert as error:
        found = {"error": str(error), "element": error.element, "rule": error.rule, "line": error.line}
        return JSONResponse(found, status_code=422)
    except (LedgerUnavailable, NotFound, InvalidFiles) as error:  # the last two: no plans yet, or a broken template
        return _not_now(error, source)
    return JSONResponse(_said(sent), status_code=202)


def _said(sent: Sent) -> dict[str, Any]:
    return {
        "alert_id": sent.alert_id,
        "state": sent.state,
        "new": sent.is_new,
        "reason": sent.reason,
        "findings": list(sent.findings),
    }


def _standing(gateway: Gateway, alert: str) -> Response:
    try:
        if not alert.isprintable():  # PostgreSQL refuses to be asked for a NUL
            raise NotFound("no identifier has such characters")
        return JSONResponse(_shown(gateway.status(alert)))
    except NotFound:
        return _no(404, "no alert by that number or identifier")
    except LedgerUnavailable as error:
        return _not_now(error, "a question")


def _shown(status: Status) -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(status).items() if name not in _NAMES}


def _plain(value: Any) -> Any:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value


def _not_now(error: BroadcastError, who: str) -> Response:
    """Nothing was recorded. The reason is for our log: it may name hosts and files."""
    log.error("a warning or question of %s could not be taken: %s", who, error)
    answer = _no(503, "the gateway cannot take it now and nothing was recorded: send it again")
    answer.headers["Retry-After"] = str(COME_AGAIN_SECONDS)
    return answer


def _no(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status)
