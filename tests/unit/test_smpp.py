"""SMPP 3.4 as a channel: against a server that nobody here wrote, and against a scripted one that misbehaves on the wire."""

from __future__ import annotations

import logging
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import smpp34
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.channels.base import Answer, Callback, Heard, Purpose, Reply, Report, Verb
from broadcast.channels.smpp import Smpp, SmppOptions
from broadcast.channels.smpp.hearing import MESSAGE_STATES, STATES
from broadcast.channels.smpp.protocol import compose
from broadcast.channels.smpp.submitting import MEANINGS, Meaning
from broadcast.delivery import State
from broadcast.errors import InDoubt, Misconfigured, Unavailable, Unsupported
from tests.benches.smpp import (
    BIND_RECEIVER,
    BIND_TRANSMITTER,
    DELIVER,
    ENQUIRE,
    HANG_UP,
    NACK,
    RESP,
    SUBMIT,
    UNBIND,
    Centre,
    Script,
    SmppBench,
    deliver,
    pdu,
    report,
)

ONE = SmppBench.call(SmppBench.__new__(SmppBench), 1)  # a call for what needs no far end
TEMPORARY = 0x64  # ESME_RX_T_APPN: the centre keeps it and sends it again
REPORT = "id:{} sub:001 dlvrd:001 submit date:2307051621 done date:230705162134 stat:{} err:000 text:"


@pytest.fixture
def bench(tmp_path) -> Iterator[SmppBench]:
    with ExitStack() as stack:
        yield SmppBench(tmp_path, stack)


@pytest.fixture
def centre(bench) -> Centre:
    return bench.centre


def options(**changes: object) -> SmppOptions:
    return SmppOptions.model_validate({"host": "127.0.0.1", "port": 1, "system_id": "deqing", "password": "s3cret-8"} | changes)


def connected(bench: SmppBench, script: Script, **changes: object) -> Smpp:
    channel = bench.channel(port=script.port, **{"read_seconds": 0.3} | changes)
    assert isinstance(channel, Smpp)
    return channel


def states(receipts) -> list[State]:
    return [receipt.state for receipt in receipts]


def wait_for(what, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)


# --- what is written ---------------------------------------------------------------------------------------------


def test_a_text_of_one_part_goes_out_as_ucs2_with_the_signature_in_front_and_asks_for_a_report(bench, centre):
    [receipt] = bench.channel(source_addr="10690000", serial_digits=2).send(bench.call(1))
    [arrived] = centre.arrived
    assert arrived.short_message.decode("utf-16-be") == f"【德清应急】{bench.text}"
    assert (arrived.data_coding, arrived.registered_delivery, arrived.payload) == (8, 1, b"")
    assert (arrived.source, arrived.destination, arrived.destination_type) == ("1069000001", "8615400000001", (1, 1))
    assert (receipt.state, receipt.ref, receipt.code) == (State.ACCEPTED, arrived.id, "0x00")


def test_a_carrier_that_wants_the_eleven_digits_gets_them(bench, centre):
    bench.channel(dest_prefix="", dest_ton=2, dest_npi=0, signature="").send(bench.call(1))
    assert (centre.arrived[0].destination, centre.arrived[0].destination_type) == ("15400000001", (2, 0))
    assert centre.arrived[0].short_message.decode("utf-16-be") == bench.text


@pytest.mark.parametrize(("units", "payload"), [(70 - 6, False), (70 - 6 + 1, True), (494, True)])
def test_a_longer_text_goes_as_one_payload_under_one_id(bench, centre, units, payload):
    receipts = bench.channel().send(bench.call(2, text="雨" * units))
    for arrived in centre.arrived:
        assert (arrived.payload or arrived.short_message).decode("utf-16-be") == "【德清应急】" + "雨" * units
        assert bool(arrived.payload) is payload
        assert bool(arrived.short_message) is not payload
    assert sorted(receipt.ref for receipt in receipts) == sorted(arrived.id for arrived in centre.arrived)


@given(text=st.text(st.characters(exclude_categories=("Cs",)) | st.just("𠮷"), min_size=1, max_size=120))
@settings(deadline=None)
def test_every_text_arrives_as_it_was_written_and_no_rare_hanzi_is_cut(text):
    channel = Smpp(options(signature="测"))
    fields = channel._fields(ONE, replace(ONE.messages[0], text=text))  # what is composed, without a socket for each example
    read = smpp34.decode(compose("submit_sm", 1, fields))
    payload = b"".join(bytes(tlv.value) for tlv in read.tlvs if tlv.tag == smpp34.TLV_MESSAGE_PAYLOAD)
    assert (bytes(read.short_message) + payload).decode("utf-16-be") == "【测】" + text
    assert len(read.short_message) <= 140


