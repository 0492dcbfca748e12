"""Warnings and questions that many stories share."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import count

from broadcast.tiers.regions import CodeSystem

YELLOW, ORANGE, CANCEL = "1-rainstorm-yellow.xml", "2-rainstorm-orange.xml", "3-rainstorm-cancel.xml"
_NUMBERS = count(1)


def warning(
    story,
    *,
    severity: str = "Severe",
    area: str = "莫干山镇",
    codes: tuple[str, ...] = ("330521115",),
    status: str = "Actual",
    msg_type: str = "Alert",
    scope: str = "Public",
    references: str = "",
    identifier: str = "",
    expires: timedelta | None = timedelta(hours=6),
    response: str = "",
    event: tuple[str, str] = ("暴雨", "11B03"),
    sender: str = "德清县气象局",
    with_info: bool = True,
) -> bytes:
    """A warning in JSON, sent now by the story's clock."""
    now = story.clock()
    info = {
        "language": "zh-CN", "event": event[0], "eventCode": [{"valueName": "national", "value": event[1]}], "severity": severity,
        "urgency": "Immediate", "certainty": "Likely", "headline": f"{event[0]}预警",
        "area": [{"areaDesc": area, "geocode": [{"valueName": "NBS", "value": code} for code in codes]}],
    }  # fmt: skip
    if expires is not None:
        info["expires"] = (now + expires).isoformat()
    if response:
        info["responseType"] = [response]
    message = {
        "identifier": identifier or f"33052141600000_{next(_NUMBERS)}", "sender": sender, "senderCode": "33052141600000",
        "sent": now.isoformat(), "status": status, "msgType": msg_type, "scope": scope,
    }  # fmt: skip
    if scope != "Public":
        message["restriction"] = "内部"
    if references:
        message["references"] = f"{sender},{references},{now.isoformat()}"
    if with_info:
        message["info"] = [info]
    return json.dumps(message, ensure_ascii=False).encode()


def writes_our_codes(story) -> None:
    """Its sources write the statistics bureau's codes: else one of 莫干山镇 may mean a second town, which is warned as well."""
    house = story.gateway.house
    house.sources = [replace(one, code_system=CodeSystem.NBS) for one in house.sources]


def purposes(story, sent) -> set[str]:
    return {row["purpose"] for row in story.gateway.ledger.deliveries(alert_id=sent.alert_id)}
