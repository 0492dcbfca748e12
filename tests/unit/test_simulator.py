"""The host of the stand-ins, and that of 云MAS, met by a customer who knows only the rules and shares no code with it."""

from __future__ import annotations

import ast
import base64
import hashlib
import http.client
import json
import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.simulator import Account, Config, Faults, Simulator
from broadcast.simulator.__main__ import main
from broadcast.simulator.clock import Clock
from broadcast.simulator.config import everybody, read_file
from broadcast.simulator.pusher import Pusher

ROOT = Path(__file__).parents[2]
ACCOUNT = Account(ec_name="测试单位", ap_id="ap1", secret_key="sk1", sign="SIGN1")
POLL = base64.b64encode(json.dumps({"ecName": "测试单位", "apId": "ap1", "secretKey": "sk1"}).encode())


class Customer:
    """Writes requests by the document: base64 of JSON, md5 over the plain concatenation."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        self.at, self.context = urlsplit(url), context

    def post(self, path: str, body: bytes, content_type: str = "text/plain") -> tuple[int, object]:
        if self.context:
            connection = http.client.HTTPSConnection(self.at.hostname, self.at.port, timeout=5, context=self.context)
        else:
            connection = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=5)
        try:
            connection.request("POST", path, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            body = answer.read()
            self.headers = answer.headers
            return answer.status, json.loads(body) if answer.headers.get_content_type() == "application/json" else body
        finally:
            connection.close()

    def get(self, path: str) -> object:
        connection = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=5)
        connection.request("GET", path)
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def send(self, mobiles: list[str], content: str = "暴雨红色预警", path: str = "/sms/norsubmit", **changes: object) -> str:
        return self.post(path, request(mobiles, content, **changes))[1]["rspcod"]


def request(mobiles: list[str], content: str, **changes: object) -> bytes:
    fields = {
        "ecName": "测试单位",
        "apId": "ap1",
        "secretKey": "sk1",
        "mobiles": ",".join(mobiles),
        "content": content,
        "sign": "SIGN1",
        "addSerial": "",
    }
    fields |= {name: value for name, value in changes.items() if name != "mac"}
    order = ("ecName", "apId", "secretKey", "mobiles", "content", "sign", "addSerial")
    plain = "".join(str(fields[name]) for name in order)
    fields["mac"] = changes.get("mac", hashlib.md5(plain.encode()).hexdigest())
    return base64.b64encode(json.dumps(fields).encode())


def numbers(count: int, start: int = 0) -> list[str]:
    return [f"154{n:08d}" for n in range(start, start + count)]


@pytest.fixture
def simulator():
    with Simulator(Config(account=ACCOUNT, report_delay_ms=0)) as running:
        yield running


@pytest.fixture
def customer(simulator) -> Customer:
    return Customer(simulator.url)


class Callbacks:
    """A customer's callback URL."""

    def __init__(self) -> None:
        self.bodies: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        self.statuses: list[int] = []  # answered in this order, then 200
        self.connections: set[object] = set()
        self.answers = threading.Event()  # while it is clear, nobody is answered
        self.answers.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.connections.add(self.client_address)
                outer.bodies.put(json.loads(body) | {"_path": self.path})
                outer.answers.wait(10)
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/callback/secret-path"

    def take(self, count: int) -> list[dict[str, str]]:
        return [self.bodies.get(timeout=10) for _ in range(count)]


@pytest.fixture
def callbacks():
    running = Callbacks()
    yield running
    running.server.shutdown()
    running.server.server_close()


def test_a_request_by_the_book_is_taken_and_can_be_asked_for(customer):
    status, answer = customer.post("/sms/norsubmit", request(numbers(2), "暴雨红色预警"))
    assert (status, answer["rspcod"], answer["success"]) == (200, "success", True)
    [received] = customer.get("/_received/mas")
    assert customer.get("/_received") == {"mas": [received]}
    assert received["mobiles"] == numbers(2)
    assert (received["msgGroup"], received["content"]) == (answer["msgGroup"], "暴雨红色预警")
    assert datetime.fromisoformat(received["at"]).utcoffset() == timedelta(hours=8)


