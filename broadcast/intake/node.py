"""One element of a warning as it was written, XML or JSON alike, and the list of what had to be repaired in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..alert import Repair
from ..errors import InvalidAlert

Form = Literal["cap", "cn12379", "json"]

LONGEST_SHOWN = 200  # characters of a received value that a repair repeats
MOST_REPAIRS = 200  # a hostile file must not fill the ledger with remarks about itself

# Given twice with different values, nobody can know which one is meant.
_ONCE = """identifier sender senderCode sent sendTime status msgType scope secClassification severity event
    eventType"""
ONCE = frozenset(_ONCE.split())


@dataclass(frozen=True, slots=True)
class Node:
    """An element by its local name: `text` where it has no children. `line` counts from 1 and is None in JSON."""

    name: str
    text: str = ""
    line: int | None = None
    children: tuple[Node, ...] = ()
    namespace: str = ""

    def all(self, name: str) -> list[Node]:
        """The children of that name which say anything."""
        return [child for child in self.children if child.name == name and (child.text or child.children)]


class Repairs:
    """Collects what was repaired while one warning is read. Lives only for that one reading."""

    def __init__(self) -> None:
        self._made: dict[Repair, None] = {}
        self._left_out = 0

    def note(self, element: str, value: str, taken_as: str) -> None:
        """Adds one repair, its texts cut short."""
        repair = Repair(element[:LONGEST_SHOWN], value[:LONGEST_SHOWN], taken_as[:LONGEST_SHOWN])
        if repair in self._made:
            return
        if len(self._made) < MOST_REPAIRS:
            self._made[repair] = None
        else:
            self._left_out += 1

    def made(self) -> tuple[Repair, ...]:
        """All of them in order; when there were too many, the last one says how many were left out."""
        if not self._left_out:
            return tuple(self._made)
        return (*self._made, Repair("repairs", str(self._left_out), "not listed: too many"))


def text_of(node: Node, name: str, repairs: Repairs) -> str:
    """The text of the one child of that name, "" when there is none.

    Raises InvalidAlert when an element that decides who is warned is given twice with different values; other elements
    given twice are joined.
    """
    found = [child for child in node.all(name) if child.text]
    texts = list(dict.fromkeys(child.text for child in found))
    if len(texts) <= 1:
        return texts[0] if texts else ""
    if name in ONCE:
        raise InvalidAlert(name, texts[1], f"given twice with different values, first {texts[0][:60]!r}", found[1].line)
    repairs.note(name, "", "given more than once: joined")
    return "\n".join(texts)


def line_of(node: Node, name: str) -> int | None:
    """Where the first child of that name stands, else where the node itself does."""
    return next((child.line for child in node.children if child.name == name), node.line)


def one_line(text: str) -> str:
    """The text with every run of white space as one space: XML breaks lines where it likes."""
    return " ".join(text.split())
