"""The stand-ins of the grid workers' system and of other platforms, met by an independent signer of Standard Webhooks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from broadcast.simulator.clock import Clock
from broadcast.simulator.faults import Faults
from broadcast.simulator.feed import FeedAccount, FeedPlatform
from broadcast.simulator.grid import GridAccount, GridPlatform
from broadcast.simulator.provider import Host, Request
from broadcast.simulator.pusher import Pusher
from broadcast.simulator.webhook_signature import NotSigned, key_of, sign, verify

SECRET = GridAccount().secret
BACK = "whsec_YW5vdGhlciBzZWNyZXQgZm9yIHRoZSB3YXkgYmFjaw=="
CONTENT = "【德清应急】暴雨红色预警，请立即逐户通知转移。"


def task(task_id: str = "T-1", **changes: object) -> dict[str, object]:
    return {
        "taskId": task_id,
        "alertId": 7,
        "identifier": "33052141600000_20260624140500",
        "level": "red",
        "event": "暴雨",
        "gridCode": "330521115201",
        "gridName": "五四村",
        "role": "微网格长",
        "assignee": {"account": "sim:grid:1", "name": "测试员一"},
        "content": CONTENT,
        "requireAckBy": None,
        "actions": ["sign", "feedback", "done", "reject"],
        "supersedes": [],
    } | changes


def letter(kind: str = "dispatched", data: dict[str, object] | None = None) -> dict[str, object]:
    return {"type": f"alert.task.{kind}", "timestamp": "2026-06-24T14:05:00+08:00", "data": task() if data is None else data}


def post(
    path: str,
    body: bytes,
    secret: str = SECRET,
    number: str = "msg-1",
    *,
    ago: timedelta = timedelta(),
    kind: str = "application/json; charset=utf-8",
) -> Request:
    at = datetime.now(UTC) - ago
    signature = Webhook(secret).sign(number, at, body.decode())
    headers = {
        "content-type": kind,
        "content-length": str(len(body)),
        "webhook-id": number,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }
    return Request("POST", path, "", headers, body)


def until(true: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


class Customer:
    """The customer's callback URL: verifies every signature with the package `standardwebhooks`."""

    def __init__(self) -> None:
        self.got: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []  # answered in this order, then 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.headers.append(headers)
                outer.got.append(Webhook(BACK).verify(body, headers))  # raises: the connection breaks, nothing is counted
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/callback"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def wait(self, count: int) -> list[dict[str, object]]:
        until(lambda: len(self.got) >= count)
        return list(self.got)


class Grid:
    """The system in a host, and a customer who signs."""

    def __init__(self, account: GridAccount, speed: float) -> None:
        clock = Clock(speed)
        self.shown: list[str] = []
        self.numbers = iter(range(10**6))
        self.pusher = Pusher("grid", clock, connections=1)
        self.platform = GridPlatform(account, Host(clock, self.pusher, self.shown.append))

    def take(self, message: object, faults: Faults | None = None, number: str = "", **how: object) -> tuple[int, dict[str, str]]:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        faults = faults or Faults()
        with self.pusher.playing(faults):
            answer = self.platform.handle(post("/grid/tasks", body, number=number or f"msg-{next(self.numbers)}", **how), faults)
        return answer.status, json.loads(answer.body)

    def states(self) -> dict[object, object]:
        return {one["taskId"]: one["state"] for one in self.platform.received()}


@pytest.fixture
def customer() -> Iterator[Customer]:
    customer = Customer()
    yield customer
    customer.server.shutdown()
    customer.server.server_close()


@pytest.fixture
def open_grid(customer) -> Iterator[Callable[..., Grid]]:
    opened: list[Grid] = []

    def open_grid(speed: float = 1000.0, **changes: object) -> Grid:
        account = GridAccount(**{"callback": customer.url, "callback_secret": BACK} | changes)
        opened.append(Grid(account, speed))
        return opened[-1]

    yield open_grid
    for one in opened:
        one.platform.stop()
        one.pusher.stop()


@pytest.fixture
def grid(open_grid) -> Grid:
    """A system whose workers do nothing while a test runs."""
    return open_grid(speed=1.0)


# The grid workers' system


