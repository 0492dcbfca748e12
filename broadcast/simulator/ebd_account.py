"""One county's emergency-broadcast platform as it was set up for one customer. Every value is made up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .ebd_signature import Signer, SignMode

CUSTOMER = Signer(
    certificate="000000000501",
    public_key=(
        "a7a400194f2d938aa74e55ce16d2d5e88bbafb71505acefd9ab4065fb2109929"
        "28f139334c3b9f4b26a4dd0340917149158af68b8a766048005d65834e91b0e8"
    ),
    private_key="5117a7ed" * 8,
)
PLATFORM = Signer(
    certificate="000000000502",
    public_key=(
        "90e1a22d8a50398570dc5f5b58d20fa6faf5a01040fc37a58f08ee9b119529cc"
        "394f5e6a19d88058738c0141efbf0ff1e73af80255519853ac2a77654ffbe2f5"
    ),
    private_key="ebd0c0de" * 8,
)


@dataclass(frozen=True, slots=True)
class EbdAccount:
    """What platform and customer agreed upon, and how this make of platform behaves."""

    ebrid: str = "43305210000000101010101"  # the platform's own
    customer: str = "43305210000000001010101"  # the EBRID that was registered for the customer
    county: str = "330521"  # areas elsewhere are left out
    url: str = ""  # SRC/URL in what the platform writes; "" = left out
    other_doors: str = "/ebd"  # besides /EB/ebdsvc.html: this path and all below it; "" = none
    sign_mode: SignMode = "A"  # of both directions; "none" = signatures are neither wanted nor written
    customer_signer: Signer = CUSTOMER  # its certificate and public key are looked at, nothing else
    platform_signer: Signer = PLATFORM
    sign_reports: bool = True
    # "new" stops what RelatedInfo names (Comtom); "original" stops what has the same EBMID and the same AreaCode, and
    # SPEAKS a cancel that matches nothing (Tuners, Jiangsu).
    cancel: Literal["new", "original"] = "new"
    report_seconds: float = 1.0  # from taking to the first report
    play_seconds: float = 0.0  # how long it is repeated; 0 = until EndTime
    again: tuple[float, ...] = (5.0, 15.0, 60.0, 300.0)  # ASSUMPTION: nothing says how often a report is repeated
    callback: str = field(
        default="", repr=False
    )  # where heartbeats and states of systems go; "" = the SRC/URL of the last packet
    loopback_only: bool = True  # reports go to this machine or nowhere
    heartbeat_seconds: float = 0.0  # 0 = none; 30 in Jiangsu's plan
    systems_seconds: float = 0.0  # how often the states of the village systems are reported; 0 = never
    villages: tuple[str, ...] = ()  # 12-digit codes of the village systems
    # What follows a village's code in the EBRID of its system: type 0314, first one, the system itself (080). A platform that
    # reports the terminals has 0314010401 here.
    system_code: str = "0314010101"
    seed: int = 0


def example_signers() -> tuple[Signer, Signer]:
    """The customer's and the platform's certificates and keys of the defaults, for an example configuration."""
    return CUSTOMER, PLATFORM
