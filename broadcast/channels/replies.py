"""What people say back by SMS, whoever carried it: which words acknowledge, and which alert an extension digit means."""

from __future__ import annotations

import re
import unicodedata

from .base import Verb

ACKNOWLEDGING = frozenset({"1", "１", "收到"})  # the words that our texts ask for; anything else settles nothing
QUESTION_MARKS = "?？"  # "收到？" asks; taking it for an answer would end the calls to somebody who knows nothing

MAX_SAID = 500  # characters: more than any phone sends in one reply

_MOBILE = re.compile(r"(?:\+?86)?(1[0-9]{10})")


def verb(said: str) -> Verb:
    """Acknowledged when nothing but an acknowledging word is left without the blanks and punctuation around it."""
    return Verb.ACKNOWLEDGED if _bare(said) in ACKNOWLEDGING else Verb.OTHER


def kept(said: str) -> str:
    """Their words as they can be stored anywhere: no control characters, no half characters, at most 500."""
    whole = said[:MAX_SAID].encode("utf-8", "replace").decode()
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in whole).strip()


def address(number: str) -> str:
    """E.164 of a mainland mobile however a carrier wrote it; "" for anything else."""
    match = _MOBILE.fullmatch(number)
    return f"+86{match[1]}" if match else ""


def serial(alert_id: int, digits: int) -> str:
    """What is appended to our own number so that a reply to it tells the alert: its last digits, with zeros in front."""
    return f"{alert_id % 10**digits:0{digits}d}" if digits else ""


def alert_ending(number: str, own: str, digits: int) -> str:
    """The digits that `serial` appended, of the number that a reply came to; "" when it is not `own` and they.

    Never guessed from a number of another shape: a wrong alert would be worse than none.
    """
    ending = number[len(own) :]
    fits = digits and number.startswith(own) and len(ending) == digits and ending.isascii() and ending.isdigit()
    return ending if fits else ""


def _bare(said: str) -> str:
    """Without separators, control characters and punctuation at both ends, question marks excepted."""
    start, end = 0, len(said)
    while start < end and _is_around(said[start]):
        start += 1
    while start < end and _is_around(said[end - 1]):
        end -= 1
    return said[start:end]


def _is_around(character: str) -> bool:
    return unicodedata.category(character)[0] in "ZPC" and character not in QUESTION_MARKS
