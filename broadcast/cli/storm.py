"""`broadcast drill storm`: a red night from the warning to the last door, on a clock that jumps. Nothing leaves the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..channels import CHANNELS, Peer
from ..channels.base import Limit
from ..channels.loopback import LoopbackOptions
from ..channels.vms import CALLEE_LIMITS
from ..errors import Unavailable
from ..gateway import Gateway
from ..ledger.evidence import Evidence
from ..settings import Settings, load, open_gateway
from ..storm import ASLEEP, BY_SMS, DEAD, Crowd, Look, Outcome, Shares, Storm, StoryClock, result, warning
from . import saying
from .opening import JsonOption, UsageMistake

_BEIJING = timezone(timedelta(hours=8))
BEGINS = datetime(2023, 7, 5, 5, 0, tzinfo=_BEIJING)  # the hour of the county's rainstorm; always the same, as the seed is
SOURCE = "deqing-met"
WESTERN = ("330521115", "330521001", "330521002", "330521003")  # the four towns of that day's orange warning


class StormSize(StrEnum):
    """Of the roster."""

    S = "S"
    M = "M"
    L = "L"


class StormLevel(StrEnum):
    """The two levels at which people are called at once."""

    RED = "red"
    ORANGE = "orange"


class _Lines(LoopbackOptions):
    """A voice provider that ends in a file, and keeps to how often one number may be called."""

    callee_limits: tuple[Limit, ...] = CALLEE_LIMITS


def storm(
    size: Annotated[
        StormSize, typer.Option("--size", help="Of the roster: S one town, M all posts, L the whole county with its grids.")
    ] = StormSize.M,
    seed: Annotated[int, typer.Option("--seed", help="Another number makes other people, who behave otherwise, e.g. 7.")] = 1,
    level: Annotated[StormLevel, typer.Option("--level", help="Of the warning: red or orange.")] = StormLevel.RED,
    asleep: Annotated[
        float, typer.Option("--asleep", min=0, max=1, help="Share who sleep: the 2nd call, the 3rd, or none wakes them.")
    ] = ASLEEP,
    dead: Annotated[float, typer.Option("--dead", min=0, max=1, help="Share whose line is dead.")] = DEAD,
    by_sms: Annotated[float, typer.Option("--by-sms", min=0, max=1, help='Share who answer with an SMS "1".')] = BY_SMS,
    rate: Annotated[
        float, typer.Option("--rate", min=0.1, help="Calls a second that the voice provider takes, e.g. --rate 10.")
    ] = 50.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the home behind, to look around in its ledger.")] = False,
    json: JsonOption = False,
) -> None:
    """Plays a storm night on a simulated clock: who answers, who is answered for, and at whose door somebody knocks.

    Everything happens in a temporary folder against far ends that are files; nothing leaves the machine. The warning is an
    exercise, over the four western towns, at size L over the whole county. Afterwards the ladder's promises are checked
    against the ledger; answers 1 when one was broken.

    \b
    broadcast drill storm
    broadcast drill storm --size L --seed 7 --json > storm.json
    """
    shares = _shares(asleep, dead, by_sms)
    with _home(size, seed, keep=keep) as home:
        clock = StoryClock(BEGINS)
        gateway = open_gateway(_settings(home), clock)
        try:
            alert = _play(gateway, clock, Storm(gateway, clock, Crowd(shares, seed), rate), size, level)
            found, proofs = result(gateway, alert)
            names = _names(gateway, proofs)
        finally:
            gateway.close()
        _say(alert, found, proofs, names, shares, json=json)
        if keep:
            saying.note(f"the home stays: broadcast --home {home} callout status {alert}")
    if not all(check.kept for check in found.checks):
        raise typer.Exit(1)


def _shares(asleep: float, dead: float, by_sms: float) -> Shares:
    try:
        return Shares(asleep, dead, by_sms)
    except ValueError as error:
        raise UsageMistake(str(error)) from None


@contextmanager
def _home(size: StormSize, seed: int, *, keep: bool) -> Iterator[Path]:
    """A home as `broadcast init` makes it, in a process of its own that knows nothing of this one's environment."""
    home = Path(tempfile.mkdtemp(prefix="broadcast-storm-"))
    try:
        saying.note(f"a county of size {size} …")
        words = ("init", str(home), "--example", "deqing", "--size", size.value, "--seed", str(seed), "--port", "8141")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("BROADCAST_")}
        command = [sys.executable, "-m", "broadcast.cli", *words]
        made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if made.returncode:
            raise Unavailable(f"the county could not be made: {made.stderr.strip()}")
        yield home
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def _settings(home: Path) -> Settings:
    """As they lie in the home, whatever the environment says: SQLite beside it, no Redis, and files at the far ends."""
    return replace(
        load(home),
        database_url=f"sqlite:///{home / 'ledger.db'}",
        redis_url=f"unix://{home / 'nobody-rings.sock'}",
        embedded=True,
        seal_key_file=home / "seal.key",
        peers=tuple(_loopback(home, channel) for channel in CHANNELS),
        order={},
    )