def test_a_task_is_signed_for_fed_back_and_done_and_every_verb_is_verified_by_an_independent_package(open_grid, customer):
    grid = open_grid()
    assert grid.take(letter()) == (200, {"taskId": "T-1"})
    assert grid.shown == [f"📋 五四村 微网格长 测试员一: {CONTENT}"]
    signed, feedback, done = customer.wait(3)
    assert [one["type"] for one in (signed, feedback, done)] == ["task.signed", "task.feedback", "task.done"]
    assert signed["data"]["taskId"] == "T-1" and signed["data"]["by"] == "测试员一"
    assert datetime.fromisoformat(signed["data"]["at"]).tzinfo is not None
    counts = feedback["data"]
    assert 40 <= counts["households"] <= 60 and counts["withoutPhone"] >= 0 and counts["vulnerable"] >= 0 and counts["text"]
    until(lambda: grid.platform.counts()["reports_owed"] == 0)
    assert grid.platform.counts() == {"calls": 1, "targets": 1, "reports_pushed": 3, "reports_owed": 0}
    (one,) = grid.platform.received()
    assert (one["account"], one["state"], one["content"], one["gridCode"]) == ("sim:grid:1", "done", CONTENT, "330521115201")


def test_a_worker_whose_name_belongs_to_somebody_signs_under_another_one(open_grid, customer):
    open_grid().take(letter(data=task(assignee={"account": "sim:grid:1", "name": "某人"})))
    assert "测" in customer.wait(1)[0]["data"]["by"]


def test_the_shares_say_who_signs_who_is_done_and_who_gives_it_back(open_grid, customer):
    grid = open_grid(signed_share=0.6, done_share=0.5, rejected_share=0.2)
    for n in range(100):
        grid.take(letter(data=task(f"T-{n}")))
    until(lambda: grid.platform.counts()["reports_owed"] == 0)
    found = list(grid.states().values())
    assert 10 <= found.count("rejected") <= 30 and 12 <= found.count("signed") <= 36 and 12 <= found.count("done") <= 36
    again = open_grid(signed_share=0.6, done_share=0.5, rejected_share=0.2)
    for n in reversed(range(100)):
        again.take(letter(data=task(f"T-{n}")))
    until(lambda: again.platform.counts()["reports_owed"] == 0)
    assert again.states() == grid.states()  # whatever the order


def test_the_same_message_again_is_taken_and_does_nothing(grid):
    assert grid.take(letter(), number="m") == grid.take(letter(), number="m") == (200, {"taskId": "T-1"})
    assert grid.platform.counts()["calls"] == 1 and len(grid.shown) == 1


def test_a_message_that_was_refused_is_judged_anew(open_grid):
    grid = open_grid(refuse_ending="9")
    bad = letter(data=task(assignee={"account": "sim:grid:9", "name": "测"}))
    assert grid.take(bad, number="m")[0] == 404
    assert grid.take(letter(), number="m")[0] == 200


def test_a_task_is_dispatched_once(grid):
    grid.take(letter())
    assert grid.take(letter())[0] == 409


@pytest.mark.parametrize("account", ["sim:grid:13", "somebody"])
def test_an_unknown_assignee_is_about_the_assignee(open_grid, account):
    grid = open_grid(refuse_ending="13")
    assert grid.take(letter(data=task(assignee={"account": account, "name": "测"}))) == (404, {"error": "unknown assignee"})
    assert grid.platform.received() == []


def test_a_cancelled_task_is_not_signed_for_any_more(open_grid, customer):
    grid = open_grid(sign_seconds=10**6, feedback_seconds=2 * 10**6, done_seconds=3 * 10**6)
    grid.take(letter())
    grid.take(letter(data=task("T-2")))
    assert grid.take(letter("cancelled", task("T-9", supersedes=["T-1"])))[0] == 200
    assert grid.take(letter("cancelled", task("T-2")))[0] == 200
    assert grid.states() == {"T-1": "cancelled", "T-2": "cancelled", "T-9": "cancelled"}


def test_what_a_cancelled_worker_would_have_done_is_never_told(open_grid, customer):
    grid = open_grid(sign_seconds=1000, done_share=0)
    grid.take(letter())
    grid.take(letter("cancelled"))
    grid.take(letter(data=task("T-2")))
    until(lambda: grid.platform.counts()["reports_owed"] == 0)
    assert {one["data"]["taskId"] for one in customer.got} == {"T-2"}


