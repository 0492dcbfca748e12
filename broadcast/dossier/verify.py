"""Checks this dossier with nothing but Python 3.8 or later: no other software, no network, no database.

python verify.py                       the files, the chain of entries, and what the entries say of the files
python verify.py --manifest SHA256     also that MANIFEST.json is the one that the export printed and the ledger noted
python verify.py --anchor FILE         also that the chain is the one that left the ledger's host in this anchor

Prints what was checked. Exit code 0: everything agrees. 1: something does not, and each place is named. VERIFY.txt says
the same procedure in words, so that it can be redone by other means.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

HERE = Path(__file__).resolve().parent
START = "0" * 64  # what the first entry says of the one before it
PROBLEMS: List[str] = []  # a line for each place that does not agree


def ok(text: str) -> None:
    print("ok    " + text)


def wrong(where: str, text: str) -> None:
    PROBLEMS.append(where)
    print("WRONG " + where + ": " + text)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def netstring(text: str) -> bytes:
    """Length in bytes, colon, text, comma: no two splits of a text look alike."""
    data = text.encode("utf-8")
    return str(len(data)).encode() + b":" + data + b","


# --- 1. the files


def read_manifest(expected: str) -> Dict[str, Any]:
    raw = (HERE / "MANIFEST.json").read_bytes()
    print("      SHA-256 of MANIFEST.json: " + sha256(raw))
    if expected:
        if sha256(raw) == expected.lower():
            ok("MANIFEST.json is the expected one")
        else:
            wrong("MANIFEST.json", "its SHA-256 is not the expected " + expected)
    found: Dict[str, Any] = json.loads(raw.decode("utf-8"))
    return found


def check_files(manifest: Dict[str, Any]) -> None:
    """Every file that the manifest lists is there and unchanged, and there is no other."""
    before = len(PROBLEMS)
    for name, said in sorted(manifest["files"].items()):
        path = HERE / name
        if not path.is_file():
            wrong(name, "is missing")
        elif sha256(path.read_bytes()) != said["sha256"]:
            wrong(name, "was changed: its SHA-256 is not that of MANIFEST.json")
    there = {str(path.relative_to(HERE)).replace("\\", "/") for path in HERE.rglob("*") if path.is_file()}
    for name in sorted(there - set(manifest["files"]) - {"MANIFEST.json"}):
        if "__pycache__" not in name:
            wrong(name, "is not listed in MANIFEST.json")
    if len(PROBLEMS) == before:
        ok(f"{len(manifest['files'])} files are those of MANIFEST.json")


# --- 2. the chain of entries


def entry_hash(entry: Dict[str, Any]) -> str:
    """Over the netstrings of these seven, in this order; `body` as the text that it is."""
    names = ("chain", "n", "at", "kind", "who", "body", "previous")
    return sha256(b"".join(netstring(str(entry[name])) for name in names))


def check_entries(manifest: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Numbered without a gap, each with the hash of the one before it, each hash recomputed, the last one the head."""
    entries: List[Dict[str, Any]] = []
    previous, before = START, len(PROBLEMS)
    head = manifest["head"]
    for number, line in enumerate(lines("entries.jsonl"), 1):
        entry = json.loads(line)
        where = f"entries.jsonl line {number} (entry {entry['n']} {entry['kind']})"
        if entry["chain"] != head["chain"]:
            wrong(where, "is of another chain: " + entry["chain"])
        if entry["n"] != number:
            wrong(where, f"entry {number} was expected")
            break
        if entry["previous"] != previous:
            wrong(where, "`previous` is not the hash of the entry before it")
        if entry["hash"] != entry_hash(entry):
            wrong(where, "was changed: its hash does not come out")
        previous = entry["hash"]
        entries.append(entry)
    if (len(entries), previous) != (head["n"], head["hash"]):
        wrong("entries.jsonl", f"does not end at the head: entry {head['n']} {head['hash']}")
    if len(PROBLEMS) == before:
        ok(f"{len(entries)} entries of chain {head['chain']}, each bound to the one before; head {previous}")
    return entries


