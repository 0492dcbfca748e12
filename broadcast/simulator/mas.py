"""The stand-in of China Mobile 云MAS: its doors, and what comes back from the phones: status reports and replies.

A report goes out for each number on its own, again when the customer does not answer 200, in the end it waits for a poll.
"""

from __future__ import annotations

import json
import random
import threading
from collections import deque
from datetime import timedelta
from functools import partial

from .faults import Faults
from .mas_rules import Account, Desk, Received, Refusal
from .phones import Habits, masked
from .provider import Host, Request, Response
from .schedule import Schedule

REPUSH_SECONDS = (60.0, 300.0, 600.0)  # ASSUMPTION: as Aliyun documents it (1, 5, 10 minutes); 云MAS states nothing
POLLED_AT_ONCE = 500  # ASSUMPTION
JSON = {"Content-Type": "application/json; charset=utf-8"}


class Mas:
    """A `Provider`. `callback` is where reports and replies are pushed; "" = they wait for the customer's polls."""

    name = "mas"

    def __init__(self, account: Account, host: Host, *, callback: str, report_seconds: float, https: bool) -> None:
        self.desk = Desk(account, host.clock)
        # Free text goes to norsubmit at the HTTP gateway and to submit at the HTTPS gateway.
        self._door = "/sms/submit" if https else "/sms/norsubmit"
        self._host, self._callback, self._delay = host, callback, report_seconds
        self._habits = Habits(account.reply_share, account.reply_seconds, account.seed)
        self._chance = random.Random(account.seed)  # noqa: S311 - which phone is off is no secret
        self._later = Schedule(host.clock, "mas-phones")
        self._lock = threading.Lock()
        self._mailboxes: dict[str, deque[bytes]] = {"report": deque(), "deliver": deque()}
        self._counts = {"reports_pushed": 0, "reports_owed": 0, "replies_pushed": 0, "replies_owed": 0}

    def opens(self, path: str) -> bool:
        """Free text and the two polls."""
        return path in (self._door, "/sms/report", "/sms/deliver")

    def handle(self, request: Request, faults: Faults) -> Response:
        """A refusal is an answer with HTTP 200, as the documents show it."""
        if faults.refuse:
            return _answer(_refusal(faults.refuse))
        try:
            if request.path == self._door:
                return self._submit(request, faults)
            self.desk.sign_on(request.body)
        except Refusal as refusal:
            return _answer(_refusal(refusal.rspcod))
        return _answer(self._poll(self._mailboxes[request.path.rpartition("/")[2]]))

    def received(self) -> list[dict[str, object]]:
        """Every request that was taken. The numbers stand in the clear: only numbers that belong to nobody are ever taken."""
        return [_shown(one) for one in tuple(self.desk.received)]

    def counts(self) -> dict[str, int]:
        """Requests and numbers taken; reports and replies that were taken, are owed, or wait for a poll."""
        taken = tuple(self.desk.received)
        with self._lock:
            kept = {"reports_kept": len(self._mailboxes["report"]), "replies_kept": len(self._mailboxes["deliver"])}
            return {"calls": len(taken), "numbers": sum(len(one.mobiles) for one in taken), **self._counts, **kept}

    def stop(self) -> None:
        """No phone reports or answers any more."""
        self._later.stop()

    def _submit(self, request: Request, faults: Faults) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in ("text/plain", "application/json"):
            return _answer(_refusal("IllegalMsgfmt"), 415)
        received = self.desk.take(request.body)
        if not faults.delivers_nothing:
            self._show(received)
            self._arrive(received, faults)
        return _answer({"msgGroup": received.msg_group, "rspcod": "success", "success": True})

    def _show(self, received: Received) -> None:
        signature, phones = self.desk.account.signature, dict[str, int]()
        for mobile in received.mobiles:
            phones[received.text(mobile)] = phones.get(received.text(mobile), 0) + 1
        for text, count in phones.items():
            self._host.show(f"【{signature}】{text}  → {count:,} phones")

    def _arrive(self, received: Received, faults: Faults) -> None:
        """From now on a report is owed for each number. They are written only when due: the answer must not wait for that."""
        self._count("reports_owed", 0 if faults.no_reports else len(received.mobiles) * (2 if faults.duplicate_reports else 1))
        if faults.reports_before_answer:
            self._reach(received, faults)
        else:
            late = self._chance.uniform(0, 4) if faults.shuffle_reports else 1.0
            self._later.after(self._delay * late, partial(self._reach, received, faults))

    def _reach(self, received: Received, faults: Faults) -> None:
        """The phones have it, or are off."""
        mobiles = list(received.mobiles)
        if faults.shuffle_reports:
            self._chance.shuffle(mobiles)
        for mobile in mobiles:
            off = faults.fail_share > 0 and self._chance.random() < faults.fail_share
            if not faults.no_reports:
                self._report(received, mobile, ("UNDELIV", "DB:0140") if off else ("DELIVRD", "DELIVRD"), faults)
            answer = None if off else self._habits.answer(mobile, received.text(mobile))
            if answer:
                self._count("replies_owed", 1)
                self._later.after(answer[1], partial(self._reply, received, mobile, answer[0]))

    def _report(self, received: Received, mobile: str, told: tuple[str, str], faults: Faults) -> None:
        done = received.at + timedelta(seconds=self._host.clock.real(self._delay))  # stamps are in real time
        report = {
            "mobile": mobile,
            "reportStatus": told[0],
            "errorCode": told[1],
            "submitDate": f"{received.at:%Y%m%d%H%M%S}",
            "receiveDate": f"{done:%Y%m%d%H%M%S}",
            "msgGroup": received.msg_group,
        }
        for _ in range(2 if faults.duplicate_reports else 1):
            self._tell("report", report)

    def _reply(self, received: Received, mobile: str, words: str) -> None:
        """ASSUMPTION: pushed to the same URL as reports; sendTime as in reports."""
        now = self._host.clock.wall()
        reply = {
            "smsContent": words,
            "mobile": mobile,
            "sendTime": f"{now:%Y%m%d%H%M%S}",
            "addSerial": received.add_serial,
        }
        self._host.show(f"{masked(mobile)} answers: {words}")
        self._tell("deliver", reply)

    def _tell(self, kind: str, fields: dict[str, str]) -> None:
        body = json.dumps(fields, ensure_ascii=False).encode()
        if self._callback:
            told = _Told(self, kind, body)
            self._host.push(self._callback, body, JSON, after=0, again=REPUSH_SECONDS, taken=told)
        else:
            self.keep(kind, body)

    def keep(self, kind: str, body: bytes) -> None:
        """It waits for a poll from now on."""
        with self._lock:
            self._mailboxes[kind].append(body)
            self._counts[_OWED[kind]] -= 1

    def told(self, kind: str) -> None:
        """The customer took it."""
        with self._lock:
            self._counts[_OWED[kind]] -= 1
            self._counts[_PUSHED[kind]] += 1

    def _count(self, name: str, more: int) -> None:
        with self._lock:
            self._counts[name] += more

    def _poll(self, mailbox: deque[bytes]) -> list[object]:
        """What waits for the customer, oldest first; it is gone from here then."""
        with self._lock:
            taken = [mailbox.popleft() for _ in range(min(POLLED_AT_ONCE, len(mailbox)))]
        return [json.loads(body) for body in taken]


