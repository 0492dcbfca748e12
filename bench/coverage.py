"""How long does the coverage of an alert with half a million deliveries take?

    python bench/coverage.py --residents 550000 --runs 3

A red alert over the whole county on SQLite, worked off, and beside its own deliveries as many to residents as asked for, each
with a state and a receipt of its own, as after reports that came one by one: the worst case. Prints what the questions take, and
the whole beside one plain count over the same deliveries: that ratio says more than the time on a machine that others use.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import sqlalchemy as sa

from broadcast.ledger import Seal, coverage
from broadcast.ledger import tables as t
from broadcast.storm import warning
from broadcast.tiers import synthetic
from broadcast.tiers.regions import Regions
from tests.conftest import DEQING, Story, fill, open_story, read_folder

COUNTY = "330521"
PER_BATCH = 1000

_BATCHES = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :batches)
INSERT INTO batch (id, alert_id, rule_id, channel, lane, purpose, wording_id, size, state, due)
SELECT 1000000 + i, :alert, :rule, 'sms', 'bulk', 'alarm', :words, :size, 'accepted', 0 FROM n
"""
_DELIVERIES = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :count - 1),
v AS (SELECT region, row_number() OVER (ORDER BY region) - 1 AS k FROM alert_region
      WHERE alert_id = :alert AND length(region) = 12)
INSERT INTO delivery (batch_id, seq, alert_id, channel, purpose, region, address_id, synthetic, state)
SELECT 1000001 + i / :size, 1 + i % :size, :alert, 'sms', 'alarm', v.region, 1000000 + i, 1,
       CASE i % 20 WHEN 0 THEN 'failed' WHEN 1 THEN NULL ELSE 'delivered' END
FROM n JOIN v ON v.k = i * (SELECT count(*) FROM v) / :count
"""
_RECEIPTS = """
INSERT INTO receipt (batch_id, first_seq, last_seq, fence, attempt, origin, state, code, detail, peer, ref, at, recorded)
SELECT batch_id, seq, seq, 1, 1, 'report', state, 'DELIVRD', '', 'mas-1', '', NULL, :now + batch_id % 60000
FROM delivery WHERE batch_id > 1000000 AND state IS NOT NULL
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--residents", type=int, default=550_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        story, alert_id = make(Path(folder), options.residents)
        print(f"{os.cpu_count()} cores, SQLite, {options.residents:,} deliveries to residents, each with its own receipt")
        plain = timed("one plain count", options.runs, story, lambda tx: _count(tx, alert_id))
        whole = timed("coverage, all facts", options.runs, story, lambda tx: coverage.facts(tx, alert_id))
        some = sorted(coverage_regions(story, alert_id))[:3]
        timed("the watch, 3 left", options.runs, story, lambda tx: coverage.reached(tx, alert_id, some))
        print(f"all facts take {whole / plain:.1f} times as long as one plain count")
        story.gateway.close()


def make(folder: Path, residents: int) -> tuple[Story, int]:
    """The ledger and the number of its alert."""
    regions = Regions.load(read_folder(DEQING / "regions", "*.csv", "*.geojson"))
    synthetic.write(folder / "roster", regions, (DEQING / "regions" / "population.csv").read_text(encoding="utf8"), "L", 1)
    Seal.make(folder / "seal.key")
    story = open_story(f"sqlite:///{folder / 'ledger.db'}", folder)
    fill(story.gateway, folder / "roster")
    sent = story.gateway.submit(story.gateway.read(warning(story.clock.now, "red", ["德清县"], [COUNTY])))
    story.work()
    with story.gateway.ledger.write() as tx:
        like = tx.execute(
            sa.select(t.batch).where(t.batch.c.alert_id == sent.alert_id, t.batch.c.channel == "sms").limit(1)
        ).one()
        values = {"alert": sent.alert_id, "rule": like.rule_id, "words": like.wording_id, "size": PER_BATCH}
        tx.execute(sa.text(_BATCHES), {**values, "batches": -(-residents // PER_BATCH)})
        tx.execute(sa.text(_DELIVERIES), {"alert": sent.alert_id, "size": PER_BATCH, "count": residents})
        tx.execute(sa.text(_RECEIPTS), {"now": story.gateway.house.now()})
    return story, sent.alert_id


def coverage_regions(story: Story, alert_id: int) -> set[str]:
    with story.gateway.ledger.read() as tx:
        return set(coverage.regions(tx, alert_id))


def timed(name: str, runs: int, story: Story, ask: Callable[[sa.Connection], object]) -> float:
    """The median in seconds; printed."""
    took = []
    for _ in range(runs):
        with story.gateway.ledger.read() as tx:
            began = time.perf_counter()
            ask(tx)
            took.append(time.perf_counter() - began)
    median = statistics.median(took)
    print(f"{name:<22} median {median * 1000:7.0f} ms   slowest {max(took) * 1000:7.0f} ms")
    return median


def _count(tx: sa.Connection, alert_id: int) -> object:
    state = sa.func.coalesce(t.delivery.c.state, t.batch.c.state)
    counted = (
        sa.select(sa.func.count())
        .select_from(t.batch.join(t.delivery, t.delivery.c.batch_id == t.batch.c.id))
        .where(t.batch.c.alert_id == alert_id, state == "delivered")
    )
    return tx.execute(counted).scalar_one()


if __name__ == "__main__":
    main()
