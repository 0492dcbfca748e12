"""One alert as the ledger has it at one moment: all that a dossier says, without the long tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..alert import Alert
from ..errors import InvalidAlert
from ..gateway import Gateway, covering
from ..gateway.covering import AlertCoverage
from ..gateway.spotchecking.reporting import Report
from ..intake import read
from ..ledger import Row, Seal, Transaction, alerts, callouts, dossiers, evidence, questions
from ..ledger.alerts import OPEN_STATES
from ..ledger.evidence import DOOR, ITSELF, TAKEN_OVER, Evidence
from ..tiers.regions import Regions
from ..tiers.roster import Role, mask

ERASED = "（已删除）"  # a person's data that were erased: the proof stays, the name does not


@dataclass(slots=True)
class Persons:
    """Opens sealed names and addresses, masked unless somebody answers for it. Addresses are masked always."""

    seal: Seal
    masked: bool
    shown: set[bytes] = field(default_factory=set)  # names that were shown whole

    def name(self, sealed: bytes | None) -> str:
        """张* or 张测."""
        if not sealed:
            return ERASED
        found = self.seal.open(sealed)
        if self.masked:
            return found[:1] + "*" * max(1, len(found) - 1)
        self.shown.add(bytes(sealed))
        return found

    def address(self, sealed: bytes | None) -> str:
        """138****0002."""
        return mask(self.seal.open(sealed)) if sealed else ERASED

    def words(self, sealed: bytes | None) -> str:
        """What a person wrote: it may hold names and numbers, so that only an unmasked dossier has it."""
        return "" if self.masked or not sealed else self.seal.open(sealed)


@dataclass(frozen=True, slots=True)
class Duty:
    """One post's duty to acknowledge (or to report measures), with all that was done for it."""

    number: int
    duty: str
    tier: str
    region: str
    place: str
    role: str
    rank: str
    person: str
    state: str
    opened: int
    due: int
    calls: Mapping[str, int]  # rung → calls that left
    ended: int | None  # answered, or on the door list since
    by: str  # ledger/evidence.py: itself, deputy, superior …; "" while it is open
    answered_by: str  # the name of whoever answered, where that is known
    how: str
    entered_by: str  # the operator who entered the answer
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to tell."""

    county: str
    alert: Row
    understood: Mapping[str, Any]
    raw: bytes
    message: Alert | None  # None: this version cannot read it any more
    tree: Regions
    roles: Mapping[str, Role]
    regions: Sequence[Row]
    rules: Sequence[Row]
    words: Sequence[Row]
    entries: Sequence[Row]
    duties: Sequence[Duty]
    replies: Sequence[Row]
    coverage: AlertCoverage | None  # None: it says that it is over, and nobody is to be reached by it
    spot_checks: Report | None
    running: bool  # more may come: the dossier is of a moment

    def place(self, region: str) -> str:
        """The name of a region; its code where the tree in force does not know it any more."""
        return self.tree[region].name if region in self.tree else region

    def town(self, region: str) -> str:
        """The code of the town that a region is or lies in; "" for the county's own."""
        found = self.tree.town_of(region) if region in self.tree else None
        return found.code if found else ""

    def role(self, code: str) -> str:
        """The name of a role without its explanation in brackets, which the roster's own list has."""
        return _short(self.roles[code].zh) if code in self.roles else code

    @property
    def head(self) -> tuple[int, str]:
        """The last entry's number and hash."""
        return (self.entries[-1].n, self.entries[-1].hash) if self.entries else (0, "0" * 64)

    @property
    def owed(self) -> list[Duty]:
        """The duties to acknowledge."""
        return [one for one in self.duties if one.duty == "acknowledge"]


def _short(name: str) -> str:
    """村(社区)主要负责人(防汛责任人/…) → 村(社区)主要负责人."""
    cut = name.rfind("(")
    return name[:cut] if cut > 0 and name.endswith(")") else name


def gather(gateway: Gateway, tx: Transaction, alert: int | str, persons: Persons) -> Facts:
    """Everything but deliveries and receipts, which are written as they are read. Raises NotFound."""
    row = alerts.find(tx, alert)
    tree, roles = gateway.house.books.regions, gateway.house.books.roles
    raw = alerts.raw_of(tx, row.id)
    replies, entries = dossiers.replies(tx, row.id), dossiers.entries(tx, row.id)
    return Facts(
        county=gateway.house.county.name,
        alert=row,
        understood=json.loads(row.understood),
        raw=raw,
        message=_read(raw),
        tree=tree,
        roles=roles,
        regions=dossiers.regions(tx, row.id),
        rules=dossiers.rules(tx, row.id),
        words=dossiers.words(tx, row.id),
        entries=entries,
        duties=_duties(tx, row.id, tree, roles, entries, replies, persons),
        replies=replies,
        coverage=None if row.stand_down else covering.coverage_at(tx, tree, row),
        spot_checks=_spot_checks(gateway, row.id),
        running=row.state in OPEN_STATES or not questions.is_settled(tx, row.id),
    )


def _spot_checks(gateway: Gateway, alert_id: int) -> Report | None:
    numbers = gateway.spotchecks.of_alert(alert_id)
    return gateway.spotchecks.report(numbers) if numbers else None


def _read(raw: bytes) -> Alert | None:
    try:
        return read(raw)
    except InvalidAlert:  # accepted by an earlier version's rules: the bytes are kept, the facts are columns
        return None


def _duties(
    tx: Transaction,
    alert_id: int,
    tree: Regions,
    roles: Mapping[str, Role],
    entries: Sequence[Row],
    replies: Sequence[Row],
    persons: Persons,
) -> list[Duty]:
    proofs = {one.callout: one for one in evidence.of_alert(tx, alert_id)}
    answers, moments = {one.id: one for one in replies}, {one.n: one.at for one in entries}
    return [
        _duty(row, _at_the_door(row, proofs.get(row.id), moments), answers, tree, roles, persons)
        for row in callouts.listed(tx, alert_id, silent=False)
    ]


def _at_the_door(row: Row, proof: Evidence | None, moments: Mapping[int, int]) -> Evidence | None:
    """Who was on the list 未叫醒 when the alert ended was not woken: that it ended must not hide it."""
    if proof is None or proof.by != TAKEN_OVER or row.step != DOOR:
        return proof
    return replace(proof, by=DOOR, ended=moments.get(proof.entries[-1]) if proof.entries else None)


def _duty(
    row: Row, proof: Evidence | None, answers: Mapping[int, Row], tree: Regions, roles: Mapping[str, Role], persons: Persons
) -> Duty:
    known = row.region in tree
    answer = answers.get(proof.reply) if proof is not None and proof.reply is not None else None
    return Duty(
        number=row.id,
        duty=row.duty,
        tier=str(tree[row.region].tier) if known else "",
        region=row.region,
        place=tree[row.region].name if known else row.region,
        role=_short(roles[row.role].zh) if row.role in roles else row.role,
        rank=row.rank,
        person=persons.name(row.name),
        state=row.state,
        opened=row.opened,
        due=row.due,
        calls=Counter(call.rung for call in proof.calls) if proof is not None else {},
        ended=proof.ended if proof is not None else row.answered,
        by=proof.by if proof is not None else _ending(row),
        answered_by=persons.name(answer.name) if answer is not None and answer.person_id is not None else "",
        how=row.how,
        entered_by=row.answered_by,
        entries=proof.entries if proof is not None else (),
    )


def _ending(row: Row) -> str:
    """Of a duty to report measures, which only the post itself can answer."""
    return {"answered": ITSELF, "closed": TAKEN_OVER}.get(row.state, DOOR if row.step == DOOR else "")
