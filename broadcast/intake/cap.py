"""CAP 1.0, 1.1 and 1.2 to an Alert. `write` (cap_out.py) goes the other way. JSON comes through here too: same names."""

from __future__ import annotations

from ..alert import Alert, Area, ChannelText, Geocode, Identifier, Info, MsgType, Reference, Resource, Scope, Status
from ..errors import InvalidAlert
from . import events, signal, values
from .cap_out import CATEGORIES, CERTAINTIES, EVENT_CODE, RESPONSE_TYPES, URGENCIES, write
from .node import Form, Node, Repairs, line_of, one_line, text_of
from .xml import CAP_NAMESPACES

__all__ = ["read", "write"]

# CAP 1.2's order of elements; `password` is CAP 1.0's. senderCode and secClassification are 12379's: where a JSON
# sender gives them they count, because Inner must never reach the public.
_ALERT = """identifier sender senderCode sent status msgType password source scope secClassification restriction
    addresses code note references incidents info"""
_INFO = """language category event responseType urgency severity certainty audience eventCode effective onset expires
    senderName headline description instruction web contact parameter resource area"""
ALERT, INFO = _ALERT.split(), _INFO.split()
RESOURCE = ["resourceDesc", "mimeType", "size", "uri", "derefUri", "digest"]
AREA = ["areaDesc", "polygon", "circle", "geocode", "altitude", "ceiling"]


def read(root: Node, repairs: Repairs, form: Form = "cap") -> Alert:
    """The Alert of a tree under CAP's names. Raises InvalidAlert."""
    _check_root(root, repairs, form)
    note_sloppiness(root, ALERT, repairs, form)
    identifier = Identifier(values.name(root, "identifier", repairs))
    msg_type = values.word(root, "msgType", MsgType, repairs)
    status = values.word(root, "status", Status, repairs)
    alert = Alert(
        identifier=identifier,
        sender=values.name(root, "sender", repairs),
        sent=values.required_time(root, "sent", repairs),
        status=status,
        msg_type=msg_type,
        scope=values.word(root, "scope", Scope, repairs),
        infos=tuple(_info(node, msg_type, repairs, form) for node in root.all("info")),
        form=form,
        source=text_of(root, "source", repairs),
        sender_code=text_of(root, "senderCode", repairs),
        inner=is_inner(root, repairs),
        restriction=text_of(root, "restriction", repairs),
        addresses=text_of(root, "addresses", repairs),
        note=text_of(root, "note", repairs),
        references=_references(root, msg_type, identifier, repairs),
        incidents=text_of(root, "incidents", repairs),
        codes=tuple(node.text for node in root.all("code") if node.text),
        requested=requested(root, repairs),
    )
    check_infos(alert, root)
    return alert


def check_infos(alert: Alert, root: Node) -> None:
    """Raises InvalidAlert when a message that should warn people says nothing."""
    speaks = alert.msg_type in (MsgType.ALERT, MsgType.UPDATE) and alert.status not in (Status.SYSTEM, Status.DRAFT)
    if speaks and not alert.infos:
        raise InvalidAlert("info", "", "is missing: an Alert or Update must say what happens and where", root.line)


def is_inner(root: Node, repairs: Repairs) -> bool:
    """secClassification: anything but None or empty keeps the alert from the public."""
    text = text_of(root, "secClassification", repairs)
    if text.lower() in ("", "none"):
        return False
    if text.lower() != "inner":
        repairs.note("secClassification", text, "Inner: an unknown word must not open it to the public")
    return True


def requested(root: Node, repairs: Repairs) -> tuple[ChannelText, ...]:
    """12379's code/method: the sender's own words for a way out."""
    texts = []
    for method in (method for code in root.all("code") for method in code.all("method")):
        name = text_of(method, "methodName", repairs).upper()
        if not name:
            repairs.note("method", "", "left out: no methodName")
            continue
        texts.append(ChannelText(name, text_of(method, "message", repairs)))
        for group in method.all("audienceGrp"):
            repairs.note("audienceGrp", group.text, "not used: groups are the county's own")
    return tuple(texts)


def note_sloppiness(node: Node, order: list[str], repairs: Repairs, form: Form) -> None:
    """Records empty elements, unknown ones, and elements out of the schema's order (which JSON does not have)."""
    last = 0
    for child in node.children:
        if child.name not in order:
            repairs.note(child.name, "", f"ignored: {node.name} has no such element")  # its value may be personal
            continue
        if not child.text and not child.children and form != "cn12379":  # there it is the habit
            repairs.note(child.name, "", "empty: taken as absent")
        place = order.index(child.name)
        if place < last and form == "cap":
            repairs.note(child.name, "", f"out of order: stands after {order[last]}")
        last = max(last, place)


