"""Voice by IvrCall against its stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from broadcast.channels.base import Channel
from broadcast.simulator import Config, Faults, Simulator, VmsAccount
from tests.benches.base import Bench


class VmsBench(Bench):
    protocol = "vms"
    refuses_one = "+8619400000077"  # this far end calls 154 only
    patience: Mapping[str, object] = MappingProxyType({"read_seconds": 10})

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        account = VmsAccount("LTAI-bench", self.secret, show_numbers=("05720000000",), prefixes=("154",))
        # So fast that no limit per callee is met: the bench's tests call the same few numbers.
        self.simulator = stack.enter_context(Simulator(Config(account=None, vms=account, speed=1e6)))

    def options(self) -> dict[str, object]:
        return {
            "url": self.simulator.url,
            "access_key_id": "LTAI-bench",
            "access_key_secret": self.secret,
            "caller": "05720000000",
            "start_code": "TTS_1234",
            "confirmed_code": "TTS_1235",
            "read_seconds": 0.5,
        }

    def received(self) -> int:
        return len(self.simulator.provider("vms").received())

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(url="http://127.0.0.1:1")
        yield self.channel(url="http://vms.invalid")
        for faults in (
            Faults(refuse="Throttling"),
            Faults(refuse="Throttling.User"),
            Faults(http_status=429),
            Faults(http_status=503, retry_after=5),
        ):
            self.simulator.set_faults("vms", faults)
            yield self.channel()

    def something_may_have_left(self) -> Iterator[Channel]:
        for faults in (
            Faults(close_without_answer="before"),
            Faults(close_without_answer="after"),
            Faults(accept_and_never_answer=True),
            Faults(http_status=500),
            Faults(refuse="isp.SYSTEM_ERROR"),
            Faults(refuse="NeverHeardOf"),
        ):
            self.simulator.set_faults("vms", faults)
            yield self.channel()

    def refuses_us(self) -> Iterator[Channel]:
        yield self.channel(access_key_secret="wrong-" + self.secret)
        yield self.channel(access_key_id="LTAI-nobody")
        yield self.channel(caller="05720000001")  # not bought
        for faults in (Faults(http_status=401), Faults(http_status=403), Faults(refuse="isv.AMOUNT_NOT_ENOUGH")):
            self.simulator.set_faults("vms", faults)
            yield self.channel()
