"""Who holds which post, and where to reach them: the county's roster, its import and what an import would change."""

from ..phones import mask
from .changes import Change, Changes, Holding, diff
from .files import COLUMNS, load_roles, read
from .people import CHANNELS, PHONE_CHANNELS, Person, Place, Post, Resident, Role, Roster

__all__ = [
    "CHANNELS",
    "COLUMNS",
    "PHONE_CHANNELS",
    "Change",
    "Changes",
    "Holding",
    "Person",
    "Place",
    "Post",
    "Resident",
    "Role",
    "Roster",
    "diff",
    "load_roles",
    "mask",
    "read",
]
