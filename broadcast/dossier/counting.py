"""What became of the deliveries, counted while they are read once: by channel, town and post, and over time. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from ..delivery import REACHED, State
from ..ledger import Row

MESSAGES = ("alarm", "stand_down")  # purposes that carry the warning itself; all others are about it
_WAITING = (State.PLANNED, State.DEFERRED, State.SENDING)
DELIVERED, TAKEN, DOUBT, WAITING, NOT = "delivered", "taken", "doubt", "waiting", "not"  # how a delivery stands, in one word


def standing(state: str) -> str:
    """Delivered, taken by the channel without a word from the far end, in doubt, waiting, or certainly not reached."""
    if state == State.DELIVERED:
        return DELIVERED
    if state in REACHED:
        return TAKEN
    if state == State.IN_DOUBT:
        return DOUBT
    return WAITING if state in _WAITING else NOT


@dataclass(frozen=True, slots=True)
class Missed:
    """One post that no channel has certainly reached: by each channel, how it stands and why."""

    region: str
    role: str
    rank: str
    ways: tuple[tuple[str, str, str], ...]  # channel, state, reason


@dataclass(slots=True)
class Tally:
    """Filled row by row as the deliveries are written."""

    town_of: Callable[[str], str]  # the code of a region's town; "" for the county's own
    rows: int = 0
    states: dict[str, Counter[str]] = field(default_factory=dict)  # channel → state, of the message itself
    others: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (channel, kind of purpose, state)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (channel, state, reason), not reached
    towns: dict[str, Counter[str]] = field(default_factory=dict)  # town → standing
    _posts: dict[int, list[tuple[str, str, str]]] = field(default_factory=dict)
    _who: dict[int, tuple[str, str, str]] = field(default_factory=dict)

    def take(self, row: Row) -> None:
        """One delivery."""
        self.rows += 1
        if row.purpose not in MESSAGES:
            self.others[row.channel, row.purpose.split(".")[0], row.state] += 1
            return
        self.states.setdefault(row.channel, Counter())[row.state] += 1
        how = standing(row.state)
        self.towns.setdefault(self.town_of(row.region), Counter())[how] += 1
        if how in (NOT, DOUBT, WAITING):
            self.reasons[row.channel, row.state, row.reason or ""] += 1
        if row.post_id is not None:
            self._posts.setdefault(row.post_id, []).append((row.channel, row.state, row.reason or ""))
            self._who[row.post_id] = (row.region, row.role or "", row.rank or "")

    def missed(self) -> list[Missed]:
        """Posts whom no channel has delivered to or was taken from; those that still wait are not missed yet."""
        found = [
            Missed(*self._who[post], tuple(sorted(ways)))
            for post, ways in self._posts.items()
            if {standing(state) for _, state, _ in ways} <= {NOT, DOUBT}
        ]
        return sorted(found, key=lambda one: (one.region, one.role, one.rank, one.ways))

    @property
    def posts(self) -> int:
        """To how many posts the message was owed."""
        return len(self._posts)


@dataclass(frozen=True, slots=True)
class Curve:
    """How many of a channel's deliveries had come so far, by when. Moments in milliseconds since 1970."""

    channel: str
    owed: int
    taken: tuple[tuple[int, int], ...]  # moment → taken by the channel until then
    delivered: tuple[tuple[int, int], ...]  # moment → on the device, or on the air

    def first(self, steps: tuple[tuple[int, int], ...]) -> int | None:
        """When the first was."""
        return steps[0][0] if steps else None

    def when(self, steps: tuple[tuple[int, int], ...], share: float) -> int | None:
        """When this share of what was owed had come; None when so many never did."""
        wanted = max(1, round(share * self.owed))
        return next((moment for moment, n in steps if n >= wanted), None)


class Reach:
    """Filled receipt by receipt: each delivery counts once, at the first receipt that says so, by our own clock."""

    def __init__(self, batches: Mapping[int, Row]) -> None:
        self._batches = batches
        self._seen: dict[tuple[int, str], bytearray] = {}
        self._steps: dict[tuple[str, str], Counter[int]] = {}
        self.rows = 0
        self.last = 0  # when the newest receipt was recorded

    def take(self, row: Row) -> None:
        """One receipt; it may speak for a run of deliveries."""
        self.rows += 1
        self.last = max(self.last, row.recorded)
        of = self._batches.get(row.batch_id)
        if of is None or of.purpose not in MESSAGES or row.state not in REACHED:
            return
        # Whatever is on the device has been taken by the channel.
        for how in (TAKEN, DELIVERED) if row.state == State.DELIVERED else (TAKEN,):
            if fresh := self._fresh(row, how, of.size):
                self._steps.setdefault((of.channel, how), Counter())[row.recorded] += fresh

    def _fresh(self, row: Row, how: str, size: int) -> int:
        seen = self._seen.setdefault((row.batch_id, how), bytearray(size + 1))
        if row.last_seq >= len(seen):  # a gathered batch grows
            seen.extend(bytes(row.last_seq + 1 - len(seen)))
        run = slice(row.first_seq, row.last_seq + 1)
        fresh: int = row.last_seq + 1 - row.first_seq - sum(seen[run])
        seen[run] = b"\1" * (row.last_seq + 1 - row.first_seq)
        return fresh

    def curves(self, owed: Mapping[str, int]) -> list[Curve]:
        """One for each channel that owed something, in the order given."""
        return [Curve(channel, n, self._rising(channel, TAKEN), self._rising(channel, DELIVERED)) for channel, n in owed.items()]

    def _rising(self, channel: str, how: str) -> tuple[tuple[int, int], ...]:
        steps = sorted(self._steps.get((channel, how), {}).items())
        return tuple(zip((moment for moment, _ in steps), accumulate(n for _, n in steps), strict=True))