def test_each_message_has_its_own_text_id_and_place(bench, centre):
    call = bench.call(3)
    own = replace(call, messages=tuple(replace(one, text=f"{one.seq}号村请转移") for one in call.messages))
    receipts = bench.channel().send(own)
    by_id = {arrived.id: arrived for arrived in centre.arrived}
    for message, receipt in zip(own.messages, receipts, strict=True):
        assert by_id[receipt.ref].destination == message.address.removeprefix("+")
        assert by_id[receipt.ref].short_message.decode("utf-16-be").endswith(message.text)


@pytest.mark.parametrize("address", ["+85215400001", "15400000001", "8615400000001", "+861540000001", ""])
def test_what_is_no_mainland_mobile_is_rejected_alone(bench, centre, address):
    assert states(bench.channel().send(bench.call([bench.address(1), address]))) == [State.ACCEPTED, State.REJECTED]
    assert len(centre.arrived) == 1


def test_a_call_without_any_mobile_asks_nobody():
    [receipt] = Smpp(options()).send(replace(ONE, messages=(replace(ONE.messages[0], address="+85215400001"),)))
    assert receipt.state is State.REJECTED


@pytest.mark.parametrize("text", ["", "\ud83d", "雨" * 495])
def test_a_text_that_cannot_be_is_said_before_anything_leaves(bench, centre, text):
    call = bench.call(2)
    with pytest.raises(Unsupported):
        bench.channel().send(replace(call, messages=(call.messages[0], replace(call.messages[1], text=text))))
    assert centre.arrived == []


def test_a_carrier_that_takes_no_payload_is_sent_no_long_text(bench, centre):
    channel = bench.channel(long="refuse")
    with pytest.raises(Unsupported):
        channel.send(bench.call(1, text="雨" * 65))
    assert states(channel.send(bench.call(1, text="雨" * 64))) == [State.ACCEPTED]


def test_a_stand_down_and_a_request_for_release_are_plain_texts(bench):
    for purpose in (Purpose.STAND_DOWN, Purpose.RELEASE):
        assert states(bench.channel().send(bench.call(1, purpose=purpose))) == [State.ACCEPTED]


# --- the session -------------------------------------------------------------------------------------------------


def test_one_session_carries_call_after_call(bench, centre):
    channel = bench.channel()
    for batch in range(1, 6):
        channel.send(bench.call(3, batch=batch))
    assert centre.binds == 1
    assert len(centre.arrived) == 15


def test_the_account_is_what_the_bind_says(bench):
    script = bench.script("a1")
    connected(bench, script, system_type="gov").send(bench.call(1))
    [bind] = script.of(BIND_TRANSMITTER)
    assert bind.body == b"deqing\0s3cret-8\0gov\0\x34\0\0\0"


def test_after_a_failure_it_binds_anew_and_sends_nothing_of_the_past_again(bench):
    script = bench.script(HANG_UP, "a2")
    channel = connected(bench, script)
    with pytest.raises(InDoubt):
        channel.send(bench.call(1, batch=1))
    assert states(channel.send(bench.call(1, batch=2))) == [State.ACCEPTED]
    assert len(script.of(BIND_TRANSMITTER)) == 2
    assert len(script.of(SUBMIT)) == 2


def test_a_session_that_the_far_end_closed_meanwhile_is_bound_anew_before_anything_is_written(bench):
    script = bench.script("a1", "a2")
    channel = connected(bench, script)
    channel.send(bench.call(1, batch=1))
    script.hang_up()
    time.sleep(0.05)
    assert states(channel.send(bench.call(1, batch=2))) == [State.ACCEPTED]
    assert len(script.of(BIND_TRANSMITTER)) == 2


def test_a_session_that_the_far_end_unbinds_is_answered_and_bound_anew(bench):
    script = bench.script("a1", "a2")
    channel = connected(bench, script)
    channel.send(bench.call(1, batch=1))
    script.say(pdu(UNBIND, 77))
    time.sleep(0.05)
    assert states(channel.send(bench.call(1, batch=2))) == [State.ACCEPTED]
    assert [one.sequence for one in script.of(UNBIND | RESP)] == [77]
    assert len(script.of(BIND_TRANSMITTER)) == 2


