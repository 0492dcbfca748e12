"""`broadcast ledger`: the questions of auditors, on a terminal, as JSON, and as files for a spreadsheet."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated

import typer

from ..channels import CHANNELS
from ..delivery import State
from ..gateway import Gateway
from ..ledger.audits import Asked, Filters
from .exporting import Handing, hand_over
from .opening import JsonOption, OperatorOption, UsageMistake, opened, prove

_BEIJING = timezone(timedelta(hours=8))

AlertOption = Annotated[str, typer.Option("--alert", metavar="ALERT", help="Number or identifier, e.g. --alert 3.")]
RegionOption = Annotated[
    str, typer.Option("--region", metavar="CODE", help="A region and all below it, e.g. --region 330521115.")
]
PostOption = Annotated[int, typer.Option("--post", metavar="NUMBER", help="One post, by its number in answers, e.g. --post 17.")]
RoleOption = Annotated[
    str, typer.Option("--role", metavar="ROLE", help="Posts of one role of roles.csv, e.g. --role VILLAGE_HEAD.")
]
PersonOption = Annotated[
    str, typer.Option("--person", metavar="PERSON_ID", help="All posts of a person of the roster, e.g. --person P00017.")
]
NumberOption = Annotated[
    bool,
    typer.Option("--number", help="What is about one phone number or account: asked for, or read from stdin; never an argument."),
]
ChannelOption = Annotated[str, typer.Option("--channel", metavar="CHANNEL", help=f"One of {', '.join(CHANNELS)}.")]
WayOption = Annotated[
    str, typer.Option("--channel", metavar="WAY", help=f"By which way it came: {', '.join(CHANNELS)}, link or entry.")
]
StateOption = Annotated[State | None, typer.Option("--state", help="One state, e.g. --state rejected.")]
SinceOption = Annotated[
    str,
    typer.Option(
        "--since", metavar="TIME", help='From then on, Beijing time: "2023-07-05 05:00", "2023-07-05", or "05:00" for today.'
    ),
]
UntilOption = Annotated[
    str, typer.Option("--until", metavar="TIME", help="Before then, written in the same way; a day alone: until its end.")
]
LimitOption = Annotated[
    int, typer.Option("--limit", min=0, help="How many rows at most; 0 = all. Files hold all unless you say.")
]
AfterOption = Annotated[
    str, typer.Option("--after", metavar="ROW", help="The next page: the first column of the last row that you have.")
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Into a CSV file that Excel reads; - writes it to stdout.")
]
XlsxOption = Annotated[Path | None, typer.Option("--xlsx", metavar="FILE", help="Into an Excel file.")]
UnmaskOption = Annotated[
    bool,
    typer.Option("--unmask", help="Names, numbers and words as they are. Needs --operator and --reason; is written down first."),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help='Why you must see them, e.g. --reason "纪委核查 2023-17".')
]
_PAGE = 200


def deliveries(
    ctx: typer.Context, alert: AlertOption = "", region: RegionOption = "", post: PostOption = 0, role: RoleOption = "",
    person: PersonOption = "", number: NumberOption = False, channel: ChannelOption = "", state: StateOption = None,
    since: SinceOption = "", until: UntilOption = "", limit: LimitOption = _PAGE, after: AfterOption = "",
    json: JsonOption = False, csv: CsvOption = None, xlsx: XlsxOption = None, unmask: UnmaskOption = False,
    operator: OperatorOption = "", reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Lists deliveries with their state, in the order in which they were planned. Their time is the last try.

    \b
    broadcast ledger deliveries --alert 3 --region 330521115 --state rejected
    broadcast ledger deliveries --since "2023-07-05 05:00" --limit 0 --json > deliveries.json
    broadcast ledger deliveries --person P00017 --csv P00017.csv
    """
    asked = _Question("deliveries", alert, region, post, role, person, number, channel, str(state or ""), "", since, until, after)
    _answer(ctx, asked, _Form(limit, json, csv, xlsx, unmask, operator, reason))


