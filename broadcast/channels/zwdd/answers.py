"""What the platform answers: an envelope in an envelope, and its words for why not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import cast

from ...errors import ChannelError, InDoubt, Misconfigured, Unavailable
from .. import http


class Meaning(Enum):
    """What an answer says about the request."""

    TAKEN = auto()
    ALREADY = auto()  # this bizMsgId was taken before
    TOKEN = auto()  # the access token is not valid (any more)
    NOBODY = auto()  # the receiver is not known
    COME_LATER = auto()  # too soon or too often: certainly nothing was taken
    ABOUT_US = auto()  # account, permission, day's quota: reject nobody, call the operator
    MAYBE = auto()


# Only SignatureDoesNotMatch and "重复" are documented in public; a full list of refusals was NOT FOUND. ASSUMPTION: the
# others are told apart by these words, in the code or in the message, first match wins, upper or lower case alike.
MEANINGS: dict[str, Meaning] = {
    "SignatureDoesNotMatch": Meaning.ABOUT_US,
    "OPF-B001-05-16-0009": Meaning.ABOUT_US,  # the same as a code
    "InvalidAccessKey": Meaning.ABOUT_US,
    "nonce": Meaning.ABOUT_US,
    "timestamp": Meaning.ABOUT_US,
    "appsecret": Meaning.ABOUT_US,
    "access_token": Meaning.TOKEN,
    "accessToken": Meaning.TOKEN,
    "InvalidToken": Meaning.TOKEN,
    "TokenExpired": Meaning.TOKEN,
    "X-Hmac-Auth": Meaning.ABOUT_US,
    # "同样的ID调用多次会提示“重复”错误": the rule of the work notification.
    "重复": Meaning.ALREADY,
    # At most 20,000 a day for an app, the same content once a day: waiting will not help this warning, a person must.
    "当天": Meaning.ABOUT_US,
    "当日": Meaning.ABOUT_US,
    "每天": Meaning.ABOUT_US,
    "一天": Meaning.ABOUT_US,
    # "发送间隔不得低于10min; 禁止使用多线程方式调用"
    "间隔": Meaning.COME_LATER,
    "频繁": Meaning.COME_LATER,
    "限流": Meaning.COME_LATER,
    "稍后": Meaning.COME_LATER,
    "并发": Meaning.COME_LATER,
    "多线程": Meaning.COME_LATER,
    "TooManyRequests": Meaning.COME_LATER,
    "FlowLimit": Meaning.COME_LATER,
    "Throttl": Meaning.COME_LATER,
    "接收者不存在": Meaning.NOBODY,
    "接收人不存在": Meaning.NOBODY,
    "参数": Meaning.ABOUT_US,
    "租户": Meaning.ABOUT_US,
    "上限": Meaning.ABOUT_US,
    "字节": Meaning.ABOUT_US,  # longer than it may be
    "权限": Meaning.ABOUT_US,
    "未授权": Meaning.ABOUT_US,
    "Forbidden": Meaning.ABOUT_US,
    "Unauthorized": Meaning.ABOUT_US,
}
UNKNOWN_WORDS = Meaning.MAYBE

_FLAGS, _CODES = "success", ("errorCode", "bizErrorCode", "responseCode", "code")
_WORDS = (*_CODES, "errorMsg", "errorMessage", "responseMessage", "message", "msg")
_FINE = ("", "0", "200", "OK", "SUCCESS", "success")  # codes of an answer that is well
_SHOWN = re.compile(r"(?!.*[0-9]{7})[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")  # a code, and never an account or a phone
_LEVELS = 4  # content in content in content: two were seen, one of them as JSON in a string


@dataclass(frozen=True, slots=True)
class Envelope:
    """An answer, opened."""

    meaning: Meaning
    code: str  # theirs, fit to be shown
    data: object = field(repr=False)  # accounts and tokens


def open_envelope(body: bytes) -> Envelope:
    """Taken only when *every* success flag and code in it says so. ValueError for foreign bytes."""
    levels = list(_levels(_json(body)))
    if len(levels) < 2 and levels[0].get(_FLAGS) in (True, "true"):
        raise ValueError("success without a content")
    codes = [_plain(level.get(name)) for level in levels for name in _CODES]
    told = [code for code in codes if code not in _FINE]
    shown = next((code for code in told if _SHOWN.fullmatch(code)), "")
    if not told and all(level.get(_FLAGS, True) in (True, "true") for level in levels):
        inner = levels[-1]
        return Envelope(Meaning.TAKEN, "0", inner.get("data", inner))
    said = " ".join(_plain(level.get(name)) for level in levels for name in _WORDS).lower()
    meaning = next((meaning for word, meaning in MEANINGS.items() if word.lower() in said), UNKNOWN_WORDS)
    return Envelope(meaning, shown or _named(said), None)


def error_of(envelope: Envelope, gap: float | None = None) -> ChannelError:
    """The refusal as an exception. `gap` is how long to wait where it was too soon."""
    said = f"the platform answers {envelope.code or 'a refusal without a code'}"
    match envelope.meaning:
        case Meaning.COME_LATER:
            return Unavailable(f"{said}: too soon or too often", retry_after=gap)
        case Meaning.ABOUT_US | Meaning.TOKEN:
            return Misconfigured(f"{said}: check app_key, app_secret, the clock, permissions and quota with the platform")
        case Meaning.NOBODY:
            return Misconfigured(f"{said}: a receiver is not known; look the accounts up again")
        case Meaning.ALREADY:
            return Misconfigured(
                f"{said}: it had this bizMsgId before our first try; does another installation use this app, or was the "
                "ledger begun anew?"
            )
        case _:
            return InDoubt(said)


def _levels(found: object) -> Iterator[Mapping[str, object]]:
    """The outer envelope, and what lies in each `content`."""
    for level in range(_LEVELS):
        if isinstance(found, str) and found.lstrip().startswith("{"):
            found = _json(found.encode("utf-8", "replace"))
        if not isinstance(found, dict):
            if level == 0:
                raise ValueError("not a JSON object")
            return
        envelope = cast("dict[str, object]", found)
        if level == 0 and _FLAGS not in envelope:
            raise ValueError("an answer needs a success flag")
        yield envelope
        found = envelope.get("content")


def _named(said: str) -> str:
    """The word that was recognised, where there is no code fit to be shown."""
    return next((word for word in MEANINGS if word.lower() in said), "")


def _plain(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _json(body: bytes) -> object:
    if len(body) > http.MAX_RESPONSE_BYTES:
        raise ValueError(f"longer than {http.MAX_RESPONSE_BYTES} bytes")
    try:
        return cast("object", json.loads(body))
    except RecursionError:
        raise ValueError("nested too deeply") from None
