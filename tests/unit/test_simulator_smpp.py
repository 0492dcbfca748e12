"""The stand-in of a carrier's SMSC, met by two clients that nobody here wrote (smpplib, smpp34) and by broken bytes."""

from __future__ import annotations

import re
import select
import socket
import struct
import time
import urllib.request
from contextlib import closing
from datetime import datetime

import pytest
import smpp34
from hypothesis import given, settings
from hypothesis import strategies as st
from smpplib import consts, exceptions, gsm
from smpplib.client import Client

from broadcast.simulator import Config, Faults, Simulator, SmppAccount

ACCOUNT = SmppAccount(system_id="deqing", password="secret", report_delay_ms=0)
RECEIPT = re.compile(
    r"id:(\d{10}) sub:001 dlvrd:00[01] submit date:\d{10} done date:\d{10} stat:(DELIVRD|UNDELIV) err:\d{3} text:"
)


class Customer:
    """An ESME on smpplib: keeps the responses to what it sent and all that was delivered to it."""

    def __init__(self, simulator: Simulator, bind: str = "bind_transceiver", **fields: str) -> None:
        self.client = Client("127.0.0.1", simulator.smpp_port, timeout=5, allow_unknown_opt_params=True)
        self.answered: list[object] = []
        self.delivered: list[object] = []
        self.says = consts.SMPP_ESME_ROK  # the status of deliver_sm_resp
        self.client.set_message_sent_handler(self._hear)
        self.client.set_error_pdu_handler(lambda pdu: None)  # the one above is told of it too
        self.client.set_message_received_handler(self._take)
        self.client.connect()
        getattr(self.client, bind)(**{"system_id": "deqing", "password": "secret"} | fields)

    def _hear(self, pdu: object) -> None:
        self.answered.append(pdu)

    def _take(self, pdu: object) -> int:
        self.delivered.append(pdu)
        return self.says

    def send(self, text: str, number: str = "15400000001", **fields: object) -> None:
        self.submit(text.encode("utf-16-be"), number, **{"data_coding": 8} | fields)

    def submit(self, octets: bytes, number: str = "15400000001", **fields: object) -> None:
        self.client.send_message(
            **{"source_addr": "10690000", "destination_addr": number, "short_message": octets, "registered_delivery": 1} | fields
        )

    def read_until(self, condition, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end
            if select.select([self.client._socket], [], [], 0.02)[0]:
                self.client.read_once(auto_send_enquire_link=False)

    def answers(self, count: int = 1) -> list[int]:
        self.read_until(lambda: len(self.answered) >= count)
        return [pdu.status for pdu in self.answered]

    def receipts(self, count: int) -> list[tuple[str, str]]:
        """(message id, stat) as the texts say."""
        self.read_until(lambda: len(self.delivered) >= count)
        return [RECEIPT.fullmatch(pdu.short_message.decode()).groups() for pdu in self.delivered]

    def close(self) -> None:
        self.client.state = consts.SMPP_CLIENT_STATE_OPEN  # quietly
        self.client.disconnect()


@pytest.fixture
def simulator():
    with Simulator(Config(account=None, smpp=ACCOUNT)) as running:
        yield running


@pytest.fixture
def customer(simulator):
    with closing(Customer(simulator)) as bound:
        yield bound


def received(simulator: Simulator) -> list[dict[str, object]]:
    return simulator.provider("smpp").received()


def test_a_text_is_taken_shown_and_its_receipt_delivered(customer, simulator):
    customer.send("【德清应急】暴雨红色预警")
    assert customer.answers() == [0]
    message_id = customer.answered[0].message_id.decode()
    assert customer.receipts(1) == [(message_id, "DELIVRD")]
    receipt = customer.delivered[0]
    assert (receipt.source_addr, receipt.destination_addr, receipt.esm_class) == (b"15400000001", b"10690000", 0x04)
    assert (receipt.receipted_message_id, receipt.message_state) == (message_id.encode(), 2)
    [sms] = received(simulator)
    assert (sms["mobile"], sms["content"], sms["messageIds"]) == ("15400000001", "【德清应急】暴雨红色预警", [message_id])
    assert datetime.fromisoformat(sms["at"]).utcoffset().total_seconds() == 8 * 3600
    wait_for(lambda: simulator.counts("smpp")["reports_owed"] == 0)
    counts = simulator.counts("smpp")
    assert (counts["calls"], counts["numbers"], counts["reports_pushed"]) == (1, 1, 1)


def test_another_library_reads_the_same_receipt(simulator):
    """Raw on the line; smpp34 writes what is sent and reads what is delivered."""
    with raw(simulator) as line:
        line.sendall(bind())
        assert read(line)[8:12] == b"\0\0\0\0"
        payload = smpp34.Tlv(smpp34.TLV_MESSAGE_PAYLOAD, "雨".encode("utf-16-be") * 200)
        reference = smpp34.Tlv(smpp34.TLV_USER_MESSAGE_REFERENCE, b"\x12\x34")
        sent = smpp34.SubmitSm(
            "10690000", "8615400000001", data_coding=8, registered_delivery=1, tlvs=[payload, reference], sequence_number=7
        )
        line.sendall(sent.encode())
        answer = smpp34.decode(read(line))
        assert (answer.command_id, answer.command_status, answer.sequence_number) == (0x80000004, 0, 7)
        receipt = smpp34.decode(read(line))
    tlvs = {tlv.tag: tlv for tlv in receipt.tlvs}
    assert tlvs[smpp34.TLV_RECEIPTED_MESSAGE_ID].as_string() == answer.body[:-1].decode()
    assert tlvs[smpp34.TLV_MESSAGE_STATE].as_int() == 2
    assert tlvs[smpp34.TLV_USER_MESSAGE_REFERENCE].value == b"\x12\x34"
    assert (receipt.source_addr, receipt.destination_addr) == ("8615400000001", "10690000")
    assert received(simulator)[0]["content"] == "雨" * 200


def test_the_parts_of_a_long_text_are_one_sms_when_all_are_there(customer, simulator):
    text = "【德清应急】" + "雨" * 150
    parts, coding, esm_class = gsm.make_parts(text, consts.SMPP_ENCODING_ISO10646)
    assert len(parts) == 3
    for part in reversed(parts):
        assert received(simulator) == []
        customer.submit(part, data_coding=coding, esm_class=esm_class)
        customer.answers(len(customer.answered) + 1)
    receipts = customer.receipts(3)
    [sms] = received(simulator)
    assert sms["content"] == text
    assert sms["messageIds"] == [pdu.message_id.decode() for pdu in reversed(customer.answered)]
    assert sorted(message_id for message_id, _ in receipts) == sorted(sms["messageIds"])


def test_parts_by_sar_parameters_are_joined_too(customer, simulator):
    for number in (2, 1):
        customer.send("甲乙"[number - 1] * 60, sar_msg_ref_num=300, sar_total_segments=2, sar_segment_seqnum=number)
    assert customer.answers(2) == [0, 0]
    assert [sms["content"] for sms in received(simulator)] == ["甲" * 60 + "乙" * 60]


@pytest.mark.parametrize("number", ["15400000001", "8619400000001", "+8615400000001"])
def test_the_numbers_of_nobody_are_taken_in_the_forms_in_use(customer, number):
    customer.send("雨", number)
    assert customer.answers() == [0]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"number": "12000000001"}, consts.SMPP_ESME_RINVDSTADR),
        ({"number": "1540000001"}, consts.SMPP_ESME_RINVDSTADR),
        ({"number": "08615400000001"}, consts.SMPP_ESME_RINVDSTADR),
        ({"number": ""}, consts.SMPP_ESME_RINVDSTADR),
        ({"source_addr": "10086"}, consts.SMPP_ESME_RINVSRCADR),
        ({"source_addr": "10690000x"}, consts.SMPP_ESME_RINVSRCADR),
        ({"source_addr_ton": 7}, consts.SMPP_ESME_RINVSRCTON),
        ({"dest_addr_npi": 7}, consts.SMPP_ESME_RINVDSTNPI),
        ({"octets": b""}, consts.SMPP_ESME_RINVMSGLEN),
        ({"octets": b"\x66"}, consts.SMPP_ESME_RINVMSGLEN),
        ({"octets": b"\x66\x96" * 71}, consts.SMPP_ESME_RINVMSGLEN),
        ({"octets": b"\x06\x05", "esm_class": 0x40}, consts.SMPP_ESME_RINVMSGLEN),
        ({"data_coding": 4}, consts.SMPP_ESME_RSUBMITFAIL),
        ({"esm_class": 0x04}, consts.SMPP_ESME_RINVESMCLASS),
        ({"priority_flag": 4}, consts.SMPP_ESME_RINVPRTFLG),
        ({"registered_delivery": 3}, consts.SMPP_ESME_RINVREGDLVFLG),
        ({"schedule_delivery_time": "260101120000000+"}, consts.SMPP_ESME_RINVSCHED),
        ({"octets": b"\x05\x00\x03\x01\x02\x03\x66\x96", "esm_class": 0x40}, consts.SMPP_ESME_RSUBMITFAIL),  # 3 of 2
    ],
)
def test_what_breaks_a_rule_is_refused_by_its_status_and_not_kept(customer, simulator, changes, status):
    given_fields = {"octets": "雨".encode("utf-16-be"), "data_coding": 8} | changes
    customer.submit(given_fields.pop("octets"), given_fields.pop("number", "15400000001"), **given_fields)
    assert customer.answers() == [status]
    assert simulator.counts("smpp")["calls"] == 0


