"""What auditors ask: every filter against a slow reference, pages that join, masks, unmasking that is written down first, files."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.delivery import REACHED, State, follow
from broadcast.errors import LedgerUnavailable, NotAllowed, NotFound, Refused
from broadcast.ledger import Ledger, Seal, audits, unreached
from broadcast.ledger import tables as t

from ..audited import OTHER_TOWN, TOWN, VILLAGE, a_bad_night, a_large_ledger
from ..conftest import Story
from ..databases import new_database

QUESTIONS = tuple(audits.KNOWS)
ANSWERS = {"acknowledged", "measures", "done"}
OWED = {"alarm", "stand_down", "stop"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def night(request, tmp_path_factory) -> Iterator[Night]:
    """One bad night for all of these stories: nobody changes what happened in it."""
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else ""
    pattern = request.getfixturevalue(f"{request.param}_pattern")
    with a_bad_night(pattern, tmp_path_factory.mktemp("night"), server) as (story, times):
        yield Night(story, times)


class Night:
    """The story, and its ledger's tables as lists of dictionaries for the reference."""

    def __init__(self, story: Story, times: list[datetime]) -> None:
        self.story, self.times = story, times
        self.ledger, self.gateway = story.gateway.ledger, story.gateway
        names = (
            "delivery",
            "batch",
            "receipt",
            "reply",
            "callout",
            "post",
            "person",
            "entry",
            "alert",
            "target",
            "roster",
            "address",
        )
        with self.ledger.read() as tx:
            self.rows = {name: [dict(row) for row in tx.execute(sa.select(t.metadata.tables[name])).mappings()] for name in names}
        self.by_id = {name: {row["id"]: row for row in self.rows[name]} for name in ("batch", "post", "person", "address")}
        self.by_key = {(row["batch_id"], row["seq"]): row for row in self.rows["delivery"]}
        self.said: dict[int, list[dict]] = defaultdict(list)  # batch → its receipts
        for row in sorted(self.rows["receipt"], key=lambda row: row["id"]):
            self.said[row["batch_id"]].append(row)
        self.deliveries = [self._whole(row) for _, row in sorted(self.by_key.items())]

    def _whole(self, row: dict) -> dict:
        batch, post = self.by_id["batch"][row["batch_id"]], self.by_id["post"].get(row["post_id"])
        made = {**row, "state": row["state"] or batch["state"], "own": row["state"], "batch": batch, "post": row["post_id"]}
        made["role"] = post and post["role"]
        made["person"] = post and self.by_id["person"][post["person_id"]]["key"]
        made["number"] = self.ledger.seal.open(self.by_id["address"][row["address_id"]]["sealed"])
        return made

    def ask(self, asked: str, **filters) -> list[dict]:
        return list(getattr(self.ledger, asked)(**filters))

    def keys(self, asked: str, **filters) -> list[str]:
        return [str(next(iter(row.values()))) for row in self.ask(asked, **filters)]


# ── the reference ──


def is_about(row: dict, wanted: dict, time: int | None) -> bool:
    """By every filter that the row has a column for."""
    same = all(
        row[name] == value
        for name, value in wanted.items()
        if name in ("alert_id", "post", "role", "person", "number", "channel", "state")
    )
    return same and (row["region"] or "").startswith(wanted.get("region", "")) and is_within(time, wanted)


def is_within(time: int | None, wanted: dict) -> bool:
    since, until = (wanted.get(name) and int(wanted[name].timestamp() * 1000) for name in ("since", "until"))
    return (since is None or (time is not None and time >= since)) and (until is None or (time is not None and time < until))


def reference(night: Night, asked: str, wanted: dict) -> list[str]:
    return {
        "deliveries": deliveries_of, "receipts": receipts_of, "callouts": callouts_of, "entries": entries_of, "unreached": unreached_of,
        "replies": lambda *given: replies_of(*given, verbs=None), "acknowledgements": lambda *given: replies_of(*given, verbs=ANSWERS),
    }[asked](night, wanted)  # fmt: skip


def deliveries_of(night: Night, wanted: dict) -> list[str]:
    return [f"{row['batch_id']}.{row['seq']}" for row in night.deliveries if is_about(row, wanted, row["batch"]["started"])]


