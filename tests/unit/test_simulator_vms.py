"""The stand-in of Aliyun's voice service, called by requests that the maker's own package signs."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from alibabacloud_openapi_util.client import Client as IndependentSigner
from hypothesis import given
from hypothesis import strategies as st
from Tea.request import TeaRequest

from broadcast.simulator.clock import Clock
from broadcast.simulator.faults import Faults
from broadcast.simulator.provider import Host, Request, Response
from broadcast.simulator.vms import REPUSH_SECONDS, Vms, is_taken
from broadcast.simulator.vms_rules import VmsAccount

TEXT = "德清县发布暴雨红色预警,请立即转移,收到请按1"
TEMPLATES = {"TTS_1": "${text}", "TTS_2": "已确认"}
QUIET = Faults()
NONCES = (f"nonce-{n}" for n in itertools.count())


@dataclass
class Push:
    url: str
    body: bytes
    after: float
    again: tuple[float, ...]
    taken: object

    @property
    def report(self) -> dict[str, str]:
        [report] = json.loads(self.body)
        return report


@dataclass
class World:
    """A provider, its clock, what it pushed and what it showed."""

    vms: Vms
    pushes: list[Push]
    shown: list[str]
    time: list[float] = field(default_factory=lambda: [0.0])

    def call(self, faults: Faults = QUIET, **changes: str | None) -> dict[str, str]:
        return told(self.vms.handle(signed(order(**changes)), faults))

    def reports(self) -> list[dict[str, str]]:
        return [push.report for push in sorted(self.pushes, key=lambda push: push.after)]


def world(**changes: object) -> World:
    pushes: list[Push] = []
    shown: list[str] = []
    time = [0.0]

    def push(url, body, headers, *, after, again=(), taken=None):
        assert headers["Content-Type"].startswith("application/json")
        pushes.append(Push(url, body, after, tuple(again), taken))

    account = {"callback": "http://127.0.0.1:1/vms", "templates": TEMPLATES, "press_ending": "01", "silent_ending": "02"}
    host = Host(Clock(1.0, lambda: time[0]), push, shown.append)
    return World(Vms(VmsAccount(**account | changes), host), pushes, shown, time)


def order(**changes: str | None) -> dict[str, str]:
    plain = {
        "CalledShowNumber": "15400000000",
        "CalledNumber": "15400000101",
        "StartCode": "TTS_1",
        "StartTtsParams": json.dumps({"text": TEXT}, ensure_ascii=False),
        "MenuKeyMap.1.Key": "1",
        "MenuKeyMap.1.Code": "TTS_2",
        "PlayTimes": "3",
        "OutId": "17-3",
    }
    return {name: value for name, value in {**plain, **changes}.items() if value is not None}


def signed(
    parameters: Mapping[str, str],
    *,
    in_query: bool = False,
    key: str = "simulated-key",
    secret: str = "simulated-secret",
    **headers: str,
) -> Request:
    """As the maker's package signs it, with parameters in a form body or in the query."""
    request = TeaRequest()
    request.method, request.pathname = "POST", "/"
    request.query = dict(parameters) if in_query else {}
    body = b"" if in_query else urlencode(parameters).encode()
    payload = hashlib.sha256(body).hexdigest()
    request.headers = {
        "host": "127.0.0.1:18080",
        "x-acs-action": "IvrCall",
        "x-acs-version": "2017-05-25",
        "x-acs-date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "x-acs-signature-nonce": next(NONCES),
        "x-acs-content-sha256": payload,
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    if not in_query:
        request.headers["content-type"] = "application/x-www-form-urlencoded"
    authorization = IndependentSigner.get_authorization(request, "ACS3-HMAC-SHA256", payload, key, secret)
    query = urlencode(parameters) if in_query else ""
    return Request("POST", "/", query, {**request.headers, "authorization": authorization, "accept": "*/*"}, body)


def changed(request: Request, **changes: object) -> Request:
    names = ("method", "path", "query", "headers", "body")
    return Request(**{name: changes.get(name, getattr(request, name)) for name in names})


def told(response: Response) -> dict[str, str]:
    return json.loads(response.body)


def refused(vms: Vms, request: Request) -> tuple[int, str]:
    response = vms.handle(request, QUIET)
    assert "CallId" not in told(response)
    return response.status, told(response)["Code"]


# --- at the gateway ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_query", [True, False])
def test_a_call_signed_by_the_makers_package_is_taken(in_query):
    here = world()
    answer = told(here.vms.handle(signed(order(), in_query=in_query), QUIET))
    assert answer["Code"] == "OK" and answer["CallId"] and answer["RequestId"]
    [received] = here.vms.received()
    assert (received["number"], received["text"], received["out_id"]) == ("15400000101", TEXT, "17-3")
    assert here.vms.opens("/") and not here.vms.opens("/sms/norsubmit")


def test_a_wrong_secret_a_changed_body_a_changed_query_or_header_is_a_wrong_signature():
    here, good, asked = world(), signed(order()), signed(order(), in_query=True)
    wrong = [
        signed(order(), secret="another"),
        changed(good, body=good.body.replace(b"15400000101", b"15400000102")),
        changed(asked, query=asked.query.replace("15400000101", "15400000102")),
        changed(good, headers={**good.headers, "host": "127.0.0.1:1"}),
        changed(good, headers={**good.headers, "x-acs-signature-nonce": "another"}),
        signed(order(), x_acs_content_sha256=hashlib.sha256(b"").hexdigest()),
        changed(good, headers={**good.headers, "x-acs-content-sha256": hashlib.sha256(b"").hexdigest()}),
    ]
    assert [refused(here.vms, request) for request in wrong] == [(400, "SignatureDoesNotMatch")] * len(wrong)
    assert here.vms.received() == []


def test_an_unknown_key_is_not_found():
    assert refused(world().vms, signed(order(), key="nobody")) == (404, "InvalidAccessKeyId.NotFound")


def test_every_public_header_must_be_among_the_signed_ones():
    here, good = world(), signed(order())
    unsigned = {**good.headers, "x-acs-security-token": "t"}
    assert refused(here.vms, changed(good, headers=unsigned)) == (400, "IncompleteSignature")
    asked = signed(order(), in_query=True)  # signed without a content-type
    assert refused(here.vms, changed(asked, headers={**asked.headers, "content-type": "text/plain"})) == (
        400,
        "IncompleteSignature",
    )
    for name in ("host", "x-acs-content-sha256", "x-acs-signature-nonce"):
        fewer = {header: value for header, value in good.headers.items() if header != name}
        assert refused(here.vms, changed(good, headers=fewer)) == (400, "IncompleteSignature")


@pytest.mark.parametrize(
    "authorization", ["", "ACS3-HMAC-SHA256", "ACS3-RSA-SHA256 Credential=a,SignedHeaders=b,Signature=c", "Basic YQ=="]
)
def test_a_request_without_a_whole_signature_is_refused(authorization):
    good = signed(order())
    assert refused(world().vms, changed(good, headers={**good.headers, "authorization": authorization})) == (
        400,
        "IncompleteSignature",
    )


def test_a_date_may_be_fifteen_minutes_off_and_no_more():
    here = world()

    def at(**off: float) -> Request:
        return signed(order(), x_acs_date=f"{datetime.now(UTC) + timedelta(**off):%Y-%m-%dT%H:%M:%SZ}")

    assert refused(here.vms, at(minutes=16)) == refused(here.vms, at(minutes=-16)) == (400, "InvalidTimeStamp.Expired")
    assert told(here.vms.handle(at(minutes=-14), QUIET))["Code"] == "OK"
    assert refused(here.vms, signed(order(), x_acs_date="2026-07-05 08:00:00")) == (400, "InvalidTimeStamp.Format")


def test_a_nonce_is_good_once():
    here, request = world(), signed(order())
    here.vms.handle(request, QUIET)
    assert refused(here.vms, request) == (400, "SignatureNonceUsed")


def test_other_actions_versions_and_methods_are_refused():
    here, good = world(), signed(order())
    assert refused(here.vms, signed(order(), x_acs_action="SendSms")) == (404, "InvalidAction.NotFound")
    assert refused(here.vms, signed(order(), x_acs_version="2019-01-01")) == (400, "InvalidVersion")
    assert refused(here.vms, changed(good, method="GET")) == (400, "UnsupportedHTTPMethod")


def test_more_than_a_hundred_calls_a_second_are_throttled():
    here = world()
    for n in range(100):
        assert here.call(CalledNumber=f"154{n:08d}")["Code"] == "OK"
    assert refused(here.vms, signed(order(CalledNumber="15499999999"))) == (400, "Throttling.User")
    here.time[0] = 1.1
    assert here.call(CalledNumber="15499999999")["Code"] == "OK"


# --- the order -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"CalledNumber": "12000000001"}, "isv.MOBILE_NUMBER_ILLEGAL"),
        ({"CalledNumber": "+8615400000101"}, "isv.MOBILE_NUMBER_ILLEGAL"),
        ({"CalledNumber": "15400000101,15400000102"}, "isv.MOBILE_NUMBER_ILLEGAL"),
        ({"CalledNumber": None}, "MissingCalledNumber"),
        ({"CalledShowNumber": None}, "MissingCalledShowNumber"),
        ({"CalledShowNumber": "15400000009"}, "isv.DISPLAY_NUMBER_ILLEGAL"),
        ({"StartCode": None}, "MissingStartCode"),
        ({"StartCode": "TTS_9"}, "isv.TTS_TEMPLATE_ILLEGAL"),
        ({"StartTtsParams": "{}"}, "isv.TEMPLATE_MISSING_PARAMETERS"),
        ({"StartTtsParams": None}, "isv.TEMPLATE_MISSING_PARAMETERS"),
        ({"StartTtsParams": "暴雨"}, "isv.INVALID_JSON_PARAM"),
        ({"StartTtsParams": '{"text": 1}'}, "isv.INVALID_JSON_PARAM"),
        ({"StartTtsParams": json.dumps({"text": "雨" * 238}, ensure_ascii=False)}, "isv.PARAM_LENGTH_LIMIT"),
        ({"PlayTimes": "0"}, "isv.INVALID_PARAMETERS"),
        ({"PlayTimes": "4"}, "isv.INVALID_PARAMETERS"),
        ({"OutId": "x" * 16}, "isv.INVALID_PARAMETERS"),
        ({"OutId": "六个汉字太长"}, "isv.INVALID_PARAMETERS"),
        ({"OutId": ""}, "isv.INVALID_PARAMETERS"),
        ({"MenuKeyMap.1.Key": None}, "MissingMenuKeyMap"),
        ({"MenuKeyMap.1.Key": "12"}, "isv.INVALID_PARAMETERS"),
        ({"MenuKeyMap.1.Key": None, "MenuKeyMap": '[{"Code":"TTS_2"}]'}, "isv.INVALID_JSON_PARAM"),
        ({"MenuKeyMap.1.Key": None, "MenuKeyMap": "[]"}, "MissingMenuKeyMap"),
    ],
)
def test_an_order_against_the_rules_is_refused_by_its_code(changes, code):
    here = world()
    assert here.call(**changes)["Code"] == code
    assert here.vms.received() == [] and here.pushes == []


