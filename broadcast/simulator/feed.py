"""The stand-in of other platforms, the upper level and the neighbours: CAP 1.2 by POST, signed as Standard Webhooks."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .cap_form import NAMESPACE, check_alert, read_alert
from .faults import Faults
from .forms import FormError, text
from .provider import Host, Request, Response
from .webhook_signature import NotSigned, key_of, verify

DOOR = "/feed/"
XML_TYPES = ("application/cap+xml", "application/xml", "text/xml")


def _made_up() -> dict[str, str]:
    return {
        "city": "whsec_c2ltdWxhdGVkIGZlZWQ6IHRoZSB1cHBlciBsZXZlbA==",
        "anji": "whsec_c2ltdWxhdGVkIGZlZWQ6IGEgbmVpZ2hib3VyIGE=",
        "changxing": "whsec_c2ltdWxhdGVkIGZlZWQ6IGEgbmVpZ2hib3VyIGM=",
    }


@dataclass(frozen=True, slots=True)
class FeedAccount:
    """The platforms that are played, by the last part of their address, each with the secret agreed upon. All made up."""

    secrets: Mapping[str, str] = field(default_factory=_made_up, repr=False)


class FeedPlatform:
    """All of these platforms. Shared by threads."""

    name = "feed"

    def __init__(self, account: FeedAccount, host: Host) -> None:
        self.account, self.host = account, host
        self._keys = {name: key_of(secret) for name, secret in account.secrets.items()}
        self._lock = threading.Lock()
        self._messages: set[tuple[str, str]] = set()  # platform and webhook-id
        self._received: list[dict[str, object]] = []

    def opens(self, path: str) -> bool:
        """One door for each platform."""
        return path.startswith(DOOR)

    def handle(self, request: Request, faults: Faults) -> Response:
        """202 for an alert that was taken, now or before."""
        platform = request.path.removeprefix(DOOR)
        if platform not in self._keys:
            return _answer(404, error="no such platform")
        if request.method != "POST":
            return _answer(405, error="POST only")
        try:
            number = verify(self._keys[platform], request.headers, request.body, self.host.clock.wall())
        except NotSigned as error:
            return _answer(401, error=str(error))
        if faults.refuse:
            return _answer(int(faults.refuse) if re.fullmatch("[45][0-9]{2}", faults.refuse) else 422, error=faults.refuse)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in XML_TYPES:
            return _answer(415, error=", ".join(XML_TYPES))
        try:
            alert = read_alert(request.body)
            check_alert(alert)
        except FormError as error:
            return _answer(422, error=str(error))
        self._take(platform, number, alert, faults)
        return _answer(202, identifier=text(alert, "identifier", NAMESPACE))

    def received(self) -> list[dict[str, object]]:
        """Every alert that was taken, in order."""
        with self._lock:
            return [dict(one) for one in self._received]

    def counts(self) -> dict[str, int]:
        """Alerts taken (calls), platforms that took any (targets); nothing is ever reported."""
        with self._lock:
            targets = len({one["platform"] for one in self._received})
            return {"calls": len(self._received), "targets": targets, "reports_pushed": 0, "reports_owed": 0}

    def stop(self) -> None:
        """Nothing runs in the background."""

    def _take(self, platform: str, number: str, alert: Any, faults: Faults) -> None:
        words = {name: text(alert, name, NAMESPACE) for name in ("identifier", "sender", "sent", "status", "msgType")}
        headline = text(alert, "info/headline", NAMESPACE) or text(alert, "info/event", NAMESPACE)
        with self._lock:
            if (platform, number) in self._messages:
                return
            self._messages.add((platform, number))
            self._received.append(
                {
                    **words,
                    "platform": platform,
                    "headline": headline,
                    "area_sms": wishes_area_sms(alert),
                    "at": self.host.clock.wall().isoformat(),
                    "passed_on": not faults.delivers_nothing,
                }
            )
        if not faults.delivers_nothing:
            self.host.show(f"📡 {platform}: {words['msgType']} {headline}")


def wishes_area_sms(alert: Any) -> bool:
    """True when the sender wants the operators' SMS to everybody in the area, which only the upper level can order."""
    parameters = alert.iterfind(f"{{{NAMESPACE}}}info/{{{NAMESPACE}}}parameter")
    return any(
        (text(one, "valueName", NAMESPACE), text(one, "value", NAMESPACE)) == ("AreaSMS", "requested") for one in parameters
    )


def _answer(status: int, **fields: str) -> Response:
    return Response(status, body=json.dumps(fields, ensure_ascii=False).encode())
