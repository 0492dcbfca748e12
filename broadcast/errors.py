"""What can go wrong, drawn as a tree. The class says what to do next; errors carry strings and numbers, never models.

BroadcastError
├── Refused                 what came in is not acceptable; correct it and try again
│   ├── InvalidAlert        a warning (also a ValueError)
│   ├── InvalidFiles        plans, rosters, regions, settings: a list of problems by file and line (also a ValueError)
│   └── NotAllowed          this operator may not do this
├── NotFound                no such alert, region, post … (also a LookupError)
├── LedgerUnavailable       the database is locked, full, unreachable: nothing was recorded
└── ChannelError            no answer of a channel (an answer, also a refusal, is a value: a Receipt)
    ├── Unavailable         certainly nothing left: may be tried again
    ├── InDoubt             something may have left: never repeated blindly
    ├── Unsupported         this channel cannot do this at all
    └── Misconfigured       it is about us (credentials, contract): stop and call the operator, reject nobody
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


class BroadcastError(Exception):
    """Anything this library raises on purpose."""


class Refused(BroadcastError):
    """What came in is not acceptable. The text names what, where and by which rule."""


class InvalidAlert(Refused, ValueError):
    """A warning that cannot be used: names the element, its value and the rule it breaks."""

    def __init__(self, element: str, value: str, rule: str, line: int | None = None) -> None:
        self.element, self.value, self.rule, self.line = element, value[:200], rule, line
        where = f" (line {line})" if line else ""
        shown = f" = {self.value!r}" if value else ""
        super().__init__(f"{element}{shown}{where}: {rule}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding in a file that a person wrote. `line` counts from 1; 0 where there is no line."""

    file: str
    line: int
    severity: Literal["error", "warning"]
    message: str  # what is wrong and what to do

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.message}"


class InvalidFiles(Refused, ValueError):
    """Files that cannot be used: every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class NotAllowed(Refused):
    """This person may not do this, or may not do it alone."""


class NotFound(BroadcastError, LookupError):
    """Nothing by that name or number."""


class LedgerUnavailable(BroadcastError):
    """The ledger could not be written or read; nothing of this step was recorded. Try again when it is back."""


class ChannelError(BroadcastError):
    """The lack of an answer. `detail` never holds an address or a secret."""


class Unavailable(ChannelError):
    """Certainly nothing left this host (name, connect, TLS, or the provider said "come later")."""

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after  # seconds, where the provider named them
        super().__init__(detail)


class InDoubt(ChannelError):
    """Something may have left: the request was written and no usable answer came."""


class Unsupported(ChannelError):
    """This channel has no such thing. It is never recorded as done."""


class Misconfigured(ChannelError):
    """The provider refuses us, not the target: 401/403, wrong signature, contract over. Nobody is marked as rejected."""
