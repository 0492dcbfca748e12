"""Figures for Prometheus: what the ledger counts, under names that stay, with no label about a person or a village."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from broadcast.gateway import Gateway, figuring
from broadcast.ledger import Ledger, Seal, leases
from broadcast.ledger import tables as t
from broadcast.server import make_app
from broadcast.server.metrics import FRESH_SECONDS, Figured

from ..conftest import Clock, Story
from ..ledger_rows import a_batch, accepted, claim, in_doubt, number
from ..mas_house import PEER, a_report, mas_gateway
from ..serving import served
from .stories import warning

Scraped = dict[tuple[str, ...], float]


def scraped(client: httpx.Client) -> Scraped:
    """All samples of one scrape: (name, label values …) → value."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *(v for _, v in sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def scrape(gateway: Gateway) -> Scraped:
    with served(make_app(gateway, {})) as client:
        return scraped(client)


@pytest.fixture
def gateway(ledger: Ledger) -> Gateway:
    """On SQLite and on PostgreSQL."""
    return mas_gateway(ledger, Clock())


def test_a_quiet_house_has_a_zero_for_every_lane_and_peer(gateway):
    found = scrape(gateway)

    for lane in ("alarm", "bulk", "drill"):
        assert found["broadcast_batches_due", lane] == found["broadcast_oldest_due_seconds", lane] == 0
    assert found["broadcast_breaker_open", PEER] == found["broadcast_peer_failures", PEER] == 0
    for name in ("deliveries_in_doubt", "callbacks_total", "callbacks_unread", "oldest_unread_seconds", "reports_unmatched"):
        assert found[f"broadcast_{name}",] == 0
    assert not [key for key in found if key[0] == "broadcast_deliveries"]


def test_deliveries_are_counted_as_the_alerts_own_progress_counts_them(story: Story):
    sent = story.gateway.submit(story.gateway.read(warning(story)), source="deqing-met")
    before = figuring.figures(story.gateway.house).deliveries
    story.work()
    after = figuring.figures(story.gateway.house).deliveries

    assert by_way(story, sent.alert_id) == after != before
    found = scrape(story.gateway)
    assert {key[1:]: value for key, value in found.items() if key[0] == "broadcast_deliveries"} == after
    assert found["broadcast_alerts", "active"] == 1


def by_way(story: Story, alert: int) -> dict[tuple[str, str, str], int]:
    total: dict[tuple[str, str, str], int] = {}
    for way in story.gateway.progress(alert):
        for state, n in way.states.items():
            key = (way.channel, way.purpose, state)
            total[key] = total.get(key, 0) + n
    return total


def test_deliveries_of_the_day_before_are_not_counted_any_more(sqlite_story):
    sqlite_story.gateway.submit(sqlite_story.gateway.read(warning(sqlite_story)), source="deqing-met")
    assert figuring.figures(sqlite_story.gateway.house).deliveries
    sqlite_story.clock.forward(hours=24, seconds=1)

    found = figuring.figures(sqlite_story.gateway.house)

    assert found.deliveries == {} and sum(found.alerts.values()) == 1


def test_exceptions_within_a_batch_are_counted_beside_those_that_share_its_state(gateway):
    ledger, now = gateway.ledger, gateway.house.now()
    batch_id = a_batch(ledger, size=5, received=now)
    in_doubt(ledger, claim(ledger, batch_id, peer=PEER), (2, 4))

    found = scrape(gateway)

    assert found["broadcast_deliveries", "sms", "alarm", "in_doubt"] == 2
    assert found["broadcast_deliveries", "sms", "alarm", "deferred"] == 3
    assert found["broadcast_deliveries_in_doubt",] == 2


def test_what_is_due_is_counted_by_lane_with_the_age_of_the_oldest(gateway):
    now = gateway.house.now()
    for late in (70_000, 5_000, -60_000):  # the last is not due yet
        batch_id = a_batch(gateway.ledger)
        with gateway.ledger.write() as tx:
            tx.execute(t.batch.update().where(t.batch.c.id == batch_id).values(due=now - late))

    found = scrape(gateway)

    assert (found["broadcast_batches_due", "alarm"], found["broadcast_oldest_due_seconds", "alarm"]) == (2, 70)
    assert found["broadcast_batches_due", "bulk"] == 0


def test_callbacks_are_counted_as_kept_and_as_unread(gateway):
    clock = gateway.house.clock
    letters = [(PEER, "/callbacks/mas-1", {}, a_report(number(n), "g1")) for n in range(3)]
    gateway.keep(letters)
    clock.forward(seconds=30)
    before = figuring.figures(gateway.house)
    gateway.work_inbox()
    after = figuring.figures(gateway.house)

    assert (before.callbacks, before.unread, before.oldest_unread, before.unmatched) == (3, 3, 30.0, 0)
    assert (after.callbacks, after.unread, after.oldest_unread, after.unmatched) == (3, 0, 0.0, 3)


