"""From a call to its EBMs: pure, and the same for every attempt, since all times and ids come from the call's number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...errors import Unsupported
from ..base import Call, Facts, Number, Past, Purpose
from . import codes
from .options import MAX_TEXT, EbdOptions
from .packet import Ebm, stamp
from .text import clean

TITLES = {Purpose.STAND_DOWN: "预警解除通知", Purpose.STOP: "应急广播播发取消通知"}  # never the headline of an alarm
UNTITLED = "应急广播"
LEAST_ON_AIR = timedelta(minutes=5)  # for an alert that is over as it comes: two clocks differ, and it takes a minute to speak

# A stop has one number and may need several EBMIDs: the k-th further one is k thousand above it. A county gives out a
# handful of numbers a day, so these are free.
FURTHER = 1000


@dataclass(frozen=True, slots=True)
class Order:
    """One packet of a call: the EBM in it, and which of the call's messages it is for."""

    ebm: Ebm
    ebdid: str
    positions: frozenset[int]


def areas_of(call: Call, options: EbdOptions) -> list[str]:
    """The area code of each message's target, "" where the address is none of a loudspeaker system."""
    return [codes.area_of(message.address, options.profile) for message in call.messages]


def numbered(call: Call, options: EbdOptions) -> Number:
    """The call's number. Raises Unsupported for a call that this protocol cannot express."""
    if call.purpose is Purpose.RELEASE:
        raise Unsupported("ebd cannot ask an operator to approve")
    if not call.messages:
        raise Unsupported("a call without messages")
    if len(call.messages) > options.per_call:
        raise Unsupported(f"{len(call.messages)} messages in one call; this peer's per_call is {options.per_call}")
    if len({message.text for message in call.messages}) > 1:
        raise Unsupported("ebd sends one text per call; these messages differ")
    length = len(clean(call.messages[0].text))
    if not 0 < length <= MAX_TEXT:
        raise Unsupported(f"a text of {length} characters that can be spoken; ebd takes 1 to {MAX_TEXT}")
    if call.number is None or not 0 < call.number.n <= 9999:
        raise Unsupported("a call without a number of 1 to 9999: an EBM needs one of its own")
    return call.number


def orders(call: Call, number: Number, options: EbdOptions) -> list[Order]:
    """One EBM for all targets; for a stop one cancel for each broadcast that is still on the air."""
    return _cancels(call, number, options) if call.purpose is Purpose.STOP else _plays(call, number, options)


def _plays(call: Call, number: Number, options: EbdOptions) -> list[Order]:
    areas = areas_of(call, options)
    positions = frozenset(at for at, area in enumerate(areas) if area)
    if not positions:
        return []
    own = codes.ebmid(options.ebrid, number.day, number.n)
    window = (number.at, _end(number.at, call.facts.expires, options))
    ebm = _ebm(call, number, options, ebmid=own, window=window, areas=areas)
    return [Order(ebm, codes.ebdid(options.ebrid, number), positions)]


def _cancels(call: Call, number: Number, options: EbdOptions) -> list[Order]:
    """The first bears the call's own number in its EBMID, the k-th further one that number plus k·1000."""
    concerned = [(past, positions) for past in call.facts.past if (positions := _on_air(past, call, number.at, options))]
    if options.cancel_ebmid == "new" and number.n + FURTHER * (len(concerned) - 1) > 9999:
        raise Unsupported("more broadcasts to stop in one call than there are numbers left today")
    return [_cancel(call, number, options, turn, *one) for turn, one in enumerate(concerned)]


def _cancel(call: Call, number: Number, options: EbdOptions, turn: int, past: Past, positions: frozenset[int]) -> Order:
    """It stops all of that broadcast: its areas as they were sent, to the letter, since receivers key by the whole string."""
    own = codes.ebmid(options.ebrid, number.day, number.n + FURTHER * turn)
    ebm = _ebm(
        call,
        number,
        options,
        ebmid=past.ref if options.cancel_ebmid == "original" else own,
        window=_window(past, number.at, options),
        areas=[codes.area_of(address, options.profile) for address in past.addresses],
        related=past.ref,
    )
    return Order(ebm, codes.ebdid(options.ebrid, number, turn + 1), positions)


def _on_air(past: Past, call: Call, now: datetime, options: EbdOptions) -> frozenset[int]:
    """Which messages this broadcast concerns; none when it is over: there are receivers that speak such a cancel's words."""
    if _window(past, now, options)[1] <= now:
        return frozenset()
    sent, areas = set(past.addresses), areas_of(call, options)
    return frozenset(at for at, message in enumerate(call.messages) if message.address in sent and areas[at])


def _window(past: Past, now: datetime, options: EbdOptions) -> tuple[datetime, datetime]:
    """When it began and ends, as it was sent; without its number we know only when its alert ends."""
    if past.number is None:
        return now, past.expires
    return past.number.at, _end(past.number.at, past.expires, options)


def _end(start: datetime, expires: datetime, options: EbdOptions) -> datetime:
    end = min(expires, start + timedelta(minutes=options.on_air_minutes))
    return end if stamp(end) > stamp(start) else start + LEAST_ON_AIR


def _ebm(
    call: Call,
    number: Number,
    options: EbdOptions,
    *,
    ebmid: str,
    window: tuple[datetime, datetime],
    areas: Sequence[str],
    related: str = "",
) -> Ebm:
    facts, words = call.facts, call.messages[0].text
    return Ebm(
        ebmid=ebmid,
        msg_type=codes.CANCEL if related else codes.ACTUAL,
        sender_name=options.sender_name,
        sender_code=options.ebrid,
        sent=number.at,
        event_type=options.event_codes.get(facts.event_code) or facts.event_code or codes.UNSPECIFIED_EVENT,
        severity=codes.SEVERITIES.get(facts.level, 0),
        start=window[0],
        end=window[1],
        title=TITLES.get(call.purpose) or _title(facts, words),
        words=words,
        areas=_distinct(areas),
        related=related,
    )


def _distinct(areas: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(area for area in areas if area))


def _title(facts: Facts, words: str) -> str:
    """The headline, marked as a drill or a test where the words are: a title may be shown, or spoken too."""
    mark = re.match("【(?:演练|测试)】", words)
    headline = clean(facts.headline) or clean(facts.event) or UNTITLED
    return headline if mark is None or headline.startswith(mark[0]) else mark[0] + headline
