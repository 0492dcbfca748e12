"""Aliyun 语音服务: one phone is called, hears the words, and presses a key; only the wanted key is an acknowledgement.

IvrCall of 2017-05-25, signed by ACS3-HMAC-SHA256 ("V3"). A phone number must never stand in a URL, so the parameters
are a form body. ASSUMPTION: the gateway reads them there as it reads them in the query; the maker's own kits have sent
them both ways. The call's words fill the variable of a text template that the provider has approved.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, auto
from typing import Annotated, ClassVar, cast

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, HttpUrl, SecretStr, StringConstraints

from ..delivery import Receipt, State
from ..errors import InDoubt, Misconfigured, Unavailable, Unsupported
from . import http
from .base import Answer, Call, Callback, Capabilities, Heard, Limit, Message, Purpose, Reply, Report, Verb


class Meaning(Enum):
    """What the provider's code says about the request."""

    TAKEN = auto()
    COME_LATER = auto()  # turned away at the door: nobody is being called
    LATER_FOR_THIS_NUMBER = auto()  # others may be called meanwhile
    MAYBE = auto()  # failed somewhere inside: the phone may be ringing
    ABOUT_THE_NUMBER = auto()
    ABOUT_US = auto()  # account, contract, template or wording: reject nobody, call the operator


# help.aliyun.com/document_detail/178344.html (the service's own codes) and the gateway's common ones.
MEANINGS: dict[str, Meaning] = {
    "OK": Meaning.TAKEN,
    "ServiceUnavailable": Meaning.MAYBE,
    "InternalError": Meaning.MAYBE,
    "isp.SYSTEM_ERROR": Meaning.MAYBE,
    "SignatureNonceUsed": Meaning.MAYBE,  # it has seen this request before: something between us repeated it
    # The limit per callee (1 a minute, 5 an hour, 20 a day), counted by the provider over all who share the contract.
    "isv.BUSINESS_LIMIT_CONTROL": Meaning.LATER_FOR_THIS_NUMBER,
    "isv.VOICE_CALL_FAIL": Meaning.LATER_FOR_THIS_NUMBER,  # the call could not be set up
    "isv.MOBILE_NUMBER_ILLEGAL": Meaning.ABOUT_THE_NUMBER,
    # The callee asked not to be called by this caller; the provider's advice is to call somebody else.
    "isv.COMPLAINT_REJECT": Meaning.ABOUT_THE_NUMBER,
    "SignatureDoesNotMatch": Meaning.ABOUT_US,
    "IncompleteSignature": Meaning.ABOUT_US,
    "NoPermission": Meaning.ABOUT_US,
    "isp.RAM_PERMISSION_DENY": Meaning.ABOUT_US,
}
# By how a code begins, where it is not in the table.
FAMILIES: dict[str, Meaning] = {
    "Throttling": Meaning.COME_LATER,  # Throttling.User, Throttling.Api …: checked before anything is queued
    "InvalidAccessKeyId": Meaning.ABOUT_US,
    "InvalidTimeStamp": Meaning.ABOUT_US,  # our clock is off by more than 15 minutes
    "InvalidAction": Meaning.ABOUT_US,
    "InvalidVersion": Meaning.ABOUT_US,
    "InvalidParameter": Meaning.ABOUT_US,
    "Missing": Meaning.ABOUT_US,
    "Forbidden": Meaning.ABOUT_US,
    "isv.": Meaning.ABOUT_US,  # the provider's prefix for "the caller's own fault": template, display number, balance …
}
UNKNOWN_CODE = Meaning.MAYBE  # a code nobody wrote down must not ring a phone twice, nor lose a warning silently

