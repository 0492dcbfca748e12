"""How long is one sweep when 5,000 callouts are open at once?

    python bench/callouts.py --callouts 5000 --runs 5

A red alert over the whole county on SQLite, its callouts filled up to so many with further posts of the roster. Then one look
of the sweep, timed: all of them are due for their next call; all of them are due to climb, which asks their deputies (or,
where there is none, goes on up) and calls them at once; and, for comparison, none is due. Each run begins with a copy of the
same ledger. Prints the median and the slowest run of each, and how much of it this process worked: on a machine that others
use, the rest is waiting. Nobody is rung: it is the sweep alone that is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import sqlalchemy as sa

from broadcast.gateway import callouts
from broadcast.ledger import Seal
from broadcast.ledger import tables as t
from broadcast.storm import warning
from broadcast.tiers import synthetic
from broadcast.tiers.regions import Regions
from tests.conftest import DEQING, Story, fill, open_story, read_folder

COUNTY = "330521"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callouts", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        found = run(Path(folder), options.callouts, options.runs)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{os.cpu_count()} cores, SQLite, {options.callouts} callouts open")
    for name, runs in found.items():
        took, worked = [one[0] for one in runs], [one[1] for one in runs]
        print(
            f"{name:<20} median {statistics.median(took) * 1000:6.0f} ms   slowest {max(took) * 1000:6.0f} ms"
            f"   of it processor {statistics.median(worked) * 1000:6.0f} ms"
        )


def run(folder: Path, count: int, runs: int) -> dict[str, list[tuple[float, float]]]:
    """What was due → of each run the seconds that it took, and that the processor worked."""
    whole = folder / "whole"
    make(whole, count)
    return {
        name: [one(whole, folder / f"{name}-{n}", set_due) for n in range(runs)]
        for name, set_due in (("none due", none_due), ("all due for a call", due_for_a_call), ("all due to climb", due_to_climb))
    }


def make(folder: Path, count: int) -> None:
    """A ledger with one red alert and so many open callouts."""
    folder.mkdir()
    regions = Regions.load(read_folder(DEQING / "regions", "*.csv", "*.geojson"))
    synthetic.write(folder / "roster", regions, (DEQING / "regions" / "population.csv").read_text(encoding="utf8"), "L", 1)
    Seal.make(folder / "seal.key")
    story = open_story(f"sqlite:///{folder / 'ledger.db'}", folder)
    fill(story.gateway, folder / "roster")
    story.gateway.submit(story.gateway.read(warning(story.clock.now, "red", ["德清县"], [COUNTY])))
    with story.gateway.ledger.write() as tx:
        opened = tx.execute(sa.select(t.callout)).all()
        like = next(row for row in opened if row.asked and row.calls)
        owing = sa.select(t.callout.c.post_id)
        more = (
            sa.select(t.post.c.id, t.post.c.region)
            .where(t.post.c.id.not_in(owing), t.post.c.rank == "A")
            .limit(count - len(opened))
        )
        common = {key: value for key, value in like._mapping.items() if key not in ("id", "post_id", "region")}
        tx.execute(
            t.callout.insert(),
            [{**common, "post_id": row.id, "region": row.region} for row in tx.execute(more.limit(count - len(opened)))],
        )
        there = tx.execute(sa.select(sa.func.count()).select_from(t.callout)).scalar_one()
    if there < count:
        raise SystemExit(f"the roster has posts for {there} callouts only")
    story.gateway.close()


def one(whole: Path, folder: Path, set_due: Callable[[Story], None]) -> tuple[float, float]:
    """One sweep over a copy of the ledger."""
    shutil.copytree(whole, folder)
    story = open_story(f"sqlite:///{folder / 'ledger.db'}", folder)
    story.clock.forward(minutes=4)
    assert story.gateway.house.books.regions  # read once, as a sweep that runs has done
    set_due(story)
    began, worked = time.perf_counter(), time.process_time()
    steps = callouts.step(story.gateway.house)
    took = time.perf_counter() - began, time.process_time() - worked
    if bool(steps) == (set_due is none_due):
        raise SystemExit(f"{steps} steps were taken: nothing was measured")
    story.gateway.close()
    shutil.rmtree(folder)
    return took


def none_due(story: Story) -> None:
    later = story.clock.now + timedelta(minutes=1)
    change(story, next_step=int(later.timestamp() * 1000))


def due_for_a_call(story: Story) -> None:
    """The second of three."""
    change(story, calls=1, **called_before(story))


def due_to_climb(story: Story) -> None:
    """After the third call nobody answered."""
    change(story, calls=3, **called_before(story))


def called_before(story: Story) -> dict[str, int]:
    now = story.gateway.house.now()
    return {"last_call": now - 60_000, "next_step": now}


def change(story: Story, **values: int) -> None:
    with story.gateway.ledger.write() as tx:
        tx.execute(t.callout.update().values(**values, step="principal"))


if __name__ == "__main__":
    main()
