"""`broadcast callout`: who owes an answer, who is silent, what happens next, and what the duty desk heard by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Annotated

import typer

from ..gateway import Callout, Place
from ..tiers.regions import Regions
from . import saying
from .opening import JsonOption, OperatorOption, opened, prove

_BEIJING = timezone(timedelta(hours=8))
_HEADS = ("callout", "alert", "region", "name", "role", "person", "state", "asked", "calls", "owed by", "next", "answered")

AlertArgument = Annotated[str, typer.Argument(metavar="ALERT", help="Number or identifier of the alert, e.g. 3.")]
NumberArgument = Annotated[int, typer.Argument(metavar="CALLOUT", help="Its number, as `callout list` shows it, e.g. 17.")]


def status(ctx: typer.Context, alert: AlertArgument, json: JsonOption = False) -> None:
    """Shows by county, town and village who has answered, who is silent, and which step is next.

    Answers 1 while somebody who owes an answer is silent.

    \b
    broadcast callout status 3
    """
    with opened(ctx) as (_, gateway):
        number = gateway.find(alert)
        places, found = gateway.places(number), gateway.callouts(number)
        regions = gateway.house.books.regions
    if json:
        saying.as_json({"places": places, "callouts": found})
    else:
        heads = ("region", "name", "answered", "of", "has answered", "silent")
        saying.show(saying.table(heads, list(_tree(regions, places, found)), numbers=(2, 3)))
        saying.say(_sum(found))
    if any(one.state == "open" for one in found):
        raise typer.Exit(1)


def list_(
    ctx: typer.Context,
    alert: Annotated[str, typer.Option("--alert", metavar="ALERT", help="Of one alert only, e.g. --alert 3.")] = "",
    silent: Annotated[bool, typer.Option("--silent", help="Only who has not answered: the list 未叫醒.")] = False,
    json: JsonOption = False,
) -> None:
    """Lists callouts of all alerts in force: post, person (masked), how far it has come, what is next.

    \b
    broadcast callout list --silent
    """
    with opened(ctx) as (_, gateway):
        found = gateway.callouts(gateway.find(alert) if alert else None, silent=silent)
    if json:
        saying.as_json(found)
        return
    saying.show(saying.table(_HEADS, [_line(one) for one in found], numbers=(0, 1, 8)))
    saying.say(_sum(found))


def acknowledge(
    ctx: typer.Context,
    callout: NumberArgument,
    how: Annotated[str, typer.Option("--how", help='How it was heard, e.g. --how "敲门，本人开门".')],
    operator: OperatorOption = "",
) -> None:
    """Enters that this person has acknowledged, for what no machine heard: a call back, a knock on the door.

    \b
    broadcast callout ack 17 --how "敲门，本人开门" --operator 测试值班员
    """
    _enter(ctx, callout, operator, "acknowledged", how)


def measures(
    ctx: typer.Context,
    callout: NumberArgument,
    said: Annotated[str, typer.Option("--said", help='What was done, e.g. --said "已转移12户31人".')],
    operator: OperatorOption = "",
) -> None:
    """Enters what this person reports to have done: the second closure (闭环反馈).

    \b
    broadcast callout measures 17 --said "已转移12户31人" --operator 测试值班员
    """
    _enter(ctx, callout, operator, "measures", said)


def _enter(ctx: typer.Context, number: int, operator: str, verb: str, said: str) -> None:
    with opened(ctx) as (_, gateway):
        by = prove(gateway, operator)
        settled = gateway.enter_answer(number, by, verb, said)
    saying.say(f"entered; {settled} duties are answered by it" if settled else "entered; nothing of theirs was open")


def _tree(regions: Regions, places: Sequence[Place], found: Sequence[Callout]) -> Iterable[tuple[object, ...]]:
    """The county, each town, and under it its villages; a region above others counts those below it too."""
    silent: dict[str, list[str]] = {}
    for one in found:
        if one.state == "open" and one.duty == "acknowledge":
            silent.setdefault(one.region, []).append(f"{one.role}（{_next(one)}）")
    by_region = {place.region: place for place in places}
    above = {code for region in by_region if region in regions for code in regions.above(region)}
    for code in sorted(by_region.keys() | above):
        below = [place for region, place in by_region.items() if region == code or region.startswith(code)]
        place = by_region.get(code)
        name = regions[code].name if code in regions else code
        yield (
            code, ("  " * (len(regions.above(code)) if code in regions else 0)) + name,
            sum(one.answered for one in below), sum(one.owed for one in below),
            "" if place is None else "yes" if place.has_answered else "no", "、".join(silent.get(code, ())),
        )  # fmt: skip


def _line(one: Callout) -> tuple[object, ...]:
    state = one.state if one.duty == "acknowledge" else f"{one.state} ({one.duty})"
    answer = f"{_when(one.answered)} {one.how} {one.answered_by}".strip() if one.answered else ""
    return (
        one.number, one.alert_id, one.region, one.region_name, one.role, one.person, state, one.rung, one.calls, _when(one.due),
        _next(one), answer,
    )  # fmt: skip


def _next(one: Callout) -> str:
    if one.state != "open":
        return ""
    return f"{one.rung} {_when(one.next_step)}" if one.next_step else "knock on the door"


def _when(moment: datetime | None) -> str:
    return f"{moment.astimezone(_BEIJING):%H:%M:%S}" if moment else ""


def _sum(found: Sequence[Callout]) -> str:
    owed = [one for one in found if one.duty == "acknowledge"]
    door = sum(one.state == "open" and one.next_step is None for one in owed)
    answered = sum(one.state == "answered" for one in owed)
    measures = sum(one.state == "open" and one.duty == "measures" for one in found)
    return f"{answered:,} of {len(owed):,} posts have acknowledged, {door:,} are on the list 未叫醒, {measures:,} owe measures"
