"""From an Alert to what is owed for it: coverage, plan, words. Asks the pure core; writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import wording
from ..alert import Alert, Level, MsgType, RegionCode, Status
from ..channels.base import Capabilities, Purpose
from ..ledger import alerts
from ..tiers.area import Coverage, cover
from ..tiers.plan import Audience, Disposition, Lane, Owed
from ..tiers.regions import Regions
from ..wording import Words
from . import links
from .house import House, Source

AUDIENCES = {"sms": ("post", "resident"), "speaker": ("place",), "feed": ("place",)}  # all others: posts
RELEASE_CHANNELS = ("voice", "sms", "zwdd")  # the means at hand to reach who must approve


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything decided about an alert, before any of it is written."""

    alert: Alert
    source: Source
    event_key: str
    coverage: Coverage
    owed: Owed
    rules: tuple[dict[str, Any], ...]  # the columns of `rule`
    words: tuple[Words, ...]
    wording: Wording  # for words that need the alert's number
    gaps: tuple[str, ...]  # what the plan owes and this house has no way for

    @property
    def level(self) -> str:
        """The colour, "" when unknown."""
        return str(self.owed.level or "")

    @property
    def understood(self) -> dict[str, Any]:
        """What is frozen with the alert: how it was read, what it covers, the plan it falls under."""
        return {
            "repairs": [[r.element, r.value, r.taken_as] for r in self.alert.repairs],
            "roots": list(self.coverage.roots),
            "findings": [[str(f.kind), f.text] for f in self.coverage.findings],
            "gaps": list(self.gaps),
            "plan": dict(self.owed.frozen),
            "approvers": list(self.owed.approvers),
        }


def decide(house: House, alert: Alert, source: Source, *, only: str | None = None, roots: Sequence[RegionCode] = ()) -> Draft:
    """What is owed for this alert now. `only`: one channel (tests); `roots`: where a person says that it goes."""
    regions = house.books.regions
    coverage = cover(alert, regions, source.code_system)
    if roots:
        coverage = Coverage(tuple(sorted(roots)), regions.closure(roots), coverage.findings)
    owed = house.books.plans.owed(
        alert, coverage, regions, source=source.name, now=house.clock(), public_drills=house.county.public_drills
    )
    rules = tuple(_rules(house, alert, owed, only))
    event_key, before = _event(house, alert)
    task = Wording(house, alert, coverage, regions, owed, before)
    words = tuple(task.compose(*wanted) for wanted in _wanted(house, alert, owed, rules))
    return Draft(alert, source, event_key, coverage, owed, rules, words, task, _gaps(house, owed))


def _gaps(house: House, owed: Owed) -> tuple[str, ...]:
    """A channel without a far end must not be missing silently."""
    missing = dict.fromkeys(rule.channel for rule in owed.rules if rule.channel not in house.ways)
    return tuple(f"no peer is configured for channel {channel}: nobody is told by it" for channel in missing)


def _rules(house: House, alert: Alert, owed: Owed, only: str | None) -> Iterator[dict[str, Any]]:
    if owed.disposition is Disposition.RECORD:
        return
    if alert.status is Status.TEST:
        for channel in house.ways:
            if only in (None, channel) and _may_be_heard(house, alert, channel):
                yield _row(house, channel, tier="test", lane=Lane.DRILL, audience=Audience.POST, selection="test", within=60)
        return
    for rule in owed.rules:
        if rule.channel not in house.ways or not _may_be_heard(house, alert, rule.channel):
            continue
        selection = {Audience.POST: "posts", Audience.RESIDENT: "residents", Audience.PLACE: "places"}[rule.audience]
        yield _row(
            house,
            rule.channel,
            tier=rule.tier,
            lane=rule.lane,
            audience=rule.audience,
            selection=selection,
            within=rule.within,
            roles=rule.roles,
            ranks=rule.ranks,
            first=rule.risk_first,
            answer_within=rule.answer_within,
            approvers=rule.approvers,
            otherwise=rule.otherwise,
            scale=str(owed.frozen.get("scale") or ""),
        )


def _may_be_heard(house: House, alert: Alert, channel: str) -> bool:
    """A drill never reaches a live loudspeaker, unless the county asked for it in writing."""
    if alert.status is Status.ACTUAL or channel != "speaker":
        return True
    return house.ways[channel].simulated or house.county.public_drills


def release_rules(house: House, approvers: Iterable[str], called: str) -> Iterator[dict[str, Any]]:
    """Tells who may approve by every means at hand: all of them in writing, the principals of the role `called` by voice."""
    for channel in RELEASE_CHANNELS:
        if channel in house.ways:
            yield _row(
                house,
                channel,
                tier="county",
                lane=Lane.ALARM,
                audience=Audience.POST,
                selection="approvers",
                within=60,
                roles=(called,) if channel == "voice" else tuple(approvers),
                ranks=("A",) if channel == "voice" else ("A", "B"),
                purpose=Purpose.RELEASE,
            )


