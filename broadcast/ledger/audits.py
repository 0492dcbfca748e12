"""The questions of auditors: what is asked, page after page of the answer, and how it is shown. Personal data is masked.

Only the gateway, which asks who wants to see it and why, opens it (gateway/unmasking.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict, Unpack

import sqlalchemy as sa

from ..errors import NotFound, Refused
from ..tiers.phones import mask_within, parse_phone
from ..tiers.roster import mask
from . import searching, unreached
from .questions import moment
from .seal import ERASED, Seal
from .searching import Wanted

Asked = Literal["deliveries", "receipts", "acknowledgements", "callouts", "replies", "entries", "unreached"]

PAGE = 500  # rows that are read in one transaction


class Filters(TypedDict, total=False):
    """What to look for; whatever is left out, or None, may be anything. All that is given must hold."""

    alert_id: int | None
    region: str | None  # a code; everything under it too
    post: int | None  # its number, as answers show it
    role: str | None
    person: str | None  # person_id of the roster
    number: str | None  # a phone number, account or other address
    channel: str | None
    state: str | None
    kind: str | None  # of an entry
    since: datetime | None
    until: datetime | None  # not included; for `unreached`: as it was known then
    after: str | None  # the first column of the last row of the page before
    limit: int | None


_EVERYWHERE = frozenset({"alert_id", "since", "until", "after", "limit"})
_ABOUT_POSTS = _EVERYWHERE | {"region", "post", "role", "person"}
KNOWS: dict[Asked, frozenset[str]] = {
    "deliveries": _ABOUT_POSTS | {"number", "channel", "state"},
    "receipts": _ABOUT_POSTS | {"number", "channel", "state"},
    "acknowledgements": _ABOUT_POSTS | {"channel"},
    "replies": _ABOUT_POSTS | {"channel"},
    "callouts": _ABOUT_POSTS | {"state"},
    "entries": _EVERYWHERE | {"kind"},
    "unreached": _ABOUT_POSTS,
}
_NARROWS = ("alert_id", "region", "post", "role", "person", "number", "since", "until")


class Audits:
    """What auditors ask of a ledger. Rows are dictionaries, found by an index and read in pages as you go.

    Each raises NotFound for an alert, region, post, role or person that never was, and Refused for what cannot be asked.
    """

    seal: Seal
    read: Callable[[], AbstractContextManager[sa.Connection]]

    def deliveries(self, **filters: Unpack[Filters]) -> Iterator[dict[str, Any]]:
        """Deliveries in the order in which they were planned. Their time is when they were last tried."""
        return self._masked("deliveries", filters)

    def receipts(self, **filters: Unpack[Filters]) -> Iterator[dict[str, Any]]:
        """What far ends said, as it was kept: one receipt may speak for a run of deliveries. By batch."""
        return self._masked("receipts", filters)

    def acknowledgements(self, **filters: Unpack[Filters]) -> Iterator[dict[str, Any]]:
        """The replies that say "we have it" (acknowledged, measures, done), whether they settled a duty or not."""
        return self._masked("acknowledgements", filters)

    def callouts(self, **filters: Unpack[Filters]) -> Iterator[dict[str, Any]]:
        """Duties (to acknowledge, to report measures, to approve) of all alerts. Their time is when they were opened."""
        return self._masked("callouts", filters)

    def replies(self, **filters: Unpack[Filters]) -> Iterator[dict[str, Any]]:
        """Whatever persons and receiving systems said back."""
        return self._masked("replies", filters)

    def entries(self, **filters: Unpack[Filters]) -> Iterator[dict[str, Any]]:
        """The chained entries, of one alert or of all chains, in the order of time."""
        return self._masked("entries", filters)

    def unreached(self, **filters: Unpack[Filters]) -> Iterator[dict[str, Any]]:
        """Who was owed and not reached, and why on each channel; `until`: as it was known then. Needs something to look in."""
        return self._masked("unreached", filters)

    def sealed(self, asked: Asked, filters: Filters) -> Iterator[dict[str, Any]]:
        """The rows of an answer as they lie in the ledger: `address`, `person` and `said` are sealed bytes."""
        given: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
        check(asked, given)
        with self.read() as tx:
            if unknown := searching.missing(tx, given):
                raise NotFound(f"the ledger never had {unknown}")
            wanted = self._wanted(tx, given)
        pages = _PAGES[asked](self.read, wanted, str(given.get("after", "")), asked)
        left: int | None = given.get("limit")
        for page in pages:
            if left is not None and left <= len(page):
                yield from page[:left]
                return
            left = None if left is None else left - len(page)
            yield from page

    def _masked(self, asked: Asked, filters: Filters) -> Iterator[dict[str, Any]]:
        return (shown(self.seal, row) for row in self.sealed(asked, filters))

    def _wanted(self, tx: sa.Connection, given: dict[str, Any]) -> Wanted:
        address_id = None
        if "number" in given:
            phone = parse_phone(given["number"])
            address_id = searching.address_of(tx, self.seal.seal(phone.e164 if phone else given["number"]))
        same = ("alert_id", "region", "post", "role", "person", "channel", "state", "kind")
        made: dict[str, Any] = {name: given.get(name) for name in same}
        made |= {name: int(given[name].timestamp() * 1000) for name in ("since", "until") if name in given}
        return Wanted(**made, address_id=address_id)


def check(asked: Asked, given: dict[str, Any]) -> None:
    """Raises Refused, with what to do, when a question cannot be asked so."""
    if foreign := sorted(given.keys() - KNOWS[asked]):
        raise Refused(f"{asked} are not asked for by {', '.join(foreign)}; by {', '.join(sorted(KNOWS[asked]))}")
    if "region" in given and not re.fullmatch(r"[0-9]{6,12}", given["region"]):
        raise Refused(f"region {given['region'][:20]!r} is no code: 6, 9 or 12 digits")
    needs = asked == "unreached" or (asked in ("deliveries", "receipts") and "state" in given)
    if needs and not any(name in given for name in _NARROWS):
        what = "who was not reached" if asked == "unreached" else "a state alone"
        raise Refused(f"{what} would be looked for in everything there ever was: name an alert, a region, a post or a time")


# ── pages ──

_Read = Callable[[], AbstractContextManager[sa.Connection]]
_Pages = Iterator[list[dict[str, Any]]]


def _by_batch(read: _Read, wanted: Wanted, after: str, asked: Asked) -> _Pages:
    """Batch after batch, a page at a time. What is planned meanwhile belongs to the next question."""
    receipts = asked == "receipts"
    statement, key = (searching.receipts(wanted), "receipt") if receipts else (searching.deliveries(wanted), "seq")
    with read() as tx:
        begin, last = _receipt_mark(tx, after) if receipts else _delivery_mark(after)
        batches = searching.batches(tx, wanted, begin, of_receipts=receipts)
    if not batches or batches[0] != begin:
        last = 0
    n = 0
    while n < len(batches):
        page: list[dict[str, Any]] = []
        with read() as tx:
            while n < len(batches) and len(page) < PAGE:
                room = PAGE - len(page)
                rows = tx.execute(statement, {"batch_id": batches[n], "after": last, "limit": room}).mappings().all()
                page += [dict(row) for row in rows]
                n, last = (n, rows[-1][key]) if len(rows) == room else (n + 1, 0)
        yield page


def _delivery_mark(after: str) -> tuple[int, int]:
    return _numbers(after, r"([0-9]+)\.([0-9]+)", "17.204") if after else (0, 0)


def _receipt_mark(tx: sa.Connection, after: str) -> tuple[int, int]:
    """A receipt's number says where to go on: after it, in its batch."""
    if not after:
        return 0, 0
    (number,) = _numbers(after, r"([0-9]+)", "311")
    batch_id = searching.batch_of(tx, number)
    if batch_id is None:
        raise NotFound(f"no receipt {number}")
    return batch_id, number


