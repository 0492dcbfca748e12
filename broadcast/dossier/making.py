"""The order of things: one snapshot, a folder beside, all files, the manifest, the entry, and only then the folder's name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotAllowed, Refused
from ..gateway import Gateway, Operator, unmasking
from ..ledger import Transaction, dossiers
from ..paper import Paper
from ..tiers.phones import mask_within
from . import files, result, terms, warning
from .counting import Reach, Tally
from .files import Progress
from .gathering import Facts, Persons, gather


@dataclass(frozen=True, slots=True)
class Dossier:
    """What was made, and what a reader must know to trust it."""

    alert_id: int
    folder: Path
    pages: int
    entries: int
    head: str  # the hash of the last entry that it holds: the one before the export's own
    manifest: str  # SHA-256 of MANIFEST.json, which the export's own entry holds
    running: bool  # more may come


def make(
    gateway: Gateway,
    alert: int | str,
    folder: Path,
    *,
    by: Operator | None = None,
    unmask: str = "",
    progress: Progress = lambda _what, _done, _of: None,
) -> Dossier:
    """Writes 一事一档 of an alert into `folder`, which must not exist or be empty, and says so in the alert's chain.

    `unmask`: the reason for which `by` shows the names of responsible persons and what they wrote; numbers stay masked.
    The same ledger makes the same bytes. Raises NotFound, NotAllowed, Refused, LedgerUnavailable; then there is no folder.
    """
    folder = folder.absolute()
    _may_unmask(by, unmask)
    _refuse_what_is_there(folder)
    persons = Persons(gateway.ledger.seal, masked=not unmask)
    with _beside(folder) as draft:
        with dossiers.snapshot(gateway.ledger.database) as tx:
            facts = gather(gateway, tx, alert, persons)
            tally, reach = _write_files(draft, tx, facts, persons, progress)
        until = _until(facts, reach)
        progress("pages", 0, 1)
        pages = _print(draft / "dossier.pdf", facts, tally, reach, until=until, masked=persons.masked)
        progress("pages", pages, pages)
        manifest = files.write_manifest(draft, facts, until=until, masked=persons.masked)
        _say_so(gateway, facts, persons, manifest, sum(path.is_file() for path in draft.rglob("*")), by, unmask)
        draft.replace(folder)
    n, head = facts.head
    return Dossier(facts.alert.id, folder, pages, n, head, manifest, facts.running)


def _write_files(draft: Path, tx: Transaction, facts: Facts, persons: Persons, progress: Progress) -> tuple[Tally, Reach]:
    """Everything but the PDF and the manifest; the long tables are counted as they are written."""
    number, batches = facts.alert.id, dossiers.batches(tx, facts.alert.id)
    tally, reach = Tally(facts.town), Reach(batches)
    files.write_small(draft, facts)
    planned = sum(row.size for row in batches.values())
    deliveries = files.told(dossiers.deliveries(tx, number), "deliveries", planned, progress)
    files.write_deliveries(draft, facts, deliveries, persons, tally)
    receipts = files.told(dossiers.receipts(tx, number), "receipts", 0, progress)
    files.write_receipts(draft, receipts, batches, reach)
    files.write_callouts(draft, facts)
    files.write_replies(draft, facts, persons)
    files.write_evidence_rows(draft, dossiers.evidence_rows(tx, number))
    return tally, reach


def _may_unmask(by: Operator | None, reason: str) -> None:
    if not reason:
        return
    if by is None:
        raise NotAllowed("names are shown to a named operator only: give --operator NAME and --reason TEXT")
    unmasking.check(by, reason)


def _refuse_what_is_there(folder: Path) -> None:
    """A dossier is never mixed with, or written over, what is there."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Refused(f"{folder} is there and no folder: name a folder that does not exist yet")
    if folder.is_dir() and any(folder.iterdir()):
        raise Refused(f"{folder} is not empty: name a folder that does not exist yet")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder in the same place that is gone afterwards, unless it got the name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _until(facts: Facts, reach: Reach) -> int:
    """The moment of the newest thing that it holds: a dossier knows no other clock, so that it is the same tomorrow."""
    entries, replies = (row.at for row in facts.entries), (row.recorded for row in facts.replies)
    return max(int(moment) for moment in (facts.alert.received, reach.last, *entries, *replies))


def _print(path: Path, facts: Facts, tally: Tally, reach: Reach, *, until: int, masked: bool) -> int:
    title = warning.title_of(facts)
    moment = f"截至 {terms.moment(until)}" if facts.running else terms.moment(until)
    paper = Paper(title, footer=f"{facts.county}　预警{facts.alert.id}号　{moment}")
    curves = reach.curves({name: tally.states[name].total() for name in terms.CHANNELS if name in tally.states})
    warning.cover(paper, facts, tally, curves, until=until, masked=masked)
    warning.received(paper, facts)
    warning.plan(paper, facts)
    warning.words(paper, facts)
    warning.course(paper, facts, curves)
    result.reached(paper, facts, tally, curves)
    result.callouts(paper, facts)
    result.spot_checks(paper, facts)
    result.not_reached(paper, facts, tally)
    result.proof(paper, facts, tally, reach, len(facts.replies))
    return paper.write(path)


def _say_so(
    gateway: Gateway, facts: Facts, persons: Persons, manifest: str, count: int, by: Operator | None, reason: str
) -> None:
    """The export's own entry, after all files are complete and before anybody can see them."""
    n, head = facts.head
    body = {
        "what": "dossier",
        "files": count,
        "manifest": manifest,
        "until": {"n": n, "hash": head},
        "masked": persons.masked,
        "names": len(persons.shown),
        "reason": mask_within(reason)[:500],
    }
    with gateway.ledger.write() as tx:
        dossiers.exported(tx, facts.alert.id, body, by.name if by else "", gateway.house.now())
