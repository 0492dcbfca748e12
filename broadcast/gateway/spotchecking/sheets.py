"""The sheet of a spot check as a value: whom, the questions, the answers that stand, and what the ledger knows of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ... import spotcheck
from ...alert import RegionCode
from ...delivery import State
from ...ledger import Row, Transaction, alerts, questions, spotchecks
from ...spotcheck import Acknowledged, Contradiction, Evidence, Questionnaire, Told
from ...tiers.phones import mask_within
from ...tiers.roster import mask
from ..house import House

ERASED = "(erased)"


@dataclass(frozen=True, slots=True)
class Round:
    """What one person said when they were asked: the first time (1), or again."""

    row: int  # of the ledger; a correction is another row
    round: int
    outcome: str  # answered, not_reached, refused
    answers: Mapping[str, str]  # by question; of their words only whether they pass, unless revealed
    passed: Mapping[str, bool | None]
    failed: tuple[str, ...]
    evidence: Evidence | None  # as it was when they were asked
    contradictions: tuple[Contradiction, ...]
    way: str  # phone, visit
    at: datetime
    checker: str  # masked, unless revealed
    note: str  # "" unless revealed
    has_note: bool
    who: str  # the operator who entered it


@dataclass(frozen=True, slots=True)
class Subject:
    """One person who was drawn, by their number on the sheet."""

    n: int
    key: str  # of the person in the roster, as in the frame
    person: str  # masked, unless revealed
    phone: str
    role: str  # its code
    role_name: str
    region: str
    region_name: str
    town: str
    town_name: str
    evidence: Evidence | None  # None: the spot check is of no alert
    rounds: tuple[Round, ...]

    @property
    def last(self) -> Round | None:
        """The newest answer; None: not asked yet."""
        return self.rounds[-1] if self.rounds else None


@dataclass(frozen=True, slots=True)
class NotDrawn:
    """Somebody, or a post, that could not be drawn."""

    reason: str  # left, no_number, vacant
    person: str
    role: str
    role_name: str
    region: str
    region_name: str


@dataclass(frozen=True, slots=True)
class CheckSheet:
    """One spot check."""

    number: int
    at: datetime
    who: str
    alert_id: int | None
    headline: str
    region: str
    roles: tuple[str, ...]
    by: str
    size: int
    seed: int
    frame_size: int
    sha256: str
    questionnaire: Questionnaire
    subjects: tuple[Subject, ...]
    not_drawn: tuple[NotDrawn, ...]
    masked: bool


def without_numbers(text: str) -> str:
    """A reason as it may stand in an entry."""
    return mask_within(text.strip())


def masked_name(name: str) -> str:
    """张*."""
    return name and name[:1] + "*" * max(1, len(name) - 1)


def sheet(house: House, tx: Transaction, check: Row, *, masked: bool) -> CheckSheet:
    """Everything about one draw."""
    people = spotchecks.people(tx, [check.id])
    drawn = [row for row in people if row.n]
    persons = [row.person_id for row in drawn]
    known = spotchecks.known(tx, check.alert_id, persons) if check.alert_id is not None else {}
    numbers = spotchecks.numbers_of(tx, persons)
    rounds: dict[int, list[Row]] = {}
    for row in spotchecks.answers(tx, [check.id]):
        rounds.setdefault(row.drawn_id, []).append(row)
    reader = _Reader(house, spotcheck.read("questions", check.questions), masked)
    return CheckSheet(
        number=check.id,
        at=questions.at(check.at),
        who=check.who,
        alert_id=check.alert_id,
        headline=alerts.find(tx, check.alert_id).headline if check.alert_id is not None else "",
        region=check.region,
        roles=tuple(json.loads(check.roles)),
        by=check.strata,
        size=check.size,
        seed=check.seed,
        frame_size=check.frame_size,
        sha256=check.sha256,
        questionnaire=reader.questionnaire,
        subjects=tuple(
            reader.subject(row, known.get(row.person_id), numbers.get(row.person_id), rounds.get(row.id, ())) for row in drawn
        ),
        not_drawn=tuple(reader.not_drawn(row) for row in people if not row.n),
        masked=masked,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Rows → what a person may see of them."""

    house: House
    questionnaire: Questionnaire
    masked: bool

    def subject(self, row: Row, known: spotchecks.Known | None, number: bytes | None, rounds: Sequence[Row]) -> Subject:
        evidence = _evidence(known) if known is not None else None
        phone = self.house.ledger.seal.open(number) if number else ""
        return Subject(
            n=row.n,
            key=row.key,
            person=self._name(row),
            phone=mask(phone) if self.masked else phone.removeprefix("+86"),
            role=row.role,
            role_name=self._role(row.role),
            region=row.region,
            region_name=self._region(row.region),
            town=row.town,
            town_name=self._region(row.town),
            evidence=evidence,
            rounds=tuple(self._round(one, evidence) for one in rounds),
        )

    def not_drawn(self, row: Row) -> NotDrawn:
        name = self._name(row) if row.person_id is not None else ""
        return NotDrawn(row.reason, name, row.role, self._role(row.role), row.region, self._region(row.region))

    def _round(self, row: Row, evidence: Evidence | None) -> Round:
        kept: dict[str, str] = json.loads(row.answers)
        sealed = opened(self.house, row)
        asked = self.questionnaire.questions
        # A form has minutes: whatever happened within that minute had happened.
        then = evidence and spotcheck.as_of(evidence, questions.at(row.at) + timedelta(seconds=59))
        words = {} if self.masked or sealed is None else sealed.texts
        checker = ERASED if sealed is None else sealed.checker
        return Round(
            row=row.id,
            round=row.round,
            outcome=row.outcome,
            answers={**kept, **words},
            passed={one.key: spotcheck.passed(one, kept.get(one.key, "")) for one in asked},
            failed=spotcheck.failed(asked, kept),
            evidence=then,
            contradictions=spotcheck.compare(asked, kept, then),
            way=row.way,
            at=questions.at(row.at),
            checker=masked_name(checker) if self.masked and sealed is not None else checker,
            note="" if self.masked or sealed is None else sealed.note,
            has_note=bool(sealed and sealed.note),
            who=row.who,
        )

    def _name(self, row: Row) -> str:
        if row.name is None:
            return ERASED
        name = self.house.ledger.seal.open(row.name)
        return masked_name(name) if self.masked else name

    def _role(self, code: str) -> str:
        known = self.house.books.roles.get(code)
        return known.zh if known else code

    def _region(self, code: str) -> str:
        regions = self.house.books.regions
        return regions[RegionCode(code)].name if code in regions else code


def _evidence(known: spotchecks.Known) -> Evidence:
    return Evidence(
        told=tuple(
            Told(channel, State(state), questions.moment(sent), questions.moment(delivered))
            for channel, state, sent, delivered in known.told
        ),
        acknowledged=tuple(Acknowledged(how, questions.at(at)) for how, at in known.answered),
        owed=known.owed,
        answered_for=known.answered_for,
    )


@dataclass(frozen=True, slots=True)
class Sealed:
    """What of an answer is a person's own."""

    checker: str
    note: str
    texts: Mapping[str, str]


def opened(house: House, row: Row) -> Sealed | None:
    """The sealed part of an answer; None when it was erased."""
    if row.said is None:
        return None
    return Sealed(**json.loads(house.ledger.seal.open(row.said)))


def sealed(house: House, what: Sealed) -> bytes:
    """The inverse of `opened`."""
    body = {"checker": what.checker, "note": what.note, "texts": dict(what.texts)}
    return house.ledger.seal.seal(json.dumps(body, ensure_ascii=False))
