"""Who is told, and who must not be: areas and codes, drills, restricted warnings, peers, what is over."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest

from broadcast.channels import open_peer
from broadcast.errors import InvalidAlert, InvalidFiles, NotFound
from broadcast.gateway import Source, open_ways
from broadcast.ledger import alerts, sending
from broadcast.ledger import tables as t
from broadcast.tiers import area
from broadcast.tiers import roster as rosters
from broadcast.tiers.regions import CodeSystem

from .stories import CANCEL, ORANGE, YELLOW, purposes, warning

FOUR = {"330521115", "330521001", "330521002", "330521003"}  # 莫干山, 武康, 舞阳, 阜溪
TRAP = Path(__file__).parent.parent / "fixtures" / "cn12379" / "rainstorm_orange_mca_codes.xml"


def towns(preview) -> set[str]:
    return {post.region[:9] for post in preview.posts if len(post.region) > 6}


def test_preview_names_exactly_the_posts_of_the_four_towns_their_villages_and_the_county(story_on_both):
    story = story_on_both
    preview = story.gateway.preview(story.read(ORANGE))

    covered = story.gateway.house.books.regions.closure(FOUR)
    roster = story.gateway.roster()
    channels = {
        p.person_id: {c for c, has in (("sms", p.phone), ("voice", p.phone), ("zwdd", p.zwdd), ("grid", p.grid)) if has}
        for p in roster.persons
    }
    ways = [
        (role, rank, rule.channel)
        for rule, ranks in zip(preview.rules, _ranks(story, preview), strict=True)
        for role in rule.roles
        for rank in ranks
    ]
    owed = {
        (post.region, post.role, post.rank)
        for post in roster.posts
        if post.region in covered
        and any(role == post.role and rank == post.rank and channel in channels[post.person_id] for role, rank, channel in ways)
    }
    assert {(post.region, post.role, post.rank) for post in preview.posts} == owed
    assert towns(preview) == FOUR
    assert any(post.region == "330521" for post in preview.posts)
    assert preview.level == "orange" and not preview.findings
    assert preview.calls > 0 and preview.seconds > 0
    assert story.gateway.alerts() == []  # nothing was written


def _ranks(story, preview) -> list[tuple[str, ...]]:
    """The ranks of the plan's rules, which the preview does not repeat."""
    plan = story.gateway.house.books.plans.owed
    regions = story.gateway.house.books.regions
    alert = story.read(ORANGE)
    owed = plan(alert, area.cover(alert, regions, None), regions, source="deqing-met", now=story.clock())
    return [rule.ranks for rule in owed.rules]


def test_codes_of_an_unknown_system_warn_both_readings_and_report_the_conflict(sqlite_story):
    story = sqlite_story
    alert = story.gateway.read(TRAP.read_bytes())

    preview = story.gateway.preview(alert)
    assert towns(preview) == FOUR | {"330521004"}  # and 下渚湖, where the codes would point in the other system
    assert any("330521004" in finding or "下渚湖" in finding for finding in preview.findings)

    story.gateway.house.sources = [Source("deqing-met", frozenset({"33052141600000"}), code_system=CodeSystem.MCA)]
    assert towns(story.gateway.preview(alert)) == FOUR


def test_an_exercise_reaches_posts_only_and_every_text_says_so(story):
    sent = story.gateway.submit(story.gateway.read(warning(story, severity="Extreme", status="Exercise")), source="deqing-met")
    if sent.state == "waiting":
        story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"))
    story.work()

    rows = [row for row in story.gateway.ledger.deliveries(alert_id=sent.alert_id) if row["purpose"] == "alarm"]
    assert rows and "household" not in {row["tier"] for row in rows}
    assert not story.sent("speaker") and not story.sent("feed")
    texts = [word["text"] for word in story.gateway.words(sent.alert_id)]
    assert texts and all(text.startswith("【演练】") for text in texts)


def test_a_test_reaches_registered_test_targets_only_and_every_text_says_so(story):
    sent = story.gateway.test("sms", "330521115", story.operator("DUTY_OFFICER"))
    story.work()

    rows = list(story.gateway.ledger.deliveries(alert_id=sent.alert_id))
    assert rows and {row["channel"] for row in rows} == {"sms"} and {row["tier"] for row in rows} == {"test"}
    with story.gateway.ledger.read() as tx:
        addresses = tx.execute(
            t.target.select().where(t.target.c.test, t.target.c.channel == "sms", t.target.c.region.startswith("330521115"))
        ).all()
    assert len(rows) == len(addresses)
    assert all(word["text"].startswith("【测试】") for word in story.gateway.words(sent.alert_id))
    with pytest.raises(NotFound, match="no region"):
        story.gateway.test("sms", "1", story.operator("DUTY_OFFICER"))
    with pytest.raises(NotFound, match="no peer"):
        story.gateway.test("pigeon", "330521115", story.operator("DUTY_OFFICER"))


