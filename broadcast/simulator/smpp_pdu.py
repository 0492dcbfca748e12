"""SMPP 3.4 as bytes, by the specification (issue 1.2): the PDUs that an SMSC reads and writes, and no others."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

HEADER = 16
MAX_LENGTH = 70_000  # a message_payload has at most 65,535 octets (§5.3.2.32)
RESPONSE = 0x80000000

# §5.1.2.1
GENERIC_NACK = 0x80000000
BIND_RECEIVER, BIND_TRANSMITTER, BIND_TRANSCEIVER = 0x01, 0x02, 0x09
SUBMIT_SM, DELIVER_SM = 0x04, 0x05
UNBIND, ENQUIRE_LINK = 0x06, 0x15

# §5.1.3
STATUSES = {
    "ESME_ROK": 0x00,
    "ESME_RINVMSGLEN": 0x01,
    "ESME_RINVCMDLEN": 0x02,
    "ESME_RINVCMDID": 0x03,
    "ESME_RINVBNDSTS": 0x04,
    "ESME_RALYBND": 0x05,
    "ESME_RINVPRTFLG": 0x06,
    "ESME_RINVREGDLVFLG": 0x07,
    "ESME_RSYSERR": 0x08,
    "ESME_RINVSRCADR": 0x0A,
    "ESME_RINVDSTADR": 0x0B,
    "ESME_RBINDFAIL": 0x0D,
    "ESME_RINVPASWD": 0x0E,
    "ESME_RINVSYSID": 0x0F,
    "ESME_RMSGQFUL": 0x14,
    "ESME_RINVSERTYP": 0x15,
    "ESME_RINVESMCLASS": 0x43,
    "ESME_RSUBMITFAIL": 0x45,
    "ESME_RINVSRCTON": 0x48,
    "ESME_RINVSRCNPI": 0x49,
    "ESME_RINVDSTTON": 0x50,
    "ESME_RINVDSTNPI": 0x51,
    "ESME_RTHROTTLED": 0x58,
    "ESME_RINVSCHED": 0x61,
    "ESME_RINVEXPIRY": 0x62,
    "ESME_RX_T_APPN": 0x64,
    "ESME_RX_P_APPN": 0x65,
    "ESME_RINVOPTPARSTREAM": 0xC0,
    "ESME_RINVPARLEN": 0xC2,
    "ESME_RINVOPTPARAMVAL": 0xC4,
    "ESME_RUNKNOWNERR": 0xFF,
}

# §5.3.2
USER_MESSAGE_REFERENCE, SAR_REFERENCE, SAR_TOTAL, SAR_NUMBER = 0x0204, 0x020C, 0x020E, 0x020F
SC_INTERFACE_VERSION, RECEIPTED_MESSAGE_ID, MESSAGE_PAYLOAD, MESSAGE_STATE = 0x0210, 0x001E, 0x0424, 0x0427


class Wrong(Exception):
    """A PDU that is answered with this status, by its name in the specification."""

    def __init__(self, status: str) -> None:
        self.status = STATUSES[status]
        super().__init__(status)


@dataclass(frozen=True, slots=True)
class Header:
    """The first sixteen octets."""

    length: int
    command: int
    status: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Bind:
    """The body of bind_transmitter, bind_receiver and bind_transceiver (§4.1)."""

    system_id: str
    password: str = field(repr=False)
    system_type: str
    interface_version: int


@dataclass(frozen=True, slots=True)
class Message:
    """The body of submit_sm and deliver_sm (§4.4.1, §4.6.1). Addresses without their type and plan: 1, 1 is written."""

    source: str
    destination: str
    short_message: bytes = b""
    service_type: str = ""
    esm_class: int = 0
    protocol_id: int = 0
    priority: int = 0
    scheduled: str = ""
    validity: str = ""
    registered_delivery: int = 0
    replace: int = 0
    data_coding: int = 0
    optional: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def payload(self) -> bytes:
        """The text's octets, wherever they stand, user data header included."""
        return self.optional.get(MESSAGE_PAYLOAD, self.short_message)


def read_header(octets: bytes) -> Header:
    """Of exactly sixteen octets."""
    return Header(*struct.unpack(">IIII", octets))


def compose(command: int, sequence: int, body: bytes = b"", status: int = 0) -> bytes:
    """A whole PDU."""
    return struct.pack(">IIII", HEADER + len(body), command, status, sequence) + body