def test_after_a_silence_somebody_is_asked_for_before_anything_is_written(bench):
    script = bench.script("a1", "a2")
    channel = connected(bench, script, idle_seconds=0.05)
    channel.send(bench.call(1, batch=1))
    time.sleep(0.1)
    channel.send(bench.call(1, batch=2))
    assert [one.command for one in script.seen] == [BIND_TRANSMITTER, SUBMIT, ENQUIRE, SUBMIT]


def test_where_nobody_answers_after_a_silence_it_binds_anew_and_nothing_is_in_doubt(bench):
    script = bench.script("a1", "a2", enquire=None)
    channel = connected(bench, script, idle_seconds=0.05)
    channel.send(bench.call(1, batch=1))
    time.sleep(0.1)
    assert states(channel.send(bench.call(1, batch=2))) == [State.ACCEPTED]
    assert [one.command for one in script.seen] == [BIND_TRANSMITTER, SUBMIT, ENQUIRE, BIND_TRANSMITTER, SUBMIT]


def test_what_the_far_end_asks_in_the_middle_of_a_call_is_answered(bench):
    def asks_first(one):
        return pdu(ENQUIRE, 5) + deliver(b"1", sequence=6) + pdu(0x102, 7) + pdu(0x999, 8) + one.answer(0, b"a1\0")

    script = bench.script(asks_first)
    assert states(connected(bench, script).send(bench.call(1))) == [State.ACCEPTED]
    wait_for(lambda: script.of(DELIVER | RESP))
    assert [one.sequence for one in script.of(ENQUIRE | RESP)] == [5]
    # A message to a session that takes none must come again, to the one that does.
    assert [(one.sequence, one.status) for one in script.of(DELIVER | RESP)] == [(6, TEMPORARY)]


def test_an_answer_that_comes_in_pieces_is_one_answer(bench):
    script = bench.script(None)
    channel = connected(bench, script, read_seconds=5)

    def trickle() -> None:
        wait_for(lambda: script.of(SUBMIT))
        for octet in script.of(SUBMIT)[0].answer(0, b"a1\0"):
            script.say(bytes([octet]))
            time.sleep(0.002)

    thread = threading.Thread(target=trickle)
    thread.start()
    [receipt] = channel.send(bench.call(1))
    thread.join()
    assert receipt.ref == "a1"


def test_a_busy_session_leaves_nothing(bench):
    script = bench.script(None)
    channel = connected(bench, script, read_seconds=0.5)

    def hold_it() -> None:
        with pytest.raises(InDoubt):
            channel.send(bench.call(1))

    blocker = threading.Thread(target=hold_it)
    slow = connected(bench, script, read_seconds=0.05)
    slow._sending = channel._sending  # the same session's lock, and less patience
    blocker.start()
    wait_for(lambda: script.of(SUBMIT))
    with pytest.raises(Unavailable, match="busy"):
        slow.send(bench.call(1))
    blocker.join()


def test_closing_says_goodbye(bench):
    script = bench.script("a1")
    channel = connected(bench, script)
    channel.send(bench.call(1))
    channel.close()
    wait_for(lambda: script.of(UNBIND))


# --- windows, and what breaks off ---------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 3, 10])
def test_no_more_than_the_window_is_written_ahead(bench, window):
    unanswered: list[int] = []
    held: list[bytes] = []

    def answers_when_full(one):
        held.append(one.answer(0, f"a{one.sequence}\0".encode()))
        unanswered.append(len(held))
        if len(held) < window and len(script.of(SUBMIT)) < 30:
            return None
        answered, held[:] = b"".join(reversed(held)), []
        return answered

    script = bench.script(answers_when_full)
    receipts = connected(bench, script, window=window, read_seconds=5).send(bench.call(30))
    assert states(receipts) == [State.ACCEPTED] * 30
    assert max(unanswered) == window
    assert [receipt.ref for receipt in receipts] == [f"a{one.sequence}" for one in script.of(SUBMIT)]


def test_answers_in_any_order_find_their_messages(bench):
    held: list[bytes] = []

    def last_first(one):
        number = one.body[one.body.index(b"86154") :].split(b"\0")[0]
        held.append(one.answer(0, number + b"\0"))
        return b"".join(reversed(held)) if len(held) == 5 else None

    call = bench.call(5)
    receipts = connected(bench, bench.script(last_first)).send(call)
    assert [receipt.ref for receipt in receipts] == [message.address.removeprefix("+") for message in call.messages]


