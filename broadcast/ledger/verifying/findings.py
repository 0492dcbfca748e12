"""What verify has found so far: of each chain the first place, and how many more."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from ..seal import Seal


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that does not hold. What is not known is empty: of a row that no entry covers, the entry."""

    chain: str
    what: str
    entry: int | None = None
    kind: str = ""
    table: str = ""
    row: str = ""
    column: str = ""

    def __str__(self) -> str:
        where = [self.chain] if self.chain else []
        where += [f"entry {self.entry}" + (f" ({self.kind})" if self.kind else "")] if self.entry is not None else []
        where += [f"{self.table} {self.row}".strip()] if self.table else []
        where += [f"column {self.column}"] if self.column else []
        return f"{', '.join(where)}: {self.what}"


class Spans:
    """Numbers, kept as runs: half a million rows of one import are one run."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """All from `first` to `last`."""
        low = bisect_right(self._lasts, first - 2)  # runs that touch it are joined with it
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high], self._lasts[low:high] = [first], [last]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]


@dataclass(slots=True)
class Look:
    """One look at a ledger, and what it finds."""

    tx: sa.Connection
    seal: Seal
    key: bytes  # of the entries' MACs
    erased: dict[str, set[int]]  # table → rows whose person was erased, as an entry says
    covered: dict[str, Spans]  # table → rows that an entry covers
    first: dict[str, Finding] = field(default_factory=dict)  # chain (or table) → the first place
    more: dict[str, int] = field(default_factory=dict)
    entries: int = 0
    rows: int = 0
    deliveries: int = 0

    def found(self, finding: Finding) -> None:
        """One more place that does not hold."""
        where = finding.chain or finding.table
        if where in self.first:
            self.more[where] = self.more.get(where, 0) + 1
        else:
            self.first[where] = finding


def numbers(ranges: Iterable[Sequence[int]]) -> list[int]:
    """[1, 3], [7, 8] → 1 2 3 7 8."""
    return [number for first, last in ranges for number in range(first, last + 1)]
