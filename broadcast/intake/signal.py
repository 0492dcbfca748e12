"""山洪's steps 准备转移 and 立即转移: found in the words of a flash-flood warning, and only there.

A false 立即转移 wakes a county; a missed one is worse. So: only flash floods; an explicit parameter decides before the
headline, the headline before the event, and those before description and instruction; the first that names a step is
final. A step that is denied (无需立即转移), lifted (解除…立即转移预警) or left behind (由立即转移降为准备转移) is not named.
"做好立即转移准备" asks to get ready. In description and instruction an order under a clear condition (必要时立即转移,
一旦…立即转移) is not the step either: ordinary colour warnings say that; any other order there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ..alert import Info, MsgType, Signal
from .events import FLASH_FLOOD
from .node import Repairs

_STEP = re.compile("立即转移|准备转移")
# Right before the step: what denies it. Only filler words may stand between, so that 不要逗留立即转移 stays an order.
_DENIED = re.compile(
    r"(?:无需|无须|毋须|不需|不须|不必|不用|不再|不得|暂不|暂未|尚未|并未|没有|没|未|不|非|不是|并非|是否)"
    r"(?:需要?|须|要|必|达到?|到|启动|发布|实施|采取|进行|组织)*$"
)
_LIFTED = re.compile(
    r"(?:解除|取消|撤销|终止|结束)了?(?:德清县|本县|全县|山洪|灾害|事件|实时|预警|信号|指令|红色|橙色|黄色|蓝色|的)*$"
)
_LEFT_BEHIND = re.compile(
    r"(?:的|山洪|灾害|实时|预警|信号|指令|命令|级别|状态)*(?:已|已经|现|予以|现已)*"
    r"(?:解除|取消|撤销|终止|结束|(?:升级?|降级?|调整?|变更|转变?|改|提升|下调|上调)[为至到])"
)
_GET_READY_AFTER = re.compile(r"(?:的|各项|群众|人员|受威胁|危险区)*准备")
_GET_READY_BEFORE = re.compile(r"(?:准备好?|做好|作好|随时)$")
_AWAITED = re.compile(r"(?:接到|收到|听到|得到)$")  # 接到立即转移指令后…: the order is still to come
_CONDITION = re.compile("必要时|如遇|如有|如果|如发现|如出现|一旦|若遇|若有|若发现|若出现|倘若|假如|视情|需要时")
_NOW = re.compile("现请|现决定|现要求|现已|即刻起|现通知")
_YES = frozenset({"是", "true", "yes", "y", "1"})
_QUOTES = str.maketrans("", "", "“”\"'‘’「」『』《》()（）【】[]")
_SENTENCE = re.compile("[。；;！!？?]")
_CLAUSE = re.compile("[，,、：:]")


def add(info: Info, msg_type: MsgType, repairs: Repairs) -> Info:
    """The info with its signal."""
    found = find(info, msg_type, repairs)
    return replace(info, signal=found) if found else info


def concerns_flash_flood(info: Info) -> bool:
    """True for the only hazard that has these steps."""
    return info.event_code == FLASH_FLOOD or "山洪" in info.event


def find(info: Info, msg_type: MsgType, repairs: Repairs) -> Signal:
    """The step that this info orders; NONE for a stand-down, whose words speak of what is over."""
    if not concerns_flash_flood(info) or msg_type is MsgType.CANCEL or "AllClear" in info.response_types:
        return Signal.NONE
    named = (
        _highest([_parameter(*pair) for pair in info.parameters], False)
        or _highest((info.headline,), False)
        or _highest((info.event,), False)
    )
    if named:
        return named
    inferred = _highest((info.description, info.instruction), True)
    if inferred:
        repairs.note("description", "", f"signal {inferred}: ordered in the text, named nowhere else")
    return inferred


def _parameter(value_name: str, value: str) -> str:
    """The step may be the value (预警级别 = 立即转移) or the name (是否立即转移 = 是)."""
    return value_name.removeprefix("是否") if value.strip().lower() in _YES else value


def _highest(texts: Iterable[str], conditions: bool) -> Signal:
    steps = {step for text in texts for step in _steps(text, conditions)}
    return next((signal for signal in (Signal.IMMEDIATE, Signal.PREPARE) if signal in steps), Signal.NONE)


def _steps(text: str, conditions: bool) -> Iterable[Signal]:
    for sentence in _SENTENCE.split("".join(text.translate(_QUOTES).split())):
        for found in _STEP.finditer(sentence):
            before, after = sentence[max(0, found.start() - 80) : found.start()], sentence[found.end() : found.end() + 20]
            if _DENIED.search(before[-12:]) or _LIFTED.search(before[-24:]) or _LEFT_BEHIND.match(after):
                continue
            if conditions and (_AWAITED.search(before) or _conditional(before)):
                continue
            ready = _GET_READY_AFTER.match(after) or _GET_READY_BEFORE.search(before)
            yield Signal.PREPARE if ready else Signal(found[0])


def _conditional(before: str) -> bool:
    """A condition in the step's own clause or the one before it; 现… in its own clause makes it an order for now."""
    clauses = _CLAUSE.split(before)
    return not _NOW.search(clauses[-1]) and any(_CONDITION.search(clause) for clause in clauses[-2:])
