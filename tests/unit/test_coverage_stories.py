"""Coverage as it is kept: which villages a warning has reached, said while there is time to knock at the door."""

from __future__ import annotations

import csv
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from broadcast.channels import open_peer
from broadcast.channels.base import Reply, Report, Verb
from broadcast.cli import main, status
from broadcast.cli.saying import to_json
from broadcast.coverage import Loudspeaker, Reach, SinglePoint, reach
from broadcast.delivery import Receipt, State
from broadcast.errors import NotFound
from broadcast.gateway import Gateway, House, figuring, keys, open_ways
from broadcast.ledger import coverage as ledger
from broadcast.ledger import tables as t
from broadcast.settings import load, open_gateway
from broadcast.tiers.regions import CodeSystem

from ..conftest import CHANNELS_OF_STORIES
from ..town import a_town
from .stories import warning

VILLAGE, NEIGHBOUR, TOWN = "330521115201", "330521115202", "330521115"


def takes_all_and_says_nothing(gateway: Gateway, folder: Path) -> None:
    """Every far end takes what it is given, and no word comes of what became of it."""
    peers = [
        open_peer(
            name=f"{channel}-1", channel=channel, protocol="loopback", simulated=True,
            options={"file": str(folder / f"{channel}-silent.jsonl"), "answers": "accepted"},
        )
        for channel in CHANNELS_OF_STORIES
    ]  # fmt: skip
    gateway.house.ways = open_ways(peers)


@pytest.fixture
def silent(story):
    takes_all_and_says_nothing(story.gateway, story.folder)
    return story


@pytest.fixture
def sqlite_silent(sqlite_story):
    takes_all_and_says_nothing(sqlite_story.gateway, sqlite_story.folder)
    return sqlite_story


def send(story, *codes: str, **options):
    sources = story.gateway.house.sources
    story.gateway.house.sources = [replace(one, code_system=CodeSystem.NBS) for one in sources]  # else a code may be two places
    raw = warning(story, area="测试", codes=codes or (VILLAGE, NEIGHBOUR), **({"severity": "Extreme"} | options))
    sent = story.gateway.submit(story.gateway.read(raw), source="deqing-met")
    story.work()
    return sent


def village(story, sent, region: str = VILLAGE):
    return next(one for one in story.gateway.coverage(sent.alert_id).villages if one.region == region)


def names(story, sent, channel: str, region: str = VILLAGE, role: str = "") -> list[str]:
    """The keys of deliveries of one channel to a village (to the holders of a role there)."""
    with story.gateway.ledger.read() as tx:
        statement = (
            sa.select(t.delivery.c.batch_id, t.delivery.c.seq)
            .join(t.batch, t.batch.c.id == t.delivery.c.batch_id)
            .outerjoin(t.post, t.post.c.id == t.delivery.c.post_id)
            .where(t.batch.c.alert_id == sent.alert_id, t.batch.c.channel == channel, t.delivery.c.region == region)
            .order_by(t.delivery.c.batch_id, t.delivery.c.seq)
        )
        rows = tx.execute(statement.where(t.post.c.role == role) if role else statement).all()
    return [keys.key_of(story.gateway.house, row.batch_id, row.seq) for row in rows]


def comes(story, channel: str, *key: str, state: State = State.DELIVERED) -> None:
    story.gateway.hear(f"{channel}-1", [Report(Receipt(state), key=one) for one in key])


def says(story, channel: str, key: str, verb: Verb = Verb.ACKNOWLEDGED, **counts: int) -> None:
    story.gateway.hear(f"{channel}-1", [Reply(verb, key=key, counts=counts)])


def later(story, **spans: float) -> None:
    story.clock.forward(**spans)
    story.work()


def remove(story, *where) -> None:
    with story.gateway.ledger.write() as tx:
        tx.execute(t.target.delete().where(*where))


def cut_off(story, region: str = VILLAGE) -> None:
    """No loudspeaker, no resident's number, and nobody with a post there has any address."""
    there = sa.select(t.post.c.person_id).where(t.post.c.region == region)
    remove(story, sa.or_(t.target.c.region == region, t.target.c.person_id.in_(there)))


