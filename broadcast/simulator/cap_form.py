"""CAP 1.2 as OASIS prints it (CAP-v1.2-os, 3.2 and 3.4): the elements in their order, their values, the rules beside them."""

from __future__ import annotations

import re
from typing import Any

from .forms import FormError, check, read_form, read_xml, text

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
XMLDSIG = "http://www.w3.org/2000/09/xmldsig#"

ALERT = read_form("""
    alert!(
      identifier! sender! sent! status! msgType! source? scope! restriction? addresses? code* note? references? incidents?
      info*(
        language? category+ event! responseType* urgency! severity! certainty! audience? eventCode*( valueName! value! )
        effective? onset? expires? senderName? headline? description? instruction? web? contact?
        parameter*( valueName! value! )
        resource*( resourceDesc! mimeType! size? uri? derefUri? digest? )
        area*( areaDesc! polygon* circle* geocode*( valueName! value! ) altitude? ceiling? )
      )
    )""")


def _one_of(words: str) -> Any:
    return frozenset(words.split()).__contains__


def _like(pattern: str) -> Any:
    return re.compile(pattern, re.ASCII).fullmatch


_TIME = r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9][-+][0-9]{2}:[0-9]{2}"  # 3.3.2: never Z
_POINT = r"-?[0-9]{1,2}(\.[0-9]+)?,-?[0-9]{1,3}(\.[0-9]+)?"
_NUMBER = r"-?[0-9]+(\.[0-9]+)?"


def _is_polygon(words: str) -> bool:
    """At least four pairs, the last as the first (3.2.4)."""
    points = words.split(" ")
    return len(points) >= 4 and points[0] == points[-1] and all(re.fullmatch(_POINT, point, re.ASCII) for point in points)


KINDS = {
    "": lambda _words: True,  # xs:string
    **dict.fromkeys(("event", "areaDesc", "resourceDesc", "mimeType", "valueName"), lambda words: words.strip()),
    "identifier": re.compile(r"[^\s,<&]+").fullmatch,
    "sender": re.compile(r"[^\s,<&]+").fullmatch,
    **dict.fromkeys(("sent", "effective", "onset", "expires"), _like(_TIME)),
    "status": _one_of("Actual Exercise System Test Draft"),
    "msgType": _one_of("Alert Update Cancel Ack Error"),
    "scope": _one_of("Public Restricted Private"),
    "category": _one_of("Geo Met Safety Security Rescue Fire Health Env Transport Infra CBRNE Other"),
    "responseType": _one_of("Shelter Evacuate Prepare Execute Avoid Monitor Assess AllClear None"),
    "urgency": _one_of("Immediate Expected Future Past Unknown"),
    "severity": _one_of("Extreme Severe Moderate Minor Unknown"),
    "certainty": _one_of("Observed Likely Possible Unlikely Unknown"),
    "language": _like(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*"),
    # The triple of 3.2.1. Its time may be empty: 12379 names the alert before, but not when it was sent.
    "references": re.compile(rf"[^\s,<&]+,[^\s,<&]+,({_TIME})?( [^\s,<&]+,[^\s,<&]+,({_TIME})?)*").fullmatch,
    "polygon": _is_polygon,
    "circle": _like(rf"{_POINT} [0-9]+(\.[0-9]+)?"),
    "altitude": _like(_NUMBER),
    "ceiling": _like(_NUMBER),
    "size": _like(r"[0-9]+"),
}


def read_alert(document: bytes) -> Any:
    """The alert element, without the enveloped signatures that may follow its last element. Raises FormError."""
    root = read_xml(document)
    for signature in root.findall(f"{{{XMLDSIG}}}Signature"):
        if signature.getnext() is None:
            root.remove(signature)
    return root


def check_alert(root: Any) -> None:
    """Raises FormError unless it is CAP 1.2 to the letter."""
    check(root, ALERT, KINDS, NAMESPACE)
    words = {name: text(root, name, NAMESPACE) for name in ("msgType", "references", "scope", "restriction", "addresses")}
    if words["msgType"] != "Alert" and not words["references"]:
        raise FormError("alert/references", "missing")
    if words["scope"] == "Restricted" and not words["restriction"]:
        raise FormError("alert/restriction", "missing")
    if words["scope"] == "Private" and not words["addresses"]:
        raise FormError("alert/addresses", "missing")
