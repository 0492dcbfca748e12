"""Phone numbers: E.164 inside, masked outside."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType, ValidationResult

UNASSIGNED = ("154", "194")  # no operator has them: used for synthetic numbers (docs of libphonenumber 9.0: possible, not valid)
_HOME = "CN"


@dataclass(frozen=True, slots=True)
class Phone:
    """A number that can exist. The repr shows it masked only."""

    e164: str = field(repr=False)
    valid: bool  # an operator is known for it
    landline: bool

    @property
    def masked(self) -> str:
        """138****0002."""
        return mask(self.e164)

    @property
    def is_test_range(self) -> bool:
        """True for the prefixes that synthetic numbers use."""
        return self.e164.startswith(tuple(f"+86{prefix}" for prefix in UNASSIGNED))


def parse_phone(text: str) -> Phone | None:
    """A number as a person writes it (Chinese, or international with +); None when no such number can exist."""
    digits = text.removeprefix("+86").replace(" ", "").replace("-", "")
    if _MOBILE.fullmatch(digits):
        valid, plain = _judge_mobile(digits[:_DECIDING])
        if plain:
            return Phone(f"+86{digits}", valid, landline=False)
    return _parse(text)


def mask(phone: str) -> str:
    """138****0002: enough to recognise one's own number, not enough to call it. "" stays ""."""
    shown = phone.removeprefix("+86")
    if len(shown) < 10:
        return "****" if shown else ""
    return f"{shown[:3]}****{shown[-4:]}"


_PLAIN = re.compile(r"\+?[0-9][0-9 ()-]{2,30}", re.ASCII)
# Numbers that begin with 10 to 12 or 179 are read by the library as a carrier's code and a shorter number: not the quick way.
_MOBILE = re.compile(r"1(?!79)[3-9][0-9]{9}")
_MOBILE_SHAPE = re.compile(r"\+861[0-9]{10}")
_WRITTEN = re.compile(
    r"(?<!\d)(?:\+?86[ -]?)?(1(?:[ -]?\d){10})(?!\d)", re.ASCII
)  # not a region code, which has 6, 9 or 12 digits


def mask_within(text: str) -> str:
    """A text in which every mobile number is masked: for what quotes a cell that should have held something else."""
    return _WRITTEN.sub(lambda found: mask(re.sub("[ -]", "", found[1])), text)


# Chinese mobile ranges are told apart by their first four or five digits (1740[0-5] is the longest in libphonenumber's metadata).
_DECIDING = 6


@lru_cache(maxsize=10_000)
def _judge_mobile(prefix: str) -> tuple[bool, bool]:
    """Whether all 11-digit numbers with this prefix are valid, and mean +86 and themselves. A roster has half a million."""
    sample = prefix + "0" * (11 - len(prefix))
    phone = _parse(sample)
    return (phone.valid, phone.e164 == f"+86{sample}") if phone and not phone.landline else (False, False)


def _parse(text: str) -> Phone | None:
    if not _PLAIN.fullmatch(text):  # libphonenumber finds a number in almost anything, P00001 included
        return None
    try:
        number = phonenumbers.parse(text, _HOME)
    except phonenumbers.NumberParseException:
        return None
    # Not is_possible_number: it also passes what can be dialled only within one town, such as 8012345.
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        return None
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    valid = phonenumbers.is_valid_number(number)
    # Of China's numbers the library calls 7 to 12 digits possible; a mobile number has 11, so that a dropped digit is a mistake.
    if not valid and number.country_code == 86 and not _MOBILE_SHAPE.fullmatch(e164):
        return None
    return Phone(e164, valid, landline=phonenumbers.number_type(number) == PhoneNumberType.FIXED_LINE)
