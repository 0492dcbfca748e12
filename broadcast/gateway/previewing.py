"""Before it is sent: who would hear it, by which way, in which words, how many calls, and how long that takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..alert import Alert
from ..ledger import Transaction, fanout, questions
from ..ledger.fanout import RuleLike
from .deciding import Draft, decide
from .house import House

ASSUMED_CALL_SECONDS = 0.2  # ASSUMPTION for a peer that has not been called yet


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


def preview(house: House, alert: Alert, source: str | None = None) -> Preview:
    """Decides as `submit` would and counts; writes and sends nothing."""
    draft = decide(house, alert, house.source_of(alert, source))
    regions = sorted(draft.coverage.regions)
    with house.ledger.read() as tx:
        rules = tuple(_rule(house, tx, draft, row, regions) for row in draft.rules if row["purpose"] == "alarm")
        posts = _posts(house, tx, draft, regions)
        seconds = _seconds(house, tx, rules)
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
        findings=draft.gaps + tuple(f.text for f in draft.coverage.findings),
        rules=rules,
        posts=posts,
        words=tuple((w.channel, str(w.audience), str(w.purpose), w.text, w.units) for w in draft.words),
        notes=tuple(note for w in draft.words for note in w.notes),
        seconds=seconds,
        deliveries=sum(r.deliveries for r in rules),
        calls=sum(r.calls for r in rules),
    )


def _like(row: dict[str, Any]) -> RuleLike:
    return RuleLike(row["selection"], row["channel"], row["audience"], row["roles"], row["ranks"])


def _inside(draft: Draft, row: dict[str, Any], regions: Sequence[str]) -> Sequence[str]:
    first = row["first"]
    return regions if first is None else [code for code in regions if (code in draft.owed.first_regions) == first]


def _rule(house: House, tx: Transaction, draft: Draft, row: dict[str, Any], regions: Sequence[str]) -> PreviewRule:
    count = fanout.count(tx, _like(row), _inside(draft, row, regions))
    per_call = house.far_ends[row["channel"]].capabilities.per_call
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


def _seconds(house: House, tx: Transaction, rules: tuple[PreviewRule, ...]) -> float:
    """Peers work side by side; each needs its calls' time over its concurrency, or its rate's, whichever is longer."""
    longest = 0.0
    for channel, far_end in house.far_ends.items():
        calls = sum(rule.calls for rule in rules if rule.channel == channel)
        if not calls:
            continue
        each = questions.usual_call_seconds(tx, far_end.peer.name, far_end.capabilities.per_call) or ASSUMED_CALL_SECONDS
        at_once = calls * each / far_end.peer.concurrency
        longest = max(longest, at_once, calls / far_end.peer.rate if far_end.peer.rate else 0.0)
    return longest