# What a finished call came to. Answered is reached; it is never an acknowledgement.
STATES: dict[str, State] = {
    "200000": State.DELIVERED,  # heard to the end
    "200001": State.DELIVERED,  # answered, hung up early
    "200008": State.DELIVERED,  # answered, no key in time
    "200002": State.FAILED,  # busy
    "200003": State.FAILED,  # no answer
    "200005": State.FAILED,  # unreachable or refused
    "200007": State.FAILED,  # no coverage
    "200010": State.FAILED,  # off
    "200012": State.FAILED,  # lost
    "200118": State.FAILED,  # calls to it are restricted
    "200119": State.FAILED,
    "200121": State.FAILED,  # more calls at once than the number may have
    "200004": State.REJECTED,  # no such number
    "200011": State.REJECTED,  # out of service
}
UNKNOWN_STATUS = State.FAILED  # whatever it was, nobody is known to have heard
# VoiceCallReport tells of a call that is still going on: began, rings, answered, ended (a VoiceReport follows), a key.
INTERMEDIATE = frozenset({"200101", "200201", "200102", "200100", "300000"})

ACTION, VERSION, ALGORITHM = "IvrCall", "2017-05-25", "ACS3-HMAC-SHA256"
BEIJING = timezone(timedelta(hours=8))
MAX_PARAMETERS = 249  # the words as JSON: "under 250 characters"
MAX_CALLBACK_BYTES = 4 << 20
MAX_CALLBACK_ITEMS = 10_000
CALLEE_LIMITS = (Limit(1, 60, 1), Limit(5, 3600, 2), Limit(20, 86_400, 20))  # the provider's own, failed calls counted


def _possible(limit: Limit) -> Limit:
    if limit.calls < 1 or limit.seconds < 1 or not 0 <= limit.below_red <= limit.calls:
        raise ValueError("calls and seconds are 1 or more, and below_red is 0 to calls")
    return limit


Code = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,100}$")]  # a template (TTS_1234) or a voice file


