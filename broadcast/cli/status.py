"""`broadcast status`: what became of warnings, once or as it happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from ..delivery import REACHED
from ..gateway import Gateway, Status
from ..tiers.regions import Regions, Tier
from . import saying
from .figures import Figures, add, figures, of_progress
from .opening import JsonOption, UsageMistake, opened

_LOOK_EVERY = 0.3  # seconds
_VILLAGES_NAMED = 5
_UNDECIDED = ("waiting", "undecided")
_REACHED = frozenset(str(state) for state in REACHED)


def status(
    ctx: typer.Context,
    alert: Annotated[
        str, typer.Argument(metavar="ALERT", help="Number or identifier of an alert, e.g. 3. Without: the newest alerts.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Show it as it changes, until it is settled or Ctrl-C.")] = False,
    words: Annotated[bool, typer.Option("--words", help="Also the words that are sent, as they were frozen.")] = False,
    regions: Annotated[bool, typer.Option("--regions", help="By town and village instead: which of them miss some.")] = False,
    event: Annotated[
        bool, typer.Option("--event", help="All alerts of the same event together: its Alert, Updates and Cancel.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many alerts the list shows, e.g. --limit 10.")] = 20,
    json: JsonOption = False,
) -> None:
    """What became of the alerts, and what waits for whom.

    By tier, channel and state; or by town and village.

    \b
    broadcast status               the newest alerts
    broadcast status 3 --watch     one of them, as it goes out
    broadcast status 3 --regions --event
    """
    with opened(ctx) as (_, gateway):
        if not alert:
            _refuse_without_alert(watch or words or regions or event)
            _list(gateway, limit, as_json=json)
            return
        if watch and not json:
            follow(gateway, alert)
        found = _of_event(gateway, alert) if event else [gateway.status(alert)]
        if json:
            saying.as_json(_as_json(gateway, found, words=words, regions=regions))
            return
        saying.show(*_pages(gateway, found, regions=regions))
        if words:
            _say_words(gateway, found)
        _say_answers(gateway, found)
        _say_end(found)


def _say_answers(gateway: Gateway, found: Sequence[Status]) -> None:
    """Reached is not acknowledged: how many posts have answered of those that owe it."""
    for one in found:
        answers = gateway.answers(one.alert_id)
        if owing := sum(answers.duties.values()):
            line = f"alert {one.alert_id}: {answers.duties.get('answered', 0):,} of {owing:,} posts have acknowledged"
            if door := answers.at_the_door:
                counts = f"{door.get('without_phone', 0):,} without a phone, {door.get('vulnerable', 0):,} 特殊人群"
                line += f"; {door.get('households', 0):,} households told at the door ({counts})"
            saying.say(line)
        if villages := gateway.unreached_villages(one.alert_id):
            named = "、".join(villages[:_VILLAGES_NAMED]) + (" …" if len(villages) > _VILLAGES_NAMED else "")
            text = f"{len(villages):,} villages reached by nobody within the plan's time ({named})"
            saying.say(f"alert {one.alert_id}: {text}: broadcast coverage {one.alert_id}")


def follow(gateway: Gateway, alert: int | str, seconds: float = float("inf")) -> bool:
    """Shows an alert going out, on stderr, until all of it is settled; False when the time ran out first."""
    until = time.monotonic() + seconds
    looks = _looks(gateway, alert, until)
    if sys.stderr.isatty():
        with Live(console=saying.console(stderr=True), auto_refresh=False, transient=True) as live:
            for now in looks:
                live.update(Group(of_progress(now.progress).line(), _progress_table(now)), refresh=True)
    else:
        before = ""
        for now in looks:
            line = f"alert {now.alert_id} is {now.state}: {of_progress(now.progress).line()}"
            if line != before:
                saying.note(line)
            before = line
    return is_done(gateway.status(alert))


def _looks(gateway: Gateway, alert: int | str, until: float) -> Iterator[Status]:
    while True:
        now = gateway.status(alert)
        yield now
        if is_done(now) or time.monotonic() >= until:
            return
        time.sleep(min(_LOOK_EVERY, max(0.0, until - time.monotonic())))


def is_done(now: Status) -> bool:
    """True when nothing is owed, under way, or waiting for a person."""
    return now.settled and not now.held and now.state not in _UNDECIDED


def say_where_it_stands(gateway: Gateway, now: Status) -> None:
    """One alert as tables on stdout, with what waits for whom."""
    saying.show(*_pages(gateway, [now], regions=False))
    _say_end([now])


# --- one alert or one event


def _refuse_without_alert(asked: bool) -> None:
    if asked:
        raise UsageMistake("--watch, --words, --regions and --event are about one alert: broadcast status ALERT …")


def _of_event(gateway: Gateway, alert: str) -> list[Status]:
    return gateway.event(alert)


def _pages(gateway: Gateway, found: Sequence[Status], *, regions: bool) -> Iterator[Table]:
    if regions:
        yield _region_table(gateway.house.books.regions, _by_region(gateway, found))
        return
    for one in found:
        yield _progress_table(one)


def _say_end(found: Sequence[Status]) -> None:
    """What waits for whom, and the one line that matters."""
    for one in found:
        if roles := one.waits_for:
            until = f" until {one.approve_by.astimezone():%Y-%m-%d %H:%M:%S}" if one.approve_by else ""
            saying.say(f"alert {one.alert_id} waits for {' or '.join(roles)}{until}: broadcast approve {one.alert_id}")
        if one.to_review:
            saying.say(f"alert {one.alert_id} was released by {one.released_by} alone: broadcast review {one.alert_id}")
    saying.say(of_progress(way for one in found for way in one.progress).line())


def _progress_table(one: Status) -> Table:
    title = f"{one.alert_id} {one.headline or one.event} · {one.msg_type} {one.level} · {one.state}"
    if one.reason:
        title += f" ({one.reason})"
    heads = ("tier", "channel", "what", *_FIGURE_HEADS)
    rows = [(way.tier, way.channel, way.purpose, *_cells(figures(way.states))) for way in one.progress]
    return saying.table(heads, rows, title=title, numbers=range(3, len(heads)))


_FIGURE_HEADS = ("owed", "reached", "pending", "doubt", "refused", "withdrawn")


def _cells(of: Figures) -> tuple[int, ...]:
    return of.owed, of.reached, of.on_the_way, of.in_doubt, of.refused, of.withdrawn


def _say_words(gateway: Gateway, found: Iterable[Status]) -> None:
    for one in found:
        for words in gateway.words(one.alert_id):
            saying.say(f"[{one.alert_id} {words['channel']} {words['audience']} {words['purpose']}, {words['units']} units]")
            saying.say(words["text"])


def _as_json(gateway: Gateway, found: Sequence[Status], *, words: bool, regions: bool) -> Any:
    answers = []
    for one in found:
        total = of_progress(one.progress)
        more: dict[str, Any] = {"total": _total(total), "answers": gateway.answers(one.alert_id)}
        more["villages_unreached"] = gateway.unreached_villages(one.alert_id)
        if words:
            more["words"] = gateway.words(one.alert_id)
        if regions:
            more["regions"] = gateway.by_region(one.alert_id)
        answers.append(asdict(one) | more)
    return answers[0] if len(answers) == 1 else answers


def _total(of: Figures) -> dict[str, int]:
    return asdict(of) | {"not_reached": of.not_reached}


# --- by town and village


def _by_region(gateway: Gateway, found: Iterable[Status]) -> dict[str, dict[str, int]]:
    total: dict[str, dict[str, int]] = {}
    for one in found:
        for region, states in gateway.by_region(one.alert_id).items():
            total[region] = add([total.get(region, {}), states])
    return total


def _region_table(tree: Regions, counted: Mapping[str, Mapping[str, int]]) -> Table:
    """One line for the county itself and for each town with its villages; villages that miss some are named."""
    heads = ("code", "county or town", "owed", "reached", "not reached", "villages that miss some")
    return saying.table(heads, list(_region_rows(tree, counted)), title="by town and village", numbers=(2, 3, 4))


def _region_rows(tree: Regions, counted: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[object, ...]]:
    groups: dict[str, list[str]] = {}
    for code in sorted(counted):
        town = tree.town_of(code) if code in tree else None
        groups.setdefault(town.code if town else code, []).append(code)
    for head, codes in groups.items():
        of = figures(add(counted[code] for code in codes))
        missing = [
            f"{tree[code].name}({n})"
            for code in codes
            if code in tree and tree[code].tier is not Tier.TOWN and code != head and (n := figures(counted[code]).not_reached)
        ]
        name = tree[head].name if head in tree else head
        yield head, name, of.owed, of.reached, of.not_reached, " ".join(missing)


# --- the list


def _list(gateway: Gateway, limit: int, *, as_json: bool) -> None:
    found = gateway.alerts(limit)
    if as_json:
        saying.as_json(found)
        return
    if not found:
        saying.say("no alerts yet: broadcast send FILE")
        return
    heads = ("alert", "type", "status", "event", "level", "state", "owed", "reached", "not reached", "waits for", "headline")
    saying.show(saying.table(heads, [_line(one) for one in found], numbers=(0, 6, 7, 8)))


def _line(one: Status) -> tuple[object, ...]:
    of = of_progress(one.progress)
    waits = "/".join(one.waits_for) or ("review" if one.to_review else "")
    return (
        one.alert_id, one.msg_type, one.status, one.event, one.level, one.state, of.owed, of.reached, of.not_reached, waits,
        one.headline,
    )  # fmt: skip
