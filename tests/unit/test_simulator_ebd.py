"""The stand-in of the emergency-broadcast platform, met by a customer who knows only GD/J 081, 082 and 083-2018."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from gmssl.sm2 import CryptSM2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.simulator.clock import BEIJING, Clock
from broadcast.simulator.ebd import EbdPlatform
from broadcast.simulator.ebd_account import EbdAccount, example_signers
from broadcast.simulator.ebd_signature import Signer
from broadcast.simulator.faults import Faults
from broadcast.simulator.provider import Host, Request
from broadcast.simulator.pusher import Pusher

SHARED = Path(os.environ.get("BROADCAST_SHARED", Path(__file__).parents[3] / "shared"))
US, THEM = "43305210000000001010101", "43305210000000101010101"
OURS, THEIRS = example_signers()
DAY = f"{datetime.now(BEIJING):%Y%m%d}"
VILLAGES = "330521115200,330521115201,330521115203"
WARNING = "德清县气象台发布暴雨红色预警信号，请山洪易发村立即转移。"
OVER = "德清县暴雨红色预警信号的应急广播播发已经取消。"


# What a customer writes


def stamp(minutes: float = 0) -> str:
    return f"{datetime.now(BEIJING) + timedelta(minutes=minutes):%Y-%m-%d %H:%M:%S}"


def number(n: int, kind: str = "10") -> str:
    return f"{kind}{US}{n:016d}"


def ebmid(n: int) -> str:
    return f"{US}{DAY}{n:04d}"


def document(ebdid: str, kind: str, body: str, url: str = "") -> str:
    source = f"<EBRID>{US}</EBRID>" + (f"<URL>{url}</URL>" if url else "")
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<EBD xmlns:xs="http://www.w3.org/2001/XMLSchema">'
        f"<EBDVersion>1</EBDVersion><EBDID>{ebdid}</EBDID><EBDType>{kind}</EBDType><SRC>{source}</SRC>"
        f"<DEST><EBRID>{THEM}</EBRID></DEST><EBDTime>{stamp()}</EBDTime>{body}</EBD>"
    )


def message(
    n: int,
    *,
    mid: str = "",
    kind: int = 1,
    related: str = "",
    areas: str = VILLAGES,
    text: str = WARNING,
    start: str = "",
    end: str = "",
    url: str = "",
) -> str:
    relation = f"<RelatedInfo><EBMID>{related}</EBMID></RelatedInfo>" if related else ""
    body = (
        f"<EBM><EBMVersion>1</EBMVersion><EBMID>{mid or ebmid(n)}</EBMID>{relation}<MsgBasicInfo><MsgType>{kind}</MsgType>"
        f"<SenderName>德清县突发事件预警信息发布中心</SenderName><SenderCode>{US}</SenderCode><SendTime>{stamp()}</SendTime>"
        f"<EventType>11B03</EventType><Severity>1</Severity><StartTime>{start or stamp()}</StartTime>"
        f"<EndTime>{end or stamp(180)}</EndTime></MsgBasicInfo><MsgContent><LanguageCode>zho</LanguageCode>"
        f"<MsgTitle>暴雨红色预警</MsgTitle><MsgDesc>{text}</MsgDesc><AreaCode>{areas}</AreaCode></MsgContent></EBM>"
    )
    return document(number(n), "EBM", body, url)


def signature(xml: bytes, ebdid: str, mode: str, signer: Signer = OURS) -> bytes:
    head = int(time.time()).to_bytes(4, "big")
    sm2 = CryptSM2(signer.private_key, signer.public_key)
    pair = sm2.sign_with_sm3(xml + head if mode == "A" else xml)
    value = base64.b64encode(head + bytes.fromhex(signer.certificate + pair)).decode()
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Signature><Version>1</Version><RelatedEBD><EBDID>{ebdid}</EBDID></RelatedEBD>'
        f"<CertSN>0000{signer.certificate}</CertSN><SignatureAlgorithm>SM2-SM3</SignatureAlgorithm>"
        f"<SignatureValue>{value}</SignatureValue></Signature>"
    ).encode()


def tar(members: list[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=form) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return archive.getvalue()


def signed(xml: str, mode: str = "A", *, more: tuple[tuple[str, bytes], ...] = ()) -> tuple[str, bytes]:
    found = re.search(r"<EBDID>([0-9]*)</EBDID>", xml)
    ebdid, data = found[1] if found else "", xml.encode()
    return ebdid, tar([(f"EBDB_{ebdid}.xml", data), (f"EBDS_EBDB_{ebdid}.xml", signature(data, ebdid, mode)), *more])


def post(ebdid: str, archive: bytes, path: str = "/EB/ebdsvc.html") -> Request:
    """As httpx writes an upload by default."""
    files = {"file": (f"EBDT_{ebdid}.tar", archive, "application/x-tar")}
    request = httpx.Request("POST", f"http://127.0.0.1{path}", files=files)
    return Request("POST", path, "", {name.lower(): value for name, value in request.headers.items()}, request.read())


# What comes back


def read(archive: bytes) -> tuple[ElementTree.Element, dict[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        members = {one.name: file.extractfile(one).read() for one in file}
    return ElementTree.fromstring(next(iter(members.values()))), members


class Customer:
    """The customer's HTTP server: keeps what the platform sends in its own connections, answers with a signed EBDResponse."""

    def __init__(self) -> None:
        self.got: list[ElementTree.Element] = []
        self.archives: list[bytes] = []
        self.answers: list[Callable[[str], tuple[int, bytes]]] = []  # used up first
        self.numbers = iter(range(9000, 10**6))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                boundary = b"--" + self.headers["Content-Type"].partition("=")[2].encode()
                archive = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n" + boundary, 1)[0]
                packet, _ = read(archive)
                outer.got.append(packet)
                outer.archives.append(archive)
                status, answer = (outer.answers.pop(0) if outer.answers else outer.accept)(packet.findtext("EBDID"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/ebd"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def accept(self, related: str, code: int = 1) -> tuple[int, bytes]:
        body = f"<RelatedEBD><EBDID>{related}</EBDID></RelatedEBD><EBDResponse><ResultCode>{code}</ResultCode><ResultDesc>好</ResultDesc></EBDResponse>"
        return 200, signed(document(number(next(self.numbers)), "EBDResponse", body))[1]

    def wait(self, count: int, kind: str = "EBMStateResponse") -> list[ElementTree.Element]:
        until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    def of(self, kind: str) -> list[ElementTree.Element]:
        return [one for one in list(self.got) if one.findtext("EBDType") == kind]

    def states(self, count: int) -> list[tuple[str, str]]:
        """EBMID and BrdStateCode, as they came."""
        found = self.wait(count)
        return [(one.findtext("EBMStateResponse/EBM/EBMID"), one.findtext("EBMStateResponse/BrdStateCode")) for one in found]


def until(true: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


class County:
    """The platform in a host: its clock, its pushes, what the villages hear."""

    def __init__(self, account: EbdAccount, customer: Customer, speed: float) -> None:
        clock = Clock(speed)
        self.heard: list[str] = []
        self.customer = customer
        self.pusher = Pusher("ebd", clock, connections=1)
        self.platform = EbdPlatform(account, Host(clock, self.pusher, self.heard.append))

    def take(self, request: Request, faults: Faults | None = None) -> tuple[str, str]:
        """ResultCode and ResultDesc."""
        faults = faults or Faults()
        with self.pusher.playing(faults):
            response = self.platform.handle(request, faults)
        assert response.status == 200 and response.content_type == "application/x-tar"
        self.answer, self.members = read(response.body)
        number = self.answer.findtext("EBDID")
        assert response.headers["Content-Disposition"] == f'attachment; filename="EBDT_{number}.tar"'
        assert self.answer.findtext("EBDType") == "EBDResponse"
        return self.answer.findtext("EBDResponse/ResultCode"), self.answer.findtext("EBDResponse/ResultDesc")

    def play(self, n: int = 1, faults: Faults | None = None, **changes: str) -> str:
        """The ResultCode of a warning."""
        return self.take(post(*signed(message(n, url=self.customer.url, **changes))), faults)[0]

    def ask(self, n: int, mid: str) -> str:
        body = f"<EBMStateRequest><EBM><EBMID>{mid}</EBMID></EBM></EBMStateRequest>"
        return self.take(post(*signed(document(number(n), "EBMStateRequest", body, self.customer.url))))[0]

    @property
    def one(self) -> dict[str, object]:
        (found,) = self.platform.received()
        return found


@pytest.fixture
def customer() -> Iterator[Customer]:
    customer = Customer()
    yield customer
    customer.server.shutdown()
    customer.server.server_close()


@pytest.fixture
def open_county(customer) -> Iterator[Callable[..., County]]:
    opened: list[County] = []

    def open_county(speed: float = 1000.0, **changes: object) -> County:
        opened.append(County(replace(EbdAccount(), **changes), customer, speed))
        return opened[-1]

    yield open_county
    for one in opened:
        one.platform.stop()
        one.pusher.stop()


@pytest.fixture
def county(open_county) -> County:
    """A platform of which nothing ends by itself while a test runs."""
    return open_county()


# Playing


@pytest.mark.parametrize("mode", ["A", "B"])
def test_a_signed_warning_is_understood_played_and_reported_as_playing_and_then_as_played(open_county, customer, mode):
    county = open_county(sign_mode=mode, play_seconds=200)
    if mode == "B":
        customer.answers = [lambda related: (200, signed_b(customer.accept(related)[1]))] * 2
    xml = message(1, url=customer.url)
    assert county.take(post(*signed(xml, mode))) == ("1", "接收解析及数据校验成功")
    assert county.answer.findtext("RelatedEBD/EBDID") == number(1)
    assert county.heard == [f"🔊 330521115200 等3村: {WARNING}"]
    playing, played = customer.wait(2)
    assert playing.findtext("EBMStateResponse/BrdStateCode") == "2" and playing.find("RelatedEBD") is None
    assert playing.findtext("EBMStateResponse/Coverage/AreaCode") == VILLAGES
    assert playing.findtext("EBMStateResponse/Coverage/CoverageRate") == "1.00"
    assert playing.findtext("EBMStateResponse/ResBrdInfo/ResBrdItem/EBRBS/EndTime") == ""
    assert played.findtext("EBMStateResponse/BrdStateCode") == "3"
    assert played.findtext("EBMStateResponse/ResBrdInfo/ResBrdItem/EBRBS/EndTime")
    until(lambda: county.platform.counts()["reports_owed"] == 0)
    assert county.platform.counts()["reports_pushed"] == 2 and county.platform.counts()["answers_refused"] == 0
    one = county.one
    assert (one["ebmid"], one["areas"], one["text"], one["event"], one["severity"]) == (
        ebmid(1),
        VILLAGES.split(","),
        WARNING,
        "11B03",
        "1",
    )
    assert (one["kind"], one["state"], one["on_air"], one["spoken"], one["played_again"]) == ("play", 3, False, False, 0)


def signed_b(archive: bytes) -> bytes:
    document = next(iter(read(archive)[1].values()))
    return signed(document.decode(), "B")[1]


def test_without_play_seconds_it_stays_on_the_air_until_its_end_time(open_county, customer):
    county = open_county(speed=2000)
    county.play(end=stamp(60))  # an hour: two seconds here
    assert county.one["on_air"] and county.one["state"] == 2
    assert customer.states(2) == [(ebmid(1), "2"), (ebmid(1), "3")]


def test_a_warning_for_later_waits_and_is_heard_when_it_starts(open_county, customer):
    county = open_county(play_seconds=1)
    assert county.play(start=stamp(20)) == "1"
    assert county.heard == [] and county.one["state"] == 1
    assert customer.states(3) == [(ebmid(1), "1"), (ebmid(1), "2"), (ebmid(1), "3")]
    assert len(county.heard) == 1


def test_what_is_over_when_it_arrives_is_not_played(county, customer):
    assert county.play(start=stamp(-60), end=stamp(-1)) == "1"
    assert customer.states(1) == [(ebmid(1), "0")]
    assert county.heard == [] and not county.one["on_air"]


def test_an_ebm_with_sequence_0000_is_not_forced_and_ignored_however_often_it_comes(county, customer):
    request = post(*signed(message(1, mid=ebmid(0), url=customer.url)))
    assert county.take(request)[0] == county.take(request)[0] == "1"
    assert county.heard == [] and county.one["state"] == 0 and county.platform.counts()["reports_owed"] == 0


def test_areas_of_other_counties_are_left_out_and_said_to_be_untouched(county, customer):
    county.play(areas="330521115200,330522100200")
    assert customer.states(2) == [(ebmid(1), "0"), (ebmid(1), "2")]
    assert customer.got[1].findtext("EBMStateResponse/Coverage/AreaCode") == "330521115200"
    assert customer.got[1].findtext("EBMStateResponse/Coverage/CoverageRate") == "0.50"
    assert county.heard == [f"🔊 330521115200: {WARNING}"]


def test_a_warning_for_another_county_alone_is_played_nowhere(county, customer):
    assert county.play(areas="330522100200") == "1"
    assert customer.states(1) == [(ebmid(1), "0")] and county.heard == []


def test_a_packet_without_an_address_for_reports_is_played_and_never_reported(county, customer):
    assert county.take(post(*signed(message(1))))[0] == "1"
    assert county.one["on_air"] and county.platform.counts()["reports_owed"] == 0


def test_a_packet_that_names_an_address_elsewhere_makes_it_connect_to_nobody(county, customer):
    assert county.take(post(*signed(message(1, url="http://192.0.2.10:8080/ebd"))))[0] == "1"
    assert county.one["on_air"] and county.pusher.counts()["pushes_owed"] == 0


def test_the_same_packet_again_is_played_again(county, customer):
    request = post(*signed(message(1, url=customer.url)))
    assert county.take(request)[0] == county.take(request)[0] == "1"
    assert county.one["played_again"] == 1 and len(county.heard) == 2


def test_what_is_played_again_ends_once_at_the_end_of_its_last_run(open_county, customer):
    county = open_county(play_seconds=500)
    request = post(*signed(message(1, url=customer.url)))
    county.take(request)
    county.take(request)
    county.play(2)  # ends after both
    until(lambda: (ebmid(2), "3") in customer.states(1))
    assert [code for number, code in customer.states(1) if number == ebmid(1)] == ["2", "2", "3"]


def test_an_ebdid_or_an_ebmid_is_not_used_twice(county):
    assert county.play(1) == "1"
    assert county.play(1, text="另一段话") == "5"
    assert county.play(2, mid=ebmid(1)) == "5"
    assert county.one["text"] == WARNING


# Stopping


def test_a_platform_of_the_new_style_stops_what_the_cancel_relates_to_and_reports_the_cancels_own_number(county, customer):
    county.play(1)
    customer.wait(1)
    assert county.play(2, kind=2, related=ebmid(1), text=OVER) == "1"
    assert customer.states(2)[1] == (ebmid(2), "5")
    first, cancel = county.platform.received()
    assert (first["state"], first["on_air"]) == (5, False)
    assert (cancel["kind"], cancel["state"], cancel["spoken"], cancel["on_air"]) == ("cancel", 5, False, False)
    assert county.heard[1:] == ["🔇 330521115200 等3村: 停止播发"]


@pytest.mark.parametrize("related", ["", ebmid(77)])
def test_a_cancel_of_the_new_style_that_relates_to_nothing_does_nothing_and_says_nothing(county, customer, related):
    county.play(1)
    customer.wait(1)
    assert county.play(2, kind=2, related=related, text=OVER) == "1"
    assert county.platform.counts()["reports_owed"] == 0
    assert county.platform.received()[0]["on_air"] and len(county.heard) == 1


def test_a_platform_of_the_new_style_refuses_a_cancel_under_the_originals_number(county):
    county.play(1)
    assert county.play(2, kind=2, mid=ebmid(1), related=ebmid(1), text=OVER) == "5"
    assert county.one["on_air"]


def test_a_platform_of_the_original_style_stops_what_has_the_same_number_and_the_same_areas(open_county, customer):
    county = open_county(cancel="original")
    county.play(1)
    customer.wait(1)
    assert county.play(2, kind=2, mid=ebmid(1), related=ebmid(1), text=OVER) == "1"
    assert customer.states(2)[1] == (ebmid(1), "5")
    assert [one["on_air"] for one in county.platform.received()] == [False, False]
    assert not any(OVER in line for line in county.heard)


@pytest.mark.parametrize(
    "changes",
    [
        {"mid": ebmid(1), "areas": "330521115201,330521115200,330521115203"},  # the same places in another order
        {"related": ebmid(1)},  # a number of its own
    ],
)
def test_a_cancel_of_the_original_style_that_matches_nothing_is_spoken(open_county, customer, changes):
    county = open_county(cancel="original")
    county.play(1)
    assert county.play(2, kind=2, text=OVER, **changes) == "1"
    first, cancel = county.platform.received()
    assert first["on_air"]
    assert (cancel["kind"], cancel["spoken"], cancel["on_air"], cancel["text"]) == ("cancel", True, True, OVER)
    assert OVER in county.heard[-1]


def test_a_cancel_that_is_sent_twice_to_the_original_style_is_spoken_the_second_time(open_county, customer):
    county = open_county(cancel="original")
    county.play(1)
    again = post(*signed(message(2, kind=2, mid=ebmid(1), text=OVER, url=customer.url)))
    county.take(again)
    assert not county.platform.received()[1]["spoken"]
    county.take(again)
    assert county.platform.received()[1]["spoken"] and OVER in county.heard[-1]


def test_a_warning_that_waits_can_be_cancelled_and_is_never_heard(county, customer):
    county.play(1, start=stamp(40))
    county.play(2, kind=2, related=ebmid(1), text=OVER)
    assert customer.states(2) == [(ebmid(1), "1"), (ebmid(2), "5")]
    county.play(3, start=stamp(45), text="后来的一段话")
    until(lambda: any("后来的一段话" in line for line in county.heard))
    assert not any(WARNING in line for line in county.heard)


# Asking


def test_a_state_request_is_answered_at_once_and_the_state_follows_in_its_own_connection(county, customer):
    county.play(1)
    customer.wait(1)
    assert county.ask(2, ebmid(1)) == "1"
    told = customer.wait(2)[1]
    assert told.findtext("RelatedEBD/EBDID") == number(2)
    assert told.findtext("EBMStateResponse/BrdStateCode") == "2"
    assert told.findtext("EBMStateResponse/Coverage/AreaCode") == VILLAGES


def test_a_state_request_for_a_message_that_it_does_not_know_is_refused(county, customer):
    assert county.ask(2, ebmid(9)) == "5"
    assert county.platform.counts()["reports_owed"] == 0


# Refusing


def edit(old: str, new: str, count: int = 1) -> Callable[[str], str]:
    def changed(xml: str) -> str:
        assert old in xml
        return xml.replace(old, new, count)

    return changed


def twice(name: str) -> Callable[[str], str]:
    return lambda xml: re.sub(f"<{name}>.*</{name}>", r"\g<0>\g<0>", xml, count=1)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (edit(' xmlns:xs="http://www.w3.org/2001/XMLSchema"', ""), "2"),
        (edit("</EBM></EBD>", "</EBD>"), "2"),
        (edit('<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n', ""), "2"),
        (edit("<EBD xmlns", "<!DOCTYPE EBD [<!ENTITY a 'b'>]><EBD xmlns"), "2"),
        (edit("<EBDType>EBM</EBDType>", "<EBDType>EBMStream</EBDType>"), "3"),
        (edit("<EBDType>EBM</EBDType>", "<EBDType>EBDResponse</EBDType>"), "3"),
        (edit("</DEST>", "</DEST><RelatedEBD/>"), "3"),
        (edit("<EBMVersion>1</EBMVersion>", ""), "3"),
        (edit("<SenderCode>", "<SysTask>1</SysTask><SenderCode>"), "3"),
        (
            edit(
                "<MsgType>1</MsgType><SenderName>德清县突发事件预警信息发布中心</SenderName>",
                "<SenderName>德</SenderName><MsgType>1</MsgType>",
            ),
            "3",
        ),
        (twice("MsgContent"), "3"),
        (
            edit(
                "</MsgContent>",
                "</MsgContent><Dispatch><LanguageCode>zho</LanguageCode><EBRRTS><EBRID>1</EBRID></EBRRTS></Dispatch>",
            ),
            "3",
        ),
        (edit("<SendTime>", "<SentTime>"), "2"),
        (edit(f"<MsgDesc>{WARNING}</MsgDesc>", "<MsgDesc></MsgDesc>"), "3"),
        (edit(VILLAGES, "330521115200, 330521115201"), "3"),
        (edit(VILLAGES, "330521"), "3"),
        (edit("<EventType>11B03", "<EventType>暴雨"), "3"),
        (edit("<Severity>1", "<Severity>red"), "3"),
        (edit("<MsgType>1", "<MsgType>3"), "3"),
        (edit("<MsgType>1", "<MsgType>4"), "3"),
        (edit("<MsgType>1", "<MsgType>5"), "3"),
        (edit("<EBM>", '<EBM a="b">'), "3"),
        (edit(VILLAGES, "330521115200,330521115200"), "5"),
        (edit("请山洪易发村", 'R"'), "5"),
        (edit("请山洪易发村", "R&quot;"), "5"),
        (edit("请山洪易发村", "R\\"), "5"),
        (edit("德清县突发", "it's"), "5"),
        (edit(f"<DEST><EBRID>{THEM}", f"<DEST><EBRID>{THEM[:-1]}2"), "5"),
        (edit(f"<DEST><EBRID>{THEM}</EBRID></DEST>", ""), "5"),
        (edit(f"<SRC><EBRID>{US}", f"<SRC><EBRID>{US[:-1]}2"), "5"),
        (edit(f"<EBMID>{US}", f"<EBMID>{THEM}"), "5"),
        (edit(f"{US}{DAY}0001", f"{US}202513010001"), "5"),
        (edit("<SRC>", "<SRC><!-- a note -->"), "1"),
    ],
)
def test_what_one_receiver_in_the_field_would_not_take_is_refused(county, change, code):
    got, words = county.take(post(*signed(change(message(1)))))
    assert got == code and words
    assert county.answer.findtext("RelatedEBD/EBDID") == number(1)
    assert len(county.platform.received()) == (code == "1")


def test_an_end_before_the_start_is_refused(county):
    assert county.play(start=stamp(60), end=stamp(59)) == "5"


def packaged(
    xml: str = "", *, names: tuple[str, str] = ("", ""), sign: Callable[[bytes], bytes] | None = None, **how: object
) -> bytes:
    data = (xml or message(1)).encode()
    first, second = names[0] or f"EBDB_{number(1)}.xml", names[1] or f"EBDS_EBDB_{number(1)}.xml"
    made = sign(data) if sign else signature(data, number(1), "A")
    return tar([(first, data), (second, made), *how.pop("more", ())], **how)


def unended(archive: bytes) -> bytes:
    """Without the blocks of zeros at its end."""
    bare = archive.rstrip(b"\0")
    return bare + bytes(-len(bare) % 512)


STRANGER = replace(OURS, certificate="000000000777")


@pytest.mark.parametrize(
    "sign",
    [
        lambda data: signature(data, number(1), "B"),
        lambda data: signature(data + b" ", number(1), "A"),
        lambda data: signature(data, number(2), "A"),
        lambda data: signature(data, number(1), "A", STRANGER),
        lambda data: signature(data, number(1), "A", replace(THEIRS, certificate=OURS.certificate)),
        lambda data: signature(data, number(1), "A").replace(b"SM2-SM3", b"SM2"),
        lambda data: re.sub(rb"Value>[^<]+<", b"Value>" + base64.b64encode(bytes(74)) + b"<", signature(data, number(1), "A")),
        lambda data: re.sub(rb"Value>[^<]+<", b"Value>" + b"&#x0;" * 100 + b"<", signature(data, number(1), "A")),
        lambda data: b"",
    ],
)
def test_a_signature_that_is_not_this_customers_over_these_bytes_is_refused(county, sign):
    assert county.take(post(number(1), packaged(sign=sign)))[0] == "4"
    assert county.platform.received() == []


def test_a_message_without_its_signature_is_refused_and_a_heartbeat_needs_none(county, customer):
    assert county.take(post(number(1), tar([(f"EBDB_{number(1)}.xml", message(1).encode())])))[0] == "4"
    beat = number(0, "01")
    xml = document(beat, "ConnectionCheck", f"<ConnectionCheck><RptTime>{stamp()}</RptTime></ConnectionCheck>")
    for _ in range(2):
        assert county.take(post(beat, tar([(f"EBDB_{beat}.xml", xml.encode())])))[0] == "1"
    assert county.platform.counts()["heartbeats"] == 2 and county.platform.counts()["calls"] == 0


def test_an_account_without_signatures_takes_and_answers_without_them(open_county):
    county = open_county(sign_mode="none")
    assert county.take(post(number(1), tar([(f"EBDB_{number(1)}.xml", message(1).encode())])))[0] == "1"
    assert len(county.members) == 1


@pytest.mark.parametrize(
    ("archive", "code"),
    [
        (lambda: packaged(form=tarfile.GNU_FORMAT), "2"),
        (lambda: packaged(names=(f"EBDS_EBDB_{number(1)}.xml", f"EBDB_{number(1)}.xml")), "2"),
        (lambda: packaged(names=(f"EBDB_{number(2)}.xml", "")), "2"),
        (lambda: packaged(names=(f"./EBDB_{number(1)}.xml", "")), "2"),
        (lambda: packaged(more=[("EBDI_1.xml", b"<EBI/>")]), "2"),
        (lambda: packaged()[:2500], "2"),
        (lambda: unended(packaged()), "2"),
        (lambda: b"", "2"),
        (lambda: b"PK\x03\x04" + bytes(600), "2"),
        (lambda: packaged(more=[("EBDR_a.mp3", b"ID3")]), "1"),
    ],
)
def test_only_a_plain_ustar_with_the_business_file_first_and_its_signature_second_is_a_package(county, archive, code):
    assert county.take(post(number(1), archive()))[0] == code


def test_a_programme_must_be_in_the_package_that_names_it(county):
    auxiliary = "<Auxiliary><AuxiliaryType>2</AuxiliaryType><AuxiliaryDesc>EBDR_a.mp3</AuxiliaryDesc><Size>3</Size></Auxiliary>"
    xml = message(1).replace("</MsgContent>", f"{auxiliary}</MsgContent>")
    assert county.take(post(*signed(xml)))[0] == "3"
    assert county.take(post(*signed(xml, more=(("EBDR_a.mp3", b"ID3+"),))))[0] == "5"
    assert county.take(post(*signed(xml, more=(("EBDR_a.mp3", b"ID3"),))))[0] == "1"


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, headers=dict(one.headers) | {"transfer-encoding": "chunked"}),
        lambda one: replace(one, headers={name: value for name, value in one.headers.items() if name != "content-length"}),
        lambda one: replace(
            one, headers=dict(one.headers) | {"content-type": re.sub("=(.*)", r'="\1"', one.headers["content-type"])}
        ),
        lambda one: replace(one, headers=dict(one.headers) | {"content-type": one.headers["content-type"] + "; charset=utf-8"}),
        lambda one: replace(one, headers=dict(one.headers) | {"content-type": "application/x-tar"}),
        lambda one: replace(one, body=one.body.replace(b"EBDT_", b"ebdt_")),
        lambda one: replace(one, body=one.body.replace(b"; filename", b"; other")),
        lambda one: replace(one, body=one.body[:-6] + b"      "),
        lambda one: replace(one, method="GET"),
    ],
)
def test_what_is_no_plain_upload_gets_no_packet_back(county, change):
    request = change(post(*signed(message(1))))
    assert county.platform.handle(request, Faults()).status in (400, 405)
    assert county.platform.received() == []


