"""Emergency-alert dissemination for a county: every post and household that a warning concerns is told, and the ledger proves it.

>>> import broadcast
>>> gateway = broadcast.open()                      # doctest: +SKIP
>>> alert = broadcast.read(open("warning.xml", "rb").read())   # doctest: +SKIP
>>> gateway.preview(alert); gateway.submit(alert)   # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path

from .alert import Alert, Area, Info
from .delivery import Receipt, State
from .errors import (
    BroadcastError,
    InDoubt,
    InvalidAlert,
    InvalidFiles,
    LedgerUnavailable,
    NotAllowed,
    NotFound,
    Unavailable,
    Unsupported,
)
from .gateway import Gateway, Preview, Sent
from .intake import read
from .settings import load as _load
from .settings import open_gateway as _open_gateway

__all__ = [
    "Alert",
    "Area",
    "BroadcastError",
    "Gateway",
    "InDoubt",
    "Info",
    "InvalidAlert",
    "InvalidFiles",
    "LedgerUnavailable",
    "NotAllowed",
    "NotFound",
    "Preview",
    "Receipt",
    "Sent",
    "State",
    "Unavailable",
    "Unsupported",
    "open",
    "read",
]


def open(home: Path | str | None = None) -> Gateway:
    """A gateway from the environment and broadcast.toml in `home` (default: BROADCAST_HOME, else the current folder).

    Raises NotFound when there is no broadcast.toml, InvalidFiles when it is broken. Connects to nothing until it is used.
    """
    return _open_gateway(_load(Path(home) if home is not None else None))
