"""Callbacks over HTTP: kept before they are answered, refused without a hint, and silent about numbers and secrets."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcast.channels import open_peer
from broadcast.channels.base import Answer, Callback, Capabilities
from broadcast.gateway import CountySettings, FarEnd, Gateway, House, Source, Way
from broadcast.ledger import Ledger, Seal, leases
from broadcast.ledger import tables as t
from broadcast.server import make_app
from broadcast.server.callbacks import ANSWER_SECONDS, BODY_CAP, KEEP_SECONDS

from ..conftest import Clock
from ..ledger_rows import a_batch, accepted, claim, number, states
from ..mas_house import PEER, a_report, mas_gateway
from ..serving import served

SECRET = "unguessable-4f1c"
PATIENCE = 20.0  # seconds after which a request counts as never answered
REPORT = a_report(number(1), "g1")


@dataclass
class Server:
    """The application, and a provider who calls it."""

    gateway: Gateway
    app: Callable[..., Awaitable[None]]

    async def posts(
        self,
        body: bytes | AsyncIterator[bytes],
        path: str = f"/callbacks/{PEER}/{SECRET}",
        *,
        address: str = "127.0.0.1",
        **headers: str,
    ) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False, client=(address, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await asyncio.wait_for(client.post(path, content=body, headers=headers), PATIENCE)

    def post(
        self, body: bytes | AsyncIterator[bytes], path: str = f"/callbacks/{PEER}/{SECRET}", **options: str
    ) -> httpx.Response:
        return asyncio.run(self.posts(body, path, **options))

    def post_at_once(self, bodies: Sequence[bytes]) -> list[int]:
        """All of them together; the status that each was answered with."""

        async def all_of_them() -> list[httpx.Response]:
            return await asyncio.gather(*(self.posts(body) for body in bodies))

        return [response.status_code for response in asyncio.run(all_of_them())]

    def get(self, path: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://gateway") as client:
                return await client.get(path)

        return asyncio.run(ask())

    def bodies(self) -> list[bytes]:
        """What has been committed to the inbox, seen by another connection."""
        with self.gateway.ledger.read() as tx:
            rows = tx.execute(sa.select(t.inbox.c.body).order_by(t.inbox.c.id)).scalars()
            return [self.gateway.ledger.seal.open_body(body) for body in rows]

    def rows(self) -> list[dict[str, object]]:
        with self.gateway.ledger.read() as tx:
            return [dict(row) for row in tx.execute(sa.select(t.inbox).order_by(t.inbox.c.id)).mappings()]


def serve(gateway: Gateway, **options: Sequence[str]) -> Server:
    return Server(gateway, make_app(gateway, {PEER: SECRET, "no-secret-yet": ""}, **options))


@pytest.fixture
def server(ledger: Ledger) -> Server:
    """On SQLite and on PostgreSQL."""
    return serve(mas_gateway(ledger, Clock()))


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Iterator[Ledger]:
    Seal.make(tmp_path / "ledger.key")
    made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", Seal.from_file(tmp_path / "ledger.key"))
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def sqlite_server(sqlite_ledger: Ledger) -> Server:
    return serve(mas_gateway(sqlite_ledger, Clock()))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another process holds the ledger's write lock."""
    other = sqlite3.connect(folder / "ledger.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


# ── kept before it is answered ──


def test_a_report_is_committed_before_the_first_byte_of_its_answer(server):
    seen: list[list[bytes]] = []
    app = server.app

    async def watched(scope, receive, send) -> None:
        async def watch(message) -> None:
            if message["type"] == "http.response.start":
                seen.append(server.bodies())
            await send(message)

        await app(scope, receive, watch)

    server.app = watched

    assert server.post(REPORT).status_code == 200
    assert seen == [[REPORT]]


def test_a_report_that_came_in_over_http_settles_its_delivery(server):
    ledger = server.gateway.ledger
    batch_id = a_batch(ledger)
    accepted(ledger, claim(ledger, batch_id, peer=PEER), "g1")

    response = server.post(REPORT)
    server.gateway.work_inbox()

    assert (response.status_code, response.content) == (200, b"OK")
    assert states(ledger, batch_id) == ["delivered", "accepted", "accepted", "accepted"]


def test_a_burst_is_kept_completely_in_few_commits(server):
    commits: list[object] = []
    sa.event.listen(server.gateway.ledger.database.engine, "commit", commits.append)
    bodies = [a_report(number(n), f"g{n}") for n in range(500)]

    assert server.post_at_once(bodies) == [200] * 500

    assert sorted(server.bodies()) == sorted(bodies)
    assert 1 <= len(commits) <= 10


def test_what_is_kept_is_the_body_to_the_byte_and_only_headers_that_a_provider_signs_with(server):
    headers = {
        "content-type": "application/json; charset=GBK",
        "authorization": "Basic c2VjcmV0",
        "webhook-id": "w1",
        "cookie": "a=b",
    }

    server.post('{"名": 1}'.encode("gbk"), f"/callbacks/{PEER}/{SECRET}?mobile=15400000001", **headers)

    (row,) = server.rows()
    assert (row["peer"], row["path"], row["state"]) == (PEER, f"/callbacks/{PEER}", "kept")
    assert json.loads(row["headers"]) == {"content-type": "application/json; charset=GBK", "webhook-id": "w1"}
    assert server.bodies() == ['{"名": 1}'.encode("gbk")]


_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers(), max_size=3)
_FIELDS = ("mobile", "msgGroup", "mgsGroup", "reportStatus", "errorCode", "submitDate", "receiveDate")
_NEARLY_REPORTS = st.dictionaries(
    st.sampled_from(_FIELDS),
    _VALUES | st.sampled_from(["15400000001", "g1", "DELIVRD", "20230705050000", "99999999999999", "\x00", "\ud800"]),
    max_size=7,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200) | (_NEARLY_REPORTS | st.lists(_NEARLY_REPORTS, max_size=3)).map(lambda one: json.dumps(one).encode())
)
def test_any_bytes_are_kept_and_answered_and_worked_on_later(server, body):
    assert server.post(body).status_code == 200

    row = server.rows()[-1]
    assert row["state"] == "kept"
    assert server.bodies()[-1] == body or body == b"\0"
    assert server.gateway.work_inbox() == 1
    assert server.rows()[-1]["state"] in ("worked", "bad")


