"""A way out that ends in a file on this machine. For simulated peers only: it never reaches a person."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..delivery import Receipt, State
from ..errors import InDoubt, Misconfigured, Unavailable, Unsupported
from .base import Answer, Call, Callback, Capabilities, Heard, Message


class LoopbackOptions(BaseModel):
    """What a `[[peer]]` with protocol "loopback" may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path  # JSON lines, appended to by any number of threads and processes; its folder must exist
    per_call: int = Field(1000, ge=1, le=100_000)
    latency_ms: int = Field(0, ge=0, le=600_000)
    answers: Literal["accepted", "delivered"] = "delivered"


class Loopback:
    """One file. Each message is one line: key, seq, purpose, masked address, text, time."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        per_call=1000, text_limit=0, one_text=False, deduplicates=True, can_stop=True
    )
    Options: ClassVar[type[BaseModel]] = LoopbackOptions
    serves: ClassVar[frozenset[str]] = frozenset({"speaker", "sms", "voice", "zwdd", "grid", "feed"})

    def __init__(self, options: LoopbackOptions) -> None:
        self._options = options
        self._reading = threading.Lock()
        self._kept: set[tuple[str, int]] = set()  # (key, seq) of the lines read so far
        self._read_to = 0  # bytes

    def send(self, call: Call) -> Sequence[Receipt]:
        """Keeps what is not kept yet. Unavailable when the file cannot be opened, InDoubt when writing broke off."""
        if not call.messages:
            raise Unsupported("a call without messages")
        if len(call.messages) > self._options.per_call:
            raise Unsupported(f"{len(call.messages)} messages in one call; this peer's per_call is {self._options.per_call}")
        time.sleep(self._options.latency_ms / 1000)
        with self._reading, self._opened() as file:
            self._keep(file, call)
        return [Receipt(State(self._options.answers), "kept", ref=f"loopback-{call.key}") for _ in call.messages]

    def ask(self, call: Call) -> Sequence[Receipt]:  # noqa: ARG002 - the contract's signature
        """Always Unsupported: send again, it deduplicates."""
        raise Unsupported("loopback cannot be asked: send the call again, the same key is kept once")

    def read(self, callback: Callback) -> Sequence[Heard]:  # noqa: ARG002 - the contract's signature
        """Always ValueError: nobody calls back."""
        raise ValueError("loopback has no callbacks")

    def answer(self, callback: Callback) -> Answer:  # noqa: ARG002 - the contract's signature
        """404: nobody calls back."""
        return Answer(404, "text/plain", b"loopback has no callbacks")

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:  # noqa: ARG002
        """Always Unsupported: nothing waits in a file."""
        raise Unsupported("loopback has nothing to collect")

    def close(self) -> None:
        """Nothing: the file is open only while it is written."""

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The file, open and ours alone: other workers append to it too."""
        try:
            file = os.open(self._options.file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (IsADirectoryError, PermissionError) as error:
            raise Misconfigured(f"the loopback file may not be written ({type(error).__name__})") from None
        except OSError as error:
            raise Unavailable(f"the loopback file cannot be opened ({type(error).__name__})") from None
        try:
            self._lock_and_catch_up(file)
            yield file
        finally:
            os.close(file)  # and with it the lock

    def _lock_and_catch_up(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._catch_up(file)
        except OSError as error:
            raise Unavailable(f"the loopback file cannot be read ({type(error).__name__})") from None

    def _catch_up(self, file: int) -> None:
        """Reads what was appended since: by ourselves, by other processes, before a crash."""
        size = os.fstat(file).st_size
        if size < self._read_to:  # somebody emptied the file: what is not in it was not kept
            self._kept, self._read_to = set(), 0
        added = os.pread(file, size - self._read_to, self._read_to)
        self._kept.update(_keys(added))
        self._read_to += len(added)

    def _keep(self, file: int, call: Call) -> None:
        new = [message for message in call.messages if (_key(call, message), message.seq) not in self._kept]
        lines = b"".join(_line(call, message) for message in new)
        if not lines:
            return
        whole = self._read_to == 0 or os.pread(file, 1, self._read_to - 1) == b"\n"
        try:
            _write_all(file, lines if whole else b"\n" + lines)  # a crash can leave half a line: never glue to it
        except OSError as error:
            raise InDoubt(f"writing the loopback file broke off ({type(error).__name__})") from None


def _line(call: Call, message: Message) -> bytes:
    kept = {
        "key": _key(call, message),
        "seq": message.seq,
        "purpose": call.purpose.value,
        "address": masked(message.address),
        "text": message.text,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _key(call: Call, message: Message) -> str:
    """The delivery's own key where it has one: a later call may hold only some of an earlier one's messages."""
    return message.key or call.key


def masked(address: str) -> str:
    """`138****0002` for a phone; of any other address at most its ends."""
    national = address.removeprefix("+86")
    return f"{national[:3]}****{national[-4:]}" if len(national) >= 11 else "****"


def _keys(lines: bytes) -> Iterator[tuple[str, int]]:
    for line in lines.splitlines():
        try:
            kept = json.loads(line)
            yield str(kept["key"]), int(kept["seq"])
        except (ValueError, KeyError, TypeError):
            continue  # half a line after a crash: its message was not kept and is written again


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
