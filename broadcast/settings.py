"""From the environment and broadcast.toml to a Gateway. The only reader of the environment."""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from . import process, queue
from .channels import Peer, open_peer
from .errors import InvalidFiles, NotFound, Problem
from .gateway import CountySettings, Folder, Gateway, House, Mail, Source, WayOut, open_ways
from .ledger import Ledger, Seal, retention
from .rate import RateLimiter
from .resources import TEMPLATES
from .tiers.regions import CodeSystem

if TYPE_CHECKING:
    from dramatiq import Broker

CONFIG = "broadcast.toml"


class Environment(BaseSettings):
    """What the environment may say. Every name begins with BROADCAST_."""

    model_config = SettingsConfigDict(env_prefix="BROADCAST_", extra="ignore")

    home: Path = Path()  # the folder with broadcast.toml
    database_url: SecretStr | None = None  # default: SQLite in home/ledger.db
    redis_url: SecretStr | None = None  # default: the embedded Valkey of this home, if `up` runs
    seal_key_file: Path | None = None  # default: home/seal.key; keep it apart from the database's backups
    threads: int = Field(default=0, ge=0)  # a worker process's threads; set by `broadcast worker`
    pin: SecretStr | None = None  # of the operator who acts; asked for otherwise
    new_pin: SecretStr | None = None  # for `broadcast operator add`


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _County(_Table):
    name: str = Field(min_length=1)
    signature: str = Field(min_length=2, max_length=16)
    public_drills: bool = False
    plans: Path = Path("plans")
    regions: Path = Path("regions")
    roles: Path = Path("roles.csv")
    templates: Path | None = None


class _Source(_Table):
    name: str = Field(min_length=1)
    sender_codes: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    code_system: CodeSystem | None = None
    token: str = ""
    scopes: tuple[Literal["submit", "read"], ...] = ("submit", "read")


class _Peer(_Table):
    name: str = Field(min_length=1)
    channel: str
    protocol: str
    simulated: bool
    concurrency: int = Field(default=4, ge=1, le=1000)
    rate: float = Field(default=0.0, ge=0)
    options: dict[str, Any] = Field(default_factory=dict)


class _Server(_Table):
    host: str = "127.0.0.1"
    public_url: str = Field(default="", pattern=r"^(https?://\S+)?$")  # where persons reach the confirmation page
    port: int = Field(default=8141, ge=1, le=65535)
    callback_url: str = Field(default="", pattern=r"^(https?://\S+)?$")  # where providers reach us; "" = http://host:port
    callbacks: dict[str, str] = Field(default_factory=dict)  # peer → secret path segment
    allow: tuple[IPvAnyNetwork, ...] = ()  # addresses or networks that may call back; () = any (the path is secret)


class _Anchor(_Table):
    """Where anchors of the ledger are kept outside this host."""

    folders: tuple[Path, ...] = ()  # mounted shares; they must be there
    smtp: str = Field(default="", pattern=r"^([^\s:]+:\d{1,5})?$")  # host:port; TLS, by STARTTLS unless at 465
    sender: str = Field(default="", alias="from")
    to: tuple[str, ...] = ()
    user: str = ""
    password: str = ""

    @model_validator(mode="after")
    def _mail_is_whole(self) -> _Anchor:
        given = [bool(self.smtp), bool(self.sender), bool(self.to)]
        if any(given) and not all(given):
            raise ValueError("a mail needs all of smtp, from and to")
        return self


class _Retention(_Table):
    """How long what holds numbers and is no evidence is kept."""

    days: int = Field(default=retention.DAYS, ge=retention.LEAST_DAYS)


Peers = dict[str, tuple[str, ...]]  # channel → its peers, first choice first


class _Order(BaseModel):
    """In which order the peers of a channel are tried; `[order.red]` and the like for one level, `[order]` for all others."""

    model_config = ConfigDict(extra="allow", frozen=True)

    red: Peers = Field(default_factory=dict)
    orange: Peers = Field(default_factory=dict)
    yellow: Peers = Field(default_factory=dict)
    blue: Peers = Field(default_factory=dict)
    __pydantic_extra__: Peers  # the channels that stand in [order] itself


