"""What one value of a warning may look like: times, levels, references, shapes. Shared by all forms."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import TypeVar

from shapely.geometry import Polygon as Shape
from shapely.validation import explain_validity

from ..alert import Circle, Polygon, Reference, Severity
from ..errors import InvalidAlert
from .node import Node, Repairs, line_of, one_line, text_of

CHINA = timezone(timedelta(hours=8))  # Asia/Shanghai; a fixed offset, so that no zone file is read
YEARS = range(1970, 2201)
LONGEST_NAME = 255  # identifier and sender are keys in the ledger
MOST_REFERENCES = 1_000
MOST_CODES = 20_000  # geocodes of one area; the whole county has 191 regions
SMALLEST = 1e-10  # square degrees, about a square metre: less is a line that rounding bent
MOST_POINTS = 10_000  # of all polygons of an alert; real ones have some hundreds, and checking grows with the square
HALF_EARTH_KM = 20_038.0  # no circle on the Earth is larger

SEVERITIES = {
    **{severity.value.lower(): severity for severity in Severity},
    "red": Severity.EXTREME,
    "orange": Severity.SEVERE,
    "yellow": Severity.MODERATE,
    "blue": Severity.MINOR,
    "红色": Severity.EXTREME,
    "橙色": Severity.SEVERE,
    "黄色": Severity.MODERATE,
    "蓝色": Severity.MINOR,
    "红": Severity.EXTREME,
    "橙": Severity.SEVERE,
    "黄": Severity.MODERATE,
    "蓝": Severity.MINOR,
}
_COLOURS = {"红色": Severity.EXTREME, "橙色": Severity.SEVERE, "黄色": Severity.MODERATE, "蓝色": Severity.MINOR}

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)([T ])(\d\d):(\d\d)(:\d\d)?([.,]\d{1,9})?\s?(Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?\d{1,9}(?:\.\d{0,400})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_SPACED_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d)", re.ASCII)

Word = TypeVar("Word", bound=StrEnum)


def word(node: Node, name: str, words: type[Word], repairs: Repairs) -> Word:
    """The value of an element that must be one of CAP's words. Raises InvalidAlert for any other, and for none."""
    text = text_of(node, name, repairs)
    for one in words:
        if one.value == text:
            return one
        if one.value.lower() == text.lower():
            repairs.note(name, text, one.value)
            return one
    known = ", ".join(words)
    raise InvalidAlert(name, text, f"must be one of {known}" if text else f"is missing; give one of {known}", line_of(node, name))


def name(node: Node, element: str, repairs: Repairs, forbidden: str = ",<&") -> str:
    """An identifier or sender: CAP 1.2 §3.2.1 allows no white space, comma, < or & in either.

    `forbidden` = "": a unit's name in Chinese (12379), where only what cannot be printed is refused.
    """
    text = text_of(node, element, repairs)
    text = text if forbidden else one_line(text)
    line = line_of(node, element)
    if not text:
        raise InvalidAlert(element, "", "is missing: nothing can be told apart, updated or cancelled without it", line)
    check_name(element, text, forbidden, line)
    return text


def check_name(element: str, text: str, forbidden: str, line: int | None) -> None:
    """Raises InvalidAlert where `text` cannot be an identifier or sender."""
    if len(text) > LONGEST_NAME:
        raise InvalidAlert(element, text, f"longer than {LONGEST_NAME} characters", line)
    bad = next((c for c in text if c in forbidden or (forbidden and c.isspace()) or not (c.isprintable() or c == " ")), "")
    if bad:
        raise InvalidAlert(element, text, f"must not contain {bad!r} (nor spaces, commas, < and &)", line)


def time(text: str) -> tuple[datetime, str]:
    """The aware time, and what was sloppy about it ("" for CAP's own form). Raises ValueError with the rule."""
    found = _TIME.fullmatch(one_line(text)) if len(text) < 60 else None
    if not found:
        raise ValueError("must be a time like 2023-07-05T06:31:00+08:00")
    year, month, day, separator, hour, minute, second, fraction, zone = found.groups()
    late = hour == "24" and minute == "00" and (second or ":00") == ":00"  # midnight at the end of a day
    try:
        naive = datetime(int(year), int(month), int(day), 0 if late else int(hour), int(minute), int((second or ":00")[1:]))  # noqa: DTZ001
        moment = naive.replace(tzinfo=_zone(zone)) + timedelta(days=int(late))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"is not a time that exists: {error}") from None
    if moment.year not in YEARS:
        raise ValueError(f"year must be between {YEARS[0]} and {YEARS[-1]}")
    slips = {
        "no zone: Asia/Shanghai": not zone,
        "space instead of T": separator == " ",
        "seconds missing": not second,
        "fraction of a second": bool(fraction),
        "zone not written as ±hh:mm": bool(zone) and (zone == "Z" or ":" not in zone),
        "24:00": late,
    }
    return moment, ", ".join(slip for slip, made in slips.items() if made)


