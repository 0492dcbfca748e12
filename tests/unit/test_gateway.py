"""Stories of the gateway on a real ledger: who is told, who is not, and what becomes of it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from broadcast.errors import LedgerUnavailable
from broadcast.gateway import Gateway, House
from broadcast.ledger import Ledger, Seal, engine
from broadcast.ledger import tables as t
from broadcast.ledger.seal import WrongKey

from .stories import CANCEL, ORANGE, YELLOW


@pytest.fixture
def story(story_on_both):
    """On both databases: locks and isolation are a part of these stories."""
    return story_on_both


def test_a_yellow_rainstorm_reaches_the_posts_of_the_county(story):
    sent = story.submit(YELLOW)

    story.work()

    assert sent.state == "active"
    states = story.states(sent.alert_id)
    assert set(states) <= {"accepted", "delivered", "rejected"} and states.get("accepted", 0) + states.get("delivered", 0) > 1000


def test_the_upgrade_takes_over_what_is_pending_and_stands_down_who_is_no_longer_covered(story):
    first = story.submit(YELLOW)
    story.work()
    story.clock.forward(minutes=91)

    second = story.submit(ORANGE)
    story.work()

    assert story.gateway.status(first.alert_id).state == "superseded"
    assert story.gateway.status(first.alert_id).superseded_by == second.alert_id
    rows = list(story.gateway.ledger.deliveries(alert_id=second.alert_id))
    told_over = {row["region"][:9] for row in rows if row["purpose"] in ("stand_down", "stop")}
    told = {row["region"][:9] for row in rows if row["purpose"] == "alarm"}
    assert told == {"330521", "330521115", "330521001", "330521002", "330521003"}
    assert told_over and not told_over & told


def test_a_cancel_tells_exactly_those_whom_the_event_reached(story):
    story.submit(YELLOW)
    story.work()
    story.clock.forward(minutes=91)
    story.submit(ORANGE)
    story.work()
    before = [row for n in (1, 2) for row in story.gateway.ledger.deliveries(alert_id=n)]
    story.clock.forward(minutes=270)

    cancel = story.submit(CANCEL)
    story.work()

    told = {(r["channel"], r["address"], r["region"]) for r in story.gateway.ledger.deliveries(alert_id=cancel.alert_id)}
    last = {}
    for row in before:
        if row["state"] in ("accepted", "delivered", "in_doubt"):
            last[row["channel"].replace("voice", "sms"), row["address"], row["region"]] = row["purpose"]
    expected = {key for key, purpose in last.items() if purpose == "alarm"}
    assert {(c, a) for c, a, _ in told} == {(c, a) for c, a, _ in expected}
    assert story.gateway.status(2).state == "cancelled"


def test_a_cancel_tells_whom_it_may_have_reached_and_nobody_whom_it_certainly_did_not(story):
    first = story.submit(ORANGE)
    story.work()
    became = {1: "rejected", 2: "failed", 3: "in_doubt", 4: "accepted", 5: "cancelled"}
    with story.gateway.ledger.write() as tx:  # residents have one channel only: what became of it decides
        batch = tx.execute(
            sa.select(t.batch.c.id)
            .where(t.batch.c.alert_id == first.alert_id, t.batch.c.lane == "bulk")
            .order_by(t.batch.c.id)
            .limit(1)
        ).scalar_one()
        for seq, state in became.items():
            tx.execute(t.delivery.update().where(t.delivery.c.batch_id == batch, t.delivery.c.seq == seq).values(state=state))
        chosen = tx.execute(sa.select(t.delivery.c.seq, t.delivery.c.address_id).where(t.delivery.c.batch_id == batch)).all()
    story.clock.forward(hours=4)

    cancel = story.submit(CANCEL)
    story.work()

    with story.gateway.ledger.read() as tx:
        told = set(tx.execute(sa.select(t.delivery.c.address_id).where(t.delivery.c.alert_id == cancel.alert_id)).scalars())
    of = {row.seq: row.address_id in told for row in chosen}
    assert {became[seq]: of[seq] for seq in became} == {
        "rejected": False, "failed": False, "in_doubt": True, "accepted": True, "cancelled": False,
    }  # fmt: skip
    assert all(of[seq] for seq in of if seq not in became)


def test_the_same_alert_twice_is_one_alert(story):
    first = story.submit(YELLOW)
    again = story.submit(YELLOW)

    assert first.is_new and not again.is_new and again.alert_id == first.alert_id


def test_a_full_disk_is_said_in_words_and_leaves_nothing_half_written(sqlite_story):
    story = sqlite_story
    database = story.gateway.ledger.database

    def limit(connection) -> None:  # SQLite itself says that the disk is full, as it would
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    with database.read() as tx:
        pages = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
    sa.event.listen(database.engine, "begin", limit)
    with pytest.raises(LedgerUnavailable, match="disk of the ledger is full: make room"):
        story.submit(YELLOW)
    sa.event.remove(database.engine, "begin", limit)

    assert story.gateway.alerts() == [] and not story.rung
    with database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages * 1000}")
        connection.commit()
    database.engine.dispose()
    assert story.submit(YELLOW).is_new  # the same warning again, when there is room


def test_a_locked_database_is_said_in_words(sqlite_story, monkeypatch):
    story = sqlite_story
    monkeypatch.setattr(engine, "BUSY_WAIT", 0.3)
    alert = story.read(YELLOW)
    with (
        story.gateway.ledger.write() as _holding,
        pytest.raises(LedgerUnavailable, match="another process holds the ledger's write lock"),
    ):
        story.gateway.submit(alert)

    assert story.submit(YELLOW).is_new


def test_batches_that_find_their_peer_busy_are_sent_by_whoever_is_done_each_once(sqlite_story):
    story = sqlite_story
    story.submit(ORANGE)
    with story.gateway.ledger.read() as tx:
        batches = list(tx.execute(sa.select(t.batch.c.id).where(t.batch.c.channel == "voice").order_by(t.batch.c.id)).scalars())
    far_end = story.gateway.house.peers["voice-loopback"]
    slots = far_end.peer.concurrency
    for _ in range(slots):  # a provider that hangs holds all that it may hold
        assert far_end.slots.acquire(blocking=False)
    for batch in batches * 3:
        story.gateway.deliver(batch)  # returns at once: the thread is free for other peers
    assert not story.sent("voice") and story.gateway.progress(1)

    for _ in range(slots):
        far_end.slots.release()
    story.gateway.deliver(batches[0])  # one ring is enough for all that wait

    assert len(story.sent("voice")) == sum(row["channel"] == "voice" for row in story.gateway.ledger.deliveries(alert_id=1))
    assert not far_end.turned_away


def test_another_seal_key_is_refused_before_it_can_seal_anything(sqlite_story):
    story = sqlite_story
    Seal.make(story.folder / "other.key")
    other = Ledger(str(story.gateway.ledger.database.url), Seal.from_file(story.folder / "other.key"))
    house = story.gateway.house
    stranger = Gateway(House(other, house.county, house.sources, house.ways, house.templates, house.ring, house.clock))

    with pytest.raises(WrongKey, match="not the one that the ledger was written with"):
        stranger.submit(story.read(YELLOW))
    assert story.gateway.alerts() == []
    other.close()
