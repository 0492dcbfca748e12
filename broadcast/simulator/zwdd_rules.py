"""The rules of 浙政钉: its limits, its words for why not, and how its parameters are read. ASSUMPTION marks what we chose."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

DAY = 86400.0
NOTICE_RECEIVERS = 1000  # receiverIds and organizationCodes together
NOTICE_BYTES = 2048  # of msg, in UTF-8
NOTICE_KINDS = ("text", "link", "markdown", "oa", "action_card")
NOTICES_A_DAY = 20_000  # of one application, counted in receivers
NOTICES_TO_ONE_A_DAY = 100
NOTICE_GAP = 600.0  # seconds between any two calls of one application
MOBILES_AT_ONCE, CODES_AT_ONCE = 50, 100
TOKEN_SECONDS = 7200.0
# DING, and how many receivers one may have: /ding/isv/send.json (V2) documents 1000; ASSUMPTION for the older door.
DINGS = {"/gov/ding/isv/send.json": 200, "/ding/isv/send.json": 1000}
DAILY_DINGS = "/ding/isv/send.json"  # documents the daily limits of the notices for itself too; the older door does not

# Why → bizErrorCode and words. Documented are the first one's code and the words of those about notices; ASSUMPTION: the rest,
# with codes that no real system uses.
REFUSALS = {
    "signature": ("OPF-B001-05-16-0009", "SignatureDoesNotMatch"),
    "timestamp": ("SIM-TIMESTAMP", "X-Hmac-Auth-Timestamp 与服务器时间相差超过15分钟"),
    "nonce": ("SIM-NONCE", "X-Hmac-Auth-Nonce 重放"),
    "apiKey": ("SIM-APIKEY", "InvalidAccessKeyId.NotFound"),
    "header": ("SIM-HEADER", "缺少 X-Hmac-Auth 请求头"),
    "token": ("SIM-TOKEN", "不合法的access_token或已过期"),
    "secret": ("SIM-SECRET", "appkey或appsecret不正确"),
    "parameter": ("SIM-PARAMETER", "参数错误"),
    "tenant": ("SIM-TENANT", "租户不存在"),
    "too many": ("SIM-TOO-MANY", "接收者超过上限"),
    "too long": ("SIM-TOO-LONG", "消息内容超过2048个字节"),
    "repeated": ("SIM-REPEATED", "bizMsgId重复"),
    "same words": ("SIM-SAME-WORDS", "相同内容同一用户一天只能接收一次"),
    "user's day": ("SIM-USER-DAY", "同一用户一天不得超过100次"),
    "day": ("SIM-DAY", "当天工作通知总量超过2万条"),
    "too soon": ("SIM-TOO-SOON", "发送间隔不得低于10min"),
    "at once": ("SIM-AT-ONCE", "禁止使用多线程方式调用"),
    "nobody": ("SIM-NOBODY", "接收者不存在"),
    "unknown": ("SIM-UNKNOWN", "消息不存在"),
}


class Refusal(Exception):
    """The request is answered with this of the REFUSALS (or with that code). `outside` = by the gateway, not by the service."""

    def __init__(self, why: str, *, outside: bool = False) -> None:
        self.code, self.words = REFUSALS.get(why, (why, why))
        self.outside = outside
        super().__init__(why)


Fields = Mapping[str, Sequence[str]]


def only(fields: Fields, name: str) -> str:
    """The value of a parameter that may come once; "" when it is missing."""
    values = fields.get(name, ("",))
    if len(values) > 1:
        raise Refusal("parameter")
    return values[0]


def listed(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(text.split(",")) if text else ()


def notice_words(message: str) -> str:
    """What people read of a notice's msg. Raises Refusal."""
    if len(message.encode()) > NOTICE_BYTES:
        raise Refusal("too long")
    found = _json(message)
    kind = found.get("msgtype") if isinstance(found, dict) else None
    body = found.get(kind) if isinstance(found, dict) and isinstance(kind, str) and kind in NOTICE_KINDS else None
    if not isinstance(body, dict):
        raise Refusal("parameter")
    if kind != "text":
        return " ".join(value for value in body.values() if isinstance(value, str))
    if not isinstance(body.get("content"), str) or not body["content"].strip():
        raise Refusal("parameter")
    return str(body["content"])


def ding_words(fields: Fields) -> str:
    """Text in clear is all that a DING may be here. Raises Refusal."""
    body = _json(only(fields, "body"))
    text = body.get("text") if isinstance(body, dict) else None
    if (only(fields, "textType"), only(fields, "bodyType")) != ("plaintext", "text"):
        raise Refusal("parameter")
    if not isinstance(text, str) or not text.strip():
        raise Refusal("parameter")
    return text


def accounts_of(fields: Fields, name: str) -> list[str]:
    """[{"accountId"}, …] as JSON: one object, a list of them, or (as the maker's Java kit has it) a repeated parameter."""
    found: list[str] = []
    for text in fields.get(name, ()):
        given = _json(text)
        for one in given if isinstance(given, list) else [given]:
            account = one.get("accountId") if isinstance(one, dict) else None
            if not isinstance(account, str | int) or isinstance(account, bool):
                raise Refusal("parameter")
            found.append(str(account))
    return found


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal("parameter") from None