def test_a_cancel_of_nothing_or_of_what_is_cancelled_is_refused(grid):
    assert grid.take(letter("cancelled"))[0] == 409
    grid.take(letter())
    assert grid.take(letter("cancelled"))[0] == 200
    assert grid.take(letter("cancelled"))[0] == 409


def test_an_update_takes_the_place_of_what_it_supersedes(grid):
    grid.take(letter())
    assert grid.take(letter("updated", task("T-2", supersedes=["T-1", "T-0"])))[0] == 200
    assert grid.states() == {"T-1": "cancelled", "T-2": "open"}


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, headers=one.headers | {"webhook-signature": "v1,AAAA"}),
        lambda one: replace(
            one, headers=one.headers | {"webhook-signature": one.headers["webhook-signature"].replace("v1,", "v2,")}
        ),
        lambda one: replace(one, headers=one.headers | {"webhook-id": "another"}),
        lambda one: replace(one, headers=one.headers | {"webhook-id": ""}),
        lambda one: replace(one, headers=one.headers | {"webhook-timestamp": str(int(time.time()) - 1)}),
        lambda one: replace(one, headers=one.headers | {"webhook-timestamp": "now"}),
        lambda one: replace(one, headers={"content-type": "application/json"}),
        lambda one: replace(one, body=one.body + b" "),
    ],
)
def test_what_is_not_signed_as_agreed_is_refused(grid, change):
    request = change(post("/grid/tasks", json.dumps(letter()).encode(), ago=timedelta(seconds=30)))
    assert grid.platform.handle(request, Faults()).status == 401
    assert grid.platform.received() == []


@pytest.mark.parametrize(("minutes", "status"), [(-6, 401), (-4, 200), (4, 200), (6, 401)])
def test_a_signature_holds_for_five_minutes(grid, minutes, status):
    assert grid.take(letter(), ago=timedelta(minutes=minutes))[0] == status


@pytest.mark.parametrize("number", ["", "a.b"])
def test_a_number_is_there_and_has_no_dot_in_it(grid, number):
    request = post("/grid/tasks", json.dumps(letter()).encode(), number=number)
    assert grid.platform.handle(request, Faults()).status == 401


def test_another_secret_does_not_sign_and_one_of_several_signatures_is_enough(grid):
    assert grid.take(letter(), secret=BACK)[0] == 401
    request = post("/grid/tasks", json.dumps(letter()).encode())
    other = post("/grid/tasks", json.dumps(letter()).encode(), BACK).headers["webhook-signature"]
    both = request.headers | {"webhook-signature": f"{other} v1a,x {request.headers['webhook-signature']}"}
    assert grid.platform.handle(replace(request, headers=both), Faults()).status == 200


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in task().items() if key != name}


@pytest.mark.parametrize(
    "message",
    [
        b"{",
        b'"x"',
        b'{"type": "alert.task.dispatched"}',
        letter() | {"more": 1},
        letter("made"),
        letter() | {"timestamp": "2026-06-24T14:05:00"},
        letter() | {"data": []},
        *(letter(data=without(name)) for name in task()),
        letter(data=task(more=1)),
        letter(data=task(taskId=1)),
        letter(data=task(alertId=True)),
        letter(data=task(level="purple")),
        letter(data=task(content=" ")),
        letter(data=task(content="\ud800")),
        letter(data=task(requireAckBy="soon")),
        letter(data=task(actions=[])),
        letter(data=task(supersedes="T-0")),
        letter(data=task(assignee={"account": "sim:grid:1"})),
        letter(data=task(assignee={"account": "sim:grid:1", "name": "测", "mobile": "15400000001"})),
        letter(data=task(assignee={"account": "sim:grid:1", "name": "测", "mobileMasked": "15400000001"})),
    ],
)
def test_a_field_too_few_too_many_or_of_another_kind_is_refused(grid, message):
    status, answer = grid.take(message)
    assert status == 422 and answer["error"]
    assert grid.platform.received() == []


