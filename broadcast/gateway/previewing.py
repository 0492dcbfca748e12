"""Before it is sent: who would hear it, by which way, in which words, how many calls, and how long that takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..alert import Alert, Level
from ..ledger import Transaction, fanout
from ..ledger.fanout import RuleLike
from .capacity import Capacity, Wave, capacity, pace_of
from .deciding import Draft, decide
from .house import House
from .ways import FarEnd


@dataclass(frozen=True, slots=True)
class PreviewRule:
    """One way out: whom, how many deliveries, how many provider calls, what it waits for."""

    tier: str
    channel: str
    audience: str
    roles: tuple[str, ...]
    risk_first: bool | None
    deliveries: int
    calls: int
    within: int
    approvers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreviewPost:
    """One post that would be told; names are personal data and stay sealed."""

    region: str
    region_name: str
    role: str
    rank: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What `submit` would do now. Deliveries are counted before one number with two duties is told once."""

    identifier: str
    plan: str
    level: str
    disposition: str
    reason: str
    source: str
    approvers: tuple[str, ...]
    roots: tuple[str, ...]
    root_names: tuple[str, ...]
    findings: tuple[str, ...]
    rules: tuple[PreviewRule, ...]
    posts: tuple[PreviewPost, ...]
    words: tuple[tuple[str, str, str, str, int], ...]  # channel, audience, purpose, text, units
    notes: tuple[str, ...]
    seconds: float  # predicted time to the last delivery handed over
    deliveries: int
    calls: int
    capacity: Capacity | None  # where the plan calls whoever owes an answer


def preview(house: House, alert: Alert, source: str | None = None) -> Preview:
    """Decides as `submit` would and counts; writes and sends nothing."""
    draft = decide(house, alert, house.source_of(alert, source))
    regions = sorted(draft.coverage.regions)
    with house.ledger.read() as tx:
        rules = tuple(_rule(house, tx, draft, row, regions) for row in draft.rules if row["purpose"] == "alarm")
        posts = _posts(house, tx, draft, regions)
        calling = _capacity(house, tx, draft, regions)
        seconds = max((one.seconds for one in _ways(house, tx, draft, rules, regions)), default=0.0)
    tree = house.books.regions
    return Preview(
        identifier=alert.identifier,
        plan=draft.owed.plan,
        level=draft.level,
        disposition=str(draft.owed.disposition),
        reason=draft.owed.reason,
        source=draft.source.name,
        approvers=tuple(draft.owed.approvers),
        roots=tuple(draft.coverage.roots),
        root_names=tuple(tree[code].name for code in draft.coverage.roots),
        findings=draft.gaps + _nobody_calls(house, draft) + tuple(f.text for f in draft.coverage.findings),
        rules=rules,
        posts=posts,
        words=tuple((w.channel, str(w.audience), str(w.purpose), w.text, w.units) for w in draft.words),
        notes=tuple(note for w in draft.words for note in w.notes),
        seconds=seconds,
        deliveries=sum(r.deliveries for r in rules),
        calls=sum(r.calls for r in rules),
        capacity=calling,
    )


def _like(row: dict[str, Any]) -> RuleLike:
    return RuleLike(row["selection"], row["channel"], row["audience"], row["roles"], row["ranks"])


def _inside(draft: Draft, row: dict[str, Any], regions: Sequence[str]) -> Sequence[str]:
    first = row["first"]
    return regions if first is None else [code for code in regions if (code in draft.owed.first_regions) == first]