def receipts(
    ctx: typer.Context, alert: AlertOption = "", region: RegionOption = "", post: PostOption = 0, role: RoleOption = "",
    person: PersonOption = "", number: NumberOption = False, channel: ChannelOption = "", state: StateOption = None,
    since: SinceOption = "", until: UntilOption = "", limit: LimitOption = _PAGE, after: AfterOption = "",
    json: JsonOption = False, csv: CsvOption = None, xlsx: XlsxOption = None, unmask: UnmaskOption = False,
    operator: OperatorOption = "", reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Lists what far ends said became of deliveries, as it was kept; one receipt may speak for a run of them.

    The time is when a receipt was recorded here; the column `at` is when the far end says it happened.

    \b
    broadcast ledger receipts --number --alert 3
    broadcast ledger receipts --alert 3 --channel voice --state failed
    """
    asked = _Question("receipts", alert, region, post, role, person, number, channel, str(state or ""), "", since, until, after)
    _answer(ctx, asked, _Form(limit, json, csv, xlsx, unmask, operator, reason))


def acknowledgements(
    ctx: typer.Context, alert: AlertOption = "", region: RegionOption = "", post: PostOption = 0, role: RoleOption = "",
    person: PersonOption = "", channel: WayOption = "", since: SinceOption = "", until: UntilOption = "",
    limit: LimitOption = _PAGE, after: AfterOption = "", json: JsonOption = False, csv: CsvOption = None,
    xlsx: XlsxOption = None, unmask: UnmaskOption = False, operator: OperatorOption = "", reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Lists the answers that say "we have it" (acknowledged, measures, done), whether they settled a duty or not.

    \b
    broadcast ledger acknowledgements --alert 3 --until 06:40
    """
    asked = _Question("acknowledgements", alert, region, post, role, person, False, channel, "", "", since, until, after)
    _answer(ctx, asked, _Form(limit, json, csv, xlsx, unmask, operator, reason))


def replies(
    ctx: typer.Context, alert: AlertOption = "", region: RegionOption = "", post: PostOption = 0, role: RoleOption = "",
    person: PersonOption = "", channel: WayOption = "", since: SinceOption = "", until: UntilOption = "",
    limit: LimitOption = _PAGE, after: AfterOption = "", json: JsonOption = False, csv: CsvOption = None,
    xlsx: XlsxOption = None, unmask: UnmaskOption = False, operator: OperatorOption = "", reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Lists whatever persons and receiving systems said back; of their own words only the length is shown.

    \b
    broadcast ledger replies --alert 3
    broadcast ledger replies --person P00017 --unmask --reason "本人申诉" --operator 测试值班员
    """
    asked = _Question("replies", alert, region, post, role, person, False, channel, "", "", since, until, after)
    _answer(ctx, asked, _Form(limit, json, csv, xlsx, unmask, operator, reason))


def callouts(
    ctx: typer.Context, alert: AlertOption = "", region: RegionOption = "", post: PostOption = 0, role: RoleOption = "",
    person: PersonOption = "", state: Annotated[str, typer.Option("--state", help="open, answered or closed.")] = "",
    since: SinceOption = "", until: UntilOption = "", limit: LimitOption = _PAGE, after: AfterOption = "",
    json: JsonOption = False, csv: CsvOption = None, xlsx: XlsxOption = None, unmask: UnmaskOption = False,
    operator: OperatorOption = "", reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Lists duties of all alerts, those that are over too: to acknowledge, to report measures, to approve.

    Their time is when they were opened.

    \b
    broadcast ledger callouts --role VILLAGE_HEAD --since 2023-06-01 --csv heads.csv
    """
    if state not in ("", "open", "answered", "closed"):
        raise UsageMistake(f"--state {state!r}: a callout is open, answered or closed")
    asked = _Question("callouts", alert, region, post, role, person, False, "", state, "", since, until, after)
    _answer(ctx, asked, _Form(limit, json, csv, xlsx, unmask, operator, reason))


def entries(
    ctx: typer.Context, alert: AlertOption = "",
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="One kind of entry, e.g. --kind unmasked.")] = "",
    since: SinceOption = "", until: UntilOption = "", limit: LimitOption = _PAGE, after: AfterOption = "",
    json: JsonOption = False, csv: CsvOption = None, xlsx: XlsxOption = None, operator: OperatorOption = "",
) -> None:  # fmt: skip
    """Lists the chained entries in the order of time: of one alert, or of all alerts and the house.

    \b
    broadcast ledger entries --alert 3
    broadcast ledger entries --kind unmasked --since 2023-07-01
    """
    asked = _Question("entries", alert, "", 0, "", "", False, "", "", kind, since, until, after)
    _answer(ctx, asked, _Form(limit, json, csv, xlsx, False, operator, ""))


