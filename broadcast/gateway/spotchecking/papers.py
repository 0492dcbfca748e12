"""A spot check on paper: the sheet for whoever calls, and the report with its plots. In Chinese, as it is filed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...paper import Paper
from ...spotcheck import Rate, allowed
from . import facts, forms
from .reporting import Drift, Line, Report, shown_time
from .sheets import CheckSheet, NotDrawn, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACEHOLDER = "占位稿：官方“六问”原文未找到，本问卷不是官方文本，由县里以自己的文本替换后再正式使用。"
_TICK = 14  # letters of a question under a plot
_LISTED = 200  # rows of those who could not be drawn


def sheet(check: CheckSheet, path: Path) -> int:
    """Everybody who was drawn, with the questions and room to write; returns how many."""
    paper = Paper(f"六问抽查单 第{check.number}号", footer=f"六问抽查单 第{check.number}号")
    _head(paper, check)
    for one in check.subjects:
        with paper.together():
            _person(paper, check, one)
    _not_drawn(paper, check.not_drawn)
    paper.write(path)
    return len(check.subjects)


def _head(paper: Paper, check: CheckSheet) -> None:
    if check.questionnaire.placeholder:
        paper.paragraph(PLACEHOLDER)
    what = check.headline or "、".join(check.roles)
    paper.table(
        ("项目", "内容"),
        [
            ("抽查对象", f"{what}{f'（{check.region}）' if check.region else ''}"),
            ("抽取", f"{shown_time(check.at)}，{check.who}"),
            ("人数", f"范围{check.frame_size}人，抽取{len(check.subjects)}人，种子{check.seed}"),
            ("问卷", f"{check.questionnaire.title}，版本{check.questionnaire.version}"),
            ("范围摘要", check.sha256),
        ],
        (1, 6),
    )


def _person(paper: Paper, check: CheckSheet, one: Subject) -> None:
    paper.heading(f"{one.n}. {one.person}  {one.role_name}  {where(one)}", 2)
    asked = f"已于{shown_time(one.last.at)}问过。" if one.last else ""
    paper.paragraph(f"电话：{one.phone or '无'}    台账：{facts.facts(one.evidence, chinese=True)}    {asked}")
    rows = [(str(n), question.wording, allowed(question), "") for n, question in enumerate(check.questionnaire.questions, 1)]
    rows.append(("", "结果：已答 / 联系不上 / 拒答      方式：电话 / 现场", "时间：", "检查人："))
    rows.append(("", "备注：\n\n", "", ""))
    paper.table(("", "问题", "可填", "回答"), rows, (0.4, 5, 3.2, 3))


def where(one: Subject) -> str:
    """Town and village; the county, or a town, once."""
    return " ".join(dict.fromkeys((one.town_name, one.region_name)))


def _not_drawn(paper: Paper, those: Sequence[NotDrawn]) -> None:
    if not those:
        return
    paper.heading(f"不在抽取范围内的：{len(those)}")
    paper.table(
        ("原因", "姓名", "岗位", "责任区"),
        [(facts.REASONS_ZH[one.reason], one.person, one.role_name, one.region_name) for one in those[:_LISTED]],
        (1.2, 1, 4, 2),
    )
    if len(those) > _LISTED:
        paper.paragraph(f"另有{len(those) - _LISTED}个未列出，见 broadcast spotcheck sheet {{N}} --json。")


# ── the report ──


def report(found: Report, path: Path) -> int:
    """The report; returns how many spot checks it is about."""
    numbers = "、".join(map(str, found.numbers))
    paper = Paper(f"六问抽查报告 第{numbers}号", footer=f"六问抽查报告 第{numbers}号")
    if found.placeholder:
        paper.paragraph(PLACEHOLDER)
    _checks(paper, found)
    _rates(paper, found)
    _contradictions(paper, found)
    _again(paper, found)
    if found.drift:
        _season(paper, found)
    paper.write(path)
    return len(found.checks)


def _checks(paper: Paper, found: Report) -> None:
    paper.paragraph(f"每一问都合格的：{rate(found.whole)}。以下比例都以第一次询问为准，括号内为95%置信区间（Wilson）。")
    if found.asked_again.asked:
        paper.paragraph(f"再次询问后合格的：{rate(found.asked_again)}。")
    paper.table(
        ("号", "时间", "预警或范围", "范围", "抽取", "已答", "联系不上", "拒答", "未问"),
        [
            (
                one.number, shown_time(one.at), one.headline or "、".join(one.roles), one.frame, one.drawn, one.answered,
                one.not_reached, one.refused, one.open,
            )
            for one in found.checks
        ],
        (0.5, 1.8, 4, 0.8, 0.8, 0.8, 1, 0.8, 0.8),
    )  # fmt: skip


def rate(one: Rate) -> str:
    """3/4人（75%，30–95%）; one person is never a percentage."""
    if not one.asked:
        return "无人被问"
    share = f"{one.passed}/{one.asked}人"
    if one.asked == 1:
        return share
    return f"{share}（{100 * one.passed / one.asked:.0f}%，{100 * one.low:.0f}–{100 * one.high:.0f}%）"


def _rates(paper: Paper, found: Report) -> None:
    paper.heading("各问合格情况")
    questions = [Line(one.key, f"{n}. {one.name}", one.rate) for n, one in enumerate(found.by_question, 1)]
    paper.table(("问题", "合格"), [(one.name, rate(one.rate)) for one in questions], (4, 2))
    with paper.together():
        paper.figure(lambda axes: _bars(axes, questions), height_mm=_height(questions), caption="合格比例与95%区间；n为询问人数")
    for title, lines in (("各镇街：每一问都合格的人", found.by_town), ("各岗位：每一问都合格的人", found.by_role)):
        if lines:
            paper.heading(title)
            paper.table(("", "合格"), [(one.name, rate(one.rate)) for one in lines], (4, 2))
    if len(found.by_town) > 1:
        with paper.together():
            paper.figure(lambda axes: _bars(axes, found.by_town), height_mm=_height(found.by_town), caption="各镇街")


def _height(lines: Sequence[Line]) -> float:
    return min(230.0, 18 + 9 * len(lines))


def _bars(axes: Axes, lines: Sequence[Line]) -> None:
    """A bar for each, with its interval; whoever asked nobody has no bar."""
    for place, one in enumerate(reversed(lines)):
        asked = one.rate.asked
        if not asked:
            continue
        share = one.rate.passed / asked
        axes.barh(place, share, color="#9db8d2", edgecolor="#304860", height=0.6)
        axes.plot((one.rate.low, one.rate.high), (place, place), color="black", linewidth=1.2, marker="|", markersize=6)
        axes.text(1.02, place, f"{one.rate.passed}/{asked}", va="center", fontsize=8)
    axes.set_yticks(range(len(lines)), [f"{_short(one.name)}  n={one.rate.asked}" for one in reversed(lines)])
    axes.set_xlim(0, 1.12)
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.spines[["top", "right"]].set_visible(False)


def _short(name: str) -> str:
    return name if len(name) <= _TICK else name[: _TICK - 1] + "…"


def _contradictions(paper: Paper, found: Report) -> None:
    paper.heading(f"与台账矛盾：{len(found.contradictions)}处")
    if not found.contradictions:
        paper.paragraph("回答与台账没有矛盾。")
        return
    paper.paragraph("每处矛盾都有两种读法：要么是人的问题（培训），要么是渠道的问题（渠道不实）。查清之前两边都不能排除。")
    order = {line.key: n for n, line in enumerate(found.by_question, 1)}
    for kind, (what, person, channel) in facts.CONTRADICTIONS_ZH.items():
        those = [one for one in found.contradictions if one.found.kind == kind]
        if not those:
            continue
        paper.heading(f"{what}：{len(those)}处", 2)
        paper.paragraph(f"若是人的问题：{person}。\n若是渠道的问题：{channel}。")
        rows = [
            (
                f"{one.check}-{one.n} {one.person} {one.role_name} {one.region_name}",
                f"第{order[one.found.question]}问：{one.found.said}",
                one.ledger_zh,
            )
            for one in those
        ]
        paper.table(("谁", "回答", "台账"), rows, (3, 2, 5))


def _again(paper: Paper, found: Report) -> None:
    paper.heading(f"需再问：{len(found.again)}人")
    order = {line.key: f"第{n}问" for n, line in enumerate(found.by_question, 1)}
    paper.table(
        ("谁", "原因", "最迟"),
        [
            (
                f"{one.check}-{one.n} {one.person} {one.role_name} {one.region_name}",
                forms.why(tuple(order.get(each, each) for each in one.why)),
                shown_time(one.due) + ("（已过期）" if one.overdue else ""),
            )
            for one in found.again
        ],
        (4, 3, 2),
    )


def _season(paper: Paper, found: Report) -> None:
    paper.heading("一季的变化")
    paper.figure(lambda axes: _lines(axes, found.drift), height_mm=90, caption="各次抽查各问的合格比例；n为询问人数")
    if found.persistent:
        paper.heading("每次都不合格的人", 2)
        paper.table(
            ("谁", "问题", "问过", "其中已应答"),
            [
                (f"{one.person} {one.role_name} {one.region_name}", one.question, one.times, one.acknowledged)
                for one in found.persistent
            ],
            (3, 4, 0.8, 1.2),
        )
    paper.heading("抽取的分布", 2)
    if found.often:
        often = "；".join(f"{one.person} {one.role_name} {one.region_name} {one.times}次" for one in found.often)
        paper.paragraph(f"多次抽到：{often}")
    paper.table(("镇街", "抽到过", "从未抽到"), [(one.name, one.drawn, one.never) for one in found.reach], (3, 1, 1))


_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")  # told apart in black and white
_DASHES = ("-", "--", "-.", ":")


def _lines(axes: Axes, drift: Sequence[Drift]) -> None:
    for n, one in enumerate(drift):
        points = [(place, rate) for place, (_, _, rate) in enumerate(one.rates) if rate.asked]
        mark, dash = _MARKS[n % len(_MARKS)], _DASHES[n % len(_DASHES)]
        shares = [rate.passed / rate.asked for _, rate in points]
        name = _short(f"{n + 1}. {one.name}")
        axes.plot([place for place, _ in points], shares, label=name, marker=mark, linestyle=dash, linewidth=1.2, markersize=5)
    rates = drift[0].rates if drift else ()
    asked = [max((one.rates[place][2].asked for one in drift), default=0) for place in range(len(rates))]
    axes.set_xticks(
        range(len(rates)), [f"第{number}号\n{at:%m-%d}\nn={n}" for (number, at, _), n in zip(rates, asked, strict=True)]
    )
    axes.set_ylim(-0.03, 1.05)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