_OWED = {"report": "reports_owed", "deliver": "replies_owed"}
_PUSHED = {"report": "reports_pushed", "deliver": "replies_pushed"}


class _Told:
    """Looks at the customer's answers to one push: 200 is enough, and after the last try it waits for a poll."""

    __slots__ = ("_body", "_kind", "_mas", "_tries")

    def __init__(self, mas: Mas, kind: str, body: bytes) -> None:
        self._mas, self._kind, self._body, self._tries = mas, kind, body, 0

    def __call__(self, status: int, _answer: bytes) -> bool:
        self._tries += 1
        if status == 200:
            self._mas.told(self._kind)
        elif self._tries > len(REPUSH_SECONDS):
            self._mas.keep(self._kind, self._body)
        return status == 200


def _answer(found: object, status: int = 200) -> Response:
    return Response(status, body=json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))


def _refusal(rspcod: str) -> dict[str, object]:
    return {"msgGroup": "", "rspcod": rspcod, "success": False}


def _shown(one: Received) -> dict[str, object]:
    return {
        "msgGroup": one.msg_group,
        "mobiles": list(one.mobiles),
        "content": one.content,
        **({"texts": dict(one.texts)} if one.texts else {}),
        "addSerial": one.add_serial,
        "at": one.at.isoformat(),
    }