def test_a_person_registered_for_tests_hears_the_tests_of_their_regions(sqlite_story):
    story = sqlite_story
    old = story.gateway.roster()
    tester = next(post for post in old.posts if post.region == "330521115201" and post.role == "VILLAGE_HEAD")
    persons = tuple(dataclasses.replace(p, test=p.person_id == tester.person_id) for p in old.persons)
    story.gateway.import_roster(rosters.Roster(persons, old.posts, (), lambda: iter(()), (), 0), "测试")
    assert story.gateway.roster().places == ()

    sent = story.gateway.test("sms", "330521115", story.operator("DUTY_OFFICER"))
    story.work()

    assert [row["region"] for row in story.gateway.ledger.deliveries(alert_id=sent.alert_id)] == ["330521115201"]


def test_a_channel_without_a_far_end_is_said_aloud(sqlite_story):
    story = sqlite_story
    story.gateway.house.ways = {name: way for name, way in story.gateway.house.ways.items() if name != "voice"}
    alert = story.gateway.read(warning(story, severity="Extreme"))

    assert any("channel voice" in finding for finding in story.gateway.preview(alert).findings)
    assert any("channel voice" in finding for finding in story.gateway.submit(alert).findings)


@pytest.mark.parametrize("status", ["Exercise", "Test"])
@pytest.mark.parametrize("msg_type", ["Cancel", "Update"])
def test_a_drill_never_touches_a_real_event_that_it_refers_to(sqlite_story, status, msg_type):
    story = sqlite_story
    real = story.gateway.submit(story.gateway.read(warning(story, identifier="k1")))
    pending = list(story.rung)
    story.clock.forward(minutes=5)

    drill = story.gateway.submit(
        story.gateway.read(warning(story, status=status, msg_type=msg_type, references="k1")), source="deqing-met"
    )
    if drill.state == "waiting":
        story.gateway.approve(drill.alert_id, story.operator("SHIFT_LEAD"))
    story.work()

    assert story.gateway.status(real.alert_id).state == "active"
    assert pending and set(story.states(real.alert_id)) == {"delivered"}
    assert not [
        row for row in story.gateway.ledger.deliveries(alert_id=drill.alert_id) if row["purpose"] in ("stand_down", "stop")
    ]
    assert {row["tier"] for row in story.gateway.ledger.deliveries(alert_id=drill.alert_id)}.isdisjoint({"household"})


def test_an_exercise_is_cancelled_by_an_exercise(sqlite_story):
    story = sqlite_story
    drill = story.gateway.submit(story.gateway.read(warning(story, identifier="k2", status="Exercise")), source="deqing-met")
    if drill.state == "waiting":
        story.gateway.approve(drill.alert_id, story.operator("SHIFT_LEAD"))
    story.work()
    story.clock.forward(minutes=5)
    cancel = story.gateway.cancel(drill.alert_id, story.operator("DUTY_OFFICER"), "演练结束")
    story.gateway.approve(cancel.alert_id, story.operator("SHIFT_LEAD"))
    story.work()

    assert story.gateway.status(drill.alert_id).state == "cancelled"
    assert purposes(story, cancel) >= {"stand_down"}
    assert all(word["text"].startswith("【演练】") for word in story.gateway.words(cancel.alert_id))


def test_a_restricted_warning_reaches_posts_only(sqlite_story):
    story = sqlite_story
    sent = story.gateway.submit(story.gateway.read(warning(story, severity="Extreme", scope="Restricted")))
    story.work()

    tiers = {row["tier"] for row in story.gateway.ledger.deliveries(alert_id=sent.alert_id)}
    assert tiers and "household" not in tiers and not story.sent("speaker")


