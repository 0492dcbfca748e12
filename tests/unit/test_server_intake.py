"""Warnings over HTTP: a source proves itself, hands one in, and asks what became of it; over a real socket."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime

import httpx
import pytest
import sqlalchemy as sa

from broadcast.gateway import Gateway, Source
from broadcast.ledger import Ledger
from broadcast.ledger import tables as t
from broadcast.server import make_app
from broadcast.server.intake import BODY_CAP

from ..conftest import WARNINGS, Story
from ..serving import served
from .stories import YELLOW, warning

TOKENS = {"deqing-met": "met-7bd1", "deqing-water": "water-0a9f", "watcher": "watcher-33c2", "mute": "mute-5e11"}
MET = {"authorization": f"Bearer {TOKENS['deqing-met']}"}
SCOPES = {"deqing-water": frozenset({"submit"}), "watcher": frozenset({"read"}), "mute": frozenset()}


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKENS[name]}"}


def with_tokens(story: Story) -> Story:
    """The story's sources with a token each, two more, and one that has none."""
    known = [*story.gateway.house.sources, Source("watcher"), Source("mute")]
    both = Source("x").scopes
    sources = [replace(one, token=TOKENS[one.name], scopes=SCOPES.get(one.name, both)) for one in known]
    story.gateway.house.sources = [*sources, Source("by-operators-only", token="")]
    return story


@pytest.fixture
def county(story: Story) -> Story:
    """On SQLite and on PostgreSQL."""
    return with_tokens(story)


@pytest.fixture
def sqlite_county(sqlite_story: Story) -> Story:
    return with_tokens(sqlite_story)


@pytest.fixture
def client(sqlite_county: Story) -> Iterator[httpx.Client]:
    with served(make_app(sqlite_county.gateway, {})) as made:
        yield made


def alerts(gateway: Gateway) -> int:
    with gateway.ledger.read() as tx:
        return tx.execute(sa.select(sa.func.count()).select_from(t.alert)).scalar_one()


# ── a warning comes in ──


def test_a_warning_is_in_the_ledger_and_rung_for_when_it_is_answered(county):
    with served(make_app(county.gateway, {})) as client:
        answer = client.post("/alerts", content=(WARNINGS / YELLOW).read_bytes(), headers=MET)

        assert answer.status_code == 202
        said = answer.json()
        assert set(said) == {"alert_id", "state", "new", "reason", "findings"}
        assert (said["state"], said["new"]) == ("active", True)
        assert county.rung  # workers have been called
        assert county.gateway.status(said["alert_id"]).source == "deqing-met"
        assert county.entries(county.gateway.submit(county.read(YELLOW)))[0] == "alert.received"


def test_the_same_warning_twice_is_one_alert(client, sqlite_county):
    raw = (WARNINGS / YELLOW).read_bytes()

    first, second = (client.post("/alerts", content=raw, headers=MET).json() for _ in range(2))

    assert (first["alert_id"], first["new"], second["new"]) == (second["alert_id"], True, False)
    assert alerts(sqlite_county.gateway) == 1


def test_any_form_that_the_library_reads_is_taken_whatever_its_content_type_says(client, sqlite_county):
    headers = MET | {"content-type": "application/octet-stream"}

    cap = client.post("/alerts", content=(WARNINGS / YELLOW).read_bytes(), headers=headers)
    as_json = client.post("/alerts", content=warning(sqlite_county, area="武康街道", codes=("330521001",)), headers=headers)

    assert (cap.status_code, as_json.status_code) == (202, 202), (cap.text, as_json.text)
    assert alerts(sqlite_county.gateway) == 2


def test_what_a_person_should_look_at_is_said(client, sqlite_county):
    raw = warning(sqlite_county, area="没有这个镇", codes=())

    said = client.post("/alerts", content=raw, headers=MET).json()

    assert said["state"] == "undecided" and said["reason"]


ODD = ("\x00", "\ud800", "a\u2028b", "<script>", "暴" * 3000, "\x1b[31m")


def test_odd_characters_are_taken_or_refused_in_words(county):
    with served(make_app(county.gateway, {})) as client:
        for odd in ODD:
            message = json.loads(warning(county))
            with_note = message | {"note": odd}
            message["info"][0]["headline"] = odd
            for each in (with_note, message):
                answer = client.post("/alerts", content=json.dumps(each).encode(), headers=MET)
                assert answer.status_code in (202, 422), (odd, answer.text)


# ── refused ──