@pytest.mark.parametrize("breaks", [HANG_UP, None, b"\0\0\0\1 this is not SMPP"])
def test_what_was_answered_is_known_what_was_written_is_in_doubt_what_was_not_is_due_again(bench, breaks):
    script = bench.script("a1", "a2", breaks)
    receipts = connected(bench, script, window=3).send(bench.call(8))
    kinds = states(receipts)
    assert kinds[:2] == [State.ACCEPTED] * 2
    written = len(script.of(SUBMIT)) if breaks is None else kinds.count(State.IN_DOUBT) + 2
    assert kinds == [State.ACCEPTED] * 2 + [State.IN_DOUBT] * (written - 2) + [State.DEFERRED] * (8 - written)
    assert 3 <= written <= 5


def test_after_a_doubt_among_answers_the_session_is_not_used_again(bench):
    script = bench.script("a1", None, "a3")
    channel = connected(bench, script)
    assert states(channel.send(bench.call(2, batch=1))) == [State.ACCEPTED, State.IN_DOUBT]
    assert states(channel.send(bench.call(1, batch=2))) == [State.ACCEPTED]
    assert len(script.of(BIND_TRANSMITTER)) == 2


def test_an_answer_that_came_before_the_line_broke_under_our_writing_is_not_lost(bench):
    def answers_and_hangs_up(one):
        script.say(one.answer(0, b"a1\0"))
        return HANG_UP

    script = bench.script(answers_and_hangs_up)
    receipts = connected(bench, script, window=100, read_seconds=5).send(bench.call(100))
    assert (receipts[0].state, receipts[0].ref) == (State.ACCEPTED, "a1")
    assert set(states(receipts[1:])) <= {State.IN_DOUBT, State.DEFERRED}


def test_where_nothing_at_all_was_answered_it_is_in_doubt(bench):
    script = bench.script(None)
    with pytest.raises(InDoubt):
        connected(bench, script, window=2).send(bench.call(5))
    assert len(script.of(SUBMIT)) == 2


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_call(bench):
    script = bench.script(None, "a2")
    channel = connected(bench, script)
    with pytest.raises(InDoubt):
        channel.send(bench.call(1, batch=1))
    with suppress(OSError):
        script.say(script.of(SUBMIT)[0].answer(0, b"late\0"))
    [receipt] = channel.send(bench.call(1, batch=2))
    assert receipt.ref == "a2"
    assert len(script.of(BIND_TRANSMITTER)) == 2


def test_answers_that_come_for_ever_but_slowly_end_with_the_calls_time(bench):
    def slowly(one):
        time.sleep(0.05)
        return one.answer(0, b"a\0")

    script = bench.script(slowly)
    start = time.monotonic()
    receipts = connected(bench, script, window=1, call_seconds=0.5).send(bench.call(60))
    assert time.monotonic() - start < 3
    kinds = states(receipts)
    assert kinds.count(State.IN_DOUBT) <= 1
    assert State.DEFERRED in kinds and State.ACCEPTED in kinds


# --- the centre's statuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0x58, 0x14, 0x64, 0x45])
def test_turned_away_at_the_door_the_rest_is_not_tried_and_all_of_it_is_due_again(bench, status):
    script = bench.script("a1", status)
    receipts = connected(bench, script, window=1).send(bench.call(20))
    assert states(receipts) == [State.ACCEPTED] + [State.DEFERRED] * 19
    assert {receipt.code for receipt in receipts[1:]} == {f"0x{status:02X}"}
    assert len(script.of(SUBMIT)) == 2


def test_a_throttled_window_keeps_what_was_taken_of_it(bench):
    script = bench.script(0x58, "a2", "a3", 0x58)
    receipts = connected(bench, script, window=4).send(bench.call(4))
    assert states(receipts) == [State.DEFERRED, State.ACCEPTED, State.ACCEPTED, State.DEFERRED]


@pytest.mark.parametrize("status", [0x08, 0xFF, 0x65, 0x400, 0xFFFFFFFF])
def test_a_fault_inside_the_centre_and_a_status_that_nobody_knows_are_a_doubt_of_that_message(bench, status):
    script = bench.script("a1", status, "a3")
    receipts = connected(bench, script).send(bench.call(3))
    assert states(receipts) == [State.ACCEPTED, State.IN_DOUBT, State.ACCEPTED]
    assert receipts[1].code == f"0x{status:02X}"


def test_a_bad_number_is_rejected_alone(bench):
    script = bench.script("a1", 0x0B, "a3")
    assert states(connected(bench, script).send(bench.call(3))) == [State.ACCEPTED, State.REJECTED, State.ACCEPTED]


