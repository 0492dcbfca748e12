"""Packets as values, and their way to the XML of an EBDB file and back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from .codes import HEARTBEAT, INCOMPLETE, KINDS, PROFILES, RESULT_WORDS, UNPARSED
from .elements import EBD_DECLARATION, Element, parse, serialise

BEIJING = timezone(timedelta(hours=8))
LANGUAGE = "zho"  # GB/T 4880.2

_TIME = re.compile(r"(2[0-9]{3}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})")
_ID = re.compile(r"[!-~]{1,64}")  # any digits are taken, whatever their number; printable, as it goes into an index


@dataclass(frozen=True, slots=True)
class Packet:
    """One EBD: the envelope of 082 t.1, and a body that bears the EBDType as its name."""

    ebdid: str
    source: str  # an EBRID, as the next
    destination: str
    time: datetime | None  # None where it was missing or broken
    body: Element
    url: str = ""  # where the sender accepts requests
    related: str = ""  # EBDID of the packet that this one answers

    @property
    def kind(self) -> str:
        """The EBDType as the body says it: there are senders whose label is another."""
        return self.body.name


class NotTaken(ValueError):
    """A packet that we refuse, with the ResultCode that its sender hears. The words hold nothing of its content."""

    def __init__(self, code: int, words: str, packet: Packet | None = None) -> None:
        self.code, self.packet = code, packet
        super().__init__(words)


@dataclass(frozen=True, slots=True)
class Ebm:
    """What is to be broadcast or taken off the air, 082 t.2-5. No Auxiliary: without it the receiver speaks the words."""

    ebmid: str
    msg_type: int
    sender_name: str
    sender_code: str
    sent: datetime
    event_type: str
    severity: int
    start: datetime
    end: datetime
    title: str = field(repr=False)
    words: str = field(repr=False)
    areas: tuple[str, ...] = field(repr=False)
    related: str = ""  # EBMID; only in a cancel: a receiver takes any EBM with it for a change of the other one

    def element(self, profile: str) -> Element:
        """As the body of a packet, elements in the order of the tables."""
        basic = {
            "MsgType": str(self.msg_type),
            "SenderName": self.sender_name,
            "SenderCode": self.sender_code,
            PROFILES[profile].send_time: stamp(self.sent),
            "EventType": self.event_type,
            "Severity": str(self.severity),
            "StartTime": stamp(self.start),
            "EndTime": stamp(self.end),
        }
        content = {
            "LanguageCode": LANGUAGE,
            "MsgTitle": self.title,
            "MsgDesc": self.words,
            "AreaCode": ",".join(self.areas),
        }
        related = (_branch("RelatedInfo", {"EBMID": self.related}),) if self.related else ()
        head = (Element("EBMVersion", "1"), Element("EBMID", self.ebmid))
        return Element("EBM", (*head, *related, _branch("MsgBasicInfo", basic), _branch("MsgContent", content)))


def state_request(ebmid: str) -> Element:
    """The body that asks for an EBM's state; EBM/EBMID is the one form that every receiver reads."""
    return Element("EBMStateRequest", (_branch("EBM", {"EBMID": ebmid}),))


def heartbeat(at: datetime) -> Element:
    """The body of a heartbeat."""
    return _branch(HEARTBEAT, {"RptTime": stamp(at)})


def response(code: int) -> Element:
    """The body that answers a packet."""
    return _branch("EBDResponse", {"ResultCode": str(code), "ResultDesc": RESULT_WORDS[code]})


def write(packet: Packet, *, namespace: bool = True) -> bytes:
    """The bytes of its EBDB file. What is optional and empty is left out: a receiver refuses an empty RelatedEBD."""
    source = {"EBRID": packet.source} | ({"URL": packet.url} if packet.url else {})
    envelope = (
        Element("EBDVersion", "1"),
        Element("EBDID", packet.ebdid),
        Element("EBDType", packet.kind),
        _branch("SRC", source),
        *((_branch("DEST", {"EBRID": packet.destination}),) if packet.destination else ()),
        Element("EBDTime", stamp(packet.time)),
        *((_branch("RelatedEBD", {"EBDID": packet.related}),) if packet.related else ()),
        packet.body,
    )
    return serialise(Element("EBD", envelope), declaration=EBD_DECLARATION, namespace=namespace)


def read(data: bytes) -> Packet:
    """A packet out of an EBDB file. Raises NotTaken: unparsed, or without what every packet has."""
    try:
        root = parse(data, whole="EBD")
    except ValueError as error:
        raise NotTaken(UNPARSED, f"EBDB: {error}") from None
    ebdid = root.text("EBDID")
    if root.name != "EBD":
        raise NotTaken(UNPARSED, "EBDB: the root is not EBD")
    if not _ID.fullmatch(ebdid):
        raise NotTaken(INCOMPLETE, "EBDB: no usable EBDID")
    return Packet(
        ebdid=ebdid,
        source=identifier(root.text("SRC", "EBRID")),
        destination=identifier(root.text("DEST", "EBRID")),
        time=moment(root.text("EBDTime")),
        body=_body(root),
        url=root.text("SRC", "URL"),
        related=identifier(root.text("RelatedEBD", "EBDID")),
    )


def stamp(at: datetime | None) -> str:
    """Beijing's time of day, without a zone (082); "" for none."""
    return at.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def moment(text: str) -> datetime | None:
    """A time of theirs. None for one that is missing, broken, or .NET's year 1."""
    match = _TIME.match(text)
    try:
        return datetime.strptime(f"{match[1]} {match[2]}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING) if match else None
    except ValueError:
        return None


def identifier(text: str) -> str:
    """An id of theirs as it is, "" when it is none."""
    return text if _ID.fullmatch(text) else ""


def _body(root: Element) -> Element:
    """The element that bears a type's name; the EBDType decides between several, and stands for one that is missing."""
    label = root.text("EBDType")
    found = [child for child in root.children() if child.name in KINDS]
    if body := next((child for child in found if child.name == label), found[0] if found else None):
        return body
    if label in KINDS:
        return Element(label)
    raise NotTaken(INCOMPLETE, "EBDB: a type of packet that nobody here knows")


def _branch(name: str, texts: dict[str, str]) -> Element:
    return Element(name, tuple(Element(child, text) for child, text in texts.items()))
