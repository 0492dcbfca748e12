"""One bench for all protocols: what the contract promises, each keeps against a real far end."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broadcast.channels import CHANNELS, PROTOCOLS, Peer, connect, feature_matrix, open_peer
from broadcast.channels.base import Call, Callback, Channel, Facts, Message, Purpose
from broadcast.delivery import State
from broadcast.errors import ChannelError, InDoubt, InvalidFiles, Misconfigured, Unavailable, Unsupported
from broadcast.simulator import Account, Config, Faults, Simulator

FACTS = Facts(
    alert_id=1,
    identifier="33052141600000_20230705162130",
    event_code="11B03",
    event="暴雨",
    level="orange",
    status="Actual",
    issuer="德清县气象台",
    headline="暴雨橙色预警",
    sent=datetime(2023, 7, 5, 8, 21, tzinfo=UTC),
    expires=datetime(2023, 7, 5, 14, 21, tzinfo=UTC),
    regions=("330521115",),
)
TEXT = "暴雨橙色预警,请转移"
SECRET = "very-secret-测-key"
NUMBERS = ("+8615400000001", "+8615400000002", "+8619400000003")


class Bench:
    """What a protocol needs to be tested: a far end, and a way to each of its moods. None: this far end has no such mood."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack

    def options(self) -> dict[str, object]:
        raise NotImplementedError

    def channel(self, **changes: object) -> Channel:
        return connect(self.peer(**changes))

    def peer(self, **changes: object) -> Peer:
        return open_peer(
            name="bench",
            channel=sorted(PROTOCOLS[self.protocol].serves)[0],
            protocol=self.protocol,
            simulated=True,
            options=self.options() | changes,
        )

    protocol: str
    refuses_one: str | None = None  # an address that the far end refuses, and only it

    def received(self) -> int:
        """How many messages have arrived at the far end."""
        raise NotImplementedError

    def nothing_leaves(self) -> Iterator[Channel]:
        yield from ()

    def something_may_have_left(self) -> Iterator[Channel]:
        yield from ()

    def refuses_us(self) -> Iterator[Channel]:
        yield from ()


class MasBench(Bench):
    protocol = "mas"
    refuses_one = "+8615400000077"

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        account = Account("测试单位", "ap1", SECRET, "SIGN1", refuse_ending="77", repeat_seconds=0)
        self.simulator = stack.enter_context(Simulator(Config(account=account)))

    def options(self) -> dict[str, object]:
        return {
            "url": self.simulator.url,
            "ec_name": "测试单位",
            "ap_id": "ap1",
            "secret_key": SECRET,
            "sign": "SIGN1",
            "read_seconds": 0.5,
        }

    def received(self) -> int:
        return sum(len(one.mobiles) for one in self.simulator.received)

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(url="http://127.0.0.1:1")
        yield self.channel(url="http://mas.invalid")
        self.simulator.faults = Faults(refuse="SystemBusy")
        yield self.channel()
        self.simulator.faults = Faults(http_status=503, retry_after=5)
        yield self.channel()

    def something_may_have_left(self) -> Iterator[Channel]:
        for faults in (
            Faults(close_without_answer="before"),
            Faults(close_without_answer="after"),
            Faults(accept_and_never_answer=True),
            Faults(http_status=500),
            Faults(refuse="InternalError"),
        ):
            self.simulator.faults = faults
            yield self.channel()

    def refuses_us(self) -> Iterator[Channel]:
        yield self.channel(secret_key="wrong-" + SECRET)
        yield self.channel(secret_key="wrong-" + SECRET, secret_in_body=False)  # IllegalMac
        for status in (401, 403):
            self.simulator.faults = Faults(http_status=status)
            yield self.channel()


