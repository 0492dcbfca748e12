"""EBDS, the signature file of a packet: SM2 over SM3 as GD/J 081-2018 has it, in the two modes seen in the field."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Literal

from gmssl.sm2 import CryptSM2

from .forms import FormError, Node, check, read_form, read_xml, text, write_xml

SignMode = Literal["A", "B", "none"]  # A: the time's 4 bytes are signed after the document; B: the document alone

SM2_ORDER = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123  # GB/T 32918.5, n
VALUE_BYTES = 74  # 081 annex table 2: time 4, certificate number 6, r 32, s 32

_FORM = read_form("Signature!( Version! RelatedEBD!( EBDID! ) CertSN! SignatureAlgorithm! SignatureValue! )")


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: a certificate's number (12 hex digits) and its keys (hex, the public one without 04)."""

    certificate: str
    public_key: str
    private_key: str = field(default="", repr=False)  # "" = somebody else's


class BadSignature(Exception):
    """Why a signature does not count, in the receiver's words."""


def write(document: bytes, ebdid: str, signer: Signer, mode: SignMode, seconds: int) -> bytes:
    """The signature file over a document as it lies in the TAR. `seconds` is the time of signing, UTC."""
    moment = seconds.to_bytes(4, "big")
    number = bytes.fromhex(signer.certificate)
    pair = bytes.fromhex(_sm2(signer).sign_with_sm3(document + moment if mode == "A" else document))
    value = base64.b64encode(moment + number + pair).decode()
    parts: list[Node] = [
        ("Version", "1"),
        ("RelatedEBD", [("EBDID", ebdid)]),
        ("CertSN", f"0000{signer.certificate.upper()}"),  # 16 digits, as the printed sample
        ("SignatureAlgorithm", "SM2-SM3"),
        ("SignatureValue", value),
    ]
    return write_xml(("Signature", parts))


def verify(signature: bytes | None, document: bytes, ebdid: str, signer: Signer, mode: SignMode) -> None:
    """Raises BadSignature unless this signer signed exactly these bytes in this mode."""
    if signature is None:
        raise BadSignature("缺少签名文件")
    value = _value(signature, ebdid)
    # The signer is known by bytes 4-9 of the value; CertSN is written in many ways.
    if value[4:10].hex() != signer.certificate.lower():
        raise BadSignature("证书未登记")
    r, s = value[10:42], value[42:]
    if not all(0 < int.from_bytes(one, "big") < SM2_ORDER for one in (r, s)):
        raise BadSignature("签名值超出范围")
    signed = document + value[:4] if mode == "A" else document
    if not _sm2(signer).verify_with_sm3((r + s).hex(), signed):
        raise BadSignature("验签不通过")


def _value(signature: bytes, ebdid: str) -> bytes:
    try:
        root = read_xml(signature)
        check(root, _FORM, {"": lambda words: words.strip()})
        value = base64.b64decode(text(root, "SignatureValue"), validate=True)
    except (FormError, binascii.Error, ValueError):
        raise BadSignature("签名文件不规范") from None
    if text(root, "RelatedEBD/EBDID") != ebdid:
        raise BadSignature("签名文件的 EBDID 不符")
    if text(root, "SignatureAlgorithm") != "SM2-SM3" or len(value) != VALUE_BYTES:
        raise BadSignature("签名算法或长度不符")
    return value


def _sm2(signer: Signer) -> CryptSM2:
    sm2 = CryptSM2(signer.private_key, signer.public_key)
    sm2.public_key = signer.public_key  # gmssl 3.2.2 strips every leading 0 and 4 of a key that begins with 04
    return sm2
