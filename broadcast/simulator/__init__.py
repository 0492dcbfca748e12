"""Strict stand-ins of the providers, written from their rules alone: what a provider would refuse, they refuse.

They share no code with the channels, so that a mistake in a channel meets somebody who does not make it too.
"""

from __future__ import annotations

from .config import Config
from .ebd_account import EbdAccount, example_signers
from .faults import Faults
from .feed import FeedAccount
from .grid import GridAccount
from .mas_rules import Account, Received
from .server import Simulator
from .smpp import SmppAccount
from .vms import VmsAccount
from .zwdd import ZwddAccount

__all__ = [
    "Account",
    "Config",
    "EbdAccount",
    "Faults",
    "FeedAccount",
    "GridAccount",
    "Received",
    "Simulator",
    "SmppAccount",
    "VmsAccount",
    "ZwddAccount",
    "example_signers",
]