# --- 3. what the entries say of the files


def check_bound(manifest: Dict[str, Any], entries: List[Dict[str, Any]]) -> None:
    """The warning's bytes, the frozen words and the covered regions are those that the chain holds."""
    warning = manifest["alert"]["file"]
    for entry in entries:
        body = json.loads(entry["body"])
        where = f" (by entry {entry['n']} {entry['kind']})"
        if entry["kind"] == "alert.received":
            same(warning, body["sha256"], sha256(read(warning)), "its SHA-256 is not that of the entry", where)
        if entry["kind"] == "wording.frozen":
            for word in body["words"]:
                name = "words/" + "-".join(word[key] for key in ("channel", "audience", "purpose", "language")) + ".txt"
                same(name, word["text"].encode("utf-8"), read(name), "its text is not that of the entry", where)
        if entry["kind"] == "plan.frozen" and not any(each["kind"] == "alert.decided" for each in entries):
            plan = json.loads(read("plan.json").decode("utf-8"))
            covered = [each["region"] for each in plan["regions"]]
            same("plan.json", body["understood"], plan["understood"], "the plan is not that of the entry", where)
            same("plan.json", body["regions"], covered, "the regions are not those of the entry", where)


def same(name: str, expected: object, found: object, text: str, where: str) -> None:
    if expected == found:
        ok(name + where)
    else:
        wrong(name + where, text)


# --- 4. rows of evidence: receipts, replies, words, calls, deliveries


def row_digest(table: str, row: Dict[str, Any]) -> bytes:
    """SHA-256 over the table's name and each column that is not empty, by name; true and false as 1 and 0."""
    parts = [netstring(table)]
    for column in sorted(row):
        value = row[column]
        if value is not None:
            parts += [netstring(column), netstring(str(int(value)) if isinstance(value, bool) else str(value))]
    return hashlib.sha256(b"".join(parts)).digest()


def check_rows(entries: List[Dict[str, Any]]) -> None:
    """The rows that each entry was written with are there, and come to the digest that the entry holds; no row is without one."""
    tables, before = Tables(), len(PROBLEMS)
    for entry in entries:
        body = json.loads(entry["body"])
        for table, said in sorted(body["rows"].items() if isinstance(body.get("rows"), dict) else ()):
            where = f"rows/{table}.jsonl (by entry {entry['n']} {entry['kind']})"
            # Deliveries are numbered within their batch, so that there is one digest for each batch.
            for one in said if table == "delivery" else [said]:
                tables.check(table, one.get("batch"), one.get("ids") or one.get("seqs"), one["sha256"], where)
    over = any(entry["kind"] == "alert.covered" for entry in entries)
    for table, number in tables.without_entry():
        if table != "delivery" or over:  # a delivery is covered when it was called, at the latest when the alert is over
            wrong(f"rows/{table}.jsonl", f"row {number} is covered by no entry: it was added")
    covered = sum(len(rows) for rows in tables.seen.values())
    if len(PROBLEMS) == before:
        ok(f"{covered} rows of evidence agree with their entries" if covered else "no entry speaks of rows of evidence")


