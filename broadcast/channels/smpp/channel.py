"""SMPP 3.4, a carrier's own door: each text its own, each message with an id and a report of its own.

`send` writes up to `window` messages ahead of their answers over one transmitter session for each instance; `collect`
listens on a session of its own. Nothing is ever sent again by itself: aiosmpplib, which would do windows and segments too,
re-sends by itself after it has connected anew, and that rings phones twice.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, StringConstraints, model_validator
from smpplib import consts

from ...delivery import Receipt, State
from ...errors import Unavailable, Unsupported
from .. import replies
from ..base import Answer, Call, Callback, Capabilities, Heard, Message, Purpose
from . import hearing, submitting
from .protocol import TRY_AGAIN, Pdu, compose
from .session import Kind, Line, Lost, Session

ONE_PART = 70  # UTF-16 units of an SMS in UCS-2: 140 octets
MAX_TEXT = 500  # UTF-16 units with the 【签名】; a message_payload could hold 32,767, no phone shows them

LISTENING: dict[str, Kind] = {"receiver": "bind_receiver", "transceiver": "bind_transceiver"}

Ascii = r"^[!-~]*$"


class SmppOptions(BaseModel):
    """What a `[[peer]]` with protocol "smpp" may say. Host and account come with the contract: no defaults.

    One session carries one call after another, so a peer's `concurrency` above 1 gains nothing; each worker process
    that sends binds once, and a contract limits how many may.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]
    port: int = Field(2775, ge=1, le=65_535)
    # The lengths are SMPP's own (§4.1.1); smpplib would cut a longer one off without a word.
    system_id: Annotated[str, StringConstraints(pattern=Ascii, min_length=1, max_length=15)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=8)]
    system_type: Annotated[str, StringConstraints(pattern=Ascii, max_length=12)] = ""
    service_type: Annotated[str, StringConstraints(pattern=Ascii, max_length=5)] = ""
    source_addr: Annotated[str, StringConstraints(pattern=Ascii, max_length=20)] = ""  # our number; "" = the account's own
    # ASSUMPTION: which type of number and numbering plan a carrier wants is in its contract; these are the usual ones.
    source_ton: int = Field(0, ge=0, le=6)
    source_npi: int = Field(0, ge=0, le=18)
    dest_ton: int = Field(1, ge=0, le=6)  # international
    dest_npi: int = Field(1, ge=0, le=18)  # E.164
    dest_prefix: Literal["86", ""] = "86"  # "": the eleven digits alone
    serial_digits: int = Field(0, ge=0, le=4)  # of the alert's number, appended to source_addr: a reply then tells the alert
    signature: Annotated[str, StringConstraints(max_length=16)] = ""  # put in front as 【…】: SMPP carriers do not add it
    long: Literal["payload", "refuse"] = "payload"  # more than one part: as one message_payload, or not at all
    id_form: hearing.IdForm = "same"  # of an id: in the answer, then in the report
    listen_as: Literal["receiver", "transceiver"] = "receiver"  # which bind the account has for reports and replies
    tls: bool = False
    ca_file: FilePath | None = None  # PEM; for carriers whose certificate a private CA signed
    window: int = Field(10, ge=1, le=100)  # messages written ahead of their answers
    per_call: int = Field(100, ge=1, le=1000)
    text_limit: int = Field(62, ge=1, le=MAX_TEXT)  # our own words: one part is 70, a 【签名】 of six characters is 8
    doubt_seconds: int = Field(120, ge=1, le=86_400)
    collect_seconds: int = Field(1, ge=0, le=3600)  # 0: this account may not bind as a receiver
    connect_seconds: float = Field(5.0, gt=0, le=60)
    read_seconds: float = Field(20.0, gt=0, le=120)  # how long one answer may take
    call_seconds: float = Field(60.0, gt=0, le=600)  # how long a whole call may take, however steadily answers come
    idle_seconds: float = Field(30.0, gt=0, le=600)  # after this much silence the far end is asked whether it is there

    @model_validator(mode="after")
    def _fits(self) -> SmppOptions:
        if self.serial_digits and not self.source_addr:
            raise ValueError("serial_digits are appended to source_addr: name it")
        if len(self.source_addr) + self.serial_digits > 20:
            raise ValueError("source_addr and serial_digits have at most 20 digits together")
        if not re.fullmatch(Ascii, self.password.get_secret_value()):
            raise ValueError("password is ASCII without blanks")
        whole = self.text_limit + _units(f"【{self.signature}】" if self.signature else "")
        if whole > (MAX_TEXT if self.long == "payload" else ONE_PART):
            raise ValueError("text_limit and the signature are more than one message holds")
        return self


