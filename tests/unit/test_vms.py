"""Voice by IvrCall as a channel: against a strict little far end that checks signatures with the maker's own package."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import traceback
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import cast

import pytest
from alibabacloud_openapi_util.client import Client as IndependentSigner
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from broadcast.channels import Peer, open_peer
from broadcast.channels.base import Call, Callback, Facts, Limit, Message, Purpose, Reply, Report, Verb
from broadcast.channels.vms import CALLEE_LIMITS, MEANINGS, STATES, Meaning, Vms, VmsOptions, authorization
from broadcast.delivery import State
from broadcast.errors import ChannelError, InDoubt, InvalidFiles, Misconfigured, Unavailable, Unsupported

FACTS = Facts(
    alert_id=1,
    identifier="33052141600000_20230705162130",
    event_code="11B03",
    event="暴雨",
    level="red",
    status="Actual",
    issuer="德清县气象台",
    headline="暴雨红色预警",
    sent=datetime(2023, 7, 5, 8, 21, tzinfo=UTC),
    expires=datetime(2023, 7, 5, 14, 21, tzinfo=UTC),
)
KEY_ID, SECRET, CALLER, PHONE = "LTAI-test-key-id", "very-secret-测-key", "05720000000", "15400000001"
TEXT = "德清县气象台发布暴雨红色预警,请按一确认"
BEIJING = timezone(timedelta(hours=8))


class Aliyun:
    """The provider: refuses what its documents refuse, takes the rest; `says` overrides its next answers."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.says: list[tuple[int, bytes]] = []
        self.nonces: set[str] = set()
        self.silent = threading.Event()
        self.ended = threading.Event()
        far = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer = far.answer(self.command, self.path, dict(self.headers.items()), body)
                if far.silent.is_set():
                    far.ended.wait(10)
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Aliyun:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        headers = {name.lower(): value for name, value in headers.items()}
        self.headers.append(headers)
        if code := self.refusal(method, path, headers, body):
            return code if isinstance(code, tuple) else said(code, 400)
        if self.says:
            return self.says.pop(0)
        self.forms.append(dict(urllib.parse.parse_qsl(body.decode("ascii"), strict_parsing=True)))
        return said("OK", CallId=f"1000016165{len(self.forms):02d}^100001871490")

    def refusal(self, method: str, path: str, headers: dict[str, str], body: bytes) -> str | tuple[int, bytes]:
        if (method, path) != ("POST", "/"):
            return "InvalidAction.NotFound"
        if headers.get("content-type") != "application/x-www-form-urlencoded":
            return "UnsupportedHTTPMethod"
        if (headers["x-acs-action"], headers["x-acs-version"]) != ("IvrCall", "2017-05-25"):
            return "InvalidVersion"
        stamp = datetime.strptime(headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - stamp) > timedelta(minutes=15):
            return "InvalidTimeStamp.Expired"
        if headers["x-acs-signature-nonce"] in self.nonces:
            return "SignatureNonceUsed"
        self.nonces.add(headers["x-acs-signature-nonce"])
        if headers["x-acs-content-sha256"] != hashlib.sha256(body).hexdigest():
            return "SignatureDoesNotMatch"
        if f"Credential={KEY_ID}," not in headers["authorization"]:
            return said("InvalidAccessKeyId.NotFound", 404)
        if headers["authorization"] != independent(headers, body):
            return "SignatureDoesNotMatch"
        return ""


def independent(headers: dict[str, str], body: bytes) -> str:
    """What the maker's own package writes for the headers that the request says are signed."""
    names = re.search(r"SignedHeaders=([a-z0-9;-]+),", headers["authorization"])
    assert names is not None
    assert {name for name in headers if name == "host" or name.startswith("x-acs-")} <= set(names[1].split(";"))
    signed = {name: headers[name] for name in names[1].split(";")}
    request = SimpleNamespace(method="POST", pathname="/", query={}, headers=signed)
    payload = hashlib.sha256(body).hexdigest()
    return cast("str", IndependentSigner.get_authorization(request, "ACS3-HMAC-SHA256", payload, KEY_ID, SECRET))


