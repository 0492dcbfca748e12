"""浙政钉 work notifications against their stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from broadcast.channels.base import Channel
from broadcast.simulator import Config, Faults, Simulator, ZwddAccount
from tests.benches.base import Bench


class ZwddNoticeBench(Bench):
    protocol = "zwdd-notice"
    refuses_one = "GE_nobody"  # an employee's code is no accountId
    threads = 1  # "禁止使用多线程方式调用"

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        account = ZwddAccount("app-of-a-bench", self.secret, "196729")
        # So fast that ten minutes and a day pass between two calls; a token would end on its way, so there is none.
        self.simulator = stack.enter_context(Simulator(Config(account=None, zwdd=account, speed=1e9)))

    def options(self) -> dict[str, object]:
        return {
            "url": self.simulator.url,
            "app_key": "app-of-a-bench",
            "app_secret": self.secret,
            "tenant_id": "196729",
            "with_token": False,
            "read_seconds": 0.5,
        }

    def address(self, n: int) -> str:
        return f"78{n:08d}"

    def received(self) -> int:
        return self.simulator.counts("zwdd")["accounts"]

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(url="http://127.0.0.1:1")
        yield self.channel(url="http://zwdd.invalid")
        for faults in (
            Faults(refuse="too soon"),
            Faults(refuse="at once"),
            Faults(http_status=429),
            Faults(http_status=503, retry_after=5),
        ):
            self.simulator.set_faults("zwdd", faults)
            yield self.channel()
        for faults in (Faults(http_status=500), Faults(accept_and_never_answer=True)):  # where there is no token yet
            self.simulator.set_faults("zwdd", faults)
            yield self.channel(with_token=True)

    def something_may_have_left(self) -> Iterator[Channel]:
        for faults in (
            Faults(close_without_answer="before"),
            Faults(close_without_answer="after"),
            Faults(accept_and_never_answer=True),
            Faults(http_status=500),
            Faults(refuse="NeverHeardOf"),
        ):
            self.simulator.set_faults("zwdd", faults)
            yield self.channel(with_token=False)

    def refuses_us(self) -> Iterator[Channel]:
        yield self.channel(app_secret="wrong-" + self.secret)
        yield self.channel(app_secret="wrong-" + self.secret, with_token=True)
        yield self.channel(app_key="nobody")
        yield self.channel(tenant_id="1")
        for faults in (Faults(http_status=401), Faults(http_status=403), Faults(refuse="day"), Faults(refuse="signature")):
            self.simulator.set_faults("zwdd", faults)
            yield self.channel()