# --- how far a village is reached


def test_a_village_is_handed_over_then_heard_then_told_at_the_door_then_answered_and_then_acted(silent):
    sent = send(silent)
    first = village(silent, sent)
    assert (first.reach, first.loudspeaker, first.first_reached) == (Reach.HANDED_OVER, Loudspeaker.UNKNOWN, None)
    assert first.handed_over > 150 and (first.sms_delivered, first.posts_acknowledged) == (0, 0)

    later(silent, minutes=2)
    comes(silent, "speaker", *names(silent, sent, "speaker"))
    heard = village(silent, sent)
    assert (heard.reach, heard.loudspeaker, heard.first_reached) == (Reach.MACHINE, Loudspeaker.YES, 2.0)

    task = names(silent, sent, "grid", role="GRID_HEAD")[0]
    says(silent, "grid", task, Verb.MEASURES, households=17)
    says(silent, "grid", task, Verb.DONE, households=40)  # the newest word of a task stands
    told = village(silent, sent)
    assert (told.reach, told.households, told.households_of, told.posts_acknowledged) == (Reach.DOOR, 40, None, 0)

    says(silent, "voice", names(silent, sent, "voice", role="VILLAGE_HEAD")[0])
    answered = village(silent, sent)
    assert answered.reach is Reach.PERSON and 0 < answered.posts_acknowledged < answered.posts_owed

    says(silent, "voice", names(silent, sent, "voice", role="VILLAGE_HEAD")[0], Verb.MEASURES)
    done = village(silent, sent)
    assert done.reach is Reach.MEASURES and done.measures >= 1 and done.first_reached == 2.0
    assert village(silent, sent, NEIGHBOUR).reach is Reach.HANDED_OVER


def test_sms_and_calls_are_counted_beside_it_with_how_many_were_owed(silent):
    sent = send(silent)
    sms, calls = names(silent, sent, "sms"), names(silent, sent, "voice")
    comes(silent, "sms", *sms[:7])
    comes(silent, "sms", *sms[7:9], state=State.FAILED)
    comes(silent, "voice", calls[0])
    found = village(silent, sent)
    assert (found.reach, found.sms_delivered, found.voice_answered) == (Reach.MACHINE, 7, 1)
    assert found.sms_owed >= len(sms) and found.voice_owed >= len(calls)
    total = silent.gateway.coverage(sent.alert_id).total
    assert total.sms_delivered >= 7 and sum(total.villages.values()) == 2 and total.unreached == 1


def test_whoever_signs_a_task_and_owes_no_answer_has_it_on_a_device_and_answers_for_nobody(silent):
    sent = send(silent)
    says(silent, "grid", names(silent, sent, "grid", role="GRID_HEAD")[0])
    found = village(silent, sent)
    assert (found.reach, found.posts_acknowledged) == (Reach.MACHINE, 0)


def test_a_village_head_of_two_villages_has_it_in_both(sqlite_silent):
    story = sqlite_silent
    with story.gateway.ledger.write() as tx:
        head = tx.execute(
            sa.select(t.post).where(t.post.c.role == "VILLAGE_HEAD", t.post.c.region == VILLAGE, t.post.c.rank == "A")
        ).one()
        values = {"person_id": head.person_id, "role": "VILLAGE_HEAD", "region": NEIGHBOUR, "rank": "A"}
        tx.execute(t.post.insert().values(**values))
    sent = send(story)
    comes(story, "sms", names(story, sent, "sms", role="VILLAGE_HEAD")[0])
    found = {village(story, sent, region).sms_delivered for region in (VILLAGE, NEIGHBOUR)}
    assert found == {1} and story.gateway.coverage(sent.alert_id).total.unreached == 0


