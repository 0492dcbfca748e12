"""Who may let a warning go: two persons, one alone on red with a reason, and a person where the alert leaves something open."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from broadcast.errors import NotAllowed, NotFound
from broadcast.ledger import tables as t

from .stories import CANCEL, ORANGE, YELLOW, purposes, warning


def test_a_warning_of_an_unknown_source_waits_and_who_must_approve_is_told_at_once(story):
    sent = story.submit(YELLOW, source="somebody")
    story.work()

    assert sent.state == "waiting"
    assert purposes(story, sent) == {"release"}
    roles = {row["role"] for row in story.posts_told(sent)}
    assert roles == {"SHIFT_LEAD", "DUTY_LEADER"}
    assert any("broadcast approve" in one["text"] for one in story.sent("sms"))


def test_the_drafter_cannot_approve_and_a_second_person_with_the_role_can(story_on_both):
    story = story_on_both
    drafter = story.operator("DUTY_OFFICER")
    sent = story.submit(YELLOW, by=drafter, source="somebody")

    with pytest.raises(NotAllowed, match="second person"):
        story.gateway.approve(sent.alert_id, drafter)
    with pytest.raises(NotAllowed, match="needs DUTY_LEADER or SHIFT_LEAD"):
        story.gateway.approve(sent.alert_id, story.operator("NEWS_CENTRE"))
    assert story.gateway.status(sent.alert_id).state == "waiting"

    story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"))
    story.work()

    status = story.gateway.status(sent.alert_id)
    assert (status.state, status.drafted_by, status.released_by) == ("active", "测试值班员", "测试值班长")
    assert purposes(story, sent) == {"release", "alarm"}
    with pytest.raises(NotAllowed, match="nothing of alert"):
        story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"))


def test_one_person_may_release_red_alone_with_a_reason_and_another_reviews_it(story):
    officer = story.operator("DUTY_OFFICER")
    sent = story.gateway.submit(story.gateway.read(warning(story, severity="Extreme")), by=officer, source="somebody")

    story.gateway.approve(sent.alert_id, officer, alone="山体滑坡正在发生，值班长联系不上")

    status = story.gateway.status(sent.alert_id)
    assert status.state == "active" and status.to_review
    with pytest.raises(NotAllowed, match="another person"):
        story.gateway.review(sent.alert_id, officer)
    assert story.gateway.review(sent.alert_id, story.operator("SHIFT_LEAD"))
    assert not story.gateway.status(sent.alert_id).to_review


def test_nobody_releases_orange_alone(sqlite_story):
    story = sqlite_story
    officer = story.operator("DUTY_OFFICER")
    sent = story.gateway.submit(story.gateway.read(warning(story, severity="Severe")), by=officer, source="somebody")

    with pytest.raises(NotAllowed, match="alone may release only: red"):
        story.gateway.approve(sent.alert_id, officer, alone="个人判断")


def called(story, sent) -> list[tuple[str, str]]:
    """(role, rank) of whoever was called, in order."""
    with story.gateway.ledger.read() as tx:
        rows = tx.execute(
            sa.select(t.post.c.role, t.post.c.rank)
            .join(t.delivery, t.delivery.c.post_id == t.post.c.id)
            .where(t.delivery.c.alert_id == sent.alert_id, t.delivery.c.channel == "voice")
            .order_by(t.delivery.c.batch_id)
        )
        return [tuple(row) for row in rows]


def pass_minutes(story, count: float) -> None:
    for _ in range(int(count * 2)):
        story.clock.forward(seconds=30)
        story.work()


def test_an_approval_that_does_not_come_is_a_callout_like_any_other_and_then_turns_health_red(story_on_both):
    """值班长 three times, then the deputy, then 值班领导; nobody further up is woken before."""
    story = story_on_both
    sent = story.submit(YELLOW, source="somebody")
    story.work()
    assert called(story, sent) == [("SHIFT_LEAD", "A")]
    assert {row["role"] for row in story.posts_told(sent)} == {"SHIFT_LEAD", "DUTY_LEADER"}  # in writing

    pass_minutes(story, 10)
    assert called(story, sent) == [("SHIFT_LEAD", "A")] * 3 + [("SHIFT_LEAD", "B")] * 3 + [("DUTY_LEADER", "A")] * 3
    assert purposes(story, sent) >= {"release", "release.principal.1", "release.superior.3"}
    assert "callout.climbed" in story.entries(sent)
    [silent] = [one for one in story.gateway.callouts(sent.alert_id) if one.duty == "release"]
    assert (silent.state, silent.rung, silent.next_step) == ("open", "door", None)

    checks = {check.name: check for check in story.gateway.health().checks}
    assert checks["approvals"].colour == "red" and "approve" in checks["approvals"].text

    story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"))
    story.work()
    checks = {check.name: check for check in story.gateway.health().checks}
    assert checks["approvals"].colour == "green"


def test_who_must_approve_is_not_called_after_somebody_has(story):
    sent = story.submit(YELLOW, source="somebody")
    story.work()
    pass_minutes(story, 1)
    before = [row for row in called(story, sent) if row[0] in ("SHIFT_LEAD", "DUTY_LEADER")]
    while not any(lane == "alarm" for lane, _ in story.rung):  # the next call is on its way to a worker
        story.clock.forward(seconds=30)
        story.gateway.sweep()
    story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"))
    said = len([one for one in story.sent("voice") if one["purpose"] == "release"])
    pass_minutes(story, 10)
    assert len(before) == said == len([one for one in story.sent("voice") if one["purpose"] == "release"])
    assert {one.state for one in story.gateway.callouts(sent.alert_id) if one.duty == "release"} == {"answered"}


def test_without_anybody_to_approve_the_desk_is_told_and_nothing_is_lost(sqlite_story):
    story = sqlite_story
    with story.gateway.ledger.write() as tx:
        tx.execute(t.post.update().where(t.post.c.role.in_(("SHIFT_LEAD", "DUTY_LEADER"))).values(ended=1))
    sent = story.submit(YELLOW, source="somebody")
    pass_minutes(story, 11)
    checks = {check.name: check for check in story.gateway.health().checks}
    assert checks["approvals"].colour == "red" and checks["callouts"].colour != "red"
    story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"))
    story.work()
    assert story.gateway.status(sent.alert_id).state == "active"


def test_a_release_table_without_a_ladder_tells_once_and_waits_at_the_desk(sqlite_story):
    story = sqlite_story
    files = story.plan_files()
    before, _, rest = files["release.toml"].partition("[callout]")
    files["release.toml"] = before + rest[rest.index("[[free]]") :]
    story.gateway.import_plans(files, "测试")
    sent = story.submit(YELLOW, source="somebody")
    pass_minutes(story, 6)
    assert called(story, sent) == [("SHIFT_LEAD", "A")]
    assert {check.name: check.colour for check in story.gateway.health().checks}["callouts"] == "green"
    assert "callout.repaired" not in story.entries(sent)


def test_an_area_that_nobody_understands_is_called_for_until_a_person_decides(sqlite_story):
    story = sqlite_story
    sent = story.gateway.submit(story.gateway.read(warning(story, area="西部山区", codes=())))
    pass_minutes(story, 4)
    assert called(story, sent)[:4] == [("SHIFT_LEAD", "A")] * 3 + [("SHIFT_LEAD", "B")]
    story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"), regions=["330521115"])
    story.work()
    before = called(story, sent).count(("SHIFT_LEAD", "B"))
    pass_minutes(story, 3)
    assert called(story, sent).count(("SHIFT_LEAD", "B")) == before


def test_a_cancelled_or_overtaken_alert_that_waits_rings_nobody(sqlite_story):
    story = sqlite_story
    sent = story.submit(YELLOW, source="somebody")
    story.work()
    second = story.submit(ORANGE)
    story.work()
    assert story.gateway.status(sent.alert_id).state == "superseded"
    before = len(called(story, sent))
    pass_minutes(story, 10)
    assert len(called(story, sent)) == before
    assert story.gateway.status(second.alert_id).state == "active"


def test_loudspeakers_may_wait_for_the_news_centre_while_everything_else_goes_out(story):
    files = story.plan_files()
    files["release.toml"] += (
        '\n[[review]]\nsources = ["deqing-met"]\nlevels = ["yellow"]\nchannels = ["speaker"]\napprovers = ["NEWS_CENTRE"]\n'
    )
    story.gateway.import_plans(files, "测试")

    sent = story.submit(YELLOW)
    story.work()
    assert sent.state == "active" and not story.sent("speaker") and story.sent("sms")
    assert story.gateway.status(sent.alert_id).held

    with pytest.raises(NotAllowed, match="needs NEWS_CENTRE"):
        story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"))
    story.gateway.approve(sent.alert_id, story.operator("NEWS_CENTRE"))
    story.work()

    assert story.sent("speaker") and not story.gateway.status(sent.alert_id).held


def test_an_area_that_cannot_be_resolved_reaches_nobody_until_a_person_says_where(story):
    sent = story.gateway.submit(story.gateway.read(warning(story, area="西部山区", codes=())))
    story.work()

    assert sent.state == "undecided"
    assert purposes(story, sent) == {"release"}
    with pytest.raises(NotAllowed, match="not decided"):
        story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"))
    with pytest.raises(NotFound, match="no region"):
        story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"), regions=["999999999"])

    story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"), regions=["330521115"])
    story.work()

    rows = [row for row in story.gateway.ledger.deliveries(alert_id=sent.alert_id) if row["purpose"] == "alarm"]
    assert rows and {row["region"][:9] for row in rows} == {"330521", "330521115"}
    assert "alert.decided" in story.entries(sent)


def test_a_level_that_nobody_gave_is_decided_by_a_person(story):
    sent = story.gateway.submit(story.gateway.read(warning(story, severity="Unknown")))
    assert sent.state == "undecided"

    story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"), level="yellow")
    story.work()

    assert story.gateway.status(sent.alert_id).level == "yellow"
    assert any("黄色" in one["text"] for one in story.sent("sms"))


def test_an_update_that_waits_does_not_stop_the_alert_that_it_will_replace(story_on_both):
    story = story_on_both
    first = story.submit(YELLOW)
    story.clock.forward(minutes=91)
    second = story.submit(ORANGE, source="somebody")

    assert second.state == "waiting" and story.gateway.status(first.alert_id).state == "active"
    story.work()
    assert story.states(first.alert_id).get("delivered")

    story.gateway.approve(second.alert_id, story.operator("SHIFT_LEAD"))
    story.work()
    assert story.gateway.status(first.alert_id).state == "superseded"


def test_a_wrong_warning_is_taken_back_in_the_countys_own_name_by_two_persons(story):
    first = story.submit(YELLOW)
    story.work()
    story.clock.forward(minutes=5)

    cancel = story.gateway.cancel(first.alert_id, story.operator("DUTY_OFFICER"), "误发")
    assert cancel.state == "waiting"
    story.gateway.approve(cancel.alert_id, story.operator("SHIFT_LEAD"))
    story.work()

    assert story.gateway.status(first.alert_id).state == "cancelled"
    assert purposes(story, cancel) >= {"stand_down"}
    assert any("解除" in one["text"] or "取消" in one["text"] for one in story.sent("sms")[-3:])


def test_a_cancel_of_an_event_that_was_never_seen_is_recorded_and_tells_nobody(story):
    story.clock.forward(hours=6)
    cancel = story.submit(CANCEL)
    story.work()

    assert cancel.state == "active"
    assert not list(story.gateway.ledger.deliveries(alert_id=cancel.alert_id))
