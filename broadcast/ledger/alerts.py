"""Alerts in the ledger: recorded once, released, taken over by the next of their event, closed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ..delivery import State
from ..errors import NotFound
from . import chain, duties, proof
from .engine import Row
from .fanout import OF_THE_EVENT, Selection, Slice, plan_whole
from .tables import alert, alert_raw, alert_region, batch, callout, delivery, refused, rule, wording


class AlertState(StrEnum):
    """What is done with an alert."""

    RECORDED = "recorded"  # kept, not disseminated (expired, draft, overtaken …): `reason` says why
    UNDECIDED = "undecided"  # its area or level is not clear: a person decides
    WAITING = "waiting"  # all of it waits for approval
    ACTIVE = "active"  # going out, or gone out (some channels may still wait for approval)
    SUPERSEDED = "superseded"  # a newer message of the event took over
    CANCELLED = "cancelled"  # stood down
    CLOSED = "closed"  # expired; nothing more leaves


OPEN_STATES = (AlertState.UNDECIDED, AlertState.WAITING, AlertState.ACTIVE)


# The columns of an alert that nobody changes any more; its first entry says them all.
AS_RECEIVED = (
    "sender",
    "identifier",
    "event_key",
    "sender_code",
    "source",
    "form",
    "msg_type",
    "status",
    "scope",
    "event_code",
    "event",
    "headline",
    "issuer",
    "sent",
    "received",
    "expires",
    "stand_down",
    "sha256",
    "doubt",
    "drafted_by",
    "approve_by",
)


@dataclass(frozen=True, slots=True)
class NewAlert:
    """All that `record` writes in one transaction."""

    values: Mapping[str, Any]  # the columns of `alert`
    raw: bytes
    regions: Mapping[str, bool]  # region → goes first
    words: Sequence[Mapping[str, Any]]  # the columns of `wording` without ids
    rules: Sequence[Mapping[str, Any]]  # the columns of `rule` without ids; `wording` = (channel, audience, purpose)


def record(tx: sa.Connection, new: NewAlert, now: int, who: str) -> tuple[int, bool]:
    """Writes an alert with its frozen words and rules; (id, False) when it was there already.

    Two processes may submit the same alert at once: the unique (sender, identifier) lets one of them in.
    """
    insert = sqlite_insert if tx.dialect.name == "sqlite" else postgresql_insert
    added = tx.execute(
        insert(alert).values(**new.values).on_conflict_do_nothing(index_elements=["sender", "identifier"]).returning(alert.c.id)
    ).scalar()
    if added is None:
        return _again(tx, new, now, who), False
    alert_id = int(added)
    proof.add(tx, alert_raw, [{"alert_id": alert_id, "raw": new.raw}], chain.of_alert(alert_id))
    add_regions(tx, alert_id, new.regions)
    ids = add_words(tx, alert_id, new.words)
    _add_rules(tx, alert_id, ids, new.rules)
    _entries_of_a_new_alert(tx, alert_id, new, now, who)
    return alert_id, True


def add_regions(tx: sa.Connection, alert_id: int, regions: Mapping[str, bool]) -> None:
    """Whom the alert covers; written once, when it is known."""
    if regions:
        rows = [{"alert_id": alert_id, "region": code, "first": first} for code, first in sorted(regions.items())]
        tx.execute(alert_region.insert(), rows)


def add_words(tx: sa.Connection, alert_id: int, words: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], int]:
    """Freezes words; (channel, audience, purpose) → id. The caller's entry covers them."""
    rows = [{**row, "alert_id": alert_id} for row in words]
    ids = proof.add(tx, wording, rows, chain.of_alert(alert_id))
    return {(row["channel"], row["audience"], row["purpose"]): number for row, number in zip(rows, ids, strict=True)}


