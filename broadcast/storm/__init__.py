"""A whole storm on a simulated clock: the real gateway and ledger, and people who answer, sleep or are cut off."""

from .outcome import Check, Outcome, TierOutcome, outcome
from .people import ASLEEP, BY_SMS, DEAD, Crowd, Reaction, Shares
from .play import Look, Storm, StoryClock, result, warning

__all__ = [
    "ASLEEP",
    "BY_SMS",
    "DEAD",
    "Check",
    "Crowd",
    "Look",
    "Outcome",
    "Reaction",
    "Shares",
    "Storm",
    "StoryClock",
    "TierOutcome",
    "outcome",
    "result",
    "warning",
]
