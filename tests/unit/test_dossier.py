"""一事一档: the dossier says what the ledger says, the same each time, masks who it is about, and can be verified without us."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pypdf
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from broadcast.cli import main
from broadcast.delivery import State
from broadcast.dossier import Dossier, make
from broadcast.dossier.counting import DELIVERED, NOT, TAKEN, Reach, Tally, standing
from broadcast.errors import NotAllowed, NotFound, Refused
from broadcast.ledger import chain
from broadcast.ledger import tables as t

from ..conftest import PINS, open_story
from .stories import YELLOW, warning

VILLAGE, PLACE = "330521102200", "句城村"  # its code has one reading only
SAID = "敲门，赵测门本人开门，电话15400007777"  # what an operator writes is personal too
ANSWERS = (
    "dossier.pdf",
    "alert.json",
    "plan.json",
    "entries.jsonl",
    "deliveries.csv",
    "receipts.csv",
    "callouts.csv",
    "replies.csv",
)


def a_red_night(story) -> int:
    """A red warning over one village: some answer, the rest end at the door, and it expires."""
    sent = story.gateway.submit(
        story.gateway.read(warning(story, area=PLACE, codes=(VILLAGE,), severity="Extreme")), source="stranger"
    )
    story.gateway.approve(sent.alert_id, story.operator("SHIFT_LEAD"))
    story.work()
    officer = story.operator("DUTY_OFFICER")
    for one in story.gateway.callouts(sent.alert_id)[:3]:
        story.clock.forward(seconds=20)
        story.gateway.enter_answer(one.number, officer, "acknowledged", SAID)
    for _ in range(24):
        story.clock.forward(minutes=1)
        story.work()
    story.clock.forward(hours=7)
    story.work()
    return sent.alert_id


def verified(folder: Path, *options: str) -> tuple[int, str]:
    """`python verify.py` with nothing but the standard library, in an empty environment."""
    command = [sys.executable, "-I", "-S", "-B", "verify.py", *options]
    done = subprocess.run(command, cwd=folder, env={}, capture_output=True, check=False, timeout=60)
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.decode("utf-8", "replace")


def text_of(pdf: Path) -> str:
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def entries_of(story, alert_id: int, name: str = "") -> list[sa.Row]:
    wanted = name or chain.of_alert(alert_id)
    with story.gateway.ledger.read() as tx:
        return list(tx.execute(sa.select(t.entry).where(t.entry.c.chain == wanted).order_by(t.entry.c.n)))


# ── the story, on both databases ──


def test_a_dossier_says_what_the_ledger_says_its_script_agrees_and_a_second_one_has_the_same_bytes(story, tmp_path):
    alert = a_red_night(story)
    head = entries_of(story, alert)[-1]
    made = make(story.gateway, alert, tmp_path / "out")

    assert (made.entries, made.head, made.running) == (head.n, head.hash, False)
    folder = tmp_path / "out"
    assert verified(folder, "--manifest", made.manifest)[0] == 0
    assert {path.name for path in folder.iterdir()} >= {*ANSWERS, "words", "verify.py", "VERIFY.txt", "MANIFEST.json"}

    deliveries = rows_of(folder / "deliveries.csv")
    stands = Counter(row["state"] for row in story.gateway.ledger.deliveries(alert_id=alert))
    assert len(deliveries) == stands.total()
    assert Counter(row["状态"] for row in deliveries)["已到达"] == stands["delivered"] > 0
    duties = [one for one in story.gateway.callouts(alert) if one.duty == "acknowledge"]
    answered = sum(one.state == "answered" for one in duties)
    text = text_of(folder / "dossier.pdf")
    assert f"应叫应{len(duties):,}个岗位：已应答{answered:,}个" in text and answered >= 2
    assert head.hash in text and f"{head.n:,}（写到本次导出自身的条目之前）" in text
    assert len(pypdf.PdfReader(folder / "dossier.pdf").pages) == made.pages
    for chapter in (
        "1 收到的预警",
        "2 冻结的预案",
        "4 时间线",
        "5 到达情况",
        "6 叫应",
        "7 抽查",
        "8 未到达及原因",
        "9 账本链与核验",
    ):
        assert chapter in text.replace("　", " ")

    said = entries_of(story, alert)[-1]
    body = json.loads(said.body)
    assert (said.kind, said.who, body["manifest"], body["masked"]) == ("exported", "", made.manifest, True)
    assert body["until"] == {"n": head.n, "hash": head.hash}

    story.clock.forward(days=3)
    (tmp_path / "again").mkdir()  # an empty folder is nobody's
    again = make(story.gateway, alert, tmp_path / "again")
    assert (again.manifest, again.head) == (made.manifest, made.head)
    assert bytes_of(tmp_path / "again") == bytes_of(folder)
    assert [row.kind for row in entries_of(story, alert)][-2:] == ["exported", "exported"]


# ── one dossier, looked at from all sides ──


class Night:
    """A dossier, its ledger, and what its people are called."""

    def __init__(self, story, folder: Path) -> None:
        self.story, self.alert = story, a_red_night(story)
        self.made: Dossier = make(story.gateway, self.alert, folder)
        self.folder = folder
        self.text = text_of(folder / "dossier.pdf")


@pytest.fixture(scope="module")
def night(tmp_path_factory, sqlite_pattern) -> Night:
    home = tmp_path_factory.mktemp("night")
    story = open_story(sqlite_pattern.copy(home), home)
    return Night(story, home / "dossier")


@pytest.fixture
def copy(night: Night, tmp_path: Path) -> Path:
    """The dossier of that night, to be altered."""
    shutil.copytree(night.folder, tmp_path / "copy")
    return tmp_path / "copy"


def roster(folder: Path) -> set[str]:
    """Every name and number of the roster."""
    found: set[str] = set()
    for file, columns in (("people.csv", ("name", "phone")), ("residents.csv", ("phone",))):
        for row in rows_of(folder / file):
            found |= {row[column] for column in columns if row.get(column)}
    return found


def test_no_name_and_no_number_of_the_roster_stands_anywhere_in_a_masked_dossier(night, small_roster):
    secrets = roster(small_roster) | {"赵测门", "15400007777"}
    assert len(secrets) > 1000
    texts = {name: data.decode("utf-8", "ignore") for name, data in bytes_of(night.folder).items() if not name.endswith(".pdf")}
    texts["dossier.pdf"] = night.text
    for name, text in texts.items():
        assert not {secret for secret in secrets if secret in text}, name
    assert "**" in texts["dossier.pdf"] and "**" in texts["callouts.csv"] and "****" in texts["deliveries.csv"]


def test_names_are_shown_to_a_named_operator_for_a_reason_and_both_chains_say_so(night, tmp_path, small_roster):
    story, officer = night.story, night.story.operator("DUTY_OFFICER")
    before = len(entries_of(story, night.alert, chain.HOUSE))
    make(story.gateway, night.alert, tmp_path / "shown", by=officer, unmask="调查组调阅，联系15400000009")

    people = {row["name"] for row in rows_of(small_roster / "people.csv")}
    callouts = rows_of(tmp_path / "shown" / "callouts.csv")
    assert callouts and {row["责任人"] for row in callouts} <= people
    assert SAID in {row["原话"] for row in rows_of(tmp_path / "shown" / "replies.csv")}
    assert all("****" in row["地址（掩码）"] for row in rows_of(tmp_path / "shown" / "deliveries.csv") if row["渠道"] == "短信")
    assert "本档案显示责任人姓名" in text_of(tmp_path / "shown" / "dossier.pdf")
    assert verified(tmp_path / "shown")[0] == 0
    (unmasked,) = entries_of(story, night.alert, chain.HOUSE)[before:]
    exported = entries_of(story, night.alert)[-1]
    for entry in (unmasked, exported):
        assert entry.who == officer.name and "调查组调阅" in entry.body and "15400000009" not in entry.body
    assert unmasked.kind == "unmasked" and json.loads(exported.body)["masked"] is False


def test_names_are_not_shown_to_nobody_nor_to_who_may_not_see_them(night, tmp_path):
    before = len(entries_of(night.story, night.alert))
    with pytest.raises(NotAllowed, match="named operator"):
        make(night.story.gateway, night.alert, tmp_path / "out", unmask="想看")
    with pytest.raises(NotAllowed, match="DUTY_LEADER"):
        make(night.story.gateway, night.alert, tmp_path / "out", by=night.story.operator("NEWS_CENTRE"), unmask="想看")
    assert not (tmp_path / "out").exists() and len(entries_of(night.story, night.alert)) == before


def test_what_is_there_is_never_overwritten_and_a_failure_leaves_nothing_behind(night, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("测", encoding="utf-8")
    (tmp_path / "file").write_text("测", encoding="utf-8")
    for name in ("full", "file"):
        with pytest.raises(Refused, match=name):
            make(night.story.gateway, night.alert, tmp_path / name)
    with pytest.raises(NotFound):
        make(night.story.gateway, 999, tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_the_export_is_not_seen_when_the_ledger_cannot_take_its_entry(night, tmp_path, sqlite_pattern):
    (tmp_path / "home").mkdir()
    shutil.copy(night.story.folder / "seal.key", tmp_path / "home" / "seal.key")
    shutil.copy(night.story.folder / "ledger.db", tmp_path / "home" / "ledger.db")
    shutil.copy(night.story.folder / "ledger.db-wal", tmp_path / "home" / "ledger.db-wal")
    story = open_story(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}", tmp_path / "home")
    with story.gateway.ledger.write() as tx:
        tx.execute(sa.text("CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'disk full'); END"))
    with pytest.raises(Exception, match="disk full"):
        make(story.gateway, night.alert, tmp_path / "out")
    story.gateway.close()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_running_alert_is_of_a_moment_and_says_so(sqlite_story, tmp_path):
    sent = sqlite_story.gateway.submit(sqlite_story.gateway.read(warning(sqlite_story, area=PLACE, codes=(VILLAGE,))))
    sqlite_story.work()
    made = make(sqlite_story.gateway, sent.alert_id, tmp_path / "out")
    assert made.running
    page = pypdf.PdfReader(tmp_path / "out" / "dossier.pdf").pages[0].extract_text()
    assert "截至 2023-07-05" in page and "预警尚未结束" in page
    assert json.loads((tmp_path / "out" / "MANIFEST.json").read_bytes())["running"] is True


@pytest.mark.parametrize("kind", ["recorded", "undecided", "cancel", "test"])
def test_an_alert_of_any_kind_has_a_dossier(sqlite_story, tmp_path, kind):
    story = sqlite_story
    if kind == "recorded":
        sent = story.gateway.submit(story.gateway.read(warning(story, status="Draft")))
    elif kind == "undecided":
        sent = story.gateway.submit(story.gateway.read(warning(story, area="无此地", codes=())))
    elif kind == "test":
        sent = story.gateway.test("sms", VILLAGE, story.operator("DUTY_OFFICER"))
    else:
        first = warning(story, area=PLACE, codes=(VILLAGE,), identifier="33052141600000_first")
        story.gateway.submit(story.gateway.read(first), source="deqing-met")
        story.work()
        last = warning(story, area=PLACE, codes=(VILLAGE,), msg_type="Cancel", references="33052141600000_first")
        sent = story.gateway.submit(story.gateway.read(last), source="deqing-met")
        story.work()
    make(story.gateway, sent.alert_id, tmp_path / "out")
    assert verified(tmp_path / "out")[0] == 0


def test_the_timeline_begins_with_the_warning_and_names_who_approved(night):
    course = night.text[night.text.rindex("4 时间线") : night.text.rindex("5 到达情况")]
    order = [course.index(word) for word in ("收到预警", "审核通过", "开始发布", "叫应：首个岗位列入未叫醒名单", "到期关闭")]
    assert order == sorted(order)
    assert PINS["SHIFT_LEAD"][0] in course


def test_who_was_on_the_list_when_the_alert_ended_is_still_on_it(night):
    ends = Counter(row["结果"] for row in rows_of(night.folder / "callouts.csv") if row["事项"] == "确认收到")
    assert ends["本人应答"] >= 2 and ends["未叫醒（上门）"] > 0
    assert f"未叫醒{ends['未叫醒（上门）']}个" in night.text
    assert f"{ends['未叫醒（上门）']}个岗位多次呼叫无人应答" in night.text


# ── verify.py ──


def test_the_script_is_python_3_8_and_needs_nothing_but_the_standard_library(night):
    tree = ast.parse((night.folder / "verify.py").read_text("utf-8"), feature_version=(3, 8))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert modules <= sys.stdlib_module_names


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at if at >= 0 else len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", [*ANSWERS, "VERIFY.txt", "words/voice-post-alarm-zh.txt"])
def test_one_altered_byte_in_any_file_is_named(copy, name):
    flip(copy / name)
    code, said = verified(copy)
    assert code == 1 and f"WRONG {name}: " in said


def test_a_missing_and_an_added_file_are_named(copy):
    (copy / "receipts.csv").unlink()
    (copy / "words" / "extra.txt").write_text("测", encoding="utf-8")
    code, said = verified(copy)
    assert code == 1 and "WRONG receipts.csv: is missing" in said and "WRONG words/extra.txt: is not listed" in said


def test_an_altered_manifest_is_found_by_the_digest_that_the_export_printed(copy, night):
    path = copy / "MANIFEST.json"
    path.write_bytes(path.read_bytes().replace(b'"running": false', b'"running": true'))
    assert verified(copy)[0] == 0
    code, said = verified(copy, "--manifest", night.made.manifest)
    assert code == 1 and "WRONG MANIFEST.json" in said


def forge(folder: Path) -> None:
    """What a forger would do next: bring the manifest in line with the files."""
    manifest = json.loads((folder / "MANIFEST.json").read_bytes())
    manifest["files"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in bytes_of(folder).items()
        if name != "MANIFEST.json"
    }
    (folder / "MANIFEST.json").write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("alert.json", "WRONG alert.json (by entry 1 alert.received)"),
        ("words/voice-post-alarm-zh.txt", "WRONG words/voice-post-alarm-zh.txt (by entry 3 wording.frozen)"),
    ],
)
def test_with_a_forged_manifest_the_chain_still_knows_the_warning_and_its_words(copy, name, says):
    flip(copy / name)
    forge(copy)
    code, said = verified(copy)
    assert code == 1 and says in said


def test_with_a_forged_manifest_the_chain_still_knows_the_plan(copy):
    plan = json.loads((copy / "plan.json").read_bytes())
    plan["regions"].pop()
    (copy / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    forge(copy)
    code, said = verified(copy)
    assert code == 1 and "WRONG plan.json (by entry 2 plan.frozen)" in said


def entries_in(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "entries.jsonl").read_text("utf-8").splitlines()]


def put_entries(folder: Path, entries: list[dict]) -> None:
    lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in entries]
    (folder / "entries.jsonl").write_text("".join(lines), encoding="utf-8")
    forge(folder)


@pytest.mark.parametrize("column", ["at", "kind", "who", "body", "previous", "hash", "chain", "n"])
def test_each_altered_column_of_an_entry_is_named_by_line_and_number(copy, column):
    entries = entries_in(copy)
    one = entries[4]
    one[column] = one[column] + 1 if isinstance(one[column], int) else one[column].replace("a", "b") + "x"
    put_entries(copy, entries)
    code, said = verified(copy)
    assert code == 1 and "WRONG entries.jsonl line 5 (entry" in said


def test_exchanged_deleted_and_added_entries_are_found(copy):
    entries = entries_in(copy)
    for forged in (
        [*entries[:4], entries[5], entries[4], *entries[6:]],
        [*entries[:4], *entries[5:]],
        [*entries[:4], entries[3], *entries[4:]],
        entries[:-1],
    ):
        put_entries(copy, forged)
        code, said = verified(copy)
        assert code == 1 and "WRONG entries.jsonl" in said
    put_entries(copy, entries)
    assert verified(copy)[0] == 0


def rebuilt(entries: list[dict]) -> list[dict]:
    """All hashes made anew: what somebody would do who could write to the ledger."""
    previous = "0" * 64
    for n, one in enumerate(entries, 1):
        one.update(n=n, previous=previous)
        one["hash"] = chain.entry_hash(*(one[name] for name in ("chain", "n", "at", "kind", "who", "body", "previous")))
        previous = one["hash"]
    return entries


def an_anchor(folder: Path, name: str, n: int, digest: str) -> str:
    (folder.parent / "anchor.json").write_text(
        json.dumps({"heads": {name: [n, digest]}, "ledger": "k3f", "number": 12}), encoding="utf-8"
    )
    return str(folder.parent / "anchor.json")


def test_a_chain_that_was_made_anew_as_a_whole_is_found_by_an_anchor_only(copy, night):
    name = chain.of_alert(night.alert)
    anchor = an_anchor(copy, name, night.made.entries - 2, entries_in(copy)[-3]["hash"])
    code, said = verified(copy, "--anchor", anchor)
    assert code == 0 and f"entry {night.made.entries - 2} of {name} is the one that the anchor names" in said

    entries = rebuilt([{**one, "who": "别人测"} if n == 5 else one for n, one in enumerate(entries_in(copy))])
    put_entries(copy, entries)
    manifest = json.loads((copy / "MANIFEST.json").read_bytes())
    manifest["head"]["hash"] = entries[-1]["hash"]
    (copy / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert verified(copy)[0] == 0
    code, said = verified(copy, "--anchor", anchor)
    assert code == 1 and f"(entry {night.made.entries - 2}): is not the one that the anchor names" in said


def test_an_anchor_that_cannot_be_compared_is_no_yes(copy, night):
    code, said = verified(copy, "--anchor", an_anchor(copy, "house", 1, "0" * 64))
    assert code == 1 and "does not speak of" in said
    newer = an_anchor(copy, chain.of_alert(night.alert), night.made.entries + 1, "0" * 64)
    code, said = verified(copy, "--anchor", newer)
    assert code == 1 and "newer than this dossier" in said
    assert verified(copy, "--anchor", str(copy / "nothing.json"))[0] == 1


# ── rows of evidence, as docs/ledger.md describes them ──


def rows_in(folder: Path, table: str) -> list[dict]:
    return [json.loads(line) for line in (folder / "rows" / f"{table}.jsonl").read_text("utf-8").splitlines()]


def put_rows(folder: Path, table: str, rows: list[dict]) -> None:
    (folder / "rows" / f"{table}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    forge(folder)


def test_rows_of_evidence_are_held_against_their_entries(copy):
    code, said = verified(copy)
    rows = sum(len(rows_in(copy, path.stem)) for path in (copy / "rows").iterdir())
    assert code == 0 and rows > 100 and f"{rows} rows of evidence agree with their entries" in said, (rows, said)


def changed(rows: list[dict], column: str, value: object) -> list[dict]:
    return [{**rows[0], column: value}, *rows[1:]]


@pytest.mark.parametrize(
    ("table", "alter", "says"),
    [
        ("receipt", lambda rows: changed(rows, "state", "failed"), "do not come to the digest"),
        ("reply", lambda rows: changed(rows, "verb", "other"), "do not come to the digest"),
        ("delivery", lambda rows: changed(rows, "region", "330521999999"), "do not come to the digest"),
        ("receipt", lambda rows: rows[:-1], "is missing"),
        ("receipt", lambda rows: [*rows, {**rows[0], "id": 99_999}], "row 99999 is covered by no entry"),
        ("delivery", lambda rows: [*rows, {**rows[0], "seq": 9_999}], "is covered by no entry"),
        ("receipt", lambda rows: [*rows, rows[0]], "is there twice"),
    ],
)
def test_an_altered_missing_or_added_row_is_named(copy, table, alter, says):
    put_rows(copy, table, alter(rows_in(copy, table)))
    code, said = verified(copy)
    assert code == 1 and says in said and f"{table}" in said


def test_a_delivery_that_nobody_has_called_yet_needs_no_entry(lean_story, tmp_path):
    sent = lean_story.gateway.submit(lean_story.gateway.read(warning(lean_story)))
    make(lean_story.gateway, sent.alert_id, tmp_path / "running")
    code, said = verified(tmp_path / "running")
    assert code == 0, said


# ── counting ──

STATES = [str(state) for state in State]


class Fake(dict):
    """A row."""

    __getattr__ = dict.__getitem__


@given(
    st.lists(
        st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(0, 4), st.sampled_from(STATES), st.integers(0, 50)),
        max_size=40,
    )
)
def test_each_delivery_counts_once_in_the_curve_at_the_first_receipt_that_says_so(said):
    batches = {n: Fake(id=n, channel="sms", purpose="alarm", size=9) for n in (1, 2)}
    reach, first = Reach(batches), {}
    for batch_id, seq, more, state, at in sorted(said, key=lambda one: one[-1]):
        last = min(9, seq + more)
        reach.take(Fake(batch_id=batch_id, first_seq=seq, last_seq=last, state=state, recorded=at))
        for how in {DELIVERED: (TAKEN, DELIVERED), TAKEN: (TAKEN,)}.get(standing(state), ()):
            for one in range(seq, last + 1):
                first.setdefault((how, batch_id, one), at)
    (curve,) = reach.curves({"sms": 18})
    for how, steps in ((TAKEN, curve.taken), (DELIVERED, curve.delivered)):
        moments = sorted(at for (kind, _, _), at in first.items() if kind == how)
        assert [(at, sum(moment <= at for moment in moments)) for at in sorted(set(moments))] == list(steps)
        for share in (0.5, 0.9):
            wanted = max(1, round(share * 18))
            assert curve.when(steps, share) == (moments[wanted - 1] if len(moments) >= wanted else None)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from(STATES), st.sampled_from(["alarm", "callout.deputy.1"])), max_size=60)
)
def test_whatever_is_owed_stands_somewhere_and_a_post_is_missed_only_when_every_way_failed(said):
    tally = Tally(lambda region: region[:9])
    for post, state, purpose in said:
        tally.take(
            Fake(channel="sms", purpose=purpose, state=state, reason="", region=VILLAGE, post_id=post, role="R", rank="A")
        )  # fmt: skip
    message = [(post, state) for post, state, purpose in said if purpose == "alarm"]
    assert tally.rows == len(said) and sum(counted.total() for counted in tally.towns.values()) == len(message)
    assert tally.others.total() == len(said) - len(message)
    by_post = {post: {state for each, state in message if each == post} for post, _ in message}
    failed = [states for states in by_post.values() if {standing(state) for state in states} <= {NOT, "doubt"}]
    assert len(tally.missed()) == len(failed) and tally.posts == len(by_post)


def test_the_order_in_which_the_deliveries_come_changes_nothing():
    rows = [
        Fake(channel=channel, purpose="alarm", state=state, reason="", region=VILLAGE, post_id=n % 3, role="R", rank="A")
        for n, (channel, state) in enumerate((channel, state) for channel in ("sms", "voice") for state in STATES)
    ]
    tallies = []
    for seed in range(3):
        tally = Tally(lambda region: region)
        for row in random.Random(seed).sample(rows, len(rows)):
            tally.take(row)
        tallies.append((tally.states, tally.towns, tally.reasons, tally.missed()))
    assert tallies[0] == tallies[1] == tallies[2]


# ── the command ──


def test_the_command_makes_a_dossier_and_ends_with_where_it_is_how_long_and_the_head(tmp_path, capsys, monkeypatch):
    for name in ("BROADCAST_HOME", "BROADCAST_OPERATOR", "BROADCAST_PIN"):
        monkeypatch.delenv(name, raising=False)
    home, out = tmp_path / "home", tmp_path / "out"
    assert main(["init", str(home), "--example", "deqing", "--size", "S"]) == 0
    warned = [
        str(home / "warnings" / YELLOW),
        "--source",
        "deqing-met",
        "--token-file",
        str(home / "deqing-met.token"),
        "--restamp",
    ]
    main(["--home", str(home), "send", *warned])
    capsys.readouterr()

    assert main(["--home", str(home), "dossier", "1", str(out)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    head = json.loads((out / "MANIFEST.json").read_bytes())["head"]["hash"]
    assert str(out) in last and "pages" in last and last.endswith(head)

    assert main(["--home", str(home), "dossier", "1", str(out)]) == 3
    assert "not empty" in capsys.readouterr().err
    assert main(["--home", str(home), "dossier", "99", str(tmp_path / "none")]) == 1
    assert main(["--home", str(home), "dossier", "1", str(tmp_path / "none"), "--unmask"]) == 2
    assert main(["--home", str(home), "dossier", "1", str(tmp_path / "none"), "--unmask", "--reason", "调阅"]) == 2
    assert not (tmp_path / "none").exists()
