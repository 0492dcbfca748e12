"""Coverage: the best that is known of a village after an alert, from facts alone, and what it hangs on. Pure.

What counts, from nothing to all, and why:

* `nobody`: no word from any far end and no word from anybody.
* `handed_over`: a provider took it, or may have taken it, and no far end has said that it came. That is no reach: a platform
  can hold a warning that no loudspeaker ever says. It stands apart so that nobody takes it for reached, or for forgotten.
* `machine`: on the air or on a device: `delivered` by loudspeaker, SMS, voice (picked up), 浙政钉 or the grid platform; or
  somebody there took note who owes no answer (签收 of a task). Whether anybody listened is not known. What went to other
  platforms (`feed`) counts nowhere: it is told to no village.
* `door`: a grid worker has told households at the door. How many of how many stands beside it: one door is not a village.
* `person`: an answer that is owed for the village was given: by its post, by the deputy, or by the superior who was asked
  about it. Heard to the end, read and picked up are no answers.
* `measures`: a post that owes an answer there has reported what was done (闭环反馈).

The best of these stands for the village; the facts stand beside it, because a better word hides a missing one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

SPEAKER = "speaker"
TELLING = (SPEAKER, "sms", "voice", "zwdd", "grid")  # channels by which a village is told something; `feed` tells platforms
PHONES = ("sms", "voice")


class Reach(StrEnum):
    """The best that is known of a village, the worst first."""

    NOBODY = "nobody"
    HANDED_OVER = "handed_over"
    MACHINE = "machine"
    DOOR = "door"
    PERSON = "person"
    MEASURES = "measures"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return tuple(Reach).index(self)

    @property
    def reached(self) -> bool:
        """Somebody, or something there that speaks, has it. Handed over is not reached."""
        return self.rank >= Reach.MACHINE.rank


class Loudspeaker(StrEnum):
    """Whether a village's loudspeakers said it, or could."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # no word (yet)
    NONE = "none"  # there is none, or none is told by this alert


class SinglePoint(StrEnum):
    """One thing that everything in a village hangs on."""

    ONE_PERSON = "one person"  # holds every post that owes an answer there
    ONE_NUMBER = "one number"  # of several persons who owe an answer at most one can be reached by phone
    ONE_CHANNEL = "one channel"  # has reached, or could reach, anybody
    NO_LOUDSPEAKER = "no loudspeaker"


@dataclass(frozen=True, slots=True)
class Way:
    """The messages of one channel to a village."""

    waiting: int = 0
    handed_over: int = 0  # no report yet, or in doubt
    delivered: int = 0
    refused: int = 0  # by the target, or given up
    withdrawn: int = 0  # before it left: nothing is owed any more

    @property
    def owed(self) -> int:
        """All that was not withdrawn."""
        return self.waiting + self.handed_over + self.delivered + self.refused


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger knows of one village and one alert."""

    ways: Mapping[str, Way] = field(default_factory=dict)  # by channel
    signed: int = 0  # replies "we have it" by persons there, owed or not
    households: int = 0  # told at the door
    posts: int = 0  # that owe an answer
    acknowledged: int = 0  # of them
    measures: int = 0  # of them: reported what was done
    persons: int = 0  # who hold those posts
    callable: int = 0  # of these persons: addressed by SMS or voice
    first_reached: datetime | None = None


def reach(facts: Facts) -> Reach:
    """The best of them."""
    told = [facts.ways[channel] for channel in TELLING if channel in facts.ways]
    if facts.measures:
        return Reach.MEASURES
    if facts.acknowledged:
        return Reach.PERSON
    if facts.households:
        return Reach.DOOR
    if facts.signed or any(way.delivered for way in told):
        return Reach.MACHINE
    return Reach.HANDED_OVER if any(way.handed_over for way in told) else Reach.NOBODY


def loudspeaker(facts: Facts) -> Loudspeaker:
    """On the air; not; not known yet; or nothing was sent to one."""
    way = facts.ways.get(SPEAKER)
    if way is None:
        return Loudspeaker.NONE
    if way.delivered:
        return Loudspeaker.YES
    return Loudspeaker.UNKNOWN if way.handed_over or way.waiting else Loudspeaker.NO


def single_points(facts: Facts, *, speakers: bool = True) -> tuple[SinglePoint, ...]:
    """What the village hung on in this alert. `speakers`: False where the plan sends nothing to loudspeakers, as in a drill."""
    used = [channel for channel in TELLING if channel in facts.ways and facts.ways[channel].delivered]
    return _points(
        one_person=facts.posts > 0 and facts.persons == 1,
        one_number=facts.persons > 1 and facts.callable <= 1,
        one_channel=len(used) == 1,
        no_loudspeaker=speakers and loudspeaker(facts) is Loudspeaker.NONE,
    )


# ── before an event ──


@dataclass(frozen=True, slots=True)
class Means:
    """By what a village could be reached: from the roster, the targets and how the loudspeakers stand."""

    loudspeaker: Loudspeaker = Loudspeaker.NONE  # NO: in fault, offline
    channels: Mapping[str, int] = field(default_factory=dict)  # → addresses there that it can tell, loudspeakers apart
    at_the_door: int = 0  # persons there who are given tasks by the grid platform
    posts: int = 0  # that may be asked for an answer
    persons: int = 0  # who hold them
    callable: int = 0  # of these persons: have a number

    @property
    def by_machine(self) -> bool:
        """A loudspeaker that is not known to be broken, or any address there."""
        return self.loudspeaker in (Loudspeaker.YES, Loudspeaker.UNKNOWN) or any(self.channels.values())

    @property
    def by_door(self) -> bool:
        """Somebody there can be sent from door to door."""
        return self.at_the_door > 0

    @property
    def by_person(self) -> bool:
        """Somebody who must answer for the village has a number."""
        return self.callable > 0

    @property
    def reach(self) -> Reach:
        """The best that can be expected; measures are nobody's promise."""
        if self.by_person:
            return Reach.PERSON
        if self.by_door:
            return Reach.DOOR
        return Reach.MACHINE if self.by_machine else Reach.NOBODY


def weak_points(means: Means) -> tuple[SinglePoint, ...]:
    """What the village would hang on."""
    spoken = means.loudspeaker in (Loudspeaker.YES, Loudspeaker.UNKNOWN)
    return _points(
        one_person=means.posts > 0 and means.persons == 1,
        one_number=means.persons > 1 and means.callable <= 1,
        one_channel=sum(n > 0 for n in means.channels.values()) + spoken == 1,
        no_loudspeaker=means.loudspeaker is Loudspeaker.NONE,
    )


def _points(*, one_person: bool, one_number: bool, one_channel: bool, no_loudspeaker: bool) -> tuple[SinglePoint, ...]:
    found = {
        SinglePoint.ONE_PERSON: one_person,
        SinglePoint.ONE_NUMBER: one_number,
        SinglePoint.ONE_CHANNEL: one_channel,
        SinglePoint.NO_LOUDSPEAKER: no_loudspeaker,
    }
    return tuple(point for point, there in found.items() if there)