def _add_rules(
    tx: sa.Connection, alert_id: int, ids: Mapping[tuple[str, str, str], int], rules: Sequence[Mapping[str, Any]]
) -> None:
    taken = tx.execute(sa.select(sa.func.coalesce(sa.func.max(rule.c.n), 0)).where(rule.c.alert_id == alert_id)).scalar_one()
    rows = []
    for n, made in enumerate(rules, taken + 1):
        values = dict(made)
        key = (values["channel"], values["audience"], values["purpose"])
        rows.append({"first": None, "answer_within": None, **values, "alert_id": alert_id, "n": n, "wording_id": ids[key]})
    if rows:
        tx.execute(rule.insert(), rows)


def add_rules(tx: sa.Connection, alert_id: int, rules: Sequence[Mapping[str, Any]]) -> None:
    """Adds rules whose words are frozen already."""
    rows = tx.execute(
        sa.select(wording.c.channel, wording.c.audience, wording.c.purpose, wording.c.id).where(wording.c.alert_id == alert_id)
    )
    _add_rules(tx, alert_id, {(r.channel, r.audience, r.purpose): r.id for r in rows}, rules)


def _again(tx: sa.Connection, new: NewAlert, now: int, who: str) -> int:
    row = tx.execute(
        sa.select(alert.c.id, alert.c.sha256).where(
            alert.c.sender == new.values["sender"], alert.c.identifier == new.values["identifier"]
        )
    ).one()
    body = {"sha256": new.values["sha256"], "same_bytes": row.sha256 == new.values["sha256"]}
    chain.append(tx, chain.of_alert(row.id), "alert.repeated", now, body, who)
    return int(row.id)


def _entries_of_a_new_alert(tx: sa.Connection, alert_id: int, new: NewAlert, now: int, who: str) -> None:
    name = chain.of_alert(alert_id)
    v = new.values
    facts = {k: v.get(k) for k in (*AS_RECEIVED, "level", "state", "reason")}
    chain.append(tx, name, "alert.received", now, facts, who)
    if new.rules:
        frozen = {"understood": json.loads(v["understood"]), "rules": len(new.rules), "regions": sorted(new.regions)}
        chain.append(tx, name, "plan.frozen", now, frozen)
    if new.words:
        texts = [{k: w[k] for k in ("channel", "audience", "purpose", "language", "text")} for w in new.words]
        chain.append(tx, name, "wording.frozen", now, {"words": texts})


def refuse(tx: sa.Connection, raw: bytes, size: int, sha256: str, reason: str, source: str, now: int) -> int:
    """Keeps what was refused: its bytes (as far as the cap allows), the hash of the whole and the reason."""
    values = {"received": now, "source": source, "sha256": sha256, "size": size, "raw": raw, "reason": reason}
    [number] = proof.add(tx, refused, [values], chain.HOUSE)
    chain.append(
        tx,
        chain.HOUSE,
        "alert.refused",
        now,
        {"refused": number, "sha256": sha256, "size": size, "reason": reason},
        source,
    )
    return number


def find(tx: sa.Connection, wanted: int | str) -> Row:
    """By number, or by identifier when only one sender uses it. Raises NotFound."""
    text = str(wanted)
    by = alert.c.id == int(text) if text.isdecimal() and len(text) < 12 else alert.c.identifier == text
    rows = tx.execute(sa.select(alert).where(by)).all()
    if not rows:
        raise NotFound(f"no alert {text!r} in the ledger; `broadcast status` lists them")
    if len(rows) > 1:
        raise NotFound(f"several senders use the identifier {text!r}: give the number ({', '.join(str(r.id) for r in rows)})")
    return rows[0]


