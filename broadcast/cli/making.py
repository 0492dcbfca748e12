"""`broadcast init`: makes a home: settings, secrets, the county's files, the ledger. What exists is never overwritten."""

from __future__ import annotations

import base64
import csv
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..channels import CHANNELS
from ..errors import NotFound, Refused
from ..gateway import Gateway
from ..ledger import Seal, books
from ..resources import EXAMPLES
from ..settings import CONFIG, Settings, load, open_gateway
from ..simulator import example_signers
from ..tiers import roster as rosters
from ..tiers import synthetic
from ..tiers.roster import COLUMNS
from . import saying
from .county import put_roster
from .page import Doors, example_page, skeleton_page, stand_ins_page

WHO = "broadcast init"
WEBHOOKS = ("grid", "feed-city", "feed-anji", "feed-changxing")
OPERATORS = (
    ("测试值班领导", "DUTY_LEADER"),  # first: only such a one may add others
    ("测试值班员", "DUTY_OFFICER"),
    ("测试值班长", "SHIFT_LEAD"),
    ("测试新闻中心", "NEWS_CENTRE"),
)
_FIRST_PORT, _LAST_PORT = 8141, 8199
_PRIVATE, _PLAIN = 0o600, 0o644


class Size(StrEnum):
    """Of the synthetic roster."""

    S = "S"
    M = "M"
    L = "L"
    XL = "XL"


@dataclass(slots=True)
class Site:
    """A home in the making: what was made, and what was here already and stays as it is."""

    home: Path
    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def write(self, name: str, text: str, mode: int = _PLAIN) -> None:
        """A new file, or the one that is there."""
        path = self.home / name
        if not self._is_new(name, path.exists()):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)

    def do(self, name: str, exists: bool, work: Callable[[], object]) -> None:
        """A step that is done once."""
        if self._is_new(name, exists):
            work()

    def _is_new(self, name: str, exists: bool) -> bool:
        (self.kept if exists else self.made).append(name)
        return not exists


def init(
    ctx: typer.Context,
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="Where; default: --home, else here.")] = None,
    example: Annotated[
        str, typer.Option("--example", metavar="NAME", help="Make a county that can be tried at once: --example deqing.")
    ] = "",
    size: Annotated[
        Size,
        typer.Option("--size", help="Of the example's roster: S one town, M no grids, L about 8,200 persons, XL every resident."),
    ] = Size.M,
    seed: Annotated[int, typer.Option("--seed", help="Another number makes another roster of the same size, e.g. 7.")] = 1,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65533, help="The server's; the stand-ins take the next two. 0: free ones from 8141."),
    ] = 0,
) -> None:
    """Makes a home: settings, files and ledger in one folder.

    Overwrites nothing. Without --example it writes a skeleton to be filled in. Interrupted, it goes on where it stopped when
    it is run again.

    \b
    broadcast init county --example deqing --size L
    broadcast --home county up
    """
    home = (folder or ctx.find_root().obj or Path()).resolve()
    site = Site(home)
    home.mkdir(parents=True, exist_ok=True)
    if example:
        _make_example(site, example, size, seed, port or _free_port())
    else:
        _make_skeleton(site, port or _free_port())


# --- the example


def _make_example(site: Site, example: str, size: Size, seed: int, port: int) -> None:
    origin = EXAMPLES / example
    if example not in _examples():
        raise NotFound(f"no example {example!r}; there are: {', '.join(_examples())}")
    if (site.home / CONFIG).exists() and not (site.home / "simulator.toml").exists():
        raise Refused(f"{site.home} is the home of another county: give the example a folder of its own")
    for path in _files_of(origin):
        site.write(str(path.relative_to(origin)), path.read_text(encoding="utf-8"))
    _write_ways(site, Doors(port))
    pins = _fill(site, size, seed)
    _refuse_if_complete(site)
    _say_made(site)
    for name, role, pin in pins:
        saying.say(f"operator {name}  {role}  PIN {pin}")
    if pins:
        saying.say(f"the PINs are not shown again; they are in {site.home / 'operators.txt'}")
    warning, token = site.home / "warnings" / "1-rainstorm-yellow.xml", site.home / "deqing-met.token"
    _say_next(site, ("simulate", "up", f"send {warning} --source deqing-met --token-file {token} --restamp"))


def _write_ways(site: Site, doors: Doors) -> None:
    """The secrets that both sides know, the stand-ins' file, and last broadcast.toml: a folder without it is no home yet."""
    customer, platform = example_signers()
    fresh = {name: secrets.token_urlsafe(24) for name in ("mas", "vms", "zwdd", "callback")}
    fresh |= {name: f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}" for name in WEBHOOKS}
    fresh |= {"smpp": secrets.token_urlsafe(6)}  # a password of SMPP has at most eight characters
    for name, value in fresh.items():
        site.write(f"{name}.secret", value + "\n", _PRIVATE)
    for name in ("deqing-met.token", "deqing-water.token"):
        site.write(name, secrets.token_urlsafe(24) + "\n", _PRIVATE)
    site.write("ebd.key", customer.private_key + "\n", _PRIVATE)
    kept = {path.name: path.read_text(encoding="utf-8").strip() for path in site.home.glob("*.secret")}
    regions = (site.home / "regions" / "regions.csv").read_text(encoding="utf-8-sig")
    villages = [row["code"] for row in csv.DictReader(regions.splitlines()) if len(row["code"]) == 12]
    site.write("simulator.toml", stand_ins_page(doors, kept, villages), _PRIVATE)
    site.write(CONFIG, example_page(doors, cert=customer.certificate, platform_key=platform.public_key))


def _examples() -> list[str]:
    return sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


def _files_of(origin: Path) -> list[Path]:
    return sorted(path for path in origin.rglob("*") if path.is_file() and path.suffix in (".toml", ".csv", ".geojson", ".xml"))