def test_places_at_risk_come_first_and_in_each_the_worst_first(sqlite_silent):
    story = sqlite_silent
    sent = send(story, TOWN, "330521001")  # mountains, and the plain beside them
    with_risk = [one for one in story.gateway.coverage(sent.alert_id).villages if one.at_risk]
    comes(story, "speaker", *names(story, sent, "speaker", with_risk[0].region))
    found = story.gateway.coverage(sent.alert_id)
    order = [(not one.at_risk, one.reach.rank) for one in found.villages]
    assert order == sorted(order) and 0 < len(with_risk) < len(found.villages)
    assert found.total.at_risk_unreached == len(with_risk) - 1
    assert [one.unreached for one in found.towns] == sorted((one.unreached for one in found.towns), reverse=True)
    assert sum(sum(one.villages.values()) for one in found.towns) == len(found.villages)


def test_only_what_lies_below_a_region_is_shown_where_one_is_named(sqlite_silent):
    story = sqlite_silent
    sent = send(story, "330521")
    found = story.gateway.coverage(sent.alert_id, TOWN)
    assert {one.town for one in found.villages} == {TOWN} and found.total.region == TOWN
    assert found.total.households_of == 11_028  # of the whole town, by population.csv
    assert [one.name for one in found.points()] == ["莫干山镇"]
    assert len(story.gateway.coverage(sent.alert_id).points()) == 13
    with pytest.raises(NotFound):
        story.gateway.coverage(sent.alert_id, "999999")


def test_a_message_that_says_that_it_is_over_has_no_coverage(sqlite_silent):
    story = sqlite_silent
    first = send(story, identifier="33052141600000_before")
    over = story.gateway.submit(
        story.gateway.read(warning(story, msg_type="Cancel", references="33052141600000_before")), source="deqing-met"
    )
    with pytest.raises(NotFound, match="over"):
        story.gateway.coverage(over.alert_id)
    assert story.gateway.coverage(first.alert_id).state == "cancelled"


def test_what_the_watch_asks_says_the_same_as_all_the_facts(silent):
    """A few hundred deliveries with every kind of end, tasks and answers: the quick questions and the whole must agree."""
    sent = send(silent, TOWN)
    chance = random.Random(5)
    with silent.gateway.ledger.write() as tx:
        rows = tx.execute(
            sa.select(t.delivery.c.batch_id, t.delivery.c.seq, t.delivery.c.region, t.delivery.c.channel).where(
                t.delivery.c.alert_id == sent.alert_id
            )
        ).all()
        lucky = set(chance.sample(sorted({row.region for row in rows}), 8))
        for row in rows:
            state = chance.choice(
                ["failed", "accepted", "rejected"] + ["delivered"] * (row.region in lucky and chance.random() < 0.1)
            )
            one = (t.delivery.c.batch_id == row.batch_id, t.delivery.c.seq == row.seq)
            tx.execute(t.delivery.update().where(*one).values(state=state))
    says(silent, "grid", names(silent, sent, "grid", role="GRID_HEAD")[0], Verb.DONE, households=3)
    with silent.gateway.ledger.read() as tx:
        facts = ledger.facts(tx, sent.alert_id)
        quick = ledger.reached(tx, sent.alert_id, facts)
    whole = {region for region, one in facts.items() if reach(one).reached}
    assert quick == whole and VILLAGE in whole and 0 < len(whole) < len(facts)


# --- what it hangs on


def test_what_a_village_hung_on_is_said_beside_it(sqlite_silent):
    story = sqlite_silent
    with story.gateway.ledger.read() as tx:
        persons = tx.execute(sa.select(t.post.c.person_id).where(t.post.c.region == VILLAGE).distinct()).scalars().all()
    remove(story, t.target.c.person_id.in_(persons[1:]), t.target.c.channel.in_(("sms", "voice")))
    remove(story, t.target.c.region == VILLAGE, t.target.c.channel == "speaker")
    sent = send(story)
    comes(story, "sms", names(story, sent, "sms")[0])
    points = village(story, sent).single_points
    assert {SinglePoint.ONE_NUMBER, SinglePoint.ONE_CHANNEL, SinglePoint.NO_LOUDSPEAKER} == set(points)
    assert village(story, sent, NEIGHBOUR).single_points == ()


