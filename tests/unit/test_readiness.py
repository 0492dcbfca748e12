"""Readiness: what is wanting before the next rain is said while there is time, and is gone when it was seen to."""

from __future__ import annotations

import json
import re
import threading

import pytest
import sqlalchemy as sa

from broadcast.channels import open_peer
from broadcast.channels.loopback import Loopback
from broadcast.cli import main
from broadcast.cli.saying import to_json
from broadcast.delivery import Receipt, State
from broadcast.errors import NotFound, Unavailable
from broadcast.gateway import FarEnd, Way, open_ways
from broadcast.ledger import conditions
from broadcast.ledger import tables as t
from broadcast.ledger.conditions import Seen

from .stories import warning

VILLAGE, NEIGHBOUR, TOWN = "330521115201", "330521115202", "330521115"


def found(story, kind: str, region: str = "") -> list:
    return [one for one in story.gateway.readiness(region).findings if one.kind == kind]


def at(finding) -> set[str]:
    return {spot.region for spot in finding.where}


def change(story, statement) -> None:
    with story.gateway.ledger.write() as tx:
        tx.execute(statement)


def post(story, role: str, region: str = VILLAGE, rank: str = "A"):
    with story.gateway.ledger.read() as tx:
        return tx.execute(
            sa.select(t.post)
            .where(t.post.c.role == role, t.post.c.region == region, t.post.c.rank == rank, t.post.c.ended.is_(None))
            .order_by(t.post.c.id)
        ).first()


def zh(story, role: str) -> str:
    return story.gateway.house.books.roles[role].zh


def is_colour(findings: list) -> set[str]:
    return {one.colour for one in findings}


# --- posts


def test_a_required_post_without_a_holder_is_red_until_somebody_is_named(sqlite_story):
    story = sqlite_story
    assert found(story, "vacant") == []
    head = post(story, "VILLAGE_HEAD")
    change(story, t.post.update().where(t.post.c.id == head.id).values(ended=1))

    [vacant] = found(story, "vacant")
    assert (vacant.colour, vacant.count, at(vacant)) == ("red", 1, {VILLAGE})
    assert "VILLAGE_HEAD" in vacant.what and vacant.where[0].region_name and "posts.csv" in vacant.do
    assert not story.gateway.readiness().ok

    change(story, t.post.update().where(t.post.c.id == head.id).values(ended=None))
    assert found(story, "vacant") == []


def test_a_deputy_alone_does_not_fill_a_post(sqlite_story):
    story = sqlite_story
    change(story, t.post.update().where(t.post.c.role == "WARN_LEAD", t.post.c.region == VILLAGE).values(rank="B"))
    [vacant] = found(story, "vacant")
    assert at(vacant) == {VILLAGE} and "WARN_LEAD" in vacant.what


def test_vacant_posts_are_grouped_by_role_and_all_of_them_are_there(sqlite_story):
    story = sqlite_story
    change(
        story,
        t.post.update().where(t.post.c.role.in_(("VILLAGE_HEAD", "LOGI_LEAD")), t.post.c.region.startswith(TOWN)).values(ended=1),
    )
    [vacant] = found(story, "vacant")  # nobody requires a LOGI_LEAD
    villages = {region.code for region in story.gateway.house.books.regions.children(TOWN)}
    assert at(vacant) == villages and vacant.count == len(villages) > 3


def test_a_post_whose_deputy_is_missing_is_yellow(sqlite_story):
    story = sqlite_story

    def heads():
        return [one for one in found(story, "no_deputy") if "(VILLAGE_HEAD)" in one.what]

    assert heads() == []
    deputy = post(story, "VILLAGE_HEAD", rank="B")
    change(story, t.post.update().where(t.post.c.id == deputy.id).values(ended=1))
    [alone] = heads()
    assert (alone.colour, at(alone)) == ("yellow", {VILLAGE})
    change(story, t.post.update().where(t.post.c.id == deputy.id).values(ended=None))
    assert heads() == []


def test_roles_whose_deputies_no_ladder_asks_are_not_counted(sqlite_story):
    assert not any("GRID_HEAD" in one.what or "CITY_LEAD" in one.what for one in found(sqlite_story, "no_deputy"))


# --- persons


def without(story, person: int, *channels: str) -> None:
    change(story, t.target.delete().where(t.target.c.person_id == person, t.target.c.channel.in_(channels)))