def _numbers(after: str, pattern: str, example: str) -> Any:
    found = re.fullmatch(pattern, after)
    if found is None:
        raise Refused(f"{after[:30]!r} is no mark to go on after: it is the first column of a row, as {example}")
    return tuple(int(one) for one in found.groups())


def _by_number(read: _Read, wanted: Wanted, after: str, asked: Asked) -> _Pages:
    """Rows by their own number."""
    statement, key = _NUMBERED[asked](wanted), "callout" if asked == "callouts" else "reply"
    (last,) = _numbers(after, r"([0-9]+)", "311") if after else (0,)
    while True:
        with read() as tx:
            rows = [dict(row) for row in tx.execute(statement, {"after": last, "limit": PAGE}).mappings()]
        yield rows
        if len(rows) < PAGE:
            return
        last = rows[-1][key]


_NUMBERED: dict[str, Callable[[Wanted], searching.Select]] = {
    "callouts": searching.callouts,
    "replies": lambda wanted: searching.said(wanted, only_answers=False),
    "acknowledgements": lambda wanted: searching.said(wanted, only_answers=True),
}


def _by_time(read: _Read, wanted: Wanted, after: str, _asked: Asked) -> _Pages:
    """Entries: by time, then chain and number."""
    statement = searching.entries(wanted)
    mark: dict[str, Any] = {"at": -1, "chain": "", "n": 0}
    if after:
        found = re.fullmatch(r"([a-z:0-9]+)/([0-9]+)", after)
        name, n = (found[1], int(found[2])) if found else ("", 0)
        with read() as tx:
            at = searching.moment_of(tx, name, n)
        if at is None:
            raise NotFound(f"no entry {after[:30]!r}; one is written alert:3/12")
        mark = {"at": at, "chain": name, "n": n}
    while True:
        with read() as tx:
            rows = [dict(row) for row in tx.execute(statement, {**mark, "limit": PAGE}).mappings()]
        yield rows
        if len(rows) < PAGE:
            return
        mark = {name: rows[-1][name] for name in mark}


