"""What may stand in an EBD text field: one line, without the three characters that break receivers."""

from __future__ import annotations

import re

# A receiver that builds JSON by string refuses every packet with `"` and changes `\`; one that builds SQL by string loses
# the packet at `'`, after it had answered that it understood. XML escaping helps against none of them.
_REPLACED = str.maketrans({"\\": "＼", "'": "’"})

# What XML 1.0 §2.2 has no place for, lone surrogates among it.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """The text as it is sent: `"` becomes “ and ” in turn, `\\` ＼, `'` ’; blanks and line breaks become one blank each,
    at both ends none; what XML cannot hold is left out."""
    line = " ".join(_NOT_XML.sub("", text).split())
    first, *others = line.translate(_REPLACED).split('"')
    return first + "".join(("”" if n % 2 else "“") + piece for n, piece in enumerate(others))
