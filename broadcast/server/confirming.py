"""The page that a person opens from an SMS or a card, to say: we have it. Opening it says nothing; the button does."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ..errors import LedgerUnavailable, NotFound
from ..gateway import Gateway
from ..gateway.confirming import Confirmation
from ..resources import TEMPLATES
from ..tiers.phones import mask_within
from ..wording.compose import COLOURS
from .threads import Threads

log = logging.getLogger("broadcast")

FOLDER = "page/zh"
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address is the key
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
}
_MARKS = {"Actual": "", "Exercise": "演练"}  # of an alert's status; anything else is a test
_COLOURS = {str(level): colour for level, colour in COLOURS.items()}
_WARNING_WORD = re.compile(r"([红橙黄蓝]色)?预警(信号)?$")  # some senders' event is 暴雨红色预警
_BEIJING = timezone(timedelta(hours=8))


def routes(gateway: Gateway) -> list[Route]:
    """GET and POST /c/TOKEN. HEAD is answered as GET, and confirms as little."""
    pages = Pages((*gateway.house.templates, TEMPLATES))
    threads = Threads("pages", 8)

    async def show(request: Request) -> Response:
        return await threads.run(_page, pages, gateway.confirmation, request.path_params["token"])

    async def confirm(request: Request) -> Response:
        return await threads.run(_page, pages, gateway.confirm, request.path_params["token"])

    return [Route("/c/{token}", show, methods=["GET"]), Route("/c/{token}", confirm, methods=["POST"])]


class Pages:
    """The HTML templates. Whatever a value holds, it stands on the page as text, and no mobile number in it in full."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._environment = SandboxedEnvironment(
            loader=FileSystemLoader([str(folder) for folder in folders]),
            undefined=StrictUndefined,
            autoescape=True,
            finalize=_without_numbers,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, name: str, status: int, **fields: object) -> Response:
        """One page as an answer."""
        text = self._environment.get_template(f"{FOLDER}/{name}.j2").render(fields)
        return HTMLResponse(text, status_code=status, headers=HEADERS)


def _without_numbers(value: object) -> object:
    return mask_within(value) if type(value) is str else value


def _page(pages: Pages, ask: Callable[[str], Confirmation], token: str) -> Response:
    try:
        return pages.render("confirm", 200, **_fields(ask(token)))
    except NotFound:
        # One page for expired, unknown and forged: which it is would help only a stranger.
        return pages.render("unknown", 404)
    except LedgerUnavailable as error:
        log.error("a confirmation page could not be served: %s", error)
        answer = pages.render("later", 503)
        answer.headers["Retry-After"] = "5"
        return answer


def _fields(of: Confirmation) -> dict[str, Any]:
    kind = _WARNING_WORD.sub("", of.event)
    return {
        "mark": _MARKS.get(of.status, "测试"),
        "level": of.level if of.level in _COLOURS else "none",
        "warning": f"{kind}{_COLOURS.get(of.level, '')}预警",
        "headline": of.headline,
        "area": of.area,
        "issuer": of.issuer,
        "sent": _clock(of.sent),
        "role": of.role,
        "region": of.region,
        "person": of.person,
        "text": of.text,
        "open": of.open,
        "confirmed": _clock(of.confirmed) if of.confirmed else "",
    }


def _clock(when: datetime) -> str:
    """2023年7月5日 05:00, in Beijing."""
    there = when.astimezone(_BEIJING)
    return f"{there.year}年{there.month}月{there.day}日 {there:%H:%M}"
