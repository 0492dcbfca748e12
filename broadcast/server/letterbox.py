"""Groups callbacks into commits: each is on the disk before it is answered, and a burst shares one commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ..errors import BroadcastError, LedgerUnavailable
from ..gateway.house import where
from ..gateway.receiving import Letter
from .threads import Threads

log = logging.getLogger("broadcast")

GROUP_SECONDS = 0.02  # how long the first of a group waits for others; 50 ms is the promise
GROUP_SIZE = 500
GROUP_BYTES = 16 * 1024 * 1024  # of bodies: a group is sealed and committed as a whole

Waiting = tuple[Letter, asyncio.Future[None]]


class Letterbox:
    """One group at a time is committed in a thread; whoever comes meanwhile is in the next."""

    def __init__(self, keep: Callable[[Sequence[Letter]], None]) -> None:
        self._keep = keep
        self._thread = Threads("letterbox", 1)  # of its own: nothing else that waits may hold up a commit
        self._waiting: list[Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def post(self, letter: Letter) -> None:
        """Returns when the letter has been committed. Raises LedgerUnavailable when it could not be."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((letter, future))
        if self._task is None:
            self._task = asyncio.create_task(self._empty())
        await future

    async def _empty(self) -> None:
        try:
            await asyncio.sleep(GROUP_SECONDS)
            while group := self._next_group():
                failure = await self._commit([letter for letter, _ in group])
                for _, future in group:
                    if not future.done():  # a caller that hung up has cancelled it
                        future.set_result(None) if failure is None else future.set_exception(failure)
        finally:
            self._task = None

    async def _commit(self, letters: Sequence[Letter]) -> BroadcastError | None:
        """What went wrong, if anything: this group is told, and the next one gets its chance."""
        try:
            await self._thread.run(self._keep, letters)
        except BroadcastError as error:
            return error
        except Exception as error:  # noqa: BLE001  an error of ours
            log.error("%s callbacks could not be kept: %s", len(letters), where(error))
            return LedgerUnavailable(f"an error of ours: {type(error).__name__}")
        return None

    def _next_group(self) -> list[Waiting]:
        """The first that wait, without those whose caller has been told to come again."""
        waiting = [one for one in self._waiting if not one[1].done()]
        count, size = 0, 0
        for letter, _ in waiting[:GROUP_SIZE]:
            size += len(letter[3])
            if count and size > GROUP_BYTES:
                break
            count += 1
        self._waiting = waiting[count:]
        return waiting[:count]
