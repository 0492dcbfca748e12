"""A map of towns by coverage, drawn from their points alone: no borders are known. Readable without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, radians
from typing import TYPE_CHECKING

from .coverage import Reach

# matplotlib takes half a second to load: only whoever draws waits for it.
if TYPE_CHECKING:
    from matplotlib.axes import Axes

KM_PER_DEGREE = 111.32  # of longitude at the equator; of latitude everywhere, to 0.6 %
_RADIUS_KM = 1.1
_NOTE = "圆盘：乡镇驻地（虚线为估计位置），按各类村数分割；方框与数字：未触达村数/全部村数"
_LOOKS = {  # colour and hatch: a copier must tell them apart. From black (nobody) to white with dots (measures)
    Reach.NOBODY: ("#111111", "", "未触达"),
    Reach.HANDED_OVER: ("#e4572e", "xxxx", "已交出，尚无回执"),
    Reach.MACHINE: ("#f6c667", "////", "仅由机器触达"),
    Reach.DOOR: ("#b7d3f2", "----", "已敲门入户"),
    Reach.PERSON: ("#dff0d8", "", "责任人已应答"),
    Reach.MEASURES: ("#ffffff", "...", "已反馈处置措施"),
}


@dataclass(frozen=True, slots=True)
class TownPoint:
    """A town's seat (degrees, WGS84) and how many of its villages are how far reached."""

    name: str
    latitude: float
    longitude: float
    error_km: float  # how far off the point may be
    villages: Mapping[Reach, int]

    @property
    def unreached(self) -> int:
        """Villages that nobody, or nobody so far as is known, has reached."""
        return sum(n for each, n in self.villages.items() if not each.reached)


def draw(axes: Axes, towns: Sequence[TownPoint], title: str = "") -> None:
    """Each town is a disc cut by the shares of its villages; a heavy square stands around a town with villages not reached."""
    from matplotlib.patches import Patch

    middle = sum(one.latitude for one in towns) / len(towns) if towns else 0.0
    for one in towns:
        x, y = one.longitude * KM_PER_DEGREE * cos(radians(middle)), one.latitude * KM_PER_DEGREE
        _disc(axes, one, x, y)
        _label(axes, one, x, y)
    axes.set_aspect("equal")
    axes.margins(0.05, 0.08)
    axes.autoscale_view()
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color("#b8c0c8")
    if title:
        axes.set_title(title, loc="left")
    shown = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="#333333", linewidth=0.6, label=f"{text} {_villages(towns, each)} 村")
        for each, (colour, hatch, text) in _LOOKS.items()
    ]
    axes.legend(handles=shown, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=3, frameon=False, handlelength=2.4)
    _scale(axes)


def _villages(towns: Sequence[TownPoint], each: Reach) -> int:
    return sum(one.villages.get(each, 0) for one in towns)


def _disc(axes: Axes, one: TownPoint, x: float, y: float) -> None:
    from matplotlib.patches import Circle, Rectangle, Wedge

    whole = sum(one.villages.values())
    start = 90.0  # from the top, clockwise, the worst first
    for each, (colour, hatch, _) in _LOOKS.items():
        share = 360.0 * one.villages.get(each, 0) / whole if whole else 0.0
        if share:
            axes.add_patch(
                Wedge((x, y), _RADIUS_KM, start - share, start, facecolor=colour, hatch=hatch, edgecolor="#333333", linewidth=0.5)
            )
            start -= share
    style = "dotted" if one.error_km else "solid"
    axes.add_patch(Circle((x, y), _RADIUS_KM, fill=False, edgecolor="#111111", linewidth=1.1, linestyle=style))
    if one.unreached:
        side = 2.24 * _RADIUS_KM
        axes.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, fill=False, edgecolor="#111111", linewidth=2.0))


def _label(axes: Axes, one: TownPoint, x: float, y: float) -> None:
    text = f"{one.name} {one.unreached}/{sum(one.villages.values())}" if one.unreached else one.name
    axes.annotate(text, (x, y - 1.12 * _RADIUS_KM), xytext=(0, -2), textcoords="offset points", ha="center", va="top", fontsize=8)


def _scale(axes: Axes) -> None:
    """5 km, and how to read it."""
    axes.set_xlabel(_NOTE, fontsize=7)
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    x, y = left + 0.03 * (right - left), bottom + 0.05 * (top - bottom)
    axes.plot([x, x + 5], [y, y], color="#111111", linewidth=2)
    axes.annotate("5 km", (x, y), xytext=(0, 4), textcoords="offset points", fontsize=7)
