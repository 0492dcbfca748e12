"""Where the files that travel with the library lie: in a checkout beside the package, in a wheel inside it."""

from __future__ import annotations

from pathlib import Path

_INSIDE = Path(__file__).parent / "_resources"
ROOT = _INSIDE if _INSIDE.is_dir() else Path(__file__).parent.parent
TEMPLATES = ROOT / "templates"
EXAMPLES = ROOT / "examples"
