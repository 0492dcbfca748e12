"""How the command line speaks: answers on stdout, everything else on stderr, JSON written plainly."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 160  # columns where nobody's window says how wide a line may be


def console(*, stderr: bool = False) -> Console:
    """Rich with everything off that reads meaning into a sender's words ("[red]", ":fire:")."""
    file = sys.stderr if stderr else sys.stdout
    width = None if file.isatty() else _PIPE_WIDTH
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False, soft_wrap=not file.isatty())


def clean(text: object) -> str:
    """Fit for a terminal: a warning's words come from outside and must not move the cursor or change colours."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def say(text: object = "") -> None:
    """One line of the answer."""
    print(clean(text), flush=True)  # in order with what goes to stderr


def note(text: object) -> None:
    """One line beside the answer: what is going on, what to look at, what to do next."""
    print(clean(text), file=sys.stderr)


def as_json(answer: Any) -> None:
    """The answer as one JSON document."""
    print(to_json(answer))


def to_json(answer: Any) -> str:
    """Plain json.dumps: dataclasses as objects, times in ISO 8601."""
    return json.dumps(answer, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", numbers: Iterable[int] = ()) -> Table:
    """A table whose cells are taken as they are; the columns in `numbers` are set to the right."""
    made = Table(title=Text(clean(title)) if title else None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
                 pad_edge=False, show_edge=False, collapse_padding=True)  # fmt: skip  # narrow: a window has 80 columns
    right = set(numbers)
    for n, head in enumerate(heads):
        made.add_column(head, justify="right" if n in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(clean(cell)) for cell in row))
    return made


def show(*parts: Table) -> None:
    """Tables to stdout."""
    out = console()
    for part in parts:
        out.print(part)
