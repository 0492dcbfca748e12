"""No number, name, account, text or secret of anybody is in a log line, a URL, a metric, a queue message or a reason.

One town is run through all that can happen to it, with every logger at DEBUG; then all that it left behind is searched.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import logging
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import dramatiq
import pytest
import sqlalchemy as sa
from dramatiq.brokers.stub import StubBroker

from broadcast import queue
from broadcast.channels import open_peer
from broadcast.errors import BroadcastError
from broadcast.gateway import open_ways
from broadcast.ledger import tables as t
from broadcast.simulator import GridAccount, example_signers

from .. import town as towns
from ..conftest import open_story
from ..town import SECRET, Town, a_town
from .stories import warning

TOKEN = "town-token-of-the-weather-bureau"
SECRETS = {
    "mas": "geheimnis-of-the-mas", "smpp": "gSmpp-01", "vms": "geheimnis-of-the-vms", "zwdd": "geheimnis-of-the-zwdd",
}  # fmt: skip
PLACES = ("log", "out", "incoming", "messages", "open_doors", "answers", "refusals", "reasons")
LINK = re.compile(r"/c/([0-9a-z]+-[0-9a-z]+-[A-Za-z0-9_-]{16})")
GARBAGE = [
    b"", b"{", b"\xff\xfe\x00", b"[" * 50_000,
    b'{"mobile": "NUMBER", "reportStatus": 7, "msgGroup": ["NUMBER"], "name": "NAME"',
    b'[{"status_code": "NUMBER", "call_id": "NUMBER", "callee": "NUMBER", "dtmf": "NAME"}]',
    b'{"type": "task.NUMBER", "data": {"taskId": "NUMBER NAME"}}',
    b'{"smsContent": "NAME NUMBER", "mobile": "NUMBERx", "sendTime": "NUMBER", "addSerial": "NUMBER"}',
]  # fmt: skip


@dataclass
class Left:
    """All that a town leaves behind, by where it lies."""

    log: list[str] = field(default_factory=list)
    out: list[str] = field(default_factory=list)  # request lines that the stand-ins saw
    incoming: list[str] = field(default_factory=list)  # paths and queries that our server saw
    messages: list[str] = field(default_factory=list)  # of the queue
    open_doors: list[str] = field(default_factory=list)  # what /metrics and /health tell whoever asks
    answers: list[str] = field(default_factory=list)  # what a provider hears that sends nonsense
    refusals: list[str] = field(default_factory=list)  # what strangers are told, and what exceptions say
    reasons: list[str] = field(default_factory=list)  # errors as the ledger keeps and shows them


class Listener(logging.Handler):
    """Formats every record with its traceback, as a log file would have it."""

    def __init__(self, left: Left) -> None:
        super().__init__(logging.DEBUG)
        self._left = left
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._left.log.append(self.format(record))


@contextmanager
def all_loggers_at_debug(left: Left) -> Iterator[None]:
    """Those too that do not pass on what they hear."""
    listener = Listener(left)
    names = ["", *(name for name in logging.root.manager.loggerDict if not logging.getLogger(name).propagate)]
    loggers = [logging.getLogger(name) for name in names]
    levels = [(logger, logger.level) for logger in map(logging.getLogger, logging.root.manager.loggerDict)] + [
        (logging.root, logging.root.level)
    ]
    for logger, _ in levels:
        logger.setLevel(logging.DEBUG if not logger.name.startswith("sqlalchemy") else logging.NOTSET)
    # At DEBUG it prints the rows that it reads, which are the ledger itself; at INFO every statement.
    logging.getLogger("sqlalchemy").setLevel(logging.INFO)
    for logger in loggers:
        logger.addHandler(listener)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(listener)
        for logger, level in levels:
            logger.setLevel(level)


class Watched(dramatiq.Middleware):
    """Keeps what a broker puts on the line."""

    def __init__(self, left: Left) -> None:
        self._left = left

    def after_enqueue(self, broker, message, delay) -> None:
        self._left.messages.append(message.encode().decode())


@pytest.fixture(scope="module")
def ran(tmp_path_factory, sqlite_pattern) -> Iterator[tuple[Left, Town]]:
    """A town after all that can happen to it."""
    left, folder = Left(), tmp_path_factory.mktemp("leaks")
    story = open_story(sqlite_pattern.copy(folder), folder)
    with pytest.MonkeyPatch.context() as patch, all_loggers_at_debug(left):
        patch.setattr(towns, "make_app", watching(towns.make_app, left))
        ring_a_queue_too(story, left)
        story.gateway.house.sources = [replace(one, token=TOKEN) for one in story.gateway.house.sources[:1]]
        accounts = {
            "mas": {"secret_key": SECRETS["mas"], "reply_share": 0.5, "reply_seconds": 2.0}, "smpp": {"password": SECRETS["smpp"]},
            "vms": {"access_key_secret": SECRETS["vms"]}, "zwdd": {"app_secret": SECRETS["zwdd"], "token_required": True},
        }  # fmt: skip
        zwdd = {"app_secret": SECRETS["zwdd"]}
        options = {
            "mas-1": {"secret_key": SECRETS["mas"], "read_seconds": 0.5}, "vms-1": {"access_key_secret": SECRETS["vms"]},
            "ding-1": zwdd, "notice-1": zwdd,
        }  # fmt: skip
        with a_town(story, speed=1000.0, options=options, accounts=accounts) as town:
            watch_the_stand_ins(town, left)
            add_smpp(town)
            live(town, left)
            yield left, town
    story.gateway.close()


def live(town: Town, left: Left) -> None:
    """Warnings that go well and that do not, answers, garbage, strangers, and the end of it."""
    raw = warning(town.story, area="测试村", codes=("330521115201",), identifier="33052141600000_leaks")
    status, _ = ask(town, "POST", "/alerts", raw, TOKEN)
    assert status == 202
    sent = town.gateway.submit(town.gateway.read(raw))
    town.until(lambda: town.gateway.answers(sent.alert_id).duties.get("answered", 0) > 3)
    town.until(lambda: town.gateway.answers(sent.alert_id).at_the_door.get("households", 0) > 0)
    confirm(town, left)
    disturb(town)
    throw_garbage(town, left)
    come_as_strangers(town, left)
    over = warning(town.story, area="测试村", codes=("330521115201",), msg_type="Cancel", references="33052141600000_leaks")
    town.send(over)
    town.gateway.run_errands("smpp-1")
    town.work()
    keep_reasons(town, left)


def confirm(town: Town, left: Left) -> None:
    """Persons open their links; one is opened by somebody who changed it."""
    for one in town.received("zwdd"):
        for token in LINK.findall(one["text"])[:1]:
            assert ask(town, "POST", f"/c/{token}")[0] == 200
            left.refusals.append(ask(town, "GET", f"/c/{token}x")[1])


def disturb(town: Town) -> None:
    """Everything that goes wrong with a provider, at all of them at once."""
    faults = (
        {"http_status": 500}, {"close_without_answer": "after"}, {"refuse": "isv.MOBILE_NUMBER_ILLEGAL"},
    )  # fmt: skip
    for n, fault in enumerate(faults):
        for name in town.simulator.names:
            town.fault(name, **fault, times=3)
        town.send(warning(town.story, area="测试村", codes=(f"33052111520{n + 3}",), severity="Extreme" if n % 2 else "Severe"))
        town.story.clock.forward(minutes=6)
        town.work()
    for name in town.simulator.names:
        town.fault(name)
    town.story.clock.forward(minutes=11)
    town.work()


def throw_garbage(town: Town, left: Left) -> None:
    """At every callback, with a person's number and name in it; and at doors that are none."""
    number, name = a_person(town)
    for peer in ("ebd-1", "mas-1", "vms-1", "grid-1", "feed-1", "ding-1"):
        for body in GARBAGE:
            filled = body.replace(b"NUMBER", number.encode()).replace(b"NAME", name.encode())
            left.answers.append(ask(town, "POST", f"/callbacks/{peer}/{SECRET}", filled)[1])
            left.refusals.append(ask(town, "POST", f"/callbacks/{peer}/not-it", filled)[1])
    town.work()


