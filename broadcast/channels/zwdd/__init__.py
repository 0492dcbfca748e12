"""浙政钉 (GovDingTalk): work notifications and DING over one signed client. Whoever reads one has not acknowledged it."""

from .ding import ZwddDing, ZwddDingOptions
from .notice import ZwddNotice, ZwddNoticeOptions

__all__ = ["ZwddDing", "ZwddDingOptions", "ZwddNotice", "ZwddNoticeOptions"]
