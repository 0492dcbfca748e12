"""Every provider with everything that can go wrong there: nothing is lost, nothing doubled, nothing claimed that was not said.

An oracle reads what the stand-in itself took and compares it with what the ledger says. It knows nothing of why the gateway
did what it did. One house for each provider; each warning goes to a village of its own, so that no story disturbs the next.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from broadcast.channels import open_peer
from broadcast.delivery import FINAL, State, may_follow
from broadcast.errors import ChannelError
from broadcast.gateway import errands, open_ways
from broadcast.ledger import tables as t
from broadcast.tiers.regions import CodeSystem

from ..conftest import DEQING, open_story, read_folder
from ..town import Town, a_town
from .stories import warning

READ_SECONDS = 0.3  # a slower answer is a doubt, which the oracle holds for possible at any time
TOWN = "330521115"  # 莫干山镇, with more villages than there are faults
VILLAGES = tuple(f"{TOWN}20{n}" for n in (1, 2, 3))
QUIET_SECONDS = 20.0  # how long a far end may take to say all that it has to say
OWED = ("reports_owed", "replies_owed", "pushes_owed", "links_owed")  # in a stand-in's counts: still to come
ANSWERED = ("200000", "200001", "200008")  # of a voice call's report: somebody listened


@dataclass(frozen=True)
class Way:
    """One provider: whom the small plan of its house tells by it, and how to read the stand-in's record."""

    stand_in: str
    peer: str
    tell: str  # the rule of the plan
    come_later: str  # its word for "not now"
    targets: Callable[[dict], list[str]]  # whom one thing that it took went to, each as often as it was told
    name: Callable[[str], str]  # an address as the stand-in writes it
    said: Callable[[dict], list[str]] = lambda _taken: []  # who it says was reached, where it reports at all
    answered: Callable[[dict], list[str]] = lambda _taken: []  # whose answer it passed on
    deduplicates: bool = False
    severity: str = "Severe"
    doubt: str = "resend"
    doubt_seconds: int = 300
    speed: float = 5000.0  # a provider's minute is 12 ms here
    pace: float = 0.0  # of the seconds that a story skips, so many must pass at the provider too, because it counts them
    villages: tuple[str, ...] = ()  # none: a new one for each warning
    options: Mapping[str, object] = field(default_factory=dict)
    accounts: Mapping[str, object] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    by_time: bool = False  # a doubt is settled by a report's own time, so each story begins when it really is
    over_http: bool = True
    asked: bool = False  # it can be asked what became of a doubt, so in the end there is none
    fetched: bool = False  # it is asked who read


POSTS = 'tier = "village"\nwho = ["VILLAGE_HEAD", "WARN_LEAD", "EVAC_LEAD"]\nby = ["{}"]'
ANSWERING = POSTS + '\nranks = ["A"]\nanswer = "20h"'


def same(address: str) -> str:
    return address


def mobile(address: str) -> str:
    return address.removeprefix("+86")


def told_once_more(taken: dict) -> list[str]:
    """A loudspeaker that got the same packet again speaks again."""
    return list(taken["areas"]) * (1 + taken["played_again"]) if taken["kind"] == "play" else []


