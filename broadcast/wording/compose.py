"""Fields → words. What does not fit loses the least important field first; no sentence is ever cut short."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

from ..alert import Alert, Info, Level, MsgType, Signal, Status
from ..channels.base import Capabilities, Purpose
from ..errors import InvalidFiles, Problem
from ..intake import cap
from ..tiers.area import Coverage
from ..tiers.regions import Regions
from .pages import Pages, open_pages
from .places import place_names
from .speech import speakable

# Stands in the frozen words where each person's own link comes, as often as the link is long: one byte, one unit, in nobody's
# words.
LINK_MARK = "\x1a"
COLOURS = {Level.BLUE: "蓝色", Level.YELLOW: "黄色", Level.ORANGE: "橙色", Level.RED: "红色"}
_MARKS = {Status.ACTUAL: "", Status.EXERCISE: "演练", Status.TEST: "测试", Status.SYSTEM: "测试", Status.DRAFT: "测试"}
_METHOD = {"sms": "SMS", "speaker": "SPEAKER", "voice": "PHONE"}  # 12379's name of a way out, in code/method
_SPOKEN = frozenset({"speaker", "voice"})
_ONE_PART = 70  # UTF-16 units of a single SMS, 【签名】 included (channels.md A5): one part, one receipt, one buzz
_CHARACTERS = {
    "voice": 249,  # TtsParam must stay below 250 (channels.md B)
    "speaker": 240,  # about a minute aloud; ASSUMPTION
    "zwdd": 500,  # its JSON msg must stay within 2048 bytes (channels.md C)
    "grid": 500,  # ASSUMPTION
}
_BEIJING = timezone(timedelta(hours=8))
_WARNING_WORD = re.compile(r"([红橙黄蓝]色)?预警(信号)?$")


@dataclass(frozen=True, slots=True)
class Words:
    """What is said, to be frozen at submit."""

    channel: str
    audience: str
    purpose: Purpose
    language: str
    text: str  # as handed to the channel; the provider of an SMS adds 【签名】 itself
    units: int  # in the channel's unit; for an SMS with 【签名】
    template: str  # its name, or "sender" for the sender's own words
    notes: tuple[str, ...]  # what a person should see: what was left out, the sender's own text where ours was taken


def utf16_units(text: str) -> int:
    """What an SMS counts: a rare hanzi such as 𠮷 is two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def check(templates: Path | Sequence[Path]) -> list[Problem]:
    """The templates that cannot be compiled, by file and line."""
    return _open(templates).check()


def compose(
    alert: Alert,
    coverage: Coverage,
    regions: Regions,
    *,
    channel: str,
    audience: str,
    purpose: Purpose,
    capabilities: Capabilities,
    signature: str,
    event: str,
    level: Level | None,
    refers: str = "",
    hazard: str = "",
    link: int = 0,
    templates: Path | Sequence[Path],
) -> Words:
    """The words of `alert` for one channel, audience and purpose.

    `event` and `level` are what is to be said (of the earlier alert where a bare Cancel names none; None takes the alert's
    own colour). `refers`: for an Update the earlier one's title or colour (暴雨黄色预警); for RELEASE what to approve, the N
    of `broadcast approve N`. `hazard`: the folder of the hazard's own words, the plan's name. `link`: how long a link to the
    confirmation page may be; 0 = this channel carries none. `templates`: the folder, or several, a county's own before ours.
    Raises InvalidFiles for a template that is missing, broken or too long.
    """
    pages = _open(templates)
    language = (alert.info.language.partition("-")[0].lower() if alert.info else "") or "zh"
    task = _Task(
        pages=pages,
        channel=channel,
        audience=str(audience),
        purpose=purpose,
        language=language,
        hazard=hazard,
        room=_Room.of(channel, capabilities, signature.strip("【】")),
        mark=f"【{_MARKS[alert.status]}】" if _MARKS[alert.status] else "",
    )
    fields = _fields(alert, purpose, event=event, level=level, refers=refers, audience=task.audience)
    fields["link"] = LINK_MARK * link if purpose is Purpose.ALARM and task.audience == "post" else ""
    areas = [_clean(area) for area in place_names(coverage.roots, regions)]
    own = _own_text(alert, channel, purpose)
    if own and (words := _senders(task, own, fields)):
        return words
    return _ours(task, fields, areas, own)