@pytest.mark.parametrize("status", [0x0A, 0x01, 0xC1])
def test_a_refusal_of_us_after_something_was_taken_is_a_value_and_rejects_nobody(bench, status):
    script = bench.script("a1", status, status)
    receipts = connected(bench, script, window=2).send(bench.call(6))
    assert states(receipts) == [State.ACCEPTED] + [State.DEFERRED] * 5
    assert len(script.of(SUBMIT)) <= 3


def test_a_refusal_of_us_beside_a_doubt_does_not_hide_the_doubt(bench):
    script = bench.script(0x0A, None)
    receipts = connected(bench, script, window=2).send(bench.call(3))
    assert states(receipts) == [State.DEFERRED, State.IN_DOUBT, State.DEFERRED]


def test_a_nack_is_an_answer(bench):
    script = bench.script(lambda one: one.answer(0x58, command=NACK), "a2")
    assert states(connected(bench, script, window=2).send(bench.call(2))) == [State.DEFERRED, State.ACCEPTED]
    script = bench.script(lambda one: one.answer(0, command=NACK), "a2")
    assert states(connected(bench, script, window=2).send(bench.call(2))) == [State.IN_DOUBT, State.ACCEPTED]


@pytest.mark.parametrize(
    ("body", "ref"),
    [(b"a1\0", "a1"), (b"a1", "a1"), (b"", ""), (b"\0", ""), (b"a b\0", ""), (b"\xff\xfe\0", ""), (b"9" * 66 + b"\0", "")],
)
def test_what_was_taken_is_accepted_however_its_id_is_written(bench, body, ref):
    [receipt] = connected(bench, bench.script(lambda one: one.answer(0, body))).send(bench.call(1))
    assert (receipt.state, receipt.ref) == (State.ACCEPTED, ref)


def test_exactly_one_status_means_taken_and_exactly_one_rejects_a_number():
    assert [status for status, meaning in MEANINGS.items() if meaning is Meaning.TAKEN] == [0]
    assert [status for status, meaning in MEANINGS.items() if meaning is Meaning.ABOUT_THE_NUMBER] == [0x0B]


# --- listening ---------------------------------------------------------------------------------------------------


class Listener(threading.Thread):
    """Collects, as a worker does, until the block ends."""

    def __init__(self, channel: Smpp) -> None:
        super().__init__(daemon=True)
        self.channel, self.kept, self.ended = channel, [], threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            self.channel.collect(self.kept.append, 0.1)

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join(5)

    def heard(self) -> list[Heard]:
        return [one for callback in self.kept for one in self.channel.read(callback)]


def test_a_report_and_a_reply_of_a_real_centre_are_heard_over_one_session(bench, centre):
    # smpp34 1.5.0 refuses every deliver_sm_resp of a receiver as an unknown command: with it we listen as a transceiver.
    channel = bench.channel(serial_digits=2, listen_as="transceiver")
    [receipt] = channel.send(bench.call(1))
    with Listener(channel) as listener:
        text = REPORT.format(receipt.ref, "DELIVRD").encode()
        id_, state = smpp34.TLV_RECEIPTED_MESSAGE_ID, smpp34.TLV_MESSAGE_STATE
        tlvs = [smpp34.Tlv(id_, receipt.ref.encode() + b"\0"), smpp34.Tlv(state, b"\2")]
        mobile, ours = centre.arrived[0].destination, centre.arrived[0].source
        assert centre.deliver(source_addr=mobile, destination_addr=ours, esm_class=4, short_message=text, tlvs=tlvs) == 0
        reply = " 收到。".encode("utf-16-be")
        assert centre.deliver(source_addr=mobile, destination_addr=ours, data_coding=8, short_message=reply) == 0
        wait_for(lambda: len(listener.kept) == 2)
    told, said = listener.heard()
    assert (told.receipt.state, told.receipt.ref, told.address) == (State.DELIVERED, receipt.ref, bench.address(1))
    assert said == Reply(Verb.ACKNOWLEDGED, address=bench.address(1), alert_ending="01", said="收到。")
    assert centre.binds == 2  # a transmitter and, over all rounds, one receiver


@pytest.mark.parametrize(("listen_as", "bind"), [("receiver", 1), ("transceiver", 9)])
def test_it_listens_as_the_account_may(bench, listen_as, bind):
    script = bench.script(0)
    connected(bench, script, listen_as=listen_as).collect(lambda _: None, 0.0)
    assert [one.command for one in script.seen] == [bind]


