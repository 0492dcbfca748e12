"""Questions about what happened and how the gateway is: `ledger deliveries` and `health`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

import typer

from ..channels import CHANNELS
from ..delivery import State
from ..gateway import Health
from . import saying
from .opening import JsonOption, UsageMistake, opened

_BEIJING = timezone(timedelta(hours=8))
_COLUMNS = ("delivery", "alert_id", "tier", "channel", "purpose", "region", "address", "state", "reason", "attempt", "started")


def deliveries(
    ctx: typer.Context,
    alert: Annotated[str, typer.Option("--alert", metavar="ALERT", help="Number or identifier, e.g. --alert 3.")] = "",
    region: Annotated[
        str, typer.Option("--region", metavar="CODE", help="A region and all below it, e.g. --region 330521115.")
    ] = "",
    channel: Annotated[str, typer.Option("--channel", help=f"One of {', '.join(CHANNELS)}.")] = "",
    state: Annotated[State | None, typer.Option("--state", help="One state, e.g. --state rejected.")] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help='Tried since then, e.g. "2023-07-05 05:00" (Beijing time).')
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many at most; 0 = all.")] = 200,
    json: JsonOption = False,
) -> None:
    """Lists deliveries with their state; addresses are masked.

    They come in the order in which they were planned.

    \b
    broadcast ledger deliveries --alert 3 --region 330521115 --state rejected
    broadcast ledger deliveries --since "2023-07-05 05:00" --limit 0 --json > deliveries.json
    """
    with opened(ctx) as (_, gateway):
        rows = gateway.ledger.deliveries(
            alert_id=gateway.find(alert) if alert else None, region=region or None, channel=channel or None,
            state=str(state) if state else None, since=_moment(since) if since else None, limit=limit or None,
        )  # fmt: skip
        if json:
            _write_array(rows)
            return
        shown = [tuple("" if row[column] is None else row[column] for column in _COLUMNS) for row in rows]
    saying.show(saying.table(_COLUMNS, shown))
    saying.note(f"{len(shown)} deliveries" + (f"; --limit {limit} may hide more" if len(shown) == limit else ""))


def migrate(ctx: typer.Context) -> None:
    """Brings the ledger's tables to this version's.

    `broadcast init` does it for a new home; after an upgrade run it once, before `broadcast up`. What is up to date stays.

    \b
    broadcast ledger migrate
    """
    with opened(ctx) as (_, gateway):
        gateway.ledger.migrate()
    saying.say("the ledger's tables are of this version")


def health(
    ctx: typer.Context,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="Wait at most this long until nothing is red.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Says whether the gateway is fit to carry a warning now.

    Answers 1 when something is red, and says what to do about it.

    \b
    broadcast health
    broadcast health --wait 30 && broadcast send warning.xml --operator 测试值班员
    """
    until = time.monotonic() + wait
    with opened(ctx) as (settings, gateway):
        found = gateway.health(settings.files)
        while not found.ok and time.monotonic() < until:
            time.sleep(0.2)
            found = gateway.health(settings.files)
    _say_health(found, as_json=json)
    if not found.ok:
        raise typer.Exit(1)


def _say_health(found: Health, *, as_json: bool) -> None:
    if as_json:
        saying.as_json({"ok": found.ok, "checks": found.checks})
        return
    saying.show(saying.table(("check", "colour", "what was seen"), [(c.name, c.colour, c.text) for c in found.checks]))


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageMistake(f'--since {text!r} is no time: write it as "2023-07-05 05:00"') from None
    return found if found.tzinfo else found.replace(tzinfo=_BEIJING)


def _write_array(rows: Iterator[Mapping[str, Any]]) -> None:
    """One JSON array, a line for each delivery, written as it is read: it may be half a million."""
    before = "["
    for row in rows:
        print(before, saying.to_json(row), sep="", end="")
        before = ",\n "
    print("[]" if before == "[" else "]")