def test_the_golden_mac_of_the_documents_is_taken(customer):
    mac = "83dc3c0735b5f0e2bfa9fc598ae0fd59"
    assert customer.send(["15400000001", "15400000002"], mac=mac) == "success"
    assert customer.send(["15400000003", "15400000002"], mac=mac) == "IllegalMac"
    assert customer.send(["15400000001", "15400000002"], mac=mac.upper()) == "IllegalMac"


def test_both_content_types_in_use_are_taken_and_no_other(customer):
    assert customer.post("/sms/norsubmit", request(numbers(1), "甲"), "application/json; charset=utf-8")[0] == 200
    assert customer.post("/sms/norsubmit", request(numbers(1), "乙"), "application/x-www-form-urlencoded")[0] == 415


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"ecName": "别的单位"}, "InvalidUsrOrPwd"),
        ({"apId": "ap2"}, "InvalidUsrOrPwd"),
        ({"secretKey": "wrong"}, "InvalidUsrOrPwd"),
        ({"mac": ""}, "IllegalMac"),
        ({"sign": ""}, "NoSignId"),
        ({"sign": "【德清应急】"}, "IllegalSignId"),
        ({"addSerial": "1234567890123"}, "InvalidMessage"),
        ({"addSerial": "ab"}, "InvalidMessage"),
        ({"content": ""}, "InvalidMessage"),
        ({"content": "雨" * 495}, "InvalidMessage"),
        ({"content": "【德清应急】暴雨"}, "InvalidMessage"),
        ({"content": None}, "IllegalMsgfmt"),
        ({"mobiles": "1540000001"}, "InvalidMobile"),
        ({"mobiles": "8615400000001"}, "InvalidMobile"),
        ({"mobiles": "+8615400000001"}, "InvalidMobile"),
        ({"mobiles": "25400000001"}, "InvalidMobile"),
        ({"mobiles": "10000000001"}, "InvalidMobile"),  # not of the two prefixes that it takes
        ({"mobiles": "15400000001,15400000001"}, "InvalidMobile"),
        ({"mobiles": "15400000001,"}, "InvalidMobile"),
        ({"mobiles": ",".join(numbers(5001))}, "TooManyMobiles"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_its_word_and_not_kept(customer, simulator, changes, word):
    given = {"mobiles": "15400000001", "content": "暴雨红色预警"} | changes
    body = request(given.pop("mobiles").split(","), given.pop("content"), **given)
    assert customer.post("/sms/norsubmit", body)[1]["rspcod"] == word
    assert simulator.received == ()


def test_five_thousand_numbers_and_the_longest_text_are_taken(customer, simulator):
    assert customer.send(numbers(5000), "雨" * 494) == "success"
    assert len(simulator.received[0].mobiles) == 5000


def test_a_password_may_be_left_out_of_the_body_but_not_out_of_the_mac(customer):
    fields = json.loads(base64.b64decode(request(numbers(1), "甲")))
    del fields["secretKey"]
    body = base64.b64encode(json.dumps(fields).encode())
    assert customer.post("/sms/norsubmit", body)[1]["rspcod"] == "success"


def test_the_same_words_to_the_same_number_are_refused_for_a_minute():
    account = Account("测试单位", "ap1", "sk1", "SIGN1")
    with Simulator(Config(account=account, speed=200)) as simulator:  # a minute in 0.3 s
        customer = Customer(simulator.url)
        assert customer.send(numbers(2)) == "success"
        assert customer.send(numbers(2, start=1)) == "RequestTooOften"
        assert customer.send(numbers(2, start=2)) == "success"
        assert customer.send(numbers(2), "别的话") == "success"
        time.sleep(0.35)
        assert customer.send(numbers(2, start=1)) == "success"
    assert [len(one.mobiles) for one in simulator.received] == [2, 2, 2, 2]


@given(body=st.binary(max_size=300) | st.from_type(type(None)).map(lambda _: base64.b64encode(b"[" * 90_000)))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_get_an_answer_and_the_stand_in_lives_on(customer, body):
    status, answer = customer.post("/sms/norsubmit", body)
    assert status == 200
    assert answer["rspcod"] in {"IllegalMsgfmt", "InvalidUsrOrPwd"}


def test_each_number_is_reported_on_its_own_to_the_callback(callbacks):
    with Simulator(Config(account=ACCOUNT, callback=callbacks.url, report_delay_ms=50)) as simulator:
        Customer(simulator.url).send(numbers(30))
        reports = callbacks.take(30)
        group = simulator.received[0].msg_group
    assert sorted(report["mobile"] for report in reports) == numbers(30)
    assert {(r["reportStatus"], r["msgGroup"], r["_path"]) for r in reports} == {("DELIVRD", group, "/callback/secret-path")}
    submitted = datetime.strptime(reports[0]["submitDate"] + "+0800", "%Y%m%d%H%M%S%z")
    assert abs(datetime.now(UTC) - submitted) < timedelta(seconds=10)
    assert len(callbacks.connections) <= 4  # kept alive


def test_a_report_that_was_not_answered_with_200_is_pushed_again(callbacks):
    callbacks.statuses = [500, 302]
    with Simulator(Config(account=ACCOUNT, callback=callbacks.url, report_delay_ms=0, speed=1000)) as simulator:
        Customer(simulator.url).send(numbers(1))
        assert [report["mobile"] for report in callbacks.take(3)] == numbers(1) * 3
        wait_for(lambda: simulator.counts()["reports_pushed"] == 1)
        assert simulator.counts()["reports_owed"] == 0


def test_reports_nobody_took_are_kept_for_a_poll(callbacks):
    callbacks.statuses = [500] * 4
    with Simulator(Config(account=ACCOUNT, callback=callbacks.url, report_delay_ms=0, speed=10_000)) as simulator:
        customer = Customer(simulator.url)
        customer.send(numbers(1))
        wait_for(lambda: simulator.counts()["reports_kept"] == 1)
        assert [report["mobile"] for report in customer.post("/sms/report", POLL)[1]] == numbers(1)
        assert customer.post("/sms/report", POLL)[1] == []
        wrong = base64.b64encode(json.dumps({"ecName": "测试单位", "apId": "ap1"}).encode())
        assert customer.post("/sms/report", wrong)[1]["rspcod"] == "InvalidUsrOrPwd"


def test_a_part_of_the_phones_can_be_off_and_reports_can_come_twice(callbacks):
    with Simulator(Config(account=ACCOUNT, callback=callbacks.url, report_delay_ms=0)) as simulator:
        customer = Customer(simulator.url)
        assert customer.post("/_faults", b'{"fail_share": 0.5, "duplicate_reports": true}')[0] == 200
        customer.send(numbers(100))
        reports = callbacks.take(200)
    failed = {report["mobile"] for report in reports if report["reportStatus"] != "DELIVRD"}
    assert 20 < len(failed) < 80
    assert sorted(report["mobile"] for report in reports) == sorted(numbers(100) * 2)


def test_reports_can_stay_away(callbacks):
    with Simulator(
        Config(account=ACCOUNT, callback=callbacks.url, report_delay_ms=0, faults=Faults(no_reports=True))
    ) as simulator:
        assert Customer(simulator.url).send(numbers(3)) == "success"
        counts = Customer(simulator.url).get("/_counts")["mas"]
    assert (counts["calls"], counts["numbers"]) == (1, 3)
    assert {counts[name] for name in ("reports_pushed", "reports_owed", "reports_kept", "pushes_owed", "pushes_taken")} == {0}


def test_it_can_be_told_to_refuse_and_to_fail_for_a_number_of_requests(customer, simulator):
    customer.post("/_faults", b'{"refuse": "SystemBusy", "times": 2}')
    assert [customer.send(numbers(1)) for _ in range(3)] == ["SystemBusy", "SystemBusy", "success"]
    customer.post("/_faults", b'{"http_status": 503, "retry_after": 7, "times": 1}')
    assert customer.post("/sms/norsubmit", request(numbers(1), "甲"))[0] == 503
    assert customer.headers["Retry-After"] == "7"
    assert len(simulator.received) == 1


def test_it_can_be_told_to_be_slow(customer):
    customer.post("/_faults", b'{"latency_ms": 150}')
    start = time.monotonic()
    customer.send(numbers(1))
    assert time.monotonic() - start >= 0.15


@pytest.mark.parametrize(("when", "taken"), [("before", 0), ("after", 1)])
def test_it_can_be_told_to_hang_up_before_or_after_taking(customer, simulator, when, taken):
    simulator.faults = Faults(close_without_answer=when)
    with pytest.raises((http.client.HTTPException, OSError)):
        customer.send(numbers(1))
    assert len(simulator.received) == taken


def test_it_can_be_told_to_take_and_never_answer_and_still_stops(simulator):
    simulator.faults = Faults(accept_and_never_answer=True)
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(simulator.url).port, timeout=0.4)
    connection.request("POST", "/sms/norsubmit", request(numbers(1), "甲"), {"Content-Type": "text/plain"})
    with pytest.raises(TimeoutError):
        connection.getresponse()
    assert len(simulator.received) == 1