def test_each_is_kept_before_it_is_answered(bench):
    script = bench.script(0, at_bind=deliver(b"1", sequence=41) + deliver(b"2", sequence=42))
    channel = connected(bench, script)
    answered_when_kept: list[int] = []
    channel.collect(lambda _: answered_when_kept.append(len(script.of(DELIVER | RESP))), 0.3)
    wait_for(lambda: len(script.of(DELIVER | RESP)) == 2)
    assert answered_when_kept[0] == 0
    assert [(one.sequence, one.status) for one in script.of(DELIVER | RESP)] == [(41, 0), (42, 0)]


def test_what_cannot_be_kept_is_to_come_again_and_the_mistake_is_not_hidden(bench):
    script = bench.script(0, at_bind=deliver(b"1", sequence=41))
    channel = connected(bench, script)

    def full(_: Callback) -> None:
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        channel.collect(full, 0.3)
    wait_for(lambda: script.of(DELIVER | RESP))
    assert [(one.sequence, one.status) for one in script.of(DELIVER | RESP)] == [(41, TEMPORARY)]
    kept: list[Callback] = []
    script.say(deliver(b"1", sequence=42))
    channel.collect(kept.append, 0.3)
    assert len(kept) == 1
    assert len(script.of(BIND_RECEIVER)) == 1  # the session is still good


def test_the_raw_bytes_are_kept_even_of_what_nobody_can_read(bench):
    broken = pdu(DELIVER, 9, b"\xff\xff")
    kept: list[Callback] = []
    channel = connected(bench, bench.script(0, at_bind=broken))
    channel.collect(kept.append, 0.2)
    assert [(one.path, one.headers, one.body) for one in kept] == [("deliver_sm", {}, broken)]
    with pytest.raises(ValueError):
        channel.read(kept[0])


def test_listening_takes_about_as_long_as_it_may(bench):
    channel = connected(bench, bench.script(0))
    channel.collect(lambda _: None, 0.0)
    start = time.monotonic()
    channel.collect(lambda _: None, 0.2)
    assert 0.15 < time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("bind", "error"),
    [(0x0E, Misconfigured), (0x0D, Misconfigured), (0x05, Unavailable), (None, Unavailable), (HANG_UP, Unavailable)],
)
def test_a_listener_that_is_refused_says_why(bench, bind, error):
    with pytest.raises(error):
        connected(bench, bench.script(0, bind=bind)).collect(lambda _: None, 0.1)


def test_a_listening_session_that_ends_is_said_and_the_next_round_binds_anew(bench):
    script = bench.script(0)
    channel = connected(bench, script)
    channel.collect(lambda _: None, 0.0)
    script.hang_up()
    with pytest.raises(Unavailable):
        channel.collect(lambda _: None, 1)
    channel.collect(lambda _: None, 0.0)
    assert len(script.of(BIND_RECEIVER)) == 2


def test_a_silent_listening_session_is_asked_once_and_given_up_when_nobody_answers(bench):
    script = bench.script(0, enquire=None)
    channel = connected(bench, script, idle_seconds=0.05)
    channel.collect(lambda _: None, 0.1)
    channel.collect(lambda _: None, 0.1)
    channel.collect(lambda _: None, 0.1)
    assert len(script.of(ENQUIRE)) == 1
    time.sleep(0.3)
    with pytest.raises(Unavailable, match="enquire_link"):
        channel.collect(lambda _: None, 0.1)


def test_who_may_not_listen_does_not():
    with pytest.raises(Unsupported):
        Smpp(options(collect_seconds=0)).collect(lambda _: None, 1)


# --- reports -----------------------------------------------------------------------------------------------------


def read(raw: bytes, **changes: object) -> Heard:
    [heard] = Smpp(options(**changes)).read(Callback("deliver_sm", {}, raw))
    return heard


def test_a_report_says_what_became_of_its_message_in_beijing_time():
    heard = read(report(REPORT.format("0000000042", "DELIVRD")))
    assert isinstance(heard, Report)
    assert (heard.receipt.state, heard.receipt.code, heard.receipt.detail) == (State.DELIVERED, "DELIVRD", "err:000")
    assert (heard.receipt.ref, heard.address) == ("0000000042", "+8615400000001")
    assert heard.receipt.at == datetime(2023, 7, 5, 8, 21, 34, tzinfo=UTC)
    assert heard.submitted == datetime(2023, 7, 5, 8, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("DELIVRD", State.DELIVERED),
        ("delivrd", State.DELIVERED),
        ("ENROUTE", State.ACCEPTED),
        ("ACCEPTD", State.ACCEPTED),
        ("UNKNOWN", State.ACCEPTED),
        ("EXPIRED", State.FAILED),
        ("DELETED", State.FAILED),
        ("UNDELIV", State.FAILED),
        ("REJECTD", State.FAILED),
        ("MK:0012", State.FAILED),
        ("BEAMED?", State.FAILED),
    ],
)
def test_each_word_of_a_report_has_one_meaning_and_only_one_says_delivered(word, state):
    assert read(report(REPORT.format("42", word))).receipt.state is state