def test_whoever_owes_an_answer_and_is_reached_by_nothing_is_red_and_by_no_call_yellow(story):
    person = post(story, "EVAC_LEAD").person_id

    def of_village(kind):
        return [(one.colour, spot) for one in found(story, kind, VILLAGE) for spot in one.where]

    assert of_village("unreachable") == of_village("not_by_voice") == []
    without(story, person, "voice", "sms")
    [(colour, spot)] = of_village("not_by_voice")
    assert colour == "yellow" and spot.roles == (zh(story, "EVAC_LEAD"),) and of_village("unreachable") == []
    without(story, person, "zwdd", "grid")
    [(colour, spot)] = of_village("unreachable")
    assert colour == "red" and spot.roles == (zh(story, "EVAC_LEAD"),) and of_village("not_by_voice") == []


def test_a_deputy_who_cannot_be_reached_is_yellow_and_whoever_owes_nothing_is_not_counted(sqlite_story):
    story = sqlite_story
    deputy = post(story, "VILLAGE_HEAD", rank="B").person_id
    change(story, t.post.update().where(t.post.c.person_id == deputy, t.post.c.rank == "A").values(ended=1))
    for person in (deputy, post(story, "GRID_HEAD").person_id):
        without(story, person, "voice", "sms", "zwdd", "grid")
    [deputies] = found(story, "unreachable", VILLAGE)
    assert deputies.colour == "yellow"
    assert [spot.roles for spot in deputies.where] == [(zh(story, "VILLAGE_HEAD"),)]


def test_an_account_on_a_channel_that_the_plan_does_not_use_for_them_reaches_nobody(sqlite_story):
    story = sqlite_story
    person = post(story, "VILLAGE_HEAD").person_id
    without(story, person, "voice", "sms", "zwdd")  # what is left is the grid account
    [unreachable] = found(story, "unreachable", VILLAGE)
    assert [spot.roles for spot in unreachable.where] == [(zh(story, "VILLAGE_HEAD"),)]


def test_a_real_number_behind_a_simulated_peer_reaches_nobody(sqlite_story):
    story = sqlite_story
    person = post(story, "VILLAGE_HEAD").person_id
    change(story, t.target.update().where(t.target.c.person_id == person).values(synthetic=False))
    assert [one.colour for one in found(story, "unreachable", VILLAGE)] == ["red"]


def test_one_person_cannot_be_in_two_villages(sqlite_story):
    story = sqlite_story
    assert found(story, "two_villages") == []
    person = post(story, "VILLAGE_HEAD").person_id
    change(story, t.post.insert().values(person_id=person, role="WARN_LEAD", region=NEIGHBOUR, rank="B"))

    [two] = found(story, "two_villages")
    assert (two.count, at(two)) == (1, {VILLAGE, NEIGHBOUR})
    [again] = found(story, "two_villages", NEIGHBOUR)  # seen from either of them
    assert again.where == two.where

    change(story, t.post.update().where(t.post.c.person_id == person, t.post.c.region == NEIGHBOUR).values(ended=1))
    assert found(story, "two_villages") == []


def test_several_posts_in_one_village_are_none_of_two_and_a_town_s_cadre_is_a_kind_of_its_own(sqlite_story):
    story = sqlite_story
    cadre = post(story, "TOWN_LEAD").person_id
    change(story, t.post.insert().values(person_id=cadre, role="TOWN_LEAD", region=NEIGHBOUR, rank="B"))
    assert found(story, "two_villages") == []
    [two] = found(story, "cadre_of_two_villages")
    assert at(two) == {VILLAGE, NEIGHBOUR}


def test_names_are_masked_and_no_number_is_shown(sqlite_story):
    story = sqlite_story
    person = post(story, "EVAC_LEAD").person_id
    without(story, person, "voice", "sms")
    told = to_json(story.gateway.readiness())
    with story.gateway.ledger.read() as tx:
        names = {story.gateway.ledger.seal.open(bytes(name)) for name in tx.execute(sa.select(t.person.c.name)).scalars()}
    spots = [spot for one in story.gateway.readiness().findings for spot in one.where if spot.person]
    assert spots and all(re.fullmatch(r".\*+", spot.person) for spot in spots)
    assert not any(name in told for name in names)
    assert not re.search(r"1[3-9]\d{9}", told)


# --- numbers


