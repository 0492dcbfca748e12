"""The ledger as proof, as it is carried: guards, anchors that leave, persons who are erased, what is forgotten, older ledgers."""

from __future__ import annotations

import json
import socketserver
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import broadcast.ledger as ledger_room
from broadcast.errors import InvalidFiles, NotAllowed, NotFound
from broadcast.gateway import Folder, Mail, errands, proving
from broadcast.ledger import Ledger, chain, erasing, people, proof, retention
from broadcast.ledger import tables as t
from broadcast.ledger.guards import FROZEN_DELIVERY
from broadcast.settings import load
from broadcast.tiers.roster import Person, Post

from ..proof_rows import a_small_ledger, look, number, residents
from .stories import CANCEL, YELLOW

# ── guards ──


def test_the_database_itself_lists_a_guard_for_every_table_of_evidence(ledger):
    with ledger.read() as tx:
        if ledger.database.is_sqlite:
            found = set(tx.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars())
        else:
            found = set(tx.exec_driver_sql("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'O'").scalars())
    actions = ("update", "delete") if ledger.database.is_sqlite else ("update", "delete", "whole")
    assert found == {f"guard_{table}_{action}" for table in (*t.EVIDENCE, "delivery") for action in actions}


def test_evidence_is_neither_replaced_nor_emptied(ledger):
    a_small_ledger(ledger)
    for table in (*t.EVIDENCE, "delivery"):
        replace = f"REPLACE INTO {table} SELECT * FROM {table}"
        statement = replace if ledger.database.is_sqlite else f"TRUNCATE {table}"
        with pytest.raises(sa.exc.DBAPIError, match=r"rows are only added|only its state"), ledger.write() as tx:
            tx.exec_driver_sql(statement)


def test_of_a_delivery_only_state_and_reason_change(ledger):
    a_small_ledger(ledger)
    with ledger.write() as tx:
        tx.execute(t.delivery.update().values(state="failed", reason="test"))
    for name in FROZEN_DELIVERY:
        with pytest.raises(sa.exc.DBAPIError, match="only its state"), ledger.write() as tx:
            tx.execute(t.delivery.update().values({name: t.delivery.c[name]}))
    with pytest.raises(sa.exc.DBAPIError, match="only its state"), ledger.write() as tx:
        tx.execute(t.delivery.delete())
    assert {*FROZEN_DELIVERY, "state", "reason"} == {column.name for column in t.delivery.columns}


@pytest.mark.parametrize(
    "change",
    [
        {"sealed": None}, {"salt": None}, {"sealed": None, "salt": None, "commitment": b"x"}, {"sealed": b"x", "salt": b"y"},
        {"sealed": None, "salt": None, "id": 999},
    ],
    ids=str,
)  # fmt: skip
def test_erasing_is_the_one_change_and_nothing_goes_with_it(ledger, change):
    a_small_ledger(ledger)
    with pytest.raises(sa.exc.DBAPIError, match="rows are only added"), ledger.write() as tx:
        tx.execute(t.address.update().where(t.address.c.id == 1).values(**change))


# ── an older ledger ──


def test_what_was_there_before_is_adopted_and_holds_from_then_on(database_url, tmp_path):
    ledger_room.Seal.make(tmp_path / "k")
    ledger = Ledger(database_url, ledger_room.Seal.from_file(tmp_path / "k"))
    config = Config()
    config.set_main_option("script_location", str(Path(ledger_room.__file__).parent / "migrations"))
    with ledger.write() as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, "0003")
        for name, rows in _OLDER.items():
            for row in rows:
                columns = ", ".join(f'"{column}"' for column in row)
                tx.execute(sa.text(f'INSERT INTO "{name}" ({columns}) VALUES ({", ".join(f":{c}" for c in row)})'), row)
        for n in range(3):
            tx.execute(sa.text("INSERT INTO address (sealed) VALUES (:sealed)"), {"sealed": ledger.seal.seal(number(n))})
    ledger.migrate()

    with ledger.database.snapshot() as tx:
        left_to_the_desk = tx.execute(sa.select(t.callout.c.step, t.callout.c.next_step).where(t.callout.c.id == 99)).one()
        assert tuple(left_to_the_desk) == ("door", None)
        found = look(ledger, tx)
        kept = {name: tx.execute(sa.select(sa.func.count()).select_from(t.metadata.tables[name])).scalar() for name in _OLDER}
    assert found.holds, [str(place.first) for place in found.places]
    assert kept | {"entry": len(_OLDER["entry"])} == {name: len(rows) for name, rows in _OLDER.items()}
    with pytest.raises(sa.exc.DBAPIError, match="rows are only added"), ledger.write() as tx:
        tx.execute(t.entry.update().values(who="x"))
    ledger.close()