def come_as_strangers(town: Town, left: Left) -> None:
    """Whoever has no token, or a wrong one, or a warning that is none; and who only looks."""
    for token in ("", TOKEN[:-1], TOKEN + "x"):
        left.refusals.append(ask(town, "POST", "/alerts", b"{}", token)[1])
    for body in (b"{}", b"<alert/>", warning(town.story, severity="geheim"), b'{"identifier": 7}', b"\xff"):
        left.refusals.append(ask(town, "POST", "/alerts", body, TOKEN)[1])
    for mistake in (
        lambda: town.gateway.authenticate("测试值班员", "000000"),
        lambda: town.gateway.confirmation("1-1-aaaaaaaaaaaaaaaa"),
        lambda: town.gateway.authenticate_source("deqing-met", TOKEN[:-1]),
        lambda: open_peer(
            name="x", channel="sms", protocol="mas", simulated=True, options={"secret_key": SECRETS["mas"], "url": 7}
        ),
        lambda: open_ways([far_end.peer for far_end in town.gateway.house.peers.values()] * 2),
    ):
        with pytest.raises(BroadcastError) as refused:
            mistake()
        left.refusals.append(f"{refused.value!s} {refused.value!r}")
    left.refusals += [repr(far_end.peer) for far_end in town.gateway.house.peers.values()]
    left.open_doors += [ask(town, "GET", path)[1] for path in ("/metrics", "/health")]