def _fill(site: Site, size: Size, seed: int) -> Sequence[tuple[str, str, str]]:
    """The ledger of the example: regions, plans, roster, operators. Returns the operators that are new."""
    settings = _seal(site)
    gateway = open_gateway(settings)
    try:
        gateway.ledger.migrate()
        in_force = _in_force(gateway)
        regions, roles, plans = settings.read_regions(), settings.read_roles(), settings.read_plans()
        drawn = (site.home / "roster").exists()
        site.do("regions in the ledger", "regions" in in_force, lambda: gateway.import_regions(regions, roles, WHO))
        site.do("plans in the ledger", "plans" in in_force, lambda: gateway.import_plans(plans, WHO))
        site.do("roster", drawn, lambda: _draw_roster(site, gateway, regions, size, seed))
        site.do("roster in the ledger", bool(gateway.roster().persons), lambda: _put_roster(site, gateway))
        return _add_operators(site, gateway)
    finally:
        gateway.close()


def _seal(site: Site) -> Settings:
    """The settings, with a seal key made if this is a new ledger."""
    settings = load(site.home)
    key = settings.seal_key_file
    if not key.exists() and (site.home / "ledger.db").exists():
        raise Refused(f"{site.home / 'ledger.db'} is here, its seal key {key} is not: restore the key, a new one opens nothing")
    site.do("seal key", key.exists(), lambda: Seal.make(key))
    return settings


def _in_force(gateway: Gateway) -> set[str]:
    with gateway.ledger.read() as tx:
        return set(books.newest(tx))


def _draw_roster(site: Site, gateway: Gateway, regions: Mapping[str, str], size: Size, seed: int) -> None:
    saying.note(f"drawing a roster of size {size} …")
    unfinished = site.home / "roster.unfinished"
    synthetic.write(unfinished, gateway.house.books.regions, regions["population.csv"], size.value, seed)
    unfinished.rename(site.home / "roster")  # whole or not at all, should we be interrupted


def _put_roster(site: Site, gateway: Gateway) -> None:
    put_roster(gateway, rosters.read(site.home / "roster", gateway.house.books.regions, gateway.house.books.roles), WHO)


def _add_operators(site: Site, gateway: Gateway) -> Sequence[tuple[str, str, str]]:
    """Random PINs, shown once and kept in a file that only its owner reads. The file comes first: no PIN may be lost."""
    path = site.home / "operators.txt"
    kept = {name: pin for name, _role, pin in _read_pins(path)}
    fresh = [(name, role, f"{secrets.randbelow(1_000_000):06d}") for name, role in OPERATORS if name not in kept]
    site.do("operators", not fresh, lambda: _append_pins(path, fresh))
    pins = kept | {name: pin for name, _role, pin in fresh}
    known = {one["name"] for one in gateway.operators()}
    for name, role in OPERATORS:
        if name not in known:
            leader = gateway.authenticate(OPERATORS[0][0], pins[OPERATORS[0][0]]) if known else None
            gateway.add_operator(name, [role], pins[name], leader)
            known.add(name)
    return fresh


def _read_pins(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _append_pins(path: Path, pins: Sequence[tuple[str, str, str]]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{name}\t{role}\t{pin}\n" for name, role, pin in pins)


# --- the skeleton


def _make_skeleton(site: Site, port: int) -> None:
    origin = EXAMPLES / "deqing"  # its plans and roles follow the province's rules: a county starts from them
    site.write("callback.secret", secrets.token_urlsafe(24) + "\n", _PRIVATE)
    site.write("roles.csv", (origin / "roles.csv").read_text(encoding="utf-8"))
    for path in sorted((origin / "plans").glob("*.toml")):
        site.write(f"plans/{path.name}", path.read_text(encoding="utf-8"))
    site.write("spotcheck.toml", (origin / "spotcheck.toml").read_text(encoding="utf-8"))
    site.write("regions/README.md", (origin / "regions" / "README.md").read_text(encoding="utf-8"))
    for name, columns in COLUMNS.items():
        site.write(f"roster/{name}", ",".join(columns) + "\n", _PRIVATE)  # will hold phone numbers
    site.write(CONFIG, skeleton_page(port))
    gateway = open_gateway(_seal(site))
    gateway.ledger.migrate()
    gateway.close()
    _refuse_if_complete(site)
    _say_made(site)
    saying.say(f"edit {site.home / CONFIG}: the county's name, its sources, its ways out ({', '.join(CHANNELS)})")
    saying.say(f"put the county's regions into {site.home / 'regions'} (README.md there says how), its people into roster/")
    _say_next(
        site,
        ("regions import", "operator add NAME --role DUTY_LEADER", "plan import", "roster import", "up", "health"),
    )


# --- both


def _refuse_if_complete(site: Site) -> None:
    if not site.made:
        raise Refused(f"{site.home} is a complete home already: nothing was changed; give another folder")


def _say_made(site: Site) -> None:
    if site.kept:
        saying.note(f"was here already and stays as it is: {', '.join(site.kept)}")
    saying.say(f"a home in {site.home}")


def _say_next(site: Site, commands: Sequence[str]) -> None:
    saying.say("next, each in a terminal of its own where it does not end by itself:")
    for command in commands:
        saying.say(f"  broadcast --home {site.home} {command}")


def _free_port() -> int:
    """The first three neighbours that are free: the server's port and the stand-ins'."""
    for port in range(_FIRST_PORT, _LAST_PORT, 3):
        if all(_is_free(port + n) for n in range(3)):
            return port
    raise Refused(f"no three free ports in a row between {_FIRST_PORT} and {_LAST_PORT}: give one with --port")


def _is_free(port: int) -> bool:
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
