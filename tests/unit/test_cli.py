"""The command line, against real homes: what it answers, with which exit code, and how it says what is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

import broadcast
from broadcast.alert import Alert, Identifier, Info, MsgType, Reference, Scope, Severity, Status
from broadcast.cli import _told, app, main
from broadcast.cli.figures import add, figures
from broadcast.cli.restamping import restamped
from broadcast.cli.saying import clean
from broadcast.delivery import State
from broadcast.resources import EXAMPLES

ROOT = Path(__file__).parents[2]
YELLOW, ORANGE = "1-rainstorm-yellow.xml", "2-rainstorm-orange.xml"
FOUR_TOWNS = {"330521115", "330521001", "330521002", "330521003"}


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@dataclass
class Desk:
    """Somebody at a terminal with a home of their own."""

    home: Path
    pins: dict[str, str]
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *words: str) -> Answer:
        self.capsys.readouterr()
        code = main(["--home", str(self.home), *words])
        caught = self.capsys.readouterr()
        assert "Traceback" not in caught.err
        return Answer(code, caught.out, caught.err)

    def sits(self, name: str) -> None:
        """From now on this operator acts."""
        self.monkeypatch.setenv("BROADCAST_OPERATOR", name)
        self.monkeypatch.setenv("BROADCAST_PIN", self.pins[name])

    def warning(self, name: str) -> str:
        return str(self.home / "warnings" / name)

    @property
    def service(self) -> tuple[str, ...]:
        """How the met office's own program proves itself."""
        return "--source", "deqing-met", "--token-file", str(self.home / "deqing-met.token")

    def send(self, name: str = YELLOW, *more: str) -> Answer:
        return self("send", self.warning(name), *self.service, "--restamp", *more)


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An example home at size S, made once."""
    home = tmp_path_factory.mktemp("pattern") / "home"
    assert main(["init", str(home), "--example", "deqing", "--size", "S"]) == 0
    return home


def no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BROADCAST_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def desk(pattern: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    no_outer_settings(monkeypatch)
    home = tmp_path / "home"
    shutil.copytree(pattern, home)
    lines = (home / "operators.txt").read_text("utf-8").splitlines()
    return Desk(home, {name: pin for name, _, pin in (line.split("\t") for line in lines)}, capsys, monkeypatch)


def commands() -> Iterator[tuple[str, typer.models.Context]]:
    def walk(command, path):
        if hasattr(command, "commands"):
            for name, below in command.commands.items():
                yield from walk(below, [*path, name])
        else:
            yield " ".join(path), command

    return walk(typer.main.get_command(app), ["broadcast"])


# --- help and documentation


def test_every_command_and_every_option_has_help_and_every_command_an_example():
    for name, command in commands():
        assert len(command.help) > 40, name
        assert f"\n{name.removeprefix('broadcast')}".strip() in command.help, name
        assert "\b\n" in command.help, f"{name} shows no example"
        for option in command.params:
            assert getattr(option, "help", None), f"{name} {option.name}"


def test_the_documentation_lists_every_command_with_its_options_and_nothing_that_is_not_there():
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    sections = dict(re.findall(r"^### `(broadcast [^`]+)`\n(.*?)(?=^### |\Z)", page, re.MULTILINE | re.DOTALL))
    known = dict(commands())

    assert sections.keys() == known.keys()
    for name, command in known.items():
        options = {option.opts[0] for option in command.params if option.opts[0].startswith("--") and option.name != "help"}
        documented = set(re.findall(r"^\| `(--[a-z-]+)", sections[name], re.MULTILINE))
        assert documented == options, name


# --- a home


def test_the_example_home_keeps_its_secrets_in_files_of_its_owner(desk):
    page = (desk.home / "broadcast.toml").read_text("utf-8")
    for name in ("mas.secret", "callback.secret", "seal.key", "operators.txt"):
        path = desk.home / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, name
        assert path.read_text("utf-8").strip() not in page
    assert 'secret_key = "file:mas.secret"' in page


def test_the_pins_that_init_showed_let_their_operators_in_and_others_do_not(desk):
    gateway = broadcast.open(desk.home)
    assert {gateway.authenticate(name, pin).name for name, pin in desk.pins.items()} == set(desk.pins)
    with pytest.raises(broadcast.NotAllowed):
        gateway.authenticate("测试值班员", "000000x")
    gateway.close()


def test_a_complete_home_is_refused_and_nothing_changes(desk):
    before = {path: path.read_bytes() for path in desk.home.rglob("*") if path.is_file() and "ledger.db" not in path.name}
    answer = desk("init", str(desk.home), "--example", "deqing")

    assert answer.code == 3
    assert "complete home already" in answer.err
    assert {path: path.read_bytes() for path in before} == before


def test_an_interrupted_init_goes_on_and_keeps_what_a_person_changed(desk):
    config = desk.home / "broadcast.toml"
    config.write_text(config.read_text("utf-8").replace("concurrency = 4", "concurrency = 3"), "utf-8")
    for path in desk.home.glob("ledger.db*"):
        path.unlink()
    (desk.home / "seal.key").unlink()
    answer = desk("init", str(desk.home), "--example", "deqing", "--size", "S")

    assert answer.code == 0
    assert "broadcast.toml" in answer.err  # said to be here already
    assert "concurrency = 3" in config.read_text("utf-8")
    assert desk("operator", "list", "--json").json


def test_a_lost_seal_key_is_never_replaced_by_a_new_one(desk):
    (desk.home / "seal.key").unlink()
    answer = desk("init", str(desk.home), "--example", "deqing")

    assert answer.code == 3
    assert "restore the key" in answer.err
    assert not (desk.home / "seal.key").exists()


def test_a_skeleton_says_what_is_next_and_its_settings_are_read(tmp_path, capsys, monkeypatch):
    no_outer_settings(monkeypatch)
    assert main(["init", str(tmp_path / "new")]) == 0
    told = capsys.readouterr().out
    assert "regions import" in told
    assert "operator add" in told
    assert main(["--home", str(tmp_path / "new"), "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_county_can_be_set_up_by_hand_from_the_skeleton_on(tmp_path, capsys, monkeypatch):
    no_outer_settings(monkeypatch)
    desk = Desk(tmp_path / "new", {"测试甲": "135790"}, capsys, monkeypatch)
    desk("init", str(desk.home))
    for path in (EXAMPLES / "deqing" / "regions").glob("*.*"):
        shutil.copy(path, desk.home / "regions")
    assert desk("regions", "import").code == 0
    monkeypatch.setenv("BROADCAST_NEW_PIN", "135790")
    assert desk("operator", "add", "测试甲", "--role", "DUTY_LEADER").code == 0
    desk.sits("测试甲")
    assert desk("plan", "import").code == 0
    (desk.home / "roster" / "people.csv").write_text(
        "person_id,name,phone,zwdd,grid,synthetic,test\nP1,测试乙,15400000001,,,1,0\n", "utf-8"
    )
    (desk.home / "roster" / "posts.csv").write_text("person_id,role,region,rank\nP1,VILLAGE_HEAD,330521115201,A\n", "utf-8")
    imported = desk("roster", "import", "--yes")
    assert (imported.code, "in force: 1 persons, 1 posts" in imported.out) == (0, True), imported.err
    assert [one["name"] for one in desk("operator", "list", "--json").json] == ["测试甲"]


def test_an_unknown_example_is_told_with_those_that_there_are(tmp_path, capsys):
    assert main(["init", str(tmp_path / "x"), "--example", "atlantis"]) == 1
    assert "deqing" in capsys.readouterr().err


def test_a_folder_without_settings_is_one_clear_line(tmp_path, capsys):
    assert main(["--home", str(tmp_path), "status"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: no broadcast.toml")
    assert error.count("\n") == 1


# --- warnings


def test_preview_names_the_four_towns_of_the_orange_rainstorm_and_writes_nothing(desk):
    answer = desk("preview", desk.warning(ORANGE), "--source", "deqing-met", "--restamp", "--json")

    assert answer.code == 0
    assert set(answer.json["roots"]) == FOUR_TOWNS
    assert all(post["region"][:9] in FOUR_TOWNS | {"330521"} for post in answer.json["posts"])
    assert answer.json["deliveries"] > 100
    assert desk("status", "--json").json == []


def test_preview_for_people_shows_words_ways_and_posts(desk):
    told = desk("preview", desk.warning(ORANGE), "--restamp", "--posts").out
    assert "莫干山镇" in told
    assert "VILLAGE_HEAD" in told
    assert "provider calls" in told
    assert "[sms " in told


def test_a_warning_is_committed_even_when_no_worker_can_be_rung(desk):
    answer = desk.send()
    assert answer.code == 0
    assert "alert 1 is active" in answer.out
    assert "no worker could be rung" in answer.err
    one = desk("status", "1", "--json").json
    assert one["state"] == "active"
    assert one["total"]["owed"] > 100
    assert one["total"]["not_reached"] == one["total"]["owed"]


def test_the_same_warning_twice_is_one_alert(desk):
    assert desk.send(YELLOW, "--json").json["is_new"]
    again = desk.send(YELLOW, "--json").json
    assert (again["alert_id"], again["is_new"]) == (1, False)
    assert len(desk("status", "--json").json) == 1


def test_a_wait_that_runs_out_answers_no(desk):
    answer = desk.send(YELLOW, "--wait", "0.3")
    assert answer.code == 1
    assert "not settled after 0.3 s" in answer.err


def test_old_weather_is_only_recorded_and_that_is_a_no(desk):
    answer = desk("send", desk.warning(YELLOW), *desk.service)
    assert answer.code == 1
    assert "alert 1 is recorded: expired" in answer.out


def test_re_stamping_is_said_loudly(desk):
    assert "RE-STAMPED" in desk.send().err


def test_old_weather_never_reaches_a_live_peer_as_if_it_were_new(desk):
    config = desk.home / "broadcast.toml"
    config.write_text(config.read_text("utf-8").replace("\nsimulated = true", "\nsimulated = false", 1), "utf-8")
    answer = desk.send()
    assert answer.code == 3
    assert "ebd-1 is live" in answer.err
    assert desk("status", "--json").json == []


def test_a_warning_drafted_by_hand_needs_an_operator(desk):
    answer = desk("send", desk.warning(YELLOW))
    assert answer.code == 2
    assert "--operator" in answer.err


def test_a_wrong_pin_is_refused_and_not_shown(desk):
    desk.monkeypatch.setenv("BROADCAST_OPERATOR", "测试值班员")
    desk.monkeypatch.setenv("BROADCAST_PIN", "not-the-pin")
    answer = desk("send", desk.warning(YELLOW))
    assert answer.code == 3
    assert "not-the-pin" not in answer.err + answer.out


def test_a_mistyped_source_is_told_with_those_that_there_are(desk):
    answer = desk("send", desk.warning(YELLOW), "--source", "deqing-mte", "--token-file", str(desk.home / "deqing-met.token"))
    assert answer.code == 1
    assert "deqing-met" in answer.err


def test_a_broken_warning_is_refused_in_one_line_and_kept(desk, tmp_path):
    broken = tmp_path / "broken.xml"
    broken.write_bytes(b"<alert><identifier>")
    answer = desk("send", str(broken), *desk.service)
    assert answer.code == 3
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1


def test_a_missing_file_is_usage(desk):
    assert desk("send", str(desk.home / "nothing.xml"), *desk.service).code == 2


def test_a_cancel_waits_for_a_second_person(desk):
    desk.send()
    desk.sits("测试值班员")
    drafted = desk("cancel", "1", "--reason", "误发", "--json")
    assert (drafted.code, drafted.json["state"]) == (0, "waiting")
    assert drafted.json["waits_for"] == ["DUTY_LEADER", "SHIFT_LEAD"]
    assert "broadcast approve 2" in desk("status", "2").out

    assert desk("approve", "2").code == 3  # who drafted it

    desk.sits("测试值班长")
    assert desk("approve", "2", "--json").json["state"] == "active"
    assert desk("status", "1", "--json").json["state"] == "cancelled"


def test_reviewing_what_needs_no_review_is_a_no(desk):
    desk.send()
    desk.sits("测试值班领导")
    assert desk("review", "1").code == 1


def test_a_test_broadcast_is_for_test_targets_only(desk):
    desk.sits("测试值班员")
    answer = desk("test", "--channel", "sms", "--region", "330521115", "--json")
    assert answer.code == 0
    one = desk("status", str(answer.json["alert_id"]), "--words", "--json").json
    assert one["status"] == "Test"
    assert 0 < one["total"]["owed"] < 5
    assert all("【测试】" in words["text"] for words in one["words"])


def test_an_unknown_region_or_channel_is_a_no(desk):
    desk.sits("测试值班员")
    assert desk("test", "--channel", "sms", "--region", "999999").code == 1
    assert desk("test", "--channel", "pigeon", "--region", "330521115").code == 1


def test_the_table_by_town_comes_to_the_same_as_the_one_by_tier(desk):
    desk.send()
    by_tier, by_town = desk("status", "1").out, desk("status", "1", "--regions", "--event").out
    assert by_tier.splitlines()[-1] == by_town.splitlines()[-1]
    assert "莫干山镇" in by_town
    counted = desk("status", "1", "--regions", "--json").json
    assert sum(n for states in counted["regions"].values() for n in states.values()) == counted["total"]["owed"]


def test_options_about_one_alert_need_an_alert(desk):
    assert desk("status", "--watch").code == 2


def test_an_alert_that_is_not_there_is_a_no(desk):
    assert desk("status", "77").code == 1


# --- what the ledger knows


def test_deliveries_are_one_json_array_with_masked_addresses(desk):
    desk.send()
    rows = desk("ledger", "deliveries", "--alert", "1", "--channel", "sms", "--limit", "0", "--json").json
    assert len(rows) > 50
    assert all("*" in row["address"] and not re.search(r"\d{11}", row["address"]) for row in rows)
    assert len(desk("ledger", "deliveries", "--limit", "3", "--json").json) == 3
    assert desk("ledger", "deliveries", "--alert", "1", "--state", "rejected", "--json").json == []


def test_deliveries_of_a_region_are_those_below_it(desk):
    desk.send()
    rows = desk("ledger", "deliveries", "--region", "330521115", "--limit", "0", "--json").json
    assert rows
    assert all(row["region"].startswith("330521115") for row in rows)


def test_a_time_that_is_none_is_usage(desk):
    answer = desk("ledger", "deliveries", "--since", "yesterday")
    assert answer.code == 2
    assert "2023-07-05 05:00" in answer.err


def test_health_is_red_while_nobody_works_and_says_what_to_do(desk):
    answer = desk("health", "--json")
    assert answer.code == 1
    assert not answer.json["ok"]
    red = {check["name"] for check in answer.json["checks"] if check["colour"] == "red"}
    assert {"redis", "sweep", "planner"} <= red
    assert "broadcast up" in desk("health").out


# --- the county's files


def test_a_broken_roster_is_told_line_by_line(desk):
    people = desk.home / "roster" / "people.csv"
    people.write_text(people.read_text("utf-8") + "P1,测试,12345,,,1,0\nP1,测试,154,,,1,0\n", "utf-8")
    answer = desk("roster", "check")
    assert answer.code == 3
    errors = [line for line in answer.err.splitlines() if line.startswith("error: people.csv:")]
    assert len(errors) >= 2
    found = desk("roster", "check", "--json")
    assert (found.code, found.json["ok"]) == (3, False)
    assert all({"file", "line", "severity", "message"} <= set(problem) for problem in found.json["problems"])


def test_a_good_roster_is_counted(desk):
    answer = desk("roster", "check", "--json")
    assert answer.code == 0
    assert answer.json["persons"] > 100


def test_an_import_shows_what_changes_and_is_not_done_where_nobody_can_be_asked(desk):
    desk.sits("测试值班员")
    posts = desk.home / "roster" / "posts.csv"
    lines = posts.read_text("utf-8").splitlines()
    doubled = [line for line in lines if ",VILLAGE_CADRE," in line][-1]
    posts.write_text("\n".join(line for line in lines if line != doubled) + "\n", "utf-8")

    asked = desk("roster", "import")
    assert asked.code == 2
    assert "posts: 0 added, 1 removed, 0 changed" in asked.out
    assert desk("roster", "import", "--yes").code == 0
    assert "posts: 0 added, 0 removed, 0 changed" in desk("roster", "import", "--yes").out


def test_broken_plans_are_refused_and_the_last_good_ones_stay(desk):
    desk.sits("测试值班员")
    plan = desk.home / "plans" / "rainstorm.toml"
    plan.write_text(plan.read_text("utf-8") + '\nextends_more = "nothing"\n', "utf-8")
    assert desk("plan", "check").code == 3
    answer = desk("plan", "import")
    assert answer.code == 3
    assert "rainstorm.toml" in answer.err
    assert desk.send().code == 0  # the gateway goes on with those in force


def test_plans_are_checked_where_they_lie(desk, tmp_path):
    shutil.copytree(desk.home / "plans", tmp_path / "draft")
    answer = desk("plan", "check", str(tmp_path / "draft"), "--json")
    assert answer.code == 0
    assert "rainstorm" in {plan["name"] for plan in answer.json["plans"]}


def test_only_a_duty_leader_gives_out_roles(desk):
    desk.monkeypatch.setenv("BROADCAST_NEW_PIN", "112233")
    desk.sits("测试值班员")
    assert desk("operator", "add", "测试值班员", "--role", "SHIFT_LEAD").code == 3
    desk.sits("测试值班领导")
    assert desk("operator", "add", "测试新人", "--role", "DUTY_OFFICER").code == 0
    desk.pins["测试新人"] = "112233"
    desk.sits("测试新人")
    assert desk("test", "--channel", "sms", "--region", "330521115").code == 0


def test_a_role_that_is_not_in_the_county_is_refused(desk):
    desk.monkeypatch.setenv("BROADCAST_NEW_PIN", "112233")
    desk.sits("测试值班领导")
    assert desk("operator", "add", "测试新人", "--role", "KING").code == 3


# --- what goes wrong


def test_a_ledger_that_cannot_be_opened_is_unavailable(desk):
    desk.monkeypatch.setenv("BROADCAST_DATABASE_URL", f"sqlite:///{desk.home}/nowhere/ledger.db")
    answer = desk("status")
    assert answer.code == 4
    assert answer.err.startswith("error: ")


def test_a_worker_without_redis_is_unavailable(desk):
    answer = desk("worker", "--lane", "drill")
    assert answer.code == 4
    assert "broadcast up" in answer.err


def test_stand_ins_need_their_file(desk):
    (desk.home / "simulator.toml").unlink()
    answer = desk("simulate")
    assert answer.code == 1
    assert "init --example" in answer.err


def test_a_fault_that_there_is_not_is_usage(desk):
    assert desk("simulate", "--fault", "earthquake=1").code == 2


def test_a_mistake_of_ours_is_told_without_what_it_held():
    try:
        {}["+8615400000000"]
    except KeyError as error:
        told = list(_told(error))
    assert len(told) == 1
    assert "KeyError in test_cli.py" in told[0]
    assert "154" not in told[0].split("test_cli.py")[0]


def test_a_senders_words_can_neither_colour_nor_move_the_terminal(desk, tmp_path):
    warning = {
        "identifier": "x1", "sender": "测试", "sent": datetime.now(UTC).isoformat(timespec="seconds"), "status": "Draft",
        "msgType": "Alert", "scope": "Public",
        "info": [{"language": "zh-CN", "event": "暴雨", "severity": "Minor", "urgency": "Unknown", "certainty": "Unknown",
                  "headline": "[red]暴雨[/red] :fire: \u009b31m"}],
    }  # fmt: skip
    file = tmp_path / "warning.json"
    file.write_text(json.dumps(warning), "utf-8")
    desk.sits("测试值班员")
    assert desk("send", str(file)).code == 1
    told = desk("status").out
    assert "[red]暴雨[/red] :fire:" in told
    assert "\u009b" not in told


@given(st.text())
def test_what_is_shown_has_no_control_letters(text):
    assert all(letter.isprintable() or letter == "\n" for letter in clean(text))
    assert len(clean(text)) == len(text)


# --- the pure parts


moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(moments, moments, st.none() | moments, st.none() | moments)
def test_a_re_stamped_warning_keeps_everything_but_moves_every_time_by_the_same_span(sent, now, expires, referred):
    info = Info("暴雨", "11B03", Severity.SEVERE, effective=sent, expires=expires)
    alert = Alert(
        Identifier("a"), "s", sent, Status.ACTUAL, MsgType.UPDATE, Scope.PUBLIC, (info,), references=(Reference("r", "s", referred),),
        raw=b"x", sha256="y",
    )  # fmt: skip
    moved = restamped(alert, now)

    assert moved.sent == now
    assert moved.infos[0].effective == now
    assert (moved.infos[0].expires is None) == (expires is None)
    if expires is not None:
        assert moved.infos[0].expires - now == expires - sent
    if referred is not None:
        assert now - moved.references[0].sent == sent - referred
    assert (moved.identifier, moved.raw, moved.sha256, moved.event_key) == (alert.identifier, b"x", "y", alert.event_key)
    assert restamped(moved, sent) == alert


counts = st.dictionaries(st.sampled_from([str(state) for state in State]), st.integers(0, 10_000))


@given(counts)
def test_what_is_owed_is_reached_or_not_and_every_delivery_stands_somewhere(states):
    of = figures(states)
    assert of.owed + of.withdrawn == sum(states.values())
    assert of.not_reached == of.on_the_way + of.in_doubt + of.refused
    assert of.reached == states.get("accepted", 0) + states.get("delivered", 0)


@given(counts, counts)
def test_figures_of_two_alerts_together_are_their_sum(one, other):
    assert figures(add([one, other])).owed == figures(one).owed + figures(other).owed


# --- real processes


def started(home: Path, *words: str, **options) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BROADCAST_")}
    return subprocess.Popen(
        [sys.executable, "-m", "broadcast.cli", "--home", str(home), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment, cwd=ROOT, **options,
    )  # fmt: skip


def test_a_reader_that_has_seen_enough_is_no_error(desk):
    desk.send()
    with started(desk.home, "ledger", "deliveries", "--limit", "0", "--json") as child:
        child.stdout.close()
        assert child.stderr.read() == ""
        assert child.wait(20) == 1


def test_ctrl_c_ends_a_watch_without_a_traceback(desk):
    desk.send()
    with started(desk.home, "status", "1", "--watch") as child:
        assert "alert 1 is active" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
        assert child.returncode == 130
        assert "Traceback" not in err + out


def test_the_stand_ins_run_until_they_are_told_to_end(desk):
    page = desk.home / "simulator.toml"
    page.write_text(re.sub(r"(?m)^port = \d+", "port = 0", page.read_text("utf-8")), "utf-8")
    with started(desk.home, "simulate", "--fault", "mas.latency_ms=5", "--speed", "20") as child:
        assert "the stand-ins of mas, vms, zwdd, grid, feed, ebd listen at http://127.0.0.1:" in child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0


def running_for(home: str) -> list[psutil.Process]:
    """Processes whose environment names this home."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("BROADCAST_HOME") == home and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def until(done: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def home_in(words: str) -> str:
    return re.search(r"(\S*broadcast-demo-\w+)", words)[1]