def receipts_of(night: Night, wanted: dict) -> list[str]:
    of_delivery = {name: value for name, value in wanted.items() if name not in ("state", "since", "until")}
    about = {(row["batch_id"], row["seq"]) for row in night.deliveries if is_about(row, of_delivery, None)}
    found = [
        row
        for row in night.rows["receipt"]
        if any((row["batch_id"], seq) in about for seq in range(row["first_seq"], row["last_seq"] + 1))
        and row["state"] == wanted.get("state", row["state"])
        and is_within(row["recorded"], wanted)
    ]
    return [str(row["id"]) for row in sorted(found, key=lambda row: (row["batch_id"], row["id"]))]


def holders(night: Night, wanted: dict) -> set[int]:
    """The posts that are wanted."""
    return {
        number
        for number, post in night.by_id["post"].items()
        if number == wanted.get("post", number)
        and post["role"] == wanted.get("role", post["role"])
        and night.by_id["person"][post["person_id"]]["key"]
        == wanted.get("person", night.by_id["person"][post["person_id"]]["key"])
    }


def names_posts(wanted: dict) -> bool:
    return bool({"post", "role", "person"} & wanted.keys())


def replies_of(night: Night, wanted: dict, *, verbs: set[str] | None) -> list[str]:
    persons = {night.by_id["post"][number]["person_id"] for number in holders(night, wanted)}
    found = []
    for row in sorted(night.rows["reply"], key=lambda row: row["id"]):
        delivery = night.by_key[row["batch_id"], row["seq"]]  # of this night every reply names one
        facts = {"alert_id": row["alert_id"], "region": delivery["region"], "channel": row["how"]}
        plain = {name: value for name, value in wanted.items() if name not in ("post", "role", "person")}
        mine = row["person_id"] in persons or not names_posts(wanted)
        if mine and is_about(facts, plain, row["recorded"]) and (verbs is None or row["verb"] in verbs):
            found.append(str(row["id"]))
    return found


def callouts_of(night: Night, wanted: dict) -> list[str]:
    posts = holders(night, wanted)
    plain = {name: value for name, value in wanted.items() if name not in ("post", "role", "person")}
    rows = sorted(night.rows["callout"], key=lambda row: row["id"])
    mine = [row for row in rows if row["post_id"] in posts or not names_posts(wanted)]
    return [str(row["id"]) for row in mine if is_about(row, plain, row["opened"])]


def entries_of(night: Night, wanted: dict) -> list[str]:
    rows = [row for row in night.rows["entry"] if "alert_id" not in wanted or row["chain"] == f"alert:{wanted['alert_id']}"]
    rows = [row for row in rows if row["kind"] == wanted.get("kind", row["kind"]) and is_within(row["at"], wanted)]
    return [f"{row['chain']}/{row['n']}" for row in sorted(rows, key=lambda row: (row["at"], row["chain"], row["n"]))]


def unreached_of(night: Night, wanted: dict) -> list[str]:
    received = [
        row
        for row in night.rows["alert"]
        if row["id"] == wanted.get("alert_id", row["id"]) and is_within(row["received"], wanted)
    ]
    moment = int(wanted["until"].timestamp() * 1000) if "until" in wanted else None
    found: list[str] = []
    for number in sorted(row["id"] for row in received):
        rows = [
            row
            for row in night.deliveries
            if row["alert_id"] == number and (row["purpose"] in OWED or row["purpose"].startswith("callout."))
        ]
        reached = [row for row in rows if state_of(night, row, moment) in REACHED]
        numbers = {row["address_id"] for row in reached}
        found += posts_unreached(night, wanted, number, moment, rows, reached, numbers)
        if not names_posts(wanted):
            found += targets_unreached(wanted, number, rows, numbers)
    return found