def test_a_number_can_be_told_to_be_bad():
    account = SmppAccount("deqing", "secret", refuse_ending="77")
    with Simulator(Config(account=None, smpp=account)) as simulator, closing(Customer(simulator)) as customer:
        customer.send("雨", "15400000077")
        customer.send("雨", "15400000078")
        assert customer.answers(2) == [consts.SMPP_ESME_RINVDSTADR, 0]


def test_too_many_in_a_second_are_throttled_by_the_provider_s_clock():
    account = SmppAccount("deqing", "secret", per_second=3)
    with Simulator(Config(account=None, smpp=account, speed=0.001)) as slow, closing(Customer(slow)) as customer:
        for _ in range(5):
            customer.send("雨")
        assert customer.answers(5) == [0, 0, 0, consts.SMPP_ESME_RTHROTTLED, consts.SMPP_ESME_RTHROTTLED]
    with Simulator(Config(account=None, smpp=account, speed=1e6)) as fast, closing(Customer(fast)) as customer:
        for sent in range(5):
            customer.send("雨")
            assert customer.answers(sent + 1)[-1] == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"password": "wrong"}, consts.SMPP_ESME_RINVPASWD),
        ({"system_id": "huzhou"}, consts.SMPP_ESME_RINVSYSID),
    ],
)
def test_a_stranger_is_not_bound(simulator, fields, status):
    with pytest.raises(exceptions.PDUError) as refused:
        Customer(simulator, **fields)
    assert refused.value.args[1] == status


