"""A small ledger with some of everything that is evidence, and ways to lay hands on it."""

from __future__ import annotations

import sqlalchemy as sa

from broadcast.delivery import Receipt, State
from broadcast.ledger import (
    Ledger,
    alerts,
    anchors,
    callouts,
    chain,
    covering,
    people,
    proof,
    replies,
    sending,
    spotchecks,
    verifying,
)
from broadcast.ledger import tables as t
from broadcast.ledger.callouts import Calling, Climbing
from broadcast.ledger.replies import Told
from broadcast.ledger.sending import Later, Run
from broadcast.ledger.verifying import Verdict
from broadcast.tiers.roster import Person, Post, Resident

REGION = "330521115201"
PERSONS = 4


def number(n: int) -> str:
    return f"+8615400000{n:03d}"


def a_small_ledger(ledger: Ledger) -> int:
    """One alert that went out by voice and by SMS, was answered, climbed its ladder, and is over; returns its number."""
    persons = [Person(f"P{n}", f"测{n}", True, number(n), "") for n in range(PERSONS)]
    posts = [Post(f"P{n}", "VILLAGE_HEAD", REGION, "A" if n < PERSONS - 1 else "B") for n in range(PERSONS)]
    people.replace(ledger.database, ledger.seal, persons, posts, [], iter(()), who="测", now=1)
    with ledger.write() as tx:
        for n in range(2):
            alerts.refuse(tx, b"<x/>", 4, "00", f"no such thing {n}", "s", 2 + n)
    alert_id, made = _alert(ledger)
    for one in made[:-1]:  # the last batch never leaves
        _send(ledger, one.batch_id)
    _answers(ledger, alert_id, made[0].batch_id)
    _climb(ledger, alert_id)
    _spot_checks(ledger, alert_id)
    with ledger.write() as tx:
        alerts.close_expired(tx, 10**13)
    cover(ledger)
    return alert_id


def _spot_checks(ledger: Ledger, alert_id: int) -> None:
    """Two draws, the second set against no alert; two persons of the first answered."""
    for about in (alert_id, None):
        values = {
            "at": 600, "who": "测", "alert_id": about, "region": "", "roles": "[]", "strata": "town", "size": 2, "seed": 7,
            "frame": "P0\nP1", "frame_size": 2, "sha256": "00", "version": "v", "questions": "version = 'v'",
        }  # fmt: skip
        with ledger.write() as tx:
            people_ = tx.execute(sa.select(t.post.c.person_id, t.post.c.id, t.post.c.role, t.post.c.region).limit(2)).all()
            rows = [
                {"n": n, "reason": "", "person_id": row.person_id, "post_id": row.id, "role": row.role, "region": row.region, "town": "330521115"}
                for n, row in enumerate(people_, 1)
            ]  # fmt: skip
            number = spotchecks.put(tx, values, rows)
    with ledger.write() as tx:
        check = spotchecks.find(tx, number - 1)
        those = tx.execute(sa.select(t.drawn.c.id, t.drawn.c.n).where(t.drawn.c.spotcheck_id == check.id)).all()
        said = [
            spotchecks.Said(row.n, row.id, 1, "answered", {"1": "yes"}, ledger.seal.seal(f"测 note {row.n}"), "phone", 610, None)
            for row in those
        ]
        spotchecks.take(tx, check, said, 620, "测")


def _alert(ledger: Ledger):
    values = {
        "event_key": "e", "sender": "测试", "identifier": "1", "sender_code": "", "source": "s", "form": "json", "msg_type": "Alert",
        "status": "Actual", "scope": "Public", "event_code": "11B03", "event": "暴雨", "level": "red", "headline": "h", "issuer": "i", "sent": 5,
        "received": 6, "expires": 10**12, "state": "waiting", "reason": "", "stand_down": False,
        "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", "doubt": "hold", "drafted_by": "测", "approve_by": None,
        "to_review": False, "understood": "{}",
    }  # fmt: skip
    words = [
        {
            "channel": channel,
            "audience": "post",
            "purpose": "alarm",
            "language": "zh",
            "text": "测",
            "units": 1,
            "template": "",
            "notes": "[]",
        }
        for channel in ("voice", "sms")
    ]
    rules = [
        {
            "tier": "village", "roles": '["VILLAGE_HEAD"]', "ranks": '["A", "B"]', "channel": channel, "from_channel": "", "lane": "alarm",
            "audience": "post", "selection": "posts", "first": None, "purpose": "alarm", "within": 90, "answer_within": 300,
            "approvers": "[]", "state": "owed", "batch_size": 3, "otherwise": "[]", "gathers": False,
        }
        for channel in ("voice", "sms")
    ]  # fmt: skip
    with ledger.write() as tx:
        alert_id, _ = alerts.record(tx, alerts.NewAlert(values, b"x", {REGION: True}, words, rules), 6, "测")
        alerts.activate(tx, alert_id, 7)
        return alert_id, alerts.plan_owed(tx, alert_id, 7)


