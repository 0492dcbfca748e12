"""The first half of the paper: cover, the warning as received, the frozen plan, the words, the timeline."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..alert import Info
from ..ledger import Row
from ..ledger.evidence import DOOR
from ..ledger.fanout import OF_THE_EVENT
from ..paper import Paper
from ..wording import LINK_MARK
from . import terms
from .counting import DELIVERED, TAKEN, Curve, Tally
from .files import warning_name
from .gathering import Facts
from .telling import timeline

_LONG = 1200  # letters of the words of one channel that are printed; longer ones are a document, and lie beside as a file


def title_of(facts: Facts) -> str:
    """What stands on the cover and in the file's properties."""
    kind = terms.KINDS_OF_ALERT.get(facts.alert.status, facts.alert.status)
    mark = "" if facts.alert.status == "Actual" else f"【{kind}】"
    return f"{mark}{facts.alert.headline or facts.alert.event}　一事一档"


def cover(paper: Paper, facts: Facts, tally: Tally, curves: Sequence[Curve], *, until: int, masked: bool) -> None:
    """What a reader with half a minute needs, and the contents."""
    state = terms.ALERT_STATES.get(facts.alert.state, facts.alert.state)
    if facts.running:
        paper.paragraph(f"截至 {terms.moment(until)}（账本中关于本预警的最后一条记录）。预警尚未结束，本档案不是最终稿。")
    else:
        paper.paragraph(f"预警状态：{state}。账本中关于本预警的最后一条记录：{terms.moment(until)}。")
    if not masked:
        paper.paragraph("本档案显示责任人姓名，含个人信息，请按规定保管。")
    paper.heading("摘要", 2)
    paper.facts(list(_summary(facts, tally, curves)))
    paper.heading("目录", 2)
    paper.contents()
    paper.note(
        "时间均为北京时间；“收到后”以本系统收到预警的时间起算。“已到达”指终端或广播已播放，“通道接收”指通道已接收而没有到达回执；"
        "到达、已读都不等于确认收到。"
    )
    paper.page_break()


def _summary(facts: Facts, tally: Tally, curves: Sequence[Curve]) -> Iterator[tuple[str, object]]:
    row = facts.alert
    yield "预警", f"{row.headline or row.event}（{_level(row)}，{terms.MESSAGES.get(row.msg_type, row.msg_type)}）"
    yield "范围", "、".join(facts.place(code) for code in facts.understood.get("roots", ())) or "未确定"
    yield "收到时间", terms.moment(row.received)
    for channel in ("speaker", "voice"):
        first = next((one.delivered or one.taken for one in curves if one.channel == channel), ())
        if first:
            passed = terms.after(first[0][0], row.received)
            yield f"首次{terms.CHANNELS[channel]}", f"{terms.moment(first[0][0])}，收到后 {passed}（分:秒）"
    stand: Counter[str] = Counter()
    for counted in tally.towns.values():
        stand += counted
    rest = stand.total() - stand[DELIVERED] - stand[TAKEN]
    yield "投递", f"应发{stand.total():,}条：已到达{stand[DELIVERED]:,}条，仅通道接收{stand[TAKEN]:,}条，其余{rest:,}条"
    if owed := facts.owed:
        answered = sum(one.state == "answered" for one in owed)
        door = sum(one.by == DOOR for one in owed)
        yield "叫应", f"应叫应{len(owed):,}个岗位：已应答{answered:,}个（{terms.part(answered, len(owed))}），未叫醒{door:,}个"


def _level(row: Row) -> str:
    return terms.LEVELS.get(row.level, "等级未定")


# ── 1 the warning ──


