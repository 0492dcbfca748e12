"""SMPP 3.4 as bytes: smpplib composes what we write; what comes in is read here, strictly.

smpplib's own reading is not used: it cuts the last character off an id whose NUL is missing, raises KeyError for an
optional parameter that belongs to another command, and steps over an integer by the length that it expects instead
of the length that is stated.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from smpplib import command_codes, consts, smpp

HEADER = 16  # bytes: length, command, status, sequence
MAX_PDU = 1 << 17  # a message_payload of 64 KiB and room; a longer one is not SMPP

OK: int = consts.SMPP_ESME_ROK
TRY_AGAIN: int = consts.SMPP_ESME_RX_T_APPN  # our answer for what could not be kept now

# SMPP 3.4 §5.3.2: the optional parameters that say something to us.
RECEIPTED_MESSAGE_ID = 0x001E
MESSAGE_PAYLOAD = 0x0424
MESSAGE_STATE = 0x0427


@dataclass(frozen=True, slots=True)
class Pdu:
    """One protocol data unit as it came."""

    command: str  # "submit_sm_resp" …; "" for one that nobody knows
    status: int
    sequence: int
    raw: bytes = field(repr=False)

    @property
    def body(self) -> bytes:
        """Without the header."""
        return self.raw[HEADER:]


@dataclass(frozen=True, slots=True)
class Delivered:
    """A deliver_sm: a receipt, or what somebody wrote."""

    source: str = field(repr=False)
    destination: str = field(repr=False)
    esm_class: int
    data_coding: int
    content: bytes = field(repr=False)  # short_message, or message_payload in its place
    optional: Mapping[int, bytes] = field(repr=False)


def compose(command: str, sequence: int, fields: Mapping[str, object] | None = None, *, status: int = OK) -> bytes:
    """The bytes of one PDU. Fields that are not given are empty."""
    pdu = smpp.make_pdu(command, sequence=sequence, status=status, **(fields or {}))
    pdu.sequence = sequence  # smpplib's constructor ignores the one that it is given
    return bytes(pdu.generate())


def parse(raw: bytes) -> Pdu:
    """The header of one whole PDU. ValueError when its length is not the stated one."""
    if not HEADER <= len(raw) <= MAX_PDU:
        raise ValueError("not the length of a PDU")
    length, command, status, sequence = struct.unpack_from(">4L", raw)
    if length != len(raw):
        raise ValueError("the PDU's length is not the stated one")
    return Pdu(_COMMANDS.get(command, ""), status, sequence, raw)


def message_id(pdu: Pdu) -> str:
    """The id in a submit_sm_resp, with or without its closing NUL; "" when there is none. Latin-1, so it never raises."""
    return pdu.body.split(b"\0", 1)[0].decode("latin-1")


def delivered(pdu: Pdu) -> Delivered:
    """The parts of a deliver_sm (SMPP 3.4 §4.6.1). ValueError for bytes that are none."""
    if pdu.command != "deliver_sm":
        raise ValueError("not a deliver_sm")
    body = _Body(pdu.body)
    body.text()  # service_type
    body.take(2)  # source ton, npi
    source = body.text()
    body.take(2)  # destination ton, npi
    destination = body.text()
    esm_class = body.octet()
    body.take(2)  # protocol_id, priority_flag
    body.text()  # schedule_delivery_time
    body.text()  # validity_period
    body.take(2)  # registered_delivery, replace_if_present_flag
    data_coding = body.octet()
    body.take(1)  # sm_default_msg_id
    content = body.take(body.octet())
    optional = body.optional()
    return Delivered(source, destination, esm_class, data_coding, optional.get(MESSAGE_PAYLOAD) or content, optional)


class _Body:
    """Reads a PDU's body from left to right; ValueError where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise ValueError("a PDU that ends in the middle")
        taken, self._at = self._data[self._at : end], end
        return taken

    def octet(self) -> int:
        return self.take(1)[0]

    def text(self) -> str:
        end = self._data.find(b"\0", self._at)
        if end < 0:
            raise ValueError("a text without its end")
        return self.take(end + 1 - self._at)[:-1].decode("latin-1")

    def optional(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        while self._at < len(self._data):
            tag, length = struct.unpack(">2H", self.take(4))
            found[tag] = self.take(length)
        return found


_COMMANDS: dict[int, str] = {code: name for name, code in command_codes.commands.items()}
