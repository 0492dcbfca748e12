"""The stand-in of 浙政钉 (专有钉钉, GovDingTalk): work notices, DING and account lookup, as its documents state them.

Where the documents at hand say nothing, the choice is marked ASSUMPTION.
"""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from . import hmac_auth
from .faults import Faults
from .limits import Nonces, Window
from .provider import Host, Request, Response
from .taps import Taps, links
from .zwdd_people import Person, ZwddAccount, account_of, behave, employees, is_known, masked, mobile_of, number_of, state_of
from .zwdd_rules import (
    CODES_AT_ONCE,
    DAILY_DINGS,
    DAY,
    DINGS,
    MOBILES_AT_ONCE,
    NOTICE_GAP,
    NOTICE_RECEIVERS,
    NOTICES_A_DAY,
    NOTICES_TO_ONE_A_DAY,
    TOKEN_SECONDS,
    Fields,
    Refusal,
    accounts_of,
    ding_words,
    listed,
    notice_words,
    only,
)

__all__ = ["Zwdd", "ZwddAccount"]

WAIT_FOR_TAPS = 5.0  # real seconds, when people are to be quicker than the answer


@dataclass(frozen=True, slots=True)
class Notice:
    """A work notice that was taken."""

    msg_id: str
    biz_msg_id: str
    receivers: tuple[str, ...]
    organizations: tuple[str, ...]
    text: str
    at: datetime
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Ding:
    """A DING that was taken."""

    ding_id: str
    people: tuple[Person, ...]
    text: str
    at: datetime