def event_of(tx: sa.Connection, own: str, references: Iterable[tuple[str, str]], status: str) -> str | None:
    """The known event of an alert, by what it refers to, as (identifier, sender or ""), or by what already refers to it (`own`).

    Senders often name only the message before, and a later one may arrive first. Only alerts of the same status count.
    """
    if tx.execute(sa.select(alert.c.id).where(alert.c.event_key == own).limit(1)).first() is not None:
        return own
    for referred, sender in references:
        known = sa.select(alert.c.event_key).where(alert.c.identifier == referred, alert.c.status == status)
        if sender:
            known = known.where(alert.c.sender == sender)
        found = tx.execute(known.order_by(alert.c.id.desc()).limit(1)).scalar()
        if found is not None:
            return str(found)
    return None


def resembling(tx: sa.Connection, values: Mapping[str, Any], *, within: int) -> int | None:
    """Another event's alert of the same kind, level and about the same time: perhaps the same warning by another way."""
    return tx.execute(
        sa.select(alert.c.id)
        .where(
            alert.c.event_key != values["event_key"],
            alert.c.event_code == values["event_code"],
            alert.c.level == values["level"],
            alert.c.status == values["status"],
            alert.c.msg_type == values["msg_type"],
            alert.c.sent.between(values["sent"] - within, values["sent"] + within),
            alert.c.state.in_([str(state) for state in OPEN_STATES]),
        )
        .order_by(alert.c.id.desc())
        .limit(1)
    ).scalar()


def last_of_event(tx: sa.Connection, event_key: str, before: int) -> Row | None:
    """The newest alert of the event that was sent before `before` and is not only recorded."""
    return tx.execute(
        sa.select(alert)
        .where(alert.c.event_key == event_key, alert.c.sent < before, alert.c.state != AlertState.RECORDED)
        .order_by(alert.c.sent.desc(), alert.c.id.desc())
        .limit(1)
    ).first()


def newer(tx: sa.Connection, event_key: str, sent: int) -> int | None:
    """An alert of the event that was sent later and is already here: an older message must not take over from it."""
    return tx.execute(
        sa.select(alert.c.id)
        .where(alert.c.event_key == event_key, alert.c.sent > sent, alert.c.state != AlertState.RECORDED)
        .order_by(alert.c.sent.desc())
        .limit(1)
    ).scalar()


def activate(tx: sa.Connection, alert_id: int, now: int) -> None:
    """From now on it goes out: it takes over its event."""
    row = tx.execute(sa.select(alert).where(alert.c.id == alert_id).with_for_update()).one()
    tx.execute(alert.update().where(alert.c.id == alert_id).values(state=AlertState.ACTIVE))
    chain.append(tx, chain.of_alert(alert_id), "alert.released", now, {})
    if row.msg_type in ("Update", "Cancel"):
        _take_over(tx, row, now)


def needed_approvers(tx: sa.Connection, row: Row) -> set[str]:
    """The operator roles of which one must approve what still waits; empty when nothing does."""
    if row.state in (AlertState.WAITING, AlertState.UNDECIDED):
        return set(json.loads(row.understood).get("approvers", ()))
    if row.state != AlertState.ACTIVE:
        return set()
    held = tx.execute(sa.select(rule.c.approvers).where(rule.c.alert_id == row.id, rule.c.state == "held")).scalars()
    return {role for approvers in held for role in json.loads(approvers)}


def let_go(tx: sa.Connection, alert_id: int, roles: set[str], who: str, now: int, *, alone: str = "") -> None:
    """Lets go the rules whose approvers include one of `roles`; the first release makes the alert active.

    Raises nothing: who may do this was asked before (`needed_approvers`), in the same transaction.
    """
    row = tx.execute(sa.select(alert).where(alert.c.id == alert_id).with_for_update()).one()
    held = tx.execute(sa.select(rule.c.id, rule.c.approvers).where(rule.c.alert_id == alert_id, rule.c.state == "held")).all()
    free = [r.id for r in held if roles & set(json.loads(r.approvers))]
    if free:
        tx.execute(rule.update().where(rule.c.id.in_(free)).values(state="owed"))
    body = {"roles": sorted(roles), "rules": len(free), "still_held": len(held) - len(free)}
    chain.append(
        tx, chain.of_alert(alert_id), "alert.approved_alone" if alone else "alert.approved", now, body | {"reason": alone}, who
    )
    reason = f"released by {who} alone" if alone else f"approved by {who}"
    tx.execute(alert.update().where(alert.c.id == alert_id).values(released_by=who, to_review=bool(alone), reason=reason))
    if row.state in (AlertState.WAITING, AlertState.UNDECIDED):
        activate(tx, alert_id, now)
    if len(free) == len(held):
        duties.answer(tx, alert_id, "release", who, "approved", now)


