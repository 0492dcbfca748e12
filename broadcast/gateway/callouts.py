"""叫应 as it is carried: the sweep asks the pure ladder what each due callout does next, and does it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise

from ..alert import RegionCode
from ..callout import Call, Climb, Ladder, Rest, Rung, Standing, Wait, next_callout_step, place_answered
from ..errors import NotFound
from ..ledger import Row, Transaction, callouts, questions, replies
from ..ledger.callouts import Calling, Climbing
from ..ledger.fanout import Slice
from ..ledger.operators import Operator
from ..ledger.replies import Told
from ..tiers.regions import Regions
from . import submitting
from .house import House, log

ROUNDS = len(Rung)  # rungs with nobody on them are climbed one after the other in one sweep


Holders = Mapping[tuple[str, str, str], Sequence[int]]  # role, region, rank → posts


@dataclass(frozen=True)
class _Plan:
    """What was frozen with one alert, as far as its callouts go by it."""

    plan: Mapping[str, object]

    @classmethod
    def read(cls, understood: str) -> _Plan:
        return cls(json.loads(understood).get("plan", {}))

    @classmethod
    def of_release(cls, understood: str) -> _Plan:
        """Of the duty to approve: a silent approver's superior is the next one that the release table names."""
        frozen = json.loads(understood)
        approvers = frozen.get("approvers", [])
        superiors = {role: [above] for role, above in pairwise(approvers)}
        return cls({"ladder": frozen.get("plan", {}).get("release_ladder"), "superiors": superiors})

    @cached_property
    def ladder(self) -> Ladder | None:
        """None where the plan calls nobody."""
        found = self.plan.get("ladder")
        return Ladder.from_json(found) if isinstance(found, Mapping) else None

    def roles(self, table: str, role: str) -> tuple[str, ...]:
        """Of `superiors` or `sideways`."""
        found = self.plan.get(table)
        return tuple(found.get(role, ())) if isinstance(found, Mapping) else ()

    def quorum(self, tier: str) -> tuple[str, ...]:
        """The roles that must have answered in a region of this tier; () = all that owe an answer there."""
        found = self.plan.get("quorum")
        return tuple(found.get(tier, ())) if isinstance(found, Mapping) else ()


def step(house: House) -> int:
    """One round over everything that is due; returns how many steps were taken."""
    now = house.now()
    with house.ledger.read() as tx:
        if not callouts.has_due(tx, now):
            return 0
    taken = 0
    for _ in range(ROUNDS):
        with house.ledger.read() as tx:
            rows = callouts.due(tx, now)
            plans = _plans(tx, rows)
            climbs = _decide(house, tx, rows, plans)
            late = callouts.without_measures(tx, now)
        if not rows and not late:
            break
        with house.ledger.write() as tx:
            made = _write(tx, climbs, plans, now)
            callouts.owe_measures(tx, late, now)
        submitting.ring(house, made)
        taken += len(rows) + len(late)
    return taken


_Key = tuple[int, bool]  # of an alert, and whether of its release


def _key(row: Row) -> _Key:
    return row.alert_id, row.duty == "release"


def _plans(tx: Transaction, rows: Sequence[Row]) -> dict[_Key, _Plan]:
    frozen = callouts.plans_of(tx, {row.alert_id for row in rows})
    return {
        key: _Plan.of_release(frozen[key[0]]) if key[1] else _Plan.read(frozen[key[0]]) for key in {_key(row) for row in rows}
    }


@dataclass(frozen=True, slots=True)
class _Steps:
    """What is to be done about the callouts of one look."""

    waits: Mapping[int, int | None]
    climbs: Sequence[Climbing]
    calls: Mapping[_Key, Sequence[Calling]]


def _decide(house: House, tx: Transaction, rows: Sequence[Row], plans: Mapping[_Key, _Plan]) -> _Steps:
    waits: dict[int, int | None] = {}
    climbing: list[tuple[Row, Climb]] = []
    calls: dict[_Key, list[Calling]] = {}
    for row in rows:
        ladder = plans[_key(row)].ladder
        match next_callout_step(ladder, _standing(row), house.clock()) if ladder else Rest():
            case Wait(until):
                waits[row.id] = int(until.timestamp() * 1000)
            case Rest():
                waits[row.id] = None
            case Call(rung, nth):
                calls.setdefault(_key(row), []).append(Calling(row, str(rung), nth))
            case Climb() as climb:
                climbing.append((row, climb))
    return _Steps(waits, _climbs(house, tx, climbing, plans), calls)


