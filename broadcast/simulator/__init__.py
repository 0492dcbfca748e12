"""Strict stand-ins of the providers, written from their rules alone: what a provider would refuse, they refuse.

They share no code with the channels, so that a mistake in a channel meets somebody who does not make it too.
"""

from __future__ import annotations

from .faults import Faults
from .rules import Account, Received
from .server import Config, Simulator

__all__ = ["Account", "Config", "Faults", "Received", "Simulator"]
