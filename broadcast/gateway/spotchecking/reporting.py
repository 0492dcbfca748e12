"""What spot checks found: rates, contradictions, whom to ask again and by when, and how it goes over a season."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ... import spotcheck
from ...alert import RegionCode
from ...errors import NotFound
from ...ledger import Row, Transaction, spotchecks
from ...spotcheck import Contradiction, Question, Rate
from ..house import House
from . import facts, sheets
from .answering import ANSWERED, NOT_REACHED, REFUSED
from .sheets import CheckSheet, Round, Subject

_BEIJING = timezone(timedelta(hours=8))
ALWAYS = 2  # times asked before "always" is said of anybody


@dataclass(frozen=True, slots=True)
class Summary:
    """One spot check in a line."""

    number: int
    at: datetime
    who: str
    alert_id: int | None
    headline: str
    region: str
    roles: tuple[str, ...]
    seed: int
    version: str
    placeholder: bool
    frame: int
    drawn: int
    answered: int
    not_reached: int
    refused: int
    open: int  # not asked yet
    not_drawn: Mapping[str, int]  # reason → how many


@dataclass(frozen=True, slots=True)
class Line:
    """One rate: of a question, a town or a role."""

    key: str
    name: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class Flag:
    """One contradiction with whose it is; the name is masked."""

    check: int
    n: int
    person: str
    role_name: str
    region_name: str
    found: Contradiction
    ledger: str  # in English
    ledger_zh: str


@dataclass(frozen=True, slots=True)
class Again:
    """Somebody to ask again."""

    check: int
    n: int
    person: str
    role_name: str
    region_name: str
    why: tuple[str, ...]  # keys of failed questions; not_reached, refused, contradiction
    due: datetime
    overdue: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """One question over the spot checks, in the order in which they were drawn."""

    key: str
    name: str
    rates: tuple[tuple[int, datetime, Rate], ...]


@dataclass(frozen=True, slots=True)
class Persistent:
    """Somebody who failed the same question each time they were asked, by several spot checks."""

    person: str
    role_name: str
    region_name: str
    question: str
    times: int
    acknowledged: int  # of these times, how often they had acknowledged the alert


@dataclass(frozen=True, slots=True)
class Often:
    """Somebody who was drawn more than once."""

    person: str
    role_name: str
    region_name: str
    times: int


@dataclass(frozen=True, slots=True)
class Reach:
    """Of one town's persons who could have been drawn, how many were, and how many never."""

    town: str
    name: str
    drawn: int
    never: int


@dataclass(frozen=True, slots=True)
class Report:
    """One or several spot checks. All rates are of the first asking: what the check found, not what was taught since."""

    numbers: tuple[int, ...]
    title: str
    placeholder: bool
    checks: tuple[Summary, ...]
    whole: Rate  # persons who passed every question that they were asked
    by_question: tuple[Line, ...]
    by_town: tuple[Line, ...]
    by_role: tuple[Line, ...]
    contradictions: tuple[Flag, ...]
    again: tuple[Again, ...]
    asked_again: Rate  # of those asked again, who passes now
    drift: tuple[Drift, ...]  # () for one spot check
    persistent: tuple[Persistent, ...]
    often: tuple[Often, ...]
    reach: tuple[Reach, ...]


def year(number: int) -> tuple[int, int]:
    """From when until when a season lasts, in the ledger's time. Raises NotFound for no year."""
    if not 2000 <= number <= 2200:
        raise NotFound(f"{number} is no year of a season; write it as 2023")
    since, until = (datetime(one, 1, 1, tzinfo=_BEIJING) for one in (number, number + 1))
    return int(since.timestamp() * 1000), int(until.timestamp() * 1000)


def summaries(house: House) -> list[Summary]:
    """Every draw."""
    with house.ledger.read() as tx:
        return [_summary(_sheet(house, tx, row)) for row in spotchecks.listed(tx)]


def report(house: House, numbers: Sequence[int]) -> Report:
    """What these spot checks found. Raises NotFound."""
    with house.ledger.read() as tx:
        rows = [spotchecks.find(tx, number) for number in sorted(set(numbers))]
        checks = [_sheet(house, tx, row) for row in rows if row is not None]
        if not checks or len(checks) < len(rows):
            raise NotFound("no such spot check, or none in that time; `broadcast spotcheck list` shows them")
        frames = [row.frame for row in rows if row is not None]
        people = [row for row in spotchecks.people(tx, [one.number for one in checks]) if row.n]
    asked = _questions(checks)
    scores = spotcheck.score([one.key for one in asked], [_scored(one) for check in checks for one in check.subjects])
    roles, regions = house.books.roles, house.books.regions
    return Report(
        numbers=tuple(one.number for one in checks),
        title=checks[-1].questionnaire.title,
        placeholder=any(one.questionnaire.placeholder for one in checks),
        checks=tuple(map(_summary, checks)),
        whole=scores.whole,
        by_question=tuple(Line(one.key, one.wording, scores.by_question[one.key]) for one in asked),
        by_town=tuple(
            Line(code, regions[RegionCode(code)].name if code in regions else code, rate) for code, rate in scores.by_town.items()
        ),
        by_role=tuple(Line(code, roles[code].zh if code in roles else code, rate) for code, rate in scores.by_role.items()),
        contradictions=tuple(flag for check in checks for flag in _flags(check)),
        again=tuple(sorted(_again(checks, house.clock()), key=lambda one: (one.due, one.check, one.n))),
        asked_again=_asked_again(checks),
        drift=tuple(_drift(asked, checks)) if len(checks) > 1 else (),
        persistent=tuple(_persistent(people, checks, asked)),
        often=tuple(_often(people, checks)),
        reach=tuple(_reach(house, frames, people)),
    )