def unreached(
    ctx: typer.Context, alert: AlertOption = "", region: RegionOption = "", post: PostOption = 0, role: RoleOption = "",
    person: PersonOption = "", since: SinceOption = "", until: UntilOption = "", limit: LimitOption = _PAGE,
    after: AfterOption = "", json: JsonOption = False, csv: CsvOption = None, xlsx: XlsxOption = None,
    unmask: UnmaskOption = False, operator: OperatorOption = "", reason: ReasonOption = "",
) -> None:  # fmt: skip
    """Lists who was owed a warning and was not reached, and why on each channel. Answers 1 when there is anybody.

    Reached is whoever a far end took a message for or delivered one to, and whoever answered; a post whose deputy answered
    too. In doubt is told apart from certainly not. With --until: as it was known then; with --since: of alerts received since.

    \b
    broadcast ledger unreached --alert 3 --region 330521115 --until 06:40
    broadcast ledger unreached --person P00017 --since 2023-06-01
    """
    asked = _Question("unreached", alert, region, post, role, person, False, "", "", "", since, until, after)
    if _answer(ctx, asked, _Form(limit, json, csv, xlsx, unmask, operator, reason)):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Question:
    """What was given on the command line to look for."""

    asked: Asked
    alert: str
    region: str
    post: int
    role: str
    person: str
    number: bool
    channel: str
    state: str
    kind: str
    since: str
    until: str
    after: str


@dataclass(frozen=True, slots=True)
class _Form:
    """And how the answer is wanted."""

    limit: int
    json: bool
    csv: Path | None
    xlsx: Path | None
    unmask: bool
    operator: str
    reason: str


def _answer(ctx: typer.Context, asked: _Question, form: _Form) -> int:
    """Asks and hands over; returns how many rows."""
    if sum((form.json, form.csv is not None, form.xlsx is not None)) > 1:
        raise UsageMistake("one form at a time: --json, --csv or --xlsx")
    if str(form.xlsx) == "-":
        raise UsageMistake("an Excel file is no stream: name a file, or use --csv -")
    if form.unmask and not form.reason:
        raise UsageMistake('--unmask needs --reason "why you must see it"; it is kept with your name')
    ways = (*CHANNELS, "link", "entry") if asked.asked in ("acknowledgements", "replies") else CHANNELS
    if asked.channel and asked.channel not in ways:
        raise UsageMistake(f"--channel {asked.channel!r}: one of {', '.join(ways)}")
    with opened(ctx) as (_, gateway):
        to_file = form.csv is not None or form.xlsx is not None
        by = prove(gateway, form.operator) if form.unmask or (to_file and form.operator) else None
        limit = None if to_file and not _was_given(ctx, "limit") else form.limit or None
        filters = _filters(gateway, asked, limit)
        handing = Handing(asked.asked, filters, by, form.reason if form.unmask else "", form.json, form.csv, form.xlsx)
        return hand_over(gateway, handing)


def _was_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _filters(gateway: Gateway, asked: _Question, limit: int | None) -> Filters:
    now = datetime.now(UTC)
    return {
        "alert_id": gateway.find(asked.alert) if asked.alert else None,
        "region": asked.region or None,
        "post": asked.post or None,
        "role": asked.role or None,
        "person": asked.person or None,
        "number": _ask_number() if asked.number else None,
        "channel": asked.channel or None,
        "state": asked.state or None,
        "kind": asked.kind or None,
        "since": moment("--since", asked.since, now) if asked.since else None,
        "until": moment("--until", asked.until, now, ends=True) if asked.until else None,
        "after": asked.after or None,
        "limit": limit,
    }


def moment(option: str, text: str, now: datetime, *, ends: bool = False) -> datetime:
    """A time as people write it, in Beijing: a day (`ends`: its end), a time of today, or both. Raises UsageMistake."""
    today = now.astimezone(_BEIJING).date()
    try:
        if len(text) <= 8 and ":" in text:
            return datetime.fromisoformat(f"{today} {text}").replace(tzinfo=_BEIJING)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageMistake(f'{option} {text!r} is no time: write it as "2023-07-05 05:00", "2023-07-05" or "05:00"') from None
    if ends and len(text) <= 10:
        found += timedelta(days=1)
    return found if found.tzinfo else found.replace(tzinfo=_BEIJING)


def _ask_number() -> str:
    """Asks without showing it, or reads a line. Never an option's value: everybody on the machine can read those."""
    given = getpass.getpass("number or account: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not given.strip():
        raise UsageMistake("--number: type the phone number or account when asked, or give it on stdin")
    return given.strip()
