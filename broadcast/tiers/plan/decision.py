"""What a plan owes for one alert: a function of the alert, what it covers, where it came from and the hour."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ...alert import Alert, Level, MsgType, RegionCode, Scope, Signal, Status
from ..area import Coverage
from ..regions import Regions
from .files import read
from .night import night
from .rules import TIERS, Audience, Disposition, Lane, Owed, Plan, Release, Rule, Section, Tell

# Nearest to everybody's ear first; a work notice may have to wait ten minutes for its turn anyway (zwdd's spacing rule).
_CHANNELS = ("speaker", "voice", "grid", "sms", "zwdd", "feed")
_SCALE_OF_SIGNAL = {Signal.PREPARE: Level.ORANGE, Signal.IMMEDIATE: Level.RED}  # the least a signal counts for


@dataclass(frozen=True, slots=True)
class _Case:
    """One alert held against the plan that it falls under."""

    alert: Alert
    source: str
    plan: Plan
    section: Section
    level: Level | None  # the colour to be said
    signal: Signal
    scale: Level  # where it stands among blue to red, the signal counted in
    known: bool  # whether anybody has graded it
    expires: datetime
    wakes: bool  # people sleep, and it is strong enough to wake them


@dataclass(frozen=True, slots=True)
class Plans:
    """A county's plans and its release table, checked."""

    plans: Mapping[str, Plan]
    release: Release

    @classmethod
    def load(cls, files: Mapping[str, str], roles: Collection[str], channels: Collection[str]) -> Plans:
        """Reads `files` (file name → TOML text, `release.toml` among them).

        Raises InvalidFiles with every problem found, by file and line.
        """
        return cls(*read(files, frozenset(roles), frozenset(channels)))

    def plan_for(self, alert: Alert) -> Plan:
        """By exact event code, then by the longest prefix; by name only where the sender gave no code."""
        info = alert.info
        code, name = (info.event_code, info.event) if info else ("", "")
        if not code:
            named = [plan for plan in self.plans.values() if name and name in plan.event_names]
            return named[0] if named else self._by_code("")
        return self._by_code(code)

    def _by_code(self, code: str) -> Plan:
        fits = [
            (pattern == code, len(pattern), plan)
            for plan in self.plans.values()
            for pattern in plan.events
            if pattern == code or (pattern.endswith("*") and code.startswith(pattern[:-1]))
        ]
        return max(fits, key=lambda fit: fit[:2])[2]  # `*` is in every set of plans that load accepted

    def owed(
        self,
        alert: Alert,
        coverage: Coverage,
        regions: Regions,
        *,
        source: str,
        now: datetime,
        public_drills: bool = False,
    ) -> Owed:
        """What is owed for `alert` from the configured source `source` at `now`. Never guesses: DECIDE where it would have to."""
        case = self._case(alert, source, now)
        disposition, reason, plan_walks = _dispose(case, coverage, now)
        first = _first_regions(case.plan, coverage, regions) if plan_walks else frozenset()
        rules = tuple(_rules(case, first, self.release, public_drills)) if plan_walks else ()
        return Owed(
            plan=case.plan.name,
            level=case.level,
            disposition=disposition,
            reason=reason,
            expires=case.expires,
            rules=rules,
            first_regions=first,
            doubt=case.section.doubt,
            approve_within=self.release.approve_within,
            approvers=self._approvers(alert, disposition, rules, source),
            drafted_alone=case.known and case.scale in self.release.alone,
            ladder=case.section.ladder,
            quorum=case.section.quorum,
            frozen=_frozen(case, self.release, rules),
        )

    def _case(self, alert: Alert, source: str, now: datetime) -> _Case:
        plan, info = self.plan_for(alert), alert.info
        level = (info.level if info else None) or plan.level_if_unknown
        signal = info.signal if info else Signal.NONE
        stated = [each for each in (level, _SCALE_OF_SIGNAL.get(signal)) if each]
        # What nobody has graded yet is handled with the care of the strongest; no rule is made of it.
        scale = max(stated, key=lambda each: each.rank, default=Level.RED)
        section = plan.signals.get(signal) or plan.levels[scale]
        wakes = scale in plan.night.levels and night(now, plan.night)
        return _Case(alert, source, plan, section, level, signal, scale, bool(stated), _expires(alert, plan), wakes)

    def _approvers(self, alert: Alert, disposition: Disposition, rules: tuple[Rule, ...], source: str) -> tuple[str, ...]:
        if disposition is Disposition.RECORD or alert.status is Status.TEST:
            return ()
        if disposition is Disposition.DECIDE:
            return self.release.approvers
        if alert.is_stand_down:
            return self.release.approvers_of_stand_down(source)
        return tuple(dict.fromkeys(role for rule in rules for role in rule.approvers))


def _expires(alert: Alert, plan: Plan) -> datetime:
    """The sender's word, else the plan's. A stand-down often carries its own hour as `expires`, and is told all the same."""
    by_plan = alert.sent + plan.expires_after
    stated = alert.info.expires if alert.info else None
    if stated is None:
        return by_plan
    return max(stated, by_plan) if alert.is_stand_down else stated


