"""The rules of China Mobile 云MAS as its documents state them: what is taken, and with which word the rest is refused.

The province's free-text gateway. Where the documents say nothing, the choice is marked ASSUMPTION.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Account:
    """One contract with the provider. The defaults are made up; a simulator has nothing to protect."""

    ec_name: str = "测试单位"
    ap_id: str = "simulated"
    secret_key: str = field(default="simulated-secret", repr=False)
    sign: str = "SIGN1"
    signature: str = "德清应急"  # what the provider puts in front, in 【】
    service_number: str = "10690000"
    max_mobiles: int = 5000
    max_characters: int = 500  # 【签名】 included
    prefixes: tuple[str, ...] = ("154", "194")  # numbers no carrier has given out to a person: all others are refused
    refuse_ending: str = ""  # numbers with this ending are refused as InvalidMobile, for trying a batch with a bad number
    repeat_seconds: float = 60.0  # the same content to the same number once in this time


@dataclass(frozen=True, slots=True)
class Received:
    """One request that was taken."""

    msg_group: str
    mobiles: tuple[str, ...]
    content: str
    add_serial: str
    at: datetime


class Refusal(Exception):
    """The request is answered with this rspcod, and nothing of it is taken."""

    def __init__(self, rspcod: str) -> None:
        self.rspcod = rspcod
        super().__init__(rspcod)


class Desk:
    """Takes and refuses requests. Shared by threads; what was taken is kept."""

    def __init__(self, account: Account, speed: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.account = account
        self.received: list[Received] = []
        self._speed, self._clock = speed, clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._lately: dict[str, dict[str, float]] = {}  # content → number → when it was taken

    def take(self, body: bytes) -> Received:
        """One free-text request. Raises Refusal."""
        fields = self._signed_on(body)
        mobiles = tuple(_text(fields, "mobiles").split(","))
        content, sign, serial = _text(fields, "content"), _text(fields, "sign"), _text(fields, "addSerial")
        parts = [fields["ecName"], fields["apId"], self.account.secret_key, ",".join(mobiles), content, sign, serial]
        if _text(fields, "mac") != hashlib.md5("".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest():
            raise Refusal("IllegalMac")
        self._check_sign(sign, serial)
        self._check_content(content)
        self._check_mobiles(mobiles)
        with self._lock:
            self._check_repeats(content, mobiles)
            at = datetime.now(BEIJING)
            group = f"{at:%m%d%H%M%S}{next(self._numbers):010d}"
            self.received.append(Received(group, mobiles, content, serial, at))
            return self.received[-1]

    def sign_on(self, body: bytes) -> None:
        """A poll for reports carries the account only. Raises Refusal."""
        fields = self._signed_on(body)
        if _text(fields, "secretKey") != self.account.secret_key:
            raise Refusal("InvalidUsrOrPwd")

    def _signed_on(self, body: bytes) -> dict[str, object]:
        fields = _decoded(body)
        account = self.account
        if (_text(fields, "ecName"), _text(fields, "apId")) != (account.ec_name, account.ap_id):
            raise Refusal("InvalidUsrOrPwd")
        # Older contracts leave the password out of the JSON; one that is there must be right.
        if fields.get("secretKey", account.secret_key) != account.secret_key:
            raise Refusal("InvalidUsrOrPwd")
        return fields

    def _check_sign(self, sign: str, serial: str) -> None:
        if not sign:
            raise Refusal("NoSignId")
        if sign != self.account.sign:
            raise Refusal("IllegalSignId")
        # The service number and its extension have at most 20 digits together. ASSUMPTION: which word says so.
        if serial and not (serial.isascii() and serial.isdigit() and len(self.account.service_number + serial) <= 20):
            raise Refusal("InvalidMessage")

    def _check_content(self, content: str) -> None:
        whole = f"【{self.account.signature}】{content}"
        # ASSUMPTION: a text that brings its own 【签名】 is refused; the sign code is what brings it.
        if not content.strip() or len(whole) > self.account.max_characters or content.startswith("【" + self.account.signature):
            raise Refusal("InvalidMessage")

    def _check_mobiles(self, mobiles: Sequence[str]) -> None:
        if len(mobiles) > self.account.max_mobiles:
            raise Refusal("TooManyMobiles")
        ending = self.account.refuse_ending
        for mobile in mobiles:
            known = _MOBILE.fullmatch(mobile) and mobile.startswith(self.account.prefixes)
            if not known or (ending and mobile.endswith(ending)):
                raise Refusal("InvalidMobile")
        if len(set(mobiles)) < len(mobiles):
            raise Refusal("InvalidMobile")

    def _check_repeats(self, content: str, mobiles: Sequence[str]) -> None:
        """The same content to the same number within a minute is refused. ASSUMPTION: with which word, over HTTP."""
        now = self._clock()
        since = now - self.account.repeat_seconds / self._speed
        lately = self._lately.setdefault(content, {})
        if any(lately.get(mobile, since) > since for mobile in lately.keys() & set(mobiles)):
            raise Refusal("RequestTooOften")
        lately.update(dict.fromkeys(mobiles, now))
        if len(self._lately) > 1000:  # forget the words that nobody heard lately
            self._lately = {words: times for words, times in self._lately.items() if max(times.values()) > since}


_MOBILE = re.compile(r"1[0-9]{10}")


def _decoded(body: bytes) -> dict[str, object]:
    """base64( UTF-8 JSON object ), strictly. ASSUMPTION: which word refuses anything else."""
    try:
        fields = json.loads(base64.b64decode(body, validate=True).decode("utf-8"))
    except (binascii.Error, ValueError, RecursionError):
        raise Refusal("IllegalMsgfmt") from None
    if not isinstance(fields, dict):
        raise Refusal("IllegalMsgfmt")
    return fields


def _text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str) or (not value.isprintable() and name != "content"):
        raise Refusal("IllegalMsgfmt")
    return value
