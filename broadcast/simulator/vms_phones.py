"""The phones that the stand-in of Aliyun 语音服务 calls: who answers, who presses, and the reports of how it went."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from .faults import Faults
from .vms_rules import Order, VmsAccount


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ends at the phone that was called."""

    status: str  # of VoiceReport
    words: str  # for whoever watches
    rings: bool = True
    answers: bool = False
    presses: bool = False


PRESS = Ending("200000", "按", answers=True, presses=True)
WRONG = Ending("200000", "错按", answers=True, presses=True)
HEARD = Ending("200000", "听完,未按键", answers=True)
NO_KEY = Ending("200008", "接听,未按键", answers=True)
BUSY = Ending("200002", "占线", rings=False)
SILENT = Ending("200003", "无人接听")
OFF = Ending("200010", "关机", rings=False)


@dataclass(frozen=True, slots=True)
class PhoneCall:
    """One call that was taken, and what becomes of it."""

    order: Order
    nth: int  # to this number
    call_id: str
    at: datetime
    ending: Ending
    key: str  # pressed, or ""


def behave(order: Order, nth: int, account: VmsAccount, faults: Faults) -> tuple[Ending, str]:
    """How the nth call to a number ends, and the key pressed or "". Depends on the seed besides, and on nothing else."""
    chance = random.Random(f"{account.seed}:{order.callee}:{nth}")  # noqa: S311 - who answers is no secret
    ending = _ending(order.callee, chance, account, faults.fail_share)
    key = "" if not ending.presses else order.keys[0] if ending is PRESS else _other_key(order.keys)
    return ending, key


def story(call: PhoneCall, stamp: Callable[[float], str], chance: random.Random) -> Iterator[tuple[float, dict[str, str]]]:
    """A call's reports, each with the second after which it is due: the intermediate ones (VoiceCallReport), then VoiceReport.

    `stamp` writes the time of a second of the call.
    """
    order, ending = call.order, call.ending
    start = 0.5
    ring = start + chance.uniform(1, 4)
    answer = ring + chance.uniform(3, 12)
    text = len(order.text) / 4 + 1  # ASSUMPTION: four characters a second, then a breath
    press = answer + text * chance.uniform(0.5, 1)
    end = start + 3  # busy or off
    if ending.presses:
        end = press + 3  # the prompt of the key
    elif ending.answers:
        end = answer + text * order.play_times + 5
    elif ending.rings:
        end = ring + 50

    def moment(status: str, second: float, **more: str) -> tuple[float, dict[str, str]]:
        same = {"call_id": call.call_id, "status_code": status, "status_time": stamp(second), "out_id": order.out_id}
        return second, same | more

    yield moment("200101", start)
    if ending.rings:
        yield moment("200201", ring)
    if ending.answers:
        yield moment("200102", answer)
    if ending.presses:
        yield moment("300000", press, dtmf=call.key)
    yield moment("200100", end)
    yield (
        end + 1,
        {
            "status_code": ending.status,
            "callee": order.callee,
            "ring_time": stamp(ring) if ending.rings else "",
            "duration": str(round(end - answer)) if ending.answers else "0",
            "voice_type": "voice",
            "originate_time": stamp(start),
            "b_start_time": stamp(answer) if ending.answers else "",
            "end_time": stamp(end),
            "call_id": call.call_id,
            "caller": order.caller,
            "status_msg": "执行完成",
            "out_id": order.out_id,
            "dtmf": call.key,
            "toll_type": "UNKNOWN",
            "hangup_direction": "机器" if ending.answers else "",
        },
    )


def _other_key(keys: tuple[str, ...]) -> str:
    """A key that the menu does not have."""
    return next((key for key in "9876543210*#" if key not in keys), "")


def _ending(number: str, chance: random.Random, account: VmsAccount, fail_share: float) -> Ending:
    if fail_share > 0 and chance.random() < fail_share:
        return chance.choice((SILENT, OFF))
    always = {
        account.press_ending: PRESS,
        account.hear_ending: HEARD,
        account.wrong_ending: WRONG,
        account.silent_ending: SILENT,
    }
    for digits, ending in always.items():
        if digits and number.endswith(digits):
            return ending
    draw = chance.random()
    if draw < account.press_share:
        return PRESS
    if draw < account.press_share + account.hear_share:
        return chance.choice((HEARD, NO_KEY))
    return chance.choice((BUSY, SILENT, OFF))
