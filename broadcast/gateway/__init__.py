"""The gateway: gathers facts, asks the pure core, does what it says. Thin: each part tells its story in its own file."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..alert import Alert
from ..channels import CHANNELS
from ..channels.base import Heard, LooksUp
from ..errors import NotAllowed, NotFound
from ..ledger import Ledger, alerts, books, operators, people, questions, replies
from ..ledger.audits import Asked, Filters
from ..ledger.erasing import Erased
from ..ledger.operators import Operator
from ..ledger.questions import Progress
from ..ledger.verifying import Verdict
from ..tiers.plan import Plans
from ..tiers.regions import Regions
from ..tiers.roster import Person, Roster, load_roles
from . import (
    callouts,
    cancelling,
    confirming,
    covering,
    delivering,
    errands,
    health,
    previewing,
    proving,
    receiving,
    speaking,
    submitting,
    sweeping,
    unmasking,
)
from . import readiness as ready
from .callouts import Callout, Place
from .confirming import Confirmation
from .covering import AlertCoverage
from .health import Check, Health
from .house import CountySettings, House, Source
from .previewing import Preview
from .proving import Folder, Mail, WayOut
from .readiness import ExpectedCoverage, Readiness
from .speaking import Speaker
from .spotchecking import SpotChecks
from .submitting import BY_HAND, Sent
from .sweeping import Swept
from .unmasking import Export
from .ways import FarEnd, Way, open_ways

__all__ = [
    "BY_HAND",
    "AlertCoverage",
    "Answers",
    "Callout",
    "Check",
    "Confirmation",
    "CountySettings",
    "Erased",
    "ExpectedCoverage",
    "Export",
    "FarEnd",
    "Folder",
    "Gateway",
    "Health",
    "House",
    "Mail",
    "Operator",
    "Place",
    "Preview",
    "Progress",
    "Readiness",
    "Sent",
    "Source",
    "Speaker",
    "SpotChecks",
    "Status",
    "Swept",
    "Verdict",
    "Way",
    "WayOut",
    "open_ways",
]


GRANTS = "DUTY_LEADER"  # the operator role that adds operators


@dataclass(frozen=True, slots=True)
class Status:
    """One alert as it stands."""

    alert_id: int
    identifier: str
    event_key: str
    msg_type: str
    status: str
    level: str
    event: str
    headline: str
    source: str
    state: str
    reason: str
    drafted_by: str
    released_by: str
    to_review: bool
    received: Any  # datetime
    expires: Any
    approve_by: Any
    superseded_by: int | None
    waits_for: tuple[str, ...]  # operator roles of which one must approve
    held: int  # rules that wait for approval
    owed: int  # rules still to be planned
    settled: bool
    progress: tuple[Progress, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """Duties to acknowledge by state (open, answered, closed), and households told at the door."""

    duties: Mapping[str, int]
    at_the_door: Mapping[str, int]  # households, without_phone, vulnerable


class Gateway:
    """The public face for other services; `broadcast.open()` makes one."""

    def __init__(self, house: House, bell: Callable[[], bool] = lambda: True) -> None:
        self.house = house
        self.ledger: Ledger = house.ledger
        self.spotchecks = SpotChecks(house)
        self._bell = bell

    # ── warnings in ──

    def read(self, raw: bytes, source: str = "") -> Alert:
        """Bytes → Alert. Raises InvalidAlert; what is refused is kept with its bytes and the reason."""
        return submitting.read(self.house, raw, source)

    def preview(self, alert: Alert, source: str | None = None) -> Preview:
        """Who, by which way, which words, how many calls, time to the last one. Sends and writes nothing."""
        return previewing.preview(self.house, alert, source)

    def submit(self, alert: Alert, *, source: str | None = None, by: Operator | None = None) -> Sent:
        """Takes a warning in charge; returns when what is owed at once has been committed. Idempotent by (sender, identifier).

        `source` names a configured source. Without it: what an operator (`by`) brings is drafted by hand and needs a second
        person; else the source is found by the alert's sender. Raises LedgerUnavailable, InvalidFiles.
        """
        return submitting.submit(self.house, alert, source=source, by=by)

    def approve(
        self, alert: int | str, operator: Operator, *, alone: str = "", regions: Sequence[str] = (), level: str = ""
    ) -> Sent:
        """A second person lets go what waits; `regions` and `level` decide what it left open. Raises NotAllowed, NotFound."""
        return submitting.approve(self.house, alert, operator, alone=alone, regions=regions, level=level)

    def review(self, alert: int | str, operator: Operator) -> bool:
        """Marks what one person had released alone as reviewed by another; False when there was nothing to review."""
        with self.ledger.write() as tx:
            row = alerts.find(tx, alert)
            if row.released_by == operator.name:
                raise NotAllowed(f"{operator.name} released it: another person reviews it")
            return alerts.reviewed(tx, row.id, operator.name, self.house.now())

    def cancel(self, alert: int | str, operator: Operator, reason: str) -> Sent:
        """Submits a Cancel of the alert's event in the county's own name; it waits for approval as any other. Raises NotFound."""
        return self.submit(cancelling.cancel_of(self.house, alert, reason), by=operator)

    def test(self, channel: str, region: str, by: Operator) -> Sent:
        """A test broadcast to the registered test targets of one channel in one region. Raises NotFound."""
        return submitting.submit(self.house, submitting.test_alert(self.house, channel, region), source=None, by=by, only=channel)

    def authenticate_source(self, name: str, token: str) -> str:
        """The name of a service that proved itself with its token. Raises NotFound, NotAllowed."""
        known = {source.name: source for source in self.house.sources}
        if name not in known:
            raise NotFound(f"no [[source]] {name!r} in broadcast.toml; there are: {', '.join(sorted(known)) or 'none'}")
        expected = known[name].token
        if not expected:
            raise NotAllowed(f"source {name} has no token in broadcast.toml: it cannot submit by itself; an operator can")
        if not hmac.compare_digest(token.encode(), expected.encode()):
            raise NotAllowed(f"that is not the token of source {name}")
        return name

    def source_of_token(self, token: str) -> str:
        """The name of the service that this token belongs to. Raises NotAllowed."""
        found = ""
        for source in self.house.sources:  # all of them, whatever was found: the time taken tells nothing
            if source.token and hmac.compare_digest(token.encode(), source.token.encode()):
                found = source.name
        if not found:
            raise NotAllowed("no source in broadcast.toml has that token")
        return found

    def scopes_of(self, name: str) -> frozenset[str]:
        """What a source may do with its token: submit, read."""
        return next((source.scopes for source in self.house.sources if source.name == name), frozenset())

    # ── workers ──

    def deliver(self, batch_id: int) -> None:
        """What a worker does when it is rung for a batch."""
        delivering.deliver(self.house, batch_id)

    def sweep(self) -> Swept | None:
        """One round of the sweep; None while another process holds it."""
        return sweeping.sweep(self.house)

    def plan_for(self, seconds: float) -> int:
        """Plans owed bulk for about `seconds`; returns the number of slices."""
        return sweeping.plan_for(self.house, seconds)

    def keep(self, letters: Sequence[receiving.Letter]) -> None:
        """Commits provider callbacks to the inbox; only then may they be answered."""
        receiving.keep(self.house, letters)

    def work_inbox(self, limit: int = 500) -> int:
        """Understands the oldest kept callbacks; returns how many."""
        return receiving.work_inbox(self.house, limit)

    def hear(self, peer: str, heard: Sequence[Heard]) -> None:
        """Reports and answers of a far end that has no callbacks, as the people of a drill. Raises NotFound for an unknown peer.

        Whatever calls back goes through `keep`: it is kept before it is answered, and understood after.
        """
        receiving.hear(self.house, peer, heard)

    def errands(self) -> list[str]:
        """The peers that something has to be fetched from, or that can be asked."""
        return errands.wanted(self.house)

    def run_errands(self, peer: str) -> float:
        """One round with one peer; returns after how many seconds the next is wanted."""
        return errands.run(self.house, peer)

    # ── answers of persons ──

    def confirmation(self, token: str) -> Confirmation:
        """What a confirm link asks for. Opening it confirms nothing. Raises NotFound for a link that is not good (any more)."""
        return confirming.look(self.house, token)

    def confirm(self, token: str) -> Confirmation:
        """The person who got this link says: we have it. Raises NotFound."""
        return confirming.confirm(self.house, token)

    def callouts(self, alert: int | str | None = None, *, silent: bool = False) -> list[Callout]:
        """Who owes an answer to an alert (None: to any in force), how far each has come, what is next. Raises NotFound."""
        return callouts.listed(self.house, None if alert is None else self.find(alert), silent=silent)

    def places(self, alert: int | str) -> list[Place]:
        """By region: how many posts have answered, and whether the place has by its plan's quorum. Raises NotFound."""
        return callouts.places(self.house, self.find(alert))

    def enter_answer(self, callout: int, operator: Operator, verb: str, said: str) -> int:
        """A duty officer's entry for a callout's person: "acknowledged" or "measures", and how it was heard or what was done.

        Returns how many duties it answered. Raises NotFound, NotAllowed.
        """
        return callouts.enter(self.house, callout, operator, verb, said)

    def answers(self, alert: int | str) -> Answers:
        """How many posts owe an answer to an alert and have given it; what grid workers told at the door. Raises NotFound."""
        with self.ledger.read() as tx:
            number = alerts.find(tx, alert).id
            return Answers(replies.counted(tx, number), replies.at_the_door(tx, number))

    def speakers(self, region: str = "") -> list[Speaker]:
        """The loudspeaker systems of the roster, by region: how each stands, and what became of the last alarm sent to it."""
        return speaking.speakers(self.house, region)

    # ── questions ──

    def find(self, alert: int | str) -> int:
        """The number of an alert given by number or identifier. Raises NotFound."""
        with self.ledger.read() as tx:
            return int(alerts.find(tx, alert).id)

    def event(self, alert: int | str) -> list[Status]:
        """All alerts of the event that this one belongs to, in the order in which they came. Raises NotFound."""
        with self.ledger.read() as tx:
            ids = questions.of_event(tx, alerts.find(tx, alert).event_key)
        return [self.status(number) for number in ids]

    def progress(self, alert: int | str) -> list[Progress]:
        """By tier, channel and purpose: how many deliveries are in which state. Raises NotFound."""
        with self.ledger.read() as tx:
            return questions.progress(tx, alerts.find(tx, alert).id)

    def by_region(self, alert: int | str) -> dict[str, dict[str, int]]:
        """By region: how many deliveries are in which state."""
        with self.ledger.read() as tx:
            return questions.by_region(tx, alerts.find(tx, alert).id)

    def status(self, alert: int | str) -> Status:
        """One alert as it stands. Raises NotFound."""
        with self.ledger.read() as tx:
            row = alerts.find(tx, alert)
            left = questions.unplanned(tx, row.id)
            return Status(
                alert_id=row.id,
                identifier=row.identifier,
                event_key=row.event_key,
                msg_type=row.msg_type,
                status=row.status,
                level=row.level,
                event=row.event,
                headline=row.headline,
                source=row.source,
                state=row.state,
                reason=row.reason,
                drafted_by=row.drafted_by,
                released_by=row.released_by,
                to_review=bool(row.to_review),
                received=questions.moment(row.received),
                expires=questions.moment(row.expires),
                approve_by=questions.moment(row.approve_by),
                superseded_by=row.superseded_by,
                waits_for=tuple(sorted(alerts.needed_approvers(tx, row))),
                held=left.get("held", 0),
                owed=left.get("owed", 0),
                settled=questions.is_settled(tx, row.id),
                progress=tuple(questions.progress(tx, row.id)),
            )

    def alerts(self, limit: int = 50) -> list[Status]:
        """The newest alerts first."""
        with self.ledger.read() as tx:
            ids = [row.id for row in questions.alerts(tx, limit)]
        return [self.status(number) for number in ids]

    def words(self, alert: int | str) -> list[dict[str, Any]]:
        """The frozen words that rules of the alert use."""
        with self.ledger.read() as tx:
            rows = questions.words(tx, alerts.find(tx, alert).id)
        return [
            {k: row._mapping[k] for k in ("channel", "audience", "purpose", "language", "text", "units", "template")}
            for row in rows
        ]

    def wait(self, alert: int | str, seconds: float, every: float = 0.1) -> bool:
        """Waits until nothing of the alert is owed or under way; False when the time ran out first."""
        number = self.find(alert)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self.ledger.read() as tx:
                if questions.is_settled(tx, number):
                    return True
            time.sleep(every)
        return False

    def health(self, files: Mapping[str, Callable[[], Mapping[str, str]]] | None = None) -> Health:
        """Is the gateway fit to carry a warning now?"""
        return health.health(self.house, self._bell, files or {})

    def readiness(self, region: str = "") -> Readiness:
        """What is wanting before the next rain: posts, persons, numbers, contracts, loudspeakers. Raises NotFound."""
        return ready.readiness(self.house, region)

    # ── the ledger as proof ──

    def verify(
        self,
        alert: int | str | None = None,
        anchor: str | None = None,
        progress: Callable[[str], None] = lambda _chain: None,
    ) -> Verdict:
        """Recomputes the ledger, or one alert's chain, and names the first place of each chain that does not hold.

        `anchor`: the text of one that was kept elsewhere; it finds what was cut off. `progress` is told each chain's name.
        Raises NotFound, InvalidAnchor, LedgerUnavailable.
        """
        return proving.verify(self.house, None if alert is None else self.find(alert), anchor, progress)

    def anchor(self) -> str:
        """Makes an anchor and returns it, as JSON: keep it outside this host. Raises LedgerUnavailable."""
        return proving.by_hand(self.house)

    def erase(self, person_id: str, reason: str, operator: Operator) -> Erased:
        """Takes the numbers, name and words of a person out who has left the roster; the ledger verifies as before.

        Raises NotAllowed, NotFound.
        """
        return proving.erase(self.house, person_id, reason, operator)

    def coverage(self, alert: int | str, region: str = "") -> AlertCoverage:
        """By village: reached by nobody, by machine only, at the door, by a person, measures done; the worst first.

        Raises NotFound; also for an alert that says that it is over.
        """
        return covering.coverage(self.house, alert, region)

    def unreached_villages(self, alert: int | str) -> tuple[str, ...]:
        """Names of villages that were reached by nobody when the plan's time was over, and are not since. Raises NotFound."""
        return covering.unreached(self.house, alert)

    def expected_coverage(self, region: str = "") -> ExpectedCoverage:
        """Before an event: which villages could be reached by machine, at the door, by a person. Raises NotFound."""
        return ready.expected_coverage(self.house, region)

    def unmask(self, asked: Asked, filters: Filters, by: Operator, reason: str) -> list[dict[str, Any]]:
        """An auditor's answer with personal data as it is; who looked and why is an entry first. Raises NotAllowed, Refused."""
        return unmasking.unmask(self.house, asked, filters, by, reason)

    def record_export(self, export: Export, who: str) -> None:
        """Writes down that an answer leaves the ledger as a file. Only then may the file be handed over."""
        unmasking.record_export(self.house, export, who)

    # ── the county ──

    def import_regions(self, files: Mapping[str, str], roles: str, who: str) -> None:
        """Puts a region tree and its roles in force. Raises InvalidFiles and changes nothing when they are broken."""
        Regions.load(files)
        load_roles(roles)
        with self.ledger.write() as tx:
            books.put(tx, "regions", files, self.house.now(), who)
            books.put(tx, "roles", {"roles.csv": roles}, self.house.now(), who)

    def check_plans(self, files: Mapping[str, str]) -> Plans:
        """Reads plans as an import would. Raises InvalidFiles with every problem by file and line."""
        return Plans.load(files, set(self.house.books.roles), set(CHANNELS))

    def import_plans(self, files: Mapping[str, str], who: str) -> bool:
        """Puts plans in force; broken ones are refused and the last good ones stay. False when nothing changed."""
        self.check_plans(files)
        with self.ledger.write() as tx:
            return books.put(tx, "plans", files, self.house.now(), who)

    def import_roster(self, roster: Roster, who: str, progress: Callable[[int], None] = lambda _done: None) -> None:
        """Replaces the roster; the old one is in force until the new one is complete. The past keeps what it was planned with."""
        people.replace(
            self.ledger.database,
            self.ledger.seal,
            roster.persons,
            roster.posts,
            roster.places,
            roster.residents(),
            who=who,
            now=self.house.now(),
            progress=progress,
        )

    def look_up_accounts(self, persons: Sequence[Person]) -> dict[str, str]:
        """person_id → 浙政钉 account, for those of these persons who have a phone and no account yet. Ahead of time only.

        A simulated peer is asked about synthetic persons only, a live one about all others. Raises NotFound, ChannelError.
        """
        way = self.house.ways.get("zwdd")
        asked = next((one.channel for one in way.far_ends if isinstance(one.channel, LooksUp)), None) if way else None
        if way is None or asked is None:
            raise NotFound("no peer of channel zwdd in broadcast.toml can look accounts up")
        wanted = {one.phone: one.person_id for one in persons if one.phone and not one.zwdd and one.synthetic == way.simulated}
        return {wanted[phone]: account for phone, account in asked.look_up(list(wanted)).items() if phone in wanted}

    def roster(self) -> Roster:
        """The roster in force, without residents."""
        with self.ledger.read() as tx:
            persons, posts, places = people.read(tx, self.ledger.seal)
        return Roster(persons, posts, places, lambda: iter(()), ())

    # ── operators ──

    def operators(self) -> list[dict[str, Any]]:
        """Who may act here: name, roles, added, disabled."""
        with self.ledger.read() as tx:
            return [
                {
                    "name": row.name,
                    "roles": json.loads(row.roles),
                    "added": questions.moment(row.added),
                    "disabled": questions.moment(row.disabled),
                }
                for row in operators.listed(tx)
            ]

    def add_operator(self, name: str, roles: Sequence[str], pin: str, by: Operator | None) -> None:
        """Adds an operator or gives one new roles and a new PIN (hashed with scrypt). Raises NotAllowed.

        Whoever could give themselves the reviewing role would be both persons of 1+1+X: only a DUTY_LEADER adds operators.
        `by` may be None for the first one, who must be a DUTY_LEADER.
        """
        self._check_grant(roles, by)
        unknown = [role for role in roles if role not in self.house.books.roles and role != unmasking.AUDITOR]
        if unknown:
            raise NotAllowed(
                f"no role {unknown[0]!r}; roles are in roles.csv, e.g. DUTY_OFFICER, SHIFT_LEAD, DUTY_LEADER; and AUDITOR"
            )
        with self.ledger.write() as tx:
            operators.add(tx, name, list(roles), pin, self.house.now(), by.name if by else name)

    def disable_operator(self, name: str, by: Operator) -> None:
        """This operator may do nothing any more; what they did stays. Raises NotAllowed, NotFound."""
        self._check_grant((), by)
        with self.ledger.write() as tx:
            if not operators.disable(tx, name, self.house.now(), by.name):
                raise NotFound(f"no active operator {name!r}; `broadcast operator list` shows them")

    def _check_grant(self, roles: Sequence[str], by: Operator | None) -> None:
        if by is None:
            if any(one["disabled"] is None for one in self.operators()):
                raise NotAllowed(f"there are operators already: one with {GRANTS} adds others")
            if GRANTS not in roles:
                raise NotAllowed(f"the first operator must hold {GRANTS}, because only such a one may add others")
        elif GRANTS not in by.roles:
            raise NotAllowed(f"this needs {GRANTS}; {by.name} holds {', '.join(sorted(by.roles)) or 'none'}")

    def authenticate(self, name: str, pin: str) -> Operator:
        """Who this is. Raises NotAllowed for a wrong name or PIN (which of the two is not said), and while locked out."""
        with self.ledger.write() as tx:
            found = operators.check(tx, name, pin, self.house.now())
        if found is None:
            raise NotAllowed("no operator by that name and PIN")
        return found

    def close(self) -> None:
        """Gives all connections back."""
        for far_end in self.house.peers.values():
            far_end.channel.close()
        self.ledger.close()