def test_another_version_of_the_protocol_is_not_served(simulator):
    with raw(simulator) as line:
        line.sendall(bind(version=b"\x33"))
        assert struct.unpack(">IIII", read(line)) == (16, 0x80000009, consts.SMPP_ESME_RBINDFAIL, 1)


def test_nobody_sends_or_asks_before_the_bind_and_a_receiver_never_sends(simulator):
    with raw(simulator) as line:
        for command in (0x04, 0x15, 0x06):
            line.sendall(struct.pack(">IIII", 16, command, 0, 5))
            assert struct.unpack(">IIII", read(line)) == (16, command | 0x80000000, consts.SMPP_ESME_RINVBNDSTS, 5)
    with raw(simulator) as line:
        line.sendall(bind(command=0x01))
        assert read(line)[4:12] == b"\x80\0\0\1\0\0\0\0"
        line.sendall(smpp34.SubmitSm("10690000", "15400000001", b"x").encode())
        assert struct.unpack(">IIII", read(line))[2] == consts.SMPP_ESME_RINVBNDSTS
        line.sendall(bind(command=0x02))
        assert struct.unpack(">IIII", read(line))[2] == consts.SMPP_ESME_RALYBND


def test_there_are_as_many_sessions_as_agreed(simulator):
    bound = [Customer(simulator) for _ in range(ACCOUNT.max_binds)]
    with pytest.raises(exceptions.PDUError):
        Customer(simulator)
    for customer in bound:
        customer.close()


def test_a_link_is_answered_for_and_an_unbind_ends_it(simulator):
    with raw(simulator) as line:
        line.sendall(bind())
        read(line)
        line.sendall(struct.pack(">IIII", 16, 0x15, 0, 8) + struct.pack(">IIII", 16, 0x06, 0, 9))
        assert struct.unpack(">IIII", read(line)) == (16, 0x80000015, 0, 8)
        assert struct.unpack(">IIII", read(line)) == (16, 0x80000006, 0, 9)
        assert line.recv(1) == b""


