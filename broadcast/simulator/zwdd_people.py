"""The people of the stand-in of 浙政钉: which accounts there are, whose mobile leads to which, who reads and who confirms."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from .faults import Faults


@dataclass(frozen=True, slots=True)
class ZwddAccount:
    """One application, and how the people behave who receive from it. The defaults are made up."""

    app_key: str = "simulated-app"
    app_secret: str = field(default="simulated-secret", repr=False)
    tenant_id: str = "196729"
    # ASSUMPTION: access_token is a parameter like the others (and signed like them). The public clients send none to these
    # doors, so it may be missing unless this says otherwise; one that is there must be valid.
    token_required: bool = False
    read_share: float = 0.9  # of the receivers of a DING
    ding_confirm_share: float = 0.4  # press the DING's own button
    confirm_share: float = 0.6  # open the link in the text and confirm there
    seconds: float = 60.0  # on average until somebody reads; until he confirms, as long again
    silent_ending: str = ""  # accounts with this ending never read
    confirm_ending: str = ""  # accounts with this ending confirm by button and by link
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """When a receiver of a DING does what, in seconds of the provider's; None = never."""

    account: str
    reads: float | None
    presses: float | None  # the DING's own button
    taps: float | None  # the page behind the link


def behave(account: str, number: int, now: float, settings: ZwddAccount, faults: Faults) -> Person:
    """What somebody does about a DING that came `now`. Depends on the seed, the account and the DING's number."""
    chance = random.Random(f"{settings.seed}:{account}:{number}")  # noqa: S311 - who reads is no secret
    always = bool(settings.confirm_ending) and account.endswith(settings.confirm_ending)
    never = bool(settings.silent_ending) and account.endswith(settings.silent_ending)
    reads = now + chance.uniform(0, 2 * settings.seconds)
    confirms = reads + chance.uniform(0, 2 * settings.seconds)
    fails, unread, presses, taps = (chance.random() for _ in range(4))
    if never or faults.no_reports or faults.delivers_nothing or fails < faults.fail_share:
        return Person(account, None, None, None)
    if not always and unread >= settings.read_share:
        return Person(account, None, None, None)
    return Person(
        account,
        reads,
        confirms if always or presses < settings.ding_confirm_share else None,
        confirms if always or taps < settings.confirm_share else None,
    )


def number_of(account: str) -> int | str:
    """Real accounts are numbers."""
    return int(account) if account.isdigit() else account


def state_of(person: Person, now: float) -> dict[str, bool]:
    """What the read detail says of somebody `now`."""
    reads, presses = (at is not None and at <= now for at in (person.reads, person.presses))
    return {"read": reads, "confirmed": presses}


def is_known(account: str) -> bool:
    """An account that this stand-in has: made up ones, and any number (a Java long has 19 digits)."""
    return account.startswith("sim:zwdd:") or (account.isascii() and account.isdigit() and len(account) <= 19)


def account_of(mobile: str) -> int:
    """The made-up account of the person with this mobile."""
    return int(f"7{mobile[1:]}")


def code_of(mobile: str) -> str:
    """The made-up employee code of the person with this mobile."""
    return f"GE_{int(mobile):032x}"


def mobile_of(code: str) -> str:
    """Whose employee code this is; "" = nobody's."""
    try:
        mobile = str(int(code.removeprefix("GE_"), 16))
    except ValueError:
        return ""
    return mobile if _is_test_number(mobile) and code_of(mobile) == code else ""


def _is_test_number(mobile: str) -> bool:
    """Only numbers that no carrier has given out to a person."""
    return mobile.isascii() and mobile.isdigit() and len(mobile) == 11 and mobile.startswith(("154", "194"))


def employees(mobiles: Sequence[str]) -> list[dict[str, object]]:
    """What the directory says of those whom it knows."""
    return [
        {"accountId": account_of(mobile), "mobile": mobile, "employeeCode": code_of(mobile), "status": 0}
        for mobile in mobiles
        if _is_test_number(mobile)
    ]


def masked(account: str) -> str:
    """Fit to be shown."""
    return f"{account.removeprefix('sim:zwdd:')[:1]}**"
