"""The timeline: what happened and when, from the entries, the receipts and the callouts. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ledger import Row
from ..ledger.evidence import DOOR
from . import terms
from .counting import Curve
from .gathering import Duty, Facts

_ALONE = 3  # entries of one kind that are told one by one; more are told as first and last


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline."""

    at: int
    what: str
    detail: str


def timeline(facts: Facts, curves: Sequence[Curve]) -> list[Moment]:
    """In the order of time."""
    found = [*_of_entries(facts), *_of_channels(curves), *_of_callouts(facts.owed)]
    return sorted(found, key=lambda one: one.at)  # stable: of one moment the entries come first


def _of_entries(facts: Facts) -> list[Moment]:
    """One by one, or of many alike the first and the last; in the order of the chain."""
    alike: dict[tuple[str, str], list[tuple[Row, Mapping[str, Any]]]] = {}
    for row in facts.entries:
        if row.kind in _BINDING:
            continue
        body = json.loads(row.body)
        alike.setdefault((row.kind, str(body.get("duty", ""))), []).append((row, body))
    found: list[tuple[int, Moment]] = []
    for (kind, _), those in alike.items():
        name, told = _KINDS.get(kind, (f"条目 {kind}", _nothing))
        few = len(those) <= _ALONE
        for row, body in those if few else (those[0], those[-1]):
            mark = "" if few else f"（首次，共{len(those):,}次）" if row is those[0][0] else "（末次）"
            found.append((row.n, Moment(row.at, name + mark, _detail(told(body, facts), row.who))))
    return [moment for _, moment in sorted(found, key=lambda one: one[0])]


def _detail(said: str, who: str) -> str:
    return "；".join(part for part in ("" if who.startswith("source:") else who, said) if part)


def _of_channels(curves: Sequence[Curve]) -> Iterator[Moment]:
    for one in curves:
        name = terms.CHANNELS.get(one.channel, one.channel)
        for steps, verb in ((one.taken, "交到通道"), (one.delivered, "到达")):
            if steps:
                yield Moment(steps[0][0], f"{name}：首批{verb}", f"{steps[0][1]:,}条")
                if len(steps) > 1:
                    yield Moment(steps[-1][0], f"{name}：末批{verb}", f"累计{steps[-1][1]:,}条，应发{one.owed:,}条")


def _of_callouts(owed: Sequence[Duty]) -> Iterator[Moment]:
    """When half, nine tenths and all of those who answered at all had; of those at the door the first and the last."""
    answered = sorted(one.ended for one in owed if one.ended is not None and one.state == "answered")
    for share, name in ((0.0, "首个"), (0.5, "50%"), (0.9, "90%"), (1.0, "100%")):
        wanted = max(1, round(share * len(owed)))
        if len(answered) >= wanted and (share == 0 or len(owed) > 1):
            yield Moment(answered[wanted - 1], f"叫应：{name}岗位已应答", f"{wanted:,}/{len(owed):,}")
    if answered and len(answered) < len(owed):
        yield Moment(answered[-1], "叫应：最后一个应答", f"{len(answered):,}/{len(owed):,}")
    doors = sorted(one.ended for one in owed if one.by == DOOR and one.ended is not None)
    if doors:
        yield Moment(doors[0], "叫应：首个岗位列入未叫醒名单", f"共{len(doors):,}个岗位")
    if len(doors) > 1:
        yield Moment(doors[-1], "叫应：最后一个岗位列入未叫醒名单", "")


# ── what each kind of entry says ──


def _nothing(_body: Mapping[str, Any], _facts: Facts) -> str:
    return ""


def _received(body: Mapping[str, Any], facts: Facts) -> str:
    # Whatever goes out was waiting for a moment: between this entry and the next.
    state = str(body.get("state"))
    held = f"，{terms.ALERT_STATES[state]}" if state in ("recorded", "undecided") else ""
    return f"来源 {body.get('source', '')}，{terms.FORMS.get(facts.alert.form, facts.alert.form)}{held}"


def _frozen(body: Mapping[str, Any], _facts: Facts) -> str:
    plan = body.get("understood", {}).get("plan", {})
    return f"{plan.get('title', '')}，{body.get('rules', 0)}条规则，覆盖{len(body.get('regions', ()))}个区划"


def _worded(body: Mapping[str, Any], _facts: Facts) -> str:
    return f"{len(body.get('words', ()))}份文稿"


def _decided(body: Mapping[str, Any], facts: Facts) -> str:
    where = "、".join(facts.place(code) for code in body.get("regions", ()))
    level = terms.LEVELS.get(str(body.get("level")), "")
    return "，".join(part for part in (f"范围：{where}" if where else "", f"等级：{level}" if level else "") if part)


