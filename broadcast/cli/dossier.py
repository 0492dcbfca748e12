"""`broadcast dossier`: 一事一档, the folder of an alert that the county archives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..dossier import Dossier, make
from ..dossier.files import Progress as Told
from . import saying
from .alerts import AlertArgument
from .opening import JsonOption, OperatorOption, UsageMistake, opened, prove


def dossier(
    ctx: typer.Context,
    alert: AlertArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make; it must not exist, or be empty.")],
    unmask: Annotated[
        bool, typer.Option("--unmask", help="Show the names of responsible persons; an operator says who they are, and why.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help='Why names are shown, e.g. --reason "县政府调查组调阅".')
    ] = "",
    operator: OperatorOption = "",
    json: JsonOption = False,
) -> None:
    """Writes 一事一档 of an alert: a PDF, the warning as received, every delivery, receipt and callout, and the means to verify.

    The same ledger makes the same bytes. Names are masked unless --unmask; numbers always are. Each export is an entry in the
    alert's chain. Whoever gets the folder checks it with `python verify.py`, without this software.

    \b
    broadcast dossier 3 archive/2023-07-05-rainstorm
    broadcast dossier 3 archive/with-names --unmask --reason "县政府调查组调阅" --operator 测试值班员
    """
    if unmask != bool(reason.strip()):
        raise UsageMistake("--unmask and --reason go together: names are shown for a reason, which the ledger keeps")
    with opened(ctx) as (_, gateway):
        by = prove(gateway, operator) if unmask or operator else None
        with _shown() as progress:
            made = make(gateway, alert, out, by=by, unmask=reason.strip(), progress=progress)
    if json:
        saying.as_json(made)
    else:
        _say(made)


def _say(made: Dossier) -> None:
    if made.running:
        saying.note("the alert is still running: what comes later is not in it")
    saying.note(f"SHA-256 of MANIFEST.json, for `python verify.py --manifest …`: {made.manifest}")
    saying.say(f"{made.folder}: {made.pages} pages, {made.entries:,} entries, head {made.head}")


@contextmanager
def _shown() -> Iterator[Told]:
    """A line with a bar for each long part, on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=saying.console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bars:
        tasks = {}

        def told(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=of)

        yield told
