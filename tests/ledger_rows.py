"""Batches written straight into a ledger, for stories that begin where planning has ended."""

from __future__ import annotations

from itertools import count

import sqlalchemy as sa

from broadcast.delivery import Receipt, State
from broadcast.ledger import Ledger, sending
from broadcast.ledger import tables as t
from broadcast.ledger.sending import Held, Later, Run

_NUMBERS = count(1)


def a_batch(
    ledger: Ledger, size: int = 4, *, doubt: str = "resend", state: str = "active", expires: int = 10**13, received: int = 0
) -> int:
    """A planned SMS batch of an alert of its own, to the numbers +8615400000001 and following."""
    with ledger.write() as tx:
        alert_id = tx.execute(
            t.alert.insert()
            .values(
                event_key="e", sender="测试", identifier=f"测试_{next(_NUMBERS)}", sender_code="", source="", form="json",
                msg_type="Alert", status="Actual", scope="Public", event_code="", event="", level="red", headline="", issuer="", sent=0,
                received=received, expires=expires, state=state, stand_down=False, sha256="", doubt=doubt, drafted_by="", understood="{}",
            )
            .returning(t.alert.c.id)
        ).scalar_one()  # fmt: skip
        wording_id = tx.execute(
            t.wording.insert()
            .values(alert_id=alert_id, channel="sms", audience="post", purpose="alarm", language="zh", text="测", units=1, template="", notes="[]")
            .returning(t.wording.c.id)
        ).scalar_one()  # fmt: skip
        batch_id = tx.execute(
            t.batch.insert()
            .values(
                alert_id=alert_id, rule_id=1, channel="sms", lane="alarm", purpose="alarm", wording_id=wording_id, size=size, state="planned", due=0
            )
            .returning(t.batch.c.id)
        ).scalar_one()  # fmt: skip
        rows = [
            {
                "batch_id": batch_id, "seq": n, "alert_id": alert_id, "channel": "sms", "purpose": "alarm", "region": "330521",
                "address_id": an_address(ledger, tx, number(n)), "synthetic": True,
            }
            for n in range(1, size + 1)
        ]  # fmt: skip
        tx.execute(t.delivery.insert(), rows)
    return batch_id


def number(seq: int) -> str:
    """The address of a batch's delivery `seq`."""
    return f"+8615400000{seq:03d}"


def an_address(ledger: Ledger, tx, address: str) -> int:
    sealed = ledger.seal.seal(address)
    found = tx.execute(sa.select(t.address.c.id).where(t.address.c.sealed == sealed)).scalar()
    return found or tx.execute(t.address.insert().values(sealed=sealed).returning(t.address.c.id)).scalar_one()


def claim(ledger: Ledger, batch_id: int, now: int = 1000, per_call: int = 1000, peer: str = "p") -> Held | None:
    with ledger.write() as tx:
        found = sending.owed(tx, batch_id, now)
        if found is None:
            return None
        return sending.claim(ledger.database, tx, *found, peer=peer, holder="w", per_call=per_call, now=now)


def accepted(ledger: Ledger, held: Held, ref: str, now: int = 2000) -> None:
    """The provider takes all of a claimed batch in one call."""
    seqs = tuple(piece.seq for piece in held.pieces)
    run = Run(seqs, tuple(Receipt(State.ACCEPTED, ref=ref) for _ in seqs))
    with ledger.write() as tx:
        assert sending.answer(tx, ledger.database, held, run, progress=None, later=Later(now, now), now=now)


def in_doubt(ledger: Ledger, held: Held, seqs: tuple[int, ...], now: int = 2000) -> None:
    """No answer came for these deliveries of a claimed batch; the others are due again at once. Nobody decides the doubt."""
    with ledger.write() as tx:
        later = Later(rest=now, decide=10**13)
        sending.doubt(tx, held.batch_id, held.fence, seqs, "no answer", deduplicates=False, later=later, now=now)


def states(ledger: Ledger, batch_id: int) -> list[str]:
    """The state of each delivery of a batch, by seq."""
    with ledger.read() as tx:
        rows = tx.execute(
            sa.select(sa.func.coalesce(t.delivery.c.state, t.batch.c.state))
            .join(t.batch, t.batch.c.id == t.delivery.c.batch_id)
            .where(t.batch.c.id == batch_id)
            .order_by(t.delivery.c.seq)
        )
        return list(rows.scalars())