@pytest.mark.parametrize(
    "body", [b"", b"<xml/>", b"\xff\xfe\x00", b"[[[[", b'{"mobile":"15400000001"}', b"15400000001 was reached"]
)
def test_garbage_is_kept_and_marked_bad_with_a_reason_that_tells_no_number(server, body):
    assert server.post(body).status_code == 200
    server.gateway.work_inbox()

    (row,) = server.rows()
    assert row["state"] == "bad" and row["reason"] and "154" not in str(row["reason"])


# ── refused ──


def test_a_stranger_is_not_told_what_was_wrong(ledger):
    server = serve(mas_gateway(ledger, Clock()), allow=[ip_network("10.1.0.0/16")])
    inside, outside = "10.1.2.3", "192.0.2.1"
    asked = [
        (f"/callbacks/{PEER}/wrong", inside),
        (f"/callbacks/{PEER}/{SECRET[:-1]}", inside),
        (f"/callbacks/{PEER}/{SECRET}x", inside),
        (f"/callbacks/{PEER}/密", inside),
        (f"/callbacks/{PEER}/%FF%00", inside),
        (f"/callbacks/mas-2/{SECRET}", inside),
        (f"/callbacks/no-secret-yet/{SECRET}", inside),
        ("/callbacks/no-secret-yet/%20", inside),
        (f"/callbacks/{PEER}/{SECRET}", outside),
        ("/callbacks/mas-2/wrong", outside),
    ]

    answers = [server.post(REPORT, path, address=address) for path, address in asked]

    assert {(one.status_code, one.content, tuple(sorted(one.headers.items()))) for one in answers} == {
        (404, b"", (("content-length", "0"),))
    }
    assert server.bodies() == []
    assert server.post(REPORT, address=inside).status_code == 200


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("10.1.2.3", 200),
        ("10.2.0.1", 404),
        ("192.0.2.7", 200),
        ("192.0.2.8", 404),
        ("2001:db8::1", 200),
        ("2001:db9::1", 404),
        ("::ffff:10.1.2.3", 200),  # how a socket that serves both families names an IPv4 caller
        ("::ffff:10.2.0.1", 404),
        ("not-an-address", 404),
    ],
)
def test_only_allowed_networks_may_call_back(sqlite_ledger, address, status):
    server = serve(
        mas_gateway(sqlite_ledger, Clock()), allow=[ip_network(each) for each in ("10.1.0.0/16", "192.0.2.7", "2001:db8::/32")]
    )

    assert server.post(REPORT, address=address).status_code == status
    assert len(server.bodies()) == (1 if status == 200 else 0)


def test_only_a_post_is_a_callback(sqlite_server):
    assert sqlite_server.get(f"/callbacks/{PEER}/{SECRET}").status_code == 405
    assert sqlite_server.bodies() == []