def received(paper: Paper, facts: Facts) -> None:
    """As it came, and as it was understood."""
    row, understood = facts.alert, facts.understood
    paper.heading("1　收到的预警")
    paper.facts(
        [
            ("标题", row.headline),
            ("发布单位", row.issuer or row.sender),
            ("事件类型", f"{row.event}（{row.event_code}）"),
            ("等级", _level(row)),
            ("性质", f"{terms.KINDS_OF_ALERT.get(row.status, row.status)}，{terms.MESSAGES.get(row.msg_type, row.msg_type)}"),
            ("预警编号", row.identifier),
            ("所属事件", row.event_key),
            ("本系统编号", row.id),
            ("发布时间", terms.moment(row.sent)),
            ("收到时间", terms.moment(row.received)),
            ("失效时间", terms.moment(row.expires)),
            ("来源", f"{row.source}，格式 {terms.FORMS.get(row.form, row.form)}"),
            ("起草", row.drafted_by.removeprefix("source:")),
            ("放行", row.released_by or "按预案无需审核" if row.state != "recorded" else "—"),
            ("当前状态", _state(row)),
            ("原文件", f"{warning_name(facts)}，{len(facts.raw):,}字节"),
            ("SHA-256", row.sha256),
        ]
    )
    _original(paper, facts)
    paper.heading("如何理解这条预警", 2)
    first = sum(bool(one.first) for one in facts.regions)
    repairs = [f"{element}：{value or '（空）'} → {taken}" for element, value, taken in understood.get("repairs", ())]
    paper.facts(
        [
            ("覆盖范围", "、".join(facts.place(code) for code in understood.get("roots", ())) or "未确定"),
            ("区划数", f"{len(facts.regions):,}个（含上下级），其中有风险标签、优先通知的{first:,}个"),
            ("研判提示", _lines(text for _, text in understood.get("findings", ()))),
            ("预案缺口", _lines(understood.get("gaps", ()))),
            ("格式修正", _lines(repairs)),
        ]
    )


def _state(row: Row) -> str:
    said = terms.ALERT_STATES.get(row.state, row.state)
    if row.superseded_by:
        said += f"（{row.superseded_by}号预警）"
    return f"{said}，{terms.moment(row.closed)}" if row.closed else said


def _original(paper: Paper, facts: Facts) -> None:
    paper.heading("预警原文", 2)
    if facts.message is None or facts.message.info is None:
        paper.paragraph("见原文件。")
        return
    info: Info = facts.message.info
    texts = [("内容", info.description), ("防御指南", info.instruction), ("区域", "；".join(a.description for a in info.areas))]
    paper.facts([(name, text) for name, text in texts if text] or [("内容", "（预警没有正文）")])


def _lines(texts: Any) -> str:
    return "\n".join(texts) or "无"


# ── 2 the plan ──


def plan(paper: Paper, facts: Facts) -> None:
    """Whom, by which way, within what time; frozen when the warning was taken in charge."""
    frozen = facts.understood.get("plan", {})
    paper.heading("2　冻结的预案")
    paper.paragraph("预案在收到预警时冻结；其后修改预案不影响本次。全文见 plan.json。")
    paper.facts([("预案", f"{frozen.get('title', '')}（{frozen.get('plan', '')}）"), *_ladder(facts, frozen)])
    if not facts.rules:
        paper.paragraph("没有应通知的对象。")
        return
    heads = ("序", "层级", "对象", "渠道", "交付时限", "应答时限", "审核", "条数")
    empty = [row for row in facts.rules if row.selection in OF_THE_EVENT and row.state == "planned" and not row.deliveries]
    rows = [_rule(facts, row) for row in facts.rules if row not in empty]
    paper.table(heads, rows, (0.5, 1.1, 4.6, 1.3, 1, 1, 1.3, 0.9), numbers=(0, 7), size=7.5)
    said = "条数为该规则生成的投递数；同一号码在同一渠道只发一次，计入先生成的规则。"
    if empty:
        said += f"另有{len(empty)}条面向本事件先前通知对象的规则没有对象，未列出。"
    paper.note(said)


