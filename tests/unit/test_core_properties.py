"""Whatever far ends, workers and persons do, in whatever order: nobody is called who need not be, and nobody is forgotten.

Real gateway, real ledger; the far ends follow a script that hypothesis writes, and an oracle reads what they were handed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Semaphore

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.channels.base import Call, Capabilities, Limit
from broadcast.delivery import FINAL, Receipt, State
from broadcast.errors import InDoubt, Misconfigured, Unavailable
from broadcast.gateway import CountySettings, House, delivering, errands, keys, sweeping
from broadcast.gateway.ways import FarEnd, Way
from broadcast.ledger import Ledger, Seal, alerts, asking, inbox, people, replies, sending, settling, verifying
from broadcast.ledger import tables as t
from broadcast.ledger.replies import Told
from broadcast.ledger.sending import Held, Later, Run
from broadcast.ledger.settling import Said
from broadcast.tiers.roster import Person, Post

from ..ledger_rows import a_batch, accepted, claim, number, states

REGION = "330521115201"
PERSONS = 5
CAN = {
    "v1": Capabilities(per_call=1, text_limit=0, callee_limits=(Limit(1, 60, 1), Limit(4, 3600, 2)), doubt_seconds=120),
    "v2": Capabilities(per_call=1, text_limit=0, doubt_seconds=120),
    "s1": Capabilities(per_call=2, text_limit=0, can_be_asked=True, doubt_seconds=120),
    "s2": Capabilities(per_call=3, text_limit=0, doubt_seconds=60),
    "z1": Capabilities(per_call=1000, text_limit=0, deduplicates=True, gap_seconds=600, doubt_seconds=60),
    "z2": Capabilities(per_call=2, text_limit=0, deduplicates=True, doubt_seconds=60),
}
WAYS = {"voice": ("v1", "v2"), "sms": ("s1", "s2"), "zwdd": ("z1", "z2")}


class Killed(BaseException):
    """A worker's process ends here."""


@dataclass
class Scripted:
    """A far end that does what comes next in the script, and keeps what it was handed."""

    name: str
    world: World

    def send(self, call: Call) -> Sequence[Receipt]:
        what = self.world.always.get(self.name) or (self.world.script.pop(0) if self.world.script else "take")
        self.world.before(self.name, call, what)
        return getattr(self, what.replace(" ", "_"))(call)

    def take(self, call: Call) -> Sequence[Receipt]:
        return [self._taken(one.key) for one in call.messages]

    def refuse(self, call: Call) -> Sequence[Receipt]:
        for one in call.messages:
            self.world.answered[one.key] = State.REJECTED
        return [Receipt(State.REJECTED, "no") for _ in call.messages]

    def split(self, call: Call) -> Sequence[Receipt]:
        return [self._part(n, one.key) for n, one in enumerate(call.messages)]

    def unavailable(self, _call: Call) -> Sequence[Receipt]:
        raise Unavailable("nobody there")

    def come_later(self, _call: Call) -> Sequence[Receipt]:
        raise Unavailable("not now", retry_after=900)

    def misconfigured(self, _call: Call) -> Sequence[Receipt]:
        raise Misconfigured("the password is wrong")

    def hang_and_take(self, call: Call) -> Sequence[Receipt]:
        self._in_doubt(call, taken=True)
        raise InDoubt("no answer")

    def hang(self, call: Call) -> Sequence[Receipt]:
        self._in_doubt(call, taken=False)
        raise InDoubt("no answer")

    def die(self, call: Call) -> Sequence[Receipt]:
        self._in_doubt(call, taken=False)
        raise Killed

    def take_and_die(self, call: Call) -> Sequence[Receipt]:
        self._in_doubt(call, taken=True)
        raise Killed

    def answer_of_a_person(self, call: Call) -> Sequence[Receipt]:
        """While it takes the call, somebody answers."""
        self.world.somebody_answers(len(self.world.handed))
        return self.take(call)

    def meanwhile(self, call: Call) -> Sequence[Receipt]:
        """While it takes the call, other workers and the sweep are busy."""
        receipts = self.take(call)
        self.world.work()
        return receipts

    def ask(self, call: Call) -> Sequence[Receipt]:
        return [self._known(one.key) for one in call.messages]

    def _taken(self, key: str) -> Receipt:
        self.world.answered[key] = State.ACCEPTED
        self.world.takes(self.name, key)
        return Receipt(State.ACCEPTED, ref=f"{self.name}-{key}")

    def _part(self, n: int, key: str) -> Receipt:
        if n % 3 == 0:
            return self._taken(key)
        if n % 3 == 1:
            self.world.doubts[key].append(self.name)
            return Receipt(State.IN_DOUBT, detail="no answer")
        return Receipt(State.DEFERRED, detail="not tried")

    def _in_doubt(self, call: Call, *, taken: bool) -> None:
        for one in call.messages:
            self.world.doubts[one.key].append(self.name)
            if taken:
                self.world.takes(self.name, one.key)

    def _known(self, key: str) -> Receipt:
        if (self.name, key) in self.world.taken:
            self.world.answered[key] = State.ACCEPTED
            return Receipt(State.ACCEPTED, ref=f"{self.name}-{key}")
        self.world.freed[key] += 1
        return Receipt(State.DEFERRED, detail="not known here")


