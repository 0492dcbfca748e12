"""What providers report later: found again by reference and number, in any order, and never lost between two commits."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.channels.base import Callback, Report
from broadcast.channels.loopback import Loopback
from broadcast.delivery import State, follow
from broadcast.errors import LedgerUnavailable
from broadcast.gateway import Gateway, house
from broadcast.ledger import Ledger, inbox, leases, settling
from broadcast.ledger import tables as t

from ..conftest import Clock
from ..ledger_rows import a_batch, accepted, claim, in_doubt, number, states
from ..mas_house import PEER, a_report, mas_gateway

KEPT = timedelta(hours=72)


@pytest.fixture
def story(story_on_both):
    """On both databases: locks and isolation are a part of these stories."""
    return story_on_both


@dataclass
class Post:
    """What comes in by HTTP, without the HTTP."""

    gateway: Gateway
    clock: Clock

    @property
    def ledger(self) -> Ledger:
        return self.gateway.ledger

    def now(self) -> int:
        return self.gateway.house.now()

    def brings(self, *bodies: bytes, peer: str = PEER) -> None:
        """Callbacks are kept."""
        self.gateway.keep([(peer, f"/callbacks/{peer}", {}, body) for body in bodies])

    def is_read(self, *bodies: bytes) -> None:
        """Callbacks are kept, and all that is kept is understood."""
        if bodies:
            self.brings(*bodies)
        while self.gateway.work_inbox():
            pass

    def claim(self, batch_id: int) -> sa.Row:
        return claim(self.ledger, batch_id, now=self.now(), peer=PEER)

    def a_sent_batch(self, ref: str, size: int = 4) -> int:
        """A batch that the provider took in one call."""
        batch_id = a_batch(self.ledger, size)
        accepted(self.ledger, self.claim(batch_id), ref, self.now())
        return batch_id

    def a_batch_in_doubt(self, size: int = 4, **options: int) -> int:
        """A batch whose one call was not answered, all of it in doubt for longer than the story lasts."""
        batch_id = a_batch(self.ledger, size, **options)
        in_doubt(self.ledger, self.claim(batch_id), tuple(range(1, size + 1)), self.now())
        return batch_id

    def states(self, batch_id: int) -> list[str]:
        return states(self.ledger, batch_id)

    def kept(self) -> list[tuple[str, str]]:
        """State and reason of each callback, the oldest first."""
        with self.ledger.read() as tx:
            return [tuple(row) for row in tx.execute(sa.select(t.inbox.c.state, t.inbox.c.reason).order_by(t.inbox.c.id))]

    def waiting(self) -> int:
        """How many reports match nothing yet."""
        with self.ledger.read() as tx:
            return tx.execute(sa.select(sa.func.count()).select_from(t.report)).scalar_one()

    def told(self, batch_id: int) -> list[tuple[int, int, str, str]]:
        """The runs of receipts that reports left: first and last seq, state, code."""
        r = t.receipt.c
        statement = sa.select(r.first_seq, r.last_seq, r.state, r.code).where(
            r.batch_id == batch_id, r.state.in_(("delivered", "failed"))
        )
        with self.ledger.read() as tx:
            return [tuple(row) for row in tx.execute(statement.order_by(r.id))]


@pytest.fixture
def post(ledger: Ledger) -> Post:
    clock = Clock()
    return Post(mas_gateway(ledger, clock), clock)


# ── by reference and number ──


def test_a_report_settles_the_delivery_of_its_reference_and_number_and_no_other(post):
    first, second = post.a_sent_batch("g1"), post.a_sent_batch("g2")

    post.is_read(a_report(number(2), "g2"), a_report(number(3), "g1", "UNDELIV", code="DB:0140"))

    assert post.states(first) == ["accepted", "accepted", "failed", "accepted"]
    assert post.states(second) == ["accepted", "delivered", "accepted", "accepted"]
    assert post.told(first) == [(3, 3, "failed", "DB:0140")] and post.told(second) == [(2, 2, "delivered", "DELIVRD")]
    assert post.kept() == [("worked", "")] * 2 and post.waiting() == 0


def test_a_reference_of_another_peer_is_another_reference(post):
    batch_id = a_batch(post.ledger)
    accepted(post.ledger, claim(post.ledger, batch_id, now=post.now(), peer="mas-2"), "g1", post.now())

    post.is_read(a_report(number(1), "g1"))

    assert post.states(batch_id) == ["accepted"] * 4 and post.waiting() == 1


def test_a_list_of_reports_in_one_callback_is_understood_as_many(post):
    batch_id = post.a_sent_batch("g1")

    post.is_read(json.dumps([json.loads(a_report(number(n), "g1")) for n in (1, 4)]).encode())

    assert post.states(batch_id) == ["delivered", "accepted", "accepted", "delivered"]


@pytest.mark.parametrize("looks", ["in one look", "in two looks"])
def test_a_report_that_comes_twice_counts_once(post, looks):
    batch_id = post.a_sent_batch("g1")
    same = a_report(number(1), "g1")

    for bodies in [(same, same)] if looks == "in one look" else [(same,), (same,)]:
        post.is_read(*bodies)

    assert post.told(batch_id) == [(1, 1, "delivered", "DELIVRD")]
    assert post.kept() == [("worked", "")] * 2 and post.waiting() == 0


@pytest.mark.parametrize("looks", ["in one look", "in two looks"])
@pytest.mark.parametrize(
    ("order", "receipts"),
    [(("UNDELIV", "DELIVRD"), ["failed", "delivered"]), (("DELIVRD", "UNDELIV"), ["delivered"])],
    ids=["failed then delivered", "delivered then failed"],
)
def test_delivered_is_the_last_word_in_whatever_order_it_comes(post, looks, order, receipts):
    batch_id = post.a_sent_batch("g1")
    bodies = [a_report(number(1), "g1", status) for status in order]

    for part in [bodies] if looks == "in one look" else [[body] for body in bodies]:
        post.is_read(*part)

    assert post.states(batch_id)[0] == "delivered"
    assert [state for _, _, state, _ in post.told(batch_id)] == receipts


def test_reports_that_move_one_delivery_twice_and_another_from_where_it_stood_are_applied_in_their_order(post):
    """A look where one delivery goes failed → delivered, and another accepted → failed → delivered."""
    batch_id = post.a_sent_batch("g1")
    post.is_read(a_report(number(1), "g1", "UNDELIV"))

    post.is_read(a_report(number(1), "g1"), a_report(number(2), "g1", "UNDELIV"), a_report(number(2), "g1"))

    assert post.states(batch_id) == ["delivered", "delivered", "accepted", "accepted"]


def test_first_steps_of_all_deliveries_come_before_the_second_steps_of_any(post):
    """The two fail for different reasons and are delivered alike: what is alike is one write, and must not come too early."""
    batch_id = post.a_sent_batch("g1")

    post.is_read(*(a_report(number(n), "g1", told) for n, why in ((1, "UNDELIV"), (2, "EXPIRED")) for told in (why, "DELIVRD")))

    assert post.states(batch_id) == ["delivered", "delivered", "accepted", "accepted"]
    assert sorted(post.told(batch_id)) == [
        (1, 1, "failed", "UNDELIV"),
        (1, 2, "delivered", "DELIVRD"),
        (2, 2, "failed", "EXPIRED"),
    ]


STATUSES = {"DELIVRD": State.DELIVERED, "UNDELIV": State.FAILED, "EXPIRED": State.FAILED}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(st.tuples(st.integers(1, 3), st.sampled_from(sorted(STATUSES))), max_size=12),
    cuts=st.sets(st.integers(1, 11), max_size=4),
)
def test_whatever_the_order_and_the_grouping_each_delivery_ends_where_its_reports_lead(post, said, cuts):
    ref = f"g{random.SystemRandom().getrandbits(60)}"
    batch_id = post.a_sent_batch(ref, size=3)
    expected = [State.ACCEPTED] * 3
    for seq, status in said:
        expected[seq - 1] = follow(expected[seq - 1], STATUSES[status])

    edges = [0, *sorted(cuts), len(said)]
    for start, end in pairwise(edges):
        post.is_read(*(a_report(number(seq), ref, status) for seq, status in said[start:end]))

    assert post.states(batch_id) == expected
    assert {state for state, _ in post.kept()} <= {"worked"} and post.waiting() == 0


@pytest.mark.parametrize("failing", [(), (150,)], ids=["all alike", "one failed"])
def test_reports_that_say_the_same_of_one_batch_are_kept_as_few_runs(post, failing):
    batch_id = post.a_sent_batch("g1", size=300)
    bodies = [a_report(number(n), "g1", "UNDELIV" if n in failing else "DELIVRD") for n in range(1, 301)]
    random.Random(7).shuffle(bodies)

    post.is_read(*bodies)

    runs = sorted(post.told(batch_id))
    if failing:
        assert runs == [(1, 149, "delivered", "DELIVRD"), (150, 150, "failed", "UNDELIV"), (151, 300, "delivered", "DELIVRD")]
    else:
        assert runs == [(1, 300, "delivered", "DELIVRD")]
    assert [n for n, state in enumerate(post.states(batch_id), 1) if state != "delivered"] == list(failing)


# ── before we know ──


def test_a_report_that_overtakes_our_own_commit_settles_the_delivery_after_it(post):
    batch_id = a_batch(post.ledger)
    held = post.claim(batch_id)
    post.is_read(a_report(number(2), "g1"))
    post.gateway.sweep()
    assert post.states(batch_id) == ["sending"] * 4 and post.waiting() == 1 and post.kept() == [("worked", "")]

    accepted(post.ledger, held, "g1", post.now())
    post.gateway.sweep()

    assert post.states(batch_id) == ["accepted", "delivered", "accepted", "accepted"]
    assert post.waiting() == 0 and post.told(batch_id) == [(2, 2, "delivered", "DELIVRD")]


def test_a_report_of_something_unknown_waits_72_hours_and_its_callback_stays_for_good(post):
    post.is_read(a_report(number(2), "g1"))

    post.clock.now += KEPT
    post.gateway.sweep()
    assert post.waiting() == 1
    post.clock.forward(milliseconds=1)
    post.gateway.sweep()

    assert post.waiting() == 0 and post.kept() == [("worked", "")]
    batch_id = post.a_sent_batch("g1")
    post.gateway.sweep()
    assert post.states(batch_id) == ["accepted"] * 4


def test_an_answer_that_is_committed_after_71_hours_still_finds_its_report(post):
    post.is_read(a_report(number(2), "g1", "UNDELIV", code="DB:0140"))
    post.clock.forward(hours=71)

    batch_id = post.a_sent_batch("g1")
    post.gateway.sweep()

    assert post.told(batch_id) == [(2, 2, "failed", "DB:0140")] and post.waiting() == 0


# ── out of doubt ──


@pytest.mark.parametrize("first", ["the doubt", "the report"])
def test_a_report_under_an_unknown_reference_settles_the_doubt_that_its_number_and_time_fit(post, first):
    report = a_report(number(2), "g9", submitted=post.clock())
    if first == "the report":
        post.is_read(report)

    batch_id = post.a_batch_in_doubt()
    post.is_read(*([] if first == "the report" else [report]))
    post.gateway.sweep()

    assert post.states(batch_id) == ["in_doubt", "delivered", "in_doubt", "in_doubt"]
    assert post.told(batch_id) == [(2, 2, "delivered", "DELIVRD")] and post.waiting() == 0


def _before_the_call(post: Post) -> bytes:
    return a_report(number(2), "g9", submitted=post.clock() - timedelta(milliseconds=settling.CLOCK_SKEW, seconds=1))


UNFITTING: dict[str, Callable[[Post], bytes]] = {
    "submitted before the call was started": _before_the_call,
    "another number": lambda post: a_report("+8619400000002", "g9", submitted=post.clock()),
}


@pytest.mark.parametrize("first", ["the doubt", "the report"])
@pytest.mark.parametrize("why", UNFITTING)
def test_a_report_that_does_not_fit_the_doubt_leaves_it(post, why, first):
    report = UNFITTING[why](post)
    if first == "the report":
        post.is_read(report)

    batch_id = post.a_batch_in_doubt()
    post.is_read(*([] if first == "the report" else [report]))
    post.gateway.sweep()

    assert post.states(batch_id) == ["in_doubt"] * 4 and post.waiting() == 1


def test_a_doubt_at_another_peer_is_left(post):
    batch_id = a_batch(post.ledger)
    in_doubt(post.ledger, claim(post.ledger, batch_id, now=post.now(), peer="mas-2"), (1, 2, 3, 4), post.now())

    post.is_read(a_report(number(2), "g9", submitted=post.clock()))
    post.gateway.sweep()

    assert post.states(batch_id) == ["in_doubt"] * 4 and post.waiting() == 1


def test_a_known_reference_never_settles_somebody_elses_doubt(post):
    doubtful = post.a_batch_in_doubt(size=5)
    post.a_sent_batch("g1", size=4)

    post.is_read(a_report(number(5), "g1", submitted=post.clock()))

    assert post.states(doubtful) == ["in_doubt"] * 5


def test_of_two_doubts_of_one_number_a_report_settles_the_one_of_its_time(post):
    first = post.a_batch_in_doubt()
    post.clock.forward(minutes=10)
    second = post.a_batch_in_doubt()

    post.is_read(a_report(number(1), "g8", submitted=post.clock()))

    assert (post.states(first)[0], post.states(second)[0]) == ("in_doubt", "delivered")


def test_two_reports_of_one_number_that_come_at_once_settle_two_doubts(post):
    batches = [post.a_batch_in_doubt() for _ in range(2)]

    post.is_read(a_report(number(1), "g8", submitted=post.clock()), a_report(number(1), "g9", submitted=post.clock()))

    assert [post.states(one)[0] for one in batches] == ["delivered", "delivered"] and post.waiting() == 0


def test_a_report_that_comes_again_does_not_settle_a_second_doubt_of_its_number(post):
    batches = [post.a_batch_in_doubt() for _ in range(2)]
    same = a_report(number(1), "g9", submitted=post.clock())

    post.is_read(same)
    post.is_read(same)

    assert sorted(post.states(one)[0] for one in batches) == ["delivered", "in_doubt"] and post.waiting() == 0


def test_what_came_out_of_doubt_as_failed_is_delivered_when_a_later_report_says_so(post):
    batch_id = post.a_batch_in_doubt()

    post.is_read(a_report(number(1), "g9", "UNDELIV", submitted=post.clock()))
    assert post.states(batch_id)[0] == "failed"
    post.is_read(a_report(number(1), "g9", submitted=post.clock()))

    assert post.states(batch_id)[0] == "delivered" and post.waiting() == 0


@pytest.mark.parametrize("looks", ["in one look", "in two looks"])
def test_the_numbers_of_one_reference_are_found_in_one_batch(post, looks):
    """One reference is one call: a newer doubt of one of its numbers is not a part of it."""
    first, second = post.a_batch_in_doubt(size=2), post.a_batch_in_doubt(size=1)
    bodies = [a_report(number(n), "g9", submitted=post.clock()) for n in (2, 1)]

    for part in [bodies] if looks == "in one look" else [[body] for body in bodies]:
        post.is_read(*part)

    assert (post.states(first), post.states(second)) == (["delivered"] * 2, ["in_doubt"])


def test_while_a_call_to_the_number_is_under_way_a_report_waits_to_see_whose_it_is(post):
    """Reports can overtake our commit: an older doubt must not take what belongs to the call of this moment."""
    doubtful = post.a_batch_in_doubt()
    post.clock.forward(minutes=5)
    current = a_batch(post.ledger)
    held = post.claim(current)

    post.is_read(a_report(number(1), "g2", submitted=post.clock()))
    post.gateway.sweep()
    assert post.states(doubtful)[0] == "in_doubt" and post.waiting() == 1
    accepted(post.ledger, held, "g2", post.now())
    post.gateway.sweep()

    assert (post.states(doubtful)[0], post.states(current)[0]) == ("in_doubt", "delivered") and post.waiting() == 0


def test_a_doubt_is_settled_also_when_the_rest_of_its_batch_was_started_again_much_later(post):
    """The batch's start is that of its last attempt; the doubt may come from an earlier one."""
    submitted = post.clock()
    batch_id = a_batch(post.ledger, received=post.now())
    in_doubt(post.ledger, post.claim(batch_id), (1, 2), post.now())
    post.clock.forward(minutes=30)
    accepted(post.ledger, post.claim(batch_id), "g2", post.now())

    post.is_read(
        a_report(number(1), "g1", submitted=submitted), a_report(number(2), "g0", submitted=submitted - timedelta(hours=1))
    )

    assert post.states(batch_id) == ["delivered", "in_doubt", "accepted", "accepted"]


