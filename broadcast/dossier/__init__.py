"""一事一档: one folder and one PDF of an alert, for the archive, and for whoever does not want to have to believe us."""

from .making import Dossier, make

__all__ = ["Dossier", "make"]
