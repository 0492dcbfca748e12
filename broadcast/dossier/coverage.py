"""The villages: which the warning reached and how, as a map and a table; and each town's deliveries as bars."""

from __future__ import annotations

from ..coverage import Reach
from ..maps import draw
from ..paper import Paper
from . import terms
from .counting import Tally
from .gathering import Facts
from .plots import STANDINGS, bars_by_town

REACHED = {
    Reach.NOBODY: "未触达",
    Reach.HANDED_OVER: "已交出",
    Reach.MACHINE: "仅机器",
    Reach.DOOR: "入户",
    Reach.PERSON: "责任人",
    Reach.MEASURES: "处置",
}
_NAMED = 60  # villages that are named; the others are in the CSV of `broadcast coverage`


def by_village(paper: Paper, facts: Facts) -> None:
    """How far each village was reached: by nobody, by machine only, at the door, by a person who answered, with measures."""
    found = facts.coverage
    if found is None or not found.villages:
        paper.paragraph("没有应触达的村（社区）。")
        return
    paper.figure(lambda axes: draw(axes, found.points()), height_mm=120)
    heads = ("乡镇（街道）", "村数", *REACHED.values(), "户（入户）")
    rows = [
        (one.name, sum(one.villages.values()), *(one.villages.get(each, 0) or "" for each in REACHED), one.households or "")
        for one in (*found.towns, found.total)
    ]
    paper.table(heads, rows, (2.2, 0.8, *(1.0 for _ in REACHED), 1.2), numbers=range(1, len(heads)))
    missed = [one for one in found.villages if not one.reach.reached]
    if missed:
        named = "、".join(f"{one.town_name}{one.name}" for one in missed[:_NAMED])
        more = f" 等{len(missed)}个" if len(missed) > _NAMED else ""
        paper.paragraph(f"没有触达，或已交出而没有回执的：{named}{more}。")


def by_town(paper: Paper, facts: Facts, tally: Tally) -> None:
    """Each town's deliveries by how they stand: bars and a table."""
    towns = sorted(tally.towns.items())
    if not towns:
        paper.paragraph("没有应发的投递。")
        return
    named = [(facts.place(code) if code else "县本级", counted) for code, counted in towns]
    caption = "按投递目标所在的乡镇（街道）统计预警本身的投递，不含再次呼叫和请求审核。"
    paper.figure(bars_by_town(named), height_mm=30 + 7 * len(named), caption=caption)
    heads = ("乡镇（街道）", "应发", *(name for name, _, _ in STANDINGS.values()), "到达率")
    rows = [
        (name, f"{sum(counted.values()):,}", *(f"{counted.get(how, 0):,}" for how in STANDINGS),
         terms.part(counted.get("delivered", 0), sum(counted.values())))
        for name, counted in named
    ]  # fmt: skip
    paper.table(heads, rows, (2.2, 1, 1, 1.7, 1, 1, 1.4, 1), numbers=range(1, len(heads)))