def test_in_a_drill_that_tells_no_loudspeaker_none_is_missing(sqlite_silent):
    sent = send(sqlite_silent, status="Exercise")
    assert all(
        SinglePoint.NO_LOUDSPEAKER not in one.single_points for one in sqlite_silent.gateway.coverage(sent.alert_id).villages
    )


def of_village(found, kind: str) -> set[str]:
    return {spot.region for one in found.findings if one.kind == kind for spot in one.where}


def test_before_an_event_readiness_finds_the_same_villages(story):
    expected = story.gateway.expected_coverage(TOWN)
    assert expected.ok and of_village(expected, "no_loudspeaker") == set()
    assert {one.loudspeaker for one in expected.villages} == {Loudspeaker.UNKNOWN}  # never heard from

    cut_off(story)
    remove(story, t.target.c.region == NEIGHBOUR, t.target.c.channel == "speaker")
    expected, ready = story.gateway.expected_coverage(TOWN), story.gateway.readiness(TOWN)

    worst = expected.villages[0]
    assert (worst.region, worst.reach, worst.by_machine, worst.by_door, worst.by_person) == (
        VILLAGE,
        Reach.NOBODY,
        False,
        False,
        False,
    )
    assert not expected.ok and of_village(expected, "by_nobody") == {VILLAGE}
    assert of_village(expected, "no_loudspeaker") == {VILLAGE, NEIGHBOUR}
    assert set(expected.findings) <= set(ready.findings) and not ready.ok


def test_one_person_who_holds_every_post_of_a_village_is_found_before_the_rain(sqlite_story):
    story = sqlite_story
    with story.gateway.ledger.write() as tx:
        rows = tx.execute(sa.select(t.post).where(t.post.c.region == VILLAGE)).all()
        head = next(row for row in rows if row.role == "VILLAGE_HEAD" and row.rank == "A")
        others = [row.id for row in rows if row.person_id != head.person_id]
        tx.execute(t.post.update().where(t.post.c.id.in_(others)).values(ended=1))
    assert of_village(story.gateway.expected_coverage(TOWN), "one_person") == {VILLAGE}


def test_who_owes_no_answer_stands_at_the_doors_and_answers_for_nobody(sqlite_story):
    story = sqlite_story
    with story.gateway.ledger.write() as tx:
        others = (t.post.c.region == VILLAGE, t.post.c.role != "GRID_HEAD")
        tx.execute(t.post.update().where(*others).values(ended=1))
    [found] = [one for one in story.gateway.expected_coverage(TOWN).villages if one.region == VILLAGE]
    assert (found.persons, found.by_person, found.by_door, found.reach) == (0, False, True, Reach.DOOR)


# --- while it is running


def test_a_village_that_nobody_reached_in_the_plans_time_is_said_once_and_once_when_it_is_reached_after_all(silent, caplog):
    sent = send(silent)
    due = silent.gateway.coverage(sent.alert_id).due
    assert (due - silent.gateway.status(sent.alert_id).received).total_seconds() == 300  # red: village posts within 5 min
    comes(silent, "speaker", *names(silent, sent, "speaker", NEIGHBOUR))
    later(silent, minutes=4)
    assert "village.unreached" not in silent.entries(sent)  # there is time yet

    for _ in range(3):
        later(silent, minutes=2)
    assert silent.entries(sent).count("village.unreached") == 1
    assert "1 of 2 villages are reached by nobody" in caplog.text
    assert of_check(silent) == ("red", True) and figure(silent) == {"Actual": 1, "Exercise": 0}
    assert silent.gateway.unreached_villages(sent.alert_id) == (village(silent, sent).name,)

    comes(silent, "sms", *names(silent, sent, "sms")[:1])
    for _ in range(3):
        later(silent, minutes=2)
    assert silent.entries(sent).count("village.reached") == 1
    assert of_check(silent)[0] == "green" and figure(silent) == {"Actual": 0, "Exercise": 0}
    assert silent.gateway.unreached_villages(sent.alert_id) == ()
    assert silent.gateway.verify().holds


