"""The form that a checker fills in (XLSX, or CSV), how it is read back, and the report as a workbook.

One row for each person: a checker with a phone at the ear goes through one person from left to right, and a person is what
is done or not done. The ledger's line stands before the answers; the last columns say how, when and what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from ... import sheets as files
from ...errors import InvalidFiles, Problem
from ...sheets import Cell, Line, Sheet
from ...spotcheck import Rate, allowed
from . import facts
from .answering import OUTCOMES, WAYS, Written
from .reporting import Report, shown_time
from .sheets import CheckSheet, Subject, masked_name

Writer: TypeAlias = Callable[[Path], int]

CHECK, NUMBER, NAME, POST, REGION, PHONE, LEDGER = "抽查", "序号", "姓名", "岗位", "责任区", "电话", "台账记录"
OUTCOME, WAY, TIME, CHECKER, NOTE = "结果", "方式", "时间", "检查人", "备注"
_BEFORE, _AFTER = (CHECK, NUMBER, NAME, POST, REGION, PHONE, LEDGER), (OUTCOME, WAY, TIME, CHECKER, NOTE)
_WIDTHS_BEFORE, _WIDTH_ANSWER, _WIDTHS_AFTER = (5, 5, 8, 18, 14, 14, 34), 17, (9, 7, 17, 9, 28)
_FORMULA_LIMIT = 250  # characters of a list of choices that Excel takes


def write(sheet: CheckSheet, path: Path) -> int:
    """The form: a page to fill in, and one that says how; returns how many persons stand on it."""
    files.write_xlsx(path, {"填写": _form(sheet), "填表说明": _how_to(sheet)})
    return len(sheet.subjects)


def _form(sheet: CheckSheet) -> Sheet:
    questions = sheet.questionnaire.questions
    heads = [*_BEFORE, *(_head(n, one.wording) for n, one in enumerate(questions, 1)), *_AFTER]
    choices = {len(_BEFORE) + n: one.options for n, one in enumerate(questions) if _offered(one.options)} | {
        heads.index(OUTCOME): tuple(OUTCOMES),
        heads.index(WAY): tuple(WAYS),
    }
    widths = (*_WIDTHS_BEFORE, *(_WIDTH_ANSWER for _ in questions), *_WIDTHS_AFTER)
    return Sheet(heads, [_row(sheet, one) for one in sheet.subjects], widths, choices)


def _head(n: int, wording: str) -> str:
    return f"{n}. {wording}"


def _offered(options: tuple[str, ...]) -> bool:
    return bool(options) and not any("," in one or '"' in one for one in options) and sum(map(len, options)) < _FORMULA_LIMIT


def _row(sheet: CheckSheet, one: Subject) -> list[Cell]:
    """Never filled in beforehand: what stands is masked, and would come back as another answer."""
    entered = f"（{shown_time(one.last.at)} 问过，已录入）" if one.last else ""
    ledger = entered + facts.facts(one.evidence, chinese=True)
    before: list[Cell] = [sheet.number, one.n, one.person, one.role_name, one.region_name, one.phone, ledger]
    return before + [""] * (len(sheet.questionnaire.questions) + len(_AFTER))


def _how_to(sheet: CheckSheet) -> Sheet:
    rows: list[list[Cell]] = [[_head(n, one.wording), allowed(one)] for n, one in enumerate(sheet.questionnaire.questions, 1)]
    rows += [
        ["一人一行", "在“填写”页逐行填；没有问到的人，整行留空。前面各列不要改动：导入时逐行核对。"],
        [OUTCOME, f"{' / '.join(OUTCOMES)}；六问都填了可以留空。联系不上、拒答的，六问留空。"],
        [WAY, " / ".join(WAYS)],
        [TIME, "询问时间（北京时间），如 2023-07-05 09:30"],
        [CHECKER, "留空即为导入的操作员"],
        [NOTE, "加密保存"],
    ]
    if sheet.questionnaire.placeholder:
        rows.insert(0, ["占位稿", "官方“六问”原文未找到，本问卷不是官方文本，由县里以自己的文本替换。"])
    return Sheet(("项目", "怎么填"), rows, (60, 60))


# ── filled ──


def read(path: Path, sheet: CheckSheet) -> list[Written]:
    """The rows of a filled form. Raises InvalidFiles when columns are missing, or a row is of another person or spot check."""
    lines = list(files.read(path))
    columns = _columns(path, lines, sheet)
    problems: list[Problem] = []
    by_n = {str(one.n): one for one in sheet.subjects}
    for line in lines:
        for message in _strange(line, sheet, by_n.get(line.cells[NUMBER])):
            problems.append(Problem(path.name, line.number, "error", message))
    if problems:
        raise InvalidFiles(problems)
    return [_written(line, columns) for line in lines]


def _columns(path: Path, lines: list[Line], sheet: CheckSheet) -> Mapping[str, str]:
    """question → its column's head: the form's own head, or the question's key."""
    heads = lines[0].cells if lines else {}
    questions = sheet.questionnaire.questions
    found = {one.key: head for n, one in enumerate(questions, 1) for head in (one.key, _head(n, one.wording)) if head in heads}
    missing = [name for name in (NUMBER, WAY, TIME) if name not in heads] + [one.key for one in questions if one.key not in found]
    if missing:
        message = (
            f"no form of this spot check: no column {', '.join(missing)}, or no rows; `broadcast spotcheck sheet` writes one"
        )
        raise InvalidFiles([Problem(path.name, 1, "error", message)])
    return found


