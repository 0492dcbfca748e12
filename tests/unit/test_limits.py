"""The limits of far ends: one number for each call, one turn for each pause, and no call that a callee's budget does not allow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.channels import open_peer
from broadcast.gateway import delivering, open_ways
from broadcast.ledger import leases, limits, sending
from broadcast.ledger import tables as t
from broadcast.ledger.limits import Allowance

from ..ledger_rows import a_batch, claim
from .stories import warning

DAY = 24 * 3600 * 1000


def at_once(n: int, work: Callable[[int], object]) -> list[object]:
    """What `n` threads got who began together."""
    got: list[object] = []
    start = threading.Barrier(n)

    def run(which: int) -> None:
        start.wait()
        got.append(work(which))

    threads = [threading.Thread(target=run, args=(which,)) for which in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_calls_that_are_numbered_at_once_get_numbers_of_their_own(ledger):
    def number(which: int) -> int:
        with ledger.write() as tx:
            return limits.number(tx, "p", which, [1, 2], DAY).n

    assert sorted(at_once(8, number)) == list(range(1, 9))


def test_two_workers_of_one_call_get_one_number_and_every_attempt_the_same(ledger):
    def number(_which: int) -> int:
        with ledger.write() as tx:
            return limits.number(tx, "p", 7, [1, 2], DAY).n

    assert set(at_once(4, number)) == {1}
    with ledger.write() as tx:
        assert limits.number(tx, "p", 7, [1, 2], 3 * DAY) == limits.number(tx, "p", 7, [1], DAY)
        assert limits.number(tx, "p", 8, [1], DAY).n == 2
        assert limits.number(tx, "p", 8, [2], 2 * DAY).n == 1  # another day counts from one
        assert limits.number(tx, "q", 7, [1], DAY).n == 1  # and another far end


def test_when_the_days_numbers_are_used_up_the_next_is_refused_and_tomorrow_counts_again(ledger):
    with ledger.write() as tx:
        day = limits.number(tx, "p", 1, [1], DAY).day.isoformat()
        values = {"peer": "p", "day": day, "n": limits.LAST_NUMBER, "batch_id": 2, "first_seq": 1, "last_seq": 1, "at": DAY}
        tx.execute(t.call_number.insert().values(**values))
        with pytest.raises(OverflowError):
            limits.number(tx, "p", 3, [1], DAY)
        assert limits.number(tx, "p", 3, [1], 2 * DAY).n == 1


def test_of_workers_that_want_a_turn_at_once_one_gets_it(ledger):
    def take(_which: int) -> bool:
        with ledger.write() as tx:
            return limits.take_turn(tx, "p", 600, 1000)

    assert sorted(at_once(8, take)) == [False] * 7 + [True]
    with ledger.write() as tx:
        assert not limits.take_turn(tx, "p", 600, 600_999)
        limits.give_turn_back(tx, "p")
        assert limits.take_turn(tx, "p", 600, 2000)
        assert limits.pauses(tx, ["p", "q"], 2000).keys() == {"p"}
        assert limits.pauses(tx, ["p", "q"], 602_000) == {}


def test_a_turn_whose_batch_somebody_else_had_is_not_used_up(sqlite_story):
    story = sqlite_story
    sent = a_notice(story, "http://127.0.0.1:9")
    far_end = story.gateway.house.ways["zwdd"].far_ends[0]
    with story.gateway.ledger.write() as tx:
        for _ in range(leases.OPEN_AFTER):
            leases.failed(tx, far_end.peer.name, "refused", story.gateway.house.now())
        rows = tx.execute(sa.select(t.batch).where(t.batch.c.alert_id == sent.alert_id, t.batch.c.channel == "zwdd")).all()
        row, owed = sending.owed(tx, rows[0].id, story.gateway.house.now())
        assert delivering._may_call(tx, far_end, story.gateway.house.now())
        assert delivering._claim(story.gateway.house, tx, far_end, row, owed, False, story.gateway.house.now()) is None
        assert tx.execute(sa.select(t.gap.c.free_at)).scalars().all() == [0]


def a_notice(story, url: str):
    options = {"url": url, "app_key": "k", "app_secret": "s", "tenant_id": "1", "read_seconds": 1.0}
    peer = open_peer(name="notice-1", channel="zwdd", protocol="zwdd-notice", simulated=True, options=options)
    story.gateway.house.ways = {**story.gateway.house.ways, **open_ways([peer])}
    return story.gateway.submit(story.gateway.read(warning(story, severity="Moderate")))


# --- the budget of a callee

_ADDRESSES = count(1)
moments = st.integers(0, 200).map(lambda tenth: tenth * 10_000)


def may_call(calls: list[int], allowances: list[Allowance], now: int) -> bool:
    """The rule as the provider has it: in no window that ends now are there too many."""
    return all(len([at for at in calls if now - one.milliseconds < at <= now]) < one.calls for one in allowances)


def slowly(calls: list[int], allowances: list[Allowance], now: int) -> int:
    """From when a call is allowed if none is made until then: tried at each moment when something leaves a window."""
    moments = sorted({now, *(at + one.milliseconds for at in calls for one in allowances)})
    return next(moment for moment in moments if moment >= now and may_call(calls, allowances, moment))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(moments, max_size=12),
    allowances=st.lists(
        st.builds(Allowance, st.integers(1, 5), st.sampled_from([60_000, 300_000, 3_600_000])), min_size=1, max_size=3
    ),
    later=moments,
)
def test_from_when_somebody_may_be_called_is_what_counting_says(ledger, calls, allowances, later):
    now = max([*calls, later])
    mine, other = next(_ADDRESSES), next(_ADDRESSES)
    with ledger.write() as tx:
        for at in calls:
            limits.spend(tx, "p", [mine], at)
            limits.spend(tx, "q", [mine, other], at)  # another far end counts for itself
        until = limits.free_from(tx, "p", [mine, other], allowances, now)
    wanted = slowly(calls, allowances, now)
    assert until == ({mine: wanted} if wanted > now else {})


def vms(url: str = "http://127.0.0.1:9"):
    options = {
        "url": url, "access_key_id": "k", "access_key_secret": "s", "caller": "15400000000", "start_code": "a", "confirmed_code": "b",
        "read_seconds": 1.0,
    }  # fmt: skip
    return open_peer(name="vms-1", channel="voice", protocol="vms", simulated=True, options=options)


def test_calls_that_certainly_did_not_leave_cost_nobody_anything(sqlite_story):
    story = sqlite_story
    story.gateway.house.ways = {**story.gateway.house.ways, **open_ways([vms()])}
    story.gateway.submit(story.gateway.read(warning(story, area="测试村", codes=("330521115201",))))
    for _ in range(2):  # one call a minute is allowed
        story.work()
        story.clock.forward(seconds=30)
    with story.gateway.ledger.read() as tx:
        tried = tx.execute(sa.select(sa.func.max(t.batch.c.attempt)).where(t.batch.c.channel == "voice")).scalar_one()
        assert tried >= 2
        assert tx.execute(sa.select(sa.func.count()).select_from(t.dialled)).scalar_one() == 0


def test_a_deferred_reservation_never_outlives_its_claim(ledger):
    """Another alert's worker spends the same budget between our claim and our call."""
    held = claim(ledger, a_batch(ledger, 2), peer="p")
    addresses = [piece.address_id for piece in held.pieces]
    with ledger.write() as tx:
        limits.spend(tx, "p", addresses, 1_000)
        limits.spend(tx, "p", addresses[:1], 2_000)
        limits.give_back(tx, "p", addresses, 1_000)
        assert limits.free_from(tx, "p", addresses, [Allowance(1, 60_000)], 3_000) == {addresses[0]: 62_000}
