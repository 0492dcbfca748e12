"""An answer against the ledger. A contradiction is told both ways: a person to train, or a channel that lies.

What is known for certain is held against an answer, nothing else: that a provider took a message does not mean that the phone
has it, so "I got nothing" contradicts a delivery on the device or an acknowledgement, never a mere hand-over. Somebody who
says "I was told" is contradicted only where nothing can have reached them. And only what was so when they were asked counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..delivery import MAY_HAVE_REACHED, State
from .questions import Question, passed


@dataclass(frozen=True, slots=True)
class Told:
    """One delivery of the alert to this person."""

    channel: str
    state: State
    sent: datetime | None  # when a far end took it
    delivered: datetime | None  # when it was on the device


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One answer that this person gave to the alert."""

    how: str  # the channel, "link" or "entry"
    at: datetime


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the ledger knows of one person and one alert."""

    told: tuple[Told, ...] = ()
    acknowledged: tuple[Acknowledged, ...] = ()
    owed: bool = False  # an acknowledgement was owed by one of their posts
    answered_for: str = ""  # who else answered for their post: how that came; "" = nobody else

    @property
    def delivered(self) -> bool:
        """True when the warning was on one of their devices."""
        return any(one.state is State.DELIVERED for one in self.told)

    @property
    def may_be_told(self) -> bool:
        """True when it may have reached them."""
        return bool(self.acknowledged) or any(one.state in MAY_HAVE_REACHED for one in self.told)


def as_of(evidence: Evidence, moment: datetime) -> Evidence:
    """What of it was so at that moment: nobody can be held to what came after they were asked."""
    return replace(
        evidence,
        told=tuple(_then(one, moment) for one in evidence.told),
        acknowledged=tuple(one for one in evidence.acknowledged if one.at <= moment),
    )


def _then(one: Told, moment: datetime) -> Told:
    if one.sent is not None and one.sent > moment and (one.delivered is None or one.delivered > moment):
        return Told(one.channel, State.PLANNED, None, None)
    if one.delivered is not None and one.delivered > moment:
        return Told(one.channel, State.ACCEPTED, one.sent, None)
    return one


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One answer that does not fit the ledger, and the two ways to read it."""

    kind: str
    question: str  # its key
    said: str
    ledger: str  # what the ledger has, in one word
    person: str  # the reading in which the person is to be trained
    channel: str  # the reading in which a channel lies


_READINGS: Mapping[str, tuple[str, str]] = {
    "denies_being_told": (
        "they have forgotten it, or did not take it for a warning: train them",
        "somebody else holds that phone, or the far end reports what did not happen: check number and channel",
    ),
    "denies_acknowledging": (
        "they answered without taking it in: train them",
        "somebody else, or a machine, answered in their name: check number and channel",
    ),
    "claims_being_told": (
        "they say what is expected: train them",
        "they heard it by a way that the ledger does not see, and our channels did not reach them: check their number",
    ),
    "claims_acknowledging": (
        "they say what is expected, or only read it: train them to answer",
        "their answer was lost on its way to us: check that channel's answers",
    ),
    "acknowledged_without_knowing": (
        "they answer warnings and do not know what to do: train them",
        "whoever answered was somebody else: check the number",
    ),
}


def compare(questions: Sequence[Question], answers: Mapping[str, str], evidence: Evidence | None) -> tuple[Contradiction, ...]:
    """Where answers (by key, in their kept form) contradict the ledger. Nothing without evidence, nothing where they agree."""
    if evidence is None:
        return ()
    return tuple(found for one in questions for found in _of(one, answers.get(one.key, ""), evidence))


def _of(question: Question, said: str, evidence: Evidence) -> Iterator[Contradiction]:
    acknowledged, delivered = bool(evidence.acknowledged), evidence.delivered
    known = "acknowledged" if acknowledged else "delivered" if delivered else "nothing"
    found = {
        "denies_being_told": said in question.says_not_told and (acknowledged or delivered),
        "denies_acknowledging": said in question.says_not_acknowledged and acknowledged,
        "claims_being_told": said in question.says_told and not evidence.may_be_told,
        "claims_acknowledging": said in question.says_acknowledged and not acknowledged,
        "acknowledged_without_knowing": question.should_know and acknowledged and passed(question, said) is False,
    }
    # Whoever denies that it came at all denies the answer too: that is one contradiction, not two.
    if found["denies_being_told"]:
        found["denies_acknowledging"] = False
    if found["claims_being_told"]:
        found["claims_acknowledging"] = False
    for kind, holds in found.items():
        if holds:
            yield Contradiction(kind, question.key, said, known, *_READINGS[kind])