class Zwdd:
    """The provider. Shared by threads."""

    name = "zwdd"

    def __init__(self, account: ZwddAccount, host: Host) -> None:
        self.account, self.host = account, host
        self._lock = threading.Lock()
        self._in_notice = threading.Lock()
        self._nonces = Nonces(2 * hmac_auth.CLOCKS_MAY_DIFFER.total_seconds())
        self._token = ("", 0.0)  # and when it ends
        self._last_notice: float | None = None
        self._words, self._to_one = Window((1, DAY)), Window((NOTICES_TO_ONE_A_DAY, DAY))
        self._all = Window((NOTICES_A_DAY, DAY))
        self._numbers = itertools.count(1)
        self._taken: list[Notice | Ding] = []
        self._taps = Taps(host.clock, "zwdd-taps")
        self._doors: dict[str, Callable[[Fields, Faults], dict[str, object]]] = {
            "/gettoken.json": self._give_token,
            "/message/workNotification": self._notify,
            "/message/revoke": self._revoke,
            "/ding/query/userDetail": self._detail,
            "/mozi/employee/get_by_mobile": self._by_mobile,
            "/mozi/employee/get_by_mobiles": self._by_mobiles,
            "/mozi/employee/listEmployeeAccountIds": self._account_ids,
            "/gov/ding/isv/send.json": lambda fields, faults: self._ding("/gov/ding/isv/send.json", fields, faults),
            "/ding/isv/send.json": lambda fields, faults: self._ding("/ding/isv/send.json", fields, faults),
        }

    def opens(self, path: str) -> bool:
        """The doors that stand in the documents."""
        return path in self._doors

    def handle(self, request: Request, faults: Faults) -> Response:
        """Every answer is HTTP 200 with the envelope, also a refusal (ASSUMPTION)."""
        try:
            if faults.refuse:
                raise Refusal(faults.refuse)
            fields = self._admit(request)
            content = self._doors[request.path](fields, faults)
        except Refusal as refusal:
            return _refusal(refusal)
        return _envelope({"success": True, **content, "responseCode": "0", "responseMessage": "OK", "bizErrorCode": "0"})

    def received(self) -> list[dict[str, object]]:
        """Every notice and DING that was taken, in order."""
        with self._lock:
            taken = list(self._taken)
        now = self.host.clock.seconds()
        return [_shown(one, now) for one in taken]

    def counts(self) -> dict[str, int]:
        """Notices and DINGs taken, and to how many; visits at links made and owed."""
        with self._lock:
            sizes = [len(one.receivers) if isinstance(one, Notice) else len(one.people) for one in self._taken]
        return {"calls": len(sizes), "accounts": sum(sizes), **self._taps.counts()}

    def stop(self) -> None:
        """Nobody opens a link any more."""
        self._taps.stop()

    # --- at the gateway ----------------------------------------------------------------------------------------------

    def _admit(self, request: Request) -> dict[str, list[str]]:
        """The parameters of a request that the gateway lets through. Raises Refusal."""
        wanted = "GET" if request.path == "/gettoken.json" else "POST"
        # ASSUMPTION: how the read detail is asked is not documented; both ways will do.
        if request.method != wanted and not (request.path == "/ding/query/userDetail" and request.method == "GET"):
            raise Refusal("parameter", outside=True)
        try:
            nonce = hmac_auth.check(request, self.account.app_key, self.account.app_secret, self.host.clock.wall())
        except hmac_auth.Unsigned as unsigned:
            raise Refusal(str(unsigned), outside=True) from None
        fields: dict[str, list[str]] = {}
        for name, value in hmac_auth.parameters(request):
            if value:
                fields.setdefault(name, []).append(value)
        with self._lock:
            # Real time: the nonces are of the time stamps, and those are the customer's clock.
            if not self._nonces.is_new(nonce, self.host.clock.wall().timestamp()):
                raise Refusal("nonce", outside=True)
            if request.path != "/gettoken.json":
                self._check_token(only(fields, "access_token"))
        return fields

    def _check_token(self, token: str) -> None:
        good = token == self._token[0] and self.host.clock.seconds() < self._token[1]
        if not good and (token or self.account.token_required):
            raise Refusal("token", outside=True)

    def _give_token(self, fields: Fields, faults: Faults) -> dict[str, object]:  # noqa: ARG002 - as every door
        if (only(fields, "appkey"), only(fields, "appsecret")) != (self.account.app_key, self.account.app_secret):
            raise Refusal("secret")
        with self._lock:
            now = self.host.clock.seconds()
            if now >= self._token[1]:
                self._token = (uuid.uuid4().hex, now + TOKEN_SECONDS)
            token, ends = self._token
        # ASSUMPTION: what is left of it; the documents' example shows text, not a number.
        return {"data": {"accessToken": token, "expiresIn": str(int(ends - now))}}

    # --- work notices ------------------------------------------------------------------------------------------------

    def _notify(self, fields: Fields, faults: Faults) -> dict[str, object]:
        if not self._in_notice.acquire(blocking=False):
            raise Refusal("at once")
        try:
            notice = self._take_notice(fields)
            if not faults.delivers_nothing:
                people = len(notice.receivers) + len(notice.organizations)
                self.host.show(f"浙政钉 工作通知 → {people:,} 人: {notice.text}")
            return {"msgId": notice.msg_id}
        finally:
            self._in_notice.release()

    def _take_notice(self, fields: Fields) -> Notice:
        """ASSUMPTION: a call of which a part breaks a limit is refused as a whole; a refused one starts no interval."""
        self._check_tenant(fields)
        named, organizations = listed(only(fields, "receiverIds")), listed(only(fields, "organizationCodes"))
        biz_msg_id, message = only(fields, "bizMsgId"), only(fields, "msg")
        if not biz_msg_id or not (named or organizations):
            raise Refusal("parameter")
        if len(named) + len(organizations) > NOTICE_RECEIVERS:
            raise Refusal("too many")
        text = notice_words(message)
        # ASSUMPTION: accounts that are not known are left out without a word.
        known = tuple(dict.fromkeys(account for account in named if is_known(account)))
        if not known and not organizations:
            raise Refusal("nobody")
        with self._lock:
            now = self.host.clock.seconds()
            if any(isinstance(one, Notice) and one.biz_msg_id == biz_msg_id for one in self._taken):
                raise Refusal("repeated")
            if self._last_notice is not None and now - self._last_notice < NOTICE_GAP:
                raise Refusal("too soon")
            count = len(known) + len(organizations)
            if not self._all.allows("", now, count):
                raise Refusal("day")
            self._spend_day("notice", known, message, now)
            self._all.add("", now, count)
            self._last_notice = now
            msg_id = f"msg{next(self._numbers):012d}"
            notice = Notice(msg_id, biz_msg_id, known, organizations, text, self.host.clock.wall())
            self._taken.append(notice)
            return notice

    def _spend_day(self, kind: str, accounts: Sequence[str], words: str, now: float) -> None:
        """The same words to the same account once a day, and at most so many a day."""
        for account in accounts:
            if not self._words.allows(f"{kind} {account} {words}", now):
                raise Refusal("same words")
            if not self._to_one.allows(f"{kind} {account}", now):
                raise Refusal("user's day")
        for account in accounts:
            self._words.add(f"{kind} {account} {words}", now)
            self._to_one.add(f"{kind} {account}", now)

    def _revoke(self, fields: Fields, faults: Faults) -> dict[str, object]:  # noqa: ARG002 - as every door
        self._check_tenant(fields)
        if only(fields, "msgType") != "workNotification":
            raise Refusal("parameter")
        with self._lock:
            for n, one in enumerate(self._taken):
                if isinstance(one, Notice) and one.biz_msg_id == only(fields, "bizMsgId"):
                    self._taken[n] = replace(one, revoked=True)
                    return {"data": True}
        raise Refusal("unknown")

    # --- DING --------------------------------------------------------------------------------------------------------

    def _ding(self, door: str, fields: Fields, faults: Faults) -> dict[str, object]:
        self._check_tenant(fields)
        creator, receivers = accounts_of(fields, "creator"), accounts_of(fields, "receivers")
        text = ding_words(fields)
        if len(creator) != 1 or not receivers or only(fields, "notifyType") not in ("app", "sms"):
            raise Refusal("parameter")
        if len(receivers) > DINGS[door]:
            raise Refusal("too many")
        # ASSUMPTION: accounts that are not known are left out without a word, and are missing in the read detail.
        known = [account for account in dict.fromkeys(receivers) if is_known(account)]
        if not known or not is_known(creator[0]):
            raise Refusal("nobody")
        with self._lock:
            now = self.host.clock.seconds()
            if door == DAILY_DINGS:
                self._spend_day("ding", known, text, now)
            number = next(self._numbers)
            people = tuple(behave(account, number, now, self.account, faults) for account in known)
            ding = Ding(f"ding{number:012d}", people, text, self.host.clock.wall())
            self._taken.append(ding)
        if not faults.delivers_nothing:
            whom = masked(known[0]) if len(known) == 1 else f"{len(known):,} 人"
            self.host.show(f"DING → {whom}: {text}")
            self._visit_links(ding, now, faults)
        return {"data": {"dingId": ding.ding_id}}

    def _visit_links(self, ding: Ding, now: float, faults: Faults) -> None:
        """Every receiver's telephone looks at the page at once; those who confirm by link press its button later."""
        for link in links(ding.text):
            for person in ding.people:
                self._taps.preview(link, 0.0)
                if person.taps is not None:
                    for _ in range(2 if faults.duplicate_reports else 1):
                        self._taps.confirm(link, 0.0 if faults.reports_before_answer else person.taps - now)
        if faults.reports_before_answer:
            self._taps.wait(WAIT_FOR_TAPS)

    def _detail(self, fields: Fields, faults: Faults) -> dict[str, object]:  # noqa: ARG002 - as every door
        """ASSUMPTION: the form of the answer; documented is only that it tells of each receiver."""
        with self._lock:
            dings = [one for one in self._taken if isinstance(one, Ding) and one.ding_id == only(fields, "dingId")]
        if not dings:
            raise Refusal("unknown")
        now = self.host.clock.seconds()
        return {"data": [{"accountId": number_of(person.account), **state_of(person, now)} for person in dings[0].people]}

    # --- who is who --------------------------------------------------------------------------------------------------

    def _by_mobile(self, fields: Fields, faults: Faults) -> dict[str, object]:  # noqa: ARG002 - as every door
        self._check_directory(fields)
        people = employees([only(fields, "mobile")])
        if not people:
            raise Refusal("nobody")
        return {"data": people[0]}

    def _by_mobiles(self, fields: Fields, faults: Faults) -> dict[str, object]:  # noqa: ARG002 - as every door
        """ASSUMPTION: numbers that belong to nobody are left out."""
        self._check_directory(fields)
        mobiles = listed(only(fields, "mobiles"))
        if not 1 <= len(mobiles) <= MOBILES_AT_ONCE:
            raise Refusal("parameter")
        return {"data": employees(mobiles)}

    def _account_ids(self, fields: Fields, faults: Faults) -> dict[str, object]:  # noqa: ARG002 - as every door
        """The codes come as a repeated parameter. ASSUMPTION: codes that belong to nobody are left out."""
        self._check_tenant(fields)
        codes = fields.get("employeeCodes", ())
        if not 1 <= len(codes) <= CODES_AT_ONCE:
            raise Refusal("parameter")
        mobiles = [(code, mobile_of(code)) for code in codes]
        return {
            "data": [
                {"accountId": account_of(mobile), "accountCode": mobile, "accountNamespace": "local", "employeeCode": code}
                for code, mobile in mobiles
                if mobile
            ]
        }

    def _check_directory(self, fields: Fields) -> None:
        self._check_tenant(fields)
        if (only(fields, "areaCode"), only(fields, "namespace")) != ("86", "local"):
            raise Refusal("parameter")

    def _check_tenant(self, fields: Fields) -> None:
        if only(fields, "tenantId") != self.account.tenant_id:
            raise Refusal("tenant")