def _approved(body: Mapping[str, Any], facts: Facts) -> str:
    roles = "、".join(facts.role(role) for role in body.get("roles", ()))
    held = f"，仍待审核{body['still_held']}条" if body.get("still_held") else ""
    why = f"，理由：{body['reason']}" if body.get("reason") else ""
    return f"以{roles}身份，放行{body.get('rules', 0)}条规则{held}{why}"


def _planned(body: Mapping[str, Any], _facts: Facts) -> str:
    return f"{body.get('batches', 0):,}批，{body.get('deliveries', 0):,}条"


def _duty(body: Mapping[str, Any], facts: Facts) -> str:
    what = {"release": "审核", "measures": "反馈措施"}.get(str(body.get("duty")), str(body.get("duty", "")))
    where = f"，{facts.place(body['region'])} {facts.role(str(body.get('role', '')))}" if body.get("region") else ""
    due = f"，时限 {terms.clock(body['due'])}" if body.get("due") else ""
    step = f"，{body['step']}" if body.get("step") else ""
    return f"{what}{where}{due}{step}"


_NAMED = 3  # posts in one line; each one's steps stand in the chapter of callouts


def _climbed(body: Mapping[str, Any], facts: Facts) -> str:
    rung = terms.RUNGS.get(str(body.get("rung")), str(body.get("rung")))
    those = body.get("callouts", ())
    named = "、".join(f"{facts.place(one['region'])} {facts.role(str(one['role']))}" for one in those[:_NAMED])
    return f"{named}{f' 等{len(those)}个岗位' if len(those) > _NAMED else ''} → {rung}"


def _replied(body: Mapping[str, Any], _facts: Facts) -> str:
    verb = terms.VERBS.get(str(body.get("verb")), str(body.get("verb")))
    return f"{terms.WAYS.get(str(body.get('how')), str(body.get('how')))}，{verb}"


def _over(body: Mapping[str, Any], _facts: Facts) -> str:
    by = f"由{body['by']}号预警；" if body.get("by") else ""
    left = body.get("withdrawn", body.get("not_left", 0))
    return f"{by}未发出而撤回{left:,}条"


def _doubt(body: Mapping[str, Any], _facts: Facts) -> str:
    return f"第{body.get('batch')}批{body.get('deliveries', 0)}条：{body.get('decision', '')}"


def _looked(body: Mapping[str, Any], _facts: Facts) -> str:
    return f"{body.get('villages', 0):,}个村（社区），已到达{body.get('reached', 0):,}个"


def _village(body: Mapping[str, Any], facts: Facts) -> str:
    return facts.place(str(body.get("region", "")))


def _exported(body: Mapping[str, Any], _facts: Facts) -> str:
    return "姓名掩码" if body.get("masked", True) else f"姓名未掩码，理由：{body.get('reason', '')}"


_KINDS: Mapping[str, tuple[str, Callable[[Mapping[str, Any], Facts], str]]] = {
    "alert.received": ("收到预警", _received),
    "alert.repeated": ("再次收到同一预警", _nothing),
    "plan.frozen": ("预案冻结", _frozen),
    "wording.frozen": ("文稿冻结", _worded),
    "alert.decided": ("人工研判", _decided),
    "alert.approved": ("审核通过", _approved),
    "alert.approved_alone": ("单人放行", _approved),
    "alert.reviewed": ("事后复核", _nothing),
    "alert.released": ("开始发布", _nothing),
    "batches.planned": ("生成发送任务", _planned),
    "batch.by_next_channel": ("改用下一渠道", _nothing),
    "duty.opened": ("待办开始", _duty),
    "duty.step": ("待办催办", _duty),
    "callout.climbed": ("叫应升级", _climbed),
    "callout.repaired": ("叫应修复", _nothing),
    "reply": ("答复", _replied),
    "answer.too_late": ("迟到的通道应答", _nothing),
    "doubt.decided": ("存疑处置", _doubt),
    "alert.superseded": ("被后续预警更新", _over),
    "alert.cancelled": ("预警解除", _over),
    "alert.closed": ("到期关闭", _over),
    "coverage.looked": ("清点各村到达情况", _looked),
    "village.unreached": ("村（社区）无人到达", _village),
    "village.reached": ("先前无人到达的村（社区）已到达", _village),
    "exported": ("导出档案", _exported),
}
# What binds rows to the chain; the channels' own lines say it better.
_BINDING = frozenset({"receipts", "batch.planned", "deliveries.covered", "alert.covered", "evidence.adopted"})
