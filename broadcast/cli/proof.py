"""The ledger as proof: `ledger verify`, `ledger anchor`, `ledger erase`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..gateway import Verdict
from . import saying
from .opening import JsonOption, OperatorOption, opened, prove


def verify(
    ctx: typer.Context,
    alert: Annotated[
        str, typer.Option("--alert", metavar="ALERT", help="Only the chain of this alert; number or identifier, e.g. --alert 3.")
    ] = "",
    anchor: Annotated[
        Path | None,
        typer.Option("--anchor", metavar="FILE", exists=True, dir_okay=False, help="An anchor that was kept outside this host."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Recomputes the ledger from its rows, and says where it was changed.

    Of each chain the first place is named: entry, table, row and column. Answers 1 when something does not hold. What a
    holder of the seal key cut off is found only by an anchor that had left the host before.
    What is proved by it, and against whom: docs/ledger.md.

    \b
    broadcast ledger verify
    broadcast ledger verify --alert 3 --json
    broadcast ledger verify --anchor anchor-k3f-000012.json
    """
    text = anchor.read_text(encoding="utf-8") if anchor else None
    with opened(ctx) as (_, gateway), _shown() as progress:
        task = progress.add_task("the ledger", total=None)
        found = gateway.verify(alert or None, text, lambda chain: progress.update(task, description=f"chain {chain}"))
    _say(found, as_json=json)
    if not found.holds:
        raise typer.Exit(1)


def _shown() -> Progress:
    """On a terminal only; the answer is all that a program wants."""
    out = saying.console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)


def _say(found: Verdict, *, as_json: bool) -> None:
    if as_json:
        saying.as_json({"holds": found.holds, "found": found})
        return
    for place in found.places:
        saying.say(f"{place.first}" + (f" (and {place.more} more)" if place.more else ""))
    looked = f"{found.chains} chains, {found.entries} entries, {found.rows} rows of evidence, {found.deliveries} deliveries"
    saying.say(f"{looked}: {'all of it holds' if found.holds else 'it does not hold'}")


def anchor(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write it, outside this host; else it is printed.")
    ] = None,
) -> None:
    """Makes an anchor by hand: the heads of all chains as they are now, to be kept outside this host.

    One is made every day, and when an alert is over; [anchor] in broadcast.toml says where they go. The anchor is JSON.

    \b
    broadcast ledger anchor --out /mnt/archive/anchor.json
    broadcast ledger anchor | mail -s anchor archive@county.example
    """
    with opened(ctx) as (_, gateway):
        text = gateway.anchor()
    if out is None:
        print(text)
        return
    out.write_text(text + "\n", encoding="utf-8")
    saying.note(f"written to {out}: keep it where nobody of this host can change it")


def erase(
    ctx: typer.Context,
    person: Annotated[str, typer.Argument(metavar="PERSON", help="The person_id of the roster that they stood in.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, e.g. their request and its date; it stands in the ledger.")],
    operator: OperatorOption = "",
    json: JsonOption = False,
) -> None:
    """Takes the numbers, the name and the words of a person out who has left the roster. It cannot be undone.

    Needs a DUTY_LEADER. What they were told, when and by which way stays, and the ledger verifies as before: in its digests
    stands a commitment to each number, never the number. Numbers that somebody else has too are kept. Refused while the person
    is in the roster in force, owes an answer, or is told of an alert in force. Copies of the database hold what they held.

    \b
    broadcast ledger erase V0017 --reason "request of 2024-03-01" --operator 测试值班领导
    """
    with opened(ctx) as (_, gateway):
        found = gateway.erase(person, reason, prove(gateway, operator))
    if json:
        saying.as_json(found)
        return
    kept = f"; {found.kept} numbers kept, as somebody else has them too" if found.kept else ""
    words = f"the words of {found.replies} replies and {found.answers} spot checks"
    saying.say(f"{found.person}: name, {found.addresses} numbers and {words} were erased{kept}")
