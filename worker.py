"""The worker process's entry: `dramatiq worker:open_broker --queues alarm`. `broadcast worker` starts one for each lane.

Settings come from the environment and broadcast.toml, as everywhere (BROADCAST_HOME names the folder).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broadcast import settings

if TYPE_CHECKING:
    from dramatiq import Broker


def open_broker() -> Broker:
    """Called by Dramatiq once in each worker process."""
    return settings.open_worker()