def test_reports_that_fit_nothing_do_not_keep_the_sweep_from_those_that_do(post):
    """An account that others use too leaves many reports about numbers that are in doubt with us."""
    earlier = post.clock() - timedelta(hours=1)
    post.a_sent_batch("g1")
    stranger = "+8619400000002"
    strange = [a_report(number(1), f"s{n}", submitted=earlier) for n in range(500)] + [a_report(stranger, "g1")] * 500
    post.is_read(*strange, a_report(number(2), "g2", submitted=post.clock()))
    assert post.waiting() == 1001

    batch_id = post.a_batch_in_doubt()
    post.gateway.sweep()

    assert post.states(batch_id) == ["in_doubt", "delivered", "in_doubt", "in_doubt"] and post.waiting() == 1000


# ── when something goes wrong ──


def test_a_delivery_that_changes_between_look_and_write_leaves_the_callback_kept_and_it_is_tried_again(post):
    batch_id = post.a_sent_batch("g1")
    post.brings(a_report(number(1), "g1"), a_report(number(2), "g1"), a_report(number(1), "unknown"))
    write = post.ledger.write

    def after_somebody_else(**options):
        """The inbox's next transaction, a moment after another process has settled one of the two."""
        post.ledger.write = write
        with write() as tx:
            tx.execute(t.delivery.update().where(t.delivery.c.batch_id == batch_id, t.delivery.c.seq == 2).values(state="failed"))
        return write(**options)

    post.ledger.write = after_somebody_else
    with pytest.raises(settling.Moved):
        post.gateway.work_inbox()

    assert post.kept() == [("kept", "")] * 3 and post.waiting() == 0
    assert post.states(batch_id) == ["accepted", "failed", "accepted", "accepted"] and post.told(batch_id) == []
    assert post.gateway.work_inbox() == 3
    assert post.states(batch_id) == ["delivered", "delivered", "accepted", "accepted"]
    assert issubclass(settling.Moved, LedgerUnavailable)  # whoever runs the inbox again and again takes it as "try again"


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"not JSON", b"[" * 100_000, b"1" * 5000, b'{"mobile": "15400000001"}', b"[1]", b"null"]
)
def test_a_callback_that_means_nothing_is_marked_with_the_reason_and_the_others_are_read(post, body):
    batch_id = post.a_sent_batch("g1")

    post.is_read(body, a_report(number(1), "g1"))

    (state, reason), other = post.kept()
    assert state == "bad" and reason and "154" not in reason and other == ("worked", "")
    assert post.states(batch_id)[0] == "delivered"


