"""SMPP 3.4: the carriers' own door for SMS. `protocol` is the bytes, `session` a bound connection, `channel` the rest."""

from __future__ import annotations

from .channel import Smpp, SmppOptions

__all__ = ["Smpp", "SmppOptions"]