def test_a_body_up_to_the_cap_is_kept_and_one_byte_more_is_not(sqlite_server):
    assert sqlite_server.post(b"x" * BODY_CAP).status_code == 200
    assert sqlite_server.post(b"x" * (BODY_CAP + 1)).status_code == 413

    assert [len(body) for body in sqlite_server.bodies()] == [BODY_CAP]


def test_a_body_without_an_end_is_not_read_to_its_end(sqlite_server):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65536
            yield b"x" * 65536

    assert sqlite_server.post(endless()).status_code == 413
    assert sent <= BODY_CAP + 2 * 65536 and sqlite_server.bodies() == []


def test_a_caller_who_hangs_up_in_the_middle_is_no_error_of_ours(sqlite_server):
    parts = [{"type": "http.request", "body": REPORT[:20], "more_body": True}, {"type": "http.disconnect"}]
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/callbacks/{PEER}/{SECRET}",
        "headers": [],
        "query_string": b"",
        "client": ("127.0.0.1", 5),
    }

    async def receive() -> dict:
        return parts.pop(0)

    async def send(_message) -> None:
        return None

    asyncio.run(sqlite_server.app(scope, receive, send))

    assert parts == [] and sqlite_server.bodies() == []


# ── answered as the provider wants to hear it ──


class Platform:
    """A channel of these stories: what its far end wants to hear is up to the story."""

    capabilities = Capabilities(per_call=1, text_limit=0)

    def __init__(self, answer: Callable[[Callback], Answer]) -> None:
        self.answer = answer


def with_platform(ledger: Ledger, answer: Callable[[Callback], Answer]) -> Gateway:
    """A gateway whose loudspeakers' far end answers like this."""
    peer = open_peer(
        name=PEER, channel="speaker", protocol="loopback", simulated=True, options={"file": "/nowhere/speaker.jsonl"}
    )
    way = Way("speaker", (FarEnd(peer, Platform(answer), threading.Semaphore(1)),))
    county = CountySettings("德清县", "德清应急")
    return Gateway(House(ledger=ledger, county=county, sources=[], ways={"speaker": way}, templates=[], ring=lambda _lanes: True))