def reviewed(tx: sa.Connection, alert_id: int, who: str, now: int) -> bool:
    """Somebody looked at what one person had released alone; False when nothing was to review."""
    changed = tx.execute(alert.update().where(alert.c.id == alert_id, alert.c.to_review).values(to_review=False)).rowcount
    if changed:
        chain.append(tx, chain.of_alert(alert_id), "alert.reviewed", now, {}, who)
    return bool(changed)


def set_decided(tx: sa.Connection, alert_id: int, level: str, understood: str, reason: str) -> None:
    """What a person decided of an alert that had left it open."""
    tx.execute(alert.update().where(alert.c.id == alert_id).values(level=level, understood=understood, reason=reason))


def raw_of(tx: sa.Connection, alert_id: int) -> bytes:
    """The warning as received."""
    return bytes(tx.execute(sa.select(alert_raw.c.raw).where(alert_raw.c.alert_id == alert_id)).scalar_one())


def words_of(tx: sa.Connection, alert_id: int) -> dict[tuple[str, str, str], str]:
    """(channel, audience, purpose) → the frozen text."""
    rows = tx.execute(sa.select(wording).where(wording.c.alert_id == alert_id).order_by(wording.c.id))
    return {(r.channel, r.audience, r.purpose): r.text for r in rows}


def _take_over(tx: sa.Connection, row: Row, now: int) -> None:
    """What is pending of the event is withdrawn; those whom it reached are told by rules of this alert."""
    earlier = tx.execute(
        sa.select(alert.c.id, alert.c.state).where(alert.c.event_key == row.event_key, alert.c.id < row.id)
    ).all()
    _add_event_rules(tx, row, [e.id for e in earlier])
    for old in earlier:
        if old.state not in OPEN_STATES:
            continue
        state = AlertState.CANCELLED if row.stand_down else AlertState.SUPERSEDED
        tx.execute(alert.update().where(alert.c.id == old.id).values(state=state, superseded_by=row.id, closed=now))
        withdrawn = withdraw(tx, old.id, f"{state} by alert {row.id}", now)
        chain.append(tx, chain.of_alert(old.id), f"alert.{state}", now, {"by": row.id, "withdrawn": withdrawn})


def withdraw(tx: sa.Connection, alert_id: int, reason: str, now: int, state: State = State.CANCELLED) -> int:
    """Nothing that has not left may leave any more. What a worker holds is decided when its answer comes."""
    tx.execute(rule.update().where(rule.c.alert_id == alert_id, rule.c.state.in_(("held", "owed"))).values(state="withdrawn"))
    tx.execute(batch.update().where(batch.c.alert_id == alert_id).values(doubt_due=None))
    tx.execute(
        callout.update().where(callout.c.alert_id == alert_id, callout.c.state == "open").values(state="closed", next_step=None)
    )
    ids = list(
        tx.execute(
            batch.update()
            .where(batch.c.alert_id == alert_id, batch.c.state.in_((State.PLANNED, State.DEFERRED)))
            .values(state=state, reason=reason, due=None, ended=now)
            .returning(batch.c.id)
        ).scalars()
    )
    if not ids:
        return 0
    inherits = sa.select(sa.func.count()).where(delivery.c.batch_id.in_(ids), delivery.c.state.is_(None))
    return int(tx.execute(inherits).scalar_one())