def said(code: str, status: int = 200, **more: str) -> tuple[int, bytes]:
    answer = {"Code": code, "Message": f"号码{PHONE}", "RequestId": "D9CB3933-9FE3-4870-BA8E-2BEE91B69D23"} | more
    return status, json.dumps(answer).encode()


@pytest.fixture
def far() -> Iterator[Aliyun]:
    with Aliyun() as running:
        yield running


def given_options(url: str, **changes: object) -> dict[str, object]:
    options: dict[str, object] = {
        "url": url,
        "access_key_id": KEY_ID,
        "access_key_secret": SECRET,
        "caller": CALLER,
        "start_code": "TTS_1234",
        "confirmed_code": "TTS_1235",
    }
    return options | changes


def vms(url: str = "http://127.0.0.1:1", **changes: object) -> Vms:
    return Vms(VmsOptions.model_validate(given_options(url, **changes)))


def call(address: str = f"+86{PHONE}", text: str = TEXT, key: str = "7-10", purpose: Purpose = Purpose.ALARM) -> Call:
    return Call("7-10", purpose, (Message(10, address, text, key=key),), FACTS)


def report(**changes: object) -> dict[str, object]:
    """A VoiceReport as the documents show one."""
    item = {
        "status_code": "200000",
        "callee": PHONE,
        "ring_time": "2026-06-15 14:46:12",
        "duration": "10",
        "voice_type": "voice",
        "originate_time": "2026-06-15 14:46:10",
        "end_time": "2026-06-15 14:46:40",
        "call_id": "100001616500^100001871490",
        "caller": CALLER,
        "status_msg": "执行完成",
        "out_id": "7-10",
        "dtmf": "",
        "hangup_direction": "用户",
    }
    return item | changes


def pushed(*items: object) -> Callback:
    return Callback("/callbacks/voice", {}, json.dumps(list(items), ensure_ascii=False).encode())


# --- what is written ---------------------------------------------------------------------------------------------


def test_the_parameters_are_a_signed_form_and_the_url_holds_none_of_them(far):
    [receipt] = vms(far.url, bye_code="TTS_1236", timeout_ms=8000, play_times=2).send(call())
    assert (receipt.state, receipt.code, receipt.ref) == (State.ACCEPTED, "OK", "100001616501^100001871490")
    assert far.forms == [
        {
            "CalledShowNumber": CALLER,
            "CalledNumber": PHONE,
            "StartCode": "TTS_1234",
            "StartTtsParams": f'{{"text":"{TEXT}"}}',
            "MenuKeyMap.1.Key": "1",
            "MenuKeyMap.1.Code": "TTS_1235",
            "PlayTimes": "2",
            "Timeout": "8000",
            "ByeCode": "TTS_1236",
            "OutId": "7-10",
        }
    ]


@given(
    body=st.binary(max_size=200),
    host=st.sampled_from(["dyvmsapi.aliyuncs.com", "127.0.0.1:8080"]),
    nonce=st.text("0123456789abcdef", min_size=1, max_size=32),
    secret=st.text("abcABC019+/-_测", min_size=1, max_size=40),
)
def test_the_signature_is_the_one_of_the_makers_own_package(body, host, nonce, secret):
    headers = {
        "host": host,
        "content-type": "application/x-www-form-urlencoded",
        "x-acs-action": "IvrCall",
        "x-acs-version": "2017-05-25",
        "x-acs-date": "2026-06-15T06:46:12Z",
        "x-acs-signature-nonce": nonce,
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
    }
    request = SimpleNamespace(method="POST", pathname="/", query={}, headers=headers)
    theirs = IndependentSigner.get_authorization(request, "ACS3-HMAC-SHA256", headers["x-acs-content-sha256"], KEY_ID, secret)
    assert authorization("POST", "/", headers, KEY_ID, secret) == theirs


def test_no_two_requests_share_a_nonce(far):
    channel = vms(far.url)
    for n in range(5):
        channel.send(call(key=f"7-{n}"))
    assert len(far.nonces) == 5
    assert [form["OutId"] for form in far.forms] == [f"7-{n}" for n in range(5)]


