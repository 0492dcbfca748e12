"""What the states of many deliveries come to: owed, reached, not reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..delivery import REACHED, State
from ..gateway import Progress

_ON_THE_WAY = frozenset({State.PLANNED, State.DEFERRED, State.SENDING})


@dataclass(frozen=True, slots=True)
class Figures:
    """Deliveries counted. What was withdrawn before it left is not owed; what is in doubt is not reached."""

    owed: int
    reached: int
    on_the_way: int
    in_doubt: int
    refused: int  # rejected by the target, or given up
    withdrawn: int

    @property
    def not_reached(self) -> int:
        """Owed, and nobody can say that it arrived."""
        return self.owed - self.reached

    def line(self) -> str:
        """The one line that matters."""
        return f"owed {self.owed}, reached {self.reached}, not reached {self.not_reached}"


def figures(states: Mapping[str, int]) -> Figures:
    """From state → count."""
    known = {State(state): n for state, n in states.items()}
    withdrawn = known.pop(State.CANCELLED, 0)
    return Figures(
        owed=sum(known.values()),
        reached=sum(n for state, n in known.items() if state in REACHED),
        on_the_way=sum(n for state, n in known.items() if state in _ON_THE_WAY),
        in_doubt=known.get(State.IN_DOUBT, 0),
        refused=known.get(State.REJECTED, 0) + known.get(State.FAILED, 0),
        withdrawn=withdrawn,
    )


def add(all_states: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Several counts as one."""
    total: dict[str, int] = {}
    for states in all_states:
        for state, n in states.items():
            total[state] = total.get(state, 0) + n
    return total


def of_progress(progress: Iterable[Progress]) -> Figures:
    """Of a whole alert. Calls for approval are no warnings, so they are not counted."""
    return figures(add(way.states for way in progress if not way.purpose.startswith("release")))
