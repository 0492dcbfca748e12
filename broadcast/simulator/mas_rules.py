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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .clock import Clock


@dataclass(frozen=True, slots=True)
class Account:
    """One contract with 云MAS. The defaults are made up; a simulator has nothing to protect."""

    ec_name: str = "测试单位"
    ap_id: str = "simulated"
    secret_key: str = field(default="simulated-secret", repr=False)
    sign: str = "SIGN1"
    signature: str = "德清应急"  # what the provider puts in front, in 【】
    service_number: str = "10690000"
    max_mobiles: int = 5000
    max_own_texts: int = 999  # numbers with a text of their own in one request (多对多): fewer than 1,000
    max_characters: int = 500  # 【签名】 included
    prefixes: tuple[str, ...] = ("154", "194")  # numbers no carrier has given out to a person: all others are refused
    refuse_ending: str = ""  # numbers with this ending are refused as InvalidMobile, for trying a batch with a bad number
    repeat_seconds: float = 60.0  # the same content to the same number once in this time
    reply_share: float = 0.0  # of the phones with a text that asks for 回复1: so many answer, 0 to 1
    reply_seconds: float = 30.0  # on average, from the text to the answer
    seed: int = 0  # of who answers


@dataclass(frozen=True, slots=True)
class Received:
    """One request that was taken."""

    msg_group: str
    mobiles: tuple[str, ...]
    content: str  # as it came: in a 多对多 request the JSON map
    add_serial: str
    at: datetime
    texts: Mapping[str, str] = field(default_factory=dict)  # number → its own text, in a 多对多 request

    def text(self, mobile: str) -> str:
        """What this phone shows, without the 【签名】."""
        return self.texts.get(mobile, self.content)


class Refusal(Exception):
    """The request is answered with this rspcod, and nothing of it is taken."""

    def __init__(self, rspcod: str) -> None:
        self.rspcod = rspcod
        super().__init__(rspcod)


class Desk:
    """Takes and refuses requests. Shared by threads; what was taken is kept."""

    def __init__(self, account: Account, clock: Clock) -> None:
        self.account = account
        self.received: list[Received] = []
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._lately: dict[str, dict[str, float]] = {}  # content → number → when it was taken

    def take(self, body: bytes) -> Received:
        """One free-text request. Raises Refusal."""
        fields = self._signed_on(body)
        mobiles, content = _text(fields, "mobiles"), _text(fields, "content")
        sign, serial = _text(fields, "sign"), _text(fields, "addSerial")
        parts = [fields["ecName"], fields["apId"], self.account.secret_key, mobiles, content, sign, serial]
        if _text(fields, "mac") != hashlib.md5("".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest():
            raise Refusal("IllegalMac")
        self._check_sign(sign, serial)
        # ASSUMPTION: in a 多对多 request `mobiles` is empty, the map names them.
        return self._keep(tuple(mobiles.split(",")), content, serial) if mobiles else self._keep_own(content, serial)

    def _keep(self, mobiles: tuple[str, ...], content: str, serial: str) -> Received:
        self._check_content(content)
        self._check_mobiles(mobiles, self.account.max_mobiles)
        return self._kept(mobiles, content, serial, {})

    def _keep_own(self, content: str, serial: str) -> Received:
        pairs = _own_texts(content)
        mobiles, texts = tuple(mobile for mobile, _ in pairs), dict(pairs)
        self._check_mobiles(mobiles, self.account.max_own_texts)
        for text in texts.values():
            self._check_content(text)
        return self._kept(mobiles, content, serial, texts)

    def _kept(self, mobiles: tuple[str, ...], content: str, serial: str, texts: dict[str, str]) -> Received:
        with self._lock:
            self._check_repeats(texts or dict.fromkeys(mobiles, content))
            at = self._clock.wall()
            group = f"{at:%m%d%H%M%S}{next(self._numbers):010d}"
            self.received.append(Received(group, mobiles, content, serial, at, texts))
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

    def _check_mobiles(self, mobiles: Sequence[str], most: int) -> None:
        if len(mobiles) > most:
            raise Refusal("TooManyMobiles")
        ending = self.account.refuse_ending
        for mobile in mobiles:
            known = _MOBILE.fullmatch(mobile) and mobile.startswith(self.account.prefixes)
            if not known or (ending and mobile.endswith(ending)):
                raise Refusal("InvalidMobile")
        if len(set(mobiles)) < len(mobiles):
            raise Refusal("InvalidMobile")

    def _check_repeats(self, texts: Mapping[str, str]) -> None:
        """The same content to the same number within a minute is refused. ASSUMPTION: with which word, over HTTP."""
        now = self._clock.seconds()
        since = now - self.account.repeat_seconds
        if any(self._lately.get(text, {}).get(mobile, since) > since for mobile, text in texts.items()):
            raise Refusal("RequestTooOften")
        for mobile, text in texts.items():
            self._lately.setdefault(text, {})[mobile] = now
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


def _own_texts(content: str) -> list[tuple[str, str]]:
    """number → text, as a list so that a number that stands there twice is seen. Raises Refusal."""
    try:
        pairs = json.loads(content, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        raise Refusal("InvalidMobile") from None  # a plain text without a number to send it to
    if not isinstance(pairs, tuple) or not pairs:
        raise Refusal("InvalidMobile")
    if not all(isinstance(text, str) for _, text in pairs):
        raise Refusal("InvalidMessage")
    return list(pairs)
