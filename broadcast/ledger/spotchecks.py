"""六问 in the ledger: who could be drawn, what was drawn, what was said, and what else is known of those persons.

Rows are only ever added, each in one transaction with an entry: in the alert's chain, or in the house's where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..delivery import State
from . import chain, proof
from .engine import Row
from .readiness import PHONE_CHANNELS
from .replies import ANSWERS
from .tables import (
    address,
    alert_region,
    batch,
    book,
    callout,
    delivery,
    drawn,
    person,
    post,
    receipt,
    reply,
    roster,
    rule,
    spotcheck,
    spotcheck_answer,
    target,
)

KIND = "spotcheck"  # of the books that are questionnaires
_LEFT = (State.ACCEPTED, State.DELIVERED)


# ── who could be drawn ──


def posts_of_alert(tx: sa.Connection, alert_id: int) -> list[Row]:
    """The posts that an alert's rules address, and those that it was planned for or that owed it an answer, also ended ones."""
    wanted = {(role, rank) for row in _rules(tx, alert_id) for role in json.loads(row.roles) for rank in json.loads(row.ranks)}
    covered = sa.select(alert_region.c.region).where(alert_region.c.alert_id == alert_id)
    told = (
        sa.select(delivery.c.post_id)
        .join(batch, batch.c.id == delivery.c.batch_id)
        .where(batch.c.alert_id == alert_id, batch.c.lane != "bulk", batch.c.purpose == "alarm", delivery.c.post_id.is_not(None))
    )
    owed = sa.select(callout.c.post_id).where(callout.c.alert_id == alert_id, callout.c.duty == "acknowledge")
    by_name = {row.id: row for row in tx.execute(_posts().where(post.c.id.in_(sa.union(told, owed))))}
    for row in tx.execute(_posts().where(post.c.ended.is_(None), post.c.region.in_(covered))):
        if (row.role, row.rank) in wanted:
            by_name.setdefault(row.id, row)
    return [by_name[number] for number in sorted(by_name)]


def roles_of_alert(tx: sa.Connection, alert_id: int) -> set[str]:
    """The roles that an alert's rules address."""
    return {role for row in _rules(tx, alert_id) for role in json.loads(row.roles)}


def regions_of_alert(tx: sa.Connection, alert_id: int) -> set[str]:
    """The regions that an alert covers."""
    return set(tx.execute(sa.select(alert_region.c.region).where(alert_region.c.alert_id == alert_id)).scalars())


def posts_of_roles(tx: sa.Connection, roles: Collection[str]) -> list[Row]:
    """The posts of these roles that are held now."""
    return list(tx.execute(_posts().where(post.c.ended.is_(None), post.c.role.in_(roles)).order_by(post.c.id)))


def reachable(tx: sa.Connection) -> set[int]:
    """The persons who have a phone number in the roster in force."""
    has_one = sa.select(target.c.person_id).where(target.c.channel.in_(PHONE_CHANNELS), target.c.roster_id == _in_force())
    return set(tx.execute(has_one.where(target.c.person_id.is_not(None)).distinct()).scalars())


def _posts() -> sa.Select[Any]:
    return sa.select(
        post.c.id, post.c.person_id, post.c.role, post.c.region, post.c.rank, person.c.key, person.c.ended.label("gone")
    ).join(person, person.c.id == post.c.person_id)


def _rules(tx: sa.Connection, alert_id: int) -> Sequence[Row]:
    return tx.execute(
        sa.select(rule.c.roles, rule.c.ranks).where(
            rule.c.alert_id == alert_id,
            rule.c.audience == "post",
            rule.c.purpose == "alarm",
            rule.c.state.in_(("owed", "planned")),
        )
    ).all()


def _in_force() -> sa.ScalarSelect[int]:
    return sa.select(roster.c.id).where(roster.c.in_force).scalar_subquery()


# ── drawing ──


