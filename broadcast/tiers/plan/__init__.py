"""Plans (预案): hazard × level → who is owed what at each tier, by which channel, how soon, and who must release it."""

from .decision import Plans
from .ladder import Ladder, Rung
from .night import Night, night
from .rules import TIERS, Audience, Disposition, Doubt, Lane, Owed, Plan, Release, Rule, Section, Tell

__all__ = [
    "TIERS",
    "Audience",
    "Disposition",
    "Doubt",
    "Ladder",
    "Lane",
    "Night",
    "Owed",
    "Plan",
    "Plans",
    "Release",
    "Rule",
    "Rung",
    "Section",
    "Tell",
    "night",
]