def _standing(row: Row) -> Standing:
    return Standing(
        rung=Rung(row.step),
        asked=row.asked,
        calls=row.calls,
        last_call=questions.moment(row.last_call),
        opened=questions.at(row.opened),
        due=questions.at(row.due),
    )


def _climbs(
    house: House, tx: Transaction, climbing: Sequence[tuple[Row, Climb]], plans: Mapping[_Key, _Plan]
) -> Sequence[Climbing]:
    if not climbing:
        return ()
    above = callouts.roles_asked(tx, [row.id for row, _ in climbing if row.step == Rung.SUPERIOR], str(Rung.SUPERIOR))
    silent = {(_key(row), role) for row, _ in climbing for role in (row.role, *above.get(row.id, ()))}
    wanted = {role for key, each in silent for role in _roles_asked(plans[key], {each})}
    found, regions = callouts.holders(tx, wanted), house.books.regions
    return [_climb(regions, plans[_key(row)], row, climb, found, above.get(row.id, set())) for row, climb in climbing]


def _climb(regions: Regions, plan: _Plan, row: Row, climb: Climb, found: Holders, before: set[str]) -> Climbing:
    """One rung up; from a silent superior first to theirs, tier by tier (逐级)."""
    if row.step == Rung.SUPERIOR and climb.rung is not Rung.SUPERIOR:
        higher = {role for each in before for role in plan.roles("superiors", each)} - before
        posts = _superiors(regions, row, sorted(higher), found)
        if posts:
            return Climbing(row, str(Rung.SUPERIOR), posts, climb.skipped, f"{climb.reason}: one tier further up")
    return Climbing(row, str(climb.rung), _posts(regions, plan, row, climb.rung, found), climb.skipped, climb.reason)


def _roles_asked(plan: _Plan, roles: Collection[str]) -> set[str]:
    """Whom a step may ask: these roles, those above them and those beside them."""
    tables = ("superiors", "sideways")
    return set(roles) | {other for role in roles for table in tables for other in plan.roles(table, role)}


def _posts(regions: Regions, plan: _Plan, row: Row, rung: Rung, found: Holders) -> tuple[int, ...]:
    """The posts that are asked on this rung, without the one that is silent."""

    if rung is Rung.DEPUTY:
        posts = list(found.get((row.role, row.region, "B"), ()))
    elif rung is Rung.SUPERIOR:
        return _superiors(regions, row, plan.roles("superiors", row.role), found)
    elif rung is Rung.SIDEWAYS:
        posts = [number for role in plan.roles("sideways", row.role) for number in _beside(regions, row, role, found)]
    else:
        posts = []
    return tuple(dict.fromkeys(number for number in posts if number != row.post_id))


def _superiors(regions: Regions, row: Row, roles: Sequence[str], found: Holders) -> tuple[int, ...]:
    """Of each role the holder for the nearest region above (or for the same one)."""
    above = (row.region, *reversed(regions.above(row.region))) if row.region in regions else (row.region,)
    posts = [next((those for region in above if (those := found.get((role, region, "A")))), ()) for role in roles]
    return tuple(dict.fromkeys(number for those in posts for number in those if number != row.post_id))


def _beside(regions: Regions, row: Row, role: str, found: Holders) -> Sequence[int]:
    """Of the same region; its own role: of the nearest neighbour that has one."""
    if role != row.role:
        return [number for rank in ("A", "B") for number in found.get((role, row.region, rank), ())]
    above = regions.above(row.region) if row.region in regions else ()
    neighbours = [one.code for one in regions.children(above[-1]) if one.code != row.region] if above else []
    nearest = sorted(neighbours, key=lambda code: abs(int(code) - int(row.region)))
    return next((those for region in nearest if (those := found.get((role, region, "A")))), ())


def _write(tx: Transaction, steps: _Steps, plans: Mapping[_Key, _Plan], now: int) -> list[Slice]:
    callouts.wait(tx, steps.waits)
    callouts.climb(tx, steps.climbs, now)
    made: list[Slice] = []
    for key, calls in steps.calls.items():
        ladder = plans[key].ladder
        if ladder is not None:
            made += callouts.call(tx, key[0], calls, ladder.every, now)
    return made


