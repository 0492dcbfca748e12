"""浙政钉 DING: an insistent message, one for each person, because its words may carry that person's own confirm link."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field, StringConstraints

from ...delivery import Receipt, State
from ...errors import ChannelError, InDoubt
from ..base import Call, Capabilities, Message
from .answers import Meaning, error_of
from .client import ACCOUNT, ZwddOptions
from .oneway import NOT_AN_ACCOUNT, OneWay, as_json, is_account, refuse_what_cannot_be, seen

TEXT_LIMIT = 1000  # UTF-8 bytes. ASSUMPTION: a limit of DING's own was NOT FOUND; this is the work notification's
RETRY_AFTER = 60.0  # seconds, where it was too often. ASSUMPTION: no spacing of DINGs is documented


class ZwddDingOptions(ZwddOptions):
    """What a `[[peer]]` with protocol "zwdd-ding" may say."""

    creator: Annotated[str, StringConstraints(pattern=rf"^{ACCOUNT.pattern}$")] = Field(repr=False)  # accountId: who calls
    notify_type: Literal["app", "sms"] = "app"
    path: Literal["/gov/ding/isv/send.json", "/ding/isv/send.json"] = "/gov/ding/isv/send.json"  # the second is newer
    per_call: int = Field(20, ge=1, le=100)
    text_limit: int = Field(TEXT_LIMIT, ge=1, le=2000)


class ZwddDing(OneWay):
    """One app's DINGs. "Acknowledges" by the link in its words.

    Left open: /ding/query/userDetail tells who read and who confirmed a DING, by its dingId; nobody hands a channel the
    dingIds that are still open.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        per_call=20, text_limit=TEXT_LIMIT, unit="utf8", one_text=False, acknowledges=True
    )
    Options: ClassVar[type[BaseModel]] = ZwddDingOptions
    serves: ClassVar[frozenset[str]] = frozenset({"zwdd"})

    def __init__(self, options: ZwddDingOptions) -> None:
        super().__init__(options)
        self._options = options

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


def _ding_id(data: object) -> str:
    """The dingId, alone or in an object; "" where there is none."""
    found = data.get("dingId", "") if isinstance(data, dict) else data
    value = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    return value if _REF.fullmatch(value) else ""
