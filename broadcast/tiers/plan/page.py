"""One TOML file that a person wrote: its tables with their values checked, and each complaint with the line it is about."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import time
from typing import Any

from ...errors import Problem

_HEADER = re.compile(r"^\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_DURATION = re.compile(r"^\s*(-?\d+)\s*(s|min|h)\s*$")
_CLOCK = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)$")
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass(slots=True)
class Page:
    """A file and what was found wrong in it. `file` is its name, as the person knows it."""

    file: str
    text: str
    problems: list[Problem] = field(default_factory=list)

    def root(self) -> Table | None:
        """Its top table, or None (with a problem) when it is not TOML."""
        try:
            return Table(self, tomllib.loads(self.text), "", 0)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            # "at end of document" has no number: then it is the last line
            number = int(line[1]) if line else len(self.text.splitlines())
            self.problems.append(Problem(self.file, number, "error", f"not TOML: {error}"))
            return None

    def line(self, path: str, nth: int, needle: str) -> int:
        """Where `needle` (a key, or a value) stands in the nth table `path`; tomllib keeps no lines, so the text is searched."""
        lines = self.text.splitlines()
        starts = [i for i, line in enumerate(lines) if _header(line) == path] if path else [-1]
        if nth < len(starts):
            start = starts[nth]
            end = next((i for i in range(start + 1, len(lines)) if _header(lines[i])), len(lines))
            if found := _find(lines, range(start + 1, end), needle):
                return found
            if path and not needle:
                return start + 1
        fallback = starts[nth] + 1 if path and nth < len(starts) else 0
        return _find(lines, range(len(lines)), needle) or fallback


def _header(line: str) -> str:
    """`[[signal."立即转移".tell]]` → `signal.立即转移.tell`; "" for any other line."""
    match = _HEADER.match(line)
    return re.sub(r"[\"'\s]", "", match[1]) if match else ""


def _find(lines: list[str], numbers: Iterable[int], needle: str) -> int:
    """The line that sets `needle` as a key, else the first that mentions it outside a comment; 0 for none."""
    within = list(numbers)
    key = re.compile(rf"^\s*[\"']?{re.escape(needle)}[\"']?\s*=")
    for test in (key.search, lambda line: needle in _without_comment(line)):
        for i in within:
            if needle and test(lines[i]):
                return i + 1
    return 0


def _without_comment(line: str) -> str:
    return re.sub(r"""("[^"]*"|'[^']*')|#.*""", lambda match: match[1] or "", line)


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a page. Every getter checks, complains to the page, and gives a usable value back."""

    page: Page
    data: Mapping[str, Any]
    path: str
    nth: int

    def say(self, message: str, needle: str = "") -> None:
        """Adds an error about `needle` in this table."""
        line = self.page.line(self.path, self.nth, needle)
        self.page.problems.append(Problem(self.page.file, line, "error", message))

    def only(self, known: Collection[str]) -> None:
        """Complains of keys that nobody reads: a typo would silently drop a duty."""
        for key in self.data:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
                self.say(f"unknown key {key!r}; {hint}", key)

    def text(self, key: str, *, required: bool = False) -> str:
        """A string, "" when absent."""
        value = self._get(key, required, "")
        if isinstance(value, str):
            return value
        self.say(f"{key} must be a text in quotes", key)
        return ""

    def choice(self, key: str, allowed: Collection[str], *, required: bool = False) -> str:
        """One of `allowed`, "" when absent."""
        value = self.text(key, required=required)
        if value and value not in allowed:
            self.say(f"{key} is {value!r}; it must be one of {', '.join(allowed)}", key)
            return ""
        return value

    def flag(self, key: str) -> bool:
        """true or false; false when absent."""
        value = self._get(key, False, False)
        if not isinstance(value, bool):
            self.say(f"{key} must be true or false", key)
        return value is True

    def strings(self, key: str, allowed: Collection[str] = (), what: str = "", *, required: bool = False) -> tuple[str, ...]:
        """A list of texts; with `what`, each must be among `allowed` and one that is not is named an unknown `what`."""
        value = self._get(key, required, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.say(f'{key} must be a list of texts, as ["…", "…"]', key)
            return ()
        if required and key in self.data and not value:
            self.say(f"{key} is empty", key)
        if what:
            self.known(value, allowed, what)
        return tuple(item for item in value if not what or item in allowed)

    def known(self, items: Iterable[str], allowed: Collection[str], what: str) -> None:
        """Complains of each item that is not among `allowed`."""
        for item in items:
            if item not in allowed:
                self.say(f"unknown {what} {item!r}{_near(item, allowed)}", item)

    def seconds(self, key: str, *, required: bool = False) -> int | None:
        """A duration such as "90s", "3min", "6h"."""
        value = self._get(key, required, None)
        if value is None:
            return None
        match = _DURATION.match(value) if isinstance(value, str) else None
        if not match:
            self.say(f'{key} must be a time such as "90s", "3min" or "6h"', key)
            return None
        if int(match[1]) <= 0:
            self.say(f"{key} is {value!r}: a time must be more than nothing", key)
            return None
        return int(match[1]) * _SECONDS[match[2]]

    def whole(self, key: str, *, required: bool = False) -> int | None:
        """A whole number, 1 or more."""
        value = self._get(key, required, None)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:  # to Python true is a number
            self.say(f"{key} must be a whole number, 1 or more", key)
            return None
        return value

    def clock(self, key: str, *, required: bool = False) -> time | None:
        """An hour of the day such as "22:00"."""
        value = self._get(key, required, None)
        if value is None:
            return None
        match = _CLOCK.match(value) if isinstance(value, str) else None
        if not match:
            self.say(f'{key} must be an hour of the day in quotes, such as "22:00"', key)
            return None
        return time(int(match[1]), int(match[2]))

    def table(self, key: str) -> Table:
        """The table below, empty when absent."""
        value = self._get(key, False, {})
        if not isinstance(value, dict):
            self.say(f"{key} must be a table", key)
            value = {}
        return Table(self.page, value, f"{self.path}.{key}" if self.path else key, 0)

    def tables(self, key: str) -> list[Table]:
        """The list of tables below (`[[…]]`), empty when absent."""
        value = self._get(key, False, [])
        path = f"{self.path}.{key}" if self.path else key
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.say(f"{key} must be written as [[{path}]]", key)
            return []
        return [Table(self.page, item, path, nth) for nth, item in enumerate(value)]

    def _get(self, key: str, required: bool, default: Any) -> Any:
        if required and key not in self.data:
            self.say(f"{key} is missing" + (f" in [{self.path}]" if self.path else ""))
        return self.data.get(key, default)


def _near(item: str, allowed: Collection[str]) -> str:
    near = difflib.get_close_matches(item, allowed, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(allowed))}"
