"""China Mobile 云MAS over HTTP: one text to up to 5,000 phones in one request; reports and replies are pushed or polled.

The provider puts the 【签名】 in front by the sign code, so a text never carries one. It refuses a whole request for
one bad number: `send` halves until the bad ones are found, and rejects only those.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from enum import Enum, auto
from typing import Annotated, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, FilePath, HttpUrl, SecretStr, StringConstraints, model_validator

from ..delivery import Receipt, State
from ..errors import ChannelError, InDoubt, Misconfigured, Unavailable, Unsupported
from . import http, replies
from .base import Answer, Call, Callback, Capabilities, Heard, Purpose, Reply, Report


class Meaning(Enum):
    """What the provider's word says about the request."""

    TAKEN = auto()
    COME_LATER = auto()  # turned away at the door: certainly nothing left
    MAYBE = auto()  # failed somewhere inside: it may have been taken
    ABOUT_US = auto()  # account, contract or wording: reject nobody, call the operator
    ABOUT_A_NUMBER = auto()  # one of the numbers, it does not say which
    TOO_MANY = auto()  # fewer numbers would be taken


MEANINGS: dict[str, Meaning] = {
    "success": Meaning.TAKEN,
    # A limit is checked before anything is queued.
    "SystemBusy": Meaning.COME_LATER,
    "QueueOverLimit": Meaning.COME_LATER,
    "FlowOverLimit": Meaning.COME_LATER,
    "RequestTooOften": Meaning.COME_LATER,
    # The platform lists these two as "retryable", but a time-out or a fault inside it can come after the numbers were
    # queued, and a repeat would ring the phones twice: wait for a report first.
    "RequestTimeout": Meaning.MAYBE,
    "InternalError": Meaning.MAYBE,
    "InvalidMobile": Meaning.ABOUT_A_NUMBER,
    "TooManyMobiles": Meaning.TOO_MANY,
    "IllegalMac": Meaning.ABOUT_US,
    "IllegalSignId": Meaning.ABOUT_US,
    "NoSignId": Meaning.ABOUT_US,
    "NotLoadedSign": Meaning.ABOUT_US,
    "InvalidUsrOrPwd": Meaning.ABOUT_US,
    "IllegalIpAddress": Meaning.ABOUT_US,
    "IllegalUseTemplate": Meaning.ABOUT_US,
    "IllegalMsgfmt": Meaning.ABOUT_US,
    "InvalidMessage": Meaning.ABOUT_US,  # these words are refused for everybody: no number is to blame
    "OverDailyMax": Meaning.ABOUT_US,  # the contract's day is used up
}
UNKNOWN_WORD = Meaning.MAYBE  # a word nobody wrote down must not cause a second ringing, nor a silent loss

RETRY_AFTER = {"RequestTooOften": 60.0}  # seconds: the same content to the same number once a minute

DELIVERED = "DELIVRD"  # the only reportStatus that means success

BEIJING = timezone(timedelta(hours=8))
MAX_TEXT = 480  # UTF-16 units; contracts allow 500 with the 【签名】, whose longest seen is 16 + 2
MAX_TEXTS = 999  # 多对多, each number its own text: fewer than 1,000 numbers
MAX_CALLBACK_BYTES = 4 << 20
MAX_CALLBACK_REPORTS = 10_000

