"""浙政钉 as two channels over one signed client: against a strict little platform, and by the official signer's vectors."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
import traceback
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from broadcast.channels import open_peer
from broadcast.channels.base import Call, Callback, Facts, Message, Purpose, Reply, Report, Verb
from broadcast.channels.zwdd import ZwddDing, ZwddDingOptions, ZwddNotice, ZwddNoticeOptions
from broadcast.channels.zwdd.answers import MEANINGS, Envelope, Meaning, open_envelope
from broadcast.channels.zwdd.signing import signature
from broadcast.delivery import State
from broadcast.errors import ChannelError, InDoubt, Misconfigured, Unavailable, Unsupported

VECTORS = json.loads((Path(__file__).parents[1] / "fixtures" / "zwdd_signatures.json").read_text("utf-8"))["vectors"]
FACTS = Facts(
    alert_id=1,
    identifier="33052141600000_20230705162130",
    event_code="11B03",
    event="暴雨",
    level="red",
    status="Actual",
    issuer="德清县气象台",
    headline="暴雨红色预警",
    sent=datetime(2023, 7, 5, 16, 21, 30, tzinfo=timezone(timedelta(hours=8))),
    expires=datetime(2023, 7, 5, 14, 21, tzinfo=UTC),
)
APP_KEY, SECRET, TENANT, CREATOR = "app-key-of-a-test", "very-secret-测-key+/=", "196729", "77000000"
ACCOUNTS = ("78600001", "78600002", "sim:zwdd:P3")
TEXT = "暴雨红色预警 请\n转移&=+%"
NOTICE, DING, LOOK_UP = "/message/workNotification", "/gov/ding/isv/send.json", "/mozi/employee/get_by_mobiles"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Asked:
    """One request that the platform let in."""

    path: str
    form: dict[str, str]
    line: str  # the request line's target


class Platform:
    """Refuses wrong signatures, used nonces, old tokens; `says` overrides the next answers of a path."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.arrived: list[str] = []  # every path, let in or not
        self.says: dict[str, list[tuple[int, bytes] | None]] = {}  # None = silence
        self.tokens, self.valid, self.lasts = 0, "", "7200"
        self.nonces: set[str] = set()
        self.stamps: list[datetime] = []
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.slow = 0.0
        far = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                answer = far.answer(self.command, self.path, dict(self.headers.items()), body)
                if answer is None:
                    far.ended.wait(10)
                    return
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes] | None:
        at = urllib.parse.urlsplit(target)
        headers = {name.lower(): value for name, value in headers.items()}
        if headers.get("content-type", FORM).partition(";")[0] != FORM:
            return refused("SIM-CONTENT-TYPE", "不支持的内容类型")
        fields = dict(urllib.parse.parse_qsl(at.query if method == "GET" else body.decode("ascii"), strict_parsing=True))
        with self.lock:
            self.arrived.append(at.path)
            scripted = self.says.get(at.path)
            if scripted:
                return scripted.pop(0)
            if why := self.unsigned(method, at.path, headers, fields):
                return why
            self.asked.append(Asked(at.path, fields, target))
            if at.path == "/gettoken.json":
                return self.token(method, fields)
            if fields.get("access_token", self.valid) != self.valid:
                return refused("SIM-TOKEN", "不合法的access_token或已过期")
            return taken({"msgId": "m-1"}) if at.path == NOTICE else self.others(at.path, fields)

    def unsigned(self, method: str, path: str, headers: dict[str, str], fields: dict[str, str]) -> tuple[int, bytes] | None:
        """Only what all of our requests need: keys that differ in more than their case, each of them once."""
        stamp, nonce = headers["x-hmac-auth-timestamp"], headers["x-hmac-auth-nonce"]
        text = "\n".join([method, stamp, nonce, path, "&".join(sorted((f"{k}={v}" for k, v in fields.items()), key=str.lower))])
        wanted = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), hashlib.sha256)).decode()
        if headers["apikey"] != APP_KEY or headers["x-hmac-auth-signature"] != wanted or nonce in self.nonces:
            return refused("OPF-B001-05-16-0009", "SignatureDoesNotMatch")
        if headers["x-hmac-auth-version"] != "1.0" or not headers["x-hmac-auth-ip"] or not headers["x-hmac-auth-mac"]:
            return refused("SIM-HEADER", "缺少 X-Hmac-Auth 请求头")
        self.nonces.add(nonce)
        self.stamps.append(datetime.fromisoformat(stamp))
        return None

    def token(self, method: str, fields: dict[str, str]) -> tuple[int, bytes]:
        if (method, fields) != ("GET", {"appkey": APP_KEY, "appsecret": SECRET}):
            return refused("SIM-SECRET", "appkey或appsecret不正确")
        self.ended.wait(self.slow)
        if not self.valid:
            self.tokens += 1
            self.valid = f"token-{self.tokens}-of-a-test"
        return taken({"data": {"accessToken": self.valid, "expiresIn": self.lasts}})

    def others(self, path: str, fields: dict[str, str]) -> tuple[int, bytes]:
        if path == LOOK_UP:
            mobiles = fields["mobiles"].split(",")
            assert (fields["areaCode"], fields["namespace"], fields["tenantId"]) == ("86", "local", TENANT)
            assert len(mobiles) <= 50
            known = [mobile for mobile in mobiles if not mobile.endswith("9")]
            return taken(
                {"data": [{"accountId": int(f"7{m[3:]}"), "mobile": m, "employeeCode": "GE_1", "status": 0} for m in known]}
            )
        [receiver] = json.loads(fields["receivers"])
        return taken({"data": {"dingId": f"ding-{receiver['accountId'][-1]}"}})

    def forms(self, path: str) -> list[dict[str, str]]:
        return [one.form for one in self.asked if one.path == path]