def of_check(story) -> tuple[str, bool]:
    [check] = [one for one in story.gateway.health().checks if one.name == "villages"]
    return check.colour, "broadcast coverage" in check.text


def figure(story) -> dict[str, int]:
    return dict(figuring.figures(story.gateway.house).villages_unreached)


def another_process(story) -> Gateway:
    """The sweep of a process that has just been started: it remembers nothing."""
    house = story.gateway.house
    made = House(
        house.ledger, house.county, house.sources, house.ways, house.templates, house.ring, house.clock, holder=house.holder
    )
    return Gateway(made)


def test_whoever_takes_over_the_sweep_says_nothing_twice(silent):
    sent = send(silent)
    later(silent, minutes=6)
    assert silent.entries(sent).count("village.unreached") == 2
    assert silent.entries(sent).count("coverage.looked") == 1
    for _ in range(2):
        another_process(silent).sweep()
    comes(silent, "speaker", *names(silent, sent, "speaker"))
    for _ in range(2):
        another_process(silent).sweep()
    counted = {kind: silent.entries(sent).count(kind) for kind in ("coverage.looked", "village.unreached", "village.reached")}
    assert counted == {"coverage.looked": 1, "village.unreached": 2, "village.reached": 1}


def test_it_looks_at_most_every_half_minute(sqlite_silent):
    sent = send(sqlite_silent)
    later(sqlite_silent, minutes=5, seconds=1)
    comes(sqlite_silent, "speaker", *names(sqlite_silent, sent, "speaker"))
    later(sqlite_silent, seconds=20)
    assert "village.reached" not in sqlite_silent.entries(sent)
    later(sqlite_silent, seconds=11)
    assert "village.reached" in sqlite_silent.entries(sent)


def test_of_an_alert_that_is_over_nothing_is_said(sqlite_silent):
    story = sqlite_silent
    sent = send(story, identifier="33052141600000_over")
    story.gateway.submit(
        story.gateway.read(warning(story, msg_type="Cancel", references="33052141600000_over")), source="deqing-met"
    )
    later(story, minutes=10)
    with story.gateway.ledger.write() as tx:
        assert ledger.watched(tx) == []
        assert ledger.say(tx, sent.alert_id, [VILLAGE], [], story.gateway.house.now()) == (set(), set())  # closed while we looked
    assert "village.unreached" not in story.entries(sent) and of_check(story)[0] == "green"


def test_a_drill_is_watched_too_and_is_no_danger(sqlite_silent):
    story = sqlite_silent
    sent = send(story, status="Exercise")
    later(story, minutes=10)
    assert story.entries(sent).count("village.unreached") == 2
    assert of_check(story) == ("yellow", True) and figure(story) == {"Actual": 0, "Exercise": 2}


def test_a_village_that_has_no_address_at_all_is_found_too_and_status_names_it(sqlite_story, capsys):
    cut_off(sqlite_story)
    sent = send(sqlite_story)  # everybody else is reached at once
    later(sqlite_story, minutes=6)
    assert village(sqlite_story, sent).reach is Reach.NOBODY
    name = village(sqlite_story, sent).name
    assert sqlite_story.gateway.unreached_villages(sent.alert_id) == (name,)
    status._say_answers(sqlite_story.gateway, [sqlite_story.gateway.status(sent.alert_id)])
    assert f"reached by nobody within the plan's time ({name}): broadcast coverage 1" in capsys.readouterr().out


# --- against the stand-ins


def test_with_every_way_out_a_village_is_heard_told_at_the_door_and_answered_for(sqlite_story):
    with a_town(sqlite_story) as town:
        sent = town.send(warning(sqlite_story, area="测试村", codes=(VILLAGE,), severity="Extreme"))
        town.until(lambda: village(town.story, sent).households)
        town.until(lambda: village(town.story, sent).loudspeaker is Loudspeaker.YES)
        town.until(lambda: village(town.story, sent).posts_acknowledged)
        found = village(town.story, sent)
    assert found.reach in (Reach.PERSON, Reach.MEASURES)
    assert found.sms_delivered > 0 and found.first_reached is not None and found.first_reached >= 0