def read_bind(body: bytes) -> Bind:
    """Raises Wrong."""
    reader = _Reader(body)
    system_id = reader.text(16, "ESME_RINVSYSID")
    password = reader.text(9, "ESME_RINVPASWD")
    system_type = reader.text(13, "ESME_RBINDFAIL")
    version = reader.number()
    reader.number()  # addr_ton
    reader.number()  # addr_npi
    reader.text(41, "ESME_RBINDFAIL")  # address_range: one customer, one range
    reader.end()
    return Bind(system_id, password, system_type, version)


def read_message(body: bytes) -> Message:
    """Raises Wrong."""
    reader = _Reader(body)
    service_type = reader.text(6, "ESME_RINVSERTYP")
    source = reader.address("ESME_RINVSRCTON", "ESME_RINVSRCNPI", "ESME_RINVSRCADR")
    destination = reader.address("ESME_RINVDSTTON", "ESME_RINVDSTNPI", "ESME_RINVDSTADR")
    esm_class, protocol_id, priority = reader.number(), reader.number(), reader.number()
    scheduled, validity = reader.time("ESME_RINVSCHED"), reader.time("ESME_RINVEXPIRY")
    registered, replace, coding, _default = reader.number(), reader.number(), reader.number(), reader.number()
    short = reader.octets(reader.number())
    optional = reader.optional()
    if len(short) > 254 or (short and MESSAGE_PAYLOAD in optional):
        raise Wrong("ESME_RINVMSGLEN")
    return Message(
        source, destination, short, service_type, esm_class, protocol_id, priority, scheduled, validity, registered, replace,
        coding, optional,
    )  # fmt: skip


def write_message(message: Message) -> bytes:
    """The body of a deliver_sm."""
    numbers = (message.esm_class, message.protocol_id, message.priority)
    flags = (message.registered_delivery, message.replace, message.data_coding, 0, len(message.short_message))
    return b"".join(
        [
            _text(message.service_type),
            b"\1\1" + _text(message.source),  # international, ISDN
            b"\1\1" + _text(message.destination),
            bytes(numbers) + _text(message.scheduled) + _text(message.validity) + bytes(flags),
            message.short_message,
            *(write_optional(tag, value) for tag, value in message.optional.items()),
        ]
    )


def write_optional(tag: int, value: bytes) -> bytes:
    """An optional parameter: tag, length, value (§3.2.4.1)."""
    return struct.pack(">HH", tag, len(value)) + value


def _text(value: str) -> bytes:
    return value.encode("latin-1") + b"\0"


class _Reader:
    """Fields of a body, one after another. Octets that end too early are ESME_RINVCMDLEN."""

    def __init__(self, octets: bytes) -> None:
        self._octets, self._at = octets, 0

    def octets(self, count: int) -> bytes:
        found = self._octets[self._at : self._at + count]
        if len(found) < count:
            raise Wrong("ESME_RINVCMDLEN")
        self._at += count
        return found

    def number(self) -> int:
        return self.octets(1)[0]

    def text(self, most: int, otherwise: str) -> str:
        """A C-octet string of at most `most` octets, its NUL included."""
        end = self._octets.find(b"\0", self._at)
        if end < 0:
            raise Wrong("ESME_RINVCMDLEN")
        found = self.octets(end + 1 - self._at)
        if len(found) > most or not found.isascii():
            raise Wrong(otherwise)
        return found[:-1].decode("ascii")

    def time(self, otherwise: str) -> str:
        """Nothing, or sixteen characters (§7.1.1)."""
        found = self.text(17, otherwise)
        if len(found) not in (0, 16):
            raise Wrong(otherwise)
        return found

    def address(self, ton: str, npi: str, otherwise: str) -> str:
        if self.number() > 6:
            raise Wrong(ton)
        if self.number() not in (0, 1, 3, 4, 6, 8, 9, 10, 14, 18):
            raise Wrong(npi)
        return self.text(21, otherwise)

    def optional(self) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        while self._at < len(self._octets):
            if len(self._octets) - self._at < 4:
                raise Wrong("ESME_RINVOPTPARSTREAM")
            tag, length = struct.unpack(">HH", self.octets(4))
            if length > len(self._octets) - self._at:
                raise Wrong("ESME_RINVOPTPARSTREAM")
            found[tag] = self.octets(length)
        return found

    def end(self) -> None:
        if self._at < len(self._octets):
            raise Wrong("ESME_RINVCMDLEN")
