"""A storm on a clock that jumps: sweep, hand over what is rung, let people act, jump to whatever is due next."""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from ..callout import Ladder
from ..channels.base import Heard, Reply, Report, Verb
from ..delivery import Receipt, State
from ..gateway import Gateway
from ..gateway.keys import key_of
from ..ledger import callouts, evidence
from ..ledger.evidence import Evidence, Handed
from .outcome import Check, Outcome, outcome
from .people import Crowd

SWEEP_EVERY = timedelta(seconds=0.5)  # as the running sweep does
LONGEST = timedelta(hours=3)  # a ladder that goes on for longer has no end
LANES = ("alarm", "drill", "bulk")


class StoryClock:
    """A clock that only the player moves, and never back."""

    def __init__(self, begins: datetime) -> None:
        self.now = begins

    def __call__(self) -> datetime:
        return self.now

    def to(self, moment: datetime) -> None:
        """On to `moment`, if that is later."""
        self.now = max(self.now, moment)


@dataclass(order=True, slots=True)
class _Act:
    """Something that a person, or the network for them, does at a moment."""

    at: datetime
    n: int
    peer: str = field(compare=False)
    heard: tuple[Heard, ...] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Look:
    """How far the storm is, for whoever watches."""

    moment: datetime
    calls: int
    duties: Mapping[str, int]  # answered, door, open, closed


class Storm:
    """One gateway, its people, and the clock that both live by.

    The gateway must have been opened with that clock, and with far ends that are loopbacks: whatever they take is here.
    """

    def __init__(self, gateway: Gateway, clock: StoryClock, crowd: Crowd, calls_a_second: float) -> None:
        self._gateway, self._clock, self._crowd = gateway, clock, crowd
        self._call_takes = timedelta(seconds=1 / calls_a_second)
        self._rung: dict[str, deque[int]] = {lane: deque() for lane in LANES}
        self._acts: list[_Act] = []
        self._order = count()
        self._seen = 0  # the last receipt that people have reacted to
        self._swept = clock.now
        self.calls = 0
        gateway.house.ring = self._ring

    def play(self, warning: bytes, source: str, watch: Callable[[Look], None]) -> int:
        """Submits a warning and plays until every callout has ended; returns the alert's number. `watch` sees every minute.

        Raises InvalidAlert, and whatever `submit` raises.
        """
        alert = self._gateway.submit(self._gateway.read(warning), source=source).alert_id
        begins = shown = self._clock.now
        while self._clock.now - begins < LONGEST:
            self._work()
            if self._is_over(alert):
                break
            self._jump()
            if self._clock.now - shown >= timedelta(minutes=1):
                shown = self._clock.now
                watch(self._look(alert))
        watch(self._look(alert))
        return alert

    def _ring(self, lanes: Mapping[str, Sequence[int]]) -> bool:
        for lane, batches in lanes.items():
            self._rung[lane].extend(batches)
        return True

    def _work(self) -> None:
        """All that can be done now; handing over takes as long as the voice provider lets it."""
        while True:
            for batch_id in self._next_rung():
                self._hand_over(batch_id)
                self._act()
                if self._clock.now - self._swept >= SWEEP_EVERY:
                    self._sweep()
            planned = self._gateway.plan_for(0.2)
            self._sweep()
            if not planned and not any(self._rung.values()):
                return

    def _next_rung(self) -> Iterator[int]:
        """One after the other, the alarm lane first, also what is rung meanwhile."""
        while lane := next((those for those in self._rung.values() if those), None):
            yield lane.popleft()

    def _sweep(self) -> None:
        self._gateway.sweep()
        self._swept = self._clock.now

    def _hand_over(self, batch_id: int) -> None:
        self._gateway.deliver(batch_id)
        with self._gateway.ledger.read() as tx:
            handed = evidence.handed_over(tx, self._seen)
        for one in handed:
            self._seen = max(self._seen, one.receipt)
            if one.channel == "voice":
                self.calls += 1
                self._ring_phone(one)
                self._clock.to(self._clock.now + self._call_takes)
            elif one.channel == "sms" and (after := self._crowd.texted(one.number)) is not None:
                self._later(after, one.peer, Reply(Verb.ACKNOWLEDGED, key=self._key(one), said="1"))

    def _ring_phone(self, one: Handed) -> None:
        """A call that nobody takes has failed: that it rang, or that the provider took it, reaches nobody."""
        reaction, key = self._crowd.called(one.number), self._key(one)
        state = State.DELIVERED if reaction.picks_up else State.FAILED
        report = Report(Receipt(state, reaction.code), key=key)
        pressed = (Reply(Verb.ACKNOWLEDGED, key=key, said="1"),) if reaction.picks_up else ()
        self._later(reaction.after, one.peer, report, *pressed)

    def _key(self, one: Handed) -> str:
        return key_of(self._gateway.house, one.batch_id, one.seq)

    def _later(self, seconds: float, peer: str, *heard: Heard) -> None:
        """On whole seconds: people are not more exact, and the clock jumps less often."""
        at = self._clock.now + timedelta(seconds=seconds)
        whole = datetime.fromtimestamp(math.ceil(at.timestamp()), at.tzinfo)
        heapq.heappush(self._acts, _Act(whole, next(self._order), peer, heard))

    def _act(self) -> None:
        """Whatever people have done until now reaches the gateway, in order."""
        due: dict[str, list[Heard]] = {}
        while self._acts and self._acts[0].at <= self._clock.now:
            act = heapq.heappop(self._acts)
            due.setdefault(act.peer, []).extend(act.heard)
        for peer, heard in due.items():
            self._gateway.hear(peer, heard)

    def _jump(self) -> None:
        """On to whatever comes next: somebody acts, a step is due, a batch is due again."""
        with self._gateway.ledger.read() as tx:
            due = evidence.next_due(tx)
        moments = [self._acts[0].at] if self._acts else []
        if due is not None:
            moments.append(datetime.fromtimestamp(due / 1000, self._clock.now.tzinfo))
        soonest = self._clock.now + SWEEP_EVERY  # what is due and was not done is looked at again, as a sweep would
        self._clock.to(max(soonest, min(moments, default=soonest)))
        self._act()

    def _is_over(self, alert: int) -> bool:
        """Everybody has answered or is on the door list, and nobody is about to act."""
        with self._gateway.ledger.read() as tx:
            return not self._acts and not evidence.still_open(tx, alert).get("open")

    def _look(self, alert: int) -> Look:
        with self._gateway.ledger.read() as tx:
            return Look(self._clock.now, self.calls, evidence.still_open(tx, alert))