def put(tx: sa.Connection, values: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> int:
    """Writes a draw (columns of `spotcheck`) and who is in it (columns of `drawn`), with its entry; returns its number."""
    name = _chain(values["alert_id"])
    [number] = proof.add(tx, spotcheck, [values], name)
    proof.add(tx, drawn, [{**row, "spotcheck_id": number} for row in rows], name)
    reasons = [row["reason"] for row in rows if row["reason"]]
    body = {
        "spotcheck": number,
        **{name: values[name] for name in ("region", "strata", "size", "seed", "frame_size", "sha256", "version")},
        "roles": json.loads(values["roles"]),
        "drawn": len(rows) - len(reasons),
        "not_drawn": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
    }
    chain.append(tx, name, "spotcheck.drawn", values["at"], body, values["who"])
    return number


def _chain(alert_id: int | None) -> str:
    return chain.HOUSE if alert_id is None else chain.of_alert(alert_id)


def used_text(tx: sa.Connection, version: str) -> str | None:
    """The text of a questionnaire's version that something was drawn with; None when nothing was."""
    return tx.execute(sa.select(spotcheck.c.questions).where(spotcheck.c.version == version).limit(1)).scalar()


def newest_book(tx: sa.Connection) -> int | None:
    """The number of the questionnaire in force, to see whether it changed."""
    return tx.execute(sa.select(sa.func.max(book.c.id)).where(book.c.kind == KIND)).scalar()


# ── questions ──


def find(tx: sa.Connection, number: int, *, lock: bool = False) -> Row | None:
    """One draw. `lock`: until this transaction ends nobody else enters answers to it."""
    statement = sa.select(spotcheck).where(spotcheck.c.id == number)
    return tx.execute(statement.with_for_update() if lock else statement).first()


def listed(tx: sa.Connection, since: int | None = None, until: int | None = None) -> list[Row]:
    """All draws, or those of a time, oldest first."""
    statement = sa.select(spotcheck).order_by(spotcheck.c.id)
    if since is not None and until is not None:
        statement = statement.where(spotcheck.c.at >= since, spotcheck.c.at < until)
    return list(tx.execute(statement))


def of_alert(tx: sa.Connection, alert_id: int) -> list[int]:
    """The numbers of the draws about one alert."""
    return list(tx.execute(sa.select(spotcheck.c.id).where(spotcheck.c.alert_id == alert_id).order_by(spotcheck.c.id)).scalars())


def people(tx: sa.Connection, numbers: Collection[int]) -> list[Row]:
    """Everybody in these draws, the drawn and the others, with roster key and sealed name (NULL: vacant)."""
    return list(
        tx.execute(
            sa.select(drawn, person.c.key, person.c.name)
            .outerjoin(person, person.c.id == drawn.c.person_id)
            .where(drawn.c.spotcheck_id.in_(numbers))
            .order_by(drawn.c.spotcheck_id, drawn.c.n, drawn.c.id)
        )
    )


def answers(tx: sa.Connection, numbers: Collection[int]) -> list[Row]:
    """The answers that stand: of each person and round the last one, as nobody corrected it."""
    corrected = sa.select(spotcheck_answer.c.supersedes).where(spotcheck_answer.c.supersedes.is_not(None))
    return list(
        tx.execute(
            sa.select(spotcheck_answer)
            .where(spotcheck_answer.c.spotcheck_id.in_(numbers), spotcheck_answer.c.id.not_in(corrected))
            .order_by(spotcheck_answer.c.drawn_id, spotcheck_answer.c.round)
        )
    )


def numbers_of(tx: sa.Connection, persons: Collection[int]) -> dict[int, bytes]:
    """The sealed phone number of each of these persons in the roster in force."""
    rows = tx.execute(
        sa.select(target.c.person_id, address.c.sealed)
        .join(address, address.c.id == target.c.address_id)
        .where(target.c.person_id.in_(persons), target.c.channel == "sms", target.c.roster_id == _in_force())
    )
    return {row.person_id: bytes(row.sealed) for row in rows if row.sealed is not None}


# ── answering ──


@dataclass(frozen=True, slots=True)
class Said:
    """One answer to be written: the person by their row in `drawn` and their number on the sheet."""

    drawn_id: int
    n: int
    round: int
    outcome: str
    answers: Mapping[str, str]
    said: bytes  # sealed
    way: str
    at: int
    supersedes: int | None


def take(tx: sa.Connection, check: Row, said: Sequence[Said], now: int, who: str) -> None:
    """Writes answers, with one entry for all of them."""
    rows = [
        {
            "spotcheck_id": check.id,
            "drawn_id": one.drawn_id,
            "round": one.round,
            "outcome": one.outcome,
            "answers": chain.canonical(one.answers),
            "said": one.said,
            "way": one.way,
            "at": one.at,
            "who": who,
            "supersedes": one.supersedes,
            "recorded": now,
        }
        for one in said
    ]
    written = proof.add(tx, spotcheck_answer, rows, _chain(check.alert_id))
    body = {
        "spotcheck": check.id,
        "answers": [
            {"n": one.n, "row": number, "round": one.round, "outcome": one.outcome}
            | ({} if one.supersedes is None else {"corrects": one.supersedes})
            for one, number in zip(said, written, strict=True)
        ],
    }
    chain.append(tx, _chain(check.alert_id), "spotcheck.answered", now, body, who)


def shown(tx: sa.Connection, numbers: Sequence[int], kind: str, body: Mapping[str, Any], now: int, who: str) -> None:
    """That somebody saw names and numbers ("unmasked"), or took a file along ("exported"): in the house's chain."""
    chain.append(tx, chain.HOUSE, kind, now, {"spotchecks": list(numbers), **body}, who)


# ── what else is known ──


@dataclass(frozen=True, slots=True)
class Known:
    """One person and one alert: each delivery with its times, each answer, and how their post's duty ended."""

    told: tuple[tuple[str, str, int | None, int | None], ...] = ()  # channel, state, sent, delivered
    answered: tuple[tuple[str, int], ...] = ()  # how, when
    owed: bool = False
    answered_for: str = ""


def known(tx: sa.Connection, alert_id: int, persons: Collection[int]) -> dict[int, Known]:
    """What the ledger has of each of these persons about one alert."""
    found: dict[int, Known] = {}
    told, said, duties = _told(tx, alert_id, persons), _said(tx, alert_id, persons), _duties(tx, alert_id, persons)
    for number in persons:
        own = said.get(number, [])
        those = duties.get(number, [])
        moments = {moment for _, moment in own}
        # A shared phone: nobody can say which of its persons answered; their post's duty ended by it, so it counts as theirs.
        own += [(row.how, row.answered) for row in those if row.shared and row.answered not in moments]
        own.sort(key=lambda one: one[1])
        others = [row.how for row in those if row.answered is not None and not own]
        found[number] = Known(tuple(told.get(number, ())), tuple(own), bool(those), others[0] if others else "")
    return found


def _told(tx: sa.Connection, alert_id: int, persons: Collection[int]) -> dict[int, list[tuple[str, str, int | None, int | None]]]:
    """By person: the deliveries to their posts, or to a number that they have. One that is for two posts is told once."""
    posts = {
        row.id: row.person_id for row in tx.execute(sa.select(post.c.id, post.c.person_id).where(post.c.person_id.in_(persons)))
    }
    theirs: dict[int, set[int]] = {}  # address → who has it
    own = sa.select(target.c.address_id, target.c.person_id).where(
        target.c.person_id.in_(persons), target.c.roster_id == _in_force()
    )
    for row in tx.execute(own):
        theirs.setdefault(row.address_id, set()).add(row.person_id)
    found: dict[int, list[tuple[str, str, int | None, int | None]]] = {}
    for row in tx.execute(_deliveries(alert_id, posts, theirs)):
        whose = theirs.get(row.address_id, set()) | ({posts[row.post_id]} if row.post_id in posts else set())
        for number in whose:
            found.setdefault(number, []).append((row.channel, row.state, row.sent, row.delivered))
    return found


def _deliveries(alert_id: int, posts: Collection[int], addresses: Collection[int]) -> sa.Select[Any]:
    """An alert's deliveries to posts or addresses, never residents': each with when it was taken, and when it was delivered."""
    its = sa.and_(receipt.c.batch_id == delivery.c.batch_id, delivery.c.seq.between(receipt.c.first_seq, receipt.c.last_seq))
    when = sa.func.coalesce(receipt.c.at, receipt.c.recorded)
    columns = (delivery.c.batch_id, delivery.c.seq, delivery.c.channel, delivery.c.post_id, delivery.c.address_id)
    return (
        sa.select(
            *columns,
            sa.func.coalesce(delivery.c.state, batch.c.state).label("state"),
            sa.func.min(sa.case((receipt.c.state.in_(_LEFT), receipt.c.recorded))).label("sent"),
            sa.func.min(sa.case((receipt.c.state == State.DELIVERED, when))).label("delivered"),
        )
        .select_from(batch.join(delivery, delivery.c.batch_id == batch.c.id).outerjoin(receipt, its))
        .where(
            batch.c.alert_id == alert_id,
            batch.c.lane != "bulk",
            sa.or_(batch.c.purpose == "alarm", *_calls()),
            sa.or_(delivery.c.post_id.in_(posts), delivery.c.address_id.in_(addresses)),
        )
        .group_by(*columns, delivery.c.state, batch.c.state)
        .order_by(delivery.c.batch_id, delivery.c.seq)
    )


def _calls() -> Iterator[sa.ColumnElement[bool]]:
    """Because somebody was silent."""
    return (batch.c.purpose.startswith(kind) for kind in ("callout.", "escalation."))


def _said(tx: sa.Connection, alert_id: int, persons: Collection[int]) -> dict[int, list[tuple[str, int]]]:
    rows = tx.execute(
        sa.select(reply.c.person_id, reply.c.how, reply.c.recorded)
        .where(reply.c.alert_id == alert_id, reply.c.person_id.in_(persons), reply.c.verb.in_(ANSWERS))
        .order_by(reply.c.recorded)
    )
    found: dict[int, list[tuple[str, int]]] = {}
    for row in rows:
        found.setdefault(row.person_id, []).append((row.how, row.recorded))
    return found


def _duties(tx: sa.Connection, alert_id: int, persons: Collection[int]) -> dict[int, list[Row]]:
    """The duties of their posts; `shared`: an answer of nobody in particular (a phone of two persons) ended it."""
    theirs = (
        sa.select(target.c.id)
        .join(address, address.c.id == target.c.address_id)
        .where(target.c.person_id == post.c.person_id, target.c.roster_id == _in_force(), address.c.sealed == reply.c.address)
        .correlate(reply, post)
    )
    of_nobody = sa.select(reply.c.id).where(
        theirs.exists(),
        reply.c.alert_id == alert_id,
        reply.c.person_id.is_(None),
        reply.c.recorded == callout.c.answered,
        reply.c.verb.in_(ANSWERS),
        reply.c.settled > 0,
    )
    rows = tx.execute(
        sa.select(
            post.c.person_id, callout.c.answered, callout.c.how, of_nobody.correlate(callout, post).exists().label("shared")
        )
        .join(post, post.c.id == callout.c.post_id)
        .where(callout.c.alert_id == alert_id, callout.c.duty == "acknowledge", post.c.person_id.in_(persons))
        .order_by(callout.c.id)
    )
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.person_id, []).append(row)
    return found