def test_what_cannot_be_read_is_refused_with_element_rule_and_line_and_kept(client, sqlite_county):
    raw = (WARNINGS / YELLOW).read_bytes().replace(b"<msgType>Alert<", b"<msgType>Alarm<")
    assert b"Alarm" in raw

    answer = client.post("/alerts", content=raw, headers=MET)

    said = answer.json()
    assert answer.status_code == 422 and set(said) == {"error", "element", "rule", "line"}
    assert said["element"] == "msgType" and "Alarm" in said["error"] and said["rule"] and said["line"] > 1
    with sqlite_county.gateway.ledger.read() as tx:
        (row,) = tx.execute(sa.select(t.refused)).all()
    assert (bytes(row.raw), row.source, row.reason) == (raw, "deqing-met", said["error"])
    assert alerts(sqlite_county.gateway) == 0


NONSENSE = (b"x", b"\xff\xfe", b"{", b"[]", b"{}", b"<a/>", b"<!DOCTYPE a><a/>", b"\x00" * 5, "暴雨".encode("gbk"))


def test_nonsense_is_refused_in_words(client):
    for raw in NONSENSE:
        answer = client.post("/alerts", content=raw, headers=MET)

        assert answer.status_code == 422 and answer.json()["error"], raw


@pytest.mark.parametrize("raw", [b"", b"  \r\n\t"])
def test_an_empty_body_is_no_warning(client, sqlite_county, raw):
    answer = client.post("/alerts", content=raw, headers=MET)

    assert answer.status_code == 400 and "empty" in answer.json()["error"]
    with sqlite_county.gateway.ledger.read() as tx:
        assert tx.execute(sa.select(t.refused)).first() is None


def test_a_body_over_the_cap_is_not_read_to_its_end(sqlite_county):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65536
            yield b" " * 65536

    async def story() -> int:
        transport = httpx.ASGITransport(app=make_app(sqlite_county.gateway, {}))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return (await client.post("/alerts", content=endless(), headers=MET)).status_code

    assert asyncio.run(story()) == 413
    assert sent <= BODY_CAP + 2 * 65536


def test_a_body_that_says_itself_too_large_is_not_read_at_all(sqlite_county):
    assert posted_piecewise(sqlite_county, MET | {"content-length": str(BODY_CAP + 1)}) == (413, 0)


def posted_piecewise(story: Story, headers: dict[str, str]) -> tuple[int, int]:
    """The status of the answer, and how many pieces of the body were asked for."""
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"x"

    async def asked() -> int:
        transport = httpx.ASGITransport(app=make_app(story.gateway, {}))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return (await client.post("/alerts", content=body(), headers=headers)).status_code

    return asyncio.run(asked()), read


# ── who may ──


NO_TOKENS = (
    None,
    "",
    "Bearer",
    "Bearer wrong",
    f"Bearer {TOKENS['deqing-met'][:-1]}",
    f"Bearer {TOKENS['deqing-met']}x",
    f"Basic {TOKENS['deqing-met']}",
    TOKENS["deqing-met"],
    "Bearer deqing-met",
    "Bearer by-operators-only",
    "Bearer \u00e6\u00f8",
)


@pytest.mark.parametrize(("method", "path"), [("POST", "/alerts"), ("GET", "/alerts/1")])
def test_without_a_known_token_nothing_is_said(client, sqlite_county, method, path):
    content = (WARNINGS / YELLOW).read_bytes() if method == "POST" else None

    for header in NO_TOKENS:
        headers = {} if header is None else {"authorization": header.encode("latin-1")}
        answer = client.request(method, path, content=content, headers=headers)

        assert (answer.status_code, answer.headers.get("www-authenticate")) == (401, "Bearer"), header
        assert set(answer.json()) == {"error"}
    assert alerts(sqlite_county.gateway) == 0


def test_a_strangers_body_is_not_read(sqlite_county):
    assert posted_piecewise(sqlite_county, {}) == (401, 0)
    assert posted_piecewise(sqlite_county, bearer("watcher")) == (403, 0)


def test_a_token_is_good_for_its_scopes_only(client, sqlite_county):
    raw = (WARNINGS / YELLOW).read_bytes()

    handed_in = {name: client.post("/alerts", content=raw, headers=bearer(name)).status_code for name in TOKENS}
    asked = {name: client.get("/alerts/1", headers=bearer(name)).status_code for name in TOKENS}

    assert handed_in == {"deqing-met": 202, "deqing-water": 202, "watcher": 403, "mute": 403}
    assert asked == {"deqing-met": 200, "deqing-water": 403, "watcher": 200, "mute": 403}


def test_a_source_is_whoever_the_token_says_not_who_the_warning_says(client, sqlite_county):
    answer = client.post("/alerts", content=(WARNINGS / YELLOW).read_bytes(), headers=bearer("deqing-water"))

    assert sqlite_county.gateway.status(answer.json()["alert_id"]).source == "deqing-water"


