"""The duty to approve a warning that waits: opened with it, done when somebody decides."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from . import chain
from .callouts import reachable
from .tables import callout, rule


def open_release(tx: sa.Connection, alert_id: int, region: str, posts: Sequence[int], *, again: bool, due: int, now: int) -> None:
    """Somebody must approve this alert until `due`. `posts` have been told with it and called once, where there is voice.

    `again`: the release table has a ladder by which they are called again. Without one, or without anybody to call, it stands
    at the door at once: only a person at the desk can end it.
    """
    told = sa.select(rule.c.id).where(rule.c.alert_id == alert_id, rule.c.purpose == "release", rule.c.channel == "voice")
    rule_id, can_be_called = tx.execute(told.limit(1)).scalar(), reachable(tx, posts)
    values = {
        "alert_id": alert_id,
        "duty": "release",
        "region": region,
        "state": "open",
        "opened": now,
        "due": due,
        "rule_id": rule_id,
    }
    rows = [
        values
        | {
            "post_id": number,
            "step": "principal" if again else "door",
            "next_step": now if again else None,
            "asked": int(number in can_be_called),
            "calls": int(rule_id is not None and number in can_be_called),
        }
        for number in posts
    ]
    nobody = values | {"post_id": None, "step": "door", "next_step": None, "asked": 0, "calls": 0}
    tx.execute(callout.insert(), rows or [nobody])
    chain.append(tx, chain.of_alert(alert_id), "duty.opened", now, {"duty": "release", "due": due, "asked": len(rows)})


def answer(tx: sa.Connection, alert_id: int, duty: str, who: str, how: str, now: int) -> None:
    """The duty is done: nobody is told any more."""
    tx.execute(
        callout.update()
        .where(callout.c.alert_id == alert_id, callout.c.duty == duty, callout.c.state == "open")
        .values(state="answered", answered=now, answered_by=who, how=how, next_step=None)
    )
