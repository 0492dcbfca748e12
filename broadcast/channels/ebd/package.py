"""A packet's way through HTTP: files in a TAR, the TAR in a form; written exactly, read forgivingly, never on a disk."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .codes import UNPARSED
from .packet import NotTaken

MAX_BYTES = 4 << 20  # the largest report seen was 670 kB; a TAR is not compressed, so this bounds its content too
MAX_MEMBERS = 64
MAX_PARTS = 16

BLOCK = 512
TAR_TYPE = "application/x-tar"
_REGULAR = (b"0", b"\0", b"7")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a TAR, without its folder."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Document:
    """An EBDB file with the EBDS file that belongs to it, b"" when there is none."""

    name: str
    data: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def tar(ebdid: str, data: bytes, signature: bytes | None, at: datetime) -> bytes:
    """The TAR of one packet; the same arguments give the same bytes. EBDB first, EBDS second: other orders work by luck."""
    files = [(f"EBDB_{ebdid}.xml", data)]
    if signature is not None:
        files.append((f"EBDS_EBDB_{ebdid}.xml", signature))
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), int(at.timestamp()), 0o644
            archive.addfile(info, io.BytesIO(content))
    return written.getvalue()


def file_name(ebdid: str) -> str:
    return f"EBDT_{ebdid}.tar"


def form(ebdid: str, content: bytes, *, part_name: str, part_type: str) -> tuple[str, bytes]:
    """The request's Content-Type and body: one part, the boundary unquoted and last on its line, as receivers need it."""
    boundary = hashlib.sha256(content).hexdigest()[:32]  # of the content, so that a resend is the same to the byte
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{part_name}"; filename="{file_name(ebdid)}"\r\n'
        f"Content-Type: {part_type}\r\n\r\n"
    )
    return f"multipart/form-data; boundary={boundary}", head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def unpack(body: bytes, content_type: str = "") -> list[Document]:
    """The documents in a body: of the first part that is a TAR, or of a bare TAR. Raises NotTaken when there is none."""
    if len(body) > MAX_BYTES:
        raise NotTaken(UNPARSED, f"longer than {MAX_BYTES} bytes")
    for candidate in _candidates(body, content_type):
        if found := documents(files(candidate)):
            return found
    raise NotTaken(UNPARSED, "no TAR with an EBDB file")


def files(data: bytes) -> list[File]:
    """The plain files of a TAR up to its first zero, short or broken header. A last one without padding is whole too.

    Python's tarfile refuses archives that are in use: without end blocks, or with bytes behind them.
    """
    found: list[File] = []
    offset = 0
    while offset + BLOCK <= len(data) and len(found) < MAX_MEMBERS:
        header, start = data[offset : offset + BLOCK], offset + BLOCK
        size = _size(header)
        if size is None or start + size > len(data):
            break
        if name := _name(header):
            found.append(File(name, data[start : start + size]))
        offset = start + -(-size // BLOCK) * BLOCK
    return found


def documents(found: Sequence[File]) -> list[Document]:
    """The EBDB files (upper or lower case), each with its EBDS; when none bears that name, the XML that nothing else is."""
    named = [file for file in found if file.name.upper().startswith("EBDB")]
    others = [file for file in found if file.name.lower().endswith(".xml") and not file.name.upper().startswith("EBD")]
    return [Document(file.name, file.data, _signature(file, found)) for file in named or others[:1]]


def _signature(document: File, found: Sequence[File]) -> bytes:
    """By its name, else the first that is not another file's: senders write a wrong EBDID into the name."""
    signatures = [file for file in found if re.match(r"EBDS(?!_EBD[IR])", file.name, re.IGNORECASE)]
    own = f"EBDS_{document.name}".upper()
    return next((file.data for file in signatures if file.name.upper() == own), signatures[0].data if signatures else b"")


def _candidates(body: bytes, content_type: str) -> Iterator[bytes]:
    for boundary in _boundaries(body, content_type):
        for part in body.split(b"--" + boundary, MAX_PARTS)[1:]:
            yield re.split(rb"\r?\n\r?\n", part, maxsplit=1)[-1]  # behind the part's own headers
    yield body


def _boundaries(body: bytes, content_type: str) -> Iterator[bytes]:
    """As the header says it, quoted or not; then as the body's first line shows it. None for a bare TAR."""
    if match := re.search(r'boundary\s*=\s*(?:"([^"]+)"|([^\s;,"]+))', content_type, re.IGNORECASE):
        yield (match[1] or match[2]).encode("utf-8", "replace")
    if first := re.match(rb"\s*--([!-~]{1,200})\r?\n", body):
        yield first[1]


def _name(header: bytes) -> str:
    """The base name of a plain file; "" for folders, links, devices, extensions, and paths that lead upwards."""
    path = header[:100].partition(b"\0")[0].decode("utf-8", "replace").replace("\\", "/")
    if header[156:157] not in _REGULAR or ".." in path.split("/"):
        return ""
    return path.rpartition("/")[2]


def _size(header: bytes) -> int | None:
    """None for a header that is none: all zero, a wrong sum, a size that is not octal."""
    size, total = _octal(header[124:136]), _octal(header[148:156])
    blanked = header[:148] + b" " * 8 + header[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in blanked)  # as some old writers counted
    return size if total is not None and total in (sum(blanked), signed) else None


def _octal(field_bytes: bytes) -> int | None:
    digits = field_bytes.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]{1,12}", digits) else None
