"""The loudspeaker channel against the county platform's stand-in."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from broadcast.channels.base import Call, Channel, Number, Purpose
from broadcast.simulator import Config, EbdAccount, Faults, Simulator
from tests.benches.base import Bench

ACCOUNT = EbdAccount(report_seconds=3600)  # nobody listens for its reports here


class EbdBench(Bench):
    protocol = "ebd"

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        self.simulator = stack.enter_context(Simulator(Config(account=None, ebd=ACCOUNT)))
        self._numbers: dict[tuple[object, ...], Number] = {}
        self._lock = threading.Lock()

    def options(self) -> dict[str, object]:
        return {
            "url": self.simulator.url + "/EB/ebdsvc.html",
            "ebrid": ACCOUNT.customer,
            "peer_ebrid": ACCOUNT.ebrid,
            "reply_url": "http://192.0.2.10:8080/ebd",
            "sender_name": "测试预警中心",
            "private_key": ACCOUNT.customer_signer.private_key,
            "cert_sn": ACCOUNT.customer_signer.certificate,
            "verify": "require",
            "peer_public_keys": [ACCOUNT.platform_signer.public_key],
            "read_seconds": 1.5,
        }

    def address(self, n: int) -> str:
        return f"6330521{n:06d}0314010101"

    def received(self) -> int:
        """How many systems were told to play."""
        played = (one for one in self.simulator.provider("ebd").received() if one["kind"] == "play")
        return sum(len(one["areas"]) for one in played)

    def call(
        self, addresses: Sequence[str] | int = 3, *, text: str | None = None, batch: int = 7, purpose: Purpose = Purpose.ALARM
    ) -> Call:
        """As the gateway does it: one call has one number and one moment, over all attempts, and another call another."""
        made = super().call(addresses, text=text, batch=batch, purpose=purpose)
        which = (batch, purpose, text, tuple(message.address for message in made.messages))
        with self._lock:
            given = made.number and replace(made.number, n=len(self._numbers) + 1)
            number = self._numbers.setdefault(which, given) if given else None
        return replace(made, number=number)

    def nothing_leaves(self) -> Iterator[Channel]:
        yield self.channel(url="http://127.0.0.1:1/ebd")
        yield self.channel(url="http://ebd.invalid/ebd")
        self.simulator.faults = Faults(http_status=503, retry_after=5)
        yield self.channel()

    def something_may_have_left(self) -> Iterator[Channel]:
        for faults in (
            Faults(close_without_answer="before"),
            Faults(close_without_answer="after"),
            Faults(accept_and_never_answer=True),
            Faults(http_status=500),
        ):
            self.simulator.faults = faults
            yield self.channel()

    def refuses_us(self) -> Iterator[Channel]:
        yield self.channel(private_key="1" * 64)
        yield self.channel(sign_mode="none")
        yield self.channel(sign_mode="B")
        yield self.channel(ebrid="43305220000000001010101")
        yield self.channel(namespace=False)
        for faults in (Faults(refuse="3"), Faults(refuse="5"), Faults(http_status=401), Faults(http_status=403)):
            self.simulator.faults = faults
            yield self.channel()