def test_residents_are_told_on_orange_once_each_and_the_posts_text_goes_first(story):
    sent = story.submit(ORANGE)
    story.work()

    rows = list(story.gateway.ledger.deliveries(alert_id=sent.alert_id, channel="sms"))
    residents = [row for row in rows if row["tier"] == "household"]
    assert len(residents) == 300  # two villages of 莫干山镇; those of 新市镇 are not covered
    with story.gateway.ledger.read() as tx:
        ids = tx.execute(t.delivery.select().where(t.delivery.c.channel == "sms", t.delivery.c.alert_id == sent.alert_id)).all()
    assert len({row.address_id for row in ids}) == len(ids) == len(rows)


def test_what_has_expired_is_recorded_and_tells_nobody(story):
    story.clock.forward(days=30)
    sent = story.submit(YELLOW)
    story.work()

    assert sent.state == "recorded" and "expired" in sent.reason
    assert not list(story.gateway.ledger.deliveries(alert_id=sent.alert_id))


def test_what_has_not_left_when_the_alert_expires_fails_with_the_reason(story):
    sent = story.gateway.submit(story.gateway.read(warning(story, expires=timedelta(minutes=10))))
    story.clock.forward(minutes=11)
    story.rung.clear()
    story.work()

    assert story.gateway.status(sent.alert_id).state == "closed"
    assert set(story.states(sent.alert_id)) == {"failed"}
    assert {row["reason"] for row in story.gateway.ledger.deliveries(alert_id=sent.alert_id)} == {"expired before it could leave"}


def test_an_older_message_that_comes_late_does_not_take_over_from_a_newer_one(story):
    story.clock.forward(minutes=91)
    second = story.submit(ORANGE)
    first = story.submit(YELLOW)
    story.work()

    assert first.state == "recorded" and f"alert {second.alert_id}" in first.reason
    assert story.gateway.status(second.alert_id).state == "active"


def test_an_update_works_also_when_the_event_was_never_seen_here(story_on_both):
    story = story_on_both
    story.clock.forward(minutes=91)
    sent = story.submit(ORANGE)
    story.work()

    assert sent.state == "active" and purposes(story, sent) == {"alarm"}


def test_an_update_that_names_only_the_message_before_belongs_to_the_same_event(story):
    first = story.gateway.submit(story.gateway.read(warning(story, identifier="f1", severity="Moderate")))
    for identifier, before in (("f2", "f1"), ("f3", "f2")):
        story.work()
        story.clock.forward(minutes=10)
        raw = warning(story, identifier=identifier, msg_type="Update", references=before)
        last = story.gateway.submit(story.gateway.read(raw))
    story.work()

    assert [one.state for one in story.gateway.event(last.alert_id)] == ["superseded", "superseded", "active"]
    assert {one.event_key for one in story.gateway.event(first.alert_id)} == {"f1"}
    story.clock.forward(minutes=10)
    story.gateway.submit(story.gateway.read(warning(story, msg_type="Cancel", references="f3")))
    story.work()
    assert story.gateway.status(last.alert_id).state == "cancelled"


def test_an_update_that_arrives_after_the_one_that_follows_it_is_overtaken(sqlite_story):
    story = sqlite_story
    early = warning(story, identifier="h2", msg_type="Update", references="h1", severity="Moderate")
    story.clock.forward(minutes=10)
    last = story.gateway.submit(story.gateway.read(warning(story, identifier="h3", msg_type="Update", references="h2")))
    late = story.gateway.submit(story.gateway.read(early))

    assert (last.state, late.state) == ("active", "recorded")
    assert f"alert {last.alert_id}" in late.reason


def test_the_same_warning_by_another_way_goes_out_and_the_likeness_is_said(sqlite_story):
    story = sqlite_story
    first = story.gateway.submit(story.gateway.read(warning(story, identifier="g1")))
    story.clock.forward(minutes=3)
    other = story.gateway.submit(story.gateway.read(warning(story, identifier="g2")))

    assert other.state == "active" and any(f"alert {first.alert_id}" in finding for finding in other.findings)
    story.clock.forward(minutes=45)
    later = story.gateway.submit(story.gateway.read(warning(story, identifier="g3")))
    assert not any("same kind" in finding for finding in later.findings)


def test_an_all_clear_inside_an_update_is_a_stand_down_and_never_a_new_alarm(story):
    first = story.gateway.submit(story.gateway.read(warning(story, identifier="a1")))
    story.work()
    story.clock.forward(minutes=5)
    sent = story.gateway.submit(story.gateway.read(warning(story, msg_type="Update", references="a1", response="AllClear")))
    story.work()

    assert story.gateway.status(first.alert_id).state == "cancelled"
    assert purposes(story, sent) <= {"stand_down", "stop"} and purposes(story, sent)


