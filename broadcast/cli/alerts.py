"""Warnings in and decisions about them: send, preview, approve, review, cancel, test."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ..alert import Alert, Level, Status
from ..channels import CHANNELS
from ..errors import NotAllowed, NotFound
from ..gateway import BY_HAND, Gateway, Operator, Preview, Sent
from ..gateway.capacity import Capacity
from ..intake import read
from ..settings import Settings
from . import saying
from .opening import JsonOption, OperatorOption, UsageMistake, opened, prove
from .restamping import restamped
from .status import follow, is_done, say_where_it_stands

AlertArgument = Annotated[str, typer.Argument(metavar="ALERT", help="Number or identifier, as `broadcast status` lists them.")]
FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, allow_dash=True, help="CAP or 12379 XML, or JSON; - reads from stdin."
    ),
]
SourceOption = Annotated[
    str, typer.Option("--source", metavar="NAME", help="The [[source]] of broadcast.toml that it comes from, e.g. deqing-met.")
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="BROADCAST_TOKEN_FILE",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Holds the source's token, e.g. --token-file deqing-met.token.",
    ),
]
RestampOption = Annotated[
    bool,
    typer.Option("--restamp", help="Take it as if it were sent now: drills and demonstrations only, never with a live peer."),
]
WaitOption = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="Show it going out, at most this long; 1 when the time ran out."),
]


def send(
    ctx: typer.Context,
    file: FileArgument,
    source: SourceOption = "",
    token_file: TokenOption = None,
    wait: WaitOption = 0,
    restamp: RestampOption = False,
    operator: OperatorOption = "",
    json: JsonOption = False,
) -> None:
    """Takes a warning in charge.

    The same warning twice is one warning. With --source it comes from a service that proves itself with its token, and the
    plan says what may go out without review. Without, it was drafted by hand: an operator says who they are, and a second
    person approves. Answers 1 when it was only recorded, because
    nobody will be told (expired, a draft …).

    \b
    broadcast send warning.xml --operator 测试值班员
    broadcast send warning.xml --source deqing-met --token-file deqing-met.token --wait 60
    """
    raw = _bytes(file)
    with opened(ctx) as (settings, gateway):
        by = _prove_sender(gateway, source, token_file, operator)
        alert = gateway.read(raw, source or (f"operator:{by.name}" if by else ""))
        if restamp:
            alert = _restamped(settings, alert)
        sent = gateway.submit(alert, source=source or None, by=by)
        _answer(gateway, sent, wait, as_json=json)


def preview(
    ctx: typer.Context,
    file: FileArgument,
    source: SourceOption = "",
    posts: Annotated[bool, typer.Option("--posts", help="Also every post that would be told, by region and role.")] = False,
    restamp: RestampOption = False,
    json: JsonOption = False,
) -> None:
    """Says who would hear a warning, how and in which words.

    Also in how many provider calls, and how long that takes; where the plan calls whoever owes an answer, how many calls
    that is, by how many lines, and who comes first. Sends and writes nothing.

    \b
    broadcast preview warning.xml
    broadcast preview warning.xml --source deqing-met --posts
    """
    alert = read(_bytes(file))
    with opened(ctx) as (settings, gateway):
        _check_source(settings, source)
        if restamp:
            alert = _restamped(settings, alert)
        found = gateway.preview(alert, source or BY_HAND)
    if json:
        saying.as_json(found)
    else:
        _say_preview(found, posts=posts)


def approve(
    ctx: typer.Context,
    alert: AlertArgument,
    alone: Annotated[
        str,
        typer.Option("--alone", metavar="REASON", help="Release a red alert as one person; it is reviewed afterwards. Say why."),
    ] = "",
    region: Annotated[
        list[str] | None,
        typer.Option("--region", metavar="CODE", help="Where an alert goes that does not say so; repeatable, e.g. 330521115."),
    ] = None,
    level: Annotated[
        Level | None, typer.Option("--level", help="How strong an alert is that does not say so, e.g. --level orange.")
    ] = None,
    operator: OperatorOption = "",
    json: JsonOption = False,
) -> None:
    """Lets go what waits, as a second person.

    Whoever drafted a warning does not approve it.

    \b
    broadcast approve 3 --operator 测试值班长
    broadcast approve 3 --region 330521115 --level orange --operator 测试值班长
    broadcast approve 3 --alone "值班长联系不上，山洪已到" --operator 测试值班员
    """
    with opened(ctx) as (_, gateway):
        by = prove(gateway, operator)
        sent = gateway.approve(alert, by, alone=alone, regions=region or (), level=str(level or ""))
        _answer(gateway, sent, 0, as_json=json, asked=True)


def review(ctx: typer.Context, alert: AlertArgument, operator: OperatorOption = "") -> None:
    """Marks as reviewed what one person had released alone.

    Answers 1 when there was nothing to review.

    \b
    broadcast review 3 --operator 测试值班领导
    """
    with opened(ctx) as (_, gateway):
        if not gateway.review(alert, prove(gateway, operator)):
            saying.say(f"nothing to review at alert {alert}")
            raise typer.Exit(1)
        saying.say(f"alert {alert} is reviewed")


def cancel(
    ctx: typer.Context,
    alert: AlertArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why it is over or was wrong; it is kept and may be told.")],
    wait: WaitOption = 0,
    operator: OperatorOption = "",
    json: JsonOption = False,
) -> None:
    """Takes a warning back in the county's own name.

    What is pending is withdrawn, whoever was or may have been reached is told that it is over.

    \b
    broadcast cancel 3 --reason 误发 --operator 测试值班员
    """
    with opened(ctx) as (_, gateway):
        sent = gateway.cancel(alert, prove(gateway, operator), reason)
        _answer(gateway, sent, wait, as_json=json)


def send_test(
    ctx: typer.Context,
    channel: Annotated[str, typer.Option("--channel", help=f"Which way: {', '.join(CHANNELS)}.")],
    region: Annotated[str, typer.Option("--region", metavar="CODE", help="Where, e.g. the town 330521115.")],
    wait: WaitOption = 0,
    operator: OperatorOption = "",
    json: JsonOption = False,
) -> None:
    """Sends a test broadcast to registered test targets only.

    Its status is Test and every text is marked 【测试】.

    \b
    broadcast test --channel sms --region 330521115 --wait 10 --operator 测试值班员
    """
    with opened(ctx) as (_, gateway):
        sent = gateway.test(channel, region, prove(gateway, operator))
        _answer(gateway, sent, wait, as_json=json)


# --- what goes in


def _bytes(file: Path) -> bytes:
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def _prove_sender(gateway: Gateway, source: str, token_file: Path | None, operator: str) -> Operator | None:
    """A service proves itself with its token, a person with a PIN."""
    if not source:
        return prove(gateway, operator)
    if token_file is None:
        raise UsageMistake("--source is for services, which prove themselves with --token-file FILE; as a person leave it out")
    gateway.authenticate_source(source, token_file.read_text(encoding="utf-8").strip())
    return None


def _check_source(settings: Settings, source: str) -> None:
    """A mistyped name would be a stranger, and its warning would wait for a review that nobody expects."""
    names = [one.name for one in settings.sources]
    if source and source not in names:
        raise NotFound(f"no [[source]] {source!r} in broadcast.toml; there are: {', '.join(names) or 'none'}")


def _restamped(settings: Settings, alert: Alert) -> Alert:
    """Old weather must never be told to real people as if it came now."""
    live = [peer.name for peer in settings.peers if not peer.simulated]
    if live and alert.status is Status.ACTUAL:
        raise NotAllowed(f"--restamp is for drills and demonstrations: {', '.join(live)} is live and the warning says Actual")
    saying.note(f"RE-STAMPED: sent {alert.sent.isoformat()} is taken as now. For drills and demonstrations only.")
    return restamped(alert, datetime.now(UTC))


# --- what comes out


def _answer(gateway: Gateway, sent: Sent, wait: float, *, as_json: bool, asked: bool = False) -> None:
    """Says what became of a submission, shows it going out if asked, and ends with 1 where the answer is no."""
    if not as_json:
        _say_sent(gateway, sent, asked=asked)
    if not sent.rung:
        saying.note("committed, but no worker could be rung: is `broadcast up` running? The sweep rings as soon as it runs.")
    in_time = follow(gateway, sent.alert_id, wait) if wait else True
    now = gateway.status(sent.alert_id)
    if as_json:
        more: dict[str, Any] = {"waits_for": gateway.status(sent.alert_id).waits_for, "settled": is_done(now)}
        saying.as_json(asdict(sent) | more | ({"progress": now.progress} if wait else {}))
    elif wait:
        say_where_it_stands(gateway, now)
    if not in_time:
        saying.note(f"not settled after {wait:g} s: `broadcast status {sent.alert_id} --watch`, `broadcast health`")
    if not in_time or sent.state == "recorded":
        raise typer.Exit(1)


def _say_sent(gateway: Gateway, sent: Sent, *, asked: bool) -> None:
    again = "" if sent.is_new or asked else " (it was here already)"
    saying.say(f"alert {sent.alert_id} is {sent.state}: {sent.reason}{again}" if sent.reason else
               f"alert {sent.alert_id} is {sent.state}{again}")  # fmt: skip
    for finding in sent.findings:
        saying.say(f"look at: {finding}")
    if roles := gateway.status(sent.alert_id).waits_for:
        saying.say(f"waits for {' or '.join(roles)}: broadcast approve {sent.alert_id}")


def _say_preview(found: Preview, *, posts: bool) -> None:
    saying.say(f"{found.identifier}: {found.level or 'level unknown'}, plan {found.plan}, source {found.source}")
    saying.say(f"{found.disposition}: {found.reason}")
    saying.say(f"covers: {_named(found.root_names, found.roots)}")
    for finding in (*found.findings, *found.notes):
        saying.say(f"look at: {finding}")
    if found.approvers:
        saying.say(f"waits for {' or '.join(found.approvers)}")
    heads = ("tier", "channel", "to", "roles", "first", "deliveries", "calls", "within s", "waits for")
    rows = [
        (r.tier, r.channel, r.audience, " ".join(r.roles), {True: "at risk", False: "the rest", None: ""}[r.risk_first],
         r.deliveries, r.calls, r.within, "/".join(r.approvers))
        for r in found.rules
    ]  # fmt: skip
    saying.show(saying.table(heads, rows, title="who, by which way", numbers=(5, 6, 7)))
    if posts:
        told = [(p.region, p.region_name, p.role, p.rank, " ".join(p.channels)) for p in found.posts]
        saying.show(saying.table(("region", "name", "role", "rank", "channels"), told, title="posts"))
    for channel, audience, purpose, text, units in found.words:
        saying.say(f"[{channel} {audience} {purpose}, {units} units]")
        saying.say(text)
    if found.capacity:
        _say_capacity(found.capacity)
    saying.say(f"{len(found.posts)} posts, {found.deliveries} deliveries at most, {found.calls} provider calls, "
               f"the last about {found.seconds:.0f} s after the first")  # fmt: skip


def _say_capacity(found: Capacity) -> None:
    """What calling takes: lines against calls, and who waits for whom."""
    whom = "calls at once" if found.voice == "at_once" else "calls when the time to answer is over, if nobody has answered"
    rate = f", {found.rate:g} a second" if found.rate else ""
    wanted = f" (the plan wants {found.within / 60:g} min)" if found.within is not None else ""
    saying.say(f"{found.calls:,} {whom}, by {found.peer}: {found.lines} lines{rate}; "
               f"the first wave is through after {found.first_wave_minutes:.1f} min{wanted}")  # fmt: skip
    others = f"others are asked after {found.others_minutes:.1f} min"
    if found.round_minutes is None:
        saying.say(f"look at: {found.peer} allows no call to a number at this level: nobody is called, {others}")
    else:
        made = f"{found.calls_each} calls each, the last of them made after {found.round_minutes:.1f} min"
        late = "look at: " if found.round_minutes > found.others_minutes else ""
        saying.say(f"{late}if nobody answers: {made}; {others}")
    parts = {True: " at risk", False: ", the rest", None: ""}
    order = [f"{turn.tier}{parts[turn.first]} {turn.calls:,} ({turn.minutes:.1f} min)" for turn in found.order]
    saying.say(f"called in this order: {'; '.join(order)}")


def _named(names: Sequence[str], codes: Sequence[str]) -> str:
    return ", ".join(f"{name} ({code})" for name, code in zip(names, codes, strict=True)) or "nothing that is known here"