def _shown(one: Notice | Ding, now: float) -> dict[str, object]:
    if isinstance(one, Notice):
        return {
            "kind": "notice",
            "receivers": list(one.receivers),
            "organizations": list(one.organizations),
            "text": one.text,
            "bizMsgId": one.biz_msg_id,
            "at": one.at.isoformat(),
            "revoked": one.revoked,
        }
    return {
        "kind": "ding",
        "receivers": [person.account for person in one.people],
        "text": one.text,
        "dingId": one.ding_id,
        "at": one.at.isoformat(),
        "ended": {person.account: state_of(person, now) for person in one.people},
    }


def _refusal(refusal: Refusal) -> Response:
    """ASSUMPTION: the gateway's refusal has no content, the service's has success false only inside."""
    words = {"responseCode": refusal.code, "responseMessage": refusal.words, "bizErrorCode": refusal.code}
    if refusal.outside:
        return _write({"success": False, "content": None, "bizErrorCode": refusal.code, "errorMsg": refusal.words})
    return _write({"success": True, "content": {"success": False, "data": None, **words}, "bizErrorCode": refusal.code})


def _envelope(content: Mapping[str, object]) -> Response:
    return _write({"success": True, "content": content, "bizErrorCode": "0"})


def _write(answer: Mapping[str, object]) -> Response:
    return Response(body=json.dumps(answer, ensure_ascii=False).encode())
