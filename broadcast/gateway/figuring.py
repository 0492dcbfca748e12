"""The gateway's figures for monitoring: what the ledger counts, with a zero for every lane and peer that is quiet."""

from __future__ import annotations

from dataclasses import replace

from ..ledger import figures as counts
from ..ledger.figures import Figures
from .health import LATE
from .house import House

DAY = 24 * 3600 * 1000  # milliseconds


def figures(house: House) -> Figures:
    """As it stands now. Raises LedgerUnavailable."""
    now = house.now()
    with house.ledger.read() as tx:
        found = counts.figures(tx, since=now - DAY, now=now)
    # A rule of an alarm needs a 0 to come down from: a lane or a peer must not vanish when it is well.
    lanes, peers = dict.fromkeys(LATE, 0), dict.fromkeys(house.peers, 0)
    return replace(
        found,
        due={**lanes, **found.due},
        oldest_due={**lanes, **found.oldest_due},
        breakers={**peers, **found.breakers},
        failures={**peers, **found.failures},
        villages_unreached={"Actual": 0, "Exercise": 0, **found.villages_unreached},
    )
