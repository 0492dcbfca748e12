"""Whose answer it is: an answer closes the duties of that person for that alert, and of nobody and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import count

import pytest
import sqlalchemy as sa

from broadcast.channels.base import Callback, Condition, Reply, Report, Standing, Verb
from broadcast.channels.loopback import Loopback
from broadcast.delivery import Receipt, State
from broadcast.errors import LedgerUnavailable, NotFound
from broadcast.gateway import choosing, confirming, keys, links
from broadcast.ledger import Ledger, Seal, alerts, replies, sending
from broadcast.ledger import tables as t
from broadcast.ledger.replies import Told
from broadcast.ledger.sending import Later, Run

from ..ledger_rows import an_address
from .stories import warning

_NUMBERS = count(1)
LATER = Later(rest=5_000, decide=10**13)


class Duties:
    """Persons, their posts and numbers, and alerts that ask them for an answer."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        with ledger.write() as tx:
            values = {"began": 1, "imported": 1, "in_force": True, "imported_by": "测"}
            self.roster = tx.execute(t.roster.insert().values(**values).returning(t.roster.c.id)).scalar_one()

    def person(self, phone: str, posts: int = 1) -> list[int]:
        """Somebody new with this number; returns the ids of their posts."""
        n = next(_NUMBERS)
        with self.ledger.write() as tx:
            values = {"key": f"p{n}", "name": self.ledger.seal.seal(f"测{n}"), "synthetic": True, "test": False}
            person = tx.execute(t.person.insert().values(**values).returning(t.person.c.id)).scalar_one()
            for channel in ("sms", "voice"):
                tx.execute(
                    t.target.insert().values(
                        roster_id=self.roster, audience="post", channel=channel, region="", person_id=person,
                        address_id=an_address(self.ledger, tx, phone), synthetic=True, test=False,
                    )
                )  # fmt: skip
            made = []
            for _ in range(posts):
                values = {"person_id": person, "role": "VILLAGE_HEAD", "region": f"33052111520{next(_NUMBERS)}", "rank": "A"}
                made.append(tx.execute(t.post.insert().values(**values).returning(t.post.c.id)).scalar_one())
            return made

    def alert(self, state: str = "active", purpose: str = "alarm", number: int | None = None) -> int:
        n = next(_NUMBERS)
        with self.ledger.write() as tx:
            alert_id = tx.execute(
                t.alert.insert()
                .values(
                    **({"id": number} if number else {}), event_key=f"e{n}", sender="测试", identifier=f"测试_{n}", sender_code="", source="",
                    form="json", msg_type="Alert", status="Actual", scope="Public", event_code="", event="", level="red", headline="",
                    issuer="", sent=0, received=0, expires=10**13, state=state, stand_down=False, sha256="", doubt="resend", drafted_by="",
                    understood="{}",
                )
                .returning(t.alert.c.id)
            ).scalar_one()  # fmt: skip
            for channel in ("sms", "voice"):
                tx.execute(
                    t.wording.insert().values(
                        alert_id=alert_id, channel=channel, audience="post", purpose=purpose, language="zh", text="测", units=1, template="", notes="[]"
                    )
                )  # fmt: skip
        return alert_id

    def owe(self, alert_id: int, posts: Sequence[int], duty: str = "acknowledge") -> None:
        with self.ledger.write() as tx:
            for post in posts:
                tx.execute(
                    t.callout.insert().values(
                        alert_id=alert_id, duty=duty, region="", post_id=post, state="open", step="called", opened=1, due=2
                    )
                )

    def batch(self, alert_id: int, to: Sequence[tuple[int, str]], channel: str = "sms", purpose: str = "alarm") -> int:
        """A planned batch: (post, number) each."""
        with self.ledger.write() as tx:
            words = sa.select(t.wording.c.id).where(t.wording.c.alert_id == alert_id, t.wording.c.channel == channel)
            batch_id = tx.execute(
                t.batch.insert()
                .values(
                    alert_id=alert_id, rule_id=1, channel=channel, lane="alarm", purpose=purpose, wording_id=tx.execute(words).scalar_one(),
                    size=len(to), state="planned", due=0,
                )
                .returning(t.batch.c.id)
            ).scalar_one()  # fmt: skip
            rows = [
                {
                    "batch_id": batch_id, "seq": seq, "alert_id": alert_id, "channel": channel, "purpose": purpose, "region": "330521",
                    "post_id": post, "address_id": an_address(self.ledger, tx, phone), "synthetic": True,
                }
                for seq, (post, phone) in enumerate(to, 1)
            ]  # fmt: skip
            tx.execute(t.delivery.insert(), rows)
        return batch_id

    def sent(self, batch_id: int, ref: str = "g", peer: str = "p", per_call: int = 1000, only: int | None = None) -> None:
        """The provider takes all of it, or its first `only`; certainly nothing of the rest left."""
        with self.ledger.write() as tx:
            row, pieces = sending.owed(tx, batch_id, 10_000)
            held = sending.claim(self.ledger.database, tx, row, pieces, peer=peer, holder="w", per_call=per_call, now=10_000)
            seqs = tuple(piece.seq for piece in pieces)[:only]
            rest = [piece.seq for piece in pieces][len(seqs) :]
            run = Run(seqs, tuple(Receipt(State.ACCEPTED, ref=ref) for _ in seqs))
            sending.answer(tx, self.ledger.database, held, run, progress=rest[-1] if rest else None, later=LATER, now=10_000)
            if rest:
                sending.defer(tx, held, "HTTP 503", 10_000, 10_000)

    def take(self, verb: str = "acknowledged", **told) -> int:
        values = {"how": "sms", "peer": "p", "said": b"", "at": None, **told}
        if "address" in values:
            values["address"] = self.ledger.seal.seal(values["address"])
        with self.ledger.write() as tx:
            return replies.take(tx, Told(verb, **values), 20_000)

    def open(self, alert_id: int) -> list[int]:
        """The posts that still owe an answer."""
        with self.ledger.read() as tx:
            owing = sa.select(t.callout.c.post_id).where(t.callout.c.alert_id == alert_id, t.callout.c.state == "open")
            return list(tx.execute(owing.order_by(t.callout.c.post_id)).scalars())

    def flags(self) -> list[str]:
        with self.ledger.read() as tx:
            return list(tx.execute(sa.select(t.reply.c.flag).order_by(t.reply.c.id)).scalars())

    def states(self, batch_id: int) -> list[str | None]:
        with self.ledger.read() as tx:
            mine = sa.select(t.delivery.c.state).where(t.delivery.c.batch_id == batch_id)
            return list(tx.execute(mine.order_by(t.delivery.c.seq)).scalars())