def result(gateway: Gateway, alert: int) -> tuple[Outcome, list[Evidence]]:
    """What the ledger says of an alert whose callouts have ended, and whether the alert's plan was kept to."""
    with gateway.ledger.read() as tx:
        found = evidence.of_alert(tx, alert)
        queued = evidence.queued(tx, alert)
        plan = json.loads(callouts.plans_of(tx, [alert])[alert])["plan"]
    verdict = gateway.verify(alert)
    checks = (
        Check(
            "no call is left in a queue for duties that have all been answered",
            tuple(f"call {row.batch_id}.{row.seq}" for row in queued if not row.waits),
        ),
        Check("the alert's chain of entries holds, with its evidence", tuple(str(place.first) for place in verdict.places)),
    )
    ladder, regions = Ladder.from_json(plan["ladder"]), gateway.house.books.regions
    return outcome(found, ladder, regions, waiting=len(queued), checks=checks), found


def warning(moment: datetime, level: str, names: Sequence[str], regions: Sequence[str]) -> bytes:
    """A rainstorm warning of the county's weather bureau over these regions, sent at `moment`. An exercise, and it says so."""
    severity = {"red": "Extreme", "orange": "Severe"}[level]
    info = {
        "language": "zh-CN",
        "event": "暴雨",
        "eventCode": [{"valueName": "national", "value": "11B03"}],
        "severity": severity,
        "urgency": "Immediate",
        "certainty": "Likely",
        "headline": f"暴雨{'红' if level == 'red' else '橙'}色预警",
        "expires": (moment + timedelta(hours=6)).isoformat(),
        "area": [{"areaDesc": "、".join(names), "geocode": [{"valueName": "NBS", "value": code} for code in regions]}],
    }
    message = {
        "identifier": f"33052141600000_storm_{moment:%Y%m%d%H%M%S}",
        "sender": "德清县气象局",
        "senderCode": "33052141600000",
        "sent": moment.isoformat(),
        "status": "Exercise",
        "msgType": "Alert",
        "scope": "Public",
        "info": [info],
    }
    return json.dumps(message, ensure_ascii=False).encode()
