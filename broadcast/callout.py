"""叫应: what a callout does next, a pure function of how far it has come and the time.

So far the one duty is *release*: somebody must approve a warning that waits. The ladder for posts joins it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Tell:
    """Reach these ranks of the approvers now; then look again at `then`."""

    step: str
    ranks: tuple[str, ...]
    then: datetime | None


Step = Wait | Tell


def next_release_step(step: str, opened: datetime, due: datetime, now: datetime) -> Step:
    """Who must approve is told at once (principals), at half the time their deputies too, at the deadline all is red.

    The last step has no next one: an overdue approval stays open and turns `health` red until a person acts.
    """
    half = opened + (due - opened) / 2
    if step == "opened":
        return Tell("principals", ("A",), half)
    if step == "principals":
        return Wait(half) if now < half else Tell("deputies", ("B",), due)
    if step == "deputies":
        return Wait(due) if now < due else Tell("overdue", (), None)
    return Wait(now + timedelta(days=3650))