WAYS = {
    "ebd": Way(
        "ebd", "ebd-1", 'tier = "village"\nwho = "places"\nby = ["speaker"]', "5", told_once_more, lambda address: address[1:13],
        said=lambda one: list(one["areas"]) if one["state"] in (2, 3) else [], doubt_seconds=180, asked=True, villages=VILLAGES,
        options={"on_air_minutes": 1440},
    ),
    "mas": Way(
        "mas", "mas-1", POSTS.format("sms"), "SystemBusy", lambda one: list(one["mobiles"]), mobile,
        said=lambda one: list(one["mobiles"]), doubt_seconds=120, options={"per_call": 2}, without=("smpp-1",), by_time=True,
    ),
    "smpp": Way(
        "smpp", "smpp-1", POSTS.format("sms"), "ESME_RTHROTTLED", lambda one: [one["mobile"]], mobile,
        said=lambda one: [one["mobile"]], doubt_seconds=120, speed=200.0, without=("mas-1",), by_time=True, over_http=False,
    ),
    "vms": Way(
        "vms", "vms-1", ANSWERING.format("voice"), "Throttling.User", lambda one: [one["number"]], mobile,
        said=lambda one: [one["number"]] if one["ended"] in ANSWERED else [], answered=lambda one: [one["number"]] if one["dtmf"] == "1" else [], doubt_seconds=120, accounts={"press_share": 1.0},
        pace=61.0,
    ),
    "zwdd-ding": Way(
        "zwdd", "ding-1", ANSWERING.format("zwdd"), "too soon", lambda one: list(one["receivers"]), same,
        said=lambda one: [who for who, stands in one["ended"].items() if stands["read"]],
        answered=lambda one: [who for who, stands in one["ended"].items() if stands["read"]],  # by the link, all of them
        options={"with_token": False}, accounts={"read_share": 1.0, "confirm_share": 1.0}, without=("notice-1",), fetched=True,
    ),
    "zwdd-notice": Way(
        "zwdd", "notice-1", POSTS.format("zwdd"), "too soon", lambda one: list(one["receivers"]), same, deduplicates=True,
        severity="Moderate", doubt="hold", pace=601.0, options={"with_token": False}, without=("ding-1",),
    ),
    "grid": Way(
        "grid", "grid-1", 'tier = "grid"\nwho = ["GRID_HEAD", "MICROGRID_HEAD"]\nby = ["grid"]\nanswer = "20h"', "429",
        lambda one: [one["account"]], same, said=lambda one: [one["account"]] if one["state"] in ("signed", "done") else [],
        answered=lambda one: [one["account"]] if one["state"] in ("signed", "done") else [], deduplicates=True,
        villages=VILLAGES[:1],
    ),
    "feed": Way(
        "feed", "feed-1", 'tier = "county"\nwho = "places"\nby = ["feed"]', "429", lambda one: [one["platform"]],
        lambda address: address.rpartition(":")[2], deduplicates=True,
    ),
}  # fmt: skip

ON_THE_LINE: dict[str, dict[str, object]] = {
    "slow": {"latency_ms": 60},
    "500 once": {"http_status": 500, "times": 1},
    "500": {"http_status": 500},
    "503 and when to come again": {"http_status": 503, "retry_after": 7},
    "hangs up before it took it, once": {"close_without_answer": "before", "times": 1},
    "hangs up before it took it": {"close_without_answer": "before"},
    "hangs up after it took it, once": {"close_without_answer": "after", "times": 1},
    "hangs up after it took it": {"close_without_answer": "after"},
    "takes it and never answers, once": {"accept_and_never_answer": True, "times": 1},
    "takes it and never answers": {"accept_and_never_answer": True},
    "come later": {"refuse": ""},  # the provider's own word
}
IN_THE_REPORTS: dict[str, dict[str, object]] = {
    "no reports": {"no_reports": True},
    "reports twice": {"duplicate_reports": True},
    "reports in another order": {"shuffle_reports": True},
    "reports before the answer": {"reports_before_answer": True},
    "says OK and delivers nothing": {"delivers_nothing": True},
    "reaches nobody": {"fail_share": 1.0},
}
FAULTS = {**ON_THE_LINE, **IN_THE_REPORTS}
ONLY_HTTP = ("http_status",)
SAYS_NOTHING = ("no_reports", "delivers_nothing", "fail_share")  # with one of these nobody is ever said to be reached


@pytest.fixture(scope="module", params=list(WAYS))
def house(request, tmp_path_factory, sqlite_pattern) -> Iterator[House]:
    """A town with the small plan of one provider."""
    way, folder = WAYS[request.param], tmp_path_factory.mktemp(request.param)
    story = open_story(sqlite_pattern.copy(folder), folder)
    peers = ("ebd-1", "mas-1", "vms-1", "ding-1", "notice-1", "grid-1", "feed-1")
    options = {peer: {"read_seconds": READ_SECONDS, **(way.options if peer == way.peer else {})} for peer in peers}
    accounts = {way.stand_in: way.accounts} if way.accounts else {}
    story.gateway.import_plans(a_plan(way), "测试")
    # Of a sender whose codes are known: else a code that is another village's in the other system warns both.
    story.gateway.house.sources = [replace(one, code_system=CodeSystem.NBS) for one in story.gateway.house.sources]
    try:
        with a_town(story, speed=way.speed, options=options, accounts=accounts, without=way.without) as town:
            # Every story forwards the clock: begun in the past, it does not run ahead of the far ends'.
            story.clock.forward(hours=-20)
            if way.peer == "smpp-1":
                use_smpp(town)
            yield House(town, way)
    finally:
        story.gateway.close()


