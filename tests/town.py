"""A county with every way out: real channels, strict stand-ins over real HTTP and TCP, a real server for what they call back."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpx

from broadcast.channels import Peer, open_peer
from broadcast.gateway import open_ways
from broadcast.server import make_app
from broadcast.simulator import (
    Account,
    Config,
    EbdAccount,
    Faults,
    FeedAccount,
    GridAccount,
    Simulator,
    SmppAccount,
    VmsAccount,
    ZwddAccount,
    example_signers,
)

from .conftest import Story
from .serving import served
from .unit.stories import writes_our_codes

SECRET = "town-secret-of-the-callbacks"
PLATFORMS = ("city", "anji", "changxing")
ORDER = {
    "": {"zwdd": ("notice-1", "ding-1")},
    "red": {"zwdd": ("ding-1", "notice-1")},
    "orange": {"zwdd": ("ding-1", "notice-1")},
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Town:
    """A story whose far ends are the stand-ins, and the hands to play with both."""

    story: Story
    simulator: Simulator
    client: httpx.Client

    @property
    def gateway(self):
        return self.story.gateway

    def received(self, name: str) -> list[dict]:
        return self.simulator.provider(name).received()

    def fault(self, name: str, **faults: object) -> None:
        self.simulator.set_faults(name, Faults(**faults))

    def send(self, raw: bytes):
        sent = self.gateway.submit(self.gateway.read(raw))
        self.work()
        return sent

    def work(self) -> None:
        """Workers, sweep, planner, errands and inbox, until nothing is left to do now."""
        self.story.work()
        for peer in self.gateway.errands():
            if peer != "smpp-1":
                self.gateway.run_errands(peer)
        self.story.work()

    def until(self, done: Callable[[], object], seconds: float = 20.0) -> None:
        """Works until the far ends have said what a story waits for."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, "the far ends did not say it in time"
            time.sleep(0.02)
            self.work()

    def rows(self, sent, channel: str = "", purpose: str = "") -> list[dict]:
        """The alert's deliveries."""
        rows = self.gateway.ledger.deliveries(alert_id=sent.alert_id)
        return [row for row in rows if channel in ("", row["channel"]) and purpose in ("", row["purpose"])]

    def states(self, sent, channel: str = "", purpose: str = "") -> set[str]:
        return {row["state"] for row in self.rows(sent, channel, purpose)}


def peers(simulator: Simulator, base: str, changes: Mapping[str, Mapping[str, object]]) -> list[Peer]:
    """One peer for each stand-in. `changes`: name → options to change."""
    customer, platform = example_signers()
    url = simulator.url
    zwdd = {"url": url, "app_key": "simulated-app", "app_secret": "simulated-secret", "tenant_id": "196729"}
    secrets = FeedAccount().secrets
    table: list[tuple[str, str, str, dict[str, object]]] = [
        ("ebd-1", "speaker", "ebd", {
            "url": f"{url}/EB/ebdsvc.html", "ebrid": "43305210000000001010101", "peer_ebrid": "43305210000000101010101",
            "reply_url": f"{base}/callbacks/ebd-1/{SECRET}", "sender_name": "测试发布中心", "private_key": customer.private_key,
            "cert_sn": customer.certificate, "verify": "require", "peer_public_keys": [platform.public_key], "read_seconds": 2.0,
        }),
        ("mas-1", "sms", "mas", {
            "url": url, "ec_name": "测试单位", "ap_id": "simulated", "secret_key": "simulated-secret", "sign": "SIGN1", "read_seconds": 2.0,
        }),
        ("vms-1", "voice", "vms", {
            "url": url, "access_key_id": "simulated-key", "access_key_secret": "simulated-secret", "caller": "15400000000",
            "start_code": "TTS_1", "confirmed_code": "TTS_2", "read_seconds": 2.0,
        }),
        ("ding-1", "zwdd", "zwdd-ding", {**zwdd, "creator": "9000000000", "read_seconds": 2.0}),
        ("notice-1", "zwdd", "zwdd-notice", {**zwdd, "read_seconds": 2.0}),
        ("grid-1", "grid", "grid", {"url": f"{url}/grid/tasks", "secret": GridAccount().secret, "read_seconds": 2.0}),
        ("feed-1", "feed", "feed", {
            "platforms": {f"sim:feed:{name}": {"url": f"{url}/feed/{name}", "secret": secrets[name]} for name in PLATFORMS}, "read_seconds": 2.0,
        }),
    ]  # fmt: skip
    return [
        open_peer(name=name, channel=channel, protocol=protocol, simulated=True, options={**options, **changes.get(name, {})})
        for name, channel, protocol, options in table
    ]


@contextmanager
def a_town(
    story: Story,
    *,
    speed: float = 100.0,
    options: Mapping[str, Mapping[str, object]] | None = None,
    accounts: Mapping[str, Mapping[str, object]] | None = None,
    without: tuple[str, ...] = (),
) -> Iterator[Town]:
    """The stand-ins and the server, until the block ends. `accounts`: provider → fields of its account to change."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    config = Config(
        account=Account(repeat_seconds=0), smpp=SmppAccount(), vms=VmsAccount(callback=f"{base}/callbacks/vms-1/{SECRET}"),
        zwdd=ZwddAccount(), ebd=EbdAccount(), feed=FeedAccount(),
        grid=GridAccount(callback=f"{base}/callbacks/grid-1/{SECRET}", sign_seconds=5, feedback_seconds=10, done_seconds=15),
        callback=f"{base}/callbacks/mas-1/{SECRET}", report_delay_ms=1000, speed=speed,
    )  # fmt: skip
    for name, fields in (accounts or {}).items():
        key = "account" if name == "mas" else name
        config = replace(config, **{key: dataclasses.replace(getattr(config, key), **fields)})
    story.clock.now = datetime.now(UTC)  # the far ends look at the times in what they get
    with Simulator(config) as simulator:
        house = story.gateway.house
        house.county = replace(house.county, public_url=base)
        writes_our_codes(story)
        found = [peer for peer in peers(simulator, base, options or {}) if peer.name not in without]
        here = {peer.name for peer in found}
        order = {level: {c: tuple(n for n in names if n in here) for c, names in by.items()} for level, by in ORDER.items()}
        story.gateway.house.ways = open_ways(found, order)
        with served(make_app(story.gateway, dict.fromkeys(here, SECRET)), port) as client:
            yield Town(story, simulator, client)