class DeadLines(Loopback):
    """A far end at which some numbers are out of service."""

    dead: frozenset[str] = frozenset()
    broken = ""  # "away": nothing leaves; "later": nobody may be called just now

    def send(self, call):
        if self.broken == "away":
            raise Unavailable("测试")
        if self.broken == "later":
            return [Receipt(State.DEFERRED, "later") for _ in call.messages]
        receipts = super().send(call)
        return [
            Receipt(State.REJECTED, "200004") if message.address in self.dead else receipt
            for message, receipt in zip(call.messages, receipts, strict=True)
        ]


def dead_lines(story) -> list[DeadLines]:
    """SMS and voice by far ends that a story can break."""
    made = []
    for channel in ("sms", "voice"):
        peer = open_peer(
            name=f"{channel}-1", channel=channel, protocol="loopback", simulated=True,
            options={"file": str(story.folder / f"{channel}.jsonl"), "per_call": 1 if channel == "voice" else 1000},
        )  # fmt: skip
        lines = DeadLines(peer.options)
        made.append(lines)
        way = Way(channel, (FarEnd(peer, lines, threading.Semaphore(4)),))
        story.gateway.house.ways = {**story.gateway.house.ways, channel: way}
    return made


def phone(story, person: int) -> str:
    with story.gateway.ledger.read() as tx:
        sealed = tx.execute(
            sa.select(t.address.c.sealed)
            .join(t.target, t.target.c.address_id == t.address.c.id)
            .where(t.target.c.person_id == person, t.target.c.channel == "voice")
        ).scalar_one()
    return story.gateway.ledger.seal.open(bytes(sealed))


def red(story, **options):
    sent = story.gateway.submit(
        story.gateway.read(warning(story, severity="Extreme", area="测试村", codes=(VILLAGE,), **options)), source="deqing-met"
    )
    story.work()
    return sent


def test_a_number_that_failed_in_three_alerts_is_named_until_it_works_or_is_replaced(story):
    lines = dead_lines(story)
    person = post(story, "VILLAGE_HEAD").person_id
    dead = frozenset({phone(story, person)})
    for one in lines:
        one.dead = dead
    red(story)
    red(story, status="Exercise")
    assert found(story, "number_failed") == []  # twice may be chance
    red(story)
    [failed] = found(story, "number_failed")
    assert (failed.colour, failed.count, at(failed)) == ("red", 1, {VILLAGE})
    assert zh(story, "VILLAGE_HEAD") in failed.where[0].roles and failed.where[0].person.endswith("*")

    with story.gateway.ledger.write() as tx:  # another number in the roster
        before = tx.execute(
            sa.select(t.target.c.address_id).where(t.target.c.person_id == person, t.target.c.channel == "voice")
        ).scalar_one()
        other = tx.execute(
            t.address.insert().values(sealed=story.gateway.ledger.seal.seal("+8615412345678")).returning(t.address.c.id)
        ).scalar_one()
        phones = t.target.update().where(t.target.c.person_id == person, t.target.c.channel.in_(("sms", "voice")))
        tx.execute(phones.values(address_id=other))
    assert found(story, "number_failed") == []
    change(story, phones.values(address_id=before))
    assert len(found(story, "number_failed")) == 1

    for one in lines:
        one.dead = frozenset()
    red(story)
    assert found(story, "number_failed") == []


def test_a_number_that_one_of_both_ways_reached_has_not_failed(sqlite_story):
    story = sqlite_story
    _, voice = dead_lines(story)
    voice.dead = frozenset({phone(story, post(story, "VILLAGE_HEAD").person_id)})
    for _ in range(3):
        red(story)
    assert found(story, "number_failed") == []


def test_alerts_that_did_not_try_a_number_are_passed_over(sqlite_story):
    story = sqlite_story
    lines = dead_lines(story)
    for one in lines:
        one.dead = frozenset({phone(story, post(story, "VILLAGE_HEAD").person_id)})
    for _ in range(3):
        red(story)
        story.gateway.submit(
            story.gateway.read(warning(story, severity="Minor", area="测试", codes=("330521002",))), source="deqing-met"
        )
        story.work()
    [failed] = found(story, "number_failed")
    assert failed.count == 1


@pytest.mark.parametrize("broken", ["away", "later"])
def test_what_a_provider_did_not_take_before_it_was_over_says_nothing_of_the_numbers(sqlite_story, broken):
    story = sqlite_story
    for one in dead_lines(story):
        one.broken = broken
    for _ in range(3):
        red(story)
        story.clock.forward(hours=7)  # everything is given up
        story.work()
    with story.gateway.ledger.read() as tx:
        state = sa.func.coalesce(t.delivery.c.state, t.batch.c.state)
        known = (
            sa.select(state).join(t.batch, t.batch.c.id == t.delivery.c.batch_id).where(t.batch.c.channel.in_(("sms", "voice")))
        )
        states = set(tx.execute(known.distinct()).scalars())
    assert "failed" in states and not states & {"accepted", "delivered", "rejected"}
    assert found(story, "number_failed") == []


