"""How the gateway is: `health`; and `ledger migrate`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ..gateway import Health
from . import saying
from .opening import JsonOption, opened


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
