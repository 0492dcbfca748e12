"""Fan-out as SQL, held against a slow reference in Python over the same roster."""

from __future__ import annotations

import json

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.alert import RegionCode
from broadcast.ledger import alerts, fanout, people
from broadcast.ledger import tables as t
from broadcast.tiers.roster import Person, Place, Post, Resident

REGIONS = ["330521", "330521115", "330521115201", "330521115202", "330521102", "330521102200"]
ROLES = ["VILLAGE_HEAD", "TOWN_FIRST", "GRID_HEAD"]
NUMBERS = [f"+861540000{n:04d}" for n in range(8)]  # few, so that people share them

persons = st.lists(
    st.builds(lambda phone, zwdd: (phone, zwdd), st.sampled_from(["", *NUMBERS]), st.sampled_from(["", "z1", "z2"])),
    min_size=1,
    max_size=8,
)
posts = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(ROLES), st.sampled_from(REGIONS), st.sampled_from("AB")), max_size=20
)
residents = st.lists(st.tuples(st.sampled_from(REGIONS), st.sampled_from(NUMBERS)), max_size=15)
rules = st.lists(
    st.fixed_dictionaries(
        {
            "selection": st.sampled_from(["posts", "residents", "places"]),
            "channel": st.sampled_from(["sms", "voice", "zwdd", "speaker"]),
            "roles": st.lists(st.sampled_from(ROLES), unique=True),
            "ranks": st.sampled_from([["A"], ["A", "B"]]),
            "first": st.sampled_from([None, True, False]),
            "batch_size": st.integers(1, 5),
        }
    ),
    min_size=1,
    max_size=6,
)
covered = st.dictionaries(st.sampled_from(REGIONS), st.booleans(), min_size=1)


def reference(roster, rows, regions) -> list[tuple[str, str, str]]:
    """(channel, address, region) of everybody owed, in the order of planning; nobody twice on a channel."""
    told: set[tuple[str, str]] = set()
    owed = []
    for rule in rows:
        inside = {code for code, first in regions.items() if rule["first"] is None or first == rule["first"]}
        for region, _key, address in sorted(_candidates(roster, rule, inside)):
            if (rule["channel"], address) not in told:
                told.add((rule["channel"], address))
                owed.append((rule["channel"], address, region))
    return owed


def _candidates(roster, rule, inside):
    if rule["selection"] == "posts":
        for key, post in enumerate(roster["posts"], 1):
            person = roster["persons"][int(post.person_id)]
            address = {"sms": person.phone, "voice": person.phone, "zwdd": person.zwdd}.get(rule["channel"], "")
            if post.role in rule["roles"] and post.rank in rule["ranks"] and post.region in inside and address:
                yield post.region, key, address
    elif rule["selection"] == "residents":
        for key, resident in enumerate(roster["residents"]):
            if rule["channel"] == "sms" and resident.region in inside:
                yield resident.region, key, resident.phone
    else:
        for key, place in enumerate(roster["places"]):
            if place.channel == rule["channel"] and place.region in inside:
                yield place.region, key, place.address


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(persons=persons, posts=posts, residents=residents, rules=rules, covered=covered)
def test_sql_tells_whom_the_reference_tells_in_batches_of_the_size_asked_for(ledger, persons, posts, residents, rules, covered):
    roster = _roster(persons, posts, residents)
    people.replace(ledger.database, ledger.seal, **roster, who="测", now=1)
    with ledger.write() as tx:
        number = _alert(tx, rules, covered)
        alerts.activate(tx, number, 1)
        alerts.plan_owed(tx, number, 1)

        rows = tx.execute(
            sa.select(t.delivery, t.address.c.sealed)
            .join(t.address, t.address.c.id == t.delivery.c.address_id)
            .where(t.delivery.c.alert_id == number)
            .order_by(t.delivery.c.batch_id, t.delivery.c.seq)
        ).all()
        batches = tx.execute(
            sa.select(t.batch.c.id, t.batch.c.size, t.rule.c.batch_size)
            .join(t.rule, t.rule.c.id == t.batch.c.rule_id)
            .where(t.batch.c.alert_id == number)
        ).all()

    got = [(row.channel, ledger.seal.open(row.sealed), row.region) for row in rows]
    assert sorted(got) == sorted(reference(roster, rules, covered))
    assert all(0 < batch.size <= batch.batch_size for batch in batches)
    assert {batch.id: batch.size for batch in batches} == _sizes(rows)
    assert all([r.seq for r in rows if r.batch_id == b.id] == list(range(1, b.size + 1)) for b in batches)


