"""EBD's words and numbers, theirs on the left, ours on the right. GD/J 080, 082 and 083-2018."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from ...delivery import State
from ..base import Number, Standing

# --- what we say ---------------------------------------------------------------------------------------------------

ACTUAL, CANCEL = 1, 2  # MsgType. Never 3, 4 or 5 (drills): some receivers play them as real (082 t.3, seen in the field)
SEVERITIES = {"red": 1, "orange": 2, "yellow": 3, "blue": 4, "": 0}
UNSPECIFIED_EVENT = "11000"  # "natural disaster, unspecified": for an alert without a code of its own

UNDERSTOOD, UNPARSED, INCOMPLETE, UNVERIFIED = 1, 2, 3, 4  # ResultCode, 083 t.33
RESULT_WORDS = {
    UNDERSTOOD: "接收解析及数据校验成功",
    UNPARSED: "数据包解析失败",
    INCOMPLETE: "内容缺失或该接口暂不支持",
    UNVERIFIED: "签名验证失败",
}

# --- what they say -------------------------------------------------------------------------------------------------

RESULTS = {
    0: State.ACCEPTED,  # received, not processed yet
    1: State.ACCEPTED,  # received, parsed, data check passed: understood, not broadcast
    2: State.FAILED,  # 2 to 5: no further processing (083)
    3: State.FAILED,
    4: State.FAILED,
    5: State.FAILED,
}

BROADCAST_STATES = {
    "0": State.ACCEPTED,  # not processed; also said when only some of the areas match and the rest is broadcast
    "1": State.ACCEPTED,  # waiting: for its StartTime, for a plan that fits, or for a person to approve
    "2": State.DELIVERED,  # broadcasting
    "3": State.DELIVERED,  # broadcast succeeded
    "4": State.FAILED,
    "5": State.CANCELLED,
}
UNKNOWN_STATE = State.ACCEPTED  # they know the EBM; whether it is on the air they did not say

STANDINGS = {
    "1": Standing.ONLINE,  # on, normal
    "2": Standing.OFFLINE,  # off, stopped
    "3": Standing.FAULT,
    "4": Standing.ONLINE,  # recovered
    "5": Standing.PLAYING,  # broadcasting
}  # an unknown StateCode says nothing

HEARTBEAT = "ConnectionCheck"
STATES = frozenset({"EBRPSState", "EBRASState", "EBRBSState", "EBRDTState"})
STORED = frozenset({"EBRPSInfo", "EBRSTInfo", "EBRASInfo", "EBRBSInfo", "EBRDTInfo"})
ASKED_OF_US = frozenset({"EBM", "EBMStateRequest", "OMDRequest"})  # what only a broadcasting platform could do
KINDS = (
    STATES | STORED | ASKED_OF_US | {HEARTBEAT, "EBMStateResponse", "EBMBrdLog", "EBDResponse", "EBDNotify"}
)  # EBDType, 083 t.4

OLD_NAMES = {  # of the 2016 draft and of builds that misspell
    "EBEID": "EBRID",
    "EBEAS": "EBRAS",
    "EBEBS": "EBRBS",
    "RelatedEBM": "RelatedInfo",
    "SentTime": "SendTime",
    "CoveragePercent": "CoverageRate",
    "BrdStateDes": "BrdStateDesc",
}

# --- profiles and ids ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Profile:
    """How one dialect differs in what we send."""

    ebrid_digits: int
    send_time: str  # the element's name


PROFILES = {
    "gdj2018": Profile(23, "SendTime"),
    "linkage2016": Profile(18, "SentTime"),  # 应急广播平台联动接口规范, draft 2016-08-24
}

_AREA = re.compile(r"[1-9][0-9]{11}")
_EBRID = re.compile(r"[1-6]([1-9][0-9]{11})[0-9]{10}")  # level, area, then type 4 and four numbers of two (080)
_EBRID_2016 = re.compile(r"[0-9]{4}([1-9][0-9]{11})[0-9]{2}")  # type 2, subtype 2, area, extension 2
_DAY = re.compile(r"2[0-9]{3}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")


def area_of(address: str, profile: str) -> str:
    """The 12-digit area code of a loudspeaker system's EBRID, or of an area code itself; "" for anything else."""
    if _AREA.fullmatch(address):
        return address
    match = _EBRID.fullmatch(address) or (_EBRID_2016.fullmatch(address) if profile == "linkage2016" else None)
    return match[1] if match else ""


def ebmid(ebrid: str, day: date, n: int) -> str:
    """082 t.2: platform, day, four digits. 0000 would mean "may be ignored", so n counts from 1."""
    return f"{ebrid}{day:%Y%m%d}{n:04d}"


def ebdid(ebrid: str, number: Number, part: int = 0) -> str:
    """The packet of a call: 10, our EBRID, then day, number and part (0 = the alarm, 1… = the cancels of a stop)."""
    return f"10{ebrid}{number.day:%Y%m%d}{number.n:04d}{part:04d}"


def heartbeat_ebdid(ebrid: str) -> str:
    """082 t.1: type 01, and always 16 zeros."""
    return f"01{ebrid}{0:016d}"


def ebmid_of(packet: str) -> str:
    """The EBMID of the alarm whose packet had this EBDID; "" for any other packet."""
    sequence = packet[-16:]
    is_alarm = packet.startswith("10") and sequence.endswith("0000") and _DAY.match(sequence) and sequence[8:12] != "0000"
    return packet[2:-4] if is_alarm else ""