@pytest.fixture
def duties(ledger) -> Duties:
    return Duties(ledger)


PHONE, OTHER = "+8615400000001", "+8615400000002"


def test_an_answer_closes_all_duties_of_that_person_for_that_alert_and_no_others(duties):
    mine, theirs = duties.person(PHONE, posts=2), duties.person(OTHER)
    first, second = duties.alert(), duties.alert()
    for alert_id in (first, second):
        duties.owe(alert_id, [*mine, *theirs])
    batch_id = duties.batch(first, [(mine[0], PHONE), (theirs[0], OTHER)])
    duties.sent(batch_id)

    assert duties.take(delivery=(batch_id, 1)) == 2
    assert duties.take(delivery=(batch_id, 1)) == 0  # a duplicate

    assert duties.open(first) == theirs
    assert duties.open(second) == [*mine, *theirs]
    assert duties.flags() == ["", "nothing of theirs was open"]


@pytest.mark.parametrize("verb", ["declined", "other"])
def test_who_declines_or_says_something_else_owes_an_answer_as_before(duties, verb):
    (post,), alert_id = duties.person(PHONE), duties.alert()
    duties.owe(alert_id, [post])
    batch_id = duties.batch(alert_id, [(post, PHONE)])
    duties.sent(batch_id)
    assert duties.take(verb, delivery=(batch_id, 1)) == 0
    assert duties.open(alert_id) == [post]


def test_who_answers_the_first_provider_is_heard_also_when_the_rest_of_the_batch_went_to_the_second(duties):
    (post,), (other,), alert_id = duties.person(PHONE), duties.person(OTHER), duties.alert()
    duties.owe(alert_id, [post, other])
    batch_id = duties.batch(alert_id, [(post, PHONE), (other, OTHER)], "voice")
    duties.sent(batch_id, peer="first", per_call=1, only=1)
    duties.sent(batch_id, peer="second", per_call=1)

    assert duties.take(delivery=(batch_id, 1), peer="a third") == 0  # it was never given anything
    assert duties.take(delivery=(batch_id, 1), peer="first") == 1
    assert duties.take(delivery=(batch_id, 2), peer="second") == 1
    assert duties.open(alert_id) == []