@pytest.mark.integration
def test_the_demo_tells_everybody_cancels_and_leaves_nothing_running(tmp_path):
    with started(tmp_path, "demo", "--size", "S") as child:
        out, err = child.communicate(timeout=90)
    assert child.returncode == 0, err
    owed, reached, missed = map(int, re.fullmatch(r"owed (\d+), reached (\d+), not reached (\d+)", out.splitlines()[-1]).groups())
    assert owed == reached + missed
    assert reached > 1000
    assert "莫干山镇" in out
    home = home_in(err)
    assert not Path(home).exists()
    assert not running_for(home)


@pytest.mark.integration
def test_a_demo_that_is_broken_off_ends_everything(tmp_path):
    with started(tmp_path, "demo", "--size", "S", start_new_session=True) as child:
        said = ""
        while "$ broadcast health" not in said:
            line = child.stderr.readline()
            assert line, said
            said += line
        home = home_in(said)
        until(lambda: len(running_for(home)) > 4, 20)
        child.send_signal(signal.SIGTERM)  # Ctrl-C takes the same way
        child.communicate(timeout=60)
    assert child.returncode == 130
    assert not Path(home).exists()
    until(lambda: not running_for(home), 5)


# --- who may send by themselves


def test_a_service_proves_itself_with_its_token_and_a_person_needs_a_second_one(desk):
    assert desk("send", desk.warning(YELLOW), "--source", "deqing-met").code == 2
    stranger = desk.home / "stranger.token"
    stranger.write_text("guessed", encoding="utf-8")
    refused = desk("send", desk.warning(YELLOW), "--source", "deqing-met", "--token-file", str(stranger))
    assert refused.code == 3
    assert "not the token" in refused.err and "guessed" not in refused.err

    desk.sits("测试值班员")  # the file names the met office; a person brings it, so a second person looks at it
    answer = desk("send", desk.warning(YELLOW), "--restamp", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["state"] == "waiting"


def test_only_a_duty_leader_adds_and_disables_operators(desk):
    desk.monkeypatch.setenv("BROADCAST_NEW_PIN", "112233")
    desk.sits("测试值班员")
    assert desk("operator", "add", "测试新人", "--role", "SHIFT_LEAD").code == 3
    desk.sits("测试值班领导")
    assert desk("operator", "add", "测试新人", "--role", "SHIFT_LEAD").code == 0
    assert desk("operator", "disable", "测试新人").code == 0
    assert desk("operator", "disable", "测试新人").code == 1
    desk.pins["测试新人"] = "112233"
    desk.sits("测试新人")
    assert desk("cancel", "1", "--reason", "x").code == 3


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BROADCAST_REDIS_URL", "secret-not-a-url", "redis://"),
        ("BROADCAST_DATABASE_URL", "secret-not-a-url", "postgresql://"),
        ("BROADCAST_DATABASE_URL", "mysql://root:secret@x/y", "postgresql://"),
        ("BROADCAST_THREADS", "secret", "BROADCAST_THREADS"),
    ],
)
def test_a_broken_variable_is_named_and_its_value_is_not_repeated(desk, name, value, says):
    desk.monkeypatch.setenv(name, value)
    answer = desk("status")
    assert answer.code == 3
    assert says in answer.err and "secret" not in answer.err


