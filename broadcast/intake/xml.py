"""Bytes to elements, safely: no DOCTYPE, no entities, no network, no file, no depth and no size that could hurt."""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from ..errors import InvalidAlert
from .node import Node, Repairs

MOST_TAGS = 600_000  # "<" signs; the densest real message of 5 MB (geocodes only) has about 520,000
DEEPEST = 8  # levels; CAP has 5 (alert, info, area, geocode, value)

# Declared name in lower case → Python's codec. Only these: Python also knows codecs that are not character sets, and
# utf-7 could hide a DOCTYPE. GB2312 is declared where GBK or GB18030 is written; GB18030 contains both.
ENCODINGS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5",
    "iso-8859-1": "iso-8859-1",
    "latin1": "iso-8859-1",
    "iso-8859-15": "iso-8859-15",
    "windows-1252": "windows-1252",
}

# Elements that hold elements. All others are read as text whatever is inside them, so that a stray <b> loses no words.
CONTAINERS = frozenset(["info", "area", "resource", "code", "method", "geocode", "eventCode", "parameter"])

CAP_NAMESPACES = frozenset(
    {
        "urn:oasis:names:tc:emergency:cap:1.2",
        "urn:oasis:names:tc:emergency:cap:1.1",
        "http://www.incident.com/cap/1.0",
    }
)

_DECLARED = re.compile(r"""<\?xml\s[^>]{0,200}?encoding\s{0,20}=\s{0,20}["']([A-Za-z0-9._-]{1,40})["']""")
_WHITE = " \t\r\n"


def parse(raw: bytes, repairs: Repairs) -> Node:
    """The root element with all below it. Raises InvalidAlert for anything that is not plain, well-formed XML."""
    text = _decode(raw, repairs)
    if text[:1] in _WHITE:
        repairs.note("XML", "white space before the first element", "left out")
        text = text.lstrip(_WHITE)
    _refuse_doctype(text)
    if text.count("<") > MOST_TAGS:
        raise InvalidAlert("XML", "", f"more than {MOST_TAGS:,} tags: no warning is that long")
    root = _elements(text)
    namespace = etree.QName(root).namespace or ""
    return _node(root, frozenset({namespace, ""}) | CAP_NAMESPACES)


def _decode(raw: bytes, repairs: Repairs) -> str:
    encoding = _encoding(raw, repairs)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        around = repr(raw[error.start : error.start + 8])
        rule = f"byte {error.start + 1} is not {encoding}: send it in the encoding that the XML declaration names"
        raise InvalidAlert("encoding", around, rule) from None
    if "\x00" in text:
        raise InvalidAlert("encoding", "", "holds NUL characters: not text, or UTF-32, which is not read")
    return text.removeprefix("\ufeff")


def _encoding(raw: bytes, repairs: Repairs) -> str:
    """Byte order mark first, then the bytes' own pattern, then the declaration, then XML's default UTF-8."""
    marked = _marked(raw)
    if marked:
        declared = _declared(raw[:800].decode(marked, "replace"))
        if declared and not declared.replace("utf8", "utf-8").startswith(marked[:6]):
            repairs.note("encoding", declared, f"{marked}, which the bytes are")
        return marked
    name = _declared(raw[:400].decode("latin-1")) or "utf-8"
    if name not in ENCODINGS:
        raise InvalidAlert("encoding", name, f"not one of {', '.join(ENCODINGS)}")
    if name.startswith("utf-16"):  # it can be read byte by byte, so it is not: a well-known slip of .NET writers
        repairs.note("encoding", name, "utf-8, which the bytes are")
        return "utf-8"
    return ENCODINGS[name]


def _marked(raw: bytes) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        return "utf-8"
    if raw.startswith(b"\xff\xfe") or raw[:2] == b"<\x00":
        return "utf-16-le"
    if raw.startswith(b"\xfe\xff") or raw[:2] == b"\x00<":
        return "utf-16-be"
    return ""


def _declared(head: str) -> str:
    found = _DECLARED.match(head.lstrip(_WHITE + "\ufeff"))
    return found[1].lower() if found else ""


def _refuse_doctype(text: str) -> None:
    """Walks over declaration, comments and processing instructions: the only places before a DOCTYPE."""
    at = 0
    while True:
        at = _skip_white(text, at)
        closing = "?>" if text.startswith("<?", at) else "-->" if text.startswith("<!--", at) else ""
        if not closing:
            break
        end = text.find(closing, at + 2)
        if end < 0:
            raise InvalidAlert("XML", text[at : at + 40], "opened and never closed", text.count("\n", 0, at) + 1)
        at = end + len(closing)
    if text.startswith("<!", at):
        rule = "a DOCTYPE is never read (it can name files, addresses and endless entities): send plain XML without it"
        raise InvalidAlert("DOCTYPE", text[at : at + 60], rule, text.count("\n", 0, at) + 1)


def _skip_white(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITE:
        at += 1
    return at


def _elements(text: str) -> Any:
    parser = etree.XMLParser(
        encoding="utf-8",  # ours: the text was decoded by its own declaration above
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,  # a comment inside a text must not cut it in two
        remove_pis=True,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(text.encode("utf-8"), parser)
    except etree.XMLSyntaxError as error:
        raise InvalidAlert("XML", "", f"not well-formed: {str(error.msg)[:200]}", error.lineno) from None
    except (etree.LxmlError, ValueError, UnicodeError) as error:
        raise InvalidAlert("XML", "", f"not readable: {str(error)[:200]}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise InvalidAlert("DOCTYPE", "", "a DOCTYPE is never read: send plain XML without it")
    return root


def _node(element: Any, namespaces: frozenset[str], depth: int = 0) -> Node:
    """Foreign elements (signatures, style sheets) are left aside; what lies too deep is read as text."""
    children = []
    for child in element.iterchildren(tag=etree.Element):
        name = etree.QName(child)
        if (name.namespace or "") not in namespaces:
            continue
        if name.localname in CONTAINERS and len(child) and depth < DEEPEST:
            children.append(_node(child, namespaces, depth + 1))
        else:
            children.append(Node(name.localname, "".join(child.itertext()).strip(), child.sourceline))
    own = etree.QName(element)
    return Node(own.localname, "", element.sourceline, tuple(children), own.namespace or "")
