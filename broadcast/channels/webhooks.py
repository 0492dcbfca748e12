"""Standard Webhooks 1.0.0 for the channels that speak it: the signature, its check, and messages posted one by one.

The package `standardwebhooks` computes every signature. Its `verify` is not used: it always refuses what is older than
five minutes, and a callback is read from the inbox, where it may have waited for hours while the gateway was down. So
the signature (`is_signed`, when a callback is read) and the age (`is_fresh`, when it is answered) are asked apart.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, SecretStr
from standardwebhooks import Webhook

from ..delivery import Receipt, State
from ..errors import ChannelError, InDoubt, Unavailable
from .base import Callback, Message

TOLERANCE = timedelta(minutes=5)  # between their clock and ours; the reference implementations' value

_PREFIX = "whsec_"
_TIMESTAMP = re.compile(r"[0-9]{1,11}", re.ASCII)  # unix seconds, up to the year 5138


def _checked(secret: SecretStr) -> SecretStr:
    """The specification asks for 24 to 64 random bytes, and writes them in base64 after "whsec_"."""
    value = secret.get_secret_value()
    try:
        size = len(base64.b64decode(value.removeprefix(_PREFIX), validate=True))
    except binascii.Error:
        size = 0
    if not value.startswith(_PREFIX) or not 24 <= size <= 64:
        raise ValueError('a secret is "whsec_" and the base64 of 24 to 64 bytes')
    return secret


Secret = Annotated[SecretStr, AfterValidator(_checked)]


class Signer:
    """One secret, or two while one replaces the other: all of them sign, any of them is accepted."""

    def __init__(self, *secrets: SecretStr | None) -> None:
        self._webhooks = [Webhook(secret.get_secret_value()) for secret in secrets if secret]

    def headers(self, key: str, body: str, at: datetime) -> dict[str, str]:
        """What goes out beside `body`. `key` is the same on every attempt; `at` is when this attempt is made."""
        at = at.astimezone(UTC)
        return {
            "webhook-id": key,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(webhook.sign(key, at, body) for webhook in self._webhooks),
        }

    def is_signed(self, callback: Callback) -> bool:
        """True when one of our secrets signed it, however long ago."""
        key, at = callback.headers.get("webhook-id", ""), _timestamp(callback)
        try:
            given = [one.encode() for one in callback.headers.get("webhook-signature", "").split(" ")]
            wanted = [webhook.sign(key, at, callback.body.decode()).encode() for webhook in self._webhooks] if key and at else []
        except UnicodeError:
            return False
        return any(hmac.compare_digest(one, other) for one in given for other in wanted)


def is_fresh(callback: Callback, now: datetime) -> bool:
    """True when it was signed within five minutes of `now`: what is older may be somebody's recording."""
    at = _timestamp(callback)
    return at is not None and abs(now - at) <= TOLERANCE


def _timestamp(callback: Callback) -> datetime | None:
    value = callback.headers.get("webhook-timestamp", "")
    return datetime.fromtimestamp(int(value), UTC) if _TIMESTAMP.fullmatch(value) else None


NOT_TRIED = Receipt(State.DEFERRED, "", "not handed over: the far end failed for the two before it, or asks to come later")


def one_by_one(messages: Sequence[Message], hand_over: Callable[[Message], Receipt], *, one_far_end: bool) -> list[Receipt]:
    """A receipt for each message, each of which is a request of its own. Raises only when nobody was answered for.

    From the first answer on, a failure is a value: what was taken must not be sent again because another broke off. One
    failure alone may be that message's own trouble, so the next is tried; where all go to `one_far_end`, two in a row, or
    a door that is closed, are the far end's, and the others need not wait for the same error each.
    """
    receipts: list[Receipt] = []
    errors: list[ChannelError] = []
    in_a_row = 0
    for message in messages:
        try:
            receipts.append(hand_over(message))
            in_a_row = 0
        except ChannelError as error:
            receipts.append(_receipt_of(error))
            errors.append(error)
            in_a_row += 1
            if one_far_end and (in_a_row == 2 or isinstance(error, Unavailable)):
                break
    if errors and len(errors) == len(receipts):
        raise next((error for error in errors if isinstance(error, InDoubt)), errors[0])
    return receipts + [NOT_TRIED] * (len(messages) - len(receipts))


def _receipt_of(error: ChannelError) -> Receipt:
    """An error that met one message of several. Misconfigured is deferred: nothing left, nobody is to blame."""
    state = State.IN_DOUBT if isinstance(error, InDoubt) else State.DEFERRED
    return Receipt(state, "", str(error))
