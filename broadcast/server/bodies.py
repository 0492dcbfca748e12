"""A request's body, read as far as its cap and no further."""

from __future__ import annotations

from starlette.requests import Request


async def read_body(request: Request, cap: int) -> bytes | None:
    """The body, or None when it has more than `cap` bytes: then it is not read to its end. Raises ClientDisconnect."""
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdecimal() and int(said[:20]) > cap:
        return None
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > cap:
            return None
        parts.append(part)
    return b"".join(parts)
