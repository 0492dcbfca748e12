"""Stories of the gateway on a real ledger: who is told, who is not, and what becomes of it."""

from __future__ import annotations

YELLOW, ORANGE, CANCEL = "1-rainstorm-yellow.xml", "2-rainstorm-orange.xml", "3-rainstorm-cancel.xml"


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


def test_the_same_alert_twice_is_one_alert(story):
    first = story.submit(YELLOW)
    again = story.submit(YELLOW)

    assert first.is_new and not again.is_new and again.alert_id == first.alert_id
