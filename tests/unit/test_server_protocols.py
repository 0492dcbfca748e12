"""Whatever is posted to whichever far end's callback, kept first, is answered, and never with an error of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from broadcast.channels import PROTOCOLS, open_peer
from broadcast.channels.base import Callback
from broadcast.gateway import CountySettings, Gateway, House, open_ways
from broadcast.ledger import Ledger, Seal
from broadcast.ledger import tables as t
from broadcast.server import make_app

NOBODY = "http://127.0.0.1:9"
SIGNED = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
ZWDD = {"url": NOBODY, "app_key": "key-1", "app_secret": "s", "tenant_id": "1"}
OPTIONS: dict[str, dict[str, object]] = {  # class → the least that a [[peer]] must say
    "Loopback": {"file": "/nowhere/out.jsonl"},
    "Mas": {"url": NOBODY, "ec_name": "测试单位", "ap_id": "ap1", "secret_key": "sk1", "sign": "SIGN1"},
    "Smpp": {"host": "127.0.0.1", "port": 9, "system_id": "a", "password": "b"},
    "Vms": {
        "url": NOBODY, "access_key_id": "id", "access_key_secret": "s", "caller": "057100000000", "start_code": "TTS_1",
        "confirmed_code": "TTS_2",
    },
    "ZwddNotice": ZWDD,
    "ZwddDing": ZWDD | {"creator": "1"},
    "Grid": {"url": NOBODY, "secret": SIGNED},
    "Feed": {"platforms": {"测试平台": {"url": NOBODY, "secret": SIGNED}}},
    "Ebd": {
        "url": NOBODY, "ebrid": "33052100000000010101010000000"[:23], "peer_ebrid": "33052100000000020101010000000"[:23],
        "reply_url": NOBODY, "sender_name": "测试单位", "sign_mode": "none",
    },
}  # fmt: skip


def test_no_protocol_is_left_out():
    missing = [name for name, protocol in PROTOCOLS.items() if protocol.__name__ not in OPTIONS]

    assert not missing, f"say in OPTIONS what the least options of {missing} are"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A house with one far end of each protocol."""
    folder: Path = tmp_path_factory.mktemp("protocols")
    Seal.make(folder / "seal.key")
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}", Seal.from_file(folder / "seal.key"))
    ledger.migrate()
    peers = [
        open_peer(name=name, channel=min(protocol.serves), protocol=name, simulated=True, options=OPTIONS[protocol.__name__])
        for name, protocol in PROTOCOLS.items()
    ]
    county = CountySettings("德清县", "德清应急")
    made = House(ledger=ledger, county=county, sources=[], ways=open_ways(peers), templates=[], ring=lambda _lanes: True)
    yield Gateway(made)
    ledger.close()


@pytest.fixture(scope="module")
def app(gateway: Gateway) -> Starlette:
    return make_app(gateway, dict.fromkeys(PROTOCOLS, "secret"))


_SHAPES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["15400000001", "\x00", "\ud800", "1", "DELIVRD"])
)
_JSON = st.recursive(
    _SHAPES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4), max_leaves=8
)
_NAMES = (
    "mobile",
    "msgGroup",
    "reportStatus",
    "call_id",
    "out_id",
    "dtmf",
    "status_code",
    "type",
    "timestamp",
    "data",
    "taskId",
    "smsContent",
)
_NEARLY = st.dictionaries(st.sampled_from(_NAMES), _JSON, max_size=8)
_XML = st.sampled_from([b"<EBD>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><EBD>&a;</EBD>", b"<?xml version='1.0' encoding='GBK'?><EBD/>"])
_TAR = st.builds(
    lambda name, rest: name.ljust(257, b"\0") + b"ustar\x0000" + rest, st.binary(max_size=99), st.binary(max_size=700)
)
_PARTS = st.builds(lambda one: b"--x\r\n" + one + b"\r\n\r\n" + one + b"\r\n--x--", st.binary(max_size=80) | _XML | _TAR)
BODIES = (
    st.binary(max_size=300)
    | _XML
    | _TAR
    | _PARTS
    | (_NEARLY | st.lists(_NEARLY, max_size=3) | _JSON).map(lambda one: json.dumps(one).encode())
)
_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40).map(
    lambda v: v.encode("latin-1")
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "webhook-id", "webhook-timestamp", "webhook-signature", "content-encoding", "x-other"]),
    st.sampled_from([b"multipart/form-data; boundary=x", b"multipart/form-data", b"application/x-tar", b"application/json", b"v1,AAAA", b"1774000000"])
    | _VALUES,
    max_size=5,
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES, HEADERS)
def test_every_callback_is_kept_and_answered_never_with_a_500(gateway, app, caplog, body, headers):
    before = kept(gateway)

    answers = asyncio.run(posted_to_all(app, body, headers))

    assert {name: answer.status_code for name, answer in answers.items() if answer.status_code >= 500} == {}
    assert "broke" not in caplog.text and "could not" not in caplog.text
    assert kept(gateway) - before == len(PROTOCOLS)


async def posted_to_all(app: Starlette, body: bytes, headers: dict[str, bytes]) -> dict[str, httpx.Response]:
    """The same callback to the far end of every protocol, at once."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        asked = (client.post(f"/callbacks/{name}/secret", content=body, headers=list(headers.items())) for name in PROTOCOLS)
        return dict(zip(PROTOCOLS, await asyncio.gather(*asked), strict=True))


def kept(gateway: Gateway) -> int:
    with gateway.ledger.read() as tx:
        return tx.execute(sa.select(sa.func.count()).select_from(t.inbox)).scalar_one()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES, HEADERS)
def test_whatever_was_kept_is_understood_or_marked_and_breaks_no_channel(gateway, body, headers):
    shown = {name: value.decode("latin-1") for name, value in headers.items()}
    for name in PROTOCOLS:
        channel = gateway.house.peers[name].channel
        try:
            channel.read(Callback(f"/callbacks/{name}", shown, body))
        except ValueError:
            continue  # bytes that are not the provider's


def test_a_report_of_two_thirds_of_a_megabyte_is_kept_and_answered_by_all(gateway, app):
    """A loudspeaker platform's report of its terminals had 669,059 bytes."""
    answers = asyncio.run(posted_to_all(app, b"<EBD>" + b"x" * 669_059, {"content-type": b"application/x-tar"}))

    assert {answer.status_code for answer in answers.values()} <= {200, 401, 404}