def test_a_masked_mobile_and_a_deadline_may_be_there(grid):
    assignee = {"account": "sim:grid:1", "name": "测", "mobileMasked": "154****0001"}
    assert grid.take(letter(data=task(assignee=assignee, requireAckBy="2026-06-24T14:10:00+08:00")))[0] == 200


def test_only_json_by_post_comes_in(grid):
    body = json.dumps(letter()).encode()
    assert grid.platform.handle(post("/grid/tasks", body, kind="text/plain"), Faults()).status == 415
    assert grid.platform.handle(replace(post("/grid/tasks", body), method="GET"), Faults()).status == 405
    assert grid.platform.opens("/grid/tasks") and not grid.platform.opens("/grid")


def test_a_verb_is_repeated_under_its_number_until_it_is_taken_and_signed_anew_each_time(open_grid, customer):
    # 5 seconds between the tries take one of ours: the second signature is of another second.
    grid = open_grid(speed=4, done_share=0, sign_seconds=0)
    customer.statuses = [500]
    grid.take(letter())
    customer.wait(2)
    first, second = customer.headers
    assert first["webhook-id"] == second["webhook-id"] and first["webhook-timestamp"] < second["webhook-timestamp"]
    until(lambda: grid.platform.counts()["reports_owed"] == 0)


@pytest.mark.parametrize(("statuses", "tries"), [([204], 1), ([409], 1), ([500, 503, 401, 202], 4)])
def test_what_ends_the_repeating(open_grid, customer, statuses, tries):
    grid = open_grid(done_share=0)
    customer.statuses = list(statuses)
    grid.take(letter())
    until(lambda: grid.platform.counts()["reports_owed"] == 0)
    assert len(customer.got) == tries


def test_a_customer_who_unsubscribes_hears_nothing_more(open_grid, customer):
    grid = open_grid(feedback_seconds=200, done_seconds=400)
    customer.statuses = [410]
    grid.take(letter())
    until(lambda: grid.states() == {"T-1": "done"})
    assert len(customer.got) == 1


def test_faults_of_what_comes_back(open_grid, customer):
    quiet = open_grid()
    quiet.take(letter(), Faults(no_reports=True))
    quiet.take(letter(data=task("T-2")), Faults(delivers_nothing=True))
    assert quiet.platform.counts()["reports_owed"] == 0 and len(quiet.shown) == 1

    twice = open_grid(done_share=0)
    twice.take(letter(), Faults(duplicate_reports=True))
    customer.wait(2)
    assert customer.got[0] == customer.got[1] and len({one["webhook-id"] for one in customer.headers}) == 1

    customer.got.clear()
    open_grid(feedback_seconds=200, done_seconds=400).take(letter(), Faults(shuffle_reports=True))
    assert [one["type"] for one in customer.wait(3)] == ["task.done", "task.feedback", "task.signed"]

    customer.got.clear()
    slow = open_grid(speed=1)
    slow.take(letter(), Faults(reports_before_answer=True))
    assert [one["type"] for one in customer.got] == ["task.signed", "task.feedback", "task.done"]

    customer.got.clear()
    open_grid().take(letter(), Faults(fail_share=1))
    assert customer.wait(1)[0]["type"] == "task.rejected" and customer.got[0]["data"]["reason"]


@pytest.mark.parametrize(("word", "status"), [("404", 404), ("403", 403), ("busy", 422)])
def test_told_to_refuse_it_takes_nothing(grid, word, status):
    assert grid.take(letter(), Faults(refuse=word))[0] == status
    assert grid.platform.received() == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=300).map(lambda data: data.decode("utf-8", "replace").encode()),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
        ).map(lambda value: json.dumps(value).encode()),
        st.tuples(
            st.sampled_from(sorted(task())),
            st.none() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()),
        ).map(lambda pair: json.dumps(letter(data=task(**dict([pair])))).encode()),
    )
)
def test_whatever_is_signed_is_answered(grid, body):
    assert grid.take(body)[0] in (200, 404, 409, 422)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "content-type"]), st.text()),
    st.binary(),
)
def test_whatever_is_not_signed_is_refused(grid, headers, body):
    assert grid.platform.handle(Request("POST", "/grid/tasks", "", headers, body), Faults()).status == 401


# Signatures, against the independent package and its vector