@dataclass(frozen=True)
class Peer:
    """A far end as configured, as far as the gateway looks."""

    name: str
    channel: str
    protocol: str = "scripted"
    simulated: bool = True
    concurrency: int = 1
    rate: float = 0.0

    @property
    def capabilities(self) -> Capabilities:
        return CAN[self.name]


@dataclass
class World:
    """One house in one story, with the oracle."""

    ledger: Ledger
    now: datetime
    script: list[str]
    doubt: str
    level: str
    rung: list[int] = field(default_factory=list)
    handed: list[tuple[str, str]] = field(default_factory=list)  # (peer, key) of everything that was handed over
    answered: dict[str, State] = field(default_factory=dict)
    taken: dict[tuple[str, str], int] = field(default_factory=dict)  # (peer, key) → when
    doubts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    freed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    silent: set[tuple[int, str]] = field(default_factory=set)  # (alert, address) of those who have answered
    called: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    alerts: list[int] = field(default_factory=list)
    over: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    always: dict[str, str] = field(default_factory=dict)  # what a far end does whatever the script says

    def __post_init__(self) -> None:
        ways = {}
        for channel, names in WAYS.items():
            ends = tuple(FarEnd(Peer(name, channel), Scripted(name, self), Semaphore(2)) for name in names)  # type: ignore[arg-type]
            ways[channel] = Way(channel, ends)
        self.house = House(self.ledger, CountySettings("测", "测"), [], ways, [], self.ring, clock=lambda: self.now)

    def ring(self, lanes) -> bool:
        self.rung += [number for numbers in lanes.values() for number in numbers]
        return True

    # --- what happens

    def alert(self, plan: dict[str, list[str]], event: str = "", over: bool = False) -> int:
        """`plan`: by which channels, and for each the next ones. `over`: it says that the event is over."""
        n, now = next(_NUMBERS), self.house.now()
        values = {
            "event_key": event or f"c{n}", "sender": "测试", "identifier": f"c{n}", "sender_code": "", "source": "s", "form": "json",
            "msg_type": "Cancel" if over else "Alert", "status": "Actual", "scope": "Public", "event_code": "11B03", "event": "暴雨",
            "level": self.level, "headline": "", "issuer": "", "sent": now, "received": now, "expires": 10**13, "state": "waiting", "reason": "",
            "stand_down": over, "sha256": "", "doubt": self.doubt, "drafted_by": "测", "to_review": False, "understood": "{}",
        }  # fmt: skip
        words = [
            {
                "channel": channel, "audience": "post", "purpose": "stand_down" if over else "alarm", "language": "zh", "text": "测", "units": 1,
                "template": "", "notes": "[]",
            }
            for channel in WAYS
        ]  # fmt: skip
        rules = [
            {
                "tier": "village", "roles": '["VILLAGE_HEAD"]', "ranks": '["A"]', "channel": channel, "from_channel": "", "lane": "alarm",
                "audience": "post", "selection": "posts", "first": None, "purpose": "alarm", "within": 90, "answer_within": 300,
                "approvers": "[]", "state": "owed", "batch_size": 4 if channel != "zwdd" else 1000, "otherwise": json.dumps(otherwise),
                "gathers": channel == "zwdd",
            }
            for channel, otherwise in plan.items()
        ]  # fmt: skip
        with self.ledger.write() as tx:
            number, _ = alerts.record(tx, alerts.NewAlert(values, b"", {REGION: True}, words, rules), now, "测")
            alerts.activate(tx, number, now)
            made = alerts.plan_owed(tx, number, now)
        self.alerts.append(number)
        self.rung += [one.batch_id for one in made if one.batch_id]
        return number

    def work(self) -> None:
        """The sweep once, and workers for what it rang."""
        self.until_killed(lambda: sweeping.sweep(self.house))
        rung, self.rung = self.rung, []
        for batch_id in rung:
            self.until_killed(lambda batch_id=batch_id: delivering.deliver(self.house, batch_id))

    def until_killed(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Killed:
            with self.ledger.write() as tx:  # its lease is not renewed any more
                tx.execute(
                    t.batch.update().where(t.batch.c.alert_id.in_(self.alerts), t.batch.c.state == "sending").values(lease=0)
                )

    def takes(self, peer: str, key: str) -> None:
        self.taken.setdefault((peer, key), self.house.now())

    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def somebody_answers(self, which: int) -> None:
        """Whoever was handed something: they have it."""
        if not self.handed:
            return
        _, key = self.handed[which % len(self.handed)]
        batch_id, seq = keys.read(self.house, key) or (0, 0)
        with self.ledger.write() as tx:
            if not replies.take(tx, Told("acknowledged", "link", "", b"", None, (batch_id, seq)), self.house.now()):
                return  # its alert is over
            row = tx.execute(
                sa.select(t.delivery.c.alert_id, t.post.c.person_id)
                .join(t.post, t.post.c.id == t.delivery.c.post_id)
                .where(t.delivery.c.batch_id == batch_id, t.delivery.c.seq == seq)
            ).one()
            theirs = sa.select(t.address.c.sealed).join(t.target, t.target.c.address_id == t.address.c.id)
            sealed = tx.execute(theirs.where(t.target.c.person_id == row.person_id)).scalars()
            self.silent |= {(row.alert_id, self.ledger.seal.open(one)) for one in sealed}

    def report(self, which: int) -> None:
        """A far end says that something it took has arrived, by its own reference and the number."""
        if not self.taken:
            return
        peer, key = list(self.taken)[which % len(self.taken)]
        with self.ledger.read() as tx:
            batch_id, seq = keys.read(self.house, key) or (0, 0)
            address = tx.execute(
                sa.select(t.address.c.sealed)
                .join(t.delivery, t.delivery.c.address_id == t.address.c.id)
                .where(t.delivery.c.batch_id == batch_id, t.delivery.c.seq == seq)
            ).scalar_one()
            said = Said(1, peer, bytes(address), Receipt(State.DELIVERED, ref=f"{peer}-{key}"), self.taken[peer, key])
            found, _ = settling.match(tx, [said])
        with self.ledger.write() as tx:
            settling.settle(tx, found, self.house.now())
        for one in found:
            assert keys.key_of(self.house, one.known.batch_id, one.known.seq) == key
            self.answered[key] = State.DELIVERED

    def ask(self) -> None:
        errands.ask(self.house, self.house.peers["s1"])

    def cancel(self) -> None:
        number = self.alerts[-1]
        with self.ledger.write() as tx:
            tx.execute(t.alert.update().where(t.alert.c.id == number).values(state="cancelled"))
            alerts.withdraw(tx, number, "cancelled", self.house.now())
        self.over.add(number)

    # --- the oracle

    def before(self, peer: str, call: Call, what: str) -> None:
        can, now = CAN[peer], self.house.now()
        reaches = what not in ("unavailable", "come later", "misconfigured")
        if reaches and can.gap_seconds:
            self._spaced(peer, "", now, [(1, can.gap_seconds)])
        if call.facts.alert_id in self.over and self.handed:
            self._say(f"alert {call.facts.alert_id} is over")
        for one in call.messages:
            self._once(peer, one.key)
            if (call.facts.alert_id, one.address) in self.silent:
                self._say(f"{one.key} has answered and is told again")
            if reaches:
                self._spaced(
                    peer,
                    one.address,
                    now,
                    [(limit.calls if self.level == "red" else limit.below_red, limit.seconds) for limit in can.callee_limits],
                )
            self.handed.append((peer, one.key))

    def _once(self, peer: str, key: str) -> None:
        if key in self.answered:
            self._say(f"{key} was answered for ({self.answered[key]}) and is sent again")
        doubted = self.doubts[key]
        if any(CAN[name].deduplicates and name != peer for name in doubted):
            self._say(f"{key} may be known to {doubted} and is sent to {peer}")
        blind = [name for name in doubted if not CAN[name].deduplicates]
        if len(blind) > self.freed[key] + (self.doubt == "resend"):
            self._say(f"{key} is in doubt at {blind} and is sent again, freed {self.freed[key]} times")

    def _spaced(self, peer: str, address: str, now: int, allowed: Sequence[tuple[int, int]]) -> None:
        calls = self.called[peer, address]
        for most, seconds in allowed:
            if len([at for at in calls if at > now - seconds * 1000]) >= most:
                self._say(f"{peer} is called too often: {most} in {seconds} s")
        calls.append(now)

    def _say(self, what: str) -> None:
        self.wrong.append(what)

    def look(self) -> None:
        """What must hold between any two steps."""
        assert not self.wrong, self.wrong
        with self.ledger.read() as tx:
            rows = tx.execute(self._rows()).all()
            decided = {
                body["batch"]
                for one in tx.execute(sa.select(t.entry.c.body).where(t.entry.c.kind == "doubt.decided")).scalars()
                if (body := json.loads(one))
            }
        for row in rows:
            key = keys.key_of(self.house, row.batch_id, row.seq)
            state = State(row.own or row.of_batch)
            if state in (State.PLANNED, State.DEFERRED):
                assert row.due is not None, f"{key} waits for nothing"
            answered = (row.alert_id, self.ledger.seal.open(row.sealed)) in self.silent
            if state is State.IN_DOUBT and row.alert_id not in self.over and not answered:
                told_too = (row.reason or "").startswith("may have left")
                assert row.doubt_due is not None or row.batch_id in decided or told_too, f"{key}: nobody decides its doubt"
            if key in self.answered and state is not self.answered[key]:
                assert state is State.DELIVERED or self.answered[key] is State.DELIVERED, (
                    f"{key} is {state}, was {self.answered[key]}"
                )

    def _rows(self):
        columns = (
            t.delivery.c.state.label("own"),
            t.batch.c.state.label("of_batch"),
            t.batch.c.due,
            t.batch.c.doubt_due,
            t.delivery.c.reason,
        )
        return (
            sa.select(
                t.delivery.c.batch_id, t.delivery.c.seq, t.delivery.c.alert_id, t.post.c.person_id, t.address.c.sealed, *columns
            )
            .join(t.batch, t.batch.c.id == t.delivery.c.batch_id)
            .join(t.post, t.post.c.id == t.delivery.c.post_id)
            .join(t.address, t.address.c.id == t.delivery.c.address_id)
            .where(t.delivery.c.alert_id.in_(self.alerts))
        )

    def end(self) -> None:
        """What must hold when every far end is well again and time has passed."""
        with self.ledger.read() as tx:
            rows = tx.execute(self._rows()).all()
        told: dict[tuple[int, int], list[State]] = defaultdict(list)
        for row in rows:
            state = State(row.own or row.of_batch)
            assert state in FINAL | {State.ACCEPTED, State.IN_DOUBT}, f"{state} for ever: {row}"
            assert row.doubt_due is None
            if (row.alert_id, self.ledger.seal.open(row.sealed)) not in self.silent and row.alert_id not in self.over:
                told[row.alert_id, row.person_id].append(state)
        for whom, became in told.items():
            assert set(became) != {State.CANCELLED}, f"{whom} is forgotten"
        self.proved()

    def proved(self) -> None:
        """Whatever happened, each delivery's state is what its receipts come to, and every row has its entry."""
        with self.ledger.read() as tx:
            for number in self.alerts:
                found = verifying.verify(tx, self.ledger.seal, self.ledger.mark, alert_id=number)
                places = [str(one.first) for one in found.places if one.first.table not in ("alert", "alert_raw", "callout")]
                assert not places, places  # these stories change alerts by hand


_NUMBERS = count(1)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("core")
    Seal.make(folder / "seal.key")
    made = Ledger(f"sqlite:///{folder / 'ledger.db'}", Seal.from_file(folder / "seal.key"))
    # Nobody pulls the plug here, and a story commits a hundred times.
    sa.event.listen(made.database.engine, "connect", lambda driver, _record: driver.execute("PRAGMA synchronous = OFF"))
    made.migrate()
    persons = [
        Person(str(n), f"测{n}", True, f"+8615400000{n:03d}" if n else "", f"z{n}" if n != 1 else "") for n in range(PERSONS)
    ]  # one has no phone, one no account
    posts = [Post(str(n), "VILLAGE_HEAD", REGION, "A") for n in range(PERSONS)]  # type: ignore[arg-type]
    people.replace(made.database, made.seal, persons, posts, [], iter(()), who="测", now=1)
    yield made
    made.close()


def a_world(core: Ledger, script: list[str], doubt: str = "hold", level: str = "red") -> World:
    """A house whose far ends are well, long after every other story: what was spent there is forgotten."""
    with core.write() as tx:
        tx.execute(t.breaker.delete())
        tx.execute(t.gap.delete())
        for number in tx.execute(sa.select(t.alert.c.id).where(t.alert.c.state == "active")).scalars().all():
            tx.execute(t.alert.update().where(t.alert.c.id == number).values(state="closed"))
            alerts.withdraw(tx, number, "another story", 1)
    return World(core, datetime(2030, 1, 1, tzinfo=UTC) + timedelta(days=3 * next(_NUMBERS)), script, doubt, level)


CHANNELS = st.sampled_from(list(WAYS))
PLANS = st.dictionaries(CHANNELS, st.lists(CHANNELS, max_size=3), min_size=1, max_size=3)
OUTCOMES = [
    "take", "refuse", "split", "unavailable", "come later", "misconfigured", "hang", "hang and take", "die", "take and die",
    "answer of a person", "meanwhile",
]  # fmt: skip
STEPS = st.one_of(
    st.tuples(st.just("work")),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 61, 130, 601, 3601])),
    st.tuples(st.just("somebody_answers"), st.integers(0, 20)),
    st.tuples(st.just("report"), st.integers(0, 20)),
    st.tuples(st.just("ask")),
    st.tuples(st.just("alert"), PLANS),
    st.tuples(st.just("cancel")),
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=PLANS,
    script=st.lists(st.sampled_from(OUTCOMES), max_size=14),
    steps=st.lists(STEPS, max_size=10),
    doubt=st.sampled_from(["resend", "hold"]),
    level=st.sampled_from(["red", "orange"]),
)
def test_nobody_is_called_who_need_not_be_and_nobody_is_forgotten(core, plan, script, steps, doubt, level):
    world = a_world(core, list(script), doubt, level)
    world.alert(plan)
    for step in (("work",), *steps):
        getattr(world, step[0])(*step[1:])
        world.look()
    world.script.clear()
    for pause in (0, 20, 61, 61, 130, 130, 601, 901, 3601, 3601, 3601, 601, 130, 61):
        world.wait(pause)
        world.work()
        world.look()
    world.end()