def test_a_report_that_settles_its_delivery_is_no_unmatched_one(gateway):
    batch_id = a_batch(gateway.ledger, received=gateway.house.now())
    accepted(gateway.ledger, claim(gateway.ledger, batch_id, peer=PEER), "g1")
    gateway.keep([(PEER, "/callbacks/mas-1", {}, a_report(number(1), "g1"))])
    gateway.work_inbox()

    found = figuring.figures(gateway.house)

    assert found.unmatched == 0
    assert found.deliveries == {("sms", "alarm", "delivered"): 1, ("sms", "alarm", "accepted"): 3}


def test_answers_owed_are_counted_by_duty_and_whether_they_are_overdue(gateway):
    now = gateway.house.now()
    rows = [
        ("release", "open", -1),
        ("release", "open", 1),
        ("acknowledge", "open", 60_000),
        ("acknowledge", "answered", -60_000),
    ]
    with gateway.ledger.write() as tx:
        for n, (duty, state, due) in enumerate(rows, 1):
            tx.execute(
                t.callout.insert().values(
                    alert_id=1, post_id=n, duty=duty, region="330521", state=state, step="principals", opened=now, due=now + due
                )
            )

    found = scrape(gateway)

    assert (found["broadcast_duties_open", "release"], found["broadcast_duties_overdue", "release"]) == (2, 1)
    assert (found["broadcast_duties_open", "acknowledge"], found["broadcast_duties_overdue", "acknowledge"]) == (1, 0)


def test_a_far_end_that_is_left_alone_is_seen(gateway):
    now = gateway.house.now()
    with gateway.ledger.write() as tx:
        for _ in range(leases.OPEN_AFTER):
            leases.failed(tx, PEER, "HTTP 500", now)
    found = figuring.figures(gateway.house)
    gateway.house.clock.forward(seconds=leases.OPEN_SECONDS + 1)
    later = figuring.figures(gateway.house)

    assert (found.breakers[PEER], found.failures[PEER]) == (1, leases.OPEN_AFTER)
    assert (later.breakers[PEER], later.failures[PEER]) == (0, leases.OPEN_AFTER)


# ── the scrape itself ──


class Asked:
    """Counts how often the ledger is asked."""

    def __init__(self, gateway: Gateway) -> None:
        self.times, self._gateway = 0, gateway

    def __call__(self):
        self.times += 1
        return figuring.figures(self._gateway.house)


def test_however_often_somebody_scrapes_the_ledger_is_asked_once_in_five_seconds(gateway):
    now = [0.0]
    asked = Asked(gateway)
    figured = Figured(asked, clock=lambda: now[0])

    times = []
    for moment in (100.0, 101.0, 100.0 + FRESH_SECONDS - 0.1, 100.0 + FRESH_SECONDS, 100.0 + 2 * FRESH_SECONDS - 0.1):
        now[0] = moment
        list(figured.collect())
        times.append(asked.times)

    assert times == [1, 1, 1, 2, 2]


def test_two_applications_in_one_process_do_not_disturb_each_other(gateway):
    assert scrape(gateway) == scrape(gateway)


def test_without_a_ledger_a_scrape_fails_and_names_no_host(tmp_path: Path, caplog):
    Seal.make(tmp_path / "k")
    nowhere = Ledger(f"sqlite:///{tmp_path / 'no' / 'ledger.db'}", Seal.from_file(tmp_path / "k"))

    with served(make_app(mas_gateway(nowhere, Clock()), {})) as client:
        answer = client.get("/metrics")

    assert answer.status_code == 503 and str(tmp_path) not in answer.text and "no figures" in caplog.text


@pytest.fixture
def busy(sqlite_story: Story) -> Iterator[Story]:
    """A house in which much has happened."""
    for options in ({}, {"severity": "Extreme", "area": "武康街道", "codes": ("330521001",)}, {"status": "Exercise"}):
        sqlite_story.gateway.submit(sqlite_story.gateway.read(warning(sqlite_story, **options)), source="deqing-met")
    sqlite_story.work()
    sqlite_story.gateway.keep([("sms-loopback", "/callbacks/sms-loopback", {}, b"15400000001")])
    sqlite_story.gateway.work_inbox()
    return sqlite_story


def test_no_label_holds_a_region_a_number_or_a_name(busy):
    with served(make_app(busy.gateway, {})) as client:
        text = client.get("/metrics").text
    with busy.gateway.ledger.read() as tx:
        names = {busy.gateway.ledger.seal.open(bytes(name)) for name in tx.execute(sa.select(t.person.c.name)).scalars()}

    labels = re.findall(r"\{([^}]*)\}", text)
    assert labels
    assert {label for one in labels for label in re.findall(r'(\w+)="', one)} <= {
        "channel",
        "purpose",
        "state",
        "lane",
        "duty",
        "peer",
        "status",
    }
    assert not re.search(r"330521|\d{11}|\*{4}", text)
    assert names and not any(name in text for name in names)


def test_every_figure_has_our_prefix_and_says_what_it_is(busy):
    with served(make_app(busy.gateway, {})) as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))

    assert len(families) >= 12
    for family in families:
        assert family.name.startswith("broadcast_") and family.documentation.endswith(".") and family.samples, family.name


def test_a_day_is_a_day():
    assert timedelta(milliseconds=figuring.DAY) == timedelta(days=1)
