"""CAP to other platforms against their stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from broadcast.channels.base import Channel
from broadcast.intake import cap, read
from broadcast.simulator import Config, Faults, FeedAccount, Simulator
from tests.benches.base import Bench

OURS = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
WRONG = "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCwgbm90IG91cnM="
PLATFORMS = [f"platform{n}" for n in range(1, 401)]
WARNING = Path(__file__).parents[2] / "examples/deqing/warnings/2-rainstorm-orange.xml"


class FeedBench(Bench):
    protocol = "feed"
    any_text = False
    refuses_one = "sim:feed:nobody"
    secret = OURS
    targets = len(PLATFORMS)
    patience: Mapping[str, object] = MappingProxyType({"read_seconds": 10})
    text = cap.write(read(WARNING.read_bytes()), area_sms=True).decode()

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        account = FeedAccount(secrets=dict.fromkeys(PLATFORMS, OURS))
        self.simulator = stack.enter_context(Simulator(Config(account=None, feed=account)))

    def options(self) -> dict[str, object]:
        return {"platforms": self.platforms(), "read_seconds": 0.5}

    def platforms(self, door: str = "", secret: str = OURS) -> dict[str, object]:
        where = door or f"{self.simulator.url}/feed"
        return {f"sim:feed:{name}": {"url": f"{where}/{name}", "secret": secret} for name in PLATFORMS}

    def address(self, n: int) -> str:
        return f"sim:feed:platform{n}"

    def received(self) -> int:
        return len(self.simulator.provider("feed").received())

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(platforms=self.platforms("http://127.0.0.1:1"))
        yield self.channel(platforms=self.platforms("http://feed.invalid"))
        for faults in (Faults(http_status=429), Faults(http_status=503, retry_after=5)):
            self.simulator.set_faults("feed", faults)
            yield self.channel()

    def something_may_have_left(self) -> Iterator[Channel]:
        for faults in (
            Faults(close_without_answer="before"),
            Faults(close_without_answer="after"),
            Faults(accept_and_never_answer=True),
            Faults(http_status=500),
            Faults(http_status=503),
        ):
            self.simulator.set_faults("feed", faults)
            yield self.channel()

    def refuses_us(self) -> Iterator[Channel]:
        yield self.channel(platforms=self.platforms(secret=WRONG))
        yield self.channel(platforms=self.platforms(f"{self.simulator.url}/no-such-door"))
        for faults in (Faults(http_status=401), Faults(http_status=403), Faults(refuse="410"), Faults(refuse="422")):
            self.simulator.set_faults("feed", faults)
            yield self.channel()