def taken(content: dict[str, object]) -> tuple[int, bytes]:
    inner = {"success": True, **content, "responseCode": "0", "responseMessage": "OK", "bizErrorCode": "0"}
    return 200, json.dumps({"success": True, "content": inner, "bizErrorCode": "0"}).encode()


def refused(code: str, words: str, status: int = 200) -> tuple[int, bytes]:
    """By the gateway, with an account in its words as real ones have them."""
    answer = {"success": False, "content": None, "bizErrorCode": code, "errorMsg": f"{words} {ACCOUNTS[0]}"}
    return status, json.dumps(answer, ensure_ascii=False).encode()


def refused_inside(code: str, words: str) -> tuple[int, bytes]:
    inner = {"success": False, "data": None, "responseCode": code, "responseMessage": f"{words} {ACCOUNTS[0]}"}
    return 200, json.dumps({"success": True, "content": inner}, ensure_ascii=False).encode()


@pytest.fixture
def far() -> Iterator[Platform]:
    with Platform() as running:
        yield running


def given_options(url: str, **changes: object) -> dict[str, object]:
    options: dict[str, object] = {"url": url, "app_key": APP_KEY, "app_secret": SECRET, "tenant_id": TENANT}
    return options | changes


def notice(url: str = "http://127.0.0.1:1", **changes: object) -> ZwddNotice:
    return ZwddNotice(ZwddNoticeOptions.model_validate(given_options(url, **changes)))


def ding(url: str = "http://127.0.0.1:1", **changes: object) -> ZwddDing:
    return ZwddDing(ZwddDingOptions.model_validate(given_options(url, **({"creator": CREATOR, "per_call": 20} | changes))))


def call(addresses=ACCOUNTS, text: str = TEXT, purpose: Purpose = Purpose.ALARM, attempt: int = 1) -> Call:
    messages = tuple(Message(seq, address, text, key=f"7-{seq}") for seq, address in enumerate(addresses, 10))
    return Call("7-10", purpose, messages, FACTS, attempt=attempt)


# --- the signature -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["path"] for vector in VECTORS])
def test_the_official_signers_vectors_come_out(vector):
    assert len(VECTORS) == 4
    given = (vector["secret"], vector["method"], vector["timestamp"], vector["nonce"], vector["path"], vector["parameters"])
    assert signature(*given) == vector["signature"]


def test_empty_values_are_not_signed_and_keys_are_sorted_whatever_their_case():
    same = [{"b": "1", "A": "2", "c": ["y", "x", ""]}, {"c": ["x", "y"], "A": "2", "b": "1", "d": "", "e": []}]
    first, second = (signature("s", "POST", "t", "n", "/p", parameters) for parameters in same)
    assert first == second
    text = "POST\nt\nn\n/p\nA=2&b=1&c=x&c=y"
    assert first == base64.b64encode(hmac.digest(b"s", text.encode(), "sha256")).decode()