# ── what became of it ──


def test_the_source_sees_how_far_its_warning_has_come_and_no_number_or_name(client, sqlite_county):
    number = client.post("/alerts", content=(WARNINGS / YELLOW).read_bytes(), headers=MET).json()["alert_id"]
    sqlite_county.work()

    answer = client.get(f"/alerts/{number}", headers=bearer("watcher"))

    said = answer.json()
    assert answer.status_code == 200 and (said["alert_id"], said["state"]) == (number, "active")
    ways = said["progress"]
    assert ways and all(set(way) == {"tier", "channel", "purpose", "states"} for way in ways)
    assert sum(sum(way["states"].values()) for way in ways) == sum(sqlite_county.states(number).values())
    assert datetime.fromisoformat(said["received"]) == sqlite_county.clock()
    assert "drafted_by" not in said and "released_by" not in said
    for row in sqlite_county.gateway.ledger.deliveries(alert_id=number):
        assert row["address"] not in answer.text
    assert "54000" not in answer.text and "****" not in answer.text


def test_an_alert_is_found_by_its_identifier_too(client, sqlite_county):
    number = client.post("/alerts", content=(WARNINGS / YELLOW).read_bytes(), headers=MET).json()["alert_id"]
    identifier = sqlite_county.gateway.status(number).identifier

    assert client.get(f"/alerts/{identifier}", headers=MET).json()["alert_id"] == number


def test_what_is_not_there_is_not_found(county):
    with served(make_app(county.gateway, {})) as client:
        for wanted in ("77", "no-such", "%00", "99999999999999999999999", "-1", "%E6%B5%8B"):
            answer = client.get(f"/alerts/{wanted}", headers=MET)

            assert answer.status_code == 404 and answer.json()["error"], wanted


# ── when it cannot be taken ──


def test_without_a_ledger_a_source_is_told_to_send_it_again(sqlite_county, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("broadcast.ledger.engine.BUSY_WAIT", 0.2)
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    raw = (WARNINGS / YELLOW).read_bytes()

    with served(make_app(sqlite_county.gateway, {})) as client:
        locked = [client.post("/alerts", content=body, headers=MET) for body in (raw, b"nonsense, which must be kept")]
        other.rollback()
        free = client.post("/alerts", content=raw, headers=MET)
    other.close()

    for answer in locked:
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        assert "again" in answer.json()["error"] and str(tmp_path) not in answer.text
    assert free.status_code == 202 and free.json()["new"] and "could not be taken" in caplog.text


def test_before_the_county_has_its_plans_a_source_is_told_to_come_again(ledger: Ledger, sqlite_county, caplog):
    gateway = Gateway(replace_ledger(sqlite_county, ledger))

    with served(make_app(gateway, {})) as client:
        answer = client.post("/alerts", content=(WARNINGS / YELLOW).read_bytes(), headers=MET)

    assert answer.status_code == 503 and "init" in caplog.text


def replace_ledger(story: Story, ledger: Ledger):
    """The story's house over another ledger."""
    return replace(story.gateway.house, ledger=ledger)


def test_many_sources_at_once_are_all_taken(client, sqlite_county):
    """And the same warning from several hands at the same moment is one."""
    raws = [warning(sqlite_county, identifier=f"33052141600000_{n % 6}") for n in range(24)]

    async def story() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=client.base_url, trust_env=False, timeout=60) as many:
            return await asyncio.gather(*(many.post("/alerts", content=raw, headers=MET) for raw in raws))

    answers = asyncio.run(story())

    assert {answer.status_code for answer in answers} == {202}
    assert sum(answer.json()["new"] for answer in answers) == 6 == alerts(sqlite_county.gateway)


def test_a_token_is_never_logged(client, sqlite_county, caplog):
    caplog.set_level(0)
    for headers in (MET, {"authorization": "Bearer wrong-4711"}, bearer("mute")):
        client.post("/alerts", content=b"nonsense", headers=headers)
        client.get("/alerts/1", headers=headers)

    said = "\n".join(r.getMessage() for r in caplog.records if r.name.split(".")[0] not in ("httpx", "httpcore"))
    assert not any(token in said for token in (*TOKENS.values(), "wrong-4711"))


def test_only_these_methods_are_answered(client):
    assert client.get("/alerts", headers=MET).status_code == 405
    assert client.delete("/alerts/1", headers=MET).status_code == 405
    assert client.put("/alerts", headers=MET, content=json.dumps({})).status_code == 405