# --- what only a story shows: that it happens in time


def work_for(world: World, seconds: int, every: int = 5) -> None:
    for _ in range(seconds // every):
        world.work()
        world.look()
        world.wait(every)


def told(world: World, peers: str) -> set[str]:
    """The addresses that these far ends took."""
    with world.ledger.read() as tx:
        rows = tx.execute(world._rows()).all()
    names = {keys.key_of(world.house, row.batch_id, row.seq): world.ledger.seal.open(row.sealed) for row in rows}
    return {names[key] for peer, key in world.taken if peer in peers.split()}


PHONES = {f"+8615400000{n:03d}" for n in range(1, PERSONS)}


def test_one_batch_whose_far_ends_are_all_down_goes_by_the_next_channel_when_its_time_is_over(core):
    """A few failures of one small batch never open a breaker for as long as it waits itself: its own attempts must do."""
    world = a_world(core, [])
    world.always = dict.fromkeys(WAYS["voice"], "unavailable")
    world.alert({"voice": ["sms"]})
    work_for(world, 120)
    assert told(world, "s1 s2") == PHONES and not told(world, "v1 v2")


def test_a_far_end_that_deduplicates_and_hangs_does_not_keep_its_batch_for_ever(core):
    world = a_world(core, [])
    world.always = {"z2": "hang"}
    number = world.alert({"zwdd": ["sms"]})
    world.house.ways = {**world.house.ways, "zwdd": Way("zwdd", world.house.ways["zwdd"].far_ends[1:])}  # z2 alone
    work_for(world, 180)
    both = {phone for n, phone in enumerate(sorted(PHONES), 1) if n != 1}  # whoever has an account and a phone
    assert told(world, "s1 s2") == both
    with world.ledger.read() as tx:
        rows = [
            row for row in tx.execute(world._rows()) if row.alert_id == number and (row.reason or "").startswith("may have left")
        ]
    assert {row.own for row in rows} == {"in_doubt"}  # it may have been heard there: who it reached is told when it is over


def test_a_far_end_that_asks_to_come_later_does_not_keep_the_next_one_waiting(core):
    world = a_world(core, ["come later"])
    world.alert({"sms": []})
    work_for(world, 10)
    assert told(world, "s2") == PHONES


def test_who_was_told_by_the_next_channel_is_told_by_it_that_it_is_over(core):
    world = a_world(core, [])
    world.always = dict.fromkeys(WAYS["voice"], "unavailable")
    world.alert({"voice": ["zwdd", "sms"]}, event="an event of its own")
    work_for(world, 120)
    reached = told(world, "z1 z2")
    assert reached
    over = world.alert({}, event="an event of its own", over=True)
    while sweeping.plan_next(world.house):
        pass
    with world.ledger.read() as tx:
        rows = [row for row in tx.execute(world._rows()) if row.alert_id == over]
    assert {world.ledger.seal.open(row.sealed) for row in rows} == reached


def test_nobody_loses_a_turn_of_their_budget_to_a_worker_that_dies_before_it_calls(core):
    world = a_world(core, ["take", "die"])
    world.alert({"voice": []})
    work_for(world, 30)
    assert len(told(world, "v1 v2")) == len(PHONES) - 1  # of the four, one call is in doubt; two were never begun
    with world.ledger.read() as tx:
        spent = sa.select(sa.func.count()).select_from(t.dialled).where(t.dialled.c.at >= world.house.now() - 60_000)
        assert tx.execute(spent).scalar_one() == len([one for one in world.handed if one[0] == "v1"])


def test_channels_that_are_each_others_next_ones_do_not_hand_somebody_over_in_a_circle(core):
    world = a_world(core, [])
    world.always = dict.fromkeys((*WAYS["voice"], *WAYS["sms"]), "unavailable")
    world.alert({"voice": ["sms"], "sms": ["voice"]})
    work_for(world, 150)
    world.always = {}
    work_for(world, 100)
    assert told(world, "v1 v2 s1 s2") == PHONES


def test_a_channel_is_not_its_own_next_one(core):
    world = a_world(core, [])
    world.always = dict.fromkeys(WAYS["voice"], "unavailable")
    world.alert({"voice": ["voice"]})
    work_for(world, 150)
    world.always = {}
    work_for(world, 100)
    assert told(world, "v1 v2") == PHONES


def only_z2(world: World, does: str) -> None:
    """Of 浙政钉 only the far end without a pause between calls."""
    world.house.ways = {**world.house.ways, "zwdd": Way("zwdd", world.house.ways["zwdd"].far_ends[1:])}
    world.always = {"z2": does}


@pytest.mark.parametrize("ends", ["hang", "die"])
def test_who_answers_while_their_call_is_under_way_is_not_told_once_more(core, ends):
    world = a_world(core, [])
    only_z2(world, ends)
    world.alert({"zwdd": []})
    world.work()
    world.somebody_answers(0)
    assert world.silent
    world.always = {}
    work_for(world, 30)  # the oracle looks after each step
    assert len(told(world, "z2")) == PERSONS - 2  # one has no account, and one has answered


def test_who_may_have_been_reached_before_it_was_withdrawn_is_told_that_it_is_over(core):
    world = a_world(core, [])
    only_z2(world, "hang")
    world.alert({"zwdd": []}, event="an event that hangs")
    world.work()
    over = world.alert({}, event="an event that hangs", over=True)
    while sweeping.plan_next(world.house):
        pass
    with world.ledger.read() as tx:
        rows = [row for row in tx.execute(world._rows()) if row.alert_id == over]
    assert len(rows) == PERSONS - 1


def test_what_one_far_end_may_know_is_not_taken_by_another_that_had_no_time_for_it(core):
    """It had found the other busy, and waits there still when it has been in doubt at its own."""
    world = a_world(core, [])
    first, second = world.house.ways["zwdd"].far_ends
    world.house.ways = {**world.house.ways, "zwdd": Way("zwdd", (second, first))}
    world.always = {"z2": "hang"}
    world.alert({"zwdd": []})
    [batch_id] = world.rung
    world.work()
    world.wait(60)
    delivering._deliver(world.house, first, batch_id)
    assert {peer for peer, _ in world.handed} == {"z2"}


def test_two_alerts_at_once_do_not_spend_the_same_budget(core):
    world = a_world(core, ["meanwhile"])
    world.alert({"voice": []})
    first, world.rung = world.rung, []
    world.alert({"voice": []})
    delivering.deliver(world.house, first[0])  # in its first call the other alert's worker calls everybody
    assert len({key for _, key in world.handed}) == len(world.handed) == len(PHONES)
    world.look()


# --- what the ledger keeps apart

LATER = Later(rest=3_000, decide=9_000)


def doubt(ledger: Ledger, held: Held, seqs: Sequence[int], **options: bool) -> None:
    with ledger.write() as tx:
        assert sending.doubt(
            tx, held.batch_id, held.fence, seqs, "?", **{"deduplicates": False, **options}, later=LATER, now=2_000
        )


def test_only_the_call_that_was_under_way_is_in_doubt_when_a_worker_dies(ledger):
    """Who stayed behind for want of budget, or was put off by the channel, was certainly not called."""
    batch_id = a_batch(ledger, 5)
    with ledger.write() as tx:
        row, pieces = sending.owed(tx, batch_id, 1_000)
        called = tuple(piece for piece in pieces if piece.seq != 1)
        held = sending.claim(ledger.database, tx, row, called, peer="p", holder="w", per_call=1, now=1_000, partial=True)
        assert sending.started(tx, tx.execute(sa.select(t.batch)).one()) == [2]
        for seq in (2, 3):
            run = Run((seq,), (Receipt(State.DEFERRED),))
            sending.answer(tx, ledger.database, held, run, begin=seq + 1, progress=seq + 1, later=LATER, now=1_000)
        assert sending.started(tx, tx.execute(sa.select(t.batch)).one()) == [4]


def test_a_doubt_is_asked_about_where_it_arose_also_when_the_rest_went_elsewhere(ledger):
    batch_id = a_batch(ledger)
    doubt(ledger, claim(ledger, batch_id, per_call=2, peer="first"), [1, 2])
    accepted(ledger, claim(ledger, batch_id, now=3_000, peer="second"), "g")
    with ledger.read() as tx:
        assert asking.doubts(tx, "second", 4_000) == []
        [one] = asking.doubts(tx, "first", 4_000)
        assert [piece.seq for piece in one.held.pieces] == [1, 2] and one.held.peer == "first"
        said = Said(1, "first", ledger.seal.seal(number(2)), Receipt(State.DELIVERED, ref="theirs"), 2_000)
        [found], _ = settling.match(tx, [said])
        assert (found.known.batch_id, found.known.seq) == (batch_id, 2)


def test_each_far_end_is_asked_only_about_its_own_doubts(ledger):
    batch_id = a_batch(ledger)
    doubt(ledger, claim(ledger, batch_id, per_call=2, peer="first"), [1, 2])
    doubt(ledger, claim(ledger, batch_id, now=3_000, peer="second"), [3, 4])
    with ledger.read() as tx:
        asked = {peer: asking.doubts(tx, peer, 4_000) for peer in ("first", "second")}
    assert {peer: [piece.seq for piece in one.held.pieces] for peer, [one] in asked.items()} == {
        "first": [1, 2],
        "second": [3, 4],
    }


def test_an_answer_about_an_earlier_attempt_says_nothing_of_a_later_one(ledger):
    batch_id = a_batch(ledger)
    doubt(ledger, claim(ledger, batch_id), [1, 2, 3, 4])
    with ledger.read() as tx:
        [one] = asking.doubts(tx, "p", 4_000)
    with ledger.write() as tx:
        sending.decided_doubts(tx, 9_000)
    doubt(ledger, claim(ledger, batch_id, now=9_000), [1, 2, 3, 4])
    with ledger.write() as tx:
        asking.asked(tx, one, [Receipt(State.DEFERRED)] * 4, 9_500)
    assert states(ledger, batch_id) == ["in_doubt"] * 4


def test_what_a_far_end_does_not_know_of_an_alert_that_is_over_is_not_due_again(ledger):
    batch_id = a_batch(ledger)
    doubt(ledger, claim(ledger, batch_id), [1, 2, 3, 4])
    with ledger.write() as tx:
        [one] = asking.doubts(tx, "p", 4_000)
        tx.execute(t.alert.update().values(state="cancelled"))
        alerts.withdraw(tx, one.held.alert_id, "cancelled", 4_000)
        asking.asked(tx, one, [Receipt(State.DEFERRED)] * 4, 4_500)
        assert sending.to_ring(tx, 10**12, 5_000) == {}
    assert states(ledger, batch_id) == ["cancelled"] * 4  # certainly nobody heard it


def test_a_batch_that_is_owed_of_an_alert_that_is_over_ends(core):
    world = a_world(core, [])
    number = world.alert({"sms": []})
    with core.write() as tx:
        tx.execute(t.alert.update().where(t.alert.c.id == number).values(state="cancelled"))
    world.over.add(number)
    world.work()
    assert world.handed == []
    with core.read() as tx:
        assert {row.of_batch for row in tx.execute(world._rows())} == {"cancelled"}


def test_doubts_of_an_earlier_call_keep_their_time_when_a_later_one_is_only_due_again(ledger):
    batch_id = a_batch(ledger)
    held = claim(ledger, batch_id, per_call=2)
    with ledger.write() as tx:
        run = Run((1, 2), (Receipt(State.IN_DOUBT), Receipt(State.ACCEPTED, ref="g")))
        assert sending.answer(tx, ledger.database, held, run, begin=3, progress=4, later=LATER, now=1_500)
    doubt(ledger, held, [3, 4], deduplicates=True)
    with ledger.write() as tx:
        assert tx.execute(sa.select(t.batch.c.doubt_due)).scalar_one() == LATER.decide


def test_what_a_far_end_that_deduplicates_left_open_of_a_call_is_due_again_there_and_only_there(ledger):
    batch_id = a_batch(ledger)
    held = claim(ledger, batch_id)
    answers = (Receipt(State.ACCEPTED, ref="g"), Receipt(State.IN_DOUBT), Receipt(State.REJECTED), Receipt(State.IN_DOUBT))
    with ledger.write() as tx:
        run = Run((1, 2, 3, 4), answers)
        assert sending.answer(tx, ledger.database, held, run, progress=None, later=LATER, now=1_500, deduplicates=True)
        row, pieces = sending.owed(tx, batch_id, 3_000)
    assert row.only_peer == "p" and [piece.seq for piece in pieces] == [2, 4]


def test_a_report_of_today_does_not_settle_a_doubt_of_last_week(ledger):
    batch_id = a_batch(ledger)
    doubt(ledger, claim(ledger, batch_id), [1, 2, 3, 4])
    week = 7 * 24 * 3_600_000
    with ledger.read() as tx:
        for submitted, wanted in ((week, 0), (2_500, 1)):
            said = Said(1, "p", ledger.seal.seal(number(1)), Receipt(State.DELIVERED, ref="theirs"), submitted)
            assert len(settling.match(tx, [said])[0]) == wanted


def test_reports_about_regions_that_nobody_was_told_in_do_not_take_the_places_of_others(ledger):
    batch_id = a_batch(ledger)
    accepted(ledger, claim(ledger, batch_id), "g")
    with ledger.write() as tx:
        said = [Said(n, "p", b"", Receipt(State.DELIVERED, ref="g"), None, f"99{n}") for n in range(5)]
        inbox.keep_unmatched(tx, [*said, Said(9, "p", b"", Receipt(State.DELIVERED, ref="g"), None, "3305")], 1)
        found, ids = inbox.unmatched_that_match_now(tx, limit=3)
    assert len(found) == 4 and len(ids) == 1
