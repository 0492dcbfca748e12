"""The county's own files and people: roster, plans, regions, operators: checked, shown, put in force."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import InvalidFiles
from ..gateway import Gateway
from ..settings import Settings
from ..tiers import roster as rosters
from ..tiers.regions import Regions
from ..tiers.roster import Roster
from . import saying
from .opening import JsonOption, OperatorOption, UsageMistake, new_pin, opened, prove

_T = TypeVar("_T")
_SHOWN_CHANGES = 20
GRANTS = "DUTY_LEADER"  # whoever holds it decides who else may act

RosterArgument = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="people.csv, posts.csv, places.csv, residents.csv; default: HOME/roster.")
]
PlansArgument = Annotated[Path | None, typer.Argument(metavar="DIR", help="The plans' TOML files; default: HOME/plans.")]


# --- roster


def check_roster(ctx: typer.Context, folder: RosterArgument = None, json: JsonOption = False) -> None:
    """Reads a roster as an import would, and changes nothing.

    Tells every error and warning by file and line; answers 3 when there are errors.

    \b
    broadcast roster check
    broadcast roster check /media/usb/roster --json
    """
    with opened(ctx) as (settings, gateway):
        found = _checked(lambda: _read_roster(settings, gateway, folder), as_json=json)
    counts = _counts(found)
    if json:
        saying.as_json({"ok": True, **counts, "problems": found.problems})
        return
    _note_problems(found)
    saying.say("ok: " + ", ".join(f"{n} {what}" for what, n in counts.items()))


def import_roster(
    ctx: typer.Context,
    folder: RosterArgument = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts that have looked at the difference.")] = False,
    operator: OperatorOption = "",
) -> None:
    """Puts a roster in force, after showing what it changes.

    It replaces the one before as a whole; deliveries of the past keep their addresses.

    \b
    broadcast roster import --operator 测试值班员
    broadcast roster import /media/usb/roster --yes --operator 测试值班员
    """
    with opened(ctx) as (settings, gateway):
        by = prove(gateway, operator)
        found = _read_roster(settings, gateway, folder)
        _note_problems(found)
        _say_changes(gateway, found)
        _confirm(yes)
        put_roster(gateway, found, by.name)
    saying.say("in force: " + ", ".join(f"{n} {what}" for what, n in _counts(found).items()))


def look_up_accounts(
    ctx: typer.Context,
    folder: RosterArgument = None,
    operator: OperatorOption = "",
) -> None:
    """Fills in 浙政钉 accounts by phone number, ahead of time.

    Asks the zwdd peer about everybody in people.csv who has a phone and no account, and writes what it found into people.csv;
    the file as it was stays beside it as people.csv.before. Nothing is looked up while a warning waits. Then: roster import.

    \b
    broadcast roster accounts --operator 测试值班员
    """
    with opened(ctx) as (settings, gateway):
        prove(gateway, operator)
        path = (folder or settings.home / "roster") / "people.csv"
        found = gateway.look_up_accounts(_read_roster(settings, gateway, folder).persons)
    if found:
        _fill_in(path, found)
    saying.say(f"{len(found)} accounts found" + ("; put them in force: broadcast roster import" if found else ""))


def _fill_in(path: Path, accounts: Mapping[str, str]) -> None:
    """people.csv with these accounts. Written beside it and then renamed: whole, or not at all."""
    before = path.read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(before.splitlines()))
    made = path.with_suffix(".csv.new")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "zwdd": row["zwdd"] or accounts.get(row["person_id"], "")} for row in rows)
    path.rename(path.with_suffix(".csv.before"))
    made.rename(path)


def put_roster(gateway: Gateway, found: Roster, who: str) -> None:
    """Imports a roster under a progress bar: at true size there are half a million residents."""
    with _bar("residents", found.resident_count) as advance:
        gateway.import_roster(found, who, advance)


def _read_roster(settings: Settings, gateway: Gateway, folder: Path | None) -> Roster:
    return rosters.read(folder or settings.home / "roster", gateway.house.books.regions, gateway.house.books.roles)


def _counts(found: Roster) -> dict[str, int]:
    return {
        "persons": len(found.persons), "posts": len(found.posts), "places": len(found.places), "residents": found.resident_count
    }  # fmt: skip


def _note_problems(found: Roster) -> None:
    for problem in found.problems:
        saying.note(problem)


def _say_changes(gateway: Gateway, found: Roster) -> None:
    old = gateway.roster()
    changes = rosters.diff((old.persons, old.posts, old.places), found)
    for what in ("person", "post", "place"):
        counted = [f"{changes.count(kind, what)} {kind}" for kind in ("added", "removed", "changed")]
        saying.say(f"{what}s: {', '.join(counted)}")
    for change in changes.changes[:_SHOWN_CHANGES]:
        saying.say(f"  {change.kind} {change.what} {change.text}")
    if (more := len(changes.changes) - _SHOWN_CHANGES) > 0:
        saying.say(f"  … and {more} more")
    saying.say(f"residents: {changes.residents} in all, replaced as a whole")


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageMistake("nobody can be asked here: look at the difference, then repeat with --yes")
    typer.confirm("Put this roster in force?", abort=True, err=True)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; nothing where nobody watches."""
    columns = (TextColumn(f"{what} {{task.percentage:>3.0f}}%"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=saying.console(stderr=True), disable=not (sys.stderr.isatty() and total)) as progress:
        task = progress.add_task(what, total=total or None)
        yield lambda done: progress.update(task, completed=min(done, total))  # places are told along with residents


# --- plans


def check_plans(ctx: typer.Context, folder: PlansArgument = None, json: JsonOption = False) -> None:
    """Reads plans as an import would, and changes nothing.

    Tells every problem by file and line; answers 3 when they are broken.

    \b
    broadcast plan check
    """
    with opened(ctx) as (settings, gateway):
        found = _checked(lambda: gateway.check_plans(_read_plans(settings, folder)), as_json=json)
    plans = [{"name": p.name, "title": p.title, "events": p.events} for p in found.plans.values()]
    if json:
        saying.as_json({"ok": True, "plans": plans, "problems": []})
        return
    rows = [(p.name, p.title, " ".join(p.events)) for p in found.plans.values()]
    saying.show(saying.table(("plan", "title", "events"), rows))
    saying.say(f"ok: {len(plans)} plans")


def import_plans(ctx: typer.Context, folder: PlansArgument = None, operator: OperatorOption = "") -> None:
    """Puts plans in force; broken ones are refused.

    The last good ones stay then. Warnings that went out keep their plan.

    \b
    broadcast plan import --operator 测试值班员
    """
    with opened(ctx) as (settings, gateway):
        by = prove(gateway, operator)
        changed = gateway.import_plans(_read_plans(settings, folder), by.name)
    saying.say("in force" if changed else "these plans were in force already")


def _read_plans(settings: Settings, folder: Path | None) -> dict[str, str]:
    if folder is None:
        return settings.read_plans()
    folders = settings.folders.model_copy(update={"plans": folder.resolve()})
    return replace(settings, folders=folders).read_plans()


# --- regions


def import_regions(ctx: typer.Context, operator: OperatorOption = "") -> None:
    """Puts the region tree and the roles in force.

    From HOME/regions and HOME/roles.csv; broken files are refused as a whole. Import the roster again afterwards when
    regions were split or renamed.

    \b
    broadcast regions import --operator 测试值班员
    """
    with opened(ctx) as (settings, gateway):
        who = prove(gateway, operator).name if gateway.operators() else "the first import"
        files = settings.read_regions()
        gateway.import_regions(files, settings.read_roles(), who)
    saying.say(f"in force: {len(Regions.load(files))} regions")


# --- operators


def add_operator(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The person's name, as it shall stand in the ledger.")],
    role: Annotated[
        list[str], typer.Option("--role", metavar="ROLE", help="A role of roles.csv, repeatable, e.g. --role DUTY_OFFICER.")
    ],
    operator: OperatorOption = "",
) -> None:
    """Adds a person who may act here, or gives one a new PIN.

    And new roles. Only a DUTY_LEADER may do that. The first operator needs nobody's leave, but must be a DUTY_LEADER. The
    PIN has 6 characters or more; it is asked for twice, or taken from BROADCAST_NEW_PIN, and is kept as a hash only.

    \b
    broadcast operator add 测试值班领导 --role DUTY_LEADER
    broadcast operator add 测试值班员 --role DUTY_OFFICER --operator 测试值班领导
    """
    with opened(ctx) as (_, gateway):
        first = not any(one["disabled"] is None for one in gateway.operators())
        by = None if first else prove(gateway, operator)
        gateway.add_operator(name, role, new_pin(name), by)
    saying.say(f"{name}: {', '.join(role)}")


def disable_operator(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whoever may act no more; what they did stays in the ledger.")],
    operator: OperatorOption = "",
) -> None:
    """Takes a person's leave to act here.

    Only a DUTY_LEADER may do that.

    \b
    broadcast operator disable 测试值班员 --operator 测试值班领导
    """
    with opened(ctx) as (_, gateway):
        gateway.disable_operator(name, prove(gateway, operator))
    saying.say(f"{name} may act no more")


def list_operators(ctx: typer.Context, json: JsonOption = False) -> None:
    """Lists who may act here, with which roles.

    \b
    broadcast operator list
    """
    with opened(ctx) as (_, gateway):
        rows = gateway.operators()
    if json:
        saying.as_json(rows)
        return
    shown = [(row["name"], " ".join(row["roles"]), "no" if row["disabled"] else "yes") for row in rows]
    saying.show(saying.table(("name", "roles", "may act"), shown))


# --- checks


def _checked(read: Callable[[], _T], *, as_json: bool) -> _T:
    """What was read; with --json the problems are the answer too, so that a program can show them."""
    try:
        return read()
    except InvalidFiles as error:
        if not as_json:
            raise
        answer: dict[str, Any] = {"ok": False, "problems": [asdict(problem) for problem in error.problems]}
        saying.as_json(answer)
        raise typer.Exit(3) from None
