"""The stand-in of a county's emergency-broadcast platform: takes EBD packets, plays, cancels, reports (GD/J 082, 083-2018).

It is as strict as the strictest of the receivers that were measured in the field, whichever that is for each rule.
"""

from __future__ import annotations

import random
import threading
from functools import partial

from . import ebd_signature
from .ebd_account import EbdAccount
from .ebd_broadcasts import (
    CANCELLED,
    FAILED,
    PLAYING,
    SUCCEEDED,
    UNTOUCHED,
    WAITING,
    Broadcast,
    moment,
    places,
    shown,
    system_state,
)
from .ebd_forms import (
    BADLY_SIGNED,
    OTHER_ERROR,
    UNREADABLE,
    Packet,
    Refusal,
    check_message,
    check_words,
    read_document,
)
from .ebd_outbox import Outbox
from .ebd_packets import TAR_TYPE, NotAnUpload, NotAPackage, read_package, read_upload
from .ebd_reports import Coverage, State
from .ebd_signature import BadSignature
from .faults import Faults
from .provider import Host, Request, Response
from .schedule import Schedule

TAKEN_WORDS = "接收解析及数据校验成功"


class EbdPlatform:
    """The platform. Shared by threads."""

    name = "ebd"

    def __init__(self, account: EbdAccount, host: Host) -> None:
        self.account, self.host = account, host
        self._outbox = Outbox(account, host)
        self._later = Schedule(host.clock, "ebd-broadcasts")
        self._one_at_a_time = threading.Lock()  # packets, as Tuners does; taken before the other lock
        self._lock = threading.Lock()
        self._broadcasts: list[Broadcast] = []
        self._by_ebmid: dict[str, Broadcast] = {}
        self._documents: dict[str, bytes] = {}  # by EBDID; this and the next only one at a time
        self._messages: dict[str, Broadcast] = {}  # by EBDID
        self._counts = {"calls": 0, "heartbeats": 0}
        self._url = account.callback
        if account.heartbeat_seconds:
            self._later.after(0, self._beat)
        if account.systems_seconds:
            self._later.after(0, self._say_systems_regularly)

    def opens(self, path: str) -> bool:
        """The path that the standard prints, and another one where the account has it."""
        other = self.account.other_doors
        return path == "/EB/ebdsvc.html" or bool(other and (path == other or path.startswith(other + "/")))

    def handle(self, request: Request, faults: Faults) -> Response:
        """Answers with an EBDResponse in a TAR; what is no upload at all gets HTTP 400, where others just hang up."""
        if request.method != "POST":
            return _refuse_request(405, "POST only")
        try:
            ebdid, archive = read_upload(request.headers, request.body)
        except NotAnUpload as error:
            return _refuse_request(400, str(error))
        try:
            self._take(ebdid, archive, faults)
        except Refusal as refusal:
            return self._answer(ebdid, refusal.code, refusal.words)
        return self._answer(ebdid, 1, TAKEN_WORDS)

    def received(self) -> list[dict[str, object]]:
        """Every EBM that was taken, in order."""
        with self._lock:
            return [shown(one) for one in self._broadcasts]

    def counts(self) -> dict[str, int]:
        """Packets taken (calls) and areas in them (targets), heartbeats; what was pushed and is owed."""
        with self._lock:
            targets = sum(len(one.areas) for one in self._broadcasts)
            return {**self._counts, "targets": targets, **self._outbox.counts()}

    def stop(self) -> None:
        """Nothing ends or begins any more."""
        self._later.stop()

    # What comes in

    def _take(self, ebdid: str, archive: bytes, faults: Faults) -> None:
        try:
            packet = read_document(read_package(ebdid, archive))
        except NotAPackage as error:
            raise Refusal(UNREADABLE, str(error)) from None
        if faults.refuse:
            known = faults.refuse in ("0", "2", "3", "4", "5")
            raise Refusal(int(faults.refuse) if known else OTHER_ERROR, f"模拟故障 {faults.refuse}")
        self._admit(packet)
        check_words(packet)
        with self._lock:
            self._url = self.account.callback or packet.text("SRC/URL")
        if packet.kind == "EBM":
            check_message(packet)
        with self._one_at_a_time:
            self._process(packet, faults)

    def _process(self, packet: Packet, faults: Faults) -> None:
        if packet.kind == "ConnectionCheck":  # its EBDID is always the same
            self._counts["heartbeats"] += 1
            return
        if self._documents.get(packet.ebdid) not in (None, packet.package.business):
            raise Refusal(OTHER_ERROR, "EBDID 重复而内容不同")
        if packet.kind == "EBM":
            self._take_message(packet, faults)
        elif packet.kind == "EBMStateRequest":
            self._tell_state(packet, faults)
        self._documents[packet.ebdid] = packet.package.business
        self._counts["calls"] += 1

    def _admit(self, packet: Packet) -> None:
        """Who sends it, to whom, and whether it is signed. Raises Refusal."""
        account = self.account
        if packet.text("SRC/EBRID") != account.customer:
            raise Refusal(OTHER_ERROR, "SRC/EBRID 未登记")
        if packet.text("DEST/EBRID") != account.ebrid:
            raise Refusal(OTHER_ERROR, "DEST/EBRID 不是本平台")
        if account.sign_mode == "none" or packet.kind == "ConnectionCheck":
            return
        package = packet.package
        try:
            ebd_signature.verify(package.signature, package.business, packet.ebdid, account.customer_signer, account.sign_mode)
        except BadSignature as error:
            raise Refusal(BADLY_SIGNED, str(error)) from None

    def _take_message(self, packet: Packet, faults: Faults) -> None:
        """No receiver was found that knows a packet by its EBDID: one that comes again is played, or cancels, again."""
        cancel = packet.text("EBM/MsgBasicInfo/MsgType") == "2"
        message = self._messages.get(packet.ebdid)
        if message:
            with self._lock:
                message.played_again += 1
                message.faults = faults
        else:
            message = self._broadcast(packet, "cancel" if cancel else "play", faults)
            self._keep(message)
            self._messages[packet.ebdid] = message
        if cancel:
            self._cancel(message, packet.text("EBM/RelatedInfo/EBMID"))
        else:
            self._play(message)

    def _broadcast(self, packet: Packet, kind: str, faults: Faults) -> Broadcast:
        info, content = "EBM/MsgBasicInfo", "EBM/MsgContent"
        ebmid, area_code = packet.text("EBM/EBMID"), packet.text(f"{content}/AreaCode")
        areas = tuple(code for code in area_code.split(",") if code.startswith(self.account.county))
        chance = random.Random(f"{self.account.seed}:{ebmid}")  # noqa: S311 - which system is broken is no secret
        return Broadcast(
            ebmid=ebmid,
            kind=kind,
            area_code=area_code,
            areas=areas,
            heard=tuple(code for code in areas if chance.random() >= faults.fail_share),
            text=packet.text(f"{content}/MsgDesc"),
            event=packet.text(f"{info}/EventType"),
            severity=packet.text(f"{info}/Severity"),
            start=moment(packet.text(f"{info}/StartTime")),
            end=moment(packet.text(f"{info}/EndTime")),
            at=self.host.clock.wall(),
            url=packet.text("SRC/URL"),
            faults=faults,
        )

    def _keep(self, message: Broadcast) -> None:
        """An EBMID is a key in the platform's tables. Raises Refusal when it is there already."""
        its_own = not (message.kind == "cancel" and self.account.cancel == "original")
        with self._lock:
            if its_own and message.ebmid in self._by_ebmid:
                raise Refusal(OTHER_ERROR, "EBMID 已存在")
            self._by_ebmid.setdefault(message.ebmid, message)
            self._broadcasts.append(message)

    # What is on the air

    def _play(self, broadcast: Broadcast) -> None:
        """Plans the run of a broadcast and says what is said at once."""
        if broadcast.ebmid.endswith("0000"):  # 082 t.2: not forced, may be ignored
            return
        now = self.host.clock.wall()
        if len(broadcast.areas) < len(broadcast.area_code.split(",")) or broadcast.end <= now:
            self._report(broadcast, UNTOUCHED)  # Comtom: areas that it does not have, or too late
        if not broadcast.areas or broadcast.end <= now:
            return
        with self._lock:
            broadcast.state, broadcast.run = WAITING, broadcast.run + 1
            run = broadcast.run
        if broadcast.faults.delivers_nothing:  # waits for ever, for a dispatch plan or for somebody to approve
            return
        wait = (broadcast.start - now).total_seconds()
        if wait > 0:
            self._report(broadcast, WAITING)
            self._later.after(wait, partial(self._begin, broadcast, run))
            return
        self._begin(broadcast, run)
        if broadcast.faults.shuffle_reports:  # what was true before comes after
            self._send(State(broadcast.ebmid, WAITING, broadcast.at), broadcast.url, broadcast.faults, late=True)

    def _begin(self, broadcast: Broadcast, run: int) -> None:
        now = self.host.clock.wall()
        with self._lock:
            if broadcast.run != run or broadcast.state != WAITING:
                return
            broadcast.state = PLAYING if broadcast.heard else FAILED
            broadcast.on_air, broadcast.since, broadcast.until = bool(broadcast.heard), now, ""
            state = broadcast.state
        self._report(broadcast, state)
        if state == PLAYING:
            self.host.show(f"🔊 {places(broadcast.heard)}: {broadcast.text}")
            seconds = self.account.play_seconds or (broadcast.end - now).total_seconds()
            self._later.after(seconds, partial(self._finish, broadcast, run))
        self._systems_changed()

    def _finish(self, broadcast: Broadcast, run: int) -> None:
        with self._lock:
            if broadcast.run != run or not broadcast.on_air:
                return
            self._silence(broadcast, SUCCEEDED)
        self._report(broadcast, SUCCEEDED)
        self._systems_changed()

    def _silence(self, broadcast: Broadcast, state: int) -> None:
        broadcast.state, broadcast.on_air = state, False
        broadcast.until = f"{self.host.clock.wall():%Y-%m-%d %H:%M:%S}"

    def _cancel(self, cancel: Broadcast, related: str) -> None:
        if cancel.faults.delivers_nothing:
            return
        original = self.account.cancel == "original"
        stopped = self._stop(cancel, cancel.ebmid if original else related)
        if stopped:
            self.host.show(f"🔇 {places(stopped.areas)}: 停止播发")
            self._report(cancel, CANCELLED)
            self._systems_changed()
        elif original:
            with self._lock:
                cancel.spoken = True
            self._play(cancel)
        # else Comtom: nothing happens, silently

    def _stop(self, cancel: Broadcast, ebmid: str) -> Broadcast | None:
        """What was on the air, or waited to be, under this EBMID."""
        with self._lock:
            found = self._by_ebmid.get(ebmid)
            if found is None or found is cancel or found.state not in (WAITING, PLAYING):
                return None
            if self.account.cancel == "original" and found.area_code != cancel.area_code:
                return None
            self._silence(found, CANCELLED)
            cancel.state = CANCELLED
            return found

    # What goes out

    def _tell_state(self, packet: Packet, faults: Faults) -> None:
        with self._lock:
            broadcast = self._by_ebmid.get(packet.text("EBMStateRequest/EBM/EBMID"))
            code = broadcast.state if broadcast else UNTOUCHED
        if broadcast is None:
            raise Refusal(OTHER_ERROR, "查找不到该EBMID")
        coverage, now = self._coverage(broadcast, code), self.host.clock.wall()
        self._send(State(broadcast.ebmid, code, now, coverage, packet.ebdid), packet.text("SRC/URL"), faults)

    def _report(self, broadcast: Broadcast, code: int) -> None:
        """An EBMStateResponse that nobody asked for, to the address that the customer's packet gave."""
        state = State(broadcast.ebmid, code, self.host.clock.wall(), self._coverage(broadcast, code))
        self._send(state, broadcast.url, broadcast.faults)

    def _send(self, state: State, url: str, faults: Faults, *, late: bool = False) -> None:
        if faults.no_reports or faults.delivers_nothing or not url:
            return
        seconds = self.account.report_seconds if late else 0
        self._outbox.send_state(url, state, times=2 if faults.duplicate_reports else 1, late=seconds)

    def _coverage(self, broadcast: Broadcast, state: int) -> Coverage | None:
        if state not in (PLAYING, SUCCEEDED) or broadcast.since is None:
            return None
        rate = len(broadcast.heard) / len(broadcast.area_code.split(","))
        return Coverage(broadcast.heard, rate, broadcast.since, broadcast.until)

    def _beat(self) -> None:
        if self._url:
            self._outbox.send_heartbeat(self._url)
        self._later.after(self.account.heartbeat_seconds, self._beat)

    def _say_systems_regularly(self) -> None:
        self._systems_changed()
        self._later.after(self.account.systems_seconds, self._say_systems_regularly)

    def _systems_changed(self) -> None:
        """EBRDTState of all village systems, where the account has that."""
        if not (self.account.systems_seconds and self.account.villages and self._url):
            return
        with self._lock:
            playing = [one for one in self._broadcasts if one.on_air]
            states = [(f"6{one}{self.account.system_code}", system_state(one, playing)) for one in self.account.villages]
        self._outbox.send_systems(self._url, states)

    def _answer(self, related: str, code: int, words: str) -> Response:
        ebdid, archive = self._outbox.writer.response(self.account.customer, related, code, words)
        return Response(200, TAR_TYPE, archive, {"Content-Disposition": f'attachment; filename="EBDT_{ebdid}.tar"'})


def _refuse_request(status: int, words: str) -> Response:
    return Response(status, "text/plain;charset=UTF-8", words.encode())