class LoopbackBench(Bench):
    protocol = "loopback"

    def options(self) -> dict[str, object]:
        return {"file": str(self.folder / "sent.jsonl")}

    def received(self) -> int:
        file = self.folder / "sent.jsonl"
        return len(file.read_text("utf-8").splitlines()) if file.exists() else 0

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(file=str(self.folder / "no such folder" / "sent.jsonl"))

    def something_may_have_left(self) -> Iterator[Channel]:
        if Path("/dev/full").exists():  # a disk without room
            yield self.channel(file="/dev/full")

    def refuses_us(self) -> Iterator[Channel]:
        yield self.channel(file=str(self.folder))


BENCHES: dict[str, type[Bench]] = {"mas": MasBench, "loopback": LoopbackBench}


def test_every_protocol_in_the_table_has_a_bench():
    assert set(BENCHES) == set(PROTOCOLS)


@pytest.fixture(params=sorted(PROTOCOLS))
def bench(request, tmp_path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield BENCHES[request.param](tmp_path, stack)


def call(addresses=NUMBERS, text: str = TEXT, key: str = "1-7-1", purpose: Purpose = Purpose.ALARM) -> Call:
    return Call(key, purpose, tuple(Message(seq, address, text) for seq, address in enumerate(addresses, 10)), FACTS)


def moods(found: Iterator[Channel]) -> Iterator[Channel]:
    """Every channel of a mood; a skip when the far end has no such mood, so that it is seen."""
    count = 0
    for count, channel in enumerate(found, 1):  # noqa: B007
        yield channel
    if not count:
        pytest.skip("this far end has no such mood")


def test_each_delivery_gets_its_answer(bench):
    receipts = bench.channel().send(call())
    assert len(receipts) == 3
    assert {receipt.state for receipt in receipts} <= {State.ACCEPTED, State.DELIVERED}
    assert all(receipt.ref for receipt in receipts)
    assert bench.received() == 3


def test_a_refusal_is_a_receipt_in_its_place(bench):
    if bench.refuses_one is None:
        pytest.skip("this far end refuses nobody")
    receipts = bench.channel().send(call([NUMBERS[0], bench.refuses_one, NUMBERS[1]]))
    assert [receipt.state is State.REJECTED for receipt in receipts] == [False, True, False]
    assert bench.received() == 2


def test_where_nothing_left_it_is_unavailable(bench):
    for channel in moods(bench.nothing_leaves()):
        with pytest.raises(Unavailable):
            channel.send(call())
        assert bench.received() == 0


def test_where_something_may_have_left_it_is_in_doubt(bench):
    for channel in moods(bench.something_may_have_left()):
        with pytest.raises(InDoubt):
            channel.send(call())


def test_a_refusal_of_us_rejects_nobody(bench):
    for channel in moods(bench.refuses_us()):
        with pytest.raises(Misconfigured):
            channel.send(call())
        assert bench.received() == 0


def test_more_than_the_limit_is_refused_before_anything_leaves(bench):
    addresses = [f"+86154{n:08d}" for n in range(100, 104)]
    peer = bench.peer(per_call=3)
    assert peer.capabilities.per_call == 3
    with pytest.raises(Unsupported):
        connect(peer).send(call(addresses))
    assert bench.received() == 0
    assert len(connect(peer).send(call(addresses[:3]))) == 3


def test_a_text_of_the_stated_length_goes_out(bench):
    limit = bench.peer().capabilities.text_limit or 2000
    assert len(bench.channel().send(call(text="雨" * limit))) == 3


def test_texts_that_differ_share_a_call_only_where_it_says_so(bench):
    messages = (Message(1, NUMBERS[0], "甲"), Message(2, NUMBERS[1], "乙"))
    different = replace(call(), messages=messages)
    if PROTOCOLS[bench.protocol].capabilities.one_text:
        with pytest.raises(Unsupported):
            bench.channel().send(different)
    else:
        assert len(bench.channel().send(different)) == 2


def test_what_it_cannot_stop_it_refuses_to_stop(bench):
    stop = call(purpose=Purpose.STOP)
    if PROTOCOLS[bench.protocol].capabilities.can_stop:
        assert len(bench.channel().send(stop)) == 3
    else:
        with pytest.raises(Unsupported):
            bench.channel().send(stop)
        assert bench.received() == 0


def test_who_cannot_be_asked_says_so(bench):
    if PROTOCOLS[bench.protocol].capabilities.can_be_asked:
        assert len(bench.channel().ask(call(), ["ref"])) == 3
    else:
        with pytest.raises(Unsupported):
            bench.channel().ask(call(), ["ref"])


def test_the_same_key_goes_out_once_where_it_deduplicates(bench):
    if not PROTOCOLS[bench.protocol].capabilities.deduplicates:
        pytest.skip("does not deduplicate, and does not say so")
    first = bench.channel().send(call())
    again = bench.channel().send(replace(call(), attempt=2))
    assert list(again) == list(first)
    assert bench.received() == 3
    bench.channel().send(call(key="1-8-1"))
    assert bench.received() == 6


def test_foreign_bytes_in_a_callback_are_a_value_error(bench):
    for body in (b"", b"\x00", b"{}", b"[[[[", "测".encode()):
        with pytest.raises(ValueError):
            bench.channel().receipts(Callback("/callback", {}, body))


def test_a_callback_is_answered(bench):
    status, kind, body = bench.channel().answer(Callback("/callback", {}, b""))
    assert status in (200, 204, 404)
    assert kind
    assert isinstance(body, bytes)


def test_many_threads_share_one_channel(bench):
    channel, answers = bench.channel(read_seconds=10) if bench.protocol == "mas" else bench.channel(), []

    def work(worker: int) -> None:
        for n in range(5):
            addresses = [f"+86154{worker:04d}{n:02d}{m:02d}" for m in range(10)]
            answers.extend(channel.send(call(addresses, key=f"{worker}-{n}")))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == bench.received() == 300


def test_no_secret_and_no_number_is_ever_shown(bench, caplog):
    caplog.set_level(logging.DEBUG)
    shown = [repr(bench.peer()), repr(bench.channel()), repr(call()), str(call()), repr(bench.peer().options)]
    tries: list[Callable[[], Iterator[Channel]]] = [bench.nothing_leaves, bench.something_may_have_left, bench.refuses_us]
    shown.append(repr(bench.channel().send(call())))
    for mood in tries:
        for channel in mood():
            try:
                channel.send(call())
            except ChannelError as error:
                shown += [repr(error), "".join(traceback.format_exception(error))]
    for impossible in (call(purpose=Purpose.STOP), call([])):
        try:
            bench.channel().send(impossible)
        except ChannelError as error:
            shown.append(repr(error))
    everything = "\n".join(shown) + caplog.text
    assert len(shown) > 7
    assert SECRET not in everything
    for number in NUMBERS:
        assert number.removeprefix("+86") not in everything
    assert TEXT not in everything


# --- the table and the peers -------------------------------------------------------------------------------------


def test_every_channel_served_is_a_channel_and_each_has_somebody_to_serve_it():
    served = set().union(*(protocol.serves for protocol in PROTOCOLS.values()))
    assert served == set(CHANNELS)


def test_the_feature_matrix_has_a_row_for_each_protocol_and_as_many_columns_everywhere():
    lines = feature_matrix().splitlines()
    assert [line.split("|")[1].strip().strip("`") for line in lines[2:]] == list(PROTOCOLS)
    assert len({line.count("|") for line in lines}) == 1
    assert "| `mas` | sms | 1000 | 62 utf16 | one per call | yes | no | no | no | 120 s |" in lines


MAS = {"url": "https://mas.example", "ec_name": "测试单位", "ap_id": "a", "secret_key": SECRET, "sign": "s"}
GOOD = {"name": "mobile", "channel": "sms", "protocol": "mas", "simulated": False, "options": MAS}


def test_an_option_that_bears_a_capabilitys_name_replaces_it():
    peer = open_peer(**GOOD | {"options": MAS | {"per_call": 5000, "doubt_seconds": 30, "text_limit": 60}})
    can = peer.capabilities
    assert (can.per_call, can.doubt_seconds, can.text_limit, can.receipts) == (5000, 30, 60, True)
    assert PROTOCOLS["mas"].capabilities.per_call == 1000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "name"),
        ({"protocol": "smpp"}, "use one of loopback, mas"),
        ({"channel": "fax"}, "use one of speaker, sms"),
        ({"channel": "speaker"}, "cannot serve channel speaker"),
        ({"concurrency": 0}, "concurrency"),
        ({"rate": -1.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"options": {}}, "options.url"),
        ({"options": MAS | {"verify": False}}, "options.verify"),
        ({"options": MAS | {"secret_key": 7}}, "options.secret_key"),
        ({"protocol": "loopback", "options": {"file": "x"}}, "set simulated = true"),
    ],
)
def test_a_peer_that_cannot_be_is_refused_with_its_file_and_line(changes, words):
    with pytest.raises(InvalidFiles) as caught:
        open_peer(**GOOD | changes, file="broadcast.toml", line=12)
    assert words in str(caught.value)
    assert all((p.file, p.line, p.severity) == ("broadcast.toml", 12, "error") for p in caught.value.problems)
    assert SECRET not in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_every_mistake_of_a_peer_is_named_not_only_the_first():
    with pytest.raises(InvalidFiles) as caught:
        open_peer(**GOOD | {"concurrency": 0, "rate": -1.0, "channel": "fax", "options": MAS})
    assert len(caught.value.problems) == 3
    with pytest.raises(InvalidFiles) as caught:
        open_peer(**GOOD | {"options": {"surprise": 1}})
    assert len(caught.value.problems) == len(MAS) + 1


