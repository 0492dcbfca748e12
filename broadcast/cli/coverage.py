"""`broadcast coverage`: which villages are reached, by what, and what they hang on; of an alert, or before one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .. import maps, paper, sheets
from ..coverage import Reach, SinglePoint
from ..gateway import AlertCoverage, ExpectedCoverage
from ..gateway.covering import Total, Village
from ..gateway.readiness import ExpectedVillage
from ..sheets import Cell, Sheet
from . import saying
from .opening import JsonOption, UsageMistake, opened

_NAMED = 5  # villages in the last line; all of them are in the table
_MAP_MM = (180.0, 125.0)
_SAID = {
    Reach.NOBODY: "by nobody",
    Reach.HANDED_OVER: "handed over, no report",
    Reach.MACHINE: "by machine only",
    Reach.DOOR: "at the door",
    Reach.PERSON: "by a person",
    Reach.MEASURES: "measures done",
}
_SHORT = {
    SinglePoint.ONE_PERSON: "one person",
    SinglePoint.ONE_NUMBER: "one number",
    SinglePoint.ONE_CHANNEL: "one channel",
    SinglePoint.NO_LOUDSPEAKER: "no speaker",
}


class By(StrEnum):
    """What a line of the table is."""

    VILLAGE = "village"
    TOWN = "town"


def coverage(
    ctx: typer.Context,
    alert: Annotated[str, typer.Argument(metavar="ALERT", help="Number or identifier of the alert, e.g. 3.")] = "",
    region: Annotated[
        str, typer.Option("--region", metavar="CODE", help="A region and all below it, e.g. --region 330521115.")
    ] = "",
    by: Annotated[By, typer.Option("--by", help="A line for each village or for each town, e.g. --by town.")] = By.VILLAGE,
    readiness: Annotated[
        bool, typer.Option("--readiness", help="Without an alert: by what each village could be reached, and what it hangs on.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Also write it to a CSV file.")] = None,
    xlsx: Annotated[
        Path | None, typer.Option("--xlsx", metavar="FILE", help="Also write villages and towns to an XLSX file.")
    ] = None,
    map_: Annotated[Path | None, typer.Option("--map", metavar="FILE", help="Also draw the towns to a PNG file.")] = None,
    json: JsonOption = False,
) -> None:
    """Shows which villages an alert has reached, and how: the worst first, places at risk before all others.

    Answers 1 while a village is reached by nobody. "Handed over, no report" is not reached.

    \b
    broadcast coverage 3
    broadcast coverage 3 --by town --map coverage.png
    broadcast coverage --readiness --region 330521115
    """
    if bool(alert) == readiness:
        raise UsageMistake("name an alert (broadcast coverage 3), or ask what is to be expected (broadcast coverage --readiness)")
    if readiness:
        if map_ is not None or by is By.TOWN:
            raise UsageMistake("--map and --by town are about an alert: broadcast coverage ALERT …")
        with opened(ctx) as (_, gateway):
            expected = gateway.expected_coverage(region)
        _say_expected(expected, csv, xlsx, as_json=json)
        return
    with opened(ctx) as (_, gateway):
        found = gateway.coverage(alert, region)
    _write(found, by, csv, xlsx, map_)
    if json:
        saying.as_json(found)
    else:
        _say(found, by)
    if found.total.unreached:
        raise typer.Exit(1)


# ── of an alert ──


def _say(found: AlertCoverage, by: By) -> None:
    if not found.villages:
        saying.say(f"alert {found.alert_id}: by its plan nobody in a village is told")
        return
    if by is By.TOWN:
        saying.show(saying.table(_TOWN_HEADS, [_town_line(one) for one in found.towns], numbers=range(1, len(_TOWN_HEADS))))
    else:
        _say_villages(found.villages)
    saying.say(_sum(found))


_HEADS = ("village", "town", "reached", "loudspk", "SMS", "calls", "posts", "households", "first", "hangs on")


def _say_villages(villages: Sequence[Village]) -> None:
    at_risk = [one for one in villages if one.at_risk]
    others = [one for one in villages if not one.at_risk]
    for title, those in ((f"at risk from this hazard: {len(at_risk):,} villages", at_risk), (f"{len(others):,} others", others)):
        if those:
            lines = [_line(one) for one in those]
            saying.show(saying.table(_HEADS, lines, title=title if at_risk else "", numbers=range(4, 9)))


def _line(one: Village) -> tuple[object, ...]:
    reached = "‼ no report yet" if one.reach is Reach.HANDED_OVER else f"{'' if one.reach.reached else '‼ '}{_SAID[one.reach]}"
    return (
        one.name, one.town_name, reached, one.loudspeaker, _of(one.sms_delivered, one.sms_owed),
        _of(one.voice_answered, one.voice_owed), _of(one.posts_acknowledged, one.posts_owed), _doors(one),
        "" if one.first_reached is None else f"{one.first_reached:.0f} min", _hangs(one.single_points),
    )  # fmt: skip


def _hangs(points: Sequence[SinglePoint]) -> str:
    return ", ".join(_SHORT[point] for point in points)


def _of(some: int, whole: int) -> str:
    return f"{some:,}/{whole:,}" if whole else ""


def _doors(one: Village | Total) -> str:
    if one.households_of is not None:
        return f"{one.households:,}/{one.households_of:,}"
    return f"{one.households:,}" if one.households else ""


_TOWN_HEADS = ("town", "all", "nobody", "no rpt", "machine", "door", "person", "done", "risk", "SMS", "posts", "households")


def _town_line(one: Total) -> tuple[object, ...]:
    return (
        one.name, sum(one.villages.values()), *(one.villages[each] or "" for each in Reach),
        _of(one.at_risk_unreached, one.at_risk) if one.at_risk_unreached else "", _of(one.sms_delivered, one.sms_owed),
        _of(one.posts_acknowledged, one.posts_owed), _doors(one),
    )  # fmt: skip


def _sum(found: AlertCoverage) -> str:
    """The one line that matters, what is missing first."""
    total, whole = found.total, len(found.villages)
    missing = [one.name for one in found.villages if not one.reach.reached]
    line = f"alert {found.alert_id}: all {whole:,} villages are reached"
    if missing:
        named = "、".join(missing[:_NAMED]) + (" …" if len(missing) > _NAMED else "")
        line = f"alert {found.alert_id}: {len(missing):,} of {whole:,} villages NOT REACHED ({named})"
    if total.at_risk:
        line += f", {total.at_risk_unreached:,} of the {total.at_risk:,} at risk" if missing else ", those at risk too"
    return f"{line}: " + ", ".join(f"{total.villages[each]:,} {_SAID[each]}" for each in Reach if total.villages[each])


# ── as files ──


def _write(found: AlertCoverage, by: By, csv: Path | None, xlsx: Path | None, map_: Path | None) -> None:
    villages = Sheet(_VILLAGE_COLUMNS, [_village_cells(one) for one in found.villages])
    towns = Sheet(_TOTAL_COLUMNS, [_total_cells(one) for one in (*found.towns, found.total)])
    _write_csv(csv, villages if by is By.VILLAGE else towns)
    if xlsx is not None:
        sheets.write_xlsx(xlsx, {"villages": villages, "towns": towns})
    if map_ is not None:
        title = f"{found.headline}：各乡镇预警覆盖情况（预警 {found.alert_id}）"
        map_.write_bytes(paper.plotted(lambda axes: maps.draw(axes, found.points(), title), *_MAP_MM))


def _write_csv(path: Path | None, sheet: Sheet) -> None:
    if path is not None:
        with path.open("w", newline="", encoding="utf-8-sig") as out:
            sheets.write_csv(out, sheet)


_VILLAGE_COLUMNS = (
    "region", "village", "town", "at risk", "reached", "loudspeaker", "handed over, no report", "SMS delivered", "SMS owed",
    "calls answered", "calls", "posts acknowledged", "posts owed", "measures", "households told", "households",
    "first reached (minutes)", "hangs on",
)  # fmt: skip


def _village_cells(one: Village) -> tuple[Cell, ...]:
    return (
        one.region, one.name, one.town_name, "yes" if one.at_risk else "no", _SAID[one.reach], str(one.loudspeaker),
        one.handed_over, one.sms_delivered, one.sms_owed, one.voice_answered, one.voice_owed, one.posts_acknowledged,
        one.posts_owed, one.measures, one.households, one.households_of, one.first_reached, _hangs(one.single_points),
    )  # fmt: skip


_TOTAL_COLUMNS = (
    "region", "name", "villages", *(_SAID[each] for each in Reach), "not reached", "at risk", "at risk, not reached",
    "loudspeakers on the air", "SMS delivered", "SMS owed", "posts acknowledged", "posts owed", "households told", "households",
)  # fmt: skip


def _total_cells(one: Total) -> tuple[Cell, ...]:
    return (
        one.region, one.name, sum(one.villages.values()), *(one.villages[each] for each in Reach), one.unreached, one.at_risk,
        one.at_risk_unreached, one.loudspeakers, one.sms_delivered, one.sms_owed, one.posts_acknowledged, one.posts_owed,
        one.households, one.households_of,
    )  # fmt: skip


# ── before an event ──

_EXPECTED_HEADS = ("village", "town", "risk", "machine", "door", "person", "loudspk", "residents", "persons", "hangs on")
_EXPECTED_COLUMNS = (
    "region", "village", "town", "at risk", "by machine", "at the door", "by a person", "loudspeaker", "residents' numbers",
    "grid workers", "persons to answer", "of them can be called", "hangs on",
)  # fmt: skip


def _say_expected(found: ExpectedCoverage, csv: Path | None, xlsx: Path | None, *, as_json: bool) -> None:
    sheet = Sheet(_EXPECTED_COLUMNS, [_expected_cells(one) for one in found.villages])
    _write_csv(csv, sheet)
    if xlsx is not None:
        sheets.write_xlsx(xlsx, {"villages": sheet})
    if as_json:
        saying.as_json({"ok": found.ok, "villages": found.villages, "findings": found.findings})
    else:
        weak = [one for one in found.villages if one.single_points or not one.by_person]
        if weak:
            saying.show(saying.table(_EXPECTED_HEADS, [_expected_line(one) for one in weak], numbers=(7, 8)))
        for line in _expected_sum(found):
            saying.say(line)
    if not found.ok:
        raise typer.Exit(1)


def _expected_line(one: ExpectedVillage) -> tuple[object, ...]:
    return (
        one.name, one.town_name, "yes" if one.at_risk else "", _yes(one.by_machine), _yes(one.by_door), _yes(one.by_person),
        one.loudspeaker, one.residents or "", f"{one.callable}/{one.persons}", _hangs(one.single_points),
    )  # fmt: skip


def _yes(can: bool) -> str:
    return "yes" if can else "NO"


def _expected_cells(one: ExpectedVillage) -> tuple[Cell, ...]:
    return (
        one.region, one.name, one.town_name, "yes" if one.at_risk else "no", one.by_machine, one.by_door, one.by_person,
        str(one.loudspeaker), one.residents, one.grid_workers, one.persons, one.callable, _hangs(one.single_points),
    )  # fmt: skip


def _expected_sum(found: ExpectedCoverage) -> Iterator[str]:
    """Every finding, then how many could be reached by what."""
    for one in found.findings:
        yield f"{one.colour}: {one.what}; {one.do}"
    villages = found.villages
    whole = len(villages)
    weak = sum(bool(one.single_points) or not one.by_person for one in villages)
    yield (
        f"of {whole:,} villages {sum(one.by_machine for one in villages):,} could be reached by machine, "
        f"{sum(one.by_door for one in villages):,} at the door, {sum(one.by_person for one in villages):,} by a person; "
        f"{weak:,} hang on one thing or lack a person"
    )
