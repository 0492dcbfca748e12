"""Plan files as a county officer writes them → plans, or every problem in them by file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import PurePath
from typing import TypeVar

from ...alert import Level, Signal
from ...errors import InvalidFiles, Problem
from .callouts import PerRole, leads_back, read_ladder, read_night, read_per_role, read_quorum
from .ladder import Ladder
from .night import USUAL, Night
from .page import Page, Table
from .rules import TIERS, Audience, Doubt, Passage, Plan, Release, Section, Tell

_T = TypeVar("_T")

RELEASE_FILE = "release.toml"
_LEVELS = tuple(str(level) for level in Level)
_SIGNALS = tuple(str(signal) for signal in Signal if signal)
_RANKS = ("A", "B")
_NOT_POSTS = {"residents": Audience.RESIDENT, "places": Audience.PLACE}
_AUDIENCES = {"posts": Audience.POST, **_NOT_POSTS}
_CODE = re.compile(r"^(\d\d[0-9A-Z]\d\d|\*|\d{1,2}\*|\d\d[0-9A-Z]\d?\*)$")
_DUTY_TIERS = ("county", "town", "village")  # each must have somebody to tell when it is red

_PLAN_KEYS = {
    *("title", "extends", "events", "event_names", "risk", "expires_after", "level_if_unknown"),
    *("groups", "level", "signal", "superiors", "sideways", "night"),
}
_SECTION_KEYS = {"as", "in_doubt", "tell", "callout", "quorum"}
_TELL_KEYS = {"tier", "who", "ranks", "by", "within", "answer", "risk_first"}
_RELEASE_KEYS = {"approve_within", "approvers", "alone", "free", "review", "callout"}
_FREE_KEYS = {"sources", "levels", "channels", "to", "stand_down"}
_REVIEW_KEYS = {"sources", "levels", "channels", "to", "approvers"}


def read(files: Mapping[str, str], roles: frozenset[str], channels: frozenset[str]) -> tuple[dict[str, Plan], Release]:
    """The plans by name and the release table. Raises InvalidFiles with every problem found."""
    pages = [Page(name, text) for name, text in sorted(files.items()) if PurePath(name).name != RELEASE_FILE]
    drafts: dict[str, _Draft] = {}
    for page in pages:
        if (root := page.root()) is not None:
            drafts[PurePath(page.file).stem] = _draft(root, roles, channels)
    _check_events(drafts.values())
    plans = {name: _resolve(draft, drafts) for name, draft in drafts.items()}
    release_page, release = _release(files, roles, channels)
    problems = _sorted(p for page in [*pages, release_page] for p in page.problems)
    if pages and len(drafts) == len(pages) and not any("*" in draft.events for draft in drafts.values()):
        problems.append(Problem(pages[0].file, 0, "error", 'no default plan: one plan must say events = ["*"]'))
    if not pages:
        problems.append(Problem("plans", 0, "error", "no plan files: at least a default plan is needed"))
    complete = {name: plan for name, plan in plans.items() if plan is not None}
    if problems or release is None:
        raise InvalidFiles(problems)
    return complete, release


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line))


@dataclass(frozen=True, slots=True)
class _TellDraft:
    table: Table
    tell: Tell  # its roles with @groups still in


@dataclass(frozen=True, slots=True)
class _SectionDraft:
    table: Table
    like: str  # the level whose tells come first, "" for none
    doubt: Doubt | None
    tells: tuple[_TellDraft, ...]
    ladder: Ladder | None  # None, as with the quorum: not said here
    quorum: PerRole | None


@dataclass(frozen=True, slots=True)
class _Draft:
    """One file, before it takes over what it extends."""

    table: Table
    name: str
    title: str
    extends: str
    events: tuple[str, ...]
    event_names: tuple[str, ...]
    risk: tuple[str, ...] | None
    expires_after: int | None
    level_if_unknown: Level | None
    groups: Mapping[str, tuple[str, ...]]
    sections: Mapping[str, _SectionDraft]  # by level or signal
    superiors: PerRole
    sideways: PerRole
    night: Night | None


def _draft(root: Table, roles: frozenset[str], channels: frozenset[str]) -> _Draft:
    root.only(_PLAN_KEYS)
    unknown = root.choice("level_if_unknown", _LEVELS)
    groups = root.table("groups")
    return _Draft(
        table=root,
        name=PurePath(root.page.file).stem,
        title=root.text("title", required=True),
        extends=root.text("extends"),
        events=root.strings("events", required="event_names" not in root.data),
        event_names=root.strings("event_names"),
        risk=root.strings("risk") if "risk" in root.data else None,
        expires_after=root.seconds("expires_after"),
        level_if_unknown=Level(unknown) if unknown else None,
        groups={name: groups.strings(name, roles, "role") for name in groups.data},
        sections={
            name: _section(parent.table(name), roles, channels)
            for parent, known in ((root.table("level"), _LEVELS), (root.table("signal"), _SIGNALS))
            for name in _known(parent, known)
        },
        superiors=read_per_role(root.table("superiors"), roles),
        sideways=read_per_role(root.table("sideways"), roles),
        night=read_night(root, _LEVELS),
    )


def _known(table: Table, known: tuple[str, ...]) -> list[str]:
    for name in table.data:
        if name not in known:
            table.say(f"unknown {table.path} {name!r}; it must be one of {', '.join(known)}", name)
    return [name for name in table.data if name in known]


def _section(table: Table, roles: frozenset[str], channels: frozenset[str]) -> _SectionDraft:
    table.only(_SECTION_KEYS)
    like = table.choice("as", _LEVELS)
    doubt = table.choice("in_doubt", list(Doubt), required=not like)
    tells = [_tell(tell, roles, channels) for tell in table.tables("tell")]
    if not like and not tells:
        table.say(f"[{table.path}] tells nobody: add [[{table.path}.tell]] blocks, or as = another level")
    ladder, quorum = read_ladder(table), read_quorum(table, roles)
    return _SectionDraft(table, like, Doubt(doubt) if doubt else None, tuple(t for t in tells if t), ladder, quorum)


def _tell(table: Table, roles: frozenset[str], channels: frozenset[str]) -> _TellDraft | None:
    table.only(_TELL_KEYS)
    audience, who = _who(table, roles)
    tier = table.choice("tier", TIERS, required=True)
    by = table.strings("by", channels, "channel", required=True)
    within = table.seconds("within", required=True)
    answer = table.seconds("answer")
    ranks = table.strings("ranks", _RANKS, "rank") or _RANKS
    if audience is not Audience.POST and (answer or "ranks" in table.data):
        table.say("answer and ranks are for posts: residents and places hold no duty", "answer" if answer else "ranks")
    if not (tier and within):
        return None
    ranks = ranks if audience is Audience.POST else ()
    return _TellDraft(table, Tell(tier, audience, who, ranks, by, within, answer, table.flag("risk_first")))


def _who(table: Table, roles: frozenset[str]) -> tuple[Audience, tuple[str, ...]]:
    """A list of roles and @groups, or one of the words for those without a post."""
    who = table.data.get("who")
    if isinstance(who, str):
        if who not in _NOT_POSTS:
            table.say(f'who is {who!r}; it must be a list of roles, or "residents", or "places"', "who")
        return _NOT_POSTS.get(who, Audience.POST), ()
    names = table.strings("who", required=True)
    if "HOUSEHOLD" in names:
        table.say('households are told with who = "residents", in the bulk lane', "HOUSEHOLD")
    table.known([name for name in names if not name.startswith("@")], roles, "role")
    return Audience.POST, names


def _check_events(drafts: Iterable[_Draft]) -> None:
    seen: dict[str, str] = {}
    for draft in drafts:
        for event in (*draft.events, *draft.event_names):
            if event in seen:
                draft.table.say(f"{event!r} is already in {seen[event]}: an event belongs to one plan", event)
            seen.setdefault(event, draft.table.page.file)
        for code in draft.events:
            if not _CODE.match(code):
                draft.table.say(f"{code!r} is no event code: five characters as 11B03, or a beginning and * as 12D*", code)


def _resolve(draft: _Draft, drafts: Mapping[str, _Draft]) -> Plan | None:
    chain = _chain(draft, drafts)
    if chain is None:
        return None
    expires = _last(d.expires_after for d in chain)
    if expires is None:
        if not draft.extends and "expires_after" not in draft.table.data:
            draft.table.say('expires_after is missing: say when it is over where the sender does not, as "24h"')
        return None
    groups = _together(d.groups for d in chain)
    named = {name: _merged(name, chain, groups) for d in chain for name in d.sections}
    levels = {Level(name): section for name, section in named.items() if name in _LEVELS and section}
    signals = {Signal(name): section for name, section in named.items() if name in _SIGNALS and section}
    for level in _LEVELS:
        if level not in named and not draft.extends:  # said once, where the chain begins
            draft.table.say(f"level {level} is missing: add [level.{level}]")
    superiors = _together(d.superiors for d in chain)
    _check_red(draft, levels, signals)
    _check_answers(draft, levels, signals)
    if draft.superiors and (role := leads_back(superiors)):
        draft.table.table("superiors").say(f"{role} is in the end its own superior", role)
    return Plan(
        name=draft.name,
        title=draft.title,
        events=draft.events,
        event_names=draft.event_names,
        risk=frozenset(_last(d.risk for d in chain) or ()),
        expires_after=timedelta(seconds=expires),
        level_if_unknown=_last(d.level_if_unknown for d in chain),
        levels=levels,
        signals=signals,
        superiors=superiors,
        sideways=_together(d.sideways for d in chain),
        night=_last(d.night for d in chain) or USUAL,
    )


def _last(values: Iterable[_T | None]) -> _T | None:
    return next((value for value in reversed(list(values)) if value is not None), None)


def _together(parts: Iterable[PerRole]) -> dict[str, tuple[str, ...]]:
    """Name by name the last one that says something of it."""
    return {name: members for part in parts for name, members in part.items()}


def _chain(draft: _Draft, drafts: Mapping[str, _Draft]) -> list[_Draft] | None:
    """From the plan that extends nothing down to this one."""
    chain = [draft]
    while name := chain[0].extends:
        if name not in drafts:
            chain[0].table.say(f"extends {name!r}, but there is no usable {name}.toml", "extends")
            return None
        if any(drafts[name] is member for member in chain):
            chain[0].table.say(f"extends {name!r}, which in the end extends this plan again", "extends")
            return None
        chain.insert(0, drafts[name])
    return chain


def _merged(name: str, chain: list[_Draft], groups: Mapping[str, tuple[str, ...]]) -> Section | None:
    """A section with what its `as` takes over; None where that leads nowhere (which is then a problem).

    `as` names a level of this plan; a level's own name means that level in the plan that is extended. The callout comes from
    there even without `as`: a hazard that says anew whom a level tells must not lose how the silent ones are called.
    """
    drafts: list[_SectionDraft] = []
    depth = len(chain)
    while True:
        found = next((i for i in reversed(range(depth)) if name in chain[i].sections), None)
        if found is None:
            drafts[-1].table.say(f'as = "{name}", but there is no such level to take over', "as")
            return None
        section = chain[found].sections[name]
        if any(section is earlier for earlier in drafts):
            section.table.say(f'as = "{section.like}" leads back to [{section.table.path}]', "as")
            return None
        drafts.append(section)
        if not section.like:
            break
        depth = found if section.like == name else len(chain)
        name = section.like
    doubt = next((draft.doubt for draft in drafts if draft.doubt), Doubt.RESEND)
    tells = [_expanded(tell, groups) for draft in reversed(drafts) for tell in draft.tells]
    extended = [earlier.sections[name] for earlier in reversed(chain[:found]) if name in earlier.sections]
    return Section(
        doubt,
        tuple(tell for tell in tells if tell is not None),
        ladder=next((draft.ladder for draft in (*drafts, *extended) if draft.ladder), None),
        quorum=next((draft.quorum for draft in drafts if draft.quorum is not None), {}),
    )


def _expanded(draft: _TellDraft, groups: Mapping[str, tuple[str, ...]]) -> Tell | None:
    """Its groups written out; None when that leaves nobody, as with a group that only some hazards fill."""
    tell = draft.tell
    if tell.audience is not Audience.POST:
        return tell
    for name in tell.roles:
        if name.startswith("@") and name[1:] not in groups:
            draft.table.say(f"there is no group {name!r}; groups are: {', '.join(groups) or 'none'}", name)
    roles = [role for name in tell.roles for role in (groups.get(name[1:], ()) if name.startswith("@") else (name,))]
    return replace(tell, roles=tuple(dict.fromkeys(roles))) if roles else None


def _check_red(draft: _Draft, levels: Mapping[Level, Section], signals: Mapping[Signal, Section]) -> None:
    """Somebody answers for each tier when it is worst."""
    worst = {"level.red": levels.get(Level.RED), "signal.立即转移": signals.get(Signal.IMMEDIATE)}
    for path, section in worst.items():
        if section is None or not _changed(draft, path):
            continue
        told = {tell.tier for tell in section.tells if tell.audience is Audience.POST}
        for tier in _DUTY_TIERS:
            if tier not in told:
                Table(draft.table.page, {}, path, 0).say(f"nobody is owed at tier {tier} in [{path}]: name at least one role")


def _changed(draft: _Draft, path: str) -> bool:
    """True when this file has a part in what [path] says: else its mistakes have been said where they stand."""
    return bool(not draft.extends or draft.groups or path.partition(".")[2] in draft.sections)


def _check_answers(draft: _Draft, levels: Mapping[Level, Section], signals: Mapping[Signal, Section]) -> None:
    """Whoever owes an answer and stays silent is called, and a place can have answered at all."""
    for kind, sections in (("level", levels), ("signal", signals)):
        for name, section in sections.items():
            if _changed(draft, f"{kind}.{name}"):
                _check_answer(draft.table.page, f"{kind}.{name}", section)


def _check_answer(page: Page, path: str, section: Section) -> None:
    answering = [tell for tell in section.tells if tell.answer_within is not None]
    if answering and section.ladder is None:
        told = "an answer is owed, but nothing says how the silent ones are called"
        Table(page, {}, path, 0).say(f"[{path}]: {told}: add [{path}.callout]")
    for tier, required in section.quorum.items():
        owing = {role for tell in answering if tell.tier == tier for role in tell.roles}
        for role in required:
            if role not in owing:
                never = f"so no {tier} could ever have answered"
                Table(page, {}, f"{path}.quorum", 0).say(f"{role} owes no answer at tier {tier} in [{path}], {never}", role)


def _release(files: Mapping[str, str], roles: frozenset[str], channels: frozenset[str]) -> tuple[Page, Release | None]:
    name = next((name for name in files if PurePath(name).name == RELEASE_FILE), RELEASE_FILE)
    page = Page(name, files.get(name, ""))
    if name not in files:
        page.problems.append(Problem(name, 0, "error", "missing: it says who may go out without review, and who reviews"))
        return page, None
    root = page.root()
    if root is None:
        return page, None
    root.only(_RELEASE_KEYS)
    release = Release(
        approve_within=root.seconds("approve_within", required=True) or 0,
        approvers=root.strings("approvers", roles, "role", required=True),
        alone=frozenset(Level(level) for level in root.strings("alone", _LEVELS, "level")),
        free=tuple(_passage(table, _FREE_KEYS, roles, channels) for table in root.tables("free")),
        review=tuple(_passage(table, _REVIEW_KEYS, roles, channels) for table in root.tables("review")),
        ladder=read_ladder(root),
    )
    return page, release


def _passage(table: Table, keys: set[str], roles: frozenset[str], channels: frozenset[str]) -> Passage:
    table.only(keys)
    audiences = table.strings("to", _AUDIENCES, "audience") or tuple(_AUDIENCES)
    return Passage(
        sources=table.strings("sources", required=True),
        levels=frozenset(Level(level) for level in table.strings("levels", _LEVELS, "level", required=True)),
        channels=table.strings("channels", channels, "channel", required=True),
        audiences=frozenset(_AUDIENCES[audience] for audience in audiences),
        stand_down=table.flag("stand_down"),
        approvers=table.strings("approvers", roles, "role", required=True) if "approvers" in keys else (),
    )