def test_every_request_is_signed_anew_in_beijing_time(far):
    channel = ding(far.url)
    channel.send(call())
    assert len(far.nonces) == len(far.asked) == 4
    assert all(nonce.isdigit() for nonce in far.nonces)
    for stamp in far.stamps:
        assert stamp.utcoffset() == timedelta(hours=8)
        assert abs(datetime.now(UTC) - stamp) < timedelta(minutes=1)


# --- the work notification ---------------------------------------------------------------------------------------


def test_all_receivers_of_one_alert_share_one_call(far):
    receipts = notice(far.url).send(call())
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED] * 3
    [form] = far.forms(NOTICE)
    assert form == {
        "receiverIds": ",".join(ACCOUNTS),
        "tenantId": TENANT,
        "bizMsgId": "7-10-20230705082130",
        "msg": f'{{"msgtype":"text","text":{{"content":{json.dumps(TEXT, ensure_ascii=False)}}}}}',
        "access_token": "token-1-of-a-test",
    }
    assert {receipt.ref for receipt in receipts} == {"7-10-20230705082130"}


def test_a_thousand_fit_and_one_more_does_not(far):
    accounts = [str(78_000_000 + n) for n in range(1001)]
    assert len(notice(far.url).send(call(accounts[:1000]))) == 1000
    assert len(far.forms(NOTICE)[0]["receiverIds"].split(",")) == 1000
    with pytest.raises(Unsupported):
        notice(far.url).send(call(accounts))


def test_two_posts_of_one_person_are_one_receiver_and_share_the_receipt(far):
    receipts = notice(far.url).send(call([ACCOUNTS[0], ACCOUNTS[1], ACCOUNTS[0]]))
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED] * 3
    assert far.forms(NOTICE)[0]["receiverIds"] == f"{ACCOUNTS[0]},{ACCOUNTS[1]}"


@pytest.mark.parametrize("odd", ["", "0123", "+8615400000001", "GE_abc", "1,2", "7860 0001", "９８７", "9" * 20, "sim:grid:P1"])
@pytest.mark.parametrize("channel", [notice, ding])
def test_an_odd_account_is_rejected_alone(far, channel, odd):
    receipts = channel(far.url).send(call([ACCOUNTS[0], odd, ACCOUNTS[1]]))
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED, State.REJECTED, State.ACCEPTED]
    assert not any(odd in form.get("receiverIds", "").split(",") for form in far.forms(NOTICE))
    assert [receipt.state for receipt in channel().send(call([odd]))] == [State.REJECTED]  # nobody is asked


def test_a_repeat_that_the_platform_knows_has_the_answer_of_the_first(far):
    channel = notice(far.url)
    first = channel.send(call())
    far.says[NOTICE] = [refused_inside("SIM-REPEATED", "bizMsgId重复")]
    assert list(channel.send(call(attempt=2))) == list(first)


def test_an_id_that_the_platform_knows_at_our_first_try_has_told_nobody(far):
    far.says[NOTICE] = [refused_inside("SIM-REPEATED", "bizMsgId重复")]
    with pytest.raises(Misconfigured, match="bizMsgId"):
        notice(far.url).send(call())


def test_calls_of_another_batch_or_alert_have_another_id(far):
    channel = notice(far.url)
    later = replace(FACTS, sent=FACTS.sent + timedelta(minutes=40))
    for one in (call(), replace(call(), key="8-10"), replace(call(), facts=later)):
        channel.send(one)
    assert len({form["bizMsgId"] for form in far.forms(NOTICE)}) == 3


def test_any_text_of_the_stated_length_fits_into_2048_bytes(far):
    channel = notice(far.url)
    limit = open_peer(
        name="n", channel="zwdd", protocol="zwdd-notice", simulated=True, options=given_options(far.url)
    ).capabilities
    assert (limit.text_limit, limit.unit) == (1000, "utf8")
    for text in ("雨" * 333, '"' * 1000, "\\" * 1000, "雨\n" * 250, "a\x00" * 499 + "a", "𠮷" * 250):
        channel.send(call(text=text))
    assert max(len(form["msg"].encode()) for form in far.forms(NOTICE)) <= 2048
    assert json.loads(far.forms(NOTICE)[1]["msg"]) == {"msgtype": "text", "text": {"content": '"' * 1000}}
    assert json.loads(far.forms(NOTICE)[4]["msg"])["text"]["content"] == "a " * 499 + "a"