def _add_event_rules(tx: sa.Connection, row: Row, earlier: list[int]) -> None:
    """One rule for each way the event went out before: stand down whom it reached, or who is no longer covered."""
    if not earlier:
        return
    ways = tx.execute(
        sa.select(rule.c.tier, rule.c.channel, rule.c.lane, rule.c.audience, rule.c.batch_size, rule.c.gathers)
        .where(rule.c.alert_id.in_(earlier), rule.c.purpose == "alarm", rule.c.selection.not_in((Selection.APPROVERS,)))
        .distinct()
        .order_by(rule.c.lane, rule.c.channel, rule.c.tier, rule.c.audience)
    ).all()
    words = words_of(tx, row.id)
    made: list[dict[str, Any]] = []
    for way in ways:
        # Stand-downs never use voice (channels.md): who was called is told by text, at the same number.
        told_by = "sms" if way.channel == "voice" else way.channel
        selection = Selection.REACHED if row.stand_down else Selection.GONE
        # A loudspeaker is taken off the air and then says that it is over.
        purposes = [p for p in ("stop", "stand_down") if (told_by, way.audience, p) in words]
        made += [_event_rule(way, told_by, selection, purpose) for purpose in purposes]
        if not row.stand_down and (told_by, way.audience, "alarm") in words:
            made.append(_event_rule(way, told_by, Selection.STILL, "alarm"))
    add_rules(tx, row.id, made)


def _event_rule(way: Row, channel: str, selection: str, purpose: str) -> dict[str, Any]:
    return {
        "tier": way.tier,
        "roles": "[]",
        "ranks": "[]",
        "channel": channel,
        "from_channel": way.channel,
        "lane": way.lane,
        "audience": way.audience,
        "selection": selection,
        "purpose": purpose,
        "within": 600,
        "approvers": "[]",
        "state": "owed",
        "batch_size": way.batch_size,
        "gathers": way.gathers,
    }


def plan_owed(tx: sa.Connection, alert_id: int, now: int) -> list[Slice]:
    """Plans the owed rules of the alarm and drill lanes in this transaction; bulk and the event's rules are the planner's."""
    rows = tx.execute(
        sa.select(rule.c.id)
        .where(
            rule.c.alert_id == alert_id,
            rule.c.state == "owed",
            rule.c.lane != "bulk",
            rule.c.selection.not_in([str(s) for s in OF_THE_EVENT]),
        )
        .order_by(rule.c.n)
    ).scalars()
    made: list[Slice] = []
    for rule_id in list(rows):
        made += plan_whole(tx, rule_id, now)
    if made:
        body = {"batches": len(made), "deliveries": sum(s.size for s in made)}
        chain.append(tx, chain.of_alert(alert_id), "batches.planned", now, body)
    return made


def close_expired(tx: sa.Connection, now: int) -> list[int]:
    """Closes alerts whose time is over; what has not left by then will not leave (it would be wrong by now)."""
    over = tx.execute(
        sa.select(alert.c.id).where(alert.c.state.in_([str(s) for s in OPEN_STATES]), alert.c.expires <= now)
    ).scalars()
    closed = list(over)
    for alert_id in closed:
        tx.execute(alert.update().where(alert.c.id == alert_id).values(state=AlertState.CLOSED, closed=now))
        withdrawn = withdraw(tx, alert_id, "expired before it could leave", now, State.FAILED)
        chain.append(tx, chain.of_alert(alert_id), "alert.closed", now, {"reason": "expired", "not_left": withdrawn})
    return closed


def has_expired(tx: sa.Connection, now: int) -> bool:
    """True when `close_expired` has something to do."""
    states = [str(s) for s in OPEN_STATES]
    return tx.execute(sa.select(alert.c.id).where(alert.c.state.in_(states), alert.c.expires <= now).limit(1)).first() is not None
