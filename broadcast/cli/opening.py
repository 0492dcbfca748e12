"""From the command line's global options to settings, a gateway and the person who acts."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..gateway import Gateway, Operator
from ..settings import Settings, load, open_gateway, read_environment


class UsageMistake(Exception):
    """The command was given too little, or what does not go together."""


OperatorOption = Annotated[
    str,
    typer.Option(
        "--operator",
        envvar="BROADCAST_OPERATOR",
        metavar="NAME",
        help="Who you are, e.g. --operator 测试值班员. The PIN is asked for, or taken from BROADCAST_PIN.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for other programs.")]


def settings_of(ctx: typer.Context) -> Settings:
    """The settings of the home that --home, BROADCAST_HOME or the current folder names. Raises NotFound, InvalidFiles."""
    home: Path | None = ctx.find_root().obj
    return load(home)


@contextmanager
def opened(ctx: typer.Context) -> Iterator[tuple[Settings, Gateway]]:
    """The settings and a gateway that is closed afterwards."""
    settings = settings_of(ctx)
    gateway = open_gateway(settings)
    try:
        yield settings, gateway
    finally:
        gateway.close()


def prove(gateway: Gateway, name: str) -> Operator:
    """The operator who acts, after the PIN. Raises NotAllowed."""
    if not name:
        raise UsageMistake("this needs an operator: give --operator NAME, or set BROADCAST_OPERATOR")
    pin = read_environment().pin
    return gateway.authenticate(name, pin.get_secret_value() if pin else ask_pin("BROADCAST_PIN", f"PIN of {name}: "))


def new_pin(name: str) -> str:
    """The PIN that an operator is to get: from the environment, else asked for twice."""
    given = read_environment().new_pin
    if given:
        return given.get_secret_value()
    pin = ask_pin("BROADCAST_NEW_PIN", f"new PIN of {name}: ")
    if ask_pin("BROADCAST_NEW_PIN", "once more: ") != pin:
        raise UsageMistake("the two PINs differ: nothing was changed")
    return pin


def ask_pin(variable: str, question: str) -> str:
    """Asks without showing it. A PIN is never an option: everybody on the machine can read a process's arguments."""
    if not sys.stdin.isatty():
        raise UsageMistake(f"nobody can be asked for a PIN here: set {variable}")
    return getpass.getpass(question)
