"""Every way out against its strict stand-in: who hears it, who answers, and what becomes of every doubt."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sqlalchemy as sa

from broadcast.ledger import tables as t

from ..town import a_town
from .stories import warning

VILLAGE = ("330521115201",)
NOBODY_TAPS = {"confirm_share": 0.0, "ding_confirm_share": 0.0}
QUICK = {"ding-1": {"collect_seconds": 1}}


@pytest.fixture
def town(lean_story):
    with a_town(lean_story) as made:
        yield made


def in_village(town, **options) -> bytes:
    return warning(town.story, area="测试村", codes=VILLAGE, **options)


def posts(town, sent) -> dict[str, int]:
    return dict(town.gateway.answers(sent.alert_id).duties)


# --- the loudspeakers


def test_a_loudspeaker_is_delivered_to_only_when_its_platform_says_that_it_is_on_the_air(town):
    town.fault("ebd", no_reports=True)
    sent = town.send(in_village(town))
    assert town.states(sent, "speaker") == {"accepted"}  # ResultCode 1 is "understood"
    town.fault("ebd")
    again = town.send(in_village(town))
    town.until(lambda: town.states(again, "speaker") == {"delivered"})
    assert town.states(sent, "speaker") == {"accepted"}


def test_a_packet_without_an_answer_is_asked_about_and_not_spoken_twice(town):
    town.fault("ebd", close_without_answer="after", times=1)
    sent = town.send(in_village(town))
    town.until(lambda: town.states(sent, "speaker") == {"delivered"})
    (played,) = [one for one in town.received("ebd") if one["kind"] == "play"]
    assert not played.get("played_again")


def test_a_packet_that_the_platform_never_got_is_sent_again_as_it_was(town):
    town.fault("ebd", close_without_answer="before", times=1)
    sent = town.send(in_village(town))
    assert town.states(sent, "speaker") <= {"in_doubt", "deferred", "accepted", "delivered"}
    town.until(lambda: town.states(sent, "speaker") == {"delivered"})
    assert len([one for one in town.received("ebd") if one["kind"] == "play"]) == 1
    assert "doubt.decided" in town.story.entries(sent)  # asked: the platform did not know it


@pytest.mark.parametrize("form", ["new", "original"])
def test_a_cancel_takes_the_warning_off_the_air_and_then_says_that_it_is_over(lean_story, form):
    with a_town(lean_story, options={"ebd-1": {"cancel_ebmid": form}}, accounts={"ebd": {"cancel": form}}) as town:
        sent = town.send(in_village(town, identifier="33052141600000_first"))
        town.until(lambda: town.states(sent, "speaker") == {"delivered"})
        over = town.send(in_village(town, msg_type="Cancel", references="33052141600000_first"))
        town.until(lambda: town.states(over, "speaker", "stop") == {"delivered"})
        town.until(lambda: town.states(over, "speaker", "stand_down") == {"delivered"})
        kinds = [(one["kind"], bool(one["on_air"])) for one in town.received("ebd")]
        assert kinds == [("play", False), ("cancel", False), ("play", True)]
        assert "已解除" in town.received("ebd")[2]["text"]


def test_every_packet_has_a_number_of_its_own(town):
    for _ in range(3):
        town.send(in_village(town))
        town.story.clock.forward(minutes=1)
    numbers = [one["ebmid"] for one in town.received("ebd")]
    assert len(numbers) == len(set(numbers)) == 3
    assert [int(number[-4:]) for number in numbers] == [1, 2, 3]  # 0000 means "may be ignored"


def test_the_state_of_each_village_system_is_kept_and_shown(lean_story):
    villages = tuple(f"330521115{n}" for n in (201, 202))
    with a_town(lean_story, accounts={"ebd": {"villages": villages, "systems_seconds": 20.0}}) as town:
        assert all(one.standing == "" and one.silent for one in town.gateway.speakers("330521115"))
        town.send(in_village(town))  # now the platform knows where we listen
        town.until(lambda: sum(not one.silent for one in town.gateway.speakers("330521115")) == 2)
        heard = {one.region: one.standing for one in town.gateway.speakers() if not one.silent}
        assert heard[""] == "online"  # the platform itself, by its heartbeat
        assert set(heard) == {"", *villages}


# --- voice, and who has answered


def test_only_the_wanted_key_is_an_acknowledgement(lean_story):
    everybody = {"press_share": 1.0, "hear_share": 0.0}
    with a_town(lean_story, accounts={"vms": everybody, "zwdd": NOBODY_TAPS}) as town:
        sent = town.send(in_village(town))
        town.until(lambda: town.states(sent, "voice") <= {"delivered", "cancelled", "rejected"})
        called = {row["delivery"] for row in town.rows(sent, "voice") if row["state"] == "delivered"}
        town.until(lambda: posts(town, sent).get("answered", 0) >= len(called) > 0)


def test_who_listens_to_the_end_and_presses_nothing_has_not_acknowledged(lean_story):
    with a_town(lean_story, accounts={"vms": {"press_share": 0.0, "hear_share": 1.0}, "zwdd": NOBODY_TAPS}) as town:
        sent = town.send(in_village(town))
        town.until(lambda: town.states(sent, "voice") == {"delivered"})
        assert set(posts(town, sent)) == {"open"}


def test_an_answer_withdraws_what_has_not_been_sent_to_that_person_yet(lean_story):
    with a_town(lean_story, accounts={"vms": {"press_share": 1.0, "hear_share": 0.0}, "zwdd": NOBODY_TAPS}) as town:
        town.fault("mas", refuse="SystemBusy")  # their SMS has to wait
        sent = town.send(in_village(town))
        town.until(lambda: posts(town, sent).get("answered", 0) >= len(town.received("vms")) > 0)
        waiting = [row for row in town.rows(sent, "sms") if row["state"] == "cancelled"]
        assert waiting and {row["reason"] for row in waiting} == {"answered by voice"}
        called = {one["number"] for one in town.received("vms")}  # all of them have pressed the key
        town.fault("mas")
        town.story.clock.forward(minutes=2)
        town.work()
        told = {mobile for one in town.received("mas") for mobile in one["mobiles"]}
        assert told and not told & called


def test_one_number_is_called_as_often_as_the_provider_allows_and_less_for_orange(lean_story):
    with a_town(lean_story, accounts={"vms": {"press_share": 0.0, "hear_share": 0.0}, "zwdd": NOBODY_TAPS}, speed=5000) as town:
        for n in range(4):  # within one hour of the ledger
            sent = town.send(in_village(town, identifier=f"33052141600000_o{n}"))
            town.story.clock.forward(minutes=6)
            town.work()
        assert max(calls_by_number(town).values()) == 2  # two an hour for orange, whoever asks for them
        alarms = town.rows(sent, "voice", "alarm")
        assert {row["state"] for row in alarms} == {"cancelled"}  # too late by voice: by another channel
        assert all("instead" in row["reason"] for row in alarms)
        for n in range(4):
            town.send(in_village(town, severity="Extreme", identifier=f"33052141600000_r{n}"))
            town.story.clock.forward(minutes=2)
            town.work()
        assert max(calls_by_number(town).values()) == 5  # the rest of the hour was kept for red


def calls_by_number(town) -> dict[str, int]:
    counted: dict[str, int] = {}
    for one in town.received("vms"):
        counted[one["number"]] = counted.get(one["number"], 0) + 1
    return counted


def test_whoever_sleeps_through_the_first_call_is_called_again_over_the_real_provider_and_answers(lean_story):
    with a_town(lean_story, accounts={"vms": {"press_share": 0.0, "hear_share": 0.0}, "zwdd": NOBODY_TAPS}, speed=5000) as town:
        sent = town.send(in_village(town, severity="Extreme"))
        town.until(lambda: town.states(sent, "voice", "alarm") == {"failed"})
        town.story.clock.forward(seconds=61)
        town.work()
        again = town.rows(sent, "voice", "callout.principal.1")
        assert {row["state"] for row in again} <= {"accepted", "failed"} and len(again) > 5
        assert max(calls_by_number(town).values()) == 2


# --- 浙政钉


def test_everybody_of_an_alert_is_in_one_work_notice_whatever_their_tier(town):
    sent = town.send(warning(town.story, severity="Moderate"))
    (notice,) = [one for one in town.received("zwdd") if one.get("bizMsgId")]
    told = town.rows(sent, "zwdd")
    assert len(notice["receivers"]) == len(told) > 20
    assert len({row["tier"] for row in told}) >= 3  # each is still counted at its own tier
    by_tier = {row.tier: row.owed for row in town.gateway.progress(sent.alert_id) if row.channel == "zwdd"}
    assert by_tier == {tier: sum(row["tier"] == tier for row in told) for tier in by_tier}


def test_a_second_alert_within_ten_minutes_goes_by_ding(town):
    town.send(in_village(town, severity="Moderate"))
    second = town.send(in_village(town, severity="Moderate"))
    assert {row["peer"] for row in town.rows(second, "zwdd")} == {"ding-1"}
    town.story.clock.forward(minutes=11)
    third = town.send(in_village(town, severity="Moderate"))
    assert {row["peer"] for row in town.rows(third, "zwdd")} <= {"notice-1"}


def test_where_only_the_notice_is_there_its_spacing_sends_posts_to_the_plans_next_channel(lean_story):
    with a_town(lean_story, without=("ding-1",)) as town:
        town.send(in_village(town, severity="Moderate"))
        second = town.send(in_village(town))  # orange: within five minutes, and the next notice is ten away
        rows = town.rows(second, "zwdd")
        moved = [row for row in rows if row["state"] == "cancelled"]
        assert all("instead: notice-1 wants a pause between calls" in row["reason"] for row in moved)
        assert len(moved) > 10 > len(rows) - len(moved)  # who has no phone waits for the next notice: nobody is given up
        assert {row["state"] for row in rows if row not in moved} <= {"deferred"}
        assert len([one for one in town.received("zwdd") if one.get("bizMsgId")]) == 1


def test_a_link_is_each_persons_own_and_opening_it_confirms_nothing(lean_story):
    with a_town(lean_story, accounts={"vms": {"press_share": 0.0, "hear_share": 0.0}, "zwdd": NOBODY_TAPS}) as town:
        sent = town.send(in_village(town))
        links = [re.search(r"http\S+/c/\S+", one["text"]) for one in town.received("zwdd") if "dingId" in one]
        links = [link[0] for link in links if link]
        assert len(links) == len(set(links)) > 3
        for link in links:
            page = town.client.get(link)
            assert page.status_code == 200 and "确认" in page.text
        assert set(posts(town, sent)) == {"open"}
        before = posts(town, sent)["open"]
        for link in links * 2:  # a second tap is no error
            assert town.client.post(link).status_code == 200
        assert posts(town, sent)["answered"] + posts(town, sent).get("open", 0) == before
        assert posts(town, sent).get("open", 0) < before
        assert town.client.get(links[0] + "x").status_code == 404


# --- SMS


def test_a_reply_of_a_number_with_one_open_alert_is_its_acknowledgement(lean_story):
    quiet = {"vms": {"press_share": 0.0, "hear_share": 0.0}, "zwdd": NOBODY_TAPS}
    with a_town(lean_story, accounts={**quiet, "mas": {"reply_share": 1.0, "reply_seconds": 5.0}}) as town:
        sent = town.send(in_village(town))
        town.until(lambda: posts(town, sent).get("answered", 0) > 3)


def test_a_reply_of_a_number_with_two_open_alerts_is_kept_flagged_and_stops_no_call(lean_story):
    quiet = {"vms": {"press_share": 0.0, "hear_share": 0.0}, "zwdd": NOBODY_TAPS, "grid": {"signed_share": 0.0}}
    with a_town(lean_story, accounts=quiet) as town:
        first, second = town.send(in_village(town)), town.send(in_village(town))
        mobile = town.received("vms")[0]["number"]  # somebody from whom an answer is owed
        reply = {"smsContent": "1", "mobile": mobile, "sendTime": "20230705053000", "addSerial": ""}
        assert town.client.post("/callbacks/mas-1/town-secret-of-the-callbacks", json=reply).status_code == 200
        town.work()
        assert set(posts(town, first)) == set(posts(town, second)) == {"open"}
        assert flags(town) == ["several alerts are open for that number"]


def flags(town) -> list[str]:
    with town.gateway.ledger.read() as tx:
        return list(tx.execute(sa.select(t.reply.c.flag).where(t.reply.c.flag != "")).scalars())


# --- grid workers and other platforms


def test_a_signature_in_the_grid_system_is_an_acknowledgement_and_feedback_counts_who_was_told_at_the_door(town):
    sent = town.send(in_village(town))
    town.until(lambda: town.gateway.answers(sent.alert_id).at_the_door.get("households", 0) > 0)
    assert set(town.gateway.answers(sent.alert_id).at_the_door) == {"households", "without_phone", "vulnerable"}


def test_other_platforms_get_the_warning_itself_with_the_wish_for_area_sms_when_it_is_red(town):
    orange, red = town.send(in_village(town)), town.send(in_village(town, severity="Extreme"))
    for sent in (orange, red):
        assert town.states(sent, "feed") == {"accepted"}
    got = town.received("feed")
    assert {one["platform"] for one in got} == {"city", "anji", "changxing"}
    assert [one["area_sms"] for one in got] == [False] * 3 + [True] * 3


def test_a_ding_that_was_read_has_reached_and_only_its_button_acknowledges(lean_story):
    reads = {"read_share": 1.0, "ding_confirm_share": 0.0, "confirm_share": 0.0, "seconds": 5.0}
    with a_town(lean_story, accounts={"vms": {"press_share": 0.0, "hear_share": 0.0}, "zwdd": reads}, options=QUICK) as town:
        sent = town.send(in_village(town))
        town.until(lambda: town.states(sent, "zwdd") == {"delivered"})
        assert set(posts(town, sent)) == {"open"}


def test_the_button_of_a_ding_is_an_acknowledgement(lean_story):
    presses = {"read_share": 1.0, "ding_confirm_share": 1.0, "confirm_share": 0.0, "seconds": 5.0}
    with a_town(lean_story, accounts={"vms": {"press_share": 0.0, "hear_share": 0.0}, "zwdd": presses}, options=QUICK) as town:
        sent = town.send(in_village(town))
        town.until(lambda: posts(town, sent).get("answered", 0) > 5)


def test_accounts_are_found_ahead_of_time_by_phone_number(town):
    persons = [replace(one, zwdd="") for one in town.gateway.roster().persons[:120]]
    found = town.gateway.look_up_accounts(persons)
    assert set(found) == {one.person_id for one in persons if one.phone}
    assert not town.gateway.look_up_accounts([replace(one, synthetic=False) for one in persons])  # no real number to a stand-in
