"""What a deliver_sm means: the centre's report of one message, or what somebody wrote back."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Literal

from smpplib import consts

from ...delivery import Receipt, State
from .. import replies
from ..base import Reply, Report
from .protocol import MESSAGE_STATE, RECEIPTED_MESSAGE_ID, Delivered, delivered, parse

# The word after "stat:" in a report (SMPP 3.4 appendix B).
STATES: dict[str, State] = {
    "DELIVRD": State.DELIVERED,
    "EXPIRED": State.FAILED,
    "DELETED": State.FAILED,
    "UNDELIV": State.FAILED,
    "REJECTD": State.FAILED,
    # The centre has it and says nothing of an end.
    "ENROUTE": State.ACCEPTED,
    "ACCEPTD": State.ACCEPTED,
    "UNKNOWN": State.ACCEPTED,
}
UNKNOWN_WORD = State.FAILED  # carriers put their network's error codes in its place ("MK:0012"); only DELIVRD is success

# The value of message_state (SMPP 3.4 §5.2.28) in the same words.
MESSAGE_STATES: dict[int, str] = {
    consts.SMPP_MESSAGE_STATE_ENROUTE: "ENROUTE",
    consts.SMPP_MESSAGE_STATE_DELIVERED: "DELIVRD",
    consts.SMPP_MESSAGE_STATE_EXPIRED: "EXPIRED",
    consts.SMPP_MESSAGE_STATE_DELETED: "DELETED",
    consts.SMPP_MESSAGE_STATE_UNDELIVERABLE: "UNDELIV",
    consts.SMPP_MESSAGE_STATE_ACCEPTED: "ACCEPTD",
    consts.SMPP_MESSAGE_STATE_UNKNOWN: "UNKNOWN",
    consts.SMPP_MESSAGE_STATE_REJECTED: "REJECTD",
}

# data_coding → how the words are written. 15 is CMPP's GBK, which gateways in front of Chinese networks pass on.
CODINGS: dict[int, str] = {0: "ascii", 1: "ascii", 3: "latin-1", 8: "utf-16-be", 15: "gbk"}
UNKNOWN_CODING = "ascii"  # what is not ASCII in it becomes �

IdForm = Literal["same", "hex_then_decimal", "decimal_then_hex"]  # of an id: in the answer, then in a report's text

BEIJING = timezone(timedelta(hours=8))  # ASSUMPTION: the centre's local time, which SMPP leaves open


class Ids:
    """One form for the ids of a carrier that writes the same id in two ways."""

    def __init__(self, form: IdForm) -> None:
        self._answered, self._reported = _BASES[form]

    def answered(self, value: str) -> str:
        """The ref of an id in an answer; also of receipted_message_id, which repeats the answer's."""
        return _ref(value, self._answered)

    def reported(self, value: str) -> str:
        """The ref of the id in a report's text."""
        return _ref(value, self._reported)


def hear(raw: bytes, ids: Ids, own: str, digits: int) -> Report | Reply:
    """The meaning of one deliver_sm to `own` and `digits` more. ValueError for bytes that are none."""
    pdu = delivered(parse(raw))
    content, words = _without_header(pdu), CODINGS.get(pdu.data_coding, UNKNOWN_CODING)
    said = content.decode(words, "replace")
    if _is_report(pdu):
        return _report(pdu, said, ids)
    return Reply(
        replies.verb(said),
        address=replies.address(pdu.source),
        alert_ending=replies.alert_ending(pdu.destination, own, digits),
        said=replies.kept(said),
    )


_BASES: dict[IdForm, tuple[int, int]] = {"same": (0, 0), "hex_then_decimal": (16, 10), "decimal_then_hex": (10, 16)}

_ID = re.compile(r"[!-~]{1,65}")  # printable ASCII: what goes into an index and a log line
_FIELD = r"(?i:\b{}:\s*)([!-~]+)"
_TEXT_ID, _STAT, _ERR = (re.compile(_FIELD.format(name)) for name in ("id", "stat", "err"))
_DATE = r"(?i:\b{} date:\s*)([0-9]{{10}}(?:[0-9]{{2}})?)\b"
_SUBMITTED, _DONE = (re.compile(_DATE.format(name)) for name in ("submit", "done"))


def _is_report(pdu: Delivered) -> bool:
    """esm_class bits 5 to 2: 1 a report, 8 one on the way (SMPP 3.4 §5.2.12). Some centres say it by the parameter alone."""
    return (pdu.esm_class >> 2) & 0xF in (1, 8) or RECEIPTED_MESSAGE_ID in pdu.optional


def _report(pdu: Delivered, said: str, ids: Ids) -> Report:
    ref = _reported_ref(pdu, said, ids)
    if not ref:
        raise ValueError("a report without the id of a message")
    state = pdu.optional.get(MESSAGE_STATE, b"")
    stat = _STAT.search(said)
    word = _code(stat[1]).upper() if stat else MESSAGE_STATES.get(state[0], "") if len(state) == 1 else ""
    if not word:
        raise ValueError("a report without a state")
    error = _ERR.search(said)
    receipt = Receipt(
        STATES.get(word, UNKNOWN_WORD), word, f"err:{_code(error[1])}" if error else "", ref=ref, at=_time(_DONE.search(said))
    )
    return Report(receipt, address=replies.address(pdu.source), submitted=_time(_SUBMITTED.search(said)))


def _reported_ref(pdu: Delivered, said: str, ids: Ids) -> str:
    if parameter := pdu.optional.get(RECEIPTED_MESSAGE_ID):
        return ids.answered(parameter.rstrip(b"\0").decode("latin-1"))
    in_text = _TEXT_ID.search(said)
    return ids.reported(in_text[1]) if in_text else ""


def _ref(value: str, base: int) -> str:
    """In decimal when it is a number of that base, else as it stands; "" for what is no id."""
    if not _ID.fullmatch(value):
        return ""
    digits = r"[0-9A-Fa-f]+" if base == 16 else r"[0-9]+"
    return str(int(value, base)) if base and re.fullmatch(digits, value) else value


def _without_header(pdu: Delivered) -> bytes:
    """Part of a longer message begins with a header whose first byte is its length (esm_class 0x40, UDHI)."""
    if pdu.esm_class & consts.SMPP_GSMFEAT_UDHI and pdu.content:
        return pdu.content[1 + pdu.content[0] :]
    return pdu.content


def _code(value: str) -> str:
    """A code fit to be kept and shown: short, and never a phone number."""
    return re.sub(r"[0-9]{7,}", "#", value[:40])


def _time(found: re.Match[str] | None) -> datetime | None:
    """YYMMDDhhmm, with seconds or without. None for a time that is missing or broken: that a phone rang matters more."""
    if not found:
        return None
    try:
        return datetime.strptime(found[1], "%y%m%d%H%M%S" if len(found[1]) == 12 else "%y%m%d%H%M").replace(tzinfo=BEIJING)
    except ValueError:
        return None
