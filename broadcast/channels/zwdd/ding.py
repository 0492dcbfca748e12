"""浙政钉 DING: an insistent message, one for each person, because its words may carry that person's own confirm link."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field, StringConstraints

from ...delivery import Receipt, State
from ...errors import ChannelError, InDoubt
from ..base import Call, Callback, Capabilities, Heard, Message, Reply, Report, Verb
from .answers import Meaning, error_of
from .client import ACCOUNT, ZwddOptions
from .oneway import NOT_AN_ACCOUNT, OneWay, as_json, is_account, refuse_what_cannot_be, seen

DETAIL_PATH = "/ding/query/userDetail"
MAX_ASKED = 10_000
TEXT_LIMIT = 1000  # UTF-8 bytes. ASSUMPTION: a limit of DING's own was NOT FOUND; this is the work notification's
RETRY_AFTER = 60.0  # seconds, where it was too often. ASSUMPTION: no spacing of DINGs is documented


class ZwddDingOptions(ZwddOptions):
    """What a `[[peer]]` with protocol "zwdd-ding" may say."""

    creator: Annotated[str, StringConstraints(pattern=rf"^{ACCOUNT.pattern}$")] = Field(repr=False)  # accountId: who calls
    notify_type: Literal["app", "sms"] = "app"
    path: Literal["/gov/ding/isv/send.json", "/ding/isv/send.json"] = "/gov/ding/isv/send.json"  # the second is newer
    per_call: int = Field(1, ge=1, le=100)  # of one lease: each DING is a request of its own, and a death leaves as many in doubt
    text_limit: int = Field(TEXT_LIMIT, ge=1, le=2000)
    collect_seconds: int = Field(30, ge=0, le=3600)  # how often it is asked who read and confirmed; 0 = never


class ZwddDing(OneWay):
    """One app's DINGs: acknowledged by the link in its words, or by the DING's own button. Read is reached, never an answer."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        per_call=1, text_limit=TEXT_LIMIT, unit="utf8", one_text=False, receipts=True, acknowledges=True, collect_seconds=30
    )
    Options: ClassVar[type[BaseModel]] = ZwddDingOptions
    serves: ClassVar[frozenset[str]] = frozenset({"zwdd"})

    def __init__(self, options: ZwddDingOptions) -> None:
        super().__init__(options)
        self._options = options
        self._asked: dict[str, object] = {}  # what was said of each DING when it was last asked about, the newest last

    def send(self, call: Call) -> Sequence[Receipt]:
        """One DING and one receipt for each message, in order; its reference is the dingId.

        Raises only as long as none was taken. After that every outcome is a value: those who were told must not be told
        again because somebody later was not.
        """
        refuse_what_cannot_be(call, self._options.per_call)
        bodies = [as_json({"text": seen(message.text)}) for message in call.messages]
        receipts: list[Receipt] = []
        for message, body in zip(call.messages, bodies, strict=True):
            try:
                receipts.append(self._ding(message, body))
            except ChannelError as error:
                if not any(receipt.state is State.ACCEPTED for receipt in receipts):
                    raise
                receipts.append(_receipt_of(error))
                break  # the others certainly did not leave, and need not wait for the same error each
        return receipts + [NOT_TRIED] * (len(bodies) - len(receipts))

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:
        """Asks who read and who confirmed, DING by DING, those first that were not asked about for longest."""
        until = time.monotonic() + seconds
        place = {ref: n for n, ref in enumerate(self._asked)}
        for ref in sorted(refs(), key=lambda ref: place.get(ref, -1)):
            if time.monotonic() >= until:
                return
            envelope = self._client.post(DETAIL_PATH, {"dingId": ref, "tenantId": self._options.tenant_id})
            if envelope.meaning is not Meaning.TAKEN:
                raise error_of(envelope, gap=RETRY_AFTER)
            before = self._asked.pop(ref, [])
            if envelope.data != before and envelope.data:  # the same again tells nothing
                keep(Callback(DETAIL_PATH, {}, json.dumps({"dingId": ref, "data": envelope.data}).encode()))
            self._asked[ref] = envelope.data
            for old in list(self._asked)[:-MAX_ASKED]:
                del self._asked[old]

    def read(self, callback: Callback) -> Sequence[Heard]:
        """What `collect` brought. ValueError for anything else."""
        if callback.path != DETAIL_PATH:
            raise ValueError("zwdd has no callbacks")
        try:
            found = json.loads(callback.body)
            ref, entries = found["dingId"], found["data"]
            return [heard for entry in entries for heard in _detail(str(ref), entry)]
        except (KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError("not the detail of a DING") from None

    def _ding(self, message: Message, body: str) -> Receipt:
        if not is_account(message.address):
            return NOT_AN_ACCOUNT
        envelope = self._client.post(
            self._options.path,
            {
                "creator": as_json({"accountId": self._options.creator}),
                "receivers": as_json([{"accountId": message.address}]),
                "notifyType": self._options.notify_type,
                "tenantId": self._options.tenant_id,
                "textType": "plaintext",
                "bodyType": "text",
                "body": body,
            },
        )
        if envelope.meaning is Meaning.NOBODY:
            return Receipt(State.REJECTED, envelope.code, "the platform does not know this account")
        if envelope.meaning is Meaning.ALREADY:  # a DING has no id of ours that could be known
            raise InDoubt(f"the platform answers {envelope.code}")
        if envelope.meaning is not Meaning.TAKEN:
            raise error_of(envelope, gap=RETRY_AFTER)
        return Receipt(State.ACCEPTED, envelope.code, ref=_ding_id(envelope.data))


NOT_TRIED = Receipt(State.DEFERRED, "", "not handed over: the platform stopped answering before its turn")


_REF = re.compile(r"[!-~]{1,64}")  # printable ASCII: what goes into an index and a log line


def _receipt_of(error: ChannelError) -> Receipt:
    """An error that met a part of a call, as a value. Misconfigured is deferred: nothing left, nobody is to blame."""
    state = State.IN_DOUBT if isinstance(error, InDoubt) else State.DEFERRED
    return Receipt(state, "", str(error))


def _detail(ref: str, entry: dict[str, object]) -> Iterator[Heard]:
    """ASSUMPTION: accountId, read, confirmed; the form of the answer is not documented."""
    account = str(entry["accountId"])
    if not (is_account(account) and _REF.fullmatch(ref)):
        raise ValueError("not the detail of a DING")
    if entry.get("read") is True or entry.get("confirmed") is True:
        yield Report(Receipt(State.DELIVERED, "read", ref=ref), address=account)
    if entry.get("confirmed") is True:
        yield Reply(Verb.ACKNOWLEDGED, ref=ref, address=account, said="DING")


def _ding_id(data: object) -> str:
    """The dingId, alone or in an object; "" where there is none."""
    found = data.get("dingId", "") if isinstance(data, dict) else data
    value = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    return value if _REF.fullmatch(value) else ""
