"""Elements as values, and their way to XML and back: strict first, forgiving where a vendor's XML is ill-formed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from .codes import OLD_NAMES
from .text import clean

EBD_DECLARATION = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
EBDS_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'

# Seen on almost every packet in the field; most Tuners builds drop a packet without it, one build a packet with it.
NAMESPACE = {"xs": "http://www.w3.org/2001/XMLSchema"}


@dataclass(frozen=True, slots=True)
class Element:
    """A name (local, in the words of 2018) with a text, or with elements."""

    name: str
    content: str | tuple[Element, ...] = field(default=(), repr=False)

    def children(self, name: str = "") -> Iterator[Element]:
        """All children, or those of one name."""
        if not isinstance(self.content, str):
            yield from (child for child in self.content if not name or child.name == name)

    def find(self, *path: str) -> Element | None:
        """The first element down this path; one that is empty counts as absent where another is not."""
        if not path:
            return self
        found = [below for child in self.children(path[0]) if (below := child.find(*path[1:])) is not None]
        return next((one for one in found if one.content), found[0] if found else None)

    def text(self, *path: str) -> str:
        """The text down this path, "" when there is none."""
        found = self.find(*path)
        return found.content.strip() if found is not None and isinstance(found.content, str) else ""


def serialise(element: Element, *, declaration: bytes, namespace: bool = False) -> bytes:
    """Indented UTF-8 with LF and no BOM. Every text is cleaned on its way."""
    root = _build(element, NAMESPACE if namespace else None)
    written: bytes = etree.tostring(root, encoding="UTF-8", xml_declaration=False, pretty_print=True)
    return declaration + written


def parse(data: bytes, *, whole: str) -> Element:
    """The root element. ValueError for what is not XML, has a DOCTYPE, or is ill-formed and not closed by `whole`.

    An ill-formed document is read as far as it can be understood: receivers write `&` unescaped and 100 NULs as `&#x0;`.
    One that was cut off is not: half an area code would name another place.
    """
    root = _root(data, recover=False)
    if root is None and re.search(rb"</(?:[\w.-]+:)?" + whole.encode() + rb"\s*>", data):
        root = _root(data, recover=True)
    if root is None:
        raise ValueError("not XML, or not whole")
    if root.getroottree().docinfo.doctype or root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("a DOCTYPE is never read")
    return _value(root)


def _build(element: Element, namespace: dict[str, str] | None = None) -> Any:
    built = etree.Element(element.name, nsmap=namespace)
    if isinstance(element.content, str):
        built.text = clean(element.content)
    else:
        built.extend([_build(child) for child in element.content])
    return built


def _root(data: bytes, *, recover: bool) -> Any:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        recover=recover,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError, LookupError):  # LookupError: an encoding nobody knows
        return None


def _value(found: Any) -> Element:
    name = _local(found.tag)
    # A reference to an entity that nobody declared is a node without a name of its own.
    children = [child for child in found if isinstance(child.tag, str)]
    if children:
        return Element(name, tuple(_value(child) for child in children))
    return Element(name, "".join(found.itertext()))


def _local(tag: str) -> str:
    """A peer is free in its namespaces: only local names count (a prefix nobody declared is cut off too)."""
    name = tag.rpartition("}")[2].rpartition(":")[2]
    return OLD_NAMES.get(name, name)
