"""The room where warnings come in: bytes → Alert. Pure: it opens no file and no connection, whatever the bytes say."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ..alert import Alert
from ..errors import InvalidAlert
from . import cap, cn12379, json_form, xml
from .node import Repairs

__all__ = ["MAX_BYTES", "read"]

MAX_BYTES = 5_000_000

_BEFORE = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"  # byte order marks, UTF-16's other halves, white space


def read(raw: bytes) -> Alert:
    """The Alert in `raw`: CAP 1.0–1.2 or national 12379 XML, or JSON under CAP's names; the form is recognised.

    Raises InvalidAlert (a ValueError), and nothing else, naming element, value, rule and, in XML, the line. What was
    sloppy but clear is repaired, each repair listed in `Alert.repairs`; `Alert.raw` is `raw`, untouched.
    """
    if len(raw) > MAX_BYTES:
        raise InvalidAlert("alert", "", f"{len(raw):,} bytes; the largest that is read has {MAX_BYTES:,}")
    repairs = Repairs()
    alert = _understand(raw, repairs)
    return replace(alert, raw=raw, sha256=hashlib.sha256(raw).hexdigest(), repairs=repairs.made())


def _understand(raw: bytes, repairs: Repairs) -> Alert:
    first = raw.lstrip(_BEFORE)[:1]
    if first == b"<":
        root = xml.parse(raw, repairs)
        return cn12379.read(root, repairs) if cn12379.is_cn12379(root) else cap.read(root, repairs)
    if first in (b"{", b"["):
        return cap.read(json_form.parse(raw, repairs), repairs, form="json")
    value = raw[:40].decode("utf-8", "backslashreplace")
    raise InvalidAlert("alert", value, "neither XML nor JSON" if first else "is empty")