@pytest.mark.parametrize(
    "impossible",
    [
        call(purpose=Purpose.STOP),
        call([]),
        call(text=""),
        call(text=" \x00\n"),
        call(text="雨" * 670),
        call(text="\ud83d"),
        replace(call(), messages=(Message(1, "78600001", "甲"), Message(2, "78600002", "乙"))),
    ],
)
def test_what_a_notice_cannot_do_is_said_before_anything_leaves(far, impossible):
    with pytest.raises(Unsupported):
        notice(far.url).send(impossible)
    assert far.arrived == []


def test_an_account_that_nobody_has_is_rejected_only_when_it_stands_alone(far):
    far.says[NOTICE] = [refused_inside("SIM-NOBODY", "接收者不存在")] * 2
    assert [receipt.state for receipt in notice(far.url).send(call(ACCOUNTS[:1]))] == [State.REJECTED]
    with pytest.raises(Misconfigured, match="look the accounts up"):
        notice(far.url).send(call())


def test_a_stand_down_and_a_request_for_release_are_plain_texts(far):
    for purpose in (Purpose.STAND_DOWN, Purpose.RELEASE):
        for channel in (notice(far.url), ding(far.url)):
            assert channel.send(call(purpose=purpose))[0].state is State.ACCEPTED


# --- DING ---------------------------------------------------------------------------------------------------------


def test_each_ding_has_its_own_words_and_one_receiver(far):
    messages = tuple(replace(one, text=f"{TEXT} https://county.example/c/{one.seq}") for one in call().messages)
    receipts = ding(far.url, notify_type="sms").send(replace(call(), messages=messages))
    assert [(receipt.state, receipt.ref) for receipt in receipts] == [
        (State.ACCEPTED, "ding-1"),
        (State.ACCEPTED, "ding-2"),
        (State.ACCEPTED, "ding-3"),
    ]
    forms = far.forms(DING)
    assert forms[0] == {
        "creator": f'{{"accountId":"{CREATOR}"}}',
        "receivers": f'[{{"accountId":"{ACCOUNTS[0]}"}}]',
        "notifyType": "sms",
        "tenantId": TENANT,
        "textType": "plaintext",
        "bodyType": "text",
        "body": json.dumps({"text": messages[0].text}, ensure_ascii=False, separators=(",", ":")),
        "access_token": "token-1-of-a-test",
    }
    assert [json.loads(form["body"])["text"] for form in forms] == [message.text for message in messages]


def test_the_newer_door_can_be_named(far):
    ding(far.url, path="/ding/isv/send.json").send(call(ACCOUNTS[:1]))
    assert len(far.forms("/ding/isv/send.json")) == 1


@pytest.mark.parametrize(
    ("trouble", "state"),
    [
        (refused("SIM-BUSY", "请稍后再试"), State.DEFERRED),
        (refused("SIM-X", "appsecret"), State.DEFERRED),
        (refused("SIM-NEVER-HEARD-OF", "?"), State.IN_DOUBT),
        ((500, b"<html>"), State.IN_DOUBT),
        (None, State.IN_DOUBT),
    ],
)
def test_who_was_told_is_not_told_again_because_a_later_one_broke_off(far, trouble, state):
    channel = ding(far.url, read_seconds=0.3)
    channel.send(call(ACCOUNTS[:1]))
    far.says[DING] = [taken({"data": "d-1"}), trouble]
    receipts = channel.send(call([*ACCOUNTS, ACCOUNTS[0]]))
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED, state, State.DEFERRED, State.DEFERRED]
    assert far.arrived.count(DING) == 3
    assert not any(account in repr(receipts) for account in ACCOUNTS)


@pytest.mark.parametrize(
    ("trouble", "error"),
    [(refused("SIM-BUSY", "频繁"), Unavailable), (refused("SIM-X", "权限"), Misconfigured), ((500, b""), InDoubt)],
)
def test_where_the_first_is_not_taken_nobody_was_told(far, trouble, error):
    far.says[DING] = [trouble]
    with pytest.raises(error):
        ding(far.url).send(call(["odd", *ACCOUNTS]))
    assert far.arrived.count(DING) == 1


def test_one_account_that_nobody_has_does_not_hold_up_the_others(far):
    far.says[DING] = [refused_inside("SIM-NOBODY", "接收者不存在")]
    states = [receipt.state for receipt in ding(far.url).send(call())]
    assert states == [State.REJECTED, State.ACCEPTED, State.ACCEPTED]


def test_a_ding_that_is_called_a_repeat_is_a_doubt(far):
    far.says[DING] = [refused_inside("SIM-REPEATED", "重复")]
    with pytest.raises(InDoubt):
        ding(far.url).send(call(attempt=2))