def test_a_key_pressed_when_asked_to_approve_does_not_acknowledge_the_alarm(duties):
    (post,), alert_id = duties.person(PHONE), duties.alert()
    duties.owe(alert_id, [post])
    batch_id = duties.batch(alert_id, [(post, PHONE)], "voice", purpose="release")
    duties.sent(batch_id, ref="call-1")
    assert duties.take(delivery=(batch_id, 1)) == duties.take(ref="call-1") == 0
    assert duties.open(alert_id) == [post]


def test_a_reply_by_number_is_of_the_one_alert_that_was_sent_to_it(duties):
    (post,) = duties.person(PHONE)
    old, new = duties.alert(), duties.alert()
    duties.owe(new, [post])
    duties.sent(duties.batch(old, [(post, PHONE)]))
    waits = duties.batch(new, [(post, PHONE)])

    assert duties.take(address=PHONE) == 0  # what it answers is the old one: the new one has not left yet
    assert duties.open(new) == [post]
    duties.sent(waits)
    assert duties.take(address=PHONE) == 1


def test_a_reply_by_number_to_an_alert_that_was_taken_over_answers_nothing_of_the_next(duties):
    (post,) = duties.person(PHONE)
    old, new = duties.alert(), duties.alert()
    duties.sent(duties.batch(old, [(post, PHONE)]))
    duties.owe(old, [post])
    duties.owe(new, [post])
    with duties.ledger.write() as tx:
        alerts.withdraw(tx, old, "taken over", 5)
        tx.execute(t.alert.update().where(t.alert.c.id == old).values(state="superseded"))
    assert duties.take(address=PHONE) == 0
    assert duties.open(new) == [post]
    duties.sent(duties.batch(new, [(post, PHONE)]))
    assert duties.take(address=PHONE, alert_ending=f"{old:03d}") == 0  # it says itself that it is of the old one
    assert duties.take(address=PHONE, alert_ending=f"{new:03d}") == 1


def test_a_number_that_was_asked_to_approve_another_warning_has_not_said_which(duties):
    (post,) = duties.person(PHONE)
    alarm, waiting = duties.alert(), duties.alert("waiting", "release")
    duties.owe(alarm, [post])
    with duties.ledger.write() as tx:
        tx.execute(
            t.callout.insert().values(
                alert_id=waiting, duty="release", region="", state="open", step="principals", opened=1, due=2
            )
        )
    duties.sent(duties.batch(alarm, [(post, PHONE)]))
    duties.sent(duties.batch(waiting, [(post, PHONE)], purpose="release"))
    assert duties.take(address=PHONE) == 0
    assert duties.flags() == ["several alerts are open for that number"]


def test_two_persons_with_one_number_are_answered_for_together(duties):
    (one,), (other,), alert_id = duties.person(PHONE), duties.person(PHONE), duties.alert()
    duties.owe(alert_id, [one, other])
    duties.sent(duties.batch(alert_id, [(one, PHONE)]))
    assert duties.take(address=PHONE) == 2


def test_a_reply_that_comes_before_our_own_commit_is_not_lost(duties):
    (post,), alert_id = duties.person(PHONE), duties.alert()
    duties.owe(alert_id, [post])
    batch_id = duties.batch(alert_id, [(post, PHONE)], "voice")

    assert duties.take(ref="call-1", how="voice") == 0
    assert duties.take(ref="call-1", how="voice") == 0  # pushed twice
    with duties.ledger.write() as tx:
        assert replies.take_early(tx, 20_000) == 0
    duties.sent(batch_id, ref="call-1")
    with duties.ledger.write() as tx:
        assert replies.take_early(tx, 21_000) == 2
    with duties.ledger.write() as tx:
        assert replies.take_early(tx, 22_000) == 0

    assert duties.open(alert_id) == []
    assert duties.flags()[2:] == ["", "nothing of theirs was open"]
    with duties.ledger.read() as tx:
        rows = tx.execute(sa.select(t.reply).order_by(t.reply.c.id)).all()
    assert [row.again_of for row in rows] == [None, None, rows[0].id, rows[1].id]
    assert (rows[2].how, rows[2].alert_id, rows[2].batch_id, rows[2].seq) == ("voice", alert_id, batch_id, 1)