def test_only_one_word_says_delivered():
    assert [word for word, state in STATES.items() if state is State.DELIVERED] == ["DELIVRD"]


@pytest.mark.parametrize(("value", "word"), MESSAGE_STATES.items())
def test_a_report_may_say_it_in_parameters_alone(value, word):
    heard = read(report("", optional=[(0x1E, b"a1\0"), (0x427, bytes([value]))]))
    assert (heard.receipt.ref, heard.receipt.code, heard.receipt.state) == ("a1", word, STATES[word])


def test_an_id_without_its_nul_keeps_its_last_character_and_strange_parameters_cost_nothing():
    strange = [(0x0005, b"\1"), (0x1403, b"vendor"), (0x0210, b"\x34"), (0x000E, b"")]
    heard = read(report(REPORT.format("42", "DELIVRD"), optional=[*strange, (0x1E, b"a123")]))
    assert heard.receipt.ref == "a123"


def test_a_report_is_one_by_its_id_even_where_the_class_says_nothing_and_one_on_the_way_is_no_end():
    assert isinstance(read(report("stat:DELIVRD", esm_class=0, optional=[(0x1E, b"a1\0")])), Report)
    assert read(report(REPORT.format("42", "ENROUTE"), esm_class=0x20)).receipt.state is State.ACCEPTED


@pytest.mark.parametrize(
    ("form", "answered", "reported"),
    [
        ("same", "0000000042", "0000000042"),
        ("hex_then_decimal", "499602D2", "1234567890"),
        ("hex_then_decimal", "0499602d2", "01234567890"),
        ("decimal_then_hex", "1234567890", "499602D2"),
        ("hex_then_decimal", "not-a-number", "not-a-number"),
    ],
)
def test_a_carrier_that_writes_its_ids_in_two_ways_is_understood(bench, form, answered, reported):
    channel = connected(bench, bench.script(answered), id_form=form)
    [receipt] = channel.send(bench.call(1))
    assert read(report(REPORT.format(reported, "DELIVRD")), id_form=form).receipt.ref == receipt.ref
    in_parameter = report(REPORT.format(reported, "DELIVRD"), optional=[(0x1E, answered.encode() + b"\0")])
    assert read(in_parameter, id_form=form).receipt.ref == receipt.ref


def test_a_report_of_a_number_that_is_none_is_found_by_its_id_alone():
    heard = read(report(REPORT.format("42", "DELIVRD"), source="10690000"))
    assert (heard.receipt.ref, heard.address) == ("42", "")


@pytest.mark.parametrize("when", ["", "done date:2313051621", "done date:23070516", "done date:never"])
def test_a_time_that_is_none_does_not_cost_the_report(when):
    heard = read(report(f"id:42 {when} stat:DELIVRD err:15400000001"))
    assert (heard.receipt.state, heard.receipt.at, heard.submitted) == (State.DELIVERED, None, None)
    assert heard.receipt.detail == "err:#"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        pdu(SUBMIT, 1, deliver(b"1")[16:]),
        pdu(DELIVER, 1),
        deliver(b"1")[:-1],
        deliver(b"1") + b"\0",
        struct.pack(">L", 16) + deliver(b"1")[4:],
        report("stat:DELIVRD"),
        report("id:42"),
        report("id:42 stat:DELIVRD", optional=[(0x1E, b"\xff\xff\0")]),
        pdu(DELIVER, 1, deliver(b"1")[16:] + b"\0\x1e\0\xff1"),
    ],
)
def test_what_is_no_deliver_sm_is_a_value_error_without_a_number(raw):
    with pytest.raises(ValueError) as caught:
        read(raw)
    assert "154" not in str(caught.value)


