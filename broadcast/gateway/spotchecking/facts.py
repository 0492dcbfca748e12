"""What the ledger knows of one person, in a line: in Chinese for forms and paper, in English for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ...delivery import State
from ...spotcheck import Contradiction, Evidence, Told

_BEIJING = timezone(timedelta(hours=8))
_RANKING = (  # the best first; what was withdrawn unsent says nothing
    State.DELIVERED, State.ACCEPTED, State.IN_DOUBT, State.SENDING, State.PLANNED, State.DEFERRED, State.FAILED, State.REJECTED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Words:
    """One language."""

    channel: Mapping[str, str]
    how: Mapping[str, str]
    state: Mapping[State, str]  # where no time is known
    sent: str
    delivered: str
    no_report: str
    times: str
    acknowledged: str
    not_owed: str
    nobody: str
    answered_for: str
    nothing: str
    no_alert: str
    between: str
    comma: str


_ZH = _Words(
    channel={"sms": "短信", "voice": "语音", "zwdd": "浙政钉", "grid": "141任务", "speaker": "喇叭", "feed": "平台"},
    how={"sms": "短信回复", "voice": "按键", "zwdd": "浙政钉确认", "grid": "141签收", "link": "链接确认", "entry": "值班员登记"},
    state={
        State.IN_DOUBT: "不明（可能已发出）", State.SENDING: "正在发", State.PLANNED: "待发", State.DEFERRED: "待发",
        State.FAILED: "未送达", State.REJECTED: "号码被拒", State.CANCELLED: "未发（已撤回）",
    },
    sent="{at}发出", delivered="{at}送达", no_report="无回执", times="{n}次", acknowledged="{at}应答（{how}）",
    not_owed="未应答（预案不要求）", nobody="未应答", answered_for="由他人应答（{how}）", nothing="没有向本人发送的记录",
    no_alert="不针对某次预警", between="；", comma="，",
)  # fmt: skip
_EN = _Words(
    channel={}, how={"voice": "key", "sms": "sms reply", "entry": "a duty officer's entry"},
    state={
        State.IN_DOUBT: "in doubt", State.SENDING: "being sent", State.PLANNED: "not sent yet", State.DEFERRED: "not sent yet",
        State.FAILED: "failed", State.REJECTED: "number rejected", State.CANCELLED: "withdrawn unsent",
    },
    sent="sent {at}", delivered="delivered {at}", no_report="no report", times="×{n}", acknowledged="acknowledged {at} by {how}",
    not_owed="not acknowledged (none owed)", nobody="not acknowledged", answered_for="answered for by others ({how})",
    nothing="nothing was sent to them", no_alert="of no alert", between="; ", comma=", ",
)  # fmt: skip

OUTCOMES_ZH = {"answered": "已答", "not_reached": "联系不上", "refused": "拒答"}
WAYS_ZH = {"phone": "电话", "visit": "现场"}
REASONS_ZH = {"no_number": "无电话号码", "left": "已离岗", "vacant": "岗位空缺"}
CONTRADICTIONS_ZH = {
    "denies_being_told": ("说没收到，台账有送达或应答", "忘了或没当成预警：培训", "号码在别人手里，或渠道回执不实：查证"),
    "denies_acknowledging": ("说没应答，台账有应答", "应答时没听进去：培训", "别人或机器代为应答：查号码、查渠道"),
    "claims_being_told": ("说收到，台账没有可能送达的记录", "应付检查：培训", "从别的途径得知，本系统没送到：核对号码"),
    "claims_acknowledging": ("说应答，台账没有应答", "只看没答或应付检查：培训应答", "应答在路上丢了：查该渠道的应答"),
    "acknowledged_without_knowing": ("已应答，却不清楚该做什么", "会应答、不会做：培训", "应答的不是本人：核对号码"),
}
KINDS = {
    "denies_being_told": "says it never came",
    "denies_acknowledging": "says they did not acknowledge",
    "claims_being_told": "says it came, nothing can have reached them",
    "claims_acknowledging": "says they acknowledged, the ledger has nothing",
    "acknowledged_without_knowing": "acknowledged, and does not know",
}


def facts(evidence: Evidence | None, *, chinese: bool = False) -> str:
    """One line: each way by which they were told, then what they answered."""
    words = _ZH if chinese else _EN
    if evidence is None:
        return words.no_alert
    return words.between.join([*_told(evidence, words), *_answered(evidence, words)])


def _told(evidence: Evidence, words: _Words) -> Iterator[str]:
    by_channel: dict[str, list[Told]] = {}
    for one in evidence.told:
        by_channel.setdefault(one.channel, []).append(one)
    if not by_channel:
        yield words.nothing
    for channel, those in by_channel.items():
        tried = [one for one in those if one.state in _RANKING]
        best = min(tried, key=lambda one: _RANKING.index(one.state), default=those[0])
        name = words.channel.get(channel, channel)
        if len(tried) > 1:
            name += words.times.format(n=len(tried)) if words is _ZH else f" {words.times.format(n=len(tried))}"
        yield f"{name} {_became(best, words)}"


def _became(one: Told, words: _Words) -> str:
    if one.state in words.state:
        return words.state[one.state]
    parts = [words.sent.format(at=_clock(one.sent))] if one.sent else []
    parts += [words.delivered.format(at=_clock(one.delivered))] if one.delivered else [words.no_report]
    return words.comma.join(parts)


def _answered(evidence: Evidence, words: _Words) -> Iterator[str]:
    for one in evidence.acknowledged[:2]:
        yield words.acknowledged.format(at=_clock(one.at), how=words.how.get(one.how, one.how))
    if not evidence.acknowledged:
        yield words.nobody if evidence.owed else words.not_owed
    if evidence.answered_for:
        yield words.answered_for.format(how=words.how.get(evidence.answered_for, evidence.answered_for))


def told_in_chinese(one: Contradiction) -> tuple[str, str, str]:
    """What does not fit, and the two readings."""
    return CONTRADICTIONS_ZH[one.kind]


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(_BEIJING):%H:%M}"