def test_a_reply_whose_reference_stays_unknown_is_not_looked_for_for_ever(duties):
    (post,), alert_id = duties.person(PHONE), duties.alert()
    duties.take(ref="call-1")
    duties.sent(duties.batch(alert_id, [(post, PHONE)], "voice"), ref="call-1")
    with duties.ledger.read() as tx:
        assert replies.has_early(tx, 21_000)
        assert not replies.has_early(tx, 20_000 + replies.KEEP_EARLY + 1)


def test_an_answer_withdraws_what_waits_also_within_a_batch_that_a_worker_holds(duties):
    people = [(duties.person(f"+861540000000{n}")[0], f"+861540000000{n}") for n in range(1, 6)]
    alert_id = duties.alert()
    duties.owe(alert_id, [post for post, _ in people])
    voice, sms = duties.batch(alert_id, people, "voice"), duties.batch(alert_id, people)
    with duties.ledger.write() as tx:
        row, pieces = sending.owed(tx, voice, 10_000)
        called = tuple(piece for piece in pieces if piece.seq != 1)  # the first one's budget is spent: they stay behind
        sending.claim(duties.ledger.database, tx, row, called, peer="p", holder="w", per_call=1, now=10_000, partial=True)
    for post, _ in people[:3]:
        duties.take(delivery=(sms, [one for one, _ in people].index(post) + 1), peer="")

    # The second one's call is under way; the first and the third have not been called yet.
    assert duties.states(voice) == ["cancelled", None, "cancelled", None, None]
    assert duties.states(sms) == ["cancelled"] * 3 + [None] * 2


# --- at the same moment


def at_the_same_moment(ledger: Ledger, first: Callable, between: Callable, second: Callable) -> list[object]:
    """`first` begins its transaction; `between` runs in one of its own and waits for it; then `first` goes on with `second`."""
    got: list[object] = []

    def run() -> None:
        try:
            with ledger.write() as tx:
                got.append(between(tx))
        except LedgerUnavailable as error:
            got.append(error)

    thread = threading.Thread(target=run)
    with ledger.write() as tx:
        first(tx)
        thread.start()
        _until_it_waits(ledger, thread)
        second(tx)
    thread.join()
    return got


def _until_it_waits(ledger: Ledger, thread: threading.Thread) -> None:
    if ledger.database.is_sqlite:
        return  # one writer at a time: it waits at its beginning
    waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
    for _ in range(1000):
        with ledger.read() as tx:
            if tx.execute(waiting).scalar_one() or not thread.is_alive():
                return
        time.sleep(0.005)


def people_of(duties: Duties, n: int = 3) -> list[tuple[int, str]]:
    return [(duties.person(f"+861540000000{one}")[0], f"+861540000000{one}") for one in range(1, n + 1)]


def cancel(alert_id: int) -> tuple[Callable, Callable]:
    """The two steps in which an alert is taken over: the alert, then all that hangs on it."""
    return (
        lambda tx: tx.execute(t.alert.update().where(t.alert.c.id == alert_id).values(state="cancelled")),
        lambda tx: alerts.withdraw(tx, alert_id, "cancelled", 5),
    )


def held(duties: Duties, batch_id: int) -> sending.Held:
    with duties.ledger.write() as tx:
        row, pieces = sending.owed(tx, batch_id, 10_000)
        return sending.claim(duties.ledger.database, tx, row, pieces, peer="p", holder="w", per_call=1, now=10_000)


