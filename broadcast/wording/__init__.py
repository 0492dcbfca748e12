"""The words: one warning → what one channel says to one audience, composed from fields and always within the limit."""

from .compose import Words, check, compose, utf16_units
from .speech import speakable

__all__ = ["Words", "check", "compose", "speakable", "utf16_units"]
