"""Threads by story: who waits for a lock or a peer in one of them keeps nobody waiting in another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A few threads of one story's own; they are started when they are first needed."""

    def __init__(self, story: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=story)

    async def run(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """What the function returns or raises."""
        return await asyncio.wrap_future(self._pool.submit(function, *arguments, **options))
