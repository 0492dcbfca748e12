"""EBD packets on paper: written to the byte, signed as OpenSSL agrees, read whatever the field does to them."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree
from pydantic import ValidationError

from broadcast.channels.base import Callback, Condition, Number, Report, Standing
from broadcast.channels.ebd import Ebd, EbdOptions, codes, package, packet, signature
from broadcast.channels.ebd.elements import Element
from broadcast.channels.ebd.packet import BEIJING, Ebm, NotTaken, Packet
from broadcast.channels.ebd.text import clean
from broadcast.delivery import State

DATA = Path(__file__).parent / "data" / "ebd"
SHARED = Path(os.environ.get("BROADCAST_SHARED") or Path(__file__).parents[3] / "shared")
OURS, PEER = "43305210000000001010101", "43305210000000101010101"
URL = "http://192.0.2.10:8080/ebd"
OPENSSL = shutil.which("openssl")

PRIVATE = "5117a7ed" * 8
ORDER = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123  # of the curve, GB/T 32918.5
OTHER = "0ddba11" * 9 + "1"
SAMPLE_KEY = (DATA / "test_public_key.hex").read_text().strip()
PACKETS = {path.stem.removeprefix("EBDB_"): path.read_bytes() for path in sorted(DATA.glob("EBDB_*.xml"))}
PLAY, REQUEST, CANCEL, CANCEL_ORIGINAL = (f"10{OURS}{n:016d}" for n in (1, 2, 3, 4))
RESPONSE, STATE, BEAT = f"10{PEER}{9001:016d}", f"10{PEER}{9002:016d}", f"01{OURS}{0:016d}"
EBMID = f"{OURS}202506240001"
AREAS = ("330521110200", "330521110201", "330521110203")


def beijing(words: str) -> datetime:
    return datetime.strptime(words, "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING)


def options(**changes: object) -> EbdOptions:
    given = {
        "url": "http://127.0.0.1:1/linkage/access",
        "ebrid": OURS,
        "peer_ebrid": PEER,
        "reply_url": URL,
        "sender_name": "德清县突发事件预警信息发布中心",
        "private_key": PRIVATE,
        "cert_sn": "000000000501",
        "peer_public_keys": (SAMPLE_KEY,),
    }
    return EbdOptions.model_validate(given | changes)


def platform_packet(kind: str, body: str, *, ebdid: str = STATE, label: str = "", more: str = "", root: str = "<EBD>") -> bytes:
    """A document as a platform writes it, by hand."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{root}<EBDVersion>1.0</EBDVersion><EBDID>{ebdid}</EBDID>'
        f"<EBDType>{label or kind}</EBDType><SRC><EBRID>{PEER}</EBRID></SRC><EBDTime>2025-06-24 14:06:01</EBDTime>"
        f"{more}<{kind}>{body}</{kind}></EBD>"
    ).encode()


