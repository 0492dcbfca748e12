"""The stand-in of Aliyun 语音服务 (VMS, 2017-05-25): its one door, IvrCall, and the reports that it pushes.

Where the documents say nothing, the choice is marked ASSUMPTION.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from . import acs3
from .acs3 import Refused
from .faults import Faults
from .limits import Nonces, Window
from .provider import Host, Request, Response
from .vms_phones import PhoneCall, behave, story
from .vms_rules import CALLEE_LIMITS, CALLS_PER_SECOND, STATUSES, VmsAccount, parameters_of, read_order

__all__ = ["REPUSH_SECONDS", "Vms", "VmsAccount", "is_taken"]

REPUSH_SECONDS = (60.0, 300.0, 600.0)  # after 1, 5 and 10 minutes, then never


class Vms:
    """The provider. Shared by threads."""

    name = "vms"

    def __init__(self, account: VmsAccount, host: Host) -> None:
        self.account, self.host = account, host
        self._lock = threading.Lock()
        self._nonces = Nonces(2 * acs3.CLOCKS_MAY_DIFFER.total_seconds())
        self._rate, self._callees = Window((CALLS_PER_SECOND, 1.0)), Window(*CALLEE_LIMITS)
        self._numbers = itertools.count(1)
        self._calls: list[PhoneCall] = []
        self._to: dict[str, int] = {}  # number → how often it was called
        self._pushed = self._owed = 0

    def opens(self, path: str) -> bool:
        """One door for all actions."""
        return path == "/"

    def handle(self, request: Request, faults: Faults) -> Response:
        """Takes an IvrCall or refuses it."""
        try:
            if faults.refuse:
                business = faults.refuse.startswith(("isv.", "isp."))
                raise Refused(faults.refuse, 200 if business else STATUSES.get(faults.refuse, 400))
            call = self._take(self._admit(request), faults)
        except Refused as refusal:
            return _answer(refusal.status, Code=refusal.code, Message=refusal.code)
        if not faults.delivers_nothing:
            self.host.show(f"☎ {_masked(call.order.callee)}: {call.order.text} → {call.ending.words}{call.key}")
            self._report(call, faults)
        return _answer(200, Code="OK", Message="OK", CallId=call.call_id)

    def received(self) -> list[dict[str, object]]:
        """Every call that was taken, in order. Numbers in the clear: only those that belong to nobody are ever taken."""
        with self._lock:
            calls = list(self._calls)
        return [
            {
                "number": call.order.callee,
                "text": call.order.text,
                "out_id": call.order.out_id,
                "call_id": call.call_id,
                "at": call.at.isoformat(),
                "ended": call.ending.status,
                "dtmf": call.key,
            }
            for call in calls
        ]

    def counts(self) -> dict[str, int]:
        """Calls taken, and how many numbers they went to; reports that the customer took, and those he is still to be told."""
        with self._lock:
            return {
                "calls": len(self._calls),
                "numbers": len(self._to),
                "reports_pushed": self._pushed,
                "reports_owed": self._owed,
            }

    def stop(self) -> None:
        """Nothing of its own runs in the background."""

    def _admit(self, request: Request) -> dict[str, str]:
        """The parameters of a request that the gateway lets through. Raises Refused."""
        if request.method != "POST":
            raise Refused("UnsupportedHTTPMethod", 400)
        if request.headers.get("x-acs-action") != "IvrCall":
            raise Refused("InvalidAction.NotFound", 404)
        if request.headers.get("x-acs-version") != "2017-05-25":
            raise Refused("InvalidVersion", 400)
        nonce = acs3.check(request, self.account.access_key_id, self.account.access_key_secret, self.host.clock.wall())
        with self._lock:
            # Real time: the nonces are of the time stamps, and those are the customer's clock.
            if not self._nonces.is_new(nonce, self.host.clock.wall().timestamp()):
                raise Refused("SignatureNonceUsed", 400)
            now = self.host.clock.seconds()
            if not self._rate.allows("", now):
                raise Refused("Throttling.User", 400)
            self._rate.add("", now)
        return parameters_of(request)

    def _take(self, parameters: Mapping[str, str], faults: Faults) -> PhoneCall:
        order = read_order(parameters, self.account)
        with self._lock:
            now = self.host.clock.seconds()
            if not self._callees.allows(order.callee, now):
                raise Refused("isv.BUSINESS_LIMIT_CONTROL")
            self._callees.add(order.callee, now)
            nth = self._to[order.callee] = self._to.get(order.callee, 0) + 1
            ending, key = behave(order, nth, self.account, faults)
            number = next(self._numbers)
            call_id = f"{116_000_000_000 + number}^{102_000_000_000 + number}"
            call = PhoneCall(order, nth, call_id, self.host.clock.wall(), ending, key)
            self._calls.append(call)
            return call

    def _report(self, call: PhoneCall, faults: Faults) -> None:
        if faults.no_reports or not self.account.callback:
            return
        chance = random.Random(f"{self.account.seed}:{call.order.callee}:{call.nth}:times")  # noqa: S311 - as above
        reports = list(story(call, self._stamp(call.at), chance))
        if faults.shuffle_reports:  # the final one first, then the intermediate ones from the last to the first
            times, bodies = zip(*reports, strict=True)
            reports = list(zip(times, reversed(bodies), strict=True))
        for seconds, report in reports:
            for _ in range(2 if faults.duplicate_reports else 1):
                self._push(report, seconds)

    def _stamp(self, at: datetime) -> Callable[[float], str]:
        return lambda second: f"{at + timedelta(seconds=self.host.clock.real(second)):%Y-%m-%d %H:%M:%S}"

    def _push(self, report: Mapping[str, str], seconds: float) -> None:
        tries = itertools.count(1)

        def taken(status: int, body: bytes) -> bool:
            good = is_taken(status, body)
            with self._lock:
                if good or next(tries) > len(REPUSH_SECONDS):
                    self._pushed, self._owed = self._pushed + good, self._owed - 1
            return good

        with self._lock:
            self._owed += 1
        body = json.dumps([report], ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json;charset=UTF-8"}
        self.host.push(self.account.callback, body, headers, after=seconds, again=REPUSH_SECONDS, taken=taken)


def is_taken(status: int, body: bytes) -> bool:
    """What ends the pushing: HTTP 200 with JSON whose `code` is a number. Which number is not looked at."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return False
    code = answer.get("code") if isinstance(answer, dict) else None
    return status == 200 and isinstance(code, int | float) and not isinstance(code, bool)


def _masked(number: str) -> str:
    return f"{number[:3]}****{number[-4:]}"


def _answer(status: int, **fields: str) -> Response:
    body = {"RequestId": str(uuid.uuid4()).upper(), **fields}
    return Response(status, body=json.dumps(body, ensure_ascii=False).encode())