WATCH_EVERY = timedelta(seconds=30)


def watch(house: House) -> int:
    """Every half minute: each open callout has a next step, or rests at the door. What has not is an alarm, and repaired."""
    now = house.now()
    if not house.has_come("watch over callouts", WATCH_EVERY):
        return 0
    with house.ledger.read() as tx:
        found = callouts.stuck(tx, now)
    if found:
        log.error("%s callouts had no next step, or one that was long past: repaired", len(found))
        with house.ledger.write() as tx:
            callouts.repair(tx, found, now)
    return len(found)


# ── for the duty desk ──


@dataclass(frozen=True, slots=True)
class Callout:
    """One post's duty as the duty desk sees it. The name is masked."""

    number: int
    alert_id: int
    headline: str
    duty: str  # release, acknowledge, measures
    region: str
    region_name: str
    role: str
    person: str
    state: str  # open, answered, closed
    rung: str
    calls: int  # on this rung
    opened: datetime
    due: datetime
    next_step: datetime | None  # None while open: it rests on the list 未叫醒
    answered: datetime | None
    how: str
    answered_by: str
    measures_due: datetime | None


def listed(house: House, alert_id: int | None, *, silent: bool) -> list[Callout]:
    """The callouts of one alert, or of all in force; `silent`: only those that are open."""
    with house.ledger.read() as tx:
        rows = callouts.listed(tx, alert_id, silent=silent)
    regions, roles = house.books.regions, house.books.roles
    return [_shown(house, regions, row, roles[row.role].zh if row.role in roles else row.role) for row in rows]


def _shown(house: House, regions: Regions, row: Row, role: str) -> Callout:
    name = house.ledger.seal.show(row.name)
    return Callout(
        number=row.id,
        alert_id=row.alert_id,
        headline=row.headline,
        duty=row.duty,
        region=row.region,
        region_name=regions[RegionCode(row.region)].name if row.region in regions else row.region,
        role=role,
        person=name if row.name is None else name[:1] + "*" * max(1, len(name) - 1),
        state=row.state,
        rung=row.step,
        calls=row.calls,
        opened=questions.at(row.opened),
        due=questions.at(row.due),
        next_step=questions.moment(row.next_step),
        answered=questions.moment(row.answered),
        how=row.how,
        answered_by=row.answered_by,
        measures_due=questions.moment(row.measures_due),
    )


@dataclass(frozen=True, slots=True)
class Place:
    """One region's callouts together."""

    region: str
    name: str
    owed: int
    answered: int
    has_answered: bool  # by the plan's quorum


def places(house: House, alert_id: int) -> list[Place]:
    """By region: how many posts owe an answer, how many have given it, and whether the place has answered by its quorum."""
    with house.ledger.read() as tx:
        rows = [row for row in callouts.listed(tx, alert_id, silent=False) if row.duty == "acknowledge"]
        plan = _Plan.read(callouts.plans_of(tx, [alert_id])[alert_id])
    regions = house.books.regions
    by_region: dict[str, list[Row]] = {}
    for row in rows:
        by_region.setdefault(row.region, []).append(row)
    made = []
    for region, those in sorted(by_region.items()):
        known = regions[RegionCode(region)] if region in regions else None
        owing = {row.role for row in those}
        required = set(plan.quorum(str(known.tier) if known else "")) & owing or owing
        answered = {row.role for row in those if row.state == "answered"}
        made.append(
            Place(
                region,
                known.name if known else region,
                len(those),
                sum(row.state == "answered" for row in those),
                place_answered(required, answered),
            )
        )
    return made


def enter(house: House, number: int, operator: Operator, verb: str, said: str) -> int:
    """A duty officer's entry: this person acknowledged, or reported measures. Returns how many duties it answered.

    Raises NotFound.
    """
    now = house.now()
    with house.ledger.write() as tx:
        row = callouts.find(tx, number)
        if row is None:
            raise NotFound(f"no callout {number}; `broadcast callout list` shows them")
        told = Told(
            verb=verb,
            how="entry",
            peer="",
            said=house.ledger.seal.seal(said) if said else b"",
            at=None,
            who=operator.name,
        )
        return replies.enter(tx, row, told, now)
