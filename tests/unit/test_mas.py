"""云MAS as a channel: against the strict stand-in, and against far ends that misbehave on the wire."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.channels import http
from broadcast.channels.base import Answer, Call, Callback, Facts, Heard, Message, Purpose, Reply, Report, Verb
from broadcast.channels.mas import MAX_TEXT, MEANINGS, NOT_TRIED, Mas, MasOptions, Meaning, mac
from broadcast.delivery import State
from broadcast.errors import InDoubt, Misconfigured, Unavailable, Unsupported
from broadcast.simulator import Account, Config, Faults, Simulator

FACTS = Facts(
    alert_id=1,
    identifier="33052141600000_20230705162130",
    event_code="11B03",
    event="暴雨",
    level="orange",
    status="Actual",
    issuer="德清县气象台",
    headline="德清县气象台升级发布暴雨橙色预警",
    sent=datetime(2023, 7, 5, 8, 21, tzinfo=UTC),
    expires=datetime(2023, 7, 5, 14, 21, tzinfo=UTC),
)
ACCOUNT = Account(ec_name="测试单位", ap_id="ap1", secret_key="sk1", sign="SIGN1")
URL = "http://127.0.0.1:1"


def options(url: str = URL, **changes: object) -> MasOptions:
    given = {"url": url, "ec_name": "测试单位", "ap_id": "ap1", "secret_key": "sk1", "sign": "SIGN1"}
    return MasOptions.model_validate(given | changes)


def phone(n: int) -> str:
    return f"+86154{n:08d}"


def call(addresses: list[str], text: str = "暴雨橙色预警,莫干山镇请转移", purpose: Purpose = Purpose.ALARM) -> Call:
    messages = tuple(Message(seq, address, text) for seq, address in enumerate(addresses))
    return Call("1-sms-1", purpose, messages, FACTS)


class FarEnd:
    """Answers each request with the next of `script`: bytes to write, None to hang up, "hang" to say nothing."""

    def __init__(self, *script: bytes | str | None) -> None:
        self.script, self.requests = list(script), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.ended = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while self.script and not self.ended.is_set():
            try:
                line, _ = self.listener.accept()
            except OSError:
                return
            self.requests.append(read_request(line))
            answer = self.script.pop(0)
            if answer == "hang":
                self.ended.wait(20)
            elif answer:
                line.sendall(answer)
            line.close()

    def __enter__(self) -> FarEnd:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.listener.close()


def read_request(line: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length"))
    while len(body) < length:
        body += line.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(status: int = 200, body: bytes | dict[str, object] = b"", *headers: str) -> bytes:
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def said(word: str) -> bytes:
    return answer(200, {"rspcod": word, "msgGroup": "g1" if word == "success" else "", "success": word == "success"})


@pytest.fixture
def simulator():
    with Simulator(Config(account=ACCOUNT)) as running:
        yield running


# --- what is written ---------------------------------------------------------------------------------------------


def test_the_mac_of_the_documents_comes_out():
    parts = ["测试单位", "ap1", "sk1", "15400000001,15400000002", "暴雨红色预警", "SIGN1", ""]
    assert mac(parts) == "83dc3c0735b5f0e2bfa9fc598ae0fd59"


def test_the_request_is_base64_of_json_under_the_documented_names():
    with FarEnd(said("success")) as far:
        Mas(options(far.url, add_serial="01")).send(call([phone(1), phone(2)]))
    head, _, body = far.requests[0].partition(b"\r\n\r\n")
    fields = json.loads(base64.b64decode(body, validate=True))
    assert head.startswith(b"POST /sms/norsubmit HTTP/1.1\r\n")
    assert b"content-type: text/plain; charset=utf-8" in head.lower()
    assert fields == {
        "ecName": "测试单位",
        "apId": "ap1",
        "secretKey": "sk1",
        "mobiles": "15400000001,15400000002",
        "content": "暴雨橙色预警,莫干山镇请转移",
        "sign": "SIGN1",
        "addSerial": "01",
        "mac": mac(["测试单位", "ap1", "sk1", fields["mobiles"], fields["content"], "SIGN1", "01"]),
    }


def test_the_password_stays_out_of_the_body_where_the_contract_has_it_in_the_mac_only(simulator):
    with FarEnd(said("success")) as far:
        Mas(options(far.url, secret_in_body=False, content_type="application/json")).send(call([phone(1)]))
    head, _, body = far.requests[0].partition(b"\r\n\r\n")
    assert "secretKey" not in json.loads(base64.b64decode(body))
    assert b"application/json" in head
    assert Mas(options(simulator.url, secret_in_body=False)).send(call([phone(1)]))[0].state is State.ACCEPTED


@pytest.mark.parametrize(
    ("url", "path", "wanted"),
    [
        ("http://mas.example:8888", "", "http://mas.example:8888/sms/norsubmit"),
        ("https://mas.example:28888/", "", "https://mas.example:28888/sms/submit"),
        ("https://mas.example/province", "/sms/norsubmit", "https://mas.example/province/sms/norsubmit"),
    ],
)
def test_the_door_follows_the_scheme_unless_the_contract_names_another(url, path, wanted):
    assert Mas(options(url, path=path))._url == wanted  # an address that must not be called


def test_receipts_stand_in_the_order_of_the_messages_and_share_the_group(simulator):
    receipts = Mas(options(simulator.url)).send(call([phone(3), phone(1), phone(2)]))
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED] * 3
    assert {receipt.ref for receipt in receipts} == {simulator.received[0].msg_group}
    assert simulator.received[0].mobiles == ("15400000003", "15400000001", "15400000002")


def test_two_messages_to_one_phone_are_one_sms_and_share_its_receipt(simulator):
    receipts = Mas(options(simulator.url)).send(call([phone(1), phone(2), phone(1)]))
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED] * 3
    assert simulator.received[0].mobiles == ("15400000001", "15400000002")


@pytest.mark.parametrize("address", ["+85215400001", "15400000001", "+861540000001", "+86154000000012", "", "+86254000000"])
def test_what_is_no_mainland_mobile_is_rejected_alone(simulator, address):
    receipts = Mas(options(simulator.url)).send(call([phone(1), address]))
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED, State.REJECTED]
    assert simulator.received[0].mobiles == ("15400000001",)


def test_a_call_without_any_mobile_asks_nobody():
    receipts = Mas(options()).send(call(["+85215400001"]))
    assert [receipt.state for receipt in receipts] == [State.REJECTED]


def test_five_thousand_fit_where_the_contract_allows_them(simulator):
    receipts = Mas(options(simulator.url, per_call=5000)).send(call([phone(n) for n in range(5000)]))
    assert len(receipts) == 5000
    assert len(simulator.received) == 1


@pytest.mark.parametrize(
    "impossible",
    [
        call([phone(1)], purpose=Purpose.STOP),
        call([phone(1)], text=""),
        call([phone(1)], text="雨" * (MAX_TEXT + 1)),
        call([phone(1)], text="𠮷" * (MAX_TEXT // 2 + 1)),  # counted in UTF-16 units
        call([phone(1)], text="\ud83d"),  # half a character
        call([]),
        call([phone(n) for n in range(1001)]),
        Call("k", Purpose.ALARM, (Message(0, phone(1), "甲"), Message(1, phone(2), "乙")), FACTS),
    ],
)
def test_what_mas_cannot_do_is_said_before_anything_leaves(simulator, impossible):
    with pytest.raises(Unsupported):
        Mas(options(simulator.url)).send(impossible)
    assert simulator.received == ()


def test_a_stand_down_and_a_request_for_release_are_plain_texts(simulator):
    channel = Mas(options(simulator.url))
    for purpose in (Purpose.STAND_DOWN, Purpose.RELEASE):
        assert channel.send(call([phone(1)], text=purpose.value, purpose=purpose))[0].state is State.ACCEPTED


# --- the provider's words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("SystemBusy", Unavailable),
        ("QueueOverLimit", Unavailable),
        ("FlowOverLimit", Unavailable),
        ("RequestTooOften", Unavailable),
        ("RequestTimeout", InDoubt),
        ("InternalError", InDoubt),
        ("NeverHeardOf", InDoubt),
        ("IllegalMac", Misconfigured),
        ("IllegalSignId", Misconfigured),
        ("NoSignId", Misconfigured),
        ("NotLoadedSign", Misconfigured),
        ("InvalidUsrOrPwd", Misconfigured),
        ("IllegalIpAddress", Misconfigured),
        ("OverDailyMax", Misconfigured),
        ("InvalidMessage", Misconfigured),
        ("IllegalMsgfmt", Misconfigured),
        ("IllegalUseTemplate", Misconfigured),
    ],
)
def test_each_word_of_the_provider_says_what_to_do_next(simulator, word, error):
    simulator.faults = Faults(refuse=word)
    with pytest.raises(error, match=word):
        Mas(options(simulator.url)).send(call([phone(1), phone(2)]))


def test_every_word_of_the_documents_has_a_meaning():
    documented = """success IllegalMac IllegalSignId InvalidMessage InvalidUsrOrPwd NoSignId TooManyMobiles InvalidMobile
        SystemBusy IllegalIpAddress RequestTimeout QueueOverLimit FlowOverLimit IllegalUseTemplate OverDailyMax NotLoadedSign
        RequestTooOften InternalError IllegalMsgfmt"""
    assert set(MEANINGS) == set(documented.split())
    assert [word for word, meaning in MEANINGS.items() if meaning is Meaning.TAKEN] == ["success"]


def test_the_same_words_again_within_a_minute_are_due_again_after_a_minute(simulator):
    channel = Mas(options(simulator.url))
    channel.send(call([phone(1)]))
    with pytest.raises(Unavailable) as caught:
        channel.send(call([phone(1)]))
    assert caught.value.retry_after == 60


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"rspcod": 7}',
        b'{"rspcod": "success", "success": false}',
        b'{"rspcod": "15400000001"}',
        b"\xff\xfe",
        b"[" * 50_000,
    ],
)
def test_an_answer_without_meaning_is_a_doubt(body):
    with FarEnd(answer(200, body)) as far, pytest.raises(InDoubt) as caught:
        Mas(options(far.url)).send(call([phone(1)]))
    assert "154" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "ref"),
    [
        ({"rspcod": "success", "msgGroup": "0927"}, "0927"),
        ({"rspcod": "success", "mgsGroup": "0927", "success": True}, "0927"),
        ({"rspcod": "success", "msgGroup": 927, "success": "true"}, "927"),
        ({"rspcod": "success"}, ""),
        ({"rspcod": "success", "msgGroup": "x\x00y"}, ""),
        ({"rspcod": "success", "msgGroup": "9" * 65}, ""),
    ],
)
def test_what_was_taken_is_accepted_under_either_spelling_and_even_without_a_group(body, ref):
    with FarEnd(answer(200, body)) as far:
        [receipt] = Mas(options(far.url)).send(call([phone(1)]))
    assert (receipt.state, receipt.code, receipt.ref) == (State.ACCEPTED, "success", ref)


def test_a_refusal_in_the_providers_words_counts_whatever_the_http_status():
    with FarEnd(answer(500, {"rspcod": "IllegalMac"}), answer(400, {"rspcod": "SystemBusy"})) as far:
        channel = Mas(options(far.url))
        with pytest.raises(Misconfigured):
            channel.send(call([phone(1)]))
        with pytest.raises(Unavailable):
            channel.send(call([phone(1)]))


# --- one bad number ----------------------------------------------------------------------------------------------


@pytest.fixture
def picky():
    with Simulator(Config(account=Account("测试单位", "ap1", "sk1", "SIGN1", refuse_ending="77"))) as running:
        yield running


def test_one_bad_number_among_many_is_found_and_rejected_alone(picky):
    receipts = Mas(options(picky.url)).send(call([phone(n) for n in range(100, 178)]))
    assert [n for n, receipt in enumerate(receipts, 100) if receipt.state is State.REJECTED] == [177]
    assert [receipt.state for receipt in receipts].count(State.ACCEPTED) == 77
    taken = [mobile for one in picky.received for mobile in one.mobiles]
    assert sorted(taken) == [phone(n)[3:] for n in range(100, 177)]
    assert len(picky.received) <= 8  # log2(78) halves


def test_each_phone_keeps_the_group_that_it_was_taken_in(picky):
    addresses = [phone(n) for n in range(60, 90)]
    receipts = Mas(options(picky.url)).send(call(addresses))
    groups = {mobile: one.msg_group for one in picky.received for mobile in one.mobiles}
    assert [receipt.ref for receipt in receipts] == [groups.get(address[3:], "") for address in addresses]


def test_too_many_for_the_contract_is_halved_not_rejected():
    with Simulator(Config(account=Account("测试单位", "ap1", "sk1", "SIGN1", max_mobiles=30))) as simulator:
        receipts = Mas(options(simulator.url)).send(call([phone(n) for n in range(100)]))
        assert {receipt.state for receipt in receipts} == {State.ACCEPTED}
        assert sorted(len(one.mobiles) for one in simulator.received) == [25] * 4


def test_the_halving_is_bounded_and_the_rest_is_due_again(picky):
    receipts = Mas(options(picky.url, requests_per_call=4)).send(call([phone(n) for n in range(64, 80)]))
    states = [receipt.state for receipt in receipts]
    # 16 refused, 8 taken, 8 (with …77) refused, 4 taken: the bound is reached and four were never handed over.
    assert states == [State.ACCEPTED] * 12 + [State.DEFERRED] * 4
    assert receipts[-1] == NOT_TRIED


@pytest.mark.parametrize(
    ("breaks", "met"),
    [(None, State.IN_DOUBT), (said("SystemBusy"), State.DEFERRED), (said("OverDailyMax"), State.DEFERRED)],
)
def test_a_half_that_was_taken_is_not_sent_again_because_the_other_broke_off(breaks, met):
    with FarEnd(said("InvalidMobile"), said("InvalidMobile"), said("success"), breaks) as far:
        receipts = Mas(options(far.url)).send(call([phone(n) for n in range(8)]))
        assert len(far.requests) == 4
    # refused: 0-7, 0-3; taken: 0-1; broke off: 2-3; never tried: 4-7
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED] * 2 + [met] * 2 + [State.DEFERRED] * 4


def test_a_single_number_that_is_too_many_is_about_us():
    with FarEnd(said("TooManyMobiles")) as far, pytest.raises(Misconfigured):
        Mas(options(far.url)).send(call([phone(1)]))


@given(bad=st.sets(st.integers(0, 63), max_size=64))
@settings(max_examples=15, deadline=None)
def test_whichever_numbers_are_bad_exactly_they_are_rejected(bad):
    addresses = [phone(n * 100 + (77 if n in bad else 1)) for n in range(64)]
    with Simulator(Config(account=Account("测试单位", "ap1", "sk1", "SIGN1", refuse_ending="77"))) as picky:
        receipts = Mas(options(picky.url)).send(call(addresses))
        taken = [mobile for one in picky.received for mobile in one.mobiles]
    assert {n for n, receipt in enumerate(receipts) if receipt.state is State.REJECTED} == bad
    assert sorted(taken) == sorted(address[3:] for n, address in enumerate(addresses) if n not in bad)


# --- HTTP --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        (None, InDoubt),  # hung up after reading
        (b"HTTP/1.1 200", InDoubt),
        (b"SMTP ready\r\n\r\n", InDoubt),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", InDoubt),
        (answer(500), InDoubt),
        (answer(502, b"<html>"), InDoubt),
        (answer(503), InDoubt),
        (answer(503, b"", "Retry-After: soon"), InDoubt),
        (answer(408), InDoubt),
        (answer(503, b"", "Retry-After: 7"), Unavailable),
        (answer(429), Unavailable),
        (answer(401), Misconfigured),
        (answer(403, {"rspcod": "success"}), Misconfigured),
        (answer(404), Misconfigured),
        (answer(307, b"", "Location: http://127.0.0.1:1/sms/norsubmit"), Misconfigured),
    ],
)
def test_every_way_an_exchange_ends_says_whether_something_may_have_left(answered, error):
    with FarEnd(answered) as far, pytest.raises(error):
        Mas(options(far.url)).send(call([phone(1)]))
    assert len(far.requests) == 1


def test_no_answer_in_time_is_a_doubt_at_once_and_never_repeated():
    start = time.monotonic()
    with FarEnd("hang", said("success")) as far, pytest.raises(InDoubt):
        Mas(options(far.url, read_seconds=0.3)).send(call([phone(1)]))
    assert time.monotonic() - start < 2
    assert len(far.requests) == 1


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("Retry-After: 7", 7, 7),
        ("Retry-After: 99999999999999", 3600, 3600),
        ("Retry-After: {soon:%a, %d %b %Y %H:%M:%S} GMT", 30, 90),
        ("Retry-After: Wed, 05 Jul 2023 08:21:00 GMT", 0, 0),
    ],
    ids=["seconds", "far too many seconds", "a date to come", "a date gone by"],
)
def test_the_wait_that_the_provider_names_is_passed_on_within_an_hour(header, low, high):
    header = header.format(soon=datetime.now(UTC) + timedelta(seconds=90))
    with FarEnd(answer(429, b"", header)) as far, pytest.raises(Unavailable) as caught:
        Mas(options(far.url)).send(call([phone(1)]))
    assert low <= caught.value.retry_after <= high


def test_an_answer_that_trickles_for_ever_is_a_doubt():
    listener = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        line, _ = listener.accept()
        read_request(line)
        try:
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
            while True:
                line.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            line.close()

    threading.Thread(target=trickle, daemon=True).start()
    with listener, pytest.raises(InDoubt):
        Mas(options(f"http://127.0.0.1:{listener.getsockname()[1]}", read_seconds=0.3)).send(call([phone(1)]))


def test_an_answer_without_end_is_not_read_to_the_end():
    with FarEnd(answer(200, b"x" * (3 * http.MAX_RESPONSE_BYTES))) as far, pytest.raises(InDoubt, match="longer than"):
        Mas(options(far.url)).send(call([phone(1)]))


def test_a_name_that_nobody_has_and_a_closed_port_are_tried_again_and_leave_nothing():
    for url in ("http://mas.invalid", "http://127.0.0.1:1"):
        start = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            Mas(options(url)).send(call([phone(1)]))
        assert not isinstance(caught.value, InDoubt)
        assert time.monotonic() - start > 0.1  # two waits of 50 and 100 ms


def test_a_port_that_opens_in_time_is_reached_within_the_same_attempt():
    port = socket.create_server(("127.0.0.1", 0))
    number = port.getsockname()[1]
    port.close()
    started: list[Simulator] = []

    def open_late() -> None:
        time.sleep(0.04)
        started.append(Simulator(Config(port=number, account=ACCOUNT)))
        started[0].start()

    threading.Thread(target=open_late, daemon=True).start()
    receipts = Mas(options(f"http://127.0.0.1:{number}")).send(call([phone(1)]))
    started[0].stop()
    assert receipts[0].state is State.ACCEPTED


def test_a_handshake_that_fails_leaves_nothing():
    listener = socket.create_server(("127.0.0.1", 0))

    def speak_no_tls() -> None:
        for _ in range(3):
            line, _ = listener.accept()
            line.recv(1000)
            line.sendall(b"HTTP/1.1 400 X\r\n\r\n")
            line.close()

    threading.Thread(target=speak_no_tls, daemon=True).start()
    with listener, pytest.raises(Unavailable):
        Mas(options(f"https://127.0.0.1:{listener.getsockname()[1]}")).send(call([phone(1)]))


def test_busy_connections_leave_nothing():
    with FarEnd("hang") as far:
        client = http.open_client(connect_seconds=0.2, read_seconds=2, connections=1)

        def hold_the_only_one() -> None:
            with pytest.raises(InDoubt):
                post(client, far.url)

        blocker = threading.Thread(target=hold_the_only_one, daemon=True)
        blocker.start()
        while not far.requests:
            time.sleep(0.01)
        with pytest.raises(Unavailable, match="busy"):
            post(client, far.url)
        far.ended.set()
        blocker.join(5)


def post(client: httpx.Client, url: str) -> bytes:
    return http.post(client, url, content=b"x", headers={}, read=bytes)


def test_a_certificate_that_nobody_vouches_for_is_refused_and_its_ca_file_makes_it_good(tmp_path):
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = builder.add_extension(names, False).add_extension(x509.BasicConstraints(True, 0), True)
    public = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    both, ca = tmp_path / "server.pem", tmp_path / "ca.pem"
    both.write_bytes(key.private_bytes(*form) + public)
    ca.write_bytes(public)
    with Simulator(Config(account=ACCOUNT, certificate=both)) as simulator:
        with pytest.raises(Unavailable):
            Mas(options(simulator.url)).send(call([phone(1)]))
        assert Mas(options(simulator.url, ca_file=ca)).send(call([phone(1)]))[0].state is State.ACCEPTED
    (tmp_path / "broken.pem").write_text("not a certificate")
    with pytest.raises(Misconfigured, match="ca_file"):
        Mas(options(ca_file=tmp_path / "broken.pem"))


# --- reports -----------------------------------------------------------------------------------------------------


def heard(body: bytes, **changes: object) -> list[Heard]:
    return list(Mas(options(**changes)).read(Callback("/callback/mas", {}, body)))


def reports(body: bytes) -> list[Report]:
    found = heard(body)
    assert all(isinstance(one, Report) for one in found)
    return found


REPORT = {
    "reportStatus": "DELIVRD",
    "mobile": "15400000001",
    "submitDate": "20230705162130",
    "receiveDate": "20230705162134",
    "errorCode": "DELIVRD",
    "msgGroup": "0705162130001",
}


def test_a_report_of_success_is_a_delivered_receipt_in_beijing_time():
    [report] = reports(json.dumps(REPORT).encode())
    assert report.address == "+8615400000001"
    assert (report.receipt.state, report.receipt.code, report.receipt.ref) == (State.DELIVERED, "DELIVRD", "0705162130001")
    assert report.receipt.at == datetime(2023, 7, 5, 8, 21, 34, tzinfo=UTC)
    assert report.submitted == datetime(2023, 7, 5, 8, 21, 30, tzinfo=UTC)


def test_any_other_status_is_a_failure_that_keeps_their_code():
    failed = REPORT | {"reportStatus": "UNDELIV", "errorCode": "DB:0140"}
    [with_code, without] = reports(json.dumps([failed, failed | {"errorCode": ""}]).encode())
    assert (with_code.receipt.state, with_code.receipt.code) == (State.FAILED, "DB:0140")
    assert (without.receipt.state, without.receipt.code) == (State.FAILED, "UNDELIV")


@pytest.mark.parametrize("mobile", ["15400000001", "8615400000001", "+8615400000001", 15400000001])
def test_a_number_is_the_same_number_however_it_is_written(mobile):
    assert reports(json.dumps(REPORT | {"mobile": mobile}).encode())[0].address == "+8615400000001"


@pytest.mark.parametrize("when", ["", None, "2023-07-05 16:21", "20231305162130", "00010101000000", 20230705162130, "９" * 14])
def test_a_time_that_is_none_does_not_cost_the_report(when):
    [report] = reports(json.dumps(REPORT | {"receiveDate": when, "submitDate": when}).encode())
    assert (report.receipt.state, report.receipt.at, report.submitted) == (State.DELIVERED, None, None)


def test_a_code_is_kept_short_printable_and_without_numbers():
    [report] = reports(json.dumps(REPORT | {"errorCode": "坏\x00 15400000001" + "x" * 100}).encode())
    assert report.receipt.code.startswith("?? #")
    assert len(report.receipt.code) <= 40


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[null]",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
        b" " * (5 << 20),
        json.dumps([REPORT] * 10_001).encode(),
        json.dumps(REPORT | {"msgGroup": ""}).encode(),
        json.dumps(REPORT | {"msgGroup": "\ud800"}).encode(),
        json.dumps(REPORT | {"mobile": "1540000000"}).encode(),
        json.dumps(REPORT | {"mobile": ["15400000001"]}).encode(),
        json.dumps(REPORT | {"reportStatus": None}).encode(),
        json.dumps(REPORT | {"reportStatus": {"DELIVRD": 1}}).encode(),
    ],
)
def test_what_is_not_the_providers_is_a_value_error_without_a_number(body):
    with pytest.raises(ValueError) as caught:
        reports(body)
    assert "1540000000" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
REPLY = {"smsContent": "1", "mobile": "15400000001", "sendTime": "20230705162300", "addSerial": "0142"}
nearly = st.one_of(
    st.fixed_dictionaries({}, optional={name: st.just(value) | json_values for name, value in item.items()})
    for item in (REPORT, REPLY)
)


READER = Mas(options(serial_digits=2))


@given(body=st.binary(max_size=200) | (json_values | nearly | st.lists(nearly, max_size=3)).map(json.dumps).map(str.encode))
@settings(deadline=None)
def test_any_body_is_reports_or_a_value_error_and_what_is_kept_can_be_stored(body):
    try:
        found = READER.read(Callback("/callback/mas", {}, body))
    except ValueError:
        return
    for report in found:
        if isinstance(report, Reply):
            assert report.said.encode() is not None
            assert report.address == "" or report.address.startswith("+86")
            assert report.verb in (Verb.ACKNOWLEDGED, Verb.OTHER)
            continue
        kept = report.receipt.code + report.receipt.ref + report.address
        assert kept.isascii()
        assert kept.isprintable()
        for when in (report.receipt.at, report.submitted):
            assert when is None or when.astimezone(UTC)


def test_the_platform_hears_200():
    assert Mas(options()).answer(Callback("/", {}, b"")) == Answer(200, "text/plain", b"OK")


# --- replies -----------------------------------------------------------------------------------------------------


def test_a_reply_of_the_wanted_word_acknowledges_the_alert_that_its_number_ends_with():
    [reply] = heard(json.dumps(REPLY).encode(), add_serial="01", serial_digits=2)
    at = datetime(2023, 7, 5, 8, 23, tzinfo=UTC)
    assert reply == Reply(Verb.ACKNOWLEDGED, address="+8615400000001", alert_ending="42", said="1", at=at)


@pytest.mark.parametrize("serial", ["", "42", "014", "01420", "1069000142", None, ["0142"]])
def test_a_reply_to_a_number_of_another_shape_is_one_of_that_phone_alone(serial):
    [reply] = heard(json.dumps(REPLY | {"addSerial": serial}).encode(), add_serial="01", serial_digits=2)
    assert (reply.verb, reply.address, reply.alert_ending) == (Verb.ACKNOWLEDGED, "+8615400000001", "")


def test_any_other_words_are_kept_and_settle_nothing():
    [reply] = heard(json.dumps(REPLY | {"smsContent": "水已经进屋了"}).encode())
    assert (reply.verb, reply.said) == (Verb.OTHER, "水已经进屋了")


def test_reports_and_replies_may_share_a_push_and_a_notice_of_another_service_costs_neither():
    found = heard(json.dumps([REPORT, REPLY | {"mobile": "10086"}, REPLY | {"mobile": "8615400000002"}]).encode())
    assert [type(one) for one in found] == [Report, Reply, Reply]
    assert [one.address for one in found] == ["+8615400000001", "", "+8615400000002"]


def test_the_alerts_digits_are_appended_to_the_extension_and_signed_with_it(simulator):
    Mas(options(simulator.url, add_serial="7", serial_digits=3)).send(call([phone(1)]))
    assert simulator.received[0].add_serial == "7001"


# --- polls -------------------------------------------------------------------------------------------------------


def listed(*items: dict[str, str]) -> bytes:
    return answer(200, json.dumps(items, ensure_ascii=False).encode())


def polled(url: str, **changes: object) -> Mas:
    return Mas(options(url, collect_seconds=5, **changes))


def test_a_poll_empties_both_boxes_and_what_it_brought_is_read_like_a_push():
    kept: list[Callback] = []
    with FarEnd(listed(REPORT), listed(), listed(REPLY), answer(200)) as far:
        channel = polled(far.url)
        channel.collect(kept.append, 5)
    paths = [request.split(b" ", 2)[1] for request in far.requests]
    assert paths == [b"/sms/report"] * 2 + [b"/sms/deliver"] * 2
    account = json.loads(base64.b64decode(far.requests[0].partition(b"\r\n\r\n")[2], validate=True))
    assert account == {"ecName": "测试单位", "apId": "ap1", "secretKey": "sk1"}
    assert [(one.path, one.headers) for one in kept] == [("poll/report", {}), ("poll/deliver", {})]
    assert [type(one) for callback in kept for one in channel.read(callback)] == [Report, Reply]


def test_what_a_poll_brought_is_kept_before_the_next_poll():
    asked: list[int] = []
    with FarEnd(listed(REPORT), listed(REPORT), listed(), listed()) as far:
        polled(far.url).collect(lambda _: asked.append(len(far.requests)), 5)
    assert asked == [1, 2]


def test_where_it_cannot_be_kept_nothing_more_is_taken_out_of_the_box():
    def full(_: Callback) -> None:
        raise RuntimeError("no room")

    with FarEnd(listed(REPORT), listed(REPORT)) as far:
        with pytest.raises(RuntimeError, match="no room"):
            polled(far.url).collect(full, 5)
        assert len(far.requests) == 1


def test_a_box_that_never_empties_does_not_keep_the_other_from_being_looked_into():
    kept: list[Callback] = []
    with FarEnd(*[listed(REPORT)] * 2) as far:
        polled(far.url).collect(kept.append, 0)
    assert [one.path for one in kept] == ["poll/report", "poll/deliver"]


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        (said("SystemBusy"), Unavailable),
        (said("InternalError"), Unavailable),
        (said("NeverHeardOf"), Unavailable),
        (said("InvalidUsrOrPwd"), Misconfigured),
        (said("IllegalIpAddress"), Misconfigured),
        (answer(404, b"{}"), Misconfigured),
        (answer(401), Misconfigured),
        (answer(200, b"<html>"), InDoubt),
        (None, InDoubt),
    ],
)
def test_a_poll_that_is_not_answered_with_a_box_is_an_error_and_brings_nothing(answered, error):
    kept: list[Callback] = []
    with FarEnd(answered) as far, pytest.raises(error):
        polled(far.url).collect(kept.append, 5)
    assert kept == []


def test_success_without_a_list_is_an_empty_box():
    kept: list[Callback] = []
    with FarEnd(said("success"), listed()) as far:
        polled(far.url).collect(kept.append, 5)
    assert kept == []


def test_reports_and_replies_wait_at_the_stand_in_until_they_are_polled():
    config = Config(
        account=Account("测试单位", "ap1", "sk1", "SIGN1", reply_share=1.0, reply_seconds=1.0), report_delay_ms=50, speed=100
    )
    found: list[Heard] = []
    with Simulator(config) as simulator:
        channel = polled(simulator.url)
        [receipt] = channel.send(call([phone(1)], text="暴雨红色预警,请回复1"))
        until = time.monotonic() + 10
        while len(found) < 2 and time.monotonic() < until:
            channel.collect(lambda callback: found.extend(channel.read(callback)), 1)
            time.sleep(0.02)
    assert {type(one) for one in found} == {Report, Reply}
    assert {one.address for one in found} == {phone(1)}
    [report] = [one for one in found if isinstance(one, Report)]
    assert (report.receipt.ref, report.receipt.state) == (receipt.ref, State.DELIVERED)


def test_who_is_not_to_be_polled_is_not():
    with pytest.raises(Unsupported):
        Mas(options()).collect(lambda _: None, 1)


# --- each number its own text ------------------------------------------------------------------------------------


def own(*pairs: tuple[str, str]) -> Call:
    return Call("1-sms-1", Purpose.ALARM, tuple(Message(seq, address, text) for seq, (address, text) in enumerate(pairs)), FACTS)


def test_each_number_has_its_own_text_in_one_request():
    with FarEnd(said("success")) as far:
        receipts = Mas(options(far.url, one_text=False)).send(own((phone(1), "甲村请转移"), (phone(2), "乙村请转移")))
    fields = json.loads(base64.b64decode(far.requests[0].partition(b"\r\n\r\n")[2]))
    assert json.loads(fields["content"]) == {"15400000001": "甲村请转移", "15400000002": "乙村请转移"}
    assert fields["mobiles"] == ""
    assert fields["mac"] == mac(["测试单位", "ap1", "sk1", "", fields["content"], "SIGN1", ""])
    assert [(receipt.state, receipt.ref) for receipt in receipts] == [(State.ACCEPTED, "g1")] * 2


def test_the_stand_in_takes_such_a_request_and_a_bad_number_is_found_in_it_too(picky):
    receipts = Mas(options(picky.url, one_text=False)).send(own((phone(1), "甲"), (phone(77), "乙"), (phone(3), "丙")))
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED, State.REJECTED, State.ACCEPTED]
    taken = {mobile: one.text(mobile) for one in picky.received for mobile in one.mobiles}
    assert taken == {"15400000001": "甲", "15400000003": "丙"}


def test_a_second_text_for_the_same_phone_is_due_again_and_the_same_text_is_one_sms():
    with FarEnd(said("success")) as far:
        receipts = Mas(options(far.url, one_text=False)).send(own((phone(1), "甲"), (phone(1), "乙"), (phone(1), "甲")))
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED, State.DEFERRED, State.ACCEPTED]


def test_where_texts_differ_fewer_numbers_share_a_request():
    assert options(one_text=False).per_call == 999
    assert options(one_text=False, per_call=10).per_call == 10
    with pytest.raises(ValueError, match="999"):
        options(one_text=False, per_call=1000)


@pytest.mark.parametrize("text", ["", "雨" * (MAX_TEXT + 1), "\ud83d"])
def test_one_text_that_cannot_be_among_many_is_said_before_anything_leaves(simulator, text):
    with pytest.raises(Unsupported):
        Mas(options(simulator.url, one_text=False)).send(own((phone(1), "甲"), (phone(2), text)))
    assert simulator.received == ()


# --- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"per_call": 5001},
        {"per_call": 0},
        {"add_serial": "12a"},
        {"path": "/sms/tmpsubmit"},
        {"url": "ftp://mas.example"},
        {"secret_key": ""},
        {"sign": ""},
        {"ca_file": "/nowhere/ca.pem"},
        {"verify": False},
        {"serial_digits": 5},
        {"add_serial": "1" * 15, "serial_digits": 4},
        {"collect_seconds": -1},
    ],
)
def test_options_that_cannot_be_are_refused(changes):
    with pytest.raises(ValueError):
        options(**changes)
