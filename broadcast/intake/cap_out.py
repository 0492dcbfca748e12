"""An Alert to CAP 1.2 XML that the OASIS schema accepts, however the Alert came in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from urllib.parse import quote

from lxml import etree

from ..alert import Alert, Area, Info, Reference, Resource, Scope
from . import events, signal
from .node import Repairs
from .values import CHINA

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
EVENT_CODE = "eventType"  # valueName of the national event code: 12379's own name for it
GEOCODE = "CPEAS Geographic Code"  # valueName that China's own CAP feed gives the codes of 12379
SIGNAL = "signal"  # parameter for 山洪's step where no other words of the info carry it
AREA_SMS = ("AreaSMS", "requested")  # parameter: the wish that the upper level's operators send their area SMS; our name


def _by_lower(words: str) -> dict[str, str]:
    return {word.lower(): word for word in words.split()}


CATEGORIES = _by_lower("Geo Met Safety Security Rescue Fire Health Env Transport Infra CBRNE Other")
RESPONSE_TYPES = _by_lower("Shelter Evacuate Prepare Execute Avoid Monitor Assess AllClear None")
URGENCIES = _by_lower("Immediate Expected Future Past Unknown")
# 12379 has VeryLikely, CAP 1.0 "Very Likely"; CAP 1.2 §3.2.2 says to take it for Likely.
CERTAINTIES = {**_by_lower("Observed Likely Possible Unlikely Unknown"), "verylikely": "Likely"}

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_NAME = re.compile(r"[\s,<&]")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*", re.ASCII)
_SIZE = re.compile(r"\d{1,18}", re.ASCII)
_HOST = r"//(?:[\w.~!$&'()*+;=:%-]*@)?[A-Za-z0-9.~-]*(?::\d{1,5})?"
_URI = re.compile(
    rf"(?:[A-Za-z][A-Za-z0-9+.-]*:(?:{_HOST})?|{_HOST})?[\w./~!$&'()*+,;=@%-]*(?:\?[\w./~!$&'()*+,;=:@%?-]*)?"
    r"(?:#[\w./~!$&'()*+,;=:@%?-]*)?",
    re.ASCII,
)


def write(alert: Alert, area_sms: bool = False) -> bytes:
    """CAP 1.2, schema-valid, UTF-8. Missing mandatory values get CAP's own unknowns; what CAP has no place for
    (12379's senderCode and texts by channel) is left out. An Inner alert is never written as Public.

    `area_sms` adds the wish for the operators' area SMS to the info that we work from; an alert without one carries none.
    """
    wish = alert.info if area_sms else None
    root = etree.Element(f"{{{NAMESPACE}}}alert", nsmap={None: NAMESPACE})
    closed = alert.inner and alert.scope is Scope.PUBLIC
    _put(root, "identifier", _name(alert.identifier))
    _put(root, "sender", _name(alert.sender))
    _put(root, "sent", _time(alert.sent))
    _put(root, "status", alert.status)
    _put(root, "msgType", alert.msg_type)
    _put_some(root, "source", alert.source)
    _put(root, "scope", Scope.RESTRICTED if closed else alert.scope)
    _put_some(root, "restriction", alert.restriction or ("secClassification Inner" if closed else ""))
    _put_some(root, "addresses", alert.addresses)
    _put_all(root, "code", alert.codes)
    _put_some(root, "note", alert.note)
    _put_some(root, "references", " ".join(_reference(one, alert) for one in alert.references))
    _put_some(root, "incidents", alert.incidents)
    for info in alert.infos:
        _put_info(etree.SubElement(root, f"{{{NAMESPACE}}}info"), info, alert, area_sms=info is wish)
    written: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)
    return written


def _put_info(node: Any, info: Info, alert: Alert, *, area_sms: bool) -> None:
    _put(node, "language", info.language if _LANGUAGE.fullmatch(info.language) else "und")
    categories = [one for one in info.categories if one in CATEGORIES.values()]
    _put_all(node, "category", categories or events.categories_of(info.event_code))
    _put(node, "event", info.event or events.NAMES.get(info.event_code) or events.NAMES["10000"])
    _put_all(node, "responseType", [one for one in info.response_types if one in RESPONSE_TYPES.values()])
    _put(node, "urgency", info.urgency if info.urgency in URGENCIES.values() else "Unknown")
    _put(node, "severity", info.severity)
    _put(node, "certainty", CERTAINTIES.get(info.certainty.lower().replace(" ", ""), "Unknown"))
    _put_some(node, "audience", info.audience)
    _put_pairs(node, "eventCode", [(EVENT_CODE, info.event_code)] if info.event_code else [])
    _put_pairs(node, "eventCode", info.other_codes)
    for name, moment in (("effective", info.effective), ("onset", info.onset), ("expires", info.expires)):
        _put_some(node, name, _time(moment) if moment else "")
    _put_some(node, "senderName", info.issuer)
    _put_some(node, "headline", info.headline)
    _put_some(node, "description", info.description)
    _put_some(node, "instruction", info.instruction)
    _put_some(node, "web", _uri(info.web))
    _put_some(node, "contact", info.contact)
    _put_pairs(node, "parameter", info.parameters)
    if info.signal and signal.find(info, alert.msg_type, Repairs()) is not info.signal:
        _put_pairs(node, "parameter", [(SIGNAL, info.signal)])
    if area_sms and AREA_SMS not in info.parameters:
        _put_pairs(node, "parameter", [AREA_SMS])
    for resource in info.resources:
        _put_resource(etree.SubElement(node, f"{{{NAMESPACE}}}resource"), resource)
    for area in info.areas:
        _put_area(etree.SubElement(node, f"{{{NAMESPACE}}}area"), area)


def _put_resource(node: Any, resource: Resource) -> None:
    _put(node, "resourceDesc", resource.description)
    _put(node, "mimeType", resource.mime_type or "application/octet-stream")
    _put_some(node, "size", resource.size if _SIZE.fullmatch(resource.size) else "")
    _put_some(node, "uri", _uri(resource.uri))
    _put_some(node, "digest", resource.digest)


def _put_area(node: Any, area: Area) -> None:
    # CAP wants words for every area: where none came in, its codes say where it is.
    named = area.description.strip() or "、".join(geocode.value for geocode in area.geocodes)
    _put(node, "areaDesc", named or "未注明区域")
    for polygon in area.polygons:
        _put(node, "polygon", " ".join(f"{_decimal(latitude)},{_decimal(longitude)}" for latitude, longitude in polygon))
    for circle in area.circles:
        centre = f"{_decimal(circle.latitude)},{_decimal(circle.longitude)}"
        _put(node, "circle", f"{centre} {_decimal(circle.radius_km)}")
    _put_pairs(node, "geocode", [(geocode.scheme or GEOCODE, geocode.value) for geocode in area.geocodes])
    for name, feet in (("altitude", area.altitude), ("ceiling", area.ceiling)):
        _put_some(node, name, _decimal(feet) if feet is not None and isfinite(feet) else "")


def _put(node: Any, name: str, text: str) -> None:
    etree.SubElement(node, f"{{{NAMESPACE}}}{name}").text = _NOT_XML.sub(" ", str(text))


def _put_some(node: Any, name: str, text: str) -> None:
    if text:
        _put(node, name, text)


def _put_all(node: Any, name: str, texts: Iterable[str]) -> None:
    for text in texts:
        _put(node, name, text)


def _put_pairs(node: Any, name: str, pairs: Iterable[tuple[str, str]]) -> None:
    for value_name, value in pairs:
        pair = etree.SubElement(node, f"{{{NAMESPACE}}}{name}")
        _put(pair, "valueName", value_name)
        _put(pair, "value", value)


def _name(text: str) -> str:
    """CAP allows no space, comma, < or & in an identifier or sender; 12379 senders may have some."""
    return _NOT_NAME.sub("_", text)


def _reference(reference: Reference, alert: Alert) -> str:
    """CAP's triple. 12379 gives no time: the place stays empty, because a made-up time would match nothing."""
    moment = _time(reference.sent) if reference.sent else ""
    return f"{_name(reference.sender or alert.sender)},{_name(reference.identifier)},{moment}"


def _time(moment: datetime) -> str:
    """CAP's one way to write a time; the schema has neither fractions nor zones beyond 14 hours."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=CHINA)
    offset = aware.utcoffset() or timedelta()
    if offset % timedelta(minutes=1) or abs(offset) > timedelta(hours=14):
        aware = aware.astimezone(UTC)
    return aware.isoformat(timespec="seconds")


def _decimal(value: float) -> str:
    """Without an exponent, which xs:decimal does not have."""
    return format(Decimal(repr(float(value))), "f")


def _uri(text: str) -> str:
    """The address with every odd character escaped; "" for what no escaping makes an address."""
    escaped = quote(_NOT_XML.sub("", text.strip()), safe="/~!$&'()*+,;=:@%?#-._")
    escaped = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", escaped)
    return escaped if _URI.fullmatch(escaped) else ""