def test_what_it_does_not_know_is_nacked_and_what_it_cannot_measure_ends_the_line(simulator):
    with raw(simulator) as line:
        line.sendall(bind())
        read(line)
        line.sendall(struct.pack(">IIII", 16, 0x03, 0, 11))  # query_sm
        assert struct.unpack(">IIII", read(line)) == (16, 0x80000000, consts.SMPP_ESME_RINVCMDID, 11)
        line.sendall(struct.pack(">IIII", 8, 0x04, 0, 12))
        assert struct.unpack(">IIII", read(line)) == (16, 0x80000000, consts.SMPP_ESME_RINVCMDLEN, 12)
        assert line.recv(1) == b""


@given(body=st.binary(max_size=120), command=st.sampled_from([0x04, 0x02, 0x80000005]))
@settings(deadline=None)
def test_any_body_is_answered_and_the_session_lives_on(lasting, body, command):
    with raw(lasting) as line:
        line.sendall(bind(command=0x02))
        read(line)
        line.sendall(struct.pack(">IIII", 16 + len(body), command, 0, 3) + body + struct.pack(">IIII", 16, 0x15, 0, 4))
        if not command & 0x80000000:
            assert struct.unpack(">IIII", read(line))[2] != 0
        assert struct.unpack(">IIII", read(line)) == (16, 0x80000015, 0, 4)
    assert received(lasting) == []


@pytest.fixture(scope="module")
def lasting():
    with Simulator(Config(account=None, smpp=SmppAccount("deqing", "secret", max_binds=1000))) as running:
        yield running


def test_receipts_wait_for_a_receiver_and_come_again_until_they_are_taken():
    with Simulator(Config(account=None, smpp=ACCOUNT, speed=100)) as simulator:
        with closing(Customer(simulator, "bind_transmitter")) as sender:
            sender.send("雨")
            assert sender.answers() == [0]
        wait_for(lambda: simulator.counts("smpp")["reports_owed"] == 1)
        with closing(Customer(simulator, "bind_receiver")) as receiver:
            receiver.says = consts.SMPP_ESME_RSYSERR
            assert len(set(receiver.receipts(2))) == 1
            receiver.says = consts.SMPP_ESME_ROK
            receiver.receipts(len(receiver.delivered) + 1)
            wait_for(lambda: simulator.counts("smpp")["reports_owed"] == 0)
            assert simulator.counts("smpp")["reports_pushed"] == 1


def test_a_receipt_that_was_not_answered_goes_to_the_next_receiver(simulator):
    with raw(simulator) as line:
        line.sendall(bind(command=0x01))
        read(line)
        with closing(Customer(simulator, "bind_transmitter")) as sender:
            for _ in range(3):
                sender.send("雨")
            ids = [pdu.message_id.decode() for pdu in sender.answered] if sender.answers(3) else []
        assert smpp34.decode(read(line)).esm_class == 0x04
    with closing(Customer(simulator, "bind_receiver")) as receiver:
        assert sorted(message_id for message_id, _ in receiver.receipts(3)) == sorted(ids)


def test_a_receipt_without_an_answer_comes_again_in_time():
    with Simulator(Config(account=None, smpp=ACCOUNT, speed=1000)) as simulator, raw(simulator) as line:
        line.sendall(bind())
        read(line)
        line.sendall(smpp34.SubmitSm("10690000", "15400000001", b"x", registered_delivery=1).encode())
        read(line)
        first, second = read(line), read(line)
        assert first[16:] == second[16:]
        assert first[12:16] != second[12:16]
        line.sendall(struct.pack(">IIII", 17, 0x80000005, 0, int.from_bytes(second[12:16])) + b"\0")


def test_receipts_can_come_in_another_order():
    account = SmppAccount("deqing", "secret", report_delay_ms=50)
    with Simulator(Config(account=None, smpp=account)) as simulator, closing(Customer(simulator)) as customer:
        simulator.faults = Faults(shuffle_reports=True)
        for n in range(30):
            customer.send("雨", f"154{n:08d}")
        ids = [message_id for message_id, _ in customer.receipts(30)]
    assert ids != sorted(ids)
    assert len(set(ids)) == 30


