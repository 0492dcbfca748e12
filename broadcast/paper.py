"""A document on paper (PDF) with Chinese text, tables that go over pages, and plots. Same content, same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

# ReportLab and matplotlib take half a second to load: only whoever prints waits for them.
if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT = "NotoSansSC"
_WIDTH_MM, _DPI = 174, 200  # of the text on A4


@cache
def font_file() -> Path:
    """Noto Sans SC (OFL), found without running the package that carries it."""
    found = find_spec("zhplot")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("no Chinese font: the package zhplot is not installed")
    return Path(found.submodule_search_locations[0]) / "fonts" / "NotoSansSC-Regular.ttf"


class Paper:
    """Filled from top to bottom, then written once."""

    def __init__(self, title: str, *, footer: str = "") -> None:
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFont

        if FONT not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(FONT, str(font_file())))
        self._title, self._footer = title, footer
        self._parts: list[Any] = []
        self._text(title, 20, space=8)

    def heading(self, text: str, level: int = 1) -> None:
        """Level 1 begins a chapter, 2 a part of it."""
        self._text(text, {1: 15, 2: 12}.get(level, 10.5), space=4, before=10, keep=True)

    def paragraph(self, text: str) -> None:
        """Plain text; line ends are kept."""
        self._text(text, 10, space=5)

    def code(self, text: str) -> None:
        """Commands and hashes, small, broken where the line ends."""
        self._text(text, 8, space=5, grey=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]], widths: Sequence[float] = ()) -> None:
        """`widths`: parts of the whole width, e.g. (1, 3, 1); equal when left out. The heads stand again on each page."""
        from reportlab.lib import colors
        from reportlab.lib.units import mm
        from reportlab.platypus import LongTable, Spacer, TableStyle

        parts = widths or [1.0] * len(heads)
        columns = [_WIDTH_MM * mm * part / sum(parts) for part in parts]
        cells = [[self._cell(str(head)) for head in heads]]
        cells += [[self._cell("" if cell is None else str(cell)) for cell in row] for row in rows]
        style = [
            ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#e8ecf0")),
            ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.HexColor("#b8c0c8")),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ]
        self._parts += [LongTable(cells, columns, repeatRows=1, style=TableStyle(style)), Spacer(1, 3 * mm)]

    def figure(self, draw: Callable[[Axes], None], *, height_mm: float = 80, caption: str = "") -> None:
        """`draw` draws on the axes that it is given."""
        from reportlab.lib.units import mm
        from reportlab.platypus import Image

        picture = io.BytesIO(plotted(draw, _WIDTH_MM, height_mm))
        self._parts.append(Image(picture, _WIDTH_MM * mm, height_mm * mm))
        if caption:
            self._text(caption, 8.5, space=6, grey=True)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is added meanwhile stands on one page, where a page holds it."""
        from reportlab.platypus import KeepTogether

        before, self._parts = self._parts, []
        try:
            yield
        finally:
            before.append(KeepTogether(self._parts))
            self._parts = before

    def page_break(self) -> None:
        """What follows begins a new page."""
        from reportlab.platypus import PageBreak

        self._parts.append(PageBreak())

    def write(self, path: Path) -> None:
        """Writes the file; the parts are used up by it."""
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm
        from reportlab.platypus import SimpleDocTemplate

        margins = {"leftMargin": 18 * mm, "rightMargin": 18 * mm, "topMargin": 18 * mm, "bottomMargin": 20 * mm}
        made = SimpleDocTemplate(str(path), pagesize=A4, title=self._title, author="", invariant=1, **margins)
        made.build(self._parts, onFirstPage=self._foot, onLaterPages=self._foot)

    def _foot(self, canvas: Any, document: Any) -> None:
        from reportlab.lib.units import mm

        canvas.setFont(FONT, 8)
        canvas.drawString(18 * mm, 11 * mm, self._footer)
        canvas.drawRightString(192 * mm, 11 * mm, str(document.page))

    def _text(self, text: str, size: float, *, space: float, before: float = 0, keep: bool = False, grey: bool = False) -> None:
        self._parts.append(_paragraph(text, size, space=space, before=before, keep=keep, grey=grey))

    def _cell(self, text: str) -> Any:
        return _paragraph(text, 8, space=0)


def _paragraph(text: str, size: float, *, space: float, before: float = 0, keep: bool = False, grey: bool = False) -> Any:
    from reportlab.lib import colors
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        "text", fontName=FONT, fontSize=size, leading=size * 1.45, spaceAfter=space, spaceBefore=before,
        wordWrap="CJK", keepWithNext=int(keep), textColor=colors.HexColor("#505860") if grey else colors.black,
    )  # fmt: skip
    return Paragraph(escape(text, quote=False).replace("\n", "<br/>"), style)


def plotted(draw: Callable[[Axes], None], width_mm: float, height_mm: float) -> bytes:
    """A plot as PNG."""
    import matplotlib as mpl
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    font_manager.fontManager.addfont(font_file())
    with mpl.rc_context({"font.family": "Noto Sans SC", "font.size": 9, "axes.unicode_minus": False}):
        figure = Figure((width_mm / 25.4, height_mm / 25.4), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