def _zone(text: str | None) -> timezone:
    if text is None:
        return CHINA
    if text == "Z":
        return timezone.utc  # noqa: UP017
    hours, minutes = int(text[1:3]), int(text[-2:])
    if minutes > 59 or hours * 60 + minutes > 14 * 60:
        raise ValueError("zone must lie between -14:00 and +14:00")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def required_time(node: Node, element: str, repairs: Repairs, usual: str = "") -> datetime:
    """A time that must be there. `usual` is a slip that belongs to the form and is not worth a remark."""
    text = text_of(node, element, repairs)
    if not text:
        raise InvalidAlert(element, "", "is missing", line_of(node, element))
    try:
        moment, slip = time(text)
    except ValueError as error:
        raise InvalidAlert(element, text, str(error), line_of(node, element)) from None
    if slip and slip != usual:
        repairs.note(element, text, f"{moment.isoformat()} ({slip})")
    return moment


def optional_time(node: Node, element: str, repairs: Repairs, usual: str = "") -> datetime | None:
    """A time that may be missing; an unreadable one counts as missing and is recorded."""
    text = text_of(node, element, repairs)
    if not text:
        return None
    try:
        return required_time(node, element, repairs, usual)
    except InvalidAlert as error:
        repairs.note(element, text, f"empty: {error.rule}")
        return None


def severity(node: Node, headline: str, repairs: Repairs) -> Severity:
    """CAP's words, or the colours of 12379; else the colour that the headline names; else UNKNOWN.

    Digits are never read: 1 is red in one feed and 01 is blue in another.
    """
    text = text_of(node, "severity", repairs)
    known = SEVERITIES.get(text.lower())
    if known and known is not Severity.UNKNOWN:
        return known
    # Of two colours (将黄色升为橙色, 由橙色降为黄色) the higher one: to warn too much is the smaller harm.
    named = next((found for colour, found in _COLOURS.items() if colour in headline and "预警" in headline), None)
    if named:
        repairs.note("severity", text, f"{named}: the colour in the headline")
    elif not known:
        repairs.note("severity", text, Severity.UNKNOWN)
    return named or Severity.UNKNOWN


def references(text: str, repairs: Repairs, line: int | None) -> tuple[Reference, ...]:
    """CAP's list of sender,identifier,sent. Comma-joined lists and bare identifiers are understood and recorded."""
    plain = _SPACED_TIME.sub(r"\1T\2", one_line(text))
    tokens = plain.split()
    if len(tokens) > 3 * MOST_REFERENCES:
        raise InvalidAlert("references", text, f"more than {MOST_REFERENCES:,} messages", line)
    parts = [token.split(",") for token in tokens]
    if not all(len(part) <= 3 and all(part[:2]) for part in parts):
        parts = _comma_joined(plain, line)
        repairs.note("references", text, "a comma-joined list")
    elif plain != one_line(text) or any(len(part) < 3 for part in parts):
        repairs.note("references", text, "references that are not sender,identifier,sent")
    return tuple(dict.fromkeys(_reference(part, repairs, line) for part in parts))


def _comma_joined(plain: str, line: int | None) -> list[list[str]]:
    fields = plain.replace("，", ",").replace(" ,", ",").replace(", ", ",").replace(" ", ",").strip(",").split(",")
    if len(fields) % 3 or not all(fields):
        raise InvalidAlert("references", plain, "must be sender,identifier,sent for each message referred to", line)
    if len(fields) > 3 * MOST_REFERENCES:
        raise InvalidAlert("references", plain, f"more than {MOST_REFERENCES:,} messages", line)
    return [fields[at : at + 3] for at in range(0, len(fields), 3)]


def _reference(part: list[str], repairs: Repairs, line: int | None) -> Reference:
    identifier = part[0] if len(part) == 1 else part[1]
    sender = part[0] if len(part) > 1 else ""
    check_name("references", identifier, ",<&", line)
    check_name("references", sender, ",<&", line)
    if len(part) < 3 or not part[2]:
        return Reference(identifier, sender)
    try:
        return Reference(identifier, sender, time(part[2])[0])
    except ValueError as error:
        repairs.note("references", part[2], f"no time: {error}")
        return Reference(identifier, sender)


def check_references(
    refers: bool, found: tuple[Reference, ...], identifier: str, repairs: Repairs, line: int | None
) -> tuple[Reference, ...]:
    """Raises InvalidAlert when a message that must refer to an earlier one does not. A self reference is only noted."""
    if refers and not found:
        rule = "is empty, and an Update or Cancel without it would change nothing: name the message it is about"
        raise InvalidAlert("references", "", rule, line)
    if any(reference.identifier == identifier for reference in found):
        repairs.note("references", identifier, "a reference to itself: no other message")
    return found