def _entry(name: str, n: int, previous: str, body: str = "{}") -> dict:
    row = {"chain": name, "n": n, "at": 5, "kind": "test", "who": "", "body": body, "previous": previous}
    return row | {"hash": chain.entry_hash(name, n, 5, "test", "", body, previous)}


_FIRST = _entry("alert:1", 1, "0" * 64)
_OLDER = {
    "alert": [
        {
            "id": 1, "event_key": "e", "sender": "s", "identifier": "i", "sender_code": "", "source": "", "form": "", "msg_type": "Alert",
            "status": "Actual", "scope": "Public", "event_code": "", "event": "", "level": "red", "headline": "", "issuer": "", "sent": 1,
            "received": 1, "expires": 2, "state": "closed", "stand_down": False, "sha256": "", "doubt": "hold", "drafted_by": "", "understood": "{}",
        }
    ],
    "batch": [{"id": 1, "alert_id": 1, "rule_id": 1, "channel": "sms", "lane": "alarm", "purpose": "alarm", "wording_id": 1, "size": 1, "state": "accepted"}],
    "delivery": [{"batch_id": 1, "seq": 1, "alert_id": 1, "channel": "sms", "purpose": "alarm", "region": "3", "address_id": 1, "synthetic": True}],
    "receipt": [
        {
            "batch_id": 1, "first_seq": 1, "last_seq": 1, "fence": 1, "attempt": 1, "origin": "answer", "state": "accepted", "code": "", "detail": "",
            "peer": "p", "ref": "r", "recorded": 1,
        }
    ],
    "entry": [_FIRST, _entry("alert:1", 2, _FIRST["hash"], '{"a":1}')],
    "chain": [{"name": "alert:1", "n": 2, "hash": _entry("alert:1", 2, _FIRST["hash"], '{"a":1}')["hash"]}, {"name": "house", "n": 0, "hash": "0" * 64}],
    "callout": [
        {"id": 1, "alert_id": 1, "duty": "acknowledge", "region": "3", "state": "open", "step": "deputy", "opened": 1, "due": 1},
        {"id": 99, "alert_id": 1, "duty": "release", "region": "3", "state": "open", "step": "deputies", "opened": 1, "due": 2, "next_step": 2},
    ],
    "asked": [{"callout_id": 1, "post_id": n, "rung": "deputy", "at": 1} for n in (1, 2)],
    "called": [{"callout_id": 1, "batch_id": 1, "seq": 1, "post_id": 1, "rung": "deputy", "at": 1}],
    "reply": [
        {
            "alert_id": alert_id, "verb": "other", "how": "sms", "peer": "p", "said": b"", "counts": "{}", "who": "", "settled": 0, "flag": "",
            "address": b"", "recorded": 1,
        }
        for alert_id in (1, None)
    ],
    "wording": [{"alert_id": 1, "channel": "sms", "audience": "post", "purpose": "alarm", "language": "zh", "text": "测", "units": 1, "template": "", "notes": "[]"}],
    "refused": [{"received": 1, "source": "", "sha256": "", "size": 1, "raw": b"x", "reason": "r"}],
    "person": [{"id": 1, "key": "P1", "name": b"n", "synthetic": True, "test": False}],
}  # fmt: skip


# ── erasing ──