def a_plan(way: Way) -> dict[str, str]:
    """The county's default, and for rainstorms one rule alone: nobody is told by another channel."""
    files = read_folder(DEQING / "plans", "default.toml", "release.toml")
    rule = f'in_doubt = "{way.doubt}"\n[[level.{{0}}.tell]]\n{way.tell}\nwithin = "6h"\n'
    ladder = 'calls = 1\nevery = "24h"\npatience = "24h"\nthen = ["door"]\nvoice = "when_silent"\n'  # by nothing else, whatever the hour
    night = '[night]\nfrom = "22:00"\nto = "06:00"\nlevels = []'
    sections = [f"[level.{level}.callout]\n{ladder}[level.{level}]\n{rule.format(level)}" for level in ("orange", "yellow")]
    files["rainstorm.toml"] = "\n".join(['title = "测试"', 'extends = "default"', 'events = ["11B03"]', night, *sections])
    return files


def use_smpp(town: Town) -> None:
    """A carrier as the only way for SMS."""
    options = {
        "host": "127.0.0.1", "port": town.simulator.smpp_port, "system_id": "simulated", "password": "simulate",
        "source_addr": "10690000", "signature": "德清应急", "read_seconds": READ_SECONDS, "call_seconds": 2.0, "per_call": 2,
    }  # fmt: skip
    peer = open_peer(name="smpp-1", channel="sms", protocol="smpp", simulated=True, concurrency=1, options=options)
    town.gateway.house.ways = {**town.gateway.house.ways, **open_ways([peer])}


@dataclass(frozen=True)
class Row:
    """One delivery as the ledger has it."""

    number: tuple[int, int]
    target: str
    state: State
    reason: str
    due: int | None
    doubled: bool
    answered: bool  # the person has said: we have it


@dataclass
class House:
    """A town with one provider's plan, and the hands of a person who breaks that provider."""

    town: Town
    way: Way
    warned: int = 0

    def a_warning(self) -> bytes:
        """Of a rainstorm in a village that no warning went to before."""
        self.warned += 1
        if self.way.by_time:
            self.town.story.clock.now = datetime.now(UTC)
        villages = sorted(region.code for region in self.town.gateway.house.books.regions if region.code.startswith(TOWN))
        codes = self.way.villages or (villages[self.warned],)
        return warning(self.town.story, area="测试村", codes=codes, severity=self.way.severity, expires=timedelta(hours=24))

    def fault(self, **faults: object) -> None:
        self.town.fault(self.way.stand_in, **faults)

    def forward(self, seconds: float) -> None:
        """Both clocks: ours at once, the provider's by waiting for as much of it as matters there."""
        self.town.story.clock.forward(seconds=seconds)
        time.sleep(min(seconds, self.way.pace) / self.way.speed)

    def rest(self) -> None:
        """Works until the far end has said all that it has to say, and all of it was understood."""
        end = time.monotonic() + QUIET_SECONDS
        while True:
            self.town.work()
            self._fetch()
            if not self._owed() and not self._unread():
                self.town.work()
                return
            assert time.monotonic() < end, "the far end does not come to rest"
            time.sleep(0.003)

    def _fetch(self) -> None:
        """The errands' work, without their waiting: nobody listens for longer than a far end has something to say."""
        house = self.town.gateway.house
        if self.way.peer == "smpp-1" and self._owed():
            keep = lambda one: self.town.gateway.keep([("smpp-1", one.path, one.headers, one.body)])  # noqa: E731
            with suppress(ChannelError):  # the line broke: the next look binds anew
                house.peers["smpp-1"].channel.collect(keep, 0.02)
        elif self.way.fetched and not self._owed():
            errands.collect(house, house.peers[self.way.peer])

    def _owed(self) -> int:
        counts = self.town.simulator.counts(self.way.stand_in)
        return sum(counts.get(name, 0) for name in OWED)

    def _unread(self) -> int:
        with self.town.gateway.ledger.read() as tx:
            return tx.execute(sa.select(sa.func.count()).select_from(t.inbox).where(t.inbox.c.state == "kept")).scalar_one()