MAX_SERIAL = 18  # digits; with the service number at most 20

Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class MasOptions(BaseModel):
    """What a `[[peer]]` with protocol "mas" may say. Hosts and accounts come with the contract: no defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: HttpUrl  # scheme, host and port as issued, e.g. https://mas.example:28888
    ec_name: Word  # the unit's registered name
    ap_id: Word
    secret_key: SecretStr = Field(min_length=1)
    sign: Word  # the code that the console issued for the signature, not its text
    path: Literal["", "/sms/norsubmit", "/sms/submit"] = ""  # "": norsubmit over HTTP, submit over HTTPS
    content_type: Literal["text/plain", "application/json"] = "text/plain"
    add_serial: Annotated[str, StringConstraints(pattern=r"^[0-9]{0,18}$")] = ""
    serial_digits: int = Field(0, ge=0, le=4)  # of the alert's number, appended to add_serial: a reply then tells the alert
    secret_in_body: bool = True  # older contracts have the password in the mac only
    ca_file: FilePath | None = None  # PEM; for gateways whose certificate a private CA signed
    one_text: bool = True  # false: 多对多, each number its own text
    per_call: int = Field(1000, ge=1, le=5000)
    text_limit: int = Field(62, ge=1, le=MAX_TEXT)  # our own words: one part is 70, a 【签名】 of six characters is 8
    doubt_seconds: int = Field(120, ge=1, le=86_400)
    collect_seconds: int = Field(0, ge=0, le=3600)  # how often to poll for reports and replies; 0: the platform pushes them
    requests_per_call: int = Field(200, ge=1, le=10_000)  # bounds the halving for bad numbers
    connect_seconds: float = Field(5.0, gt=0, le=60)
    read_seconds: float = Field(20.0, gt=0, le=120)

    @model_validator(mode="before")
    @classmethod
    def _fewer_where_texts_differ(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("one_text") is False:
            return {"per_call": MAX_TEXTS} | given
        return given

    @model_validator(mode="after")
    def _fits(self) -> MasOptions:
        if not self.one_text and self.per_call > MAX_TEXTS:
            raise ValueError(f"with one_text = false per_call is at most {MAX_TEXTS}")
        if len(self.add_serial) + self.serial_digits > MAX_SERIAL:
            raise ValueError(f"add_serial and serial_digits have at most {MAX_SERIAL} digits together")
        return self


class Mas:
    """One 云MAS account."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        per_call=1000, text_limit=62, unit="utf16", one_text=True, receipts=True, acknowledges=True, doubt_seconds=120
    )
    Options: ClassVar[type[BaseModel]] = MasOptions
    serves: ClassVar[frozenset[str]] = frozenset({"sms"})

    def __init__(self, options: MasOptions) -> None:
        self._options = options
        default = "/sms/submit" if options.url.scheme == "https" else "/sms/norsubmit"
        base = str(options.url).rstrip("/")
        self._url = base + (options.path or default)
        self._boxes = {name: f"{base}/sms/{name}" for name in ("report", "deliver")}
        self._headers = {"Content-Type": f"{options.content_type}; charset=utf-8"}
        self._client = http.open_client(
            ca_file=options.ca_file, connect_seconds=options.connect_seconds, read_seconds=options.read_seconds
        )

    def send(self, call: Call) -> Sequence[Receipt]:
        """One receipt for each message, in order. Two messages to one phone are one SMS and share its receipt; a second
        text for the same phone is due again, as a request holds one for each.
        """
        self._refuse_what_cannot_be(call)
        texts: dict[str, str] = {}
        for message in call.messages:
            texts.setdefault(_national(message.address), message.text)
        texts.pop("", None)
        serial = self._options.add_serial + replies.serial(call.facts.alert_id, self._options.serial_digits)
        known = self._hand_over(texts, serial) if texts else {}
        return [
            NOT_A_MOBILE if not mobile else known[mobile] if texts[mobile] == message.text else ANOTHER_TEXT
            for mobile, message in ((_national(message.address), message) for message in call.messages)
        ]

    def ask(self, call: Call) -> Sequence[Receipt]:  # noqa: ARG002 - the contract's signature
        """Always Unsupported: 云MAS has no question about one call, only reports."""
        raise Unsupported("mas cannot be asked what became of a call: wait for its reports")

    def read(self, callback: Callback) -> Sequence[Heard]:
        """The reports and replies of a push or a poll: one JSON object, or a list of them. ValueError for anything else."""
        found = _json(callback.body, MAX_CALLBACK_BYTES)
        items = found if isinstance(found, list) else [found]
        if len(items) > MAX_CALLBACK_REPORTS:
            raise ValueError(f"more than {MAX_CALLBACK_REPORTS} reports in one callback")
        return [self._heard(_object(item)) for item in items]

    def answer(self, callback: Callback) -> Answer:  # noqa: ARG002 - the contract's signature
        """200: the platform looks at the status alone."""
        return Answer(200, "text/plain", b"OK")

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:  # noqa: ARG002
        """Polls both boxes until they are empty. A poll empties a box: what it brought is kept before the next poll."""
        if not self._options.collect_seconds:
            raise Unsupported("this peer is not polled: its collect_seconds is 0")
        deadline = time.monotonic() + seconds
        for name, url in self._boxes.items():
            while body := self._poll(url):
                keep(Callback(f"poll/{name}", {}, body))
                if time.monotonic() > deadline:
                    break

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def _refuse_what_cannot_be(self, call: Call) -> None:
        if call.purpose is Purpose.STOP:
            raise Unsupported("mas cannot take an SMS back")
        if not call.messages:
            raise Unsupported("a call without messages")
        if len(call.messages) > self._options.per_call:
            raise Unsupported(f"{len(call.messages)} messages in one call; this peer's per_call is {self._options.per_call}")
        texts = {message.text for message in call.messages}
        if self._options.one_text and len(texts) > 1:
            raise Unsupported("this peer sends one text per call; these messages differ")
        for text in texts:
            _refuse_text(text)

    def _hand_over(self, texts: Mapping[str, str], serial: str) -> dict[str, Receipt]:
        """What became of each number. Raises only as long as the provider has said nothing about any of them.

        A request that is refused for one of its numbers is halved, so k bad numbers of n cost about 2·k·log2(n)
        requests, never more than `requests_per_call`. Once it is halved, every outcome is a value: a half that was
        taken must not be sent again because the other one broke off.
        """
        known: dict[str, Receipt] = {}
        parts = [list(texts)]  # still to be handed over; the last is next
        for request in range(self._options.requests_per_call):
            if not parts:
                break
            part = parts.pop()
            try:
                receipt = self._submit({mobile: texts[mobile] for mobile in part}, serial)
            except ChannelError as error:
                if request == 0:
                    raise
                known.update(dict.fromkeys(part, _receipt_of(error)))
                break  # the others certainly did not leave, and need not wait for the same error each
            if receipt:
                known.update(dict.fromkeys(part, receipt))
            elif len(part) > 1:
                half = (len(part) + 1) // 2
                parts += [part[half:], part[:half]]
            else:
                known[part[0]] = Receipt(State.REJECTED, "InvalidMobile")
        return known | dict.fromkeys((mobile for part in parts for mobile in part), NOT_TRIED)

    def _submit(self, texts: Mapping[str, str], serial: str) -> Receipt | None:
        """One request. A receipt when it was taken, None when a smaller one might be; raises for every other answer."""
        word, ref = http.post(
            self._client,
            self._url,
            content=self._body(texts, serial),
            headers=self._headers,
            read=_read_answer,
            seconds=self._options.read_seconds,
        )
        meaning = MEANINGS.get(word, UNKNOWN_WORD)
        if meaning is Meaning.TAKEN:
            return Receipt(State.ACCEPTED, word, ref=ref)
        if meaning is Meaning.COME_LATER:
            raise Unavailable(f"the provider answers {word}", retry_after=RETRY_AFTER.get(word))
        if meaning is Meaning.MAYBE:
            raise InDoubt(f"the provider answers {word}")
        if meaning is Meaning.ABOUT_US or (meaning is Meaning.TOO_MANY and len(texts) == 1):
            raise Misconfigured(f"the provider answers {word}: check the account, the sign code and the contract")
        return None

    def _body(self, texts: Mapping[str, str], serial: str) -> bytes:
        options = self._options
        secret, mobiles = options.secret_key.get_secret_value(), ",".join(texts)
        content = next(iter(texts.values()))
        if not options.one_text:
            # 多对多: number → text, as a JSON map in a string. ASSUMPTION: it names the numbers and `mobiles` is empty, and
            # the mac is taken over the same parts with that string as content; no public text was found on either.
            mobiles, content = "", json.dumps(texts, ensure_ascii=False)
        signed = (options.ec_name, options.ap_id, secret, mobiles, content, options.sign, serial)
        fields = {
            "ecName": options.ec_name,
            "apId": options.ap_id,
            "mobiles": mobiles,
            "content": content,
            "sign": options.sign,
            "addSerial": serial,
            "mac": mac(signed),
        }
        if options.secret_in_body:
            fields["secretKey"] = secret
        return base64.b64encode(json.dumps(fields, ensure_ascii=False).encode())

    def _poll(self, url: str) -> bytes:
        """What waits in one box, as it came; empty when nothing does. ASSUMPTION: at most 1 MiB at once."""
        options = self._options
        account = {"ecName": options.ec_name, "apId": options.ap_id, "secretKey": options.secret_key.get_secret_value()}
        body = base64.b64encode(json.dumps(account, ensure_ascii=False).encode())
        return http.post(self._client, url, content=body, headers=self._headers, read=_read_box, seconds=options.read_seconds)

    def _heard(self, item: Mapping[str, object]) -> Heard:
        return self._reply(item) if "smsContent" in item else _report(item)

    def _reply(self, item: Mapping[str, object]) -> Reply:
        """What somebody wrote back. A sender that is no mobile (another service's own notice) is nobody's reply."""
        said = _plain(item.get("smsContent"))
        options = self._options
        return Reply(
            replies.verb(said),
            address=replies.address(_plain(item.get("mobile"))),
            # ASSUMPTION: addSerial is what was appended to the service number, as in the request.
            alert_ending=replies.alert_ending(_plain(item.get("addSerial")), options.add_serial, options.serial_digits),
            said=replies.kept(said),
            at=_time(item.get("sendTime")),
        )