@pytest.mark.parametrize("what", ["answer", "doubt", "defer", "skip"])
def test_what_a_call_became_is_written_also_when_its_alert_is_cancelled_at_that_moment(duties, what):
    alert_id = duties.alert()
    batch_id = duties.batch(alert_id, people_of(duties), "voice")
    mine = held(duties, batch_id)
    database, run = duties.ledger.database, Run((1,), (Receipt(State.ACCEPTED, ref="g"),))

    def write(tx) -> object:
        return {
            "answer": lambda: sending.answer(tx, database, mine, run, progress=2, later=LATER, now=20_000),
            "doubt": lambda: sending.doubt(tx, batch_id, mine.fence, [1], "?", deduplicates=False, later=LATER, now=20_000),
            "defer": lambda: sending.defer(tx, mine, "503", 30_000, 20_000),
            "skip": lambda: sending.skip(tx, database, mine, progress=2, later=LATER, now=20_000),
        }[what]()

    first, second = cancel(alert_id)
    [got] = at_the_same_moment(duties.ledger, first, write, second)
    assert not isinstance(got, Exception)
    own = {"answer": "accepted", "doubt": "in_doubt"}.get(what)
    assert duties.states(batch_id) == [own, None, None]
    with duties.ledger.read() as tx:
        of_batch = tx.execute(sa.select(t.batch.c.state).where(t.batch.c.id == batch_id)).scalar_one()
    assert of_batch == "cancelled"  # nothing more of it leaves


def test_an_answer_of_a_person_and_a_cancel_do_not_kill_each_other(duties):
    alert_id, people = duties.alert(), people_of(duties)
    duties.owe(alert_id, [post for post, _ in people])
    batch_id = duties.batch(alert_id, people)
    told = Told("acknowledged", "link", "", b"", None, (batch_id, 1))
    first, second = cancel(alert_id)
    assert at_the_same_moment(duties.ledger, first, lambda tx: replies.take(tx, told, 20_000), second) == [0]


def test_a_person_who_answers_while_a_worker_claims_is_not_called(duties):
    """The worker has looked at the batch; it must not call for what was withdrawn between its look and its claim."""
    alert_id, people = duties.alert(), people_of(duties)
    duties.owe(alert_id, [post for post, _ in people])
    batch_id = duties.batch(alert_id, people, "voice")
    told = Told("acknowledged", "link", "", b"", None, (batch_id, 1))
    looked: list = []

    def look_and_claim(tx) -> sending.Held | None:
        looked.append(sending.owed(tx, batch_id, 10_000))
        return sending.claim(duties.ledger.database, tx, *looked[0], peer="p", holder="w", per_call=1, now=10_000)

    [mine] = at_the_same_moment(duties.ledger, lambda tx: replies.take(tx, told, 5_000), look_and_claim, lambda tx: None)
    assert mine is not None
    with duties.ledger.read() as tx:
        assert sending.still_owed(tx, mine, [1]) == []


def test_a_batch_that_a_worker_has_just_claimed_is_not_moved_to_another_channel(story):
    """`not_now` looks again, and waits for the claim: what is being called is not cancelled under the caller's hands."""
    house = story.gateway.house
    story.gateway.submit(story.gateway.read(warning(story, area="测试村", codes=("330521115201",))))
    batch_id = next(number for lane, number in story.rung if lane == "alarm" and channel_of(story, number) == "voice")
    with house.ledger.read() as tx:
        row, pieces = sending.owed(tx, batch_id, house.now())
    with house.ledger.write() as tx:
        assert sending.claim(
            house.ledger.database, tx, row, pieces, peer="voice-loopback", holder="w", per_call=1, now=house.now()
        )
    choosing.not_now(house, row, house.now() + 10**8, "nobody may be called")
    with house.ledger.read() as tx:
        own = tx.execute(sa.select(t.delivery.c.state).where(t.delivery.c.batch_id == batch_id)).scalars().all()
        assert set(own) == {None}


def channel_of(story, batch_id: int) -> str:
    with story.gateway.ledger.read() as tx:
        return tx.execute(sa.select(t.batch.c.channel).where(t.batch.c.id == batch_id)).scalar_one()


# --- links


@pytest.fixture
def confirmed(sqlite_story):
    """A story whose county has a public address for the page."""
    house = sqlite_story.gateway.house
    house.county = type(house.county)(house.county.name, house.county.signature, public_url="https://example.invalid")
    return sqlite_story


def a_link(story, state: str = "active") -> tuple[Duties, int, int, str]:
    duties = Duties.__new__(Duties)
    duties.ledger = story.gateway.ledger
    with duties.ledger.read() as tx:
        duties.roster = tx.execute(sa.select(t.roster.c.id).where(t.roster.c.in_force)).scalar_one()
    (post,), alert_id = duties.person(PHONE), duties.alert(state)
    duties.owe(alert_id, [post])
    batch_id = duties.batch(alert_id, [(post, PHONE)])
    duties.sent(batch_id)
    return duties, alert_id, batch_id, links.token(story.gateway.house, batch_id, 1)