def archive(files: Mapping[str, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return written.getvalue()


def packed(document: bytes, ebdid: str = STATE) -> bytes:
    return archive({f"EBDB_{ebdid}.xml": document})


def callback(body: bytes, content_type: str = "application/x-tar") -> Callback:
    return Callback("/callbacks/county", {"content-type": content_type}, body)


def state(code: str = "2", ebm: str = f"<EBM><EBMID>{EBMID}</EBMID></EBM>", coverage: str = "", more: str = "") -> str:
    return f"<RptTime>2025-06-24 14:06:01</RptTime>{ebm}<BrdStateCode>{code}</BrdStateCode>{more}{coverage}"


def heard(body: bytes, content_type: str = "application/x-tar", **changes: object) -> list[object]:
    channel = Ebd(options(**{"verify": "off"} | changes))
    try:
        return list(channel.read(callback(body, content_type)))
    finally:
        channel.close()


def result_of(answer_body: bytes) -> tuple[str, str]:
    """ResultCode and RelatedEBD/EBDID of an answer, by stock tools."""
    with tarfile.open(fileobj=io.BytesIO(answer_body)) as tar:
        document = tar.extractfile(tar.getmembers()[0]).read()
    root = etree.fromstring(document)
    return root.findtext("EBDResponse/ResultCode"), root.findtext("RelatedEBD/EBDID", "")


# --- packets -----------------------------------------------------------------------------------------------------


def test_our_copies_of_the_samples_are_the_samples():
    folder = SHARED / "samples" / "ebd"
    if not folder.is_dir():
        pytest.skip("the shared samples are not here")
    for path in folder.rglob("*"):
        if path.is_file():
            assert (DATA / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_there_are_seven_samples():
    assert set(PACKETS) == {PLAY, REQUEST, CANCEL, CANCEL_ORIGINAL, RESPONSE, STATE, BEAT}


@pytest.mark.parametrize("ebdid", sorted(PACKETS))
def test_a_sample_that_was_read_is_written_to_the_byte(ebdid):
    assert packet.write(packet.read(PACKETS[ebdid])) == PACKETS[ebdid]


def cancel(ebmid: str) -> Element:
    return Ebm(
        ebmid=ebmid,
        msg_type=2,
        sender_name="德清县突发事件预警信息发布中心",
        sender_code=OURS,
        sent=beijing("2025-06-24 14:30:00"),
        event_type="11B03",
        severity=1,
        start=beijing("2025-06-24 14:05:00"),
        end=beijing("2025-06-24 17:05:00"),
        title="应急广播播发取消通知",
        words="德清县暴雨红色预警信号的应急广播播发已经取消。",
        areas=AREAS,
        related=EBMID,
    ).element("gdj2018")


def test_the_samples_come_out_of_values():
    def ours(ebdid: str, at: str, body: Element) -> bytes:
        return packet.write(Packet(ebdid, OURS, PEER, beijing(at), body, URL))

    beat, answered = beijing("2025-06-24 14:05:30"), beijing("2025-06-24 14:05:11")
    assert ours(BEAT, "2025-06-24 14:05:30", packet.heartbeat(beat)) == PACKETS[BEAT]
    assert ours(REQUEST, "2025-06-24 14:06:00", packet.state_request(EBMID)) == PACKETS[REQUEST]
    assert ours(CANCEL, "2025-06-24 14:30:00", cancel(EBMID[:-1] + "2")) == PACKETS[CANCEL]
    assert ours(CANCEL_ORIGINAL, "2025-06-24 14:30:00", cancel(EBMID)) == PACKETS[CANCEL_ORIGINAL]
    response = Packet(RESPONSE, PEER, OURS, answered, packet.response(1), URL, PLAY)
    assert packet.write(response) == PACKETS[RESPONSE]


def test_the_warning_of_the_samples_comes_out_of_values_but_for_its_dispatch():
    document = PACKETS[PLAY]
    words = packet.read(document).body.text("MsgContent", "MsgDesc")
    body = Ebm(
        ebmid=EBMID,
        msg_type=1,
        sender_name="德清县突发事件预警信息发布中心",
        sender_code=OURS,
        sent=beijing("2025-06-24 14:05:00"),
        event_type="11B03",
        severity=1,
        start=beijing("2025-06-24 14:05:00"),
        end=beijing("2025-06-24 17:05:00"),
        title="德清县气象台发布暴雨红色预警信号",
        words=words,
        areas=AREAS,
    ).element("gdj2018")
    head, _, rest = document.partition(b"    <Dispatch>\n")
    written = packet.write(Packet(PLAY, OURS, PEER, beijing("2025-06-24 14:05:10"), body, URL))
    assert written == head + rest.partition(b"    </Dispatch>\n")[2]


def test_the_namespace_can_be_left_out():
    read = packet.read(PACKETS[BEAT])
    assert packet.write(read, namespace=False) == PACKETS[BEAT].replace(b' xmlns:xs="http://www.w3.org/2001/XMLSchema"', b"")


def test_the_dialect_of_2016_has_another_element_for_the_time_of_sending():
    def names(profile: str) -> list[str]:
        at = beijing("2025-06-24 14:05:00")
        body = Ebm("1", 1, "名", "b", at, "11B03", 1, at, at, "题", "文", AREAS).element(profile)
        return [one.name for one in body.find("MsgBasicInfo").children()]

    assert names("linkage2016") == [name.replace("SendTime", "SentTime") for name in names("gdj2018")]
    assert "SentTime" in names("linkage2016")


@pytest.mark.skipif(not (SHARED / "standards").is_dir(), reason="the shared schemas are not here")
def test_our_ebm_and_ebds_are_valid_by_the_standards_schemas():
    ebm = etree.XMLSchema(etree.parse(SHARED / "standards" / "gdj082_annexE_ebm.xsd"))
    ebds = etree.XMLSchema(etree.parse(SHARED / "standards" / "gdj081_annexA_ebm_signature.xsd"))
    written = packet.write(Packet(CANCEL, OURS, PEER, datetime.now(UTC), cancel(EBMID), URL))
    ebm.assertValid(etree.fromstring(written))
    value = signature.SoftwareKey(PRIVATE, "000000000501", "A").sign(written, datetime.now(UTC))
    ebds.assertValid(etree.fromstring(signature.write(CANCEL, value, "gdj2018")))


# --- text --------------------------------------------------------------------------------------------------------


def test_what_breaks_receivers_is_replaced():
    assert clean('他说"快"和"走",it\'s C:\\x') == "他说“快”和“走”,it’s C:＼x"
    assert clean("\ufeff 第一行\r\n\t第二行\n") == "\ufeff 第一行 第二行"
    assert clean("一\x00二\ud800三\uffff四") == "一二三四"
    assert clean(" \x00\n") == ""


def expected(text: str) -> str:
    """The documented substitution, sign by sign."""
    kept, quotes = [], 0
    for sign in text:
        if sign == '"':
            kept.append("“”"[quotes % 2])
            quotes += 1
        elif sign.isspace() and ord(sign) not in range(0x1C, 0x20) and sign not in "\x0b\x0c":
            kept.append(" ")
        elif not (ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 or sign in "\ufffe\uffff"):
            kept.append({"\\": "＼", "'": "’"}.get(sign, sign))
    line = "".join(kept)
    while "  " in line:
        line = line.replace("  ", " ")
    return line.strip(" ")


@given(st.text(st.characters(codec=None)) | st.text("\"'\\ <>&;]\r\n\t测\x00\ud800\u2028\x85", max_size=40))
@example("]]> <![CDATA[ &amp; &#0; -- <!-- ")
def test_any_text_comes_back_as_documented(text):
    body = Element("EBM", (Element("MsgContent", (Element("MsgDesc", text), Element("MsgTitle", text))),))
    again = packet.read(packet.write(Packet(PLAY, OURS, PEER, datetime.now(UTC), body)))
    assert again.body.text("MsgContent", "MsgDesc") == again.body.text("MsgContent", "MsgTitle") == expected(text) == clean(text)
    assert clean(clean(text)) == clean(text)


# --- ids ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "profile", "area"),
    [
        ("63415231002000314010401", "gdj2018", "341523100200"),  # printed in 080
        ("330521110201", "gdj2018", "330521110201"),
        ("010333112400000001", "linkage2016", "331124000000"),  # of the field
        ("010333112400000001", "gdj2018", ""),
        ("63415231002000314010401", "linkage2016", "341523100200"),
        ("73415231002000314010401", "gdj2018", ""),  # no such level
        ("000000000000", "gdj2018", ""),  # never "everywhere"
        ("6000000000000031401040", "gdj2018", ""),
        ("60000000000000314010401", "gdj2018", ""),
        ("+8615400000001", "gdj2018", ""),
        ("٣٣٠٥٢١١١٠٢٠١", "gdj2018", ""),
        ("330521110201\n", "gdj2018", ""),
        ("", "gdj2018", ""),
    ],
)
def test_an_address_names_an_area_or_is_none(address, profile, area):
    assert codes.area_of(address, profile) == area


def test_a_packets_number_leads_back_to_its_ebm():
    number = Number(date(2025, 6, 24), 7, datetime.now(UTC))
    assert codes.ebdid(OURS, number) == f"10{OURS}2025062400070000"
    assert codes.ebmid_of(codes.ebdid(OURS, number)) == codes.ebmid(OURS, number.day, 7) == f"{OURS}202506240007"
    assert codes.ebmid_of(codes.ebdid(OURS, number, 1)) == ""  # a cancel
    assert codes.ebmid_of(f"10{OURS}1750745110123456") == codes.ebmid_of(f"10{OURS}1750745110120000") == ""  # a question
    assert codes.ebmid_of(BEAT) == codes.ebmid_of("") == ""


# --- signatures --------------------------------------------------------------------------------------------------


def samples(mode: str) -> list[Path]:
    return sorted((DATA / f"signed_{mode}").glob("*.tar"))


@pytest.mark.parametrize("path", samples("A") + samples("B"), ids=lambda path: f"{path.parent.name}-{path.stem[-6:]}")
def test_the_samples_signatures_hold_in_their_mode(path):
    document = package.unpack(path.read_bytes())[0]
    value = signature.read(document.signature)
    assert signature.signed_by(document.data, value, [public(OTHER), SAMPLE_KEY]) == path.parent.name[-1]
    assert signature.signed_by(document.data + b" ", value, [SAMPLE_KEY]) is None
    assert signature.signed_by(document.data, value, [public(OTHER)]) is None
    assert signature.write(package_id(document), value, "gdj2018") == document.signature  # to the byte


def package_id(document: package.Document) -> str:
    return document.name.removeprefix("EBDB_").removesuffix(".xml")


def public(private: str) -> str:
    return signature.public_key(private)


@pytest.mark.parametrize("mode", ["A", "B"])
def test_what_we_sign_we_verify_and_the_same_twice_is_the_same(mode):
    key, at = signature.SoftwareKey(PRIVATE, "0000000000000501", mode), beijing("2025-06-24 14:05:10")
    value = key.sign(b"document", at)
    assert value == key.sign(b"document", at + timedelta(milliseconds=300))
    assert value != key.sign(b"document", at + timedelta(seconds=1))
    assert value[:4] == int(at.timestamp()).to_bytes(4, "big")
    assert value[4:10].hex() == "000000000501"
    assert signature.signed_by(b"document", value, [public(PRIVATE)]) == mode


def test_no_two_messages_share_the_number_that_would_give_the_key_away():
    key, d = signature.SoftwareKey(PRIVATE, "000000000501", "B"), int(PRIVATE, 16)
    values = [key.sign(document, datetime.now(UTC)) for document in (b"one", b"two", b"three")]
    numbers = [(int.from_bytes(one[10:42], "big"), int.from_bytes(one[42:], "big")) for one in values]
    assert len({(s * (1 + d) + r * d) % ORDER for r, s in numbers}) == 3


@pytest.mark.parametrize("mode", ["A", "B"])
@pytest.mark.skipif(OPENSSL is None, reason="no openssl command")
def test_openssl_agrees_with_our_signatures(mode, tmp_path):
    for turn in range(6):
        document = os.urandom(50) + bytes([turn])
        value = signature.SoftwareKey(PRIVATE, "000000000501", mode).sign(document, datetime.now(UTC))
        signed = document + (value[:4] if mode == "A" else b"")
        assert openssl_verifies(signed, value[10:42], value[42:], public(PRIVATE), tmp_path)
        assert not openssl_verifies(signed + b"x", value[10:42], value[42:], public(PRIVATE), tmp_path)


def openssl_verifies(data: bytes, r: bytes, s: bytes, key: str, folder: Path) -> bool:
    """SubjectPublicKeyInfo and signature in DER, by hand."""
    # SEQUENCE { SEQUENCE { id-ecPublicKey, sm2p256v1 }, BIT STRING 04‖x‖y }
    spki = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004") + bytes.fromhex(key)
    (folder / "key.pem").write_text(
        "-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(spki).decode() + "-----END PUBLIC KEY-----\n"
    )
    (folder / "data").write_bytes(data)
    numbers = b"".join(b"\x02" + bytes([len(one)]) + one for one in (as_integer(r), as_integer(s)))
    (folder / "signature").write_bytes(b"\x30" + bytes([len(numbers)]) + numbers)
    verify = f"{OPENSSL} pkeyutl -verify -rawin -digest sm3 -pkeyopt distid:1234567812345678 -pubin".split()
    files = ["-inkey", folder / "key.pem", "-in", folder / "data", "-sigfile", folder / "signature"]
    done = subprocess.run([*verify, *files], capture_output=True, check=False)
    assert b"Error" not in done.stderr, done.stderr
    return done.returncode == 0


def as_integer(raw: bytes) -> bytes:
    short = raw.lstrip(b"\0") or b"\0"
    return b"\0" + short if short[0] > 127 else short


def test_keys_that_begin_with_04_are_not_cut_short():
    """gmssl's constructor cuts off every 0 and 4 in front: one key in 256."""
    private, found = next((key, point) for n in range(1, 4000) if (point := public(key := f"{n:064x}")).startswith("04"))
    value = signature.SoftwareKey(private, "000000000501", "A").sign(b"document", datetime.now(UTC))
    assert signature.signed_by(b"document", value, [found]) == "A"


def test_nonsense_in_a_signature_verifies_nothing():
    for r, s in ((0, 0), (0, 1), (1, 0), (ORDER, 1), (1, ORDER), (1, 1), (ORDER - 1, ORDER - 1), (1, ORDER - 1)):
        value = bytes(10) + r.to_bytes(32, "big") + s.to_bytes(32, "big")
        assert signature.signed_by(b"document", value, [SAMPLE_KEY]) is None
    assert signature.signed_by(b"document", b"", [SAMPLE_KEY]) is None
    assert signature.signed_by(b"document", bytes(75), [SAMPLE_KEY]) is None


def test_a_signature_crafted_with_the_key_itself_to_meet_infinity_verifies_nothing():
    """s·G + (r+s)·P is no point when s·(1+d) = -r·d."""
    d, r = int(PRIVATE, 16), 5
    s = -r * d * pow(1 + d, -1, ORDER) % ORDER
    value = bytes(10) + r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert signature.signed_by(b"document", value, [public(PRIVATE)]) is None


def test_sm3_without_openssls_is_the_same(monkeypatch):
    value = signature.SoftwareKey(PRIVATE, "000000000501", "A").sign(b"document", beijing("2025-06-24 14:05:10"))
    monkeypatch.setattr(hashlib, "algorithms_available", set())
    assert signature.SoftwareKey(PRIVATE, "000000000501", "A").sign(b"document", beijing("2025-06-24 14:05:10")) == value


OLD_FORM = """<?xml version="1.0"?><Signature><Version>1.0</Version><RelatedEBD><EBDID>1</EBDID></RelatedEBD><SignatureCert>
<CertType>01</CertType><IssuerID>ab</IssuerID><CertSN>00</CertSN></SignatureCert><SignatureTime>F9-91-97</SignatureTime>
<DigestAlgorithm>SM3</DigestAlgorithm><SignatureAlgorithm>SM2</SignatureAlgorithm><SignatureValue>{}</SignatureValue></Signature>"""


def test_both_forms_of_the_signature_file_are_read():
    value = bytes(range(74))
    wrapped = base64.encodebytes(value).decode()  # with line breaks in it
    assert signature.read(OLD_FORM.format(wrapped).encode()) == value
    assert signature.read(signature.write("1", value, "gdj2018")) == value
    ours = signature.write(PLAY, value, "linkage2016", "ab")
    assert signature.read(ours) == value
    names = [one.tag for one in etree.fromstring(ours).iter()]
    assert names == [one.tag for one in etree.fromstring(OLD_FORM).iter()]
    assert etree.fromstring(ours).findtext("SignatureTime") == "00010203"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"<Signature/>",
        b"<Signature><SignatureValue>" + b"&#x0;" * 100 + b"</SignatureValue></Signature>",  # 6 of 16 in the field
        b"<Signature><SignatureValue></SignatureValue></Signature>",
        b"<Signature><SignatureValue>AAAA</SignatureValue></Signature>",
        b"<Signature><SignatureValue>\xe6\xb5\x8b</SignatureValue></Signature>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><Signature><SignatureValue>&x;</SignatureValue></Signature>',
        b"\x00" * 400,
    ],
)
def test_a_broken_signature_file_is_no_signature(broken):
    assert signature.read(broken) == b""