def mac(parts: Iterable[str]) -> str:
    """Lowercase hex md5 over the plain concatenation, as the provider prescribes (it is no protection; TLS is)."""
    return hashlib.md5("".join(parts).encode(), usedforsecurity=False).hexdigest()


NOT_A_MOBILE = Receipt(State.REJECTED, "", "not a mobile number of mainland China")
NOT_TRIED = Receipt(State.DEFERRED, "", "not handed over: the provider refused a larger request for one of its numbers")
ANOTHER_TEXT = Receipt(State.DEFERRED, "", "not handed over: another text for the same phone went out first")

_MOBILE = re.compile(r"\+86(1[0-9]{10})")
_RSPCOD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_REF = re.compile(r"[!-~]{1,64}")  # printable ASCII: what goes into an index and a log line
_TIME = re.compile(r"20[0-9]{12}")  # yyyyMMddHHmmss of this century


def _national(address: str) -> str:
    """The eleven digits that the provider wants; "" for anything that is not +86 and a mobile."""
    match = _MOBILE.fullmatch(address)
    return match[1] if match else ""


def _refuse_text(text: str) -> None:
    try:
        length = len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        raise Unsupported("a text with half a character (a lone surrogate) in it") from None
    if not 0 < length <= MAX_TEXT:
        raise Unsupported(f"a text of {length} UTF-16 units; mas takes 1 to {MAX_TEXT}")


