"""The ledger's words in Chinese, and its times as people in the county read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))

CHANNELS: Mapping[str, str] = {
    "speaker": "村村响广播",
    "voice": "语音电话",
    "sms": "短信",
    "zwdd": "浙政钉",
    "grid": "网格任务",
    "feed": "其他平台",
}
TIERS: Mapping[str, str] = {
    "county": "县",
    "town": "乡镇（街道）",
    "village": "村（社区）",
    "grid": "网格",
    "household": "户",
    "test": "测试",
}
AUDIENCES: Mapping[str, str] = {"post": "责任人", "resident": "居民", "place": "场所、系统"}
SELECTIONS: Mapping[str, str] = {
    "gone": "曾通知、现已不在范围内的",
    "still": "曾通知、仍在范围内的",
    "reached": "曾通知的全部",
    "approvers": "待审核的值班人员",
    "test": "登记的测试终端",
}
STATES: Mapping[str, str] = {
    "planned": "待发",
    "sending": "发送中",
    "deferred": "待重发",
    "in_doubt": "存疑",
    "accepted": "通道已接收",
    "delivered": "已到达",
    "rejected": "被拒收",
    "failed": "未成功",
    "cancelled": "已撤回",
}
LEVELS: Mapping[str, str] = {"red": "红色", "orange": "橙色", "yellow": "黄色", "blue": "蓝色"}
MESSAGES: Mapping[str, str] = {"Alert": "发布", "Update": "更新", "Cancel": "解除", "Ack": "回执", "Error": "错误"}
KINDS_OF_ALERT: Mapping[str, str] = {
    "Actual": "实际",
    "Exercise": "演练",
    "Test": "测试",
    "System": "系统",
    "Draft": "草稿",
}
ALERT_STATES: Mapping[str, str] = {
    "recorded": "仅记录，未发布",
    "undecided": "待人工研判",
    "waiting": "待审核",
    "active": "发布中",
    "superseded": "已由后续预警更新",
    "cancelled": "已解除",
    "closed": "已到期关闭",
}
FORMS: Mapping[str, str] = {"cap": "CAP", "cn12379": "国家预警信息（12379）", "json": "JSON"}
RUNGS: Mapping[str, str] = {
    "principal": "本人",
    "deputy": "B岗",
    "superior": "上级",
    "sideways": "相邻岗位",
    "door": "未叫醒（上门）",
}
ENDINGS: Mapping[str, str] = {
    "itself": "本人应答",
    "deputy": "B岗应答",
    "superior": "上级应答",
    "sideways": "相邻岗位应答",
    "door": "未叫醒（上门）",
    "taken over": "随预警结束",
    "": "进行中",
}
WAYS: Mapping[str, str] = {**CHANNELS, "link": "确认链接", "entry": "值班员登记"}
VERBS: Mapping[str, str] = {
    "acknowledged": "确认收到",
    "measures": "反馈措施",
    "done": "办结",
    "declined": "退回",
    "other": "其他",
}
ORIGINS: Mapping[str, str] = {"answer": "通道应答", "report": "状态报告", "sweep": "调度", "gateway": "网关"}
_PURPOSES: Mapping[str, str] = {
    "alarm": "预警",
    "stand_down": "解除告知",
    "stop": "停止播发",
    "release": "请求审核",
    "callout": "再次呼叫",
    "escalation": "向上呼叫",
}


def purpose(text: str) -> str:
    """`callout.principal.2` → 再次呼叫 本人 第2次."""
    kind, _, more = text.partition(".")
    rung, _, number = more.partition(".")
    said = [_PURPOSES.get(kind, kind)]
    if rung:
        said.append(RUNGS.get(rung, rung))
    if number:
        said.append(f"第{number}次")
    return " ".join(said)


def moment(millis: int | None) -> str:
    """2023-07-05 05:00:12, Beijing time; "" for none."""
    return f"{_beijing(millis):%Y-%m-%d %H:%M:%S}" if millis is not None else ""


def exact(millis: int | None) -> str:
    """The same with milliseconds and zone, for files."""
    return _beijing(millis).isoformat(timespec="milliseconds") if millis is not None else ""


def clock(millis: int | None) -> str:
    """05:00:12, where the day is clear."""
    return f"{_beijing(millis):%H:%M:%S}" if millis is not None else ""


def _beijing(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, BEIJING)


def span(seconds: float) -> str:
    """300 → 5分钟; 90 → 1分30秒; 7200 → 2小时."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}小时" + (f"{minutes}分" if minutes else "")
    if minutes:
        return f"{minutes}分{rest}秒" if rest else f"{minutes}分钟"
    return f"{rest}秒"


def after(moment: int | None, begins: int) -> str:
    """12:05 minutes and seconds later; — for never."""
    if moment is None:
        return "—"
    whole = max(0, moment - begins) // 1000
    return f"{whole // 60}:{whole % 60:02d}"


def part(n: int, of: int) -> str:
    """3 of 4 → 75.0%; of nobody there is no part."""
    return f"{100 * n / of:.1f}%" if of else "—"
