"""Paper: Chinese text, contents, tables over pages, plots; any text at all can be printed, and the same content is the same bytes."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.paper import Paper, _pieces, plotted


def a_paper(rows: int = 70) -> Paper:
    paper = Paper("一事一档", footer="德清县 暴雨橙色预警")
    paper.contents()
    paper.page_break()
    paper.heading("1 收到的预警")
    paper.paragraph("请立即到岗 <b>&amp;\n组织转移")
    paper.facts([("标题", "暴雨橙色预警"), ("SHA-256", "0f" * 32)])
    paper.heading("2 逐个岗位")
    paper.table(("区划", "次数"), [(f"第{n}村", n) for n in range(rows)], (3, 1), numbers=(1,))
    paper.heading("3 到达")
    paper.figure(lambda axes: axes.plot([0, 1, 2], [0, 50, 100], label="短信"), caption="到达随时间的变化")
    paper.code("python verify.py")
    paper.note("注")
    return paper


def read(paper: Paper, folder: Path, name: str = "paper.pdf") -> list[str]:
    """The text of each page."""
    written = paper.write(folder / name)
    pages = [page.extract_text() for page in pypdf.PdfReader(folder / name).pages]
    assert written == len(pages)
    return pages


def test_chinese_text_can_be_read_back_and_markup_in_it_is_text(tmp_path):
    text = "\n".join(read(a_paper(), tmp_path))
    for words in ("一事一档", "请立即到岗 <b>&amp;", "组织转移", "暴雨橙色预警", "到达随时间的变化", "第69村"):
        assert words in text


def test_the_font_is_in_the_file(tmp_path):
    a_paper().write(tmp_path / "paper.pdf")
    fonts = pypdf.PdfReader(tmp_path / "paper.pdf").pages[1]["/Resources"]["/Font"].values()
    embedded = [font.get_object() for font in fonts if "NotoSansSC" in str(font.get_object()["/BaseFont"])]
    assert embedded and all("/FontFile2" in font["/FontDescriptor"] for font in embedded)


def test_the_same_content_is_the_same_bytes(tmp_path):
    for name in ("a.pdf", "b.pdf"):
        a_paper().write(tmp_path / name)
    a_paper(71).write(tmp_path / "c.pdf")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes() != (tmp_path / "c.pdf").read_bytes()


def test_the_contents_name_the_page_on_which_each_chapter_begins_and_every_page_its_number(tmp_path):
    pages = read(a_paper(), tmp_path)
    begins = {
        name: next(n for n, page in enumerate(pages[1:], 2) if name in page) for name in ("1 收到的预警", "2 逐个岗位", "3 到达")
    }
    listed = re.sub(r"[ .]*\n[ .]*|[ .]{3,}", "|", pages[0])
    for name, page in begins.items():
        assert re.search(rf"{name}\|?\D*{page}\b|\b{page}\|{name}", listed), listed
    assert [f"{n} / {len(pages)}" in page for n, page in enumerate(pages, 1)] == [True] * len(pages)
    assert [entry["/Title"] for entry in pypdf.PdfReader(tmp_path / "paper.pdf").outline] == list(begins)


def test_the_heads_of_a_table_stand_again_on_each_page(tmp_path):
    pages = [page for page in read(a_paper(), tmp_path) if re.search(r"第\d+村", page)]
    assert len(pages) > 1 and all("区划" in page and "次数" in page for page in pages)


@pytest.mark.parametrize("rows", range(34, 46))
def test_a_heading_is_never_the_last_thing_on_a_page(tmp_path, rows):
    paper = Paper("纸")
    paper.table(("甲",), [(f"行{n}",) for n in range(rows)])
    paper.heading("到达", 2)
    paper.figure(lambda axes: axes.plot([0, 1], [0, 1]), height_mm=60, caption="图的说明")
    paper.heading("原因", 2)
    paper.table(("原因表",), [("甲",)])
    pages = read(paper, tmp_path)
    for heading, below in (("到达", "图的说明"), ("原因", "原因表")):
        assert [heading in page for page in pages] == [below in page for page in pages]


def test_a_cell_that_is_longer_than_a_page_goes_on_in_the_next_line(tmp_path):
    text = "".join(f"[{n}]" for n in range(4000))
    paper = Paper("纸")
    paper.table(("项目", "原文", "备注"), [("内容", text, "注")], (1, 5, 1))
    paper.facts([("原文", "行\n" * 500)])
    pages = read(paper, tmp_path)
    assert len(pages) > 3
    said = re.sub(r"\s", "", "".join(pages))
    assert all(f"[{n}]" in said for n in (0, 1999, 3999)) and said.count("内容") == 1


@given(st.text(st.sampled_from("甲a\n"), max_size=400), st.integers(1, 9), st.integers(1, 9))
def test_pieces_are_the_whole_text_in_order_and_none_is_too_long(text, letters, most):
    pieces = _pieces(text, letters, most)
    assert "".join(pieces).replace("\n", "") == text.replace("\n", "")
    for piece in pieces:
        assert sum(max(1, -(-len(line) // letters)) for line in piece.split("\n")) <= most


@settings(max_examples=10)
@given(st.lists(st.text(max_size=60), min_size=4, max_size=4))
def test_whatever_a_sender_wrote_can_be_printed(texts):
    title, heading, said, cell = texts
    paper = Paper(title, footer=said)
    paper.contents()
    paper.heading(heading)
    paper.heading(heading, 2)
    paper.paragraph(said)
    paper.code(said)
    paper.facts([(heading, cell)])
    paper.table((heading, said), [(cell, None)])
    with tempfile.TemporaryDirectory() as folder:
        assert paper.write(Path(folder) / "paper.pdf") >= 1


def test_control_letters_and_halves_of_letters_are_shown_as_what_cannot_be_shown(tmp_path):
    paper = Paper("纸")
    paper.paragraph("甲\x00\x1b乙\ud800丙\u202e丁\t戊　己")
    assert "甲□□乙□丙□丁 戊" in read(paper, tmp_path)[0]


def test_a_part_of_a_chapter_before_any_chapter_is_a_bookmark_too(tmp_path):
    paper = Paper("纸")
    paper.heading("摘要", 2)
    paper.heading("1 章")
    paper.heading("节", 2)
    paper.write(tmp_path / "paper.pdf")
    first, chapter, below = pypdf.PdfReader(tmp_path / "paper.pdf").outline
    assert (first["/Title"], chapter["/Title"], [one["/Title"] for one in below]) == ("摘要", "1 章", ["节"])


def test_a_plot_is_the_same_picture_each_time():
    def draw(axes):
        axes.barh(["武康街道", "莫干山镇"], [1, 2], hatch="//")

    assert plotted(draw, 80, 40) == plotted(draw, 80, 40)
    assert plotted(draw, 80, 40).startswith(b"\x89PNG")