@pytest.mark.parametrize(
    ("data", "ref"),
    [
        ({"dingId": 12}, "12"),
        ("d-7", "d-7"),
        (7, "7"),
        (True, ""),
        (None, ""),
        ({"dingId": None}, ""),
        ({"dingId": "x\x00y"}, ""),
        ("9" * 65, ""),
    ],
)
def test_a_ding_is_accepted_whatever_its_id_looks_like(far, data, ref):
    far.says[DING] = [taken({"data": data})]
    [receipt] = ding(far.url).send(call(ACCOUNTS[:1]))
    assert (receipt.state, receipt.ref) == (State.ACCEPTED, ref)


@pytest.mark.parametrize(
    "impossible",
    [call(purpose=Purpose.STOP), call([]), call(text=" "), call(text="\ud83d"), call([str(n) for n in range(1, 22)])],
)
def test_what_a_ding_cannot_do_is_said_before_anything_leaves(far, impossible):
    with pytest.raises(Unsupported):
        ding(far.url).send(impossible)
    assert far.arrived == []


# --- the token ----------------------------------------------------------------------------------------------------


def test_one_token_serves_all_calls(far):
    channel = ding(far.url)
    channel.send(call())
    channel.send(call())
    assert far.arrived.count("/gettoken.json") == 1


