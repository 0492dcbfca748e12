"""What becomes of the messages of one call: written ahead within a window, answered one by one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

from smpplib import consts

from ...delivery import Receipt, State
from ...errors import InDoubt, Misconfigured
from .hearing import Ids
from .protocol import Pdu, compose, message_id
from .session import Lost, Session


class Meaning(Enum):
    """What the status of an answer says about the message."""

    TAKEN = auto()
    COME_LATER = auto()  # turned away at the door: certainly not taken
    MAYBE = auto()  # failed somewhere inside: it may have been taken
    ABOUT_US = auto()  # account, contract or our composing: reject nobody, call the operator
    ABOUT_THE_NUMBER = auto()


# command_status of a submit_sm_resp (SMPP 3.4 §5.1.3).
MEANINGS: dict[int, Meaning] = {
    consts.SMPP_ESME_ROK: Meaning.TAKEN,
    consts.SMPP_ESME_RTHROTTLED: Meaning.COME_LATER,
    consts.SMPP_ESME_RMSGQFUL: Meaning.COME_LATER,
    consts.SMPP_ESME_RX_T_APPN: Meaning.COME_LATER,
    consts.SMPP_ESME_RSUBMITFAIL: Meaning.COME_LATER,
    consts.SMPP_ESME_RINVDSTADR: Meaning.ABOUT_THE_NUMBER,
    consts.SMPP_ESME_RINVMSGLEN: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVCMDLEN: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVCMDID: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVBNDSTS: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVPRTFLG: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVREGDLVFLG: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVSRCADR: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVPASWD: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVSYSID: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVSERTYP: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVESMCLASS: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVSRCTON: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVSRCNPI: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVDSTTON: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVDSTNPI: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVSYSTYP: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVOPTPARSTREAM: Meaning.ABOUT_US,
    consts.SMPP_ESME_ROPTPARNOTALLWD: Meaning.ABOUT_US,  # this carrier takes no message_payload
    consts.SMPP_ESME_RINVPARLEN: Meaning.ABOUT_US,
    consts.SMPP_ESME_RMISSINGOPTPARAM: Meaning.ABOUT_US,
    consts.SMPP_ESME_RINVOPTPARAMVAL: Meaning.ABOUT_US,
    # A fault inside the centre can come after the message was queued, and a repeat would ring the phone twice.
    consts.SMPP_ESME_RSYSERR: Meaning.MAYBE,
}
UNKNOWN_STATUS = Meaning.MAYBE  # a status nobody wrote down must not cause a second ringing, nor a silent loss


@dataclass(frozen=True, slots=True)
class Pace:
    """How many messages may wait for their answers, how long for one, and how long the whole call may take."""

    window: int
    answer_seconds: float
    call_seconds: float


NOT_WRITTEN = Receipt(State.DEFERRED, "", "not handed over: the session ended before its turn")
NOT_ANSWERED = Receipt(State.IN_DOUBT, "", "handed over, and no answer came")


def hand_over(session: Session, wanted: Mapping[int, Mapping[str, object]], pace: Pace, ids: Ids) -> dict[int, Receipt]:
    """Writes the submit_sm of each place and returns what is known of each.

    Raises InDoubt when nothing at all was answered, Misconfigured when every answer says that it is about us: as long as
    the far end took or may have taken one of them, what became of each is a value.
    """
    run = _Run(session, wanted, pace, ids)
    try:
        run.go()
    except Lost as lost:
        run.hear_the_rest()
        session.drop()
        if not run.answered:
            raise InDoubt(str(lost)) from None
        run.break_off()
    if run.about_us and run.about_us == run.answered and not run.lost:
        raise Misconfigured(f"the far end refuses us: {run.words}; check the peer's addresses and the contract")
    return run.known


class _Run:
    def __init__(self, session: Session, wanted: Mapping[int, Mapping[str, object]], pace: Pace, ids: Ids) -> None:
        self._session, self._pace, self._ids = session, pace, ids
        self._waiting = deque(wanted.items())
        self._written: dict[int, int] = {}  # sequence number → place, not answered yet
        self.known: dict[int, Receipt] = {}
        self.answered = self.about_us = 0  # answers, and those of them that are about us
        self.words = ""  # of the first of those
        self.lost = False

    def go(self) -> None:
        """Until everything that was written is answered. Raises Lost."""
        end = time.monotonic() + self._pace.call_seconds
        while self._waiting or self._written:
            while self._waiting and len(self._written) < self._pace.window:
                self._write_next()
            answer = self._session.read(min(time.monotonic() + self._pace.answer_seconds, end))
            if answer is None:
                raise Lost("no answer within the time allowed")
            self._hear(answer)

    def hear_the_rest(self) -> None:
        """What was answered before the line broke under our writing still lies there."""
        with suppress(Lost):  # as it is
            while (answer := self._session.read(time.monotonic())) is not None:
                self._hear(answer)

    def break_off(self) -> None:
        """The session is gone: what was written is in doubt, what was not is due again."""
        self.lost = bool(self._written)
        self.known |= dict.fromkeys(self._written.values(), NOT_ANSWERED)
        self._leave_the_rest(NOT_WRITTEN)

    def _write_next(self) -> None:
        place, fields = self._waiting.popleft()
        sequence = self._session.sequence()
        self._written[sequence] = place  # before it is written: a write that breaks off may have left
        self._session.write(compose("submit_sm", sequence, fields))

    def _hear(self, answer: Pdu) -> None:
        if answer.sequence in self._written:
            self._learn(self._written.pop(answer.sequence), answer)

    def _learn(self, place: int, answer: Pdu) -> None:
        self.answered += 1
        meaning = _meaning(answer)
        code, words = f"0x{answer.status:02X}", consts.DESCRIPTIONS.get(answer.status, "a status of their own")
        if meaning is Meaning.TAKEN:
            self.known[place] = Receipt(State.ACCEPTED, code, ref=self._ids.answered(message_id(answer)))
            return
        self.known[place] = Receipt(_STATES[meaning], code, words)
        if meaning is Meaning.ABOUT_US:
            self.about_us += 1
            self.words = self.words or f"{code} {words}"
        if meaning in (Meaning.ABOUT_US, Meaning.COME_LATER):  # the others would hear the same
            self._leave_the_rest(Receipt(State.DEFERRED, code, f"not handed over: {words}"))

    def _leave_the_rest(self, receipt: Receipt) -> None:
        self.known |= dict.fromkeys((place for place, _ in self._waiting), receipt)
        self._waiting.clear()


def _meaning(answer: Pdu) -> Meaning:
    """A generic_nack says why it refuses; one that names no reason took nothing that we know of."""
    if answer.command == "generic_nack" and answer.status == consts.SMPP_ESME_ROK:
        return UNKNOWN_STATUS
    return MEANINGS.get(answer.status, UNKNOWN_STATUS)


_STATES: dict[Meaning, State] = {
    Meaning.COME_LATER: State.DEFERRED,
    Meaning.MAYBE: State.IN_DOUBT,
    Meaning.ABOUT_US: State.DEFERRED,
    Meaning.ABOUT_THE_NUMBER: State.REJECTED,
}