def test_a_link_confirms_its_own_duty_and_only_when_it_was_tapped(confirmed):
    duties, alert_id, _, token = a_link(confirmed)
    assert confirmed.gateway.confirmation(token).open
    assert duties.open(alert_id)
    assert not confirmed.gateway.confirm(token).open
    assert not confirmed.gateway.confirm(token).open  # twice is once
    assert duties.open(alert_id) == []
    assert duties.flags() == [""]


def test_links_that_are_forged_of_another_delivery_or_over_are_not_good(confirmed):
    house = confirmed.gateway.house
    duties, alert_id, batch_id, token = a_link(confirmed)
    batch, seq, signature = token.split("-", 2)
    name, upper = f"{batch}-{seq}", signature[:-1] + ("A" if signature[-1] != "A" else "B")
    forged = [
        f"{name}-{upper}",
        f"0{token}",
        f"{keys.base36(batch_id)}-2-{signature}",
        f"{keys.base36(batch_id + 1)}-1-{signature}",
        "",
    ]
    for one in [*forged, links.token(house, batch_id, 2), links.token(house, 10**9, 1), token + "\n"]:
        with pytest.raises(NotFound):
            confirming.confirm(house, one)
    assert duties.open(alert_id)
    with duties.ledger.write() as tx:
        tx.execute(t.alert.update().where(t.alert.c.id == alert_id).values(expires=house.now()))
    with pytest.raises(NotFound):
        confirming.confirm(house, token)


def test_a_link_of_an_alert_that_was_taken_over_confirms_nothing(confirmed):
    duties, alert_id, _, token = a_link(confirmed)
    with duties.ledger.write() as tx:
        alerts.withdraw(tx, alert_id, "taken over", 5)
        tx.execute(t.alert.update().where(t.alert.c.id == alert_id).values(state="superseded"))
    with pytest.raises(NotFound):
        confirming.confirm(confirmed.gateway.house, token)
    assert duties.flags() == []


def test_a_link_of_an_earlier_ledger_under_the_same_key_is_not_good(confirmed, tmp_path):
    _, _, batch_id, token = a_link(confirmed)
    new = Ledger(f"sqlite:///{tmp_path / 'new.db'}", Seal.from_file(tmp_path / "seal.key"))
    new.migrate()
    house = confirmed.gateway.house
    old, house.ledger = house.ledger, new
    try:
        assert links.read(house, links.token(house, batch_id, 1)) == (batch_id, 1)
        assert links.read(house, token) is None
    finally:
        house.ledger = old
        new.close()


# --- the inbox


class Odd(Loopback):
    """A channel that passes on what it was sent as it was: half characters, control characters, years that never were."""

    meanings: dict[bytes, object]

    def read(self, callback: Callback):
        return [self.meanings[callback.body]]


def test_one_letter_that_cannot_be_kept_does_not_keep_the_others_from_being_read(story):
    """A callback is unsigned: whoever knows its address must not be able to shut the inbox for everybody."""
    gateway = story.gateway
    far_end = gateway.house.ways["sms"].far_ends[0]
    meanings = {
        b"half a character": Report(Receipt(State.DELIVERED, code="\ud800", ref="r")),
        b"nothing": Report(Receipt(State.DELIVERED, code="a\0b", detail="\0", ref="r\0")),
        b"half a number": Report(Receipt(State.DELIVERED, ref="r"), address="\udfff"),
        b"half a region": Condition("system\0", Standing.ONLINE, region="\ud800", detail="\0"),
        b"half a word": Reply(Verb.OTHER, ref="x\0", said="\ud800"),
        b"good": Reply(Verb.OTHER, address=PHONE, said="收到"),
    }
    channel = Odd.__new__(Odd)
    channel.meanings = meanings
    far_end.channel = channel
    for body in [*meanings, b"good"]:
        gateway.keep([(far_end.peer.name, "/callbacks/x", {}, body)])
    while gateway.work_inbox():
        pass

    with gateway.ledger.read() as tx:
        kept = dict(tx.execute(sa.select(t.inbox.c.id, t.inbox.c.state)).all())
        told = list(tx.execute(sa.select(t.reply.c.verb)).scalars())
    assert "kept" not in kept.values() and list(kept.values())[-2:] == ["worked"] * 2
    assert len(told) >= 2