def number(text: str) -> float:
    """A plain decimal number. Raises ValueError: float() alone would take nan, inf, 1_0 and other scripts' digits."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number")
    return float(text)


def decimal(node: Node, element: str, repairs: Repairs) -> float | None:
    """A number that may be missing; an unreadable one counts as missing and is recorded."""
    text = text_of(node, element, repairs)
    try:
        return number(text) if text else None
    except ValueError as error:
        repairs.note(element, text, f"empty: {error}")
        return None


def polygon(text: str, repairs: Repairs, line: int | None, china: bool = False) -> Polygon:
    """Pairs of latitude,longitude with white space between them. Raises InvalidAlert for anything but an area.

    `china`: the order of a pair is not known (12379 does not state it); it is taken from where China lies.
    """
    plain = _commas(one_line(text), "polygon", repairs)
    points = [_point(pair, "polygon", text, line) for pair in plain.split(" ")]
    if len(points) > MOST_POINTS:
        raise InvalidAlert("polygon", text, f"more than {MOST_POINTS:,} points", line)
    points = _in_order(points, "polygon", text, repairs) if china else points
    for point in points:
        _check_point(point, "polygon", text, line)
    if points[0] != points[-1]:
        points.append(points[0])
        repairs.note("polygon", text, "closed: the first point was repeated at the end")
    _check_shape(points, text, line)
    return tuple(points)


def _check_shape(points: list[tuple[float, float]], text: str, line: int | None) -> None:
    if len(points) < 4:
        raise InvalidAlert("polygon", text, "has fewer than 4 points (the last one repeats the first)", line)
    shape = Shape([(longitude, latitude) for latitude, longitude in points])
    if not shape.is_valid:
        raise InvalidAlert("polygon", text, f"crosses or touches itself: {explain_validity(shape)[:80]}", line)
    if shape.area < SMALLEST:
        raise InvalidAlert("polygon", text, "encloses nothing", line)


def circle(text: str, repairs: Repairs, line: int | None, metres: bool = False) -> Circle:
    """latitude,longitude radius; kilometres in CAP and JSON, `metres` (and an unstated order) in 12379."""
    plain = _commas(one_line(text), "circle", repairs)
    parts = plain.replace(",", " ").split()
    if len(parts) != 3:
        raise InvalidAlert("circle", text, "must be latitude,longitude and a radius", line)
    if [part.count(",") for part in plain.split(" ")] != [1, 0]:
        repairs.note("circle", text, f"{parts[0]},{parts[1]} {parts[2]}")
    point = _point(f"{parts[0]},{parts[1]}", "circle", text, line)
    point = _in_order([point], "circle", text, repairs)[0] if metres else point
    _check_point(point, "circle", text, line)
    try:
        radius = number(parts[2]) / (1000 if metres else 1)
    except ValueError as error:
        raise InvalidAlert("circle", text, f"radius {error}", line) from None
    if not 0 <= radius <= HALF_EARTH_KM:
        raise InvalidAlert("circle", text, f"radius must lie between 0 and {HALF_EARTH_KM:,.0f} km", line)
    return Circle(point[0], point[1], radius)


def _commas(text: str, element: str, repairs: Repairs) -> str:
    plain = text.replace("，", ",").replace(" ,", ",").replace(", ", ",")
    if plain != text:
        repairs.note(element, text, "pairs written with a plain comma")
    return plain


def _point(pair: str, element: str, text: str, line: int | None) -> tuple[float, float]:
    parts = pair.split(",")
    if len(parts) != 2:
        raise InvalidAlert(element, text, f"{pair[:40]!r} is not a pair latitude,longitude", line)
    try:
        return number(parts[0]), number(parts[1])
    except ValueError as error:
        raise InvalidAlert(element, text, str(error), line) from None


def _check_point(point: tuple[float, float], element: str, text: str, line: int | None) -> None:
    latitude, longitude = point
    if not (math.isfinite(latitude) and -90 <= latitude <= 90):
        raise InvalidAlert(element, text, f"latitude {latitude:g} is not between -90 and 90", line)
    if not (math.isfinite(longitude) and -180 <= longitude <= 180):
        raise InvalidAlert(element, text, f"longitude {longitude:g} is not between -180 and 180", line)


def _in_order(points: list[tuple[float, float]], element: str, text: str, repairs: Repairs) -> list[tuple[float, float]]:
    """China lies between 3 and 54 N, 73 and 136 E: no latitude there is a longitude, so the order can be told."""
    if all(73 <= first <= 136 and 3 <= second <= 54 for first, second in points):
        repairs.note(element, text, "longitude,latitude turned to latitude,longitude")
        return [(second, first) for first, second in points]
    return points


def code_list(text: str) -> tuple[str, ...]:
    """One list with , or ， between codes, doubles left out, order kept."""
    parts = (part.strip() for part in text.replace("，", ",").split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def has_chinese(text: str) -> bool:
    """True when a text holds Chinese characters."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)
