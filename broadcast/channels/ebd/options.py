"""What a `[[peer]]` with protocol "ebd" may say."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    HttpUrl,
    SecretStr,
    StringConstraints,
    model_validator,
)

from . import signature
from .codes import PROFILES
from .text import clean

MAX_TEXT = 2000  # characters; ASSUMPTION: no source names a limit. Spoken, this is eight minutes

_HEX_64 = re.compile(r"[0-9A-Fa-f]{64}")
_HEX_128 = re.compile(r"[0-9A-Fa-f]{128}")


def _plain(text: str) -> str:
    if not text or clean(text) != text:
        raise ValueError("""one line, and no " ' or \\ in it: there are receivers that break on them""")
    return text


def _plain_url(url: HttpUrl) -> HttpUrl:
    _plain(str(url))
    return url


def _private_key(secret: SecretStr) -> SecretStr:
    key = secret.get_secret_value().strip()
    if not (_HEX_64.fullmatch(key) and signature.is_private_key(key)):
        raise ValueError("an SM2 private key is 64 hexadecimal digits")
    return SecretStr(key.lower())


def _public_key(key: str) -> str:
    if not (_HEX_128.fullmatch(key) and signature.on_curve(key)):
        raise ValueError("an SM2 public key is the 128 hexadecimal digits of a point of the curve, without 04 before them")
    return key.lower()


Ebrid = Annotated[str, StringConstraints(pattern=r"^(?:[0-9]{18}|[0-9]{23})$")]
EventCode = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{1,20}$")]
PublicKey = Annotated[str, AfterValidator(_public_key)]


class EbdOptions(BaseModel):
    """One county platform, as it registered us: url, EBRIDs and keys are the county's to assign, so none has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: HttpUrl  # where the platform accepts packets, path and port with it
    ebrid: Ebrid  # ours
    peer_ebrid: Ebrid
    reply_url: Annotated[HttpUrl, AfterValidator(_plain_url)] = Field(repr=False)  # our address for reports: SRC/URL of packets
    sender_name: Annotated[str, StringConstraints(max_length=100), AfterValidator(_plain)]  # full name of the issuing unit
    profile: Literal["gdj2018", "linkage2016"] = "gdj2018"
    namespace: bool = True  # xmlns:xs at the root; off for receivers that drop a packet with it (Tuners, Yunnan's build)
    cancel_ebmid: Literal["new", "original"] = "new"  # "original" for Tuners-type receivers, which ignore RelatedInfo
    sign_mode: Literal["A", "B", "none"] = "A"  # A: what the common devices do; see signature.py
    private_key: Annotated[SecretStr, AfterValidator(_private_key)] | None = None
    cert_sn: Annotated[str, StringConstraints(pattern=r"^(?:(?:0000)?[0-9A-Fa-f]{12})?$")] = ""  # 6 bytes, as on our certificate
    issuer_id: Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{0,32}$")] = ""  # linkage2016; ASSUMPTION: may be empty
    verify: Literal["require", "warn", "off"] = "warn"  # what comes in, heartbeats never
    peer_public_keys: tuple[PublicKey, ...] = Field((), max_length=16)
    event_codes: dict[str, EventCode] = Field(default_factory=dict)  # national code → theirs (11B03 → 10203); else unchanged
    on_air_minutes: int = Field(60, ge=1, le=1440)  # ASSUMPTION: an hour, or less where the alert expires before
    part_name: Literal["file", "field1"] = "file"  # field1 is printed in the standard, file is what is sent
    part_type: Literal["application/x-tar", "application/octet-stream"] = "application/x-tar"
    ca_file: FilePath | None = None  # PEM; for a platform whose certificate a private CA signed
    per_call: int = Field(200, ge=1, le=1000)
    text_limit: int = Field(240, ge=1, le=MAX_TEXT)  # about a minute of speech
    collect_seconds: int = Field(30, ge=0, le=3600)  # heartbeats: 30 s in Jiangsu's test plan; 0 = none
    doubt_seconds: int = Field(180, ge=1, le=86_400)
    connect_seconds: float = Field(5.0, gt=0, le=60)
    read_seconds: float = Field(20.0, gt=0, le=60)  # a county platform must answer within 10 (089), in practice 20

    @model_validator(mode="after")
    def _fits(self) -> Self:
        digits = PROFILES[self.profile].ebrid_digits
        if {len(self.ebrid), len(self.peer_ebrid)} != {digits}:
            raise ValueError(f"ebrid and peer_ebrid have {digits} digits in profile {self.profile}")
        if self.sign_mode != "none" and not (self.private_key and self.cert_sn):
            raise ValueError("private_key and cert_sn are needed to sign; sign_mode = 'none' where the county wants no signature")
        if self.verify == "require" and not self.peer_public_keys:
            raise ValueError("verify = 'require' needs peer_public_keys, else nothing would ever be taken")
        return self
