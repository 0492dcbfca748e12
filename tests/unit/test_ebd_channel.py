"""The loudspeaker channel against a county platform that reads as strictly as the strictest receivers in the field."""

from __future__ import annotations

import io
import logging
import re
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from lxml import etree

from broadcast.channels.base import Call, Callback, Condition, Facts, Message, Number, Past, Purpose, Report, Standing
from broadcast.channels.ebd import Ebd, EbdOptions, signature
from broadcast.channels.ebd.channel import NOT_A_SYSTEM, NOT_TRIED, NOTHING_ON_AIR
from broadcast.delivery import State
from broadcast.errors import ChannelError, InDoubt, Misconfigured, Unavailable, Unsupported
from broadcast.simulator import Config, EbdAccount, Simulator

OURS, PEER = "43305210000000001010101", "43305210000000101010101"
PRIVATE = "5117a7ed" * 8
AT = datetime(2025, 6, 24, 6, 5, 10, 345_000, tzinfo=UTC)  # 14:05:10 in Beijing
TEXT = "莫干山镇请立即转移"
FACTS = Facts(
    alert_id=1,
    identifier="33052141600000_20250624140500",
    event_code="11B03",
    event="暴雨",
    level="red",
    status="Actual",
    issuer="德清县气象台",
    headline="德清县气象台发布暴雨红色预警信号",
    sent=AT,
    expires=AT + timedelta(hours=3),
)
VILLAGES = ("63305211102000314010101", "63305211102010314010101", "330521110203")
EBMID = f"{OURS}202506240007"


