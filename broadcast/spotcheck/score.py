"""What many answers come to: rates with the number asked, by question, town and role. Everything here counts persons."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .questions import Question, passed

_Z = 1.959964  # of 95 %


@dataclass(frozen=True, slots=True)
class Rate:
    """So many of so many. Its text never shows a per cent without the number asked and how far it can be trusted."""

    passed: int
    asked: int
    low: float  # Wilson's 95 % interval, as shares
    high: float

    @classmethod
    def of(cls, passed: int, asked: int) -> Rate:
        """With the interval that goes with it."""
        return cls(passed, asked, *wilson(passed, asked))

    def __str__(self) -> str:
        if not self.asked:
            return "nobody asked"
        share = f"{self.passed} of {self.asked}"
        if self.asked == 1:
            return share
        return f"{share} ({100 * self.passed / self.asked:.0f} %, {100 * self.low:.0f}–{100 * self.high:.0f} %)"


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927); (0, 1) where nobody was asked."""
    if not of:
        return 0.0, 1.0
    share, squared = hits / of, _Z * _Z
    middle = share + squared / (2 * of)
    spread = _Z * math.sqrt(share * (1 - share) / of + squared / (4 * of * of))
    low, high = ((middle - spread) / (1 + squared / of), (middle + spread) / (1 + squared / of))
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One person's results, by question: passed, failed, or None (not asked). By each version's own rules."""

    town: str
    role: str
    results: Mapping[str, bool | None]  # {} = did not answer


@dataclass(frozen=True, slots=True)
class Scores:
    """Rates over the sheets that have answers. By town and role: persons who passed every question that they were asked."""

    whole: Rate
    by_question: Mapping[str, Rate]
    by_town: Mapping[str, Rate]
    by_role: Mapping[str, Rate]


def score(keys: Sequence[str], sheets: Iterable[Sheet]) -> Scores:
    """The rates of one spot check, or of several that share their questions' keys."""
    answered = [one for one in sheets if any(one.results.get(key) is not None for key in keys)]
    return Scores(
        whole=_rate([_all(one) for one in answered]),
        by_question={key: _rate([one.results.get(key) for one in answered]) for key in keys},
        by_town=_grouped(answered, lambda one: one.town),
        by_role=_grouped(answered, lambda one: one.role),
    )


def failed(questions: Sequence[Question], answers: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of the questions that were not passed."""
    return tuple(one.key for one in questions if passed(one, answers.get(one.key, "")) is False)


def _all(one: Sheet) -> bool:
    return all(result is not False for result in one.results.values())


def _grouped(sheets: Sequence[Sheet], of: Callable[[Sheet], str]) -> dict[str, Rate]:
    groups: dict[str, list[bool | None]] = {}
    for one in sheets:
        groups.setdefault(of(one), []).append(_all(one))
    return {name: _rate(groups[name]) for name in sorted(groups)}


def _rate(results: Sequence[bool | None]) -> Rate:
    return Rate.of(sum(one is True for one in results), sum(one is not None for one in results))