def text_pairs(node: Node, name: str, repairs: Repairs) -> tuple[tuple[str, str], ...]:
    """valueName and value; CAP 1.0 wrote name=value."""
    pairs = []
    for child in node.all(name):
        if child.children:
            pairs.append((text_of(child, "valueName", repairs), text_of(child, "value", repairs)))
        else:
            value_name, equals, value = child.text.partition("=")
            pairs.append((value_name.strip(), value.strip()) if equals else ("", child.text))
            repairs.note(name, "", "a pair written as name=value")
    return tuple(pair for pair in pairs if any(pair))


def areas_of(node: Node, repairs: Repairs, form: Form) -> tuple[Area, ...]:
    """All areas of an info. 12379's circles are in metres, and the order in its pairs is not stated."""
    national = form == "cn12379"
    points = sum(one.text.count(",") for area in node.all("area") for one in area.all("polygon"))
    if points > values.MOST_POINTS:
        raise InvalidAlert("polygon", "", f"more than {values.MOST_POINTS:,} points in one info", line_of(node, "area"))
    areas = []
    for child in node.all("area"):
        note_sloppiness(child, AREA, repairs, form)
        area = Area(
            description=_area_name(child, repairs),
            polygons=tuple(values.polygon(one.text, repairs, one.line, national) for one in child.all("polygon")),
            circles=tuple(values.circle(one.text, repairs, one.line, national) for one in child.all("circle")),
            geocodes=_geocodes(child, repairs, form),
            altitude=values.decimal(child, "altitude", repairs),
            ceiling=values.decimal(child, "ceiling", repairs),
        )
        areas.append(area)
    return tuple(areas)


def event_of(name: str, code: str, headline: str, repairs: Repairs) -> tuple[str, str]:
    """Name and national code of the event, each from the other where one is missing; the headline as the last source.

    An unlisted code is kept: a warning of a new kind is still a warning. "" and "" where nothing names the event.
    """
    if not code and name in events.NAMES:
        repairs.note("event", name, f"the code of {events.NAMES[name]}")
        name, code = events.NAMES[name], name
    if not code:
        named = name or events.name_before_colour(headline)
        if named and not name:
            repairs.note("event", "", f"{named}: named in the headline")
        name, code = named, events.CODES.get(named, "")
    if not code and name in events.ALIASES:
        code = events.ALIASES[name]
        repairs.note("event", name, f"{code} {events.NAMES[code]}")
    if code and code not in events.NAMES:
        repairs.note("eventCode", code, "kept: not in the table of national event codes")
    if name and events.CODES.get(name, code) != code:
        repairs.note("eventCode", code, f"kept: {name} has the code {events.CODES[name]}")
    name = name or events.NAMES.get(code) or events.name_before_colour(headline) or events.class_of(code)
    return name, code


def _check_root(root: Node, repairs: Repairs, form: Form) -> None:
    if root.name != "alert":
        raise InvalidAlert(root.name[:60], "", "the outermost element must be alert", root.line)
    if form == "cap" and root.namespace != "urn:oasis:names:tc:emergency:cap:1.2":
        known = "an older CAP" if root.namespace in CAP_NAMESPACES else "not CAP's namespace"
        repairs.note("alert", root.namespace, f"CAP 1.2 ({known})")


def _references(root: Node, msg_type: MsgType, identifier: str, repairs: Repairs) -> tuple[Reference, ...]:
    line = line_of(root, "references")
    found = values.references(text_of(root, "references", repairs), repairs, line)
    refers = msg_type in (MsgType.UPDATE, MsgType.CANCEL)
    return values.check_references(refers, found, identifier, repairs, line)