def document(alert: Alert, audience: str, purpose: Purpose, *, area_sms: bool) -> Words:
    """What other systems get: the warning itself as CAP 1.2. `area_sms`: with the wish for the operators' area SMS."""
    text = cap.write(alert, area_sms=area_sms).decode()
    return Words("feed", audience, purpose, "zh", text, _utf8_bytes(text), "CAP 1.2", ())


@dataclass(frozen=True, slots=True)
class _Room:
    """How much a channel carries: every (measure, limit) must hold, the limits without the mark of the signature."""

    measure: Callable[[str], int]
    reserved: int
    limits: tuple[tuple[Callable[[str], int], int], ...]

    @classmethod
    def of(cls, channel: str, capabilities: Capabilities, signature: str) -> _Room:
        measure = {"utf16": utf16_units, "utf8": _utf8_bytes, "characters": len}[capabilities.unit]
        reserved = utf16_units(f"【{signature}】") if channel == "sms" and signature else 0
        limits: list[tuple[Callable[[str], int], int]] = []
        if capabilities.text_limit:
            limits.append((measure, capabilities.text_limit))
        if channel == "sms":
            limits.append((utf16_units, _ONE_PART - reserved))
        if channel in _CHARACTERS:
            limits.append((len, _CHARACTERS[channel]))
        return cls(measure, reserved, tuple(limits))

    def fits(self, text: str) -> bool:
        return all(measure(text) <= limit for measure, limit in self.limits)

    def units(self, text: str) -> int:
        return self.measure(text) + self.reserved


@dataclass(frozen=True, slots=True)
class _Task:
    """What words are wanted."""

    pages: Pages
    channel: str
    audience: str
    purpose: Purpose
    language: str
    hazard: str
    room: _Room
    mark: str

    def template(self, channel: str, purpose: str, audience: str = "") -> str:
        return self.pages.needed(channel, self.language, self.hazard, audience or self.audience, purpose)

    def finish(self, text: str) -> str:
        """The mark is put here and not by a template, so that no template can forget it."""
        body = text.removeprefix(self.mark) if self.mark else text
        return self.mark + (speakable(body) if self.channel in _SPOKEN else body)

    def words(self, text: str, template: str, notes: tuple[str, ...]) -> Words:
        language = self.language if f"/{self.language}/" in template else "zh"
        return Words(self.channel, self.audience, self.purpose, language, text, self.room.units(text), template, notes)


def _open(templates: Path | Sequence[Path]) -> Pages:
    return open_pages((templates,) if isinstance(templates, Path) else tuple(templates))


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _fields(alert: Alert, purpose: Purpose, *, event: str, level: Level | None, refers: str, audience: str) -> dict[str, Any]:
    """What a template may say. Nobody's name is among them: `issuer` is a unit."""
    info = alert.info
    level = level or (info.level if info else None)
    signal = info.signal if info else Signal.NONE
    was = _colour_in(refers)
    updates = purpose is Purpose.ALARM and alert.msg_type is MsgType.UPDATE and not alert.is_stand_down
    return {
        "event": _event_name(event or (info.event if info else "")),
        "level": str(level) if level else "",
        "colour": COLOURS[level] if level else "",
        "signal": str(signal),
        "strong": level not in (Level.BLUE, Level.YELLOW) or signal is not Signal.NONE,
        "urgent": level is Level.RED or signal is Signal.IMMEDIATE,
        "change": _change(was, level) if updates else "",
        "was": COLOURS[was] if was else "",
        "narrowed": purpose is Purpose.STAND_DOWN and not alert.is_stand_down,  # it goes on, but no longer here
        "drill": _MARKS[alert.status],
        "issuer": _issuer(alert, info),
        "headline": _clean(info.headline) if info else "",
        "description": _clean(info.description) if info else "",
        "sent": _beijing(alert),
        "number": _clean(alert.identifier)[-40:],
        "refers": _clean(refers)[:10],
        "audience": audience,
        "brief": False,
    }


def _clean(text: str) -> str:
    """One line of printable text. 【 and 】 belong to marks and signatures alone."""
    text = re.sub(r"\s+", " ", text.replace("【", "（").replace("】", "）")).strip()
    return "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Cn"))


