"""The loopback against a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from broadcast.channels.base import Channel
from tests.benches.base import Bench


class LoopbackBench(Bench):
    protocol = "loopback"

    def options(self) -> dict[str, object]:
        return {"file": str(self.folder / "sent.jsonl")}

    def received(self) -> int:
        file = self.folder / "sent.jsonl"
        return len(file.read_text("utf-8").splitlines()) if file.exists() else 0

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(file=str(self.folder / "no such folder" / "sent.jsonl"))

    def something_may_have_left(self) -> Iterator[Channel]:
        if Path("/dev/full").exists():  # a disk without room
            yield self.channel(file="/dev/full")

    def refuses_us(self) -> Iterator[Channel]:
        yield self.channel(file=str(self.folder))
