"""The command line. Every command is a few lines over the library; this file lists them and says what a failure means."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import BroadcastError, ChannelError, InvalidFiles, LedgerUnavailable, NotFound, Refused
from . import (
    alerts,
    audit,
    auditors,
    callouts,
    county,
    coverage,
    demo,
    dossier,
    making,
    proof,
    readiness,
    running,
    spotcheck,
    status,
    storm,
    ways,
)
from .opening import UsageMistake
from .saying import clean, note

NO, USAGE, REFUSED, UNAVAILABLE, OURS, INTERRUPTED = 1, 2, 3, 4, 70, 130

_EXIT: tuple[tuple[type[Exception], int], ...] = (
    (UsageMistake, USAGE),
    (Refused, REFUSED),
    (NotFound, NO),
    (LedgerUnavailable, UNAVAILABLE),
    (ChannelError, UNAVAILABLE),
    (BroadcastError, UNAVAILABLE),  # the seal key
    (OSError, UNAVAILABLE),  # disk, port, permission
    (Exception, OURS),
)

_HELP = """Emergency alerts for a county: one warning in, every post and household that it concerns is told, and the ledger
proves it.

Exit codes: 0 yes, 1 the answer is no, 2 usage, 3 refused input, 4 unavailable.

\b
broadcast demo                                    all of it in a minute, on this machine
broadcast init county --example deqing            a home to try things in
broadcast --home county up                        run it
broadcast --home county send warning.xml --source deqing-met
"""

app = typer.Typer(
    name="broadcast", help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)  # fmt: skip


@app.callback()
def options(
    ctx: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home", envvar="BROADCAST_HOME", metavar="DIR", help="The folder with broadcast.toml. Default: the current one."
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error of ours, to report it.")] = False,  # noqa: ARG001 - read before Typer runs
) -> None:
    """The options that stand before the command."""
    ctx.obj = home


def _group(name: str, text: str, above: typer.Typer = app) -> typer.Typer:
    group = typer.Typer(name=name, help=text, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    above.add_typer(group)
    return group


app.command("init")(making.init)
app.command("demo")(demo.demo)
app.command("send")(alerts.send)
app.command("preview")(alerts.preview)
app.command("approve")(alerts.approve)
app.command("review")(alerts.review)
app.command("cancel")(alerts.cancel)
app.command("status")(status.status)
app.command("coverage")(coverage.coverage)
app.command("dossier")(dossier.dossier)
app.command("test")(alerts.send_test)
app.command("health")(audit.health)
app.command("readiness")(readiness.readiness)
app.command("speakers")(ways.speakers)
app.command("channels")(ways.channels)
app.command("up")(running.up)
app.command("worker")(running.worker)
app.command("sweep")(running.sweep)
app.command("serve")(running.serve)
app.command("simulate")(running.simulate)

_roster = _group("roster", "Who holds which post, and where to reach them.")
_roster.command("check")(county.check_roster)
_roster.command("import")(county.import_roster)
_roster.command("accounts")(county.look_up_accounts)
_plan = _group("plan", "The county's plans (预案).")
_plan.command("check")(county.check_plans)
_plan.command("import")(county.import_plans)
_regions = _group("regions", "The county's towns and villages.")
_regions.command("import")(county.import_regions)
_operator = _group("operator", "The people who may draft, approve and import.")
_operator.command("add")(county.add_operator)
_operator.command("disable")(county.disable_operator)
_operator.command("list")(county.list_operators)
_callout = _group("callout", "叫应: who owes an answer, who is silent, what the duty desk heard by itself.")
_callout.command("status")(callouts.status)
_callout.command("list")(callouts.list_)
_callout.command("ack")(callouts.acknowledge)
_callout.command("measures")(callouts.measures)
_spotcheck = _group("spotcheck", "六问: draw responsible persons, ask them, set what they say against the ledger.")
_spotcheck.command("draw")(spotcheck.draw)
_spotcheck.command("sheet")(spotcheck.sheet)
_spotcheck.command("answer")(spotcheck.answer)
_spotcheck.command("report")(spotcheck.report)
_spotcheck.command("list")(spotcheck.list_)
_spotcheck.command("frame")(spotcheck.frame)
_questions = _group("questions", "The questionnaire: six questions, by version.", _spotcheck)
_questions.command("check")(spotcheck.check_questions)
_questions.command("import")(spotcheck.import_questions)
_drill = _group("drill", "What would happen: drills against simulated far ends on this machine.")
_drill.command("storm")(storm.storm)
_ledger = _group("ledger", "What the ledger knows.")
_ledger.command("deliveries")(auditors.deliveries)
_ledger.command("receipts")(auditors.receipts)
_ledger.command("acknowledgements")(auditors.acknowledgements)
_ledger.command("callouts")(auditors.callouts)
_ledger.command("replies")(auditors.replies)
_ledger.command("entries")(auditors.entries)
_ledger.command("unreached")(auditors.unreached)
_ledger.command("migrate")(audit.migrate)
_ledger.command("verify")(proof.verify)
_ledger.command("anchor")(proof.anchor)
_ledger.command("erase")(proof.erase)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Whatever goes wrong is told in plain lines on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _never_fail_on_a_letter()
    try:
        code = _run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return NO
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(given: list[str]) -> int:
    try:
        app(args=given, prog_name="broadcast")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else NO
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last wall: nobody on duty shall read a traceback
        for line in _told(error):
            note(line)
        if "--debug" in given:
            traceback.print_exception(error)
        return next(code for kind, code in _EXIT if isinstance(error, kind))
    return 0


def _told(error: Exception) -> Iterator[str]:
    """What went wrong, one line for each thing that is wrong."""
    if isinstance(error, InvalidFiles):
        for problem in error.problems:
            where = f"{problem.file}:{problem.line}" if problem.line else problem.file
            yield f"{problem.severity}: {where}: {problem.message}"
    elif isinstance(error, BroadcastError | UsageMistake):
        yield f"error: {_one_line(str(error))}"
    elif isinstance(error, OSError):
        yield f"error: {error.strerror or type(error).__name__}" + (f": {error.filename}" if error.filename else "")
    else:
        yield f"error: a mistake of ours ({_place(error)}): run it again with `broadcast --debug …` and report what it prints"


def _one_line(text: str) -> str:
    return " ".join(clean(text).split())


def _place(error: Exception) -> str:
    """Where it happened; not its words, which may hold an address."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else type(error).__name__


def _never_fail_on_a_letter() -> None:
    """A terminal that cannot show a character gets its number instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
