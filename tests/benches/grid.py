"""Grid tasks against their stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from broadcast.channels.base import Channel
from broadcast.simulator import Config, Faults, GridAccount, Simulator
from tests.benches.base import Bench

OURS = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
WRONG = "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgbm90IG91cnM="


class GridBench(Bench):
    protocol = "grid"
    refuses_one = "sim:grid:77"
    secret = OURS
    patience: Mapping[str, object] = MappingProxyType({"read_seconds": 10})

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        account = GridAccount(secret=OURS, callback_secret=OURS, refuse_ending=":77")
        self.simulator = stack.enter_context(Simulator(Config(account=None, grid=account)))

    def options(self) -> dict[str, object]:
        return {"url": f"{self.simulator.url}/grid/tasks", "secret": OURS, "read_seconds": 0.5}

    def address(self, n: int) -> str:
        return f"sim:grid:{n:06d}"

    def received(self) -> int:
        return len(self.simulator.provider("grid").received())

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(url="http://127.0.0.1:1/grid/tasks")
        yield self.channel(url="http://grid.invalid/grid/tasks")
        for faults in (Faults(http_status=429), Faults(http_status=503, retry_after=5)):
            self.simulator.set_faults("grid", faults)
            yield self.channel()

    def something_may_have_left(self) -> Iterator[Channel]:
        for faults in (
            Faults(close_without_answer="before"),
            Faults(close_without_answer="after"),
            Faults(accept_and_never_answer=True),
            Faults(http_status=500),
            Faults(http_status=503),
        ):
            self.simulator.set_faults("grid", faults)
            yield self.channel()

    def refuses_us(self) -> Iterator[Channel]:
        yield self.channel(secret=WRONG)
        yield self.channel(url=f"{self.simulator.url}/grid/no-such-door")
        for faults in (Faults(http_status=401), Faults(http_status=403), Faults(refuse="410"), Faults(refuse="422")):
            self.simulator.set_faults("grid", faults)
            yield self.channel()