def _loopback(home: Path, channel: str) -> Peer:
    file = home / f"{channel}.jsonl"
    options = LoopbackOptions.model_validate({"file": file})
    if channel == "voice":  # that a call was taken says nothing: whether somebody picked up is reported later
        options = _Lines.model_validate({"file": file, "per_call": 1, "answers": "accepted"})
    return Peer(f"{channel}-storm", channel, "loopback", True, 4, 0.0, options)


def _play(gateway: Gateway, clock: StoryClock, storm: Storm, size: StormSize, level: StormLevel) -> int:
    regions = gateway.house.books.regions
    codes = [regions.county.code] if size is StormSize.L else [regions[code].code for code in WESTERN]
    names = [regions[code].name for code in codes]
    saying.note(f"{BEGINS:%H:%M:%S} {level} rainstorm over {'、'.join(names)}")
    return storm.play(warning(clock.now, level.value, names, codes), SOURCE, _watch)


def _watch(look: Look) -> None:
    duties = look.duties
    counted = f"{duties.get('answered', 0):,} of {sum(duties.values()):,} have answered, {duties.get('door', 0):,} at the door"
    saying.note(f"{look.moment.astimezone(_BEIJING):%H:%M:%S} {counted}, {look.calls:,} calls")


def _names(gateway: Gateway, proofs: Iterable[Evidence]) -> dict[int, str]:
    """Of each callout's post, for people: 测试村 村主任."""
    regions, roles = gateway.house.books.regions, gateway.house.books.roles
    return {
        one.callout: f"{regions[one.region].name} {roles[one.role].zh if one.role in roles else one.role}"
        for one in proofs
        if one.region in regions
    }


# --- what it says


def _say(alert: int, found: Outcome, proofs: Sequence[Evidence], names: dict[int, str], shares: Shares, *, json: bool) -> None:
    if json:
        checks = [{"promise": one.promise, "kept": one.kept, "broken": one.broken} for one in found.checks]
        outcome = {**asdict(found), "checks": checks}
        saying.as_json({"alert": alert, "people": shares, "outcome": outcome, "callouts": proofs})
        return
    ways = list(found.tiers[0].ended) if found.tiers else []
    rows = [(one.tier, one.owed, *(one.ended[way] for way in ways), one.open) for one in found.tiers]
    total = ["all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))]
    heads = ("tier", "owed", *(_HEADS[way] for way in ways), "open")
    saying.show(saying.table(heads, [*rows, total], numbers=range(1, len(heads))))
    times = ", ".join(f"{share} % after {_span(seconds)}" for share, seconds in found.seconds.items())
    saying.say(f"answered or at the door: {times}")
    saying.say(f"first wave of calls through after {_span(found.first_wave_seconds)}; {found.calls:,} calls in all")
    if found.waiting:
        saying.say(f"{found.waiting:,} more were ordered and had not left: the provider's budget for those numbers was spent")
    saying.show(saying.table(("proof", "callout", "post", "ended", "calls", "entries", "reply"), _sample(proofs, names)))
    saying.note(
        "all of it: --json; in the ledger itself: --keep, then `broadcast callout list` and `broadcast ledger deliveries`"
    )
    for check in found.checks:
        saying.say(f"{'kept' if check.kept else f'BROKEN {len(check.broken)} times'}: {check.promise}")
        for line in check.broken[:3]:
            saying.say(f"  {line}")


_HEADS = {
    "itself": "by the post",
    "deputy": "by deputy",
    "superior": "by superior",
    "sideways": "sideways",
    "taken over": "taken over",
    "door": "未叫醒",
}


def _sample(proofs: Sequence[Evidence], names: dict[int, str]) -> Iterator[tuple[object, ...]]:
    """The first of each way in which a callout ended."""
    for way, head in _HEADS.items():
        one = next((proof for proof in proofs if proof.by == way), None)
        if one is not None:
            ended = f"{_moment(one.ended)} {one.how}".strip()
            calls = f"{len(one.calls)}, last {one.calls[-1].delivery} {one.calls[-1].state}" if one.calls else "none"
            entries = ", ".join(map(str, one.entries))
            yield (head, one.callout, names.get(one.callout, one.region), ended, calls, entries, one.reply or "")


def _moment(millis: int | None) -> str:
    return f"{datetime.fromtimestamp(millis / 1000, _BEIJING):%H:%M:%S}" if millis is not None else ""


def _span(seconds: float | None) -> str:
    return "never" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
