"""A document on paper (PDF) with Chinese text, contents, tables that go over pages, and plots. Same content, same bytes.

Made for a black-and-white printer: nothing is told by colour alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from html import escape
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import category

# ReportLab and matplotlib take half a second to load: only whoever prints waits for them.
if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT = "NotoSansSC"
_WIDTH_MM, _DPI = 174, 200  # of the text on A4
_UNDER_HEADING_MM = 30  # that must be left on a page for a heading to stand there
_FEW, _SHORT = 10, 1000  # lines and letters of facts that stay on one page
_PADDING = 6  # points that ReportLab leaves inside the margins


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
        self._title, self._footer = _printable(title), _printable(footer)
        self._parts: list[Any] = []
        self._text(title, 20, space=8)

    def heading(self, text: str, level: int = 1) -> None:
        """Level 1 begins a chapter, 2 a part of it. Both are bookmarks, and chapters stand in the contents."""
        from reportlab.lib.units import mm
        from reportlab.platypus import CondPageBreak

        # Not "keep with next": that would carry a table of ten pages over to a new one as a whole.
        self._parts.append(CondPageBreak(_UNDER_HEADING_MM * mm))
        self._text(text, {1: 15, 2: 12}.get(level, 10.5), space=4, before=10)
        self._parts[-1].chapter = (level - 1, _printable(text))

    def contents(self) -> None:
        """The list of chapters with their pages."""
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.platypus.tableofcontents import TableOfContents

        line = ParagraphStyle("contents", fontName=FONT, fontSize=10, leading=16)
        self._parts.append(TableOfContents(levelStyles=[line], dotsMinLevel=0, rightColumnWidth=24))

    def paragraph(self, text: str) -> None:
        """Plain text; line ends are kept."""
        self._text(text, 10, space=5)

    def note(self, text: str) -> None:
        """Small and grey: where a number comes from, what a table leaves out."""
        self._text(text, 8.5, space=6, grey=True)

    def code(self, text: str) -> None:
        """Commands and hashes, small, broken where the line ends."""
        self._text(text, 8, space=5, grey=True)

    def facts(self, pairs: Sequence[tuple[str, object]], left: float = 0.2) -> None:
        """What is known of one thing, a line for each; `left`: the part of the width that the names take."""
        from reportlab.platypus import KeepTogether

        marks = [("BACKGROUND", (0, 0), (0, -1), _SHADE)]
        self._table([[name, value] for name, value in pairs], (left, 1 - left), marks, heads=0)
        if len(pairs) <= _FEW and sum(len(str(value)) for _, value in pairs) <= _SHORT:
            self._parts[-2:] = [KeepTogether(self._parts[-2:])]

    def table(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[object]],
        widths: Sequence[float] = (),
        numbers: Sequence[int] = (),
        size: float = 8,
    ) -> None:
        """`widths`: parts of the whole width, e.g. (1, 3, 1); equal when left out. The heads stand again on each page.

        `numbers`: the columns that are set to the right. `size` of the letters, in points.
        """
        marks = [("BACKGROUND", (0, 0), (-1, 0), _SHADE)]
        self._table([heads, *rows], widths or [1.0] * len(heads), marks, heads=1, numbers=numbers, size=size)

    def figure(self, draw: Callable[[Axes], None], *, height_mm: float = 80, caption: str = "") -> None:
        """`draw` draws on the axes that it is given. Plot, caption and the heading above stay on one page."""
        from reportlab.lib.units import mm
        from reportlab.platypus import CondPageBreak, Image, KeepTogether

        if len(self._parts) > 1 and isinstance(self._parts[-2], CondPageBreak):
            self._parts[-2] = CondPageBreak((height_mm + _UNDER_HEADING_MM * 2 / 3) * mm)
        picture = Image(io.BytesIO(plotted(draw, _WIDTH_MM, height_mm)), _WIDTH_MM * mm, height_mm * mm)
        said = [_paragraph(caption, 8.5, space=6, grey=True)] if caption else []
        self._parts.append(KeepTogether([picture, *said]))

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

    def write(self, path: Path) -> int:
        """Writes the file and returns how many pages it has; the parts are used up by it."""
        return _written(path, self._title, self._footer, self._parts)

    def _table(
        self,
        rows: Sequence[Sequence[object]],
        widths: Sequence[float],
        marks: Sequence[tuple[Any, ...]],
        *,
        heads: int,
        numbers: Sequence[int] = (),
        size: float = 8,
    ) -> None:
        from reportlab.lib import colors
        from reportlab.lib.units import mm
        from reportlab.platypus import LongTable, Spacer, TableStyle

        columns = [_WIDTH_MM * mm * part / sum(widths) for part in widths]
        cells = [
            [_paragraph(cell, size, space=0, right=n in numbers) for n, cell in enumerate(line)]
            for row in rows
            for line in _lines(row, [int((column - 2 * _PADDING) / size) for column in columns])
        ]
        style = [
            ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.HexColor("#b8c0c8")),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            *((*mark[:-1], colors.HexColor(mark[-1])) for mark in marks),
        ]
        made = LongTable(cells, columns, repeatRows=heads, style=TableStyle(style))
        self._parts += [made, Spacer(1, 3 * mm)]

    def _text(self, text: str, size: float, *, space: float, before: float = 0, grey: bool = False) -> None:
        self._parts.append(_paragraph(text, size, space=space, before=before, grey=grey))


_SHADE = "#e8ecf0"


def _lines(row: Sequence[object], letters: Sequence[int]) -> list[tuple[str, ...]]:
    """A row as one line of a table, or as several: no cell may be higher than a page. `letters`: of a line of each column."""
    columns = [_pieces("" if cell is None else str(cell), max(1, most)) for cell, most in zip(row, letters, strict=True)]
    return list(zip_longest(*columns, fillvalue=""))


def _pieces(text: str, letters: int, most: int = 35) -> list[str]:
    """The text in pieces of at most so many lines."""
    lines = [line[at : at + letters] for line in text.split("\n") for at in range(0, max(1, len(line)), letters)]
    if len(lines) <= most:
        return [text]
    return ["\n".join(lines[at : at + most]) for at in range(0, len(lines), most)]


def _written(path: Path, title: str, footer: str, parts: list[Any]) -> int:
    """Laid out as often as it takes until the page numbers that it speaks of are its own."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate
    from reportlab.platypus.doctemplate import IndexingFlowable

    class Count(IndexingFlowable):  # type: ignore[misc]
        """How many pages there are: known after the first time."""

        width = height = pages = seen = 0

        def isSatisfied(self) -> int:
            self.pages, same = made.page, self.pages == made.page
            return int(same)

        def wrap(self, *_: float) -> tuple[float, float]:
            return 0, 0

        def draw(self) -> None:
            pass

    class Document(SimpleDocTemplate):  # type: ignore[misc]
        """Says where its chapters are."""

        def afterFlowable(self, flowable: Any) -> None:
            if (chapter := getattr(flowable, "chapter", None)) is None:
                return
            level, text = chapter
            key = f"chapter-{self.page}-{self.frame._y:.0f}"
            self.canv.bookmarkPage(key)
            # A bookmark hangs below one of the level above it, or at the top.
            self.canv.depth = min(level, getattr(self.canv, "depth", -1) + 1)
            self.canv.addOutlineEntry(text, key, self.canv.depth, closed=1)
            if level == 0:
                self.notify("TOCEntry", (0, escape(text, quote=False), self.page, key))

    def foot(canvas: Any, document: Any) -> None:
        canvas.setFont(FONT, 8)
        canvas.drawString(18 * mm, 11 * mm, footer)
        canvas.drawRightString(192 * mm, 11 * mm, f"{document.page} / {count.pages}")

    margins = {"leftMargin": 18 * mm - _PADDING, "rightMargin": 18 * mm - _PADDING, "topMargin": 18 * mm, "bottomMargin": 20 * mm}
    made = Document(str(path), pagesize=A4, title=title, author="", invariant=1, **margins)
    count = Count()
    made.multiBuild([count, *parts], onFirstPage=foot, onLaterPages=foot)
    return int(made.page)


def _printable(text: str) -> str:
    """Without what no page can show: control letters, halves of letters, what no alphabet has."""
    lines = text.replace("\r\n", "\n").replace("\t", " ")
    return "".join(letter if letter == "\n" or not category(letter).startswith("C") else "□" for letter in lines)


def _paragraph(text: str, size: float, *, space: float, before: float = 0, grey: bool = False, right: bool = False) -> Any:
    from reportlab.platypus import Paragraph

    return Paragraph(escape(_printable(text), quote=False).replace("\n", "<br/>"), _style(size, space, before, grey, right))


@cache
def _style(size: float, space: float, before: float, grey: bool, right: bool) -> Any:
    from reportlab.lib import colors
    from reportlab.lib.enums import TA_LEFT, TA_RIGHT
    from reportlab.lib.styles import ParagraphStyle

    return ParagraphStyle(
        "text", fontName=FONT, fontSize=size, leading=size * 1.45, spaceAfter=space, spaceBefore=before,
        wordWrap="CJK", textColor=colors.HexColor("#505860") if grey else colors.black,
        alignment=TA_RIGHT if right else TA_LEFT,
    )  # fmt: skip


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
