"""The stand-in of 浙政钉, called by requests whose signatures the official signer's golden vectors vouch for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.simulator import hmac_auth
from broadcast.simulator.clock import Clock
from broadcast.simulator.faults import Faults
from broadcast.simulator.limits import Window
from broadcast.simulator.provider import Host, Request, Response
from broadcast.simulator.taps import links
from broadcast.simulator.zwdd import Zwdd
from broadcast.simulator.zwdd_people import ZwddAccount, account_of, code_of

QUIET = Faults()
NUMBERS = itertools.count(10**16)
TENANT = {"tenantId": "196729"}
WORDS = "暴雨红色预警,请立即转移"
PATHS = (
    *("/gettoken.json", "/message/workNotification", "/message/revoke", "/gov/ding/isv/send.json", "/ding/isv/send.json"),
    *(
        "/ding/query/userDetail",
        "/mozi/employee/get_by_mobile",
        "/mozi/employee/get_by_mobiles",
        "/mozi/employee/listEmployeeAccountIds",
    ),
)
DOORS = ("/gov/ding/isv/send.json", "/ding/isv/send.json")
Parameters = Mapping[str, str | Sequence[str]]


@dataclass
class World:
    """A provider, its clock, and what it showed."""

    zwdd: Zwdd
    shown: list[str]
    time: list[float]

    def ask(self, path: str, parameters: Parameters, faults: Faults = QUIET) -> dict[str, object]:
        """What lies in the envelope; raises `Refused` with the code and words of a refusal."""
        answer = told(self.zwdd.handle(signed(path, parameters), faults))
        content = answer["content"] or {}
        if not (answer["success"] and content["success"]):
            raise Refused(answer["bizErrorCode"], content.get("responseMessage") or answer.get("errorMsg"))
        assert answer["bizErrorCode"] == content["responseCode"] == "0"
        return content

    def notify(
        self, receivers: Sequence[str] = ("1", "2"), key: str = "b-1", words: str = WORDS, **more: str
    ) -> dict[str, object]:
        faults = more.pop("faults", QUIET)
        return self.ask("/message/workNotification", notice(receivers, key, words, **more), faults)

    def ding(
        self, receivers: Sequence[object] = (7001,), words: str = WORDS, door: str = DOORS[0], faults: Faults = QUIET, **more: str
    ) -> str:
        return self.ask(door, ding(receivers, words, **more), faults)["data"]["dingId"]

    def detail(self, ding_id: str) -> list[dict[str, object]]:
        return self.ask("/ding/query/userDetail", {"dingId": ding_id})["data"]

    def token(self) -> dict[str, str]:
        return self.ask("/gettoken.json", {"appkey": "simulated-app", "appsecret": "simulated-secret"})["data"]


class Refused(Exception):
    def __init__(self, code: str, words: str) -> None:
        self.code, self.words = code, words
        super().__init__(code, words)


@pytest.fixture
def worlds() -> Iterator[object]:
    opened: list[Zwdd] = []

    def make(speed: float = 1.0, **changes: object) -> World:
        now, shown = [0.0], []
        zwdd = Zwdd(ZwddAccount(**changes), Host(Clock(speed, lambda: now[0]), no_push, shown.append))
        opened.append(zwdd)
        return World(zwdd, shown, now)

    yield make
    for zwdd in opened:
        zwdd.stop()


@pytest.fixture
def here(worlds) -> World:
    return worlds()


def no_push(*_: object, **__: object) -> None:
    raise AssertionError("this provider calls nobody back")


def signed(path: str, parameters: Parameters, *, secret: str = "simulated-secret", **headers: str) -> Request:
    """Signed by the rules, written here once more: sorted whatever the case, decoded, no empty values."""
    pairs = [(name, one) for name, value in parameters.items() for one in ([value] if isinstance(value, str) else value)]
    method = "GET" if path == "/gettoken.json" else "POST"
    given = {
        "x-hmac-auth-timestamp": datetime.now(UTC).astimezone().isoformat(timespec="milliseconds"),
        "x-hmac-auth-version": "1.0",
        "x-hmac-auth-nonce": str(next(NUMBERS)),
        "apikey": "simulated-app",
        "x-hmac-auth-ip": "127.0.0.1",
        "x-hmac-auth-mac": "00:00:00:00:00:00",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [method, given.get("x-hmac-auth-timestamp"), given.get("x-hmac-auth-nonce"), path]
    if kept := [f"{name}={value}" for name, value in sorted(pairs, key=lambda pair: (pair[0].lower(), pair[1])) if value]:
        lines.append("&".join(kept))
    digest = hmac.new(secret.encode(), "\n".join(lines).encode(), hashlib.sha256).digest()
    given.setdefault("x-hmac-auth-signature", base64.b64encode(digest).decode())
    if method == "GET":
        return Request(method, path, urlencode(pairs), given, b"")
    return Request(method, path, "", given | {"content-type": "application/x-www-form-urlencoded"}, urlencode(pairs).encode())


def notice(receivers: Sequence[str] = ("1", "2"), key: str = "b-1", words: str = WORDS, **more: str) -> dict[str, str]:
    message = json.dumps({"msgtype": "text", "text": {"content": words}}, ensure_ascii=False, separators=(",", ":"))
    return {**TENANT, "receiverIds": ",".join(receivers), "organizationCodes": "", "bizMsgId": key, "msg": message, **more}


def ding(receivers: Sequence[object] = (7001,), words: str = WORDS, **more: str) -> dict[str, str]:
    return {
        **TENANT,
        "creator": json.dumps({"accountId": 7000}),
        "receivers": json.dumps([{"accountId": account} for account in receivers]),
        "notifyType": "app",
        "textType": "plaintext",
        "bodyType": "text",
        "body": json.dumps({"text": words}, ensure_ascii=False),
        **more,
    }


def told(response: Response) -> dict:
    assert response.status == 200
    return json.loads(response.body)


def refused(world: World, request: Request) -> tuple[str, str]:
    """By the gateway: without a content."""
    answer = told(world.zwdd.handle(request, QUIET))
    assert answer["success"] is False and answer["content"] is None
    return answer["bizErrorCode"], answer["errorMsg"]


# --- the signature -------------------------------------------------------------------------------------------------

GOLDEN = [
    (
        "GET", "/gettoken.json", "2026-11-24T06:07:39.397+08:00", "16988524541736906",
        [("appkey", "my-key"), ("appsecret", "s3cret")],
        "Oo1ydC/DwbCJWkVLQderbBrp3iydRiIoz7x010v6Tn0=",
    ),
    (
        "POST", "/message/workNotification", "2026-11-24T06:07:39.512+08:00", "16989393972872845",
        [
            ("tenantId", "196729"), ("receiverIds", "1,2"), ("bizMsgId", "b-1"),
            ("msg", '{"msgtype":"text","text":{"content":"暴雨 红色&=+"}}'), ("organizationCodes", ""),
        ],
        "QmiKS97RBrT5ugPzAAoSL1+xnRl/Ue1duvazJyAX0/E=",
    ),
    (
        "POST", "/mozi/employee/listEmployeeAccountIds", "2026-11-24T06:07:39.513+08:00", "16989405067041729",
        [("tenantId", "1"), ("employeeCodes", "GE_b"), ("employeeCodes", "GE_a"), ("Zeta", "1"), ("alpha", "2")],
        "z4JGvnzhR5dKJ6AB1Zl59EaXUEBtsPUovluUwvXKQhU=",
    ),
    ("POST", "/x", "2026-11-24T06:07:39.514+08:00", "16989410667955425", [], "XgbUDvVA0OZCW27IO+ZAd3CvyhfpoTD8yH3w7jlM3Hc="),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "timestamp", "nonce", "pairs", "signature"), GOLDEN)
def test_the_official_signers_requests_pass(method, path, timestamp, nonce, pairs, signature):
    headers = {
        "x-hmac-auth-timestamp": timestamp,
        "x-hmac-auth-version": "1.0",
        "x-hmac-auth-nonce": nonce,
        "apikey": "my-key",
        "x-hmac-auth-signature": signature,
        "x-hmac-auth-ip": "127.0.0.1",
        "x-hmac-auth-mac": "00:00:00:00:00:00",
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
    }
    body = urlencode(pairs).encode()
    request = Request(method, path, body.decode() if method == "GET" else "", headers, b"" if method == "GET" else body)
    assert hmac_auth.check(request, "my-key", "test-secret", datetime.fromisoformat(timestamp)) == nonce
    with pytest.raises(hmac_auth.Unsigned, match="signature"):
        hmac_auth.check(request, "my-key", "another", datetime.fromisoformat(timestamp))


def test_a_wrong_signature_is_refused_with_the_documented_code(here):
    wrong = [
        signed("/message/workNotification", notice(), secret="another"),
        signed("/message/workNotification", notice(), x_hmac_auth_signature="Oo1y"),
        signed("/message/workNotification", notice(), x_hmac_auth_signature="测"),
    ]
    changed = signed("/message/workNotification", notice())
    wrong.append(Request("POST", changed.path, "extra=1", changed.headers, changed.body))
    assert [refused(here, one) for one in wrong] == [("OPF-B001-05-16-0009", "SignatureDoesNotMatch")] * len(wrong)
    assert here.zwdd.received() == []


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("apikey", "nobody", "SIM-APIKEY"),
        ("x_hmac_auth_version", "2.0", "SIM-HEADER"),
        ("x_hmac_auth_nonce", "", "SIM-HEADER"),
        ("x_hmac_auth_ip", "", "SIM-HEADER"),
        ("x_hmac_auth_mac", "", "SIM-HEADER"),
        ("x_hmac_auth_timestamp", "yesterday", "SIM-TIMESTAMP"),
        ("x_hmac_auth_timestamp", "2026-11-24T06:07:39.397", "SIM-TIMESTAMP"),
    ],
)
def test_every_header_is_looked_at(here, header, value, code):
    assert refused(here, signed("/message/workNotification", notice(), **{header: value}))[0] == code


def test_a_time_stamp_may_be_fifteen_minutes_off_and_no_more(here):
    def at(minutes: int) -> Request:
        stamp = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="milliseconds")
        return signed("/mozi/employee/get_by_mobiles", directory(mobiles="15400000001"), x_hmac_auth_timestamp=stamp)

    assert refused(here, at(16))[0] == refused(here, at(-16))[0] == "SIM-TIMESTAMP"
    assert told(here.zwdd.handle(at(-14), QUIET))["success"]


def test_a_nonce_is_good_once(here):
    request = signed("/mozi/employee/get_by_mobiles", directory(mobiles="15400000001"))
    here.zwdd.handle(request, QUIET)
    assert refused(here, request)[0] == "SIM-NONCE"


def test_a_notice_is_posted_and_a_token_is_got(here):
    for path, method in (("/message/workNotification", "GET"), ("/gettoken.json", "POST")):
        good = signed(path, {})
        assert refused(here, Request(method, path, "", good.headers, b""))[0] == "SIM-PARAMETER"


# --- the token -----------------------------------------------------------------------------------------------------


def test_the_token_is_the_same_while_it_is_valid_and_another_one_after_two_hours(here):
    first = here.token()
    assert first["expiresIn"] == "7200"
    here.time[0] = 7199.0
    assert here.token() == {"accessToken": first["accessToken"], "expiresIn": "1"}
    here.time[0] = 7200.0
    assert here.token()["accessToken"] != first["accessToken"]


def test_a_token_that_ended_or_was_never_given_is_refused_and_none_will_do_unless_it_is_required(worlds):
    here = worlds()
    token = here.token()["accessToken"]
    here.notify(access_token=token)
    here.time[0] = 7200.0
    assert refused(here, signed("/message/workNotification", notice(key="b-2", access_token=token)))[0] == "SIM-TOKEN"
    assert refused(here, signed("/message/workNotification", notice(key="b-2", access_token="x")))[0] == "SIM-TOKEN"
    here.notify(key="b-2", words="另一条")
    strict = worlds(token_required=True)
    assert refused(strict, signed("/message/workNotification", notice()))[0] == "SIM-TOKEN"
    strict.notify(access_token=strict.token()["accessToken"])


def test_a_token_is_given_only_for_key_and_secret(here):
    with pytest.raises(Refused, match="SIM-SECRET"):
        here.ask("/gettoken.json", {"appkey": "simulated-app", "appsecret": "guessed"})


# --- work notices --------------------------------------------------------------------------------------------------


def test_a_notice_is_taken_and_shown(here):
    assert here.notify(["1", "sim:zwdd:测一"])["msgId"]
    [received] = here.zwdd.received()
    assert (received["receivers"], received["text"], received["bizMsgId"]) == (["1", "sim:zwdd:测一"], WORDS, "b-1")
    assert here.shown == [f"浙政钉 工作通知 → 2 人: {WORDS}"]
    assert here.zwdd.counts()["calls"] == 1 and here.zwdd.counts()["accounts"] == 2


def test_the_same_biz_msg_id_is_refused_as_a_repeat_however_late(here):
    here.notify()
    for seconds in (1.0, 700.0, 90_000.0):
        here.time[0] = seconds
        with pytest.raises(Refused, match="重复"):
            here.notify(words="别的内容")
    assert len(here.zwdd.received()) == 1


def test_two_calls_are_ten_minutes_apart(here):
    here.notify()
    here.time[0] = 599.9
    with pytest.raises(Refused, match="发送间隔不得低于10min"):
        here.notify(["3"], key="b-2")
    here.time[0] = 600.0
    here.notify(["3"], key="b-2")


def test_ten_minutes_are_short_where_the_clock_is_fast(worlds):
    here = worlds(speed=60)
    here.notify()
    here.time[0] = 9.9
    with pytest.raises(Refused, match="间隔"):
        here.notify(["3"], key="b-2")
    here.time[0] = 10.0
    here.notify(["3"], key="b-2")


def test_a_second_call_while_the_first_is_under_way_is_refused(worlds):
    arrived, go_on = threading.Event(), threading.Event()

    def show(_line: str) -> None:
        arrived.set()
        assert go_on.wait(10)

    zwdd = Zwdd(ZwddAccount(), Host(Clock(), no_push, show))
    here = World(zwdd, [], [0.0])
    first = threading.Thread(target=here.notify)
    first.start()
    try:
        assert arrived.wait(10)
        with pytest.raises(Refused, match="禁止使用多线程方式调用"):
            here.notify(["3"], key="b-2")
    finally:
        go_on.set()
        first.join()


def test_a_thousand_receivers_and_organizations_together_are_the_most(here):
    accounts = [str(n) for n in range(1, 1001)]
    with pytest.raises(Refused, match="SIM-TOO-MANY"):
        here.notify(accounts, organizationCodes="GO_1")
    here.notify(accounts[:-1], organizationCodes="GO_1")
    assert here.shown == [f"浙政钉 工作通知 → 1,000 人: {WORDS}"]


def test_the_message_has_at_most_2048_bytes_of_utf_8(here):
    frame = len('{"msgtype":"text","text":{"content":""}}')
    fits = "雨" * ((2048 - frame) // 3) + "!" * ((2048 - frame) % 3)
    with pytest.raises(Refused, match="2048"):
        here.notify(words=fits + "!")
    here.notify(words=fits)


def test_the_same_words_reach_the_same_person_once_a_day(here):
    here.notify(["1", "2"])
    here.time[0] = 600.0
    with pytest.raises(Refused, match="一天只能接收一次"):
        here.notify(["2", "3"], key="b-2")
    here.notify(["3"], key="b-3")
    here.time[0] = 86_400.0
    here.notify(["1", "2"], key="b-4")


def test_one_person_gets_a_hundred_notices_a_day_and_an_application_sends_twenty_thousand(here):
    for n in range(100):
        here.time[0] = 600.0 * n
        here.notify(["1"], key=f"b-{n}", words=f"第{n}条")
    here.time[0] = 60_000.0
    with pytest.raises(Refused, match="SIM-USER-DAY"):
        here.notify(["1"], key="b-x", words="第100条")
    for n in range(19):
        here.notify([str(account) for account in range(10**6 + 1000 * n, 10**6 + 1000 * n + 1000)], key=f"c-{n}")
        here.time[0] += 600.0
    with pytest.raises(Refused, match="SIM-DAY"):
        here.notify([str(account) for account in range(2 * 10**6, 2 * 10**6 + 901)], key="d-1")
    here.notify([str(account) for account in range(2 * 10**6, 2 * 10**6 + 900)], key="d-2")


@pytest.mark.parametrize(
    "changes",
    [
        {"bizMsgId": ""},
        {"receiverIds": ""},
        {"msg": ""},
        {"msg": "暴雨"},
        {"msg": "[]"},
        {"msg": '{"msgtype":"text"}'},
        {"msg": '{"msgtype":"text","text":{"content":" "}}'},
        {"msg": '{"msgtype":"voice","voice":{"content":"x"}}'},
        {"msg": '{"msgtype":["text"],"text":{"content":"x"}}'},
        {"bizMsgId": ["b-1", "b-2"]},
    ],
)
def test_a_notice_against_the_rules_is_refused(here, changes):
    with pytest.raises(Refused, match="SIM-PARAMETER"):
        here.ask("/message/workNotification", {**notice(), **changes})
    assert here.zwdd.received() == []


def test_cards_and_links_are_notices_too(here):
    card = {
        "msgtype": "action_card",
        "action_card": {"title": "暴雨", "markdown": "请确认", "single_url": "http://127.0.0.1:1/c"},
    }
    here.ask("/message/workNotification", {**notice(), "msg": json.dumps(card)})
    assert here.zwdd.received()[0]["text"] == "暴雨 请确认 http://127.0.0.1:1/c"


def test_another_tenant_or_nobody_at_all_is_refused_and_unknown_people_among_others_are_left_out(here):
    with pytest.raises(Refused, match="SIM-TENANT"):
        here.notify(tenantId="1")
    with pytest.raises(Refused, match="SIM-NOBODY"):
        here.notify(["GE_1", "真人"])
    here.notify(["GE_1", "2"])
    assert here.zwdd.received()[0]["receivers"] == ["2"]


def test_a_notice_can_be_revoked_by_its_biz_msg_id(here):
    here.notify()
    revoke = {**TENANT, "msgType": "workNotification", "bizMsgId": "b-1"}
    here.ask("/message/revoke", revoke)
    assert here.zwdd.received()[0]["revoked"] is True
    with pytest.raises(Refused, match="SIM-UNKNOWN"):
        here.ask("/message/revoke", {**revoke, "bizMsgId": "b-9"})


# --- DING ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_a_ding_is_taken_shown_and_read_by_and_by(worlds, door):
    here = worlds(confirm_ending="1", silent_ending="2")
    ding_id = here.ding([7001, "7002", "sim:zwdd:1"], door=door)
    unread = {"read": False, "confirmed": False}
    assert here.detail(ding_id) == [
        {"accountId": 7001, **unread},
        {"accountId": 7002, **unread},
        {"accountId": "sim:zwdd:1", **unread},
    ]
    here.time[0] = 240.0
    states = {str(one["accountId"]): (one["read"], one["confirmed"]) for one in here.detail(ding_id)}
    assert states == {"7001": (True, True), "7002": (False, False), "sim:zwdd:1": (True, True)}
    assert here.zwdd.received()[0]["ended"]["7001"] == {"read": True, "confirmed": True}
    assert here.shown == [f"DING → 3 人: {WORDS}"]


def test_nobody_confirms_what_he_did_not_read(worlds):
    here = worlds(ding_confirm_share=1.0)
    ding_id = here.ding(range(7100, 7200), door=DOORS[1])
    confirmed = 0
    for second in range(0, 250, 10):
        here.time[0] = float(second)
        states = here.detail(ding_id)
        assert all(one["read"] for one in states if one["confirmed"])
        assert sum(one["confirmed"] for one in states) >= confirmed
        confirmed = sum(one["confirmed"] for one in states)
    assert confirmed == sum(one["read"] for one in states) > 75  # of the nine in ten who read at all


def test_the_name_of_one_receiver_is_masked(here):
    here.ding(["sim:zwdd:测三"])
    assert here.shown == [f"DING → 测**: {WORDS}"]


def test_the_older_door_takes_two_hundred_receivers_and_the_newer_a_thousand(here):
    with pytest.raises(Refused, match="SIM-TOO-MANY"):
        here.ding(range(1, 202))
    here.ding(range(1, 201))
    with pytest.raises(Refused, match="SIM-TOO-MANY"):
        here.ding(range(1, 1002), door=DOORS[1])
    here.ding(range(1, 1001), door=DOORS[1])


def test_the_newer_door_counts_words_and_days_as_notices_do(here):
    for door, again in ((DOORS[0], None), (DOORS[1], "一天只能接收一次")):
        here.ding(door=door)
        if again:
            with pytest.raises(Refused, match=again):
                here.ding(door=door)
        else:
            here.ding(door=door)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"creator": ""}, "SIM-PARAMETER"),
        ({"creator": '{"accountId":"GE_1"}'}, "SIM-NOBODY"),
        ({"receivers": ""}, "SIM-PARAMETER"),
        ({"receivers": "[]"}, "SIM-PARAMETER"),
        ({"receivers": '["7001"]'}, "SIM-PARAMETER"),
        ({"receivers": '[{"accountId":"GE_1"}]'}, "SIM-NOBODY"),
        ({"notifyType": "letter"}, "SIM-PARAMETER"),
        ({"textType": "ciphertext"}, "SIM-PARAMETER"),
        ({"bodyType": "oa"}, "SIM-PARAMETER"),
        ({"body": "暴雨"}, "SIM-PARAMETER"),
        ({"body": '{"text":" "}'}, "SIM-PARAMETER"),
        ({"tenantId": "1"}, "SIM-TENANT"),
    ],
)
def test_a_ding_against_the_rules_is_refused(here, changes, code):
    with pytest.raises(Refused, match=code):
        here.ask(DOORS[0], {**ding(), **changes})
    assert here.zwdd.received() == []


def test_receivers_may_come_as_a_repeated_parameter_and_strangers_are_missing_in_the_detail(here):
    receivers = ['{"accountId":7001}', '[{"accountId":"GE_1"},{"accountId":7002}]']
    ding_id = here.ask(DOORS[0], {**ding(), "receivers": receivers})["data"]["dingId"]
    assert [one["accountId"] for one in here.detail(ding_id)] == [7001, 7002]
    with pytest.raises(Refused, match="SIM-UNKNOWN"):
        here.detail("ding0")


# --- confirm links -------------------------------------------------------------------------------------------------


class Page:
    """A confirm page: opening it does nothing, its form confirms."""

    def __init__(self) -> None:
        self.opened, self.forms = 0, []
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.opened += 1
                self.write(
                    '<form method="post"><input type="hidden" name="once" value="a&amp;b"><input name="who">'
                    '<button name="verb" value="ack">收到</button><button name="verb" value="decline">不是我</button></form>'.encode()
                )

            def do_POST(self) -> None:
                page.forms.append((self.path, parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())))
                self.write(b"ok")

            def write(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/c/one-time-word?v=1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.server.shutdown()
    page.server.server_close()


def test_every_telephone_looks_at_a_link_and_only_some_people_confirm_there(worlds, page):
    here = worlds(speed=1e6, confirm_share=0.5, read_share=1.0)
    here.ding(range(7100, 7140), words=f"{WORDS} 确认:{page.url}。")
    while (counts := here.zwdd.counts())["links_owed"]:
        time.sleep(0.01)
    confirmed = counts["links_confirmed"]
    assert 8 < confirmed < 32 and confirmed == len(page.forms)
    assert page.opened == counts["links_opened"] == 40 + confirmed  # a preview each; who confirms opens it once more
    assert page.forms[0] == ("/c/one-time-word?v=1", {"once": ["a&b"], "who": ["测试员"], "verb": ["ack"]})
    assert counts["links_failed"] == counts["links_owed"] == 0


def test_a_confirmation_waits_for_the_provider_s_clock_and_the_preview_does_not(worlds, page):
    here = worlds(confirm_ending="1")
    here.ding([7001], words=f"{WORDS} {page.url}")
    here.zwdd.stop()  # ends what is due, not what waits
    assert page.forms == [] and page.opened == 1


def test_people_can_be_told_to_be_quicker_than_the_answer_or_to_press_twice_or_never(worlds, page):
    here = worlds(confirm_ending="1")
    here.ding([7001], words=f"{WORDS} {page.url}", faults=Faults(reports_before_answer=True, duplicate_reports=True))
    assert len(page.forms) == 2
    here.ding([7011], words=f"{WORDS} {page.url}", faults=Faults(reports_before_answer=True, no_reports=True))
    here.ding([7021], words=f"{WORDS} {page.url}", faults=Faults(reports_before_answer=True, fail_share=1.0))
    assert len(page.forms) == 2 and page.opened == 5


def test_a_page_that_is_not_there_is_counted_as_failed(worlds):
    here = worlds(confirm_ending="1")
    here.ding([7001], words="请确认 http://127.0.0.1:1/c/x", faults=Faults(reports_before_answer=True))
    assert here.zwdd.counts()["links_failed"] == 2 and here.zwdd.counts()["links_owed"] == 0


def test_only_links_to_this_machine_are_ever_opened():
    text = "见http://127.0.0.1:8/a,(https://localhost/b?c=1)。http://[::1]:9/d 或https://www.example.com/x和http://127.0.0.1:8/a http://["
    assert links(text) == ["http://127.0.0.1:8/a", "https://localhost/b?c=1", "http://[::1]:9/d"]


# --- faults and foreign bytes --------------------------------------------------------------------------------------


def test_a_code_can_be_told_to_be_answered(here):
    with pytest.raises(Refused, match="SystemBusy"):
        here.notify(faults=Faults(refuse="SystemBusy"))
    assert here.zwdd.received() == []


def test_told_to_deliver_nothing_it_says_ok_and_nobody_reads(worlds, page):
    here = worlds(confirm_ending="1")
    ding_id = here.ding([7001], words=f"{WORDS} {page.url}", faults=Faults(delivers_nothing=True))
    here.notify(faults=Faults(delivers_nothing=True))
    here.time[0] = 10_000.0
    assert here.detail(ding_id) == [{"accountId": 7001, "read": False, "confirmed": False}]
    assert here.shown == [] and page.opened == 0 and here.zwdd.counts()["links_owed"] == 0


@given(
    st.dictionaries(st.sampled_from([*notice(), *ding(), "dingId", "mobiles", "employeeCodes", "msgType"]), st.text(max_size=60))
)
def test_whatever_is_asked_there_is_an_envelope(parameters):
    zwdd = Zwdd(ZwddAccount(), Host(Clock(), no_push, lambda _: None))
    for path in PATHS:
        assert zwdd.opens(path)
        try:
            request = signed(path, {**notice(), **ding(), **parameters})
        except UnicodeEncodeError:
            return  # half a character cannot be sent
        assert {"success", "content", "bizErrorCode"} <= told(zwdd.handle(request, QUIET)).keys()
    zwdd.stop()


# --- who is who ----------------------------------------------------------------------------------------------------


def directory(**more: str) -> dict[str, str]:
    return {**TENANT, "areaCode": "86", "namespace": "local", **more}


def test_a_mobile_leads_to_a_person_and_the_code_to_the_account(here):
    found = here.ask("/mozi/employee/get_by_mobile", directory(mobile="15400000001"))["data"]
    expected = {
        "accountId": account_of("15400000001"),
        "mobile": "15400000001",
        "employeeCode": code_of("15400000001"),
        "status": 0,
    }
    assert found == expected
    both = here.ask("/mozi/employee/get_by_mobiles", directory(mobiles="15400000001,12000000001,19400000001"))["data"]
    assert [one["mobile"] for one in both] == ["15400000001", "19400000001"] and both[0] == expected
    codes = [code_of("19400000001"), "GE_x", "GE_1", code_of("15400000001")]
    ids = here.ask("/mozi/employee/listEmployeeAccountIds", {**TENANT, "employeeCodes": codes})["data"]
    assert [one["accountId"] for one in ids] == [account_of("19400000001"), account_of("15400000001")]
    assert here.ding([found["accountId"]])


def test_the_directory_has_limits_too(here):
    mobiles = ",".join(f"154{n:08d}" for n in range(51))
    with pytest.raises(Refused, match="SIM-PARAMETER"):
        here.ask("/mozi/employee/get_by_mobiles", directory(mobiles=mobiles))
    with pytest.raises(Refused, match="SIM-PARAMETER"):
        here.ask("/mozi/employee/get_by_mobile", {**TENANT, "mobile": "15400000001"})
    with pytest.raises(Refused, match="SIM-NOBODY"):
        here.ask("/mozi/employee/get_by_mobile", directory(mobile="12000000001"))
    with pytest.raises(Refused, match="SIM-PARAMETER"):
        here.ask(
            "/mozi/employee/listEmployeeAccountIds", {**TENANT, "employeeCodes": [code_of(f"154{n:08d}") for n in range(101)]}
        )


def test_a_window_never_holds_more_than_its_limit_wherever_it_begins():
    window, taken = Window((3, 10.0)), []
    for tenth in range(1000):
        now = tenth / 10
        if window.allows("k", now):
            window.add("k", now)
            taken.append(now)
    assert all(later - first >= 10.0 for first, later in zip(taken, taken[3:], strict=False)) and len(taken) == 30
