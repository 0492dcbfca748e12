"""What the platform sends in connections of its own, again until the customer answers as GD/J 083 wants it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from . import ebd_signature
from .ebd_account import EbdAccount
from .ebd_forms import Refusal, read_document
from .ebd_packets import NotAPackage, read_package, write_upload
from .ebd_reports import State, Writer
from .ebd_signature import BadSignature
from .provider import Host


class Outbox:
    """Writes, pushes, and judges the answers. Shared by threads."""

    def __init__(self, account: EbdAccount, host: Host) -> None:
        self._account, self._host = account, host
        mode = account.sign_mode if account.sign_reports else "none"
        self.writer = Writer(account.ebrid, account.url, account.platform_signer, mode, host.clock)
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("reports_pushed", "reports_owed", "heartbeats_pushed", "answers_refused"), 0)

    def counts(self) -> dict[str, int]:
        """Reports that were answered, and that were not yet; heartbeats answered; answers that said no or nothing sensible."""
        with self._lock:
            return dict(self._counts)

    def send_state(self, url: str, state: State, *, times: int = 1, late: float = 0) -> None:
        """EBMStateResponse, `times` times the same packet, `late` seconds after its turn."""
        ebdid, archive = self.writer.state(self._account.customer, state)
        for _ in range(times):
            self._push_report(url, ebdid, archive, late)

    def send_systems(self, url: str, states: Sequence[tuple[str, int]]) -> None:
        """EBRDTState of village systems."""
        self._push_report(url, *self.writer.systems(self._account.customer, states))

    def send_heartbeat(self, url: str) -> None:
        """ConnectionCheck: not repeated, the next one comes anyway."""
        if not self._may_reach(url):
            return
        ebdid, archive = self.writer.heartbeat(self._account.customer)
        headers, body = write_upload(ebdid, archive)
        self._host.push(url, body, headers, after=0, taken=self._judge(ebdid, "heartbeats_pushed"))

    def _push_report(self, url: str, ebdid: str, archive: bytes, late: float = 0) -> None:
        if not self._may_reach(url):
            return
        headers, body = write_upload(ebdid, archive)
        with self._lock:
            self._counts["reports_owed"] += 1
        taken = self._judge(ebdid, "reports_pushed", "reports_owed")
        after = self._account.report_seconds + late
        self._host.push(url, body, headers, after=after, again=self._account.again, taken=taken)

    def _may_reach(self, url: str) -> bool:
        """A packet can name anybody's address; a stand-in talks to nobody but the customer's tests."""
        return not self._account.loopback_only or urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")

    def _judge(self, ebdid: str, more: str, less: str = "") -> Callable[[int, bytes], bool]:
        """True for an answer after which nothing is repeated: an EBDResponse to this packet, whatever its code (083)."""

        def taken(status: int, body: bytes) -> bool:
            code = self._read_answer(ebdid, body) if status == 200 else ""
            with self._lock:
                self._counts["answers_refused"] += status != 0 and code not in ("0", "1")
                if code:
                    self._counts[more] += 1
                if code and less:
                    self._counts[less] -= 1
            return bool(code)

        return taken

    def _read_answer(self, ebdid: str, body: bytes) -> str:
        """The ResultCode; "" when it is no answer to this packet. All but the answer to a heartbeat are signed (083 t.33)."""
        account = self._account
        number = body[5:46].decode("ascii", "replace")  # of EBDB_<EBDID>.xml, the first member
        try:
            packet = read_document(read_package(number, body))
            if account.sign_mode != "none" and not ebdid.startswith("01"):
                package = packet.package
                ebd_signature.verify(package.signature, package.business, number, account.customer_signer, account.sign_mode)
        except (NotAPackage, Refusal, BadSignature):
            return ""
        said = (packet.kind, packet.text("RelatedEBD/EBDID"), packet.text("SRC/EBRID"))
        return packet.text("EBDResponse/ResultCode") if said == ("EBDResponse", ebdid, account.customer) else ""