@pytest.mark.parametrize(
    "body",
    [b'{"latency": 1}', b'{"close_without_answer": "sometimes"}', b'{"fail_share": 2}', b"[1]", b"{", b'{"times": -1}'],
)
def test_a_fault_that_it_does_not_know_is_an_error_that_says_so(customer, simulator, body):
    status, answer = customer.post("/_faults", body)
    assert status == 400
    assert answer["error"]
    assert simulator.faults == Faults()


def test_only_the_doors_of_the_document_are_open(customer):
    assert customer.post("/sms/submit", request(numbers(1), "甲"))[0] == 404  # that is the HTTPS gateway's
    assert customer.post("/sms/tmpsubmit", b"")[0] == 404


def test_a_request_without_an_end_or_too_long_is_refused(simulator):
    port = urlsplit(simulator.url).port
    for head, status in (("", b"411"), ("Content-Length: 99999999\r\n", b"413"), ("Content-Length: -1\r\n", b"411")):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(f"POST /sms/norsubmit HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
            assert line.recv(100).split()[1] == status


def test_over_https_the_door_is_submit(tmp_path):
    pem = certificate(tmp_path)
    with Simulator(Config(account=ACCOUNT, certificate=pem)) as simulator:
        customer = Customer(simulator.url, ssl.create_default_context(cafile=str(pem)))
        assert customer.send(numbers(1), path="/sms/submit") == "success"
        assert customer.post("/sms/norsubmit", request(numbers(1), "甲"))[0] == 404


def test_replies_come_from_those_who_were_asked_and_carry_the_extension(callbacks):
    account = replace(ACCOUNT, reply_share=0.5, reply_seconds=0.01)
    with Simulator(
        Config(account=account, callback=callbacks.url, report_delay_ms=0, faults=Faults(no_reports=True))
    ) as simulator:
        customer = Customer(simulator.url)
        customer.send(numbers(100), "不用回答")
        customer.send(numbers(100), "暴雨红色预警,收到请回复1", addSerial="77")
        wait_for(lambda: simulator.counts()["replies_pushed"] >= 20 and not simulator.counts()["replies_owed"])
        replies = callbacks.take(simulator.counts()["replies_pushed"])
    assert {(reply["smsContent"], reply["addSerial"]) for reply in replies} == {("1", "77"), ("收到", "77")}
    assert len({reply["mobile"] for reply in replies}) == len(replies) < 80
    assert all(datetime.strptime(reply["sendTime"], "%Y%m%d%H%M%S") for reply in replies)


def test_the_same_phones_answer_each_time_and_a_phone_that_is_off_does_not():
    account = replace(ACCOUNT, reply_share=0.3, reply_seconds=0)

    def answering(faults: Faults) -> set[str]:
        with Simulator(Config(account=account, report_delay_ms=0, faults=faults)) as simulator:
            customer = Customer(simulator.url)
            customer.send(numbers(50), "收到请回复1")
            wait_for(lambda: simulator.counts()["reports_kept"] == 50 and not simulator.counts()["replies_owed"])
            return {reply["mobile"] for reply in customer.post("/sms/deliver", POLL)[1]}

    assert answering(Faults()) == answering(Faults())
    assert answering(Faults(fail_share=1)) == set()


def test_each_number_can_have_a_text_of_its_own(customer, simulator):
    texts = {"15400000001": "甲村转移", "15400000002": "乙村转移"}
    assert customer.send([], json.dumps(texts, ensure_ascii=False)) == "success"
    [received] = customer.get("/_received/mas")
    assert (received["mobiles"], received["texts"]) == (list(texts), texts)
    assert simulator.received[0].text("15400000002") == "乙村转移"
    assert customer.send([], json.dumps(texts)) == "RequestTooOften"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (json.dumps({f"154{n:08d}": "甲" for n in range(1000)}), "TooManyMobiles"),
        ('{"15400000001": "甲", "15400000001": "乙"}', "InvalidMobile"),
        ('{"1' + '3800000001": "甲"}', "InvalidMobile"),
        ('{"15400000001": 1}', "InvalidMessage"),
        ('{"15400000001": ""}', "InvalidMessage"),
        ("{}", "InvalidMobile"),
        ("[1]", "InvalidMobile"),
        ("暴雨红色预警", "InvalidMobile"),
        ("[" * 90_000, "InvalidMobile"),
    ],
)
def test_a_map_that_breaks_a_rule_is_refused_whole(customer, simulator, content, word):
    assert customer.send([], content) == word
    assert simulator.received == ()


