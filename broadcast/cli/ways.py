"""The ways out as they are: `channels`, what each protocol can do, and `speakers`, how the county's loudspeakers stand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Annotated

import typer

from ..channels import feature_matrix
from ..gateway import Speaker
from . import saying
from .opening import JsonOption, opened

_BEIJING = timezone(timedelta(hours=8))
_HEADS = ("region", "village", "system", "stands", "heard from", "last alarm", "became", "remark")


def channels() -> None:
    """Prints what each protocol can do, as the table in docs/how-it-works.md.

    \b
    broadcast channels
    """
    saying.say(feature_matrix().rstrip("\n"))


def speakers(
    ctx: typer.Context,
    region: Annotated[
        str, typer.Option("--region", metavar="CODE", help="A region and all below it, e.g. --region 330521115.")
    ] = "",
    silent: Annotated[bool, typer.Option("--silent", help="Only systems that were not heard from for a day.")] = False,
    json: JsonOption = False,
) -> None:
    """Shows how the loudspeaker systems stand: the platforms first, then village by village.

    "stands" is what the platform says of a system (online, playing, fault, offline), "became" what is known of the last alarm
    sent to it. Answers 1 when a system is in fault or offline.

    \b
    broadcast speakers --region 330521115
    broadcast speakers --silent --json
    """
    with opened(ctx) as (_, gateway):
        found = [one for one in gateway.speakers(region) if one.silent or not silent]
    if json:
        saying.as_json(found)
    else:
        saying.show(saying.table(_HEADS, [_line(one) for one in found]))
        saying.say(_sum(found))
    if any(one.standing in ("fault", "offline") for one in found):
        raise typer.Exit(1)


def _line(one: Speaker) -> tuple[object, ...]:
    alarm = f"{one.alert_id} {one.headline}" if one.alert_id is not None else ""
    standing = one.standing or "never heard from"
    remark = one.detail or one.reason
    return one.region or "platform", one.region_name, one.system, standing, _when(one.heard), alarm, one.state, remark


def _when(moment: datetime | None) -> str:
    return f"{moment.astimezone(_BEIJING):%m-%d %H:%M:%S}" if moment else ""


def _sum(found: Sequence[Speaker]) -> str:
    systems = [one for one in found if one.region]
    silent = sum(one.silent for one in systems)
    bad = sum(one.standing in ("fault", "offline") for one in systems)
    return f"{len(systems)} systems, {bad} in fault or offline, {silent} not heard from for a day"
