"""叫醒: the hours in which a warning must wake somebody, so that whoever owes an answer is called at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone

from ...alert import Level

_BEIJING = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Night:
    """From `begins` (included) to `ends` (not included), Beijing time; across midnight where `begins` is the later one."""

    begins: time
    ends: time
    levels: frozenset[Level]  # these start with voice then


# For plans that say nothing of it, so that a forgotten table lets nobody sleep. ASSUMPTION: no hours are published for Zhejiang.
USUAL = Night(time(22), time(6), frozenset({Level.RED, Level.ORANGE}))


def night(now: datetime, hours: Night) -> bool:
    """True when `now` (aware) lies in these hours."""
    moment = now.astimezone(_BEIJING).time()
    if hours.begins < hours.ends:
        return hours.begins <= moment < hours.ends
    return moment >= hours.begins or moment < hours.ends
