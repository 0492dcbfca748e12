"""Addresses and names at rest: AES-SIV, so that a number can be looked up without being readable."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import BroadcastError

ERASED = "(erased)"  # what stands where a person's name or number was


class WrongKey(BroadcastError):
    """The seal key is not the one that this ledger was written with."""


class Seal:
    """Seals short texts deterministically (same text, same bytes) and bodies with a nonce (never the same bytes)."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 64:
            raise WrongKey("the seal key must be 64 bytes; `broadcast init` makes one")
        self._siv = AESSIV(key)
        self._key = key
        self.fingerprint = hashlib.sha256(b"broadcast seal" + key).hexdigest()[:16]

    @classmethod
    def from_file(cls, path: Path) -> Seal:
        """Reads 128 hex digits; raises WrongKey with what to do when the file is missing or broken."""
        try:
            return cls(bytes.fromhex(path.read_text(encoding="ascii").strip()))
        except FileNotFoundError:
            raise WrongKey(f"no seal key at {path}: restore it from its backup; without it no address can be read") from None
        except ValueError:
            raise WrongKey(f"{path} is not a seal key (128 hex digits)") from None

    @staticmethod
    def make(path: Path) -> None:
        """Writes a new key, readable by its owner only; refuses to overwrite one."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(os.urandom(64).hex() + "\n")

    def key_for(self, purpose: str) -> bytes:
        """A key of its own for another purpose; from it nobody gets back to this one."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"broadcast {purpose}".encode()).derive(self._key)

    def seal(self, text: str) -> bytes:
        """Deterministic: 16 bytes of tag and as many as the text."""
        return self._siv.encrypt(text.encode(), None)

    def open(self, sealed: bytes) -> str:
        """Raises WrongKey when the bytes were sealed with another key or were altered."""
        try:
            return self._siv.decrypt(bytes(sealed), None).decode()
        except InvalidTag:
            raise WrongKey("a sealed value does not open: another seal key, or altered bytes") from None

    def show(self, sealed: bytes | None) -> str:
        """The same for a list: what was erased is said to be."""
        return ERASED if sealed is None else self.open(sealed)

    def seal_body(self, body: bytes) -> bytes:
        """With a nonce in front: equal bodies do not look equal."""
        nonce = os.urandom(16)
        return nonce + self._siv.encrypt(b"\1" + body, [nonce])  # AES-SIV seals no empty text

    def open_body(self, sealed: bytes) -> bytes:
        """The inverse of `seal_body`."""
        sealed = bytes(sealed)
        try:
            return self._siv.decrypt(sealed[16:], [sealed[:16]])[1:]
        except InvalidTag:
            raise WrongKey("a sealed body does not open: another seal key, or altered bytes") from None
