"""The messages by which a grid worker is given a task: their fields, and nothing beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import cast

from .provider import Request

KINDS = ("alert.task.dispatched", "alert.task.updated", "alert.task.cancelled")
LEVELS = ("red", "orange", "yellow", "blue", "")

Fields = Mapping[str, Callable[[object], bool]]


class Refused(Exception):
    """The answer to a message that is not taken."""

    def __init__(self, status: int, words: str) -> None:
        self.status, self.words = status, words
        super().__init__(f"{status} {words}")


def read_message(request: Request) -> tuple[str, dict[str, object]]:
    """Type and data of a message that has exactly type, timestamp and data. Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "application/json")
    try:
        message = json.loads(request.body)
        json.dumps(message, ensure_ascii=False).encode()  # half a character cannot be shown to anybody
    except (ValueError, RecursionError):
        raise Refused(422, "not JSON in UTF-8") from None
    if not isinstance(message, dict) or message.keys() != {"type", "timestamp", "data"}:
        raise Refused(422, "the fields are type, timestamp, data")
    if message["type"] not in KINDS:
        raise Refused(422, f"type is one of {', '.join(KINDS)}")
    if not _is_moment(message["timestamp"]):
        raise Refused(422, "timestamp is ISO 8601 with its offset")
    if not isinstance(message["data"], dict):
        raise Refused(422, "data is an object")
    return message["type"], message["data"]


def check_task(fields: Mapping[str, object]) -> Mapping[str, str]:
    """The assignee. Raises Refused unless these are exactly the fields of a task, each of its kind."""
    _check_fields(fields, TASK_FIELDS, frozenset(), "data")
    assignee = cast("dict[str, str]", fields["assignee"])
    _check_fields(assignee, ASSIGNEE_FIELDS, frozenset({"mobileMasked"}), "data.assignee")
    return assignee


def _check_fields(found: Mapping[str, object], fields: Fields, optional: frozenset[str], where: str) -> None:
    if missing := fields.keys() - found.keys() - optional:
        raise Refused(422, f"{where} lacks {', '.join(sorted(missing))}")
    if found.keys() - fields.keys():
        raise Refused(422, f"{where} has a field that is none")
    for name, value in found.items():
        if not fields[name](value):
            raise Refused(422, f"{where}.{name} is not of its kind")


def superseded(fields: Mapping[str, object]) -> tuple[str, ...]:
    """The earlier tasks that this message names."""
    names = fields["supersedes"]
    return tuple(names) if isinstance(names, list) else ()


def _is_moment(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_words(value: object) -> bool:
    return isinstance(value, str)


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(_is_text(one) for one in value)


TASK_FIELDS: Fields = {
    "taskId": _is_text,
    "alertId": lambda value: _is_text(value) or (isinstance(value, int) and not isinstance(value, bool)),
    "identifier": _is_text,
    "level": lambda value: value in LEVELS,
    "event": _is_text,
    "gridCode": _is_text,
    "gridName": _is_words,
    "role": _is_words,
    "assignee": lambda value: isinstance(value, dict),
    "content": _is_text,
    "requireAckBy": lambda value: value is None or _is_moment(value),
    "actions": lambda value: _is_list(value) and value != [],
    "supersedes": _is_list,  # earlier tasks of the same event
}
ASSIGNEE_FIELDS: Fields = {
    "account": _is_text,
    "name": _is_words,
    "mobileMasked": lambda value: isinstance(value, str) and re.fullmatch(r"1[0-9]{2}\*{4}[0-9]{4}", value) is not None,
}