def _dispose(case: _Case, coverage: Coverage, now: datetime) -> tuple[Disposition, str, bool]:
    """(what to do, why, whether the plan's rules apply)."""
    alert = case.alert
    if alert.status in (Status.SYSTEM, Status.DRAFT):
        return Disposition.RECORD, f"status {alert.status} is recorded, never disseminated", False
    if alert.msg_type in (MsgType.ACK, MsgType.ERROR):
        return Disposition.RECORD, f"msgType {alert.msg_type} is recorded, never disseminated", False
    if now >= case.expires:
        return Disposition.RECORD, f"expired at {case.expires.isoformat()}", False
    if alert.status is Status.TEST:
        return Disposition.DISSEMINATE, "status Test: registered test targets only, in the drill lane", False
    if alert.is_stand_down:
        return Disposition.DISSEMINATE, "stand-down: exactly those who were or may have been reached", False
    if not coverage.resolved:
        return Disposition.DECIDE, "the area could not be resolved: a person must say which regions", False
    if not case.known:
        return Disposition.DECIDE, "the level is unknown: a person must say which colour", False
    return Disposition.DISSEMINATE, _why(alert), True


def _why(alert: Alert) -> str:
    if alert.status is Status.EXERCISE:
        return "exercise: by the plan, in the drill lane"
    return "restricted: posts only" if _restricted(alert) else "by the plan"


def _restricted(alert: Alert) -> bool:
    return alert.scope is not Scope.PUBLIC or alert.inner


def _first_regions(plan: Plan, coverage: Coverage, regions: Regions) -> frozenset[RegionCode]:
    """Covered regions with a matching risk tag, and what lies below them."""

    def at_risk(code: RegionCode | None) -> bool:
        while code is not None:
            region = regions[code]
            if plan.risk & set(region.risk):
                return True
            code = region.parent
        return False

    return frozenset(code for code in coverage.regions if at_risk(code)) if plan.risk else frozenset()


def _rules(case: _Case, first: frozenset[RegionCode], release: Release, public_drills: bool) -> list[Rule]:
    drill = case.alert.status is Status.EXERCISE
    posts_only = _restricted(case.alert) or (drill and not public_drills)
    rules = [
        Rule(
            tier=tell.tier,
            roles=tell.roles,
            ranks=tell.ranks,
            channel=channel,
            lane=_lane(tell.audience, drill),
            audience=tell.audience,
            risk_first=part,
            within=tell.within,
            answer_within=tell.answer_within,
            approvers=release.approvers_of(case.source, case.scale, channel, tell.audience),
            otherwise=_next_channels(tell, channel),
        )
        for tell in (_waking(each) if case.wakes else each for each in case.section.tells)
        if tell.audience is Audience.POST or not posts_only
        for channel in tell.channels
        for part in _parts(tell, first)
    ]
    return sorted(rules, key=_order)


def _waking(tell: Tell) -> Tell:
    """叫醒: at night whoever owes an answer is called first, also where the plan would only write to them by day."""
    if tell.answer_within is None:
        return tell
    return replace(tell, channels=("voice", *(channel for channel in tell.channels if channel != "voice")))


def _next_channels(tell: Tell, channel: str) -> tuple[str, ...]:
    """The block's other channels, those after this one first. Only posts have several addresses."""
    if tell.audience is not Audience.POST:
        return ()
    place = tell.channels.index(channel)
    return tell.channels[place + 1 :] + tell.channels[:place]


def _lane(audience: Audience, drill: bool) -> Lane:
    if drill:
        return Lane.DRILL
    return Lane.BULK if audience is Audience.RESIDENT else Lane.ALARM


def _parts(tell: Tell, first: frozenset[RegionCode]) -> Iterator[bool | None]:
    yield from (True, False) if tell.risk_first and first else (None,)


def _order(rule: Rule) -> tuple[bool, bool, int, int]:
    """Alarm before bulk, risk before the rest, the fastest channel first, then downwards.

    Downwards, because the practice reported nationally calls the commander of the own level first, then towns, then
    villages (channels.md E1); county and town are a hundred calls, so nobody below waits for them.
    """
    channel = _CHANNELS.index(rule.channel) if rule.channel in _CHANNELS else len(_CHANNELS)
    return rule.lane is Lane.BULK, rule.risk_first is False, channel, TIERS.index(rule.tier)


def _frozen(case: _Case, release: Release, rules: tuple[Rule, ...]) -> dict[str, Any]:
    """Lists, strings and numbers only, so that it comes back from JSON as it went in."""
    return {
        "plan": case.plan.name,
        "title": case.plan.title,
        "level": str(case.level) if case.level else None,
        "signal": str(case.signal),
        "scale": str(case.scale) if case.known else None,
        "source": case.source,
        "risk": sorted(case.plan.risk),
        "expires_after": int(case.plan.expires_after.total_seconds()),
        "in_doubt": str(case.section.doubt),
        "approve_within": release.approve_within,
        "approvers": list(release.approvers),
        "alone": sorted(str(level) for level in release.alone),
        "release_ladder": release.ladder.as_json() if release.ladder else None,
        "ladder": case.section.ladder.as_json() if case.section.ladder else None,
        "quorum": _lists(case.section.quorum),
        "superiors": _lists(case.plan.superiors),
        "sideways": _lists(case.plan.sideways),
        "wakes": case.wakes,
        "rules": [_plain(rule) for rule in rules],
    }


def _lists(roles: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {key: list(value) for key, value in roles.items()}


def _plain(rule: Rule) -> dict[str, Any]:
    return {
        "tier": rule.tier,
        "roles": list(rule.roles),
        "ranks": list(rule.ranks),
        "channel": rule.channel,
        "lane": str(rule.lane),
        "audience": str(rule.audience),
        "risk_first": rule.risk_first,
        "within": rule.within,
        "answer_within": rule.answer_within,
        "approvers": list(rule.approvers),
        "otherwise": list(rule.otherwise),
    }