class VmsOptions(BaseModel):
    """What a `[[peer]]` with protocol "vms" may say. Accounts, numbers and templates come with the contract: no defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: HttpUrl  # e.g. https://dyvmsapi.aliyuncs.com
    access_key_id: Annotated[str, StringConstraints(pattern=r"^[!-+\--~]{1,128}$")] = Field(repr=False)
    access_key_secret: SecretStr = Field(min_length=1)
    caller: Annotated[str, StringConstraints(pattern=r"^[0-9]{3,20}$")] = Field(repr=False)  # a number bought there
    start_code: Code  # the approved template that speaks the warning
    confirmed_code: Code  # what is played when the wanted key was pressed, e.g. a template 已确认
    bye_code: Code | None = None  # the last words; of the same kind (template or file) as start_code
    variable: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,11}$")] = "text"  # of the template
    key: Annotated[str, StringConstraints(pattern=r"^[0-9*#]$")] = "1"  # the wanted one
    play_times: int = Field(3, ge=1, le=3)
    timeout_ms: int = Field(5000, ge=1000, le=60_000)  # how long to wait for the key after the words
    callee_limits: tuple[Annotated[Limit, AfterValidator(_possible)], ...] = CALLEE_LIMITS
    text_limit: int = Field(230, ge=1, le=230)
    doubt_seconds: int = Field(120, ge=1, le=86_400)
    ca_file: FilePath | None = None
    connect_seconds: float = Field(5.0, gt=0, le=60)
    read_seconds: float = Field(20.0, gt=0, le=120)


class Vms:
    """One account with one caller's number."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        per_call=1,
        text_limit=230,
        unit="characters",
        one_text=True,
        receipts=True,
        acknowledges=True,
        deduplicates=False,
        callee_limits=CALLEE_LIMITS,
        doubt_seconds=120,
    )
    Options: ClassVar[type[BaseModel]] = VmsOptions
    serves: ClassVar[frozenset[str]] = frozenset({"voice"})

    def __init__(self, options: VmsOptions) -> None:
        self._options = options
        self._url = str(options.url).rstrip("/") + "/"
        self._client = http.open_client(
            ca_file=options.ca_file, connect_seconds=options.connect_seconds, read_seconds=options.read_seconds
        )

    def send(self, call: Call) -> Sequence[Receipt]:
        """Calls one phone. A number that may not be called just now is DEFERRED."""
        message = self._callable(call)
        mobile = _MOBILE.fullmatch(message.address)
        return [self._dial(mobile[1], message)] if mobile else [NOT_A_MOBILE]

    def ask(self, call: Call) -> Sequence[Receipt]:  # noqa: ARG002 - the contract's signature
        """Always Unsupported: a call is asked after by its CallId, and one in doubt has none. Its report settles it."""
        raise Unsupported("vms cannot be asked what became of a call: wait for its report")

    def read(self, callback: Callback) -> Sequence[Heard]:
        """A VoiceReport or VoiceCallReport: a JSON array. A pressed key is a Reply, a finished call a Report."""
        found = _json(callback.body, MAX_CALLBACK_BYTES)
        if not isinstance(found, list) or len(found) > MAX_CALLBACK_ITEMS:
            raise ValueError(f"not a JSON array of at most {MAX_CALLBACK_ITEMS} reports")
        return [heard for item in found for heard in self._heard(_object(item))]

    def answer(self, callback: Callback) -> Answer:  # noqa: ARG002 - the contract's signature
        """The provider looks for a number under "code"; without it, it pushes again after 1, 5 and 10 minutes."""
        return Answer(200, "application/json; charset=utf-8", '{"code":0,"msg":"接收成功"}'.encode())

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:  # noqa: ARG002
        """Always Unsupported: reports are pushed."""
        raise Unsupported("vms has nothing to fetch: its reports are pushed")

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def _callable(self, call: Call) -> Message:
        if call.purpose in (Purpose.STAND_DOWN, Purpose.STOP):
            raise Unsupported(f"vms makes no calls for {call.purpose.value}: a call cannot be taken back, and is for alarms")
        if len(call.messages) != 1:
            raise Unsupported(f"{len(call.messages)} messages in one call; vms calls one phone at a time")
        [message] = call.messages
        if not re.fullmatch(r"[!-~]{1,15}", message.key):
            raise Unsupported("vms needs a Message.key of 1 to 15 printable characters: the report names the delivery by it")
        return message

    def _dial(self, mobile: str, message: Message) -> Receipt:
        content = urllib.parse.urlencode(self._form(mobile, message)).encode()
        headers = {
            "host": httpx.URL(self._url).netloc.decode(),
            "content-type": "application/x-www-form-urlencoded",
            "x-acs-action": ACTION,
            "x-acs-version": VERSION,
            "x-acs-date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "x-acs-signature-nonce": secrets.token_hex(16),
            "x-acs-content-sha256": hashlib.sha256(content).hexdigest(),
        }
        path = httpx.URL(self._url).raw_path.decode()
        secret = self._options.access_key_secret.get_secret_value()
        headers["authorization"] = authorization("POST", path, headers, self._options.access_key_id, secret)
        code, ref = http.post(
            self._client, self._url, content=content, headers=headers, read=_read_answer, seconds=self._options.read_seconds
        )
        return _receipt(code, ref)

    def _form(self, mobile: str, message: Message) -> dict[str, str]:
        options = self._options
        form = {
            "CalledShowNumber": options.caller,
            "CalledNumber": mobile,
            "StartCode": options.start_code,
            "StartTtsParams": _parameters(options.variable, message.text),
            "MenuKeyMap.1.Key": options.key,
            "MenuKeyMap.1.Code": options.confirmed_code,
            "PlayTimes": str(options.play_times),
            "Timeout": str(options.timeout_ms),
            "OutId": message.key,
        }
        return form | ({"ByeCode": options.bye_code} if options.bye_code else {})

    def _heard(self, item: Mapping[str, object]) -> list[Heard]:
        status, ref = _plain(item.get("status_code")), _plain(item.get("call_id"))
        if not re.fullmatch(r"[0-9]{6}", status) or not _REF.fullmatch(ref):
            raise ValueError("a report needs status_code and call_id")
        out_id = _plain(item.get("out_id"))
        key = out_id if _REF.fullmatch(out_id) else ""  # another system of the same account may call with ids of its own
        at = next((time for time in map(_time, map(item.get, ("end_time", "b_end_time", "status_time"))) if time), None)
        heard: list[Heard] = []
        if status not in INTERMEDIATE:
            receipt = Receipt(STATES.get(status, UNKNOWN_STATUS), status, ref=ref, at=at)
            heard.append(Report(receipt, key=key, submitted=_time(item.get("originate_time"))))
        if pressed := _plain(item.get("dtmf")).strip():
            verb = Verb.ACKNOWLEDGED if pressed == self._options.key else Verb.OTHER
            heard.append(Reply(verb, key=key, ref=ref, said=_NO_KEY.sub("?", pressed[:20]), at=at))
        return heard