def test_a_person_who_was_erased_is_gone_and_the_ledger_verifies(ledger):
    a_small_ledger(ledger)
    residents(ledger, [])  # nobody is in the roster any more
    with ledger.write() as tx:
        found = erasing.erase(tx, "P1", "asked for it", "测试值班领导", 10)

    assert (found.addresses, found.kept, found.replies) == (1, 0, 1)
    with ledger.database.snapshot() as tx:
        assert look(ledger, tx).holds, [str(place.first) for place in look(ledger, tx).places]
        rows = [row for name in ("address", "reply", "person") for row in tx.execute(sa.select(t.metadata.tables[name])).all()]
        assert tx.execute(sa.select(t.person.c.name).where(t.person.c.key == "P1")).scalar() is None
        [body] = tx.execute(sa.select(t.entry.c.body).where(t.entry.c.kind == "person.erased")).scalars()
    assert ledger.seal.seal(number(1)) not in [value for row in rows for value in row]
    assert json.loads(body)["reason"] == "asked for it" and "154" not in body and "测1" not in body
    shown = [row["address"] for row in ledger.deliveries(alert_id=1)]
    assert "(erased)" in shown and any("****" in one for one in shown)


def test_what_was_taken_out_without_an_entry_is_found(ledger):
    a_small_ledger(ledger)
    with ledger.write() as tx:  # the triggers allow it
        tx.execute(t.address.update().where(t.address.c.id == 2).values(sealed=None, salt=None))
        tx.execute(t.reply.update().where(t.reply.c.id == 2).values(said=None, address=None, salt=None))
    with ledger.read() as tx:
        texts = [str(place.first) for place in look(ledger, tx).places]
    assert any("address 2, column sealed: was taken out, and no entry says" in text for text in texts), texts


def test_nobody_is_erased_who_still_serves_or_is_unknown_and_a_shared_number_stays(ledger):
    a_small_ledger(ledger)
    with pytest.raises(NotAllowed, match="roster in force"), ledger.write() as tx:
        erasing.erase(tx, "P1", "r", "w", 10)
    with pytest.raises(NotFound), ledger.write() as tx:
        erasing.erase(tx, "nobody", "r", "w", 10)
    residents(ledger, [number(2)])
    with ledger.write() as tx:
        tx.execute(t.alert.update().values(state="active"))
    with pytest.raises(NotAllowed, match="in force"), ledger.write() as tx:
        erasing.erase(tx, "P2", "r", "w", 10)
    with ledger.write() as tx:
        tx.execute(t.alert.update().values(state="closed"))
        assert erasing.erase(tx, "P2", "r", "w", 10).kept == 1
        tx.execute(t.callout.update().where(t.callout.c.id == 1).values(state="open"))
        post = tx.execute(sa.select(t.callout.c.post_id).where(t.callout.c.id == 1)).scalar()
        key = tx.execute(
            sa.select(t.person.c.key).join(t.post, t.post.c.person_id == t.person.c.id).where(t.post.c.id == post)
        ).scalar()
        with pytest.raises(NotAllowed, match="still owes"):
            erasing.erase(tx, key, "r", "w", 10)


def test_erasing_needs_a_duty_leader_and_a_reason(sqlite_story):
    story = sqlite_story
    with pytest.raises(NotAllowed, match="DUTY_LEADER"):
        story.gateway.erase("x", "r", story.operator("DUTY_OFFICER"))
    with pytest.raises(NotAllowed, match="reason"):
        story.gateway.erase("x", " ", story.operator("DUTY_LEADER"))


def test_a_person_who_comes_back_has_a_name_and_a_number_again(ledger):
    a_small_ledger(ledger)
    residents(ledger, [])
    with ledger.write() as tx:
        erasing.erase(tx, "P1", "r", "w", 10)
    people.replace(
        ledger.database, ledger.seal, [Person("P1", "测甲", True, number(1), "")], [Post("P1", "VILLAGE_HEAD", "330521115201", "A")],
        [], iter(()), who="测", now=20,
    )  # fmt: skip
    with ledger.read() as tx:
        persons, _, _ = people.read(tx, ledger.seal)
        assert [(one.name, one.phone) for one in persons] == [("测甲", number(1))]
        assert look(ledger, tx).holds