class _Config(_Table):
    county: _County
    source: tuple[_Source, ...] = ()
    peer: tuple[_Peer, ...] = ()
    order: _Order = Field(default_factory=lambda: _Order.model_validate({}))
    server: _Server = _Server()
    anchor: _Anchor = _Anchor()
    retention: _Retention = _Retention()


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked."""

    home: Path
    database_url: str
    redis_url: str
    embedded: bool  # True when no Redis is named: `up` runs its own
    seal_key_file: Path
    threads: int
    county: CountySettings
    folders: _County
    sources: tuple[Source, ...]
    peers: tuple[Peer, ...]
    order: Mapping[str, Peers]  # level, or "" for all others
    server: _Server
    ways_out: tuple[WayOut, ...] = ()  # for anchors
    retention_days: int = retention.DAYS

    @property
    def files(self) -> dict[str, Callable[[], dict[str, str]]]:
        """How to read the county's files as they lie on the disk: kind → reader."""
        return {"plans": self.read_plans, "regions": self.read_regions}

    def read_plans(self) -> dict[str, str]:
        """The plan files. Raises InvalidFiles when the folder is missing."""
        return _texts(self.home / self.folders.plans, ("*.toml",))

    def read_regions(self) -> dict[str, str]:
        """The region tree's files. Raises InvalidFiles when the folder is missing."""
        return _texts(self.home / self.folders.regions, ("*.csv", "*.geojson"))

    def read_roles(self) -> str:
        """The roles. Raises InvalidFiles when the file is missing."""
        return _text(self.home / self.folders.roles)