def authorization(method: str, path: str, headers: Mapping[str, str], access_key_id: str, secret: str) -> str:
    """The Authorization header over `headers` (lower-case names, x-acs-content-sha256 among them) without a query.

    Source: "V3 版本请求体 & 签名机制", help.aliyun.com/zh/sdk/product-overview/v3-request-structure-and-signature.
    """
    names = sorted(headers)
    canonical_headers = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    signed = ";".join(names)
    canonical = "\n".join((method, path, "", canonical_headers, signed, headers["x-acs-content-sha256"]))
    to_sign = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM} Credential={access_key_id},SignedHeaders={signed},Signature={signature}"


NOT_A_MOBILE = Receipt(State.REJECTED, "", "not a mobile number of mainland China")

_MOBILE = re.compile(r"\+86(1[0-9]{10})")
_CODE = re.compile(r"(?!.*[0-9]{7})[A-Za-z][A-Za-z0-9_.]{0,79}")  # a code, and never a phone number
_REF = re.compile(r"[!-~]{1,64}")  # printable ASCII: what goes into an index and a log line
_NO_KEY = re.compile(r"[^0-9A-D*#]")
_TIME = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
# What JSON writes as two characters or six would make the words longer than they are; spoken, these are the same.
_SPOKEN = {**dict.fromkeys(range(32), " "), 0x7F: " ", ord('"'): "”", ord("\\"): "/"}


def _parameters(variable: str, text: str) -> str:
    """The template's variable as JSON."""
    spoken = text.translate(_SPOKEN).strip()
    try:
        spoken.encode()
    except UnicodeEncodeError:
        raise Unsupported("a text with half a character (a lone surrogate) in it") from None
    parameters = json.dumps({variable: spoken}, ensure_ascii=False, separators=(",", ":"))
    if not spoken or len(parameters) > MAX_PARAMETERS:
        raise Unsupported(f"a text of {len(spoken)} characters; vms takes 1 to {MAX_PARAMETERS - 7 - len(variable)}")
    return parameters


def _receipt(code: str, ref: str) -> Receipt:
    family = next((meaning for prefix, meaning in FAMILIES.items() if code.startswith(prefix)), UNKNOWN_CODE)
    match MEANINGS.get(code, family):
        case Meaning.TAKEN:
            return Receipt(State.ACCEPTED, code, ref=ref)
        case Meaning.LATER_FOR_THIS_NUMBER:
            return Receipt(State.DEFERRED, code, "this number may not be called just now")
        case Meaning.ABOUT_THE_NUMBER:
            return Receipt(State.REJECTED, code)
        case Meaning.COME_LATER:
            raise Unavailable(f"the provider answers {code}")
        case Meaning.MAYBE:
            raise InDoubt(f"the provider answers {code}")
        case Meaning.ABOUT_US:
            raise Misconfigured(f"the provider answers {code}: check the account, the caller's number and the templates")


def _read_answer(body: bytes) -> tuple[str, str]:
    """The Code, and the CallId ("" when there is none). ValueError for foreign bytes."""
    found = _object(_json(body, http.MAX_RESPONSE_BYTES))
    code = found.get("Code")
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise ValueError("no Code")
    ref = _plain(found.get("CallId"))
    return code, ref if _REF.fullmatch(ref) else ""


def _time(value: object) -> datetime | None:
    """None for a time that is missing or broken: that a phone rang matters more than when."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING)
    except ValueError:
        return None


def _plain(value: object) -> str:
    """Some senders write numbers where others write text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - callers promise ValueError for foreign bytes
    return cast("dict[str, object]", value)


def _json(body: bytes, limit: int) -> object:
    if len(body) > limit:
        raise ValueError(f"longer than {limit} bytes")
    try:
        return cast("object", json.loads(body))
    except RecursionError:
        raise ValueError("nested too deeply") from None