# --- at the command line


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An example home in which a warning was taken and nothing has left yet."""
    folder = tmp_path_factory.mktemp("coverage") / "home"
    assert main(["init", str(folder), "--example", "deqing", "--size", "S"]) == 0
    given = ["--source", "deqing-met", "--token-file", str(folder / "deqing-met.token"), "--restamp"]
    assert main(["--home", str(folder), "send", str(folder / "warnings" / "2-rainstorm-orange.xml"), *given]) == 0
    return folder


def works(home: Path) -> None:
    """Everything that is planned is delivered by far ends that say so."""
    gateway = open_gateway(load(home))
    try:
        peers = [
            open_peer(name=f"{c}-1", channel=c, protocol="loopback", simulated=True, options={"file": str(home / f"{c}.jsonl")})
            for c in CHANNELS_OF_STORIES
        ]
        gateway.house.ways = open_ways(peers)
        with gateway.ledger.read() as tx:
            numbers = list(tx.execute(sa.select(t.batch.c.id)).scalars())
        for number in numbers:
            gateway.deliver(number)
    finally:
        gateway.close()


def test_at_the_command_line_the_answer_is_no_while_a_village_is_reached_by_nobody(home, capsys, tmp_path):
    home = Path(shutil.copytree(home, tmp_path / "home"))
    told = ["--home", str(home), "coverage", "1"]
    capsys.readouterr()
    assert main(told) == 1
    shown = capsys.readouterr().out.splitlines()
    assert "NOT REACHED" in shown[-1] and shown[-1].startswith("alert 1: ") and "at risk" in shown[0]

    works(home)
    assert main([*told, "--region", TOWN]) == 0
    assert "villages are reached" in capsys.readouterr().out.splitlines()[-1]

    files = {name: str(tmp_path / f"coverage.{name}") for name in ("csv", "xlsx", "png")}
    code = main([*told, "--json", "--csv", files["csv"], "--xlsx", files["xlsx"], "--map", files["png"]])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert code == (1 if found["total"]["unreached"] else 0)
    with Path(files["csv"]).open(encoding="utf-8-sig", newline="") as read:
        rows = list(csv.DictReader(read))
    assert len(rows) == len(found["villages"]) and {row["reached"] for row in rows} <= {"by machine only", "by nobody"}
    assert Path(files["xlsx"]).stat().st_size > 1000
    assert Path(files["png"]).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    main([*told, "--by", "town", "--csv", files["csv"]])
    with Path(files["csv"]).open(encoding="utf-8-sig", newline="") as read:
        towns = list(csv.DictReader(read))
    assert sum(int(row["villages"]) for row in towns[:-1]) == int(towns[-1]["villages"]) == len(rows)


def test_before_an_event_the_answer_is_no_while_a_village_has_nobody_to_call(home, capsys):
    capsys.readouterr()
    assert main(["--home", str(home), "coverage", "--readiness", "--json"]) == 1  # size S fills the posts of one town only
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"] and len(found["villages"]) > 100
    assert main(["--home", str(home), "coverage", "--readiness"]) == 1
    assert "could be reached by machine" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("words", [[], ["1", "--readiness"], ["--readiness", "--by", "town"], ["--readiness", "--map", "x.png"]])
def test_an_alert_or_what_is_to_be_expected_but_not_both(home, capsys, words):
    assert main(["--home", str(home), "coverage", *words]) == 2
    assert "broadcast coverage" in capsys.readouterr().err


def test_no_name_and_no_number_of_a_person_is_in_it(sqlite_story):
    sent = send(sqlite_story)
    text = to_json(sqlite_story.gateway.coverage(sent.alert_id)) + to_json(sqlite_story.gateway.expected_coverage(TOWN))
    assert "测" not in text.replace("测试", "") and "154" not in text
