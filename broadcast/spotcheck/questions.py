"""The questionnaire as a county writes it (TOML) → questions, or every problem in it by line; and what counts as an answer.

It is data because the official text of the 六问 was not found: the county puts its own in, and each has a version.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from enum import StrEnum

from ..errors import InvalidFiles
from ..tiers.plan.page import Page, Table

USUAL = 6  # questions; the file may say another number aloud
NOT_KNOWN, NOT_ASKED = "不知道", "未问"  # fit every question: the first never passes, the second does not count
TEXT_PASSES, TEXT_FAILS = "（文字，合格）", "（文字，不合格）"  # what stands in the open for their words
_YES, _NO = "是", "否"
_SAID = {"是": _YES, "yes": _YES, "y": _YES, "否": _NO, "no": _NO, "n": _NO}
_KEY = re.compile(r"[a-z][a-z0-9_]{0,30}")

_ROOT_KEYS = ("version", "title", "placeholder", "questions", "recheck_within_days", "question")
_CLAIMS = ("says_told", "says_not_told", "says_acknowledged", "says_not_acknowledged")
_QUESTION_KEYS = ("key", "wording", "answer", "options", "pass", "at_least", "at_most", "contains", "should_know", *_CLAIMS)


class AnswerType(StrEnum):
    """What a checker writes down."""

    YES_NO = "yes_no"  # 是 or 否
    CHOICE = "choice"  # one of the options, by its words or its number
    NUMBER = "number"  # a whole number, 0 or more
    TEXT = "text"  # their words; kept sealed, because people name people
    TIME = "time"  # an hour of the day, 06:32


@dataclass(frozen=True, slots=True)
class Question:
    """One question, what passes, and what an answer to it claims about the ledger."""

    key: str  # the same over all versions: seasons are compared by it
    wording: str
    answer: AnswerType
    options: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()  # of yes_no and choice
    at_least: int | None = None  # of number
    at_most: int | None = None
    contains: tuple[str, ...] = ()  # of text: one of these words; () = any answer passes
    should_know: bool = False  # whoever acknowledged the warning should pass it
    says_told: tuple[str, ...] = ()  # answers by which the person says that the warning reached them
    says_not_told: tuple[str, ...] = ()
    says_acknowledged: tuple[str, ...] = ()  # answers by which they say that they acknowledged it
    says_not_acknowledged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Questionnaire:
    """A version of the questions. A version once used never changes."""

    version: str
    title: str
    placeholder: bool  # not the official text: said on every sheet and report
    recheck_within_days: int  # whoever failed, or was not reached, is asked again within so many days
    questions: tuple[Question, ...]


def read(file: str, text: str) -> Questionnaire:
    """A questionnaire from TOML. Raises InvalidFiles with every problem by line."""
    page = Page(file, text)
    root = page.root()
    found = _read(root) if root is not None else None
    if found is None or page.problems:
        raise InvalidFiles(sorted(dict.fromkeys(page.problems), key=lambda problem: problem.line))
    return found


def _read(root: Table) -> Questionnaire:
    root.only(_ROOT_KEYS)
    tables = root.tables("question")
    questions = tuple(_question(table) for table in tables)
    _check_number(root, len(questions))
    for n, (table, one) in enumerate(zip(tables, questions, strict=True)):
        if one.key and one.key in [other.key for other in questions[:n]]:
            table.say(f"key {one.key!r} is used twice: each question has a key of its own", "key")
    return Questionnaire(
        version=root.text("version", required=True),
        title=root.text("title", required=True),
        placeholder=root.flag("placeholder"),
        recheck_within_days=root.whole("recheck_within_days", required=True) or 0,
        questions=questions,
    )


def _check_number(root: Table, found: int) -> None:
    wanted = root.whole("questions") or USUAL
    if found != wanted:
        root.say(f"{found} questions, and {wanted} are meant: add the missing one, or say questions = {found}", "questions")


def _question(table: Table) -> Question:
    table.only(_QUESTION_KEYS)
    kind = table.choice("answer", list(AnswerType), required=True)
    answer = AnswerType(kind) if kind else AnswerType.TEXT
    key = table.text("key", required=True)
    if key and not _KEY.fullmatch(key):
        table.say(f"key {key!r} must be a short name of small letters, digits and _", "key")
    if not table.text("wording", required=True).strip() and "wording" in table.data:
        table.say("wording is empty", "wording")
    options = _options(table, answer)
    return Question(
        key=key,
        wording=table.text("wording"),
        answer=answer,
        options=options,
        passing=_among(table, "pass", options, required=answer in (AnswerType.YES_NO, AnswerType.CHOICE)),
        at_least=_bound(table, "at_least", answer),
        at_most=_bound(table, "at_most", answer),
        contains=_only_for(table, "contains", answer, AnswerType.TEXT),
        should_know=table.flag("should_know"),
        **{claim: _among(table, claim, options, required=False) for claim in _CLAIMS},
    )


def _options(table: Table, answer: AnswerType) -> tuple[str, ...]:
    if answer is AnswerType.YES_NO:
        _refuse(table, "options", "answer yes_no has 是 and 否")
        return (_YES, _NO)
    options = _only_for(table, "options", answer, AnswerType.CHOICE)
    if answer is AnswerType.CHOICE and len(set(options)) < max(2, len(options)):
        table.say("options must be two or more, each another", "options")
    for one in options:
        if one.isdigit() or one in (NOT_KNOWN, NOT_ASKED) or one != _plain(one) or not one:
            table.say(f"option {one!r} cannot be told from a number, {NOT_KNOWN} or {NOT_ASKED}: use other words", "options")
    return options


def _among(table: Table, key: str, options: Sequence[str], *, required: bool) -> tuple[str, ...]:
    """A list of answers of yes_no or choice."""
    if not options:
        _refuse(table, key, "only yes_no and choice have it")
        return ()
    given = table.strings(key, required=required)
    for one in given:
        if one not in options:
            table.say(f"{key} names {one!r}, which is no answer here; there are: {', '.join(options)}", key)
    return given


def _bound(table: Table, key: str, answer: AnswerType) -> int | None:
    if answer is AnswerType.NUMBER:
        return table.whole(key)
    _refuse(table, key, "only number has it")
    return None


def _only_for(table: Table, key: str, answer: AnswerType, wanted: AnswerType) -> tuple[str, ...]:
    if answer is wanted:
        return table.strings(key, required=key == "options")
    _refuse(table, key, f"only {wanted} has it")
    return ()


def _refuse(table: Table, key: str, why: str) -> None:
    if key in table.data:
        table.say(f"{key} does not go with answer = {table.data.get('answer')!r}: {why}", key)


# ── answers ──


def understood(question: Question, said: str) -> str:
    """What a checker wrote, in one form. Raises ValueError with what may be written instead."""
    plain = _plain(said)
    if plain in (NOT_KNOWN, NOT_ASKED):
        return plain
    match question.answer:
        case AnswerType.YES_NO:
            found = _SAID.get(plain.lower())
        case AnswerType.CHOICE:
            found = _option(question.options, plain)
        case AnswerType.NUMBER:
            found = str(int(plain)) if re.fullmatch(r"[0-9]{1,7}", plain) else None
        case AnswerType.TIME:
            found = _clock(plain)
        case AnswerType.TEXT:
            found = plain or None
    if found is None:
        raise ValueError(f"write {allowed(question)}")
    return found


def allowed(question: Question) -> str:
    """What may be written, for the sheet and for whoever wrote something else."""
    match question.answer:
        case AnswerType.YES_NO:
            own = "是 / 否"
        case AnswerType.CHOICE:
            own = " / ".join(f"{n} {option}" for n, option in enumerate(question.options, 1))
        case AnswerType.NUMBER:
            own = "数字"
        case AnswerType.TIME:
            own = "时间，如 06:32"
        case AnswerType.TEXT:
            own = "文字"
    return f"{own}（或 {NOT_KNOWN}、{NOT_ASKED}）"


def kept(question: Question, said: str) -> str:
    """An understood answer as it may stand in the open: their words are not repeated, only whether they pass."""
    if question.answer is not AnswerType.TEXT or said in (NOT_KNOWN, NOT_ASKED):
        return said
    return TEXT_PASSES if not question.contains or any(word in said for word in question.contains) else TEXT_FAILS


def passed(question: Question, said: str) -> bool | None:
    """Whether a kept answer passes; None where it was not asked."""
    if said in ("", NOT_ASKED):
        return None
    if said == NOT_KNOWN:
        return False
    match question.answer:
        case AnswerType.YES_NO | AnswerType.CHOICE:
            return said in question.passing
        case AnswerType.NUMBER:
            return (question.at_least or 0) <= int(said) and (question.at_most is None or int(said) <= question.at_most)
        case AnswerType.TEXT:
            return said == TEXT_PASSES
        case AnswerType.TIME:
            return True


def _plain(said: str) -> str:
    """Full-width digits and letters, as Chinese keyboards write them, become plain; a wording's own punctuation stays."""
    plain = unicodedata.normalize("NFKC", said).strip()
    return plain if plain.isascii() else said.strip()


def _option(options: Sequence[str], said: str) -> str | None:
    if said.isdigit():
        return options[int(said) - 1] if 1 <= int(said) <= len(options) else None
    return said if said in options else None


def _clock(said: str) -> str | None:
    match = re.fullmatch(r"(\d{1,2}):(\d{2})(?::\d{2})?", said)
    if not match or int(match[1]) > 23 or int(match[2]) > 59:
        return None
    return f"{time(int(match[1]), int(match[2])):%H:%M}"
