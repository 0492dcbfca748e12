"""The ledger itself: claims, fences, doubts, evidence that stays as it was written."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from broadcast.delivery import Receipt, State
from broadcast.errors import LedgerUnavailable, NotAllowed
from broadcast.ledger import Ledger, Seal, chain, leases, operators, replies, sending, spotchecks
from broadcast.ledger import tables as t
from broadcast.ledger.seal import WrongKey
from broadcast.ledger.sending import Later, Run

from ..ledger_rows import a_batch, claim, states

LATER = Later(rest=5000, decide=9000)


def test_of_many_workers_one_claims_a_batch(ledger):
    batch_id = a_batch(ledger)
    won: list[sending.Held] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        held = claim(ledger, batch_id)
        if held:
            won.append(held)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1 and won[0].fence == 1
    assert states(ledger, batch_id) == ["sending"] * 4


def test_a_whole_batch_answered_alike_is_one_write_and_only_exceptions_are_rows(ledger):
    batch_id = a_batch(ledger)
    held = claim(ledger, batch_id)
    receipts = [Receipt(State.ACCEPTED, ref="g1")] * 3 + [Receipt(State.REJECTED, code="InvalidMobile")]

    with ledger.write() as tx:
        assert sending.answer(tx, ledger.database, held, Run((1, 2, 3, 4), tuple(receipts)), progress=None, later=LATER, now=2000)

    assert states(ledger, batch_id) == ["accepted"] * 3 + ["rejected"]
    with ledger.read() as tx:
        own = tx.execute(sa.select(t.delivery.c.seq, t.delivery.c.state).where(t.delivery.c.state.is_not(None))).all()
        kept = tx.execute(
            sa.select(t.receipt.c.first_seq, t.receipt.c.last_seq, t.receipt.c.state).order_by(t.receipt.c.id)
        ).all()
    assert [tuple(row) for row in own] == [(4, "rejected")]
    assert [tuple(row) for row in kept] == [(1, 3, "accepted"), (4, 4, "rejected")]


def test_a_call_that_its_channel_had_to_split_resends_only_what_was_deferred(ledger):
    batch_id = a_batch(ledger)
    held = claim(ledger, batch_id)
    split = (Receipt(State.ACCEPTED, ref="g1"), Receipt(State.IN_DOUBT), Receipt(State.DEFERRED), Receipt(State.REJECTED))

    with ledger.write() as tx:
        assert sending.answer(tx, ledger.database, held, Run((1, 2, 3, 4), split), progress=None, later=LATER, now=2000)

    assert states(ledger, batch_id) == ["accepted", "in_doubt", "deferred", "rejected"]
    assert claim(ledger, batch_id, now=4999) is None
    assert [piece.seq for piece in claim(ledger, batch_id, now=5000).pieces] == [3]


def test_a_doubt_beside_accepted_deliveries_resends_only_what_was_in_doubt(ledger):
    batch_id = a_batch(ledger)
    held = claim(ledger, batch_id)
    split = (
        Receipt(State.ACCEPTED, ref="g1"),
        Receipt(State.ACCEPTED, ref="g1"),
        Receipt(State.IN_DOUBT),
        Receipt(State.ACCEPTED, ref="g1"),
    )
    with ledger.write() as tx:
        assert sending.answer(tx, ledger.database, held, Run((1, 2, 3, 4), split), progress=None, later=LATER, now=2000)
        sending.decided_doubts(tx, LATER.decide)

    assert states(ledger, batch_id) == ["accepted", "accepted", "deferred", "accepted"]
    assert [piece.seq for piece in claim(ledger, batch_id, now=LATER.decide).pieces] == [3]


def test_a_doubt_is_not_decided_while_a_worker_holds_the_rest_of_its_batch(ledger):
    batch_id = a_batch(ledger)
    held = claim(ledger, batch_id, per_call=2)
    with ledger.write() as tx:
        sending.doubt(tx, batch_id, held.fence, [1, 2], "no answer", deduplicates=False, later=Later(2000, 3000), now=1500)
    again = claim(ledger, batch_id, now=2000)
    with ledger.write() as tx:
        assert sending.decided_doubts(tx, 4000) == 0
        run = Run((3, 4), (Receipt(State.ACCEPTED, ref="g2"),) * 2)
        assert sending.answer(tx, ledger.database, again, run, progress=None, later=LATER, now=4100)
    assert states(ledger, batch_id) == ["in_doubt", "in_doubt", "accepted", "accepted"]

    with ledger.write() as tx:
        assert sending.decided_doubts(tx, 4200) == 1
    assert [piece.seq for piece in claim(ledger, batch_id, now=4200).pieces] == [1, 2]


def test_an_answer_with_an_old_fence_is_an_entry_and_changes_no_state(ledger):
    batch_id = a_batch(ledger)
    held = claim(ledger, batch_id)
    with ledger.write() as tx:
        tx.execute(t.batch.update().where(t.batch.c.id == batch_id).values(lease=0))
        row = sending.expired_leases(tx, ledger.database)[0]
        sending.doubt(
            tx,
            row.id,
            row.fence,
            sending.started(tx, row),
            "its worker died",
            deduplicates=False,
            later=Later(2000, 9000),
            now=2000,
        )

    with ledger.write() as tx:
        late = Run((1, 2, 3, 4), tuple([Receipt(State.ACCEPTED, ref="g1")] * 4))
        assert not sending.answer(tx, ledger.database, held, late, progress=None, later=LATER, now=3000)

    assert states(ledger, batch_id) == ["in_doubt"] * 4
    with ledger.read() as tx:
        kinds = tx.execute(sa.select(t.entry.c.kind).where(t.entry.c.chain == chain.of_alert(held.alert_id))).scalars().all()
    assert "answer.too_late" in kinds


def test_a_worker_that_dies_between_two_calls_leaves_one_call_in_doubt_and_the_rest_due(ledger):
    batch_id = a_batch(ledger, size=6)
    held = claim(ledger, batch_id, per_call=2)
    with ledger.write() as tx:
        accepted = Run((1, 2), (Receipt(State.ACCEPTED, ref="a"), Receipt(State.ACCEPTED, ref="b")))
        assert sending.answer(tx, ledger.database, held, accepted, progress=4, later=LATER, now=1500)
        tx.execute(t.batch.update().where(t.batch.c.id == batch_id).values(lease=0))
    with ledger.write() as tx:
        row = sending.expired_leases(tx, ledger.database)[0]
        sending.doubt(
            tx,
            row.id,
            row.fence,
            sending.started(tx, row),
            "its worker died",
            deduplicates=False,
            later=Later(2000, 9000),
            now=2000,
        )

    assert states(ledger, batch_id) == ["accepted", "accepted", "in_doubt", "in_doubt", "deferred", "deferred"]
    again = claim(ledger, batch_id, now=2000)
    assert [piece.seq for piece in again.pieces] == [5, 6]


@pytest.mark.parametrize(("policy", "after"), [("resend", "deferred"), ("hold", "in_doubt")])
def test_a_doubt_that_no_report_settles_is_decided_by_the_plan(ledger, policy, after):
    batch_id = a_batch(ledger, doubt=policy)
    held = claim(ledger, batch_id)
    with ledger.write() as tx:
        sending.doubt(tx, batch_id, held.fence, [1, 2, 3, 4], "no answer", deduplicates=False, later=Later(2000, 9000), now=2000)
        assert sending.decided_doubts(tx, 8999) == 0
        assert sending.decided_doubts(tx, 9000) == 1
        assert sending.decided_doubts(tx, 9001) == 0

    assert states(ledger, batch_id) == [after] * 4
    assert (claim(ledger, batch_id, now=9000) is not None) == (policy == "resend")


@pytest.mark.parametrize(("alert_state", "after"), [("active", "deferred"), ("cancelled", "in_doubt")])
def test_what_may_have_left_on_a_channel_that_deduplicates_is_due_again_unless_the_alert_is_over(ledger, alert_state, after):
    batch_id = a_batch(ledger)
    held = claim(ledger, batch_id)
    with ledger.write() as tx:
        tx.execute(t.alert.update().where(t.alert.c.id == held.alert_id).values(state=alert_state))
        sending.doubt(tx, batch_id, held.fence, [1, 2, 3, 4], "no answer", deduplicates=True, later=LATER, now=2000)

    assert states(ledger, batch_id) == [after] * 4


def test_a_batch_is_doubled_out_of_doubt_once_and_then_left(ledger):
    batch_id = a_batch(ledger)
    for now in (1000, 10_000):
        held = claim(ledger, batch_id, now=now)
        with ledger.write() as tx:
            sending.doubt(
                tx, batch_id, held.fence, [1, 2, 3, 4], "no answer", deduplicates=False, later=Later(now, now + 100), now=now
            )
            sending.decided_doubts(tx, now + 100)

    assert states(ledger, batch_id) == ["in_doubt"] * 4


def test_what_is_deferred_when_its_alert_is_over_is_cancelled(ledger):
    batch_id = a_batch(ledger)
    held = claim(ledger, batch_id)
    with ledger.write() as tx:
        tx.execute(t.alert.update().where(t.alert.c.id == held.alert_id).values(state="cancelled"))
        sending.defer(tx, held, "HTTP 503", 2000, 1500)

    assert states(ledger, batch_id) == ["cancelled"] * 4


def test_a_peer_that_fails_five_times_is_left_alone_for_a_while(ledger):
    batch_id = a_batch(ledger)
    with ledger.write() as tx:
        for n in range(leases.OPEN_AFTER):
            leases.failed(tx, "p", "refused", 1000 + n)

    assert claim(ledger, batch_id, now=2000) is None
    assert claim(ledger, batch_id, now=2000 + leases.OPEN_SECONDS * 1000) is not None


def test_a_lease_is_held_by_one_and_taken_over_when_it_runs_out(ledger):
    assert leases.hold(ledger.database, "sweep", "a", 30)
    assert not leases.hold(ledger.database, "sweep", "b", 30)
    assert leases.hold(ledger.database, "sweep", "a", 30)
    leases.let_go(ledger.database, "sweep", "a")
    assert leases.hold(ledger.database, "sweep", "b", 30)


@pytest.mark.parametrize("table", t.EVIDENCE)
@pytest.mark.parametrize("change", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}"])
def test_evidence_can_only_be_added(ledger, table, change):
    column = next(iter(t.metadata.tables[table].columns)).name
    with ledger.write() as tx:
        chain.append(tx, chain.HOUSE, "test", 1, {"a": 1})
    _one_row_each(ledger)

    with pytest.raises(sa.exc.DBAPIError, match="evidence"), ledger.write() as tx:
        tx.exec_driver_sql(change.format(table, column))


def _one_row_each(ledger: Ledger) -> None:
    batch_id = a_batch(ledger)
    with ledger.write() as tx:
        run = Run((1,), (Receipt(State.ACCEPTED),))
        sending.write_receipts(tx, 1, batch_id, run, origin="answer", peer="p", fence=1, attempt=1, now=1)
        tx.execute(t.alert_raw.insert().values(alert_id=batch_id, raw=b"x"))
        tx.execute(t.asked.insert().values(callout_id=1, post_id=1, rung="deputy", at=1))
        tx.execute(t.called.insert().values(callout_id=1, batch_id=1, seq=1, post_id=1, rung="deputy", at=1))
        tx.execute(t.refused.insert().values(received=1, source="", sha256="", size=1, raw=b"x", reason="r"))
        replies.take(tx, replies.Told("other", "sms", "p", b"", None, address=b"nobody's"), 1)
        _one_spot_check(tx)


def _one_spot_check(tx) -> None:
    values = {
        "at": 1, "who": "测试值班员", "alert_id": None, "region": "", "roles": "[]", "strata": "none", "size": 1, "seed": 1, "frame": "",
        "frame_size": 1, "sha256": "", "version": "1", "questions": "",
    }  # fmt: skip
    person = {"n": 1, "reason": "", "person_id": 1, "post_id": 1, "role": "VILLAGE_HEAD", "region": "330521", "town": "330521"}
    number = spotchecks.put(tx, values, [person])
    said = spotchecks.Said(1, 1, 1, "refused", {}, b"x", "phone", 1, None)
    spotchecks.take(tx, spotchecks.find(tx, number), [said], 1, "测试值班员")


def test_migrations_and_tables_agree(ledger):
    with ledger.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx), t.metadata) == []


def test_a_missing_table_is_said_in_words_on_both_databases(ledger):
    with ledger.write() as tx:
        tx.exec_driver_sql("DROP TABLE callout")
    with pytest.raises(LedgerUnavailable, match="broadcast init"), ledger.read() as tx:
        tx.execute(sa.select(t.callout.c.id))


def test_a_sealed_address_opens_with_its_key_only(tmp_path):
    for name in "ab":
        Seal.make(tmp_path / name)
    one, other = Seal.from_file(tmp_path / "a"), Seal.from_file(tmp_path / "b")

    assert one.seal("+8615400000001") == one.seal("+8615400000001") and b"154" not in one.seal("+8615400000001")
    assert one.open(one.seal("+8615400000001")) == "+8615400000001"
    assert one.seal_body(b"x") != one.seal_body(b"x")
    assert [one.open_body(one.seal_body(body)) for body in (b"", b"\0", b"x" * 1000)] == [b"", b"\0", b"x" * 1000]
    with pytest.raises(WrongKey):
        other.open(one.seal("+8615400000001"))
    with pytest.raises(FileExistsError):
        Seal.make(tmp_path / "a")


def test_a_wrong_pin_is_refused_and_five_lock_the_operator_for_a_minute(ledger):
    with ledger.write() as tx:
        operators.add(tx, "测试值班员", ["DUTY_OFFICER"], "135790", 0, "测")
        for now in range(operators.LOCK_AFTER):
            assert operators.check(tx, "测试值班员", "000000", now) is None
        with pytest.raises(NotAllowed, match="wait"):
            operators.check(tx, "测试值班员", "135790", 100)
        assert operators.check(tx, "测试值班员", "135790", 100_000).roles == {"DUTY_OFFICER"}
        assert operators.check(tx, "nobody", "135790", 100_000) is None
        kept = tx.execute(sa.select(t.operator.c.pin)).scalar_one()
    assert "135790" not in kept


def test_a_ledger_that_cannot_be_opened_says_what_to_do(tmp_path):
    Seal.make(tmp_path / "k")
    nowhere = Ledger(f"sqlite:///{tmp_path / 'no' / 'ledger.db'}", Seal.from_file(tmp_path / "k"))
    with pytest.raises(LedgerUnavailable, match="cannot be opened"), nowhere.read():
        pass
    empty = Ledger(f"sqlite:///{tmp_path / 'empty.db'}", Seal.from_file(tmp_path / "k"))
    with pytest.raises(LedgerUnavailable, match="broadcast init"), empty.read() as tx:
        tx.execute(sa.select(t.alert.c.id))
    (tmp_path / "odd.db").write_bytes(b"this is not a database at all" * 100)
    odd = Ledger(f"sqlite:///{tmp_path / 'odd.db'}", Seal.from_file(tmp_path / "k"))
    with pytest.raises(LedgerUnavailable, match="not a database"), odd.read() as tx:
        tx.execute(sa.select(t.alert.c.id))
    far = Ledger("postgresql://somebody:secret@127.0.0.1:1/none", Seal.from_file(tmp_path / "k"))
    with pytest.raises(LedgerUnavailable) as told, far.read():
        pass
    assert "secret" not in str(told.value)
