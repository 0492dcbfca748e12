"""What people say back by SMS: which words acknowledge, which do not, and which alert an extension digit means."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.channels import replies
from broadcast.channels.base import Verb

around = st.text(st.sampled_from(" \u3000\t\r\n\x00。，、．！!.,;；:：…—-\"'“”‘’()（）[]【】《》~"), max_size=6).map(
    lambda text: text.replace("~", "")
)


@given(before=around, word=st.sampled_from(["1", "１", "收到"]), after=around)
def test_the_wanted_words_acknowledge_whatever_blanks_and_punctuation_stand_around_them(before, word, after):
    assert replies.verb(before + word + after) is Verb.ACKNOWLEDGED


@pytest.mark.parametrize(
    "said",
    [
        "",
        " ",
        "11",
        "1 1",
        "12",
        "0",
        "没收到",
        "未收到",
        "收到了吗",
        "收到？",
        "1?",
        "不在家",
        "退订",
        "TD",
        "①",
        "一",
        "好",
        "+1",
        "收 到",
    ],
)
def test_anything_else_settles_nothing(said):
    assert replies.verb(said) is Verb.OTHER


@given(said=st.text(max_size=700))
def test_whatever_was_said_can_be_stored(said):
    kept = replies.kept(said)
    assert len(kept) <= replies.MAX_SAID
    assert kept.encode("utf-8") is not None
    assert all(unicodedata.category(character) not in ("Cc", "Cs") for character in kept)


def test_words_are_kept_as_they_were_said():
    assert replies.kept(" 已经在转移了\n共12户 ") == "已经在转移了 共12户"
    assert replies.kept("\ud83d") == "?"


@pytest.mark.parametrize("number", ["15400000001", "8615400000001", "+8615400000001"])
def test_a_mobile_is_the_same_however_a_carrier_writes_it(number):
    assert replies.address(number) == "+8615400000001"


@pytest.mark.parametrize(
    "number", ["", "10690000", "1540000000", "154000000012", "008615400000001", "+85215400001", "１５４00000001", "25400000001"]
)
def test_what_is_no_mobile_is_nobody(number):
    assert replies.address(number) == ""


@given(alert_id=st.integers(1, 10**9), own=st.text("0123456789", max_size=18), digits=st.integers(1, 4))
def test_the_appended_digits_are_the_end_of_the_alerts_number_and_are_found_again(alert_id, own, digits):
    serial = replies.serial(alert_id, digits)
    assert len(serial) == digits
    assert f"{alert_id:09d}".endswith(serial)
    assert replies.alert_ending(own + serial, own, digits) == serial


@pytest.mark.parametrize(
    ("number", "own", "digits"),
    [("1069000042", "10690000", 0), ("10690000", "10690000", 2), ("106900004", "10690000", 2), ("10690000420", "10690000", 2),
     ("1069999942", "10690000", 2), ("10690000４2", "10690000", 2), ("", "", 2), ("10690000", "", 2)],
)  # fmt: skip
def test_a_number_of_another_shape_tells_no_alert(number, own, digits):
    assert replies.alert_ending(number, own, digits) == ""


def test_without_serial_digits_nothing_is_appended():
    assert replies.serial(42, 0) == ""