def test_loopback_is_never_a_live_peer_however_it_is_made(tmp_path):
    options = PROTOCOLS["loopback"].Options.model_validate({"file": tmp_path / "sent.jsonl"})
    with pytest.raises(InvalidFiles, match="simulated"):
        Peer("l", "sms", "loopback", False, 1, 0.0, options)
    with pytest.raises(InvalidFiles, match="options"):
        Peer("l", "sms", "mas", False, 1, 0.0, options)


# --- what loopback keeps -----------------------------------------------------------------------------------------


def loopback(file: Path, **changes: object) -> Channel:
    options = {"file": str(file)} | changes
    return connect(open_peer(name="l", channel="sms", protocol="loopback", simulated=True, options=options))


def test_loopback_keeps_the_words_and_masks_the_address(tmp_path):
    file = tmp_path / "sent.jsonl"
    receipts = loopback(file, answers="accepted").send(call([*NUMBERS[:1], "GE_abc"], purpose=Purpose.STAND_DOWN))
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED] * 2
    assert [(line["seq"], line["address"]) for line in lines] == [(10, "154****0001"), (11, "****")]
    assert {(line["text"], line["purpose"], line["key"]) for line in lines} == {(TEXT, "stand_down", "1-7-1")}
    assert file.stat().st_mode & 0o077 == 0


def test_loopback_finishes_what_a_crash_cut_in_the_middle_of_a_line(tmp_path):
    file = tmp_path / "sent.jsonl"
    loopback(file).send(call())
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    loopback(file).send(call())
    kept = []
    for line in file.read_text("utf-8", "replace").splitlines():
        try:
            kept.append(json.loads(line)["seq"])
        except ValueError:
            continue
    assert kept == [10, 11, 12]


def test_loopback_forgets_nothing_that_another_process_kept(tmp_path):
    file = tmp_path / "sent.jsonl"
    first, second = loopback(file), loopback(file)
    first.send(call(key="a"))
    second.send(call(key="b"))
    first.send(call(key="b"))
    second.send(call(key="a"))
    assert len(file.read_text("utf-8").splitlines()) == 6
    file.write_bytes(b"")
    first.send(call(key="a"))
    assert len(file.read_text("utf-8").splitlines()) == 3
