"""What a grid worker's task is and what can be said back, without how it travels. Pure.

The county's 141 system publishes no interface for tasks: this form is ours (fields and verbs after the 四平台 round
trip 签收, 反馈, 办结, 退回). `grid` carries it as Standard Webhooks; another door to the same system would carry the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import cast

from ..delivery import Receipt, State
from .base import Call, Heard, Message, Purpose, Reply, Report, Verb

# Theirs on the left; a type that is not here is nothing of ours: ValueError.
VERBS: dict[str, Verb] = {
    "task.signed": Verb.ACKNOWLEDGED,  # 签收
    "task.feedback": Verb.MEASURES,  # 反馈
    "task.done": Verb.DONE,  # 办结
    "task.rejected": Verb.DECLINED,  # 退回
}

# What a micro-grid head tells at the doors: theirs on the left.
COUNTS = {"households": "households", "withoutPhone": "without_phone", "vulnerable": "vulnerable"}
MAX_COUNT = 1_000_000  # a grid has some hundreds of households; more is a slip of the pen

ACTIONS = ("sign", "feedback", "done", "reject")

MAX_SAID = 2000  # characters

_PREFIX = "T-"
_OURS = re.compile(r"T-([0-9a-z]{1,7}(?:-[0-9a-z]{1,7}){1,2})", re.ASCII)  # what a Message.key may be
_REF = re.compile(r"[!-~]{1,64}")  # printable ASCII: what goes into an index and a log line
_NOT_SAID = re.compile(r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")


def task_id(message: Message) -> str:
    """The task's name, the same on every attempt."""
    return _PREFIX + message.key


def is_ref(value: object) -> bool:
    """True for what can be the name of a task, theirs or ours."""
    return isinstance(value, str) and bool(_REF.fullmatch(value))


def kind_of(call: Call, message: Message) -> str:
    """dispatched, updated or cancelled."""
    if call.purpose is Purpose.STAND_DOWN:
        return "alert.task.cancelled"
    update = call.facts.msg_type == "Update" or _supersedes(call, message)
    return "alert.task.updated" if update else "alert.task.dispatched"


def task(call: Call, message: Message) -> dict[str, object]:
    """The task as its fields."""
    facts = call.facts
    return {
        "taskId": task_id(message),
        "alertId": facts.alert_id,
        "identifier": facts.identifier,
        "level": facts.level,
        "event": facts.event,
        "gridCode": message.region,
        "gridName": message.region_name,
        "role": message.role,
        "assignee": {"account": message.address, "name": message.person},
        "content": message.text,
        "requireAckBy": call.facts.answer_by.isoformat() if call.facts.answer_by else None,
        "actions": list(ACTIONS),
        "supersedes": _supersedes(call, message),
    }


def heard(kind: str, data: Mapping[str, object], sent: datetime | None = None) -> list[Heard]:
    """What a person's verb means. `sent` is the time of the letter, for a verb without one. Raises ValueError.

    Who signed is not kept: the delivery knows its post, and a name is personal.
    """
    verb = VERBS.get(kind)
    if verb is None:
        raise ValueError(f"a type that nobody knows; there are {', '.join(VERBS)}")
    found = data.get("taskId")
    if not is_ref(found):
        raise ValueError("data.taskId is missing, or is no task's name")
    ref = cast("str", found)
    ours = _OURS.fullmatch(ref)
    key, at = ours[1] if ours else "", time_of(data.get("at")) or sent
    said = "" if verb is Verb.ACKNOWLEDGED else _said(data.get("reason" if verb is Verb.DECLINED else "text"))
    counts = _counts(data) if verb in (Verb.MEASURES, Verb.DONE) else {}
    reply = Reply(verb, key=key, ref="" if key else ref, said=said, at=at, counts=counts)
    if verb is not Verb.ACKNOWLEDGED:
        return [reply]
    return [reply, Report(Receipt(State.DELIVERED, kind, ref=ref, at=at), key=key)]


def time_of(value: object) -> datetime | None:
    """ISO 8601 with an offset. None for anything else: that somebody answered matters more than when."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        return found if found and found.utcoffset() is not None and 1970 < found.year < 9999 else None
    except ValueError:
        return None


def json_object(body: bytes) -> dict[str, object]:
    """The JSON object that these bytes are. ValueError for anything else."""
    try:
        found = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - callers promise ValueError for foreign bytes
    return cast("dict[str, object]", found)


def _supersedes(call: Call, message: Message) -> list[str]:
    """The earlier tasks of this event at this address."""
    return list(dict.fromkeys(past.ref for past in call.facts.past if message.address in past.addresses))


def _said(value: object) -> str:
    """Their words, fit to be stored: no control characters, no half of a character."""
    return _NOT_SAID.sub(" ", value[:MAX_SAID]).strip() if isinstance(value, str) else ""


def _counts(data: Mapping[str, object]) -> dict[str, int]:
    """The counts that are counts. One that is none does not cost the feedback."""
    found = {ours: data.get(theirs) for theirs, ours in COUNTS.items()}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    }
