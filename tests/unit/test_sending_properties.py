"""Whatever happens to a batch, in whatever order: nobody who was answered for is sent to again."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.delivery import Receipt, State
from broadcast.ledger import Ledger, Seal, sending
from broadcast.ledger import tables as t
from broadcast.ledger.sending import Later, Run
from tests.ledger_rows import a_batch, claim, states

SIZE = 6
ANSWERS = st.lists(
    st.sampled_from([State.ACCEPTED, State.REJECTED, State.IN_DOUBT, State.DEFERRED]), min_size=SIZE, max_size=SIZE
)
STEPS = st.one_of(
    st.tuples(st.just("answer"), st.integers(1, SIZE), ANSWERS),
    st.tuples(st.just("doubt"), st.integers(1, SIZE), st.booleans()),
    st.tuples(st.just("defer")),
    st.tuples(st.just("die"), st.integers(1, SIZE), st.booleans()),
    st.tuples(st.just("decide while held")),
)
SETTLED = {State.ACCEPTED, State.REJECTED}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("sending")
    Seal.make(folder / "seal.key")
    made = Ledger(f"sqlite:///{folder / 'ledger.db'}", Seal.from_file(folder / "seal.key"))
    made.migrate()
    yield made
    made.close()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(STEPS, st.booleans()), max_size=8))
def test_nobody_who_was_answered_for_is_sent_to_again(ledger, steps):
    batch_id = a_batch(ledger, size=SIZE)
    answered: dict[int, State] = {}
    clock = count(1000, 10_000)
    for step, decide in steps:
        now = next(clock)
        if decide:
            with ledger.write() as tx:
                sending.decided_doubts(tx, now)
        held = claim(ledger, batch_id, now=now, per_call=step[1] if len(step) > 1 else SIZE)
        if held is None:
            break
        assert not answered.keys() & {piece.seq for piece in held.pieces}
        _do(ledger, held, step, answered, now)
        became = states(ledger, batch_id)
        assert {seq: State(became[seq - 1]) for seq in answered} == answered
    with ledger.write() as tx:
        sending.decided_doubts(tx, next(clock))
    became = states(ledger, batch_id)
    assert {seq: State(became[seq - 1]) for seq in answered} == answered


def _do(ledger: Ledger, held, step, answered: dict[int, State], now: int) -> None:
    later = Later(rest=now + 1000, decide=now + 5000)
    seqs = [piece.seq for piece in held.pieces]
    with ledger.write() as tx:
        if step[0] == "defer":
            sending.defer(tx, held, "HTTP 503", later.rest, now)
        elif step[0] == "doubt":
            sending.doubt(tx, held.batch_id, held.fence, seqs[: step[1]], "no answer", deduplicates=step[2], later=later, now=now)
        elif step[0] == "die":
            tx.execute(t.batch.update().where(t.batch.c.id == held.batch_id).values(lease=0))
            row = next(row for row in sending.expired_leases(tx, ledger.database, limit=1000) if row.id == held.batch_id)
            sending.doubt(tx, row.id, row.fence, sending.started(tx, row), "died", deduplicates=step[2], later=later, now=now)
        elif step[0] == "decide while held":
            sending.decided_doubts(tx, now + 9000)
            _answer(tx, ledger, held, seqs, [State.ACCEPTED] * SIZE, None, later, answered, now)
        else:
            first, rest = seqs[: step[1]], seqs[step[1] :]
            if _answer(tx, ledger, held, first, step[2], rest[-1] if rest else None, later, answered, now) and rest:
                _answer(tx, ledger, held, rest, step[2], None, later, answered, now)


def _answer(tx, ledger, held, seqs, given_states, progress, later, answered, now) -> bool:
    receipts = tuple(Receipt(state, ref="g") for state in given_states[: len(seqs)])
    goes_on = sending.answer(tx, ledger.database, held, Run(tuple(seqs), receipts), progress=progress, later=later, now=now)
    answered.update({seq: receipt.state for seq, receipt in zip(seqs, receipts, strict=True) if receipt.state in SETTLED})
    return goes_on
