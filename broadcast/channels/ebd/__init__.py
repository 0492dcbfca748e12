"""Loudspeakers (村村响): EBD packets of GD/J 082/083-2018 in a TAR over HTTP, both ways."""

from .channel import Ebd
from .options import EbdOptions

__all__ = ["Ebd", "EbdOptions"]
