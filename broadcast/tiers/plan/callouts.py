"""What a plan file says of 叫应: its callout, quorum, superiors, sideways and night tables → values, or problems by line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ...alert import Level
from .ladder import Ladder, Rung, Voice, wrong_with
from .night import USUAL, Night
from .page import Table

Roles: TypeAlias = tuple[str, ...]
PerRole: TypeAlias = Mapping[str, Roles]

_VOICES: Mapping[str, Voice] = {"at_once": "at_once", "when_silent": "when_silent"}
_THEN = tuple(str(rung) for rung in Rung if rung is not Rung.PRINCIPAL)
_PLACES = ("county", "town", "village")  # the tiers whose regions `callout status` shows as having answered or not

_CALLOUT_KEYS = {"calls", "every", "patience", "then", "voice", "measures"}
_NIGHT_KEYS = {"from", "to", "levels"}


def read_ladder(parent: Table) -> Ladder | None:
    """The `callout` table of a level, None when there is none. What is wrong in it is said; 1, or the door, stands for it."""
    if "callout" not in parent.data:
        return None
    table = parent.table("callout")
    table.only(_CALLOUT_KEYS)
    return Ladder(
        calls=table.whole("calls", required=True) or 1,
        every=table.seconds("every", required=True) or 1,
        patience=table.seconds("patience", required=True) or 1,
        rungs=_rungs(table),
        voice=_VOICES.get(table.choice("voice", _VOICES, required=True), "at_once"),
        measures_within=table.seconds("measures"),
    )


def _rungs(table: Table) -> tuple[Rung, ...]:
    rungs = tuple(Rung(name) for name in table.strings("then", _THEN, "rung", required=True))
    wrong = wrong_with(rungs)
    if wrong and table.data.get("then"):  # else it has been said that it is missing, or empty
        table.say(f"then: {wrong}", "then")
    return (Rung.DOOR,) if wrong else rungs


def read_quorum(parent: Table, roles: frozenset[str]) -> PerRole | None:
    """The `quorum` table of a level: tier → the roles that must have answered there. None when there is none."""
    if "quorum" not in parent.data:
        return None
    table = parent.table("quorum")
    table.only(_PLACES)
    return {tier: table.strings(tier, roles, "role", required=True) for tier in _PLACES if tier in table.data}


def read_per_role(table: Table, roles: frozenset[str]) -> PerRole:
    """`superiors` or `sideways`: role → roles, the first to be asked first."""
    table.known(table.data, roles, "role")
    return {role: table.strings(role, roles, "role") for role in table.data}


def read_night(parent: Table, levels: Iterable[str]) -> Night | None:
    """The `night` table; None when there is none."""
    if "night" not in parent.data:
        return None
    table = parent.table("night")
    table.only(_NIGHT_KEYS)
    begins, ends = table.clock("from", required=True), table.clock("to", required=True)
    woken = frozenset(Level(level) for level in table.strings("levels", tuple(levels), "level"))
    if begins is None or ends is None:
        return None
    if begins == ends:
        table.say("from and to are the same hour: give the hours in which people sleep", "to")
    return Night(begins, ends, woken if "levels" in table.data else USUAL.levels)  # [] wakes nobody, in so many words


def leads_back(superiors: PerRole) -> str:
    """A role that is in the end its own superior, "" for none: whoever climbs there would never come to the top."""
    for role in superiors:
        above: set[str] = set()
        waiting = list(superiors[role])
        while waiting:
            each = waiting.pop()
            if each not in above:
                above.add(each)
                waiting += superiors.get(each, ())
        if role in above:
            return role
    return ""