def test_a_bare_cancel_without_any_info_stands_down_in_the_events_own_words(story):
    story.gateway.submit(story.gateway.read(warning(story, identifier="b1")))
    story.work()
    story.clock.forward(minutes=5)
    sent = story.gateway.submit(story.gateway.read(warning(story, msg_type="Cancel", references="b1", with_info=False)))
    story.work()

    assert purposes(story, sent) >= {"stand_down"}
    assert any("暴雨" in word["text"] for word in story.gateway.words(sent.alert_id))


def test_a_cancel_waits_for_what_a_worker_still_holds_and_then_tells_that_too(story_on_both):
    story = story_on_both
    first = story.gateway.submit(story.gateway.read(warning(story, identifier="c1")))
    _lane, number = story.rung.pop(0)
    with story.gateway.ledger.write() as tx:
        found = sending.owed(tx, number, story.gateway.house.now())
        held = sending.claim(
            story.gateway.ledger.database, tx, *found, peer="x", holder="w", per_call=1000, now=story.gateway.house.now()
        )
    story.rung.clear()
    story.clock.forward(minutes=1)

    cancel = story.gateway.submit(story.gateway.read(warning(story, msg_type="Cancel", references="c1")))
    story.work()
    assert not list(story.gateway.ledger.deliveries(alert_id=cancel.alert_id))  # not known yet who was reached

    with story.gateway.ledger.write() as tx:
        tx.execute(t.batch.update().where(t.batch.c.id == number).values(lease=0))
    story.work()

    told = list(story.gateway.ledger.deliveries(alert_id=cancel.alert_id))
    in_doubt = list(story.gateway.ledger.deliveries(alert_id=first.alert_id, state="in_doubt"))
    assert {(row["region"], row["purpose"]) for row in told} == {
        (row["region"], p) for row in in_doubt for p in ("stop", "stand_down")
    }
    assert len(in_doubt) == len(held.pieces)


def test_pending_calls_of_a_cancelled_alert_never_leave(story):
    first = story.gateway.submit(story.gateway.read(warning(story, identifier="d1")))
    pending = list(story.rung)
    story.clock.forward(minutes=1)
    cancel = story.gateway.submit(story.gateway.read(warning(story, msg_type="Cancel", references="d1")))
    story.rung.extend(pending)  # the bell of the old alert still rings
    story.work()

    assert set(story.states(first.alert_id)) == {"cancelled"}
    assert not story.states(cancel.alert_id)
    assert not any(story.sent(channel) for channel in ("speaker", "sms", "voice", "zwdd", "grid"))


def test_a_live_peer_refuses_synthetic_targets_and_a_simulated_one_all_others(sqlite_story):
    story = sqlite_story
    options = {"url": "http://127.0.0.1:9", "ec_name": "测", "ap_id": "a", "secret_key": "s", "sign": "S"}
    live = open_peer(name="live", channel="sms", protocol="mas", simulated=False, options=options)
    story.gateway.house.ways = {**story.gateway.house.ways, **open_ways([live])}

    sent = story.gateway.submit(story.gateway.read(warning(story)))
    story.work()

    rows = list(story.gateway.ledger.deliveries(alert_id=sent.alert_id, channel="sms"))
    assert rows and {row["state"] for row in rows} == {"rejected"} and {row["reason"] for row in rows} == {"wrong-kind-of-peer"}

    with story.gateway.ledger.write() as tx:
        tx.execute(t.target.update().values(synthetic=False))
    other = story.gateway.submit(story.gateway.read(warning(story)))
    story.work()
    assert {row["state"] for row in story.gateway.ledger.deliveries(alert_id=other.alert_id, channel="voice")} == {"rejected"}


def test_a_refused_warning_is_kept_with_its_bytes_and_the_reason(story):
    with pytest.raises(InvalidAlert) as told:
        story.gateway.read(b"<alert><identifier>x</identifier></alert>", source="deqing-met")

    with story.gateway.ledger.read() as tx:
        row = tx.execute(t.refused.select()).one()
    assert (
        bytes(row.raw) == b"<alert><identifier>x</identifier></alert>"
        and row.reason == str(told.value)
        and row.source == "deqing-met"
    )

    with pytest.raises(InvalidAlert):
        story.gateway.read(b"x" * 6_000_000)
    with story.gateway.ledger.read() as tx:
        sizes = [(row.size, len(row.raw)) for row in tx.execute(t.refused.select().order_by(t.refused.c.id))]
    assert sizes[1][0] == 6_000_000 and sizes[1][1] < 6_000_000