def test_what_json_would_lengthen_is_written_as_it_is_spoken(far):
    text = '请"立即"转移\n莫干山镇\\庾村\x00' + "雨" * 200
    vms(far.url).send(call(text=text))
    parameters = far.forms[0]["StartTtsParams"]
    assert json.loads(parameters) == {"text": "请”立即”转移 莫干山镇/庾村 " + "雨" * 200}
    assert len(parameters) == len(text) + len('{"text":""}')


def test_a_text_of_the_stated_length_goes_out_whatever_is_in_it_and_stays_under_250_characters(far):
    channel = vms(far.url, variable="announcement")
    for character in ("雨", '"', "\\", "𠮷"):
        channel.send(call(text=character * 230))
    assert {len(form["StartTtsParams"]) for form in far.forms} == {249}


def test_a_request_for_release_is_a_call_like_any_other(far):
    assert vms(far.url).send(call(purpose=Purpose.RELEASE))[0].state is State.ACCEPTED


@pytest.mark.parametrize("address", ["+85215400001", "15400000001", "+861540000001", "+86154000000012", "", "+86254000000"])
def test_what_is_no_mainland_mobile_is_rejected_and_nobody_is_asked(far, address):
    assert [receipt.state for receipt in vms(far.url).send(call(address))] == [State.REJECTED]
    assert far.headers == []


@pytest.mark.parametrize(
    "impossible",
    [
        call(purpose=Purpose.STOP),
        call(purpose=Purpose.STAND_DOWN),
        call(text=""),
        call(text=" \n\x00"),
        call(text="雨" * 239),
        call(text="\ud83d"),
        call(key=""),
        call(key="1234567890-12345"),
        call(key="村-1"),
        replace(call(), messages=()),
        replace(call(), messages=call().messages * 2),
    ],
)
def test_what_vms_cannot_do_is_said_before_anything_leaves(far, impossible):
    with pytest.raises(Unsupported):
        vms(far.url).send(impossible)
    assert far.headers == []


def test_nobody_can_be_asked_and_nothing_fetched():
    with pytest.raises(Unsupported):
        vms().ask(call())
    with pytest.raises(Unsupported):
        vms().collect(lambda _callback: None, 1.0)


# --- what the provider says ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("Throttling", 400, Unavailable),
        ("Throttling.User", 400, Unavailable),
        ("Throttling.Api", 503, Unavailable),
        ("ServiceUnavailable", 503, InDoubt),
        ("isp.SYSTEM_ERROR", 200, InDoubt),
        ("SignatureNonceUsed", 400, InDoubt),
        ("NeverHeardOf", 200, InDoubt),
        ("SignatureDoesNotMatch", 400, Misconfigured),
        ("InvalidAccessKeyId.NotFound", 404, Misconfigured),
        ("InvalidAccessKeyId.Inactive", 400, Misconfigured),
        ("InvalidTimeStamp.Expired", 400, Misconfigured),
        ("MissingOutId", 400, Misconfigured),
        ("isp.RAM_PERMISSION_DENY", 200, Misconfigured),
        ("isv.AMOUNT_NOT_ENOUGH", 200, Misconfigured),
        ("isv.TTS_TEMPLATE_ILLEGAL", 200, Misconfigured),
        ("isv.DISPLAY_NUMBER_ILLEGAL", 200, Misconfigured),
        ("isv.NEVER_HEARD_OF", 200, Misconfigured),
    ],
)
def test_each_code_of_the_provider_says_what_to_do_next(far, code, status, error):
    far.says = [said(code, status)]
    with pytest.raises(error, match=re.escape(code)) as caught:
        vms(far.url).send(call())
    assert PHONE not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("isv.BUSINESS_LIMIT_CONTROL", State.DEFERRED),
        ("isv.VOICE_CALL_FAIL", State.DEFERRED),
        ("isv.MOBILE_NUMBER_ILLEGAL", State.REJECTED),
        ("isv.COMPLAINT_REJECT", State.REJECTED),
    ],
)
def test_what_is_about_one_number_is_a_receipt_of_that_number(far, code, state):
    far.says = [said(code)]
    [receipt] = vms(far.url).send(call())
    assert (receipt.state, receipt.code) == (state, code)