def _event_name(event: str) -> str:
    """暴雨橙色预警信号 → 暴雨: the colour and the word are ours to add."""
    name = _clean(event)
    return _WARNING_WORD.sub("", name) or name or "突发事件"


def _issuer(alert: Alert, info: Info | None) -> str:
    """The unit to be named; CAP's sender only where it is a Chinese name and not a mail address or a number."""
    return _clean(info.issuer if info and info.issuer else alert.sender if re.search(r"[一-鿿]", alert.sender) else "")


def _beijing(alert: Alert) -> str:
    sent = alert.sent.astimezone(_BEIJING)
    return f"{sent.month}月{sent.day}日{sent.hour}时{sent.minute}分"


def _colour_in(text: str) -> Level | None:
    return next((level for level, colour in COLOURS.items() if colour in text or text == level), None)


def _change(was: Level | None, now: Level | None) -> str:
    if was is None or now is None:
        return "other"
    if was is now:
        return "same"
    return "up" if now.rank > was.rank else "down"


def _own_text(alert: Alert, channel: str, purpose: Purpose) -> str:
    """The sender's own words for this channel; an empty text there means the description (12379 code/method)."""
    wanted = Purpose.STAND_DOWN if alert.is_stand_down else Purpose.ALARM
    asked = [own.text for own in alert.requested if own.method.upper() == _METHOD.get(channel)]
    if purpose is not wanted or not asked:
        return ""
    given = next((text for text in asked if text.strip()), alert.info.description if alert.info else "")
    return re.sub(r"\s+", " ", given).strip()


def _senders(task: _Task, own: str, fields: dict[str, Any]) -> Words | None:
    """The sender's words, with what a post must answer behind them where both fit; None where they alone do not."""
    with_answer = task.pages.find(task.channel, task.language, task.hazard, task.audience, "own")
    texts = [own]
    if with_answer and task.purpose is Purpose.ALARM:
        texts.insert(0, task.pages.render(with_answer, fields | {"text": own}))
    for text in map(task.finish, texts):
        if text != task.mark and task.room.fits(text):
            return task.words(text, "sender", ())
    return None


def _ours(task: _Task, fields: dict[str, Any], areas: Sequence[str], own: str) -> Words:
    name = task.template(task.channel, task.purpose)
    note = f"the sender's own text for {task.channel} does not fit ({task.room.units(own)}) and was not used: {own}"
    notes = [note] if own else []
    text = ""
    for shorter, lost in _shorter(fields, areas):
        before, text = text, task.finish(task.pages.render(name, _with_parts(task, shorter)))
        if lost and text != before:  # a template need not say everything
            notes.append(lost)
        if task.room.fits(text):
            return task.words(text, name, tuple(notes))
    message = f"its shortest form has {task.room.units(text)} units, more than {task.channel} carries: {text}"
    raise InvalidFiles([Problem(f"templates/{name}", 0, "error", message)])


def _with_parts(task: _Task, fields: dict[str, Any]) -> dict[str, Any]:
    """The title and what to do come from templates of their own, so that a hazard's words stand in one place."""
    title = task.pages.render(task.template("title", "alarm"), fields)
    listener = "resident" if task.audience == "place" else task.audience
    todo = task.pages.render(task.template("do", "alarm", listener), fields)
    return fields | {"title": title, "do": todo}


def _shorter(fields: dict[str, Any], areas: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """The fields, ever fewer, and what was taken away: detail, place names, who says so; never what to do."""
    steps: list[tuple[dict[str, Any], str]] = [({"area": areas[0]}, "")]
    steps.append(({"description": "", "headline": ""}, "the description was left out"))
    steps += [({"area": area}, f"places shortened to {area}") for area in areas[1:2]]
    steps.append(({"issuer": ""}, "the issuer was left out"))
    steps += [({"area": area}, f"places shortened to {area}") for area in areas[2:]]
    steps.append(({"brief": True}, "what to do is in its shortest form"))
    lengths = [length for length in (24, 12, 8, 4, 2) if length < len(fields["event"])]
    steps += [({"event": fields["event"][:length]}, f"the event's name was cut to {length}") for length in lengths]
    for change, lost in steps:
        fields = fields | change
        yield fields, lost
