"""What do an auditor's questions cost in a large ledger? And what do they cost while a warning is planned?

    python bench/audits.py --deliveries 2000000
    python bench/audits.py --planning 100000

The first makes a ledger on SQLite in the database itself, and prints for each question and filter the time of its first page (200
rows) and of its whole answer, as a ratio to one full scan of the deliveries, and how many rows the answer has. The second plans
one warning to so many residents, in turn with and without what the questions need of planning, and prints the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import sqlalchemy as sa

from broadcast.ledger import Ledger, Seal, fanout
from broadcast.ledger import tables as t
from tests.audited import a_large_ledger
from tests.ledger_rows import an_address

RESIDENTS, POSTS = 100_000, 5_000  # of each alert
AT = datetime(2023, 7, 5, 22, 30, tzinfo=UTC)
THEN = datetime(2023, 7, 7, 19, 47, tzinfo=UTC)  # while the third alert goes out
QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("deliveries", {"alert_id": 3}),
    ("deliveries", {"region": "330521105"}),
    ("deliveries", {"region": "330521105201", "state": "rejected"}),
    ("deliveries", {"alert_id": 3, "state": "rejected"}),
    ("deliveries", {"post": 17}),
    ("deliveries", {"role": "ROLE4"}),
    ("deliveries", {"person": "P17"}),
    ("deliveries", {"number": "+8615400000017"}),
    ("deliveries", {"channel": "voice"}),
    ("deliveries", {"until": AT}),
    ("receipts", {"alert_id": 3}),
    ("receipts", {"number": "+8615400000017"}),
    ("receipts", {"person": "P17"}),
    ("receipts", {"region": "330521105"}),
    ("receipts", {"until": AT}),
    ("acknowledgements", {"alert_id": 3}),
    ("replies", {"person": "P17"}),
    ("replies", {"region": "330521105"}),
    ("callouts", {"role": "ROLE4"}),
    ("callouts", {"region": "330521105", "state": "open"}),
    ("entries", {"alert_id": 3}),
    ("entries", {"since": AT}),
    ("unreached", {"alert_id": 3}),
    ("unreached", {"alert_id": 3, "region": "330521105"}),
    ("unreached", {"alert_id": 3, "region": "330521105", "until": THEN}),
    ("unreached", {"person": "P17"}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=2_000_000)
    parser.add_argument("--planning", type=int, default=0, help="plan a warning to so many residents instead")
    parser.add_argument("--runs", type=int, default=5, help="of planning, of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        ledger = open_ledger(Path(folder))
        if options.planning:
            planning(ledger, options.planning, options.runs)
        else:
            questions(ledger, options.deliveries)
        ledger.close()


def open_ledger(folder: Path) -> Ledger:
    Seal.make(folder / "seal.key")
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}", Seal.from_file(folder / "seal.key"))
    ledger.migrate()
    return ledger


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


# --- questions


def questions(ledger: Ledger, wanted: int) -> None:
    alerts = max(3, round(wanted / (RESIDENTS + 2 * POSTS)))
    count = a_large_ledger(ledger, alerts, RESIDENTS, POSTS)
    scan = statistics.median(seconds(lambda: full_scan(ledger)) for _ in range(3))
    print(f"SQLite, {count:,} deliveries of {alerts} alerts; one full scan of them = 1")
    print(f"{'question':<66} {'first page':>10} {'whole':>9} {'rows':>9}")
    for asked, filters in QUESTIONS:
        ask: Callable[..., Any] = getattr(ledger, asked)
        first = min(seconds(lambda: list(islice(ask(**filters, limit=200), 200))) for _ in range(3))  # noqa: B023 - run at once
        rows: list[int] = []
        whole = seconds(lambda: rows.append(sum(1 for _ in ask(**filters))))  # noqa: B023 - run at once
        text = " ".join((asked, *(f"{name}={value}" for name, value in filters.items())))
        print(f"{text:<66} {first / scan:>10.4f} {whole / scan:>9.3f} {rows[0]:>9,}", flush=True)


def full_scan(ledger: Ledger) -> None:
    """What a question would cost that no index narrows: every delivery is looked at, none is shown."""
    state = sa.func.coalesce(t.delivery.c.state, t.batch.c.state)
    joined = t.delivery.join(t.batch, t.batch.c.id == t.delivery.c.batch_id)
    statement = sa.select(sa.func.count()).select_from(joined).where(state == "lost", t.delivery.c.region.startswith("9"))
    with ledger.read() as tx:
        tx.execute(statement).scalar_one()


# --- planning


def planning(ledger: Ledger, residents: int, runs: int) -> None:
    with ledger.write() as tx:
        tx.execute(t.roster.insert().values(id=1, began=0, imported=0, in_force=True, imported_by=""))
        places = [f"330521{101 + n // 15}{201 + n % 15}" for n in range(180)]
        common = {"roster_id": 1, "audience": "resident", "channel": "sms", "synthetic": True, "test": False}
        numbers = [an_address(ledger, tx, f"+86154{n:08d}") for n in range(residents)]
        tx.execute(
            t.target.insert(),
            [{**common, "region": places[n * 180 // residents], "address_id": number} for n, number in enumerate(numbers)],
        )
    kinds: dict[str, list[float]] = {"all of it": [], "without the index": [], "without the regions": [], "without both": []}
    bounds = fanout._bounds
    number = 0
    for _ in range(runs):
        for kind, times in kinds.items():
            number += 1
            index(ledger, drop="index" in kind or "both" in kind)
            fanout._bounds = (lambda _batch_id: {}) if "regions" in kind or "both" in kind else bounds
            times.append(plan(ledger, number, places))
    middle = {kind: statistics.median(times) for kind, times in kinds.items()}
    print(f"SQLite, {residents:,} residents in slices of 1,000; median of {runs} runs, processor time; without both = 1")
    for kind, took in middle.items():
        print(f"{kind:<20} {took / middle['without both']:.3f}")


def index(ledger: Ledger, *, drop: bool) -> None:
    made = next(one for one in t.delivery.indexes if one.name == "ix_delivery_post_id")
    with ledger.write() as tx:
        made.drop(tx, checkfirst=True)
        if not drop:
            made.create(tx)


def plan(ledger: Ledger, number: int, places: list[str]) -> float:
    """The seconds of the processor that planning of one more alert takes, slice by slice."""
    with ledger.write() as tx:
        tx.execute(
            t.alert.insert().values(
                id=number,
                event_key=f"e{number}",
                sender="测试",
                identifier=str(number),
                sender_code="",
                source="",
                form="",
                msg_type="Alert",
                status="Actual",
                scope="Public",
                event_code="",
                event="",
                level="red",
                headline="",
                issuer="",
                sent=0,
                received=0,
                expires=10**13,
                state="active",
                stand_down=False,
                sha256="",
                doubt="hold",
                drafted_by="",
                understood="{}",
            )
        )
        tx.execute(t.alert_region.insert(), [{"alert_id": number, "region": place, "first": False} for place in places])
        tx.execute(
            t.rule.insert().values(
                id=number,
                alert_id=number,
                n=1,
                tier="household",
                roles="[]",
                ranks="[]",
                channel="sms",
                lane="bulk",
                audience="resident",
                selection="residents",
                from_channel="",
                purpose="alarm",
                within=60,
                wording_id=1,
                approvers="[]",
                state="owed",
                batch_size=1000,
            )
        )

    def slices() -> None:
        more = True
        while more:
            with ledger.write() as tx:
                row = tx.execute(sa.select(t.rule).where(t.rule.c.id == number)).one()
                more = fanout.plan_slice(tx, row, 0).more

    began = time.process_time()  # of the processor: what else the machine does is not planning
    slices()
    return time.process_time() - began


if __name__ == "__main__":
    main()
