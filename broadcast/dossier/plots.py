"""The plots of a dossier. Every line is told by its dashes and marks, every bar by its hatching: a copier knows no colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from . import terms
from .counting import DELIVERED, DOUBT, NOT, TAKEN, WAITING, Curve
from .gathering import Duty

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_MARKS = ("o", "s", "^", "D", "v", "x")
_GREYS = ("#000000", "#303030", "#505050", "#1a1a1a", "#404040", "#606060")
# Standing → its name, grey and hatching; the darker the better.
STANDINGS: Mapping[str, tuple[str, str, str]] = {
    DELIVERED: ("已到达", "#404040", ""),
    TAKEN: ("仅通道接收", "#a0a0a0", "//"),
    DOUBT: ("存疑", "#ffffff", "xx"),
    WAITING: ("待发", "#ffffff", ".."),
    NOT: ("未到达或撤回", "#ffffff", ""),
}
_TAIL = 4  # when the last tenth takes this much longer than all before, the axis ends earlier and the caption says so


def reach_over_time(curves: Sequence[Curve], begins: int) -> tuple[Callable[[Axes], None], str]:
    """Shares of what was owed, taken by the channel and delivered, over the minutes since the warning came; and a caption."""
    lines = [
        (f"{terms.CHANNELS.get(one.channel, one.channel)}（{one.owed:,}条）", n, one.owed, one.delivered or one.taken)
        for n, one in enumerate(curves)
        if one.owed and one.taken
    ]
    until, later = _axis([steps for _, _, _, steps in lines], begins)
    silent = [terms.CHANNELS.get(one.channel, one.channel) for one in curves if one.taken and not one.delivered]
    caption = "纵轴：占该渠道应发条数的百分比，按首个“已到达”回执计，以本系统记录时间为准。"
    if silent:
        caption += f"{'、'.join(silent)}没有到达回执，画的是“通道已接收”。"
    if later:
        caption += f"另有{later:,}条在横轴之后到达。"

    def draw(axes: Axes) -> None:
        for name, n, owed, steps in lines:
            _steps(axes, n, name, steps, owed, begins, until)
        _frame(axes, until, "占应发的百分比")

    return draw, caption


def answers_over_time(owed: Sequence[Duty], begins: int) -> tuple[Callable[[Axes], None], str]:
    """Shares of the posts of each tier that had answered, themselves or by deputy or superior; and a caption."""
    lines = []
    for n, tier in enumerate(tier for tier in terms.TIERS if any(one.tier == tier for one in owed)):
        those = [one for one in owed if one.tier == tier]
        ended = sorted(one.ended for one in those if one.state == "answered" and one.ended is not None)
        steps = tuple((moment, count) for count, moment in enumerate(ended, 1))
        lines.append((f"{terms.TIERS[tier]}（{len(those):,}个岗位）", n, len(those), steps))
    until, later = _axis([steps for _, _, _, steps in lines], begins)
    caption = "纵轴：占应叫应岗位的百分比；由B岗、上级或相邻岗位代为应答的计入，列入未叫醒名单的不计入。"
    if later:
        caption += f"另有{later:,}个岗位在横轴之后应答。"

    def draw(axes: Axes) -> None:
        for name, n, of, steps in lines:
            _steps(axes, n, name, steps, of, begins, until)
        _frame(axes, until, "占应叫应岗位的百分比")

    return draw, caption


def bars_by_town(towns: Sequence[tuple[str, Mapping[str, int]]]) -> Callable[[Axes], None]:
    """A bar for each town, its parts how the deliveries there stand."""

    def draw(axes: Axes) -> None:
        names = [name for name, _ in towns]
        left = [0.0] * len(names)
        for how, (label, grey, hatch) in STANDINGS.items():
            shares = [100 * counted.get(how, 0) / sum(counted.values()) for _, counted in towns]
            if any(shares):
                axes.barh(names, shares, left=left, label=label, color=grey, hatch=hatch, edgecolor="#000000", linewidth=0.6)
                left = [before + share for before, share in zip(left, shares, strict=True)]
        for y, (_, counted) in enumerate(towns):
            axes.text(101, y, f"{sum(counted.values()):,}条", va="center", fontsize=7.5)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("占该地应发的百分比")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(STANDINGS), frameon=False)

    return draw


def _axis(lines: Sequence[Sequence[tuple[int, int]]], begins: int) -> tuple[float, int]:
    """Minutes that the axis shows, and how many come later: a few stragglers must not press all others into the left edge."""
    moments = sorted(
        (moment, n - before) for steps in lines for (moment, n), before in zip(steps, [0, *(n for _, n in steps)], strict=False)
    )
    total = sum(n for _, n in moments)
    passed, most = 0, begins
    for moment, n in moments:
        passed += n
        if passed >= 0.9 * total:
            most = moment
            break
    last = moments[-1][0] if moments else begins
    end = last if last - begins <= _TAIL * (most - begins) else begins + 2 * (most - begins)
    return max((end - begins) / 60000, 0.1) * 1.02, sum(n for moment, n in moments if moment > end)


def _steps(axes: Axes, n: int, name: str, steps: Sequence[tuple[int, int]], of: int, begins: int, until: float) -> None:
    minutes = [0.0, *((moment - begins) / 60000 for moment, _ in steps), until]
    shares = [0.0, *(100 * count / of for _, count in steps)]
    look, unit = n % len(_LINES), _unit(until)[0]
    axes.step(
        [moment * unit for moment in minutes], [*shares, shares[-1]], where="post", label=name, linestyle=_LINES[look],
        marker=_MARKS[look], markevery=max(1, len(minutes) // 12), markersize=4, color=_GREYS[look], linewidth=1.3,
        markerfacecolor="#ffffff",
    )  # fmt: skip


def _unit(until: float) -> tuple[int, str]:
    """Seconds where all is over in two minutes."""
    return (60, "秒") if until < 2 else (1, "分钟")


def _frame(axes: Axes, until: float, upwards: str) -> None:
    unit, name = _unit(until)
    axes.set_xlim(0, until * unit)
    axes.set_ylim(0, 104)
    axes.set_xlabel(f"收到预警后（{name}）")
    axes.set_ylabel(upwards)
    axes.grid(visible=True, color="#d8d8d8", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=3.5)
