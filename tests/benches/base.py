"""What a protocol needs to be tested: a far end, and a way to each of its moods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from broadcast.channels import PROTOCOLS, Peer, connect, open_peer
from broadcast.channels.base import Call, Channel, Facts, Message, Number, Past, Purpose
from broadcast.delivery import Receipt

FACTS = Facts(
    alert_id=1,
    identifier="33052141600000_20230705162130",
    event_code="11B03",
    event="暴雨",
    level="orange",
    status="Actual",
    issuer="德清县气象台",
    headline="暴雨橙色预警",
    sent=datetime(2023, 7, 5, 8, 21, tzinfo=UTC),
    expires=datetime(2023, 7, 5, 14, 21, tzinfo=UTC),
    regions=("330521115",),
)
TEXT = "暴雨橙色预警,请转移"
PERSON = "测试员"
SECRET = "very-secret-测-key"


class Bench:
    """A far end, and a way to each of its moods. None: this far end has no such mood."""

    protocol: str
    refuses_one: str | None = None  # an address that the far end refuses, and only it
    text: str = TEXT  # fit for this protocol
    any_text: bool = True  # false: a document in a form of its own
    secret: str = SECRET  # fit for this protocol
    targets: int = 10_000  # how many of them `address` can tell apart
    threads: int = 6  # that may call this far end at once
    patience: Mapping[str, object] = MappingProxyType({})  # options for a channel that waits as long as a busy machine needs

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack

    def options(self) -> dict[str, object]:
        """What `[[peer]]` says to reach this bench's far end."""
        raise NotImplementedError

    def address(self, n: int) -> str:
        """The n-th target; for phones a number nobody has."""
        return f"+86154{n:08d}"

    def hidden(self) -> tuple[str, ...]:
        """What must never be shown: in an error, a repr, a log."""
        return self.secret, self.text, PERSON, *(self.address(n).removeprefix("+86") for n in (1, 2, 3))

    def received(self) -> int:
        """How many messages have arrived at the far end."""
        raise NotImplementedError

    def nothing_leaves(self) -> Iterator[Channel]:
        """Channels whose `send` certainly sends nothing: Unavailable."""
        yield from ()

    def something_may_have_left(self) -> Iterator[Channel]:
        """Channels whose `send` never hears an answer: InDoubt."""
        yield from ()

    def refuses_us(self) -> Iterator[Channel]:
        """Channels whose far end refuses the account, not the target: Misconfigured."""
        yield from ()

    def past(self, call: Call, receipts: Sequence[Receipt]) -> Facts:
        """The facts of a stop that comes after `call` was taken with these receipts."""
        refs = dict.fromkeys(receipt.ref for receipt in receipts)
        addresses = tuple(message.address for message in call.messages)
        return replace(call.facts, past=tuple(Past(ref, addresses, call.number, call.facts.expires) for ref in refs))

    def peer(self, **changes: object) -> Peer:
        return open_peer(
            name="bench",
            channel=sorted(PROTOCOLS[self.protocol].serves)[0],
            protocol=self.protocol,
            simulated=True,
            options=self.options() | changes,
        )

    def channel(self, **changes: object) -> Channel:
        channel = connect(self.peer(**changes))
        self.stack.callback(channel.close)
        return channel

    def call(
        self, addresses: Sequence[str] | int = 3, *, text: str | None = None, batch: int = 7, purpose: Purpose = Purpose.ALARM
    ) -> Call:
        """A call to the first few targets, or to those named."""
        named = [self.address(n) for n in range(1, addresses + 1)] if isinstance(addresses, int) else addresses
        messages = tuple(
            Message(
                seq,
                address,
                self.text if text is None else text,
                key=f"{batch}-{seq}",
                region="330521115201",
                region_name="测试村",
                role="网格员",
                person=PERSON,
            )
            for seq, address in enumerate(named, 10)
        )
        today = datetime.now(UTC)
        return Call(f"{batch}-10", purpose, messages, FACTS, number=Number(today.date(), batch, today.replace(microsecond=0)))