def test_an_answer_reaches_the_wire_as_its_channel_spelled_it(sqlite_ledger):
    """Receivers of loudspeaker platforms were seen that read header names as they are spelled."""
    heard: list[Callback] = []

    def answer(callback: Callback) -> Answer:
        heard.append(callback)
        return Answer(200, "application/x-tar", b"TAR\x00" * 300, {"Content-Disposition": 'attachment; filename="EBDT_1.tar"'})

    app = make_app(with_platform(sqlite_ledger, answer), {PEER: SECRET})
    with served(app) as client, socket.create_connection((client.base_url.host, client.base_url.port)) as wire:
        body = b"--x1\r\n..."
        head = f"POST /callbacks/{PEER}/{SECRET} HTTP/1.1\r\nHost: g\r\nContent-Type: multipart/form-data;boundary=x1\r\n"
        wire.sendall(head.encode() + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        answered = b"".join(iter(lambda: wire.recv(65536), b""))

    lines, _, content = answered.partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 200")
    for line in (
        b"Content-Type: application/x-tar",
        b"Content-Length: 1200",
        b'Content-Disposition: attachment; filename="EBDT_1.tar"',
    ):
        assert lines.split(b"\r\n").count(line) == 1
    assert content == b"TAR\x00" * 300
    assert heard == [Callback(f"/callbacks/{PEER}", {"content-type": "multipart/form-data;boundary=x1"}, body)]
    assert heard[0].body == body


@pytest.mark.parametrize("status", [200, 202, 400, 409, 410])
def test_the_status_is_the_channels(sqlite_ledger, status):
    server = serve(with_platform(sqlite_ledger, lambda _callback: Answer(status, "application/json", b'{"code":0}')))

    answer = server.post(b"x")

    assert (answer.status_code, answer.headers["content-type"], answer.content) == (status, "application/json", b'{"code":0}')


def test_an_answer_without_a_body_says_nothing_of_one(sqlite_ledger):
    answer = serve(with_platform(sqlite_ledger, lambda _callback: Answer(204, "", b""))).post(b"x")

    assert (answer.status_code, answer.content, dict(answer.headers)) == (204, b"", {})


def _broken(_callback: Callback) -> Answer:
    raise ZeroDivisionError("15400000001")


@pytest.mark.parametrize(
    "answer",
    [
        _broken,
        lambda _callback: Answer(200, "text/plain", b"x", {"X-Echo": "a\r\nSet-Cookie: b"}),
        lambda _callback: Answer(200, "text/plain", b"x", {"X-Echo": "测"}),
        lambda _callback: Answer(200, "text/plain", b"x", {"测": "x"}),
    ],
)
def test_a_channel_that_breaks_over_its_answer_makes_nobody_come_again(sqlite_ledger, caplog, answer):
    """What it heard is kept, and a second time would break it again."""
    server = serve(with_platform(sqlite_ledger, answer))

    response = server.post(b"15400000001")

    assert (response.status_code, response.content) == (200, b"")
    assert len(server.bodies()) == 1 and "its channel broke" in caplog.text and "5400000001" not in caplog.text


def test_a_channel_that_does_not_come_to_its_answer_holds_nobody_up(sqlite_ledger, monkeypatch):
    monkeypatch.setattr("broadcast.server.callbacks.ANSWER_SECONDS", 0.2)
    ready = threading.Event()

    def answer(_callback: Callback) -> Answer:
        ready.wait(PATIENCE)
        return Answer(200, "text/plain", b"OK")

    server = serve(with_platform(sqlite_ledger, answer))
    try:
        late = server.post(b"x")
    finally:
        ready.set()

    assert (late.status_code, server.post(b"y").status_code) == (503, 200)
    assert len(server.bodies()) == 2


# ── when it cannot be kept ──


def test_a_ledger_that_is_slow_is_not_waited_for_longer_than_a_provider_waits(sqlite_server, tmp_path, monkeypatch):
    """Whoever has been told to come again is not kept besides, unless the commit was under way."""

    async def story() -> tuple[list[int], int]:
        with locked(tmp_path):
            monkeypatch.setattr("broadcast.server.callbacks.KEEP_SECONDS", 0.3)
            told = [(await sqlite_server.posts(b"under way")).status_code]
            told += [r.status_code for r in await asyncio.gather(*(sqlite_server.posts(b"waits") for _ in range(3)))]
            monkeypatch.undo()
        return told, (await sqlite_server.posts(REPORT)).status_code

    assert asyncio.run(story()) == ([503] * 4, 200)
    assert [body for body in sqlite_server.bodies() if body != b"under way"] == [REPORT]


def test_what_a_provider_and_its_ledger_may_take_together_is_less_than_ten_seconds():
    """GD/J 083-2018: a platform takes no answer for a failure after 10 s."""
    assert KEEP_SECONDS + ANSWER_SECONDS < 10


def test_while_the_ledger_is_locked_callers_are_told_to_come_again_and_then_they_are_kept(sqlite_server, tmp_path, monkeypatch):
    monkeypatch.setattr("broadcast.ledger.engine.BUSY_WAIT", 0.3)
    bodies = [a_report(number(n), "g1") for n in range(20)]

    with locked(tmp_path):
        assert sqlite_server.post_at_once(bodies) == [503] * 20
    assert sqlite_server.bodies() == []

    assert sqlite_server.post_at_once(bodies) == [200] * 20
    assert sorted(sqlite_server.bodies()) == sorted(bodies)


def test_a_lock_that_ends_in_time_is_waited_for(sqlite_server, tmp_path):
    with locked(tmp_path):
        answers: list[int] = []
        caller = threading.Thread(target=lambda: answers.append(sqlite_server.post(REPORT).status_code))
        caller.start()
        caller.join(0.5)
        assert answers == [] and sqlite_server.bodies() == []
    caller.join(PATIENCE)

    assert answers == [200] and sqlite_server.bodies() == [REPORT]


def test_without_a_ledger_callers_are_told_to_come_again(tmp_path, caplog):
    Seal.make(tmp_path / "k")
    nowhere = Ledger(f"sqlite:///{tmp_path / 'no' / 'ledger.db'}", Seal.from_file(tmp_path / "k"))

    response = serve(mas_gateway(nowhere, Clock())).post(REPORT)

    assert (response.status_code, response.content) == (503, b"come again")
    assert "cannot be opened" in caplog.text


def test_a_failure_that_nobody_foresaw_is_said_and_the_next_callers_are_kept(sqlite_server, caplog):
    """A trigger stands for it: the database refuses with something that is neither locked nor away."""
    engine = sqlite_server.gateway.ledger.database.engine

    async def story() -> list[int]:
        with engine.begin() as tx:
            tx.exec_driver_sql("CREATE TRIGGER unforeseen BEFORE INSERT ON inbox BEGIN SELECT RAISE(ABORT, 'unforeseen'); END")
        refused = await asyncio.gather(*(sqlite_server.posts(REPORT) for _ in range(3)))
        with engine.begin() as tx:
            tx.exec_driver_sql("DROP TRIGGER unforeseen")
        return [each.status_code for each in (*refused, await sqlite_server.posts(REPORT))]

    assert asyncio.run(story()) == [503, 503, 503, 200]
    assert sqlite_server.bodies() == [REPORT] and "IntegrityError" in caplog.text


# ── silent ──


def _said(caplog) -> str:
    """All that was logged, by whomever but the caller of these stories."""
    return "\n".join(
        f"{r.name} {r.getMessage()} {r.exc_text or ''}"
        for r in caplog.records
        if r.name.split(".")[0] not in ("httpx", "httpcore")
    )


def test_neither_numbers_nor_the_secret_are_ever_logged(sqlite_server, tmp_path, monkeypatch, caplog):
    caplog.set_level(0)
    monkeypatch.setattr("broadcast.ledger.engine.BUSY_WAIT", 0.1)
    paths = [
        f"/callbacks/{PEER}/{SECRET}",
        f"/callbacks/{PEER}/{SECRET}x",
        f"/callbacks/mas-2/{SECRET}",
        f"/callbacks/{PEER}/{SECRET}?to=15400000001",
    ]
    bodies = [
        REPORT,
        b"15400000001 is not JSON",
        b'{"mobile": "15400000001"}',
        b'["15400000001"]',
        b"15400000001" * (BODY_CAP // 10),
    ]

    for path in paths:
        for body in bodies:
            sqlite_server.post(body, path)
    with locked(tmp_path):
        assert sqlite_server.post(REPORT).status_code == 503
    sqlite_server.gateway.work_inbox()
    sqlite_server.gateway.sweep()

    said = _said(caplog)
    assert "could not be kept" in said and "means nothing" in said
    assert "5400000001" not in said and SECRET not in said


def test_no_number_and_no_secret_lies_in_clear_in_the_ledgers_files(sqlite_server, tmp_path):
    for body in (REPORT, b"15400000001 is not JSON", b'{"mobile": "15400000001"}'):
        sqlite_server.post(body, f"/callbacks/{PEER}/{SECRET}?to=15400000001")
    before = _on_the_disk(tmp_path)
    sqlite_server.gateway.work_inbox()

    for files in (before, _on_the_disk(tmp_path)):
        assert b"/callbacks/mas-1" in files  # these are the files that it is in
        assert b"5400000001" not in files and SECRET.encode() not in files


def _on_the_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("ledger.db*")))


