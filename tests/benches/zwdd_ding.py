"""浙政钉 DING against its stand-in: the same app and moods as the work notification, with tokens, at life's own speed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from broadcast.simulator import Config, Simulator, ZwddAccount
from tests.benches.base import Bench
from tests.benches.zwdd_notice import ZwddNoticeBench


class ZwddDingBench(ZwddNoticeBench):
    protocol = "zwdd-ding"
    threads = 6
    patience: Mapping[str, object] = MappingProxyType({"read_seconds": 10})

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        Bench.__init__(self, folder, stack)
        account = ZwddAccount("app-of-a-bench", self.secret, "196729", token_required=True)
        self.simulator = stack.enter_context(Simulator(Config(account=None, zwdd=account)))

    def options(self) -> dict[str, object]:
        return super().options() | {"creator": "77000000", "with_token": True}
