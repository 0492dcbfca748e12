"""A gateway with one 云MAS peer, and what that provider pushes to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from broadcast.channels import open_peer
from broadcast.gateway import CountySettings, Gateway, House, Way, open_ways
from broadcast.ledger import Ledger

PEER = "mas-1"
BEIJING = timezone(timedelta(hours=8))


def mas_ways() -> dict[str, Way]:
    """SMS over 云MAS, at an address where nobody answers: these stories are about what comes in."""
    options = {"url": "http://127.0.0.1:9", "ec_name": "测试单位", "ap_id": "ap1", "secret_key": "sk1", "sign": "SIGN1"}
    return open_ways([open_peer(name=PEER, channel="sms", protocol="mas", simulated=True, options=options)])


def mas_gateway(ledger: Ledger, clock: Callable[[], datetime]) -> Gateway:
    county = CountySettings("德清县", "德清应急")
    house = House(ledger=ledger, county=county, sources=[], ways=mas_ways(), templates=[], ring=lambda _lanes: True, clock=clock)
    return Gateway(house)


def a_report(address: str, ref: str, status: str = "DELIVRD", *, submitted: datetime | None = None, code: str = "") -> bytes:
    """One status report, as the provider pushes it."""
    report = {"mobile": address.removeprefix("+86"), "msgGroup": ref, "reportStatus": status, "errorCode": code or status}
    if submitted is not None:
        report["submitDate"] = f"{submitted.astimezone(BEIJING):%Y%m%d%H%M%S}"
    return json.dumps(report).encode()
