"""Who could be drawn, who cannot be asked, and the draw itself, committed before anybody sees it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import spotcheck
from ...errors import InvalidFiles, NotFound, Problem, Refused
from ...ledger import Row, Transaction, spotchecks
from ...ledger.operators import Operator
from ...spotcheck import BY_TOWN, Member
from ...tiers.regions import Regions
from ..house import House
from .questionnaire import questions_in_force

LEFT, NO_NUMBER, VACANT = "left", "no_number", "vacant"
_SEEDS = range(2**63)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be drawn: of one alert's posts, or of roles in a region (or everywhere)."""

    size: int
    seed: int
    alert_id: int | None = None
    region: str = ""  # with everything under it
    roles: tuple[str, ...] = ()  # () = all that the alert addresses
    by: str = BY_TOWN


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One person of the frame, with the post that they are asked about."""

    member: Member
    row: Row


@dataclass(frozen=True, slots=True)
class _Frame:
    """Everybody in question: who can be drawn, who cannot and why, and posts that nobody holds."""

    candidates: Mapping[str, _Candidate]  # by roster key
    left_out: Sequence[tuple[_Candidate, str]]
    vacant: Sequence[tuple[str, str, str]]  # role, region, town


def draw(house: House, wanted: Wanted, by: Operator) -> int:
    """Draws and writes it down; returns the number of the spot check. Raises NotFound, Refused, InvalidFiles."""
    _check(house, wanted)
    with house.ledger.write() as tx:
        file, text = questions_in_force(tx)
        questionnaire = spotcheck.read(file, text)
        used = spotchecks.used_text(tx, questionnaire.version)
        if used is not None and used != text:
            message = f"version {questionnaire.version!r} was used with another text: give this one a version of its own"
            raise InvalidFiles([Problem(file, 0, "error", message)])
        frame = _frame(house, tx, wanted)
        if not frame.candidates:
            raise Refused("there is nobody to draw: no person with a phone holds such a post there")
        members = [one.member for one in frame.candidates.values()]
        sample = spotcheck.draw(members, wanted.size, wanted.seed, wanted.by)
        values = {
            "at": house.now(),
            "who": by.name,
            "alert_id": wanted.alert_id,
            "region": wanted.region,
            "roles": json.dumps(sorted(wanted.roles)),
            "strata": wanted.by,
            "size": wanted.size,
            "seed": wanted.seed,
            "frame": spotcheck.frame_text(members, wanted.size, wanted.seed, wanted.by),
            "frame_size": len(members),
            "sha256": sample.digest,
            "version": questionnaire.version,
            "questions": text,
        }
        return spotchecks.put(tx, values, list(_rows(frame, [one.member.key for one in sample.drawn])))


def _check(house: House, wanted: Wanted) -> None:
    if wanted.size < 1:
        raise Refused("a spot check draws one person or more")
    if wanted.seed not in _SEEDS:
        raise Refused("a seed is a whole number from 0 to 2^63 - 1, so that it can be written down and drawn again")
    if wanted.alert_id is None and not wanted.roles:
        raise Refused("say of which alert, or of which roles in a region")
    for role in wanted.roles:
        if role not in house.books.roles:
            near = difflib.get_close_matches(role, house.books.roles, 1)
            raise NotFound(f"no role {role!r}" + (f"; did you mean {near[0]}?" if near else "; roles are in roles.csv"))
    if wanted.region:
        house.books.regions[wanted.region]  # raises NotFound


def _rows(frame: _Frame, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of `drawn`: those who were drawn in the order of the sheet, then those who could not be."""
    for n, key in enumerate(keys, 1):
        yield _row(frame.candidates[key], n, "")
    for one, reason in frame.left_out:
        yield _row(one, 0, reason)
    for role, region, town in frame.vacant:
        yield {"n": 0, "reason": VACANT, "person_id": None, "post_id": None, "role": role, "region": region, "town": town}


def _row(one: _Candidate, n: int, reason: str) -> dict[str, Any]:
    row = one.row
    own = {"person_id": row.person_id, "post_id": row.id, "role": row.role, "region": row.region, "town": one.member.town}
    return {"n": n, "reason": reason, **own}


def _frame(house: House, tx: Transaction, wanted: Wanted) -> _Frame:
    regions = house.books.regions
    if wanted.alert_id is not None:
        posts = spotchecks.posts_of_alert(tx, wanted.alert_id)
        covered, roles = spotchecks.regions_of_alert(tx, wanted.alert_id), spotchecks.roles_of_alert(tx, wanted.alert_id)
        roles = roles & set(wanted.roles) if wanted.roles else roles
    else:
        posts = spotchecks.posts_of_roles(tx, wanted.roles)
        covered, roles = {one.code for one in regions}, set(wanted.roles)
    inside = set(regions.below(wanted.region)) if wanted.region else None
    posts = [row for row in posts if (inside is None or row.region in inside) and (not wanted.roles or row.role in wanted.roles)]
    covered = covered if inside is None else covered & inside
    reachable = spotchecks.reachable(tx)
    people = list(_people(regions, posts))
    why = [(one, LEFT if one.row.gone is not None else "" if one.row.person_id in reachable else NO_NUMBER) for one in people]
    return _Frame(
        {one.member.key: one for one, reason in why if not reason},
        [(one, reason) for one, reason in why if reason],
        list(_vacant(house, posts, covered, roles)),
    )


def _people(regions: Regions, posts: Iterable[Row]) -> Iterator[_Candidate]:
    """Each person once, by key, asked about the first of their posts: rank A before B, then by region and role."""
    by_key: dict[str, list[Row]] = {}
    for row in posts:
        by_key.setdefault(row.key, []).append(row)
    for key in sorted(by_key):
        row = min(by_key[key], key=lambda one: (one.rank, one.region, one.role))
        yield _Candidate(Member(_town(regions, row.region), key), row)


def _town(regions: Regions, region: str) -> str:
    """The stratum: the town that a region is or lies in; the county's own posts have one of their own."""
    town = regions.town_of(region) if region in regions else None
    return town.code if town else regions.county.code


def _vacant(house: House, posts: Sequence[Row], covered: set[str], roles: set[str]) -> Iterator[tuple[str, str, str]]:
    """Required posts that nobody of rank A holds: nobody can be asked there, and that must be seen."""
    held = {(row.role, row.region) for row in posts if row.rank == "A" and row.gone is None}
    regions = house.books.regions
    for role in sorted(roles):
        known = house.books.roles.get(role)
        if known is None or not known.required:
            continue
        for one in regions:
            if one.tier == known.per and one.code in covered and (role, one.code) not in held:
                yield role, one.code, _town(regions, one.code)