# --- the package -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ebdid", [PLAY, BEAT])
def test_the_samples_tar_is_written_to_the_byte(ebdid):
    sample = (DATA / f"unsigned_EBDT_{ebdid}.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(sample)) as tar:
        at = datetime.fromtimestamp(tar.getmembers()[0].mtime, UTC)
    assert package.tar(ebdid, PACKETS[ebdid], None, at) == sample


@pytest.mark.parametrize("path", samples("A"), ids=lambda path: path.stem[-6:])
def test_a_signed_tar_is_written_to_the_byte(path):
    (document,) = package.unpack(path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
        at = datetime.fromtimestamp(tar.getmembers()[0].mtime, UTC)
    assert package.tar(package_id(document), document.data, document.signature, at) == path.read_bytes()


def test_ordinary_tools_read_our_tar_business_first_signature_second():
    written = package.tar(PLAY, PACKETS[PLAY], b"<Signature/>", datetime.now(UTC))
    assert len(written) % 10240 == 0 and written.endswith(bytes(1024))
    with tarfile.open(fileobj=io.BytesIO(written)) as tar:
        assert tar.getnames() == [f"EBDB_{PLAY}.xml", f"EBDS_EBDB_{PLAY}.xml"]
        assert {one.mode for one in tar.getmembers()} == {0o644}
        assert tar.extractfile(tar.getnames()[0]).read() == PACKETS[PLAY]


REPORT = platform_packet("EBMStateResponse", state())
NAME = f"EBDB_{STATE}.xml"
SIGNED_NAME = f"EBDS_{NAME}"
BARE_TAR = packed(REPORT)
UNPADDED = BARE_TAR[: 512 + len(REPORT)]


def multipart(content: bytes, boundary: str = "X1", head: str = 'name="file"; filename="a.tar"', newline: str = "\r\n") -> bytes:
    lines = [f"--{boundary}", f"Content-Disposition: form-data; {head}", "Content-Type: whatever", "", ""]
    return newline.join(lines).encode() + content + f"{newline}--{boundary}--{newline}".encode()


TWO_PARTS = b"--X1\r\nContent-Disposition: form-data; name=comment\r\n\r\nhello\r\n" + multipart(BARE_TAR)
PLAYING = [State.DELIVERED]


@pytest.mark.parametrize(
    ("what", "body", "content_type"),
    [
        ("raw", BARE_TAR, "application/x-tar"),
        ("raw, as Gospell answers", BARE_TAR, "application/force-download"),
        ("raw, without a type", BARE_TAR, ""),
        ("unquoted boundary", multipart(BARE_TAR), "multipart/form-data; boundary=X1"),
        ("as printed in 083", multipart(BARE_TAR, head='name="field1"; filename="x"'), "multipart/form-data;boundary=X1"),
        ("quoted boundary", multipart(BARE_TAR), 'Multipart/Form-Data; BOUNDARY="X1"'),
        ("a parameter after the boundary", multipart(BARE_TAR), "multipart/form-data; boundary=X1; charset=utf-8"),
        ("no type, seen by the first line", multipart(BARE_TAR), ""),
        ("another boundary than it says", multipart(BARE_TAR), "multipart/form-data; boundary=nonsense"),
        ("bare line feeds", multipart(BARE_TAR, newline="\n"), "multipart/form-data; boundary=X1"),
        ("a text part before it", TWO_PARTS, "multipart/form-data; boundary=X1"),
        ("no file name", multipart(BARE_TAR, head='name="x"'), "multipart/form-data; boundary=X1"),
        ("GNU", archive({NAME: REPORT}, tarfile.GNU_FORMAT), ""),
        ("PAX with extended headers", archive({NAME: REPORT, "EBDR_测.mp3": b"x"}, tarfile.PAX_FORMAT), ""),
        ("GNU with a long name first", archive({"x" * 120: b"x", NAME: REPORT}, tarfile.GNU_FORMAT), ""),
        ("no padding, no end blocks", UNPADDED, ""),  # Brilliance9; Python's tarfile refuses it
        ("no end blocks", BARE_TAR[: 512 + -(-len(REPORT) // 512) * 512], ""),
        ("one end block", BARE_TAR[: 1024 + -(-len(REPORT) // 512) * 512], ""),
        ("two bytes behind it", BARE_TAR + b"\r\n", ""),  # Tuners
        ("bytes behind an unpadded one", UNPADDED + b"\r\n--X1--\r\n", ""),
        ("signature first", archive({SIGNED_NAME: b"<Signature/>", NAME: REPORT}), ""),
        ("signature last, audio between", archive({NAME: REPORT, "EBDR_a.mp3": b"ID3", SIGNED_NAME: b""}), ""),
        ("lower case", archive({NAME.lower(): REPORT}), ""),
        ("upper case", archive({NAME.upper(): REPORT}), ""),
        ("below a folder", archive({f"./out/{NAME}": REPORT}), ""),
        ("below a folder of Windows", archive({f"out\\{NAME}": REPORT}), ""),
        ("file name and EBDID differ", archive({"EBDB_1.xml": REPORT}), ""),
        ("no EBDB in the name", archive({"report.xml": REPORT}), ""),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" not in value else "",
)
def test_a_report_is_found_in_whatever_it_is_packed(what, body, content_type):
    assert [one.receipt.state for one in heard(body, content_type)] == PLAYING, what


@pytest.mark.parametrize(
    "body",
    [
        archive({f"../{NAME}": REPORT}),
        archive({"EBDS_EBDB_1.xml": REPORT}),
        archive({}),
        BARE_TAR[: 512 + len(REPORT) - 1],  # cut off
        BARE_TAR.replace(b"0000644", b"0000645", 1),  # a wrong sum
        b"",
        b"\x00" * 2048,
        b"<html>no</html>" * 100,
        b"--X1\r\n\r\n",
        bytes(package.MAX_BYTES + 1),
    ],
    ids=["upwards", "only a signature", "empty", "cut", "wrong sum", "nothing", "zeros", "html", "empty part", "too long"],
)
def test_what_holds_no_document_is_a_value_error_and_result_code_2(body):
    channel = Ebd(options(verify="off"))
    with pytest.raises(ValueError):
        channel.read(callback(body))
    assert result_of(channel.answer(callback(body)).body) == ("2", "")


def test_a_member_that_was_cut_off_is_none():
    assert [one.name for one in package.files(UNPADDED)] == [NAME]
    assert package.files(UNPADDED[:-1]) == []


def test_links_and_devices_are_not_documents():
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(NAME)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert package.files(written.getvalue()) == []


def test_no_more_than_so_many_members_are_looked_at():
    many = archive({f"EBDR_{n}.mp3": b"" for n in range(package.MAX_MEMBERS)} | {NAME: REPORT})
    with pytest.raises(NotTaken):
        package.unpack(many)


def test_the_form_has_one_part_and_a_boundary_that_needs_no_quotes():
    kind, body = package.form(PLAY, BARE_TAR, part_name="field1", part_type="application/x-tar")
    assert kind.startswith("multipart/form-data; boundary=") and kind.rpartition("=")[2].isalnum()
    boundary = b"--" + kind.rpartition("=")[2].encode()
    assert body.count(boundary) == 2 and body.endswith(boundary + b"--\r\n")
    assert f'name="field1"; filename="EBDT_{PLAY}.tar"\r\nContent-Type: application/x-tar\r\n\r\n'.encode() in body
    assert package.form(PLAY, BARE_TAR, part_name="field1", part_type="application/x-tar") == (kind, body)


# --- what platforms say ------------------------------------------------------------------------------------------

AREA = "<Coverage><CoverageRate>0.98</CoverageRate><AreaCode>{}</AreaCode><ResBrdStat>1,1,3,147</ResBrdStat></Coverage>"


def regions(found: Sequence[object]) -> list[tuple[str, str]]:
    return [(one.region, str(one.receipt.state)) for one in found if isinstance(one, Report)]


def test_the_sample_of_a_state_is_on_the_air_in_its_villages():
    found = heard(packed(PACKETS[STATE]))
    assert regions(found) == [(area, "delivered") for area in AREAS]
    receipt = found[0].receipt
    assert (receipt.ref, receipt.code, receipt.detail) == (EBMID, "BrdStateCode 2", "播发中, coverage 0.98")
    assert receipt.at == beijing("2025-06-24 14:06:01")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (state("0"), [("", "accepted")]),
        (state("1"), [("", "accepted")]),
        (state("2"), [("", "delivered")]),
        (state("3"), [("", "delivered")]),
        (state("4"), [("", "failed")]),
        (state("5"), [("", "cancelled")]),
        (state("9"), [("", "accepted")]),  # they know it; of the air they say nothing
        (
            state("2", coverage=AREA.format("330521110201，330521110202, 330521110201")),
            [("330521110201", "delivered"), ("330521110202", "delivered")],
        ),
        (
            state("2", coverage=AREA.format("330521115000,330521,33052111")),
            [("330521115", "delivered"), ("330521", "delivered"), ("330521110", "delivered")],
        ),
        (state("2", coverage=AREA.format("莫干山镇")), [("", "accepted")]),  # somewhere, but where?
        (state("2", coverage=AREA.format("")), [("", "delivered")]),  # empty is absent
        (state("2", coverage="<Coverage/>"), [("", "delivered")]),
        (state("4", coverage=AREA.format("330521110201")), [("", "failed")]),
        (state("2", ebm=f"<EBMID>{EBMID}</EBMID>"), [("", "delivered")]),
        (state("2", ebm=f"<EBM><EBEID>{EBMID}</EBEID></EBM>"), [("", "delivered")]),
        (state("2", more="<BrdStateDes>播发中</BrdStateDes><Vendor><Deep>1</Deep></Vendor>"), [("", "delivered")]),
        (
            state("3", more="<ResBrdInfo><ResBrdItem><EBRBS><BrdStateCode>4</BrdStateCode></EBRBS></ResBrdItem></ResBrdInfo>"),
            [("", "delivered")],
        ),
    ],
)
def test_each_state_of_a_broadcast_has_its_meaning(said, expected):
    assert regions(heard(packed(platform_packet("EBMStateResponse", said)))) == expected


@pytest.mark.parametrize(
    "document",
    [
        REPORT.replace(b"<EBD>", b'<EBD xmlns="urn:whatever">'),
        REPORT.replace(b"<EBD>", b'<EBD xmlns:xs="http://www.w3.org/2001/XMLSchema">'),
        REPORT.replace(b"<EBD>", b'<x:EBD xmlns:x="urn:y">').replace(b"</EBD>", b"</x:EBD>"),
        REPORT.replace(b"<EBRID>", b"<EBEID>").replace(b"</EBRID>", b"</EBEID>"),
        b"\xef\xbb\xbf" + REPORT,
        REPORT.replace(b"><", b">\r\n  <"),
        REPORT.replace(b"</SRC>", b"</SRC><RelatedEBD/>"),
        REPORT.replace(b"</SRC>", b"</SRC><RelatedEBD><EBDID></EBDID></RelatedEBD><Surprise>1</Surprise>"),
        REPORT.replace(b"</BrdStateCode>", b"</BrdStateCode><BrdStateDesc>A & B < C</BrdStateDesc>"),  # Gospell
        REPORT.replace(b"</BrdStateCode>", b"</BrdStateCode><BrdStateDesc>&#x0;&nbsp;</BrdStateDesc>"),
        REPORT.replace(b"<EBDType>EBMStateResponse<", b"<EBDType>EBRDTState<"),
        REPORT.replace(b"<EBDType>EBMStateResponse</EBDType>", b""),
        REPORT.replace(b"EBDVersion>1.0<", b"EBDVersion><"),
        REPORT.replace(STATE.encode(), STATE.encode()[:-1]),  # 40 digits
        REPORT.replace(b"<SRC>", b"<!-- a comment --><?pi?><SRC>"),
        REPORT.replace(b"<BrdStateCode>2", b"<BrdStateCode><![CDATA[2]]>"),
        REPORT.replace(b"<BrdStateCode>2", b"<BrdStateCode>\n 2 "),
        REPORT.replace(b"<RptTime>2025-06-24 14:06:01", b"<RptTime>0001-01-01 00:00:00"),  # .NET's nothing
        REPORT.decode().replace("UTF-8", "GBK").encode("gbk"),
        REPORT.replace(b"UTF-8", b"no-such-code"),
        REPORT.replace(b"<BrdStateCode>", b"<BrdStateCode/><BrdStateCode></BrdStateCode><BrdStateCode>"),
        REPORT.replace(b"<EBM>", b"<EBM/><EBM>"),
    ],
)
def test_vendors_ways_of_writing_a_packet_are_understood(document):
    found = heard(packed(document))
    assert regions(found) == [("", "delivered")]
    assert found[0].receipt.at == beijing("2025-06-24 14:06:01")


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"<EBD>", 2),
        (b"<html><body>502</body></html>", 2),
        (b'<!DOCTYPE EBD [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + REPORT.partition(b"?>")[2], 2),
        (REPORT[:-40], 2),  # cut off: what is missing might have been half an area code
        (b"<a>" * 100_000, 2),
        (REPORT.replace(b"EBDID", b"Id"), 3),
        (platform_packet("EBMStateResponse", state(ebm="")), 3),
        (platform_packet("EBMStateResponse", "<EBM><EBMID>1</EBMID></EBM>"), 3),
        (platform_packet("EBMStateResponse", state(ebm="<EBM><EBMID>a b</EBMID></EBM>")), 3),
        (platform_packet("EBMStream", ""), 3),
        (PACKETS[PLAY], 3),  # never "understood": nobody here would broadcast it
        (PACKETS[REQUEST], 3),
        (platform_packet("EBDNotify", "<ResultDesc>?</ResultDesc>"), 3),
    ],
)
def test_what_cannot_be_served_is_a_value_error_and_says_so(document, code):
    channel = Ebd(options(verify="off"))
    with pytest.raises(NotTaken) as caught:
        channel.read(callback(packed(document)))
    assert caught.value.code == code
    assert result_of(channel.answer(callback(packed(document))).body)[0] == str(code)


def test_a_log_of_broadcasts_speaks_of_each():
    items = "".join(
        f"<EBMBrdItem><EBM><EBMID>{OURS}20250624000{n}</EBMID><MsgContent><AreaCode>330521110203</AreaCode></MsgContent></EBM>"
        f"<BrdStateCode>{code}</BrdStateCode>{coverage}</EBMBrdItem>"
        for n, code, coverage in ((1, 3, AREA.format("330521110201")), (2, 4, ""))
    )
    found = heard(packed(platform_packet("EBMBrdLog", items)))
    assert regions(found) == [("330521110201", "delivered"), ("", "failed")]
    assert [one.receipt.ref[-1] for one in found] == ["1", "2"]
    assert heard(packed(platform_packet("EBMBrdLog", ""))) == []


def system(n: int, code: str, tag: str = "EBRDT", resource: str = "EBRID") -> str:
    return f"<{tag}><RptTime>2025-06-24 14:06:01</RptTime><{resource}>6330521110201031401040{n}</{resource}><StateCode>{code}</StateCode></{tag}>"


@pytest.mark.parametrize("kind", ["EBRDTState", "EBRASState", "EBRBSState", "EBRPSState"])
def test_the_states_of_systems_become_conditions(kind):
    tag = kind.removesuffix("State")
    body = "".join(system(n, code, tag) for n, code in enumerate("1234597"))
    found = heard(packed(platform_packet(kind, body)))
    standings = [Standing.ONLINE, Standing.OFFLINE, Standing.FAULT, Standing.ONLINE, Standing.PLAYING]
    at = beijing("2025-06-24 14:06:01")
    assert found == [
        Condition(f"6330521110201031401040{n}", one, region="330521110201", at=at) for n, one in enumerate(standings)
    ]  # 9 and 7 say nothing


def test_old_names_of_systems_are_known_and_an_empty_report_is_fine():
    old = system(1, "2", "EBEAS", "EBEID")
    assert [one.standing for one in heard(packed(platform_packet("EBRASState", old)))] == [Standing.OFFLINE]
    channel = Ebd(options(verify="off"))
    empty = platform_packet("EBRDTState", "").replace(b"<EBRDTState></EBRDTState>", b"<EBRDTState />")
    assert channel.read(callback(packed(empty))) == []
    assert result_of(channel.answer(callback(packed(empty))).body) == ("1", STATE)


@pytest.mark.parametrize("kind", ["EBRPSInfo", "EBRSTInfo", "EBRASInfo", "EBRBSInfo", "EBRDTInfo"])
def test_what_is_only_stored_means_nothing_and_is_understood(kind):
    channel = Ebd(options(verify="off"))
    body = callback(packed(platform_packet(kind, "<X><EBRID>1</EBRID></X>", label="EBRDTInfo")))
    assert channel.read(body) == []
    assert result_of(channel.answer(body).body) == ("1", STATE)


def test_a_notice_that_a_warning_cannot_be_carried_out_fails_it():
    related = "<RelatedEBD><EBDID>10{}2025062400070000</EBDID></RelatedEBD>"
    body = "<ResultCode>{}</ResultCode><ResultDesc>无法处理 12000000000</ResultDesc>"

    def said(kind: str, code: int, of: str = OURS) -> list[tuple[str, str, str]]:
        found = heard(packed(platform_packet(kind, body.format(code), more=related.format(of))))
        return [(one.receipt.ref, str(one.receipt.state), one.receipt.detail) for one in found]

    assert said("EBDNotify", 5) == [(f"{OURS}202506240007", "failed", "无法处理 #")]
    assert said("EBDNotify", 1) == []
    assert said("EBDResponse", 3) == [(f"{OURS}202506240007", "failed", "无法处理 #")]
    assert said("EBDResponse", 1) == [(f"{OURS}202506240007", "accepted", "无法处理 #")]
    assert heard(packed(platform_packet("EBDNotify", body.format(5)))) == []


def test_a_heartbeat_says_that_the_platform_lives():
    beat = platform_packet("ConnectionCheck", "<RptTime>2025-06-24 14:06:00</RptTime>", ebdid=f"01{PEER}{0:016d}")
    (found,) = heard(packed(beat, f"01{PEER}{0:016d}"), verify="require")  # never required of a heartbeat
    assert found == Condition("", Standing.ONLINE, at=beijing("2025-06-24 14:06:00"))


def test_several_documents_in_one_tar_are_all_read():
    both = archive({NAME: REPORT, f"EBDB_{RESPONSE}.xml": platform_packet("EBRDTState", system(1, "1"))})
    assert [type(one) for one in heard(both)] == [Report, Condition]


def test_a_report_of_more_systems_than_can_be_is_refused(monkeypatch):
    monkeypatch.setattr("broadcast.channels.ebd.reports.MAX_HEARD", 5)
    with pytest.raises(ValueError, match="more than 5"):
        heard(packed(platform_packet("EBRDTState", system(1, "1") * 6)))


# --- trust -------------------------------------------------------------------------------------------------------


def signed(document: bytes, key: str = OTHER, mode: str = "A") -> bytes:
    value = signature.SoftwareKey(key, "000000000502", mode).sign(document, datetime.now(UTC))
    return archive({NAME: document, SIGNED_NAME: signature.write(STATE, value, "gdj2018")})


@pytest.mark.parametrize("mode", ["A", "B"])
def test_what_the_platform_signed_is_taken_where_it_must_be_signed(mode):
    trust = {"verify": "require", "peer_public_keys": (SAMPLE_KEY, public(OTHER))}
    assert len(heard(signed(REPORT, mode=mode), **trust)) == 1
    path = next(path for path in samples(mode) if STATE in path.name)
    assert len(heard(path.read_bytes(), **trust)) == 3


@pytest.mark.parametrize(
    "body",
    [
        packed(REPORT),
        signed(REPORT, key=PRIVATE),
        archive({NAME: REPORT, SIGNED_NAME: b"<Signature><SignatureValue>" + b"&#x0;" * 100 + b"</SignatureValue></Signature>"}),
    ],
    ids=["unsigned", "by somebody else", "by a broken device"],
)
def test_what_is_not_signed_by_the_platform_is_refused_warned_of_or_taken(body, caplog):
    trusted = {"peer_public_keys": (public(OTHER),)}
    channel = Ebd(options(verify="require", **trusted))
    with pytest.raises(ValueError, match="not signed"):
        channel.read(callback(body))
    assert result_of(channel.answer(callback(body)).body) == ("4", STATE)
    assert not caplog.records
    assert len(heard(body, verify="warn", **trusted)) == 1
    assert len(caplog.records) == 1 and EBMID not in caplog.text and STATE not in caplog.text
    caplog.clear()
    assert len(heard(body, verify="off", **trusted)) == 1
    assert not caplog.records


def test_a_packet_cannot_pass_for_a_heartbeat_to_escape_the_check():
    both = REPORT.replace(b"<EBDType>EBMStateResponse<", b"<EBDType>ConnectionCheck<").replace(
        b"</EBD>", b"<ConnectionCheck/></EBD>"
    )
    found = heard(packed(both), verify="require")
    assert [type(one) for one in found] == [Condition]


# --- answers -----------------------------------------------------------------------------------------------------


def test_an_answer_is_a_signed_tar_that_names_what_it_answers():
    channel = Ebd(options(verify="off"))
    answer = channel.answer(callback(BARE_TAR))
    assert (answer.status, answer.content_type) == (200, "application/x-tar")
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        business, signed_file = (tar.extractfile(one).read() for one in tar.getmembers())
        ebdid = tar.getnames()[0].removeprefix("EBDB_").removesuffix(".xml")
    assert answer.headers == {"Content-Disposition": f'attachment; filename="EBDT_{ebdid}.tar"'}
    assert signature.signed_by(business, signature.read(signed_file), [public(PRIVATE)]) == "A"
    written = packet.read(business)
    assert (written.ebdid, written.source, written.destination, written.related) == (ebdid, OURS, PEER, STATE)
    assert ebdid.startswith(f"10{OURS}") and len(ebdid) == 41
    assert written.body.text("ResultDesc") == "接收解析及数据校验成功"


def test_two_answers_have_two_numbers():
    channel = Ebd(options(sign_mode="none"))
    names = {channel.answer(callback(b"")).headers["Content-Disposition"] for _ in range(5)}
    assert len(names) == 5


ANYTHING = st.binary(max_size=1500) | st.builds(
    lambda name, data: archive({name: data}), st.sampled_from([NAME, "EBDB", "x.xml", SIGNED_NAME]), st.binary(max_size=300)
)
DAMAGED = st.builds(
    lambda document, at, cut, put: packed(document[:at] + put + document[at + cut :]),
    st.sampled_from([*PACKETS.values(), REPORT]),
    st.integers(0, 1600),
    st.integers(0, 60),
    st.binary(max_size=20) | st.sampled_from([b"&#x0;", b"<", b"&x;", b"</EBD>", b"<EBDType>", b"\xff", b"<!DOCTYPE a>"]),
)
TORN = st.builds(
    lambda at, put: BARE_TAR[:at] + put + BARE_TAR[at + len(put) :], st.integers(0, 2100), st.binary(min_size=1, max_size=30)
)


@settings(deadline=None)
@given(
    ANYTHING | DAMAGED | TORN,
    st.text(max_size=40) | st.just("multipart/form-data; boundary=0"),
    st.sampled_from(["/x", "heartbeat"]),
)
def test_any_bytes_are_a_value_or_a_value_error_and_always_have_an_answer(body, content_type, path):
    arrived = Callback(path, {"content-type": content_type}, body)
    code, _ = result_of(CHANNEL.answer(arrived).body)
    try:
        found = CHANNEL.read(arrived)
    except ValueError:
        assert code != "1" or path == "heartbeat"
    else:
        assert code == "1" or path == "heartbeat"
        assert all(isinstance(one, Report | Condition) for one in found)


CHANNEL = Ebd(options(verify="off", sign_mode="none"))


# --- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ebrid": "4330521"}, "ebrid"),
        ({"profile": "linkage2016"}, "18 digits"),
        ({"ebrid": "0" * 18}, "23 digits"),
        ({"private_key": None}, "private_key"),
        ({"private_key": "0" * 64}, "private key"),
        ({"private_key": "not a key"}, "private key"),
        ({"cert_sn": ""}, "cert_sn"),
        ({"cert_sn": "5"}, "cert_sn"),
        ({"peer_public_keys": (), "verify": "require"}, "peer_public_keys"),
        ({"peer_public_keys": ("04" + SAMPLE_KEY,)}, "without 04"),
        ({"peer_public_keys": ("1" * 128,)}, "point of the curve"),
        ({"sender_name": "O'Hara"}, "one line"),
        ({"reply_url": "http://x/it's"}, "one line"),
        ({"event_codes": {"11B03": "暴雨"}}, "event_codes"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_an_option_that_cannot_be_is_refused_without_showing_it(changes, words):
    with pytest.raises(ValidationError) as caught:
        options(**changes)
    assert words in str(caught.value)
    assert PRIVATE not in str(caught.value) and "not a key" not in str(caught.value)


def test_no_key_is_ever_shown():
    assert PRIVATE not in repr(options()) + repr(Ebd(options())) + repr(signature.SoftwareKey(PRIVATE, "000000000501", "A"))


def test_without_a_signature_no_key_is_needed():
    assert options(sign_mode="none", private_key=None, cert_sn="").sign_mode == "none"