def posts_unreached(night, wanted, number, moment, rows, reached, numbers) -> list[str]:
    before = moment or 10**15
    of_alert = [row for row in night.rows["callout"] if row["alert_id"] == number and row["duty"] == "acknowledge"]
    answered = {row["post_id"] for row in of_alert if row["state"] == "answered" and row["answered"] < before}
    said = {
        row["person_id"]
        for row in night.rows["reply"]
        if row["alert_id"] == number and row["verb"] in ANSWERS and row["recorded"] < before
    }
    owed = {row["post_id"] for row in of_alert} | {row["post"] for row in rows if row["post"] and row["purpose"] in OWED}
    person_of = {key: post["person_id"] for key, post in night.by_id["post"].items()}
    happy = {person_of[row["post"]] for row in reached if row["post"]} | said
    (in_force,) = [row["id"] for row in night.rows["roster"] if row["in_force"]]
    happy |= {row["person_id"] for row in night.rows["target"] if row["roster_id"] == in_force and row["address_id"] in numbers}
    here = holders(night, wanted)
    missed = [one for one in sorted(owed) if one in here and one not in answered and person_of[one] not in happy]
    return [f"{number}.p.{one}" for one in missed if night.by_id["post"][one]["region"].startswith(wanted.get("region", ""))]


def targets_unreached(wanted, number, rows, numbers) -> list[str]:
    first: dict[int, dict] = {}
    for row in rows:
        if not row["post"] and row["purpose"] in OWED and row["region"].startswith(wanted.get("region", "")):
            first.setdefault(row["address_id"], row)
    return [f"{number}.t.{row['batch_id']}.{row['seq']}" for row in first.values() if row["address_id"] not in numbers]


def state_of(night: Night, row: dict, moment: int | None) -> State:
    """Now, or as its receipts told until then."""
    if moment is None:
        return State(row["state"])
    state = State.PLANNED
    for one in night.said[row["batch_id"]]:
        if one["first_seq"] <= row["seq"] <= one["last_seq"] and one["recorded"] < moment:
            state = follow(state, State(one["state"]))
    return state


# ── every filter, every page ──


def choices(night: Night) -> dict[str, list]:
    """Values that are in the ledger, for each filter."""
    told = [row for row in night.deliveries if row["post"]]
    return {
        "alert_id": [1, 2, 3], "region": ["330521", TOWN, OTHER_TOWN, VILLAGE, "330521115202"],
        "post": sorted({row["post"] for row in told})[::40], "role": sorted({row["role"] for row in told}),
        "person": sorted({row["person"] for row in told})[::40], "number": [row["number"] for row in night.deliveries[::300]],
        "channel": ["sms", "voice", "zwdd", "speaker"], "state": ["accepted", "delivered", "rejected", "in_doubt", "open", "answered"],
        "kind": ["alert.received", "reply", "callout.climbed"], "since": night.times, "until": night.times,
    }  # fmt: skip


@contextmanager
def pages_of(size: int) -> Iterator[None]:
    """So many rows in one transaction, instead of five hundred."""
    before = audits.PAGE, unreached._PAGE
    audits.PAGE = unreached._PAGE = size
    try:
        yield
    finally:
        audits.PAGE, unreached._PAGE = before