# ── anchors that leave ──


class Kept:
    """A way out that fails as often as it is told to."""

    name = "kept"

    def __init__(self, fails: int = 0) -> None:
        self.fails, self.files = fails, {}

    def take(self, name: str, text: str) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError("not mounted")
        self.files[name] = text


def test_an_anchor_is_made_every_day_and_when_an_alert_is_over_and_leaves_until_it_has_left(sqlite_story, tmp_path):
    story = sqlite_story
    folder, other = tmp_path / "share", Kept(fails=1)
    folder.mkdir()
    house = story.gateway.house
    house.ways_out = (Folder(folder), other)
    sent = story.submit(YELLOW)
    story.work()
    story.clock.forward(hours=1)
    story.gateway.approve(story.submit(CANCEL, by=story.operator("DUTY_OFFICER")).alert_id, story.operator("SHIFT_LEAD"))
    while "alert.covered" not in story.entries(sent):
        story.gateway.sweep()
    story.clock.forward(days=1)
    story.work()

    proving.leave(house)
    assert other.files.keys() < {path.name for path in folder.iterdir()}
    proving.leave(house)
    assert other.files.keys() == {path.name for path in folder.iterdir()}
    found = [json.loads(path.read_text("utf-8")) for path in sorted(folder.iterdir())]
    assert {"day", "closed"} == {one["why"] for one in found} and found[-1]["at"] - found[0]["at"] >= 86_400_000
    assert [one["number"] for one in found] == list(range(1, len(found) + 1))
    assert f"alert:{sent.alert_id}" in {name for one in found for name in one["heads"]}
    assert story.gateway.verify(anchor=path_of(folder, found[-1]).read_text("utf-8")).holds
    with story.gateway.ledger.read() as tx:
        assert tx.execute(sa.select(sa.func.count()).where(t.anchor.c.left_at.is_(None))).scalar() == 0


def path_of(folder: Path, document: dict) -> Path:
    return folder / f"anchor-{document['ledger']}-{document['number']:06d}.json"


def test_health_says_when_no_anchor_leaves(sqlite_story):
    def check():
        return next(one for one in sqlite_story.gateway.health().checks if one.name == "anchors")

    assert (check().colour, "[anchor]" in check().text) == ("yellow", True)
    house = sqlite_story.gateway.house
    house.ways_out = (Kept(fails=99),)
    sqlite_story.work()
    assert check().colour == "green"
    proving.leave(house)
    sqlite_story.clock.forward(hours=27)
    assert check().colour == "yellow"
    house.ways_out = (Kept(),)
    sqlite_story.work()
    proving.leave(house)
    assert check().colour == "green"
    assert errands.ANCHORS in sqlite_story.gateway.errands()
    assert sqlite_story.gateway.run_errands(errands.ANCHORS) > 0


def test_a_share_that_is_not_mounted_is_not_made(tmp_path):
    with pytest.raises(OSError):
        Folder(tmp_path / "nowhere").take("a.json", "{}")