@dataclass
class Arrived:
    """A request as it came, and what stock tools find in it."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes
    names: list[str] = field(default_factory=list)  # of the files in the TAR
    files: list[bytes] = field(default_factory=list)

    @property
    def xml(self) -> Any:
        return etree.fromstring(self.files[0])

    def text(self, path: str) -> str | None:
        return self.xml.findtext(path)


class Server(ThreadingHTTPServer):
    """Remembers what went wrong in a thread; that a client hangs up is no error."""

    daemon_threads = True

    def __init__(self, door: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), door)
        self.errors: list[BaseException | None] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        if not isinstance(error := sys.exception(), ConnectionError):
            self.errors.append(error)

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        assert self.errors == []


class Platform:
    """Reads what the strictest receiver would (else HTTP 400), and answers with the next of `script`, then always with 1.

    In a script: a ResultCode with its words; a status with a body; None to hang up.
    """

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.script: list[tuple[int, str] | tuple[int, bytes] | None] = []
        platform = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                platform.take(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = Server(Door)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/linkage/access"

    def take(self, door: BaseHTTPRequestHandler) -> None:
        body = door.rfile.read(int(door.headers["Content-Length"]))
        arrived = Arrived(door.path, door.headers.items(), body)
        problem = read_strictly(arrived)
        if problem:
            self.say(door, 400, problem.encode())
            return
        self.arrived.append(arrived)
        then = self.script.pop(0) if self.script else (1, "")
        if then is None:
            door.close_connection = True
        elif isinstance(then[1], bytes):
            self.say(door, then[0], then[1])
        else:
            self.say(door, 200, response(*then, related=arrived.text("EBDID") or ""))

    def say(self, door: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        door.send_response(status)
        door.send_header("Content-Length", str(len(body)))
        door.send_header("Content-Disposition", "attachment;fileName=x.tar")
        door.end_headers()
        door.wfile.write(body)


def read_strictly(arrived: Arrived) -> str:
    """What is wrong with it, "" for nothing."""
    headers = dict(arrived.headers)
    form = re.fullmatch(r"multipart/form-data; boundary=([0-9a-zA-Z]+)", headers.get("Content-Type", ""))
    if form is None:
        return "no unquoted boundary at the end of Content-Type"
    if any(name != name.title() for name in headers):
        return "a header's name is not in title case"
    if "Transfer-Encoding" in headers or "Expect" in headers:
        return "no chunks, no 100-continue"
    head, _, rest = arrived.body.partition(b"\r\n\r\n")
    opening, *lines = head.decode().split("\r\n")
    content, closing, end = rest.rpartition(f"\r\n--{form[1]}--".encode())
    name = re.fullmatch(r'Content-Disposition: form-data; name="(file|field1)"; filename="EBDT_([0-9]{36,41})\.tar"', lines[0])
    if opening != f"--{form[1]}" or not closing or end not in (b"", b"\r\n") or name is None or len(lines) != 2:
        return "not exactly one part with a name and a file name"
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        arrived.names = tar.getnames()
        arrived.files = [tar.extractfile(one).read() for one in tar.getmembers()]
    if arrived.names[0] != f"EBDB_{name[2]}.xml" or arrived.text("EBDID") != name[2]:
        return "EBDB is not the first file, or the EBDIDs differ"
    if re.search(r"[\"'\\]", "".join(arrived.xml.itertext())):
        return "a character that breaks receivers"
    return ""


def response(code: object, words: str = "", *, related: str = "", kind: str = "EBDResponse", after: bytes = b"") -> bytes:
    """A reply by hand: unsigned, with what Gospell leaves out left out."""
    other = f"<RelatedEBD><EBDID>{related}</EBDID></RelatedEBD>" if related else ""
    document = (
        f'<EBD xmlns:xs="x"><EBDVersion>1</EBDVersion><EBDID>10{PEER}{1:016d}</EBDID><EBDType>{kind}</EBDType><SRC><EBRID>{PEER}'
        f"</EBRID></SRC><EBDTime>2025-06-24 14:05:11</EBDTime>{other}"
        f"<{kind}><ResultCode>{code}</ResultCode><ResultDesc>{words}</ResultDesc></{kind}></EBD>"
    ).encode()
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        info = tarfile.TarInfo("EBDB_1.xml")
        info.size = len(document)
        tar.addfile(info, io.BytesIO(document))
    return written.getvalue() + after


@pytest.fixture
def platform() -> Iterator[Platform]:
    running = Platform()
    yield running
    running.server.end()


@pytest.fixture
def open_channel(platform: Platform) -> Iterator[Any]:
    opened = []

    def open_(signer: signature.Signer | None = None, **changes: object) -> Ebd:
        given = {
            "url": platform.url,
            "ebrid": OURS,
            "peer_ebrid": PEER,
            "reply_url": "http://192.0.2.10:8080/ebd",
            "sender_name": "德清县突发事件预警信息发布中心",
            "private_key": PRIVATE,
            "cert_sn": "000000000501",
            "read_seconds": 5,
        }
        opened.append(Ebd(EbdOptions.model_validate(given | changes), signer))
        return opened[-1]

    yield open_
    for channel in opened:
        channel.close()


def call(
    addresses: tuple[str, ...] = VILLAGES,
    *,
    text: str = TEXT,
    purpose: Purpose = Purpose.ALARM,
    facts: Facts = FACTS,
    n: int = 7,
    at: datetime = AT,
    past: tuple[Past, ...] = (),
) -> Call:
    messages = tuple(Message(seq, address, text, key=f"7-{seq}") for seq, address in enumerate(addresses))
    return Call("7-0", purpose, messages, replace(facts, past=past), number=Number(date(2025, 6, 24), n, at))


def states(receipts) -> list[str]:
    return [str(receipt.state) for receipt in receipts]


# --- a warning ---------------------------------------------------------------------------------------------------


def test_all_villages_of_a_call_hear_one_ebm(platform, open_channel):
    receipts = open_channel().send(call())
    assert states(receipts) == ["accepted"] * 3
    assert {(one.ref, one.code) for one in receipts} == {(EBMID, "ResultCode 1")}
    (arrived,) = platform.arrived
    assert arrived.path == "/linkage/access"
    assert arrived.names == [f"EBDB_10{OURS}2025062400070000.xml", f"EBDS_EBDB_10{OURS}2025062400070000.xml"]
    basic, content = "EBM/MsgBasicInfo/", "EBM/MsgContent/"
    assert {path: arrived.text(path) for path in ("EBDType", "EBDTime", "SRC/EBRID", "SRC/URL", "DEST/EBRID", "EBM/EBMID")} == {
        "EBDType": "EBM",
        "EBDTime": "2025-06-24 14:05:10",
        "SRC/EBRID": OURS,
        "SRC/URL": "http://192.0.2.10:8080/ebd",
        "DEST/EBRID": PEER,
        "EBM/EBMID": EBMID,
    }
    assert [(one.tag, one.text) for one in arrived.xml.find("EBM/MsgBasicInfo")] == [
        ("MsgType", "1"),
        ("SenderName", "德清县突发事件预警信息发布中心"),
        ("SenderCode", OURS),
        ("SendTime", "2025-06-24 14:05:10"),
        ("EventType", "11B03"),
        ("Severity", "1"),
        ("StartTime", "2025-06-24 14:05:10"),
        ("EndTime", "2025-06-24 15:05:10"),
    ]
    assert [(one.tag, one.text) for one in arrived.xml.find("EBM/MsgContent")] == [
        ("LanguageCode", "zho"),
        ("MsgTitle", "德清县气象台发布暴雨红色预警信号"),
        ("MsgDesc", TEXT),
        ("AreaCode", "330521110200,330521110201,330521110203"),
    ]
    assert [one.tag for one in arrived.xml.find("EBM")] == ["EBMVersion", "EBMID", "MsgBasicInfo", "MsgContent"]
    assert arrived.text(basic + "MsgType") == "1" and arrived.xml.find(content + "Auxiliary") is None


def test_what_receivers_need_of_a_request_is_on_the_wire(platform, open_channel):
    open_channel(part_name="field1", part_type="application/octet-stream").send(call())
    (arrived,) = platform.arrived  # it was read strictly
    headers = dict(arrived.headers)
    assert headers["Content-Length"] == str(len(arrived.body))
    assert b'name="field1"' in arrived.body and b"\r\nContent-Type: application/octet-stream\r\n\r\n" in arrived.body


def test_a_resend_is_the_same_to_the_byte_from_another_process_too(platform, open_channel):
    platform.script = [None]
    channel = open_channel()
    with pytest.raises(InDoubt):
        channel.send(call())
    channel.send(replace(call(), attempt=2))
    open_channel().send(replace(call(), attempt=3))
    first, second, third = platform.arrived
    assert first.body == second.body == third.body
    assert dict(first.headers)["Content-Type"] == dict(third.headers)["Content-Type"]
    open_channel().send(call(n=8))
    assert platform.arrived[-1].body != first.body


@pytest.mark.parametrize("mode", ["A", "B", "none"])
def test_an_ebm_is_signed_in_the_mode_that_the_county_reads(platform, open_channel, mode):
    open_channel(sign_mode=mode).send(call())
    document, *signed = platform.arrived[0].files
    found = [signature.signed_by(document, signature.read(one), [signature.public_key(PRIVATE)]) for one in signed]
    assert found == ([] if mode == "none" else [mode])


def test_areas_are_named_once_in_the_order_of_the_messages_and_what_is_none_is_rejected(platform, open_channel):
    addresses = ("330521110203", "+8615400000001", "63305211102030314010101", "330521110200", "", "33052111020")
    receipts = open_channel().send(call(addresses))
    assert states(receipts) == ["accepted", "rejected", "accepted", "accepted", "rejected", "rejected"]
    assert receipts[1] == NOT_A_SYSTEM
    assert platform.arrived[0].text("EBM/MsgContent/AreaCode") == "330521110203,330521110200"


def test_where_nobody_can_hear_it_nothing_is_sent(platform, open_channel):
    assert states(open_channel().send(call(("x", "y")))) == ["rejected", "rejected"]
    assert platform.arrived == []


@pytest.mark.parametrize(
    ("expires", "minutes", "end"),
    [
        (timedelta(hours=3), 60, "15:05:10"),
        (timedelta(hours=3), 200, "17:05:10"),
        (timedelta(minutes=2), 60, "14:07:10"),
        (timedelta(0), 60, "14:10:10"),  # over as it comes: still long enough to be spoken
        (timedelta(hours=-3), 60, "14:10:10"),
        (timedelta(milliseconds=300), 60, "14:10:10"),  # the same second is no time after it
    ],
)
def test_a_broadcast_ends_with_its_alert_or_after_the_minutes_that_were_agreed(platform, open_channel, expires, minutes, end):
    facts = replace(FACTS, expires=AT + expires)
    open_channel(on_air_minutes=minutes).send(call(facts=facts))
    assert platform.arrived[0].text("EBM/MsgBasicInfo/EndTime") == f"2025-06-24 {end}"


@pytest.mark.parametrize(
    ("facts", "changes", "event_type", "severity"),
    [
        ({"level": "orange"}, {}, "11B03", "2"),
        ({"level": "yellow"}, {"event_codes": {"11B03": "10203"}}, "10203", "3"),
        ({"level": "blue"}, {"event_codes": {"11B01": "10201"}}, "11B03", "4"),
        ({"level": ""}, {}, "11B03", "0"),
        ({"event_code": ""}, {}, "11000", "1"),
        ({"event_code": ""}, {"event_codes": {"": "69900"}}, "69900", "1"),
    ],
)
def test_event_and_level_are_said_in_the_platforms_codes(platform, open_channel, facts, changes, event_type, severity):
    open_channel(**changes).send(call(facts=replace(FACTS, **facts)))
    basic = platform.arrived[0].xml.find("EBM/MsgBasicInfo")
    assert (basic.findtext("EventType"), basic.findtext("Severity")) == (event_type, severity)


@pytest.mark.parametrize("status", ["Actual", "Exercise", "Test"])
def test_there_are_no_drill_types_and_the_title_is_marked_as_the_words_are(platform, open_channel, status):
    mark = {"Actual": "", "Exercise": "【演练】", "Test": "【测试】"}[status]
    open_channel().send(call(text=mark + TEXT, facts=replace(FACTS, status=status)))
    assert platform.arrived[0].text("EBM/MsgBasicInfo/MsgType") == "1"
    assert platform.arrived[0].text("EBM/MsgContent/MsgTitle") == mark + FACTS.headline
    assert platform.arrived[0].text("EBM/MsgContent/MsgDesc") == mark + TEXT


def test_a_stand_down_is_a_broadcast_of_its_own_without_the_alarms_headline(platform, open_channel):
    past = (Past(f"{OURS}202506240001", VILLAGES, None, AT + timedelta(hours=1)),)
    receipts = open_channel().send(call(text="预警解除", purpose=Purpose.STAND_DOWN, past=past))
    arrived = platform.arrived[0]
    assert states(receipts) == ["accepted"] * 3 and receipts[0].ref == EBMID
    assert (arrived.text("EBM/MsgBasicInfo/MsgType"), arrived.text("EBM/MsgContent/MsgTitle")) == ("1", "预警解除通知")
    assert arrived.xml.find("EBM/RelatedInfo") is None


def test_characters_that_break_receivers_are_replaced_in_title_and_words(platform, open_channel):
    facts = replace(FACTS, headline='"红色"预警\n')
    open_channel().send(call(text='请到"C\\D"\r\n集合,it\'s <&> urgent', facts=facts))
    assert platform.arrived[0].text("EBM/MsgContent/MsgDesc") == "请到“C＼D” 集合,it’s <&> urgent"
    assert platform.arrived[0].text("EBM/MsgContent/MsgTitle") == "“红色”预警"


def test_the_dialect_of_2016_goes_out_with_its_own_ids_and_signature_file(platform, open_channel):
    channel = open_channel(profile="linkage2016", ebrid="010333052100000001", peer_ebrid="010333052100000002", namespace=False)
    (receipt,) = channel.send(call(("010333052111020001",)))
    arrived = platform.arrived[0]
    assert receipt.ref == "010333052100000001202506240007" and len(receipt.ref) == 30
    assert len(arrived.text("EBDID")) == 36
    assert arrived.text("EBM/MsgBasicInfo/SentTime") and arrived.text("EBM/MsgContent/AreaCode") == "330521110200"
    assert arrived.xml.nsmap == {}
    assert etree.fromstring(arrived.files[1]).findtext("SignatureCert/CertSN") == "0000000000000501"


@pytest.mark.parametrize(
    "impossible",
    [
        call(purpose=Purpose.RELEASE),
        call(()),
        replace(call(), number=None),
        call(n=0),
        call(n=10_000),
        call(text=" \x00\n"),
        call(text="雨" * 2001),
        call(tuple(f"3305211102{n:02d}" for n in range(21))),
        replace(call(), messages=(Message(1, VILLAGES[0], "甲"), Message(2, VILLAGES[1], "乙"))),
    ],
)
def test_what_cannot_be_expressed_is_unsupported_and_nothing_leaves(platform, open_channel, impossible):
    channel = open_channel(per_call=20)
    for act in (channel.send, channel.ask):
        with pytest.raises(Unsupported):
            act(impossible)
    assert platform.arrived == []


# --- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1])
def test_understood_is_accepted_and_no_more(platform, open_channel, code):
    platform.script = [(code, "已接收 12000000000")]
    receipt = open_channel().send(call())[0]
    assert (receipt.state, receipt.code, receipt.detail) == (State.ACCEPTED, f"ResultCode {code}", "已接收 #")


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_a_refusal_is_about_us_and_rejects_nobody(platform, open_channel, code):
    platform.script = [(code, "SRC EBRID 12000000000")]
    with pytest.raises(Misconfigured, match=f"ResultCode {code}") as caught:
        open_channel().send(call())
    assert "138" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        response(1, after=b"\r\n"),  # Tuners
        response("01"),
        response(1, related=f"10{OURS}{99:016d}"),  # names another packet: logged
        b"--Y\r\nContent-Disposition: form-data; name=file; filename=a.tar\r\n\r\n" + response(1) + b"\r\n--Y--\r\n",
    ],
)
def test_vendors_ways_of_answering_are_understood(platform, open_channel, body):
    platform.script = [(200, body)]
    assert states(open_channel().send(call())) == ["accepted"] * 3


@pytest.mark.parametrize(
    "answer",
    [
        None,
        (200, b""),
        (200, b"<html>ok</html>"),
        (200, b'{"code":0}'),
        (200, b"\x00" * 10240),
        (200, response("")),
        (200, response(9)),
        (200, response("٣")),
        (200, response(1, kind="EBDNotify")),
        (200, response(1, kind="ConnectionCheck")),
        (204, b""),
        (500, b"<html>error</html>"),
        (500, response(1)),
        (202, response(1)),
        (503, b""),
    ],
)
def test_an_answer_that_says_nothing_leaves_a_doubt(platform, open_channel, answer):
    platform.script = [answer]
    with pytest.raises(InDoubt):
        open_channel().send(call())
    assert len(platform.arrived) == 1  # and it was not repeated


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_a_wrong_door_is_about_us(platform, open_channel, status):
    platform.script = [(status, b"<html>no</html>")]
    with pytest.raises(Misconfigured):
        open_channel().send(call())


def test_where_nobody_listens_nothing_left(open_channel):
    for act in ("send", "ask"):
        with pytest.raises(Unavailable):
            getattr(open_channel(url="http://127.0.0.1:1/x"), act)(call())


# --- a stop ------------------------------------------------------------------------------------------------------

LATER = AT + timedelta(minutes=25)
CANCELLED = "暴雨红色预警信号的应急广播播发已经取消"


def past(n: int = 1, addresses: tuple[str, ...] = VILLAGES, at: datetime = AT, hours: float = 3) -> Past:
    return Past(f"{OURS}20250624{n:04d}", addresses, Number(date(2025, 6, 24), n, at), AT + timedelta(hours=hours))


def stop(addresses: tuple[str, ...] = VILLAGES, *pasts: Past, **changes: Any) -> Call:
    return call(addresses, text=CANCELLED, purpose=Purpose.STOP, at=LATER, past=pasts, **changes)


@pytest.mark.parametrize(("cancel_ebmid", "ebmid"), [("new", EBMID), ("original", f"{OURS}202506240001")])
def test_a_stop_cancels_the_broadcast_as_it_was_sent(platform, open_channel, cancel_ebmid, ebmid):
    everybody = (*VILLAGES, "no system", "330521110299")
    receipts = open_channel(cancel_ebmid=cancel_ebmid).send(stop(VILLAGES[1:2], past(addresses=everybody)))
    assert [(one.state, one.ref) for one in receipts] == [(State.ACCEPTED, ebmid)]
    (arrived,) = platform.arrived
    assert arrived.text("EBDID") == f"10{OURS}2025062400070001"
    assert arrived.text("EBM/EBMID") == ebmid
    assert arrived.text("EBM/RelatedInfo/EBMID") == f"{OURS}202506240001"
    basic = {one.tag: one.text for one in arrived.xml.find("EBM/MsgBasicInfo")}
    assert (basic["MsgType"], basic["SendTime"]) == ("2", "2025-06-24 14:30:10")
    assert (basic["StartTime"], basic["EndTime"]) == ("2025-06-24 14:05:10", "2025-06-24 15:05:10")
    assert arrived.text("EBM/MsgContent/AreaCode") == "330521110200,330521110201,330521110203,330521110299"
    assert arrived.text("EBM/MsgContent/MsgDesc") == CANCELLED
    assert arrived.text("EBM/MsgContent/MsgTitle") == "应急广播播发取消通知"


def test_a_cancel_names_the_very_areas_that_the_warning_named(platform, open_channel):
    addresses = (VILLAGES[2], "x", VILLAGES[0], "63305211102030314010102", VILLAGES[1])
    channel = open_channel()
    first = channel.send(call(addresses))
    sent = Past(first[0].ref, addresses, Number(date(2025, 6, 24), 7, AT), FACTS.expires)
    channel.send(stop(VILLAGES, sent, n=8))
    warning, cancel = (one.text("EBM/MsgContent/AreaCode") for one in platform.arrived)
    assert warning == cancel


def test_several_broadcasts_are_cancelled_each_under_an_id_of_its_own(platform, open_channel):
    pasts = (past(1, VILLAGES[:1]), past(2, VILLAGES[1:]), past(3, ("330521110299",)))
    receipts = open_channel().send(stop(VILLAGES, *pasts))
    first, second = f"{OURS}202506240007", f"{OURS}202506241007"
    assert [one.ref for one in receipts] == [first, second, second]
    assert [one.text("EBM/EBMID") for one in platform.arrived] == [first, second]
    assert [one.text("EBDID")[-4:] for one in platform.arrived] == ["0001", "0002"]


def test_more_cancels_than_numbers_are_unsupported_before_anything_leaves(platform, open_channel):
    pasts = (past(1), past(2))
    with pytest.raises(Unsupported):
        open_channel().send(stop(VILLAGES, *pasts, n=9000))
    assert platform.arrived == []
    assert states(open_channel(cancel_ebmid="original").send(stop(VILLAGES, *pasts, n=9000))) == ["accepted"] * 3


@pytest.mark.parametrize(
    "over",
    [
        past(at=AT - timedelta(minutes=36)),  # its hour on the air is over since a minute
        past(hours=0.4),  # the alert has expired
        Past(f"{OURS}202506240001", VILLAGES, None, LATER),
        past(addresses=("330521110299",)),
    ],
)
def test_what_is_not_on_the_air_needs_no_cancel(platform, open_channel, over):
    assert open_channel().send(stop(VILLAGES, over)) == [NOTHING_ON_AIR] * 3
    assert open_channel().ask(stop(VILLAGES, over)) == [NOTHING_ON_AIR] * 3
    assert platform.arrived == []


def test_a_stop_without_a_past_and_with_strange_addresses_sends_nothing(platform, open_channel):
    receipts = open_channel().send(stop(("x", *VILLAGES[:1])))
    assert (states(receipts), receipts[1].code) == (["rejected", "delivered"], "nothing-on-air")
    assert platform.arrived == []


def test_once_one_cancel_was_taken_the_others_outcomes_are_values(platform, open_channel):
    platform.script = [(1, ""), None]
    pasts = (past(1, VILLAGES[:2]), past(2, VILLAGES[1:2]), past(3, VILLAGES[2:]))
    receipts = open_channel().send(stop((*VILLAGES, "330521110200"), *pasts))
    assert states(receipts) == ["accepted", "in_doubt", "deferred", "delivered"]
    assert receipts[2] == NOT_TRIED and len(platform.arrived) == 2
    platform.script = [(1, ""), (5, "")]
    assert states(open_channel().send(stop(VILLAGES, *pasts[:2]))) == ["accepted", "deferred", "delivered"]
    platform.script = [None]
    with pytest.raises(InDoubt):
        open_channel().send(stop(VILLAGES, *pasts))


# --- a question --------------------------------------------------------------------------------------------------


def test_a_question_is_answered_later(platform, open_channel):
    receipts = open_channel().ask(call((*VILLAGES, "x")))
    assert states(receipts) == ["in_doubt"] * 3 + ["rejected"]
    assert receipts[0].ref == EBMID
    (arrived,) = platform.arrived
    assert arrived.text("EBDType") == "EBMStateRequest"
    assert arrived.text("EBMStateRequest/EBM/EBMID") == EBMID
    assert re.fullmatch(rf"10{OURS}[0-9]{{16}}", arrived.text("EBDID"))
    open_channel().ask(call())
    assert platform.arrived[1].text("EBDID") != arrived.text("EBDID")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((0, ""), "in_doubt"),
        ((5, "查找不到该EBMID"), "deferred"),  # Tuners
        ((5, ""), "deferred"),
        ((5, "message not found"), "deferred"),
        ((5, "NullPointerException"), "in_doubt"),  # Gospell: any exception; no reason to broadcast twice
    ],
)
def test_only_who_says_that_it_does_not_know_the_ebm_frees_it_to_be_sent_again(platform, open_channel, answer, state):
    platform.script = [answer]
    assert states(open_channel().ask(call())) == [state] * 3


def test_a_question_fails_as_a_warning_does(platform, open_channel):
    for code in (2, 3, 4):
        platform.script = [(code, "")]
        with pytest.raises(Misconfigured):
            open_channel().ask(call())
    platform.script = [None]
    with pytest.raises(InDoubt):
        open_channel().ask(call())
    platform.script = [(1, ""), None]  # never "certainly not sent" because a question got no answer
    with pytest.raises(InDoubt):
        open_channel().ask(stop(VILLAGES, past(1, VILLAGES[:1]), past(2)))


# --- heartbeats --------------------------------------------------------------------------------------------------


def test_a_heartbeat_that_is_answered_is_kept_and_means_online(platform, open_channel):
    kept: list[Callback] = []
    channel = open_channel(verify="require", peer_public_keys=(signature.public_key(PRIVATE),))
    channel.collect(kept.append, 5)
    (arrived,) = platform.arrived
    assert arrived.text("EBDID") == f"01{OURS}{0:016d}" and len(arrived.names) == 1  # unsigned
    assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}", arrived.text("ConnectionCheck/RptTime"))
    (letter,) = kept
    assert letter.path == "heartbeat"
    (found,) = channel.read(letter)
    assert found == Condition("", Standing.ONLINE, at=datetime(2025, 6, 24, 6, 5, 11, tzinfo=UTC))


@pytest.mark.parametrize(("answer", "error"), [(None, InDoubt), ((200, b"<html>"), InDoubt), ((5, ""), Misconfigured)])
def test_a_heartbeat_without_a_proper_answer_is_nothing_to_keep(platform, open_channel, answer, error):
    platform.script, kept = [answer], []
    with pytest.raises(error):
        open_channel().collect(kept.append, 5)
    assert kept == []


def test_nothing_but_an_answer_is_read_under_the_name_of_a_heartbeat(open_channel):
    channel = open_channel(verify="off")
    with pytest.raises(ValueError):
        channel.read(Callback("heartbeat", {}, response(1, kind="ConnectionCheck")))
    assert channel.read(Callback("heartbeat", {}, response(5))) == []


# --- the signer --------------------------------------------------------------------------------------------------


class BrokenDevice:
    def sign(self, data: bytes, at: datetime) -> bytes:
        raise Unavailable("the device does not answer")


def test_a_device_that_does_not_sign_keeps_warnings_back_but_not_answers(platform, open_channel):
    channel = open_channel(BrokenDevice())
    with pytest.raises(Unavailable):
        channel.send(call())
    assert platform.arrived == []
    answer = channel.answer(Callback("/x", {}, b""))
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        assert len(tar.getnames()) == 1


# --- what is never shown -----------------------------------------------------------------------------------------


def test_no_key_address_or_word_is_logged_or_raised(platform, open_channel, caplog):
    caplog.set_level(logging.DEBUG)
    shown = []
    for answer in (None, (5, TEXT), (200, response(1, related="x" * 20)), (200, b"<html>")):
        platform.script = [answer]
        try:
            shown.append(repr(open_channel().send(call())))
        except ChannelError as error:
            shown.append(repr(error))
    everything = "\n".join(shown) + caplog.text
    for secret in (PRIVATE, TEXT, *VILLAGES, "330521110200"):
        assert secret not in everything


# --- against the stand-in, which shares no code with the channel -------------------------------------------------


class Inbox:
    """Our own door: keeps a callback, then answers it with what the channel says."""

    def __init__(self) -> None:
        self.kept: list[Callback] = []
        self.channel: Ebd | None = None
        self.changed = threading.Condition()
        inbox = self

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                letter = Callback(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                answer = inbox.channel.answer(letter)
                with inbox.changed:
                    inbox.kept.append(letter)
                    inbox.changed.notify_all()
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Type": answer.content_type}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = Server(Door)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/callbacks/county"

    def heard(self) -> list[Any]:
        return [one for letter in list(self.kept) for one in self.channel.read(letter)]

    def until(self, holds: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: holds(self.heard()), 10), self.heard()


@pytest.mark.parametrize(("mode", "cancel_ebmid"), [("A", "new"), ("B", "original")])
def test_a_warning_goes_on_the_air_is_asked_for_and_is_taken_off(open_channel, mode, cancel_ebmid):
    villages = tuple(f"33052111020{n}" for n in range(3))
    inbox = Inbox()
    account = EbdAccount(sign_mode=mode, cancel=cancel_ebmid, report_seconds=0.01, villages=villages, systems_seconds=3600)
    with Simulator(Config(account=None, ebd=account)) as simulator:
        channel = inbox.channel = open_channel(
            url=simulator.url + "/ebd/linkage",
            reply_url=inbox.url,
            private_key=account.customer_signer.private_key,
            cert_sn=account.customer_signer.certificate,
            sign_mode=mode,
            cancel_ebmid=cancel_ebmid,
            verify="require",
            peer_public_keys=(account.platform_signer.public_key,),
        )
        now = datetime.now(UTC)
        facts = replace(FACTS, expires=now + timedelta(hours=1))
        warning = call(villages, facts=facts, at=now)
        sent = channel.send(warning)
        inbox.until(
            lambda found: (
                {(one.region, one.receipt.ref) for one in found if isinstance(one, Report)} == {(v, EBMID) for v in villages}
            )
        )
        assert {one.receipt.state for one in inbox.heard() if isinstance(one, Report)} == {State.DELIVERED}
        inbox.until(lambda found: sum(isinstance(one, Condition) and one.standing is Standing.PLAYING for one in found) == 3)

        assert states(channel.ask(warning)) == ["in_doubt"] * 3
        inbox.until(lambda found: sum(isinstance(one, Report) for one in found) == 6)
        assert states(channel.ask(call(villages, n=99))) == ["deferred"] * 3  # it does not know that one

        taken = Past(sent[0].ref, villages, warning.number, facts.expires)
        stopped = channel.send(stop(villages, taken, n=8))
        assert states(stopped) == ["accepted"] * 3
        reports = lambda found: [one.receipt for one in found if isinstance(one, Report)]  # noqa: E731
        inbox.until(lambda found: (State.CANCELLED, stopped[0].ref) in {(one.state, one.ref) for one in reports(found)})
        assert all(not one["on_air"] and not one["spoken"] for one in simulator.provider("ebd").received())
        counts = simulator.provider("ebd").counts()
    assert counts["answers_refused"] == 0
    inbox.server.end()