def test_the_golden_vector_of_the_specifications_package():
    key, body = (
        key_of("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        '{"type":"alert.task.dispatched","data":{"taskId":"T-1","content":"暴雨红色预警"}}',
    )
    at = datetime.fromtimestamp(1774000000, UTC)
    signed = sign(key, "msg_1", at, body.encode())
    assert signed["webhook-signature"] == "v1,Ll9xyczqi3ZrBdoYnFav3a0Ci+6f1UIvMGNu/SZjVQc="
    assert verify(key, signed, body.encode(), at) == "msg_1"
    with pytest.raises(NotSigned):
        verify(key, signed, body.encode(), at + timedelta(seconds=301))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!", "whsec_c2hvcnQ=", "c2ltdWxhdGVkIGdyaWQ6IHRhc2tzIGNvbWluZyBpbg=="])
def test_a_secret_that_is_none_is_refused_at_the_start(secret):
    with pytest.raises(ValueError, match="whsec_"):
        key_of(secret)


# Other platforms

CITY, ANJI = FeedAccount().secrets["city"], FeedAccount().secrets["anji"]
CAP = """<?xml version='1.0' encoding='UTF-8'?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">
  <identifier>33052141600000_20260624140500</identifier><sender>33052141600000</sender>
  <sent>2026-06-24T14:05:00+08:00</sent><status>Actual</status><msgType>Alert</msgType><scope>Public</scope>
  <info>
    <language>zh-CN</language><category>Met</category><event>暴雨</event><responseType>Evacuate</responseType>
    <urgency>Immediate</urgency><severity>Extreme</severity><certainty>Likely</certainty>
    <eventCode><valueName>eventType</valueName><value>11B03</value></eventCode>
    <expires>2026-06-24T17:05:00+08:00</expires><headline>德清县发布暴雨红色预警信号</headline>
    <parameter><valueName>AreaSMS</valueName><value>requested</value></parameter>
    <area><areaDesc>莫干山镇</areaDesc><polygon>30.5,119.8 30.6,119.8 30.6,119.9 30.5,119.8</polygon>
      <geocode><valueName>CPEAS Geographic Code</valueName><value>330521115000</value></geocode></area>
  </info>
</alert>
"""


class Feed:
    def __init__(self) -> None:
        self.shown: list[str] = []
        clock = Clock()
        self.pusher = Pusher("feed", clock)
        self.platform = FeedPlatform(FeedAccount(), Host(clock, self.pusher, self.shown.append))

    def take(
        self,
        document: str | bytes = CAP,
        faults: Faults | None = None,
        path: str = "/feed/city",
        secret: str = CITY,
        **how: object,
    ) -> int:
        body = document if isinstance(document, bytes) else document.encode()
        how = {"kind": "application/cap+xml; charset=utf-8"} | how
        self.answer = self.platform.handle(post(path, body, secret, **how), faults or Faults())
        return self.answer.status


@pytest.fixture
def feed() -> Feed:
    return Feed()


def test_an_alert_is_taken_once_and_what_it_wishes_is_seen(feed):
    assert feed.take(number="m") == feed.take(number="m") == 202
    (one,) = feed.platform.received()
    assert (one["identifier"], one["sender"], one["msgType"], one["platform"]) == (
        "33052141600000_20260624140500",
        "33052141600000",
        "Alert",
        "city",
    )
    assert one["area_sms"] is True and one["passed_on"] is True
    assert feed.shown == ["📡 city: Alert 德清县发布暴雨红色预警信号"]
    assert feed.platform.counts()["calls"] == 1


def test_each_platform_has_its_own_secret_and_knows_its_own_messages(feed):
    assert feed.take(number="m") == 202
    assert feed.take(number="m", path="/feed/anji", secret=CITY) == 401
    assert feed.take(number="m", path="/feed/anji", secret=ANJI) == 202
    assert feed.take(path="/feed/nowhere") == 404
    assert [one["platform"] for one in feed.platform.received()] == ["city", "anji"]


def test_a_wish_for_area_sms_is_a_parameter_with_that_name_and_value(feed):
    feed.take(CAP.replace("<value>requested</value>", "<value>no</value>"))
    assert feed.platform.received()[0]["area_sms"] is False


def swapped(xml: str) -> str:
    return xml.replace("<status>Actual</status><msgType>Alert</msgType>", "<msgType>Alert</msgType><status>Actual</status>")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda xml: xml.replace("cap:1.2", "cap:1.1"), "alert"),
        (lambda xml: xml.replace(' xmlns="urn:oasis:names:tc:emergency:cap:1.2"', ""), "alert"),
        (lambda xml: xml.replace("<sender>33052141600000</sender>", ""), "sender"),
        (lambda xml: xml.replace("<certainty>Likely</certainty>", ""), "certainty"),
        (swapped, "status"),
        (lambda xml: xml.replace("<scope>", "<more>1</more><scope>"), "scope"),
        (lambda xml: xml.replace("Extreme", "Red"), "severity"),
        (lambda xml: xml.replace("14:05:00+08:00", "14:05:00Z"), "sent"),
        (lambda xml: xml.replace("14:05:00+08:00", "14:05:00"), "sent"),
        (lambda xml: xml.replace("<msgType>Alert", "<msgType>Cancel"), "references"),
        (lambda xml: xml.replace("<scope>Public", "<scope>Restricted"), "restriction"),
        (lambda xml: xml.replace("<scope>Public", "<scope>Private"), "addresses"),
        (lambda xml: xml.replace("30.6,119.8 30.6,119.9 ", "30.6,119.8 "), "polygon"),
        (lambda xml: xml.replace("119.9 30.5,119.8", "119.9 30.5,119.9"), "polygon"),
        (lambda xml: xml.replace("30.5,119.8 30.6,119.8 30.6,119.9 30.5,119.8", "30.5,119.8 30.6,119.8 30.6,119.9"), "polygon"),
        (lambda xml: xml.replace("<identifier>", "<identifier>a b"), "identifier"),
        (lambda xml: xml.replace("<alert ", "<!DOCTYPE alert><alert "), "DOCTYPE"),
        (lambda xml: xml.replace("</alert>", ""), "document"),
        (lambda xml: xml.replace("<?xml version='1.0' encoding='UTF-8'?>\n", ""), "declaration"),
        (lambda xml: xml.encode().replace("暴雨".encode(), "暴雨".encode("gbk")), "signature"),
    ],
)
def test_what_is_not_cap_to_the_letter_is_refused_with_the_element(feed, change, word):
    changed = change(CAP)
    if isinstance(changed, bytes):  # the package signs text only
        request = post("/feed/city", CAP.encode(), CITY, kind="application/xml")
        at = datetime.now(UTC)
        headers = request.headers | sign(key_of(CITY), "m", at, changed)
        assert feed.platform.handle(replace(request, headers=headers, body=changed), Faults()).status == 422
    else:
        assert feed.take(changed) == 422 and word in json.loads(feed.answer.body)["error"]
    assert feed.platform.received() == []