class Smpp:
    """One SMPP account."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        per_call=100,
        text_limit=62,
        unit="utf16",
        one_text=False,
        receipts=True,
        acknowledges=True,
        collect_seconds=1,
        doubt_seconds=120,
    )
    Options: ClassVar[type[BaseModel]] = SmppOptions
    serves: ClassVar[frozenset[str]] = frozenset({"sms"})

    def __init__(self, options: SmppOptions) -> None:
        self._options = options
        self._line = Line(
            host=options.host,
            port=options.port,
            tls=options.tls,
            ca_file=options.ca_file,
            system_id=options.system_id,
            password=options.password.get_secret_value(),
            system_type=options.system_type,
            connect_seconds=options.connect_seconds,
            answer_seconds=options.read_seconds,
        )
        self._pace = submitting.Pace(options.window, options.read_seconds, options.call_seconds)
        self._ids = hearing.Ids(options.id_form)
        self._sending, self._listening = threading.Lock(), threading.Lock()  # each guards the session of its name
        self._transmitter: Session | None = None
        self._receiver: Session | None = None

    def send(self, call: Call) -> Sequence[Receipt]:
        """One receipt for each message, in order. What was written and not answered is in doubt, what was not written
        is deferred.
        """
        self._refuse_what_cannot_be(call)
        known: dict[int, Receipt] = {}  # by the message's place in the call
        wanted: dict[int, dict[str, object]] = {}
        for place, message in enumerate(call.messages):
            if fields := self._fields(call, message):
                wanted[place] = fields
            else:
                known[place] = NOT_A_MOBILE
        if wanted:
            with self._bound() as session:
                known |= submitting.hand_over(session, wanted, self._pace, self._ids)
        return [known[place] for place in range(len(call.messages))]

    def ask(self, call: Call) -> Sequence[Receipt]:  # noqa: ARG002 - the contract's signature
        """Always Unsupported: query_sm asks by the id, and a call in doubt is one whose ids never came."""
        raise Unsupported("smpp cannot be asked what became of a call: wait for its reports")

    def read(self, callback: Callback) -> Sequence[Heard]:
        """The meaning of one deliver_sm that `collect` kept. ValueError for anything else."""
        options = self._options
        return [hearing.hear(callback.body, self._ids, options.source_addr, options.serial_digits)]

    def answer(self, callback: Callback) -> Answer:  # noqa: ARG002 - the contract's signature
        """404: SMPP does not come by HTTP."""
        return Answer(404, "text/plain", b"smpp has no callbacks")

    def collect(self, keep: Callable[[Callback], None], seconds: float, refs: Callable[[], Sequence[str]] = tuple) -> None:  # noqa: ARG002
        """Listens for about `seconds`. Each deliver_sm is kept before it is answered; what cannot be kept must come again."""
        if not self._options.collect_seconds:
            raise Unsupported("this peer's collect_seconds is 0")
        if not self._listening.acquire(blocking=False):
            return  # another thread is at it
        try:
            self._listen(keep, time.monotonic() + seconds)
        finally:
            self._listening.release()

    def close(self) -> None:
        """Unbinds."""
        with self._sending:
            if self._transmitter:
                self._transmitter.close()
            self._transmitter = None
        with self._listening:
            if self._receiver:
                self._receiver.close()
            self._receiver = None

    def _refuse_what_cannot_be(self, call: Call) -> None:
        if call.purpose is Purpose.STOP:
            raise Unsupported("smpp cannot take an SMS back")
        if not call.messages:
            raise Unsupported("a call without messages")
        if len(call.messages) > self._options.per_call:
            raise Unsupported(f"{len(call.messages)} messages in one call; this peer's per_call is {self._options.per_call}")
        most = MAX_TEXT if self._options.long == "payload" else ONE_PART
        for message in call.messages:
            if not message.text:
                raise Unsupported("a message without text")
            try:
                length = _units(self._signed(message.text))
            except UnicodeEncodeError:
                raise Unsupported("a text with half a character (a lone surrogate) in it") from None
            if length > most:
                raise Unsupported(f"a text of {length} UTF-16 units with its signature; this peer takes {most}")

    def _signed(self, text: str) -> str:
        return f"【{self._options.signature}】{text}" if self._options.signature else text

    def _fields(self, call: Call, message: Message) -> dict[str, object]:
        """The fields of its submit_sm; empty for what is no mobile of mainland China."""
        options, mobile = self._options, replies.address(message.address)
        if not mobile or mobile != message.address:
            return {}
        content = self._signed(message.text).encode("utf-16-be")
        # One message_payload, not parts: the centre splits it, and there is one id and one report for one delivery.
        where = "short_message" if len(content) <= 2 * ONE_PART else "message_payload"
        return {
            "service_type": options.service_type,
            "source_addr_ton": options.source_ton,
            "source_addr_npi": options.source_npi,
            "source_addr": options.source_addr + replies.serial(call.facts.alert_id, options.serial_digits),
            "dest_addr_ton": options.dest_ton,
            "dest_addr_npi": options.dest_npi,
            "destination_addr": options.dest_prefix + mobile.removeprefix("+86"),
            "registered_delivery": consts.SMPP_SMSC_DELIVERY_RECEIPT_BOTH,
            "data_coding": consts.SMPP_ENCODING_ISO10646,  # UCS-2; a rare hanzi is two units in it, and nothing here cuts
            where: content,
        }

    @contextmanager
    def _bound(self) -> Iterator[Session]:
        """The transmitter session, ours alone. Bound on first use and again after it was lost."""
        if not self._sending.acquire(timeout=self._options.read_seconds):
            raise Unavailable("this peer's one session is busy with other calls")
        try:
            yield self._living_transmitter()
        except BaseException:
            self._drop_transmitter()  # whatever it was, answers may still be on their way: begin anew
            raise
        finally:
            self._sending.release()

    def _living_transmitter(self) -> Session:
        if self._transmitter and self._transmitter.over:
            self._transmitter = None
        if self._transmitter:
            try:
                self._transmitter.prove_alive(self._options.idle_seconds)
            except Lost:
                self._drop_transmitter()
        if not self._transmitter:
            self._transmitter = Session(self._line, "bind_transmitter")
        return self._transmitter

    def _drop_transmitter(self) -> None:
        if self._transmitter:
            self._transmitter.drop()
        self._transmitter = None

    def _listen(self, keep: Callable[[Callback], None], deadline: float) -> None:
        if not self._receiver:
            self._receiver = Session(self._line, LISTENING[self._options.listen_as])
        session = self._receiver
        try:
            session.keep_alive(self._options.idle_seconds)
            while (pdu := session.read(deadline)) is not None:
                if pdu.command == "deliver_sm":
                    _keep(session, keep, pdu)
                if time.monotonic() > deadline:
                    break
        except Lost as lost:
            self._receiver = None
            session.drop()
            raise Unavailable(f"listening ended: {lost}") from None


NOT_A_MOBILE = Receipt(State.REJECTED, "", "not a mobile number of mainland China")


def _keep(session: Session, keep: Callable[[Callback], None], pdu: Pdu) -> None:
    try:
        keep(Callback("deliver_sm", {}, pdu.raw))
    except Exception:
        with suppress(Lost):  # why it was not kept matters more
            session.write(compose("deliver_sm_resp", pdu.sequence, status=TRY_AGAIN))
        raise
    session.write(compose("deliver_sm_resp", pdu.sequence))


def _units(text: str) -> int:
    return len(text.encode("utf-16-be")) // 2
