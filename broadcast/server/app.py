"""The ASGI application: each story in its own file, wired here."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..gateway import Gateway
from ..gateway.house import where
from ..settings import Settings, open_gateway
from . import callbacks as provider_callbacks
from . import confirming, intake, metrics
from .callbacks import Network

log = logging.getLogger("broadcast")


def make_app(gateway: Gateway, callbacks: Mapping[str, str], allow: Sequence[Network] = ()) -> Starlette:
    """The application. `callbacks`: peer → secret segment of its path; `allow`: networks that may call back (() = any)."""

    def health(_request: Request) -> Response:  # not async: it waits for Redis and the ledger, callbacks must not wait with it
        found = gateway.health()
        checks = {c.name: c.colour for c in found.checks}  # no texts: they name hosts; `broadcast health` shows them
        return JSONResponse({"ok": found.ok, "checks": checks}, status_code=200 if found.ok else 503)

    return Starlette(
        routes=[
            *intake.routes(gateway),
            *provider_callbacks.routes(gateway, callbacks, allow),
            *confirming.routes(gateway),
            *metrics.routes(gateway),
            Route("/health", health),
        ],
        middleware=[Middleware(Unforeseen)],
    )


class Unforeseen:
    """An error of ours becomes a 500 and one line in the log, without its text: that may hold a number or a secret path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer, or a 500."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001  the outermost floor: uvicorn would log all of it
            log.error("a request could not be answered: %s", where(error))
            if scope["type"] == "http" and not begun:
                await Response("an error of ours", status_code=500)(scope, receive, send)


def serve(settings: Settings) -> int:
    """Serves until SIGTERM. No access log: paths hold secrets, bodies hold numbers."""
    gateway = open_gateway(settings)
    app = make_app(gateway, settings.server.callbacks, settings.server.allow)
    uvicorn.run(
        app, host=settings.server.host, port=settings.server.port, access_log=False, log_level="warning", server_header=False
    )
    gateway.close()
    return 0