def _rule(house: House, tx: Transaction, draft: Draft, row: dict[str, Any], regions: Sequence[str]) -> PreviewRule:
    count = fanout.count(tx, _like(row), _inside(draft, row, regions))
    per_call = _first_choice(house, draft, row["channel"]).capabilities.per_call
    # Batches are never shared between rules, and one call is never shared between batches.
    size = min(per_call, row["batch_size"])
    return PreviewRule(
        row["tier"],
        row["channel"],
        row["audience"],
        tuple(json.loads(row["roles"])),
        row["first"],
        count,
        -(-count // size),
        row["within"],
        tuple(json.loads(row["approvers"])),
    )


def _posts(house: House, tx: Transaction, draft: Draft, regions: Sequence[str]) -> tuple[PreviewPost, ...]:
    tree = house.books.regions
    found: dict[int, PreviewPost] = {}
    for row in draft.rules:
        if row["selection"] != "posts":
            continue
        for post in fanout.holders(tx, _like(row), _inside(draft, row, regions)):
            channels = (*(found[post.id].channels if post.id in found else ()), row["channel"])
            found[post.id] = PreviewPost(
                post.region, tree[post.region].name, post.role, post.rank, tuple(dict.fromkeys(channels))
            )
    return tuple(sorted(found.values(), key=lambda p: (p.region, p.role, p.rank)))


@dataclass(frozen=True, slots=True)
class _Way:
    """One channel: how many calls, and the seconds until its last delivery has been handed over."""

    channel: str
    calls: int
    seconds: float


def _first_choice(house: House, draft: Draft, channel: str) -> FarEnd:
    return house.ways[channel].in_order(str(draft.owed.frozen.get("scale") or ""))[0]


def _ways(house: House, tx: Transaction, draft: Draft, rules: tuple[PreviewRule, ...], regions: Sequence[str]) -> Iterator[_Way]:
    """Channels work side by side; each needs its calls' time over its concurrency, or its provider's limits', if longer."""
    for channel in dict.fromkeys(rule.channel for rule in rules):
        far_end = _first_choice(house, draft, channel)
        calls = _calls(tx, draft, far_end, [rule for rule in rules if rule.channel == channel], regions)
        if calls:
            yield _Way(channel, calls, pace_of(tx, far_end).seconds(calls))


def _calls(tx: Transaction, draft: Draft, far_end: FarEnd, rules: Sequence[PreviewRule], regions: Sequence[str]) -> int:
    """One number with two duties is called once: where a call is for few, the numbers are counted, not the posts."""
    can = far_end.capabilities
    if rules[0].audience != "post" or (can.per_call > 1 and not can.gap_seconds):
        return sum(rule.calls for rule in rules)
    rows = [row for row in draft.rules if row["channel"] == rules[0].channel and row["purpose"] == "alarm"]
    told: set[int] = set()
    for row in rows:
        told |= fanout.addresses(tx, _like(row), _inside(draft, row, regions))
    return -(-len(told) // can.per_call)


# ── capacity: calling whoever owes an answer ──


def _nobody_calls(house: House, draft: Draft) -> tuple[str, ...]:
    """A plan that begins in writing owes no voice at first, so that nothing else would say that its ladder has no way out."""
    owes = any(rule.answer_within is not None for rule in draft.owed.rules)
    said = any(rule.channel == "voice" for rule in draft.owed.rules)
    missing = draft.owed.ladder is not None and owes and not said and "voice" not in house.ways
    return ("no peer is configured for channel voice: whoever stays silent is not called",) if missing else ()


def _capacity(house: House, tx: Transaction, draft: Draft, regions: Sequence[str]) -> Capacity | None:
    ladder = draft.owed.ladder
    if ladder is None or "voice" not in house.ways:
        return None
    far_end = _first_choice(house, draft, "voice")
    return capacity(
        far_end,
        pace_of(tx, far_end),
        ladder,
        _waves(tx, draft, regions),
        within=min((row["within"] for row in draft.rules if row["channel"] == "voice"), default=None),
        urgent=draft.owed.frozen.get("scale") == str(Level.RED),
    )


def _waves(tx: Transaction, draft: Draft, regions: Sequence[str]) -> Iterator[Wave]:
    """Whom the plan calls, and whoever else owes an answer: in the order of its rules, places at risk first."""
    seen: set[tuple[str, str, str, bool | None]] = set()
    for row in draft.rules:
        key = (row["tier"], row["roles"], row["ranks"], row["first"])
        calls = row["channel"] == "voice" or row["answer_within"] is not None
        if row["selection"] != "posts" or not calls or key in seen:
            continue
        seen.add(key)
        numbers = fanout.addresses(tx, replace(_like(row), channel="voice"), _inside(draft, row, regions))
        yield Wave(row["tier"], row["first"], frozenset(numbers))
