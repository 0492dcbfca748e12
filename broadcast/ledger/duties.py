"""Duties: what a person owes an answer to, with its deadline. Here: to approve a warning that waits."""

from __future__ import annotations

import sqlalchemy as sa

from . import chain
from .engine import Row
from .tables import alert, callout


def open_release(tx: sa.Connection, alert_id: int, region: str, *, due: int, next_step: int, now: int) -> None:
    """Somebody must approve this alert until `due`; the principals have been told with it."""
    tx.execute(
        callout.insert().values(
            alert_id=alert_id,
            duty="release",
            region=region,
            state="open",
            step="principals",
            opened=now,
            due=due,
            next_step=next_step,
        )
    )
    chain.append(tx, chain.of_alert(alert_id), "duty.opened", now, {"duty": "release", "due": due})


def due_steps(tx: sa.Connection, now: int) -> list[Row]:
    """Open duties whose next step has come."""
    return list(
        tx.execute(
            sa.select(callout, alert.c.understood, alert.c.state.label("alert_state"))
            .join(alert, alert.c.id == callout.c.alert_id)
            .where(callout.c.state == "open", callout.c.duty == "release", callout.c.next_step <= now)
            .order_by(callout.c.next_step)
        )
    )


def advance(tx: sa.Connection, duty: Row, step: str, next_step: int | None, now: int) -> bool:
    """Takes a step once: False when another sweep took it already."""
    taken = tx.execute(
        callout.update()
        .where(callout.c.id == duty.id, callout.c.step == duty.step, callout.c.state == "open")
        .values(step=step, next_step=next_step)
    ).rowcount
    if taken:
        chain.append(tx, chain.of_alert(duty.alert_id), "duty.step", now, {"duty": duty.duty, "step": step})
    return bool(taken)


def answer(tx: sa.Connection, alert_id: int, duty: str, who: str, how: str, now: int) -> None:
    """The duty is done: nobody is told any more."""
    tx.execute(
        callout.update()
        .where(callout.c.alert_id == alert_id, callout.c.duty == duty, callout.c.state == "open")
        .values(state="answered", answered=now, answered_by=who, how=how, next_step=None)
    )
