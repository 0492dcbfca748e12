"""六问: the spot checks of an alert. THE PLACE for them: a ledger that has such tables says here what was asked and found."""

from __future__ import annotations

from ..paper import Paper


def checked(paper: Paper) -> None:
    """Who was drawn and asked, and how their answers stand against the ledger."""
    paper.paragraph("账本中没有这条预警的抽查记录。")
