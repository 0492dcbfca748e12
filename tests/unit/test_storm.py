"""A storm is played to its end: real gateway, real ledger, and people who answer, sleep or are cut off."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from broadcast.callout import Ladder
from broadcast.channels import CHANNELS
from broadcast.cli import main
from broadcast.cli.storm import BEGINS, SOURCE, _loopback
from broadcast.errors import NotFound
from broadcast.gateway import CountySettings, Gateway, House, Source, open_ways
from broadcast.ledger import Ledger, Seal
from broadcast.ledger import tables as t
from broadcast.ledger.evidence import Evidence, Made
from broadcast.resources import TEMPLATES
from broadcast.storm import Crowd, Look, Outcome, Shares, Storm, StoryClock, outcome, result, warning
from broadcast.storm.people import ANSWERS_WITHIN
from broadcast.tiers.plan import Rung
from broadcast.tiers.regions import Regions

from ..conftest import DEQING, Pattern, read_folder

TOWN, VILLAGE = "330521115", "330521115201"
LADDER = Ladder(3, 60, 60, (Rung.DEPUTY, Rung.SUPERIOR, Rung.SIDEWAYS, Rung.DOOR), "at_once", 3600)


class Played:
    """One storm that was played, and its ledger."""

    def __init__(self, folder: Path, pattern: Pattern, region: str, shares: Shares, seed: int = 1, rate: float = 5.0) -> None:
        clock = StoryClock(BEGINS)
        ledger = Ledger(pattern.copy(folder), Seal.from_file(folder / "seal.key"))
        self.gateway = Gateway(
            House(
                ledger=ledger, county=CountySettings("德清县", "德清应急"), sources=[Source(SOURCE, frozenset({"33052141600000"}))],
                ways=open_ways([_loopback(folder, channel) for channel in CHANNELS]), templates=[TEMPLATES], ring=lambda _lanes: True,
                clock=clock,
            )
        )  # fmt: skip
        self.looks: list[Look] = []
        name = self.gateway.house.books.regions[region].name
        storm = Storm(self.gateway, clock, Crowd(shares, seed), rate)
        self.alert = storm.play(warning(BEGINS, "red", [name], [region]), SOURCE, self.looks.append)
        self.outcome, self.proofs = result(self.gateway, self.alert)

    def rows(self, statement: sa.Select) -> list[sa.Row]:
        with self.gateway.ledger.read() as tx:
            return list(tx.execute(statement))

    def voice(self) -> list[dict]:
        return list(self.gateway.ledger.deliveries(alert_id=self.alert, channel="voice"))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, sqlite_pattern: Pattern) -> Played:
    """A red night over one town."""
    return Played(tmp_path_factory.mktemp("night"), sqlite_pattern, TOWN, Shares(asleep=0.5, dead=0.1, by_sms=0.1))


def test_every_post_has_answered_or_stands_on_the_door_list_when_the_storm_is_over(night):
    assert sum(tier.owed for tier in night.outcome.tiers) == len(night.proofs) > 100
    assert [tier.tier for tier in night.outcome.tiers] == ["county", "town", "village"]
    for tier in night.outcome.tiers:
        assert tier.open == 0 and sum(tier.ended.values()) == tier.owed
    ways = {one.by for one in night.proofs}
    assert {"itself", "deputy", "superior"} <= ways <= {"itself", "deputy", "superior", "sideways", "door"}
    assert night.looks[-1].duties.get("open") is None


def test_the_ladder_kept_what_it_promises_and_time_passed(night):
    assert not {check.promise: check.broken for check in night.outcome.checks if not check.kept}
    assert len(night.outcome.checks) == 7
    times = list(night.outcome.seconds.values())
    assert all(times) and times == sorted(times) and times[0] >= ANSWERS_WITHIN[0]
    calls = sum(one["purpose"] == "alarm" for one in night.voice())
    assert night.outcome.first_wave_seconds == pytest.approx(calls / 5.0, abs=3)  # five calls a second, ten in a batch


def test_a_call_that_nobody_took_has_failed_and_never_counts_as_delivered(night):
    states = {(one["state"], one["reason"] if one["state"] == "failed" else "") for one in night.voice()}
    assert states - {("cancelled", "")} == {("failed", "no-answer"), ("failed", "line-dead"), ("delivered", "")}
    pressed = set(night.rows(sa.select(t.reply.c.batch_id, t.reply.c.seq).where(t.reply.c.how == "voice")))
    assert {f"{row.batch_id}.{row.seq}" for row in pressed} == {
        one["delivery"] for one in night.voice() if one["state"] == "delivered"
    }


def test_each_answer_is_proved_by_a_reply_of_that_person_and_an_entry_of_the_chain(night):
    replies = {row.id: row for row in night.rows(sa.select(t.reply))}
    chain = {row.n: row for row in night.rows(sa.select(t.entry).where(t.entry.c.chain == f"alert:{night.alert}"))}
    posts = {
        row.id: row.person_id
        for row in night.rows(sa.select(t.callout.c.id, t.post.c.person_id).join(t.post, t.post.c.id == t.callout.c.post_id))
    }
    for one in night.proofs:
        kinds = [chain[n].kind for n in one.entries]
        if one.by == "door":
            assert one.reply is None and json.loads(chain[one.entries[-1]].body)["rung"] == "door"
            continue
        assert kinds[-1] == "reply" and chain[one.entries[-1]].at == one.answered == replies[one.reply].recorded
        assert (replies[one.reply].person_id == posts[one.callout]) == (one.by == "itself")
    assert {row.how for row in replies.values()} == {"voice", "sms"}


def test_the_same_seed_is_the_same_storm_and_another_seed_is_another(tmp_path, sqlite_pattern):
    found = []
    for n, seed in enumerate((3, 3, 4)):
        (tmp_path / str(n)).mkdir()
        found.append(Played(tmp_path / str(n), sqlite_pattern, VILLAGE, Shares(), seed))
    assert found[0].outcome == found[1].outcome != found[2].outcome
    assert found[0].proofs == found[1].proofs


def test_when_all_lines_are_dead_everybody_ends_at_the_door_and_nobody_answered(tmp_path, sqlite_pattern):
    played = Played(tmp_path, sqlite_pattern, VILLAGE, Shares(asleep=0, dead=1, by_sms=0))
    assert {one.by for one in played.proofs} == {"door"}
    assert not played.rows(sa.select(t.reply))
    # Three calls a minute apart and a minute's patience, on the rungs that have somebody.
    assert played.outcome.seconds["100"] >= 2 * 180
    assert all(check.kept for check in played.outcome.checks)


def test_a_far_end_that_is_not_configured_says_nothing(night):
    with pytest.raises(NotFound):
        night.gateway.hear("nobody", [])


# --- people


@given(st.integers(), st.integers(1, 1000), st.floats(0, 0.5), st.floats(0, 0.25), st.floats(0, 0.25))
def test_people_act_alike_whenever_they_are_asked_again_and_are_never_quicker_than_they_can_be(
    seed, number, asleep, dead, by_sms
):
    shares = Shares(asleep, dead, by_sms)
    one, other = Crowd(shares, seed), Crowd(shares, seed)
    reactions = [one.called(number) for _ in range(4)]
    assert reactions == [other.called(number) for _ in range(4)]
    picked_up = [reaction.picks_up for reaction in reactions]
    assert picked_up == sorted(picked_up)  # whoever is awake stays awake
    assert all(ANSWERS_WITHIN[0] <= reaction.after <= ANSWERS_WITHIN[1] for reaction in reactions if reaction.picks_up)


def test_whoever_sleeps_takes_the_second_or_third_call_or_none():
    crowd = Crowd(Shares(asleep=1, dead=0, by_sms=0), 1)
    first = [next((nth for nth in range(1, 6) if crowd.called(number).picks_up), None) for number in range(1000)]
    assert set(first) == {2, 3, None}
    assert first.count(2) == pytest.approx(400, abs=60) and first.count(3) == pytest.approx(300, abs=60)


def test_whoever_writes_lets_the_first_call_ring_and_writes_once():
    crowd = Crowd(Shares(asleep=0, dead=0, by_sms=1), 1)
    assert not Crowd(Shares(asleep=0, dead=0, by_sms=1), 1).called(7).picks_up
    assert crowd.texted(7) is not None and crowd.texted(7) is None
    assert crowd.called(7).picks_up


def test_shares_of_more_than_all_people_are_refused():
    with pytest.raises(ValueError, match="1 at most"):
        Shares(asleep=0.6, dead=0.5)


# --- the checks: each notices what it is for


def made(delivery: str, at: int, rung: str = "principal", number: int = 1, purpose: str = "callout.principal.1") -> Made:
    return Made(delivery, purpose, rung, number, at * 1000, int(delivery.partition(".")[0]), "failed")


def ended(callout: int = 1, **changes) -> Evidence:
    good = Evidence(
        callout=callout, role="VILLAGE_HEAD", region=VILLAGE, state="answered", rung="principal", next_step=None, opened=0, due=300_000,
        answered=100_000, how="voice", by="itself", ended=100_000, calls=(made("1.1", 0), made("2.1", 60)), entries=(7,), reply=3,
    )  # fmt: skip
    return replace(good, **changes)


@pytest.fixture(scope="module")
def regions() -> Regions:
    return Regions.load(read_folder(DEQING / "regions", "*.csv", "*.geojson"))


def broken(found: Outcome) -> set[str]:
    return {check.promise.split()[0] + " " + check.promise.split()[1] for check in found.checks if not check.kept}


def test_a_storm_without_fault_passes_every_check(regions):
    assert (
        broken(outcome([ended(), ended(2, state="open", rung="door", by="door", answered=None, reply=None)], LADDER, regions))
        == set()
    )


@pytest.mark.parametrize(
    ("wrong", "noticed"),
    [
        ({"calls": (made("1.1", 0), made("2.1", 101))}, {"nobody is"}),
        ({"calls": (made("1.1", 0), made("2.1", 59))}, {"two calls"}),
        ({"calls": tuple(made(f"{n}.1", 61 * n) for n in range(1, 5)), "answered": 999_000}, {"on one"}),
        ({"state": "open", "answered": None, "reply": None, "by": "", "next_step": 5}, {"every silent"}),
        ({"state": "open", "answered": None, "reply": None, "by": "", "rung": "deputy"}, {"every silent"}),
        ({"state": "open", "rung": "door", "next_step": 5, "answered": None, "reply": None, "by": "door"}, {"every silent"}),
        ({"reply": None}, {"every ending"}),
        ({"entries": ()}, {"every ending"}),
        ({"state": "open", "rung": "door", "by": "door", "answered": None, "reply": None, "entries": ()}, {"every ending"}),
    ],
)
def test_a_broken_promise_is_noticed(regions, wrong, noticed):
    assert broken(outcome([ended(**wrong)], LADDER, regions)) == noticed


def test_a_call_for_two_is_needed_as_long_as_one_of_them_is_silent(regions):
    shared = (made("5.1", 200, rung="superior", number=9),)
    answered = ended(1, calls=shared)
    silent = ended(2, calls=shared, answered=210_000)
    assert broken(outcome([answered, silent], LADDER, regions)) == set()
    assert broken(outcome([answered, replace(silent, answered=199_000)], LADDER, regions)) == {"nobody is"}


# --- the command


def test_the_command_says_who_answered_and_leaves_nothing_behind_and_touches_no_other_ledger(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BROADCAST_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/theirs")  # of the county: it must not be opened
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["drill", "storm", "--size", "S", "--level", "orange", "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    owed = sum(tier["owed"] for tier in answer["outcome"]["tiers"])
    assert owed == len(answer["callouts"]) > 50
    assert all(check["kept"] for check in answer["outcome"]["checks"])
    assert answer["outcome"]["calls"] >= owed * 0.9 and answer["outcome"]["seconds"]["100"] > 0
    assert "05:01:00" in said.err and "have answered" in said.err
    assert not list(tmp_path.iterdir())


def test_shares_that_do_not_fit_are_a_usage_mistake(capsys):
    assert main(["drill", "storm", "--asleep", "0.7", "--dead", "0.7"]) == 2
    assert "1 at most" in capsys.readouterr().err