def _send(ledger: Ledger, batch_id: int) -> None:
    with ledger.write() as tx:
        held = sending.claim(ledger.database, tx, *sending.owed(tx, batch_id, 100), peer="p", holder="w", per_call=9, now=100)
    seqs = tuple(piece.seq for piece in held.pieces)
    receipts = tuple(Receipt(State.ACCEPTED if n else State.REJECTED, f"c{n}", "d", f"r{n}") for n in range(len(seqs)))
    with ledger.write() as tx:
        sending.answer(tx, ledger.database, held, Run(seqs, receipts), progress=None, later=Later(1, 1), now=200)


def _answers(ledger: Ledger, alert_id: int, batch_id: int) -> None:
    seal = ledger.seal.seal
    with ledger.write() as tx:
        replies.take(tx, Told("acknowledged", "voice", "p", seal("1"), 300, (batch_id, 2), address=seal(number(1))), 301)
        replies.take(tx, Told("other", "sms", "p", seal("谁?"), 300, address=seal("+8619400000009"), ref="q"), 302)


def _climb(ledger: Ledger, alert_id: int) -> None:
    with ledger.write() as tx:
        rows = [row for row in callouts.listed(tx, alert_id, silent=True) if row.duty == "acknowledge"][:2]
        deputy = tx.execute(sa.select(t.post.c.id).where(t.post.c.rank == "B")).scalar_one()
        callouts.climb(tx, [Climbing(row, "deputy", (deputy,), False, "silent") for row in rows], 400)
    with ledger.write() as tx:
        rows = [row for row in callouts.listed(tx, alert_id, silent=True) if row.step == "deputy"]
        callouts.call(tx, alert_id, [Calling(row, "deputy", 1) for row in rows], 60, 500)


def cover(ledger: Ledger) -> None:
    """What the sweep does with alerts that are over."""
    while True:
        with ledger.write() as tx:
            alert_id = covering.next_alert(tx)
            if alert_id is None:
                return
            covering.cover_next(tx, alert_id, 10**13)


def an_anchor(ledger: Ledger) -> anchors.Anchor:
    with ledger.write() as tx:
        return anchors.make(tx, ledger.mark, ledger.seal.key_for("anchors"), "day", 10**13)


def residents(ledger: Ledger, numbers: list[str]) -> None:
    """The roster again, with residents that have these numbers."""
    people.replace(
        ledger.database, ledger.seal, [], [], [], iter([Resident(REGION, "1", one, True) for one in numbers]), who="测", now=9
    )


# ── hands ──


def unguarded(tx) -> None:
    """Whoever owns the database can take the triggers away."""
    for table in (*t.EVIDENCE, "delivery"):
        if tx.dialect.name == "sqlite":
            for action in ("update", "delete"):
                tx.exec_driver_sql(f"DROP TRIGGER guard_{table}_{action}")
        else:
            tx.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")


def look(ledger: Ledger, tx, anchor: anchors.Anchor | None = None) -> Verdict:
    return verifying.verify(tx, ledger.seal, ledger.mark, anchor=anchor)


def another(column: sa.Column, value):
    """A value that this column could have, and has not."""
    if isinstance(column.type, sa.Boolean):
        return not value
    if isinstance(column.type, sa.Integer | sa.BigInteger):
        return 7777 if value is None else value + 7777
    if isinstance(column.type, sa.LargeBinary):
        return b"x" if not value else bytes(value[:-1]) + bytes([value[-1] ^ 1])
    return "x" if value is None else f"{value}x"


def written_anew(ledger: Ledger, tx, name: str, after: int) -> None:
    """A chain with hashes and MACs that fit its bodies again, from an entry on: by somebody who holds the key."""
    key = ledger.seal.key_for("entries")
    rows = tx.execute(sa.select(t.entry).where(t.entry.c.chain == name).order_by(t.entry.c.n)).all()
    previous = chain.START
    for row in rows:
        if row.n >= after:
            hash_ = chain.entry_hash(name, row.n, row.at, row.kind, row.who, row.body, previous)
            marks = chain.marks((row.at, row.kind, row.who, row.body, previous))
            values = {"previous": previous, "hash": hash_, "mac": chain.mac(key, hash_), "marks": marks}
            tx.execute(t.entry.update().where(t.entry.c.chain == name, t.entry.c.n == row.n).values(**values))
            previous = hash_
        else:
            previous = row.hash
    head = {"n": rows[-1].n, "hash": previous, "mac": chain.head_mac(key, name, rows[-1].n, previous)}
    tx.execute(t.chain.update().where(t.chain.c.name == name).values(**head))


def key_of(table: sa.Table) -> list[sa.Column]:
    return [table.c[proof.KEY[table.name]]] if table.name in proof.KEY else list(table.primary_key.columns)
