"""Written Chinese → Chinese fit to be read aloud: figures with their units in words, no symbols, one line."""

from __future__ import annotations

import re
import unicodedata

_PAUSES = "，。、；：！？"

# In this order: each rule may rely on those before it. Text is NFKC by then, so ％ is %, ℃ is °C, ～ is ~.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), spoken)
    for pattern, spoken in (
        (r"https?://[^\s，。；、]*|www\.[^\s，。；、]*", ""),
        (r"(?<!\d)(0\d{2,3})-(\d{7,8})(?!\d)", r"\1\2"),  # a telephone number is no range
        (r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)(?:T(?=\d))?", r"\1年\2月\3日"),
        (r"(?<!\d)(\d{1,2}):(\d{2})(?::\d{2})?(?!\d)", r"\1时\2分"),
        (r"(?<!\d)0(\d)(?=[年月日时分])", r"\1"),
        (r"(\d时)0分", r"\1"),
        (r"(\d+(?:\.\d+)?)%?\s*[-~–—−]\s*(\d+(?:\.\d+)?)\s*%", r"百分之\1至\2"),
        (r"(\d+(?:\.\d+)?)\s*%", r"百分之\1"),
        (r"(?<![\w.])[-−](\d+(?:\.\d+)?)(?=\s*°C|[-~–—−\d.]*\s*°C)", r"零下\1"),
        (r"(?<=\d)\s*[~–—−-]\s*[-−](\d+(?:\.\d+)?)(?=\s*°C)", r"至零下\1"),
        (r">=|≥|≧", "不低于"),
        (r"<=|≤|≦", "不高于"),
        (r"(?<=[\w°])\s*[>＞]\s*(?=\d)", "高于"),
        (r"(?<=[\w°])\s*[<＜]\s*(?=\d)", "低于"),
        (r"(?<=\d)\s*[~–—−-]+\s*(?=\d)", "至"),
        (r"±", "正负"),
        (r"\s*[×xX*]\s*(?=\d)", "乘"),
        (r"(?<=[\dA-Za-z])\s*\+\s*(?=\d)", "加"),
        (r"&", "和"),
    )
)
_UNITS = {
    "km/h": "公里每小时",
    "m3/s": "立方米每秒",
    "mm/24h": "毫米每24小时",
    "mm/h": "毫米每小时",
    "mm/d": "毫米每天",
    "m/s": "米每秒",
    "km2": "平方公里",
    "m2": "平方米",
    "m3": "立方米",
    "hPa": "百帕",
    "min": "分钟",
    "km": "公里",
    "cm": "厘米",
    "mm": "毫米",
    "kg": "公斤",
    "°C": "摄氏度",
    "°": "度",
    "m": "米",
    "h": "小时",
    "s": "秒",
    "t": "吨",
}
_UNIT = re.compile(
    r"(?<=\d)\s*(" + "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True)) + r")(?![A-Za-z])"
)
_ROMAN = str.maketrans({"Ⅰ": "一", "Ⅱ": "二", "Ⅲ": "三", "Ⅳ": "四", "Ⅴ": "五"})
_ROMAN_LEVEL = re.compile(r"(?<![A-Za-z])(III|II|IV|I|V)(?=级)")
_LEVEL_NUMBER = {"I": "一", "II": "二", "III": "三", "IV": "四", "V": "五"}
_AS_PAUSE = str.maketrans(
    {**dict.fromkeys("()[]{}<>《》〈〉「」『』【】〔〕/|\n\r\t_—–", "，"), ",": "，", ";": "；", ":": "：", "!": "！", "?": "？"}
)


def speakable(text: str) -> str:
    """The same text for a voice that stumbles over `≥50mm/h`, `06:31`, `℃`, `%` or `~`.

    Holds no `"`, `\\` or `'` either: known receivers of the rural broadcast break on them.
    """
    text = unicodedata.normalize("NFKC", text.translate(_ROMAN))
    text = _ROMAN_LEVEL.sub(lambda match: _LEVEL_NUMBER[match[1]], text)
    for pattern, spoken in _RULES:
        text = pattern.sub(spoken, text)
    text = _UNIT.sub(lambda match: _UNITS[match[1]], text)
    text = re.sub(r"(?<=\d)\.(?=\d)", "点", text)
    text = re.sub(r"(?<=\d)[.](?!\d)", "。", text).translate(_AS_PAUSE)
    return _tidy("".join(char for char in text if _is_said(char)))


def _is_said(char: str) -> bool:
    """Letters, ideographs, plain figures, pauses; Lm is left out because it holds letters that look like quotes."""
    return char in _PAUSES + " 〇々" or (char.isascii() and char.isdigit()) or unicodedata.category(char) in ("Lu", "Ll", "Lo")


def _tidy(text: str) -> str:
    text = re.sub(r"(?<![A-Za-z0-9]) +| +(?![A-Za-z0-9])", "", text)
    text = re.sub(r" +", " ", text)
    text = re.sub(rf"[，、；：]+(?=[。！？])|(?<=[{_PAUSES}])[，、；：。]+", "", text)
    return text.lstrip(_PAUSES).rstrip("，、；：")
