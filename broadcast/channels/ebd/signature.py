"""EBDS, the signature file of a packet: SM2 over SM3, packed into 74 bytes (GD/J 081 t.2, t.5), written and checked.

The message that is signed is the EBDB file byte for byte. Mode A appends the 4 bytes of the signing time (hardware, the
provincial systems), mode B does not (software): both are in the field, so whoever checks tries A, then B.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from gmssl import sm2, sm3

from .elements import EBDS_DECLARATION, Element, parse, serialise

Mode = Literal["A", "B"]
LENGTH = 74  # time 4, certificate number 6, r 32, s 32
USER_ID = b"1234567812345678"

_CURVE = {name: int(value, 16) for name, value in sm2.default_ecc_table.items() if name != "g"}
_BASE: str = sm2.default_ecc_table["g"]


class Signer(Protocol):
    """Whatever signs for us: a key in software, a device, a province's service."""

    def sign(self, data: bytes, at: datetime) -> bytes:
        """The 74 bytes for an EBDB file. Raises Unavailable when it cannot sign now, Misconfigured when it may not."""
        ...


class SoftwareKey:
    """A private key in memory."""

    def __init__(self, private_key: str, cert_sn: str, mode: Mode) -> None:
        self._number, self._mode = bytes.fromhex(cert_sn)[-6:], mode
        self._secret = bytes.fromhex(private_key)
        self._public = public_key(private_key)
        self._engine = _engine(self._public, private_key)

    def sign(self, data: bytes, at: datetime) -> bytes:
        """The same data at the same second gives the same bytes, so that a resend is one."""
        seconds = int(at.timestamp()).to_bytes(4, "big")
        digest = _digest(self._public, data + (seconds if self._mode == "A" else b""))
        signed: str = self._engine.sign(digest, self._nonce(digest).hex())
        return seconds + self._number + bytes.fromhex(signed)

    def _nonce(self, digest: bytes) -> bytes:
        """A number that nobody can guess and no other message shares, from key and message (the idea of RFC 6979).

        gmssl's own comes from `random`, which can be predicted: two signatures would give the key away.
        """
        for turn in range(256):
            nonce = hmac.digest(self._secret, b"EBDS nonce" + bytes([turn]) + digest, "sha256")
            if 0 < int.from_bytes(nonce, "big") < _CURVE["n"]:
                return nonce
        raise AssertionError("256 numbers in a row above the curve's order")


def signed_by(data: bytes, value: bytes, public_keys: Sequence[str]) -> Mode | None:
    """The mode in which one of these keys (64 bytes in hex, without 04) signed this file; None when none did."""
    if len(value) != LENGTH:
        return None
    r, s = (int.from_bytes(value[start : start + 32], "big") for start in (10, 42))
    if not (0 < r < _CURVE["n"] and 0 < s < _CURVE["n"]):
        return None
    attempts: tuple[tuple[Mode, bytes], ...] = (("A", data + value[:4]), ("B", data))
    return next((mode for mode, signed in attempts for key in public_keys if _holds(key, value[10:], signed)), None)


def write(ebdid: str, value: bytes, profile: str, issuer_id: str = "") -> bytes:
    """The EBDS file. The certificate's number is the one in the value, with the four zeros that the field writes before it."""
    number, packed = value[4:10].hex().upper().rjust(16, "0"), base64.b64encode(value).decode()
    related = Element("RelatedEBD", (Element("EBDID", ebdid),))
    if profile == "linkage2016":
        certificate = (Element("CertType", "01"), Element("IssuerID", issuer_id), Element("CertSN", number))
        parts: tuple[Element, ...] = (
            Element("Version", "1.0"),
            related,
            Element("SignatureCert", certificate),
            Element("SignatureTime", value[:4].hex()),
            Element("DigestAlgorithm", "SM3"),
            Element("SignatureAlgorithm", "SM2"),
        )
    else:
        parts = (Element("Version", "1"), related, Element("CertSN", number), Element("SignatureAlgorithm", "SM2-SM3"))
    return serialise(Element("Signature", (*parts, Element("SignatureValue", packed))), declaration=EBDS_DECLARATION)


def read(data: bytes) -> bytes:
    """The 74 bytes out of an EBDS file of either form; b"" when it is missing, broken, or holds none."""
    try:
        value = parse(data, whole="Signature").text("SignatureValue")
        found = base64.b64decode("".join(value.split()), validate=True)
    except (ValueError, binascii.Error):
        return b""
    return found if len(found) == LENGTH else b""


def public_key(private_key: str) -> str:
    """The 64 bytes, in hex, that belong to a private key."""
    point: str = sm2.CryptSM2(private_key, "")._kg(int(private_key, 16), _BASE)
    return point


def on_curve(key: str) -> bool:
    """True for 64 bytes in hex that are a point of the curve: anything else verifies nothing."""
    x, y, p = int(key[:64], 16), int(key[64:], 16), _CURVE["p"]
    return x < p and y < p and (y * y - (x * x * x + _CURVE["a"] * x + _CURVE["b"])) % p == 0


def is_private_key(key: str) -> bool:
    return 0 < int(key, 16) < _CURVE["n"] - 1


def _holds(key: str, signature: bytes, data: bytes) -> bool:
    try:
        return bool(_engine(key).verify(signature.hex(), _digest(key, data)))
    except TypeError:  # gmssl has no point at infinity: a crafted signature meets None there
        return False


def _engine(key: str, private_key: str = "") -> sm2.CryptSM2:
    engine = sm2.CryptSM2(private_key, "")
    engine.public_key = key  # its constructor cuts every leading 0 and 4 off a key that begins with 04
    return engine


def _digest(key: str, data: bytes) -> bytes:
    """e = SM3(Z ‖ data), Z over user id, curve and public key (GB/T 32918.2 §5.5)."""
    table = sm2.default_ecc_table
    curve = bytes.fromhex(table["a"] + table["b"] + table["g"] + key)
    return _sm3(_sm3((len(USER_ID) * 8).to_bytes(2, "big") + USER_ID + curve) + data)


def _sm3(data: bytes) -> bytes:
    """OpenSSL's where Python was built with it: gmssl's own takes three seconds for a megabyte."""
    if "sm3" in hashlib.algorithms_available:
        return hashlib.new("sm3", data).digest()
    return bytes.fromhex(sm3.sm3_hash(list(data)))
