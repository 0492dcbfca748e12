"""Answers as checkers write them → rows of the ledger. All of them or none, and every problem by line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone

from ... import spotcheck
from ...errors import InvalidFiles, NotFound, Problem
from ...ledger import Row, Transaction, spotchecks
from ...ledger.operators import Operator
from ...ledger.spotchecks import Said
from ...spotcheck import Questionnaire
from ...tiers.phones import mask_within
from ..house import House
from .sheets import Sealed, opened, sealed

BEIJING = timezone(timedelta(hours=8))
ANSWERED, NOT_REACHED, REFUSED = "answered", "not_reached", "refused"
OUTCOMES = {"已答": ANSWERED, "联系不上": NOT_REACHED, "拒答": REFUSED}  # what a checker writes → ours; ours is taken too
WAYS = {"电话": "phone", "现场": "visit"}
_SHOWN = 20  # characters of a wrong cell that are repeated


@dataclass(frozen=True, slots=True)
class Written:
    """One person's answers as they were written down: texts, nothing checked. The repr shows no words."""

    n: str
    answers: Mapping[str, str] = field(repr=False)  # by question's key
    outcome: str = ""  # 已答, 联系不上, 拒答; "" where there are answers: 已答
    way: str = ""  # 电话, 现场
    at: str = ""  # Beijing time, 2023-07-05 09:30
    checker: str = field(default="", repr=False)  # "" = the operator
    note: str = field(default="", repr=False)
    line: int = 0

    @property
    def empty(self) -> bool:
        """True for a row that nobody has filled in."""
        return not any((*self.answers.values(), self.outcome, self.way, self.at, self.checker, self.note))


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a number of rows."""

    new: int
    corrected: int
    again: int
    same: int  # stood already, word for word
    empty: int


@dataclass(frozen=True, slots=True)
class _Clean:
    """One row, checked."""

    written: Written
    n: int
    outcome: str
    answers: Mapping[str, str]
    texts: Mapping[str, str]
    way: str
    at: int
    checker: str


def take(house: House, number: int, written: Sequence[Written], by: Operator, *, file: str, correct: bool, again: bool) -> Taken:
    """Checks all rows, then writes those that say something new. Raises InvalidFiles, NotFound."""
    now = house.now()
    with house.ledger.write() as tx:
        check = spotchecks.find(tx, number, lock=True)
        if check is None:
            raise NotFound(f"no spot check {number}; `broadcast spotcheck list` shows them")
        desk = _Desk(house, check, spotcheck.read("questions", check.questions), by.name, file or "answers", now)
        rows = [one for one in written if not one.empty]
        clean = desk.checked(rows)
        steps = desk.steps(tx, clean, correct=correct, again=again)
        desk.refuse_problems()
        if steps:
            spotchecks.take(tx, check, steps, now, by.name)
    corrected = sum(one.supersedes is not None for one in steps)
    repeated = sum(one.supersedes is None and one.round > 1 for one in steps)
    return Taken(len(steps) - corrected - repeated, corrected, repeated, len(rows) - len(steps), len(written) - len(rows))


@dataclass(slots=True)
class _Desk:
    """Where rows of one spot check are checked; what is wrong is gathered."""

    house: House
    check: Row
    questionnaire: Questionnaire
    who: str
    file: str
    now: int
    problems: list[Problem] = field(default_factory=list)

    def refuse_problems(self) -> None:
        if self.problems:
            raise InvalidFiles(sorted(self.problems, key=lambda one: one.line))

    def say(self, row: Written, message: str) -> None:
        self.problems.append(Problem(self.file, row.line, "error", mask_within(message)))

    def checked(self, rows: Sequence[Written]) -> list[_Clean]:
        seen: dict[str, int] = {}
        found = []
        for row in rows:
            if row.n in seen:
                self.say(row, f"number {row.n[:_SHOWN]} stands in line {seen[row.n]} already: one row for each person")
            seen.setdefault(row.n, row.line)
            if (clean := self._clean(row)) is not None:
                found.append(clean)
        return found

    def _clean(self, row: Written) -> _Clean | None:
        before = len(self.problems)
        n = int(row.n) if row.n.isascii() and row.n.isdigit() else 0
        if n < 1:
            self.say(row, f"{row.n[:_SHOWN]!r} is no number of this sheet")
        outcome = self._outcome(row)
        answers, texts = self._answers(row, outcome)
        way = self._word(row, row.way, WAYS, "how they were asked (方式)")
        at = self._time(row)
        if len(self.problems) > before:
            return None
        return _Clean(row, n, outcome, answers, texts, way, at, row.checker.strip() or self.who)

    def _outcome(self, row: Written) -> str:
        if not row.outcome.strip() and any(row.answers.values()):
            return ANSWERED
        return self._word(row, row.outcome, OUTCOMES, "what came of it (结果)")

    def _word(self, row: Written, given: str, words: Mapping[str, str], what: str) -> str:
        found = words.get(given.strip(), given.strip())
        if found in words.values():
            return found
        said = f"is {given.strip()[:_SHOWN]!r}" if given.strip() else "is missing"
        self.say(row, f"{what} {said}; write one of {', '.join(words)}")
        return ""

    def _answers(self, row: Written, outcome: str) -> tuple[dict[str, str], dict[str, str]]:
        kept: dict[str, str] = {}
        texts: dict[str, str] = {}
        for n, question in enumerate(self.questionnaire.questions, 1):
            given = row.answers.get(question.key, "").strip()
            if outcome != ANSWERED:
                if given and outcome:
                    self.say(row, f"question {n} has an answer, and the person did not answer: take out one of the two")
                continue
            if not given:
                self.say(row, f"question {n} has no answer: write {spotcheck.allowed(question)}")
                continue
            try:
                understood = spotcheck.understood(question, given)
            except ValueError as wrong:
                self.say(row, f"question {n}: {given[:_SHOWN]!r} is no answer to it; {wrong}")
                continue
            kept[question.key] = spotcheck.kept(question, understood)
            if kept[question.key] != understood:
                texts[question.key] = understood
        return kept, texts

    def _time(self, row: Written) -> int:
        try:
            moment = datetime.fromisoformat(row.at.strip().replace("/", "-"))
        except ValueError:
            said = f"is {row.at.strip()[:_SHOWN]!r}" if row.at.strip() else "is missing"
            self.say(row, f"the time (时间) {said}; write it as 2023-07-05 09:30, Beijing time")
            return 0
        at = int((moment if moment.tzinfo else moment.replace(tzinfo=BEIJING)).timestamp() * 1000)
        if at < self.check.at // 60_000 * 60_000:
            self.say(row, f"asked at {_shown(at)}, and they were drawn at {_shown(self.check.at)}: look at the date")
        if at > self.now + 60_000:
            self.say(row, f"asked at {_shown(at)}, which is still to come: look at the date")
        return at

    def steps(self, tx: Transaction, rows: Sequence[_Clean], *, correct: bool, again: bool) -> list[Said]:
        """What is to be written; what stands already, word for word, is not written twice."""
        by_n = {row.n: row.id for row in spotchecks.people(tx, [self.check.id]) if row.n}
        last = {row.drawn_id: row for row in spotchecks.answers(tx, [self.check.id])}  # ordered by round: the last one stays
        found: list[Said] = []
        for row in rows:
            drawn_id = by_n.get(row.n)
            if drawn_id is None:
                self.say(row.written, f"nobody has number {row.n} in spot check {self.check.id}: it goes from 1 to {len(by_n)}")
                continue
            step = self._step(row, drawn_id, last.get(drawn_id), correct=correct, again=again)
            if step is not None:
                found.append(step)
        return found

    def _step(self, row: _Clean, drawn_id: int, stands: Row | None, *, correct: bool, again: bool) -> Said | None:
        what = Sealed(row.checker, row.written.note.strip(), row.texts)
        said = Said(
            drawn_id, row.n, 1, row.outcome, row.answers, sealed(self.house, what), row.way, row.at, supersedes=None
        )  # fmt: skip
        if stands is None:
            if again:
                self.say(row.written, f"number {row.n} was not asked yet: enter it without --again first")
            return said
        if _same(self.house, stands, said, what):
            return None
        if again:
            if row.at <= stands.at:
                self.say(row.written, f"number {row.n} was asked at {_shown(stands.at)}: asked again means later than that")
            return replace(said, round=stands.round + 1)
        if not correct:
            answered = f"number {row.n} has another answer, of {_shown(stands.at)}"
            self.say(row.written, f"{answered}: --correct replaces it (both stay in the ledger), --again means asked once more")
        return replace(said, round=stands.round, supersedes=stands.id)


def _same(house: House, stands: Row, said: Said, what: Sealed) -> bool:
    open_part = (stands.outcome, json.loads(stands.answers), stands.way, stands.at)
    return open_part == (said.outcome, dict(said.answers), said.way, said.at) and opened(house, stands) == what


def _shown(millis: int) -> str:
    return f"{datetime.fromtimestamp(millis / 1000, UTC).astimezone(BEIJING):%Y-%m-%d %H:%M}"


def now_written(house: House) -> str:
    """The time as a checker would write it now."""
    return _shown(house.now())