def test_a_planner_that_dies_between_slices_goes_on_where_the_cursor_stands(ledger):
    roster = _roster([("", "")], [], [("330521115201", f"+86154111{n:05d}") for n in range(23)])
    rule = {"selection": "residents", "channel": "sms", "roles": [], "ranks": [], "first": None, "batch_size": 5}
    people.replace(ledger.database, ledger.seal, **roster, who="测", now=1)
    with ledger.write() as tx:
        number = _alert(tx, [rule], {"330521115201": True}, lane="bulk")
        alerts.activate(tx, number, 1)

    sizes = []
    while True:
        try:
            with ledger.write() as tx:
                row = fanout.next_rule(tx)
                if row is None:
                    break
                made = fanout.plan_slice(tx, row, 1)
                if len(sizes) == 2 and made.size and "died" not in locals():
                    died = True
                    raise KeyboardInterrupt
            sizes.append(made.size)
        except KeyboardInterrupt:
            continue

    assert [size for size in sizes if size] == [5, 5, 5, 5, 3]
    with ledger.read() as tx:
        addresses = tx.execute(sa.select(t.delivery.c.address_id).where(t.delivery.c.alert_id == number)).scalars().all()
    assert len(addresses) == len(set(addresses)) == 23


def _sizes(rows) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for row in rows:
        sizes[row.batch_id] = sizes.get(row.batch_id, 0) + 1
    return sizes


def _roster(persons, posts, residents):
    made = [Person(str(n), f"测{n}", True, phone, zwdd) for n, (phone, zwdd) in enumerate(persons)]
    held = {}
    for n, role, region, rank in posts:
        held.setdefault((str(n % len(made)), role, region), Post(str(n % len(made)), role, RegionCode(region), rank))
    places = [Place(RegionCode(region), "speaker", f"speaker:{region}", True) for region in REGIONS]
    return {
        "persons": made,
        "posts": list(held.values()),
        "places": places,
        "residents": [Resident(RegionCode(region), "1", phone, True) for region, phone in residents],
    }


_NEXT = iter(range(10**9))


def _alert(tx, rules, regions, lane: str = "alarm") -> int:
    n = next(_NEXT)
    values = {
        "event_key": f"e{n}", "sender": "测试", "identifier": f"i{n}", "sender_code": "", "source": "s", "form": "json", "msg_type": "Alert",
        "status": "Actual", "scope": "Public", "event_code": "11B03", "event": "暴雨", "level": "red", "headline": "", "issuer": "",
        "sent": 0, "received": 0, "expires": 10**13, "state": "waiting", "reason": "", "stand_down": False, "sha256": "", "doubt": "hold",
        "drafted_by": "测", "to_review": False, "understood": "{}",
    }  # fmt: skip
    audience = {"posts": "post", "residents": "resident", "places": "place"}
    rows = [
        {
            "tier": "village", "roles": json.dumps(r["roles"]), "ranks": json.dumps(r["ranks"]), "channel": r["channel"], "from_channel": "",
            "lane": lane, "audience": audience[r["selection"]], "selection": r["selection"], "first": r["first"], "purpose": "alarm",
            "within": 60, "approvers": "[]", "state": "owed", "batch_size": r["batch_size"],
        }
        for r in rules
    ]  # fmt: skip
    words = {(row["channel"], row["audience"]): None for row in rows}
    texts = [
        {
            "channel": c,
            "audience": a,
            "purpose": "alarm",
            "language": "zh",
            "text": "测",
            "units": 1,
            "template": "",
            "notes": "[]",
        }
        for c, a in words
    ]
    number, is_new = alerts.record(tx, alerts.NewAlert(values, b"", regions, texts, rows), 1, "测")
    assert is_new
    return number
