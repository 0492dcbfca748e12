"""The templates: which one is used for what, and what is wrong with one, by file and line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from ..errors import InvalidFiles, Problem

_SUFFIX = ".j2"
_FALLBACK = "zh"
# What a template can raise while it runs: an unknown name, a division by zero, an endless range …
_MISTAKES = (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError)


class Pages:
    """A template folder, or several: the first that has a template wins."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._environment = SandboxedEnvironment(
            loader=FileSystemLoader([str(folder) for folder in folders]),
            undefined=StrictUndefined,
            autoescape=False,  # words for phones and loudspeakers, not HTML
            keep_trailing_newline=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def find(self, channel: str, language: str, hazard: str, audience: str, purpose: str) -> str | None:
        """The nearest template's name: the hazard's before the channel's, the audience's before any.j2, ours before zh."""
        known = frozenset(self._environment.list_templates())
        return next((name for name in _candidates(channel, language, hazard, audience, purpose) if name in known), None)

    def needed(self, channel: str, language: str, hazard: str, audience: str, purpose: str) -> str:
        """As `find`; raises InvalidFiles when there is none."""
        if name := self.find(channel, language, hazard, audience, purpose):
            return name
        looked = list(_candidates(channel, language, hazard, audience, purpose))
        said = f"no template to tell {audience} about {purpose} by {channel}; the last one looked for is {looked[-1]}"
        raise InvalidFiles([Problem(f"templates/{looked[-1]}", 0, "error", said)])

    def render(self, name: str, fields: Mapping[str, Any]) -> str:
        """Its words. Raises InvalidFiles with file and line when the template is broken."""
        try:
            return self._load(name).render(fields).strip()
        except _MISTAKES as error:
            raise InvalidFiles([self._problem(name, error)]) from error

    def check(self) -> list[Problem]:
        """What cannot be compiled. What only fails on use (an unknown name) shows in a preview."""
        problems = []
        for name in self._environment.list_templates(extensions=[_SUFFIX[1:]]):
            try:
                self._load(name)
            except TemplateError as error:
                problems.append(self._problem(name, error))
        return problems

    def _load(self, name: str) -> Template:
        return self._environment.get_template(name)

    def _problem(self, name: str, error: BaseException) -> Problem:
        if isinstance(error, TemplateNotFound):
            return Problem(f"templates/{name}", 0, "error", f"there is no template {error.name!r}")
        if isinstance(error, TemplateSyntaxError):
            return Problem(error.filename or f"templates/{name}", error.lineno, "error", f"not a template: {error.message}")
        file, line = _deepest(error) or (f"templates/{name}", 0)
        return Problem(file, line, "error", f"cannot be written out: {error}")


def _deepest(error: BaseException) -> tuple[str, int] | None:
    """Jinja writes its templates' own lines into the traceback."""
    found, traceback = None, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename.endswith(_SUFFIX):
            found = (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def _candidates(channel: str, language: str, hazard: str, audience: str, purpose: str) -> Iterator[str]:
    ending = "" if purpose == "alarm" else f".{purpose}"
    for tongue in dict.fromkeys((language, _FALLBACK)):
        for folder in dict.fromkeys((f"{channel}/{tongue}/{hazard}" if hazard else "", f"{channel}/{tongue}")):
            if folder:
                yield f"{folder}/{audience}{ending}{_SUFFIX}"
                yield f"{folder}/any{ending}{_SUFFIX}"


@lru_cache(maxsize=16)
def open_pages(folders: tuple[Path, ...]) -> Pages:
    """The pages of these folders; compiled once, read again when a file has changed."""
    return Pages(folders)
