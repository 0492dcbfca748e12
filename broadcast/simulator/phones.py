"""The people who hold the phones: which of them answer a text that asks for a "1", with which words, and how late."""

from __future__ import annotations

import random
from dataclasses import dataclass

ASKS = "回复1"  # a text with this in it asks for an answer


@dataclass(frozen=True, slots=True)
class Habits:
    """How people answer. The same seed and number answer alike each time, whatever else goes on."""

    share: float = 0.0  # of those who were asked, 0 to 1
    seconds: float = 30.0  # of the provider's, on average, from the text to the answer
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.seconds < 0:
            raise ValueError("reply_share is 0 to 1, reply_seconds 0 or more")

    def answer(self, mobile: str, text: str) -> tuple[str, float] | None:
        """The words and after how long; None from somebody who stays silent."""
        if ASKS not in text:
            return None
        chance = random.Random(f"{self.seed}:{mobile}")  # noqa: S311 - who answers is no secret
        if chance.random() >= self.share:
            return None
        return chance.choice(["1", "收到"]), self.seconds * chance.uniform(0.5, 1.5)


def masked(mobile: str) -> str:
    """Fit to be shown: 154****0001."""
    return f"{mobile[:3]}****{mobile[-4:]}"