@dataclass
class Oracle:
    """One warning: what the stand-in's record and the ledger say of it, and where they disagree."""

    house: House
    silent: bool  # what is taken while the fault lasts is never said to have arrived
    sent: object = None
    before: int = 0  # what the record held before
    lifted: int | None = None  # what it held when the fault ended
    seen: dict[tuple[int, int], State] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)  # how often those had been told who have answered

    def __post_init__(self) -> None:
        self.before = len(self._record())

    def _record(self) -> list[dict]:
        return self.house.town.received(self.house.way.stand_in)

    def taken(self) -> Counter[str]:
        """How often each target was told."""
        return Counter(name for one in self._record()[self.before :] for name in self.house.way.targets(one))

    def said(self, what: str = "said") -> set[str]:
        """Of whom the far end has said it."""
        loud = self._record()[self.before :]
        if self.silent:
            loud = loud[(self.lifted or len(self._record())) - self.before :]
        return {name for one in loud for name in getattr(self.house.way, what)(one)}

    def rows(self) -> list[Row]:
        ledger = self.house.town.gateway.ledger
        state = sa.func.coalesce(t.delivery.c.state, t.batch.c.state)
        reason = sa.func.coalesce(t.delivery.c.reason, t.batch.c.reason)
        duty = t.callout.c.alert_id == t.delivery.c.alert_id, t.callout.c.post_id == t.delivery.c.post_id
        answered = sa.select(t.callout.c.id).where(*duty, t.callout.c.state == "answered").exists()
        of_batch = t.batch.c.due, t.batch.c.doubled, answered
        with ledger.read() as tx:
            found = tx.execute(
                sa.select(t.delivery.c.batch_id, t.delivery.c.seq, t.address.c.sealed, state, reason, *of_batch)
                .join(t.batch, t.batch.c.id == t.delivery.c.batch_id)
                .join(t.address, t.address.c.id == t.delivery.c.address_id)
                .where(t.delivery.c.alert_id == self.sent.alert_id)
            ).all()
        name = self.house.way.name
        return [Row((one[0], one[1]), name(ledger.seal.open(one[2])), State(one[3]), one[4] or "", *one[5:]) for one in found]

    def decisions(self) -> list[str]:
        """What was decided of the warning's doubts."""
        with self.house.town.gateway.ledger.read() as tx:
            of_alert = t.entry.c.chain == f"alert:{self.sent.alert_id}"
            bodies = tx.execute(sa.select(t.entry.c.body).where(of_alert, t.entry.c.kind == "doubt.decided")).scalars()
            return [json.loads(body)["decision"] for body in bodies]

    def attempts_answered(self, number: tuple[int, int]) -> set[int]:
        """The attempts of a delivery that the far end answered with "taken"."""
        its = t.receipt.c.first_seq <= number[1], t.receipt.c.last_seq >= number[1]
        good = t.receipt.c.state.in_([State.ACCEPTED, State.DELIVERED])
        with self.house.town.gateway.ledger.read() as tx:
            return set(tx.execute(sa.select(t.receipt.c.attempt).where(t.receipt.c.batch_id == number[0], *its, good)).scalars())

    def look(self) -> None:
        """What must hold at every moment."""
        taken, said = self.taken(), self.said()
        for row in self.rows():
            assert_forward(self.seen.get(row.number, State.PLANNED), row.state)
            self.seen[row.number] = row.state
            assert is_accounted_for(row), row
            assert row.state is not State.DELIVERED or row.target in said, "nobody said that it arrived"
            assert row.state is not State.ACCEPTED or taken[row.target], "nobody took it"
            self._assert_not_doubled(row, taken[row.target])
            if row.answered:
                assert taken[row.target] == self.told.setdefault(row.target, taken[row.target]), "told again after an answer"

    def _assert_not_doubled(self, row: Row, times: int) -> None:
        if times <= 1:
            return
        assert times == 2 and not self.house.way.deduplicates, f"told {times} times"
        assert row.doubled and "sent again" in self.decisions(), "told twice, and nobody decided that"
        assert len(self.attempts_answered(row.number)) <= 1, "told again after it was answered"

    def end(self) -> None:
        """What must hold when the fault is over and everything due has been done."""
        rows, taken, said = self.rows(), self.taken(), self.said()
        assert len(rows) >= 3, "the story is about nobody"
        for row in rows:
            assert row.state in FINAL | {State.ACCEPTED, State.IN_DOUBT}, row
            assert row.state is not State.IN_DOUBT or not self.house.way.asked, "nobody asked about the doubt"
            assert taken[row.target] or row.state is State.IN_DOUBT, "lost"
            known = row.state is State.DELIVERED or row.target not in said
            # A far end that speaks only when asked about a number says nothing of what it never gave us the number of.
            assert known or (self.house.way.fetched and row.state is State.IN_DOUBT), "it was said, and the ledger does not know"
            decided = row.answered or self.decisions()
            assert row.state is not State.IN_DOUBT or decided, "nobody decided what to do about the doubt"
        assert not set(taken) - {row.target for row in rows}, "somebody was told whom nobody addressed"
        answered = self.house.town.gateway.answers(self.sent.alert_id).duties.get("answered", 0)
        assert answered == len(self.said("answered")), "who answered and who is taken to have answered differ"


