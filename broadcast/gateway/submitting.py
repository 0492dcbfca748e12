"""A warning comes in: decided, recorded, its alarm lanes planned, all in one commit; then the bell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .. import intake
from ..alert import LEVEL_OF_SEVERITY, Alert, Level, RegionCode, Status
from ..errors import InvalidAlert, NotAllowed, NotFound
from ..ledger import Row, Transaction, alerts, chain, fanout, questions
from ..ledger.alerts import AlertState, NewAlert
from ..ledger.operators import Operator
from ..tiers.plan import Disposition
from . import releasing
from .deciding import Draft, decide, word_rows
from .house import House

BY_HAND = "by hand"  # the source of what an operator drafts; no release table names it
ALIKE_WITHIN = 30 * 60 * 1000  # milliseconds
RAW_CAP = 5 * 1024 * 1024  # what is kept of a refused file; its hash is of the whole


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a submission."""

    alert_id: int
    is_new: bool  # False: this alert was here already
    state: str  # AlertState
    reason: str
    findings: tuple[str, ...]  # what a person should look at: repairs, disagreeing codes …
    rung: bool  # False: committed, but no worker could be rung; the sweep will


def read(house: House, raw: bytes, source: str = "") -> Alert:
    """Reads a warning; what is refused is kept with its bytes and the reason before InvalidAlert goes on."""
    try:
        return intake.read(raw)
    except InvalidAlert as error:
        with house.ledger.write() as tx:
            digest = hashlib.sha256(raw).hexdigest()
            alerts.refuse(tx, raw[:RAW_CAP], size=len(raw), sha256=digest, reason=str(error), source=source, now=house.now())
        raise


def submit(house: House, alert: Alert, *, source: str | None, by: Operator | None, only: str | None = None) -> Sent:
    """Records an alert and rings for what is owed at once. The same alert twice is one alert."""
    if source is None and by is not None:
        source = BY_HAND  # whatever sender the file names: a person made it, so a second one looks at it
    draft = decide(house, alert, house.source_of(alert, source), only=only)
    who = by.name if by else f"source:{draft.source.name}"
    now = house.now()
    with house.ledger.write() as tx:
        state, reason = _state(draft, alerts.newer(tx, draft.event_key, int(alert.sent.timestamp() * 1000)))
        new = _new(draft, state, reason, who, now)
        alert_id, is_new = alerts.record(tx, new, now, who)
        made: list[fanout.Slice] = []
        if is_new:
            made = _begin(house, tx, alert_id, draft, state, now)
        row = alerts.find(tx, alert_id)
        alike = alerts.resembling(tx, new.values, within=ALIKE_WITHIN) if is_new and made else None
    findings = _findings(draft)
    if alike is not None:  # a doubled warning is better than a swallowed one: it is only said
        findings = (f"alert {alike} is of the same kind, level and time: if it is the same warning, both went out", *findings)
    return Sent(alert_id, is_new, row.state, row.reason, findings, ring(house, made))


def _state(draft: Draft, newer: int | None) -> tuple[AlertState, str]:
    owed = draft.owed
    if owed.disposition is Disposition.RECORD:
        return AlertState.RECORDED, owed.reason
    if newer is not None:
        return AlertState.RECORDED, f"overtaken: alert {newer} of the same event was sent later and is here already"
    if owed.disposition is Disposition.DECIDE:
        return AlertState.UNDECIDED, owed.reason
    waits = [rule for rule in draft.rules if rule["state"] == "held"]
    free = [rule for rule in draft.rules if rule["state"] == "owed"]
    if (waits and not free) or (draft.alert.is_stand_down and owed.approvers):
        return AlertState.WAITING, "waits for approval"
    return AlertState.ACTIVE, owed.reason


def _begin(house: House, tx: Transaction, alert_id: int, draft: Draft, state: AlertState, now: int) -> list[fanout.Slice]:
    """What follows from a new alert in the same commit: taking over its event, duties to approve, the alarm lanes."""
    if state is AlertState.RECORDED:
        return []
    if draft.owed.approvers:
        releasing.open_duty(house, tx, alert_id, draft, now)
    if state is AlertState.ACTIVE:
        alerts.activate(tx, alert_id, now)
    return alerts.plan_owed(tx, alert_id, now)


def _new(draft: Draft, state: AlertState, reason: str, who: str, now: int) -> NewAlert:
    alert, info = draft.alert, draft.alert.info
    recorded = state is AlertState.RECORDED
    values = {
        "event_key": draft.event_key,
        "sender": alert.sender,
        "identifier": alert.identifier,
        "sender_code": alert.sender_code,
        "source": draft.source.name,
        "form": alert.form,
        "msg_type": str(alert.msg_type),
        "status": str(alert.status),
        "scope": str(alert.scope),
        "event_code": info.event_code if info else "",
        "event": info.event if info else "",
        "level": draft.level,
        "headline": info.headline if info else "",
        "issuer": (info.issuer if info else "") or alert.sender,
        "sent": int(alert.sent.timestamp() * 1000),
        "received": now,
        "expires": int(draft.owed.expires.timestamp() * 1000),
        "state": str(AlertState.WAITING if state is AlertState.ACTIVE else state),
        "reason": reason,
        "stand_down": alert.is_stand_down,
        "sha256": alert.sha256,
        "doubt": str(draft.owed.doubt),
        "drafted_by": who,
        "approve_by": now + draft.owed.approve_within * 1000 if draft.owed.approvers and not recorded else None,
        "understood": chain.canonical(draft.understood),
        "to_review": False,
    }
    return NewAlert(
        values,
        alert.raw,
        {} if state in (AlertState.RECORDED, AlertState.UNDECIDED) else _regions(draft),
        () if recorded else word_rows(draft.words),
        () if recorded else draft.rules,
    )


