"""Who may let a waiting warning go, and the duty of those who must."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..errors import NotAllowed
from ..ledger import Row, Transaction, alerts, callouts, duties
from ..ledger.alerts import AlertState
from ..ledger.operators import Operator
from .deciding import Draft, release_rules, word_rows
from .house import House


def open_duty(house: House, tx: Transaction, alert_id: int, draft: Draft, now: int) -> None:
    """Waiting is itself owed, a callout like any other: all approvers are told in writing, the first of them is called.

    By the ladder of the release table the call is repeated, then goes to the deputy, then to the next role.
    """
    first = _first(tx, draft.owed.approvers)
    rules = list(release_rules(house, draft.owed.approvers, first[0] if first else ""))
    words = [draft.wording.compose(r["channel"], r["audience"], r["purpose"], refers=str(alert_id)) for r in rules]
    alerts.add_words(tx, alert_id, word_rows(words))
    alerts.add_rules(tx, alert_id, rules)
    due = now + draft.owed.approve_within * 1000
    again = draft.owed.frozen.get("release_ladder") is not None
    county = house.books.regions.county.code
    duties.open_release(tx, alert_id, county, first[1] if first else (), again=again, due=due, now=now)


def _first(tx: Transaction, approvers: Sequence[str]) -> tuple[str, Sequence[int]] | None:
    """The first of these roles that anybody holds, with the posts of its principals; None when nobody holds any."""
    found = callouts.holders(tx, approvers, ("A",))
    for role in approvers:
        posts = [number for (one, _, _), numbers in found.items() if one == role for number in numbers]
        if posts:
            return role, posts
    return None


def allowed(tx: Transaction, row: Row, operator: Operator, alone: str) -> set[str]:
    """The approver roles that this person fills here. Raises NotAllowed with what is missing."""
    needs = alerts.needed_approvers(tx, row)
    if not needs and row.state != AlertState.UNDECIDED:
        raise NotAllowed(f"nothing of alert {row.id} waits for approval: it is {row.state}")
    if alone:
        return _alone(row, operator, needs)
    if row.drafted_by == operator.name:
        raise NotAllowed(
            f"{operator.name} drafted it: a second person approves (1+1+X), or use --alone with a reason on a red alert"
        )
    roles = needs & operator.roles
    if not roles:
        raise NotAllowed(
            f"approving needs {' or '.join(sorted(needs))}; {operator.name} holds {', '.join(sorted(operator.roles)) or 'none'}"
        )
    return set(roles)


def _alone(row: Row, operator: Operator, needs: set[str]) -> set[str]:
    plan = json.loads(row.understood)["plan"]
    if plan.get("scale") not in plan.get("alone", []):
        levels = ", ".join(plan.get("alone", [])) or "none"
        raise NotAllowed(f"one person alone may release only: {levels}; alert {row.id} is {plan.get('scale') or 'not graded'}")
    if not operator.roles & (needs | {"DUTY_OFFICER"}):
        raise NotAllowed(f"{operator.name} holds no role that may release: {', '.join(sorted(needs | {'DUTY_OFFICER'}))}")
    return set(needs)
