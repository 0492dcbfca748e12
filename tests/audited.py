"""A county after a bad night, for the questions of auditors: reached, rejected, in doubt, answered, silent, called off."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from broadcast.channels import open_peer
from broadcast.channels.base import Reply, Report, Verb
from broadcast.delivery import Receipt, State
from broadcast.gateway import open_ways
from broadcast.gateway.keys import key_of
from broadcast.ledger import Ledger
from broadcast.ledger import tables as t

from .conftest import CHANNELS_OF_STORIES, Pattern, Story, open_story
from .ledger_rows import claim, in_doubt
from .unit.stories import warning

TOWN, OTHER_TOWN, VILLAGE = "330521115", "330521102", "330521115201"


@contextmanager
def a_bad_night(pattern: Pattern, folder: Path, server: str = "") -> Iterator[tuple[Story, list[datetime]]]:
    """Three alerts on a real gateway, and the moments at which something was just over."""
    story = open_story(pattern.copy(folder, server), folder)
    story.gateway.house.ways = open_ways([_a_peer(folder, channel) for channel in CHANNELS_OF_STORIES])
    dice = random.Random(7)
    times = [story.clock.now]
    first = story.gateway.submit(story.gateway.read(warning(story, identifier="33052141600000_1")))
    _in_doubt(story, first.alert_id)
    story.work()
    for _ in range(4):  # reports and answers trickle in; whoever is silent is called
        story.clock.forward(minutes=3)
        _report(story, first.alert_id, dice)
        _reply(story, first.alert_id, dice)
        story.work()
        times.append(story.clock.now)
    other = warning(story, severity="Extreme", area="新市镇", codes=(OTHER_TOWN,), identifier="33052141600000_2")
    story.gateway.submit(story.gateway.read(other))
    story.clock.forward(minutes=2)
    update = warning(
        story, msg_type="Update", references="33052141600000_1", area="测试村", codes=(VILLAGE,), identifier="33052141600000_3"
    )
    third = story.gateway.submit(story.gateway.read(update))
    story.work()
    _report(story, third.alert_id, dice)
    times += [story.clock.now, story.clock.now + timedelta(hours=1)]
    yield story, times
    story.gateway.close()


def _a_peer(folder: Path, channel: str):
    options = {"file": str(folder / f"{channel}.jsonl"), "answers": "accepted"}
    return open_peer(name=f"{channel}-loopback", channel=channel, protocol="loopback", simulated=True, options=options)


def _in_doubt(story: Story, alert_id: int) -> None:
    """Of the first batch of posts' SMS nobody knows whether it left; of the rest somebody will."""
    ledger, now = story.gateway.ledger, story.gateway.house.now()
    with ledger.read() as tx:
        its = (t.batch.c.alert_id == alert_id, t.batch.c.channel == "sms", t.batch.c.purpose == "alarm")
        number = tx.execute(sa.select(sa.func.min(t.batch.c.id)).where(*its)).scalar_one()
    held = claim(ledger, number, now, peer="sms-loopback")
    assert held is not None
    in_doubt(ledger, held, tuple(piece.seq for piece in held.pieces[:9]), now)