def test_only_ok_means_taken():
    assert [code for code, meaning in MEANINGS.items() if meaning is Meaning.TAKEN] == ["OK"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_account_by_status_rejects_nobody(far, status):
    far.says = [said("Forbidden.RAM", status)]
    with pytest.raises(Misconfigured):
        vms(far.url).send(call())


@pytest.mark.parametrize("changes", [{"access_key_secret": "another"}, {"access_key_id": "another"}])
def test_a_wrong_account_is_about_us(far, changes):
    with pytest.raises(Misconfigured):
        vms(far.url, **changes).send(call())
    assert far.forms == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"Code": 7}', b'{"Code": "isv.15400000001"}', b"[" * 50_000])
def test_an_answer_without_meaning_is_a_doubt(far, body):
    far.says = [(200, body)]
    with pytest.raises(InDoubt) as caught:
        vms(far.url).send(call())
    assert PHONE not in str(caught.value)


@pytest.mark.parametrize(("ref", "kept"), [("1^2", "1^2"), (12, "12"), (None, ""), ("x\x00", ""), ("9" * 65, ""), ({}, "")])
def test_what_was_taken_is_accepted_even_without_a_call_id(far, ref, kept):
    far.says = [(200, json.dumps({"Code": "OK", "CallId": ref}).encode())]
    [receipt] = vms(far.url).send(call())
    assert (receipt.state, receipt.ref) == (State.ACCEPTED, kept)


def test_where_nobody_answers_it_is_a_doubt_and_is_not_repeated(far):
    far.silent.set()
    with pytest.raises(InDoubt):
        vms(far.url, read_seconds=0.2).send(call())
    assert len(far.headers) == 1


def test_where_nobody_listens_certainly_nothing_left():
    for url in ("http://127.0.0.1:1", "http://vms.invalid"):
        with pytest.raises(Unavailable):
            vms(url).send(call())


# --- what comes back ---------------------------------------------------------------------------------------------


def test_a_call_heard_to_the_end_was_reached_and_nobody_acknowledged():
    [heard] = vms().read(pushed(report()))
    assert isinstance(heard, Report)
    assert (heard.key, heard.receipt.ref, heard.receipt.code) == ("7-10", "100001616500^100001871490", "200000")
    assert heard.receipt.state is State.DELIVERED
    assert heard.receipt.at == datetime(2026, 6, 15, 14, 46, 40, tzinfo=BEIJING)
    assert heard.submitted == datetime(2026, 6, 15, 14, 46, 10, tzinfo=BEIJING)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("200000", State.DELIVERED),
        ("200001", State.DELIVERED),
        ("200008", State.DELIVERED),
        ("200002", State.FAILED),
        ("200003", State.FAILED),
        ("200005", State.FAILED),
        ("200007", State.FAILED),
        ("200010", State.FAILED),
        ("200012", State.FAILED),
        ("200118", State.FAILED),
        ("200119", State.FAILED),
        ("200121", State.FAILED),
        ("200004", State.REJECTED),
        ("200011", State.REJECTED),
        ("299999", State.FAILED),
    ],
)
def test_each_status_has_its_state_and_none_is_an_acknowledgement(status, state):
    [heard] = vms().read(pushed(report(status_code=status)))
    assert isinstance(heard, Report)
    assert heard.receipt.state is state


def test_every_status_of_the_documents_is_in_the_table():
    documented = "200000 200001 200002 200003 200004 200005 200007 200008 200010 200011 200012 200121 200118 200119"
    assert set(STATES) == set(documented.split())


def test_the_wanted_key_is_an_acknowledgement_beside_the_report():
    first, second = vms().read(pushed(report(dtmf="1")))
    assert isinstance(first, Report) and first.receipt.state is State.DELIVERED
    assert second == Reply(
        Verb.ACKNOWLEDGED,
        key="7-10",
        ref="100001616500^100001871490",
        said="1",
        at=datetime(2026, 6, 15, 14, 46, 40, tzinfo=BEIJING),
    )


