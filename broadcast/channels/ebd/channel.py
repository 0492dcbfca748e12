"""One county platform: warnings, cancels, questions and heartbeats out; states and reports in."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar, NoReturn

from pydantic import BaseModel

from ...delivery import Receipt, State
from ...errors import ChannelError, InDoubt, Misconfigured
from .. import http
from ..base import Answer, Call, Callback, Capabilities, Heard
from . import codes, package, packet, reports, signature
from .elements import Element
from .options import EbdOptions
from .orders import Order, areas_of, numbered, orders
from .packet import NotTaken, Packet

HEARTBEAT_PATH = "heartbeat"  # of what `collect` brought; a request to us has a path that begins with "/"

NOT_A_SYSTEM = Receipt(State.REJECTED, "", "not the EBRID of a loudspeaker system, nor an area code of 12 digits")
NOTHING_ON_AIR = Receipt(State.DELIVERED, "nothing-on-air", "no broadcast of this event is on the air there")
NOT_TRIED = Receipt(State.DEFERRED, "", "not handed over: an earlier packet of this call met an error")

# ResultCodes of a refusal and what to look at. All are about us and name no target: reject nobody.
REFUSALS = {
    2: "it cannot parse our packets; check profile, namespace and part_name",
    3: "it misses something in our packets, or has no such interface; check profile",
    4: "it does not accept our signature; check sign_mode, private_key and cert_sn with the county",
    5: "another error; check that it knows our EBRID and our address",
}

# How a platform says (ResultCode 5) that it does not have an EBMID; any other 5 may be about anything.
_UNKNOWN_EBMID = re.compile("EBMID|查找不到|找不到|未找到|不存在|not found", re.IGNORECASE)

logger = logging.getLogger(__name__)


class Ebd:
    """One county platform. `signer` is for a device or a service that signs instead of the key in the options."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        per_call=200,
        text_limit=240,
        unit="characters",
        one_text=True,
        receipts=True,
        can_be_asked=True,
        can_stop=True,
        numbered=True,
        recalls=True,
        collect_seconds=30,
        doubt_seconds=180,
    )
    Options: ClassVar[type[BaseModel]] = EbdOptions
    serves: ClassVar[frozenset[str]] = frozenset({"speaker"})

    def __init__(self, options: EbdOptions, signer: signature.Signer | None = None) -> None:
        self._options = options
        self._signer = signer or _software_key(options)
        self._client = http.open_client(
            ca_file=options.ca_file, connect_seconds=options.connect_seconds, read_seconds=options.read_seconds
        )

    def send(self, call: Call) -> Sequence[Receipt]:
        """One EBM for all messages; for a stop one cancel for each broadcast that is still on the air.

        A stop of what is not on the air is done: DELIVERED, "nothing-on-air". Every attempt sends the same bytes.
        """
        number, known, failed = numbered(call, self._options), dict[int, Receipt](), False
        for turn, order in enumerate(orders(call, number, self._options)):
            try:
                receipt = NOT_TRIED if failed else self._hand_over(order, number.at)
            except ChannelError as error:
                if turn == 0:
                    raise
                # The platform took an earlier packet of this call: from here on every outcome is a value.
                receipt, failed = _receipt_of(error), True
            _note(known, order, receipt)
        return self._in_order(call, known)

    def ask(self, call: Call) -> Sequence[Receipt]:
        """Asks for the state of the call's EBMs. The state itself comes later, by callback: IN_DOUBT until then."""
        known: dict[int, Receipt] = {}
        for order in orders(call, numbered(call, self._options), self._options):
            _note(known, order, self._question(order))
        return self._in_order(call, known)

    def read(self, callback: Callback) -> Sequence[Heard]:
        """The reports in what a platform posted to us. ValueError also for a packet whose signature is required and wrong."""
        packets = self._packets(callback)
        if callback.path == HEARTBEAT_PATH:
            return [reports.online(one) for one in packets if codes.RESULTS[reports.result(one)] is State.ACCEPTED]
        return [heard for one in packets for heard in reports.heard(one)]

    def answer(self, callback: Callback) -> Answer:
        """200 and an EBDResponse: ResultCode 1 for what was understood, 2 unparsed, 3 incomplete or not ours, 4 unverified."""
        code, theirs = self._verdict(callback)
        now = datetime.now(UTC)
        written = self._packet(self._fresh_ebdid(), packet.response(code), now, answers=theirs)
        headers = {"Content-Disposition": f'attachment; filename="{package.file_name(written.ebdid)}"'}
        return Answer(200, package.TAR_TYPE, self._answering_tar(written, now), headers)

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:  # noqa: ARG002
        """One heartbeat. Its answer is kept as a callback of its own."""
        now = datetime.now(UTC)
        beat = self._packet(codes.heartbeat_ebdid(self._options.ebrid), packet.heartbeat(now), now)
        code, _, body = self._exchange(beat, now, signer=None, seconds=min(seconds, self._options.read_seconds))
        if codes.RESULTS[code] is not State.ACCEPTED:
            _refused(code)
        keep(Callback(HEARTBEAT_PATH, {}, body))

    def close(self) -> None:
        """Gives connections back."""
        self._client.close()

    # --- out -------------------------------------------------------------------------------------------------------

    def _hand_over(self, order: Order, at: datetime) -> Receipt:
        written = self._packet(order.ebdid, order.ebm.element(self._options.profile), at)
        code, words, _ = self._exchange(written, at, signer=self._signer)
        if codes.RESULTS[code] is not State.ACCEPTED:
            _refused(code)
        return Receipt(State.ACCEPTED, f"ResultCode {code}", reports.shown(words), order.ebm.ebmid)

    def _question(self, order: Order) -> Receipt:
        now = datetime.now(UTC)
        written = self._packet(self._fresh_ebdid(), packet.state_request(order.ebm.ebmid), now)
        code, words, _ = self._exchange(written, now, signer=self._signer)
        if codes.RESULTS[code] is not State.ACCEPTED and code != 5:
            _refused(code)
        unknown = code == 5 and (not words or _UNKNOWN_EBMID.search(words))
        # Any other 5 is an error inside: neither a reason to broadcast twice, nor one to believe that nothing is on the air.
        state = State.DEFERRED if unknown else State.IN_DOUBT
        return Receipt(state, f"ResultCode {code}", reports.shown(words), order.ebm.ebmid)

    def _in_order(self, call: Call, known: dict[int, Receipt]) -> list[Receipt]:
        areas = areas_of(call, self._options)
        return [known.get(at, NOTHING_ON_AIR) if area else NOT_A_SYSTEM for at, area in enumerate(areas)]

    def _packet(self, ebdid: str, body: Element, at: datetime, *, answers: Packet | None = None) -> Packet:
        ours, to, related = self._options.ebrid, self._options.peer_ebrid, ""
        if answers:
            to, related = answers.source or to, answers.ebdid
        return Packet(ebdid, ours, to, at, body, str(self._options.reply_url), related)

    def _exchange(
        self, written: Packet, at: datetime, *, signer: signature.Signer | None, seconds: float | None = None
    ) -> tuple[int, str, bytes]:
        """Posts a packet; the ResultCode and ResultDesc of the EBDResponse, and its bytes. What is none says nothing: InDoubt."""
        content_type, content = package.form(
            written.ebdid,
            self._tar(written, at, signer),
            part_name=self._options.part_name,
            part_type=self._options.part_type,
        )
        reply, body = http.post_with_status(
            self._client,
            str(self._options.url),
            content=content,
            headers={"Content-Type": content_type},
            read=_reply,
            seconds=self._options.read_seconds if seconds is None else seconds,
        )
        if reply.related and reply.related != written.ebdid:
            logger.warning("an EBDResponse names another packet than the one that it answers")
        return reports.result(reply), reply.body.text("ResultDesc"), body

    def _tar(self, written: Packet, at: datetime, signer: signature.Signer | None) -> bytes:
        data = packet.write(written, namespace=self._options.namespace)
        if signer is None:
            return package.tar(written.ebdid, data, None, at)
        value = signer.sign(data, at)
        signed = signature.write(written.ebdid, value, self._options.profile, self._options.issuer_id)
        return package.tar(written.ebdid, data, signed, at)

    def _answering_tar(self, written: Packet, at: datetime) -> bytes:
        """Signed where that can be: an answer without a signature is better than none."""
        try:
            return self._tar(written, at, self._signer)
        except ChannelError:
            logger.warning("an answer goes out unsigned: the signer does not sign")
            return self._tar(written, at, None)

    def _fresh_ebdid(self) -> str:
        """Of a packet that belongs to no number: microseconds since 1970 have 16 digits until the year 2286."""
        return f"10{self._options.ebrid}{time.time_ns() // 1000:016d}"

    # --- in --------------------------------------------------------------------------------------------------------

    def _verdict(self, callback: Callback) -> tuple[int, Packet | None]:
        """What a sender hears of its packet, which must be what `read` will make of it."""
        try:
            packets = self._packets(callback)
            for one in packets:
                reports.heard(one)
        except NotTaken as refusal:
            return refusal.code, refusal.packet
        return codes.UNDERSTOOD, packets[0]

    def _packets(self, callback: Callback) -> list[Packet]:
        """Every packet of a body, checked as `verify` says. Raises NotTaken."""
        found = package.unpack(callback.body, callback.headers.get("content-type", ""))
        return [self._checked(packet.read(one.data), one, asked_for=callback.path == HEARTBEAT_PATH) for one in found]

    def _checked(self, theirs: Packet, document: package.Document, *, asked_for: bool) -> Packet:
        if theirs.ebdid not in document.name:
            logger.info("an EBDB file's name and its EBDID differ")  # seen in the field; the EBDID counts
        policy, keys = self._options.verify, self._options.peer_public_keys
        if policy == "off" or asked_for or theirs.kind == codes.HEARTBEAT:
            return theirs
        if signature.signed_by(document.data, signature.read(document.signature), keys) is None:
            if policy == "require":
                raise NotTaken(codes.UNVERIFIED, f"{theirs.kind}: not signed by any of peer_public_keys", theirs)
            logger.warning("%s: not signed by any of peer_public_keys; taken all the same", theirs.kind)
        return theirs