@pytest.mark.parametrize(
    "changes",
    [
        {"StartTtsParams": json.dumps({"text": "雨" * 237}, ensure_ascii=False)},  # 249 characters
        {"OutId": "x" * 15},
        {"OutId": None, "PlayTimes": None},
        {"CalledNumber": "19400000101"},
        {"MenuKeyMap.1.Key": None, "MenuKeyMap": '[{"Key":"1","Code":"TTS_2","TtsParams":"{}"},{"Key":"2"}]'},
    ],
)
def test_an_order_at_the_edge_of_the_rules_is_taken(changes):
    assert len(json.dumps({"text": "雨" * 237}, ensure_ascii=False)) == 249
    assert world().call(**changes)["Code"] == "OK"


def test_without_templates_every_code_is_taken_and_its_values_are_spoken():
    here = world(templates={})
    here.call(StartCode="TTS_987")
    assert here.vms.received()[0]["text"] == TEXT


@given(st.dictionaries(st.sampled_from([*order(), "MenuKeyMap", "Timeout"]), st.text(max_size=300), max_size=9))
def test_whatever_is_asked_there_is_an_answer_with_a_code(parameters):
    try:
        request = signed({**order(), **parameters})
    except UnicodeEncodeError:
        return  # half a character cannot be sent
    assert told(world().vms.handle(request, QUIET))["Code"]