def test_many_threads_fetch_one_token_and_share_one_channel(far):
    far.slow = 0.2
    channel, receipts = ding(far.url), []
    threads = [threading.Thread(target=lambda: receipts.extend(channel.send(call()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED] * 18
    assert far.arrived.count("/gettoken.json") == 1


def test_a_token_that_ends_soon_is_refreshed_and_until_then_the_old_one_holds(far):
    far.lasts = "0"
    channel = notice(far.url)
    channel.send(call())
    channel.send(call())
    assert far.arrived.count("/gettoken.json") == 2


def test_an_old_token_that_still_holds_is_used_when_no_new_one_can_be_had(far, caplog, monkeypatch):
    channel = notice(far.url)
    channel.send(call())
    now = time.monotonic()
    far.says["/gettoken.json"] = [(500, b"")] * 2
    monkeypatch.setattr("time.monotonic", lambda: now + 6700)  # 10 minutes before its end it is refreshed
    assert channel.send(call())[0].state is State.ACCEPTED
    assert "the old one still holds" in caplog.text
    monkeypatch.setattr("time.monotonic", lambda: now + 7300)
    with pytest.raises(Unavailable, match="no access token"):
        channel.send(call())
    assert far.arrived.count("/gettoken.json") == 3
    assert far.arrived.count(NOTICE) == 2


def test_a_token_that_the_platform_no_longer_takes_is_fetched_anew_once(far):
    channel = ding(far.url)
    channel.send(call(ACCOUNTS[:1]))
    far.valid = ""
    assert channel.send(call(ACCOUNTS[:1]))[0].state is State.ACCEPTED
    assert [form["access_token"] for form in far.forms(DING)] == ["token-1-of-a-test"] * 2 + ["token-2-of-a-test"]


def test_a_refusal_by_status_also_drops_the_token(far):
    channel = ding(far.url)
    channel.send(call(ACCOUNTS[:1]))
    far.says[DING] = [(401, b"")]
    assert channel.send(call(ACCOUNTS[:1]))[0].state is State.ACCEPTED
    assert far.arrived.count("/gettoken.json") == 2
    far.says[DING] = [(403, b"")] * 2
    with pytest.raises(Misconfigured, match="403"):
        channel.send(call(ACCOUNTS[:1]))


def test_a_token_that_is_never_taken_is_about_us(far):
    far.says[NOTICE] = [refused("SIM-TOKEN", "不合法的access_token")] * 3
    with pytest.raises(Misconfigured, match="SIM-TOKEN"):
        notice(far.url).send(call())
    assert far.arrived.count(NOTICE) == 2


@pytest.mark.parametrize("answer", [None, (500, b"<html>"), (200, b"{"), (200, json.dumps({"success": True}).encode())])
def test_while_no_token_comes_certainly_nothing_left(far, answer):
    far.says["/gettoken.json"] = [answer]
    with pytest.raises(Unavailable, match="no access token"):
        notice(far.url, read_seconds=0.3).send(call())
    assert far.arrived == ["/gettoken.json"]


@pytest.mark.parametrize(
    "data", [None, [], {}, {"accessToken": ""}, {"accessToken": "t", "expiresIn": None}, {"accessToken": "t", "expiresIn": -1}]
)
def test_an_answer_without_a_token_is_about_us(far, data):
    far.says["/gettoken.json"] = [taken({"data": data})]
    with pytest.raises(Misconfigured, match="no access token"):
        notice(far.url).send(call())


def test_without_tokens_none_is_fetched_and_none_is_sent(far):
    notice(far.url, with_token=False).send(call())
    assert far.arrived == [NOTICE]
    assert "access_token" not in far.forms(NOTICE)[0]


@pytest.mark.parametrize("changes", [{"app_secret": "another"}, {"app_key": "another"}])
@pytest.mark.parametrize("with_token", [True, False])
def test_a_wrong_account_is_about_us(far, changes, with_token):
    for channel in (notice(far.url, with_token=with_token, **changes), ding(far.url, with_token=with_token, **changes)):
        with pytest.raises(Misconfigured, match="OPF-B001-05-16-0009"):
            channel.send(call())
    assert far.forms(NOTICE) == far.forms(DING) == []


# --- the platform's words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [refused, refused_inside])
@pytest.mark.parametrize(
    ("code", "words", "error"),
    [
        ("OPF-B001-05-16-0009", "SignatureDoesNotMatch", Misconfigured),
        ("X", "signaturedoesnotmatch", Misconfigured),
        ("X", "X-Hmac-Auth-Timestamp 与服务器时间相差超过15分钟", Misconfigured),
        ("X", "X-Hmac-Auth-Nonce 重放", Misconfigured),
        ("X", "nonce重复", Misconfigured),
        ("X", "发送间隔不得低于10min", Unavailable),
        ("X", "禁止使用多线程方式调用", Unavailable),
        ("X", "调用过于频繁", Unavailable),
        ("TooManyRequests", "", Unavailable),
        ("X", "当天工作通知总量超过2万条,请稍后再试", Misconfigured),
        ("X", "同一用户一天不得超过100次", Misconfigured),
        ("X", "接收者超过上限", Misconfigured),
        ("X", "没有权限", Misconfigured),
        ("X", "参数错误", Misconfigured),
        ("X", "租户不存在", Misconfigured),
        ("X", "系统错误", InDoubt),
        ("NEVER-HEARD-OF", "", InDoubt),
    ],
)
def test_each_refusal_says_what_to_do_next(far, shape, code, words, error):
    far.says[NOTICE] = [shape(code, words)]
    with pytest.raises(error) as caught:
        notice(far.url).send(call(attempt=2))
    assert ACCOUNTS[0] not in str(caught.value)
    assert isinstance(caught.value, ChannelError)


def test_what_came_too_soon_is_due_again_after_the_gap(far):
    far.says[NOTICE] = [refused_inside("SIM-TOO-SOON", "发送间隔不得低于10min")] * 2
    for gap in (600, 30):
        with pytest.raises(Unavailable) as caught:
            notice(far.url, gap_seconds=gap).send(call())
        assert caught.value.retry_after == gap


@pytest.mark.parametrize(
    "answer",
    [
        {"success": True, "content": {"msgId": "m"}},
        {"success": True, "content": {"success": True, "content": {"msgId": "m"}}},
        {"success": True, "content": json.dumps({"success": True, "content": {"msgId": "m"}})},
        {"success": "true", "content": {"success": "true", "responseCode": 0, "bizErrorCode": "0"}, "bizErrorCode": None},
    ],
)
def test_every_shape_in_which_the_platform_says_yes_is_a_yes(far, answer):
    far.says[NOTICE] = [(200, json.dumps(answer).encode())]
    assert notice(far.url).send(call())[0].state is State.ACCEPTED


@pytest.mark.parametrize(
    "answer",
    [
        {"success": True, "content": {"success": False}},
        {"success": False, "content": {"success": True}},
        {"success": True, "content": json.dumps({"success": False})},
        {"success": True, "content": {"success": True, "responseCode": "7"}},
        {"success": True, "content": {"success": True}, "bizErrorCode": "7"},
        {"success": True, "content": {"success": 0}},
        {"success": True, "content": {"success": None}},
        {"success": True},
        {"success": True, "content": None},
        {"success": True, "content": "{"},
        {"content": {"success": True}},
        [],
        "yes",
    ],
)
def test_a_yes_that_is_not_said_everywhere_is_none(far, answer):
    far.says[NOTICE] = [(200, json.dumps(answer).encode())]
    with pytest.raises(InDoubt):
        notice(far.url).send(call())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["success", "content", "responseCode", "errorMsg", "data"]), inner, max_size=5)
        | inner.map(json.dumps)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()))
