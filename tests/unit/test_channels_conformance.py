"""One bench for all protocols: what the contract promises, each keeps against a real far end."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from broadcast.channels import CHANNELS, PROTOCOLS, Peer, connect, feature_matrix, open_peer
from broadcast.channels.base import Answer, Callback, Capabilities, Channel, Purpose
from broadcast.delivery import State
from broadcast.errors import ChannelError, InDoubt, InvalidFiles, Misconfigured, Unavailable, Unsupported
from tests.benches.base import SECRET, TEXT, Bench
from tests.benches.ebd import EbdBench
from tests.benches.feed import FeedBench
from tests.benches.grid import GridBench
from tests.benches.loopback import LoopbackBench
from tests.benches.mas import MasBench
from tests.benches.smpp import SmppBench
from tests.benches.vms import VmsBench
from tests.benches.zwdd_ding import ZwddDingBench
from tests.benches.zwdd_notice import ZwddNoticeBench

BENCHES: dict[str, type[Bench]] = {
    "ebd": EbdBench,
    "feed": FeedBench,
    "grid": GridBench,
    "loopback": LoopbackBench,
    "mas": MasBench,
    "smpp": SmppBench,
    "vms": VmsBench,
    "zwdd-ding": ZwddDingBench,
    "zwdd-notice": ZwddNoticeBench,
}


def test_every_protocol_in_the_table_has_a_bench():
    assert set(BENCHES) == set(PROTOCOLS)


@pytest.fixture(params=sorted(BENCHES))
def bench(request, tmp_path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield BENCHES[request.param](tmp_path, stack)


def can(bench: Bench) -> Capabilities:
    return bench.peer().capabilities


def few(bench: Bench) -> int:
    """Three, where so many share a call and exist."""
    return min(3, can(bench).per_call, bench.targets)


def moods(found: Iterator[Channel]) -> Iterator[Channel]:
    """Every channel of a mood; a skip when the far end has no such mood, so that it is seen."""
    count = 0
    for count, channel in enumerate(found, 1):  # noqa: B007
        yield channel
    if not count:
        pytest.skip("this far end has no such mood")


def test_each_delivery_gets_its_answer(bench):
    receipts = bench.channel().send(bench.call(few(bench)))
    assert len(receipts) == few(bench)
    assert {receipt.state for receipt in receipts} <= {State.ACCEPTED, State.DELIVERED}
    assert all(receipt.ref for receipt in receipts)
    assert bench.received() == few(bench)


def test_a_refusal_is_a_receipt_in_its_place(bench):
    if bench.refuses_one is None:
        pytest.skip("this far end refuses nobody")
    places = [bench.address(1), bench.refuses_one, bench.address(2)] if few(bench) == 3 else [bench.refuses_one]
    receipts = bench.channel().send(bench.call(places))
    assert [receipt.state is State.REJECTED for receipt in receipts] == [place == bench.refuses_one for place in places]
    assert bench.received() == len(places) - 1


def test_where_nothing_left_it_is_unavailable(bench):
    for channel in moods(bench.nothing_leaves()):
        with pytest.raises(Unavailable):
            channel.send(bench.call(few(bench)))
        assert bench.received() == 0


def test_where_something_may_have_left_it_is_in_doubt(bench):
    for channel in moods(bench.something_may_have_left()):
        with pytest.raises(InDoubt):
            channel.send(bench.call(few(bench)))


def test_a_refusal_of_us_rejects_nobody(bench):
    for channel in moods(bench.refuses_us()):
        with pytest.raises(Misconfigured):
            channel.send(bench.call(few(bench)))
        assert bench.received() == 0


def test_more_than_the_limit_is_refused_before_anything_leaves(bench):
    if bench.targets < 4:
        pytest.skip("this far end has not so many targets")
    narrowed = "per_call" in PROTOCOLS[bench.protocol].Options.model_fields
    peer = bench.peer(per_call=3) if narrowed else bench.peer()
    most = peer.capabilities.per_call
    assert most == 3 or not narrowed
    channel = connect(peer)
    bench.stack.callback(channel.close)
    with pytest.raises(Unsupported):
        channel.send(bench.call(most + 1))
    assert bench.received() == 0
    assert len(channel.send(bench.call(most))) == most


def test_a_call_without_messages_is_refused(bench):
    with pytest.raises(Unsupported):
        bench.channel().send(bench.call([]))
    assert bench.received() == 0


def test_a_text_of_the_stated_length_goes_out(bench):
    if not bench.any_text:
        pytest.skip("this far end takes a document, not words")
    stated = can(bench)
    limit = stated.text_limit or 2000
    text = "雨" * (limit // 3 if stated.unit == "utf8" else limit)
    assert len(bench.channel().send(bench.call(few(bench), text=text))) == few(bench)
    assert bench.received() == few(bench)


def test_texts_that_differ_share_a_call_only_where_it_says_so(bench):
    if few(bench) < 2:
        pytest.skip("one message per call has one text")
    call = bench.call(2)
    first, second = call.messages
    different = replace(call, messages=(first, replace(second, text=second.text + "。")))
    if can(bench).one_text:
        with pytest.raises(Unsupported):
            bench.channel().send(different)
        assert bench.received() == 0
    else:
        assert len(bench.channel().send(different)) == 2


def test_what_it_cannot_stop_it_refuses_to_stop(bench):
    channel, alarm = bench.channel(), bench.call(few(bench))
    facts = bench.past(alarm, channel.send(alarm))
    arrived = bench.received()
    stop = replace(bench.call(few(bench), batch=8, purpose=Purpose.STOP), facts=facts)
    if can(bench).can_stop:
        assert len(channel.send(stop)) == few(bench)
    else:
        with pytest.raises(Unsupported):
            channel.send(stop)
        assert bench.received() == arrived


def test_who_cannot_be_asked_says_so(bench):
    channel, call = bench.channel(), bench.call(few(bench))
    channel.send(call)
    if can(bench).can_be_asked:
        assert len(channel.ask(call)) == few(bench)
    else:
        with pytest.raises(Unsupported):
            channel.ask(call)


def test_who_has_nothing_to_collect_says_so(bench):
    kept: list[Callback] = []
    channel = bench.channel()
    if can(bench).collect_seconds:
        channel.collect(kept.append, 0.2)
        for callback in kept:
            channel.read(callback)  # what it brought has a meaning
    else:
        with pytest.raises(Unsupported):
            channel.collect(kept.append, 0.2)
        assert not kept


def test_the_same_key_goes_out_once_where_it_deduplicates(bench):
    if not can(bench).deduplicates:
        pytest.skip("does not deduplicate, and does not say so")
    channel, call = bench.channel(), bench.call(few(bench))
    first = channel.send(call)
    again = channel.send(replace(call, attempt=2))
    assert [(one.state, one.ref) for one in again] == [(one.state, one.ref) for one in first]
    assert bench.received() == few(bench)
    channel.send(bench.call(few(bench), batch=8))
    assert bench.received() == 2 * few(bench)


def test_foreign_bytes_in_a_callback_are_a_value_error(bench):
    for body in (b"", b"\x00", b"{}", b"[[[[", "测".encode()):
        with pytest.raises(ValueError):
            bench.channel().read(Callback("/callback", {}, body))


def test_a_callback_is_answered(bench):
    for body in (b"", b"\x00", b"{}", "测".encode()):
        answer = bench.channel().answer(Callback("/callback", {}, body))
        assert isinstance(answer, Answer)
        assert answer.status in (200, 204, 401, 404)  # taken, a signature that is none, no such door; never a fault of ours
        assert answer.content_type
        assert isinstance(answer.body, bytes)


def test_a_channel_may_be_closed_twice_and_unused(bench):
    used, unused = bench.channel(), bench.channel()
    used.send(bench.call(few(bench)))
    for channel in (used, used, unused):
        channel.close()


def test_many_threads_share_one_channel(bench):
    channel, answers = bench.channel(**bench.patience), []
    size = min(10, can(bench).per_call, bench.targets)

    def work(worker: int) -> None:
        for n in range(5):
            first = (worker * 5 + n) * size
            addresses = [bench.address(1 + (first + m) % bench.targets) for m in range(size)]
            answers.extend(channel.send(bench.call(addresses, batch=100 + worker * 5 + n)))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(bench.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == bench.received() == bench.threads * 5 * size


def test_no_secret_and_no_number_is_ever_shown(bench, caplog):
    caplog.set_level(logging.DEBUG)
    call = bench.call(few(bench))
    shown = [repr(bench.peer()), repr(bench.channel()), repr(call), str(call), repr(bench.peer().options)]
    tries: list[Callable[[], Iterator[Channel]]] = [bench.nothing_leaves, bench.something_may_have_left, bench.refuses_us]
    shown.append(repr(bench.channel().send(call)))
    for mood in tries:
        for channel in mood():
            try:
                channel.send(call)
            except ChannelError as error:
                shown += [repr(error), "".join(traceback.format_exception(error))]
    for impossible in (bench.call(few(bench), purpose=Purpose.STOP), bench.call([])):
        try:
            bench.channel().send(impossible)
        except ChannelError as error:
            shown.append(repr(error))
    everything = "\n".join(shown) + caplog.text
    assert len(shown) > 7
    for hidden in bench.hidden():
        assert hidden not in everything


# --- the table and the peers -------------------------------------------------------------------------------------


def test_every_channel_served_is_a_channel_and_each_has_somebody_to_serve_it():
    served = set().union(*(protocol.serves for protocol in PROTOCOLS.values()))
    assert served == set(CHANNELS)


def test_the_feature_matrix_has_a_row_for_each_protocol_and_as_many_columns_everywhere():
    lines = feature_matrix().splitlines()
    assert [line.split("|")[1].strip().strip("`") for line in lines[2:]] == list(PROTOCOLS)
    assert len({line.count("|") for line in lines}) == 1
    mas = "| `mas` | sms | 1000 | 62 utf16 | one per call | yes | yes | no | no | no | no | none | no limit | no | 120 s |"
    smpp = (
        "| `smpp` | sms | 100 | 62 utf16 | each its own | yes | yes | no | no | no | no | none | no limit | every 1 s | 120 s |"
    )
    assert {mas, smpp} <= set(lines)


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
        ({"protocol": "telex"}, "use one of loopback, mas"),
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


@pytest.fixture
def kept(tmp_path) -> Iterator[LoopbackBench]:
    with ExitStack() as stack:
        yield LoopbackBench(tmp_path, stack)


def test_loopback_keeps_the_words_and_masks_the_address(tmp_path, kept):
    file = tmp_path / "sent.jsonl"
    call = kept.call(["+8615400000001", "GE_abc"], purpose=Purpose.STAND_DOWN)
    receipts = loopback(file, answers="accepted").send(call)
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [receipt.state for receipt in receipts] == [State.ACCEPTED] * 2
    assert [(line["seq"], line["address"], line["key"]) for line in lines] == [(10, "154****0001", "7-10"), (11, "****", "7-11")]
    assert {(line["text"], line["purpose"]) for line in lines} == {(TEXT, "stand_down")}
    assert file.stat().st_mode & 0o077 == 0


def test_loopback_knows_a_delivery_again_by_its_own_key_whatever_it_shares_a_call_with(tmp_path, kept):
    file = tmp_path / "sent.jsonl"
    call = kept.call()
    first = loopback(file).send(call)
    assert loopback(file).send(call) == first
    loopback(file).send(replace(call, key="7-12", messages=call.messages[2:]))
    unnamed = replace(call, messages=tuple(replace(message, key="") for message in call.messages))
    assert len(file.read_text("utf-8").splitlines()) == 3
    loopback(file).send(unnamed)  # a caller that names no deliveries is known by the call
    loopback(file).send(unnamed)
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [line["key"] for line in lines] == ["7-10", "7-11", "7-12", "7-10", "7-10"]


def test_loopback_finishes_what_a_crash_cut_in_the_middle_of_a_line(tmp_path, kept):
    file = tmp_path / "sent.jsonl"
    loopback(file).send(kept.call())
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    loopback(file).send(kept.call())
    lines = []
    for line in file.read_text("utf-8", "replace").splitlines():
        try:
            lines.append(json.loads(line)["seq"])
        except ValueError:
            continue
    assert lines == [10, 11, 12]


def test_loopback_forgets_nothing_that_another_process_kept(tmp_path, kept):
    file = tmp_path / "sent.jsonl"
    first, second = loopback(file), loopback(file)
    first.send(kept.call(batch=1))
    second.send(kept.call(batch=2))
    first.send(kept.call(batch=2))
    second.send(kept.call(batch=1))
    assert len(file.read_text("utf-8").splitlines()) == 6
    file.write_bytes(b"")
    first.send(kept.call(batch=1))
    assert len(file.read_text("utf-8").splitlines()) == 3