def keep_reasons(town: Town, left: Left) -> None:
    """Whatever the ledger says of errors in words that nobody sealed."""
    columns = (  # and not the entries' bodies: of a new alert they hold its frozen words
        t.batch.c.reason, t.delivery.c.reason, t.breaker.c.reason, t.alert.c.reason, t.inbox.c.reason, t.receipt.c.detail,
        t.receipt.c.code, t.reply.c.flag, t.refused.c.reason, t.condition.c.detail,
    )  # fmt: skip
    with town.gateway.ledger.read() as tx:
        for column in columns:
            left.reasons += [str(value) for value in tx.execute(sa.select(column).distinct()).scalars() if value]


# --- what is watched


def ask(town: Town, method: str, path: str, body: bytes = b"", token: str = "") -> tuple[int, str]:
    """Status and body. Not by httpx, whose log would be the test's own and not the gateway's."""
    connection = http.client.HTTPConnection("127.0.0.1", town.client.base_url.port, timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


def watching(make_app, left: Left):
    """The application, with every path and query written down before anything else sees it."""

    def made(*arguments, **options):
        app = make_app(*arguments, **options)

        async def watched(scope, receive, send):
            if scope["type"] == "http":
                left.incoming.append(f"{scope['raw_path'].decode()}?{scope['query_string'].decode()}")
            await app(scope, receive, send)

        return watched

    return made


def watch_the_stand_ins(town: Town, left: Left) -> None:
    """Their request lines, before anything of them is read."""
    server = town.simulator._server

    class Handler(server.RequestHandlerClass):
        def parse_request(self) -> bool:
            left.out.append(self.raw_requestline.decode("latin-1"))
            return super().parse_request()

    server.RequestHandlerClass = Handler


def ring_a_queue_too(story, left: Left) -> None:
    """The real doorbell on a broker in memory, beside the story's own list."""
    broker, by_hand = StubBroker(middleware=[Watched(left)]), story.gateway.house.ring
    for lane in queue.LANES:
        broker.declare_queue(lane)
    bell = queue.Doorbell(broker)

    def ring(lanes) -> bool:
        return bell.ring(lanes) and by_hand(lanes)

    story.gateway.house.ring = ring


def add_smpp(town: Town) -> None:
    """A carrier as the second way for SMS."""
    ways = town.gateway.house.ways
    options = {
        "host": "127.0.0.1", "port": town.simulator.smpp_port, "system_id": "simulated", "password": SECRETS["smpp"],
        "source_addr": "10690000", "signature": "德清应急", "read_seconds": 0.5,
    }  # fmt: skip
    smpp = open_peer(name="smpp-1", channel="sms", protocol="smpp", simulated=True, concurrency=1, options=options)
    town.gateway.house.ways = {**ways, **open_ways([ways["sms"].far_ends[0].peer, smpp])}


# --- what must not be there


def a_person(town: Town) -> tuple[str, str]:
    person = next(one for one in town.gateway.roster().persons if one.phone and one.zwdd)
    return person.phone.removeprefix("+86"), person.name


def personal(town: Town) -> dict[str, set[str]]:
    """Numbers, names and accounts of everybody in the roster and among the residents, from the ledger itself."""
    ledger = town.gateway.ledger
    with ledger.read() as tx:
        addresses = [ledger.seal.open(bytes(sealed)) for sealed in tx.execute(sa.select(t.address.c.sealed)).scalars()]
        names = {ledger.seal.open(bytes(sealed)) for sealed in tx.execute(sa.select(t.person.c.name)).scalars()}
    return {
        "numbers": {one.removeprefix("+86") for one in addresses if one.startswith("+86")},
        "names": names,
        "accounts": {one for one in addresses if one.startswith(("9000", "sim:zwdd:", "sim:grid:"))},
    }


def secrets(town: Town) -> set[str]:
    """What proves who somebody is."""
    customer, platform = example_signers()
    found = {
        *SECRETS.values(),
        TOKEN,
        customer.private_key,
        platform.private_key,
        GridAccount().secret,
        town.simulator.provider("zwdd")._token[0],
    }
    found |= set(town.simulator.config.feed.secrets.values())
    found |= {(town.story.folder / "seal.key").read_text("ascii", "replace").strip()}
    return {secret for secret in found if secret}


def texts(town: Town) -> set[str]:
    """What people were told, without their links: pieces that are long enough to be nothing else."""
    told = [one["text"] for one in town.received("zwdd")] + [one["text"] for one in town.received("vms")]
    told += [one["content"] for one in town.received("mas")] + [one["content"] for one in town.received("grid")]
    return {text[:14] for text in told if len(text) >= 14}


_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")
_MOBILE = re.compile(r"(?=(1[0-9]{10}))")
_TOKEN = re.compile(r"(?=\b([0-9a-z]{1,8}-[0-9a-z]{1,5}-[A-Za-z0-9_-]{16}))")
_NAME = re.compile(r"(?=(.测.))")
_ACCOUNT = re.compile(r"(?=(9000[0-9]{6})|(sim:[a-z]+:[A-Z][0-9]+))")


def read_all(lines: list[str]) -> str:
    """The lines as they are, and what they say in percent signs, in JSON's escapes, and in base64."""
    plain = "\n".join(lines)
    hidden = (_decoded(run) for run in set(_BASE64.findall(plain)))
    return "\n".join([plain, urllib.parse.unquote(plain), _ESCAPED.sub(lambda one: chr(int(one[1], 16)), plain), *hidden])


def _decoded(run: str) -> str:
    try:
        return base64.b64decode(
            run.rstrip("=") + "=" * (-len(run.rstrip("=")) % 4), altchars=b"-_" if "-" in run or "_" in run else None
        ).decode("utf-8", "replace")
    except binascii.Error:
        return ""


def persons_in(text: str, people: dict[str, set[str]]) -> dict[str, int]:
    """How many of these people's numbers, names and accounts are in it. Never which: this ends up in a log too."""
    accounts = {one for pair in _ACCOUNT.findall(text) for one in pair if one}
    found = {"numbers": set(_MOBILE.findall(text)), "names": set(_NAME.findall(text)), "accounts": accounts}
    return {kind: len(values & people[kind]) for kind, values in found.items()}


def found_in(text: str, values: set[str]) -> int:
    """How many of the values are in it."""
    return sum(value in text for value in values)


def the_places(left: Left) -> dict[str, list[str]]:
    return {name: getattr(left, name) for name in PLACES}


def test_the_town_has_lived_and_everything_was_watched(ran):
    left, town = ran
    loggers = {line.split(" ")[0].split(".")[0] for line in left.log}
    assert {"broadcast", "httpx", "httpcore", "sqlalchemy", "uvicorn", "asyncio"} & loggers >= {"broadcast", "httpx", "httpcore"}
    assert {name: len(lines) > 1 for name, lines in the_places(left).items()} == dict.fromkeys(the_places(left), True)
    assert all(town.received(name) for name in ("ebd", "mas", "smpp", "vms", "zwdd", "grid", "feed"))
    assert {row["state"] for row in town.gateway.ledger.deliveries()} >= {"delivered", "accepted", "in_doubt", "cancelled"}
    assert {json.loads(message)["queue_name"] for message in left.messages} == {"alarm", "bulk"}
    people = personal(town)
    assert (
        len(people["numbers"]) > 1000 and len(people["names"]) > 100 and len(people["accounts"]) > 1000 and len(texts(town)) > 5
    )


@pytest.mark.parametrize("where", PLACES)
def test_nothing_personal_is_left_anywhere(ran, where):
    left, town = ran
    assert persons_in(read_all(the_places(left)[where]), personal(town)) == {"numbers": 0, "names": 0, "accounts": 0}


@pytest.mark.parametrize("where", PLACES)
def test_no_words_that_a_person_was_told_are_left_anywhere(ran, where):
    left, town = ran
    assert found_in(read_all(the_places(left)[where]), texts(town)) == 0


@pytest.mark.parametrize("where", PLACES)
def test_no_secret_is_left_anywhere(ran, where):
    """One exception, by the provider's rule: 浙政钉's /gettoken.json takes appkey and appsecret in its query, and nowhere else."""
    left, town = ran
    places = the_places(left)[where]
    if where == "out":
        asked = [line for line in places if line.startswith("GET /gettoken.json?")]
        assert asked and all(SECRETS["zwdd"] in line for line in asked)
        places = [line for line in places if line not in asked]
    assert found_in(read_all(places), secrets(town)) == 0


@pytest.mark.parametrize("where", [one for one in PLACES if one not in ("incoming", "answers")])
def test_what_opens_our_own_doors_stands_in_their_addresses_and_nowhere_else(ran, where):
    """A callback's secret segment and a confirm link are parts of an address by design: the server and whoever already has it see them, nobody else does."""
    left, _town = ran
    links = {token for line in left.incoming for token in LINK.findall(line)}
    text = read_all(the_places(left)[where])
    assert len(links) > 5 and not links & set(_TOKEN.findall(text))
    assert SECRET not in text