def test_reports_can_come_before_the_answer(callbacks):
    callbacks.answers.clear()  # the customer reads the first report, and takes his time
    words = []
    with Simulator(Config(account=ACCOUNT, callback=callbacks.url, faults=Faults(reports_before_answer=True))) as simulator:
        sending = threading.Thread(target=lambda: words.append(Customer(simulator.url).send(numbers(3))))
        sending.start()
        reports = callbacks.take(1)
        sending.join(timeout=0.3)
        assert sending.is_alive()
        callbacks.answers.set()
        sending.join(timeout=10)
        assert words == ["success"]
        assert simulator.counts()["reports_pushed"] == 3
        reports += callbacks.take(2)
    assert [report["mobile"] for report in reports] == numbers(3)


def test_reports_can_come_in_another_order():
    faults = Faults(shuffle_reports=True)
    with Simulator(Config(account=ACCOUNT, report_delay_ms=0, faults=faults)) as simulator:
        customer = Customer(simulator.url)
        customer.send(numbers(100))
        wait_for(lambda: simulator.counts()["reports_kept"] == 100)
        mobiles = [report["mobile"] for report in customer.post("/sms/report", POLL)[1]]
    assert mobiles != numbers(100)
    assert sorted(mobiles) == numbers(100)


def test_a_push_is_made_only_when_it_is_due_and_once_for_all_its_tries(callbacks):
    callbacks.statuses = [500, 500]
    made = []

    def body(name: str) -> bytes:
        made.append(name)
        return json.dumps({"name": name}).encode()

    pusher = Pusher("test", Clock(speed=1000))
    pusher(callbacks.url, lambda: body("late"), {}, after=3_600_000)
    pusher(callbacks.url, lambda: body("now"), {}, after=1, again=(1, 1))
    assert [push["name"] for push in callbacks.take(3)] == ["now"] * 3
    wait_for(lambda: pusher.counts() == {"pushes_taken": 1, "pushes_owed": 1})
    pusher.stop()
    assert made == ["now"]