@example(b'{"success":false,"errorMsg":"\\ud800"}')
@example(b'{"success":true,"content":"{\\"success\\":\\"\\ud800\\"}"}')
@example(b"[" * 50_000)
def test_any_answer_is_an_envelope_or_a_value_error(body):
    try:
        envelope = open_envelope(body)
    except ValueError:
        return
    assert isinstance(envelope, Envelope)
    assert envelope.code.isprintable()
    found = json.loads(body)
    if envelope.meaning is Meaning.TAKEN:
        assert found["success"] in (True, "true") and found["content"]


def test_only_the_success_flags_mean_taken():
    assert Meaning.TAKEN not in MEANINGS.values()
    assert [word for word, meaning in MEANINGS.items() if meaning is Meaning.ALREADY] == ["重复"]


# --- accounts, ahead of time ---------------------------------------------------------------------------------------


def test_accounts_are_looked_up_fifty_at_a_time_in_the_body_never_in_the_url(far):
    mobiles = [f"+86154{n:08d}" for n in range(120)]
    found = notice(far.url).look_up([*mobiles, mobiles[0], "+85215400001", "15400000001", ""])
    assert [len(form["mobiles"].split(",")) for form in far.forms(LOOK_UP)] == [50, 50, 20]
    assert found == {mobile: f"7{mobile[6:]}" for mobile in mobiles if not mobile.endswith("9")}
    assert not any("154" in one.line for one in far.asked if one.path == LOOK_UP)


def test_a_look_up_takes_what_is_well_formed_and_was_asked_for(far):
    entries = [
        None,
        {},
        {"mobile": "15400000001", "accountId": None},
        {"mobile": "+86-15400000002", "accountId": "78600002"},
        {"mobile": "15400000003", "accountId": 78600003},
        {"mobile": "15400000009", "accountId": 78600009},
        {"mobile": "15400000004", "accountId": "1,2"},
    ]
    far.says[LOOK_UP] = [taken({"data": entries}), taken({"data": None})]
    asked = [f"+8615400000{n:03d}" for n in range(1, 5)]
    assert ding(far.url).look_up(asked) == {asked[1]: "78600002", asked[2]: "78600003"}
    assert ding(far.url).look_up(asked) == {}
    assert ding().look_up([]) == {}


def test_a_look_up_without_an_answer_can_be_tried_again(far):
    far.says[LOOK_UP] = [(500, b""), refused("X", "权限")]
    with pytest.raises(Unavailable):
        notice(far.url).look_up(["+8615400000001"])
    with pytest.raises(Misconfigured):
        notice(far.url).look_up(["+8615400000001"])


# --- the contract and the secrets ----------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_nobody_calls_back_and_whoever_does_is_answered(body):
    for channel in (NOBODY_NOTICE, NOBODY_DING):
        with pytest.raises(ValueError):
            channel.read(Callback("/callbacks/zwdd", {}, body))
        assert channel.answer(Callback("/callbacks/zwdd", {}, body)).status == 404


NOBODY_NOTICE, NOBODY_DING = notice(), ding()


def test_nobody_can_be_asked_and_nothing_fetched():
    for channel in (NOBODY_NOTICE, NOBODY_DING):
        with pytest.raises(Unsupported):
            channel.ask(call())
    with pytest.raises(Unsupported):
        NOBODY_NOTICE.collect(lambda _callback: None, 1.0)