def _info(node: Node, msg_type: MsgType, repairs: Repairs, form: Form) -> Info:
    note_sloppiness(node, INFO, repairs, form)
    headline = one_line(text_of(node, "headline", repairs))
    code, other_codes = _event_codes(node, repairs)
    line = line_of(node, "event")
    event, code = event_of(one_line(text_of(node, "event", repairs)), code, headline, repairs)
    if not event and msg_type in (MsgType.ALERT, MsgType.UPDATE):
        raise InvalidAlert("event", "", "is missing, and neither eventCode nor headline names the event", line)
    info = Info(
        event=event,
        event_code=code,
        severity=values.severity(node, headline, repairs),
        language=_language(node, repairs),
        categories=_words(node, "category", CATEGORIES, repairs) or events.categories_of(code),
        urgency=word_or_unknown(node, "urgency", URGENCIES, repairs),
        certainty=word_or_unknown(node, "certainty", CERTAINTIES, repairs),
        response_types=_words(node, "responseType", RESPONSE_TYPES, repairs),
        audience=text_of(node, "audience", repairs),
        other_codes=other_codes,
        effective=values.optional_time(node, "effective", repairs),
        onset=values.optional_time(node, "onset", repairs),
        expires=values.optional_time(node, "expires", repairs),
        issuer=one_line(text_of(node, "senderName", repairs)),
        headline=headline,
        description=text_of(node, "description", repairs),
        instruction=text_of(node, "instruction", repairs),
        web=text_of(node, "web", repairs),
        contact=text_of(node, "contact", repairs),
        parameters=text_pairs(node, "parameter", repairs),
        resources=tuple(_resource(child, repairs, form) for child in node.all("resource")),
        areas=areas_of(node, repairs, form),
    )
    return signal.add(info, msg_type, repairs)


def _event_codes(node: Node, repairs: Repairs) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The national code, and the other pairs."""
    pairs = text_pairs(node, "eventCode", repairs)
    national = [
        pair for pair in pairs if pair[1] in events.NAMES or (pair[0] in ("", EVENT_CODE) and events.is_national(pair[1]))
    ]
    code = national[0][1] if national else ""
    return code, tuple(pair for pair in pairs if not national or pair != national[0])


def _language(node: Node, repairs: Repairs) -> str:
    """CAP's default is en-US; a text in Chinese says otherwise."""
    text = text_of(node, "language", repairs)
    if text:
        return text
    words = "".join(text_of(node, name, repairs) for name in ("event", "headline", "description"))
    if values.has_chinese(words) or not words:
        repairs.note("language", "", "zh-CN")
        return "zh-CN"
    return "en-US"


def _words(node: Node, name: str, known: dict[str, str], repairs: Repairs) -> tuple[str, ...]:
    """CAP's words, once each; others are left out and recorded."""
    taken = []
    for child in node.all(name):
        one = known.get(child.text.lower().replace(" ", ""))
        if one != child.text:
            repairs.note(name, child.text, one or "left out: not one of CAP's words")
        taken += [one] if one else []
    if not taken and name == "category":
        repairs.note(name, "", "derived from the event code")
    return tuple(dict.fromkeys(taken))


def word_or_unknown(node: Node, name: str, known: dict[str, str], repairs: Repairs) -> str:
    """Urgency or certainty: nothing is decided by them, so that a missing or odd one is Unknown."""
    text = text_of(node, name, repairs)
    one = known.get(text.lower().replace(" ", ""), "Unknown")
    if one != text:
        repairs.note(name, text, one)
    return one


def _resource(node: Node, repairs: Repairs, form: Form) -> Resource:
    note_sloppiness(node, RESOURCE, repairs, form)
    return Resource(
        description=one_line(text_of(node, "resourceDesc", repairs)),
        mime_type=text_of(node, "mimeType", repairs),
        size=text_of(node, "size", repairs),
        uri=text_of(node, "uri", repairs),
        digest=text_of(node, "digest", repairs),
    )


def _area_name(node: Node, repairs: Repairs) -> str:
    """areaDesc on one line; 12379 often repeats the first name of its list."""
    text = one_line(text_of(node, "areaDesc", repairs))
    names = values.code_list(text)
    if not text:
        repairs.note("areaDesc", "", "empty: the area has no name")
    if len(names) < text.count(",") + text.count("，") + 1 and names:
        repairs.note("areaDesc", text, "names given twice left out")
        return ",".join(names)
    return text


def _geocodes(node: Node, repairs: Repairs, form: Form) -> tuple[Geocode, ...]:
    """valueName and value; CAP 1.0's name=value; 12379's bare list, whose first code is often repeated."""
    found = []
    for child in node.all("geocode"):
        if child.children:
            value = text_of(child, "value", repairs)
            found += [Geocode(value, text_of(child, "valueName", repairs))] if value else []
            continue
        if form == "cap":
            repairs.note("geocode", child.text, "codes without valueName and value")
        scheme, equals, value = child.text.partition("=")
        codes = values.code_list(value if equals else scheme)
        found += [Geocode(one, scheme.strip() if equals else "") for one in codes]
    if len(found) > values.MOST_CODES:
        raise InvalidAlert("geocode", "", f"more than {values.MOST_CODES:,} codes in one area", node.line)
    return tuple(dict.fromkeys(found))