def test_two_parts_are_refused(county):
    ebdid, archive = signed(message(1))
    part = (f"EBDT_{ebdid}.tar", archive, "application/x-tar")
    request = httpx.Request("POST", "http://127.0.0.1/ebd", files=[("file", part), ("file", part)])
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert county.platform.handle(Request("POST", "/ebd", "", headers, request.read()), Faults()).status == 400


def test_its_doors_are_the_printed_path_and_the_accounts_own(open_county):
    platform = open_county().platform
    assert [platform.opens(path) for path in ("/EB/ebdsvc.html", "/ebd", "/ebd/in", "/ebdx", "/")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert not open_county(other_doors="").platform.opens("/ebd")


# Faults


@pytest.mark.parametrize(("word", "code"), [("4", "4"), ("3", "3"), ("SystemBusy", "5")])
def test_told_to_refuse_it_takes_nothing(county, word, code):
    assert county.play(faults=Faults(refuse=word)) == code
    assert county.platform.received() == []


def test_without_reports_it_plays_and_says_nothing(county, customer):
    assert county.play(faults=Faults(no_reports=True)) == "1"
    assert county.one["on_air"] and county.platform.counts()["reports_owed"] == 0


def test_a_report_can_come_twice_as_the_same_packet(county, customer):
    county.play(faults=Faults(duplicate_reports=True))
    one, other = customer.wait(2)
    assert one.findtext("EBDID") == other.findtext("EBDID")


def test_a_cancel_that_is_told_to_do_nothing_stops_nothing(county, customer):
    county.play(1)
    assert county.play(2, Faults(delivers_nothing=True), kind=2, related=ebmid(1), text=OVER) == "1"
    assert county.platform.received()[0]["on_air"]


def test_told_to_deliver_nothing_it_says_yes_waits_for_ever_and_says_so_when_asked(county, customer):
    assert county.play(faults=Faults(delivers_nothing=True)) == "1"
    assert county.one["state"] == 1 and not county.one["on_air"] and county.heard == []
    county.ask(2, ebmid(1))
    assert customer.states(1) == [(ebmid(1), "1")]


def test_the_broken_share_of_the_systems_is_not_covered_and_is_the_same_each_time(open_county, county, customer):
    areas = ",".join(f"330521115{n}" for n in range(200, 260))
    county.play(areas=areas, faults=Faults(fail_share=0.5))
    covered = customer.wait(1)[0].findtext("EBMStateResponse/Coverage/AreaCode").split(",")
    assert 15 < len(covered) < 45 and set(covered) < set(areas.split(","))
    assert county.one["areas"] == areas.split(",")
    open_county().play(areas=areas, faults=Faults(fail_share=0.5))
    assert customer.wait(2)[1].findtext("EBMStateResponse/Coverage/AreaCode").split(",") == covered


def test_when_every_system_is_broken_the_broadcast_failed(county, customer):
    county.play(faults=Faults(fail_share=1.0))
    assert customer.states(1) == [(ebmid(1), "4")]
    assert county.heard == [] and not county.one["on_air"]


def test_the_report_can_be_there_before_the_answer(county, customer):
    assert county.play(faults=Faults(reports_before_answer=True)) == "1"
    assert len(customer.of("EBMStateResponse")) == 1


def test_reports_can_come_in_another_order(county, customer):
    county.play(faults=Faults(shuffle_reports=True))
    assert customer.states(2) == [(ebmid(1), "2"), (ebmid(1), "1")]
    playing, waiting = (one.findtext("EBMStateResponse/RptTime") for one in customer.got)
    assert waiting <= playing


def test_a_report_is_repeated_until_the_customer_answers_it_as_the_standard_wants(county, customer):
    def unsigned(related: str) -> tuple[int, bytes]:
        name, data = next(iter(read(customer.accept(related)[1])[1].items()))
        return 200, tar([(name, data)])

    customer.answers = [
        lambda _: (500, b""),
        lambda _: (200, b"OK"),
        lambda _: customer.accept(number(1)),  # about another packet
        unsigned,
    ]
    county.play()
    assert len({one.findtext("EBDID") for one in customer.wait(5)}) == 1
    until(lambda: county.platform.counts()["reports_owed"] == 0)
    assert county.platform.counts()["reports_pushed"] == 1 and county.platform.counts()["answers_refused"] == 4


def test_a_customers_no_is_an_answer_and_is_counted(county, customer):
    customer.answers = [lambda related: customer.accept(related, 5)]
    county.play()
    until(lambda: county.platform.counts()["answers_refused"] == 1)
    assert county.platform.counts()["reports_owed"] == 0


# Of its own accord


def test_it_sends_heartbeats_and_the_states_of_its_villages(open_county, customer):
    villages = ("330521115200", "330521115201", "330521100200")
    county = open_county(callback=customer.url, heartbeat_seconds=30, systems_seconds=300, villages=villages, sign_reports=True)
    beat = customer.wait(2, "ConnectionCheck")[0]
    assert beat.findtext("EBDID") == f"01{THEM}{0:016d}" and beat.findtext("ConnectionCheck/RptTime")
    quiet = customer.wait(1, "EBRDTState")[0].findall("EBRDTState/EBRDT")
    assert [one.findtext("EBRID") for one in quiet] == [f"6{village}0314010101" for village in villages]
    assert {one.findtext("StateCode") for one in quiet} == {"1"}
    county.play(areas="330521115000")  # the town
    until(lambda: [one.text for one in customer.of("EBRDTState")[-1].iter("StateCode")] == ["5", "5", "1"])


# Signatures, by somebody who shares nothing with us


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
@pytest.mark.parametrize("mode", ["A", "B"])
def test_openssl_verifies_what_the_platform_signs(open_county, tmp_path, mode):
    county = open_county(sign_mode=mode)
    county.take(post(*signed(message(1), mode)))
    data, ebds = county.members.values()
    value = base64.b64decode(re.search(rb"Value>([^<]+)<", ebds)[1])
    assert len(value) == 74 and value[4:10].hex() == THEIRS.certificate
    r, s = (int.from_bytes(part, "big") for part in (value[10:42], value[42:]))
    spki = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004" + THEIRS.public_key)
    (tmp_path / "key").write_text(f"-----BEGIN PUBLIC KEY-----\n{base64.encodebytes(spki).decode()}-----END PUBLIC KEY-----\n")
    (tmp_path / "sig").write_bytes(der(r, s))
    (tmp_path / "data").write_bytes(data + value[:4] if mode == "A" else data)
    command = (
        "openssl pkeyutl -verify -pubin -inkey key -rawin -digest sm3 -pkeyopt distid:1234567812345678 -in data -sigfile sig"
    )
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout, done.stderr


def der(*numbers: int) -> bytes:
    parts = b"".join(b"\x02" + bytes([len(one)]) + one for one in (n.to_bytes(n.bit_length() // 8 + 1, "big") for n in numbers))
    return b"\x30" + bytes([len(parts)]) + parts


def test_the_keys_for_an_example_belong_together():
    for signer in example_signers():
        sm2 = CryptSM2(signer.private_key, signer.public_key)
        assert sm2.verify_with_sm3(sm2.sign_with_sm3(b"x"), b"x")
        assert signer.private_key not in repr(signer)


# The composed samples, and anything else that may come


@pytest.mark.skipif(not (SHARED / "samples/ebd").is_dir(), reason="no samples here")
@pytest.mark.parametrize("mode", ["A", "B"])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_composed_packets_are_taken_as_they_are(open_county, mode, n):
    key = (SHARED / "samples/ebd/test_public_key.hex").read_text().strip()
    county = open_county(sign_mode=mode, customer_signer=Signer("000000000501", key), cancel="original")
    archive = (SHARED / f"samples/ebd/signed_{mode}/EBDT_{number(n)}.tar").read_bytes()
    code, words = county.take(post(number(n), archive))
    # 2 asks for the state of 1, which is not there; all of them ended in 2025.
    assert code == ("5" if n == 2 else "1"), words
    assert county.heard == []


@pytest.mark.skipif(not (SHARED / "samples/ebd").is_dir(), reason="no samples here")
def test_the_composed_heartbeat_is_taken_without_a_signature(county):
    beat = number(0, "01")
    assert county.take(post(beat, (SHARED / f"samples/ebd/unsigned_EBDT_{beat}.tar").read_bytes()))[0] == "1"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=3000), st.tuples(st.integers(0, 6000), st.binary(max_size=8))))
def test_whatever_comes_is_answered_and_nothing_unsigned_is_heard(county, noise):
    request = post(*signed(message(1)))
    if isinstance(noise, bytes):
        bodies = [noise, post(number(1), noise).body]
    else:
        at, data = noise
        bodies = [request.body[:at] + data + request.body[at + len(data) :]]
    for body in bodies:
        headers = dict(request.headers) | {"content-length": str(len(body))}
        assert county.platform.handle(replace(request, headers=headers, body=body), Faults()).status in (200, 400)
    assert {one["text"] for one in county.platform.received()} <= {WARNING}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["EBDID", "URL", "EBMID", "StartTime", "EndTime", "AreaCode", "Severity", "MsgDesc"]),
    words=st.text(max_size=50),
)
def test_whatever_stands_in_an_element_is_answered(open_county, customer, name, words):
    escaped = words.replace("&", "&amp;").replace("<", "&lt;")
    xml = re.sub(rf"<{name}>[^<]*<", lambda _: f"<{name}>{escaped}<", message(1, url="http://127.0.0.1:9/"), count=1)
    data = xml.encode("utf-8", "replace")
    county = open_county(sign_mode="none")
    assert county.take(post(number(1), tar([(f"EBDB_{number(1)}.xml", data)])))[0] in "1235"


def test_it_answers_over_real_http(county, customer):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = county.platform.handle(Request("POST", self.path, "", headers, body), Faults())
            self.send_response(answer.status)
            for name, value in {"Content-Type": answer.content_type, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    ebdid, archive = signed(message(1, url=customer.url))
    url = f"http://127.0.0.1:{server.server_address[1]}/EB/ebdsvc.html"
    answer = httpx.post(url, files={"file": (f"EBDT_{ebdid}.tar", archive, "application/x-tar")}, timeout=10)
    server.shutdown()
    server.server_close()
    assert read(answer.content)[0].findtext("EBDResponse/ResultCode") == "1"
    assert customer.states(1) == [(ebmid(1), "2")]