@given(
    raw=st.binary(max_size=200)
    | st.binary(max_size=100).map(lambda body: pdu(DELIVER, 1, body))
    | st.builds(
        deliver,
        st.binary(max_size=255) | st.text(max_size=60).map(lambda text: text.encode("utf-16-be", "replace")[:254]),
        source=st.sampled_from(["8615400000001", "10086", ""]),
        esm_class=st.integers(0, 255),
        data_coding=st.integers(0, 255),
        optional=st.lists(st.tuples(st.sampled_from([0x1E, 0x424, 0x427, 0x1400]), st.binary(max_size=80)), max_size=4),
    )
)
@settings(deadline=None)
def test_any_bytes_are_heard_or_a_value_error_and_what_is_kept_can_be_stored(raw):
    try:
        [heard] = READER.read(Callback("deliver_sm", {}, raw))
    except ValueError:
        return
    if isinstance(heard, Report):
        told = heard.receipt
        assert told.ref and all(
            text.isascii() and text.isprintable() for text in (told.ref, told.code, told.detail, heard.address)
        )
    else:
        assert isinstance(heard, Reply)
        assert "\0" not in heard.said and heard.said.encode() is not None
        assert heard.address in ("", "+8615400000001")


# --- replies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "data_coding"),
    [(b"1", 0), (b"1", 1), (b"1", 3), ("１".encode("utf-16-be"), 8), ("收到！".encode("gbk"), 15), (b" 1.", 0xF6)],
)
def test_the_wanted_word_acknowledges_in_every_coding(content, data_coding):
    heard = read(deliver(content, data_coding=data_coding))
    assert (heard.verb, heard.address, heard.alert_ending) == (Verb.ACKNOWLEDGED, "+8615400000001", "")


def test_the_number_that_a_reply_came_to_tells_the_alert():
    heard = read(deliver(b"1", destination="1069000042"), source_addr="10690000", serial_digits=2)
    assert heard.alert_ending == "42"


def test_the_header_of_a_part_is_not_what_was_said():
    part = b"\x05\0\3\1\2\1" + "水进屋了".encode("utf-16-be")
    assert read(deliver(part, data_coding=8, esm_class=0x40)).said == "水进屋了"
    assert read(deliver(b"\xff", esm_class=0x40)).said == ""


def test_long_words_come_as_a_payload():
    heard = read(deliver(b"", data_coding=8, optional=[(0x424, "我家没有收到".encode("utf-16-be"))]))
    assert (heard.verb, heard.said) == (Verb.OTHER, "我家没有收到")


# --- what cannot be ----------------------------------------------------------------------------------------------


def test_nobody_calls_back_by_http_and_nobody_can_be_asked():
    channel = Smpp(options())
    assert channel.answer(Callback("/", {}, b"")) == Answer(404, "text/plain", b"smpp has no callbacks")
    with pytest.raises(Unsupported):
        channel.ask(ONE)


@pytest.mark.parametrize(
    "changes",
    [
        {"host": ""},
        {"host": "a b"},
        {"port": 0},
        {"system_id": "x" * 16},
        {"password": ""},
        {"password": "123456789"},
        {"password": "密码"},
        {"source_addr": "1" * 21},
        {"source_addr": "1" * 18, "serial_digits": 3},
        {"serial_digits": 2},
        {"dest_prefix": "+86"},
        {"window": 0},
        {"per_call": 1001},
        {"text_limit": 500, "signature": "德清应急"},
        {"text_limit": 65, "signature": "德清应急", "long": "refuse"},
        {"id_form": "octal"},
        {"ca_file": "/nowhere/ca.pem"},
        {"verify": False},
    ],
)
def test_options_that_cannot_be_are_refused_and_not_repeated(changes):
    with pytest.raises(ValueError) as caught:
        options(**changes)
    assert "密码" not in str(caught.value) and "123456789" not in str(caught.value)


def test_no_pdu_is_written_to_any_log(bench, caplog):
    caplog.set_level(logging.DEBUG)
    bench.channel().send(bench.call(1))
    everything = caplog.text
    for secret in (bench.secret, "15400000001"):
        assert secret not in everything
        assert secret.encode().hex() not in everything.lower()


# --- TLS ---------------------------------------------------------------------------------------------------------


def test_a_certificate_that_nobody_vouches_for_is_refused_and_its_ca_file_makes_it_good(tmp_path, bench):
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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    script = bench.script("a1", tls=context)
    with pytest.raises(Unavailable, match="TLS"):
        connected(bench, script, tls=True, read_seconds=5).send(bench.call(1))
    good = connected(bench, script, tls=True, ca_file=str(ca), read_seconds=5)
    assert states(good.send(bench.call(1))) == [State.ACCEPTED]
    (tmp_path / "broken.pem").write_text("not a certificate")
    with pytest.raises(Misconfigured, match="ca_file"):
        connected(bench, script, tls=True, ca_file=str(tmp_path / "broken.pem")).send(bench.call(1))


READER = Smpp(options(source_addr="10690000", serial_digits=2))
