"""叫应: whoever stays silent is called again, then their deputy, then the tier above, and in the end somebody knocks."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import sqlalchemy as sa

from broadcast.ledger import replies, sending
from broadcast.ledger import tables as t
from broadcast.ledger.replies import Told

from .stories import warning, writes_our_codes

VILLAGE = "330521115201"


@pytest.fixture
def story(story_on_both):
    """On both databases: locks and isolation are a part of these stories."""
    return story_on_both


def red(story, **options):
    writes_our_codes(story)
    raw = warning(story, area="测试村", codes=(VILLAGE,), **({"severity": "Extreme"} | options))
    sent = story.gateway.submit(story.gateway.read(raw))
    story.work()
    return sent


def minutes(story, count: float) -> None:
    """Time passes as the sweep sees it: look after look."""
    for _ in range(int(count * 2)):
        story.clock.forward(seconds=30)
        story.work()


def of(story, sent, role: str, region: str = VILLAGE, duty: str = "acknowledge"):
    roles = story.gateway.house.books.roles
    found = [
        one for one in story.gateway.callouts(sent.alert_id) if (one.role, one.region, one.duty) == (roles[role].zh, region, duty)
    ]
    assert len(found) == 1, found
    return found[0]


def calls_for(story, number: int) -> list[str]:
    """The purposes of the calls that were made for a callout, in order."""
    with story.gateway.ledger.read() as tx:
        rows = tx.execute(
            sa.select(t.delivery.c.purpose)
            .join(t.called, sa.and_(t.called.c.batch_id == t.delivery.c.batch_id, t.called.c.seq == t.delivery.c.seq))
            .where(t.called.c.callout_id == number)
            .order_by(t.called.c.at, t.delivery.c.batch_id)
        )
        return list(rows.scalars())


def answers(story, number: int, purpose: str) -> None:
    """Whoever was called so presses the key."""
    with story.gateway.ledger.write() as tx:
        row = tx.execute(
            sa.select(t.called.c.batch_id, t.called.c.seq)
            .join(t.delivery, sa.and_(t.called.c.batch_id == t.delivery.c.batch_id, t.called.c.seq == t.delivery.c.seq))
            .where(t.called.c.callout_id == number, t.delivery.c.purpose == purpose)
        ).first()
        assert row is not None
        told = Told("acknowledged", "voice", "", b"", None, delivery=(row.batch_id, row.seq))
        replies.take(tx, told, story.gateway.house.now())


def test_a_silent_village_head_is_called_three_times_then_the_deputy_then_the_town_then_beside_and_then_somebody_knocks(story):
    sent = red(story)
    head = of(story, sent, "VILLAGE_HEAD")
    assert (head.rung, head.calls) == ("principal", 1)  # the alert's own call
    minutes(story, 30)
    head = of(story, sent, "VILLAGE_HEAD")
    assert (head.state, head.rung, head.next_step) == ("open", "door", None)
    purposes = list(dict.fromkeys(calls_for(story, head.number)))
    assert purposes[:2] == ["callout.principal.1", "callout.principal.2"]  # after the alert's own call
    rungs = list(dict.fromkeys(purpose.split(".")[1] for purpose in purposes))
    assert rungs == [rung for rung in ("principal", "deputy", "superior", "sideways") if rung in rungs] and "superior" in rungs
    assert "callout.climbed" in story.entries(sent)


def test_calls_to_one_person_are_a_minute_apart_and_never_more_than_three_on_a_rung(story):
    sent = red(story)
    minutes(story, 30)
    with story.gateway.ledger.read() as tx:
        rows = tx.execute(
            sa.select(t.delivery.c.address_id, t.called.c.at, t.delivery.c.purpose)
            .join(t.called, sa.and_(t.called.c.batch_id == t.delivery.c.batch_id, t.called.c.seq == t.delivery.c.seq))
            .where(t.delivery.c.alert_id == sent.alert_id)
            .distinct()
            .order_by(t.called.c.at)
        ).all()
    by_number: dict[int, list[int]] = {}
    for row in rows:
        by_number.setdefault(row.address_id, []).append(row.at)
    for times in by_number.values():
        distinct = sorted(set(times))
        assert all(later - earlier >= 60_000 for earlier, later in pairwise(distinct))


def test_nobody_is_called_after_the_answer(story):
    sent = red(story)
    head = of(story, sent, "VILLAGE_HEAD")
    minutes(story, 1.5)
    answers(story, head.number, "callout.principal.1")
    before = calls_for(story, head.number)
    minutes(story, 30)
    assert of(story, sent, "VILLAGE_HEAD").state == "answered"
    assert calls_for(story, head.number) == before


def test_a_call_that_was_put_off_while_the_answer_came_is_not_made_after_it(story):
    """The classic bug: calls that go on after the answer, here of one that a worker held and could not make."""
    red(story)
    house, second = story.gateway.house, None
    while second is None:  # the bell for the second call rings, and nobody has heard it yet
        story.clock.forward(seconds=30)
        story.gateway.sweep()
        second = next((number for _, number in story.rung if purpose_of(story, number) == "callout.principal.2"), None)
        if second is None:
            story.work()
    held = claimed(story, second)
    with house.ledger.read() as tx:
        number, *others = for_whom(tx, second)
    story.gateway.enter_answer(number, story.operator("DUTY_OFFICER"), "acknowledged", "测试")
    with house.ledger.write() as tx:
        sending.defer(tx, held, "503", house.now(), house.now())
    before = len(story.sent("voice"))
    story.rung.clear()
    story.gateway.deliver(second)
    with house.ledger.read() as tx:
        rows = tx.execute(
            sa.select(t.called.c.callout_id, t.delivery.c.state, t.delivery.c.reason)
            .join(t.delivery, sa.and_(t.delivery.c.batch_id == t.called.c.batch_id, t.delivery.c.seq == t.called.c.seq))
            .where(t.called.c.batch_id == second, t.called.c.callout_id == number)
        ).all()
    assert [(row.state, row.reason) for row in rows] == [("cancelled", "answered meanwhile")]
    assert len(story.sent("voice")) - before == len(others) > 0  # the others of the batch are called all the same


def purpose_of(story, batch_id: int) -> str:
    with story.gateway.ledger.read() as tx:
        return tx.execute(sa.select(t.batch.c.purpose).where(t.batch.c.id == batch_id)).scalar_one()


def for_whom(tx, batch_id: int) -> list[int]:
    return list(tx.execute(sa.select(t.called.c.callout_id).where(t.called.c.batch_id == batch_id).distinct()).scalars())


def claimed(story, batch_id: int) -> sending.Held:
    """As a worker holds it that is about to make the first call."""
    house = story.gateway.house
    with house.ledger.write() as tx:
        row, pieces = sending.owed(tx, batch_id, house.now())
        held = sending.claim(
            house.ledger.database, tx, row, pieces, peer="voice-loopback", holder="w", per_call=len(pieces), now=house.now()
        )
    assert held is not None
    return held


def test_the_deputys_answer_counts_for_the_post(sqlite_story):
    story = sqlite_story
    sent = red(story)
    minutes(story, 5)
    below = [one for one in story.gateway.callouts(sent.alert_id) if one.rung == "deputy"]
    with_deputy = next(one for one in below if any(p.startswith("callout.deputy") for p in calls_for(story, one.number)))
    answers(story, with_deputy.number, "callout.deputy.1")
    after = next(one for one in story.gateway.callouts(sent.alert_id) if one.number == with_deputy.number)
    assert (after.state, after.how) == ("answered", "voice")


def test_a_superior_answers_for_the_village_only_when_asked_about_it(sqlite_story):
    story = sqlite_story
    sent = red(story)
    town = (
        of(story, sent, "TOWN_LEAD", VILLAGE)
        if any(
            one.region == VILLAGE and one.role == story.gateway.house.books.roles["TOWN_LEAD"].zh
            for one in story.gateway.callouts(sent.alert_id)
        )
        else None
    )
    head = of(story, sent, "VILLAGE_HEAD")
    if town is not None:  # the superior's own duty answers nobody else's
        story.gateway.enter_answer(town.number, story.operator("DUTY_OFFICER"), "acknowledged", "测试")
        assert of(story, sent, "VILLAGE_HEAD").state == "open"
    minutes(story, 12)
    asked = [purpose for purpose in calls_for(story, head.number) if purpose.startswith("escalation.superior")]
    assert asked
    answers(story, head.number, asked[0])
    assert of(story, sent, "VILLAGE_HEAD").state == "answered"


def test_whoever_is_asked_about_three_silent_posts_at_once_is_called_once(sqlite_story):
    story = sqlite_story
    sent = red(story)
    minutes(story, 20)
    with story.gateway.ledger.read() as tx:
        rows = tx.execute(
            sa.select(t.delivery.c.address_id, t.delivery.c.purpose, sa.func.count(sa.distinct(t.called.c.callout_id)))
            .join(t.called, sa.and_(t.called.c.batch_id == t.delivery.c.batch_id, t.called.c.seq == t.delivery.c.seq))
            .where(t.delivery.c.purpose.startswith("escalation"), t.delivery.c.alert_id == sent.alert_id)
            .group_by(t.delivery.c.address_id, t.delivery.c.purpose)
        ).all()
    assert max(row[2] for row in rows) > 1


def test_an_empty_rung_is_skipped_aloud_and_wakes_nobody_above_it_at_once(sqlite_story):
    story = sqlite_story
    with story.gateway.ledger.write() as tx:  # nobody of rank B anywhere
        tx.execute(t.post.update().where(t.post.c.rank == "B").values(ended=1))
    sent = red(story)
    minutes(story, 5)
    with story.gateway.ledger.read() as tx:
        bodies = tx.execute(sa.select(t.entry.c.body).where(t.entry.c.kind == "callout.climbed")).scalars().all()
    assert any('"rung":"superior"' in body and '"skipped":true' in body for body in bodies)
    rungs = Counter(one.rung for one in story.gateway.callouts(sent.alert_id) if one.region == VILLAGE)
    assert rungs["superior"] > 0 == rungs["door"]


def test_a_cancel_closes_every_callout_and_tells_those_who_had_been_called(sqlite_story):
    story = sqlite_story
    sent = red(story, identifier="33052141600000_c1")
    minutes(story, 10)
    with story.gateway.ledger.read() as tx:
        called = set(
            tx.execute(
                sa.select(t.delivery.c.address_id).where(t.delivery.c.channel == "voice", t.delivery.c.alert_id == sent.alert_id)
            ).scalars()
        )
    over = red(story, msg_type="Cancel", references="33052141600000_c1", identifier="33052141600000_c2")
    minutes(story, 10)
    assert {one.state for one in story.gateway.callouts(sent.alert_id)} == {"closed"}
    with story.gateway.ledger.read() as tx:
        told = tx.execute(
            sa.select(t.delivery.c.channel, t.delivery.c.address_id).where(t.delivery.c.alert_id == over.alert_id)
        ).all()
    assert {row.channel for row in told} & {"voice"} == set()
    assert called <= {row.address_id for row in told if row.channel == "sms"}


def test_an_upgrade_takes_over_and_whoever_answered_the_old_one_is_called_for_the_new_one(sqlite_story):
    story = sqlite_story
    first = red(story, severity="Severe", identifier="33052141600000_u1")
    story.gateway.enter_answer(of(story, first, "VILLAGE_HEAD").number, story.operator("DUTY_OFFICER"), "acknowledged", "测试")
    second = red(story, msg_type="Update", references="33052141600000_u1", identifier="33052141600000_u2")
    minutes(story, 2)
    assert {one.state for one in story.gateway.callouts(first.alert_id)} <= {"answered", "closed"}
    assert of(story, second, "VILLAGE_HEAD").state == "open"
    assert calls_for(story, of(story, second, "VILLAGE_HEAD").number)


def test_acknowledged_and_then_nothing_is_a_new_duty_and_reported_measures_end_it(sqlite_story):
    story = sqlite_story
    sent = red(story, expires=None)
    head = of(story, sent, "VILLAGE_HEAD")
    officer = story.operator("DUTY_OFFICER")
    story.gateway.enter_answer(head.number, officer, "acknowledged", "测试")
    due = of(story, sent, "VILLAGE_HEAD").measures_due
    assert due is not None
    story.clock.now = due
    minutes(story, 3)
    again = of(story, sent, "VILLAGE_HEAD", duty="measures")
    assert again.state == "open" and again.calls >= 1
    story.gateway.enter_answer(again.number, officer, "measures", "已转移")
    assert of(story, sent, "VILLAGE_HEAD", duty="measures").state == "answered"


def test_yellow_calls_only_who_is_silent_when_the_time_to_answer_is_over(sqlite_story):
    story = sqlite_story
    sent = red(story, severity="Moderate")
    assert not story.sent("voice")
    minutes(story, 14)
    assert not story.sent("voice")
    minutes(story, 3)
    assert story.sent("voice")
    assert calls_for(story, of(story, sent, "VILLAGE_HEAD").number)[0] == "callout.principal.1"


def test_a_callout_without_a_next_step_is_an_alarm_and_repaired(sqlite_story):
    story = sqlite_story
    sent = red(story)
    head = of(story, sent, "VILLAGE_HEAD")
    with story.gateway.ledger.write() as tx:
        tx.execute(t.callout.update().where(t.callout.c.id == head.number).values(next_step=None))
    checks = {check.name: check.colour for check in story.gateway.health().checks}
    assert checks["callouts"] == "red"
    story.clock.forward(seconds=31)
    story.work()
    assert of(story, sent, "VILLAGE_HEAD").next_step is not None
    assert "callout.repaired" in story.entries(sent)


def test_a_place_has_answered_when_the_posts_that_its_plan_requires_have(sqlite_story):
    story = sqlite_story
    sent = red(story)
    officer = story.operator("DUTY_OFFICER")

    def place():
        return next(one for one in story.gateway.places(sent.alert_id) if one.region == VILLAGE)

    assert not place().has_answered
    for one in story.gateway.callouts(sent.alert_id):
        if one.region == VILLAGE and one.state == "open":
            story.gateway.enter_answer(one.number, officer, "acknowledged", "测试")
    assert place().has_answered and place().answered == place().owed


def test_a_drill_calls_posts_too_and_says_so(sqlite_story):
    story = sqlite_story
    red(story, status="Exercise")
    minutes(story, 3)
    lines = story.sent("voice")
    assert lines and all("演练" in line["text"] for line in lines)