@pytest.mark.parametrize(("wanted", "faults", "stats"), [
    (0, Faults(), []),
    (1, Faults(fail_share=1), ["UNDELIV"]),
    (2, Faults(fail_share=1), ["UNDELIV"]),
    (2, Faults(), []),
    (1, Faults(no_reports=True), []),
    (1, Faults(duplicate_reports=True), ["DELIVRD", "DELIVRD"]),
])  # fmt: skip
def test_a_receipt_comes_as_it_was_asked_for(customer, simulator, wanted, faults, stats):
    simulator.faults = faults
    customer.send("雨", registered_delivery=wanted)
    customer.answers()
    simulator.faults = Faults()
    customer.send("完")  # whatever was owed before this came before it
    last = customer.answers(2) and customer.answered[-1].message_id.decode()
    receipts = customer.receipts(len(stats) + 1)
    assert [stat for message_id, stat in receipts if message_id != last] == stats
    assert len(received(simulator)) == 2


def test_people_answer_what_asks_for_it():
    account = SmppAccount("deqing", "secret", reply_share=1.0, reply_seconds=0, per_second=1000)
    with Simulator(Config(account=None, smpp=account)) as simulator, closing(Customer(simulator)) as customer:
        for n in range(20):
            customer.send("收到请回复1", f"154{n:08d}", source_addr="1069000077", registered_delivery=0)
        customer.read_until(lambda: len(customer.delivered) == 20)
        replies = {pdu.source_addr.decode(): pdu.short_message.decode("utf-16-be") for pdu in customer.delivered}
        assert set(replies) == {f"86154{n:08d}" for n in range(20)}
        assert set(replies.values()) == {"1", "收到"}
        assert {(pdu.destination_addr, pdu.esm_class, pdu.data_coding) for pdu in customer.delivered} == {(b"1069000077", 0, 8)}


@pytest.mark.parametrize(("when", "taken"), [("before", 0), ("after", 1)])
def test_it_can_be_told_to_hang_up_before_or_after_taking(customer, simulator, when, taken):
    simulator.faults = Faults(close_without_answer=when)
    customer.send("雨")
    with pytest.raises(exceptions.ConnectionError):
        customer.answers()
    assert len(received(simulator)) == taken


def test_it_can_be_told_to_take_and_never_answer(customer, simulator):
    simulator.faults = Faults(accept_and_never_answer=True)
    customer.send("雨")
    assert [stat for _, stat in customer.receipts(1)] == ["DELIVRD"]
    assert customer.answered == []


def test_it_can_be_told_to_refuse_over_http_for_a_number_of_messages(customer, simulator):
    request = urllib.request.Request(f"{simulator.url}/_faults/smpp", b'{"refuse": "ESME_RSYSERR", "times": 1}')
    urllib.request.urlopen(request, timeout=5).close()
    customer.send("雨")
    customer.send("雨")
    assert customer.answers(2) == [consts.SMPP_ESME_RSYSERR, 0]


def test_a_slow_answer_does_not_hold_up_the_next_one(customer, simulator):
    simulator.faults = Faults(latency_ms=300)
    start = time.monotonic()
    for _ in range(10):
        customer.send("雨")
    assert customer.answers(10) == [0] * 10
    assert 0.3 <= time.monotonic() - start < 3


def test_a_receipt_can_come_before_the_answer(customer, simulator):
    simulator.faults = Faults(reports_before_answer=True)
    customer.send("雨")
    customer.read_until(lambda: customer.delivered)
    assert customer.answered == []
    assert customer.answers() == [0]


def test_it_can_say_yes_and_deliver_nothing(capsys):
    with Simulator(Config(account=None, smpp=ACCOUNT, show=True)) as simulator, closing(Customer(simulator)) as customer:
        simulator.faults = Faults(delivers_nothing=True, times=1)
        customer.send("无")
        customer.send("有")
        assert customer.answers(2) == [0, 0]
        assert customer.receipts(1) == [(customer.answered[1].message_id.decode(), "DELIVRD")]
        assert [sms["content"] for sms in received(simulator)] == ["无", "有"]  # both were taken
    assert capsys.readouterr().out == "有  → 154****0001\n"


def raw(simulator: Simulator) -> socket.socket:
    return socket.create_connection(("127.0.0.1", simulator.smpp_port), timeout=5)


def bind(command: int = 0x09, version: bytes = b"\x34") -> bytes:
    body = b"deqing\0secret\0\0" + version + b"\0\0\0"
    return struct.pack(">IIII", 16 + len(body), command, 0, 1) + body


def read(line: socket.socket) -> bytes:
    found = b""
    while len(found) < 4 or len(found) < int.from_bytes(found[:4]):
        more = line.recv((int.from_bytes(found[:4]) if len(found) >= 4 else 4) - len(found))
        assert more
        found += more
    return found


def wait_for(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