def _software_key(options: EbdOptions) -> signature.SoftwareKey | None:
    if options.sign_mode == "none" or options.private_key is None:
        return None
    return signature.SoftwareKey(options.private_key.get_secret_value(), options.cert_sn, options.sign_mode)


def _reply(status: int, body: bytes) -> tuple[Packet, bytes]:
    """An EBDResponse with status 200, signed or not: it comes back in our own connection. ValueError for anything else."""
    if status != 200:  # 083 §5: whatever else it is, it is no answer of theirs
        raise ValueError("not HTTP 200")
    reply = packet.read(package.unpack(body)[0].data)
    if reply.kind != "EBDResponse":
        raise ValueError("not an EBDResponse")
    reports.result(reply)
    return reply, body


def _refused(code: int) -> NoReturn:
    raise Misconfigured(f"the platform answers ResultCode {code}: {REFUSALS[code]}")


def _receipt_of(error: ChannelError) -> Receipt:
    """An error that met a later packet of a call, as a value. Misconfigured is deferred: nobody is to blame."""
    return Receipt(State.IN_DOUBT if isinstance(error, InDoubt) else State.DEFERRED, "", str(error))


def _note(known: dict[int, Receipt], order: Order, receipt: Receipt) -> None:
    """Of two packets for one message the one that is known least of counts: a stop is done when all of it is."""
    least_known = (State.IN_DOUBT, State.DEFERRED, State.ACCEPTED)
    for at in order.positions:
        known[at] = min(known.get(at, receipt), receipt, key=lambda one: least_known.index(one.state))
