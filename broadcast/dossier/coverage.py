"""Coverage by town. THE PLACE for `gateway.coverage(alert_id)` and its map: what draws them takes over from the bars."""

from __future__ import annotations

from ..paper import Paper
from . import terms
from .counting import Tally
from .gathering import Facts
from .plots import STANDINGS, bars_by_town


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
