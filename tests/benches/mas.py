"""云MAS against its stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from broadcast.channels.base import Channel
from broadcast.simulator import Account, Config, Faults, Simulator
from tests.benches.base import SECRET, Bench


class MasBench(Bench):
    protocol = "mas"
    refuses_one = "+8615499999977"
    patience: Mapping[str, object] = MappingProxyType({"read_seconds": 10})

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        account = Account("测试单位", "ap1", SECRET, "SIGN1", refuse_ending="99999977", repeat_seconds=0)
        self.simulator = stack.enter_context(Simulator(Config(account=account)))

    def options(self) -> dict[str, object]:
        return {
            "url": self.simulator.url,
            "ec_name": "测试单位",
            "ap_id": "ap1",
            "secret_key": SECRET,
            "sign": "SIGN1",
            "read_seconds": 0.5,
        }

    def received(self) -> int:
        return sum(len(one.mobiles) for one in self.simulator.received)

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(url="http://127.0.0.1:1")
        yield self.channel(url="http://mas.invalid")
        self.simulator.faults = Faults(refuse="SystemBusy")
        yield self.channel()
        self.simulator.faults = Faults(http_status=503, retry_after=5)
        yield self.channel()

    def something_may_have_left(self) -> Iterator[Channel]:
        for faults in (
            Faults(close_without_answer="before"),
            Faults(close_without_answer="after"),
            Faults(accept_and_never_answer=True),
            Faults(http_status=500),
            Faults(refuse="InternalError"),
        ):
            self.simulator.faults = faults
            yield self.channel()

    def refuses_us(self) -> Iterator[Channel]:
        yield self.channel(secret_key="wrong-" + SECRET)
        yield self.channel(secret_key="wrong-" + SECRET, secret_in_body=False)  # IllegalMac
        for status in (401, 403):
            self.simulator.faults = Faults(http_status=status)
            yield self.channel()
