"""`broadcast readiness`: what should be seen to before the next rain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ..gateway.readiness import Finding, Spot
from . import saying
from .opening import JsonOption, opened

_NAMED = 3  # of each finding; all of them are in --json


def readiness(
    ctx: typer.Context,
    region: Annotated[
        str, typer.Option("--region", metavar="CODE", help="A region and all below it, e.g. --region 330521115.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Says what is wanting before the next rain: posts, persons, numbers, contracts, loudspeakers.

    Vacant posts, posts without a deputy, persons who cannot be reached or called, persons in two villages, numbers that
    failed in the last three alerts, providers that are too slow for the red plan, silent loudspeakers. Answers 1 when
    something is red.

    \b
    broadcast readiness
    broadcast readiness --region 330521115 --json
    """
    with opened(ctx) as (_, gateway):
        found = gateway.readiness(region)
    if json:
        saying.as_json({"ok": found.ok, "findings": found.findings})
    else:
        heads = ("colour", "what", "where", "what to do")
        if found.findings:
            saying.show(saying.table(heads, [(one.colour, one.what, _where(one), one.do) for one in found.findings]))
        saying.say(_sum(found.findings))
    if not found.ok:
        raise typer.Exit(1)


def _where(one: Finding) -> str:
    named = "; ".join(map(_named, one.where[:_NAMED]))
    more = len(one.where) - _NAMED
    return f"{named}; and {more:,} more" if more > 0 else named


def _named(spot: Spot) -> str:
    return " ".join(filter(None, (spot.region_name, "、".join(spot.roles), spot.person)))


def _sum(findings: Sequence[Finding]) -> str:
    if not findings:
        return "ready: nothing is wanting"
    red = sum(one.colour == "red" for one in findings)
    return f"{red} red, {len(findings) - red} yellow" + ("; --json has all names" if findings else "")
