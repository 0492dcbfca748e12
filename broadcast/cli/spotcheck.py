"""`broadcast spotcheck`: 六问: draw responsible persons, ask them, and set what they say against the ledger."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..errors import InvalidFiles, Problem
from ..gateway import Gateway, Operator
from ..gateway.spotchecking import BUILT_IN, CheckSheet, Report, Taken, Wanted, Written
from ..gateway.spotchecking import facts as known
from ..gateway.spotchecking.answering import OUTCOMES, WAYS
from ..gateway.spotchecking.reporting import Again
from ..gateway.spotchecking.sheets import Subject
from ..spotcheck import Question, allowed, understood
from . import saying
from .opening import JsonOption, OperatorOption, UsageMistake, opened, prove

_BEIJING = timezone(timedelta(hours=8))
_NOT_DRAWN = {"no_number": "without a phone number", "left": "no longer in the roster", "vacant": "vacant required posts"}

NumberArgument = Annotated[int, typer.Argument(metavar="N", help="Its number, as `spotcheck list` shows it, e.g. 3.")]
PdfOption = Annotated[Path | None, typer.Option("--pdf", metavar="FILE", help="Write it on paper, e.g. --pdf check.pdf.")]
XlsxOption = Annotated[Path | None, typer.Option("--xlsx", metavar="FILE", help="Write a workbook, e.g. --xlsx check.xlsx.")]


class By(StrEnum):
    """What the sample is stratified by."""

    TOWN = "town"
    NONE = "none"


# --- the questionnaire


def check_questions(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A TOML file; default: the built-in placeholder.")] = None,
    json: JsonOption = False,
) -> None:
    """Reads a questionnaire as an import would, and changes nothing.

    Tells every problem by line; answers 3 when it is broken, or another text of a version that was used.

    \b
    broadcast spotcheck questions check spotcheck.toml
    """
    with opened(ctx) as (_, gateway):
        found = gateway.spotchecks.check_questions(*_text(file or BUILT_IN))
    if json:
        saying.as_json(found)
        return
    saying.show(_questions(found.questions))
    saying.say(
        f"ok: {found.title}, version {found.version}" + (" — a placeholder, not the official text" if found.placeholder else "")
    )


def import_questions(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file, e.g. spotcheck.toml.")],
    operator: OperatorOption = "",
) -> None:
    """Puts a questionnaire in force for the next draw.

    A broken one is refused, and so is another text of a version that a spot check was drawn with.

    \b
    broadcast spotcheck questions import spotcheck.toml --operator 测试值班员
    """
    with opened(ctx) as (_, gateway):
        by = prove(gateway, operator)
        changed = gateway.spotchecks.import_questions(*_text(file), by)
    saying.say("in force" if changed else "these questions were in force already")


def _text(path: Path) -> tuple[str, str]:
    try:
        return path.name, path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidFiles([Problem(path.name, 0, "error", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise InvalidFiles([Problem(path.name, 0, "error", "the file is not UTF-8: save it again as UTF-8")]) from None


def _questions(questions: Sequence[Question]) -> Table:
    rows = [(n, one.key, one.wording, allowed(one)) for n, one in enumerate(questions, 1)]
    return saying.table(("n", "key", "question", "answer"), rows, numbers=(0,))


# --- drawing


def draw(
    ctx: typer.Context,
    size: Annotated[int, typer.Option("--size", metavar="N", min=1, help="How many persons, e.g. --size 20.")],
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Any number, e.g. of dice thrown before witnesses. It draws the same again.")
    ],
    alert: Annotated[
        str, typer.Option("--alert", metavar="ALERT", help="Of the posts that an alert addressed, e.g. --alert 3.")
    ] = "",
    region: Annotated[
        str, typer.Option("--region", metavar="CODE", help="Only in a region and all below it, e.g. --region 330521115.")
    ] = "",
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE", help="Only this role, repeatable, e.g. --role VILLAGE_HEAD.")
    ] = None,
    by: Annotated[By, typer.Option("--by", help="Every town in proportion, or everybody in one pot.")] = By.TOWN,
    json: JsonOption = False,
    operator: OperatorOption = "",
) -> None:
    """Draws a random sample of the persons who are responsible, and commits it before it is shown.

    Of the posts that an alert addressed, or of roles in a region. Every person counts once. Who cannot be asked (no
    number, left, vacant post) is listed. The same roster, seed and size draw the same persons on any machine.

    \b
    broadcast spotcheck draw --alert 3 --size 20 --seed 41526 --operator 测试值班员
    broadcast spotcheck draw --region 330521115 --role VILLAGE_HEAD --size 5 --seed 7 --operator 测试值班员
    """
    if not alert and not role:
        raise UsageMistake("say of whom: --alert ALERT, or --role ROLE (with --region CODE for a part of the county)")
    with opened(ctx) as (_, gateway):
        proven = prove(gateway, operator)
        number = gateway.find(alert) if alert else None
        found = gateway.spotchecks.draw(Wanted(size, seed, number, region, tuple(role or ()), str(by)), proven)
    if json:
        saying.as_json(found)
        return
    heads = ("n", "person", "post", "town", "region", "phone")
    rows = [(one.n, one.person, one.role_name, one.town_name, one.region_name, one.phone) for one in found.subjects]
    saying.show(saying.table(heads, rows, numbers=(0,)))
    _say_not_drawn(found)
    saying.say(f"frame {found.sha256}")
    saying.say(f"spot check {found.number}: {len(found.subjects)} of {found.frame_size} persons drawn with seed {found.seed}")
    saying.note(f"next: broadcast spotcheck sheet {found.number} --xlsx FILE, or: broadcast spotcheck answer {found.number}")


def _say_not_drawn(found: CheckSheet) -> None:
    for reason, words in _NOT_DRAWN.items():
        if those := [one for one in found.not_drawn if one.reason == reason]:
            named = "; ".join(f"{one.region_name} {one.role_name} {one.person}".strip() for one in those[:3])
            more = f"; and {len(those) - 3} more (--json)" if len(those) > 3 else ""
            saying.say(f"not in the frame, {len(those)} {words}: {named}{more}")


def list_(
    ctx: typer.Context,
    season: Annotated[int | None, typer.Option("--season", metavar="YEAR", help="Of one year only, e.g. --season 2023.")] = None,
    json: JsonOption = False,
) -> None:
    """Lists every spot check: of what, drawn by whom with which seed, and how far it has come.

    Drawing again and again until the sample pleases is seen here. Who is drawn often or never: `spotcheck report`.

    \b
    broadcast spotcheck list
    """
    with opened(ctx) as (_, gateway):
        wanted = gateway.spotchecks.of_season(season) if season is not None else None
        found = [one for one in gateway.spotchecks.listed() if wanted is None or one.number in wanted]
    if json:
        saying.as_json(found)
        return
    heads = ("n", "when", "by", "of", "seed", "frame", "drawn", "asked", "to ask")
    rows = [
        (
            one.number, _when(one.at), one.who, _of(one.headline, one.region, one.roles), one.seed, one.frame, one.drawn,
            one.drawn - one.open, one.open,
        )
        for one in found
    ]  # fmt: skip
    saying.show(saying.table(heads, rows, numbers=(0, 4, 5, 6, 7, 8)))
    saying.say(f"{len(found)} spot checks, {sum(one.open for one in found)} persons to ask")


def _of(headline: str, region: str, roles: Sequence[str]) -> str:
    return " ".join(filter(None, (headline, region, "、".join(roles))))


def frame(ctx: typer.Context, number: NumberArgument) -> None:
    """Prints what was drawn from: seed, size, and a line for each person (town, key in the roster).

    Byte for byte what the ledger's SHA-256 is over, so that an auditor can draw again by hand.

    \b
    broadcast spotcheck frame 3 | sha256sum
    """
    with opened(ctx) as (_, gateway):
        text = gateway.spotchecks.frame(number)
    sys.stdout.write(text)


# --- the sheet


def sheet(
    ctx: typer.Context,
    number: NumberArgument,
    pdf: PdfOption = None,
    xlsx: XlsxOption = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="With names and numbers; needs --operator and --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help='Why they are shown, e.g. --reason "六问抽查电话询问".')] = "",
    json: JsonOption = False,
    operator: OperatorOption = "",
) -> None:
    """Shows whom to ask, the questions, and beside each person what the ledger knows.

    Names and numbers are masked; --reveal shows them, and the ledger keeps who saw them and why. --xlsx writes the form
    that `spotcheck answer --file` reads back.

    \b
    broadcast spotcheck sheet 3
    broadcast spotcheck sheet 3 --xlsx form.xlsx --reveal --reason "六问抽查电话询问" --operator 测试值班员
    """
    if reveal and not reason.strip():
        raise UsageMistake("names and numbers are shown for a reason only: give --reason TEXT")
    with opened(ctx) as (_, gateway):
        by = prove(gateway, operator) if reveal else None
        found = gateway.spotchecks.reveal(number, by, reason) if by else gateway.spotchecks.sheet(number)
        who = by.name if by else ""
        for path, write in ((xlsx, gateway.spotchecks.write_form), (pdf, gateway.spotchecks.write_sheet)):
            if path is not None:
                saying.note(f"{path}: {write(found, path, who)} persons")
    if json:
        saying.as_json(found)
        return
    if pdf is None and xlsx is None:
        _show_sheet(found)
    asked = sum(one.last is not None for one in found.subjects)
    saying.say(f"spot check {found.number}: {len(found.subjects)} persons, {asked} asked, {len(found.subjects) - asked} to ask")


def _show_sheet(found: CheckSheet) -> None:
    rows = [
        (one.n, one.person, one.role_name, one.region_name, one.phone, known.facts(one.evidence), _asked(one))
        for one in found.subjects
    ]
    saying.show(saying.table(("n", "person", "post", "region", "phone", "the ledger", "asked"), rows, numbers=(0,)))
    _say_not_drawn(found)
    saying.say()
    saying.show(_questions(found.questionnaire.questions))
    _say_placeholder(found.questionnaire.placeholder)


def _asked(one: Subject) -> str:
    if one.last is None:
        return ""
    return f"{_when(one.last.at)} {one.last.outcome}" + (f" ×{len(one.rounds)}" if len(one.rounds) > 1 else "")


def _say_placeholder(placeholder: bool) -> None:
    if placeholder:
        saying.say("PLACEHOLDER: the official text of the 六问 was not found; these are not the official questions")


# --- answers


def answer(
    ctx: typer.Context,
    number: NumberArgument,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="The filled form, CSV or XLSX, e.g. --file filled.xlsx.")
    ] = None,
    correct: Annotated[bool, typer.Option("--correct", help="What differs replaces what stands; both are kept.")] = False,
    again: Annotated[bool, typer.Option("--again", help="They were asked once more: a further round.")] = False,
    json: JsonOption = False,
    operator: OperatorOption = "",
) -> None:
    """Takes what people said: on a terminal one after the other, or from a filled form.

    On a terminal: q stops and s skips, and what was entered stays. From a file nothing is taken while a line is wrong,
    and every problem is told at once.

    \b
    broadcast spotcheck answer 3 --operator 测试值班员
    broadcast spotcheck answer 3 --file filled.xlsx --operator 测试值班员
    """
    if correct and again:
        raise UsageMistake("--correct mends what was written, --again is asked once more: one of the two")
    if file is None and not sys.stdin.isatty():
        raise UsageMistake("nobody can be asked here: give --file FILE")
    with opened(ctx) as (_, gateway):
        by = prove(gateway, operator)
        if file is None:
            _interview(gateway, number, by, correct=correct, again=again)
            return
        written = gateway.spotchecks.read_form(number, file)
        taken = gateway.spotchecks.answer(number, written, by, file=file.name, correct=correct, again=again)
        left = sum(one.last is None for one in gateway.spotchecks.sheet(number).subjects)
    if json:
        saying.as_json(taken)
        return
    saying.say(f"{_took(taken)}; {left} persons to ask")


def _took(taken: Taken) -> str:
    named = ((taken.new, "new"), (taken.corrected, "corrected"), (taken.again, "asked again"), (taken.same, "stood already"))
    return ", ".join(f"{n} {what}" for n, what in named if n) or "nothing filled in"


class _Stop(Exception):
    """Whoever asks has had enough for now."""


class _Skip(Exception):
    """Not this person now."""


def _interview(gateway: Gateway, number: int, by: Operator, *, correct: bool, again: bool) -> None:
    found = gateway.spotchecks.sheet(number)
    those = [one for one in found.subjects if (one.last is not None) == (correct or again)]
    saying.say(f"spot check {number}: {len(those)} persons; s skips one, q stops, and what was entered stays")
    _say_placeholder(found.questionnaire.placeholder)
    done = 0
    try:
        for one in those:
            try:
                written = _ask_person(found, one, gateway.house.clock() if one.last is None or again else one.last.at)
            except _Skip:
                continue
            gateway.spotchecks.answer(number, [written], by, file=f"number {one.n}", correct=correct, again=again)
            done += 1
    except (_Stop, EOFError):
        saying.say("stopped")
    saying.say(f"{done} entered, {len(those) - done} of these left")


def _ask_person(found: CheckSheet, one: Subject, asked: datetime) -> Written:
    saying.say()
    saying.say(f"{one.n}. {one.person}  {one.role_name}  {one.town_name} {one.region_name}  {one.phone}")
    saying.say(f"   {known.facts(one.evidence)}")
    way = _ask(f"   方式 {_words(WAYS)}", lambda said: _word(said, WAYS))
    outcome = _ask(f"   结果 {_words(OUTCOMES)}", lambda said: _word(said, OUTCOMES))
    answers: dict[str, str] = {}
    if outcome == next(iter(OUTCOMES)):
        for n, question in enumerate(found.questionnaire.questions, 1):
            answers[question.key] = _ask(f"   {n}. {question.wording}\n      {allowed(question)}", _reader(question))
    note = _line("   备注（可空）")
    return Written(str(one.n), answers, outcome, way, asked.isoformat(), note=note)


def _reader(question: Question) -> Callable[[str], str]:
    return lambda said: understood(question, said)


def _words(words: Mapping[str, str]) -> str:
    return " / ".join(f"{n} {word}" for n, word in enumerate(words, 1))


def _word(said: str, words: Mapping[str, str]) -> str:
    named = list(words)
    if said.isascii() and said.isdigit() and 1 <= int(said) <= len(named):
        return named[int(said) - 1]
    if said in named:
        return said
    raise ValueError(f"write {_words(words)}")


def _ask(prompt: str, read: Callable[[str], str]) -> str:
    """Asks until it is understood."""
    while True:
        said = _line(prompt)
        if not said:
            continue
        try:
            return read(said)
        except ValueError as wrong:
            saying.say(f"   {wrong}")


def _line(prompt: str) -> str:
    said = input(f"{saying.clean(prompt)}: ").strip()
    if said.lower() == "q":
        raise _Stop
    if said.lower() == "s":
        raise _Skip
    return said


# --- the report


def report(
    ctx: typer.Context,
    numbers: Annotated[list[int] | None, typer.Argument(metavar="N…", help="Of these spot checks, e.g. 3 4.")] = None,
    season: Annotated[int | None, typer.Option("--season", metavar="YEAR", help="Of all of a year, e.g. --season 2023.")] = None,
    pdf: PdfOption = None,
    xlsx: XlsxOption = None,
    json: JsonOption = False,
) -> None:
    """Says what spot checks found: rates with the number asked, contradictions, whom to ask again and by when.

    Of several also how it goes from one to the next, who fails the same question each time, and who was drawn often or
    never. Every rate is of persons, has the number asked beside it and Wilson's 95 % interval. Answers 1 while somebody is
    to be asked again.

    \b
    broadcast spotcheck report 3
    broadcast spotcheck report --season 2023 --pdf season.pdf
    """
    if bool(numbers) == (season is not None):
        raise UsageMistake("say of which: the numbers of spot checks, or --season YEAR")
    with opened(ctx) as (_, gateway):
        checks = gateway.spotchecks
        found = checks.report(numbers or checks.of_season(season or 0))
        for path, write in ((xlsx, checks.write_report_tables), (pdf, checks.write_report)):
            if path is not None:
                write(found, path)
                saying.note(f"written: {path}")
    if json:
        saying.as_json(found)
    else:
        _show_report(found)
    if found.again:
        raise typer.Exit(1)


def _show_report(found: Report) -> None:
    heads = ("n", "when", "of", "frame", "drawn", "answered", "not reached", "refused", "to ask")
    rows = [
        (
            one.number, _when(one.at), _of(one.headline, one.region, one.roles), one.frame, one.drawn,
            one.answered, one.not_reached, one.refused, one.open,
        )
        for one in found.checks
    ]  # fmt: skip
    saying.show(saying.table(heads, rows, numbers=(0, 3, 4, 5, 6, 7, 8)))
    saying.say()
    questions = [(n, one.rate, one.key, one.name) for n, one in enumerate(found.by_question, 1)]
    saying.show(saying.table(("n", "passed", "key", "question"), questions, numbers=(0,)))
    for title, lines in (("town", found.by_town), ("post", found.by_role)):
        saying.say()
        saying.show(saying.table(("passed every question", title), [(one.rate, one.name) for one in lines]))
    _show_contradictions(found)
    _show_again(found)
    _show_season(found)
    _say_placeholder(found.placeholder)
    again = f"; of those asked again: {found.asked_again}" if found.asked_again.asked else ""
    saying.say(f"passed every question: {found.whole}{again}")
    saying.say(
        f"{len(found.contradictions)} contradictions, {len(found.again)} persons to ask again"
        f" ({sum(one.overdue for one in found.again)} overdue)"
    )


def _show_contradictions(found: Report) -> None:
    for kind, what in known.KINDS.items():
        those = [one for one in found.contradictions if one.found.kind == kind]
        if not those:
            continue
        saying.say()
        saying.say(f"{what}: {len(those)}")
        saying.say(f"  either the person: {those[0].found.person}")
        saying.say(f"  or the channel: {those[0].found.channel}")
        rows = [
            (f"{one.check}-{one.n}", f"{one.person} {one.role_name} {one.region_name}", one.found.question, one.ledger)
            for one in those
        ]
        saying.show(saying.table(("who", "", "question", "the ledger"), rows))


def _show_again(found: Report) -> None:
    if found.again:
        saying.say()
        saying.show(saying.table(("ask again", "", "because of", "by"), list(map(_again, found.again))))


def _again(one: Again) -> tuple[object, ...]:
    whom = f"{one.person} {one.role_name} {one.region_name}"
    return f"{one.check}-{one.n}", whom, ", ".join(one.why), _when(one.due) + (" OVERDUE" if one.overdue else "")


def _show_season(found: Report) -> None:
    if found.drift:
        saying.say()
        heads = ("question", *(f"n {one.number} {one.at.astimezone(_BEIJING):%m-%d}" for one in found.checks))
        rows = [(one.key, *(f"{rate.passed} of {rate.asked}" for _, _, rate in one.rates)) for one in found.drift]
        saying.show(saying.table(heads, rows))
    for one in found.persistent:
        saying.say(
            f"always fails: {one.person} {one.role_name} {one.region_name}, {one.times} times asked, {one.acknowledged} times"
            f" acknowledged: {one.question}"
        )
    for often in found.often:
        saying.say(f"drawn {often.times} times: {often.person} {often.role_name} {often.region_name}")
    if found.drift:
        saying.say()
        saying.show(
            saying.table(
                ("town", "ever drawn", "never"), [(one.name, one.drawn, one.never) for one in found.reach], numbers=(1, 2)
            )
        )


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(_BEIJING):%m-%d %H:%M}"
