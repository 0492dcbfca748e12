"""The words: one warning → what one channel says to one audience, composed from fields and always within the limit."""

from .compose import LINK_MARK, Words, check, compose, document, utf16_units
from .speech import speakable

__all__ = ["LINK_MARK", "Words", "check", "compose", "document", "speakable", "utf16_units"]
