"""Grid tasks: against a far end whose judge of signatures nobody here wrote, and what comes back from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook

from broadcast.channels.base import Call, Callback, Facts, Message, Past, Purpose, Reply, Report, Verb
from broadcast.channels.grid import Grid, GridOptions
from broadcast.channels.webhooks import NOT_TRIED, Signer
from broadcast.delivery import State
from broadcast.errors import InDoubt, Misconfigured, Unavailable, Unsupported
from broadcast.simulator import Config, GridAccount, Simulator
from tests.unit.signed_post import OTHER_SECRET, SECRET, FarEnd

FACTS = Facts(
    alert_id=17,
    identifier="33052141600000_20230705162130",
    event_code="11B03",
    event="暴雨",
    level="orange",
    status="Actual",
    issuer="德清县气象台",
    headline="暴雨橙色预警",
    sent=datetime(2023, 7, 5, 8, 21, tzinfo=UTC),
    expires=datetime(2023, 7, 5, 14, 21, tzinfo=UTC),
)
PAST = Past("T-3-1", ("grid-1",), None, FACTS.expires)
UNKNOWN = b'{"error": "unknown assignee"}'


def message(n: int, **changes: object) -> Message:
    given = {"key": f"7-{n}", "region": "330521115201", "region_name": "测试村", "role": "网格长", "person": "测试员"}
    return Message(n, f"grid-{n}", "暴雨橙色预警,请转移", **given | changes)


def call(count: int = 1, purpose: Purpose = Purpose.ALARM, **facts: object) -> Call:
    return Call("7-1", purpose, tuple(message(n) for n in range(1, count + 1)), replace(FACTS, **facts))


def grid(url: str = "http://127.0.0.1:1/door", **changes: object) -> Grid:
    return Grid(GridOptions.model_validate({"url": url, "secret": SECRET, "read_seconds": 2} | changes))


@contextmanager
def far_end(*script: object, secret: str = SECRET, **changes: object) -> Iterator[tuple[FarEnd, Grid]]:
    with ExitStack() as stack:
        end = stack.enter_context(FarEnd(*script, secret=secret))
        channel = grid(end.url, **changes)
        stack.callback(channel.close)
        yield end, channel


def states(receipts: object) -> list[State]:
    return [receipt.state for receipt in receipts]


# --- the signature -----------------------------------------------------------------------------------------------


def test_the_golden_vector_is_met():
    body = '{"type":"alert.task.dispatched","data":{"taskId":"T-1","content":"暴雨红色预警"}}'
    headers = Signer(SecretStr(SECRET)).headers("msg_1", body, datetime.fromtimestamp(1774000000, UTC))
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1774000000",
        "webhook-signature": "v1,Ll9xyczqi3ZrBdoYnFav3a0Ci+6f1UIvMGNu/SZjVQc=",
    }


def test_while_secrets_are_exchanged_the_far_end_may_hold_either():
    for known in (SECRET, OTHER_SECRET):
        with far_end(secret=known, other_secret=OTHER_SECRET) as (end, channel):
            assert states(channel.send(call())) == [State.ACCEPTED]
            assert len(end.posted[0].headers["webhook-signature"].split(" ")) == 2


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_"), SECRET + "!", SECRET[:-3]])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret):
    with pytest.raises(ValueError) as caught:
        grid(secret=secret)
    assert "c2hvcnQ" not in str(caught.value) and "MDEy" not in str(caught.value)


# --- what goes out -----------------------------------------------------------------------------------------------


def test_a_task_says_exactly_what_the_contract_says():
    with far_end() as (end, channel):
        [receipt] = channel.send(call())
    [posted] = end.posted
    assert (receipt.state, receipt.code, receipt.ref) == (State.ACCEPTED, "200", "T-7-1")
    assert (posted.path, posted.headers["content-type"]) == ("/door", "application/json; charset=utf-8")
    assert posted.json == {
        "type": "alert.task.dispatched",
        "timestamp": "2023-07-05T08:21:00+00:00",
        "data": {
            "taskId": "T-7-1",
            "alertId": 17,
            "identifier": "33052141600000_20230705162130",
            "level": "orange",
            "event": "暴雨",
            "gridCode": "330521115201",
            "gridName": "测试村",
            "role": "网格长",
            "assignee": {"account": "grid-1", "name": "测试员"},
            "content": "暴雨橙色预警,请转移",
            "requireAckBy": None,
            "actions": ["sign", "feedback", "done", "reject"],
            "supersedes": [],
        },
    }


def test_a_task_says_until_when_an_answer_is_owed():
    with far_end() as (end, channel):
        channel.send(call(answer_by=datetime(2023, 7, 5, 8, 26, tzinfo=UTC)))
    assert end.posted[0].json["data"]["requireAckBy"] == "2023-07-05T08:26:00+00:00"


@pytest.mark.parametrize(
    ("purpose", "facts", "kind", "supersedes"),
    [
        (Purpose.ALARM, {}, "alert.task.dispatched", [[], []]),
        (Purpose.ALARM, {"msg_type": "Update"}, "alert.task.updated", [[], []]),
        (Purpose.ALARM, {"msg_type": "Update", "past": (PAST,)}, "alert.task.updated", [["T-3-1"], []]),
        (Purpose.STAND_DOWN, {"msg_type": "Cancel", "past": (PAST,)}, "alert.task.cancelled", [["T-3-1"], []]),
    ],
)
def test_what_a_task_is_and_what_it_supersedes_depends_on_the_event(purpose, facts, kind, supersedes):
    with far_end() as (end, channel):
        channel.send(call(2, purpose, **facts))
    assert [posted.json["type"] for posted in end.posted] == [kind] * 2
    assert [posted.json["data"]["supersedes"] for posted in end.posted] == supersedes


def test_an_alarm_to_somebody_who_had_one_of_this_event_is_an_update_of_his_task_alone():
    with far_end() as (end, channel):
        channel.send(call(2, past=(PAST, PAST)))
    assert [posted.json["type"] for posted in end.posted] == ["alert.task.updated", "alert.task.dispatched"]
    assert end.posted[0].json["data"]["supersedes"] == ["T-3-1"]


def test_a_second_attempt_carries_the_same_ids_and_the_same_bytes():
    with far_end((503, b""), (503, b"")) as (end, channel):
        with pytest.raises(InDoubt):
            channel.send(call())
        with pytest.raises(InDoubt):
            channel.send(replace(call(), key="7-9", attempt=2))
    first, second = end.posted
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "T-7-1-alarm"
    assert first.body == second.body


def test_tasks_go_out_one_after_the_other_in_their_order():
    with far_end() as (end, channel):
        receipts = channel.send(call(20))
    assert [receipt.ref for receipt in receipts] == [f"T-7-{n}" for n in range(1, 21)]
    assert [posted.json["data"]["taskId"] for posted in end.posted] == [f"T-7-{n}" for n in range(1, 21)]
    assert len({posted.headers["webhook-id"] for posted in end.posted}) == 20


def test_the_far_ends_own_name_of_a_task_is_kept_and_comes_back_as_what_is_superseded():
    with far_end((201, b'{"taskId": "SP-88"}'), (200, b'{"taskId": "not\\na name"}'), (200, b"[]"), (200, b'{"taskId": 8}')) as (
        _end,
        channel,
    ):
        receipts = channel.send(call(4))
    assert [receipt.ref for receipt in receipts] == ["SP-88", "T-7-2", "T-7-3", "T-7-4"]


# --- what is answered --------------------------------------------------------------------------------------------


def test_a_task_that_is_final_already_was_taken():
    with far_end((409, b"")) as (_end, channel):
        [receipt] = channel.send(call())
    assert (receipt.state, receipt.code, receipt.ref) == (State.ACCEPTED, "409", "T-7-1")


@pytest.mark.parametrize("status", [404, 422])
def test_an_account_that_gets_no_tasks_is_rejected_and_no_other(status):
    with far_end((200, b""), (status, UNKNOWN)) as (_end, channel):
        receipts = channel.send(call(3))
    assert states(receipts) == [State.ACCEPTED, State.REJECTED, State.ACCEPTED]
    assert receipts[1].code == str(status)


def test_the_far_ends_own_word_for_such_an_account_is_an_option():
    with far_end((422, b'{"error": "E17"}'), refusals=["E17"]) as (_end, channel):
        assert states(channel.send(call())) == [State.REJECTED]


@pytest.mark.parametrize(
    "answer",
    [
        (404, b"<html>no such page</html>"),
        (404, b'{"status": 404, "error": "Not Found", "path": "/door"}'),  # a wrong path, as web frameworks answer it
        (404, b""),
        (422, b'{"error": "data.assignee.name is not of its kind"}'),
        (422, b'{"error": ["unknown assignee"]}'),
        (400, UNKNOWN),
        (410, UNKNOWN),
        (403, UNKNOWN),
    ],
)
def test_what_is_about_us_rejects_nobody(answer):
    with far_end(*[answer] * 3) as (_end, channel), pytest.raises(Misconfigured):
        channel.send(call(3))


def test_a_far_end_that_wants_no_more_tasks_is_named_as_such():
    with far_end((410, b"")) as (_end, channel), pytest.raises(Misconfigured, match="unsubscribed"):
        channel.send(call())


@pytest.mark.parametrize(("status", "headers"), [(429, {}), (429, {"Retry-After": "7"}), (503, {"Retry-After": "7"})])
def test_a_far_end_that_asks_to_come_later_is_not_asked_again_meanwhile(status, headers):
    with far_end((status, b"", headers)) as (end, channel):
        with pytest.raises(Unavailable) as caught:
            channel.send(call(5))
        assert caught.value.retry_after == (7 if headers else None)
        assert len(end.posted) == 1


@pytest.mark.parametrize("answer", [None, (500, b""), (503, b"")])
def test_where_nobody_was_answered_for_the_doubt_is_raised_after_two_tries(answer):
    with far_end(*[answer] * 5) as (end, channel):
        with pytest.raises(InDoubt):
            channel.send(call(5))
        assert len(end.posted) == 2


def test_where_nothing_can_connect_it_is_unavailable():
    with pytest.raises(Unavailable):
        grid().send(call(3))


def test_once_one_was_answered_a_failure_is_a_value_and_the_rest_is_due_again():
    with far_end((200, b""), (500, b""), (500, b"")) as (end, channel):
        receipts = channel.send(call(5))
    assert states(receipts) == [State.ACCEPTED, State.IN_DOUBT, State.IN_DOUBT, State.DEFERRED, State.DEFERRED]
    assert receipts[3:] == [NOT_TRIED, NOT_TRIED]
    assert len(end.posted) == 3


def test_one_task_that_always_fails_keeps_no_other_from_being_handed_over():
    with far_end((500, b""), (200, b""), (500, b""), (200, b""), (400, b""), (200, b"")) as (_end, channel):
        receipts = channel.send(call(6))
    assert states(receipts)[::2] == [State.IN_DOUBT, State.IN_DOUBT, State.DEFERRED]
    assert states(receipts)[1::2] == [State.ACCEPTED] * 3


def test_a_door_that_closes_in_the_middle_ends_the_call_at_once():
    with far_end((200, b""), (429, b"")) as (end, channel):
        receipts = channel.send(call(4))
    assert states(receipts) == [State.ACCEPTED, State.DEFERRED, State.DEFERRED, State.DEFERRED]
    assert len(end.posted) == 2


def test_two_failures_of_two_kinds_are_in_doubt_because_one_of_them_is():
    with far_end((400, b""), (500, b"")) as (_end, channel), pytest.raises(InDoubt):
        channel.send(call(2))


def test_a_wrong_secret_is_about_us():
    with far_end(secret=OTHER_SECRET) as (end, channel):
        with pytest.raises(Misconfigured):
            channel.send(call(3))
        assert end.posted == []


@pytest.mark.parametrize("purpose", [Purpose.STOP, Purpose.RELEASE])
def test_what_is_no_task_is_unsupported(purpose):
    with far_end() as (end, channel):
        with pytest.raises(Unsupported):
            channel.send(call(purpose=purpose))
        assert end.posted == []


@pytest.mark.parametrize("impossible", [call(0), call(21), replace(call(), messages=(message(1, key=""),))])
def test_a_call_that_cannot_be_is_refused_before_anything_leaves(impossible):
    with far_end() as (end, channel):
        with pytest.raises(Unsupported):
            channel.send(impossible)
        assert end.posted == []


def test_it_is_neither_asked_nor_emptied():
    with pytest.raises(Unsupported):
        grid().ask(call())
    with pytest.raises(Unsupported):
        grid().collect(lambda _callback: None, 1.0)


# --- what comes back ---------------------------------------------------------------------------------------------

AT = "2023-07-05T16:30:00+08:00"
WHEN = datetime(2023, 7, 5, 8, 30, tzinfo=UTC)


def signed(body: bytes, at: datetime | None = None, secret: str = SECRET, key: str = "m-1") -> Callback:
    at = at or datetime.now(UTC)
    headers = {
        "webhook-id": key,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(key, at, body.decode()),
    }
    return Callback("/callbacks/grid-1", headers, body)


def said(kind: str, **data: object) -> Callback:
    return signed(json.dumps({"type": kind, "timestamp": AT, "data": {"taskId": "T-7-1"} | data}).encode())


def test_a_signed_task_is_an_acknowledgement_and_a_report_of_its_delivery():
    reply, report = grid().read(said("task.signed", by="测试员", text="测试员", at=AT))
    assert reply == Reply(Verb.ACKNOWLEDGED, key="7-1", at=WHEN)
    assert isinstance(report, Report)
    assert (report.key, report.receipt.state, report.receipt.ref) == ("7-1", State.DELIVERED, "T-7-1")
    assert "测试员" not in str(reply.said)


def test_feedback_tells_what_was_done_and_how_many_were_told_at_the_door():
    counts = {"households": 42, "withoutPhone": 3, "vulnerable": 0}
    [reply] = grid().read(said("task.feedback", text="已转移", **counts))
    assert (reply.verb, reply.key, reply.said) == (Verb.MEASURES, "7-1", "已转移")
    assert reply.counts == {"households": 42, "without_phone": 3, "vulnerable": 0}
    assert reply.at == WHEN  # the letter's own time where the verb has none


def test_a_count_that_is_none_does_not_cost_the_feedback():
    [reply] = grid().read(said("task.feedback", text="x", households=-1, withoutPhone=True, vulnerable="3"))
    assert (reply.verb, reply.counts) == (Verb.MEASURES, {})


def test_done_and_rejected_are_replies_and_no_reports():
    [done] = grid().read(said("task.done"))
    [rejected] = grid().read(said("task.rejected", reason="不在本网格", text="no"))
    assert (done.verb, done.said) == (Verb.DONE, "")
    assert (rejected.verb, rejected.said) == (Verb.DECLINED, "不在本网格")


def test_a_task_under_the_far_ends_own_name_is_matched_by_it():
    reply, report = grid().read(said("task.signed", taskId="SP-88"))
    assert (reply.key, reply.ref, report.key, report.receipt.ref) == ("", "SP-88", "", "SP-88")


@pytest.mark.parametrize("at", [None, "", "soon", "2023-07-05T16:30:00", 7, "0001-01-01T00:00:00+14:00"])
def test_a_time_that_is_none_does_not_cost_the_verb(at):
    body = json.dumps({"type": "task.signed", "timestamp": at, "data": {"taskId": "T-7-1", "at": at}}).encode()
    assert grid().read(signed(body))[0].at is None


def test_their_words_are_kept_fit_to_be_stored():
    [reply] = grid().read(said("task.feedback", text="一\ud83d二\x00" + "长" * 5000))
    assert reply.said.startswith("一 二 长") and len(reply.said) == 2000
    assert reply.said.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"type": "task.signed", "data": {"taskId": "T-7-1"}}' + b" " * (1 << 20),
        b'{"type": "task.signed"}',
        b'{"type": "task.signed", "data": {}}',
        b'{"type": "task.signed", "data": {"taskId": "a\\nb"}}',
        b'{"type": "task.signed", "data": {"taskId": 7}}',
        b'{"type": "task.read", "data": {"taskId": "T-7-1"}}',
        b'{"type": ["task.signed"], "data": {"taskId": "T-7-1"}}',
    ],
)
def test_what_means_nothing_is_a_value_error_though_it_was_signed(body):
    callback = signed(body)
    with pytest.raises(ValueError):
        grid().read(callback)
    assert grid().answer(callback).status == 200  # they cannot do better by sending it again


def forgeries() -> Iterator[Callback]:
    true = said("task.signed")
    yield signed(true.body, secret=OTHER_SECRET)
    yield replace(true, body=true.body.replace(b"T-7-1", b"T-7-2"))
    yield replace(true, body=b"\xff")
    yield replace(true, headers={})
    for name in true.headers:
        yield replace(true, headers={key: value for key, value in true.headers.items() if key != name})
    for changed in ({"webhook-id": "m-2"}, {"webhook-timestamp": "1"}, {"webhook-timestamp": "-1"}, {"webhook-timestamp": "²"}):
        yield replace(true, headers={**true.headers, **changed})
    signature = true.headers["webhook-signature"]
    for other in ("", "v1,", "v1a" + signature[2:], "\ud800", signature.removeprefix("v1,"), signature.lower()):
        yield replace(true, headers={**true.headers, "webhook-signature": other})


@pytest.mark.parametrize("callback", list(forgeries()), ids=range(len(list(forgeries()))))
def test_what_the_far_end_did_not_sign_means_nothing_and_gets_401(callback):
    with pytest.raises(ValueError):
        grid().read(callback)
    assert grid().answer(callback).status == 401


def test_one_good_signature_among_several_is_enough():
    true = said("task.signed")
    both = replace(true, headers={**true.headers, "webhook-signature": "v1,AAAA v2,x " + true.headers["webhook-signature"]})
    assert grid().read(both)
    assert grid(secret=OTHER_SECRET, other_secret=SECRET).read(both)
    assert grid().answer(both).status == 200


@pytest.mark.parametrize(("age", "status"), [(240, 200), (-240, 200), (400, 401), (-400, 401)])
def test_an_old_letter_is_turned_away_at_the_door_but_read_when_it_waited_inside(age, status):
    body = json.dumps({"type": "task.signed", "data": {"taskId": "T-7-1"}}).encode()
    callback = signed(body, datetime.now(UTC) - timedelta(seconds=age))
    assert grid().answer(callback).status == status
    assert len(grid().read(callback)) == 2
    assert grid().read(signed(body, datetime(2023, 1, 1, tzinfo=UTC)))


def test_what_the_workers_of_the_stand_in_do_is_understood_verb_by_verb():
    with FarEnd() as us:  # stands where the gateway's callback door is
        account = GridAccount(secret=SECRET, callback=us.url, callback_secret=OTHER_SECRET)
        with Simulator(Config(account=None, grid=account, speed=500)) as simulator:
            us.judge = Webhook(OTHER_SECRET)
            channel = grid(f"{simulator.url}/grid/tasks", other_secret=OTHER_SECRET)
            tasks = tuple(replace(message(n), address=f"sim:grid:{n}") for n in (1, 2))
            assert states(channel.send(replace(call(), messages=tasks))) == [State.ACCEPTED] * 2
            posted = us.wait_for(6)
    callbacks = [Callback("/callbacks/grid-1", one.headers, one.body) for one in posted]
    assert {channel.answer(callback).status for callback in callbacks} == {200}
    heard = [one for callback in callbacks for one in channel.read(callback)]
    for key in ("7-1", "7-2"):
        verbs = [one.verb for one in heard if isinstance(one, Reply) and one.key == key]
        assert sorted(verbs) == sorted([Verb.ACKNOWLEDGED, Verb.MEASURES, Verb.DONE])
        [measures] = [one for one in heard if isinstance(one, Reply) and (one.key, one.verb) == (key, Verb.MEASURES)]
        assert measures.counts.keys() == {"households", "without_phone", "vulnerable"} and measures.counts["households"] > 0
    assert sorted(one.key for one in heard if isinstance(one, Report)) == ["7-1", "7-2"]
    channel.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NEARLY = {
    "taskId": "T-7-1",
    "at": AT,
    "text": "已转移",
    "reason": "不在",
    "households": 3,
    "withoutPhone": 1,
    "vulnerable": 0,
}
letters = st.fixed_dictionaries(
    {"type": st.sampled_from(["task.signed", "task.feedback", "task.done", "task.rejected"]) | json_values},
    optional={
        "timestamp": st.just(AT) | json_values,
        "data": json_values | st.fixed_dictionaries({}, optional={k: st.just(v) | json_values for k, v in NEARLY.items()}),
    },
)


@given(body=(json_values | letters).map(json.dumps).map(str.encode))
@settings(deadline=None)
def test_any_signed_letter_is_a_meaning_or_a_value_error_and_what_is_kept_can_be_stored(body):
    channel, callback = READER, signed(body)
    assert channel.answer(callback).status == 200
    try:
        found = channel.read(callback)
    except ValueError:
        return
    for one in found:
        if isinstance(one, Reply):
            assert one.key or one.ref
            assert one.said.encode() is not None
            assert all(0 <= count <= 1_000_000 for count in one.counts.values())
            assert one.at is None or one.at.astimezone(UTC)
        else:
            assert one.receipt.ref.isascii() and one.receipt.ref.isprintable()


@given(
    body=st.binary(max_size=200),
    headers=st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(max_size=40) | st.just("v1,AAAA")
    ),
)
@settings(deadline=None)
def test_any_foreign_request_is_a_value_error_and_a_401(body, headers):
    callback = Callback("/callbacks/grid-1", headers, body)
    assert READER.answer(callback).status == 401
    with pytest.raises(ValueError):
        READER.read(callback)


READER = grid()
