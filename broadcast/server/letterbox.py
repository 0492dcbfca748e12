"""Groups callbacks into commits: each is on the disk before it is answered, and a burst shares one commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ..errors import BroadcastError, LedgerUnavailable
from ..gateway.house import where
from ..gateway.receiving import Letter

log = logging.getLogger("broadcast")

GROUP_SECONDS = 0.02  # how long the first of a group waits for others; 50 ms is the promise
GROUP_SIZE = 500


class Letterbox:
    """One group at a time is committed in a thread; whoever comes meanwhile is in the next."""

    def __init__(self, keep: Callable[[Sequence[Letter]], None]) -> None:
        self._keep = keep
        self._waiting: list[tuple[Letter, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def post(self, letter: Letter) -> None:
        """Returns when the letter has been committed. Raises LedgerUnavailable when it could not be."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((letter, future))
        if self._task is None:
            self._task = asyncio.create_task(self._empty())
        await future

    async def _empty(self) -> None:
        await asyncio.sleep(GROUP_SECONDS)
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP_SIZE], self._waiting[GROUP_SIZE:]
            failure: BroadcastError | None = None
            try:
                await asyncio.to_thread(self._keep, [letter for letter, _ in group])
            except BroadcastError as error:
                failure = error
            except Exception as error:  # noqa: BLE001  an error of ours: this group is told, and the next one gets its chance
                log.error("%s callbacks could not be kept: %s", len(group), where(error))
                failure = LedgerUnavailable(f"an error of ours: {type(error).__name__}")
            for _, future in group:
                if not future.done():  # a caller that hung up has cancelled it
                    future.set_result(None) if failure is None else future.set_exception(failure)
        self._task = None
