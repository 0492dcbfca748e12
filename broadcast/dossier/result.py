"""The second half of the paper: reach, callouts, spot checks, what was not reached and why, and how to verify all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..ledger.evidence import DOOR
from ..paper import Paper
from . import coverage, spotchecks, terms
from .counting import Curve, Missed, Reach, Tally, standing
from .gathering import Duty, Facts
from .plots import STANDINGS, answers_over_time, reach_over_time

_ROWS = 600  # of one table on paper; whatever is longer lies beside it as a file
_MISSED = 200

# ── 5 reach ──


def reached(paper: Paper, facts: Facts, tally: Tally, curves: Sequence[Curve]) -> None:
    """By channel, over time, and by town."""
    paper.heading("5　到达情况")
    if not tally.states:
        paper.paragraph("没有应发的投递。")
        return
    begins = facts.alert.received
    heads = ("渠道", "应发", *(name for name, _, _ in STANDINGS.values()), "首条", "50%", "90%")
    rows = [_channel(one, tally, begins) for one in curves]
    paper.table(heads, rows, (1.5, 0.9, 0.9, 1.5, 0.8, 0.8, 1.2, 0.9, 0.9, 0.9), numbers=range(1, len(heads)))
    paper.note(
        "首条、50%、90%：收到预警后多久（分:秒），有一条、一半、九成应发的已到达（没有到达回执的渠道按通道已接收计）；“—”为未达到该比例。"
        "只计预警本身的投递。"
    )
    if any(one.taken for one in curves):
        paper.heading("各渠道到达随时间的变化", 2)
        draw, caption = reach_over_time(curves, begins)
        paper.figure(draw, height_mm=80, caption=caption)
    if facts.owed:
        paper.heading("各层级应答随时间的变化", 2)
        draw, caption = answers_over_time(facts.owed, begins)
        paper.figure(draw, height_mm=75, caption=caption)
    paper.heading("各乡镇（街道）", 2)
    coverage.by_village(paper, facts)
    coverage.by_town(paper, facts, tally)
    if tally.others:
        paper.heading("预警本身以外的投递", 2)
        _others(paper, tally)


def _channel(one: Curve, tally: Tally, begins: int) -> tuple[object, ...]:
    stands: Counter[str] = Counter()
    for state, n in tally.states[one.channel].items():
        stands[standing(state)] += n
    steps = one.delivered or one.taken
    times = (one.first(steps), one.when(steps, 0.5), one.when(steps, 0.9))
    return (
        terms.CHANNELS.get(one.channel, one.channel), f"{one.owed:,}", *(f"{stands[how]:,}" for how in STANDINGS),
        *(terms.after(moment, begins) for moment in times),
    )  # fmt: skip


def _others(paper: Paper, tally: Tally) -> None:
    by_kind: dict[tuple[str, str], Counter[str]] = {}
    for (channel, kind, state), n in sorted(tally.others.items()):
        by_kind.setdefault((kind, channel), Counter())[standing(state)] += n
    rows = [
        (terms.purpose(kind), terms.CHANNELS.get(channel, channel), *(f"{counted[how]:,}" for how in STANDINGS))
        for (kind, channel), counted in by_kind.items()
    ]
    heads = ("用途", "渠道", *(name for name, _, _ in STANDINGS.values()))
    paper.table(heads, rows, (1.4, 1.4, 1, 1.6, 1, 1, 1.4), numbers=range(2, len(heads)))


# ── 6 callouts ──


def callouts(paper: Paper, facts: Facts) -> None:
    """Every duty with its steps: how often who was called, who answered, when."""
    paper.heading("6　叫应")
    owed, measures = facts.owed, [one for one in facts.duties if one.duty == "measures"]
    if not owed:
        paper.paragraph("预案没有要求应答，没有叫应。")
        return
    _by_tier(paper, owed)
    shown = owed if len(owed) <= _ROWS else [one for one in owed if one.by != "itself"][:_ROWS]
    paper.heading("逐个岗位", 2)
    if len(shown) < len(owed):
        paper.paragraph(f"共{len(owed):,}个岗位，下表列出不是由本人直接应答的{len(shown):,}个，全部见 callouts.csv。")
    heads = ("区划", "岗位", "责任人", "呼叫次数", "结果", "应答人、方式", "时间", "用时")
    paper.table(heads, [_duty(one) for one in shown], (1.4, 2.3, 0.85, 1.7, 1.3, 1.5, 0.9, 0.8), numbers=(7,), size=7)
    paper.note(
        "呼叫次数：本人、B岗、上级、相邻岗位各被呼叫几次（已交到通道的语音电话）。用时（分:秒）：从叫应开始到应答或列入未叫醒名单。"
    )
    if measures:
        done = sum(one.state == "answered" for one in measures)
        paper.heading("闭环反馈", 2)
        paper.paragraph(f"逾期未反馈措施而再次叫应的{len(measures):,}个，其中已反馈{done:,}个。逐个见 callouts.csv。")


def _by_tier(paper: Paper, owed: Sequence[Duty]) -> None:
    ways = [way for way in terms.ENDINGS if any(one.by == way for one in owed)]
    tiers = [tier for tier in terms.TIERS if any(one.tier == tier for one in owed)]
    lines = [(terms.TIERS[tier], [one for one in owed if one.tier == tier]) for tier in tiers]
    rows = [_tier(name, those, ways) for name, those in [*lines, ("合计", list(owed))]]
    heads = ("层级", "应叫应", *(terms.ENDINGS[way] for way in ways), "应答率", "中位用时（分:秒）")
    paper.table(heads, rows, numbers=range(1, len(heads)))


def _tier(name: str, those: Sequence[Duty], ways: Sequence[str]) -> tuple[object, ...]:
    counted = Counter(one.by for one in those)
    took = sorted(one.ended - one.opened for one in those if one.state == "answered" and one.ended is not None)
    answered = sum(one.state == "answered" for one in those)
    median = terms.after(took[len(took) // 2] if took else None, 0)
    return (name, f"{len(those):,}", *(f"{counted[way]:,}" for way in ways), terms.part(answered, len(those)), median)


def _duty(one: Duty) -> tuple[object, ...]:
    calls = "、".join(f"{terms.RUNGS[rung]}{one.calls[rung]}" for rung in terms.RUNGS if one.calls.get(rung))
    answer = " ".join(part for part in (one.answered_by, terms.WAYS.get(one.how, one.how), one.entered_by) if part)
    return (
        one.place, one.role + ("" if one.rank == "A" else f"（{one.rank}岗）"), one.person, calls or "无",
        terms.ENDINGS.get(one.by, one.by), answer, terms.clock(one.ended), terms.after(one.ended, one.opened),
    )  # fmt: skip


# ── 7 spot checks ──


def spot_checks(paper: Paper, facts: Facts) -> None:
    """Whether the responsible persons really knew."""
    paper.heading("7　抽查（六问）")
    spotchecks.checked(paper, facts.spot_checks)


# ── 8 what was not reached, and why ──


def not_reached(paper: Paper, facts: Facts, tally: Tally) -> None:
    """By reason, and the posts that no channel reached."""
    paper.heading("8　未到达及原因")
    if not tally.reasons:
        paper.paragraph("所有应发的投递都已到达或已被通道接收。")
    else:
        _reasons(paper, tally)
    _missed(paper, facts, tally)
    _silent(paper, facts)


def _reasons(paper: Paper, tally: Tally) -> None:
    rows = [
        (terms.CHANNELS.get(channel, channel), terms.STATES.get(state, state), reason or "（通道未说明）", f"{n:,}")
        for (channel, state, reason), n in sorted(tally.reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
    paper.table(("渠道", "状态", "原因（通道原话或本系统说明）", "条数"), rows[:_MISSED], (1.2, 1, 4.5, 0.8), numbers=(3,))
    total = sum(tally.reasons.values())
    paper.note(f"共{total:,}条，逐条见 deliveries.csv（全部{tally.rows:,}行）。同一人可有几个渠道，一条未到不等于人未通知到。")


def _missed(paper: Paper, facts: Facts, tally: Tally) -> None:
    missed = tally.missed()
    if not tally.posts:
        return
    paper.heading("没有任何渠道到达的岗位", 2)
    if not missed:
        paper.paragraph(f"{tally.posts:,}个应通知的岗位，每个都至少有一个渠道已到达或已接收。")
        return
    text = f"应通知{tally.posts:,}个岗位，其中{len(missed):,}个没有任何渠道到达。"
    paper.paragraph(text + (f"下表列前{_MISSED}个。" if len(missed) > _MISSED else ""))
    rows = [(facts.place(one.region), facts.role(one.role), one.rank, _ways(one)) for one in missed[:_MISSED]]
    paper.table(("区划", "岗位", "A/B岗", "各渠道状态和原因"), rows, (1.6, 2.4, 0.6, 5), size=7.5)


def _ways(one: Missed) -> str:
    said = [
        f"{terms.CHANNELS.get(channel, channel)}{terms.STATES.get(state, state)}" + (f"（{reason}）" if reason else "")
        for channel, state, reason in one.ways
    ]
    return "；".join(said)


def _silent(paper: Paper, facts: Facts) -> None:
    door = [one for one in facts.owed if one.by == DOOR]
    if not facts.owed:
        return
    paper.heading("未叫醒名单", 2)
    if not door:
        paper.paragraph("没有岗位停留在未叫醒名单上。")
        return
    text = f"{len(door):,}个岗位多次呼叫无人应答，转为上门。"
    paper.paragraph(text + (f"下表列前{_MISSED}个，全部见 callouts.csv。" if len(door) > _MISSED else ""))
    rows = [(one.place, one.role, one.person, terms.moment(one.ended), sum(one.calls.values())) for one in door[:_MISSED]]
    paper.table(("区划", "岗位", "责任人", "列入时间", "呼叫次数"), rows, (1.6, 3, 1, 2, 1), numbers=(4,))


# ── 9 the chain ──


def proof(paper: Paper, facts: Facts, tally: Tally, reach: Reach, replies: int) -> None:
    """The head of the chain, and how to verify without our software."""
    n, head = facts.head
    paper.page_break()
    paper.heading("9　账本链与核验")
    paper.paragraph("每个事实是账本中的一个条目，每个条目带有前一条目的哈希值；改动任何一条，其后全部对不上。")
    paper.facts(
        [
            ("链", f"alert:{facts.alert.id}"),
            ("条目数", f"{n:,}（写到本次导出自身的条目之前）"),
            ("链首（head）", head),
            ("原始预警 SHA-256", facts.alert.sha256),
        ]
    )
    paper.heading("本档案的文件", 2)
    rows = [
        ("dossier.pdf", "本文"), ("alert.xml 或 alert.json", "收到的预警原文件"), ("plan.json", "冻结的预案、范围和规则"),
        ("words/", f"各渠道文稿，{len(facts.words):,}份"), ("entries.jsonl", f"账本条目，{n:,}行"),
        ("deliveries.csv", f"投递，{tally.rows:,}行"), ("receipts.csv", f"通道回执，{reach.rows:,}行"),
        ("callouts.csv", f"叫应，{len(facts.duties):,}行"), ("replies.csv", f"答复，{replies:,}行"),
        ("rows/", "供核验的证据行（如有）"), ("verify.py、VERIFY.txt", "核验脚本和说明"), ("MANIFEST.json", "每个文件的 SHA-256"),
    ]  # fmt: skip
    paper.table(("文件", "内容"), rows, (1, 2.4))
    paper.heading("如何不依赖本系统核验", 2)
    paper.paragraph(
        "在本文件夹中运行下面任一命令（Python 3.8 及以上，只用标准库，不联网）。退出码 0 为一致，1 为不一致并指明文件和条目。"
        "不用脚本的核验步骤见 VERIFY.txt。"
    )
    paper.code("python verify.py\npython verify.py --manifest 导出时打印的SHA256\npython verify.py --anchor 锚点文件")
    paper.paragraph(
        "条目的哈希：对 chain、n、at、kind、who、body、previous 七项，各写成“字节长度:内容,”并依次相接，取 SHA-256；"
        "第一条的 previous 为64个0。最后一条的哈希应等于上面的链首；有锚点的，锚点所记条目的哈希应与 entries.jsonl 同号条目相同。"
    )
    paper.paragraph("能证明的：最后一个离开主机的锚点之前，对证据的任何改动都会被发现。不能证明的：当时记下的内容本身是否属实。")
