"""The place names in an area's description. Known names are read whole, never found inside another word."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .regions import Regions

_SEPARATOR = re.compile(r"[,，、;；。:：/|()（）\s]+")
# How lists end: 等镇(街道), 等4个乡镇, 等地.
_OPEN_END = re.compile(
    # Possessive (*+): the words overlap (乡镇, 乡, 镇), and a hostile repetition must not be tried in every way.
    r"等(?:[0-9一二三四五六七八九十多余]++个)?(?:乡镇|镇|乡|街道|村|社区|地区|地|[()（）/])*+(?=$|[,，、;；。和及与\s])"
)
_CLASS_WORDS = frozenset({"镇", "乡", "街道", "镇街道", "乡镇", "村", "社区", "地区", "等", "等地"})
_AROUND = re.compile(r"(境内|全境|全域|辖区内|辖区|范围内|部分地区|部分区域|一带)$")
_AND = re.compile(r"(以及|及|和|与)")
_PROSE = 500  # a run of so many characters without a separator is no list of names
_JOINED = 5  # pieces tried together, so that 和睦村 and 金鹅山村和平村 are both read, in linear time


def names_in(description: str, regions: Regions) -> Iterator[str]:
    """The names in a description, known or not; known ones always whole, never a part of another word."""
    if _known(description, regions):
        yield description
        return
    for token in dict.fromkeys(_SEPARATOR.split(_OPEN_END.sub(",", description))):
        name = _known(token, regions)
        if name:
            yield name
        elif len(token) > _PROSE:
            yield token
        elif token and token not in _CLASS_WORDS:
            yield from _conjoined(token, regions)


def _known(token: str, regions: Regions) -> str | None:
    """The token, or the token without "部分地区" and the like, when it is a name."""
    return next((name for name in (token, _AROUND.sub("", token)) if name and regions.by_name(name)), None)


def _conjoined(token: str, regions: Regions) -> Iterator[str]:
    """Reads A和B, where 和 may also belong to a name (和睦村): the longest run of pieces that is a name wins."""
    pieces = [piece for piece in _AND.split(token) if piece]
    start = 0
    while start < len(pieces):
        ends = range(min(len(pieces), start + _JOINED), start, -1)
        runs = ((end, _known("".join(pieces[start:end]), regions)) for end in ends)
        end, name = next(((end, name) for end, name in runs if name), (start + 1, None))
        if name:
            yield name
        elif not _AND.fullmatch(pieces[start]):
            yield pieces[start]
        start = end
