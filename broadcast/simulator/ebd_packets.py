"""How an EBD packet travels: a TAR in a multipart POST, the answer's TAR as it is (GD/J 083-2018, 5 and annex A).

Strict: what any of the receivers that were measured in the field would not read is not read here.
"""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Member = tuple[str, bytes]

PRINTED_HEADERS = {"Accept": "text/plain, */*", "Accept-Language": "zh-cn", "User-Agent": "WinHttpClient"}  # 083 annex A
TAR_TYPE = "application/x-tar"
BLOCK = 512

_BOUNDARY = re.compile(r"[A-Za-z0-9'+_./=-]{1,70}")
_FILENAME = re.compile(r'filename="([^"\r\n]*)"')
_PACKAGE = re.compile(r"EBDT_([0-9]{41})\.tar")


class NotAnUpload(Exception):
    """The HTTP request is not one that such a receiver reads; the words say what it would do."""


class NotAPackage(Exception):
    """The TAR is not one that such a receiver reads."""


@dataclass(frozen=True, slots=True)
class Package:
    """The parts of a TAR by their roles."""

    ebdid: str  # of the file names
    business: bytes  # EBDB
    signature: bytes | None  # EBDS
    resources: Mapping[str, bytes]  # EBDR, by file name


def read_upload(headers: Mapping[str, str], body: bytes) -> tuple[str, bytes]:
    """The EBDID of the part's file name, and the TAR. Raises NotAnUpload."""
    if "transfer-encoding" in headers or "content-length" not in headers:
        raise NotAnUpload("reads Content-Length only: no chunks")  # Tuners, measured
    if headers["content-length"] != str(len(body)):
        raise NotAnUpload("Content-Length is not the length")
    kind, _, boundary = headers.get("content-type", "").partition(";")
    name, _, boundary = boundary.strip().partition("=")
    if kind.strip().lower() != "multipart/form-data" or name.lower() != "boundary":
        raise NotAnUpload("not multipart/form-data with its boundary directly after it")
    # Tuners takes what stands after the first "=": quotes or another parameter become part of the boundary.
    if not _BOUNDARY.fullmatch(boundary):
        raise NotAnUpload("the boundary stands without quotes, as the last thing of its line")
    return _read_part(body, boundary.encode("ascii"))


def read_package(ebdid: str, archive: bytes) -> Package:
    """The members of a TAR whose file name carries this EBDID. Raises NotAPackage."""
    members = unpack(archive)
    names = [name for name, _ in members]
    business, signature = f"EBDB_{ebdid}.xml", f"EBDS_EBDB_{ebdid}.xml"
    if not names or names[0] != business:
        raise NotAPackage(f"第一个文件不是 {business}")
    rest = members[2:] if names[1:2] == [signature] else members[1:]
    if not all(name.startswith("EBDR_") for name, _ in rest):
        # Comtom takes the last EBDS for THE signature and an EBDI for a programme.
        raise NotAPackage(f"第二个文件应为 {signature}，其后只接收 EBDR_ 文件")
    if len({name.rpartition(".")[0] for name in names}) < len(names):
        raise NotAPackage("文件名重复")  # 082, 7 j
    return Package(ebdid, members[0][1], members[1][1] if names[1:2] == [signature] else None, dict(rest))


def unpack(archive: bytes) -> list[Member]:
    """The members of a POSIX.1-2001 (ustar) archive in their order. Raises NotAPackage."""
    members: list[Member] = []
    at = 0
    while (header := archive[at : at + BLOCK]).strip(b"\0"):
        name, size = _read_header(header)
        data = archive[at + BLOCK : at + BLOCK + size]
        if len(data) < size:
            raise NotAPackage("TAR 不完整")
        members.append((name, data))
        at += BLOCK + -(-size // BLOCK) * BLOCK
    if len(header) < BLOCK:  # [L16 D]: at least one block of zeros at the end
        raise NotAPackage("TAR 缺少结束块")
    return members


def pack(members: Sequence[Member]) -> bytes:
    """A ustar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), int(time.time()), 0o644
            tar.addfile(info, io.BytesIO(data))
    return archive.getvalue()


def write_upload(ebdid: str, archive: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of a POST as the standard prints it."""
    boundary = f"------------------------{ebdid[-24:]}"
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="field1"; filename="EBDT_{ebdid}.tar"\r\n'
        f"Content-Type: {TAR_TYPE}\r\n\r\n"
    )
    body = head.encode() + archive + f"\r\n--{boundary}--\r\n".encode()
    return {**PRINTED_HEADERS, "Content-Type": f"multipart/form-data;boundary={boundary}"}, body


def _read_part(body: bytes, boundary: bytes) -> tuple[str, bytes]:
    opening, closing = b"--" + boundary + b"\r\n", b"\r\n--" + boundary + b"--"
    head, blank, rest = body.removeprefix(opening).partition(b"\r\n\r\n")
    archive, closed, epilogue = rest.rpartition(closing)
    if not (body.startswith(opening) and blank and closed) or epilogue not in (b"", b"\r\n"):
        raise NotAnUpload("the body is not one closed part")
    if b"\r\n" + opening in archive:
        raise NotAnUpload("more than one part: Comtom reads the first, Gospell the last")
    filename = _FILENAME.search(head.decode("utf-8", "replace"))
    package = _PACKAGE.fullmatch(filename[1]) if filename else None
    if package is None:
        raise NotAnUpload('a part without filename="EBDT_<41 digits>.tar"')
    return package[1], archive


def _read_header(header: bytes) -> tuple[str, int]:
    if len(header) < BLOCK or header[257:265] != b"ustar\x0000":
        raise NotAPackage("不是 ustar 格式")
    if _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        raise NotAPackage("TAR 校验和错误")
    if header[156:157] not in (b"0", b"\0"):
        raise NotAPackage("只接收普通文件")
    name = header[:100].rstrip(b"\0").decode("ascii", "replace")
    if header[345:500].strip(b"\0") or not re.fullmatch(r"EBD[BSRI]_[\w.-]+", name, re.ASCII):
        raise NotAPackage("文件名不规范，文件应在根目录")
    return name, _octal(header[124:136])


def _octal(digits: bytes) -> int:
    digits = digits.strip(b" \0")
    if not re.fullmatch(rb"[0-7]{1,12}", digits):
        raise NotAPackage("TAR 头错误")
    return int(digits, 8)