def test_it_can_say_yes_and_deliver_nothing(callbacks, capsys):
    account = replace(ACCOUNT, reply_share=1.0, reply_seconds=0)
    with Simulator(Config(account=account, callback=callbacks.url, report_delay_ms=0, show=True)) as simulator:
        simulator.faults = Faults(delivers_nothing=True, times=1)
        customer = Customer(simulator.url)
        assert customer.send(["15400000001"], "甲,收到请回复1") == "success"
        assert customer.send(["15400000002"], "乙") == "success"
        assert callbacks.take(1)[0]["mobile"] == "15400000002"
        assert simulator.counts()["replies_owed"] == 0
    assert capsys.readouterr().out == "【德清应急】乙  → 1 phones\n"


def test_all_providers_stand_at_one_port_each_with_faults_of_its_own():
    with Simulator(everybody()) as simulator:
        customer = Customer(simulator.url)
        assert set(customer.get("/_received")) == {"mas", "smpp", "vms", "zwdd", "grid", "feed", "ebd"}
        assert customer.post("/_faults/vms", b'{"http_status": 503}')[0] == 200
        assert customer.post("/", b"")[0] == 503
        assert customer.post("/sms/report", b"")[1]["rspcod"] == "IllegalMsgfmt"
        faults = customer.get("/_faults")
        assert {name for name, each in faults.items() if each["http_status"]} == {"vms"}
        customer.post("/_faults", b"{}")
        assert customer.get("/_faults/vms")["http_status"] == 0
        assert customer.post("/_faults/wind", b"{}")[0] == 404
        assert customer.post("/_counts", b"{}")[0] == 405