def test_a_network_that_is_none_is_refused_with_the_settings(desk):
    page = (desk.home / "broadcast.toml").read_text("utf-8")
    (desk.home / "broadcast.toml").write_text(page.replace("[server]", '[server]\nallow = ["10.0.0.5/24"]'), "utf-8")
    answer = desk("status")
    assert answer.code == 3 and "server.allow" in answer.err


# --- the ledger as proof


def test_the_ledger_is_verified_and_a_hand_in_it_is_named(desk):
    assert desk.send().code == 0
    answer = desk("ledger", "verify", "--json")
    assert (answer.code, answer.json["holds"]) == (0, True)
    kept = desk.home / "anchor.json"
    assert desk("ledger", "anchor", "--out", str(kept)).code == 0
    assert desk("ledger", "verify", "--anchor", str(kept)).code == 0
    assert json.loads(desk("ledger", "anchor").out)["number"] == json.loads(kept.read_text("utf-8"))["number"] + 1

    with closing(sqlite3.connect(desk.home / "ledger.db")) as database:
        database.execute("DROP TRIGGER guard_wording_update")
        database.execute("UPDATE wording SET text = 'x' WHERE id = 1")
        database.commit()
    answer = desk("ledger", "verify", "--alert", "1")
    assert answer.code == 1
    assert "alert:1, entry " in answer.out and "wording 1, column text: was changed" in answer.out

    kept.write_text("{}", "utf-8")
    assert desk("ledger", "verify", "--anchor", str(kept)).code == 3


def test_erasing_is_refused_to_whoever_may_not_and_for_whoever_serves(desk):
    desk.sits("测试值班员")
    assert desk("ledger", "erase", "nobody", "--reason", "r").code == 3
    desk.sits("测试值班领导")
    assert desk("ledger", "erase", "nobody", "--reason", "r").code == 1
    gateway = broadcast.open(desk.home)
    person = gateway.roster().persons[0].person_id
    gateway.close()
    answer = desk("ledger", "erase", person, "--reason", "r")
    assert (answer.code, "roster in force" in answer.err) == (3, True)