def _of_nobody(read: _Read, wanted: Wanted, after: str, _asked: Asked) -> _Pages:
    """Who was not reached: alert after alert, first its posts, then its other targets batch by batch."""
    example = "3.p.17 or 3.t.17.204"
    start, kind, mark = 0, "p", (0, 0)
    if after:
        found = re.fullmatch(r"([0-9]+)\.(?:(p)\.([0-9]+)|(t)\.([0-9]+)\.([0-9]+))", after)
        if found is None:
            raise Refused(f"{after[:30]!r} is no mark to go on after: it is the first column of a row, as {example}")
        start, kind = int(found[1]), found[2] or found[4]
        mark = (int(found[3] or 0), 0) if kind == "p" else (int(found[5]), int(found[6]))
    with read() as tx:
        alerts = [number for number in unreached.alerts(tx, wanted) if number >= start]
    for number in alerts:
        here = number == start
        if not here or kind == "p":
            yield from _posts(read, number, wanted, mark[0] if here else 0)
        if not wanted.names_posts:
            yield from _targets(read, number, wanted, mark if here and kind == "t" else (0, 0))


def _posts(read: _Read, alert_id: int, wanted: Wanted, after: int) -> _Pages:
    last: int | None = after
    while last is not None:
        with read() as tx:
            page, last = unreached.posts(tx, alert_id, wanted, last)
        yield page


def _targets(read: _Read, alert_id: int, wanted: Wanted, mark: tuple[int, int]) -> _Pages:
    of_alert = Wanted(alert_id=alert_id, region=wanted.region)
    with read() as tx:
        batches = searching.batches(tx, of_alert, mark[0], of_receipts=False)
    for number in batches:
        last: int | None = mark[1] if number == mark[0] else 0
        while last is not None:
            with read() as tx:
                page, last = unreached.targets(tx, alert_id, number, wanted, last)
            yield page


_PAGES: dict[str, Callable[[_Read, Wanted, str, Asked], _Pages]] = {
    "deliveries": _by_batch,
    "receipts": _by_batch,
    "acknowledgements": _by_number,
    "callouts": _by_number,
    "replies": _by_number,
    "entries": _by_time,
    "unreached": _of_nobody,
}


# ── what is shown ──

_TIMES = frozenset({"started", "ended", "at", "recorded", "opened", "due", "next_step", "answered", "measures_due"})


def key_of(row: dict[str, Any]) -> str:
    """What a row is known by: what stands in its first column when it is shown."""
    if "chain" in row:
        return f"{row['chain']}/{row['n']}"
    if "tier" in row:
        return f"{row['batch_id']}.{row['seq']}"
    return str(next(row[name] for name in ("receipt", "reply", "callout", "unreached") if name in row))


def shown(seal: Seal, row: dict[str, Any], *, unmask: bool = False) -> dict[str, Any]:
    """A row as people see it. Times in ISO 8601; who and where masked, unless `unmask`."""
    made: dict[str, Any] = {name: _time(value) if name in _TIMES else value for name, value in row.items()}
    if "tier" in row:
        made = {"delivery": key_of(row), **_without(made, "batch_id", "seq")}
    elif "receipt" in row:
        runs = [f"{row['batch_id']}.{seq}" for seq in dict.fromkeys((row["first_seq"], row["last_seq"]))]
        made = {**_without(made, "batch_id", "first_seq", "last_seq"), "deliveries": "-".join(runs)}
        made["address"] = made["address"] if len(runs) == 1 else b""
    elif "reply" in row:
        of = f"{row['batch_id']}.{row['seq']}" if row["batch_id"] is not None else None
        made = {**_without(made, "batch_id", "seq"), "delivery": of, "counts": json.loads(row["counts"])}
    elif "chain" in row:
        made = {"entry": key_of(row), **_without(made, "chain", "n"), "body": json.loads(mask_within(row["body"]))}
    for name, look in (("address", mask), ("person", _mask_name), ("said", _mask_words)):
        if name in made:
            made[name] = _opened(seal, made[name], str if unmask else look, erased=_is_erased(row, name))
    return made


def _is_erased(row: dict[str, Any], name: str) -> bool:
    """A delivery always had an address, and a post its person."""
    return row[name] is None and ("tier" in row if name == "address" else name == "person" and row.get("post") is not None)


def _opened(seal: Seal, sealed: bytes | None, look: Callable[[str], str], *, erased: bool) -> str | None:
    if sealed is None:
        return ERASED if erased else None
    return look(seal.open(sealed)) if sealed else ""


def _mask_name(name: str) -> str:
    return name[:1] + "*" * max(1, len(name) - 1)


def _mask_words(words: str) -> str:
    """What a person wrote may name anybody: only that there is something is shown."""
    return f"({len(words)} characters)"


def _time(millis: int | None) -> str | None:
    when = moment(millis)
    return when.astimezone(UTC).isoformat(timespec="milliseconds") if when else None


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def ways_in_words(ways: Sequence[unreached.Way]) -> str:
    """Why on each channel, in one line: sms rejected (isv.…); voice in_doubt (no answer)."""
    said = (f"{way.channel} {way.state}" + (f" ({way.reason})" if way.reason else "") for way in ways)
    return "; ".join(said) or "nothing was planned: no address on any channel of the plan"
