"""Whoever lays hands on the ledger is found, and the place is named: on both databases, with every column."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.ledger import Ledger, anchors, chain, proof
from broadcast.ledger import tables as t
from broadcast.ledger.anchors import InvalidAnchor
from broadcast.ledger.guards import FROZEN_DELIVERY

from ..proof_rows import a_small_ledger, an_anchor, another, key_of, look, unguarded, written_anew

TABLES = (*t.EVIDENCE, "delivery")
COLUMNS = [
    (table, column.name)
    for table in TABLES
    for column in t.metadata.tables[table].columns
    if table != "delivery" or column.name in FROZEN_DELIVERY
]


@pytest.fixture
def small(ledger: Ledger) -> Ledger:
    a_small_ledger(ledger)
    return ledger


@contextmanager
def hands(ledger: Ledger):
    """A transaction of somebody who has taken the triggers away; it leaves no trace."""
    with ledger.database.engine.connect() as tx:
        work = tx.begin()
        unguarded(tx)
        yield tx
        work.rollback()


def one_row(tx, table: sa.Table, nth: int = 1):
    return tx.execute(sa.select(table).order_by(*key_of(table)).offset(nth)).first()


def of_row(table: sa.Table, row) -> list:
    return [column == row._mapping[column.name] for column in key_of(table)]


def named(verdict) -> list[tuple[str, str, str]]:
    return [(place.first.table, place.first.row, place.first.column) for place in verdict.places]


def test_a_ledger_that_nobody_touched_holds(small):
    with small.database.snapshot() as tx:
        found = look(small, tx)
    assert found.holds, [str(place.first) for place in found.places]
    assert (found.chains, found.deliveries) == (2, 9) and found.rows > 15
    with small.read() as tx:
        for table in t.EVIDENCE:
            assert one_row(tx, t.metadata.tables[table], 0 if table == "alert_raw" else 1), (
                f"the story has no two rows of {table}"
            )


def test_a_change_of_any_column_of_any_evidence_is_found_and_named(small):
    for name, column in COLUMNS:
        table = t.metadata.tables[name]
        with hands(small) as tx:
            row = one_row(tx, table, 0 if name == "alert_raw" else 1)
            value = another(table.c[column], row._mapping[column])
            tx.execute(table.update().where(*of_row(table, row)).values({column: value}))
            found = look(small, tx)
            assert not found.holds, f"{name}.{column}"
            assert names(named(found), name, column, row), f"{name}.{column}: {[str(p.first) for p in found.places]}"


def names(found, table: str, column: str, row) -> bool:
    """The place that verify names is the one that was changed; a row that lies elsewhere now is missing where it was."""
    if table == "entry":
        return ("entry", f"{row.chain} {row.n}", "n" if column == "chain" else column) in found
    if table != "delivery":
        return (table, str(row._mapping[proof.KEY[table]]), column) in found
    column = "seq" if column == "batch_id" else column  # of deliveries the call is named, not each of them
    return any(one[0] == "delivery" and covers(one[1], row.batch_id, row.seq) and column in one[2].split(", ") for one in found)


def covers(which: str, batch_id: int, seq: int) -> bool:
    """Of "7.1 to 3": it is delivery 2 of batch 7."""
    batch, _, seqs = which.partition(".")
    first, _, last = seqs.partition(" to ")
    return int(batch) == batch_id and int(first) <= seq <= int(last or first)


def test_a_row_that_was_taken_away_is_missed(small):
    for name in TABLES:
        its = t.metadata.tables[name]
        with hands(small) as tx:
            row = one_row(tx, its, 0)
            tx.execute(its.delete().where(*of_row(its, row)))
            found = named(look(small, tx))
            assert names(found, name, "n" if name == "entry" else key_of(its)[-1].name, row), (name, found)


UNIQUE = {
    "address": {"sealed": b"new"},
    "asked": {"rung": "x"},
    "called": {"seq": 88},
    "wording": {"language": "x"},
    "delivery": {"address_id": 88},
}


def test_a_row_that_was_added_is_seen(small):
    for name in TABLES:
        its = t.metadata.tables[name]
        with hands(small) as tx:
            row = dict(one_row(tx, its, 0)._mapping)
            row[key_of(its)[-1].name] += 5000
            tx.execute(its.insert().values(**row | UNIQUE.get(name, {})))
            found = named(look(small, tx))
            if name == "entry":
                assert ("entry", "alert:1 " + str(row["n"] - 5000 + 1), "n") not in found and found[0][0] == "entry", found
            elif name == "delivery":
                assert ("delivery", f"{row['batch_id']}.{row['seq']}", "seq") in found
            else:
                assert (name, str(row[proof.KEY[name]]), proof.KEY[name]) in found, (name, found)


def test_two_rows_that_were_exchanged_are_found_also_when_their_marks_go_with_them(small):
    for name in TABLES:
        if name == "alert_raw":
            continue  # the story has one
        its = t.metadata.tables[name]
        keys = {column.name for column in key_of(its)}
        with hands(small) as tx:
            one, other = (one_row(tx, its, n) for n in (0, 1))
            if name in UNIQUE:
                tx.execute(its.update().where(*of_row(its, one)).values(**UNIQUE[name]))
            for to, whose in ((other, one), (one, other)):
                values = {k: v for k, v in whose._mapping.items() if k not in keys}
                tx.execute(its.update().where(*of_row(its, to)).values(values))
            found = named(look(small, tx))
            assert [place[0] for place in found].count(name), (name, found)


STANDS = {
    "alert": (
        "state", "level", "sender", "headline", "received", "expires", "doubt", "closed", "understood", "sha256", "released_by", "superseded_by",
        "stand_down", "approve_by",
    ),
    "batch": ("size", "alert_id"),
    "chain": ("n", "hash", "name", "mac"),
    "callout": ("state", "how", "answered", "id"),
}  # fmt: skip


def test_what_only_says_how_it_stands_is_worked_out_again(small):
    for name, columns in STANDS.items():
        its = t.metadata.tables[name]
        for column in columns:
            with hands(small) as tx:
                rows = sa.select(its).order_by(*its.primary_key.columns)
                row = tx.execute(rows.where(its.c.state == "answered") if name == "callout" else rows).first()
                key = next(iter(its.primary_key.columns))
                value = another(its.c[column], row._mapping[column])
                tx.execute(its.update().where(key == row._mapping[key.name]).values({column: value}))
                found = named(look(small, tx))
                wanted = {("batch", "alert_id"): "id"}.get((name, column), column)
                assert any(one[:2] == (name, str(row._mapping[key.name])) and wanted == one[2] for one in found) or (
                    (name, column) == ("chain", "n") and ("entry", f"{row.name} {row.n + 1}", "n") in found
                ), (name, column, found)


def test_a_state_that_no_receipt_says_is_found(small):
    for told in ("accepted", "delivered", "rejected"):
        _said_by_nobody(small, told)
    for told in ("cancelled", "planned", "in_doubt"):  # and one that a receipt contradicts
        _said_by_nobody(small, told)


def _said_by_nobody(small, told: str) -> None:
    with hands(small) as tx:
        for which in (t.delivery.c.state.is_not(None), t.delivery.c.state.is_(None)):
            row = tx.execute(sa.select(t.delivery).where(which).order_by(t.delivery.c.batch_id)).first()
            was = row.state or tx.execute(sa.select(t.batch.c.state).where(t.batch.c.id == row.batch_id)).scalar()
            if was == told:
                continue
            tx.execute(t.delivery.update().where(*of_row(t.delivery, row)).values(state=told))
            assert ("delivery", f"{row.batch_id}.{row.seq}", "state") in named(look(small, tx)), was
            tx.execute(t.delivery.update().where(*of_row(t.delivery, row)).values(state=row.state))


def test_without_the_key_nobody_writes_the_chain_anew(small):
    with hands(small) as tx:
        tx.execute(t.entry.update().where(t.entry.c.chain == "house", t.entry.c.n == 3).values(body='{"n":9}'))
        written_anew(Ledger(str(small.database.url), small.seal.__class__(b"x" * 64)), tx, "house", 3)
        found = look(small, tx)
    assert ("entry", "house 3", "mac") in named(found)
    assert next(place.more for place in found.places if place.first.chain == "house") > 0


def test_a_dishonest_holder_of_the_key_is_found_by_the_anchor_that_had_left(small):
    anchor = an_anchor(small)
    with hands(small) as tx:
        last = tx.execute(sa.select(sa.func.max(t.entry.c.n)).where(t.entry.c.chain == "alert:1")).scalar()
        row = tx.execute(sa.select(t.entry).where(t.entry.c.chain == "alert:1", t.entry.c.n == last)).one()
        body = json.dumps({**json.loads(row.body), "deliveries": 1000}, separators=(",", ":"), sort_keys=True)
        tx.execute(t.entry.update().where(t.entry.c.chain == "alert:1", t.entry.c.n == last).values(body=body))
        written_anew(small, tx, "alert:1", last)
        tx.execute(t.anchor.delete())  # and the ledger's own anchors with the entries that speak of them
        tx.execute(t.entry.delete().where(t.entry.c.kind == "anchor.made"))
        written_anew(small, tx, "house", 1)
        assert look(small, tx).holds
        found = look(small, tx, anchor)
    assert ("entry", f"alert:1 {last}", "hash") in named(found)


def test_without_the_key_nobody_cuts_a_tail_off_and_puts_the_head_back(small):
    with hands(small) as tx:
        n, _ = tx.execute(sa.select(t.chain.c.n, t.chain.c.hash).where(t.chain.c.name == "alert:1")).one()
        tx.execute(t.entry.delete().where(t.entry.c.chain == "alert:1", t.entry.c.n == n))
        last = tx.execute(sa.select(t.entry.c.hash).where(t.entry.c.chain == "alert:1", t.entry.c.n == n - 1)).scalar()
        tx.execute(t.chain.update().where(t.chain.c.name == "alert:1").values(n=n - 1, hash=last))
        found = named(look(small, tx))
    assert ("chain", "alert:1", "mac") in found


def test_a_tail_that_was_cut_off_is_found_by_the_anchor_and_the_missing_entries_are_named(small):
    anchor = an_anchor(small)
    with hands(small) as tx:
        n, _ = anchor.heads["alert:1"]
        tx.execute(t.entry.delete().where(t.entry.c.chain == "alert:1", t.entry.c.n > n - 2))
        found = look(small, tx)
        assert ("entry", f"alert:1 {n - 1}", "n") in named(found)  # the head says so
        written_anew(small, tx, "alert:1", 1)
        tx.execute(t.alert.update().values(covered=None))
        tx.execute(t.batch.update().values(covered=None))
        tx.execute(t.entry.delete().where(t.entry.c.kind == "anchor.made"))
        tx.execute(t.anchor.delete())
        written_anew(small, tx, "house", 1)
        assert look(small, tx).holds, "nothing inside it can tell"
        texts = [str(place.first) for place in look(small, tx, anchor).places]
    assert any(f"entries {n - 1} to {n} are missing" in text for text in texts), texts


def test_the_anchors_that_the_ledger_keeps_find_what_was_cut_before_them(small):
    an_anchor(small)
    with hands(small) as tx:
        tx.execute(t.entry.delete().where(t.entry.c.chain == "alert:1"))
        tx.execute(t.chain.delete().where(t.chain.c.name == "alert:1"))
        found = look(small, tx)
    assert any(one[:2] == ("entry", "alert:1 1") for one in named(found)) or any("alert:1" in str(p.first) for p in found.places)


def test_an_anchor_that_is_none_of_this_ledger_is_refused(small):
    an_anchor(small)
    with small.read() as tx:
        document = json.loads(anchors.newest(tx).body)
    changes = ({"at": 7}, {"ledger": "???"}, {"at": None}, {"heads": {"house": [1]}}, {"more": 1})
    for text in ("{", "[]", *(json.dumps({**document, **change}) for change in changes)):
        with pytest.raises(InvalidAnchor), small.read() as tx:
            look(small, tx, anchors.read(text))


# ── sequences of edits ──

EDITS = st.lists(
    st.tuples(st.sampled_from(TABLES), st.sampled_from(["change", "delete", "insert"]), st.integers(0, 9), st.integers(0, 30)), min_size=1, max_size=4
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_whatever_somebody_does_to_evidence_is_found(small, edits):
    with hands(small) as tx:
        before = everything(tx)
        for table, how, nth, which in edits:
            edit(tx, t.metadata.tables[table], how, nth, which)
        changed = everything(tx) != before
        found = look(small, tx)
    assert found.holds != changed, (edits, [str(place.first) for place in found.places])


def everything(tx) -> list:
    found = []
    for name in TABLES:
        its = t.metadata.tables[name]
        columns = [c for c in its.columns if name != "delivery" or c.name in FROZEN_DELIVERY]
        found.append(tx.execute(sa.select(*columns).order_by(*key_of(its))).all())
    return found


def edit(tx, its: sa.Table, how: str, nth: int, which: int) -> None:
    rows = tx.execute(sa.select(its).order_by(*key_of(its))).all()
    if not rows:
        return
    row = rows[nth % len(rows)]
    columns = [c for c in its.columns if its.name != "delivery" or c.name in FROZEN_DELIVERY]
    save = tx.begin_nested()  # what the database itself refuses is no edit
    try:
        if how == "delete":
            tx.execute(its.delete().where(*of_row(its, row)))
        elif how == "insert":
            key = key_of(its)[-1].name
            tx.execute(its.insert().values(**{**row._mapping, key: row._mapping[key] + 3000}))
        else:
            column = columns[which % len(columns)]
            tx.execute(its.update().where(*of_row(its, row)).values({column.name: another(column, row._mapping[column.name])}))
        save.commit()
    except sa.exc.IntegrityError:
        save.rollback()


# ── redone without us ──


def test_what_is_exported_can_be_redone_with_the_standard_library_alone(small):
    with small.read() as tx:
        rows = json.loads(json.dumps(list(proof.exported(tx, 1))))  # it is JSON
    by_table: dict[str, list[dict]] = {}
    for one in rows:
        by_table.setdefault(one["table"], []).append(one["row"])

    previous, covered = "0" * 64, 0
    for entry in by_table["entry"]:
        parts = (entry["chain"], entry["n"], entry["at"], entry["kind"], entry["who"], entry["body"], previous)
        assert hashlib.sha256("".join(map(net, parts)).encode()).hexdigest() == entry["hash"]
        previous = entry["hash"]
        for table, said in json.loads(entry["body"]).get("rows", {}).items():
            for one in said if table == "delivery" else [said]:
                key, ranges = (
                    ("seq", one["seqs"]) if table == "delivery" else ("alert_id" if table == "alert_raw" else "id", one["ids"])
                )
                mine = [
                    row
                    for row in by_table[table]
                    if any(a <= row[key] <= b for a, b in ranges) and row.get("batch_id") == one.get("batch", row.get("batch_id"))
                ]
                mine.sort(key=lambda row: row[key])
                assert hashlib.sha256(b"".join(digest(table, row) for row in mine)).hexdigest() == one["sha256"]
                covered += len(mine)
    assert covered > 20
    assert {
        "entry",
        "receipt",
        "reply",
        "asked",
        "called",
        "wording",
        "alert_raw",
        "delivery",
        "spotcheck",
        "drawn",
        "spotcheck_answer",
    } == set(by_table)


def net(value) -> str:
    text = {True: "1", False: "0"}[value] if isinstance(value, bool) else str(value)
    return f"{len(text.encode())}:{text},"


def digest(table: str, row: dict) -> bytes:
    text = net(table) + "".join(net(name) + net(row[name]) for name in sorted(row) if row[name] is not None)
    return hashlib.sha256(text.encode()).digest()


def test_no_number_and_no_word_of_a_person_is_in_an_export(small):
    with small.read() as tx:
        text = json.dumps(list(proof.exported(tx, 1)))
        sealed = [bytes(one) for one in tx.execute(sa.select(t.address.c.sealed)).scalars()]
    assert not [one for one in sealed if one.hex() in text] and '"salt"' not in text


# ── entries ──


def test_entries_of_one_transaction_are_written_at_its_end_chain_by_chain(ledger):
    with ledger.write() as tx:
        for name in ("house", "alert:2", "house"):
            chain.append(tx, name, "test", 1, {"文": "测"}, "测试")
        assert tx.execute(sa.select(sa.func.count()).select_from(t.entry).where(t.entry.c.kind == "test")).scalar() == 0
    with ledger.read() as tx:
        assert look(ledger, tx).entries == 2 + 3  # the seal's and the mark's, which `migrate` made


def test_a_fact_may_not_take_the_name_under_which_an_entry_says_what_it_covers(ledger):
    with pytest.raises(ValueError, match="name it otherwise"), ledger.write() as tx:
        chain.append(tx, "house", "test", 1, {"rows": 5})


def test_an_entry_of_a_key_holder_that_cannot_be_read_is_named_and_does_not_end_the_look(ledger):
    with ledger.write() as tx:
        chain.append(tx, "house", "test", 1, {"count": 5})
    with ledger.write() as tx:
        unguarded(tx)
        row = tx.execute(sa.select(t.entry).where(t.entry.c.kind == "test")).one()._mapping
        made = {**row, "body": '{"rows":5}'}
        made["hash"] = chain.entry_hash(*(made[name] for name in ("chain", "n", "at", "kind", "who", "body", "previous")))
        key = ledger.seal.key_for("entries")
        made |= {"mac": chain.mac(key, made["hash"]), "marks": chain.marks(made[name] for name in chain.MARKED)}
        tx.execute(t.entry.update().where(t.entry.c.kind == "test").values(**made))
        head = {"hash": made["hash"], "mac": chain.head_mac(key, "house", row["n"], made["hash"])}
        tx.execute(t.chain.update().where(t.chain.c.name == "house").values(**head))
    with ledger.read() as tx:
        [place] = look(ledger, tx).places
    assert (place.first.entry, place.first.column) == (row["n"], "body") and "read" in place.first.what


def test_a_transaction_that_fails_leaves_no_entry_behind_for_the_next(ledger):
    def fails(tx) -> None:
        chain.append(tx, "house", "lost", 1, {})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), ledger.write() as tx:
        fails(tx)
    with ledger.write() as tx:
        chain.append(tx, "house", "kept", 1, {})
    with ledger.read() as tx:
        kinds = set(tx.execute(sa.select(t.entry.c.kind)).scalars())
    assert "kept" in kinds and "lost" not in kinds


def test_evidence_that_nobody_speaks_of_is_entered_all_the_same(ledger):
    with ledger.write() as tx:
        proof.add(tx, t.alert_raw, [{"alert_id": 9, "raw": b"x"}], "alert:9")
    with ledger.read() as tx:
        row = tx.execute(sa.select(t.entry).where(t.entry.c.chain == "alert:9")).one()
    assert row.kind == "evidence.added" and json.loads(row.body)["rows"]["alert_raw"]["ids"] == [[9, 9]]
