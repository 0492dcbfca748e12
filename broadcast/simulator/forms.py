"""Tables of elements as the standards print them, and XML held against them to the letter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lxml import etree

Kinds = Mapping[str, Callable[[str], object]]  # element name → true for a text that it may hold; "" = every other element

Node = tuple[str, "str | Sequence[Node]"]  # an element to be written: its name, its text or its parts

MAX_DEPTH = 20  # the tables are 6 deep


class FormError(Exception):
    """What is wrong, and at which element; never the text that stands there."""

    def __init__(self, where: str, what: str) -> None:
        self.where, self.what = where, what  # one of: xml, missing, repeated, unknown, text
        super().__init__(f"{where}: {what}")


@dataclass(frozen=True, slots=True)
class Form:
    """One row of a table. Without parts it holds text; when open, whatever it likes."""

    name: str
    count: str  # "!" one, "?" one or none, "*" any number, "+" one or more
    parts: tuple[Form, ...] = ()
    open: bool = False


def read_form(table: str) -> Form:
    """Reads `Root!( Part? Other*( … ) Free& )` in the notation of the tables; "&" is one with anything inside."""
    (form,) = _parts(iter(re.findall(r"\w+[!?*+&]|[()]", table)))
    return form


def read_xml(document: bytes) -> Any:
    """The root. FormError unless it is UTF-8 with its declaration, well-formed, and without a DOCTYPE."""
    if not re.match(rb"<\?xml version=([\"'])1\.0\1 encoding=([\"'])(?i:utf-8)\2[^>]{0,30}\?>", document):
        raise FormError("declaration", "xml")
    if b"<!DOCTYPE" in document:
        raise FormError("DOCTYPE", "xml")
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, load_dtd=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(document, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise FormError("document", "xml") from None
    if any(not isinstance(node.tag, str) or len(list(node.iterancestors())) > MAX_DEPTH for node in root.iter()):
        raise FormError("document", "xml")
    return root


def write_xml(node: Node, prefixes: Mapping[str, str] | None = None) -> bytes:
    """The document as UTF-8 with its declaration; `prefixes` are declared at the root."""
    root = _element(node, etree.Element(node[0], nsmap=dict(prefixes or {})))
    body: bytes = etree.tostring(root, encoding="utf-8", pretty_print=True)
    # lxml would write the declaration with apostrophes, unlike everybody in the field.
    return b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' + body


def check(element: Any, form: Form, kinds: Kinds, namespace: str = "", path: str = "") -> None:
    """FormError unless the element has the parts of its form in their order, no others, and texts of their kinds."""
    path = f"{path}/{form.name}".lstrip("/")
    if element.tag != _tag(form.name, namespace):
        raise FormError(path, "missing")
    if form.open:
        return
    if element.attrib:
        raise FormError(path, "unknown")
    if form.parts:
        _check_parts(element, form.parts, kinds, namespace, path)
    elif len(element):
        raise FormError(path, "unknown")
    elif not kinds.get(form.name, kinds[""])(element.text or ""):
        raise FormError(path, "text")


def text(root: Any, path: str, namespace: str = "") -> str:
    """The text at `A/B` below the root, "" when it is not there."""
    steps = "/".join(_tag(name, namespace) for name in path.split("/"))
    return str(root.findtext(steps) or "")


def _element(node: Node, element: Any) -> Any:
    if isinstance(node[1], str):
        element.text = node[1]
    else:
        for part in node[1]:
            _element(part, etree.SubElement(element, part[0]))
    return element


def _check_parts(element: Any, parts: Sequence[Form], kinds: Kinds, namespace: str, path: str) -> None:
    if any((words or "").strip() for words in (element.text, *(child.tail for child in element))):
        raise FormError(path, "text")
    waiting = list(element)
    for part in parts:
        found = list(_leading(waiting, _tag(part.name, namespace)))
        if not found and part.count in "!+":
            raise FormError(f"{path}/{part.name}", "missing")
        if len(found) > 1 and part.count in "!?":
            raise FormError(f"{path}/{part.name}", "repeated")
        for child in found:
            check(child, part, kinds, namespace, path)
        waiting = waiting[len(found) :]
    if waiting:  # not in the table, or not in its place
        raise FormError(f"{path}/{etree.QName(waiting[0]).localname[:40]}", "unknown")


def _leading(children: Sequence[Any], tag: str) -> Iterator[Any]:
    for child in children:
        if child.tag != tag:
            return
        yield child


def _parts(marks: Iterator[str]) -> tuple[Form, ...]:
    parts: list[Form] = []
    for mark in marks:
        if mark == ")":
            break
        if mark == "(":
            parts[-1] = replace(parts[-1], parts=_parts(marks))
        else:
            name, count = mark[:-1], mark[-1]
            parts.append(Form(name, "!" if count == "&" else count, open=count == "&"))
    return tuple(parts)


def _tag(name: str, namespace: str) -> str:
    return f"{{{namespace}}}{name}" if namespace else name
