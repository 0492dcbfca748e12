"""Who holds which post, and where to reach them: the county's roster from CSV files, checked line by line.

A phone number never stands in a problem, a repr or an exception: it is masked, and in CSV the line number says which it is.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, cast

from ..alert import RegionCode
from ..errors import InvalidFiles, Problem
from . import rows
from .phones import UNASSIGNED, Phone, mask, parse_phone
from .regions import CodeSystem, Regions, Tier
from .rows import Notes, Row

__all__ = [
    "CHANNELS",
    "Change",
    "Changes",
    "Person",
    "Place",
    "Post",
    "Resident",
    "Role",
    "Roster",
    "diff",
    "load_roles",
    "mask",
    "read",
]

CHANNELS = ("speaker", "sms", "voice", "zwdd", "grid", "feed")
PHONE_CHANNELS = frozenset({"sms", "voice"})  # their addresses are phone numbers
PEOPLE, POSTS, PLACES, RESIDENTS = "people.csv", "posts.csv", "places.csv", "residents.csv"
COLUMNS = {
    PEOPLE: ("person_id", "name", "phone", "zwdd", "grid", "synthetic", "test"),
    POSTS: ("person_id", "role", "region", "rank"),
    PLACES: ("region", "channel", "address", "synthetic", "test"),
    RESIDENTS: ("region", "grid", "phone", "synthetic"),
}
TEST_NAME = "测"  # every synthetic person's name contains it


@dataclass(frozen=True, slots=True)
class Role:
    """What a post is for. `tier` is the level it acts at; `per` is the kind of region (or grid) that each holder has."""

    code: str
    zh: str
    tier: Literal["county", "town", "village", "grid", "household"]
    en: str = ""
    per: Literal["county", "town", "village", "grid", "microgrid", "household"] = "village"
    count: int = 0  # holders of rank A for each `per`; 0 where it varies
    required: bool = False  # a region without a holder is a vacancy


@dataclass(frozen=True, slots=True)
class Person:
    """One person and their addresses. The repr shows neither name nor address."""

    person_id: str
    name: str = field(repr=False)
    synthetic: bool
    phone: str = field(default="", repr=False)  # E.164
    zwdd: str = field(default="", repr=False)  # 浙政钉 account
    grid: str = field(default="", repr=False)  # account on the grid platform (141)
    test: bool = False  # a registered test target


@dataclass(frozen=True, slots=True)
class Post:
    """A role that a person holds for a region. A is the holder, B the deputy (A/B 岗)."""

    person_id: str
    role: str
    region: RegionCode
    rank: Literal["A", "B"] = "A"


@dataclass(frozen=True, slots=True)
class Place:
    """A target without a person: a loudspeaker system, a neighbour's platform, a test phone."""

    region: RegionCode
    channel: str
    address: str = field(repr=False)  # E.164 on sms and voice, else the channel's own form
    synthetic: bool
    test: bool = False


@dataclass(frozen=True, slots=True)
class Resident:
    """One resident's phone. `grid` names the grid within the village; it is no address."""

    region: RegionCode
    grid: str
    phone: str = field(repr=False)  # E.164
    synthetic: bool


@dataclass(frozen=True, slots=True)
class Roster:
    """All of it, checked. `residents` opens the file anew each time: it may be half a million lines, and is never held."""

    persons: tuple[Person, ...]
    posts: tuple[Post, ...]
    places: tuple[Place, ...]
    residents: Callable[[], Iterator[Resident]]
    resident_count: int
    problems: tuple[Problem, ...]  # warnings only: an error is raised


def load_roles(text: str) -> Mapping[str, Role]:
    """The roles of roles.csv by code. Raises InvalidFiles."""
    file, notes = "roles.csv", Notes()
    found: dict[str, Role] = {}
    for row in rows.read(file, io.StringIO(text.removeprefix("\ufeff")), ("code", "tier", "zh"), notes):
        role = _role(row, notes)
        if role.code in found or not role.code:
            notes.error(row, f"code = {role.code!r}: empty, or stands here twice")
        found[role.code] = role
    notes.check()
    return found


def read(folder: Path, regions: Regions, roles: Mapping[str, Role]) -> Roster:
    """The roster of a folder: people.csv and posts.csv, and where they exist places.csv and residents.csv.

    Raises InvalidFiles with every problem, when one of them is an error; warnings alone are kept in `Roster.problems`.
    """
    notes = Notes()
    for name in (PEOPLE, POSTS):
        if not (folder / name).is_file():
            notes.error(name, f"the file is missing from {folder.name}/")
    persons = _people(_table(folder, PEOPLE, notes), notes)
    posts = _posts(_table(folder, POSTS, notes), persons, regions, roles, notes)
    places = _places(_table(folder, PLACES, notes), regions, notes)
    count = _check_residents(folder, regions, notes)
    _check_posts(posts, regions, roles, notes)
    notes.check()
    residents = lambda: _residents(folder, regions, Notes())  # noqa: E731  (a file opened when asked, not before)
    return Roster(tuple(persons.values()), tuple(posts), tuple(places), residents, count, notes.problems)


