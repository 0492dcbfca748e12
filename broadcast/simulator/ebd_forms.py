"""What an EBD document must be: the tables of GD/J 082 and 083-2018, as strictly as the strictest receiver reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from .ebd_packets import Package
from .forms import Form, FormError, check, read_form, read_xml, text

XS = "http://www.w3.org/2001/XMLSchema"

# The numbers of 083 t.33.
UNREADABLE, INCOMPLETE, BADLY_SIGNED, OTHER_ERROR = 2, 3, 4, 5

_ENVELOPE = (
    "EBD!( EBDVersion! EBDID! EBDType! SRC!( EBRID! URL? ) DEST?( EBRID! ) EBDTime! RelatedEBD?( EBDID! )"  # 082 t.1, 083 t.4
)
_KNOWN = {
    # 082 t.2-5. One MsgContent and no EBRRTS: Comtom refuses a packet with more.
    "EBM": """
        EBM!(
          EBMVersion! EBMID! RelatedInfo?( EBIID? EBMID? )
          MsgBasicInfo!( MsgType! SenderName! SenderCode! SendTime! EventType! Severity! StartTime! EndTime! )
          MsgContent!( LanguageCode! MsgTitle! MsgDesc! AreaCode! ProgramNum?
                       Auxiliary*( AuxiliaryType! AuxiliaryDesc! Size? Digest? ) )
          Dispatch*( LanguageCode! EBRPS?( EBRID! ) EBRAS?( EBRID! ) EBRBS*( BrdSysType? BrdSysInfo? ) )
        )""",
    "EBMStateRequest": "EBMStateRequest!( EBM!( EBMID! ) )",  # 083 fig. 7
    "ConnectionCheck": "ConnectionCheck!( RptTime! )",  # 083 t.31
    "EBDResponse": "EBDResponse!( ResultCode! ResultDesc! )",  # 083 t.33
}
_REPORTS = ("EBMStateResponse", "EBMBrdLog", "EBRPSInfo", "EBRSTInfo", "EBRASInfo", "EBRBSInfo", "EBRDTInfo")
_STATES = ("EBRPSState", "EBRASState", "EBRBSState", "EBRDTState")
FORMS: dict[str, Form] = {
    **{kind: read_form(f"{_ENVELOPE} {table} )") for kind, table in _KNOWN.items()},
    **{kind: read_form(f"{_ENVELOPE} {kind}& )") for kind in ("OMDRequest", "EBDNotify", *_REPORTS, *_STATES)},
}


def _is_time(words: str) -> bool:
    try:
        datetime.strptime(words, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - local time without a zone, as 082 has it
    except ValueError:
        return False
    return len(words) == 19  # strptime takes one digit for two


def _is_url(words: str) -> bool:
    try:
        parts = urlsplit(words)
        return bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", words))
    except ValueError:  # a port or an address in brackets that is none
        return False


def _like(pattern: str) -> Any:
    return re.compile(pattern, re.ASCII).fullmatch


KINDS = {
    "": lambda words: words.strip(),  # an empty element is refused, an optional one too (Comtom)
    **dict.fromkeys(("EBDTime", "SendTime", "StartTime", "EndTime", "RptTime"), _is_time),
    "EBDVersion": _like(r"1(\.0)?"),
    "EBDID": _like(r"(01|10)[0-9]{39}"),
    "EBRID": _like(r"[1-6][0-9]{22}"),
    "URL": _is_url,
    "EBMVersion": _like(r"1(\.0+)?"),
    "EBMID": _like(r"[1-6][0-9]{34}"),
    "MsgType": _like(r"[1-5]"),
    "EventType": _like(r"[0-9A-Z]{5}"),
    "Severity": _like(r"[0-4]|15"),
    "LanguageCode": _like(r"[a-z]{3}"),
    "AreaCode": _like(r"[0-9]{12}(,[0-9]{12})*"),
    "ProgramNum": _like(r"[0-9]+"),
    "AuxiliaryType": _like(r"1|2|3|4|41|42|43|61"),
    "Size": _like(r"[0-9]{1,9}"),
    "Digest": _like(r"[0-9A-Fa-f]{64}"),
    "ResultCode": _like(r"[0-5]"),
}

_WORDS = {
    "missing": "缺少",
    "repeated": "重复",
    "unknown": "含有未知或顺序不符的元素",
    "text": "内容为空或格式不符",
    "xml": "XML 不规范",
}


class Refusal(Exception):
    """The packet is answered with this result and not processed any further."""

    def __init__(self, code: int, words: str) -> None:
        self.code, self.words = code, words
        super().__init__(f"{code} {words}")


@dataclass(frozen=True, slots=True)
class Packet:
    """One EBD that has the right form."""

    package: Package
    root: Any
    kind: str  # EBDType

    @property
    def ebdid(self) -> str:
        """The packet's own number."""
        return self.package.ebdid

    def text(self, path: str) -> str:
        """The text at this path below EBD, "" when it is not there."""
        return text(self.root, path)