def _sheet(house: House, tx: Transaction, row: Row) -> CheckSheet:
    return sheets.sheet(house, tx, row, masked=True)


def _summary(check: CheckSheet) -> Summary:
    outcomes = Counter(one.last.outcome for one in check.subjects if one.last is not None)
    return Summary(
        number=check.number,
        at=check.at,
        who=check.who,
        alert_id=check.alert_id,
        headline=check.headline,
        region=check.region,
        roles=check.roles,
        seed=check.seed,
        version=check.questionnaire.version,
        placeholder=check.questionnaire.placeholder,
        frame=check.frame_size,
        drawn=len(check.subjects),
        answered=outcomes[ANSWERED],
        not_reached=outcomes[NOT_REACHED],
        refused=outcomes[REFUSED],
        open=sum(one.last is None for one in check.subjects),
        not_drawn=dict(sorted(Counter(one.reason for one in check.not_drawn).items())),
    )


def _questions(checks: Sequence[CheckSheet]) -> list[Question]:
    """Every question once, by its key, as the newest version words it."""
    found: dict[str, Question] = {}
    for check in checks:
        for one in check.questionnaire.questions:
            found[one.key] = one
    return list(found.values())


def _first(subject: Subject) -> Round | None:
    return subject.rounds[0] if subject.rounds else None


def _scored(subject: Subject) -> spotcheck.Sheet:
    first = _first(subject)
    return spotcheck.Sheet(subject.town, subject.role, first.passed if first else {})


def _flags(check: CheckSheet) -> Iterator[Flag]:
    for one in check.subjects:
        first = _first(one)
        if first is None:
            continue
        known = (facts.facts(first.evidence), facts.facts(first.evidence, chinese=True))
        for found in first.contradictions:
            yield Flag(check.number, one.n, one.person, one.role_name, one.region_name, found, *known)


def _again(checks: Sequence[CheckSheet], now: datetime) -> Iterator[Again]:
    for check in checks:
        within = timedelta(days=check.questionnaire.recheck_within_days)
        for one in check.subjects:
            last = one.last
            if last is None or not (why := _why(last)):
                continue
            due = last.at + within
            yield Again(check.number, one.n, one.person, one.role_name, one.region_name, why, due, now > due)


def _why(last: Round) -> tuple[str, ...]:
    if last.outcome != ANSWERED:
        return (last.outcome,)
    apart = {found.question for found in last.contradictions} - set(last.failed)
    return (*last.failed, *(["contradiction"] if apart else []))


def _asked_again(checks: Sequence[CheckSheet]) -> Rate:
    later = [one.last for check in checks for one in check.subjects if len(one.rounds) > 1 and one.last is not None]
    return Rate.of(sum(one.outcome == ANSWERED and not one.failed for one in later), len(later))


def _drift(asked: Sequence[Question], checks: Sequence[CheckSheet]) -> Iterator[Drift]:
    for one in asked:
        rates = [
            (check.number, check.at, spotcheck.score([one.key], [_scored(each) for each in check.subjects]).by_question[one.key])
            for check in checks
        ]
        yield Drift(one.key, one.wording, tuple(rates))


def _persistent(people: Sequence[Row], checks: Sequence[CheckSheet], asked: Sequence[Question]) -> Iterator[Persistent]:
    for those in _by_person(people, checks).values():
        rounds = [first for one in those if (first := _first(one)) is not None and first.outcome == ANSWERED]
        for question in asked:
            told = [(one, result) for one in rounds if (result := one.passed.get(question.key)) is not None]
            if len(told) >= ALWAYS and not any(result for _, result in told):
                newest = those[-1]
                known = sum(bool(then.evidence and then.evidence.acknowledged) for then, _ in told)
                yield Persistent(newest.person, newest.role_name, newest.region_name, question.wording, len(told), known)


def _often(people: Sequence[Row], checks: Sequence[CheckSheet]) -> Iterator[Often]:
    several = [those for those in _by_person(people, checks).values() if len(those) > 1]
    for those in sorted(several, key=len, reverse=True):
        yield Often(those[-1].person, those[-1].role_name, those[-1].region_name, len(those))


def _by_person(people: Sequence[Row], checks: Sequence[CheckSheet]) -> Mapping[int, list[Subject]]:
    subjects = {(check.number, one.n): one for check in checks for one in check.subjects}
    found: dict[int, list[Subject]] = {}
    for row in people:
        found.setdefault(row.person_id, []).append(subjects[row.spotcheck_id, row.n])
    return found


def _reach(house: House, frames: Sequence[str], people: Sequence[Row]) -> Iterator[Reach]:
    """By town: of the persons who could have been drawn, how many were at least once."""
    drawn = {row.key for row in people}
    towns: dict[str, set[str]] = {}
    for frame in frames:
        for line in frame.splitlines():
            town, tab, key = line.partition("\t")
            if tab:
                towns.setdefault(town, set()).add(key)
    regions = house.books.regions
    for code, keys in sorted(towns.items()):
        name = regions[RegionCode(code)].name if code in regions else code
        yield Reach(code, name, len(keys & drawn), len(keys - drawn))


def shown_time(moment: datetime) -> str:
    """Beijing time, to the minute."""
    return f"{moment.astimezone(_BEIJING):%Y-%m-%d %H:%M}"