def test_a_callback_of_a_peer_that_is_no_longer_configured_says_so(post):
    post.brings(a_report(number(1), "g1"), peer="mas-of-last-year")

    assert post.gateway.work_inbox() == 1

    ((state, reason),) = post.kept()
    assert state == "bad" and "mas-of-last-year" in reason


class Broken(Loopback):
    """A channel with a bug of its own."""

    def read(self, callback: Callback) -> list[Report]:
        return [Report(**json.loads(callback.body)["154-0000-0001"])]


def test_a_channel_with_a_bug_does_not_stop_the_inbox_and_tells_no_number(post, caplog):
    far_end = post.gateway.house.peers["mas-1"]
    working, far_end.channel = far_end.channel, Broken(Loopback.Options(file="/dev/null"))
    post.is_read(b"{}")
    far_end.channel = working

    ((state, reason),) = post.kept()
    assert state == "bad" and "KeyError" in reason and "154" not in reason
    assert "KeyError" in caplog.text and "154" not in caplog.text
    batch_id = post.a_sent_batch("g1")
    post.is_read(a_report(number(1), "g1"))
    assert post.states(batch_id)[0] == "delivered"


def test_one_process_reads_the_inbox_at_a_time(post):
    post.brings(a_report(number(1), "g1"))
    assert leases.hold(post.ledger.database, "inbox", "another process", 30)

    assert post.gateway.work_inbox() == 0
    assert post.kept() == [("kept", "")]

    leases.let_go(post.ledger.database, "inbox", "another process")
    assert post.gateway.work_inbox() == 1