@pytest.mark.parametrize(
    "references", ["33052141600000,A1,2026-06-24T13:05:00+08:00", "33052141600000,A1,", "a,b,2026-06-24T13:05:00+08:00 a,c,"]
)
def test_an_update_and_a_cancel_name_what_they_are_about(feed, references):
    cancel = CAP.replace("<msgType>Alert", "<msgType>Cancel").replace(
        "</scope>", f"</scope><references>{references}</references>"
    )
    assert feed.take(cancel) == 202
    assert feed.platform.received()[0]["msgType"] == "Cancel"


def test_an_enveloped_signature_may_stand_at_the_end(feed):
    signature = '<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo/></Signature>'
    assert feed.take(CAP.replace("</alert>", f"{signature}</alert>")) == 202
    assert feed.take(CAP.replace("<scope>", f"{signature}<scope>"), number="other") == 422


def test_faults_of_the_feed(feed):
    assert feed.take(faults=Faults(refuse="403")) == 403
    assert feed.take(kind="text/plain") == 415
    assert feed.platform.received() == []
    assert feed.take(faults=Faults(delivers_nothing=True)) == 202
    assert feed.platform.received()[0]["passed_on"] is False and feed.shown == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(CAP)), st.text(max_size=20))
def test_whatever_is_signed_as_cap_is_answered(feed, at, noise):
    document = (CAP[:at] + noise + CAP[at + len(noise) :]).encode("utf-8", "replace")
    assert feed.take(document) in (202, 422)
