"""JSON under CAP's names (info, area, polygon …, also in the plural) to the same tree that XML becomes."""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import InvalidAlert
from . import cap
from .node import Node, Repairs, one_line

PLURALS = {
    "infos": "info",
    "areas": "area",
    "polygons": "polygon",
    "circles": "circle",
    "geocodes": "geocode",
    "categories": "category",
    "responseTypes": "responseType",
    "eventCodes": "eventCode",
    "parameters": "parameter",
    "resources": "resource",
    "codes": "code",
    "methods": "method",
}
CONTAINERS = frozenset(["alert", "info", "area", "resource", "method"])
PAIRS = frozenset(["geocode", "eventCode", "parameter"])
PARTS = frozenset(["valueName", "value", "methodName", "message", "audienceGrp"])
KNOWN = CONTAINERS | PAIRS | PARTS | {*cap.ALERT, *cap.INFO, *cap.RESOURCE, *cap.AREA}
SHAPES = frozenset(["polygon", "circle"])

_UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")  # what no XML can carry


def parse(raw: bytes, repairs: Repairs) -> Node:
    """The tree of a JSON object. Raises InvalidAlert for anything else."""
    try:
        return _tree(_load(raw), repairs)
    except RecursionError:
        raise InvalidAlert("JSON", "", "nested too deeply: no warning has more than a few levels") from None


def _load(raw: bytes) -> Any:
    try:
        text = raw.decode(json.detect_encoding(raw))
        return json.loads(
            text,
            object_pairs_hook=_no_doubles,
            parse_int=str,  # codes are text, never numbers
            parse_float=str,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise InvalidAlert("encoding", "", f"byte {error.start + 1} is not {error.encoding}: JSON is UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidAlert("JSON", "", f"not well-formed: {error.msg}", error.lineno) from None


def _tree(content: Any, repairs: Repairs) -> Node:
    if not isinstance(content, dict):
        raise InvalidAlert("JSON", "", "must be one object with CAP's names: identifier, sender, sent, …")
    if set(content) == {"alert"} and isinstance(content["alert"], dict):
        content = content["alert"]
    return Node("alert", children=tuple(_children(content, repairs)))


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidAlert(
                one_line(_speakable(name))[:60], "", "given twice in one object: nobody can know which one is meant"
            )
        found[name] = value
    return found


def _no_constant(text: str) -> Any:
    raise InvalidAlert("JSON", text, "is not a number")


def _children(content: dict[str, Any], repairs: Repairs) -> list[Node]:
    children: list[Node] = []
    for key, value in content.items():
        name = PLURALS.get(key, _speakable(key))
        children += _nodes(name, value, repairs)
    return children


def _nodes(name: str, value: Any, repairs: Repairs) -> list[Node]:
    """One element for a single value, several for an array. What CAP does not know stays empty, to be recorded."""
    if name not in KNOWN:
        return [Node(name)]
    if name in SHAPES:
        return [Node(name, one) for one in _shapes(name, value)]
    if name in PAIRS and isinstance(value, dict) and not {"valueName", "value"} & set(value):
        return [_pair(name, _speakable(key), one) for key, one in value.items()]
    if isinstance(value, list):
        return [node for one in value for node in _single(name, one, repairs)]
    return _single(name, value, repairs)


def _single(name: str, value: Any, repairs: Repairs) -> list[Node]:
    if name == "references" and isinstance(value, dict):
        return [Node(name, _reference(value))]
    if isinstance(value, dict) and name in (CONTAINERS | PAIRS | {"code"}):
        return [Node(name, children=tuple(_children(value, repairs)))]
    if name in CONTAINERS and value is not None:
        raise InvalidAlert(name, "", "must be an object")
    return [Node(name, _text(name, value, repairs))]


def _pair(name: str, value_name: str, value: Any) -> Node:
    return Node(name, children=(Node("valueName", value_name), Node("value", _plain(name, value))))


def _reference(value: dict[str, Any]) -> str:
    parts = [_plain("references", value.get(part)) for part in ("sender", "identifier", "sent")]
    return ",".join(parts) if any((parts[0], parts[2])) else parts[1]


def _text(name: str, value: Any, repairs: Repairs) -> str:
    text = _plain(name, value)
    plain = _speakable(text)
    if plain != text:
        repairs.note(name, plain, "control characters left out")
    return plain.strip()


def _plain(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise InvalidAlert(one_line(_speakable(name))[:60], "", "must be a text")
    return value


def _speakable(text: str) -> str:
    return _UNSPEAKABLE.sub(" ", text)


def _shapes(name: str, value: Any) -> list[str]:
    """Texts of shapes: "lat,lon lat,lon" or [[lat, lon], …]; circles "lat,lon km" or [lat, lon, km]; or several."""
    if value is None or isinstance(value, str):
        return [_speakable(value or "").strip()]
    if not isinstance(value, list):
        raise InvalidAlert(name, "", "must be a text or an array of coordinates")
    if _is_shape(name, value):
        return [_shape(name, value)]
    return [text for one in value for text in ([_shape(name, one)] if isinstance(one, list) else _shapes(name, one))]


def _is_shape(name: str, value: list[Any]) -> bool:
    """True for one shape, False for a list of shapes. Numbers are texts here."""
    if name == "circle":
        return len(value) == 3 and all(isinstance(one, str) and " " not in one.strip() and "," not in one for one in value)
    return (
        bool(value)
        and all(isinstance(one, list) and all(isinstance(part, str) for part in one) for one in value)
        and bool(value[0])
    )


def _shape(name: str, value: list[Any]) -> str:
    if name == "circle":
        parts = [_plain(name, one).strip() for one in value]
        return " ".join([",".join(parts[:2]), *parts[2:]])
    pairs = [
        ",".join(_plain(name, part).strip() for part in one) if isinstance(one, list) else _plain(name, one) for one in value
    ]
    return " ".join(pairs)