# ── health ──


def test_health_is_json_and_red_until_somebody_sweeps_and_plans(sqlite_server):
    red = sqlite_server.get("/health")
    for name in ("sweep", "planner"):
        assert leases.hold(sqlite_server.gateway.ledger.database, name, "somebody", 30)
    green = sqlite_server.get("/health")

    assert (red.status_code, red.json()["ok"], green.status_code, green.json()["ok"]) == (503, False, 200, True)
    colours = red.json()["checks"]
    assert colours["sweep"] == colours["planner"] == "red" and colours["ledger"] == colours["redis"] == "green"


def test_health_without_a_ledger_says_so(tmp_path):
    Seal.make(tmp_path / "k")
    nowhere = Ledger(f"sqlite:///{tmp_path / 'no' / 'ledger.db'}", Seal.from_file(tmp_path / "k"))

    answer = serve(mas_gateway(nowhere, Clock())).get("/health")

    assert answer.status_code == 503 and answer.json()["checks"]["ledger"] == "red" and str(tmp_path) not in answer.text


def test_however_many_ask_for_health_while_redis_hangs_callbacks_and_pages_are_not_kept_waiting(sqlite_ledger):
    redis_answers = threading.Event()
    gateway = Gateway(mas_gateway(sqlite_ledger, Clock()).house, lambda: redis_answers.wait(PATIENCE))
    server = serve(gateway)

    async def story() -> tuple[int, int, int, int]:
        transport = httpx.ASGITransport(app=server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            asking = [asyncio.create_task(client.get("/health")) for _ in range(50)]  # more than Starlette has threads
            await asyncio.sleep(0.05)
            kept, page = await server.posts(REPORT), await client.get("/c/forged")
            bad_alert = await client.post("/alerts", content=b"nonsense", headers={"authorization": "Bearer met-7bd1"})
            still_waiting = sum(not each.done() for each in asking)
            redis_answers.set()
            await asyncio.gather(*asking)
            return kept.status_code, page.status_code, bad_alert.status_code, still_waiting

    gateway.house.sources = [Source("met", token="met-7bd1")]
    assert asyncio.run(story()) == (200, 404, 422, 50)
