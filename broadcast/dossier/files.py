"""The files of a dossier beside its PDF: the warning, plan, words, entries, the long tables, and how to verify them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from ..ledger import Row
from ..sheets import Cell, Sheet, write_csv
from ..tiers.phones import mask_within
from . import terms
from .counting import Reach, Tally
from .gathering import Duty, Facts, Persons

HERE = Path(__file__).parent
Progress = Callable[[str, int, int], None]  # what, done, of how many
_TELL_EVERY = 2000  # rows


def warning_name(facts: Facts) -> str:
    """alert.xml or alert.json."""
    return "alert.json" if facts.alert.form == "json" else "alert.xml"


def write_small(folder: Path, facts: Facts) -> None:
    """The warning as received, the frozen plan and words, the chain, and the means to verify."""
    (folder / warning_name(facts)).write_bytes(facts.raw)
    rules = [{name: value for name, value in row._mapping.items() if name not in _MOVING} for row in facts.rules]
    plan = {"understood": facts.understood, "regions": [dict(row._mapping) for row in facts.regions], "rules": rules}
    _write(folder / "plan.json", json.dumps(plan, ensure_ascii=False, sort_keys=True, indent=1) + "\n")
    (folder / "words").mkdir()
    for row in facts.words:
        _write(folder / "words" / f"{row.channel}-{row.audience}-{row.purpose}-{row.language}.txt", row.text)
    _write_lines(folder / "entries.jsonl", (dict(row._mapping) for row in facts.entries))
    for name in ("verify.py", "VERIFY.txt"):
        (folder / name).write_bytes((HERE / name).read_bytes())


_MOVING = ("cursor_region", "cursor_id", "wording_id")  # of a rule: how far its planning had come


def write_deliveries(folder: Path, facts: Facts, rows: Iterable[Row], persons: Persons, tally: Tally) -> None:
    """deliveries.csv; counts while it writes."""

    def cells() -> Iterator[tuple[Cell, ...]]:
        for row in rows:
            tally.take(row)
            yield (
                f"{row.batch_id}.{row.seq}", _named(terms.TIERS, row.tier), _named(terms.CHANNELS, row.channel),
                terms.purpose(row.purpose), row.region, facts.place(row.region), facts.role(row.role) if row.role else "",
                row.rank, persons.address(row.sealed), _named(terms.STATES, row.state), mask_within(row.reason or ""), row.peer,
                row.attempt, terms.exact(row.started), terms.exact(row.ended),
            )  # fmt: skip

    heads = (
        "编号", "层级", "渠道", "用途", "区划代码", "区划", "岗位", "A/B岗", "地址（掩码）", "状态", "原因", "通道", "次数",
        "开始", "结束",
    )  # fmt: skip
    _write_table(folder / "deliveries.csv", heads, cells())


def write_receipts(folder: Path, rows: Iterable[Row], channels: Mapping[int, Row], reach: Reach) -> None:
    """receipts.csv; follows the reach over time while it writes."""

    def cells() -> Iterator[tuple[Cell, ...]]:
        for row in rows:
            reach.take(row)
            run = f"{row.first_seq}" if row.first_seq == row.last_seq else f"{row.first_seq}-{row.last_seq}"
            yield (
                row.id, _named(terms.CHANNELS, channels[row.batch_id].channel), f"{row.batch_id}.{run}", row.attempt,
                _named(terms.ORIGINS, row.origin), _named(terms.STATES, row.state), row.code, mask_within(row.detail), row.peer,
                mask_within(row.ref), terms.exact(row.at), terms.exact(row.recorded),
            )  # fmt: skip

    heads = (
        "编号",
        "渠道",
        "投递编号",
        "次数",
        "来源",
        "状态",
        "对方代码",
        "对方说明",
        "通道",
        "对方编号",
        "对方时间",
        "记录时间",
    )
    _write_table(folder / "receipts.csv", heads, cells())


def write_callouts(folder: Path, facts: Facts) -> None:
    """callouts.csv: every duty to acknowledge or to report measures."""
    heads = (
        "编号", "事项", "层级", "区划代码", "区划", "岗位", "A/B岗", "责任人", "开始", "时限", "呼叫本人", "呼叫B岗", "呼叫上级",
        "呼叫相邻岗位", "结果", "结束", "用时（分）", "应答人", "方式", "登记人", "条目",
    )  # fmt: skip
    _write_table(folder / "callouts.csv", heads, (_callout(one) for one in facts.duties))


def _callout(one: Duty) -> tuple[Cell, ...]:
    calls = [one.calls.get(rung, 0) for rung in ("principal", "deputy", "superior", "sideways")]
    return (
        one.number, _DUTIES.get(one.duty, one.duty), _named(terms.TIERS, one.tier), one.region, one.place, one.role, one.rank,
        one.person, terms.exact(one.opened), terms.exact(one.due), *calls, _named(terms.ENDINGS, one.by), terms.exact(one.ended),
        round((one.ended - one.opened) / 60000, 1) if one.ended is not None else None, one.answered_by,
        _named(terms.WAYS, one.how), one.entered_by, " ".join(map(str, one.entries)),
    )  # fmt: skip


_DUTIES = {"acknowledge": "确认收到", "measures": "反馈措施"}


def write_replies(folder: Path, facts: Facts, persons: Persons) -> None:
    """replies.csv: whatever persons and receiving systems said back; their own words only where they are shown."""
    heads = (
        "编号", "投递编号", "内容", "方式", "答复人", "落实叫应（项）", "未落实的原因", "告知户数", "其中无电话", "其中特殊人群",
        "登记人", "对方时间", "记录时间", "原话",
    )  # fmt: skip
    _write_table(folder / "replies.csv", heads, (_reply(row, persons) for row in facts.replies))


def _reply(row: Row, persons: Persons) -> tuple[Cell, ...]:
    counts = json.loads(row.counts)
    at_the_door = [counts.get(key) for key in ("households", "without_phone", "vulnerable")]
    return (
        row.id, f"{row.batch_id}.{row.seq}" if row.batch_id is not None else "", _named(terms.VERBS, row.verb),
        _named(terms.WAYS, row.how), persons.name(row.name) if row.person_id is not None else "", row.settled, row.flag,
        *at_the_door, row.who, terms.exact(row.at), terms.exact(row.recorded), persons.words(row.said),
    )  # fmt: skip


def write_evidence_rows(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """rows/TABLE.jsonl: the rows of evidence that entries cover, as docs/ledger.md has them. THE PLACE for them."""
    for table, those in groupby(rows, key=lambda one: str(one["table"])):
        if table != "entry":  # they are entries.jsonl, up to the head
            (folder / "rows").mkdir(exist_ok=True)
            _write_lines(folder / "rows" / f"{table}.jsonl", (one["row"] for one in those))


def write_manifest(folder: Path, facts: Facts, *, until: int, masked: bool) -> str:
    """MANIFEST.json, the last of all files; returns its SHA-256."""
    n, head = facts.head
    row = facts.alert
    manifest = {
        "format": 1,
        "alert": {"number": row.id, "identifier": row.identifier, "sender": row.sender, "file": warning_name(facts)},
        "head": {"chain": f"alert:{row.id}", "n": n, "hash": head},
        "until": terms.exact(until),
        "running": facts.running,
        "masked": masked,
        "files": {name: _described(folder / name) for name in sorted(_names(folder))},
    }
    text = json.dumps(manifest, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
    _write(folder / "MANIFEST.json", text)
    return hashlib.sha256(text.encode()).hexdigest()


def _names(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def told(rows: Iterable[Row], what: str, total: int, progress: Progress) -> Iterator[Row]:
    """The rows, saying now and then how many have passed."""
    n = 0
    for n, row in enumerate(rows, 1):
        if n % _TELL_EVERY == 0:
            progress(what, n, max(n, total))
        yield row
    progress(what, n, n)


def _named(names: Mapping[str, str], word: str) -> str:
    return names.get(word, word)


def _write(path: Path, text: str) -> None:
    """UTF-8, line ends as they are: the bytes must be the same on every system."""
    path.write_bytes(text.encode("utf-8"))


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as out:
        for row in rows:
            out.write(json.dumps(dict(row), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def _write_table(path: Path, heads: tuple[str, ...], rows: Iterable[tuple[Cell, ...]]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        write_csv(out, Sheet(heads, rows))