def read_document(package: Package) -> Packet:
    """The packet that this package holds. Raises Refusal 2 for what cannot be parsed, 3 for what is not complete."""
    try:
        root = read_xml(package.business)
    except FormError as error:
        raise Refusal(UNREADABLE, f"{error.where} {_WORDS[error.what]}") from None
    # Every Tuners build but one drops a message whose root does not declare xs.
    if root.tag != "EBD" or root.nsmap != {"xs": XS}:
        raise Refusal(UNREADABLE, f'根元素不是 <EBD xmlns:xs="{XS}">')
    kind = text(root, "EBDType")
    if kind not in FORMS:
        raise Refusal(INCOMPLETE, "该接口暂不支持")
    try:
        check(root, FORMS[kind], KINDS)
    except FormError as error:
        raise Refusal(INCOMPLETE, f"{error.where} {_WORDS[error.what]}") from None
    _check_numbers(Packet(package, root, kind))
    return Packet(package, root, kind)


def check_message(packet: Packet) -> None:
    """What an EBM must be beyond its table. Raises Refusal."""
    info, content = "EBM/MsgBasicInfo", "EBM/MsgContent"
    if packet.text(f"{info}/MsgType") not in ("1", "2"):
        raise Refusal(INCOMPLETE, "不支持演练类 MsgType")
    ebmid = packet.text("EBM/EBMID")
    if not ebmid.startswith(packet.text("SRC/EBRID")) or not _is_time(f"{ebmid[23:27]}-{ebmid[27:29]}-{ebmid[29:31]} 00:00:00"):
        raise Refusal(OTHER_ERROR, "EBMID 应为来源平台编码加日期加序号")
    if packet.text(f"{info}/EndTime") <= packet.text(f"{info}/StartTime"):
        raise Refusal(OTHER_ERROR, "EndTime 不晚于 StartTime")
    areas = packet.text(f"{content}/AreaCode").split(",")
    if len(set(areas)) < len(areas):
        raise Refusal(OTHER_ERROR, "AreaCode 重复")
    for auxiliary in packet.root.iterfind(f"{content}/Auxiliary"):
        _check_resource(packet, text(auxiliary, "AuxiliaryType"), text(auxiliary, "AuxiliaryDesc"), text(auxiliary, "Size"))


def check_words(packet: Packet) -> None:
    """Raises Refusal for characters on which receivers break: Gospell on two of them, Tuners' SQL on the apostrophe."""
    for node in packet.root.iter():
        if not len(node) and re.search(r"[\"'\\]", node.text or ""):
            raise Refusal(OTHER_ERROR, f"{node.tag} 含有半角引号、撇号或反斜杠，无法入库")


def _check_numbers(packet: Packet) -> None:
    """The packet's number agrees with the file's, says who sent it, and is of its kind (082 t.1)."""
    ebdid, source = packet.text("EBDID"), packet.text("SRC/EBRID")
    if ebdid != packet.ebdid:
        raise Refusal(OTHER_ERROR, "EBDID 与文件名不符")
    if ebdid[2:25] != source:
        raise Refusal(OTHER_ERROR, "EBDID 与 SRC/EBRID 不符")
    beat = packet.kind == "ConnectionCheck"
    if (ebdid[:2] == "01") != beat or (beat and int(ebdid[25:]) != 0):
        raise Refusal(OTHER_ERROR, "EBDID 的类型码或序号与 EBDType 不符")


def _check_resource(packet: Packet, kind: str, name: str, size: str) -> None:
    if kind == "61":  # a stream: its address
        return
    if name not in packet.package.resources:
        raise Refusal(INCOMPLETE, "Auxiliary 所指文件不在包内")
    if size and int(size) != len(packet.package.resources[name]):
        raise Refusal(OTHER_ERROR, "Auxiliary 的 Size 不符")