# --- how often one number may be called ------------------------------------------------------------------------------


def test_a_number_is_called_once_a_minute_five_times_an_hour_and_twenty_times_a_day():
    here, taken = world(), []
    for minute in range(24 * 60):
        here.time[0] = 60.0 * minute
        if here.call()["Code"] == "OK":
            taken.append(minute)
    assert taken[:6] == [0, 1, 2, 3, 4, 60] and len(taken) == 20
    here.time[0] = 86400.0
    assert here.call()["Code"] == "OK"


def test_a_second_call_within_the_minute_is_refused_and_other_numbers_are_not():
    here = world()
    here.call(CalledNumber="15400000102")  # not answered: counts too
    here.time[0] = 59.0
    assert here.call(CalledNumber="15400000102")["Code"] == "isv.BUSINESS_LIMIT_CONTROL"
    assert here.call(CalledNumber="15400000103")["Code"] == "OK"
    here.time[0] = 60.0  # what was refused is not counted
    assert here.call(CalledNumber="15400000102")["Code"] == "OK"


# --- how it ends ---------------------------------------------------------------------------------------------------


def test_a_pressed_key_is_reported_as_it_happens_and_in_the_final_report():
    here = world()
    call_id = here.call()["CallId"]
    reports = here.reports()
    assert [report["status_code"] for report in reports] == ["200101", "200201", "200102", "300000", "200100", "200000"]
    assert {(report["call_id"], report["out_id"]) for report in reports} == {(call_id, "17-3")}
    assert reports[3]["dtmf"] == "1"
    final = reports[-1]
    assert set(final) == {
        "status_code", "callee", "ring_time", "duration", "voice_type", "originate_time", "b_start_time", "end_time",
        "call_id", "caller", "status_msg", "out_id", "dtmf", "toll_type", "hangup_direction",
    }  # fmt: skip
    assert (final["dtmf"], final["callee"], final["caller"]) == ("1", "15400000101", "15400000000")
    times = [final[name] for name in ("originate_time", "ring_time", "b_start_time", "end_time")]
    assert times == sorted(times) and int(final["duration"]) > 0
    assert all(datetime.strptime(time, "%Y-%m-%d %H:%M:%S") for time in times)
    assert here.shown == [f"☎ 154****0101: {TEXT} → 按1"]