def test_a_refusal_of_our_own_says_nothing_of_the_number(sqlite_story):
    story = sqlite_story
    change(story, t.target.update().where(t.target.c.person_id == post(story, "VILLAGE_HEAD").person_id).values(synthetic=False))
    for _ in range(3):
        red(story)
    change(story, t.target.update().values(synthetic=True))
    assert found(story, "number_failed") == []


# --- ways out


def by(story, channel: str, protocol: str = "loopback", *, concurrency: int = 4, rate: float = 0.0, **options: object) -> None:
    given = options or {"file": str(story.folder / f"{channel}.jsonl"), "per_call": 1}
    peer = open_peer(
        name=f"{channel}-1", channel=channel, protocol=protocol, simulated=True, concurrency=concurrency, rate=rate, options=given
    )
    story.gateway.house.ways = {**story.gateway.house.ways, **open_ways([peer])}


def test_a_provider_that_is_too_slow_for_the_red_plan_is_red_until_it_is_fast_enough(sqlite_story):
    story = sqlite_story
    assert found(story, "quota") == []
    by(story, "sms", rate=2.0)
    [slow] = found(story, "quota")
    assert slow.colour == "red" and "sms-1" in slow.what and "red" in slow.what
    assert found(story, "quota", TOWN) == []  # of the whole county only
    by(story, "sms", concurrency=100)
    assert found(story, "quota") == []


def test_residents_count_too_and_have_their_own_time(sqlite_story):
    story = sqlite_story
    by(story, "sms", concurrency=100, file=str(story.folder / "sms.jsonl"), per_call=1, latency_ms=0)
    assert found(story, "quota") == []
    with story.gateway.ledger.write() as tx:  # half a million more residents
        roster = tx.execute(sa.select(t.roster.c.id).where(t.roster.c.in_force)).scalar_one()
        one = tx.execute(sa.select(sa.func.min(t.address.c.id))).scalar_one()
        values = {
            "roster_id": roster,
            "audience": "resident",
            "channel": "sms",
            "region": VILLAGE,
            "address_id": one,
            "synthetic": True,
            "test": False,
        }
        for _ in range(100):
            tx.execute(t.target.insert(), [values] * 5000)
    [slow] = found(story, "quota")
    assert "15 min" in slow.what


def test_a_work_notice_that_may_leave_once_in_ten_minutes_does_not_reach_everybody(sqlite_story):
    story = sqlite_story
    by(
        story,
        "zwdd",
        "zwdd-notice",
        concurrency=1,
        url="http://127.0.0.1:9",
        app_key="simulated-app",
        app_secret="simulated-secret",
        tenant_id="1",
    )
    [slow] = found(story, "quota")
    assert slow.colour == "red" and "zwdd-1" in slow.what


def test_too_few_lines_pull_the_calls_of_the_ladder_apart(sqlite_story):
    story = sqlite_story
    by(story, "voice", concurrency=3)  # a wave of about two minutes: in the plan's time, and too slow for a call a minute
    assert found(story, "quota") == []
    [slow] = found(story, "ladder")
    assert slow.colour == "yellow" and "voice-1" in slow.what
    by(story, "voice", concurrency=100)
    assert found(story, "ladder") == []


def test_a_budget_for_each_number_that_the_ladder_overdraws_is_said_for_each_level(sqlite_story):
    story = sqlite_story
    given = {
        "url": "http://127.0.0.1:9", "access_key_id": "simulated-key", "access_key_secret": "simulated-secret",
        "caller": "15400000000", "start_code": "TTS_1", "confirmed_code": "TTS_2",
    }  # fmt: skip
    by(story, "voice", "vms", concurrency=100, **given)
    assert found(story, "budget") == []  # the shipped plans keep within it
    files = {name: text.replace("calls = 2 ", "calls = 3 ") for name, text in story.plan_files().items()}
    story.gateway.import_plans(files, "测试")
    budgets = found(story, "budget")  # two of five calls an hour are for less than red, and the plan makes three
    assert is_colour(budgets) == {"yellow"} and len(budgets) == 2
    by(story, "voice", "vms", concurrency=100, callee_limits=[{"calls": 2, "seconds": 3600, "below_red": 0}], **given)
    assert sorted(one.colour for one in found(story, "budget")) == ["red", "yellow", "yellow"]
    by(story, "voice", "vms", concurrency=100, callee_limits=[{"calls": 5, "seconds": 3600, "below_red": 5}], **given)
    assert found(story, "budget") == []