def _report(story: Story, alert_id: int, dice: random.Random) -> None:
    ends = (State.DELIVERED, State.DELIVERED, State.FAILED, State.REJECTED)
    rows = list(story.gateway.ledger.sealed("deliveries", {"alert_id": alert_id, "state": "accepted"}))
    by_peer: dict[str, list[Report]] = {}
    for row in dice.sample(rows, len(rows) // 2):
        key = key_of(story.gateway.house, row["batch_id"], row["seq"])
        end = dice.choice(ends)
        code = "isv.MOBILE_NUMBER_ILLEGAL" if end is State.REJECTED else str(end)
        by_peer.setdefault(row["peer"], []).append(Report(Receipt(end, code, at=story.clock.now), key=key))
    for peer, reports in by_peer.items():
        story.gateway.hear(peer, reports)


def _reply(story: Story, alert_id: int, dice: random.Random) -> None:
    rows = [row for row in story.gateway.ledger.sealed("deliveries", {"alert_id": alert_id, "channel": "sms"}) if row["post"]]
    verbs = (Verb.ACKNOWLEDGED, Verb.MEASURES, Verb.DECLINED, Verb.OTHER)
    replies = [
        Reply(
            dice.choice(verbs), key=key_of(story.gateway.house, row["batch_id"], row["seq"]), said="沈测收到", at=story.clock.now
        )
        for row in dice.sample(rows, min(5, len(rows)))
    ]
    story.gateway.hear("sms-loopback", replies)


# ── a large ledger, made in the database itself ──

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
_REGION = "'330521' || CAST(101 + {0} / 15 AS TEXT) || CAST(201 + {0} % 15 AS TEXT)"  # of village number {0}
VILLAGES, ROLES, PER_BATCH = 180, 20, 1000


def a_large_ledger(ledger: Ledger, alerts: int, residents: int, posts: int) -> int:
    """As many alerts over the whole county, all delivered by SMS, posts by voice too; returns how many deliveries there are.

    Residents and posts lie in the order of their villages, as a plan numbers them. One delivery in twenty was rejected.
    """
    with ledger.write() as tx:
        sealed = [{"sealed": ledger.seal.seal(f"+86154{n:08d}")} for n in range(residents + posts)]
        tx.execute(t.address.insert(), sealed)
        values = {"last": posts - 1, "name": ledger.seal.seal("沈测")}
        tx.execute(sa.text(_NUMBERS + _PERSONS), values)
        tx.execute(sa.text(_NUMBERS + _POSTS.format(region=_REGION.format(f"(i * {VILLAGES} / {posts})"))), values)
        for number in range(1, alerts + 1):
            _alert(tx, number, residents, posts)
        if not ledger.database.is_sqlite:
            tx.exec_driver_sql("SELECT setval(pg_get_serial_sequence('alert', 'id'), 1000000)")
    _look_at_statistics(ledger)
    with ledger.read() as tx:
        return int(tx.execute(sa.select(sa.func.count()).select_from(t.delivery)).scalar_one())


_PERSONS = (
    "INSERT INTO person (id, key, name, synthetic, test) SELECT i + 1, 'P' || CAST(i + 1 AS TEXT), :name, true, false FROM n"
)
_POSTS = (
    "INSERT INTO post (id, person_id, role, region, rank) "
    "SELECT i + 1, i + 1, 'ROLE' || CAST(i % 20 AS TEXT), {region}, 'A' FROM n"
)
_BATCHES = (
    "INSERT INTO batch (id, alert_id, rule_id, channel, lane, purpose, wording_id, size, state, peer, started, ended, first_region, last_region) "
    "SELECT :first + i, :alert, :alert, :channel, 'bulk', 'alarm', 1, 1000, 'accepted', 'p', :at + i, :at + i + 500, {low}, {high} FROM n"
)
_DELIVERIES = (
    "INSERT INTO delivery (batch_id, seq, alert_id, channel, purpose, region, post_id, address_id, synthetic, state, reason) "
    "SELECT :first + i / 1000, 1 + i % 1000, :alert, :channel, 'alarm', {region}, {post}, i + 1 + :shift, true, "
    "CASE WHEN i % 20 = 7 THEN 'rejected' ELSE NULL END, CASE WHEN i % 20 = 7 THEN 'no such number' ELSE NULL END FROM n"
)
_RUNS = (
    "INSERT INTO receipt (batch_id, first_seq, last_seq, fence, attempt, origin, state, code, detail, peer, ref, recorded) "
    "SELECT :first + i, 1, 1000, 1, 1, 'answer', 'accepted', '', '', 'p', CAST(:first + i AS TEXT), :at + i FROM n"
)
_REPORTS = (
    "INSERT INTO receipt (batch_id, first_seq, last_seq, fence, attempt, origin, state, code, detail, peer, ref, recorded) "
    "SELECT :first + i / 1000, 1 + i % 1000, 1 + i % 1000, 1, 1, 'report', 'rejected', 'no such number', '', 'p', '', :at + 600 "
    "FROM n WHERE i % 20 = 7"
)
_REPLIES = (
    "INSERT INTO reply (alert_id, batch_id, seq, person_id, verb, how, peer, said, counts, who, settled, flag, address, recorded) "
    "SELECT :alert, :first + i / 1000, 1 + i % 1000, i + 1, 'acknowledged', 'voice', 'p', :none, '{{}}', '', 1, '', :none, :at + i FROM n WHERE i % 2 = 0"
)
_CALLOUTS = (
    "INSERT INTO callout (alert_id, duty, region, post_id, state, step, opened, due) "
    "SELECT :alert, 'acknowledge', {region}, i + 1, CASE WHEN i % 2 = 0 THEN 'answered' ELSE 'open' END, 'principal', :at, :at + 60000 FROM n"
)
_ENTRIES = (
    "INSERT INTO entry (chain, n, at, kind, who, body, previous, hash) "
    "SELECT 'alert:' || CAST(:alert AS TEXT), i + 1, :at + i, 'reply', '', '{{}}', '', '' FROM n"
)


def _alert(tx, number: int, residents: int, posts: int) -> None:
    at = 1_688_500_000_000 + number * 86_400_000
    tx.execute(
        t.alert.insert().values(
            id=number, event_key=f"e{number}", sender="测试", identifier=f"测试_{number}", sender_code="", source="", form="json",
            msg_type="Alert", status="Actual", scope="Public", event_code="", event="", level="red", headline="", issuer="", sent=at,
            received=at, expires=at, state="closed", stand_down=False, sha256="", doubt="hold", drafted_by="", understood="{}",
        )
    )  # fmt: skip
    tx.execute(
        t.rule.insert().values(
            id=number, alert_id=number, n=1, tier="village", roles="[]", ranks="[]", channel="sms", lane="bulk", audience="resident",
            selection="residents", from_channel="", purpose="alarm", within=60, wording_id=1, approvers="[]", state="planned", batch_size=1000,
        )
    )  # fmt: skip
    of_posts = -(-posts // PER_BATCH)
    of_residents = -(-residents // PER_BATCH)
    each = of_posts + of_residents + of_posts
    first = 1 + (number - 1) * each
    _deliveries(tx, number, first, "voice", posts, residents, at, is_posts=True)
    _deliveries(tx, number, first + of_posts, "sms", posts, residents, at + 10_000, is_posts=True)
    _deliveries(tx, number, first + 2 * of_posts, "sms", residents, 0, at + 20_000, is_posts=False)
    values = {"alert": number, "first": first, "last": posts - 1, "at": at + 30_000, "none": b""}
    for statement in (_REPLIES, _CALLOUTS, _ENTRIES):
        region = _REGION.format(f"(i * {VILLAGES} / {posts})")
        tx.execute(sa.text(_NUMBERS + statement.format(region=region)), values)


def _deliveries(tx, number: int, first: int, channel: str, count: int, shift: int, at: int, *, is_posts: bool) -> None:
    village = f"({{0}} * {VILLAGES} / {count})"
    low, high = (
        _REGION.format(village.format(end))
        for end in ("i * 1000", f"(CASE WHEN i * 1000 + 999 < {count} THEN i * 1000 + 999 ELSE {count} - 1 END)")
    )
    values = {"alert": number, "first": first, "channel": channel, "at": at, "shift": shift}
    batches = values | {"last": -(-count // PER_BATCH) - 1}
    rows = values | {"last": count - 1}
    tx.execute(sa.text(_NUMBERS + _BATCHES.format(low=low, high=high)), batches)
    region, post = _REGION.format(village.format("i")), "i + 1" if is_posts else "NULL"
    tx.execute(sa.text(_NUMBERS + _DELIVERIES.format(region=region, post=post)), rows)
    tx.execute(sa.text(_NUMBERS + _RUNS), batches)
    tx.execute(sa.text(_NUMBERS + _REPORTS), rows)


def _look_at_statistics(ledger: Ledger) -> None:
    """PostgreSQL plans by statistics, which it gathers by itself in a running county; SQLite plans without any."""
    if not ledger.database.is_sqlite:
        with ledger.write() as tx:
            tx.exec_driver_sql("ANALYZE")
