"""The national 12379 form to an Alert: CAP's skeleton with other names, units and habits (each one marked below)."""

from __future__ import annotations

import re
from datetime import datetime

from ..alert import Alert, Identifier, Info, MsgType, Reference, Resource, Scope, Status
from ..errors import InvalidAlert
from . import events, signal, values
from .cap import areas_of, check_infos, event_of, is_inner, note_sloppiness, requested, text_pairs, word_or_unknown
from .cap_out import CERTAINTIES, URGENCIES
from .node import Node, Repairs, line_of, one_line, text_of

_ALERT = """identifier sender senderCode sendTime sent status msgType scope code secClassification note references
    info"""
_INFO = """language eventType event urgency severity certainty effective onset expires senderName headline description
    instruction web parameter resource area"""
ALERT, INFO = _ALERT.split(), _INFO.split()
_IDENTIFIER = re.compile(r"\d{14}_\d{14}(?:_\d)?", re.ASCII)  # both lengths occur
_SPACE = "space instead of T"  # how 12379 writes every time


def is_cn12379(root: Node) -> bool:
    """True for what only this form has. The root's name is no sign: a producer with a wrong one exists."""
    if root.namespace == "http://com.icss.amp":
        return True
    own = any(root.all(name) for name in ("sendTime", "senderCode"))
    own = own or any(info.all("eventType") for info in root.all("info"))
    return own and not (root.all("sent") and root.namespace.endswith(("cap:1.2", "cap:1.1", "cap/1.0")))


def read(root: Node, repairs: Repairs) -> Alert:
    """The Alert of a 12379 tree. Raises InvalidAlert."""
    if root.name != "alert":
        repairs.note(root.name, "", "alert")
    note_sloppiness(root, ALERT, repairs, "cn12379")
    identifier = Identifier(values.name(root, "identifier", repairs))
    sender = values.name(root, "sender", repairs, forbidden="")  # a unit's Chinese name
    msg_type = values.word(root, "msgType", MsgType, repairs)
    alert = Alert(
        identifier=identifier,
        sender=sender,
        sent=_sent(root, repairs),
        status=values.word(root, "status", Status, repairs),
        msg_type=msg_type,
        scope=values.word(root, "scope", Scope, repairs),
        infos=tuple(_info(node, sender, msg_type, repairs) for node in root.all("info")),
        form="cn12379",
        sender_code=_sender_code(root, repairs),
        inner=is_inner(root, repairs),
        note=text_of(root, "note", repairs),
        references=_references(root, msg_type, identifier, repairs),
        requested=requested(root, repairs),
    )
    check_infos(alert, root)
    return alert


def _sent(root: Node, repairs: Repairs) -> datetime:
    if not root.all("sendTime") and root.all("sent"):
        repairs.note("sent", "", "sendTime")
        return values.required_time(root, "sent", repairs, usual=_SPACE)
    return values.required_time(root, "sendTime", repairs, usual=_SPACE)


def _sender_code(root: Node, repairs: Repairs) -> str:
    code = text_of(root, "senderCode", repairs)
    if not (len(code) == 14 and code.isascii() and code.isdigit()):
        repairs.note("senderCode", code, "kept, though it is not 14 digits")
    return code


def _references(root: Node, msg_type: MsgType, identifier: str, repairs: Repairs) -> tuple[Reference, ...]:
    """One identifier, that of the event's first message; never CAP's triple, though some write one."""
    text, line = one_line(text_of(root, "references", repairs)), line_of(root, "references")
    found = list(dict.fromkeys(_IDENTIFIER.findall(text))) or ([text] if text else [])
    if found and text != found[0]:
        repairs.note("references", text, ", ".join(found))
    for one in found:
        values.check_name("references", one, ",<&", line)
    refers = msg_type in (MsgType.UPDATE, MsgType.CANCEL)
    known = tuple(Reference(one) for one in found)
    return values.check_references(refers, known, identifier, repairs, line)


def _info(node: Node, sender: str, msg_type: MsgType, repairs: Repairs) -> Info:
    """senderName is left aside on purpose: it may be the officer who signed. The issuer is the sending unit."""
    note_sloppiness(node, INFO, repairs, "cn12379")
    headline = one_line(text_of(node, "headline", repairs))
    line = line_of(node, "eventType")
    name, code = _event_type(node, repairs)
    event, code = event_of(name, code, headline, repairs)
    if not event and msg_type in (MsgType.ALERT, MsgType.UPDATE):
        raise InvalidAlert("eventType", code, "names no event, and the headline does not either", line)
    effective = values.optional_time(node, "effective", repairs, usual=_SPACE)
    info = Info(
        event=event,
        event_code=code,
        severity=values.severity(node, headline, repairs),
        language=text_of(node, "language", repairs) or "zh-CN",
        categories=events.categories_of(code),
        urgency=word_or_unknown(node, "urgency", URGENCIES, repairs),
        certainty=word_or_unknown(node, "certainty", CERTAINTIES, repairs),
        effective=effective,
        onset=values.optional_time(node, "onset", repairs, usual=_SPACE),
        expires=_expires(node, effective, repairs),
        issuer=sender,
        headline=headline,
        description=text_of(node, "description", repairs),
        instruction=text_of(node, "instruction", repairs),
        web=text_of(node, "web", repairs),
        parameters=text_pairs(node, "parameter", repairs),
        resources=tuple(_resource(child, repairs) for child in node.all("resource")),
        areas=areas_of(node, repairs, "cn12379"),
    )
    return signal.add(info, msg_type, repairs)


def _event_type(node: Node, repairs: Repairs) -> tuple[str, str]:
    """Name and code: eventType holds the code; some write the name there, or CAP's event beside it."""
    code, name = text_of(node, "eventType", repairs), one_line(text_of(node, "event", repairs))
    if code.upper() in events.NAMES or events.is_national(code.upper()):
        return name, code.upper()
    if code:
        repairs.note("eventType", code, "the name of the event: not a code")
    return name or code, ""


def _expires(node: Node, effective: datetime | None, repairs: Repairs) -> datetime | None:
    """Empty as a rule. Some repeat the time of signing here: that says nothing, and policy must set the expiry."""
    expires = values.optional_time(node, "expires", repairs, usual=_SPACE)
    if expires and effective and expires <= effective:
        repairs.note("expires", expires.isoformat(), "empty: not after effective")
        return None
    return expires


def _resource(node: Node, repairs: Repairs) -> Resource:
    return Resource(
        description=one_line(text_of(node, "resourceDesc", repairs)),
        size=text_of(node, "size", repairs),
        digest=text_of(node, "digest", repairs),
    )
