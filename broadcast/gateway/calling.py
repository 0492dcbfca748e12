"""From pieces of a held batch to what a channel is told: words, facts, who it is, what was said before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..alert import RegionCode
from ..channels.base import Call, Facts, Message, Number, Past, Purpose
from ..ledger import Row, people, questions, sending
from ..ledger.people import Holder
from ..ledger.sending import Held, Piece
from . import links
from .house import House
from .keys import key_of
from .ways import FarEnd


class Calls:
    """Makes the calls of one held batch."""

    def __init__(self, house: House, far_end: FarEnd, held: Held) -> None:
        self._house, self._far_end, self._held = house, far_end, held
        with house.ledger.read() as tx:
            facts = _as_facts(sending.snapshot(tx, held.alert_id))
            owing = sending.answer_within_of(tx, held.batch_id) if held.purpose == Purpose.ALARM else None
        self._facts = replace(facts, answer_by=questions.at(owing[0] + owing[1] * 1000)) if owing else facts

    def call(self, pieces: Sequence[Piece]) -> Call:
        """One call for these pieces."""
        held = self._held
        holders = self._holders(pieces)
        return Call(
            key=key_of(self._house, held.batch_id, pieces[0].seq),
            purpose=Purpose.of(held.purpose),
            messages=tuple(self._message(piece, holders) for piece in pieces),
            facts=replace(self._facts, past=self._past(pieces)),
            attempt=held.attempt,
        )

    def _message(self, piece: Piece, holders: Mapping[int, Holder]) -> Message:
        house, held = self._house, self._held
        can = self._far_end.capabilities
        holder = holders.get(piece.post_id) if piece.post_id is not None else None
        role = house.books.roles.get(holder.role) if holder else None
        link = "" if can.one_text else links.of(house, held.batch_id, piece.seq)
        return Message(
            piece.seq,
            house.ledger.seal.open(piece.address),
            links.put_in(held.text, link),
            key=key_of(house, held.batch_id, piece.seq),
            region=piece.region,
            region_name=self._region_name(piece.region) if can.named else "",
            role=role.zh if role else "",
            person=house.ledger.seal.open(holder.name) if holder and holder.name else "",
        )

    def _region_name(self, code: str) -> str:
        regions = self._house.books.regions
        return regions[RegionCode(code)].name if code in regions else code

    def _holders(self, pieces: Sequence[Piece]) -> Mapping[int, Holder]:
        if not self._far_end.capabilities.named:
            return {}
        with self._house.ledger.read() as tx:
            return people.holders_of(tx, [piece.post_id for piece in pieces if piece.post_id is not None])

    def _past(self, pieces: Sequence[Piece]) -> tuple[Past, ...]:
        """What this far end was told of the event before, for channels that must name it."""
        if not self._far_end.capabilities.recalls or self._held.purpose == Purpose.RELEASE:
            return ()
        open_ = self._house.ledger.seal.open
        with self._house.ledger.read() as tx:
            found = sending.past_calls(tx, self._held, [piece.seq for piece in pieces])
        return tuple(
            Past(
                one.ref,
                tuple(map(open_, one.addresses)),
                Number(one.number.day, one.number.n, one.number.at) if one.number else None,
                questions.at(one.expires),
            )
            for one in found
        )


def _as_facts(row: Row) -> Facts:
    return Facts(
        alert_id=row.id,
        identifier=row.identifier,
        event_code=row.event_code,
        event=row.event,
        level=row.level,
        status=row.status,
        issuer=row.issuer,
        headline=row.headline,
        sent=questions.at(row.sent),
        expires=questions.at(row.expires),
        sender_code=row.sender_code,
        msg_type=row.msg_type,
        regions=sending.roots(row),
    )
