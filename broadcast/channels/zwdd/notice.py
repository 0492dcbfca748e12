"""浙政钉 work notification (工作通知): one text to up to 1,000 accounts in one call, calls at least ten minutes apart.

The platform's rules (help document 2674860): at most 1,000 people in a call, at least 10 minutes between two calls of an
app, never two at once, 20,000 people a day, and the same content reaches the same person once a day. So this is a
secondary way: an upgrade within ten minutes cannot go by it, and the words must carry the alert's number and version.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import ClassVar

from pydantic import BaseModel, Field

from ...delivery import Receipt, State
from ...errors import Unsupported
from ..base import Call, Capabilities
from .answers import Meaning, error_of
from .client import ZwddOptions
from .oneway import NOT_AN_ACCOUNT, OneWay, as_json, is_account, refuse_what_cannot_be, seen

PATH = "/message/workNotification"
MAX_MSG = 2048  # UTF-8 bytes of the msg parameter
TEXT_LIMIT = 1000  # fits however many of its characters JSON must write as two


class ZwddNoticeOptions(ZwddOptions):
    """What a `[[peer]]` with protocol "zwdd-notice" may say."""

    per_call: int = Field(1000, ge=1, le=1000)
    gap_seconds: int = Field(600, ge=0, le=86_400)  # less where the platform has granted it
    text_limit: int = Field(TEXT_LIMIT, ge=1, le=2000)


class ZwddNotice(OneWay):
    """One app's work notifications. It says that it was taken, and nothing after that."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        per_call=1000, text_limit=TEXT_LIMIT, unit="utf8", one_text=True, deduplicates=True, gap_seconds=600
    )
    Options: ClassVar[type[BaseModel]] = ZwddNoticeOptions
    serves: ClassVar[frozenset[str]] = frozenset({"zwdd"})

    def __init__(self, options: ZwddNoticeOptions) -> None:
        super().__init__(options)
        self._options = options

    def send(self, call: Call) -> Sequence[Receipt]:
        """One receipt for each message, in order. The call's key is in the bizMsgId: the same one goes out once."""
        refuse_what_cannot_be(call, self._options.per_call)
        if len({message.text for message in call.messages}) > 1:
            raise Unsupported("a work notification has one text; these messages differ")
        msg = self._msg(call.messages[0].text)
        accounts = dict.fromkeys(message.address for message in call.messages if is_account(message.address))
        taken = self._hand_over(call, list(accounts), msg) if accounts else NOT_AN_ACCOUNT
        return [taken if message.address in accounts else NOT_AN_ACCOUNT for message in call.messages]

    def _msg(self, text: str) -> str:
        msg = as_json({"msgtype": "text", "text": {"content": seen(text)}})
        if len(msg.encode()) > MAX_MSG:
            raise Unsupported(f"a msg of {len(msg.encode())} bytes; a work notification takes {MAX_MSG}")
        return msg

    def _hand_over(self, call: Call, accounts: Sequence[str], msg: str) -> Receipt:
        # With the alert's own time, so that a ledger begun anew does not repeat the ids of the last one.
        biz_msg_id = f"{call.key}-{call.facts.sent.astimezone(UTC):%Y%m%d%H%M%S}"
        envelope = self._client.post(
            PATH,
            {
                "receiverIds": ",".join(accounts),
                "organizationCodes": "",
                "tenantId": self._options.tenant_id,
                "bizMsgId": biz_msg_id,
                "msg": msg,
            },
        )
        if envelope.meaning is Meaning.NOBODY and len(accounts) == 1:
            return Receipt(State.REJECTED, envelope.code, "the platform does not know this account")
        # A bizMsgId that is known at our first try is somebody else's: those people have not been told.
        already = envelope.meaning is Meaning.ALREADY and call.attempt > 1
        if envelope.meaning is not Meaning.TAKEN and not already:
            raise error_of(envelope, gap=float(self._options.gap_seconds))
        # The reference is the bizMsgId: a repeat is answered without a msgId, and 撤回 goes by the bizMsgId too.
        return Receipt(State.ACCEPTED, "0", ref=biz_msg_id)