@given(
    body=st.binary(max_size=200), path=st.sampled_from(["/", "/sms/report", "/grid/tasks", "/EB/ebdsvc.html", "/gettoken.json"])
)
@settings(deadline=None)
def test_any_bytes_at_any_door_get_an_answer(everyone, body, path):
    assert 200 <= Customer(everyone.url).post(path, body)[0] < 500


@pytest.fixture(scope="module")
def everyone():
    with Simulator(everybody()) as running:
        yield running


def test_it_runs_as_a_program_and_shows_each_sms_as_its_readers_see_it(tmp_path):
    script = tmp_path / "script.jsonl"
    script.write_text(
        '{"at": 0, "latency_ms": 1}\n{"at": 0.01, "provider": "mas", "refuse": "QueueOverLimit", "times": 1}\n', "utf-8"
    )
    (tmp_path / "secret").write_text("sk1\n", "utf-8")
    config = tmp_path / "town.toml"
    config.write_text('show = true\n[mas]\nap_id = "ap1"\nsecret_key_file = "secret"\n[smpp]\n[vms]\n', "utf-8")
    process = started("--config", str(config), "--script", str(script), "--fault", "vms.http_status=503", "--fault", "times=9")
    try:
        greeting = process.stdout.readline()
        assert greeting.startswith("the stand-ins of mas, vms listen at http://127.0.0.1:")
        customer = Customer(greeting.split()[-1])
        host, _, port = process.stdout.readline().split()[-1].partition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
        wait_for(lambda: customer.get("/_faults/mas")["refuse"] == "QueueOverLimit")
        assert [customer.send(numbers(3)) for _ in range(2)] == ["QueueOverLimit", "success"]
        assert process.stdout.readline() == "【德清应急】暴雨红色预警  → 3 phones\n"
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_faults_on_the_command_line_are_everybodys_or_one_providers():
    process = started("--fault", "latency_ms=1", "--fault", "vms.http_status=503")
    try:
        customer = Customer(process.stdout.readline().split()[-1])
        assert {name: (each["latency_ms"], each["http_status"]) for name, each in customer.get("/_faults").items()} == {
            name: (1, 503 if name == "vms" else 0) for name in ("mas", "smpp", "vms", "zwdd", "grid", "feed", "ebd")
        }
    finally:
        process.terminate()
        process.wait(timeout=10)


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "broadcast.simulator", *words],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[mas]\nec_nam = "x"', "mas.ec_nam"),
        ("[wind]", "wind"),
        ("mas = 3", "write [mas]"),
        ('[mas]\nreport_delay_ms = "soon"', "report_delay_ms"),
        ("[mas]\nreply_share = 2", "reply_share"),
        ('[mas]\ncallback = "here"', "callback"),
        ('[vms]\ncallback = "ftp://x/"', "callback"),
        ('[smpp]\npassword = "much too long"', "password"),
        ('[mas]\nsecret_key_file = "nowhere"', "nowhere"),
        ("speed = 0", "speed"),
        ("port = 0", "no provider"),
        ("speed =", ""),
    ],
)
def test_a_mistake_in_the_config_is_said_by_its_name_and_without_its_value(tmp_path, toml, said):
    config = tmp_path / "town.toml"
    config.write_text(toml, "utf-8")
    with pytest.raises((ValueError, OSError)) as caught:
        Simulator(read_file(config))
    assert said in str(caught.value)
    assert "too long" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ["--fault", "latency"],
        ["--fault", "wind=3"],
        ["--fault", "wind.latency_ms=3"],
        ["--script", "/nowhere"],
        ["--config", "/nowhere"],
        ["--speed", "0"],
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["{", '{"latency_ms": 1}', '{"at": "x"}', '{"at": 1, "provider": "wind"}', '{"at": 1, "wind": 1}']
)
def test_a_mistake_in_a_script_is_named_by_its_line(tmp_path, capsys, line):
    script = tmp_path / "script.jsonl"
    script.write_text(f'{{"at": 0}}\n{line}\n', "utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["--script", str(script)])
    assert ended.value.code == 2
    assert "script line 2" in capsys.readouterr().err


def test_it_shares_no_code_with_what_it_stands_against():
    for file in (ROOT / "broadcast" / "simulator").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, file
                assert not (node.module or "").startswith("broadcast"), file
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("broadcast") for alias in node.names), file


def wait_for(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "simulator.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