def test_a_mail_never_leaves_without_tls(monkeypatch):
    """A server that knows no STARTTLS is told nothing: neither the password nor the anchor."""
    said: list[bytes] = []

    class Server(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            for line in self.rfile:
                said.append(line)
                self.wfile.write(b"250 here\r\n" if line.upper().startswith((b"EHLO", b"HELO", b"QUIT")) else b"502 no\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mail = Mail("127.0.0.1", server.server_address[1], "a@x.example", ("b@x.example",), "user", "secret")
        with pytest.raises(proving.smtplib.SMTPException):
            mail.take("anchor.json", "{}")
        server.shutdown()
    assert not [line for line in said if line.upper().startswith((b"AUTH", b"MAIL", b"DATA"))]
    assert "secret" not in repr(mail)


def test_an_anchor_by_hand_is_the_next_one(sqlite_story):
    first, second = (json.loads(sqlite_story.gateway.anchor()) for _ in range(2))
    assert second["number"] == first["number"] + 1 and second["why"] == "by hand"
    assert second["heads"].keys() == {"house"}


# ── retention ──


def test_after_its_time_what_came_in_is_cleared_and_evidence_stays(sqlite_story):
    story = sqlite_story
    story.gateway.keep([("sms-loopback", "/x", {"h": "v"}, b"+8615400000001")] * 3)
    story.work()
    with story.gateway.ledger.write() as tx:
        tx.execute(t.dialled.insert().values(peer="p", address_id=1, at=story.gateway.house.now()))
    story.clock.forward(days=retention.DAYS - 1)
    story.work()
    assert _bodies(story) == 3
    story.clock.forward(days=2)
    story.work()
    assert _bodies(story) == 0
    with story.gateway.ledger.read() as tx:
        [body] = tx.execute(sa.select(t.entry.c.body).where(t.entry.c.kind == "retention.cleared")).scalars()
        assert not tx.execute(sa.select(t.dialled)).all()
    assert (json.loads(body)["callbacks"], json.loads(body)["dialled"]) == (3, 1)
    assert story.gateway.verify().holds


def _bodies(story) -> int:
    with story.gateway.ledger.read() as tx:
        return tx.execute(sa.select(sa.func.count()).where(t.inbox.c.body != b"")).scalar()


# ── a whole event ──


def test_a_whole_event_of_the_county_verifies_while_it_runs_and_after(story):
    sent = story.submit(YELLOW)
    story.work()
    assert not (found := story.gateway.verify(sent.alert_id)).places, [str(place.first) for place in found.places]
    story.clock.forward(hours=1)
    story.gateway.approve(story.submit(CANCEL, by=story.operator("DUTY_OFFICER")).alert_id, story.operator("SHIFT_LEAD"))
    story.work()
    assert not (found := story.gateway.verify()).places, [str(place.first) for place in found.places]
    assert found.deliveries > 1000


# ── settings ──


def test_the_settings_say_where_anchors_go_and_how_long_things_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", "secret")
    text = '[county]\nname = "德清县"\nsignature = "德清应急"\n\n'
    mail = '[anchor]\nfolders = ["share"]\nsmtp = "mail.example:465"\nfrom = "a@x.example"\nto = ["b@x.example"]\npassword = "env:MAIL_PASSWORD"\n'
    (tmp_path / "broadcast.toml").write_text(text + mail + "[retention]\ndays = 365\n", encoding="utf-8")
    found = load(tmp_path)
    folder, sends = found.ways_out
    assert folder == Folder(tmp_path / "share") and found.retention_days == 365
    assert isinstance(sends, Mail) and (sends.host, sends.port, sends.password) == ("mail.example", 465, "secret")
    for wrong in ("[retention]\ndays = 179\n", '[anchor]\nsmtp = "mail.example:465"\n', '[anchor]\nsmtp = "mail.example"\n'):
        (tmp_path / "broadcast.toml").write_text(text + wrong, encoding="utf-8")
        with pytest.raises(InvalidFiles):
            load(tmp_path)


def test_an_address_that_two_imports_bring_is_one_row_and_is_covered_once(ledger):
    sealed = [ledger.seal.seal(number(n)) for n in range(5)]
    with ledger.write() as tx:
        first = proof.add_addresses(tx, sealed[:3], 1)
    with ledger.write() as tx:
        second = proof.add_addresses(tx, [*sealed, *sealed], 2)
    assert len(second) == 5 and second.items() >= first.items()
    with ledger.read() as tx:
        assert look(ledger, tx).holds


def test_an_alert_that_is_over_is_covered_once_nobody_holds_anything_of_it(sqlite_story):
    sent = sqlite_story.submit(YELLOW)
    sqlite_story.work()
    sqlite_story.clock.now += timedelta(days=2)
    while "alert.covered" not in sqlite_story.entries(sent):
        sqlite_story.gateway.sweep()
    kinds = sqlite_story.entries(sent)
    assert kinds[-1] == "alert.covered" and kinds.count("deliveries.covered") == kinds.count("batch.planned")
    assert sqlite_story.gateway.verify(sent.alert_id).holds