def _texts(folder: Path, patterns: Iterable[str]) -> dict[str, str]:
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    if not found:
        raise InvalidFiles([Problem(str(folder), 0, "error", "no files here: `broadcast init --example deqing` makes some")])
    return {path.name: _text(path) for path in found}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidFiles([Problem(str(path), 0, "error", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise InvalidFiles([Problem(str(path), 0, "error", "is not UTF-8: save it as UTF-8")]) from None


def read_environment() -> Environment:
    """The environment's part. Raises InvalidFiles that name the variable, never its value."""
    try:
        return Environment()
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        problems = [Problem("environment", 0, "error", f"BROADCAST_{str(d['loc'][0]).upper()}: {d['msg']}") for d in details]
        raise InvalidFiles(problems) from None


def load(home: Path | None = None) -> Settings:
    """Reads the environment and home/broadcast.toml. Raises InvalidFiles, or NotFound when there is no such folder."""
    environment = read_environment()
    folder = (home or environment.home).resolve()
    path = folder / CONFIG
    if not path.is_file():
        raise NotFound(f"no {CONFIG} in {folder}: run `broadcast init` there, or name the folder with BROADCAST_HOME or --home")
    config = _parse(path)
    embedded = environment.redis_url is None
    server = _Server(**{**config.server.model_dump(), "callbacks": _secrets(config.server.callbacks, folder, path)})
    return Settings(
        home=folder,
        database_url=environment.database_url.get_secret_value()
        if environment.database_url
        else f"sqlite:///{folder / 'ledger.db'}",
        redis_url=environment.redis_url.get_secret_value() if environment.redis_url else f"unix://{socket_of(folder)}",
        embedded=embedded,
        seal_key_file=environment.seal_key_file or folder / "seal.key",
        threads=environment.threads,
        county=CountySettings(config.county.name, config.county.signature, config.county.public_drills, config.server.public_url),
        folders=config.county,
        sources=tuple(_source(s, folder, path) for s in config.source),
        peers=_peers(config.peer, server, folder, path),
        order=_order(config.order),
        server=server,
        ways_out=_ways_out(config.anchor, folder, path),
        retention_days=config.retention.days,
    )


def _ways_out(found: _Anchor, home: Path, path: Path) -> tuple[WayOut, ...]:
    ways: list[WayOut] = [Folder(home / one) for one in found.folders]
    if found.smtp:
        host, _, port = found.smtp.partition(":")
        ways.append(Mail(host, int(port), found.sender, found.to, found.user, _secret(found.password, home, path)))
    return tuple(ways)


def socket_of(home: Path) -> Path:
    """Where the embedded Valkey of a home listens: a short path, since a socket's path may have 107 bytes at most."""
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"broadcast-{os.getuid()}" / f"{digest}.sock"


def _parse(path: Path) -> _Config:
    try:
        return _Config.model_validate(tomllib.loads(_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise InvalidFiles([Problem(str(path), 0, "error", f"is not TOML: {error}")]) from None
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        problems = [Problem(str(path), 0, "error", f"{'.'.join(map(str, d['loc']))}: {d['msg']}") for d in details]
        raise InvalidFiles(problems) from None


def _order(found: _Order) -> dict[str, Peers]:
    levels = {"red": found.red, "orange": found.orange, "yellow": found.yellow, "blue": found.blue}
    return {"": found.__pydantic_extra__ or {}, **{level: by for level, by in levels.items() if by}}


def _source(one: _Source, home: Path, path: Path) -> Source:
    return Source(
        one.name,
        frozenset(one.sender_codes),
        frozenset(one.senders),
        one.code_system,
        _secret(one.token, home, path),
        frozenset(one.scopes),
    )


def _peers(found: Iterable[_Peer], server: _Server, home: Path, path: Path) -> tuple[Peer, ...]:
    return tuple(
        open_peer(
            name=one.name,
            channel=one.channel,
            protocol=one.protocol,
            simulated=one.simulated,
            concurrency=one.concurrency,
            rate=one.rate,
            options={key: _with_callback(value, server, path) for key, value in _secrets(one.options, home, path).items()},
            file=str(path),
        )
        for one in found
    )


def _with_callback(value: Any, server: _Server, path: Path) -> Any:
    """A value "callback:PEER" is where we take that peer's callbacks: some protocols tell it with each call."""
    if not (isinstance(value, str) and value.startswith("callback:")):
        return value
    peer = value.removeprefix("callback:")
    if peer not in server.callbacks:
        raise InvalidFiles([Problem(str(path), 0, "error", f"{value}: [server.callbacks] has no {peer}")])
    return callback_address(server, peer)


def callback_address(server: _Server, peer: str) -> str:
    """Where a provider's callbacks of this peer come in, its secret included."""
    base = server.callback_url.rstrip("/") or f"http://{server.host}:{server.port}"
    return f"{base}/callbacks/{peer}/{server.callbacks[peer]}"


def _secrets(options: Mapping[str, Any], home: Path, path: Path) -> dict[str, Any]:
    """Values like "env:NAME" and "file:NAME" stand for what is there, so that no secret needs to be in the TOML."""
    return {key: _opened(value, home, path) for key, value in options.items()}


def _opened(value: Any, home: Path, path: Path) -> Any:
    if isinstance(value, str):
        return _secret(value, home, path)
    if isinstance(value, dict):
        return _secrets(value, home, path)
    if isinstance(value, list):
        return [_opened(each, home, path) for each in value]
    return value


def _secret(value: str, home: Path, path: Path) -> str:
    kind, _, name = value.partition(":")
    if kind == "env":
        if name not in os.environ:
            raise InvalidFiles([Problem(str(path), 0, "error", f"{value}: the environment has no {name}")])
        return os.environ[name]
    if kind == "file":
        return _text(home / name).strip()
    return str(home / name) if kind == "home" else value


def open_gateway(settings: Settings, clock: Callable[[], datetime] | None = None) -> Gateway:
    """A gateway with its ledger, peers and bell. Nothing is connected until it is used."""
    client = queue.connect(settings.redis_url)
    bell = queue.Doorbell(queue.make_broker(client), client)
    house = House(
        ledger=Ledger(settings.database_url, Seal.from_file(settings.seal_key_file)),
        county=settings.county,
        sources=settings.sources,
        ways=open_ways(settings.peers, settings.order, settings.threads),
        templates=_templates(settings),
        ring=bell.ring,
        rate=RateLimiter(client, "broadcast"),
        ways_out=settings.ways_out,
        retention_days=settings.retention_days,
    )
    if clock is not None:
        house.clock = clock
    return Gateway(house, bell.answers)


def _templates(settings: Settings) -> tuple[Path, ...]:
    """The county's own words first, then those that travel with the library."""
    own = settings.folders.templates
    return (settings.home / own, TEMPLATES) if own else (TEMPLATES,)


def open_worker() -> Broker:
    """A worker's broker with its actors; called by worker.py in each worker process."""
    process.die_with_parent()
    settings = load()
    gateway = open_gateway(settings)
    # A worker blocks on Redis for longer than a bell may be held up.
    broker = queue.make_broker(queue.connect(settings.redis_url, seconds=30.0))
    queue.declare(broker, gateway.deliver)
    return broker