def test_a_silent_number_rings_and_is_never_answered():
    here = world()
    here.call(CalledNumber="15400000102")
    assert [report["status_code"] for report in here.reports()] == ["200101", "200201", "200100", "200003"]
    final = here.reports()[-1]
    assert (final["dtmf"], final["b_start_time"], final["duration"]) == ("", "", "0") and final["ring_time"]
    assert here.shown == [f"☎ 154****0102: {TEXT} → 无人接听"]


def test_somebody_may_listen_to_the_end_without_a_key_or_press_a_key_that_the_menu_has_not():
    here = world(hear_ending="03", wrong_ending="04")
    here.call(CalledNumber="15400000103")
    assert [report["status_code"] for report in here.reports()] == ["200101", "200201", "200102", "200100", "200000"]
    assert not any(report.get("dtmf") for report in here.reports())
    here.pushes.clear()
    here.call(CalledNumber="15400000104")
    assert here.reports()[-1]["dtmf"] not in ("", "1")


def test_the_shares_are_kept_and_the_same_seed_behaves_alike_whatever_the_order_of_calls():
    numbers = [f"1940000{n:04d}" for n in range(400)]

    def ended(numbers: list[str], seed: int) -> dict[str, str]:
        here = world(seed=seed, press_ending="", silent_ending="")
        for n, number in enumerate(numbers):
            here.time[0] = n / 50
            here.call(CalledNumber=number)
        return {str(one["number"]): f"{one['ended']}{one['dtmf']}" for one in here.vms.received()}

    first = ended(numbers, 7)
    assert first == ended(numbers[::-1], 7) and first != ended(numbers, 8)
    counts = Counter(first.values())
    assert 250 < counts["2000001"] < 310
    assert set(counts) == {"2000001", "200000", "200008", "200002", "200003", "200010"}