class Tables:
    """The digests of the rows in rows/TABLE.jsonl, read when an entry first speaks of the table."""

    def __init__(self) -> None:
        self.digests: Dict[str, Dict[Any, bytes]] = {}
        self.seen: Dict[str, Set[Any]] = {}

    def check(self, table: str, batch: Optional[int], ranges: Sequence[Sequence[int]], expected: str, where: str) -> None:
        """The rows come to what their entry says of them."""
        rows = self.of(table)
        wanted = [(batch, number) for first, last in ranges for number in range(first, last + 1)]
        self.seen[table].update(wanted)
        missing = [key for key in wanted if key not in rows]
        if missing:
            wrong(where, f"row {named(missing[0])} is missing")
        elif sha256(b"".join(rows[key] for key in wanted)) != expected:
            wrong(where, f"rows {named(wanted[0])} to {named(wanted[-1])} do not come to the digest of the entry")

    def of(self, table: str) -> Dict[Any, bytes]:
        """By (batch, seq) for deliveries, by (None, id) for all others."""
        if table not in self.digests:
            self.digests[table], self.seen[table] = {}, set()
            for line in lines(f"rows/{table}.jsonl") if re.fullmatch("[a-z_]+", table) else ():
                row = json.loads(line)
                batch = row["batch_id"] if table == "delivery" else None
                number = row["seq"] if table == "delivery" else row["alert_id"] if table == "alert_raw" else row["id"]
                if (batch, number) in self.digests[table]:
                    wrong(f"rows/{table}.jsonl", f"row {named((batch, number))} is there twice")
                self.digests[table][batch, number] = row_digest(table, row)
        return self.digests[table]

    def without_entry(self) -> List[Tuple[str, str]]:
        """Rows that no entry covers, in tables that entries speak of."""
        return [
            (table, named(key)) for table in sorted(self.digests) for key in self.digests[table] if key not in self.seen[table]
        ]


def named(key: Tuple[Optional[int], int]) -> str:
    return str(key[1]) if key[0] is None else f"{key[0]}.{key[1]}"


# --- 5. an anchor: what was written down outside the ledger's host


def check_anchor(path: str, manifest: Dict[str, Any], entries: List[Dict[str, Any]]) -> None:
    """An anchor names entry n of this chain and its hash. Whoever rewrote the chain later has another hash there."""
    anchor, chain = json.loads(Path(path).read_text("utf-8")), manifest["head"]["chain"]
    if chain not in anchor["heads"]:
        wrong("anchor", f"it does not speak of {chain}: take the one that was made when the alert was over")
        return
    number, digest = anchor["heads"][chain]
    if number > len(entries):
        newer = f"it is newer than this dossier: it names entry {number}, the last one here is {len(entries)}. "
        wrong("anchor", newer + "Entries were cut off, or came later (each export is one): take an earlier one, or a new dossier")
    elif entries[number - 1]["hash"] != digest:
        wrong(f"entries.jsonl line {number} (entry {number})", "is not the one that the anchor names")
    else:
        named = f"(ledger {anchor.get('ledger')}, anchor {anchor.get('number')})"
        ok(f"entry {number} of {chain} is the one that the anchor names {named}")


# --- reading


def read(name: str) -> bytes:
    """The bytes of a file; none where it is missing, which `check_files` has said."""
    path = HERE / name
    return path.read_bytes() if path.is_file() else b"{}"


def lines(name: str) -> Iterator[str]:
    path = HERE / name
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from file


def main() -> int:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", metavar="SHA256", help="what the export printed")
    parser.add_argument("--anchor", metavar="FILE", help="an anchor that left the ledger's host")
    options = parser.parse_args()
    for step in steps(options):
        try:
            step()
        except (KeyError, TypeError, ValueError, OSError) as error:  # what was altered may not even be readable
            wrong(step.__name__, f"cannot be read: {type(error).__name__} {error}")
            break
    n = len(PROBLEMS)
    print(f"RESULT: {n} places do not agree / 结果：{n} 处不一致" if n else "RESULT: everything agrees / 结果：全部一致")
    return 1 if PROBLEMS else 0


def steps(options: argparse.Namespace) -> List[Callable[[], None]]:
    """What is checked, in order; what one step has read is there for the next."""
    manifest: Dict[str, Any] = {}
    entries: List[Dict[str, Any]] = []

    def manifest_and_files() -> None:
        manifest.update(read_manifest(options.manifest))
        check_files(manifest)

    def chain() -> None:
        entries.extend(check_entries(manifest))

    def bound() -> None:
        check_bound(manifest, entries)

    def rows() -> None:
        check_rows(entries)

    def anchor() -> None:
        if options.anchor:
            check_anchor(options.anchor, manifest, entries)

    return [manifest_and_files, chain, bound, rows, anchor]


if __name__ == "__main__":
    sys.exit(main())