@pytest.mark.parametrize("dtmf", ["2", "11", "12", "#", "*1", "0"])
def test_any_other_key_is_kept_and_settles_nothing(dtmf):
    _, reply = vms().read(pushed(report(dtmf=dtmf)))
    assert isinstance(reply, Reply)
    assert (reply.verb, reply.said) == (Verb.OTHER, dtmf)


def test_the_wanted_key_is_the_contracts():
    channel = vms(key="5")
    verbs = [channel.read(pushed(report(dtmf=dtmf)))[1].verb for dtmf in ("5", "1")]
    assert verbs == [Verb.ACKNOWLEDGED, Verb.OTHER]


@pytest.mark.parametrize("status", ["200101", "200201", "200102", "200100"])
def test_a_call_that_goes_on_says_nothing_yet(status):
    item = {"call_id": "1^2", "status_code": status, "status_time": "2026-06-15 14:46:20", "out_id": "7-10", "dtmf": ""}
    assert vms().read(pushed(item)) == []


def test_a_key_pressed_during_the_call_counts_at_once():
    item = {"call_id": "1^2", "status_code": "300000", "status_time": "2026-06-15 14:46:20", "out_id": "7-10", "dtmf": "1"}
    [reply] = vms().read(pushed(item))
    assert reply == Reply(
        Verb.ACKNOWLEDGED, key="7-10", ref="1^2", said="1", at=datetime(2026, 6, 15, 14, 46, 20, tzinfo=BEIJING)
    )
    [wrong] = vms().read(pushed(item | {"dtmf": "9"}))
    assert isinstance(wrong, Reply) and wrong.verb is Verb.OTHER
    assert vms().read(pushed(item | {"dtmf": None})) == []


def test_many_reports_of_one_push_are_told_one_by_one():
    heard = vms().read(pushed(*(report(out_id=f"7-{n}", call_id=f"{n}^{n}") for n in range(500))))
    assert [one.key for one in heard if isinstance(one, Report)] == [f"7-{n}" for n in range(500)]
    assert vms().read(pushed()) == []


@pytest.mark.parametrize("out_id", [None, "", {"callType": 2}, "别的系统", "x" * 65])
def test_the_id_of_another_system_of_the_account_matches_nothing_of_ours(out_id):
    [heard] = vms().read(pushed(report(out_id=out_id)))
    assert isinstance(heard, Report)
    assert (heard.key, heard.receipt.ref) == ("", "100001616500^100001871490")


@pytest.mark.parametrize("broken", [None, "", "2026-13-45 00:00:00", "15.06.2026", 7])
def test_a_broken_time_does_not_hide_the_call(broken):
    [heard] = vms().read(pushed(report(end_time=broken, originate_time=broken)))
    assert isinstance(heard, Report)
    assert heard.receipt.at is None and heard.submitted is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"\xff",
        b"[1]",
        b"[[]]",
        b"[{}]",
        b"[" * 50_000,
        b" " * (4 << 20) + b"[]",
        json.dumps([report()] * 10_001).encode(),
        json.dumps([report(status_code="heard")]).encode(),
        json.dumps([report(status_code=True)]).encode(),
        json.dumps([report(call_id="")]).encode(),
        json.dumps([report(call_id="x\x00y")]).encode(),
        b'[{"status_code": ' + b"9" * 5000 + b', "call_id": "1"}]',
    ],
)
def test_foreign_bytes_are_a_value_error(body):
    with pytest.raises(ValueError):
        vms().read(Callback("/", {}, body))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
odd_items = st.fixed_dictionaries(
    {"status_code": st.sampled_from([*STATES, "300000", "200100"]) | json_values, "call_id": st.just("1^2") | json_values},
    optional={name: st.just("1") | json_values for name in ("out_id", "dtmf", "end_time", "status_time", "originate_time")},
)
READER = vms()