# --- what an import would change


@dataclass(frozen=True, slots=True)
class Change:
    """One difference, fit to be shown: no name, and numbers masked."""

    kind: Literal["added", "removed", "changed"]
    what: Literal["person", "post", "place"]
    text: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What an import would change, in order. Residents are replaced as a whole and not compared."""

    changes: tuple[Change, ...]
    residents: int  # how many the new roster has

    def count(self, kind: str, what: str) -> int:
        """How many of a kind ("added") and sort ("post")."""
        return sum(change.kind == kind and change.what == what for change in self.changes)


Holding = tuple[tuple[Person, ...], tuple[Post, ...], tuple[Place, ...]]  # the roster in force, as the ledger has it


def diff(old: Holding | None, new: Roster) -> Changes:
    """What changes when `new` replaces `old` (None: nothing is in force yet)."""
    persons, posts, places = old or ((), (), ())
    found = [
        *_compare("person", persons, new.persons, lambda one: one.person_id, _show_person),
        *_compare("post", posts, new.posts, lambda one: (one.person_id, one.role, one.region), _show_post),
        *_compare("place", places, new.places, lambda one: (one.region, one.channel, one.address), _show_place),
    ]
    return Changes(tuple(found), new.resident_count)


_T = TypeVar("_T")


def _compare(
    what: Literal["person", "post", "place"],
    old: Iterable[_T],
    new: Iterable[_T],
    key: Callable[[_T], Hashable],
    show: Callable[[_T, _T | None], str],
) -> Iterator[Change]:
    before = {key(one): one for one in old}
    after = {key(one): one for one in new}
    yield from (Change("removed", what, show(one, None)) for at, one in before.items() if at not in after)
    yield from (Change("added", what, show(one, None)) for at, one in after.items() if at not in before)
    for at, one in after.items():
        if at in before and before[at] != one:
            yield Change("changed", what, show(one, before[at]))


def _show_person(one: Person, before: Person | None) -> str:
    if before is None:
        return f"{one.person_id} {mask(one.phone)}".strip()
    parts = [
        column for column in ("name", "zwdd", "grid", "synthetic", "test") if getattr(one, column) != getattr(before, column)
    ]
    if one.phone != before.phone:
        parts.append(f"phone {mask(before.phone) or 'none'} → {mask(one.phone) or 'none'}")
    return f"{one.person_id}: {', '.join(parts)}"


def _show_post(one: Post, before: Post | None) -> str:
    rank = one.rank if before is None else f"{before.rank} → {one.rank}"
    return f"{one.role} {one.region} {one.person_id} {rank}"


def _show_place(one: Place, before: Place | None) -> str:
    address = mask(one.address) if one.channel in PHONE_CHANNELS else one.address
    return f"{one.channel} {one.region} {address}" + (": synthetic or test" if before else "")


# --- roles


def _role(row: Row, notes: Notes) -> Role:
    tiers, pers = (
        ("county", "town", "village", "grid", "household"),
        ("county", "town", "village", "grid", "microgrid", "household"),
    )
    tier, per, count = row["tier"], row["per"] or row["tier"], row["count"] or "0"
    if tier not in tiers:
        notes.error(row, f"tier = {tier!r}: must be one of {', '.join(tiers)}")
    if per not in pers:
        notes.error(row, f"per = {per!r}: must be one of {', '.join(pers)}")
    if not (count.isascii() and count.isdigit()):
        notes.error(row, f"count = {count!r}: must be a number, or empty where it varies")
        count = "0"
    # The literals were checked above; a wrong one is an error in `notes`, so this role never leaves load_roles.
    return Role(row["code"], row["zh"], tier, row["en"], per, int(count), rows.flag(row, "required", notes))  # type: ignore[arg-type]


# --- people


def _people(table: Iterable[Row], notes: Notes) -> dict[str, Person]:
    found: dict[str, Person] = {}
    unassigned, no_phone = _Tally(), _Tally()
    for row in table:
        person = _person(row, unassigned, notes)
        if not person.person_id:
            notes.error(row, "person_id is empty")
        elif person.person_id in found:
            notes.error(row, f"person_id {person.person_id} stands here twice")
        else:
            found[person.person_id] = person
        if not row["phone"]:
            no_phone.add(row)
    unassigned.warn(PEOPLE, "synthetic numbers are possible but not valid, as they should be", notes)
    no_phone.warn(PEOPLE, "persons have no phone: sms and voice cannot reach them", notes)
    return found


def _person(row: Row, unassigned: _Tally, notes: Notes) -> Person:
    synthetic, test = rows.flag(row, "synthetic", notes), rows.flag(row, "test", notes)
    if not row["name"]:
        notes.error(row, "name is empty")
    elif synthetic and TEST_NAME not in row["name"]:
        notes.warn(row, f"a synthetic person's name should contain {TEST_NAME}")
    if not any(row[column] for column in ("phone", "zwdd", "grid")):
        notes.warn(row, f"person {row['person_id']} has no phone, no zwdd and no grid account: nothing can reach them")
    phone = _phone(row, "phone", synthetic, unassigned, notes) if row["phone"] else ""
    return Person(row["person_id"], row["name"], synthetic, phone, row["zwdd"], row["grid"], test)


def _phone(row: Row, column: str, synthetic: bool, unassigned: _Tally, notes: Notes) -> str:
    """E.164, or "" with an error noted."""
    if rows.is_damaged(row[column]):
        notes.error(row, f"{column} was rewritten as a number by a spreadsheet: format the column as text and enter it again")
        return ""
    phone = parse_phone(row[column])
    if phone is None:
        notes.error(
            row, f"{column} {mask(row[column])} is no phone number that can exist in China (+86), nor one with +country code"
        )
        return ""
    _judge(row, column, phone, synthetic, unassigned, notes)
    return phone.e164


def _judge(row: Row, column: str, phone: Phone, synthetic: bool, unassigned: _Tally, notes: Notes) -> None:
    if phone.is_test_range and not synthetic:
        notes.warn(
            row, f"{column} {phone.masked} begins with {' or '.join(UNASSIGNED)}, which no operator has, but synthetic is not 1"
        )
    elif not phone.valid and synthetic:
        unassigned.add(row)
    elif not phone.valid:
        notes.warn(row, f"{column} {phone.masked} is possible but not valid: no operator is known for it; check it")
    elif phone.landline:
        notes.warn(row, f"{column} {phone.masked} is a landline: voice reaches it, sms does not")


# --- posts


def _posts(
    table: Iterable[Row], persons: Mapping[str, Person], regions: Regions, roles: Mapping[str, Role], notes: Notes
) -> list[Post]:
    found: dict[tuple[str, str, str], Post] = {}
    for row in table:
        person, role, rank = row["person_id"], row["role"], row["rank"] or "A"
        region = _region(row, regions, notes)
        if person not in persons:
            notes.error(row, f"person_id = {person!r}: no such person in {PEOPLE}")
        if role not in roles:
            notes.error(row, f"role = {role!r}: no such role in roles.csv")
        if rank not in ("A", "B"):
            notes.error(row, f"rank = {rank!r}: write A (holder) or B (deputy)")
        if region is None or role not in roles:
            continue
        _check_level(row, regions, region, roles[role], notes)
        if (person, role, region) in found:
            notes.error(row, f"{person} holds {role} for {region} twice")
        found[person, role, region] = Post(person, role, region, cast(Literal["A", "B"], rank))
    return list(found.values())


def _check_level(row: Row, regions: Regions, region: RegionCode, role: Role, notes: Notes) -> None:
    level = Tier(role.per) if role.per in tuple(Tier) else Tier.VILLAGE  # a grid or household hangs below its village
    if regions[region].tier is not level:
        notes.error(row, f"region {region} is a {regions[region].tier}; {role.code} is held for a {level}")


def _check_posts(posts: Iterable[Post], regions: Regions, roles: Mapping[str, Role], notes: Notes) -> None:
    holders: dict[str, Counter[RegionCode]] = defaultdict(Counter)
    for post in posts:
        holders[post.role][post.region] += post.rank == "A"
    for role in roles.values():
        held = holders[role.code]
        if role.count and role.per in tuple(Tier):
            _warn_of(
                notes,
                regions,
                [code for code in held if held[code] > role.count],
                f"{role.code} has more than {role.count} holders of rank A",
            )
        if role.required:
            _warn_of(
                notes,
                regions,
                [r.code for r in regions if r.tier == role.per and not held[r.code]],
                f"{role.code} has no holder of rank A",
            )


def _warn_of(notes: Notes, regions: Regions, codes: list[RegionCode], what: str) -> None:
    if codes:
        names = ", ".join(f"{regions[code].name} ({code})" for code in codes[:5]) + (", …" if len(codes) > 5 else "")
        notes.warn(POSTS, f"{what} in {len(codes)} region{'s' if len(codes) > 1 else ''}: {names}")


# --- places and residents


def _places(table: Iterable[Row], regions: Regions, notes: Notes) -> list[Place]:
    found: dict[tuple[str, str, str], Place] = {}
    unassigned = _Tally()
    for row in table:
        synthetic, test = rows.flag(row, "synthetic", notes), rows.flag(row, "test", notes)
        region, channel, address = _region(row, regions, notes), row["channel"], row["address"]
        if channel not in CHANNELS:
            notes.error(row, f"channel = {channel!r}: must be one of {', '.join(CHANNELS)}")
        if not address:
            notes.error(row, "address is empty")
        elif channel in PHONE_CHANNELS:
            address = _phone(row, "address", synthetic, unassigned, notes)
        if region and address and (region, channel, address) in found:
            notes.error(row, f"the same address of {channel} stands twice for {region}")
        elif region and address:
            found[region, channel, address] = Place(region, channel, address, synthetic, test)
    unassigned.warn(PLACES, "synthetic numbers are possible but not valid, as they should be", notes)
    return list(found.values())


def _check_residents(folder: Path, regions: Regions, notes: Notes) -> int:
    return sum(1 for _ in _residents(folder, regions, notes))


def _residents(folder: Path, regions: Regions, notes: Notes) -> Iterator[Resident]:
    """One at a time. What is wrong is noted; lines of one kind are counted, because a file of half a million may repeat it."""
    known: dict[str, RegionCode | None] = {}
    unassigned, synthetic_unassigned = _Tally(), _Tally()
    for row in _table(folder, RESIDENTS, notes):
        code = row["region"]
        if known.get(code) is None:
            known[code] = _village(row, regions, notes)
        region, synthetic = known[code], rows.flag(row, "synthetic", notes)
        phone = _resident_phone(row, synthetic, synthetic_unassigned if synthetic else unassigned, notes)
        if region and phone:
            yield Resident(region, row["grid"], phone, synthetic)
    unassigned.warn(RESIDENTS, "numbers are possible but not valid, or of no operator: check them", notes)
    synthetic_unassigned.warn(RESIDENTS, "synthetic numbers are possible but not valid, as they should be", notes)


def _village(row: Row, regions: Regions, notes: Notes) -> RegionCode | None:
    region = _region(row, regions, notes)
    if region and regions[region].tier is not Tier.VILLAGE:
        notes.error(row, f"region {region} is a {regions[region].tier}; a resident belongs to a village")
        return None
    return region


def _resident_phone(row: Row, synthetic: bool, unassigned: _Tally, notes: Notes) -> str:
    phone = None if rows.is_damaged(row["phone"]) else parse_phone(row["phone"])
    if phone is None or (phone.valid and not phone.landline):
        return phone.e164 if phone else _phone(row, "phone", synthetic, unassigned, notes)
    if phone.landline:
        notes.warn(row, f"phone {phone.masked} is a landline: sms does not reach it")
    else:
        unassigned.add(row)
    return phone.e164


# --- what all files share


def _table(folder: Path, name: str, notes: Notes) -> Iterator[Row]:
    """Streams a file that exists; one that does not has no rows."""
    path = folder / name
    if not path.is_file():
        return
    with path.open(encoding="utf-8-sig", newline="") as lines:
        try:
            yield from rows.read(name, lines, COLUMNS[name], notes)
        except UnicodeDecodeError:
            notes.error(name, rows.NOT_UTF8, rows.line_of_bad_text(path))


def _region(row: Row, regions: Regions, notes: Notes) -> RegionCode | None:
    value = row["region"]
    region = regions.by_code(value, CodeSystem.NBS)
    if region:
        return region
    moved = regions.moved(value)
    if rows.is_damaged(value):
        notes.error(row, "region was rewritten as a number by a spreadsheet: format the column as text and enter it again")
    elif moved:
        now = " or ".join(f"{code} ({regions[code].name})" for code in moved)
        notes.error(row, f"region {value} is a retired code: write {now}")
    else:
        notes.error(row, f"region = {value[:20]!r}: no such region; a county has 6 digits, a town 9, a village 12 (NBS codes)")
    return None


class _Tally:
    """Counts the lines that share one harmless finding, so that it is told once."""

    def __init__(self) -> None:
        self.count, self.first = 0, 0

    def add(self, row: Row) -> None:
        self.first = self.first or row.line
        self.count += 1

    def warn(self, file: str, what: str, notes: Notes) -> None:
        if self.count:
            notes.warn(file, f"{self.count} {what} (the first in this line)", self.first)