def _regions(draft: Draft) -> dict[str, bool]:
    return {code: code in draft.owed.first_regions for code in draft.coverage.regions}


def _findings(draft: Draft) -> tuple[str, ...]:
    return (
        draft.gaps
        + tuple(f.text for f in draft.coverage.findings)
        + tuple(f"{r.element}: {r.value!r} was taken as {r.taken_as!r}" for r in draft.alert.repairs)
    )


def ring(house: House, made: Sequence[fanout.Slice]) -> bool:
    """Rings for these batches, after their commit. What cannot be rung now is rung by the sweep."""
    lanes: dict[str, list[int]] = {}
    for step in made:
        if step.batch_id is not None:
            lanes.setdefault(step.lane, []).append(step.batch_id)
    return house.ring(lanes) if lanes else True


def approve(
    house: House,
    wanted: int | str,
    operator: Operator,
    *,
    alone: str = "",
    regions: Sequence[str] = (),
    level: str = "",
) -> Sent:
    """A second person lets go what waits. `alone`: the reason why one person releases a red alert by themselves.

    `regions` and `level` decide what the alert left open. Raises NotAllowed, NotFound.
    """
    now = house.now()
    with house.ledger.read() as tx:
        row = alerts.find(tx, wanted)
        raw = alerts.raw_of(tx, row.id)
    draft = _decided(house, row, raw, regions, level) if row.state == AlertState.UNDECIDED else None
    with house.ledger.write() as tx:
        row = alerts.find(tx, row.id)
        roles = releasing.allowed(tx, row, operator, alone)
        if draft is not None:
            _complete(tx, row.id, draft, operator, now)
        alerts.let_go(tx, row.id, roles, operator.name, now, alone=alone)
        made = alerts.plan_owed(tx, row.id, now)
        row = alerts.find(tx, row.id)
    return Sent(row.id, False, row.state, row.reason, _findings(draft) if draft else (), ring(house, made))


def _decided(house: House, row: Row, raw: bytes, regions: Sequence[str], level: str) -> Draft:
    """The alert again, with what a person says of where it goes and how strong it is."""
    tree = house.books.regions
    unknown = [code for code in regions if code not in tree]
    if unknown:
        raise NotFound(f"no region {unknown[0]!r}; give the code of a town (9 digits) or village (12)")
    alert = intake.read(raw)
    if level:
        severity = {str(v): k for k, v in LEVEL_OF_SEVERITY.items()}.get(level)
        if severity is None:
            raise NotAllowed(f"level is {level!r}; use one of {', '.join(str(each) for each in Level)}")
        alert = replace(alert, infos=tuple(replace(info, severity=severity) for info in alert.infos))
    alert = replace(alert, sent=questions.moment(row.sent) or alert.sent)  # as recorded: a drill may have been re-stamped
    draft = decide(house, alert, house.source_of(alert, row.source), roots=[RegionCode(code) for code in regions])
    if draft.owed.disposition is not Disposition.DISSEMINATE:
        raise NotAllowed(f"still not decided: {draft.owed.reason}")
    return draft


def _complete(tx: Transaction, alert_id: int, draft: Draft, operator: Operator, now: int) -> None:
    alerts.add_regions(tx, alert_id, _regions(draft))
    known = alerts.words_of(tx, alert_id)
    fresh = [w for w in word_rows(draft.words) if (w["channel"], w["audience"], w["purpose"]) not in known]
    alerts.add_words(tx, alert_id, fresh)
    alerts.add_rules(tx, alert_id, draft.rules)
    alerts.set_decided(tx, alert_id, draft.level, chain.canonical(draft.understood), f"decided by {operator.name}")
    body = {"regions": list(draft.coverage.roots), "level": draft.level}
    chain.append(tx, chain.of_alert(alert_id), "alert.decided", now, body, operator.name)


def test_alert(house: House, channel: str, region: str) -> Alert:
    """A test broadcast: status Test, for the registered test targets of one channel in one region."""
    tree = house.books.regions
    if region not in tree:
        raise NotFound(f"no region {region!r}: give the code of the county (6 digits), a town (9) or a village (12)")
    if channel not in house.ways:
        raise NotFound(f"no peer for channel {channel!r}; configured: {', '.join(sorted(house.ways)) or 'none'}")
    moment = house.clock()
    message = {
        "identifier": f"test-{channel}-{region}-{moment:%Y%m%d%H%M%S%f}",
        "sender": house.county.name,
        "sent": moment.isoformat(),
        "status": str(Status.TEST),
        "msgType": "Alert",
        "scope": "Public",
        "info": [
            {
                "language": "zh-CN",
                "event": "测试专用",
                "eventCode": [{"valueName": "national", "value": "00000"}],
                "severity": "Minor",
                "urgency": "Unknown",
                "certainty": "Unknown",
                "headline": "测试专用",
                "area": [{"areaDesc": tree[RegionCode(region)].name, "geocode": [{"valueName": "NBS", "value": region}]}],
            }
        ],
    }
    return intake.read(json.dumps(message, ensure_ascii=False).encode())
