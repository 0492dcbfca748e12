"""叫应 as a plan says it for one level: how often a person is called, how far apart, and who is asked next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

Voice: TypeAlias = Literal["at_once", "when_silent"]


class Rung(StrEnum):
    """Who is asked, in this order."""

    PRINCIPAL = "principal"  # the post itself (A 岗)
    DEPUTY = "deputy"  # B 岗 of the same role and region
    SUPERIOR = "superior"  # the tier above: village → town → county
    SIDEWAYS = "sideways"  # 联村干部, a neighbouring village
    DOOR = "door"  # knock on the door: the duty desk's list 未叫醒


@dataclass(frozen=True, slots=True)
class Ladder:
    """What a plan says for one level. Raises ValueError for one that has no end or calls nobody."""

    calls: int  # calls to one person on one rung, the first included
    every: int  # seconds between two calls to one person, at least
    patience: int  # seconds after the last call before the next rung
    rungs: tuple[Rung, ...]  # after the principal, in order; DOOR is the last
    voice: Voice  # the first call: with the alert, or only when the time to answer is over
    measures_within: int | None  # seconds after the acknowledgement until measures are reported; None: none owed

    def __post_init__(self) -> None:
        if min(self.calls, self.every, self.patience) < 1:
            raise ValueError("calls, every and patience of a ladder must each be 1 or more")
        if wrong := wrong_with(self.rungs):
            raise ValueError(wrong)

    def __str__(self) -> str:
        """For `plan check` and people: 3 calls 60 s apart, 60 s later deputy → superior → door; …"""
        voice = "voice at once" if self.voice == "at_once" else "voice when silent"
        measures = "no measures owed" if self.measures_within is None else f"measures within {self.measures_within // 60} min"
        rungs = " → ".join(self.rungs)
        return f"{self.calls} calls {self.every} s apart, {self.patience} s later {rungs}; {voice}; {measures}"

    def as_json(self) -> dict[str, Any]:
        """Numbers, texts and lists only, to be frozen with an alert."""
        return {
            "calls": self.calls,
            "every": self.every,
            "patience": self.patience,
            "rungs": [str(rung) for rung in self.rungs],
            "voice": self.voice,
            "measures_within": self.measures_within,
        }

    @classmethod
    def from_json(cls, frozen: Mapping[str, Any]) -> Ladder:
        """What `as_json` gave. Raises KeyError, ValueError for anything else."""
        return cls(
            calls=frozen["calls"],
            every=frozen["every"],
            patience=frozen["patience"],
            rungs=tuple(Rung(rung) for rung in frozen["rungs"]),
            voice=frozen["voice"],
            measures_within=frozen["measures_within"],
        )


def wrong_with(rungs: tuple[Rung, ...]) -> str:
    """Why these rungs make no ladder; "" when they do. Without the door at its end a silent person would be forgotten."""
    if not rungs or rungs[-1] is not Rung.DOOR:
        return 'the rungs must end with "door": whoever stays silent comes onto the duty desk\'s list'
    if Rung.PRINCIPAL in rungs:
        return "the principal is asked first in any case: name only who is asked after"
    twice = next((rung for rung in rungs if rungs.count(rung) > 1), None)
    return f'"{twice}" stands there twice: nobody is asked again further up' if twice else ""
