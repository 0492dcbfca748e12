"""What becomes of one message to one target: the states, the receipts, and how one state follows another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """What is known of a delivery. Reached is not acknowledged."""

    PLANNED = "planned"  # not tried
    SENDING = "sending"  # a worker holds it
    DEFERRED = "deferred"  # certainly did not leave; due again
    IN_DOUBT = "in_doubt"  # no answer came: it may have gone out
    ACCEPTED = "accepted"  # the provider took it; no word from the far end
    DELIVERED = "delivered"  # on the device, or on the air
    REJECTED = "rejected"  # this target will never take it
    FAILED = "failed"  # we gave up, or the far end says it did not arrive
    CANCELLED = "cancelled"  # must not leave any more


FINAL = frozenset({State.DELIVERED, State.REJECTED, State.FAILED, State.CANCELLED})
REACHED = frozenset({State.ACCEPTED, State.DELIVERED})
MAY_HAVE_REACHED = REACHED | {State.IN_DOUBT, State.SENDING}
OWED = frozenset({State.PLANNED, State.DEFERRED})  # a worker may claim it

# States only move forward: reports arrive twice, late and out of order (channels.md G1), so a receipt that does not
# know more than we already do changes nothing. DELIVERED is the last word: a phone that rang cannot un-ring.
_MAY_FOLLOW: dict[State, frozenset[State]] = {
    State.PLANNED: frozenset(State) - {State.PLANNED},
    State.SENDING: frozenset(State) - {State.SENDING, State.PLANNED},
    State.DEFERRED: frozenset(State) - {State.PLANNED, State.DEFERRED},
    State.IN_DOUBT: frozenset({State.DEFERRED, State.ACCEPTED, State.DELIVERED, State.REJECTED, State.FAILED, State.CANCELLED}),
    # Cancelled: a loudspeaker system takes a warning off before it was on the air.
    State.ACCEPTED: frozenset({State.DELIVERED, State.REJECTED, State.FAILED, State.CANCELLED}),
    State.REJECTED: frozenset({State.DELIVERED}),
    State.FAILED: frozenset({State.DELIVERED}),
    State.CANCELLED: frozenset({State.DELIVERED}),
    State.DELIVERED: frozenset(),
}


def may_follow(current: State, new: State) -> bool:
    """True when a receipt saying `new` knows more than `current`."""
    return new in _MAY_FOLLOW[current]


def follow(current: State, new: State) -> State:
    """The state after a receipt; `current` when the receipt is old news."""
    return new if may_follow(current, new) else current


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a channel says became of one delivery: our state, with theirs kept raw. `detail` holds no address."""

    state: State
    code: str = ""  # theirs, verbatim
    detail: str = ""  # theirs, in words
    ref: str = ""  # the provider's own id for it (msgGroup, message id, EBMID …)
    at: datetime | None = None  # when the far end says it happened
