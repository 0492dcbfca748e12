"""The packets that a platform writes itself: answers, states, heartbeats (GD/J 083-2018)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from . import ebd_signature
from .clock import Clock
from .ebd_forms import FORMS, XS
from .ebd_packets import pack
from .ebd_signature import Signer, SignMode
from .forms import Node, write_xml

STATES = {0: "未处理", 1: "等待播发", 2: "播发中", 3: "播发成功", 4: "播发失败", 5: "播发取消"}  # 083, BrdStateCode


@dataclass(frozen=True, slots=True)
class Coverage:
    """Where it is on the air."""

    areas: tuple[str, ...]
    rate: float
    since: datetime
    until: str = ""  # "" = still playing


@dataclass(frozen=True, slots=True)
class State:
    """What is said of one EBM."""

    ebmid: str
    code: int  # BrdStateCode
    at: datetime
    coverage: Coverage | None = None
    related: str = ""  # EBDID of the request that it answers; "" = nobody asked


class Writer:
    """Writes packets of one platform: numbered, signed, in their TARs. Shared by threads."""

    def __init__(self, ebrid: str, url: str, signer: Signer, mode: SignMode, clock: Clock) -> None:
        self._ebrid, self._url, self._signer, self._mode, self._clock = ebrid, url, signer, mode, clock
        # From the time on: a platform that is started again must not use a number twice.
        self._numbers = itertools.count(int(clock.wall().timestamp() * 1000))

    def response(self, to: str, related: str, code: int, words: str) -> tuple[str, bytes]:
        """EBDResponse: its EBDID and TAR."""
        return self._packet(to, related, "EBDResponse", [("ResultCode", str(code)), ("ResultDesc", words)])

    def state(self, to: str, state: State) -> tuple[str, bytes]:
        """EBMStateResponse."""
        at = _stamp(state.at)
        body: list[Node] = [("RptTime", at), ("EBM", [("EBMID", state.ebmid)]), *_code(state.code)]
        if state.coverage:
            body += self._coverage(state.coverage, at, state.code)
        return self._packet(to, state.related, "EBMStateResponse", body)

    def systems(self, to: str, states: Sequence[tuple[str, int]]) -> tuple[str, bytes]:
        """EBRDTState, each an EBRID and its StateCode."""
        now = _stamp(self._clock.wall())
        body: list[Node] = [("EBRDT", [("RptTime", now), ("EBRID", ebrid), ("StateCode", str(code))]) for ebrid, code in states]
        return self._packet(to, "", "EBRDTState", body)

    def heartbeat(self, to: str) -> tuple[str, bytes]:
        """ConnectionCheck; it needs no signature."""
        now = _stamp(self._clock.wall())
        return self._packet(to, "", "ConnectionCheck", [("RptTime", now)])

    def _coverage(self, coverage: Coverage, at: str, code: int) -> list[Node]:
        count = len(coverage.areas)
        covered: list[Node] = [
            ("CoverageRate", f"{coverage.rate:.2f}"),
            ("AreaCode", ",".join(coverage.areas)),
            ("ResBrdStat", f"1,1,{count},{4 * count}"),  # platforms, adapters, transmitters, terminals
        ]
        system: list[Node] = [
            ("RptTime", at),
            ("BrdSysInfo", f"({self._ebrid},2,1)"),
            ("StartTime", _stamp(coverage.since)),
            ("EndTime", coverage.until),
            ("FileURL", ""),
            *_code(code),
        ]
        item: list[Node] = [("EBRPS", [("EBRID", self._ebrid)]), ("EBRBS", system)]
        return [("Coverage", covered), ("ResBrdInfo", [("ResBrdItem", item)])]

    def _packet(self, to: str, related: str, kind: str, body: Sequence[Node]) -> tuple[str, bytes]:
        beat = kind == "ConnectionCheck"
        ebdid = f"01{self._ebrid}{0:016d}" if beat else f"10{self._ebrid}{next(self._numbers):016d}"
        now = self._clock.wall()
        document = self._document(ebdid, to, related, kind, body, now)
        members = [(f"EBDB_{ebdid}.xml", document)]
        if self._mode != "none" and not beat:
            signature = ebd_signature.write(document, ebdid, self._signer, self._mode, int(now.timestamp()))
            members.append((f"EBDS_EBDB_{ebdid}.xml", signature))
        return ebdid, pack(members)

    def _document(self, ebdid: str, to: str, related: str, kind: str, body: Sequence[Node], now: datetime) -> bytes:
        assert kind in FORMS, "not in the table of types"
        source: list[Node] = [("EBRID", self._ebrid), *([("URL", self._url)] if self._url else [])]
        parts: list[Node] = [("EBDVersion", "1"), ("EBDID", ebdid), ("EBDType", kind), ("SRC", source)]
        parts += [("DEST", [("EBRID", to)]), ("EBDTime", _stamp(now))]
        if related:
            parts.append(("RelatedEBD", [("EBDID", related)]))
        parts.append((kind, body))
        return write_xml(("EBD", parts), {"xs": XS})


def _code(code: int) -> list[Node]:
    return [("BrdStateCode", str(code)), ("BrdStateDesc", STATES[code])]


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
