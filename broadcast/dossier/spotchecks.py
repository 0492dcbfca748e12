"""六问: what the spot checks of this alert asked, and how the answers stand against the ledger."""

from __future__ import annotations

from collections import Counter

from ..gateway.spotchecking import papers
from ..gateway.spotchecking.facts import CONTRADICTIONS_ZH
from ..gateway.spotchecking.reporting import Report
from ..paper import Paper
from . import terms


def checked(paper: Paper, found: Report | None) -> None:
    """Who was drawn and asked, the rates with the number asked beside each, and the contradictions."""
    if found is None:
        paper.paragraph("账本中没有这条预警的抽查记录。")
        return
    if found.placeholder:
        paper.paragraph(papers.PLACEHOLDER)
    heads = ("号", "抽取", "范围", "抽取人数", "已答", "联系不上", "拒答", "未问")
    rows = [
        (
            *(one.number, terms.moment(int(one.at.timestamp() * 1000)), one.frame, one.drawn),
            *(one.answered, one.not_reached, one.refused, one.open),
        )
        for one in found.checks
    ]
    paper.table(heads, rows, (0.5, 2, 1, 1, 1, 1, 1, 1), numbers=range(2, len(heads)))
    questions = [(f"{n}. {one.name}", papers.rate(one.rate)) for n, one in enumerate(found.by_question, 1)]
    paper.table(("问题", "合格（95%置信区间）"), [*questions, ("每一问都合格", papers.rate(found.whole))], (4, 2))
    kinds = Counter(one.found.kind for one in found.contradictions)
    told = "；".join(f"{CONTRADICTIONS_ZH[kind][0]}{n}处" for kind, n in sorted(kinds.items()))
    paper.paragraph(f"与台账矛盾：{told}。" if told else "回答与台账没有矛盾。")
    paper.paragraph(f"需再问：{len(found.again)}人。")
