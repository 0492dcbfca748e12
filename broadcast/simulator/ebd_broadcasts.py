"""What the village loudspeakers play: one broadcast, its state, and what a village hears of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .clock import BEIJING
from .faults import Faults

UNTOUCHED, WAITING, PLAYING, SUCCEEDED, FAILED, CANCELLED = range(6)  # BrdStateCode, 083
NORMAL, FAULT, BROADCASTING = 1, 3, 5  # StateCode of a system, 083


@dataclass(slots=True)
class Broadcast:
    """One EBM that was taken, and what became of it. Guarded by the platform's lock."""

    ebmid: str
    kind: str  # play or cancel
    area_code: str  # as it was written: some receivers know a broadcast by these letters
    areas: tuple[str, ...]  # of this county
    heard: tuple[str, ...]  # where the system works
    text: str
    event: str
    severity: str
    start: datetime
    end: datetime
    at: datetime
    url: str = field(repr=False)
    faults: Faults
    state: int = UNTOUCHED
    on_air: bool = False
    since: datetime | None = None
    until: str = ""
    spoken: bool = False  # a cancel that was read out like an alarm
    played_again: int = 0  # the same packet, taken once more
    run: int = 0  # what was planned for an earlier run does not count any more


def moment(words: str) -> datetime:
    return datetime.strptime(words, "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING)


def places(areas: Sequence[str]) -> str:
    return areas[0] if len(areas) == 1 else f"{areas[0]} 等{len(areas)}村"


def system_state(village: str, playing: Sequence[Broadcast]) -> int:
    """Broken when something plays around it that it does not."""
    if any(_covers(area, village) for one in playing for area in one.heard):
        return BROADCASTING
    return FAULT if any(_covers(area, village) for one in playing for area in one.areas) else NORMAL


def _covers(area: str, village: str) -> bool:
    """A town's code ends in 000, a county's in 000000 (080)."""
    return village.startswith(area.removesuffix("000").removesuffix("000"))


def shown(one: Broadcast) -> dict[str, object]:
    return {
        "ebmid": one.ebmid,
        "areas": list(one.areas),
        "text": one.text,
        "event": one.event,
        "severity": one.severity,
        "start": one.start.isoformat(),
        "end": one.end.isoformat(),
        "kind": one.kind,
        "at": one.at.isoformat(),
        "state": one.state,
        "on_air": one.on_air,
        "spoken": one.spoken,
        "played_again": one.played_again,
    }