def _receipt_of(error: ChannelError) -> Receipt:
    """An error that met a part of a call, as a value. Misconfigured is deferred: nothing left, nobody is to blame."""
    state = State.IN_DOUBT if isinstance(error, InDoubt) else State.DEFERRED
    return Receipt(state, "", str(error))


def _read_answer(body: bytes) -> tuple[str, str]:
    """The rspcod and the msgGroup ("" when there is none). ValueError for foreign or contradictory bytes."""
    found = _object(_json(body, http.MAX_RESPONSE_BYTES))
    word = found.get("rspcod")
    if not isinstance(word, str) or not _RSPCOD.fullmatch(word):
        raise ValueError("no rspcod")
    if word == "success" and found.get("success", True) not in (True, "true"):
        raise ValueError("rspcod says success, success says no")
    group = _plain(found.get("msgGroup") or found.get("mgsGroup"))
    return word, group if _REF.fullmatch(group) else ""


def _read_box(body: bytes) -> bytes:
    """A list, or one report or reply, as it came; empty for an empty list. ValueError for foreign bytes."""
    found = _json(body, http.MAX_RESPONSE_BYTES) if body.strip() else []
    if isinstance(found, list):
        return body if found else b""
    fields = _object(found)
    if "reportStatus" in fields or "smsContent" in fields:
        return body
    word, _ = _read_answer(body)
    meaning = MEANINGS.get(word, UNKNOWN_WORD)
    if meaning is Meaning.TAKEN:
        return b""
    if meaning in (Meaning.COME_LATER, Meaning.MAYBE):  # a poll hands nothing over: nothing can be in doubt
        raise Unavailable(f"the poll was answered {word}", retry_after=RETRY_AFTER.get(word))
    raise Misconfigured(f"the poll was answered {word}: check the account and the contract")


def _report(found: Mapping[str, object]) -> Report:
    ref = _plain(found.get("msgGroup") or found.get("mgsGroup"))
    mobile = replies.address(_plain(found.get("mobile")))
    status = found.get("reportStatus")
    if not _REF.fullmatch(ref) or not mobile or not isinstance(status, str) or not status:
        raise ValueError("a report needs msgGroup, mobile and reportStatus")
    receipt = Receipt(
        state=State.DELIVERED if status == DELIVERED else State.FAILED,
        code=_code(_plain(found.get("errorCode"))) or _code(status),
        ref=ref,
        at=_time(found.get("receiveDate")),
    )
    return Report(receipt, address=mobile, submitted=_time(found.get("submitDate")))


def _code(value: str) -> str:
    """A code fit to be kept and shown: printable, short, and never a phone number."""
    return re.sub(r"[0-9]{7,}", "#", re.sub(r"[^ -~]", "?", value[:40])).strip()


def _time(value: object) -> datetime | None:
    """None for a time that is missing or broken: that a phone rang matters more than when."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        return datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
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