def _row(
    house: House,
    channel: str,
    *,
    tier: str,
    lane: Lane,
    audience: Audience,
    selection: str,
    within: int,
    roles: Sequence[str] = (),
    ranks: Sequence[str] = (),
    first: bool | None = None,
    answer_within: int | None = None,
    approvers: Sequence[str] = (),
    otherwise: Sequence[str] = (),
    scale: str = "",
    purpose: Purpose = Purpose.ALARM,
) -> dict[str, Any]:
    first_choice = house.ways[channel].in_order(scale)[0].capabilities
    return {
        "tier": tier,
        "roles": json.dumps(list(roles)),
        "ranks": json.dumps(list(ranks)),
        "channel": channel,
        "from_channel": "",
        "lane": str(lane),
        "audience": str(audience),
        "selection": selection,
        "first": first,
        "purpose": str(purpose),
        "within": within,
        "answer_within": answer_within,
        "approvers": json.dumps(list(approvers)),
        "state": "held" if approvers else "owed",
        "otherwise": json.dumps(list(otherwise)),
        "gathers": first_choice.gap_seconds > 0,
        "batch_size": batch_size(first_choice, lane),
    }


def batch_size(capabilities: Capabilities, lane: Lane) -> int:
    """What one worker claims at once: one provider call in bulk; in the alarm lane no more than keeps several at work."""
    if capabilities.gap_seconds:
        return capabilities.per_call  # everybody in one call: the next may be ten minutes away
    if capabilities.per_call == 1:
        return 10  # the lease is renewed per call; a killed worker leaves one call in doubt, nine untouched
    return min(capabilities.per_call, 200 if lane is not Lane.BULK else 1000)


def _wanted(house: House, alert: Alert, owed: Owed, rules: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """(channel, audience, purpose) of all words that this alert may need."""
    wanted = dict.fromkeys((r["channel"], r["audience"], r["purpose"]) for r in rules)
    if owed.ladder is not None and "voice" in house.ways:  # whoever stays silent is called, also where the plan begins in writing
        wanted |= dict.fromkeys([("voice", "post", str(Purpose.ALARM)), ("voice", "post", str(Purpose.ESCALATION))])
    if owed.disposition is not Disposition.RECORD and alert.msg_type in (MsgType.UPDATE, MsgType.CANCEL):
        wanted |= dict.fromkeys(_of_the_event(house, alert))
    return iter(wanted)


def _of_the_event(house: House, alert: Alert) -> Iterator[tuple[str, str, str]]:
    """Words for those whom the event reached before, by any channel that there is. By voice nobody is told that it is over."""
    for channel, way in house.ways.items():
        if channel == "voice":
            continue
        for audience in AUDIENCES.get(channel, ("post",)):
            yield channel, audience, str(Purpose.STAND_DOWN)
            if channel == "speaker" and way.capabilities.can_stop:
                yield channel, audience, str(Purpose.STOP)
            if not alert.is_stand_down:
                yield channel, audience, str(Purpose.ALARM)


@dataclass(frozen=True, slots=True)
class _Before:
    """The newest earlier alert of the event, for "from yellow to orange" and for a bare Cancel that names nothing."""

    event: str = ""
    level: Level | None = None


def _event(house: House, alert: Alert) -> tuple[str, _Before]:
    """The event that an alert belongs to, and how it stood before. A reference to any known alert of it will do."""
    references = [(one.identifier, one.sender) for one in alert.references if one.identifier != alert.identifier]
    with house.ledger.read() as tx:
        own = _key(alert, alert.identifier)
        key = alerts.event_of(tx, own, references, str(alert.status)) or _key(alert, alert.event_key)
        row = alerts.last_of_event(tx, key, int(alert.sent.timestamp() * 1000))
    return key, _Before(row.event, Level(row.level) if row.level else None) if row is not None else _Before()


def _key(alert: Alert, key: str) -> str:
    """A drill's events are its own: whatever it refers to, it never takes over a real one."""
    return key if alert.status is Status.ACTUAL else f"{alert.status}:{key}"


@dataclass(frozen=True, slots=True)
class Wording:
    """What all words of one alert have in common."""

    house: House
    alert: Alert
    coverage: Coverage
    regions: Regions
    owed: Owed
    before: _Before

    def compose(self, channel: str, audience: str, purpose: str, refers: str = "") -> Words:
        """The words for one channel, audience and purpose. Raises InvalidFiles for a broken template."""
        info, capabilities = self.alert.info, self.house.ways[channel].capabilities
        if channel == "feed":  # other systems get the warning itself, not words about it
            return wording.document(self.alert, audience, Purpose(purpose), area_sms=self._wants_area_sms())
        return wording.compose(
            self.alert,
            self.coverage,
            self.regions,
            channel=channel,
            audience=audience,
            purpose=Purpose(purpose),
            capabilities=capabilities,
            signature=self.house.county.signature,
            event=(info.event if info else "") or self.before.event,
            level=self.owed.level or self.before.level,
            refers=refers or self._earlier_colour(),
            hazard=self.owed.plan,
            link=0 if capabilities.one_text else links.length(self.house),
            templates=self.house.templates,
        )

    def _wants_area_sms(self) -> bool:
        """The operators' area SMS, which the upper level owns: wished for red and 立即转移 (ASSUMPTION)."""
        return self.owed.frozen.get("scale") == str(Level.RED) and not self.alert.is_stand_down

    def _earlier_colour(self) -> str:
        return str(self.before.level or "") if self.alert.msg_type is MsgType.UPDATE else ""


def word_rows(words: Iterable[Words]) -> list[Mapping[str, Any]]:
    """The columns of `wording`."""
    return [
        {
            "channel": w.channel,
            "audience": str(w.audience),
            "purpose": str(w.purpose),
            "language": w.language,
            "text": w.text,
            "units": w.units,
            "template": w.template,
            "notes": json.dumps(list(w.notes), ensure_ascii=False),
        }
        for w in words
    ]