def test_a_broken_plan_is_refused_and_the_last_good_one_stays_in_force(story):
    broken = story.plan_files() | {"rainstorm.toml": 'title = "x"\nevents = ["11B03"]\nwho = 1\n'}

    with pytest.raises(InvalidFiles) as told:
        story.gateway.import_plans(broken, "测试")
    assert any(problem.file.endswith("rainstorm.toml") for problem in told.value.problems)

    def on_disk():
        story.gateway.check_plans(broken)
        return broken

    checks = {c.name: c for c in story.gateway.health({"plans": on_disk}).checks}
    assert checks["plans"].colour == "red" and "last good" in checks["plans"].text
    assert story.submit(YELLOW).state == "active"


def test_a_later_roster_rewrites_nothing_of_the_past(story, small_roster, tmp_path):
    sent = story.submit(YELLOW)
    story.work()
    before = list(story.gateway.ledger.deliveries(alert_id=sent.alert_id))
    told = story.posts_told(sent)

    old = story.gateway.roster()
    moved = [dataclasses.replace(p, phone="+8615499999999" if n == 0 else p.phone) for n, p in enumerate(old.persons[:-500])]
    kept = {p.person_id for p in moved}
    posts = tuple(post for post in old.posts if post.person_id in kept)
    story.gateway.import_roster(rosters.Roster(tuple(moved), posts, old.places, lambda: iter(()), (), 0), "测试")

    assert list(story.gateway.ledger.deliveries(alert_id=sent.alert_id)) == before
    assert story.posts_told(sent) == told
    assert len(story.gateway.roster().persons) == len(moved)
    assert story.gateway.roster().persons[0].phone == "+8615499999999"
    again = story.gateway.submit(story.gateway.read(warning(story, codes=("330521",), area="德清县")))
    assert len(list(story.gateway.ledger.deliveries(alert_id=again.alert_id))) > 100


def test_a_stand_down_is_fit_to_be_spoken_and_a_cancel_is_no_alarm(story):
    story.submit(YELLOW)
    story.work()
    story.clock.forward(hours=6)
    cancel = story.submit(CANCEL)
    story.work()

    words = {(w["channel"], w["purpose"]): w["text"] for w in story.gateway.words(cancel.alert_id)}
    assert all(purpose in ("stand_down", "stop") for _channel, purpose in words)
    assert "解除" in words["speaker", "stand_down"] and "停止" in words["speaker", "stop"]
    since = [one["purpose"] for one in story.sent("speaker") if one["purpose"] != "alarm"]
    assert since == sorted(since, key=["stop", "stand_down"].index) and set(since) == {"stop", "stand_down"}
    assert not [row for row in story.gateway.ledger.deliveries(alert_id=cancel.alert_id) if row["channel"] == "voice"]


def test_no_loudspeaker_says_that_it_is_over_before_all_are_taken_off_the_air(sqlite_story):
    story = sqlite_story
    story.gateway.submit(story.gateway.read(warning(story, identifier="e1")))
    story.work()
    story.clock.forward(minutes=5)
    cancel = story.gateway.submit(story.gateway.read(warning(story, msg_type="Cancel", references="e1")))

    story.gateway.plan_for(20.0)  # planned, and no worker has done anything yet
    on_speakers = {row["purpose"] for row in story.gateway.ledger.deliveries(alert_id=cancel.alert_id, channel="speaker")}
    assert on_speakers == {"stop"}

    story.work()
    on_speakers = {row["purpose"] for row in story.gateway.ledger.deliveries(alert_id=cancel.alert_id, channel="speaker")}
    assert on_speakers == {"stop", "stand_down"}


def test_two_gateways_that_submit_the_same_alert_at_once_make_one(story_on_both):
    story = story_on_both
    import threading

    raw = warning(story, identifier="same")
    alert = story.gateway.read(raw)
    got = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        got.append(story.gateway.submit(alert))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({sent.alert_id for sent in got}) == 1 and sum(sent.is_new for sent in got) == 1
    assert story.entries(got[0]).count("alert.received") == 1 and story.entries(got[0]).count("alert.repeated") == 3
    with story.gateway.ledger.read() as tx:
        assert len(alerts.words_of(tx, got[0].alert_id)) > 3
