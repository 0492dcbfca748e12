"""What a platform tells us: states of a broadcast, of its systems, and of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...delivery import Receipt, State
from ..base import Condition, Heard, Report, Standing
from .codes import (
    ASKED_OF_US,
    BROADCAST_STATES,
    HEARTBEAT,
    INCOMPLETE,
    RESULTS,
    STANDINGS,
    STATES,
    STORED,
    UNKNOWN_STATE,
    ebmid_of,
)
from .elements import Element
from .packet import NotTaken, Packet, identifier, moment

MAX_HEARD = 50_000


def heard(packet: Packet) -> list[Heard]:
    """The meaning of a packet; nothing for those that are only stored. Raises NotTaken for one that we cannot serve."""
    found: list[Heard] = []
    for one in _heard(packet):
        if len(found) == MAX_HEARD:
            raise NotTaken(INCOMPLETE, f"more than {MAX_HEARD} reports in one packet", packet)
        found.append(one)
    return found


def result(packet: Packet) -> int:
    """The ResultCode of an EBDResponse (or of an EBDNotify). Raises NotTaken when it has none that 083 knows."""
    code = packet.body.text("ResultCode")
    if packet.kind not in ("EBDResponse", "EBDNotify") or not re.fullmatch(r"[0-9]{1,2}", code) or int(code) not in RESULTS:
        raise NotTaken(INCOMPLETE, "no ResultCode of 0 to 5", packet)
    return int(code)


def online(packet: Packet) -> Condition:
    """The platform itself lives: it answers our heartbeat, or sends its own."""
    return Condition("", Standing.ONLINE, at=moment(packet.body.text("RptTime")) or packet.time)


def _heard(packet: Packet) -> Iterator[Heard]:
    kind, body = packet.kind, packet.body
    if kind in ASKED_OF_US:
        # "Understood" would promise a broadcast, or a report, that nobody makes here.
        raise NotTaken(INCOMPLETE, f"{kind}: we broadcast nothing and have nothing to report", packet)
    if kind == HEARTBEAT:
        yield online(packet)
    elif kind == "EBMStateResponse":
        yield from _states(packet, body)
    elif kind == "EBMBrdLog":
        for item in body.children("EBMBrdItem"):
            yield from _states(packet, item)
    elif kind in STATES:
        yield from filter(None, map(_condition, body.children()))
    elif kind not in STORED:
        yield from _result(packet)


def _states(packet: Packet, said: Element) -> Iterator[Report]:
    """One EBM's state. "On the air" is on the air in the areas that it names, in all of them when it names none."""
    ref = identifier(said.text("EBM", "EBMID") or said.text("EBMID") or said.text("EBM", "EBRID"))
    code = said.text("BrdStateCode")
    if not ref or not code:
        raise NotTaken(INCOMPLETE, f"{packet.kind}: no EBMID or no BrdStateCode", packet)
    state = BROADCAST_STATES.get(code, UNKNOWN_STATE)
    covered = said.text("Coverage", "AreaCode")
    regions = _regions(covered)
    if state is State.DELIVERED and covered and not regions:
        state = State.ACCEPTED  # on the air somewhere, in a place that we cannot read
    receipt = Receipt(state, f"BrdStateCode {shown(code)}", _detail(said), ref, moment(said.text("RptTime")) or packet.time)
    for region in regions if state is State.DELIVERED and regions else [""]:
        yield Report(receipt, region=region)


def _regions(text: str) -> list[str]:
    """Area codes as our regions have them: a town's 9 digits, a county's 6. Some platforms cut the zeros off, and more."""
    codes = (code.strip() for code in re.split("[,，]", text))
    whole = (code.ljust(12, "0") for code in codes if re.fullmatch(r"[1-9][0-9]{5,11}", code))
    return list(dict.fromkeys(re.sub(r"(?:0{6}|0{3})$", "", code) for code in whole))


def _detail(said: Element) -> str:
    words = shown(said.text("BrdStateDesc"))
    rate = shown(said.text("Coverage", "CoverageRate"))
    return f"{words}, coverage {rate}" if rate else words


def _condition(item: Element) -> Condition | None:
    address, standing = identifier(item.text("EBRID")), STANDINGS.get(item.text("StateCode"))
    if not address or standing is None:
        return None
    return Condition(address, standing, _region_of(address), shown(item.text("StateDesc")), moment(item.text("RptTime")))


def _region_of(address: str) -> str:
    """The region in a 23-digit EBRID: its digits 2 to 13."""
    found = _regions(address[1:13]) if len(address) == 23 else []
    return found[0] if found else ""


def _result(packet: Packet) -> Iterator[Report]:
    """An EBDNotify (what was accepted cannot be carried out), or an EBDResponse in a connection of its own."""
    code, ref = result(packet), ebmid_of(packet.related)
    if ref and (packet.kind == "EBDResponse" or RESULTS[code] is State.FAILED):
        yield Report(Receipt(RESULTS[code], f"ResultCode {code}", shown(packet.body.text("ResultDesc")), ref, packet.time))


def shown(words: str) -> str:
    """Their words, fit to be kept and shown: short, printable, no long number in them."""
    printable = "".join(sign if sign.isprintable() else " " for sign in words[:80])
    return re.sub(r"[0-9]{7,}", "#", printable).strip()