@pytest.mark.parametrize("asked", QUESTIONS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_filter_agrees_with_the_slow_reference_and_pages_of_any_size_join_to_the_whole(night, asked, data):
    values = choices(night)
    names = data.draw(st.sets(st.sampled_from(sorted(audits.KNOWS[asked] - {"after", "limit"})), max_size=3))
    wanted = {name: data.draw(st.sampled_from(values[name]), name) for name in sorted(names)}
    if asked == "unreached" or "state" in wanted:
        wanted.setdefault("alert_id", data.draw(st.sampled_from([1, 2, 3])))
    expected = reference(night, asked, wanted)

    with pages_of(data.draw(st.sampled_from([60, 500]), "rows in one transaction")):
        assert night.keys(asked, **wanted) == expected
    size = max(data.draw(st.integers(1, 300), "page"), len(expected) // 10)
    joined: list[str] = []
    while page := night.keys(asked, **wanted, limit=size, **({"after": joined[-1]} if joined else {})):
        joined += page
    assert joined == expected


def test_the_night_has_something_of_everything(night):
    states = {row["state"] for row in night.deliveries}
    assert states >= {"accepted", "delivered", "rejected", "failed", "in_doubt"}
    known = Counter((row["kind"], row["known"]) for row in night.ask("unreached", alert_id=1))
    assert min(known["post", "not reached"], known["post", "in doubt"], known["target", "not reached"]) > 0
    assert len(night.ask("acknowledgements")) < len(night.ask("replies")) and len(night.ask("deliveries")) > 3000


# ── what an auditor asks ──


def test_who_in_a_town_was_not_reached_by_a_moment_and_why(night):
    at = night.times[2]
    missed = night.ask("unreached", alert_id=1, region=TOWN, until=at)
    later = night.ask("unreached", alert_id=1, region=TOWN)

    assert missed and {row["region"][:9] for row in missed} == {TOWN}
    assert all(row["ways"] and not {way.state for way in row["ways"]} & REACHED for row in missed if row["kind"] == "target")
    assert {way.reason for row in missed for way in row["ways"]} >= {"isv.MOBILE_NUMBER_ILLEGAL", "failed"}
    assert {row["unreached"] for row in missed} != {row["unreached"] for row in later}
    assert audits.ways_in_words(()) == "nothing was planned: no address on any channel of the plan"


def test_whoever_no_channel_of_the_plan_reaches_is_on_the_list_of_the_unreached(story):
    with story.gateway.ledger.write() as tx:
        of_the_village = sa.select(t.post.c.id, t.post.c.person_id).where(
            t.post.c.role == "VILLAGE_HEAD", t.post.c.region == VILLAGE
        )
        head = tx.execute(of_the_village.where(t.post.c.rank == "A")).one()
        tx.execute(t.target.delete().where(t.target.c.person_id == head.person_id))
    story.submit("2-rainstorm-orange.xml")
    story.work()

    (row,) = [row for row in story.gateway.ledger.unreached(alert_id=1) if row["post"] == head.id]

    assert (row["known"], row["ways"]) == ("not reached", [])


def test_everything_that_a_person_was_sent_and_what_the_provider_said_of_a_number(night):
    row = next(row for row in night.deliveries if row["person"] and row["own"] == "rejected" and row["channel"] == "sms")

    sent = night.ask("deliveries", person=row["person"])
    said = night.ask("receipts", number=row["number"].removeprefix("+86"), state="rejected")

    assert {one["person_id"] for one in sent} == {row["person"]} and {one["alert_id"] for one in sent} == {1, 2, 3} & {
        one["alert_id"] for one in sent
    }
    assert f"{row['batch_id']}.{row['seq']}" in {one["deliveries"] for one in said}
    assert {one["code"] for one in said} == {"isv.MOBILE_NUMBER_ILLEGAL"}


def test_a_number_that_was_never_told_has_no_rows_and_what_never_was_is_said_not_to_be(night):
    assert night.ask("deliveries", number="+8615499999999") == []
    for wrong in ({"alert_id": 99}, {"region": "330599"}, {"post": 10**6}, {"role": "KING"}, {"person": "P0"}):
        with pytest.raises(NotFound, match="never had"):
            night.ask("callouts", **wrong)


@pytest.mark.parametrize(
    ("asked", "wanted", "told"),
    [
        ("deliveries", {"state": "rejected"}, "everything there ever was"),
        ("receipts", {"state": "rejected", "channel": "sms"}, "everything there ever was"),
        ("unreached", {}, "everything there ever was"),
        ("entries", {"region": TOWN}, "not asked for by region"),
        ("deliveries", {"region": "德清"}, "no code"),
        ("deliveries", {"after": "x"}, "first column"),
        ("receipts", {"after": "1.1"}, "first column"),
        ("callouts", {"after": "-1"}, "first column"),
        ("unreached", {"alert_id": 1, "after": "1.q.1"}, "first column"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_to_do(night, asked, wanted, told):
    with pytest.raises(Refused, match=told):
        night.ask(asked, **wanted)


def test_a_mark_of_a_row_that_never_was_is_not_found(night):
    for asked, mark in (("entries", "alert:1/9999"), ("entries", "nonsense"), ("receipts", "999999999")):
        with pytest.raises(NotFound):
            night.ask(asked, after=mark)


# ── masks ──


def test_nobodys_name_number_or_words_are_in_any_answer(night):
    opened = night.ledger.seal.open
    names = {opened(row["name"]) for row in night.rows["person"]}
    numbers = {opened(row["sealed"]).removeprefix("+86") for row in night.rows["address"]}
    rows = [row for asked in QUESTIONS for row in night.ask(asked, since=night.times[0])]
    text = "\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in rows)

    assert "****" in text and "(4 characters)" in text and "沈测收到" not in text
    assert all("测" in name for name in names) and not set(re.findall(r".测.?", text)) & names
    assert not set(re.findall(r"[0-9]{11,}", text)) & numbers and not set(re.findall(r"sim:[a-z]+:\w+", text)) & numbers


def test_what_was_erased_is_said_to_be(night):
    row = dict(next(iter(night.ledger.sealed("deliveries", {"person": night.deliveries[-200]["person"] or "P00002"}))))
    shown = audits.shown(night.ledger.seal, {**row, "address": None, "person": None})
    assert (shown["address"], shown["person"]) == ("(erased)", "(erased)")
    target = next(row for row in night.ledger.sealed("deliveries", {}) if row["post"] is None)
    assert audits.shown(night.ledger.seal, target)["person"] is None


# ── unmasking ──


def entries_of_house(story: Story, kind: str) -> list[dict]:
    return list(story.gateway.ledger.entries(kind=kind))


@pytest.fixture
def alerted(sqlite_story) -> Story:
    sqlite_story.submit("2-rainstorm-orange.xml")
    sqlite_story.work()
    return sqlite_story


def test_unmasking_is_written_down_with_who_why_and_a_digest_of_what_was_seen(alerted):
    gateway, leader = alerted.gateway, alerted.operator("DUTY_LEADER")
    gateway.add_operator("测试审计员", ["AUDITOR"], "112233", leader)
    auditor = gateway.authenticate("测试审计员", "112233")

    rows = gateway.unmask("deliveries", {"alert_id": 1, "channel": "sms", "limit": 5}, auditor, "核查 15400000002 的投诉")

    assert all(re.fullmatch(r"\+86154\d{8}|\+86194\d{8}", row["address"]) for row in rows)
    assert {row["person"][1] for row in rows if row["person"]} == {"测"}
    (entry,) = entries_of_house(alerted, "unmasked")
    keys = hashlib.sha256("\n".join(row["delivery"] for row in rows).encode()).hexdigest()
    assert (entry["who"], entry["body"]["count"], entry["body"]["keys_sha256"]) == ("测试审计员", 5, keys)
    assert entry["body"]["query"] == {"asked": "deliveries", "alert_id": 1, "channel": "sms", "limit": 5}
    assert entry["body"]["reason"] == "核查 154****0002 的投诉"
    assert gateway.verify().holds


def test_a_number_that_was_asked_for_is_masked_in_the_entry(alerted):
    row = next(row for row in alerted.gateway.ledger.sealed("deliveries", {"channel": "sms"}))
    number = alerted.gateway.ledger.seal.open(row["address"])
    (seen, *_rest) = alerted.gateway.unmask(
        "receipts", {"number": number, "alert_id": 1}, alerted.operator("DUTY_OFFICER"), "本人申诉"
    )
    assert seen["deliveries"]
    (entry,) = entries_of_house(alerted, "unmasked")
    assert entry["body"]["query"]["number"] == f"{number[3:6]}****{number[-4:]}"


@pytest.mark.parametrize(
    ("role", "reason"), [("NEWS_CENTRE", "好奇心"), ("SHIFT_LEAD", "好奇心"), ("DUTY_OFFICER", " "), ("DUTY_LEADER", "")]
)
def test_whoever_may_not_or_says_not_why_sees_nothing_and_no_entry_says_so(alerted, role, reason):
    with pytest.raises(NotAllowed):
        alerted.gateway.unmask("deliveries", {"alert_id": 1}, alerted.operator(role), reason)
    assert entries_of_house(alerted, "unmasked") == []


def test_too_much_at_once_is_not_unmasked(alerted, monkeypatch):
    monkeypatch.setattr("broadcast.gateway.unmasking.MOST", 100)
    with pytest.raises(Refused, match="more than 100 rows"):
        alerted.gateway.unmask("deliveries", {"alert_id": 1}, alerted.operator("DUTY_OFFICER"), "核查")
    assert (
        len(alerted.gateway.unmask("deliveries", {"alert_id": 1, "limit": 100}, alerted.operator("DUTY_OFFICER"), "核查")) == 100
    )


def test_when_the_entry_cannot_be_written_nothing_is_shown(alerted):
    operator = alerted.operator("DUTY_OFFICER")
    with alerted.gateway.ledger.write() as tx:
        tx.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    with pytest.raises(LedgerUnavailable):
        alerted.gateway.unmask("deliveries", {"alert_id": 1}, operator, "核查")


# ── at true size ──


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large(request, tmp_path_factory) -> Iterator[Ledger]:
    folder = tmp_path_factory.mktemp("large")
    url = f"sqlite:///{folder / 'ledger.db'}"
    if request.param == "postgresql":
        url = new_database(request.getfixturevalue("postgres"), folder)
    Seal.make(folder / "key")
    made = Ledger(url, Seal.from_file(folder / "key"))
    made.migrate()
    a_large_ledger(made, alerts=3, residents=5_000, posts=1_000)
    yield made
    made.close()


SINGLE = {
    "alert_id": 2, "region": "330521105", "post": 17, "role": "ROLE4", "person": "P17", "number": "+8615400000017", "channel": "voice",
    "kind": "reply", "since": datetime(2023, 7, 7, 12, tzinfo=UTC), "until": datetime(2023, 7, 6, 12, tzinfo=UTC),
}  # fmt: skip
LARGE = ("delivery", "receipt")


@pytest.mark.parametrize("asked", QUESTIONS)
def test_no_question_reads_a_large_table_from_end_to_end_whatever_it_is_asked_by(large, asked):
    for name in sorted(audits.KNOWS[asked] - {"after", "limit", "state"}):
        with watched(large) as statements:
            rows = list(getattr(large, asked)(**{name: SINGLE[name]}, limit=300))
        assert rows or asked == "unreached" or name in ("kind", "channel"), f"{asked} by {name} finds nothing: nothing was shown"
        for statement, parameters in statements:
            assert scans(large, statement, parameters) == [], f"{asked} by {name}"


@contextmanager
def watched(ledger: Ledger) -> Iterator[list]:
    """Every different question that is put to the database."""
    seen: dict[str, object] = {}

    def keep(_connection, _cursor, statement, parameters, _context, _many) -> None:
        seen.setdefault(statement, parameters)

    sa.event.listen(ledger.database.engine, "before_cursor_execute", keep)
    found: list = []
    try:
        yield found
    finally:
        sa.event.remove(ledger.database.engine, "before_cursor_execute", keep)
        found += [(statement, parameters) for statement, parameters in seen.items() if statement.startswith(("SELECT", "WITH"))]


def scans(ledger: Ledger, statement: str, parameters) -> list[str]:
    """The large tables that a statement would read without an index that narrows it."""
    with ledger.read() as tx:
        if ledger.database.is_sqlite:
            plan = [row[3] for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            return [line for line in plan if re.match(rf"SCAN ({'|'.join(LARGE)})\b", line) or "AUTOMATIC" in line]
        tx.exec_driver_sql("SET LOCAL enable_seqscan = off")  # so small a table it reads whole by choice
        (plan,) = tx.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).one()
        return list(wide(plan[0]["Plan"]))


def wide(node: dict) -> Iterator[str]:
    narrows = "Index Cond" in node or node["Node Type"] == "Bitmap Heap Scan"
    if node.get("Relation Name") in LARGE and not narrows:
        yield f"{node['Node Type']} on {node['Relation Name']}"
    for below in node.get("Plans", ()):
        yield from wide(below)


def test_a_scan_would_be_found(large):
    with watched(large) as statements, large.read() as tx:
        tx.execute(sa.select(t.delivery.c.seq).where(t.delivery.c.region == "330521105201")).all()
    assert scans(large, *statements[0])


def test_a_batch_that_planning_made_says_between_which_regions_it_lies(night):
    for number, batch in night.by_id["batch"].items():
        regions = [row["region"] for row in night.deliveries if row["batch_id"] == number]
        if batch["first_region"] is not None:
            assert (batch["first_region"], batch["last_region"]) == (min(regions), max(regions))
    named = [batch for batch in night.by_id["batch"].values() if batch["first_region"] is not None]
    assert len(named) > len(night.by_id["batch"]) // 3