def assert_forward(before: State, after: State) -> None:
    assert before is after or may_follow(before, after), f"{before} became {after}"


def is_accounted_for(row: Row) -> bool:
    """Final, taken, or open with a reason and, where it is to be sent again, the time of that."""
    if row.state in FINAL or row.state is State.ACCEPTED:
        return True
    if row.state is State.IN_DOUBT:
        return bool(row.reason)
    return row.state is State.DEFERRED and bool(row.reason) and row.due is not None


@pytest.mark.parametrize("fault", list(FAULTS))
def test_nothing_is_lost_doubled_or_claimed(house, fault):
    way = house.way
    settings = {name: value or way.come_later if name == "refuse" else value for name, value in FAULTS[fault].items()}
    if not way.over_http and set(settings) & set(ONLY_HTTP):
        pytest.skip("that is a fault of HTTP")
    house.fault(**settings)
    oracle = Oracle(house, silent=bool(set(settings) & set(SAYS_NOTHING)))
    oracle.sent = house.town.gateway.submit(house.town.gateway.read(house.a_warning()))
    for seconds in (0, way.doubt_seconds + 1, 61):  # while it lasts: at once, when doubts are decided, and once more
        house.forward(seconds)
        house.rest()
        oracle.look()
    house.fault()
    oracle.lifted = len(house.town.received(way.stand_in))
    for seconds in (61, way.doubt_seconds + 1, 601, 3601):  # over: breakers close, doubts are decided, limits are free again
        house.forward(seconds)
        house.rest()
        oracle.look()
    oracle.end()


@pytest.mark.parametrize("house", ["zwdd-ding"], indirect=True)
def test_only_what_may_have_left_is_in_doubt(house):
    """Each DING is a request of its own: the hang-up of the first leaves no doubt about those that were not begun."""
    house.fault(close_without_answer="before", times=1)
    oracle = Oracle(house, silent=False)
    oracle.sent = house.town.gateway.submit(house.town.gateway.read(house.a_warning()))
    house.town.work()
    states = Counter(row.state for row in oracle.rows())
    house.forward(house.way.doubt_seconds + 1)
    house.rest()  # so that the next story finds nothing of this one
    assert states[State.IN_DOUBT] == 1 < sum(states.values())


def test_without_an_access_token_nothing_leaves_and_all_of_it_leaves_later(lean_story):
    """The door for the token is the same provider's: that it fails says certainly that no message left."""
    nobody_answers = {"vms": {"press_share": 0.0, "hear_share": 0.0}, "zwdd": {"read_share": 0.0}, "grid": {"signed_share": 0.0}}
    with a_town(lean_story, without=("notice-1",), accounts=nobody_answers) as town:
        town.fault("zwdd", close_without_answer="after")
        sent = town.send(warning(town.story, area="测试村", codes=VILLAGES[:1]))
        assert town.states(sent, "zwdd") == {"deferred"} and not town.received("zwdd")
        owed = len(town.rows(sent, "zwdd"))
        town.fault("zwdd")
        town.story.clock.forward(seconds=31)
        town.until(lambda: not town.states(sent, "zwdd") & {"deferred", "planned"})
        told = Counter(who for one in town.received("zwdd") for who in one["receivers"])
        assert set(told.values()) == {1} and len(told) == owed


def test_a_warning_without_the_name_of_its_area_reaches_other_platforms_too(lean_story):
    with a_town(lean_story) as town:
        sent = town.send(warning(town.story, area="", codes=VILLAGES[:1]))
        assert town.states(sent, "feed") == {"accepted"}
