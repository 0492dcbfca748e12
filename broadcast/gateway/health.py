"""Is the gateway fit to carry a warning now? Each check says what it saw and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..errors import BroadcastError, InvalidFiles
from ..ledger import Transaction, anchors, books, callouts, coverage, leases, questions
from .house import House

LATE = {"alarm": 10_000, "bulk": 120_000, "drill": 120_000}  # milliseconds that a due batch may wait unclaimed
IMPORTED_BY = {"plans": "plan import", "regions": "regions import"}
INBOX_LATE = 10_000
LATE_ANCHOR = 26 * 3600 * 1000  # a day, and two hours to try again in
SILENT = 300_000  # a platform that waits for a person to approve stays at "waiting" for ever (speakers-ebd.md 2.4)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    colour: Literal["green", "yellow", "red"]
    text: str


@dataclass(frozen=True, slots=True)
class Health:
    """All checks; red when one of them is."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """False when something is red: a warning may be late or lost to a channel."""
        return all(check.colour != "red" for check in self.checks)


def health(house: House, bell: Callable[[], bool], files: Mapping[str, Callable[[], Mapping[str, str]]]) -> Health:
    """Looks at everything. `bell` tells whether Redis answers; `files` are the county's files as they lie on the disk now."""
    checks = [Check("redis", "green", "answers") if bell() else Check("redis", "red", "does not answer: workers cannot be rung")]
    try:
        with house.ledger.read() as tx:
            checks += _of_the_ledger(house, tx)
    except BroadcastError as error:
        return Health((*checks, Check("ledger", "red", str(error))))
    checks += _of_the_files(house, files)
    return Health(tuple(checks))


def _of_the_ledger(house: House, tx: Transaction) -> Iterator[Check]:
    now = house.now()
    yield Check("ledger", "green", "answers")
    held = leases.held(tx, house.ledger.database)
    for name in ("sweep", "planner"):
        alive = held.get(name, False)
        yield Check(
            name, "green" if alive else "red", "runs" if alive else "nobody does it: start `broadcast up` or `broadcast worker`"
        )
    yield from _of_the_backlog(questions.backlog(tx, now))
    failing = leases.failing(tx)
    for row in failing:
        text = f"{row.failures} failures in a row{', left alone for a while' if row.open_until > now else ''}: {row.reason}"
        yield Check(f"peer {row.peer}", "red" if row.failures >= leases.OPEN_AFTER else "yellow", text)
    bad = {row.peer for row in failing}
    for name, far_end in sorted(house.peers.items()):
        if name not in bad:
            peer = far_end.peer
            yield Check(f"peer {name}", "green", f"{peer.channel}, {'simulated' if peer.simulated else 'live'}")
    stuck = callouts.stuck(tx, now)
    text = (
        f"{len(stuck)} have no next step, or one that is long past: is the sweep running?" if stuck else "each has its next step"
    )
    yield Check("callouts", "red" if stuck else "green", text)
    yield _of_anchors(house, tx, now)
    yield _of_the_villages(coverage.unreached(tx))
    silent = questions.accepted_and_silent(tx, "speaker", now - SILENT)
    text = "a loudspeaker platform took a warning and did not say that it is on the air: call its duty desk"
    yield Check(
        "loudspeakers", "red" if silent else "green", f"{silent} systems: {text}" if silent else "none silent after a warning"
    )


def _of_anchors(house: House, tx: Transaction, now: int) -> Check:
    if not house.ways_out:
        return Check("anchors", "yellow", "none leaves this host: set [anchor] in broadcast.toml")
    waiting, last = anchors.not_left(tx, 1), anchors.newest(tx)
    oldest = waiting[0].at if waiting else last.at if last is not None else now
    if now - oldest > LATE_ANCHOR:
        return Check("anchors", "yellow", f"none has left for {(now - oldest) // 3_600_000} h: look at [anchor] and at the log")
    return Check("anchors", "green", "one leaves every day")


def _of_the_villages(unreached: Mapping[int, tuple[str, int]]) -> Check:
    """Red for a warning; a drill in which nobody is reached is a finding, and no danger."""
    if not unreached:
        return Check("villages", "green", "none is reached by nobody within its plan's time")
    what = ", ".join(f"{n} of alert {number}: `broadcast coverage {number}`" for number, (_, n) in sorted(unreached.items()))
    real = any(status == "Actual" for status, _ in unreached.values())
    return Check("villages", "red" if real else "yellow", f"reached by nobody within the plan's time, knock there: {what}")


def _of_the_backlog(backlog: questions.Backlog) -> Iterator[Check]:
    for lane, limit in LATE.items():
        age = backlog.oldest_due.get(lane, 0)
        late = age > limit
        yield Check(f"lane {lane}", "red" if late else "green", f"oldest due batch waits {age / 1000:.1f} s")
    late = backlog.oldest_kept > INBOX_LATE
    yield Check("inbox", "red" if late else "green", f"oldest callback not understood is {backlog.oldest_kept / 1000:.1f} s old")
    overdue = backlog.overdue_approvals
    text = f"{overdue} overdue: `broadcast status`, then `broadcast approve`" if overdue else "none overdue"
    yield Check("approvals", "red" if overdue else "green", text)
    doubts = f"{backlog.in_doubt} deliveries in doubt, {backlog.unmatched} reports match nothing yet"
    yield Check("doubts", "yellow" if backlog.in_doubt else "green", doubts)
    review = (
        f"{backlog.to_review} alerts released by one person alone are to be reviewed"
        if backlog.to_review
        else "nothing to review"
    )
    yield Check("review", "yellow" if backlog.to_review else "green", review)


def _of_the_files(house: House, files: Mapping[str, Callable[[], Mapping[str, str]]]) -> Iterator[Check]:
    for kind, read in files.items():
        try:
            on_disk = read()
        except InvalidFiles as error:
            yield Check(kind, "red", f"broken on the disk, the last good ones stay in force: {error.problems[0]}")
            continue
        with house.ledger.read() as tx:
            current = books.in_force(tx, kind)
        if current is None:
            yield Check(kind, "red", "none in force: run `broadcast init`")
        elif current.sha256 != books.digest(on_disk):
            yield Check(kind, "yellow", f"the files differ from those in force: run `broadcast {IMPORTED_BY[kind]}`")
        else:
            yield Check(kind, "green", "in force as they lie on the disk")
