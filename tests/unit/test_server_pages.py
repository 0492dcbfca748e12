"""The confirmation page: read on any phone, opened by anybody's preview, confirmed only by the button."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree, html

from broadcast.gateway import links
from broadcast.ledger import tables as t
from broadcast.resources import TEMPLATES
from broadcast.server import make_app
from broadcast.server.confirming import HEADERS, Pages

from ..conftest import Story
from ..serving import served
from .stories import warning

BUTTON = "收到，我已知悉"


@dataclass
class Opened:
    """A post that was told by SMS and owes an answer, and the phone on which the link is opened."""

    story: Story
    client: httpx.Client
    link: str
    alert_id: int
    name: str

    def get(self) -> httpx.Response:
        return self.client.get(self.link)

    def press(self) -> httpx.Response:
        return self.client.post(self.link)

    def duty(self) -> str:
        """The state of the duty that the link is about."""
        return self.row().state

    def row(self) -> sa.Row:
        batch_id, seq = links.read(self.story.gateway.house, self.link.removeprefix("/c/")) or (0, 0)
        with self.story.gateway.ledger.read() as tx:
            return tx.execute(
                sa.select(t.callout)
                .join(
                    t.delivery,
                    sa.and_(t.delivery.c.post_id == t.callout.c.post_id, t.delivery.c.alert_id == t.callout.c.alert_id),
                )
                .where(t.callout.c.duty == "acknowledge", t.delivery.c.batch_id == batch_id, t.delivery.c.seq == seq)
            ).one()


def tell(story: Story, client: httpx.Client, **options) -> Opened:
    """A warning goes out; the link of the first post that was told by SMS and owes an answer."""
    house = story.gateway.house
    sent = story.gateway.submit(story.gateway.read(warning(story, **options)), source="deqing-met")
    story.work()
    with story.gateway.ledger.read() as tx:
        row = tx.execute(
            sa.select(t.delivery.c.batch_id, t.delivery.c.seq, t.person.c.name)
            .join(t.callout, sa.and_(t.callout.c.post_id == t.delivery.c.post_id, t.callout.c.alert_id == t.delivery.c.alert_id))
            .join(t.post, t.post.c.id == t.delivery.c.post_id)
            .join(t.person, t.person.c.id == t.post.c.person_id)
            .where(t.delivery.c.alert_id == sent.alert_id, t.delivery.c.channel == "sms", t.callout.c.duty == "acknowledge")
            .order_by(t.delivery.c.batch_id, t.delivery.c.seq)
            .limit(1)
        ).one()
    link = "/c/" + links.token(house, row.batch_id, row.seq)
    return Opened(story, client, link, sent.alert_id, house.ledger.seal.open(bytes(row.name)))


@pytest.fixture
def client(sqlite_story: Story) -> Iterator[httpx.Client]:
    with served(make_app(sqlite_story.gateway, {})) as made:
        yield made


@pytest.fixture
def told(sqlite_story: Story, client: httpx.Client) -> Opened:
    return tell(sqlite_story, client, severity="Severe")


def words(answer: httpx.Response) -> str:
    """What a person reads on the page."""
    return " ".join(html.fromstring(answer.text).find("body").text_content().split())


def valid(answer: httpx.Response) -> html.HtmlElement:
    """The page as a strict parser reads it."""
    parser = etree.HTMLParser(recover=False)
    page = etree.fromstring(answer.content, parser)
    assert list(parser.error_log) == []
    return page


# ── opening it ──


def test_the_page_says_what_is_confirmed_and_by_whom(told):
    answer = told.get()

    said = words(answer)
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    for part in ("暴雨橙色预警", "莫干山镇", "德清县气象局", "2023年7月5日", BUTTON, "只打开本页不算确认"):
        assert part in said, part
    row = told.row()
    with told.story.gateway.ledger.read() as tx:
        post = tx.execute(sa.select(t.post).where(t.post.c.id == row.post_id)).one()
    house = told.story.gateway.house
    assert house.books.roles[post.role].zh in said and house.books.regions[post.region].name in said
    assert told.name[:1] + "*" in said and told.name not in said
    page = valid(answer)
    assert page.get("lang") == "zh-CN" and page.xpath("//div[@class='band orange']")


def test_opening_it_looking_at_it_again_and_asking_for_its_head_confirm_nothing(told):
    for _ in range(3):
        assert told.get().status_code == 200
    head = told.client.head(told.link)
    assert (head.status_code, head.content) == (200, b"")
    assert (
        told.client.get(told.link + "?from=singlemessage", headers={"user-agent": "MicroMessenger link preview"}).status_code
        == 200
    )
    for method in ("OPTIONS", "PUT", "DELETE", "PATCH"):
        assert told.client.request(method, told.link).status_code == 405

    assert told.duty() == "open"
    assert BUTTON in words(told.get())


def test_the_button_confirms_and_again_is_the_same(told):
    first, second, opened = told.press(), told.press(), told.get()

    assert told.duty() == "answered" and told.row().how == "link"
    for answer in (first, second, opened):
        assert answer.status_code == 200 and "已确认 2023年7月5日 05:01" in words(answer)
        assert BUTTON not in words(answer) and not valid(answer).xpath("//form")
    assert first.text == second.text == opened.text
    with told.story.gateway.ledger.read() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(t.reply)).scalar_one() == 1


def test_the_button_works_without_script_and_posts_to_the_page_itself(told):
    (form,) = valid(told.get()).xpath("//form")

    assert (form.get("method"), form.get("action")) == ("post", None)
    assert [button.get("type") for button in form.iter("button")] == ["submit"]
    assert told.client.post(told.link + "?from=singlemessage", data={}).status_code == 200
    assert told.duty() == "answered"


def test_one_link_confirms_for_its_own_person_only(told):
    with told.story.gateway.ledger.read() as tx:
        before = tx.execute(
            sa.select(sa.func.count()).where(t.callout.c.duty == "acknowledge", t.callout.c.state == "open")
        ).scalar_one()
        person = sa.select(t.post.c.person_id).where(t.post.c.id == told.row().post_id).scalar_subquery()
        own = tx.execute(
            sa.select(sa.func.count())
            .select_from(t.callout.join(t.post, t.post.c.id == t.callout.c.post_id))
            .where(t.callout.c.duty == "acknowledge", t.post.c.person_id == person)
        ).scalar_one()
    told.press()

    with told.story.gateway.ledger.read() as tx:
        after = tx.execute(
            sa.select(sa.func.count()).where(t.callout.c.duty == "acknowledge", t.callout.c.state == "open")
        ).scalar_one()
    assert before - after == own and after > 0


# ── drills ──


def test_a_drill_says_so_loudly(sqlite_story, client):
    drill = tell(sqlite_story, client, status="Exercise")

    page = valid(drill.get())
    assert "【演练】" in "".join(page.xpath("//title/text()"))
    assert page.xpath("//div[@class='drill']/text()") == ["【演练】不是真实预警"]
    assert "【演练】暴雨橙色预警" in words(drill.get())
    assert "【演练】" in words(drill.press())


def test_a_real_warning_is_not_called_a_drill(told):
    assert "演练" not in told.get().text and "测试】" not in told.get().text


# ── links that are not good ──


def test_forged_unknown_and_expired_links_get_the_same_words(told):
    token = told.link.removeprefix("/c/")
    last = "A" if token[-1] != "A" else "B"
    other = links.token(told.story.gateway.house, 99999, 1)
    asked = [
        token[:-1] + last,
        token[:-1],
        token + "A",
        other,
        "x",
        "%00",
        "测",
        "1-1-" + "A" * 16,
        token.upper(),
        "a" * 5000,
        "{{1}}",
    ]

    answers = [ask(f"/c/{each}") for each in asked for ask in (told.client.get, told.client.post)]
    told.story.clock.forward(hours=7)
    answers += [told.get(), told.press()]

    assert {answer.status_code for answer in answers} == {404}
    assert (
        len({(answer.text, tuple(sorted((k, v) for k, v in answer.headers.items() if k != "date"))) for answer in answers}) == 1
    )
    assert "值班室" in words(answers[0]) and BUTTON not in words(answers[0])
    valid(answers[0])
    assert told.duty() == "open"


def test_a_link_of_somebody_who_owes_no_answer_is_not_good(told):
    with told.story.gateway.ledger.read() as tx:
        row = tx.execute(sa.select(t.delivery).where(t.delivery.c.post_id.is_(None)).limit(1)).one()

    assert told.client.post("/c/" + links.token(told.story.gateway.house, row.batch_id, row.seq)).status_code == 404


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=60).filter(lambda raw: b"/" not in raw and raw not in (b".", b"..")))
def test_any_bytes_in_place_of_a_link_are_answered_in_words(client, token):
    answer = client.post(f"/c/{quote(token, safe='')}")

    assert answer.status_code == 404 and "值班室" in answer.text


def test_while_the_ledger_is_away_the_page_says_that_nothing_is_confirmed(told, tmp_path, monkeypatch):
    monkeypatch.setattr("broadcast.ledger.engine.BUSY_WAIT", 0.2)
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    answer = told.press()
    other.rollback()
    other.close()

    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert "尚未确认" in words(answer) and "值班室" in words(answer)
    valid(answer)
    assert told.duty() == "open"
    assert "已确认" in words(told.press())


# ── what the page must not do ──


def test_no_page_is_kept_found_framed_or_tells_where_it_was(told):
    for answer in (told.get(), told.press(), told.client.get("/c/forged")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "noindex" in answer.headers["x-robots-tag"]
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "style-src 'unsafe-inline'", "form-action 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert "set-cookie" not in answer.headers


def test_the_page_needs_nothing_from_elsewhere(told):
    page = valid(told.get())

    assert not page.xpath("//script|//img|//link|//iframe|//object|//*[@src]|//*[@href]|//*[@onclick]")
    assert "url(" not in told.get().text and "@import" not in told.get().text and "http" not in words(told.get())
    assert told.link.removeprefix("/c/") not in told.get().text


def test_the_page_is_readable_at_arms_length_in_daylight_and_at_night(told):
    text = told.get().text

    assert 'content="width=device-width, initial-scale=1"' in text  # and it may be zoomed
    assert "prefers-color-scheme: dark" in text
    sizes = [int(size) for size in re.findall(r"font(?:-size)?:[^;]*?(\d+)px", text)]
    assert min(sizes) >= 18  # CSS pixels; a phone's own text has 16
    assert int(re.search(r"button \{[^}]*min-height: (\d+)px", text)[1]) >= 88  # twice what a thumb needs


PALETTE = re.compile(r"\.(red|orange|yellow|blue|none|drill) \{ background: #(\w{6}); color: #(\w{6});")


def test_every_band_can_be_read(told):
    """WCAG 2.1 §1.4.6: 4.5 to 1 for large text."""
    found = PALETTE.findall(told.get().text)

    assert len(found) == 6
    for name, back, front in found:
        assert contrast(back, front) >= 4.5, name


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


FIELDS = {
    "mark": "", "level": "red", "warning": "暴雨红色预警", "headline": "", "area": "莫干山镇", "issuer": "德清县气象台", "sent": "2023年7月5日 05:00",
    "role": "村级防汛责任人", "region": "测试村", "person": "测**", "text": "", "open": True, "confirmed": "",
}  # fmt: skip


@pytest.mark.parametrize("field", ["headline", "area", "issuer", "text", "warning", "person"])
@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "{{ 7*7 }}", "</style><b>", "&amp;"])
def test_whatever_a_sender_wrote_is_text_on_the_page(field, hostile):
    answer = Pages([TEMPLATES]).render("confirm", 200, **(FIELDS | {field: hostile}))

    page = html.fromstring(answer.body.decode())
    assert hostile in page.text_content()
    assert not page.xpath("//script|//img|//b")


@pytest.mark.parametrize("number", ["15400000001", "+8615400000001", "154 0000 0001", "154-0000-0001"])
@pytest.mark.parametrize("field", ["headline", "area", "issuer", "text"])
def test_no_mobile_number_stands_on_the_page_whatever_the_words_say(field, number):
    text = Pages([TEMPLATES]).render("confirm", 200, **(FIELDS | {field: f"请联系{number}。"})).body.decode()

    assert number not in text and "154****0001" in text


@pytest.mark.parametrize("level", ["red", "orange", "yellow", "blue", "none"])
def test_the_colour_of_the_band_is_the_warnings(level):
    page = html.fromstring(Pages([TEMPLATES]).render("confirm", 200, **(FIELDS | {"level": level})).body.decode())

    assert page.xpath(f"//div[@class='band {level}']")


def test_a_county_may_word_the_pages_itself(sqlite_story, tmp_path):
    (tmp_path / "own" / "page" / "zh").mkdir(parents=True)
    (tmp_path / "own" / "page" / "zh" / "unknown.j2").write_text("<p>请联系德清县应急值班室</p>", encoding="utf8")
    sqlite_story.gateway.house.templates = [tmp_path / "own", TEMPLATES]

    with served(make_app(sqlite_story.gateway, {})) as client:
        answer = client.get("/c/forged")

    assert "德清县应急值班室" in answer.text and answer.headers["cache-control"] == HEADERS["Cache-Control"]


def test_an_error_of_ours_is_one_line_in_the_log_without_its_text(sqlite_story, tmp_path, caplog):
    """A page that a county worded wrongly stands for it."""
    (tmp_path / "own" / "page" / "zh").mkdir(parents=True)
    (tmp_path / "own" / "page" / "zh" / "unknown.j2").write_text("{{ 15400000001 // 0 }}", encoding="utf8")
    sqlite_story.gateway.house.templates = [tmp_path / "own", TEMPLATES]

    with served(make_app(sqlite_story.gateway, {})) as client:
        answer = client.get("/c/forged-0815")

    assert (answer.status_code, answer.text) == (500, "an error of ours")
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "ZeroDivisionError at" in line.getMessage() and line.exc_info is None
    assert "5400000001" not in line.getMessage() and "0815" not in line.getMessage()


def test_neither_link_nor_name_is_logged(told, caplog):
    caplog.set_level(0)
    for ask in (told.get, told.press, told.get):
        ask()
    told.client.get("/c/forged-0815")

    said = "\n".join(r.getMessage() for r in caplog.records if r.name.split(".")[0] not in ("httpx", "httpcore"))
    assert told.link.removeprefix("/c/") not in said and "forged-0815" not in said and told.name not in said