def _ladder(facts: Facts, frozen: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    ladder = frozen.get("ladder")
    if not ladder:
        yield "叫应", "本预案这一等级不叫应"
        return
    rungs = " → ".join(terms.RUNGS.get(rung, rung) for rung in ("principal", *ladder["rungs"]))
    begins = "随预警立即呼叫" if ladder["voice"] == "at_once" else "应答时限过后呼叫"
    each = f"每人最多{ladder['calls']}次，间隔{terms.span(ladder['every'])}，末次后等待{terms.span(ladder['patience'])}升级"
    yield "叫应", f"{begins}；{each}\n{rungs}"
    measures = ladder.get("measures_within")
    yield "闭环反馈", f"应答后{terms.span(measures)}内反馈措施" if measures else "不要求"
    if quorum := frozen.get("quorum"):
        named = [f"{terms.TIERS.get(tier, tier)}：{'、'.join(map(facts.role, roles))}" for tier, roles in sorted(quorum.items())]
        yield "视为已应答", "\n".join(named) + "\n其他层级：全部应叫应岗位"


def _rule(facts: Facts, row: Row) -> tuple[object, ...]:
    roles = "、".join(facts.role(role) for role in json.loads(row.roles))
    ranks = "".join(f"{rank}" for rank in json.loads(row.ranks))
    who = terms.SELECTIONS.get(row.selection) or roles or terms.AUDIENCES.get(row.audience, row.audience)
    if roles and ranks and ranks != "AB":
        who += f"（{ranks}岗）"
    if row.first is not None:
        who += "　风险区域" if row.first else "　其余区域"
    if row.purpose != "alarm":
        who = f"{terms.purpose(row.purpose)}：{who}"
    approvers = "、".join(facts.role(role) for role in json.loads(row.approvers))
    answer = terms.span(row.answer_within) if row.answer_within else "—"
    return (
        row.n, terms.TIERS.get(row.tier, row.tier), who, terms.CHANNELS.get(row.channel, row.channel), terms.span(row.within),
        answer, approvers or "免审", _RULE_STATES.get(row.state) or f"{row.deliveries:,}",
    )  # fmt: skip


_RULE_STATES = {"held": "待审核", "owed": "待生成", "withdrawn": "已撤回"}


# ── 3 the words ──


def words(paper: Paper, facts: Facts) -> None:
    """What each channel said."""
    paper.heading("3　各渠道文稿")
    if not facts.words:
        paper.paragraph("没有文稿。")
        return
    rows = [
        (f"{terms.CHANNELS.get(row.channel, row.channel)}\n{terms.AUDIENCES.get(row.audience, row.audience)}",
         terms.purpose(row.purpose), _printed(row.text, f"words/{row.channel}-{row.audience}-{row.purpose}-{row.language}.txt"))
        for row in facts.words
    ]  # fmt: skip
    paper.table(("渠道、对象", "用途", "文稿"), rows, (1.5, 1.1, 7))
    paper.note("逐字文稿在 words 文件夹。")


def _printed(text: str, file: str) -> str:
    if len(text) > _LONG or text.lstrip().startswith("<?xml"):
        return f"{len(text):,}字的文档，见 {file}"
    return re.sub(f"{LINK_MARK}+", "〔每人各自的确认链接〕", text)


# ── 4 the timeline ──


def course(paper: Paper, facts: Facts, curves: Sequence[Curve]) -> None:
    """What happened and when."""
    paper.heading("4　时间线")
    begins = facts.alert.received
    rows = [(terms.moment(one.at), terms.after(one.at, begins), one.what, one.detail) for one in timeline(facts, curves)]
    paper.table(("时间", "收到后（分:秒）", "事项", "说明"), rows, (1.75, 1.2, 2.5, 4), numbers=(1,))
    paper.note(
        f"同类条目超过三条时只列首末；发送和回执以各渠道的首末时间表示。全部{len(facts.entries):,}个条目见 entries.jsonl。"
    )
