"""The roster's CSV files → values, checked line by line.

A phone number never stands in a problem: it is masked, and the line number says which it is.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, cast

from ...alert import RegionCode
from .. import rows
from ..phones import UNASSIGNED, Phone, mask, mask_within, parse_phone
from ..regions import CodeSystem, Regions, Tier
from ..rows import Notes, Row
from .people import CHANNELS, PHONE_CHANNELS, Person, Place, Post, Resident, Role, Roster

PEOPLE, POSTS, PLACES, RESIDENTS = "people.csv", "posts.csv", "places.csv", "residents.csv"
COLUMNS = {
    PEOPLE: ("person_id", "name", "phone", "zwdd", "grid", "synthetic", "test"),
    POSTS: ("person_id", "role", "region", "rank"),
    PLACES: ("region", "channel", "address", "synthetic", "test"),
    RESIDENTS: ("region", "grid", "phone", "synthetic"),
}
_REGIONAL = frozenset(Tier)  # what a role can be `per` and that has a region of its own
_REWRITTEN = "was rewritten as a number by a spreadsheet: format the column as text and enter it again"
TEST_NAME = "测"  # every synthetic person's name contains it


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
    return Roster(
        tuple(persons.values()), tuple(posts), tuple(places), partial(_open_residents, folder, regions), notes.problems, count
    )


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
    phones = _Phones(PEOPLE, notes)
    for row in table:
        person = _person(row, phones, notes)
        if not person.person_id:
            notes.error(row, "person_id is empty")
        elif mask_within(person.person_id) != person.person_id:
            notes.error(row, "person_id is a phone number: use another id, because ids are shown in logs and tables")
        elif person.person_id in found:
            notes.error(row, f"person_id {person.person_id} stands here twice")
        else:
            found[person.person_id] = person
        if not row["phone"]:
            phones.tally("persons have no phone: sms and voice cannot reach them", row)
    phones.tell_tallies()
    return found


def _person(row: Row, phones: _Phones, notes: Notes) -> Person:
    synthetic, test = rows.flag(row, "synthetic", notes), rows.flag(row, "test", notes)
    if not row["name"]:
        notes.error(row, "name is empty")
    elif synthetic and TEST_NAME not in row["name"]:
        notes.warn(row, f"a synthetic person's name should contain {TEST_NAME}")
    if not any(row[column] for column in ("phone", "zwdd", "grid")):
        notes.warn(row, f"person {row['person_id']} has no phone, no zwdd and no grid account: nothing can reach them")
    phone = phones.read(row, "phone", synthetic) if row["phone"] else ""
    return Person(row["person_id"], row["name"], synthetic, phone, row["zwdd"], row["grid"], test)


class _Phones:
    """Reads the numbers of one file. What is harmless and may fill the file is counted and told once."""

    def __init__(self, file: str, notes: Notes, *, each: bool = True) -> None:
        self.file, self.notes = file, notes
        self.each = each  # False: half a million lines, so that warnings too are counted
        self.tallies: dict[str, tuple[int, int]] = {}  # finding → how many lines, the first of them

    def read(self, row: Row, column: str, synthetic: bool) -> str:
        """E.164, or "" with an error noted."""
        if rows.is_damaged(row[column]):
            self.notes.error(
                row, f"{column} was rewritten as a number by a spreadsheet: format the column as text, enter it again"
            )
            return ""
        phone = parse_phone(row[column])
        if phone is None:
            self.notes.error(row, f"{column} {mask(row[column])}: no number of China, or with +country code, can look like this")
            return ""
        self._judge(row, column, phone, synthetic)
        return phone.e164

    def tally(self, what: str, row: Row) -> None:
        """Counts a line that shares a finding with others."""
        count, first = self.tallies.get(what, (0, row.line))
        self.tallies[what] = count + 1, first

    def tell_tallies(self) -> None:
        """Notes what was counted, each finding once."""
        for what, (count, first) in self.tallies.items():
            self.notes.warn(self.file, f"{count} {what} (the first in this line)", first)

    def _judge(self, row: Row, column: str, phone: Phone, synthetic: bool) -> None:
        if phone.is_test_range and not synthetic:
            self._warn(row, column, phone, f"begin with {' or '.join(UNASSIGNED)}, which no operator has, but are not synthetic")
        elif not phone.valid and synthetic:
            self.tally("synthetic numbers are possible but not valid, as they should be", row)
        elif not phone.valid:
            self._warn(row, column, phone, "are possible but not valid: no operator is known; check them")
        elif phone.landline:
            self._warn(row, column, phone, "are landlines: voice reaches them, sms does not")

    def _warn(self, row: Row, column: str, phone: Phone, what: str) -> None:
        if self.each:
            self.notes.warn(row, f"{column} {phone.masked} is of those that {what}")
        else:
            self.tally(f"numbers {what}", row)


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
    level = Tier(role.per) if role.per in _REGIONAL else Tier.VILLAGE  # a grid or household hangs below its village
    if regions[region].tier is not level:
        notes.error(row, f"region {region} is a {regions[region].tier}; {role.code} is held for a {level}")


def _check_posts(posts: Iterable[Post], regions: Regions, roles: Mapping[str, Role], notes: Notes) -> None:
    holders: dict[str, Counter[RegionCode]] = defaultdict(Counter)
    for post in posts:
        holders[post.role][post.region] += post.rank == "A"
    for role in roles.values():
        held = holders[role.code]
        crowded = [code for code in held if held[code] > role.count > 0] if role.per in _REGIONAL else []
        _warn_of(notes, regions, crowded, f"{role.code} has more than {role.count} of rank A (deputies are B)")
        vacant = [region.code for region in regions if region.tier == role.per and not held[region.code]] if role.required else []
        _warn_of(notes, regions, vacant, f"{role.code} is vacant (nobody of rank A)")


def _warn_of(notes: Notes, regions: Regions, codes: list[RegionCode], what: str) -> None:
    if codes:
        names = ", ".join(f"{regions[code].name} ({code})" for code in codes[:5]) + (", …" if len(codes) > 5 else "")
        notes.warn(POSTS, f"{what} in {len(codes)} region{'s' if len(codes) > 1 else ''}: {names}")


# --- places and residents


def _places(table: Iterable[Row], regions: Regions, notes: Notes) -> list[Place]:
    found: dict[tuple[str, str, str], Place] = {}
    phones = _Phones(PLACES, notes)
    for row in table:
        synthetic, test = rows.flag(row, "synthetic", notes), rows.flag(row, "test", notes)
        region, channel, address = _region(row, regions, notes), row["channel"], row["address"]
        if channel not in CHANNELS:
            notes.error(row, f"channel = {channel!r}: must be one of {', '.join(CHANNELS)}")
        if not address:
            notes.error(row, "address is empty")
        elif channel in PHONE_CHANNELS:
            address = phones.read(row, "address", synthetic)
        if region and address and (region, channel, address) in found:
            notes.error(row, f"the same address of {channel} stands twice for {region}")
        elif region and address:
            found[region, channel, address] = Place(region, channel, address, synthetic, test)
    phones.tell_tallies()
    return list(found.values())


def _check_residents(folder: Path, regions: Regions, notes: Notes) -> int:
    return sum(1 for _ in _residents(folder, regions, notes))


def _residents(folder: Path, regions: Regions, notes: Notes) -> Iterator[Resident]:
    """One at a time, because the file may be half a million lines."""
    known: dict[str, RegionCode | None] = {}
    phones = _Phones(RESIDENTS, notes, each=False)
    for row in _table(folder, RESIDENTS, notes):
        code = row["region"]
        if known.get(code) is None:
            known[code] = _village(row, regions, notes)
        region, synthetic = known[code], rows.flag(row, "synthetic", notes)
        phone = phones.read(row, "phone", synthetic)
        if region and phone:
            yield Resident(region, row["grid"], phone, synthetic)
    phones.tell_tallies()


def _open_residents(folder: Path, regions: Regions) -> Iterator[Resident]:
    """Reads the file again. Raises InvalidFiles when it was changed since it was checked and is now wrong."""
    notes = Notes()
    yield from _residents(folder, regions, notes)
    notes.check()


def _village(row: Row, regions: Regions, notes: Notes) -> RegionCode | None:
    region = _region(row, regions, notes)
    if region and regions[region].tier is not Tier.VILLAGE:
        notes.error(row, f"region {region} is a {regions[region].tier}; a resident belongs to a village")
        return None
    return region


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
        notes.error(row, f"region {_REWRITTEN}")
    elif moved:
        now = " or ".join(f"{code} ({regions[code].name})" for code in moved)
        notes.error(row, f"region {value} is a retired code: write {now}")
    else:
        notes.error(row, f"region = {value[:20]!r}: no such region; a county has 6 digits, a town 9, a village 12 (NBS codes)")
    return None
