"""How the stand-ins run: which providers, with which accounts, where, how fast. Also as a TOML file with a table for each."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from .ebd_account import EbdAccount
from .faults import Faults
from .feed import FeedAccount
from .grid import GridAccount
from .mas_rules import Account
from .smpp import SmppAccount
from .vms import VmsAccount
from .zwdd import ZwddAccount


@dataclass(frozen=True, slots=True)
class Config:
    """A provider is there when it has an account. All listen on loopback only: nobody else has business here."""

    port: int = 0  # of all HTTP doors; 0 = a free one
    callback: str = field(default="", repr=False)  # where 云MAS pushes; "" = its reports wait for /sms/report
    account: Account | None = field(default_factory=Account)  # of 云MAS
    smpp: SmppAccount | None = None  # listens on a port of its own
    vms: VmsAccount | None = None
    zwdd: ZwddAccount | None = None
    grid: GridAccount | None = None
    feed: FeedAccount | None = None
    ebd: EbdAccount | None = None
    faults: Faults = field(default_factory=Faults)  # of every provider, at the start
    report_delay_ms: int = 200  # of 云MAS's time, from taking to the report
    pushers: int = 4  # connections of each provider that push
    speed: float = 1.0  # how much faster than life the providers' waits and limits run
    certificate: Path | None = None  # PEM with key: HTTPS
    show: bool = False  # prints what a villager or an official would see or hear, a line each

    def __post_init__(self) -> None:
        if self.speed <= 0 or self.pushers < 1 or self.report_delay_ms < 0:
            raise ValueError("speed is above 0, pushers 1 or more, report_delay_ms 0 or more")


ACCOUNTS: dict[str, type] = {
    "mas": Account,
    "smpp": SmppAccount,
    "vms": VmsAccount,
    "zwdd": ZwddAccount,
    "grid": GridAccount,
    "feed": FeedAccount,
    "ebd": EbdAccount,
}
ABOVE = ("port", "pushers", "speed", "certificate", "show")  # fields of Config that stand above the tables
BESIDE = ("callback", "report_delay_ms")  # fields of Config that stand in 云MAS's table, beside its account


def everybody() -> Config:
    """All providers, with made-up accounts."""
    return read_config({name: {} for name in ACCOUNTS})


def read_file(path: Path) -> Config:
    """A TOML file: a table for each provider that is to be there. ValueError names the key that is wrong."""
    return read_config(tomllib.loads(path.read_text("utf-8")), path.parent)


def read_config(found: Mapping[str, Any], folder: Path = Path()) -> Config:
    """As `read_file`, from what TOML says. A key NAME_file names a file in `folder` that holds the value of NAME."""
    _check_keys(found, (*ABOVE, *ACCOUNTS), "")
    tables = {name: _table(name, found[name], folder) for name in ACCOUNTS if name in found}
    mas = tables.get("mas", {})
    values = {key: found[key] for key in ABOVE if key in found} | {key: mas.pop(key) for key in BESIDE if key in mas}
    accounts = {"account": None} | {
        "account" if name == "mas" else name: _read(ACCOUNTS[name], table, f"{name}.") for name, table in tables.items()
    }
    host = _read(Config, values, "")
    return cast("Config", replace(host, **accounts))


def _table(name: str, table: object, folder: Path) -> dict[str, object]:
    if not isinstance(table, dict):
        raise ValueError(f"{name} is a table: write [{name}]")  # noqa: TRY004 - one kind of error for one kind of mistake
    known = [each.name for each in fields(ACCOUNTS[name])] + list(BESIDE if name == "mas" else ())
    values: dict[str, object] = {}
    for key, value in table.items():
        kept = key.removesuffix("_file")
        if key not in known and kept in known:
            values[kept] = (folder / str(value)).read_text("utf-8").strip()
        else:
            values[key] = value
    _check_keys(values, known, f"{name}.")
    return values


def _check_keys(found: Iterable[str], known: Sequence[str], where: str) -> None:
    if unknown := sorted(set(found) - set(known)):
        raise ValueError(f"no such key: {', '.join(f'{where}{key}' for key in unknown)}; there are {', '.join(known)}")


def _read(kind: type, values: Mapping[str, object], where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        # Without the values: an account holds secrets.
        said = [f"{where}{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)]
        raise ValueError("; ".join(said)) from None
