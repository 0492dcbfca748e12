"""The national event codes: code → name → CAP category, and back. The table beside this file names its source."""

from __future__ import annotations

import csv
from importlib import resources

# By the first letters of the code. The national table has no category of its own; CAP requires one.
_CATEGORIES = {
    "11A": ("Geo", "Met"),
    "11B": ("Met",),
    "11C": ("Geo",),
    "11D": ("Geo", "Met"),
    "11E": ("Met", "Geo"),
    "11F": ("Env", "Health"),
    "11G": ("Fire",),
    "12D": ("Safety", "CBRNE"),
    "12E": ("Safety", "Fire"),
    "12G": ("Fire", "Safety"),
    "12H": ("Transport", "Safety"),
    "12J": ("Transport", "Safety"),
    "12K": ("Transport", "Safety"),
    "12L": ("Transport", "Safety"),
    "12M": ("Transport", "Safety"),
    "12P": ("Infra", "Safety"),
    "12Q": ("Env",),
    "12T": ("CBRNE", "Safety"),
    "12U": ("Infra",),
    "12": ("Safety",),
    "13": ("Health",),
    "14": ("Security",),
}

# What departments write where the table says 山洪灾害事件. A flash flood must not fall to the plan for everything else.
ALIASES = {"山洪": "11A51", "山洪灾害": "11A51"}
FLASH_FLOOD = "11A51"


def _table() -> dict[str, str]:
    lines = resources.files(__package__).joinpath("event_types.csv").read_text("utf-8").splitlines()
    return {row["code"]: row["zh"] for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


NAMES = _table()
CODES = {name: code for code, name in NAMES.items()}


def categories_of(code: str) -> tuple[str, ...]:
    """CAP's categories for a national code; ("Other",) where the code says nothing."""
    return _CATEGORIES.get(code[:3]) or _CATEGORIES.get(code[:2]) or ("Other",)


def class_of(code: str) -> str:
    """The name of the class that an unlisted code belongs to (11B98 → 气象灾害), "" when there is none."""
    return NAMES.get(code[:3] + "00", "")


def is_national(code: str) -> bool:
    """True for the shape of a national code: five characters, two digits first."""
    return len(code) == 5 and code.isascii() and code.isalnum() and code[:2].isdigit() and code.upper() == code


def name_before_colour(headline: str) -> str:
    """The event that a headline names right before a colour: …发布暴雨橙色预警 → 暴雨. "" when it names none."""
    for colour in ("红色", "橙色", "黄色", "蓝色"):
        before, found, _ = headline.partition(colour)
        fitting = [name for name in (*CODES, *ALIASES) if found and before.endswith(name)]
        if fitting:
            return max(fitting, key=len)
    return ""