def test_a_channel_of_the_plans_without_a_peer_is_red(sqlite_story):
    story = sqlite_story
    assert found(story, "no_way") == []
    story.gateway.house.ways = {name: way for name, way in story.gateway.house.ways.items() if name != "voice"}
    [missing] = found(story, "no_way")
    assert missing.colour == "red" and "voice" in missing.what
    assert found(story, "not_by_voice") == []  # that would be everybody


def test_loudspeakers_that_went_silent_are_said_and_a_platform_that_did_is_red(story):
    village = VILLAGE
    now = story.gateway.house.now()

    def systems(region=""):
        return [one for one in found(story, "silent_speakers", region) if at(one) != {"330521"}]

    def platform():
        return [one.colour for one in found(story, "silent_speakers") if at(one) == {"330521"}]

    assert village in at(systems()[0]) and platform() == ["yellow"]  # never heard: perhaps it does not report
    with story.gateway.ledger.write() as tx:
        conditions.note(
            tx,
            [Seen("speaker-loopback", "", "", "online", "", None), Seen("speaker-loopback", "s", village, "online", "", None)],
            now,
        )
    assert village not in at(systems()[0]) and platform() == []
    assert systems(village) == []
    story.clock.forward(hours=25)
    assert village in at(systems()[0]) and platform() == ["red"]
    assert [at(one) for one in systems(village)] == [{village}]


# --- the whole


def test_a_region_hears_of_its_own_only_and_one_that_there_is_not_is_refused(sqlite_story):
    story = sqlite_story
    change(story, t.post.update().where(t.post.c.role == "VILLAGE_HEAD", t.post.c.rank == "A").values(ended=1))
    below = set(story.gateway.house.books.regions.below(TOWN))
    for one in story.gateway.readiness(TOWN).findings:
        assert at(one) & below
    assert at(found(story, "vacant", VILLAGE)[0]) == {VILLAGE}
    with pytest.raises(NotFound):
        story.gateway.readiness("330599")


def test_red_findings_come_first_and_make_the_answer_no(sqlite_story):
    story = sqlite_story
    before = story.gateway.readiness(VILLAGE)
    assert before.ok
    change(story, t.post.update().where(t.post.c.role == "VILLAGE_HEAD", t.post.c.region == VILLAGE).values(ended=1))
    after = story.gateway.readiness(VILLAGE)
    colours = [one.colour for one in after.findings]
    assert not after.ok and colours == sorted(colours)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An example at size S: the posts of one town are filled, those of the others are not."""
    folder = tmp_path_factory.mktemp("ready") / "home"
    assert main(["init", str(folder), "--example", "deqing", "--size", "S"]) == 0
    return folder


def test_at_the_command_line_the_first_few_are_named_and_json_has_all(home, capsys):
    assert main(["--home", str(home), "readiness"]) == 1
    shown = capsys.readouterr().out
    assert "VILLAGE_HEAD" in shown and "more" in shown and "red," in shown
    assert main(["--home", str(home), "readiness", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    vacant = next(one for one in told["findings"] if one["kind"] == "vacant" and "VILLAGE_HEAD" in one["what"])
    assert told["ok"] is False and len(vacant["where"]) == vacant["count"] > 100


def test_a_town_whose_posts_are_filled_has_no_vacancy_and_an_unknown_one_is_no(home, capsys):
    main(["--home", str(home), "readiness", "--region", "330521001", "--json"])
    kinds = [one["kind"] for one in json.loads(capsys.readouterr().out)["findings"]]
    assert "quota" not in kinds
    assert main(["--home", str(home), "readiness", "--region", "999999"]) == 1
    assert "no region" in capsys.readouterr().err


def test_preview_at_the_command_line_says_calls_lines_and_order(home, capsys):
    given = ["preview", str(home / "warnings" / "2-rainstorm-orange.xml"), "--source", "deqing-met", "--restamp"]
    assert main(["--home", str(home), *given]) == 0
    shown = capsys.readouterr().out
    assert "calls at once, by vms-1: 8 lines, 50 a second" in shown
    assert (
        "if nobody answers: 2 calls each" in shown
        and "others are asked after 2.0 min" in shown
        and "called in this order:" in shown
    )