@given(st.binary(max_size=300) | st.lists(odd_items | json_values, max_size=3).map(lambda found: json.dumps(found).encode()))
@example(b'[{"status_code":"300000","call_id":"1^2","dtmf":"\\ud800"}]')
def test_any_bytes_are_values_or_a_value_error_and_always_answered(body):
    callback = Callback("/callbacks/voice", {}, body)
    assert json.loads(READER.answer(callback).body) == {"code": 0, "msg": "接收成功"}
    assert READER.answer(callback).status == 200
    try:
        heard = READER.read(callback)
    except ValueError:
        return
    for one in heard:
        assert isinstance(one, Report | Reply)
        ref = one.receipt.ref if isinstance(one, Report) else one.ref
        assert ref.isascii() and one.key.isascii() and repr(one).isprintable()
        if isinstance(one, Reply):
            one.said.encode()
            assert (one.verb is Verb.ACKNOWLEDGED) == (one.said == "1")


# --- the contract and the secrets --------------------------------------------------------------------------------


def peer(**changes: object) -> Peer:
    return open_peer(
        name="calls", channel="voice", protocol="vms", simulated=True, options=given_options("http://127.0.0.1:1", **changes)
    )


def test_the_providers_limits_per_callee_hold_until_a_contract_says_otherwise():
    assert peer().capabilities.callee_limits == CALLEE_LIMITS
    raised = [{"calls": 2, "seconds": 60, "below_red": 1}, {"calls": 10, "seconds": 3600, "below_red": 4}]
    assert peer(callee_limits=raised).capabilities.callee_limits == (Limit(2, 60, 1), Limit(10, 3600, 4))
    assert peer(callee_limits=[]).capabilities.callee_limits == ()
    for impossible in (
        {"calls": 0, "seconds": 60, "below_red": 0},
        {"calls": 1, "seconds": 0, "below_red": 1},
        {"calls": 1, "seconds": 60, "below_red": 2},
    ):
        with pytest.raises(InvalidFiles, match="callee_limits"):
            peer(callee_limits=[impossible])


@pytest.mark.parametrize(
    "changes",
    [{"access_key_secret": ""}, {"caller": "+86"}, {"key": "12"}, {"play_times": 4}, {"text_limit": 231}, {"verify": False}],
)
def test_an_option_that_cannot_be_is_refused(changes):
    with pytest.raises(ValidationError):
        vms(**changes)


def test_no_number_no_text_and_no_secret_is_ever_shown(far, caplog):
    caplog.set_level(logging.DEBUG)
    channel = vms(far.url, read_seconds=0.3)
    shown = [repr(channel), repr(peer()), repr(peer().options), repr(call()), repr(channel.send(call()))]
    shown.append(repr(channel.read(pushed(report(dtmf="1")))))
    far.says = [said("isv.OUT_OF_SERVICE"), said("Throttling"), said("NeverHeardOf"), (200, PHONE.encode())]
    tries = [(channel, call())] * 4 + [(channel, call(purpose=Purpose.STOP)), (channel, call(text=""))]
    for which, wanted in [*tries, (vms(), call()), (vms(far.url, access_key_secret="another-" + SECRET), call())]:
        with pytest.raises(ChannelError) as caught:
            which.send(wanted)
        shown.append("".join(traceback.format_exception(caught.value)))
    far.silent.set()
    with pytest.raises(InDoubt) as caught:
        channel.send(call())
    everything = "\n".join([*shown, "".join(traceback.format_exception(caught.value)), caplog.text])
    for hidden in (PHONE, TEXT, SECRET, CALLER):
        assert hidden not in everything


def test_many_threads_share_one_channel(far):
    channel, answers = vms(far.url), []

    def work(worker: int) -> None:
        answers.extend(channel.send(call(f"+86154{worker:08d}", key=f"{worker}-{n}"))[0] for n in range(10))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(far.forms) == len({form["OutId"] for form in far.forms}) == 60


def test_closing_gives_the_connections_back(far):
    channel = vms(far.url)
    channel.send(call())
    channel.close()
    with pytest.raises(RuntimeError):
        channel.send(call())