def detail(ref: str = "d1", **entry: object) -> Callback:
    body = {"dingId": ref, "data": [{"accountId": "78600001", "read": False, "confirmed": False} | entry]}
    return Callback("/ding/query/userDetail", {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("entry", "verbs", "states"),
    [
        ({}, [], []),
        ({"read": True}, [], [State.DELIVERED]),
        ({"read": True, "confirmed": True}, [Verb.ACKNOWLEDGED], [State.DELIVERED]),
        ({"confirmed": "yes"}, [], []),
    ],
)
def test_read_is_reached_and_only_confirmed_is_an_answer(entry, verbs, states):
    found = NOBODY_DING.read(detail(**entry))
    assert [one.verb for one in found if isinstance(one, Reply)] == verbs
    assert [one.receipt.state for one in found if isinstance(one, Report)] == states
    assert {getattr(one, "ref", "") or one.receipt.ref for one in found} <= {"d1"}


def test_the_detail_of_a_ding_is_kept_once_for_each_thing_that_it_says(far):
    says = [[{"accountId": "78600001", "read": read, "confirmed": False}] for read in (False, True, True)]
    far.says = {"/ding/query/userDetail": [taken({"data": data}) for data in says]}
    channel, kept = ding(far.url), []
    for _ in says:
        channel.collect(kept.append, 5.0, lambda: ["d1"])
    assert [json.loads(one.body)["data"][0]["read"] for one in kept] == [False, True]


def test_where_nobody_listens_certainly_nothing_left():
    for url in ("http://127.0.0.1:1", "http://zwdd.invalid"):
        for channel in (notice(url), ding(url, with_token=False)):
            with pytest.raises(Unavailable):
                channel.send(call())


def test_where_nobody_answers_it_is_a_doubt_and_is_not_repeated(far):
    far.says = {NOTICE: [None], DING: [None]}
    for channel in (notice(far.url, read_seconds=0.2), ding(far.url, read_seconds=0.2)):
        with pytest.raises(InDoubt):
            channel.send(call())
    assert (far.arrived.count(NOTICE), far.arrived.count(DING)) == (1, 1)


def test_a_peer_says_what_its_contract_allows():
    options = given_options("http://127.0.0.1:1", per_call=500, gap_seconds=60, text_limit=900)
    can = open_peer(name="n", channel="zwdd", protocol="zwdd-notice", simulated=True, options=options).capabilities
    assert (can.per_call, can.gap_seconds, can.text_limit) == (500, 60, 900)
    assert (can.deduplicates, can.acknowledges, can.receipts, can.one_text) == (True, False, False, True)
    options = given_options("http://127.0.0.1:1", creator=CREATOR, per_call=5)
    can = open_peer(name="d", channel="zwdd", protocol="zwdd-ding", simulated=True, options=options).capabilities
    assert (can.per_call, can.gap_seconds, can.one_text) == (5, 0, False)
    assert (can.deduplicates, can.acknowledges, can.receipts, can.collect_seconds) == (False, True, True, 30)


@pytest.mark.parametrize(
    "changes",
    [{"per_call": 1001}, {"gap_seconds": -1}, {"app_secret": ""}, {"tenant_id": "x"}, {"verify": False}, {"creator": CREATOR}],
)
def test_an_option_that_cannot_be_is_refused(changes):
    with pytest.raises(ValidationError):
        notice(**changes)
    with pytest.raises(ValidationError):
        ding(path="/somewhere/else")


def test_no_account_no_text_no_secret_and_no_token_is_ever_shown(far, caplog):
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    for open_channel, path in ((notice, NOTICE), (ding, DING)):
        channel = open_channel(far.url, read_seconds=0.3)
        shown += [repr(channel), repr(channel._options), repr(channel._client), repr(call()), repr(channel.send(call()))]
        channel.look_up(["+8615400000001"])
        shown.append(repr(channel._client._token))
        far.says[path] = [refused("X", "权限"), refused_inside("78600001", "?"), refused("X", "间隔"), (200, b"78600001"), None]
        tries = [(channel, call())] * 5 + [(channel, call(purpose=Purpose.STOP)), (channel, call(text=""))]
        tries += [(open_channel(), call()), (open_channel(far.url, app_secret="another-" + SECRET), call())]
        for which, wanted in tries:
            with pytest.raises(ChannelError) as caught:
                which.send(wanted)
            shown.append("".join(traceback.format_exception(caught.value)))
    assert any("appsecret=" in one.line for one in far.asked)  # the platform's rule; on the wire it stands
    assert "/gettoken.json" in caplog.text  # httpx tells every URL, and this one holds nothing
    everything = "\n".join([*shown, caplog.text])
    for hidden in (
        *ACCOUNTS,
        "15400000001",
        TEXT,
        "暴雨红色预警 请",
        SECRET,
        urllib.parse.quote(SECRET),
        CREATOR,
        APP_KEY,
        "of-a-test",
    ):
        assert hidden not in everything


def test_closing_gives_the_connections_back(far):
    for channel in (notice(far.url), ding(far.url)):
        channel.send(call())
        channel.close()
        with pytest.raises(RuntimeError):
            channel.send(call())
