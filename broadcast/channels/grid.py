"""Grid workers (基层治理四平台, "141"): one task for each, signed as Standard Webhooks; their verbs come back the same way.

No public interface of a county's 141 system was found, so the contract is ours (tasks.py) and its far end is whoever
implements it. A task's webhook-id is the same on every attempt: what is in doubt may be sent again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, FilePath, HttpUrl

from ..delivery import Receipt, State
from ..errors import Misconfigured, Unsupported
from . import http, tasks
from .base import Answer, Call, Callback, Capabilities, Heard, Message, Purpose
from .webhooks import Secret, Signer, is_fresh, one_by_one


class Meaning(Enum):
    """What the far end's status says about one task."""

    TAKEN = auto()
    ABOUT_THEM = auto()  # this assignee, no other; only where the words beside it say so
    ABOUT_US = auto()


# 2xx is TAKEN. 401, 403, 407, 429 and 503 with Retry-After never come this far; any other status means what `http` says
# of one without a usable body: below 500 it is about us, from there on the task may have been taken.
MEANINGS: dict[int, Meaning] = {
    404: Meaning.ABOUT_THEM,
    409: Meaning.TAKEN,  # this task is already final there
    410: Meaning.ABOUT_US,  # it wants no more tasks from us
    422: Meaning.ABOUT_THEM,
}

# The `error` of a 404 or 422 that means the assignee. A wrong path is a 404 too, and a field that the far end does not
# understand a 422: neither may reject a county of good accounts, so any other word is about us.
UNKNOWN_ASSIGNEE = "unknown assignee"

MAX_CALLBACK_BYTES = 1 << 20


class GridOptions(BaseModel):
    """What a `[[peer]]` with protocol "grid" may say."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: HttpUrl  # where tasks are posted
    secret: Secret  # whsec_…: signs tasks, verifies what comes back
    other_secret: Secret | None = None  # the old or the next one, while they are exchanged
    refusals: frozenset[str] = frozenset({UNKNOWN_ASSIGNEE})  # their words for an assignee who gets no tasks; ours by default
    ca_file: FilePath | None = None  # PEM; for a far end whose certificate a private CA signed
    per_call: int = Field(20, ge=1, le=500)  # tasks handed over one after the other within one lease
    doubt_seconds: int = Field(300, ge=1, le=86_400)
    connect_seconds: float = Field(5.0, gt=0, le=60)
    read_seconds: float = Field(20.0, gt=0, le=120)


class Grid:
    """One county's task system."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        per_call=20,
        text_limit=0,
        one_text=False,
        receipts=True,
        acknowledges=True,
        deduplicates=True,
        named=True,
        recalls=True,
    )
    Options: ClassVar[type[BaseModel]] = GridOptions
    serves: ClassVar[frozenset[str]] = frozenset({"grid"})

    def __init__(self, options: GridOptions) -> None:
        self._options = options
        self._signer = Signer(options.secret, options.other_secret)
        self._client = http.open_client(
            ca_file=options.ca_file, connect_seconds=options.connect_seconds, read_seconds=options.read_seconds
        )

    def send(self, call: Call) -> Sequence[Receipt]:
        """One request for each task, one after the other; `one_by_one` says what becomes of a failure in the middle."""
        self._refuse_what_cannot_be(call)
        return one_by_one(call.messages, lambda message: self._hand_over(call, message), one_far_end=True)

    def ask(self, call: Call) -> Sequence[Receipt]:  # noqa: ARG002 - the contract's signature
        """Always Unsupported: the same task may be sent again, the far end takes it once."""
        raise Unsupported("grid cannot be asked: send the call again, the same task is taken once")

    def read(self, callback: Callback) -> Sequence[Heard]:
        """A verb of a person. ValueError for what is not signed by the far end, or says nothing we know.

        Not asked again is how old it is: `answer` did, and in the inbox it may have become any age.
        """
        if len(callback.body) > MAX_CALLBACK_BYTES:
            raise ValueError(f"longer than {MAX_CALLBACK_BYTES} bytes")
        if not self._signer.is_signed(callback):
            raise ValueError("not signed with this peer's secret")
        found = tasks.json_object(callback.body)
        kind, data = found.get("type"), found.get("data")
        if not isinstance(kind, str) or not isinstance(data, dict):
            raise ValueError("a callback needs type and data")  # noqa: TRY004 - the contract's promise for foreign bytes
        return tasks.heard(kind, data, tasks.time_of(found.get("timestamp")))

    def answer(self, callback: Callback) -> Answer:
        """200 for a good signature of the last five minutes, else 401: the far end's to repair, and to send again."""
        if self._signer.is_signed(callback) and is_fresh(callback, datetime.now(UTC)):
            return Answer(200, "text/plain", b"OK")
        return Answer(401, "text/plain", b"the signature is not valid, or not of the last five minutes")

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:  # noqa: ARG002
        """Always Unsupported: the far end calls back."""
        raise Unsupported("grid has nothing to fetch: its answers come as callbacks")

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def _refuse_what_cannot_be(self, call: Call) -> None:
        if call.purpose not in (Purpose.ALARM, Purpose.STAND_DOWN):
            raise Unsupported(f"a grid task cannot {call.purpose.value}: it is dispatched, updated or cancelled")
        if not call.messages:
            raise Unsupported("a call without messages")
        if len(call.messages) > self._options.per_call:
            raise Unsupported(f"{len(call.messages)} messages in one call; this peer's per_call is {self._options.per_call}")
        if not all(message.key for message in call.messages):
            raise Unsupported("a message without a key: a task must be known again on the next attempt")

    def _hand_over(self, call: Call, message: Message) -> Receipt:
        now, body = datetime.now(UTC), _body(call, message)
        key = f"{tasks.task_id(message)}-{call.purpose.value}"
        return http.post_with_status(
            self._client,
            str(self._options.url),
            content=body.encode(),
            headers={"Content-Type": "application/json; charset=utf-8"} | self._signer.headers(key, body, now),
            read=lambda status, answer: _read_answer(status, answer, tasks.task_id(message), self._options.refusals),
            seconds=self._options.read_seconds,
        )


def _body(call: Call, message: Message) -> str:
    """The same on every attempt: its time is the alert's, the attempt's own stands in the signed header."""
    letter = {
        "type": tasks.kind_of(call, message),
        "timestamp": call.facts.sent.isoformat(),
        "data": tasks.task(call, message),
    }
    # Escaped to ASCII: a lone surrogate in a text is no reason to lose the call.
    return json.dumps(letter)


def _read_answer(status: int, body: bytes, task_id: str, refusals: Container[str]) -> Receipt:
    """The far end's status, and its own name for the task where it gives one. ValueError where `http` knows better."""
    meaning = Meaning.TAKEN if 200 <= status < 300 else MEANINGS.get(status)
    if meaning is Meaning.TAKEN:
        theirs = _word(body, "taskId")
        return Receipt(State.ACCEPTED, str(status), ref=theirs if tasks.is_ref(theirs) else task_id)
    if meaning is Meaning.ABOUT_THEM and _word(body, "error") in refusals:
        return Receipt(State.REJECTED, str(status), "the grid system gives this account no tasks")
    if meaning is Meaning.ABOUT_US:
        raise Misconfigured(f"HTTP {status}: the grid system has unsubscribed us; agree with its operator")
    raise ValueError("nothing that this channel knows")


def _word(body: bytes, name: str) -> str:
    """One text of a JSON answer; "" where there is none: an answer may be empty."""
    try:
        found = tasks.json_object(body).get(name)
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""