def _strange(line: Line, sheet: CheckSheet, one: Subject | None) -> Iterator[str]:
    """A sheet that was sorted by one column only puts answers beside the wrong person."""
    if line.cells.get(CHECK, "") not in ("", str(sheet.number)):
        yield f"this row is of spot check {line.cells[CHECK][:10]}, not of {sheet.number}"
    if one is None:
        return
    for head, own in ((NAME, one.person), (POST, one.role_name), (REGION, one.region_name)):
        given = line.cells.get(head, "")
        if given and own not in (given, masked_name(given)):
            yield f"{head} is not that of number {one.n} ({one.role_name}, {one.region_name}): were the columns sorted apart?"


def _written(line: Line, columns: Mapping[str, str]) -> Written:
    cells = line.cells
    return Written(
        n=cells[NUMBER],
        answers={key: cells[head] for key, head in columns.items()},
        outcome=cells.get(OUTCOME, ""),
        way=cells[WAY],
        at=cells[TIME],
        checker=cells.get(CHECKER, ""),
        note=cells.get(NOTE, ""),
        line=line.number,
    )


# ── the report ──


def write_report(report: Report, path: Path) -> int:
    """A page for each question that a report answers."""
    rate_heads = ("合格人数", "询问人数", "95%区间下限", "95%区间上限")
    pages = {
        "抽查": Sheet(
            ("抽查", "时间", "预警", "问卷版本", "范围人数", "抽取", "已答", "联系不上", "拒答", "未问"),
            [
                [
                    one.number, shown_time(one.at), one.headline, one.version, one.frame, one.drawn, one.answered,
                    one.not_reached, one.refused, one.open,
                ]
                for one in report.checks
            ],
            (6, 17, 40, 16, 9, 7, 7, 9, 7, 7),
        ),
        "分题": Sheet(("问题", *rate_heads), [[one.name, *_rate(one.rate)] for one in report.by_question], (60, 9, 9, 12, 12)),
        "分镇街": Sheet(("镇街", *rate_heads), [[one.name, *_rate(one.rate)] for one in report.by_town], (20, 9, 9, 12, 12)),
        "分岗位": Sheet(("岗位", *rate_heads), [[one.name, *_rate(one.rate)] for one in report.by_role], (40, 9, 9, 12, 12)),
        "矛盾": Sheet(
            (CHECK, NUMBER, NAME, POST, REGION, "题", "回答", LEDGER, "矛盾", "若是人的问题", "若是渠道的问题"),
            [
                [
                    one.check, one.n, one.person, one.role_name, one.region_name, one.found.question, one.found.said,
                    one.ledger_zh, *facts.told_in_chinese(one.found),
                ]
                for one in report.contradictions
            ],
            (6, 6, 8, 20, 14, 12, 14, 40, 30, 30, 30),
        ),
        "再问": Sheet(
            (CHECK, NUMBER, NAME, POST, REGION, "原因", "最迟", "已过期"),
            [
                [
                    one.check, one.n, one.person, one.role_name, one.region_name, why(one.why), shown_time(one.due),
                    "是" if one.overdue else "",
                ]
                for one in report.again
            ],
            (6, 6, 8, 20, 14, 40, 17, 8),
        ),
        "多次不合格": Sheet(
            (NAME, POST, REGION, "问题", "问过次数（均不合格）", "其中已应答预警次数"),
            [
                [one.person, one.role_name, one.region_name, one.question, one.times, one.acknowledged]
                for one in report.persistent
            ],
            (8, 20, 14, 60, 12, 12),
        ),
        "抽取分布": Sheet(
            ("镇街", "抽到过的人数", "从未抽到的人数"), [[one.name, one.drawn, one.never] for one in report.reach], (20, 14, 14)
        ),
    }  # fmt: skip
    return files.write_xlsx(path, pages)


def why(reasons: tuple[str, ...]) -> str:
    """Why somebody is asked again, in Chinese; questions by their keys."""
    return "、".join({**facts.OUTCOMES_ZH, "contradiction": "与台账矛盾"}.get(one, one) for one in reasons)


def _rate(rate: Rate) -> list[Cell]:
    return [rate.passed, rate.asked, round(rate.low, 3), round(rate.high, 3)]
