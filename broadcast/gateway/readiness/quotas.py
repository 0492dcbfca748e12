"""Can the ways out carry the red plan over the whole county in the plan's time? By the roster, the plans and the contracts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...alert import Level, Signal
from ...ledger import Transaction
from ...tiers.plan import Audience, Ladder, Lane, Plan, Section, Tell
from ..capacity import Pace, callee_limits, last_call_after, pace_of
from ..deciding import batch_size
from ..house import House
from ..ways import FarEnd


@dataclass(frozen=True, slots=True)
class Reach:
    """Who can be told by what."""

    holders: Mapping[tuple[str, str], frozenset[int]]  # role, rank → persons
    numbers: Mapping[int, Mapping[str, frozenset[int]]]  # person → channel → addresses that its peers may tell
    others: Mapping[tuple[str, str], int]  # audience, channel → targets that are no person's
    _known: dict[tuple[tuple[str, ...], tuple[str, ...], str], frozenset[int]] = field(default_factory=dict)  # plans share much

    def of(self, tell: Tell, channel: str) -> frozenset[int]:
        """The addresses of the posts that a block of a plan names."""
        key = (tell.roles, tell.ranks, channel)
        if key not in self._known:
            persons = {one for role in tell.roles for rank in tell.ranks for one in self.holders.get((role, rank), ())}
            found = (number for one in persons for number in self.numbers.get(one, {}).get(channel, ()))
            self._known[key] = frozenset(found)
        return self._known[key]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A far end that cannot do in time what a plan wants of it."""

    kind: str  # quota, ladder or budget
    peer: str
    plan: str  # its title
    level: str
    calls: int  # quota, ladder: calls to be made; budget: calls to one number
    needs: float | None  # seconds; None: it never allows them
    has: float  # seconds that the plan gives

    @property
    def worse(self) -> float:
        """To tell the worst of several."""
        return float("inf") if self.needs is None else self.needs / max(1.0, self.has)


def shortfalls(house: House, tx: Transaction, reach: Reach) -> list[Shortfall]:
    """The worst of each kind for each far end and level; with many plans most say the same."""
    worst: dict[tuple[str, str, str], Shortfall] = {}
    first_choice = {channel: way.in_order(str(Level.RED))[0] for channel, way in house.ways.items()}
    paces = {channel: pace_of(tx, far_end) for channel, far_end in first_choice.items()}
    for plan in house.books.plans.plans.values():
        for one in (*_of_red(plan, first_choice, paces, reach), *_of_budgets(house, plan)):
            key = (one.kind, one.peer, one.level)
            if key not in worst or worst[key].worse < one.worse:
                worst[key] = one
    return sorted(worst.values(), key=lambda one: (one.kind, one.peer, one.level))


def _of_red(plan: Plan, first_choice: Mapping[str, FarEnd], paces: Mapping[str, Pace], reach: Reach) -> Iterator[Shortfall]:
    """立即转移 is the top of the scale as red is."""
    for section in filter(None, (plan.levels.get(Level.RED), plan.signals.get(Signal.IMMEDIATE))):
        for channel, far_end in first_choice.items():
            yield from _late(plan, section, channel, far_end, paces[channel], reach)
        if section.ladder and "voice" in first_choice:
            yield from _slow_ladder(plan, section, section.ladder, first_choice["voice"], paces["voice"], reach)


def _late(plan: Plan, section: Section, channel: str, far_end: FarEnd, pace: Pace, reach: Reach) -> Iterator[Shortfall]:
    """What is due first goes first: by each time that the plan names, all that is due until then must have been handed over."""
    due: list[Tell] = []
    for tell in sorted((one for one in section.tells if channel in one.channels), key=lambda one: one.within):
        due.append(tell)
        calls = _calls(due, channel, far_end, reach)
        needs = pace.seconds(calls)
        if needs > tell.within:
            yield Shortfall("quota", far_end.peer.name, plan.title, str(Level.RED), calls, needs, tell.within)


def _calls(tells: Sequence[Tell], channel: str, far_end: FarEnd, reach: Reach) -> int:
    """As the gateway would make them: batches are of one block, but where a call is for one, or must wait, each number once."""
    can = far_end.capabilities
    alone: set[int] = set()
    calls = 0
    for tell in tells:
        if tell.audience is not Audience.POST:
            lane = Lane.BULK if tell.audience is Audience.RESIDENT else Lane.ALARM
            calls += -(-reach.others.get((str(tell.audience), channel), 0) // min(can.per_call, batch_size(can, lane)))
        elif can.per_call == 1 or can.gap_seconds:
            alone |= reach.of(tell, channel)
        else:
            calls += -(-len(reach.of(tell, channel)) // min(can.per_call, batch_size(can, Lane.ALARM)))
    return calls + -(-len(alone) // can.per_call)


def _slow_ladder(plan: Plan, section: Section, ladder: Ladder, far_end: FarEnd, pace: Pace, reach: Reach) -> Iterator[Shortfall]:
    """When nobody answers, everybody is called once in `every`: with too few lines the calls come further apart."""
    numbers = {number for tell in section.tells if tell.answer_within is not None for number in reach.of(tell, "voice")}
    needs = pace.seconds(-(-len(numbers) // far_end.capabilities.per_call))
    if needs > ladder.every:
        yield Shortfall("ladder", far_end.peer.name, plan.title, str(Level.RED), len(numbers), needs, ladder.every)


def _of_budgets(house: House, plan: Plan) -> Iterator[Shortfall]:
    """What a far end allows one number, against the calls that the ladder of each level makes to a silent person."""
    for level, section in plan.levels.items():
        if section.ladder is None or "voice" not in house.ways:
            continue
        far_end, ladder = house.ways["voice"].in_order(str(level))[0], section.ladder
        wanted = float((ladder.calls - 1) * ladder.every)
        needs = last_call_after(ladder.calls, ladder.every, callee_limits(far_end, urgent=level is Level.RED))
        if needs is None or needs > wanted:
            yield Shortfall("budget", far_end.peer.name, plan.title, str(level), ladder.calls, needs, wanted)