def test_who_did_not_answer_may_answer_the_next_call():
    here, first = world(press_ending=""), {}
    for minute in range(2):
        here.time[0] = 60.0 * minute
        for n in range(30):
            here.call(CalledNumber=f"194{n:08d}")
    for one in here.vms.received():
        first.setdefault(one["number"], []).append(one["dtmf"])
    assert ["", "1"] in first.values() and ["1", "1"] in first.values()


# --- pushing -------------------------------------------------------------------------------------------------------


def test_every_report_is_pushed_again_after_one_five_and_ten_minutes():
    here = world()
    here.call()
    assert {push.url for push in here.pushes} == {"http://127.0.0.1:1/vms"}
    assert {push.again for push in here.pushes} == {REPUSH_SECONDS} == {(60.0, 300.0, 600.0)}


@pytest.mark.parametrize(
    ("status", "body", "taken"),
    [
        (200, '{"code":0,"msg":"接收成功"}'.encode(), True),
        (200, b'{"code":1}', True),  # only that it is a number is looked at
        (200, b'{"code":"0"}', False),
        (200, b'{"code":true}', False),
        (200, b'{"msg":"ok"}', False),
        (200, b"ok", False),
        (200, b"[0]", False),
        (500, b'{"code":0}', False),
        (0, b"", False),
    ],
)
def test_only_http_200_with_a_number_as_code_ends_the_pushing(status, body, taken):
    assert is_taken(status, body) is taken


def test_the_counts_tell_what_was_taken_and_what_is_owed():
    here = world()
    here.call()
    assert here.vms.counts() == {"calls": 1, "numbers": 1, "reports_pushed": 0, "reports_owed": 6}
    for push in here.pushes[:5]:
        assert push.taken(200, b'{"code":0}')
    for _ in range(4):  # once, and after 1, 5 and 10 minutes
        assert not here.pushes[5].taken(500, b"")
    assert here.vms.counts() == {"calls": 1, "numbers": 1, "reports_pushed": 5, "reports_owed": 0}


def test_without_a_callback_nothing_is_pushed():
    here = world(callback="")
    assert here.call()["Code"] == "OK" and here.pushes == []


# --- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("isv.BUSINESS_LIMIT_CONTROL", 200),
        ("Throttling.User", 400),
        ("ServiceUnavailable", 503),
        ("InvalidAccessKeyId.NotFound", 404),
    ],
)
def test_a_code_can_be_told_to_be_answered(code, status):
    here = world()
    response = here.vms.handle(signed(order()), Faults(refuse=code))
    assert (response.status, told(response)["Code"]) == (status, code) and here.vms.received() == []


def test_reports_can_be_kept_back_or_doubled():
    here = world()
    here.call(Faults(no_reports=True))
    assert here.pushes == [] and len(here.shown) == 1
    here.call(Faults(duplicate_reports=True), CalledNumber="15400000201")
    assert len(here.pushes) == 12 and len({push.body for push in here.pushes}) == 6


def test_shuffled_the_final_report_comes_before_the_intermediate_ones():
    here = world()
    here.call(Faults(shuffle_reports=True))
    assert [report["status_code"] for report in here.reports()] == ["200000", "200100", "300000", "200102", "200201", "200101"]


def test_told_to_deliver_nothing_it_says_ok_and_no_phone_rings():
    here = world()
    assert here.call(Faults(delivers_nothing=True))["Code"] == "OK"
    assert here.pushes == [] and here.shown == [] and len(here.vms.received()) == 1


def test_a_share_of_the_calls_can_be_told_to_fail():
    here = world(press_share=1.0, press_ending="")
    for n in range(100):
        here.call(Faults(fail_share=0.5), CalledNumber=f"154{n:08d}")
    counts = Counter(one["ended"] for one in here.vms.received())
    assert set(counts) == {"200000", "200003", "200010"} and 30 < counts["200000"] < 70
