"""From the command line's global options to settings, a gateway and the person who acts."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..gateway import Gateway, Operator
from ..settings import Settings, load, open_gateway

# A PIN is never an option: everybody on the machine can read a process's arguments.
PIN_VARIABLE, NEW_PIN_VARIABLE = "BROADCAST_PIN", "BROADCAST_NEW_PIN"


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
    return gateway.authenticate(name, ask_pin(PIN_VARIABLE, f"PIN of {name}: "))


def ask_pin(variable: str, question: str) -> str:
    """The PIN from the environment, else asked for without showing it."""
    known = os.environ.get(variable)
    if known is not None:
        return known
    if not sys.stdin.isatty():
        raise UsageMistake(f"nobody can be asked for a PIN here: set {variable}")
    return getpass.getpass(question)