def test_a_long_inbox_is_read_oldest_first_in_parts(post):
    batch_id = post.a_sent_batch("g1")
    post.brings(*(a_report(number(n), "g1") for n in (1, 2, 3, 4)))

    assert [post.gateway.work_inbox(limit=3), post.states(batch_id)] == [3, ["delivered"] * 3 + ["accepted"]]
    assert [post.gateway.work_inbox(limit=3), post.states(batch_id)] == [1, ["delivered"] * 4]
    assert post.gateway.work_inbox() == 0


def test_no_number_stands_in_clear_in_what_reports_leave_behind(post):
    post.a_sent_batch("g1")
    post.is_read(
        a_report(number(1), "g1", code="15400000001"), a_report(number(1), "g2", code="to 15400000001"), b"15400000001 ?"
    )

    with post.ledger.read() as tx:
        rows = [tuple(row) for table in (t.inbox, t.report, t.receipt) for row in tx.execute(sa.select(table))]
    assert len(rows) == 3 + 1 + 2
    assert "5400000001" not in repr(rows)
    with post.ledger.read() as tx:
        assert inbox.has_unmatched(tx)
    assert house.HOLD_SECONDS <= 5.0  # that a dead reader keeps the inbox from the next


def test_the_time_of_a_report_is_the_far_ends_and_beijings(post):
    batch_id = post.a_sent_batch("g1")
    body = json.loads(a_report(number(1), "g1")) | {"receiveDate": "20230705050301"}

    post.is_read(json.dumps(body).encode())

    with post.ledger.read() as tx:
        at = tx.execute(
            sa.select(t.receipt.c.at).where(t.receipt.c.batch_id == batch_id, t.receipt.c.origin == "report")
        ).scalar_one()
    assert at == datetime.fromisoformat("2023-07-05T05:03:01+08:00").timestamp() * 1000
